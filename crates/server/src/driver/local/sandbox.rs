//! One sandbox: what it sees, as whom it runs, and how bubblewrap is told so.
//!
//! As root, bubblewrap works with real privileges (the data folder may lie where no session uid can reach) and the
//! program inside drops to the user's own uid and to no capabilities before anything of the session runs. As an
//! ordinary user everything happens in a user namespace. Nothing of the machine is visible but read-only programs,
//! libraries and a few folders of `/etc`.
//!
//! A session's sandbox outlives the server: nothing here ties their lives together. An errand of the server's ends with
//! it, however it ends.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use command_fds::{CommandFdExt, FdMapping};
use protocol::agent::paths;
use rustix::process::Signal;
use serde::Deserialize;
use tokio::process::{Child, Command};

use super::process::Process;
use super::seccomp;
use crate::driver::ENVIRONMENT;

/// Processes and threads of one session.
pub const TASKS: u32 = 512;
/// uid and gid inside a user namespace.
const INNER_ID: u32 = 1000;
/// Preferred victim when the whole machine runs out of memory: GIMP rather than the server.
const OOM_SCORE: u32 = 300;
/// Longest time bubblewrap may take to make the namespaces.
const SETUP_LIMIT: Duration = Duration::from_secs(20);
/// Where the agent is inside.
const AGENT: &str = "/opt/gimp-session/bin/gimp-session";
/// Part of the session's memory that `/tmp` may take, and `/dev/shm` as much again. Never all: what lies there is not
/// freed by ending a process, so the kernel would end them all.
const SCRATCH_PART: u64 = 4;

/// Parts of `/etc` that hold no secret and that X, GTK, GIMP, fonts and plug-ins read.
const ETC: &[&str] = &[
    "X11",
    "ImageMagick-6",
    "ImageMagick-7",
    "OpenCL",
    "alternatives",
    "dbus-1",
    "drirc",
    "fonts",
    "ghostscript",
    "gimp",
    "glvnd",
    "gtk-2.0",
    "gtk-3.0",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "localtime",
    "magic",
    "mime.types",
    "os-release",
    "papersize",
    "tigervnc",
    "timezone",
    "xdg",
];

/// Folders of the system; links on merged-`/usr` machines.
const SYSTEM: &[&str] = &["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// The server is root: a uid and gid of the user's own.
    Own { uid: u32, gid: u32 },
    /// The server is an ordinary user: that user, in a user namespace.
    Caller,
}

impl Identity {
    /// Whom files must belong to so that the sandbox can use them. None: the server's own user.
    pub const fn owner(self) -> Option<(u32, u32)> {
        match self {
            Self::Own { uid, gid } => Some((uid, gid)),
            Self::Caller => None,
        }
    }

    const fn inside(self) -> (u32, u32) {
        match self {
            Self::Own { uid, gid } => (uid, gid),
            Self::Caller => (INNER_ID, INNER_ID),
        }
    }
}

/// A folder that the sandbox may write to.
#[derive(Debug, Clone)]
pub struct Shared {
    pub outside: PathBuf,
    pub inside: &'static str,
}

/// All that makes one sandbox differ from another.
#[derive(Debug, Clone)]
pub struct Sandbox {
    pub bwrap: PathBuf,
    pub identity: Identity,
    /// The agent's program.
    pub agent: PathBuf,
    /// Start-up caches, read-only.
    pub warm: Option<PathBuf>,
    /// Folder for `write_etc`.
    pub etc: PathBuf,
    pub shared: Vec<Shared>,
    /// Bytes of memory the session may use; `/tmp` is sized from it.
    pub memory_bytes: u64,
    /// Where no control group limits memory, each process gets this much address space.
    pub address_space: Option<u64>,
}

/// Why a sandbox did not come up.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("bubblewrap can't be started")]
    Spawn(#[source] io::Error),
    /// bubblewrap ended before it had made the namespaces; what it said is in its standard error.
    #[error("bubblewrap could not make the sandbox")]
    Refused,
    #[error("bubblewrap did not answer in time")]
    Slow,
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

/// A sandbox whose namespaces exist and whose program has not started. Dropped, it runs its program, too: that is what
/// happens when the server dies, so whatever must not be missed has to be in place before, and the token comes last. An
/// errand finds its standard input closed then.
#[derive(Debug)]
pub struct Waiting {
    pub init: Process,
    /// bubblewrap outside the sandbox; ends with the program.
    pub monitor: Child,
    gate: OwnedFd,
}

impl Waiting {
    /// Lets the program run.
    pub fn release(self) -> io::Result<Child> {
        rustix::io::write(&self.gate, b"g")?;
        Ok(self.monitor)
    }

    /// Lets the program run and waits for its end. Cut off, or after `limit`, it is killed.
    pub async fn run_to_end(self, limit: Duration) -> anyhow::Result<std::process::ExitStatus> {
        struct Killed(Process);
        impl Drop for Killed {
            fn drop(&mut self) {
                if let Err(error) = self.0.signal(Signal::KILL) {
                    tracing::warn!(%error, "a sandbox can't be killed");
                }
            }
        }
        let _killed = Killed(self.init);
        let mut monitor = self.release()?;
        // `wait` would close it.
        let _attended = monitor.stdin.take();
        tokio::time::timeout(limit, monitor.wait()).await.context("it takes too long")?.context("bubblewrap")
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Info {
    child_pid: i32,
}

impl Sandbox {
    /// The made-up files of `/etc`: no names of the machine's users, no name service but files.
    pub fn write_etc(&self, host_id: uuid::Uuid) -> io::Result<()> {
        let (uid, gid) = self.identity.inside();
        for (name, text) in [
            (
                "passwd",
                format!(
                    "root:x:0:0::/:/usr/sbin/nologin\ngimp:x:{uid}:{gid}:GIMP:{}:/bin/sh\n\
                     nobody:x:65534:65534::/:/usr/sbin/nologin\n",
                    paths::HOME
                ),
            ),
            ("group", format!("root:x:0:\ngimp:x:{gid}:\nnogroup:x:65534:\n")),
            ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n".into()),
            ("hosts", "127.0.0.1 localhost gimp\n::1 localhost gimp\n".into()),
            ("machine-id", format!("{}\n", host_id.simple())),
        ] {
            let path = self.etc.join(name);
            std::fs::write(&path, text)?;
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        }
        Ok(())
    }

    /// Makes the namespaces and stops before `program` (the agent, with these arguments) starts.
    pub async fn spawn(&self, program: &Program<'_>, output: Output) -> Result<Waiting, SandboxError> {
        let (gate_inside, gate) = pipe()?;
        // Not a pipe: writing to one whose reader died kills bubblewrap's outer half and leaves the inner one waiting
        // for ever.
        let info = File::from(rustix::fs::memfd_create("info", rustix::fs::MemfdFlags::CLOEXEC).context("info file")?);
        let info_inside = info.try_clone().context("info file")?.into();
        let mut mappings = vec![
            FdMapping { parent_fd: gate_inside, child_fd: GATE_FD },
            FdMapping { parent_fd: info_inside, child_fd: INFO_FD },
        ];
        let filters = seccomp::programs().context("system call filter")?;
        for (filter, child_fd) in filters.iter().zip(FIRST_FILTER_FD..) {
            mappings.push(FdMapping { parent_fd: in_memory(filter).context("system call filter")?, child_fd });
        }
        let mut command = Command::new(&self.bwrap);
        command
            .args(self.arguments(program, filters.len()))
            .env_clear()
            .current_dir("/")
            .stdin(match program {
                // Never written to. Not `--die-with-parent`: bubblewrap's outer half could die of it at a moment that
                // leaves the inner one waiting for ever.
                Program::Errand(_) => Stdio::piped(),
                Program::Agent(_) | Program::Shell(_) => Stdio::null(),
            })
            .stdout(output.stdout)
            .stderr(output.stderr)
            // Away from the terminal's process group: Ctrl-C is for the server.
            .process_group(0)
            .kill_on_drop(false)
            .fd_mappings(mappings)
            .map_err(anyhow::Error::from)?;
        let mut monitor = command.spawn().map_err(SandboxError::Spawn)?;
        let info = tokio::time::timeout(SETUP_LIMIT, read_info(&info, &mut monitor))
            .await
            .map_err(|_| SandboxError::Slow)??;
        let init = Process::find(info.child_pid).context("start time")?.ok_or(SandboxError::Refused)?;
        Ok(Waiting { init, monitor, gate })
    }

    fn arguments(&self, program: &Program<'_>, filters: usize) -> Vec<OsString> {
        let mut args = Arguments::default();
        args.add(["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]);
        match self.identity {
            Identity::Own { .. } => {
                args.add(["--cap-drop", "ALL"]);
                for needed_to_drop in ["CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"] {
                    args.add(["--cap-add", needed_to_drop]);
                }
            }
            Identity::Caller => {
                let id = INNER_ID.to_string();
                args.add(["--unshare-user", "--disable-userns", "--uid", &id, "--gid", &id]);
            }
        }
        if let Program::Errand(_) = program {
            // Its end is the end of all that it started.
            args.add(["--as-pid-1"]);
        }
        args.add(["--new-session", "--hostname", "gimp", "--block-fd", &GATE_FD.to_string()]);
        args.add(["--info-fd", &INFO_FD.to_string()]);
        for fd in (FIRST_FILTER_FD..).take(filters) {
            args.add(["--add-seccomp-fd", &fd.to_string()]);
        }
        self.environment(&mut args);
        self.file_system(&mut args);
        // bubblewrap has given up the right to enter a folder of the user's; `env` changes to it later.
        args.add(["--chdir", "/", "--"]);
        self.program(&mut args, program);
        args.0
    }

    fn environment(&self, args: &mut Arguments) {
        args.add(["--clearenv"]);
        for (name, value) in ENVIRONMENT {
            args.add(["--setenv", name, value]);
        }
    }

    fn file_system(&self, args: &mut Arguments) {
        for folder in SYSTEM {
            match std::fs::read_link(folder) {
                Ok(target) => args.add([OsStr::new("--symlink"), target.as_os_str(), OsStr::new(folder)]),
                Err(_) if Path::new(folder).is_dir() => args.add(["--ro-bind", folder, folder]),
                Err(_) => {}
            }
        }
        // Made by hand: folders that bubblewrap makes on the way to another are closed to others.
        for folder in ["/etc", "/home", "/opt", "/opt/gimp-session", "/opt/gimp-session/bin", "/var", "/var/cache"] {
            args.add(["--perms", "0755", "--dir", folder]);
        }
        for path in visible_etc() {
            args.add([OsStr::new("--ro-bind-try"), path.as_os_str(), path.as_os_str()]);
        }
        for name in ["passwd", "group", "nsswitch.conf", "hosts", "machine-id"] {
            let inside = format!("/etc/{name}");
            args.add([OsStr::new("--ro-bind"), self.etc.join(name).as_os_str(), OsStr::new(&inside)]);
        }
        args.add(["--ro-bind-try", "/var/cache/fontconfig", "/var/cache/fontconfig"]);
        args.add(["--symlink", "/tmp", "/var/tmp", "--symlink", "/run", "/var/run"]);
        args.add(["--proc", "/proc", "--dev", "/dev"]);
        let size = (self.memory_bytes / SCRATCH_PART).to_string();
        for scratch in ["/tmp", "/dev/shm"] {
            args.add(["--perms", "1777", "--size", &size, "--tmpfs", scratch]);
        }
        args.add(["--perms", "0755", "--size", "65536", "--tmpfs", "/run"]);
        args.add([OsStr::new("--ro-bind"), self.agent.as_os_str(), OsStr::new(AGENT)]);
        if let Some(warm) = &self.warm {
            args.add([OsStr::new("--ro-bind"), warm.as_os_str(), OsStr::new(paths::WARM_DIR)]);
        }
        for shared in &self.shared {
            args.add([OsStr::new("--bind"), shared.outside.as_os_str(), OsStr::new(shared.inside)]);
        }
        // What is left of bubblewrap's own file systems has no size limit.
        args.add(["--remount-ro", "/run", "--remount-ro", "/dev", "--remount-ro", "/"]);
    }

    /// From the outside in: limits, then identity, then the home folder, then the program.
    fn program(&self, args: &mut Arguments, program: &Program<'_>) {
        args.add(["choom", "-n", &OOM_SCORE.to_string(), "--", "prlimit", "--core=0", &format!("--nproc={TASKS}")]);
        if let Some(bytes) = self.address_space {
            args.add([&format!("--as={bytes}")]);
        }
        args.add(["--"]);
        if let Identity::Own { uid, gid } = self.identity {
            args.add(["setpriv", "--reuid", &uid.to_string(), "--regid", &gid.to_string(), "--clear-groups"]);
            args.add(["--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all", "--no-new-privs", "--"]);
        }
        match program {
            Program::Agent(arguments) | Program::Errand(arguments) => {
                args.add(["env", "-C", paths::HOME, "--", AGENT]);
                args.add(arguments.iter().copied());
            }
            Program::Shell(script) => args.add(["sh", "-c", script]),
        }
    }
}

/// What runs inside.
#[derive(Debug, Clone, Copy)]
pub enum Program<'a> {
    Agent(&'a [&'a str]),
    /// The agent's program, on an errand that ends when its standard input does: with the server.
    Errand(&'a [&'a str]),
    /// For checks of the machine.
    Shell(&'a str),
}

#[derive(Debug)]
pub struct Output {
    pub stdout: Stdio,
    pub stderr: Stdio,
}

const GATE_FD: i32 = 10;
const INFO_FD: i32 = 11;
const FIRST_FILTER_FD: i32 = 12;

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn add<T: AsRef<OsStr>>(&mut self, arguments: impl IntoIterator<Item = T>) {
        self.0.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
    }
}

/// `ETC`, and the folders of whichever Python versions there are: GIMP's plug-ins may be in Python.
fn visible_etc() -> Vec<PathBuf> {
    let etc = Path::new("/etc");
    let mut visible: Vec<PathBuf> = ETC.iter().map(|name| etc.join(name)).collect();
    let python = std::fs::read_dir(etc).into_iter().flatten().flatten().map(|entry| entry.file_name());
    visible.extend(python.filter(|name| name.to_string_lossy().starts_with("python3")).map(|name| etc.join(name)));
    visible
}

fn pipe() -> anyhow::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

/// What bubblewrap says once the namespaces exist.
async fn read_info(info: &File, monitor: &mut Child) -> Result<Info, SandboxError> {
    loop {
        let ended = monitor.try_wait().context("bubblewrap")?.is_some();
        let mut text = [0; 1024];
        let length = info.read_at(&mut text, 0).context("info file")?;
        match serde_json::from_slice(text.get(..length).unwrap_or_default()) {
            Ok(info) => return Ok(info),
            Err(_) if ended => return Err(SandboxError::Refused),
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

fn in_memory(bytes: &[u8]) -> io::Result<OwnedFd> {
    let fd = rustix::fs::memfd_create("seccomp", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}
