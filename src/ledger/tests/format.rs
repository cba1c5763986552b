//! A second reader, written from `docs/ledger-format.md` alone: slow, plain, and without a line of the ledger's own code.

use xxhash_rust::xxh3::xxh3_64;

use super::{identity, open, settle, small, stretch};

/// identity, partition, offset, second, checksum, producer id, producer epoch
type Sighting = (u128, u32, i64, u32, u64, i64, i16);

fn int(bytes: &[u8]) -> u128 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u128::from(*byte))
}

fn page(file: &[u8], at: usize) -> &[u8] {
    let page = &file[at..at + 4096];
    assert_eq!(int(&page[..4]), u128::from(xxh3_64(&page[4..]) as u32), "page at {at}");
    &page[4..]
}

fn read(file: &[u8]) -> Vec<Sighting> {
    let header = page(file, 0);
    assert_eq!((&header[..8], int(&header[8..12]), int(&header[12..16])), (&b"SRLDRUN1"[..], 1, 0));
    let footer = &file[file.len() - 96..];
    assert_eq!((&footer[..8], int(&footer[88..])), (&b"SRLDEND1"[..], u128::from(xxh3_64(&footer[..88]))));
    let field = |at: usize, len: usize| int(&footer[at..at + len]) as usize;
    let (g, w, rows, extents, span) = (field(8, 4), field(12, 4), field(16, 8), field(24, 8), field(32, 8));
    let a_page = 4092 / (w + 16);
    let fences_len = 4 * ((1 << (g - 8)) + 1);
    let prefix_at = 4096 * (1 + rows.div_ceil(a_page));
    let extents_at = prefix_at + 256 * fences_len + 2 * rows;
    let directory_at = extents_at + 4096 * extents.div_ceil(120);
    assert_eq!(file.len(), directory_at + 257 * 8 + 96);
    let directory = &file[directory_at..directory_at + 257 * 8];
    assert_eq!(int(&footer[64..72]), u128::from(xxh3_64(directory)));

    let extent = |number: usize| {
        let page = page(file, extents_at + 4096 * (number / 120));
        page[number % 120 * 34..][..34].to_vec()
    };
    let extents: Vec<Vec<u8>> = (0..extents).map(extent).collect();
    let mut found = Vec::new();
    for bucket in 0..256 {
        let first = int(&directory[8 * bucket..][..4]) as usize;
        let end = int(&directory[8 * bucket + 8..][..4]) as usize;
        let prefix = &file[prefix_at + bucket * fences_len + 2 * first..][..fences_len + 2 * (end - first)];
        assert_eq!(int(&directory[8 * bucket + 4..][..4]), u128::from(xxh3_64(prefix) as u32));
        for group in 0..1 << (g - 8) {
            let fence = |at: usize| int(&prefix[4 * at..][..4]) as usize;
            for at in fence(group)..fence(group + 1) {
                let tag = int(&prefix[fences_len + 2 * at..][..2]);
                let rank = first + at;
                let row = &page(file, 4096 * (1 + rank / a_page))[rank % a_page * (w + 16)..][..w + 16];
                let head = int(&row[..w]);
                let number = ((bucket << (g - 8)) + group) as u128;
                let hi = (number << 16 | tag) << (48 - g) | head & ((1 << (48 - g)) - 1);
                let code = (head >> (48 - g)) as usize;
                assert!(code < span);
                let extent = extents.iter().rev().find(|extent| int(&extent[..8]) as usize <= code).unwrap();
                let offset = int(&extent[12..20]) as i64 + (code - int(&extent[..8]) as usize) as i64;
                found.push((
                    hi << 64 | int(&row[w..w + 8]),
                    int(&extent[8..12]) as u32,
                    offset,
                    int(&extent[20..24]) as u32,
                    int(&row[w + 8..]) as u64,
                    int(&extent[24..32]) as i64,
                    int(&extent[32..]) as i16,
                ));
            }
        }
    }
    assert_eq!(found.len(), rows);
    found
}

#[test]
fn a_reader_written_from_the_document_reads_what_was_written_merges_included() {
    for rows in [1u64, 300, 20_000] {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = open(dir.path(), &small(u64::MAX));
        for from in [0, rows] {
            ledger.insert(&stretch(from as i64, from..from + rows)).unwrap();
            settle(&mut ledger);
            ledger.commit(b"", &[], 0).unwrap();
        }
        assert_eq!(ledger.stats().runs, 1);
        let run = std::fs::read(dir.path().join("run-00000002")).unwrap();
        let mut expected: Vec<Sighting> = (0..2 * rows)
            .map(|number| {
                let identity = identity(number);
                (identity, 1, number as i64, number as u32, (identity >> 3) as u64, 5, 1)
            })
            .collect();
        expected.sort();
        assert_eq!(read(&run), expected);
    }
}
