//! What is said about a group on a partition, and about a group as a whole.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Ordered from harmless to worst: a group's verdict is the largest of its partitions'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Ok,
    /// Not enough is known to say anything.
    Unknown,
    /// Falling behind: the lag grows by trend, or records wait longer than allowed.
    Warn,
    /// The group rebalances again and again.
    Flapping,
    /// The last stable offset does not move: a transaction hangs, and committed readers wait behind it.
    HangingTransaction,
    /// The group is active and other partitions move; this one does not.
    Stuck,
    /// Commits go on, the offset stays.
    Stall,
    /// No commits any more though there is something to read.
    Stop,
    /// There is something to read and no member to read it.
    NoOwner,
    /// A commit went backwards: records are read again.
    Rewind,
    /// A commit jumped over records that were never delivered.
    Skip,
    /// Retention deleted records before the group read them.
    Lost,
    /// The group vanished while it was behind.
    Gone,
    /// A group that is required does not exist.
    Absent,
}

impl Verdict {
    pub const ALL: [Verdict; 14] = [
        Verdict::Ok,
        Verdict::Unknown,
        Verdict::Warn,
        Verdict::Flapping,
        Verdict::HangingTransaction,
        Verdict::Stuck,
        Verdict::Stall,
        Verdict::Stop,
        Verdict::NoOwner,
        Verdict::Rewind,
        Verdict::Skip,
        Verdict::Lost,
        Verdict::Gone,
        Verdict::Absent,
    ];

    /// The name used in JSON, reports and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Unknown => "unknown",
            Verdict::Warn => "warn",
            Verdict::Flapping => "flapping",
            Verdict::HangingTransaction => "hanging-transaction",
            Verdict::Stuck => "stuck",
            Verdict::Stall => "stall",
            Verdict::Stop => "stop",
            Verdict::NoOwner => "no-owner",
            Verdict::Rewind => "rewind",
            Verdict::Skip => "skip",
            Verdict::Lost => "lost",
            Verdict::Gone => "gone",
            Verdict::Absent => "absent",
        }
    }

    /// Whether somebody should act: everything but ok and unknown.
    pub fn is_bad(self) -> bool {
        !matches!(self, Verdict::Ok | Verdict::Unknown)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A verdict with what it rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    pub verdict: Verdict,
    /// One sentence with the numbers that decided.
    pub why: String,
    /// The numbers the rule compared, by name with their unit as suffix: `silent_ms`, `reread_records`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub numbers: BTreeMap<String, i64>,
    /// First and last moment that was looked at, milliseconds since 1970.
    pub window_ms: (i64, i64),
}

impl Judgement {
    pub fn new(verdict: Verdict, why: String, numbers: &[(&str, i64)], window_ms: (i64, i64)) -> Self {
        let numbers = numbers.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        Self { verdict, why, numbers, window_ms }
    }
}
