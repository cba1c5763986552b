//! What the statistics are computed from: which numbers of a counter could be lost, and which were.

use serde::{Deserialize, Serialize};

/// Lost numbers without one that arrived between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub from: i64,
    /// Exclusive.
    pub until: i64,
    /// When the first and the last of them were due, milliseconds.
    pub first_ms: i64,
    pub last_ms: i64,
}

impl Run {
    /// Numbers in the run.
    pub fn count(&self) -> u64 {
        span(self.from, self.until)
    }
}

/// A counter from one start to the next. Numbers are comparable inside a segment; after a restart they begin anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Numbers from here were eligible: each of them was a trial, lost or not.
    pub from: i64,
    /// Exclusive.
    pub until: i64,
    /// In order, apart from each other, inside the range.
    pub losses: Vec<Run>,
}

impl Segment {
    /// Numbers that were eligible.
    pub fn trials(&self) -> u64 {
        span(self.from, self.until)
    }

    /// Its losses sorted, without overlaps; neighbours become one run.
    pub fn in_order(mut self) -> Self {
        self.losses.sort_by_key(|run| (run.from, run.until));
        let mut merged: Vec<Run> = Vec::with_capacity(self.losses.len());
        for run in self.losses {
            match merged.last_mut() {
                Some(last) if run.from <= last.until => {
                    if run.until > last.until {
                        (last.until, last.last_ms) = (run.until, run.last_ms);
                    }
                }
                _ => merged.push(run),
            }
        }
        Self { losses: merged, ..self }
    }

    /// Numbers that were lost.
    pub fn lost(&self) -> u64 {
        self.losses.iter().map(Run::count).sum()
    }
}

/// Numbers in `[from, until)`, none when it is empty.
pub(super) fn span(from: i64, until: i64) -> u64 {
    if until <= from { 0 } else { until.wrapping_sub(from) as u64 }
}
