//! Which process is what. Deaths are read with `waitpid` for all children at once, because plug-ins orphaned by GIMP
//! end up here too.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};

use agent_core::lifecycle::{Exit, StopSignal};
use protocol::agent::Supervised;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group, wait};

/// A process that must not be forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Death {
    pub what: Supervised,
    pub exit: Exit,
}

/// The supervised processes that are alive or not yet waited for.
#[derive(Debug, Default)]
pub struct Children {
    by_pid: BTreeMap<i32, Supervised>,
}

impl Children {
    /// Starts a program in a process group of its own.
    pub fn spawn(&mut self, what: Supervised, command: &mut Command) -> io::Result<Pid> {
        let child = command.stdin(Stdio::null()).process_group(0).spawn()?;
        let pid = Pid::from_child(&child);
        self.by_pid.insert(pid.as_raw_nonzero().get(), what);
        Ok(pid)
    }

    /// Takes over a process that an earlier agent started.
    pub fn adopt(&mut self, what: Supervised, pid: i32) {
        self.by_pid.insert(pid, what);
    }

    pub fn pid(&self, what: Supervised) -> Option<Pid> {
        self.by_pid.iter().find(|(_, of)| **of == what).and_then(|(pid, _)| Pid::from_raw(*pid))
    }

    pub fn iter(&self) -> impl Iterator<Item = (i32, Supervised)> {
        self.by_pid.iter().map(|(pid, what)| (*pid, *what))
    }

    /// TERM goes to the program alone, KILL to its whole process group: its helpers have nothing left to do.
    pub fn signal(&self, what: Supervised, signal: StopSignal) {
        if let Some(pid) = self.pid(what) {
            let sent = match signal {
                StopSignal::Terminate => kill_process(pid, Signal::TERM),
                StopSignal::Kill => kill_process_group(pid, Signal::KILL).or_else(|_| kill_process(pid, Signal::KILL)),
            };
            if let Err(error) = sent {
                tracing::debug!(?what, %error, "process is already gone");
            }
        }
    }

    /// Waits for every dead child without blocking. The display comes first: the others die of its death.
    pub fn reap(&mut self) -> Vec<Death> {
        let mut deaths = Vec::new();
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            deaths.extend(self.dead(pid.as_raw_nonzero().get(), ExitStatus::from_raw(status.as_raw())));
        }
        deaths.sort_by_key(|death| death.what != Supervised::Display);
        deaths
    }

    /// Takes note that `pid` ended; None when it was none of the supervised.
    pub fn dead(&mut self, pid: i32, status: ExitStatus) -> Option<Death> {
        let what = self.by_pid.remove(&pid)?;
        let exit = match (status.code(), status.signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, Some(signal)) => Exit::Signal(signal),
            (None, None) => Exit::Code(-1),
        };
        Some(Death { what, exit })
    }
}
