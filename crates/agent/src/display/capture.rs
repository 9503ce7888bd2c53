//! Reads the screen: what changed, and only that. XDamage tells that something did, MIT-SHM brings the pixels; a copy of
//! the screen is kept, so that what was drawn again without being different is no change, and what is sent later needs no
//! question to the X server.
//!
//! Nothing happens until somebody asks: damage that nobody takes gathers in the X server, silently.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use agent_core::picture::{CELL, CellSet, Motion, Pictures, WORTH_A_SEARCH, find_motion};
use protocol::stream::Rect;
use rustix::fs::{MemfdFlags, memfd_create};
use x11rb::connection::{Connection, RequestConnection};
use x11rb::errors::ReplyError;
use x11rb::protocol::damage::{ConnectionExt as _, Damage, ReportLevel};
use x11rb::protocol::shm::{self, ConnectionExt as _};
use x11rb::protocol::xfixes::{ConnectionExt as _, Region};
use x11rb::protocol::xproto::{ChangeWindowAttributesAux, ConnectionExt as _, EventMask, ImageFormat, ImageOrder};
use x11rb::protocol::{ErrorKind, Event};

use super::server::Cookie;
use super::x11::{Client, Error, Result};
use crate::encode::Pixels;

/// Bytes of one pixel, as the X server keeps them: blue, green, red, unused.
const PIXEL: usize = 4;
const DEPTH: u8 = 24;
const ALL_PLANES: u32 = !0;
/// Bytes that are compared at once: what a core's cache holds beside what they are compared with.
const BAND: usize = 256 << 10;

/// Cells: of more it would take long to note every pixel, and what changes so much changes wholly.
const MOST_DIFFERING: usize = 512;

/// What became of the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// These cells look different; may be none. What of it only moved, if that is known.
    Cells(CellSet, Option<Motion>),
    /// The screen has another size; all of it is new.
    Resized,
}

/// The screen as last read, whole cells: its rows and columns go on, in black, to the next multiple of `CELL`.
#[derive(Debug)]
struct Shadow {
    width: u16,
    height: u16,
    stride: usize,
    bytes: Vec<u8>,
    /// The screen before what changed it last and much, but for the cells in `behind`.
    before: Vec<u8>,
    /// Where `before` was not brought up to date.
    behind: CellSet,
    /// Pixels that differed when the screen was read last; none: much was read.
    differing: Option<Differing>,
}

/// Which pixels of the cells that changed last changed.
#[derive(Debug, Default)]
pub struct Differing(HashMap<(usize, usize), [u16; CELL as usize]>);

impl Differing {
    /// Rows of a cell, its leftmost pixel in the lowest bit.
    pub fn rows(&self, column: usize, row: usize) -> [u16; CELL as usize] {
        self.0.get(&(column, row)).copied().unwrap_or_default()
    }

    /// Of a cell's row `y` of the screen: the pixels, known and read.
    pub(crate) fn note(&mut self, column: usize, y: usize, known: &[u8], read: &[u8]) {
        let pixels = known.chunks_exact(PIXEL).zip(read.chunks_exact(PIXEL));
        let bits =
            pixels.enumerate().filter(|(_, (known, read))| known != read).fold(0, |bits, (at, _)| bits | 1 << at);
        let side = usize::from(CELL);
        self.0.entry((column, y / side)).or_default()[y % side] |= bits;
    }
}

impl Shadow {
    fn new(width: u16, height: u16) -> Self {
        let whole = |pixels: u16| usize::from(pixels).next_multiple_of(CELL.into());
        let stride = whole(width) * PIXEL;
        let bytes = vec![0; stride * whole(height)];
        Self {
            width,
            height,
            stride,
            before: bytes.clone(),
            bytes,
            behind: CellSet::empty(width, height),
            differing: None,
        }
    }

    /// Makes `before` what the screen is now, but for what `update` will do.
    fn keep_all_but(&mut self, cells: &CellSet) {
        for rect in self.behind.without(cells).rects() {
            for y in rect.y..rect.y + rect.height {
                let row = self.row(rect, y.into());
                self.before[row.clone()].copy_from_slice(&self.bytes[row]);
            }
        }
    }

    fn row(&self, rect: Rect, y: usize) -> std::ops::Range<usize> {
        let at = y * self.stride + usize::from(rect.x) * PIXEL;
        at..at + usize::from(rect.width) * PIXEL
    }

    /// Takes over what was read of a rectangle of whole cells; notes the cells that differ. `keep`: what was there is
    /// kept in `before`.
    fn update(&mut self, rect: Rect, read: &[u8], keep: bool, changed: &mut CellSet) {
        let row_bytes = usize::from(rect.width) * PIXEL;
        if row_bytes == 0 {
            return;
        }
        let cell_bytes = usize::from(CELL) * PIXEL;
        let first_column = usize::from(rect.x / CELL);
        for (y, row) in (usize::from(rect.y)..).zip(read.chunks_exact(row_bytes)) {
            let at = self.row(rect, y);
            let Some(known) = self.bytes.get_mut(at.clone()) else { return };
            if keep {
                self.before[at].copy_from_slice(known);
            }
            if known == row {
                continue;
            }
            let cells = known.chunks_mut(cell_bytes).zip(row.chunks(cell_bytes)).enumerate();
            for (column, (known, read)) in cells {
                if known != read {
                    if let Some(differing) = &mut self.differing {
                        differing.note(first_column + column, y, known, read);
                    }
                    known.copy_from_slice(read);
                    changed.insert_cell(first_column + column, y / usize::from(CELL));
                }
            }
        }
    }
}

/// Memory shared with the X server.
#[derive(Debug)]
struct Shared {
    segment: shm::Seg,
    memory: File,
    size: u64,
}

#[derive(Debug)]
pub struct Capture {
    client: Client,
    damage: Damage,
    region: Region,
    shared: Option<Shared>,
    shadow: Shadow,
    /// What was read and is compared.
    band: Vec<u8>,
    damaged: bool,
    resized: bool,
    /// Damage that was taken from the server and not read yet.
    unread: CellSet,
}

impl Capture {
    /// Connects and reads the whole screen.
    ///
    /// # Errors
    /// When the server lacks DAMAGE or XFIXES, or its pixels are not of 24 bits in 32.
    pub fn open(display: u32, cookie: &Cookie) -> Result<Self> {
        let client = Client::connect(display, cookie)?;
        let Client { conn, root } = &client;
        let root = *root;
        if !has_usual_pixels(&client) {
            return Err(Error::Pixels);
        }
        conn.xfixes_query_version(5, 0)?.reply()?;
        conn.damage_query_version(1, 1)?.reply()?;
        let events = ChangeWindowAttributesAux::new().event_mask(EventMask::STRUCTURE_NOTIFY);
        conn.change_window_attributes(root, &events)?;
        let damage = conn.generate_id()?;
        conn.damage_create(damage, root, ReportLevel::NON_EMPTY)?.check()?;
        let region = conn.generate_id()?;
        conn.xfixes_create_region(region, &[])?;
        let geometry = conn.get_geometry(root)?.reply()?;
        let mut capture = Self {
            shadow: Shadow::new(geometry.width, geometry.height),
            unread: CellSet::empty(geometry.width, geometry.height),
            client,
            damage,
            region,
            shared: None,
            band: vec![],
            damaged: false,
            resized: true,
        };
        if capture.client.conn.extension_information(shm::X11_EXTENSION_NAME)?.is_some() {
            capture.client.conn.shm_query_version()?.reply()?;
        }
        capture.take()?;
        Ok(capture)
    }

    pub fn size(&self) -> (u16, u16) {
        (self.shadow.width, self.shadow.height)
    }

    /// The screen as last taken. Goes on to whole cells.
    pub fn pixels(&self) -> Pixels<'_> {
        Pixels { bytes: &self.shadow.bytes, stride: self.shadow.stride }
    }

    /// What changed when the screen was read last; none where that is not worth to be told pixel by pixel.
    pub fn differing(&self) -> Option<&Differing> {
        self.shadow.differing.as_ref()
    }

    /// What becomes readable when the screen changes. Ask `changed` first: events may have been read already.
    pub fn events(&self) -> BorrowedFd<'_> {
        self.client.conn.stream().as_fd()
    }

    /// Whether there is something to take. Does not wait.
    pub fn changed(&mut self) -> Result<bool> {
        while let Some(event) = self.client.conn.poll_for_event()? {
            match event {
                Event::DamageNotify(_) => self.damaged = true,
                Event::ConfigureNotify(event)
                    if event.window == self.client.root && (event.width, event.height) != self.size() =>
                {
                    self.resized = true;
                }
                Event::Error(error) => tracing::debug!(?error, "the X server refused a request"),
                _ => {}
            }
        }
        Ok(self.damaged || self.resized || !self.unread.is_empty())
    }

    /// What was damaged and not read yet. Cheap: brings no pixels. After a change of size: all.
    pub fn damage(&mut self) -> Result<&CellSet> {
        self.changed()?;
        if self.resized {
            let (width, height) = self.size();
            self.unread = CellSet::all(width, height);
        } else if self.damaged {
            self.damaged = false;
            // First take the damage, then the pixels: what is drawn in between is reported again.
            let conn = &self.client.conn;
            conn.damage_subtract(self.damage, x11rb::NONE, self.region)?;
            for rectangle in conn.xfixes_fetch_region(self.region)?.reply()?.rectangles {
                self.unread.insert(clipped(rectangle));
            }
        }
        Ok(&self.unread)
    }

    /// Reads what was damaged.
    pub fn take(&mut self) -> Result<Change> {
        let damaged = self.damage()?.clone();
        self.take_cells(&damaged)
    }

    /// Reads some of what was damaged.
    pub fn take_cells(&mut self, cells: &CellSet) -> Result<Change> {
        if !self.resized {
            return match self.read(cells) {
                // The screen shrank between the event and the question.
                Err(Error::Reply(ReplyError::X11Error(error))) if error.error_kind == ErrorKind::Match => {
                    self.resized = true;
                    self.take()
                }
                other => {
                    let changed = other?;
                    self.unread.subtract(cells);
                    let motion = self.motion(&changed);
                    Ok(Change::Cells(changed, motion))
                }
            };
        }
        // A size that changes again meanwhile is told by another event.
        self.resized = false;
        self.damaged = false;
        let geometry = self.client.conn.get_geometry(self.client.root)?.reply()?;
        self.shadow = Shadow::new(geometry.width, geometry.height);
        self.unread = CellSet::empty(geometry.width, geometry.height);
        self.share_memory()?;
        self.client.conn.damage_subtract(self.damage, x11rb::NONE, x11rb::NONE)?;
        let all = CellSet::all(geometry.width, geometry.height);
        self.read(&all)?;
        Ok(Change::Resized)
    }

    /// Like `take`, but of the whole screen, damaged or not: for proofs.
    pub fn read_again(&mut self) -> Result<Change> {
        match self.take()? {
            Change::Resized => Ok(Change::Resized),
            Change::Cells(mut changed, _) => {
                let (width, height) = self.size();
                changed.union(&self.read(&CellSet::all(width, height))?);
                // It would tell of the second look only.
                self.shadow.differing = None;
                Ok(Change::Cells(changed, None))
            }
        }
    }

    /// Brings the shadow up to date there; returns which cells differed.
    fn read(&mut self, cells: &CellSet) -> Result<CellSet> {
        let (width, height) = self.size();
        let mut changed = CellSet::empty(width, height);
        // Else `find_motion` does not look at it.
        let keep = cells.len() >= WORTH_A_SEARCH;
        if keep {
            self.shadow.keep_all_but(cells);
        }
        self.shadow.differing = (cells.len() <= MOST_DIFFERING).then(Differing::default);
        for rect in cells.rects() {
            self.read_rect(rect, keep, &mut changed)?;
        }
        if keep {
            self.shadow.behind.clear();
        }
        self.shadow.behind.union(&changed);
        Ok(changed)
    }

    /// What only moved when these cells changed, which is all that was read last.
    fn motion(&self, changed: &CellSet) -> Option<Motion> {
        let Shadow { before, bytes, stride, .. } = &self.shadow;
        find_motion(Pictures { before, now: bytes, stride: *stride }, changed)
    }

    /// Brings the shadow up to date in a rectangle. It is asked for as a whole: what moves would be torn between two answers.
    fn read_rect(&mut self, rect: Rect, keep: bool, changed: &mut CellSet) -> Result<()> {
        let Client { conn, root } = &self.client;
        let (x, y) = (signed(rect.x), signed(rect.y));
        let Some(shared) = &self.shared else {
            let image = conn.get_image(ImageFormat::Z_PIXMAP, *root, x, y, rect.width, rect.height, ALL_PLANES)?;
            self.shadow.update(rect, &image.reply()?.data, keep, changed);
            return Ok(());
        };
        let format = u8::from(ImageFormat::Z_PIXMAP);
        conn.shm_get_image(*root, x, y, rect.width, rect.height, ALL_PLANES, format, shared.segment, 0)?.reply()?;
        let mut at = 0;
        for band in bands(rect, BAND) {
            self.band.resize(bytes_of(band), 0);
            // Read, not mapped: it has to be copied anyway, and so no other process can change it under our hands.
            shared.memory.read_exact_at(&mut self.band, at)?;
            at += self.band.len() as u64;
            self.shadow.update(band, &self.band, keep, changed);
        }
        Ok(())
    }

    /// Memory for one picture. Without it pixels come through the socket.
    fn share_memory(&mut self) -> Result<()> {
        let size = self.shadow.bytes.len() as u64;
        if self.shared.as_ref().is_some_and(|shared| shared.size >= size && shared.size <= size * 4) {
            return Ok(());
        }
        let conn = &self.client.conn;
        if let Some(old) = self.shared.take() {
            conn.shm_detach(old.segment)?;
        }
        if conn.extension_information(shm::X11_EXTENSION_NAME)?.is_none() {
            return Ok(());
        }
        let memory = File::from(memfd_create("screen", MemfdFlags::CLOEXEC).map_err(io::Error::from)?);
        memory.set_len(size)?;
        let segment = conn.generate_id()?;
        let theirs = OwnedFd::from(memory.try_clone()?);
        match conn.shm_attach_fd(segment, theirs, false)?.check() {
            Ok(()) => self.shared = Some(Shared { segment, memory, size }),
            Err(error) => tracing::warn!(%error, "the X server does not share memory; pixels take longer"),
        }
        Ok(())
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _gone = self.client.conn.damage_destroy(self.damage);
        let _gone = self.client.conn.flush();
    }
}

fn has_usual_pixels(client: &Client) -> bool {
    let setup = client.conn.setup();
    let depth = setup.roots.first().map(|screen| screen.root_depth);
    let format = setup.pixmap_formats.iter().find(|format| Some(format.depth) == depth);
    depth == Some(DEPTH)
        && setup.image_byte_order == ImageOrder::LSB_FIRST
        && format.is_some_and(|format| usize::from(format.bits_per_pixel) == PIXEL * 8)
}

fn clipped(rectangle: x11rb::protocol::xproto::Rectangle) -> Rect {
    let cut = |from: i16, length: u16| {
        let end = i32::from(from) + i32::from(length);
        let from = u16::try_from(from.max(0)).unwrap_or(0);
        (from, u16::try_from(end - i32::from(from)).unwrap_or(0))
    };
    let ((x, width), (y, height)) = (cut(rectangle.x, rectangle.width), cut(rectangle.y, rectangle.height));
    Rect { x, y, width, height }
}

fn bytes_of(rect: Rect) -> usize {
    usize::from(rect.width) * usize::from(rect.height) * PIXEL
}

/// A rectangle in parts of whole rows that have at most so many bytes, or are one row.
fn bands(rect: Rect, bytes: usize) -> impl Iterator<Item = Rect> {
    let rows = bytes / (usize::from(rect.width) * PIXEL).max(1);
    let rows = u16::try_from(rows).unwrap_or(u16::MAX).max(1);
    let parts = (0..rect.height).step_by(rows.into());
    parts.map(move |top| Rect { y: rect.y + top, height: rows.min(rect.height - top), ..rect })
}

/// Screens are at most 32767 pixels wide.
fn signed(position: u16) -> i16 {
    i16::try_from(position).unwrap_or(i16::MAX)
}
