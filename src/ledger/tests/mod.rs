//! The ledger against a naive model, under crashes, full disks and damaged files.

mod crash;
mod damage;
pub(super) mod disk;
mod merging;
mod model;
mod power;
mod upkeep;
mod verify;

use std::path::Path;

use super::files::Faults;
use super::store::Tuning;
use super::{Ledger, LedgerError, Options, Producer, Repeat, Seen, Sightings};

/// A ledger whose buffer, fan-in and memory are small.
fn small(horizon: u64) -> Tuning {
    Tuning {
        memory_bytes: 1 << 30,
        buffer_bytes: 4 << 10,
        replay_bytes: 16 << 10,
        max_run_rows: 1 << 20,
        fan_in: 2,
        sorted_rows: 1 << 10,
        merge_behind: false,
        horizon,
        durable: false,
        faults: Faults::default(),
    }
}

fn open(dir: &Path, tuning: &Tuning) -> Ledger {
    Ledger::open_tuned(dir, tuning.clone()).unwrap()
}

/// Spreads small numbers over the buckets; the numbers below 4 share their upper half.
fn identity(number: u64) -> u128 {
    match number {
        0..4 => u128::from(number) | 7 << 80,
        _ => u128::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835),
    }
}

/// Identities `numbers` at consecutive offsets of partition 1, one a second.
fn stretch(offset: i64, numbers: impl IntoIterator<Item = u64>) -> Sightings {
    let identities: Vec<u128> = numbers.into_iter().map(identity).collect();
    let rows = identities.len() as i64;
    Sightings {
        partition: 1,
        offsets: (offset..offset + rows).collect(),
        timestamps: (offset..offset + rows).map(|at| at * 1000 + 7).collect(),
        checksums: identities.iter().map(|identity| (*identity >> 3) as u64).collect(),
        identities,
        producers: vec![(0, Producer { id: 5, epoch: 1 })],
    }
}

fn settle(ledger: &mut Ledger) -> Vec<Repeat> {
    settle_at(ledger, 0)
}

fn settle_at(ledger: &mut Ledger, newest_second: u32) -> Vec<Repeat> {
    let mut repeats = Vec::new();
    ledger.settle(newest_second, &mut |repeat| repeats.push(repeat)).unwrap();
    repeats
}

fn seen(ledger: &Ledger, number: u64) -> Option<Seen> {
    ledger.find(identity(number)).unwrap()
}

#[test]
fn a_second_opening_is_refused_while_the_first_lives() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { memory_bytes: 1 << 20, horizon_seconds: 60, durable: true };
    let first = Ledger::open(dir.path(), options).unwrap();
    let refused = Ledger::open(dir.path(), options).err();
    assert!(matches!(&refused, Some(LedgerError::Locked { path }) if path == dir.path()), "{refused:?}");
    drop(first);
    Ledger::open(dir.path(), options).unwrap();
}

#[test]
fn a_ledger_may_be_moved_to_another_thread() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = open(dir.path(), &small(60));
    let stats = std::thread::spawn(move || {
        ledger.insert(&stretch(0, 0..10)).unwrap();
        settle(&mut ledger);
        ledger.stats()
    });
    assert_eq!(stats.join().unwrap().rows, 10);
}

#[test]
fn a_new_ledger_is_empty_and_keeps_its_secret() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/ledger");
    let ledger = open(&path, &small(60));
    assert_eq!((ledger.state(), ledger.buffered(), ledger.stats().runs), (None, 0, 0));
    assert_eq!(ledger.entries().unwrap().count(), 0);
    let secret = *ledger.secret();
    assert_ne!(secret, [0; 192]);
    drop(ledger);
    assert_eq!(open(&path, &small(60)).secret(), &secret);
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(path.join("key")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_key_that_is_missing_or_another_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), &small(60)));
    let key = dir.path().join("key");
    let right = std::fs::read(&key).unwrap();
    for wrong in [None, Some(vec![1; 192]), Some(right[..191].to_vec())] {
        match &wrong {
            None => std::fs::remove_file(&key).unwrap(),
            Some(bytes) => std::fs::write(&key, bytes).unwrap(),
        }
        let refused = Ledger::open_tuned(dir.path(), small(60)).err();
        assert!(matches!(refused, Some(LedgerError::Key { .. })), "{refused:?}");
    }
    std::fs::write(&key, right).unwrap();
    open(dir.path(), &small(60));
}

#[test]
fn columns_of_different_length_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = open(dir.path(), &small(60));
    let mut uneven = stretch(0, 0..3);
    uneven.checksums.pop();
    assert!(matches!(ledger.insert(&uneven), Err(LedgerError::Columns { partition: 1 })));
    assert_eq!(ledger.buffered(), 0);
}

#[test]
fn second_and_producer_are_the_same_from_buffer_and_run_whatever_the_timestamp() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = open(dir.path(), &small(u64::MAX));
    let times = [-1, 0, 999, 1000, -5000, i64::MIN, i64::MAX, 1_700_000_000_123, 999];
    let sightings = Sightings {
        partition: 9,
        offsets: (0..times.len() as i64).map(|at| at * 70_000).collect(),
        timestamps: times.to_vec(),
        identities: (0..times.len() as u64).map(identity).collect(),
        checksums: vec![3; times.len()],
        producers: vec![(2, Producer { id: 1, epoch: 0 }), (3, Producer { id: 1, epoch: 1 })],
    };
    ledger.insert(&sightings).unwrap();
    let from_buffer: Vec<_> = (0..times.len() as u64).map(|number| seen(&ledger, number).unwrap()).collect();
    assert_eq!(
        from_buffer.iter().map(|seen| seen.second).collect::<Vec<_>>(),
        [0, 0, 0, 1, 0, 0, u32::MAX, 1_700_000_000, 0]
    );
    assert_eq!(from_buffer.iter().map(|seen| seen.producer.id).collect::<Vec<_>>(), [-1, -1, 1, 1, 1, 1, 1, 1, 1]);
    assert_eq!(from_buffer.iter().map(|seen| seen.offset).collect::<Vec<_>>(), sightings.offsets);
    settle(&mut ledger);
    ledger.commit(b"", &[], 0).unwrap();
    assert_eq!(ledger.buffered(), 0);
    let from_run: Vec<_> = (0..times.len() as u64).map(|number| seen(&ledger, number).unwrap()).collect();
    assert_eq!(from_run, from_buffer);
}

#[test]
fn a_hot_identity_is_kept_once_and_every_other_arrival_is_a_repeat() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = open(dir.path(), &small(u64::MAX));
    let rows = (1 << 18) + 10;
    let mut hot = stretch(0, std::iter::repeat_n(8, rows));
    hot.timestamps.fill(0);
    ledger.insert(&hot).unwrap();
    assert!(ledger.is_full());
    let mut next = 1;
    let settled = ledger.settle(0, &mut |repeat| {
        assert_eq!((repeat.first.offset, repeat.again.offset), (0, next));
        next += 1;
    });
    assert_eq!((settled.unwrap().fresh, next), (1, rows as i64));
}

#[test]
fn entries_are_the_last_of_each_key_in_first_written_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = open(dir.path(), &small(60));
    ledger.commit(b"1", &[(7, b"a".to_vec()), (3, b"b".to_vec()), (7, b"c".to_vec())], 0).unwrap();
    ledger.commit(b"2", &[(1, vec![]), (3, vec![9; 5000])], 0).unwrap();
    let expected = vec![(7, b"c".to_vec()), (3, vec![9; 5000]), (1, vec![])];
    let entries = |ledger: &Ledger| ledger.entries().unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(entries(&ledger), expected);
    drop(ledger);
    let ledger = open(dir.path(), &small(60));
    assert_eq!((entries(&ledger), ledger.state()), (expected, Some(&b"2"[..])));
}

#[test]
fn memory_of_runs_stays_within_what_the_buffer_leaves_and_the_answers_stay_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let mut tuning = small(u64::MAX);
    (tuning.fan_in, tuning.memory_bytes) = (100, 60_000 + tuning.buffer_bytes);
    let mut ledger = open(dir.path(), &tuning);
    for part in 0..6 {
        ledger.insert(&stretch(part * 500, part as u64 * 500..part as u64 * 500 + 500)).unwrap();
        assert_eq!(settle(&mut ledger), []);
        ledger.commit(b"", &[], 0).unwrap();
    }
    let directories = 6 * 257 * 8;
    let resident = ledger.stats().resident_bytes - directories;
    assert!((20_000..=60_000).contains(&resident), "{resident}");
    ledger.insert(&stretch(10_000, 0..3000)).unwrap();
    let repeats = settle(&mut ledger);
    assert_eq!(repeats.len(), 3000);
    assert!(repeats.iter().all(|repeat| repeat.again.offset - repeat.first.offset == 10_000));
}
