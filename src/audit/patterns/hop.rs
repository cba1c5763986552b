//! The losses of one hop of a flow, by every counter and dimension the upstream's records have.

mod dimensions;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::attribution::{self, Unit, mix};
use super::counts::keys::{KeyLosses, KeyRank, Keys};
use super::counts::times::{TimeLosses, Times};
use super::losses::{Run, Segment};
use super::origins::{Origins, Traits};
use super::say::Subject;
use super::search::{self, search};
use super::summary::Found;
use super::tally::Tally;
pub use dimensions::{NO_TRAITS, TraitCodes};

/// Runs of losses kept per counter.
const KEPT: usize = 1 << 15;
/// Counters of numbers that are not numbered without holes say nothing about residues.
const LEAST_DENSITY: f64 = 0.95;
/// How often a growing counter is looked at counts as so many tests: looks at data that doubled are independent enough.
pub const LOOKS: u64 = 16;

/// One transaction at the stage upstream of the hop.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    pub partition: i32,
    /// From [`HopPatterns::partition`] and [`HopPatterns::traits`].
    pub partition_code: u32,
    pub traits: TraitCodes,
    /// As in [`Origin`](super::origins::Origin).
    pub producer_age: u8,
    pub deploy_age: u8,
    pub rank: u64,
    pub number: Option<i64>,
    /// Among the records of its key, from [`Keys::count`].
    pub key_rank: Option<KeyRank>,
    pub at_ms: i64,
    pub key: u32,
    /// log₂ of the size.
    pub size: u8,
}

impl Sent {
    /// Another number for each record that the stage has at one time.
    fn place(&self) -> u64 {
        mix(self.rank) ^ self.partition as u64
    }
}

/// All records of the stage upstream, judged or not.
#[derive(Clone, Copy)]
pub struct Upstream<'a> {
    pub keys: &'a Keys,
    pub times: &'a Times,
}

/// Numbers seen of one counter.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Counter {
    from: i64,
    until: i64,
    judged: u64,
    /// One segment, which begins below all numbers: what was judged tells its range.
    tally: Tally,
}

impl Counter {
    fn new(from: i64) -> Self {
        let mut tally = Tally::new(KEPT);
        tally.restart(i64::MIN);
        Self { from, until: from, judged: 0, tally }
    }

    fn judged(&mut self, number: i64) {
        self.judged += 1;
        self.from = self.from.min(number);
        self.until = self.until.max(number + 1);
    }

    fn segments(&self) -> Vec<Segment> {
        let mut segments = self.tally.segments().to_vec();
        for segment in &mut segments {
            segment.from = segment.from.max(self.from);
            segment.until = self.until;
        }
        segments
    }
}

/// Tallies of one hop.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HopPatterns {
    ranks: BTreeMap<i32, Counter>,
    numbers: Option<Counter>,
    keys: KeyLosses,
    times: TimeLosses,
    attribution: attribution::Tally,
    lost: u64,
}

impl Default for HopPatterns {
    fn default() -> Self {
        Self {
            ranks: BTreeMap::new(),
            numbers: None,
            keys: KeyLosses::default(),
            times: TimeLosses::default(),
            attribution: dimensions::tally(),
            lost: 0,
        }
    }
}

impl HopPatterns {
    pub fn matched(&mut self, sent: &Sent) {
        self.counted(sent, false);
    }

    pub fn lost(&mut self, sent: &Sent) {
        self.counted(sent, true);
        self.lost += 1;
        let run = |number: i64| Run { from: number, until: number + 1, first_ms: sent.at_ms, last_ms: sent.at_ms };
        if let Some(counter) = self.ranks.get_mut(&sent.partition) {
            counter.tally.lose(0, run(sent.rank as i64));
        }
        if let (Some(number), Some(counter)) = (sent.number, &mut self.numbers) {
            counter.tally.lose(0, run(number));
        }
        if let Some(key_rank) = sent.key_rank {
            self.keys.lost(key_rank, sent.at_ms);
        }
        self.times.lost(sent.at_ms, sent.place());
    }

    /// What was lost has arrived.
    pub fn found(&mut self, sent: &Sent) {
        self.lost = self.lost.saturating_sub(1);
        if let Some(counter) = self.ranks.get_mut(&sent.partition) {
            counter.tally.arrive(0, sent.rank as i64, sent.rank as i64 + 1);
        }
        if let (Some(number), Some(counter)) = (sent.number, &mut self.numbers) {
            counter.tally.arrive(0, number, number + 1);
        }
        if let Some(key_rank) = sent.key_rank {
            self.keys.found(key_rank);
        }
        self.times.found(sent.at_ms, sent.place());
    }

    fn counted(&mut self, sent: &Sent, is_lost: bool) {
        let rank = sent.rank as i64;
        self.ranks.entry(sent.partition).or_insert_with(|| Counter::new(rank)).judged(rank);
        if let Some(number) = sent.number {
            self.numbers.get_or_insert_with(|| Counter::new(number)).judged(number);
        }
        if let Some(key_rank) = sent.key_rank {
            self.keys.judged(key_rank);
        }
        self.times.judged(sent.at_ms);
        let tally = &mut self.attribution;
        let codes = dimensions::codes(tally, sent);
        let key_hash = (sent.key != 0).then_some(u64::from(sent.key));
        // Its place is that of the upstream's record: a loss is told long after, and all losses at one time would be one cluster.
        let unit = Unit { number: sent.at_ms.max(0).unsigned_abs(), time_ms: sent.at_ms, key_hash, codes: &codes };
        if is_lost { tally.lost(&unit) } else { tally.arrived(&unit) }
    }

    pub fn partition(&mut self, partition: i32) -> u32 {
        dimensions::partition(&mut self.attribution, partition)
    }

    pub fn traits(&mut self, traits: &Traits, origins: &Origins) -> TraitCodes {
        dimensions::traits(&mut self.attribution, traits, origins)
    }

    pub fn search(&self, subject: &Subject, follows: bool, upstream: &Upstream<'_>, found: &mut Found) {
        let looks = if follows { LOOKS } else { 1 };
        search(&self.counters(subject, upstream), looks, found);
        let dimension = Subject { counter: "attributes", ..subject.clone() };
        let report = attribution::attribute(&self.attribution);
        found.findings.extend(report.causes.iter().map(|cause| dimension.cause(cause)));
    }

    fn counters(&self, subject: &Subject, upstream: &Upstream<'_>) -> Vec<search::Counter> {
        let mut all = Vec::new();
        let named = |counter, place| Subject { counter, place, ..subject.clone() };
        for (partition, counter) in &self.ranks {
            let subject = named("partition-rank", format!("partition {partition}"));
            all.push(search::Counter::new(subject, counter.segments()));
        }
        let is_dense =
            |counter: &&Counter| counter.judged as f64 >= LEAST_DENSITY * (counter.until - counter.from) as f64;
        if let Some(counter) = self.numbers.as_ref().filter(is_dense) {
            all.push(search::Counter::new(named("transaction-number", String::new()), counter.segments()));
        }
        let derived = |counter, segments| {
            let counter = search::Counter::new(named(counter, String::new()), segments);
            search::Counter { is_derived: true, ..counter }
        };
        // On one partition it is the partition's rank.
        if self.ranks.len() > 1 {
            all.push(derived("time-rank", vec![self.times.segment(upstream.times)]));
        }
        let keys = self.keys.segments();
        if !keys.is_empty() {
            let uncovered = upstream.keys.uncovered();
            all.push(search::Counter { is_short: true, uncovered, ..derived("key-count", keys) });
        }
        all
    }
}
