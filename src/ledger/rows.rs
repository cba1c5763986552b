//! Rows and extents in memory: what the buffer collects, what runs are written from and what a merge reads back.
//! Pure columns and sorting; knows nothing of files.

use super::{Producer, Seen};

/// Buckets an identity can fall into: its top 8 bits.
pub(super) const BUCKETS: usize = 256;
/// Low bits of a sort key that hold the row's index.
const INDEX_BITS: u32 = 18;

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
    keys: Vec<u64>,
    rows: Vec<Row>,
}

impl SortScratch {
    /// Sorts the rows of one bucket by identity, then by code. Codes rise with arrival, so equal identities stay in
    /// the order they came.
    ///
    /// Sorting 8-byte keys and moving each row once is several times faster than sorting the rows. A bucket that a
    /// hot identity has swollen is sorted in place instead: it must not cost its size in memory a second time.
    pub fn sort(&mut self, rows: &mut [Row]) {
        if rows.len() >= 1 << INDEX_BITS {
            rows.sort_unstable_by_key(Row::order);
            return;
        }
        const INDEX: u64 = (1 << INDEX_BITS) - 1;
        self.keys.clear();
        // The bucket's 8 bits are the same in every row: shifted out.
        self.keys.extend(rows.iter().enumerate().map(|(at, row)| (row.hi << 8) & !INDEX | at as u64));
        self.keys.sort_unstable();
        self.rows.clear();
        self.rows.extend(self.keys.iter().map(|key| rows[(key & INDEX) as usize]));
        rows.copy_from_slice(&self.rows);
        // What the keys' 46 bits leave undecided.
        let mut start = 0;
        for at in 1..=rows.len() {
            if at == rows.len() || (self.keys[at] ^ self.keys[start]) & !INDEX != 0 {
                if at - start > 1 {
                    rows[start..at].sort_unstable_by_key(Row::order);
                }
                start = at;
            }
        }
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
            SortScratch::default().sort(&mut rows);
            prop_assert_eq!(rows, expected);
        }
    }
}
