//! Flows: whether every transaction reaches every stage it must, in time, once, and says the same there.
//!
//! A transaction is known by its correlation id. What a stage saw of it waits until the next stage sees it too, or until
//! every partition of that stage's topic has been read beyond the deadline: only then is it *missing* there. Times are
//! stream times, as in `sessions`; a transaction's own record times serve for latencies.
//!
//! What is complete is dropped. The ledger remembers it: before anything is called missing, or without a cause, the
//! caller asks the ledger whether the other side was seen after all. So memory that runs out costs details, not truth.
//! No I/O, no clock.

mod hop;
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
use super::patterns::attribution::UNKNOWN;
use super::patterns::hop::{HopPatterns, Sent};
use super::patterns::say::Subject;
use super::patterns::summary::Found;
use crate::identify::steps::Step;
use hop::Hop;
pub use open::Sight;
use open::{Lack, Open};
use plan::{Flow, Rule};

/// Findings listed per flow; beyond them only the counts grow.
const LISTED: u64 = 10_000;
/// Share of the open transactions that is given up at once when there are too many.
const GIVEN_UP: usize = 8;

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

/// What became of a transaction at a stage, for whoever looks for patterns in losses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fate {
    stage: usize,
    upstream: Sight,
    fate: Fated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fated {
    Matched,
    Lost,
    /// What was lost has arrived.
    Found,
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
    /// What became of transactions since the patterns were told.
    fates: Vec<Fate>,
    /// Codes of partitions and producers by stage, as the patterns gave them.
    codes: FxHashMap<(usize, Named), u32>,
}

/// What the patterns have a code for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Named {
    Partition(i32),
    Producer(i64),
}

impl Flows {
    pub fn new(flow: Arc<Flow>, mut state: FlowState) -> Self {
        state.seen.resize(flow.stages.len(), (0, 0));
        state.hops.resize(flow.stages.len(), Hop::default());
        state.patterns.resize(flow.stages.len(), HopPatterns::default());
        Self { flow, state, fates: Vec::new(), codes: FxHashMap::default() }
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

    /// Takes in one record of a stage.
    pub fn take(&mut self, step: &Step, stage: usize, partition: u32, names: &dyn Names, out: &mut Vec<Finding>) {
        let sight = Sight::of(step, stage as u8, partition);
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

    /// Tells the patterns what became of transactions.
    fn tell(&mut self, names: &dyn Names) {
        for Fate { stage, upstream, fate } in self.fates.drain(..) {
            let patterns = &mut self.state.patterns[stage];
            let (_, partition) = names.name(upstream.partition);
            let place = self.codes.entry((stage, Named::Partition(partition)));
            let partition_code = *place.or_insert_with(|| patterns.partition(partition));
            let producer = match upstream.producer {
                id if id < 0 => UNKNOWN,
                id => *self.codes.entry((stage, Named::Producer(id))).or_insert_with(|| patterns.producer(id)),
            };
            let sent = Sent {
                partition,
                partition_code,
                producer,
                rank: upstream.rank,
                number: upstream.number,
                at_ms: upstream.timestamp,
                key: upstream.key,
                size: upstream.size,
            };
            match fate {
                Fated::Matched => patterns.matched(&sent),
                Fated::Lost => patterns.lost(&sent),
                Fated::Found => patterns.found(&sent),
            }
        }
    }

    /// What the losses of each hop have in common.
    pub fn patterns(&self, follows: bool, found: &mut Found) {
        for (number, patterns) in self.state.patterns.iter().enumerate() {
            let stage = &self.flow.stages[number];
            if stage.after.is_none() {
                continue;
            }
            let subject = Subject {
                topic: stage.topic.clone(),
                stage: Some((self.flow.name.clone(), stage.name.clone())),
                counter: "",
                place: String::new(),
                what: "lost",
            };
            patterns.search(&subject, follows, found);
        }
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

    /// What is due: to be decided with the ledger's help.
    pub fn due(&mut self, clocks: &[StageClock]) -> Vec<(u128, Doubt)> {
        let flow = &self.flow;
        let is_passed = |stage: usize, from_ms: i64, by: usize| {
            let clock = &clocks[by];
            clock.caught_up && clock.slowest > from_ms.saturating_add(flow.stages[stage].deadline_ms)
        };
        let mut doubts = Vec::new();
        self.state.open.retain(|id, open| {
            match open.lacks(flow) {
                None => return false,
                Some(Lack::Nothing { until_ms, stage }) => {
                    return !(clocks[stage].caught_up && clocks[stage].slowest > until_ms);
                }
                Some(Lack::Stage { stage, upstream }) if is_passed(stage, upstream.stream_time, stage) => {
                    doubts.push((*id, Doubt::Missing { stage, upstream }));
                }
                Some(Lack::Cause { stage, upstream, effect }) if is_passed(stage, effect.stream_time, upstream) => {
                    doubts.push((*id, Doubt::Causeless { stage, upstream, effect }));
                }
                Some(_) => {}
            }
            true
        });
        doubts.extend(self.too_many());
        // In an order that does not depend on hashing.
        doubts.sort_by_key(|(id, doubt)| (doubt.asks(), *id));
        doubts
    }

    /// The oldest of too many open transactions.
    fn too_many(&self) -> Vec<(u128, Doubt)> {
        if !self.is_full() {
            return Vec::new();
        }
        let mut ages: Vec<i64> = self.state.open.values().map(Open::oldest).collect();
        let nth = ages.len() / GIVEN_UP;
        let (_, &mut border, _) = ages.select_nth_unstable(nth);
        let old = self.state.open.iter().filter(|(_, open)| open.oldest() <= border);
        old.filter_map(|(id, open)| {
            let doubt = match open.lacks(&self.flow)? {
                Lack::Stage { stage, upstream } => Doubt::GivenUp { stage, upstream },
                Lack::Cause { upstream, effect, .. } => Doubt::GivenUp { stage: upstream, upstream: effect },
                Lack::Nothing { stage, .. } => Doubt::GivenUp { stage, upstream: *open.sights.first()? },
            };
            Some((*id, doubt))
        })
        .take(nth.max(1))
        .collect()
    }

    /// The ledger has spoken: `seen` is where the other side was seen, if it was.
    pub fn decide(
        &mut self,
        id: u128,
        doubt: &Doubt,
        seen: Option<Sight>,
        clocks: &[StageClock],
        names: &dyn Names,
        out: &mut Vec<Finding>,
    ) {
        // Of a stage that must see several records the ledger knows the first, as the table does: that decides nothing.
        let is_part = |stage: usize| self.state.open.get(&id).is_some_and(|open| open.at(stage).is_some());
        let seen = seen.filter(|_| !matches!(*doubt, Doubt::Missing { stage, .. } if is_part(stage)));
        match (*doubt, seen) {
            (Doubt::Missing { stage, upstream }, Some(seen)) => {
                let Some(open) = self.state.open.get_mut(&id) else { return };
                open.sights.push(Sight { stage: stage as u8, is_remembered: true, ..seen });
                self.state.hops[stage].matched += 1;
                self.fates.push(Fate { stage, upstream, fate: Fated::Matched });
                if open.lacks(&self.flow).is_none() {
                    self.forget(id);
                }
            }
            (Doubt::Missing { stage, upstream }, None) => self.missing(id, stage, &upstream, clocks, names, out),
            // It comes again, or late: the duplicates and the loss have been told.
            (Doubt::Causeless { .. }, Some(_)) => self.forget(id),
            (Doubt::Causeless { stage, upstream, effect }, None) => {
                self.causeless(id, stage, upstream, &effect, clocks, names, out);
            }
            (Doubt::GivenUp { stage, .. }, seen) => {
                if seen.is_none() {
                    self.state.given_up += 1;
                    self.state.hops[stage].uncovered += 1;
                }
                self.forget(id);
            }
        }
        self.tell(names);
    }

    fn forget(&mut self, id: u128) {
        self.state.open.remove(&id);
        self.state.values.remove(&id);
    }

    fn missing(
        &mut self,
        id: u128,
        stage: usize,
        upstream: &Sight,
        clocks: &[StageClock],
        names: &dyn Names,
        out: &mut Vec<Finding>,
    ) {
        let Some(open) = self.state.open.remove(&id) else { return };
        if upstream.stream_time < clocks[stage].reads_from {
            self.state.hops[stage].uncovered += 1;
            self.state.values.remove(&id);
            return;
        }
        self.state.hops[stage].missed(upstream.timestamp);
        self.fates.push(Fate { stage, upstream: *upstream, fate: Fated::Lost });
        if self.list() {
            out.push(say::missing(&self.flow, id, stage, &open, &clocks[stage], self.state.values.get(&id), names));
            self.state.missed.insert(id, Missed { stage: stage as u8, open });
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn causeless(
        &mut self,
        id: u128,
        stage: usize,
        upstream: usize,
        effect: &Sight,
        clocks: &[StageClock],
        names: &dyn Names,
        out: &mut Vec<Finding>,
    ) {
        if !self.is_covered(stage, effect, &clocks[upstream]) {
            self.state.hops[stage].uncovered += 1;
        } else {
            self.state.hops[stage].unexpected += 1;
            if self.list() {
                let value = self.state.values.get(&id);
                out.push(say::causeless(
                    &self.flow,
                    id,
                    stage,
                    upstream,
                    effect,
                    Some(&clocks[upstream]),
                    value,
                    names,
                ));
            }
        }
        self.forget(id);
    }

    /// Whether one more finding is listed.
    fn list(&mut self) -> bool {
        let is_listed = self.state.listed < LISTED;
        match is_listed {
            true => self.state.listed += 1,
            false => self.state.unlisted += 1,
        }
        is_listed
    }

    /// What would be missing, or without a cause, if nothing more came: as *possible* findings.
    pub fn pending(&self, clocks: &[StageClock], names: &dyn Names, out: &mut Vec<Finding>) {
        let mut pending: Vec<(&u128, &Open)> = self.state.open.iter().collect();
        pending.sort_unstable_by_key(|(id, open)| (open.oldest(), **id));
        let say = |(id, open): (&u128, &Open)| {
            let value = self.state.values.get(id);
            match open.lacks(&self.flow)? {
                Lack::Stage { stage, upstream } if upstream.stream_time >= clocks[stage].reads_from => {
                    Some(say::pending(&self.flow, *id, stage, open, value, names))
                }
                Lack::Cause { stage, upstream, effect } if self.is_covered(stage, &effect, &clocks[upstream]) => {
                    Some(say::causeless(&self.flow, *id, stage, upstream, &effect, None, value, names))
                }
                _ => None,
            }
        };
        out.extend(pending.into_iter().filter_map(say).take(LISTED as usize));
    }

    /// Whether the cause of an effect must lie in what was read.
    fn is_covered(&self, stage: usize, effect: &Sight, upstream: &StageClock) -> bool {
        effect.stream_time.saturating_sub(self.flow.stages[stage].deadline_ms) >= upstream.reads_from
    }
}

/// The figures while a record is compared with what is known of its transaction.
struct HopsAt<'a> {
    flow: &'a Flow,
    hops: &'a mut [Hop],
    names: &'a dyn Names,
    out: &'a mut Vec<Finding>,
    fates: &'a mut Vec<Fate>,
    listed: &'a mut u64,
}

impl HopsAt<'_> {
    /// A stage was seen: its hop, and the hops that lead on from it when their effects came first.
    fn compare(&mut self, id: u128, open: &Open, stage: usize, value: Option<&String>) {
        let Some(here) = open.at(stage) else { return };
        let is_first = here.count == 1;
        if let Some(cause) = self.flow.stages[stage].after.and_then(|after| open.at(after)) {
            self.hop(id, cause, here, is_first, value);
        }
        let downstream = self.flow.stages.iter().enumerate().filter(|(_, s)| s.after == Some(stage) && is_first);
        for (number, _) in downstream {
            if let Some(effect) = open.at(number) {
                self.hop(id, here, effect, true, value);
            }
        }
    }

    fn hop(&mut self, id: u128, cause: &Sight, effect: &Sight, is_first: bool, value: Option<&String>) {
        let number = usize::from(effect.stage);
        let stage = &self.flow.stages[number];
        let hop = &mut self.hops[number];
        if is_first {
            let latency_ms = effect.timestamp.saturating_sub(cause.timestamp);
            let is_late = effect.stream_time > cause.stream_time.saturating_add(stage.deadline_ms);
            hop.matched(cause.timestamp, latency_ms, stage.slo.as_ref(), is_late);
            hop.early += u64::from(latency_ms < -self.flow.clock_bound_ms);
            self.fates.push(Fate { stage: number, upstream: *cause, fate: Fated::Matched });
        }
        let differs = is_first && !stage.agree.is_empty() && cause.agree != effect.agree;
        let is_whole = match stage.rule {
            Rule::FanOut(records) => effect.count == records,
            Rule::AtLeastOne => false,
            _ => is_first,
        };
        let unbalanced = is_whole && matches!((cause.amount, effect.amount), (Some(a), Some(b)) if a != b);
        if differs || unbalanced {
            hop.mismatched += 1;
            if *self.listed < LISTED {
                *self.listed += 1;
                self.out.push(say::mismatch(self.flow, id, cause, effect, differs, unbalanced, value, self.names));
            }
        }
    }
}
