//! Messages to bytes and back. Total: any bytes either decode or are refused, within the limits of the parent module.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{
    Action, AgentHello, AgentStats, ClientHello, Cursor, Drawn, Input, InputEvent, MAX_CLIPBOARD, MAX_CURSOR,
    MAX_EVENTS, MAX_TO_CLIENT, Op, Ping, Pong, Proof, Rect, TileCodec, ToAgent, ToClient, Update, VideoFormat,
    VideoSource, View,
};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the message ends too early")]
    Short,
    #[error("the message goes on after its end")]
    Trailing,
    #[error("unknown {what} {value}")]
    Unknown { what: &'static str, value: u8 },
    #[error("the message's {0} is out of bounds")]
    OutOfBounds(&'static str),
    #[error("the message's text or JSON makes no sense")]
    Text,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message would be too long")]
pub struct EncodeError;

impl From<bytes::TryGetError> for DecodeError {
    fn from(_: bytes::TryGetError) -> Self {
        Self::Short
    }
}

impl From<serde_json::Error> for DecodeError {
    fn from(_: serde_json::Error) -> Self {
        Self::Text
    }
}

mod kind {
    pub const HELLO: u8 = 0x01;
    pub const UPDATE: u8 = 0x02;
    pub const CURSOR: u8 = 0x03;
    pub const CLIPBOARD: u8 = 0x04;
    pub const PONG: u8 = 0x05;
    pub const SIGNAL: u8 = 0x06;
    pub const PROOF: u8 = 0x07;
    pub const STATS: u8 = 0x08;
    pub const INPUT_TAKEN: u8 = 0x09;
    pub const CLIENT_HELLO: u8 = 0x41;
    pub const DRAWN: u8 = 0x42;
    pub const INPUT: u8 = 0x43;
    pub const CLIENT_CLIPBOARD: u8 = 0x44;
    pub const PING: u8 = 0x45;
    pub const CLIENT_SIGNAL: u8 = 0x46;
    pub const PROVE: u8 = 0x47;
    pub const REFRESH: u8 = 0x48;
    pub const VIEW: u8 = 0x49;
}

mod op {
    pub const SIZE: u8 = 1;
    pub const FILL: u8 = 2;
    pub const TILE: u8 = 3;
    pub const CACHED: u8 = 4;
    pub const COPY: u8 = 5;
    pub const VIDEO: u8 = 6;
}

mod source {
    pub const HERE: u8 = 0;
    pub const RTP: u8 = 1;
}

mod action {
    pub const MOVE: u8 = 1;
    pub const BUTTON: u8 = 2;
    pub const WHEEL: u8 = 3;
    pub const KEY: u8 = 4;
    pub const RELEASE_ALL: u8 = 5;
}

/// Stands for no cache slot.
const NO_SLOT: u32 = u32::MAX;

impl ToClient {
    /// # Errors
    /// When it would be longer than `MAX_TO_CLIENT` or a list than its count can say.
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        let mut out = BytesMut::new();
        match self {
            Self::Hello(hello) => put_json(&mut out, kind::HELLO, hello)?,
            Self::Update(update) => update.put(&mut out)?,
            Self::Cursor(cursor) => {
                out.put_u8(kind::CURSOR);
                for field in [cursor.hot_x, cursor.hot_y, cursor.width, cursor.height] {
                    out.put_u16_le(field);
                }
                out.put_slice(&cursor.rgba);
            }
            Self::Clipboard { text } => put_text(&mut out, kind::CLIPBOARD, text),
            Self::Pong(pong) => {
                out.put_u8(kind::PONG);
                out.put_u32_le(pong.id);
                out.put_u32_le(pong.clock_us);
            }
            Self::InputTaken { number } => {
                out.put_u8(kind::INPUT_TAKEN);
                out.put_u32_le(*number);
            }
            Self::Proof(proof) => {
                out.put_u8(kind::PROOF);
                out.put_u32_le(proof.id);
                out.put_u32_le(proof.seq);
                out.put_u16_le(proof.width);
                out.put_u16_le(proof.height);
                out.put_slice(&proof.sha256);
            }
            Self::Signal { signal } => put_json(&mut out, kind::SIGNAL, signal)?,
            Self::Stats(stats) => put_json(&mut out, kind::STATS, stats)?,
        }
        if out.len() > MAX_TO_CLIENT { Err(EncodeError) } else { Ok(out.freeze()) }
    }

    /// # Errors
    /// For bytes that are no message.
    pub fn decode(mut bytes: Bytes) -> Result<Self, DecodeError> {
        let from = &mut bytes;
        let message = match from.try_get_u8()? {
            kind::HELLO => Self::Hello(get_json::<AgentHello>(from)?),
            kind::UPDATE => Self::Update(Update::get(from)?),
            kind::CURSOR => Self::Cursor(Cursor::get(from)?),
            kind::CLIPBOARD => Self::Clipboard { text: get_text(from)? },
            kind::PONG => Self::Pong(Pong { id: from.try_get_u32_le()?, clock_us: from.try_get_u32_le()? }),
            kind::INPUT_TAKEN => Self::InputTaken { number: from.try_get_u32_le()? },
            kind::PROOF => Self::Proof(Proof::get(from)?),
            kind::SIGNAL => Self::Signal { signal: get_json(from)? },
            kind::STATS => Self::Stats(finite(get_json(from)?)?),
            value => return Err(DecodeError::Unknown { what: "message", value }),
        };
        ended(from)?;
        Ok(message)
    }
}

impl ToAgent {
    /// # Errors
    /// When a list is longer than its count can say.
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        let mut out = BytesMut::new();
        match self {
            Self::Hello(hello) => put_json(&mut out, kind::CLIENT_HELLO, hello)?,
            Self::Drawn(drawn) => {
                out.put_u8(kind::DRAWN);
                out.put_u32_le(drawn.seq);
                out.put_u32_le(drawn.took_us);
            }
            Self::Input(input) => {
                out.put_u8(kind::INPUT);
                put_count(&mut out, input.events.len())?;
                for event in &input.events {
                    event.put(&mut out);
                }
            }
            Self::Clipboard { text } => put_text(&mut out, kind::CLIENT_CLIPBOARD, text),
            Self::Ping(ping) => {
                out.put_u8(kind::PING);
                out.put_u32_le(ping.id);
            }
            Self::Prove { id } => {
                out.put_u8(kind::PROVE);
                out.put_u32_le(*id);
            }
            Self::Refresh => out.put_u8(kind::REFRESH),
            Self::View(view) => put_json(&mut out, kind::VIEW, view)?,
            Self::Signal { signal } => put_json(&mut out, kind::CLIENT_SIGNAL, signal)?,
        }
        Ok(out.freeze())
    }

    /// # Errors
    /// For bytes that are no message, or one beyond the limits.
    pub fn decode(mut bytes: Bytes) -> Result<Self, DecodeError> {
        let from = &mut bytes;
        let message = match from.try_get_u8()? {
            kind::CLIENT_HELLO => Self::Hello(get_json::<ClientHello>(from)?),
            kind::DRAWN => Self::Drawn(Drawn { seq: from.try_get_u32_le()?, took_us: from.try_get_u32_le()? }),
            kind::INPUT => Self::Input(Input::get(from)?),
            kind::CLIENT_CLIPBOARD => Self::Clipboard { text: get_text(from)? },
            kind::PING => Self::Ping(Ping { id: from.try_get_u32_le()? }),
            kind::PROVE => Self::Prove { id: from.try_get_u32_le()? },
            kind::REFRESH => Self::Refresh,
            kind::VIEW => Self::View(get_json::<View>(from)?),
            kind::CLIENT_SIGNAL => Self::Signal { signal: get_json(from)? },
            value => return Err(DecodeError::Unknown { what: "message", value }),
        };
        ended(from)?;
        Ok(message)
    }
}

impl Update {
    fn put(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        out.put_u8(kind::UPDATE);
        out.put_u8(self.exact.into());
        put_count(out, self.ops.len())?;
        out.put_u32_le(self.seq);
        out.put_u32_le(self.captured_us);
        out.put_u32_le(self.input);
        self.ops.iter().try_for_each(|op| op.put(out))
    }

    fn get(from: &mut Bytes) -> Result<Self, DecodeError> {
        let exact = get_bool(from)?;
        let count = from.try_get_u16_le()?;
        let (seq, captured_us, input) = (from.try_get_u32_le()?, from.try_get_u32_le()?, from.try_get_u32_le()?);
        let ops = (0..count).map(|_| Op::get(from)).collect::<Result<_, _>>()?;
        Ok(Self { seq, exact, captured_us, input, ops })
    }
}

impl Op {
    fn put(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        match self {
            Self::Size { width, height } => {
                out.put_u8(op::SIZE);
                out.put_u16_le(*width);
                out.put_u16_le(*height);
            }
            Self::Fill { rect, rgb } => {
                out.put_u8(op::FILL);
                rect.put(out);
                out.put_slice(rgb);
            }
            Self::Tile { rect, codec, slot, data } => {
                out.put_u8(op::TILE);
                rect.put(out);
                out.put_u8(codec.number());
                out.put_u32_le(slot.unwrap_or(NO_SLOT));
                put_data(out, data)?;
            }
            Self::Cached { rect, slot } => {
                out.put_u8(op::CACHED);
                rect.put(out);
                out.put_u32_le(*slot);
            }
            Self::Copy { rect, to_x, to_y } => {
                out.put_u8(op::COPY);
                rect.put(out);
                out.put_u16_le(*to_x);
                out.put_u16_le(*to_y);
            }
            Self::Video { format, keyframe, rects, source } => {
                out.put_u8(op::VIDEO);
                out.put_u8(format.number());
                out.put_u8((*keyframe).into());
                put_count(out, rects.len())?;
                rects.iter().for_each(|rect| rect.put(out));
                source.put(out)?;
            }
        }
        Ok(())
    }

    fn get(from: &mut Bytes) -> Result<Self, DecodeError> {
        Ok(match from.try_get_u8()? {
            op::SIZE => Self::Size { width: from.try_get_u16_le()?, height: from.try_get_u16_le()? },
            op::FILL => {
                Self::Fill { rect: Rect::get(from)?, rgb: [from.try_get_u8()?, from.try_get_u8()?, from.try_get_u8()?] }
            }
            op::TILE => {
                let rect = Rect::get(from)?;
                let codec = TileCodec::from_number(from.try_get_u8()?)?;
                let slot = Some(from.try_get_u32_le()?).filter(|slot| *slot != NO_SLOT);
                Self::Tile { rect, codec, slot, data: get_data(from)? }
            }
            op::CACHED => Self::Cached { rect: Rect::get(from)?, slot: from.try_get_u32_le()? },
            op::COPY => {
                Self::Copy { rect: Rect::get(from)?, to_x: from.try_get_u16_le()?, to_y: from.try_get_u16_le()? }
            }
            op::VIDEO => {
                let format = VideoFormat::from_number(from.try_get_u8()?)?;
                let keyframe = get_bool(from)?;
                let count = from.try_get_u16_le()?;
                let rects = (0..count).map(|_| Rect::get(from)).collect::<Result<_, _>>()?;
                Self::Video { format, keyframe, rects, source: VideoSource::get(from)? }
            }
            value => return Err(DecodeError::Unknown { what: "operation", value }),
        })
    }
}

impl VideoSource {
    fn put(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        match self {
            Self::Here { data } => {
                out.put_u8(source::HERE);
                put_data(out, data)?;
            }
            Self::Rtp { timestamp } => {
                out.put_u8(source::RTP);
                out.put_u32_le(*timestamp);
            }
        }
        Ok(())
    }

    fn get(from: &mut Bytes) -> Result<Self, DecodeError> {
        Ok(match from.try_get_u8()? {
            source::HERE => Self::Here { data: get_data(from)? },
            source::RTP => Self::Rtp { timestamp: from.try_get_u32_le()? },
            value => return Err(DecodeError::Unknown { what: "video source", value }),
        })
    }
}

impl Rect {
    fn put(&self, out: &mut BytesMut) {
        for field in [self.x, self.y, self.width, self.height] {
            out.put_u16_le(field);
        }
    }

    fn get(from: &mut Bytes) -> Result<Self, DecodeError> {
        Ok(Self {
            x: from.try_get_u16_le()?,
            y: from.try_get_u16_le()?,
            width: from.try_get_u16_le()?,
            height: from.try_get_u16_le()?,
        })
    }
}

impl TileCodec {
    const fn number(self) -> u8 {
        match self {
            Self::Raw => 0,
            Self::Planes => 1,
            Self::Palette => 2,
            Self::Partial => 3,
        }
    }

    const fn from_number(value: u8) -> Result<Self, DecodeError> {
        match value {
            0 => Ok(Self::Raw),
            1 => Ok(Self::Planes),
            2 => Ok(Self::Palette),
            3 => Ok(Self::Partial),
            _ => Err(DecodeError::Unknown { what: "tile codec", value }),
        }
    }
}

impl VideoFormat {
    const fn number(self) -> u8 {
        match self {
            Self::H264 => 0,
            Self::H264Yuv444 => 1,
        }
    }

    const fn from_number(value: u8) -> Result<Self, DecodeError> {
        match value {
            0 => Ok(Self::H264),
            1 => Ok(Self::H264Yuv444),
            _ => Err(DecodeError::Unknown { what: "video format", value }),
        }
    }
}

impl Cursor {
    fn get(from: &mut Bytes) -> Result<Self, DecodeError> {
        let (hot_x, hot_y) = (from.try_get_u16_le()?, from.try_get_u16_le()?);
        let (width, height) = (from.try_get_u16_le()?, from.try_get_u16_le()?);
        if width > MAX_CURSOR || height > MAX_CURSOR {
            return Err(DecodeError::OutOfBounds("cursor"));
        }
        let bytes = usize::from(width) * usize::from(height) * 4;
        Ok(Self { hot_x, hot_y, width, height, rgba: split(from, bytes)? })
    }
}

impl Proof {
    fn get(from: &mut Bytes) -> Result<Self, DecodeError> {
        let (id, seq) = (from.try_get_u32_le()?, from.try_get_u32_le()?);
        let (width, height) = (from.try_get_u16_le()?, from.try_get_u16_le()?);
        let mut sha256 = [0; 32];
        from.try_copy_to_slice(&mut sha256)?;
        Ok(Self { id, seq, width, height, sha256 })
    }
}

impl Input {
    fn get(from: &mut Bytes) -> Result<Self, DecodeError> {
        let count = usize::from(from.try_get_u16_le()?);
        if count > MAX_EVENTS {
            return Err(DecodeError::OutOfBounds("number of events"));
        }
        let events = (0..count).map(|_| InputEvent::get(from)).collect::<Result<_, _>>()?;
        Ok(Self { events })
    }
}

impl InputEvent {
    fn put(&self, out: &mut BytesMut) {
        out.put_u32_le(self.number);
        out.put_u32_le(self.at_us);
        match self.action {
            Action::Move { x, y } => {
                out.put_u8(action::MOVE);
                out.put_u16_le(x);
                out.put_u16_le(y);
            }
            Action::Button { x, y, button, down } => {
                out.put_u8(action::BUTTON);
                out.put_u16_le(x);
                out.put_u16_le(y);
                out.put_u8(button);
                out.put_u8(down.into());
            }
            Action::Wheel { x, y, dx, dy } => {
                out.put_u8(action::WHEEL);
                out.put_u16_le(x);
                out.put_u16_le(y);
                out.put_i16_le(dx);
                out.put_i16_le(dy);
            }
            Action::Key { keysym, keycode, down } => {
                out.put_u8(action::KEY);
                out.put_u32_le(keysym);
                out.put_u8(keycode);
                out.put_u8(down.into());
            }
            Action::ReleaseAll => out.put_u8(action::RELEASE_ALL),
        }
    }

    fn get(from: &mut Bytes) -> Result<Self, DecodeError> {
        let (number, at_us) = (from.try_get_u32_le()?, from.try_get_u32_le()?);
        let action = match from.try_get_u8()? {
            action::MOVE => Action::Move { x: from.try_get_u16_le()?, y: from.try_get_u16_le()? },
            action::BUTTON => Action::Button {
                x: from.try_get_u16_le()?,
                y: from.try_get_u16_le()?,
                button: from.try_get_u8()?,
                down: get_bool(from)?,
            },
            action::WHEEL => Action::Wheel {
                x: from.try_get_u16_le()?,
                y: from.try_get_u16_le()?,
                dx: from.try_get_i16_le()?,
                dy: from.try_get_i16_le()?,
            },
            action::KEY => {
                Action::Key { keysym: from.try_get_u32_le()?, keycode: from.try_get_u8()?, down: get_bool(from)? }
            }
            action::RELEASE_ALL => Action::ReleaseAll,
            value => return Err(DecodeError::Unknown { what: "action", value }),
        };
        Ok(Self { number, at_us, action })
    }
}

fn put_json(out: &mut BytesMut, kind: u8, value: &impl serde::Serialize) -> Result<(), EncodeError> {
    out.put_u8(kind);
    serde_json::to_writer(out.writer(), value).map_err(|_| EncodeError)
}

fn get_json<T: serde::de::DeserializeOwned>(from: &mut Bytes) -> Result<T, DecodeError> {
    Ok(serde_json::from_slice(&from.split_off(0))?)
}

fn put_text(out: &mut BytesMut, kind: u8, text: &str) {
    out.put_u8(kind);
    out.put_slice(text.as_bytes());
}

/// A number too large for its type is read as infinite, which JSON can't say.
fn finite(stats: AgentStats) -> Result<AgentStats, DecodeError> {
    if stats.tiles_ms.is_finite() && stats.video_ms.is_finite() {
        return Ok(stats);
    }
    Err(DecodeError::OutOfBounds("time"))
}

fn get_text(from: &mut Bytes) -> Result<String, DecodeError> {
    let text = from.split_off(0);
    if text.len() > MAX_CLIPBOARD {
        return Err(DecodeError::OutOfBounds("text"));
    }
    String::from_utf8(text.into()).map_err(|_| DecodeError::Text)
}

fn put_count(out: &mut BytesMut, count: usize) -> Result<(), EncodeError> {
    out.put_u16_le(u16::try_from(count).map_err(|_| EncodeError)?);
    Ok(())
}

fn put_data(out: &mut BytesMut, data: &[u8]) -> Result<(), EncodeError> {
    out.put_u32_le(u32::try_from(data.len()).map_err(|_| EncodeError)?);
    out.put_slice(data);
    Ok(())
}

fn get_data(from: &mut Bytes) -> Result<Bytes, DecodeError> {
    let length = from.try_get_u32_le()?;
    split(from, usize::try_from(length).map_err(|_| DecodeError::Short)?)
}

fn split(from: &mut Bytes, length: usize) -> Result<Bytes, DecodeError> {
    if length > from.len() {
        return Err(DecodeError::Short);
    }
    Ok(from.split_to(length))
}

fn get_bool(from: &mut Bytes) -> Result<bool, DecodeError> {
    match from.try_get_u8()? {
        0 => Ok(false),
        1 => Ok(true),
        value => Err(DecodeError::Unknown { what: "truth value", value }),
    }
}

fn ended(from: &Bytes) -> Result<(), DecodeError> {
    if from.is_empty() { Ok(()) } else { Err(DecodeError::Trailing) }
}
