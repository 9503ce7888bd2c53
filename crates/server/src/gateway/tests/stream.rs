//! The picture stream's messages, between browser and agent.

use std::time::Duration as StdDuration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use protocol::stream::{
    Action, ClientHello, Drawn, Input, InputEvent, MAX_CLIPBOARD, MAX_TO_AGENT, Op, Ping, STREAM_VERSION, ToAgent,
    ToClient,
};
use serde_json::json;
use tokio_tungstenite::MaybeTlsStream;
use tokio_tungstenite::tungstenite::Message;

use super::{Socket, Stage, closed, open};
use crate::session::testing::{eventually, fake};

async fn connect(stage: &Stage) -> Socket {
    open(stage.address, &stage.ada, &stage.id, "stream").await.unwrap()
}

/// Up to the first update.
async fn greeted(stage: &Stage) -> Socket {
    let mut socket = connect(stage).await;
    let hello = ClientHello { version: STREAM_VERSION, video: vec![], cache_pixels: 0, refresh: 60, tiles: 0 };
    say(&mut socket, ToAgent::Hello(hello)).await;
    let ToClient::Hello(hello) = hear(&mut socket).await else { panic!("no greeting") };
    assert_eq!((hello.width, hello.height), (1280, 800));
    let ToClient::Update(update) = hear(&mut socket).await else { panic!("no picture") };
    assert_eq!(update.ops[0], Op::Size { width: 1280, height: 800 });
    say(&mut socket, ToAgent::Drawn(Drawn { seq: update.seq, took_us: 0 })).await;
    socket
}

async fn say(socket: &mut Socket, message: ToAgent) {
    socket.send(Message::Binary(message.encode().unwrap())).await.unwrap();
}

/// The next message: exactly one, whole.
async fn hear(socket: &mut Socket) -> ToClient {
    loop {
        match socket.next().await.unwrap().unwrap() {
            Message::Binary(bytes) => return ToClient::decode(bytes).unwrap(),
            Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn the_picture_and_input_go_through() {
    let mut stage = Stage::new().await;
    let agent = fake(&stage.app).session(stage.session).unwrap();
    agent.set_idle(StdDuration::from_secs(100));
    let mut socket = greeted(&stage).await;
    assert!(agent.status().idle_ms >= 100_000, "looking is not using");
    assert_eq!(agent.status().viewers, 1);

    let event = InputEvent { number: 1, at_us: 0, action: Action::Move { x: 10, y: 20 } };
    say(&mut socket, ToAgent::Input(Input { events: vec![event] })).await;
    assert_eq!(hear(&mut socket).await, ToClient::InputTaken { number: 1 });
    let ToClient::Update(update) = hear(&mut socket).await else { panic!("no picture") };
    assert_eq!((update.seq, update.input), (2, 1));
    let Some(Op::Tile { rect, data, .. }) = update.ops.last() else { panic!("{update:?}") };
    assert_eq!((rect.x, rect.y, data.len()), (10, 20, 24 * 24 * 3));
    assert!(agent.status().idle_ms < 100_000);

    say(&mut socket, ToAgent::Drawn(Drawn { seq: 2, took_us: 0 })).await;
    let screen = json!({"width": 640, "height": 480, "scale": 1.0});
    stage.ada.put(&format!("/api/v1/sessions/{}/screen", stage.id), screen).await.expect(200);
    let ToClient::Update(update) = hear(&mut socket).await else { panic!("no picture") };
    assert_eq!(update.ops[0], Op::Size { width: 640, height: 480 });

    socket.close(None).await.unwrap();
    eventually("the viewer is gone", || agent.status().viewers == 0).await;
}

#[tokio::test]
async fn a_message_stays_a_message() {
    let stage = Stage::new().await;
    let mut socket = greeted(&stage).await;
    // Together in one write, so that they arrive together.
    for id in 0..100 {
        socket.feed(Message::Binary(ToAgent::Ping(Ping { id }).encode().unwrap())).await.unwrap();
    }
    socket.flush().await.unwrap();
    for id in 0..100 {
        assert!(matches!(hear(&mut socket).await, ToClient::Pong(pong) if pong.id == id));
    }
    // The longest there is.
    say(&mut socket, ToAgent::Clipboard { text: "x".repeat(MAX_CLIPBOARD) }).await;
    say(&mut socket, ToAgent::Ping(Ping { id: 100 })).await;
    assert!(matches!(hear(&mut socket).await, ToClient::Pong(pong) if pong.id == 100));
}

#[tokio::test]
async fn text_and_huge_messages_are_refused() {
    let stage = Stage::new().await;
    let mut socket = connect(&stage).await;
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(u16::from(closed(&mut socket).await.code), 1003);
    let mut socket = greeted(&stage).await;
    // Refused by its announced length; the rest need not arrive.
    let _cut_off = socket.send(Message::binary(vec![0; MAX_TO_AGENT + 1])).await;
    let ended = loop {
        match socket.next().await {
            Some(Ok(Message::Close(frame))) => break frame.map(|frame| u16::from(frame.code)),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => break None,
        }
    };
    assert!(matches!(ended, None | Some(1002)), "{ended:?}");
}

#[tokio::test]
async fn what_the_agent_does_not_understand_interrupts() {
    let stage = Stage::new().await;
    let mut socket = greeted(&stage).await;
    socket.send(Message::Binary(Bytes::from_static(&[99]))).await.unwrap();
    assert_eq!(u16::from(closed(&mut socket).await.code), 4002);
    greeted(&stage).await;
}

#[tokio::test]
async fn a_dead_agent_is_an_interruption() {
    let stage = Stage::new().await;
    let mut socket = greeted(&stage).await;
    fake(&stage.app).session(stage.session).unwrap().kill_agent();
    assert_eq!(u16::from(closed(&mut socket).await.code), 4002);
    assert_eq!(open(stage.address, &stage.ada, &stage.id, "stream").await.unwrap_err(), 503);
}

#[tokio::test]
async fn the_browser_is_told_when_the_session_ends() {
    let mut stage = Stage::new().await;
    let mut socket = greeted(&stage).await;
    stage.ada.delete(&format!("/api/v1/sessions/{}", stage.id)).await.expect(202);
    let frame = closed(&mut socket).await;
    assert_eq!((u16::from(frame.code), frame.reason.as_str()), (4000, "You ended the session."));
}

/// Answers pile up nowhere: before long the browser can't even ask.
#[tokio::test]
async fn who_reads_nothing_can_say_nothing() {
    let stage = Stage::new().await;
    let mut socket = greeted(&stage).await;
    let MaybeTlsStream::Plain(tcp) = socket.get_ref() else { panic!("no TLS") };
    let tcp = socket2::SockRef::from(tcp);
    tcp.set_recv_buffer_size(4096).unwrap();
    tcp.set_send_buffer_size(4096).unwrap();
    let message = ToAgent::Ping(Ping { id: 1 }).encode().unwrap();
    let mut said = 0;
    let stalls = async {
        loop {
            socket.feed(Message::Binary(message.clone())).await.unwrap();
            said += message.len();
            // Far beyond all buffers on the way.
            assert!(said < 16 << 20, "it is all taken in");
        }
    };
    let stalled = tokio::time::timeout(StdDuration::from_secs(3), stalls).await;
    assert!(stalled.is_err());
}
