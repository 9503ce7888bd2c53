//! Messages between a WebSocket and an agent, until one of them or somebody else ends it.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes};
use bytes::{Bytes, BytesMut};
use futures::{Sink, SinkExt, Stream, StreamExt};
use tokio::time::{Instant, timeout};
use tokio_util::codec::{Decoder, Encoder, FramedRead, FramedWrite};

use crate::driver::agent_client;

/// Bytes of a close frame's reason, RFC 6455.
const REASON_LIMIT: usize = 123;

#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Between two pings.
    pub ping: Duration,
    /// Without a word from the browser, pongs included: it is gone.
    pub silence: Duration,
    /// For either side to take one message.
    pub stall: Duration,
    /// For a close frame to leave, and for a session whose display is gone to end.
    pub farewell: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { ping: seconds(15), silence: seconds(50), stall: seconds(30), farewell: seconds(10) }
    }
}

/// Why a relay ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Closed {
    /// With the session's end detail.
    SessionEnded(String),
    SignedOut,
    ServerEnding,
    /// The agent closed; a new connection may work.
    PictureLost,
    /// The browser closed, or the network lost it.
    BrowserGone,
    NotBinary,
    BadMessage,
}

impl Closed {
    /// What the browser is told; None: nobody is there to tell.
    fn frame(&self) -> Option<CloseFrame> {
        let (code, reason) = match self {
            Self::SessionEnded(detail) => (4000, detail.as_str()),
            Self::SignedOut => (4001, "You are signed out. Sign in again."),
            Self::PictureLost => (4002, "The picture was interrupted."),
            Self::ServerEnding => (1012, "The server is being restarted."),
            Self::NotBinary => (1003, "Only binary messages are understood."),
            Self::BadMessage => (1002, "A message was too large or made no sense."),
            Self::BrowserGone => return None,
        };
        Some(CloseFrame { code, reason: Utf8Bytes::from(cut(reason)) })
    }
}

/// At most `REASON_LIMIT` bytes, whole characters.
fn cut(reason: &str) -> &str {
    let fits = reason.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= REASON_LIMIT);
    &reason[..fits.last().unwrap_or(0)]
}

/// Relays until it ends, then says why. `framing` tells the agent's messages apart; `over` ends it from outside;
/// `agent_closed` finds out why the agent hung up.
pub(super) async fn run<E, C>(
    mut sink: impl Sink<Message> + Unpin,
    stream: impl Stream<Item = Result<Message, E>> + Unpin,
    agent: impl agent_client::Stream,
    framing: C,
    limits: Limits,
    over: impl Future<Output = Closed>,
    agent_closed: impl AsyncFnOnce() -> Closed,
) -> Closed
where
    C: Decoder<Item = BytesMut, Error = io::Error> + Encoder<Bytes, Error = io::Error> + Clone,
{
    let (from_agent, to_agent) = tokio::io::split(agent);
    let (from_agent, to_agent) = (FramedRead::new(from_agent, framing.clone()), FramedWrite::new(to_agent, framing));
    let heard = Heard::new();
    let closed = tokio::select! {
        closed = over => closed,
        closed = up(stream, to_agent, limits, &heard) => closed,
        closed = down(&mut sink, from_agent, limits, &heard) => closed,
    };
    let closed = match closed {
        Closed::PictureLost => timeout(limits.farewell, agent_closed()).await.unwrap_or(Closed::PictureLost),
        closed => closed,
    };
    tracing::debug!(?closed, "viewer gone");
    if let Some(frame) = closed.frame() {
        let _left_or_not = timeout(limits.farewell, sink.send(Message::Close(Some(frame)))).await;
    }
    closed
}

/// Browser to agent. Takes the next message only when the agent has taken the one before.
async fn up<E>(
    mut stream: impl Stream<Item = Result<Message, E>> + Unpin,
    mut agent: impl Sink<Bytes, Error = io::Error> + Unpin,
    limits: Limits,
    heard: &Heard,
) -> Closed {
    let bytes_up = metrics::counter!("gimp_platform_gateway_bytes_total", "direction" => "up");
    while let Some(message) = stream.next().await {
        heard.now();
        match message {
            Ok(Message::Binary(bytes)) => {
                let length = bytes.len() as u64;
                // Flushes.
                if !matches!(timeout(limits.stall, agent.send(bytes)).await, Ok(Ok(()))) {
                    return Closed::PictureLost;
                }
                bytes_up.increment(length);
            }
            Ok(Message::Text(_)) => return Closed::NotBinary,
            Ok(Message::Ping(_) | Message::Pong(_)) => {}
            Ok(Message::Close(_)) => return Closed::BrowserGone,
            // Too large, against the protocol, or the connection broke: then nobody hears why either.
            Err(_) => return Closed::BadMessage,
        }
    }
    Closed::BrowserGone
}

/// Agent to browser, and pings. Reads on only when the browser's connection has taken what was read.
async fn down(
    sink: &mut (impl Sink<Message> + Unpin),
    mut agent: impl Stream<Item = io::Result<BytesMut>> + Unpin,
    limits: Limits,
    heard: &Heard,
) -> Closed {
    let bytes_down = metrics::counter!("gimp_platform_gateway_bytes_total", "direction" => "down");
    let mut pings = tokio::time::interval_at(Instant::now() + limits.ping, limits.ping);
    loop {
        let message = tokio::select! {
            read = agent.next() => match read {
                Some(Ok(bytes)) => {
                    bytes_down.increment(bytes.len() as u64);
                    Message::Binary(bytes.freeze())
                }
                // It hung up, or a record of its is too long.
                Some(Err(_)) | None => return Closed::PictureLost,
            },
            _ = pings.tick() => {
                if heard.since() > limits.silence {
                    return Closed::BrowserGone;
                }
                Message::Ping(bytes::Bytes::new())
            }
        };
        if !matches!(timeout(limits.stall, sink.send(message)).await, Ok(Ok(()))) {
            return Closed::BrowserGone;
        }
    }
}

/// When the browser was last heard.
struct Heard {
    start: Instant,
    at_ms: AtomicU64,
}

impl Heard {
    fn new() -> Self {
        Self { start: Instant::now(), at_ms: AtomicU64::new(0) }
    }

    fn now(&self) {
        let ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.at_ms.store(ms, Ordering::Relaxed);
    }

    fn since(&self) -> Duration {
        self.start.elapsed().saturating_sub(Duration::from_millis(self.at_ms.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests;
