//! Datagrams between real sockets and a pretended agent that sends them back.

mod tcp;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use protocol::agent::MediaCandidate;
use protocol::media::{MAX_DATAGRAM, Remote, Transport};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use serde_json::json;
use time::Duration as Time;
use tokio::net::UdpSocket;

use super::*;
use crate::config::UdpListen;
use crate::driver::MediaEndpoint;
use crate::driver::fake::FakeAgent;
use crate::gateway::tests::{Socket, Stage, open};
use crate::session::testing::{end_of, eventually, fake, started};
use crate::test_app::Client;

/// Long enough for what comes, short enough to wait for what must not.
const SOON: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(20);

/// A browser with the stream of Ada's session open.
struct Call {
    stage: Stage,
    agent: Arc<FakeAgent>,
    offer: MediaOffer,
    port: SocketAddr,
    _stream: Socket,
}

impl Call {
    async fn new() -> Self {
        // Counters count from here.
        crate::telemetry::metrics();
        let stage = Stage::new().await;
        let (stream, agent, offer) = offered(&stage, &stage.ada, &stage.id, stage.session).await;
        let State::On(port) = *stage.app.app.media.state() else { panic!("{:?}", stage.app.app.media.state()) };
        Self { stage, agent, offer: offer.unwrap(), port, _stream: stream }
    }

    fn check(&self) -> Vec<u8> {
        check(&self.offer.ufrag)
    }

    fn mint(&self, session: SessionId, seconds: i64) -> Vec<u8> {
        let expires = self.stage.app.clock.now().unix_timestamp() + seconds;
        check(&self.stage.app.app.media.0.names.mint(session, u32::try_from(expires).unwrap()))
    }

    async fn browser(&self) -> Browser {
        Browser::new(self.port, "127.0.0.1").await
    }
}

async fn offered(
    stage: &Stage,
    client: &Client,
    id: &str,
    session: SessionId,
) -> (Socket, Arc<FakeAgent>, Option<MediaOffer>) {
    let stream = open(stage.address, client, id, "stream").await.unwrap();
    let agent = fake(&stage.app).session(session).unwrap();
    let offer = agent.media_offer();
    (stream, agent, offer)
}

fn check(ufrag: &str) -> Vec<u8> {
    stun::tests::check(&format!("{ufrag}:abcd"))
}

/// A socket as a browser opens one for each path.
struct Browser(UdpSocket);

impl Browser {
    async fn new(port: SocketAddr, ip: &str) -> Self {
        let socket = UdpSocket::bind((ip, 0)).await.unwrap();
        socket.connect(port).await.unwrap();
        Self(socket)
    }

    fn end(&self) -> Remote {
        Remote::new(self.0.local_addr().unwrap(), Transport::Udp)
    }

    async fn say(&self, datagram: &[u8]) {
        self.0.send(datagram).await.unwrap();
    }

    async fn hear(&self) -> Vec<u8> {
        let mut buffer = [0; 2048];
        let length = tokio::time::timeout(PATIENCE, self.0.recv(&mut buffer)).await.expect("an answer").unwrap();
        buffer[..length].to_vec()
    }

    async fn hears_nothing(&self) {
        let mut buffer = [0; 2048];
        assert!(tokio::time::timeout(SOON, self.0.recv(&mut buffer)).await.is_err());
    }

    /// The agent sends it back.
    async fn reaches(&self, datagram: &[u8]) {
        self.say(datagram).await;
        assert_eq!(self.hear().await, datagram);
    }
}

/// What was counted.
fn counted(metric: &str) -> u64 {
    let page = crate::telemetry::metrics().render();
    let line = page.lines().find_map(|line| line.strip_prefix(&format!("gimp_platform_media_{metric} ")));
    line.map_or(0, |count| count.parse().unwrap())
}

fn forwarded(transport: &str, direction: &str) -> u64 {
    counted(&format!("datagrams_total{{transport=\"{transport}\",direction=\"{direction}\"}}"))
}

fn lost(transport: &str, reason: &str) -> u64 {
    counted(&format!("dropped_total{{transport=\"{transport}\",reason=\"{reason}\"}}"))
}

async fn dropped(reason: &str, at_least: u64) {
    eventually(reason, || lost("udp", reason) >= at_least).await;
}

#[tokio::test]
async fn datagrams_go_to_the_agent_and_back() {
    let call = Call::new().await;
    let now = u64::try_from(call.stage.app.clock.now().unix_timestamp()).unwrap();
    assert!(call.offer.expires > now + 23 * 3600 && call.offer.expires <= now + 24 * 3600);
    let told = |one: &MediaCandidate| (one.transport, SocketAddr::new(one.address, one.port));
    let expected = [(Transport::Udp, call.port), (Transport::Tcp, call.stage.address)];
    assert_eq!(call.offer.candidates.iter().map(told).collect::<Vec<_>>(), expected);

    let browser = call.browser().await;
    browser.reaches(&call.check()).await;
    browser.reaches(b"DTLS").await;
    browser.reaches(&[7; MAX_DATAGRAM]).await;
    // A second path of the same browser, and one of another viewer.
    let other = call.browser().await;
    other.reaches(&call.check()).await;
    let (_stream, _, offer) = offered(&call.stage, &call.stage.ada, &call.stage.id, call.stage.session).await;
    let offer = offer.unwrap();
    assert_ne!(offer.ufrag, call.offer.ufrag, "each stream has its own");
    let viewer = call.browser().await;
    viewer.reaches(&check(&offer.ufrag)).await;
    browser.reaches(b"still there").await;
    assert_eq!(forwarded("udp", "up"), 6);
    eventually("all are counted", || forwarded("udp", "down") == 6).await;
}

#[tokio::test]
async fn many_at_once_arrive_whole_and_in_order() {
    let call = Call::new().await;
    let browser = call.browser().await;
    browser.reaches(&call.check()).await;
    // Of one length, so that they are sent together, with longer and shorter ones between.
    let lengths = [1200, 1200, 1200, 100, 1200, 1200, 1500, 1, 1, 1, 2, 1200];
    let datagrams: Vec<Vec<u8>> = lengths.iter().zip(1_u8..).map(|(length, n)| vec![n; *length]).collect();
    for datagram in &datagrams {
        call.agent.send_media(browser.end(), datagram).unwrap();
    }
    for datagram in &datagrams {
        assert_eq!(&browser.hear().await, datagram);
    }
}

#[tokio::test]
async fn strangers_get_nowhere() {
    let call = Call::new().await;
    let stranger = call.browser().await;
    for datagram in [b"hello".to_vec(), vec![], vec![0; 1500], vec![0x80; 12]] {
        stranger.say(&datagram).await;
    }
    dropped("unknown", 4).await;

    let mut forged = call.offer.ufrag.clone();
    forged.replace_range(47.., if forged.ends_with('A') { "B" } else { "A" });
    for user_name in [forged, "abcd".to_owned(), String::new()] {
        stranger.say(&check(&user_name)).await;
    }
    dropped("badUserName", 3).await;
    stranger.say(&call.mint(call.stage.session, 0)).await;
    dropped("expired", 1).await;
    stranger.say(&call.mint(SessionId::new(), 60)).await;
    dropped("noSession", 1).await;
    stranger.hears_nothing().await;
    assert_eq!(forwarded("udp", "up"), 0);
}

#[tokio::test]
async fn a_known_end_goes_on_after_its_user_name_expired() {
    let call = Call::new().await;
    let browser = call.browser().await;
    let check = call.mint(call.stage.session, 60);
    browser.reaches(&check).await;
    call.stage.app.clock.advance(Time::seconds(61));
    browser.reaches(&check).await;
    let late = call.browser().await;
    late.say(&check).await;
    dropped("expired", 1).await;
}

#[tokio::test]
async fn what_is_too_long_is_dropped_from_friends_too() {
    let call = Call::new().await;
    let browser = call.browser().await;
    browser.reaches(&call.check()).await;
    browser.say(&[7; MAX_DATAGRAM + 1]).await;
    browser.say(&[7; 9000]).await;
    dropped("oversized", 2).await;
    browser.reaches(b"short").await;
}

#[tokio::test]
async fn an_agent_reaches_only_its_own_browsers() {
    let call = Call::new().await;
    let mut ben = call.stage.app.user("ben@example.org").await;
    let (id, session) = started(&call.stage.app, &mut ben).await;
    let (_stream, _, offer) = offered(&call.stage, &ben, &id, session).await;
    let (adas, bens) = (call.browser().await, call.browser().await);
    adas.reaches(&call.check()).await;
    bens.reaches(&check(&offer.unwrap().ufrag)).await;
    let outside = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let ends = [
        bens.end(),
        Remote::new(outside.local_addr().unwrap(), Transport::Udp),
        Remote::new(adas.0.local_addr().unwrap(), Transport::Tcp),
    ];
    for end in ends {
        call.agent.send_media(end, b"gotcha").unwrap();
    }
    dropped("notItsOwn", 2).await;
    assert_eq!(lost("tcp", "notItsOwn"), 1);
    call.agent.send_media(adas.end(), &[7; MAX_DATAGRAM + 1]).unwrap();
    call.agent.send_media(adas.end(), &[]).unwrap();
    dropped("malformed", 2).await;
    bens.hears_nothing().await;
    adas.hears_nothing().await;
    call.agent.send_media(adas.end(), b"hello").unwrap();
    assert_eq!(adas.hear().await, b"hello");

    // Ada's network gave her port to Ben; she is heard from another.
    let moved = call.browser().await;
    moved.reaches(&call.check()).await;
    adas.reaches(&check(&call.stage.app.app.media.0.names.mint(session, u32::MAX))).await;
    call.agent.send_media(adas.end(), b"gotcha").unwrap();
    dropped("notItsOwn", 3).await;
}

#[tokio::test]
async fn a_session_has_so_many_ends() {
    let call = Call::new().await;
    let mut browsers = vec![];
    for _ in 0..flows::Limits::default().per_session {
        let browser = call.browser().await;
        browser.reaches(&call.check()).await;
        browsers.push(browser);
    }
    let one_more = call.browser().await;
    one_more.say(&call.check()).await;
    dropped("tableFull", 1).await;
    browsers[0].reaches(b"undisturbed").await;
}

#[tokio::test]
async fn who_was_not_let_in_uses_up_nothing() {
    let call = Call::new().await;
    let flooder = call.browser().await;
    let other_key = UserNames::new(&AgentKey::of_bytes([1; 32]));
    let forged = check(&other_key.mint(call.stage.session, u32::MAX));
    for _ in 0..1000 {
        flooder.say(&forged).await;
        tokio::task::yield_now().await;
    }
    dropped("badUserName", 1).await;
    // Not even of the same address.
    call.browser().await.reaches(&call.check()).await;
    assert_eq!(lost("udp", "flooded"), 0);
}

#[tokio::test]
async fn the_browsers_of_a_session_begin_so_many_paths() {
    let call = Call::new().await;
    let first = call.browser().await;
    first.reaches(&call.check()).await;
    let mut others = 0;
    while lost("udp", "flooded") == 0 && others < 1000 {
        call.browser().await.say(&call.check()).await;
        others += 1;
    }
    dropped("flooded", 1).await;
    first.reaches(b"undisturbed").await;
}

#[tokio::test]
async fn a_new_agent_is_found() {
    let mut call = Call::new().await;
    let browser = call.browser().await;
    browser.reaches(&call.check()).await;
    call.agent.kill_agent();
    browser.say(b"anybody?").await;
    dropped("agentGone", 1).await;
    call.stage.ada.delete(&format!("/api/v1/sessions/{}", call.stage.id)).await.expect(202);
    end_of(&call.stage.app, &mut call.stage.ada, &call.stage.id).await;
    browser.say(&call.check()).await;
    dropped("noSession", 1).await;

    let (id, session) = started(&call.stage.app, &mut call.stage.ada).await;
    let (_stream, _, offer) = offered(&call.stage, &call.stage.ada, &id, session).await;
    browser.reaches(&check(&offer.unwrap().ufrag)).await;
}

#[tokio::test]
async fn without_a_port_there_is_tcp() {
    let nowhere = UdpListen::At("192.0.2.1:0".parse().unwrap());
    let why = json!({"on": false, "detail": "UDP 192.0.2.1:0: Cannot assign requested address (os error 99)"});
    for (udp, expected) in
        [(nowhere, why), (UdpListen::Off, json!({"on": false, "detail": "switched off by udp_listen"}))]
    {
        let app = crate::test_app::TestApp::new().await;
        let address = app.listen_with_udp(udp).await;
        let mut ada = app.user("ada@example.org").await;
        let (id, session) = started(&app, &mut ada).await;
        let stage = Stage { app, address, ada, id, session };
        let (_stream, _, offer) = offered(&stage, &stage.ada, &stage.id, stage.session).await;
        let offer = offer.unwrap();
        let only = MediaCandidate { address: address.ip(), port: address.port(), transport: Transport::Tcp };
        assert_eq!(offer.candidates, [only]);
        tcp::Browser::new(address).await.reaches(&check(&offer.ufrag)).await;
        let mut root = stage.app.admin("root@example.org").await;
        let machine = root.get("/api/v1/admin/machine").await.expect(200);
        assert_eq!(machine["udp"], expected);
    }
}

/// The agent's socket as in a sandbox: a file in a folder.
fn listen(path: &Path) -> OwnedFd {
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    rustix::net::bind(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    rustix::net::listen(&socket, 1).unwrap();
    socket
}

#[tokio::test]
async fn an_agent_that_does_not_read_loses_datagrams_and_nothing_else() {
    crate::telemetry::metrics();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("media.sock");
    let listener = listen(&path);
    let names = UserNames::new(&AgentKey::of_bytes([1; 32]));
    let port = Port::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = port.address().unwrap();
    let agents = move |_| Some(MediaEndpoint::Unix(path.clone()));
    let forwarder = Forwarder::new(Some(port), names.clone(), crate::clock::Clock::default(), agents);
    let forwarding = tokio::spawn(forwarder.run());
    let browser = Browser::new(address, "127.0.0.1").await;
    let check = check(&names.mint(SessionId::new(), u32::MAX));
    browser.say(&check).await;
    let agent = tokio::task::spawn_blocking(move || rustix::net::accept(&listener).unwrap()).await.unwrap();
    let mut sent = 0;
    while lost("udp", "agentBusy") == 0 && sent < 100_000 {
        browser.say(&[7; 1000]).await;
        sent += 1;
        tokio::task::yield_now().await;
    }
    dropped("agentBusy", 1).await;
    let mut message = [0; 2000];
    let (_, length) = rustix::net::recv(&agent, &mut message[..], rustix::net::RecvFlags::empty()).unwrap();
    let (from, datagram) = Remote::decode(&message[..length]).map(|(from, bytes)| (from, bytes.to_vec())).unwrap();
    assert_eq!((from, datagram), (browser.end(), check));
    // Nothing of it lives on, the connection included.
    forwarding.abort();
    let gone = tokio::task::spawn_blocking(move || {
        while rustix::net::recv(&agent, &mut message[..], rustix::net::RecvFlags::empty()).unwrap().1 > 0 {}
    });
    tokio::time::timeout(PATIENCE, gone).await.expect("the agent is hung up on").unwrap();
}
