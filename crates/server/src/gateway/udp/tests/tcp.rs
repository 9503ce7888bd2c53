//! The same over connections of the web port.

use std::io;

use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::*;
use crate::config::TlsMode;
use crate::gateway::udp::tcp::{Patience, run};
use crate::test_app::TestApp;

/// A connection as a browser makes one for each path.
pub(super) struct Browser(Framed<TcpStream, LengthDelimitedCodec>);

impl Browser {
    pub async fn new(web: SocketAddr) -> Self {
        Self::of(TcpStream::connect(web).await.unwrap())
    }

    fn of(stream: TcpStream) -> Self {
        Self(LengthDelimitedCodec::builder().length_field_length(2).new_framed(stream))
    }

    fn end(&self) -> Remote {
        Remote::new(self.0.get_ref().local_addr().unwrap(), Transport::Tcp)
    }

    async fn say(&mut self, datagram: &[u8]) {
        self.0.send(datagram).await.unwrap();
    }

    /// None: the connection was closed.
    async fn hear(&mut self) -> Option<Vec<u8>> {
        let heard = tokio::time::timeout(PATIENCE, self.0.next()).await.expect("an answer or an end");
        match heard {
            Some(Ok(datagram)) => Some(datagram.to_vec()),
            // It was closed with something still to be read.
            Some(Err(error)) => {
                assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
                None
            }
            None => None,
        }
    }

    /// The agent sends it back.
    pub async fn reaches(&mut self, datagram: &[u8]) {
        self.say(datagram).await;
        assert_eq!(self.hear().await.as_deref(), Some(datagram));
    }
}

impl Call {
    async fn by_tcp(&self) -> Browser {
        Browser::new(self.stage.address).await
    }

    fn forwarder(&self) -> Arc<Shared> {
        self.stage.app.app.media.0.started.get().unwrap().forwarder.upgrade().unwrap()
    }
}

async fn dropped(reason: &str, at_least: u64) {
    eventually(reason, || lost("tcp", reason) >= at_least).await;
}

async fn get(web: SocketAddr) -> String {
    let mut stream = TcpStream::connect(web).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn datagrams_go_to_the_agent_and_back_beside_http() {
    let call = Call::new().await;
    let mut browser = call.by_tcp().await;
    browser.reaches(&call.check()).await;
    assert!(get(call.stage.address).await.starts_with("HTTP/1.0 200"));
    browser.reaches(b"DTLS").await;
    browser.reaches(&[7; MAX_DATAGRAM]).await;
    // A first length whose upper half is not zero.
    let long = stun::tests::check(&format!("{}:{}", call.offer.ufrag, "a".repeat(256)));
    call.by_tcp().await.reaches(&long).await;
    // Once it is let in, what its checks say is the agent's to judge; its session stays the same.
    browser.reaches(&call.mint(SessionId::new(), 0)).await;
    // Beside the path by UDP and another one by TCP.
    let (udp, mut other) = (call.browser().await, call.by_tcp().await);
    udp.reaches(&call.check()).await;
    other.reaches(&call.check()).await;
    browser.reaches(b"still there").await;
    assert_eq!((forwarded("tcp", "up"), forwarded("udp", "up")), (7, 1));
    eventually("all are counted", || (forwarded("tcp", "down"), forwarded("udp", "down")) == (7, 1)).await;
    let unasked = [browser.end(), other.end()];
    for end in unasked {
        call.agent.send_media(end, b"hello").unwrap();
    }
    assert_eq!((browser.hear().await, other.hear().await), (Some(b"hello".to_vec()), Some(b"hello".to_vec())));
}

#[tokio::test]
async fn frames_may_come_in_pieces_and_several_at_once() {
    let call = Call::new().await;
    let mut browser = call.by_tcp().await;
    let check = call.check();
    let frame = [&u16::try_from(check.len()).unwrap().to_be_bytes()[..], &check].concat();
    let stream = browser.0.get_mut();
    for piece in [&frame[..1], &frame[1..9], &frame[9..], &[&frame[..], b"\0\0\0\x02ab\0\x01c"].concat()] {
        stream.write_all(piece).await.unwrap();
        stream.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    // The empty one says nothing.
    for expected in [&check[..], &check, b"ab", b"c"] {
        assert_eq!(browser.hear().await.as_deref(), Some(expected));
    }
    assert_eq!(lost("tcp", "unknown"), 1);
}

#[tokio::test]
async fn strangers_are_hung_up_on() {
    let call = Call::new().await;
    let mut forged = call.offer.ufrag.clone();
    forged.replace_range(47.., if forged.ends_with('A') { "B" } else { "A" });
    for (datagram, reason) in [
        (b"hello".to_vec(), "unknown"),
        (vec![], "unknown"),
        (vec![0; MAX_DATAGRAM + 1], "oversized"),
        (check(&forged), "badUserName"),
        (check("abcd"), "badUserName"),
        (call.mint(call.stage.session, 0), "expired"),
        (call.mint(SessionId::new(), 60), "noSession"),
    ] {
        let before = lost("tcp", reason);
        let mut stranger = call.by_tcp().await;
        stranger.say(&datagram).await;
        assert_eq!(stranger.hear().await, None, "{reason}");
        assert_eq!(lost("tcp", reason), before + 1);
    }
    // Who hangs up within the first frame.
    call.by_tcp().await.0.get_mut().write_all(&[0, 100, 0]).await.unwrap();
    dropped("unknown", 3).await;
    assert_eq!(forwarded("tcp", "up"), 0);
}

#[tokio::test]
async fn what_is_too_long_ends_the_connection() {
    let call = Call::new().await;
    let mut browser = call.by_tcp().await;
    browser.reaches(&call.check()).await;
    browser.say(&[7; MAX_DATAGRAM + 1]).await;
    assert_eq!(browser.hear().await, None);
    assert_eq!(lost("tcp", "oversized"), 1);
    assert_eq!(call.forwarder().flows().count(Transport::Tcp), 0);
}

#[tokio::test]
async fn who_reads_too_slowly_loses_datagrams_and_nothing_else() {
    let call = Call::new().await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut slow = Browser::of(socket.connect(call.stage.address).await.unwrap());
    slow.reaches(&call.check()).await;
    let (mut other, udp) = (call.by_tcp().await, call.browser().await);
    other.reaches(&call.check()).await;
    udp.reaches(&call.check()).await;
    let mut sent = 0_u32;
    while lost("tcp", "notSent") == 0 && sent < 100_000 {
        sent += 1;
        let datagram = [&sent.to_be_bytes()[..], &[7; 1196]].concat();
        // A busy agent waits.
        while call.agent.send_media(slow.end(), &datagram).is_err() {
            tokio::task::yield_now().await;
        }
        tokio::task::yield_now().await;
    }
    dropped("notSent", 1).await;
    other.reaches(b"undisturbed").await;
    udp.reaches(b"undisturbed").await;
    // What was not lost comes whole and in order, and what comes later again.
    let (mut last, mut heard) = (0, 0);
    call.agent.send_media(other.end(), b"all is in the queue").unwrap();
    assert!(other.hear().await.is_some());
    let counted = forwarded("tcp", "down") - 4;
    while heard < counted {
        let datagram = slow.hear().await.unwrap();
        let number = u32::from_be_bytes(datagram[..4].try_into().unwrap());
        assert!(number > last && datagram[4..] == [7; 1196]);
        (last, heard) = (number, heard + 1);
    }
    slow.reaches(b"late").await;
}

#[tokio::test]
async fn connections_end_with_the_session() {
    let mut call = Call::new().await;
    let mut browser = call.by_tcp().await;
    browser.reaches(&call.check()).await;
    call.stage.ada.delete(&format!("/api/v1/sessions/{}", call.stage.id)).await.expect(202);
    end_of(&call.stage.app, &mut call.stage.ada, &call.stage.id).await;
    assert_eq!(browser.hear().await, None);
    let mut late = call.by_tcp().await;
    late.say(&call.check()).await;
    assert_eq!(late.hear().await, None);
    assert_eq!(lost("tcp", "noSession"), 1);
}

#[tokio::test]
async fn connections_end_with_the_server() {
    let call = Call::new().await;
    let (mut browser, mut silent) = (call.by_tcp().await, call.by_tcp().await);
    browser.reaches(&call.check()).await;
    call.stage.app.app.background.end().await;
    assert_eq!((browser.hear().await, silent.hear().await), (None, None));
}

#[tokio::test]
async fn who_is_silent_is_hung_up_on() {
    let call = Call::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (first, next) = (Patience { first: SOON, next: PATIENCE }, Patience { first: PATIENCE, next: SOON });
    for (patience, check) in [(first, None), (next, Some(call.check()))] {
        let mut silent = Browser::new(address).await;
        let (stream, peer) = listener.accept().await.unwrap();
        let serving = tokio::spawn(run(call.forwarder(), stream, peer, patience));
        if let Some(check) = check {
            silent.reaches(&check).await;
        }
        assert_eq!(silent.hear().await, None);
        serving.await.unwrap();
        assert_eq!(call.forwarder().flows().count(Transport::Tcp), 0);
    }
    assert_eq!(lost("tcp", "unknown"), 1);
}

#[tokio::test]
async fn a_session_has_so_many_connections() {
    let call = Call::new().await;
    let mut browsers = vec![];
    for _ in 0..flows::Limits::default().per_session {
        let mut browser = call.by_tcp().await;
        browser.reaches(&call.check()).await;
        browsers.push(browser);
    }
    let mut one_more = call.by_tcp().await;
    one_more.say(&call.check()).await;
    assert_eq!(one_more.hear().await, None);
    assert_eq!(lost("tcp", "tableFull"), 1);
    browsers[0].reaches(b"undisturbed").await;
    drop(browsers.pop());
    eventually("its place is free", || call.forwarder().flows().count(Transport::Tcp) == browsers.len()).await;
    call.by_tcp().await.reaches(&call.check()).await;
}

#[tokio::test]
async fn it_goes_beside_tls() {
    let app = TestApp::with(|settings| {
        settings.tls = TlsMode::SelfSigned;
        // Where Ada's requests say they come from.
        settings.public_url = Some("http://127.0.0.1:8080".to_owned());
    })
    .await;
    let web = app.listen().await;
    let mut ada = app.user("ada@example.org").await;
    let (_, session) = started(&app, &mut ada).await;
    let check = check(&app.app.media.0.names.mint(session, u32::MAX));
    let mut browser = Browser::new(web).await;
    browser.reaches(&check).await;
    assert!(tls_answers(web).await);
    browser.reaches(b"DTLS").await;
}

/// Whether a handshake begins; `tests/serve.rs` goes further.
async fn tls_answers(web: SocketAddr) -> bool {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let mut client = rustls::ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let mut hello = vec![];
    client.write_tls(&mut hello).unwrap();
    let mut stream = TcpStream::connect(web).await.unwrap();
    stream.write_all(&hello).await.unwrap();
    // A record of the handshake.
    stream.read_u8().await.unwrap() == 0x16
}
