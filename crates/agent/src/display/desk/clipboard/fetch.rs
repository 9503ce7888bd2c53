//! Asks a selection's owner for its text: first which targets it has, then for the best of them that is text, which comes
//! at once or in parts (INCR, ICCCM 2.7.2).

use std::time::Instant;

use protocol::stream::MAX_CLIPBOARD;
use x11rb::protocol::xproto::{
    Atom, AtomEnum, ConnectionExt as _, GetPropertyReply, Property, PropertyNotifyEvent, SelectionNotifyEvent,
    Timestamp, Window,
};
use x11rb::rust_connection::RustConnection;

use super::super::super::x11::Result;
use super::{Atoms, PATIENCE};

/// Most targets looked at, bytes.
const MAX_TARGETS: usize = 4096 * 4;

#[derive(Debug)]
pub struct Fetch {
    window: Window,
    /// The property for the answers.
    place: Atom,
    time: Timestamp,
    asked: Asked,
    until: Instant,
}

#[derive(Debug)]
enum Asked {
    Targets,
    Text {
        target: Atom,
    },
    /// The text comes in parts, of which these are here.
    Parts {
        target: Atom,
        so_far: Vec<u8>,
    },
}

/// What became of a fetch.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    Waiting,
    /// It is no text, too long, or the owner refused.
    Nothing,
    Text(String),
}

impl Fetch {
    pub fn begin(
        conn: &RustConnection,
        atoms: &Atoms,
        window: Window,
        place: Atom,
        time: Timestamp,
        now: Instant,
    ) -> Result<Self> {
        let fetch = Self { window, place, time, asked: Asked::Targets, until: now + PATIENCE };
        fetch.ask(conn, atoms, atoms.TARGETS)?;
        Ok(fetch)
    }

    fn ask(&self, conn: &RustConnection, atoms: &Atoms, target: Atom) -> Result<()> {
        conn.delete_property(self.window, self.place)?;
        conn.convert_selection(self.window, atoms.CLIPBOARD, target, self.place, self.time)?;
        Ok(())
    }

    pub const fn deadline(&self) -> Instant {
        self.until
    }

    pub fn answered(
        &mut self,
        conn: &RustConnection,
        atoms: &Atoms,
        answer: &SelectionNotifyEvent,
        now: Instant,
    ) -> Result<Step> {
        let target = match self.asked {
            Asked::Targets => atoms.TARGETS,
            Asked::Text { target } => target,
            Asked::Parts { .. } => return Ok(Step::Waiting),
        };
        if answer.target != target {
            return Ok(Step::Waiting);
        }
        if answer.property != self.place {
            // A refusal names no property: the time says whether it is meant for an earlier fetch.
            let refused = answer.property == x11rb::NONE && answer.time == self.time;
            return Ok(if refused { Step::Nothing } else { Step::Waiting });
        }
        self.until = now + PATIENCE;
        match self.asked {
            Asked::Targets => {
                let Some(targets) = self.read(conn, MAX_TARGETS)? else { return Ok(Step::Nothing) };
                let targets: Vec<Atom> = targets.value32().into_iter().flatten().collect();
                let text = [atoms.UTF8_STRING, atoms.TEXT_PLAIN_UTF8, u32::from(AtomEnum::STRING)];
                let Some(target) = text.into_iter().find(|text| targets.contains(text)) else {
                    return Ok(Step::Nothing);
                };
                self.ask(conn, atoms, target)?;
                self.asked = Asked::Text { target };
                Ok(Step::Waiting)
            }
            Asked::Text { target } => {
                let Some(text) = self.read(conn, MAX_CLIPBOARD)? else { return Ok(Step::Nothing) };
                if text.type_ != atoms.INCR {
                    return Ok(Step::Text(decode(target, text.value)));
                }
                // The owner says how much there is at least.
                let least = text.value32().and_then(|mut sizes| sizes.next()).unwrap_or(0);
                if usize::try_from(least).is_ok_and(|least| least <= MAX_CLIPBOARD) {
                    self.asked = Asked::Parts { target, so_far: Vec::new() };
                    Ok(Step::Waiting)
                } else {
                    Ok(Step::Nothing)
                }
            }
            Asked::Parts { .. } => Ok(Step::Waiting),
        }
    }

    /// Our window's property has changed.
    pub fn property_changed(
        &mut self,
        conn: &RustConnection,
        event: &PropertyNotifyEvent,
        now: Instant,
    ) -> Result<Step> {
        if !matches!(self.asked, Asked::Parts { .. }) || event.atom != self.place || event.state != Property::NEW_VALUE
        {
            return Ok(Step::Waiting);
        }
        let Some(part) = self.read(conn, MAX_CLIPBOARD)? else { return Ok(Step::Nothing) };
        let Asked::Parts { target, so_far } = &mut self.asked else { return Ok(Step::Waiting) };
        if part.value.is_empty() {
            // A part that was read already leaves a property that is gone; an empty one is the end.
            let end = part.type_ != x11rb::NONE;
            return Ok(if end { Step::Text(decode(*target, std::mem::take(so_far))) } else { Step::Waiting });
        }
        if so_far.len() + part.value.len() > MAX_CLIPBOARD {
            return Ok(Step::Nothing);
        }
        so_far.extend(part.value);
        self.until = now + PATIENCE;
        Ok(Step::Waiting)
    }

    /// Takes the property; none if it has more than so many bytes. Taking it asks for the next part.
    fn read(&self, conn: &RustConnection, limit: usize) -> Result<Option<GetPropertyReply>> {
        let words = u32::try_from(limit / 4).unwrap_or(u32::MAX);
        let reply = conn.get_property(true, self.window, self.place, AtomEnum::ANY, 0, words)?.reply()?;
        if reply.bytes_after == 0 {
            return Ok(Some(reply));
        }
        conn.delete_property(self.window, self.place)?;
        Ok(None)
    }
}

fn decode(target: Atom, bytes: Vec<u8>) -> String {
    if target == u32::from(AtomEnum::STRING) {
        // Latin 1, whose numbers Unicode has taken over.
        return bytes.into_iter().map(char::from).collect();
    }
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
