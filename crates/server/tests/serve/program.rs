//! Starts `gimp-platform` as a person would, and waits for what it says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Longest wait for anything.
pub const LIMIT: Duration = Duration::from_secs(30);

/// A running server on a data directory of its own. Ended when dropped.
pub struct Server {
    arguments: Vec<String>,
    data: tempfile::TempDir,
    child: Child,
    greeting: String,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    text: Mutex<(String, bool)>,
    grown: Condvar,
}

impl Server {
    /// Starts it on free ports, unless it is told otherwise with the fake driver, and waits for its greeting.
    pub fn start(arguments: &[&str]) -> Self {
        let data = tempfile::Builder::new().prefix("gimp-platform-test-").tempdir().unwrap();
        let mut all: Vec<String> = ["serve", "--bcrypt-cost", "4", "--data-dir"].map(str::to_owned).into();
        all.push(data.path().to_str().unwrap().to_owned());
        for (flag, value) in [("--driver", "fake"), ("--listen", "127.0.0.1:0"), ("--metrics-listen", "off")] {
            if !arguments.contains(&flag) {
                all.extend([flag.to_owned(), value.to_owned()]);
            }
        }
        all.extend(arguments.iter().map(|text| (*text).to_owned()));
        let (child, greeting, log) = spawn(&all);
        Self { arguments: all, data, child, greeting, log }
    }

    /// Starts it again, after ending it if it still runs.
    pub fn restart(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            self.signal(Signal::TERM);
            self.child.wait().unwrap();
        }
        (self.child, self.greeting, self.log) = spawn(&self.arguments);
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// What it printed to standard output until it was ready.
    pub fn greeting(&self) -> &str {
        &self.greeting
    }

    pub fn url(&self) -> &str {
        self.greeting.lines().next().unwrap().split("is ready: ").nth(1).unwrap()
    }

    pub fn data(&self) -> &Path {
        self.data.path()
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.url().split("://").nth(1).unwrap()).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    }

    /// The whole answer to a GET.
    pub fn get(&self, path: &str) -> String {
        get(self.connect(), path)
    }

    /// The whole answer to any request.
    pub fn request(&self, method: &str, path: &str, token: Option<&str>, body: &str) -> String {
        request(self.connect(), method, path, token, body)
    }

    /// A request to sign in that the server has begun to handle; its body is still to come.
    pub fn begin_login(&self, length: usize) -> TcpStream {
        let mut stream = self.connect();
        let head = format!(
            "POST /api/v1/auth/login HTTP/1.1\r\nhost: x\r\nconnection: close\r\nexpect: 100-continue\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut interim = [0; 25];
        stream.read_exact(&mut interim).unwrap();
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream
    }

    /// Makes an account; returns its access token.
    pub fn register(&self, email: &str) -> String {
        let body = serde_json::json!({"email": email, "password": "correct horse battery staple"});
        let answer = self.request("POST", "/api/v1/auth/register", None, &body.to_string());
        assert!(answer.starts_with("HTTP/1.0 201"), "{answer}");
        json(&answer)["accessToken"].as_str().unwrap().to_owned()
    }

    /// What it prints from now on until it ends.
    pub fn rest_of_output(&mut self) -> String {
        let mut text = String::new();
        self.child.stdout.as_mut().unwrap().read_to_string(&mut text).unwrap();
        text
    }

    pub fn wait_ready(&self) {
        until(|| self.get("/readyz").starts_with("HTTP/1.0 200"));
    }

    /// Waits until nobody takes new connections any more.
    pub fn wait_closed(&self) {
        let address = self.url().split("://").nth(1).unwrap();
        until(|| TcpStream::connect(address).is_err());
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for its end; returns the status and all it logged.
    pub fn wait(mut self) -> (ExitStatus, String) {
        let mut status = None;
        until(|| {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let log = self.log.wait_for(|text, closed| closed.then(|| text.to_owned()));
        (status.unwrap(), log)
    }

    pub fn end(self, signal: Signal) -> (ExitStatus, String) {
        self.signal(signal);
        self.wait()
    }

    /// Waits for a line of the log that has these words and returns what follows them.
    pub fn log_after(&self, words: &str) -> String {
        self.log.wait_for(|text, _| {
            let complete = &text[..=text.rfind('\n')?];
            Some(complete.lines().find_map(|line| line.split_once(words))?.1.to_owned())
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_some()) {
            return;
        }
        // In order, so that its coverage counts.
        self.signal(Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(15);
        while self.child.try_wait().is_ok_and(|status| status.is_none()) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Log {
    fn wait_for<T>(&self, mut find: impl FnMut(&str, bool) -> Option<T>) -> T {
        let deadline = Instant::now() + LIMIT;
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = find(&text.0, text.1) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the log never said it:\n{}", text.0);
            text = self.grown.wait_timeout(text, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn spawn(arguments: &[String]) -> (Child, String, Arc<Log>) {
    let mut child = program().args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let log = Arc::new(Log::default());
    let (writer, stderr) = (log.clone(), child.stderr.take().unwrap());
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            eprintln!("{line}");
            let mut text = writer.text.lock().unwrap_or_else(PoisonError::into_inner);
            text.0.push_str(&line);
            text.0.push('\n');
            writer.grown.notify_all();
        }
        writer.text.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        writer.grown.notify_all();
    });
    // The greeting is written at once; more lines of it are there when the first is.
    let mut bytes = vec![0; 4096];
    let length = child.stdout.as_mut().unwrap().read(&mut bytes).unwrap();
    let greeting = String::from_utf8_lossy(&bytes[..length]).into_owned();
    assert!(greeting.contains("is ready: "), "no greeting, but: {greeting}");
    (child, greeting, log)
}

/// A GET over HTTP/1.0; the whole answer.
pub fn get(stream: impl Read + Write, path: &str) -> String {
    request(stream, "GET", path, None, "")
}

/// A request over HTTP/1.0; the whole answer.
pub fn request(mut stream: impl Read + Write, method: &str, path: &str, token: Option<&str>, body: &str) -> String {
    let authorization = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.0\r\n{authorization}content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all((head + body).as_bytes()).unwrap();
    let mut answer = vec![];
    match stream.read_to_end(&mut answer) {
        // HTTP/1.0 over TLS: some servers close without saying goodbye.
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {}
        result => drop(result.unwrap()),
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// The body of an answer.
pub fn json(answer: &str) -> serde_json::Value {
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

/// Asks again and again until it is so.
pub fn until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < deadline, "it never became so");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What a command that ends by itself did.
pub struct Finished {
    pub success: bool,
    pub out: String,
    pub err: String,
}

pub fn run(arguments: &[&str]) -> Finished {
    run_with(arguments, "")
}

/// The same with something to read on standard input.
pub fn run_with(arguments: &[&str], input: &str) -> Finished {
    let mut command = program();
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Who reads nothing may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Finished {
        success: output.status.success(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The program without the settings of whoever runs the tests.
fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gimp-platform"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GIMP_PLATFORM_")) {
        command.env_remove(name);
    }
    command
}
