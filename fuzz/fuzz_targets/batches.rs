//! Any bytes as a fetched buffer: nothing panics, everything ends, and no record lies outside its batch.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sordini::wire::encode::write_batch;
use sordini::wire::{Batches, Scratch};

fn walk(bytes: &[u8]) {
    let mut scratch = Scratch::new(1 << 20);
    let mut batches = Batches::new(bytes);
    let mut rest = bytes.len();
    while let Some(batch) = batches.next() {
        assert!(batches.rest() < rest, "every step consumes something");
        rest = batches.rest();
        let Ok(batch) = batch else { continue };
        batch.is_crc_valid();
        let Ok(records) = batch.records(&mut scratch) else { continue };
        let mut previous = batch.header.base_offset - 1;
        for record in records.flatten() {
            assert!(record.offset > previous && record.offset < batch.header.until());
            previous = record.offset;
            assert!(record.headers.into_iter().all(|header| header.is_ok()), "the walk has checked the headers");
        }
    }
    while batches.resync() {}
    assert_eq!(batches.rest(), 0);
}

fuzz_target!(|bytes: &[u8]| {
    walk(bytes);
    // Once more with every CRC put right, so that what lies behind the check is reached too.
    let mut repaired = Vec::new();
    for batch in Batches::new(bytes).flatten() {
        write_batch(&mut repaired, &batch.header, &batch.bytes()[61..]);
    }
    assert!(Batches::new(&repaired).flatten().all(|batch| batch.is_crc_valid()));
    walk(&repaired);
});
