//! The task that drives one session: hears everything that happens to it, asks `lifecycle` what follows, does it. The
//! only writer of the session's row.

mod gauge;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{BoxStream, FuturesUnordered, StreamExt};
use futures::{FutureExt, Stream};
use protocol::agent::AgentStatus;
use protocol::session::{EndReason, ScreenSize, SessionStatus, StartStep};
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::lifecycle::{Effect, Phase, Refusal, Silence, StartFailure};
use super::report::Report;
use super::resources::Resources;
use super::row::{self, Columns, Lease, Stored};
use super::watchers::Event;
use super::{Command, CommandError, Context, Live, Told};
use crate::db::entity::session::{Entity, Model};
use crate::driver::agent_client::AgentError;
use crate::driver::{Presence, StartError, StartRequest};
use crate::ids::{SessionId, UserId};
use crate::replicas::Message;
use gauge::Counted;
use sea_orm::EntityTrait;

/// `Context::quiet_limit`: longer than most agents have nothing to tell, shorter than a person waits.
pub(super) const QUIET_LIMIT: Duration = Duration::from_secs(120);
/// Between two attempts to reach the agent: from this ...
const RECONNECT_FIRST: Duration = Duration::from_millis(100);
/// ... doubling up to this.
const RECONNECT_LAST: Duration = Duration::from_secs(2);
/// Changes one agent may tell in a second; the rest waits in its socket. A whole start has about six.
const REPORTS_PER_SECOND: u32 = 20;
/// Between two times that watchers are told of documents; what they then see is the newest.
const DOCUMENTS_GAP: time::Duration = time::Duration::milliseconds(500);
/// Between two times that other servers are shown what changed beyond the row.
const SHOW_GAP: time::Duration = time::Duration::milliseconds(500);
/// Until a row that could not be written is tried again.
const STORE_RETRY: time::Duration = time::Duration::seconds(1);

/// All that can happen.
enum Happened {
    Command(Command),
    Progress(StartStep),
    Launched(Result<(), StartError>),
    /// The agent told its state by itself, or can't be heard.
    Agent(Result<Report, Silence>),
    /// The agent answered how idle it is.
    Idle(Option<Report>),
    Probed(anyhow::Result<Presence>),
    Told(Result<(), AgentError>),
    Removed(anyhow::Result<()>),
    Time,
    /// This server may not look after the session any more.
    Lost,
}

/// Why a keeper ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    /// The session has ended and SQL knows.
    Ended,
    /// The session is another server's, or will be.
    Lost,
}

type Job = BoxFuture<'static, Happened>;

struct Keeper {
    context: Arc<Context>,
    id: SessionId,
    row: Model,
    live: Arc<watch::Sender<Live>>,
    lease: Lease,
    lost: bool,
    stored: Columns,
    /// What other servers were shown, and when they may be shown the next.
    shown: Option<Told>,
    show_at: Option<OffsetDateTime>,
    show_after: OffsetDateTime,
    /// The row could not be written; when to try again.
    store_at: Option<OffsetDateTime>,
    /// And that is because the database is away.
    away: bool,
    /// Nobody was told yet of documents that changed; when to.
    documents_at: Option<OffsetDateTime>,
    /// Not to be told of them before.
    documents_after: OffsetDateTime,
    /// There is no such row any more, or it was ended behind our back.
    orphan: bool,
    launch: Option<Job>,
    progress: (mpsc::Sender<StartStep>, mpsc::Receiver<StartStep>),
    said: Option<BoxStream<'static, Result<Report, Silence>>>,
    probing: bool,
    telling: bool,
    jobs: FuturesUnordered<Job>,
    counted: Counted,
}

/// Drives the session until it has ended and SQL knows, or `lease` is lost.
pub(super) async fn run(
    context: Arc<Context>,
    row: Model,
    lease: Lease,
    effects: Vec<Effect>,
    mut inbox: mpsc::Receiver<Command>,
    live: Arc<watch::Sender<Live>>,
) -> Done {
    let id = SessionId(row.id);
    // The row may have ended between being read and this keeper being made.
    let gone = loop {
        let found = tokio::select! {
            biased;
            () = lease.tenure.lost() => return Done::Lost,
            found = Entity::find_by_id(row.id).one(&context.db) => found,
        };
        match found {
            Ok(now) => break now.is_none_or(|now| now.ended_at.is_some()),
            Err(error) => {
                tracing::warn!(session = %id, %error, "the session's row can't be read; trying again");
                let retry = context.clock.now() + STORE_RETRY;
                context.clock.sleep_until(retry).await;
            }
        }
    };
    if gone {
        // By a run of the server that told its own watchers, not ours.
        context.watchers.tell(UserId(row.user_id), Event::Session(id));
        return Done::Ended;
    }
    let stored = Columns::of(&live.borrow().life);
    let mut keeper = Keeper {
        counted: Counted::new(stored.status),
        stored,
        context,
        id,
        row,
        live,
        lease,
        lost: false,
        shown: None,
        show_at: None,
        show_after: OffsetDateTime::UNIX_EPOCH,
        away: false,
        store_at: None,
        documents_at: None,
        documents_after: OffsetDateTime::UNIX_EPOCH,
        orphan: false,
        launch: None,
        progress: mpsc::channel(StartStep::ALL.len()),
        said: None,
        probing: false,
        telling: false,
        jobs: FuturesUnordered::new(),
    };
    let tenure = keeper.lease.tenure.clone();
    let lost = tokio::select! {
        // However long this server stood still, or the database does not answer: what it was about to do may be done
        // elsewhere by now.
        biased;
        () = tenure.lost() => true,
        () = keeper.keep(effects, &mut inbox) => keeper.lost,
    };
    if lost {
        tracing::info!(session = %keeper.id, "this server does not look after the session any more");
        return Done::Lost;
    }
    Done::Ended
}

impl Keeper {
    /// Until the session has ended and SQL knows, or is another server's.
    async fn keep(&mut self, effects: Vec<Effect>, inbox: &mut mpsc::Receiver<Command>) {
        self.carry_out(effects).await;
        while !self.lost && !self.done() {
            let happened = self.next(inbox).await;
            if !self.lease.tenure.holds() {
                self.lost = true;
                return;
            }
            self.handle(happened).await;
            self.show().await;
        }
    }

    fn done(&self) -> bool {
        matches!(self.live.borrow().life.phase(), Phase::Ended { .. }) && self.store_at.is_none()
    }

    async fn next(&mut self, inbox: &mut mpsc::Receiver<Command>) -> Happened {
        let due = [self.store_at, self.documents_at, self.show_at];
        let wake_at = self.live.borrow().life.wake_at().into_iter().chain(due.into_iter().flatten()).min();
        tokio::select! {
            biased;
            () = self.lease.tenure.lost() => Happened::Lost,
            Some(command) = inbox.recv() => Happened::Command(command),
            Some(step) = self.progress.1.recv() => Happened::Progress(step),
            happened = async { self.launch.as_mut().expect("guarded").await }, if self.launch.is_some() => {
                self.launch = None;
                happened
            }
            Some(said) = async { self.said.as_mut().expect("guarded").next().await }, if self.said.is_some() => {
                Happened::Agent(said)
            }
            Some(happened) = self.jobs.next() => happened,
            () = self.context.clock.sleep_until(wake_at.unwrap_or(OffsetDateTime::UNIX_EPOCH)), if wake_at.is_some() => {
                Happened::Time
            }
        }
    }

    async fn handle(&mut self, happened: Happened) {
        let now = self.context.clock.now();
        let effects = match happened {
            Happened::Lost => {
                self.lost = true;
                return;
            }
            Happened::Command(Command::Asked) => return self.asked().await,
            Happened::Command(Command::End { reason, reply }) => {
                let effects = self.change(|life| life.ask_end(now, reason));
                return self.answer(effects, reply).await;
            }
            Happened::Command(Command::Extend { reply }) => match self.change(|life| life.extend(now)) {
                Ok(effects) => return self.answer(effects, reply).await,
                Err(refusal) => {
                    let _asker_gone = reply.send(Err(refusal.into()));
                    vec![]
                }
            },
            Happened::Progress(step) => self.change(|life| life.progress(step)),
            Happened::Launched(result) => {
                let result = result.map_err(|error| self.start_failed(&error));
                self.change(|life| life.launched(now, result))
            }
            Happened::Agent(Ok(report)) | Happened::Idle(Some(report)) => {
                let effects = self.change(|life| life.heard(now, &report));
                let before = self.live.borrow().report.as_ref().and_then(|report| report.documents.clone());
                if before != report.documents {
                    self.documents_at.get_or_insert(self.documents_after.max(now));
                }
                self.live.send_modify(|live| live.report = Some(report));
                effects
            }
            Happened::Agent(Err(silence)) => self.change(|life| life.silent(now, silence)),
            // Asked again in time; if the agent is dead, its events have ended as well.
            Happened::Idle(None) => vec![],
            Happened::Probed(result) => {
                self.probing = false;
                match result {
                    Ok(Presence::Present | Presence::Underway) if self.passed_on(now).await => return,
                    Ok(Presence::Present) => self.change(|life| life.present(now)),
                    Ok(Presence::Underway) => self.change(|life| life.underway(now)),
                    Ok(Presence::Gone { last_status, lost }) => {
                        let last = last_status.and_then(|status| Report::check(*status, self.id).ok());
                        self.change(|life| life.gone(now, last.as_ref(), lost))
                    }
                    Err(error) => {
                        let error = format!("{error:#}");
                        tracing::warn!(session = %self.id, error, "whether a session is there can't be told");
                        vec![]
                    }
                }
            }
            Happened::Told(result) => {
                self.telling = false;
                if let Err(error) = result {
                    tracing::debug!(session = %self.id, %error, "the agent could not be told to end");
                }
                vec![]
            }
            Happened::Removed(result) => {
                if let Err(error) = &result {
                    tracing::warn!(session = %self.id, error = format!("{error:#}"), "a session could not be removed");
                }
                self.change(|life| life.cleared(now, result.is_ok()))
            }
            Happened::Time => {
                if self.store_at.is_some_and(|at| now >= at) {
                    self.store().await;
                }
                if self.passed_on(now).await {
                    return;
                }
                self.change(|life| life.tick(now))
            }
        };
        self.carry_out(effects).await;
        if self.documents_at.is_some_and(|at| now >= at) {
            // They are in no row.
            self.documents_at = None;
            self.documents_after = now + DOCUMENTS_GAP;
            self.context.watchers.tell(UserId(self.row.user_id), Event::Session(self.id));
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut super::Lifecycle) -> T) -> T {
        let mut result = None;
        self.live.send_modify(|live| result = Some(change(&mut live.life)));
        result.expect("send_modify calls it")
    }

    /// Replies once SQL knows.
    async fn answer(&mut self, effects: Vec<Effect>, reply: oneshot::Sender<Result<(), CommandError>>) {
        self.carry_out(effects).await;
        if self.lost {
            // Without an answer the one who asks turns to whoever has the session now.
            return;
        }
        let result = match (self.orphan, self.store_at) {
            (true, _) => Err(Refusal::Ended.into()),
            (false, Some(_)) if self.away => Err(CommandError::Unkept),
            (false, Some(_)) => Err(CommandError::NotStored),
            (false, None) => Ok(()),
        };
        let _asker_gone = reply.send(result);
    }

    async fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            // What follows a write that was refused is another server's to do.
            if self.lost {
                return;
            }
            match effect {
                Effect::Store => self.store().await,
                Effect::Start { again } => self.launch = Some(self.lease.tenure.guard(self.start(again).boxed())),
                Effect::Follow => self.said = Some(Box::pin(follow(self.context.clone(), self.id))),
                Effect::Probe if self.probing => {}
                Effect::Probe => {
                    self.probing = true;
                    let (context, id) = (self.context.clone(), self.id);
                    self.jobs.push(async move { Happened::Probed(context.driver.presence(id).await) }.boxed());
                }
                Effect::AskIdle => {
                    let (agent, id) = (self.context.driver.agent(self.id), self.id);
                    let job = async move {
                        Happened::Idle(agent.status().await.ok().and_then(|status| Report::check(status, id).ok()))
                    };
                    self.jobs.push(job.boxed());
                }
                Effect::TellEnd(_) if self.telling => {}
                Effect::TellEnd(reason) => {
                    self.telling = true;
                    let agent = self.context.driver.agent(self.id);
                    self.jobs.push(async move { Happened::Told(agent.end(reason).await) }.boxed());
                }
                Effect::Remove => {
                    self.said = None;
                    self.launch = None;
                    let (context, id) = (self.context.clone(), self.id);
                    let removal = async move { Happened::Removed(context.driver.remove(id).await) };
                    self.jobs.push(self.lease.tenure.guard(removal.boxed()));
                }
                Effect::Notify(notice) => {
                    let user = UserId(self.row.user_id);
                    let told = Message::Notice { session: self.id, user, notice: notice.clone() };
                    if let Err(error) = self.context.replicas.tell(&self.context.db, &told).await {
                        tracing::warn!(session = %self.id, %error, "a notice reaches those who use this server only");
                    }
                    self.context.watchers.tell(user, Event::Notice(self.id, notice));
                }
            }
        }
    }

    /// Writes the row and tells who watches.
    async fn store(&mut self) {
        self.store_at = None;
        let columns = Columns::of(&self.live.borrow().life);
        if columns == self.stored || self.orphan {
            return;
        }
        match row::store(&self.context.db, self.id, &self.lease, &columns).await {
            Ok(Stored::NotOurs) => self.lost = true,
            Ok(Stored::Yes) => {
                self.note(&columns);
                self.stored = columns;
                self.context.watchers.tell(UserId(self.row.user_id), Event::Session(self.id));
            }
            Ok(Stored::Gone) => {
                tracing::warn!(session = %self.id, "the session's row is gone; ending what runs");
                self.orphan = true;
                self.context.watchers.tell(UserId(self.row.user_id), Event::Session(self.id));
                let now = self.context.clock.now();
                let effects = self.change(|life| life.ask_end(now, EndReason::Evicted));
                Box::pin(self.carry_out(effects)).await;
            }
            Err(error) => {
                tracing::warn!(session = %self.id, %error, "the session's row can't be written; trying again");
                self.away = crate::db::is_away(&error);
                self.store_at = Some(self.context.clock.now() + STORE_RETRY);
            }
        }
    }

    /// Does what its user asked another server for, and what this one was asked while it was away.
    async fn asked(&mut self) {
        let row = match Entity::find_by_id(self.id.0).one(&self.context.db).await {
            Ok(Some(row)) => row,
            // Asked again by whoever waits for it, at the latest by its user.
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(session = %self.id, %error, "what a session is asked for can't be read");
                return;
            }
        };
        let now = self.context.clock.now();
        let mut effects = vec![];
        if row.keep_asked_at.is_some() {
            // A refusal was known to the one who asked.
            effects.extend(self.change(|life| life.extend(now)).unwrap_or_default());
        }
        if let Some(reason) = row.end_asked.as_deref().and_then(|text| text.parse().ok()) {
            effects.extend(self.change(|life| life.ask_end(now, reason)));
        }
        self.carry_out(effects).await;
        if (row.end_asked.is_some() || row.keep_asked_at.is_some())
            && !self.lost
            // Not where the row does not say it yet: asked again in a second.
            && self.store_at.is_none()
            && let Err(error) = row::answered(&self.context.db, &self.lease, &row).await
        {
            tracing::warn!(session = %self.id, %error, "that a session did what it was asked for can't be written");
        }
    }

    /// Gives the session to another server where its agent can't be heard from here, so that it does not end for what may
    /// be this server's network. True also where that has to be tried again. False: nothing is to be given up, or nobody is
    /// left who has not tried.
    async fn passed_on(&mut self, now: OffsetDateTime) -> bool {
        if !self.context.replicas.several() || !self.live.borrow().life.is_given_up(now) {
            return false;
        }
        match pass_on(&self.context, self.id, &self.lease, &self.live).await {
            Ok(false) => false,
            Ok(true) => {
                tracing::warn!(session = %self.id, "the session's agent can't be reached from here; another server takes it");
                self.lost = true;
                true
            }
            Err(error) => {
                tracing::warn!(session = %self.id, %error, "a session can't be given to another server; trying again");
                // Whatever was due is due still.
                self.context.clock.sleep_until(now + STORE_RETRY).await;
                true
            }
        }
    }

    /// Shows other servers what is not in the row.
    async fn show(&mut self) {
        let told = Told::by(&self.live.borrow());
        if self.lost || !self.context.replicas.several() || self.shown.as_ref() == Some(&told) {
            self.show_at = None;
            return;
        }
        let now = self.context.clock.now();
        if now < self.show_after {
            self.show_at = Some(self.show_after);
            return;
        }
        self.show_after = now + SHOW_GAP;
        // Again at the next change, where it fails.
        self.show_at = None;
        match serde_json::to_string(&told) {
            Ok(body) => match row::show(&self.context.db, self.id, &self.lease, body).await {
                Ok(_) => self.shown = Some(told),
                Err(error) => {
                    tracing::warn!(session = %self.id, %error, "other servers can't be shown how a session is");
                    self.show_at = Some(self.show_after);
                }
            },
            Err(error) => tracing::error!(session = %self.id, %error, "a report can't be written as JSON"),
        }
    }

    /// Logs and counts what changed.
    fn note(&mut self, new: &Columns) {
        self.counted.change_to(new.status);
        if new.step != self.stored.step || new.started_at != self.stored.started_at {
            let took = (self.context.clock.now() - self.row.created_at).as_seconds_f64();
            let step = if new.started_at.is_some() { "running" } else { new.step.as_str() };
            metrics::histogram!("gimp_platform_session_start_seconds", "step" => step).record(took);
        }
        match (&self.stored.end, &new.end) {
            (None, Some((reason, _))) => tracing::info!(session = %self.id, %reason, "session ends"),
            _ if new.status == SessionStatus::Running && self.stored.status == SessionStatus::Starting => {
                tracing::info!(session = %self.id, "session runs");
            }
            _ => {}
        }
        if let (Some(_), Some((reason, _))) = (new.ended_at, &new.end) {
            metrics::counter!("gimp_platform_session_ends_total", "reason" => reason.as_str()).increment(1);
            tracing::info!(session = %self.id, %reason, status = %new.status, "session ended");
        }
    }

    fn start(&self, again: bool) -> impl Future<Output = Happened> + use<> {
        let (context, progress, row, id) = (self.context.clone(), self.progress.0.clone(), self.row.clone(), self.id);
        async move {
            if again && let Err(error) = context.driver.remove(id).await {
                return Happened::Launched(Err(StartError::Internal(error)));
            }
            let allotment = match context.workspaces.allotment(UserId(row.user_id)).await {
                Ok(allotment) => allotment,
                Err(error) => return Happened::Launched(Err(StartError::Internal(error.into()))),
            };
            let default = Resources::default();
            let request = StartRequest {
                session: id,
                user: UserId(row.user_id),
                uid_offset: allotment.uid_offset,
                screen: ScreenSize {
                    width: u16::try_from(row.screen_width).unwrap_or(1280),
                    height: u16::try_from(row.screen_height).unwrap_or(800),
                    scale: row.screen_scale,
                },
                cpu_millis: row.cpu_request.parse().unwrap_or(default.cpu).0,
                memory_bytes: row.memory_request.parse().unwrap_or(default.memory).0,
                quota_bytes: allotment.quota_bytes,
                history: context.workspaces.history_limits(),
            };
            // Full is impossible: each step is told once, and all fit.
            let tell = |step| {
                let _full = progress.try_send(step);
            };
            Happened::Launched(context.driver.start(&request, &tell).await)
        }
    }

    /// What the user is told; the cause is logged.
    fn start_failed(&self, error: &StartError) -> StartFailure {
        let (reason, detail) = match error {
            StartError::NoRoom(words) => (EndReason::Evicted, words.clone()),
            StartError::Unsupported(words) => (EndReason::Crashed, words.clone()),
            StartError::Internal(_) => (
                EndReason::Crashed,
                "The session could not be started. Try again; if it stays, tell your administrator.".to_owned(),
            ),
        };
        let cause = std::error::Error::source(error).map(|cause| format!("{cause:#}"));
        tracing::warn!(session = %self.id, %error, cause, "session could not be started");
        StartFailure { reason, detail }
    }
}

/// False: no living server is left that has not tried to reach the session's agent.
async fn pass_on(
    context: &Context,
    session: SessionId,
    lease: &Lease,
    live: &watch::Sender<Live>,
) -> Result<bool, sea_orm::DbErr> {
    let others = context.replicas.living().await?;
    if !live.borrow().life.may_be_heard_by(&others) {
        return Ok(false);
    }
    live.send_modify(|live| live.life.unheard_by(context.replicas.id()));
    let told = serde_json::to_string(&Told::by(&live.borrow()));
    let told = told.map_err(|error| sea_orm::DbErr::Custom(error.to_string()))?;
    // Whoever takes it knows who has tried.
    row::show(&context.db, session, lease, told).await?;
    context.pass_on(session);
    row::release(&context.db, session, lease).await?;
    if let Err(error) = context.replicas.tell(&context.db, &Message::Left).await {
        tracing::debug!(%error, "the others see in a second that a session has no keeper");
    }
    Ok(true)
}

/// What the agent says, now and after each change, for ever: reconnects by itself, tells each failure once a try.
pub(super) fn follow(context: Arc<Context>, session: SessionId) -> impl Stream<Item = Result<Report, Silence>> + Send {
    let following = Following { context, session, events: None, failures: 0, window: (Instant::now(), 0) };
    futures::stream::unfold(following, |mut following| async move {
        let said = following.next().await;
        Some((said, following))
    })
}

struct Following {
    context: Arc<Context>,
    session: SessionId,
    events: Option<BoxStream<'static, Result<AgentStatus, AgentError>>>,
    failures: u32,
    /// Start of the current second and how much was told in it.
    window: (Instant, u32),
}

impl Following {
    async fn next(&mut self) -> Result<Report, Silence> {
        self.not_too_fast().await;
        let said = self.hear().await;
        match &said {
            Ok(_) => self.failures = 0,
            Err(_) => {
                self.events = None;
                self.failures = self.failures.saturating_add(1);
            }
        }
        said
    }

    async fn hear(&mut self) -> Result<Report, Silence> {
        let events = match &mut self.events {
            Some(events) => events,
            None => {
                if let Some(doublings) = self.failures.checked_sub(1) {
                    tokio::time::sleep((RECONNECT_FIRST * 2_u32.pow(doublings.min(8))).min(RECONNECT_LAST)).await;
                }
                let events = self.context.driver.agent(self.session).events().await;
                self.events.insert(Box::pin(events.map_err(|error| self.context.silence(self.session, &error))?))
            }
        };
        let heard = match tokio::time::timeout(self.context.quiet_limit, events.next()).await {
            Ok(heard) => heard.ok_or(Silence::Unreachable)?,
            // Nothing to say, or hung.
            Err(_) => self.context.driver.agent(self.session).status().await,
        };
        let status = heard.map_err(|error| self.context.silence(self.session, &error))?;
        Report::check(status, self.session).map_err(|error| {
            tracing::warn!(session = %self.session, %error, "an agent can't be believed");
            Silence::Unresponsive
        })
    }

    async fn not_too_fast(&mut self) {
        let (since, count) = &mut self.window;
        if since.elapsed() >= Duration::from_secs(1) {
            (*since, *count) = (Instant::now(), 0);
        }
        *count += 1;
        if *count > REPORTS_PER_SECOND {
            tokio::time::sleep_until(*since + Duration::from_secs(1)).await;
        }
    }
}

impl Context {
    fn silence(&self, session: SessionId, error: &AgentError) -> Silence {
        tracing::debug!(%session, %error, "agent not heard");
        match error {
            AgentError::Unreachable(_) => Silence::Unreachable,
            AgentError::Slow | AgentError::Refused { .. } | AgentError::Garbled(_) => Silence::Unresponsive,
        }
    }
}
