//! What every request handler can reach. Cheap to clone.

use std::sync::Arc;

use sea_orm::DatabaseConnection;

use crate::clock::Clock;
use crate::config::Settings;
use crate::driver::Driver;
use crate::workspace::Workspaces;

/// The application. Owned by `serve`; handlers get clones.
#[derive(Clone)]
pub struct App {
    pub settings: Arc<Settings>,
    pub db: DatabaseConnection,
    pub clock: Clock,
    pub driver: Arc<Driver>,
    pub workspaces: Workspaces,
}
