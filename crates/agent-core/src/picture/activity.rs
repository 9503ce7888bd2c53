//! What the screen's cells have been doing: when each changed last, how steadily, and how many bytes its pixels took.

use std::time::Duration;

use super::cells::CellSet;

/// A change this soon after the last one belongs to the same motion.
const MOTION_GAP_MS: u32 = 120;
/// Changes in a row that make a motion.
const MOTION_CHANGES: u8 = 3;
/// Bytes that a cell of unknown content is taken to need: about one a pixel, as photographs do.
const UNKNOWN_COST: u16 = 256;
/// The least that a cell is taken to need: what was of one colour need not be so when it has changed.
const LEAST_COST: u16 = 16;

/// Of one screen, shared by all its viewers.
#[derive(Debug)]
pub struct Activity {
    columns: usize,
    cells: Vec<Cell>,
}

#[derive(Debug, Clone, Copy)]
struct Cell {
    /// Milliseconds; meaningless while `changes` is 0.
    changed_at: u32,
    /// In the present motion.
    changes: u8,
    /// Bytes as a tile when it was last sent.
    cost: u16,
}

impl Activity {
    pub fn new(width: u16, height: u16) -> Self {
        let screen = CellSet::empty(width, height);
        let cell = Cell { changed_at: 0, changes: 0, cost: UNKNOWN_COST };
        Self { columns: screen.columns(), cells: vec![cell; screen.columns() * screen.rows()] }
    }

    pub fn changed(&mut self, cells: &CellSet, now: Duration) {
        let now = ms(now);
        for at in indices(self.columns, cells) {
            let Some(cell) = self.cells.get_mut(at) else { continue };
            let goes_on = cell.changes > 0 && now.wrapping_sub(cell.changed_at) <= MOTION_GAP_MS;
            cell.changes = if goes_on { cell.changes.saturating_add(1) } else { 1 };
            cell.changed_at = now;
        }
    }

    /// Which of the cells keep changing.
    pub fn moving(&self, cells: &CellSet, now: Duration) -> CellSet {
        let now = ms(now);
        self.filter(cells, |cell| cell.changes >= MOTION_CHANGES && now.wrapping_sub(cell.changed_at) <= MOTION_GAP_MS)
    }

    /// Which of the cells have not changed for so long; and how long until the next of the others is one of them, if
    /// nothing happens.
    pub fn still(&self, cells: &CellSet, since: Duration, now: Duration) -> (CellSet, Option<Duration>) {
        let (now, since) = (ms(now), ms(since));
        let age = |cell: &Cell| if cell.changes == 0 { u32::MAX } else { now.wrapping_sub(cell.changed_at) };
        let still = self.filter(cells, |cell| age(cell) >= since);
        let others = indices(self.columns, cells).filter_map(|at| self.cells.get(at)).map(age);
        let next = others.filter(|age| *age < since).max().map(|age| Duration::from_millis((since - age).into()));
        (still, next)
    }

    /// Bytes that the cells are likely to take as tiles.
    pub fn tile_bytes(&self, cells: &CellSet) -> usize {
        indices(self.columns, cells).filter_map(|at| self.cells.get(at)).map(|cell| usize::from(cell.cost)).sum()
    }

    /// These cells took so many bytes as tiles, or are likely to.
    pub fn tiles_took(&mut self, cells: &CellSet, bytes: usize) {
        let each = u16::try_from(bytes / cells.len().max(1)).unwrap_or(u16::MAX).max(LEAST_COST);
        for at in indices(self.columns, cells) {
            if let Some(cell) = self.cells.get_mut(at) {
                cell.cost = each;
            }
        }
    }

    fn filter(&self, cells: &CellSet, keep: impl Fn(&Cell) -> bool) -> CellSet {
        let (width, height) = cells.size();
        let mut kept = CellSet::empty(width, height);
        for (column, row) in cells.iter() {
            if self.cells.get(row * self.columns + column).is_some_and(&keep) {
                kept.insert_cell(column, row);
            }
        }
        kept
    }
}

fn indices(columns: usize, cells: &CellSet) -> impl Iterator<Item = usize> + '_ {
    cells.iter().map(move |(column, row)| row * columns + column)
}

/// Wraps after 49 days, as the differences taken of it do.
fn ms(time: Duration) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "wraps on purpose")]
    let wrapped = time.as_millis() as u32;
    wrapped
}

#[cfg(test)]
mod tests {
    use protocol::stream::Rect;

    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn motion_is_what_changes_again_and_again() {
        let mut activity = Activity::new(64, 64);
        let all = CellSet::all(64, 64);
        let mut ball = CellSet::empty(64, 64);
        ball.insert(Rect { x: 0, y: 0, width: 32, height: 16 });
        activity.changed(&all, at(1000));
        activity.changed(&ball, at(1016));
        assert!(activity.moving(&all, at(1016)).is_empty());
        activity.changed(&ball, at(1032));
        assert_eq!(activity.moving(&all, at(1040)), ball);
        assert!(activity.moving(&all, at(2000)).is_empty(), "it came to rest");
        let (still, next) = activity.still(&all, at(100), at(1100));
        assert_eq!(still, all.without(&ball));
        assert_eq!(next, Some(at(32)));
        assert_eq!(activity.still(&all, at(100), at(1132)), (all, None));
    }

    #[test]
    fn costs_are_learnt() {
        let mut activity = Activity::new(64, 16);
        let all = CellSet::all(64, 16);
        assert_eq!(activity.tile_bytes(&all), 4 * 256);
        activity.tiles_took(&all, 400);
        assert_eq!(activity.tile_bytes(&all), 400);
        activity.tiles_took(&all, 0);
        assert_eq!(activity.tile_bytes(&all), 4 * 16);
    }
}
