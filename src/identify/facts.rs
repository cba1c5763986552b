//! What the records and batches of a flow's stage say beside the transaction: attributes that losses may have in common.

use rustc_hash::FxHashMap;
use xxhash_rust::xxh3::xxh3_64;

use crate::audit::finding::Span;
use crate::wire::{BatchHeader, Codec, Record};

/// Records that say the same share a number; more of these than this in one stretch and only header names are told.
const MOST_FACTS: usize = 1024;
/// Header names of a record that are looked at, and bytes of a name or a value that are kept.
const MOST_NAMES: usize = 16;
const LONGEST: usize = 64;
/// Stands for facts that are not known.
pub const NO_FACTS: u32 = u32::MAX;

/// What the header of a batch says of all its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchFacts {
    /// −1 when the batch names none.
    pub producer: i64,
    pub producer_epoch: i16,
    pub leader_epoch: i32,
    pub codec: Option<Codec>,
    pub is_transactional: bool,
    /// The producer's first batch in this epoch.
    pub is_first: bool,
}

impl BatchFacts {
    pub const NONE: Self = Self {
        producer: -1,
        producer_epoch: -1,
        leader_epoch: -1,
        codec: None,
        is_transactional: false,
        is_first: false,
    };

    pub fn of(header: &BatchHeader) -> Self {
        Self {
            producer: header.producer_id,
            producer_epoch: header.producer_epoch,
            leader_epoch: header.leader_epoch,
            codec: header.codec(),
            is_transactional: header.is_transactional(),
            is_first: header.base_sequence == 0,
        }
    }

    /// Without what tells one session of the producer from the next.
    pub fn plain(self) -> Self {
        Self { producer_epoch: -1, is_transactional: false, is_first: false, ..self }
    }
}

/// Records that arrived, under what their batches say. Facts are [plain](BatchFacts::plain).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    pub facts: BatchFacts,
    /// Smallest and largest time of a record.
    pub from_ms: i64,
    pub at_ms: i64,
    pub records: u64,
}

/// A record that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampled {
    pub rank: u32,
    pub facts: BatchFacts,
    pub at_ms: i64,
    /// Hash of its key, 0 without one.
    pub key: u32,
    pub session: Option<u64>,
}

/// Numbers that a session turned out to lack, and the record that showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Partition, of a session within one, and session as findings name them.
    pub partition: Option<i32>,
    pub session: String,
    pub numbers: Span,
    pub facts: BatchFacts,
    pub at_ms: i64,
    /// Hash of the key that all records of the session have, 0 where they may differ.
    pub key: u32,
}

/// What one record says, with whatever else says the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordFacts {
    /// Of the schema registry's wire format: a zero byte, then the id.
    pub schema: Option<u32>,
    /// The value of the header that tells which deployment wrote it.
    pub deploy: Option<String>,
    pub headers: Vec<String>,
}

/// The facts of one stretch of one partition, each once.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    all: Vec<RecordFacts>,
    numbers: FxHashMap<u64, u32>,
    /// Records mostly say what the one before them said.
    last: Option<(u64, u32)>,
}

impl Facts {
    pub fn all(&self) -> &[RecordFacts] {
        &self.all
    }

    /// The number of what the record says. `deploy` names the header of deployments.
    pub fn number(&mut self, record: &Record<'_>, deploy: Option<&str>) -> u32 {
        let schema = schema(record);
        let full = digest(record, schema, deploy);
        if let Some((_, number)) = self.last.filter(|(known, _)| *known == full) {
            return number;
        }
        let mut number = self.find(full, || read(record, schema, deploy));
        if number == NO_FACTS {
            number = self.numbers.get(&digest(record, None, None)).copied().unwrap_or(NO_FACTS);
        }
        self.last = Some((full, number));
        number
    }

    fn find(&mut self, digest: u64, read: impl FnOnce() -> RecordFacts) -> u32 {
        if let Some(number) = self.numbers.get(&digest) {
            return *number;
        }
        if self.all.len() >= MOST_FACTS {
            return NO_FACTS;
        }
        let number = self.all.len() as u32;
        self.all.push(read());
        self.numbers.insert(digest, number);
        number
    }
}

fn schema(record: &Record<'_>) -> Option<u32> {
    match record.value? {
        [0, a, b, c, d, ..] => Some(u32::from_be_bytes([*a, *b, *c, *d])),
        _ => None,
    }
}

fn digest(record: &Record<'_>, schema: Option<u32>, deploy: Option<&str>) -> u64 {
    let mut digest = schema.map_or(0, |id| u64::from(id) + 1);
    for (name, value) in headers(record) {
        digest = digest.rotate_left(11) ^ xxh3_64(name);
        if deploy.is_some_and(|deploy| deploy.as_bytes() == name) {
            digest = digest.rotate_left(7) ^ xxh3_64(value.unwrap_or_default());
        }
    }
    digest
}

fn read(record: &Record<'_>, schema: Option<u32>, deploy: Option<&str>) -> RecordFacts {
    let mut facts = RecordFacts { schema, ..RecordFacts::default() };
    for (name, value) in headers(record) {
        // Of several, the last one, as everywhere.
        if deploy.is_some_and(|deploy| deploy.as_bytes() == name) {
            facts.deploy = value.map(text);
        }
        facts.headers.push(text(name));
    }
    facts
}

fn headers<'a>(record: &Record<'a>) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
    record.headers.take(MOST_NAMES).map_while(Result::ok)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::encode::RecordBuffer;

    type Header = (&'static [u8], Option<&'static [u8]>);

    fn told(records: &[(&[u8], &[Header])], deploy: Option<&str>) -> (Facts, Vec<u32>) {
        let mut buffer = RecordBuffer::default();
        for (n, (value, headers)) in records.iter().enumerate() {
            buffer.push(n as i64, 1_700_000_000_000, None, Some(value), headers);
        }
        let mut facts = Facts::default();
        let numbers = buffer.records().map(|record| facts.number(&record.unwrap(), deploy)).collect();
        (facts, numbers)
    }

    #[test]
    fn records_that_say_the_same_share_a_number() {
        let retry: &[Header] = &[(b"x-retry", Some(b"1")), (b"version", Some(b"2.0"))];
        let again: &[Header] = &[(b"x-retry", Some(b"2")), (b"version", Some(b"2.0"))];
        let other: &[Header] = &[(b"x-retry", Some(b"1")), (b"version", Some(b"2.1"))];
        let records: [(&[u8], &[Header]); 5] =
            [(b"{}", retry), (b"{}", again), (b"\0\0\0\x01\x02avro", &[]), (b"{}", other), (b"\0\0\0", &[])];
        let (facts, numbers) = told(&records, Some("version"));
        assert_eq!(numbers, [0, 0, 1, 2, 3]);
        let all = facts.all();
        assert_eq!(
            (all[0].deploy.as_deref(), &all[0].headers[..]),
            (Some("2.0"), &["x-retry", "version"].map(str::to_owned)[..])
        );
        assert_eq!(
            (all[1].schema, all[2].deploy.as_deref(), &all[3]),
            (Some(258), Some("2.1"), &RecordFacts::default())
        );
        // Nobody asked for the version: its value does not matter.
        assert_eq!(told(&records, None).1, [0, 0, 1, 0, 2]);
    }

    #[test]
    fn values_without_end_cost_no_memory() {
        let values: Vec<Vec<u8>> = (0..5_000u32).map(|id| [&[0][..], &id.to_be_bytes()].concat()).collect();
        let records: Vec<(&[u8], &[Header])> = values.iter().map(|value| (&value[..], &[][..])).collect();
        let (facts, numbers) = told(&records, None);
        assert_eq!(facts.all().len(), MOST_FACTS);
        assert_eq!(numbers.iter().filter(|number| **number == NO_FACTS).count(), 5_000 - MOST_FACTS);
    }
}
