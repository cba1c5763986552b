//! A ledger in format 1, kept in `tests/golden/ledger-v1`: no later version may stop reading it. Its files are under
//! `files`, each compressed; `zstd -d` unpacks them. What it holds is listed beside it.
//!
//! It must never be written again: an error it shows is an error in the code. A new format gets a directory of its own,
//! written by
//!
//! ```text
//! cargo test --test ledger -- --ignored golden::write
//! ```
//!
//! after `NAME` was changed and, so that it stays a list of its own, `history` was looked over.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use sordini::ledger::{Ledger, Producer, Seen, Sightings};

use super::common::{identity, open, settle, sizes};
use super::document::{self, Row};

const NAME: &str = "ledger-v1";
/// A generation spans 100 seconds.
const HORIZON: u64 = 800;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(NAME)
}

fn unpacked() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let files = golden().join("files");
    for (path, _) in sizes(&files) {
        let to = dir.path().join(path.strip_prefix(&files).unwrap()).with_extension("");
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, zstd::decode_all(&fs::read(path).unwrap()[..]).unwrap()).unwrap();
    }
    dir
}

fn listed_rows() -> Vec<Row> {
    let packed = fs::read(golden().join("sightings.csv.zst")).unwrap();
    let text = String::from_utf8(zstd::decode_all(&packed[..]).unwrap()).unwrap();
    let row = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        Row {
            identity: u128::from_str_radix(fields[0], 16).unwrap(),
            partition: fields[1].parse().unwrap(),
            offset: fields[2].parse().unwrap(),
            second: fields[3].parse().unwrap(),
            checksum: u64::from_str_radix(fields[4], 16).unwrap(),
            producer: fields[5].parse().unwrap(),
            epoch: fields[6].parse().unwrap(),
        }
    };
    text.lines().skip(1).map(row).collect()
}

fn listed_entries() -> Vec<(u128, Vec<u8>)> {
    let text = fs::read_to_string(golden().join("journal.csv")).unwrap();
    let entry = |line: &str| {
        let (key, bytes) = line.split_once(',').unwrap();
        (key.parse().unwrap(), bytes.as_bytes().to_vec())
    };
    text.lines().skip(1).map(entry).collect()
}

fn listed_state() -> Vec<u8> {
    fs::read(golden().join("state")).unwrap()
}

fn seen(row: &Row) -> Seen {
    let producer = Producer { id: row.producer, epoch: row.epoch };
    let Row { partition, offset, second, checksum, .. } = *row;
    Seen { partition, offset, second, checksum, producer }
}

#[test]
fn the_ledger_of_format_1_is_read_as_it_was_written() {
    let dir = unpacked();
    let mut ledger = open(dir.path(), 4 << 20, HORIZON, false);
    let rows = listed_rows();
    assert_eq!(ledger.stats().rows, rows.len() as u64);
    assert_eq!(ledger.state(), Some(&listed_state()[..]));
    assert_eq!(ledger.entries().unwrap().map(Result::unwrap).collect::<Vec<_>>(), listed_entries());
    let mut latest: BTreeMap<u128, Seen> = BTreeMap::new();
    for row in &rows {
        let kept = latest.entry(row.identity).or_insert_with(|| seen(row));
        *kept = if row.second > kept.second { seen(row) } else { *kept };
    }
    assert!(latest.len() < rows.len(), "an identity has several sightings");
    for (identity, expected) in latest {
        assert_eq!(ledger.find(identity).unwrap(), Some(expected));
    }
    assert_eq!(ledger.find(identity(u64::MAX)).unwrap(), None);
    // Each of them read again is known as the very same.
    rows.iter().for_each(|row| ledger.insert(&sightings(row)).unwrap());
    let settled = settle(&mut ledger, 0, &mut |repeat| panic!("{repeat:?}"));
    assert_eq!((settled.fresh, settled.reread), (0, rows.len() as u64));
    assert_eq!(ledger.damage().count(), 0);
}

#[test]
fn the_ledger_of_format_1_is_what_the_document_says() {
    let contents = document::read(unpacked().path());
    assert_eq!((contents.state, contents.entries), (Some(listed_state()), listed_entries()));
    let mut rows: Vec<Row> = contents.runs.iter().flat_map(|run| run.rows.iter().copied()).collect();
    let mut listed = listed_rows();
    rows.sort();
    listed.sort();
    assert_eq!(rows, listed);
    // It is rich enough to be worth keeping.
    let has = |test: &dyn Fn(&document::Run) -> bool| contents.runs.iter().any(test);
    assert!([7, 8, 9].into_iter().all(|head| has(&|run| run.head == head)));
    assert!([8, 9].into_iter().all(|bits| has(&|run| run.group_bits == bits)));
    assert!(has(&|run| run.extents > 120), "extents on two pages");
    let is_merged = |run: &document::Run| run.generation == 10 && run.rows.len() == 8 * 30;
    assert!(has(&is_merged) && has(&|run| run.generation == u32::MAX / 100) && has(&|run| run.generation == 0));
}

fn sightings(row: &Row) -> Sightings {
    Sightings {
        partition: row.partition,
        offsets: vec![row.offset],
        timestamps: vec![i64::from(row.second) * 1000],
        identities: vec![row.identity],
        checksums: vec![row.checksum],
        producers: vec![(0, Producer { id: row.producer, epoch: row.epoch })],
    }
}

/// A run of `numbers`: `step` offsets apart, `a_second` rows a second, each fifth second by another producer.
fn part(numbers: std::ops::Range<u64>, second: u32, step: i64, a_second: u64) -> Vec<Row> {
    let from = numbers.start;
    let row = |number: u64| {
        let second = second + ((number - from) / a_second) as u32;
        let producer = [(-1, -1), (90_000, 0), (90_000, 1), (i64::MAX, i16::MAX), (7, 0)][second as usize % 5];
        Row {
            identity: identity(number),
            partition: 2 + (number / 50 % 3) as u32,
            offset: number as i64 * step,
            second,
            checksum: number << 40 | 5,
            producer: producer.0,
            epoch: producer.1,
        }
    };
    numbers.map(row).collect()
}

/// What is settled and committed together, step by step; all of it is kept.
fn history() -> Vec<Vec<Row>> {
    let mut parts: Vec<Vec<Row>> = (0..11).map(|at| part(at * 30..(at + 1) * 30, 1000 + at as u32, 1, 7)).collect();
    parts.push(part(1000..10_300, 2100, 1, 95));
    // The first ones again, more than the horizon later.
    parts.push(part(0..20, 2199, 1, 100));
    parts.push(part(20_000..20_300, 3200, 1000, 40));
    parts.push(part(30_000..30_300, 3300, 65_536, 40));
    parts.push(part(40_000..40_003, 0, 1, 1));
    parts.push(part(50_000..50_003, u32::MAX - 5, -1, 1));
    // Upper halves that are alike.
    let mut alike = part(60_000..60_010, 3400, 1, 10);
    for (at, row) in alike.iter_mut().enumerate() {
        row.identity = 0xABCD_EF00_0000_0001 << 64 | at as u128;
    }
    parts.push(alike);
    parts
}

#[test]
#[ignore = "writes a golden ledger, once for each format"]
fn write() {
    assert!(!golden().exists(), "{} is never written again", golden().display());
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("key"), (0..192u8).map(|at| at.wrapping_mul(41) ^ 0x5A).collect::<Vec<u8>>()).unwrap();
    let mut ledger = open(dir.path(), 4 << 20, HORIZON, true);
    let parts = history();
    for (at, rows) in parts.iter().enumerate() {
        commit_part(&mut ledger, at, rows);
    }
    let state = ledger.state().unwrap().to_vec();
    drop(ledger);
    // Opened once more: what was merged last is cleaned up, and sled has written its snapshot.
    drop(open(dir.path(), 4 << 20, HORIZON, true));
    let pack = |bytes: &[u8]| zstd::encode_all(bytes, 19).unwrap();
    for (path, _) in sizes(dir.path()) {
        let name = path.strip_prefix(dir.path()).unwrap().to_str().unwrap().to_owned() + ".zst";
        let to = golden().join("files").join(name);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, pack(&fs::read(path).unwrap())).unwrap();
    }
    let mut csv = String::from("identity,partition,offset,second,checksum,producer,epoch\n");
    for row in parts.iter().flatten() {
        let Row { identity, partition, offset, second, checksum, producer, epoch } = row;
        writeln!(csv, "{identity:032x},{partition},{offset},{second},{checksum:x},{producer},{epoch}").unwrap();
    }
    fs::write(golden().join("sightings.csv.zst"), pack(csv.as_bytes())).unwrap();
    let journal = format!("key,bytes\n5,last of five\n{},largest key\n2,\n3,{}\n", u128::MAX, "long ".repeat(300));
    fs::write(golden().join("journal.csv"), journal).unwrap();
    fs::write(golden().join("state"), state).unwrap();
}

fn commit_part(ledger: &mut Ledger, at: usize, rows: &[Row]) {
    rows.iter().for_each(|row| ledger.insert(&sightings(row)).unwrap());
    let newest = rows.iter().map(|row| row.second).max().unwrap_or(0);
    settle(ledger, newest, &mut |repeat| panic!("{repeat:?}"));
    let entries = match at {
        0 => vec![(5, b"first of five".to_vec()), (u128::MAX, b"largest key".to_vec())],
        4 => vec![(2, Vec::new()), (5, b"second of five".to_vec())],
        12 => vec![(3, "long ".repeat(300).into_bytes()), (5, b"last of five".to_vec())],
        _ => Vec::new(),
    };
    // The stream time stands still: no generation is dropped.
    ledger.commit(format!("state after part {at}").as_bytes(), &entries, 0).unwrap();
}
