//! Change events that never reached the topic: what an event says its row was before is held against what the event before it
//! left. The fold doubts, in bounded memory; here all events of the keys in doubt are gone through.
//!
//! Only the topic is read for it. The table may agree by now: a later change has set right what the lost one left wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::json;

use crate::audit::coverage::Holes;
use crate::audit::drift::Befores;
use crate::audit::finding::{Finding, Kind, Sighting};
use crate::drift::chain::{At, Broken, Chain, Known, Link};
use crate::drift::digest::{Method, Spans, bucket_of};
use crate::drift::fold::Doubts;
use crate::drift::images::Images;
use crate::drift::place::{Form, TopicPlace};
use crate::drift::record::change::{Before, Op};
use crate::drift::record::{Parser, Says, Unusable};
use crate::drift::say::Shown;
use crate::drift::shape::{Row, Shape};
use crate::drift::topic::{self, Opened, Read, Take};
use crate::drift::{DriftError, Settings, Told, note};
use crate::engine::Progress;
use crate::identify::hash::checksum;
use crate::source::{Cleanup, Properties, Start};
use crate::wire::Record;

/// Events of one key that are told one by one.
const MOST_OF_KEY: usize = 20;

/// Why nothing can be lost between two events of this topic, as far as anybody could see; `None` where it can.
pub fn unlooked(place: &TopicPlace, opened: &Opened) -> Option<&'static str> {
    let has = |is: fn(Cleanup) -> bool| opened.partitions.iter().any(|info| is(info.cleanup));
    match () {
        () if place.form != Form::Debezium => Some("no-events"),
        () if has(Cleanup::is_compacted) => Some("compacted"),
        () if has(|cleanup| cleanup == Cleanup::Unknown) => Some("cleanup-policy-unknown"),
        () => None,
    }
}

/// What the first pass doubts.
#[derive(Debug, Default)]
pub struct Doubted {
    pub keys: BTreeSet<u64>,
    /// More keys are in doubt than are looked at.
    left: u64,
}

impl Doubted {
    /// Of events that carry the whole row before.
    pub fn new(doubts: Doubts, images: &BTreeMap<i32, Images>, most: usize) -> Self {
        let is_covered = |(_, partition): (u64, i32), offset| {
            // A deletion that is told of here may not be; that is seen later.
            images.get(&partition).is_some_and(|images| images.cover(Op::Update, offset))
        };
        let all = doubts.last.into_iter().filter(|(lane, offset)| is_covered(*lane, *offset));
        let mut keys: BTreeSet<u64> = all.map(|((key, _), _)| key).collect();
        let mut left = u64::from(doubts.is_full);
        if let Some(beyond) = keys.iter().nth(most).copied() {
            left += keys.split_off(&beyond).len() as u64;
        }
        Self { keys, left }
    }
}

/// What a look at the topic needs to know.
pub struct Search<'a> {
    pub settings: &'a Settings,
    pub place: &'a TopicPlace,
    pub properties: &'a Properties,
    pub shape: &'a Shape,
    pub method: Method,
    pub progress: &'a Arc<Progress>,
}

impl Search<'_> {
    /// Goes through all events of these keys, and tells what is lost.
    pub fn run(&self, doubted: &Doubted, told: &mut Told) -> Result<(), DriftError> {
        note(&mut told.summary.unverifiable, "not-looked-at", doubted.left);
        if doubted.keys.is_empty() || self.progress.is_stopped() {
            return Ok(());
        }
        let opened = topic::open(self.properties, &self.place.topic, Start::Beginning, &[])?;
        let (mut read, takers) = opened.read(self.progress, || LostTake::new(self, &doubted.keys))?;
        let mut all = Taken::default();
        takers.into_iter().for_each(|taker| all.add(taker.taken));
        for (key, broken) in all.broken(&read) {
            if broken.len() > MOST_OF_KEY {
                note(&mut told.summary.unverifiable, "not-looked-at", 1);
            }
            told.findings
                .extend(broken.iter().take(MOST_OF_KEY).map(|(partition, one)| self.finding(key, *partition, one)));
        }
        let is_lost = |finding: &&Finding| finding.kind == Kind::LostChange;
        told.summary.lost_changes = told.findings.iter().filter(is_lost).count() as u64;
        told.read.unread.append(&mut read.unread);
        Ok(())
    }

    fn finding(&self, key: &[String], partition: i32, broken: &Broken) -> Finding {
        let shown = Shown { settings: self.settings, shape: self.shape };
        let Broken { previous, at, op, expected, actual } = broken;
        let columns = shown.columns(expected.as_ref(), actual.as_ref());
        let (from, until) = (previous.offset, at.offset);
        let says = match (expected, actual) {
            (Some(_), Some(_)) => {
                format!("was changed otherwise before the event at {until}: {}", crate::drift::say::changes(&columns))
            }
            (Some(_), None) => format!("was gone before the event at {until}"),
            (None, _) => format!("was deleted and there again before the event at {until}"),
        };
        let why = format!("{} {says}; no event between it and the one at {from} says so", shown.key_in_words(key));
        let topic = &self.place.topic;
        let mut finding = Finding::new(Kind::LostChange, topic, &[&key.join("\u{1f}"), &partition, &until], why)
            .evidence("previous_offset", from)
            .evidence("operation", op.name())
            .evidence("bucket", bucket_of(self.method.key_of(key)));
        finding.partition = Some(partition);
        finding.key = Some(shown.key(key));
        finding.columns = Some(columns).filter(|columns| !columns.is_empty());
        finding.first_seen = Some(at.timestamp);
        finding.last_seen = Some(at.timestamp);
        let sighting = |at: &At| Sighting::new(topic, partition, at.offset, at.timestamp, at.checksum);
        finding.sightings = [at, previous].map(sighting).into();
        finding.evidence.insert("between_ms".to_owned(), json!([previous.timestamp, at.timestamp]));
        finding
    }
}

/// Walks along the chains of some keys.
struct LostTake<'s> {
    keys: &'s BTreeSet<u64>,
    shape: &'s Shape,
    method: Method,
    parser: Parser<'s>,
    spans: Spans,
    /// By partition: the last record that could not be read.
    blind: BTreeMap<i32, i64>,
    taken: Taken,
}

/// By key and partition.
type Lanes<T> = BTreeMap<Vec<String>, BTreeMap<i32, T>>;

#[derive(Default)]
struct Taken {
    lanes: Lanes<(Chain, Vec<Broken>)>,
    images: BTreeMap<i32, Images>,
    /// The table was emptied by an event that names no key.
    is_truncated: bool,
}

impl<'s> LostTake<'s> {
    fn new(search: &Search<'s>, keys: &'s BTreeSet<u64>) -> Self {
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
            self.taken.images.entry(partition).or_default().see(record.offset, change, &self.parser.before, keys);
        }
        if !self.keys.contains(&self.method.key(&self.spans, keys)) {
            return Ok(());
        }
        let link = self.link(&says, record);
        let key = Row::of(&self.spans, keys).keys;
        let blind = self.blind.get(&partition).copied().unwrap_or(-1);
        let (chain, broken) = self.taken.lanes.entry(key).or_default().entry(partition).or_default();
        let found = chain.take(link, blind);
        broken.extend(found.filter(|_| broken.len() <= MOST_OF_KEY));
        Ok(())
    }
}

impl Taken {
    /// Each partition is read by one thread.
    fn add(&mut self, other: Self) {
        for (key, lanes) in other.lanes {
            self.lanes.entry(key).or_default().extend(lanes);
        }
        self.images.extend(other.images);
        self.is_truncated |= other.is_truncated;
    }

    /// What is proven of it, by key. Where a key has events in several partitions nothing says which went before which.
    fn broken(&self, read: &Read) -> Vec<(&[String], Vec<(i32, Broken)>)> {
        let mut all = Vec::new();
        for (key, lanes) in &self.lanes {
            let mut lanes = lanes.iter();
            let (Some((partition, (_, broken))), None) = (lanes.next(), lanes.next()) else { continue };
            if !is_whole(read, *partition) {
                continue;
            }
            let proven = broken.iter().filter_map(|broken| self.proven(*partition, broken));
            let proven: Vec<_> = proven.map(|broken| (*partition, broken)).collect();
            if !proven.is_empty() {
                all.push((key.as_slice(), proven));
            }
        }
        all
    }

    /// With the columns that events are known to tell.
    fn proven(&self, partition: i32, broken: &Broken) -> Option<Broken> {
        let images = self.images.get(&partition).filter(|images| images.cover(broken.op, broken.at.offset))?;
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

/// Every record between the first and the last was there to be read.
fn is_whole(read: &Read, partition: i32) -> bool {
    let of = |holes: &Holes| holes.compacted + holes.unreadable + holes.unknown + holes.unexplained == 0;
    read.coverage.iter().any(|coverage| coverage.partition == partition && of(&coverage.holes))
}

/// What updates say of the rows before them, all partitions together.
pub fn befores(unlooked: Option<&'static str>, images: &BTreeMap<i32, Images>) -> Option<Befores> {
    let updates = images.values().map(|images| images.updates).sum();
    let without = images.values().map(|images| images.without).sum();
    let unlooked = unlooked.filter(|why| *why != "no-events");
    (updates > 0 || unlooked.is_some()).then(|| Befores {
        updates,
        without,
        not_looked_at: unlooked.map(str::to_owned),
    })
}
