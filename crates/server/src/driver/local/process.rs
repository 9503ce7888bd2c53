//! Processes by pid *and* start time, so that a pid that was used again is never taken for the old process.

use std::io;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// One process of this machine, for as long as the machine is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`: clock ticks from boot to its start.
    pub start_ticks: u64,
}

impl Process {
    /// The process that has this pid now. None: there is none.
    pub fn find(pid: i32) -> io::Result<Option<Self>> {
        Ok(stat(pid)?.map(|stat| Self { pid, start_ticks: stat.start_ticks }))
    }

    /// Whether it still runs. A zombie does not.
    pub fn alive(self) -> io::Result<bool> {
        Ok(stat(self.pid)?.is_some_and(|stat| stat.start_ticks == self.start_ticks && !stat.zombie))
    }

    /// Processor time that it has used, clock ticks (10 ms). None: it is gone.
    pub fn used_ticks(self) -> io::Result<Option<u64>> {
        let stat = stat(self.pid)?.filter(|stat| stat.start_ticks == self.start_ticks && !stat.zombie);
        Ok(stat.map(|stat| stat.used_ticks))
    }

    /// Sends `signal` to this very process; false when it is gone. The pidfd holds the process, so the check of the
    /// start time can't be overtaken.
    pub fn signal(self, signal: Signal) -> io::Result<bool> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(false) };
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(rustix::io::Errno::SRCH) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        if !self.alive()? {
            return Ok(false);
        }
        match pidfd_send_signal(pidfd, signal) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Everything below this process. What comes or goes meanwhile may be missing.
    pub fn descendants(self) -> io::Result<Vec<Descendant>> {
        let mut all = vec![];
        for entry in std::fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { continue };
            let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
            let Ok(parent) = field("PPid:").parse::<i32>() else { continue };
            let inner = field("NSpid:").split_whitespace().last().and_then(|inner| inner.parse().ok()).unwrap_or(pid);
            let Some(process) = Self::find(pid)? else { continue };
            all.push((parent, Descendant { process, inner, name: field("Name:").to_owned() }));
        }
        let mut found: Vec<Descendant> = vec![];
        let mut parents = vec![self.pid];
        while let Some(parent) = parents.pop() {
            for (_, child) in all.extract_if(.., |(of, _)| *of == parent) {
                parents.push(child.process.pid);
                found.push(child);
            }
        }
        Ok(found)
    }
}

/// A process below another.
#[derive(Debug, Clone)]
pub struct Descendant {
    pub process: Process,
    /// Its pid in its own (innermost) pid namespace.
    pub inner: i32,
    /// The first 15 bytes of its program's name, unless it calls itself something else.
    pub name: String,
}

struct Stat {
    zombie: bool,
    used_ticks: u64,
    start_ticks: u64,
}

fn stat(pid: i32) -> io::Result<Option<Stat>> {
    let text = match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(text) => text,
        // ESRCH: it went away between open and read.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    parse_stat(&text).map(Some).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "odd /proc/PID/stat"))
}

/// proc(5): the name in parentheses may hold anything, so fields are counted from the last `)`.
fn parse_stat(text: &str) -> Option<Stat> {
    let mut fields = text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?; // field 3
    let user: u64 = fields.nth(10)?.parse().ok()?; // field 14
    let system: u64 = fields.next()?.parse().ok()?; // field 15
    let start_ticks = fields.nth(6)?.parse().ok()?; // field 22
    Some(Stat { zombie: matches!(state, "Z" | "X"), used_ticks: user.saturating_add(system), start_ticks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_do_not_shift_the_fields() {
        let stat = parse_stat("7 (a) Z 1) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20").expect("parses");
        assert_eq!((stat.used_ticks, stat.start_ticks), (11 + 12, 4242));
        assert!(!stat.zombie);
        assert!(parse_stat("7 (x").is_none());
    }

    #[test]
    fn a_pid_used_again_is_another_process() {
        let own = Process::find(std::process::id().cast_signed()).expect("reads").expect("this process exists");
        assert!(own.alive().expect("reads"));
        let other = Process { start_ticks: own.start_ticks + 1, ..own };
        assert!(!other.alive().expect("reads"));
        assert!(!other.signal(Signal::KILL).expect("refuses"), "would have killed this test");
    }

    #[test]
    fn grandchildren_are_found_by_name() {
        let mut child =
            std::process::Command::new("sh").args(["-c", "sleep 60 & wait"]).spawn().expect("a shell exists");
        let shell = Process::find(child.id().cast_signed()).expect("reads").expect("runs");
        let sleep = loop {
            let below = shell.descendants().expect("reads");
            if let Some(sleep) = below.into_iter().find(|descendant| descendant.name == "sleep") {
                break sleep;
            }
        };
        assert_eq!(sleep.inner, sleep.process.pid);
        let own = Process::find(std::process::id().cast_signed()).expect("reads").expect("runs");
        assert!(own.descendants().expect("reads").iter().any(|descendant| descendant.process == sleep.process));
        sleep.process.signal(Signal::KILL).expect("signals");
        child.wait().expect("waits");
    }

    #[test]
    fn an_ended_child_is_not_alive() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep exists");
        let process = Process::find(child.id().cast_signed()).expect("reads").expect("runs");
        assert!(process.signal(Signal::KILL).expect("signals"));
        child.wait().expect("waits");
        assert!(!process.alive().expect("reads"));
        assert!(!process.signal(Signal::KILL).expect("is gone"));
    }
}
