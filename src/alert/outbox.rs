//! What one sink has still to be told. It must not know how a sink is told, nor the clock or the disk: whoever sends a
//! batch saves first, so a batch that is sent twice carries the same id twice.
//!
//! * An opening is queued for as long as its incident is open, not muted and not yet queued; so a silence that ends tells
//!   what is still open, and what opened and ended within it is told not at all.
//! * The end is queued for exactly those whose opening was: both arrive, in this order, however long the sink is down. An
//!   opening the sink refused for good is followed by nothing.
//! * While a sink is down no further batches are made: what piles up is grouped when it takes something again.
//! * An incident has one notice under way at a time. Batches share no incident, so one that fails holds up no other.

mod group;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::incident::Incident;
use super::rules::millis;
pub use group::Batch;

/// Incidents a sink can be in the middle of; further ones wait until there is room.
const MAX_TOLD: usize = 10_000;
const MAX_REFUSALS: usize = 100;
const FIRST_RETRY_MS: i64 = 1_000;
const LAST_RETRY_MS: i64 = 300_000;
/// What an answer may ask for at most.
const MAX_AFTER: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum News {
    Opened,
    /// It has doubled since it was last told.
    Worse,
    /// It is still open, and nobody has acknowledged it.
    Reminder,
    Resolved,
}

/// One thing to be told of one incident.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Notice {
    /// The incident's id and a number that counts what this sink is told of it.
    pub key: String,
    pub news: News,
    pub at_ms: i64,
    /// As it was then.
    pub incident: Incident,
}

/// How a sink wants its notices.
#[derive(Clone, Debug)]
pub struct Manner {
    pub wait_ms: i64,
    pub interval_ms: i64,
    /// 0 for never.
    pub repeat_ms: i64,
    pub collapse: usize,
    /// Sinks that group by themselves get everything at once, but no more than this in one message.
    pub most: Option<usize>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Told {
    is_delivered: bool,
    is_refused: bool,
    number: u32,
    amount: i64,
    at_ms: i64,
}

/// A message a sink refused for good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    pub message: String,
    pub at_ms: i64,
    pub why: String,
}

/// Why a message was not taken.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// It may be taken later.
    Later {
        why: String,
        /// What the sink asked for.
        after: Option<Duration>,
        /// The sink takes nothing at all at the moment.
        is_sink_wide: bool,
    },
    /// This message is not taken, however often it is sent.
    Never { why: String },
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Queue {
    /// In the order they came; not yet in a batch.
    notices: VecDeque<Notice>,
    batches: Vec<Batch>,
    told: BTreeMap<String, Told>,
    /// When a group last had a message.
    flushed: BTreeMap<String, i64>,
    /// When groups last became one message.
    collapsed_ms: Option<i64>,
    not_before_ms: i64,
    /// How often the whole sink failed since it last answered.
    failures: u32,
    pub delivered: u64,
    pub failed: u64,
    pub last_error: Option<String>,
    pub last_success_ms: Option<i64>,
    pub refusals: VecDeque<Refusal>,
}

impl Queue {
    /// Queues what is to be told of the open incidents of this sink. True when something was.
    pub fn announce<'a>(&mut self, open: impl Iterator<Item = &'a Incident>, manner: &Manner, now_ms: i64) -> bool {
        let before = self.notices.len();
        let mut replaced = false;
        for incident in open {
            if incident.acknowledged.is_some() || incident.muted_until_ms.is_some_and(|until| now_ms < until) {
                continue;
            }
            let amount = incident.observed.amount;
            let news = match self.told.get(&incident.id) {
                None if self.told.len() >= MAX_TOLD => continue,
                None => News::Opened,
                Some(told) if !told.is_delivered || manner.most.is_some() => continue,
                Some(told) if amount > told.amount && amount / 2 >= told.amount => News::Worse,
                Some(told) if manner.repeat_ms > 0 && now_ms - told.at_ms >= manner.repeat_ms => News::Reminder,
                Some(_) => continue,
            };
            replaced |= self.push(incident, news, now_ms);
        }
        replaced || self.notices.len() > before
    }

    /// True when it replaced one that waits already.
    fn push(&mut self, incident: &Incident, news: News, now_ms: i64) -> bool {
        let told = self.told.entry(incident.id.clone()).or_insert(Told {
            is_delivered: false,
            is_refused: false,
            number: 0,
            amount: 0,
            at_ms: now_ms,
        });
        (told.amount, told.at_ms) = (incident.observed.amount, now_ms);
        if matches!(news, News::Worse | News::Reminder) {
            let mut waiting = self.notices.iter_mut().filter(|notice| notice.incident.id == incident.id);
            if let Some(waiting) = waiting.find(|notice| matches!(notice.news, News::Worse | News::Reminder)) {
                waiting.incident = incident.clone();
                return true;
            }
        }
        told.number += 1;
        let key = format!("{}-{}", incident.id, told.number);
        self.notices.push_back(Notice { key, news, at_ms: now_ms, incident: incident.clone() });
        false
    }

    /// Queues the end of an incident whose opening was queued.
    pub fn resolve(&mut self, incident: &Incident, now_ms: i64) {
        match self.told.get(&incident.id) {
            None => {}
            Some(told) if told.is_refused => _ = self.told.remove(&incident.id),
            Some(_) => {
                // That it got worse is of no interest any more.
                self.notices.retain(|notice| {
                    notice.incident.id != incident.id || !matches!(notice.news, News::Worse | News::Reminder)
                });
                self.push(incident, News::Resolved, now_ms);
            }
        }
    }

    /// The batch to be sent now.
    pub fn due(&self, now_ms: i64) -> Option<&Batch> {
        if self.is_resting(now_ms) {
            return None;
        }
        self.batches.iter().find(|batch| !is_ahead(batch.next_ms, now_ms))
    }

    /// Whether the sink took nothing at its last attempt and is left alone for now.
    pub fn is_resting(&self, now_ms: i64) -> bool {
        is_ahead(self.not_before_ms, now_ms)
    }

    /// Books what became of a batch. `jitter` is between 0 and 1.
    pub fn settle(&mut self, id: &str, outcome: Result<(), Failure>, now_ms: i64, jitter: f64) {
        let Some(at) = self.batches.iter().position(|batch| batch.id == id) else { return };
        match outcome {
            Ok(()) => {
                let batch = self.batches.remove(at);
                self.delivered += batch.notices.len() as u64;
                self.taken(now_ms);
                for notice in batch.notices {
                    match (notice.news, self.told.get_mut(&notice.incident.id)) {
                        (News::Resolved, _) => _ = self.told.remove(&notice.incident.id),
                        (_, Some(told)) => told.is_delivered = true,
                        (_, None) => {}
                    }
                }
            }
            Err(Failure::Later { why, after, is_sink_wide }) => {
                self.failures += u32::from(is_sink_wide);
                let batch = &mut self.batches[at];
                batch.attempts += 1;
                let attempts = if is_sink_wide { self.failures } else { batch.attempts };
                let asked = after.map_or(0, |after| millis(after.min(MAX_AFTER)));
                batch.next_ms = now_ms + backoff(attempts, jitter).max(asked);
                if is_sink_wide {
                    self.not_before_ms = batch.next_ms;
                }
                self.last_error = Some(why);
            }
            Err(Failure::Never { why }) => {
                let batch = self.batches.remove(at);
                self.failed += batch.notices.len() as u64;
                // It answered, so it is not down.
                (self.failures, self.not_before_ms) = (0, 0);
                for notice in &batch.notices {
                    self.refused(notice);
                }
                self.refusals.push_back(Refusal { message: batch.id, at_ms: now_ms, why: why.clone() });
                if self.refusals.len() > MAX_REFUSALS {
                    self.refusals.pop_front();
                }
                self.last_error = Some(why);
            }
        }
    }

    fn refused(&mut self, notice: &Notice) {
        let id = &notice.incident.id;
        match notice.news {
            News::Resolved => _ = self.told.remove(id),
            News::Worse | News::Reminder => {}
            News::Opened => {
                let is_over = self.notices.iter().any(|n| n.incident.id == *id && n.news == News::Resolved);
                self.notices.retain(|notice| notice.incident.id != *id);
                if is_over {
                    self.told.remove(id);
                } else if let Some(told) = self.told.get_mut(id) {
                    told.is_refused = true;
                }
            }
        }
    }

    /// The sink took something, be it a batch or a refresh.
    pub fn taken(&mut self, now_ms: i64) {
        (self.failures, self.not_before_ms) = (0, 0);
        self.last_success_ms = Some(now_ms);
        if self.batches.iter().all(|batch| batch.attempts == 0) {
            self.last_error = None;
        }
    }

    /// Which incidents the sink holds for open.
    pub fn holds(&self, id: &str) -> bool {
        self.told.get(id).is_some_and(|told| told.is_delivered)
    }

    pub fn waiting(&self) -> u64 {
        let under_way: usize = self.batches.iter().map(|batch| batch.notices.len()).sum();
        (self.notices.len() + under_way) as u64
    }

    fn under_way(&self) -> BTreeSet<String> {
        self.batches.iter().flat_map(|batch| batch.notices.iter().map(|notice| notice.incident.id.clone())).collect()
    }
}

/// A moment further away than any retry is one that a clock set back has left behind.
fn is_ahead(moment_ms: i64, now_ms: i64) -> bool {
    (1..=millis(MAX_AFTER)).contains(&moment_ms.saturating_sub(now_ms))
}

/// Doubles from one second to five minutes; half of it is left to chance, so that many do not come at once.
pub fn backoff(attempts: u32, jitter: f64) -> i64 {
    let full = FIRST_RETRY_MS << attempts.saturating_sub(1).min(20);
    let full = full.min(LAST_RETRY_MS);
    full / 2 + (full as f64 / 2.0 * jitter.clamp(0.0, 1.0)) as i64
}
