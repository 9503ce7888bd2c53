//! Talks to one session's agent: HTTP/1.1 over its Unix socket, or over TCP to its pod, one connection per call.

use std::io::ErrorKind;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::session::report::plain;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use protocol::agent::{
    self, AgentStatus, EndRequest, ExportRequest, LayerRequest, MediaOffer, OpenRequest, SaveRequest, ThumbnailRequest,
    WritesRequest, WrittenFile,
};
use protocol::session::{EndReason, ScreenSize};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};

/// Longest wait for an answer other than an upgrade or the event stream.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Longest wait for GIMP to write or read a file. The agent gives up before.
const GIMP_LIMIT: Duration = Duration::from_secs(90);
/// Longest time a file may take on its way out of a session.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(3600);
/// Largest answer, bytes.
const BODY_LIMIT: usize = 1024 * 1024;
/// Largest small picture, bytes: noise of 1024 by 1024 pixels has somewhat more than four each.
const PICTURE_LIMIT: usize = 5 * 1024 * 1024;
/// Longest detail of an error, characters.
const DETAIL_LIMIT: usize = 300;
/// Bytes that the kernel holds on the way to an agent, as for `SO_SNDBUF`: what an agent does not take is held up at its
/// browser. The agent does the same on the way back.
const SEND_BUFFER: usize = 32 * 1024;

/// Bytes to and from an agent.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// How the agent is dialled.
#[derive(Clone)]
pub enum Endpoint {
    Unix(PathBuf),
    Pod(super::kubernetes::Dial),
    /// The fake driver's agents live in this process.
    Memory(super::fake::Dial),
}

#[derive(Clone)]
pub struct AgentClient {
    pub endpoint: Endpoint,
    pub token: String,
}

#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Nobody listens: not started yet, or dead.
    #[error("the agent can't be reached")]
    Unreachable(#[source] std::io::Error),
    #[error("the agent did not answer in time")]
    Slow,
    /// It answered with an error; `code` is that of the problem, `detail` one line for users, not for the log: it may name
    /// files.
    #[error("the agent answered {status}")]
    Refused { status: StatusCode, code: String, detail: String },
    #[error("the agent's answer makes no sense: {0}")]
    Garbled(String),
}

impl AgentClient {
    /// Whether the agent's event loop turns.
    pub async fn health(&self) -> Result<(), AgentError> {
        self.call_empty(Method::GET, agent::HEALTH_PATH, &()).await
    }

    pub async fn status(&self) -> Result<AgentStatus, AgentError> {
        self.call(Method::GET, agent::STATUS_PATH, &()).await
    }

    pub async fn set_screen(&self, size: ScreenSize) -> Result<ScreenSize, AgentError> {
        self.call(Method::PUT, agent::SCREEN_PATH, &size).await
    }

    pub async fn open(&self, request: &OpenRequest) -> Result<(), AgentError> {
        self.call_empty(Method::POST, agent::OPEN_PATH, request).await
    }

    /// Puts a file on top of an image that is open.
    pub async fn add_layer(&self, request: &LayerRequest) -> Result<(), AgentError> {
        let request = self.request(Method::POST, agent::LAYER_PATH, request)?;
        within_limit(GIMP_LIMIT, async { self.send_for(StatusCode::NO_CONTENT, request).await.map(drop) }).await
    }

    pub async fn save(&self, request: &SaveRequest) -> Result<WrittenFile, AgentError> {
        let request = self.request(Method::POST, agent::SAVE_PATH, request)?;
        within_limit(GIMP_LIMIT, async { parse(&read(self.send_for(StatusCode::OK, request).await?).await?) }).await
    }

    /// Exports into a file of the workspace. `request` has a path.
    pub async fn export(&self, request: &ExportRequest) -> Result<WrittenFile, AgentError> {
        let request = self.request(Method::POST, agent::EXPORT_PATH, request)?;
        within_limit(GIMP_LIMIT, async { parse(&read(self.send_for(StatusCode::OK, request).await?).await?) }).await
    }

    /// Exports, and passes on the file: its size in bytes as far as it is told, and what it holds, which fails when the agent
    /// stops sending. `request` has no path.
    pub async fn export_out(
        &self,
        request: &ExportRequest,
    ) -> Result<(Option<u64>, impl futures::Stream<Item = std::io::Result<Bytes>> + Send + use<>), AgentError> {
        let request = self.request(Method::POST, agent::EXPORT_PATH, request)?;
        let response = within_limit(GIMP_LIMIT, self.send_for(StatusCode::OK, request)).await?;
        let size = response.headers().get(http::header::CONTENT_LENGTH);
        let size = size.and_then(|size| size.to_str().ok()?.parse().ok());
        Ok((size, bounded(response.into_body())))
    }

    /// A PNG file, at most `PICTURE_LIMIT` bytes.
    pub async fn thumbnail(&self, request: &ThumbnailRequest) -> Result<Bytes, AgentError> {
        let request = self.request(Method::POST, agent::THUMBNAIL_PATH, request)?;
        within(async { read_at_most(PICTURE_LIMIT, self.send_for(StatusCode::OK, request).await?).await }).await
    }

    pub async fn allow_writes(&self, allowed: bool) -> Result<(), AgentError> {
        self.call_empty(Method::PUT, agent::WRITES_PATH, &WritesRequest { allowed }).await
    }

    pub async fn end(&self, reason: EndReason) -> Result<(), AgentError> {
        self.call_empty(Method::POST, agent::END_PATH, &EndRequest { reason }).await
    }

    /// The agent's state now and after each change, until the agent goes away.
    pub async fn events(
        &self,
    ) -> Result<impl futures::Stream<Item = Result<AgentStatus, AgentError>> + use<>, AgentError> {
        use futures::StreamExt;
        use tokio_util::codec::{FramedRead, LinesCodec};
        let request = self.request(Method::GET, agent::EVENTS_PATH, &())?;
        let response = within(self.send_for(StatusCode::OK, request)).await?;
        let body = response.into_body().into_data_stream().map(|chunk| chunk.map_err(std::io::Error::other));
        let reader = tokio_util::io::StreamReader::new(body);
        Ok(FramedRead::new(reader, LinesCodec::new_with_max_length(BODY_LIMIT)).map(|line| {
            // Its connection broke, or it sends a line without end.
            let line = line.map_err(|error| AgentError::Unreachable(std::io::Error::other(error)))?;
            parse(line.as_bytes())
        }))
    }

    /// Raw RFB bytes to and from the display server.
    pub async fn vnc(&self) -> Result<impl Stream + use<>, AgentError> {
        let request = self.request(Method::GET, agent::VNC_PATH, &())?;
        self.upgrade(request, agent::VNC_UPGRADE).await
    }

    /// Records of the picture stream: their length as `u32`, little-endian, then their bytes. `media`: how WebRTC
    /// reaches the agent.
    pub async fn stream(&self, media: Option<&MediaOffer>) -> Result<impl Stream + use<>, AgentError> {
        let mut request = self.request(Method::GET, agent::STREAM_PATH, &())?;
        if let Some(offer) = media {
            let value = offer.to_header().try_into().map_err(|_| AgentError::Garbled("no header".to_owned()))?;
            request.headers_mut().insert(agent::MEDIA_HEADER, value);
        }
        self.upgrade(request, agent::STREAM_UPGRADE).await
    }

    async fn upgrade(
        &self,
        mut request: Request<Full<Bytes>>,
        protocol: &'static str,
    ) -> Result<TokioIo<Upgraded>, AgentError> {
        request.headers_mut().insert(http::header::CONNECTION, http::HeaderValue::from_static("upgrade"));
        request.headers_mut().insert(http::header::UPGRADE, http::HeaderValue::from_static(protocol));
        let upgraded = within(async {
            let response = self.send_for(StatusCode::SWITCHING_PROTOCOLS, request).await?;
            hyper::upgrade::on(response).await.map_err(broken)
        });
        Ok(TokioIo::new(upgraded.await?))
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, AgentError> {
        parse(&self.answer(method, path, body).await?)
    }

    async fn call_empty(&self, method: Method, path: &str, body: &impl Serialize) -> Result<(), AgentError> {
        self.answer(method, path, body).await.map(drop)
    }

    async fn answer(&self, method: Method, path: &str, body: &impl Serialize) -> Result<Bytes, AgentError> {
        let request = self.request(method, path, body)?;
        within(async {
            let response = self.send(request).await?;
            if !response.status().is_success() {
                return Err(refused(response).await);
            }
            read(response).await
        })
        .await
    }

    fn request(&self, method: Method, path: &str, body: &impl Serialize) -> Result<Request<Full<Bytes>>, AgentError> {
        let body = if method == Method::GET {
            Bytes::new()
        } else {
            serde_json::to_vec(body).map_err(|error| AgentError::Garbled(error.to_string()))?.into()
        };
        Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::HOST, "agent")
            .header(http::header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| AgentError::Garbled(error.to_string()))
    }

    /// The answer, if it has the status wanted.
    async fn send_for(
        &self,
        wanted: StatusCode,
        request: Request<Full<Bytes>>,
    ) -> Result<http::Response<hyper::body::Incoming>, AgentError> {
        let response = self.send(request).await?;
        if response.status() == wanted { Ok(response) } else { Err(refused(response).await) }
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<http::Response<hyper::body::Incoming>, AgentError> {
        let stream: Box<dyn Stream> = match &self.endpoint {
            Endpoint::Unix(path) => Box::new(dial(path).await.map_err(AgentError::Unreachable)?),
            Endpoint::Pod(dial) => {
                let stream = dial.connect().await.map_err(|error| match error.kind() {
                    ErrorKind::ConnectionRefused | ErrorKind::NotConnected => AgentError::Unreachable(error),
                    // A network that is down for a while says nothing of the agent.
                    _ => AgentError::Slow,
                })?;
                hold_back(&stream).map_err(AgentError::Unreachable)?;
                Box::new(stream)
            }
            Endpoint::Memory(dial) => Box::new(dial.connect().map_err(AgentError::Unreachable)?),
        };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // Ends by itself when the response body, or the upgraded stream, is dropped.
        tokio::spawn(connection.with_upgrades());
        sender.send_request(request).await.map_err(broken)
    }
}

async fn dial(path: &Path) -> std::io::Result<tokio::net::UnixStream> {
    let socket = open_socket(path)?;
    let stream = tokio::net::UnixStream::connect(format!("/proc/self/fd/{}", socket.as_raw_fd())).await?;
    hold_back(&stream)?;
    Ok(stream)
}

fn hold_back(stream: impl std::os::fd::AsFd) -> std::io::Result<()> {
    Ok(rustix::net::sockopt::set_socket_send_buffer_size(stream, SEND_BUFFER)?)
}

/// The descriptor of a socket in a folder that the session can write to: were it to put a link there, a server that runs
/// as root would talk to whatever socket the link names. Connect by `/proc/self/fd`, which also lifts the limit of 108
/// bytes on a socket's path.
pub(super) fn open_socket(path: &Path) -> std::io::Result<OwnedFd> {
    use rustix::fs::{FileType, Mode, OFlags};
    let socket = rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&socket)?.st_mode) != FileType::Socket {
        return Err(std::io::Error::other("the agent's socket is no socket"));
    }
    Ok(socket)
}

/// Bytes that are no HTTP are nonsense; everything else means that nobody is there any more.
fn broken(error: hyper::Error) -> AgentError {
    if error.is_parse() || error.is_parse_too_large() {
        AgentError::Garbled("no HTTP".to_owned())
    } else {
        AgentError::Unreachable(std::io::Error::other(error))
    }
}

/// The agent shares its sandbox with the user's programs: what it says must not reach the log by way of an error.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, AgentError> {
    serde_json::from_slice(bytes).map_err(|error| {
        let (kind, line, column) = (error.classify(), error.line(), error.column());
        AgentError::Garbled(format!("{kind:?} error at line {line}, column {column}"))
    })
}

async fn within<T>(work: impl Future<Output = Result<T, AgentError>>) -> Result<T, AgentError> {
    within_limit(ANSWER_LIMIT, work).await
}

async fn within_limit<T>(limit: Duration, work: impl Future<Output = Result<T, AgentError>>) -> Result<T, AgentError> {
    tokio::time::timeout(limit, work).await.unwrap_or(Err(AgentError::Slow))
}

/// What comes of a body before `DOWNLOAD_LIMIT`, with no pause longer than `ANSWER_LIMIT`. Who reads slowly makes no pause.
fn bounded(body: hyper::body::Incoming) -> impl futures::Stream<Item = std::io::Result<Bytes>> + Send {
    use futures::StreamExt;
    let end = tokio::time::Instant::now() + DOWNLOAD_LIMIT;
    futures::stream::try_unfold(body.into_data_stream(), move |mut chunks| async move {
        let limit = end.min(tokio::time::Instant::now() + ANSWER_LIMIT);
        match tokio::time::timeout_at(limit, chunks.next()).await {
            Ok(Some(chunk)) => Ok(Some((chunk.map_err(std::io::Error::other)?, chunks))),
            Ok(None) => Ok(None),
            Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
        }
    })
}

async fn read(response: http::Response<hyper::body::Incoming>) -> Result<Bytes, AgentError> {
    read_at_most(BODY_LIMIT, response).await
}

async fn read_at_most(limit: usize, response: http::Response<hyper::body::Incoming>) -> Result<Bytes, AgentError> {
    Limited::new(response.into_body(), limit)
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .map_err(|error| AgentError::Unreachable(std::io::Error::other(error)))
}

async fn refused(response: http::Response<hyper::body::Incoming>) -> AgentError {
    let status = response.status();
    let problem = read(response).await.ok().and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    let text = |name: &str| {
        let text = problem.as_ref().and_then(|problem| problem.get(name)?.as_str());
        text.map(|text| plain(text, DETAIL_LIMIT)).unwrap_or_default()
    };
    AgentError::Refused { status, code: text("code"), detail: text("detail") }
}

#[cfg(test)]
mod tests;
