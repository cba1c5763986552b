//! The hot path above the record format: identify, sessions, and the partition checks over whole batches.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sordini::audit::partition::{PartitionAudit, PartitionRules, PartitionState};
use sordini::audit::sessions::{Lane, SessionRules, Sessions};
use sordini::identify::observations::Says;
use sordini::identify::{Arrival, Identifier, Observations, Rules};
use sordini::source::{Batch, Cleanup};
use sordini::wire::encode::RecordBuffer;

const RECORDS: usize = 100_000;
const BATCH: usize = 500;

/// Batches of records with an id, a session and a number in their headers.
fn batches() -> Vec<RecordBuffer> {
    let record = |buffer: &mut RecordBuffer, n: usize| {
        let (id, number) = (format!("event-{n:012}"), n.to_string());
        let headers: [(&[u8], Option<&[u8]>); 3] =
            [(b"event-id", Some(id.as_bytes())), (b"producer", Some(b"p0")), (b"seq", Some(number.as_bytes()))];
        buffer.push(n as i64, 1_700_000_000_000 + n as i64, Some(b"key"), Some(&[b'x'; 100]), &headers);
    };
    let batch = |from: usize| {
        let mut buffer = RecordBuffer::default();
        (from..from + BATCH).for_each(|n| record(&mut buffer, n));
        buffer
    };
    (0..RECORDS).step_by(BATCH).map(batch).collect()
}

fn audit(batches: &[RecordBuffer], rules: Option<&Rules>) -> u64 {
    let identifier = rules.map(|rules| Identifier::new(rules.clone(), &[7; 192], "t", 0));
    let partition_rules =
        PartitionRules { cleanup: Cleanup::Delete, has_headers: false, timestamp_bound_ms: 3_600_000 };
    let mut audit = PartitionAudit::new(PartitionState::new("t", None, 0, 0), partition_rules, identifier);
    let (mut seen, mut findings) = (Observations::new(0), Vec::new());
    for buffer in batches {
        let batch = Batch {
            base_offset: buffer.base_offset(),
            until: buffer.until(),
            header: None,
            aborted: false,
            marker: None,
            records: buffer.records(),
            bytes: buffer.bytes(),
        };
        audit.batch(batch, i64::MAX, &mut seen, &mut findings);
        if seen.rows() > 30_000 {
            seen = Observations::new(0);
        }
    }
    audit.state.offsets.records
}

fn partition(criterion: &mut Criterion) {
    let batches = batches();
    let mut group = criterion.benchmark_group("partition");
    group.throughput(Throughput::Elements(RECORDS as u64));
    group.bench_function("default checks", |b| b.iter(|| audit(black_box(&batches), None)));
    let id = Rules { id: "header:event-id".parse().ok(), ..Rules::default() };
    group.bench_function("with an id", |b| b.iter(|| audit(black_box(&batches), Some(&id))));
    let all = Rules { session: "header:producer".parse().ok(), sequence: "header:seq".parse().ok(), ..id };
    group.bench_function("with an id, a session and a number", |b| b.iter(|| audit(black_box(&batches), Some(&all))));
    group.finish();
}

fn sessions(criterion: &mut Criterion) {
    let rules = SessionRules { wait_ms: 30_000, start: Some(0), topic_scope: false };
    let lane = Lane { topic: 0, topic_name: "t", partition: 0, slowest: i64::MAX, from_beginning: true };
    let mut group = criterion.benchmark_group("sessions");
    group.throughput(Throughput::Elements(RECORDS as u64));
    for (name, lost_every) in [("in order", usize::MAX), ("every hundredth lost", 100)] {
        let arrivals: Vec<Arrival> = (0..RECORDS)
            .filter(|n| n % lost_every != lost_every - 1)
            .map(|n| Arrival {
                session: (n % 4) as u64,
                says: Says::Number((n / 4) as i64),
                offset: n as i64,
                timestamp: n as i64,
                stream_time: n as i64,
                checksum: n as u64,
            })
            .collect();
        group.bench_function(name, |b| {
            b.iter(|| {
                let (mut sessions, mut out) = (Sessions::default(), Vec::new());
                for arrival in &arrivals {
                    sessions.arrive(arrival, &lane, &rules, &mut out);
                }
                sessions.figures.sessions
            });
        });
    }
    group.finish();
}

criterion_group!(benches, partition, sessions);
criterion_main!(benches);
