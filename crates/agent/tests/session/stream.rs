//! The smallest client of the picture stream that a test needs: it draws every operation in the simplest way, and checks
//! what every client may rely on.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http_body_util::Full;
use hyper::upgrade::Upgraded;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use protocol::stream::{
    Action, AgentHello, ClientHello, Cursor, Drawn, Input, InputEvent, MAX_TO_CLIENT, Op, Ping, Proof, Rect,
    STREAM_VERSION, TILES_VERSION, TileCodec, ToAgent, ToClient, Update, VideoFormat, VideoSource,
};
use sha2::{Digest, Sha256};
use tokio::time::timeout;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use crate::harness::{LIMIT, TOKEN, TestSession};

/// Pixels that the client keeps in its cache.
const CACHE_PIXELS: u32 = 4 << 20;

type Rgb = [u8; 3];

/// What a client has drawn.
#[derive(Debug, Default)]
pub struct Drawing {
    pub width: u16,
    pub height: u16,
    /// None: nothing yet, or what video made of it.
    pixels: Vec<Option<Rgb>>,
    slots: HashMap<u32, (u16, u16, Vec<Rgb>)>,
}

impl Drawing {
    fn draw(&mut self, op: &Op) {
        match op {
            Op::Size { width, height } => {
                let pixels = vec![None; usize::from(*width) * usize::from(*height)];
                *self = Self { width: *width, height: *height, pixels, slots: HashMap::new() };
            }
            Op::Fill { rect, rgb } => self.put(*rect, |_, _| Some(*rgb)),
            Op::Tile { rect, codec: TileCodec::Partial, slot: None, data } => {
                let before = self.pixels.clone();
                let (wide, some) = (usize::from(self.width), unpack_partial(data, *rect));
                let (left, top) = (usize::from(rect.x), usize::from(rect.y));
                self.put(*rect, |x, y| some[y * usize::from(rect.width) + x].or(before[(top + y) * wide + left + x]));
            }
            Op::Tile { rect, codec, slot, data } => {
                let pixels = unpack(*codec, data, *rect);
                self.put_tile(*rect, &pixels);
                if let Some(slot) = slot {
                    self.slots.insert(*slot, (rect.width, rect.height, pixels));
                }
                let kept: usize = self.slots.values().map(|(_, _, pixels)| pixels.len()).sum();
                assert!(kept <= CACHE_PIXELS as usize, "{kept} pixels kept");
            }
            Op::Cached { rect, slot } => {
                let (width, height, pixels) = self.slots.get(slot).expect("a slot that was filled").clone();
                assert_eq!((rect.width, rect.height), (width, height));
                self.put_tile(*rect, &pixels);
            }
            Op::Copy { rect, to_x, to_y } => {
                let (wide, across) = (usize::from(self.width), usize::from(rect.width));
                let rows = self.pixels.chunks_exact(wide).skip(rect.y.into()).take(rect.height.into());
                let before = rows.flat_map(|row| &row[rect.x.into()..][..across]).copied().collect::<Vec<_>>();
                self.put(Rect { x: *to_x, y: *to_y, ..*rect }, |x, y| before[y * across + x]);
            }
            Op::Video { rects, source, .. } => {
                assert!(matches!(source, VideoSource::Here { data } if !data.is_empty()));
                rects.iter().for_each(|rect| self.put(*rect, |_, _| None));
            }
        }
    }

    fn put_tile(&mut self, rect: Rect, pixels: &[Rgb]) {
        self.put(rect, |x, y| Some(pixels[y * usize::from(rect.width) + x]));
    }

    fn put(&mut self, rect: Rect, pixel: impl Fn(usize, usize) -> Option<Rgb>) {
        assert!(rect.width > 0 && rect.height > 0, "{rect:?}");
        assert!(rect.x + rect.width <= self.width && rect.y + rect.height <= self.height, "{rect:?}");
        for y in 0..usize::from(rect.height) {
            let start = (usize::from(rect.y) + y) * usize::from(self.width) + usize::from(rect.x);
            for x in 0..usize::from(rect.width) {
                self.pixels[start + x] = pixel(x, y);
            }
        }
    }

    fn is_whole(&self) -> bool {
        self.pixels.iter().all(Option::is_some)
    }

    fn sha256(&self) -> [u8; 32] {
        let bytes = self.pixels.iter().flat_map(|pixel| {
            let [red, green, blue] = pixel.expect("a whole picture");
            [red, green, blue, 255]
        });
        Sha256::digest(bytes.collect::<Vec<u8>>()).into()
    }

    /// One 0xRRGGBB a pixel, row by row.
    pub fn rgb(&self) -> Vec<u32> {
        let pixels = self.pixels.iter().map(|pixel| pixel.expect("a whole picture"));
        pixels.map(|[red, green, blue]| u32::from_be_bytes([0, red, green, blue])).collect()
    }
}

/// `how`: what the tile begins with.
fn joined(how: u8, red: u8, green: u8, blue: u8) -> Rgb {
    let base = if how & 4 == 0 { green } else { 0 };
    [red.wrapping_add(base), green, blue.wrapping_add(base)]
}

/// Some pixels of a tile.
fn unpack_partial(data: &[u8], rect: Rect) -> Vec<Option<Rgb>> {
    let (width, height) = (usize::from(rect.width), usize::from(rect.height));
    let stride = width.div_ceil(8);
    let plain = zstd::bulk::decompress(&data[1..], (stride + width * 3) * height).expect("a Zstandard frame");
    let (bits, planes) = plain.split_at(stride * height);
    let count = planes.len() / 3;
    let mut channels = [0_u8; 3];
    let mut next = 0;
    let mut pixel = |x: usize, y: usize| {
        let is_there = bits[y * stride + x / 8] >> (7 - x % 8) & 1 == 1;
        is_there.then(|| {
            for (channel, plane) in channels.iter_mut().zip(planes.chunks_exact(count)) {
                *channel = channel.wrapping_add(plane[next]);
            }
            next += 1;
            joined(data[0], channels[1], channels[0], channels[2])
        })
    };
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| pixel(x, y)).collect();
    assert_eq!(next * 3, planes.len());
    pixels
}

fn unpack(codec: TileCodec, data: &[u8], rect: Rect) -> Vec<Rgb> {
    let (width, height) = (usize::from(rect.width), usize::from(rect.height));
    let inflate = |from: usize| zstd::bulk::decompress(&data[from..], width * height * 3).expect("a Zstandard frame");
    let pixels: Vec<Rgb> = match codec {
        TileCodec::Raw => data.chunks_exact(3).map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect(),
        TileCodec::Palette => {
            let colours: Vec<_> = data[1..1 + (usize::from(data[0]) + 1) * 3].chunks_exact(3).collect();
            let bits = [1, 2, 4, 8].into_iter().find(|bits| colours.len() <= 1 << bits).expect("at most 256");
            let indices = inflate(1 + colours.len() * 3);
            let stride = (width * bits).div_ceil(8);
            assert_eq!(indices.len(), stride * height);
            let at = |x: usize, y: usize| {
                let byte = indices[y * stride + x * bits / 8];
                usize::from(byte >> (8 - bits - x * bits % 8)) & ((1 << bits) - 1)
            };
            let indices = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| at(x, y));
            indices.map(|index| [colours[index][0], colours[index][1], colours[index][2]]).collect()
        }
        TileCodec::Planes => {
            let mut planes = inflate(1);
            assert_eq!(planes.len(), width * height * 3);
            for plane in planes.chunks_exact_mut(width * height) {
                for at in 0..width * height {
                    let (x, y) = (at % width, at / width);
                    let left = if x > 0 { plane[at - 1] } else { 0 };
                    let above = if y > 0 { plane[at - width] } else { 0 };
                    let corner = if x > 0 && y > 0 { plane[at - width - 1] } else { 0 };
                    let predicted = match data[0] & 3 {
                        0 => left,
                        1 => above,
                        2 | 3 if y == 0 => left,
                        2 | 3 if x == 0 => above,
                        3 => u8::try_from((u16::from(left) + u16::from(above)).div_ceil(2)).expect("a byte"),
                        2 => {
                            let guess = i16::from(left) + i16::from(above) - i16::from(corner);
                            let (low, high) = (left.min(above), left.max(above));
                            u8::try_from(guess.clamp(low.into(), high.into())).expect("between two bytes")
                        }
                        other => panic!("no predictor {other}"),
                    };
                    plane[at] = plane[at].wrapping_add(predicted);
                }
            }
            let (green, rest) = planes.split_at(width * height);
            let (red, blue) = rest.split_at(width * height);
            let pixels = green.iter().zip(red).zip(blue);
            pixels.map(|((green, red), blue)| joined(data[0], *red, *green, *blue)).collect()
        }
        TileCodec::Partial => panic!("a partial tile for a slot"),
    };
    assert_eq!(pixels.len(), width * height);
    pixels
}

/// How a client differs from the simplest.
#[derive(Debug, Clone, Default)]
pub struct Habits {
    pub video: Vec<VideoFormat>,
    /// It never says that it has drawn anything.
    pub silent: bool,
    /// How long it takes to draw an update.
    pub draws_for: Duration,
}

/// Messages as they travel.
pub type Records = Framed<TokioIo<Upgraded>, LengthDelimitedCodec>;

pub struct StreamViewer {
    connection: Records,
    habits: Habits,
    pub hello: AgentHello,
    pub drawing: Drawing,
    pub cursor: Option<Cursor>,
    /// Texts copied in the session.
    pub texts: Vec<String>,
    pub last: Option<Update>,
    pub updates: usize,
    pub video_ops: usize,
    /// Of them.
    pub keyframes: usize,
    pub copy_ops: usize,
    /// Of all records.
    pub bytes: usize,
    events: u32,
}

/// The channel, on which nothing was said yet.
pub async fn open(session: &TestSession) -> Records {
    let request = Request::builder()
        .uri(protocol::agent::STREAM_PATH)
        .header("host", "agent")
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("connection", "Upgrade")
        .header("upgrade", protocol::agent::STREAM_UPGRADE)
        .body(Full::new(Bytes::new()))
        .expect("a request");
    let response = session.send(request).await.expect("the agent answers");
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let stream = TokioIo::new(hyper::upgrade::on(response).await.expect("upgrades"));
    let codec = LengthDelimitedCodec::builder()
        .little_endian()
        .length_field_type::<u32>()
        .max_frame_length(MAX_TO_CLIENT)
        .new_codec();
    Framed::new(stream, codec)
}

impl StreamViewer {
    pub async fn connect(session: &TestSession, habits: Habits) -> Self {
        let mut connection = open(session).await;
        let hello = ClientHello {
            version: STREAM_VERSION,
            tiles: TILES_VERSION,
            video: habits.video.clone(),
            cache_pixels: CACHE_PIXELS,
            refresh: 60,
        };
        connection.send(ToAgent::Hello(hello).encode().expect("short")).await.expect("sends");
        let first = timeout(LIMIT, connection.next()).await.expect("an answer").expect("open").expect("a record");
        let ToClient::Hello(hello) = ToClient::decode(first.freeze()).expect("a message") else {
            panic!("the first message is Hello");
        };
        Self {
            connection,
            habits,
            hello,
            drawing: Drawing::default(),
            cursor: None,
            texts: Vec::new(),
            last: None,
            updates: 0,
            video_ops: 0,
            keyframes: 0,
            copy_ops: 0,
            bytes: 0,
            events: 0,
        }
    }

    pub async fn send(&mut self, message: ToAgent) {
        self.connection.send(message.encode().expect("short")).await.expect("sends");
    }

    /// Takes the next message and does what it says. None: the connection was closed.
    pub async fn next(&mut self) -> Option<ToClient> {
        let record = timeout(LIMIT, self.connection.next()).await.expect("something comes")?.ok()?;
        self.bytes += record.len();
        let message = ToClient::decode(record.freeze()).expect("a message");
        match &message {
            ToClient::Update(update) => self.draw(update.clone()).await,
            ToClient::Cursor(cursor) => self.cursor = Some(cursor.clone()),
            ToClient::Clipboard { text } => self.texts.push(text.clone()),
            ToClient::Hello(_) => panic!("another Hello"),
            ToClient::Pong(_)
            | ToClient::InputTaken { .. }
            | ToClient::Proof(_)
            | ToClient::Signal { .. }
            | ToClient::Stats(_) => {}
        }
        Some(message)
    }

    async fn draw(&mut self, update: Update) {
        let (before, input) = self.last.as_ref().map_or((0, 0), |last| (last.seq, last.input));
        assert_eq!(update.seq, before + 1, "one after the other");
        assert!(update.input >= input);
        if self.last.is_none() {
            assert!(matches!(update.ops[..], [Op::Size { .. }]), "{:?}", update.ops);
        }
        for op in &update.ops {
            if let Op::Video { format, keyframe, .. } = op {
                assert!(self.habits.video.contains(format));
                assert!(*keyframe || self.video_ops > 0, "the first is a keyframe");
                self.video_ops += 1;
                self.keyframes += usize::from(*keyframe);
            }
            self.copy_ops += usize::from(matches!(op, Op::Copy { .. }));
            self.drawing.draw(op);
        }
        assert!(!update.exact || self.drawing.is_whole(), "an exact picture has every pixel");
        if !self.habits.silent {
            tokio::time::sleep(self.habits.draws_for).await;
            self.send(ToAgent::Drawn(Drawn { seq: update.seq, took_us: 500 })).await;
        }
        self.updates += 1;
        self.last = Some(update);
    }

    /// Takes messages until `wanted` holds.
    pub async fn until(&mut self, what: &str, wanted: impl Fn(&Self) -> bool) {
        let reading = async {
            while !wanted(self) {
                assert!(self.next().await.is_some(), "the connection was closed");
            }
        };
        assert!(timeout(LIMIT, reading).await.is_ok(), "the viewer never had {what}");
    }

    pub fn is_exact(&self) -> bool {
        self.last.as_ref().is_some_and(|update| update.exact)
    }

    /// Takes messages until everything that was sent before is here.
    pub async fn catch_up(&mut self) {
        let id = self.updates as u32;
        self.send(ToAgent::Ping(Ping { id })).await;
        while !matches!(self.next().await.expect("open"), ToClient::Pong(pong) if pong.id == id) {}
    }

    /// Takes messages until the picture is exact, and proves that it is.
    pub async fn prove(&mut self) -> Proof {
        loop {
            self.until("an exact picture", Self::is_exact).await;
            self.send(ToAgent::Prove { id: 7 }).await;
            let proof = loop {
                if let ToClient::Proof(proof) = self.next().await.expect("open") {
                    break proof;
                }
            };
            assert_eq!(proof.id, 7);
            if self.is_exact() && self.last.as_ref().is_some_and(|update| update.seq == proof.seq) {
                assert_eq!((proof.width, proof.height), (self.drawing.width, self.drawing.height));
                assert_eq!(proof.sha256, self.drawing.sha256(), "the picture is what the screen shows");
                return proof;
            }
            // It moves: after the next one.
            self.catch_up().await;
        }
    }

    /// Sends one event and returns its number.
    pub async fn input(&mut self, action: Action) -> u32 {
        self.events += 1;
        let event = InputEvent { number: self.events, at_us: self.events * 1000, action };
        self.send(ToAgent::Input(Input { events: vec![event] })).await;
        self.events
    }

    pub async fn key(&mut self, keysym: u32) -> u32 {
        self.chord(&[keysym]).await
    }

    pub async fn chord(&mut self, keysyms: &[u32]) -> u32 {
        for keysym in keysyms {
            self.input(Action::Key { keysym: *keysym, keycode: 0, down: true }).await;
        }
        for keysym in keysyms.iter().rev() {
            self.input(Action::Key { keysym: *keysym, keycode: 0, down: false }).await;
        }
        self.events
    }

    pub async fn copy(&mut self, text: &str) {
        self.send(ToAgent::Clipboard { text: text.to_owned() }).await;
    }
}
