//! WebRTC with one browser: ICE-lite, DTLS, H.264 as RTP downwards, input on a data channel. Datagrams go in and come out;
//! sockets and clocks are the caller's.
//!
//! The stream's draw acknowledgements drive the encoder's rate on every carrier, and str0m's bandwidth estimation is off:
//! it pads to 50 kbit/s for as long as a track is open, and a still screen costs nothing here.

use std::net::SocketAddr;
use std::time::Instant;

use protocol::agent::{MediaCandidate, MediaOffer};
use protocol::media::{MAX_DATAGRAM, Remote, Transport};
use protocol::stream::{INPUT_CHANNEL, MAX_SDP};
use str0m::change::SdpOffer;
use str0m::channel::ChannelId;
use str0m::format::Codec;
use str0m::media::{MediaTime, Mid, Pt};
use str0m::net::{Protocol, Receive, TcpType};
use str0m::{Candidate, IceCreds, Input, Rtc, RtcConfig, RtcError};

/// RTP packets kept for who misses one: some seconds of video.
const RESENDABLE: usize = 1024;
/// Longest message that the browser may send on the data channel, bytes.
const MAX_MESSAGE: u32 = 256 * 1024;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("the offer has more than {MAX_SDP} bytes")]
    TooLong,
    #[error("the gateway can't be reached by WebRTC")]
    NoCandidates,
    #[error("the offer is not understood")]
    Nonsense(#[from] RtcError),
    #[error("the offer is not SDP: {0}")]
    Sdp(String),
}

/// What comes of it.
#[derive(Debug)]
pub enum Output {
    /// To be sent.
    Datagram {
        to: Remote,
        datagram: Vec<u8>,
    },
    Event(Event),
    /// Nothing until then, or until something comes in.
    Wait(Instant),
    /// The connection is gone, and nothing comes any more.
    Closed,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// Video can be sent from now on.
    VideoReady,
    /// Messages can be sent from now on.
    ChannelReady,
    /// From the browser.
    Message(Vec<u8>),
}

#[derive(Debug)]
pub struct Peer {
    rtc: Rtc,
    candidates: Vec<MediaCandidate>,
    connected: bool,
    video: Option<Mid>,
    video_told: bool,
    channel: Option<ChannelId>,
}

impl Peer {
    /// Answers a browser's offer. Returns the SDP of the answer as well.
    ///
    /// # Errors
    /// When the offer is none, or there is no address to offer.
    pub fn answer(offer: &str, media: &MediaOffer, now: Instant) -> Result<(Self, String), Refused> {
        if offer.len() > MAX_SDP {
            return Err(Refused::TooLong);
        }
        let offer = SdpOffer::from_sdp_string(offer).map_err(|error| Refused::Sdp(error.to_string()))?;
        // The gateway routes by the user name; who forges one would need the password too.
        let credentials = IceCreds { ufrag: media.ufrag.clone(), ..IceCreds::new() };
        let mut rtc = RtcConfig::new()
            .set_local_ice_credentials(credentials)
            .set_ice_lite(true)
            .clear_codecs()
            .enable_h264(true)
            .enable_bwe(None)
            .set_send_buffer_video(RESENDABLE)
            .set_sctp_max_message_size(MAX_MESSAGE)
            .build(now);
        let mut candidates = Vec::new();
        for candidate in &media.candidates {
            if let Ok(ours) = ice_candidate(candidate)
                && rtc.add_local_candidate(ours).is_some()
            {
                candidates.push(*candidate);
            }
        }
        if candidates.is_empty() {
            return Err(Refused::NoCandidates);
        }
        let answer = rtc.sdp_api().accept_offer(offer)?;
        let peer = Self { rtc, candidates, connected: false, video: None, video_told: false, channel: None };
        Ok((peer, answer.to_sdp_string()))
    }

    /// Takes a datagram of the browser; false when it is not for this connection.
    pub fn receive(&mut self, from: Remote, datagram: &[u8], now: Instant) -> bool {
        let source = from.address();
        // Where it was sent to is not known: an address of the same family, which is what counts.
        let Some(destination) = self.candidates.iter().find(|candidate| {
            candidate.transport == from.transport() && candidate.address.is_ipv4() == source.is_ipv4()
        }) else {
            return false;
        };
        let destination = SocketAddr::new(destination.address, destination.port);
        let Ok(received) = Receive::new(protocol(from.transport()), source, destination, datagram) else {
            return false;
        };
        let input = Input::Receive(now, received);
        if !self.rtc.accepts(&input) {
            return false;
        }
        if let Err(error) = self.rtc.handle_input(input) {
            tracing::debug!(%error, "a connection by WebRTC fails");
            self.rtc.disconnect();
        }
        true
    }

    /// The time of `Output::Wait` has come.
    pub fn wake(&mut self, now: Instant) {
        if let Err(error) = self.rtc.handle_input(Input::Timeout(now)) {
            tracing::debug!(%error, "a connection by WebRTC fails");
            self.rtc.disconnect();
        }
    }

    /// Sends an access unit; `poll` until it waits before the next. `time` in ticks of 90 kHz; its lower 32 bits are the
    /// RTP timestamp. False when no video can be sent.
    pub fn send_video(&mut self, time: u64, unit: &[u8], now: Instant) -> bool {
        let Some(writer) = self.video.filter(|_| self.connected).and_then(|mid| self.rtc.writer(mid)) else {
            return false;
        };
        let Some(payload) = video_payload(&writer) else { return false };
        writer.write(payload, now, MediaTime::from_90khz(time), unit).is_ok()
    }

    /// Sends a message on the data channel; lost when it does not fit.
    pub fn send_message(&mut self, message: &[u8]) {
        if let Some(mut channel) = self.channel.and_then(|id| self.rtc.channel(id)) {
            let _full = channel.write(true, message);
        }
    }

    /// What is to be done next.
    pub fn poll(&mut self) -> Output {
        loop {
            if !self.rtc.is_alive() {
                return Output::Closed;
            }
            if self.connected && !self.video_told && self.video.is_some() {
                self.video_told = true;
                return Output::Event(Event::VideoReady);
            }
            match self.rtc.poll_output() {
                Ok(str0m::Output::Timeout(at)) => return Output::Wait(at),
                Ok(str0m::Output::Transmit(transmit)) if transmit.contents.len() <= MAX_DATAGRAM => {
                    let to = Remote::new(transmit.destination, transport(transmit.proto));
                    return Output::Datagram { to, datagram: transmit.contents.into() };
                }
                Ok(str0m::Output::Transmit(_)) => {}
                Ok(str0m::Output::Event(event)) => {
                    if let Some(event) = self.heard(event) {
                        return Output::Event(event);
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection by WebRTC fails");
                    self.rtc.disconnect();
                }
            }
        }
    }

    fn heard(&mut self, event: str0m::Event) -> Option<Event> {
        match event {
            str0m::Event::Connected => self.connected = true,
            str0m::Event::MediaAdded(media) if media.direction.is_sending() && self.video.is_none() => {
                let usable = self.rtc.writer(media.mid).is_some_and(|writer| video_payload(&writer).is_some());
                self.video = usable.then_some(media.mid);
            }
            str0m::Event::ChannelOpen(id, label) if label == INPUT_CHANNEL && self.channel.is_none() => {
                self.channel = Some(id);
                return Some(Event::ChannelReady);
            }
            str0m::Event::ChannelData(data) if Some(data.id) == self.channel => return Some(Event::Message(data.data)),
            // The browser makes a new connection when it wants one.
            str0m::Event::ChannelClose(id) if Some(id) == self.channel => self.rtc.disconnect(),
            str0m::Event::IceConnectionStateChange(state) if state.is_disconnected() => self.rtc.disconnect(),
            _ => {}
        }
        None
    }
}

/// The one that holds large pictures: fragments (RFC 6184 packetization mode 1).
fn video_payload(writer: &str0m::media::Writer<'_>) -> Option<Pt> {
    let mut all = writer.payload_params();
    let fits = all.find(|params| {
        let spec = params.spec();
        spec.codec == Codec::H264 && spec.format.packetization_mode == Some(1)
    });
    fits.map(str0m::format::PayloadParams::pt)
}

fn ice_candidate(candidate: &MediaCandidate) -> Result<Candidate, str0m::error::IceError> {
    let address = SocketAddr::new(candidate.address, candidate.port);
    match candidate.transport {
        Transport::Udp => Candidate::builder().udp().host(address).build(),
        Transport::Tcp => Candidate::builder().tcp().host(address).tcptype(TcpType::Passive).build(),
    }
}

const fn protocol(transport: Transport) -> Protocol {
    match transport {
        Transport::Udp => Protocol::Udp,
        Transport::Tcp => Protocol::Tcp,
    }
}

fn transport(protocol: Protocol) -> Transport {
    match protocol {
        Protocol::Udp => Transport::Udp,
        Protocol::Tcp | Protocol::SslTcp | Protocol::Tls => Transport::Tcp,
    }
}

#[cfg(test)]
mod tests;
