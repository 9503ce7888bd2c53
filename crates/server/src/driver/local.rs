//! Sessions as sandboxed processes on this machine.

use protocol::session::StartStep;

use super::agent_client::{AgentClient, Endpoint};
use super::{Presence, Protection, StartError, StartRequest, Workspace};
use crate::config::Settings;
use crate::ids::{SessionId, UserId};

pub struct LocalDriver {
    root: std::path::PathBuf,
}

impl LocalDriver {
    /// # Errors
    /// When the machine can't run it at all.
    pub fn new(settings: &Settings) -> anyhow::Result<Self> {
        Ok(Self { root: settings.data_dir.clone() })
    }

    pub(super) async fn prepare(&self) -> anyhow::Result<()> {
        Ok(())
    }

    pub(super) async fn start(
        &self,
        _request: &StartRequest,
        _progress: &(dyn Fn(StartStep) + Send + Sync),
    ) -> Result<(), StartError> {
        Err(StartError::Unsupported("not yet".into()))
    }

    pub(super) fn agent(&self, session: SessionId) -> AgentClient {
        AgentClient { endpoint: Endpoint::Unix(self.root.join(session.to_string())), token: String::new() }
    }

    pub(super) async fn presence(&self, _session: SessionId) -> anyhow::Result<Presence> {
        Ok(Presence::Gone { last_status: None })
    }

    pub(super) async fn list(&self) -> anyhow::Result<Vec<SessionId>> {
        Ok(vec![])
    }

    pub(super) async fn remove(&self, _session: SessionId) -> anyhow::Result<()> {
        Ok(())
    }

    pub(super) fn capacity(&self) -> u16 {
        0
    }

    pub(super) fn protections(&self) -> Vec<Protection> {
        vec![]
    }

    pub(super) async fn workspace(&self, _user: UserId, _uid: u32, _quota: u64) -> Result<Workspace, StartError> {
        Err(StartError::Unsupported("not yet".into()))
    }
}
