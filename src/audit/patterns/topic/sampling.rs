//! Which records of a partition are looked at as a sample of all: decided by the offset alone, so that a restart, or another reading
//! order, takes the same ones; at the cost of a comparison per record.
//!
//! Offsets are taken in blocks of 64. A record's rank is how many halvings of the sample it survives: half of a block's records have
//! rank 0, a quarter 1, and so on, at a phase of its own in each block, lest the sample resonate with anything periodic. One record
//! of each block has rank 6 or more.

use crate::audit::patterns::attribution::mix;

const BLOCK_BITS: u32 = 6;
/// Records of a topic in the sample, at most.
pub const SAMPLE: u64 = 2048;

/// Records of this rank and above are sampled among so many: from half of [`SAMPLE`] to all of it, once there are as many.
pub fn level(records: u64) -> u32 {
    u64::BITS - (records / SAMPLE).leading_zeros()
}

fn block(salt: u64, offset: i64) -> u64 {
    mix(salt ^ (offset >> BLOCK_BITS) as u64)
}

/// Which records of one partition are to be looked at.
#[derive(Clone, Copy, Debug)]
pub struct Sampler {
    salt: u64,
    level: u32,
    /// No record before it is sampled.
    next: i64,
}

impl Sampler {
    pub fn new(partition: i32) -> Self {
        Self { salt: mix(partition as u64), level: 0, next: i64::MIN }
    }

    /// A stretch begins, after so many records of the partition.
    pub fn begin(&mut self, from: i64, records: u64) {
        self.level = level(records);
        self.next = from;
    }

    pub fn level(&self) -> u32 {
        self.level
    }

    /// The rank of a record that is sampled. Offsets rise.
    #[inline]
    pub fn take(&mut self, offset: i64) -> Option<u32> {
        if offset < self.next {
            return None;
        }
        let block = block(self.salt, offset);
        self.next = self.after(offset, block);
        let rank = rank(block, offset);
        (rank >= self.level).then_some(rank)
    }

    /// The next offset that may be sampled: in this block, or the first one of the next.
    fn after(&self, offset: i64, block: u64) -> i64 {
        let step = 1i64 << self.level.min(BLOCK_BITS);
        let next = offset.saturating_add(1);
        let candidate = next.saturating_add((block as i64).wrapping_sub(next).rem_euclid(step));
        let end = ((offset >> BLOCK_BITS).saturating_add(1)).saturating_mul(1 << BLOCK_BITS);
        candidate.min(end)
    }
}

fn rank(block: u64, offset: i64) -> u32 {
    let place = (offset as u64 ^ block) & ((1 << BLOCK_BITS) - 1);
    match place {
        0 => BLOCK_BITS + (block >> BLOCK_BITS).trailing_zeros().min(u64::BITS - 2 * BLOCK_BITS),
        place => place.trailing_zeros(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Skipping ahead misses nothing, and takes nothing that its rank does not allow.
        #[test]
        fn all_that_have_the_rank_are_taken_and_no_others(
            partition in 0i32..5, from in 0i64..10_000, records in 0u64..2_000_000, gaps in prop::collection::vec(1i64..4, 1..2_000),
        ) {
            let mut sampler = Sampler::new(partition);
            sampler.begin(from, records);
            let mut offset = from;
            for gap in gaps {
                let rank = rank(block(mix(partition as u64), offset), offset);
                prop_assert_eq!(sampler.take(offset), (rank >= level(records)).then_some(rank), "{}", offset);
                offset += gap;
            }
        }
    }

    #[test]
    fn each_level_halves_the_sample_and_prefers_no_residue() {
        const OFFSETS: i64 = 1 << 20;
        for level in 0..10 {
            let mut residues = [0u32; 8];
            for offset in 0..OFFSETS {
                if rank(block(3, offset), offset) >= level {
                    residues[(offset % 8) as usize] += 1;
                }
            }
            let (taken, expected) = (residues.iter().sum::<u32>(), f64::from(OFFSETS as i32) / f64::from(1 << level));
            assert!((f64::from(taken) - expected).abs() <= 4.0 * expected.sqrt(), "{level}: {taken} {expected}");
            let each = expected / 8.0;
            // χ² with 7 degrees of freedom is above 24.3 once in a thousand; runs of a block's records are no independent draws.
            let chi: f64 = residues.iter().map(|count| (f64::from(*count) - each).powi(2) / each).sum();
            assert!(chi < 24.3 * 8.0, "{level}: {residues:?}");
        }
    }

    #[test]
    fn a_sample_stays_between_half_and_all_of_its_size() {
        for records in [1, SAMPLE - 1, SAMPLE, 3 * SAMPLE, 1_000_000, 1 << 40] {
            let sampled = records as f64 / 2f64.powi(level(records) as i32);
            assert!(sampled < SAMPLE as f64 && (records < SAMPLE || sampled >= SAMPLE as f64 / 2.0), "{records}");
        }
    }
}
