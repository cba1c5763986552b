//! The ledger against a hash map, across commits, restarts, merges, the horizon, and failures at every step.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;

const OPTIONS: Options = Options { memory_bytes: 8 << 20, horizon_seconds: 1000, durable: false };

fn identity(n: u64) -> u128 {
    xxhash_rust::xxh3::xxh3_128(&n.to_le_bytes())
}

/// One row of a stretch: which identity, at which second, with which content and producer.
#[derive(Clone, Copy, Debug)]
struct Step {
    id: u64,
    second: i64,
    checksum: u64,
    producer: i64,
}

fn stretch(partition: u32, first_offset: i64, steps: &[Step]) -> Sightings {
    let mut rows = Sightings { partition, ..Sightings::default() };
    for (i, step) in steps.iter().enumerate() {
        rows.offsets.push(first_offset + i as i64 * 3);
        rows.timestamps.push(step.second * 1000 + 999);
        rows.identities.push(identity(step.id));
        rows.checksums.push(step.checksum);
        rows.producers.push((i as u32, Producer { id: step.producer, epoch: 2 }));
    }
    rows
}

/// Every arrival in order; what is kept of each identity.
#[derive(Default)]
struct Model {
    kept: HashMap<u128, Seen>,
    repeats: Vec<Repeat>,
}

impl Model {
    fn insert(&mut self, rows: &Sightings) {
        for i in 0..rows.offsets.len() {
            let again = Seen {
                partition: rows.partition,
                offset: rows.offsets[i],
                second: rows.timestamps[i].div_euclid(1000).clamp(0, i64::from(u32::MAX)) as u32,
                checksum: rows.checksums[i],
                producer: rows.producers[i].1,
            };
            match self.kept.get(&rows.identities[i]) {
                Some(first) if u64::from(first.second.abs_diff(again.second)) <= OPTIONS.horizon_seconds => {
                    self.repeats.push(Repeat { identity: rows.identities[i], first: *first, again });
                }
                _ => _ = self.kept.insert(rows.identities[i], again),
            }
        }
    }
}

fn sorted(mut repeats: Vec<Repeat>) -> Vec<Repeat> {
    repeats.sort_by_key(|r| (r.identity, r.again.partition, r.again.offset));
    repeats
}

fn steps() -> impl Strategy<Value = Vec<Vec<(u64, u64)>>> {
    // Batches of (identity, checksum); few identities, so that most come again.
    prop::collection::vec(prop::collection::vec((0u64..60, 0u64..3), 1..40), 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn says_what_a_hash_map_says(batches in steps(), reopen in any::<u32>(), memory in prop_oneof![Just(8usize << 20), Just(0)]) {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { memory_bytes: memory, ..OPTIONS };
        let mut ledger = Ledger::open(dir.path(), options).unwrap();
        let (mut model, mut told) = (Model::default(), Vec::new());
        for (number, batch) in batches.iter().enumerate() {
            // Time passes, and now and then jumps past the horizon.
            let second = number as i64 * 7 + if number > 20 { 2000 } else { 0 };
            let step = |&(id, checksum): &(u64, u64)| Step { id, second, checksum, producer: checksum as i64 };
            let rows = stretch(number as u32 % 3, number as i64 * 1000, &batch.iter().map(step).collect::<Vec<_>>());
            model.insert(&rows);
            ledger.insert(&rows).unwrap();
            if number % 2 == 0 {
                ledger.settle(&mut |repeat| told.push(repeat)).unwrap();
                ledger.commit(format!("state {number}").as_bytes(), &[], 0).unwrap();
                let said = told.len();
                // Handed over a second time, as after a restart: nothing new.
                ledger.insert(&rows).unwrap();
                ledger.settle(&mut |repeat| told.push(repeat)).unwrap();
                ledger.commit(format!("state {number}").as_bytes(), &[], 0).unwrap();
                let again = told.split_off(said);
                prop_assert!(again.iter().all(|r| told.contains(r)), "a record read twice is no new repeat");
                if reopen >> (number % 32) & 1 == 1 {
                    drop(ledger);
                    ledger = Ledger::open(dir.path(), options).unwrap();
                    let state = format!("state {number}");
                    prop_assert_eq!(ledger.state(), Some(state.as_bytes()));
                }
            }
        }
        ledger.settle(&mut |repeat| told.push(repeat)).unwrap();
        ledger.commit(b"end", &[], 0).unwrap();
        prop_assert_eq!(sorted(told), sorted(model.repeats));
        for id in 0..60 {
            prop_assert_eq!(ledger.find(identity(id)).unwrap(), model.kept.get(&identity(id)).copied());
        }
        prop_assert_eq!(ledger.damage(), &[] as &[String]);
    }

    /// Random bytes flipped anywhere in the files: never a panic, never a wrong answer in silence.
    #[test]
    fn damage_is_told_or_refused(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1u8..), 1..4)) {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(dir.path(), OPTIONS).unwrap();
        let step = |id: u64| Step { id, second: 5, checksum: id, producer: 1 };
        ledger.insert(&stretch(0, 0, &(0..3000).map(step).collect::<Vec<_>>())).unwrap();
        ledger.settle(&mut |_| {}).unwrap();
        ledger.commit(b"state", &[(1, b"entry".to_vec())], 0).unwrap();
        drop(ledger);
        let mut names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_file()).collect();
        names.sort();
        for (file, at, mask) in &flips {
            let path = file.get(&names);
            let mut bytes = std::fs::read(path).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= mask;
            std::fs::write(path, bytes).unwrap();
        }
        if let Ok(mut ledger) = Ledger::open(dir.path(), OPTIONS) {
            let mut missed = 0;
            for id in 0..3000 {
                match ledger.find(identity(id)).unwrap() {
                    Some(seen) => prop_assert_eq!((seen.offset, seen.checksum), (id as i64 * 3, id)),
                    None => missed += 1,
                }
            }
            prop_assert!(missed == 0 || !ledger.damage().is_empty(), "{} missed in silence", missed);
        }
    }
}

/// A short history: what each commit holds. Runs it with the disk failing for good after `steps` steps.
fn history(dir: &Path, steps: i64) -> (usize, bool) {
    let faults = Faults::after(i64::MAX);
    let mut ledger = Ledger::open_with(dir, OPTIONS, faults.clone()).unwrap();
    faults.arm(steps);
    for number in 0..10u64 {
        let step = |id: u64| Step { id, second: 5, checksum: id, producer: 1 };
        let rows = stretch(0, number as i64 * 1000, &(number * 50..number * 50 + 100).map(step).collect::<Vec<_>>());
        let entry = (u128::from(number), format!("entry {number}").into_bytes());
        let done = ledger
            .insert(&rows)
            .and_then(|()| ledger.settle(&mut |_| {}))
            .and_then(|()| ledger.commit(&number.to_le_bytes(), &[entry], 0));
        if let Err(error) = done {
            assert!(matches!(error, LedgerError::DiskFull { .. }), "{error}");
            let after = ledger.insert(&rows);
            assert!(matches!(after, Err(LedgerError::Poisoned { .. })), "a failed ledger takes nothing more");
            return (number as usize, true);
        }
    }
    // A file that could not be removed after the last commit is no failure; the next open removes it.
    (10, faults.hit())
}

#[test]
fn a_failure_at_any_step_leaves_exactly_a_committed_state() {
    for steps in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let (committed, failed) = history(dir.path(), steps);
        let mut ledger = Ledger::open(dir.path(), OPTIONS).unwrap();
        let commits = ledger.state().map_or(0, |state| state[0] as usize + 1);
        // The step that failed may be one behind the commit point.
        assert!(
            commits == committed || commits == committed + 1,
            "after {steps} steps: {commits}, acknowledged {committed}"
        );
        assert_eq!(ledger.entries().unwrap().count(), commits);
        for id in 0..(commits as u64 * 50 + 100) {
            let known = id < commits as u64 * 50 + if commits > 0 { 50 } else { 0 };
            assert_eq!(ledger.find(identity(id)).unwrap().is_some(), known, "identity {id} after {steps} steps");
        }
        let names: BTreeMap<String, u64> = ledger.files.names().unwrap().into_iter().map(|name| (name, 0)).collect();
        assert!(names.keys().all(|name| !name.ends_with(TMP)), "{names:?}");
        if !failed {
            assert_eq!(committed, 10);
            break;
        }
    }
}

#[test]
fn a_second_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _first = Ledger::open(dir.path(), OPTIONS).unwrap();
    let error = Ledger::open(dir.path(), OPTIONS).err().unwrap();
    assert!(matches!(error, LedgerError::Locked { .. }), "{error}");
}

#[test]
fn a_foreign_or_missing_key_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(Ledger::open(dir.path(), OPTIONS).unwrap());
    std::fs::write(dir.path().join(key::NAME), [7; 192]).unwrap();
    assert!(matches!(Ledger::open(dir.path(), OPTIONS).err(), Some(LedgerError::Key { .. })));
    std::fs::remove_file(dir.path().join(key::NAME)).unwrap();
    assert!(matches!(Ledger::open(dir.path(), OPTIONS).err(), Some(LedgerError::Key { .. })));
}

#[test]
fn generations_past_the_horizon_are_dropped_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(dir.path(), OPTIONS).unwrap();
    for (number, second) in [(0u64, 100), (1, 5000)] {
        let step = Step { id: number, second, checksum: 0, producer: -1 };
        ledger.insert(&stretch(0, number as i64 * 100, &[step])).unwrap();
        ledger.settle(&mut |_| {}).unwrap();
        ledger.commit(b"", &[], second as u32).unwrap();
    }
    assert_eq!(ledger.find(identity(0)).unwrap(), None);
    assert!(ledger.find(identity(1)).unwrap().is_some());
    assert_eq!(ledger.stats().runs, 1);
}

#[test]
fn many_small_runs_become_few() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(dir.path(), OPTIONS).unwrap();
    for number in 0..100u64 {
        let step = |id: u64| Step { id, second: 5, checksum: id, producer: id as i64 % 2 };
        ledger
            .insert(&stretch(0, number as i64 * 100, &(number * 10..number * 10 + 10).map(step).collect::<Vec<_>>()))
            .unwrap();
        ledger.settle(&mut |repeat| panic!("{repeat:?}")).unwrap();
        ledger.commit(b"", &[], 0).unwrap();
    }
    assert!(ledger.stats().runs < 3 * merge::FAN_IN, "{:?}", ledger.stats());
    for id in 0..1000 {
        let seen = ledger.find(identity(id)).unwrap().unwrap();
        assert_eq!((seen.offset, seen.producer.id), (id as i64 / 10 * 100 + id as i64 % 10 * 3, id as i64 % 2));
    }
}
