//! From records to the fold, and what there is to say of them on the way.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use crate::audit::drift::DriftSummary;
use crate::drift::cut::Sight;
use crate::drift::digest::{Method, Spans, bucket_of};
use crate::drift::fold::{Before, Fold, Said, State, Version, Writer};
use crate::drift::images::Lines;
use crate::drift::place::TopicPlace;
use crate::drift::record::change::{self, Change, Op};
use crate::drift::record::{Relaxed, Says, Unusable};
use crate::drift::shape::Shape;
use crate::drift::topic::Take;
use crate::drift::witness::Witness;
use crate::drift::{DriftError, Part, note};
use crate::wire::Record;

/// Keys in flight whose texts are kept.
const MOST_IN_FLIGHT: usize = 1_000_000;
/// Records that say nothing of any key.
pub const UNUSABLE: &str = "unusable-record";
/// Such records listed.
const SAMPLES: usize = 10;

/// Folds records.
pub struct FoldTake<'f> {
    witness: Witness<'f>,
    writer: Writer<'f>,
    keys: usize,
    method: Method,
    part: Part,
    spans: Spans,
    /// By partition and line: how far its events have come in the source's log. Another server's numbers are others.
    streams: FxHashMap<(i32, u64), [u64; 3]>,
    taken: Taken,
}

impl Take for FoldTake<'_> {
    fn take(&mut self, partition: i32, record: &Record<'_>) -> Result<(), DriftError> {
        let said = self.witness.read(partition, record, &mut self.spans);
        let change = self.witness.parser.change.take();
        if let Some(change) = &change {
            self.taken.images.see(partition, record.offset, change, &self.witness.parser.before, self.keys);
        }
        let (says, is_open) = match said {
            Ok(Some(said)) => said,
            Ok(None) => return Ok(()),
            Err(why) => {
                note(&mut self.taken.unusable, UNUSABLE, 1);
                self.sample(partition, record.offset, &why);
                return Ok(());
            }
        };
        self.taken.used += 1;
        self.taken.rows += u64::from(says == Says::Row);
        let (key, said) = match says {
            Says::Row => {
                let digest = self.method.of(&self.spans, self.keys);
                let is_loose = self.witness.parser.is_lacking || change.as_ref().is_some_and(|c| c.op == Op::Read);
                (digest.key, if is_loose { Said::Loose(digest.row) } else { Said::Row(digest.row) })
            }
            Says::Deleted | Says::Nothing => (self.method.key(&self.spans, self.keys), Said::Deleted),
            Says::Partial => (self.method.key(&self.spans, self.keys), Said::Partial),
            Says::Unreadable(why) => {
                self.sample(partition, record.offset, &why);
                (self.method.key(&self.spans, self.keys), Said::Unreadable)
            }
        };
        if !self.part.has(bucket_of(key)) {
            return Ok(());
        }
        if matches!(said, Said::Unreadable | Said::Partial) || is_open {
            self.remember(key)?;
        }
        let version = Version { key, partition, offset: record.offset, said, is_open };
        if let Some(row) = change.and_then(|change| self.before(partition, &change)) {
            let before = Before { key, partition, offset: record.offset, row };
            self.writer.push_before(&before).map_err(DriftError::Disk)?;
        }
        self.writer.push(&version).map_err(DriftError::Disk)
    }
}

impl<'f> FoldTake<'f> {
    pub fn new(
        shape: &'f Shape,
        place: &TopicPlace,
        sight: &'f Sight,
        fold: &'f Fold,
        method: Method,
        part: Part,
    ) -> Self {
        Self {
            witness: Witness::new(shape, place, sight),
            writer: fold.writer(),
            keys: shape.keys.len(),
            method,
            part,
            spans: Spans::default(),
            streams: FxHashMap::default(),
            taken: Taken::default(),
        }
    }

    /// With what rows were before their changes, too.
    pub fn with_befores(mut self, is_wanted: bool) -> Self {
        self.witness.parser.wants_change = is_wanted;
        self
    }

    /// The hash of the row before, where this event can be held against the one before it. What a connector sends again is known
    /// by its place: it went on elsewhere.
    fn before(&mut self, partition: i32, change: &Change) -> Option<Option<u64>> {
        if change.op == Op::Read {
            return None;
        }
        let place = change.place?;
        if let Some(stream) = place.stream {
            let newest = self.streams.entry((partition, place.line)).or_default();
            if stream <= *newest {
                return None;
            }
            *newest = stream;
        }
        match change.before {
            change::Before::Untold => None,
            change::Before::None => Some(None),
            change::Before::Row => Some(Some(self.method.of(&self.witness.parser.before, self.keys).row)),
        }
    }

    /// Everything is in the fold then.
    pub fn end(self) -> Result<Taken, DriftError> {
        self.writer.end().map_err(DriftError::Disk)?;
        Ok(Taken { relaxed: self.witness.parser.relaxed, ..self.taken })
    }

    fn sample(&mut self, partition: i32, offset: i64, why: &Unusable) {
        let samples = &mut self.taken.samples;
        if samples.len() < SAMPLES {
            samples.push(format!("[{partition}]@{offset}: {why}"));
        }
    }

    fn remember(&mut self, key: u64) -> Result<(), DriftError> {
        let in_flight = &mut self.taken.in_flight;
        if in_flight.len() >= MOST_IN_FLIGHT && !in_flight.contains_key(&key) {
            return Err(DriftError::InFlight(MOST_IN_FLIGHT));
        }
        let (spans, keys) = (&self.spans, self.keys);
        let text = |text: Option<&[u8]>| String::from_utf8_lossy(text.unwrap_or_default()).into_owned();
        in_flight.entry(key).or_insert_with(|| spans.texts().take(keys).map(text).collect());
        Ok(())
    }
}

/// What one thread took, or all of them.
#[derive(Default)]
pub struct Taken {
    /// Texts of keys that are in flight, or whose row could not be read.
    pub in_flight: FxHashMap<u64, Vec<String>>,
    /// Records that say nothing of any key, by reason.
    unusable: BTreeMap<String, u64>,
    /// Records that say something of a key, and those of them that are whole rows.
    used: u64,
    rows: u64,
    pub samples: Vec<String>,
    relaxed: Relaxed,
    pub images: Lines,
}

impl Taken {
    /// So many columns beside the key.
    pub fn new(columns: usize) -> Self {
        Self { relaxed: Relaxed::new(columns), ..Self::default() }
    }

    pub fn add(&mut self, other: Taken) {
        self.in_flight.extend(other.in_flight);
        self.images.add(other.images);
        self.used += other.used;
        self.rows += other.rows;
        for (reason, count) in other.unusable {
            note(&mut self.unusable, &reason, count);
        }
        let room = SAMPLES.saturating_sub(self.samples.len());
        self.samples.extend(other.samples.into_iter().take(room));
        self.relaxed.add(&other.relaxed);
    }

    /// The texts of these keys, as far as they were kept.
    pub fn texts(&self, open: &FxHashMap<u64, State>) -> Vec<Vec<String>> {
        open.keys().filter_map(|key| self.in_flight.get(key).cloned()).collect()
    }

    /// Why nothing can be said, where the topic has records and none of them tells a row as it was asked for.
    pub fn useless(&self) -> Option<String> {
        let unusable: u64 = self.unusable.values().sum();
        (self.used == 0 && unusable > 0).then(|| {
            let records = crate::report::plural(unusable, "record");
            let first = self.samples.first().map(|sample| format!(" ({sample})")).unwrap_or_default();
            format!("none of its {records} says anything of a row{first}; are value=… and key=… as they should be?")
        })
    }

    /// That all of them lack every column: most likely they are read as something else than they are.
    pub fn without_columns(&self, shape: &Shape) -> Option<String> {
        let is_absent =
            self.rows > 0 && !shape.values.is_empty() && self.relaxed.absent.iter().all(|n| *n == self.rows);
        is_absent.then(|| {
            let columns: Vec<&str> = shape.values.iter().map(|column| column.name.as_str()).collect();
            format!(
                "none of its {} has a member of the columns {}; events of Debezium's are read with value=debezium",
                crate::report::plural(self.rows, "record"),
                columns.join(", ")
            )
        })
    }

    /// What was let pass, by column, and what could not be used.
    pub fn count(&self, shape: &Shape, summary: &mut DriftSummary) {
        for (index, column) in shape.values.iter().enumerate() {
            note(&mut summary.narrowed, &column.name, self.relaxed.narrowed[index]);
            note(&mut summary.absent, &column.name, self.relaxed.absent[index]);
        }
        for (reason, count) in &self.unusable {
            note(&mut summary.unverifiable, reason, *count);
        }
    }
}

#[cfg(test)]
mod tests;
