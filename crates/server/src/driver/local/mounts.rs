//! What is mounted where in this process's view of the file system, and the small mounts the driver makes itself.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// One line of `/proc/self/mountinfo`, see proc_pid_mountinfo(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    pub point: PathBuf,
    pub file_system: String,
    pub source: OsString,
    /// Options of the file system, such as `prjquota` or the controllers of a cgroup hierarchy.
    pub options: Vec<String>,
}

/// All mounts, the latest last.
pub fn all() -> io::Result<Vec<Mount>> {
    Ok(parse(&std::fs::read("/proc/self/mountinfo")?))
}

/// The mount whose root is `point`.
pub fn at(point: &Path) -> io::Result<Option<Mount>> {
    let point = std::path::absolute(point)?;
    Ok(all()?.into_iter().rev().find(|mount| mount.point == point))
}

/// The mount that `path` lies in.
pub fn holding(path: &Path) -> io::Result<Option<Mount>> {
    let path = path.canonicalize()?;
    Ok(all()?
        .into_iter()
        .rev()
        .filter(|mount| path.starts_with(&mount.point))
        .max_by_key(|mount| mount.point.as_os_str().len()))
}

/// A tmpfs of `bytes` that only its owner can enter.
pub fn tmpfs(point: &Path, bytes: u64) -> io::Result<()> {
    let options = std::ffi::CString::new(format!("size={bytes},nr_inodes=4096,mode=0700"))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(mount("gimp-platform", point, "tmpfs", flags, Some(options.as_c_str()))?)
}

/// Unmounts everything on `point`, also when it is busy elsewhere. Fine when nothing is mounted.
pub fn detach(point: &Path) -> io::Result<()> {
    while at(point)?.is_some() {
        unmount(point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?;
    }
    Ok(())
}

/// Unmounts `point` unless it is in use; false: it is.
pub fn release(point: &Path) -> io::Result<bool> {
    match unmount(point, UnmountFlags::NOFOLLOW) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::BUSY) => Ok(false),
        Err(rustix::io::Errno::INVAL) if at(point)?.is_none() => Ok(true),
        Err(error) => Err(error.into()),
    }
}

fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|byte| *byte == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let point = unescape(fields.nth(4)?);
    let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
    let file_system = String::from_utf8_lossy(fields.next()?).into_owned();
    let source = unescape(fields.next()?);
    let options = String::from_utf8_lossy(fields.next()?).split(',').map(str::to_owned).collect();
    Some(Mount { point: point.into(), file_system, source, options })
}

/// The kernel writes blank, tab, newline and backslash as `\ooo`.
fn unescape(field: &[u8]) -> OsString {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let code = (*first == b'\\')
            .then(|| tail.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(byte) => {
                out.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(out)
}

/// Bytes of `path`'s file system that this process may still write, and its whole size.
pub fn space(path: &Path) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::statvfs(path)?;
    Ok((stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_and_without_optional_fields() {
        let mounts = parse(
            b"36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 shared:2 - ext3 /dev/root rw,prjquota\n\
              37 35 0:5 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\nbroken",
        );
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[0].point, Path::new("/mnt 2"));
        assert_eq!(mounts[0].file_system, "ext3");
        assert!(mounts[0].options.iter().any(|option| option == "prjquota"));
        assert_eq!(mounts[1].point, Path::new("/sys/fs/cgroup/memory"));
        assert!(mounts[1].options.iter().any(|option| option == "memory"));
    }

    #[test]
    fn a_backslash_that_escapes_nothing_stays() {
        assert_eq!(unescape(br"a\134b\9"), OsString::from(r"a\b\9"));
    }

    #[test]
    fn proc_is_found_by_a_path_inside_it() {
        let mount = holding(Path::new("/proc/self/status")).expect("reads").expect("proc is mounted");
        assert_eq!(mount.file_system, "proc");
    }
}
