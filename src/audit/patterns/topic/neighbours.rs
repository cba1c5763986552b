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
