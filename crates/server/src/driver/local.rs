//! Sessions as sandboxed processes on this machine.
//!
//! Files: `sandbox` makes the sandbox, `seccomp` its system call filter, `cgroup` its limits, `quota` the workspaces,
//! `run_dir` what is remembered of a session, `process` pids that can't be confused. This file puts them in order and
//! keeps nothing that it can't find again on disk.

mod capacity;
mod cgroup;
mod checks;
mod inherited;
mod mounts;
mod process;
pub mod quota;
mod run_dir;
mod sandbox;
mod seccomp;
mod tool;
mod warm;
mod watch;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use protocol::agent::{AgentConfig, CopyTimes, DisplayServer, paths};
use protocol::session::StartStep;
use rustix::process::Signal;
use tokio::process::Child;
use tokio::sync::OnceCell;
use tokio_util::task::AbortOnDropHandle;

use self::cgroup::{Cgroups, Controller, Limits};
use self::process::{Descendant, Process};
use self::quota::{QuotaChoice, Workspaces};
use self::run_dir::{RunDir, SandboxRecord};
use self::sandbox::{Identity, Output, Program, Sandbox, SandboxError, Shared, Waiting};
use super::agent_client::{AgentClient, Endpoint};
use super::{
    AgentKey, MAX_SCREEN, MediaEndpoint, Presence, Protection, QuotaMechanism, StartError, StartRequest, Workspace,
};
use crate::config::{QuotaSetting, Settings};
use crate::ids::{SessionId, UserId};
use crate::session::report::plain;

/// Longest wait for a started agent to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// Between two looks at something that changes by itself.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// A GIMP that uses at most 10 ms of this is at rest: the outline of a selection moves all the time.
const REST: Duration = Duration::from_millis(200);
/// How long GIMP may take to come to rest before it is told to write its copies.
const REST_LIMIT: Duration = Duration::from_secs(5);
/// How long killed processes may take to vanish.
const KILL_LIMIT: Duration = Duration::from_secs(30);
/// pid of the agent inside its sandbox; 1 is bubblewrap's reaper.
const AGENT_INNER_PID: i32 = 2;

/// What the driver is told by the settings.
#[derive(Debug, Clone)]
pub struct LocalOptions {
    pub data_dir: PathBuf,
    /// `gimp-session`; none: beside this program, then in PATH.
    pub agent_path: Option<PathBuf>,
    /// As root, a user's uid is this plus their offset.
    pub first_uid: u32,
    /// None: the best that works here.
    pub quota_mechanism: Option<QuotaMechanism>,
    pub display: DisplayServer,
    pub copies: CopyTimes,
    /// Bytes that must be free on the disk for a session to start: a full disk under a sparse image loses writes.
    pub disk_reserve: u64,
    /// How long a dead agent's GIMP may take to write its copies, and a living agent to end what it runs, when a
    /// session is removed.
    pub settle_limit: Duration,
}

impl LocalOptions {
    /// Default of `disk_reserve`.
    pub const DISK_RESERVE: u64 = 2 << 30;
    /// Default of `settle_limit`.
    pub const SETTLE_LIMIT: Duration = Duration::from_secs(20);
}

/// What the machine turned out to offer. Found once.
#[derive(Debug)]
struct Machine {
    cgroups: Cgroups,
    quota: QuotaChoice,
    workspaces: Workspaces,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct LocalDriver {
    inner: Arc<Inner>,
}

struct Inner {
    options: LocalOptions,
    key: AgentKey,
    root: bool,
    /// Quotas as last asked for, bytes: an administrator may change one while its session runs.
    quotas: Mutex<HashMap<UserId, u64>>,
    machine: OnceCell<Machine>,
    protections: OnceCell<Vec<Protection>>,
    /// One at a time makes the start-up caches.
    warming: Arc<tokio::sync::Mutex<()>>,
    /// Ends with the driver.
    watching: OnceLock<AbortOnDropHandle<()>>,
}

impl LocalDriver {
    /// # Errors
    /// When the agents' key can't be made or read.
    pub fn new(settings: &Settings) -> anyhow::Result<Self> {
        let key = AgentKey::of(settings).context("the key of the agents' tokens")?;
        let options = LocalOptions {
            data_dir: settings.data_dir.clone(),
            agent_path: settings.agent_path.clone(),
            first_uid: settings.first_uid,
            quota_mechanism: match settings.quota_mechanism {
                QuotaSetting::Auto => None,
                QuotaSetting::ProjectQuota => Some(QuotaMechanism::ProjectQuota),
                QuotaSetting::Image => Some(QuotaMechanism::Image),
                QuotaSetting::Watcher => Some(QuotaMechanism::Watcher),
            },
            display: settings.display_server().unwrap_or_default(),
            copies: settings.copy_times(),
            disk_reserve: LocalOptions::DISK_RESERVE,
            settle_limit: LocalOptions::SETTLE_LIMIT,
        };
        Ok(Self::with_options(options, key))
    }

    #[must_use]
    pub fn with_options(options: LocalOptions, key: AgentKey) -> Self {
        let root = rustix::process::geteuid().is_root();
        if let Err(error) = inherited::close_on_exec() {
            tracing::warn!(%error, "sessions may inherit open files of the server's parent");
        }
        Self {
            inner: Arc::new(Inner {
                options,
                key,
                quotas: Mutex::default(),
                root,
                machine: OnceCell::new(),
                protections: OnceCell::new(),
                warming: Arc::default(),
                watching: OnceLock::new(),
            }),
        }
    }

    /// Which protections this machine gives sessions, by trying. Takes about a second.
    ///
    /// # Errors
    /// When the machine can't run sessions as configured.
    pub async fn examine(&self) -> anyhow::Result<&[Protection]> {
        let machine = self.inner.machine().await?;
        Ok(self.inner.protections.get_or_init(|| self.inner.check(machine)).await)
    }

    /// Finds out what the machine offers, begins to watch the sessions that run, and to make the start-up caches.
    pub(super) async fn prepare(&self) -> anyhow::Result<()> {
        for missing in self.examine().await?.iter().filter(|protection| !protection.on) {
            tracing::warn!(protection = missing.name, detail = missing.detail, "off");
        }
        if let Err(error) = self.inner.machine().await?.cgroups.sweep() {
            tracing::warn!(%error, "old control groups can't be removed");
        }
        self.inner
            .watching
            .get_or_init(|| AbortOnDropHandle::new(tokio::spawn(watch::run(Arc::downgrade(&self.inner)))));
        self.inner.warm_in_background();
        Ok(())
    }

    /// Waits until the start-up caches are there, or could not be made. Sessions need not wait: they start without.
    pub async fn warmed(&self) {
        drop(self.inner.warming.lock().await);
    }

    pub(super) async fn start(
        &self,
        request: &StartRequest,
        progress: &(dyn Fn(StartStep) + Send + Sync),
    ) -> Result<(), StartError> {
        self.inner.start(request, progress).await
    }

    pub(super) fn agent(&self, session: SessionId) -> AgentClient {
        self.inner.agent_client(session)
    }

    pub(super) fn media(&self, session: SessionId) -> MediaEndpoint {
        MediaEndpoint::Unix(self.inner.run_dir(session).media_socket())
    }

    pub(super) async fn presence(&self, session: SessionId) -> anyhow::Result<Presence> {
        let run = self.inner.run_dir(session);
        if run.record()?.map(|record| record.alive()).transpose()?.unwrap_or(false) {
            return Ok(Presence::Present);
        }
        Ok(Presence::Gone { last_status: run.last_status().map(Box::new), lost: None })
    }

    pub(super) async fn list(&self) -> anyhow::Result<Vec<SessionId>> {
        Ok(RunDir::list(&self.inner.options.data_dir)?)
    }

    pub(super) async fn remove(&self, session: SessionId) -> anyhow::Result<()> {
        self.inner.remove(session).await
    }

    pub(super) fn capacity(&self) -> u16 {
        capacity::of_this_machine()
    }

    /// Empty until `prepare` or `examine` is through.
    pub(super) fn protections(&self) -> Vec<Protection> {
        self.inner.protections.get().cloned().unwrap_or_default()
    }

    pub(super) async fn workspace(
        &self,
        user: UserId,
        uid_offset: u32,
        quota_bytes: u64,
    ) -> Result<Workspace, StartError> {
        let owner = self.inner.identity(uid_offset)?.owner();
        let machine = self.inner.machine().await.map_err(StartError::Internal)?;
        self.inner.remember_quota(user, quota_bytes);
        machine.workspaces.open(user, owner, quota_bytes).await
    }

    /// Path of `gimp-session`.
    ///
    /// # Errors
    /// When there is none; the message says what to do.
    pub fn agent_program(&self) -> Result<PathBuf, StartError> {
        self.inner.agent_program()
    }

    /// Unmounts the workspaces that no session uses. For a planned end of the server, after the last request.
    ///
    /// # Errors
    /// When the folder of workspaces can't be read.
    pub async fn release_workspaces(&self) -> anyhow::Result<()> {
        let Some(machine) = self.inner.machine.get() else { return Ok(()) };
        let mut in_use = vec![];
        for session in RunDir::list(&self.inner.options.data_dir)? {
            if let Some(record) = self.inner.run_dir(session).record()?
                && record.alive()?
            {
                in_use.push(record.workspace);
            }
        }
        Ok(machine.workspaces.release(&in_use)?)
    }
}

impl Inner {
    async fn machine(&self) -> anyhow::Result<&Machine> {
        self.machine
            .get_or_try_init(|| async {
                let (data_dir, root) = (self.options.data_dir.clone(), self.root);
                let wanted = self.options.quota_mechanism;
                tokio::task::spawn_blocking(move || {
                    let choice = QuotaChoice::probe(&data_dir, root, wanted)
                        .map_err(|why| anyhow::anyhow!("the configured quota mechanism does not work here: {why}"))?;
                    let workspaces = Workspaces::new(data_dir, choice.clone());
                    Ok(Machine { cgroups: Cgroups::detect(root), quota: choice, workspaces })
                })
                .await?
            })
            .await
    }

    fn agent_client(&self, session: SessionId) -> AgentClient {
        let endpoint = Endpoint::Unix(self.run_dir(session).agent_socket());
        AgentClient { endpoint, token: self.key.token(session) }
    }

    /// Makes the start-up caches unless they are there or being made.
    fn warm_in_background(self: &Arc<Self>) {
        let Ok(alone) = self.warming.clone().try_lock_owned() else { return };
        let inner = self.clone();
        tokio::spawn(async move {
            let _alone = alone;
            let Some(machine) = inner.machine.get() else { return };
            if let Err(error) = warm::make(&inner, machine).await {
                tracing::warn!("GIMP starts some seconds slower in new workspaces: {error:#}");
            }
        });
    }

    fn remember_quota(&self, user: UserId, bytes: u64) {
        self.quotas.lock().unwrap_or_else(PoisonError::into_inner).insert(user, bytes);
    }

    fn quotas(&self) -> HashMap<UserId, u64> {
        self.quotas.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn run_dir(&self, session: SessionId) -> RunDir {
        RunDir::new(&self.options.data_dir, session)
    }

    fn identity(&self, uid_offset: u32) -> Result<Identity, StartError> {
        if !self.root {
            return Ok(Identity::Caller);
        }
        let uid = self.options.first_uid.checked_add(uid_offset).filter(|uid| *uid != 0 && *uid < u32::MAX - 1);
        let uid = uid.ok_or_else(|| {
            StartError::Unsupported(format!(
                "There are no uids left from {} on. Lower the setting `first_uid`.",
                self.options.first_uid
            ))
        })?;
        Ok(Identity::Own { uid, gid: uid })
    }

    async fn start(
        self: &Arc<Self>,
        request: &StartRequest,
        progress: &(dyn Fn(StartStep) + Send + Sync),
    ) -> Result<(), StartError> {
        let identity = self.identity(request.uid_offset)?;
        let machine = self.machine().await.map_err(StartError::Internal)?;
        let run = self.run_dir(request.session);
        if run.exists() {
            if run.record().map_err(StartError::Internal)?.is_some_and(|record| record.alive().unwrap_or(false)) {
                return self.wait_for_agent(request.session, None).await;
            }
            self.remove(request.session).await.map_err(StartError::Internal)?;
        }
        progress(StartStep::CreatingWorkspace);
        self.check_room()?;
        self.remember_quota(request.user, request.quota_bytes);
        let workspace = machine.workspaces.open(request.user, identity.owner(), request.quota_bytes).await?;
        progress(StartStep::StartingDisplay);
        match self.start_in(machine, request, identity, &workspace, &run).await {
            Ok(()) => Ok(()),
            Err(error) => {
                if let Err(cleaning) = self.remove(request.session).await {
                    tracing::warn!(session = %request.session, error = %format!("{cleaning:#}"), "after a failed start");
                }
                Err(error)
            }
        }
    }

    async fn start_in(
        self: &Arc<Self>,
        machine: &Machine,
        request: &StartRequest,
        identity: Identity,
        workspace: &Workspace,
        run: &RunDir,
    ) -> Result<(), StartError> {
        let internal = |error: io::Error| StartError::Internal(error.into());
        run.create(identity.owner()).map_err(internal)?;
        let log = run.new_log().map_err(internal)?;
        let limited = machine.cgroups.enforces(Controller::Memory).is_ok();
        let agent = self.agent_program()?;
        let warm = warm::Key::current(&agent).and_then(|key| key.find(&self.options.data_dir));
        if warm.is_none() {
            // Other programs than before: this session does without, later ones won't have to.
            self.warm_in_background();
        }
        let sandbox = Sandbox {
            bwrap: find_program("bwrap").ok_or_else(|| {
                StartError::Unsupported("The program bwrap is missing on the server: apt install bubblewrap".into())
            })?,
            identity,
            agent,
            warm,
            etc: run.etc(),
            shared: vec![
                Shared { outside: workspace.path.clone(), inside: paths::HOME },
                Shared { outside: run.shared(), inside: paths::RUN_DIR },
            ],
            memory_bytes: request.memory_bytes,
            address_space: (!limited).then_some(request.memory_bytes.saturating_add(ADDRESS_SPACE_MARGIN)),
        };
        sandbox.write_etc(request.session.0).map_err(internal)?;
        let output = Output { stdout: log.try_clone().map_err(internal)?.into(), stderr: Stdio::from(log) };
        let waiting =
            sandbox.spawn(&Program::Agent(AGENT_ARGUMENTS), output).await.map_err(|error| explain(error, run))?;
        let monitor = self.put_in_place(machine, request, workspace, run, waiting).map_err(StartError::Internal)?;
        self.wait_for_agent(request.session, Some((monitor, run))).await
    }

    /// Limits, then the record, then configuration and token, then the program may run. See `Waiting` for why in this
    /// order.
    fn put_in_place(
        &self,
        machine: &Machine,
        request: &StartRequest,
        workspace: &Workspace,
        run: &RunDir,
        waiting: Waiting,
    ) -> anyhow::Result<Child> {
        let limits =
            Limits { memory_bytes: request.memory_bytes, cpu_millis: request.cpu_millis, tasks: sandbox::TASKS };
        let cgroups = machine.cgroups.create(request.session, &limits).context("control groups")?;
        cgroup::join(&cgroups, waiting.init.pid).context("control groups")?;
        run.write_record(&SandboxRecord {
            init: waiting.init,
            boot_id: run_dir::boot_id()?,
            cgroups,
            user: request.user,
            workspace: workspace.path.clone(),
            mechanism: workspace.mechanism,
            quota_bytes: request.quota_bytes,
        })?;
        let config = AgentConfig {
            session_id: request.session.0,
            screen: request.screen,
            max_screen: MAX_SCREEN,
            memory_bytes: request.memory_bytes,
            cpus: processors(request.cpu_millis),
            display: self.options.display.clone(),
            time_limits: Default::default(),
            history: request.history,
            copies: self.options.copies,
        };
        run.write_config(&config, &self.key.token(request.session), workspace.owner)?;
        Ok(waiting.release()?)
    }

    /// Until the agent answers. `started`: what ends when the sandbox does, if this call started it.
    async fn wait_for_agent(&self, session: SessionId, started: Option<(Child, &RunDir)>) -> Result<(), StartError> {
        let agent = self.agent_client(session);
        let answers = async {
            while agent.health().await.is_err() {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let answers = tokio::time::timeout(ANSWER_LIMIT, answers);
        let slow =
            || StartError::Internal(anyhow::anyhow!("the agent did not answer within {} s", ANSWER_LIMIT.as_secs()));
        let Some((mut monitor, run)) = started else { return answers.await.map_err(|_| slow()) };
        tokio::select! {
            answer = answers => answer.map_err(|_| slow())?,
            ended = monitor.wait() => {
                let ended = ended.map_err(|error| StartError::Internal(error.into()))?;
                return Err(explain_end(ended, &run.log_tail().unwrap_or_default()));
            }
        }
        // Reaped when it ends; the session does not depend on it.
        tokio::spawn(async move { monitor.wait().await });
        Ok(())
    }

    async fn remove(&self, session: SessionId) -> anyhow::Result<()> {
        let run = self.run_dir(session);
        let mut groups = match self.machine.get() {
            Some(machine) => machine.cgroups.paths(session),
            None => vec![],
        };
        if let Some(record) = run.record()? {
            if record.alive()? {
                end_processes(&record, self.options.settle_limit).await.context("ending the session's processes")?;
            }
            groups.extend(record.cgroups);
        }
        tokio::task::spawn_blocking(move || {
            for group in groups {
                cgroup::remove(&group).with_context(|| format!("control group {}", group.display()))?;
            }
            run.remove().context("run folder")
        })
        .await?
    }

    fn check_room(&self) -> Result<(), StartError> {
        if capacity::memory_available() < MEMORY_RESERVE {
            return Err(StartError::NoRoom(
                "The server has no memory left for another session. Try again when others have ended theirs.".into(),
            ));
        }
        let (free, _) = mounts::space(&self.options.data_dir).map_err(|error| StartError::Internal(error.into()))?;
        if free < self.options.disk_reserve {
            tracing::warn!(free, reserve = self.options.disk_reserve, "the disk is too full to start sessions");
            return Err(StartError::NoRoom(
                "The server's disk is nearly full, so no session can start. Your files are safe. Tell your administrator."
                    .into(),
            ));
        }
        Ok(())
    }

    fn agent_program(&self) -> Result<PathBuf, StartError> {
        let found = match &self.options.agent_path {
            Some(path) => path.is_file().then(|| path.clone()),
            None => std::env::current_exe()
                .ok()
                .map(|program| program.with_file_name(AGENT_NAME))
                .filter(|path| path.is_file())
                .or_else(|| find_program(AGENT_NAME)),
        };
        found.ok_or_else(|| {
            StartError::Unsupported(format!(
                "The program {AGENT_NAME} is missing on the server. Put it beside gimp-platform or set `agent_path`."
            ))
        })
    }
}

/// Characters of a sandbox's own words that go to the log: it can say anything.
const SAID_MAX: usize = 300;
const AGENT_NAME: &str = "gimp-session";
const AGENT_ARGUMENTS: &[&str] = &["run"];
/// Memory that must be free on the machine for a session to start, bytes.
const MEMORY_RESERVE: u64 = 256 << 20;
/// Address space beyond the memory limit that libraries and mappings take, bytes.
const ADDRESS_SPACE_MARGIN: u64 = 4 << 30;

/// A living agent is asked to end everything in its own order. Where it is dead or does not, GIMP itself is told: it
/// writes copies of what is unsaved on SIGTERM, and needs its display for that, so nothing else is signalled. Then
/// everything is killed.
async fn end_processes(record: &SandboxRecord, settle_limit: Duration) -> anyhow::Result<()> {
    let sandbox = record.init;
    let agents = named(sandbox, |process| process.inner == AGENT_INNER_PID || process.name == AGENT_NAME)?;
    for agent in agents.iter().filter(|agent| agent.inner == AGENT_INNER_PID) {
        agent.process.signal(Signal::TERM)?;
        gone_within(agent.process, settle_limit).await?;
    }
    for agent in agents {
        agent.process.signal(Signal::KILL)?;
    }
    let is_gimp = |process: &Descendant| process.name == "gimp" || process.name.starts_with("gimp-");
    let gimps = named(sandbox, is_gimp)?;
    let deadline = Instant::now() + settle_limit.min(REST_LIMIT);
    for gimp in &gimps {
        at_rest_until(gimp.process, deadline).await?;
        gimp.process.signal(Signal::TERM)?;
    }
    // One limit for all: a session can name any number of processes like that.
    let deadline = Instant::now() + settle_limit;
    for gimp in gimps {
        gone_within(gimp.process, deadline.saturating_duration_since(Instant::now())).await?;
    }
    cgroup::unthrottle(&record.cgroups);
    sandbox.signal(Signal::KILL)?;
    anyhow::ensure!(gone_within(sandbox, KILL_LIMIT).await?, "the sandbox survives SIGKILL");
    Ok(())
}

fn named(sandbox: Process, wanted: impl Fn(&Descendant) -> bool) -> io::Result<Vec<Descendant>> {
    Ok(sandbox.descendants()?.into_iter().filter(|process| wanted(process)).collect())
}

/// Waits until a process does next to nothing, or until `deadline`. GIMP writes its copies in a signal handler: one that
/// interrupts it in the middle of its work may wait for ever for what the work holds.
async fn at_rest_until(process: Process, deadline: Instant) -> io::Result<()> {
    let mut before = process.used_ticks()?;
    while before.is_some() && Instant::now() < deadline {
        tokio::time::sleep(REST).await;
        let now = process.used_ticks()?;
        if before.zip(now).is_some_and(|(before, now)| now.saturating_sub(before) <= 1) {
            return Ok(());
        }
        before = now;
    }
    Ok(())
}

async fn gone_within(process: Process, limit: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + limit;
    while process.alive()? {
        if Instant::now() > deadline {
            return Ok(false);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(true)
}

fn explain(error: SandboxError, run: &RunDir) -> StartError {
    match error {
        SandboxError::Refused => explain_refusal(&run.log_tail().unwrap_or_default()),
        SandboxError::Slow => StartError::NoRoom("The server is too busy to start a session. Try again soon.".into()),
        SandboxError::Spawn(error) => StartError::Internal(anyhow::Error::from(error).context("bubblewrap")),
        SandboxError::Other(error) => StartError::Internal(error),
    }
}

/// What bubblewrap said on its standard error, in words that help.
fn explain_refusal(said: &str) -> StartError {
    if said.contains("No space left") || said.contains("Cannot allocate") || said.contains("Resource temporarily") {
        return StartError::NoRoom("The server has no room for another session. Try again later.".into());
    }
    if said.contains("namespace") || said.contains("uid map") || said.contains("Operation not permitted") {
        return StartError::Unsupported(
            "The server may not make the namespaces that keep sessions apart. Ask your administrator to run \
             `gimp-platform doctor`, which says how to allow them."
                .into(),
        );
    }
    StartError::Internal(anyhow::anyhow!("bubblewrap: {}", plain(said.trim(), SAID_MAX)))
}

fn explain_end(ended: std::process::ExitStatus, log: &str) -> StartError {
    if let Some(line) = log.lines().rev().find(|line| line.starts_with("bwrap: ")) {
        return explain_refusal(line);
    }
    StartError::Internal(anyhow::anyhow!(
        "the agent ended before it answered ({ended}): {}",
        plain(log.trim(), SAID_MAX)
    ))
}

fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/bin".into(), "/bin".into()])
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// Processors that GIMP should use: as many as the session may at most.
fn processors(cpu_millis: u32) -> u16 {
    let may = cpu_millis.saturating_mul(cgroup::BURST).div_ceil(1000);
    let has = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u16::try_from(may).unwrap_or(u16::MAX).min(u16::try_from(has).unwrap_or(u16::MAX)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages of bubblewrap 0.8 to 0.11 as they reach the log.
    #[test]
    fn what_bubblewrap_says_becomes_words_that_help() {
        for line in [
            "bwrap: No permissions to create new namespace, likely because the kernel does not allow non-privileged user \
             namespaces. On e.g. debian this can be enabled with 'sysctl kernel.unprivileged_userns_clone=1'.",
            "bwrap: Creating new namespace failed: Operation not permitted",
            "bwrap: setting up uid map: Permission denied",
        ] {
            assert!(
                matches!(explain_refusal(line), StartError::Unsupported(text) if text.contains("doctor")),
                "{line}"
            );
        }
        for line in [
            "bwrap: Can't mkdir /newroot/tmp: No space left on device",
            "bwrap: Creating new namespace failed: No space left on device",
            "bwrap: fork: Resource temporarily unavailable",
        ] {
            assert!(matches!(explain_refusal(line), StartError::NoRoom(_)), "{line}");
        }
        assert!(matches!(explain_refusal("bwrap: Can't find source path /x"), StartError::Internal(_)));
    }

    #[test]
    fn uids_never_wrap_around_to_root() {
        let options = |first_uid| LocalOptions {
            data_dir: "/nonexistent".into(),
            agent_path: None,
            first_uid,
            quota_mechanism: None,
            display: DisplayServer::Xorg,
            copies: CopyTimes::default(),
            disk_reserve: 0,
            settle_limit: Duration::ZERO,
        };
        let folder = tempfile::tempdir().expect("temporary folder");
        let key = AgentKey::load_or_create(folder.path()).expect("key");
        let driver = LocalDriver::with_options(options(u32::MAX - 10), key);
        if driver.inner.root {
            assert!(matches!(driver.inner.identity(20), Err(StartError::Unsupported(_))));
            assert_eq!(driver.inner.identity(3).expect("left").owner(), Some((u32::MAX - 7, u32::MAX - 7)));
        } else {
            assert_eq!(driver.inner.identity(20).expect("the caller's").owner(), None);
        }
    }
}
