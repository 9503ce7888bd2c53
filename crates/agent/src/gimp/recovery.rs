//! The recovery store of the workspace: copies of images that are unsaved, or were when GIMP ended.
//!
//! A copy is there once `<id>.xcf` is; `<id>.json` describes it. Every step is a rename within the workspace, so a
//! death at any line leaves either the source or the copy. A copy without its description gets one at the next start.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use protocol::session::{RECOVERY_DIR, Recovery};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

/// How every XCF file begins.
pub const XCF_MAGIC: &[u8] = b"gimp xcf ";
const COPY: &str = "xcf";
const DESCRIPTION: &str = "json";
/// What is still being written.
const PARTIAL: &str = "partial";
/// Room that nobody else gets: given up for a copy when there is no other.
const RESERVE: &str = "reserve";
/// Smallest reserve, bytes.
const LEAST_RESERVE: u64 = 16 << 20;

/// The store of one workspace and who writes to it.
#[derive(Debug, Clone)]
pub struct RecoveryStore {
    folder: PathBuf,
    session_id: Option<Uuid>,
}

impl RecoveryStore {
    pub fn new(home: &Path, session_id: Uuid) -> Self {
        Self { folder: home.join(RECOVERY_DIR), session_id: Some(session_id) }
    }

    /// Where GIMP may write a copy that `keep` then takes in.
    pub fn partial(&self) -> io::Result<Partial> {
        fs::create_dir_all(&self.folder)?;
        let id = Uuid::now_v7().simple().to_string();
        Ok(Partial { path: self.file(&id, PARTIAL), id })
    }

    /// Takes in a copy that GIMP has finished. Fails when it is no XCF file; the partial file is then left alone.
    pub fn keep(&self, partial: &Partial, name: &str, original: Option<String>) -> io::Result<Recovery> {
        let file = File::open(&partial.path)?;
        let mut magic = [0; XCF_MAGIC.len()];
        (&file).read_exact(&mut magic)?;
        if magic != XCF_MAGIC {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not an XCF file"));
        }
        file.sync_all()?;
        let recovery = Recovery {
            id: partial.id.clone(),
            name: name.to_owned(),
            original,
            saved_at: now(),
            size: file.metadata()?.len(),
            session_id: self.session_id,
        };
        // Described first, so that its name survives a death right here; but a full disk must not cost the copy.
        let described = self.describe(&recovery);
        fs::rename(&partial.path, self.file(&recovery.id, COPY))?;
        self.sync_folder()?;
        described.map(|()| recovery)
    }

    /// Keeps room for another copy of that many bytes, and a little for its image to grow. There may be none to keep.
    pub fn keep_reserve(&self, copy: u64) {
        let enough = LEAST_RESERVE.max(copy.saturating_add(copy / 4));
        let kept = fs::create_dir_all(&self.folder).and_then(|()| {
            // What its user saves comes first: as much has to stay free.
            let disk = rustix::fs::statvfs(&self.folder)?;
            let had = fs::metadata(self.folder.join(RESERVE)).map_or(0, |reserve| reserve.len());
            let room = disk.f_bavail.saturating_mul(disk.f_frsize).saturating_add(had);
            let wanted = if room / 2 >= enough { enough } else { LEAST_RESERVE };
            let file = File::options().create(true).truncate(false).write(true).open(self.folder.join(RESERVE))?;
            let before = file.metadata()?.len();
            if before >= wanted {
                return file.set_len(wanted);
            }
            let taken = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, wanted);
            if taken.is_err() {
                // What it did get is of no use beyond what is counted.
                file.set_len(before)?;
            }
            Ok(taken?)
        });
        if let Err(error) = kept {
            tracing::debug!(%error, "no room is kept for another copy");
        }
    }

    /// False: there was no reserve.
    pub fn give_up_reserve(&self) -> bool {
        let reserve = self.folder.join(RESERVE);
        let had = fs::metadata(&reserve).is_ok_and(|reserve| reserve.len() > 0);
        had && fs::remove_file(&reserve).is_ok()
    }

    /// Removes a copy; none may be there any more. Its picture goes first: a description alone is nothing.
    pub fn remove(&self, id: &str) -> io::Result<()> {
        for kind in [COPY, DESCRIPTION] {
            match fs::remove_file(self.file(id, kind)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Path inside the workspace of what this is a copy of, if that is known and inside.
    pub fn original(&self, id: &str) -> Option<String> {
        let known: Recovery = serde_json::from_slice(&fs::read(self.file(id, DESCRIPTION)).ok()?).ok()?;
        let inside = |path: &String| Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
        known.original.filter(inside)
    }

    /// Moves what GIMP left in `backups/` of its profile here. GIMP would otherwise greet with a modal dialog.
    pub fn collect(&self, backups: &Path) -> io::Result<Vec<Recovery>> {
        let mut collected = Vec::new();
        for path in backup_files(backups)? {
            let size = fs::metadata(&path)?.len();
            if size == 0 {
                fs::remove_file(&path)?;
                continue;
            }
            let recovery = Recovery {
                id: Uuid::now_v7().simple().to_string(),
                name: "Untitled".to_owned(),
                original: None,
                saved_at: modified_at(&path),
                size,
                session_id: self.session_id,
            };
            fs::create_dir_all(&self.folder)?;
            fs::rename(&path, self.file(&recovery.id, COPY))?;
            collected.push(recovery);
        }
        if !collected.is_empty() {
            self.sync_folder()?;
        }
        collected.iter().try_for_each(|recovery| self.describe(recovery))?;
        Ok(collected)
    }

    /// Puts right what a sudden death left: copies without description get one, descriptions without copy go, and
    /// partial copies that GIMP had finished are kept.
    pub fn repair(&self) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let (Some(id), Some(kind)) = (path.file_stem(), path.extension()) else { continue };
            let id = id.to_string_lossy().into_owned();
            match kind.to_str() {
                Some(PARTIAL) => {
                    let known = fs::read(self.file(&id, DESCRIPTION)).ok();
                    let known = known.and_then(|text| serde_json::from_slice::<Recovery>(&text).ok());
                    let (name, original) =
                        known.map_or(("Untitled".to_owned(), None), |known| (known.name, known.original));
                    let partial = Partial { id, path: path.clone() };
                    match self.keep(&partial, &name, original) {
                        Ok(_) => {}
                        // Only what is no picture goes; a full disk must not cost a finished copy.
                        Err(error) if is_no_xcf(&error) => fs::remove_file(&path)?,
                        Err(error) => tracing::warn!(%error, "a partial copy stays for the next start"),
                    }
                }
                Some(COPY) if !self.file(&id, DESCRIPTION).exists() => {
                    self.describe(&Recovery {
                        id,
                        name: "Untitled".to_owned(),
                        original: None,
                        saved_at: modified_at(&path),
                        size: fs::metadata(&path)?.len(),
                        session_id: None,
                    })?;
                }
                Some(DESCRIPTION) if !self.file(&id, COPY).exists() && !self.file(&id, PARTIAL).exists() => {
                    fs::remove_file(&path)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn describe(&self, recovery: &Recovery) -> io::Result<()> {
        write_atomically(&self.file(&recovery.id, DESCRIPTION), &serde_json::to_vec_pretty(recovery)?)
    }

    fn file(&self, id: &str, extension: &str) -> PathBuf {
        self.folder.join(format!("{id}.{extension}"))
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }
}

fn is_no_xcf(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

/// A copy that is not yet taken in.
#[derive(Debug, Clone)]
pub struct Partial {
    id: String,
    pub path: PathBuf,
}

/// Files that would make GIMP show its recovery dialog.
pub fn backup_files(backups: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(backups) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_file() && entry.path().extension().is_some_and(|kind| kind == COPY) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// Writes a whole file: complete or not at all, also if the machine dies.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

/// Writes a whole file: readers see the old or the new one. May be lost with the machine.
pub fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    fs::write(&temporary, bytes)?;
    fs::rename(&temporary, path)
}

fn now() -> String {
    rfc3339(OffsetDateTime::now_utc())
}

fn modified_at(path: &Path) -> String {
    let time = fs::metadata(path).and_then(|data| data.modified()).unwrap_or_else(|_| SystemTime::now());
    rfc3339(time.into())
}

/// Whole seconds, UTC.
pub fn rfc3339(time: OffsetDateTime) -> String {
    time.replace_nanosecond(0).unwrap_or(time).format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(home: &Path) -> RecoveryStore {
        RecoveryStore::new(home, Uuid::nil())
    }

    fn described(home: &Path) -> Vec<Recovery> {
        let entries = fs::read_dir(home.join(RECOVERY_DIR)).expect("lists");
        let mut found: Vec<Recovery> = entries
            .map(|entry| entry.expect("entry").path())
            .filter(|path| path.extension().is_some_and(|kind| kind == DESCRIPTION))
            .map(|path| serde_json::from_slice(&fs::read(path).expect("reads")).expect("parses"))
            .collect();
        found.sort_by(|a, b| a.id.cmp(&b.id));
        found
    }

    #[test]
    fn a_reserve_grows_with_the_copies_and_is_given_up_once() {
        let home = tempfile::tempdir().expect("temporary folder");
        let store = store(home.path());
        let taken = || {
            use std::os::unix::fs::MetadataExt;
            let reserve = fs::metadata(home.path().join(RECOVERY_DIR).join(RESERVE)).expect("a reserve");
            assert!(reserve.blocks() * 512 >= reserve.len(), "really taken");
            reserve.len()
        };
        assert!(!store.give_up_reserve());
        store.keep_reserve(1000);
        assert_eq!(taken(), LEAST_RESERVE);
        store.keep_reserve(64 << 20);
        assert_eq!(taken(), 80 << 20);
        store.keep_reserve(0);
        assert_eq!(taken(), LEAST_RESERVE, "and less with smaller ones");
        store.repair().expect("repairs");
        assert_eq!(taken(), LEAST_RESERVE);
        assert!(store.give_up_reserve() && !store.give_up_reserve());
        assert!(described(home.path()).is_empty());
    }

    #[test]
    fn backups_move_into_the_store_and_empty_ones_go() {
        let home = tempfile::tempdir().expect("temporary folder");
        let backups = home.path().join("backups");
        fs::create_dir(&backups).expect("creates");
        fs::write(backups.join("backup-000.xcf"), b"gimp xcf v011 pixels").expect("writes");
        fs::write(backups.join("backup-001.xcf"), b"").expect("writes");
        fs::write(backups.join("note.txt"), b"mine").expect("writes");

        let collected = store(home.path()).collect(&backups).expect("collects");

        assert_eq!(collected.len(), 1);
        assert_eq!(described(home.path()), collected);
        let copy = home.path().join(RECOVERY_DIR).join(format!("{}.xcf", collected[0].id));
        assert_eq!(fs::read(copy).expect("reads"), b"gimp xcf v011 pixels");
        assert!(backup_files(&backups).expect("lists").is_empty());
        assert!(backups.join("note.txt").exists());
    }

    /// What looks the same may be a later state of the image, or another image.
    #[test]
    fn no_backup_is_dropped_for_a_copy_that_is_there() {
        let home = tempfile::tempdir().expect("temporary folder");
        let store = store(home.path());
        let partial = store.partial().expect("a place");
        fs::write(&partial.path, b"gimp xcf v011 pixels").expect("writes");
        let kept = store.keep(&partial, "a.png", None).expect("keeps");
        let backups = home.path().join("backups");
        fs::create_dir(&backups).expect("creates");
        for name in ["backup-000.xcf", "backup-001.xcf"] {
            fs::write(backups.join(name), b"gimp xcf v011 pixels").expect("writes");
        }
        let mut all = store.collect(&backups).expect("collects");
        assert_eq!(all.len(), 2);
        all.push(kept);
        for recovery in &all {
            let copy = home.path().join(RECOVERY_DIR).join(format!("{}.xcf", recovery.id));
            assert_eq!(fs::read(copy).expect("reads"), b"gimp xcf v011 pixels");
        }
        assert_eq!(described(home.path()).len(), 3);
    }

    #[test]
    fn repair_on_a_full_disk_loses_no_copy() {
        let Some(disk) = FullDisk::mount("gimp::recovery::tests::repair_on_a_full_disk_loses_no_copy") else { return };
        let store = store(&disk.home);
        let folder = disk.home.join(RECOVERY_DIR);
        fs::create_dir_all(&folder).expect("creates");
        for (name, bytes) in [
            ("finished.partial", &b"gimp xcf v011 a"[..]),
            ("another.partial", b"gimp xcf v011 b"),
            ("lonely.xcf", b"gimp xcf v011 c"),
            ("broken.partial", b"gi"),
        ] {
            fs::write(folder.join(name), bytes).expect("writes");
        }
        disk.fill();
        // Whatever it says: what is a picture must still be there, under either name.
        let _full = store.repair();
        let _full = store.repair();
        for (id, bytes) in
            [("finished", b"gimp xcf v011 a"), ("another", b"gimp xcf v011 b"), ("lonely", b"gimp xcf v011 c")]
        {
            let kinds = [COPY, PARTIAL].map(|kind| fs::read(folder.join(format!("{id}.{kind}"))));
            assert!(kinds.iter().flatten().any(|found| found == bytes), "{id} is lost: {kinds:?}");
        }

        disk.make_room();
        store.repair().expect("repairs");
        let mut ids: Vec<String> = described(&disk.home).into_iter().map(|recovery| recovery.id).collect();
        ids.sort();
        assert_eq!(ids, ["another", "finished", "lonely"]);
        assert!(ids.iter().all(|id| folder.join(format!("{id}.xcf")).exists()));
    }

    /// A workspace on a small file system of its own.
    struct FullDisk {
        home: PathBuf,
        _folder: tempfile::TempDir,
    }

    impl FullDisk {
        /// None in the test that only starts itself again where it may mount; the mount ends with that process.
        fn mount(test: &str) -> Option<Self> {
            const INSIDE: &str = "TEST_MAY_MOUNT";
            if std::env::var_os(INSIDE).is_none() {
                let mut command = std::process::Command::new("unshare");
                command.args(["--mount", "--propagation", "private"]);
                if !rustix::process::geteuid().is_root() {
                    command.arg("--map-root-user");
                }
                command.arg(std::env::current_exe().expect("this program")).args(["--exact", test, "--nocapture"]);
                let output = command.env(INSIDE, "1").output().expect("runs unshare");
                let said = String::from_utf8_lossy(&output.stdout);
                let complaints = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success() && said.contains("1 passed"), "{said}\n{complaints}");
                return None;
            }
            let folder = tempfile::tempdir().expect("temporary folder");
            let home = folder.path().join("home");
            fs::create_dir(&home).expect("creates");
            let mut mount = std::process::Command::new("mount");
            mount.args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(&home);
            assert!(mount.status().expect("runs mount").success());
            Some(Self { home, _folder: folder })
        }

        fn fill(&self) {
            let mut filler = File::create(self.home.join("filler")).expect("creates");
            while filler.write_all(&[1; 4096]).is_ok() {}
        }

        fn make_room(&self) {
            fs::remove_file(self.home.join("filler")).expect("removes");
        }
    }

    impl Drop for FullDisk {
        fn drop(&mut self) {
            let unmounted = std::process::Command::new("umount").arg(&self.home).status();
            assert!(unmounted.is_ok_and(|status| status.success()), "the small disk stays mounted");
        }
    }

    #[test]
    fn a_copy_is_kept_only_if_it_is_one() {
        let home = tempfile::tempdir().expect("temporary folder");
        let store = store(home.path());
        let partial = store.partial().expect("a place");
        fs::write(&partial.path, b"gimp").expect("writes");
        assert!(store.keep(&partial, "a", None).is_err());
        fs::write(&partial.path, b"gimp xcf v011").expect("writes");
        let kept = store.keep(&partial, "a.png", Some("pictures/a.png".into())).expect("keeps");
        assert_eq!((kept.name.as_str(), kept.size), ("a.png", 13));
        assert!(!partial.path.exists());
    }

    #[test]
    fn repair_describes_what_has_no_description_and_drops_what_has_no_copy() {
        let home = tempfile::tempdir().expect("temporary folder");
        let store = store(home.path());
        let folder = home.path().join(RECOVERY_DIR);
        fs::create_dir_all(&folder).expect("creates");
        fs::write(folder.join("lonely.xcf"), b"gimp xcf v011").expect("writes");
        fs::write(folder.join("finished.partial"), b"gimp xcf v011..").expect("writes");
        fs::write(folder.join("broken.partial"), b"gi").expect("writes");
        fs::write(folder.join("ghost.json"), b"{}").expect("writes");

        store.repair().expect("repairs");
        store.repair().expect("is safe to repeat");

        let ids: Vec<String> = described(home.path()).into_iter().map(|recovery| recovery.id).collect();
        assert_eq!(ids, ["finished", "lonely"]);
        assert!(folder.join("finished.xcf").exists() && !folder.join("broken.partial").exists());
    }
}
