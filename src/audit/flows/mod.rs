//! Flows: whether every transaction reaches every stage it must, in time, once, and says the same there.
//!
//! A transaction is known by its correlation id. What a stage saw of it waits until the next stage sees it too, or until
//! every partition of that stage's topic has been read beyond the deadline: only then is it *missing* there. Times are
//! stream times, as in `sessions`; a transaction's own record times serve for latencies.
//!
//! What is complete is dropped. The ledger remembers it: before anything is called missing, or without a cause, the
//! caller asks the ledger whether the other side was seen after all. So memory that runs out costs details, not truth.
//! No I/O, no clock.

#[cfg(test)]
mod causes;
mod compare;
mod fates;
mod hop;
mod judge;
mod open;
pub mod plan;
pub mod say;
pub mod summary;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::duplicates::Names;
use super::finding::Finding;
use super::patterns::counts::keys::Keys;
use super::patterns::counts::times::Times;
use super::patterns::hop::HopPatterns;
use super::patterns::origins::{Origin, Origins};
use crate::identify::Observations;
use crate::identify::steps::Step;
use compare::HopsAt;
use fates::{Codes, Fate, Fated};
use hop::Hop;
pub use open::Sight;
use open::{Lack, Open};
use plan::{Flow, Rule};

/// Findings listed per flow; beyond them only the counts grow.
const LISTED: u64 = 10_000;

/// How far a stage's topic has been read.
#[derive(Clone, Copy, Debug)]
pub struct StageClock {
    /// Smallest stream time among its partitions.
    pub slowest: i64,
    /// All partitions have been read to where they ended when reading began, or beyond.
    pub caught_up: bool,
    /// Nothing of what was to be read is missing from what was read.
    pub is_whole: bool,
    /// Before this time nothing is known; the smallest number when the topic is read from its very beginning.
    pub reads_from: i64,
}

/// What is said of one id once nothing more can be expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The stage has not seen it in time.
    Missing { stage: usize, upstream: Sight },
    /// The stage saw it, and the one upstream has not.
    Causeless { stage: usize, upstream: usize, effect: Sight },
    /// There is no room to wait any longer.
    GivenUp { stage: usize, upstream: Sight },
}

impl Doubt {
    /// The stage whose ledger must be asked.
    pub fn asks(&self) -> usize {
        match *self {
            Doubt::Missing { stage, .. } | Doubt::GivenUp { stage, .. } => stage,
            Doubt::Causeless { upstream, .. } => upstream,
        }
    }
}

/// A transaction that is missing at a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Missed {
    stage: u8,
    open: Open,
}

/// Everything that outlives a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FlowState {
    open: FxHashMap<u128, Open>,
    missed: FxHashMap<u128, Missed>,
    /// In clear, with `--show-keys`.
    values: FxHashMap<u128, String>,
    /// By the engine's number of a partition: stream time of the first record that was read of it.
    begun: FxHashMap<u32, i64>,
    /// By stage: transactions seen, and records beyond the rule.
    seen: Vec<(u64, u64)>,
    /// By stage, of the hop that leads to it.
    hops: Vec<Hop>,
    /// What its losses have in common.
    patterns: Vec<HopPatterns>,
    /// By stage, of all its records where another stage comes after it: how many of each key, and when.
    keys: Vec<Keys>,
    times: Vec<Times>,
    origins: Vec<Origins>,
    /// Findings that were not listed, and transactions given up to bound memory.
    unlisted: u64,
    given_up: u64,
    listed: u64,
}

impl FlowState {
    /// When reading a partition began, in stream time; noted at the first call that knows. The largest number while
    /// nothing is known.
    pub fn begins(&mut self, partition: u32, stream_time: i64) -> i64 {
        if stream_time == i64::MIN {
            return self.begun.get(&partition).copied().unwrap_or(i64::MAX);
        }
        *self.begun.entry(partition).or_insert(stream_time)
    }

    /// The stage that a transaction still waits for, and until when in that stage's stream time.
    pub fn waits(&self, flow: &Flow, id: u128) -> Option<(usize, i64)> {
        let until = |stage: usize, sight: Sight| sight.stream_time.saturating_add(flow.stages[stage].deadline_ms);
        match self.open.get(&id)?.lacks(flow)? {
            Lack::Stage { stage, upstream } => Some((stage, until(stage, upstream))),
            Lack::Cause { stage, upstream, effect } => Some((upstream, until(stage, effect))),
            Lack::Nothing { .. } => None,
        }
    }
}

pub struct Flows {
    pub flow: Arc<Flow>,
    pub state: FlowState,
    /// By stage: another one comes after it.
    leads: Vec<bool>,
    /// What became of transactions since the patterns were told.
    fates: Vec<Fate>,
    /// By stage, as the patterns gave them.
    codes: Vec<Codes>,
}

impl Flows {
    pub fn new(flow: Arc<Flow>, mut state: FlowState) -> Self {
        state.seen.resize(flow.stages.len(), (0, 0));
        state.hops.resize(flow.stages.len(), Hop::default());
        state.patterns.resize(flow.stages.len(), HopPatterns::default());
        state.keys.resize(flow.stages.len(), Keys::default());
        state.times.resize(flow.stages.len(), Times::default());
        state.origins.resize(flow.stages.len(), Origins::default());
        let leads = |number: usize| flow.stages.iter().any(|stage| stage.after == Some(number));
        let leads = (0..flow.stages.len()).map(leads).collect();
        let codes = vec![Codes::default(); flow.stages.len()];
        Self { flow, state, leads, fates: Vec::new(), codes }
    }

    pub fn is_full(&self) -> bool {
        self.state.open.len() >= self.flow.most_open
    }

    /// Whether time alone may decide something.
    pub fn is_waiting(&self) -> bool {
        !self.state.open.is_empty()
    }

    /// Transactions given up to bound memory.
    pub fn given_up(&self) -> u64 {
        self.state.given_up
    }

    /// What holds of a hop as a whole: effects before their causes.
    pub fn standing(&self, out: &mut Vec<Finding>) {
        for (stage, hop) in
            self.state.hops.iter().enumerate().filter(|(_, hop)| hop.early > 0 && !hop.has_other_clock())
        {
            out.push(say::early(&self.flow, stage, hop.early, hop.matched));
        }
    }

    /// Hops whose two ends have clocks that differ by more than the bound.
    pub fn clocks_that_differ(&self) -> Vec<String> {
        let differs = |(stage, hop): (usize, &Hop)| {
            let (here, after) = (&self.flow.stages[stage], self.flow.stages[stage].after?);
            hop.has_other_clock().then(|| {
                format!(
                    "{} of {} records of {} carry a time before that of their cause in {}: the clocks differ, so latencies between them mean little",
                    hop.early, hop.matched, here.name, self.flow.stages[after].name
                )
            })
        };
        self.state.hops.iter().enumerate().filter_map(differs).collect()
    }

    pub fn value(&mut self, id: u128, value: &str) {
        self.state.values.entry(id).or_insert_with(|| value.to_owned());
    }

    /// Where a stretch of a stage's records comes from, one for each step; none where no stage comes after it.
    pub fn origins(&mut self, stage: usize, partition: u32, seen: &Observations) -> Vec<Origin> {
        if !self.leads[stage] {
            return Vec::new();
        }
        self.state.origins[stage].of(partition, &seen.steps, &seen.batches, seen.facts.all())
    }

    /// Takes in one record of a stage.
    pub fn take(
        &mut self,
        step: &Step,
        origin: Origin,
        stage: usize,
        partition: u32,
        names: &dyn Names,
        out: &mut Vec<Finding>,
    ) {
        let mut sight = Sight::of(step, stage as u8, partition);
        if self.leads[stage] {
            // Whoever counts what the stage has counts repeats too.
            sight.key_rank = self.state.keys[stage].count(step.key);
            self.state.times[stage].saw(step.timestamp);
            sight.origin = origin;
        }
        if !self.state.missed.is_empty() {
            self.found(step.id, &sight, names, out);
        }
        let Self { flow, state, fates, .. } = self;
        let open = state.open.entry(step.id).or_default();
        match open.at_mut(stage) {
            Some(known) => {
                let is_part = matches!(flow.stages[stage].rule, Rule::FanOut(most) if known.count < most)
                    || flow.stages[stage].rule == Rule::AtLeastOne;
                if !is_part {
                    state.seen[stage].1 += 1;
                    return;
                }
                known.count += 1;
                known.amount = known.amount.zip(sight.amount).and_then(|(a, b)| a.checked_add(b));
            }
            None => {
                open.sights.push(sight);
                state.seen[stage].0 += 1;
            }
        }
        let mut hops = HopsAt { flow, hops: &mut state.hops, names, out, fates, listed: &mut state.listed };
        hops.compare(step.id, open, stage, state.values.get(&step.id));
        if open.lacks(flow).is_none() {
            state.open.remove(&step.id);
            if !state.values.is_empty() {
                state.values.remove(&step.id);
            }
        }
        self.tell(names);
    }

    /// A transaction that was missing here has come after all.
    fn found(&mut self, id: u128, sight: &Sight, names: &dyn Names, out: &mut Vec<Finding>) {
        let is_it = |missed: &Missed| missed.stage == sight.stage;
        if !self.state.missed.get(&id).is_some_and(is_it) {
            return;
        }
        let Some(missed) = self.state.missed.remove(&id) else { return };
        let stage = usize::from(missed.stage);
        let Some(upstream) = self.flow.stages[stage].after.and_then(|after| missed.open.at(after)).copied() else {
            return;
        };
        self.state.hops[stage].missing = self.state.hops[stage].missing.saturating_sub(1);
        self.fates.push(Fate { stage, upstream, fate: Fated::Found });
        out.push(say::arrived(&self.flow, id, stage, &upstream, sight, self.state.values.get(&id), names));
        self.state.open.entry(id).or_insert(missed.open);
    }
}
