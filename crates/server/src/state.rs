//! What every request handler can reach. Cheap to clone.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use sea_orm::DatabaseConnection;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access_log::AccessLog;
use crate::api::health::Preparation;
use crate::auth::Auth;
use crate::clock::Clock;
use crate::config::Settings;
use crate::driver::{AgentKey, Driver};
use crate::gateway::{Media, Viewers};
use crate::replicas::Replicas;
use crate::session::Sessions;
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
    pub sessions: Sessions,
    pub viewers: Viewers,
    pub media: Media,
    pub background: Background,
    /// When this server started.
    pub started: Instant,
    pub access_log: AccessLog,
    pub preparation: Preparation,
    pub replicas: Replicas,
}

impl App {
    /// Makes the data directory, connects the database, brings its schema up to date and readies the driver's state.
    /// Starts nothing: see `start`.
    ///
    /// # Errors
    /// When the data directory can't be made or the database not be reached.
    pub async fn open(settings: Settings, clock: Clock) -> anyhow::Result<Self> {
        crate::data_dir::prepare(&settings.data_dir)?;
        let driver = Arc::new(Driver::new(&settings)?);
        Self::open_with(settings, clock, driver).await
    }

    /// The same with a driver that is there already.
    pub(crate) async fn open_with(settings: Settings, clock: Clock, driver: Arc<Driver>) -> anyhow::Result<Self> {
        crate::data_dir::prepare(&settings.data_dir)?;
        let db = crate::db::connect(settings.database().expose()).await.context("the database can't be opened")?;
        let settings = Arc::new(settings);
        let key = AgentKey::of(&settings).context("the key for signatures")?;
        let workspaces = Workspaces::new(settings.clone(), db.clone(), clock.clone(), driver.clone());
        let auth = Auth::new(&settings, &clock)?;
        let background = Background::default();
        let (access_log, writing) = AccessLog::new(db.clone(), background.cancelled());
        background.spawn_to_finish(writing);
        let preparation = Preparation::default();
        let replicas = Replicas::new(&settings, &db).await?;
        let sessions = Sessions::new(
            settings.clone(),
            db.clone(),
            clock.clone(),
            driver.clone(),
            workspaces.clone(),
            background.clone(),
            replicas.clone(),
        );
        Ok(Self {
            settings,
            db,
            clock,
            auth,
            driver,
            workspaces,
            sessions,
            viewers: Viewers::default(),
            media: Media::new(&key),
            background,
            started: Instant::now(),
            access_log,
            preparation,
            replicas,
        })
    }

    /// Starts the jobs that run beside requests. They end with `background`.
    pub fn start(&self) {
        self.background.spawn(self.replicas.clone().run());
        self.background.spawn(crate::retention::run(self.clone()));
        let workspaces = self.workspaces.clone();
        self.background.spawn(async move { workspaces.upkeep().await });
        let (driver, preparation) = (self.driver.clone(), self.preparation.clone());
        self.background.spawn(async move {
            let result = driver.prepare().await.inspect_err(|error| tracing::error!("no session can start: {error:#}"));
            preparation.done(result.map_err(|error| error.to_string()));
        });
        self.sessions.start();
    }
}

/// Tasks that belong to the application and end with it.
#[derive(Clone, Default)]
pub struct Background {
    leaving: CancellationToken,
    closing: CancellationToken,
    cancelled: CancellationToken,
    tasks: TaskTracker,
}

impl Background {
    /// Runs a task until it ends by itself or the application ends, at whatever `.await` it is then.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let cancelled = self.cancelled.clone();
        self.tasks.spawn(async move { cancelled.run_until_cancelled_owned(task).await });
    }

    /// Runs a task that watches `cancelled` itself and may finish its work first.
    pub fn spawn_to_finish(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// This server ends soon: others should be asked.
    pub fn leave(&self) {
        self.leaving.cancel();
    }

    #[must_use]
    pub fn leaves(&self) -> bool {
        self.leaving.is_cancelled()
    }

    /// Fires when the server is about to end: long answers (event streams, WebSockets) end then, so that the browser
    /// connects again elsewhere.
    #[must_use]
    pub fn closing(&self) -> CancellationToken {
        self.closing.clone()
    }

    /// Fires after the last request: tasks of `spawn_to_finish` end then.
    #[must_use]
    pub fn cancelled(&self) -> CancellationToken {
        self.cancelled.clone()
    }

    /// Ends long answers.
    pub fn close(&self) {
        self.closing.cancel();
    }

    /// Ends all tasks without waiting.
    pub fn cancel(&self) {
        self.closing.cancel();
        self.cancelled.cancel();
        self.tasks.close();
    }

    /// Ends all tasks and waits for them.
    pub async fn end(&self) {
        self.cancel();
        self.tasks.wait().await;
    }
}
