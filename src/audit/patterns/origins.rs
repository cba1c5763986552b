//! Where the records of a stage come from: which producer, leader, codec, schema and deployment, which headers they carry, and
//! how long their producer and their deployment had been at work. A record keeps eight bytes of it.

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::identify::facts::{BatchFacts, NO_FACTS, RecordFacts};
use crate::identify::steps::Step;
use crate::wire::Codec;

/// Header names of a stage whose presence is told: the first that come.
pub const NAMES: usize = 8;
/// Combinations that are told apart; of others nothing is known.
const MOST_TRAITS: usize = 1 << 16;
/// Schema ids of a stage. Where there are more, what looks like an id is none.
const MOST_SCHEMAS: usize = 256;
const MOST_DEPLOYS: usize = 1024;
/// Producers of a partition whose beginnings are remembered.
const MOST_WRITERS: usize = 1024;
/// A deployment that comes again so long after another one took over begins anew.
const ABSENT_MS: i64 = 10 * 60_000;
const UNKNOWN: u32 = u32::MAX;

/// How long something has been at work, in minutes.
pub const AGES: [(i64, &str); 10] = [
    (1, "1 min"),
    (2, "2 min"),
    (5, "5 min"),
    (10, "10 min"),
    (20, "20 min"),
    (30, "30 min"),
    (60, "1 h"),
    (120, "2 h"),
    (360, "6 h"),
    (1440, "1 d"),
];
/// Its beginning was not seen.
pub const NO_AGE: u8 = u8::MAX;

/// What is kept of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Number of its [`Traits`].
    pub traits: u32,
    /// Of its producer and of its deployment: the bin of [`AGES`].
    pub producer_age: u8,
    pub deploy_age: u8,
}

impl Default for Origin {
    fn default() -> Self {
        Self { traits: UNKNOWN, producer_age: NO_AGE, deploy_age: NO_AGE }
    }
}

/// What many records share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Traits {
    pub producer: i64,
    pub leader_epoch: i32,
    /// As batches number them.
    pub codec: Option<u8>,
    pub said: Said,
}

/// The records' part of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Said {
    /// Whether anything is known; a record may as well have no header at all.
    pub is_known: bool,
    pub schema: Option<u32>,
    /// Index of the deployment.
    pub deploy: Option<u16>,
    /// A bit for each header name.
    pub headers: u8,
}

/// When a producer, or a deployment, began on a partition; the smallest number when that was not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Begun {
    began: i64,
    /// When the producer was seen last, or when another deployment took over.
    last: i64,
}

/// What one partition of the stage remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Clocks {
    producers: FxHashMap<i64, (i16, Begun)>,
    deploys: FxHashMap<u16, Begun>,
    deploy: Option<u16>,
}

/// The origins of a stage's records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origins {
    traits: Vec<Traits>,
    /// Found again from `traits`.
    #[serde(skip)]
    numbers: FxHashMap<Traits, u32>,
    pub names: Vec<String>,
    pub deploys: Vec<String>,
    schemas: Vec<u32>,
    /// By the engine's number of the partition.
    clocks: FxHashMap<u32, Clocks>,
}

impl Origins {
    pub fn get(&self, number: u32) -> Option<&Traits> {
        self.traits.get(number as usize)
    }

    /// The origins of one stretch of a partition's records, in their order.
    pub fn of(
        &mut self,
        partition: u32,
        steps: &[Step],
        batches: &[(u32, BatchFacts)],
        facts: &[RecordFacts],
    ) -> Vec<Origin> {
        if self.numbers.len() < self.traits.len() {
            self.numbers = self.traits.iter().copied().zip(0..).collect();
        }
        let said: Vec<Said> = facts.iter().map(|facts| self.said(facts)).collect();
        let mut clocks = self.clocks.remove(&partition).unwrap_or_default();
        let mut origins = Vec::with_capacity(steps.len());
        let mut numbers = vec![UNKNOWN; facts.len() + 1];
        let (mut next, mut batch, mut began) = (0, BatchFacts::NONE, i64::MIN);
        for (row, step) in steps.iter().enumerate() {
            while let Some(&(from, facts)) = batches.get(next)
                && from as usize <= row
            {
                (batch, next) = (facts, next + 1);
                began = clocks.producer(&batch, step.timestamp);
                numbers.fill(UNKNOWN);
            }
            let said = said.get(step.facts as usize).filter(|_| step.facts != NO_FACTS).copied().unwrap_or_default();
            let memo = (step.facts as usize).min(facts.len());
            if numbers[memo] == UNKNOWN {
                numbers[memo] = self.number(&batch, said);
            }
            let deployed = said.deploy.map_or(i64::MIN, |deploy| clocks.deploy(deploy, step.timestamp));
            origins.push(Origin {
                traits: numbers[memo],
                producer_age: age(began, step.timestamp),
                deploy_age: age(deployed, step.timestamp),
            });
        }
        self.clocks.insert(partition, clocks);
        origins
    }

    fn number(&mut self, batch: &BatchFacts, said: Said) -> u32 {
        let codec = batch.codec.map(|codec| codec as u8);
        let traits = Traits { producer: batch.producer, leader_epoch: batch.leader_epoch, codec, said };
        if let Some(number) = self.numbers.get(&traits) {
            return *number;
        }
        if self.traits.len() >= MOST_TRAITS {
            return UNKNOWN;
        }
        let number = self.traits.len() as u32;
        self.traits.push(traits);
        self.numbers.insert(traits, number);
        number
    }

    fn said(&mut self, facts: &RecordFacts) -> Said {
        let known = |name: &String| self.names.contains(name);
        let new: Vec<String> = facts.headers.iter().filter(|name| !known(name)).cloned().collect();
        for name in new {
            if self.names.len() < NAMES && !self.names.contains(&name) {
                self.names.push(name);
            }
        }
        let has = |(bit, name): (usize, &String)| u8::from(facts.headers.contains(name)) << bit;
        let headers = self.names.iter().enumerate().map(has).fold(0, |all, bit| all | bit);
        let deploy = facts.deploy.as_ref().and_then(|deploy| place(&mut self.deploys, deploy, MOST_DEPLOYS));
        let schema = facts.schema.filter(|id| place(&mut self.schemas, id, MOST_SCHEMAS).is_some());
        Said { is_known: true, schema, deploy: deploy.map(|index| index as u16), headers }
    }
}

/// The index of a value, which is added while there is room.
fn place<T: Clone + PartialEq>(all: &mut Vec<T>, value: &T, most: usize) -> Option<usize> {
    match all.iter().position(|known| known == value) {
        None if all.len() < most => {
            all.push(value.clone());
            Some(all.len() - 1)
        }
        found => found,
    }
}

impl Clocks {
    /// When the batch's producer began. Since KIP-890 the epoch of a transactional producer rises with each transaction, so that
    /// its beginning does not show.
    fn producer(&mut self, batch: &BatchFacts, now: i64) -> i64 {
        if batch.producer < 0 || batch.is_transactional {
            return i64::MIN;
        }
        let seen = self.producers.get(&batch.producer).copied();
        let began = match seen {
            Some((epoch, begun)) if epoch == batch.producer_epoch => begun.began,
            Some(_) => now,
            None if batch.is_first => now,
            None => i64::MIN,
        };
        if seen.is_none() && self.producers.len() >= MOST_WRITERS {
            let mut last: Vec<i64> = self.producers.values().map(|(_, begun)| begun.last).collect();
            let (_, &mut middle, _) = last.select_nth_unstable(MOST_WRITERS / 2);
            self.producers.retain(|_, (_, begun)| begun.last > middle);
        }
        self.producers.insert(batch.producer, (batch.producer_epoch, Begun { began, last: now }));
        began
    }

    /// When the deployment began. What was there first was there before reading began.
    fn deploy(&mut self, deploy: u16, now: i64) -> i64 {
        if let Some(before) = self.deploy.filter(|before| *before != deploy)
            && let Some(begun) = self.deploys.get_mut(&before)
        {
            begun.last = now;
        }
        let is_first = self.deploy.is_none();
        let is_back = self.deploy.replace(deploy) != Some(deploy);
        let begun =
            self.deploys.entry(deploy).or_insert(Begun { began: if is_first { i64::MIN } else { now }, last: now });
        if is_back && now.saturating_sub(begun.last) > ABSENT_MS {
            begun.began = now;
        }
        begun.began
    }
}

fn age(began: i64, now: i64) -> u8 {
    if began == i64::MIN {
        return NO_AGE;
    }
    let minutes = now.saturating_sub(began).max(0) / 60_000;
    AGES.partition_point(|(edge, _)| *edge <= minutes) as u8
}

/// The name of a batch's codec, by its number.
pub fn codec_name(codec: u8) -> &'static str {
    let all = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
    match all.into_iter().find(|known| *known as u8 == codec) {
        Some(Codec::Gzip) => "gzip",
        Some(Codec::Snappy) => "snappy",
        Some(Codec::Lz4) => "lz4",
        Some(Codec::Zstd) => "zstd",
        Some(Codec::None) | None => "none",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    fn batch(producer: i64, epoch: i16, is_first: bool) -> BatchFacts {
        BatchFacts { producer, producer_epoch: epoch, is_first, ..BatchFacts::NONE }
    }

    #[test]
    fn a_producer_is_as_old_as_its_epoch_where_that_was_seen_to_begin() {
        let mut clocks = Clocks::default();
        let steps = [
            (batch(1, 0, false), 5, None),
            (batch(2, 0, true), 6, Some(6)),
            (batch(2, 0, false), 9, Some(6)),
            (batch(1, 1, true), 10, Some(10)),
            (batch(1, 1, false), 12, Some(10)),
            (BatchFacts { is_transactional: true, ..batch(3, 7, true) }, 13, None),
            (batch(-1, -1, false), 14, None),
        ];
        for (batch, minute, expected) in steps {
            let began = clocks.producer(&batch, minute * MINUTE);
            assert_eq!(began, expected.map_or(i64::MIN, |minute| minute * MINUTE), "{batch:?} at {minute}");
        }
    }

    #[test]
    fn a_deployment_begins_when_it_comes_first_and_when_it_comes_back() {
        let mut clocks = Clocks::default();
        // Two are at work at a time while one replaces the other; later the first one comes back.
        let steps = [
            (0, 0, None),
            (1, 20, Some(20)),
            (0, 21, None),
            (1, 22, Some(20)),
            (1, 60, Some(20)),
            (0, 61, Some(61)),
            (1, 62, Some(20)),
            (0, 63, Some(61)),
        ];
        for (deploy, minute, expected) in steps {
            let began = clocks.deploy(deploy, minute * MINUTE);
            assert_eq!(began, expected.map_or(i64::MIN, |minute: i64| minute * MINUTE), "{deploy} at {minute}");
        }
    }

    #[test]
    fn ages_are_cut_at_their_edges() {
        let bins = [0, 59_999, 60_000, 4 * MINUTE, 5 * MINUTE, 5 * 1_440 * MINUTE, -1].map(|ms| age(1_000, 1_000 + ms));
        assert_eq!(bins, [0, 0, 1, 2, 3, AGES.len() as u8, 0]);
        assert_eq!(age(i64::MIN, 5), NO_AGE);
    }

    #[test]
    fn what_is_beyond_the_limits_is_not_known_and_the_rest_is() {
        let mut origins = Origins::default();
        let facts: Vec<RecordFacts> = (0..2 * MOST_SCHEMAS as u32)
            .map(|id| RecordFacts {
                schema: Some(id),
                headers: vec![format!("h{}", id % 20)],
                ..RecordFacts::default()
            })
            .collect();
        let said: Vec<Said> = facts.iter().map(|facts| origins.said(facts)).collect();
        assert_eq!((origins.names.len(), origins.schemas.len()), (NAMES, MOST_SCHEMAS));
        assert_eq!(said.iter().filter(|said| said.schema.is_some()).count(), MOST_SCHEMAS);
        for (id, said) in said.iter().enumerate() {
            let expected = if id % 20 < NAMES { 1 << (id % 20) } else { 0 };
            assert_eq!(said.headers, expected);
        }
    }
}
