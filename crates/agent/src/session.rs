//! The event loop: takes everything that happens, asks `agent_core::lifecycle` what to do, does it.
//! One thread runs it, and that thread starts all processes, because the kernel ties a child's death signal to the
//! thread that started it.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, BufRead};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use agent_core::lifecycle::{Effect, Exit, Input, Lifecycle, SaveOutcome, StopSignal};
use anyhow::Context;
use protocol::agent::{AgentConfig, AgentPhase, AgentStatus, Restart, StepTiming, Supervised, paths};
use protocol::session::{EXPORT_DIR, EndReason, ScreenSize, StartStep};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::display::server::{self, Cookie, DisplayNumber, Program};
use crate::display::x11::{Screen, Sizing};
use crate::display::{activity, painted, window_manager};
use crate::documents::{self, Documents, Gimp, Told};
use crate::gimp::control::Control;
use crate::gimp::link::{self, Link};
use crate::gimp::preset::Preset;
use crate::gimp::process::{self, Environment};
use crate::gimp::profile::Profile;
use crate::gimp::recovery::{RecoveryStore, replace_file, rfc3339};
use crate::gimp::unsaved::{Saved, Saver};
use crate::gimp::version::{self, Version};
use crate::history::History;
use crate::settings::Folders;
use crate::supervise::children::{Children, Death};
use crate::supervise::guard::Inherited;
use crate::supervise::{bus, limits, os};
use crate::transport::Stage;

/// Restarts shown in the status.
const RESTARTS_SHOWN: usize = 16;
/// How long the X server may take to answer a question.
const DISPLAY_LIMIT: Duration = Duration::from_secs(2);
/// How often a socket that must appear is looked for, while a start waits for it.
const SOCKET_POLL: Duration = Duration::from_millis(5);
/// State for an agent that takes over after this one was killed, in the run folder.
const TAKEOVER_FILE: &str = "takeover.json";
/// What is known of documents, for such an agent, too.
const DOCUMENTS_FILE: &str = "documents.json";
const QUIT_SCRIPT: &str = "(gimp-quit TRUE)";
/// Smallest screen GIMP is usable on, pixels.
const MIN_SCREEN: (u16, u16) = (320, 240);

/// The agent's X client. Locked on threads that may block only.
pub type SharedScreen = Arc<Mutex<Screen>>;

/// What the API asks of the loop. The channel is bounded; a full one makes the caller wait.
#[derive(Debug)]
pub enum Request {
    Resize(ScreenSize, oneshot::Sender<io::Result<ScreenSize>>),
    Writes { allowed: bool, done: oneshot::Sender<io::Result<()>> },
    End(EndReason),
    ViewerJoined,
    ViewerLeft,
}

/// Answers of the loop's own tasks.
enum Event {
    DisplayUp {
        display: u32,
        opened: Result<Box<Screen>, String>,
        version: io::Result<Version>,
    },
    /// Viewers of the stream may come.
    StageUp {
        display: u32,
        stage: Stage,
    },
    /// The display server keeps its size, whatever is asked of it.
    SizeStays(u16, u16),
    BusUp,
    GimpPainted {
        attempt: u64,
    },
    Saved(Saved),
}

/// What the API may read at any time.
#[derive(Debug, Clone)]
pub struct Shared {
    pub status: watch::Receiver<AgentStatus>,
    pub requests: mpsc::Sender<Request>,
    pub control: Control,
    pub documents: Documents,
    pub folders: Folders,
    pub processes: watch::Receiver<Vec<(Supervised, i32)>>,
    /// Of the present display.
    pub stage: watch::Receiver<Option<Stage>>,
    screen: watch::Receiver<Option<SharedScreen>>,
    /// When the user was last known to do something; at first, when the agent started.
    last_input: Arc<Mutex<Instant>>,
}

impl Shared {
    /// The status with the idle time asked of the X server now.
    pub async fn status_now(&self) -> AgentStatus {
        let idle_ms = self.idle_ms().await;
        process::bound_logs(&self.folders.run);
        AgentStatus { idle_ms, ..self.status.borrow().clone() }
    }

    /// While the display is lost or does not answer, the last input it told of counts: nobody is idle for that.
    async fn idle_ms(&self) -> u64 {
        let screen = self.screen.borrow().clone();
        if let Some(screen) = screen {
            let ask = tokio::task::spawn_blocking(move || lock(&screen).idle_ms());
            if let Ok(Ok(Ok(idle))) = tokio::time::timeout(DISPLAY_LIMIT, ask).await
                && let Some(last) = Instant::now().checked_sub(Duration::from_millis(idle))
            {
                *self.last_input() = last;
            }
        }
        u64::try_from(self.last_input().elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn last_input(&self) -> std::sync::MutexGuard<'_, Instant> {
        self.last_input.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lock(screen: &SharedScreen) -> std::sync::MutexGuard<'_, Screen> {
    screen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a session begins with.
#[derive(Debug)]
pub struct Setup {
    pub folders: Folders,
    pub config: AgentConfig,
    pub inherited: Option<Inherited>,
    pub begin: Begin,
}

/// How a session begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    Fresh,
    /// Its agent was killed; take over what is still there.
    TakeOver,
    /// Agents keep dying: take over and end.
    GiveUp,
}

/// State that a successor needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Takeover {
    display: Option<u32>,
    processes: Vec<(Supervised, i32)>,
    gimp_ready: bool,
    #[serde(default)]
    has_link: bool,
    status: AgentStatus,
}

/// One session. `run` is its life.
#[derive(Debug)]
pub struct Session {
    folders: Folders,
    config: AgentConfig,
    lifecycle: Lifecycle,
    children: Children,
    inherited: Option<Inherited>,
    /// Inputs that effects gave rise to.
    pending: VecDeque<Input>,
    event_sender: mpsc::Sender<Event>,
    events: mpsc::Receiver<Event>,
    requests: mpsc::Receiver<Request>,
    status: watch::Sender<AgentStatus>,
    processes: watch::Sender<Vec<(Supervised, i32)>>,
    screen: watch::Sender<Option<SharedScreen>>,
    stage: watch::Sender<Option<Stage>>,
    size: watch::Sender<ScreenSize>,
    program: Program,
    cookie: Cookie,
    display: Option<u32>,
    version: Option<Version>,
    control: Control,
    documents: Documents,
    told: watch::Receiver<Told>,
    /// The GIMP whose documents are looked after.
    gimp: watch::Sender<Option<Gimp>>,
    has_link: bool,
    /// Somebody begins to do something.
    activity: Arc<Notify>,
    store: RecoveryStore,
    /// The wait for the GIMP that is starting.
    painting: Option<Arc<AtomicBool>>,
    /// Counts starts of GIMP.
    attempt: u64,
    writes_allowed: bool,
    started: Instant,
    started_at: OffsetDateTime,
    /// Restarts under earlier agents.
    earlier: Vec<Restart>,
    /// The parent that would start another agent.
    guard: u32,
    finished: bool,
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::DisplayUp { .. } => "DisplayUp",
            Self::StageUp { .. } => "StageUp",
            Self::SizeStays(..) => "SizeStays",
            Self::BusUp => "BusUp",
            Self::GimpPainted { .. } => "GimpPainted",
            Self::Saved(_) => "Saved",
        })
    }
}

impl Session {
    /// Prepares folders and state; starts nothing yet.
    pub fn new(setup: Setup) -> anyhow::Result<(Self, Shared)> {
        let Setup { folders, config, inherited, begin } = setup;
        let started = Instant::now();
        fs::DirBuilder::new().mode(0o700).recursive(true).create(folders.run_file("xdg")).context("run folder")?;
        let store = RecoveryStore::new(&folders.home, config.session_id);
        // A full disk must not keep the user from a session in which room can be made.
        if let Err(error) = store.repair() {
            tracing::error!(%error, "the recovery store cannot be put in order");
        }
        if begin == Begin::Fresh {
            // What an export left that was cut off.
            match fs::remove_dir_all(folders.home.join(EXPORT_DIR)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(%error, "exports that were cut off stay");
                }
                _ => {}
            }
        }
        let program = server::choose(&config.display)?;
        let takeover = match begin {
            Begin::Fresh => None,
            Begin::TakeOver | Begin::GiveUp => read_takeover(&folders),
        };
        let cookie = match &takeover {
            Some(_) => Cookie::load(&folders)?,
            None => Cookie::generate()?,
        };
        cookie.store(&folders)?;
        let size = capped(config.screen, config.max_screen);
        let status = AgentStatus {
            protocol_version: protocol::PROTOCOL_VERSION,
            session_id: config.session_id,
            phase: AgentPhase::Starting { step: StartStep::StartingDisplay },
            idle_ms: 0,
            viewers: 0,
            screen: size,
            gimp_version: None,
            capabilities: program.capabilities(),
            restarts: Vec::new(),
            timings: vec![StepTiming { step: StartStep::StartingDisplay, at_ms: 0 }],
            documents: None,
            unattended: begin == Begin::GiveUp,
        };
        let control = Control::new(bus::address(&folders), folders.run.clone());
        let (gimp, screen) = (watch::Sender::new(None), watch::Sender::new(None));
        let activity = Arc::new(Notify::new());
        let history = History::start(&folders.home, config.session_id, config.history).unwrap_or_else(|error| {
            tracing::error!(%error, "saved files get no versions");
            None
        });
        let (documents, told) = Documents::start(documents::Setup {
            link: Link::new(link::socket(&folders), control.clone()),
            store: store.clone(),
            home: folders.home.clone(),
            state_file: folders.run_file(DOCUMENTS_FILE),
            gimp: gimp.subscribe(),
            screen: screen.subscribe(),
            activity: activity.clone(),
            history,
            times: config.copies,
        });
        let (event_sender, events) = mpsc::channel(64);
        let (request_sender, requests) = mpsc::channel(64);
        let mut session = Self {
            lifecycle: Lifecycle::new(config.time_limits),
            children: Children::default(),
            inherited,
            pending: VecDeque::new(),
            event_sender,
            events,
            requests,
            status: watch::Sender::new(status),
            processes: watch::Sender::new(Vec::new()),
            screen,
            stage: watch::Sender::new(None),
            size: watch::Sender::new(size),
            program,
            cookie,
            display: None,
            version: None,
            control: control.clone(),
            documents: documents.clone(),
            told,
            gimp,
            has_link: false,
            activity,
            store,
            painting: None,
            attempt: 0,
            writes_allowed: true,
            started,
            started_at: OffsetDateTime::now_utc(),
            earlier: Vec::new(),
            guard: std::os::unix::process::parent_id(),
            finished: false,
            folders: folders.clone(),
            config,
        };
        match takeover {
            Some(takeover) => session.take_over(takeover),
            None => session.pending.push_back(Input::Begin),
        }
        if begin == Begin::GiveUp {
            session.pending.push_back(Input::EndRequested(EndReason::Crashed));
        }
        let shared = Shared {
            status: session.status.subscribe(),
            requests: request_sender,
            control,
            documents,
            folders,
            processes: session.processes.subscribe(),
            stage: session.stage.subscribe(),
            screen: session.screen.subscribe(),
            last_input: Arc::new(Mutex::new(started)),
        };
        Ok((session, shared))
    }

    /// Runs until the session has ended; returns why it did.
    pub async fn run(mut self) -> anyhow::Result<EndReason> {
        let mut child_ended = signal(SignalKind::child())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut inherited = self.inherited.take();
        self.write_state().context("cannot write to the run folder")?;
        loop {
            while let Some(input) = self.pending.pop_front() {
                self.step(input);
            }
            if self.finished
                && let AgentPhase::Ended { reason } = self.lifecycle.phase()
            {
                return Ok(reason);
            }
            let deadline = self.lifecycle.deadline().map(|at| tokio::time::Instant::from_std(self.started + at));
            tokio::select! {
                _ = child_ended.recv() => {
                    for death in self.children.reap() {
                        self.died(death);
                    }
                }
                (pid, status) = next_inherited(&mut inherited) => {
                    if let Some(death) = self.children.dead(pid, status) {
                        self.died(death);
                    }
                }
                Some(event) = self.events.recv() => self.happened(event),
                Some(request) = self.requests.recv() => self.asked(request),
                Ok(()) = self.told.changed() => self.publish(),
                _ = terminate.recv() => self.pending.push_back(Input::EndRequested(self.why_terminated())),
                _ = interrupt.recv() => self.pending.push_back(Input::EndRequested(EndReason::Evicted)),
                () = sleep_until(deadline) => self.pending.push_back(Input::TimePassed),
            }
        }
    }

    /// The kernel sends it for a guard that was killed, too. Who sends it else wants the room: a pod or a machine that
    /// shuts down.
    fn why_terminated(&self) -> EndReason {
        if std::os::unix::process::parent_id() == self.guard {
            return EndReason::Evicted;
        }
        tracing::warn!("the guard was killed: the session ends, as nobody would look after it");
        self.status.send_modify(|status| status.unattended = true);
        EndReason::Crashed
    }

    fn step(&mut self, input: Input) {
        let now = self.started.elapsed();
        for effect in self.lifecycle.step(now, input) {
            self.carry_out(effect);
        }
        self.publish();
    }

    fn died(&mut self, death: Death) {
        tracing::info!(what = ?death.what, exit = %death.exit, "process ended");
        if death.what == Supervised::Display {
            self.display = None;
            self.screen.send_replace(None);
            self.stage.send_replace(None);
        }
        if death.what == Supervised::Gimp {
            self.stop_waiting();
        }
        self.pending.push_back(Input::Exited(death.what, death.exit));
    }

    fn happened(&mut self, event: Event) {
        match event {
            Event::DisplayUp { display, opened, version } => match (opened, version) {
                (Ok(screen), Ok(version)) => {
                    if let Some((width, height)) = screen.stays() {
                        self.size_stays(width, height);
                    }
                    self.display = Some(display);
                    self.version = Some(version);
                    self.screen.send_replace(Some(Arc::new(Mutex::new(*screen))));
                    self.show(display);
                    self.pending.push_back(Input::Up(Supervised::Display));
                }
                (Err(error), _) => {
                    tracing::error!(error, "the display cannot be used");
                    self.children.signal(Supervised::Display, StopSignal::Kill);
                }
                (_, Err(error)) => {
                    tracing::error!(%error, "GIMP cannot be found");
                    self.children.signal(Supervised::Display, StopSignal::Kill);
                }
            },
            Event::StageUp { display, stage } => {
                // Of a display that is gone again it would be dead.
                if self.display == Some(display) {
                    self.stage.send_replace(Some(stage));
                }
            }
            Event::SizeStays(width, height) => {
                self.size_stays(width, height);
                self.publish();
            }
            Event::BusUp => self.pending.push_back(Input::Up(Supervised::Bus)),
            Event::GimpPainted { attempt } if attempt == self.attempt => {
                self.painting = None;
                self.pending.push_back(Input::Up(Supervised::Gimp));
            }
            Event::GimpPainted { .. } => {}
            Event::Saved(saved) => {
                tracing::info!(copies = saved.copies, outcome = ?saved.outcome, "unsaved images copied");
                self.pending.push_back(Input::SaveFinished(saved.outcome));
            }
        }
    }

    /// Lets viewers of the stream in. Without it VNC still shows the picture.
    fn show(&self, display: u32) {
        let (cookie, begun) = (self.cookie.clone(), self.activity.clone());
        tokio::task::spawn_blocking(move || {
            if let Err(error) = activity::watch(display, &cookie, &begun) {
                tracing::debug!(%error, "the display tells of no more input");
            }
        });
        let (cookie, events) = (self.cookie.clone(), self.event_sender.clone());
        tokio::task::spawn_blocking(move || match Stage::open(display, cookie) {
            Ok(stage) => drop(events.blocking_send(Event::StageUp { display, stage })),
            Err(error) => tracing::error!(%error, "the picture cannot be streamed"),
        });
    }

    fn asked(&mut self, request: Request) {
        match request {
            Request::Resize(size, answer) => self.resize(size, answer),
            Request::Writes { allowed, done } => {
                self.writes_allowed = allowed;
                let _ = done.send(self.limit_writes());
            }
            Request::End(reason) => self.pending.push_back(Input::EndRequested(reason)),
            Request::ViewerJoined => self.change_viewers(|viewers| viewers.saturating_add(1)),
            Request::ViewerLeft => self.change_viewers(|viewers| viewers.saturating_sub(1)),
        }
    }

    fn change_viewers(&self, change: impl FnOnce(u32) -> u32) {
        self.status.send_modify(|status| status.viewers = change(status.viewers));
    }

    fn size_stays(&self, width: u16, height: u16) {
        self.size.send_modify(|size| (size.width, size.height) = (width, height));
        self.status.send_modify(|status| status.capabilities.resize = false);
    }

    fn resize(&mut self, size: ScreenSize, answer: oneshot::Sender<io::Result<ScreenSize>>) {
        let mut size = capped(size, self.config.max_screen);
        if !self.status.borrow().capabilities.resize {
            size = ScreenSize { scale: size.scale, ..*self.size.borrow() };
        }
        self.size.send_replace(size);
        self.publish();
        let Some(screen) = self.screen.borrow().clone() else {
            // Applied when the display is up.
            let _ = answer.send(Ok(size));
            return;
        };
        let (wanted, events) = (self.size.subscribe(), self.event_sender.clone());
        tokio::task::spawn_blocking(move || {
            let mut screen = lock(&screen);
            let stayed = screen.stays();
            // Newest wins, in whatever order the threads run.
            let newest = *wanted.borrow();
            let became = screen.apply(newest).map_err(io::Error::other);
            if let (None, Some((width, height))) = (stayed, screen.stays()) {
                let _ = events.blocking_send(Event::SizeStays(width, height));
            }
            let _ = answer.send(became);
        });
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Start(what) => {
                if let Err(error) = self.start(what) {
                    tracing::error!(?what, error = format!("{error:#}"), "cannot start");
                    self.pending.push_back(Input::Exited(what, Exit::NotStarted));
                }
            }
            Effect::Signal(what, signal) => self.children.signal(what, signal),
            Effect::SaveImages => self.save_images(),
            Effect::QuitGimp => {
                let control = self.control.clone();
                tokio::spawn(async move {
                    if let Err(error) = control.run_script(QUIT_SCRIPT).await {
                        tracing::debug!(%error, "GIMP was gone before it answered");
                    }
                });
            }
            Effect::CollectBackups => self.collect_backups(),
            Effect::Finish => self.finished = true,
        }
    }

    fn start(&mut self, what: Supervised) -> anyhow::Result<()> {
        match what {
            Supervised::Display => self.start_display(),
            Supervised::Bus => self.start_bus(),
            Supervised::WindowManager => {
                let mut command = window_manager::command(&self.folders)?;
                os::signal_on_parent_death(&mut command, Signal::TERM);
                self.spawn(what, command)?;
                self.pending.push_back(Input::Up(what));
                Ok(())
            }
            Supervised::Gimp => self.start_gimp(),
        }
    }

    fn spawn(&mut self, what: Supervised, mut command: std::process::Command) -> anyhow::Result<()> {
        let (log, variables) = (self.folders.run_file(log_name(what)), self.environment());
        variables.apply(&mut command, &log)?;
        let pid = self.children.spawn(what, &mut command).with_context(|| format!("{:?}", command.get_program()))?;
        if !self.writes_allowed && what == Supervised::Gimp {
            limits::set_writes_of(pid, false)?;
        }
        Ok(())
    }

    fn limit_writes(&self) -> io::Result<()> {
        let limited = self.children.iter().filter(|(_, what)| *what == Supervised::Gimp);
        let limited: Vec<i32> = limited.map(|(pid, _)| pid).collect();
        limits::set_writes(&limited, self.writes_allowed)
    }

    fn environment(&self) -> Environment {
        let mut environment = Environment::new(&self.folders.home, &self.folders.run);
        environment.set("DBUS_SESSION_BUS_ADDRESS", bus::address(&self.folders));
        let link = link::socket(&self.folders).to_string_lossy().into_owned();
        environment.set(gimp_link::SOCKET_VARIABLE, link);
        if let Some(display) = self.display {
            environment.set("DISPLAY", format!(":{display}"));
        }
        environment.set("XAUTHORITY", server::authority_file(&self.folders).to_string_lossy().into_owned());
        environment
    }

    fn start_display(&mut self) -> anyhow::Result<()> {
        let authority = self.cookie.store(&self.folders)?;
        let size = *self.size.borrow();
        let (command, number, keep) = self.program.command(&self.folders, &authority, size)?;
        self.spawn(Supervised::Display, command)?;
        drop(keep);
        self.open_screen(number);
        Ok(())
    }

    /// Waits for the display number, connects and sizes the screen, meanwhile asking GIMP for its version.
    fn open_screen(&self, number: DisplayNumber) {
        let (cookie, size, known, events) =
            (self.cookie.clone(), self.size.subscribe(), self.version, self.event_sender.clone());
        let sizing = self.program.sizing();
        let version = tokio::task::spawn_blocking(move || known.map_or_else(version::installed, Ok));
        let screen = tokio::task::spawn_blocking(move || {
            let display = match number {
                DisplayNumber::Fixed(display) => display,
                DisplayNumber::FromPipe(pipe) => read_display_number(pipe).unwrap_or(u32::MAX),
            };
            let newest = *size.borrow();
            (display, open_patiently(display, &cookie, newest, sizing).map(Box::new))
        });
        tokio::spawn(async move {
            let version = version.await.unwrap_or_else(|error| Err(io::Error::other(error)));
            let (display, opened) = screen.await.unwrap_or_else(|error| (0, Err(error.to_string())));
            let _ = events.send(Event::DisplayUp { display, opened, version }).await;
        });
    }

    fn start_bus(&mut self) -> anyhow::Result<()> {
        let command = bus::command(&self.folders)?;
        self.spawn(Supervised::Bus, command)?;
        let (socket, events) = (bus::socket(&self.folders), self.event_sender.clone());
        tokio::spawn(async move {
            while tokio::net::UnixStream::connect(&socket).await.is_err() {
                if events.is_closed() {
                    return;
                }
                tokio::time::sleep(SOCKET_POLL).await;
            }
            let _ = events.send(Event::BusUp).await;
        });
        Ok(())
    }

    fn start_gimp(&mut self) -> anyhow::Result<()> {
        let (Some(version), Some(_)) = (self.version, self.display) else {
            anyhow::bail!("the display is gone again");
        };
        self.collect_backups();
        let profile = Profile::new(&self.folders.home, version);
        let scale = self.size.borrow().scale;
        let plugins_cached = profile.seed(&self.folders.warm, version, scale).unwrap_or_else(|error| {
            tracing::warn!(%error, "GIMP starts without all of its caches");
            false
        });
        self.has_link = link::install(&self.folders, version).unwrap_or_else(|error| {
            tracing::warn!(%error, "GIMP starts without its link");
            false
        });
        let plug_ins = link::plug_in_folder(&self.folders);
        let preset = Preset {
            version,
            memory_bytes: self.config.memory_bytes,
            cpus: self.config.cpus,
            swap: &profile.swap,
            plug_ins: &plug_ins,
            scale,
            plugins_cached,
        };
        let path = self.folders.run_file("gimprc");
        fs::write(&path, preset.text())?;
        let command = process::command(&path);
        self.spawn(Supervised::Gimp, command)?;
        self.wait_for_paint();
        Ok(())
    }

    fn wait_for_paint(&mut self) {
        let Some(display) = self.display else { return };
        self.stop_waiting();
        self.attempt += 1;
        let cancelled = Arc::new(AtomicBool::new(false));
        self.painting = Some(cancelled.clone());
        let (attempt, cookie, events) = (self.attempt, self.cookie.clone(), self.event_sender.clone());
        let control = self.control.clone();
        tokio::spawn(async move {
            let (waiting, key) = (cancelled.clone(), cookie.clone());
            let mapped = move || painted::wait_until_mapped(display, &key, &waiting);
            if let Ok(Ok(())) = tokio::task::spawn_blocking(mapped).await {
                let quiet = move || painted::wait_until_quiet(display, &cookie, &cancelled);
                let (settled, quiet) = tokio::join!(control.settled(), tokio::task::spawn_blocking(quiet));
                // On a busy machine GIMP pauses between mapping its window and filling it. One that shows a dialog at
                // start may not answer, and is there all the same.
                if let Err(error) = settled {
                    tracing::warn!(%error, "GIMP is on the screen but does not answer");
                }
                if let Ok(Ok(())) = quiet {
                    let _ = events.send(Event::GimpPainted { attempt }).await;
                }
            }
        });
    }

    fn stop_waiting(&mut self) {
        if let Some(cancelled) = self.painting.take() {
            cancelled.store(true, Ordering::Relaxed);
        }
    }

    fn save_images(&mut self) {
        // Copies must not fail for a quota that the session is about to stop using.
        if !self.writes_allowed {
            self.writes_allowed = true;
            if let Err(error) = self.limit_writes() {
                tracing::warn!(%error, "cannot lift the limit on writing");
            }
        }
        let Some(version) = self.version else {
            self.pending.push_back(Input::SaveFinished(SaveOutcome::Incomplete));
            return;
        };
        let saver = Saver {
            control: self.control.clone(),
            version,
            store: self.store.clone(),
            home: self.folders.home.clone(),
            limit: Duration::from_millis(self.config.time_limits.save_ms),
        };
        let (limit, documents, events) = (saver.limit, self.documents.clone(), self.event_sender.clone());
        tokio::spawn(async move {
            let save = async {
                match documents.save_all().await {
                    Some(saved) => saved,
                    None => saver.save_all(documents.being_saved()).await,
                }
            };
            if let Ok(saved) = tokio::time::timeout(limit, save).await {
                let _ = events.send(Event::Saved(saved)).await;
            }
        });
    }

    fn collect_backups(&mut self) {
        let Some(version) = self.version else { return };
        let backups = Profile::new(&self.folders.home, version).backups();
        if let Err(error) = self.try_collect(&backups) {
            tracing::error!(%error, "GIMP's own copies could not be moved to the recovery store");
        }
    }

    fn try_collect(&mut self, backups: &std::path::Path) -> io::Result<()> {
        let collected = self.store.collect(backups)?;
        if !collected.is_empty() {
            tracing::info!(copies = collected.len(), "GIMP's own copies moved to the recovery store");
        }
        Ok(())
    }

    fn take_over(&mut self, takeover: Takeover) {
        for (what, pid) in &takeover.processes {
            self.children.adopt(*what, *pid);
        }
        let alive: Vec<Supervised> = takeover.processes.iter().map(|(what, _)| *what).collect();
        self.lifecycle = Lifecycle::adopt(self.config.time_limits, &alive, takeover.gimp_ready);
        self.has_link = takeover.has_link;
        self.version = takeover.status.gimp_version.as_deref().and_then(|version| version.parse().ok());
        self.size.send_replace(takeover.status.screen);
        self.status.send_modify(|status| status.timings.clone_from(&takeover.status.timings));
        self.earlier = takeover.status.restarts;
        match takeover.display {
            Some(display) if alive.contains(&Supervised::Display) => {
                self.display = Some(display);
                self.open_screen(DisplayNumber::Fixed(display));
                if alive.contains(&Supervised::Gimp) && !takeover.gimp_ready {
                    self.wait_for_paint();
                }
            }
            // A display whose number is not known is of no use.
            _ => self.children.signal(Supervised::Display, StopSignal::Kill),
        }
    }

    /// Tells everyone who watches, and at a change of phase the disk.
    fn publish(&mut self) {
        let phase = self.lifecycle.phase();
        let restarts = self.restarts();
        let size = *self.size.borrow();
        let at_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let version = self.version.map(|version| version.to_string());
        let gimp = match phase {
            AgentPhase::Running => Some(Gimp { attempt: self.attempt, has_link: self.has_link }),
            // Those of the last GIMP are still to be saved.
            AgentPhase::Ending { .. } => *self.gimp.borrow(),
            AgentPhase::Starting { .. } | AgentPhase::Restarting | AgentPhase::Ended { .. } => None,
        };
        self.gimp.send_if_modified(|last| {
            let changed = *last != gimp;
            *last = gimp;
            changed
        });
        let told = self.told.borrow_and_update().clone();
        let mut phase_changed = false;
        self.status.send_if_modified(|status| {
            phase_changed = status.phase != phase;
            let step = match phase {
                AgentPhase::Starting { step } => Some(step),
                AgentPhase::Running => Some(StartStep::Ready),
                _ => None,
            };
            if let Some(step) = step.filter(|step| status.timings.iter().all(|timing| timing.step != *step)) {
                status.timings.push(StepTiming { step, at_ms });
            }
            let changed = phase_changed
                || status.restarts != restarts
                || status.screen != size
                || status.gimp_version != version
                || status.documents != told.documents
                || status.capabilities.documents_unavailable != told.unavailable;
            status.documents = told.documents;
            status.capabilities.documents_unavailable = told.unavailable;
            status.phase = phase;
            status.restarts = restarts;
            status.screen = size;
            status.gimp_version = version;
            changed
        });
        let processes: Vec<_> = self.children.iter().map(|(pid, what)| (what, pid)).collect();
        let processes_changed = *self.processes.borrow() != processes;
        if processes_changed {
            self.processes.send_replace(processes);
        }
        if phase_changed {
            tracing::info!(?phase, "phase");
        }
        if (phase_changed || processes_changed)
            && let Err(error) = self.write_state()
        {
            tracing::error!(%error, "the state cannot be written to the run folder");
        }
    }

    fn write_state(&self) -> io::Result<()> {
        let status = self.status.borrow().clone();
        replace_file(&self.folders.run_file(paths::LAST_STATUS_FILE), &serde_json::to_vec(&status)?)?;
        let takeover = Takeover {
            display: self.display,
            processes: self.processes.borrow().clone(),
            gimp_ready: status.phase == AgentPhase::Running,
            has_link: self.has_link,
            status,
        };
        replace_file(&self.folders.run_file(TAKEOVER_FILE), &serde_json::to_vec(&takeover)?)
    }

    fn restarts(&self) -> Vec<Restart> {
        let ours = self.lifecycle.incidents().iter().map(|incident| Restart {
            at: rfc3339(self.started_at + incident.at),
            what: incident.what,
            cause: incident.exit.to_string(),
        });
        let all: Vec<Restart> = self.earlier.iter().cloned().chain(ours).collect();
        all[all.len().saturating_sub(RESTARTS_SHOWN)..].to_vec()
    }
}

async fn next_inherited(inherited: &mut Option<Inherited>) -> (i32, std::process::ExitStatus) {
    match inherited {
        Some(inherited) => inherited.next().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn log_name(what: Supervised) -> &'static str {
    match what {
        Supervised::Display => "display.log",
        Supervised::WindowManager => "window-manager.log",
        Supervised::Bus => "bus.log",
        Supervised::Gimp => "gimp.log",
    }
}

fn read_takeover(folders: &Folders) -> Option<Takeover> {
    serde_json::from_slice(&fs::read(folders.run_file(TAKEOVER_FILE)).ok()?).ok()
}

fn read_display_number(pipe: OwnedFd) -> Option<u32> {
    let mut line = String::new();
    io::BufReader::new(fs::File::from(pipe)).read_line(&mut line).ok()?;
    line.trim().parse().ok()
}

/// The socket of a server that cannot say when it is ready may appear a little later.
fn open_patiently(display: u32, cookie: &Cookie, size: ScreenSize, sizing: Sizing) -> Result<Screen, String> {
    let deadline = Instant::now() + agent_core::lifecycle::SERVICE_START_LIMIT;
    loop {
        match Screen::open(display, cookie, size, sizing) {
            Ok(screen) => return Ok(screen),
            Err(crate::display::x11::Error::Socket(_)) if display != u32::MAX && Instant::now() < deadline => {
                std::thread::sleep(SOCKET_POLL);
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// The size that is really set: within what GIMP can be used on and what the operator allows, standing or lying.
pub fn capped(size: ScreenSize, max: (u16, u16)) -> ScreenSize {
    let scale = if size.scale.is_finite() { size.scale.clamp(0.5, 4.0) } else { 1.0 };
    let (wide, high) = size.turned(max);
    ScreenSize {
        width: size.width.clamp(MIN_SCREEN.0, wide.max(MIN_SCREEN.0)),
        height: size.height.clamp(MIN_SCREEN.1, high.max(MIN_SCREEN.1)),
        scale,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_capped_on_both_ends() {
        let cap = |width, height, scale| capped(ScreenSize { width, height, scale }, (3840, 2160));
        assert_eq!(cap(1, 1, 1.0), ScreenSize { width: 320, height: 240, scale: 1.0 });
        assert_eq!(cap(7680, 4320, 9.0), ScreenSize { width: 3840, height: 2160, scale: 4.0 });
        assert_eq!(cap(2160, 3840, 2.0), ScreenSize { width: 2160, height: 3840, scale: 2.0 });
        assert_eq!(cap(4320, 7680, 2.0), ScreenSize { width: 2160, height: 3840, scale: 2.0 });
        assert_eq!(cap(800, 600, f32::INFINITY).scale.to_bits(), 1.0_f32.to_bits());
    }
}
