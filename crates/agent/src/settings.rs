//! Where things are and what the driver asked for. Read once at start.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use protocol::agent::{AgentConfig, paths};

/// Shortest token accepted, characters.
const MIN_TOKEN: usize = 32;
/// Largest configuration file read, bytes.
const MAX_CONFIG: u64 = 64 * 1024;

/// Folders of one session.
#[derive(Debug, Clone)]
pub struct Folders {
    /// Private run folder: sockets, X authority, configuration, logs.
    pub run: PathBuf,
    /// The workspace.
    pub home: PathBuf,
    /// Start-up caches made by `gimp-session warm`; may be absent.
    pub warm: PathBuf,
}

impl Folders {
    pub fn run_file(&self, name: &str) -> PathBuf {
        self.run.join(name)
    }
}

/// Where the API listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

impl std::str::FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        if text.starts_with('/') {
            return Ok(Self::Unix(text.into()));
        }
        text.parse().map(Self::Tcp).map_err(|_| {
            format!("`{text}` is neither an absolute path of a Unix socket nor ADDRESS:PORT, e.g. 0.0.0.0:7800")
        })
    }
}

/// Reads and checks `config.json`.
pub fn read_config(folders: &Folders) -> anyhow::Result<AgentConfig> {
    let path = folders.run_file(paths::CONFIG_FILE);
    let text = read_bounded(&path)?;
    let config: AgentConfig =
        serde_json::from_str(&text).with_context(|| format!("{} is not a valid configuration", path.display()))?;
    if config.cpus == 0 {
        bail!("{}: cpus is 0, must be at least 1", path.display());
    }
    if !config.copies.are_allowed() {
        bail!("{}: copies are to be made at times that are not allowed", path.display());
    }
    Ok(config)
}

/// Reads the agent's token and removes the file, so that nothing started later can read it.
pub fn take_token(folders: &Folders) -> anyhow::Result<String> {
    let path = folders.run_file(paths::TOKEN_FILE);
    let token = read_bounded(&path)?.trim().to_owned();
    if token.len() < MIN_TOKEN {
        bail!("{} holds {} characters, must be at least {MIN_TOKEN}", path.display(), token.len());
    }
    std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    Ok(token)
}

fn read_bounded(path: &Path) -> anyhow::Result<String> {
    let size = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    if size > MAX_CONFIG {
        bail!("{} has {size} bytes, more than {MAX_CONFIG}", path.display());
    }
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_takes_socket_paths_and_addresses() {
        assert_eq!("/run/x/agent.sock".parse(), Ok(Listen::Unix("/run/x/agent.sock".into())));
        assert_eq!("unix:a.sock".parse(), Ok(Listen::Unix("a.sock".into())));
        assert_eq!("127.0.0.1:7800".parse(), Ok(Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 7800)))));
        assert!("7800".parse::<Listen>().is_err());
    }

    #[test]
    fn the_token_is_read_once() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let folders = Folders { run: dir.path().into(), home: dir.path().into(), warm: dir.path().into() };
        std::fs::write(dir.path().join(paths::TOKEN_FILE), format!("{}\n", "t".repeat(40))).expect("writes");
        assert_eq!(take_token(&folders).expect("reads"), "t".repeat(40));
        assert!(take_token(&folders).is_err());
    }
}
