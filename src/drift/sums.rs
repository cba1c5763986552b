//! All rows of a side added up by the hash of their key: which buckets differ, and about how many keys do.
//!
//! A few buckets are kept as finer ones, in the same pass. Where a few thousand keys differ every bucket does, and says no more;
//! the finer ones still tell some hundred thousand keys from each other. Their sums are the bucket's own, so nothing is sent twice.

use super::digest::{BUCKETS, Digest, bucket_of};
use super::part::Part;

/// Buckets below this one are kept as finer ones: as many of each part, unless there are more parts than that.
pub const SAMPLED: usize = 64;
/// Finer ones of each, told apart by the bits of the key's hash above the bucket's.
const FINER: usize = 16;
/// Bits of the key's hash that name the group a row is added to, in a bucket that is kept as finer ones.
pub const FINER_BITS: usize = BUCKETS * FINER - 1;
/// Errors of an estimate that are allowed for.
const HEADROOM: f64 = 3.0;

/// Rows of one group: how many, and the sum of their hashes modulo 2^64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    pub count: i64,
    pub sum: u64,
}

impl Sum {
    fn add(&mut self, other: Sum) {
        self.count += other.count;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

/// Which group a key's rows are added to: the number of a bucket, or of a finer one, whose lowest bits are its bucket's.
fn group_of(key: u64) -> usize {
    match bucket_of(key) {
        0..SAMPLED => key as usize & FINER_BITS,
        bucket => bucket,
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sums {
    /// The buckets that were added up.
    part: Part,
    buckets: Vec<Sum>,
    finer: Vec<Sum>,
}

impl Sums {
    pub fn new(part: Part) -> Self {
        Self { part, buckets: vec![Sum::default(); BUCKETS], finer: vec![Sum::default(); SAMPLED * FINER] }
    }

    /// A row of the part; of others nothing is kept.
    pub fn add(&mut self, row: Digest, sign: i64) {
        let sum = if sign < 0 { row.row.wrapping_neg() } else { row.row };
        self.add_group(group_of(row.key), Sum { count: sign, sum });
    }

    /// What a database says of a group.
    pub fn add_group(&mut self, group: usize, sum: Sum) {
        let bucket = group % BUCKETS;
        if !self.part.has(bucket) {
            return;
        }
        self.buckets[bucket].add(sum);
        if let Some(finer) = self.finer.get_mut(group / BUCKETS * SAMPLED + bucket).filter(|_| bucket < SAMPLED) {
            finer.add(sum);
        }
    }

    pub fn rows(&self) -> u64 {
        self.buckets.iter().map(|sum| sum.count.max(0) as u64).sum()
    }

    pub fn differing(&self, other: &Sums) -> Vec<usize> {
        (0..BUCKETS).filter(|bucket| self.buckets[*bucket] != other.buckets[*bucket]).collect()
    }

    /// Rows of a bucket, on the side that has more of them.
    pub fn most(&self, other: &Sums, bucket: usize) -> i64 {
        self.buckets[bucket].count.max(other.buckets[bucket].count)
    }

    /// For how many rows that one side has and the other has not there should be room; `None` where nobody can tell.
    pub fn apart(&self, other: &Sums) -> Option<f64> {
        let estimate = self.keys_apart(other)?;
        // A changed row is two that the other side does not have.
        let expected = 2.0 * (estimate.keys + HEADROOM * estimate.error);
        // So many are, whatever their keys: one key may have many rows.
        let counted: i64 = (0..BUCKETS).map(|at| (self.buckets[at].count - other.buckets[at].count).abs()).sum();
        Some(expected.max(counted as f64))
    }

    /// From the buckets, or from the finer ones of a few: whichever says it better.
    fn keys_apart(&self, other: &Sums) -> Option<Estimate> {
        let buckets = self.part.buckets().count();
        let sampled = self.part.buckets().filter(|bucket| *bucket < SAMPLED).count();
        let differing = |ours: &[Sum], theirs: &[Sum]| ours.iter().zip(theirs).filter(|(a, b)| a != b).count();
        let by_buckets = Estimate::of(differing(&self.buckets, &other.buckets), buckets, 1.0);
        let share = sampled as f64 / buckets as f64;
        let by_finer = Estimate::of(differing(&self.finer, &other.finer), sampled * FINER, share);
        by_buckets.into_iter().chain(by_finer).min_by(|a, b| a.error.total_cmp(&b.error))
    }
}

/// About how many keys differ.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Estimate {
    keys: f64,
    /// Its standard deviation.
    error: f64,
}

impl Estimate {
    /// Linear counting (Whang, Vander-Zanden, Taylor, 1990), over groups that hold this share of the keys.
    fn of(differing: usize, groups: usize, share: f64) -> Option<Self> {
        let of = groups as f64;
        let agreeing = groups.checked_sub(differing).filter(|agreeing| *agreeing > 0)?;
        // Keys that differ for each group; for the error at least half a group differs, lest a sample that shows none be exact.
        let load = |agreeing: f64| (of / agreeing).ln();
        let (expected, doubtful) = (load(agreeing as f64), load(agreeing as f64 - 0.5));
        // Where all groups are looked at, only keys that share a group are hidden; else it is also a matter of chance which are seen.
        let variance = of * (doubtful.exp_m1() - doubtful * share);
        Some(Self { keys: expected * of / share, error: variance.max(0.0).sqrt() / share })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::drift::hash::hash_text;

    fn row(key: u64, version: u64) -> Digest {
        let key = hash_text(&key.to_le_bytes(), 1);
        Digest { key, row: hash_text(&version.to_le_bytes(), key) }
    }

    #[test]
    fn a_buckets_finer_ones_add_up_to_it() {
        let mut sums = Sums::new(Part::WHOLE);
        (0..20_000).for_each(|key| sums.add(row(key, 0), 1));
        for bucket in 0..SAMPLED {
            let mut all = Sum::default();
            sums.finer.iter().skip(bucket).step_by(SAMPLED).for_each(|finer| all.add(*finer));
            assert_eq!(all, sums.buckets[bucket]);
        }
        assert!(sums.finer.iter().filter(|finer| finer.count > 0).count() > 250, "they are told apart");
        assert_eq!(sums.rows(), 20_000);
        (0..20_000).for_each(|key| sums.add(row(key, 0), -1));
        assert_eq!(sums, Sums::new(Part::WHOLE));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        /// The oracle counts. Rows that both sides have change neither the sums' difference nor what is estimated.
        #[test]
        fn so_many_differ_as_is_estimated(
            size in 0.0..18.0_f64,
            of in prop::sample::select(vec![1, 1, 7, 16]),
            index in 0..16_u32,
            seed in 0..1_000_u64,
        ) {
            let (keys, part) = ((size.exp2() as u64) - 1, Part { of, index: index % of });
            let (mut ours, theirs) = (Sums::new(part), Sums::new(part));
            let rows = (0..keys).map(|key| row(key, seed)).filter(|row| part.has(bucket_of(row.key)));
            let counted = rows.map(|row| ours.add(row, 1)).count() as f64;
            let Some(Estimate { keys, error }) = ours.keys_apart(&theirs) else {
                // Every finer one differs: by chance only where there are several keys for each.
                let finer = part.buckets().count() * FINER;
                prop_assert!(counted > 2.0 * finer as f64, "{counted} keys for {finer}");
                return Ok(());
            };
            prop_assert!((keys - counted).abs() <= 6.0 * error + 2.0, "{keys} ± {error}, {counted} differ");
            // Against the estimate: where nearly all groups differ by chance both are larger.
            prop_assert!(error <= 4.0 + keys / 2.0 && (of > 1 || error <= 4.0 + keys / 10.0), "{keys} ± {error}");
        }
    }

    #[test]
    fn where_everything_differs_nobody_can_tell() {
        let (mut ours, theirs) = (Sums::new(Part::WHOLE), Sums::new(Part::WHOLE));
        (0..BUCKETS * FINER).for_each(|group| ours.add_group(group, Sum { count: 1, sum: 1 }));
        assert_eq!(ours.apart(&theirs), None);
    }

    #[test]
    fn rows_of_one_key_are_counted() {
        let (mut ours, theirs) = (Sums::new(Part::WHOLE), Sums::new(Part::WHOLE));
        (0..500).for_each(|_| ours.add(row(1, 1), 1));
        assert_eq!(ours.apart(&theirs), Some(500.0));
    }

    #[test]
    fn of_another_part_nothing_is_kept() {
        let part = Part { of: 4, index: 1 };
        let mut sums = Sums::new(part);
        (0..4_000).for_each(|key| sums.add(row(key, 0), 1));
        assert!(sums.buckets.iter().enumerate().all(|(bucket, sum)| part.has(bucket) || *sum == Sum::default()));
        assert!((900..1_100).contains(&sums.rows()));
    }
}
