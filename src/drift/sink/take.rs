//! From records to the fold, and what there is to say of them on the way.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use crate::drift::digest::{Method, Spans};
use crate::drift::fold::{Fold, Said, Version, Writer};
use crate::drift::place::TopicPlace;
use crate::drift::record::{Parser, Relaxed, Says};
use crate::drift::shape::Shape;
use crate::drift::topic::Take;
use crate::drift::{DriftError, note};
use crate::wire::Record;

/// Keys in flight whose texts are kept.
const MOST_IN_FLIGHT: usize = 1_000_000;
/// Records listed that say nothing of any key.
const SAMPLES: usize = 10;

/// Folds records.
pub struct FoldTake<'f> {
    parser: Parser<'f>,
    fold: &'f Fold,
    writer: Writer<'f>,
    keys: usize,
    method: Method,
    spans: Spans,
    /// Texts of keys that are in flight, or whose row could not be read.
    in_flight: FxHashMap<u64, Vec<String>>,
    /// Records that say nothing of any key, by reason.
    unusable: BTreeMap<String, u64>,
    samples: Vec<String>,
}

impl Take for FoldTake<'_> {
    fn take(&mut self, partition: i32, record: &Record<'_>) -> Result<(), DriftError> {
        let mut why = None;
        let says = match self.parser.read(record.key, record.value, &mut self.spans, &mut why) {
            Ok(says) => says,
            Err(error) => {
                note(&mut self.unusable, "unusable-record", 1);
                self.sample(partition, record.offset, &error.to_string());
                return Ok(());
            }
        };
        let (key, said) = match says {
            Says::Nothing => return Ok(()),
            Says::Row => {
                let digest = self.method.of(&self.spans, self.keys);
                (digest.key, Said::Row(digest.row))
            }
            Says::Deleted => (self.method.key(&self.spans, self.keys), Said::Deleted),
            Says::Unreadable => {
                let why = why.map(|why| why.to_string()).unwrap_or_default();
                self.sample(partition, record.offset, &why);
                (self.method.key(&self.spans, self.keys), Said::Unreadable)
            }
        };
        if says == Says::Unreadable || !self.fold.is_settled(partition, record.offset) {
            self.remember(key)?;
        }
        let version = Version { key, partition, offset: record.offset, said };
        self.writer.push(&version).map_err(DriftError::Disk)
    }
}

impl<'f> FoldTake<'f> {
    pub fn new(shape: &'f Shape, place: &TopicPlace, fold: &'f Fold, method: Method) -> Self {
        Self {
            parser: Parser::new(shape, place),
            fold,
            writer: fold.writer(),
            keys: shape.keys.len(),
            method,
            spans: Spans::default(),
            in_flight: FxHashMap::default(),
            unusable: BTreeMap::new(),
            samples: Vec::new(),
        }
    }
}

impl FoldTake<'_> {
    fn sample(&mut self, partition: i32, offset: i64, why: &str) {
        if self.samples.len() < SAMPLES {
            self.samples.push(format!("[{partition}]@{offset}: {why}"));
        }
    }

    fn remember(&mut self, key: u64) -> Result<(), DriftError> {
        if self.in_flight.len() >= MOST_IN_FLIGHT && !self.in_flight.contains_key(&key) {
            return Err(DriftError::InFlight(MOST_IN_FLIGHT));
        }
        let (spans, keys) = (&self.spans, self.keys);
        let text = |text: Option<&[u8]>| String::from_utf8_lossy(text.unwrap_or_default()).into_owned();
        self.in_flight.entry(key).or_insert_with(|| spans.texts().take(keys).map(text).collect());
        Ok(())
    }
}

/// What all threads took.
#[derive(Default)]
pub struct Taken {
    pub in_flight: FxHashMap<u64, Vec<String>>,
    pub unusable: BTreeMap<String, u64>,
    pub samples: Vec<String>,
    pub relaxed: Relaxed,
}

impl Taken {
    /// So many columns beside the key.
    pub fn new(columns: usize) -> Self {
        Self { relaxed: Relaxed::new(columns), ..Self::default() }
    }

    pub fn add(&mut self, taker: FoldTake<'_>) -> Result<(), DriftError> {
        taker.writer.end().map_err(DriftError::Disk)?;
        self.in_flight.extend(taker.in_flight);
        for (reason, count) in taker.unusable {
            note(&mut self.unusable, &reason, count);
        }
        let room = SAMPLES.saturating_sub(self.samples.len());
        self.samples.extend(taker.samples.into_iter().take(room));
        self.relaxed.add(&taker.parser.relaxed);
        Ok(())
    }
}
