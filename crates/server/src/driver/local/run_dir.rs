//! `DATA/run/SESSION`: everything the driver knows about one session, so that a server that starts again finds it.
//!
//! What lies in `shared/` can be changed by the session at will: it is opened without following links and read only up
//! to a limit.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use protocol::agent::{AgentConfig, AgentStatus, paths};
use serde::{Deserialize, Serialize};

use super::super::QuotaMechanism;
use super::mounts;
use super::process::Process;
use crate::ids::{SessionId, UserId};

/// Upper bound for all that a session writes outside its workspace and memory: sockets, status, log. Bytes.
const RUN_BYTES: u64 = 32 * 1024 * 1024;
/// Largest `status.json` read, bytes.
const STATUS_LIMIT: u64 = 256 * 1024;
/// The log is emptied when it grows beyond this, bytes.
pub const LOG_LIMIT: u64 = 8 * 1024 * 1024;

/// `sandbox.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SandboxRecord {
    /// Pid 1 of the sandbox as this machine sees it. When it dies, the kernel kills all others.
    pub init: Process,
    /// The boot that `init` belongs to.
    pub boot_id: String,
    pub cgroups: Vec<PathBuf>,
    pub user: UserId,
    pub workspace: PathBuf,
    pub mechanism: QuotaMechanism,
    pub quota_bytes: u64,
}

impl SandboxRecord {
    pub fn alive(&self) -> io::Result<bool> {
        Ok(self.boot_id == boot_id()? && self.init.alive()?)
    }
}

/// Changes with every boot: start times are counted from it.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

#[derive(Debug, Clone)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    pub fn new(data_dir: &Path, session: SessionId) -> Self {
        Self { path: data_dir.join("run").join(session.to_string()) }
    }

    /// Sessions that have a run folder.
    pub fn list(data_dir: &Path) -> io::Result<Vec<SessionId>> {
        let mut sessions = vec![];
        let entries = match fs::read_dir(data_dir.join("run")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(sessions),
            entries => entries?,
        };
        for entry in entries {
            if let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
                sessions.push(SessionId(id));
            }
        }
        Ok(sessions)
    }

    /// Makes the folder. `owner` gets `shared/`; as root the whole is a small tmpfs, so that a session that writes
    /// without end to its log or `shared/` can't fill the disk.
    pub fn create(&self, owner: Option<(u32, u32)>) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.path)?;
        if owner.is_some() && mounts::at(&self.path)?.is_none() {
            mounts::tmpfs(&self.path, RUN_BYTES)?;
        }
        for folder in [self.shared(), self.etc()] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        fs::set_permissions(self.etc(), Permissions::from_mode(0o755))?;
        if let Some((uid, gid)) = owner {
            std::os::unix::fs::chown(self.shared(), Some(uid), Some(gid))?;
        }
        Ok(())
    }

    /// Removes the folder and what is mounted on it. Fine when it is gone.
    pub fn remove(&self) -> io::Result<()> {
        if mounts::at(&self.path)?.is_some() {
            mounts::detach(&self.path)?;
        }
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    pub fn exists(&self) -> bool {
        self.path.is_dir()
    }

    pub fn shared(&self) -> PathBuf {
        self.path.join("shared")
    }

    /// The made-up part of the sandbox's `/etc`.
    pub fn etc(&self) -> PathBuf {
        self.path.join("etc")
    }

    pub fn agent_socket(&self) -> PathBuf {
        self.shared().join(paths::AGENT_SOCKET)
    }

    pub fn media_socket(&self) -> PathBuf {
        self.shared().join(paths::MEDIA_SOCKET)
    }

    fn log_path(&self) -> PathBuf {
        self.path.join("agent.log")
    }

    /// Empty, for appending: emptied on the way (`trim_log`), it goes on at the start.
    pub fn new_log(&self) -> io::Result<File> {
        let log = OpenOptions::new().append(true).create(true).mode(0o600).open(self.log_path())?;
        log.set_len(0)?;
        Ok(log)
    }

    /// Empties a log that has grown beyond `LOG_LIMIT`.
    pub fn trim_log(&self) -> io::Result<()> {
        let log = match OpenOptions::new().write(true).open(self.log_path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            log => log?,
        };
        if log.metadata()?.len() > LOG_LIMIT {
            log.set_len(0)?;
        }
        Ok(())
    }

    /// The end of the log, for finding out why a start failed. May hold anything the session wrote.
    pub fn log_tail(&self) -> io::Result<String> {
        const TAIL: u64 = 2048;
        let mut log = File::open(self.log_path())?;
        let length = log.metadata()?.len();
        log.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = vec![];
        log.take(TAIL).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    pub fn write_record(&self, record: &SandboxRecord) -> anyhow::Result<()> {
        let path = self.record_path();
        let aside = path.with_extension("new");
        fs::write(&aside, serde_json::to_vec(record)?)?;
        fs::rename(aside, path)?;
        Ok(())
    }

    /// None: the session never got as far as having processes.
    pub fn record(&self) -> anyhow::Result<Option<SandboxRecord>> {
        let text = match fs::read(self.record_path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        serde_json::from_slice(&text).context("sandbox.json is damaged").map(Some)
    }

    fn record_path(&self) -> PathBuf {
        self.path.join("sandbox.json")
    }

    /// Configuration and token, the token last: an agent that finds none ends at once, so a sandbox that was left
    /// behind half made ends by itself.
    pub fn write_config(&self, config: &AgentConfig, token: &str, owner: Option<(u32, u32)>) -> anyhow::Result<()> {
        let shared = self.shared();
        for (name, mode, content) in [
            (paths::CONFIG_FILE, 0o400, serde_json::to_string(config)?),
            (paths::TOKEN_FILE, 0o400, format!("{token}\n")),
        ] {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(shared.join(name))?;
            if let Some((uid, gid)) = owner {
                rustix::fs::fchown(&file, Some(rustix::fs::Uid::from_raw(uid)), Some(rustix::fs::Gid::from_raw(gid)))?;
            }
            file.write_all(content.as_bytes())?;
        }
        Ok(())
    }

    /// The agent's last words, if it left any that make sense.
    pub fn last_status(&self) -> Option<AgentStatus> {
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(self.shared().join(paths::LAST_STATUS_FILE))
            .ok()?;
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        let mut bytes = vec![];
        file.take(STATUS_LIMIT).read_to_end(&mut bytes).ok()?;
        serde_json::from_slice(&bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_dir() -> (tempfile::TempDir, RunDir) {
        let data = tempfile::tempdir().expect("temporary folder");
        let run = RunDir::new(data.path(), SessionId::new());
        run.create(None).expect("creates");
        (data, run)
    }

    #[test]
    fn a_link_planted_by_the_session_is_not_followed() {
        let (data, run) = run_dir();
        let secret = data.path().join("secret");
        fs::write(&secret, "{}").expect("writes");
        std::os::unix::fs::symlink(&secret, run.shared().join(paths::LAST_STATUS_FILE)).expect("links");
        assert_eq!(run.last_status(), None);
    }

    #[test]
    fn a_pipe_planted_by_the_session_does_not_block() {
        let (_data, run) = run_dir();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            run.shared().join(paths::LAST_STATUS_FILE),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .expect("makes a pipe");
        assert_eq!(run.last_status(), None);
    }

    #[test]
    fn the_record_comes_back_and_belongs_to_its_boot() {
        let (_data, run) = run_dir();
        assert_eq!(run.record().expect("reads"), None);
        let record = SandboxRecord {
            init: Process::find(std::process::id().cast_signed()).expect("reads").expect("runs"),
            boot_id: boot_id().expect("reads"),
            cgroups: vec!["/a".into()],
            user: UserId::new(),
            workspace: "/b".into(),
            mechanism: QuotaMechanism::Image,
            quota_bytes: 1,
        };
        run.write_record(&record).expect("writes");
        let back = run.record().expect("reads").expect("is there");
        assert_eq!(back, record);
        assert!(back.alive().expect("reads"));
        assert!(!SandboxRecord { boot_id: "before".into(), ..back }.alive().expect("reads"));
    }

    #[test]
    fn a_log_that_grew_too_long_starts_again() {
        let (_data, run) = run_dir();
        let mut log = run.new_log().expect("creates");
        log.set_len(LOG_LIMIT + 1).expect("grows");
        run.trim_log().expect("trims");
        log.write_all(b"after").expect("appends");
        assert_eq!(run.log_tail().expect("reads"), "after");
    }

    #[test]
    fn removing_twice_is_fine() {
        let (data, run) = run_dir();
        assert_eq!(RunDir::list(data.path()).expect("lists").len(), 1);
        run.remove().expect("removes");
        run.remove().expect("is gone");
        assert_eq!(RunDir::list(data.path()).expect("lists"), vec![]);
    }
}
