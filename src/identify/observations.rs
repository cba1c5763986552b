//! Observations in columns: what is kept of the records of one stretch of one partition.

use super::facts::{BatchFacts, Facts, Gap, Sampled, Traffic};
use super::steps::Step;
use crate::ledger::Sightings;

/// What a record says about its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    Number(i64),
    /// The session is over; this was its last number.
    End(i64),
}

/// One record of a numbered session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    pub session: u64,
    pub says: Says,
    pub offset: i64,
    /// The record's own time, milliseconds.
    pub timestamp: i64,
    /// Stream time of the partition when the record was read: the largest record time so far.
    pub stream_time: i64,
    pub checksum: u64,
}

#[derive(Default)]
pub struct Observations {
    /// For the ledger; empty when the identity is decided without rows.
    pub sightings: Sightings,
    pub arrivals: Vec<Arrival>,
    /// Where the topic is a stage of a flow.
    pub steps: Vec<Step>,
    /// What the batches of the steps, or else of the arrivals, say, each from so many of them on.
    pub batches: Vec<(u32, BatchFacts)>,
    /// What the steps' records say.
    pub facts: Facts,
    /// What patterns of losses are made from, where the topic is no stage of a flow.
    pub traffic: Vec<Traffic>,
    pub samples: Vec<Sampled>,
    pub gaps: Vec<Gap>,
    /// Hashes of keys that name a session met for the first time.
    pub keys: Vec<(u64, u32)>,
    /// Names of sessions met for the first time by this reader.
    pub labels: Vec<(u64, String)>,
    /// Identities in clear, only with `--show-keys`.
    pub values: Vec<(u128, String)>,
}

impl Observations {
    pub fn new(partition: u32) -> Self {
        Self { sightings: Sightings { partition, ..Default::default() }, ..Default::default() }
    }

    /// From the next step or arrival on.
    pub fn batch(&mut self, facts: BatchFacts) {
        if self.batches.last().is_none_or(|(_, last)| *last != facts) {
            self.batches.push((self.steps.len().max(self.arrivals.len()) as u32, facts));
        }
    }

    /// Records of one batch. Several producers take turns, so some batches back are looked at for the same.
    pub fn passed(&mut self, traffic: Traffic) {
        const BACK: usize = 8;
        let second = |ms: i64| ms.div_euclid(1000);
        let now = second(traffic.at_ms);
        let is_same = |known: &&mut Traffic| {
            known.facts == traffic.facts
                && [known.from_ms, known.at_ms, traffic.from_ms].iter().all(|&ms| second(ms) == now)
        };
        match self.traffic.iter_mut().rev().take(BACK).find(is_same) {
            Some(known) => known.records += traffic.records,
            None => self.traffic.push(traffic),
        }
    }

    pub fn rows(&self) -> usize {
        self.sightings.offsets.len().max(self.arrivals.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_of_one_second_that_say_the_same_are_one_and_no_record_is_lost() {
        let mut seen = Observations::default();
        let traffic = |producer, from_ms, at_ms| {
            let facts = BatchFacts { producer, ..BatchFacts::NONE };
            Traffic { facts, from_ms, at_ms, records: 3 }
        };
        for (producer, from_ms, at_ms) in
            [(1, 0, 10), (2, 0, 10), (1, 20, 30), (2, 999, 1_000), (1, 990, 999), (1, 1_001, 1_002)]
        {
            seen.passed(traffic(producer, from_ms, at_ms));
        }
        let told: Vec<(i64, u64)> =
            seen.traffic.iter().map(|traffic| (traffic.facts.producer, traffic.records)).collect();
        assert_eq!(told, [(1, 9), (2, 3), (2, 3), (1, 3)]);
    }
}
