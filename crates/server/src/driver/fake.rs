//! A driver whose agents live in this process and whose GIMP is pretended: for API tests, UI work and load tests.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use protocol::session::StartStep;
use tokio::io::DuplexStream;

use super::agent_client::{AgentClient, Endpoint};
use super::{Presence, QuotaMechanism, StartError, StartRequest, Workspace};
use crate::ids::{SessionId, UserId};

/// Connects to a fake agent.
#[derive(Clone)]
pub struct Dial(Arc<Mutex<HashMap<SessionId, ()>>>, SessionId);

impl Dial {
    pub(super) fn connect(&self) -> std::io::Result<DuplexStream> {
        Err(std::io::ErrorKind::ConnectionRefused.into())
    }
}

#[derive(Default)]
pub struct FakeDriver {
    sessions: Arc<Mutex<HashMap<SessionId, ()>>>,
    root: PathBuf,
}

impl FakeDriver {
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root, ..Self::default() }
    }

    pub(super) async fn start(
        &self,
        _request: &StartRequest,
        _progress: &(dyn Fn(StartStep) + Send + Sync),
    ) -> Result<(), StartError> {
        Err(StartError::Unsupported("not yet".into()))
    }

    pub(super) fn agent(&self, session: SessionId) -> AgentClient {
        AgentClient { endpoint: Endpoint::Memory(Dial(self.sessions.clone(), session)), token: String::new() }
    }

    pub(super) fn presence(&self, _session: SessionId) -> Presence {
        Presence::Gone { last_status: None }
    }

    pub(super) fn list(&self) -> Vec<SessionId> {
        vec![]
    }

    pub(super) fn remove(&self, _session: SessionId) {}

    pub(super) async fn workspace(&self, user: UserId, _quota_bytes: u64) -> Result<Workspace, StartError> {
        let path = self.root.join(user.to_string());
        std::fs::create_dir_all(&path).map_err(|error| StartError::Internal(error.into()))?;
        Ok(Workspace { path, owner: None, mechanism: QuotaMechanism::Watcher })
    }
}
