//! One client's picture: what of it is stale or lossy, what its link carries, and what to send next.

use std::time::Duration;

use protocol::stream::Rect;

use super::activity::Activity;
use super::cells::{CELL, CellSet};
use super::copy::Copy;
use super::link::Link;
use super::scroll::Motion;

/// What went lossy is refined once it has been still for so long.
pub const STILL: Duration = Duration::from_millis(100);
/// Longest that one update of tiles, where no video goes, may keep the link busy: new damage waits behind it.
const CHUNK_TIME: Duration = Duration::from_millis(25);
/// The same of refinement, which nobody has asked for.
const REFINEMENT_TIME: Duration = Duration::from_millis(12);
/// A chunk has at least so many cells; fewer are not worth a message.
const CHUNK_CELLS: usize = 48;
/// And at most so many: they take about 5 ms to encode, for which new damage waits.
const MAX_CHUNK_CELLS: usize = 2048;
/// So many cells that move are as soon sent as tiles as they are waited for, 128x128 pixels.
pub const SMALL_MOTION: usize = 64;
/// What strips beside copies may take of all that a link carries, where there is video instead of them.
const STRIPS_SHARE: f64 = 0.75;
/// Bytes a second that a motion may take on any link: above that its strips are coarse until it rests.
const MOTION_RATE: f64 = 500e3;
/// Bytes that tiles of one update may have on any link.
const LEAST_BUDGET: usize = 16 * 1024;
/// Most updates under way, however long the delay.
const MAX_IN_FLIGHT: usize = 32;
/// What may be under way beyond what the link holds, seconds of its rate.
const SLACK: Duration = Duration::from_millis(40);
/// The same when refinement is to follow.
const REFINEMENT_SLACK: Duration = Duration::from_millis(10);
/// What is sent of cells of which only the differing pixels are, of what those took wholly. A guess: of a stroke.
const FRESH_SHARE: f64 = 0.3;
/// Weight of a new measurement.
const WEIGHT: f64 = 0.2;

/// What encoding costs, measured; shared by all viewers.
#[derive(Debug, Clone, Copy)]
pub struct Costs {
    /// Nanoseconds a pixel.
    pub tile_encode: f64,
    /// Nanoseconds a pixel of the whole screen, as video codes that.
    pub video_encode: f64,
    /// Bytes a changed pixel.
    pub video_bytes: f64,
}

impl Default for Costs {
    fn default() -> Self {
        Self { tile_encode: 12.0, video_encode: 5.0, video_bytes: 0.05 }
    }
}

impl Costs {
    pub fn tiles_took(&mut self, pixels: usize, time: Duration) {
        learn(&mut self.tile_encode, nanos(time), pixels);
    }

    pub fn video_took(&mut self, screen_pixels: usize, time: Duration) {
        learn(&mut self.video_encode, nanos(time), screen_pixels);
    }

    pub fn video_has(&mut self, changed_pixels: usize, bytes: usize) {
        #[expect(clippy::cast_precision_loss, reason = "bytes of an access unit")]
        learn(&mut self.video_bytes, bytes as f64, changed_pixels);
    }
}

#[expect(clippy::cast_precision_loss, reason = "pixels of a screen")]
fn learn(value: &mut f64, total: f64, count: usize) {
    // Too few say more about the fixed costs than about one of them.
    if count >= 4096 {
        *value += (total / count as f64 - *value) * WEIGHT;
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds")]
fn nanos(time: Duration) -> f64 {
    time.as_nanos() as f64
}

#[derive(Debug, Clone, Copy)]
pub struct ViewerOptions {
    pub width: u16,
    pub height: u16,
    /// Whether the client decodes video.
    pub video: bool,
    /// Of the client's display, Hz.
    pub refresh: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Nothing for now; ask again at that time, or when something happens.
    Wait(Option<Duration>),
    Send(Send),
}

/// What the next update consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Send {
    /// Comes before all else.
    pub copy: Option<Copy>,
    pub tiles: CellSet,
    pub video: CellSet,
    /// The tiles are a picture of what keeps moving.
    pub motion: bool,
}

impl Send {
    /// Nothing, on a screen of that many pixels.
    pub fn empty(width: u16, height: u16) -> Self {
        Self { copy: None, tiles: CellSet::empty(width, height), video: CellSet::empty(width, height), motion: false }
    }
}

/// Times are since any fixed moment.
#[derive(Debug)]
pub struct Viewer {
    stale: CellSet,
    lossy: CellSet,
    /// Of what is stale, cells that were exact until the screen changed last.
    fresh: CellSet,
    /// How some of what is stale can be had from what the client shows.
    copy: Option<Copy>,
    link: Link,
    seq: u32,
    video: bool,
    hidden: bool,
    interval: Duration,
    last_tiles: Option<Duration>,
    /// The last picture of a motion, whatever it was made of.
    last_video: Option<Duration>,
    /// Client's time to draw, nanoseconds a pixel.
    tile_draw: f64,
    /// Client's time to decode and draw a picture, nanoseconds a pixel of the screen.
    video_draw: f64,
    /// What the updates under way are made of: number, pixels of tiles, video.
    drawing: std::collections::VecDeque<(u32, usize, bool)>,
}

impl Viewer {
    pub fn new(options: ViewerOptions) -> Self {
        Self {
            stale: CellSet::all(options.width, options.height),
            lossy: CellSet::empty(options.width, options.height),
            fresh: CellSet::empty(options.width, options.height),
            copy: None,
            link: Link::default(),
            seq: 0,
            video: options.video,
            hidden: false,
            interval: interval(options.refresh),
            last_tiles: None,
            last_video: None,
            tile_draw: 10.0,
            video_draw: 5.0,
            drawing: std::collections::VecDeque::new(),
        }
    }

    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Nobody sees the page while hidden, and nothing is sent. `refresh` in Hz.
    pub fn set_view(&mut self, hidden: bool, refresh: u16) {
        self.hidden = hidden;
        self.interval = interval(refresh);
    }

    /// The screen has another size, or the client lost its picture.
    pub fn restart(&mut self, width: u16, height: u16) {
        self.stale = CellSet::all(width, height);
        self.lossy = CellSet::empty(width, height);
        self.fresh = CellSet::empty(width, height);
        self.copy = None;
    }

    /// The screen was looked at again and had changed there, maybe nowhere.
    pub fn damaged(&mut self, cells: &CellSet) {
        self.fresh = cells.without(&self.stale).without(&self.lossy);
        self.stale.union(cells);
        self.lossy.subtract(cells);
        self.copy = self.copy.take().and_then(|mut copy| {
            copy.subtract(cells);
            (!copy.cells().is_empty()).then_some(copy)
        });
    }

    /// The screen changed there, and some of it only moved.
    pub fn moved(&mut self, cells: &CellSet, motion: &Motion) {
        let (stale, lossy) = (self.stale.clone(), self.lossy.clone());
        let earlier = self.copy.take();
        self.damaged(cells);
        let both = earlier.and_then(|copy| copy.then(motion, &self.stale));
        self.copy = both.or_else(|| Copy::of(motion, &stale, &lossy, &self.stale));
    }

    /// It is not known which pixels changed last.
    pub fn changed_wholly(&mut self) {
        self.fresh.clear();
    }

    /// Cells that the client, once all is drawn, shows as they were before the screen changed last.
    pub const fn fresh(&self) -> &CellSet {
        &self.fresh
    }

    /// The client's picture, once drawn, equals the screen.
    pub fn is_exact(&self) -> bool {
        self.stale.is_empty() && self.lossy.is_empty()
    }

    /// Somebody looks at a picture that is not the present one.
    pub fn is_behind(&self) -> bool {
        !self.hidden && !self.stale.is_empty()
    }

    /// The client has drawn all updates up to `seq`, the last of them in `took`.
    pub fn drawn(&mut self, seq: u32, took: Duration, now: Duration) {
        let screen = self.screen_pixels();
        // Drawing a picture of the video may include waiting for it: it may come another way than its update.
        let mut told_apart = true;
        while let Some((number, pixels, video)) = self.drawing.front().copied().filter(|update| update.0 <= seq) {
            self.drawing.pop_front();
            told_apart &= !video;
            if number == seq && video {
                learn(&mut self.video_draw, nanos(took), screen);
            } else if number == seq {
                learn(&mut self.tile_draw, nanos(took), pixels);
            }
        }
        self.link.drawn(seq, told_apart.then_some(took), now);
    }

    fn screen_pixels(&self) -> usize {
        let (width, height) = self.stale.size();
        usize::from(width) * usize::from(height)
    }

    /// What to send now. `pointer` is what the user looks at, pixels.
    pub fn plan(&self, now: Duration, pointer: (u16, u16), activity: &Activity, costs: &Costs) -> Plan {
        if self.hidden || self.is_exact() {
            return Plan::Wait(None);
        }
        if !self.link_is_free(SLACK) {
            return Plan::Wait(None);
        }
        if !self.stale.is_empty() {
            if let Some(at) = self.tiles_at(now) {
                return Plan::Wait(Some(at));
            }
            let mut send = self.newest(now, pointer, activity, costs);
            if let Some(at) = self.video_at(now) {
                send.video.clear();
                if send.tiles.is_empty() {
                    return Plan::Wait(Some(at));
                }
            }
            return Plan::Send(send);
        }
        if !self.link_is_free(REFINEMENT_SLACK) {
            return Plan::Wait(None);
        }
        let (still, next) = activity.still(&self.lossy, STILL, now);
        if still.is_empty() {
            return Plan::Wait(next.map(|wait| now + wait));
        }
        let tiles = self.chunk(&still, REFINEMENT_TIME, pointer, activity);
        let (width, height) = tiles.size();
        Plan::Send(Send { tiles, ..Send::empty(width, height) })
    }

    /// When damage could be sent: now, or after the time that the display's refresh asks for. None: not before the client
    /// has drawn more, or is seen again.
    pub fn ready_at(&self, now: Duration) -> Option<Duration> {
        if self.hidden || !self.link_is_free(SLACK) {
            return None;
        }
        Some(self.tiles_at(now).unwrap_or(now))
    }

    /// Between two pictures of the client's display.
    pub const fn interval(&self) -> Duration {
        self.interval
    }

    /// Bytes of tiles beyond which the link would be busy too long: they cost more than was thought, and the rest of them
    /// is worth another decision.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is positive and bounded")]
    pub fn tile_budget(&self) -> usize {
        ((self.link.rate().0 * SLACK.as_secs_f64()) as usize).max(LEAST_BUDGET)
    }

    /// The same for another picture of the video.
    pub fn video_ready_at(&self, now: Duration) -> Option<Duration> {
        self.ready_at(now).map(|at| self.video_at(now).unwrap_or(now).max(at))
    }

    /// Whether another update would be seen about as soon as the link can carry it, instead of waiting in a queue.
    fn link_is_free(&self, slack: Duration) -> bool {
        // Of one that never answered nothing is known: it gets the size of the screen and one picture.
        if !self.link.answers() {
            return self.link.updates_in_flight() < 2;
        }
        let (rate, _) = self.link.rate();
        let delay = self.link.delay();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is positive and bounded")]
        let held = (rate * (delay + slack).as_secs_f64()) as usize;
        let intervals = delay.as_nanos() / self.interval.as_nanos().max(1);
        let pictures = usize::try_from(intervals).unwrap_or(MAX_IN_FLIGHT).saturating_add(2);
        // While one picture is decoded the next is on its way. Tiles beside them are no pictures of their own.
        let videos = self.drawing.iter().filter(|update| update.2).count();
        videos < pictures
            && self.link.updates_in_flight() < (2 * pictures).min(MAX_IN_FLIGHT)
            && self.link.bytes_in_flight() < held.max(1)
    }

    /// When the display would show another picture; none: now. Drawing more often shows nothing more.
    fn video_at(&self, now: Duration) -> Option<Duration> {
        self.last_video.map(|last| last + self.interval.mul_f64(0.85)).filter(|at| *at > now)
    }

    /// Tiles may come between two pictures: they may be the answer to a key.
    fn tiles_at(&self, now: Duration) -> Option<Duration> {
        self.last_tiles.map(|last| last + self.interval.mul_f64(0.25)).filter(|at| *at > now)
    }

    fn newest(&self, now: Duration, pointer: (u16, u16), activity: &Activity, costs: &Costs) -> Send {
        let (width, height) = self.stale.size();
        let mut send = Send { copy: self.copy.clone(), ..Send::empty(width, height) };
        send.copy = send.copy.and_then(|copy| self.with_strips(copy, activity, now));
        let stale = send.copy.as_ref().map_or_else(|| self.stale.clone(), |copy| self.stale.without(&copy.cells()));
        // What keeps moving and what has just changed beside it, such as a menu over an animation, are two questions.
        let moving = activity.moving(&stale, now);
        let rest = stale.without(&moving);
        let small = moving.len() <= SMALL_MOTION;
        let moving = if small || self.video_at(now).is_none() { moving } else { CellSet::empty(width, height) };
        if !self.video {
            let mut cells = rest;
            cells.union(&moving);
            send.tiles = self.chunk(&cells, CHUNK_TIME, pointer, activity);
            send.motion = !small && !send.tiles.overlap(&moving).is_empty();
            return send;
        }
        for (cells, motion) in [(rest, false), (moving, !small)] {
            if self.video_is_sooner(&cells, activity, costs) {
                send.video.union(&cells);
            } else {
                send.motion |= motion && !cells.is_empty();
                send.tiles.union(&cells);
            }
        }
        // Tiles that would be seen later than the video anyway may as well be part of it.
        if !send.video.is_empty() && !send.tiles.is_empty() && send.tiles.len() > CHUNK_CELLS * 4 {
            send.video.union(&send.tiles);
            send.tiles.clear();
        }
        send
    }

    /// The copy with strips that a motion which goes on can have in every picture; without any where the link has no room
    /// for them. None: nothing is left to copy.
    fn with_strips(&self, mut copy: Copy, activity: &Activity, now: Duration) -> Option<Copy> {
        let rate = |copy: &Copy| copy.strip_bytes(activity) / self.interval.as_secs_f64();
        if rate(&copy) > MOTION_RATE && !activity.moving(&copy.edge_cells(), now).is_empty() {
            copy.coarsen();
        } else {
            // A tile may be one that the client has.
            copy.leave_whole_edges();
        }
        if self.video && rate(&copy) > self.link.carried() * STRIPS_SHARE {
            copy.leave_edges();
        }
        (!copy.cells().is_empty()).then_some(copy)
    }

    /// Compares when the pixels would be seen.
    #[expect(clippy::cast_precision_loss, reason = "pixels and bytes of a screen")]
    fn video_is_sooner(&self, cells: &CellSet, activity: &Activity, costs: &Costs) -> bool {
        if cells.is_empty() {
            return false;
        }
        let area = cells.area() as f64;
        let screen = self.screen_pixels() as f64;
        let on_link = |bytes: f64| bytes / self.link.carried() * 1e9;
        let partly = activity.tile_bytes(&cells.overlap(&self.fresh)) as f64 * (1.0 - FRESH_SHARE);
        let tile_bytes = activity.tile_bytes(cells) as f64 - partly;
        let tiles = area * (costs.tile_encode + self.tile_draw) + on_link(tile_bytes);
        let video = screen * (costs.video_encode + self.video_draw) + on_link(area * costs.video_bytes);
        video < tiles
    }

    /// As many of the cells as keep the link busy for that time, those near the pointer first.
    fn chunk(&self, cells: &CellSet, time: Duration, pointer: (u16, u16), activity: &Activity) -> CellSet {
        let (rate, _) = self.link.rate();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is positive and bounded")]
        let budget = (rate * time.as_secs_f64()) as usize;
        if cells.len() <= CHUNK_CELLS || (cells.len() <= MAX_CHUNK_CELLS && activity.tile_bytes(cells) <= budget) {
            return cells.clone();
        }
        let (column, row) = (usize::from(pointer.0 / CELL), usize::from(pointer.1 / CELL));
        // Blocks of 8 by 4 cells: neighbours compress together, and whole tiles are found in the client's cache.
        let block = |(x, y): (usize, usize)| (x / 8, y / 4);
        let near = |(x, y): (usize, usize)| {
            let (dx, dy) = ((x * 8 + 4).abs_diff(column), (y * 4 + 2).abs_diff(row));
            dx * dx + dy * dy
        };
        let mut blocks: Vec<(usize, usize)> = cells.iter().map(block).collect();
        blocks.sort_unstable_by_key(|at| (near(*at), *at));
        blocks.dedup();
        let (width, height) = cells.size();
        let mut chosen = CellSet::empty(width, height);
        for (x, y) in blocks {
            let side = CELL;
            let scale = |cells: usize| u16::try_from(cells).unwrap_or(u16::MAX).saturating_mul(side);
            let mut part = CellSet::empty(width, height);
            part.insert(Rect { x: scale(x * 8), y: scale(y * 4), width: 8 * side, height: 4 * side });
            part.intersect(cells);
            let mut more = chosen.clone();
            more.union(&part);
            let enough = chosen.len() >= CHUNK_CELLS && activity.tile_bytes(&more) > budget;
            if !chosen.is_empty() && (enough || more.len() > MAX_CHUNK_CELLS) {
                break;
            }
            chosen = more;
        }
        chosen
    }

    /// An update that shows nothing, such as the new size of the screen. Being small, it tells the delay of the link.
    pub fn sent_bare(&mut self, bytes: usize, now: Duration) -> u32 {
        self.seq = self.seq.wrapping_add(1);
        self.link.sent(self.seq, bytes, now);
        self.seq
    }

    /// The update, planned at that time, was encoded and handed to the carrier: it has that number.
    pub fn sent(&mut self, send: &Send, bytes: usize, planned: Duration, now: Duration) -> u32 {
        self.seq = self.seq.wrapping_add(1);
        (self.stale, self.lossy) = self.after(send);
        self.fresh.intersect(&self.stale);
        // What it reads is another picture now.
        self.copy = None;
        let video = !send.video.is_empty();
        if video || send.copy.is_some() || send.motion {
            self.last_video = Some(planned);
        }
        if !send.tiles.is_empty() || send.copy.is_some() {
            self.last_tiles = Some(planned);
        }
        // How long tiles take to draw is not learnt from copies.
        let pixels = if send.copy.is_none() { send.tiles.area() } else { 0 };
        self.drawing.push_back((self.seq, pixels, video));
        self.link.sent(self.seq, bytes, now);
        self.seq
    }

    /// The number that `sent` will give.
    pub fn next_seq(&self) -> u32 {
        self.seq.wrapping_add(1)
    }

    /// Whether the client is exact once this is drawn.
    pub fn exact_after(&self, send: &Send) -> bool {
        let (stale, lossy) = self.after(send);
        stale.is_empty() && lossy.is_empty()
    }

    /// What is stale and what lossy once this is drawn.
    fn after(&self, send: &Send) -> (CellSet, CellSet) {
        let (mut stale, mut lossy) = (self.stale.clone(), self.lossy.clone());
        if let Some(copy) = &send.copy {
            stale.subtract(&copy.cells());
            lossy.subtract(copy.exact());
            lossy.union(copy.lossy());
        }
        stale.subtract(&send.tiles);
        stale.subtract(&send.video);
        lossy.union(&send.video);
        lossy.subtract(&send.tiles);
        (stale, lossy)
    }
}

fn interval(refresh: u16) -> Duration {
    Duration::from_secs(1) / u32::from(refresh.clamp(10, 500))
}
