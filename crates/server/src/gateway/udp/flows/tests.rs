//! The list of flows by itself: who is let in, who goes, and what never happens whatever the order.

use std::net::Ipv4Addr;

use proptest::prelude::*;
use protocol::media::Transport;
use uuid::Uuid;

use super::*;

const LIMITS: Limits =
    Limits { total: 6, per_session: 3, idle: Duration::from_secs(30), replaceable: Duration::from_secs(10) };

fn session(number: u128) -> SessionId {
    SessionId(Uuid::from_u128(number))
}

fn end(number: u16) -> Remote {
    Remote::new((Ipv4Addr::new(192, 0, 2, 1), number).into(), Transport::Udp)
}

fn route(number: u16) -> Route {
    Route::Udp { to: end(number).address(), from: None }
}

/// Flows whose links are their session's number.
struct Stage {
    flows: Flows<u128>,
    start: Instant,
}

impl Stage {
    fn new() -> Self {
        Self { flows: Flows::new(LIMITS), start: Instant::now() }
    }

    fn at(&self, seconds: u64) -> Instant {
        self.start + Duration::from_secs(seconds)
    }

    fn open(&mut self, number: u16, of: u128, seconds: u64) -> Result<(), Full> {
        let at = self.at(seconds);
        self.flows.open(end(number), session(of), &Arc::new(of), route(number), at)
    }

    fn hears(&mut self, number: u16, seconds: u64) -> Option<u128> {
        let at = self.at(seconds);
        self.flows.hear(&end(number), at).map(|(_, link)| *link)
    }

    fn len(&self) -> usize {
        self.flows.count(Transport::Udp)
    }

    fn reaches(&self, of: u128, number: u16, seconds: u64) -> bool {
        self.flows.route(session(of), &end(number), self.at(seconds)).is_some()
    }
}

#[test]
fn only_its_own_session_reaches_an_end() {
    let mut stage = Stage::new();
    stage.open(1, 7, 0).unwrap();
    assert_eq!(stage.hears(1, 1), Some(7));
    assert_eq!(stage.hears(2, 1), None);
    assert!(stage.reaches(7, 1, 1));
    assert!(!stage.reaches(8, 1, 1) && !stage.reaches(7, 2, 1));
    let by_tcp = Remote::new(end(1).address(), Transport::Tcp);
    assert!(stage.flows.route(session(7), &by_tcp, stage.at(1)).is_none());
}

#[test]
fn who_is_silent_is_forgotten_and_takes_the_link_along() {
    let mut stage = Stage::new();
    let link = Arc::new(7);
    stage.flows.open(end(1), session(7), &link, route(1), stage.start).unwrap();
    assert_eq!(stage.hears(1, 29), Some(7));
    assert!(stage.reaches(7, 1, 58));
    assert!(!stage.reaches(7, 1, 59), "it does not consent any more");
    assert_eq!(Arc::strong_count(&link), 2);
    assert_eq!(stage.hears(1, 59), None);
    assert_eq!((stage.len(), Arc::strong_count(&link)), (0, 1));

    stage.open(2, 7, 60).unwrap();
    stage.open(3, 7, 70).unwrap();
    stage.flows.sweep(stage.at(95), |_, _| false);
    assert_eq!((stage.len(), stage.hears(3, 95)), (1, Some(7)));
}

#[test]
fn an_end_can_change_its_session() {
    let mut stage = Stage::new();
    stage.open(1, 7, 0).unwrap();
    stage.open(1, 8, 1).unwrap();
    assert_eq!((stage.hears(1, 1), stage.len()), (Some(8), 1));
    assert!(!stage.reaches(7, 1, 1) && stage.flows.link(session(7)).is_none());
}

#[test]
fn an_end_is_forgotten_with_its_connection_and_the_other_way_round() {
    let mut stage = Stage::new();
    let by_tcp = Remote::new(end(1).address(), Transport::Tcp);
    let connect = |stage: &mut Stage, of| {
        let (route, connection) = mpsc::channel(1);
        stage.flows.open(by_tcp, session(of), &Arc::new(of), Route::Tcp(route), stage.start).unwrap();
        connection
    };
    let first = connect(&mut stage, 7);
    stage.flows.hang_up(&by_tcp);
    assert!(!first.is_closed() && stage.flows.count(Transport::Tcp) == 1);
    let second = connect(&mut stage, 8);
    assert!(first.is_closed());
    drop(first);
    stage.flows.hang_up(&by_tcp);
    assert_eq!(stage.flows.count(Transport::Tcp), 1, "it has a new connection");
    drop(second);
    stage.flows.hang_up(&by_tcp);
    assert_eq!(stage.flows.count(Transport::Tcp), 0);

    let third = connect(&mut stage, 7);
    stage.open(2, 7, 0).unwrap();
    stage.flows.hang_up(&end(2));
    assert_eq!(stage.len(), 1, "it never had one");
    stage.flows.close_session(session(7));
    assert!(third.is_closed());
}

#[test]
fn a_session_makes_room_only_among_its_own_silent_ends() {
    let mut stage = Stage::new();
    stage.open(10, 1, 0).unwrap();
    for number in 1..=3 {
        stage.open(number, 7, u64::from(number)).unwrap();
    }
    stage.hears(1, 8).unwrap();
    assert_eq!(stage.open(4, 7, 11), Err(Full), "all were heard within ten seconds");
    stage.open(4, 7, 12).unwrap();
    assert_eq!(stage.hears(2, 12), None, "it was silent longest");
    assert_eq!((stage.hears(1, 12), stage.hears(3, 12), stage.hears(10, 12)), (Some(7), Some(7), Some(1)));
}

#[test]
fn the_whole_has_a_bound_too() {
    let mut stage = Stage::new();
    for number in 1..=6 {
        stage.open(number, u128::from(number), u64::from(number)).unwrap();
    }
    assert_eq!(stage.open(7, 7, 10), Err(Full));
    stage.open(7, 7, 11).unwrap();
    assert_eq!((stage.hears(1, 11), stage.len()), (None, 6));
}

#[test]
fn a_session_that_is_over_is_forgotten() {
    let mut stage = Stage::new();
    stage.open(1, 7, 0).unwrap();
    stage.open(2, 7, 0).unwrap();
    stage.open(3, 8, 0).unwrap();
    stage.flows.sweep(stage.start, |id, link| id == session(7) && *link == 7);
    assert_eq!((stage.len(), stage.hears(1, 0), stage.hears(3, 0)), (1, None, Some(8)));
    stage.flows.close_session(session(8));
    assert_eq!(stage.len(), 0);
}

#[derive(Debug, Clone)]
enum Op {
    Open(u16, u128),
    Hear(u16),
    Sweep(Option<u128>),
    CloseSession(u128),
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let (number, of) = (0..12_u16, 0..4_u128);
    prop_oneof![
        6 => (number.clone(), of.clone()).prop_map(|(number, of)| Op::Open(number, of)),
        4 => number.prop_map(Op::Hear),
        1 => prop::option::of(of.clone()).prop_map(Op::Sweep),
        1 => of.prop_map(Op::CloseSession),
        3 => (0..20_u64).prop_map(Op::Wait),
    ]
}

proptest! {
    #[test]
    fn bounds_hold_whatever_happens(ops in prop::collection::vec(op(), 0..200)) {
        let mut stage = Stage::new();
        let mut seconds = 0;
        for op in ops {
            match op {
                Op::Open(number, of) => {
                    if stage.open(number, of, seconds).is_ok() {
                        prop_assert!(stage.reaches(of, number, seconds));
                    }
                }
                Op::Hear(number) => drop(stage.hears(number, seconds)),
                Op::Sweep(over) => stage.flows.sweep(stage.at(seconds), |_, link| Some(*link) == over),
                Op::CloseSession(of) => stage.flows.close_session(session(of)),
                Op::Wait(more) => seconds += more,
            }
            let Flows { flows, groups, .. } = &stage.flows;
            prop_assert!(flows.len() <= LIMITS.total);
            prop_assert_eq!(groups.values().map(|group| group.ends.len()).sum::<usize>(), flows.len());
            for (id, group) in groups {
                prop_assert!((1..=LIMITS.per_session).contains(&group.ends.len()));
                prop_assert!(group.ends.iter().all(|end| flows.peek(end).is_some_and(|flow| flow.session == *id)));
            }
            // What `sweep` relies on.
            let heard: Vec<_> = flows.iter().map(|(_, flow)| flow.heard).collect();
            prop_assert!(heard.is_sorted_by(|one, other| one >= other));
        }
    }
}
