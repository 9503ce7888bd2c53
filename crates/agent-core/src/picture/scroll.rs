//! Finds out that pixels only moved: a canvas was panned, a list scrolled. Compares two pictures of one screen.
//!
//! Squares of the picture before, at all heights of some columns, go into a table by a hash of their pixels; squares of
//! the picture now, at all places of some rows, are looked up there. Whatever the way, some meet. One way must be named
//! far more often than any other; it then is verified, pixel by pixel: a hash never decides what is shown.

use std::collections::BTreeMap;

use protocol::stream::Rect;

use super::cells::{CELL, CellSet};

/// Bytes of a pixel.
const PIXEL: usize = 4;
/// Side of the squares, pixels: enough for a pattern that a zoom has made coarse.
const SQUARE: usize = 16;
/// Between the columns, and between the rows, that are looked at, where little and where much changed. Primes: lines of
/// text and patterns have other distances, so that each is met at another height.
const STEPS: (usize, usize) = (31, 61);
/// Cells that are much.
const MUCH: usize = 2048;
/// Changes of fewer cells are as soon sent.
pub const WORTH_A_SEARCH: usize = 64;
/// Found squares that make a way believable.
const VOTES: usize = 4;
/// Changed cells that must have come from elsewhere.
const WORTH_A_MOTION: usize = 32;
/// Fewer pixels of a cell at the edge that look as if they had moved are chance.
const LEAST_PART: u32 = 16;
/// More cells at the edge are not that of a canvas, even on the largest screen. Each takes microseconds.
const MOST_EDGES: usize = 2048;
/// So many parts of a cell are tried that rest while they look as if they had moved.
const MOST_TRIES: usize = 3;
/// Cells from what moved that are still looked at, one way: more than a hand pans by between two pictures.
const FARTHEST_EDGE: isize = 5;

/// Two pictures of a screen in memory, four bytes a pixel, rows from the top.
#[derive(Debug, Clone, Copy)]
pub struct Pictures<'a> {
    pub before: &'a [u8],
    pub now: &'a [u8],
    /// Bytes from one row to the next, of both.
    pub stride: usize,
}

/// Part of a picture shows what the one before it showed elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Motion {
    pub way: Way,
    /// Cells whose every pixel is the one that was `way` before it; also some that look the same as before.
    pub cells: CellSet,
    /// Changed cells beside them, of which some may have come that way.
    pub edges: Vec<Edge>,
}

/// A changed cell at the edge of what moved, not all of which came that way. Rectangles of the screen within it, maybe empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    pub column: usize,
    pub row: usize,
    /// All of this came the motion's way.
    pub part: Rect,
    /// Outside of the part and of this nothing changed.
    pub rest: Rect,
    /// All outside of the part.
    pub beyond: Rect,
}

/// How far something moved, pixels to the right and down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    pub dx: i32,
    pub dy: i32,
}

impl Way {
    /// Where the pixels of a rectangle came from; none when not from the screen of that many pixels.
    pub fn source(self, to: Rect, (width, height): (u16, u16)) -> Option<Rect> {
        let from = |at: u16, length: u16, way: i32, limit: u16| {
            u16::try_from(i32::from(at) - way)
                .ok()
                .filter(|from| from.checked_add(length).is_some_and(|end| end <= limit))
        };
        let (x, y) = (from(to.x, to.width, self.dx, width)?, from(to.y, to.height, self.dy, height)?);
        Some(Rect { x, y, ..to })
    }

    /// The part of a rectangle whose pixels came from the screen of that many pixels; none: no pixel did.
    pub fn reach(self, to: Rect, (width, height): (u16, u16)) -> Option<Rect> {
        let part = |at: u16, length: u16, way: i32, limit: u16| {
            let first = i32::from(at).max(way);
            let end = (i32::from(at) + i32::from(length)).min(i32::from(limit) + way);
            Some((u16::try_from(first).ok()?, u16::try_from(end - first).ok().filter(|length| *length > 0)?))
        };
        let ((x, width), (y, height)) =
            (part(to.x, to.width, self.dx, width)?, part(to.y, to.height, self.dy, height)?);
        Some(Rect { x, y, width, height })
    }

    /// First this, then the other.
    pub fn then(self, other: Self) -> Self {
        Self { dx: self.dx + other.dx, dy: self.dy + other.dy }
    }
}

/// The motion that explains most of what changed, if one does.
pub fn find_motion(pictures: Pictures<'_>, changed: &CellSet) -> Option<Motion> {
    if changed.len() < WORTH_A_SEARCH {
        return None;
    }
    let (width, height) = changed.size();
    let area = changed.bounds();
    let whole = usize::from(height).checked_sub(1)? * pictures.stride + usize::from(width) * PIXEL;
    if pictures.before.len() < whole || pictures.now.len() < whole {
        return None;
    }
    let way = likely_way(pictures, area, changed)?;
    let cells = verified(pictures, area, changed.size(), way);
    if cells.overlap(changed).len() < WORTH_A_MOTION {
        return None;
    }
    let edges = edges(pictures, changed, &cells, way);
    Some(Motion { way, cells, edges })
}

/// A square's hash is the sum of its pixels, each times a power of `ACROSS` and one of `DOWN`: so it can be taken along
/// rows or along columns first, and the next follows from the one before. `DOWN` is multiplied with most.
const ACROSS: u32 = 0x9E37_79B1;
const DOWN: u32 = 31;

/// Falling powers, and the one that leaves the sum of a full square.
const fn powers(factor: u32) -> ([u32; SQUARE], u32) {
    let mut powers = [1_u32; SQUARE];
    let mut at = SQUARE - 1;
    while at > 0 {
        powers[at - 1] = powers[at].wrapping_mul(factor);
        at -= 1;
    }
    (powers, powers[0].wrapping_mul(factor))
}

const WEIGHTS: [u32; SQUARE] = powers(ACROSS).0;
const LEAVES_ACROSS: u32 = powers(ACROSS).1;
const LEAVES_DOWN: u32 = powers(DOWN).1;

fn hash_row(pixels: &[u8]) -> u32 {
    let weighted = pixels.as_chunks().0.iter().zip(&WEIGHTS).map(|(pixel, weight)| value(*pixel).wrapping_mul(*weight));
    weighted.fold(0, u32::wrapping_add)
}

fn value(pixel: [u8; PIXEL]) -> u32 {
    u32::from_le_bytes(pixel)
}

/// The table of squares: where each was seen, unless at several places.
struct Squares {
    /// Hash, x, y; the hash 0 stands for nothing.
    slots: Vec<(u32, u16, u16)>,
    shift: u32,
}

const SEVERAL: u16 = u16::MAX;

impl Squares {
    fn with_room(count: usize) -> Self {
        let slots = (count * 2).next_power_of_two().max(2);
        Self { slots: vec![(0, 0, 0); slots], shift: u32::BITS - slots.ilog2() }
    }

    fn slot(&self, hash: u32) -> usize {
        // The low bits of the sums are weak.
        ((hash ^ (hash >> 15)).wrapping_mul(ACROSS) >> self.shift) as usize
    }

    /// One that finds another in its place is left out.
    fn insert(&mut self, hash: u32, x: u16, y: u16) {
        let at = self.slot(hash);
        let slot = &mut self.slots[at];
        if slot.0 == 0 {
            *slot = (hash, x, y);
        } else if slot.0 == hash {
            slot.1 = SEVERAL;
        }
    }

    fn find(&self, hash: u32) -> Option<(u16, u16)> {
        let (known, x, y) = self.slots[self.slot(hash)];
        (known == hash && known != 0 && x != SEVERAL).then_some((x, y))
    }
}

/// The way that far more of the squares name than any other.
fn likely_way(pictures: Pictures<'_>, area: Rect, changed: &CellSet) -> Option<Way> {
    let step = if changed.len() < MUCH { STEPS.0 } else { STEPS.1 };
    let squares = squares_before(pictures, area, step);
    let mut ways = ways_now(pictures, area, step, changed, &squares);
    ways.sort_unstable();
    let mut votes: Vec<(usize, Way)> = ways.chunk_by(|a, b| a == b).map(|same| (same.len(), same[0])).collect();
    votes.sort_unstable();
    let (most, way) = votes.pop()?;
    // Text has squares with a speck or two that look like others elsewhere: many ways, but of each few.
    let next = votes.last().map_or(0, |(count, _)| *count);
    (most >= VOTES && most > 2 * next).then_some(way)
}

/// Squares at all heights of every `step`th column.
fn squares_before(pictures: Pictures<'_>, area: Rect, step: usize) -> Squares {
    let columns: Vec<u16> = (area.x..area.x + area.width)
        .step_by(step)
        .filter(|x| usize::from(*x) + SQUARE <= usize::from(area.x + area.width))
        .collect();
    let mut squares = Squares::with_room(columns.len() * usize::from(area.height));
    // Of each column: the hashes of its last rows, and their sum.
    let mut sums = vec![([0_u32; SQUARE], 0_u32); columns.len()];
    for (done, y) in (area.y..area.y + area.height).enumerate() {
        for (x, (rows, sum)) in columns.iter().zip(&mut sums) {
            let from = usize::from(y) * pictures.stride + usize::from(*x) * PIXEL;
            let row = hash_row(&pictures.before[from..from + SQUARE * PIXEL]);
            let gone = std::mem::replace(&mut rows[done % SQUARE], row);
            let leaves = gone.wrapping_mul(LEAVES_DOWN);
            *sum = sum.wrapping_mul(DOWN).wrapping_sub(leaves).wrapping_add(row);
            if let Some(top) = (done + 1).checked_sub(SQUARE) {
                squares.insert(*sum, *x, area.y + u16::try_from(top).unwrap_or_default());
            }
        }
    }
    squares
}

/// The ways that known squares have come to every `step`th row, all along it.
fn ways_now(pictures: Pictures<'_>, area: Rect, step: usize, changed: &CellSet, squares: &Squares) -> Vec<Way> {
    let mut ways = Vec::new();
    let mut columns = vec![0_u32; area.width.into()];
    for y in (area.y..area.y + area.height).step_by(step) {
        if usize::from(y) + SQUARE > usize::from(area.y + area.height) {
            break;
        }
        columns.fill(0);
        for row in usize::from(y)..usize::from(y) + SQUARE {
            let from = row * pictures.stride + usize::from(area.x) * PIXEL;
            let pixels = pictures.now[from..from + columns.len() * PIXEL].as_chunks().0;
            for (sum, pixel) in columns.iter_mut().zip(pixels) {
                *sum = sum.wrapping_mul(DOWN).wrapping_add(value(*pixel));
            }
        }
        let mut sum = 0_u32;
        for (at, next) in columns.iter().enumerate() {
            let gone = at.checked_sub(SQUARE).map_or(0, |first| columns[first]);
            let leaves = gone.wrapping_mul(LEAVES_ACROSS);
            sum = sum.wrapping_mul(ACROSS).wrapping_sub(leaves).wrapping_add(*next);
            let Some(left) = (at + 1).checked_sub(SQUARE) else { continue };
            let x = area.x + u16::try_from(left).unwrap_or_default();
            if let Some((from_x, from_y)) = squares.find(sum)
                && changed.contains(usize::from(x / CELL), usize::from(y / CELL))
                && (from_x, from_y) != (x, y)
            {
                ways.push(Way { dx: i32::from(x) - i32::from(from_x), dy: i32::from(y) - i32::from(from_y) });
            }
        }
    }
    ways
}

/// Cells of the area, which has whole ones, that came that way as they are.
fn verified(pictures: Pictures<'_>, area: Rect, (width, height): (u16, u16), way: Way) -> CellSet {
    let mut cells = CellSet::empty(width, height);
    let right = area.x + area.width;
    for y in (area.y..area.y + area.height).step_by(CELL.into()) {
        // What came from the screen: as all rows of cells have the same columns, one run of them.
        let cell = |x: u16| Rect { x, y, width: CELL.min(right - x), height: CELL.min(area.y + area.height - y) };
        let columns = (area.x..right).step_by(CELL.into()).map(cell);
        let mut alive: Vec<(Rect, Rect)> =
            columns.filter_map(|to| way.source(to, (width, height)).map(|from| (to, from))).collect();
        for row in 0..CELL {
            let (Some((to, from)), Some((last, _))) = (alive.first(), alive.last()) else { break };
            if row >= to.height {
                break;
            }
            let length = last.x + last.width - to.x;
            if pictures.equal(*to, *from, row, length) {
                continue;
            }
            alive.retain(|(to, from)| pictures.equal(*to, *from, row, to.width));
        }
        for (to, _) in alive {
            cells.insert(to);
        }
    }
    cells
}

/// Changed cells no farther from those that moved than these did. Some of each may have come that way as well.
fn edges(pictures: Pictures<'_>, changed: &CellSet, moved: &CellSet, way: Way) -> Vec<Edge> {
    let cells = |pixels: i32| {
        let cells = pixels.unsigned_abs().div_ceil(u32::from(CELL));
        // What is parted itself lies between.
        isize::try_from(cells + 1).unwrap_or(FARTHEST_EDGE).min(FARTHEST_EDGE)
    };
    let (across, down) = (cells(way.dx), cells(way.dy));
    let is_near = |(column, row): &(usize, usize)| {
        let mut around = (-across..=across).flat_map(|right| (-down..=down).map(move |below| (right, below)));
        around.any(|(right, below)| {
            let cell = column.checked_add_signed(right).zip(row.checked_add_signed(below));
            cell.is_some_and(|(column, row)| moved.contains(column, row))
        })
    };
    let part = |(column, row): (usize, usize)| {
        let to = changed.rect(column, row);
        let has_moved = |right: isize, below: isize| {
            let cell = column.checked_add_signed(right).zip(row.checked_add_signed(below));
            cell.is_some_and(|(column, row)| moved.contains(column, row))
        };
        let beside =
            Sides { above: has_moved(0, -1), below: has_moved(0, 1), left: has_moved(-1, 0), right: has_moved(1, 0) };
        let part = way
            .reach(to, changed.size())
            .and_then(|reached| pictures.equal_part(reached, way.source(reached, changed.size())?, beside));
        ((column, row), part)
    };
    let near: Vec<_> = changed.without(moved).iter().filter(is_near).collect();
    if near.len() > MOST_EDGES {
        return vec![];
    }
    let mut parts: Vec<_> = near.into_iter().map(part).collect();
    align(&mut parts, changed);
    parts
        .into_iter()
        .map(|((column, row), part)| edge(pictures, (column, row), changed.rect(column, row), part))
        .collect()
}

/// A cell, and what of it came.
type Part = ((usize, usize), Option<Rect>);

/// Beside what moved a line or two may look as if it had, in some cells and not in others. In each row of cells, and each
/// column, what came ends where it does in most, so that the parts are one rectangle.
fn align(parts: &mut [Part], cells: &CellSet) {
    let most_common = |spans: &mut Vec<(usize, u16, u16)>| {
        spans.sort_unstable();
        let mut common: BTreeMap<usize, (usize, u16, u16)> = BTreeMap::new();
        for same in spans.chunk_by(|a, b| a == b) {
            let (line, from, length) = same[0];
            let best = common.entry(line).or_default();
            *best = (*best).max((same.len(), from, length));
        }
        common
    };
    let within = |(from, length): (u16, u16), (at, size): (u16, u16)| at <= from && from + length <= at + size;
    let across = |((column, row), part): &Part| {
        part.filter(|part| part.width == cells.rect(*column, *row).width).map(|part| (*row, part.y, part.height))
    };
    let rows = most_common(&mut parts.iter().filter_map(across).collect());
    for part in parts.iter_mut() {
        if let Some((row, y, height)) = across(part)
            && let Some((_, top, common)) = rows.get(&row)
            && within((*top, *common), (y, height))
        {
            part.1 = part.1.map(|rect| Rect { y: *top, height: *common, ..rect });
        }
    }
    let down = |((column, row), part): &Part| {
        part.filter(|part| part.height == cells.rect(*column, *row).height).map(|part| (*column, part.x, part.width))
    };
    let columns = most_common(&mut parts.iter().filter_map(down).collect());
    for part in parts.iter_mut() {
        if let Some((column, x, width)) = down(part)
            && let Some((_, left, common)) = columns.get(&column)
            && within((*left, *common), (x, width))
        {
            part.1 = part.1.map(|rect| Rect { x: *left, width: *common, ..rect });
        }
    }
}

fn edge(pictures: Pictures<'_>, (column, row): (usize, usize), to: Rect, part: Option<Rect>) -> Edge {
    let nothing = Rect { width: 0, height: 0, ..to };
    let Some(part) = part else {
        let rest = pictures.unequal(to, to).unwrap_or(to);
        return Edge { column, row, part: nothing, rest, beyond: to };
    };
    let sides = beyond(to, part);
    let hull = |rects: &mut dyn Iterator<Item = Rect>| rects.reduce(Rect::hull).unwrap_or(nothing);
    let rest = hull(&mut sides.iter().filter_map(|side| pictures.unequal(*side, *side)));
    Edge { column, row, part, rest, beyond: hull(&mut sides.iter().copied()) }
}

/// What a rectangle has on the sides of its part.
fn beyond(whole: Rect, part: Rect) -> Vec<Rect> {
    let (right, bottom) = (part.x + part.width, part.y + part.height);
    let sides = [
        Rect { width: part.x - whole.x, ..whole },
        Rect { x: right, width: whole.x + whole.width - right, ..whole },
        Rect { height: part.y - whole.y, ..whole },
        Rect { y: bottom, height: whole.y + whole.height - bottom, ..whole },
    ];
    sides.into_iter().filter(|side| side.area() > 0).collect()
}

/// On which sides of a cell there are cells that moved wholly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sides {
    above: bool,
    below: bool,
    left: bool,
    right: bool,
}

/// The largest rectangle within whose rows all bits are set, at one of those sides if there are any: row, rows, lowest bit,
/// bits.
fn largest_set(rows: &[u16], columns: u32, sides: Sides) -> (usize, usize, u32, u32) {
    let mut best = (0, 0, 0, 0);
    for top in 0..rows.len() {
        let mut common = u16::MAX;
        for (height, row) in (1..).zip(&rows[top..]) {
            common &= row;
            let mut take = |from: u32, length: u32| {
                if height * length as usize > best.1 * best.3 as usize {
                    best = (top, height, from, length);
                }
            };
            if sides.left {
                take(0, common.trailing_ones());
            }
            if sides.right {
                let ones = (common << (u16::BITS - columns)).leading_ones().min(columns);
                take(columns - ones, ones);
            }
            let at_row = sides.above && top == 0 || sides.below && top + height == rows.len();
            if at_row || sides == Sides::default() {
                // Each step leaves the ends of the runs that are longer by one.
                let (mut ends, mut longest, mut length) = (common, 0, 0);
                while ends != 0 {
                    longest = ends;
                    length += 1;
                    ends &= ends << 1;
                }
                take((longest.trailing_zeros() + 1).saturating_sub(length), length);
            }
        }
    }
    best
}

impl Pictures<'_> {
    /// The largest part of a rectangle now, no larger than a cell, that is as it was in the other before, and not there: at
    /// one of these sides, since a ruler beside a canvas may look as if it had come as well.
    fn equal_part(&self, now: Rect, before: Rect, beside: Sides) -> Option<Rect> {
        let pixel = |bytes: &[u8], at: Rect, column: u16, row: u16| {
            let from = usize::from(at.y + row) * self.stride + usize::from(at.x + column) * PIXEL;
            <[u8; PIXEL]>::try_from(&bytes[from..from + PIXEL]).unwrap_or_default()
        };
        let equal = |row: u16| {
            let columns = (0..now.width.min(CELL))
                .filter(|column| pixel(self.now, now, *column, row) == pixel(self.before, before, *column, row));
            columns.fold(0, |bits, column| bits | 1_u16 << column)
        };
        let mut rows: Vec<u16> = (0..now.height).map(equal).collect();
        for _ in 0..MOST_TRIES {
            let (top, height, left, width) = largest_set(&rows, now.width.min(CELL).into(), beside);
            let columns = u16::try_from(((1_u32 << width) - 1) << left).unwrap_or(u16::MAX);
            let small = |value: usize| u16::try_from(value).unwrap_or_default();
            let (x, y) = (now.x + small(left as usize), now.y + small(top));
            let part = Rect { x, y, width: small(width as usize), height: small(height) };
            if part.area() < LEAST_PART {
                return None;
            }
            if self.unequal(part, part).is_some() {
                return Some(part);
            }
            // Of one colour, it looks as if it had come from beside it, too.
            rows[top..top + height].iter_mut().for_each(|row| *row &= !columns);
        }
        None
    }

    /// The smallest part of one rectangle now that holds all that is not as it was in the other before; none: all is.
    fn unequal(&self, now: Rect, before: Rect) -> Option<Rect> {
        let mut bounds: Option<(u16, u16, u16, u16)> = None;
        for row in 0..now.height {
            if self.equal(now, before, row, now.width) {
                continue;
            }
            for column in 0..now.width {
                let one = |rect: Rect| Rect { x: rect.x + column, ..rect };
                if !self.equal(one(now), one(before), row, 1) {
                    let (left, top, right, _) = bounds.unwrap_or((column, row, column, row));
                    bounds = Some((left.min(column), top, right.max(column), row));
                }
            }
        }
        let (left, top, right, bottom) = bounds?;
        let (width, height) = (right + 1 - left, bottom + 1 - top);
        Some(Rect { x: now.x + left, y: now.y + top, width, height })
    }

    /// Whether so many pixels in a row of one rectangle now are those of the other before.
    fn equal(&self, now: Rect, before: Rect, row: u16, length: u16) -> bool {
        let bytes = |at: Rect| {
            let start = usize::from(at.y + row) * self.stride + usize::from(at.x) * PIXEL;
            start..start + usize::from(length) * PIXEL
        };
        self.now[bytes(now)] == self.before[bytes(before)]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;

    /// A picture, whole cells, as capture keeps it.
    #[derive(Clone)]
    struct Image {
        width: u16,
        height: u16,
        stride: usize,
        bytes: Vec<u8>,
    }

    impl Image {
        fn new(width: u16, height: u16, pixel: impl Fn(u16, u16) -> u32) -> Self {
            let whole = |pixels: u16| usize::from(pixels).next_multiple_of(CELL.into());
            let stride = whole(width) * PIXEL;
            let mut image = Self { width, height, stride, bytes: vec![0; stride * whole(height)] };
            image.draw(Rect { x: 0, y: 0, width, height }, pixel);
            image
        }

        fn at(&self, x: u16, y: u16) -> usize {
            usize::from(y) * self.stride + usize::from(x) * PIXEL
        }

        fn pixel(&self, x: u16, y: u16) -> [u8; PIXEL] {
            self.bytes[self.at(x, y)..][..PIXEL].try_into().expect("four")
        }

        fn draw(&mut self, rect: Rect, pixel: impl Fn(u16, u16) -> u32) {
            for y in rect.y..(rect.y + rect.height).min(self.height) {
                for x in rect.x..(rect.x + rect.width).min(self.width) {
                    let at = self.at(x, y);
                    self.bytes[at..at + PIXEL].copy_from_slice(&pixel(x, y).to_le_bytes());
                }
            }
        }

        /// What is in the rectangle moves; where nothing comes from it is drawn anew.
        fn pan(&self, area: Rect, way: Way, pixel: impl Fn(u16, u16) -> u32) -> Self {
            let mut panned = self.clone();
            panned.draw(area, |x, y| {
                let from = way.source(Rect { x, y, width: 1, height: 1 }, (self.width, self.height));
                let within = |from: &Rect| {
                    (area.x..area.x + area.width).contains(&from.x) && (area.y..area.y + area.height).contains(&from.y)
                };
                from.filter(within).map_or_else(|| pixel(x, y), |from| u32::from_le_bytes(self.pixel(from.x, from.y)))
            });
            panned
        }

        fn changed(&self, before: &Self) -> CellSet {
            let mut changed = CellSet::empty(self.width, self.height);
            for (column, row) in CellSet::all(self.width, self.height).iter() {
                let Rect { x, y, width, height } = changed.rect(column, row);
                if (y..y + height).any(|y| (x..x + width).any(|x| self.pixel(x, y) != before.pixel(x, y))) {
                    changed.insert_cell(column, row);
                }
            }
            changed
        }

        fn motion(&self, before: &Self) -> Option<Motion> {
            let pictures = Pictures { before: &before.bytes, now: &self.bytes, stride: self.stride };
            find_motion(pictures, &self.changed(before))
        }
    }

    fn noise(x: u16, y: u16) -> u32 {
        let mut hash = u32::from(x).wrapping_mul(0x85EB_CA6B) ^ u32::from(y).wrapping_mul(0xC2B2_AE35) ^ 0x27D4_EB2F;
        hash ^= hash >> 15;
        hash = hash.wrapping_mul(0x2C1B_3C6D);
        (hash ^ (hash >> 12)) & 0x00FF_FFFF
    }

    /// What canvases are like: noise, also enlarged, text on paper, a chequerboard, one colour, two slopes.
    fn content(kind: u8, x: u16, y: u16) -> u32 {
        match kind {
            0 => noise(x, y),
            1 => noise(x / 8, y / 8),
            2 => [0xFF_FFFF, 0][usize::from(noise(x, y / 2).is_multiple_of(9) && y % 24 < 12)],
            3 => [0x66_6666, 0x99_9999][usize::from((x / 8 + y / 8) % 2)],
            4 => 0x30_3030,
            5 => u32::from(x) * 7 + u32::from(y) * 3,
            _ => {
                if noise(x / 64, y / 64).is_multiple_of(3) {
                    noise(x, y)
                } else {
                    0x40_4040
                }
            }
        }
    }

    fn area() -> impl Strategy<Value = Rect> {
        (0_u16..300, 0_u16..200, 1_u16..500, 1_u16..400).prop_map(|(x, y, width, height)| Rect { x, y, width, height })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]
        #[test]
        fn what_is_said_to_have_moved_is_equal(
            (width, height) in (200_u16..500, 150_u16..400),
            before in 0_u8..7,
            pan in area(),
            way in (-70_i32..70, -70_i32..70),
            over in proptest::collection::vec((area(), 0_u8..7), 0..3),
            specks in proptest::collection::vec((0_u16..500, 0_u16..400), 0..30),
        ) {
            let old = Image::new(width, height, |x, y| content(before, x, y));
            let mut new = old.pan(pan, Way { dx: way.0, dy: way.1 }, |x, y| noise(y, x));
            for (rect, kind) in over {
                new.draw(Rect { width: rect.width / 4, height: rect.height / 4, ..rect }, |x, y| content(kind, x + 5, y));
            }
            for (x, y) in specks {
                new.draw(Rect { x, y, width: 1, height: 1 }, |_, _| 0xFF_00FF);
            }
            if let Some(motion) = new.motion(&old) {
                prop_assert!(!motion.cells.is_empty());
                let nothing = Rect { x: 0, y: 0, width: 0, height: 0 };
                let whole = motion.cells.iter().map(|(column, row)| {
                    Edge { column, row, part: motion.cells.rect(column, row), rest: nothing, beyond: nothing }
                });
                for Edge { column, row, part, rest, beyond } in whole.chain(motion.edges.iter().copied()) {
                    let to = motion.cells.rect(column, row);
                    for (y, x) in (to.y..to.y + to.height).flat_map(|y| (to.x..to.x + to.width).map(move |x| (y, x))) {
                        let lies_in = |rect: Rect| {
                            (rect.x..rect.x + rect.width).contains(&x) && (rect.y..rect.y + rect.height).contains(&y)
                        };
                        let pixel = Rect { x, y, width: 1, height: 1 };
                        let came = |from: Rect| new.pixel(x, y) == old.pixel(from.x, from.y);
                        if lies_in(part) {
                            prop_assert!(motion.way.source(pixel, (width, height)).is_some_and(came));
                        } else {
                            prop_assert!(lies_in(beyond));
                            prop_assert!(lies_in(rest) || new.pixel(x, y) == old.pixel(x, y));
                        }
                    }
                }
                let new_cells = motion.edges.iter().all(|edge| !motion.cells.contains(edge.column, edge.row));
                prop_assert!(new_cells, "once is enough");
            }
        }

        #[test]
        fn a_pan_of_a_picture_is_found_whatever_its_way(
            kind in prop_oneof![Just(0_u8), Just(1), Just(2), Just(6)],
            way in (-90_i32..90, -90_i32..90),
        ) {
            let way = Way { dx: way.0, dy: way.1 };
            prop_assume!(way != Way { dx: 0, dy: 0 });
            let area = Rect { x: 40, y: 24, width: 400, height: 340 };
            let old = Image::new(450, 377, |x, y| content(kind, x, y));
            let new = old.pan(area, way, |x, y| noise(y, x));
            let motion = new.motion(&old);
            let motion = motion.ok_or_else(|| TestCaseError::fail("no motion"))?;
            prop_assert_eq!(motion.way, way);
            // All but cells at the edges, which hold something else as well.
            let within = |rect: Rect| {
                let ends = |at: u16, length: u16, from: u16, size: u16| from <= at && at + length <= from + size;
                ends(rect.x, rect.width, area.x, area.width) && ends(rect.y, rect.height, area.y, area.height)
            };
            for (column, row) in new.changed(&old).without(&motion.cells).iter() {
                let to = motion.cells.rect(column, row);
                prop_assert!(!within(to) || !way.source(to, (450, 377)).is_some_and(within), "{:?}", to);
            }
        }
    }

    #[test]
    fn of_cells_at_the_edge_a_strip_is_left() {
        let old = Image::new(450, 377, noise);
        let new = old.pan(Rect { x: 32, y: 16, width: 384, height: 352 }, Way { dx: 0, dy: -6 }, |x, y| noise(y, x));
        let lowest = |column: usize| {
            let x = u16::try_from(column).expect("small") * CELL;
            let rest = Rect { x, y: 362, width: CELL, height: 6 };
            Edge { column, row: 22, part: Rect { x, y: 352, width: CELL, height: 10 }, rest, beyond: rest }
        };
        assert_eq!(new.motion(&old).expect("a motion").edges, (2..26).map(lowest).collect::<Vec<_>>());
        // Across as well: of the corner all is new but what lies within both.
        let new = old.pan(Rect { x: 32, y: 16, width: 384, height: 352 }, Way { dx: 2, dy: -6 }, |x, y| noise(y, x));
        let edges = new.motion(&old).expect("a motion").edges;
        let edge = |column: usize, row: usize| {
            let found = edges.iter().find(|edge| (edge.column, edge.row) == (column, row)).expect("an edge");
            (found.part, found.rest)
        };
        let rect = |x, y, width, height| Rect { x, y, width, height };
        assert_eq!(edge(2, 5), (rect(34, 80, 14, CELL), rect(32, 80, 2, CELL)));
        assert_eq!(edge(2, 22), (rect(34, 352, 14, 10), rect(32, 352, CELL, CELL)));
        assert_eq!(edges.len(), 24 + 21);
    }

    #[test]
    fn a_cell_that_what_moves_shares_with_what_rests_is_parted_between_them() {
        let old = Image::new(450, 377, noise);
        // Five rows of the uppermost cells, and of each but the last five of the lowest.
        let area = Rect { x: 32, y: 27, width: 384, height: 342 };
        let mut new = old.pan(area, Way { dx: 0, dy: -6 }, |x, y| noise(y, x));
        new.draw(Rect { x: 100, y: 20, width: 3, height: 2 }, |_, _| 1);
        let motion = new.motion(&old).expect("a motion");
        let edge = |column: usize, row: usize| {
            let found = motion.edges.iter().find(|edge| (edge.column, edge.row) == (column, row)).expect("an edge");
            (found.part, found.rest, found.beyond)
        };
        let rect = |x, y, width, height| Rect { x, y, width, height };
        assert_eq!(edge(2, 1), (rect(32, 27, CELL, 5), rect(32, 16, 0, 0), rect(32, 16, CELL, 11)));
        assert_eq!(edge(6, 1), (rect(96, 27, CELL, 5), rect(100, 20, 3, 2), rect(96, 16, CELL, 11)));
        let (_, rest, beyond) = edge(2, 22);
        assert_eq!((rest, beyond), (rect(32, 363, CELL, 5), rect(32, 363, CELL, 5)));
    }

    #[test]
    fn what_came_ends_in_a_line() {
        let old = Image::new(450, 377, noise);
        let mut new =
            old.pan(Rect { x: 32, y: 27, width: 384, height: 342 }, Way { dx: 0, dy: -6 }, |x, y| noise(y, x));
        // Above what moved a few pixels happen to be those that would have come.
        new.draw(Rect { x: 64, y: 26, width: 32, height: 1 }, |x, y| noise(x, y + 6));
        let edges = new.motion(&old).expect("a motion").edges;
        let tops: Vec<_> =
            edges.iter().filter(|edge| edge.row == 1).map(|edge| (edge.part.y, edge.part.height)).collect();
        assert_eq!(tops, vec![(27, 5); 24]);
        let chance = edges.iter().find(|edge| (edge.column, edge.row) == (4, 1)).expect("an edge");
        assert_eq!(chance.rest, Rect { x: 64, y: 26, width: CELL, height: 1 });
    }

    #[test]
    fn the_largest_rectangle_of_bits() {
        let all = |rows: &[u16]| largest_set(rows, 16, Sides::default());
        assert_eq!(all(&[0, 0b0110, 0b1111, 0b0111]), (1, 3, 1, 2));
        assert_eq!(all(&[u16::MAX; 16]), (0, 16, 0, 16));
        assert_eq!(all(&[1 << 15]), (0, 1, 15, 1));
        assert_eq!(all(&[0; 16]), (0, 0, 0, 0));
        let rows = [0b1111, 0b1111, 0b0100, 0b0011, 0b1001];
        let at = |sides| largest_set(&rows, 4, sides);
        assert_eq!(at(Sides { above: true, ..Sides::default() }), (0, 2, 0, 4));
        assert_eq!(at(Sides { below: true, ..Sides::default() }), (3, 2, 0, 1));
        assert_eq!(at(Sides { left: true, below: true, ..Sides::default() }), (0, 2, 0, 4));
        assert_eq!(
            largest_set(&[0b0110, 0b1000, 0b1001, 0b1000], 4, Sides { right: true, ..Sides::default() }),
            (1, 3, 3, 1)
        );
        assert_eq!(largest_set(&[0b0100], 4, Sides { right: true, ..Sides::default() }), (0, 0, 0, 0));
    }

    #[test]
    fn text_panned_far_is_found() {
        let old = Image::new(450, 377, |x, y| content(2, x, y));
        let way = Way { dx: 0, dy: -65 };
        let new = old.pan(Rect { x: 40, y: 24, width: 400, height: 340 }, way, |x, y| noise(y, x));
        assert_eq!(new.motion(&old).map(|motion| motion.way), Some(way));
    }

    #[test]
    fn nothing_moved_in_another_picture_or_a_little_one() {
        let old = Image::new(640, 480, noise);
        let other = Image::new(640, 480, |x, y| noise(y, x));
        assert_eq!(other.motion(&old), None);
        let zoomed = Image::new(640, 480, |x, y| noise(x / 2 + 100, y / 2 + 80));
        assert_eq!(zoomed.motion(&old), None);
        let little = old.pan(Rect { x: 64, y: 64, width: 96, height: 96 }, Way { dx: 3, dy: 0 }, |x, y| noise(y, x));
        assert_eq!(little.motion(&old), None);
        let flat = Image::new(640, 480, |_, _| 0x30_3030);
        assert_eq!(flat.motion(&old), None);
        assert_eq!(old.motion(&flat), None);
    }

    /// cargo test --release -p agent-core how_long_a_search -- --ignored --nocapture
    #[test]
    #[ignore = "prints times"]
    fn how_long_a_search_takes() {
        let (width, height) = (1920, 1080);
        let all = Rect { x: 0, y: 0, width, height };
        let old = Image::new(width, height, noise);
        let moved = old.pan(all, Way { dx: 3, dy: -7 }, |x, y| noise(y, x));
        let other = Image::new(width, height, |x, y| noise(y, x));
        let flat = Image::new(width, height, |_, _| 0);
        for (what, new) in [("moved", moved), ("another", other), ("one colour", flat)] {
            let changed = new.changed(&old);
            let pictures = Pictures { before: &old.bytes, now: &new.bytes, stride: new.stride };
            let mut times: Vec<_> = (0..50)
                .map(|_| {
                    let began = Instant::now();
                    std::hint::black_box(find_motion(pictures, &changed));
                    began.elapsed()
                })
                .collect();
            times.sort_unstable();
            let cells = find_motion(pictures, &changed).map_or(0, |motion| motion.cells.len());
            println!("{what}: {:?} at best, {:?} usually, {cells} cells", times[0], times[25]);
        }
    }
}
