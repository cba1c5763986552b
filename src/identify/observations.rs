//! Observations in columns: what is kept of the records of one stretch of one partition.

use super::steps::Step;
use crate::ledger::Sightings;

/// What a record says about its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    Number(i64),
    /// The session is over; this was its last number.
    End(i64),
}

/// One record of a numbered session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    pub session: u64,
    pub says: Says,
    pub offset: i64,
    /// The record's own time, milliseconds.
    pub timestamp: i64,
    /// Stream time of the partition when the record was read: the largest record time so far.
    pub stream_time: i64,
    pub checksum: u64,
}

#[derive(Default)]
pub struct Observations {
    /// For the ledger; empty when the identity is decided without rows.
    pub sightings: Sightings,
    pub arrivals: Vec<Arrival>,
    /// Where the topic is a stage of a flow.
    pub steps: Vec<Step>,
    /// Names of sessions met for the first time by this reader.
    pub labels: Vec<(u64, String)>,
    /// Identities in clear, only with `--show-keys`.
    pub values: Vec<(u128, String)>,
}

impl Observations {
    pub fn new(partition: u32) -> Self {
        Self { sightings: Sightings { partition, ..Default::default() }, ..Default::default() }
    }

    pub fn rows(&self) -> usize {
        self.sightings.offsets.len().max(self.arrivals.len())
    }
}
