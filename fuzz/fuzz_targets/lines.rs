//! Any bytes as JSON lines: nothing panics, and every line that is not blank is a record or reported, never both.

#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use sordini::source::lines::LinesSource;
use sordini::source::{Assignment, Event, PartitionInfo, Sink, Source};

#[derive(Default)]
struct Counter {
    partitions: u32,
    records: usize,
    unreadable: usize,
}

impl Sink for Counter {
    fn register(&mut self, info: PartitionInfo) -> Assignment {
        self.partitions += 1;
        Assignment { index: self.partitions - 1, position: info.from, last_epoch: -1, info }
    }

    fn event(&mut self, index: u32, event: Event<'_>) {
        assert!(index < self.partitions);
        if let Event::Batch(batch) = event {
            let (from, until) = (batch.base_offset, batch.until);
            for record in batch.records {
                let record = record.expect("what a source encodes can be read");
                assert!((from..until).contains(&record.offset));
                self.records += 1;
            }
        }
    }

    fn pass_on(&mut self, _: u32) {}

    fn unreadable_input(&mut self, _: &str, _: &str) {
        self.unreadable += 1;
    }

    fn stopped(&self) -> bool {
        false
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut sink = Counter::default();
    let source = Box::new(LinesSource::of("fuzz", Box::new(Cursor::new(bytes.to_vec()))));
    for mut reader in source.readers(Vec::new()).expect("a reader") {
        reader.run(&mut sink).expect("memory can always be read");
    }
    let lines = bytes.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).count();
    assert_eq!(sink.records + sink.unreadable, lines);
});
