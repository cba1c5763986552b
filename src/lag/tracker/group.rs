//! One consumer group over time: who is in it, where it stands on each partition, and what was said about it.

use std::collections::{BTreeMap, VecDeque};
use std::hash::Hasher;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::spot::Spot;
use crate::lag::commits::GroupNews;
use crate::lag::facts::{self, GroupFacts, GroupKind, GroupState};
use crate::lag::forecast::Scored;
use crate::lag::snapshot::{Change, Point};
use crate::lag::verdict::{Judgement, Verdict};
use crate::lag::window::Membership;

/// Changes of the verdict kept for the page.
const CHANGES: usize = 100;
/// Points of the lag curve; every second one of the older half goes when it is full.
const POINTS: usize = 240;
/// Changes of the membership kept for the verdict on flapping.
const REBALANCES: usize = 64;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Group {
    pub kind: GroupKind,
    pub membership: Membership,
    pub membership_since_ms: i64,
    /// When members came, went or were given other partitions.
    pub rebalances: VecDeque<i64>,
    members_digest: Option<u64>,
    generation: Option<i32>,
    generation_order: Option<i64>,
    pub spots: BTreeMap<facts::Spot, Spot>,
    /// First round that did not list the group any more, though every broker answered.
    pub missing_since_ms: Option<i64>,
    /// Somebody has seen that it is gone.
    pub gone_is_known: bool,
    pub history: VecDeque<Change>,
    pub curve: Vec<Point>,
    pub scored: Scored,
}

impl Group {
    pub fn new(kind: GroupKind, now_ms: i64) -> Self {
        Self {
            kind,
            membership: Membership::Unknown,
            membership_since_ms: now_ms,
            rebalances: VecDeque::new(),
            members_digest: None,
            generation: None,
            generation_order: None,
            spots: BTreeMap::new(),
            missing_since_ms: None,
            gone_is_known: false,
            history: VecDeque::new(),
            curve: Vec::new(),
            scored: Scored::default(),
        }
    }

    /// Takes in who is there now.
    pub fn met(&mut self, facts: &GroupFacts, now_ms: i64) {
        (self.kind, self.missing_since_ms, self.gone_is_known) = (facts.kind, None, false);
        let membership = membership(facts);
        if membership != self.membership {
            (self.membership, self.membership_since_ms) = (membership, now_ms);
        }
        let Ok(members) = &facts.members else { return };
        if membership == Membership::Rebalancing {
            // What it ends in is looked at when it has ended.
            return;
        }
        let digest = digest(members);
        // Where generations are read, they tell it more exactly.
        if self.generation.is_none() && self.members_digest.is_some_and(|known| known != digest) {
            self.rebalanced(now_ms);
        }
        self.members_digest = Some(digest);
    }

    /// Takes in what the stream of commits brought.
    pub fn heard(&mut self, news: GroupNews, most: usize) {
        // After a restart the stream brings again what is known.
        let newest = self.generation_order.unwrap_or(i64::MIN);
        for generation in news.generations.into_iter().filter(|generation| generation.order > newest) {
            self.generation_order = Some(generation.order);
            if self.generation.is_some_and(|known| known != generation.number) {
                self.rebalanced(generation.at_ms);
            }
            self.generation = Some(generation.number);
        }
        for (at, news) in news.spots {
            // What polling does not list is gone again, or of no interest.
            let Some(spot) = self.spots.get_mut(&at) else { continue };
            if news.removed.is_some() {
                spot.removed();
            }
            news.commits.into_iter().for_each(|commit| spot.streamed(commit, most));
        }
    }

    pub fn rebalanced(&mut self, at_ms: i64) {
        self.rebalances.push_back(at_ms);
        if self.rebalances.len() > REBALANCES {
            self.rebalances.pop_front();
        }
    }

    /// Keeps the verdict when it is another one than the last.
    pub fn said(&mut self, judgement: &Judgement, now_ms: i64) {
        let is_same = self.history.back().is_some_and(|last| last.verdict == judgement.verdict);
        let is_first_ok = self.history.is_empty() && judgement.verdict == Verdict::Ok;
        if !is_same && !is_first_ok {
            self.history.push_back(Change { at_ms: now_ms, verdict: judgement.verdict, why: judgement.why.clone() });
            if self.history.len() > CHANGES {
                self.history.pop_front();
            }
        }
    }

    pub fn was_behind(&mut self, now_ms: i64, lag: i64) {
        self.curve.push((now_ms, lag));
        if self.curve.len() > POINTS {
            super::thin(&mut self.curve);
        }
    }
}

fn membership(facts: &GroupFacts) -> Membership {
    match (facts.state, &facts.members) {
        (Ok(GroupState::Stable), Ok(members)) if members.is_empty() => Membership::Empty,
        (Ok(GroupState::Stable), _) => Membership::Stable,
        (Ok(GroupState::Empty | GroupState::Dead), _) => Membership::Empty,
        (Ok(_), _) => Membership::Rebalancing,
        (Err(_), Ok(members)) if members.is_empty() => Membership::Empty,
        (Err(_), _) => Membership::Unknown,
    }
}

/// Who has what, as one number.
fn digest(members: &[facts::Member]) -> u64 {
    let mut sum = 0u64;
    for member in members {
        let mut hash = Xxh3::new();
        hash.write(member.id.as_bytes());
        let mut assigned: Vec<&facts::Spot> = member.assigned.iter().collect();
        assigned.sort_unstable();
        for (topic, partition) in assigned {
            hash.write(topic.as_bytes());
            hash.write_i32(*partition);
        }
        sum = sum.wrapping_add(hash.finish());
    }
    sum
}
