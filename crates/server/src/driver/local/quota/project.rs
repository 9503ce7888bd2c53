//! Project quota of ext4 or XFS: one project per user, the limit kept by the kernel, the files in plain folders.
//!
//! The project's number is the user's uid. Sessions can't leave their project: see the refused requests in `seccomp`.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::bail;

use super::super::mounts;
use super::super::tool::Tool;

/// A number that no user has, for `probe`.
const PROBE_PROJECT: u32 = u32::MAX - 7;

/// A file system whose project quota proved to work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectQuota {
    mount_point: PathBuf,
}

impl ProjectQuota {
    /// Gives a folder a small limit and writes beyond it.
    ///
    /// # Errors
    /// Why it does not work, in words, with what to do.
    pub fn probe(data_dir: &Path, root: bool) -> Result<Self, String> {
        if !root {
            return Err("only root can set it".into());
        }
        let mount = mounts::holding(data_dir)
            .map_err(|error| error.to_string())?
            .ok_or_else(|| "the data directory's mount can't be found".to_owned())?;
        let enabled = mount.options.iter().any(|option| matches!(option.as_str(), "prjquota" | "pquota"));
        if !enabled {
            return Err(format!(
                "{} is not mounted with prjquota (ext4: tune2fs -O project -Q prjquota, then mount with prjquota)",
                mount.point.display()
            ));
        }
        let quota = Self { mount_point: mount.point };
        let folder = tempfile::Builder::new()
            .prefix("quota-probe-")
            .tempdir_in(data_dir)
            .map_err(|error| format!("the data directory can't be written: {error}"))?;
        quota.limit(folder.path(), PROBE_PROJECT, 1 << 20).map_err(|error| format!("{error:#}"))?;
        // Two MiB against a limit of one.
        match std::fs::write(folder.path().join("probe"), vec![1_u8; 2 << 20]) {
            Err(error) if error.kind() == io::ErrorKind::QuotaExceeded => Ok(quota),
            Err(error) => Err(format!("the probe failed: {error}")),
            Ok(()) => Err("it is switched on but not enforced (the server may hold CAP_SYS_RESOURCE)".into()),
        }
    }

    /// Puts `folder` and what is made in it later into the project, and sets its limit. Safe to repeat; takes long in a
    /// large folder.
    pub fn limit(&self, folder: &Path, project: u32, bytes: u64) -> anyhow::Result<()> {
        if project == 0 {
            bail!("project 0 has no limit");
        }
        let number = project.to_string();
        Tool::new("chattr").args(["+P", "-p", &number, "--"]).arg(folder).run()?;
        // What is there from before, kind by kind: only folders can hand the project on, links have none.
        for (kind, inherit) in [("d", &["+P"][..]), ("f", &[])] {
            let find = Tool::new("find").arg(folder).args(["-xdev", "-type", kind, "-exec", "chattr"]);
            let (code, said) = find.args(inherit).args(["-p", &number, "--", "{}", "+"]).status()?;
            if code != 0 {
                // A session of the user's may be removing files meanwhile.
                tracing::warn!(code, said, "some files of a workspace may not count towards its quota");
            }
        }
        // setquota counts blocks of 1 KiB.
        let blocks = (bytes / 1024).to_string();
        Tool::new("setquota").args(["-P", &number, "0", &blocks, "0", "0"]).arg(&self.mount_point).run()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_without_project_quota_says_what_to_do() {
        let why = ProjectQuota::probe(Path::new("/proc"), true).expect_err("/proc has no quota");
        assert!(why.contains("prjquota"), "{why}");
        assert!(ProjectQuota::probe(Path::new("/"), false).expect_err("not root").contains("root"));
    }
}
