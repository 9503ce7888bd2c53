//! Encodes parts of one captured picture, each once, whoever gets it.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use agent_core::picture::{Activity, CELL, CellSet, Copy, Costs, Lane, TileCache, TileKey};
use bytes::Bytes;
use protocol::stream::{Op, Rect, TileCodec, VideoFormat};
use xxhash_rust::xxh3::Xxh3;

use crate::display::capture::Differing;
use crate::encode::Pixels;
use crate::encode::tile::{Encoded, TileEncoder};
use crate::encode::video::{AccessUnit, VideoEncoder};

/// Tiles begin at multiples of these, cells: so that what is shown again is cut again in the same way.
const TILE_COLUMNS: u16 = 8;
const TILE_ROWS: u16 = 4;
/// Pixels of a whole tile.
pub const LARGEST_TILE: u32 = (TILE_COLUMNS * CELL) as u32 * (TILE_ROWS * CELL) as u32;
/// Above so many pixels it is worth to wake another thread.
const WORTH_A_THREAD: usize = 150_000;
/// An encoder of video holds tens of megabytes, and takes some milliseconds to be opened again.
const VIDEO_KEPT: Duration = Duration::from_secs(10);
/// Encoders of tiles, and threads that use them, at most.
const MAX_THREADS: usize = 4;

/// What a client needs of the present picture.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub cells: &'a CellSet,
    /// Of which of them it needs only the differing pixels, if those are known.
    pub fresh: Option<(&'a Differing, &'a CellSet)>,
}

/// Encoders and what they have done for the present picture.
#[derive(Debug)]
pub struct Encoding {
    encoders: Vec<TileEncoder>,
    tiles: HashMap<Rect, (TileKey, Option<Encoded>)>,
    /// Over copies, exact and coarse.
    strips: HashMap<(Rect, bool), Encoded>,
    /// Only what differs; none: better whole.
    partials: HashMap<Rect, Option<(TileCodec, Bytes)>>,
    /// And when each was used.
    videos: HashMap<(VideoFormat, Lane), (VideoEncoder, Instant)>,
    pub costs: Costs,
    pub tiles_ms: f32,
    pub video_ms: f32,
}

impl Encoding {
    pub fn new() -> io::Result<Self> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).clamp(1, MAX_THREADS);
        Ok(Self {
            encoders: (0..threads).map(|_| TileEncoder::new()).collect::<io::Result<_>>()?,
            tiles: HashMap::new(),
            strips: HashMap::new(),
            partials: HashMap::new(),
            videos: HashMap::new(),
            costs: Costs::default(),
            tiles_ms: 0.0,
            video_ms: 0.0,
        })
    }

    /// The picture is another one now.
    pub fn captured(&mut self) {
        self.tiles.clear();
        self.strips.clear();
        self.partials.clear();
    }

    /// The screen has another size: video begins anew.
    pub fn resized(&mut self) {
        self.captured();
        self.videos.clear();
    }

    /// How long until encoders of video that nobody needs any more are let go; none: there are none.
    pub fn video_rests(&self) -> Option<Duration> {
        let used = self.videos.values().map(|(_, used)| *used).max();
        used.map(|used| VIDEO_KEPT.saturating_sub(used.elapsed()))
    }

    /// Video begins anew.
    pub fn end_video(&mut self) {
        self.videos.clear();
    }

    /// The cells as operations for a client with that cache, as far as they fit into so many bytes, at least some; returns
    /// those that did.
    pub fn tiles(
        &mut self,
        pixels: Pixels<'_>,
        Wanted { cells, fresh }: Wanted<'_>,
        cache: &mut TileCache,
        activity: &mut Activity,
        budget: usize,
        ops: &mut Vec<Op>,
    ) -> io::Result<CellSet> {
        let rects = tile_rects(cells);
        let (width, height) = cells.size();
        let mut done = CellSet::empty(width, height);
        let (mut bytes, mut partial_bytes, mut encoded_cells) = (0, 0, 0);
        let is_fresh = |rect: Rect| fresh.is_some_and(|(_, fresh)| fresh.contains_all(rect));
        for batch in batches(&rects) {
            if bytes + partial_bytes > budget {
                // What was found out about these is likely to hold for the others.
                if let Some(each) = bytes.checked_div(encoded_cells) {
                    let rest = cells.without(&done);
                    activity.tiles_took(&rest, each * rest.len());
                }
                break;
            }
            let missing: Vec<Rect> = batch
                .iter()
                .copied()
                .filter(|rect| {
                    let (key, encoded) = self.tile(pixels, *rect);
                    encoded.is_none() && cache.find(key).is_none() && !is_fresh(*rect)
                })
                .collect();
            self.encode(pixels, &missing)?;
            for rect in batch.iter().copied() {
                let mut part = CellSet::empty(width, height);
                part.insert(rect);
                let (key, encoded) = self.tile(pixels, rect);
                let op = if let Some(slot) = cache.find(key) {
                    Op::Cached { rect, slot }
                } else if let Some((differing, _)) = fresh.filter(|_| is_fresh(rect))
                    && let Some((codec, data)) = self.partial(pixels, rect, differing)?
                {
                    // Says nothing of what other cells take.
                    partial_bytes += data.len();
                    Op::Tile { rect, codec, slot: None, data }
                } else {
                    // None: it was in the cache until one before it needed the room.
                    let encoded = match encoded {
                        Some(encoded) => encoded,
                        None => self.encode_one(pixels, rect)?,
                    };
                    let (op, length) = match encoded {
                        Encoded::Fill(rgb) => (Op::Fill { rect, rgb }, 0),
                        Encoded::Tile(codec, data) => {
                            let length = data.len();
                            (Op::Tile { rect, codec, slot: cache.insert(key), data }, length)
                        }
                    };
                    bytes += length;
                    encoded_cells += part.len();
                    activity.tiles_took(&part, length);
                    op
                };
                ops.push(op);
                done.union(&part);
            }
        }
        Ok(done)
    }

    /// What a copy is: operations that move pixels, and others that draw strips over them. All of it or nothing.
    pub fn copy(
        &mut self,
        pixels: Pixels<'_>,
        copy: &Copy,
        activity: &mut Activity,
        ops: &mut Vec<Op>,
    ) -> io::Result<()> {
        ops.extend(copy.ops());
        let mut bytes = 0;
        for rect in copy.strips().into_iter().flat_map(cut_strip) {
            // Not for the client's cache: it is in no tile's place, and does not come again.
            ops.push(match self.strip(pixels, rect, copy.is_coarse())? {
                Encoded::Fill(rgb) => Op::Fill { rect, rgb },
                Encoded::Tile(codec, data) => {
                    bytes += data.len();
                    Op::Tile { rect, codec, slot: None, data }
                }
            });
        }
        copy.strips_took(bytes, activity);
        Ok(())
    }

    /// A tile of the pixels that differ, unless those are many.
    fn partial(
        &mut self,
        pixels: Pixels<'_>,
        rect: Rect,
        differing: &Differing,
    ) -> io::Result<Option<(TileCodec, Bytes)>> {
        if let Some(known) = self.partials.get(&rect) {
            return Ok(known.clone());
        }
        let encoder = self.encoders.first_mut().ok_or_else(|| io::Error::other("there is no encoder"))?;
        let partial = encoder.encode_partial(pixels, rect, |x, y| {
            differing.rows(usize::from(x / CELL), usize::from(y / CELL))[usize::from(y % CELL)] >> (x % CELL) & 1 == 1
        })?;
        self.partials.insert(rect, partial.clone());
        Ok(partial)
    }

    fn strip(&mut self, pixels: Pixels<'_>, rect: Rect, coarse: bool) -> io::Result<Encoded> {
        if let Some(encoded) = self.strips.get(&(rect, coarse)) {
            return Ok(encoded.clone());
        }
        let encoder = self.encoders.first_mut().ok_or_else(|| io::Error::other("there is no encoder"))?;
        let encoded = if coarse { encoder.encode_coarse(pixels, rect) } else { encoder.encode(pixels, rect) }?;
        self.strips.insert((rect, coarse), encoded.clone());
        Ok(encoded)
    }

    fn encode_one(&mut self, pixels: Pixels<'_>, rect: Rect) -> io::Result<Encoded> {
        self.encode(pixels, &[rect])?;
        self.tile(pixels, rect).1.ok_or_else(|| io::Error::other("a tile was not encoded"))
    }

    /// A tile of this picture: what it is known by, and encoded if it is already.
    fn tile(&mut self, pixels: Pixels<'_>, rect: Rect) -> (TileKey, Option<Encoded>) {
        let (key, encoded) = self
            .tiles
            .entry(rect)
            .or_insert_with(|| (TileKey { hash: hash(pixels, rect), width: rect.width, height: rect.height }, None));
        (*key, encoded.clone())
    }

    fn encode(&mut self, pixels: Pixels<'_>, rects: &[Rect]) -> io::Result<()> {
        let area: usize = rects.iter().map(|rect| usize::from(rect.width) * usize::from(rect.height)).sum();
        if area == 0 {
            return Ok(());
        }
        let began = Instant::now();
        let threads = if area < WORTH_A_THREAD { 1 } else { self.encoders.len() };
        let share = rects.len().div_ceil(threads);
        let encoded: Vec<io::Result<Vec<Encoded>>> = std::thread::scope(|scope| {
            let mut parts = rects.chunks(share).zip(&mut self.encoders);
            let first = parts.next();
            let others: Vec<_> = parts
                .map(|(rects, encoder)| {
                    scope.spawn(move || rects.iter().map(|rect| encoder.encode(pixels, *rect)).collect())
                })
                .collect();
            let mine = first.map(|(rects, encoder)| rects.iter().map(|rect| encoder.encode(pixels, *rect)).collect());
            let theirs = others
                .into_iter()
                .map(|other| other.join().unwrap_or_else(|_| Err(io::Error::other("an encoder failed"))));
            mine.into_iter().chain(theirs).collect()
        });
        let mut rects = rects.iter();
        for part in encoded {
            for (encoded, rect) in part?.into_iter().zip(&mut rects) {
                if let Some(tile) = self.tiles.get_mut(rect) {
                    tile.1 = Some(encoded);
                }
            }
        }
        let took = began.elapsed();
        self.tiles_ms = took.as_secs_f32() * 1000.0;
        self.costs.tiles_took(area, took);
        Ok(())
    }

    /// The next video picture of a format and lane, in which `cells` are up to date. `link` is what the slowest of those who get
    /// it carries, bytes a second.
    pub fn video(
        &mut self,
        pixels: Pixels<'_>,
        cells: &CellSet,
        of: (VideoFormat, Lane),
        keyframe: bool,
        link: f64,
    ) -> io::Result<AccessUnit> {
        let began = Instant::now();
        let (width, height) = cells.size();
        self.videos.retain(|_, (_, used)| began.duration_since(*used) < VIDEO_KEPT);
        let (encoder, used) = match self.videos.entry(of) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert((VideoEncoder::open(width, height, of.0, link)?, began))
            }
        };
        *used = began;
        encoder.follow(link);
        let unit = encoder.encode(pixels, &cells.rects(), keyframe);
        match &unit {
            Ok(unit) => {
                let took = began.elapsed();
                self.video_ms = took.as_secs_f32() * 1000.0;
                self.costs.video_took(usize::from(width) * usize::from(height), took);
                self.costs.video_has(cells.area(), unit.data.len());
            }
            Err(_) => {
                self.videos.remove(&of);
            }
        }
        unit
    }
}

/// As many tiles as are worth to wake other threads for, and the rest of them.
fn batches(rects: &[Rect]) -> impl Iterator<Item = &[Rect]> {
    let mut left = rects;
    std::iter::from_fn(move || {
        let mut area = 0;
        let enough = left.iter().position(|rect| {
            area += usize::from(rect.width) * usize::from(rect.height);
            area >= 2 * WORTH_A_THREAD
        });
        let (batch, rest) = left.split_at(enough.map_or(left.len(), |last| last + 1));
        left = rest;
        (!batch.is_empty()).then_some(batch)
    })
}

/// Cuts a strip across into parts that have no more pixels than a tile.
fn cut_strip(strip: Rect) -> Vec<Rect> {
    let most = |across: u16| u16::try_from(LARGEST_TILE / u32::from(across.max(1))).unwrap_or(u16::MAX).max(1);
    let Rect { x, y, width, height } = strip;
    if width >= height {
        cut(x, width, most(height)).map(|(x, width)| Rect { x, width, ..strip }).collect()
    } else {
        cut(y, height, most(width)).map(|(y, height)| Rect { y, height, ..strip }).collect()
    }
}

/// Cuts cells into tiles along the grid.
fn tile_rects(cells: &CellSet) -> Vec<Rect> {
    let (across, down) = (TILE_COLUMNS * CELL, TILE_ROWS * CELL);
    let mut tiles = Vec::new();
    for rect in cells.rects() {
        for (y, height) in cut(rect.y, rect.height, down) {
            tiles.extend(cut(rect.x, rect.width, across).map(|(x, width)| Rect { x, y, width, height }));
        }
    }
    tiles
}

/// Parts of a span that end at multiples of `step`.
fn cut(from: u16, length: u16, step: u16) -> impl Iterator<Item = (u16, u16)> {
    let end = from + length;
    let mut at = from;
    std::iter::from_fn(move || {
        let start = at;
        at = (at / step).saturating_add(1).saturating_mul(step).min(end);
        (start < end).then_some((start, at - start))
    })
}

/// Not secret: whoever draws on the screen sees the screen.
fn hash(pixels: Pixels<'_>, rect: Rect) -> u64 {
    let mut hasher = Xxh3::new();
    for y in rect.y..rect.y + rect.height {
        hasher.update(pixels.row(rect.x, y, rect.width));
    }
    hasher.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A screen of noise, which does not compress.
    fn noise(width: u16, height: u16) -> Vec<u8> {
        let pixels = 0..u32::from(width) * u32::from(height);
        pixels.flat_map(|at| (at.wrapping_mul(0x9E37_79B1) ^ at.wrapping_mul(at)).to_le_bytes()).collect()
    }

    fn whole(cells: &CellSet) -> Wanted<'_> {
        Wanted { cells, fresh: None }
    }

    fn area(ops: &[Op]) -> CellSet {
        let mut area = CellSet::empty(512, 256);
        for op in ops {
            let (Op::Tile { rect, .. } | Op::Fill { rect, .. } | Op::Cached { rect, .. }) = op else {
                panic!("{op:?}")
            };
            area.insert(*rect);
        }
        area
    }

    #[test]
    fn tiles_that_cost_more_than_was_thought_are_left_for_another_decision() {
        let (bytes, all) = (noise(512, 1280), CellSet::all(512, 1280));
        let pixels = Pixels { bytes: &bytes, stride: 512 * 4 };
        let mut encoding = Encoding::new().expect("encoders");
        let mut cache = TileCache::new(1 << 20, LARGEST_TILE);
        let mut activity = Activity::new(512, 1280);
        activity.tiles_took(&all, 0);
        let mut ops = vec![];
        let thought = activity.tile_bytes(&all);
        let done = encoding.tiles(pixels, whole(&all), &mut cache, &mut activity, 100_000, &mut ops).expect("encodes");
        let rest = all.without(&done);
        assert!(!done.is_empty() && !rest.is_empty());
        assert!(activity.tile_bytes(&rest) > thought, "the others are known to cost more");
        let done =
            encoding.tiles(pixels, whole(&rest), &mut cache, &mut activity, usize::MAX, &mut ops).expect("encodes");
        assert_eq!(done, rest);
        let pixels_of = |op: &Op| match op {
            Op::Tile { rect, .. } => usize::from(rect.width) * usize::from(rect.height),
            _ => 0,
        };
        assert_eq!(ops.iter().map(pixels_of).sum::<usize>(), 512 * 1280, "each once");
    }

    #[test]
    fn a_tile_whose_place_in_the_cache_goes_to_one_before_it_is_sent() {
        let (bytes, all) = (noise(512, 256), CellSet::all(512, 256));
        let pixels = Pixels { bytes: &bytes, stride: 512 * 4 };
        let mut encoding = Encoding::new().expect("encoders");
        // Of sixteen tiles some have room.
        let mut cache = TileCache::new(5 * LARGEST_TILE, LARGEST_TILE);
        let mut activity = Activity::new(512, 256);
        for round in 0..4 {
            encoding.captured();
            let mut ops = vec![];
            let done =
                encoding.tiles(pixels, whole(&all), &mut cache, &mut activity, usize::MAX, &mut ops).expect("encodes");
            assert_eq!((&done, &area(&ops)), (&all, &all), "round {round}");
        }
    }

    #[test]
    fn of_what_was_exact_only_what_differs_is_sent_unless_the_client_keeps_all_of_it() {
        let (bytes, size) = (noise(512, 256), (512, 256));
        let pixels = Pixels { bytes: &bytes, stride: 512 * 4 };
        let rect = Rect { x: 16, y: 32, width: 32, height: 16 };
        let (mut cells, mut fresh) = (CellSet::empty(size.0, size.1), CellSet::empty(size.0, size.1));
        cells.insert(rect);
        fresh.insert(rect);
        let mut differing = Differing::default();
        differing.note(1, 33, &[0; 64], &[[1; 8], [0; 8], [0; 8], [0; 8], [0; 8], [0; 8], [0; 8], [0; 8]].concat());
        let mut encoding = Encoding::new().expect("encoders");
        let (mut cache, mut activity) = (TileCache::new(1 << 20, LARGEST_TILE), Activity::new(size.0, size.1));
        let mut codec = |fresh: &CellSet, cache: &mut TileCache| {
            let mut ops = vec![];
            let wanted = Wanted { cells: &cells, fresh: Some((&differing, fresh)) };
            encoding.tiles(pixels, wanted, cache, &mut activity, usize::MAX, &mut ops).expect("encodes");
            let [op] = &ops[..] else { panic!("{ops:?}") };
            match op {
                Op::Tile { codec, slot, data, .. } => Some((*codec, slot.is_some(), data.len() < 40)),
                _ => None,
            }
        };
        assert_eq!(codec(&fresh, &mut cache), Some((TileCodec::Partial, false, true)));
        let mut half = fresh.clone();
        half.subtract(&{
            let mut one = CellSet::empty(size.0, size.1);
            one.insert_cell(1, 2);
            one
        });
        assert!(matches!(codec(&half, &mut cache), Some((TileCodec::Planes | TileCodec::Raw, true, false))));
        assert_eq!(codec(&fresh, &mut cache), None, "it is kept now");
    }

    #[test]
    fn tiles_are_cut_along_the_grid() {
        let mut cells = CellSet::empty(400, 100);
        cells.insert(Rect { x: 100, y: 60, width: 200, height: 10 });
        let rect = |x, y, width, height| Rect { x, y, width, height };
        assert_eq!(
            tile_rects(&cells),
            [
                rect(96, 48, 32, 16),
                rect(128, 48, 128, 16),
                rect(256, 48, 48, 16),
                rect(96, 64, 32, 16),
                rect(128, 64, 128, 16),
                rect(256, 64, 48, 16),
            ]
        );
    }
}
