//! Transactions under way: where each was seen, in tens of bytes.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::plan::{Flow, Rule};
use crate::audit::patterns::counts::keys::KeyRank;
use crate::audit::patterns::origins::Origin;
use crate::identify::steps::Step;

/// One stage's sight of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    pub offset: i64,
    /// The record's own time, milliseconds.
    pub timestamp: i64,
    /// Stream time of its partition when it was read.
    pub stream_time: i64,
    /// How many records were observed on the partition before it.
    pub rank: u64,
    /// How many of its key's records the stage had before it, where somebody counts them.
    pub key_rank: Option<KeyRank>,
    /// The engine's number of the partition.
    pub partition: u32,
    /// Records of the transaction at this stage.
    pub count: u32,
    pub stage: u8,
    /// log₂ of the value's size in bytes.
    pub size: u8,
    /// Hash of what must agree, and 8 bits of each of its first four parts.
    pub agree: u64,
    pub lanes: u32,
    pub key: u32,
    /// Sum over the records, in millionths.
    pub amount: Option<i64>,
    /// The transaction's own number, where it has one.
    pub number: Option<i64>,
    pub checksum: u64,
    pub origin: Origin,
    /// Only the ledger knows of it: place and time, nothing of what must agree.
    pub is_remembered: bool,
}

impl Sight {
    pub fn of(step: &Step, stage: u8, partition: u32) -> Self {
        Self {
            offset: step.offset,
            timestamp: step.timestamp,
            stream_time: step.stream_time,
            rank: step.rank,
            key_rank: None,
            partition,
            count: 1,
            stage,
            size: step.size,
            agree: step.agree,
            lanes: step.lanes,
            key: step.key,
            amount: step.amount,
            number: step.number,
            checksum: step.checksum,
            origin: Origin::default(),
            is_remembered: false,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// In the order they came.
    pub sights: SmallVec<[Sight; 1]>,
}

/// What a transaction still lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// A stage that must see it, after one that did.
    Stage { stage: usize, upstream: Sight },
    /// The cause of what a stage saw.
    Cause { stage: usize, upstream: usize, effect: Sight },
    /// A stage that may see it or not.
    Nothing { until_ms: i64, stage: usize },
}

impl Open {
    pub fn at(&self, stage: usize) -> Option<&Sight> {
        self.sights.iter().find(|sight| usize::from(sight.stage) == stage)
    }

    pub fn at_mut(&mut self, stage: usize) -> Option<&mut Sight> {
        self.sights.iter_mut().find(|sight| usize::from(sight.stage) == stage)
    }

    pub fn oldest(&self) -> i64 {
        self.sights.iter().map(|sight| sight.stream_time).min().unwrap_or(i64::MAX)
    }

    /// The first thing that is missing along the flow; `None`: it is complete.
    pub fn lacks(&self, flow: &Flow) -> Option<Lack> {
        let mut optional = None;
        for (number, stage) in flow.stages.iter().enumerate() {
            let Some(after) = stage.after else { continue };
            match (self.at(after), self.at(number)) {
                (Some(upstream), here) => match stage.rule {
                    Rule::Optional if here.is_none() => {
                        let until_ms = upstream.stream_time.saturating_add(stage.deadline_ms);
                        optional = optional.or(Some(Lack::Nothing { until_ms, stage: number }));
                    }
                    _ if is_enough(stage.rule, here) || self.is_elsewhere(flow, number) => {}
                    _ => return Some(Lack::Stage { stage: number, upstream: *upstream }),
                },
                (None, Some(effect)) => {
                    return Some(Lack::Cause { stage: number, upstream: after, effect: *effect });
                }
                (None, None) => {}
            }
        }
        optional
    }

    /// Another branch of a choice has it.
    fn is_elsewhere(&self, flow: &Flow, stage: usize) -> bool {
        let Rule::OneOf(choice) = flow.stages[stage].rule else { return false };
        let others =
            flow.stages.iter().enumerate().filter(|(other, s)| *other != stage && s.rule == Rule::OneOf(choice));
        others.into_iter().any(|(other, _)| self.at(other).is_some())
    }
}

fn is_enough(rule: Rule, here: Option<&Sight>) -> bool {
    let count = here.map_or(0, |sight| sight.count);
    let is_remembered = here.is_some_and(|sight| sight.is_remembered);
    match rule {
        Rule::Optional => true,
        Rule::ExactlyOne | Rule::AtLeastOne | Rule::OneOf(_) => count >= 1,
        // What the ledger remembers of a stage with many records is not how many there were.
        Rule::FanOut(records) => count >= records || is_remembered,
    }
}
