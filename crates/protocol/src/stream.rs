//! The picture stream between agent and browser: messages on the session's one channel, `agent::STREAM_PATH` at the
//! agent and `/session/{id}/stream` at the gateway, which passes them on unread.
//!
//! A message is one binary WebSocket message in the browser and one record on the way between gateway and agent: its
//! length as `u32`, then its bytes. Integers are little-endian. The first byte is the kind. What is rare travels as JSON
//! behind it, what is frequent as packed fields.
//!
//! The picture is one ordered sequence of updates, numbered by `Update::seq`. Each is drawn as a whole, its operations in
//! their order. The client acknowledges what it has drawn; the agent sends no more than the client keeps up with.
//!
//! ```text
//! client                                   agent
//!   | Hello (what it decodes)  ------------> |
//!   | <------------  Hello, Cursor, Update 1 |   coarse or exact, the whole screen
//!   | Drawn 1  ----------------------------> |
//!   | Input 1 (events)  -------------------> |
//!   | <---------------------------- Update 2 |   `input` says which events it may show
//! ```

mod messages;
mod wire;

pub use messages::*;
pub use wire::{DecodeError, EncodeError};

/// Version of these messages. The agent hangs up on a client with another one, which then takes VNC.
pub const STREAM_VERSION: u32 = 2;
/// What a client knows of tiles: 1, partial ones, averages and channels apart. A client that knows less was loaded before an
/// upgrade, and is hung up on as one of another version; an agent from before does not ask.
pub const TILES_VERSION: u8 = 1;
/// Longest message from the agent, bytes: a whole screen of 3840x2160 that does not compress.
pub const MAX_TO_CLIENT: usize = 32 << 20;
/// Longest message to the agent, bytes: clipboard text of `MAX_CLIPBOARD` and its kind.
pub const MAX_TO_AGENT: usize = MAX_CLIPBOARD + 16;
/// Longest clipboard text, bytes of UTF-8.
pub const MAX_CLIPBOARD: usize = 1 << 20;
/// Most events in one `Input`.
pub const MAX_EVENTS: usize = 4096;
/// Largest cursor image, pixels on a side.
pub const MAX_CURSOR: u16 = 256;

/// Longest SDP read, bytes.
pub const MAX_SDP: usize = 64 * 1024;
/// Label of WebRTC's data channel, unordered and without retransmission (RFC 8832 section 8.2.1).
pub const INPUT_CHANNEL: &str = "input";

#[cfg(test)]
mod tests;
