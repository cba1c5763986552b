//! What is to be generated, as the user asked for it, and the conditions it must meet.

use super::fault::{Attribute, Fault, FaultKind};

/// Records span about this long unless an interval is given.
const SPAN_US: u64 = 3_600_000_000;
/// The last record lies this far in the past by default, so that every waiting time has passed.
const MARGIN_MS: i64 = 600_000;

#[derive(Clone, Debug)]
pub struct Options {
    pub topic: String,
    /// Records planned over all sessions, before anything is lost or doubled.
    pub records: u64,
    /// Sessions, named `p0`, `p1`, …
    pub producers: u32,
    pub partitions: i32,
    pub seed: u64,
    /// Size of a value in bytes, about.
    pub size: usize,
    /// Each session writes to all partitions, by key; otherwise session i writes to partition i mod partitions.
    pub spread: bool,
    /// Time of the first record, milliseconds since 1970; absent: such that the last lies ten minutes in the past.
    pub start_ms: Option<i64>,
    /// Record time between two records of the plan; absent: such that all span about an hour.
    pub interval_us: Option<u64>,
    /// The waiting time the audit will be run with.
    pub wait_ms: u64,
    pub faults: Vec<Fault>,
    /// A worker answers every record in another topic.
    pub flow: Option<FlowOptions>,
}

/// The second stage of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowOptions {
    /// Topic that the worker answers in.
    pub answers: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    #[error("{what} is {value}, but must be between {least} and {most}")]
    Range { what: &'static str, value: u64, least: u64, most: u64 },
    #[error("{records} records are fewer than {producers} producers; ask for more records or fewer producers")]
    FewerRecordsThanProducers { records: u64, producers: u32 },
    #[error("records would lie outside the times Kafka can hold; choose another start, interval or waiting time")]
    Times,
    #[error(
        "misnumber-reset needs sessions that stay on one partition, where it is decidable which number came first; \
         leave out either of misnumber-reset and spreading over all partitions"
    )]
    ResetWhileSpread,
    #[error("{0} is a fault of a flow's worker; add --flow, or leave it out")]
    NeedsFlow(&'static str),
    #[error(
        "{0} is a fault of the numbers of a topic; with --flow only the worker fails: drop-every, drop-where, drop, \
         swap-field, answer-late, answer-unasked"
    )]
    NotInFlow(&'static str),
    #[error("{fault}: {what}")]
    Attribute { fault: String, what: String },
    #[error("the answers need a topic of their own, other than {0}")]
    SameTopic(String),
}

impl Options {
    pub fn new(topic: impl Into<String>, records: u64) -> Self {
        Self {
            topic: topic.into(),
            records,
            producers: 4,
            partitions: 4,
            seed: 1,
            size: 100,
            spread: false,
            start_ms: None,
            interval_us: None,
            wait_ms: 30_000,
            faults: Vec::new(),
            flow: None,
        }
    }

    pub(super) fn check(&self) -> Result<(), OptionsError> {
        let within = |what, value, least, most| match (least..=most).contains(&value) {
            true => Ok(()),
            false => Err(OptionsError::Range { what, value, least, most }),
        };
        within("the number of records", self.records, 1, 1 << 40)?;
        within("the number of producers", u64::from(self.producers), 1, 10_000)?;
        within("the number of partitions", u64::try_from(self.partitions).unwrap_or(0), 1, 100_000)?;
        within("the size of a value", self.size as u64, 0, 16 << 20)?;
        within("the waiting time in milliseconds", self.wait_ms, 1, 1 << 40)?;
        if let Some(interval) = self.interval_us {
            within("the interval in microseconds", interval, 1, u64::MAX)?;
        }
        if self.records < u64::from(self.producers) {
            return Err(OptionsError::FewerRecordsThanProducers { records: self.records, producers: self.producers });
        }
        if self.spread && self.faults.iter().any(|fault| fault.kind == FaultKind::MisnumberReset) {
            return Err(OptionsError::ResetWhileSpread);
        }
        if self.flow.as_ref().is_some_and(|flow| flow.answers == self.topic) {
            return Err(OptionsError::SameTopic(self.topic.clone()));
        }
        self.faults.iter().try_for_each(|fault| self.check_fault(fault))
    }

    fn check_fault(&self, fault: &Fault) -> Result<(), OptionsError> {
        match (self.flow.is_some(), fault.kind.is_of_flow()) {
            (false, true) => return Err(OptionsError::NeedsFlow(fault.kind.name())),
            (true, false) => return Err(OptionsError::NotInFlow(fault.kind.name())),
            _ => {}
        }
        let wrong = |what| Err(OptionsError::Attribute { fault: fault.spec.clone(), what });
        let sizes = || self.faults.iter().filter_map(|fault| fault.kind.attribute());
        match fault.kind.attribute() {
            // A flow knows its producers by the ids that the broker gave them.
            Some(Attribute::Producer(_)) if self.flow.is_some() => {
                wrong("a flow's losses are tied to a partition, not to a producer's name".to_owned())
            }
            Some(&Attribute::Producer(producer)) if producer >= self.producers => {
                wrong(format!("the producers are p0 to p{}", self.producers - 1))
            }
            Some(&Attribute::Partition(partition)) if partition >= self.partitions => {
                wrong(format!("the partitions are 0 to {}", self.partitions - 1))
            }
            Some(Attribute::Larger(size)) if !(self.size + 1..=8 << 20).contains(size) => {
                wrong(format!("choose a size above that of the other values, {} bytes, up to 8 MiB", self.size))
            }
            Some(larger @ Attribute::Larger(_))
                if sizes().any(|other| matches!(other, Attribute::Larger(_)) && other != larger) =>
            {
                wrong("all faults tied to size must name the same one".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// A flow's transactions go to all partitions, by key.
    pub(super) fn is_spread(&self) -> bool {
        self.spread || self.flow.is_some()
    }

    /// Of the default: an hour in all, but no slower than lets several numbers of every session (and, when spread, of
    /// every partition) fall into a third of the waiting time, so that small plans can hold late records too.
    pub(super) fn interval_us(&self) -> u64 {
        let wait_us = self.wait_ms.saturating_mul(1000);
        let partitions = if self.is_spread() { self.partitions.unsigned_abs() } else { 0 };
        let slowest = wait_us / (12 * u64::from(self.producers).max(2 * u64::from(partitions)));
        self.interval_us.unwrap_or_else(|| (SPAN_US / self.records).min(slowest).max(1))
    }

    pub(super) fn start_ms(&self, now_ms: i64) -> Result<i64, OptionsError> {
        let steps = self.records + u64::from(self.producers);
        let span_ms = steps
            .checked_mul(self.interval_us())
            .and_then(|us| i64::try_from(us / 1000 + 1).ok())
            // Late answers come after the last record.
            .and_then(|ms| ms.checked_add(if self.flow.is_some() { 4 * self.wait_ms as i64 } else { 0 }))
            .ok_or(OptionsError::Times)?;
        let start = match self.start_ms {
            Some(start) => Some(start),
            None => now_ms.checked_sub(span_ms).and_then(|ms| ms.checked_sub(MARGIN_MS)),
        };
        start.filter(|&ms| ms >= 0 && ms.checked_add(span_ms).is_some()).ok_or(OptionsError::Times)
    }
}
