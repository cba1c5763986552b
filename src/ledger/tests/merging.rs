//! Merges behind the commits: every answer stays, runs stay few, and stopping at any moment loses nothing.

use super::{Ledger, Tuning, identity, open, seen, settle, small, stretch};

/// `parts` commits of `rows` distinct sightings each.
fn fill(ledger: &mut Ledger, parts: u64, rows: u64) {
    for part in 0..parts {
        ledger.insert(&stretch((part * rows) as i64, part * rows..(part + 1) * rows)).unwrap();
        assert_eq!(settle(ledger), []);
        ledger.commit(&part.to_le_bytes(), &[], 0).unwrap();
    }
}

fn holds_exactly(ledger: &Ledger, rows: u64) {
    assert_eq!(ledger.stats().rows, rows);
    for number in 0..rows {
        assert_eq!(seen(ledger, number).map(|seen| seen.offset), Some(number as i64), "{number}");
    }
    for number in rows..rows + 1000 {
        assert_eq!(ledger.find(identity(number)).unwrap(), None);
    }
}

#[test]
fn a_bucket_merged_in_parts_is_the_bucket_merged_at_once() {
    for sorted_rows in [16, 1 << 20] {
        let dir = tempfile::tempdir().unwrap();
        let tuning = Tuning { fan_in: 3, sorted_rows, ..small(u64::MAX) };
        let mut ledger = open(dir.path(), &tuning);
        // So many rows that a bucket has groups to be cut at.
        fill(&mut ledger, 3, 30_000);
        assert_eq!(ledger.stats().runs, 1);
        holds_exactly(&ledger, 90_000);
    }
}

#[test]
fn merging_behind_the_commits_keeps_runs_few_and_every_answer() {
    let dir = tempfile::tempdir().unwrap();
    let tuning = Tuning { fan_in: 4, merge_behind: true, ..small(u64::MAX) };
    let mut ledger = open(dir.path(), &tuning);
    fill(&mut ledger, 200, 50);
    assert!(ledger.stats().runs <= 3 * 4 * 4, "{:?}", ledger.stats());
    holds_exactly(&ledger, 10_000);
}

#[test]
fn a_merge_cut_short_by_closing_leaves_nothing_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let tuning = Tuning { fan_in: 2, merge_behind: true, ..small(u64::MAX) };
    for round in 1..=20u64 {
        let mut ledger = open(dir.path(), &tuning);
        let from = (round - 1) * 2_000;
        for half in 0..2 {
            let numbers = from + half * 1_000..from + (half + 1) * 1_000;
            ledger.insert(&stretch(numbers.start as i64, numbers)).unwrap();
            assert_eq!(settle(&mut ledger), []);
            ledger.commit(b"", &[], 0).unwrap();
        }
        drop(ledger);
        let ledger = open(dir.path(), &tuning);
        holds_exactly(&ledger, round * 2_000);
        let left_over = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(!left_over.into_iter().any(|name| name.to_string_lossy().ends_with(".tmp")));
    }
}
