//! The ledger: distinct identities in, and look-ups, at 1 M and (with `LEDGER_ROWS`) any other number.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sordini::ledger::{Ledger, Options, Sightings};
use xxhash_rust::xxh3::xxh3_128;

const STRETCH: u64 = 10_000;

fn rows() -> u64 {
    std::env::var("LEDGER_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(1_000_000)
}

fn stretch(from: u64) -> Sightings {
    let rows = from..from + STRETCH;
    Sightings {
        partition: 0,
        offsets: rows.clone().map(|n| n as i64).collect(),
        timestamps: rows.clone().map(|n| 1_700_000_000_000 + n as i64).collect(),
        identities: rows.clone().map(|n| xxh3_128(&n.to_le_bytes())).collect(),
        checksums: rows.collect(),
        producers: Vec::new(),
    }
}

fn open(dir: &std::path::Path) -> Ledger {
    let options = Options { memory_bytes: 96 << 20, horizon_seconds: 7 * 86_400, durable: true };
    Ledger::open(dir, options).expect("a ledger in a temporary directory")
}

fn fill(ledger: &mut Ledger, stretches: &[Sightings]) {
    for stretch in stretches {
        ledger.insert(stretch).expect("room in the buffer");
        if ledger.is_full() {
            ledger.settle(&mut |repeat| panic!("{repeat:?}")).expect("a run");
            ledger.commit(b"state", &[], 0).expect("a commit");
        }
    }
    ledger.settle(&mut |repeat| panic!("{repeat:?}")).expect("a run");
    ledger.commit(b"state", &[], 0).expect("a commit");
}

fn ledger(criterion: &mut Criterion) {
    let stretches: Vec<Sightings> = (0..rows()).step_by(STRETCH as usize).map(stretch).collect();
    let mut group = criterion.benchmark_group("ledger");
    group.sample_size(10).throughput(Throughput::Elements(rows()));
    group.bench_function("insert, distinct, durable", |b| {
        let fresh = || tempfile::tempdir().map(|dir| (open(dir.path()), dir)).expect("a temporary directory");
        b.iter_batched(
            fresh,
            |(mut ledger, dir)| {
                fill(&mut ledger, &stretches);
                (ledger, dir)
            },
            BatchSize::PerIteration,
        );
    });
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut ledger = open(dir.path());
    fill(&mut ledger, &stretches);
    group.throughput(Throughput::Elements(10_000));
    for (name, from) in [("look up, present", 0), ("look up, absent", rows())] {
        let wanted: Vec<u128> = (from..from + 10_000).map(|n| xxh3_128(&n.to_le_bytes())).collect();
        group.bench_function(name, |b| {
            b.iter(|| wanted.iter().filter(|&&id| ledger.find(black_box(id)).expect("a look-up").is_some()).count());
        });
    }
    group.finish();
}

criterion_group!(benches, ledger);
criterion_main!(benches);
