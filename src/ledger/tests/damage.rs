//! Damaged files: reported or refused, never a panic and never a wrong answer in silence.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::{Ledger, LedgerError, identity, open, settle, small, stretch};
use crate::ledger::store::Tuning;

const ROWS: u64 = 2000;

/// A ledger of one run with [`ROWS`] rows.
fn written(dir: &Path, tuning: &Tuning) {
    let mut ledger = open(dir, tuning);
    ledger.insert(&stretch(0, 0..ROWS)).unwrap();
    settle(&mut ledger);
    ledger.commit(b"state", &[(1, vec![1; 100]), (2, vec![2; 100])], 0).unwrap();
}

fn file(dir: &Path, prefix: &str) -> PathBuf {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    names.into_iter().find(|path| path.file_name().unwrap().to_string_lossy().starts_with(prefix)).unwrap()
}

fn flip(path: &Path, bit: u64) {
    let mut bytes = std::fs::read(path).unwrap();
    let bit = bit % (bytes.len() as u64 * 8);
    bytes[bit as usize / 8] ^= 1 << (bit % 8);
    std::fs::write(path, bytes).unwrap();
}

/// Every identity comes again; each must be recognised, or the damage that hid it must be known.
fn replay(ledger: &mut Ledger) {
    ledger.insert(&stretch(10_000, 0..ROWS)).unwrap();
    let repeats = settle(ledger);
    for repeat in &repeats {
        assert_eq!(repeat.again.offset, repeat.first.offset + 10_000);
        assert_eq!(repeat.first.checksum, repeat.again.checksum);
    }
    let missing = ROWS - repeats.len() as u64;
    let affected: u64 = ledger.damage().map(|damage| damage.rows).sum();
    assert!(missing <= affected, "{missing} repeats missing, {affected} accounted for");
    if missing == 0 {
        return;
    }
    let again = ledger.damage().count();
    ledger.insert(&stretch(20_000, 0..ROWS)).unwrap();
    settle(ledger);
    assert_eq!(ledger.damage().count(), again, "the same damage counts once");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn a_flipped_bit_in_a_run_is_refused_or_reported_and_never_a_wrong_answer(
        bit in any::<u64>(),
        is_resident in any::<bool>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let tuning = Tuning { memory_bytes: if is_resident { 1 << 30 } else { 0 }, ..small(u64::MAX) };
        written(dir.path(), &tuning);
        flip(&file(dir.path(), "run-"), bit);
        let mut ledger = match Ledger::open_tuned(dir.path(), tuning) {
            Ok(ledger) => ledger,
            Err(LedgerError::Damaged { .. }) => return Ok(()),
            Err(error) => panic!("{error}"),
        };
        for number in (0..ROWS).step_by(7) {
            match ledger.find(identity(number)) {
                Ok(found) => prop_assert_eq!(found.map(|seen| seen.offset), Some(number as i64)),
                Err(LedgerError::Damaged { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        replay(&mut ledger);
    }
}

#[test]
fn a_run_cut_short_or_missing_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let tuning = small(u64::MAX);
    written(dir.path(), &tuning);
    let path = file(dir.path(), "run-");
    let bytes = std::fs::read(&path).unwrap();
    for len in [0, 1, 4096, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..len]).unwrap();
        let refused = Ledger::open_tuned(dir.path(), tuning.clone()).err();
        assert!(matches!(refused, Some(LedgerError::Damaged { .. })), "{len}: {refused:?}");
    }
    std::fs::remove_file(&path).unwrap();
    let refused = Ledger::open_tuned(dir.path(), tuning.clone()).err();
    assert!(matches!(refused, Some(LedgerError::Damaged { path: named, .. }) if named == path));
    std::fs::write(&path, bytes).unwrap();
    open(dir.path(), &tuning);
}

#[test]
fn a_run_of_another_ledger_is_refused() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tuning = small(u64::MAX);
    written(ours.path(), &tuning);
    written(theirs.path(), &tuning);
    std::fs::copy(file(theirs.path(), "run-"), file(ours.path(), "run-")).unwrap();
    let refused = Ledger::open_tuned(ours.path(), tuning).err();
    assert!(matches!(refused, Some(LedgerError::Damaged { .. })), "{refused:?}");
}

#[test]
fn damage_that_a_merge_meets_is_reported_and_its_run_stays() {
    let dir = tempfile::tempdir().unwrap();
    let tuning = small(u64::MAX);
    written(dir.path(), &tuning);
    // A byte of the first page of rows.
    flip(&file(dir.path(), "run-"), 8 * (4096 + 100));
    let mut ledger = open(dir.path(), &tuning);
    for part in [ROWS..2 * ROWS, 2 * ROWS..3 * ROWS] {
        ledger.insert(&stretch(part.start as i64, part)).unwrap();
        assert_eq!(settle(&mut ledger), []);
        ledger.commit(b"", &[], 0).unwrap();
    }
    assert_eq!(ledger.damage().map(|damage| damage.run).collect::<Vec<_>>(), [0]);
    // The two sound ones are merged with the next commit, the damaged one is left alone.
    ledger.commit(b"", &[], 0).unwrap();
    assert_eq!((ledger.stats().runs, ledger.stats().rows), (2, 3 * ROWS));
    for number in ROWS..3 * ROWS {
        assert_eq!(ledger.find(identity(number)).unwrap().unwrap().offset, number as i64);
    }
    replay(&mut ledger);
}

#[test]
fn a_damaged_page_of_extents_hides_its_own_rows_only() {
    let dir = tempfile::tempdir().unwrap();
    // Nothing is held in memory. Every row is an extent of its own, 120 to a page.
    let tuning = Tuning { memory_bytes: 0, ..small(u64::MAX) };
    let mut ledger = open(dir.path(), &tuning);
    ledger.insert(&stretch(0, 0..360)).unwrap();
    assert_eq!(settle(&mut ledger), []);
    ledger.commit(b"", &[], 0).unwrap();
    drop(ledger);
    let run = file(dir.path(), "run-");
    let tail = 96 + 257 * 8 + 2 * 4096;
    flip(&run, 8 * (std::fs::metadata(&run).unwrap().len() - tail + 1000));

    let mut ledger = open(dir.path(), &tuning);
    ledger.insert(&stretch(1000, 0..360)).unwrap();
    let mut known: Vec<i64> = settle(&mut ledger).iter().map(|repeat| repeat.first.offset).collect();
    known.sort_unstable();
    assert_eq!(known, (0..120).chain(240..360).collect::<Vec<i64>>());
    assert_eq!(ledger.damage().count(), 1);
}

#[test]
fn a_damaged_journal_or_state_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let tuning = small(u64::MAX);
    written(dir.path(), &tuning);
    for (name, bits) in [("journal", 2 * 124 * 8), ("state-", 5 * 8)] {
        let path = file(dir.path(), name);
        let bytes = std::fs::read(&path).unwrap();
        for bit in (0..bits).step_by(5) {
            flip(&path, bit);
            let refused = Ledger::open_tuned(dir.path(), tuning.clone()).err();
            assert!(matches!(refused, Some(LedgerError::Damaged { .. })), "{name} bit {bit}: {refused:?}");
            std::fs::write(&path, &bytes).unwrap();
        }
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(matches!(Ledger::open_tuned(dir.path(), tuning.clone()), Err(LedgerError::Damaged { .. })));
        std::fs::write(&path, [&bytes[..], b"left behind"].concat()).unwrap();
        match name {
            "journal" => {
                assert_eq!(open(dir.path(), &tuning).entries().unwrap().count(), 2);
                assert_eq!(std::fs::read(&path).unwrap(), bytes, "what was not committed is cut");
            }
            _ => assert!(Ledger::open_tuned(dir.path(), tuning.clone()).is_err()),
        }
        std::fs::write(&path, &bytes).unwrap();
    }
    assert_eq!(open(dir.path(), &tuning).state(), Some(&b"state"[..]));
}

#[test]
fn runs_without_a_manifest_are_not_swept_away() {
    let dir = tempfile::tempdir().unwrap();
    let tuning = small(u64::MAX);
    written(dir.path(), &tuning);
    std::fs::remove_dir_all(dir.path().join("meta")).unwrap();
    let run = file(dir.path(), "run-");
    assert!(matches!(Ledger::open_tuned(dir.path(), tuning), Err(LedgerError::Damaged { .. })));
    assert!(run.exists());
}
