//! What is known now: made at the end of each round, immutable, shared by table, metrics, API and page.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::facts::{GroupKind, GroupState};
use super::figure::{Figure, Unknown};
use super::verdict::{Judgement, Verdict};
use super::window::Mark;

/// How the time lag was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Nothing is unread.
    CaughtUp,
    /// The next unread record was fetched.
    Record,
    /// sordini reads the topic itself and remembers times by offset.
    Index,
    /// From when earlier rounds saw the end pass the committed offset: between two rounds.
    Rounds,
}

impl Method {
    pub fn name(self) -> &'static str {
        match self {
            Method::CaughtUp => "caught-up",
            Method::Record => "record",
            Method::Index => "index",
            Method::Rounds => "rounds",
        }
    }
}

/// Age of the next unread record, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeLag {
    pub ms: i64,
    /// The truth lies between these; equal to `ms` when it is not estimated.
    pub at_least_ms: i64,
    pub at_most_ms: i64,
    pub method: Method,
}

/// A point of the lag curve: (milliseconds since 1970, offsets behind).
pub type Point = (i64, i64);

/// One group on one partition.
#[derive(Clone, Debug)]
pub struct PartitionLag {
    pub topic: Arc<str>,
    pub partition: i32,
    pub judgement: Judgement,
    pub committed: Figure,
    pub log_start: Figure,
    pub stable_end: Figure,
    pub end: Figure,
    /// Offsets from max(committed, log start) to the end the group reads to.
    pub lag: Figure,
    /// Records really left to read: no markers, no holes.
    pub record_lag: Figure,
    pub time: Figure<TimeLag>,
    /// Offsets that retention took below the commit, now.
    pub lost: Figure,
    /// Offsets lost to retention since sordini began to look, all events together.
    pub lost_total: i64,
    /// Client id and host of the member that owns the partition.
    pub owner: Option<(Arc<str>, Arc<str>)>,
    pub commits: u32,
    pub last_commit_ms: Option<i64>,
}

/// When something is expected, with what it assumes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// `catches-up`, `retention-overtakes`, `retention-fills`, `volume-fills`.
    pub what: String,
    /// Milliseconds since 1970; absent: never, as things go.
    pub at_ms: Option<i64>,
    pub assumption: String,
    /// Mean error of the last forecasts of this kind that came due, as a share of their distance.
    pub past_error: Option<f64>,
}

/// A verdict that changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    pub at_ms: i64,
    pub verdict: Verdict,
    pub why: String,
}

#[derive(Clone, Debug)]
pub struct GroupLag {
    pub group: Arc<str>,
    pub kind: GroupKind,
    pub state: Figure<GroupState>,
    pub members: Figure<usize>,
    /// Whether its commits could be read.
    pub offsets: Figure<()>,
    /// The worst partition's, or what is true of the group as a whole.
    pub judgement: Judgement,
    /// Sums and maxima over the partitions that are known; unknown when none is.
    pub lag: Figure,
    pub record_lag: Figure,
    pub max_lag: Figure,
    pub max_time_ms: Figure,
    /// Partitions with a judgement other than unknown, of all that have a commit or an owner.
    pub evaluated: usize,
    pub expected: usize,
    pub read_committed: bool,
    /// The isolation level was not configured.
    pub isolation_is_guess: bool,
    pub partitions: Vec<PartitionLag>,
    /// Oldest first; bounded.
    pub history: Vec<Change>,
    pub curve: Vec<Point>,
    pub forecasts: Vec<Forecast>,
}

impl GroupLag {
    /// Something that has to do with asking, not with the group, kept figures away.
    pub fn could_not_be_asked(&self) -> bool {
        let is_trouble = |why: Unknown| {
            matches!(why, Unknown::Denied | Unknown::Unreachable | Unknown::NoLeader | Unknown::Broker(_))
        };
        let of = |p: &PartitionLag| p.lag.err().is_some_and(is_trouble) || p.committed.err().is_some_and(is_trouble);
        self.offsets.err().is_some_and(is_trouble) || self.partitions.iter().any(of)
    }
}

/// A partition, whoever reads it.
#[derive(Clone, Debug)]
pub struct PartitionMarks {
    pub topic: Arc<str>,
    pub partition: i32,
    pub log_start: Figure,
    pub stable_end: Figure,
    pub end: Figure,
    /// Set while the last stable offset stands still below the end for longer than allowed.
    pub hanging: Option<Judgement>,
    /// The oldest and the newest of the rounds that are remembered.
    pub span: Option<(Mark, Mark)>,
    /// When the log no longer covers its retention, where records are deleted ahead of plan.
    pub forecast: Option<Forecast>,
}

/// A volume on which a broker keeps logs.
#[derive(Clone, Debug)]
pub struct VolumeRoom {
    pub broker: i32,
    pub path: Arc<str>,
    pub total_bytes: i64,
    pub usable_bytes: i64,
    /// When it is full.
    pub forecast: Option<Forecast>,
}

/// Something that happened once, and that no later round can take back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Happened {
    pub at_ms: i64,
    pub verdict: Verdict,
    pub group: Arc<str>,
    pub topic: Arc<str>,
    pub partition: i32,
    /// Offsets it is about, half-open.
    pub from: i64,
    pub until: i64,
    pub why: String,
}

#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// End of the round, milliseconds since 1970; 0 before the first one.
    pub at_ms: i64,
    pub cluster: String,
    /// By group.
    pub groups: Vec<GroupLag>,
    /// By topic and partition.
    pub partitions: Vec<PartitionMarks>,
    /// By broker and path.
    pub volumes: Vec<VolumeRoom>,
    /// What this round found to have happened.
    pub happened: Vec<Happened>,
    pub troubles: Vec<String>,
    pub round: Round,
}

/// What a round cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Round {
    pub number: u64,
    pub seconds: f64,
    pub requests: u64,
    pub evaluated: usize,
    pub expected: usize,
}
