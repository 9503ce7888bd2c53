//! What a client may move within its own picture instead of being sent it.

use protocol::stream::{Op, Rect};

use super::activity::Activity;
use super::cells::CellSet;
use super::scroll::{Edge, Motion, Way};

/// Most rectangles that are moved at once. What is left out goes another way.
const MAX_RECTS: usize = 16;
/// Pixels: parts of cells that make up less are sooner sent, since every copy costs the client a look at all its picture.
const LEAST_MOVE: u32 = 1024;
/// Bytes of a coarse strip, of those of an exact one: 2 bits less of each of a photograph's channels.
const COARSE_SHARE: f64 = 0.55;

/// A motion as one client can follow it: of what it shows already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    way: Way,
    exact: CellSet,
    /// Copied from lossy cells, lossy already, or under a coarse strip.
    lossy: CellSet,
    /// Those over which a strip is drawn.
    edges: Vec<Edge>,
    coarse: bool,
}

impl Copy {
    /// For a client of whose picture these cells were stale and lossy before the motion. `wanted` are those it lacks:
    /// only there lossy pixels are better than what it shows.
    pub fn of(motion: &Motion, stale: &CellSet, lossy: &CellSet, wanted: &CellSet) -> Option<Self> {
        let (width, height) = stale.size();
        let known = CellSet::all(width, height).without(stale);
        Self::from(motion, motion.way, &known, &known, lossy, wanted)
    }

    /// For a client that has not followed this one when the next motion comes: both at once.
    pub fn then(&self, next: &Motion, wanted: &CellSet) -> Option<Self> {
        let (width, height) = self.exact.size();
        let known = self.cells().without(&self.edge_cells());
        Self::from(next, self.way.then(next.way), &known, &CellSet::empty(width, height), &self.lossy, wanted)
    }

    /// `known`: cells from which something can come. `shown`: those whose pixels the client shows where they are.
    fn from(
        motion: &Motion,
        way: Way,
        known: &CellSet,
        shown: &CellSet,
        lossy: &CellSet,
        wanted: &CellSet,
    ) -> Option<Self> {
        let (width, height) = known.size();
        let none = CellSet::empty(width, height);
        let mut copy = Self { way, exact: none.clone(), lossy: none, edges: vec![], coarse: false };
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
        for edge in &motion.edges {
            if !wanted.contains(edge.column, edge.row) {
                continue;
            }
            let mut edge = *edge;
            let mut is_lossy = false;
            if edge.part.area() > 0 {
                let Some(from) = motion.way.source(edge.part, (width, height)) else { continue };
                if !known.contains_all(from) {
                    continue;
                }
                is_lossy = lossy.touches(from);
            }
            if shown.contains(edge.column, edge.row) {
                is_lossy |= lossy.contains(edge.column, edge.row);
            } else {
                edge.rest = edge.beyond;
            }
            let of = if is_lossy { &mut copy.lossy } else { &mut copy.exact };
            of.insert_cell(edge.column, edge.row);
            copy.edges.push(edge);
        }
        copy.bound();
        (!copy.cells().overlap(wanted).is_empty()).then_some(copy)
    }

    /// These changed otherwise.
    pub fn subtract(&mut self, cells: &CellSet) {
        self.exact.subtract(cells);
        self.lossy.subtract(cells);
        // First: what their parts joined may be several rectangles without them.
        self.edges.retain(|edge| !cells.contains(edge.column, edge.row));
        self.bound();
    }

    /// Leaves the cells out over which strips would have to be drawn.
    pub fn leave_edges(&mut self) {
        let edges = self.edge_cells();
        self.subtract(&edges);
    }

    /// Leaves out those of which nothing came, and which changed for the most part.
    pub fn leave_whole_edges(&mut self) {
        let whole = self.whole_edges();
        self.subtract(&whole);
    }

    fn whole_edges(&self) -> CellSet {
        let (width, height) = self.exact.size();
        let mut whole = CellSet::empty(width, height);
        let is_whole = |edge: &&Edge| edge.part.area() == 0 && edge.rest.area() * 4 > edge.beyond.area() * 3;
        for edge in self.edges.iter().filter(is_whole) {
            whole.insert_cell(edge.column, edge.row);
        }
        whole
    }

    /// Has the strips drawn by few bits, which is lossy.
    pub fn coarsen(&mut self) {
        let edges = self.edge_cells();
        self.exact.subtract(&edges);
        self.lossy.union(&edges);
        self.coarse = true;
    }

    /// Whether the strips are drawn by few bits.
    pub const fn is_coarse(&self) -> bool {
        self.coarse
    }

    /// Bytes that the strips are likely to take.
    #[expect(clippy::cast_precision_loss, reason = "pixels and bytes of a screen")]
    pub fn strip_bytes(&self, activity: &Activity) -> f64 {
        activity.tile_bytes(&self.edge_cells()) as f64 * self.strips_share()
    }

    /// The strips took so many bytes: cells at the edge will take as much for their size.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bytes of a screen"
    )]
    pub fn strips_took(&self, bytes: usize, activity: &mut Activity) {
        let share = self.strips_share();
        if share > 0.0 {
            activity.tiles_took(&self.edge_cells(), (bytes as f64 / share) as usize);
        }
    }

    /// What strips take, of what the cells under them would.
    #[expect(clippy::cast_precision_loss, reason = "pixels of a screen")]
    fn strips_share(&self) -> f64 {
        let strips: u32 = self.strips().into_iter().map(Rect::area).sum();
        let of_cells = f64::from(strips) / self.edge_cells().area().max(1) as f64;
        if self.coarse { of_cells * COARSE_SHARE } else { of_cells }
    }

    pub fn edge_cells(&self) -> CellSet {
        let (width, height) = self.exact.size();
        let mut cells = CellSet::empty(width, height);
        self.edges.iter().for_each(|edge| cells.insert_cell(edge.column, edge.row));
        cells
    }

    /// What is drawn over the copies in the same update: few rectangles, each within cells at the edge.
    pub fn strips(&self) -> Vec<Rect> {
        let moves = self.moves();
        let mut rests: Vec<(usize, Rect)> = Vec::with_capacity(self.edges.len());
        for Edge { row, part, rest, .. } in &self.edges {
            let left = part.area() > 0 && !moves.iter().any(|to| to.contains(*part));
            let drawn = [*part, *rest].into_iter().skip(usize::from(!left)).filter(|rect| rect.area() > 0);
            rests.extend(drawn.reduce(Rect::hull).map(|rest| (*row, rest)));
        }
        rests.sort_unstable_by_key(|(row, rest)| (*row, rest.x));
        let mut across: Vec<(usize, Rect)> = Vec::new();
        for (row, rest) in rests {
            match across.last_mut() {
                Some((same, last)) if *same == row && last.x + last.width == rest.x && are_one(*last, rest) => {
                    *last = last.hull(rest);
                }
                _ => across.push((row, rest)),
            }
        }
        below_each_other(across.into_iter().map(|(_, rect)| rect).collect())
    }

    /// Where pixels are moved to, as few rectangles that do not overlap: whole cells, and parts of those at the edge where
    /// they are much.
    fn moves(&self) -> Vec<Rect> {
        let whole = self.cells().without(&self.edge_cells());
        let mut rects: Vec<Rect> = Vec::new();
        for (column, row) in whole.iter() {
            let cell = whole.rect(column, row);
            match rects.last_mut() {
                Some(last) if (last.y, last.x + last.width) == (cell.y, cell.x) => last.width += cell.width,
                _ => rects.push(cell),
            }
        }
        rects.extend(self.edges.iter().map(|edge| edge.part).filter(|part| part.area() > 0));
        rects.sort_unstable_by_key(|rect| (rect.y, rect.height, rect.x));
        let mut across: Vec<Rect> = Vec::new();
        for next in rects {
            match across.last_mut() {
                Some(last) if (last.y, last.height, last.x + last.width) == (next.y, next.height, next.x) => {
                    last.width += next.width;
                }
                _ => across.push(next),
            }
        }
        let mut moves = below_each_other(across);
        moves.retain(|to| to.area() >= LEAST_MOVE || whole.touches(*to));
        moves.sort_unstable_by_key(|to| std::cmp::Reverse(to.area()));
        moves.truncate(MAX_RECTS);
        moves
    }

    /// Leaves the cells out that are in the smallest rectangles when there are too many.
    fn bound(&mut self) {
        let edges = self.edge_cells();
        loop {
            let (moves, cells) = (self.moves(), self.cells());
            let mut kept = edges.clone();
            for (column, row) in cells.without(&edges).iter() {
                let cell = kept.rect(column, row);
                if moves.iter().any(|to| to.contains(cell)) {
                    kept.insert_cell(column, row);
                }
            }
            if kept == cells {
                return;
            }
            // Parts that are left may be another rectangle by themselves, and larger than one that was kept.
            self.exact.intersect(&kept);
            self.lossy.intersect(&kept);
        }
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
        let mut left: Vec<(Rect, Rect)> =
            self.moves().into_iter().filter_map(|to| Some((self.way.source(to, size)?, to))).collect();
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

/// Joins rectangles that are as wide as one another.
fn below_each_other(mut rects: Vec<Rect>) -> Vec<Rect> {
    rects.sort_unstable_by_key(|rect| (rect.x, rect.width, rect.y));
    let mut joined: Vec<Rect> = Vec::new();
    for next in rects {
        match joined.last_mut() {
            Some(last) if (last.x, last.width, last.y + last.height) == (next.x, next.width, next.y) => {
                last.height += next.height;
            }
            _ => joined.push(next),
        }
    }
    joined
}

/// Whether drawing both as one rectangle is hardly more than drawing each.
fn are_one(a: Rect, b: Rect) -> bool {
    a.hull(b).area() * 4 <= (a.area() + b.area()) * 5
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
            parts in proptest::collection::vec((0_u16..4, 0_u16..12), 169),
            damage in proptest::collection::vec((0_u16..SIDE, 0_u16..SIDE, 1_u16..20, 1_u16..20), 0..6),
        ) {
            let way = Way { dx: way.0, dy: way.1 };
            let mut cells = CellSet::all(SIDE, SIDE);
            for (x, y, width, height) in holes {
                let mut hole = CellSet::empty(SIDE, SIDE);
                hole.insert(Rect { x, y, width, height });
                cells.subtract(&hole);
            }
            let none = CellSet::empty(SIDE, SIDE);
            let mut edges = vec![];
            for ((column, row), (left, width)) in CellSet::all(SIDE, SIDE).without(&cells).iter().zip(parts) {
                let to = none.rect(column, row);
                let part = Rect { x: to.x + left, width, ..to };
                if width > 0 && way.source(part, (SIDE, SIDE)).is_some() {
                    edges.push(Edge { column, row, part, rest: to, beyond: to });
                }
            }
            let all = CellSet::all(SIDE, SIDE);
            let Some(mut copy) = Copy::of(&Motion { way, cells, edges }, &none, &none, &all) else { return Ok(()) };
            for (x, y, width, height) in damage {
                let mut cells = CellSet::empty(SIDE, SIDE);
                cells.insert(Rect { x, y, width, height });
                copy.subtract(&cells);
            }
            let ops = copy.ops();
            prop_assert!(ops.len() <= MAX_RECTS);
            let mut drawn: Vec<Rect> = Vec::new();
            for op in ops {
                let Op::Copy { rect, to_x, to_y } = op else { panic!("only copies") };
                prop_assert!(drawn.iter().all(|to| !meet(*to, rect)), "it reads what is drawn already");
                let to = Rect { x: to_x, y: to_y, ..rect };
                prop_assert_eq!(way.source(to, (SIDE, SIDE)), Some(rect));
                drawn.push(to);
            }
            let edges = copy.edge_cells();
            for (column, row) in CellSet::all(SIDE, SIDE).iter() {
                let cell = none.rect(column, row);
                if copy.cells().contains(column, row) && !edges.contains(column, row) {
                    prop_assert!(drawn.iter().any(|to| to.contains(cell)), "what is said to be copied is");
                } else if !edges.contains(column, row) {
                    prop_assert!(drawn.iter().all(|to| !meet(*to, cell)), "and nothing else");
                }
            }
            let strips = copy.strips();
            for Edge { part, .. } in &copy.edges {
                let all = |rects: &[Rect]| rects.iter().any(|rect| rect.contains(*part));
                prop_assert!(all(&drawn) || all(&strips), "a part is copied or drawn");
            }
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
        let motion = Motion { way: Way { dx: 8, dy: 0 }, cells: all.clone(), edges: vec![] };
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
