//! The messages. The JSON they serialise to is what the web client's parser is tested against.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Pixels of the session's screen; `x + width` and `y + height` stay within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rect {
    pub x: u16,
    pub y: u16,
    pub width: u16,
    pub height: u16,
}

impl Rect {
    /// Pixels.
    pub fn area(self) -> u32 {
        u32::from(self.width) * u32::from(self.height)
    }

    /// Whether all of the other lies within.
    pub fn contains(self, other: Self) -> bool {
        let within = |from: u16, length: u16, at: u16, size: u16| {
            from <= at && u32::from(at) + u32::from(size) <= u32::from(from) + u32::from(length)
        };
        within(self.x, self.width, other.x, other.width) && within(self.y, self.height, other.y, other.height)
    }

    /// The smallest rectangle around both.
    #[must_use]
    pub fn hull(self, other: Self) -> Self {
        let (x, y) = (self.x.min(other.x), self.y.min(other.y));
        let right = (self.x + self.width).max(other.x + other.width);
        let bottom = (self.y + self.height).max(other.y + other.height);
        Self { x, y, width: right - x, height: bottom - y }
    }
}

/// From the agent to a client.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum ToClient {
    Hello(AgentHello),
    Update(Update),
    Cursor(Cursor),
    /// Text copied in the session.
    Clipboard {
        text: String,
    },
    Pong(Pong),
    /// Events with numbers up to and including this one were taken.
    InputTaken {
        number: u32,
    },
    Proof(Proof),
    /// WebRTC signalling.
    Signal {
        signal: Signal,
    },
    Stats(AgentStats),
}

/// From a client to the agent.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum ToAgent {
    Hello(ClientHello),
    Drawn(Drawn),
    Input(Input),
    /// Text copied on the user's computer.
    Clipboard {
        text: String,
    },
    Ping(Ping),
    /// Asks for a `Proof` of the present picture.
    Prove {
        id: u32,
    },
    /// The client lost its picture or its decoder: everything anew, beginning with `Op::Size`. Numbers go on.
    Refresh,
    View(View),
    Signal {
        signal: Signal,
    },
}

/// How the two agree on a WebRTC connection beside this channel: the client offers, the agent answers. What travels on it
/// is `VideoSource::Rtp`, and on the data channel `INPUT_CHANNEL` messages `Input` and `InputTaken`. A new offer takes the
/// place of the connection before it. JSON on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Signal {
    /// SDP (RFC 8866) of an offer (RFC 8829), with all of the client's candidates or none.
    Offer {
        sdp: String,
    },
    Answer {
        sdp: String,
    },
    /// There is no connection, or none any more: everything on the channel itself from now on.
    Close,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentHello {
    pub version: u32,
    pub width: u16,
    pub height: u16,
    /// Name of the video encoder, e.g. "libx264", "h264_vaapi"; none: tiles only.
    pub video_encoder: Option<String>,
    /// Whether `Signal` with a WebRTC offer is answered.
    pub webrtc: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientHello {
    pub version: u32,
    /// Video formats that the client decodes.
    #[serde(default)]
    pub video: Vec<VideoFormat>,
    /// Pixels that the client keeps in its tile cache, 0 for none; bounded by the agent.
    #[serde(default)]
    pub cache_pixels: u32,
    /// Refresh rate of the display, Hz.
    #[serde(default = "default_refresh")]
    pub refresh: u16,
    /// `TILES_VERSION` of the client.
    #[serde(default)]
    pub tiles: u8,
}

const fn default_refresh() -> u16 {
    60
}

/// Both sRGB by the matrix of BT.601 in full range (as JFIF, ITU-T T.871), 8 bits, Annex B with parameter sets before each keyframe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum VideoFormat {
    /// H.264 constrained baseline, 4:2:0.
    H264,
    /// H.264 High 4:4:4 Predictive.
    H264Yuv444,
}

/// One step of the picture, drawn as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Update {
    /// 1 for the first of a connection, then rising by one.
    pub seq: u32,
    /// After it the picture equals the session's screen, as it was captured.
    pub exact: bool,
    /// When the pixels were read, microseconds of the agent's clock, wrapping.
    pub captured_us: u32,
    /// Number of the last input event given to the X server before the pixels were read.
    pub input: u32,
    pub ops: Vec<Op>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "op", rename_all = "camelCase")]
pub enum Op {
    /// The screen has this size from now on; what was drawn and what is in the cache are void. The first operation of a
    /// connection, and of what answers a `Refresh`.
    Size { width: u16, height: u16 },
    /// One colour.
    Fill { rect: Rect, rgb: [u8; 3] },
    /// Lossless pixels; kept in `slot` of the client's cache if there is one.
    Tile { rect: Rect, codec: TileCodec, slot: Option<u32>, data: Bytes },
    /// The tile in `slot`, which has the size of `rect`.
    Cached { rect: Rect, slot: u32 },
    /// Moves pixels of the client's picture; source and destination may overlap.
    Copy { rect: Rect, to_x: u16, to_y: u16 },
    /// One access unit. Of the decoded picture, whose top left corner is the screen's, `rects` are drawn.
    Video { format: VideoFormat, keyframe: bool, rects: Vec<Rect>, source: VideoSource },
}

/// Where an access unit is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "at", rename_all = "camelCase")]
pub enum VideoSource {
    Here {
        data: Bytes,
    },
    /// The access unit with this RTP timestamp (RFC 3550 section 5.1, 90 kHz), which may come before or after this message.
    Rtp {
        timestamp: u32,
    },
}

/// How a tile's pixels are packed. Red, green and blue only; rows from the top, pixels from the left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TileCodec {
    /// Three bytes a pixel: red, green, blue.
    Raw,
    /// Zstandard frame (RFC 8878) of three planes, one after the other: green, red - green, blue - green, each modulo 256,
    /// each row as differences (modulo 256) to the predictor named by the tile's first byte, which is not compressed:
    /// 0 the pixel to the left, 1 the pixel above, 2 their median with left + above - corner (JPEG-LS, ITU-T T.87 A.3),
    /// 3 the average of left and above, rounded up. Outside of the tile all is 0; in the first row of predictors 2 and 3 it
    /// is left, in the first column above. 4 more: the planes are green, red and blue.
    Planes,
    /// At most 256 colours: their count minus 1 as one byte, the colours (red, green, blue), then a Zstandard frame of
    /// indices: 8, 4, 2 or 1 bits each, the fewest that suffice, the leftmost pixel in the highest bits, rows padded to
    /// whole bytes.
    Palette,
    /// Some of the pixels; the others stay as they are. One byte, 0 or 4, then a Zstandard frame: one bit for each pixel,
    /// rows padded to whole bytes, the leftmost pixel in the highest bit, set where there is one; then three planes of
    /// these, row by row, as in `Planes` by predictor 0 as if they were one row. Never for a slot.
    Partial,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cursor {
    /// Where in the image the pointer points, pixels.
    pub hot_x: u16,
    pub hot_y: u16,
    /// 0 by 0: no cursor is shown.
    pub width: u16,
    pub height: u16,
    /// Red, green, blue, alpha, not premultiplied; four bytes a pixel.
    pub rgba: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ping {
    pub id: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pong {
    pub id: u32,
    /// Microseconds of the agent's clock, wrapping.
    pub clock_us: u32,
}

/// What the screen's pixels are: the client compares it with its own picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    pub id: u32,
    /// The update after which the client's picture should be this one.
    pub seq: u32,
    pub width: u16,
    pub height: u16,
    /// SHA-256 over all pixels: red, green, blue, 255; rows from the top.
    pub sha256: [u8; 32],
}

/// How the agent does, for the client's display of figures. JSON on the wire.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentStats {
    /// Milliseconds to encode, the last value seen.
    pub tiles_ms: f32,
    pub video_ms: f32,
    /// What the link is believed to carry, bits a second; none: not known yet.
    pub link_bps: Option<u64>,
    pub viewers: u32,
}

/// The client has drawn every update up to `seq`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Drawn {
    pub seq: u32,
    /// From the arrival of the update's last byte until it was drawn, microseconds.
    pub took_us: u32,
}

/// What the client shows, as far as the agent cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// Nobody sees the page: nothing needs to be sent.
    pub hidden: bool,
    /// Refresh rate of the display, Hz.
    pub refresh: u16,
}

/// Events in the order in which they happened. A client that may lose messages repeats keys, buttons and wheels until
/// they are taken: a message that holds event n also holds every earlier key, button and wheel event that the client does
/// not know to be taken (`ToClient::InputTaken`). The agent takes each number once, and no number after a higher one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    pub events: Vec<InputEvent>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InputEvent {
    /// Rises by one with every event of a connection, from 1.
    pub number: u32,
    /// When it happened, microseconds of the client's clock, wrapping.
    pub at_us: u32,
    #[serde(flatten)]
    pub action: Action,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "camelCase")]
pub enum Action {
    /// The pointer, pixels of the screen.
    Move { x: u16, y: u16 },
    /// `button` is X's: 1 left, 2 middle, 3 right, 8 back, 9 forward.
    Button { x: u16, y: u16, button: u8, down: bool },
    /// Positive is right and down, in 1/120 of a notch.
    Wheel { x: u16, y: u16, dx: i16, dy: i16 },
    /// `keycode` is the X keycode of the physical key (evdev code + 8), 0 when it has none.
    Key { keysym: u32, keycode: u8, down: bool },
    /// Every key and button is up: the page lost the focus.
    ReleaseAll,
}
