//! What the topic alone costs, without a comparison: for `benches/drift`.

use std::sync::Arc;

use super::DriftError;
use super::cut::{Settled, Sight};
use super::digest::Method;
use super::fold::Fold;
use super::part::Part;
use super::place::{Place, TopicPlace};
use super::shape::Shape;
use super::sink::take::FoldTake;
use super::topic::{self, Take};
use super::{Chosen, Limits, table};
use crate::engine::Progress;
use crate::source::{Properties, Start};
use crate::wire::Record;

/// Folds a topic as a comparison does.
pub struct Folding {
    place: TopicPlace,
    shape: Shape,
    method: Method,
    memory_bytes: usize,
}

impl Folding {
    /// By the URLs of a comparison; the table is only asked for its columns.
    pub fn new(topic: &str, second: &str, memory_bytes: usize) -> Result<Self, DriftError> {
        let parsed = |url: &str| url.parse().map_err(|error| DriftError::Pair(format!("{error}")));
        let Place::Topic(place) = parsed(topic)? else {
            return Err(DriftError::Pair(format!("{topic} is no topic")));
        };
        let table = table::open(&parsed(second)?, &Chosen::default(), &Limits::default())?;
        Ok(Self { place, shape: table.shape().clone(), method: table.method(), memory_bytes })
    }

    fn take<'f>(&'f self, sight: &'f Sight, fold: &'f Fold) -> FoldTake<'f> {
        FoldTake::new(&self.shape, &self.place, sight, fold, self.method, Part::WHOLE)
    }

    /// All of the topic, by as many threads as read it; how many keys it has.
    pub fn topic(&self) -> Result<u64, DriftError> {
        let properties = Properties::from([("bootstrap.servers".to_owned(), self.place.brokers.clone())]);
        let opened = topic::open(&properties, &self.place.topic, Start::Beginning, &[])?;
        let ends = opened.partitions.iter().map(|info| (info.partition, info.until.unwrap_or(info.from)));
        let (sight, fold) = (Sight::Offsets(Settled::new(ends)), Fold::new(self.memory_bytes));
        let (_, takers) = opened.read(&Arc::new(Progress::default()), || self.take(&sight, &fold))?;
        takers.into_iter().try_for_each(|taker| taker.end().map(drop))?;
        keys(&fold)
    }

    /// These records, as if one partition held them, by one thread; how many keys they have.
    pub fn records(&self, records: &[Record<'_>]) -> Result<u64, DriftError> {
        let (sight, fold) = (Sight::Offsets(Settled::new([(0, i64::MAX)])), Fold::new(self.memory_bytes));
        let mut taker = self.take(&sight, &fold);
        records.iter().try_for_each(|record| taker.take(0, record))?;
        taker.end()?;
        keys(&fold)
    }
}

fn keys(fold: &Fold) -> Result<u64, DriftError> {
    fold.each(|_, _| {}).map(|counts| counts.keys).map_err(DriftError::Disk)
}
