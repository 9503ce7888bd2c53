//! Sessions: who may begin one, how each goes on, and what becomes of those that a run of the server left behind.
//!
//! `lifecycle` decides, one `keeper` a session carries out and is the only writer of its row, `reconcile` makes keepers
//! for rows and removes sandboxes without one, `watchers` tells browsers.

mod create;
mod deactivated;
mod keeper;
pub mod lifecycle;
mod quotas;
mod reconcile;
pub mod report;
pub mod resources;
mod row;
pub mod watchers;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use governor::Quota;
use protocol::session::EndReason;
use sea_orm::{DatabaseConnection, DbErr, EntityTrait};
use time::OffsetDateTime;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

pub use create::{CreateError, NewSession};
use lifecycle::{Effect, Lifecycle, Refusal, Rules};
use report::Report;
use watchers::Watchers;

use crate::auth::rate_limit::{Limit, count};
use crate::clock::Clock;
use crate::config::Settings;
use crate::db::entity;
use crate::driver::Driver;
use crate::ids::{SessionId, UserId};
use crate::state::Background;
use crate::workspace::Workspaces;

/// Commands one keeper has not looked at yet. Callers wait when it is full.
const COMMANDS: usize = 16;

/// The sessions of this server. Cheap to clone; when the last clone goes, its keepers stop and the sessions live on.
#[derive(Clone)]
pub struct Sessions(Arc<Owner>);

struct Owner {
    context: Arc<Context>,
    keepers: Mutex<HashMap<SessionId, Handle>>,
    /// Sandboxes without a row that are being ended.
    retiring: Mutex<HashSet<SessionId>>,
    /// 20 new sessions a minute for each user.
    creations: Limit<UserId>,
    /// One creation at a time, so that counting and inserting are one step.
    creating: Semaphore,
    /// The server ends all sessions and begins none.
    closing: AtomicBool,
    stop: CancellationToken,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What keepers work with.
struct Context {
    settings: Arc<Settings>,
    db: DatabaseConnection,
    clock: Clock,
    driver: Arc<Driver>,
    workspaces: Workspaces,
    background: Background,
    rules: Rules,
    watchers: Arc<Watchers>,
    /// An agent that says nothing for so long is asked whether it lives.
    quiet_limit: std::time::Duration,
}

/// How the rest of the server reaches a keeper.
#[derive(Clone)]
struct Handle {
    commands: mpsc::Sender<Command>,
    live: watch::Receiver<Live>,
}

/// What a keeper knows of its session, beyond the row.
#[derive(Debug, Clone)]
pub struct Live {
    pub life: Lifecycle,
    /// The agent's last words.
    pub report: Option<Report>,
}

/// What a keeper is asked to do. It answers once SQL knows.
enum Command {
    End { reason: EndReason, reply: oneshot::Sender<Result<(), CommandError>> },
    Extend { reply: oneshot::Sender<Result<(), CommandError>> },
}

#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// There is no such session.
    #[error("no such session")]
    Unknown,
    #[error("database: {0}")]
    Db(#[from] DbErr),
    /// The database can't be written now. What was asked happens, and is written when it can be.
    #[error("the database can't be written")]
    NotStored,
    /// The server ends at this moment.
    #[error("the server is ending")]
    Stopping,
}

impl Sessions {
    /// Knows the sessions, keeps none yet: see `start`.
    #[must_use]
    pub fn new(
        settings: Arc<Settings>,
        db: DatabaseConnection,
        clock: Clock,
        driver: Arc<Driver>,
        workspaces: Workspaces,
        background: Background,
    ) -> Self {
        let rules = Rules::new(&settings);
        let creations = Limit::new(&clock, Quota::per_minute(count(20)));
        let stop = background.cancelled().child_token();
        let context = Context {
            settings,
            db,
            clock,
            driver,
            workspaces,
            background,
            rules,
            watchers: Arc::default(),
            quiet_limit: keeper::QUIET_LIMIT,
        };
        Self(Arc::new(Owner {
            context: Arc::new(context),
            keepers: Mutex::default(),
            retiring: Mutex::default(),
            creations,
            creating: Semaphore::new(1),
            closing: AtomicBool::new(false),
            stop,
        }))
    }

    /// Finds the sessions of earlier runs, now and on a timer, until the application ends.
    pub fn start(&self) {
        self.spawn(reconcile::run(Arc::downgrade(&self.0)));
        self.spawn(quotas::forward(self.0.context.clone()));
    }

    /// Begins a planned end. SQL knows when this returns; the end itself goes on. Harmless if it ends or has ended.
    ///
    /// # Errors
    /// `Unknown`, `Db` or `Stopping`.
    pub async fn end(&self, session: SessionId, reason: EndReason) -> Result<(), CommandError> {
        match self.command(session, |reply| Command::End { reason, reply }).await {
            Err(CommandError::Refused(Refusal::Ended)) => Ok(()),
            result => result,
        }
    }

    /// Moves the end of a session to a whole lifetime from now, and counts as use of it.
    ///
    /// # Errors
    /// `Refused` when it can't be kept longer; `Unknown`, `Db` or `Stopping`.
    pub async fn extend(&self, session: SessionId) -> Result<(), CommandError> {
        self.command(session, |reply| Command::Extend { reply }).await
    }

    /// What is known of a session beyond its row, and what it becomes; None if it has ended or is not found yet. The
    /// channel closes when the session has ended or the server stops keeping it.
    #[must_use]
    pub fn live(&self, session: SessionId) -> Option<watch::Receiver<Live>> {
        self.keepers().get(&session).map(|handle| handle.live.clone())
    }

    /// The same, for a session that must be there.
    ///
    /// # Errors
    /// `Refused` when it has ended; `Unknown` or `Db`.
    pub async fn watch(&self, session: SessionId) -> Result<watch::Receiver<Live>, CommandError> {
        match self.live(session) {
            Some(live) => Ok(live),
            None => Ok(self.find(session).await?.live),
        }
    }

    #[must_use]
    pub fn watchers(&self) -> Arc<Watchers> {
        self.0.context.watchers.clone()
    }

    /// Sessions this server runs at most.
    #[must_use]
    pub fn limit(&self) -> u16 {
        self.0.context.settings.session_limit.unwrap_or_else(|| self.0.context.driver.capacity())
    }

    /// Ends every session and begins no more; returns how many are left after at most `limit`. For an orderly end of
    /// the whole platform.
    pub async fn end_all(&self, reason: EndReason, limit: std::time::Duration) -> usize {
        self.0.closing.store(true, Ordering::Relaxed);
        // Also those of an earlier run that have no keeper yet.
        if let Err(error) = self.reconcile().await {
            tracing::warn!(error = format!("{error:#}"), "not all sessions may be known");
        }
        let handles: Vec<_> = self.keepers().iter().map(|(id, handle)| (*id, handle.clone())).collect();
        let ends = handles.into_iter().map(|(id, mut handle)| async move {
            if let Err(error) = self.end(id, reason).await {
                tracing::warn!(session = %id, %error, "a session could not be told to end");
            }
            while handle.live.changed().await.is_ok() {}
        });
        let _done_or_over = tokio::time::timeout(limit, futures::future::join_all(ends)).await;
        self.keepers().len()
    }

    async fn command(
        &self,
        session: SessionId,
        command: impl FnOnce(oneshot::Sender<Result<(), CommandError>>) -> Command,
    ) -> Result<(), CommandError> {
        let handle = match self.handle(session) {
            Some(handle) => handle,
            None => self.find(session).await?,
        };
        let (reply, answer) = oneshot::channel();
        // A keeper that is gone without an answer has just seen its session end, or is being stopped.
        if handle.commands.send(command(reply)).await.is_ok()
            && let Ok(answer) = answer.await
        {
            return answer;
        }
        if self.0.stop.is_cancelled() { Err(CommandError::Stopping) } else { Err(Refusal::Ended.into()) }
    }

    /// Makes a keeper for a session that reconcile has not come to yet.
    async fn find(&self, session: SessionId) -> Result<Handle, CommandError> {
        let row = entity::session::Entity::find_by_id(session.0).one(&self.0.context.db).await?;
        let row = row.ok_or(CommandError::Unknown)?;
        if row.ended_at.is_some() {
            return Err(Refusal::Ended.into());
        }
        Ok(self.keep_found(row))
    }

    fn keep_found(&self, row: entity::session::Model) -> Handle {
        let now = self.0.context.clock.now();
        let (life, effects) = Lifecycle::find(self.0.context.rules, now, row::found(&row));
        self.keep(row, life, effects)
    }

    /// Makes a keeper, unless there is one.
    fn keep(&self, row: entity::session::Model, life: Lifecycle, effects: Vec<Effect>) -> Handle {
        let session = SessionId(row.id);
        let mut keepers = self.keepers();
        if let Some(handle) = keepers.get(&session) {
            return handle.clone();
        }
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let (live, watched) = watch::channel(Live { life, report: None });
        let handle = Handle { commands, live: watched };
        keepers.insert(session, handle.clone());
        drop(keepers);
        let owner = Arc::downgrade(&self.0);
        let keeper = keeper::run(self.0.context.clone(), row, effects, inbox, live);
        self.spawn(async move {
            let live = keeper.await;
            if let Some(owner) = owner.upgrade() {
                owner.keepers.lock().unwrap_or_else(PoisonError::into_inner).remove(&session);
            }
            // Whoever sees the channel close finds the keeper gone from the map.
            drop(live);
        });
        handle
    }

    fn handle(&self, session: SessionId) -> Option<Handle> {
        self.keepers().get(&session).cloned()
    }

    fn keepers(&self) -> MutexGuard<'_, HashMap<SessionId, Handle>> {
        self.0.keepers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.0.stop.clone();
        self.0.context.background.spawn(async move {
            stop.run_until_cancelled_owned(task).await;
        });
    }
}

impl Live {
    /// Time without human input at `now`, as far as is known.
    #[must_use]
    pub fn idle_seconds(&self, now: OffsetDateTime) -> Option<u64> {
        let input_at = self.life.input_at()?;
        self.life.usable().ok()?;
        u64::try_from((now - input_at).whole_seconds()).ok()
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
