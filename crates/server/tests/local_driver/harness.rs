//! A data directory, a driver on it, sessions whose agent runs shell scripts for us, and the cleaning up.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};
use protocol::session::ScreenSize;
use server::data_dir;
use server::driver::local::{LocalDriver, LocalOptions};
use server::driver::{AgentKey, Driver, Presence, QuotaMechanism, StartError, StartRequest};
use server::ids::{SessionId, UserId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Whom tests of an ordinary user run as: with a group beside their own, as people have.
const ORDINARY_UID: u32 = 61_234;
const ANOTHER_GROUP: u32 = 61_235;
/// Nothing in a test takes longer.
pub const PATIENCE: Duration = Duration::from_secs(120);
pub const MIB: u64 = 1 << 20;
pub const FIRST_UID: u32 = 1_900_000_000;

/// Runs the calling test's body as root.
pub fn as_root<F: Future<Output = ()>>(body: impl FnOnce() -> F) {
    if rustix::process::geteuid().is_root() {
        run(body());
    } else {
        let mut command = Command::new("sudo");
        command.args(["-n", "--preserve-env", "--"]).arg(std::env::current_exe().expect("this program"));
        run_again(command);
    }
}

/// Runs the calling test's body as an ordinary user.
pub fn as_ordinary_user<F: Future<Output = ()>>(body: impl FnOnce() -> F) {
    /// The program by descriptor: the other user may not reach the folder it is in.
    const PROGRAM_FD: i32 = 3;
    if !rustix::process::geteuid().is_root() {
        return run(body());
    }
    let uid = ORDINARY_UID.to_string();
    let program = fs::File::open(std::env::current_exe().expect("this program")).expect("opens");
    let mut command = Command::new("setpriv");
    let groups = format!("{uid},{ANOTHER_GROUP}");
    command.args(["--reuid", &uid, "--regid", &uid, "--groups", &groups, "--inh-caps=-all", "--"]);
    command.arg(format!("/proc/self/fd/{PROGRAM_FD}"));
    command.fd_mappings(vec![FdMapping { parent_fd: program.into(), child_fd: PROGRAM_FD }]).expect("one mapping");
    run_again(command);
}

/// The driver's own tasks go on while the stage is cleaned up, which blocks: on a thread of theirs.
fn run(body: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("runtime").block_on(body);
}

/// The same test in another process, which `command` starts.
fn run_again(mut command: Command) {
    let test = std::thread::current().name().expect("tests have named threads").to_owned();
    let output = command.args(["--exact", &test, "--nocapture"]).current_dir("/").output().expect("runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A machine of its own for one test.
pub struct Stage {
    pub driver: Driver,
    _data: tempfile::TempDir,
    pub options: LocalOptions,
}

impl Stage {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut LocalOptions)) -> Self {
        let data = tempfile::Builder::new().prefix("gp-").tempdir().expect("temporary folder");
        let mut options = LocalOptions {
            data_dir: data.path().join("data"),
            agent_path: Some(stand_in(data.path())),
            first_uid: FIRST_UID,
            quota_mechanism: None,
            display: protocol::agent::DisplayServer::Xorg,
            copies: Default::default(),
            disk_reserve: 64 * MIB,
            settle_limit: Duration::from_millis(300),
        };
        change(&mut options);
        let driver = driver(&options);
        Self { driver, _data: data, options }
    }

    /// What a server that was killed and started again has.
    pub fn another_driver(&self) -> Driver {
        driver(&self.options)
    }

    pub fn request(&self) -> StartRequest {
        StartRequest {
            session: SessionId::new(),
            user: UserId::new(),
            uid_offset: u32::from(rand::random::<u16>()),
            screen: ScreenSize::default(),
            cpu_millis: 1000,
            memory_bytes: 256 * MIB,
            quota_bytes: 64 * MIB,
            history: Default::default(),
        }
    }

    pub async fn start(&self, request: &StartRequest) -> Result<(), StartError> {
        self.driver.start(request, &|_| {}).await
    }

    pub async fn session(&self) -> Session<'_> {
        self.session_of(self.request()).await
    }

    pub async fn session_of(&self, request: StartRequest) -> Session<'_> {
        self.start(&request).await.unwrap_or_else(|error| panic!("starts: {error:?}"));
        Session { stage: self, request }
    }

    pub fn data_dir(&self) -> &Path {
        &self.options.data_dir
    }

    pub fn run_dir(&self, session: SessionId) -> PathBuf {
        self.data_dir().join("run").join(session.to_string())
    }
}

fn driver(options: &LocalOptions) -> Driver {
    data_dir::prepare(&options.data_dir).expect("prepares");
    let key = AgentKey::load_or_create(&options.data_dir.join(data_dir::PRIVATE)).expect("key");
    Driver::Local(LocalDriver::with_options(options.clone(), key))
}

/// Copied, so that an ordinary user can read it.
fn stand_in(folder: &Path) -> PathBuf {
    let path = folder.join("gimp-session");
    fs::write(&path, include_str!("stand_in_agent.pl")).expect("writes");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("makes executable");
    path
}

/// Ends everything also when the test panics; what is left then is an error of its own.
impl Drop for Stage {
    fn drop(&mut self) {
        let driver = driver(&self.options);
        let clean = std::thread::spawn(move || {
            run(async {
                for session in driver.list().await.expect("lists") {
                    driver.remove(session).await.expect("removes");
                }
            });
        });
        let cleaned = clean.join();
        // Whatever the driver left in place: this process can't be sure that it works.
        let mounted = mounts_below(self.data_dir());
        for point in mounted.iter().rev() {
            let _ = Command::new("umount").arg("-l").arg(point).status();
        }
        if !std::thread::panicking() {
            cleaned.expect("the driver cleans up");
            let workspaces = self.data_dir().join("workspaces");
            let left: Vec<_> = mounted.iter().filter(|point| !point.starts_with(&workspaces)).collect();
            assert!(left.is_empty(), "still mounted: {left:?}");
            // bubblewrap outside the sandbox ends a moment after the inside.
            let deadline = Instant::now() + PATIENCE;
            loop {
                let processes = processes_about(self.data_dir());
                if processes.is_empty() {
                    break;
                }
                assert!(Instant::now() < deadline, "still running: {processes:?}");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

pub fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mounts").expect("reads");
    text.lines()
        .filter_map(|line| line.split(' ').nth(1))
        .map(PathBuf::from)
        .filter(|point| point.starts_with(folder))
        .collect()
}

/// Command lines that name this folder: bubblewrap's do.
pub fn processes_about(folder: &Path) -> Vec<String> {
    let needle = folder.to_str().expect("UTF-8");
    let mut found = vec![];
    for entry in fs::read_dir("/proc").expect("reads").flatten() {
        let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(needle) && line.contains("bwrap") {
            found.push(format!("{} {line}", entry.file_name().to_string_lossy()));
        }
    }
    found
}

/// Control group folders of a session, of any hierarchy.
pub fn groups_of(session: SessionId) -> Vec<PathBuf> {
    let name = session.to_string();
    let text = fs::read_to_string("/proc/self/mounts").expect("reads");
    text.lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|point| point.starts_with("/sys/fs/cgroup"))
        .map(|point| Path::new(point).join("gimp-platform").join(&name))
        .filter(|group| group.is_dir())
        .collect()
}

/// A running session with the stand-in as its agent.
pub struct Session<'a> {
    stage: &'a Stage,
    pub request: StartRequest,
}

/// What a script did.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub output: String,
}

impl<'a> Session<'a> {
    /// One that was started before.
    pub fn found(stage: &'a Stage, request: StartRequest) -> Self {
        Self { stage, request }
    }

    pub fn id(&self) -> SessionId {
        self.request.session
    }

    pub fn workspace(&self) -> PathBuf {
        self.stage.data_dir().join("workspaces").join(self.request.user.to_string())
    }

    pub fn shared(&self) -> PathBuf {
        self.stage.run_dir(self.id()).join("shared")
    }

    /// pid 1 of the sandbox as this machine sees it.
    pub fn init(&self) -> i32 {
        let record = fs::read(self.stage.run_dir(self.id()).join("sandbox.json")).expect("reads");
        let record: serde_json::Value = serde_json::from_slice(&record).expect("parses");
        record["init"]["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a pid")
    }

    pub async fn present(&self) -> bool {
        self.stage.driver.presence(self.id()).await.expect("knows") == Presence::Present
    }

    /// Runs a shell script inside.
    pub async fn try_shell(&self, script: &str) -> std::io::Result<Ran> {
        let work = async {
            let mut stream = tokio::net::UnixStream::connect(self.shared().join("agent.sock")).await?;
            let request = format!("POST /shell HTTP/1.1\r\nContent-Length: {}\r\n\r\n{script}", script.len());
            stream.write_all(request.as_bytes()).await?;
            let mut answer = vec![];
            stream.read_to_end(&mut answer).await?;
            let answer = String::from_utf8_lossy(&answer);
            let (head, body) = answer.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
            let code = head.lines().find_map(|line| line.strip_prefix("X-Exit-Code: "));
            let code = code.and_then(|code| code.parse().ok()).ok_or(std::io::ErrorKind::InvalidData)?;
            Ok(Ran { code, output: body.to_owned() })
        };
        tokio::time::timeout(PATIENCE, work).await.unwrap_or(Err(std::io::ErrorKind::TimedOut.into()))
    }

    pub async fn shell(&self, script: &str) -> Ran {
        self.try_shell(script).await.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// The output of a script that must succeed.
    pub async fn output(&self, script: &str) -> String {
        let ran = self.shell(script).await;
        assert_eq!(ran.code, 0, "{script}: {}", ran.output);
        ran.output.trim().to_owned()
    }

    /// A script that must fail.
    pub async fn refused(&self, script: &str) -> String {
        let ran = self.shell(script).await;
        assert_ne!(ran.code, 0, "{script} succeeded: {}", ran.output);
        ran.output
    }

    /// errno of a system call made inside (0: it succeeded). Arguments are Perl expressions.
    pub async fn syscall(&self, number: i64, arguments: &str) -> i32 {
        let script = format!("perl -e '@a = ({arguments}); $r = syscall({number}, @a); print $r == -1 ? $!+0 : 0'");
        self.output(&script).await.parse().expect("a number")
    }
}

/// Waits until `condition` holds.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The mechanism that the machine chose for whoever runs this.
pub async fn mechanism_of(stage: &Stage, request: &StartRequest) -> QuotaMechanism {
    let workspace = stage.driver.workspace(request.user, request.uid_offset, request.quota_bytes).await;
    workspace.unwrap_or_else(|error| panic!("opens: {error:?}")).mechanism
}
