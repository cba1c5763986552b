//! Per-key count: the ordinal of a record among those of its key, in the order of the log. Every 50th order of each customer.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::audit::patterns::losses::{Run, Segment};

/// Keys that are told apart, the first that came; records of others are counted as not covered.
pub const MOST_KEYS: usize = 1 << 16;
/// Losses kept, newest; older ones are forgotten *with their trials*.
const MOST_LOSSES: usize = 1 << 15;
/// The keys with the most records whose counts are searched.
const SEARCHED: usize = 1024;

/// A record of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeyRank {
    /// The key's number.
    pub key: u32,
    /// Records of the key before it.
    pub rank: u32,
}

/// How many records of each key were seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    numbers: FxHashMap<u32, u32>,
    /// By number.
    seen: Vec<u32>,
    uncovered: u64,
}

impl Keys {
    /// Counts a record, by its key's hash; 0 stands for none. Nothing for keys beyond [`MOST_KEYS`].
    pub fn count(&mut self, hash: u32) -> Option<KeyRank> {
        if hash == 0 {
            return None;
        }
        let key = match self.numbers.get(&hash) {
            Some(number) => *number,
            None if self.seen.len() < MOST_KEYS => {
                let number = self.seen.len() as u32;
                self.numbers.insert(hash, number);
                self.seen.push(0);
                number
            }
            None => {
                self.uncovered += 1;
                return None;
            }
        };
        let seen = self.seen.get_mut(key as usize)?;
        let rank = *seen;
        *seen = seen.saturating_add(1);
        Some(KeyRank { key, rank })
    }

    /// Records of keys beyond those told apart.
    pub fn uncovered(&self) -> u64 {
        self.uncovered
    }
}

/// Which ranks of a key were judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Judged {
    from: u32,
    until: u32,
}

/// Records that were judged and lost, by key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyLosses {
    /// By the key's number.
    judged: Vec<Judged>,
    /// With the record's time, milliseconds.
    lost: BTreeMap<KeyRank, i64>,
}

impl KeyLosses {
    pub fn judged(&mut self, of: KeyRank) {
        let index = of.key as usize;
        if index >= self.judged.len() {
            self.judged.resize(index + 1, Judged::default());
        }
        let judged = &mut self.judged[index];
        if judged.until == 0 {
            judged.from = of.rank;
        }
        judged.until = judged.until.max(of.rank.saturating_add(1));
    }

    pub fn lost(&mut self, of: KeyRank, at_ms: i64) {
        self.judged(of);
        if self.judged[of.key as usize].from <= of.rank {
            self.lost.insert(of, at_ms);
        }
        if self.lost.len() > MOST_LOSSES {
            self.forget();
        }
    }

    /// What was lost has arrived.
    pub fn found(&mut self, of: KeyRank) {
        self.lost.remove(&of);
    }

    /// Forgets the older half, so that it happens seldom.
    fn forget(&mut self) {
        let mut times: Vec<i64> = self.lost.values().copied().collect();
        let middle = times.len() / 2;
        let (_, &mut newest, _) = times.select_nth_unstable(middle);
        for (of, _) in self.lost.iter().filter(|(_, at_ms)| **at_ms <= newest) {
            let from = &mut self.judged[of.key as usize].from;
            *from = (*from).max(of.rank.saturating_add(1));
        }
        let judged = &self.judged;
        self.lost.retain(|of, _| of.rank >= judged[of.key as usize].from);
    }

    /// A segment for each of the keys with the most records.
    pub fn segments(&self) -> Vec<Segment> {
        let mut keys: Vec<(u32, u32)> = Vec::new();
        for (key, judged) in (0u32..).zip(&self.judged) {
            let trials = judged.until.saturating_sub(judged.from);
            if trials >= 2 {
                keys.push((trials, key));
            }
        }
        keys.sort_unstable_by_key(|&(trials, key)| (std::cmp::Reverse(trials), key));
        keys.truncate(SEARCHED);
        keys.into_iter().map(|(_, key)| self.segment(key)).collect()
    }

    fn segment(&self, key: u32) -> Segment {
        let Judged { from, until } = self.judged[key as usize];
        let all = KeyRank { key, rank: from }..KeyRank { key, rank: until };
        let mut losses: Vec<Run> = Vec::new();
        for (of, at_ms) in self.lost.range(all) {
            let rank = i64::from(of.rank);
            match losses.last_mut() {
                Some(last) if last.until == rank => (last.until, last.last_ms) = (rank + 1, *at_ms),
                _ => losses.push(Run { from: rank, until: rank + 1, first_ms: *at_ms, last_ms: *at_ms }),
            }
        }
        Segment { from: i64::from(from), until: i64::from(until), losses }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a count by hand, with what is lost, and comes after all, in any order.
        #[test]
        fn each_key_is_counted_by_itself(
            hashes in prop::collection::vec(0u32..6, 1..200),
            fates in prop::collection::vec((any::<prop::sample::Index>(), 0u8..3), 0..300),
        ) {
            let (mut keys, mut losses) = (Keys::default(), KeyLosses::default());
            let mut by_hand: BTreeMap<u32, u32> = BTreeMap::new();
            let mut ranks = Vec::new();
            for hash in &hashes {
                let before = by_hand.entry(*hash).or_default();
                let rank = keys.count(*hash);
                prop_assert_eq!(rank.map(|rank| rank.rank), (*hash != 0).then_some(*before));
                *before += 1;
                ranks.extend(rank.map(|rank| (*hash, rank)));
            }
            ranks.iter().for_each(|(_, rank)| losses.judged(*rank));
            let mut lost: BTreeMap<u32, Vec<i64>> = BTreeMap::new();
            if !ranks.is_empty() {
                for (index, fate) in fates {
                    let (hash, rank) = ranks[index.index(ranks.len())];
                    let lost = lost.entry(hash).or_default();
                    lost.retain(|known| *known != i64::from(rank.rank));
                    if fate == 0 {
                        losses.found(rank);
                    } else {
                        losses.lost(rank, 7);
                        lost.push(i64::from(rank.rank));
                    }
                }
            }
            let segments = losses.segments();
            let mut found: Vec<(u64, u64)> = segments.iter().map(|s| (s.trials(), s.lost())).collect();
            let mut expected: Vec<(u64, u64)> = by_hand
                .iter()
                .filter(|(hash, count)| **hash != 0 && **count >= 2)
                .map(|(hash, count)| (u64::from(*count), lost.get(hash).map_or(0, Vec::len) as u64))
                .collect();
            found.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn keys_beyond_the_table_are_counted_as_not_covered() {
        let mut keys = Keys::default();
        for hash in 1..=MOST_KEYS as u32 + 100 {
            keys.count(hash);
        }
        assert_eq!(keys.uncovered(), 100);
        assert_eq!(keys.count(5).map(|rank| rank.rank), Some(1), "those that came first go on");
        assert_eq!(keys.count(u32::MAX), None);
    }

    #[test]
    fn what_is_forgotten_is_forgotten_with_its_trials() {
        let (mut keys, mut losses) = (Keys::default(), KeyLosses::default());
        // Two keys in turn, of which one loses every second record.
        for n in 0..4 * MOST_LOSSES as i64 {
            let rank = keys.count(1 + n as u32 % 2).unwrap();
            match n % 4 {
                0 => losses.lost(rank, n),
                _ => losses.judged(rank),
            }
        }
        losses.lost(KeyRank { key: 1, rank: 9 }, 0);
        let segments = losses.segments();
        let lossy = segments.iter().find(|segment| segment.lost() > 1).unwrap();
        assert!(segments.iter().map(Segment::lost).sum::<u64>() <= MOST_LOSSES as u64);
        assert!(lossy.lost().abs_diff(lossy.trials() / 2) <= 1, "{} of {}", lossy.lost(), lossy.trials());
    }
}
