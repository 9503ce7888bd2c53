//! A driver whose agents live in this process and whose GIMP is pretended: for API tests, UI work and load tests. Its
//! agents speak the whole API of `protocol::agent` over in-memory pipes, so the rest of the server can't tell.
//!
//! Its sessions die with the process; clones share them, so a test can restart the server around them.

mod agent;
mod documents;
mod media;
mod rfb;
mod stream;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use protocol::session::{EndStage, StartStep};
use tokio::io::DuplexStream;
use tokio_util::sync::CancellationToken;

use super::agent_client::{AgentClient, Endpoint};
use super::seqpacket::Seqpacket;
use super::{MediaEndpoint, Presence, QuotaMechanism, StartError, StartRequest, Workspace};
use crate::auth::token;
use crate::ids::{SessionId, UserId};
pub use agent::FakeAgent;

/// How the sessions behave that are started from now on.
#[derive(Debug, Clone, Default)]
pub struct Behaviour {
    /// Each step of a start takes so long.
    pub step: Duration,
    /// Each stage of an end takes so long.
    pub stage: Duration,
    /// Starts never get beyond this step.
    pub hang_in_step: Option<StartStep>,
    /// Ends never get beyond this stage.
    pub hang_in_stage: Option<EndStage>,
    pub refuse: Option<Refuse>,
    /// So many attempts to remove a session fail.
    pub failing_removals: u32,
}

/// How a start fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refuse {
    NoRoom,
    Unsupported,
    Internal,
}

#[derive(Clone)]
pub struct FakeDriver {
    shared: Arc<Shared>,
    root: PathBuf,
    /// This server's own way to the agents is cut.
    cut: Arc<AtomicBool>,
}

struct Shared {
    sandboxes: Mutex<HashMap<SessionId, Sandbox>>,
    behaviour: Mutex<Behaviour>,
    api: Router,
}

/// Dropping it ends all its tasks.
struct Sandbox {
    agent: Arc<FakeAgent>,
    _stop: tokio_util::sync::DropGuard,
}

impl FakeDriver {
    /// Keeps workspaces under `data_dir`.
    #[must_use]
    pub fn new(data_dir: &Path) -> Self {
        let shared = Shared { sandboxes: Mutex::default(), behaviour: Mutex::default(), api: agent::router() };
        Self { shared: Arc::new(shared), root: data_dir.join("workspaces"), cut: Arc::default() }
    }

    /// For another server: the same sessions, by a way of its own.
    #[must_use]
    pub fn beside(&self) -> Self {
        Self { cut: Arc::default(), ..self.clone() }
    }

    /// From now on this server reaches no agent, while it sees that they are there.
    pub fn cut_off(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    /// Changes how sessions behave that are started from now on.
    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.shared.behaviour.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The pretended agent of a session, to make things happen to it.
    #[must_use]
    pub fn session(&self, session: SessionId) -> Option<Arc<FakeAgent>> {
        self.sandboxes().get(&session).map(|sandbox| sandbox.agent.clone())
    }

    pub(super) async fn start(
        &self,
        request: &StartRequest,
        progress: &(dyn Fn(StartStep) + Send + Sync),
    ) -> Result<(), StartError> {
        let behaviour = self.shared.behaviour.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match behaviour.refuse {
            Some(Refuse::NoRoom) => {
                return Err(StartError::NoRoom(
                    "The machine has no memory left for a session. Try again later.".into(),
                ));
            }
            Some(Refuse::Unsupported) => {
                return Err(StartError::Unsupported("GIMP is not installed on the server.".into()));
            }
            Some(Refuse::Internal) => return Err(StartError::Internal(anyhow::anyhow!("pretended"))),
            None => {}
        }
        progress(StartStep::CreatingWorkspace);
        let workspace = self.workspace(request.user, request.quota_bytes).await?;
        pause(behaviour.step).await;
        if behaviour.hang_in_step == Some(StartStep::CreatingWorkspace) {
            return std::future::pending().await;
        }
        progress(StartStep::StartingDisplay);
        let token = token::generate().map_err(|error| StartError::Internal(error.into()))?;
        let mut sandboxes = self.sandboxes();
        if sandboxes.contains_key(&request.session) {
            return Ok(());
        }
        let stop = CancellationToken::new();
        let agent = FakeAgent::start(request, workspace.path, token, behaviour, stop.clone());
        sandboxes.insert(request.session, Sandbox { agent, _stop: stop.drop_guard() });
        Ok(())
    }

    pub(super) fn agent(&self, session: SessionId) -> AgentClient {
        let token = self.session(session).map(|agent| agent.token().to_owned()).unwrap_or_default();
        AgentClient { endpoint: Endpoint::Memory(self.dial(session)), token }
    }

    pub(super) fn media(&self, session: SessionId) -> MediaEndpoint {
        MediaEndpoint::Memory(self.dial(session))
    }

    fn dial(&self, session: SessionId) -> Dial {
        Dial { shared: self.shared.clone(), session, cut: self.cut.clone() }
    }

    pub(crate) fn presence(&self, session: SessionId) -> Presence {
        match self.session(session) {
            Some(agent) if agent.is_present() => Presence::Present,
            Some(agent) => Presence::Gone { last_status: Some(Box::new(agent.status())), lost: None },
            None => Presence::Gone { last_status: None, lost: None },
        }
    }

    pub(crate) fn list(&self) -> Vec<SessionId> {
        self.sandboxes().keys().copied().collect()
    }

    pub(super) fn remove(&self, session: SessionId) -> anyhow::Result<()> {
        let mut behaviour = self.shared.behaviour.lock().unwrap_or_else(PoisonError::into_inner);
        if behaviour.failing_removals > 0 {
            behaviour.failing_removals -= 1;
            anyhow::bail!("pretended");
        }
        drop(behaviour);
        self.sandboxes().remove(&session);
        Ok(())
    }

    pub(super) async fn workspace(&self, user: UserId, _quota_bytes: u64) -> Result<Workspace, StartError> {
        let path = self.root.join(user.to_string());
        tokio::fs::create_dir_all(&path).await.map_err(|error| StartError::Internal(error.into()))?;
        Ok(Workspace { path, owner: None, mechanism: QuotaMechanism::Watcher })
    }

    fn sandboxes(&self) -> std::sync::MutexGuard<'_, HashMap<SessionId, Sandbox>> {
        self.shared.sandboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connects to a fake agent.
#[derive(Clone)]
pub struct Dial {
    shared: Arc<Shared>,
    session: SessionId,
    cut: Arc<AtomicBool>,
}

impl Dial {
    pub(super) fn connect(&self) -> std::io::Result<DuplexStream> {
        let agent = self.agent().and_then(|agent| agent.connect(self.shared.api.clone()));
        agent.ok_or(std::io::ErrorKind::ConnectionRefused.into())
    }

    pub(super) fn connect_media(&self) -> std::io::Result<Seqpacket> {
        self.agent().ok_or(std::io::ErrorKind::ConnectionRefused)?.connect_media()
    }

    fn agent(&self) -> Option<Arc<FakeAgent>> {
        let sandboxes = self.shared.sandboxes.lock().unwrap_or_else(PoisonError::into_inner);
        let reached = !self.cut.load(Ordering::Relaxed);
        sandboxes.get(&self.session).filter(|_| reached).map(|sandbox| sandbox.agent.clone())
    }
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}
