//! How fast bytes become records: cutting and checking batches, walking records, looking up a header, decompressing,
//! and the same for JSON lines.

use std::hint::black_box;
use std::io::Cursor;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sordini::source::lines::LinesSource;
use sordini::source::{Assignment, Event, PartitionInfo, Sink, Source};
use sordini::wire::encode::{codec_bits, compress, write_batch, write_record};
use sordini::wire::{BatchHeader, Batches, Codec, Scratch};

const BATCHES: usize = 64;
const RECORDS: i32 = 500;
const RECORD_BYTES: usize = 100;

/// Batches of 500 records of 100 bytes of text that compresses about as JSON does.
fn fetched(codec: Codec, with_headers: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for batch in 0..BATCHES as i64 {
        let mut body = Vec::new();
        for delta in 0..RECORDS {
            let number = batch * i64::from(RECORDS) + i64::from(delta);
            let mut value = format!("{{\"order\":{number},\"account\":{},\"amount\":", number * 7919 % 100_003);
            value.extend(std::iter::repeat_n('7', RECORD_BYTES - 10 - value.len().min(RECORD_BYTES - 10)));
            let key = number.to_be_bytes();
            let id = number.to_string();
            let headers: &[_] = &[(&b"trace"[..], Some(&b"00-4bf92f3577b34da6"[..])), (b"id", Some(id.as_bytes()))];
            let headers = if with_headers { headers } else { &[] };
            write_record(&mut body, i64::from(delta), delta, Some(&key), Some(value.as_bytes()), headers);
        }
        let header = BatchHeader {
            base_offset: batch * i64::from(RECORDS),
            leader_epoch: 0,
            crc: 0,
            attributes: codec_bits(codec),
            last_offset_delta: RECORDS - 1,
            base_timestamp: 1_700_000_000_000,
            max_timestamp: 1_700_000_000_500,
            producer_id: 4000,
            producer_epoch: 1,
            base_sequence: 0,
            records_count: RECORDS,
        };
        write_batch(&mut out, &header, &compress(codec, &body).expect("memory takes everything"));
    }
    out
}

fn walk(bytes: &[u8], scratch: &mut Scratch) -> usize {
    let mut length = 0;
    for batch in Batches::new(bytes).flatten() {
        for record in batch.records(scratch).into_iter().flatten().flatten() {
            length += record.value.map_or(0, <[u8]>::len);
        }
    }
    length
}

fn headers_and_crc(c: &mut Criterion) {
    let bytes = fetched(Codec::None, false);
    let mut group = c.benchmark_group("batches");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("header walk", |b| {
        b.iter(|| Batches::new(black_box(&bytes)).flatten().map(|batch| batch.header.until()).sum::<i64>())
    });
    group.bench_function("header walk and CRC", |b| {
        b.iter(|| Batches::new(black_box(&bytes)).flatten().filter(|batch| batch.is_crc_valid()).count())
    });
    group.finish();
}

fn records(c: &mut Criterion) {
    let (plain, with_headers) = (fetched(Codec::None, false), fetched(Codec::None, true));
    let mut scratch = Scratch::default();
    let mut group = c.benchmark_group("records");
    group.throughput(Throughput::Elements(BATCHES as u64 * RECORDS as u64));
    group.bench_function("walk", |b| b.iter(|| walk(black_box(&plain), &mut scratch)));
    group.bench_function("walk with two headers", |b| b.iter(|| walk(black_box(&with_headers), &mut scratch)));
    group.bench_function("look up a header", |b| {
        b.iter(|| {
            let mut length = 0;
            for batch in Batches::new(black_box(&with_headers)).flatten() {
                for record in batch.records(&mut scratch).into_iter().flatten().flatten() {
                    length += record.headers.last(b"id").ok().flatten().flatten().map_or(0, <[u8]>::len);
                }
            }
            length
        })
    });
    group.finish();
}

fn decompress(c: &mut Criterion) {
    let inflated = fetched(Codec::None, false).len() as u64;
    let mut group = c.benchmark_group("decompress and walk");
    group.throughput(Throughput::Bytes(inflated));
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let bytes = fetched(codec, false);
        let mut scratch = Scratch::default();
        group.bench_function(format!("{codec:?}").to_lowercase(), |b| {
            b.iter(|| walk(black_box(&bytes), &mut scratch));
        });
    }
    let bytes = fetched(Codec::Lz4, false);
    group.bench_function("lz4 with a new scratch", |b| {
        b.iter_batched(Scratch::default, |mut scratch| walk(black_box(&bytes), &mut scratch), BatchSize::SmallInput)
    });
    group.finish();
}

/// Counts, and does nothing else.
#[derive(Default)]
struct Counter {
    partitions: u32,
    records: usize,
}

impl Sink for Counter {
    fn register(&mut self, info: PartitionInfo) -> Assignment {
        self.partitions += 1;
        Assignment { index: self.partitions - 1, position: info.from, last_epoch: -1, info }
    }

    fn event(&mut self, _: u32, event: Event<'_>) {
        if let Event::Batch(batch) = event {
            self.records += batch.records.remaining();
        }
    }

    fn pass_on(&mut self, _: u32) {}

    fn unreadable_input(&mut self, place: &str, why: &str) {
        panic!("{place}: {why}");
    }

    fn stopped(&self) -> bool {
        false
    }
}

fn lines(c: &mut Criterion) {
    const LINES: usize = 100_000;
    let line = |n: usize| {
        format!(
            "{{\"topic\":\"orders\",\"partition\":{},\"offset\":{},\"tstype\":\"create\",\"ts\":1700000000000,\
             \"broker\":1,\"key\":\"{n:08}\",\"payload\":\"{}\"}}\n",
            n / 500 % 4,
            n,
            "7".repeat(RECORD_BYTES)
        )
    };
    let text: String = (0..LINES).map(line).collect();
    let mut group = c.benchmark_group("json lines");
    group.sample_size(20).throughput(Throughput::Elements(LINES as u64));
    group.bench_function("kcat", |b| {
        b.iter_batched(
            || Box::new(LinesSource::of("bench", Box::new(Cursor::new(text.clone())))),
            |source| {
                let mut sink = Counter::default();
                for mut reader in source.readers(Vec::new()).expect("a reader") {
                    reader.run(&mut sink).expect("memory can be read");
                }
                assert_eq!(sink.records, LINES);
            },
            BatchSize::LargeInput,
        )
    });
    group.finish();
}

criterion_group!(benches, headers_and_crc, records, decompress, lines);
criterion_main!(benches);
