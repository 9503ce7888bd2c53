//! A real session for tests: the `gimp-session` binary with real Xorg and GIMP in a temporary run folder and
//! workspace, and the means to look at it from outside.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use protocol::agent::{AgentPhase, AgentStatus, EVENTS_PATH, Supervised, paths};
use protocol::session::{EndReason, RECOVERY_DIR, Recovery};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::net::UnixStream;
use x11rb::connection::Connection;
use x11rb::protocol::Event;
use x11rb::protocol::xproto::{AtomEnum, ConnectionExt, CreateGCAux, CreateWindowAux, ImageFormat, WindowClass};
use x11rb::rust_connection::{DefaultStream, RustConnection};

pub const TOKEN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef";
/// Longest wait for anything: a loaded machine included.
pub const LIMIT: Duration = Duration::from_secs(60);
const SESSION_ID: &str = "00000000-0000-4000-8000-000000000007";

pub struct TestSession {
    pub home: PathBuf,
    pub run: PathBuf,
    guard: Child,
    /// Keeps the folders; None when they belong to a test that starts several sessions in them.
    _folder: Option<tempfile::TempDir>,
}

/// What a test may want to differ.
pub struct Options {
    pub config: Value,
    /// Start-up caches; None for a machine without.
    pub warm: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        let config = json!({
            "sessionId": SESSION_ID,
            "memoryBytes": 1_u64 << 30,
            "cpus": 1,
            "screen": {"width": 1280, "height": 800, "scale": 1.0},
        });
        Self { config, warm: Some(warm_caches()) }
    }
}

impl TestSession {
    /// Starts a session in an empty workspace and waits until GIMP is ready.
    pub async fn ready() -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut session = Self::start(folder.path(), Options::default());
        session._folder = Some(folder);
        session.wait_for(|status| status.phase == AgentPhase::Running).await;
        session
    }

    /// Starts a session whose run folder and workspace are in `folder`.
    pub fn start(folder: &Path, options: Options) -> Self {
        let (home, run) = (folder.join("home"), folder.join("run"));
        let _ = fs::remove_dir_all(&run);
        fs::create_dir_all(&home).expect("creates the workspace");
        fs::create_dir(&run).expect("creates the run folder");
        fs::write(run.join(paths::CONFIG_FILE), options.config.to_string()).expect("writes the configuration");
        fs::write(run.join(paths::TOKEN_FILE), TOKEN).expect("writes the token");
        let log = fs::File::create(folder.join("agent.log")).expect("creates the log");
        let warm = options.warm.unwrap_or_else(|| folder.join("cold"));
        let guard = Command::new(env!("CARGO_BIN_EXE_gimp-session"))
            .arg("run")
            .arg("--run-dir")
            .arg(&run)
            .arg("--home")
            .arg(&home)
            .arg("--warm-dir")
            .arg(warm)
            .stdin(Stdio::null())
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("starts gimp-session");
        Self { home, run, guard, _folder: None }
    }

    /// Follows the session's events until `wanted` holds; panics with the log after `LIMIT`.
    pub async fn wait_for(&self, wanted: impl Fn(&AgentStatus) -> bool) -> AgentStatus {
        match tokio::time::timeout(LIMIT, self.follow(&wanted)).await {
            Ok(status) => status,
            Err(_) => panic!("waited too long; log:\n{}", self.log()),
        }
    }

    /// As `wait_for`, for what the agent tells only when asked.
    pub async fn ask_until(&self, wanted: impl Fn(&AgentStatus) -> bool) -> AgentStatus {
        let asking = async {
            loop {
                let status = self.status().await;
                if wanted(&status) {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(LIMIT, asking).await {
            Ok(status) => status,
            Err(_) => panic!("asked too long; log:\n{}", self.log()),
        }
    }

    async fn follow(&self, wanted: &impl Fn(&AgentStatus) -> bool) -> AgentStatus {
        loop {
            // The agent may not listen yet, or be replaced meanwhile.
            let Ok(mut response) = self.try_request(Method::GET, EVENTS_PATH, None).await else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let mut text = Vec::new();
            while let Some(Ok(frame)) = response.frame().await {
                text.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
                while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = text.drain(..=end).collect();
                    let status = serde_json::from_slice(&line).expect("events are statuses");
                    if wanted(&status) {
                        return status;
                    }
                }
            }
        }
    }

    pub async fn status(&self) -> AgentStatus {
        let (code, body) = self.call(Method::GET, protocol::agent::STATUS_PATH, None).await;
        assert_eq!(code, StatusCode::OK);
        serde_json::from_value(body).expect("a status")
    }

    /// Sends a request with the token; answers status and JSON (null when there is none).
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let (status, bytes) = self.bytes(method, path, body).await;
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    /// As `call`, for answers that are no JSON.
    pub async fn bytes(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Bytes) {
        let response = self.try_request(method, path, body).await.expect("the agent answers");
        let status = response.status();
        (status, response.into_body().collect().await.expect("a whole body").to_bytes())
    }

    async fn try_request(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Response<Incoming>, Box<dyn std::error::Error + Send + Sync>> {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "agent")
            .header("authorization", format!("Bearer {TOKEN}"))
            .body(Full::new(Bytes::from(body)))?;
        self.send(request).await
    }

    /// Sends any request as it is.
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Box<dyn std::error::Error + Send + Sync>> {
        let stream = UnixStream::connect(self.run.join(paths::AGENT_SOCKET)).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection.with_upgrades());
        Ok(sender.send_request(request).await?)
    }

    /// Asks for the end and waits until the session is gone.
    pub async fn end(&mut self, reason: EndReason) -> ExitStatus {
        let (code, _) = self.call(Method::POST, protocol::agent::END_PATH, Some(json!({"reason": reason}))).await;
        assert_eq!(code, StatusCode::ACCEPTED);
        self.exited().await
    }

    /// Waits until the session's processes are gone by themselves.
    pub async fn exited(&mut self) -> ExitStatus {
        let pids: Vec<i32> = self.processes().into_iter().map(|(_, pid)| pid).collect();
        let deadline = Instant::now() + LIMIT;
        let status = loop {
            if let Some(status) = self.guard.try_wait().expect("waits") {
                break status;
            }
            assert!(Instant::now() < deadline, "the session does not end; log:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        for pid in pids {
            assert!(!is_alive(pid), "a process outlived its session; log:\n{}", self.log());
        }
        status
    }

    /// The status that the agent left on disk.
    pub fn last_status(&self) -> AgentStatus {
        let text = fs::read(self.run.join(paths::LAST_STATUS_FILE)).expect("a status was left");
        serde_json::from_slice(&text).expect("a status")
    }

    pub fn recoveries(&self) -> Vec<Recovery> {
        let Ok(entries) = fs::read_dir(self.home.join(RECOVERY_DIR)) else { return Vec::new() };
        let descriptions = entries.map(|entry| entry.expect("entry").path());
        descriptions
            .filter(|path| path.extension().is_some_and(|kind| kind == "json"))
            .map(|path| serde_json::from_slice(&fs::read(path).expect("reads")).expect("a recovery"))
            .collect()
    }

    pub fn recovery_file(&self, recovery: &Recovery) -> PathBuf {
        self.home.join(RECOVERY_DIR).join(format!("{}.xcf", recovery.id))
    }

    /// Supervised processes with their pids.
    pub fn processes(&self) -> Vec<(Supervised, i32)> {
        let text = fs::read(self.run.join("takeover.json")).expect("the agent keeps its processes on disk");
        let takeover: Value = serde_json::from_slice(&text).expect("JSON");
        serde_json::from_value(takeover["processes"].clone()).expect("processes")
    }

    pub fn kill(&self, what: Supervised, signal: Signal) {
        let (_, pid) = self.processes().into_iter().find(|(of, _)| *of == what).expect("the process is there");
        kill_process(pid_of(pid), signal).expect("signals");
    }

    pub fn guard_pid(&self) -> Pid {
        Pid::from_child(&self.guard)
    }

    /// The agent below the guard.
    pub fn agent_pid(&self) -> Pid {
        let guard = self.guard.id();
        let children = fs::read_to_string(format!("/proc/{guard}/task/{guard}/children")).expect("children");
        let agent = children.split_whitespace().find(|pid| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "gimp-session")
        });
        pid_of(agent.expect("an agent").parse().expect("a pid"))
    }

    /// Runs Script-Fu in GIMP and waits until it has run.
    pub async fn script(&self, script: &str) {
        let done = self.run.join("script.done");
        let _ = fs::remove_file(&done);
        self.order(&format!("(begin {script} (close-output-port (open-output-file \"{}\")))", done.display())).await;
        let deadline = Instant::now() + LIMIT;
        while !done.exists() {
            assert!(Instant::now() < deadline, "the script did not run; GIMP says:\n{}", self.gimp_log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Has GIMP run Script-Fu, which may fail. Scripts run one after the other.
    pub async fn order(&self, script: &str) {
        let address = format!("unix:path={}", self.run.join("bus.sock").display());
        let bus = zbus::connection::Builder::address(address.as_str()).build().await.expect("connects to the bus");
        let name = "org.gimp.GIMP.UI";
        let body = ("plug-in-script-fu-eval", script);
        let deadline = Instant::now() + LIMIT;
        while let Err(error) = bus.call_method(Some(name), "/org/gimp/GIMP/UI", Some(name), "BatchRun", &body).await {
            assert!(Instant::now() < deadline, "GIMP takes no script: {error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Opens an image with unsaved changes, as if the user had painted.
    pub async fn paint(&self) {
        let (image, layer) = if self.status().await.gimp_version.is_some_and(|version| version.starts_with('2')) {
            (
                "(gimp-image-new 320 200 RGB)",
                "(gimp-layer-new image 320 200 RGBA-IMAGE \"paint\" 100 LAYER-MODE-NORMAL)",
            )
        } else {
            (
                "(gimp-image-new 320 200 RGB)",
                "(gimp-layer-new image \"paint\" 320 200 RGBA-IMAGE 100 LAYER-MODE-NORMAL)",
            )
        };
        self.script(&format!(
            "(let* ((image (car {image})) (layer (car {layer})))
               (gimp-image-insert-layer image layer 0 0)
               (gimp-context-set-foreground '(255 0 0))
               (gimp-drawable-fill layer FILL-FOREGROUND)
               (gimp-display-new image))"
        ))
        .await;
    }

    pub fn display(&self) -> TestDisplay {
        let text = fs::read(self.run.join("takeover.json")).expect("the agent keeps its display on disk");
        let takeover: Value = serde_json::from_slice(&text).expect("JSON");
        let number = takeover["display"].as_u64().expect("a display");
        let authority = fs::read(self.run.join("Xauthority")).expect("an authority file");
        let cookie = authority.last_chunk::<16>().expect("a cookie").to_vec();
        let stream = std::os::unix::net::UnixStream::connect(format!("/tmp/.X11-unix/X{number}")).expect("connects");
        let (stream, _) = DefaultStream::from_unix_stream(stream).expect("a stream");
        let conn = RustConnection::connect_to_stream_with_auth_info(stream, 0, b"MIT-MAGIC-COOKIE-1".to_vec(), cookie)
            .expect("the cookie is accepted");
        let root = conn.setup().roots[0].root;
        TestDisplay { conn, root }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.run.with_file_name("agent.log")).unwrap_or_default()
    }

    pub fn gimp_log(&self) -> String {
        fs::read_to_string(self.run.join("gimp.log")).unwrap_or_default()
    }
}

impl Drop for TestSession {
    fn drop(&mut self) {
        if matches!(self.guard.try_wait(), Ok(Some(_))) {
            return;
        }
        // What the test left running; each by its own pid.
        let processes = fs::read(self.run.join("takeover.json")).map(|_| self.processes()).unwrap_or_default();
        let _ = self.guard.kill();
        let _ = self.guard.wait();
        for (_, pid) in processes {
            let _ = kill_process(pid_of(pid), Signal::KILL);
        }
    }
}

/// The session's screen.
pub struct TestDisplay {
    conn: RustConnection,
    root: u32,
}

/// Place and size of a window, pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    pub role: String,
    pub title: String,
    pub x: i16,
    pub y: i16,
    pub width: u16,
    pub height: u16,
}

impl TestDisplay {
    /// Windows that the window manager shows.
    pub fn windows(&self) -> Vec<Window> {
        let list = self.property(self.root, "_NET_CLIENT_LIST");
        let ids = list.chunks_exact(4).map(|id| u32::from_ne_bytes([id[0], id[1], id[2], id[3]]));
        ids.filter_map(|id| {
            let size = self.conn.get_geometry(id).ok()?.reply().ok()?;
            let place = self.conn.translate_coordinates(id, self.root, 0, 0).ok()?.reply().ok()?;
            Some(Window {
                role: String::from_utf8_lossy(&self.property(id, "WM_WINDOW_ROLE")).into_owned(),
                title: String::from_utf8_lossy(&self.property(id, "_NET_WM_NAME")).into_owned(),
                x: place.dst_x,
                y: place.dst_y,
                width: size.width,
                height: size.height,
            })
        })
        .collect()
    }

    /// Title of the window that keys go to; empty when there is none.
    pub fn active(&self) -> String {
        let active = self.property(self.root, "_NET_ACTIVE_WINDOW");
        let id = active.first_chunk().map_or(0, |id| u32::from_ne_bytes(*id));
        String::from_utf8_lossy(&self.property(id, "_NET_WM_NAME")).into_owned()
    }

    fn property(&self, window: u32, name: &str) -> Vec<u8> {
        let atom = self.conn.intern_atom(false, name.as_bytes()).expect("asks").reply().expect("an atom").atom;
        let reply = self.conn.get_property(false, window, atom, AtomEnum::ANY, 0, 4096).expect("asks").reply();
        reply.map(|reply| reply.value).unwrap_or_default()
    }

    /// Text on the clipboard; None when there is none.
    pub fn clipboard(&self) -> Option<String> {
        let atom =
            |name: &str| self.conn.intern_atom(false, name.as_bytes()).expect("asks").reply().expect("an atom").atom;
        let (clipboard, utf8, target) = (atom("CLIPBOARD"), atom("UTF8_STRING"), atom("TEST_CLIPBOARD"));
        let window = self.conn.generate_id().expect("an id");
        let aux = CreateWindowAux::new();
        let class = WindowClass::INPUT_ONLY;
        self.conn.create_window(0, window, self.root, 0, 0, 1, 1, 0, class, 0, &aux).expect("asks");
        self.conn.convert_selection(window, clipboard, utf8, target, x11rb::CURRENT_TIME).expect("asks");
        self.conn.flush().expect("flushes");
        loop {
            if let Event::SelectionNotify(event) = self.conn.wait_for_event().expect("an answer")
                && event.requestor == window
            {
                return (event.property != x11rb::NONE)
                    .then(|| String::from_utf8_lossy(&self.property(window, "TEST_CLIPBOARD")).into_owned());
            }
        }
    }

    pub fn clipboard_owner(&self) -> u32 {
        let atom = self.conn.intern_atom(false, b"CLIPBOARD").expect("asks").reply().expect("an atom").atom;
        self.conn.get_selection_owner(atom).expect("asks").reply().expect("an owner").owner
    }

    /// Waits until the clipboard holds `wanted`.
    pub async fn wait_for_clipboard(&self, wanted: &str) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let found = self.clipboard();
            if found.as_deref() == Some(wanted) {
                return;
            }
            assert!(Instant::now() < deadline, "the clipboard holds {found:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Size of the screen, pixels.
    pub fn size(&self) -> (u16, u16) {
        let root = self.conn.get_geometry(self.root).expect("asks").reply().expect("geometry");
        (root.width, root.height)
    }

    /// Covers part of the screen, on which a photograph, twice as large on each side, can be moved about.
    pub fn photograph(self, width: u16, height: u16) -> Photograph {
        let Self { conn, root } = self;
        let (window, pixmap, gc) = (
            conn.generate_id().expect("an id"),
            conn.generate_id().expect("an id"),
            conn.generate_id().expect("an id"),
        );
        let aux = CreateWindowAux::new().override_redirect(1);
        let depth = conn.setup().roots[0].root_depth;
        conn.create_window(depth, window, root, 101, 77, width, height, 0, WindowClass::INPUT_OUTPUT, 0, &aux)
            .expect("asks");
        conn.map_window(window).expect("asks");
        conn.create_gc(gc, window, &CreateGCAux::new().graphics_exposures(0)).expect("asks");
        conn.create_pixmap(depth, pixmap, window, width * 2, height * 2).expect("asks");
        for y in 0..height * 2 {
            let pixels = (0..u32::from(width) * 2).flat_map(|x| {
                let grain =
                    (x.wrapping_mul(0x85EB_CA6B) ^ u32::from(y).wrapping_mul(0xC2B2_AE35)).wrapping_mul(0x27D4_EB2F);
                let [blue, green, red, _] = grain.to_be_bytes();
                [blue, green, red, 0]
            });
            let row: Vec<u8> = pixels.collect();
            let y = i16::try_from(y).expect("small");
            conn.put_image(ImageFormat::Z_PIXMAP, pixmap, gc, width * 2, 1, 0, y, 0, depth, &row).expect("asks");
        }
        Photograph { conn, window, pixmap, gc, width, height }
    }

    /// The whole screen, one 0xRRGGBB a pixel, row by row.
    pub fn picture(&self) -> Vec<u32> {
        let (width, height) = self.size();
        let image = self.conn.get_image(ImageFormat::Z_PIXMAP, self.root, 0, 0, width, height, u32::MAX);
        let data = image.expect("asks").reply().expect("a picture").data;
        data.chunks_exact(4).map(|p| u32::from_ne_bytes([p[0], p[1], p[2], p[3]]) & 0x00FF_FFFF).collect()
    }

    /// Waits until the picture satisfies `wanted`.
    pub async fn wait_for_picture(&self, what: &str, wanted: impl Fn(&[u32]) -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !wanted(&self.picture()) {
            assert!(Instant::now() < deadline, "the screen never showed {what}; windows: {:?}", self.windows());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// On the screen until dropped.
pub struct Photograph {
    conn: RustConnection,
    window: u32,
    pixmap: u32,
    gc: u32,
    width: u16,
    height: u16,
}

impl Photograph {
    /// Its part from there on, pixels.
    pub fn show(&self, x: i16, y: i16) {
        let Self { conn, window, pixmap, gc, width, height } = self;
        conn.copy_area(*pixmap, *window, *gc, x, y, 0, 0, *width, *height).expect("asks");
        conn.flush().expect("flushes");
    }
}

/// Whether a process runs; one that nobody has waited for yet does not.
pub fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| state != 'Z')
}

/// Waits until a process is gone.
pub async fn gone(pid: Pid) {
    let deadline = Instant::now() + LIMIT;
    while is_alive(pid.as_raw_nonzero().get()) {
        assert!(Instant::now() < deadline, "the process stays");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub fn pid_of(pid: i32) -> Pid {
    Pid::from_raw(pid).expect("a pid")
}

/// Held by tests whose display server can't choose its display number: all of this machine get the same.
pub async fn fixed_display() -> fs::File {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fixed-display.lock");
    let lock = fs::File::create(path).expect("creates");
    let deadline = Instant::now() + LIMIT;
    while rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
        assert!(Instant::now() < deadline, "another test keeps the display");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    lock
}

/// Makes the start-up caches once for all tests of a build.
fn warm_caches() -> PathBuf {
    let installed = Command::new("gimp").arg("--version").output().expect("runs gimp").stdout;
    let installed = String::from_utf8_lossy(&installed).trim().to_owned();
    // Of each GIMP that the same build is tried with.
    let version = installed.rsplit(' ').next().expect("a version");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("warm-{version}"));
    fs::create_dir_all(&folder).expect("creates");
    let lock = fs::File::create(folder.join("lock")).expect("creates");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("locks");
    let made_for = fs::read_to_string(folder.join("made-for")).unwrap_or_default();
    if made_for != installed {
        let made = Command::new(env!("CARGO_BIN_EXE_gimp-session")).arg("warm").arg("--out").arg(&folder).output();
        let made = made.expect("runs gimp-session warm");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        fs::write(folder.join("made-for"), installed).expect("writes");
    }
    folder
}
