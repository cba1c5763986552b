//! All versions of a few keys, with their texts: what a suspect may be, must be, and once was.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::DriftError;
use super::canon::Misfit;
use super::digest::{Method, Spans};
use super::record::Says;
use super::shape::Row;
use super::topic::Take;
use super::witness::Witness;
use crate::identify::hash::checksum;
use crate::wire::Record;

/// Settled versions kept of one key; older ones are only counted.
const KEPT: usize = 200;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub partition: i32,
    pub offset: i64,
    pub timestamp: i64,
    /// As in every sighting.
    pub checksum: u64,
    pub content: Content,
    /// It may be in the table and need not be.
    pub is_open: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    Row(Row),
    Deleted,
    Unreadable(String),
}

/// One key's versions, in the order of each partition.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub versions: VecDeque<Version>,
    /// Versions older than those kept.
    pub forgotten: u64,
}

impl History {
    fn push(&mut self, version: Version) {
        self.versions.push_back(version);
        if self.versions.len() > KEPT && self.is_oldest_replaced() {
            self.versions.pop_front();
            self.forgotten += 1;
        }
    }

    /// A later settled version of the same partition stands for it. What is open may be in the table, however old it is.
    fn is_oldest_replaced(&self) -> bool {
        let mut versions = self.versions.iter().filter(|version| !version.is_open);
        let Some(oldest) = self.versions.front().filter(|oldest| !oldest.is_open) else { return false };
        versions.next();
        versions.any(|version| version.partition == oldest.partition)
    }

    /// Whether a version may be in the table and need not be.
    pub fn is_open(&self) -> bool {
        self.versions.iter().any(|version| version.is_open)
    }

    /// Settled versions stand in several partitions: a topic was given more of them, or its keys were written in two ways.
    pub fn is_spread(&self) -> bool {
        let mut settled = self.versions.iter().filter(|version| !version.is_open).map(|version| version.partition);
        settled.next().is_some_and(|first| settled.any(|partition| partition != first))
    }

    /// The last settled version, then all that are not settled. Several of them where they stand in several partitions and
    /// their times do not say which is the last.
    pub fn allowed(&self) -> (Vec<&Version>, Vec<&Version>) {
        let mut last: BTreeMap<i32, &Version> = BTreeMap::new();
        let mut open = Vec::new();
        for version in &self.versions {
            match version.is_open {
                false => _ = last.insert(version.partition, version),
                true => open.push(version),
            }
        }
        let mut settled: Vec<&Version> = last.into_values().collect();
        settled.sort_by_key(|version| version.timestamp);
        if let [.., before, newest] = settled.as_slice()
            && newest.timestamp > before.timestamp
        {
            settled = vec![newest];
        }
        (settled, open)
    }
}

/// By the texts of the key: two keys may share a hash.
pub type Histories = BTreeMap<Vec<String>, History>;

pub struct HistoryTake<'s> {
    /// Hashes of keys; every key when absent.
    wanted: Option<&'s BTreeSet<u64>>,
    witness: Witness<'s>,
    keys: usize,
    method: Method,
    spans: Spans,
    pub histories: Histories,
    /// Records that say nothing of any key.
    pub unusable: u64,
}

impl<'s> HistoryTake<'s> {
    pub fn new(wanted: Option<&'s BTreeSet<u64>>, witness: Witness<'s>, keys: usize, method: Method) -> Self {
        Self { wanted, witness, keys, method, spans: Spans::default(), histories: Histories::new(), unusable: 0 }
    }
}

impl HistoryTake<'_> {
    /// The key a record speaks of, and what it says, where that is wanted.
    pub fn read(&mut self, partition: i32, record: &Record<'_>) -> Option<(Vec<String>, Version)> {
        let said = self.witness.read(partition, record, &mut self.spans);
        self.unusable += u64::from(said.is_err());
        let (says, is_open) = said.ok()??;
        let has = |wanted: &BTreeSet<u64>| wanted.contains(&self.method.key(&self.spans, self.keys));
        if !self.wanted.is_none_or(has) {
            return None;
        }
        let row = Row::of(&self.spans, self.keys);
        let keys = row.keys.clone();
        let content = match says {
            Says::Row => Content::Row(row),
            Says::Partial => self.filled(partition, row),
            Says::Unreadable(why) => Content::Unreadable(why.to_string()),
            Says::Deleted | Says::Nothing => Content::Deleted,
        };
        let (offset, timestamp) = (record.offset, record.timestamp);
        Some((keys, Version { partition, offset, timestamp, checksum: checksum(record), content, is_open }))
    }

    /// With what the change left as it was.
    fn filled(&self, partition: i32, mut row: Row) -> Content {
        let versions = self.histories.get(&row.keys).map(|history| &history.versions);
        let before = versions.and_then(|versions| versions.iter().rev().find(|version| version.partition == partition));
        let Some(Content::Row(before)) = before.map(|version| &version.content) else {
            return Content::Unreadable(Misfit::Unavailable.to_string());
        };
        for column in &self.witness.parser.unavailable {
            row.values[*column] = before.values[*column].clone();
        }
        Content::Row(row)
    }
}

impl Take for HistoryTake<'_> {
    fn take(&mut self, partition: i32, record: &Record<'_>) -> Result<(), DriftError> {
        if let Some((keys, version)) = self.read(partition, record) {
            self.histories.entry(keys).or_default().push(version);
        }
        Ok(())
    }
}

/// Of several threads; a key that stands in several partitions is put together.
pub fn merge(all: Vec<Histories>) -> Histories {
    let mut merged = Histories::new();
    for histories in all {
        for (key, mut history) in histories {
            let own = merged.entry(key).or_default();
            own.versions.append(&mut history.versions);
            own.forgotten += history.forgotten;
        }
    }
    for history in merged.values_mut() {
        history.versions.make_contiguous().sort_by_key(|version| (version.partition, version.offset));
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_in_the_table_is_never_forgotten() {
        let version = |offset: i64, is_open| Version {
            partition: 0,
            offset,
            timestamp: 0,
            checksum: 0,
            content: Content::Deleted,
            is_open,
        };
        let mut history = History::default();
        (0..300).for_each(|offset| history.push(version(offset, false)));
        assert_eq!((history.versions.len(), history.forgotten), (KEPT, 100));
        (300..900).for_each(|offset| history.push(version(offset, true)));
        let (settled, open) = history.allowed();
        assert_eq!((settled[0].offset, open.len()), (299, 600));
        assert_eq!(history.versions.len() as u64 + history.forgotten, 900);
    }
}
