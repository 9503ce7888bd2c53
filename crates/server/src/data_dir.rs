//! The data directory's layout and rights. See "On disk" in `docs/architecture.md`.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use anyhow::Context;

use crate::config::Settings;

/// What only the server may read: database, keys, certificate.
pub const PRIVATE: &str = "private";

/// Makes what is missing and sets the rights of what is there. Safe to repeat.
///
/// # Errors
/// When a folder can't be made or is not ours.
pub fn prepare(data_dir: &Path) -> anyhow::Result<()> {
    // Sessions of other uids must get through to what is theirs, and no further.
    let outer = if rustix::process::geteuid().is_root() { 0o711 } else { 0o700 };
    folder(data_dir, outer)?;
    folder(&data_dir.join(PRIVATE), 0o700)?;
    ["workspaces", "run", "warm"].iter().try_for_each(|name| folder(&data_dir.join(name), outer))
}

/// Held while a server serves from the data directory: two would write the same sessions, and a migration would change
/// the database under it. The kernel lets go of it however its holder ends.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "closing a file unlocks it")] Vec<File>);

/// Of the data directory, and of an SQLite database elsewhere.
///
/// # Errors
/// When somebody has one of them.
pub fn lock(settings: &Settings) -> anyhow::Result<Lock> {
    let mut locks = vec![locked(
        &settings.private_dir().join("lock"),
        &format!("a server is running on {}; end it first, or choose another data_dir", settings.data_dir.display()),
    )?];
    if let Some(database) = settings.sqlite_path() {
        let mut path = database.clone().into_os_string();
        path.push(".lock");
        let taken = format!(
            "another server is running on the database {}. Several servers need PostgreSQL: end the other, or give this one a \
             database of its own",
            database.display()
        );
        locks.push(locked(Path::new(&path), &taken)?);
    }
    Ok(Lock(locks))
}

fn locked(path: &Path, taken: &str) -> anyhow::Result<File> {
    let file = File::create(path).with_context(|| format!("{} can't be made", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => anyhow::bail!("{taken}"),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("{} can't be locked", path.display())),
    }
}

fn folder(path: &Path, mode: u32) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(mode).create(path);
    made.and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode))).with_context(|| {
        format!("the folder {} can't be used; make it writable or choose another data_dir", path.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_those_of_the_architecture_and_come_back() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let data = folder.path().join("a/data");
        let outer = if rustix::process::geteuid().is_root() { 0o711 } else { 0o700 };
        for _ in 0..2 {
            prepare(&data).expect("prepares");
            for (name, mode) in [("", outer), (PRIVATE, 0o700), ("workspaces", outer), ("run", outer), ("warm", outer)]
            {
                let path = data.join(name);
                assert_eq!(fs::metadata(&path).expect("is there").permissions().mode() & 0o777, mode, "{name}");
                fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("changes");
            }
        }
    }
}
