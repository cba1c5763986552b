//! What is known of consumer groups, as a table for people and as JSON lines for scripts.

mod json;
mod table;

use std::io::{self, Write};

use crate::audit::verdict::Verdict as Outcome;
use crate::lag::snapshot::{GroupLag, Snapshot};
use crate::lag::verdict::Verdict;

pub use json::{group_line, partition_line};

/// How a look at the groups ended, in the words and with the exit codes of an audit. Groups in trouble first; then a part
/// that could not be asked, for it may hide anything; then groups nothing is known of.
pub fn outcome(snapshot: &Snapshot) -> Outcome {
    let any = |test: fn(&GroupLag) -> bool| snapshot.groups.iter().any(test);
    if any(|group| group.judgement.verdict.is_bad()) {
        Outcome::Findings
    } else if !snapshot.troubles.is_empty() || snapshot.round.expected == 0 || any(GroupLag::could_not_be_asked) {
        // Who looked at nothing can vouch for nothing.
        Outcome::Unverified
    } else if any(|group| group.judgement.verdict == Verdict::Unknown) {
        Outcome::Inconclusive
    } else {
        Outcome::Clean
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
