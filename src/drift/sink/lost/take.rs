//! All events of some keys of a topic, each held against the one before it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Search;
use crate::audit::coverage::Holes;
use crate::drift::DriftError;
use crate::drift::chain::{At, Broken, Chain, Known, Link};
use crate::drift::digest::{Method, Spans};
use crate::drift::images::Lines;
use crate::drift::record::change::{Before, Op};
use crate::drift::record::{Parser, Says, Unusable};
use crate::drift::shape::{Row, Shape};
use crate::drift::topic::{Read, Take};
use crate::identify::hash::checksum;
use crate::wire::Record;

/// Events of one key that are told one by one.
const MOST_OF_KEY: usize = 20;

/// Walks along the chains of some keys.
pub struct LostTake<'s> {
    keys: &'s BTreeSet<u64>,
    shape: &'s Shape,
    method: Method,
    parser: Parser<'s>,
    spans: Spans,
    /// By partition: the last record that could not be read.
    blind: BTreeMap<i32, i64>,
    pub taken: Taken,
}

/// By key and partition.
type Lanes = BTreeMap<Vec<String>, BTreeMap<i32, Lane>>;

#[derive(Default)]
struct Lane {
    chain: Chain,
    broken: VecDeque<Broken>,
    /// Older ones were dropped.
    is_cut: bool,
}

/// What is proven of one key.
#[derive(Debug)]
pub struct Lost<'t> {
    pub key: &'t [String],
    pub partition: i32,
    pub broken: Vec<Broken>,
    /// There may be more.
    pub is_cut: bool,
}

#[derive(Default)]
pub struct Taken {
    lanes: Lanes,
    images: Lines,
    /// The table was emptied by an event that names no key.
    is_truncated: bool,
}

impl<'s> LostTake<'s> {
    pub fn new(search: &Search<'s>, keys: &'s BTreeSet<u64>) -> Self {
        let mut parser = Parser::new(search.shape, search.place);
        parser.wants_change = true;
        let (shape, method) = (search.shape, search.method);
        let (spans, blind, taken) = Default::default();
        Self { keys, shape, method, parser, spans, blind, taken }
    }

    fn link(&self, says: &Says, record: &Record<'_>) -> Link {
        let keys = self.shape.keys.len();
        let at = At { offset: record.offset, timestamp: record.timestamp, checksum: checksum(record) };
        let after = match says {
            Says::Row if !self.parser.is_lacking => Known::Row(Row::of(&self.spans, keys)),
            Says::Deleted => Known::Gone,
            _ => Known::Nothing,
        };
        let Some(change) = &self.parser.change else {
            return Link { at, place: None, op: Op::Delete, before: Known::Nothing, after };
        };
        let before = match change.before {
            Before::Row => Known::Row(Row::of(&self.parser.before, keys)),
            Before::None => Known::Gone,
            Before::Untold => Known::Nothing,
        };
        Link { at, place: change.place, op: change.op, before, after }
    }
}

impl Lane {
    fn take(&mut self, link: Link, blind: i64) {
        self.broken.extend(self.chain.take(link, blind));
        // The last ones: rows may have been told whole only lately.
        if self.broken.len() > MOST_OF_KEY {
            self.broken.pop_front();
            self.is_cut = true;
        }
    }
}

impl Take for LostTake<'_> {
    fn take(&mut self, partition: i32, record: &Record<'_>) -> Result<(), DriftError> {
        let says = match self.parser.read(record.key, record.value, &mut self.spans) {
            Ok(Says::Nothing) => return Ok(()),
            Ok(says) => says,
            Err(why) => {
                self.taken.is_truncated |= why == Unusable::Truncated;
                self.blind.insert(partition, record.offset);
                return Ok(());
            }
        };
        let keys = self.shape.keys.len();
        if let Some(change) = &self.parser.change {
            self.taken.images.see(partition, record.offset, change, &self.parser.before, keys);
        }
        if !self.keys.contains(&self.method.key(&self.spans, keys)) {
            return Ok(());
        }
        let link = self.link(&says, record);
        let key = Row::of(&self.spans, keys).keys;
        let blind = self.blind.get(&partition).copied().unwrap_or(-1);
        self.taken.lanes.entry(key).or_default().entry(partition).or_default().take(link, blind);
        Ok(())
    }
}

impl Taken {
    /// Each partition is read by one thread.
    pub fn add(&mut self, other: Self) {
        for (key, lanes) in other.lanes {
            self.lanes.entry(key).or_default().extend(lanes);
        }
        self.images.add(other.images);
        self.is_truncated |= other.is_truncated;
    }

    /// What is proven, by key; and of how many keys nothing can be: where one has events in several partitions nothing says which
    /// went before which.
    pub fn lost(&self, read: &Read) -> (Vec<Lost<'_>>, u64) {
        let (mut lost, mut untold) = (Vec::new(), 0);
        for (key, lanes) in &self.lanes {
            let proven = |(partition, lane): (&i32, &Lane)| {
                let broken: Vec<Broken> = lane.broken.iter().filter_map(|one| self.proven(*partition, one)).collect();
                (!broken.is_empty()).then_some((*partition, lane.is_cut, broken))
            };
            match lanes.iter().find_map(proven) {
                None => {}
                Some((partition, is_cut, broken)) if lanes.len() == 1 && is_whole(read, partition) => {
                    lost.push(Lost { key, partition, broken, is_cut });
                }
                Some(_) => untold += 1,
            }
        }
        (lost, untold)
    }

    /// With the columns that events are known to tell.
    fn proven(&self, partition: i32, broken: &Broken) -> Option<Broken> {
        let images =
            self.images.of(partition, broken.line).filter(|images| images.cover(broken.op, broken.at.offset))?;
        let mut broken = broken.clone();
        match (&broken.expected, &mut broken.actual) {
            (Some(_), None) if self.is_truncated => return None,
            (Some(expected), Some(actual)) => {
                for (index, (ours, theirs)) in expected.values.iter().zip(&mut actual.values).enumerate() {
                    if !images.tell(index) {
                        theirs.clone_from(ours);
                    }
                }
            }
            _ => {}
        }
        (broken.expected != broken.actual).then_some(broken)
    }
}

/// Every record between the first and the last was there to be read, and none left while it was read.
fn is_whole(read: &Read, partition: i32) -> bool {
    let of =
        |holes: &Holes| holes.compacted + holes.unreadable + holes.unknown + holes.unexplained + holes.expired == 0;
    read.coverage.iter().any(|coverage| coverage.partition == partition && of(&coverage.holes))
}

#[cfg(test)]
mod tests;
