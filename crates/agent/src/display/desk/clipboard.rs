//! The clipboard as a client of the X server has it (ICCCM 2.0, chapter 2): the selection CLIPBOARD, text only.
//!
//! What programs copy is asked for when XFIXES tells that the selection has a new owner, and only if it is text. A
//! client's text is offered as any program would offer it. TigerVNC's module, which does the same for VNC viewers from
//! within the X server, is one more program.

mod fetch;
mod offer;

use std::time::{Duration, Instant};

use protocol::stream::MAX_CLIPBOARD;
use tokio::sync::watch;
use x11rb::connection::Connection;
use x11rb::protocol::Event;
use x11rb::protocol::xfixes::{ConnectionExt as _, SelectionEventMask, SelectionNotifyEvent};
use x11rb::protocol::xproto::{ConnectionExt as _, CreateWindowAux, EventMask, Timestamp, Window, WindowClass};
use x11rb::rust_connection::RustConnection;

use super::super::x11::{Client, Result};
use super::Copied;
use fetch::{Fetch, Step};
use offer::Offer;

/// For a program to answer, or to take the next part of a long text.
const PATIENCE: Duration = Duration::from_secs(5);

x11rb::atom_manager! {
    /// Names that the X server numbers.
    pub Atoms: AtomsCookie {
        CLIPBOARD,
        TARGETS,
        TIMESTAMP,
        INCR,
        UTF8_STRING,
        TEXT_PLAIN_UTF8: b"text/plain;charset=utf-8",
        FETCH_0: b"GIMP_SESSION_CLIPBOARD_0",
        FETCH_1: b"GIMP_SESSION_CLIPBOARD_1",
        FETCH_2: b"GIMP_SESSION_CLIPBOARD_2",
        FETCH_3: b"GIMP_SESSION_CLIPBOARD_3",
    }
}

impl Atoms {
    /// Where answers go; each fetch takes the next, so that a late answer to an earlier one is told apart.
    const fn places(&self) -> [u32; 4] {
        [self.FETCH_0, self.FETCH_1, self.FETCH_2, self.FETCH_3]
    }
}

#[derive(Debug)]
pub struct Clipboard {
    atoms: Atoms,
    /// Owns the selection and receives what is asked for.
    window: Window,
    offer: Offer,
    /// Something was copied at that time, and has not been asked for yet.
    wanted: Option<Timestamp>,
    fetch: Option<Fetch>,
    fetches: usize,
    copied: watch::Sender<Option<Copied>>,
}

impl Clipboard {
    pub fn new(client: &Client, copied: watch::Sender<Option<Copied>>) -> Result<Self> {
        let Client { conn, root } = client;
        let atoms = Atoms::new(conn)?.reply()?;
        let window = conn.generate_id()?;
        let aux = CreateWindowAux::new().event_mask(EventMask::PROPERTY_CHANGE);
        conn.create_window(0, window, *root, -1, -1, 1, 1, 0, WindowClass::INPUT_ONLY, 0, &aux)?.check()?;
        let changes = SelectionEventMask::SET_SELECTION_OWNER
            | SelectionEventMask::SELECTION_WINDOW_DESTROY
            | SelectionEventMask::SELECTION_CLIENT_CLOSE;
        conn.xfixes_select_selection_input(window, atoms.CLIPBOARD, changes)?.check()?;
        let offer = Offer::new(conn, window);
        Ok(Self { atoms, window, offer, wanted: None, fetch: None, fetches: 0, copied })
    }

    /// Makes a client's text the clipboard's. Once this returns, whoever asks the X server is sent to us.
    pub fn offer(&mut self, conn: &RustConnection, copied: Copied) -> Result<()> {
        self.offer.set_text(&copied.text);
        conn.set_selection_owner(self.window, self.atoms.CLIPBOARD, x11rb::CURRENT_TIME)?;
        conn.get_selection_owner(self.atoms.CLIPBOARD)?.reply()?;
        self.fetch = None;
        self.copied.send_replace(Some(copied));
        Ok(())
    }

    pub fn take(&mut self, conn: &RustConnection, event: &Event, now: Instant) -> Result<()> {
        match event {
            Event::XfixesSelectionNotify(event) => self.owner_changed(event),
            Event::SelectionRequest(request) if request.selection == self.atoms.CLIPBOARD => {
                self.offer.answer(conn, &self.atoms, request, now)?;
            }
            Event::SelectionNotify(answer) if answer.requestor == self.window => {
                let step = self.fetch.as_mut().map(|fetch| fetch.answered(conn, &self.atoms, answer, now));
                self.fetched(step.transpose()?);
            }
            Event::PropertyNotify(event) if event.window == self.window => {
                let step = self.fetch.as_mut().map(|fetch| fetch.property_changed(conn, event, now));
                self.fetched(step.transpose()?);
            }
            Event::PropertyNotify(event) => self.offer.property_changed(conn, event, now)?,
            Event::DestroyNotify(event) => self.offer.window_gone(event.window),
            // Everything else is not selected, or told better by XFIXES.
            _ => {}
        }
        Ok(())
    }

    fn owner_changed(&mut self, event: &SelectionNotifyEvent) {
        self.fetch = None;
        self.wanted = (event.owner != self.window && event.owner != x11rb::NONE).then_some(event.timestamp);
        if event.owner == self.window {
            self.offer.owned_since(event.selection_timestamp);
        }
    }

    /// Asks for what was copied last, if anybody wants to know. To be called when there is no event left: one might tell
    /// of a newer owner.
    pub fn begin_fetch(&mut self, conn: &RustConnection, now: Instant) -> Result<()> {
        let Some(time) = self.wanted.take() else { return Ok(()) };
        if self.copied.is_closed() {
            return Ok(());
        }
        let places = self.atoms.places();
        let place = places[self.fetches % places.len()];
        self.fetches = self.fetches.wrapping_add(1);
        self.fetch = Some(Fetch::begin(conn, &self.atoms, self.window, place, time, now)?);
        Ok(())
    }

    fn fetched(&mut self, step: Option<Step>) {
        match step {
            None | Some(Step::Waiting) => {}
            Some(Step::Nothing) => self.fetch = None,
            Some(Step::Text(text)) => {
                self.fetch = None;
                if text.len() <= MAX_CLIPBOARD {
                    self.copied.send_replace(Some(Copied { text, from: None }));
                }
            }
        }
    }

    /// When `pass_time` has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        let fetch = self.fetch.as_ref().map(Fetch::deadline);
        fetch.into_iter().chain(self.offer.deadline()).min()
    }

    /// Gives up on programs that do not go on.
    pub fn pass_time(&mut self, conn: &RustConnection, now: Instant) -> Result<()> {
        if self.fetch.as_ref().is_some_and(|fetch| fetch.deadline() <= now) {
            tracing::debug!("the owner of the clipboard does not answer");
            self.fetch = None;
        }
        self.offer.pass_time(conn, now)
    }
}
