//! Which protections this machine gives sessions, found by running a sandbox and looking around in it. For `doctor` and
//! the administrators' page.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use protocol::agent::paths;

use super::cgroup::{Controller, Version};
use super::quota::QuotaChoice;
use super::sandbox::{self, Output, Program, Sandbox, SandboxError, Shared};
use super::{ADDRESS_SPACE_MARGIN, Inner, Machine, Protection, QuotaMechanism, find_program, tool};

const TRIAL_LIMIT: Duration = Duration::from_secs(30);
const TRIAL_MEMORY: u64 = 512 << 20;
/// bubblewrap that knows `--disable-userns` and `--size`.
const OLDEST_BWRAP: (u32, u32) = (0, 8);

/// Everything is printed under a heading, so that one sandbox answers all.
const SCRIPT: &str = "
echo '== status'; cat /proc/self/status
echo '== interfaces'; tail -n +3 /proc/net/dev | cut -d: -f1
echo '== system'; for folder in /usr /etc / /opt; do touch $folder/trial 2>/dev/null && echo $folder; done
echo '== tmp'; ls -A /tmp
echo '== processes'; ls -d /proc/[0-9]* | wc -l
";

/// What the trial sandbox said.
#[derive(Debug, Default)]
struct Trial {
    text: String,
}

impl Inner {
    /// Tries everything; takes about a second.
    pub(super) async fn check(&self, machine: &Machine) -> Vec<Protection> {
        let mut found = vec![bubblewrap()];
        let trial = self.trial().await;
        match &trial {
            Ok(trial) => found.extend(trial.protections(self.root, self.options.first_uid)),
            Err(why) => found.push(off("sandbox", format!("a trial sandbox failed: {why}"))),
        }
        found.extend(limits(machine));
        found.push(disk_quota(&machine.quota));
        found
    }

    async fn trial(&self) -> Result<Trial, String> {
        let agent = self.agent_program().map_err(|error| error.to_string())?;
        let text = self.trial_run(&agent).await.map_err(|error| format!("{error:#}"))?;
        Ok(Trial { text })
    }

    async fn trial_run(&self, agent: &Path) -> anyhow::Result<String> {
        let work = tempfile::Builder::new().prefix("trial-").tempdir_in(&self.options.data_dir)?;
        let identity = self.identity(0)?;
        let folder = |name: &str| -> io::Result<_> {
            let path = work.path().join(name);
            fs::create_dir(&path)?;
            if let Some((uid, gid)) = identity.owner() {
                std::os::unix::fs::chown(&path, Some(uid), Some(gid))?;
            }
            Ok(path)
        };
        let sandbox = Sandbox {
            bwrap: find_program("bwrap").context("bwrap is missing: apt install bubblewrap")?,
            identity,
            agent: agent.to_owned(),
            warm: None,
            etc: folder("etc")?,
            shared: vec![
                Shared { outside: folder("home")?, inside: paths::HOME },
                Shared { outside: folder("run")?, inside: paths::RUN_DIR },
            ],
            memory_bytes: TRIAL_MEMORY,
            address_space: None,
        };
        sandbox.write_etc(uuid::Uuid::nil())?;
        let (out, errors) = (work.path().join("out"), work.path().join("errors"));
        let output =
            Output { stdout: Stdio::from(fs::File::create(&out)?), stderr: Stdio::from(fs::File::create(&errors)?) };
        let said = || fs::read_to_string(&errors).unwrap_or_default();
        let waiting = match sandbox.spawn(&Program::Shell(SCRIPT), output).await {
            Err(SandboxError::Refused) => anyhow::bail!("{}{}", said().trim(), namespaces_advice()),
            result => result?,
        };
        waiting.run_to_end(TRIAL_LIMIT).await?;
        let text = fs::read_to_string(out)?;
        anyhow::ensure!(!text.is_empty(), "{}{}", said().trim(), namespaces_advice());
        Ok(text)
    }
}

impl Trial {
    /// Lines below a heading.
    fn part(&self, heading: &str) -> Vec<&str> {
        let lines = self.text.lines().skip_while(|line| line.strip_prefix("== ") != Some(heading)).skip(1);
        lines.take_while(|line| !line.starts_with("== ")).map(str::trim).filter(|line| !line.is_empty()).collect()
    }

    fn status(&self, name: &str) -> String {
        let line = self.part("status").into_iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or("missing").trim().to_owned()
    }

    fn protections(&self, root: bool, first_uid: u32) -> Vec<Protection> {
        let capabilities = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
        let held: Vec<_> =
            capabilities.iter().filter(|set| u64::from_str_radix(&self.status(set), 16) != Ok(0)).collect();
        let no_new_privileges = self.status("NoNewPrivs") == "1";
        let interfaces: Vec<_> = self.part("interfaces").into_iter().filter(|name| *name != "lo").collect();
        let writable = self.part("system");
        let tmp = self.part("tmp");
        let processes = self.part("processes").first().and_then(|count| count.parse::<u32>().ok()).unwrap_or(u32::MAX);
        vec![
            if root {
                on("separate uids", format!("each user's sessions run as a uid of their own, from {first_uid} on"))
            } else {
                off(
                    "separate uids",
                    "all sessions run as the server's user, apart only by namespaces; start the server as root to give \
                     each user a uid"
                        .into(),
                )
            },
            verdict(
                "no privileges",
                held.is_empty() && no_new_privileges,
                "no capabilities, no_new_privs".into(),
                format!("capability sets that are not empty: {held:?}; NoNewPrivs {no_new_privileges}"),
            ),
            verdict(
                "system call filter",
                self.status("Seccomp") == "2",
                "mounts, namespaces, tracing, kernel modules, keys, io_uring, raw sockets and unknown calls are refused"
                    .into(),
                "the kernel lacks CONFIG_SECCOMP_FILTER".into(),
            ),
            verdict(
                "own processes only",
                processes < 16,
                "a process namespace of its own".into(),
                format!("{processes} processes can be seen"),
            ),
            verdict(
                "no network",
                interfaces.is_empty(),
                "a network namespace with nothing but its own loopback".into(),
                format!("network interfaces can be seen: {interfaces:?}"),
            ),
            verdict(
                "read-only system",
                writable.is_empty(),
                "everything but the workspace, /tmp, /dev/shm and the session's run folder is read-only".into(),
                format!("can be written: {writable:?}"),
            ),
            verdict(
                "private /tmp",
                tmp.is_empty(),
                "a file system of its own with a size limit".into(),
                "files of the machine's /tmp can be seen".into(),
            ),
        ]
    }
}

fn bubblewrap() -> Protection {
    const NAME: &str = "bubblewrap";
    let version = match tool::Tool::new("bwrap").args(["--version"]).status() {
        Ok((0, said)) => said,
        _ => return off(NAME, "bwrap is missing: apt install bubblewrap".into()),
    };
    let mut numbers =
        version.split(' ').next_back().unwrap_or_default().split('.').map(|number| number.parse().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let (major, minor) = OLDEST_BWRAP;
    verdict(
        NAME,
        found >= OLDEST_BWRAP,
        version.clone(),
        format!("{version} is too old, {major}.{minor} or newer is needed"),
    )
}

fn limits(machine: &Machine) -> Vec<Protection> {
    Controller::ALL
        .into_iter()
        .map(|controller| {
            let (name, fallback) = match controller {
                Controller::Memory => (
                    "memory limit",
                    format!(
                        "; instead each process gets {} GiB of address space above the session's memory",
                        ADDRESS_SPACE_MARGIN >> 30
                    ),
                ),
                Controller::Pids => ("process limit", String::new()),
                Controller::Cpu => ("processor limit", "; sessions share the processors as the kernel sees fit".into()),
            };
            match (machine.cgroups.enforces(controller), controller) {
                (Ok(Version::V1), _) => on(name, "control groups, version 1".into()),
                (Ok(Version::V2), _) => on(name, "control groups, version 2".into()),
                (Err(why), Controller::Pids) => on(
                    name,
                    format!(
                        "at most {} processes per user by resource limit; no control groups: {why}",
                        sandbox::TASKS
                    ),
                ),
                (Err(why), Controller::Memory | Controller::Cpu) => off(name, format!("{why}{fallback}")),
            }
        })
        .collect()
}

fn disk_quota(choice: &QuotaChoice) -> Protection {
    let kept_by_kernel = match choice.mechanism {
        QuotaMechanism::ProjectQuota | QuotaMechanism::Image => true,
        QuotaMechanism::Watcher => false,
    };
    Protection { name: "disk quota", on: kept_by_kernel, detail: choice.detail.clone() }
}

/// Which switch of this machine forbids namespaces, if one does.
fn namespaces_advice() -> String {
    let is = |path: &str, value: &str| fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        return ". Allow user namespaces: sysctl kernel.unprivileged_userns_clone=1".into();
    }
    if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        return ". AppArmor keeps ordinary users from making namespaces: run the server as root, or install an AppArmor \
                profile for bwrap"
            .into();
    }
    if is("/proc/sys/user/max_user_namespaces", "0") {
        return ". Allow user namespaces: sysctl user.max_user_namespaces=10000".into();
    }
    String::new()
}

fn verdict(name: &'static str, good: bool, how: String, why_not: String) -> Protection {
    if good { on(name, how) } else { off(name, why_not) }
}

const fn on(name: &'static str, detail: String) -> Protection {
    Protection { name, on: true, detail }
}

const fn off(name: &'static str, detail: String) -> Protection {
    Protection { name, on: false, detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(status: &str, rest: &str) -> Trial {
        Trial { text: format!("== status\n{status}\n{rest}") }
    }

    const GOOD: &str = "CapInh:\t0\nCapPrm:\t0\nCapEff:\t0\nCapBnd:\t0\nCapAmb:\t0\nNoNewPrivs:\t1\nSeccomp:\t2";

    #[test]
    fn a_tight_sandbox_has_every_protection() {
        let trial = trial(GOOD, "== interfaces\n    lo\n== system\n== tmp\n== processes\n5\n");
        for protection in trial.protections(true, 200_000) {
            assert!(protection.on, "{protection:?}");
        }
        let ordinary = trial.protections(false, 200_000);
        let off: Vec<_> =
            ordinary.iter().filter(|protection| !protection.on).map(|protection| protection.name).collect();
        assert_eq!(off, ["separate uids"]);
    }

    #[test]
    fn each_leak_is_named() {
        let leaky = trial(
            "CapEff:\t00000000a80425fb\nNoNewPrivs:\t0\nSeccomp:\t0",
            "== interfaces\nlo\neth0\n== system\n/usr\n== tmp\nx\n== processes\n200\n",
        );
        let off: Vec<_> = leaky
            .protections(true, 1)
            .into_iter()
            .filter(|protection| !protection.on)
            .map(|protection| protection.name)
            .collect();
        assert_eq!(
            off,
            [
                "no privileges",
                "system call filter",
                "own processes only",
                "no network",
                "read-only system",
                "private /tmp"
            ]
        );
    }

    #[test]
    fn a_sandbox_that_said_nothing_protects_from_nothing() {
        let silent = Trial::default();
        let on: Vec<_> = silent
            .protections(true, 1)
            .into_iter()
            .filter(|protection| protection.on)
            .map(|protection| protection.name)
            .collect();
        // What would have to show itself to be found.
        assert_eq!(on, ["separate uids", "no network", "read-only system", "private /tmp"]);
    }
}
