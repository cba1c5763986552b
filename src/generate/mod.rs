//! Traffic with known faults, the truth about them, and the score of an audit's findings against that truth.
//!
//! ```text
//! fault    what can be asked for: `lose=0.1%`, `duplicate-far=0.01%`, …
//! layout   which record stands where: sessions, numbers, partitions, times, content; pure arithmetic
//! pace     when the next fault of a rate is due
//! worker   a flow's second stage, which answers the plan's records and fails in silence
//! plan     the records in the order of the log, with the faults put in; pure, seeded, streaming
//! truth    what was really done, as JSON
//! pattern  what the faults have in common, as the truth tells it
//! lines    a plan as JSON lines
//! kafka    a plan sent to a cluster
//! flow     the settings that `sordini flows` needs to judge it
//! score    findings against the truth
//! ```
//!
//! The plan decides everything, so a file and a topic made from the same seed hold the same records in the same order
//! per session. This module must not know how the audit finds a fault: the truth speaks of sessions, numbers and
//! positions, and the score compares those.

pub mod fault;
pub mod flow;
pub mod kafka;
mod layout;
pub mod lines;
pub mod options;
mod pace;
pub mod pattern;
pub mod plan;
pub mod score;
pub mod truth;
mod worker;

#[cfg(test)]
mod tests;

pub use fault::{Fault, FaultError};
pub use options::{FlowOptions, Options, OptionsError};
pub use plan::{Plan, Planned};
pub use score::Score;
pub use truth::Truth;

/// Why traffic could not be written or sent.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    #[error(transparent)]
    Options(#[from] OptionsError),
    #[error("{0}")]
    Mode(String),
    #[error("cannot write: {0}")]
    Io(#[from] std::io::Error),
    #[error("topic {topic} has {found} partitions, but {wanted} are asked for; add partitions, or ask for fewer")]
    TooFewPartitions { topic: String, found: usize, wanted: i32 },
    #[error("{what}: {source}; {hint}")]
    Kafka { what: String, source: rdkafka::error::KafkaError, hint: &'static str },
    #[error("{0}; what reached the topic is incomplete, so send to a new topic")]
    Delivery(String),
}
