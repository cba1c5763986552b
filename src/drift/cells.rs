//! Which rows differ, from far less than all rows: an invertible Bloom lookup table (Eppstein, Goodrich, Uyeda, Varghese:
//! "What's the Difference? Efficient Set Reconciliation without Prior Context", SIGCOMM 2011) that a database fills in SQL.
//!
//! Each row goes into three cells chosen by its own hash, not by its key's: a changed row would cancel out. Cells add up, so
//! one side is subtracted from the other and what is left is peeled: a cell of one row gives the row away, which is then
//! taken out of its other cells. What cannot be peeled to the end is said to be so.

use super::digest::{Digest, Method, md5_of};
use super::hash::hash_int;

/// Cells each row goes into.
pub const PARTS: usize = 3;
/// Bits of the row's hash that choose the cell in one part.
pub const PART_BITS: u32 = 20;
/// Seed of the check.
pub const CHECK_SEED: i64 = 77;
/// Cells for each row that differs; below 1.23 peeling stops early (three cells each).
const SPACE: f64 = 1.35;
/// Cells of one part beside those: of few rows, two may well meet in all three cells.
const SPARE: usize = 96;

/// Sums over the rows in the cell: count and check modulo 2^32, which decides nothing alone, the others modulo 2^64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    pub count: i32,
    pub key: u64,
    pub row: u64,
    pub check: u32,
}

impl Cell {
    /// As a database tells it, with numbers that may be longer.
    pub fn told([count, key, row, check]: [u64; 4]) -> Self {
        Self { count: count as i32, key, row, check: check as u32 }
    }

    fn add(&mut self, row: Digest, check: u32, sign: i32) {
        let signed = |value: u64| if sign < 0 { value.wrapping_neg() } else { value };
        self.count = self.count.wrapping_add(sign);
        self.key = self.key.wrapping_add(signed(row.key));
        self.row = self.row.wrapping_add(signed(row.row));
        self.check = self.check.wrapping_add(if sign < 0 { check.wrapping_neg() } else { check });
    }

    /// The one row in it, and which side it is on.
    fn single(&self, method: Method) -> Option<(Digest, i32)> {
        let (sign, is_negative) = (self.count, self.count < 0);
        if !matches!(sign, 1 | -1) {
            return None;
        }
        let signed = |value: u64| if is_negative { value.wrapping_neg() } else { value };
        let row = Digest { key: signed(self.key), row: signed(self.row) };
        let found = if is_negative { self.check.wrapping_neg() } else { self.check };
        (found == check(method, row)).then_some((row, sign))
    }

    fn is_empty(&self) -> bool {
        *self == Cell::default()
    }
}

/// By what hashes the rows too: the database has no other. Its lower half: a row that is none would have to lie in the right
/// cell as well, and leave all others empty.
fn check(method: Method, row: Digest) -> u32 {
    let both = row.key ^ row.row;
    let hash = match method {
        Method::Chain => hash_int(both as i64, CHECK_SEED as u64),
        Method::Md5 => md5_of(format!("{both:x}").as_bytes()),
    };
    hash as u32
}

/// Cells of one part: enough for so many rows that differ.
pub fn size_for(rows: f64) -> usize {
    (rows * SPACE / PARTS as f64).ceil() as usize + SPARE
}

/// The cell a row goes into in each part; all parts lie behind each other.
pub fn places(row: u64, size: usize) -> [usize; PARTS] {
    let last = (1 << PART_BITS) - 1;
    // The part's bits as a fraction of its size.
    let place =
        |part: usize| part * size + ((((row >> (PART_BITS as usize * part)) as usize & last) * size) >> PART_BITS);
    [place(0), place(1), place(2)]
}

#[derive(Clone, Debug)]
pub struct Cells {
    size: usize,
    method: Method,
    cells: Vec<Cell>,
}

impl Cells {
    /// Of rows that are hashed by this method.
    pub fn new(size: usize, method: Method) -> Self {
        Self { size, method, cells: vec![Cell::default(); size * PARTS] }
    }

    pub fn cell(&mut self, index: usize) -> Option<&mut Cell> {
        self.cells.get_mut(index)
    }

    pub fn add(&mut self, row: Digest, sign: i32) {
        let check = check(self.method, row);
        for place in places(row.row, self.size) {
            self.cells[place].add(row, check, sign);
        }
    }

    pub fn subtract(&mut self, other: &Cells) {
        for (ours, theirs) in self.cells.iter_mut().zip(&other.cells) {
            ours.count = ours.count.wrapping_sub(theirs.count);
            ours.key = ours.key.wrapping_sub(theirs.key);
            ours.row = ours.row.wrapping_sub(theirs.row);
            ours.check = ours.check.wrapping_sub(theirs.check);
        }
    }

    /// The rows of either side that the other one does not have (1: ours, −1: theirs); `None` when some are left over.
    pub fn peel(mut self) -> Option<Vec<(Digest, i32)>> {
        let mut found = Vec::new();
        let mut open: Vec<usize> = (0..self.cells.len()).collect();
        while let Some(index) = open.pop() {
            let Some((row, sign)) = self.cells[index].single(self.method) else { continue };
            let own = places(row.row, self.size);
            // A sum that looks like a row and is none.
            if !own.contains(&index) || found.len() > self.cells.len() {
                return None;
            }
            self.add(row, -sign);
            open.extend(own);
            found.push((row, sign));
        }
        self.cells.iter().all(Cell::is_empty).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::drift::hash::hash_text;

    fn row(key: u64, version: u64) -> Digest {
        let key = hash_text(&key.to_le_bytes(), 1);
        Digest { key, row: hash_text(&version.to_le_bytes(), key) }
    }

    proptest! {
        /// The oracle is the difference of sets.
        #[test]
        fn peels_to_the_difference_of_the_sets(
            both in 0..2_000_u64,
            ours in prop::collection::btree_set((0..3_000_u64, 1..3_u64), 0..200),
            theirs in prop::collection::btree_set((0..3_000_u64, 1..3_u64), 0..200),
            method in prop::sample::select(vec![Method::Chain, Method::Md5]),
        ) {
            let side = |extra: &BTreeSet<(u64, u64)>| -> BTreeSet<Digest> {
                (0..both).map(|key| row(key, 0)).chain(extra.iter().map(|(key, version)| row(*key, *version))).collect()
            };
            let (a, b) = (side(&ours), side(&theirs));
            let wanted: BTreeSet<(Digest, i32)> =
                a.difference(&b).map(|row| (*row, 1)).chain(b.difference(&a).map(|row| (*row, -1))).collect();
            let fill = |rows: &BTreeSet<Digest>, size| {
                let mut cells = Cells::new(size, method);
                rows.iter().for_each(|row| cells.add(*row, 1));
                cells
            };
            // Small tables fail now and then, and say so; a larger one does not.
            let found = [1.0, 4.0, 16.0].into_iter().find_map(|space| {
                let size = size_for(wanted.len() as f64 * space);
                let mut cells = fill(&a, size);
                cells.subtract(&fill(&b, size));
                cells.peel()
            });
            let found = found.map(|rows| rows.into_iter().collect::<BTreeSet<_>>());
            prop_assert_eq!(found, Some(wanted));
        }
    }

    #[test]
    fn too_many_for_its_cells_is_said() {
        let mut cells = Cells::new(64, Method::Chain);
        (0..1_000).for_each(|key| cells.add(row(key, 0), 1));
        assert_eq!(cells.peel(), None);
    }

    #[test]
    fn a_row_that_stands_twice_is_not_one_row() {
        let mut cells = Cells::new(64, Method::Chain);
        cells.add(row(1, 0), 1);
        cells.add(row(1, 0), 1);
        assert_eq!(cells.peel(), None);
    }
}
