//! One viewer's channel: records of `protocol::stream` both ways over an upgraded HTTP connection.

use std::sync::Arc;
use std::time::Duration;

use agent_core::input::ClientId;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use protocol::stream::{
    Action, Cursor, Input, MAX_TO_AGENT, MAX_TO_CLIENT, Pong, STREAM_VERSION, TILES_VERSION, ToAgent, ToClient,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::Stage;
use super::webrtc::{self, Media};
use crate::display::desk::Copied;
use crate::picture::Viewing;

/// For the first message, and for the peer to take one.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum Closed {
    #[error("the viewer left")]
    Left,
    #[error("the viewer did not say hello")]
    NoHello,
    #[error("the viewer speaks version {0}")]
    Version(u32),
    #[error("the viewer sent nonsense")]
    Nonsense(#[from] protocol::stream::DecodeError),
    #[error("the connection broke")]
    Broken(#[from] std::io::Error),
    #[error("the viewer takes nothing")]
    Stalled,
    #[error("the picture was lost")]
    PictureLost,
    /// The page opens another stream, and is told anew.
    #[error("where the agent can be found by WebRTC was told too long ago")]
    OldOffer,
}

/// Length as `u32`, little-endian, then the message.
fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder()
        .little_endian()
        .length_field_type::<u32>()
        .max_frame_length(MAX_TO_AGENT.max(MAX_TO_CLIENT))
        .new_codec()
}

/// Signals that wait to be read; more are too many.
const SIGNALS: usize = 4;
/// How often a viewer is told at most which input was taken.
const TAKEN_EVERY: Duration = Duration::from_millis(5);

/// Serves one viewer until it leaves or the picture is lost; says which.
pub async fn serve(connection: impl AsyncRead + AsyncWrite, stage: &Stage, media: Option<Media>) -> Closed {
    let began = std::time::Instant::now();
    let (mut sink, mut stream) = Framed::new(connection, codec()).split();
    let first = match timeout(PATIENCE, stream.next()).await {
        Ok(Some(Ok(bytes))) => ToAgent::decode(bytes.freeze()),
        Ok(Some(Err(error))) => return error.into(),
        Ok(None) => return Closed::Left,
        Err(_) => return Closed::NoHello,
    };
    let hello = match first {
        Ok(ToAgent::Hello(hello)) if hello.version == STREAM_VERSION && hello.tiles >= TILES_VERSION => hello,
        Ok(ToAgent::Hello(hello)) => return Closed::Version(hello.version),
        Ok(_) => return Closed::NoHello,
        Err(error) => return error.into(),
    };
    let webrtc = media.is_some();
    let (viewing, messages) = stage.picture.join(hello, webrtc);
    let (to_signals, signals) = mpsc::channel(SIGNALS);
    let (taken, to_tell) = watch::channel(0);
    let mut down = Down {
        client: client(&viewing),
        greeted: false,
        messages,
        cursor: stage.desk.cursor(),
        copied: stage.desk.copied(),
        taken: to_tell,
        taken_told: Instant::now(),
    };
    let down = async {
        while let Some(message) = down.next().await {
            match timeout(PATIENCE, sink.send(message)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error.into(),
                Err(_) => return Closed::Stalled,
            }
        }
        Closed::PictureLost
    };
    let up = async {
        loop {
            match stream.next().await {
                Some(Ok(bytes)) if bytes.len() > MAX_TO_AGENT => {
                    return Closed::Nonsense(protocol::stream::DecodeError::OutOfBounds("length"));
                }
                Some(Ok(bytes)) => match ToAgent::decode(bytes.freeze()) {
                    Ok(ToAgent::Signal { signal }) => drop(to_signals.try_send(signal)),
                    Ok(message) => take(message, stage, &viewing, webrtc.then_some(&taken), began).await,
                    Err(error) => return error.into(),
                },
                Some(Err(error)) => return error.into(),
                None => return Closed::Left,
            }
        }
    };
    let beside = async {
        match webrtc::serve(media, stage, &viewing, signals).await {
            Some(closed) => closed,
            None => std::future::pending().await,
        }
    };
    let closed = tokio::select! {
        closed = down => closed,
        closed = up => closed,
        closed = beside => closed,
    };
    stage.input.leave(client(&viewing)).await;
    closed
}

/// What goes to a viewer. Cursor and clipboard come from where only the newest of them is kept: a slow viewer misses those
/// in between, and they never take the room of updates in the outbox.
struct Down {
    client: ClientId,
    /// It was given the first message.
    greeted: bool,
    messages: mpsc::Receiver<Bytes>,
    cursor: watch::Receiver<Cursor>,
    copied: watch::Receiver<Option<Copied>>,
    /// Number of the last input event that came on this channel and was given to the X server.
    taken: watch::Receiver<u32>,
    taken_told: Instant,
}

impl Down {
    /// None: the picture is lost. Nothing is lost when the future is dropped.
    async fn next(&mut self) -> Option<Bytes> {
        if !self.greeted {
            let greeting = self.messages.recv().await;
            self.greeted = true;
            self.cursor.mark_changed();
            return greeting;
        }
        loop {
            let message = tokio::select! {
                message = self.messages.recv() => return message,
                Ok(()) = self.cursor.changed() => Some(ToClient::Cursor(self.cursor.borrow_and_update().clone())),
                Ok(()) = self.copied.changed() => self.copied_elsewhere(),
                number = next_taken(&mut self.taken, self.taken_told + TAKEN_EVERY) => {
                    self.taken_told = Instant::now();
                    Some(ToClient::InputTaken { number })
                }
            };
            if let Some(Ok(bytes)) = message.map(|message| message.encode()) {
                return Some(bytes);
            }
        }
    }

    /// The newest text, unless this viewer sent it.
    fn copied_elsewhere(&mut self) -> Option<ToClient> {
        let copied = self.copied.borrow_and_update();
        let copied = copied.as_ref().filter(|copied| copied.from != Some(self.client))?;
        Some(ToClient::Clipboard { text: copied.text.clone() })
    }
}

/// The newest number after another, not before that time.
async fn next_taken(taken: &mut watch::Receiver<u32>, not_before: Instant) -> u32 {
    tokio::time::sleep_until(not_before).await;
    match taken.changed().await {
        Ok(()) => *taken.borrow_and_update(),
        Err(_) => std::future::pending().await,
    }
}

pub(super) fn client(viewing: &Viewing) -> ClientId {
    ClientId(viewing.viewer().0.into())
}

/// `told`: who has a channel that loses messages as well must know what it need not repeat there.
async fn take(
    message: ToAgent,
    stage: &Stage,
    viewing: &Viewing,
    told: Option<&watch::Sender<u32>>,
    began: std::time::Instant,
) {
    match message {
        ToAgent::Drawn(drawn) => viewing.drawn(drawn).await,
        ToAgent::View(view) => viewing.view(view).await,
        ToAgent::Refresh => viewing.refresh().await,
        ToAgent::Prove { id } => viewing.prove(id).await,
        ToAgent::Ping(ping) => {
            #[expect(clippy::cast_possible_truncation, reason = "wraps on purpose")]
            let clock_us = began.elapsed().as_micros() as u32;
            answer(viewing, &ToClient::Pong(Pong { id: ping.id, clock_us })).await;
        }
        ToAgent::Input(input) => {
            let pointer = pointer(&input);
            // Without a display there is nobody to give it to; the picture's end is told by its channel.
            let taken = stage.input.apply(client(viewing), input.events, Arc::clone(viewing.input())).await;
            if let (Ok(number), Some(told)) = (taken, told) {
                told.send_replace(number);
            }
            if let Some((x, y)) = pointer {
                viewing.pointer(x, y).await;
            }
        }
        // Keys that paste it come behind it, and are not given to the X server before programs find the text.
        ToAgent::Clipboard { text } => stage.desk.copy(client(viewing), text).await,
        // The first is enough, and signals are not for here.
        ToAgent::Hello(_) | ToAgent::Signal { .. } => {}
    }
}

/// Where the events leave the pointer.
pub(super) fn pointer(input: &Input) -> Option<(u16, u16)> {
    input.events.iter().rev().find_map(|event| match event.action {
        Action::Move { x, y } | Action::Button { x, y, .. } | Action::Wheel { x, y, .. } => Some((x, y)),
        Action::Key { .. } | Action::ReleaseAll => None,
    })
}

pub(super) async fn answer(viewing: &Viewing, message: &ToClient) {
    if let Ok(bytes) = message.encode() {
        viewing.tell(bytes).await;
    }
}
