//! One thing that is wrong, as a value. Its key says what it is about; as long as it is open, everything observed under
//! that key is an update of the same incident.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

impl Severity {
    pub fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

/// What an incident is about. `kind` is a finding's kind (`sequence-gap`), a lag verdict (`lag-stop`) or sordini's own
/// trouble (`audit-gap`, `unreachable`, `behind`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub group: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub partition: Option<i32>,
}

/// Something observed to be wrong now; what is no longer observed is resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    pub key: Key,
    /// One sentence with numbers.
    pub why: String,
    /// What is compared with a rule's threshold: records lost, offsets behind; 1 where nothing is counted.
    pub amount: i64,
    /// The command that shows more, ready to be pasted.
    pub command: String,
    /// Ids of the findings behind it; a few.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub findings: Vec<String>,
    /// An event that stays true (a record lost for good): open until acknowledged or until the rule's `hold` has passed.
    #[serde(default)]
    pub is_event: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Acknowledged {
    pub by: String,
    pub note: String,
    pub at_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Derived from the key and the moment of opening.
    pub id: String,
    pub observed: Observed,
    pub severity: Severity,
    /// First observed, which is earlier than opened when the rule asks for a duration.
    pub since_ms: i64,
    /// Absent while the rule's `for` has not passed.
    pub opened_ms: Option<i64>,
    pub updated_ms: i64,
    pub resolved_ms: Option<i64>,
    pub acknowledged: Option<Acknowledged>,
    pub muted_until_ms: Option<i64>,
    /// Names of the sinks it goes to.
    pub route: Vec<String>,
    pub runbook: Option<String>,
}

impl Incident {
    pub fn is_open(&self) -> bool {
        self.opened_ms.is_some() && self.resolved_ms.is_none()
    }
}
