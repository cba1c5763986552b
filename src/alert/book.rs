//! The book of incidents: a pure state machine from what is observed to what opened and what was resolved. It must not
//! know the clock, the sinks, or where it is kept.
//!
//! * A condition opens once it has been observed without a break for as long as its rule asks, and is resolved once it has
//!   been gone for the resolve delay. A round that did not look at it says nothing: it neither resolves nor breaks.
//! * An event opens at once and stays open until it is acknowledged or held long enough. The same event, observed still
//!   or again, does not open a second time; one that has grown or carries new findings does.
//! * An incident keeps the severity, route and runbook it opened with, so that whoever was told of its opening is told of
//!   its end.

mod evaluated;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use xxhash_rust::xxh3::xxh3_64;

use super::incident::{Acknowledged, Incident, Key, Observed, Severity};
use super::mute;
use super::rules::{Policy, Rules};
pub use evaluated::Evaluated;

/// More at once are not opened, only counted; whoever observes puts thousands of partitions under one key.
const MAX_OPEN: usize = 10_000;
const MAX_RESOLVED: usize = 1_000;
const MAX_SETTLED: usize = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    Opened,
    /// Something else is observed under the same key.
    Updated,
    Resolved,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    pub change: Change,
    /// As it is after the change.
    pub incident: Incident,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Book {
    #[serde(with = "by_key")]
    entries: BTreeMap<Key, Entry>,
    /// Newest last.
    resolved: VecDeque<Incident>,
    /// Events that are closed though they are still observed.
    #[serde(with = "by_key")]
    settled: BTreeMap<Key, Settled>,
    /// Makes ids differ even at the same moment.
    begun: u64,
    /// Observations that found no room.
    #[serde(skip)]
    pub refused: u64,
    /// Whether something changed that must survive a restart. Numbers that move are kept with the next such change.
    #[serde(skip)]
    changed: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    incident: Incident,
    /// First round that looked and did not see it.
    unseen_ms: Option<i64>,
    /// When an event last said something new.
    news_ms: i64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Settled {
    observed: Observed,
}

/// Says more than was known: a larger amount, or a finding that was not there.
fn is_news(known: &Observed, seen: &Observed) -> bool {
    seen.amount > known.amount || seen.findings.iter().any(|id| !known.findings.contains(id))
}

impl Book {
    /// Takes one round in: everything observed, and what was looked at.
    pub fn observe(
        &mut self,
        rules: &Rules,
        now_ms: i64,
        evaluated: &Evaluated,
        observed: &[Observed],
    ) -> Vec<Transition> {
        let mut changes = Vec::new();
        let mut seen = BTreeSet::new();
        for observed in observed {
            let policy = rules.policy(&observed.key);
            if observed.amount < policy.threshold {
                continue;
            }
            seen.insert(&observed.key);
            self.see(now_ms, observed, &policy, &mut changes);
        }
        let missed: Vec<Key> = self.entries.keys().filter(|key| !seen.contains(key)).cloned().collect();
        for key in missed {
            if evaluated.covers(&key) {
                self.miss(now_ms, &key, rules.resolve_after_ms, &mut changes);
            }
        }
        let before = self.settled.len();
        self.settled.retain(|key, _| seen.contains(key) || !evaluated.covers(key));
        self.changed |= self.settled.len() != before;
        self.pass(rules, now_ms, &mut changes);
        changes
    }

    /// What time alone does: events are held long enough, silences begin.
    fn pass(&mut self, rules: &Rules, now_ms: i64, changes: &mut Vec<Transition>) {
        let mut held = Vec::new();
        for (key, entry) in &mut self.entries {
            let policy = rules.policy(key);
            if let Some(until) = mute::until(&policy.mute, now_ms).filter(|&u| Some(u) > entry.incident.muted_until_ms)
            {
                entry.incident.muted_until_ms = Some(until);
                self.changed = true;
            }
            let is_over = policy.hold_ms.is_some_and(|hold| now_ms.saturating_sub(entry.news_ms) >= hold);
            if entry.incident.observed.is_event && is_over {
                held.push(key.clone());
            }
        }
        for key in held {
            changes.extend(self.resolve(&key, now_ms));
        }
    }

    fn see(&mut self, now_ms: i64, observed: &Observed, policy: &Policy, changes: &mut Vec<Transition>) {
        let key = &observed.key;
        if let Some(settled) = self.settled.get(key) {
            if observed.is_event && !is_news(&settled.observed, observed) {
                return;
            }
            self.settled.remove(key);
            self.changed = true;
        }
        if !self.entries.contains_key(key) && self.entries.len() >= MAX_OPEN {
            self.refused += 1;
            return;
        }
        let begun = &mut self.begun;
        let mut is_new = false;
        let entry = self.entries.entry(key.clone()).or_insert_with(|| {
            is_new = true;
            *begun += 1;
            Entry { incident: begin(observed, policy, now_ms, *begun), unseen_ms: None, news_ms: now_ms }
        });
        self.changed |= is_new;
        if is_news(&entry.incident.observed, observed) || entry.unseen_ms.is_some() {
            entry.news_ms = now_ms;
        }
        entry.unseen_ms = None;
        let differs = entry.incident.observed != *observed;
        if differs {
            entry.incident.observed = observed.clone();
            entry.incident.updated_ms = now_ms;
        }
        if entry.incident.opened_ms.is_some() {
            if differs {
                changes.push(Transition { change: Change::Updated, incident: entry.incident.clone() });
            }
        } else if observed.is_event || now_ms.saturating_sub(entry.incident.since_ms) >= policy.for_ms {
            let incident = &mut entry.incident;
            (incident.opened_ms, incident.updated_ms) = (Some(now_ms), now_ms);
            (incident.severity, incident.route) = (policy.severity, policy.route.clone());
            incident.runbook = policy.runbook.clone();
            incident.muted_until_ms = mute::until(&policy.mute, now_ms).max(incident.muted_until_ms);
            changes.push(Transition { change: Change::Opened, incident: incident.clone() });
            self.changed = true;
        }
    }

    /// It was looked at and is not there.
    fn miss(&mut self, now_ms: i64, key: &Key, resolve_after_ms: i64, changes: &mut Vec<Transition>) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        if entry.incident.opened_ms.is_none() {
            self.entries.remove(key);
            self.changed = true;
            return;
        }
        let since = *entry.unseen_ms.get_or_insert(now_ms);
        if !entry.incident.observed.is_event && now_ms.saturating_sub(since) >= resolve_after_ms {
            changes.extend(self.resolve(key, now_ms));
        }
    }

    fn resolve(&mut self, key: &Key, now_ms: i64) -> Option<Transition> {
        let Entry { mut incident, .. } = self.entries.remove(key)?;
        (incident.resolved_ms, incident.updated_ms) = (Some(now_ms), now_ms);
        if incident.observed.is_event {
            if self.settled.len() >= MAX_SETTLED {
                self.settled.pop_first();
            }
            self.settled.insert(key.clone(), Settled { observed: incident.observed.clone() });
        }
        self.resolved.push_back(incident.clone());
        if self.resolved.len() > MAX_RESOLVED {
            self.resolved.pop_front();
        }
        self.changed = true;
        Some(Transition { change: Change::Resolved, incident })
    }

    /// Somebody knows. An event is closed by it; a condition stays open, but is not told again. Absent when no such
    /// incident is open.
    pub fn acknowledge(&mut self, id: &str, acknowledged: Acknowledged) -> Option<Transition> {
        let (key, entry) = self.entries.iter_mut().find(|(_, entry)| entry.incident.id == id)?;
        let now_ms = acknowledged.at_ms;
        entry.incident.acknowledged = Some(acknowledged);
        entry.incident.updated_ms = now_ms;
        self.changed = true;
        if entry.incident.observed.is_event {
            let key = key.clone();
            return self.resolve(&key, now_ms);
        }
        Some(Transition { change: Change::Updated, incident: entry.incident.clone() })
    }

    /// Silent until then, or no longer. Absent when no such incident is open.
    pub fn mute(&mut self, id: &str, until_ms: Option<i64>) -> Option<&Incident> {
        let entry = self.entries.values_mut().find(|entry| entry.incident.id == id)?;
        entry.incident.muted_until_ms = until_ms;
        self.changed = true;
        Some(&entry.incident)
    }

    pub fn open(&self) -> impl Iterator<Item = &Incident> {
        self.entries.values().map(|entry| &entry.incident).filter(|incident| incident.is_open())
    }

    /// Open ones, then those that wait for their duration, then those resolved lately; each newest first.
    pub fn incidents(&self) -> Vec<Incident> {
        let mut current: Vec<Incident> = self.entries.values().map(|entry| entry.incident.clone()).collect();
        current.sort_by_key(|incident| {
            (incident.opened_ms.is_none(), std::cmp::Reverse(incident.opened_ms.unwrap_or(incident.since_ms)))
        });
        current.extend(self.resolved.iter().rev().cloned());
        current
    }

    /// Whether something changed since the last time this was asked that must survive a restart.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }
}

fn begin(observed: &Observed, policy: &Policy, now_ms: i64, number: u64) -> Incident {
    let Key { kind, group, topic, partition } = &observed.key;
    let text = format!("{kind}\0{group:?}\0{topic:?}\0{partition:?}\0{now_ms}\0{number}");
    Incident {
        id: format!("{:016x}", xxh3_64(text.as_bytes())),
        observed: observed.clone(),
        severity: policy.severity,
        since_ms: now_ms,
        opened_ms: None,
        updated_ms: now_ms,
        resolved_ms: None,
        acknowledged: None,
        muted_until_ms: None,
        route: policy.route.clone(),
        runbook: policy.runbook.clone(),
    }
}

/// Worst of several.
pub(super) fn worst<'a>(incidents: impl Iterator<Item = &'a Incident>) -> Severity {
    incidents.map(|incident| incident.severity).max().unwrap_or(Severity::Info)
}

trait Keyed {
    fn key(&self) -> &Key;
}

impl Keyed for Entry {
    fn key(&self) -> &Key {
        &self.incident.observed.key
    }
}

impl Keyed for Settled {
    fn key(&self) -> &Key {
        &self.observed.key
    }
}

/// A list in JSON, which has no maps with such keys.
mod by_key {
    use super::*;

    pub fn serialize<T: Serialize, S: Serializer>(map: &BTreeMap<Key, T>, out: S) -> Result<S::Ok, S::Error> {
        out.collect_seq(map.values())
    }

    pub fn deserialize<'de, T: Keyed + Deserialize<'de>, D: Deserializer<'de>>(
        input: D,
    ) -> Result<BTreeMap<Key, T>, D::Error> {
        let list = Vec::<T>::deserialize(input)?;
        Ok(list.into_iter().map(|value| (value.key().clone(), value)).collect())
    }
}
