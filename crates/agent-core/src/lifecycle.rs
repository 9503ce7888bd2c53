//! The life of one session: start, run, repair, end.
//!
//! ```text
//!  Starting --GIMP painted--> Running --process died--> Restarting --GIMP painted--> Running
//!     |                          |                          |
//!     +------------- end asked, GIMP quit, budget used up --+--> Ending(save > quit > terminate > kill > display)
//!                                                                                             |
//!                                                                                           Ended
//! ```
//! Stages of an end are skipped, never repeated or reordered: GIMP is told to quit only when every unsaved image has a
//! confirmed copy, and the display is touched only once GIMP is gone or past its last limit.

use std::time::Duration;

use protocol::agent::{AgentPhase, EndLimits, Supervised};
use protocol::session::{EndReason, EndStage, StartStep};

use crate::restart::RestartBudget;

/// How long the display and the bus may take to answer.
pub const SERVICE_START_LIMIT: Duration = Duration::from_secs(20);
/// How long GIMP may take to paint its window: a cold disk and a full machine included.
pub const GIMP_START_LIMIT: Duration = Duration::from_secs(120);
/// Pause between a death and the restart: the deaths that follow from the same cause arrive first.
pub const SETTLE: Duration = Duration::from_millis(300);
/// How long a process that was killed may stay before the end goes on without it.
const REAP_LIMIT: Duration = Duration::from_secs(2);

/// Everything that can happen to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// The agent is up; nothing else is.
    Begin,
    /// The process answers: the display and the bus take clients, GIMP has painted its window.
    Up(Supervised),
    Exited(Supervised, Exit),
    EndRequested(EndReason),
    /// Answer to `Effect::SaveImages`.
    SaveFinished(SaveOutcome),
    /// `deadline()` passed.
    TimePassed,
}

/// How a process went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
    /// The program could not be started at all.
    NotStarted,
    /// Killed by the agent because it did not answer in time.
    TimedOut,
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "killed by signal {signal}"),
            Self::NotStarted => f.write_str("could not be started"),
            Self::TimedOut => f.write_str("did not answer in time"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaveOutcome {
    /// Every image with unsaved changes has a copy on disk, or there was none.
    AllSafe,
    /// At least one image could not be copied, or GIMP did not answer.
    Incomplete,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopSignal {
    Terminate,
    Kill,
}

/// What the shell has to do, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    Start(Supervised),
    Signal(Supervised, StopSignal),
    /// Copy every unsaved image to the recovery store, then answer `Input::SaveFinished`.
    SaveImages,
    /// Ask GIMP to quit without asking the user.
    QuitGimp,
    /// GIMP is gone: move what it left in `backups/` to the recovery store.
    CollectBackups,
    /// Nothing more will come: leave.
    Finish,
}

/// An unplanned death that led to a restart or to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incident {
    pub at: Duration,
    pub what: Supervised,
    pub exit: Exit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Process {
    Down,
    Starting {
        until: Duration,
    },
    Up,
    /// Told to go. `blamed` deaths belong to an incident that is already counted.
    Stopping {
        until: Duration,
        blamed: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before `Begin`.
    Idle,
    Starting,
    Running,
    Restarting,
    Ending {
        reason: EndReason,
        stage: EndStage,
        until: Duration,
    },
    Ended {
        reason: EndReason,
    },
}

const ALL: [Supervised; 4] = [Supervised::Display, Supervised::Bus, Supervised::WindowManager, Supervised::Gimp];

/// The state machine. Feed `step` with what happens, call it with `Input::TimePassed` when `deadline()` is over.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    limits: EndLimits,
    state: State,
    processes: [Process; 4],
    /// Nothing is started before this.
    hold_until: Option<Duration>,
    budget: RestartBudget,
    incidents: Vec<Incident>,
}

impl Lifecycle {
    #[must_use]
    pub fn new(limits: EndLimits) -> Self {
        Self {
            limits,
            state: State::Idle,
            processes: [Process::Down; 4],
            hold_until: None,
            budget: RestartBudget::default(),
            incidents: Vec::new(),
        }
    }

    /// A session whose processes outlived their agent: everything in `alive` answers, GIMP only if `gimp_ready`.
    #[must_use]
    pub fn adopt(limits: EndLimits, alive: &[Supervised], gimp_ready: bool) -> Self {
        let mut adopted = Self::new(limits);
        for what in alive {
            adopted.set(*what, Process::Up);
        }
        adopted.state = State::Restarting;
        if alive.contains(&Supervised::Gimp) {
            if gimp_ready {
                adopted.state = State::Running;
            } else {
                adopted.set(Supervised::Gimp, Process::Starting { until: GIMP_START_LIMIT });
            }
        }
        adopted
    }

    #[must_use]
    pub fn phase(&self) -> AgentPhase {
        match self.state {
            State::Idle => AgentPhase::Starting { step: StartStep::StartingDisplay },
            State::Starting => {
                let step = match self.process(Supervised::Display) {
                    Process::Up => StartStep::StartingGimp,
                    _ => StartStep::StartingDisplay,
                };
                AgentPhase::Starting { step }
            }
            State::Running => AgentPhase::Running,
            State::Restarting => AgentPhase::Restarting,
            State::Ending { reason, stage, .. } => AgentPhase::Ending { reason, stage },
            State::Ended { reason } => AgentPhase::Ended { reason },
        }
    }

    /// Unplanned deaths so far, oldest first.
    #[must_use]
    pub fn incidents(&self) -> &[Incident] {
        &self.incidents
    }

    /// When `Input::TimePassed` is due, if ever.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let processes = ALL.iter().filter_map(|what| match self.process(*what) {
            Process::Starting { until } | Process::Stopping { until, .. } => Some(until),
            Process::Down | Process::Up => None,
        });
        match self.state {
            State::Idle | State::Ended { .. } => None,
            State::Ending { until, .. } => Some(until),
            State::Starting | State::Running | State::Restarting => processes.chain(self.hold_until).min(),
        }
    }

    /// Takes one thing that happened at `now` and says what to do. `now` never goes back.
    pub fn step(&mut self, now: Duration, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Begin => {
                if self.state == State::Idle {
                    self.state = State::Starting;
                }
            }
            Input::Up(what) => self.up(what),
            Input::Exited(what, exit) => self.exited(now, what, exit, &mut effects),
            Input::EndRequested(reason) => self.begin_end(now, reason, &mut effects),
            Input::SaveFinished(outcome) => self.save_finished(now, outcome, &mut effects),
            Input::TimePassed => self.time_passed(now, &mut effects),
        }
        self.start_what_is_missing(now, &mut effects);
        effects
    }

    fn up(&mut self, what: Supervised) {
        if matches!(self.process(what), Process::Starting { .. }) {
            self.set(what, Process::Up);
            if what == Supervised::Gimp && matches!(self.state, State::Starting | State::Restarting) {
                self.state = State::Running;
            }
        }
    }

    fn exited(&mut self, now: Duration, what: Supervised, exit: Exit, effects: &mut Vec<Effect>) {
        let before = self.process(what);
        if before == Process::Down {
            return;
        }
        self.set(what, Process::Down);
        if what == Supervised::Gimp {
            effects.push(Effect::CollectBackups);
        }
        match self.state {
            State::Idle | State::Ended { .. } => {}
            State::Ending { reason, stage, .. } => {
                if what == Supervised::Gimp && stage != EndStage::Display {
                    self.end_display(now, reason, effects);
                } else {
                    self.finish_if_all_gone(effects);
                }
            }
            State::Starting | State::Running | State::Restarting => {
                self.hold_until = Some(now + SETTLE);
                let quit_by_user = what == Supervised::Gimp && before == Process::Up && exit == Exit::Code(0);
                match before {
                    Process::Stopping { blamed: true, .. } => {}
                    Process::Stopping { blamed: false, .. } => self.incident(now, what, Exit::TimedOut, effects),
                    _ if quit_by_user => self.begin_end(now, EndReason::User, effects),
                    _ => self.incident(now, what, exit, effects),
                }
            }
        }
    }

    fn incident(&mut self, now: Duration, what: Supervised, exit: Exit, effects: &mut Vec<Effect>) {
        // The deaths that follow from this one may have been heard of first.
        let followers: &[Supervised] = match what {
            Supervised::Display => &[Supervised::Gimp, Supervised::WindowManager],
            Supervised::Bus => &[Supervised::Gimp],
            Supervised::WindowManager | Supervised::Gimp => &[],
        };
        let follows = |last: &mut Incident| now.saturating_sub(last.at) <= SETTLE && followers.contains(&last.what);
        while self.incidents.pop_if(follows).is_some() {
            self.budget.refund();
        }
        self.incidents.push(Incident { at: now, what, exit });
        if !self.budget.spend(now) {
            self.begin_end(now, EndReason::Crashed, effects);
            return;
        }
        match what {
            Supervised::WindowManager => return,
            Supervised::Gimp => {}
            // Its clients die with it; whatever hangs on is of no use.
            Supervised::Display => {
                for client in [Supervised::WindowManager, Supervised::Gimp] {
                    self.stop(client, StopSignal::Kill, now + REAP_LIMIT, effects);
                }
            }
            // GIMP ends itself by SIGTERM when it loses its bus, and without it could neither be asked to save.
            Supervised::Bus => {
                let until = now + Duration::from_millis(self.limits.terminate_ms);
                self.stop(Supervised::Gimp, StopSignal::Terminate, until, effects);
            }
        }
        if self.state == State::Running {
            self.state = State::Restarting;
        }
    }

    /// Stops a process on behalf of an incident already counted.
    fn stop(&mut self, what: Supervised, signal: StopSignal, until: Duration, effects: &mut Vec<Effect>) {
        if self.process(what) != Process::Down {
            self.set(what, Process::Stopping { until, blamed: true });
            effects.push(Effect::Signal(what, signal));
        }
    }

    fn begin_end(&mut self, now: Duration, reason: EndReason, effects: &mut Vec<Effect>) {
        match self.state {
            State::Ending { .. } | State::Ended { .. } => {}
            State::Idle => {
                self.state = State::Ended { reason };
                effects.push(Effect::Finish);
            }
            State::Starting | State::Running | State::Restarting => match self.process(Supervised::Gimp) {
                Process::Up if self.process(Supervised::Bus) == Process::Up => {
                    effects.push(Effect::SaveImages);
                    self.stage(reason, EndStage::Save, now, self.limits.save_ms);
                }
                Process::Up | Process::Starting { .. } | Process::Stopping { .. } => {
                    self.end_terminate(now, reason, effects);
                }
                Process::Down => self.end_display(now, reason, effects),
            },
        }
    }

    fn save_finished(&mut self, now: Duration, outcome: SaveOutcome, effects: &mut Vec<Effect>) {
        if let State::Ending { reason, stage: EndStage::Save, .. } = self.state {
            // GIMP is told to quit over the bus, which may have died while it saved.
            if outcome == SaveOutcome::AllSafe && self.process(Supervised::Bus) == Process::Up {
                effects.push(Effect::QuitGimp);
                self.stage(reason, EndStage::Quit, now, self.limits.quit_ms);
            } else {
                self.end_terminate(now, reason, effects);
            }
        }
    }

    fn end_terminate(&mut self, now: Duration, reason: EndReason, effects: &mut Vec<Effect>) {
        effects.push(Effect::Signal(Supervised::Gimp, StopSignal::Terminate));
        self.stage(reason, EndStage::Terminate, now, self.limits.terminate_ms);
    }

    fn end_display(&mut self, now: Duration, reason: EndReason, effects: &mut Vec<Effect>) {
        for what in ALL {
            if self.process(what) != Process::Down {
                effects.push(Effect::Signal(what, StopSignal::Terminate));
            }
        }
        self.stage(reason, EndStage::Display, now, self.limits.display_ms);
        self.finish_if_all_gone(effects);
    }

    fn finish_if_all_gone(&mut self, effects: &mut Vec<Effect>) {
        if let State::Ending { reason, stage: EndStage::Display, .. } = self.state
            && ALL.iter().all(|what| self.process(*what) == Process::Down)
        {
            self.state = State::Ended { reason };
            effects.push(Effect::Finish);
        }
    }

    fn stage(&mut self, reason: EndReason, stage: EndStage, now: Duration, limit_ms: u64) {
        self.state = State::Ending { reason, stage, until: now + Duration::from_millis(limit_ms) };
    }

    fn time_passed(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        match self.state {
            State::Idle | State::Ended { .. } => {}
            State::Ending { reason, stage, until } if now >= until => match stage {
                EndStage::Save | EndStage::Quit => self.end_terminate(now, reason, effects),
                EndStage::Terminate => {
                    effects.push(Effect::Signal(Supervised::Gimp, StopSignal::Kill));
                    self.stage(reason, EndStage::Kill, now, self.limits.kill_ms);
                }
                EndStage::Kill => self.end_display(now, reason, effects),
                EndStage::Display => self.kill_the_rest(now, reason, effects),
            },
            State::Ending { .. } => {}
            State::Starting | State::Running | State::Restarting => {
                for what in ALL {
                    match self.process(what) {
                        Process::Starting { until } if now >= until => {
                            self.set(what, Process::Stopping { until: now + REAP_LIMIT, blamed: false });
                            effects.push(Effect::Signal(what, StopSignal::Kill));
                        }
                        Process::Stopping { until, blamed } if now >= until => {
                            self.set(what, Process::Stopping { until: now + REAP_LIMIT, blamed });
                            effects.push(Effect::Signal(what, StopSignal::Kill));
                        }
                        _ => {}
                    }
                }
            }
        }
    }

    /// The display stage is over its limit: kill what is left; what even then stays is given up.
    fn kill_the_rest(&mut self, now: Duration, reason: EndReason, effects: &mut Vec<Effect>) {
        let mut killed = false;
        for what in ALL {
            match self.process(what) {
                Process::Down | Process::Stopping { .. } => {}
                Process::Starting { .. } | Process::Up => {
                    killed = true;
                    self.set(what, Process::Stopping { until: now + REAP_LIMIT, blamed: true });
                    effects.push(Effect::Signal(what, StopSignal::Kill));
                }
            }
        }
        if killed {
            self.state = State::Ending { reason, stage: EndStage::Display, until: now + REAP_LIMIT };
        } else {
            self.state = State::Ended { reason };
            effects.push(Effect::Finish);
        }
    }

    fn start_what_is_missing(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        if !matches!(self.state, State::Starting | State::Running | State::Restarting)
            || self.hold_until.is_some_and(|until| now < until)
        {
            return;
        }
        self.hold_until = None;
        let up = |lifecycle: &Self, what| lifecycle.process(what) == Process::Up;
        for what in ALL {
            let wanted = match what {
                Supervised::Bus => true,
                Supervised::Display => {
                    self.process(Supervised::WindowManager) == Process::Down
                        && self.process(Supervised::Gimp) == Process::Down
                }
                Supervised::WindowManager => up(self, Supervised::Display),
                Supervised::Gimp => up(self, Supervised::Display) && up(self, Supervised::Bus),
            };
            if wanted && self.process(what) == Process::Down {
                let limit = if what == Supervised::Gimp { GIMP_START_LIMIT } else { SERVICE_START_LIMIT };
                self.set(what, Process::Starting { until: now + limit });
                effects.push(Effect::Start(what));
            }
        }
    }

    fn process(&self, what: Supervised) -> Process {
        self.processes[index(what)]
    }

    fn set(&mut self, what: Supervised, process: Process) {
        self.processes[index(what)] = process;
    }
}

const fn index(what: Supervised) -> usize {
    match what {
        Supervised::Display => 0,
        Supervised::Bus => 1,
        Supervised::WindowManager => 2,
        Supervised::Gimp => 3,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::restart::MAX_RESTARTS;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// A session with time and a record of everything it asked for.
    struct Story {
        lifecycle: Lifecycle,
        now: Duration,
        effects: Vec<Effect>,
    }

    impl Story {
        fn new() -> Self {
            Self { lifecycle: Lifecycle::new(EndLimits::default()), now: Duration::ZERO, effects: Vec::new() }
        }

        fn running() -> Self {
            let mut story = Self::new();
            story.happens(Input::Begin);
            for what in [Supervised::Bus, Supervised::Display, Supervised::WindowManager, Supervised::Gimp] {
                story.happens(Input::Up(what));
            }
            assert_eq!(story.lifecycle.phase(), AgentPhase::Running);
            story
        }

        fn happens(&mut self, input: Input) -> Vec<Effect> {
            let effects = self.lifecycle.step(self.now, input);
            self.effects.extend(&effects);
            effects
        }

        fn after(&mut self, wait: Duration) -> Vec<Effect> {
            self.now += wait;
            self.happens(Input::TimePassed)
        }

        fn stage(&self) -> Option<EndStage> {
            match self.lifecycle.phase() {
                AgentPhase::Ending { stage, .. } => Some(stage),
                _ => None,
            }
        }
    }

    const TERM_GIMP: Effect = Effect::Signal(Supervised::Gimp, StopSignal::Terminate);
    const KILL_GIMP: Effect = Effect::Signal(Supervised::Gimp, StopSignal::Kill);

    #[test]
    fn gimp_starts_as_soon_as_display_and_bus_answer() {
        let mut story = Story::new();
        assert_eq!(story.happens(Input::Begin), [Effect::Start(Supervised::Display), Effect::Start(Supervised::Bus)]);
        assert_eq!(story.happens(Input::Up(Supervised::Bus)), []);
        let started = story.happens(Input::Up(Supervised::Display));
        assert_eq!(started, [Effect::Start(Supervised::WindowManager), Effect::Start(Supervised::Gimp)]);
        assert_eq!(story.lifecycle.phase(), AgentPhase::Starting { step: StartStep::StartingGimp });
    }

    #[test]
    fn gimp_is_told_to_quit_only_after_everything_is_safe() {
        let mut story = Story::running();
        assert_eq!(story.happens(Input::EndRequested(EndReason::Expired)), [Effect::SaveImages]);
        assert_eq!(story.happens(Input::EndRequested(EndReason::User)), []);
        assert_eq!(story.happens(Input::SaveFinished(SaveOutcome::AllSafe)), [Effect::QuitGimp]);
        let gone = story.happens(Input::Exited(Supervised::Gimp, Exit::Code(0)));
        assert_eq!(gone[0], Effect::CollectBackups);
        assert!(gone.contains(&Effect::Signal(Supervised::Display, StopSignal::Terminate)));
        for what in [Supervised::Display, Supervised::Bus, Supervised::WindowManager] {
            story.happens(Input::Exited(what, Exit::Code(0)));
        }
        assert_eq!(story.lifecycle.phase(), AgentPhase::Ended { reason: EndReason::Expired });
        assert_eq!(story.effects.last(), Some(&Effect::Finish));
    }

    #[test]
    fn a_save_that_failed_or_hangs_leads_to_terminate_not_to_quit() {
        for failed in [true, false] {
            let mut story = Story::running();
            story.happens(Input::EndRequested(EndReason::Idle));
            let effects = if failed {
                story.happens(Input::SaveFinished(SaveOutcome::Incomplete))
            } else {
                assert_eq!(story.after(ms(29_999)), []);
                story.after(ms(1))
            };
            assert_eq!(effects, [TERM_GIMP]);
            assert_eq!(story.after(ms(20_000)), [KILL_GIMP]);
            assert_eq!(story.stage(), Some(EndStage::Kill));
            assert_eq!(story.happens(Input::SaveFinished(SaveOutcome::AllSafe)), [], "too late to count");
        }
    }

    #[test]
    fn a_bus_lost_while_saving_leaves_only_a_signal_to_end_gimp_with() {
        let mut story = Story::running();
        story.happens(Input::EndRequested(EndReason::User));
        story.happens(Input::Exited(Supervised::Bus, Exit::Signal(9)));
        assert_eq!(story.happens(Input::SaveFinished(SaveOutcome::AllSafe)), [TERM_GIMP]);
        assert_eq!(story.stage(), Some(EndStage::Terminate));
    }

    #[test]
    fn gimp_quit_by_its_user_ends_the_session_and_a_crash_does_not() {
        let mut story = Story::running();
        story.happens(Input::Exited(Supervised::Gimp, Exit::Code(0)));
        assert_eq!(story.stage(), Some(EndStage::Display));

        let mut story = Story::running();
        let exited = story.happens(Input::Exited(Supervised::Gimp, Exit::Signal(11)));
        assert_eq!(exited, [Effect::CollectBackups]);
        assert_eq!(story.lifecycle.phase(), AgentPhase::Restarting);
        assert_eq!(story.lifecycle.deadline(), Some(SETTLE));
        assert_eq!(story.after(SETTLE), [Effect::Start(Supervised::Gimp)]);
        story.happens(Input::Up(Supervised::Gimp));
        assert_eq!(story.lifecycle.phase(), AgentPhase::Running);
    }

    #[test]
    fn what_dies_with_the_display_is_one_incident() {
        let mut deaths = [
            (Supervised::Display, Exit::Signal(9)),
            (Supervised::WindowManager, Exit::Code(1)),
            (Supervised::Gimp, Exit::Code(1)),
        ];
        for _ in 0..deaths.len() {
            deaths.rotate_left(1);
            let mut story = Story::running();
            for (what, exit) in deaths {
                story.happens(Input::Exited(what, exit));
            }
            let what: Vec<_> = story.lifecycle.incidents().iter().map(|incident| incident.what).collect();
            assert_eq!(what.last(), Some(&Supervised::Display), "{deaths:?}");
            assert_eq!(story.lifecycle.incidents().len(), 1, "{deaths:?}");
            assert_eq!(story.after(SETTLE), [Effect::Start(Supervised::Display)]);
        }
    }

    #[test]
    fn a_lost_bus_lets_gimp_write_its_copies_before_it_is_replaced() {
        let mut story = Story::running();
        assert_eq!(story.happens(Input::Exited(Supervised::Bus, Exit::Signal(9))), [TERM_GIMP]);
        assert_eq!(story.after(SETTLE), [Effect::Start(Supervised::Bus)]);
        story.happens(Input::Up(Supervised::Bus));
        story.happens(Input::Exited(Supervised::Gimp, Exit::Code(1)));
        assert_eq!(story.after(SETTLE), [Effect::Start(Supervised::Gimp)]);
        assert_eq!(story.lifecycle.incidents().len(), 1);
    }

    #[test]
    fn a_gimp_that_never_paints_is_killed_and_tried_again() {
        let mut story = Story::new();
        story.happens(Input::Begin);
        for what in [Supervised::Bus, Supervised::Display, Supervised::WindowManager] {
            story.happens(Input::Up(what));
        }
        assert_eq!(story.after(GIMP_START_LIMIT), [KILL_GIMP]);
        story.happens(Input::Exited(Supervised::Gimp, Exit::Signal(9)));
        assert_eq!(story.lifecycle.incidents()[0].exit, Exit::TimedOut);
        assert_eq!(story.after(SETTLE), [Effect::Start(Supervised::Gimp)]);
    }

    #[test]
    fn a_session_taken_over_goes_on_where_it_was() {
        let all = [Supervised::Display, Supervised::Bus, Supervised::WindowManager, Supervised::Gimp];
        let mut lifecycle = Lifecycle::adopt(EndLimits::default(), &all, true);
        assert_eq!(lifecycle.phase(), AgentPhase::Running);
        assert_eq!(lifecycle.step(ms(1), Input::EndRequested(EndReason::User)), [Effect::SaveImages]);

        let mut lifecycle = Lifecycle::adopt(EndLimits::default(), &all[..2], false);
        let started = lifecycle.step(ms(1), Input::TimePassed);
        assert_eq!(started, [Effect::Start(Supervised::WindowManager), Effect::Start(Supervised::Gimp)]);
    }

    #[derive(Debug, Clone)]
    enum Op {
        Happens(Input),
        Wait(u64),
        WaitUntilDeadline,
    }

    fn any_process() -> impl Strategy<Value = Supervised> {
        prop::sample::select(&ALL[..])
    }

    fn any_exit() -> impl Strategy<Value = Exit> {
        prop_oneof![Just(Exit::Code(0)), Just(Exit::Code(1)), Just(Exit::Signal(9)), Just(Exit::NotStarted)]
    }

    fn any_op() -> impl Strategy<Value = Op> {
        prop_oneof![
            6 => any_process().prop_map(|what| Op::Happens(Input::Up(what))),
            4 => (any_process(), any_exit()).prop_map(|(what, exit)| Op::Happens(Input::Exited(what, exit))),
            1 => prop::sample::select(EndReason::ALL).prop_map(|reason| Op::Happens(Input::EndRequested(reason))),
            1 => Just(Op::Happens(Input::SaveFinished(SaveOutcome::AllSafe))),
            1 => Just(Op::Happens(Input::SaveFinished(SaveOutcome::Incomplete))),
            3 => (0u64..5000).prop_map(Op::Wait),
            3 => Just(Op::WaitUntilDeadline),
        ]
    }

    /// Which processes exist, as the operating system would know it.
    #[derive(Default)]
    struct World {
        alive: Vec<Supervised>,
    }

    impl World {
        fn apply(&mut self, effects: &[Effect]) -> Result<(), TestCaseError> {
            for effect in effects {
                match effect {
                    Effect::Start(what) => {
                        prop_assert!(!self.alive.contains(what), "{what:?} started twice");
                        self.alive.push(*what);
                    }
                    Effect::Signal(what, _) => prop_assert!(self.alive.contains(what), "{what:?} signalled when gone"),
                    Effect::SaveImages | Effect::QuitGimp => {
                        prop_assert!(self.alive.contains(&Supervised::Gimp));
                        prop_assert!(self.alive.contains(&Supervised::Bus));
                    }
                    Effect::CollectBackups | Effect::Finish => {}
                }
            }
            Ok(())
        }
    }

    fn rank(phase: AgentPhase) -> (u8, Option<EndStage>) {
        match phase {
            AgentPhase::Starting { .. } => (0, None),
            AgentPhase::Running | AgentPhase::Restarting => (1, None),
            AgentPhase::Ending { stage, .. } => (2, Some(stage)),
            AgentPhase::Ended { .. } => (3, None),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn whatever_happens_work_is_safe_and_the_end_comes(ops in prop::collection::vec(any_op(), 1..80)) {
            let mut story = Story::new();
            let mut world = World::default();
            let effects = story.happens(Input::Begin);
            world.apply(&effects)?;
            let mut all_safe = false;
            for op in ops {
                let before = story.lifecycle.phase();
                let effects = match op {
                    Op::Happens(Input::Exited(what, _)) | Op::Happens(Input::Up(what)) if !world.alive.contains(&what) => continue,
                    Op::Happens(input) => {
                        if let Input::Exited(what, _) = input {
                            world.alive.retain(|other| *other != what);
                        }
                        all_safe |= input == Input::SaveFinished(SaveOutcome::AllSafe)
                            && matches!(before, AgentPhase::Ending { stage: EndStage::Save, .. });
                        story.happens(input)
                    }
                    Op::Wait(wait) => story.after(ms(wait)),
                    Op::WaitUntilDeadline => {
                        let until = story.lifecycle.deadline().unwrap_or(story.now);
                        story.after(until.saturating_sub(story.now))
                    }
                };
                let phase = story.lifecycle.phase();
                prop_assert!(rank(before) <= rank(phase), "{before:?} went back to {phase:?}");
                if effects.contains(&Effect::QuitGimp) {
                    prop_assert!(all_safe, "told to quit before all was safe");
                }
                let display_told = effects.iter().any(|effect| matches!(effect, Effect::Signal(Supervised::Display, _)));
                let gimp_alive = world.alive.contains(&Supervised::Gimp);
                if display_told && gimp_alive && rank(phase).0 >= 2 {
                    prop_assert!(story.effects.contains(&KILL_GIMP), "the display went before GIMP");
                }
                world.apply(&effects)?;
                let deadline = story.lifecycle.deadline();
                prop_assert!(deadline.is_none_or(|at| at > story.now) || !matches!(op, Op::Wait(_) | Op::WaitUntilDeadline), "time stands still at {deadline:?}");
            }

            let restarts = story.lifecycle.incidents().len();
            if story.now <= crate::restart::WINDOW {
                prop_assert!(restarts <= MAX_RESTARTS + 1, "{restarts} incidents in one window");
            }

            // However it stands now, an end is reached by the clock alone, even if nothing dies of a signal.
            let effects = story.happens(Input::EndRequested(EndReason::Admin));
            world.apply(&effects)?;
            for _ in 0..12 {
                let Some(until) = story.lifecycle.deadline() else { break };
                let effects = story.after(until.saturating_sub(story.now));
                world.apply(&effects)?;
            }
            prop_assert!(matches!(story.lifecycle.phase(), AgentPhase::Ended { .. }), "{:?}", story.lifecycle.phase());
            prop_assert_eq!(story.effects.iter().filter(|effect| **effect == Effect::Finish).count(), 1);
        }
    }
}
