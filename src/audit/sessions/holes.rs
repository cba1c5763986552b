//! The numbers of a session that have not been received: holes that wait for their verdict, and losses.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What filled a hole before its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filled {
    pub arrived: i64,
    pub late_by: i64,
    pub offset: i64,
    pub timestamp: i64,
    pub partition: i32,
    /// Extent in arrivals (RFC 4737 §4.3), when the number is reordered in its partition.
    pub extent: Option<u64>,
    pub degree: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hole {
    pub until: i64,
    /// `R`: stream time at which the absence became visible.
    pub revealed: i64,
    /// Arrivals of the session before the one that revealed it.
    pub revealed_index: u64,
    /// Offsets of the records on both sides, where one partition holds them.
    pub between: (i64, i64),
    /// Set when the number (the hole is then one number wide) has arrived and the verdict is still open.
    pub filled: Option<Filled>,
}

/// A run of numbers that was judged lost. What arrived afterwards is late.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    pub until: i64,
    pub revealed: i64,
    pub between: (i64, i64),
    /// Late arrivals, sorted.
    pub late: Vec<i64>,
    /// Stream time of the last of them.
    pub last_arrival: Option<i64>,
}

impl From<Hole> for Loss {
    fn from(hole: Hole) -> Self {
        Self { until: hole.until, revealed: hole.revealed, between: hole.between, late: Vec::new(), last_arrival: None }
    }
}

impl Loss {
    pub fn missing(&self, from: i64) -> u64 {
        (self.until - from) as u64 - self.late.len() as u64
    }
}

/// Losses remembered per session, so that a late arrival can reverse them.
const LOSSES_KEPT: usize = 65_536;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holes {
    /// Keyed by first number; disjoint.
    pub waiting: BTreeMap<i64, Hole>,
    pub lost: BTreeMap<i64, Loss>,
}

impl Holes {
    pub fn open(&mut self, from: i64, hole: Hole) {
        if from < hole.until {
            self.waiting.insert(from, hole);
        }
    }

    /// A number above the holes arrived at `time`: holes it reveals earlier than known are revealed then. Lower holes
    /// are never revealed later than higher ones, so the walk ends at the first that is early enough.
    pub fn reveal_below(&mut self, number: i64, time: i64) {
        for (_, hole) in self.waiting.range_mut(..number).rev() {
            if hole.revealed <= time {
                break;
            }
            hole.revealed = time;
        }
    }

    /// The waiting hole that contains the number.
    pub fn waiting_at(&self, number: i64) -> Option<(i64, Hole)> {
        let (&from, hole) = self.waiting.range(..=number).next_back()?;
        (number < hole.until).then_some((from, *hole))
    }

    /// Takes one number out of the hole that starts at `from`, or leaves it there as filled.
    pub fn fill(&mut self, from: i64, hole: Hole, number: i64, keep: Option<Filled>) {
        self.waiting.remove(&from);
        self.open(from, Hole { until: number, ..hole });
        if keep.is_some() {
            self.waiting.insert(number, Hole { until: number + 1, filled: keep, ..hole });
        }
        self.open(number + 1, hole);
    }

    pub fn lost_at(&mut self, number: i64) -> Option<(i64, &mut Loss)> {
        let (&from, loss) = self.lost.range_mut(..=number).next_back()?;
        (number < loss.until).then_some((from, loss))
    }

    pub fn lose(&mut self, from: i64, loss: Loss) {
        self.lost.insert(from, loss);
        if self.lost.len() > LOSSES_KEPT {
            self.lost.pop_first();
        }
    }

    /// Filled holes that can no longer turn out late: what is still unread came after `slowest`. They are taken out.
    pub fn in_time(&mut self, slowest: i64, wait: i64) -> Vec<(i64, Filled)> {
        let mut settled = Vec::new();
        self.waiting.retain(|&number, hole| match hole.filled {
            Some(filled) if filled.arrived <= hole.revealed.min(slowest).saturating_add(wait) => {
                settled.push((number, filled));
                false
            }
            _ => true,
        });
        settled
    }

    /// Runs of adjoining holes whose verdict is due: every partition has passed `revealed + wait`. They are taken out.
    pub fn due(&mut self, slowest: i64, wait: i64) -> Vec<Vec<(i64, Hole)>> {
        let is_due = |hole: &Hole| slowest > hole.revealed.saturating_add(wait);
        // Lower holes are revealed no later than higher ones: what is due stands in front.
        let Some(first_kept) = self.waiting.iter().find(|(_, hole)| !is_due(hole)).map(|(&from, _)| from) else {
            return runs(std::mem::take(&mut self.waiting));
        };
        if self.waiting.first_key_value().is_none_or(|(&from, _)| from == first_kept) {
            return Vec::new();
        }
        let kept = self.waiting.split_off(&first_kept);
        runs(std::mem::replace(&mut self.waiting, kept))
    }
}

fn runs(holes: BTreeMap<i64, Hole>) -> Vec<Vec<(i64, Hole)>> {
    let mut runs: Vec<Vec<(i64, Hole)>> = Vec::new();
    for (from, hole) in holes {
        match runs.last_mut() {
            Some(run) if run.last().is_some_and(|(_, last)| last.until == from) => run.push((from, hole)),
            _ => runs.push(vec![(from, hole)]),
        }
    }
    runs
}
