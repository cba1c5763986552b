//! A figure is a number or the reason why there is none. No path from an error ends in 0, −1 or NaN.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a figure is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unknown {
    /// The group never committed an offset here, or its commit expired.
    NeverCommitted,
    NoLeader,
    /// Leader or coordinator could not be reached.
    Unreachable,
    /// This user may not ask.
    Denied,
    NoSuchTopic,
    /// The commit belongs to an earlier topic of this name, or to a part of the log that is gone.
    OtherLog,
    /// More rounds are needed.
    NotYet,
    /// sordini does not read this topic.
    NotRead,
    /// Does not apply to a group of this kind.
    NotApplicable,
    /// Older than what is kept of the log's past.
    BeyondHistory,
    /// The broker is too old to say.
    TooOld,
    /// Kafka's error code.
    Broker(i16),
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Unknown::NeverCommitted => "the group has committed nothing here",
            Unknown::NoLeader => "the partition has no leader",
            Unknown::Unreachable => "the broker to ask cannot be reached",
            Unknown::Denied => "this user may not ask",
            Unknown::NoSuchTopic => "there is no such topic",
            Unknown::OtherLog => "the commit lies beyond the end of the log",
            Unknown::NotYet => "not observed long enough",
            Unknown::NotRead => "sordini does not read this topic",
            Unknown::NotApplicable => "does not apply to this kind of group",
            Unknown::BeyondHistory => "older than what was observed",
            Unknown::TooOld => "the broker is too old to say",
            Unknown::Broker(code) => return write!(f, "the broker answered with error {code}"),
        };
        f.write_str(text)
    }
}

/// A number, or why there is none.
pub type Figure<T = i64> = Result<T, Unknown>;
