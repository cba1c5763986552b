//! Burrow's evaluator (linkedin/Burrow 1.9), its defects included, for those who tuned their alerts to it. What it gets
//! wrong is mended in `rules`, never here.
//!
//! The rules look at a ring of commits, in this order: lag within bounds, stop, rewind, caught up once, stall, rising lag.

mod live;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::verdict::Verdict;
use super::window::Commit;
use crate::report::format::{duration, plural, thousands};

pub use live::{judge, judge_input};

/// Burrow's settings under Burrow's names, with its defaults.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Settings {
    /// Slots of the ring of commits, and of end offsets looked at.
    pub intervals: usize,
    /// Commits closer than this many seconds share a slot.
    pub min_distance: i64,
    /// Seconds between two looks at the end offsets.
    pub offset_refresh: i64,
    /// Share of the ring that must be filled before anything is judged.
    pub minimum_complete: f64,
    /// Offsets behind that are never trouble.
    pub allowed_lag: i64,
    /// Seconds after the last commit at which the group is forgotten.
    pub expire_group: i64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            intervals: 10,
            min_distance: 0,
            offset_refresh: 10,
            minimum_complete: 0.0,
            allowed_lag: 0,
            expire_group: 604_800,
        }
    }
}

/// In Burrow's own order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    NotFound,
    Ok,
    Warn,
    Err,
    Stop,
    Stall,
    Rewind,
}

impl Status {
    /// As Burrow prints it.
    pub fn name(self) -> &'static str {
        match self {
            Status::NotFound => "NOTFOUND",
            Status::Ok => "OK",
            Status::Warn => "WARN",
            Status::Err => "ERR",
            Status::Stop => "STOP",
            Status::Stall => "STALL",
            Status::Rewind => "REWIND",
        }
    }

    /// The same in sordini's words. ERR is only ever said of a group, whose worst partition tells more.
    pub fn verdict(self) -> Verdict {
        match self {
            Status::NotFound => Verdict::Unknown,
            Status::Ok => Verdict::Ok,
            Status::Warn => Verdict::Warn,
            Status::Err | Status::Stop => Verdict::Stop,
            Status::Stall => Verdict::Stall,
            Status::Rewind => Verdict::Rewind,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What Burrow's evaluator is given about one partition.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The filled slots of the ring, oldest first.
    pub commits: &'a [Commit],
    /// The newest end offsets of the partition; their order does not matter.
    pub broker_end_offsets: &'a [i64],
    /// Newest end offset less the last commit; never negative.
    pub current_lag: i64,
    pub now_ms: i64,
    pub allowed_lag: i64,
}

/// The rule that decided, with the numbers it compared. Put into words only when somebody reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    NoCommits,
    Incomplete { filled: usize, slots: usize },
    WithinLag { lag: i64, allowed: i64 },
    Silent { silent_ms: i64, span_ms: i64, lag: i64 },
    Back { from: i64, to: i64 },
    WasCaughtUp { lag: i64 },
    AllEqual { offset: i64, commits: usize },
    NeverFell { from: i64, to: i64 },
    FellOnce,
    Expired { silent_ms: i64 },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |n: i64| thousands(n.unsigned_abs());
        let time = |ms: i64| duration(ms.max(0).unsigned_abs());
        match *self {
            Reason::NoCommits => f.write_str("no commit is known"),
            Reason::Incomplete { filled, slots } => {
                write!(f, "only {filled} of {} are filled", plural(slots as u64, "interval"))
            }
            Reason::WithinLag { lag, allowed } => {
                write!(f, "the lag of {} is not above the allowed {}", count(lag), count(allowed))
            }
            Reason::Silent { silent_ms, span_ms, lag } => write!(
                f,
                "no commit for {} though {} unread; all commits known span {}",
                time(silent_ms),
                match lag {
                    1 => "1 offset is".to_owned(),
                    lag => format!("{} offsets are", count(lag)),
                },
                time(span_ms)
            ),
            Reason::Back { from, to } => {
                write!(f, "a commit went back from {from} to {to}, and no later one has reached {from} again")
            }
            Reason::WasCaughtUp { lag } => write!(f, "the lag was {} at one of the commits", count(lag)),
            Reason::AllEqual { offset, commits } => {
                write!(f, "{} in a row at offset {offset} while records are unread", plural(commits as u64, "commit"))
            }
            Reason::NeverFell { from, to } => {
                write!(
                    f,
                    "the lag never fell from one commit to the next: {} at first, {} at last",
                    count(from),
                    count(to)
                )
            }
            Reason::FellOnce => f.write_str("the lag fell at least once"),
            Reason::Expired { silent_ms } => {
                write!(f, "no commit for {}: Burrow has forgotten the group", time(silent_ms))
            }
        }
    }
}

/// Rules 1 to 7 on the filled slots of a ring.
pub fn evaluate(input: &Input<'_>) -> (Status, Reason) {
    let Input { commits, current_lag, allowed_lag, .. } = *input;
    let (Some(first), Some(last)) = (commits.first(), commits.last()) else { return (Status::Ok, Reason::NoCommits) };
    if current_lag <= allowed_lag {
        return (Status::Ok, Reason::WithinLag { lag: current_lag, allowed: allowed_lag });
    }
    // Burrow's clock has whole seconds here, its commits have milliseconds.
    let now_ms = input.now_ms.div_euclid(1000).saturating_mul(1000);
    let silent_ms = now_ms.saturating_sub(last.timestamp_ms);
    let span_ms = last.timestamp_ms.saturating_sub(first.timestamp_ms);
    let was_caught_up_lately = input.broker_end_offsets.iter().any(|end| *end <= last.offset);
    if silent_ms > span_ms && !was_caught_up_lately {
        return (Status::Stop, Reason::Silent { silent_ms, span_ms, lag: current_lag });
    }
    if let Some((from, to)) = first_rewind(commits) {
        return (Status::Rewind, Reason::Back { from, to });
    }
    if let Some(lag) = commits.iter().filter_map(|commit| commit.lag).find(|lag| *lag <= allowed_lag) {
        return (Status::Ok, Reason::WasCaughtUp { lag });
    }
    if commits.iter().all(|commit| commit.offset == first.offset) {
        return (Status::Stall, Reason::AllEqual { offset: first.offset, commits: commits.len() });
    }
    let mut known = commits.iter().filter_map(|commit| commit.lag);
    let from = known.next().unwrap_or(current_lag);
    let mut to = from;
    for lag in known {
        if lag < to {
            return (Status::Ok, Reason::FellOnce);
        }
        to = lag;
    }
    (Status::Warn, Reason::NeverFell { from, to })
}

/// The first step back, unless a later commit reached where it began. Further ones are not looked at.
fn first_rewind(commits: &[Commit]) -> Option<(i64, i64)> {
    let at = commits.windows(2).position(|pair| pair[1].offset < pair[0].offset)?;
    let (from, to) = (commits[at].offset, commits[at + 1].offset);
    let has_recovered = commits[at + 1..].iter().any(|commit| commit.offset >= from);
    (!has_recovered).then_some((from, to))
}

/// How much of the ring is filled, between 0 and 1.
pub fn complete(filled: usize, slots: usize) -> f64 {
    if slots == 0 { 1.0 } else { (filled.min(slots)) as f64 / slots as f64 }
}

/// The status of a group from its partitions' status and completeness, and the share of partitions with a full ring.
/// `None`: the group is not known.
pub fn group(partitions: Option<&[(Status, f64)]>) -> (Status, f64) {
    let Some(partitions) = partitions else { return (Status::NotFound, 1.0) };
    let worst = partitions.iter().map(|(status, _)| *status).max().unwrap_or(Status::Ok).max(Status::Ok);
    let full = partitions.iter().filter(|(_, complete)| *complete >= 1.0).count();
    let share = if partitions.is_empty() { 0.0 } else { full as f64 / partitions.len() as f64 };
    (worst.min(Status::Err), share)
}
