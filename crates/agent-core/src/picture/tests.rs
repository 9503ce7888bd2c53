//! Random sessions in virtual time against a client that only knows what it was sent.

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;
use protocol::stream::{Op, Rect};

use super::*;

const WIDTH: u16 = 640;
const HEIGHT: u16 = 400;

/// Side of a dot, pixels: what has one content. Motions go by whole dots, which cells are made of.
const DOT: u16 = 8;

/// A dot as the client shows it: the version of its content, and whether as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shown {
    version: u32,
    exact: bool,
}

#[derive(Debug, Clone)]
enum Step {
    Damage {
        x: u16,
        y: u16,
        width: u16,
        height: u16,
    },
    /// A region that changes for so many frames.
    Motion {
        x: u16,
        y: u16,
        frames: u8,
    },
    /// The content of a region moves, in dots; one in so many cells is not noticed to have.
    Pan {
        x: u16,
        y: u16,
        way: (i32, i32),
        frames: u8,
        every: u16,
        unnoticed: usize,
    },
    Wait(u16),
    Pointer(u16, u16),
    Resize(u16, u16),
    Hide(bool),
    /// The client lost its picture.
    Refresh,
    /// A new connection.
    Reconnect,
    Link {
        rate: u32,
        delay: u16,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..WIDTH, 0..HEIGHT, 1_u16..400, 1_u16..400)
            .prop_map(|(x, y, width, height)| Step::Damage { x, y, width, height }),
        2 => (0..WIDTH, 0..HEIGHT, 1_u8..30).prop_map(|(x, y, frames)| Step::Motion { x, y, frames }),
        4 => (0..WIDTH, 0..HEIGHT, (-9_i32..9, -9_i32..9), 1_u8..8, 0_u16..20, 2_usize..200)
            .prop_map(|(x, y, way, frames, every, unnoticed)| Step::Pan { x, y, way, frames, every, unnoticed }),
        3 => (0_u16..400).prop_map(Step::Wait),
        1 => (0..WIDTH, 0..HEIGHT).prop_map(|(x, y)| Step::Pointer(x, y)),
        1 => (1_u16..900, 1_u16..700).prop_map(|(width, height)| Step::Resize(width, height)),
        1 => any::<bool>().prop_map(Step::Hide),
        1 => Just(Step::Refresh),
        1 => Just(Step::Reconnect),
        1 => (20_000_u32..50_000_000, 0_u16..200).prop_map(|(rate, delay)| Step::Link { rate, delay }),
    ]
}

#[derive(Default)]
struct Arriving {
    at: Duration,
    seq: u32,
    copies: Vec<Op>,
    dots: Vec<(usize, Shown)>,
    /// The screen, when it says to be exact.
    exact: Option<Vec<u32>>,
}

struct Stage {
    now: Duration,
    size: (u16, u16),
    screen: Vec<u32>,
    /// Dots that changed last.
    changed: Vec<usize>,
    version: u32,
    activity: Activity,
    costs: Costs,
    video: bool,
    viewer: Viewer,
    client: Vec<Shown>,
    pointer: (u16, u16),
    hidden: bool,
    under_way: VecDeque<Arriving>,
    /// When the link has carried everything sent.
    link_busy_until: Duration,
    rate: f64,
    delay: Duration,
    most_in_flight: usize,
    /// Cells, in all.
    copied: usize,
    /// Drawn over copies, in all.
    strips: usize,
}

impl Stage {
    fn new(video: bool) -> Self {
        let mut stage = Self {
            now: Duration::from_secs(100),
            size: (WIDTH, HEIGHT),
            screen: vec![],
            changed: vec![],
            version: 0,
            activity: Activity::new(WIDTH, HEIGHT),
            costs: Costs::default(),
            video,
            viewer: Viewer::new(ViewerOptions { width: WIDTH, height: HEIGHT, video, refresh: 60 }),
            client: vec![],
            pointer: (0, 0),
            hidden: false,
            under_way: VecDeque::new(),
            link_busy_until: Duration::ZERO,
            rate: 5e6,
            delay: Duration::from_millis(1),
            most_in_flight: 0,
            copied: 0,
            strips: 0,
        };
        stage.resize(WIDTH, HEIGHT);
        stage
    }

    fn resize(&mut self, width: u16, height: u16) {
        self.size = (width, height);
        self.version += 1;
        self.screen = vec![self.version; dots(width) * dots(height)];
        self.activity = Activity::new(width, height);
        self.client = vec![Shown { version: 0, exact: false }; self.screen.len()];
        self.viewer.restart(width, height);
        self.void_what_is_under_way();
        self.announce_size();
    }

    /// Of another size, or passed over by a client that waits for `Size`.
    fn void_what_is_under_way(&mut self) {
        for update in &mut self.under_way {
            *update = Arriving { at: update.at, seq: update.seq, ..Arriving::default() };
        }
    }

    fn announce_size(&mut self) {
        let seq = self.viewer.sent_bare(20, self.now);
        let at = self.link_busy_until.max(self.now) + self.delay;
        self.under_way.push_back(Arriving { at, seq, ..Arriving::default() });
    }

    fn damage(&mut self, rect: Rect) {
        let mut cells = CellSet::empty(self.size.0, self.size.1);
        cells.insert(rect);
        self.changed.clear();
        for at in self.dots_of(&cells) {
            // Of an odd one some look the same as before.
            if rect.width.is_multiple_of(2) || !at.is_multiple_of(3) {
                self.version += 1;
                self.screen[at] = self.version;
                self.changed.push(at);
            }
        }
        self.activity.changed(&cells, self.now);
        self.viewer.damaged(&cells);
    }

    fn dots_of(&self, cells: &CellSet) -> Vec<usize> {
        let rects = cells.iter().map(|(column, row)| cells.rect(column, row));
        rects.flat_map(|rect| self.dots_in(rect)).collect()
    }

    fn dots_in(&self, rect: Rect) -> impl Iterator<Item = usize> + use<> {
        let across = dots(self.size.0);
        let columns = usize::from(rect.x / DOT)..dots(rect.x + rect.width);
        let rows = usize::from(rect.y / DOT)..dots(rect.y + rect.height);
        rows.flat_map(move |row| columns.clone().map(move |column| row * across + column))
    }

    /// Moves what is in the rectangle, of whole dots; what comes from outside of it is new.
    fn pan(&mut self, area: Rect, way: Way, unnoticed: usize) {
        self.version += 1;
        let (across, old) = (dots(self.size.0), self.screen.clone());
        for at in self.dots_in(area) {
            let dot = |at: usize| u16::try_from(at).expect("small") * DOT;
            let to = Rect { x: dot(at % across), y: dot(at / across), width: DOT, height: DOT };
            let from = way.source(to, (u16::MAX, u16::MAX)).filter(|from| {
                (area.x..area.x + area.width).contains(&from.x) && (area.y..area.y + area.height).contains(&from.y)
            });
            self.screen[at] = from.map_or(self.version, |from| old[self.dots_in(from).next().expect("one")]);
        }
        let (width, height) = self.size;
        let mut changed = CellSet::empty(width, height);
        let mut motion = Motion { way, cells: CellSet::empty(width, height), edges: vec![] };
        let mut touched = CellSet::empty(width, height);
        touched.insert(area);
        for (count, (column, row)) in touched.iter().enumerate() {
            let to = changed.rect(column, row);
            if !self.dots_in(to).all(|at| self.screen[at] == old[at]) {
                changed.insert_cell(column, row);
            }
            if count % unnoticed == 0 {
                continue;
            }
            let came = |to: Rect| {
                way.source(to, self.size).is_some_and(|from| {
                    self.dots_in(to).map(|at| self.screen[at]).eq(self.dots_in(from).map(|at| old[at]))
                })
            };
            if came(to) {
                motion.cells.insert_cell(column, row);
            } else if (to.width, to.height) == (CELL, CELL) && changed.contains(column, row) {
                // One half of it may have come, while the other did otherwise, or not at all.
                let (upper, left) = (Rect { height: DOT, ..to }, Rect { width: DOT, ..to });
                let (lower, right) = (Rect { y: to.y + DOT, ..upper }, Rect { x: to.x + DOT, ..left });
                let nothing = Rect { width: 0, height: 0, ..to };
                let halves = [(upper, lower), (lower, upper), (left, right), (right, left)];
                let other = |part: Rect| self.dots_in(part).any(|at| self.screen[at] != old[at]);
                let half = halves.into_iter().find(|(part, _)| came(*part) && other(*part));
                let Some((part, beyond)) = half.or((count % 2 == 0).then_some((nothing, to))) else { continue };
                let (right, bottom) = (beyond.x + beyond.width, beyond.y + beyond.height);
                let dots = (beyond.y..bottom)
                    .step_by(DOT.into())
                    .flat_map(|y| (beyond.x..right).step_by(DOT.into()).map(move |x| (x, y)));
                let dots = dots.map(|(x, y)| Rect { x, y, width: DOT, height: DOT });
                let rest = dots.filter(|dot| other(*dot)).reduce(Rect::hull).unwrap_or(nothing);
                motion.edges.push(Edge { column, row, part, rest, beyond });
            }
        }
        self.changed = (0..old.len()).filter(|at| self.screen[*at] != old[*at]).collect();
        self.activity.changed(&changed, self.now);
        self.viewer.moved(&changed, &motion);
    }

    /// Lets everything happen that is due until then.
    fn run_until(&mut self, end: Duration) {
        loop {
            let plan = self.viewer.plan(self.now, self.pointer, &self.activity, &self.costs);
            let wake = match plan {
                Plan::Send(send) => {
                    self.send(&send);
                    continue;
                }
                Plan::Wait(wake) => wake,
            };
            let arrival = self.under_way.front().map(|update| update.at);
            let next = [wake, arrival].into_iter().flatten().min().filter(|next| *next <= end);
            let Some(next) = next else { break };
            assert!(next > self.now || arrival == Some(next), "it asks to be woken later than now");
            self.now = next.max(self.now);
            while self.under_way.front().is_some_and(|update| update.at <= self.now) {
                let update = self.under_way.pop_front().expect("just looked");
                self.draw(&update);
                self.viewer.drawn(update.seq, Duration::from_micros(500), self.now);
            }
        }
        self.now = end;
    }

    fn draw(&mut self, update: &Arriving) {
        for op in &update.copies {
            let Op::Copy { rect, to_x, to_y } = *op else { panic!("only copies") };
            let to = self.dots_in(Rect { x: to_x, y: to_y, ..rect });
            let from: Vec<Shown> = self.dots_in(rect).map(|at| self.client[at]).collect();
            to.zip(from).for_each(|(at, shown)| self.client[at] = shown);
        }
        for (at, shown) in &update.dots {
            self.client[*at] = *shown;
        }
        if let Some(screen) = &update.exact {
            let exact = screen.iter().map(|version| Shown { version: *version, exact: true });
            assert!(self.client.iter().copied().eq(exact), "it is not exact");
        }
    }

    fn send(&mut self, send: &Send) {
        assert!(!self.hidden, "nobody looks");
        assert!(self.video || send.video.is_empty(), "the client has no decoder");
        assert!(send.tiles.overlap(&send.video).is_empty(), "once is enough");
        let copied = send.copy.as_ref().map(Copy::cells).unwrap_or_else(|| CellSet::empty(self.size.0, self.size.1));
        assert!(copied.overlap(&send.tiles).is_empty() && copied.overlap(&send.video).is_empty(), "once is enough");
        let nothing = send.tiles.is_empty() && send.video.is_empty() && copied.is_empty();
        assert!(!nothing, "an update without content");
        let bytes = 20 + send.tiles.area() + send.video.area() / 20;
        let exact = self.viewer.exact_after(send);
        let fresh = self.viewer.fresh().clone();
        let seq = self.viewer.sent(send, bytes, self.now, self.now);
        assert_eq!(exact, self.viewer.is_exact());
        self.activity.tiles_took(&send.tiles, send.tiles.area());
        let shown = |cells: &CellSet, exact| {
            let dots = self.dots_of(cells).into_iter();
            dots.map(|at| (at, Shown { version: self.screen[at], exact })).collect::<Vec<_>>()
        };
        let strips = send.copy.as_ref().map(Copy::strips).unwrap_or_default();
        let drawn = strips.len();
        let strips = strips.into_iter().flat_map(|rect| self.dots_in(rect));
        let exact_strips = !send.copy.as_ref().is_some_and(Copy::is_coarse);
        let strips = strips.map(|at| (at, Shown { version: self.screen[at], exact: exact_strips })).collect();
        let mut tiles = shown(&send.tiles.without(&fresh), true);
        // Of these only what changed.
        let partial = shown(&send.tiles.overlap(&fresh), true);
        tiles.extend(partial.into_iter().filter(|(at, _)| self.changed.contains(at)));
        let dots = [strips, tiles, shown(&send.video, false)].concat();
        let copies = send.copy.as_ref().map(Copy::ops).unwrap_or_default();
        self.copied += copied.len();
        self.strips += drawn;
        #[expect(clippy::cast_precision_loss, reason = "a test's bytes")]
        let takes = Duration::from_secs_f64(bytes as f64 / self.rate);
        self.link_busy_until = self.link_busy_until.max(self.now) + takes;
        let at = self.link_busy_until + self.delay;
        self.under_way.push_back(Arriving { at, seq, copies, dots, exact: exact.then(|| self.screen.clone()) });
        self.most_in_flight = self.most_in_flight.max(self.under_way.len());
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Damage { x, y, width, height } => self.damage(Rect { x, y, width, height }),
            Step::Motion { x, y, frames } => {
                for _ in 0..frames {
                    self.damage(Rect { x, y, width: 300, height: 200 });
                    self.run_until(self.now + Duration::from_millis(16));
                }
            }
            Step::Pan { x, y, way, frames, every, unnoticed } => {
                let way = Way { dx: way.0 * i32::from(DOT), dy: way.1 * i32::from(DOT) };
                let mut area = Rect { x: x / DOT * DOT, y: y / DOT * DOT, width: 300, height: 200 };
                area.width = area.width.min(self.size.0.saturating_sub(area.x) / DOT * DOT);
                area.height = area.height.min(self.size.1.saturating_sub(area.y) / DOT * DOT);
                for _ in 0..frames {
                    self.pan(area, way, unnoticed);
                    self.run_until(self.now + Duration::from_millis(every.into()));
                }
            }
            Step::Wait(ms) => self.run_until(self.now + Duration::from_millis(ms.into())),
            Step::Pointer(x, y) => self.pointer = (x, y),
            Step::Resize(width, height) => self.resize(width, height),
            Step::Hide(hidden) => {
                self.hidden = hidden;
                self.viewer.set_view(hidden, 60);
            }
            Step::Refresh => {
                self.client.fill(Shown { version: 0, exact: false });
                self.viewer.restart(self.size.0, self.size.1);
                self.void_what_is_under_way();
                self.announce_size();
            }
            Step::Reconnect => {
                let (width, height) = self.size;
                self.viewer = Viewer::new(ViewerOptions { width, height, video: self.video, refresh: 60 });
                self.viewer.set_view(self.hidden, 60);
                self.under_way.clear();
                self.link_busy_until = self.now;
                self.client.fill(Shown { version: 0, exact: false });
                self.announce_size();
            }
            Step::Link { rate, delay } => {
                self.rate = rate.into();
                self.delay = Duration::from_millis(delay.into());
            }
        }
    }

    fn rest(&mut self) {
        self.take(&Step::Hide(false));
        self.run_until(self.now + Duration::from_secs(600));
    }
}

fn dots(pixels: u16) -> usize {
    pixels.div_ceil(DOT).into()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn the_picture_always_becomes_exact(video: bool, steps in proptest::collection::vec(step(), 0..40)) {
        let mut stage = Stage::new(video);
        for step in &steps {
            stage.take(step);
        }
        stage.rest();
        for (shown, version) in stage.client.iter().zip(&stage.screen) {
            prop_assert_eq!(*shown, Shown { version: *version, exact: true });
        }
        prop_assert!(stage.viewer.is_exact());
        prop_assert!(stage.most_in_flight <= 32);
        // And then nothing more happens.
        prop_assert_eq!(stage.viewer.plan(stage.now, (0, 0), &stage.activity, &stage.costs), Plan::Wait(None));
    }
}

fn rested(video: bool) -> Stage {
    let mut stage = Stage::new(video);
    stage.resize(1920, 1080);
    stage.rest();
    stage
}

#[test]
fn small_damage_goes_at_once_as_tiles_and_large_damage_as_video() {
    let mut stage = rested(true);
    stage.rate = 50e6;
    stage.damage(Rect { x: 100, y: 100, width: 300, height: 200 });
    let Plan::Send(send) = stage.viewer.plan(stage.now, (0, 0), &stage.activity, &stage.costs) else {
        panic!("at once")
    };
    assert!(send.video.is_empty() && !send.tiles.is_empty());
    stage.rest();
    stage.damage(Rect { x: 0, y: 0, width: 1920, height: 1080 });
    let Plan::Send(send) = stage.viewer.plan(stage.now, (0, 0), &stage.activity, &stage.costs) else {
        panic!("at once")
    };
    assert!(send.tiles.is_empty() && !send.video.is_empty());
}

#[test]
fn on_a_slow_link_a_photographic_patch_goes_as_video_first() {
    let mut stage = rested(true);
    stage.rate = 625e3;
    stage.delay = Duration::from_millis(20);
    for _ in 0..20 {
        stage.damage(Rect { x: 0, y: 0, width: 1920, height: 400 });
        stage.rest();
    }
    stage.damage(Rect { x: 100, y: 100, width: 300, height: 200 });
    let Plan::Send(send) = stage.viewer.plan(stage.now, (0, 0), &stage.activity, &stage.costs) else {
        panic!("at once")
    };
    assert!(!send.video.is_empty());
}

#[test]
fn refinement_begins_near_the_pointer() {
    let mut stage = rested(true);
    // The video is drawn before that.
    stage.rate = 2e6;
    stage.damage(Rect { x: 0, y: 0, width: 1920, height: 1080 });
    let start = stage.now;
    stage.run_until(start + Duration::from_millis(99));
    let Plan::Wait(Some(at)) = stage.viewer.plan(stage.now, (1800, 1000), &stage.activity, &stage.costs) else {
        panic!("not before it is still")
    };
    assert_eq!(at, start + Duration::from_millis(100));
    stage.now = at;
    let Plan::Send(send) = stage.viewer.plan(stage.now, (1800, 1000), &stage.activity, &stage.costs) else {
        panic!("now")
    };
    assert!(send.video.is_empty() && send.tiles.contains(1800 / 16, 1000 / 16) && !send.tiles.contains(0, 0));
}

#[test]
fn a_slow_client_gets_fewer_updates_not_older_ones() {
    let mut stage = rested(true);
    stage.rate = 100e3;
    stage.delay = Duration::from_millis(50);
    let mut sent = 0;
    for _ in 0..200 {
        stage.damage(Rect { x: 0, y: 0, width: 1920, height: 1080 });
        let before = stage.under_way.len();
        stage.run_until(stage.now + Duration::from_millis(16));
        sent += usize::from(stage.under_way.len() > before);
        let waits = stage.link_busy_until.saturating_sub(stage.now);
        assert!(waits < Duration::from_millis(2200), "{waits:?} of pictures wait on the link");
    }
    assert!(sent < 100);
}

#[test]
fn a_pan_is_copied_and_stays_exact_without_video() {
    for video in [true, false] {
        let mut stage = rested(video);
        stage.rate = 50e6;
        // What a larger one uncovers is coarse until it rests.
        let area = Rect { x: 200, y: 100, width: 304, height: 200 };
        stage.damage(area);
        stage.rest();
        stage.copied = 0;
        for _ in 0..60 {
            stage.pan(area, Way { dx: 8, dy: -8 }, usize::MAX);
            let Plan::Send(send) = stage.viewer.plan(stage.now, (0, 0), &stage.activity, &stage.costs) else {
                panic!("at once")
            };
            let copy = send.copy.as_ref().expect("a copy");
            // A rectangle, of which the corner that is all new may be missing.
            assert!(copy.ops().len() <= 2, "{:?}", copy.ops());
            assert!(send.video.is_empty() && send.tiles.len() < 70, "{} tiles", send.tiles.len());
            stage.run_until(stage.now + Duration::from_millis(17));
            assert!(stage.viewer.is_exact());
        }
        assert!(stage.copied > 60 * 180, "{} cells", stage.copied);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strips {
    Exact,
    Coarse,
    None,
}

#[test]
fn of_a_pan_only_the_new_strip_is_sent_where_the_link_carries_it() {
    for (rate, width, wanted) in [(50e6, 800, Strips::Exact), (50e6, 1392, Strips::Coarse), (300e3, 1392, Strips::None)]
    {
        let mut stage = rested(true);
        stage.rate = 50e6;
        let area = Rect { x: 208, y: 96, width, height: 896 };
        stage.damage(area);
        stage.rest();
        stage.rate = rate;
        // A photograph's worth of bytes tells the rate.
        for _ in 0..3 {
            stage.damage(area);
            stage.rest();
        }
        stage.strips = 0;
        for frame in 0..60 {
            stage.pan(area, Way { dx: 0, dy: -8 }, usize::MAX);
            let plan = stage.viewer.plan(stage.now, (0, 0), &stage.activity, &stage.costs);
            if let Plan::Send(send) = plan
                && wanted != Strips::None
            {
                let strips = send.copy.as_ref().map(Copy::strips).unwrap_or_default();
                assert_eq!(strips, [Rect { x: 208, y: 984, width, height: 8 }]);
                // One cell is not noticed to have moved.
                assert!(send.tiles.len() <= 1 && send.video.is_empty());
                // It takes some pictures to make a motion.
                let coarse = send.copy.as_ref().is_some_and(Copy::is_coarse);
                assert_eq!(coarse, wanted == Strips::Coarse && frame >= 2, "{frame}");
            }
            stage.run_until(stage.now + Duration::from_millis(17));
            assert!(wanted != Strips::Exact || stage.viewer.is_exact());
        }
        assert_eq!(stage.strips, if wanted == Strips::None { 0 } else { 60 }, "{wanted:?}");
        assert_eq!(stage.viewer.is_exact(), wanted == Strips::Exact, "{wanted:?}");
        stage.rest();
        assert!(stage.viewer.is_exact());
    }
}
