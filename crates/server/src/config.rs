//! Settings: flags over environment `GIMP_PLATFORM_*` over one TOML file over defaults.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Everything that can be set. Field names are the TOML keys; the environment's are the same in capitals.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Address of the one TCP port.
    pub listen: SocketAddr,
    /// Address of `/metrics`; none switches it off.
    pub metrics_listen: Option<SocketAddr>,
    /// Where workspaces, the embedded database and secrets live.
    pub data_dir: PathBuf,
    /// `sqlite:` or `postgres:` URL; none: SQLite in the data directory.
    pub database_url: Option<String>,
    /// URL people reach the platform at, without a trailing slash; none: derived from `listen` and `tls`.
    pub public_url: Option<String>,
    pub driver: DriverKind,
    /// Running sessions one user may have, 1..=16.
    pub sessions_per_user: u16,
    /// Sessions the machine runs at once; none: from its memory and cores.
    pub session_limit: Option<u16>,
    /// Minutes a session lives unless extended, 1..=10080.
    pub session_minutes: u32,
    /// Minutes without human input after which a session is ended, 0 = never.
    pub idle_minutes: u32,
    /// Minutes before an end at which the user is warned.
    pub warn_minutes: u32,
    /// Workspace quota of a new user, GiB.
    pub quota_gb: u32,
    /// Path of `gimp-session`; none: beside this program, then PATH.
    pub agent_path: Option<PathBuf>,
    /// First uid for sessions when the server runs as root.
    pub first_uid: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum DriverKind {
    Local,
    Fake,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            metrics_listen: Some(SocketAddr::from(([127, 0, 0, 1], 9090))),
            data_dir: PathBuf::from("/var/lib/gimp-platform"),
            database_url: None,
            public_url: None,
            driver: DriverKind::Local,
            sessions_per_user: 1,
            session_limit: None,
            session_minutes: 120,
            idle_minutes: 60,
            warn_minutes: 5,
            quota_gb: 20,
            agent_path: None,
            first_uid: 200_000,
        }
    }
}
