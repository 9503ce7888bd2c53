//! In a pod: what the driver has for the agent comes in a folder that can't be written to, and what the agent says last
//! goes to a file that outlives the run folder.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use protocol::agent::paths;

use crate::settings::Folders;

/// Largest file handed over, bytes. A container's last words may have no more than 4096.
const LIMIT: u64 = 64 * 1024;
const LAST_WORDS_LIMIT: usize = 4096;

#[derive(Debug, Args)]
pub struct UnpackOptions {
    /// Folder with config.json and token; only read.
    #[arg(long, default_value = paths::HANDOVER_DIR)]
    from: PathBuf,
    /// The run folder of the session to come.
    #[arg(long, env = "GIMP_SESSION_RUN_DIR", default_value = paths::RUN_DIR)]
    run_dir: PathBuf,
}

/// Copies configuration and token to where `run` takes them. Safe to repeat before the session runs.
pub fn unpack(options: &UnpackOptions) -> anyhow::Result<()> {
    for name in [paths::CONFIG_FILE, paths::TOKEN_FILE] {
        let (from, to) = (options.from.join(name), options.run_dir.join(name));
        let content = read(&from).with_context(|| format!("cannot read {}", from.display()))?;
        write(&to, &content).with_context(|| format!("cannot write {}", to.display()))?;
    }
    Ok(())
}

/// Copies the last status to a file that is there and can't be replaced: a container's termination message.
pub fn leave_last_words(folders: &Folders, to: &Path) -> io::Result<()> {
    let status = read(&folders.run_file(paths::LAST_STATUS_FILE))?;
    if status.len() > LAST_WORDS_LIMIT {
        return Err(io::Error::other(format!("they have {} bytes, more than {LAST_WORDS_LIMIT}", status.len())));
    }
    OpenOptions::new().write(true).create(true).truncate(true).open(to)?.write_all(&status)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = vec![];
    fs::File::open(path)?.take(LIMIT + 1).read_to_end(&mut content)?;
    if content.len() as u64 > LIMIT {
        return Err(io::Error::other(format!("it has more than {LIMIT} bytes")));
    }
    Ok(content)
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o400).open(path)?.write_all(content)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_handed_over_is_where_the_agent_takes_it_and_closed_to_others() {
        let (from, run) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let options = UnpackOptions { from: from.path().into(), run_dir: run.path().into() };
        assert!(unpack(&options).is_err(), "nothing is there");
        // As in a mounted secret: names are links.
        fs::write(from.path().join("data"), "t".repeat(43)).expect("writes");
        std::os::unix::fs::symlink("data", from.path().join(paths::TOKEN_FILE)).expect("links");
        fs::write(from.path().join(paths::CONFIG_FILE), "{}").expect("writes");
        unpack(&options).expect("unpacks");
        unpack(&options).expect("once more");
        let token = run.path().join(paths::TOKEN_FILE);
        assert!(!fs::symlink_metadata(&token).expect("is there").is_symlink());
        assert_eq!(fs::metadata(&token).expect("is there").permissions().mode() & 0o777, 0o400);
        let folders = Folders { run: run.path().into(), home: run.path().into(), warm: run.path().into() };
        assert_eq!(crate::settings::take_token(&folders).expect("takes it"), "t".repeat(43));
        assert!(!token.exists(), "and removes it");
    }

    #[test]
    fn last_words_fill_a_file_that_is_there() {
        let run = tempfile::tempdir().expect("a folder");
        let folders = Folders { run: run.path().into(), home: run.path().into(), warm: run.path().into() };
        let words = run.path().join("termination-log");
        fs::write(&words, "x".repeat(100)).expect("writes");
        assert!(leave_last_words(&folders, &words).is_err(), "there are none");
        fs::write(folders.run_file(paths::LAST_STATUS_FILE), r#"{"phase":"ended"}"#).expect("writes");
        leave_last_words(&folders, &words).expect("writes them");
        assert_eq!(fs::read_to_string(&words).expect("reads"), r#"{"phase":"ended"}"#);
        fs::write(folders.run_file(paths::LAST_STATUS_FILE), "x".repeat(5000)).expect("writes");
        assert!(leave_last_words(&folders, &words).is_err(), "cut, they would make no sense");
    }
}
