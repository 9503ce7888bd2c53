//! The client against agents that do not behave: each test's agent is a few lines on a real Unix socket.

use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::*;

struct Agent {
    client: AgentClient,
    listener: UnixListener,
    _dir: tempfile::TempDir,
}

impl Agent {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let client = AgentClient { endpoint: Endpoint::Unix(path), token: "secret".to_owned() };
        Self { client, listener, _dir: dir }
    }

    /// Takes one call, reads its head and answers with these bytes.
    async fn answer(&self, bytes: &[u8]) -> (String, UnixStream) {
        let (mut stream, _) = self.listener.accept().await.unwrap();
        let mut head = vec![];
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(bytes).await.unwrap();
        (String::from_utf8(head).unwrap(), stream)
    }
}

#[tokio::test]
async fn calls_carry_the_token() {
    let agent = Agent::new();
    let end = agent.client.end(EndReason::User);
    let (result, (head, _)) = tokio::join!(end, agent.answer(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"));
    result.unwrap();
    assert!(head.starts_with("POST /v1/end HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("authorization: Bearer secret\r\n"), "{head}");
}

#[tokio::test]
async fn errors_keep_their_words_short_and_out_of_the_log() {
    let agent = Agent::new();
    let body = format!(r#"{{"code":"files.notFound","detail":"No such file: a\nb.xcf{}"}}"#, "x".repeat(1000));
    let answer = format!("HTTP/1.1 404 Not Found\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let request = OpenRequest { path: "a".into(), as_new: false };
    let (result, _) = tokio::join!(agent.client.open(&request), agent.answer(answer.as_bytes()));
    let error = result.unwrap_err();
    assert!(!error.to_string().contains("xcf"), "{error}");
    let AgentError::Refused { status, detail, code } = error else { panic!("{error}") };
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(code, "files.notFound");
    assert!(detail.starts_with("No such file: a b.xcf") && detail.len() <= DETAIL_LIMIT, "{detail}");
}

#[tokio::test]
async fn an_error_without_words_is_an_error() {
    let agent = Agent::new();
    let answer = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 2\r\n\r\n[]";
    let (result, _) = tokio::join!(agent.client.status(), agent.answer(answer));
    assert!(matches!(result, Err(AgentError::Refused { detail, .. }) if detail.is_empty()));
    let (result, _) = tokio::join!(agent.client.events(), agent.answer(answer));
    assert!(matches!(result.map(drop), Err(AgentError::Refused { .. })));
    let (result, _) = tokio::join!(agent.client.vnc(), agent.answer(answer));
    assert!(matches!(result.map(drop), Err(AgentError::Refused { .. })));
}

#[tokio::test]
async fn nonsense_is_told_apart_from_silence() {
    let agent = Agent::new();
    let (result, _) = tokio::join!(agent.client.status(), agent.answer(b"what?\r\n\r\n"));
    assert!(matches!(result, Err(AgentError::Garbled(_))), "{result:?}");
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n{\"secret.xcf\":1}";
    let (result, _) = tokio::join!(agent.client.status(), agent.answer(answer));
    let error = result.unwrap_err();
    assert!(matches!(error, AgentError::Garbled(_)) && !error.to_string().contains("secret"), "{error}");
    let (result, (_, stream)) = tokio::join!(agent.client.status(), async {
        let (head, stream) = agent.answer(b"").await;
        drop(stream);
        (head, ())
    });
    let () = stream;
    assert!(matches!(result, Err(AgentError::Unreachable(_))), "{result:?}");
}

#[tokio::test]
async fn answers_and_lines_without_end_are_cut_off() {
    let agent = Agent::new();
    let endless = async {
        let (_, mut stream) = agent.answer(b"HTTP/1.1 200 OK\r\n\r\n").await;
        // Until the client hangs up.
        while stream.write_all(&[b' '; 4096]).await.is_ok() {}
    };
    let (result, ()) = tokio::join!(agent.client.status(), endless);
    assert!(result.is_err());
    let endless = async {
        let (_, mut stream) = agent.answer(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    };
    let read = async {
        let mut events = Box::pin(agent.client.events().await.unwrap());
        events.next().await.unwrap().map(drop)
    };
    let (result, ()) = tokio::join!(read, endless);
    assert!(matches!(result, Err(AgentError::Unreachable(_))), "{result:?}");
}

/// Takes as long as the limit is.
#[tokio::test]
async fn a_silent_agent_is_slow() {
    let (one, other) = (Agent::new(), Agent::new());
    let (answer, _held, picture, _held_too) =
        tokio::join!(one.client.status(), one.answer(b"HTTP/1.1 200 OK\r\n"), other.client.vnc(), other.answer(b""),);
    assert!(matches!(answer, Err(AgentError::Slow)), "{answer:?}");
    assert!(matches!(picture.map(drop), Err(AgentError::Slow)));
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let Agent { client, listener, _dir } = Agent::new();
    drop(listener);
    assert!(matches!(client.status().await, Err(AgentError::Unreachable(_))));
}
