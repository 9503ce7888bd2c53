//! Deleted files stay for thirty days.
//!
//! `TRASH_DIR/<id>` is what was deleted, beside `<id>.json` that says where it was. The note is written first, so that
//! a crash leaves at worst a note without a file. On a full disk, where no note fits, it is `<id>~<name>`, and the id tells when: deleting has
//! to work there above all. What is deleted for good goes through `TRASH_DIR/.purge`, which is
//! emptied step by step and again after a crash.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::{Uuid, Version};

use super::browse::place;
use super::entry::{self, Entry, EntryKind};
use super::error::FileError;
use super::folder::Folder;
use super::path::{MAX_NAME, Name, WorkspacePath};
use super::{Workspace, trash_folder};
use crate::tree;

/// How long deleted files are kept.
pub const KEPT: time::Duration = time::Duration::days(30);
/// Most entries listed.
const MAX_ENTRIES: usize = 10_000;
/// Most entries that one request deletes.
const MAX_AT_ONCE: usize = 100_000;
/// Largest note, bytes: two escaped paths would fit.
const MAX_NOTE: u64 = 16 * 1024;
/// How long one request empties folders; the rest goes with the next.
const PURGE_TIME: Duration = Duration::from_secs(5);
pub(super) const PURGE: &str = ".purge";
/// Characters of an id.
const ID_LENGTH: usize = 36;

/// Something deleted that can still be restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrashEntry {
    pub id: Uuid,
    /// For people, like an entry's.
    pub name: String,
    /// Where restoring puts it, if nothing else is there by then.
    pub original_path: String,
    #[serde(with = "time::serde::rfc3339")]
    pub deleted_at: OffsetDateTime,
    /// Bytes; of a folder what its files took on the disk.
    pub size: u64,
    pub kind: EntryKind,
}

/// The file beside a deleted one. In the session's hands: nothing in it is trusted.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Note {
    original_path: String,
    #[serde(with = "time::serde::rfc3339")]
    deleted_at: OffsetDateTime,
    #[serde(default)]
    size: u64,
}

impl Workspace {
    /// Moves a file or folder to the trash.
    pub async fn trash(&self, path: WorkspacePath) -> Result<(), FileError> {
        let now = self.all.0.clock.now();
        self.with_root(move |root| {
            let (parent, name) = place(root, &path)?;
            put(root, &parent, name, &path, now)
        })
        .await
    }

    /// Newest first.
    pub async fn trash_entries(&self) -> Result<Vec<TrashEntry>, FileError> {
        self.with_root(|root| {
            let trash = trash_folder(root)?;
            let mut entries: Vec<_> =
                ids(&trash)?.take(MAX_ENTRIES).filter_map(|id| Some(describe(&trash, id.ok()?).ok()?.0)).collect();
            entries.sort_by_key(|entry| std::cmp::Reverse((entry.deleted_at, entry.id)));
            Ok(entries)
        })
        .await
    }

    /// Puts something back where it was, under another name if that is taken, at the top if its folder became
    /// something else.
    pub async fn restore(&self, id: Uuid) -> Result<Entry, FileError> {
        self.with_root(move |root| {
            let trash = trash_folder(root)?;
            let (_, path) = describe(&trash, id)?;
            let (parents, name) = path.split_names()?;
            let (parents, folder) = match ensure_parents(root, parents)? {
                Some(folder) => (parents, folder),
                None => (&[][..], root.descend(&[])?),
            };
            let stored = stored_name(&trash, id)?;
            let name = free_name(name, "restored", |name| trash.rename_new(&stored, &folder, name))?;
            let _ = trash.remove_file(&note_name(id)?);
            folder.sync()?;
            let path = WorkspacePath::from_names([parents, std::slice::from_ref(&name)].concat())?;
            Ok(Entry::new(&path, &name, &folder.stat(&name)?))
        })
        .await
    }

    /// Deletes one entry for good.
    pub async fn trash_delete(&self, id: Uuid) -> Result<(), FileError> {
        let finished = self
            .with_root(move |root| {
                let trash = trash_folder(root)?;
                discard(&trash, id)?;
                purge(&trash)
            })
            .await?;
        self.purged(finished).await
    }

    /// Deletes everything in the trash for good.
    pub async fn trash_empty(&self) -> Result<(), FileError> {
        self.trash_purge(None).await
    }

    /// Deletes for good what was deleted before a time; everything for None.
    pub(super) async fn trash_purge(&self, before: Option<OffsetDateTime>) -> Result<(), FileError> {
        let finished = self
            .with_root(move |root| {
                let trash = trash_folder(root)?;
                let ids = ids(&trash)?.take(MAX_AT_ONCE).collect::<Result<Vec<_>, _>>()?;
                for id in ids {
                    let due = before
                        .is_none_or(|before| describe(&trash, id).is_ok_and(|(entry, _)| entry.deleted_at < before));
                    if due && !matches!(discard(&trash, id), Ok(()) | Err(FileError::NotInTrash)) {
                        tracing::warn!(%id, "a deleted file can't be removed");
                    }
                }
                purge(&trash)
            })
            .await?;
        self.purged(finished).await
    }

    async fn purged(&self, finished: bool) -> Result<(), FileError> {
        if !finished {
            self.tidy_soon();
        }
        // Tells who watches the quota.
        self.measure().await.map(drop)
    }
}

/// Moves an existing entry to the trash.
pub(super) fn put(
    root: &Folder,
    parent: &Folder,
    name: &Name,
    path: &WorkspacePath,
    now: OffsetDateTime,
) -> Result<(), FileError> {
    let trash = trash_folder(root)?;
    let (id, stored) = write_note(&trash, parent, name, path, now)?;
    if let Err(error) = parent.rename_new(name, &trash, &stored) {
        let _ = trash.remove_file(&note_name(id)?);
        return Err(error);
    }
    trash.sync()?;
    parent.sync()
}

/// Puts a finished file in the place of an existing one, which goes to the trash, in one step. `new_name` in `from` is
/// gone afterwards. A crash in the middle leaves the new file in the trash and the old one in its place.
pub(super) fn replace(
    root: &Folder,
    (from, new_name): (&Folder, &Name),
    (parent, name): (&Folder, &Name),
    path: &WorkspacePath,
    now: OffsetDateTime,
) -> Result<(), FileError> {
    let trash = trash_folder(root)?;
    let (id, stored) = write_note(&trash, parent, name, path, now)?;
    swap(&trash, (id, &stored), (from, new_name), (parent, name))?;
    trash.sync()?;
    parent.sync()
}

fn swap(
    trash: &Folder,
    (id, stored): (Uuid, &Name),
    (from, new_name): (&Folder, &Name),
    (parent, name): (&Folder, &Name),
) -> Result<(), FileError> {
    from.rename_new(new_name, trash, stored)?;
    let swapped = match trash.exchange(stored, parent, name) {
        // There is nothing to replace any more, and nothing to keep.
        Err(FileError::NotFound) => {
            trash.rename_new(stored, parent, name).and_then(|()| trash.remove_file(&note_name(id)?))
        }
        other => other,
    };
    if swapped.is_err() {
        trash.rename_new(stored, from, new_name)?;
        let _ = trash.remove_file(&note_name(id)?);
    }
    swapped
}

/// Tries a name and then its variants until `rename` succeeds.
pub(super) fn free_name(
    name: &Name,
    word: &str,
    rename: impl Fn(&Name) -> Result<(), FileError>,
) -> Result<Name, FileError> {
    let mut candidate = name.clone();
    for attempt in 1..=100 {
        match rename(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(FileError::Exists) => candidate = name.variant(word, attempt),
            Err(error) => return Err(error),
        }
    }
    Err(FileError::Exists)
}

fn write_note(
    trash: &Folder,
    parent: &Folder,
    name: &Name,
    path: &WorkspacePath,
    now: OffsetDateTime,
) -> Result<(Uuid, Name), FileError> {
    let stat = parent.stat(name)?;
    let size = match EntryKind::of(&stat) {
        EntryKind::Folder => tree::disk_usage(parent.child(name)?.fd(), MAX_ENTRIES).0,
        EntryKind::File | EntryKind::Other => entry::size(&stat),
    };
    let note = Note { original_path: path.to_string(), deleted_at: now, size };
    let id = Uuid::now_v7();
    let note = serde_json::to_vec(&note).map_err(|error| FileError::Internal(error.into()))?;
    match trash.write_new(&note_name(id)?, &note) {
        Ok(()) => Ok((id, file_name(id)?)),
        Err(FileError::DiskFull | FileError::QuotaExceeded { .. }) => {
            let mut bytes = format!("{id}~").into_bytes();
            bytes.extend(name.as_bytes());
            bytes.truncate(MAX_NAME);
            Ok((id, Name::from_bytes(&bytes)?))
        }
        Err(error) => Err(error),
    }
}

/// What an entry is called in the trash.
fn stored_name(trash: &Folder, id: Uuid) -> Result<Name, FileError> {
    let plain = file_name(id)?;
    match trash.stat(&plain) {
        Ok(_) => return Ok(plain),
        Err(FileError::NotFound) => {}
        Err(error) => return Err(error),
    }
    for found in stored(trash)? {
        let (found, name) = found?;
        if found == id {
            return Ok(name);
        }
    }
    Err(FileError::NotInTrash)
}

/// What is known about an entry, and where it goes back to. Without a readable note: as much as the file tells.
fn describe(trash: &Folder, id: Uuid) -> Result<(TrashEntry, WorkspacePath), FileError> {
    let stored = stored_name(trash, id)?;
    let stat = trash.stat(&stored)?;
    let kind = EntryKind::of(&stat);
    let note: Option<Note> =
        trash.read_small(&note_name(id)?, MAX_NOTE).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let path = note
        .as_ref()
        .and_then(|note| WorkspacePath::parse(&note.original_path).ok())
        .filter(|path| !path.is_root())
        .map_or_else(
            || {
                let name = stored.as_bytes().get(ID_LENGTH + 1..).and_then(|name| Name::from_bytes(name).ok());
                WorkspacePath::from_names(vec![name.unwrap_or_else(|| stored.clone())])
            },
            Ok,
        )?;
    let (_, name) = path.split_names()?;
    let entry = TrashEntry {
        id,
        name: name.display(),
        original_path: path.to_string(),
        deleted_at: note
            .as_ref()
            .map(|note| note.deleted_at)
            .or_else(|| made_at(id))
            .unwrap_or_else(|| entry::modified(&stat)),
        size: match (kind, &note) {
            (EntryKind::Folder, Some(note)) => note.size,
            (EntryKind::Folder, None) => 0,
            _ => entry::size(&stat),
        },
        kind,
    };
    Ok((entry, path))
}

/// When an id was made, which is when its entry was deleted; None for one that is not ours.
fn made_at(id: Uuid) -> Option<OffsetDateTime> {
    if id.get_version() != Some(Version::SortRand) {
        return None;
    }
    let (seconds, nanoseconds) = id.get_timestamp()?.to_unix();
    let nanos = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    // RFC 3339 has four digits.
    OffsetDateTime::from_unix_timestamp_nanos(nanos).ok().filter(|at| at.year() <= 9999)
}

/// Folders down to where something was; None when one of them is something else now.
pub(super) fn ensure_parents(root: &Folder, parents: &[Name]) -> Result<Option<Folder>, FileError> {
    let mut folder = root.descend(&[])?;
    for name in parents {
        let next = match folder.child(name) {
            Err(FileError::NotFound) => match folder.create_folder(name) {
                Err(FileError::Exists) => folder.child(name),
                other => other,
            },
            other => other,
        };
        folder = match next {
            Ok(next) => next,
            Err(FileError::NotFolder | FileError::Special) => return Ok(None),
            Err(error) => return Err(error),
        };
    }
    Ok(Some(folder))
}

fn ids(trash: &Folder) -> Result<impl Iterator<Item = Result<Uuid, FileError>> + use<>, FileError> {
    Ok(stored(trash)?.map(|found| found.map(|(id, _)| id)))
}

fn stored(trash: &Folder) -> Result<impl Iterator<Item = Result<(Uuid, Name), FileError>> + use<>, FileError> {
    Ok(trash.names()?.filter_map(|name| match name {
        Ok(name) => {
            let (id, rest) = name.as_bytes().split_at_checked(ID_LENGTH)?;
            let text = std::str::from_utf8(id).ok()?;
            let id = text.parse::<Uuid>().ok()?;
            // The forms that we write, not the note.
            (id.to_string() == text && (rest.is_empty() || rest.starts_with(b"~"))).then_some(Ok((id, name)))
        }
        Err(error) => Some(Err(error)),
    }))
}

fn file_name(id: Uuid) -> Result<Name, FileError> {
    Ok(Name::parse(&id.to_string())?)
}

fn note_name(id: Uuid) -> Result<Name, FileError> {
    Ok(Name::parse(&format!("{id}.json"))?)
}

/// Out of the trash, on the way to being removed.
fn discard(trash: &Folder, id: Uuid) -> Result<(), FileError> {
    let stored = stored_name(trash, id)?;
    let purge = trash.ensure_folder(&Name::parse(PURGE)?)?;
    move_to_purge(trash, &stored, &purge).map_err(|error| match error {
        FileError::NotFound => FileError::NotInTrash,
        other => other,
    })?;
    let _ = trash.remove_file(&note_name(id)?);
    Ok(())
}

fn move_to_purge(folder: &Folder, name: &Name, purge: &Folder) -> Result<(), FileError> {
    let aside = file_name(Uuid::new_v4())?;
    match folder.rename_new(name, purge, &aside) {
        // Moving a folder writes to it.
        Err(FileError::Forbidden) => {
            folder.unlock_folder(name)?;
            folder.rename_new(name, purge, &aside)
        }
        other => other,
    }
}

fn purge(trash: &Folder) -> Result<bool, FileError> {
    purge_until(trash, Instant::now() + PURGE_TIME)
}

/// Empties `.purge`; false when time ran out before. Folders in folders are moved up first, so that any depth takes two open folders.
fn purge_until(trash: &Folder, until: Instant) -> Result<bool, FileError> {
    let purge = trash.ensure_folder(&Name::parse(PURGE)?)?;
    loop {
        let mut removed = 0_usize;
        for name in purge.names()? {
            let name = name?;
            match remove_tree_step(&purge, &name, until) {
                Ok(()) => removed += 1,
                Err(error) => tracing::warn!(%error, "a deleted folder can't be removed"),
            }
            if Instant::now() > until {
                return Ok(false);
            }
        }
        if removed == 0 {
            return Ok(true);
        }
    }
}

fn remove_tree_step(purge: &Folder, name: &Name, until: Instant) -> Result<(), FileError> {
    match purge.remove_file(name) {
        Err(FileError::IsFolder | FileError::Forbidden) => {}
        other => return other,
    }
    if purge.remove_empty_folder(name).is_ok() {
        return Ok(());
    }
    let folder = match purge.child(name) {
        Err(FileError::Forbidden) => {
            purge.unlock_folder(name)?;
            purge.child(name)?
        }
        other => other?,
    };
    for inner in folder.names()? {
        let inner = inner?;
        match folder.remove_file(&inner) {
            Ok(()) => {}
            Err(FileError::IsFolder) => {
                if folder.remove_empty_folder(&inner).is_err() {
                    move_to_purge(&folder, &inner, purge)?;
                }
            }
            // The folder itself does not let go of its files.
            Err(FileError::Forbidden) => {
                purge.unlock_folder(name)?;
                if folder.remove_file(&inner).is_err() && folder.remove_empty_folder(&inner).is_err() {
                    move_to_purge(&folder, &inner, purge)?;
                }
            }
            Err(error) => return Err(error),
        }
        if Instant::now() > until {
            return Ok(());
        }
    }
    // What was added meanwhile goes with the next pass.
    match purge.remove_empty_folder(name) {
        Err(FileError::Exists) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;
    use crate::workspace::tests::again;

    fn name(text: &str) -> Name {
        Name::parse(text).expect("a name")
    }

    /// A workspace without an application around it.
    fn workspace() -> (tempfile::TempDir, Folder) {
        let folder = tempfile::tempdir().unwrap();
        let root = Folder::open(folder.path(), None).unwrap();
        (folder, root)
    }

    fn put_at(root: &Folder, path: &str) -> Uuid {
        let trash = trash_folder(root).unwrap();
        let before: Vec<Uuid> = ids(&trash).unwrap().map(Result::unwrap).collect();
        put(root, root, &name(path), &WorkspacePath::parse(path).unwrap(), OffsetDateTime::UNIX_EPOCH).unwrap();
        ids(&trash).unwrap().map(Result::unwrap).find(|id| !before.contains(id)).unwrap()
    }

    fn left(at: &Path) -> usize {
        std::fs::read_dir(at.join(".gimp-platform/trash/.purge")).unwrap().count()
    }

    #[test]
    fn emptying_goes_on_where_time_ran_out() {
        let (at, root) = workspace();
        std::fs::create_dir_all(at.path().join("a/b/c")).unwrap();
        for file in ["a/1", "a/b/2", "a/b/c/3"] {
            std::fs::write(at.path().join(file), b"x").unwrap();
        }
        let id = put_at(&root, "a");
        let trash = trash_folder(&root).unwrap();
        discard(&trash, id).unwrap();
        let mut rounds = 0;
        while !purge_until(&trash, Instant::now()).unwrap() {
            rounds += 1;
        }
        assert!(rounds > 1);
        assert_eq!(left(at.path()), 0);
        assert!(matches!(discard(&trash, id), Err(FileError::NotInTrash)));
    }

    /// A server that is not root may not look into what a session locked.
    #[test]
    fn locked_folders_are_emptied_by_a_server_of_an_ordinary_user() {
        // Root without its right to ignore permissions is an ordinary owner.
        const DROP: [&str; 3] = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"];
        if rustix::process::geteuid().is_root()
            && !again("workspace::trash::tests::locked_folders_are_emptied_by_a_server_of_an_ordinary_user", &DROP)
        {
            return;
        }
        let (at, root) = workspace();
        std::fs::create_dir_all(at.path().join("a/read-only/inner/deep")).unwrap();
        std::fs::create_dir_all(at.path().join("a/closed/inner")).unwrap();
        for file in ["a/read-only/1", "a/read-only/inner/2", "a/closed/inner/3"] {
            std::fs::write(at.path().join(file), b"x").unwrap();
        }
        for (folder, mode) in
            [("a/read-only/inner", 0o500), ("a/read-only", 0o500), ("a/closed/inner", 0), ("a/closed", 0)]
        {
            std::fs::set_permissions(at.path().join(folder), std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let id = put_at(&root, "a");
        let trash = trash_folder(&root).unwrap();
        discard(&trash, id).unwrap();
        assert!(purge(&trash).unwrap());
        assert_eq!(left(at.path()), 0);
    }

    #[test]
    fn a_file_that_vanished_before_it_was_replaced_leaves_nothing_in_the_trash() {
        let (at, root) = workspace();
        std::fs::write(at.path().join("old"), b"old").unwrap();
        std::fs::write(at.path().join("new"), b"new").unwrap();
        let path = WorkspacePath::parse("old").unwrap();
        let trash = trash_folder(&root).unwrap();
        let (id, stored) = write_note(&trash, &root, &name("old"), &path, OffsetDateTime::UNIX_EPOCH).unwrap();
        std::fs::remove_file(at.path().join("old")).unwrap();
        swap(&trash, (id, &stored), (&root, &name("new")), (&root, &name("old"))).unwrap();
        assert_eq!(std::fs::read(at.path().join("old")).unwrap(), b"new");
        assert_eq!(ids(&trash).unwrap().count(), 0);
        assert!(!at.path().join(format!(".gimp-platform/trash/{id}.json")).exists());
    }

    #[test]
    fn what_can_not_be_replaced_stays_and_so_does_what_should_replace_it() {
        let (at, root) = workspace();
        std::fs::write(at.path().join("old"), b"old").unwrap();
        std::fs::write(at.path().join("new"), b"new").unwrap();
        std::fs::create_dir(at.path().join("folder")).unwrap();
        let folder = root.child(&name("folder")).unwrap();
        std::fs::remove_dir(at.path().join("folder")).unwrap();
        let trash = trash_folder(&root).unwrap();
        let path = WorkspacePath::parse("old").unwrap();
        let (id, stored) = write_note(&trash, &root, &name("old"), &path, OffsetDateTime::UNIX_EPOCH).unwrap();
        // The folder is gone: nothing can be there or appear there.
        assert!(swap(&trash, (id, &stored), (&root, &name("new")), (&folder, &name("old"))).is_err());
        assert_eq!(std::fs::read(at.path().join("old")).unwrap(), b"old");
        assert_eq!(std::fs::read(at.path().join("new")).unwrap(), b"new");
    }

    #[test]
    fn a_folder_without_note_comes_back_under_its_id() {
        let (at, root) = workspace();
        std::fs::create_dir(at.path().join("folder")).unwrap();
        let id = put_at(&root, "folder");
        std::fs::remove_file(at.path().join(format!(".gimp-platform/trash/{id}.json"))).unwrap();
        let trash = trash_folder(&root).unwrap();
        let (entry, path) = describe(&trash, id).unwrap();
        assert_eq!((entry.kind, entry.size, path.to_string()), (EntryKind::Folder, 0, id.to_string()));
    }

    /// Its own time may be years ago, which is no reason to delete it for good.
    #[test]
    fn an_old_file_without_note_was_deleted_when_its_id_was_made() {
        let (at, root) = workspace();
        let file = std::fs::File::create(at.path().join("picture.xcf")).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        let before = OffsetDateTime::now_utc() - time::Duration::MILLISECOND;
        let id = put_at(&root, "picture.xcf");
        std::fs::remove_file(at.path().join(format!(".gimp-platform/trash/{id}.json"))).unwrap();
        let trash = trash_folder(&root).unwrap();
        let (entry, _) = describe(&trash, id).unwrap();
        assert!((before..=OffsetDateTime::now_utc()).contains(&entry.deleted_at), "{}", entry.deleted_at);
        // Of an id that tells no time the file's has to do.
        let other = Uuid::new_v4();
        trash.rename_new(&file_name(id).unwrap(), &trash, &file_name(other).unwrap()).unwrap();
        assert_eq!(describe(&trash, other).unwrap().0.deleted_at, OffsetDateTime::UNIX_EPOCH);
    }

    #[test]
    fn a_name_that_is_never_free_is_given_up() {
        let taken = free_name(&name("a"), "restored", |_| Err(FileError::Exists));
        assert!(matches!(taken, Err(FileError::Exists)));
        let broken = free_name(&name("a"), "restored", |_| Err(FileError::Forbidden));
        assert!(matches!(broken, Err(FileError::Forbidden)));
    }
}
