//! Keys that are not done with: those whose records the group has not passed yet, those that look wrong and are looked at
//! again, and those that are drift. A pure state machine: time, verdicts and the group's offsets come in as arguments.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::audit::drift::{AGES, Age};
use crate::audit::finding::{Finding, Grade, State};
use crate::drift::cut::Settled;
use crate::drift::history::{Content, Histories, History, Version};
use crate::drift::verdict::Verdict;

/// What an entry and a version cost beside their texts.
const ENTRY_BYTES: usize = 200;
const VERSION_BYTES: usize = 120;
/// Versions of one key that wait for the group; beyond them the key is given up until it is quieter.
pub const MOST_VERSIONS: usize = 5_000;
const MOST_RESOLVED: usize = 1_000;
/// Drift is looked at again at least so often, to see whether it healed.
const STEADY: Duration = Duration::from_secs(10);

pub type Key = Vec<String>;

#[derive(Default)]
struct Entry {
    history: History,
    /// All versions that matter are known, also those from before the tail began.
    is_whole: bool,
    /// An older version that the row equals.
    equals: Option<(i32, i64)>,
    /// The last settled version of each partition when it was found to be right.
    checked: Vec<(i32, i64)>,
    wrong: Option<Wrong>,
}

/// A key whose row is none of those it may be.
struct Wrong {
    since_ms: i64,
    looks: u32,
    due_ms: i64,
    /// Waits for a look with all of its versions.
    is_last_look: bool,
    last: Finding,
    is_told: bool,
}

pub struct Queue {
    entries: BTreeMap<Key, Entry>,
    bytes: usize,
    most_bytes: usize,
    most_wrong: usize,
    wrong: usize,
    confirm_after: Vec<i64>,
    steady_ms: i64,
    resolved: VecDeque<Finding>,
    pub resolved_total: u64,
    pub checked_total: u64,
    /// Since the last time everything was compared: keys of which nothing can be said by reason, and keys without room.
    pub unverifiable: BTreeMap<String, u64>,
    pub dropped: u64,
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 4).min(i64::MAX / 4)
}

/// About what a version takes in memory.
pub fn bytes_of(version: &Version) -> usize {
    let texts: usize = match &version.content {
        Content::Row(row) => row.values.iter().flatten().chain(&row.keys).map(|text| text.len() + 24).sum(),
        Content::Deleted => 0,
        Content::Unreadable(why) => why.len(),
    };
    VERSION_BYTES + texts
}

impl Entry {
    fn bytes(&self, key: &Key) -> usize {
        let versions: usize = self.history.versions.iter().map(bytes_of).sum();
        ENTRY_BYTES + key.iter().map(|text| text.len() + 24).sum::<usize>() + versions
    }

    /// The last settled version of each partition.
    fn settled(&self) -> Vec<(i32, i64)> {
        self.history.allowed().0.iter().map(|version| (version.partition, version.offset)).collect()
    }

    /// A record is not known: what is wrong needs all versions again.
    fn lose(&mut self) {
        (self.history, self.is_whole) = (History::default(), false);
        if let Some(wrong) = &mut self.wrong {
            wrong.is_last_look = true;
        }
    }

    /// Versions come in the order of their partition; one that is known already comes again after a look at everything.
    fn push(&mut self, version: Version) {
        let known = self.history.versions.iter().rev().find(|known| known.partition == version.partition);
        if known.is_none_or(|known| known.offset < version.offset) {
            self.history.versions.push_back(version);
        }
    }

    /// Drops what a later settled version has replaced.
    fn prune(&mut self) {
        let mut kept: BTreeSet<(i32, i64)> = self.settled().into_iter().collect();
        kept.extend(self.equals);
        self.history.versions.retain(|v| v.is_open || kept.contains(&(v.partition, v.offset)));
    }
}

impl Queue {
    pub fn new(memory_bytes: usize, most_wrong: usize, confirm_after: &[Duration]) -> Self {
        let mut confirm_after: Vec<i64> = confirm_after.iter().map(|time| millis(*time)).collect();
        confirm_after.sort_unstable();
        let steady_ms = confirm_after.last().copied().unwrap_or(0).clamp(100, millis(STEADY));
        Self {
            entries: BTreeMap::new(),
            bytes: 0,
            most_bytes: memory_bytes,
            most_wrong,
            wrong: 0,
            confirm_after,
            steady_ms,
            resolved: VecDeque::new(),
            resolved_total: 0,
            checked_total: 0,
            unverifiable: BTreeMap::new(),
            dropped: 0,
        }
    }

    /// Changes an entry, and takes it out when nothing is left to wait for.
    fn change<T>(&mut self, key: &Key, change: impl FnOnce(&mut Entry) -> T) -> T {
        let mut entry = match self.entries.remove(key) {
            Some(entry) => {
                self.bytes = self.bytes.saturating_sub(entry.bytes(key));
                self.wrong -= usize::from(entry.wrong.is_some());
                entry
            }
            None => Entry::default(),
        };
        let changed = change(&mut entry);
        if entry.wrong.is_some() || entry.is_whole || !entry.history.versions.is_empty() {
            self.bytes += entry.bytes(key);
            self.wrong += usize::from(entry.wrong.is_some());
            self.entries.insert(key.clone(), entry);
        }
        changed
    }

    /// Records from the tail.
    pub fn take(&mut self, histories: Histories) {
        for (key, history) in histories {
            if self.bytes >= self.most_bytes && !self.entries.contains_key(&key) {
                self.dropped += 1;
                continue;
            }
            let is_too_long = self.change(&key, |entry| {
                history.versions.into_iter().for_each(|version| entry.push(version));
                let is_too_long = entry.history.versions.len() > MOST_VERSIONS;
                if is_too_long {
                    entry.lose();
                }
                is_too_long
            });
            self.dropped += u64::from(is_too_long);
        }
    }

    pub fn has(&self, key: &Key) -> bool {
        self.entries.contains_key(key)
    }

    /// Records of these keys were left out.
    pub fn give_up(&mut self, keys: BTreeSet<Key>) {
        for key in keys {
            self.change(&key, Entry::lose);
        }
    }

    /// All versions of a key, read from the start of the topic.
    pub fn complete(&mut self, key: &Key, history: Option<History>) {
        self.change(key, |entry| {
            let tail = std::mem::replace(&mut entry.history, history.unwrap_or_default());
            tail.versions.into_iter().for_each(|version| entry.push(version));
            entry.is_whole = true;
        });
    }

    /// The tail has lost its place: what waits for the group is forgotten, what is wrong needs all its versions again.
    pub fn forget(&mut self) {
        let keys: Vec<Key> = self.entries.keys().cloned().collect();
        for key in keys {
            let was_waiting = self.change(&key, |entry| {
                entry.lose();
                entry.wrong.is_none()
            });
            self.dropped += u64::from(was_waiting);
        }
    }

    /// How far the group is.
    pub fn settle(&mut self, settled: &Settled) {
        for version in self.entries.values_mut().flat_map(|entry| &mut entry.history.versions) {
            version.is_open = !settled.has(version.partition, version.offset);
        }
    }

    /// Keys that can be judged and are to be, at most so many. `sound`: partitions that were read to their ends; `None` for
    /// keys without any record asks whether all were.
    pub fn due(&self, now_ms: i64, sound: impl Fn(Option<i32>) -> bool, most: usize) -> Vec<Key> {
        let is_due = |(_, entry): &(&Key, &Entry)| {
            let is_sound = entry.history.versions.iter().all(|version| sound(Some(version.partition)))
                && (!entry.history.versions.is_empty() || sound(None));
            let known = entry.settled();
            let can_be_judged = is_sound && (entry.is_whole || !known.is_empty());
            can_be_judged
                && match &entry.wrong {
                    Some(wrong) => wrong.due_ms <= now_ms && !wrong.is_last_look,
                    None => !known.is_empty() && known != entry.checked,
                }
        };
        self.entries.iter().filter(is_due).take(most).map(|(key, _)| key.clone()).collect()
    }

    /// Keys that only a look with all of their versions can decide.
    pub fn undecided(&self, most: usize) -> Vec<Key> {
        let is_undecided = |entry: &Entry| entry.wrong.as_ref().is_some_and(|wrong| wrong.is_last_look);
        self.entries.iter().filter(|(_, entry)| is_undecided(entry)).take(most).map(|(key, _)| key.clone()).collect()
    }

    pub fn history(&self, key: &Key) -> Option<&History> {
        self.entries.get(key).map(|entry| &entry.history)
    }

    /// What a look at a key said: what is told of it now. `found` is what is wrong with it, if anything is.
    pub fn judged(&mut self, key: &Key, verdict: &Verdict, found: Option<Finding>, now_ms: i64) -> Vec<Finding> {
        self.checked_total += 1;
        let has_room = self.wrong < self.most_wrong;
        let is_unverifiable = matches!(verdict, Verdict::Unverifiable(_));
        if let Verdict::Unverifiable(reason) = verdict {
            *self.unverifiable.entry((*reason).to_owned()).or_default() += 1;
        }
        let (confirm_after, steady_ms) = (self.confirm_after.clone(), self.steady_ms);
        let (told, is_dropped) = self.change(key, |entry| {
            entry.equals = match verdict {
                Verdict::Stale { older, .. } => Some((older.partition, older.offset)),
                _ => None,
            };
            entry.checked = entry.settled();
            let is_dropped = found.is_some() && entry.wrong.is_none() && !has_room;
            let told = match found.filter(|_| !is_dropped) {
                // What is told stands until it is seen to be right.
                None if is_unverifiable && entry.is_told() => entry.wait(steady_ms, now_ms),
                None => entry.right(now_ms),
                Some(finding) => entry.is_wrong(finding, &confirm_after, steady_ms, now_ms),
            };
            entry.prune();
            let is_done = entry.wrong.is_none() && entry.settled().len() == entry.history.versions.len();
            if is_done {
                (entry.history, entry.is_whole) = (History::default(), false);
            }
            (told, is_dropped)
        });
        self.dropped += u64::from(is_dropped);
        for finding in told.iter().filter(|finding| !finding.is_open()) {
            self.resolved_total += 1;
            self.resolved.push_back(finding.clone());
            if self.resolved.len() > MOST_RESOLVED {
                self.resolved.pop_front();
            }
        }
        told
    }

    /// Findings as they stand: drift, then what may still right itself, then what did.
    pub fn findings(&self) -> Vec<Finding> {
        let wrong = || self.entries.values().filter_map(|entry| entry.wrong.as_ref());
        let told = wrong().filter(|wrong| wrong.is_told).map(|wrong| wrong.last.clone());
        let possible = wrong().filter(|wrong| !wrong.is_told).map(|wrong| {
            let mut finding = wrong.last.clone();
            finding.grade = Grade::Possible;
            finding.evidence("confirmed", false)
        });
        told.chain(possible).chain(self.resolved.iter().rev().cloned()).collect()
    }

    /// Keys wrong now that are not drift yet.
    pub fn suspects(&self) -> u64 {
        self.entries.values().filter_map(|entry| entry.wrong.as_ref()).filter(|wrong| !wrong.is_told).count() as u64
    }

    pub fn waiting(&self) -> u64 {
        (self.entries.len() - self.wrong) as u64
    }

    pub fn ages(&self, now_ms: i64) -> Vec<Age> {
        let since: Vec<i64> = self.entries.values().filter_map(|entry| Some(entry.wrong.as_ref()?.since_ms)).collect();
        ages(&since, now_ms)
    }
}

/// How many are at least so old.
pub fn ages(since_ms: &[i64], now_ms: i64) -> Vec<Age> {
    let of = |(name, seconds): (&str, i64)| {
        let keys = since_ms.iter().filter(|since| now_ms - **since >= seconds * 1_000).count() as u64;
        Age { age: name.to_owned(), keys }
    };
    AGES.map(of).into()
}

/// When it was first and last seen to be so, by how many looks.
pub fn dated(finding: &mut Finding, since_ms: i64, looks: u32, now_ms: i64) {
    (finding.first_seen, finding.last_seen) = (Some(since_ms), Some(now_ms));
    finding.evidence.insert("attempts".to_owned(), looks.into());
    finding.evidence.insert("age_seconds".to_owned(), ((now_ms - since_ms) / 1_000).into());
}

impl Entry {
    fn is_told(&self) -> bool {
        self.wrong.as_ref().is_some_and(|wrong| wrong.is_told)
    }

    fn wait(&mut self, steady_ms: i64, now_ms: i64) -> Vec<Finding> {
        if let Some(wrong) = &mut self.wrong {
            (wrong.due_ms, wrong.is_last_look) = (now_ms + steady_ms, false);
        }
        Vec::new()
    }

    fn right(&mut self, now_ms: i64) -> Vec<Finding> {
        let Some(mut wrong) = self.wrong.take() else { return Vec::new() };
        if !wrong.is_told {
            return Vec::new();
        }
        dated(&mut wrong.last, wrong.since_ms, wrong.looks + 1, now_ms);
        wrong.last.state = State::Resolved;
        vec![wrong.last]
    }

    fn is_wrong(&mut self, mut finding: Finding, confirm_after: &[i64], steady_ms: i64, now_ms: i64) -> Vec<Finding> {
        let wrong = self.wrong.get_or_insert_with(|| Wrong {
            since_ms: now_ms,
            looks: 0,
            due_ms: now_ms,
            is_last_look: false,
            last: finding.clone(),
            is_told: false,
        });
        wrong.looks += 1;
        dated(&mut finding, wrong.since_ms, wrong.looks, now_ms);
        let before = std::mem::replace(&mut wrong.last, finding);
        wrong.is_last_look = false;
        if wrong.is_told {
            wrong.due_ms = now_ms + steady_ms;
            if before.id == wrong.last.id {
                return Vec::new();
            }
            // Wrong in another way: that is another finding.
            let mut gone = before;
            gone.state = State::Resolved;
            return vec![gone, wrong.last.clone()];
        }
        match confirm_after.iter().find(|after| wrong.since_ms + **after > now_ms) {
            Some(after) => {
                wrong.due_ms = wrong.since_ms + after;
                Vec::new()
            }
            None if !self.is_whole => {
                wrong.is_last_look = true;
                Vec::new()
            }
            None => {
                (wrong.is_told, wrong.due_ms) = (true, now_ms + steady_ms);
                vec![wrong.last.clone()]
            }
        }
    }
}

#[cfg(test)]
mod tests;
