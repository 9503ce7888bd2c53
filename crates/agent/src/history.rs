//! Versions of the user's files: what each was after it was saved or exported, kept in the workspace's history.
//!
//! One thread of low priority copies, so that neither GIMP nor the agent waits. Each step is a rename: a death at any line
//! leaves a version or none, and bytes that no version names go at the next start. Hard links would be cheaper, but GIMP
//! writes into files that have several names, and a version must never change; where the file system can, the copy shares
//! its bytes with the file all the same.
//!
//! History gives way: it takes no room that a save may soon need, and its oldest versions go first.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use protocol::session::{FileVersion, HISTORY_DIR, HistoryLimits, VersionKind};
use rustix::fs::{FlockOperation, OFlags, flock, statvfs};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::gimp::recovery::{rfc3339, write_atomically};

/// Saves that wait to be copied; those beyond are left out, with a line in the log.
const QUEUE: usize = 64;
/// Of the thread, 0..=19.
const NICENESS: i32 = 10;
/// Left free for what GIMP writes next, bytes, and as a part of the whole file system where that is small.
const RESERVE: u64 = 256 << 20;
const RESERVE_PART: u64 = 10;
/// Bytes read at once.
const BUFFER: usize = 1 << 20;
/// Largest description read, bytes.
const MAX_DESCRIPTION: u64 = 64 * 1024;
/// The platform's own folder: nothing in it is a file of the user's.
const OWN_FOLDER: &str = ".gimp-platform";

const VERSIONS: &str = "versions";
const OBJECTS: &str = "objects";
const PICTURES: &str = "pictures";
const PARTIAL: &str = "partial";
const LOCK: &str = "lock";

/// A file that GIMP has finished writing.
#[derive(Debug)]
pub struct Saved {
    /// Absolute.
    pub file: PathBuf,
    pub kind: VersionKind,
    /// A small picture of it, PNG.
    pub picture: Option<Vec<u8>>,
}

enum Job {
    Saved(Saved),
    /// So many bytes are soon to be written by others.
    MakeRoom(u64),
    Done(oneshot::Sender<()>),
}

/// The way to the thread, which ends with the last clone of this.
#[derive(Debug, Clone)]
pub struct History(mpsc::Sender<Job>);

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Saved(_) => "Saved",
            Self::MakeRoom(_) => "MakeRoom",
            Self::Done(_) => "Done",
        })
    }
}

impl History {
    /// None: no versions are to be made.
    pub fn start(home: &Path, session_id: Uuid, limits: HistoryLimits) -> io::Result<Option<Self>> {
        if limits.per_file == 0 {
            return Ok(None);
        }
        let (jobs, mut receiver) = mpsc::channel(QUEUE);
        let mut store = Store::new(home, session_id, limits);
        std::thread::Builder::new().name("history".to_owned()).spawn(move || {
            if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
                tracing::debug!(%error, "copies for the history are made with the usual priority");
            }
            if let Err(error) = store.tidy() {
                tracing::warn!(%error, "the history cannot be put in order");
            }
            while let Some(job) = receiver.blocking_recv() {
                store.carry_out(job);
            }
        })?;
        Ok(Some(Self(jobs)))
    }

    /// Makes a version of it, later.
    pub fn saved(&self, saved: Saved) {
        if self.0.try_send(Job::Saved(saved)).is_err() {
            tracing::warn!("too many files are saved at once: one has no version");
        }
    }

    /// Lets old versions go if so many bytes, which GIMP may soon write, would not fit.
    pub fn make_room(&self, bytes: u64) {
        // When there is that much to do, room is looked for anyway.
        let _ = self.0.try_send(Job::MakeRoom(bytes));
    }

    /// Waits until all that was saved so far has its version.
    pub async fn done(&self) {
        let (sender, receiver) = oneshot::channel();
        if self.0.send(Job::Done(sender)).await.is_ok() {
            let _ = receiver.await;
        }
    }
}

/// Why a save has no version.
#[derive(Debug, thiserror::Error)]
enum NoVersion {
    #[error("it is no file of the workspace")]
    NotOurs,
    #[error("it changed while it was copied")]
    Changed,
    #[error("there is no room")]
    NoRoom,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Which content a file had: another after each save.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Seen {
    fn of(data: &fs::Metadata) -> Self {
        Self { inode: data.ino(), size: data.size(), modified: (data.mtime(), data.mtime_nsec()) }
    }
}

struct Store {
    home: PathBuf,
    folder: PathBuf,
    session_id: Uuid,
    limits: HistoryLimits,
    /// What was looked at last of each file: one save is told of in several ways.
    seen: HashMap<String, Seen>,
}

impl Store {
    fn new(home: &Path, session_id: Uuid, limits: HistoryLimits) -> Self {
        Self { home: home.to_owned(), folder: home.join(HISTORY_DIR), session_id, limits, seen: HashMap::new() }
    }

    fn carry_out(&mut self, job: Job) {
        match job {
            Job::Saved(saved) => match self.record(saved) {
                Ok(_) => {}
                // Whoever changed it tells of that.
                Err(NoVersion::Changed | NoVersion::NotOurs) => {}
                Err(error) => tracing::warn!(%error, "a file that was saved has no version"),
            },
            Job::MakeRoom(bytes) => {
                if let Err(error) = self.make_room(bytes) {
                    tracing::debug!(%error, "the history makes no room");
                }
            }
            Job::Done(sender) => _ = sender.send(()),
        }
    }

    /// None: the newest version of the file is the same.
    fn record(&mut self, saved: Saved) -> Result<Option<FileVersion>, NoVersion> {
        let path = self.inside(&saved.file).ok_or(NoVersion::NotOurs)?;
        // A pipe must not hold us.
        let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
        let mut file = OpenOptions::new().read(true).custom_flags(flags).open(&saved.file)?;
        let before = file.metadata()?;
        if !before.is_file() || before.size() == 0 {
            return Err(NoVersion::NotOurs);
        }
        let seen = Seen::of(&before);
        if self.seen.get(&path) == Some(&seen) {
            return Ok(None);
        }
        for name in [VERSIONS, OBJECTS, PICTURES, PARTIAL] {
            fs::create_dir_all(self.folder.join(name))?;
        }
        self.make_room(before.size())?;
        let id = Uuid::now_v7().simple().to_string();
        let partial = Partial(self.folder.join(PARTIAL).join(&id));
        // The kernel copies, without copying where the file system shares bytes.
        let copied = File::create_new(&partial.0).and_then(|mut copy| {
            io::copy(&mut file, &mut copy)?;
            copy.sync_all()
        });
        copied.map_err(|error| if is_full(&error) { NoVersion::NoRoom } else { error.into() })?;
        if Seen::of(&file.metadata()?) != seen {
            return Err(NoVersion::Changed);
        }
        let (sha256, size) = digest(&partial.0)?;
        let version = FileVersion {
            id,
            path: path.clone(),
            kind: saved.kind,
            saved_at: rfc3339(OffsetDateTime::now_utc()),
            size,
            sha256,
            session_id: Some(self.session_id),
        };
        let recorded = self.keep(&partial.0, version, saved.picture.as_deref())?;
        self.seen.insert(path, seen);
        Ok(recorded)
    }

    fn keep(
        &self,
        partial: &Path,
        version: FileVersion,
        picture: Option<&[u8]>,
    ) -> Result<Option<FileVersion>, NoVersion> {
        // The server removes versions, too, and then what no version names.
        let _lock = self.lock()?;
        let versions = self.versions()?;
        let newest = versions.iter().find(|other| other.path == version.path);
        if newest.is_some_and(|newest| newest.sha256 == version.sha256 && self.has_object(newest)) {
            return Ok(None);
        }
        if !self.has_object(&version) {
            fs::rename(partial, self.object(&version.sha256))?;
            sync(&self.folder.join(OBJECTS))?;
        }
        let shown = self.picture(&version.sha256);
        if let Some(picture) = picture
            && !shown.exists()
            && let Err(error) = write_atomically(&shown, picture)
        {
            tracing::debug!(%error, "a version has no picture");
        }
        let description = serde_json::to_vec(&version).map_err(io::Error::other)?;
        write_atomically(&self.description(&version.id), &description)?;
        sync(&self.folder.join(VERSIONS))?;
        let mut versions = versions;
        versions.insert(0, version.clone());
        self.apply_limits(versions)?;
        Ok(Some(version))
    }

    /// Removes what a sudden death left, and what is kept no longer.
    fn tidy(&self) -> io::Result<()> {
        if !self.folder.is_dir() {
            return Ok(());
        }
        let _lock = self.lock()?;
        for entry in entries(&self.folder.join(PARTIAL))? {
            fs::remove_file(entry)?;
        }
        let mut versions = self.versions()?;
        versions.retain(|version| {
            let whole = self.has_object(version);
            if !whole {
                let _ = fs::remove_file(self.description(&version.id));
            }
            whole
        });
        self.apply_limits(versions)?;
        let kept: HashSet<String> = self.versions()?.into_iter().map(|version| version.sha256).collect();
        for folder in [OBJECTS, PICTURES] {
            for entry in entries(&self.folder.join(folder))? {
                let named = entry.file_stem().is_some_and(|stem| kept.contains(&*stem.to_string_lossy()));
                if !named {
                    fs::remove_file(entry)?;
                }
            }
        }
        for entry in entries(&self.folder.join(VERSIONS))? {
            if entry.extension().is_some_and(|kind| kind == "new") {
                fs::remove_file(entry)?;
            }
        }
        Ok(())
    }

    /// All of them, newest first.
    fn versions(&self) -> io::Result<Vec<FileVersion>> {
        let mut versions = Vec::new();
        for entry in entries(&self.folder.join(VERSIONS))? {
            let Some(id) = entry.file_stem().map(|id| id.to_string_lossy().into_owned()) else { continue };
            if entry.extension().is_none_or(|kind| kind != "json") {
                continue;
            }
            let mut text = Vec::new();
            File::open(&entry)?.take(MAX_DESCRIPTION).read_to_end(&mut text)?;
            let version = serde_json::from_slice::<FileVersion>(&text).ok();
            versions.extend(version.filter(|version| version.id == id && is_digest(&version.sha256)));
        }
        versions.sort_by(|a, b| b.id.cmp(&a.id));
        Ok(versions)
    }

    fn apply_limits(&self, mut versions: Vec<FileVersion>) -> io::Result<()> {
        let before = OffsetDateTime::now_utc() - time::Duration::days(self.limits.days.into());
        let gone: Vec<FileVersion> =
            self.limits.superfluous(&versions, &rfc3339(before)).into_iter().cloned().collect();
        for version in gone {
            versions.retain(|other| other.id != version.id);
            self.remove(&version, &versions)?;
        }
        Ok(())
    }

    /// `others`: which stay.
    fn remove(&self, version: &FileVersion, others: &[FileVersion]) -> io::Result<()> {
        remove_file(&self.description(&version.id))?;
        if others.iter().all(|other| other.sha256 != version.sha256) {
            remove_file(&self.object(&version.sha256))?;
            remove_file(&self.picture(&version.sha256))?;
        }
        Ok(())
    }

    /// Oldest versions first; none go where that would not be enough.
    fn make_room(&self, bytes: u64) -> Result<(), NoVersion> {
        let missing = || -> io::Result<u64> {
            let disk = statvfs(&self.home)?;
            let (size, free) =
                (disk.f_blocks.saturating_mul(disk.f_frsize), disk.f_bavail.saturating_mul(disk.f_frsize));
            Ok(bytes.saturating_add(RESERVE.max(bytes).min(size / RESERVE_PART)).saturating_sub(free))
        };
        let mut wanted = missing()?;
        if wanted == 0 {
            return Ok(());
        }
        let _lock = self.lock()?;
        let mut versions = self.versions()?;
        let mut sizes: HashMap<&str, u64> = HashMap::new();
        sizes.extend(versions.iter().map(|version| (version.sha256.as_str(), version.size)));
        if sizes.values().sum::<u64>() < wanted {
            return Err(NoVersion::NoRoom);
        }
        while wanted > 0 {
            let oldest = versions.pop().ok_or(NoVersion::NoRoom)?;
            self.remove(&oldest, &versions)?;
            wanted = missing()?;
        }
        Ok(())
    }

    /// Path inside the workspace.
    fn inside(&self, file: &Path) -> Option<String> {
        let inside = match file.strip_prefix(&self.home) {
            Ok(inside) => inside.to_owned(),
            Err(_) => file.strip_prefix(self.home.canonicalize().ok()?).ok()?.to_owned(),
        };
        let path = inside.to_str()?;
        (!path.is_empty() && !inside.starts_with(OWN_FOLDER)).then(|| path.to_owned())
    }

    fn has_object(&self, version: &FileVersion) -> bool {
        fs::symlink_metadata(self.object(&version.sha256))
            .is_ok_and(|there| there.is_file() && there.size() == version.size)
    }

    fn object(&self, sha256: &str) -> PathBuf {
        self.folder.join(OBJECTS).join(sha256)
    }

    fn picture(&self, sha256: &str) -> PathBuf {
        self.folder.join(PICTURES).join(format!("{sha256}.png"))
    }

    fn description(&self, id: &str) -> PathBuf {
        self.folder.join(VERSIONS).join(format!("{id}.json"))
    }

    /// Ends with the file.
    fn lock(&self) -> io::Result<File> {
        fs::create_dir_all(&self.folder)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(self.folder.join(LOCK))?;
        flock(&lock, FlockOperation::LockExclusive)?;
        Ok(lock)
    }
}

/// A copy that is being made, gone when this is.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        if let Err(error) = remove_file(&self.0) {
            tracing::debug!(%error, "an unfinished copy stays until the next start");
        }
    }
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn digest(path: &Path) -> io::Result<(String, u64)> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; BUFFER];
    let (mut hasher, mut size) = (Sha256::new(), 0);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        size += read as u64;
    }
    Ok((hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect(), size))
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn is_full(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT))
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixture {
        home: tempfile::TempDir,
        store: Store,
    }

    impl Fixture {
        fn new(per_file: u32) -> Self {
            let home = tempfile::tempdir().expect("temporary folder");
            let store = Store::new(home.path(), Uuid::nil(), HistoryLimits { per_file, days: 90 });
            Self { home, store }
        }

        fn save(&mut self, path: &str, content: &[u8]) -> Option<FileVersion> {
            let file = self.home.path().join(path);
            fs::create_dir_all(file.parent().expect("a folder")).expect("creates");
            // By another file, as GIMP does.
            write_atomically(&file, content).expect("writes");
            self.record(path).expect("records")
        }

        fn record(&mut self, path: &str) -> Result<Option<FileVersion>, NoVersion> {
            let file = self.home.path().join(path);
            self.store.record(Saved { file, kind: VersionKind::Save, picture: Some(b"png".to_vec()) })
        }

        fn count(&self, folder: &str) -> usize {
            entries(&self.store.folder.join(folder)).expect("lists").len()
        }
    }

    #[test]
    fn each_content_is_kept_once_and_each_change_is_a_version() {
        let mut fixture = Fixture::new(50);
        let first = fixture.save("a/cat.xcf", b"one").expect("a version");
        assert_eq!((first.path.as_str(), first.size), ("a/cat.xcf", 3));
        assert_eq!(first.sha256, "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed");
        assert!(fixture.record("a/cat.xcf").expect("looks").is_none(), "told of twice");
        assert!(fixture.save("a/cat.xcf", b"one").is_none(), "saved again without a change");
        assert!(fixture.save("a/cat.xcf", b"two").is_some());
        assert!(fixture.save("a/cat.xcf", b"one").is_some(), "back to what it was");
        assert!(fixture.save("dog.xcf", b"one").is_some(), "another file");
        assert_eq!((fixture.count(VERSIONS), fixture.count(OBJECTS), fixture.count(PARTIAL)), (4, 2, 0));
        assert_eq!(fixture.count(PICTURES), 2);
        assert_eq!(fs::read(fixture.store.object(&first.sha256)).expect("reads"), b"one");
        let paths: Vec<String> =
            fixture.store.versions().expect("lists").into_iter().map(|version| version.path).collect();
        assert_eq!(paths, ["dog.xcf", "a/cat.xcf", "a/cat.xcf", "a/cat.xcf"]);
    }

    #[test]
    fn a_version_stays_what_it_was_when_its_file_is_written_into() {
        let mut fixture = Fixture::new(50);
        let version = fixture.save("a.png", b"before").expect("a version");
        fs::write(fixture.home.path().join("a.png"), b"after!").expect("writes");
        assert_eq!(fs::read(fixture.store.object(&version.sha256)).expect("reads"), b"before");
    }

    #[test]
    fn the_oldest_go_and_what_others_need_stays() {
        let mut fixture = Fixture::new(2);
        let shared = fixture.save("a.xcf", b"1").expect("a version");
        fixture.save("b.xcf", b"1").expect("a version");
        fixture.save("a.xcf", b"2").expect("a version");
        let last = fixture.save("a.xcf", b"3").expect("a version");
        assert_eq!((fixture.count(VERSIONS), fixture.count(OBJECTS)), (3, 3));
        assert!(fixture.store.object(&shared.sha256).exists());
        fixture.save("b.xcf", b"4").expect("a version");
        fixture.save("b.xcf", b"5").expect("a version");
        assert!(!fixture.store.object(&shared.sha256).exists());
        assert!(!fixture.store.picture(&shared.sha256).exists());
        assert!(fixture.store.object(&last.sha256).exists());
    }

    #[test]
    fn what_is_no_file_of_the_users_has_no_version() {
        let mut fixture = Fixture::new(50);
        fs::create_dir_all(fixture.home.path().join(".gimp-platform/recovery")).expect("creates");
        fs::write(fixture.home.path().join(".gimp-platform/recovery/a.xcf"), b"x").expect("writes");
        fs::write(fixture.home.path().join("empty.png"), b"").expect("writes");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            fixture.home.path().join("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .expect("a pipe");
        for path in [".gimp-platform/recovery/a.xcf", "empty.png", "pipe", ".", "../elsewhere"] {
            assert!(fixture.record(path).is_err(), "{path}");
        }
        assert_eq!(fixture.count(VERSIONS), 0);
    }

    #[test]
    fn what_a_death_left_goes_at_the_next_start() {
        let mut fixture = Fixture::new(50);
        let whole = fixture.save("a.xcf", b"1").expect("a version");
        let lost = fixture.save("a.xcf", b"2").expect("a version");
        fs::remove_file(fixture.store.object(&lost.sha256)).expect("removes");
        let unnamed = "0".repeat(64);
        fs::write(fixture.store.object(&unnamed), b"bytes").expect("writes");
        fs::write(fixture.store.folder.join(PARTIAL).join("half"), b"ha").expect("writes");
        fs::write(fixture.store.folder.join(VERSIONS).join("x.json.new"), b"{").expect("writes");
        fixture.store.tidy().expect("tidies");
        fixture.store.tidy().expect("is safe to repeat");
        assert_eq!(fixture.store.versions().expect("lists"), [whole]);
        assert_eq!((fixture.count(VERSIONS), fixture.count(OBJECTS), fixture.count(PARTIAL)), (1, 1, 0));
        assert_eq!(fixture.count(PICTURES), 1);
    }
}
