//! Keyed hashes of identities and plain checksums of contents. Identities are kept only as XXH3-128 under the ledger's
//! secret: without the secret nobody can prepare two ids that collide, or look a key up in the ledger.

use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_secret};

use crate::audit::finding::Rung;
use crate::wire::Record;

#[derive(Clone)]
pub struct IdentityHasher {
    secret: Box<[u8; 192]>,
    /// Tells the topic's identities from those of others, so that the same id in two topics is not a duplicate. A mask
    /// and not a part of what is hashed: it leads from an id's identity in one topic to that in another.
    mask: u128,
    topic_salt: u64,
    scratch: Vec<u8>,
}

impl IdentityHasher {
    pub fn new(secret: &[u8; 192], topic: &str) -> Self {
        Self {
            secret: Box::new(*secret),
            mask: xxh3_128_with_secret(topic.as_bytes(), secret),
            topic_salt: xxh3_64(topic.as_bytes()),
            scratch: Vec::with_capacity(256),
        }
    }

    /// From an identity in this topic to what it has in common with the same id's identities elsewhere, and back.
    #[inline]
    pub fn turn(&self, identity: u128) -> u128 {
        identity ^ self.mask
    }

    /// Identity of one or more parts; the borders between the parts count.
    #[inline]
    pub fn identity(&mut self, rung: Rung, parts: &[&[u8]]) -> u128 {
        self.scratch.clear();
        self.scratch.push(rung as u8);
        for part in parts {
            self.scratch.extend_from_slice(&(part.len() as u32).to_le_bytes());
            self.scratch.extend_from_slice(part);
        }
        xxh3_128_with_secret(&self.scratch, &self.secret[..]) ^ self.mask
    }

    /// Names a session: 64 bits are enough for what is held in memory at a time.
    #[inline]
    pub fn session(&mut self, value: &[u8], partition: Option<i32>) -> u64 {
        self.scratch.clear();
        self.scratch.extend_from_slice(&self.topic_salt.to_le_bytes());
        self.scratch.extend_from_slice(&partition.unwrap_or(-1).to_le_bytes());
        self.scratch.extend_from_slice(value);
        xxh3_128_with_secret(&self.scratch, &self.secret[..]) as u64
    }
}

/// The key's hash as patterns of losses know it; 0 without a key.
#[inline]
pub fn key_hash(record: &Record<'_>) -> u32 {
    record.key.map_or(0, |key| xxh3_64(key) as u32)
}

/// Checksum of a record's content: key and value; headers may differ between a record and its retry.
#[inline]
pub fn checksum(record: &Record<'_>) -> u64 {
    let part = |bytes: Option<&[u8]>| bytes.map_or(0x9e37_79b9_7f4a_7c15, xxh3_64);
    part(record.value) ^ part(record.key).rotate_left(23)
}
