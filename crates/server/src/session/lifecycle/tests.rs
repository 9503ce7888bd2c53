use proptest::prelude::*;
use protocol::agent::Capabilities;

use super::*;

const RULES: Rules = Rules {
    lifetime: Duration::hours(2),
    max_lifetime: Duration::hours(5),
    idle: Some(Duration::hours(1)),
    warn: Duration::minutes(5),
    ending: Duration::seconds(70),
};
const T0: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

fn report(phase: AgentPhase, idle: Duration) -> Report {
    Report {
        phase,
        idle,
        viewers: 0,
        gimp_version: None,
        capabilities: Capabilities::default(),
        restarts: vec![],
        documents: None,
        unattended: false,
    }
}

fn busy(phase: AgentPhase) -> Report {
    report(phase, Duration::ZERO)
}

fn running() -> Lifecycle {
    let (mut life, effects) = Lifecycle::begin(RULES, T0);
    assert_eq!(effects, [Effect::Start { again: false }]);
    assert_eq!(life.launched(T0, Ok(())), [Effect::Follow]);
    assert_eq!(life.heard(T0, &busy(AgentPhase::Running)), [Effect::Store]);
    assert_eq!((life.status(), life.step()), (SessionStatus::Running, StartStep::Ready));
    life
}

fn found(end: Option<EndReason>, step: StartStep, started_at: Option<OffsetDateTime>) -> Lifecycle {
    let found = Found {
        step,
        stage: None,
        created_at: T0,
        started_at,
        expires_at: T0 + RULES.lifetime,
        end: end.map(|reason| (reason, None)),
    };
    let (life, effects) = Lifecycle::find(RULES, T0 + Duration::seconds(10), found);
    assert_eq!(effects, [Effect::Probe, Effect::Follow]);
    life
}

fn notices(effects: &[Effect]) -> Vec<NoticeKind> {
    let notices = effects.iter().filter_map(|effect| match effect {
        Effect::Notify(notice) => Some(notice.kind),
        _ => None,
    });
    notices.collect()
}

fn reason(life: &Lifecycle) -> Option<EndReason> {
    life.end().map(|end| end.reason)
}

#[test]
fn an_end_that_was_asked_for_goes_through_the_agent() {
    let mut life = running();
    let at = T0 + Duration::minutes(1);
    assert_eq!(life.ask_end(at, EndReason::User), [Effect::Store, Effect::TellEnd(EndReason::User)]);
    assert_eq!(life.status(), SessionStatus::Running, "until it has ended");
    assert_eq!(life.ask_end(at, EndReason::Admin), [], "the first reason stays");
    let save = busy(AgentPhase::Ending { reason: EndReason::User, stage: EndStage::Save });
    assert_eq!(life.heard(at, &save), [Effect::Store]);
    assert_eq!(life.heard(at, &save), []);
    assert_eq!(life.wake_at(), Some(at + RULES.ending));
    let ended = busy(AgentPhase::Ended { reason: EndReason::User });
    assert_eq!(life.heard(at, &ended), [Effect::Store, Effect::Remove]);
    assert_eq!(life.cleared(at, true), [Effect::Store]);
    assert_eq!((life.status(), reason(&life)), (SessionStatus::Stopped, Some(EndReason::User)));
    assert_eq!(life.ended_at(), Some(at));
    assert_eq!(life.wake_at(), None);
}

#[test]
fn an_agent_that_does_not_listen_is_told_again_and_then_stopped() {
    let mut life = running();
    life.ask_end(T0, EndReason::Expired);
    assert_eq!(life.wake_at(), Some(T0 + TELL_INTERVAL));
    assert_eq!(life.tick(T0 + TELL_INTERVAL), [Effect::TellEnd(EndReason::Expired)]);
    assert_eq!(life.tick(T0 + RULES.ending), [Effect::Store, Effect::Remove]);
    life.cleared(T0 + RULES.ending, true);
    let end = life.end().unwrap();
    assert_eq!((life.status(), end.reason), (SessionStatus::Stopped, EndReason::Expired));
    assert!(end.detail.contains("took too long") && end.detail.contains("were kept"), "{}", end.detail);
}

#[test]
fn ending_while_it_starts_waits_for_the_driver_and_then_tells_the_agent() {
    let (mut life, _) = Lifecycle::begin(RULES, T0);
    assert_eq!(life.ask_end(T0, EndReason::User), [Effect::Store], "nobody to tell yet");
    assert_eq!(life.launched(T0, Ok(())), [Effect::Follow, Effect::TellEnd(EndReason::User)]);
    // Or the start fails meanwhile.
    let (mut life, _) = Lifecycle::begin(RULES, T0);
    life.ask_end(T0, EndReason::User);
    let failure = StartFailure { reason: EndReason::Crashed, detail: "no".into() };
    assert_eq!(life.launched(T0, Err(failure)), [Effect::Store, Effect::Remove]);
    assert_eq!(reason(&life), Some(EndReason::User));
    // Or the driver hangs.
    let (mut life, _) = Lifecycle::begin(RULES, T0);
    life.ask_end(T0, EndReason::User);
    assert_eq!(life.wake_at(), Some(T0 + RULES.ending));
    assert_eq!(life.tick(T0 + RULES.ending), [Effect::Store, Effect::Remove]);
    assert_eq!(life.launched(T0 + RULES.ending, Ok(())), [], "too late");
}

#[test]
fn starts_fail_with_the_words_of_the_driver() {
    let (mut life, _) = Lifecycle::begin(RULES, T0);
    let failure = StartFailure { reason: EndReason::Evicted, detail: "No memory left.".into() };
    assert_eq!(life.launched(T0, Err(failure)), [Effect::Store, Effect::Remove]);
    life.cleared(T0, true);
    assert_eq!((life.status(), reason(&life)), (SessionStatus::Error, Some(EndReason::Evicted)));
    assert_eq!(life.end().unwrap().detail, "No memory left.");
}

#[test]
fn starts_have_a_time_limit() {
    // The driver hangs.
    let (mut life, _) = Lifecycle::begin(RULES, T0);
    assert_eq!(life.wake_at(), Some(T0 + START_LIMIT));
    assert_eq!(life.tick(T0 + START_LIMIT), [Effect::Store, Effect::Remove]);
    assert_eq!(reason(&life), Some(EndReason::Crashed));
    // The agent is there, but GIMP does not come up: it still gets a planned end.
    let (mut life, _) = Lifecycle::begin(RULES, T0);
    life.launched(T0, Ok(()));
    life.heard(T0, &busy(AgentPhase::Starting { step: StartStep::StartingGimp }));
    assert_eq!(life.tick(T0 + START_LIMIT), [Effect::Store, Effect::TellEnd(EndReason::Crashed)]);
}

#[test]
fn steps_and_stages_never_go_back() {
    let (mut life, _) = Lifecycle::begin(RULES, T0);
    assert_eq!(life.progress(StartStep::StartingDisplay), [Effect::Store]);
    assert_eq!(life.progress(StartStep::CreatingWorkspace), []);
    life.launched(T0, Ok(()));
    assert_eq!(life.heard(T0, &busy(AgentPhase::Starting { step: StartStep::StartingDisplay })), []);
    life.heard(T0, &busy(AgentPhase::Running));
    assert_eq!(life.heard(T0, &busy(AgentPhase::Starting { step: StartStep::StartingGimp })), []);
    assert_eq!((life.step(), life.status()), (StartStep::Ready, SessionStatus::Running));
    life.heard(T0, &busy(AgentPhase::Ending { reason: EndReason::User, stage: EndStage::Kill }));
    life.heard(T0, &busy(AgentPhase::Ending { reason: EndReason::User, stage: EndStage::Save }));
    assert_eq!(life.stage(), Some(EndStage::Kill));
}

#[test]
fn quitting_gimp_ends_the_session() {
    let mut life = running();
    let effects = life.heard(T0, &busy(AgentPhase::Ending { reason: EndReason::User, stage: EndStage::Quit }));
    assert_eq!(effects, [Effect::Store, Effect::Store], "nobody has to be told");
    assert_eq!(life.end().unwrap().detail, "GIMP was closed.");
}

#[test]
fn a_gimp_that_can_t_be_brought_back_says_why() {
    let mut life = running();
    let mut last = busy(AgentPhase::Ended { reason: EndReason::Crashed });
    last.restarts.push(Restart { at: T0, what: Supervised::Gimp, cause: "killed by signal 9".into() });
    life.heard(T0, &last);
    life.cleared(T0, true);
    assert_eq!(life.status(), SessionStatus::Error);
    let detail = &life.end().unwrap().detail;
    assert!(detail.starts_with("GIMP stopped (killed by signal 9) and could not be brought back."), "{detail}");
    assert!(detail.contains("were kept"), "{detail}");
    // Not what happened some time before.
    let mut life = running();
    life.heard(T0, &Report { unattended: true, ..last });
    let detail = &life.end().unwrap().detail;
    assert!(detail.starts_with("The program that looks after the session died."), "{detail}");
    let mut life = running();
    life.heard(T0, &busy(AgentPhase::Ended { reason: EndReason::Crashed }));
    assert!(life.end().unwrap().detail.starts_with("GIMP stopped and could not be brought back."));
    let mut life = running();
    life.heard(T0, &busy(AgentPhase::Ended { reason: EndReason::Evicted }));
    assert_eq!(life.end().unwrap().detail, planned(EndReason::Evicted));
}

#[test]
fn a_session_expires_after_a_warning() {
    let mut life = running();
    let end = T0 + RULES.lifetime;
    let warning = end - RULES.warn;
    let use_it = |life: &mut Lifecycle, at| life.heard(at, &busy(AgentPhase::Running));
    use_it(&mut life, T0 + Duration::minutes(50));
    use_it(&mut life, T0 + Duration::minutes(100));
    assert_eq!(life.wake_at(), Some(warning));
    assert_eq!(life.tick(warning - Duration::SECOND), []);
    let effects = life.tick(warning);
    let [Effect::Notify(notice)] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!((notice.kind, notice.at), (NoticeKind::Expiring, end));
    assert_eq!(life.warnings(), std::slice::from_ref(notice));
    assert_eq!(life.tick(warning + Duration::SECOND), [], "warned once");
    assert_eq!(life.wake_at(), Some(end));
    assert_eq!(life.tick(end), [Effect::Store, Effect::TellEnd(EndReason::Expired)]);
}

#[test]
fn an_extension_counts_from_now_and_warns_again() {
    let mut life = running();
    let now = T0 + RULES.lifetime - Duration::minutes(4);
    life.heard(now, &busy(AgentPhase::Running));
    assert_eq!(life.extend(now), Ok(vec![Effect::Store]));
    assert_eq!(life.expires_at(), now + RULES.lifetime);
    assert_eq!(life.warnings(), []);
    let effects = life.tick(now + RULES.lifetime - RULES.warn);
    assert_eq!(notices(&effects), [NoticeKind::Expiring]);
    assert_eq!(life.extend(T0), Ok(vec![Effect::Store]), "a clock that was set back");
    assert_eq!(life.expires_at(), now + RULES.lifetime, "does not shorten it");
}

#[test]
fn extensions_end_at_the_longest_time() {
    let mut life = running();
    let longest = T0 + RULES.max_lifetime;
    life.extend(longest - RULES.lifetime + Duration::HOUR).unwrap();
    assert_eq!(life.expires_at(), longest);
    assert_eq!(life.extend(longest - Duration::HOUR), Err(Refusal::LongestTime));
}

#[test]
fn what_is_ending_is_not_extended_nor_used() {
    let (mut life, _) = Lifecycle::begin(RULES, T0);
    assert_eq!(life.usable(), Err(Refusal::Starting));
    assert!(life.extend(T0).is_ok(), "a start may take long");
    life.launched(T0, Ok(()));
    life.heard(T0, &busy(AgentPhase::Running));
    assert_eq!(life.usable(), Ok(()));
    life.ask_end(T0, EndReason::User);
    assert_eq!((life.usable(), life.extend(T0)), (Err(Refusal::Ending), Err(Refusal::Ending)));
    life.heard(T0, &busy(AgentPhase::Ended { reason: EndReason::User }));
    assert_eq!((life.usable(), life.extend(T0)), (Err(Refusal::Ending), Err(Refusal::Ending)));
    life.cleared(T0, true);
    assert_eq!((life.usable(), life.extend(T0)), (Err(Refusal::Ended), Err(Refusal::Ended)));
    for refusal in [Refusal::Starting, Refusal::Ending, Refusal::Ended, Refusal::LongestTime] {
        assert!(refusal.to_string().ends_with('.'), "a sentence for people");
    }
}

#[test]
fn nobody_is_asked_before_it_could_matter() {
    let life = running();
    assert_eq!(life.wake_at(), Some(T0 + Duration::minutes(55)), "an hour without input, less the warning");
}

#[test]
fn idle_sessions_are_warned_and_ended_by_what_the_agent_measures() {
    let mut life = running();
    let hour = Duration::HOUR;
    assert_eq!(life.tick(T0 + Duration::minutes(55)), [Effect::AskIdle]);
    assert_eq!(life.tick(T0 + Duration::minutes(55)), [], "one question at a time");
    // Somebody used it meanwhile.
    let used = T0 + Duration::minutes(40);
    assert_eq!(life.heard(T0 + Duration::minutes(55), &report(AgentPhase::Running, Duration::minutes(15))), []);
    assert_eq!(life.input_at(), Some(used));
    assert_eq!(life.wake_at(), Some(used + Duration::minutes(55)));
    // Now nobody did.
    let warning = used + Duration::minutes(55);
    assert_eq!(life.tick(warning), [Effect::AskIdle]);
    let effects = life.heard(warning, &report(AgentPhase::Running, Duration::minutes(55)));
    let [Effect::Notify(notice)] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!((notice.kind, notice.at), (NoticeKind::Idle, used + hour));
    assert_eq!(life.warnings(), std::slice::from_ref(notice));
    assert_eq!(life.tick(used + hour), [Effect::AskIdle], "what is known is not enough to end it");
    let effects = life.heard(used + hour, &report(AgentPhase::Running, hour));
    assert_eq!(effects, [Effect::Store, Effect::TellEnd(EndReason::Idle)]);
}

#[test]
fn input_after_the_warning_starts_over() {
    let mut life = running();
    let now = T0 + Duration::minutes(56);
    assert_eq!(notices(&life.heard(now, &report(AgentPhase::Running, Duration::minutes(56)))), [NoticeKind::Idle]);
    assert_eq!(notices(&life.heard(now, &report(AgentPhase::Running, Duration::minutes(56)))), [], "warned once");
    let now = T0 + Duration::minutes(58);
    assert_eq!(life.heard(now, &report(AgentPhase::Running, Duration::minutes(1))), []);
    assert_eq!(life.wake_at(), Some(T0 + Duration::minutes(57 + 55)));
}

#[test]
fn keeping_an_idle_session_starts_over() {
    let mut life = running();
    let idle = |at: OffsetDateTime| report(AgentPhase::Running, at - T0);
    let warning = T0 + Duration::minutes(55);
    assert_eq!(notices(&life.heard(warning, &idle(warning))), [NoticeKind::Idle]);
    let kept = warning + Duration::minutes(2);
    assert_eq!(life.extend(kept), Ok(vec![Effect::Store]));
    let end = T0 + Duration::HOUR;
    assert_eq!(life.heard(end, &idle(end)), [], "there was no input, but somebody is there");
    assert_eq!(life.input_at(), Some(T0), "which is no input");
    assert_eq!(life.wake_at(), Some(kept + Duration::minutes(55)));
    let again = kept + Duration::minutes(55);
    assert_eq!(life.tick(again), [Effect::AskIdle]);
    let effects = life.heard(again, &idle(again));
    let [Effect::Notify(notice)] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!((notice.kind, notice.at), (NoticeKind::Idle, kept + Duration::HOUR));
    let end = kept + Duration::HOUR;
    assert_eq!(life.heard(end, &idle(end)), [Effect::Store, Effect::TellEnd(EndReason::Idle)]);
}

#[test]
fn an_idle_session_is_kept_even_where_it_can_t_be_made_longer() {
    let rules = Rules { max_lifetime: RULES.lifetime, ..RULES };
    let (mut life, _) = Lifecycle::begin(rules, T0);
    life.launched(T0, Ok(()));
    life.heard(T0, &busy(AgentPhase::Running));
    let minute = |minutes| T0 + Duration::minutes(minutes);
    let idle = |minutes| report(AgentPhase::Running, Duration::minutes(minutes));
    assert_eq!(life.extend(minute(54)), Err(Refusal::LongestTime), "nobody was warned of idleness");
    assert_eq!(notices(&life.heard(minute(55), &idle(55))), [NoticeKind::Idle]);
    assert!(life.extend(minute(58)).is_ok());
    assert_eq!(life.expires_at(), T0 + RULES.lifetime);
    assert_eq!(life.heard(minute(60), &idle(60)), [], "kept");
    assert_eq!(life.extend(minute(60)), Err(Refusal::LongestTime), "there is no warning any more");
    assert_eq!(notices(&life.heard(minute(58 + 55), &idle(58 + 55))), [NoticeKind::Idle]);
}

#[test]
fn without_an_idle_limit_nobody_is_asked() {
    let rules = Rules { idle: None, warn: Duration::ZERO, ..RULES };
    let (mut life, _) = Lifecycle::begin(rules, T0);
    life.launched(T0, Ok(()));
    life.heard(T0, &busy(AgentPhase::Running));
    assert_eq!(life.wake_at(), Some(T0 + RULES.lifetime), "nor warned");
    assert_eq!(life.heard(T0 + Duration::minutes(90), &report(AgentPhase::Running, Duration::minutes(90))), []);
}

#[test]
fn short_lives_are_warned_at_half() {
    let settings = Settings { session_minutes: 2, idle_minutes: 1, warn_minutes: 5, ..Settings::default() };
    let rules = Rules::new(&settings);
    assert_eq!(rules.max_lifetime, Duration::minutes(1440));
    assert_eq!(rules.ending, Duration::seconds(70));
    assert_eq!(rules.warn_before(rules.lifetime), Duration::minutes(1));
    assert_eq!(rules.warn_before(rules.idle.unwrap()), Duration::seconds(30));
}

#[test]
fn an_agent_out_of_reach_gets_its_time() {
    let mut life = running();
    assert_eq!(life.silent(T0, Silence::Unreachable), [Effect::Probe]);
    assert_eq!(life.present(T0 + Duration::seconds(4)), []);
    // It comes back.
    life.heard(T0 + Duration::seconds(4), &busy(AgentPhase::Running));
    assert_eq!(life.present(T0 + Duration::seconds(9)), []);
    // It does not.
    life.silent(T0 + Duration::seconds(10), Silence::Unreachable);
    assert_eq!(life.present(T0 + Duration::seconds(15)), [Effect::Store, Effect::Remove]);
    life.cleared(T0 + Duration::seconds(15), true);
    let end = life.end().unwrap();
    assert_eq!((life.status(), end.reason), (SessionStatus::Error, EndReason::Crashed));
    assert!(end.detail.contains("died") && end.detail.contains("were kept"), "{}", end.detail);
}

#[test]
fn an_agent_that_hangs_gets_more_time() {
    let mut life = running();
    life.silent(T0, Silence::Unresponsive);
    assert_eq!(life.present(T0 + Duration::seconds(59)), []);
    assert_eq!(life.silent(T0 + Duration::seconds(59), Silence::Unresponsive), [Effect::Probe]);
    assert_eq!(life.present(T0 + Duration::seconds(60)), [Effect::Store, Effect::Remove]);
}

#[test]
fn the_last_words_of_what_is_gone_tell_the_reason() {
    let mut life = running();
    let last = busy(AgentPhase::Ended { reason: EndReason::User });
    assert_eq!(life.gone(T0, Some(&last), None), [Effect::Store, Effect::Remove]);
    assert_eq!(reason(&life), Some(EndReason::User));
    let mut life = running();
    life.gone(T0, Some(&busy(AgentPhase::Running)), None);
    assert_eq!(reason(&life), Some(EndReason::Crashed));
    let mut life = running();
    life.gone(T0, None, None);
    assert_eq!(reason(&life), Some(EndReason::Crashed));
    // Killed in the middle of a planned end.
    let mut life = running();
    life.ask_end(T0, EndReason::Expired);
    life.gone(T0, Some(&busy(AgentPhase::Running)), None);
    let end = life.end().unwrap();
    assert_eq!(end.reason, EndReason::Expired);
    assert!(end.detail.contains("died before they were done"), "{}", end.detail);
}

#[test]
fn what_took_a_session_away_counts_unless_it_came_to_its_own_end() {
    let lost = || Some(Lost { reason: EndReason::Evicted, detail: "The room was needed.".to_owned() });
    for last in [None, Some(busy(AgentPhase::Running))] {
        let mut life = running();
        assert_eq!(life.gone(T0, last.as_ref(), lost()), [Effect::Store, Effect::Remove]);
        let end = life.end().unwrap();
        assert_eq!((end.reason, end.failed), (EndReason::Evicted, true));
        assert!(end.detail.starts_with("The room was needed. Copies of unsaved images"), "{}", end.detail);
    }
    let mut life = running();
    life.gone(T0, Some(&busy(AgentPhase::Ended { reason: EndReason::User })), lost());
    assert_eq!(reason(&life), Some(EndReason::User));
}

#[test]
fn a_driver_that_can_t_remove_is_asked_again_and_not_for_ever() {
    let mut life = running();
    life.gone(T0, None, None);
    assert_eq!(life.wake_at(), None);
    let mut now = T0;
    for _ in 1..CLEARING_ATTEMPTS {
        assert_eq!(life.cleared(now, false), []);
        let again = life.wake_at().unwrap();
        assert!(again > now);
        now = again;
        assert_eq!(life.tick(now), [Effect::Remove]);
        assert_eq!(life.wake_at(), None);
    }
    assert_eq!(life.cleared(now, false), [Effect::Store], "reconcile goes on");
    assert!(life.ended_at().is_some());
}

#[test]
fn restarts_are_told_once_and_not_too_often() {
    let mut life = running();
    let restart = |seconds, what| Restart { at: T0 + Duration::seconds(seconds), what, cause: "exit code 1".into() };
    let mut said = busy(AgentPhase::Restarting);
    said.restarts.push(restart(1, Supervised::Gimp));
    let effects = life.heard(T0, &said);
    let [Effect::Notify(notice)] = effects.as_slice() else { panic!("{effects:?}") };
    assert!(notice.kind == NoticeKind::Restarted && notice.detail.starts_with("GIMP stopped (exit code 1)"));
    assert_eq!(life.heard(T0, &said), []);
    said.restarts.push(restart(2, Supervised::Display));
    assert_eq!(life.heard(T0 + Duration::SECOND, &said), [], "a hostile agent can't flood the user");
    said.restarts.push(restart(3, Supervised::WindowManager));
    assert_eq!(life.heard(T0 + Duration::MINUTE, &said), [], "nothing was lost");
    said.restarts.push(restart(4, Supervised::Display));
    assert_eq!(notices(&life.heard(T0 + Duration::MINUTE, &said)), [NoticeKind::Restarted]);
    // What happened before this server looked is old.
    let mut life = found(None, StartStep::Ready, Some(T0));
    assert_eq!(life.heard(T0 + Duration::MINUTE, &said), []);
}

#[test]
fn found_sessions_go_on() {
    let mut life = found(None, StartStep::Ready, Some(T0));
    assert_eq!((life.status(), life.usable()), (SessionStatus::Running, Ok(())));
    assert_eq!(life.present(T0 + Duration::seconds(10)), []);
    life.heard(T0 + Duration::seconds(10), &busy(AgentPhase::Running));
    assert_eq!(life.started_at(), Some(T0), "as it was");
}

#[test]
fn found_sessions_whose_end_had_begun_go_on_ending() {
    let now = T0 + Duration::seconds(10);
    let mut life = found(Some(EndReason::Idle), StartStep::Ready, Some(T0));
    assert_eq!(life.heard(now, &busy(AgentPhase::Running)), [Effect::TellEnd(EndReason::Idle)]);
    let mut life = found(Some(EndReason::Idle), StartStep::Ready, Some(T0));
    life.gone(now, None, None);
    assert_eq!(reason(&life), Some(EndReason::Idle));
}

#[test]
fn a_start_that_an_earlier_server_did_not_come_to_begins_again() {
    let now = T0 + Duration::seconds(11);
    let mut life = found(None, StartStep::CreatingWorkspace, None);
    assert_eq!(life.gone(now, None, None), [Effect::Start { again: true }]);
    assert_eq!(life.launched(now, Ok(())), [Effect::Follow]);
    // Not when something ran, nor after the time for a start.
    let mut life = found(None, StartStep::StartingGimp, None);
    assert_eq!(life.gone(now, None, None), [Effect::Store, Effect::Remove]);
    let mut life = found(None, StartStep::CreatingWorkspace, None);
    assert_eq!(life.gone(T0 + START_LIMIT, None, None), [Effect::Store, Effect::Remove]);
}

#[test]
fn a_start_that_an_earlier_server_waited_for_goes_on() {
    let now = T0 + Duration::seconds(11);
    let mut life = found(None, StartStep::CreatingWorkspace, None);
    assert_eq!(life.underway(now), [Effect::Start { again: false }]);
    assert_eq!(life.underway(now), [], "once");
    assert_eq!(life.launched(now, Ok(())), [Effect::Follow]);
    // Not after the time for a start, nor when it is to end.
    let mut life = found(None, StartStep::CreatingWorkspace, None);
    assert_eq!(life.underway(T0 + START_LIMIT), []);
    let mut life = found(Some(EndReason::User), StartStep::CreatingWorkspace, None);
    assert_eq!(life.underway(now), []);
}

#[test]
fn a_found_start_waits_for_its_agent() {
    let mut life = found(None, StartStep::StartingDisplay, None);
    let now = T0 + Duration::seconds(10);
    life.silent(now, Silence::Unreachable);
    assert_eq!(life.present(now + Duration::seconds(20)), []);
    assert_eq!(life.tick(T0 + START_LIMIT), [Effect::Store, Effect::Remove]);
}

#[test]
fn a_server_that_comes_back_late_warns_before_it_ends() {
    let late = T0 + Duration::hours(3);
    let found = Found {
        step: StartStep::Ready,
        stage: None,
        created_at: T0,
        started_at: Some(T0),
        expires_at: T0 + RULES.lifetime,
        end: None,
    };
    let (mut life, _) = Lifecycle::find(RULES, late, found);
    let effects = life.heard(late, &report(AgentPhase::Running, Duration::hours(2)));
    assert_eq!(notices(&effects), [NoticeKind::Idle, NoticeKind::Expiring]);
    assert!(life.end().is_none());
    let end = late + FOUND_LATE;
    assert_eq!(life.wake_at(), Some(end));
    assert_eq!(life.tick(end), [Effect::Store, Effect::TellEnd(EndReason::Expired)]);
}

/// Anything that can happen to a session.
#[derive(Debug, Clone)]
enum Op {
    Progress(StartStep),
    Launched(bool),
    Heard(AgentPhase, u32, u8),
    Silent(bool),
    Present,
    Underway,
    Gone(Option<AgentPhase>),
    AskEnd(EndReason),
    Extend,
    Cleared(bool),
    /// The clock moves by so many seconds.
    Wait(u32),
    /// The clock moves to when the session wants to be woken.
    Wake,
    /// The server is replaced.
    Restart,
}

fn phase() -> impl Strategy<Value = AgentPhase> {
    let reason = || proptest::sample::select(EndReason::ALL);
    prop_oneof![
        proptest::sample::select(StartStep::ALL).prop_map(|step| AgentPhase::Starting { step }),
        Just(AgentPhase::Running),
        Just(AgentPhase::Restarting),
        (reason(), proptest::sample::select(EndStage::ALL))
            .prop_map(|(reason, stage)| AgentPhase::Ending { reason, stage }),
        reason().prop_map(|reason| AgentPhase::Ended { reason }),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        1 => proptest::sample::select(StartStep::ALL).prop_map(Op::Progress),
        1 => any::<bool>().prop_map(Op::Launched),
        4 => (phase(), 0..20_000_u32, 0..4_u8).prop_map(|(phase, idle, restarts)| Op::Heard(phase, idle, restarts)),
        2 => Just(Op::Heard(AgentPhase::Running, 0, 0)),
        1 => any::<bool>().prop_map(Op::Silent),
        1 => Just(Op::Present),
        1 => Just(Op::Underway),
        1 => proptest::option::of(phase()).prop_map(Op::Gone),
        1 => proptest::sample::select(EndReason::ALL).prop_map(Op::AskEnd),
        2 => Just(Op::Extend),
        1 => any::<bool>().prop_map(Op::Cleared),
        3 => (0..4000_u32).prop_map(Op::Wait),
        4 => Just(Op::Wake),
        1 => Just(Op::Restart),
    ]
}

/// What SQL would hold.
#[derive(Debug, Clone, PartialEq)]
struct Stored {
    status: SessionStatus,
    step: StartStep,
    stage: Option<EndStage>,
    started_at: Option<OffsetDateTime>,
    ended_at: Option<OffsetDateTime>,
    expires_at: OffsetDateTime,
    end: Option<(EndReason, String)>,
}

fn stored(life: &Lifecycle) -> Stored {
    Stored {
        status: life.status(),
        step: life.step(),
        stage: life.stage(),
        started_at: life.started_at(),
        ended_at: life.ended_at(),
        expires_at: life.expires_at(),
        end: life.end().map(|end| (end.reason, end.detail.clone())),
    }
}

fn rank(status: SessionStatus) -> u8 {
    match status {
        SessionStatus::Starting => 0,
        SessionStatus::Running => 1,
        SessionStatus::Stopped | SessionStatus::Error => 2,
    }
}

fn apply(life: &mut Lifecycle, now: &mut OffsetDateTime, op: Op) -> Effects {
    match op {
        Op::Progress(step) => life.progress(step),
        Op::Launched(true) => life.launched(*now, Ok(())),
        Op::Launched(false) => {
            life.launched(*now, Err(StartFailure { reason: EndReason::Crashed, detail: "no".into() }))
        }
        Op::Heard(phase, idle, restarts) => {
            let mut report = report(phase, Duration::seconds(idle.into()));
            let restart =
                |count| Restart { at: T0 + Duration::seconds(count), what: Supervised::Gimp, cause: "x".into() };
            report.restarts = (0..i64::from(restarts)).map(restart).collect();
            life.heard(*now, &report)
        }
        Op::Silent(true) => life.silent(*now, Silence::Unreachable),
        Op::Silent(false) => life.silent(*now, Silence::Unresponsive),
        Op::Present => life.present(*now),
        Op::Underway => life.underway(*now),
        Op::Gone(last) => life.gone(*now, last.map(busy).as_ref(), None),
        Op::AskEnd(reason) => life.ask_end(*now, reason),
        Op::Extend => life.extend(*now).unwrap_or_default(),
        Op::Cleared(done) => life.cleared(*now, done),
        Op::Wait(seconds) => {
            *now += Duration::seconds(seconds.into());
            life.tick(*now)
        }
        Op::Wake => {
            if let Some(at) = life.wake_at() {
                *now = (*now).max(at);
            }
            life.tick(*now)
        }
        Op::Restart if life.ended_at().is_some() => vec![],
        Op::Restart => {
            let row = stored(life);
            let found = Found {
                step: row.step,
                stage: row.stage,
                created_at: life.created_at(),
                started_at: row.started_at,
                expires_at: row.expires_at,
                end: row.end.map(|(reason, detail)| (reason, Some(detail))),
            };
            let (again, effects) = Lifecycle::find(RULES, *now, found);
            *life = again;
            effects
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_nothing_goes_back(ops in proptest::collection::vec(op(), 1..60)) {
        let mut now = T0;
        let (mut life, _) = Lifecycle::begin(RULES, now);
        let mut asked_at: Option<OffsetDateTime> = None;
        let mut removed = false;
        for op in ops {
            let before = stored(&life);
            let restart = matches!(op, Op::Restart);
            let effects = apply(&mut life, &mut now, op.clone());
            let after = stored(&life);

            prop_assert!(rank(after.status) >= rank(before.status));
            if before.ended_at.is_some() {
                prop_assert_eq!(&after, &before);
                prop_assert_eq!(&effects, &vec![]);
            }
            prop_assert!(after.step >= before.step && after.stage >= before.stage);
            prop_assert!(before.started_at.is_none() || after.started_at == before.started_at);
            prop_assert!(before.end.is_none() || after.end.as_ref().map(|end| end.0) == before.end.as_ref().map(|end| end.0));
            prop_assert!(after.expires_at >= before.expires_at);
            prop_assert!(after.expires_at <= T0 + RULES.max_lifetime);
            prop_assert_eq!(after.ended_at.is_some(), rank(after.status) == 2);
            prop_assert!(after.ended_at.is_none() || after.end.is_some(), "an ending has a reason");
            // SQL always learns: except what follows from the order of effects, nothing changes in silence.
            if !restart && stored_without_detail(&before) != stored_without_detail(&after) {
                prop_assert!(effects.contains(&Effect::Store), "{:?}: {:?} -> {:?}", op, before, after);
            }
            // The reason is on record before anything is done about it.
            let store = effects.iter().position(|effect| *effect == Effect::Store);
            for (at, effect) in effects.iter().enumerate() {
                match effect {
                    Effect::TellEnd(reason) => {
                        prop_assert_eq!(Some(*reason), after.end.as_ref().map(|end| end.0));
                        prop_assert!(before.end.is_some() || store.is_some_and(|store| store < at));
                    }
                    Effect::Remove => {
                        removed = true;
                        prop_assert!(before.end.is_some() || store.is_some_and(|store| store < at));
                    }
                    Effect::AskIdle => {
                        prop_assert!(asked_at.is_none_or(|asked| now >= asked + ASK_INTERVAL));
                        asked_at = Some(now);
                    }
                    _ => {}
                }
            }
            if restart {
                asked_at = None;
            }
            prop_assert!(after.ended_at.is_none() || removed, "nothing ends without being cleared up");
            prop_assert!(notices(&effects).len() <= 3);
            // Nobody spins: what is due is done by one tick.
            let more = life.tick(now);
            asked_at = if more.contains(&Effect::AskIdle) { Some(now) } else { asked_at };
            removed |= more.contains(&Effect::Remove);
            prop_assert!(life.wake_at().is_none_or(|at| at > now), "{:?} at {:?} after {:?}", life, now, op);
        }

        // From wherever it is, an end is reached without any help of the agent.
        life.ask_end(now, EndReason::Admin);
        for _ in 0..20 {
            if life.ended_at().is_some() {
                break;
            }
            if let Some(at) = life.wake_at() {
                now = at;
            }
            life.tick(now);
            if matches!(life.phase(), Phase::Clearing { retry_at: None, .. }) {
                life.cleared(now, false);
            }
            if matches!(life.phase(), Phase::Ending { .. }) {
                now += RULES.ending;
                life.tick(now);
            }
        }
        prop_assert!(life.ended_at().is_some(), "{:?}", life);
    }
}

/// Its words may get better as more is known, and are written with the next change.
fn stored_without_detail(stored: &Stored) -> Stored {
    Stored { end: stored.end.as_ref().map(|(reason, _)| (*reason, String::new())), ..stored.clone() }
}
