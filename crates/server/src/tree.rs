//! Walks through a folder whose owner may be changing it at the same time: from one open folder to the next, never
//! through a link, so that a server that runs as root can't be led elsewhere.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;

/// Deeper folders are not entered. One descriptor is open for each level.
const MAX_DEPTH: usize = 256;
/// Most entries of a workspace that are looked at.
pub const MAX_ENTRIES: usize = 5_000_000;
const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// One file, folder or other thing below the top.
pub struct Entry<'a> {
    pub folder: BorrowedFd<'a>,
    pub name: &'a std::ffi::CStr,
    pub stat: &'a Stat,
}

/// The top of a walk.
///
/// # Errors
/// When it can't be opened, or is a link.
pub fn open(top: &Path) -> io::Result<OwnedFd> {
    Ok(openat(CWD, top, FOLDER, Mode::empty())?)
}

/// Bytes that what is below `top` takes on the disk, each file once however often it is linked; and whether everything
/// could be counted.
pub fn disk_usage(top: impl AsFd, max_entries: usize) -> (u64, bool) {
    const BLOCK: u64 = 512;
    let mut bytes = 0_u64;
    let mut linked = HashSet::new();
    let complete = visit(top, max_entries, |entry| {
        let is_folder = FileType::from_raw_mode(entry.stat.st_mode) == FileType::Directory;
        if is_folder || entry.stat.st_nlink < 2 || linked.insert(entry.stat.st_ino) {
            bytes = bytes.saturating_add(u64::try_from(entry.stat.st_blocks).unwrap_or(0).saturating_mul(BLOCK));
        }
        Ok(())
    });
    (bytes, complete.unwrap_or(false))
}

/// Calls `each` for everything below `top` on its file system, folders before what is in them; what vanishes meanwhile is
/// left out. False: there is more, closed to us, nested too deep or too much of it.
///
/// # Errors
/// Of the file system, and of `each`.
pub fn visit(
    top: impl AsFd,
    max_entries: usize,
    mut each: impl FnMut(&Entry<'_>) -> io::Result<()>,
) -> io::Result<bool> {
    let device = fstat(&top)?.st_dev;
    let mut complete = true;
    let mut entries = 0;
    let mut open = vec![Dir::read_from(&top)?];
    while let Some(folder) = open.last_mut() {
        let Some(entry) = folder.next() else {
            open.pop();
            continue;
        };
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        entries += 1;
        if entries > max_entries {
            return Ok(false);
        }
        let fd = folder.fd()?;
        let stat = match statat(fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => continue,
            Err(Errno::ACCESS) => {
                complete = false;
                continue;
            }
            stat => stat?,
        };
        if stat.st_dev != device {
            continue;
        }
        each(&Entry { folder: fd, name, stat: &stat })?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            continue;
        }
        match openat(fd, name, FOLDER, Mode::empty()) {
            // Replaced since: by nothing, a file, or a link.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            // Closed to an ordinary user's server by its own session.
            Err(Errno::ACCESS) => complete = false,
            Ok(_) if open.len() == MAX_DEPTH => complete = false,
            child => open.push(Dir::new(child?)?),
        }
    }
    Ok(complete)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn everything_is_visited_once_and_no_link_is_followed() {
        let top = tempfile::tempdir().expect("temporary folder");
        fs::create_dir_all(top.path().join("a/b")).expect("creates");
        fs::write(top.path().join("a/b/file"), "").expect("writes");
        std::os::unix::fs::symlink("/etc", top.path().join("a/link")).expect("links");
        let mut names = vec![];
        let complete = visit(open(top.path()).expect("opens"), MAX_ENTRIES, |entry| {
            names.push(entry.name.to_string_lossy().into_owned());
            Ok(())
        });
        assert!(complete.expect("walks"));
        names.sort();
        assert_eq!(names, ["a", "b", "file", "link"]);
    }

    #[test]
    fn too_deep_is_said() {
        let top = tempfile::tempdir().expect("temporary folder");
        fs::create_dir_all(top.path().join("d/".repeat(MAX_DEPTH + 1))).expect("creates");
        let mut count = 0;
        let complete = visit(open(top.path()).expect("opens"), MAX_ENTRIES, |_| {
            count += 1;
            Ok(())
        });
        assert!(!complete.expect("walks"));
        assert_eq!(count, MAX_DEPTH);
    }

    #[test]
    fn the_top_may_not_be_a_link() {
        let folder = tempfile::tempdir().expect("temporary folder");
        std::os::unix::fs::symlink("/etc", folder.path().join("link")).expect("links");
        assert!(open(&folder.path().join("link")).is_err());
    }

    #[test]
    fn files_are_counted_once_whatever_links_to_them() {
        let top = tempfile::tempdir().expect("temporary folder");
        fs::create_dir(top.path().join("sub")).expect("creates");
        fs::write(top.path().join("sub/file"), vec![1_u8; 100_000]).expect("writes");
        std::os::unix::fs::symlink("/", top.path().join("root")).expect("links");
        fs::hard_link(top.path().join("sub/file"), top.path().join("again")).expect("links");
        let (bytes, complete) = disk_usage(open(top.path()).expect("opens"), MAX_ENTRIES);
        assert!(complete && (100_000..200_000).contains(&bytes), "{bytes}");
        assert!(!disk_usage(open(top.path()).expect("opens"), 2).1, "there are four");
    }

    #[test]
    fn other_file_systems_are_left_out() {
        let device = |path| fs::metadata(path).expect("every Linux has it").dev();
        let mut terminals = false;
        let visited = visit(open(Path::new("/dev")).expect("opens"), MAX_ENTRIES, |entry| {
            terminals |= entry.name == c"pts";
            Ok(())
        });
        assert!(visited.is_ok());
        assert_eq!(terminals, device("/dev/pts") == device("/dev"));
    }
}
