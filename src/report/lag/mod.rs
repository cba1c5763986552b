//! What is known of consumer groups, as a table for people and as JSON lines for scripts.

mod json;
mod table;

use std::io::{self, Write};

use crate::lag::snapshot::{GroupLag, Snapshot};
use crate::lag::verdict::Verdict;

pub use json::{group_line, partition_line};

/// How the look at the groups ended, and the exit code that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Clean,
    Findings,
    Unverified,
    Inconclusive,
}

impl Outcome {
    /// A part that could not be asked first: it may hide anything. Then groups in trouble, then those nothing is known of.
    pub fn of(snapshot: &Snapshot) -> Self {
        let any = |test: fn(&GroupLag) -> bool| snapshot.groups.iter().any(test);
        if any(|group| group.judgement.verdict.is_bad()) {
            Outcome::Findings
        } else if !snapshot.troubles.is_empty() || snapshot.groups.is_empty() || any(GroupLag::could_not_be_asked) {
            Outcome::Unverified
        } else if any(|group| group.judgement.verdict == Verdict::Unknown) {
            Outcome::Inconclusive
        } else {
            Outcome::Clean
        }
    }

    pub fn exit(self) -> u8 {
        match self {
            Outcome::Clean => 0,
            Outcome::Findings => 1,
            Outcome::Unverified => 2,
            Outcome::Inconclusive => 3,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Outcome::Clean => "clean",
            Outcome::Findings => "findings",
            Outcome::Unverified => "unverified",
            Outcome::Inconclusive => "inconclusive",
        }
    }
}

/// One row per group and topic, or per partition.
pub struct TableStyle {
    pub by_partition: bool,
    pub color: bool,
    pub width: usize,
}

pub fn write_table(snapshot: &Snapshot, style: &TableStyle, out: &mut dyn Write) -> io::Result<()> {
    table::write(snapshot, style, out)
}

/// A line per group and partition, then a line per group.
pub fn write_json(snapshot: &Snapshot, out: &mut dyn Write) -> io::Result<()> {
    json::write(snapshot, out)
}

/// The last line.
pub fn write_json_summary(snapshot: &Snapshot, rounds: u64, out: &mut dyn Write) -> io::Result<()> {
    json::summary(snapshot, rounds, out)
}
