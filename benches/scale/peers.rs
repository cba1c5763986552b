//! What a user would take instead: the same sorted batches, look-up before insert, one durable commit a batch.

use std::path::Path;

use sordini::ledger::Sightings;

use super::Line;
use super::traffic::{STRETCH, stretch};

/// Rows of one batch: as many as the ledger's buffer of these benches would sort at once.
const BATCH: usize = 1_000_000;

/// Identity to position and checksum, sorted: sorting alone makes both stores several times faster.
fn batches(rows: u64, mut take: impl FnMut(&[([u8; 16], [u8; 20])])) {
    let (mut columns, mut batch) = (Sightings::default(), Vec::with_capacity(BATCH));
    for from in (0..rows).step_by(STRETCH as usize) {
        stretch(from, 0, &|row| row, &mut columns);
        for (at, identity) in columns.identities.iter().enumerate() {
            let mut value = [0; 20];
            value[..4].copy_from_slice(&columns.partition.to_le_bytes());
            value[4..12].copy_from_slice(&columns.offsets[at].to_le_bytes());
            value[12..].copy_from_slice(&columns.checksums[at].to_le_bytes());
            batch.push((identity.to_be_bytes(), value));
        }
        if batch.len() + STRETCH as usize > BATCH || from + STRETCH >= rows {
            batch.sort_unstable();
            take(&batch);
            batch.clear();
        }
    }
}

pub fn fjall(dir: &Path, rows: u64) -> Line {
    let mut line = Line::of("fjall 3, sorted batches", rows, String::new(), || {
        let database = fjall::Database::builder(dir).open().expect("fjall opens");
        let tree = database.keyspace("sightings", fjall::KeyspaceCreateOptions::default).expect("a keyspace");
        batches(rows, |batch| {
            let mut write = database.batch();
            for (key, value) in batch {
                if tree.get(key).expect("read").is_none() {
                    write.insert(&tree, key.as_slice(), value.as_slice());
                }
            }
            write.durability(Some(fjall::PersistMode::SyncData)).commit().expect("committed");
        });
    });
    line.note = disk(dir, rows);
    line
}

pub fn sled(dir: &Path, rows: u64) -> Line {
    let mut line = Line::of("sled 0.34, sorted batches", rows, String::new(), || {
        let database = sled::open(dir).expect("sled opens");
        batches(rows, |batch| {
            let mut write = sled::Batch::default();
            for (key, value) in batch {
                if database.get(key).expect("read").is_none() {
                    write.insert(key.as_slice(), value.as_slice());
                }
            }
            database.apply_batch(write).and_then(|()| database.flush()).expect("committed");
        });
    });
    line.note = disk(dir, rows);
    line
}

fn disk(dir: &Path, rows: u64) -> String {
    fn bytes(dir: &Path) -> u64 {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries
            .map(
                |entry| {
                    if entry.path().is_dir() { bytes(&entry.path()) } else { entry.metadata().map_or(0, |m| m.len()) }
                },
            )
            .sum()
    }
    format!("{:.1} B/sighting on disk", bytes(dir) as f64 / rows as f64)
}
