//! The statistics of losses: what judging one counter costs.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sordini::audit::patterns::losses::{Run, Segment};
use sordini::audit::patterns::{bursts, periodic};

const TRIALS: i64 = 2_000_000;
const LOSSES: i64 = 40_000;

fn run(from: i64, length: i64) -> Run {
    Run { from, until: from + length, first_ms: from, last_ms: from + length - 1 }
}

/// Runs of this length at independent places, so many that about `LOSSES` numbers are lost, in this many equal
/// segments.
fn independent(length: i64, segments: i64) -> Vec<Segment> {
    let rng = &mut StdRng::seed_from_u64(1);
    let rate = LOSSES as f64 / TRIALS as f64 / length as f64;
    let until = TRIALS / segments;
    let mut segment = || Segment { from: 0, until, losses: losses(until, length, |_| rng.random_bool(rate)) };
    (0..segments).map(|_| segment()).collect()
}

/// Runs of this length from the numbers that begin one.
fn losses(until: i64, length: i64, mut begins: impl FnMut(i64) -> bool) -> Vec<Run> {
    let (mut losses, mut at) = (Vec::new(), 0);
    while at + length < until {
        if begins(at) {
            losses.push(run(at, length));
            at += length;
        }
        at += 1;
    }
    losses
}

/// Every hundredth number, and as many others.
fn every_hundredth() -> Vec<Segment> {
    let rng = &mut StdRng::seed_from_u64(1);
    let losses = losses(TRIALS, 1, |number| number % 100 == 7 || rng.random_bool(0.01));
    vec![Segment { from: 0, until: TRIALS, losses }]
}

fn judge(criterion: &mut Criterion) {
    let outages = (0..40).map(|i| run(i * i * 3_000_017 + i % 7, 1_000_000)).collect();
    let outages = vec![Segment { from: 0, until: 1 << 40, losses: outages }];
    let counters = [
        ("independent", independent(1, 1)),
        ("runs of 5", independent(5, 1)),
        ("10 segments", independent(1, 10)),
        ("100 segments", independent(1, 100)),
        ("every hundredth", every_hundredth()),
        ("40 outages of 1,000,000", outages),
    ];
    let mut group = criterion.benchmark_group("periodic");
    for (name, segments) in &counters {
        let lost = segments.iter().flat_map(|segment| &segment.losses).map(|run| (run.until - run.from) as u64).sum();
        group.throughput(Throughput::Elements(lost));
        group.bench_with_input(BenchmarkId::from_parameter(name), segments, |b, segments| {
            b.iter(|| periodic::judge(black_box(segments), &periodic::Settings::default()))
        });
    }
    group.finish();
    criterion.bench_function("bursts", |b| {
        b.iter(|| bursts::judge(black_box(&counters[0].1), &bursts::Settings::default()))
    });
}

criterion_group! { name = benches; config = Criterion::default().sample_size(20); targets = judge }
criterion_main!(benches);
