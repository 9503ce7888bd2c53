//! Who shares an encoder of video with whom.
//!
//! A picture of video builds on the one before, so who misses one can't use the next before a keyframe, which costs all
//! who share the encoder. Viewers of the same speed miss none: they have one lane. Who can't follow gets another, where
//! every picture waits until all in it can take it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// A viewer that missed a picture needs a keyframe, which the others in its lane get as well: not more often than this. Who
/// has nothing to look at yet does not wait.
const KEYFRAME_GAP: Duration = Duration::from_secs(1);
/// So many pictures missed within `MISSED_WITHIN` are no accident.
const MISSED: usize = 2;
const MISSED_WITHIN: Duration = Duration::from_secs(5);
/// Longest that a picture waits for viewers that have no room for it yet: in the fast lane so that those of one speed get
/// into step, in the other because that is its purpose.
const PATIENCE: Duration = Duration::from_millis(8);
const SLOW_PATIENCE: Duration = Duration::from_millis(250);
/// The same of a keyframe: who does not get it needs another.
const KEYFRAME_PATIENCE: Duration = Duration::from_millis(50);
/// How long the speeds of the lanes are compared.
const COMPARED: Duration = Duration::from_secs(2);
/// The slow lane is as fast as the other with so many of its pictures.
const AS_FAST: f64 = 0.9;
/// Fewer pictures in `COMPARED` tell nothing.
const TELLING: usize = 10;
/// Who was parted from the others stays so for this time, and twice as long each time it happens again.
const PARTED: Duration = Duration::from_secs(2);
const LONGEST_PARTED: Duration = Duration::from_secs(64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Everyone begins here; who is late is hardly waited for.
    Fast,
    /// Of those who could not follow; all in it are waited for.
    Slow,
}

/// A viewer that has something of the screen to be brought up to date, and is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behind<Id> {
    pub viewer: Id,
    /// It wants a picture of video now. Otherwise it has no room on its link.
    pub ready: bool,
}

/// What a lane does now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next<Id> {
    Picture(Turn<Id>),
    /// Until that time, if nobody says anything sooner.
    Wait(Option<Duration>),
}

/// A picture to be encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn<Id> {
    pub takers: Vec<Id>,
    pub keyframe: bool,
}

/// The viewers of one format of video. Times are since any fixed moment.
#[derive(Debug)]
pub struct Lanes<Id> {
    members: BTreeMap<Id, Member>,
    flows: BTreeMap<Lane, Flow>,
    parted_at: Duration,
    /// For how long they are.
    parted: Duration,
}

#[derive(Debug, Default)]
struct Flow {
    /// When the last pictures were sent.
    sent: VecDeque<Duration>,
    last_keyframe: Option<Duration>,
    /// Since when a picture waits.
    waits: Option<Duration>,
}

#[derive(Debug)]
struct Member {
    lane: Lane,
    /// It has every picture since a keyframe.
    in_sync: bool,
    /// It has nothing to look at: it just came, or lost what it had.
    bare: bool,
    /// When it last lost that.
    voided: Option<Duration>,
    /// That it waits for a keyframe is counted.
    held: bool,
    /// When it missed pictures, or had to wait for a keyframe.
    missed: VecDeque<Duration>,
    /// When it got its last pictures.
    taken: VecDeque<Duration>,
}

impl Member {
    /// Its first picture in a lane.
    fn enter(&mut self, lane: Lane) {
        (self.lane, self.in_sync, self.bare, self.held) = (lane, false, true, false);
        self.missed.clear();
    }

    fn miss(&mut self, now: Duration) {
        remember(&mut self.missed, now, MISSED_WITHIN);
    }

    fn follows(&self) -> bool {
        self.missed.len() < MISSED
    }
}

/// Adds a time, and forgets those too long before it.
fn remember(times: &mut VecDeque<Duration>, now: Duration, within: Duration) {
    times.push_back(now);
    while times.front().is_some_and(|at| now.saturating_sub(*at) > within) {
        times.pop_front();
    }
}

/// Of two counts of pictures in the same time.
#[expect(clippy::cast_precision_loss, reason = "pictures of some seconds")]
fn is_slower(pictures: usize, others: usize) -> bool {
    (pictures as f64) < others as f64 * AS_FAST
}

impl<Id: Copy + Ord> Default for Lanes<Id> {
    fn default() -> Self {
        Self { members: BTreeMap::new(), flows: BTreeMap::new(), parted_at: Duration::ZERO, parted: PARTED }
    }
}

impl<Id: Copy + Ord> Lanes<Id> {
    pub fn join(&mut self, viewer: Id) {
        let (lane, missed, taken) = (Lane::Fast, VecDeque::new(), VecDeque::new());
        let member = Member { lane, in_sync: false, bare: true, voided: None, held: false, missed, taken };
        self.members.insert(viewer, member);
    }

    pub fn leave(&mut self, viewer: Id) {
        self.members.remove(&viewer);
    }

    /// What the viewer was sent is of no use to it: its next picture is a keyframe, at once unless that happens often.
    pub fn void(&mut self, viewer: Id, now: Duration) {
        if let Some(member) = self.members.get_mut(&viewer) {
            member.in_sync = false;
            member.bare = member.bare || member.voided.is_none_or(|at| now.saturating_sub(at) >= KEYFRAME_GAP);
            member.voided = Some(now);
        }
    }

    /// The encoders are gone: all begin anew, and nobody is slower than anybody until shown again.
    pub fn restart(&mut self) {
        self.flows.clear();
        self.parted = PARTED;
        self.members.values_mut().for_each(|member| member.enter(Lane::Fast));
    }

    /// Whom the next picture of the lane is for.
    pub fn next(&mut self, lane: Lane, behind: &[Behind<Id>], now: Duration) -> Next<Id> {
        let flow = self.flows.entry(lane).or_default();
        let alone = self.members.values().filter(|member| member.lane == lane).count() == 1;
        let keyframe_at = flow.last_keyframe.map(|last| last + KEYFRAME_GAP).filter(|at| !alone && *at > now);
        let mut turn = Turn { takers: Vec::new(), keyframe: false };
        let mut held = false;
        for one in behind.iter().filter(|one| one.ready) {
            let Some(member) = self.members.get_mut(&one.viewer).filter(|member| member.lane == lane) else { continue };
            if member.in_sync || member.bare || keyframe_at.is_none() {
                turn.takers.push(one.viewer);
                turn.keyframe |= !member.in_sync;
            } else {
                held = true;
                if !std::mem::replace(&mut member.held, true) {
                    member.miss(now);
                }
            }
        }
        if turn.takers.is_empty() {
            flow.waits = None;
            return Next::Wait(keyframe_at.filter(|_| held));
        }
        let waited_for = |viewer| self.members.get(&viewer).is_some_and(|member| member.lane == lane && member.in_sync);
        if behind.iter().any(|one| !one.ready && waited_for(one.viewer)) {
            let patience = match lane {
                Lane::Fast if turn.keyframe => KEYFRAME_PATIENCE,
                Lane::Fast => PATIENCE,
                Lane::Slow => SLOW_PATIENCE,
            };
            let until = *flow.waits.get_or_insert(now) + patience;
            if until > now {
                return Next::Wait(Some(until));
            }
        }
        Next::Picture(turn)
    }

    /// The picture of that turn was encoded, maybe as a keyframe that was not asked for.
    pub fn sent(&mut self, lane: Lane, turn: &Turn<Id>, behind: &[Behind<Id>], keyframe: bool, now: Duration) {
        for (viewer, member) in self.members.iter_mut().filter(|(_, member)| member.lane == lane) {
            if turn.takers.contains(viewer) {
                (member.in_sync, member.bare, member.held) = (true, false, false);
                remember(&mut member.taken, now, COMPARED);
            } else if std::mem::replace(&mut member.in_sync, false) && behind.iter().any(|one| one.viewer == *viewer) {
                // Who does not look, or shows all of it already, is not slow.
                member.miss(now);
                member.held = true;
            }
        }
        let flow = self.flows.entry(lane).or_default();
        flow.waits = None;
        if keyframe {
            flow.last_keyframe = Some(now);
        }
        remember(&mut flow.sent, now, COMPARED);
        match lane {
            Lane::Fast => self.part(now),
            Lane::Slow => self.join_again(now),
        }
    }

    /// Moves who can't follow to the slow lane. That need not be who missed pictures: one that takes fewer can be ready
    /// when others are not.
    fn part(&mut self, now: Duration) {
        let of_lane = |member: &&Member| member.lane == Lane::Fast;
        let members: Vec<&Member> = self.members.values().filter(of_lane).collect();
        let most = members.iter().map(|member| member.taken.len()).max().unwrap_or_default();
        let slower = |member: &Member| is_slower(member.taken.len(), most);
        if members.len() < 2 || members.iter().all(|member| member.follows()) {
            return;
        }
        let differ = members.iter().any(|member| slower(member));
        let leaves = |member: &Member| if differ { slower(member) } else { !member.follows() };
        if members.iter().all(|member| leaves(member)) {
            return;
        }
        if !self.members.values().any(|member| member.lane == Lane::Slow) {
            let again = now.saturating_sub(self.parted_at) < self.parted * 4;
            self.parted = if again { (self.parted * 2).min(LONGEST_PARTED) } else { PARTED };
            self.parted_at = now;
        }
        for member in self.members.values_mut().filter(|member| member.lane == Lane::Fast) {
            if leaves(member) {
                member.enter(Lane::Slow);
            } else {
                member.missed.clear();
            }
        }
    }

    /// Ends the slow lane once it is as fast as the other.
    fn join_again(&mut self, now: Duration) {
        let recent = |lane| {
            let sent = self.flows.get(&lane).into_iter().flat_map(|flow| &flow.sent);
            sent.filter(|at| now.saturating_sub(**at) <= COMPARED).count()
        };
        let (fast, slow) = (recent(Lane::Fast), recent(Lane::Slow));
        let as_fast = slow >= TELLING && !is_slower(slow, fast);
        if !as_fast || now.saturating_sub(self.parted_at) < self.parted {
            return;
        }
        self.flows.remove(&Lane::Slow);
        for member in self.members.values_mut().filter(|member| member.lane == Lane::Slow) {
            member.enter(Lane::Fast);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Between two looks.
    const STEP: Duration = Duration::from_millis(2);
    /// Between two pictures of a display.
    const TICK: Duration = Duration::from_millis(16);

    /// Viewers that have room for another picture so long after each.
    struct Room {
        lanes: Lanes<usize>,
        now: Duration,
        every: Vec<Duration>,
        free_at: Vec<Duration>,
        /// Of each viewer.
        pictures: Vec<usize>,
        keyframes: BTreeMap<Lane, usize>,
    }

    impl Room {
        fn new(every: &[u64]) -> Self {
            let mut lanes = Lanes::default();
            (0..every.len()).for_each(|viewer| lanes.join(viewer));
            Self {
                lanes,
                now: Duration::from_secs(100),
                every: every.iter().map(|ms| Duration::from_millis(*ms)).collect(),
                free_at: vec![Duration::ZERO; every.len()],
                pictures: vec![0; every.len()],
                keyframes: BTreeMap::new(),
            }
        }

        /// The screen moves for so long. Returns pictures a second of each viewer, and keyframes a second of each lane.
        fn run(&mut self, seconds: u32) -> (Vec<f64>, BTreeMap<Lane, f64>) {
            self.pictures.fill(0);
            self.keyframes.clear();
            let end = self.now + Duration::from_secs(seconds.into());
            while self.now < end {
                self.now += STEP;
                let behind: Vec<Behind<usize>> = (0..self.every.len())
                    .map(|viewer| Behind { viewer, ready: self.free_at[viewer] <= self.now })
                    .collect();
                for lane in [Lane::Fast, Lane::Slow] {
                    let Next::Picture(turn) = self.lanes.next(lane, &behind, self.now) else { continue };
                    self.lanes.sent(lane, &turn, &behind, turn.keyframe, self.now);
                    *self.keyframes.entry(lane).or_default() += usize::from(turn.keyframe);
                    for viewer in turn.takers {
                        assert!(behind[viewer].ready);
                        self.pictures[viewer] += 1;
                        self.free_at[viewer] = self.now + self.every[viewer];
                    }
                }
            }
            let rate = |count: usize| f64::from(u32::try_from(count).unwrap()) / f64::from(seconds);
            let keyframes = self.keyframes.iter().map(|(lane, count)| (*lane, rate(*count))).collect();
            (self.pictures.iter().map(|count| rate(*count)).collect(), keyframes)
        }
    }

    fn picture(next: Next<usize>) -> Turn<usize> {
        match next {
            Next::Picture(turn) => turn,
            Next::Wait(until) => panic!("it waits until {until:?}"),
        }
    }

    #[test]
    fn viewers_of_one_speed_share_all() {
        let mut room = Room::new(&[16, 16, 18]);
        // Not in step at first.
        room.free_at[1] = room.now + Duration::from_millis(10);
        room.run(2);
        let (rates, keyframes) = room.run(10);
        assert!(rates.iter().all(|rate| *rate > 54.0), "{rates:?}");
        assert_eq!(keyframes, BTreeMap::from([(Lane::Fast, 0.0)]));
    }

    #[test]
    fn a_slow_viewer_neither_waits_for_keyframes_nor_makes_the_others_pay_for_them() {
        let mut room = Room::new(&[16, 100, 16]);
        room.run(5);
        let (rates, keyframes) = room.run(10);
        assert!(rates[0] > 62.0 && rates[1] > 9.5 && rates[2] > 62.0, "{rates:?}");
        assert!(keyframes.values().all(|rate| *rate == 0.0), "{keyframes:?}");
    }

    #[test]
    fn slow_viewers_go_together_but_one_that_stalls_does_not_hold_the_others() {
        let mut room = Room::new(&[16, 90, 130]);
        room.run(5);
        let (rates, keyframes) = room.run(10);
        assert!(rates[0] > 62.0 && rates[1] > 7.0 && rates[2] > 7.0, "{rates:?}");
        assert!(keyframes.values().all(|rate| *rate == 0.0), "{keyframes:?}");
        room.every[2] = Duration::from_secs(3);
        let (rates, keyframes) = room.run(12);
        assert!(rates[0] > 62.0 && rates[1] > 7.0 && rates[2] > 0.2, "{rates:?}");
        assert!(keyframes.values().all(|rate| *rate < 0.5), "{keyframes:?}");
    }

    #[test]
    fn who_is_fast_again_comes_back_and_an_encoder_is_saved() {
        let mut room = Room::new(&[16, 100]);
        room.run(5);
        assert_eq!(room.lanes.members[&1].lane, Lane::Slow);
        room.every[1] = Duration::from_millis(16);
        room.run(5);
        assert_eq!(room.lanes.members[&1].lane, Lane::Fast);
        let (rates, keyframes) = room.run(5);
        assert!(rates.iter().all(|rate| *rate > 62.0), "{rates:?}");
        assert_eq!(keyframes, BTreeMap::from([(Lane::Fast, 0.0)]));
    }

    #[test]
    fn who_is_nearly_as_fast_is_not_moved_to_and_fro() {
        let mut room = Room::new(&[16, 26]);
        room.run(60);
        let (rates, keyframes) = room.run(60);
        assert!(rates[0] > 60.0 && rates[1] > 35.0, "{rates:?}");
        assert!(keyframes.values().all(|rate| *rate < 0.1), "{keyframes:?}");
    }

    #[test]
    fn the_slower_one_leaves_even_where_the_other_missed_pictures() {
        let mut lanes = Lanes::default();
        [0, 1].into_iter().for_each(|viewer| lanes.join(viewer));
        let both = [0, 1].map(|viewer| Behind { viewer, ready: true });
        let mut now = Duration::from_secs(100);
        let mut show = |takers: &[usize], behind: &[Behind<usize>]| {
            now += TICK;
            lanes.sent(Lane::Fast, &Turn { takers: takers.to_vec(), keyframe: false }, behind, false, now);
        };
        (0..20).for_each(|_| show(&[0], &both[..1]));
        // It is busy for a moment when the other one, which seldom takes any, has room.
        for takers in [&[0, 1][..], &[1], &[0, 1], &[1]] {
            show(takers, &both);
        }
        assert_eq!([0, 1].map(|viewer| lanes.members[&viewer].lane), [Lane::Fast, Lane::Slow]);
    }

    #[test]
    fn alone_nobody_is_slow() {
        let mut room = Room::new(&[300]);
        let (rates, keyframes) = room.run(10);
        assert!(rates[0] > 3.0, "{rates:?}");
        assert_eq!(keyframes, BTreeMap::from([(Lane::Fast, 0.1)]));
    }

    #[test]
    fn who_joins_or_lost_its_picture_gets_a_keyframe() {
        let mut room = Room::new(&[10, 10]);
        room.run(3);
        room.lanes.void(0, room.now);
        let both = [0, 1].map(|viewer| Behind { viewer, ready: true });
        let turn = picture(room.lanes.next(Lane::Fast, &both, room.now));
        assert_eq!(turn, Turn { takers: vec![0, 1], keyframe: true });
        room.lanes.sent(Lane::Fast, &turn, &both, true, room.now);
        // Not another at once, but the other one goes on.
        room.lanes.void(0, room.now + TICK);
        let turn = picture(room.lanes.next(Lane::Fast, &both, room.now + TICK));
        assert_eq!(turn, Turn { takers: vec![1], keyframe: false });
        let wait = Next::Wait(Some(room.now + KEYFRAME_GAP));
        assert_eq!(room.lanes.next(Lane::Fast, &both[..1], room.now + TICK), wait);
        let turn = picture(room.lanes.next(Lane::Fast, &both, room.now + KEYFRAME_GAP));
        assert_eq!(turn, Turn { takers: vec![0, 1], keyframe: true });
        room.lanes.join(2);
        let three = [0, 1, 2].map(|viewer| Behind { viewer, ready: true });
        assert!(picture(room.lanes.next(Lane::Fast, &three, room.now + TICK)).takers.contains(&2));
        room.lanes.restart();
        assert!(picture(room.lanes.next(Lane::Fast, &three, room.now + TICK)).keyframe);
    }

    #[test]
    fn who_must_wait_for_keyframes_again_and_again_gets_another_lane() {
        // The first takes small changes as tiles, which the second gets as video: neither is slow.
        let mut lanes = Lanes::default();
        [0, 1].into_iter().for_each(|viewer| lanes.join(viewer));
        let both = [0, 1].map(|viewer| Behind { viewer, ready: true });
        let mut now = Duration::from_secs(100);
        let mut waited = Vec::new();
        for _ in 0..12 {
            for behind in [&both[..], &both[1..]] {
                now += Duration::from_millis(300);
                let began = now;
                let mut left = behind.to_vec();
                while !left.is_empty() {
                    for lane in [Lane::Fast, Lane::Slow] {
                        if let Next::Picture(turn) = lanes.next(lane, &left, now) {
                            lanes.sent(lane, &turn, &left, turn.keyframe, now);
                            left.retain(|one| !turn.takers.contains(&one.viewer));
                        }
                    }
                    now += STEP;
                }
                waited.push(now - began);
            }
        }
        assert!(waited[10..].iter().all(|wait| *wait < Duration::from_millis(20)), "{waited:?}");
    }
}
