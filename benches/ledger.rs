//! Sightings a second: distinct identities into an empty ledger, and a replay of known ones, commits included.
//!
//! `SORDINI_BENCH_ROWS` sets how many sightings a run takes (default 1 000 000).

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sordini::ledger::{Ledger, Options, Producer, Sightings};
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// Records of one fetched answer.
const STRETCH: u64 = 4000;

/// Rows `from..from + STRETCH` of partition `from / STRETCH % 16`, 1000 records a second and partition; their offsets
/// moved by `shift`, as when a producer sends everything again.
fn stretch(from: u64, shift: i64) -> Sightings {
    let rows = from..from + STRETCH;
    let offset = |row: u64| (row / (16 * STRETCH) * STRETCH + row % STRETCH) as i64;
    Sightings {
        partition: (from / STRETCH % 16) as u32,
        offsets: rows.clone().map(|row| offset(row) + shift).collect(),
        timestamps: rows.clone().map(|row| 1_700_000_000_000 + offset(row)).collect(),
        identities: rows.clone().map(|row| xxh3_128_with_seed(&row.to_le_bytes(), 7)).collect(),
        checksums: rows.collect(),
        producers: vec![(0, Producer { id: 4, epoch: 0 })],
    }
}

/// Takes `rows` sightings in; returns how many were repeats.
fn take_in(ledger: &mut Ledger, rows: u64, shift: i64) -> u64 {
    let mut repeats = 0;
    for from in (0..rows).step_by(STRETCH as usize) {
        ledger.insert(&stretch(from, shift)).unwrap();
        if ledger.is_full() || from + STRETCH >= rows {
            ledger.settle(0, &mut |repeat| repeats += u64::from(black_box(repeat).first.offset >= 0)).unwrap();
            ledger.commit(b"state", &[], 0).unwrap();
        }
    }
    repeats
}

fn ledger() -> (tempfile::TempDir, Ledger) {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { memory_bytes: 96 << 20, horizon_seconds: 86_400, durable: true };
    let ledger = Ledger::open(dir.path(), options).unwrap();
    (dir, ledger)
}

fn sightings(criterion: &mut Criterion) {
    let rows = std::env::var("SORDINI_BENCH_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(1_000_000u64);
    let mut group = criterion.benchmark_group("ledger");
    group.sample_size(10).throughput(Throughput::Elements(rows));
    group.bench_function("distinct", |bencher| {
        bencher.iter_batched(
            ledger,
            |(dir, mut ledger)| {
                assert_eq!(take_in(&mut ledger, rows, 0), 0);
                (dir, ledger)
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("replayed", |bencher| {
        bencher.iter_batched(
            || {
                let (dir, mut ledger) = ledger();
                take_in(&mut ledger, rows, 0);
                (dir, ledger)
            },
            |(dir, mut ledger)| {
                assert_eq!(take_in(&mut ledger, rows, 1 << 40), rows / STRETCH * STRETCH);
                (dir, ledger)
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, sightings);
criterion_main!(benches);
