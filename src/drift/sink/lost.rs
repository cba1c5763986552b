//! Change events that never reached the topic: what an event says its row was before is held against what the event before it
//! left. The fold doubts, in bounded memory; here all events of the keys in doubt are gone through.
//!
//! Only the topic is read for it. The table may agree by now: a later change has set right what the lost one left wrong.

mod take;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;

use crate::audit::drift::Befores;
use crate::audit::finding::{Finding, Grade, Kind, Sighting};
use crate::drift::chain::{At, Broken};
use crate::drift::digest::{Method, bucket_of};
use crate::drift::fold::Doubts;
use crate::drift::images::Lines;
use crate::drift::place::{Form, TopicPlace};
use crate::drift::record::change::Op;
use crate::drift::say::{self, Shown};
use crate::drift::shape::Shape;
use crate::drift::topic::{self, Opened};
use crate::drift::{DriftError, Settings, Told, note};
use crate::engine::Progress;
use crate::source::{Cleanup, Properties, Start};
use take::{Lost, LostTake, Taken};

/// Keys, or older events of one, that were in doubt and were not gone through.
const NOT_LOOKED_AT: &str = "lost-not-looked-at";

/// Why the events of this topic are not held against each other; `None` where they are.
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
    pub fn new(doubts: Doubts, images: &Lines, most: usize) -> Self {
        let is_covered = |(_, partition): (u64, i32), offset| {
            // A deletion that is told of here may not be; that is seen later.
            images.cover(partition, Op::Update, offset)
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
        note(&mut told.summary.unverifiable, NOT_LOOKED_AT, doubted.left);
        if doubted.keys.is_empty() || self.progress.is_stopped() {
            return Ok(());
        }
        let opened = topic::open(self.properties, &self.place.topic, Start::Beginning, &[])?;
        let (mut read, takers) = opened.read(self.progress, || LostTake::new(self, &doubted.keys))?;
        let mut all = Taken::default();
        takers.into_iter().for_each(|taker| all.add(taker.taken));
        tracing::debug!(keys = doubted.keys.len(), "went through the events of keys in doubt");
        let (lost, untold) = all.lost(&read);
        note(&mut told.summary.unverifiable, NOT_LOOKED_AT, untold);
        // An event that was not read may have said so.
        let grade = if read.unread.is_empty() { Grade::Proven } else { Grade::Possible };
        for Lost { key, partition, broken, is_cut } in lost {
            note(&mut told.summary.unverifiable, NOT_LOOKED_AT, u64::from(is_cut));
            let findings = broken.iter().map(|one| Finding { grade, ..self.finding(key, partition, one) });
            told.findings.extend(findings);
        }
        let is_lost = |finding: &&Finding| finding.kind == Kind::LostChange;
        told.summary.lost_changes = told.findings.iter().filter(is_lost).count() as u64;
        told.read.unread.append(&mut read.unread);
        Ok(())
    }

    fn finding(&self, key: &[String], partition: i32, broken: &Broken) -> Finding {
        let shown = Shown { settings: self.settings, shape: self.shape };
        let Broken { previous, at, op, expected, actual, .. } = broken;
        let columns = shown.columns(expected.as_ref(), actual.as_ref());
        let (from, until) = (previous.offset, at.offset);
        let says = match (expected, actual) {
            (Some(_), Some(_)) => {
                format!("was changed otherwise before the event at {until}: {}", say::changes(&columns))
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

/// What updates say of the rows before them, all partitions together.
pub fn befores(unlooked: Option<&'static str>, images: &Lines) -> Option<Befores> {
    let updates = images.all().map(|images| images.updates).sum();
    let without = images.all().map(|images| images.without).sum();
    let unlooked = unlooked.filter(|why| *why != "no-events");
    (updates > 0 || unlooked.is_some()).then(|| Befores {
        updates,
        without,
        not_looked_at: unlooked.map(str::to_owned),
    })
}
