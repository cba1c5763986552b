//! From a record to what it says of its key, and whether the table must have it.

use rustc_hash::FxHashMap;
use xxhash_rust::xxh3::xxh3_64;

use super::cut::{Seen, Sight};
use super::digest::Spans;
use super::place::TopicPlace;
use super::record::{Parser, Says, Unusable};
use super::shape::Shape;
use crate::wire::Record;

pub struct Witness<'s> {
    pub parser: Parser<'s>,
    sight: &'s Sight,
    /// By partition: the last event that deleted, and the hash of its key. A tombstone of the same key follows it, which says
    /// nothing of where it comes from.
    deletions: FxHashMap<i32, (i64, u64, Seen)>,
}

impl<'s> Witness<'s> {
    pub fn new(shape: &'s Shape, place: &TopicPlace, sight: &'s Sight) -> Self {
        let mut parser = Parser::new(shape, place);
        parser.wants_origin = matches!(sight, Sight::Transactions { .. });
        Self { parser, sight, deletions: FxHashMap::default() }
    }

    /// What it says, and whether it is open. `None` for a record that says nothing of the table, or nothing yet. The texts go
    /// into `spans`.
    pub fn read(
        &mut self,
        partition: i32,
        record: &Record<'_>,
        spans: &mut Spans,
    ) -> Result<Option<(Says, bool)>, Unusable> {
        let says = self.parser.read(record.key, record.value, spans)?;
        if says == Says::Nothing {
            return Ok(None);
        }
        let seen = match (record.value, self.deletions.get(&partition)) {
            (None, Some((offset, key, seen))) if *offset + 1 == record.offset && *key == hash(record) => *seen,
            _ => self.sight.of(partition, record.offset, self.parser.origin),
        };
        if says == Says::Deleted && record.value.is_some() {
            self.deletions.insert(partition, (record.offset, hash(record), seen));
        }
        Ok((seen != Seen::Not).then_some((says, seen == Seen::May)))
    }
}

/// Of its key.
fn hash(record: &Record<'_>) -> u64 {
    xxh3_64(record.key.unwrap_or_default())
}
