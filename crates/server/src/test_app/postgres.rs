//! One private PostgreSQL for a whole test run, one database a test.
//!
//! The first test process of a run starts it; a small watcher ends it and removes its folder when the test runner, the
//! parent of all test processes, is gone. Reached by a Unix socket only; nothing is synced to disk.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sea_orm::{ConnectionTrait, Database};
use uuid::Uuid;

/// A database of one test, removed with it.
pub(crate) struct TestDatabase {
    folder: PathBuf,
    name: String,
}

impl TestDatabase {
    /// A fresh one, or None where the tests run on SQLite.
    pub async fn create() -> Option<Self> {
        match std::env::var("TEST_DATABASE").as_deref() {
            Err(_) | Ok("sqlite") => return None,
            Ok("postgres") => {}
            Ok(other) => panic!("TEST_DATABASE is sqlite or postgres, not {other}"),
        }
        Some(Self::on_postgres().await)
    }

    /// A fresh one.
    pub async fn on_postgres() -> Self {
        let folder = tokio::task::spawn_blocking(cluster).await.expect("no panic");
        Self::in_folder(folder).await
    }

    async fn in_folder(folder: PathBuf) -> Self {
        let name = format!("test_{}", Uuid::new_v4().simple());
        run(&folder, &format!("CREATE DATABASE {name}")).await;
        Self { folder, name }
    }

    pub fn url(&self) -> String {
        url(&self.folder, &self.name)
    }
}

/// A PostgreSQL of one test's own, which it may stop.
pub(crate) struct Cluster(PathBuf);

impl Cluster {
    pub async fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("gimp-platform-postgres-{}", Uuid::new_v4().simple()));
        let started = folder.clone();
        tokio::task::spawn_blocking(move || start(&started, std::process::id(), SAFE)).await.expect("no panic");
        Self(folder)
    }

    pub async fn database(&self) -> TestDatabase {
        TestDatabase::in_folder(self.0.clone()).await
    }

    /// As by kill -9.
    pub fn kill(&self) {
        self.control(&["stop", "--mode=immediate", "--wait", "--silent"]);
    }

    pub fn start_again(&self) {
        self.control(&["start", "--wait", "--silent", "-o", &options(&self.0, SAFE), "-l"]);
    }

    fn control(&self, arguments: &[&str]) {
        let mut command = run_as(unprivileged(), programs().join("pg_ctl"));
        command.args(arguments);
        if arguments.ends_with(&["-l"]) {
            command.arg(self.0.join("log"));
        }
        command.arg("-D").arg(self.0.join("data")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(command.status().expect("pg_ctl runs").success(), "{arguments:?}");
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (folder, name) = (self.folder.clone(), self.name.clone());
        // The test's own runtime does not turn while it drops things.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(run(&folder, &format!("DROP DATABASE {name} WITH (FORCE)")));
        });
        dropping.join().expect("the database is removed");
    }
}

fn url(folder: &Path, database: &str) -> String {
    format!("postgres://tester@localhost/{database}?host={}", folder.display())
}

async fn run(folder: &Path, statement: &str) {
    let admin = Database::connect(url(folder, "postgres")).await.expect("the test's PostgreSQL answers");
    admin.execute_unprepared(statement).await.expect(statement);
    admin.close().await.expect("closes");
}

/// The folder with the socket of this run's cluster, started if need be.
fn cluster() -> PathBuf {
    let runner = std::os::unix::process::parent_id();
    let folder = std::env::temp_dir().join(format!("gimp-platform-postgres-{runner}"));
    let lock = File::create(folder.with_extension("lock")).expect("a lock file");
    lock.lock().expect("the lock");
    if !folder.join("ready").exists() {
        start(&folder, runner, FAST);
        File::create(folder.join("ready")).expect("a mark");
    }
    folder
}

fn start(folder: &Path, runner: u32, commits: &str) {
    let data = folder.join("data");
    // Left by an earlier run whose watcher was killed, under a runner's pid that came round again.
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(&data).expect("a folder");
    let owner = unprivileged();
    if let Some((uid, gid)) = owner {
        for path in [folder, &data] {
            chown(path, Some(uid), Some(gid)).expect("chown");
        }
    }
    fs::set_permissions(&data, Permissions::from_mode(0o700)).expect("chmod");

    let bin = programs();
    let initdb = run_as(owner, bin.join("initdb"))
        .args(["--no-sync", "--auth=trust", "--username=tester", "--encoding=UTF8", "--locale=C", "-D"])
        .arg(&data)
        .output()
        .expect("initdb runs");
    assert!(initdb.status.success(), "initdb: {}", String::from_utf8_lossy(&initdb.stderr));
    let options = options(folder, commits);
    let started = run_as(owner, bin.join("pg_ctl"))
        .args(["start", "--wait", "--silent", "-o", &options, "-l"])
        .arg(folder.join("log"))
        .arg("-D")
        .arg(&data)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("pg_ctl runs");
    assert!(started.success(), "{}", fs::read_to_string(folder.join("log")).unwrap_or_default());

    // In a session of its own: a test's time-out must not end it.
    let script = r#"
        while [ -d "/proc/$1" ]; do sleep 0.5; done
        read -r server < "$2/data/postmaster.pid"
        kill -QUIT "$server"
        while [ -d "/proc/$server" ]; do sleep 0.1; done
        rm -rf "$2" "$2.lock""#;
    Command::new("setsid")
        .args(["--fork", "sh", "-c", script, "sh", &runner.to_string()])
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("the watcher runs");
}

/// What is committed may be lost with the server, which nobody kills.
const FAST: &str = "off";
/// What is committed outlives the server, though not the machine.
const SAFE: &str = "on";

fn options(folder: &Path, commits: &str) -> String {
    format!(
        "-c listen_addresses= -c unix_socket_directories={} -c fsync=off -c synchronous_commit={commits} \
         -c full_page_writes=off -c max_connections=400 -c shared_buffers=64MB",
        folder.display()
    )
}

/// PostgreSQL refuses to run as root: its own user does it then.
fn unprivileged() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("users");
    let find = |name: &str| {
        let line = users.lines().find(|line| line.starts_with(&format!("{name}:")))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    Some(find("postgres").or_else(|| find("nobody")).expect("an unprivileged user"))
}

fn run_as(owner: Option<(u32, u32)>, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir("/");
    if let Some((uid, gid)) = owner {
        command.uid(uid).gid(gid);
    }
    command
}

/// The newest of the installed versions' programs.
fn programs() -> PathBuf {
    let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .expect("install postgresql to run the tests on it")
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    versions.sort_by_key(|bin| bin.parent().and_then(|v| v.file_name()?.to_str()?.parse::<u32>().ok()));
    versions.pop().expect("install postgresql to run the tests on it")
}
