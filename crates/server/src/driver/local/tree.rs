//! Walks through a folder whose owner may be changing it at the same time: from one open folder to the next, never
//! through a link, so that a server that runs as root can't be led elsewhere.

use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, openat, statat};
use rustix::io::Errno;

/// Deeper folders are not entered. One descriptor is open for each level.
const MAX_DEPTH: usize = 256;
/// More entries are not looked at.
const MAX_ENTRIES: u64 = 5_000_000;
const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// One file, folder or other thing below the top.
pub struct Entry<'a> {
    pub folder: rustix::fd::BorrowedFd<'a>,
    pub name: &'a std::ffi::CStr,
    pub stat: &'a Stat,
}

/// Calls `each` for everything below `top`, folders before what is in them; what vanishes meanwhile is left out. False:
/// there is more, nested too deep or too much of it.
pub fn visit(top: &Path, mut each: impl FnMut(&Entry<'_>) -> io::Result<()>) -> io::Result<bool> {
    let mut complete = true;
    let mut entries = 0;
    let mut open = vec![Dir::new(openat(CWD, top, FOLDER, Mode::empty())?)?];
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
        if entries > MAX_ENTRIES {
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

    use super::*;

    #[test]
    fn everything_is_visited_once_and_no_link_is_followed() {
        let top = tempfile::tempdir().expect("temporary folder");
        fs::create_dir_all(top.path().join("a/b")).expect("creates");
        fs::write(top.path().join("a/b/file"), "").expect("writes");
        std::os::unix::fs::symlink("/etc", top.path().join("a/link")).expect("links");
        let mut names = vec![];
        let complete = visit(top.path(), |entry| {
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
        let complete = visit(top.path(), |_| {
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
        assert!(visit(&folder.path().join("link"), |_| Ok(())).is_err());
    }
}
