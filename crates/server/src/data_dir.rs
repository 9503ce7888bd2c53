//! The data directory's layout and rights. See "On disk" in `docs/architecture.md`.

use std::fs::{self, Permissions};
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

fn folder(path: &Path, mode: u32) -> anyhow::Result<()> {
    fs::create_dir_all(path).and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode))).with_context(|| {
        format!("the folder {} can't be used; make it writable or choose another data_dir", path.display())
    })
}
