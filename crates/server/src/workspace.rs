//! Files of users. The only door to a workspace: everything goes through directory handles that never follow a link.

use std::sync::Arc;

use sea_orm::DatabaseConnection;

use crate::clock::Clock;
use crate::config::Settings;
use crate::driver::Driver;

/// All workspaces of this platform. Cheap to clone.
#[derive(Clone)]
pub struct Workspaces(#[expect(dead_code, reason = "filled in the next change")] Arc<Inner>);

#[expect(dead_code, reason = "filled in the next change")]
struct Inner {
    settings: Arc<Settings>,
    db: DatabaseConnection,
    clock: Clock,
    driver: Arc<Driver>,
}

impl Workspaces {
    #[must_use]
    pub fn new(settings: Arc<Settings>, db: DatabaseConnection, clock: Clock, driver: Arc<Driver>) -> Self {
        Self(Arc::new(Inner { settings, db, clock, driver }))
    }
}
