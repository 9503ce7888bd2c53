//! What GIMP has open, told to whoever watches, and copied in time: carries out what `agent_core::recovery` decides.
//!
//! One task, which alone speaks with the link. It waits for input and asks nothing of a still session.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use agent_core::lifecycle::SaveOutcome;
use agent_core::recovery::{DocumentId, Hand, InSight, Next, Policy};
use gimp_link::Image;
use protocol::agent::{CopyTimes, Document, MAX_DOCUMENTS};
use protocol::session::{EXPORT_DIR, VersionKind};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::gimp::link::{Export, Link, LinkError};
use crate::gimp::recovery::{RecoveryStore, replace_file, rfc3339};
use crate::gimp::saves::Saves;
use crate::gimp::title;
use crate::gimp::unsaved::{Saved, display_name, inside, path_of};
use crate::history::{self, History};
use crate::session::SharedScreen;

/// How long the X server may take to say when there was input.
const DISPLAY_LIMIT: Duration = Duration::from_secs(2);
/// What is less far apart is the same input: the X server counts in milliseconds of its own.
const SAME_INPUT: Duration = Duration::from_millis(100);
/// A document that GIMP has not listed for so long, while it answered, was closed by its user.
const CLOSED_FOR_GOOD: Duration = Duration::from_secs(1);
/// Told while GIMP does for too long what it was asked for.
const STILL_AT_IT: &str = "GIMP is still at it; your latest changes are not copied.";
/// Largest exports, pixels of what comes out, and of all layers: they take GIMP less than what it is waited for.
const MOST_PIXELS: u64 = 400_000_000;
const MOST_LAYER_PIXELS: u64 = 8_000_000_000;
/// Of files in which GIMP keeps all of an image.
const XCF_ENDINGS: [&str; 4] = [".xcf", ".xcf.gz", ".xcf.bz2", ".xcf.xz"];
/// Longest name told of, characters.
const MAX_NAME: usize = 200;
/// Longest side of the picture of a version, pixels.
const VERSION_PICTURE: u32 = 512;
/// Longest wait for versions at the end of a session: the files themselves are safe.
const VERSIONS_LIMIT: Duration = Duration::from_secs(5);

/// The documents, or why they are not known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// None: not known, or not yet.
    pub documents: Option<Vec<Document>>,
    /// For people.
    pub unavailable: Option<String>,
}

/// A GIMP that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gimp {
    /// Another for each start.
    pub attempt: u64,
    /// Whether the plug-in was put where it finds it.
    pub has_link: bool,
}

/// What the task works with.
#[derive(Debug)]
pub struct Setup {
    pub link: Link,
    pub store: RecoveryStore,
    pub home: PathBuf,
    /// Keeps what is known over the agent's death.
    pub state_file: PathBuf,
    pub gimp: watch::Receiver<Option<Gimp>>,
    pub screen: watch::Receiver<Option<SharedScreen>>,
    /// Somebody begins to do something.
    pub activity: Arc<Notify>,
    /// None: no versions are made of what is saved.
    pub history: Option<History>,
    pub times: CopyTimes,
}

/// What somebody wants to be done with a document. Documents are named by `Document::id`, files by absolute paths.
#[derive(Debug)]
pub enum Wish {
    /// As XCF. None: to its own file.
    Save {
        document: String,
        to: Option<PathBuf>,
        /// Whether `to` may take the place of a file. Its own always does.
        replace: bool,
    },
    Export {
        document: String,
        to: PathBuf,
        quality: Option<u8>,
        scale: Option<u16>,
    },
    Thumbnail {
        document: String,
        to: PathBuf,
        size: u32,
    },
    /// None: onto the one that GIMP shows.
    Layer {
        document: Option<String>,
        from: PathBuf,
    },
}

/// Why a wish was not carried out. Nothing is lost by any of them.
#[derive(Debug, thiserror::Error)]
pub enum WishError {
    #[error("there is no such document")]
    NoDocument,
    #[error("several documents may be meant")]
    Which,
    #[error("the document has no file of its own")]
    NoFile,
    #[error("there is a file of this name")]
    Exists,
    #[error("the image is too large to be exported in time")]
    TooLarge,
    #[error("GIMP does not answer in time")]
    Busy,
    #[error("nothing is known of documents")]
    Unknown,
    #[error("GIMP could not do it")]
    Failed(#[source] LinkError),
    #[error("a folder of the platform's could not be made")]
    NotWritten(#[source] std::io::Error),
    #[error("the session is ending")]
    Ending,
}

impl From<LinkError> for WishError {
    fn from(error: LinkError) -> Self {
        match error {
            error if error.is_no_image() => Self::NoDocument,
            error if error.is_in_the_way() => Self::Exists,
            LinkError::TimedOut => Self::Busy,
            LinkError::Version(_) => Self::Unknown,
            LinkError::Gone(_) | LinkError::Refused(_) | LinkError::Garbled => Self::Failed(error),
        }
    }
}

#[derive(Debug)]
enum Command {
    /// A program did something with GIMP's documents.
    Touched,
    Recover {
        copy: PathBuf,
        answer: oneshot::Sender<bool>,
    },
    /// A document was exported to a file, which is whole.
    Exported {
        document: String,
        to: PathBuf,
    },
    /// The answer is the file that was written or read.
    Wish(Wish, oneshot::Sender<Result<PathBuf, WishError>>),
    SaveAll(oneshot::Sender<Saved>),
}

/// The way to the task. It ends with the last clone of this.
#[derive(Debug, Clone)]
pub struct Documents {
    commands: mpsc::Sender<Command>,
    /// The session ends: what is being done for somebody is in the way.
    ending: CancellationToken,
    being_saved: Arc<BeingSaved>,
}

/// The image of which GIMP may say that it is saved while its file is not yet whole and in its place.
#[derive(Debug, Default)]
struct BeingSaved(Mutex<Option<DocumentId>>);

impl BeingSaved {
    fn get(&self) -> Option<DocumentId> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, image: Option<DocumentId>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = image;
    }
}

impl Documents {
    pub fn start(setup: Setup) -> (Self, watch::Receiver<Told>) {
        let (commands, receiver) = mpsc::channel(16);
        let told = watch::Sender::new(Told::default());
        let watcher = told.subscribe();
        let ending = CancellationToken::new();
        let being_saved = Arc::new(BeingSaved::default());
        let keeper = Keeper {
            setup,
            told,
            commands: receiver,
            ending: ending.clone(),
            being_saved: being_saved.clone(),
            awaits_save: false,
            late_lists: 0,
            started: Instant::now(),
            last_input: None,
            policy: Policy::default(),
            run: Run::default(),
            kept: Vec::new(),
            saves: Saves::default(),
            targets: BTreeMap::new(),
            written: Vec::new(),
        };
        tokio::spawn(keeper.run());
        (Self { commands, ending, being_saved }, watcher)
    }

    /// The image that counts as unsaved whatever GIMP says: a save of it may have been cut off.
    pub fn being_saved(&self) -> Option<DocumentId> {
        self.being_saved.get()
    }

    /// Looks at GIMP's documents soon, as after input of a human.
    pub async fn touched(&self) {
        let _ = self.commands.send(Command::Touched).await;
    }

    /// Makes a version of a file to which a document was exported.
    pub fn exported(&self, document: String, to: PathBuf) {
        // So much is to be done that the version is not missed.
        if self.commands.try_send(Command::Exported { document, to }).is_err() {
            tracing::warn!("an exported file has no version");
        }
    }

    /// Opens a copy of the recovery store as what it is a copy of. False: that has to be done without the link.
    pub async fn recover(&self, copy: PathBuf) -> bool {
        let (answer, answered) = oneshot::channel();
        self.commands.send(Command::Recover { copy, answer }).await.is_ok() && answered.await.unwrap_or(false)
    }

    /// Does something with a document, after what is being done; returns the file that was written or read. The caller
    /// limits the time: what has begun goes on, what has not is forgotten.
    pub async fn carry_out(&self, wish: Wish) -> Result<PathBuf, WishError> {
        let (answer, answered) = oneshot::channel();
        self.commands.try_send(Command::Wish(wish, answer)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => WishError::Busy,
            mpsc::error::TrySendError::Closed(_) => WishError::Ending,
        })?;
        answered.await.unwrap_or(Err(WishError::Ending))
    }

    /// Copies every document with unsaved changes, for an end; then nothing is looked at any more. None: the link does
    /// not answer.
    pub async fn save_all(&self) -> Option<Saved> {
        let (answer, answered) = oneshot::channel();
        self.ending.cancel();
        self.commands.send(Command::SaveAll(answer)).await.ok()?;
        answered.await.ok()
    }
}

/// What is known of one run of GIMP.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    /// GIMP's process id; 0: it has not said yet.
    process: i32,
    documents: BTreeMap<DocumentId, Known>,
}

/// What is known of a document beyond what GIMP says.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Known {
    dirty_since: Option<String>,
    copy: Option<Kept>,
    copy_failed: Option<String>,
    #[serde(skip)]
    image: Option<Image>,
    /// When GIMP did not list it any more.
    #[serde(skip)]
    closed_at: Option<Duration>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    /// In the recovery store.
    id: String,
    made_at: SystemTime,
    /// Bytes.
    #[serde(default)]
    size: u64,
}

struct Keeper {
    setup: Setup,
    told: watch::Sender<Told>,
    commands: mpsc::Receiver<Command>,
    ending: CancellationToken,
    being_saved: Arc<BeingSaved>,
    /// The link has not yet said what became of the last save.
    awaits_save: bool,
    /// Lists in a row that GIMP did not answer in time.
    late_lists: u32,
    started: Instant,
    last_input: Option<Duration>,
    policy: Policy,
    run: Run,
    /// The state file's content.
    kept: Vec<u8>,
    saves: Saves,
    /// The files that open images are saved as and exported to.
    targets: BTreeMap<PathBuf, (DocumentId, VersionKind)>,
    /// Files that were saved and have no version yet.
    written: Vec<Written>,
}

/// A file that was saved or exported.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Written {
    file: PathBuf,
    /// What it shows, if that is open.
    document: Option<DocumentId>,
    kind: VersionKind,
}

/// Why the keeper stops looking at a GIMP.
enum Over {
    Gimp,
    Session,
}

impl Keeper {
    async fn run(mut self) {
        loop {
            let gimp = *self.setup.gimp.borrow_and_update();
            let over = match gimp {
                Some(gimp) => self.look_after(gimp).await,
                None => self.wait(None).await,
            };
            if matches!(over, Some(Over::Session)) {
                return;
            }
            self.run = Run::default();
            self.tell(None);
        }
    }

    /// Until this GIMP is gone, or the session ends.
    async fn look_after(&mut self, gimp: Gimp) -> Option<Over> {
        self.policy = Policy::new(self.setup.times);
        self.keep_reserve().await;
        if !gimp.has_link {
            self.tell(Some("The GIMP link is not installed for this version of GIMP."));
            return self.wait_for_other().await;
        }
        loop {
            match self.setup.gimp.has_changed() {
                Ok(false) => {}
                Ok(true) => return Some(Over::Gimp),
                Err(_) => return Some(Over::Session),
            }
            self.make_versions().await;
            let hand = self.hand().await;
            let wake_at = match self.policy.next(self.now(), &hand) {
                Next::List => {
                    self.list().await;
                    continue;
                }
                Next::Copy(document) => {
                    if let Err(error) = self.copy(document).await {
                        tracing::warn!(%error, "a document could not be copied");
                    }
                    self.tell(None);
                    continue;
                }
                Next::At(at) => Some(at),
                Next::Rest => None,
            };
            if let Some(over) = self.wait(wake_at).await {
                return Some(over);
            }
        }
    }

    async fn wait_for_other(&mut self) -> Option<Over> {
        loop {
            if let Some(over) = self.wait(None).await {
                return Some(over);
            }
        }
    }

    /// Until then, or until something happens. Some: there is another GIMP or none, or the session ends.
    async fn wait(&mut self, until: Option<Duration>) -> Option<Over> {
        let until = until.map(|at| tokio::time::Instant::from_std(self.started + at));
        let timer = async {
            match until {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = self.setup.gimp.changed() => Some(if changed.is_ok() { Over::Gimp } else { Over::Session }),
            command = self.commands.recv() => match command {
                Some(command) => self.obey(command).await,
                None => Some(Over::Session),
            },
            () = self.setup.activity.notified() => None,
            files = self.saves.next() => {
                for file in files {
                    if let Some((document, kind)) = self.targets.get(&file).copied() {
                        self.note_written(Written { file, document: Some(document), kind });
                    }
                }
                None
            }
            () = timer => None,
        }
    }

    async fn obey(&mut self, command: Command) -> Option<Over> {
        match command {
            Command::Touched => self.last_input = Some(self.now()),
            Command::Recover { copy, answer } => {
                let opened = self.recover(&copy).await;
                if let Err(error) = &opened {
                    tracing::warn!(%error, "a copy could not be opened by the link");
                }
                let _ = answer.send(opened.is_ok());
            }
            Command::Exported { document, to } => {
                let document = self.image(&document).ok();
                self.note_written(Written { file: to, document, kind: VersionKind::Export });
            }
            // Who asked has gone.
            Command::Wish(_, answer) if answer.is_closed() => {}
            Command::Wish(wish, answer) => {
                let ending = self.ending.clone();
                let done = ending.run_until_cancelled(self.carry_out(wish)).await;
                if let Some(Err(WishError::Busy)) = done {
                    self.tell(Some(STILL_AT_IT));
                    // To be listed again.
                    self.last_input = Some(self.now());
                }
                let _ = answer.send(done.unwrap_or(Err(WishError::Ending)));
            }
            Command::SaveAll(answer) => {
                // Not answered: it has to be done in another way.
                if let Some(saved) = self.save_all().await {
                    let _ = answer.send(saved);
                }
                return Some(Over::Session);
            }
        }
        None
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// While the display does not answer, nothing is known to be put in.
    async fn hand(&mut self) -> Hand {
        let screen = self.setup.screen.borrow().clone();
        let (mut button_down, mut in_sight) = (false, InSight::Unknown);
        if let Some(screen) = screen {
            let ask = tokio::task::spawn_blocking(move || screen.lock().unwrap_or_else(PoisonError::into_inner).hand());
            if let Ok(Ok(Ok(hand))) = tokio::time::timeout(DISPLAY_LIMIT, ask).await {
                button_down = hand.button_down;
                in_sight = title::in_sight(&hand.titles);
                let input = self.now().saturating_sub(Duration::from_millis(hand.idle_ms));
                if self.last_input.is_none_or(|last| input > last + SAME_INPUT) {
                    self.last_input = Some(input);
                }
            }
        }
        Hand { last_input: self.last_input, button_down, in_sight }
    }

    async fn list(&mut self) {
        let asked_at = self.now();
        let mut gimp = self.setup.gimp.clone();
        let answer = tokio::select! {
            answer = self.ask_for_images() => answer,
            // Nobody is left to wait for.
            _ = gimp.changed() => return,
        };
        match answer {
            Ok(images) => self.take_in(images, asked_at),
            Err(error) => {
                tracing::warn!(%error, "GIMP does not tell of its documents");
                self.policy.list_failed(self.now());
                self.late_lists = if matches!(error, LinkError::TimedOut) { self.late_lists + 1 } else { 0 };
                match error {
                    // It is busy: for a moment, what was known still holds.
                    LinkError::TimedOut if self.late_lists < 2 && self.told.borrow().documents.is_some() => {}
                    LinkError::TimedOut => self.tell(Some(STILL_AT_IT)),
                    LinkError::Version(_) => self.tell(Some("The GIMP link is of another version.")),
                    _ => self.tell(Some("GIMP does not answer the platform.")),
                }
            }
        }
    }

    fn take_in(&mut self, images: Vec<Image>, asked_at: Duration) {
        self.policy.listed(asked_at, images.iter().map(|image| (image.id, image.dirty)));
        self.learn(images, asked_at);
        self.tell(None);
    }

    /// A link that is gone is started again.
    async fn ask_for_images(&mut self) -> Result<Vec<Image>, LinkError> {
        let mut images = self.setup.link.list().await;
        if let Err(LinkError::Gone(_)) = images {
            // Perhaps only the connection was.
            images = self.setup.link.list().await;
        }
        if let Err(LinkError::Gone(_)) = images {
            // It takes with it what became of a save.
            self.awaits_save = false;
            self.setup.link.start().await?;
            images = self.setup.link.list().await;
        } else if images.is_ok() && self.awaits_save {
            // It does one after the other: a save that was not waited for is over.
            self.awaits_save = false;
            self.being_saved.set(None);
        }
        let images = images?;
        self.late_lists = 0;
        let process = self.setup.link.hello().await?.process;
        if self.run.process != process {
            // What an agent before this one knew of the same GIMP.
            let before =
                fs::read(&self.setup.state_file).ok().and_then(|text| serde_json::from_slice::<Run>(&text).ok());
            self.run = before.filter(|run| run.process == process).unwrap_or(Run { process, ..Run::default() });
        }
        Ok(images)
    }

    /// Takes in GIMP's list. Copies of what is saved are of no more use, nor are those of what was closed unsaved: GIMP has
    /// asked its user. But a GIMP that goes away may lose its images first, so it has to answer a second time.
    fn learn(&mut self, images: Vec<Image>, asked_at: Duration) {
        let mut before = std::mem::take(&mut self.run.documents);
        self.targets.clear();
        for image in images.into_iter().take(MAX_DOCUMENTS) {
            let mut known = before.remove(&image.id).unwrap_or_default();
            for (kind, uri, last) in [
                (VersionKind::Save, &image.file, known.image.as_ref().map(|last| &last.file)),
                (VersionKind::Export, &image.exported, known.image.as_ref().map(|last| &last.exported)),
            ] {
                let Some(file) = uri.as_deref().and_then(path_of) else { continue };
                // GIMP says so once the file is whole. What is listed for the first time was opened.
                if last.is_some_and(|last| last != uri) {
                    self.note_written(Written { file: file.clone(), document: Some(image.id), kind });
                }
                self.targets.insert(file, (image.id, kind));
            }
            if image.dirty || self.being_saved.get() == Some(image.id) {
                known.dirty_since.get_or_insert_with(now);
            } else {
                known.dirty_since = None;
                known.copy_failed = None;
                if let Some(copy) = known.copy.take() {
                    self.remove(&copy);
                }
            }
            let id = image.id;
            known.image = Some(image);
            known.closed_at = None;
            self.run.documents.insert(id, known);
        }
        for (id, mut closed) in before {
            let Some(copy) = &closed.copy else { continue };
            let closed_at = *closed.closed_at.get_or_insert(asked_at);
            if asked_at >= closed_at + CLOSED_FOR_GOOD || closed.was_saved_after(copy.made_at) {
                self.remove(copy);
            } else {
                self.run.documents.insert(id, closed);
            }
        }
        if self.setup.history.is_some() {
            let folders = self.targets.keys().filter(|file| file.starts_with(&self.setup.home));
            let folders: BTreeSet<PathBuf> = folders.filter_map(|file| Some(file.parent()?.to_owned())).collect();
            self.saves.watch(&folders);
        }
        self.keep_state();
    }

    fn note_written(&mut self, written: Written) {
        if self.setup.history.is_some() && !self.written.contains(&written) {
            self.written.push(written);
        }
    }

    /// Has versions made of what was saved, with a picture of each.
    async fn make_versions(&mut self) {
        for Written { file, document, kind } in std::mem::take(&mut self.written) {
            let picture = match document {
                Some(document) => self.version_picture(document).await,
                None => None,
            };
            if let Some(history) = &self.setup.history {
                history.saved(history::Saved { file, kind, picture });
            }
        }
    }

    async fn version_picture(&mut self, document: DocumentId) -> Option<Vec<u8>> {
        let scratch = self.setup.state_file.with_file_name(format!("{}.png", Uuid::now_v7().simple()));
        let made = self.setup.link.thumbnail(document, &scratch, VERSION_PICTURE).await;
        let picture = fs::read(&scratch);
        let _ = fs::remove_file(&scratch);
        match made {
            Ok(()) => picture.ok(),
            Err(error) => {
                tracing::debug!(%error, "a version has no picture");
                None
            }
        }
    }

    fn remove(&self, copy: &Kept) {
        if let Err(error) = self.setup.store.remove(&copy.id) {
            tracing::warn!(%error, "a copy of what is saved stays");
        }
    }

    /// Makes a copy and removes the one before it.
    async fn copy(&mut self, document: DocumentId) -> anyhow::Result<()> {
        let begun = self.now();
        let made_at = SystemTime::now();
        let mut written = self.write_copy(document).await;
        if written.as_ref().is_err_and(may_lack_room) && self.setup.store.give_up_reserve() {
            tracing::warn!("a copy takes the room that was kept for it");
            written = self.write_copy(document).await;
        }
        match written {
            Ok(Some((id, size))) => {
                self.policy.copied(document, begun);
                let known = self.run.documents.entry(document).or_default();
                known.copy_failed = None;
                if let Some(old) = known.copy.replace(Kept { id, made_at, size }) {
                    self.remove(&old);
                }
                self.keep_state();
                self.keep_reserve().await;
                Ok(())
            }
            // Closed meanwhile: the next list tells.
            Ok(None) => {
                self.policy.copied(document, begun);
                self.last_input = Some(self.now());
                Ok(())
            }
            Err(error) => {
                self.policy.copy_failed(document, self.now());
                self.run.documents.entry(document).or_default().copy_failed = Some(in_words(&error).to_owned());
                Err(error)
            }
        }
    }

    /// Room for another copy of whatever is open.
    async fn keep_reserve(&self) {
        let copies = self.run.documents.values().filter_map(|known| known.copy.as_ref());
        let largest = copies.map(|copy| copy.size).max().unwrap_or(0);
        let store = self.setup.store.clone();
        let _ = tokio::task::spawn_blocking(move || store.keep_reserve(largest)).await;
    }

    /// The copy's id and its size in bytes. None: GIMP has no such image any more.
    async fn write_copy(&mut self, document: DocumentId) -> anyhow::Result<Option<(String, u64)>> {
        let partial = self.setup.store.partial()?;
        if let Err(error) = self.setup.link.copy(document, &partial.path).await {
            // Not if GIMP may still write to it.
            if matches!(error, LinkError::Refused(_)) {
                let _ = fs::remove_file(&partial.path);
            }
            return if error.is_no_image() { Ok(None) } else { Err(error.into()) };
        }
        let image = self.run.documents.get(&document).and_then(|known| known.image.as_ref());
        let name = image.map_or_else(|| display_name(""), |image| display_name(&image.name));
        let original = image.and_then(|image| file_of(image, &self.setup.home));
        let store = self.setup.store.clone();
        // Waits for the disk.
        let kept = tokio::task::spawn_blocking(move || {
            let kept = store.keep(&partial, &name, original);
            if kept.is_err() {
                let _ = fs::remove_file(&partial.path);
            }
            kept
        });
        let kept = kept.await??;
        if let Some(history) = &self.setup.history {
            // A save of it is as large.
            history.make_room(kept.size);
        }
        Ok(Some((kept.id, kept.size)))
    }

    fn has_link(&self) -> bool {
        self.setup.gimp.borrow().is_some_and(|gimp| gimp.has_link)
    }

    async fn save_all(&mut self) -> Option<Saved> {
        if !self.has_link() {
            return None;
        }
        let images = match self.ask_for_images().await {
            Ok(images) => images,
            Err(error) => {
                tracing::warn!(%error, "the link does not list the documents to save");
                return None;
            }
        };
        let unsaved = |image: &&Image| image.dirty || self.being_saved.get() == Some(image.id);
        let dirty: Vec<DocumentId> = images.iter().filter(unsaved).map(|image| image.id).collect();
        self.take_in(images, self.now());
        let mut saved = Saved { outcome: SaveOutcome::AllSafe, copies: 0 };
        for document in dirty {
            match self.copy(document).await {
                Ok(()) => saved.copies += 1,
                Err(error) => {
                    tracing::warn!(%error, "an image could not be copied");
                    saved.outcome = SaveOutcome::Incomplete;
                }
            }
        }
        self.tell(None);
        self.make_versions().await;
        if let Some(history) = &self.setup.history
            && tokio::time::timeout(VERSIONS_LIMIT, history.done()).await.is_err()
        {
            tracing::warn!("the session ends before all that was saved has its version");
        }
        Some(saved)
    }

    /// The copy becomes that of the document: it goes once that is saved.
    async fn recover(&mut self, copy: &Path) -> Result<(), LinkError> {
        if !self.has_link() {
            return Err(LinkError::Gone(std::io::ErrorKind::NotFound.into()));
        }
        let recovery = copy.file_stem().map(|id| id.to_string_lossy().into_owned()).unwrap_or_default();
        let original = self.setup.store.original(&recovery).map(|path| self.setup.home.join(path));
        let file = original.and_then(|original| own_file(&original));
        let image = self.setup.link.recover(copy, file.as_deref()).await?;
        let size = fs::metadata(copy).map_or(0, |copy| copy.len());
        let (made_at, asked_at) = (SystemTime::now(), self.now());
        // It is open, and the copy is kept, whatever comes now.
        let images = match self.ask_for_images().await {
            Ok(images) => images,
            Err(error) => {
                tracing::warn!(%error, "GIMP does not tell of what it has just opened");
                return Ok(());
            }
        };
        let is_unsaved = images.iter().any(|open| open.id == image && open.dirty);
        if is_unsaved {
            self.run.documents.entry(image).or_default().copy = Some(Kept { id: recovery, made_at, size });
        }
        self.take_in(images, asked_at);
        if is_unsaved {
            self.policy.copied(image, self.now());
        }
        Ok(())
    }

    async fn carry_out(&mut self, wish: Wish) -> Result<PathBuf, WishError> {
        if !self.has_link() {
            return Err(WishError::Unknown);
        }
        let asked_at = self.now();
        let images = self.ask_for_images().await?;
        self.take_in(images, asked_at);
        match wish {
            Wish::Save { document, to, replace } => {
                let image = self.image(&document)?;
                let (to, replace) = match to {
                    Some(to) => (to, replace),
                    None => (self.own_file(image).ok_or(WishError::NoFile)?, true),
                };
                self.save(image, &to, replace).await?;
                self.note_written(Written { file: to.clone(), document: Some(image), kind: VersionKind::Save });
                self.list_after_change().await;
                Ok(to)
            }
            Wish::Export { document, to, quality, scale } => {
                let image = self.image(&document)?;
                if self.run.documents.get(&image).is_some_and(|known| known.is_too_large(scale.unwrap_or(100))) {
                    return Err(WishError::TooLarge);
                }
                self.setup.link.export(image, Export { to: &to, quality, scale }).await?;
                Ok(to)
            }
            Wish::Thumbnail { document, to, size } => {
                let image = self.image(&document)?;
                self.setup.link.thumbnail(image, &to, size).await?;
                Ok(to)
            }
            Wish::Layer { document, from } => {
                let image = match document {
                    Some(document) => self.image(&document)?,
                    None => self.shown().await?,
                };
                self.setup.link.layer(image, &from).await?;
                self.list_after_change().await;
                Ok(from)
            }
        }
    }

    /// Its XCF file in the workspace, which a save replaces: where it is a link, what that leads to.
    fn own_file(&self, image: DocumentId) -> Option<PathBuf> {
        let own = own_xcf(self.run.documents.get(&image)?.image.as_ref()?)?;
        let is_link = fs::symlink_metadata(&own).is_ok_and(|there| there.is_symlink());
        let (own, home) = if is_link {
            (own.canonicalize().ok()?, self.setup.home.canonicalize().ok()?)
        } else {
            (own, self.setup.home.clone())
        };
        own.starts_with(home).then_some(own)
    }

    /// By way of a new file, which the link moves once it is whole and on the disk.
    async fn save(&mut self, image: DocumentId, to: &Path, replace: bool) -> Result<(), WishError> {
        // Before GIMP writes for nothing. The move decides.
        if !replace && to.symlink_metadata().is_ok() {
            return Err(WishError::Exists);
        }
        let folder = self.setup.home.join(EXPORT_DIR);
        let ending = xcf_ending(to).ok_or(WishError::NoFile)?;
        let by = folder.join(format!("{}{ending}", Uuid::now_v7().simple()));
        fs::create_dir_all(&folder).map_err(WishError::NotWritten)?;
        self.being_saved.set(Some(image));
        self.awaits_save = true;
        let saved = self.setup.link.save(image, to, &by, replace).await;
        // Otherwise it may still be about it.
        if matches!(saved, Ok(()) | Err(LinkError::Refused(_))) {
            self.awaits_save = false;
            self.being_saved.set(None);
        }
        saved.map_err(WishError::from)
    }

    /// The open image that goes by this id.
    fn image(&self, document: &str) -> Result<DocumentId, WishError> {
        let numbers =
            document.split_once('-').and_then(|(process, id)| Some((process.parse().ok()?, id.parse().ok()?)));
        let (process, id): (i32, DocumentId) = numbers.ok_or(WishError::NoDocument)?;
        let known = self.run.documents.get(&id).filter(|known| process == self.run.process && known.is_open());
        known.map(|_| id).ok_or(WishError::NoDocument)
    }

    /// The only open image, or the only one that GIMP's windows show.
    async fn shown(&mut self) -> Result<DocumentId, WishError> {
        let in_sight = self.hand().await.in_sight;
        let open = self.run.documents.iter().filter(|(_, known)| known.is_open()).map(|(id, _)| *id);
        let open: Vec<DocumentId> = open.collect();
        if open.is_empty() {
            return Err(WishError::NoDocument);
        }
        let may_be_meant = open.iter().filter(|id| match &in_sight {
            InSight::Unknown => true,
            InSight::Only(shown) => shown.contains(id),
        });
        match may_be_meant.collect::<Vec<_>>()[..] {
            [id] => Ok(*id),
            _ => Err(WishError::Which),
        }
    }

    /// So that who waits finds what was done in the status.
    async fn list_after_change(&mut self) {
        let asked_at = self.now();
        self.last_input = Some(asked_at);
        match self.ask_for_images().await {
            Ok(images) => self.take_in(images, asked_at),
            Err(error) => tracing::warn!(%error, "GIMP does not tell of what was changed"),
        }
    }

    fn keep_state(&mut self) {
        let kept = serde_json::to_vec(&self.run).map_err(std::io::Error::other).and_then(|text| {
            if text != self.kept {
                replace_file(&self.setup.state_file, &text)?;
                self.kept = text;
            }
            Ok(())
        });
        if let Err(error) = kept {
            tracing::warn!(%error, "what is known of documents is not kept for another agent");
        }
    }

    /// `unavailable`: why the documents are not known.
    fn tell(&self, unavailable: Option<&str>) {
        let told = Told {
            documents: (unavailable.is_none() && self.run.process != 0).then(|| {
                let documents = self.run.documents.iter();
                documents.filter_map(|(id, known)| known.told(self.run.process, *id, &self.setup.home)).collect()
            }),
            unavailable: unavailable.map(str::to_owned),
        };
        self.told.send_if_modified(|last| {
            let changed = *last != told;
            *last = told;
            changed
        });
    }
}

impl Known {
    fn told(&self, process: i32, id: DocumentId, home: &Path) -> Option<Document> {
        let image = self.image.as_ref().filter(|_| self.is_open())?;
        Some(Document {
            id: format!("{process}-{id}"),
            name: display_name(&image.name).chars().take(MAX_NAME).collect(),
            file: file_of(image, home),
            width: image.width,
            height: image.height,
            layers: image.layers,
            dirty: image.dirty,
            dirty_since: self.dirty_since.clone(),
            last_copied: self.copy.as_ref().map(|copy| rfc3339(copy.made_at.into())),
            recovery: self.copy.as_ref().map(|copy| copy.id.clone()),
            copy_failed: self.copy_failed.clone(),
        })
    }

    /// `scale`: percent.
    fn is_too_large(&self, scale: u16) -> bool {
        let Some(image) = &self.image else { return false };
        let pixels = u64::from(image.width) * u64::from(image.height);
        let scale = u64::from(scale);
        let written = pixels.saturating_mul(scale * scale) / 10_000;
        written > MOST_PIXELS || pixels.max(written).saturating_mul(u64::from(image.layers)) > MOST_LAYER_PIXELS
    }

    fn is_open(&self) -> bool {
        self.image.is_some() && self.closed_at.is_none()
    }

    /// Whether its own file was written later.
    fn was_saved_after(&self, time: SystemTime) -> bool {
        let file = self.image.as_ref().and_then(|image| path_of(image.file.as_ref()?));
        let written = file.and_then(|file| fs::metadata(file).ok()?.modified().ok());
        written.is_some_and(|written| written > time)
    }
}

/// Path inside the workspace of an image's own file, or of the one it was imported from.
fn file_of(image: &Image, home: &Path) -> Option<String> {
    [&image.file, &image.imported].into_iter().flatten().find_map(|file| inside(home, file))
}

/// Its own file, if that is one that GIMP saves images as.
fn own_xcf(image: &Image) -> Option<PathBuf> {
    let file = path_of(image.file.as_ref()?)?;
    is_xcf_name(file.file_name()?.to_str()?).then_some(file)
}

/// Whether GIMP keeps all of an image in files of such a name.
pub fn is_xcf_name(name: &str) -> bool {
    let name = name.to_lowercase();
    XCF_ENDINGS.iter().any(|ending| name.len() > ending.len() && name.ends_with(ending))
}

/// In small letters.
fn xcf_ending(file: &Path) -> Option<&'static str> {
    let name = file.file_name()?.to_str()?.to_lowercase();
    XCF_ENDINGS.into_iter().find(|ending| name.ends_with(ending))
}

/// What GIMP may save a recovered image as without asking: its own file or, of one imported from another format, a new
/// one beside it.
fn own_file(original: &Path) -> Option<PathBuf> {
    if is_xcf_name(original.file_name()?.to_str()?) {
        return Some(original.to_owned());
    }
    let stem = original.file_stem()?.to_str()?;
    let names = (1..100).map(|number| match number {
        1 => format!("{stem}.xcf"),
        2 => format!("{stem} (recovered).xcf"),
        _ => format!("{stem} (recovered {}).xcf", number - 1),
    });
    names.map(|name| original.with_file_name(name)).find(|file| matches!(file.try_exists(), Ok(false)))
}

/// GIMP does not say why it could not write.
fn may_lack_room(error: &anyhow::Error) -> bool {
    error.is::<std::io::Error>() || matches!(error.downcast_ref(), Some(LinkError::Refused(_)))
}

/// Why a copy failed, for people.
fn in_words(error: &anyhow::Error) -> &'static str {
    let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    match (kind, error.downcast_ref::<LinkError>()) {
        (Some(std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded), _) => {
            "There is no room left for a copy."
        }
        (_, Some(LinkError::TimedOut)) => "GIMP did not answer in time.",
        (_, Some(LinkError::Refused(_))) => "GIMP could not write the copy; there may be no room left.",
        _ => "The copy could not be written.",
    }
}

fn now() -> String {
    rfc3339(OffsetDateTime::now_utc())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn exports_that_take_too_long_are_known_before() {
        let known = |width: u32, height: u32, layers: u32| {
            let image = json!({"id": 1, "name": "", "dirty": true, "width": width, "height": height, "layers": layers,
                "file": null, "imported": null, "exported": null});
            Known { image: Some(serde_json::from_value(image).expect("an image")), ..Known::default() }
        };
        assert!(!known(6000, 4000, 100).is_too_large(100), "a photograph of many layers");
        assert!(!known(12_000, 9000, 1).is_too_large(150));
        assert!(known(12_000, 9000, 1).is_too_large(200));
        assert!(known(20_000, 20_000, 30).is_too_large(10), "its layers are put together first");
        assert!(known(u32::MAX, u32::MAX, u32::MAX).is_too_large(200));
    }

    #[test]
    fn recovered_images_never_take_the_place_of_another_file() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let at = |name: &str| folder.path().join(name);
        for own in ["a.xcf", "a.XCF", "b.tar.xcf.gz"] {
            assert_eq!(own_file(&at(own)), Some(at(own)), "there or not");
        }
        assert_eq!(own_file(&at("photo.png")), Some(at("photo.xcf")));
        fs::write(at("photo.xcf"), "another").expect("writes");
        assert_eq!(own_file(&at("photo.png")), Some(at("photo (recovered).xcf")));
        fs::write(at("photo (recovered).xcf"), "another").expect("writes");
        assert_eq!(own_file(&at("photo.png")), Some(at("photo (recovered 2).xcf")));
    }
}
