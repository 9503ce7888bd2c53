//! GIMP's D-Bus interface `org.gimp.GIMP.UI`, the same in 2.10 and 3.x, on the session's private bus.
//!
//! Answers only say that GIMP took the order; what it did has to be seen from its effects.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::preset::quoted;
use super::version::Version;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use uuid::Uuid;
use zbus::connection::Builder;

/// Covers a GIMP that is busy: it answers from its main loop.
const CALL_LIMIT: Duration = Duration::from_secs(10);
/// How often GIMP is asked again while it is not on the bus yet.
const RETRY: Duration = Duration::from_millis(20);
/// How often an answer is looked for, only while one is awaited.
const POLL: Duration = Duration::from_millis(15);
/// What the answer of a script that came to its end ends with.
const END_LINE: &str = "done\n";
/// How long an image may take to load.
const OPEN_LIMIT: Duration = Duration::from_secs(60);
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
    /// Where scripts leave their answers.
    answers: PathBuf,
}

impl Control {
    pub fn new(bus_address: String, answers: PathBuf) -> Self {
        Self { address: bus_address, answers }
    }

    /// Returns once GIMP has nothing better to do: it runs scripts when it has started up and drawn its windows.
    pub async fn settled(&self) -> Result<(), ControlError> {
        let answer = Answer::new(&self.answers);
        match tokio::time::timeout(CALL_LIMIT, self.run_to_end(&answer)).await {
            Ok(result) => result,
            Err(_) => Err(ControlError::TimedOut),
        }
    }

    /// Runs a script, whose `port` is open for lines of text, and returns those lines.
    pub async fn evaluate(&self, script: &str, limit: Duration) -> Result<Vec<String>, ControlError> {
        let answer = Answer::new(&self.answers);
        match tokio::time::timeout(limit, self.run_for_answer(script, &answer)).await {
            Ok(lines) => lines,
            Err(_) => Err(ControlError::TimedOut),
        }
    }

    async fn run_for_answer(&self, script: &str, answer: &Answer) -> Result<Vec<String>, ControlError> {
        let lines = quoted(&answer.lines.to_string_lossy());
        self.run_script(&format!(
            "(let ((port (open-output-file {lines}))) {script}
               (display \"done\" port) (newline port) (close-output-port port))"
        ))
        .await?;
        // A script that fails does not come to its end. GIMP runs one after the other, so the next tells.
        self.run_to_end(answer).await?;
        let text = std::fs::read_to_string(&answer.lines)?;
        match text.strip_suffix(END_LINE) {
            Some(lines) => Ok(lines.lines().map(str::to_owned).collect()),
            None => Err(ControlError::ScriptFailed),
        }
    }

    /// Returns when GIMP has run all scripts it was given, and one that says so.
    async fn run_to_end(&self, answer: &Answer) -> Result<(), ControlError> {
        let over = quoted(&answer.over.to_string_lossy());
        self.run_script(&format!("(close-output-port (open-output-file {over}))")).await?;
        while !answer.over.exists() {
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Opens an image file in a tab of its own.
    pub async fn open(&self, file: &Path) -> Result<(), ControlError> {
        self.call("Open", &(file_uri(file),)).await
    }

    /// Opens a copy of a file as a new, untitled image that counts as unsaved, so that it is not lost unasked. Returns
    /// when GIMP has taken the order, like `open`.
    pub async fn open_as_new(&self, file: &Path, version: Version) -> Result<(), ControlError> {
        let before = self.evaluate(&image_ids_script(version), CALL_LIMIT).await?;
        self.call("OpenAsNew", &(file_uri(file),)).await?;
        // GIMP opens it as clean; an entry in its undo history makes it unsaved.
        let (control, mark) = (self.clone(), mark_new_images_script(version, &before));
        tokio::spawn(async move {
            if let Err(error) = control.evaluate(&mark, OPEN_LIMIT).await {
                tracing::warn!(%error, "a recovered image does not count as unsaved");
            }
        });
        Ok(())
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

/// Files through which one script answers; removed when nobody waits for them any more.
struct Answer {
    lines: PathBuf,
    /// There when the script is over, however it went.
    over: PathBuf,
}

impl Answer {
    fn new(folder: &Path) -> Self {
        let name = Uuid::now_v7().simple().to_string();
        Self { lines: folder.join(format!("{name}.answer")), over: folder.join(format!("{name}.over")) }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        for file in [&self.lines, &self.over] {
            match std::fs::remove_file(file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::debug!(%error, "an answer of GIMP stays in the run folder");
                }
                _ => {}
            }
        }
    }
}

/// Scheme for the list of open images.
pub fn images(version: Version) -> &'static str {
    if version.is_3() { "(vector->list (car (gimp-get-images)))" } else { "(vector->list (cadr (gimp-image-list)))" }
}

fn image_ids_script(version: Version) -> String {
    format!("(for-each (lambda (image) (write image port) (newline port)) {})", images(version))
}

/// Gives every image that is not in `before` an undoable change that nobody sees.
fn mark_new_images_script(version: Version, before: &[String]) -> String {
    format!(
        "(for-each
           (lambda (image)
             (if (not (memv image '({})))
               (gimp-image-attach-parasite image (list \"gimp-session-recovered\" 3 \"1\"))))
           {})",
        before.join(" "),
        images(version)
    )
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
