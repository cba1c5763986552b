//! What sled is asked to hold stays within what it holds well: larger values become files it never syncs, and what is
//! rewritten in bulk makes it grow for ever.

use super::common::{open, settle_new, sizes, stretch};

#[test]
fn the_manifest_stays_small_whatever_is_committed() {
    let dir = tempfile::tempdir().unwrap();
    let meta = dir.path().join("meta");
    let mut ledger = open(dir.path(), 1 << 20, 400, true);
    let mut most_runs = 0;
    for commit in 0..500u64 {
        ledger.insert(&stretch(commit * 50..(commit + 1) * 50, commit as u32 * 10)).unwrap();
        settle_new(&mut ledger, commit as u32 * 10);
        let entries: Vec<_> = (0..700).map(|key| (key, vec![commit as u8; 30])).collect();
        ledger.commit(&vec![commit as u8; 100_000], &entries, commit as u32 * 10).unwrap();
        most_runs = most_runs.max(ledger.stats().runs);
        for (path, len) in sizes(&meta) {
            assert!(!path.starts_with(meta.join("blobs")), "{} is never synced", path.display());
            assert!(len <= 2 << 20, "{}: {len} bytes", path.display());
        }
    }
    assert!(most_runs > 10, "{most_runs}");
    drop(ledger);
    let values = super::document::manifest(&meta);
    assert!(values.len() <= most_runs + 2 && values.values().all(|value| value.len() <= 1024), "{}", values.len());
}
