//! The change events of one key as a chain: each says what its row was before, and that is what the one before it left. Where
//! it is not, a change between the two never reached the topic, whatever the table says by now.
//!
//! A connector delivers at least once: after a crash it sends again what it had sent. So events go by their places in the
//! source's log: one that was seen before says nothing new. A row that a snapshot found may be newer than the changes
//! behind it, and no event is held against it.

use std::collections::VecDeque;

use xxhash_rust::xxh3::xxh3_64;

use super::record::change::Op;
use super::record::envelope::Place;
use super::shape::Row;

/// Events of one key that are known again.
const REMEMBERED: usize = 200;

/// A record, as findings name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    pub offset: i64,
    pub timestamp: i64,
    pub checksum: u64,
}

/// What is known of the row at some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    Row(Row),
    Gone,
    Nothing,
}

#[derive(Clone, Debug)]
pub struct Link {
    pub at: At,
    /// None for a tombstone, or where nothing tells its place.
    pub place: Option<Place>,
    pub op: Op,
    pub before: Known,
    pub after: Known,
}

/// An event whose row before is not what the event before it left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    pub previous: At,
    pub at: At,
    /// Of the source's log.
    pub line: u64,
    pub op: Op,
    pub expected: Option<Row>,
    pub actual: Option<Row>,
}

/// One key in one partition.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    /// What was left by the event that stands last in the source's log.
    last: Option<(At, Known)>,
    greatest: Option<Place>,
    /// The record before was a deletion, sent for the first time or again.
    was_deletion: bool,
    seen: VecDeque<([u64; 3], u64)>,
}

impl Chain {
    /// `blind`: the last offset of the partition whose record could not be read; it may have been one of this key.
    pub fn take(&mut self, link: Link, blind: i64) -> Option<Broken> {
        // A tombstone follows the event that deletes, and says nothing new.
        let was_deletion = std::mem::replace(&mut self.was_deletion, link.place.is_some() && link.op == Op::Delete);
        if link.place.is_none() && link.after == Known::Gone && was_deletion {
            return None;
        }
        let Some(place) = link.place.filter(|_| link.op != Op::Read) else {
            self.last = Some((link.at, Known::Nothing));
            return None;
        };
        let seen = (place.log, content(&link));
        if self.seen.contains(&seen) {
            return None;
        }
        self.seen.push_back(seen);
        if self.seen.len() > REMEMBERED {
            self.seen.pop_front();
        }
        let is_other = self.greatest.is_some_and(|greatest| greatest.line != place.line);
        if !is_other && self.greatest.is_some_and(|greatest| greatest.log >= place.log) {
            // Sent again, and forgotten; or its places do not rise.
            self.last = Some((link.at, Known::Nothing));
            return None;
        }
        self.greatest = Some(place);
        let Link { at, op, before, after, .. } = link;
        let (previous, left) = self.last.replace((at, after))?;
        if is_other || previous.offset < blind {
            return None;
        }
        let (expected, actual) = match (left, before) {
            (Known::Nothing, _) | (_, Known::Nothing) => return None,
            (left, before) if left == before => return None,
            (left, before) => (row(left), row(before)),
        };
        Some(Broken { previous, at, line: place.line, op, expected, actual })
    }
}

fn row(known: Known) -> Option<Row> {
    match known {
        Known::Row(row) => Some(row),
        Known::Gone | Known::Nothing => None,
    }
}

/// Of two events at one place only equal ones are the same.
fn content(link: &Link) -> u64 {
    let texts = |known: &Known| match known {
        Known::Row(row) => format!("{:?}", row.values),
        Known::Gone => "-".to_owned(),
        Known::Nothing => "?".to_owned(),
    };
    xxh3_64(format!("{:?} {} {}", link.op, texts(&link.before), texts(&link.after)).as_bytes())
}

#[cfg(test)]
mod tests;
