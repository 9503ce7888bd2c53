//! WebRTC of one viewer, beside its channel: video as RTP, input on a data channel. Where it is not, or not any more, all
//! goes on the channel itself.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use agent_core::rtc::{Event, Output, Peer};
use bytes::Bytes;
use protocol::agent::MediaOffer;
use protocol::stream::{Signal, ToAgent, ToClient};
use tokio::sync::mpsc;

use super::Stage;
use super::media::{Inlet, MediaSocket, Received};
use super::stream::{Closed, answer, client};
use crate::picture::{RtpPicture, Viewing};

/// Pictures that wait to be sent; with more the link is slower than it was taken for.
const PICTURES: usize = 8;
/// Why a connection ended.
enum End {
    /// The viewer left, or wants something else.
    Signalled(Option<Signal>),
    Gone,
}

/// A connection that was not made in this time will not be.
const PATIENCE: Duration = Duration::from_secs(15);

/// Where this viewer's browser can find the agent.
#[derive(Debug)]
pub struct Media {
    pub offer: MediaOffer,
    pub socket: MediaSocket,
}

/// Serves one offer after the other, until the viewer leaves, or has to.
pub async fn serve(
    media: Option<Media>,
    stage: &Stage,
    viewing: &Viewing,
    mut signals: mpsc::Receiver<Signal>,
) -> Option<Closed> {
    let mut next = signals.recv().await;
    while let Some(mut signal) = next {
        // Of several that waited only the newest still holds.
        while let Ok(newer) = signals.try_recv() {
            signal = newer;
        }
        next = match signal {
            Signal::Offer { .. } if media.as_ref().is_some_and(Media::is_old) => return Some(Closed::OldOffer),
            Signal::Offer { sdp } => {
                let accepted = media.as_ref().map(|media| Peer::answer(&sdp, &media.offer, Instant::now()));
                match (&media, accepted) {
                    (Some(media), Some(Ok((peer, sdp)))) => {
                        answer(viewing, &ToClient::Signal { signal: Signal::Answer { sdp } }).await;
                        let ended = Connection::new(peer, media, stage, viewing).run(&mut signals).await;
                        viewing.rtp(None);
                        match ended {
                            End::Signalled(signal) => signal,
                            End::Gone => {
                                answer(viewing, &ToClient::Signal { signal: Signal::Close }).await;
                                signals.recv().await
                            }
                        }
                    }
                    (_, refused) => {
                        if let Some(Err(error)) = refused {
                            tracing::debug!(%error, "a viewer's offer is refused");
                        }
                        answer(viewing, &ToClient::Signal { signal: Signal::Close }).await;
                        signals.recv().await
                    }
                }
            }
            Signal::Answer { .. } | Signal::Close => signals.recv().await,
        };
    }
    None
}

impl Media {
    /// The server lets no new path begin by this.
    fn is_old(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.offer.expires <= now.as_secs()
    }
}

struct Connection<'a> {
    peer: Peer,
    inlet: Inlet,
    datagrams: mpsc::Receiver<Received>,
    to_pictures: mpsc::Sender<RtpPicture>,
    pictures: mpsc::Receiver<RtpPicture>,
    stage: &'a Stage,
    viewing: &'a Viewing,
    /// When a connection must be there that is not yet.
    deadline: Option<Instant>,
}

impl<'a> Connection<'a> {
    fn new(peer: Peer, media: &Media, stage: &'a Stage, viewing: &'a Viewing) -> Self {
        let (inlet, datagrams) = media.socket.enter();
        let (to_pictures, pictures) = mpsc::channel(PICTURES);
        let deadline = Some(Instant::now() + PATIENCE);
        Self { peer, inlet, datagrams, to_pictures, pictures, stage, viewing, deadline }
    }

    async fn run(mut self, signals: &mut mpsc::Receiver<Signal>) -> End {
        loop {
            let Some(wait) = self.settle().await else { return End::Gone };
            let wait = self.deadline.map_or(wait, |deadline| deadline.min(wait));
            tokio::select! {
                signal = signals.recv() => return End::Signalled(signal),
                Some((remote, datagram)) = self.datagrams.recv() => {
                    if self.peer.receive(remote, &datagram, Instant::now()) {
                        self.inlet.claim(remote);
                    }
                }
                Some(picture) = self.pictures.recv() => {
                    // Not sent, it is missed by the client, which asks for another.
                    let _lost = self.peer.send_video(picture.time, &picture.unit, Instant::now());
                }
                () = tokio::time::sleep_until(wait.into()) => {
                    let now = Instant::now();
                    if self.deadline.is_some_and(|deadline| deadline <= now) {
                        return End::Gone;
                    }
                    self.peer.wake(now);
                }
            }
        }
    }

    /// Does what is to be done; returns when it must be woken again. None: the connection is gone.
    async fn settle(&mut self) -> Option<Instant> {
        loop {
            match self.peer.poll() {
                Output::Datagram { to, datagram } => {
                    if !self.inlet.send(to, &datagram).await {
                        return None;
                    }
                }
                Output::Event(Event::VideoReady) => {
                    self.deadline = None;
                    self.viewing.rtp(Some(self.to_pictures.clone()));
                }
                Output::Event(Event::ChannelReady) => self.deadline = None,
                Output::Event(Event::Message(message)) => self.take(message).await,
                Output::Wait(at) => return Some(at),
                Output::Closed => return None,
            }
        }
    }

    async fn take(&mut self, message: Vec<u8>) {
        // What came damaged or is none is as good as lost, which the client reckons with.
        let Ok(ToAgent::Input(input)) = ToAgent::decode(Bytes::from(message)) else { return };
        let pointer = super::stream::pointer(&input);
        let given = Arc::clone(self.viewing.input());
        let Ok(number) = self.stage.input.apply(client(self.viewing), input.events, given).await else { return };
        if let Some((x, y)) = pointer {
            self.viewing.pointer(x, y).await;
        }
        if let Ok(taken) = (ToClient::InputTaken { number }).encode() {
            self.peer.send_message(&taken);
        }
    }
}
