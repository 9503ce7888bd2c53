//! GIMP's D-Bus interface `org.gimp.GIMP.UI`, the same in 2.10 and 3.x, on the session's private bus.
//!
//! Answers only say that GIMP took the order; what it did has to be seen from its effects.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use super::preset::quoted;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use zbus::connection::Builder;

/// Covers a GIMP that is busy: it answers from its main loop.
const CALL_LIMIT: Duration = Duration::from_secs(10);
/// How often GIMP is asked again while it is not on the bus yet.
const RETRY: Duration = Duration::from_millis(20);
/// How often an answer is looked for, only while one is awaited.
const POLL: Duration = Duration::from_millis(15);
/// What the answer of a script that came to its end ends with.
const END_LINE: &str = "done\n";
const NAME: &str = "org.gimp.GIMP.UI";
const PATH: &str = "/org/gimp/GIMP/UI";
/// The Scheme interpreter's name, the same in both.
const SCRIPT_FU: &str = "plug-in-script-fu-eval";
const URI_SAFE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("GIMP did not answer in time")]
    TimedOut,
    #[error("GIMP refused")]
    Refused,
    #[error("GIMP cannot be reached")]
    Bus(#[from] zbus::Error),
    #[error("GIMP could not do what the script says")]
    ScriptFailed,
    #[error("GIMP's answer cannot be read")]
    Answer(#[from] std::io::Error),
}

/// Sends orders to the GIMP of one bus. Connects anew for each order, so nothing has to be repaired after a restart.
#[derive(Debug, Clone)]
pub struct Control {
    address: String,
}

impl Control {
    pub fn new(bus_address: String) -> Self {
        Self { address: bus_address }
    }

    /// Returns once GIMP has nothing better to do: it runs scripts when it has started up and drawn its windows.
    /// `result` is a file for its answer.
    pub async fn settled(&self, result: &Path) -> Result<(), ControlError> {
        match tokio::time::timeout(CALL_LIMIT, self.evaluate("", result)).await {
            Ok(answer) => answer.map(|_| ()),
            Err(_) => Err(ControlError::TimedOut),
        }
    }

    /// Runs a script, whose `port` is open for lines of text, and returns those lines. The caller limits the time.
    pub async fn evaluate(&self, script: &str, result: &Path) -> Result<Vec<String>, ControlError> {
        let over = result.with_extension("over");
        for file in [result, &over] {
            match std::fs::remove_file(file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        let answer = quoted(&result.to_string_lossy());
        self.run_script(&format!(
            "(let ((port (open-output-file {answer}))) {script}
               (display \"done\" port) (newline port) (close-output-port port))"
        ))
        .await?;
        // A script that fails does not come to its end. GIMP runs one after the other, so the next tells.
        let over_quoted = quoted(&over.to_string_lossy());
        self.run_script(&format!("(close-output-port (open-output-file {over_quoted}))")).await?;
        while !over.exists() {
            tokio::time::sleep(POLL).await;
        }
        std::fs::remove_file(&over)?;
        let text = std::fs::read_to_string(result)?;
        std::fs::remove_file(result)?;
        match text.strip_suffix(END_LINE) {
            Some(lines) => Ok(lines.lines().map(str::to_owned).collect()),
            None => Err(ControlError::ScriptFailed),
        }
    }

    /// Opens an image file in a tab of its own.
    pub async fn open(&self, file: &Path) -> Result<(), ControlError> {
        self.call("Open", &(file_uri(file),)).await
    }

    /// Opens a copy of a file as a new, untitled image.
    pub async fn open_as_new(&self, file: &Path) -> Result<(), ControlError> {
        self.call("OpenAsNew", &(file_uri(file),)).await
    }

    /// Queues a Script-Fu program. Success says that it was queued.
    pub async fn run_script(&self, script: &str) -> Result<(), ControlError> {
        self.call("BatchRun", &(SCRIPT_FU, script)).await
    }

    async fn call<B>(&self, method: &str, body: &B) -> Result<(), ControlError>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        let call = async {
            let bus = Builder::address(self.address.as_str()).build().await?;
            loop {
                match bus.call_method(Some(NAME), PATH, Some(NAME), method, body).await {
                    // GIMP takes its name on the bus a moment after it has painted its window.
                    Err(error) if is_not_there_yet(&error) => tokio::time::sleep(RETRY).await,
                    answer => return answer?.body().deserialize::<bool>(),
                }
            }
        };
        match tokio::time::timeout(CALL_LIMIT, call).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(ControlError::Refused),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(ControlError::TimedOut),
        }
    }
}

fn is_not_there_yet(error: &zbus::Error) -> bool {
    match error {
        zbus::Error::FDO(error) => {
            matches!(**error, zbus::fdo::Error::ServiceUnknown(_) | zbus::fdo::Error::UnknownObject(_))
        }
        _ => false,
    }
}

/// RFC 8089 URI of an absolute path.
pub fn file_uri(path: &Path) -> String {
    format!("file://{}", percent_encode(path.as_os_str().as_bytes(), URI_SAFE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_keep_slashes_and_encode_the_rest() {
        assert_eq!(file_uri(Path::new("/home/gimp/été 1#.png")), "file:///home/gimp/%C3%A9t%C3%A9%201%23.png");
    }
}
