//! Limits on memory, processes and processor time of a session by control groups, version 1, version 2 or both on one
//! machine. Each session has a group `gimp-platform/SESSION` in every hierarchy that carries one of the controllers.
//!
//! Root makes them at the top of the hierarchy, so that restarting the server's own service does not end them. An
//! ordinary user needs a delegated part of a version 2 hierarchy, see cgroups(7).

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::mounts::{self, Mount};
use crate::ids::SessionId;

const PARENT: &str = "gimp-platform";
/// Length of the time slice in which the CPU quota is counted, microseconds.
const CPU_PERIOD: u64 = 100_000;
/// How much more than its share a session may use while others leave it: a start takes two cores for a second, a filter
/// takes what it can get.
pub const BURST: u32 = 4;
/// Weight of all sessions together in version 1, for each core. At the top of a hierarchy without systemd every process
/// outside has 1024 of its own, so that with the usual 1024 all sessions would get as much as one busy process. In
/// version 2 the top has slices, each with the weight of ours.
const SHARES_PER_CORE: u64 = 4096;
/// An empty group older than this is of no use to anyone.
const LEFT_OVER: Duration = Duration::from_secs(600);
/// Longest wait for the kernel to forget the processes of a killed group.
const REMOVE_LIMIT: Duration = Duration::from_secs(5);

/// What one session may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes, swap included.
    pub memory_bytes: u64,
    /// Thousandths of a core that the session gets when all want some. Up to `BURST` times that while others leave it.
    pub cpu_millis: u32,
    /// Processes and threads.
    pub tasks: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controller {
    Memory,
    Pids,
    Cpu,
}

impl Controller {
    pub const ALL: [Self; 3] = [Self::Memory, Self::Pids, Self::Cpu];

    const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

/// One mounted hierarchy in which groups can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    version: Version,
    /// The folder that `gimp-platform/` is made in.
    base: PathBuf,
    controllers: Vec<Controller>,
}

/// What this machine offers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cgroups {
    hierarchies: Vec<Hierarchy>,
    /// Why controllers are missing.
    why_not: Vec<(Controller, String)>,
}

impl Cgroups {
    /// Finds the hierarchies and tries each with a group that is removed again.
    pub fn detect(root: bool) -> Self {
        let mounts = match mounts::all() {
            Ok(mounts) => mounts,
            Err(error) => return Self::none(&format!("/proc/self/mountinfo can't be read: {error}")),
        };
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::from_mounts(&mounts, &own, root)
    }

    fn none(why: &str) -> Self {
        Self { hierarchies: vec![], why_not: Controller::ALL.map(|controller| (controller, why.to_owned())).into() }
    }

    fn from_mounts(mounts: &[Mount], own: &str, root: bool) -> Self {
        let mut found = Self::default();
        for controller in Controller::ALL {
            let hierarchy = match Hierarchy::carrying(controller, mounts, own, root) {
                Ok(hierarchy) => hierarchy,
                Err(why) => {
                    found.why_not.push((controller, why));
                    continue;
                }
            };
            let probe = Limits { memory_bytes: 1 << 26, cpu_millis: 1000, tasks: 16 };
            match hierarchy.create(&format!("probe-{}", uuid::Uuid::new_v4()), &probe).and_then(|path| remove(&path)) {
                Ok(()) => match found.hierarchies.iter_mut().find(|known| known.base == hierarchy.base) {
                    Some(known) => known.controllers.extend(hierarchy.controllers),
                    None => found.hierarchies.push(hierarchy),
                },
                Err(error) => found.why_not.push((
                    controller,
                    format!("groups can't be made in {}: {error}{}", hierarchy.base.display(), hierarchy.advice(root)),
                )),
            }
        }
        found
    }

    /// By what a controller's limit is enforced, or why it is not and what to do.
    pub fn enforces(&self, controller: Controller) -> Result<Version, &str> {
        match self.hierarchies.iter().find(|hierarchy| hierarchy.controllers.contains(&controller)) {
            Some(hierarchy) => Ok(hierarchy.version),
            None => Err(self
                .why_not
                .iter()
                .find(|(missing, _)| *missing == controller)
                .map_or("not looked for", |(_, why)| why.as_str())),
        }
    }

    /// Makes the session's groups, or sets the limits of those that exist. Their folders are the answer.
    pub fn create(&self, session: SessionId, limits: &Limits) -> io::Result<Vec<PathBuf>> {
        let mut made = vec![];
        for hierarchy in &self.hierarchies {
            match hierarchy.create(&session.to_string(), limits) {
                Ok(path) => made.push(path),
                Err(error) => {
                    for path in &made {
                        // Empty groups; the error that matters is the one below.
                        let _ = remove(path);
                    }
                    return Err(error);
                }
            }
        }
        Ok(made)
    }

    /// Removes empty groups that a server left which died between making a group and noting it. Young ones may be about
    /// to be used, by another server of this machine as well.
    pub fn sweep(&self) -> io::Result<()> {
        for hierarchy in &self.hierarchies {
            for entry in std::fs::read_dir(hierarchy.base.join(PARENT))? {
                let entry = entry?;
                let Ok(metadata) = entry.metadata() else { continue };
                let age = metadata.modified()?.elapsed().unwrap_or_default();
                if metadata.is_dir() && age > LEFT_OVER {
                    // Busy: a session runs in it.
                    let _ = std::fs::remove_dir(entry.path());
                }
            }
        }
        Ok(())
    }

    /// Folders a session's groups would have.
    pub fn paths(&self, session: SessionId) -> Vec<PathBuf> {
        self.hierarchies.iter().map(|hierarchy| hierarchy.base.join(PARENT).join(session.to_string())).collect()
    }
}

/// Moves a process, before it has children, into groups made by `Cgroups::create`.
pub fn join(groups: &[PathBuf], pid: i32) -> io::Result<()> {
    groups.iter().try_for_each(|group| set(group, "cgroup.procs", pid))
}

/// Lifts the processor limit: hundreds of processes of a throttled group take long to die.
pub fn unthrottle(groups: &[PathBuf]) {
    for group in groups {
        for (file, unlimited) in [("cpu.max", "max"), ("cpu.cfs_quota_us", "-1")] {
            match set(group, file, unlimited) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::debug!(%error, group = %group.display(), "the processor limit stays");
                }
                _ => {}
            }
        }
    }
}

/// Removes a group whose processes are dead or dying. Fine when it is gone.
pub fn remove(group: &Path) -> io::Result<()> {
    let deadline = Instant::now() + REMOVE_LIMIT;
    loop {
        match std::fs::remove_dir(group) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            // Killed processes stay in their group until they are reaped.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(error),
        }
    }
}

impl Hierarchy {
    /// The hierarchy with `controller`, or why there is none.
    fn carrying(controller: Controller, mounts: &[Mount], own: &str, root: bool) -> Result<Self, String> {
        let name = controller.name();
        let first = mounts
            .iter()
            .find(|mount| mount.file_system == "cgroup" && mount.options.iter().any(|option| option == name));
        if let Some(mount) = first {
            if !root {
                return Err(format!(
                    "the {name} controller is in a version 1 hierarchy, which only root may use: run the server as root"
                ));
            }
            return Ok(Self { version: Version::V1, base: mount.point.clone(), controllers: vec![controller] });
        }
        let Some(mount) = mounts.iter().find(|mount| mount.file_system == "cgroup2") else {
            return Err("no cgroup file system is mounted: mount -t cgroup2 cgroup2 /sys/fs/cgroup".into());
        };
        let base = if root { Some(mount.point.clone()) } else { delegated(&mount.point, own) };
        let Some(base) = base else {
            return Err(format!(
                "no part of {} is delegated to this user: start the server with `systemd-run --user --scope -p \
                 Delegate=yes`, or as root",
                mount.point.display()
            ));
        };
        let offered = std::fs::read_to_string(base.join("cgroup.controllers")).unwrap_or_default();
        if !offered.split_whitespace().any(|offer| offer == name) {
            return Err(format!("the kernel or systemd does not offer the {name} controller in {}", base.display()));
        }
        Ok(Self { version: Version::V2, base, controllers: vec![controller] })
    }

    fn advice(&self, root: bool) -> &'static str {
        match (self.version, root) {
            (Version::V2, true) => {
                " (in a container, give it its own cgroup namespace with write access, or run on the host)"
            }
            _ => "",
        }
    }

    fn create(&self, name: &str, limits: &Limits) -> io::Result<PathBuf> {
        let parent = self.base.join(PARENT);
        let group = parent.join(name);
        std::fs::create_dir_all(&parent)?;
        if self.version == Version::V2 {
            // Children get a controller only if every level above passes it on.
            for controller in &self.controllers {
                let pass_on = format!("+{}", controller.name());
                set(&self.base, "cgroup.subtree_control", &pass_on)?;
                set(&parent, "cgroup.subtree_control", &pass_on)?;
            }
        }
        if self.version == Version::V1 && self.controllers.contains(&Controller::Cpu) {
            let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
            set(&parent, "cpu.shares", SHARES_PER_CORE.saturating_mul(cores))?;
        }
        std::fs::create_dir_all(&group)?;
        for controller in &self.controllers {
            for (file, value, optional) in settings(*controller, self.version, limits) {
                match set(&group, file, &value) {
                    Err(error) if optional && error.kind() == io::ErrorKind::NotFound => {}
                    result => result?,
                }
            }
        }
        Ok(group)
    }
}

/// File, value, and whether a kernel may lack it.
fn settings(controller: Controller, version: Version, limits: &Limits) -> Vec<(&'static str, String, bool)> {
    let millis = u64::from(limits.cpu_millis);
    let quota = (millis * u64::from(BURST) * CPU_PERIOD / 1000).max(1000);
    let memory = limits.memory_bytes.to_string();
    match (controller, version) {
        // Memory with swap can't be set below memory, so memory comes first; kernels without swap accounting lack it.
        (Controller::Memory, Version::V1) => {
            vec![("memory.limit_in_bytes", memory.clone(), false), ("memory.memsw.limit_in_bytes", memory, true)]
        }
        (Controller::Memory, Version::V2) => {
            vec![("memory.max", memory, false), ("memory.swap.max", "0".into(), true)]
        }
        (Controller::Pids, _) => vec![("pids.max", limits.tasks.to_string(), false)],
        (Controller::Cpu, Version::V1) => {
            vec![
                ("cpu.shares", (1024 * millis / 1000).max(2).to_string(), false),
                ("cpu.cfs_period_us", CPU_PERIOD.to_string(), false),
                ("cpu.cfs_quota_us", quota.to_string(), false),
            ]
        }
        (Controller::Cpu, Version::V2) => vec![
            ("cpu.weight", (100 * millis / 1000).clamp(1, 10_000).to_string(), false),
            ("cpu.max", format!("{quota} {CPU_PERIOD}"), false),
        ],
    }
}

/// The highest group above our own that this user may manage and move processes within.
fn delegated(mount_point: &Path, own: &str) -> Option<PathBuf> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let own = mount_point.join(path);
    own.ancestors()
        .take_while(|ancestor| ancestor.starts_with(mount_point))
        .take_while(|ancestor| {
            ["", "cgroup.procs", "cgroup.subtree_control"]
                .iter()
                .all(|file| rustix::fs::access(ancestor.join(file), rustix::fs::Access::WRITE_OK).is_ok())
        })
        .last()
        .map(Path::to_owned)
}

fn set(group: &Path, file: &str, value: impl std::fmt::Display) -> io::Result<()> {
    // Never creates: outside a real cgroup file system this has to fail.
    let mut file = std::fs::OpenOptions::new().write(true).open(group.join(file))?;
    io::Write::write_all(&mut file, value.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { memory_bytes: 1 << 30, cpu_millis: 1500, tasks: 512 };

    #[test]
    fn both_versions_say_the_same_in_their_own_words() {
        let text = |controller, version| {
            settings(controller, version, &LIMITS)
                .into_iter()
                .map(|(file, value, _)| format!("{file}={value}"))
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(
            text(Controller::Memory, Version::V1),
            "memory.limit_in_bytes=1073741824 memory.memsw.limit_in_bytes=1073741824"
        );
        assert_eq!(text(Controller::Memory, Version::V2), "memory.max=1073741824 memory.swap.max=0");
        assert_eq!(
            text(Controller::Cpu, Version::V1),
            "cpu.shares=1536 cpu.cfs_period_us=100000 cpu.cfs_quota_us=600000"
        );
        assert_eq!(text(Controller::Cpu, Version::V2), "cpu.weight=150 cpu.max=600000 100000");
        assert_eq!(text(Controller::Pids, Version::V2), "pids.max=512");
    }

    #[test]
    fn a_machine_without_cgroups_says_so() {
        let cgroups = Cgroups::from_mounts(&[], "", true);
        for controller in Controller::ALL {
            let why = cgroups.enforces(controller).expect_err("nothing is mounted");
            assert!(why.contains("mount -t cgroup2"), "{why}");
        }
        assert_eq!(cgroups.create(SessionId::new(), &LIMITS).expect("nothing to make"), Vec::<PathBuf>::new());
    }

    #[test]
    fn an_ordinary_user_is_told_why_version_1_is_out_of_reach() {
        let mount = Mount {
            point: "/sys/fs/cgroup/memory".into(),
            file_system: "cgroup".into(),
            source: "cgroup".into(),
            options: vec!["rw".into(), "memory".into()],
        };
        let cgroups = Cgroups::from_mounts(&[mount], "", false);
        assert!(cgroups.enforces(Controller::Memory).expect_err("not root").contains("as root"));
    }

    /// Folders laid out like a delegated hierarchy; permission bits stand for delegation, so not as root.
    #[test]
    fn the_highest_delegated_group_is_used() {
        if rustix::process::geteuid().is_root() {
            // Everything is delegated to root, up to the mount point.
            let tree = tree();
            assert_eq!(delegated(tree.path(), "0::/user.slice/app.slice/server.scope\n"), Some(tree.path().into()));
            return;
        }
        let tree = tree();
        let closed = std::os::unix::fs::PermissionsExt::from_mode(0o555);
        std::fs::set_permissions(tree.path(), closed).expect("closes the top");
        let found = delegated(tree.path(), "0::/user.slice/app.slice/server.scope\n");
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(tree.path(), open).expect("opens the top again");
        assert_eq!(found, Some(tree.path().join("user.slice")));
    }

    fn tree() -> tempfile::TempDir {
        let tree = tempfile::tempdir().expect("temporary folder");
        for group in ["", "user.slice", "user.slice/app.slice", "user.slice/app.slice/server.scope"] {
            std::fs::create_dir_all(tree.path().join(group)).expect("creates");
            for file in ["cgroup.procs", "cgroup.subtree_control"] {
                std::fs::write(tree.path().join(group).join(file), "").expect("writes");
            }
        }
        tree
    }

    #[test]
    fn a_process_outside_version_2_has_nothing_delegated() {
        assert_eq!(delegated(Path::new("/sys/fs/cgroup"), "4:memory:/a\n"), None);
    }

    #[test]
    fn only_old_empty_groups_are_swept_away() {
        let base = tempfile::tempdir().expect("temporary folder");
        let parent = base.path().join(PARENT);
        let make = |name: &str, minutes: u64| {
            let group = parent.join(name);
            std::fs::create_dir_all(&group).expect("creates");
            if name == "used" {
                std::fs::write(group.join("process"), "").expect("writes");
            }
            let then = std::time::SystemTime::now() - Duration::from_secs(minutes * 60);
            std::fs::File::open(&group).and_then(|group| group.set_modified(then)).expect("ages");
        };
        [("old", 60), ("young", 1), ("used", 60)].into_iter().for_each(|(name, minutes)| make(name, minutes));
        let hierarchy = Hierarchy { version: Version::V1, base: base.path().into(), controllers: vec![] };
        Cgroups { hierarchies: vec![hierarchy], why_not: vec![] }.sweep().expect("sweeps");
        let mut left: Vec<_> =
            std::fs::read_dir(&parent).expect("reads").flatten().map(|entry| entry.file_name()).collect();
        left.sort();
        assert_eq!(left, ["used", "young"]);
    }

    #[test]
    fn removing_a_group_twice_is_fine() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let group = dir.path().join("group");
        std::fs::create_dir(&group).expect("creates");
        remove(&group).expect("removes");
        remove(&group).expect("is gone");
    }
}
