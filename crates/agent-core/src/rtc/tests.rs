use std::time::Duration;

use proptest::prelude::*;
use protocol::stream::{Action, Input as InputMessage, InputEvent, ToAgent};
use str0m::channel::{ChannelConfig, Reliability};
use str0m::media::{Direction, MediaKind};

use super::*;

const SERVER: &str = "192.0.2.1:8080";
const BROWSER: &str = "198.51.100.7:50000";

fn offer_of(transport: Transport) -> MediaOffer {
    let address: SocketAddr = SERVER.parse().unwrap();
    let candidates = vec![MediaCandidate { address: address.ip(), port: address.port(), transport }];
    MediaOffer { ufrag: "routed".into(), expires: u64::MAX, candidates }
}

/// What a browser would do.
struct Browser {
    rtc: Rtc,
    channel: ChannelId,
    open: bool,
    messages: Vec<Vec<u8>>,
    units: Vec<(u64, Vec<u8>)>,
}

/// Both ends, in virtual time, with a network that loses every so many datagrams.
struct Pair {
    browser: Browser,
    peer: Peer,
    events: Vec<Event>,
    now: Instant,
    losing: usize,
    sent: usize,
    transport: Transport,
}

impl Pair {
    fn new(losing: usize, transport: Transport) -> Self {
        let now = Instant::now();
        let mut rtc = Rtc::builder().clear_codecs().enable_h264(true).build(now);
        let builder = Candidate::builder();
        let address = BROWSER.parse().unwrap();
        let candidate = match transport {
            Transport::Udp => builder.udp().host(address).build(),
            Transport::Tcp => builder.tcp().host(address).tcptype(TcpType::Active).build(),
        };
        rtc.add_local_candidate(candidate.unwrap());
        let mut changes = rtc.sdp_api();
        changes.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        let channel = changes.add_channel_with_config(ChannelConfig {
            label: INPUT_CHANNEL.into(),
            ordered: false,
            reliability: Reliability::MaxRetransmits { retransmits: 0 },
            ..ChannelConfig::default()
        });
        let (offer, pending) = changes.apply().unwrap();
        let (peer, answer) = Peer::answer(&offer.to_sdp_string(), &offer_of(transport), now).unwrap();
        assert!(answer.contains("a=ice-ufrag:routed") && answer.contains("a=ice-lite"), "{answer}");
        rtc.sdp_api().accept_answer(pending, str0m::change::SdpAnswer::from_sdp_string(&answer).unwrap()).unwrap();
        let browser = Browser { rtc, channel, open: false, messages: vec![], units: vec![] };
        Self { browser, peer, events: vec![], now, losing, sent: 0, transport }
    }

    fn lost(&mut self) -> bool {
        self.sent += 1;
        self.losing > 0 && self.sent.is_multiple_of(self.losing)
    }

    /// Lets all happen that happens in the next milliseconds.
    fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now += Duration::from_millis(1);
            self.peer.wake(self.now);
            self.browser.rtc.handle_input(Input::Timeout(self.now)).unwrap();
            self.settle();
        }
    }

    fn settle(&mut self) {
        loop {
            let mut quiet = true;
            loop {
                match self.peer.poll() {
                    Output::Datagram { to, datagram } => {
                        quiet = false;
                        assert_eq!((to.address().to_string().as_str(), to.transport()), (BROWSER, self.transport));
                        if !self.lost() {
                            let (source, destination) = (SERVER.parse().unwrap(), BROWSER.parse().unwrap());
                            let received =
                                Receive::new(protocol(self.transport), source, destination, &datagram).unwrap();
                            self.browser.rtc.handle_input(Input::Receive(self.now, received)).unwrap();
                        }
                    }
                    Output::Event(event) => self.events.push(event),
                    Output::Wait(_) | Output::Closed => break,
                }
            }
            loop {
                match self.browser.rtc.poll_output().unwrap() {
                    str0m::Output::Transmit(transmit) => {
                        quiet = false;
                        let from = Remote::new(BROWSER.parse().unwrap(), self.transport);
                        if !self.lost() {
                            assert!(self.peer.receive(from, &transmit.contents, self.now));
                        }
                    }
                    str0m::Output::Event(event) => self.browser.heard(event),
                    str0m::Output::Timeout(_) => break,
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn connect(&mut self) {
        for _ in 0..100 {
            self.run(50);
            if self.browser.open && self.events.contains(&Event::VideoReady) {
                return;
            }
        }
        panic!("no connection: {:?}", self.events);
    }
}

impl Browser {
    fn heard(&mut self, event: str0m::Event) {
        match event {
            str0m::Event::ChannelOpen(id, _) if id == self.channel => self.open = true,
            str0m::Event::ChannelData(data) => self.messages.push(data.data),
            str0m::Event::MediaData(data) => self.units.push((data.time.numer(), data.data.to_vec())),
            _ => {}
        }
    }
}

/// A keyframe with its parameters, or a picture after it, as large as said.
fn unit(keyframe: bool, length: usize) -> Vec<u8> {
    let slice = [if keyframe { &[0x65][..] } else { &[0x41] }, &vec![0x5A; length]].concat();
    let start = [0, 0, 0, 1];
    if keyframe {
        [&start[..], &[0x67, 0x42, 0, 0x1F, 0x11], &start, &[0x68, 0xCE, 0x12, 0x33], &start, &slice].concat()
    } else {
        [&start[..], &slice].concat()
    }
}

#[test]
fn pictures_and_messages_arrive() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut pair = Pair::new(0, transport);
        assert!(!pair.peer.send_video(1, &unit(true, 10), pair.now), "nobody is there yet");
        pair.connect();
        for number in 0..4_u64 {
            let now = pair.now;
            assert!(pair.peer.send_video(90_000 + number * 1500, &unit(number == 0, 30_000), now));
            pair.settle();
            pair.run(16);
        }
        pair.run(50);
        let times: Vec<u64> = pair.browser.units.iter().map(|(time, _)| *time).collect();
        assert_eq!(times, [90_000, 91_500, 93_000, 94_500]);
        assert!(pair.browser.units.iter().all(|(_, data)| data.ends_with(&[0x5A; 30_000])));

        let event = InputEvent { number: 1, at_us: 0, action: Action::ReleaseAll };
        let message = ToAgent::Input(InputMessage { events: vec![event] }).encode().unwrap();
        let channel = pair.browser.channel;
        assert!(pair.browser.rtc.channel(channel).unwrap().write(true, &message).unwrap());
        pair.run(20);
        assert!(pair.events.contains(&Event::Message(message.to_vec())));
        pair.peer.send_message(b"taken");
        pair.run(20);
        assert_eq!(pair.browser.messages, [b"taken"]);
    }
}

#[test]
fn lost_datagrams_are_sent_again() {
    let mut pair = Pair::new(13, Transport::Udp);
    pair.connect();
    for number in 0..40_u64 {
        let now = pair.now;
        assert!(pair.peer.send_video(number * 1500, &unit(number % 10 == 0, 9_000), now));
        pair.settle();
        pair.run(16);
    }
    pair.run(500);
    let mut times: Vec<u64> = pair.browser.units.iter().map(|(time, _)| time / 1500).collect();
    times.sort_unstable();
    times.dedup();
    assert!(times.len() >= 38, "{times:?}");
}

#[test]
fn who_stops_answering_is_gone() {
    let mut pair = Pair::new(0, Transport::Udp);
    pair.connect();
    for _ in 0..60_000 {
        pair.now += Duration::from_millis(1);
        pair.peer.wake(pair.now);
        while matches!(pair.peer.poll(), Output::Datagram { .. } | Output::Event(_)) {}
        if matches!(pair.peer.poll(), Output::Closed) {
            return;
        }
    }
    panic!("still there after a minute");
}

#[test]
fn what_is_no_offer_is_refused() {
    let now = Instant::now();
    let media = offer_of(Transport::Udp);
    for nonsense in ["", "v=0", "\u{0}", "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"] {
        assert!(Peer::answer(nonsense, &media, now).is_err(), "{nonsense:?}");
    }
    assert!(matches!(Peer::answer(&"v".repeat(MAX_SDP + 1), &media, now), Err(Refused::TooLong)));
}

#[test]
fn a_message_of_a_stranger_is_not_taken() {
    let mut pair = Pair::new(0, Transport::Udp);
    pair.connect();
    let stranger = Remote::new("203.0.113.9:4".parse().unwrap(), Transport::Udp);
    for datagram in [&[0x80, 96, 0, 0][..], &[22, 254, 253, 0], &[0; 20], b""] {
        assert!(!pair.peer.receive(stranger, datagram, pair.now));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_datagram_is_survived(datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..20)) {
        let mut pair = Pair::new(0, Transport::Udp);
        pair.connect();
        let from = Remote::new(BROWSER.parse().unwrap(), Transport::Udp);
        for datagram in datagrams {
            pair.peer.receive(from, &datagram, pair.now);
            pair.settle();
        }
    }

    #[test]
    fn any_offer_is_survived(cut in 0_usize..3000, insert in "\\PC{0,20}") {
        let mut rtc = Rtc::builder().build(Instant::now());
        let mut changes = rtc.sdp_api();
        changes.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        changes.add_channel(INPUT_CHANNEL.into());
        let mut sdp = changes.apply().unwrap().0.to_sdp_string();
        let at = (0..=cut.min(sdp.len())).rev().find(|at| sdp.is_char_boundary(*at)).unwrap_or(0);
        sdp.insert_str(at, &insert);
        let _answer = Peer::answer(&sdp, &offer_of(Transport::Udp), Instant::now());
        sdp.truncate(at);
        let _answer = Peer::answer(&sdp, &offer_of(Transport::Udp), Instant::now());
    }
}
