//! From the records and markers of `__consumer_offsets`, each partition in the order of its log, to what is new about
//! each group since it was last asked. It reads no bytes, no socket and no clock: times are those in the log.
//!
//! **By a tool.** Kafka takes a commit without a member only while the group has none. Such a commit is called a tool's
//! when, in the order of the same partition, the group is known to have had members and then to have none; when it is not
//! part of a transaction; and when it names no leader epoch, as a consumer does that has read a record. A group whose
//! members were never seen is left in peace: it may be a consumer that assigns its partitions itself. What remains
//! possible is such a consumer in a group that had members before, with a client that names no epoch.
//!
//! **Bounds.** What is new and was not asked for, what is held back and what is remembered of groups is bounded; what had
//! to be left out is counted.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::decode::{CommitValue, Entry};
use super::members::Members;
use super::news::{Drained, Generation, News, Removal};
use super::pending::Pending;
use crate::lag::facts::Spot;
use crate::lag::window::Commit;

/// Names that are not worth a sweep.
const FEW_NAMES: usize = 4096;

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Groups, places, commits and generations that wait to be drained.
    pub news: usize,
    /// Commits held back in one partition of the log.
    pub pending: usize,
    /// Groups whose members are remembered, in one partition of the log.
    pub groups: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { news: 500_000, pending: 50_000, groups: 50_000 }
    }
}

/// What the book could not keep, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// News left out because too much waited to be drained.
    pub thinned: u64,
    /// Commits of open transactions given up: there were too many, or the log has a hole in which their end may have been.
    pub given_up: u64,
    /// Records about the members of groups beyond those remembered.
    pub groups_left_out: u64,
}

/// Where a record stands.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub partition: i32,
    pub offset: i64,
    pub timestamp_ms: i64,
    /// The record is part of a transaction of this producer.
    pub producer: Option<i64>,
}

impl Place {
    fn removal(self) -> Removal {
        Removal { order: self.offset, at_ms: self.timestamp_ms }
    }
}

type Key = (Arc<str>, Spot);

/// One partition of the log.
struct Log {
    /// Nothing that it says of members was missed: read from its first record, without a hole.
    is_whole: bool,
    groups: HashMap<Arc<str>, Members>,
    pending: Pending<Key, Commit>,
}

pub struct Book {
    limits: Limits,
    logs: HashMap<i32, Log>,
    /// One copy of each name.
    names: HashSet<Arc<str>>,
    sweep_at: usize,
    news: News,
    given_up: u64,
    groups_left_out: u64,
}

impl Default for Book {
    fn default() -> Self {
        Self::within(Limits::default())
    }
}

impl Book {
    pub fn within(limits: Limits) -> Self {
        let (logs, names, news) = (HashMap::new(), HashSet::new(), News::new(limits.news));
        Self { limits, logs, names, sweep_at: FEW_NAMES, news, given_up: 0, groups_left_out: 0 }
    }

    /// Reading of a partition begins, or begins anew. `is_whole`: with the first record that there is.
    pub fn begin(&mut self, partition: i32, is_whole: bool) {
        self.interrupt(partition);
        let log = self.log(partition);
        log.groups.clear();
        log.is_whole = is_whole;
    }

    /// A stretch of the log could not be read. Members and the ends of transactions may have been in it.
    pub fn interrupt(&mut self, partition: i32) {
        let log = self.log(partition);
        log.is_whole = false;
        log.groups.values_mut().for_each(Members::forget);
        let given_up = log.pending.clear();
        self.given_up += given_up as u64;
    }

    /// The log now ends at `end`: what was read behind it never happened. What was told cannot be taken back.
    pub fn truncate(&mut self, partition: i32, end: i64) {
        let log = self.log(partition);
        log.is_whole = false;
        log.groups.values_mut().for_each(Members::forget);
        log.pending.cut(end);
    }

    pub fn record(&mut self, place: Place, entry: &Entry<'_>) {
        match *entry {
            Entry::Commit { group, topic, partition, value } => {
                let key = (self.name(group), (self.name(topic), partition));
                match value {
                    Some(value) => self.commit(place, key, &value),
                    // Kafka applies a tombstone at once, even one in a transaction.
                    None => {
                        self.log(place.partition).pending.overtake(&key, place.offset);
                        self.news.removed(&key.0, &key.1, place.removal());
                    }
                }
            }
            Entry::Classic { group, value: None } | Entry::Epoch { group, value: None } => {
                let group = self.name(group);
                self.log(place.partition).groups.remove(&group);
                // When a group only changes its protocol, what it is now follows in the same batch.
                self.news.deleted(&group, place.removal());
            }
            Entry::Classic { group, value: Some(value) } => {
                self.members(place, group, |members| members.classic(value).then_some(value.generation));
            }
            Entry::Epoch { group, value: Some(epoch) } => {
                self.members(place, group, |members| members.epoch(epoch).then_some(epoch));
            }
            Entry::Member { group, member, is_there } => {
                self.members(place, group, |members| {
                    members.member(xxh3_64(member.as_bytes()), is_there);
                    None
                });
            }
            Entry::Other { .. } => {}
        }
    }

    /// A transaction of this producer ends in this partition. Since KIP-890 the marker's epoch is one above that of the
    /// records, so it is the producer alone that counts; it has one transaction at a time.
    pub fn end_transaction(&mut self, partition: i32, producer: i64, commits: bool) {
        for (key, order, commit) in self.log(partition).pending.end(producer) {
            if commits {
                self.log(partition).pending.overtake(&key, order);
                self.news.commit(&key.0, &key.1, commit);
            }
        }
    }

    /// What is new; the next time only what is new since.
    pub fn drain(&mut self) -> Drained {
        self.news.drain()
    }

    pub fn counts(&self) -> Counts {
        let Self { given_up, groups_left_out, .. } = *self;
        Counts { thinned: self.news.left_out(), given_up, groups_left_out }
    }

    /// Commits held back until their transactions end.
    pub fn held_back(&self) -> usize {
        self.logs.values().map(|log| log.pending.len()).sum()
    }

    #[cfg(any(test, fuzzing))]
    pub fn is_within_limits(&self) -> bool {
        let is_within = |log: &Log| log.pending.len() <= self.limits.pending && log.groups.len() <= self.limits.groups;
        // A group's first commit brings the group, the place and the commit.
        self.news.waiting() <= self.limits.news + 2 && self.logs.values().all(is_within)
    }

    fn log(&mut self, partition: i32) -> &mut Log {
        let most = self.limits.pending;
        let new = || Log { is_whole: false, groups: HashMap::new(), pending: Pending::new(most) };
        self.logs.entry(partition).or_insert_with(new)
    }

    /// Forgets the names that nothing refers to.
    fn sweep(&mut self) {
        self.names.retain(|name| Arc::strong_count(name) > 1);
        self.sweep_at = (2 * self.names.len()).max(FEW_NAMES);
    }

    fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return known.clone();
        }
        if self.names.len() >= self.sweep_at {
            self.sweep();
        }
        let new: Arc<str> = Arc::from(name);
        self.names.insert(new.clone());
        new
    }

    fn commit(&mut self, place: Place, key: Key, value: &CommitValue<'_>) {
        let log = self.log(place.partition);
        let is_left = log.groups.get(&key.0).is_some_and(Members::have_left);
        let commit = Commit {
            offset: value.offset,
            order: place.offset,
            timestamp_ms: value.commit_ms,
            lag: None,
            by_tool: is_left && place.producer.is_none() && value.leader_epoch.is_none(),
        };
        match place.producer {
            None => {
                log.pending.overtake(&key, commit.order);
                self.news.commit(&key.0, &key.1, commit);
            }
            Some(producer) => {
                let given_up = log.pending.hold(producer, key, commit.order, commit);
                self.given_up += given_up as u64;
            }
        }
    }

    /// Lets a record change what is known of a group's members; a generation that comes of it is news.
    fn members(&mut self, place: Place, group: &str, change: impl FnOnce(&mut Members) -> Option<i32>) {
        let (name, most) = (self.name(group), self.limits.groups);
        let log = self.log(place.partition);
        if log.groups.len() >= most && !log.groups.contains_key(&name) {
            // Should there be room for it later, some of its members will have been missed.
            log.is_whole = false;
            self.groups_left_out += 1;
            return;
        }
        let is_whole = log.is_whole;
        let members = log.groups.entry(name.clone()).or_insert_with(|| Members::new(is_whole));
        if let Some(number) = change(members) {
            let has_members = members.has_some();
            let (order, at_ms) = (place.offset, place.timestamp_ms);
            self.news.generation(&name, Generation { number, order, at_ms, has_members });
        }
    }
}
