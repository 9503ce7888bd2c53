//! What a client may move within its own picture instead of being sent it.

use protocol::stream::{Op, Rect};

use super::cells::CellSet;
use super::scroll::{Motion, Way};

/// Most rectangles that are moved at once. What is left out goes another way.
const MAX_RECTS: usize = 16;

/// A motion as one client can follow it: of what it shows already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    way: Way,
    exact: CellSet,
    /// Copied from lossy cells.
    lossy: CellSet,
}

impl Copy {
    /// For a client of whose picture these cells were stale and lossy before the motion. `wanted` are those it lacks:
    /// only there lossy pixels are better than what it shows.
    pub fn of(motion: &Motion, stale: &CellSet, lossy: &CellSet, wanted: &CellSet) -> Option<Self> {
        let (width, height) = stale.size();
        let known = CellSet::all(width, height).without(stale);
        Self::from(motion, motion.way, &known, lossy, wanted)
    }

    /// For a client that has not followed this one when the next motion comes: both at once.
    pub fn then(&self, next: &Motion, wanted: &CellSet) -> Option<Self> {
        Self::from(next, self.way.then(next.way), &self.cells(), &self.lossy, wanted)
    }

    fn from(motion: &Motion, way: Way, known: &CellSet, lossy: &CellSet, wanted: &CellSet) -> Option<Self> {
        let (width, height) = known.size();
        let mut copy = Self { way, exact: CellSet::empty(width, height), lossy: CellSet::empty(width, height) };
        for (column, row) in motion.cells.iter() {
            let Some(from) = motion.way.source(known.rect(column, row), (width, height)) else { continue };
            if !known.contains_all(from) {
                continue;
            }
            if !lossy.touches(from) {
                copy.exact.insert_cell(column, row);
            } else if wanted.contains(column, row) {
                copy.lossy.insert_cell(column, row);
            }
        }
        copy.bound();
        (!copy.cells().overlap(wanted).is_empty()).then_some(copy)
    }

    /// These changed otherwise.
    pub fn subtract(&mut self, cells: &CellSet) {
        self.exact.subtract(cells);
        self.lossy.subtract(cells);
        self.bound();
    }

    /// Leaves the smallest rectangles out when there are too many.
    fn bound(&mut self) {
        let mut rects = self.cells().rects();
        if rects.len() <= MAX_RECTS {
            return;
        }
        rects.sort_unstable_by_key(|rect| std::cmp::Reverse(u32::from(rect.width) * u32::from(rect.height)));
        let (width, height) = self.exact.size();
        let mut kept = CellSet::empty(width, height);
        rects.truncate(MAX_RECTS);
        rects.into_iter().for_each(|rect| kept.insert(rect));
        self.exact.intersect(&kept);
        self.lossy.intersect(&kept);
    }

    /// What it draws.
    pub fn cells(&self) -> CellSet {
        let mut cells = self.exact.clone();
        cells.union(&self.lossy);
        cells
    }

    pub fn exact(&self) -> &CellSet {
        &self.exact
    }

    pub fn lossy(&self) -> &CellSet {
        &self.lossy
    }

    /// In an order in which none draws over what a later one reads. There is one: rectangles that do not overlap can be
    /// moved away one by one in any common direction.
    pub fn ops(&self) -> Vec<Op> {
        let size = self.exact.size();
        let cells = self.cells().rects().into_iter();
        let mut left: Vec<(Rect, Rect)> = cells.filter_map(|to| Some((self.way.source(to, size)?, to))).collect();
        let mut ops = Vec::with_capacity(left.len());
        while !left.is_empty() {
            let is_free = |at: &usize| {
                let to = left[*at].1;
                left.iter().enumerate().all(|(other, (from, _))| other == *at || !meet(*from, to))
            };
            let next = (0..left.len()).find(is_free).unwrap_or(0);
            let (rect, to) = left.swap_remove(next);
            ops.push(Op::Copy { rect, to_x: to.x, to_y: to.y });
        }
        ops
    }
}

fn meet(a: Rect, b: Rect) -> bool {
    a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIDE: u16 = 208;

    proptest! {
        #[test]
        fn no_copy_draws_over_what_a_later_one_reads(
            way in (-60_i32..60, -60_i32..60),
            holes in proptest::collection::vec((0_u16..SIDE, 0_u16..SIDE, 1_u16..60, 1_u16..60), 0..12),
        ) {
            let way = Way { dx: way.0, dy: way.1 };
            let mut cells = CellSet::all(SIDE, SIDE);
            for (x, y, width, height) in holes {
                let mut hole = CellSet::empty(SIDE, SIDE);
                hole.insert(Rect { x, y, width, height });
                cells.subtract(&hole);
            }
            let none = CellSet::empty(SIDE, SIDE);
            let Some(copy) = Copy::of(&Motion { way, cells }, &none, &none, &CellSet::all(SIDE, SIDE)) else { return Ok(()) };
            let ops = copy.ops();
            prop_assert!(ops.len() <= MAX_RECTS);
            let mut drawn = CellSet::empty(SIDE, SIDE);
            let mut written: Vec<Rect> = Vec::new();
            for op in ops {
                let Op::Copy { rect, to_x, to_y } = op else { panic!("only copies") };
                prop_assert!(written.iter().all(|to| !meet(*to, rect)), "it reads what is drawn already");
                let to = Rect { x: to_x, y: to_y, ..rect };
                prop_assert_eq!(way.source(to, (SIDE, SIDE)), Some(rect));
                written.push(to);
                drawn.insert(to);
            }
            prop_assert_eq!(drawn, copy.cells());
        }
    }

    #[test]
    fn what_is_stale_is_not_copied_and_lossy_stays_lossy() {
        let (width, height) = (160, 16);
        let cell = |columns: &[usize]| {
            let mut cells = CellSet::empty(width, height);
            columns.iter().for_each(|column| cells.insert_cell(*column, 0));
            cells
        };
        let all = CellSet::all(width, height);
        let motion = Motion { way: Way { dx: 8, dy: 0 }, cells: all.clone() };
        let copy = Copy::of(&motion, &cell(&[2]), &cell(&[6]), &all).expect("something");
        // Nothing comes from the left of the screen; each cell comes from two.
        assert_eq!(*copy.exact(), cell(&[1, 4, 5, 8, 9]));
        assert_eq!(*copy.lossy(), cell(&[6, 7]));
        let again = copy.then(&motion, &all).expect("something");
        assert_eq!((again.exact(), again.lossy()), (&cell(&[5, 9]), &cell(&[6, 7, 8])));
        assert_eq!(again.way, Way { dx: 16, dy: 0 });
        // Lossy pixels only where those shown are worse.
        assert!(Copy::of(&motion, &cell(&[]), &all, &cell(&[])).is_none());
        let copy = Copy::of(&motion, &cell(&[]), &all, &cell(&[3])).expect("something");
        assert_eq!(copy.cells(), cell(&[3]));
    }
}
