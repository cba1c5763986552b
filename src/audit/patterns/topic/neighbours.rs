//! What stood beside each gap, in bounded memory.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::identify::facts::{BatchFacts, Gap};
use crate::wire::Codec;

/// Gaps kept, the newest. Losses in others are left out.
const MOST_GAPS: usize = 1 << 14;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    producer: i64,
    leader_epoch: i32,
    codec: Option<u8>,
}

impl From<BatchFacts> for Facts {
    fn from(facts: BatchFacts) -> Self {
        let codec = facts.codec.map(|codec| codec as u8);
        Self { producer: facts.producer, leader_epoch: facts.leader_epoch, codec }
    }
}

impl From<Facts> for BatchFacts {
    fn from(facts: Facts) -> Self {
        let all = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
        let codec = facts.codec.and_then(|codec| all.into_iter().find(|known| *known as u8 == codec));
        BatchFacts { producer: facts.producer, leader_epoch: facts.leader_epoch, codec, ..BatchFacts::NONE }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    until: i64,
    pub facts: Facts,
    pub at_ms: i64,
    pub key: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbours {
    /// By session and first number.
    gaps: BTreeMap<(u64, i64), Neighbour>,
}

/// Sessions over all partitions have none.
fn hash(partition: Option<i32>, session: &str) -> u64 {
    xxh3_64_with_seed(session.as_bytes(), partition.map_or(u64::MAX, |partition| partition as u64))
}

impl Neighbours {
    pub fn note(&mut self, gap: Gap) {
        let mut facts = Facts::from(gap.facts);
        if gap.partition.is_none() {
            // The number may have been meant for any.
            facts.leader_epoch = -1;
        }
        let neighbour = Neighbour { until: gap.numbers.until, facts, at_ms: gap.at_ms, key: gap.key };
        self.gaps.insert((hash(gap.partition, &gap.session), gap.numbers.from), neighbour);
        if self.gaps.len() > MOST_GAPS {
            self.forget();
        }
    }

    /// Forgets the older half, so that it happens seldom.
    fn forget(&mut self) {
        let mut times: Vec<i64> = self.gaps.values().map(|gap| gap.at_ms).collect();
        let middle = times.len() / 2;
        let (_, &mut median, _) = times.select_nth_unstable(middle);
        let mut spare = MOST_GAPS / 4;
        self.gaps.retain(|_, gap| {
            let is_kept = gap.at_ms > median || (gap.at_ms == median && spare > 0);
            spare -= usize::from(is_kept && gap.at_ms == median);
            is_kept
        });
    }

    /// What stands beside a lost number.
    pub fn of(&self, partition: Option<i32>, session: &str, number: i64) -> Option<&Neighbour> {
        let session = hash(partition, session);
        let (_, gap) = self.gaps.range((session, i64::MIN)..=(session, number)).next_back()?;
        (number < gap.until).then_some(gap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::finding::Span;

    fn gap(partition: Option<i32>, session: &str, from: i64, until: i64) -> Gap {
        let facts = BatchFacts { producer: from, leader_epoch: 3, codec: Some(Codec::Zstd), ..BatchFacts::NONE };
        Gap { partition, session: session.to_owned(), numbers: Span::new(from, until), facts, at_ms: from, key: 9 }
    }

    #[test]
    fn a_lost_number_has_the_neighbour_of_the_gap_it_is_in() {
        let mut neighbours = Neighbours::default();
        neighbours.note(gap(Some(1), "a", 5, 8));
        neighbours.note(gap(Some(2), "a", 7, 9));
        neighbours.note(gap(None, "b", 0, 1));
        let producer = |partition, session, number| {
            neighbours.of(partition, session, number).map(|gap| BatchFacts::from(gap.facts).producer)
        };
        let found = [
            (Some(1), "a", 4),
            (Some(1), "a", 5),
            (Some(1), "a", 7),
            (Some(1), "a", 8),
            (Some(2), "a", 8),
            (None, "a", 8),
        ];
        assert_eq!(found.map(|(p, s, n)| producer(p, s, n)), [None, Some(5), Some(5), None, Some(7), None]);
        // A number of a session over all partitions might have had any leader.
        let over_all = BatchFacts::from(neighbours.of(None, "b", 0).unwrap().facts);
        assert_eq!((over_all.leader_epoch, over_all.codec), (-1, Some(Codec::Zstd)));
    }

    #[test]
    fn the_newest_gaps_are_kept() {
        let mut neighbours = Neighbours::default();
        let last = 3 * MOST_GAPS as i64;
        (0..=last).for_each(|n| neighbours.note(gap(Some(0), "a", 2 * n, 2 * n + 1)));
        assert!((MOST_GAPS / 2 - 1..=MOST_GAPS).contains(&neighbours.gaps.len()));
        assert!(neighbours.of(Some(0), "a", 2 * last).is_some() && neighbours.of(Some(0), "a", 0).is_none());
    }
}
