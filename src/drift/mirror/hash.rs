//! Records and keys as numbers: all that a copy keeps of a record, never its offset or epoch.

use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_64_with_seed};

use crate::drift::align::Item;
use crate::wire::Record;

/// Of records without a key.
pub const NO_KEY: u64 = 0;

#[derive(Clone, Copy, Debug)]
pub struct Hasher {
    /// Both sides carry their producers' times.
    pub with_time: bool,
}

impl Hasher {
    pub fn item(self, record: &Record<'_>) -> Item {
        let mut hash = Xxh3::new();
        let mut part = |bytes: Option<&[u8]>| {
            hash.update(&bytes.map_or(-1, |bytes| bytes.len() as i64).to_le_bytes());
            hash.update(bytes.unwrap_or_default());
        };
        part(record.key);
        part(record.value);
        for (name, value) in record.headers.into_iter().flatten() {
            part(Some(name));
            part(value);
        }
        if self.with_time {
            hash.update(&record.timestamp.to_le_bytes());
        }
        let key = record.key.map_or(NO_KEY, |key| xxh3_64(key).max(1));
        Item { hash: hash.digest(), key, offset: record.offset, timestamp: record.timestamp }
    }
}

/// Of a key in its partition: nothing orders records of several partitions.
pub fn key_hash(partition: i32, key: &[u8]) -> u64 {
    xxh3_64_with_seed(key, partition as u64)
}
