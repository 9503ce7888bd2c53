//! What a session may do, and when and why it ends. Pure: the time and whatever happened are arguments, effects are
//! returned and carried out by `keeper`.
//!
//! ```text
//!            the agent says "running"        asked, expired, idle, GIMP quit
//!  Starting ------------------------> Running ------------------------> Ending ----> Clearing ----> Ended
//!      |  \__________ asked, too slow _________________________________/                ^
//!      |                                 |                                              |
//!      +--- the start failed ------------+--- agent or sandbox lost --------------------+
//! ```
//!
//! Nothing goes back: not the phase, the step, the stage, nor the reason of an end.

use protocol::agent::{AgentPhase, EndLimits, Supervised};
use protocol::session::{EndReason, EndStage, SessionStatus, StartStep};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::report::{Report, Restart, supervised};
use crate::config::Settings;
use crate::driver::Lost;

/// From creation to a painted GIMP.
pub const START_LIMIT: Duration = Duration::minutes(3);
/// How long an agent may be out of reach, its sandbox there, before it counts as dead.
pub const UNREACHABLE_LIMIT: Duration = Duration::seconds(5);
/// The same where it takes calls but does not answer, or answers nonsense: the machine may be very busy.
pub const UNRESPONSIVE_LIMIT: Duration = Duration::seconds(60);
/// On top of the stages' own limits.
const ENDING_SLACK: Duration = Duration::seconds(10);
/// A server that finds a session after its end was due warns and waits this long.
const FOUND_LATE: Duration = Duration::minutes(1);
/// An agent is asked how idle it is at most this often.
const ASK_INTERVAL: Duration = Duration::minutes(1);
/// Between two attempts to make the agent end.
const TELL_INTERVAL: Duration = Duration::seconds(2);
/// Input this much younger than the last known is news; less is how late the answer came.
const INPUT_JITTER: Duration = Duration::seconds(5);
/// Between two notices about restarts.
const RESTART_NOTICE_INTERVAL: Duration = Duration::seconds(10);
/// Attempts to remove what is left of a session before its row says so and reconcile goes on trying.
const CLEARING_ATTEMPTS: u32 = 6;

const AGENT_DIED: &str = "The program that looks after the session died.";
/// Words for people behind an end that may have cost them unsaved work.
const KEPT: &str = "Copies of unsaved images that could be made were kept; your next start offers them.";

/// The settings that lifecycles obey.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// From start or extension to the end.
    pub lifetime: Duration,
    /// Extensions end here, counted from creation.
    pub max_lifetime: Duration,
    /// Without human input; None: for ever.
    pub idle: Option<Duration>,
    /// How long before an end the user is warned; zero: not at all.
    pub warn: Duration,
    /// For all stages of a planned end.
    pub ending: Duration,
}

impl Rules {
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let minutes = |minutes: u32| Duration::minutes(i64::from(minutes));
        let limits = EndLimits::default();
        let stages = limits.save_ms + limits.quit_ms + limits.terminate_ms + limits.kill_ms + limits.display_ms;
        let lifetime = minutes(settings.session_minutes);
        Self {
            lifetime,
            max_lifetime: minutes(settings.session_max_minutes).max(lifetime),
            idle: (settings.idle_minutes > 0).then(|| minutes(settings.idle_minutes)),
            warn: minutes(settings.warn_minutes),
            ending: Duration::milliseconds(i64::try_from(stages).unwrap_or(i64::MAX)).saturating_add(ENDING_SLACK),
        }
    }

    /// A warning never takes more than half of what it warns about.
    fn warn_before(&self, whole: Duration) -> Duration {
        self.warn.min(whole / 2)
    }
}

/// One session.
#[derive(Debug, Clone, PartialEq)]
pub struct Lifecycle {
    rules: Rules,
    phase: Phase,
    step: StartStep,
    stage: Option<EndStage>,
    created_at: OffsetDateTime,
    started_at: Option<OffsetDateTime>,
    ended_at: Option<OffsetDateTime>,
    expires_at: OffsetDateTime,
    /// Another run of the server began it.
    found: bool,
    /// Since when this server knows the session.
    watched_since: OffsetDateTime,
    link: Link,
    idle: Idle,
    /// The end the user was last warned of.
    warned: Option<OffsetDateTime>,
    restarts: Restarts,
    /// Servers from which its agent could not be reached, one after the other, since it was heard last.
    unheard_by: Vec<Uuid>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    Starting,
    Running,
    /// The agent goes through the stages of a planned end, or is about to be told to.
    Ending {
        end: End,
        by: OffsetDateTime,
        told_at: Option<OffsetDateTime>,
        /// The agent said that it is ending.
        acknowledged: bool,
    },
    /// The driver removes what is left.
    Clearing {
        end: End,
        failures: u32,
        retry_at: Option<OffsetDateTime>,
    },
    Ended {
        end: End,
    },
}

/// Why and how a session ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    pub reason: EndReason,
    /// For people.
    pub detail: String,
    /// It was no planned end.
    pub failed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    /// The driver is starting it: nobody to talk to yet.
    Launching,
    /// Found after a restart of the server and not yet heard.
    Found,
    Connected,
    Lost {
        since: OffsetDateTime,
        silence: Silence,
    },
}

/// How an agent can't be heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// Nobody takes the call.
    Unreachable,
    /// The call is taken, but no answer comes, or none that makes sense.
    Unresponsive,
}

impl Silence {
    /// How long it is borne.
    const fn limit(self) -> Duration {
        match self {
            Self::Unreachable => UNREACHABLE_LIMIT,
            Self::Unresponsive => UNRESPONSIVE_LIMIT,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Idle {
    /// The last human input known.
    input_at: Option<OffsetDateTime>,
    /// When its user last asked to keep the session: as good as input.
    kept_at: Option<OffsetDateTime>,
    asked_at: Option<OffsetDateTime>,
    /// The `used_at` the user was warned for.
    warned: Option<OffsetDateTime>,
}

impl Idle {
    /// Since when nobody has used it; None until the agent has said so once.
    fn used_at(&self) -> Option<OffsetDateTime> {
        self.input_at.map(|input_at| self.kept_at.map_or(input_at, |kept_at| kept_at.max(input_at)))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Restarts {
    /// None: whatever comes first happened before this server looked.
    last: Option<Option<Restart>>,
    noticed_at: Option<OffsetDateTime>,
}

/// Why something can't be done now. The words tell the user what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("The session is still starting. Wait until GIMP is there and try again.")]
    Starting,
    #[error("The session is ending. Start a new one when it has ended.")]
    Ending,
    #[error("The session has ended. Start a new one.")]
    Ended,
    #[error(
        "The session can't be made longer: it has reached the longest time a session may last. Save your work and start a new one."
    )]
    LongestTime,
}

/// Why the driver could not start a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartFailure {
    pub reason: EndReason,
    /// For people.
    pub detail: String,
}

/// What `keeper` has to do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Write the row, tell who watches.
    Store,
    /// Have the driver start the sandbox; `again`: remove what an earlier server left of an attempt first.
    Start {
        again: bool,
    },
    /// Follow the agent's events from now on.
    Follow,
    /// Ask the driver whether the sandbox is there.
    Probe,
    AskIdle,
    TellEnd(EndReason),
    /// Stop following, forget a start that goes on, and have the driver remove what is left.
    Remove,
    Notify(Notice),
}

/// Something the user should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    pub kind: NoticeKind,
    pub detail: String,
    /// When it happened or, for a warning, will.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum NoticeKind {
    /// The session's end is near.
    Expiring,
    /// The session will be ended because nobody uses it.
    Idle,
    /// GIMP or another program of the session died and was brought back.
    Restarted,
    /// The workspace is full.
    OverQuota,
}

type Effects = Vec<Effect>;

/// What a row in SQL says about a session that has not ended.
#[derive(Debug, Clone)]
pub struct Found {
    pub step: StartStep,
    pub stage: Option<EndStage>,
    pub created_at: OffsetDateTime,
    pub started_at: Option<OffsetDateTime>,
    pub expires_at: OffsetDateTime,
    /// An end that had begun.
    pub end: Option<(EndReason, Option<String>)>,
}

/// What a keeper knows beyond the row, and shows to other servers. See the fields of `Lifecycle` and `Idle`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memo {
    #[serde(with = "time::serde::rfc3339")]
    watched_since: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    input_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    kept_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    idle_warned: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    warned: Option<OffsetDateTime>,
    #[serde(default)]
    unheard_by: Vec<Uuid>,
}

impl Lifecycle {
    /// A session that begins now.
    #[must_use]
    pub fn begin(rules: Rules, now: OffsetDateTime) -> (Self, Effects) {
        let life = Self {
            rules,
            phase: Phase::Starting,
            step: StartStep::CreatingWorkspace,
            stage: None,
            created_at: now,
            started_at: None,
            ended_at: None,
            expires_at: now + rules.lifetime,
            found: false,
            watched_since: now,
            link: Link::Launching,
            idle: Idle::default(),
            warned: None,
            restarts: Restarts { last: Some(None), noticed_at: None },
            unheard_by: vec![],
        };
        (life, vec![Effect::Start { again: false }])
    }

    /// A session that another run of the server began.
    #[must_use]
    pub fn find(rules: Rules, now: OffsetDateTime, found: Found) -> (Self, Effects) {
        let phase = match found.end {
            Some((reason, detail)) => Phase::Ending {
                end: End {
                    reason,
                    detail: detail.unwrap_or_else(|| planned(reason).to_owned()),
                    failed: reason == EndReason::Crashed,
                },
                by: now + rules.ending,
                told_at: None,
                acknowledged: false,
            },
            None if found.started_at.is_some() => Phase::Running,
            None => Phase::Starting,
        };
        let life = Self {
            rules,
            phase,
            step: found.step,
            stage: found.stage,
            created_at: found.created_at,
            started_at: found.started_at,
            ended_at: None,
            expires_at: found.expires_at,
            found: true,
            watched_since: now,
            link: Link::Found,
            idle: Idle::default(),
            warned: None,
            restarts: Restarts::default(),
            unheard_by: vec![],
        };
        (life, vec![Effect::Probe, Effect::Follow])
    }

    /// A session that another server looks after, as it shows it: to be looked at.
    #[must_use]
    pub fn seen(
        rules: Rules,
        now: OffsetDateTime,
        found: Found,
        ended_at: Option<OffsetDateTime>,
        memo: Option<&Memo>,
    ) -> Self {
        let (mut life, _theirs) = Self::find(rules, now, found);
        if let Some(memo) = memo {
            life.watched_since = memo.watched_since;
            life.remember(memo);
        }
        if ended_at.is_some() {
            let end = life.end().cloned();
            let evicted =
                || End { reason: EndReason::Evicted, detail: planned(EndReason::Evicted).to_owned(), failed: false };
            life.phase = Phase::Ended { end: end.unwrap_or_else(evicted) };
            life.ended_at = ended_at;
        }
        life
    }

    /// What the keeper before knew. How long this one has watched stays: nobody is surprised by an end.
    pub fn remember(&mut self, memo: &Memo) {
        self.idle.input_at = memo.input_at;
        self.idle.kept_at = memo.kept_at;
        self.idle.warned = memo.idle_warned;
        self.warned = memo.warned;
        self.unheard_by.clone_from(&memo.unheard_by);
    }

    /// What is known beyond the row.
    #[must_use]
    pub fn memo(&self) -> Memo {
        Memo {
            watched_since: self.watched_since,
            input_at: self.idle.input_at,
            kept_at: self.idle.kept_at,
            idle_warned: self.idle.warned,
            warned: self.warned,
            unheard_by: self.unheard_by.clone(),
        }
    }

    #[must_use]
    pub fn status(&self) -> SessionStatus {
        match &self.phase {
            Phase::Ended { end } if end.failed => SessionStatus::Error,
            Phase::Ended { .. } => SessionStatus::Stopped,
            _ if self.started_at.is_some() => SessionStatus::Running,
            _ => SessionStatus::Starting,
        }
    }

    #[must_use]
    pub const fn phase(&self) -> &Phase {
        &self.phase
    }

    #[must_use]
    pub const fn step(&self) -> StartStep {
        self.step
    }

    #[must_use]
    pub const fn stage(&self) -> Option<EndStage> {
        self.stage
    }

    #[must_use]
    pub const fn created_at(&self) -> OffsetDateTime {
        self.created_at
    }

    #[must_use]
    pub const fn started_at(&self) -> Option<OffsetDateTime> {
        self.started_at
    }

    #[must_use]
    pub const fn ended_at(&self) -> Option<OffsetDateTime> {
        self.ended_at
    }

    #[must_use]
    pub const fn expires_at(&self) -> OffsetDateTime {
        self.expires_at
    }

    /// The end, once one has begun.
    #[must_use]
    pub const fn end(&self) -> Option<&End> {
        match &self.phase {
            Phase::Starting | Phase::Running => None,
            Phase::Ending { end, .. } | Phase::Clearing { end, .. } | Phase::Ended { end } => Some(end),
        }
    }

    /// The last human input known.
    #[must_use]
    pub const fn input_at(&self) -> Option<OffsetDateTime> {
        self.idle.input_at
    }

    /// Whether the picture may be looked at and files be opened.
    ///
    /// # Errors
    /// Why not.
    pub const fn usable(&self) -> Result<(), Refusal> {
        match self.phase {
            Phase::Starting => Err(Refusal::Starting),
            Phase::Running => Ok(()),
            Phase::Ending { .. } | Phase::Clearing { .. } => Err(Refusal::Ending),
            Phase::Ended { .. } => Err(Refusal::Ended),
        }
    }

    /// Moves the end to a whole lifetime from now, within the longest time a session may last. Counts as use: who was
    /// warned of idleness keeps the session by it.
    ///
    /// # Errors
    /// When it is ending or ended; when the end can't be moved any further, unless there was a warning of idleness.
    pub fn extend(&mut self, now: OffsetDateTime) -> Result<Effects, Refusal> {
        match self.phase {
            Phase::Starting | Phase::Running => {}
            Phase::Ending { .. } | Phase::Clearing { .. } => return Err(Refusal::Ending),
            Phase::Ended { .. } => return Err(Refusal::Ended),
        }
        let longest = self.created_at + self.rules.max_lifetime;
        let warned_of_idleness = self.idle.warned.is_some();
        if self.expires_at >= longest && !warned_of_idleness {
            return Err(Refusal::LongestTime);
        }
        self.idle.kept_at = Some(now);
        self.idle.warned = None;
        // Moving the clock back must not shorten a session.
        self.expires_at = (now + self.rules.lifetime).min(longest).max(self.expires_at);
        Ok(vec![Effect::Store])
    }

    /// Begins a planned end. What has begun already keeps its reason.
    pub fn ask_end(&mut self, now: OffsetDateTime, reason: EndReason) -> Effects {
        let failed = reason == EndReason::Crashed;
        let mut effects = self.begin_end(now, End { reason, detail: planned(reason).to_owned(), failed });
        effects.extend(self.tick(now));
        effects
    }

    /// The driver is this far.
    pub fn progress(&mut self, step: StartStep) -> Effects {
        match self.phase {
            Phase::Starting if step > self.step => {
                self.step = step;
                vec![Effect::Store]
            }
            _ => vec![],
        }
    }

    /// The driver has started the sandbox, or could not.
    pub fn launched(&mut self, now: OffsetDateTime, result: Result<(), StartFailure>) -> Effects {
        if self.link != Link::Launching {
            return vec![];
        }
        match (result, &self.phase) {
            (Ok(()), Phase::Starting | Phase::Running | Phase::Ending { .. }) => {
                self.link = Link::Connected;
                let mut effects = vec![Effect::Follow];
                effects.extend(self.tick(now));
                effects
            }
            (Ok(()), Phase::Clearing { .. } | Phase::Ended { .. }) => vec![],
            (Err(_), Phase::Ending { end, .. }) => {
                let end = end.clone();
                self.clear(end)
            }
            (Err(StartFailure { reason, detail }), _) => self.clear(End { reason, detail, failed: true }),
        }
    }

    /// The agent told its state.
    pub fn heard(&mut self, now: OffsetDateTime, report: &Report) -> Effects {
        if matches!(self.phase, Phase::Clearing { .. } | Phase::Ended { .. }) {
            return vec![];
        }
        self.link = Link::Connected;
        self.unheard_by.clear();
        let mut effects = self.heard_restarts(now, &report.restarts);
        match report.phase {
            AgentPhase::Starting { step } => effects.extend(self.progress(step)),
            AgentPhase::Running | AgentPhase::Restarting => {
                if self.phase == Phase::Starting {
                    self.phase = Phase::Running;
                    self.step = StartStep::Ready;
                    self.started_at = Some(now);
                    effects.push(Effect::Store);
                }
            }
            AgentPhase::Ending { reason, stage } => {
                effects.extend(self.begin_end(now, by_itself(reason, report)));
                if let Phase::Ending { acknowledged, .. } = &mut self.phase {
                    *acknowledged = true;
                }
                if self.stage.is_none_or(|known| stage > known) {
                    self.stage = Some(stage);
                    effects.push(Effect::Store);
                }
            }
            AgentPhase::Ended { reason } => effects.extend(self.clear(by_itself(reason, report))),
        }
        effects.extend(self.heard_idle(now, report.idle));
        effects.extend(self.tick(now));
        effects
    }

    /// The agent can't be heard.
    pub fn silent(&mut self, now: OffsetDateTime, silence: Silence) -> Effects {
        let since = match (self.link, &self.phase) {
            (_, Phase::Clearing { .. } | Phase::Ended { .. }) | (Link::Launching, _) => return vec![],
            (Link::Lost { since, .. }, _) => since,
            (Link::Found | Link::Connected, _) => now,
        };
        self.link = Link::Lost { since, silence };
        vec![Effect::Probe]
    }

    /// The driver sees the sandbox.
    pub fn present(&mut self, now: OffsetDateTime) -> Effects {
        let Link::Lost { since, silence } = self.link else { return vec![] };
        // Found halfway through its start: the agent may not be up yet.
        if self.started_at.is_none() || now - since < silence.limit() {
            return vec![];
        }
        self.clear(crashed(match silence {
            Silence::Unreachable => AGENT_DIED,
            Silence::Unresponsive => "The program that looks after the session hung.",
        }))
    }

    /// Whether the session would be ended now only because its agent can't be heard from here.
    #[must_use]
    pub fn is_given_up(&self, now: OffsetDateTime) -> bool {
        let Link::Lost { since, silence } = self.link else { return false };
        match self.phase {
            Phase::Starting => now >= self.start_due(),
            Phase::Running | Phase::Ending { .. } => self.started_at.is_some() && now - since >= silence.limit(),
            Phase::Clearing { .. } | Phase::Ended { .. } => false,
        }
    }

    /// `server` could not reach its agent, so another is to try.
    pub fn unheard_by(&mut self, server: Uuid) {
        if !self.unheard_by.contains(&server) {
            self.unheard_by.push(server);
        }
    }

    /// Whether one of these servers has not tried yet.
    #[must_use]
    pub fn may_be_heard_by(&self, servers: &[Uuid]) -> bool {
        servers.iter().any(|server| !self.unheard_by.contains(server))
    }

    /// The driver sees that the sandbox is on its way: an earlier server waited for it, and may have died before all of it
    /// was made.
    pub fn underway(&mut self, now: OffsetDateTime) -> Effects {
        if self.link == Link::Launching {
            return vec![];
        }
        if self.phase != Phase::Starting || now >= self.created_at + START_LIMIT {
            return self.present(now);
        }
        self.link = Link::Launching;
        vec![Effect::Start { again: false }]
    }

    /// The driver sees no sandbox; `last` is what its agent said last, `lost` what took it away.
    pub fn gone(&mut self, now: OffsetDateTime, last: Option<&Report>, lost: Option<Lost>) -> Effects {
        if self.link == Link::Launching {
            return vec![];
        }
        // An earlier server died between making the row and making the sandbox: nothing has run, so begin again.
        let never_ran = last.is_none() && lost.is_none() && self.step == StartStep::CreatingWorkspace;
        if self.found && never_ran && self.phase == Phase::Starting && now < self.created_at + START_LIMIT {
            self.link = Link::Launching;
            return vec![Effect::Start { again: true }];
        }
        // An agent that came through to its own end knows best.
        let ended = last.is_some_and(|report| matches!(report.phase, AgentPhase::Ended { .. }));
        let end = match (last, lost.filter(|_| !ended)) {
            (_, Some(lost)) => End { reason: lost.reason, detail: format!("{} {KEPT}", lost.detail), failed: true },
            (Some(report), None) => match report.phase {
                AgentPhase::Ending { reason, .. } | AgentPhase::Ended { reason } => by_itself(reason, report),
                AgentPhase::Starting { .. } | AgentPhase::Running | AgentPhase::Restarting => {
                    crashed("The session's programs were killed.")
                }
            },
            (None, None) => crashed("The session's programs are gone: they were killed, or the machine was restarted."),
        };
        self.clear(end)
    }

    /// The driver removed what was left, or could not.
    pub fn cleared(&mut self, now: OffsetDateTime, done: bool) -> Effects {
        let Phase::Clearing { end, failures, retry_at } = &mut self.phase else { return vec![] };
        *failures += u32::from(!done);
        if !done && *failures < CLEARING_ATTEMPTS {
            *retry_at = Some(now + Duration::milliseconds(500) * 2_i32.pow(*failures));
            return vec![];
        }
        self.phase = Phase::Ended { end: end.clone() };
        self.ended_at = Some(now.max(self.created_at));
        vec![Effect::Store]
    }

    /// What is due at this time.
    pub fn tick(&mut self, now: OffsetDateTime) -> Effects {
        match &mut self.phase {
            Phase::Starting => self.tick_starting(now),
            Phase::Running => {
                let mut effects = self.tick_expiry(now);
                if self.phase == Phase::Running && self.idle_due().is_some_and(|due| now >= due) {
                    self.idle.asked_at = Some(now);
                    effects.push(Effect::AskIdle);
                }
                effects
            }
            Phase::Ending { end, by, .. } if now >= *by => {
                end.detail = format!("{} It took too long, so its programs were stopped. {KEPT}", end.detail);
                let end = end.clone();
                self.clear(end)
            }
            Phase::Ending { end, told_at, acknowledged, .. } => {
                let due = told_at.is_none_or(|told| now >= told + TELL_INTERVAL);
                if *acknowledged || !due || self.link == Link::Launching {
                    return vec![];
                }
                *told_at = Some(now);
                vec![Effect::TellEnd(end.reason)]
            }
            Phase::Clearing { retry_at: retry_at @ Some(_), .. } if *retry_at <= Some(now) => {
                *retry_at = None;
                vec![Effect::Remove]
            }
            Phase::Clearing { .. } | Phase::Ended { .. } => vec![],
        }
    }

    /// When `tick` has something to do next, if nothing else happens. Later than the last tick.
    #[must_use]
    pub fn wake_at(&self) -> Option<OffsetDateTime> {
        match &self.phase {
            Phase::Starting => Some(self.start_due()),
            Phase::Running => {
                let end = self.end_due();
                let expiry = if self.warned == Some(end) { end } else { self.expiry_warning().unwrap_or(end) };
                Some(self.idle_due().map_or(expiry, |idle| idle.min(expiry)))
            }
            Phase::Ending { by, acknowledged: true, .. } => Some(*by),
            Phase::Ending { by, .. } if self.link == Link::Launching => Some(*by),
            Phase::Ending { by, told_at, .. } => Some(told_at.map_or(*by, |told| (told + TELL_INTERVAL).min(*by))),
            Phase::Clearing { retry_at, .. } => *retry_at,
            Phase::Ended { .. } => None,
        }
    }

    /// When a start takes too long. Whoever finds one listens first.
    fn start_due(&self) -> OffsetDateTime {
        let due = self.created_at + START_LIMIT;
        if self.found { due.max(self.watched_since + UNREACHABLE_LIMIT) } else { due }
    }

    fn tick_starting(&mut self, now: OffsetDateTime) -> Effects {
        if now < self.start_due() {
            return vec![];
        }
        let end = crashed("GIMP did not start in time. The machine may be overloaded: try again in a few minutes.");
        if self.link != Link::Connected {
            return self.clear(end);
        }
        let mut effects = self.begin_end(now, end);
        effects.extend(self.tick(now));
        effects
    }

    fn tick_expiry(&mut self, now: OffsetDateTime) -> Effects {
        let end = self.end_due();
        if now >= end {
            return self.ask_end(now, EndReason::Expired);
        }
        if self.warned == Some(end) || self.expiry_warning().is_none_or(|at| now < at) {
            return vec![];
        }
        self.warned = Some(end);
        vec![Effect::Notify(expiring(end))]
    }

    /// The warnings that still hold, for whoever was not there when they were given.
    #[must_use]
    pub fn warnings(&self) -> Vec<Notice> {
        if self.phase != Phase::Running {
            return vec![];
        }
        let end = self.end_due();
        let expiring = (self.warned == Some(end)).then(|| expiring(end));
        let idle = self.idle.warned.and(self.rules.idle).zip(self.idle.used_at());
        let idle = idle.map(|(limit, used_at)| idling(self.idle_end(used_at, limit)));
        expiring.into_iter().chain(idle).collect()
    }

    /// When the session ends unless it is used: not before a user of a server that was away has been warned.
    fn idle_end(&self, used_at: OffsetDateTime, limit: Duration) -> OffsetDateTime {
        (used_at + limit).max(self.watched_since + FOUND_LATE)
    }

    /// When the session expires: not before a user of a server that was away has been warned.
    fn end_due(&self) -> OffsetDateTime {
        self.expires_at.max(self.watched_since + FOUND_LATE)
    }

    fn expiry_warning(&self) -> Option<OffsetDateTime> {
        let before = self.rules.warn_before(self.rules.lifetime);
        before.is_positive().then(|| self.end_due() - before)
    }

    /// Ends or warns by how long nobody has used GIMP, measured just now.
    fn heard_idle(&mut self, now: OffsetDateTime, idle: Duration) -> Effects {
        let input_at = (now - idle).max(self.created_at.min(now));
        self.idle.input_at = Some(input_at);
        let used_at = self.idle.used_at().unwrap_or(input_at);
        if self.idle.warned.is_some_and(|warned| used_at > warned + INPUT_JITTER) {
            self.idle.warned = None;
        }
        let (Some(limit), Phase::Running) = (self.rules.idle, &self.phase) else { return vec![] };
        let end = self.idle_end(used_at, limit);
        if now >= end {
            return self.ask_end(now, EndReason::Idle);
        }
        let before = self.rules.warn_before(limit);
        if self.idle.warned.is_some() || !before.is_positive() || now < used_at + limit - before {
            return vec![];
        }
        self.idle.warned = Some(used_at);
        vec![Effect::Notify(idling(end))]
    }

    /// When the agent has to be asked: what is known may be old, so nothing follows from it alone.
    fn idle_due(&self) -> Option<OffsetDateTime> {
        let (limit, used_at) = (self.rules.idle?, self.idle.used_at()?);
        let due = if self.idle.warned.is_some() {
            self.idle_end(used_at, limit)
        } else {
            used_at + limit - self.rules.warn_before(limit)
        };
        Some(self.idle.asked_at.map_or(due, |asked| due.max(asked + ASK_INTERVAL)))
    }

    fn heard_restarts(&mut self, now: OffsetDateTime, restarts: &[Restart]) -> Effects {
        let newest = restarts.last().cloned();
        let Some(known) = self.restarts.last.replace(newest.clone()) else { return vec![] };
        let Some(restart) = newest.filter(|restart| known.as_ref() != Some(restart)) else { return vec![] };
        // Of the others the user notices nothing.
        if !matches!(restart.what, Supervised::Gimp | Supervised::Display) {
            return vec![];
        }
        if self.restarts.noticed_at.is_some_and(|at| now < at + RESTART_NOTICE_INTERVAL) {
            return vec![];
        }
        self.restarts.noticed_at = Some(now);
        let detail = format!(
            "{} stopped ({}) and GIMP is started again. Copies of unsaved images that could be made are offered to you.",
            supervised(restart.what),
            restart.cause
        );
        vec![Effect::Notify(Notice { kind: NoticeKind::Restarted, detail, at: now })]
    }

    fn begin_end(&mut self, now: OffsetDateTime, end: End) -> Effects {
        match self.phase {
            Phase::Starting | Phase::Running => {
                let by = now + self.rules.ending;
                self.phase = Phase::Ending { end, by, told_at: None, acknowledged: false };
                vec![Effect::Store]
            }
            Phase::Ending { .. } | Phase::Clearing { .. } | Phase::Ended { .. } => vec![],
        }
    }

    /// Nothing is left to ask the agent for. An end that had begun keeps its reason.
    fn clear(&mut self, end: End) -> Effects {
        let end = match &self.phase {
            Phase::Starting | Phase::Running => end,
            Phase::Ending { end: begun, .. } if end.failed && !begun.failed => End {
                detail: format!("{} Its programs died before they were done. {KEPT}", begun.detail),
                ..begun.clone()
            },
            Phase::Ending { end, .. } => end.clone(),
            Phase::Clearing { .. } | Phase::Ended { .. } => return vec![],
        };
        self.phase = Phase::Clearing { end, failures: 0, retry_at: None };
        // The reason is on record before the last trace of the session goes.
        vec![Effect::Store, Effect::Remove]
    }
}

const fn planned(reason: EndReason) -> &'static str {
    match reason {
        EndReason::User => "You ended the session.",
        EndReason::Expired => "The session reached its end time.",
        EndReason::Idle => "Nobody used GIMP for a long time.",
        EndReason::Crashed => "GIMP crashed.",
        EndReason::Evicted => "The platform was shut down or needed the room.",
        EndReason::Admin => "An administrator ended the session.",
    }
}

fn expiring(at: OffsetDateTime) -> Notice {
    Notice { kind: NoticeKind::Expiring, detail: "The session ends soon. Extend it to go on.".to_owned(), at }
}

fn idling(at: OffsetDateTime) -> Notice {
    let detail = "Nobody has used GIMP for a while: the session ends soon. Move the mouse over the picture to go on.";
    Notice { kind: NoticeKind::Idle, detail: detail.to_owned(), at }
}

fn crashed(what: &str) -> End {
    End { reason: EndReason::Crashed, detail: format!("{what} {KEPT}"), failed: true }
}

/// An end that the agent began.
fn by_itself(reason: EndReason, report: &Report) -> End {
    match (reason, report.restarts.last()) {
        (EndReason::User, _) => End { reason, detail: "GIMP was closed.".to_owned(), failed: false },
        (EndReason::Crashed, _) if report.unattended => crashed(AGENT_DIED),
        (EndReason::Crashed, Some(last)) => {
            crashed(&format!("{} stopped ({}) and could not be brought back.", supervised(last.what), last.cause))
        }
        (EndReason::Crashed, None) => crashed("GIMP stopped and could not be brought back."),
        (EndReason::Expired | EndReason::Idle | EndReason::Evicted | EndReason::Admin, _) => {
            End { reason, detail: planned(reason).to_owned(), failed: false }
        }
    }
}

#[cfg(test)]
mod tests;
