//! What became of each transaction, told to the patterns.

use super::{Flows, Sight};
use crate::audit::duplicates::Names;
use crate::audit::patterns::attribution::UNKNOWN;
use crate::audit::patterns::hop::{Sent, Upstream};
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

/// What the patterns have a code for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Named {
    Partition(i32),
    Producer(i64),
}

impl Flows {
    /// Tells the patterns what became of transactions.
    pub(super) fn tell(&mut self, names: &dyn Names) {
        // What the ledger remembers of a record is not what it was.
        for Fate { stage, upstream, fate } in self.fates.drain(..).filter(|fate| !fate.upstream.is_remembered) {
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
