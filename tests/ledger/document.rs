//! A second reader, written from `docs/ledger-format.md` alone: slow, plain, and without a line of the ledger's own
//! code. What it reads proves the document; what it cannot read is an error in the document or in the ledger.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::xxh3_64;

use super::common::{open, settle_new, stretch};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    pub identity: u128,
    pub partition: u32,
    pub offset: i64,
    pub second: u32,
    pub checksum: u64,
    pub producer: i64,
    pub epoch: i16,
}

pub struct Contents {
    pub state: Option<Vec<u8>>,
    pub entries: Vec<(u128, Vec<u8>)>,
    pub runs: Vec<Run>,
}

pub struct Run {
    pub generation: u32,
    pub group_bits: u32,
    pub head: usize,
    pub extents: usize,
    pub rows: Vec<Row>,
}

fn int(bytes: &[u8]) -> u128 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u128::from(*byte))
}

fn big_endian(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0, |value, byte| value << 8 | u128::from(*byte))
}

fn checksum32(bytes: &[u8]) -> u128 {
    u128::from(xxh3_64(bytes) as u32)
}

/// Takes fields off the front.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn next(&mut self, len: usize) -> u128 {
        let (field, rest) = self.0.split_at(len);
        self.0 = rest;
        int(field)
    }
}

/// Reads a ledger no process has open.
pub fn read(dir: &Path) -> Contents {
    let manifest = manifest(&dir.join("meta"));
    let mut ids = Fields(&manifest[&b"v"[..]]);
    assert_eq!(ids.next(4), 1);
    let (secret, ledger) = (ids.next(8), ids.next(16));
    assert!(ids.0.is_empty());
    let key = std::fs::read(dir.join("key")).unwrap();
    assert_eq!((key.len(), u128::from(xxh3_64(&key))), (192, secret));

    let commit = manifest.get(&b"c"[..]).map(|value| (0..5).map(|at| int(&value[8 * at..][..8])).collect::<Vec<_>>());
    let state = commit.as_ref().map(|commit| {
        let state = std::fs::read(dir.join(format!("state-{:08}", commit[0]))).unwrap();
        assert_eq!((state.len() as u128, u128::from(xxh3_64(&state))), (commit[1], commit[2]));
        state
    });
    let journal_len = commit.as_ref().map_or(0, |commit| commit[3] as usize);
    let entries = entries(&std::fs::read(dir.join("journal")).unwrap()[..journal_len]);

    let mut runs = Vec::new();
    for (name, value) in manifest.iter().filter(|(name, _)| name.starts_with(b"r/")) {
        assert_eq!((name.len(), value.len()), (2 + 4 + 8, 40));
        let (generation, number) = (big_endian(&name[2..6]), big_endian(&name[6..14]));
        assert!(number < commit.as_ref().unwrap()[4]);
        let file = std::fs::read(dir.join(format!("run-{number:08}"))).unwrap();
        runs.push(run(&file, [number, generation, secret, ledger], Fields(value)));
    }
    Contents { state, entries, runs }
}

pub fn manifest(dir: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let deadline = Instant::now() + Duration::from_secs(5);
    let db = loop {
        match sled::open(dir) {
            Ok(db) => break db,
            // It lets go of its lock a little after it was dropped.
            Err(sled::Error::Io(_)) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
            Err(error) => panic!("{error}"),
        }
    };
    db.iter().map(|entry| entry.unwrap()).map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
}

fn entries(mut journal: &[u8]) -> Vec<(u128, Vec<u8>)> {
    let mut entries: Vec<(u128, Vec<u8>)> = Vec::new();
    while !journal.is_empty() {
        let len = int(&journal[..4]) as usize;
        let (frame, rest) = journal.split_at(24 + len);
        let covered = [&frame[..4], &frame[8..]].concat();
        assert_eq!(int(&frame[4..8]), checksum32(&covered));
        let (key, bytes) = (int(&frame[8..24]), frame[24..].to_vec());
        match entries.iter_mut().find(|(of, _)| *of == key) {
            Some(entry) => entry.1 = bytes,
            None => entries.push((key, bytes)),
        }
        journal = rest;
    }
    entries
}

fn page(file: &[u8], at: usize) -> &[u8] {
    let page = &file[at..at + 4096];
    assert_eq!(int(&page[..4]), checksum32(&page[4..]), "page at {at}");
    &page[4..]
}

/// Item `number` of pages that hold `a_page` items of `len` bytes and start at `at`.
fn item(file: &[u8], at: usize, a_page: usize, len: usize, number: usize) -> &[u8] {
    &page(file, at + 4096 * (number / a_page))[number % a_page * len..][..len]
}

fn assert_zeros_after_the_last(file: &[u8], at: usize, a_page: usize, len: usize, items: usize) {
    if items > 0 {
        let last = page(file, at + 4096 * ((items - 1) / a_page));
        assert!(last[((items - 1) % a_page + 1) * len..].iter().all(|byte| *byte == 0));
    }
}

/// Reads a run, holding it against its record in the manifest.
fn run(file: &[u8], [number, generation, secret, ledger]: [u128; 4], mut record: Fields<'_>) -> Run {
    let header = page(file, 0);
    assert_eq!(&header[..8], b"SRLDRUN1");
    let mut fields = Fields(&header[8..]);
    assert_eq!([(); 4].map(|()| fields.next(4)), [1, 0, 1, 1]);
    assert_eq!([8, 16, 8, 4].map(|len| fields.next(len)), [secret, ledger, number, generation]);
    assert!(fields.0.iter().all(|byte| *byte == 0));

    let footer = &file[file.len() - 96..];
    assert_eq!((&footer[..8], int(&footer[88..])), (&b"SRLDEND1"[..], u128::from(xxh3_64(&footer[..88]))));
    let mut fields = Fields(&footer[8..]);
    let [g, w, rows, extents, span] = [4, 4, 8, 8, 8].map(|len| fields.next(len) as usize);
    assert_eq!([8, 4].map(|len| fields.next(len)), [number, generation]);
    let [first_second, last_second, format] = [(); 3].map(|()| fields.next(4));
    let directory_checksum = fields.next(8);
    assert_eq!((format, fields.next(8), fields.next(8)), (1, secret, ledger & u128::from(u64::MAX)));
    let recorded = [8, 8, 8, 8, 4, 4].map(|len| record.next(len));
    let is = [rows as u128, span as u128, file.len() as u128, int(&footer[88..]), first_second, last_second];
    assert_eq!((recorded, record.0), (is, &[][..]));

    let group_bits = (rows / 18).max(1).ilog2().clamp(8, 32) as usize;
    let code_bits = (64 - (span as u64 - 1).leading_zeros()) as usize;
    assert_eq!((g, w), (group_bits, (48 - g + code_bits).div_ceil(8).max(7)));
    let a_page = 4092 / (w + 16);
    let fences_len = 4 * ((1 << (g - 8)) + 1);
    let prefix_at = 4096 * (1 + rows.div_ceil(a_page));
    let extents_at = prefix_at + 256 * fences_len + 2 * rows;
    let directory_at = extents_at + 4096 * extents.div_ceil(120);
    assert_eq!(file.len(), directory_at + 257 * 8 + 96);
    let directory = &file[directory_at..][..257 * 8];
    assert_eq!(directory_checksum, u128::from(xxh3_64(directory)));
    assert_eq!((int(&directory[8 * 256..][..4]), int(&directory[8 * 256 + 4..])), (rows as u128, 0));
    assert_zeros_after_the_last(file, 4096, a_page, w + 16, rows);
    assert_zeros_after_the_last(file, extents_at, 120, 34, extents);

    let extent_items: Vec<&[u8]> = (0..extents).map(|number| item(file, extents_at, 120, 34, number)).collect();
    assert!(extent_items.is_sorted_by_key(|extent| int(&extent[..8])));
    let mut found = Vec::new();
    let mut order = Vec::new();
    for bucket in 0..256 {
        let first = int(&directory[8 * bucket..][..4]) as usize;
        let end = int(&directory[8 * bucket + 8..][..4]) as usize;
        let prefix = &file[prefix_at + bucket * fences_len + 2 * first..][..fences_len + 2 * (end - first)];
        assert_eq!(int(&directory[8 * bucket + 4..][..4]), checksum32(prefix));
        let fence = |at: usize| int(&prefix[4 * at..][..4]) as usize;
        assert_eq!((fence(0), fence(1 << (g - 8))), (0, end - first));
        for group in 0..1 << (g - 8) {
            for at in fence(group)..fence(group + 1) {
                let tag = int(&prefix[fences_len + 2 * at..][..2]);
                let row = item(file, 4096, a_page, w + 16, first + at);
                let head = int(&row[..w]);
                let group = ((bucket << (g - 8)) + group) as u128;
                let hi = (group << 16 | tag) << (48 - g) | head & ((1 << (48 - g)) - 1);
                let code = head >> (48 - g);
                assert!(code < span as u128);
                let extent = extent_items.iter().rfind(|extent| int(&extent[..8]) <= code).unwrap();
                let row = row_of(hi << 64 | int(&row[w..w + 8]), int(&row[w + 8..]), code, extent);
                assert!((first_second..=last_second).contains(&row.second.into()));
                found.push(row);
                order.push((row.identity, code));
            }
        }
    }
    assert!(found.len() == rows && order.is_sorted());
    Run { generation: generation as u32, group_bits: g as u32, head: w, extents, rows: found }
}

fn row_of(identity: u128, checksum: u128, code: u128, extent: &[u8]) -> Row {
    let mut fields = Fields(extent);
    let [first_code, partition, offset, second, producer, epoch] = [8, 4, 8, 4, 8, 2].map(|len| fields.next(len));
    Row {
        identity,
        partition: partition as u32,
        offset: offset as i64 + (code - first_code) as i64,
        second: second as u32,
        checksum: checksum as u64,
        producer: producer as i64,
        epoch: epoch as i16,
    }
}

#[test]
fn a_reader_written_from_the_document_reads_what_was_written_merges_included() {
    // 9280 rows and eight times as many lie just above a step of the group bits.
    for rows in [1, 300, 9280] {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = open(dir.path(), 1 << 20, u64::MAX, false);
        let mut expected = Vec::new();
        for part in 0..12 {
            let sightings = stretch(part * rows..(part + 1) * rows, part as u32);
            expected.extend((0..rows as usize).map(|at| Row {
                identity: sightings.identities[at],
                partition: 3,
                offset: sightings.offsets[at],
                second: part as u32,
                checksum: sightings.checksums[at],
                producer: 4,
                epoch: 0,
            }));
            ledger.insert(&sightings).unwrap();
            settle_new(&mut ledger, 0);
            ledger.commit(&part.to_le_bytes(), &[(7, vec![part as u8; 3])], 0).unwrap();
        }
        drop(ledger);
        let contents = read(dir.path());
        let mut found: Vec<Row> = contents.runs.iter().flat_map(|run| run.rows.iter().copied()).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
        assert_eq!((contents.state, contents.entries), (Some(11u64.to_le_bytes().to_vec()), vec![(7, vec![11; 3])]));
    }
}
