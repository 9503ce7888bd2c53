//! Uploads that can be cut off and continued, also after a restart of the server.
//!
//! `UPLOAD_DIR/<id>.part` is what has arrived: its length is the offset. `<id>.json` says what it becomes. A finished
//! file appears under its name in one step. Both files are in the session's hands: nothing in them is trusted.

use std::collections::HashMap;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use rustix::fs::FileType;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::browse::new_place;
use super::entry::{self, Entry};
use super::error::FileError;
use super::folder::Folder;
use super::path::{Name, WorkspacePath};
use super::{Workspace, trash, upload_folder};
use crate::driver::QuotaMechanism;

/// How long an upload waits to be continued.
pub const KEPT: time::Duration = time::Duration::days(7);
/// Unfinished uploads of one user.
pub const MAX_UNFINISHED: usize = 100;
/// Most names looked at in the folder: only a session that plays tricks has more.
const MAX_SCANNED: usize = 100_000;
/// What clients are advised to send at once, bytes.
pub const CHUNK_SIZE: u64 = 8 * 1024 * 1024;
/// Bytes gathered before they are written: what a receiving request holds in memory.
const BUFFER: usize = 1024 * 1024;
/// A sender must bring `MIN_PER_STALL` bytes, or the end, within this time.
pub(super) const STALL: Duration = Duration::from_secs(60);
const MIN_PER_STALL: usize = 64 * 1024;
/// How long a new request waits for the one it replaces.
const TAKE_OVER: Duration = Duration::from_secs(10);
/// Bytes after which the room left is looked at again.
const ROOM_INTERVAL: u64 = 64 * 1024 * 1024;
/// Largest note, bytes.
const MAX_NOTE: u64 = 16 * 1024;

/// What an upload becomes.
#[derive(Debug, Clone)]
pub struct UploadRequest {
    pub path: WorkspacePath,
    /// Bytes.
    pub size: u64,
    /// An existing file goes to the trash.
    pub overwrite: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub offset: u64,
    pub size: u64,
}

/// What a part led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    Part { offset: u64 },
    Finished(Entry),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Note {
    path: String,
    size: u64,
    overwrite: bool,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
}

/// Uploads being received. The newest request for an upload wins: the one before hangs on a dead connection.
#[derive(Default)]
pub(super) struct Receiving(Mutex<HashMap<Uuid, Slot>>);

#[derive(Default)]
struct Slot {
    writing: Arc<tokio::sync::Mutex<()>>,
    current: CancellationToken,
}

impl Receiving {
    /// Ends the request before this one and waits for its last write.
    async fn take_over(&self, id: Uuid) -> Result<(tokio::sync::OwnedMutexGuard<()>, CancellationToken), FileError> {
        let (writing, current) = {
            let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Only requests hold a slot: however an upload ends, its slot goes with the next request's coming.
            slots.retain(|_, slot| Arc::strong_count(&slot.writing) > 1);
            let slot = slots.entry(id).or_default();
            slot.current.cancel();
            slot.current = CancellationToken::new();
            (slot.writing.clone(), slot.current.clone())
        };
        let guard = tokio::time::timeout(TAKE_OVER, writing.lock_owned()).await.map_err(|_| FileError::Busy)?;
        Ok((guard, current))
    }
}

impl Workspace {
    /// Announces an upload.
    ///
    /// # Errors
    /// `Exists`, `NoFolder`, `QuotaExceeded`, `TooManyUploads`.
    pub async fn upload_create(&self, request: UploadRequest) -> Result<Uuid, FileError> {
        let left = self.quota().await?.left();
        if request.size > left {
            // It may just have become more, and old versions give way.
            let left = self.room_for(request.size).await?;
            if request.size > left {
                return Err(FileError::QuotaExceeded { needed: request.size, left });
            }
        }
        let now = self.all.0.clock.now();
        let _one_counts = self.shared.changing.lock().await;
        self.with_root(move |root| {
            let (parent, name) = new_place(root, &request.path)?;
            may_take_place(&parent, name, request.overwrite)?;
            let disk = rustix::fs::fstatvfs(root.fd())?;
            if request.size > disk.f_bavail.saturating_mul(disk.f_frsize) {
                return Err(FileError::DiskFull);
            }
            let uploads = upload_folder(root)?;
            if ids(&uploads)?.count() >= MAX_UNFINISHED {
                return Err(FileError::TooManyUploads(MAX_UNFINISHED));
            }
            let id = Uuid::now_v7();
            let note = Note {
                path: request.path.to_string(),
                size: request.size,
                overwrite: request.overwrite,
                created_at: now,
            };
            let note = serde_json::to_vec(&note).map_err(|error| FileError::Internal(error.into()))?;
            uploads.create_file(&part_name(id)?)?;
            uploads.write_new(&note_name(id)?, &note).inspect_err(|_| drop(discard(&uploads, id)))?;
            uploads.sync()?;
            Ok(id)
        })
        .await
    }

    pub async fn upload_progress(&self, id: Uuid) -> Result<Progress, FileError> {
        self.with_root(move |root| {
            let uploads = upload_folder(root)?;
            let note = read_note(&uploads, id)?;
            Ok(Progress { offset: offset(&uploads, id, note.size)?, size: note.size })
        })
        .await
    }

    /// Cancels an upload.
    pub async fn upload_cancel(&self, id: Uuid) -> Result<(), FileError> {
        let progress = self.upload_progress(id).await?;
        let (guard, _) = self.shared.uploads.take_over(id).await?;
        self.with_root(move |root| {
            let _guard = guard;
            discard(&upload_folder(root)?, id)
        })
        .await?;
        if progress.offset > 0 {
            self.measure().await?;
        }
        Ok(())
    }

    /// Takes the next bytes; finishes with the last. `length`: what the sender says it will send. Whatever ends the
    /// request, what has arrived is kept.
    ///
    /// # Errors
    /// `Offset` when the upload is elsewhere, `TooLong`, `QuotaExceeded`, `DiskFull`, `Cut`; the finish can fail with
    /// `Exists` or `NoFolder`, and is tried again by sending no bytes at the end.
    pub async fn upload_receive<E: Send>(
        &self,
        id: Uuid,
        start: u64,
        length: Option<u64>,
        body: impl Stream<Item = Result<Bytes, E>> + Send + Unpin,
    ) -> Result<Received, FileError> {
        let _everybody = self.all.0.receiving.try_acquire().map_err(|_| FileError::Busy)?;
        let _own = self.shared.receiving.try_acquire().map_err(|_| FileError::Busy)?;
        // Before a slot is made for an id that may be invented.
        self.upload_progress(id).await?;
        let (guard, current) = self.shared.uploads.take_over(id).await?;
        let (guard, part, note, at) = self
            .with_root(move |root| {
                let uploads = upload_folder(root)?;
                let note = read_note(&uploads, id)?;
                let at = offset(&uploads, id, note.size)?;
                let (part, _) = uploads.open_file_to_write(&part_name(id)?)?;
                // Held by every write, so that the next request never overlaps one that outlived its connection.
                Ok((Arc::new(guard), Arc::new(part), note, at))
            })
            .await?;
        if start != at {
            return Err(FileError::Offset { offset: at });
        }
        if length.is_some_and(|length| length > note.size - at) {
            return Err(FileError::TooLong { size: note.size, offset: at });
        }
        let mut incoming = Incoming { workspace: self, guard: guard.clone(), part, size: note.size, at, room: 0 };
        let received = tokio::select! {
            received = incoming.run(body) => received,
            () = current.cancelled() => Err(None),
        };
        let at = incoming.at;
        match received {
            Ok(()) if at < note.size => return Ok(Received::Part { offset: at }),
            Ok(()) => {}
            Err(Some(error)) => return Err(error),
            Err(None) => return Err(FileError::Cut { offset: at }),
        }
        let now = self.all.0.clock.now();
        let entry = self
            .with_root(move |root| {
                let _guard = guard;
                finish(root, id, &note, now)
            })
            .await?;
        // Tells who watches the quota.
        self.quota().await?;
        Ok(Received::Finished(entry))
    }

    /// Removes uploads that nobody continued since a time.
    pub(super) async fn upload_purge(&self, before: OffsetDateTime) -> Result<(), FileError> {
        self.with_root(move |root| {
            let uploads = upload_folder(root)?;
            for name in uploads.names()?.take(MAX_SCANNED).collect::<Result<Vec<_>, _>>()? {
                if uploads.stat(&name).is_ok_and(|stat| entry::modified(&stat) < before)
                    && let Some(id) = id_of(&name)
                    && offset_changed(&uploads, id) < before
                {
                    discard(&uploads, id)?;
                }
            }
            Ok(())
        })
        .await
    }
}

/// One request's bytes on their way to the disk.
struct Incoming<'a> {
    workspace: &'a Workspace,
    guard: Arc<tokio::sync::OwnedMutexGuard<()>>,
    part: Arc<std::fs::File>,
    size: u64,
    at: u64,
    /// Bytes that may be written before the quota is looked at again.
    room: u64,
}

impl Incoming<'_> {
    /// Ok: the body ended. None: the connection was cut.
    async fn run<E>(
        &mut self,
        mut body: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<(), Option<FileError>> {
        loop {
            let mut buffer = BytesMut::new();
            let until = Instant::now() + self.workspace.all.0.stall;
            let mut end = None;
            while buffer.len() < BUFFER && end.is_none() {
                match tokio::time::timeout_at(until, body.next()).await {
                    Ok(Some(Ok(bytes))) => buffer.extend_from_slice(&bytes),
                    Ok(None) => end = Some(Ok(())),
                    Ok(Some(Err(_))) => end = Some(Err(None)),
                    Err(_) if buffer.len() >= MIN_PER_STALL => break,
                    Err(_) => end = Some(Err(None)),
                }
            }
            self.write(buffer.freeze()).await.map_err(Some)?;
            if let Some(end) = end {
                return end;
            }
        }
    }

    async fn write(&mut self, mut bytes: Bytes) -> Result<(), FileError> {
        let fits = self.size - self.at;
        let too_long = bytes.len() as u64 > fits;
        if too_long {
            bytes.truncate(usize::try_from(fits).unwrap_or(usize::MAX));
        }
        let length = bytes.len() as u64;
        if length > 0 {
            self.make_room(length).await?;
            let (part, guard, at) = (self.part.clone(), self.guard.clone(), self.at);
            let written = self
                .workspace
                .all
                .blocking(move || {
                    let _guard = guard;
                    Ok(part.write_all_at(&bytes, at)?)
                })
                .await;
            if let Err(error) = written {
                return Err(self.full(error).await);
            }
            self.at += length;
            self.room -= length;
            self.workspace.note_added(length);
        }
        if too_long { Err(FileError::TooLong { size: self.size, offset: self.at }) } else { Ok(()) }
    }

    async fn make_room(&mut self, length: u64) -> Result<(), FileError> {
        if length <= self.room {
            return Ok(());
        }
        let mut left = self.workspace.quota().await?.left();
        if length > left {
            left = self.workspace.room_for(self.size - self.at).await?;
        }
        if length > left {
            return Err(FileError::QuotaExceeded { needed: self.size - self.at, left });
        }
        self.room = left.min(ROOM_INTERVAL.max(length));
        Ok(())
    }

    /// With numbers, where the disk that is full is the workspace's own.
    async fn full(&self, error: FileError) -> FileError {
        match (&error, self.workspace.mechanism) {
            (FileError::QuotaExceeded { .. }, _) | (FileError::DiskFull, QuotaMechanism::Image) => {
                let left = self.workspace.measure().await.map_or(0, |quota| quota.left());
                FileError::QuotaExceeded { needed: self.size - self.at, left }
            }
            _ => error,
        }
    }
}

/// Whether a new file may appear here.
fn may_take_place(parent: &Folder, name: &Name, overwrite: bool) -> Result<(), FileError> {
    match parent.stat(name) {
        Err(FileError::NotFound) => Ok(()),
        Err(error) => Err(error),
        Ok(stat) if overwrite && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => Ok(()),
        Ok(_) => Err(FileError::Exists),
    }
}

fn finish(root: &Folder, id: Uuid, note: &Note, now: OffsetDateTime) -> Result<Entry, FileError> {
    let uploads = upload_folder(root)?;
    let path = WorkspacePath::parse(&note.path)?;
    let (parent, name) = new_place(root, &path)?;
    let part_name = part_name(id)?;
    let (part, _) = uploads.open_file_to_write(&part_name)?;
    // A session may have made it longer.
    part.set_len(note.size)?;
    part.sync_all()?;
    match uploads.rename_new(&part_name, &parent, name) {
        Err(FileError::Exists) if note.overwrite => {
            may_take_place(&parent, name, true)?;
            trash::replace(root, (&uploads, &part_name), (&parent, name), &path, now)?;
        }
        other => other?,
    }
    parent.sync()?;
    let _ = uploads.remove_file(&note_name(id)?);
    Ok(Entry::new(&path, name, &parent.stat(name)?))
}

fn read_note(uploads: &Folder, id: Uuid) -> Result<Note, FileError> {
    let bytes = uploads.read_small(&note_name(id)?, MAX_NOTE).map_err(|error| match error {
        FileError::NotFound => FileError::NoUpload,
        other => other,
    })?;
    // A note that was damaged says nothing about what to do with the part.
    serde_json::from_slice(&bytes).map_err(|_| FileError::NoUpload)
}

fn offset(uploads: &Folder, id: Uuid, size: u64) -> Result<u64, FileError> {
    match uploads.stat(&part_name(id)?) {
        Ok(stat) => Ok(entry::size(&stat).min(size)),
        Err(FileError::NotFound) => Err(FileError::NoUpload),
        Err(error) => Err(error),
    }
}

/// When bytes last arrived.
fn offset_changed(uploads: &Folder, id: Uuid) -> OffsetDateTime {
    part_name(id).and_then(|name| uploads.stat(&name)).map_or(OffsetDateTime::UNIX_EPOCH, |stat| entry::modified(&stat))
}

fn discard(uploads: &Folder, id: Uuid) -> Result<(), FileError> {
    for name in [part_name(id)?, note_name(id)?] {
        match uploads.remove_file(&name) {
            Ok(()) | Err(FileError::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn ids(uploads: &Folder) -> Result<impl Iterator<Item = Uuid>, FileError> {
    Ok(uploads
        .names()?
        .filter_map(|name| name.ok().filter(|name| name.as_bytes().ends_with(b".part")))
        .filter_map(|name| id_of(&name)))
}

fn id_of(name: &Name) -> Option<Uuid> {
    std::str::from_utf8(name.as_bytes()).ok()?.split('.').next()?.parse().ok()
}

fn part_name(id: Uuid) -> Result<Name, FileError> {
    Ok(Name::parse(&format!("{id}.part"))?)
}

fn note_name(id: Uuid) -> Result<Name, FileError> {
    Ok(Name::parse(&format!("{id}.json"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn slots_last_as_long_as_the_requests_that_hold_them() {
        let receiving = Receiving::default();
        let [held, left, new] = [Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7()];
        let (guard, current) = receiving.take_over(held).await.expect("free");
        drop(receiving.take_over(left).await.expect("free"));
        let _new = receiving.take_over(new).await.expect("free");
        {
            let slots = receiving.0.lock().expect("sound");
            assert!(slots.contains_key(&held) && slots.contains_key(&new) && !slots.contains_key(&left));
        }
        // The next request waits for the one it replaces.
        let (next, ()) = tokio::join!(receiving.take_over(held), async {
            current.cancelled().await;
            drop(guard);
        });
        assert!(next.is_ok_and(|(_, current)| !current.is_cancelled()));
    }
}
