//! Verifying finds whatever byte is flipped, and keys from outside.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use proptest::prelude::*;

use super::{identity, open, settle, small, stretch};
use crate::ledger::files::{Faults, Files};
use crate::ledger::manifest::Ids;
use crate::ledger::rows::{BUCKETS, Extent, Row, bucket_of};
use crate::ledger::run::{Run, RunHead, RunWriter};
use crate::ledger::{Key, Ledger, LedgerError, Options, Producer, Verified, verify};

fn written(dir: &Path, rows: u64) {
    let mut ledger = open(dir, &small(u64::MAX));
    ledger.insert(&stretch(0, 0..rows)).unwrap();
    settle(&mut ledger);
    ledger.commit(b"state", &[(1, vec![1; 100]), (2, vec![2; 100])], 0).unwrap();
}

fn checked(dir: &Path) -> Verified {
    verify(dir, None, &mut |done, total| assert!(done <= total)).unwrap()
}

/// Flips one bit and returns what verifying says.
fn flipped(dir: &Path, name: &str, bit: u64) -> Verified {
    let path = dir.join(name);
    let mut bytes = std::fs::read(&path).unwrap();
    let bit = bit % (bytes.len() as u64 * 8);
    bytes[bit as usize / 8] ^= 1 << (bit % 8);
    std::fs::write(path, bytes).unwrap();
    checked(dir)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn a_flipped_bit_anywhere_is_found(bit in any::<u64>(), of in 0usize..8) {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path(), 2000);
        let sound = checked(dir.path());
        prop_assert!(sound.is_sound());
        prop_assert_eq!((sound.runs, sound.rows, sound.entries), (1, 2000, 2));
        let name = ["journal", "state-00000001", "key"].get(of).copied().unwrap_or("run-00000000");
        let found = flipped(dir.path(), name, bit);
        prop_assert_eq!(found.faults.len(), 1, "{}: {:?}", name, found.faults);
        prop_assert!(found.faults[0].path.ends_with(name));
    }
}

#[test]
fn every_part_of_a_run_is_read() {
    // With twenty rows most buckets are empty, and still have fences.
    for (rows, stretch) in [(2000, 512), (20, 101)] {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path(), rows);
        let len = std::fs::metadata(dir.path().join("run-00000000")).unwrap().len();
        // A byte in every stretch, each put back afterwards.
        for at in (0..len).step_by(stretch).chain([len - 1]) {
            let found = flipped(dir.path(), "run-00000000", at * 8 + 3);
            assert_eq!(found.faults.len(), 1, "{rows} rows, byte {at}: {:?}", found.faults);
            flipped(dir.path(), "run-00000000", at * 8 + 3);
        }
        assert!(checked(dir.path()).is_sound());
    }
}

#[test]
fn what_is_missing_is_named_and_the_rest_is_still_read() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 2000);
    for name in ["run-00000000", "state-00000001", "key", "journal"] {
        std::fs::remove_file(dir.path().join(name)).unwrap();
    }
    let found = checked(dir.path());
    let named: Vec<_> = found.faults.iter().map(|f| f.path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(named, ["key", "state-00000001", "journal", "run-00000000"]);
    assert!(!dir.path().join("journal").exists(), "verifying makes no file");
}

/// A run whose pages are all intact and whose rows are in `order`.
fn run_of(rows: &[Row]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::new(dir.path(), false, Faults::default()).unwrap();
    let ids = Ids { ledger: 1, secret: 2 };
    let head = RunHead {
        ids,
        number: 0,
        generation: 0,
        min_second: 5,
        max_second: 5,
        rows: rows.len() as u64,
        extents: 1,
        span: 10,
    };
    let mut writer = RunWriter::create(&files, "run-00000000", head).unwrap();
    for bucket in 0..BUCKETS {
        let of: Vec<Row> = rows.iter().filter(|row| bucket_of(row.hi) == bucket).copied().collect();
        writer.bucket(&of).unwrap();
    }
    writer.extents([Extent { code: 2, offset: 0, producer: Producer::NONE, partition: 0, second: 5 }]).unwrap();
    let record = writer.finish().unwrap();
    let (mut flaws, run) = (Vec::new(), Run::open(&files, "run-00000000", record, ids).unwrap());
    run.check(ids, &mut flaws, &mut |_| {}).unwrap();
    flaws.into_iter().map(|flaw| flaw.what).collect()
}

#[test]
fn parts_that_are_intact_but_do_not_fit_each_other_are_found() {
    let row = |lo, code| Row { hi: 7 << 56, lo, checksum: 0, code };
    assert_eq!(run_of(&[row(1, 3), row(2, 2)]), [] as [&str; 0]);
    assert_eq!(run_of(&[row(2, 2), row(1, 3)]), ["the rows of bucket 7 are out of order"]);
    assert_eq!(run_of(&[row(1, 3), row(1, 3)]), ["the rows of bucket 7 are out of order"]);
    assert_eq!(run_of(&[row(1, 1)]), ["bucket 7 has rows that no extent explains"]);
    assert_eq!(run_of(&[row(1, 10)]), ["the parts of bucket 7 do not fit each other"]);
}

#[test]
fn a_key_outside_is_never_written_into_the_ledger_and_a_wrong_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (path, ledger) = (dir.path().join("secret.key"), dir.path().join("ledger"));
    let key = Key::create(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(Key::create(&path), Err(LedgerError::KeyExists { .. })));
    assert_eq!(Key::read(&path).unwrap(), key);
    let hex: String = key.secret().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(Key::parse(&format!(" {hex}\n")).unwrap(), key);
    for wrong in [&hex[1..], &format!("{hex}0"), &hex.replacen(&hex[..1], "g", 1)] {
        assert!(matches!(Key::parse(wrong), Err(LedgerError::KeyText)));
    }
    assert!(!format!("{key:?}").contains(&hex[..8]) && format!("{key:?}").contains(&format!("{:016x}", key.id())));

    let options = Options { memory_bytes: 1 << 20, horizon_seconds: 60, durable: false };
    let made = Ledger::open_with(&ledger, options, Some(&key)).unwrap();
    assert_eq!((made.secret(), made.secret_id()), (key.secret(), key.id()));
    drop(made);
    assert!(!ledger.join("key").exists());
    assert!(matches!(Ledger::open(&ledger, options), Err(LedgerError::Key { .. })));
    let other = Key::create(&dir.path().join("other.key")).unwrap();
    assert!(matches!(Ledger::open_with(&ledger, options, Some(&other)), Err(LedgerError::OtherKey { .. })));
    assert!(matches!(Ledger::open_to_read(&ledger, Some(&other)), Err(LedgerError::OtherKey { .. })));
    assert!(verify(&ledger, Some(&key), &mut |_, _| {}).unwrap().is_sound());
    assert_eq!(verify(&ledger, Some(&other), &mut |_, _| {}).unwrap().faults.len(), 1);
    Ledger::open_to_read(&ledger, Some(&key)).unwrap();
}

#[test]
fn ledgers_of_one_key_can_be_compared_and_others_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let key = Key::create(&dir.path().join("key")).unwrap();
    let open_in = |name: &str, key| {
        let options = Options { memory_bytes: 1 << 20, horizon_seconds: 60, durable: false };
        Ledger::open_with(&dir.path().join(name), options, key).unwrap()
    };
    let (a, b, c) = (open_in("a", Some(&key)), open_in("b", Some(&key)), open_in("c", None));
    a.same_secret(&b).unwrap();
    let refused = a.same_secret(&c).unwrap_err().to_string();
    assert!(refused.contains("different keys") && refused.contains("--ledger-key"), "{refused}");
    assert_eq!(a.find(identity(1)).unwrap(), None);
}
