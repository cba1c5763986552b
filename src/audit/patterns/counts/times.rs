//! Rank by time: the ordinal of a record among all of its stage's, over all partitions, in the order of their times. What a consumer of
//! all partitions counts comes nearest to it.
//!
//! Partitions are read at different speeds, so no rank is known when its record comes. What is kept is how many records each
//! millisecond of a window has; ranks are sums over it, asked for when a report is made. So they depend on what was read, not on
//! the order in which it was.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::audit::patterns::attribution::mix;
use crate::audit::patterns::losses::{Run, Segment};

/// Milliseconds that are counted together in one block.
const BLOCK: i64 = 32;
/// Blocks with something in them that are kept, the newest: 32,768 records that are far from each other, or 17 minutes of traffic.
const MOST_BLOCKS: usize = 1 << 15;
/// Losses kept, the newest.
const MOST_LOSSES: usize = 1 << 15;

type Counts = [u16; BLOCK as usize];

/// How many records have which time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// By number of the block.
    blocks: BTreeMap<i64, Counts>,
    /// The block written last, which is not in `blocks`: records mostly come in order.
    last: (i64, Counts),
    /// Records before it were counted, and when is forgotten.
    from_ms: i64,
    forgotten: u64,
}

impl Default for Times {
    fn default() -> Self {
        Self { blocks: BTreeMap::new(), last: (i64::MIN, [0; BLOCK as usize]), from_ms: i64::MIN, forgotten: 0 }
    }
}

impl Times {
    pub fn saw(&mut self, at_ms: i64) {
        if at_ms < self.from_ms {
            self.forgotten += 1;
            return;
        }
        let block = at_ms.div_euclid(BLOCK);
        if block != self.last.0 {
            self.turn_to(block);
        }
        let count = &mut self.last.1[at_ms.rem_euclid(BLOCK) as usize];
        *count = count.saturating_add(1);
    }

    fn turn_to(&mut self, block: i64) {
        let (before, counts) = self.last;
        if before != i64::MIN {
            self.blocks.insert(before, counts);
        }
        if self.blocks.len() >= MOST_BLOCKS {
            self.forget();
        }
        self.last = (block, self.blocks.remove(&block).unwrap_or_default());
    }

    /// Forgets the oldest quarter, so that it happens seldom.
    fn forget(&mut self) {
        let Some(first) = self.blocks.keys().nth(MOST_BLOCKS / 4).copied() else { return };
        let kept = self.blocks.split_off(&first);
        let gone = std::mem::replace(&mut self.blocks, kept);
        self.forgotten += gone.values().flatten().map(|count| u64::from(*count)).sum::<u64>();
        self.from_ms = first.saturating_mul(BLOCK);
    }

    /// Milliseconds with something in them, and the rank of the first record in each, from `from_ms` on.
    fn ranks(&self) -> Vec<(i64, i64, u16)> {
        let mut all = self.blocks.clone();
        if self.last.0 != i64::MIN && self.last.1 != [0; BLOCK as usize] {
            all.insert(self.last.0, self.last.1);
        }
        let mut rank = self.forgotten as i64;
        let mut ranks = Vec::new();
        for (block, counts) in all {
            for (at, count) in counts.into_iter().enumerate().filter(|(_, count)| *count > 0) {
                ranks.push((block.saturating_mul(BLOCK) + at as i64, rank, count));
                rank += i64::from(count);
            }
        }
        ranks
    }
}

/// Records that are lost, and until when records were judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeLosses {
    /// By time and place.
    lost: BTreeSet<(i64, u64)>,
    /// Losses before it are forgotten.
    from_ms: i64,
    until_ms: i64,
}

impl Default for TimeLosses {
    fn default() -> Self {
        Self { lost: BTreeSet::new(), from_ms: i64::MIN, until_ms: i64::MIN }
    }
}

impl TimeLosses {
    pub fn judged(&mut self, at_ms: i64) {
        self.until_ms = self.until_ms.max(at_ms);
    }

    /// `place` is another one for each record of a millisecond.
    pub fn lost(&mut self, at_ms: i64, place: u64) {
        self.judged(at_ms);
        if at_ms >= self.from_ms {
            self.lost.insert((at_ms, place));
        }
        if self.lost.len() > MOST_LOSSES
            && let Some((newest, _)) = self.lost.iter().nth(MOST_LOSSES / 4).copied()
        {
            self.from_ms = newest.saturating_add(1);
            self.lost = self.lost.split_off(&(self.from_ms, 0));
        }
    }

    /// What was lost has arrived.
    pub fn found(&mut self, at_ms: i64, place: u64) {
        self.lost.remove(&(at_ms, place));
    }

    /// The counter, as far as both know it. Which of the records of one millisecond came first cannot be known: a lost one has any
    /// of their ranks, always the same one. A fixed choice, such as the first, would make a period of every regular traffic.
    pub fn segment(&self, times: &Times) -> Segment {
        let from_ms = self.from_ms.max(times.from_ms);
        let ranks = times.ranks();
        let at = |ms: i64| ranks.partition_point(|(known, ..)| *known < ms);
        let rank_at = |index: usize| match (ranks.get(index), ranks.last()) {
            (Some((_, rank, _)), _) => *rank,
            (None, Some((_, rank, count))) => rank + i64::from(*count),
            (None, None) => times.forgotten as i64,
        };
        let (from, until) = (rank_at(at(from_ms)), rank_at(at(self.until_ms.saturating_add(1))));
        let rank_of = |&(ms, place): &(i64, u64)| {
            let (known, rank, count) = ranks.get(at(ms)).copied()?;
            (known == ms).then(|| (rank + (mix(place) % u64::from(count)) as i64, ms))
        };
        let since = self.lost.range((from_ms, 0)..);
        let mut lost: Vec<(i64, i64)> = since.filter_map(rank_of).filter(|(rank, _)| *rank < until).collect();
        lost.sort_unstable();
        let mut losses: Vec<Run> = Vec::new();
        for (rank, ms) in lost {
            match losses.last_mut() {
                Some(last) if rank < last.until => {}
                Some(last) if rank == last.until => (last.until, last.last_ms) = (rank + 1, ms),
                _ => losses.push(Run { from: rank, until: rank + 1, first_ms: ms, last_ms: ms }),
            }
        }
        Segment { from, until: until.max(from), losses }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Sorting all times gives the ranks; the order in which records come does not matter.
        #[test]
        fn ranks_are_those_of_all_times_in_order(
            mut records in prop::collection::vec((-50i64..400, any::<bool>()), 1..200),
            shuffle in any::<u64>(),
        ) {
            records.sort_by_key(|(ms, _)| *ms);
            let mut shuffled: Vec<(usize, (i64, bool))> = records.iter().copied().enumerate().collect();
            shuffled.sort_by_key(|(place, _)| mix(shuffle ^ *place as u64));
            let (mut times, mut losses) = (Times::default(), TimeLosses::default());
            for (place, (ms, is_lost)) in &shuffled {
                times.saw(*ms);
                match is_lost {
                    true => losses.lost(*ms, *place as u64),
                    false => losses.judged(*ms),
                }
            }
            let segment = losses.segment(&times);
            prop_assert_eq!((segment.from, segment.until), (0, records.len() as i64));
            let lost: Vec<i64> = records.iter().filter(|(_, is_lost)| *is_lost).map(|(ms, _)| *ms).collect();
            prop_assert!(segment.lost() as usize <= lost.len());
            for run in &segment.losses {
                for rank in run.from..run.until {
                    // One of those that were lost at this time, whichever came first.
                    prop_assert!(lost.contains(&records[rank as usize].0));
                }
            }
            let alone = |ms: &i64| records.iter().filter(|(other, _)| other == ms).count() == 1;
            for ms in lost.iter().filter(|ms| alone(ms)) {
                let rank = records.partition_point(|(other, _)| other < ms) as i64;
                prop_assert!(segment.losses.iter().any(|run| (run.from..run.until).contains(&rank)));
            }
        }
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten_and_ranks_go_on() {
        let (mut times, mut losses) = (Times::default(), TimeLosses::default());
        let records = 3 * MOST_BLOCKS as i64;
        for n in 0..records {
            times.saw(n * BLOCK);
            match n % 100 {
                7 => losses.lost(n * BLOCK, 0),
                _ => losses.judged(n * BLOCK),
            }
        }
        times.saw(0);
        let segment = losses.segment(&times);
        assert!(times.blocks.len() <= MOST_BLOCKS);
        // One came behind all the others and before them in time.
        assert_eq!(segment.until, records + 1);
        assert!(segment.trials() >= MOST_BLOCKS as u64 / 2, "{}", segment.trials());
        assert!(segment.losses.iter().all(|run| run.from % 100 == 8 && run.count() == 1));
        assert!(segment.lost().abs_diff(segment.trials() / 100) <= 1);
    }
}
