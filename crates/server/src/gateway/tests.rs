//! A browser, a server that listens, and the fake driver's agents.

mod stream;

use std::net::SocketAddr;
use std::time::Duration as StdDuration;

use futures::{SinkExt, StreamExt};
use sea_orm::{ActiveModelTrait, ActiveValue::Set, IntoActiveModel};
use serde_json::json;
use time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::viewers::PER_SESSION;
use crate::db::entity;
use crate::ids::SessionId;
use crate::session::testing::{eventually, fake, started};
use crate::test_app::{Client, TestApp};

/// How a picture can be had: the last part of its address.
const WAYS: [&str; 2] = ["vnc", "stream"];

pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Ada's session on a server that listens.
pub(super) struct Stage {
    pub app: TestApp,
    pub address: SocketAddr,
    pub ada: Client,
    pub id: String,
    pub session: SessionId,
}

impl Stage {
    pub async fn new() -> Self {
        let app = TestApp::new().await;
        let address = app.listen().await;
        let mut ada = app.user("ada@example.org").await;
        let (id, session) = started(&app, &mut ada).await;
        Self { app, address, ada, id, session }
    }

    async fn open(&self) -> Result<Socket, u16> {
        open(self.address, &self.ada, &self.id, "vnc").await
    }

    /// With the first picture to come.
    async fn greeted(&self) -> Socket {
        let mut socket = self.open().await.unwrap();
        greet(&mut socket).await;
        socket
    }
}

/// Opens the picture by `way`, the last part of its address, as a browser does, or tells the status of the refusal.
pub(super) async fn open(address: SocketAddr, client: &Client, id: &str, way: &str) -> Result<Socket, u16> {
    let mut request = format!("ws://{address}/session/{id}/{way}").into_client_request().unwrap();
    let headers = request.headers_mut();
    if let Some(bearer) = client.bearer() {
        headers.insert("authorization", format!("Bearer {bearer}").parse().unwrap());
    }
    if let Some(cookie) = client.cookie(crate::auth::current::ACCESS_COOKIE) {
        headers.insert("cookie", format!("gimp_access={cookie}").parse().unwrap());
        headers.insert("origin", format!("http://{address}").parse().unwrap());
    }
    headers.insert("sec-websocket-protocol", "binary".parse().unwrap());
    headers.insert("sec-websocket-extensions", "permessage-deflate; client_max_window_bits".parse().unwrap());
    match tokio_tungstenite::connect_async(request).await {
        Ok((socket, response)) => {
            assert_eq!(response.headers()["sec-websocket-protocol"], "binary");
            assert!(!response.headers().contains_key("sec-websocket-extensions"), "compression would delay and cost");
            Ok(socket)
        }
        Err(Error::Http(response)) => Err(response.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

/// Reads at least `count` bytes.
async fn read(socket: &mut Socket, count: usize) -> Vec<u8> {
    let mut bytes = vec![];
    while bytes.len() < count {
        match socket.next().await.unwrap().unwrap() {
            Message::Binary(more) => bytes.extend(more),
            Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
    bytes
}

async fn write(socket: &mut Socket, bytes: &[u8]) {
    socket.send(Message::binary(bytes.to_vec())).await.unwrap();
}

/// Up to the first picture.
async fn greet(socket: &mut Socket) -> (u16, u16) {
    assert_eq!(read(socket, 12).await, b"RFB 003.008\n");
    write(socket, b"RFB 003.008\n").await;
    assert_eq!(read(socket, 2).await, [1, 1]);
    write(socket, &[1]).await;
    assert_eq!(read(socket, 4).await, [0; 4]);
    write(socket, &[1]).await;
    let init = read(socket, 24).await;
    (u16::from_be_bytes([init[0], init[1]]), u16::from_be_bytes([init[2], init[3]]))
}

/// What the server closes with.
async fn closed(socket: &mut Socket) -> CloseFrame {
    let patience = tokio::time::timeout(StdDuration::from_secs(30), async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(Some(frame)))) => return frame,
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    });
    patience.await.expect("it closes")
}

#[tokio::test]
async fn the_picture_and_input_go_through() {
    let stage = Stage::new().await;
    let agent = fake(&stage.app).session(stage.session).unwrap();
    agent.set_idle(StdDuration::from_secs(100));

    let mut socket = open(stage.address, &stage.ada.clone().with_cookie(), &stage.id, "vnc").await.unwrap();
    assert_eq!(greet(&mut socket).await, (1280, 800));
    // The whole picture, several megabytes through small buffers.
    write(&mut socket, &[3, 0, 0, 0, 0, 0, 5, 0, 3, 32]).await;
    let picture = read(&mut socket, 4 + 12 + 1280 * 800 * 4).await;
    assert_eq!(&picture[..4], [0, 0, 0, 1]);
    assert!(agent.status().idle_ms >= 100_000, "looking is not using");
    assert_eq!(agent.status().viewers, 1);
    // A pointer event moves the mark: two small rectangles.
    write(&mut socket, &[5, 0, 0, 10, 0, 20]).await;
    write(&mut socket, &[3, 1, 0, 0, 0, 0, 5, 0, 3, 32]).await;
    let update = read(&mut socket, 4 + 2 * (12 + 24 * 24 * 4)).await;
    assert_eq!(&update[..4], [0, 0, 0, 2]);
    assert!(agent.status().idle_ms < 100_000);

    socket.close(None).await.unwrap();
    eventually("the viewer is gone", || agent.status().viewers == 0).await;
}

#[tokio::test]
async fn only_the_owner_of_the_session_gets_in() {
    let app = TestApp::new().await;
    let address = app.listen().await;
    let mut ada = app.user("ada@example.org").await;
    let ben = app.user("ben@example.org").await;
    let root = app.admin("root@example.org").await;
    let (id, _) = started(&app, &mut ada).await;
    for way in WAYS {
        let refused = async |client: &Client, id: &str| open(address, client, id, way).await.unwrap_err();
        assert_eq!(refused(&app.client(), &id).await, 401);
        assert_eq!(refused(&ben, &id).await, 404);
        assert_eq!(refused(&ada, "nonsense").await, 404);
        assert_eq!(refused(&root, &id).await, 403, "administrators end sessions, they do not watch");
        assert!(open(address, &ada, &id, way).await.is_ok());

        let mut request = format!("ws://{address}/session/{id}/{way}").into_client_request().unwrap();
        let cookie = ada.clone().with_cookie();
        let cookie = cookie.cookie(crate::auth::current::ACCESS_COOKIE).unwrap();
        request.headers_mut().insert("cookie", format!("gimp_access={cookie}").parse().unwrap());
        request.headers_mut().insert("origin", "http://evil.example.org".parse().unwrap());
        let Err(Error::Http(response)) = tokio_tungstenite::connect_async(request).await else { panic!("refused") };
        assert_eq!(response.status(), 403, "not with our cookie from another site's page");
    }
}

#[tokio::test]
async fn what_is_not_a_websocket_is_told_so() {
    let app = TestApp::new().await;
    let mut ada = app.user("ada@example.org").await;
    let (id, _) = started(&app, &mut ada).await;
    for way in WAYS {
        ada.get(&format!("/session/{id}/{way}")).await.expect_problem(426, "notWebSocket");
    }
}

#[tokio::test]
async fn there_is_no_picture_before_and_after() {
    let app = TestApp::new().await;
    let address = app.listen().await;
    let mut ada = app.user("ada@example.org").await;
    fake(&app).behave(|behaviour| behaviour.hang_in_step = Some(protocol::session::StartStep::StartingGimp));
    let id = crate::session::testing::start(&mut ada).await;
    for way in WAYS {
        assert_eq!(open(address, &ada, &id, way).await.unwrap_err(), 409);
    }
    ada.delete(&format!("/api/v1/sessions/{id}")).await.expect(202);
    crate::session::testing::end_of(&app, &mut ada, &id).await;
    for way in WAYS {
        assert_eq!(open(address, &ada, &id, way).await.unwrap_err(), 409);
    }
}

#[tokio::test]
async fn the_browser_is_told_when_the_session_ends() {
    let mut stage = Stage::new().await;
    let mut socket = stage.greeted().await;
    stage.ada.delete(&format!("/api/v1/sessions/{}", stage.id)).await.expect(202);
    let frame = closed(&mut socket).await;
    assert_eq!((u16::from(frame.code), frame.reason.as_str()), (4000, "You ended the session."));
}

#[tokio::test]
async fn a_dead_agent_is_an_interruption() {
    let stage = Stage::new().await;
    let mut socket = stage.greeted().await;
    fake(&stage.app).session(stage.session).unwrap().kill_agent();
    assert_eq!(u16::from(closed(&mut socket).await.code), 4002);
    assert_eq!(stage.open().await.unwrap_err(), 503);
}

#[tokio::test]
async fn signing_out_closes_the_picture() {
    let stage = Stage::new().await;
    let mut socket = stage.greeted().await;
    let user = stage.ada.user.unwrap().0;
    let row =
        <entity::user::Entity as sea_orm::EntityTrait>::find_by_id(user).one(&stage.app.app.db).await.unwrap().unwrap();
    let mut row = row.into_active_model();
    row.is_active = Set(false);
    row.update(&stage.app.app.db).await.unwrap();
    stage.app.clock.advance(Duration::seconds(16));
    assert_eq!(u16::from(closed(&mut socket).await.code), 4001);
}

#[tokio::test]
async fn a_server_that_ends_says_so() {
    let stage = Stage::new().await;
    let mut socket = stage.greeted().await;
    stage.app.app.background.close();
    assert_eq!(u16::from(closed(&mut socket).await.code), 1012);
}

#[tokio::test]
async fn text_and_huge_messages_are_refused() {
    let stage = Stage::new().await;
    let mut socket = stage.open().await.unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(u16::from(closed(&mut socket).await.code), 1003);
    let mut socket = stage.greeted().await;
    // Refused by its announced length; the rest need not arrive.
    let _cut_off = socket.send(Message::binary(vec![0; 2 * 1024 * 1024])).await;
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
async fn viewers_of_one_session_are_limited() {
    let mut stage = Stage::new().await;
    let mut sockets = vec![];
    for way in WAYS.into_iter().cycle().take(PER_SESSION as usize) {
        sockets.push(open(stage.address, &stage.ada, &stage.id, way).await.unwrap());
    }
    for way in WAYS {
        assert_eq!(open(stage.address, &stage.ada, &stage.id, way).await.unwrap_err(), 429);
    }
    let status = stage.ada.get(&format!("/api/v1/sessions/{}/status", stage.id)).await.expect(200);
    assert_eq!(status["capabilities"]["vnc"], json!(true));
}

#[tokio::test]
async fn the_picture_follows_the_screen() {
    let mut stage = Stage::new().await;
    let mut socket = stage.greeted().await;
    // The pseudo-encoding DesktopSize (-223), then: tell me of changes.
    write(&mut socket, &[2, 0, 0, 2, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x21]).await;
    write(&mut socket, &[3, 0, 0, 0, 0, 0, 5, 0, 3, 32]).await;
    read(&mut socket, 4 + 12 + 1280 * 800 * 4).await;
    write(&mut socket, &[3, 1, 0, 0, 0, 0, 5, 0, 3, 32]).await;
    let screen = json!({"width": 640, "height": 480, "scale": 1.0});
    stage.ada.put(&format!("/api/v1/sessions/{}/screen", stage.id), screen).await.expect(200);
    let update = read(&mut socket, 4 + 12 + 12 + 640 * 480 * 4).await;
    assert_eq!(&update[..16], [0, 0, 0, 2, 0, 0, 0, 0, 2, 128, 1, 224, 0xff, 0xff, 0xff, 0x21]);
}
