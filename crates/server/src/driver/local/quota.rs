//! Users' workspaces on disk and how each is kept within its quota.
//!
//! The mechanism is chosen once per machine and recorded per user by what exists: whoever has an image keeps it, whoever
//! has a plain folder with something in it keeps that. No call moves or removes a user's files.

pub mod image;
pub mod project;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;

use super::super::{QuotaMechanism, StartError, Workspace};
use super::mounts;
use crate::ids::UserId;
use crate::tree;
use project::ProjectQuota;

/// What the machine can do about quotas, found by trying.
#[derive(Debug, Clone)]
pub struct QuotaChoice {
    /// For workspaces that have none yet.
    pub mechanism: QuotaMechanism,
    /// In words, for `doctor`.
    pub detail: String,
    /// Project quota, when it proved to work.
    pub project: Option<ProjectQuota>,
}

impl QuotaChoice {
    /// Tries the mechanisms from the best down, unless one is wanted. Blocks for up to a second.
    ///
    /// # Errors
    /// When the wanted one does not work here, in words that say why.
    pub fn probe(data_dir: &Path, root: bool, wanted: Option<QuotaMechanism>) -> Result<Self, String> {
        match wanted {
            Some(QuotaMechanism::ProjectQuota) => Self::project(data_dir, root),
            Some(QuotaMechanism::Image) => Self::image(data_dir, root),
            Some(QuotaMechanism::Watcher) => Ok(Self::watcher("measured on a timer, as configured".into())),
            None => {
                let no_project = match Self::project(data_dir, root) {
                    Ok(choice) => return Ok(choice),
                    Err(why) => why,
                };
                let no_image = match Self::image(data_dir, root) {
                    Ok(choice) => return Ok(choice),
                    Err(why) => why,
                };
                Ok(Self::watcher(format!(
                    "measured on a timer, so a session can exceed it for some seconds. Project quota: {no_project}. \
                     Image: {no_image}"
                )))
            }
        }
    }

    fn project(data_dir: &Path, root: bool) -> Result<Self, String> {
        let project = ProjectQuota::probe(data_dir, root)?;
        let detail = "project quota of the data directory's file system".into();
        Ok(Self { mechanism: QuotaMechanism::ProjectQuota, detail, project: Some(project) })
    }

    fn image(data_dir: &Path, root: bool) -> Result<Self, String> {
        image::probe(data_dir, root)?;
        let detail = "a sparse ext4 image per user, mounted on a loop device".into();
        Ok(Self { mechanism: QuotaMechanism::Image, detail, project: None })
    }

    const fn watcher(detail: String) -> Self {
        Self { mechanism: QuotaMechanism::Watcher, detail, project: None }
    }
}

/// All workspaces of one data folder.
#[derive(Debug)]
pub struct Workspaces {
    data_dir: PathBuf,
    choice: QuotaChoice,
    /// One call at a time per user: an image must not be made twice at once.
    busy: Mutex<HashMap<UserId, Arc<tokio::sync::Mutex<Limited>>>>,
}

/// The project quota, bytes, that this process has set for a user: setting it walks through all files.
type Limited = Option<u64>;

impl Workspaces {
    pub fn new(data_dir: PathBuf, choice: QuotaChoice) -> Self {
        Self { data_dir, choice, busy: Mutex::default() }
    }

    /// Makes, mounts and limits the user's workspace as far as that has not been done. `owner`: None when the server
    /// is not root.
    pub async fn open(
        &self,
        user: UserId,
        owner: Option<(u32, u32)>,
        quota_bytes: u64,
    ) -> Result<Workspace, StartError> {
        let lock = self.busy.lock().unwrap_or_else(PoisonError::into_inner).entry(user).or_default().clone();
        let limited = lock.lock_owned().await;
        let request = Request {
            limited,
            folder: self.folder(user),
            image: self.image(user),
            owner,
            quota_bytes,
            choice: self.choice.clone(),
        };
        tokio::task::spawn_blocking(move || request.open()).await.map_err(|error| StartError::Internal(error.into()))?
    }

    /// Unmounts the images that nothing uses; the rest stay. For a planned end of the server. `in_use`: those of living
    /// sessions, whose own mounts would not make this one busy.
    pub fn release(&self, in_use: &[PathBuf]) -> io::Result<()> {
        let entries = match fs::read_dir(self.data_dir.join("workspaces")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let point = entry?.path();
            if !in_use.contains(&point) && mounts::at(&point)?.is_some() && !mounts::release(&point)? {
                tracing::debug!(workspace = %point.display(), "still in use, stays mounted");
            }
        }
        Ok(())
    }

    fn folder(&self, user: UserId) -> PathBuf {
        self.data_dir.join("workspaces").join(user.to_string())
    }

    fn image(&self, user: UserId) -> PathBuf {
        self.data_dir.join("images").join(format!("{user}.img"))
    }
}

/// One `Workspaces::open`, off the async threads.
struct Request {
    folder: PathBuf,
    image: PathBuf,
    owner: Option<(u32, u32)>,
    quota_bytes: u64,
    choice: QuotaChoice,
    limited: tokio::sync::OwnedMutexGuard<Limited>,
}

impl Request {
    fn open(mut self) -> Result<Workspace, StartError> {
        make_folder(&self.folder).map_err(disk)?;
        let mechanism = self.mechanism().map_err(disk)?;
        match mechanism {
            QuotaMechanism::Image => self.open_image()?,
            QuotaMechanism::ProjectQuota => {
                self.own_plain_folder().map_err(disk)?;
                let project = self.choice.project.as_ref().context("no project quota").map_err(StartError::Internal)?;
                let (uid, _) = self.owner.context("project quota without root").map_err(StartError::Internal)?;
                if *self.limited != Some(self.quota_bytes) {
                    project.limit(&self.folder, uid, self.quota_bytes).map_err(StartError::Internal)?;
                    *self.limited = Some(self.quota_bytes);
                }
            }
            QuotaMechanism::Watcher => self.own_plain_folder().map_err(disk)?,
        }
        Ok(Workspace { path: self.folder, owner: self.owner, mechanism })
    }

    /// What the user has, else what the machine chose.
    fn mechanism(&self) -> io::Result<QuotaMechanism> {
        if self.image.exists() || mounts::at(&self.folder)?.is_some() {
            return Ok(QuotaMechanism::Image);
        }
        let plain = if self.choice.project.is_some() { QuotaMechanism::ProjectQuota } else { QuotaMechanism::Watcher };
        let empty = fs::read_dir(&self.folder)?.next().is_none();
        Ok(if empty { self.choice.mechanism } else { plain })
    }

    fn open_image(&self) -> Result<(), StartError> {
        let Some(owner) = self.owner else {
            return Err(StartError::Unsupported(
                "This workspace is kept in a disk image that only a server running as root can open. Ask your \
                 administrator to start the server as root again."
                    .into(),
            ));
        };
        let folder = self.image.parent().context("an image has a folder").map_err(StartError::Internal)?;
        make_folder(folder).map_err(disk)?;
        image::open(&self.image, &self.folder, owner, self.quota_bytes).map_err(|error| match error {
            image::ImageError::NoRoom => StartError::NoRoom(
                "The server's disk is too full to open the workspace. Try again later or tell your administrator."
                    .into(),
            ),
            image::ImageError::Damaged => StartError::Unsupported(
                "The workspace's disk image needs a repair that can't be done automatically. Nothing was changed. Ask \
                 your administrator to run e2fsck on it."
                    .into(),
            ),
            image::ImageError::Other(error) => StartError::Internal(error),
        })
    }

    /// A plain folder and all in it belong to the user's uid, also after the server changed between root and ordinary
    /// user or its first uid. The folder itself comes last: as long as it has not changed, the rest is done again.
    fn own_plain_folder(&self) -> io::Result<()> {
        if let Some((uid, gid)) = self.owner {
            let now = fs::metadata(&self.folder)?;
            if (now.uid(), now.gid()) != (uid, gid) {
                own_all(&self.folder, uid, gid)?;
            }
        }
        fs::set_permissions(&self.folder, fs::Permissions::from_mode(0o700))
    }
}

/// The top comes last: as long as it has not changed, all is done again.
fn own_all(top: &Path, uid: u32, gid: u32) -> io::Result<()> {
    let (user, group) = (Some(rustix::fs::Uid::from_raw(uid)), Some(rustix::fs::Gid::from_raw(gid)));
    let complete = tree::visit(tree::open(top)?, tree::MAX_ENTRIES, |entry| {
        match rustix::fs::chownat(entry.folder, entry.name, user, group, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
            Err(rustix::io::Errno::NOENT) => Ok(()),
            result => Ok(result?),
        }
    })?;
    if !complete {
        tracing::warn!("a workspace is nested too deep to give all of it to its user");
    }
    std::os::unix::fs::lchown(top, Some(uid), Some(gid))
}

fn make_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn disk(error: io::Error) -> StartError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            StartError::NoRoom("The server's disk is full. Try again later or tell your administrator.".into())
        }
        _ => StartError::Internal(anyhow::Error::from(error).context("workspace")),
    }
}

/// Bytes that a workspace uses. Cheap for an image; a walk over all files otherwise.
pub fn used_bytes(folder: &Path, mechanism: QuotaMechanism) -> io::Result<u64> {
    match mechanism {
        QuotaMechanism::Image => {
            let stat = rustix::fs::statvfs(folder)?;
            Ok(stat.f_blocks.saturating_sub(stat.f_bfree).saturating_mul(stat.f_frsize))
        }
        QuotaMechanism::ProjectQuota | QuotaMechanism::Watcher => walk(folder),
    }
}

/// What files occupy on the disk. Without bound when not all can be seen: nothing may be hidden from the quota.
pub fn walk(folder: &Path) -> io::Result<u64> {
    let (bytes, complete) = tree::disk_usage(tree::open(folder)?, tree::MAX_ENTRIES);
    Ok(if complete { bytes } else { u64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(data: &Path) -> Workspaces {
        let choice = QuotaChoice::probe(data, false, Some(QuotaMechanism::Watcher)).expect("always there");
        Workspaces::new(data.to_owned(), choice)
    }

    #[tokio::test]
    async fn a_folder_with_content_is_never_hidden_by_an_image() {
        let data = tempfile::tempdir().expect("temporary folder");
        let user = UserId::new();
        let workspace = watched(data.path()).open(user, None, 1 << 20).await.expect("opens");
        fs::write(workspace.path.join("drawing.xcf"), "x").expect("writes");
        let choice = QuotaChoice { mechanism: QuotaMechanism::Image, detail: String::new(), project: None };
        let again = Workspaces::new(data.path().to_owned(), choice).open(user, None, 1 << 20).await.expect("opens");
        assert_eq!(again.mechanism, QuotaMechanism::Watcher);
        assert!(again.path.join("drawing.xcf").exists());
    }

    #[tokio::test]
    async fn workspaces_are_private() {
        let data = tempfile::tempdir().expect("temporary folder");
        let workspace = watched(data.path()).open(UserId::new(), None, 1 << 20).await.expect("opens");
        assert_eq!(fs::metadata(&workspace.path).expect("exists").permissions().mode() & 0o777, 0o700);
    }
}
