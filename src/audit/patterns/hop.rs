//! The losses of one hop of a flow, by every counter and dimension the upstream's records have.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::attribution::{self, Dimension, Unit, mix};
use super::counts::keys::{KeyLosses, KeyRank, Keys};
use super::counts::times::{TimeLosses, Times};
use super::losses::{Run, Segment};
use super::say::Subject;
use super::search::{self, search};
use super::summary::Found;
use super::tally::Tally;

/// Runs of losses kept per counter.
const KEPT: usize = 1 << 15;
/// Counters of numbers that are not numbered without holes say nothing about residues.
const LEAST_DENSITY: f64 = 0.95;
/// How often a growing counter is looked at counts as so many tests: looks at data that doubled are independent enough.
pub const LOOKS: u64 = 16;

const SIZES: [(i64, &str); 6] =
    [(11, "1 KiB"), (13, "4 KiB"), (15, "16 KiB"), (17, "64 KiB"), (19, "256 KiB"), (21, "1 MiB")];
const PARTITION: usize = 0;
const SIZE: usize = 1;
const HOUR: usize = 2;
const PRODUCER: usize = 3;

/// One transaction at the stage upstream of the hop.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    pub partition: i32,
    /// From [`HopPatterns::partition`] and [`HopPatterns::producer`].
    pub partition_code: u32,
    pub producer: u32,
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
        let dimensions = vec![
            Dimension::names("partition"),
            Dimension::ranges("size", &SIZES),
            Dimension::ranges("hour", &HOURS),
            Dimension::names("producer"),
        ];
        Self {
            ranks: BTreeMap::new(),
            numbers: None,
            keys: KeyLosses::default(),
            times: TimeLosses::default(),
            attribution: attribution::Tally::new(dimensions),
            lost: 0,
        }
    }
}

/// Hours of the day in UTC.
const HOURS: [(i64, &str); 23] = {
    const NAMES: [&str; 23] = [
        "1 h UTC", "2 h UTC", "3 h UTC", "4 h UTC", "5 h UTC", "6 h UTC", "7 h UTC", "8 h UTC", "9 h UTC", "10 h UTC",
        "11 h UTC", "12 h UTC", "13 h UTC", "14 h UTC", "15 h UTC", "16 h UTC", "17 h UTC", "18 h UTC", "19 h UTC",
        "20 h UTC", "21 h UTC", "22 h UTC", "23 h UTC",
    ];
    let mut hours = [(0, ""); 23];
    let mut hour = 0;
    while hour < 23 {
        hours[hour] = (hour as i64 + 1, NAMES[hour]);
        hour += 1;
    }
    hours
};

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
        let hour = sent.at_ms.div_euclid(3_600_000).rem_euclid(24);
        let mut codes = [0u32; 4];
        codes[PARTITION] = sent.partition_code;
        codes[SIZE] = tally.bin(SIZE, i64::from(sent.size));
        codes[HOUR] = tally.bin(HOUR, hour);
        codes[PRODUCER] = sent.producer;
        let key_hash = (sent.key != 0).then_some(u64::from(sent.key));
        // Its place is that of the upstream's record: a loss is told long after, and all losses at one time would be one cluster.
        let unit = Unit { number: sent.at_ms.max(0).unsigned_abs(), time_ms: sent.at_ms, key_hash, codes: &codes };
        if is_lost { tally.lost(&unit) } else { tally.arrived(&unit) }
    }

    pub fn partition(&mut self, partition: i32) -> u32 {
        self.attribution.code(PARTITION, &partition.to_string())
    }

    pub fn producer(&mut self, id: i64) -> u32 {
        self.attribution.code(PRODUCER, &id.to_string())
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

#[cfg(test)]
mod tests;
