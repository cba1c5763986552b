//! Rows and extents in memory: what the buffer collects, what runs are written from and what a merge reads back.
//! Pure columns and sorting; knows nothing of files.

use super::{Producer, Seen};

/// Buckets an identity can fall into: its top 8 bits.
pub(super) const BUCKETS: usize = 1 << BUCKET_BITS;
pub(super) const BUCKET_BITS: u32 = 8;

/// One sighting. `code` is its position: see [`Extent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub hi: u64,
    pub lo: u64,
    pub checksum: u64,
    pub code: u64,
}

impl Row {
    pub fn identity(&self) -> u128 {
        u128::from(self.hi) << 64 | u128::from(self.lo)
    }

    fn order(&self) -> (u64, u64, u64) {
        (self.hi, self.lo, self.code)
    }
}

pub(super) fn bucket_of(hi: u64) -> usize {
    (hi >> 56) as usize
}

/// A stretch of one partition whose rows share second and producer. Its rows have the codes
/// `code + (offset − self.offset)`; the next extent's code is where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub code: u64,
    pub offset: i64,
    pub producer: Producer,
    pub partition: u32,
    pub second: u32,
}

impl Extent {
    pub fn seen(&self, code: u64, checksum: u64) -> Seen {
        Seen {
            partition: self.partition,
            offset: self.offset.wrapping_add(code.wrapping_sub(self.code) as i64),
            second: self.second,
            checksum,
            producer: self.producer,
        }
    }
}

/// Memory that sorting borrows, kept from bucket to bucket.
#[derive(Default)]
pub(super) struct SortScratch {
    /// (digits, index in the rows), and the same once more to sort into.
    keys: Vec<u64>,
    sorted: Vec<u64>,
    rows: Vec<Row>,
}

/// Bits of one pass of the radix sort, and of both.
const DIGIT: u32 = 11;
const KEY_BITS: u32 = 2 * DIGIT;
/// Fewer rows are not worth the passes.
const FEW: usize = 64;
/// More rows have been swollen by a hot identity: they must not cost their size in memory twice more.
const MANY: usize = 1 << 19;

impl SortScratch {
    /// Sorts rows by identity, then by code; their upper `shared` bits are equal. Codes rise with arrival, so equal
    /// identities stay in the order they came.
    ///
    /// Identities are hashes: the 22 bits after the shared ones tell almost all rows of a bucket apart, so two passes of
    /// a radix sort over 8-byte keys and one move of each row do nearly all the work.
    pub fn sort(&mut self, rows: &mut [Row], shared: u32) {
        if rows.len() < FEW || rows.len() > MANY {
            rows.sort_unstable_by_key(Row::order);
            return;
        }
        let digits = |row: &Row| (row.hi << shared) >> (64 - KEY_BITS);
        self.keys.clear();
        self.keys.extend(rows.iter().enumerate().map(|(at, row)| digits(row) << 32 | at as u64));
        self.sorted.resize(self.keys.len(), 0);
        pass(&self.keys, &mut self.sorted, 32);
        pass(&self.sorted, &mut self.keys, 32 + DIGIT);
        self.rows.clear();
        self.rows.extend(self.keys.iter().map(|key| rows[*key as u32 as usize]));
        rows.copy_from_slice(&self.rows);
        self.undecided(rows);
    }

    /// Sorts the runs of rows that the keys leave equal.
    fn undecided(&self, rows: &mut [Row]) {
        let mut start = 0;
        for at in 1..=rows.len() {
            if at == rows.len() || (self.keys[at] ^ self.keys[start]) >> 32 != 0 {
                if at - start > 1 {
                    rows[start..at].sort_unstable_by_key(Row::order);
                }
                start = at;
            }
        }
    }
}

/// One stable pass by the digit at bit `low`.
fn pass(from: &[u64], to: &mut [u64], low: u32) {
    let digit = |key: &u64| (key >> low) as usize & ((1 << DIGIT) - 1);
    let mut places = [0u32; 1 << DIGIT];
    from.iter().for_each(|key| places[digit(key)] += 1);
    let mut next = 0;
    for place in &mut places {
        next += std::mem::replace(place, next);
    }
    for key in from {
        let place = &mut places[digit(key)];
        to[*place as usize] = *key;
        *place += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bucket_is_sorted_by_identity_and_then_by_arrival(
            ids in prop::collection::vec((0u64..4, prop::bool::ANY, 0u64..3), 0..300),
        ) {
            let mut rows: Vec<Row> = ids
                .iter()
                .enumerate()
                .map(|(code, &(hi, high, lo))| Row { hi: if high { hi << 50 } else { hi }, lo, checksum: 0, code: code as u64 })
                .collect();
            let mut expected = rows.clone();
            expected.sort_by_key(|row| row.identity());
            SortScratch::default().sort(&mut rows, BUCKET_BITS);
            prop_assert_eq!(rows, expected);
        }
    }
}
