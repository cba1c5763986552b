//! Flow matching: two stages of which the second sees each transaction some records after the first.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sordini::audit::duplicates::Names;
use sordini::audit::flows::plan::{Flow, Rule, Stage};
use sordini::audit::flows::{FlowState, Flows};
use sordini::audit::patterns::origins::Origin;
use sordini::identify::Observations;
use sordini::identify::facts::BatchFacts;
use sordini::identify::steps::Step;
use xxhash_rust::xxh3::xxh3_128;

const TRANSACTIONS: u64 = 100_000;
/// Transactions between the first stage and the second.
const UNDER_WAY: u64 = 1_000;

struct Plain;

impl Names for Plain {
    fn name(&self, _: u32) -> (&str, i32) {
        ("orders", 0)
    }
}

fn flow() -> Arc<Flow> {
    let stage = |name: &str, after| Stage {
        name: name.to_owned(),
        topic: name.to_owned(),
        after,
        rule: Rule::ExactlyOne,
        deadline_ms: 30_000,
        slo: None,
        agree: vec!["amount".to_owned()],
    };
    let stages = vec![stage("orders", None), stage("payments", Some(0))];
    Arc::new(Flow { name: "orders".to_owned(), stages, clock_bound_ms: 1_000, most_open: 2_000_000 })
}

fn step(n: u64, at_ms: i64) -> Step {
    Step {
        id: xxh3_128(&n.to_le_bytes()),
        offset: n as i64,
        timestamp: at_ms,
        stream_time: at_ms,
        rank: n,
        checksum: n,
        facts: u32::MAX,
        agree: n,
        lanes: 0,
        key: n as u32 | 1,
        size: 7,
        amount: Some(n as i64),
        number: Some(n as i64),
    }
}

/// In the order they are read: (stage, step).
fn traffic() -> Vec<(usize, Step)> {
    let mut all = Vec::with_capacity(2 * TRANSACTIONS as usize);
    for n in 0..TRANSACTIONS + UNDER_WAY {
        if n < TRANSACTIONS {
            all.push((0, step(n, n as i64)));
        }
        if let Some(answered) = n.checked_sub(UNDER_WAY) {
            all.push((1, step(answered, n as i64)));
        }
    }
    all
}

/// What the first stage's reader hands over of it.
fn orders(traffic: &[(usize, Step)]) -> Observations {
    let mut seen = Observations::default();
    for (_, step) in traffic.iter().filter(|(stage, _)| *stage == 0) {
        if seen.steps.len().is_multiple_of(100) {
            let producer = 1_000 + seen.steps.len() as i64 / 100 % 8;
            seen.batch(BatchFacts { producer, producer_epoch: 0, leader_epoch: 3, ..BatchFacts::NONE });
        }
        seen.steps.push(*step);
    }
    seen
}

fn matching(c: &mut Criterion) {
    let (flow, traffic) = (flow(), traffic());
    let orders = orders(&traffic);
    let mut group = c.benchmark_group("flows");
    group.throughput(Throughput::Elements(traffic.len() as u64));
    group.bench_function("two stages in order", |b| {
        b.iter_batched_ref(
            || Flows::new(flow.clone(), FlowState::default()),
            |flows| {
                let mut out = Vec::new();
                let mut origins = flows.origins(0, 0, &orders).into_iter();
                for (stage, step) in &traffic {
                    let origin = if *stage == 0 { origins.next().unwrap_or_default() } else { Origin::default() };
                    flows.take(step, origin, *stage, *stage as u32, &Plain, &mut out);
                }
                assert!(out.is_empty() && !flows.is_waiting());
                black_box(flows.summary().open)
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, matching);
criterion_main!(benches);
