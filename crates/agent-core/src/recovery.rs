//! When GIMP is asked for its documents, and when one is copied, so that a GIMP that dies without warning costs little.
//!
//! GIMP tells whether a document has unsaved changes, but not whether it changed since it was copied. So input counts as a
//! change of every dirty document that was in sight, and late of the others, which a filter may still work on. A copy holds
//! GIMP up, so none is made while a button is down, nor twice for the same input.
//!
//! Pure: time is given, [`Policy::next`] says what to do, the caller does it and tells what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use protocol::agent::CopyTimes;

/// What was out of sight is copied that long after the first input since its last copy.
pub const LONGEST_OUT_OF_SIGHT: Duration = Duration::from_secs(300);
/// How soon GIMP is asked again while there is input.
pub const LIST_GAP: Duration = Duration::from_secs(1);
/// GIMP may not have carried out what was put in that shortly before. Less than the shortest pause.
pub const LAG: Duration = Duration::from_secs(2);
/// How soon it is looked again whether the button is up.
pub const BUTTON_GAP: Duration = Duration::from_millis(200);
/// Waits after copies that failed in a row: the first, doubled each time up to the longest.
pub const FIRST_RETRY: Duration = Duration::from_secs(10);
pub const LONGEST_RETRY: Duration = Duration::from_secs(300);

/// An image id of GIMP's.
pub type DocumentId = i64;

/// What to do now. Times are since whatever the caller counts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Ask GIMP for its documents, then tell by `listed` or `list_failed`.
    List,
    /// Copy this document, then tell by `copied` or `copy_failed`.
    Copy(DocumentId),
    /// Nothing before then, unless there is input.
    At(Duration),
    /// Nothing until there is input.
    Rest,
}

/// What the caller knows when it asks what is next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hand {
    /// Of a human, or of a program that changes documents. None: never yet.
    pub last_input: Option<Duration>,
    pub button_down: bool,
    pub in_sight: InSight,
}

/// The documents that GIMP's windows show: what a human changes is one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum InSight {
    /// Each may be.
    #[default]
    Unknown,
    Only(BTreeSet<DocumentId>),
}

impl InSight {
    fn may_show(&self, document: DocumentId) -> bool {
        match self {
            Self::Unknown => true,
            Self::Only(documents) => documents.contains(&document),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Dirty {
    /// The first change that no copy has; None when all are in it.
    uncopied_since: Option<Duration>,
    /// The last input that may have been for this document.
    touched_at: Option<Duration>,
    /// The first input that no copy has and that was hardly for this document.
    out_of_sight_since: Option<Duration>,
    /// Failures in a row and when to try again.
    failures: u32,
    retry_at: Duration,
}

/// Decides for one run of GIMP.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    times: CopyTimes,
    listed_at: Option<Duration>,
    /// Not before this, after a failure.
    list_after: Duration,
    list_failures: u32,
    last_input: Option<Duration>,
    /// First input since the last list: what has become dirty did so then, at the earliest.
    first_input: Option<Duration>,
    in_sight: InSight,
    dirty: BTreeMap<DocumentId, Dirty>,
}

impl Policy {
    #[must_use]
    pub fn new(times: CopyTimes) -> Self {
        Self { times, ..Self::default() }
    }

    /// A document is copied when its user has done nothing for so long.
    fn pause(&self) -> Duration {
        Duration::from_secs(self.times.pause_seconds.into())
    }

    /// While the user does not pause it is copied that long after its first change that no copy has.
    fn longest_uncopied(&self) -> Duration {
        Duration::from_secs(self.times.longest_seconds.into())
    }

    /// `now` and the last input never go back.
    pub fn next(&mut self, now: Duration, hand: &Hand) -> Next {
        self.hear(hand);
        let list_at = self.list_due().map(|at| at.max(self.list_after));
        if list_at.is_some_and(|at| at <= now) {
            return Next::List;
        }
        let copy = self.copy_due();
        let copy_at = match copy {
            Some((at, document)) if at <= now && !hand.button_down => return Next::Copy(document),
            Some((at, _)) if at <= now => Some(now + BUTTON_GAP),
            Some((at, _)) => Some(at),
            None => None,
        };
        match [list_at, copy_at].into_iter().flatten().min() {
            Some(at) => Next::At(at),
            None => Next::Rest,
        }
    }

    /// GIMP's documents as they were at `now`, all of them, with whether they have unsaved changes.
    pub fn listed(&mut self, now: Duration, documents: impl IntoIterator<Item = (DocumentId, bool)>) {
        let since = self.first_input.take().unwrap_or(now);
        let known = std::mem::take(&mut self.dirty);
        let new = Dirty {
            uncopied_since: Some(since),
            touched_at: self.last_input,
            out_of_sight_since: None,
            failures: 0,
            retry_at: Duration::ZERO,
        };
        let dirty = documents.into_iter().filter(|(_, dirty)| *dirty);
        self.dirty = dirty.map(|(id, _)| (id, known.get(&id).copied().unwrap_or(new))).collect();
        self.listed_at = Some(now);
        self.list_after = Duration::ZERO;
        self.list_failures = 0;
    }

    /// GIMP did not answer.
    pub fn list_failed(&mut self, now: Duration) {
        self.list_after = now + retry_after(self.list_failures);
        self.list_failures = self.list_failures.saturating_add(1);
    }

    /// A copy was begun at `begun` and is safe.
    pub fn copied(&mut self, document: DocumentId, begun: Duration) {
        let late = |input: Option<Duration>| input.filter(|input| *input + LAG > begun);
        if let Some(dirty) = self.dirty.get_mut(&document) {
            *dirty = Dirty {
                uncopied_since: late(dirty.touched_at),
                out_of_sight_since: late(self.last_input),
                failures: 0,
                retry_at: Duration::ZERO,
                ..*dirty
            };
        }
    }

    pub fn copy_failed(&mut self, document: DocumentId, now: Duration) {
        if let Some(dirty) = self.dirty.get_mut(&document) {
            dirty.retry_at = now + retry_after(dirty.failures);
            dirty.failures = dirty.failures.saturating_add(1);
        }
    }

    fn hear(&mut self, hand: &Hand) {
        let before = std::mem::replace(&mut self.in_sight, hand.in_sight.clone());
        let newer = |input: &Duration| self.last_input.is_none_or(|last| *input > last);
        let Some(input) = hand.last_input.filter(newer) else { return };
        self.last_input = Some(input);
        self.first_input.get_or_insert(input);
        for (id, dirty) in &mut self.dirty {
            // It may have been for what was in sight the last time.
            if before.may_show(*id) || self.in_sight.may_show(*id) {
                dirty.uncopied_since.get_or_insert(input);
                dirty.touched_at = Some(input);
            } else {
                dirty.out_of_sight_since.get_or_insert(input);
            }
        }
    }

    /// When GIMP is to be asked next; in the past when that is overdue.
    fn list_due(&self) -> Option<Duration> {
        let Some(listed_at) = self.listed_at else { return Some(Duration::ZERO) };
        let input = self.last_input?;
        let while_input_comes = (input > listed_at).then(|| listed_at + LIST_GAP);
        // Once it has worked off the input, before copying, and for what it took long to do.
        let looks = [LIST_GAP, self.pause(), self.longest_uncopied()];
        let after = looks.iter().map(|after| input + *after).find(|at| *at > listed_at);
        while_input_comes.into_iter().chain(after).min()
    }

    /// The document to be copied next, and when.
    fn copy_due(&self) -> Option<(Duration, DocumentId)> {
        let due = self.dirty.iter().filter_map(|(id, dirty)| {
            let changed = dirty.uncopied_since.map(|since| {
                let pause = self.last_input.unwrap_or(since) + self.pause();
                pause.min(since + self.longest_uncopied())
            });
            let out_of_sight = dirty.out_of_sight_since.map(|since| since + LONGEST_OUT_OF_SIGHT);
            let at = changed.into_iter().chain(out_of_sight).min()?;
            Some((at.max(dirty.retry_at), *id))
        });
        due.min()
    }
}

fn retry_after(failures: u32) -> Duration {
    FIRST_RETRY.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST_RETRY)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAUSE: Duration = s(10);
    const LONGEST_UNCOPIED: Duration = s(60);

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn hand(last_input: u64) -> Hand {
        Hand { last_input: Some(s(last_input)), button_down: false, in_sight: InSight::Unknown }
    }

    fn only(documents: impl IntoIterator<Item = DocumentId>) -> InSight {
        InSight::Only(documents.into_iter().collect())
    }

    /// A GIMP with some documents, all made dirty by the first input.
    struct World {
        now: Duration,
        policy: Policy,
        hand: Hand,
        documents: Vec<DocumentId>,
        dirty: bool,
        lists: Vec<Duration>,
        copies: BTreeMap<DocumentId, Vec<Duration>>,
        copying_fails: bool,
    }

    impl World {
        fn new(documents: impl IntoIterator<Item = DocumentId>) -> Self {
            Self {
                now: s(1000),
                policy: Policy::default(),
                hand: Hand { last_input: None, button_down: false, in_sight: InSight::Unknown },
                documents: documents.into_iter().collect(),
                dirty: false,
                lists: vec![],
                copies: BTreeMap::new(),
                copying_fails: false,
            }
        }

        fn copies(&self, document: DocumentId) -> &[Duration] {
            self.copies.get(&document).map_or(&[], Vec::as_slice)
        }

        fn input(&mut self) {
            self.hand.last_input = Some(self.now);
            self.dirty = true;
            self.settle();
        }

        /// Paints for so long, without a pause.
        fn paint(&mut self, seconds: u64) {
            for _ in 0..seconds * 10 {
                self.input();
                self.wait(Duration::from_millis(100));
            }
        }

        /// Does all that is due now; returns when more is.
        fn settle(&mut self) -> Option<Duration> {
            for _ in 0..10 {
                match self.policy.next(self.now, &self.hand) {
                    Next::List => {
                        self.lists.push(self.now);
                        self.policy.listed(self.now, self.documents.iter().map(|id| (*id, self.dirty)));
                    }
                    Next::Copy(document) => {
                        assert!(!self.hand.button_down, "no copy in a stroke");
                        assert!(self.documents.contains(&document));
                        self.copies.entry(document).or_default().push(self.now);
                        if self.copying_fails {
                            self.policy.copy_failed(document, self.now);
                        } else {
                            self.policy.copied(document, self.now);
                        }
                    }
                    Next::At(at) => {
                        assert!(at > self.now, "time stands still at {at:?}");
                        return Some(at);
                    }
                    Next::Rest => return None,
                }
            }
            panic!("it never comes to rest");
        }

        fn wait(&mut self, time: Duration) {
            let end = self.now + time;
            while let Some(at) = self.settle().filter(|at| *at <= end) {
                self.now = at;
            }
            self.now = end;
        }
    }

    #[test]
    fn a_pause_of_ten_seconds_brings_one_copy_and_rest_brings_nothing() {
        let mut world = World::new([7]);
        world.wait(s(3600));
        assert_eq!(world.lists.len(), 1, "at the start, and not at rest");
        world.input();
        let painted = world.now;
        world.wait(s(3600));
        assert_eq!(world.copies(7), [painted + PAUSE]);
        assert!(world.lists.len() <= 5, "{:?}", world.lists);
    }

    #[test]
    fn painting_without_a_pause_is_copied_once_a_minute() {
        let mut world = World::new([7]);
        world.wait(s(5));
        let began = world.now;
        world.paint(180);
        assert_eq!(world.copies(7)[0], began + LONGEST_UNCOPIED);
        assert!((2..=3).contains(&world.copies(7).len()), "{:?}", world.copies);
        let lists = world.lists.len();
        assert!((170..=185).contains(&lists), "about one a second: {lists}");
        world.wait(s(30));
        let last_input = world.hand.last_input.expect("input");
        assert_eq!(world.copies(7).last(), Some(&(last_input + PAUSE)));
    }

    #[test]
    fn a_stroke_is_not_interrupted_however_long() {
        let mut world = World::new([7]);
        world.hand.button_down = true;
        world.paint(90);
        assert!(world.copies.is_empty(), "{:?}", world.copies);
        world.hand.button_down = false;
        let up = world.now;
        world.input();
        world.wait(s(1));
        assert_eq!(world.copies(7), [up], "as soon as the button is up");
    }

    #[test]
    fn what_is_out_of_sight_is_not_copied_at_each_pause() {
        let mut world = World::new([7, 8]);
        world.input();
        world.wait(s(20));
        assert_eq!((world.copies(7).len(), world.copies(8).len()), (1, 1), "both have become dirty");
        world.hand.in_sight = only([7]);
        // The first input of these may have been for what was in sight before.
        world.input();
        world.wait(s(20));
        let before = (world.copies(7).len(), world.copies(8).len());
        let first_input = world.now;
        for _ in 0..9 {
            world.paint(10);
            world.wait(s(20));
        }
        assert_eq!((world.copies(7).len(), world.copies(8).len()), (before.0 + 9, before.1));
        world.wait(s(600));
        assert_eq!(world.copies(8).len(), before.1 + 1, "late, but all the same");
        assert_eq!(world.copies(8).last(), Some(&(first_input + LONGEST_OUT_OF_SIGHT)));
        let copies = world.copies.clone();
        world.wait(s(3600));
        assert_eq!(world.copies, copies, "and not again");
    }

    #[test]
    fn what_was_just_left_is_copied_as_what_is_in_sight() {
        let mut world = World::new([7, 8]);
        world.hand.in_sight = only([7]);
        world.input();
        world.wait(s(20));
        world.paint(2);
        // A last stroke, then another image, and no look in between.
        world.wait(Duration::from_millis(500));
        world.hand.in_sight = only([8]);
        world.input();
        let left = world.now;
        world.wait(s(20));
        assert_eq!(world.copies(7).last(), Some(&(left + PAUSE)));
    }

    #[test]
    fn what_was_put_in_just_before_a_copy_is_copied_again() {
        let mut policy = Policy::default();
        policy.next(s(0), &hand(0));
        policy.listed(s(0), [(1, true)]);
        policy.next(s(100), &hand(99));
        policy.copied(1, s(100));
        policy.listed(s(100), [(1, true)]);
        assert_eq!(policy.next(s(105), &hand(99)), Next::At(s(109)));
    }

    #[test]
    fn failures_are_tried_again_with_growing_pauses_also_at_rest() {
        let mut world = World::new([7]);
        world.copying_fails = true;
        world.input();
        world.wait(s(1200));
        let gaps: Vec<u64> = world.copies(7).windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
        assert_eq!(gaps, [10, 20, 40, 80, 160, 300, 300]);
        world.copying_fails = false;
        world.wait(s(600));
        let copies = world.copies(7).len();
        world.wait(s(3600));
        assert_eq!(world.copies(7).len(), copies, "and no more once it went well");
    }

    #[test]
    fn what_is_saved_or_closed_is_not_copied() {
        for documents in [vec![], vec![(1, false)]] {
            let mut policy = Policy::default();
            policy.next(s(0), &hand(0));
            policy.listed(s(0), [(1, true)]);
            policy.listed(s(10), documents);
            assert_eq!(policy.next(s(10), &hand(0)), Next::At(s(60)));
            policy.listed(s(60), []);
            assert_eq!(policy.next(s(60), &hand(0)), Next::Rest);
        }
    }

    #[test]
    fn a_gimp_that_does_not_answer_is_not_asked_all_the_time() {
        let mut policy = Policy::default();
        let mut now = s(0);
        for wait in [10, 20, 40, 80, 160, 300, 300] {
            assert_eq!(policy.next(now, &hand(0)), Next::List);
            policy.list_failed(now);
            assert_eq!(policy.next(now, &hand(0)), Next::At(now + s(wait)));
            now += s(wait);
        }
    }

    #[derive(Debug, Clone)]
    enum Op {
        Input,
        Button(bool),
        Wait(u64),
        Look(InSight),
    }

    fn any_op() -> impl Strategy<Value = Op> {
        let sights = prop::sample::select(vec![InSight::Unknown, only([7]), only([8]), only([7, 8]), only([])]);
        prop_oneof![
            5 => Just(Op::Input),
            1 => any::<bool>().prop_map(Op::Button),
            5 => (1u64..4000).prop_map(Op::Wait),
            1 => (1u64..90_000).prop_map(Op::Wait),
            1 => sights.prop_map(Op::Look),
        ]
    }

    fn any_times() -> impl Strategy<Value = CopyTimes> {
        let chosen = CopyTimes::PAUSE_SECONDS.prop_flat_map(|pause| (Just(pause), pause..=CopyTimes::MOST_SECONDS));
        let chosen = chosen.prop_map(|(pause_seconds, longest_seconds)| CopyTimes { pause_seconds, longest_seconds });
        prop_oneof![Just(CopyTimes::default()), Just(CopyTimes { pause_seconds: 3, longest_seconds: 8 }), chosen]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        /// Whenever GIMP is killed: what is older than promised is in a copy, unless a stroke has gone on since. And there
        /// are no more copies than changes.
        #[test]
        fn nothing_older_than_promised_is_lost(times in any_times(), ops in prop::collection::vec(any_op(), 1..200)) {
            let mut world = World::new([7, 8]);
            world.policy = Policy::new(times);
            let (pause, longest) = (world.policy.pause(), world.policy.longest_uncopied());
            world.wait(s(1));
            let began = world.now;
            let mut inputs: BTreeMap<DocumentId, Vec<Duration>> = [(7, vec![]), (8, vec![])].into();
            let mut touches: BTreeMap<DocumentId, usize> = BTreeMap::new();
            let (mut last_stroke, mut last_input, mut looked) = (Duration::ZERO, Duration::ZERO, InSight::Unknown);
            for op in ops {
                match op {
                    Op::Input => {
                        let sight = world.hand.in_sight.clone();
                        world.input();
                        last_input = world.now;
                        for (id, inputs) in &mut inputs {
                            if sight.may_show(*id) {
                                inputs.push(world.now);
                            }
                            if sight.may_show(*id) || looked.may_show(*id) {
                                *touches.entry(*id).or_default() += 1;
                            }
                        }
                    }
                    Op::Button(down) => {
                        world.hand.button_down = down;
                        world.settle();
                    }
                    Op::Wait(millis) => world.wait(Duration::from_millis(millis)),
                    Op::Look(sight) => {
                        world.now += Duration::from_millis(1);
                        world.hand.in_sight = sight;
                        continue;
                    }
                }
                looked = world.hand.in_sight.clone();
                if world.hand.button_down {
                    last_stroke = world.now;
                }
                for (id, inputs) in &inputs {
                    let copied = world.copies(*id).last().copied().unwrap_or_default();
                    for input in inputs.iter().filter(|input| **input > copied && **input > last_stroke) {
                        let age = world.now - *input;
                        prop_assert!(age <= longest, "{input:?} is not in a copy after {age:?}");
                        let quiet = world.now - last_input;
                        prop_assert!(quiet <= pause, "{input:?} is not in a copy after a pause of {quiet:?}");
                    }
                }
            }
            // Copies are bounded by changes and time, and rest is rest.
            world.hand.button_down = false;
            world.wait(s(900).max(longest));
            prop_assert_eq!(world.settle(), None);
            let late = usize::try_from((world.now - began).as_secs() / LONGEST_OUT_OF_SIGHT.as_secs()).expect("small");
            for id in [7, 8] {
                let bound = 2 * (touches.get(&id).copied().unwrap_or_default() + 1) + late;
                prop_assert!(world.copies(id).len() <= bound, "{id}: {} copies, {bound}", world.copies(id).len());
            }
        }
    }
}
