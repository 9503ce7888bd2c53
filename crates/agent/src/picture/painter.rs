//! The thread behind `Picture`.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use agent_core::picture::{
    Activity, Behind, CellSet, Lane, Lanes, Next, Plan, SMALL_MOTION, Send, TileCache, Viewer, ViewerOptions,
};
use bytes::Bytes;
use protocol::stream::{
    AgentHello, AgentStats, ClientHello, Op, Proof, STREAM_VERSION, ToClient, Update, VideoFormat, VideoSource,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::encoding::{Encoding, LARGEST_TILE, Wanted};
use super::{Command, RtpPicture, Said, ViewerId};
use crate::display::capture::{Capture, Change};
use crate::display::server::Cookie;
use crate::display::x11;
use crate::encode::video::VideoEncoder;
use crate::wake::Wake;

/// Most pixels a client keeps for us, whatever it offers.
const MAX_CACHE_PIXELS: u32 = 32 << 20;
/// What viewers say that is read before the next look at the screen.
const COMMANDS: usize = 256;
/// How often figures are sent while something happens.
const STATS_GAP: Duration = Duration::from_millis(500);

struct Seat {
    viewer: Viewer,
    cache: TileCache,
    cache_pixels: u32,
    outbox: mpsc::Sender<Bytes>,
    /// Where its video goes; none: into its updates.
    rtp: Option<mpsc::Sender<RtpPicture>>,
    input: Arc<AtomicU32>,
    stats_at: Option<Duration>,
    /// A proof that it asked for and has not got.
    proof: Option<u32>,
}

/// What ends the thread.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error("the display was lost")]
    Display(#[from] x11::Error),
    #[error("encoding failed")]
    Encoding(#[from] io::Error),
    #[error("nobody needs it any more")]
    Unneeded,
}

pub struct Painter {
    display: u32,
    cookie: Cookie,
    commands: Receiver<Command>,
    wake: Wake,
    began: Instant,
    seats: BTreeMap<ViewerId, Seat>,
    stage: Option<Stage>,
    pointer: (u16, u16),
}

/// What exists only while somebody looks.
struct Stage {
    capture: Capture,
    activity: Activity,
    encoding: Encoding,
    lanes: HashMap<VideoFormat, Lanes<ViewerId>>,
    /// When what keeps moving was last read.
    motion_at: Option<Duration>,
}

impl Painter {
    pub fn new(display: u32, cookie: Cookie, commands: Receiver<Command>, wake: Wake) -> Self {
        let seats = BTreeMap::new();
        Self { display, cookie, commands, wake, began: Instant::now(), seats, stage: None, pointer: (0, 0) }
    }

    pub fn run(mut self) {
        loop {
            match self.turn() {
                Ok(()) => {}
                Err(Stop::Unneeded) => return,
                // Viewers learn by their channels, which close now, and may come again.
                Err(stop) => {
                    tracing::warn!(error = format!("{:#}", anyhow::Error::from(stop)), "the picture was lost");
                    self.seats.clear();
                    self.stage = None;
                }
            }
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn turn(&mut self) -> Result<(), Stop> {
        self.obey()?;
        self.prove()?;
        // One moment for both: the time that reading takes is part of the interval until the next picture.
        let now = self.now();
        self.capture(now)?;
        let wait = self.paint(now)?;
        if let Some(wait) = wait {
            self.sleep(wait)?;
        }
        Ok(())
    }

    fn obey(&mut self) -> Result<(), Stop> {
        for _ in 0..COMMANDS {
            let command = match self.commands.try_recv() {
                Ok(command) => command,
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(Stop::Unneeded),
            };
            let now = self.now();
            match command {
                Command::Join { viewer, hello, outbox, input, webrtc } => {
                    self.join(viewer, &hello, outbox, input, webrtc)?;
                }
                Command::Leave(viewer) => self.leave(viewer),
                Command::Rtp(viewer, pictures) => {
                    if let Some(seat) = self.seats.get_mut(&viewer) {
                        // A receiver of RTP begins with a keyframe.
                        if pictures.is_some() {
                            self.stage.iter_mut().for_each(|stage| stage.void(viewer, now));
                        }
                        seat.rtp = pictures;
                    }
                }
                Command::Said(viewer, said, _heard) => self.hear(viewer, said, now),
            }
        }
        // The rest is for the next turn, which is not to wait for an event.
        self.wake.again();
        Ok(())
    }

    fn hear(&mut self, viewer: ViewerId, said: Said, now: Duration) {
        let (Some(seat), Some(stage)) = (self.seats.get_mut(&viewer), &mut self.stage) else { return };
        match said {
            Said::Drawn(drawn, at) => {
                let at = at.saturating_duration_since(self.began);
                seat.viewer.drawn(drawn.seq, Duration::from_micros(drawn.took_us.into()), at);
            }
            Said::View(view) => seat.viewer.set_view(view.hidden, view.refresh),
            Said::Refresh => {
                stage.void(viewer, now);
                if !seat.void(stage.capture.size(), now) {
                    self.leave(viewer);
                }
            }
            Said::Prove { id } => seat.proof = Some(id),
            Said::Pointer(x, y) => self.pointer = (x, y),
        }
    }

    fn join(
        &mut self,
        viewer: ViewerId,
        hello: &ClientHello,
        outbox: mpsc::Sender<Bytes>,
        input: Arc<AtomicU32>,
        webrtc: bool,
    ) -> Result<(), Stop> {
        let now = self.now();
        let stage = match &mut self.stage {
            Some(stage) => stage,
            none => {
                let capture = Capture::open(self.display, &self.cookie)?;
                let (width, height) = capture.size();
                let encoding = Encoding::new()?;
                let (activity, lanes) = (Activity::new(width, height), HashMap::new());
                none.insert(Stage { capture, activity, encoding, lanes, motion_at: None })
            }
        };
        let (width, height) = stage.capture.size();
        let format =
            [VideoFormat::H264Yuv444, VideoFormat::H264].into_iter().find(|format| hello.video.contains(format));
        let greeting = ToClient::Hello(AgentHello {
            version: STREAM_VERSION,
            width,
            height,
            video_encoder: format.map(|_| VideoEncoder::name().to_owned()),
            webrtc,
        });
        let options = ViewerOptions { width, height, video: format.is_some(), refresh: hello.refresh };
        let mut seat = Seat {
            viewer: Viewer::new(options),
            cache: TileCache::new(0, 1),
            cache_pixels: hello.cache_pixels.min(MAX_CACHE_PIXELS),
            outbox,
            rtp: None,
            input,
            stats_at: None,
            proof: None,
        };
        let greeted = greeting.encode().is_ok_and(|bytes| seat.outbox.try_send(bytes).is_ok());
        if greeted && seat.void((width, height), now) {
            self.seats.insert(viewer, seat);
            if let Some(format) = format {
                stage.lanes.entry(format).or_default().join(viewer);
            }
        }
        Ok(())
    }

    fn leave(&mut self, viewer: ViewerId) {
        self.seats.remove(&viewer);
        self.stage.iter_mut().for_each(|stage| stage.leave(viewer));
        if self.seats.is_empty() {
            self.stage = None;
        }
    }

    /// Reads damage when somebody is ready to be shown it. Until then it gathers in the X server. What moves steadily is
    /// read when the next picture of it is due.
    fn capture(&mut self, now: Duration) -> Result<(), Stop> {
        let Some(stage) = &mut self.stage else { return Ok(()) };
        let Some(due) = stage.due(&self.seats, now)?.filter(|due| due.at <= now) else { return Ok(()) };
        if due.motion {
            stage.motion_at = Some(now);
        }
        let change = stage.capture.take_cells(&due.cells)?;
        self.changed(&change, now);
        Ok(())
    }

    fn changed(&mut self, change: &Change, now: Duration) {
        let Some(stage) = &mut self.stage else { return };
        match change {
            Change::Cells(cells, motion) => {
                if !cells.is_empty() {
                    stage.encoding.captured();
                    stage.activity.changed(cells, now);
                }
                let is_told = stage.capture.differing().is_some();
                for seat in self.seats.values_mut() {
                    match motion {
                        Some(motion) => seat.viewer.moved(cells, motion),
                        None => seat.viewer.damaged(cells),
                    }
                    if !is_told {
                        seat.viewer.changed_wholly();
                    }
                }
            }
            Change::Resized => {
                let (width, height) = stage.capture.size();
                stage.encoding.resized();
                stage.activity = Activity::new(width, height);
                stage.lanes.values_mut().for_each(Lanes::restart);
                let lost = self.seats.extract_if(.., |_, seat| !seat.void((width, height), now));
                lost.for_each(|(viewer, _)| stage.leave(viewer));
            }
        }
    }

    /// Sends each viewer what it is ready for. None: there may be more at once; else until when nothing is to be done,
    /// if nothing happens.
    fn paint(&mut self, now: Duration) -> Result<Option<Option<Duration>>, Stop> {
        let Some(stage) = &mut self.stage else { return Ok(Some(None)) };
        let mut plans: Vec<(ViewerId, Send)> = Vec::new();
        let mut wait: Option<Duration> = None;
        for (id, seat) in &mut self.seats {
            match seat.viewer.plan(now, self.pointer, &stage.activity, &stage.encoding.costs) {
                Plan::Send(send) => plans.push((*id, send)),
                Plan::Wait(until) => wait = soonest(wait, until),
            }
        }
        wait = soonest(wait, stage.due(&self.seats, now)?.map(|due| due.at));
        if plans.is_empty() {
            let rests = stage.encoding.video_rests();
            if rests.is_some_and(|left| left.is_zero()) {
                stage.encoding.end_video();
                stage.lanes.values_mut().for_each(Lanes::restart);
                return Ok(Some(wait));
            }
            return Ok(Some(soonest(wait, rests.map(|left| now + left))));
        }
        let mut lost = Vec::new();
        let mut sent = false;
        // Tiles first: they are ready sooner than video, which another update carries.
        let (width, height) = stage.capture.size();
        for (id, plan) in plans.iter_mut().filter(|(_, send)| !send.tiles.is_empty() || send.video.is_empty()) {
            let Some(seat) = self.seats.get_mut(id) else { continue };
            let only_video = Send { video: plan.video.clone(), ..Send::empty(width, height) };
            let mut send = std::mem::replace(plan, only_video);
            send.video.clear();
            let mut ops = Vec::new();
            if let Some(copy) = &send.copy {
                stage.encoding.copy(stage.capture.pixels(), copy, &mut stage.activity, &mut ops)?;
            }
            send.tiles = stage.encoding.tiles(
                stage.capture.pixels(),
                Wanted {
                    cells: &send.tiles,
                    fresh: stage.capture.differing().map(|differing| (differing, seat.viewer.fresh())),
                },
                &mut seat.cache,
                &mut stage.activity,
                seat.viewer.tile_budget(),
                &mut ops,
            )?;
            sent = true;
            if !seat.send(&send, ops, 0, now, self.began.elapsed()) {
                lost.push(*id);
            }
        }
        plans.retain(|(_, send)| !send.video.is_empty());
        for format in [VideoFormat::H264, VideoFormat::H264Yuv444] {
            for lane in [Lane::Fast, Lane::Slow] {
                let painted = self.paint_video(format, lane, &plans, now, &mut lost)?;
                sent |= painted.is_none();
                wait = soonest(wait, painted.flatten());
            }
        }
        for id in lost {
            tracing::info!(viewer = id.0, "a viewer that takes nothing is dropped");
            self.leave(id);
        }
        self.send_stats();
        // All may wait for others.
        Ok((!sent).then_some(wait))
    }

    /// One picture of the video for those of a lane who want it. None: there was one; else until when there is none, if
    /// nothing happens.
    fn paint_video(
        &mut self,
        format: VideoFormat,
        lane: Lane,
        plans: &[(ViewerId, Send)],
        now: Duration,
        lost: &mut Vec<ViewerId>,
    ) -> Result<Option<Option<Duration>>, Stop> {
        let Some(stage) = &mut self.stage else { return Ok(Some(None)) };
        let Some(lanes) = stage.lanes.get_mut(&format) else { return Ok(Some(None)) };
        let ready = |viewer| plans.iter().any(|(id, _)| *id == viewer);
        let behind: Vec<Behind<ViewerId>> = self
            .seats
            .iter()
            .filter(|(_, seat)| seat.viewer.is_behind())
            .map(|(id, _)| Behind { viewer: *id, ready: ready(*id) })
            .collect();
        let turn = match lanes.next(lane, &behind, now) {
            Next::Picture(turn) => turn,
            Next::Wait(until) => return Ok(Some(until)),
        };
        let takers: Vec<&(ViewerId, Send)> = plans.iter().filter(|(id, _)| turn.takers.contains(id)).collect();
        let Some((_, first)) = takers.first() else { return Ok(Some(None)) };
        let (width, height) = first.video.size();
        let mut cells = CellSet::empty(width, height);
        let mut link = f64::INFINITY;
        for (id, send) in &takers {
            cells.union(&send.video);
            if let Some(seat) = self.seats.get(id) {
                link = link.min(seat.viewer.link().rate().0);
            }
        }
        let unit = stage.encoding.video(stage.capture.pixels(), &cells, (format, lane), turn.keyframe, link)?;
        lanes.sent(lane, &turn, &behind, unit.keyframe, now);
        for (id, send) in takers {
            let Some(seat) = self.seats.get_mut(id) else { continue };
            let source = seat.carry(unit.data.clone(), now);
            let beside = if matches!(source, VideoSource::Rtp { .. }) { unit.data.len() } else { 0 };
            let mut ops = Vec::new();
            if let Some(copy) = &send.copy {
                stage.encoding.copy(stage.capture.pixels(), copy, &mut stage.activity, &mut ops)?;
            }
            ops.push(Op::Video { format, keyframe: unit.keyframe, rects: send.video.rects(), source });
            if !seat.send(send, ops, beside, now, self.began.elapsed()) {
                lost.push(*id);
            }
        }
        Ok(None)
    }

    /// Figures for whoever shows them, now and then while something happens.
    fn send_stats(&mut self) {
        let now = self.now();
        let viewers = u32::try_from(self.seats.len()).unwrap_or(u32::MAX);
        let Some(stage) = &self.stage else { return };
        for seat in self.seats.values_mut() {
            if seat.stats_at.is_some_and(|at| now.saturating_sub(at) < STATS_GAP) {
                continue;
            }
            seat.stats_at = Some(now);
            let (rate, measured) = seat.viewer.link().rate();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and bounded")]
            let link_bps = measured.then_some((rate * 8.0) as u64);
            let stats =
                AgentStats { tiles_ms: stage.encoding.tiles_ms, video_ms: stage.encoding.video_ms, link_bps, viewers };
            if let Ok(bytes) = ToClient::Stats(stats).encode() {
                // Not worth to wait for, or to drop anybody for.
                let _full = seat.outbox.try_send(bytes);
            }
        }
    }

    /// Answers who asked for a proof, all with one look at the screen.
    fn prove(&mut self) -> Result<(), Stop> {
        if self.seats.values().all(|seat| seat.proof.is_none()) {
            return Ok(());
        }
        let now = self.now();
        let Some(stage) = &mut self.stage else { return Ok(()) };
        let change = stage.capture.read_again()?;
        let (width, height) = stage.capture.size();
        let sha256 = digest(&stage.capture);
        self.changed(&change, now);
        for seat in self.seats.values_mut() {
            let Some(id) = seat.proof.take() else { continue };
            // What is not sent yet comes after: whoever believes to be exact before it must not compare.
            let next = seat.viewer.next_seq();
            let seq = if seat.viewer.is_exact() { next.wrapping_sub(1) } else { next };
            let proof = ToClient::Proof(Proof { id, seq, width, height, sha256 });
            if let Ok(bytes) = proof.encode() {
                let _full = seat.outbox.try_send(bytes);
            }
        }
        Ok(())
    }

    /// Until there is something to do.
    fn sleep(&self, until: Option<Duration>) -> Result<(), Stop> {
        let timeout = until.map(|until| until.saturating_sub(self.now()));
        let timeout = timeout.and_then(|wait| Timespec::try_from(wait).ok());
        let mut waits = vec![PollFd::new(&self.wake, PollFlags::IN)];
        if let Some(stage) = &self.stage {
            waits.push(PollFd::from_borrowed_fd(stage.capture.events(), PollFlags::IN));
        }
        match poll(&mut waits, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Stop::Encoding(error.into())),
        }
        self.wake.clear();
        Ok(())
    }
}

/// Damage to be read.
struct Due {
    at: Duration,
    /// What of it, if that is now.
    cells: CellSet,
    /// Some of it keeps moving.
    motion: bool,
}

impl Stage {
    /// When somebody is ready to be shown what was damaged, and what of it then. None: nobody before more is drawn there.
    fn due(&mut self, seats: &BTreeMap<ViewerId, Seat>, now: Duration) -> Result<Option<Due>, Stop> {
        if !self.capture.changed()? {
            return Ok(None);
        }
        let Some(at) = seats.values().filter_map(|seat| seat.viewer.ready_at(now)).min() else { return Ok(None) };
        let (width, height) = self.capture.size();
        if at > now {
            return Ok(Some(Due { at, cells: CellSet::empty(width, height), motion: false }));
        }
        let mut cells = self.capture.damage()?.clone();
        let moving = self.activity.moving(&cells, now);
        if moving.len() <= SMALL_MOTION {
            return Ok(Some(Due { at, cells, motion: false }));
        }
        // It is not read more often than any display shows it.
        let shortest = seats.values().map(|seat| seat.viewer.interval()).min().unwrap_or_default();
        let again = self.motion_at.map_or(now, |last| last + shortest.mul_f64(0.85));
        let ready = seats.values().filter_map(|seat| seat.viewer.video_ready_at(now)).min();
        let motion_at = ready.map_or(again, |ready| ready.max(again));
        if motion_at <= now {
            return Ok(Some(Due { at, cells, motion: true }));
        }
        cells.subtract(&moving);
        let at = if cells.is_empty() { motion_at } else { at };
        Ok(Some(Due { at, cells, motion: false }))
    }

    fn leave(&mut self, viewer: ViewerId) {
        self.lanes.values_mut().for_each(|lanes| lanes.leave(viewer));
    }

    /// What the viewer has of the video is of no use to it.
    fn void(&mut self, viewer: ViewerId, now: Duration) {
        self.lanes.values_mut().for_each(|lanes| lanes.void(viewer, now));
    }
}

impl Seat {
    /// Sends an access unit on its way, if it has one beside the updates.
    fn carry(&mut self, unit: Bytes, captured: Duration) -> VideoSource {
        let here = VideoSource::Here { data: unit.clone() };
        let Some(rtp) = &self.rtp else { return here };
        let time = ticks(captured);
        #[expect(clippy::cast_possible_truncation, reason = "RTP's timestamps wrap")]
        let timestamp = time as u32;
        match rtp.try_send(RtpPicture { time, unit }) {
            Ok(()) => VideoSource::Rtp { timestamp },
            Err(_) => here,
        }
    }

    /// Hands an update to the viewer's connection; false when that takes nothing. `beside`: bytes of it that go elsewhere.
    fn send(&mut self, send: &Send, ops: Vec<Op>, beside: usize, captured: Duration, now: Duration) -> bool {
        let update = Update {
            seq: self.viewer.next_seq(),
            exact: self.viewer.exact_after(send),
            captured_us: clock_us(captured),
            input: self.input.load(Ordering::Acquire),
            ops,
        };
        ToClient::Update(update).encode().is_ok_and(|bytes| {
            self.viewer.sent(send, bytes.len() + beside, captured, now);
            self.outbox.try_send(bytes).is_ok()
        })
    }

    /// The client's picture is void: tells it the size and begins anew. False when the client takes nothing.
    fn void(&mut self, (width, height): (u16, u16), now: Duration) -> bool {
        self.cache = TileCache::new(self.cache_pixels, LARGEST_TILE);
        self.viewer.restart(width, height);
        let update = Update {
            seq: self.viewer.next_seq(),
            exact: false,
            captured_us: clock_us(now),
            input: self.input.load(Ordering::Acquire),
            ops: vec![Op::Size { width, height }],
        };
        ToClient::Update(update).encode().is_ok_and(|bytes| {
            self.viewer.sent_bare(bytes.len(), now);
            self.outbox.try_send(bytes).is_ok()
        })
    }
}

fn soonest(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Of 90 kHz, RTP's clock for video.
fn ticks(time: Duration) -> u64 {
    time.as_secs() * 90_000 + u64::from(time.subsec_nanos()) * 9 / 100_000
}

fn clock_us(now: Duration) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "wraps on purpose")]
    let wrapped = now.as_micros() as u32;
    wrapped
}

/// Red, green, blue, 255 of every pixel.
fn digest(capture: &Capture) -> [u8; 32] {
    let (width, height) = capture.size();
    let pixels = capture.pixels();
    let mut hasher = Sha256::new();
    let mut row = Vec::with_capacity(usize::from(width) * 4);
    for y in 0..height {
        row.clear();
        for pixel in pixels.row(0, y, width).chunks_exact(4) {
            row.extend([pixel[2], pixel[1], pixel[0], 255]);
        }
        hasher.update(&row);
    }
    hasher.finalize().into()
}
