//! Tells when somebody has finished writing a file in a folder: closed it, or moved a whole one into its place.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::future::pending;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init, remove_watch};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::sync::mpsc;

/// Room for some events at once, bytes.
const BUFFER: usize = 8192;
/// Files that nobody has asked for yet. The kernel keeps those beyond, up to 16384.
const QUEUE: usize = 256;

/// Folders that are watched. Where the system does not let us, nothing is told.
#[derive(Debug, Default)]
pub struct Saves(Option<Watch>);

#[derive(Debug)]
struct Watch {
    shared: Arc<Shared>,
    files: mpsc::Receiver<PathBuf>,
    /// The thread ends with it.
    _stop: OwnedFd,
}

#[derive(Debug)]
struct Shared {
    notices: OwnedFd,
    folders: Mutex<HashMap<i32, PathBuf>>,
}

impl Shared {
    fn folders(&self) -> MutexGuard<'_, HashMap<i32, PathBuf>> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Saves {
    /// Watches these folders and no others.
    pub fn watch(&mut self, folders: &BTreeSet<PathBuf>) {
        if self.0.is_none() && !folders.is_empty() {
            match Watch::start() {
                Ok(watch) => self.0 = Some(watch),
                Err(error) => return tracing::warn!(%error, "saves inside GIMP may be missed by the history"),
            }
        }
        if let Some(watch) = &self.0 {
            watch.shared.watch(folders);
        }
    }

    /// The next files that were written. May be dropped at any time.
    pub async fn next(&mut self) -> Vec<PathBuf> {
        let Some(watch) = &mut self.0 else { return pending().await };
        match watch.files.recv().await {
            Some(first) => {
                let mut files = vec![first];
                while let Ok(file) = watch.files.try_recv() {
                    files.push(file);
                }
                files
            }
            None => {
                tracing::warn!("saves inside GIMP may be missed by the history");
                self.0 = None;
                pending().await
            }
        }
    }
}

impl Watch {
    fn start() -> io::Result<Self> {
        let notices = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let (stopped, stop) = pipe_with(PipeFlags::CLOEXEC)?;
        let shared = Arc::new(Shared { notices, folders: Mutex::default() });
        let (sender, files) = mpsc::channel(QUEUE);
        let theirs = shared.clone();
        std::thread::Builder::new().name("saves".to_owned()).spawn(move || theirs.tell(&stopped, &sender))?;
        Ok(Self { shared, files, _stop: stop })
    }
}

impl Shared {
    fn watch(&self, folders: &BTreeSet<PathBuf>) {
        let mut watched = self.folders();
        watched.retain(|watch, folder| {
            let stays = folders.contains(folder);
            if !stays && let Err(error) = remove_watch(&self.notices, *watch) {
                tracing::debug!(%error, "a folder that is gone was watched");
            }
            stays
        });
        for folder in folders {
            if watched.values().any(|known| known == folder) {
                continue;
            }
            let flags = WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
            match add_watch(&self.notices, folder.as_path(), flags) {
                Ok(watch) => _ = watched.insert(watch, folder.clone()),
                Err(error) => tracing::debug!(%error, "a folder of an open image cannot be watched"),
            }
        }
    }

    /// Until nobody listens any more.
    fn tell(&self, stopped: &OwnedFd, files: &mpsc::Sender<PathBuf>) {
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        loop {
            let mut fds = [PollFd::new(&self.notices, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
            match poll(&mut fds, None) {
                Ok(_) if fds[1].revents().is_empty() => {}
                Err(Errno::INTR) => continue,
                _ => return,
            }
            let mut reader = Reader::new(&self.notices, &mut buffer);
            loop {
                let file = match reader.next() {
                    Ok(event) if event.events().contains(ReadFlags::IGNORED) => {
                        self.folders().remove(&event.wd());
                        continue;
                    }
                    Ok(event) => event.file_name().and_then(|name| {
                        Some(self.folders().get(&event.wd())?.join(OsStr::from_bytes(name.to_bytes())))
                    }),
                    Err(Errno::INTR) => continue,
                    Err(Errno::AGAIN) => break,
                    Err(_) => return,
                };
                if let Some(file) = file
                    && files.blocking_send(file).is_err()
                {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn files_are_told_of_once_they_are_written() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let [watched, other] = ["watched", "other"].map(|name| dir.path().join(name));
        for folder in [&watched, &other] {
            fs::create_dir(folder).expect("creates");
        }
        let mut saves = Saves::default();
        saves.watch(&BTreeSet::from([watched.clone(), dir.path().join("missing")]));
        let soon = |limit| Duration::from_millis(limit);

        let mut file = fs::File::create(watched.join("a.png")).expect("creates");
        file.write_all(b"half").expect("writes");
        assert!(tokio::time::timeout(soon(50), saves.next()).await.is_err(), "it is still being written");
        drop(file);
        let next = tokio::time::timeout(soon(5000), saves.next()).await.expect("in time");
        assert_eq!(next, [watched.join("a.png")]);

        fs::write(other.join("b.xcf"), b"whole")
            .and_then(|()| fs::rename(other.join("b.xcf"), watched.join("b.xcf")))
            .expect("moves");
        let next = tokio::time::timeout(soon(5000), saves.next()).await.expect("in time");
        assert_eq!(next, [watched.join("b.xcf")]);

        // A folder that was gone is another one.
        fs::remove_dir_all(&watched).and_then(|()| fs::create_dir(&watched)).expect("makes it anew");
        assert!(tokio::time::timeout(soon(50), saves.next()).await.is_err());
        saves.watch(&BTreeSet::from([watched.clone()]));
        fs::write(watched.join("c"), b"").expect("writes");
        let next = tokio::time::timeout(soon(5000), saves.next()).await.expect("in time");
        assert_eq!(next, [watched.join("c")]);

        saves.watch(&BTreeSet::new());
        fs::write(watched.join("d"), b"").expect("writes");
        assert!(tokio::time::timeout(soon(50), saves.next()).await.is_err(), "nobody asked");
    }
}
