//! The agent's HTTP API, as laid down in `protocol::agent`.

mod documents;

use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, FromRequest, Request as HttpRequest, State};
use axum::http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, UPGRADE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use futures::StreamExt;
use hyper_util::rt::TokioIo;
use protocol::agent::{self, AgentPhase, EndRequest, MediaOffer, OpenRequest, WritesRequest, paths};
use protocol::session::{RECOVERY_DIR, ScreenSize};
use serde::de::DeserializeOwned;
use serde_json::json;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{Semaphore, oneshot};

use crate::gimp::control::ControlError;
use crate::metrics;
use crate::session::{Request, Shared};
use crate::settings::Listen;
use crate::transport::{self, media::MediaSocket};

/// Largest request body, bytes.
const MAX_BODY: usize = 16 * 1024;
/// Bytes that may wait on the way between viewer and display, each way.
const VNC_BUFFER: usize = 64 * 1024;
/// Bytes that the kernel holds on the way to the gateway, as for `SO_SNDBUF`: most updates pass in one go. That little
/// waits there is seen to by pacing.
const SEND_BUFFER: usize = 512 * 1024;

/// The connection to a viewer, by way of the gateway.
type Viewer = TokioIo<hyper::upgrade::Upgraded>;

#[derive(Debug, Clone)]
struct Api {
    shared: Shared,
    token_digest: [u8; 32],
    /// None: WebRTC cannot come in.
    media: Option<MediaSocket>,
    /// Exports on their way out: each holds disk space without a name.
    downloads: Arc<Semaphore>,
}

/// Opens the socket. A Unix socket is for its owner only.
pub async fn serve(listen: &Listen, shared: Shared, token: &str) -> anyhow::Result<()> {
    let media = MediaSocket::open(&shared.folders.run_file(paths::MEDIA_SOCKET));
    let media = media.inspect_err(|error| tracing::warn!(%error, "WebRTC is not possible")).ok();
    let router = router(shared, token, media);
    match listen {
        Listen::Unix(path) => {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot replace {}", path.display()));
                }
                _ => {}
            }
            let listener = UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
            std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
            let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
                if let Err(error) = rustix::net::sockopt::set_socket_send_buffer_size(stream, SEND_BUFFER) {
                    tracing::debug!(%error, "cannot make the send buffer small");
                }
            });
            axum::serve(listener, router).await?;
        }
        Listen::Tcp(address) => {
            let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
            let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "cannot disable Nagle's algorithm");
                }
            });
            axum::serve(listener, router).await?;
        }
    }
    Ok(())
}

fn router(shared: Shared, token: &str, media: Option<MediaSocket>) -> Router {
    let downloads = Arc::new(Semaphore::new(documents::MOST_DOWNLOADS));
    let api = Api { shared, token_digest: Sha256::digest(token).into(), media, downloads };
    let private = Router::new()
        .route(agent::STATUS_PATH, get(status))
        .route(agent::EVENTS_PATH, get(events))
        .route(agent::SCREEN_PATH, put(screen))
        .route(agent::OPEN_PATH, post(open))
        .route(agent::LAYER_PATH, post(documents::layer))
        .route(agent::SAVE_PATH, post(documents::save))
        .route(agent::EXPORT_PATH, post(documents::export))
        .route(agent::THUMBNAIL_PATH, post(documents::thumbnail))
        .route(agent::WRITES_PATH, put(writes))
        .route(agent::END_PATH, post(end))
        .route(agent::VNC_PATH, get(vnc))
        .route(agent::STREAM_PATH, get(stream))
        .route_layer(middleware::from_fn_with_state(api.clone(), authenticate));
    Router::new()
        .route(agent::HEALTH_PATH, get(|| async { "ok\n" }))
        .route(agent::READY_PATH, get(ready))
        .route("/metrics", get(render_metrics))
        .merge(private)
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "notFound", "There is nothing here.") })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "methodNotAllowed", "This path takes other methods.")
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(api)
}

async fn authenticate(State(api): State<Api>, request: HttpRequest, next: Next) -> Response {
    let given = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    // Comparing digests takes the same time whatever the length of what was sent.
    if bool::from(<[u8; 32]>::from(Sha256::digest(given)).ct_eq(&api.token_digest)) {
        next.run(request).await
    } else {
        Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "Send the agent's token as Bearer.").into_response()
    }
}

async fn ready(State(api): State<Api>) -> Result<&'static str, Problem> {
    if api.shared.status.borrow().phase == AgentPhase::Running {
        Ok("ready\n")
    } else {
        Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "session.notReady", "GIMP is not ready."))
    }
}

async fn render_metrics(State(api): State<Api>) -> impl IntoResponse {
    let status = api.shared.status_now().await;
    let processes = api.shared.processes.borrow().clone();
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], metrics::render(&status, &processes))
}

async fn status(State(api): State<Api>) -> impl IntoResponse {
    axum::Json(api.shared.status_now().await)
}

/// One line at once, then one for each change. A slow reader misses states in between, never the newest.
async fn events(State(api): State<Api>) -> impl IntoResponse {
    let changes = tokio_stream::wrappers::WatchStream::new(api.shared.status.clone());
    let lines = changes.then(move |_| {
        let shared = api.shared.clone();
        async move {
            let mut line = serde_json::to_vec(&shared.status_now().await)?;
            line.push(b'\n');
            Ok::<_, serde_json::Error>(Bytes::from(line))
        }
    });
    ([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines))
}

async fn screen(
    State(api): State<Api>,
    JsonBody(size): JsonBody<ScreenSize>,
) -> Result<axum::Json<ScreenSize>, Problem> {
    let (answer, answered) = oneshot::channel();
    api.ask(Request::Resize(size, answer)).await?;
    match answered.await {
        Ok(Ok(size)) => Ok(axum::Json(size)),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the screen could not be resized");
            Err(Problem::new(StatusCode::BAD_GATEWAY, "display.failed", "The display could not be resized."))
        }
        Err(_) => Err(Problem::ending()),
    }
}

async fn open(State(api): State<Api>, JsonBody(request): JsonBody<OpenRequest>) -> Result<StatusCode, Problem> {
    api.usable()?;
    let home = api.shared.folders.home.clone();
    let file = tokio::task::spawn_blocking(move || file_in_workspace(&home, &request.path)).await;
    let file = file.map_err(|_| Problem::ending())??;
    let control = &api.shared.control;
    let version = api.shared.status.borrow().gimp_version.as_deref().and_then(|version| version.parse().ok());
    let documents = &api.shared.documents;
    // With its name and file, if that is known.
    if version.is_some() && request.as_new && is_copy(&file) && documents.recover(file.clone()).await {
        return Ok(StatusCode::NO_CONTENT);
    }
    let opened = match version {
        Some(version) if request.as_new => control.open_as_new(&file, version).await,
        _ => control.open(&file).await,
    };
    documents.touched().await;
    opened.map(|()| StatusCode::NO_CONTENT).map_err(|error| {
        tracing::warn!(%error, "a file could not be opened");
        let code = if matches!(error, ControlError::TimedOut) { agent::problem::BUSY } else { agent::problem::FAILED };
        Problem::new(StatusCode::BAD_GATEWAY, code, "GIMP did not take the file; it may be busy.")
    })
}

/// Whether the file lies in the recovery store.
fn is_copy(file: &Path) -> bool {
    file.parent().is_some_and(|folder| folder.ends_with(RECOVERY_DIR))
}

async fn writes(State(api): State<Api>, JsonBody(request): JsonBody<WritesRequest>) -> Result<StatusCode, Problem> {
    let (done, answered) = oneshot::channel();
    api.ask(Request::Writes { allowed: request.allowed, done }).await?;
    match answered.await {
        Ok(Ok(())) => Ok(StatusCode::NO_CONTENT),
        Ok(Err(error)) => {
            tracing::error!(%error, "the limit on writing could not be set");
            Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "writes.failed", "The limit could not be set."))
        }
        Err(_) => Err(Problem::ending()),
    }
}

async fn end(State(api): State<Api>, JsonBody(request): JsonBody<EndRequest>) -> Result<StatusCode, Problem> {
    match api.ask(Request::End(request.reason)).await {
        // Already gone: that is what was asked for.
        Ok(()) | Err(_) => Ok(StatusCode::ACCEPTED),
    }
}

async fn vnc(State(api): State<Api>, request: HttpRequest) -> Result<Response, Problem> {
    if !wants_upgrade(request.headers(), agent::VNC_UPGRADE) {
        return Ok(upgrade_required(agent::VNC_UPGRADE));
    }
    let display = UnixStream::connect(api.shared.folders.run_file(paths::RFB_SOCKET)).await.map_err(|error| {
        tracing::debug!(%error, "the display takes no viewers");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "display.notReady", "The display is not up.")
    })?;
    Ok(view(&api, request, agent::VNC_UPGRADE, |viewer| relay(viewer, display)))
}

async fn stream(State(api): State<Api>, request: HttpRequest) -> Result<Response, Problem> {
    if !wants_upgrade(request.headers(), agent::STREAM_UPGRADE) {
        return Ok(upgrade_required(agent::STREAM_UPGRADE));
    }
    let stage = api.shared.stage.borrow().clone();
    let stage = stage
        .ok_or_else(|| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "display.notReady", "The display is not up."))?;
    let offer = request.headers().get(agent::MEDIA_HEADER).and_then(|value| value.to_str().ok());
    let media = offer
        .and_then(MediaOffer::from_header)
        .zip(api.media.clone())
        .map(|(offer, socket)| transport::webrtc::Media { offer, socket });
    Ok(view(&api, request, agent::STREAM_UPGRADE, |viewer| async move {
        let closed = transport::stream::serve(viewer, &stage, media).await;
        tracing::debug!(%closed, "a viewer is gone");
    }))
}

fn upgrade_required(protocol: &'static str) -> Response {
    let detail = "Send Connection: Upgrade, and Upgrade with the protocol of this path.";
    let mut response = Problem::new(StatusCode::UPGRADE_REQUIRED, "upgradeRequired", detail).into_response();
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static(protocol));
    response
}

/// Switches protocols and counts the viewer while it is served.
fn view<F: Future<Output = ()> + Send + 'static>(
    api: &Api,
    request: HttpRequest,
    protocol: &'static str,
    serve: impl FnOnce(Viewer) -> F + Send + 'static,
) -> Response {
    let upgraded = hyper::upgrade::on(request);
    let requests = api.shared.requests.clone();
    tokio::spawn(async move {
        match upgraded.await {
            Ok(viewer) => {
                let _ = requests.send(Request::ViewerJoined).await;
                serve(TokioIo::new(viewer)).await;
                let _ = requests.send(Request::ViewerLeft).await;
            }
            Err(error) => tracing::debug!(%error, "a viewer left before it was connected"),
        }
    });
    (StatusCode::SWITCHING_PROTOCOLS, [(CONNECTION, "Upgrade"), (UPGRADE, protocol)]).into_response()
}

/// Copies both ways. Each side is read only as fast as the other takes it.
async fn relay(mut viewer: Viewer, mut display: UnixStream) {
    let copied = tokio::io::copy_bidirectional_with_sizes(&mut viewer, &mut display, VNC_BUFFER, VNC_BUFFER).await;
    if let Err(error) = copied {
        tracing::debug!(%error, "a viewer was cut off");
    }
}

fn wants_upgrade(headers: &HeaderMap, protocol: &str) -> bool {
    let has = |name, wanted: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|word| word.trim().eq_ignore_ascii_case(wanted)))
    };
    has(CONNECTION, "upgrade") && has(UPGRADE, protocol)
}

/// The file a request names, if it is a file and really inside the workspace, links followed.
fn file_in_workspace(home: &Path, relative: &str) -> Result<PathBuf, Problem> {
    let missing = || Problem::new(StatusCode::NOT_FOUND, "files.notFound", "There is no such file in the workspace.");
    let path = inner_path(relative)?;
    let home = home.canonicalize().map_err(|_| missing())?;
    let file = home.join(path).canonicalize().map_err(|_| missing())?;
    if !file.starts_with(&home) || !file.is_file() {
        return Err(missing());
    }
    Ok(file)
}

/// A path that stays below wherever it begins, links aside.
fn inner_path(relative: &str) -> Result<&Path, Problem> {
    let path = Path::new(relative);
    let stays = path.components().all(|part| matches!(part, Component::Normal(_)));
    if relative.is_empty() || relative.contains('\0') || !stays {
        let detail = "The path must be relative to the workspace, without `..`.";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, agent::problem::INVALID_PATH, detail));
    }
    Ok(path)
}

impl Api {
    fn usable(&self) -> Result<(), Problem> {
        if self.shared.status.borrow().phase == AgentPhase::Running {
            return Ok(());
        }
        Err(Problem::new(StatusCode::CONFLICT, "session.notReady", "GIMP is not ready; try again in a moment."))
    }

    async fn ask(&self, request: Request) -> Result<(), Problem> {
        self.shared.requests.send(request).await.map_err(|_| Problem::ending())
    }
}

/// An error answer, RFC 9457.
#[derive(Debug)]
struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: &'static str,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, detail: &'static str) -> Self {
        Self { status, code, detail }
    }

    fn ending() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "session.ending", "The session is ending.")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "code": self.code,
        });
        (self.status, [(CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
    }
}

/// A JSON body whose errors are problems too.
struct JsonBody<T>(T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: HttpRequest, state: &S) -> Result<Self, Problem> {
        let bytes = Bytes::from_request(request, state).await.map_err(|_| {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body.tooLarge", "The body has more than 16 KiB.")
        })?;
        serde_json::from_slice(&bytes).map(Self).map_err(|_| {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "body.invalid", "The body is not the JSON that is expected.")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_inside_the_workspace_are_opened() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let home = dir.path().join("home");
        std::fs::create_dir_all(home.join("a/b")).expect("creates");
        std::fs::write(home.join("a/b/photo 1.png"), b"x").expect("writes");
        std::fs::write(dir.path().join("secret"), b"x").expect("writes");
        std::os::unix::fs::symlink(dir.path().join("secret"), home.join("link")).expect("links");
        std::os::unix::fs::symlink("a/b/photo 1.png", home.join("inner")).expect("links");

        let code = |path: &str| file_in_workspace(&home, path).map_err(|problem| problem.code);
        assert!(code("a/b/photo 1.png").is_ok());
        assert!(code("inner").is_ok());
        for outside in ["link", "a", "missing"] {
            assert_eq!(code(outside), Err("files.notFound"), "{outside}");
        }
        for invalid in ["", "/etc/passwd", "../secret", "a/../../secret", "./a", "a\0b"] {
            assert_eq!(code(invalid), Err("files.invalidPath"), "{invalid:?}");
        }
    }

    #[test]
    fn upgrades_are_recognised_among_other_words() {
        let mut headers = HeaderMap::new();
        assert!(!wants_upgrade(&headers, agent::VNC_UPGRADE));
        headers.insert(CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("RFB"));
        assert!(wants_upgrade(&headers, agent::VNC_UPGRADE));
    }
}
