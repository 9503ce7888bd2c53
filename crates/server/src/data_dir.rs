//! The data directory's layout and rights. See "On disk" in `docs/architecture.md`.

use std::fs::{self, File, Permissions, TryLockError};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context;

use crate::config::Settings;

/// Makes what is missing and sets the rights of what is there. Safe to repeat.
///
/// # Errors
/// When a folder can't be made or is not ours.
pub fn prepare(settings: &Settings) -> anyhow::Result<()> {
    // Sessions of other uids must get through to their workspaces, and no further.
    let outer = if rustix::process::geteuid().is_root() { 0o711 } else { 0o700 };
    let data = &settings.data_dir;
    folder(data, outer)?;
    folder(&settings.private_dir(), 0o700)?;
    folder(&data.join("workspaces"), outer)?;
    folder(&data.join("run"), outer)
}

/// Held while a server serves from the data directory: two would write the same sessions. The kernel lets go of it
/// however the server ends.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "closing the file unlocks it")] File);

/// # Errors
/// When another server has it.
pub fn lock(settings: &Settings) -> anyhow::Result<Lock> {
    let path = settings.private_dir().join("lock");
    let file = File::create(&path).with_context(|| format!("{} can't be made", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => anyhow::bail!(
            "another server is running on {}; end it, or give this one another data_dir",
            settings.data_dir.display()
        ),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("{} can't be locked", path.display())),
    }
}

fn folder(path: &Path, mode: u32) -> anyhow::Result<()> {
    fs::create_dir_all(path).and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode))).with_context(|| {
        format!("the folder {} can't be used; make it writable or choose another data_dir", path.display())
    })
}
