//! Which keys differ: sums of all buckets first, then cells or the digests of the buckets that differ. At most two scans
//! of a store.

use std::collections::BTreeSet;

use rustc_hash::FxHashSet;

use super::DriftError;
use super::cells::{Cells, PART_BITS, PARTS, size_for};
use super::digest::{BUCKETS, Digest, Method, bucket_of};
use super::fold::{Fold, certain};
use super::table::{Sum, Table};

/// About what one cell, and one row's digest, are on the wire.
const CELL_BYTES: usize = 36;
const DIGEST_BYTES: i64 = 26;
/// Buckets that agree; with fewer of them nobody can tell how many keys differ.
const TELLING: usize = BUCKETS / 64;
/// Digests of one side that are held in memory at a time, unless one bucket has more.
const HELD: i64 = 4_000_000;

/// One side of the comparison.
pub enum Side<'a> {
    /// What the topic holds for certain, hashed by this method.
    Fold(&'a Fold, Method),
    Table(&'a mut dyn Table),
}

impl Side<'_> {
    fn cells(&mut self, buckets: &[usize], size: usize) -> Result<Option<Cells>, DriftError> {
        match self {
            Side::Table(table) => table.cells(buckets, size),
            Side::Fold(_, method) => {
                let mut cells = Cells::new(size, *method);
                self.digests(buckets, &mut |digest| cells.add(digest, 1))?;
                Ok(Some(cells))
            }
        }
    }

    fn digests(&mut self, buckets: &[usize], take: &mut dyn FnMut(Digest)) -> Result<(), DriftError> {
        match self {
            Side::Table(table) => table.digests(buckets, take),
            Side::Fold(fold, _) => {
                let mut wanted = vec![false; BUCKETS];
                buckets.iter().for_each(|bucket| wanted[*bucket] = true);
                let each = |key, state: &_| {
                    if let Some(digest) = certain(key, state).filter(|_| wanted[bucket_of(key)]) {
                        take(digest);
                    }
                };
                fold.each(each).map(drop).map_err(DriftError::Disk)
            }
        }
    }
}

/// How it was found, for whoever wants to know what it cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The sums agree.
    Equal,
    Cells(usize),
    Digests,
}

#[derive(Debug)]
pub struct Localised {
    pub keys: BTreeSet<u64>,
    pub how: How,
}

/// `outside`: rows of the second side whose keys are judged elsewhere; their sums are not in `second_sums`.
pub fn localise(
    first: &mut Side<'_>,
    first_sums: &[Sum],
    second: &mut Side<'_>,
    second_sums: &[Sum],
    outside: &[Digest],
) -> Result<Localised, DriftError> {
    let differs = |bucket: &usize| first_sums[*bucket] != second_sums[*bucket];
    let buckets: Vec<usize> = (0..BUCKETS).filter(differs).collect();
    if buckets.is_empty() {
        return Ok(Localised { keys: BTreeSet::new(), how: How::Equal });
    }
    let rows: i64 = buckets.iter().map(|bucket| first_sums[*bucket].count.max(second_sums[*bucket].count)).sum();
    // A changed row is two that the other side does not have.
    let size = size_for(2.0 * expected(buckets.len(), &buckets, first_sums, second_sums));
    let is_cheaper = ((size * PARTS * CELL_BYTES) as i64) < rows.saturating_mul(DIGEST_BYTES);
    let is_told = buckets.len() <= BUCKETS - TELLING;
    if is_cheaper
        && is_told
        && size <= 1 << PART_BITS
        && let Some(keys) = by_cells(first, second, &buckets, size, outside)?
    {
        return Ok(Localised { keys, how: How::Cells(size * PARTS) });
    }
    let mut keys = BTreeSet::new();
    for buckets in held(&buckets, first_sums, second_sums) {
        keys.extend(by_digests(first, second, buckets, outside)?);
    }
    Ok(Localised { keys, how: How::Digests })
}

/// In parts whose rows fit into memory.
fn held<'b>(buckets: &'b [usize], first: &[Sum], second: &[Sum]) -> Vec<&'b [usize]> {
    let (mut parts, mut from, mut rows) = (Vec::new(), 0, 0);
    for (at, bucket) in buckets.iter().enumerate() {
        let own = first[*bucket].count.max(second[*bucket].count);
        if rows + own > HELD && at > from {
            parts.push(&buckets[from..at]);
            (from, rows) = (at, 0);
        }
        rows += own;
    }
    parts.push(&buckets[from..]);
    parts
}

/// How many keys differ, from how many of the buckets do, and at least by how much their counts do.
fn expected(differing: usize, buckets: &[usize], first: &[Sum], second: &[Sum]) -> f64 {
    let counted: i64 = buckets.iter().map(|bucket| (first[*bucket].count - second[*bucket].count).abs()).sum();
    let share = (differing as f64 / BUCKETS as f64).min(1.0 - 0.5 / BUCKETS as f64);
    (-(BUCKETS as f64) * (1.0 - share).ln()).max(counted as f64).max(differing as f64)
}

/// `None` when the cells could not be peeled, or one side cannot fill them.
fn by_cells(
    first: &mut Side<'_>,
    second: &mut Side<'_>,
    buckets: &[usize],
    size: usize,
    outside: &[Digest],
) -> Result<Option<BTreeSet<u64>>, DriftError> {
    // The one that may be unable first.
    let Some(mut theirs) = second.cells(buckets, size)? else { return Ok(None) };
    let Some(mut ours) = first.cells(buckets, size)? else { return Ok(None) };
    let wanted: FxHashSet<usize> = buckets.iter().copied().collect();
    for row in outside.iter().filter(|row| wanted.contains(&bucket_of(row.key))) {
        theirs.add(*row, -1);
    }
    ours.subtract(&theirs);
    Ok(ours.peel().map(|rows| rows.iter().map(|(row, _)| row.key).collect()))
}

fn by_digests(
    first: &mut Side<'_>,
    second: &mut Side<'_>,
    buckets: &[usize],
    outside: &[Digest],
) -> Result<BTreeSet<u64>, DriftError> {
    let skipped: FxHashSet<u64> = outside.iter().map(|row| row.key).collect();
    let gather = |side: &mut Side<'_>| -> Result<Vec<Digest>, DriftError> {
        let mut rows = Vec::new();
        side.digests(buckets, &mut |row| {
            if !skipped.contains(&row.key) {
                rows.push(row);
            }
        })?;
        rows.sort_unstable();
        Ok(rows)
    };
    let (ours, theirs) = (gather(first)?, gather(second)?);
    let (mut a, mut b) = (ours.iter().peekable(), theirs.iter().peekable());
    let mut keys = BTreeSet::new();
    loop {
        match (a.peek(), b.peek()) {
            (None, None) => return Ok(keys),
            (Some(x), Some(y)) if x == y => {
                a.next();
                b.next();
            }
            (Some(x), y) if y.is_none_or(|y| x < y) => {
                keys.insert(x.key);
                a.next();
            }
            (_, Some(y)) => {
                keys.insert(y.key);
                b.next();
            }
            (Some(_), None) => return Ok(keys),
        }
    }
}
