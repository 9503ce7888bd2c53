//! A pretended agent: the API of `protocol::agent`, and levers for tests.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, Json, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use protocol::agent::{
    self, AgentPhase, AgentStatus, Capabilities, Document, EndRequest, MediaOffer, OpenRequest, Restart, StepTiming,
    Supervised, WritesRequest,
};
use protocol::media::Remote;
use protocol::session::{EndReason, EndStage, ScreenSize, StartStep};
use time::format_description::well_known::Rfc3339;
use tokio::io::DuplexStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{Behaviour, documents, media, pause, rfb, stream};
use crate::driver::StartRequest;
use crate::driver::seqpacket::Seqpacket;
use crate::error::Problem;

/// Bytes in flight on one connection, each way.
const PIPE: usize = 64 * 1024;

/// The agent of one session, without a sandbox.
pub struct FakeAgent {
    token: String,
    workspace: PathBuf,
    behaviour: Behaviour,
    said: watch::Sender<Said>,
    screen: watch::Sender<ScreenSize>,
    started: Instant,
    heard: Mutex<Heard>,
    /// The gateway's newest connection for datagrams.
    media: Mutex<Weak<Seqpacket>>,
    /// The program: cut, nobody answers.
    program: CancellationToken,
    /// The whole sandbox.
    sandbox: CancellationToken,
}

/// What the agent tells whoever listens.
#[derive(Clone)]
struct Said {
    status: AgentStatus,
    /// Sent in place of the status.
    nonsense: Option<String>,
    answers: bool,
}

/// What the agent was told.
struct Heard {
    /// Input that long before `since`.
    idle: Duration,
    since: Instant,
    opened: Vec<OpenRequest>,
    writes_allowed: bool,
    busy: bool,
    idle_questions: u32,
    unanswered: u32,
    /// Of the stream opened last.
    media: Option<MediaOffer>,
}

impl FakeAgent {
    pub(super) fn start(
        request: &StartRequest,
        workspace: PathBuf,
        token: String,
        behaviour: Behaviour,
        sandbox: CancellationToken,
    ) -> Arc<Self> {
        let status = AgentStatus {
            protocol_version: protocol::PROTOCOL_VERSION,
            session_id: request.session.0,
            phase: AgentPhase::Starting { step: StartStep::StartingDisplay },
            idle_ms: 0,
            viewers: 0,
            screen: request.screen,
            gimp_version: None,
            capabilities: Capabilities {
                vnc: true,
                resize: true,
                open_files: true,
                pen_unavailable: Some("This GIMP is pretended.".into()),
                documents_unavailable: None,
            },
            restarts: vec![],
            timings: vec![],
            documents: None,
            unattended: false,
        };
        let now = Instant::now();
        let agent = Arc::new(Self {
            token,
            workspace,
            behaviour,
            said: watch::Sender::new(Said { status, nonsense: None, answers: true }),
            screen: watch::Sender::new(request.screen),
            started: now,
            heard: Mutex::new(Heard {
                idle: Duration::ZERO,
                since: now,
                opened: vec![],
                writes_allowed: true,
                busy: false,
                idle_questions: 0,
                unanswered: 0,
                media: None,
            }),
            media: Mutex::default(),
            program: sandbox.child_token(),
            sandbox,
        });
        agent.spawn(agent.clone().come_up());
        agent
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }

    pub(super) fn is_present(&self) -> bool {
        !self.sandbox.is_cancelled()
    }

    /// A new connection, if the program runs.
    pub(super) fn connect(self: &Arc<Self>, api: Router) -> Option<DuplexStream> {
        if self.program.is_cancelled() {
            return None;
        }
        let (ours, theirs) = tokio::io::duplex(PIPE);
        let agent = self.clone();
        let service = hyper::service::service_fn(move |mut request: Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(agent.clone());
            api.clone().oneshot(request)
        });
        self.spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(ours), service);
            let _closed = connection.with_upgrades().await;
        });
        Some(theirs)
    }

    /// The gateway's newest connection for datagrams, which are sent back.
    pub(super) fn connect_media(self: &Arc<Self>) -> std::io::Result<Seqpacket> {
        if self.program.is_cancelled() {
            return Err(std::io::ErrorKind::ConnectionRefused.into());
        }
        let (ours, theirs) = Seqpacket::pair()?;
        let ours = Arc::new(ours);
        *self.media.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&ours);
        self.spawn(media::serve(ours));
        Ok(theirs)
    }

    /// Sends a datagram to whatever end, rightly or not.
    ///
    /// # Errors
    /// When the gateway has not connected, or does not keep up.
    pub fn send_media(&self, to: Remote, datagram: &[u8]) -> std::io::Result<()> {
        let socket = self.media.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        media::say(&*socket.ok_or(std::io::ErrorKind::NotConnected)?, to, datagram)
    }

    /// What it was told of WebRTC with the stream opened last.
    #[must_use]
    pub fn media_offer(&self) -> Option<MediaOffer> {
        self.heard().media.clone()
    }

    /// What it would answer now.
    #[must_use]
    pub fn status(&self) -> AgentStatus {
        let heard = self.heard();
        let idle_ms = u64::try_from((heard.idle + heard.since.elapsed()).as_millis()).unwrap_or(u64::MAX);
        AgentStatus { idle_ms, ..self.said.borrow().status.clone() }
    }

    /// The last human input was so long ago.
    pub fn set_idle(&self, idle: Duration) {
        let mut heard = self.heard();
        heard.idle = idle;
        heard.since = Instant::now();
    }

    /// How often it was asked for its status.
    #[must_use]
    pub fn idle_questions(&self) -> u32 {
        self.heard().idle_questions
    }

    /// How many calls it took while it hung.
    #[must_use]
    pub fn unanswered(&self) -> u32 {
        self.heard().unanswered
    }

    /// What it was asked to open.
    #[must_use]
    pub fn opened(&self) -> Vec<OpenRequest> {
        self.heard().opened.clone()
    }

    #[must_use]
    pub fn writes_allowed(&self) -> bool {
        self.heard().writes_allowed
    }

    /// The agent's program dies; the rest of the sandbox stays.
    pub fn kill_agent(&self) {
        self.program.cancel();
    }

    /// Everything in the sandbox dies.
    pub fn kill_sandbox(&self) {
        self.sandbox.cancel();
    }

    /// Takes calls from now on and answers none.
    pub fn hang(&self) {
        self.said.send_modify(|said| said.answers = false);
    }

    /// Says this line in place of its state from now on.
    pub fn talk_nonsense(&self, line: &str) {
        self.said.send_modify(|said| said.nonsense = Some(line.to_owned()));
    }

    /// GIMP dies and is brought back.
    pub fn restart_gimp(&self, cause: &str) {
        self.change(|status| {
            status.phase = AgentPhase::Restarting;
            status.restarts.push(Restart {
                at: time::OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default(),
                what: Supervised::Gimp,
                cause: cause.to_owned(),
            });
        });
    }

    /// GIMP has these open.
    pub fn set_documents(&self, documents: Vec<Document>) {
        self.change(|status| status.documents = Some(documents));
    }

    /// GIMP does not get round to anything from now on.
    pub fn set_busy(&self, busy: bool) {
        self.heard().busy = busy;
    }

    pub(super) fn is_busy(&self) -> bool {
        self.heard().busy
    }

    pub(super) fn workspace(&self) -> &std::path::Path {
        &self.workspace
    }

    /// What GIMP has open, changed by `change`.
    pub(super) fn change_documents(&self, change: impl FnOnce(&mut Vec<Document>)) {
        self.change(|status| change(status.documents.get_or_insert_default()));
    }

    /// GIMP is back.
    pub fn restarted_gimp(&self) {
        self.change(|status| status.phase = AgentPhase::Running);
    }

    /// Ends by itself: the user quit GIMP, or it crashed too often.
    pub fn end_by_itself(self: &Arc<Self>, reason: EndReason) {
        self.spawn(self.clone().go_down(reason));
    }

    async fn come_up(self: Arc<Self>) {
        for step in [StartStep::StartingDisplay, StartStep::StartingGimp, StartStep::Ready] {
            let at_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.change(|status| {
                status.phase = AgentPhase::Starting { step };
                status.timings.push(StepTiming { step, at_ms });
            });
            if self.behaviour.hang_in_step == Some(step) {
                return;
            }
            pause(self.behaviour.step).await;
            if matches!(self.said.borrow().status.phase, AgentPhase::Ending { .. } | AgentPhase::Ended { .. }) {
                return;
            }
        }
        self.change(|status| {
            status.phase = AgentPhase::Running;
            status.gimp_version = Some("2.10.34".into());
        });
    }

    async fn go_down(self: Arc<Self>, reason: EndReason) {
        for &stage in EndStage::ALL {
            self.change(|status| status.phase = AgentPhase::Ending { reason, stage });
            if self.behaviour.hang_in_stage == Some(stage) {
                return;
            }
            pause(self.behaviour.stage).await;
        }
        self.change(|status| status.phase = AgentPhase::Ended { reason });
        self.sandbox.cancel();
    }

    fn change(&self, change: impl FnOnce(&mut AgentStatus)) {
        self.said.send_modify(|said| change(&mut said.status));
    }

    fn heard(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs while the program does.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let program = self.program.clone();
        tokio::spawn(async move { program.run_until_cancelled_owned(task).await });
    }

    pub(super) fn ready(&self) -> Result<(), Problem> {
        match self.said.borrow().status.phase {
            AgentPhase::Running => Ok(()),
            _ => Err(Problem::new(StatusCode::CONFLICT, "notReady", "GIMP is not ready yet.")),
        }
    }
}

pub(super) type Agent = Extension<Arc<FakeAgent>>;

/// The API of all fake agents; each request carries its agent as an extension.
pub(super) fn router() -> Router {
    Router::new()
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
        .route(agent::STREAM_PATH, get(picture_stream))
        .layer(middleware::from_fn(admit))
}

async fn admit(Extension(agent): Agent, request: Request, next: Next) -> Response {
    let bearer = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if bearer.and_then(|value| value.strip_prefix("Bearer ")) != Some(agent.token()) {
        return Problem::new(StatusCode::UNAUTHORIZED, "token", "Wrong token.").into_response();
    }
    if !agent.said.borrow().answers {
        agent.heard().unanswered += 1;
        return std::future::pending().await;
    }
    next.run(request).await
}

async fn status(Extension(agent): Agent) -> Json<AgentStatus> {
    agent.heard().idle_questions += 1;
    Json(agent.status())
}

async fn events(Extension(agent): Agent) -> Response {
    let mut said = agent.said.subscribe();
    said.mark_changed();
    let lines = futures::stream::unfold((agent, said), |(agent, mut said)| async {
        said.changed().await.ok()?;
        let nonsense = said.borrow_and_update().nonsense.clone();
        let mut line = match nonsense {
            Some(line) => line,
            None => serde_json::to_string(&agent.status()).ok()?,
        };
        line.push('\n');
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(line)), (agent, said)))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

async fn screen(Extension(agent): Agent, Json(asked): Json<ScreenSize>) -> Json<ScreenSize> {
    let (wide, high) = asked.turned((3840, 2160));
    let size = ScreenSize {
        width: asked.width.clamp(320, wide),
        height: asked.height.clamp(240, high),
        scale: asked.scale.clamp(0.5, 4.0),
    };
    agent.change(|status| status.screen = size);
    agent.screen.send_replace(size);
    Json(size)
}

async fn open(Extension(agent): Agent, Json(request): Json<OpenRequest>) -> Result<StatusCode, Problem> {
    agent.ready()?;
    if !agent.workspace.join(&request.path).is_file() {
        return Err(Problem::new(StatusCode::NOT_FOUND, agent::problem::FILE_NOT_FOUND, "There is no such file."));
    }
    agent.heard().opened.push(request);
    Ok(StatusCode::NO_CONTENT)
}

async fn writes(Extension(agent): Agent, Json(request): Json<WritesRequest>) -> StatusCode {
    agent.heard().writes_allowed = request.allowed;
    StatusCode::NO_CONTENT
}

async fn end(Extension(agent): Agent, Json(request): Json<EndRequest>) -> StatusCode {
    let ending = matches!(agent.said.borrow().status.phase, AgentPhase::Ending { .. } | AgentPhase::Ended { .. });
    if !ending {
        agent.change(|status| {
            status.phase = AgentPhase::Ending { reason: request.reason, stage: EndStage::Save };
        });
        agent.spawn(agent.clone().go_down(request.reason));
    }
    StatusCode::ACCEPTED
}

async fn vnc(Extension(agent): Agent, request: Request) -> Result<Response, Problem> {
    upgrade(&agent.clone(), request, agent::VNC_UPGRADE, async move |stream| {
        let _closed = rfb::serve(stream, agent.screen.subscribe(), || agent.set_idle(Duration::ZERO)).await;
    })
}

async fn picture_stream(Extension(agent): Agent, request: Request) -> Result<Response, Problem> {
    let offer = request.headers().get(agent::MEDIA_HEADER).and_then(|value| value.to_str().ok());
    agent.heard().media = offer.and_then(MediaOffer::from_header);
    upgrade(&agent.clone(), request, agent::STREAM_UPGRADE, async move |stream| {
        let _closed = stream::serve(stream, agent.screen.subscribe(), || agent.set_idle(Duration::ZERO)).await;
    })
}

/// Hands the connection to `serve`, as a viewer's.
fn upgrade<F>(
    agent: &Arc<FakeAgent>,
    mut request: Request,
    protocol: &'static str,
    serve: impl FnOnce(TokioIo<Upgraded>) -> F + Send + 'static,
) -> Result<Response, Problem>
where
    F: Future<Output = ()> + Send,
{
    agent.ready()?;
    let upgrade = hyper::upgrade::on(&mut request);
    agent.spawn({
        let agent = agent.clone();
        async move {
            let Ok(upgraded) = upgrade.await else { return };
            let _viewer = Viewer::new(&agent);
            serve(TokioIo::new(upgraded)).await;
        }
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static(protocol));
    Ok(response)
}

/// Counts as a viewer while it lives.
struct Viewer<'a>(&'a FakeAgent);

impl<'a> Viewer<'a> {
    fn new(agent: &'a FakeAgent) -> Self {
        agent.change(|status| status.viewers += 1);
        Self(agent)
    }
}

impl Drop for Viewer<'_> {
    fn drop(&mut self) {
        self.0.change(|status| status.viewers -= 1);
    }
}
