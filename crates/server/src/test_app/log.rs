//! Keeps what is logged, so that tests can read it and an ERROR fails them.

use std::io::Write;
use std::sync::{Mutex, Once, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

static LINES: Mutex<Vec<u8>> = Mutex::new(vec![]);

#[derive(Clone, Copy)]
struct Capture;

impl Write for Capture {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LINES.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        // nextest shows it when the test fails.
        std::io::stderr().write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Capture {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        *self
    }
}

/// Starts keeping. Repeated calls change nothing.
pub(super) fn capture() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing_subscriber::fmt()
            .with_ansi(false)
            .with_env_filter("info,server=debug")
            .with_writer(Capture)
            .try_init()
            .expect("nobody else logs in tests");
        crate::telemetry::log_panics();
    });
}

pub(super) fn text() -> String {
    String::from_utf8_lossy(&LINES.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
}

pub(super) fn forget() {
    LINES.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

pub(super) fn errors() -> Vec<String> {
    text().lines().filter(|line| line.contains(" ERROR ")).map(str::to_owned).collect()
}
