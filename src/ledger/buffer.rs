//! What was inserted and not yet settled: rows scattered by the top 8 bits of their identity, so that a bucket is small
//! enough to sort in the cache.

use super::extents::Extents;
use super::run::Row;
use super::{Sightings, bucket_of};

pub(super) struct Buffer {
    buckets: Vec<Vec<Row>>,
    extents: Extents,
    rows: usize,
    capacity: usize,
}

impl Buffer {
    pub fn new(capacity: usize) -> Self {
        let buckets = (0..256).map(|_| Vec::new()).collect();
        Self { buckets, extents: Extents::default(), rows: 0, capacity }
    }

    pub fn len(&self) -> usize {
        self.rows
    }

    pub fn is_full(&self) -> bool {
        self.rows >= self.capacity
    }

    pub fn insert(&mut self, stretch: &Sightings) {
        let share = self.capacity / 256 * 9 / 8;
        let Self { buckets, extents, .. } = self;
        extents.cut(stretch, |i, code| {
            let identity = stretch.identities[i];
            let bucket = &mut buckets[bucket_of(identity) as usize];
            if bucket.capacity() == 0 {
                // Hashes fill the buckets evenly: with an eighth more than its share a bucket hardly ever grows.
                bucket.reserve_exact(share);
            }
            bucket.push(Row { identity, checksum: stretch.checksums[i], code });
        });
        self.rows += stretch.offsets.len();
    }

    pub fn take_extents(&mut self) -> Extents {
        std::mem::take(&mut self.extents)
    }

    /// The bucket by identity, equal identities in the order they were inserted: codes rise with insertion.
    pub fn sorted_bucket(&mut self, bucket: u8) -> &[Row] {
        let rows = &mut self.buckets[bucket as usize];
        rows.sort_unstable_by_key(|row| (row.identity, row.code));
        rows
    }

    pub fn clear_bucket(&mut self, bucket: u8) {
        self.buckets[bucket as usize].clear();
    }

    /// Every bucket was cleared.
    pub fn finish(&mut self) {
        self.rows = 0;
        // One identity seen millions of times must not keep its bucket large for ever.
        let usual = self.capacity / 256 * 4 + 1024;
        self.buckets.iter_mut().filter(|bucket| bucket.capacity() > usual).for_each(|bucket| bucket.shrink_to(usual));
    }
}
