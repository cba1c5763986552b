//! A record beside what is known of its transaction: the hop that leads to it, and those that lead on.

use super::fates::{Fate, Fated};
use super::hop::Hop;
use super::open::{Open, Sight};
use super::plan::{Flow, Rule};
use super::{LISTED, say};
use crate::audit::duplicates::Names;
use crate::audit::finding::Finding;

/// The figures while a record is compared with what is known of its transaction.
pub(super) struct HopsAt<'a> {
    pub flow: &'a Flow,
    pub hops: &'a mut [Hop],
    pub names: &'a dyn Names,
    pub out: &'a mut Vec<Finding>,
    pub fates: &'a mut Vec<Fate>,
    pub listed: &'a mut u64,
}

impl HopsAt<'_> {
    /// A stage was seen: its hop, and the hops that lead on from it when their effects came first.
    pub fn compare(&mut self, id: u128, open: &Open, stage: usize, value: Option<&String>) {
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
