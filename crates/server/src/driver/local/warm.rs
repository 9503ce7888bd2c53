//! Start-up caches that let GIMP start fast in a new workspace, made once by `gimp-session warm` in a sandbox. Sessions
//! start without them, too, some seconds slower.
//!
//! `DATA/warm/VERSION-KEY/`: the key changes with the programs and the processor that the caches are for.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use protocol::agent::paths;
use sha2::{Digest, Sha256};

use super::cgroup::{self, Limits};
use super::sandbox::{Output, Program, Sandbox, Shared};
use super::{Inner, Machine, find_program, sandbox};
use crate::ids::SessionId;

/// Longest first start of GIMP.
const LIMIT: Duration = Duration::from_secs(240);
const MEMORY: u64 = 2 << 30;
const OUT: &str = "/run/warm";
/// Folders that are not finished begin with this.
const UNFINISHED: &str = ".new-";

/// What the caches depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// None: GIMP or the agent is missing.
    pub fn current(agent: &Path) -> Option<Self> {
        let gimp = find_program("gimp")?;
        let mut hash = Sha256::new();
        for program in [gimp.as_path(), agent] {
            let metadata = fs::metadata(program).ok()?;
            hash.update(program.as_os_str().as_encoded_bytes());
            hash.update(metadata.len().to_le_bytes());
            hash.update(metadata.mtime().to_le_bytes());
        }
        // One processor stands for all.
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let first = processors.split("\n\n").next().unwrap_or_default();
        let kind = first
            .lines()
            .filter(|line| ["model name", "flags", "Features", "CPU part"].iter().any(|name| line.starts_with(name)));
        kind.for_each(|line| hash.update(line));
        let digest = hash.finalize();
        Some(Self(digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()))
    }

    /// The caches with this key, if they have been made.
    pub fn find(&self, data_dir: &Path) -> Option<PathBuf> {
        let entries = fs::read_dir(data_dir.join("warm")).ok()?;
        let mut folders = entries.flatten().map(|entry| entry.path());
        folders.find(|path| name(path).strip_suffix(&self.0).is_some_and(|version| version.ends_with('-')))
    }
}

/// Makes the caches if they are missing.
pub async fn make(inner: &Inner, machine: &Machine) -> anyhow::Result<()> {
    let agent = inner.agent_program()?;
    let key = Key::current(&agent).context("GIMP is not installed")?;
    let data_dir = &inner.options.data_dir;
    if key.find(data_dir).is_some() {
        return Ok(());
    }
    let warm = data_dir.join("warm");
    remove_others(&warm, |name| name.starts_with(UNFINISHED))?;
    let work = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(&warm)?;
    let identity = inner.identity(0)?;
    let folder = |name: &str, owned: bool| -> io::Result<PathBuf> {
        let path = work.path().join(name);
        fs::create_dir(&path)?;
        if owned && let Some((uid, gid)) = identity.owner() {
            std::os::unix::fs::chown(&path, Some(uid), Some(gid))?;
        }
        Ok(path)
    };
    let out = folder("out", true)?;
    let sandbox = Sandbox {
        bwrap: find_program("bwrap").context("bwrap is missing")?,
        identity,
        agent,
        warm: None,
        etc: folder("etc", false)?,
        shared: vec![
            Shared { outside: out.clone(), inside: OUT },
            Shared { outside: folder("home", true)?, inside: paths::HOME },
            Shared { outside: folder("run", true)?, inside: paths::RUN_DIR },
        ],
        memory_bytes: MEMORY,
        address_space: None,
    };
    sandbox.write_etc(uuid::Uuid::nil())?;
    let log = fs::File::create(work.path().join("log"))?;
    let output = Output { stdout: log.try_clone()?.into(), stderr: Stdio::from(log) };
    let limits = Limits { memory_bytes: MEMORY, cpu_millis: 2000, tasks: sandbox::TASKS };
    let groups = Groups(machine.cgroups.create(SessionId::new(), &limits)?);
    let waiting = sandbox.spawn(&Program::Errand(&["warm", "--attended", "--out", OUT]), output).await?;
    cgroup::join(&groups.0, waiting.init.pid)?;
    let ended = waiting.run_to_end(LIMIT).await?;
    drop(groups);
    if !ended.success() {
        let log = fs::read_to_string(work.path().join("log")).unwrap_or_default();
        anyhow::bail!("gimp-session warm ended with {ended}: {}", log.trim());
    }
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(out.join("manifest.json"))?)?;
    let version = manifest["gimpVersion"].as_str().filter(|version| is_plain(version)).context("no GIMP version")?;
    publish(&out)?;
    let finished = format!("{version}-{}", key.0);
    fs::rename(&out, warm.join(&finished))?;
    // Sessions that run have copied theirs at their start.
    remove_others(&warm, |name| !name.starts_with(UNFINISHED) && name != finished)?;
    Ok(())
}

/// Removed also when the making is cut off.
struct Groups(Vec<PathBuf>);

impl Drop for Groups {
    fn drop(&mut self) {
        for group in &self.0 {
            if let Err(error) = cgroup::remove(group) {
                tracing::warn!(%error, group = %group.display(), "a control group is left over");
            }
        }
    }
}

/// Root's, and readable for all: every session gets it.
fn publish(path: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    let mode = if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            publish(&entry?.path())?;
        }
        0o755
    } else if metadata.is_file() {
        0o644
    } else {
        return Err(io::Error::other("only files and folders belong into the caches"));
    };
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(path, Some(0), Some(0))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

fn remove_others(warm: &Path, other: impl Fn(&str) -> bool) -> io::Result<()> {
    for entry in fs::read_dir(warm)? {
        let path = entry?.path();
        if other(&name(&path)) {
            fs::remove_dir_all(path)?;
        }
    }
    Ok(())
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Fit for a file name.
fn is_plain(version: &str) -> bool {
    !version.is_empty() && version.len() < 32 && version.chars().all(|c| c.is_ascii_alphanumeric() || c == '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_agent_needs_other_caches() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let agent = folder.path().join("agent");
        fs::write(&agent, "1").expect("writes");
        let first = Key::current(&agent).expect("GIMP is installed where the tests run");
        assert_eq!(Key::current(&agent), Some(first.clone()));
        fs::write(&agent, "longer").expect("writes");
        assert_ne!(Key::current(&agent), Some(first));
    }

    #[test]
    fn only_finished_caches_with_the_key_are_found() {
        let data = tempfile::tempdir().expect("temporary folder");
        let key = Key("abc".into());
        for name in [".new-abc1", "2.10.34-abd", "xabc"] {
            fs::create_dir_all(data.path().join("warm").join(name)).expect("creates");
        }
        assert_eq!(key.find(data.path()), None);
        fs::create_dir(data.path().join("warm/2.10.34-abc")).expect("creates");
        assert_eq!(key.find(data.path()), Some(data.path().join("warm/2.10.34-abc")));
    }
}
