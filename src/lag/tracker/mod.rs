//! From rounds to verdicts: keeps what each group and partition did lately, and says what it means. A round goes in as
//! [`Facts`], a [`Snapshot`] comes out; no I/O, no clock. What is kept can be written down and read back, so that a
//! restart forgets no window.

mod foresee;
mod group;
mod marks;
mod place;
mod room;
mod spot;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::collect::{Found, Place};
use super::commits::Drained;
use super::facts::{self, Committed, Facts, GroupFacts, PartitionFacts};
use super::rules::Thresholds;
use super::ruleset::Rules;
use super::snapshot::Snapshot;
use super::window::{Commit, Mark};
use group::Group;
use marks::Marks;
use room::Room;

/// How groups are judged.
#[derive(Clone)]
pub struct Settings {
    pub rules: Rules,
    /// What holds for a group as a whole and for a partition as such, whichever rules judge the rest.
    pub thresholds: Thresholds,
    /// Commits kept per group and partition.
    pub intervals: usize,
    /// Groups that must exist.
    pub required: Vec<String>,
    /// Groups that read committed records only; `None`: not configured, so it is a guess that none does.
    pub read_committed: Option<Vec<Regex>>,
    /// How long a commit may lie beyond the end of the log: the end also falls for a moment in a clean election.
    pub beyond_for_ms: i64,
    /// Most places per round at which the log itself is looked at.
    pub looks: usize,
    pub past: Option<Arc<dyn Past>>,
}

/// What is remembered of records by whoever reads the log anyway.
pub trait Past: Send + Sync {
    /// Records in `[from, until)`, where that is known exactly.
    fn records(&self, spot: &facts::Spot, from: i64, until: i64) -> Option<i64>;
    /// Between which times the first record at or above the offset was written.
    fn next_time(&self, spot: &facts::Spot, offset: i64) -> Option<(i64, i64)>;
}

impl Past for crate::engine::index::Indexes {
    fn records(&self, spot: &facts::Spot, from: i64, until: i64) -> Option<i64> {
        Self::records(self, spot, from, until)
    }

    fn next_time(&self, spot: &facts::Spot, offset: i64) -> Option<(i64, i64)> {
        Self::next_time(self, spot, offset)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rules: Rules::default(),
            thresholds: Thresholds::default(),
            intervals: 24,
            required: Vec::new(),
            read_committed: None,
            beyond_for_ms: 60_000,
            looks: 2000,
            past: None,
        }
    }
}

impl Settings {
    fn reads_committed(&self, group: &str) -> bool {
        self.read_committed.as_ref().is_some_and(|groups| groups.iter().any(|p| p.is_match(group)))
    }
}

/// Everything that outlives a round.
#[derive(Default, Serialize, Deserialize)]
pub struct State {
    round: i64,
    groups: BTreeMap<Arc<str>, Group>,
    partitions: HashMap<facts::Spot, Marks>,
    room: Room,
}

pub struct Tracker {
    settings: Settings,
    cluster: String,
    state: State,
    facts: Facts,
    /// Commits are read with their own times.
    is_streamed: bool,
}

impl Tracker {
    pub fn new(settings: Settings, cluster: &str, state: State) -> Self {
        Self { settings, cluster: cluster.to_owned(), state, facts: Facts::default(), is_streamed: false }
    }

    /// What is to be kept over a restart.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Somebody has seen that a group, or its commit on some partitions, is gone.
    pub fn acknowledge_gone(&mut self, group: &str) {
        if let Some(group) = self.state.groups.get_mut(group) {
            group.gone_is_known = group.missing_since_ms.is_some();
            group.spots.retain(|_, spot| spot.missing_since_ms.is_none());
        }
    }

    /// Takes in a round, and says where the log should be looked at before it is judged. `news`: what the stream of
    /// commits brought since the last round and before this one, where it is read.
    pub fn take(&mut self, mut facts: Facts, news: Option<Drained>) -> Vec<Place> {
        self.state.round += 1;
        let is_streamed = news.is_some();
        if let Some(space) = facts.space.take() {
            self.state.room.take(space, facts.ends_at_ms);
        }
        for (spot, found) in &facts.partitions {
            self.take_marks(spot, found, facts.ends_at_ms);
        }
        self.state.partitions.retain(|spot, _| facts.partitions.contains_key(spot));
        for (name, found) in &facts.groups {
            let group =
                self.state.groups.entry(name.clone()).or_insert_with(|| Group::new(found.kind, facts.commits_at_ms));
            group.met(found, facts.commits_at_ms);
            take_commits(group, found, &facts, is_streamed, self.settings.intervals);
        }
        for (name, news) in news.into_iter().flatten() {
            if let Some(group) = self.state.groups.get_mut(&name) {
                group.heard(news, self.settings.intervals);
            }
        }
        self.is_streamed = is_streamed;
        for (_, group) in self.state.groups.iter_mut().filter(|(name, _)| !facts.groups.contains_key(*name)) {
            if facts.unlisted_brokers == 0 {
                group.missing_since_ms.get_or_insert(facts.commits_at_ms);
            }
        }
        self.facts = facts;
        self.wanted()
    }

    fn take_marks(&mut self, spot: &facts::Spot, found: &PartitionFacts, at_ms: i64) {
        let marks = self.state.partitions.entry(spot.clone()).or_default();
        if marks.of_topic(found.topic_id, at_ms) {
            let groups = self.state.groups.values_mut();
            groups.filter_map(|group| group.spots.get_mut(spot)).for_each(|spot| spot.forget_log(at_ms));
        }
        if let (Ok(log_start), Ok(end)) = (found.log_start, found.end) {
            marks.push(Mark { at_ms, log_start, stable_end: found.stable_end.ok(), end });
        }
    }

    /// Places worth a look, furthest behind first.
    fn wanted(&self) -> Vec<Place> {
        let now_ms = self.facts.ends_at_ms;
        let mut wanted: Vec<(i64, Place)> = Vec::new();
        for (name, group) in &self.state.groups {
            let read_committed = self.settings.reads_committed(name);
            for (at, spot) in &group.spots {
                let Some(marks) = self.state.partitions.get(at) else { continue };
                let (Some(committed), Some(mark)) = (spot.committed(), marks.last()) else { continue };
                let (offset, end) = (committed.max(mark.log_start), mark.end_for(read_committed));
                let is_known =
                    || self.settings.past.as_ref().is_some_and(|past| past.records(at, offset, end).is_some());
                if spot.wants_look(offset, end, marks, now_ms) && !is_known() {
                    wanted.push((end - offset, Place { spot: at.clone(), offset, read_committed }));
                }
            }
        }
        wanted.sort_unstable_by_key(|(lag, _)| std::cmp::Reverse(*lag));
        let mut places: Vec<Place> = wanted.into_iter().map(|(_, place)| place).collect();
        let mut seen = std::collections::HashSet::new();
        places.retain(|place| seen.insert(place.clone()));
        places.truncate(self.settings.looks);
        places
    }

    /// Judges the round with what the looks found.
    pub fn judge(&mut self, looked: &Found) -> Snapshot {
        self.keep_looks(looked);
        view::snapshot(self)
    }

    fn keep_looks(&mut self, looked: &Found) {
        if looked.is_empty() {
            return;
        }
        let State { groups, partitions, .. } = &mut self.state;
        for (name, group) in groups {
            let read_committed = self.settings.reads_committed(name);
            for (at, spot) in &mut group.spots {
                let Some(mark) = partitions.get(at).and_then(Marks::last) else { continue };
                let Some(committed) = spot.committed() else { continue };
                let place = Place { spot: at.clone(), offset: committed.max(mark.log_start), read_committed };
                if let Some(Ok(next)) = looked.get(&place) {
                    spot.looked(place.offset, mark.end_for(read_committed), *next);
                }
            }
        }
    }
}

/// Leaves out every second one of the older half; the oldest stays.
fn thin<T>(kept: &mut Vec<T>) {
    let (mut number, half) = (0, kept.len() / 2);
    kept.retain(|_| {
        number += 1;
        number > half || number % 2 == 1
    });
}

/// Polled commits. A commit that is no longer there is missing, not gone: see the verdict.
fn take_commits(group: &mut Group, found: &GroupFacts, facts: &Facts, is_streamed: bool, most: usize) {
    let Ok(offsets) = &found.offsets else { return };
    let at_ms = facts.commits_at_ms;
    for (at, committed) in offsets {
        let Ok(Committed { offset, .. }) = *committed else { continue };
        let end = facts.partitions.get(at).and_then(|marks| marks.end.ok());
        let lag = end.map(|end| (end - offset).max(0));
        let spot = group.spots.entry(at.clone()).or_default();
        // Below all orders of the stream, so that both are told apart.
        let order = i64::MIN.saturating_add(at_ms);
        spot.polled(Commit { offset, order, timestamp_ms: at_ms, lag, by_tool: false }, is_streamed, most);
    }
    for (at, spot) in &mut group.spots {
        if !matches!(offsets.get(at), Some(Ok(_))) {
            spot.missing_since_ms.get_or_insert(at_ms);
        }
    }
}
