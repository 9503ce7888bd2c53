//! A directory of a workspace, held open: the only way to what is in it.
//!
//! A workspace belongs to a session that may be hostile and runs at the same time, while the server may be root. So no
//! path is ever handed to the kernel: each component is opened in the handle of its parent, never following a link,
//! and what was opened is looked at before it is used. A handle stays inside the workspace because nothing can be moved
//! out of a mount. New things are given to the owner through their handle.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, RenameFlags, Stat, Uid};
use rustix::io::Errno;

use super::error::FileError;
use super::path::Name;

/// uid and gid that new files get; None: leave them the server's.
pub type Owner = Option<(u32, u32)>;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(GUARDS);
/// `NONBLOCK` so that a pipe, or a lease on a file, can't hold us.
const GUARDS: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// Blocking: use on the blocking threads.
#[derive(Debug)]
pub struct Folder {
    fd: OwnedFd,
    owner: Owner,
}

impl Folder {
    /// The top of a workspace, by the path the driver gave.
    pub fn open(path: &Path, owner: Owner) -> Result<Self, FileError> {
        let fd = rustix::fs::openat(CWD, path, FOLDER, Mode::empty())?;
        Ok(Self { fd, owner })
    }

    pub fn child(&self, name: &Name) -> Result<Self, FileError> {
        Ok(self.child_errno(name.as_bytes())?)
    }

    fn child_errno(&self, name: &[u8]) -> Result<Self, Errno> {
        let fd = rustix::fs::openat(&self.fd, name, FOLDER, Mode::empty())?;
        Ok(Self { fd, owner: self.owner })
    }

    /// Follows folders down.
    pub fn descend(&self, names: &[Name]) -> Result<Self, FileError> {
        let mut folder = Self { fd: self.fd.try_clone()?, owner: self.owner };
        for name in names {
            folder = folder.child(name)?;
        }
        Ok(folder)
    }

    /// Opens a regular file for reading.
    pub fn open_file(&self, name: &Name) -> Result<(File, Stat), FileError> {
        self.open_regular(name, OFlags::RDONLY)
    }

    /// Opens an existing regular file for writing.
    pub fn open_file_to_write(&self, name: &Name) -> Result<(File, Stat), FileError> {
        self.open_regular(name, OFlags::WRONLY)
    }

    fn open_regular(&self, name: &Name, mode: OFlags) -> Result<(File, Stat), FileError> {
        // Opening alone can have effects on a device or a pipe.
        require_regular(&self.stat(name)?)?;
        let fd = rustix::fs::openat(&self.fd, name.as_bytes(), mode | GUARDS, Mode::empty())?;
        // It may have been exchanged in between.
        let stat = rustix::fs::fstat(&fd)?;
        require_regular(&stat)?;
        Ok((File::from(fd), stat))
    }

    /// Makes a file that must not exist.
    pub fn create_file(&self, name: &Name) -> Result<File, FileError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | GUARDS;
        let fd = rustix::fs::openat(&self.fd, name.as_bytes(), flags, Mode::from_raw_mode(0o644))?;
        self.give(&fd)?;
        Ok(File::from(fd))
    }

    /// Makes a file that must not exist, with this content, and makes it last.
    pub fn write_new(&self, name: &Name, content: &[u8]) -> Result<(), FileError> {
        let mut file = self.create_file(name)?;
        if let Err(error) = file.write_all(content).and_then(|()| file.sync_all()) {
            // Half a file is worse than none.
            let _ = self.remove_file(name);
            return Err(error.into());
        }
        Ok(())
    }

    /// The content of a regular file of at most `limit` bytes.
    pub fn read_small(&self, name: &Name, limit: u64) -> Result<Vec<u8>, FileError> {
        let (file, _) = self.open_file(name)?;
        let mut content = Vec::new();
        file.take(limit + 1).read_to_end(&mut content)?;
        if content.len() as u64 > limit {
            return Err(FileError::Internal(anyhow::anyhow!(
                "a file of the platform's folder is larger than it can be"
            )));
        }
        Ok(content)
    }

    /// Makes a folder that must not exist.
    pub fn create_folder(&self, name: &Name) -> Result<Self, FileError> {
        rustix::fs::mkdirat(&self.fd, name.as_bytes(), Mode::from_raw_mode(0o755))?;
        let folder = self.child(name)?;
        folder.give(&folder.fd)?;
        Ok(folder)
    }

    fn give(&self, fd: &impl AsFd) -> Result<(), FileError> {
        if let Some((uid, gid)) = self.owner {
            rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
        Ok(())
    }

    /// Opens a folder, making it if needed. Anything else of that name is moved aside, not removed: the session owns
    /// what it put there.
    pub fn ensure_folder(&self, name: &Name) -> Result<Self, FileError> {
        for _ in 0..8 {
            match self.child_errno(name.as_bytes()) {
                Ok(folder) => return Ok(folder),
                Err(Errno::NOENT) => match self.create_folder(name) {
                    Err(FileError::Exists) => {}
                    other => return other,
                },
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    let aside = name.variant(&uuid::Uuid::new_v4().simple().to_string(), 1);
                    match self.rename_new(name, self, &aside) {
                        Ok(()) | Err(FileError::NotFound) => {}
                        Err(error) => return Err(error),
                    }
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(FileError::Busy)
    }

    /// Of the entry itself, not of what a link points to.
    pub fn stat(&self, name: &Name) -> Result<Stat, FileError> {
        Ok(rustix::fs::statat(&self.fd, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    pub fn own_stat(&self) -> Result<Stat, FileError> {
        Ok(rustix::fs::fstat(&self.fd)?)
    }

    /// Names in this folder in the file system's order. Names longer than ours are left out.
    pub fn names(&self) -> Result<impl Iterator<Item = Result<Name, FileError>> + use<>, FileError> {
        let dir = rustix::fs::Dir::read_from(&self.fd)?;
        Ok(dir.filter_map(|entry| match entry {
            Ok(entry) => Name::from_bytes(entry.file_name().to_bytes()).ok().map(Ok),
            Err(errno) => Some(Err(errno.into())),
        }))
    }

    /// Renames without ever replacing anything.
    pub fn rename_new(&self, name: &Name, to: &Self, new_name: &Name) -> Result<(), FileError> {
        match self.rename(name, to, new_name, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL) => Err(FileError::IntoItself),
            other => Ok(other?),
        }
    }

    /// Swaps two existing entries in one step.
    pub fn exchange(&self, name: &Name, other: &Self, other_name: &Name) -> Result<(), FileError> {
        Ok(self.rename(name, other, other_name, RenameFlags::EXCHANGE)?)
    }

    fn rename(&self, name: &Name, to: &Self, new_name: &Name, flags: RenameFlags) -> Result<(), Errno> {
        rustix::fs::renameat_with(&self.fd, name.as_bytes(), &to.fd, new_name.as_bytes(), flags)
    }

    /// Removes a file, link, pipe or socket.
    pub fn remove_file(&self, name: &Name) -> Result<(), FileError> {
        Ok(rustix::fs::unlinkat(&self.fd, name.as_bytes(), AtFlags::empty())?)
    }

    /// Removes an empty folder.
    pub fn remove_empty_folder(&self, name: &Name) -> Result<(), FileError> {
        Ok(rustix::fs::unlinkat(&self.fd, name.as_bytes(), AtFlags::REMOVEDIR)?)
    }

    /// Makes a folder readable and writable for its owner, so that it can be emptied.
    pub fn unlock_folder(&self, name: &Name) -> Result<(), FileError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, name.as_bytes(), flags, Mode::empty())?;
        // fchmod refuses path handles; this names the same handle.
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
        Ok(rustix::fs::chmodat(CWD, path, Mode::from_raw_mode(0o700), AtFlags::empty())?)
    }

    /// Makes renames and new entries of this folder last.
    pub fn sync(&self) -> Result<(), FileError> {
        Ok(rustix::fs::fsync(&self.fd)?)
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn require_regular(stat: &Stat) -> Result<(), FileError> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(()),
        FileType::Directory => Err(FileError::IsFolder),
        _ => Err(FileError::Special),
    }
}
