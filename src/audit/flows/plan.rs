//! What a flow is: its stages, and the rule between each stage and the one it comes after.

use serde::{Deserialize, Serialize};

/// Stages are numbered by a byte.
pub const MOST_STAGES: usize = 32;

/// How often a transaction that was seen upstream must be seen at a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    ExactlyOne,
    AtLeastOne,
    Optional,
    /// At exactly one of the stages that share this number.
    OneOf(u8),
    /// So many records, whose amounts add up to the upstream's.
    FanOut(u32),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slo {
    pub latency_ms: i64,
    /// Share of transactions that must be as fast, such as 0.999.
    pub objective: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    pub name: String,
    pub topic: String,
    /// The stage upstream; none for the first.
    pub after: Option<usize>,
    pub rule: Rule,
    /// How long after the upstream the stage may take, milliseconds.
    pub deadline_ms: i64,
    pub slo: Option<Slo>,
    /// Names of what must agree with the upstream, in the order of the stage's rules.
    pub agree: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    pub name: String,
    pub stages: Vec<Stage>,
    /// How far an effect's time may lie before its cause's: clocks differ.
    pub clock_bound_ms: i64,
    /// Transactions under way that are held at most.
    pub most_open: usize,
}

impl Flow {
    /// The stage a topic is.
    pub fn stage_of(&self, topic: &str) -> Option<usize> {
        self.stages.iter().position(|stage| stage.topic == topic)
    }

    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.stages.iter().map(|stage| stage.topic.as_str())
    }
}
