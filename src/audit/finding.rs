//! One anomaly as a value: what it is, where, how sure, and the evidence. The JSON form is the contract scripts rely
//! on: fields are added, never renamed.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use xxhash_rust::xxh3::Xxh3;

/// The anomalies sordini knows by name. See `docs/checks.md` for each definition and its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Numbers of one session missing between two seen ones after the waiting time.
    SequenceGap,
    /// A session's first number lies above its declared start though reading began before it.
    HeadLoss,
    /// A session's last number lies below its declared end.
    TailLoss,
    /// Offsets missing inside the range read, without an explanation.
    OffsetGap,
    /// Records read before are no longer in the log of the same topic id.
    Truncation,
    /// The log start passed the auditor's own position.
    RetentionOverrun,
    /// One identity at two or more positions with equal checksum.
    Duplicate,
    /// One identity with different checksums.
    Conflict,
    /// A number below the next expected one (RFC 4737), duplicates and late arrivals excluded.
    Reorder,
    /// Create time falls by more than the bound, or append time falls at all.
    TimestampRegression,
    /// A batch whose CRC-32C does not match its bytes, or whose records do not parse.
    ChecksumFailure,
    /// The leader epoch (or a producer's epoch) falls along a partition.
    EpochRegression,
    /// The topic id changed, or the topic is gone.
    TopicReset,
    /// A transaction did not reach the next stage of its flow in time.
    MissingStage,
    /// A record of a flow without its cause, or before it.
    UnexpectedRecord,
    /// Two stages of a flow disagree on what they must agree on.
    StageMismatch,
    /// Losses sit on one residue of a counter: every nth.
    PeriodicLoss,
    /// Losses sit on one value of a dimension.
    DimensionalLoss,
    /// Losses in longer runs than independence allows (RFC 3357).
    Burst,
    /// Many identities repeated at the same fixed delays: retries without jitter.
    RetryComb,
    /// In the first of two stores and not in the second.
    Missing,
    /// In the second of two stores and not in the first.
    Extra,
    /// In both stores with other content.
    Differs,
    /// In both stores; the second holds an older version.
    Stale,
    /// A sum that both stores must agree on, or that must be nothing in each, and is not so.
    Imbalance,
    /// What a change event says its row was before is not what the event before it left.
    LostChange,
    /// sordini itself missed a range or dropped state.
    AuditGap,
}

impl Kind {
    /// In what two stores can differ.
    pub const OF_STORES: [Kind; 5] = [Kind::Missing, Kind::Extra, Kind::Differs, Kind::Stale, Kind::Imbalance];

    pub const ALL: [Kind; 27] = [
        Kind::SequenceGap,
        Kind::HeadLoss,
        Kind::TailLoss,
        Kind::OffsetGap,
        Kind::Truncation,
        Kind::RetentionOverrun,
        Kind::Duplicate,
        Kind::Conflict,
        Kind::Reorder,
        Kind::TimestampRegression,
        Kind::ChecksumFailure,
        Kind::EpochRegression,
        Kind::TopicReset,
        Kind::MissingStage,
        Kind::UnexpectedRecord,
        Kind::StageMismatch,
        Kind::PeriodicLoss,
        Kind::DimensionalLoss,
        Kind::Burst,
        Kind::RetryComb,
        Kind::Missing,
        Kind::Extra,
        Kind::Differs,
        Kind::Stale,
        Kind::Imbalance,
        Kind::LostChange,
        Kind::AuditGap,
    ];

    /// What an audit of topics can find.
    pub fn of_audits() -> impl Iterator<Item = Kind> {
        let is_of_comparisons = |kind: &Kind| Kind::OF_STORES.contains(kind) || *kind == Kind::LostChange;
        Kind::ALL.into_iter().filter(move |kind| !is_of_comparisons(kind))
    }

    /// The name used in JSON, reports and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Kind::SequenceGap => "sequence-gap",
            Kind::HeadLoss => "head-loss",
            Kind::TailLoss => "tail-loss",
            Kind::OffsetGap => "offset-gap",
            Kind::Truncation => "truncation",
            Kind::RetentionOverrun => "retention-overrun",
            Kind::Duplicate => "duplicate",
            Kind::Conflict => "conflict",
            Kind::Reorder => "reorder",
            Kind::TimestampRegression => "timestamp-regression",
            Kind::ChecksumFailure => "checksum-failure",
            Kind::EpochRegression => "epoch-regression",
            Kind::TopicReset => "topic-reset",
            Kind::MissingStage => "missing-stage",
            Kind::UnexpectedRecord => "unexpected-record",
            Kind::StageMismatch => "stage-mismatch",
            Kind::PeriodicLoss => "periodic-loss",
            Kind::DimensionalLoss => "dimensional-loss",
            Kind::Burst => "burst",
            Kind::RetryComb => "retry-comb",
            Kind::Missing => "missing",
            Kind::Extra => "extra",
            Kind::Differs => "differs",
            Kind::Stale => "stale",
            Kind::Imbalance => "imbalance",
            Kind::LostChange => "lost-change",
            Kind::AuditGap => "audit-gap",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How sure a verdict is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grade {
    /// The evidence is in the finding.
    Proven,
    /// Still inside the waiting time, or the identity is weak.
    Possible,
    /// Not observed.
    Unknown,
}

impl Grade {
    pub fn name(self) -> &'static str {
        match self {
            Grade::Proven => "proven",
            Grade::Possible => "possible",
            Grade::Unknown => "unknown",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    Open,
    Resolved,
}

/// A half-open range `[from, until)` of offsets or session numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Span {
    pub from: i64,
    pub until: i64,
}

impl Span {
    pub fn new(from: i64, until: i64) -> Self {
        Self { from, until }
    }

    pub fn len(&self) -> u64 {
        self.until.saturating_sub(self.from).max(0) as u64
    }

    pub fn is_empty(&self) -> bool {
        self.until <= self.from
    }
}

/// Which rung of the identity ladder made two records "the same".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rung {
    /// An explicit id: key, header, JSON pointer, CloudEvents (source, id), Debezium source position.
    Id,
    /// (producer id, epoch, sequence).
    Producer,
    /// Application session and number.
    Session,
    /// Equal contents: only a possible duplicate.
    Content,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub rung: Rung,
    /// Keyed hash in hexadecimal, 32 digits.
    pub hash: String,
    /// In clear only with `--show-keys`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub value: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since 1970. From the ledger it is exact to the second.
    pub timestamp: i64,
    /// XXH3-64 of key and value, 16 hexadecimal digits.
    pub checksum: String,
}

impl Sighting {
    pub fn new(topic: &str, partition: i32, offset: i64, timestamp: i64, checksum: u64) -> Self {
        Self { topic: topic.to_owned(), partition, offset, timestamp, checksum: format!("{checksum:016x}") }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// 16 hexadecimal digits, derived from what the finding says: the same anomaly has the same id in every run.
    pub id: String,
    pub kind: Kind,
    pub grade: Grade,
    pub state: State,
    pub topic: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub partition: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub offsets: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub session: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub numbers: Option<Span>,
    /// How many records the finding speaks of.
    pub count: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub identity: Option<Identity>,
    /// Where two stores are compared: the key, by column.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<Map<String, Value>>,
    /// The columns that differ, each with `expected` and `actual`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub columns: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub sightings: Vec<Sighting>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cause: Option<String>,
    /// Milliseconds since 1970, in the time of the records.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first_seen: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_seen: Option<i64>,
    /// One sentence that explains the finding.
    pub why: String,
    #[serde(skip_serializing_if = "Map::is_empty", default)]
    pub evidence: Map<String, Value>,
}

impl Finding {
    /// Where stores are compared: the bucket of the key.
    pub fn bucket(&self) -> Option<usize> {
        self.evidence.get("bucket")?.as_u64().map(|bucket| bucket as usize)
    }

    /// A proven, open finding about one topic. `says` is what makes it this finding and no other: its id is a hash of
    /// the kind, the topic and these parts.
    pub fn new(kind: Kind, topic: &str, says: &[&dyn fmt::Display], why: String) -> Self {
        Self {
            id: derive_id(kind, topic, says),
            kind,
            grade: Grade::Proven,
            state: State::Open,
            topic: topic.to_owned(),
            partition: None,
            offsets: None,
            session: None,
            numbers: None,
            count: 1,
            identity: None,
            key: None,
            columns: None,
            sightings: Vec::new(),
            cause: None,
            first_seen: None,
            last_seen: None,
            why,
            evidence: Map::new(),
        }
    }

    pub fn evidence(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.evidence.insert(name.to_owned(), value.into());
        self
    }

    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }
}

/// The id of a finding of this kind that says this.
pub fn derive_id(kind: Kind, topic: &str, says: &[&dyn fmt::Display]) -> String {
    let mut hash = Xxh3::new();
    hash.update(kind.name().as_bytes());
    hash.update(&[0]);
    hash.update(topic.as_bytes());
    for part in says {
        hash.update(&[0]);
        hash.update(part.to_string().as_bytes());
    }
    format!("{:016x}", hash.digest())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_depends_on_every_part_and_on_their_borders() {
        let id = |says: &[&dyn fmt::Display]| Finding::new(Kind::Duplicate, "t", says, String::new()).id;
        assert_eq!(id(&[&"a", &1]), id(&[&"a", &1]));
        assert_ne!(id(&[&"a", &1]), id(&[&"a", &2]));
        assert_ne!(id(&[&"ab", &"c"]), id(&[&"a", &"bc"]));
    }

    #[test]
    fn names_match_their_json_form() {
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), Value::from(kind.name()));
        }
    }
}
