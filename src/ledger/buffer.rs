//! The buffer: sightings since the last settling, scattered into buckets as they come. Memory only.

use super::error::{LedgerError, Result};
use super::rows::{BUCKETS, Extent, Row, bucket_of};
use super::{Producer, Seen, Sightings};

/// A larger gap between two offsets starts a new extent: codes stay dense, so that a row's head stays short.
const MAX_GAP: i64 = 1 << 16;

pub(super) struct Buffer {
    pub buckets: Vec<Vec<Row>>,
    pub extents: Vec<Extent>,
    /// The next free code.
    pub span: u64,
    /// Of everything inserted.
    pub min_second: u32,
    pub max_second: u32,
    rows: usize,
    limit_bytes: usize,
    bucket_capacity: usize,
    /// A bucket that reaches so many rows has been swollen by a hot identity, and is listed in `hot`.
    hot_limit: usize,
    pub hot: Vec<usize>,
}

/// A bucket so many times fuller than the average has not become so by chance.
const HOT: usize = 8;

impl Buffer {
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            buckets: vec![Vec::new(); BUCKETS],
            extents: Vec::new(),
            span: 0,
            min_second: u32::MAX,
            max_second: 0,
            rows: 0,
            limit_bytes,
            bucket_capacity: bucket_capacity(limit_bytes),
            hot_limit: hot_limit(limit_bytes),
            hot: Vec::new(),
        }
    }

    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// Changes how much an empty buffer will take.
    pub fn set_limit(&mut self, limit_bytes: usize) {
        if limit_bytes != self.limit_bytes {
            *self = Self::new(limit_bytes);
        }
    }

    /// Rows in it: inserted since the last [`Buffer::clear`] and not settled in place.
    pub fn len(&self) -> usize {
        self.rows
    }

    pub fn is_full(&self) -> bool {
        self.rows * size_of::<Row>() + self.extents.len() * size_of::<Extent>() >= self.limit_bytes
    }

    pub fn insert(&mut self, sightings: &Sightings) -> Result<()> {
        let rows = sightings.offsets.len();
        if [sightings.timestamps.len(), sightings.identities.len(), sightings.checksums.len()] != [rows; 3] {
            return Err(LedgerError::Columns { partition: sightings.partition });
        }
        let mut producers = sightings.producers.iter().peekable();
        let mut producer = Producer::NONE;
        for at in 0..rows {
            while let Some((_, next)) = producers.next_if(|(from, _)| *from as usize <= at) {
                producer = *next;
            }
            let second = clamp_second(sightings.timestamps[at]);
            let code = self.code_of(sightings.partition, sightings.offsets[at], second, producer);
            let identity = sightings.identities[at];
            let row = Row { hi: (identity >> 64) as u64, lo: identity as u64, checksum: sightings.checksums[at], code };
            let number = bucket_of(row.hi);
            let bucket = &mut self.buckets[number];
            if bucket.capacity() == 0 {
                bucket.reserve_exact(self.bucket_capacity);
            }
            bucket.push(row);
            if bucket.len() == self.hot_limit {
                self.hot.push(number);
            }
        }
        self.rows += rows;
        Ok(())
    }

    /// A hot bucket was settled in place: `before` rows became those that are in it now. Should most of them have been
    /// different after all, the next time comes later.
    pub fn relieved(&mut self, bucket: usize, before: usize) {
        let kept = self.buckets[bucket].len();
        self.rows -= before - kept;
        self.hot_limit = self.hot_limit.max(2 * kept);
    }

    /// Takes the next code for a position; codes rise with every call.
    fn code_of(&mut self, partition: u32, offset: i64, second: u32, producer: Producer) -> u64 {
        let code = match self.extents.last() {
            Some(last) if last.partition == partition && last.second == second && last.producer == producer => {
                // Of the extent's last row, which has the code before `span`.
                let previous = last.offset.wrapping_add((self.span - 1 - last.code) as i64);
                match offset.checked_sub(previous) {
                    Some(gap @ 1..=MAX_GAP) => Some(self.span - 1 + gap as u64),
                    _ => None,
                }
            }
            _ => None,
        };
        let code = code.unwrap_or_else(|| {
            self.extents.push(Extent { code: self.span, offset, producer, partition, second });
            self.min_second = self.min_second.min(second);
            self.max_second = self.max_second.max(second);
            self.span
        });
        self.span = code + 1;
        code
    }

    /// Every arrival of an identity that is still unsettled.
    pub fn sightings(&self, identity: u128) -> impl Iterator<Item = Seen> + '_ {
        let bucket = &self.buckets[bucket_of((identity >> 64) as u64)];
        bucket.iter().filter(move |row| row.identity() == identity).map(|row| {
            let after = self.extents.partition_point(|extent| extent.code <= row.code);
            self.extents[after - 1].seen(row.code, row.checksum)
        })
    }

    /// Empties the buffer and gives back what a hot identity made a bucket grow by.
    pub fn clear(&mut self) {
        for bucket in &mut self.buckets {
            bucket.clear();
            bucket.shrink_to(self.bucket_capacity);
        }
        self.extents.clear();
        self.extents.shrink_to(self.limit_bytes / 8 / size_of::<Extent>());
        (self.span, self.rows) = (0, 0);
        self.hot.clear();
        self.hot_limit = hot_limit(self.limit_bytes);
        (self.min_second, self.max_second) = (u32::MAX, 0);
    }
}

/// Uniform identities fill buckets evenly; a sixteenth more and none has to grow.
fn bucket_capacity(limit_bytes: usize) -> usize {
    let rows = limit_bytes / size_of::<Row>() / BUCKETS;
    rows + rows / 16
}

fn hot_limit(limit_bytes: usize) -> usize {
    (HOT * bucket_capacity(limit_bytes)).max(16)
}

/// Kafka lets a producer write any time: what does not fit is held at the nearest second that does.
fn clamp_second(timestamp_ms: i64) -> u32 {
    timestamp_ms.div_euclid(1000).clamp(0, i64::from(u32::MAX)) as u32
}
