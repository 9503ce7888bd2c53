//! Sets of screen cells. The screen is divided into squares of `CELL` pixels, the size of a video macroblock, so that
//! what video touched and what a tile covers never cut one another.

use protocol::stream::Rect;

/// Side of a cell, pixels.
pub const CELL: u16 = 16;
const CELL_PIXELS: usize = CELL as usize;
const WORD: usize = 64;

/// A set of cells of one screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellSet {
    width: u16,
    height: u16,
    /// Words of 64 cells, each row beginning with a new one.
    bits: Vec<u64>,
}

impl CellSet {
    /// The empty set on a screen of that many pixels.
    pub fn empty(width: u16, height: u16) -> Self {
        let (columns, rows) = (cells(width), cells(height));
        Self { width, height, bits: vec![0; columns.div_ceil(WORD) * rows] }
    }

    /// Every cell.
    pub fn all(width: u16, height: u16) -> Self {
        let mut set = Self::empty(width, height);
        set.insert(Rect { x: 0, y: 0, width, height });
        set
    }

    pub fn size(&self) -> (u16, u16) {
        (self.width, self.height)
    }

    pub fn columns(&self) -> usize {
        cells(self.width)
    }

    pub fn rows(&self) -> usize {
        cells(self.height)
    }

    fn words(&self) -> usize {
        self.columns().div_ceil(WORD)
    }

    pub fn is_empty(&self) -> bool {
        self.bits.iter().all(|word| *word == 0)
    }

    /// How many cells.
    pub fn len(&self) -> usize {
        self.bits.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Pixels of all cells, counting those at the edges as whole.
    pub fn area(&self) -> usize {
        self.len() * CELL_PIXELS * CELL_PIXELS
    }

    pub fn clear(&mut self) {
        self.bits.fill(0);
    }

    pub fn contains(&self, column: usize, row: usize) -> bool {
        column < self.columns()
            && row < self.rows()
            && self.bits[row * self.words() + column / WORD] >> (column % WORD) & 1 == 1
    }

    pub fn insert_cell(&mut self, column: usize, row: usize) {
        if column < self.columns() && row < self.rows() {
            let words = self.words();
            self.bits[row * words + column / WORD] |= 1 << (column % WORD);
        }
    }

    /// Adds every cell that the rectangle touches; what lies outside of the screen is left out.
    pub fn insert(&mut self, rect: Rect) {
        let columns = span(rect.x, rect.width, self.width);
        let words = self.words();
        for row in span(rect.y, rect.height, self.height) {
            let row = &mut self.bits[row * words..(row + 1) * words];
            for column in columns.clone() {
                row[column / WORD] |= 1 << (column % WORD);
            }
        }
    }

    /// Pixels of a cell, cut at the edge of the screen.
    pub fn rect(&self, column: usize, row: usize) -> Rect {
        let (x, y) = (pixels(column * CELL_PIXELS), pixels(row * CELL_PIXELS));
        let (width, height) = (self.width.saturating_sub(x).min(CELL), self.height.saturating_sub(y).min(CELL));
        Rect { x, y, width, height }
    }

    /// Whether any cell that the rectangle touches is in the set.
    pub fn touches(&self, rect: Rect) -> bool {
        self.under(rect).any(|(column, row)| self.contains(column, row))
    }

    /// Whether every cell that the rectangle touches is in the set.
    pub fn contains_all(&self, rect: Rect) -> bool {
        self.under(rect).all(|(column, row)| self.contains(column, row))
    }

    fn under(&self, rect: Rect) -> impl Iterator<Item = (usize, usize)> {
        let columns = span(rect.x, rect.width, self.width);
        span(rect.y, rect.height, self.height).flat_map(move |row| columns.clone().map(move |column| (column, row)))
    }

    /// The smallest rectangle that holds all cells, cut at the edge of the screen; an empty one when there are none.
    pub fn bounds(&self) -> Rect {
        let mut bounds: Option<(usize, usize, usize, usize)> = None;
        for (column, row) in self.iter() {
            let (left, top, right, _) = bounds.unwrap_or((column, row, column, row));
            bounds = Some((left.min(column), top, right.max(column), row));
        }
        let Some((left, top, right, bottom)) = bounds else { return Rect { x: 0, y: 0, width: 0, height: 0 } };
        let (first, last) = (self.rect(left, top), self.rect(right, bottom));
        Rect { width: last.x + last.width - first.x, height: last.y + last.height - first.y, ..first }
    }

    /// Both must be of one screen; else nothing changes.
    pub fn union(&mut self, other: &Self) {
        self.combine(other, |a, b| a | b);
    }

    /// Takes the other's cells away.
    pub fn subtract(&mut self, other: &Self) {
        self.combine(other, |a, b| a & !b);
    }

    /// Keeps what is in both.
    pub fn intersect(&mut self, other: &Self) {
        self.combine(other, |a, b| a & b);
    }

    fn combine(&mut self, other: &Self, how: impl Fn(u64, u64) -> u64) {
        debug_assert_eq!(self.size(), other.size());
        if self.size() == other.size() {
            for (mine, theirs) in self.bits.iter_mut().zip(&other.bits) {
                *mine = how(*mine, *theirs);
            }
        }
    }

    pub fn without(&self, other: &Self) -> Self {
        let mut result = self.clone();
        result.subtract(other);
        result
    }

    pub fn overlap(&self, other: &Self) -> Self {
        let mut result = self.clone();
        result.intersect(other);
        result
    }

    /// Column and row of each cell, row by row.
    pub fn iter(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let words = self.words().max(1);
        self.bits.iter().enumerate().flat_map(move |(at, word)| {
            let (row, first) = (at / words, at % words * WORD);
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros() as usize;
                left &= left.checked_sub(1)?;
                Some((first + bit, row))
            })
        })
    }

    /// Few rectangles that cover exactly the cells, cut at the edge of the screen: runs of a row, joined with equal runs
    /// below.
    pub fn rects(&self) -> Vec<Rect> {
        let mut done: Vec<Rect> = Vec::new();
        // Of the row above: columns and where in `done`.
        let mut above: Vec<(usize, usize, usize)> = Vec::new();
        for row in 0..self.rows() {
            let mut runs: Vec<(usize, usize, usize)> = Vec::new();
            let mut column = 0;
            while column < self.columns() {
                if !self.contains(column, row) {
                    column += 1;
                    continue;
                }
                let first = column;
                while self.contains(column, row) {
                    column += 1;
                }
                let continued = above.iter().find(|run| (run.0, run.1) == (first, column)).map(|run| run.2);
                let top = row * CELL_PIXELS;
                let bottom = (top + CELL_PIXELS).min(self.height.into());
                let at = match continued {
                    Some(at) => {
                        done[at].height = pixels(bottom) - done[at].y;
                        at
                    }
                    None => {
                        let left = first * CELL_PIXELS;
                        let right = (column * CELL_PIXELS).min(self.width.into());
                        done.push(Rect {
                            x: pixels(left),
                            y: pixels(top),
                            width: pixels(right - left),
                            height: pixels(bottom - top),
                        });
                        done.len() - 1
                    }
                };
                runs.push((first, column, at));
            }
            above = runs;
        }
        done
    }
}

/// Cells that so many pixels need.
pub fn cells(pixels: u16) -> usize {
    usize::from(pixels).div_ceil(CELL_PIXELS)
}

fn span(from: u16, length: u16, limit: u16) -> std::ops::Range<usize> {
    let end = from.saturating_add(length).min(limit);
    if from >= end {
        return 0..0;
    }
    usize::from(from) / CELL_PIXELS..cells(end)
}

/// Positions on a screen fit.
fn pixels(value: usize) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rect(x: u16, y: u16, width: u16, height: u16) -> Rect {
        Rect { x, y, width, height }
    }

    #[test]
    fn rects_are_cut_at_the_edges_of_the_screen() {
        let set = CellSet::all(1920, 1081);
        assert_eq!(set.rects(), [rect(0, 0, 1920, 1081)]);
        assert_eq!(set.len(), 120 * 68);
    }

    #[test]
    fn equal_runs_below_each_other_are_one_rect() {
        let mut set = CellSet::empty(200, 100);
        set.insert(rect(20, 20, 30, 30));
        set.insert(rect(150, 40, 1, 1));
        assert_eq!(set.rects(), [rect(16, 16, 48, 48), rect(144, 32, 16, 16)]);
        assert!(set.contains(1, 1) && !set.contains(0, 1) && !set.contains(500, 1));
    }

    #[test]
    fn cells_under_a_rect_and_around_all() {
        let mut set = CellSet::empty(200, 100);
        assert_eq!(set.bounds(), rect(0, 0, 0, 0));
        set.insert(rect(20, 20, 30, 30));
        assert!(set.touches(rect(0, 0, 17, 17)) && !set.touches(rect(0, 0, 16, 100)));
        assert!(set.contains_all(rect(16, 16, 48, 48)) && !set.contains_all(rect(16, 16, 49, 48)));
        assert_eq!(set.bounds(), rect(16, 16, 48, 48));
        set.insert(rect(199, 99, 1, 1));
        assert_eq!(set.bounds(), rect(16, 16, 184, 84));
        assert_eq!(set.rect(12, 6), rect(192, 96, 8, 4));
    }

    #[test]
    fn what_lies_outside_is_left_out() {
        let mut set = CellSet::empty(100, 100);
        set.insert(rect(100, 0, 50, 50));
        set.insert(rect(65_000, 65_000, 65_000, 65_000));
        set.insert(rect(5, 5, 0, 9));
        assert!(set.is_empty());
        set.insert(rect(90, 90, 60_000, 60_000));
        assert_eq!(set.rects(), [rect(80, 80, 20, 20)]);
    }

    proptest! {
        #[test]
        fn rects_cover_exactly_the_cells(
            (width, height) in (1_u16..700, 1_u16..300),
            inserted in proptest::collection::vec((0_u16..700, 0_u16..300, 1_u16..90, 1_u16..90), 0..20),
        ) {
            let mut set = CellSet::empty(width, height);
            for (x, y, w, h) in inserted {
                set.insert(rect(x, y, w, h));
            }
            let rects = set.rects();
            let mut again = CellSet::empty(width, height);
            let mut count = 0;
            for each in &rects {
                prop_assert!(each.x + each.width <= width && each.y + each.height <= height);
                again.insert(*each);
                count += cells(each.width) * cells(each.height);
            }
            prop_assert_eq!(&again, &set);
            prop_assert_eq!(count, set.len(), "no cell twice");
            prop_assert_eq!(set.iter().count(), set.len());
            let mut other = CellSet::empty(width, height);
            set.iter().for_each(|(column, row)| other.insert_cell(column, row));
            prop_assert_eq!(other, set);
        }
    }
}
