//! What a report says of the search for patterns itself: "none found" must mean something.

use serde::{Deserialize, Serialize};

use super::periodic::Limits;
use super::search::Counter;

/// A counter that was searched for periods, and what would have been found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Searched {
    pub topic: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stage: Option<String>,
    pub counter: String,
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub of: String,
    pub what: String,
    /// Records that the counter does not cover.
    #[serde(skip_serializing_if = "is_none", default)]
    pub uncovered: u64,
    pub limits: Limits,
}

fn is_none(count: &u64) -> bool {
    *count == 0
}

impl Searched {
    pub fn new(counter: &Counter, limits: Limits) -> Self {
        let subject = &counter.subject;
        Self {
            topic: subject.topic.clone(),
            stage: subject.stage.as_ref().map(|(_, stage)| stage.clone()),
            counter: subject.counter.to_owned(),
            of: subject.place.clone(),
            what: subject.what.to_owned(),
            uncovered: counter.uncovered,
            limits,
        }
    }
}

/// Everything that was found in losses, and where it was looked for.
#[derive(Default)]
pub struct Found {
    pub findings: Vec<crate::audit::finding::Finding>,
    pub searched: Vec<Searched>,
}
