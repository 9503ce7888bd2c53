//! The process above the agent. When the agent is killed, GIMP, its display and its bus become children of the guard
//! and live on; the guard starts a new agent that takes them over. Where the guard is the sandbox's first process,
//! nothing is killed by the agent's death.
//!
//! Guard to agent, on the agent's standard input: the token in the first line, then one line `PID STATUS` for each
//! process that ended as a child of the guard (`STATUS` as of wait(2)).

use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::Instant;

use agent_core::restart::RestartBudget;
use anyhow::Context;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, set_child_subreaper, wait};
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};
use tokio::signal::unix::{SignalKind, signal};

use super::os;

/// Exit code of an agent whose configuration is wrong (EX_CONFIG of sysexits.h): starting it again is of no use.
pub const BAD_CONFIGURATION: u8 = 78;
/// Flag of an agent that has to take over.
pub const TAKE_OVER: &str = "--take-over";
/// Flag of an agent that has to take over and then end the session.
pub const GIVE_UP: &str = "--give-up";

/// Runs the agent until it ends by itself. `arguments` are those of `gimp-session agent`.
pub async fn run(token: &str, arguments: &[std::ffi::OsString]) -> anyhow::Result<ExitCode> {
    set_child_subreaper(Some(rustix::process::getpid())).context("cannot become the parent of orphans")?;
    let mut child_ended = signal(SignalKind::child())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let started = Instant::now();
    let mut budget = RestartBudget::default();
    let mut agent = Agent::start(token, arguments, &[])?;
    let mut ending = false;
    loop {
        tokio::select! {
            _ = terminate.recv() => { ending = true; agent.terminate(); }
            _ = interrupt.recv() => { ending = true; agent.terminate(); }
            _ = child_ended.recv() => {
                let mut ended = None;
                while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
                    if pid == agent.pid {
                        ended = Some(ExitStatus::from_raw(status.as_raw()));
                    } else {
                        agent.tell(pid, status.as_raw());
                    }
                }
                let Some(status) = ended else { continue };
                match status.code() {
                    Some(0) => return Ok(ExitCode::SUCCESS),
                    Some(code) if code == i32::from(BAD_CONFIGURATION) => return Ok(ExitCode::from(BAD_CONFIGURATION)),
                    _ => {}
                }
                if agent.gives_up {
                    tracing::error!(%status, "the agent died while it ended the session");
                    return Ok(ExitCode::FAILURE);
                }
                let deaths = std::mem::take(&mut agent.untold);
                let flag = if budget.spend(started.elapsed()) { TAKE_OVER } else { GIVE_UP };
                tracing::error!(%status, flag, "the agent died, starting another");
                let mut arguments = arguments.to_vec();
                arguments.push(flag.into());
                agent = Agent::start(token, &arguments, &deaths)?;
                agent.gives_up = flag == GIVE_UP;
                if ending {
                    agent.terminate();
                }
            }
        }
    }
}

struct Agent {
    child: Child,
    pid: Pid,
    gives_up: bool,
    /// Deaths that no agent has heard of.
    untold: Vec<(Pid, i32)>,
}

impl Agent {
    fn start(token: &str, arguments: &[std::ffi::OsString], deaths: &[(Pid, i32)]) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe().context("cannot find the agent's own program")?);
        command.arg("agent").args(arguments).stdin(Stdio::piped());
        // Without its guard nobody would take over: end in good order.
        os::signal_on_parent_death(&mut command, Signal::TERM);
        let child = command.spawn().context("cannot start the agent")?;
        let pid = Pid::from_child(&child);
        let mut agent = Self { child, pid, gives_up: false, untold: Vec::new() };
        agent.write(&format!("{token}\n"));
        for (pid, status) in deaths {
            agent.tell(*pid, *status);
        }
        Ok(agent)
    }

    fn tell(&mut self, pid: Pid, status: i32) {
        if !self.write(&format!("{} {status}\n", pid.as_raw_nonzero())) {
            self.untold.push((pid, status));
        }
    }

    fn write(&mut self, line: &str) -> bool {
        self.child.stdin.as_mut().is_some_and(|pipe| pipe.write_all(line.as_bytes()).is_ok())
    }

    fn terminate(&self) {
        if let Err(error) = kill_process(self.pid, Signal::TERM) {
            tracing::debug!(%error, "the agent is already gone");
        }
    }
}

/// The agent's end of the pipe.
#[derive(Debug)]
pub struct Inherited {
    lines: Lines<BufReader<Stdin>>,
    open: bool,
}

impl Inherited {
    /// Reads the token and returns it with the rest of the pipe.
    pub async fn open() -> io::Result<(String, Self)> {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        let token = lines.next_line().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok((token, Self { lines, open: true }))
    }

    /// Next process that ended as a child of the guard. Never returns once the guard is gone. Cancel-safe.
    pub async fn next(&mut self) -> (i32, ExitStatus) {
        while self.open {
            match self.lines.next_line().await {
                Ok(Some(line)) => {
                    let mut words = line.split_whitespace().map(str::parse::<i32>);
                    if let (Some(Ok(pid)), Some(Ok(status))) = (words.next(), words.next()) {
                        return (pid, ExitStatus::from_raw(status));
                    }
                }
                Ok(None) | Err(_) => self.open = false,
            }
        }
        std::future::pending().await
    }
}
