//! Every step of every call fails once; what is opened afterwards is exactly a committed state.

use std::path::Path;

use super::{Ledger, LedgerError, identity, open, settle, small, stretch};
use crate::ledger::store::Tuning;

/// Numbers of the rows the `round`th commit adds, and its state.
const ROWS: u64 = 40;

/// One round of the engine's work: sightings, settling twice, a commit with state and journal.
fn round(ledger: &mut Ledger, round: u64) -> Result<(), LedgerError> {
    let numbers = round * ROWS..(round + 1) * ROWS;
    let middle = numbers.start + ROWS / 2;
    for part in [numbers.start..middle, middle..numbers.end] {
        ledger.insert(&stretch(part.start as i64, part))?;
        ledger.settle(0, &mut |repeat| panic!("nothing repeats: {repeat:?}"))?;
    }
    ledger.commit(&round.to_le_bytes(), &[(u128::from(round), vec![round as u8; 300])], 0)
}

/// How many rounds the ledger holds; asserts that it holds exactly those.
fn rounds_in(ledger: &Ledger) -> u64 {
    let rounds = ledger.state().map_or(0, |state| u64::from_le_bytes(state.try_into().unwrap()) + 1);
    assert_eq!(ledger.stats().rows, rounds * ROWS);
    for number in 0..rounds * ROWS {
        assert_eq!(ledger.find(identity(number)).unwrap().unwrap().offset, number as i64);
    }
    let entries: Vec<_> = ledger.entries().unwrap().map(Result::unwrap).collect();
    let expected: Vec<_> = (0..rounds).map(|round| (u128::from(round), vec![round as u8; 300])).collect();
    assert_eq!(entries, expected);
    rounds
}

/// Files that only a commit may name, and left-overs.
fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.starts_with("run-") || name.starts_with("state-") || name.ends_with(".tmp"));
    names
}

/// Runs six rounds with the steps after the `k`th failing; true when one did.
fn fail_after(k: i64, durable: bool) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let tuning = Tuning { durable, ..small(u64::MAX) };
    let mut ledger = open(dir.path(), &tuning);
    tuning.faults.arm(k);
    let mut done = 0;
    let failure = loop {
        match round(&mut ledger, done) {
            Err(error) => break Some(error),
            Ok(()) if done == 5 => break None,
            Ok(()) => done += 1,
        }
    };
    let has_failed = tuning.faults.hit();
    // A file that could not be removed is no failure of the call.
    if let Some(error) = failure {
        assert!(matches!(error, LedgerError::DiskFull { .. }), "{error}");
        assert!(matches!(ledger.find(0), Err(LedgerError::Poisoned { .. })));
        assert!(matches!(ledger.insert(&stretch(0, 0..1)), Err(LedgerError::Poisoned { .. })));
        assert!(matches!(ledger.commit(b"", &[], 0), Err(LedgerError::Poisoned { .. })));
    } else {
        done += 1;
    }
    drop(ledger);
    tuning.faults.arm(i64::MAX);

    let mut ledger = open(dir.path(), &tuning);
    let held = rounds_in(&ledger);
    assert!(held == done || held == done + 1, "step {k}: {held} rounds where {done} were acknowledged");
    assert_eq!(files(dir.path()).len(), ledger.stats().runs + usize::from(held > 0), "step {k}: left-overs");
    // And it goes on from there as if nothing had been.
    round(&mut ledger, held).unwrap();
    assert_eq!(rounds_in(&ledger), held + 1);
    has_failed
}

#[test]
fn after_a_failure_at_any_step_the_ledger_opens_with_a_committed_state() {
    let mut k = 0;
    while fail_after(k, false) {
        k += 1;
    }
    assert!(k > 100, "only {k} steps");
}

#[test]
fn after_a_failure_at_any_fsync_too() {
    for k in (0..150).step_by(3) {
        fail_after(k, true);
    }
}

/// Copies a ledger's directory as a crash at this instant would leave it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[test]
fn a_copy_taken_between_calls_holds_the_last_commit_and_nothing_of_what_came_after() {
    let dir = tempfile::tempdir().unwrap();
    let tuning = Tuning { durable: true, ..small(u64::MAX) };
    let mut ledger = open(&dir.path().join("live"), &tuning);
    for number in 0..4 {
        round(&mut ledger, number).unwrap();
        ledger.insert(&stretch(5000, 5000..5100)).unwrap();
        let check = |name: &str| {
            let path = dir.path().join(format!("{name}-{number}"));
            copy(&dir.path().join("live"), &path);
            let crashed = open(&path, &tuning);
            assert_eq!(rounds_in(&crashed), number + 1);
            assert_eq!(crashed.find(identity(5000)).unwrap(), None);
        };
        check("inserted");
        settle(&mut ledger);
        check("settled");
        drop(ledger);
        ledger = open(&dir.path().join("live"), &tuning);
    }
}
