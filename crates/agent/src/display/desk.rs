//! The desktop beside its picture: the cursor's image and the clipboard's text, on an X connection and a thread of their
//! own. The thread sleeps until the X server tells of something, a client copies text, or a program that owes an answer
//! has let its time pass.
//!
//! Of both only the newest is kept: whoever is slow misses what was in between.

mod clipboard;
mod cursor;

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::Instant;

use agent_core::input::ClientId;
use protocol::stream::Cursor;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::{oneshot, watch};
use x11rb::connection::Connection;
use x11rb::protocol::Event;
use x11rb::protocol::xfixes::ConnectionExt as _;

use super::server::Cookie;
use super::x11::{Client, Result};
use crate::wake::{Wake, Waker};
use clipboard::Clipboard;

/// Text that was copied.
#[derive(Clone, PartialEq, Eq)]
pub struct Copied {
    pub text: String,
    /// The client that sent it; none: it was copied in the session.
    pub from: Option<ClientId>,
}

impl std::fmt::Debug for Copied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Copied({} bytes from {:?})", self.text.len(), self.from)
    }
}

/// Cursor and clipboard of one display; its thread ends with the last clone.
#[derive(Debug, Clone)]
pub struct Desk {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    commands: Sender<Command>,
    waker: Waker,
    cursor: watch::Sender<Cursor>,
    copied: watch::Sender<Option<Copied>>,
}

#[derive(Debug)]
enum Command {
    Copy { copied: Copied, done: oneshot::Sender<()> },
    End,
}

impl Desk {
    /// Blocks for some round trips to the X server.
    ///
    /// # Errors
    /// When the server lacks XFIXES, or the machine gives no thread.
    pub fn open(display: u32, cookie: &Cookie) -> Result<Self> {
        let client = Client::connect(display, cookie)?;
        client.conn.xfixes_query_version(5, 0)?.reply()?;
        cursor::select_changes(&client)?;
        let cursor = watch::Sender::new(cursor::hidden());
        let copied = watch::Sender::new(None);
        let clipboard = Clipboard::new(&client, copied.clone())?;
        let (waker, wake) = Wake::new()?;
        let (commands, received) = channel();
        let thread =
            Thread { client, commands: received, wake, cursor: cursor.clone(), cursor_changed: true, clipboard };
        std::thread::Builder::new().name("desk".to_owned()).spawn(move || thread.run())?;
        Ok(Self { inner: Arc::new(Inner { commands, waker, cursor, copied }) })
    }

    /// The present cursor, and each that follows.
    pub fn cursor(&self) -> watch::Receiver<Cursor> {
        self.inner.cursor.subscribe()
    }

    /// Each text copied from now on. The clipboard is read only while somebody has such a receiver.
    pub fn copied(&self) -> watch::Receiver<Option<Copied>> {
        self.inner.copied.subscribe()
    }

    /// Puts a client's text on the clipboard. When it returns, programs find it there: a paste may follow.
    pub async fn copy(&self, client: ClientId, text: String) {
        let (done, copied) = oneshot::channel();
        self.inner.send(Command::Copy { copied: Copied { text, from: Some(client) }, done });
        // Without a display there is no clipboard; viewers learn of its end by the picture's.
        let _gone = copied.await;
    }
}

impl Inner {
    fn send(&self, command: Command) {
        let _gone = self.commands.send(command);
        self.waker.wake();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.send(Command::End);
    }
}

struct Thread {
    client: Client,
    commands: Receiver<Command>,
    wake: Wake,
    cursor: watch::Sender<Cursor>,
    cursor_changed: bool,
    clipboard: Clipboard,
}

impl Thread {
    fn run(mut self) {
        loop {
            match self.turn() {
                Ok(true) => {}
                Ok(false) => return,
                // The display was lost: the session brings another one, with another desk.
                Err(error) => return tracing::info!(%error, "cursor and clipboard end"),
            }
        }
    }

    /// False: nobody needs it any more.
    fn turn(&mut self) -> Result<bool> {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Copy { copied, done }) => {
                    self.clipboard.offer(&self.client.conn, copied)?;
                    let _gone = done.send(());
                }
                Err(TryRecvError::Empty) => break,
                Ok(Command::End) | Err(TryRecvError::Disconnected) => return Ok(false),
            }
        }
        self.take_events()?;
        if std::mem::take(&mut self.cursor_changed) {
            let image = cursor::fetch(&self.client.conn)?;
            self.cursor.send_if_modified(|cursor| {
                let differs = *cursor != image;
                *cursor = image;
                differs
            });
            // Events may have come along with the answer.
            return Ok(true);
        }
        self.clipboard.begin_fetch(&self.client.conn, Instant::now())?;
        self.client.conn.flush()?;
        // Writing may read, too.
        if self.take_events()? {
            return Ok(true);
        }
        self.sleep()?;
        self.clipboard.pass_time(&self.client.conn, Instant::now())?;
        Ok(true)
    }

    /// Everything that the server has told; whether there was something.
    fn take_events(&mut self) -> Result<bool> {
        let mut any = false;
        loop {
            self.client.conn.flush()?;
            let Some(event) = self.client.conn.poll_for_event()? else { return Ok(any) };
            any = true;
            match event {
                Event::XfixesCursorNotify(_) => self.cursor_changed = true,
                Event::Error(error) => tracing::debug!(?error, "the X server refused a request"),
                event => self.clipboard.take(&self.client.conn, &event, Instant::now())?,
            }
        }
    }

    fn sleep(&self) -> Result<()> {
        let left = self.clipboard.deadline().map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        let stream = self.client.conn.stream();
        let mut waits =
            [PollFd::new(&self.wake, PollFlags::IN), PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::IN)];
        match poll(&mut waits, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(std::io::Error::from(error).into()),
        }
        self.wake.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
