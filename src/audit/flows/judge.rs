//! What is decided once time has passed: what is missing, what has no cause, what is given up.

use super::open::{Lack, Open};
use super::{Doubt, Fate, Fated, Flows, LISTED, Missed, Sight, StageClock, say};
use crate::audit::duplicates::Names;
use crate::audit::finding::Finding;

/// Share of the open transactions that is given up at once when there are too many.
const GIVEN_UP: usize = 8;

impl Flows {
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
