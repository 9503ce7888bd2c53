//! A workspace in a sparse file with an ext4 that holds the quota, mounted on a loop device. Empty it takes a few
//! megabytes of disk; full it answers "no space left" to its own user only.
//!
//! An image grows when the quota does and never shrinks: shrinking a file system is not safe against a crash. A quota
//! below the image's size is kept by the watcher instead.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::super::mounts;
use super::super::tool::Tool;

/// Smallest image, bytes: ext4 with a journal needs some room of its own.
const SMALLEST: u64 = 16 << 20;
/// From this size on, metadata is laid out for large files, bytes.
const LARGE: u64 = 1 << 30;
/// e2fsck: 1 = errors corrected, 2 = corrected, reboot wanted (never for an unmounted image).
const FSCK_FINE: i32 = 1;

#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("no room on the disk")]
    NoRoom,
    /// The file system can't be repaired without decisions by a person.
    #[error("the image is damaged")]
    Damaged,
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

impl From<io::Error> for ImageError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoRoom,
            _ => Self::Other(error.into()),
        }
    }
}

/// Makes a small image, mounts and unmounts it.
///
/// # Errors
/// Why that does not work, in words.
pub fn probe(data_dir: &Path, root: bool) -> Result<(), String> {
    if !root {
        return Err("only root can mount one".into());
    }
    let folder = tempfile::Builder::new()
        .prefix("image-probe-")
        .tempdir_in(data_dir)
        .map_err(|error| format!("the data directory can't be written: {error}"))?;
    let point = folder.path().join("mount");
    fs::create_dir(&point).map_err(|error| error.to_string())?;
    let result = open(&folder.path().join("probe.img"), &point, (0, 0), SMALLEST);
    let unmounted = mounts::detach(&point);
    match result {
        Ok(()) => unmounted.map_err(|error| format!("the probe's image can't be unmounted: {error}")),
        Err(ImageError::Other(error)) => Err(format!("{error:#} (needed: e2fsprogs, util-linux and loop devices)")),
        Err(error) => Err(error.to_string()),
    }
}

/// Makes the image if there is none, mounts it on `point` if it is not, and grows it to `bytes`.
pub fn open(image: &Path, point: &Path, owner: (u32, u32), bytes: u64) -> Result<(), ImageError> {
    let bytes = size_for(bytes);
    let mounted = mounts::at(point)?;
    if !image.exists() && mounted.is_none() {
        make(image, owner, bytes)?;
    }
    if fs::metadata(image)?.len() < bytes {
        File::options().write(true).open(image)?.set_len(bytes)?;
    }
    match mounted {
        Some(mounted) => grow_mounted(image, Path::new(&mounted.source))?,
        None => mount(image, point)?,
    }
    let root = fs::metadata(point)?;
    if (root.uid(), root.gid()) != owner {
        super::own_all(point, owner.0, owner.1)?;
    }
    if root.mode() & 0o777 != 0o700 {
        fs::set_permissions(point, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Size of an image in which files can take so many bytes, and a little more.
pub fn size_for(bytes: u64) -> u64 {
    // Inodes (256 bytes for each 64 KiB), the journal, and what ext4 keeps for itself; see `make`.
    let own = if bytes >= LARGE { bytes / 200 + (128 << 20) } else { 0 };
    // ext4 counts in blocks of 4 KiB.
    (bytes + own).max(SMALLEST).next_multiple_of(4096)
}

/// The kernel wants CAP_SYS_RESOURCE for this, which root in a container may lack; then the image grows at its next
/// mount.
fn grow_mounted(image: &Path, device: &Path) -> Result<(), ImageError> {
    if grown(image)? {
        return Ok(());
    }
    Tool::new("losetup").arg("-c").arg(device).run()?;
    let (code, said) = Tool::new("resize2fs").arg(device).status()?;
    if code != 0 {
        tracing::warn!(code, said, "a workspace in use can't grow now and does so when it is mounted next");
    }
    Ok(())
}

/// Whether the file system fills its file, by its superblock.
fn grown(image: &Path) -> io::Result<bool> {
    // Layout: kernel documentation, filesystems/ext4/super.
    const SUPERBLOCK: u64 = 1024;
    let file = File::open(image)?;
    let number = |offset: u64| {
        let mut bytes = [0; 4];
        file.read_exact_at(&mut bytes, SUPERBLOCK + offset).map(|()| u64::from(u32::from_le_bytes(bytes)))
    };
    let block_bytes = 1024_u64 << number(24)?.min(6);
    let blocks = number(4)? | number(0x150)? << 32;
    // Up to one block group may be left over: too small for one of its own.
    let group = number(32)?.saturating_mul(block_bytes);
    Ok(file.metadata()?.len() < blocks.saturating_mul(block_bytes).saturating_add(group.max(block_bytes)))
}

/// Aside first, so that a half-made image is never taken for a user's.
fn make(image: &Path, (uid, gid): (u32, u32), bytes: u64) -> Result<(), ImageError> {
    let aside = image.with_extension("new");
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.set_len(bytes)?;
    let mut mkfs = Tool::new("mkfs.ext4")
        .args(["-q", "-F", "-m", "0", "-E"])
        .arg(format!("root_owner={uid}:{gid},lazy_itable_init=1,lazy_journal_init=1,nodiscard"));
    if bytes >= LARGE {
        // Drawings are large: one inode per 64 KiB is plenty and keeps the room for them.
        mkfs = mkfs.args(["-i", "65536", "-J", "size=64"]);
    }
    mkfs.arg("--").arg(&aside).run()?;
    file.sync_all()?;
    fs::rename(&aside, image)?;
    Ok(())
}

fn mount(image: &Path, point: &Path) -> Result<(), ImageError> {
    const OPTIONS: &str = "nosuid,nodev,noatime,discard,errors=remount-ro";
    let tool = Tool::new("mount").args(["-t", "ext4", "-o"]);
    if let Some(device) = device_of(image)? {
        // Mounted where this process can't see it: a session that outlived the mount, or another mount namespace. The
        // same device is the same file system; a second one would destroy it, and so would a check.
        tool.args([OPTIONS, "--"]).arg(device).arg(point).run()?;
    } else {
        check(image)?;
        make_loop_node().context("loop device")?;
        // discard: room freed in the workspace is given back to the disk.
        tool.arg(format!("loop,{OPTIONS}")).arg("--").arg(image).arg(point).run()?;
    }
    // Made by mkfs for e2fsck, which makes it again when needed; in a home folder it only puzzles.
    match fs::remove_dir(point.join("lost+found")) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {
            return Err(error.into());
        }
        _ => {}
    }
    Ok(())
}

/// Replays the journal after a crash, repairs what can be repaired without loss, and lets the file system fill its
/// file; at once when all that is done already.
fn check(image: &Path) -> Result<(), ImageError> {
    let check = |options: &[&str]| {
        let (code, said) = Tool::new("e2fsck").args(options).arg("--").arg(image).status()?;
        if code > FSCK_FINE {
            tracing::error!(code, said, "a workspace's image needs repair by hand");
            return Err(ImageError::Damaged);
        }
        Ok(())
    };
    check(&["-p"])?;
    if !grown(image)? {
        // resize2fs insists on a full check.
        check(&["-f", "-p"])?;
        Tool::new("resize2fs").arg("--").arg(image).run()?;
    }
    Ok(())
}

/// The loop device that has this image open.
fn device_of(image: &Path) -> anyhow::Result<Option<PathBuf>> {
    let (code, said) = Tool::new("losetup").args(["--noheadings", "--output", "NAME", "-j"]).arg(image).status()?;
    anyhow::ensure!(code == 0, "losetup -j ended with {code}: {said}");
    Ok(said.lines().next().map(|line| PathBuf::from(line.trim())))
}

/// Where no one makes device nodes (containers), the kernel's next free loop device has none yet.
fn make_loop_node() -> anyhow::Result<()> {
    const LOOP_MAJOR: u32 = 7;
    let (code, said) = Tool::new("losetup").arg("-f").status()?;
    anyhow::ensure!(code == 0, "losetup -f ended with {code}: {said}");
    let path = said.split_whitespace().next().unwrap_or_default();
    let Some(number) = path.strip_prefix("/dev/loop").and_then(|number| number.parse().ok()) else {
        anyhow::bail!("losetup -f says {said}");
    };
    if Path::new(path).exists() {
        return Ok(());
    }
    use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
    match mknodat(CWD, path, FileType::BlockDevice, Mode::RUSR | Mode::WUSR, makedev(LOOP_MAJOR, number)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
