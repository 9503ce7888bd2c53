//! How sessions are started, reached, watched and stopped. An enum of drivers, so that every caller handles what each
//! can do; `fake` is shipped: API tests, UI work and load tests run on it.
//!
//! A driver keeps nothing in memory that it can't find again: any call may be the first after a restart. Every call is
//! safe to repeat.

pub mod agent_client;
mod agent_key;
pub mod fake;
pub mod kubernetes;
pub mod local;
pub mod seqpacket;

use std::io;
use std::path::PathBuf;

use protocol::agent::{AgentStatus, paths};
use protocol::session::{EndReason, HistoryLimits, ScreenSize, StartStep};

use crate::config::{DriverKind, Settings};
use crate::ids::{SessionId, UserId};
use agent_client::AgentClient;
pub use agent_key::AgentKey;
use seqpacket::Seqpacket;

/// What programs of a session find in their environment.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("HOME", paths::HOME),
    ("LANG", "C.UTF-8"),
    ("LOGNAME", "gimp"),
    ("PATH", "/usr/local/bin:/usr/bin:/bin"),
    ("SHELL", "/bin/sh"),
    ("TMPDIR", "/tmp"),
    ("USER", "gimp"),
    ("XDG_CONFIG_DIRS", "/etc/xdg"),
    ("XDG_DATA_DIRS", "/usr/local/share:/usr/share"),
    ("XDG_RUNTIME_DIR", paths::RUN_DIR),
];

/// Largest screen, device pixels; a standing one may be as high as others are wide.
const MAX_SCREEN: (u16, u16) = (3840, 2160);

pub enum Driver {
    Local(local::LocalDriver),
    Kubernetes(kubernetes::KubernetesDriver),
    Fake(fake::FakeDriver),
}

/// What a session needs to start.
#[derive(Debug, Clone)]
pub struct StartRequest {
    pub session: SessionId,
    pub user: UserId,
    /// The user's own uid offset (see `users.uid_offset`); drivers that run as root add it to `first_uid`.
    pub uid_offset: u32,
    pub screen: ScreenSize,
    /// CPU limit in thousandths of a core.
    pub cpu_millis: u32,
    /// Memory limit in bytes.
    pub memory_bytes: u64,
    /// Workspace quota in bytes.
    pub quota_bytes: u64,
    pub history: HistoryLimits,
}

/// Why a start failed, in words a user understands; the cause is for the log.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Worth another try later: no memory, no loop device, disk full.
    #[error("{0}")]
    NoRoom(String),
    /// The machine lacks something; `gimp-platform doctor` says what.
    #[error("{0}")]
    Unsupported(String),
    #[error("the session could not be started")]
    Internal(#[source] anyhow::Error),
}

/// Why there is no way to a user's files.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    #[error(
        "Your files can be reached while a session runs, in GIMP itself; the file panel is not available on this \
         installation yet."
    )]
    Elsewhere,
    #[error(transparent)]
    Driver(#[from] StartError),
}

/// What a driver knows about a session's processes without asking the agent.
#[derive(Debug, Clone, PartialEq)]
pub enum Presence {
    /// Its processes exist.
    Present,
    /// On its way, but nothing runs yet. Starting it again waits for it, and says what is in its way.
    Underway,
    /// Gone. The agent's last words, if it left any, and what else is known of its end.
    Gone { last_status: Option<Box<AgentStatus>>, lost: Option<Lost> },
}

/// What took a session away, where it was neither its agent nor this server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    pub reason: EndReason,
    /// For people.
    pub detail: String,
}

/// One protection of the machine, for `doctor` and the admin page.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Protection {
    /// e.g. "separate uids", "memory limit", "disk quota", "no network", "system call filter".
    pub name: &'static str,
    pub on: bool,
    /// By what mechanism, or why not and how to get it.
    pub detail: String,
}

impl Driver {
    /// The driver the settings ask for.
    ///
    /// # Errors
    /// When the machine can't run it at all.
    pub fn new(settings: &Settings) -> anyhow::Result<Self> {
        Ok(match settings.driver {
            DriverKind::Local => Self::Local(local::LocalDriver::new(settings)?),
            DriverKind::Kubernetes => Self::Kubernetes(kubernetes::KubernetesDriver::new(settings)?),
            DriverKind::Fake => Self::Fake(fake::FakeDriver::new(&settings.data_dir)),
        })
    }

    /// Once after start: makes start-up caches, checks the machine. Sessions started meanwhile wait for it.
    pub async fn prepare(&self) -> anyhow::Result<()> {
        match self {
            Self::Local(driver) => driver.prepare().await,
            Self::Kubernetes(driver) => driver.prepare().await,
            Self::Fake(_) => Ok(()),
        }
    }

    /// Starts the sandbox and returns once the agent's socket answers. `progress` is told of each step reached; the
    /// agent's own status carries on from there.
    /// Dropped at any await when a session is given up; `remove` then clears up whatever there is.
    pub async fn start(
        &self,
        request: &StartRequest,
        progress: &(dyn Fn(StartStep) + Send + Sync),
    ) -> Result<(), StartError> {
        match self {
            Self::Local(driver) => driver.start(request, progress).await,
            Self::Kubernetes(driver) => driver.start(request, progress).await,
            Self::Fake(driver) => driver.start(request, progress).await,
        }
    }

    /// How to reach the session's agent. Does not check that it lives.
    pub fn agent(&self, session: SessionId) -> AgentClient {
        match self {
            Self::Local(driver) => driver.agent(session),
            Self::Kubernetes(driver) => driver.agent(session),
            Self::Fake(driver) => driver.agent(session),
        }
    }

    /// Where the session's agent takes datagrams of WebRTC; None: nowhere. Does not check that it lives.
    pub fn media(&self, session: SessionId) -> Option<MediaEndpoint> {
        match self {
            Self::Local(driver) => Some(driver.media(session)),
            // Datagrams have no way into a pod yet: its picture comes over the WebSocket.
            Self::Kubernetes(_) => None,
            Self::Fake(driver) => Some(driver.media(session)),
        }
    }

    pub async fn presence(&self, session: SessionId) -> anyhow::Result<Presence> {
        match self {
            Self::Local(driver) => driver.presence(session).await,
            Self::Kubernetes(driver) => driver.presence(session).await,
            Self::Fake(driver) => Ok(driver.presence(session)),
        }
    }

    /// Every session with anything left on this machine, rows or not: reconcile removes what has no row.
    pub async fn list(&self) -> anyhow::Result<Vec<SessionId>> {
        match self {
            Self::Local(driver) => driver.list().await,
            Self::Kubernetes(driver) => driver.list().await,
            Self::Fake(driver) => Ok(driver.list()),
        }
    }

    /// Kills whatever is left and removes the run folder. The workspace stays. Only after a planned end or when the
    /// agent is gone: GIMP gets a last chance to write its copies (bounded wait) before the kill.
    pub async fn remove(&self, session: SessionId) -> anyhow::Result<()> {
        match self {
            Self::Local(driver) => driver.remove(session).await,
            Self::Kubernetes(driver) => driver.remove(session).await,
            Self::Fake(driver) => driver.remove(session),
        }
    }

    /// Lets go of what no running session needs, after the last call before a planned end of the server.
    pub async fn release(&self) -> anyhow::Result<()> {
        match self {
            Self::Local(driver) => driver.release_workspaces().await,
            Self::Kubernetes(_) | Self::Fake(_) => Ok(()),
        }
    }

    /// How many sessions of the default size the machine can run.
    pub fn capacity(&self) -> u16 {
        match self {
            Self::Local(driver) => driver.capacity(),
            // The cluster decides by its quota and its machines, and says so at the start.
            Self::Kubernetes(_) | Self::Fake(_) => 10_000,
        }
    }

    pub fn protections(&self) -> Vec<Protection> {
        match self {
            Self::Local(driver) => driver.protections(),
            Self::Kubernetes(driver) => driver.protections(),
            Self::Fake(_) => vec![],
        }
    }

    /// Whether this machine has the workspaces at all.
    #[must_use]
    pub const fn has_workspaces(&self) -> bool {
        match self {
            Self::Local(_) | Self::Fake(_) => true,
            Self::Kubernetes(_) => false,
        }
    }

    /// Where workspaces are mounted. `workspace` opens them only through here so that mount and quota are in place.
    ///
    /// # Errors
    /// When the workspace can't be made or mounted, or is not on this machine; the message is safe for users.
    pub async fn workspace(
        &self,
        user: UserId,
        uid_offset: u32,
        quota_bytes: u64,
    ) -> Result<Workspace, WorkspaceError> {
        match self {
            Self::Local(driver) => Ok(driver.workspace(user, uid_offset, quota_bytes).await?),
            Self::Kubernetes(_) => Err(WorkspaceError::Elsewhere),
            Self::Fake(driver) => Ok(driver.workspace(user, quota_bytes).await?),
        }
    }
}

/// Where an agent takes datagrams, see `protocol::media`.
#[derive(Clone)]
pub enum MediaEndpoint {
    Unix(PathBuf),
    /// The fake driver's agents live in this process.
    Memory(fake::Dial),
}

impl MediaEndpoint {
    /// Does not wait.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn dial(&self) -> io::Result<Seqpacket> {
        match self {
            Self::Unix(path) => Seqpacket::dial(path),
            Self::Memory(dial) => dial.connect_media(),
        }
    }
}

/// A user's workspace on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    pub path: PathBuf,
    /// Whom new files must belong to; None: whoever the server runs as.
    pub owner: Option<(u32, u32)>,
    pub mechanism: QuotaMechanism,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum QuotaMechanism {
    /// The file system's project quota.
    ProjectQuota,
    /// A sparse image of its own, loop-mounted.
    Image,
    /// Measured on a timer; writes are stopped when it is exceeded.
    Watcher,
}
