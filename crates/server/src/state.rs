//! What every request handler can reach. Cheap to clone.

use std::sync::Arc;

use anyhow::Context;
use sea_orm::DatabaseConnection;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::Auth;
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
    pub auth: Auth,
    pub driver: Arc<Driver>,
    pub workspaces: Workspaces,
    pub background: Background,
}

impl App {
    /// Makes the data directory, connects the database, brings its schema up to date and readies the driver's state.
    /// Starts nothing: see `start`.
    ///
    /// # Errors
    /// When the data directory can't be made or the database not be reached.
    pub async fn open(settings: Settings, clock: Clock) -> anyhow::Result<Self> {
        crate::data_dir::prepare(&settings)?;
        let db = crate::db::connect(settings.database().expose()).await.context("the database can't be opened")?;
        let settings = Arc::new(settings);
        let driver = Arc::new(Driver::new(&settings)?);
        let workspaces = Workspaces::new(settings.clone(), db.clone(), clock.clone(), driver.clone());
        let auth = Auth::new(&settings, &clock);
        Ok(Self { settings, db, clock, auth, driver, workspaces, background: Background::default() })
    }

    /// Starts the jobs that run beside requests. They end when `background` is cancelled.
    pub fn start(&self) {}
}

/// Tasks that belong to the application and end with it.
#[derive(Clone, Default)]
pub struct Background {
    cancel: CancellationToken,
    tasks: TaskTracker,
}

impl Background {
    /// Runs a task until it ends by itself or the application ends, at whatever `.await` it is then.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let cancel = self.cancel.clone();
        self.tasks.spawn(async move { cancel.run_until_cancelled_owned(task).await });
    }

    /// Runs a task that watches `ending` itself and may finish its work first.
    pub fn spawn_to_finish(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Cancelled when the application ends: long answers (event streams, WebSockets) end then.
    #[must_use]
    pub fn ending(&self) -> CancellationToken {
        self.cancel.clone()
    }

    /// Ends all tasks and waits for them.
    pub async fn end(&self) {
        self.cancel.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Ends all tasks without waiting.
    pub fn cancel(&self) {
        self.cancel.cancel();
        self.tasks.close();
    }
}
