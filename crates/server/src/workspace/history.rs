//! Versions of files: what each was after every save, in `HISTORY_DIR` (see `protocol::session::FileVersion`).
//!
//! The agent makes them from inside the sandbox, so nothing in a description is trusted: it names a file inside the
//! workspace and bytes inside the store, or it is no version. Whoever removes one holds the store's lock, so that no bytes
//! go while the agent gives them another version; a session that keeps the lock only keeps its own old versions.

use std::collections::HashSet;

use protocol::session::{FileVersion, HISTORY_DIR, HistoryLimits, VersionKind};
use rustix::fs::{FileType, FlockOperation, flock};
use rustix::io::Errno;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;
use uuid::Uuid;

use super::content::Content;
use super::entry::{self, Entry};
use super::error::FileError;
use super::folder::Folder;
use super::path::{Name, WorkspacePath};
use super::thumbnail::{self, Thumbnail};
use super::trash::{ensure_parents, free_name};
use super::{Workspace, Workspaces, platform_folder, upload_folder};

/// Most names looked at.
const MAX_SCANNED: usize = 4 * HistoryLimits::MOST;
/// Largest description, bytes.
const MAX_DESCRIPTION: u64 = 8 * 1024;
/// Longest time in a description, bytes: RFC 3339 knows no end of a second's digits.
const MAX_TIME: usize = 40;
/// Largest picture, bytes.
const MAX_PICTURE: u64 = 2 * 1024 * 1024;
/// Left free for what GIMP saves next, bytes, and as a part of the quota where that is small.
const RESERVE: u64 = 256 << 20;
const RESERVE_PART: u64 = 10;
const LOCK: &str = "lock";

/// What a file was after it was saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    pub id: Uuid,
    /// Of the file, as `path` of an entry gives it.
    #[schema(example = "pictures/cat.xcf")]
    pub path: String,
    pub kind: VersionKind,
    #[serde(with = "time::serde::rfc3339")]
    pub saved_at: OffsetDateTime,
    /// Bytes.
    pub size: u64,
    /// The session in which it was saved.
    pub session_id: Option<Uuid>,
    /// Whether `GET /files/versions/{id}/thumbnail` may have a picture of it.
    pub thumbnail: bool,
}

/// A description that can be one.
struct Known {
    id: Uuid,
    path: WorkspacePath,
    saved_at: OffsetDateTime,
    said: FileVersion,
}

impl Workspaces {
    /// How many versions sessions keep.
    #[must_use]
    pub fn history_limits(&self) -> HistoryLimits {
        HistoryLimits { per_file: self.0.settings.versions_kept, days: self.0.settings.versions_days }
    }
}

impl Workspace {
    /// Of one file, newest first. None where the file has none, or never was.
    pub async fn versions(&self, path: WorkspacePath) -> Result<Vec<Version>, FileError> {
        self.with_root(move |root| {
            let store = Store::open(root)?;
            let of_file = store.versions()?.into_iter().filter(|known| known.path == path);
            Ok(of_file.filter_map(|known| store.told(&known)).collect())
        })
        .await
    }

    /// The bytes, named after the file.
    pub async fn version_content(&self, id: Uuid) -> Result<Content, FileError> {
        self.with_root(move |root| {
            let store = Store::open(root)?;
            let known = store.find(id)?;
            store.content(&known)
        })
        .await
    }

    /// A picture of it, at most `size` pixels wide and high.
    ///
    /// # Errors
    /// `NoVersion`, `NoThumbnail`, `BrokenPicture`; `Busy` when too many are waited for.
    pub async fn version_thumbnail(&self, id: Uuid, size: u32) -> Result<Thumbnail, FileError> {
        let (content, picture) = self
            .with_root(move |root| {
                let store = Store::open(root)?;
                let known = store.find(id)?;
                let picture = store.pictures.read_small(&picture_name(&known.said)?, MAX_PICTURE).ok();
                Ok((store.content(&known)?, picture))
            })
            .await?;
        match picture {
            // Decoded and encoded again: what a session wrote is not handed on.
            Some(picture) => {
                self.decoded(move || thumbnail::shrink_to(&picture, size).map_err(|_| FileError::BrokenPicture)).await
            }
            // Pictures that browsers know can be made small here.
            None => self.thumbnail_of_picture(content).await,
        }
    }

    /// A new file of these bytes where the file was, under another name if that is taken.
    ///
    /// # Errors
    /// `NoVersion`, `QuotaExceeded`, `DiskFull`.
    pub async fn version_restore(&self, id: Uuid) -> Result<Entry, FileError> {
        let content = self.version_content(id).await?;
        let needed = content.size;
        let mut left = self.quota().await?.left();
        if needed > left {
            left = self.measure().await?.left();
        }
        if needed > left {
            return Err(FileError::QuotaExceeded { needed, left });
        }
        let entry = self
            .with_root(move |root| {
                let store = Store::open(root)?;
                let path = store.find(id)?.path;
                let uploads = upload_folder(root)?;
                // What a crash leaves goes like an upload that nobody continued.
                let part = Name::parse(&format!("{}.part", Uuid::now_v7()))?;
                let written = copy(content, &uploads, &part).and_then(|()| put(root, &uploads, &part, &path));
                if written.is_err() {
                    let _ = uploads.remove_file(&part);
                }
                written
            })
            .await?;
        self.note_added(needed);
        // Tells who watches the quota.
        self.quota().await?;
        Ok(entry)
    }

    /// Removes it for good.
    pub async fn version_delete(&self, id: Uuid) -> Result<(), FileError> {
        self.with_root(move |root| {
            let store = Store::open(root)?;
            let _lock = store.lock()?;
            let known = store.find(id)?;
            let others: Vec<Known> = store.versions()?.into_iter().filter(|other| other.id != id).collect();
            store.remove(&known, &others)
        })
        .await?;
        self.measure().await.map(drop)
    }

    /// Lets the oldest versions go until so many bytes are free of them; as many as there are.
    pub(super) async fn history_make_room(&self, bytes: u64) -> Result<(), FileError> {
        self.with_root(move |root| {
            let store = Store::open(root)?;
            let _lock = store.lock()?;
            let mut versions = store.versions()?;
            let mut freed = 0;
            while freed < bytes
                && let Some(oldest) = versions.pop()
            {
                let last = versions.iter().all(|other| other.said.sha256 != oldest.said.sha256);
                // As large as it is, whatever its description says.
                let size = store.content(&oldest).map_or(0, |content| content.size);
                store.remove(&oldest, &versions)?;
                freed += if last { size } else { 0 };
            }
            Ok(())
        })
        .await
    }

    /// Bytes that can be stored, after old versions gave way to so many. None do where that would not be enough.
    pub(super) async fn room_for(&self, bytes: u64) -> Result<u64, FileError> {
        let quota = self.measure().await?;
        let lacking = quota.lacks(bytes);
        if lacking == 0 || self.history_size().await? < lacking {
            return Ok(quota.left());
        }
        match self.history_make_room(lacking).await {
            Ok(()) | Err(FileError::Busy) => Ok(self.measure().await?.left()),
            Err(error) => Err(error),
        }
    }

    /// Bytes of all versions.
    async fn history_size(&self) -> Result<u64, FileError> {
        self.with_root(move |root| {
            let objects = Store::open(root)?.objects;
            let sizes = objects.names()?.take(MAX_SCANNED).map(|name| Ok(entry::size(&objects.stat(&name?)?)));
            Ok(sizes.filter_map(|size: Result<u64, FileError>| size.ok()).sum())
        })
        .await
    }

    /// Keeps room for what GIMP saves next: history gives way to it.
    pub(super) async fn history_keep_reserve(&self) -> Result<(), FileError> {
        let quota = self.quota().await?;
        let reserve = RESERVE.min(quota.quota_bytes / RESERVE_PART);
        let lacking = quota.lacks(reserve);
        if lacking == 0 {
            return Ok(());
        }
        match self.history_make_room(lacking).await {
            // The agent is about it.
            Err(FileError::Busy) => Ok(()),
            Ok(()) => self.measure().await.map(drop),
            Err(error) => Err(error),
        }
    }

    /// Removes what is kept no longer.
    pub(super) async fn history_tidy(&self, now: OffsetDateTime) -> Result<(), FileError> {
        let limits = self.all.history_limits();
        if limits.per_file == 0 {
            // None are made any more; what there is stays.
            return Ok(());
        }
        self.with_root(move |root| {
            let store = Store::open(root)?;
            let _lock = match store.lock() {
                Err(FileError::Busy) => return Ok(()),
                lock => lock?,
            };
            let versions = store.versions()?;
            let before = now - time::Duration::days(limits.days.into());
            let before = before.replace_nanosecond(0).unwrap_or(before).format(&Rfc3339).unwrap_or_default();
            let said: Vec<FileVersion> = versions.iter().map(|known| known.said.clone()).collect();
            let gone: HashSet<&str> =
                limits.superfluous(&said, &before).into_iter().map(|version| version.id.as_str()).collect();
            let (gone, kept): (Vec<Known>, Vec<Known>) =
                versions.into_iter().partition(|known| gone.contains(known.said.id.as_str()));
            gone.iter().try_for_each(|known| store.remove(known, &kept))
        })
        .await
    }
}

/// Lets versions follow a file or folder that was renamed. What can't be changed stays under the old name.
pub(super) fn follow(root: &Folder, from: &WorkspacePath, to: &WorkspacePath) -> Result<(), FileError> {
    let store = Store::open(root)?;
    let depth = from.names().len();
    for known in store.versions()? {
        if !known.path.names().starts_with(from.names()) {
            continue;
        }
        let moved = WorkspacePath::from_names([to.names(), &known.path.names()[depth..]].concat())?;
        let Some(path) = moved.plain() else { continue };
        let said = FileVersion { path, ..known.said };
        let description = serde_json::to_vec(&said).map_err(|error| FileError::Internal(error.into()))?;
        let (name, new) = (description_name(known.id)?, Name::parse(&format!("{}.json.new", known.id.simple()))?);
        match store.descriptions.remove_file(&new) {
            Ok(()) | Err(FileError::NotFound) => {}
            Err(error) => return Err(error),
        }
        store.descriptions.write_new(&new, &description)?;
        store.descriptions.exchange(&new, &store.descriptions, &name)?;
        store.descriptions.remove_file(&new)?;
    }
    Ok(())
}

/// The three folders, held open.
struct Store {
    top: Folder,
    descriptions: Folder,
    objects: Folder,
    pictures: Folder,
}

impl Store {
    fn open(root: &Folder) -> Result<Self, FileError> {
        let folder = |name| platform_folder(root, &format!("{HISTORY_DIR}/{name}"));
        Ok(Self {
            top: platform_folder(root, HISTORY_DIR)?,
            descriptions: folder("versions")?,
            objects: folder("objects")?,
            pictures: folder("pictures")?,
        })
    }

    /// All of them, newest first.
    fn versions(&self) -> Result<Vec<Known>, FileError> {
        let mut versions = Vec::new();
        for name in self.descriptions.names()?.take(MAX_SCANNED) {
            let name = name?;
            // Gone meanwhile, or nothing of ours.
            versions.extend(id_of(&name).and_then(|id| self.read(id)));
        }
        versions.sort_by_key(|known| std::cmp::Reverse(known.id));
        Ok(versions)
    }

    fn find(&self, id: Uuid) -> Result<Known, FileError> {
        self.read(id).ok_or(FileError::NoVersion)
    }

    fn read(&self, id: Uuid) -> Option<Known> {
        let bytes = self.descriptions.read_small(&description_name(id).ok()?, MAX_DESCRIPTION).ok()?;
        let known = parse_description(&bytes)?;
        (known.id == id).then_some(known)
    }

    /// None: its bytes are not there.
    fn told(&self, known: &Known) -> Option<Version> {
        let stat = self.objects.stat(&object_name(&known.said).ok()?).ok()?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return None;
        }
        let (_, name) = known.path.split_names().ok()?;
        let pictured = picture_name(&known.said).and_then(|picture| self.pictures.stat(&picture)).is_ok();
        Some(Version {
            id: known.id,
            path: known.path.to_string(),
            kind: known.said.kind,
            saved_at: known.saved_at,
            size: entry::size(&stat),
            session_id: known.said.session_id,
            thumbnail: pictured || thumbnail::is_picture(name),
        })
    }

    fn content(&self, known: &Known) -> Result<Content, FileError> {
        let (file, stat) = self.objects.open_file(&object_name(&known.said)?).map_err(|error| match error {
            FileError::NotFound | FileError::IsFolder | FileError::Special => FileError::NoVersion,
            other => other,
        })?;
        let (_, name) = known.path.split_names()?;
        Ok(Content {
            file,
            name: name.clone(),
            size: entry::size(&stat),
            modified: known.saved_at,
            version: entry::version(&stat),
        })
    }

    /// `others`: which stay.
    fn remove(&self, known: &Known, others: &[Known]) -> Result<(), FileError> {
        let gone = |removed: Result<(), FileError>| match removed {
            Err(FileError::NotFound) => Ok(()),
            other => other,
        };
        gone(self.descriptions.remove_file(&description_name(known.id)?))?;
        if others.iter().all(|other| other.said.sha256 != known.said.sha256) {
            gone(self.objects.remove_file(&object_name(&known.said)?))?;
            gone(self.pictures.remove_file(&picture_name(&known.said)?))?;
        }
        Ok(())
    }

    /// Ends with the file. Never waited for: a session may hold it for ever.
    fn lock(&self) -> Result<std::fs::File, FileError> {
        let name = Name::parse(LOCK)?;
        let lock = match self.top.create_file(&name) {
            Err(FileError::Exists) => self.top.open_file_to_write(&name)?.0,
            made => made?,
        };
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(lock),
            Err(Errno::WOULDBLOCK) => Err(FileError::Busy),
            Err(error) => Err(error.into()),
        }
    }
}

fn copy(content: Content, uploads: &Folder, part: &Name) -> Result<(), FileError> {
    let mut to = uploads.create_file(part)?;
    // A session may make it longer meanwhile. The kernel copies, without copying where the file system shares bytes.
    let size = std::io::copy(&mut std::io::Read::take(content.file, content.size), &mut to)?;
    if size < content.size {
        return Err(FileError::NoVersion);
    }
    Ok(to.sync_all()?)
}

/// Moves a whole file to where `path` says.
fn put(root: &Folder, uploads: &Folder, part: &Name, path: &WorkspacePath) -> Result<Entry, FileError> {
    let (parents, name) = path.split_names()?;
    let (parents, folder) = match ensure_parents(root, parents)? {
        Some(folder) => (parents, folder),
        None => (&[][..], root.descend(&[])?),
    };
    let name = free_name(name, "restored", |name| uploads.rename_new(part, &folder, name))?;
    folder.sync()?;
    let path = WorkspacePath::from_names([parents, std::slice::from_ref(&name)].concat())?;
    Ok(Entry::new(&path, &name, &folder.stat(&name)?))
}

/// None when it is no description.
fn parse_description(bytes: &[u8]) -> Option<Known> {
    let said: FileVersion = serde_json::from_slice(bytes).ok()?;
    let id = Uuid::try_parse(&said.id).ok().filter(|_| said.saved_at.len() <= MAX_TIME)?;
    let saved_at = OffsetDateTime::parse(&said.saved_at, &Rfc3339).ok()?.to_offset(time::UtcOffset::UTC);
    let names = said.path.split('/').map(|name| Name::from_bytes(name.as_bytes())).collect::<Result<_, _>>().ok()?;
    let path = WorkspacePath::from_names(names).ok()?;
    let digest = said.sha256.len() == 64
        && said.sha256.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    // RFC 3339 has four digits.
    (digest && (0..=9999).contains(&saved_at.year())).then_some(Known { id, path, saved_at, said })
}

fn id_of(name: &Name) -> Option<Uuid> {
    Uuid::try_parse(std::str::from_utf8(name.as_bytes()).ok()?.strip_suffix(".json")?).ok()
}

fn description_name(id: Uuid) -> Result<Name, FileError> {
    Ok(Name::parse(&format!("{}.json", id.simple()))?)
}

fn object_name(said: &FileVersion) -> Result<Name, FileError> {
    Ok(Name::parse(&said.sha256)?)
}

fn picture_name(said: &FileVersion) -> Result<Name, FileError> {
    Ok(Name::parse(&format!("{}.png", said.sha256))?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn described(change: impl FnOnce(&mut serde_json::Value)) -> Option<Known> {
        let mut said = json!({
            "id": "0190a0000000700080000000000000aa", "path": "a/cat.xcf", "kind": "save",
            "savedAt": "2026-01-01T01:00:00+01:00", "size": 1, "sha256": "0".repeat(64), "sessionId": null,
        });
        change(&mut said);
        parse_description(said.to_string().as_bytes())
    }

    #[test]
    fn a_description_is_one_or_none() {
        let known = described(|_| {}).expect("a description");
        assert_eq!(known.path.to_string(), "a/cat.xcf");
        assert_eq!(known.saved_at.format(&Rfc3339).expect("a time"), "2026-01-01T00:00:00Z");
        for path in ["", "/etc/passwd", "../x", "a//b", "a/./b", ".gimp-platform/trash/x", "a\0"] {
            assert!(described(|said| said["path"] = path.into()).is_none(), "{path:?}");
        }
        for digest in ["", "../../x", &"g".repeat(64), &"0".repeat(65), &"A".repeat(64)] {
            assert!(described(|said| said["sha256"] = digest.into()).is_none(), "{digest:?}");
        }
        assert!(described(|said| said["id"] = "../x".into()).is_none());
        assert!(described(|said| said["savedAt"] = "yesterday".into()).is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(path: String, digest in "[0-9a-f/.]{0,70}", rest in "[ -~]{0,40}") {
            let known = described(|said| (said["path"], said["sha256"]) = (path.into(), digest.into()));
            if let Some(known) = known {
                prop_assert!(object_name(&known.said).is_ok() && !known.path.is_root());
            }
            let _ = parse_description(rest.as_bytes());
        }
    }
}
