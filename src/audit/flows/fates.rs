//! What became of each transaction, told to the patterns.

use rustc_hash::FxHashMap;

use super::{Flows, Sight};
use crate::audit::duplicates::Names;
use crate::audit::patterns::hop::{HopPatterns, NO_TRAITS, Sent, TraitCodes, Upstream};
use crate::audit::patterns::origins::Origins;
use crate::audit::patterns::say::Subject;
use crate::audit::patterns::summary::Found;

/// What became of a transaction at a stage, for whoever looks for patterns in losses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fate {
    pub stage: usize,
    pub upstream: Sight,
    pub fate: Fated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fated {
    Matched,
    Lost,
    /// What was lost has arrived.
    Found,
}

/// What the patterns of a hop gave codes to.
#[derive(Clone, Debug, Default)]
pub(super) struct Codes {
    partitions: FxHashMap<i32, u32>,
    /// By their number, and how many header names were known then.
    traits: Vec<Option<TraitCodes>>,
    names: usize,
}

impl Codes {
    fn traits(&mut self, number: u32, origins: &Origins, patterns: &mut HopPatterns) -> TraitCodes {
        let Some(traits) = origins.get(number) else { return NO_TRAITS };
        if self.names != origins.names.len() {
            (self.traits, self.names) = (Vec::new(), origins.names.len());
        }
        let index = number as usize;
        if index >= self.traits.len() {
            self.traits.resize(index + 1, None);
        }
        *self.traits[index].get_or_insert_with(|| patterns.traits(traits, origins))
    }
}

impl Flows {
    /// Tells the patterns what became of transactions.
    pub(super) fn tell(&mut self, names: &dyn Names) {
        // What the ledger remembers of a record is not what it was.
        for Fate { stage, upstream, fate } in self.fates.drain(..).filter(|fate| !fate.upstream.is_remembered) {
            let patterns = &mut self.state.patterns[stage];
            let (_, partition) = names.name(upstream.partition);
            let Some(after) = self.flow.stages[stage].after else { continue };
            let codes = &mut self.codes[stage];
            let partition_code = *codes.partitions.entry(partition).or_insert_with(|| patterns.partition(partition));
            let origin = upstream.origin;
            let traits = codes.traits(origin.traits, &self.state.origins[after], patterns);
            let sent = Sent {
                partition,
                partition_code,
                traits,
                producer_age: origin.producer_age,
                deploy_age: origin.deploy_age,
                rank: upstream.rank,
                number: upstream.number,
                key_rank: upstream.key_rank,
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
            let Some(after) = stage.after else { continue };
            let subject = Subject {
                topic: stage.topic.clone(),
                stage: Some((self.flow.name.clone(), stage.name.clone())),
                counter: "",
                place: String::new(),
                what: "lost",
            };
            let upstream = Upstream { keys: &self.state.keys[after], times: &self.state.times[after] };
            patterns.search(&subject, follows, &upstream, found);
        }
    }
}
