//! Looking around and tidying up: listing, new folders, renaming.

use super::entry::{Entry, EntryKind};
use super::error::FileError;
use super::folder::Folder;
use super::path::{self, WorkspacePath};
use super::{Workspace, history};
use serde::Serialize;
use utoipa::ToSchema;

/// Most entries of one listing.
pub const MAX_ENTRIES: usize = 10_000;

/// What is in a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Listing {
    /// The folder; empty for the workspace itself.
    pub path: String,
    /// Folders first, then by name without regard to case.
    pub entries: Vec<Entry>,
    /// There is more than the 10 000 entries listed.
    pub truncated: bool,
}

impl Workspace {
    /// What is in a folder. `hidden`: also names that start with a dot.
    pub async fn list(&self, path: WorkspacePath, hidden: bool) -> Result<Listing, FileError> {
        self.with_root(move |root| list(root, &path, hidden)).await
    }

    pub async fn create_folder(&self, path: WorkspacePath) -> Result<Entry, FileError> {
        self.with_root(move |root| {
            let (parent, name) = new_place(root, &path)?;
            let folder = parent.create_folder(name)?;
            parent.sync()?;
            Ok(Entry::new(&path, name, &folder.own_stat()?))
        })
        .await
    }

    /// Renames or moves a file or folder. Never replaces anything.
    pub async fn rename(&self, from: WorkspacePath, to: WorkspacePath) -> Result<Entry, FileError> {
        self.with_root(move |root| {
            let (from_parent, from_name) = place(root, &from)?;
            let (to_parent, to_name) = new_place(root, &to)?;
            from_parent.rename_new(from_name, &to_parent, to_name)?;
            from_parent.sync()?;
            to_parent.sync()?;
            if let Err(error) = history::follow(root, &from, &to) {
                tracing::warn!(%error, "versions stay under the old name of a file");
            }
            Ok(Entry::new(&to, to_name, &to_parent.stat(to_name)?))
        })
        .await
    }
}

/// The folder that holds an existing file or folder.
pub(super) fn place<'a>(root: &Folder, path: &'a WorkspacePath) -> Result<(Folder, &'a path::Name), FileError> {
    let (parents, name) = path.split_names()?;
    // A parent that is a file or link has nothing in it.
    let parent = root.descend(parents).map_err(|error| match error {
        FileError::NotFolder | FileError::Special => FileError::NotFound,
        other => other,
    })?;
    Ok((parent, name))
}

/// The folder in which something new is to be made.
pub(super) fn new_place<'a>(root: &Folder, path: &'a WorkspacePath) -> Result<(Folder, &'a path::Name), FileError> {
    let (parents, name) = path.split_names()?;
    name.check_new()?;
    let parent = root.descend(parents).map_err(|error| match error {
        FileError::NotFound | FileError::NotFolder | FileError::Special => FileError::NoFolder,
        other => other,
    })?;
    Ok((parent, name))
}

fn list(root: &Folder, path: &WorkspacePath, hidden: bool) -> Result<Listing, FileError> {
    let folder = root.descend(path.names())?;
    let mut names = Vec::new();
    let mut truncated = false;
    for name in folder.names()? {
        let name = name?;
        if !hidden && name.is_hidden() || path.is_root() && path::is_reserved(&name) {
            continue;
        }
        if names.len() == MAX_ENTRIES {
            truncated = true;
            break;
        }
        names.push(name);
    }
    let mut entries: Vec<Entry> = names
        .into_iter()
        .filter_map(|name| {
            // Gone meanwhile, or too deep to be named.
            let stat = folder.stat(&name).ok()?;
            Some(Entry::new(&path.join(name.clone()).ok()?, &name, &stat))
        })
        .collect();
    entries
        .sort_by_cached_key(|entry| (entry.kind != EntryKind::Folder, entry.name.to_lowercase(), entry.path.clone()));
    Ok(Listing { path: path.to_string(), entries, truncated })
}
