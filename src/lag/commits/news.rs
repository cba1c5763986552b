//! What is new about each group since it was last asked, within bounds. It takes what has happened, in the order of the
//! log, and must not know why.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::lag::facts::Spot;
use crate::lag::window::Commit;

/// New commits kept of one group on one partition, and new generations of one group.
pub const MOST_OF_ONE: usize = 64;

/// By group.
pub type Drained = BTreeMap<Arc<str>, GroupNews>;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupNews {
    pub spots: HashMap<Spot, SpotNews>,
    /// Oldest first. The first one of a group says how it was found.
    pub generations: Vec<Generation>,
    /// Generations left out between the first and the last.
    pub generations_thinned: u32,
    /// The group was deleted, and has not come back since.
    pub deleted: Option<Removal>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpotNews {
    /// The commit expired or was deleted: what was known before is void. The commits stand behind it.
    pub removed: Option<Removal>,
    /// Their order rises, from one draining to the next as well, unless the log itself was cut off and written anew.
    pub commits: Vec<Commit>,
    /// Commits left out between the first and the last.
    pub thinned: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removal {
    pub order: i64,
    pub at_ms: i64,
}

/// A group's members changed, or came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Or the epoch of a KIP-848 group.
    pub number: i32,
    pub order: i64,
    pub at_ms: i64,
    /// `None`: the log, as far as it was read, does not tell all the members of a KIP-848 group.
    pub has_members: Option<bool>,
}

pub struct News {
    groups: Drained,
    /// Groups, places, commits and generations in `groups`.
    waiting: usize,
    most: usize,
    left_out: u64,
}

impl News {
    /// Keeps `most` things, and of each group on each partition at least the newest commit it had room for at all.
    pub fn new(most: usize) -> Self {
        Self { groups: Drained::new(), waiting: 0, most, left_out: 0 }
    }

    pub fn drain(&mut self) -> Drained {
        self.waiting = 0;
        std::mem::take(&mut self.groups)
    }

    /// What had no room, since the beginning.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    #[cfg(any(test, fuzzing))]
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    fn has_room(&mut self) -> bool {
        let has_room = self.waiting < self.most;
        self.left_out += u64::from(!has_room);
        has_room
    }

    /// `None` when it is new and there is no room for it.
    fn group(&mut self, name: &Arc<str>) -> Option<&mut GroupNews> {
        if !self.groups.contains_key(name) {
            if !self.has_room() {
                return None;
            }
            self.waiting += 1;
            self.groups.insert(name.clone(), GroupNews::default());
        }
        self.groups.get_mut(name)
    }

    fn spot(&mut self, group: &Arc<str>, spot: &Spot) -> Option<&mut SpotNews> {
        if !self.group(group)?.spots.contains_key(spot) {
            if !self.has_room() {
                return None;
            }
            self.waiting += 1;
        }
        Some(self.group(group)?.spots.entry(spot.clone()).or_default())
    }

    pub fn commit(&mut self, group: &Arc<str>, spot: &Spot, commit: Commit) {
        let Some(news) = self.group(group) else { return };
        news.deleted = None;
        let is_full = self.waiting >= self.most;
        let Some(news) = self.spot(group, spot) else { return };
        let before = news.commits.len();
        // The log was cut off: what had these orders never happened.
        while news.commits.last().is_some_and(|last| last.order >= commit.order) {
            news.commits.pop();
        }
        let leaves_out = match news.commits.len() {
            0 => None,
            // The newest counts for more than where it began.
            1 if is_full => Some(0),
            many if is_full || many >= MOST_OF_ONE => Some(1),
            _ => None,
        };
        if let Some(at) = leaves_out {
            news.commits.remove(at);
        }
        let leaves_out = leaves_out.is_some();
        news.thinned = news.thinned.saturating_add(leaves_out.into());
        news.commits.push(commit);
        let after = news.commits.len();
        self.waiting = self.waiting + after - before;
        self.left_out += u64::from(leaves_out);
    }
    pub fn removed(&mut self, group: &Arc<str>, spot: &Spot, removal: Removal) {
        let Some(news) = self.spot(group, spot) else { return };
        let voided = std::mem::take(news).commits.len();
        news.removed = Some(removal);
        self.waiting -= voided;
    }

    pub fn generation(&mut self, group: &Arc<str>, generation: Generation) {
        let is_full = self.waiting >= self.most;
        let Some(news) = self.group(group) else { return };
        news.deleted = None;
        let leaves_out = match news.generations.len() {
            0 => None,
            1 if is_full => Some(0),
            many if is_full || many >= MOST_OF_ONE => Some(1),
            _ => None,
        };
        if let Some(at) = leaves_out {
            news.generations.remove(at);
            news.generations_thinned = news.generations_thinned.saturating_add(1);
        }
        news.generations.push(generation);
        self.waiting += usize::from(leaves_out.is_none());
        self.left_out += u64::from(leaves_out.is_some());
    }

    pub fn deleted(&mut self, group: &Arc<str>, removal: Removal) {
        if let Some(news) = self.group(group) {
            news.deleted = Some(removal);
        }
    }
}
