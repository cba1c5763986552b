//! The cases. Each takes the directory the cases of one size share, and asserts that the answers are right.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use sordini::ledger::{Ledger, Options, Sightings};

use super::traffic::{STRETCH, count, identity, shuffled, stretch};
use super::{Line, peers};

/// Rows replayed against a ledger.
const REPLAYED: u64 = 25_000_000 / STRETCH * STRETCH;
const LOOKED_UP: u64 = 200_000;

pub fn run(case: &str, rest: &[String]) -> Vec<Line> {
    let dir = Path::new(rest.last().expect("a directory"));
    let rows = count(&rest[0]);
    let size = &rest[0];
    match case {
        "yardstick" => vec![yardstick(dir, rows)],
        "distinct" => vec![take_in(&format!("{size} distinct"), dir, rows, 0, &|row| row, rows)],
        "hot" => vec![take_in("one identity over and over", dir, rows, 0, &|_| 0, 1)],
        "open" => vec![open_again(size, dir, rows)],
        "replay" => {
            let from = rows.saturating_sub(REPLAYED) / 2 / STRETCH * STRETCH;
            vec![replay(&format!("{size} known, replayed in order"), dir, rows, 1 << 40, &move |row| from + row)]
        }
        "shuffled" => {
            let pick = move |row| shuffled(row, rows);
            vec![replay(&format!("{size} known, replayed at random"), dir, rows, 1 << 41, &pick)]
        }
        "look-up" => look_up(size, dir, rows),
        "cold" => cold(size, dir, rows),
        "fjall" => vec![peers::fjall(dir, rows)],
        "sled" => vec![peers::sled(dir, rows)],
        other => panic!("no case {other}"),
    }
}

fn open(dir: &Path) -> Ledger {
    let megabytes = std::env::var("SORDINI_BENCH_MEMORY").ok().and_then(|mb| mb.parse().ok()).unwrap_or(512usize);
    let options = Options { memory_bytes: megabytes << 20, horizon_seconds: 366 * 86_400, durable: true };
    Ledger::open(dir, options).expect("the ledger opens")
}

/// Scatter, bucket sort, write 32 bytes a row, sync: what no such store can do without.
fn yardstick(dir: &Path, rows: u64) -> Line {
    let path = dir.join("yardstick");
    Line::of("yardstick: scatter, sort, write 32 B, sync", rows, String::new(), || {
        let mut buckets: Vec<Vec<[u64; 4]>> = (0..256).map(|_| Vec::with_capacity(rows as usize / 240)).collect();
        let mut columns = Sightings::default();
        for from in (0..rows).step_by(STRETCH as usize) {
            stretch(from, 0, &|row| row, &mut columns);
            for (at, &identity) in columns.identities.iter().enumerate() {
                let row = [(identity >> 64) as u64, identity as u64, columns.checksums[at], columns.offsets[at] as u64];
                buckets[(identity >> 120) as usize].push(row);
            }
        }
        let mut file = std::io::BufWriter::with_capacity(1 << 20, File::create(&path).expect("a file"));
        for bucket in &mut buckets {
            sort_bucket(bucket);
            for row in bucket.iter() {
                row.iter().for_each(|word| file.write_all(&word.to_le_bytes()).expect("written"));
            }
        }
        file.flush().and_then(|()| file.get_ref().sync_data()).expect("synced");
    })
}

/// Radix sort of (22 bits, index), gather, and an insertion pass for what 22 bits leave undecided.
fn sort_bucket(rows: &mut Vec<[u64; 4]>) {
    const BITS: u32 = 11;
    let key = |row: &[u64; 4]| (row[0] << 8) >> (64 - 2 * BITS);
    let mut order: Vec<(u32, u32)> = rows.iter().enumerate().map(|(at, row)| (key(row) as u32, at as u32)).collect();
    let mut other = order.clone();
    for pass in 0..2 {
        let digit = |entry: &(u32, u32)| (entry.0 >> (BITS * pass)) as usize & ((1 << BITS) - 1);
        let mut starts = [0u32; 1 << BITS];
        order.iter().for_each(|entry| starts[digit(entry)] += 1);
        let mut next = 0;
        starts.iter_mut().for_each(|start| next += std::mem::replace(start, next));
        for entry in &order {
            let place = &mut starts[digit(entry)];
            other[*place as usize] = *entry;
            *place += 1;
        }
        std::mem::swap(&mut order, &mut other);
    }
    let mut sorted: Vec<[u64; 4]> = order.iter().map(|&(_, at)| rows[at as usize]).collect();
    for at in 1..sorted.len() {
        let mut low = at;
        while low > 0 && sorted[low] < sorted[low - 1] {
            sorted.swap(low, low - 1);
            low -= 1;
        }
    }
    *rows = sorted;
}

/// `fresh` of the rows are to be kept, all others to be reported as repeats.
fn take_in(name: &str, dir: &Path, rows: u64, shift: i64, pick: &dyn Fn(u64) -> u64, fresh: u64) -> Line {
    let mut ledger = open(dir);
    let (mut repeats, mut pause) = (0u64, Duration::ZERO);
    let before = ledger.stats().rows;
    let mut line = Line::of(name, rows, String::new(), || {
        let mut columns = Sightings::default();
        for from in (0..rows).step_by(STRETCH as usize) {
            stretch(from, shift, pick, &mut columns);
            let began = Instant::now();
            ledger.insert(&columns).expect("inserted");
            ledger.relieve(&mut |_| repeats += 1).expect("relieved");
            if ledger.is_full() || from + STRETCH >= rows {
                ledger.settle(NOW, &mut |_| repeats += 1).expect("settled");
                ledger.commit(b"state", &[], NOW).expect("committed");
            }
            pause = pause.max(began.elapsed());
        }
    });
    let stats = ledger.stats();
    assert_eq!((stats.rows - before, repeats), (fresh, rows - fresh), "{name}");
    line.note = format!("longest pause {:.2} s, {} runs", pause.as_secs_f64(), stats.runs);
    if fresh == rows {
        let each = stats.disk_bytes as f64 / stats.rows as f64;
        line.note += &format!(
            ", {each:.2} B/sighting on disk, {:.2} in memory",
            stats.resident_bytes as f64 / stats.rows as f64
        );
    }
    line
}

/// Stream time of the traffic's start: nothing expires.
const NOW: u32 = 1_700_000_000;

/// Known rows again. What changes nothing can be done to the ledger itself.
fn replay(name: &str, dir: &Path, rows: u64, shift: i64, pick: &dyn Fn(u64) -> u64) -> Line {
    take_in(name, dir, REPLAYED.min(rows), shift, pick, 0)
}

fn open_again(size: &str, dir: &Path, rows: u64) -> Line {
    Line::of(&format!("{size}: open"), rows, "whole ledger, prefixes into memory".to_owned(), || {
        assert_eq!(open(dir).stats().rows, rows);
    })
}

fn look_up(size: &str, dir: &Path, rows: u64) -> Vec<Line> {
    let ledger = open(dir);
    let mut latencies = Vec::with_capacity(LOOKED_UP as usize);
    let mut all = |name: String, from: u64, expected: bool| {
        latencies.clear();
        let mut line = Line::of(&name, LOOKED_UP, String::new(), || {
            for at in 0..LOOKED_UP {
                let began = Instant::now();
                let found = ledger.find(identity(from + shuffled(at, rows))).expect("an answer");
                latencies.push(began.elapsed());
                assert_eq!(found.is_some(), expected);
            }
        });
        line.note = percentiles(&mut latencies);
        line
    };
    vec![
        all(format!("{size}: look-up, present, warm"), 0, true),
        all(format!("{size}: look-up, absent, warm"), rows * 2, false),
    ]
}

/// Point look-ups with nothing of the ledger in the page cache; left out where the cache cannot be dropped.
fn cold(size: &str, dir: &Path, rows: u64) -> Vec<Line> {
    let ledger = open(dir);
    if std::fs::write("/proc/sys/vm/drop_caches", "1").is_err() {
        return Vec::new();
    }
    const COLD: u64 = 2_000;
    let mut latencies = Vec::new();
    let mut line = Line::of(&format!("{size}: look-up, present, cold"), COLD, String::new(), || {
        for at in 0..COLD {
            let began = Instant::now();
            assert!(ledger.find(identity(shuffled(at, rows))).expect("an answer").is_some());
            latencies.push(began.elapsed());
        }
    });
    line.note = percentiles(&mut latencies);
    vec![line]
}

fn percentiles(latencies: &mut [Duration]) -> String {
    latencies.sort_unstable();
    let at = |share: usize| latencies[latencies.len() * share / 100].as_secs_f64() * 1e6;
    format!("p50 {:.1} µs, p99 {:.1} µs", at(50), at(99))
}
