//! Everything a verdict about one group on one partition depends on. Rules are functions of this and of nothing else, so
//! the same verdict comes from a live cluster, a recorded file and a made-up history.

use serde::{Deserialize, Serialize};

use super::figure::Figure;

/// One commit of a group on a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Next offset the group will read.
    pub offset: i64,
    /// Later commits have larger numbers: the offset of the commit's own record, or the number of the round that saw it.
    pub order: i64,
    pub timestamp_ms: i64,
    /// Offsets between the commit and the end of the log when the commit was seen.
    pub lag: Option<i64>,
    /// The group certainly had no member then, so that no consumer can have made the commit: a reset by a tool.
    #[serde(default)]
    pub by_tool: bool,
}

/// A partition's marks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub at_ms: i64,
    pub log_start: i64,
    /// Last stable offset, where it is known.
    pub stable_end: Option<i64>,
    /// High watermark.
    pub end: i64,
}

impl Mark {
    /// Where reading ends: records beyond the last stable offset are not given to committed readers.
    pub fn end_for(&self, read_committed: bool) -> i64 {
        if read_committed { self.stable_end.unwrap_or(self.end) } else { self.end }
    }
}

/// Whether somebody is there to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Membership {
    Unknown,
    /// No member at all.
    Empty,
    Rebalancing,
    /// Members share the partitions out.
    Stable,
}

#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    pub now_ms: i64,
    /// Oldest first. Never empty unless the group never committed.
    pub commits: &'a [Commit],
    /// Commits came from `__consumer_offsets`, with their own times, repetitions of the same offset included. Otherwise they
    /// are changes seen by polling, and silence and standstill look alike.
    pub exact_commits: bool,
    /// Oldest first; the last one is the newest known.
    pub marks: &'a [Mark],
    /// The group reads committed records only, and so to the last stable offset.
    pub read_committed: bool,
    pub membership: Membership,
    /// Since when the membership has been like this.
    pub membership_since_ms: i64,
    /// Whether a member owns this partition, where that is known.
    pub owned: Option<bool>,
    /// Time of the next record the group has not read yet; `now_ms` or later: nothing is left to read but markers.
    pub unread_since_ms: Figure,
    /// When the group last made progress on this partition, where that is remembered for longer than the commits are.
    pub moved_ms: Option<i64>,
    /// When the group last made progress on any other partition.
    pub sibling_moved_ms: Option<i64>,
}
