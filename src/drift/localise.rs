//! Which keys differ: sums of all buckets first, then cells or the digests of the buckets that differ. That is two scans of a
//! store; a third where cells, made by an estimate, turned out too few, and more where digests do not fit into memory.

use std::collections::BTreeSet;

use rustc_hash::FxHashSet;

use super::DriftError;
use super::cells::{Cells, PART_BITS, PARTS, size_for};
use super::digest::{BUCKETS, Digest, Method, bucket_of};
use super::fold::{Fold, certain};
use super::sums::Sums;
use super::table::Table;

/// What one cell, and one row's digest, are on the wire.
const CELL_BYTES: usize = 27;
const DIGEST_BYTES: i64 = 26;
/// Digests of one side that are held in memory at a time, unless one bucket has more.
const HELD: i64 = 4_000_000;

/// One side of the comparison.
pub enum Side<'a> {
    /// What the topic holds for certain, hashed by this method.
    Fold(&'a Fold, Method),
    Table(&'a mut dyn Table),
}

impl Side<'_> {
    fn cells(&mut self, buckets: &[usize], size: usize) -> Result<Cells, DriftError> {
        match self {
            Side::Table(table) => table.cells(buckets, size),
            Side::Fold(_, method) => {
                let mut cells = Cells::new(size, *method);
                self.digests(buckets, &mut |digest| cells.add(digest, 1))?;
                Ok(cells)
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

/// `outside`: rows of the second side whose keys are judged elsewhere; they are not in the sums `theirs`.
pub fn localise(
    first: &mut Side<'_>,
    ours: &Sums,
    second: &mut Side<'_>,
    theirs: &Sums,
    outside: &[Digest],
) -> Result<Localised, DriftError> {
    let buckets = ours.differing(theirs);
    if buckets.is_empty() {
        return Ok(Localised { keys: BTreeSet::new(), how: How::Equal });
    }
    for size in sizes(ours, theirs, &buckets) {
        if let Some(keys) = by_cells(first, second, &buckets, size, outside)? {
            return Ok(Localised { keys, how: How::Cells(size * PARTS) });
        }
    }
    let mut keys = BTreeSet::new();
    for buckets in held(&buckets, ours, theirs) {
        keys.extend(by_digests(first, second, buckets, outside)?);
    }
    Ok(Localised { keys, how: How::Digests })
}

/// How many cells to try in a part, one size after the other: as many as it should take, then twice as many; none where the
/// digests are fewer bytes.
fn sizes(ours: &Sums, theirs: &Sums, buckets: &[usize]) -> impl Iterator<Item = usize> {
    let rows: i64 = buckets.iter().map(|bucket| ours.most(theirs, *bucket)).sum();
    let is_fewer = move |size: usize| ((size * PARTS * CELL_BYTES) as i64) < rows.saturating_mul(DIGEST_BYTES);
    let first = ours.apart(theirs).map(size_for);
    let both = first.into_iter().flat_map(|size| [size, 2 * size]);
    both.take_while(move |size| *size <= 1 << PART_BITS && is_fewer(*size))
}

/// In parts whose rows fit into memory.
fn held<'b>(buckets: &'b [usize], ours: &Sums, theirs: &Sums) -> Vec<&'b [usize]> {
    let (mut parts, mut from, mut rows) = (Vec::new(), 0, 0);
    for (at, bucket) in buckets.iter().enumerate() {
        let own = ours.most(theirs, *bucket);
        if rows + own > HELD && at > from {
            parts.push(&buckets[from..at]);
            (from, rows) = (at, 0);
        }
        rows += own;
    }
    parts.push(&buckets[from..]);
    parts
}

/// Two databases work at the same time.
pub fn both<A: Send, B>(
    first: impl FnOnce() -> Result<A, DriftError> + Send,
    second: impl FnOnce() -> Result<B, DriftError>,
) -> Result<(A, B), DriftError> {
    std::thread::scope(|scope| {
        let first = scope.spawn(first);
        let second = second();
        Ok((first.join().map_err(|_| DriftError::Thread)??, second?))
    })
}

/// `None` when the cells could not be peeled.
fn by_cells(
    first: &mut Side<'_>,
    second: &mut Side<'_>,
    buckets: &[usize],
    size: usize,
    outside: &[Digest],
) -> Result<Option<BTreeSet<u64>>, DriftError> {
    let (mut ours, mut theirs) = both(|| first.cells(buckets, size), || second.cells(buckets, size))?;
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
    let (ours, theirs) = both(|| gather(first), || gather(second))?;
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::drift::Part;
    use crate::drift::fold::{Said, Version};
    use crate::drift::hash::hash_text;

    /// Rows by the hashes of their keys: numbers without a pattern.
    type Rows = BTreeMap<u64, u64>;

    fn hash(number: u64) -> u64 {
        hash_text(&number.to_le_bytes(), 1)
    }

    /// The first `apart` keys differ: missing here, missing there, or changed.
    fn sides(keys: u64, apart: u64) -> (Rows, Rows) {
        let (mut ours, mut theirs) = (Rows::new(), Rows::new());
        for key in 1..=keys {
            if key > apart || key % 5 != 0 {
                ours.insert(hash(key), hash(key << 32));
            }
            if key > apart || key % 5 != 1 {
                theirs.insert(hash(key), hash(key << 32 | u64::from(key <= apart)));
            }
        }
        (ours, theirs)
    }

    fn folded(rows: &Rows, part: Part) -> (Fold, Sums) {
        let (fold, mut sums) = (Fold::new(0), Sums::new(part));
        let mut writer = fold.writer();
        for (key, row) in rows.iter().filter(|(key, _)| part.has(bucket_of(**key))) {
            let version = Version { key: *key, partition: 0, offset: 0, said: Said::Row(*row), is_open: false };
            writer.push(&version).expect("memory");
            sums.add(Digest { key: *key, row: *row }, 1);
        }
        writer.end().expect("memory");
        (fold, sums)
    }

    fn localised(ours: &Rows, theirs: &Rows, part: Part) -> Localised {
        let (first, second) = (folded(ours, part), folded(theirs, part));
        let side = |fold| Side::Fold(fold, Method::Chain);
        localise(&mut side(&first.0), &first.1, &mut side(&second.0), &second.1, &[]).expect("memory")
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// The oracle is the difference of the maps.
        #[test]
        fn keys_that_differ_are_those_of_the_naive_difference(
            keys in 0..6_000_u64,
            share in 0.0..1.0_f64,
            of in 1..5_u32,
            index in 0..5_u32,
        ) {
            let part = Part { of, index: index % of };
            let (ours, theirs) = sides(keys, (keys as f64 * share * share * share) as u64);
            let all: BTreeSet<u64> = ours.keys().chain(theirs.keys()).copied().collect();
            let is_apart = |key: &u64| ours.get(key) != theirs.get(key) && part.has(bucket_of(*key));
            let wanted: BTreeSet<u64> = all.into_iter().filter(is_apart).collect();
            let found = localised(&ours, &theirs, part);
            prop_assert_eq!(found.how == How::Equal, wanted.is_empty());
            prop_assert_eq!(found.keys, wanted);
        }
    }

    /// Rows that both sides have cancel out in sums and in cells, so only those that differ are made: any number of keys, and the
    /// cells that the estimate gives them, or twice as many.
    #[test]
    fn any_number_of_keys_is_told_by_the_cells_of_its_estimate() {
        for apart in [0, 1, 2, 10, 300, 3_000, 20_000, 100_000] {
            let (ours, theirs) = sides(apart, apart);
            let of = |rows: &Rows| rows.iter().map(|(key, row)| Digest { key: *key, row: *row }).collect::<Vec<_>>();
            let (ours, theirs) = (of(&ours), of(&theirs));
            let summed = |rows: &[Digest]| {
                let mut sums = Sums::new(Part::WHOLE);
                rows.iter().for_each(|row| sums.add(*row, 1));
                sums
            };
            let room = summed(&ours).apart(&summed(&theirs)).expect("not everything differs");
            // Cells are for each row, and of three keys in five there are two.
            assert!(room < 2.6 * apart as f64 + 10.0, "{apart} keys have room for {room} rows");
            let peeled = |size| {
                let mut cells = Cells::new(size, Method::Chain);
                ours.iter().for_each(|row| cells.add(*row, 1));
                theirs.iter().for_each(|row| cells.add(*row, -1));
                cells.peel()
            };
            let found = [1, 2].into_iter().find_map(|times| peeled(times * size_for(room)));
            let found: BTreeSet<u64> = found.expect("peeled").iter().map(|(row, _)| row.key).collect();
            assert_eq!(found, (1..=apart).map(hash).collect());
        }
    }

    #[test]
    fn cells_are_doubled_once_where_they_stay_fewer_bytes_than_digests() {
        let sizes_of = |keys, apart| {
            let (ours, theirs) = sides(keys, apart);
            let (ours, theirs) = (folded(&ours, Part::WHOLE).1, folded(&theirs, Part::WHOLE).1);
            sizes(&ours, &theirs, &ours.differing(&theirs)).collect::<Vec<_>>()
        };
        let [once, twice] = sizes_of(60_000, 9_000)[..] else { panic!("two sizes") };
        assert_eq!(twice, 2 * once);
        assert_eq!(sizes_of(35_000, 9_000).len(), 1, "the digests of all rows are fewer bytes than twice the cells");
        assert_eq!(sizes_of(10_000, 9_000).len(), 0, "and here than the cells");
    }
}
