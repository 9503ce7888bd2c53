//! The picture of one display: a thread that reads what changed, asks `agent_core::picture` what each viewer should get,
//! encodes it, once for all who get the same, and hands it to their connections.
//!
//! It sleeps until the screen changes, a viewer says something, or something lossy has been still long enough; without
//! viewers it holds no picture at all. A viewer that does not take what it gets is dropped, never waited for.

mod encoding;
mod painter;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use protocol::stream::{ClientHello, Drawn, View};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::display::server::Cookie;
use crate::wake::{Wake, Waker};
use painter::Painter;

/// Messages that may wait for a connection. Updates are paced by acknowledgements, so more means that nobody reads.
const OUTBOX: usize = 64;

/// What one viewer may have said without being heard yet. Who says more waits.
const UNHEARD: usize = 64;

/// One viewer of one display.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ViewerId(pub u32);

/// An access unit on its way by RTP.
#[derive(Debug)]
pub struct RtpPicture {
    /// Ticks of 90 kHz; the lower 32 bits are its timestamp.
    pub time: u64,
    pub unit: Bytes,
}

#[derive(Debug)]
enum Command {
    Join {
        viewer: ViewerId,
        hello: ClientHello,
        outbox: mpsc::Sender<Bytes>,
        input: Arc<AtomicU32>,
        /// Whether it may offer WebRTC.
        webrtc: bool,
    },
    Leave(ViewerId),
    /// Where this viewer's video goes from now on; none: into its updates.
    Rtp(ViewerId, Option<mpsc::Sender<RtpPicture>>),
    Said(ViewerId, Said, OwnedSemaphorePermit),
}

/// What viewers say.
#[derive(Debug)]
enum Said {
    /// And when: the painter may be busy, which is not to be held against the link.
    Drawn(Drawn, Instant),
    View(View),
    Refresh,
    Prove {
        id: u32,
    },
    /// Where the user works, pixels.
    Pointer(u16, u16),
}

/// Of one display; goes with the last clone.
#[derive(Debug, Clone)]
pub struct Picture {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// None only while dropped.
    commands: Mutex<Option<Sender<Command>>>,
    waker: Waker,
    next: AtomicU32,
}

impl Picture {
    /// Starts the thread, which connects to the display when the first viewer comes.
    ///
    /// # Errors
    /// When the machine gives no thread or descriptor.
    pub fn start(display: u32, cookie: Cookie) -> std::io::Result<Self> {
        let (waker, wake) = Wake::new()?;
        let (commands, received) = channel();
        let painter = Painter::new(display, cookie, received, wake);
        std::thread::Builder::new().name("picture".to_owned()).spawn(move || painter.run())?;
        Ok(Self { inner: Arc::new(Inner { commands: Mutex::new(Some(commands)), waker, next: AtomicU32::new(0) }) })
    }

    /// Lets a viewer in. What it receives comes out of the returned channel, which closes when the picture is lost or
    /// the viewer too slow. `webrtc`: whether an offer of WebRTC would be answered.
    pub fn join(&self, hello: ClientHello, webrtc: bool) -> (Viewing, mpsc::Receiver<Bytes>) {
        let viewer = ViewerId(self.inner.next.fetch_add(1, Ordering::Relaxed));
        let (outbox, messages) = mpsc::channel(OUTBOX);
        let weak = outbox.downgrade();
        let input = Arc::new(AtomicU32::new(0));
        self.inner.send(Command::Join { viewer, hello, outbox, input: Arc::clone(&input), webrtc });
        let unheard = Arc::new(Semaphore::new(UNHEARD));
        (Viewing { picture: self.clone(), viewer, outbox: weak, input, unheard }, messages)
    }
}

impl Inner {
    fn send(&self, command: Command) {
        let commands = self.commands.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // A thread that is gone has closed every outbox, which is how viewers learn of it.
        if commands.as_ref().is_some_and(|commands| commands.send(command).is_ok()) {
            self.waker.wake();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.commands.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        self.waker.wake();
    }
}

/// One viewer's place; leaves when dropped.
#[derive(Debug)]
pub struct Viewing {
    picture: Picture,
    viewer: ViewerId,
    /// The painter's is what keeps it open.
    outbox: mpsc::WeakSender<Bytes>,
    /// Number of the last input event given to the X server.
    input: Arc<AtomicU32>,
    unheard: Arc<Semaphore>,
}

impl Viewing {
    pub const fn viewer(&self) -> ViewerId {
        self.viewer
    }

    /// Sends this viewer another message, in its order among updates; waits while the outbox is full.
    pub async fn tell(&self, message: Bytes) {
        if let Some(outbox) = self.outbox.upgrade() {
            // Closed: the viewer is being sent away.
            let _closed = outbox.send(message).await;
        }
    }

    pub async fn drawn(&self, drawn: Drawn) {
        self.say(Said::Drawn(drawn, Instant::now())).await;
    }

    /// Where this viewer's video goes from now on, beginning with a keyframe; none: into its updates. What finds no room is
    /// in the updates as well.
    pub fn rtp(&self, pictures: Option<mpsc::Sender<RtpPicture>>) {
        self.picture.inner.send(Command::Rtp(self.viewer, pictures));
    }

    pub async fn view(&self, view: View) {
        self.say(Said::View(view)).await;
    }

    pub async fn refresh(&self) {
        self.say(Said::Refresh).await;
    }

    pub async fn prove(&self, id: u32) {
        self.say(Said::Prove { id }).await;
    }

    /// Holds the number of the last input event given to the X server.
    pub const fn input(&self) -> &Arc<AtomicU32> {
        &self.input
    }

    /// Where the user works, pixels.
    pub async fn pointer(&self, x: u16, y: u16) {
        self.say(Said::Pointer(x, y)).await;
    }

    async fn say(&self, said: Said) {
        // It is never closed.
        if let Ok(unheard) = Arc::clone(&self.unheard).acquire_owned().await {
            self.picture.inner.send(Command::Said(self.viewer, said, unheard));
        }
    }
}

impl Drop for Viewing {
    fn drop(&mut self) {
        self.picture.inner.send(Command::Leave(self.viewer));
    }
}
