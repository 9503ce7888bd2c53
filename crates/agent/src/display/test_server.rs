//! A real X server for tests: the one that sessions use, of the machine that the tests run on.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use protocol::agent::DisplayServer;
use protocol::session::ScreenSize;

use super::server::{self, Cookie, DisplayNumber};
use super::x11::Client;
use crate::settings::Folders;

pub struct TestServer {
    pub display: u32,
    pub cookie: Cookie,
    process: Child,
    /// Keeps it running: it ends with its last client.
    _client: Client,
    _folder: tempfile::TempDir,
}

impl TestServer {
    pub fn start(wanted: &DisplayServer) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let folders = Folders { run: folder.path().into(), home: folder.path().into(), warm: folder.path().into() };
        let cookie = Cookie::generate().expect("random bytes");
        let authority = cookie.store(&folders).expect("writes");
        let program = server::choose(wanted).expect("a display server is installed");
        let size = ScreenSize { width: 1024, height: 768, scale: 1.0 };
        let (mut command, number, writer) = program.command(&folders, &authority, size).expect("a command");
        let log = fs::File::create(folder.path().join("display.log")).expect("creates");
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("starts");
        drop(writer);
        let DisplayNumber::FromPipe(pipe) = number else { panic!("the server tells its number") };
        let mut line = String::new();
        BufReader::new(fs::File::from(pipe)).read_line(&mut line).expect("reads");
        let log = || fs::read_to_string(folder.path().join("display.log")).unwrap_or_default();
        let display = line.trim().parse().unwrap_or_else(|_| panic!("no display: {}", log()));
        let client = Client::connect(display, &cookie).expect("connects");
        Self { display, cookie, process, _client: client, _folder: folder }
    }

    pub fn client(&self) -> Client {
        Client::connect(self.display, &self.cookie).expect("connects")
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
