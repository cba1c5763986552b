//! What the losses of a topic have in common, where no flow tells what was sent: numbers that are missing in a session have the
//! attributes of the record beside the gap, as far as a session's records share them.
//!
//! Partition, producer, codec, leader epoch, time and session are those of the batch that showed the gap; the key is known where it
//! names the session. The size of a record that is not there is not known, nor is anything else that may change from one record to
//! the next: neighbours that take turns would put the blame on the wrong one.
//!
//! Records that arrived are counted by batch, and a few of them are looked at (`sampling`).

mod dimensions;
mod neighbours;
pub mod sampling;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use self::dimensions::{Beside, Codes};
use self::neighbours::Neighbours;
use super::attribution::{Tally, Unit, attribute};
use super::losses::Run;
use super::say::Subject;
use super::sessions::lost;
use super::summary::Found;
use crate::audit::finding::{Finding, Grade};
use crate::identify::facts::{Gap, Sampled, Traffic};

/// Fewer losses have nothing in common.
const FEWEST: usize = 5;

const SECOND: i64 = 1000;
/// Records of a batch are spread over its time in so many parts, if it is no longer than this.
const MOST_PARTS: u64 = 64;
const LONGEST_BATCH: i64 = 24 * 3_600_000;

/// The tallies of one topic.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TopicPatterns {
    tally: Tally,
    neighbours: Neighbours,
    records: u64,
    #[serde(skip)]
    codes: Codes,
}

impl Default for TopicPatterns {
    fn default() -> Self {
        let tally = dimensions::tally(sampling::SAMPLE as usize);
        Self { tally, neighbours: Neighbours::default(), records: 0, codes: Codes::default() }
    }
}

impl TopicPatterns {
    pub fn traffic(&mut self, partition: i32, traffic: &Traffic) {
        self.records += traffic.records;
        let span_ms = traffic.at_ms.saturating_sub(traffic.from_ms);
        // A batch may hold the records of hours; one wild time must not spread them over years.
        let parts = match span_ms {
            0..SECOND => 1,
            SECOND..LONGEST_BATCH => traffic.records.min((span_ms / SECOND) as u64 + 1).clamp(1, MOST_PARTS),
            _ => 1,
        };
        for part in 0..parts {
            let records = traffic.records * (part + 1) / parts - traffic.records * part / parts;
            let at_ms = match parts {
                1 => traffic.at_ms,
                _ => traffic.from_ms + span_ms * (2 * part as i64 + 1) / (2 * parts as i64),
            };
            let beside = Beside { partition: Some(partition), facts: traffic.facts, at_ms, session: None };
            let codes = self.codes.of(&mut self.tally, &beside);
            self.tally.arrived_together(&codes, at_ms, records);
        }
    }

    /// `session` names the one that the record is of.
    pub fn sampled(&mut self, partition: i32, sampled: &Sampled, session: Option<&str>) {
        // Nothing that is pushed out again at once.
        if sampled.rank < sampling::level(self.records) {
            return;
        }
        let beside = Beside { partition: Some(partition), facts: sampled.facts, at_ms: sampled.at_ms, session };
        let codes = self.codes.of(&mut self.tally, &beside);
        self.tally.sampled(&unit(sampled.at_ms, sampled.key, &codes), sampled.rank);
    }

    /// Keeps the sample to its size; after each stretch.
    pub fn settle(&mut self) {
        self.tally.thin_to(sampling::level(self.records));
    }

    pub fn gap(&mut self, gap: Gap) {
        self.neighbours.note(gap);
    }

    /// What the topic's losses have in common, of `findings` about it.
    pub fn search<'a>(&self, topic: &str, findings: &[&'a Finding], found: &mut Found) {
        let proven = findings.iter().filter(|finding| finding.grade == Grade::Proven);
        let runs = proven.flat_map(|finding| lost(finding).into_iter().map(move |run| (*finding, run)));
        let beside = |(finding, run): (&'a Finding, Run)| {
            let session = finding.session.as_deref()?;
            let gap = self.neighbours.of(finding.partition, session, run.from)?;
            Some((finding.partition, session, gap, run.count()))
        };
        let lost: Vec<_> = runs.filter_map(beside).collect();
        if lost.len() < FEWEST {
            return;
        }
        let (mut tally, mut codes) = (self.tally.clone(), self.codes.clone());
        for (partition, session, gap, count) in lost {
            // Without its incarnation.
            let session = session.split_once('~').map_or(session, |(name, _)| name);
            let beside = Beside { partition, facts: gap.facts.into(), at_ms: gap.at_ms, session: Some(session) };
            let codes = codes.of(&mut tally, &beside);
            tally.lost_together(&unit(gap.at_ms, gap.key, &codes), count);
        }
        let subject =
            Subject { topic: topic.to_owned(), stage: None, counter: "attributes", place: String::new(), what: "lost" };
        let report = attribute(&tally);
        found.findings.extend(report.causes.iter().map(|cause| subject.cause(cause)));
    }
}

fn unit(at_ms: i64, key: u32, codes: &[u32]) -> Unit<'_> {
    let key_hash = (key != 0).then_some(u64::from(key));
    Unit { number: at_ms.max(0).unsigned_abs(), time_ms: at_ms, key_hash, codes }
}
