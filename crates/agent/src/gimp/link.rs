//! The agent's side of the GIMP link: puts the plug-in where GIMP finds it, and speaks with it.
//!
//! A link that is gone is started again; one that does not answer is busy, as GIMP then is.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gimp_link::{
    Answer, FILE_NAME, Hello, Image, List, MAX_MESSAGE, Nothing, Numbered, Outcome, PROCEDURE, Recovered, Refusal,
    Request, Thumbnail, VERSION,
};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use xxhash_rust::xxh3::xxh3_64;

use super::control::Control;
use super::version::Version;
use crate::settings::Folders;

const SOCKET: &str = "gimp-link.sock";
/// The platform's own plug-in folder in the workspace: nothing can be run from the run folder.
const PLUG_INS: &str = ".cache/gimp-session/plug-ins";
const MODE: u32 = 0o500;
/// Longest wait for what takes GIMP no time. A GIMP that is busy answers late.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Longest time GIMP may take to write or read a large image.
const FILE_LIMIT: Duration = Duration::from_secs(60);
/// Longest time a link may take to start.
const START_LIMIT: Duration = Duration::from_secs(5);
/// How often a link that starts is looked for.
const START_POLL: Duration = Duration::from_millis(50);

#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Nobody listens, or whoever did has gone.
    #[error("this GIMP has no link")]
    Gone(#[source] io::Error),
    #[error("the link speaks version {0}")]
    Version(u32),
    #[error("GIMP did not answer in time")]
    TimedOut,
    /// Its message may name files.
    #[error("GIMP refused: {}", .0.code)]
    Refused(Refusal),
    #[error("the link's answer makes no sense")]
    Garbled,
}

impl LinkError {
    pub fn is_in_the_way(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.code == "exists")
    }

    pub fn is_no_image(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.code == "noImage")
    }
}

pub fn socket(folders: &Folders) -> PathBuf {
    folders.run_file(SOCKET)
}

/// Where GIMP looks for the plug-in, besides its own folders.
pub fn plug_in_folder(folders: &Folders) -> PathBuf {
    folders.home.join(PLUG_INS)
}

/// Puts the plug-in where GIMP finds it, if it is not there; false: there is none for this GIMP.
pub fn install(folders: &Folders, version: Version) -> io::Result<bool> {
    let Some(program) = gimp_link::program(version.major) else { return Ok(false) };
    let path = plug_in_folder(folders).join(FILE_NAME).join(FILE_NAME);
    let stamp = stamp(program);
    // Also in a workspace that is full.
    if fs::read(&path).is_ok_and(|there| there == program) {
        let there = fs::symlink_metadata(&path)?;
        if there.mode() & 0o777 == MODE && there.modified()? == stamp {
            return Ok(true);
        }
    }
    let new = plug_in_folder(folders).join("new");
    fs::create_dir_all(plug_in_folder(folders).join(FILE_NAME))?;
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::write(&new, program)?;
    File::options().write(true).open(&new)?.set_modified(stamp)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(MODE))?;
    // One that runs can't be written to.
    fs::rename(&new, &path)?;
    Ok(true)
}

/// GIMP asks a plug-in anew what it offers when its file has another time than in GIMP's list. That list is made once for all
/// workspaces, so the time follows from the program alone.
fn stamp(program: &[u8]) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_000_000_000 + xxh3_64(program) % 500_000_000)
}

/// What an export is like.
#[derive(Debug, Clone, Copy)]
pub struct Export<'a> {
    pub to: &'a Path,
    /// Percent, 1..=100, for formats that know one.
    pub quality: Option<u8>,
    /// Percent of the image's size, 1..=200.
    pub scale: Option<u16>,
}

/// Speaks with the link of whichever GIMP listens on the socket. Cut off in the middle of a call, it connects anew.
#[derive(Debug)]
pub struct Link {
    socket: PathBuf,
    control: Control,
    connection: Option<Connection>,
}

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    hello: Hello,
    last_id: u64,
}

impl Link {
    pub fn new(socket: PathBuf, control: Control) -> Self {
        Self { socket, control, connection: None }
    }

    /// What the link says of itself; connects if need be.
    pub async fn hello(&mut self) -> Result<Hello, LinkError> {
        let connection = within(ANSWER_LIMIT, self.connected()).await?;
        let hello = connection.hello.clone();
        self.connection = Some(connection);
        Ok(hello)
    }

    pub async fn list(&mut self) -> Result<Vec<Image>, LinkError> {
        self.call::<List>(Request::List, ANSWER_LIMIT).await.map(|list| list.images)
    }

    /// Writes an XCF file. The image stays as it is.
    pub async fn copy(&mut self, image: i64, to: &Path) -> Result<(), LinkError> {
        let to = to.to_string_lossy().into_owned();
        self.call::<Nothing>(Request::Copy { image, to }, FILE_LIMIT).await.map(drop)
    }

    /// Writes what is seen of the image in the format that the file's name ends with. The image stays as it is.
    pub async fn export(&mut self, image: i64, export: Export<'_>) -> Result<(), LinkError> {
        let to = export.to.to_string_lossy().into_owned();
        let request = Request::Export { image, to, quality: export.quality, scale: export.scale };
        self.call::<Nothing>(request, FILE_LIMIT).await.map(drop)
    }

    /// Writes the image as XCF by way of a new file on the same file system; then it is its own file.
    pub async fn save(&mut self, image: i64, to: &Path, by: &Path, replace: bool) -> Result<(), LinkError> {
        let [to, by] = [to, by].map(|path| path.to_string_lossy().into_owned());
        self.call::<Nothing>(Request::Save { image, to, by, replace }, FILE_LIMIT).await.map(drop)
    }

    /// Writes a PNG file whose longer side has `size` pixels, 16..=1024.
    pub async fn thumbnail(&mut self, image: i64, to: &Path, size: u32) -> Result<(), LinkError> {
        let to = to.to_string_lossy().into_owned();
        self.call::<Thumbnail>(Request::Thumbnail { image, to, size }, ANSWER_LIMIT).await.map(drop)
    }

    /// Puts a file on top of the image, as a layer.
    pub async fn layer(&mut self, image: i64, from: &Path) -> Result<(), LinkError> {
        let from = from.to_string_lossy().into_owned();
        self.call::<Nothing>(Request::Layer { image, from }, FILE_LIMIT).await.map(drop)
    }

    /// Opens a copy as `file`; returns the image, which counts as unsaved.
    pub async fn recover(&mut self, from: &Path, file: Option<&Path>) -> Result<i64, LinkError> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let request = Request::Recover { from: text(from), file: file.map(text) };
        self.call::<Recovered>(request, FILE_LIMIT).await.map(|recovered| recovered.image)
    }

    /// Has GIMP start a link, and waits until it listens. Does nothing where one does.
    pub async fn start(&self) -> Result<(), LinkError> {
        if let Err(error) = self.control.run_script(&format!("({PROCEDURE})")).await {
            tracing::warn!(%error, "GIMP takes no order to start its link");
            return Err(LinkError::TimedOut);
        }
        within(START_LIMIT, async {
            while UnixStream::connect(&self.socket).await.is_err() {
                tokio::time::sleep(START_POLL).await;
            }
            Ok(())
        })
        .await
    }

    async fn call<T: DeserializeOwned>(&mut self, request: Request, limit: Duration) -> Result<T, LinkError> {
        let mut connection = within(ANSWER_LIMIT, self.connected()).await?;
        // Taken out meanwhile: who stops waiting must not find the rest of an answer later.
        let answer = within(limit, connection.ask(request)).await;
        if matches!(answer, Ok(_) | Err(LinkError::Refused(_))) {
            self.connection = Some(connection);
        }
        answer
    }

    async fn connected(&mut self) -> Result<Connection, LinkError> {
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        let stream = UnixStream::connect(&self.socket).await.map_err(LinkError::Gone)?;
        let hello = Hello { version: VERSION, gimp: String::new(), process: 0 };
        let mut connection = Connection { stream, hello, last_id: 0 };
        let hello: Hello = connection.ask(Request::Hello { version: VERSION }).await?;
        if hello.version != VERSION {
            return Err(LinkError::Version(hello.version));
        }
        connection.hello = hello;
        Ok(connection)
    }
}

impl Connection {
    async fn ask<T: DeserializeOwned>(&mut self, request: Request) -> Result<T, LinkError> {
        self.last_id += 1;
        let message = serde_json::to_vec(&Numbered { id: self.last_id, request }).map_err(|_| LinkError::Garbled)?;
        let length = u32::try_from(message.len()).ok().filter(|length| *length <= MAX_MESSAGE);
        self.stream.write_u32_le(length.ok_or(LinkError::Garbled)?).await.map_err(LinkError::Gone)?;
        self.stream.write_all(&message).await.map_err(LinkError::Gone)?;
        let length = self.stream.read_u32_le().await.map_err(LinkError::Gone)?;
        if length > MAX_MESSAGE {
            return Err(LinkError::Garbled);
        }
        let mut message = vec![0; usize::try_from(length).map_err(|_| LinkError::Garbled)?];
        self.stream.read_exact(&mut message).await.map_err(LinkError::Gone)?;
        let answer: Answer<T> = serde_json::from_slice(&message).map_err(|_| LinkError::Garbled)?;
        match answer.result {
            _ if answer.id != self.last_id => Err(LinkError::Garbled),
            Outcome::Ok(result) => Ok(result),
            Outcome::Error(refusal) => Err(LinkError::Refused(refusal)),
        }
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, LinkError>>) -> Result<T, LinkError> {
    tokio::time::timeout(limit, work).await.unwrap_or(Err(LinkError::TimedOut))
}
