//! From findings, coverage and figures to one verdict and its exit code.

use serde::{Deserialize, Serialize};

use super::coverage::{Coverage, Hole, Strip};
use super::drift::{DriftSummary, PairSummary};
use super::finding::{Finding, Grade, Kind, State};
use super::flows::summary::FlowSummary;
use super::partition::PartitionState;
use super::patterns::summary::Searched;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// All that was asked was read, and nothing is wrong.
    Clean,
    /// At least one proven, open finding.
    Findings,
    /// Something could not be read, or nothing was.
    Unverified,
    /// Only possible findings, holes nobody can explain through this client, or a budget ran out.
    Inconclusive,
}

impl Verdict {
    pub fn exit(self) -> u8 {
        match self {
            Verdict::Clean => 0,
            Verdict::Findings => 1,
            Verdict::Unverified => 2,
            Verdict::Inconclusive => 3,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Verdict::Clean => "clean",
            Verdict::Findings => "findings",
            Verdict::Unverified => "unverified",
            Verdict::Inconclusive => "inconclusive",
        }
    }
}

/// The counted numbers of a run. Loss follows RFC 7680, duplication RFC 5560, reordering RFC 4737 and RFC 5236; loss
/// and duplication never cancel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Figures {
    /// Records observed (committed view: aborted and control records are holes).
    pub records: u64,
    /// Bytes of the batches read, as they came from the source.
    pub bytes: u64,
    pub batches: u64,
    /// Numbers of a session not seen after the waiting time.
    pub lost: u64,
    /// Σ (arrivals − 1) over identities with equal content.
    pub duplicated: u64,
    /// Arrivals whose identity was known with other content.
    pub conflicting: u64,
    /// Numbers below the next expected one, duplicates and late ones excluded (RFC 4737 §4.2).
    pub reordered: u64,
    /// Arrived after the waiting time, reversing a gap.
    pub late: u64,
    /// Sessions that began again at their start with new content.
    pub resets: u64,
    /// Sessions seen: application sessions, or producer ids with their epochs.
    pub sessions: u64,
    /// Offsets missing without an explanation.
    pub unexplained: u64,
    /// Records on which the identify rule did not fit; the first few are listed in `samples`.
    pub unidentified: u64,
    /// Identities kept in the ledger by this audit.
    pub sightings: u64,
    /// n-reordering (RFC 4737 §5.1): entry n−1 counts the records that are n-reordered; the last entry all beyond.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub n_reordering: Vec<u64>,
    /// Reorder density (RFC 5236): (displacement, records), displacement 0 left out; ±64 stands for all beyond.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reorder_density: Vec<(i32, u64)>,
}

/// A part that was asked for and not read, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unread {
    pub topic: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub partition: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub until: Option<i64>,
    /// What happened and what to do.
    pub why: String,
}

/// Why a part was not read to its end that somebody stopped.
pub const STOPPED: &str = "stopped before its end";

impl Unread {
    /// `failed`: why its reader gave the partition up.
    pub fn of_partition(state: &PartitionState, coverage: &Coverage, failed: Option<&str>, stopped: bool) -> Vec<Self> {
        let part = |span: Option<(i64, i64)>, why: &str| Self {
            topic: state.topic.clone(),
            partition: Some(state.partition),
            from: span.map(|(from, _)| from),
            until: span.map(|(_, until)| until),
            why: why.to_owned(),
        };
        let damaged = &state.offsets.damaged;
        let mut parts: Vec<Self> = damaged.iter().map(|(span, why)| part(Some((span.from, span.until)), why)).collect();
        let left = (coverage.holes.unfetched > 0).then_some((state.offsets.position, coverage.until));
        let ended = if stopped { STOPPED } else { "its reader ended early; see the other messages" };
        parts.extend(failed.or(left.map(|_| ended)).map(|why| part(left, why)));
        parts
    }
}

/// Kinds of anomaly that this audit could not have found on a topic, and why. That none was found means something for
/// all others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotChecked {
    pub topic: String,
    pub kinds: Vec<Kind>,
    pub why: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub verdict: Verdict,
    pub exit: u8,
    pub figures: Figures,
    pub unread: Vec<Unread>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub not_checked: Vec<NotChecked>,
    /// What the reader of the verdict must know: checks that could not run, records without identity.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub notes: Vec<String>,
    /// A few records that the identify rule did not fit, as `topic[partition]@offset: reason`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub samples: Vec<String>,
    /// Counters whose losses were searched for periods, with what could have been found.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub searched: Vec<Searched>,
    /// Where the topics are the stages of a flow.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub flow: Option<FlowSummary>,
    /// Where two stores were compared.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub drift: Option<DriftSummary>,
    /// Where several pairs of stores were: each by itself.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub pairs: Vec<PairSummary>,
    pub seconds: f64,
    /// Directory of the ledger, absent when it was temporary.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ledger: Option<String>,
}

impl Summary {
    /// Comparisons of two stores, each with the name of its pair where it has one.
    pub fn drifts(&self) -> impl Iterator<Item = (Option<&str>, &DriftSummary)> {
        let pairs = self.pairs.iter().filter_map(|pair| Some((Some(pair.pair.as_str()), pair.drift.as_ref()?)));
        self.drift.iter().map(|drift| (drift.pair.as_deref(), drift)).chain(pairs)
    }

    /// Whether it is of stores that were compared, not of topics that were audited.
    pub fn is_of_stores(&self) -> bool {
        self.drift.is_some() || !self.pairs.is_empty()
    }
}

/// The picture of one partition for the HTML report; not part of the JSON contract.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    pub topic: String,
    pub partition: i32,
    pub strip: Strip,
}

/// Everything one audit has to say.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Sorted: open before resolved, then by topic, partition, position and kind.
    pub findings: Vec<Finding>,
    pub coverage: Vec<Coverage>,
    pub pictures: Vec<Picture>,
    pub summary: Summary,
}

/// The verdict, in the order of what a reader must not overlook: a part that was not read, then proven findings, then
/// what is merely possible.
pub fn judge(findings: &[Finding], coverage: &[Coverage], unread: &[Unread]) -> Verdict {
    let records: u64 = coverage.iter().map(|c| c.records).sum();
    let explained: u64 = coverage.iter().map(|c| c.holes.control + c.holes.aborted + c.holes.compacted).sum();
    let holes = |hole: Hole| coverage.iter().map(|c| c.holes.get(hole)).sum::<u64>();
    let open = |grade: Grade| findings.iter().any(|f| f.state == State::Open && f.grade == grade);

    if !unread.is_empty() || records + explained == 0 || holes(Hole::Unfetched) > 0 || holes(Hole::Unreadable) > 0 {
        Verdict::Unverified
    } else if open(Grade::Proven) {
        Verdict::Findings
    } else if open(Grade::Possible) || open(Grade::Unknown) || holes(Hole::Unknown) > 0 {
        Verdict::Inconclusive
    } else {
        Verdict::Clean
    }
}
