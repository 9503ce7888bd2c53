//! Sessions: who may begin one, how each goes on, and what becomes of those that a run of the server left behind.
//!
//! `lifecycle` decides, one `keeper` a session carries out and is the only writer of its row, `reconcile` makes keepers
//! for rows and removes sandboxes without one, `watchers` tells browsers. Where there are several servers, each session has
//! its keeper on one of them, and `elsewhere` is how the others know of it.

mod create;
mod deactivated;
mod elsewhere;
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
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
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
use crate::replicas::{Replicas, Tenure};
use crate::state::Background;
use crate::workspace::Workspaces;
use elsewhere::Told;
use keeper::Done;
use row::Lease;

/// Commands one keeper has not looked at yet. Callers wait when it is full.
const COMMANDS: usize = 16;

/// For so long a server does not take again what it gave to the others. Longer than these need to take it.
const PASSED_FOR: std::time::Duration = std::time::Duration::from_secs(30);

/// The sessions of this server. Cheap to clone; when the last clone goes, its keepers stop and the sessions live on.
#[derive(Clone)]
pub struct Sessions(Arc<Owner>);

struct Owner {
    context: Arc<Context>,
    known: Mutex<HashMap<SessionId, Known>>,
    /// Sandboxes without a row that are being ended.
    retiring: Mutex<HashSet<SessionId>>,
    /// 20 new sessions a minute for each user.
    creations: Limit<UserId>,
    /// One creation at a time, so that counting and inserting are one step.
    creating: Semaphore,
    /// The server ends all sessions and begins none.
    closing: AtomicBool,
    /// There may be sessions without a keeper: another server ended in order, or a keeper here.
    left: Notify,
    /// This server hands its sessions to the others: takes none and begins none.
    leaving: CancellationToken,
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
    replicas: Replicas,
    /// An agent that says nothing for so long is asked whether it lives.
    quiet_limit: std::time::Duration,
    /// Sessions whose agents can't be reached from here, and since when others are to try.
    passed: Mutex<HashMap<SessionId, tokio::time::Instant>>,
}

impl Context {
    fn pass_on(&self, session: SessionId) {
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        passed.insert(session, tokio::time::Instant::now());
    }

    /// Sessions not to be taken for now.
    fn passed_on(&self) -> Vec<SessionId> {
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        passed.retain(|_, since| since.elapsed() < PASSED_FOR);
        passed.keys().copied().collect()
    }
}

/// A session that has not ended. Its channel stays the same whoever looks after it: pictures go on.
struct Known {
    live: Arc<watch::Sender<Live>>,
    /// Of the keeper, if it is here.
    commands: Option<mpsc::Sender<Command>>,
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
    End {
        reason: EndReason,
        reply: oneshot::Sender<Result<(), CommandError>>,
    },
    Extend {
        reply: oneshot::Sender<Result<(), CommandError>>,
    },
    /// Something that is in the row, for whoever comes to look after the session.
    Asked,
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
    /// No server has taken the session of one that died yet.
    #[error("nobody looks after the session at the moment")]
    Unkept,
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
        replicas: Replicas,
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
            replicas,
            quiet_limit: keeper::QUIET_LIMIT,
            passed: Mutex::default(),
        };
        Self(Arc::new(Owner {
            context: Arc::new(context),
            known: Mutex::default(),
            retiring: Mutex::default(),
            creations,
            creating: Semaphore::new(1),
            closing: AtomicBool::new(false),
            left: Notify::new(),
            leaving: CancellationToken::new(),
            stop,
        }))
    }

    /// Finds the sessions of earlier runs, now and on a timer, until the application ends.
    pub fn start(&self) {
        self.spawn(reconcile::run(Arc::downgrade(&self.0)));
        if self.0.context.replicas.several() {
            self.spawn(reconcile::take_over(Arc::downgrade(&self.0)));
            self.spawn(elsewhere::hear(Arc::downgrade(&self.0)));
        }
        self.spawn(quotas::forward(self.0.context.clone()));
    }

    /// Takes no more sessions and begins none: the others do, see `Replicas::leave`.
    pub fn leave(&self) {
        self.0.leaving.cancel();
    }

    /// Begins a planned end. SQL knows when this returns; the end itself goes on. Harmless if it ends or has ended.
    ///
    /// # Errors
    /// `Unknown`, `Db` or `Stopping`.
    pub async fn end(&self, session: SessionId, reason: EndReason) -> Result<(), CommandError> {
        match self.command(session, |reply| Command::End { reason, reply }).await? {
            Some(Err(CommandError::Refused(Refusal::Ended))) => Ok(()),
            Some(result) => result,
            None => self.ask_end(session, reason).await,
        }
    }

    /// Moves the end of a session to a whole lifetime from now, and counts as use of it.
    ///
    /// # Errors
    /// `Refused` when it can't be kept longer; `Unknown`, `Db`, `Unkept` or `Stopping`.
    pub async fn extend(&self, session: SessionId) -> Result<(), CommandError> {
        match self.command(session, |reply| Command::Extend { reply }).await? {
            Some(result) => result,
            None => self.ask_keep(session).await,
        }
    }

    /// What is known of a session beyond its row, and what it becomes; None if it has ended or is not found yet. The
    /// channel closes when the session has ended or the server stops keeping it.
    #[must_use]
    pub fn live(&self, session: SessionId) -> Option<watch::Receiver<Live>> {
        self.known().get(&session).map(|known| known.live.subscribe())
    }

    /// The same, for a session that must be there.
    ///
    /// # Errors
    /// `Refused` when it has ended; `Unknown` or `Db`.
    pub async fn watch(&self, session: SessionId) -> Result<watch::Receiver<Live>, CommandError> {
        match self.live(session) {
            Some(live) => Ok(live),
            None => self.find(session).await,
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
        let sessions: Vec<_> = self.known().iter().map(|(id, known)| (*id, known.live.subscribe())).collect();
        let ends = sessions.into_iter().map(|(id, mut live)| async move {
            if let Err(error) = self.end(id, reason).await {
                tracing::warn!(session = %id, %error, "a session could not be told to end");
            }
            while live.changed().await.is_ok() {}
        });
        let _done_or_over = tokio::time::timeout(limit, futures::future::join_all(ends)).await;
        self.known().len()
    }

    /// None: the session's keeper is on another server.
    async fn command(
        &self,
        session: SessionId,
        command: impl FnOnce(oneshot::Sender<Result<(), CommandError>>) -> Command,
    ) -> Result<Option<Result<(), CommandError>>, CommandError> {
        if self.commands(session).is_none() {
            match self.find(session).await {
                Err(CommandError::Refused(refusal)) => return Ok(Some(Err(refusal.into()))),
                found => drop(found?),
            }
        }
        let Some(commands) = self.commands(session) else { return Ok(None) };
        let (reply, answer) = oneshot::channel();
        // A keeper that is gone without an answer has just seen its session end, or is being stopped.
        if commands.send(command(reply)).await.is_ok()
            && let Ok(answer) = answer.await
        {
            return Ok(Some(answer));
        }
        if self.0.stop.is_cancelled() {
            return Err(CommandError::Stopping);
        }
        // Or has lost its session to another server.
        let row = entity::session::Entity::find_by_id(session.0).one(&self.0.context.db).await?;
        Ok(row.is_none_or(|row| row.ended_at.is_some()).then(|| Err(Refusal::Ended.into())))
    }

    /// Looks at a session that reconcile has not come to yet, and after it, if nobody else does.
    async fn find(&self, session: SessionId) -> Result<watch::Receiver<Live>, CommandError> {
        let context = &self.0.context;
        let row = entity::session::Entity::find_by_id(session.0).one(&context.db).await?;
        let row = row.ok_or(CommandError::Unknown)?;
        if row.ended_at.is_some() {
            return Err(Refusal::Ended.into());
        }
        let tenure = context.replicas.tenure();
        if !context.replicas.several() {
            return Ok(self.keep_found(row, tenure, None));
        }
        // Where nobody waits for this any more, `keep_all` comes to what was taken.
        Ok(match row::take(&context.db, &tenure, Some(session), &context.passed_on()).await?.pop() {
            Some(taken) => {
                let shown = self.shown(std::slice::from_ref(&taken)).await;
                let told = shown.get(&taken.id).map(String::as_str);
                self.keep_found(taken, tenure, told)
            }
            None => self.see(row, None),
        })
    }

    /// `told`: what the keeper before showed.
    fn keep_found(&self, row: entity::session::Model, tenure: Tenure, told: Option<&str>) -> watch::Receiver<Live> {
        let now = self.0.context.clock.now();
        let (mut life, effects) = Lifecycle::find(self.0.context.rules, now, row::found(&row));
        if let Some(told) = told.and_then(Told::read) {
            life.remember(&told.memo);
        }
        self.keep(row, tenure, life, effects)
    }

    /// What the keepers before showed of these. A session without it is looked after as well.
    async fn shown(&self, rows: &[entity::session::Model]) -> HashMap<uuid::Uuid, String> {
        let context = &self.0.context;
        if rows.is_empty() || !context.replicas.several() {
            return HashMap::new();
        }
        row::shown(&context.db, rows.iter().map(|row| row.id)).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "what is known of sessions beyond their rows can't be read");
            HashMap::new()
        })
    }

    /// Makes a keeper, unless there is one. The row is this server's in `tenure`.
    fn keep(
        &self,
        row: entity::session::Model,
        tenure: Tenure,
        life: Lifecycle,
        effects: Vec<Effect>,
    ) -> watch::Receiver<Live> {
        let session = SessionId(row.id);
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let mut all = self.known();
        let known = all.entry(session).or_insert_with(|| Known {
            live: Arc::new(watch::Sender::new(Live { life: life.clone(), report: None })),
            commands: None,
        });
        let watched = known.live.subscribe();
        if known.commands.is_some() {
            return watched;
        }
        // Whoever looked on knows what its documents are; the agent says the rest at once.
        known.live.send_modify(|live| live.life = life);
        known.commands = Some(commands.clone());
        let live = known.live.clone();
        drop(all);
        if row.end_asked.is_some() || row.keep_asked_at.is_some() {
            // Of a keeper that died before it could. There is room: nobody else knows the channel yet.
            let _room = commands.try_send(Command::Asked);
        }
        let owner = Arc::downgrade(&self.0);
        let lease = Lease { tenure, term: row.term };
        let keeper = keeper::run(self.0.context.clone(), row, lease, effects, inbox, live.clone());
        self.spawn(async move {
            let done = keeper.await;
            if let Some(owner) = owner.upgrade() {
                let mut all = owner.known.lock().unwrap_or_else(PoisonError::into_inner);
                match done {
                    Done::Ended => drop(all.remove(&session)),
                    Done::Lost => {
                        if let Some(known) = all.get_mut(&session) {
                            known.commands = None;
                        }
                        // It may be this server's in its next term already.
                        owner.left.notify_one();
                    }
                }
            }
            // Whoever sees the channel close finds the session gone from the map.
            drop(live);
        });
        watched
    }

    /// How the keeper is reached, if it is here.
    fn commands(&self, session: SessionId) -> Option<mpsc::Sender<Command>> {
        self.known().get(&session).and_then(|known| known.commands.clone())
    }

    fn known(&self) -> MutexGuard<'_, HashMap<SessionId, Known>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
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
