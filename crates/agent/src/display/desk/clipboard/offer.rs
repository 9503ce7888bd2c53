//! Answers programs that ask for the text we own, long ones in parts (INCR, ICCCM 2.7.2).

use std::time::Instant;

use bytes::Bytes;
use x11rb::connection::{Connection, RequestConnection};
use x11rb::protocol::xproto::{
    Atom, AtomEnum, ChangeWindowAttributesAux, ConnectionExt as _, EventMask, PropMode, Property, PropertyNotifyEvent,
    SELECTION_NOTIFY_EVENT, SelectionNotifyEvent, SelectionRequestEvent, Timestamp, Window,
};
use x11rb::rust_connection::RustConnection;
use x11rb::wrapper::ConnectionExt as _;

use super::super::super::x11::Result;
use super::{Atoms, PATIENCE};

/// Longest text given at once, and longest part of a longer one, bytes. Any X server takes a request of this length.
const PART: usize = 128 << 10;
/// Most programs that are being given parts.
const MAX_TRANSFERS: usize = 16;

#[derive(Debug)]
pub struct Offer {
    window: Window,
    /// Ids of windows are below this within one client; those of the server itself as a whole.
    ids_of_a_client: u32,
    text: Bytes,
    since: Timestamp,
    transfers: Vec<Transfer>,
}

#[derive(Debug)]
struct Transfer {
    requestor: Window,
    property: Atom,
    kind: Atom,
    /// What is still to come; none: only the end.
    rest: Bytes,
    until: Instant,
}

impl Offer {
    pub fn new(conn: &RustConnection, window: Window) -> Self {
        let ids_of_a_client = conn.setup().resource_id_mask;
        Self { window, ids_of_a_client, text: Bytes::new(), since: x11rb::CURRENT_TIME, transfers: Vec::new() }
    }

    pub fn set_text(&mut self, text: &str) {
        self.text = Bytes::copy_from_slice(text.as_bytes());
    }

    pub const fn owned_since(&mut self, time: Timestamp) {
        self.since = time;
    }

    /// The newest text is what everybody gets. The time of the request may be that of a key pressed just before the text
    /// was copied, so it is not asked for.
    pub fn answer(
        &mut self,
        conn: &RustConnection,
        atoms: &Atoms,
        request: &SelectionRequestEvent,
        now: Instant,
    ) -> Result<()> {
        let SelectionRequestEvent { requestor, target, .. } = *request;
        // Old programs leave the choice of the property to the owner.
        let property = if request.property == x11rb::NONE { target } else { request.property };
        let string = u32::from(AtomEnum::STRING);
        let given = if requestor == self.window {
            false
        } else if target == atoms.TARGETS {
            let targets = [atoms.TARGETS, atoms.TIMESTAMP, atoms.UTF8_STRING, atoms.TEXT_PLAIN_UTF8, string];
            conn.change_property32(PropMode::REPLACE, requestor, property, AtomEnum::ATOM, &targets)?;
            true
        } else if target == atoms.TIMESTAMP {
            conn.change_property32(PropMode::REPLACE, requestor, property, AtomEnum::INTEGER, &[self.since])?;
            true
        } else if target == atoms.UTF8_STRING || target == atoms.TEXT_PLAIN_UTF8 {
            let text = self.text.clone();
            self.give(conn, atoms, Transfer { requestor, property, kind: target, rest: text, until: now + PATIENCE })?
        } else if target == string {
            let text = latin_1(&self.text);
            self.give(conn, atoms, Transfer { requestor, property, kind: string, rest: text, until: now + PATIENCE })?
        } else {
            false
        };
        let answer = SelectionNotifyEvent {
            response_type: SELECTION_NOTIFY_EVENT,
            sequence: 0,
            time: request.time,
            requestor,
            selection: request.selection,
            target,
            property: if given { property } else { x11rb::NONE },
        };
        conn.send_event(false, requestor, EventMask::NO_EVENT, answer)?;
        Ok(())
    }

    /// Gives all at once, or begins to give parts; false when neither can be.
    fn give(&mut self, conn: &RustConnection, atoms: &Atoms, transfer: Transfer) -> Result<bool> {
        let Transfer { requestor, property, kind, rest, .. } = &transfer;
        // TigerVNC's module, whose windows are the server's own, takes no parts.
        let of_the_server = requestor & !self.ids_of_a_client == 0;
        // Some bytes go with the text.
        let at_once = if of_the_server { conn.maximum_request_bytes().saturating_sub(64) } else { PART };
        if rest.len() <= at_once {
            conn.change_property8(PropMode::REPLACE, *requestor, *property, *kind, rest)?;
            return Ok(true);
        }
        if of_the_server || self.transfers.len() >= MAX_TRANSFERS {
            return Ok(false);
        }
        let length = u32::try_from(rest.len()).unwrap_or(u32::MAX);
        let events = EventMask::PROPERTY_CHANGE | EventMask::STRUCTURE_NOTIFY;
        conn.change_window_attributes(*requestor, &ChangeWindowAttributesAux::new().event_mask(events))?;
        conn.change_property32(PropMode::REPLACE, *requestor, *property, atoms.INCR, &[length])?;
        self.transfers.retain(|other| (other.requestor, other.property) != (*requestor, *property));
        self.transfers.push(transfer);
        Ok(true)
    }

    /// Another window's property has changed: a program that takes it away wants the next part.
    pub fn property_changed(&mut self, conn: &RustConnection, event: &PropertyNotifyEvent, now: Instant) -> Result<()> {
        let concerns = |transfer: &Transfer| (transfer.requestor, transfer.property) == (event.window, event.atom);
        if event.state != Property::DELETE {
            return Ok(());
        }
        let Some(at) = self.transfers.iter().position(concerns) else { return Ok(()) };
        let transfer = &mut self.transfers[at];
        let part = transfer.rest.split_to(transfer.rest.len().min(PART));
        conn.change_property8(PropMode::REPLACE, transfer.requestor, transfer.property, transfer.kind, &part)?;
        transfer.until = now + PATIENCE;
        // The end is an empty part, which was this.
        if part.is_empty() {
            self.end(conn, at)?;
        }
        Ok(())
    }

    pub fn window_gone(&mut self, window: Window) {
        self.transfers.retain(|transfer| transfer.requestor != window);
    }

    fn end(&mut self, conn: &RustConnection, at: usize) -> Result<()> {
        let ended = self.transfers.swap_remove(at);
        if self.transfers.iter().all(|other| other.requestor != ended.requestor) {
            let nothing = ChangeWindowAttributesAux::new().event_mask(EventMask::NO_EVENT);
            conn.change_window_attributes(ended.requestor, &nothing)?;
        }
        Ok(())
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.transfers.iter().map(|transfer| transfer.until).min()
    }

    /// Gives up on programs that do not take their parts.
    pub fn pass_time(&mut self, conn: &RustConnection, now: Instant) -> Result<()> {
        while let Some(at) = self.transfers.iter().position(|transfer| transfer.until <= now) {
            self.end(conn, at)?;
        }
        Ok(())
    }
}

/// What Latin 1 has of the text.
fn latin_1(text: &[u8]) -> Bytes {
    String::from_utf8_lossy(text).chars().map(|letter| u8::try_from(u32::from(letter)).unwrap_or(b'?')).collect()
}
