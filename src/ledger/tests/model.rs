//! Random histories: after every step the ledger says what a list of kept sightings says.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{identity, open, small};
use crate::ledger::{Ledger, Producer, Repeat, Seen, Sightings};

/// The rules in their plainest form: a list, searched from end to end.
#[derive(Clone, Default)]
struct Model {
    horizon: u64,
    /// (identity, sighting, generation it was settled in)
    kept: Vec<(u128, Seen, u64)>,
    buffer: Vec<(u128, Seen)>,
}

impl Model {
    fn insert(&mut self, sightings: &Sightings) {
        for at in 0..sightings.offsets.len() {
            let producer = sightings.producers.iter().rev().find(|(from, _)| *from as usize <= at);
            let seen = Seen {
                partition: sightings.partition,
                offset: sightings.offsets[at],
                second: sightings.timestamps[at].div_euclid(1000).clamp(0, u32::MAX.into()) as u32,
                checksum: sightings.checksums[at],
                producer: producer.map_or(Producer::NONE, |(_, producer)| *producer),
            };
            self.buffer.push((sightings.identities[at], seen));
        }
    }

    fn settle(&mut self, newest: u32) -> Vec<Repeat> {
        let generation = u64::from(newest) / (self.horizon / 8).max(1);
        let mut repeats = Vec::new();
        for (identity, again) in std::mem::take(&mut self.buffer) {
            let distance = |first: &Seen| u64::from(first.second.abs_diff(again.second));
            let first = self
                .kept
                .iter()
                .filter(|(of, first, _)| *of == identity && distance(first) <= self.horizon)
                .map(|(_, first, _)| *first)
                .min_by_key(|first| (distance(first), first.second));
            match first {
                Some(first) if (first.partition, first.offset) == (again.partition, again.offset) => {}
                Some(first) => repeats.push(Repeat { identity, first, again }),
                None => self.kept.push((identity, again, generation)),
            }
        }
        repeats
    }

    fn commit(&mut self, now: u32) {
        let (horizon, width) = (self.horizon, (self.horizon / 8).max(1));
        let last_second = |generation: u64| (generation + 1).saturating_mul(width) - 1;
        self.kept.retain(|(_, _, generation)| last_second(*generation).saturating_add(horizon) >= u64::from(now));
    }

    fn find(&self, identity: u128) -> Option<Seen> {
        let kept = self.kept.iter().filter(|(of, _, _)| *of == identity).map(|(_, seen, _)| *seen);
        let buffered = || self.buffer.iter().find(|(of, _)| *of == identity).map(|(_, seen)| *seen);
        kept.max_by_key(|seen| seen.second).or_else(buffered)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(Sightings),
    Settle,
    /// Seconds by which the stream time goes on.
    Commit(u32),
    Reopen,
}

const NUMBERS: u64 = 30;

fn sightings() -> impl Strategy<Value = Sightings> {
    let time = prop_oneof![
        12 => (0i64..200).prop_map(|second| second * 1000 + 500),
        1 => any::<i64>(),
        1 => -5000i64..0,
    ];
    let row = (0..NUMBERS, prop_oneof![8 => 0i64..3, 1 => Just(70_000i64)], time, 0u64..2);
    let producers = prop::option::of((0u32..8, (0i64..3, 0i16..2)));
    (0u32..3, 0i64..100, prop::collection::vec(row, 0..40), producers).prop_map(|(partition, from, rows, producer)| {
        let mut offset = from;
        let mut made = Sightings { partition, ..Sightings::default() };
        for (number, gap, time, checksum) in rows {
            offset += gap;
            made.offsets.push(offset);
            made.timestamps.push(time);
            made.identities.push(identity(number));
            made.checksums.push(checksum);
        }
        made.producers.extend(producer.map(|(from, (id, epoch))| (from, Producer { id, epoch })));
        made
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => sightings().prop_map(Step::Insert),
        2 => Just(Step::Settle),
        3 => (0u32..60).prop_map(Step::Commit),
        1 => Just(Step::Reopen),
    ]
}

fn sorted(mut repeats: Vec<Repeat>) -> Vec<Repeat> {
    repeats.sort_by_key(|repeat| {
        let place = |seen: Seen| (seen.second, seen.partition, seen.offset, seen.checksum, seen.producer.id);
        (repeat.identity, place(repeat.again), place(repeat.first))
    });
    repeats
}

/// `early` are the repeats that hot buckets gave away before.
fn settle_both(ledger: &mut Ledger, model: &mut Model, newest: u32, early: &mut Vec<Repeat>) {
    early.extend(super::settle_at(ledger, newest));
    assert_eq!(sorted(std::mem::take(early)), sorted(model.settle(newest)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn the_ledger_says_what_the_model_says(
        steps in prop::collection::vec(step(), 1..40),
        horizon in prop_oneof![Just(0u64), Just(10), Just(60), Just(u64::MAX)],
        fan_in in 2usize..4,
        is_resident in any::<bool>(),
        merge_behind in any::<bool>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut tuning = small(horizon);
        tuning.fan_in = fan_in;
        tuning.memory_bytes = if is_resident { 1 << 30 } else { 0 };
        tuning.merge_behind = merge_behind;
        let mut ledger = open(dir.path(), &tuning);
        let mut model = Model { horizon, ..Model::default() };
        let mut early = Vec::new();
        let (mut committed, mut commits, mut now) = (model.clone(), 0u32, 0);
        for step in steps {
            match step {
                Step::Insert(sightings) => {
                    ledger.insert(&sightings).unwrap();
                    model.insert(&sightings);
                    ledger.relieve(&mut |repeat| early.push(repeat)).unwrap();
                    prop_assert!(ledger.buffered() + early.len() <= model.buffer.len());
                }
                Step::Settle => settle_both(&mut ledger, &mut model, now, &mut early),
                Step::Commit(seconds) => {
                    now += seconds;
                    settle_both(&mut ledger, &mut model, now, &mut early);
                    commits += 1;
                    ledger.commit(&commits.to_le_bytes(), &[(u128::from(commits % 3), vec![commits as u8])], now).unwrap();
                    model.commit(now);
                    committed = model.clone();
                }
                Step::Reopen => {
                    drop(ledger);
                    ledger = open(dir.path(), &tuning);
                    model = committed.clone();
                    early.clear();
                }
            }
            for number in 0..NUMBERS {
                prop_assert_eq!(ledger.find(identity(number)).unwrap(), model.find(identity(number)));
            }
            prop_assert_eq!(ledger.stats().rows, model.kept.len() as u64);
            prop_assert_eq!(ledger.damage().count(), 0);
        }
        let state = (commits > 0).then(|| commits.to_le_bytes().to_vec());
        prop_assert_eq!(ledger.state().map(<[u8]>::to_vec), state);
        let keys: BTreeSet<u128> = ledger.entries().unwrap().map(|entry| entry.unwrap().0).collect();
        prop_assert_eq!(keys.len(), commits.min(3) as usize);
    }
}

#[test]
fn merging_keeps_the_number_of_runs_low_and_every_answer() {
    let dir = tempfile::tempdir().unwrap();
    let mut tuning = small(u64::MAX);
    tuning.fan_in = 8;
    let mut ledger = open(dir.path(), &tuning);
    for part in 0..100u64 {
        ledger.insert(&super::stretch(part as i64 * 20, part * 20..part * 20 + 20)).unwrap();
        assert_eq!(super::settle(&mut ledger), []);
        ledger.commit(b"", &[], 0).unwrap();
    }
    assert!(ledger.stats().runs <= 15, "{:?}", ledger.stats());
    for number in 0..2000 {
        assert_eq!(super::seen(&ledger, number).map(|seen| seen.offset), Some(number as i64));
    }
    assert_eq!(super::seen(&ledger, 2000), None);
}

#[test]
fn a_generation_is_dropped_whole_once_its_newest_second_is_past_the_horizon() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = open(dir.path(), &small(80));
    // One run for each ten seconds, a generation each.
    for part in 0..10u64 {
        ledger.insert(&super::stretch(part as i64 * 10, part * 10..part * 10 + 10)).unwrap();
        super::settle_at(&mut ledger, part as u32 * 10 + 9);
        ledger.commit(b"", &[], part as u32 * 10 + 9).unwrap();
    }
    // The newest of generation 0 is second 9: 9 + 80 < 99. That of generation 1: 19 + 80 = 99.
    assert_eq!((super::seen(&ledger, 9), ledger.stats().rows), (None, 90));
    assert!(super::seen(&ledger, 10).is_some());
    let runs = || {
        std::fs::read_dir(dir.path())
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("run-"))
    };
    assert_eq!(runs().count(), ledger.stats().runs);
}

#[test]
fn an_arrival_exactly_one_horizon_later_or_earlier_is_a_repeat_and_one_second_more_is_not() {
    for (first, again, is_repeat) in [(100, 160, true), (100, 161, false), (100, 40, true), (100, 39, false)] {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = open(dir.path(), &small(60));
        ledger.insert(&super::stretch(first, [9])).unwrap();
        super::settle(&mut ledger);
        ledger.commit(b"", &[], 0).unwrap();
        ledger.insert(&super::stretch(again, [9])).unwrap();
        assert_eq!(super::settle(&mut ledger).len(), usize::from(is_repeat), "{first} and {again}");
    }
}

#[test]
fn identities_that_differ_in_a_single_bit_are_different() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = open(dir.path(), &small(u64::MAX));
    let base = identity(1000);
    for bits in [0..64, 64..128] {
        let mut sightings = super::stretch(bits.start as i64, bits.clone());
        sightings.identities = bits.map(|bit| base ^ 1 << bit).collect();
        ledger.insert(&sightings).unwrap();
        assert_eq!(super::settle(&mut ledger), []);
        ledger.commit(b"", &[], 0).unwrap();
    }
    assert_eq!(ledger.find(base).unwrap(), None);
    for bit in 0..128 {
        assert_eq!(ledger.find(base ^ 1 << bit).unwrap().map(|seen| seen.offset), Some(bit));
    }
}
