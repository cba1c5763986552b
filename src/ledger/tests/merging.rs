//! Merges behind the commits: every answer stays, runs stay few, and stopping at any moment loses nothing.

use super::{Faults, Ledger, Tuning, identity, open, seen, settle, small, stretch};
use crate::ledger::files::Files;
use crate::ledger::paused::Plan;

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

fn names(dir: &std::path::Path) -> Vec<String> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Closes and opens a ledger whose merges are long beside what is done between; returns how often one was kept.
fn reopen_often(dir: &std::path::Path, tuning: &Tuning, spoil: &dyn Fn(&std::path::Path)) -> usize {
    let mut kept = 0;
    for round in 0..24u64 {
        let mut ledger = open(dir, tuning);
        let numbers = round * 8_000..(round + 1) * 8_000;
        ledger.insert(&stretch(numbers.start as i64, numbers)).unwrap();
        assert_eq!(settle(&mut ledger), []);
        ledger.commit(b"", &[], 0).unwrap();
        drop(ledger);
        if names(dir).iter().any(|name| name == "merge") {
            kept += 1;
            spoil(dir);
        }
    }
    let mut ledger = open(dir, tuning);
    let before = ledger.stats().runs;
    while ledger.stats().runs == before {
        ledger.commit(b"", &[], 0).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert_eq!(ledger.damage().count(), 0);
    holds_exactly(&ledger, 24 * 8_000);
    kept
}

#[test]
fn a_merge_cut_short_by_closing_goes_on_at_the_next_opening() {
    let dir = tempfile::tempdir().unwrap();
    let tuning = Tuning { fan_in: 2, merge_behind: true, ..small(u64::MAX) };
    let kept_at = std::cell::RefCell::new(Vec::new());
    let look = |dir: &std::path::Path| {
        let plan = Plan::kept(&Files::new(dir, false, Faults::default()).unwrap()).unwrap();
        kept_at.borrow_mut().push((plan.number, plan.resume.unwrap().0));
    };
    assert!(reopen_often(dir.path(), &tuning, &look) > 3);
    let kept_at = kept_at.into_inner();
    assert!(kept_at.windows(2).all(|pair| pair[0].0 != pair[1].0 || pair[0].1 < pair[1].1), "{kept_at:?}");
    assert!(kept_at.windows(2).any(|pair| pair[0].0 == pair[1].0), "{kept_at:?}");
    // What is left over belongs to a merge that will go on.
    let left_over = names(dir.path()).iter().filter(|name| name.ends_with(".tmp")).count();
    assert!(left_over <= 1);
}

#[test]
fn a_merge_that_cannot_go_on_begins_anew() {
    let spoil: [&dyn Fn(&std::path::Path); 3] = [
        &|dir| std::fs::write(dir.join("merge"), b"nothing of the kind").unwrap(),
        &|dir| std::fs::remove_file(tmp_in(dir)).unwrap(),
        // What was written is lost, as after a crash that nobody noticed: the check before it counts finds it.
        &|dir| std::fs::write(tmp_in(dir), b"").unwrap(),
    ];
    for spoil in spoil {
        let dir = tempfile::tempdir().unwrap();
        let tuning = Tuning { fan_in: 2, merge_behind: true, ..small(u64::MAX) };
        assert!(reopen_often(dir.path(), &tuning, spoil) > 3);
    }
}

fn tmp_in(dir: &std::path::Path) -> std::path::PathBuf {
    dir.join(names(dir).into_iter().find(|name| name.ends_with(".tmp")).unwrap())
}

#[test]
fn what_was_lost_of_a_paused_merge_is_noticed_before_it_counts() {
    let dir = tempfile::tempdir().unwrap();
    let tuning = Tuning { fan_in: 2, merge_behind: true, ..small(u64::MAX) };
    let mut ledger = open(dir.path(), &tuning);
    fill(&mut ledger, 2, 60_000);
    drop(ledger);
    // Opened and closed until pages of rows have been written, and then one of them is spoilt.
    while std::fs::metadata(tmp_in(dir.path())).unwrap().len() < 100_000 {
        open(dir.path(), &tuning).commit(b"", &[], 0).unwrap();
    }
    let file = std::fs::File::options().write(true).open(tmp_in(dir.path())).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xFF; 100], 5_000).unwrap();

    let mut ledger = open(dir.path(), &tuning);
    while ledger.stats().runs > 1 {
        ledger.commit(b"", &[], 0).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert_eq!(ledger.damage().count(), 0);
    holds_exactly(&ledger, 120_000);
}
