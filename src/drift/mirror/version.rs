//! All versions of a few keys on both sides, and what is wrong with one of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::hash::{Hasher, key_hash};
use super::position::{Finder, Reach, Tails};
use crate::drift::DriftError;
use crate::drift::topic::Take;
use crate::identify::hash::checksum;
use crate::wire::Record;

/// Versions kept of one key; older ones are forgotten.
const KEPT: usize = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    pub offset: i64,
    pub timestamp: i64,
    /// Of all that a copy keeps.
    pub hash: u64,
    /// As in every sighting.
    pub checksum: u64,
    pub is_deleted: bool,
}

/// One key's versions on one side, in their order.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub versions: VecDeque<Version>,
    is_cut: bool,
}

impl History {
    pub fn push(&mut self, version: Version) {
        self.versions.push_back(version);
        if self.versions.len() > KEPT {
            self.versions.pop_front();
            self.is_cut = true;
        }
    }
}

/// By partition and key: each side folds each partition by itself.
pub type Histories = BTreeMap<(i32, Vec<u8>), History>;

/// Takes the versions of these keys, and what tells how far the copy has come.
pub struct VersionTake<'s> {
    wanted: &'s BTreeSet<u64>,
    hasher: Hasher,
    pub histories: Histories,
    pub tails: Tails,
    pub finder: Option<Finder>,
}

impl<'s> VersionTake<'s> {
    /// With the records of the copy that are looked for, when this is the source.
    pub fn new(wanted: &'s BTreeSet<u64>, hasher: Hasher, finder: Option<Finder>) -> Self {
        Self { wanted, hasher, histories: Histories::new(), tails: Tails::default(), finder }
    }
}

impl Take for VersionTake<'_> {
    fn take(&mut self, partition: i32, record: &Record<'_>) -> Result<(), DriftError> {
        let item = self.hasher.item(record);
        match &mut self.finder {
            Some(finder) => finder.look(partition, &item),
            None => self.tails.push(partition, item),
        }
        let Some(key) = record.key.filter(|key| self.wanted.contains(&key_hash(partition, key))) else {
            return Ok(());
        };
        let version = Version {
            offset: record.offset,
            timestamp: record.timestamp,
            hash: item.hash,
            checksum: checksum(record),
            is_deleted: record.value.is_none(),
        };
        self.histories.entry((partition, key.to_vec())).or_default().push(version);
        Ok(())
    }
}

/// Takes the hashes of those of these keys that were written.
pub struct KeyTake<'s> {
    wanted: &'s BTreeSet<u64>,
    pub written: BTreeSet<u64>,
}

impl<'s> KeyTake<'s> {
    pub fn new(wanted: &'s BTreeSet<u64>) -> Self {
        Self { wanted, written: BTreeSet::new() }
    }
}

impl Take for KeyTake<'_> {
    fn take(&mut self, partition: i32, record: &Record<'_>) -> Result<(), DriftError> {
        let hash = record.key.map(|key| key_hash(partition, key));
        self.written.extend(hash.filter(|hash| self.wanted.contains(hash)));
        Ok(())
    }
}

/// What is known of a partition while its keys are judged.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    pub reach: Reach,
    /// Compaction has taken records from the source.
    pub has_holes: bool,
    /// What has no later version may have left, too.
    pub source_expires: bool,
    pub copy_expires: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it must be, or as it may be while records are on their way.
    Fine,
    Missing {
        expected: Version,
    },
    /// The source deleted it, or has no record of it.
    Extra {
        deleted: Option<Version>,
        actual: Version,
    },
    Differs {
        expected: Version,
        actual: Version,
    },
    /// The copy holds what an older record of the source says.
    Stale {
        expected: Version,
        older: Version,
        versions_behind: u64,
        actual: Version,
    },
    Unverifiable(&'static str),
}

pub fn judge(source: Option<&History>, copy: Option<&History>, known: &Known) -> Verdict {
    let empty = VecDeque::new();
    let versions = source.map_or(&empty, |history| &history.versions);
    let is_open = |version: &&Version| known.reach.is_open(version.offset, version.timestamp);
    let settled = versions.iter().rev().find(|version| !is_open(version));
    let first_open = versions.iter().find(is_open);
    let actual = copy.and_then(|copy| copy.versions.back()).filter(|version| !version.is_deleted);
    let is_allowed = |version: &Version| match version.is_deleted {
        true => actual.is_none(),
        false => actual.is_some_and(|actual| actual.hash == version.hash),
    };
    let mut open = versions.iter().filter(is_open);
    if settled.map_or(actual.is_none(), is_allowed) || open.any(is_allowed) {
        return Verdict::Fine;
    }
    let is_cut = settled.is_none() && source.is_some_and(|source| source.is_cut);
    if first_open.is_some() && (known.has_holes || is_cut) {
        // It may be a version that a later one has replaced since.
        return Verdict::Fine;
    }
    match (settled, actual) {
        (Some(expected), None) if known.copy_expires && !expected.is_deleted => Verdict::Unverifiable("retention"),
        (Some(expected), None) => Verdict::Missing { expected: *expected },
        (Some(deleted), Some(actual)) if deleted.is_deleted => {
            Verdict::Extra { deleted: Some(*deleted), actual: *actual }
        }
        (Some(expected), Some(actual)) => against(versions, expected, actual),
        (None, _) if known.source_expires => Verdict::Unverifiable("retention"),
        (None, Some(actual)) => match first_open {
            Some(expected) => Verdict::Differs { expected: *expected, actual: *actual },
            None => Verdict::Extra { deleted: None, actual: *actual },
        },
        (None, None) => Verdict::Fine,
    }
}

/// What the copy holds is older, or nothing that the source ever said.
fn against(versions: &VecDeque<Version>, expected: &Version, actual: &Version) -> Verdict {
    let earlier = versions.iter().rev().filter(|version| version.offset < expected.offset);
    let equals = |(_, version): &(usize, &Version)| !version.is_deleted && version.hash == actual.hash;
    match earlier.enumerate().find(equals) {
        Some((between, older)) => {
            Verdict::Stale { expected: *expected, older: *older, versions_behind: between as u64 + 1, actual: *actual }
        }
        None => Verdict::Differs { expected: *expected, actual: *actual },
    }
}

#[cfg(test)]
mod tests;
