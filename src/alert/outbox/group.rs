//! From notices to batches: what belongs together becomes one message, and a bad day becomes one page.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::{Manner, Notice, Queue};
use crate::alert::incident::Key;

/// One message: its notices do not change once it is made, so that sent again it is the same again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Batch {
    /// The idempotency key.
    pub id: String,
    pub notices: Vec<Notice>,
    pub attempts: u32,
    pub next_ms: i64,
}

impl Queue {
    /// Makes batches of the notices whose time has come. True when there are new ones; they are to be saved before they are
    /// sent.
    pub fn form(&mut self, manner: &Manner, now_ms: i64) -> bool {
        if self.failures > 0 && !self.batches.is_empty() {
            return false;
        }
        let groups = self.ready();
        if groups.is_empty() {
            return false;
        }
        if let Some(most) = manner.most {
            let all: Vec<usize> = groups.into_values().flatten().collect();
            let chunks = all.chunks(most.max(1)).map(<[usize]>::to_vec).collect();
            return self.take(chunks, now_ms);
        }
        // Not what a clock set back makes lie ahead.
        let is_recent = |at_ms: &i64| (0..manner.interval_ms).contains(&(now_ms - at_ms));
        self.flushed.retain(|_, at_ms| is_recent(at_ms));
        if self.collapsed_ms.as_ref().is_some_and(is_recent) {
            return false;
        }
        let due: Vec<&String> = groups
            .iter()
            .filter(|(group, notices)| {
                // Indices ascend, so the first is the oldest.
                let oldest = notices.first().map_or(now_ms, |&first| self.notices[first].at_ms);
                !(0..manner.wait_ms).contains(&(now_ms - oldest)) && !self.flushed.contains_key(*group)
            })
            .map(|(group, _)| group)
            .collect();
        if due.is_empty() {
            return false;
        }
        if due.len() >= manner.collapse {
            self.collapsed_ms = Some(now_ms);
            let mut all: Vec<usize> = groups.into_values().flatten().collect();
            all.sort_unstable();
            return self.take(vec![all], now_ms);
        }
        let (groups, flushed): (Vec<_>, Vec<_>) =
            due.into_iter().map(|group| (groups[group].clone(), group.clone())).unzip();
        self.flushed.extend(flushed.into_iter().map(|group| (group, now_ms)));
        self.take(groups, now_ms)
    }

    /// When [`Queue::form`] or [`Queue::due`] may have something to do, as far as it is known.
    pub fn next_ms(&self, manner: &Manner) -> Option<i64> {
        let sending = self.batches.iter().map(|batch| batch.next_ms.max(self.not_before_ms));
        let forming = self.notices.front().map(|notice| notice.at_ms + manner.wait_ms);
        sending.chain(forming).min()
    }

    /// For each group the notices that may be told, which is the oldest one of every incident that has none under way.
    fn ready(&self) -> BTreeMap<String, Vec<usize>> {
        if self.notices.is_empty() {
            return BTreeMap::new();
        }
        let mut busy: BTreeSet<String> = self.under_way();
        let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (at, notice) in self.notices.iter().enumerate() {
            if busy.insert(notice.incident.id.clone()) {
                groups.entry(group_of(&notice.incident.observed.key)).or_default().push(at);
            }
        }
        groups
    }

    fn take(&mut self, batches: Vec<Vec<usize>>, now_ms: i64) -> bool {
        let mut waiting: Vec<Option<Notice>> = std::mem::take(&mut self.notices).into_iter().map(Some).collect();
        for chosen in batches {
            let notices: Vec<Notice> = chosen.into_iter().filter_map(|at| waiting[at].take()).collect();
            self.batches.push(Batch { id: id_of(&notices), notices, attempts: 0, next_ms: now_ms });
        }
        self.notices = waiting.into_iter().flatten().collect();
        true
    }
}

/// Kind and consumer group, or kind and topic.
fn group_of(key: &Key) -> String {
    let about = match (&key.group, &key.topic) {
        (Some(group), _) => format!("group {group}"),
        (None, Some(topic)) => format!("topic {topic}"),
        (None, None) => String::new(),
    };
    format!("{} {about}", key.kind)
}

fn id_of(notices: &[Notice]) -> String {
    match notices {
        [one] => one.key.clone(),
        many => {
            let mut hash = Xxh3::new();
            many.iter().for_each(|notice| hash.update(notice.key.as_bytes()));
            format!("{:016x}-of-{}", hash.digest(), many.len())
        }
    }
}
