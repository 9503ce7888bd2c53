//! Several servers, each a process, on one PostgreSQL and one cluster: one is killed, another ends in order, and the session and
//! its pictures go on. The agent is real, and so is GIMP.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures::StreamExt;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::harness::{Play, Stage, kubeconfig};
use super::postgres::TestDatabase;
use super::program::{Server, until};

/// Without a word from a server, until others have its sessions: five seconds of its lease, one until they look, and one of
/// slack for a busy machine.
const TAKEN_OVER: Duration = Duration::from_secs(7);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

struct Servers {
    stage: Stage,
    settings: PathBuf,
    _folder: tempfile::TempDir,
    // Last.
    _database: TestDatabase,
}

impl Servers {
    async fn new() -> Self {
        let stage = Stage::new().await;
        let database = TestDatabase::on_postgres().await;
        let folder = tempfile::tempdir().expect("a folder");
        let settings = folder.path().join("settings.toml");
        let text = format!(
            "database_url = {}\nkey_path = {}\nquota_gb = 1\ndrain_seconds = 1\n\
             [kubernetes]\nkubeconfig = {}\nnamespace = {}\nimage = {}\nnode_selector = {{ test = {} }}\n",
            json!(database.url()),
            json!(stage.key_path()),
            json!(kubeconfig()),
            json!(stage.namespace),
            json!(stage.options.image),
            json!(stage.namespace),
        );
        std::fs::write(&settings, text).expect("writes");
        Self { stage, settings, _folder: folder, _database: database }
    }

    fn start(&self) -> Server {
        let settings = self.settings.to_str().expect("text");
        let server = Server::start(&["--driver", "kubernetes", "--config", settings]);
        server.wait_ready();
        server
    }
}

fn session(server: &Server, token: &str, id: &str) -> Value {
    let answer = server.request("GET", &format!("/api/v1/sessions/{id}"), Some(token), "");
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    super::program::json(&answer)
}

/// The session's picture by the way of VNC, greeted.
async fn picture(server: &Server, token: &str, id: &str) -> Socket {
    let address = server.url().split("://").nth(1).expect("an address");
    let mut request = format!("ws://{address}/session/{id}/vnc").into_client_request().expect("a request");
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().expect("a header"));
    request.headers_mut().insert("sec-websocket-protocol", "binary".parse().expect("a header"));
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.expect("a picture");
    let greeting = tokio::time::timeout(Duration::from_secs(10), socket.next()).await.expect("in time");
    let greeting = greeting.expect("goes on").expect("a message").into_data();
    assert_eq!(&greeting[..], b"RFB 003.008\n");
    socket
}

/// Whether its next message is not to be expected: nothing has ended it.
async fn goes_on(socket: &mut Socket) -> bool {
    tokio::time::timeout(Duration::from_millis(200), socket.next()).await.is_err()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: ./test kube"]
async fn sessions_and_pictures_outlive_the_servers() {
    let servers = Servers::new().await;
    servers.stage.play(Play::RunGimp);
    let (mut one, two) = (servers.start(), servers.start());
    let token = one.register("ada@example.org");
    let profile = two.request("GET", "/api/v1/users/profile", Some(&token), "");
    let user = super::program::json(&profile)["id"].as_str().expect("an id").parse().expect("a uuid");
    servers.stage.volume_for(server::ids::UserId(user), "2Gi").await;

    let made = one.request("POST", "/api/v1/sessions", Some(&token), "{}");
    assert!(made.starts_with("HTTP/1.0 201"), "{made}");
    let id = super::program::json(&made)["id"].as_str().expect("an id").to_owned();
    until(|| session(&two, &token, &id)["status"] == "running");
    let mut seen = picture(&two, &token, &id).await;
    let mut lost = picture(&one, &token, &id).await;

    // Killed: another takes the session, and whoever looks at it there notices nothing.
    let killed = Instant::now();
    one.kill();
    let taken = two.log_after("session without a keeper taken");
    let took = killed.elapsed();
    assert!(taken.contains(&id) && took < TAKEN_OVER, "{took:?}: {taken}");
    println!("taken over {took:?} after the kill");
    assert!(goes_on(&mut seen).await);
    let broken = lost.next().await;
    assert!(broken.is_none_or(|message| message.is_err()), "its connection broke");
    drop(picture(&two, &token, &id).await);

    // Ends in order: the next has the session at once, and browsers are told to connect again.
    let three = servers.start();
    assert_eq!(session(&three, &token, &id)["status"], "running");
    two.signal(Signal::TERM);
    let ending = Instant::now();
    let taken = three.log_after("session without a keeper taken");
    let took = ending.elapsed();
    assert!(taken.contains(&id) && took < Duration::from_secs(2), "{took:?}: {taken}");
    println!("handed over {took:?} after SIGTERM");
    let closed = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            match seen.next().await {
                Some(Ok(Message::Close(Some(frame)))) => return u16::from(frame.code),
                Some(Ok(_)) => {}
                other => panic!("no goodbye, but {other:?}"),
            }
        }
    });
    assert_eq!(closed.await.expect("in time"), 1012, "connect again");
    let (status, log) = two.wait();
    assert!(status.success() && !log.contains("ERROR"), "{log}");
    drop(picture(&three, &token, &id).await);

    // Nothing of it is doubled, and it ends as if nothing had happened.
    assert_eq!(servers.stage.driver.list().await.expect("lists").len(), 1);
    let ended = three.request("DELETE", &format!("/api/v1/sessions/{id}"), Some(&token), "");
    assert!(ended.starts_with("HTTP/1.0 202"), "{ended}");
    until(|| session(&three, &token, &id)["endedAt"].is_string());
    assert_eq!(session(&three, &token, &id)["endReason"], "user");
    assert!(servers.stage.driver.list().await.expect("lists").is_empty());
    assert!(three.end(Signal::TERM).0.success());
}

/// A server that stands still (here: stopped by a signal) comes back to find its session in other hands, and leaves it alone.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: ./test kube"]
async fn a_server_that_stood_still_leaves_the_session_to_the_other() {
    let servers = Servers::new().await;
    servers.stage.play(Play::RunGimp);
    let (one, two) = (servers.start(), servers.start());
    let token = one.register("ada@example.org");
    let profile = two.request("GET", "/api/v1/users/profile", Some(&token), "");
    let user = super::program::json(&profile)["id"].as_str().expect("an id").parse().expect("a uuid");
    servers.stage.volume_for(server::ids::UserId(user), "2Gi").await;
    let made = one.request("POST", "/api/v1/sessions", Some(&token), "{}");
    let id = super::program::json(&made)["id"].as_str().expect("an id").to_owned();
    until(|| session(&two, &token, &id)["status"] == "running");

    one.signal(Signal::STOP);
    assert!(two.log_after("session without a keeper taken").contains(&id));
    one.signal(Signal::CONT);
    assert!(one.log_after("this server does not look after the session any more").contains(&id));
    one.wait_ready();
    for server in [&one, &two] {
        assert_eq!(session(server, &token, &id)["status"], "running");
    }
    assert_eq!(servers.stage.driver.list().await.expect("lists").len(), 1);
    // By the one that does not have it.
    let ended = one.request("DELETE", &format!("/api/v1/sessions/{id}"), Some(&token), "");
    assert!(ended.starts_with("HTTP/1.0 202"), "{ended}");
    assert_eq!(super::program::json(&ended)["endReason"], "user");
    until(|| session(&one, &token, &id)["endedAt"].is_string());
    for server in [one, two] {
        let (status, log) = server.end(Signal::TERM);
        assert!(status.success() && !log.contains("ERROR"), "{log}");
    }
}
