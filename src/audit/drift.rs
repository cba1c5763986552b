//! What a comparison says of itself: how strong its claim is, what it covered, and what was let pass.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::finding::{Finding, Kind};
use super::verdict::Verdict;

/// How strong the claim is that a difference is one, from the strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Claim {
    /// Both sides are seen at one point of the log.
    Exact,
    /// What was on its way may be any version between the two ends of the cut; everything else is exact.
    Bracketed,
    /// Nobody tells how far the writer is: what is older than the settle time is taken to have arrived.
    Heuristic,
}

impl Claim {
    pub fn name(self) -> &'static str {
        match self {
            Claim::Exact => "exact",
            Claim::Bracketed => "bracketed",
            Claim::Heuristic => "heuristic",
        }
    }
}

/// Positions of one partition: below `settled` everything must be in the table, from there to `end` it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    pub partition: i32,
    pub settled: i64,
    pub end: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DriftSummary {
    /// What the file of settings calls the pair.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pair: Option<String>,
    pub first: String,
    pub second: String,
    pub claim: Claim,
    /// Those of the last look.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub cuts: Vec<Cut>,
    /// The transactions that were visible, where the topic is captured from the table: xmin, xmax, those that ran, and the position in the log.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub snapshot: Option<String>,
    pub columns: Vec<String>,
    /// Keys the first store holds, deleted ones aside; rows of the second.
    pub keys: u64,
    pub rows: u64,
    /// Keys that had a record between the ends of the cut.
    pub in_flight: u64,
    /// Keys that looked wrong, and keys that still were so at a second look.
    pub suspects: u64,
    pub confirmed: u64,
    /// By kind.
    pub missing: u64,
    pub extra: u64,
    pub differs: u64,
    pub stale: u64,
    /// Change events that never reached the topic, where the next one of the key tells; the stores may agree by now.
    #[serde(default)]
    pub lost_changes: u64,
    /// What that rests on, where the topic holds change events.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub befores: Option<Befores>,
    /// Topic and mirror: records that stand in the mirror too often, out of order, or not yet.
    #[serde(default)]
    pub repeated: u64,
    #[serde(default)]
    pub reordered: u64,
    #[serde(default)]
    pub lag: u64,
    /// Keys of which nothing can be said, by reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub unverifiable: BTreeMap<String, u64>,
    /// Values by column that were rounded to what the column can hold, or taken for null because the record lacks them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub narrowed: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub absent: BTreeMap<String, u64>,
    /// Rows by column in which a difference was let pass, as somebody asked for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub relaxed: BTreeMap<String, u64>,
    /// Findings by column that differs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub worst_columns: BTreeMap<String, u64>,
    /// What this look cannot say of what others found.
    #[serde(skip)]
    pub undecided: Undecided,
    /// What must be conserved, and whether it was.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub laws: Vec<LawSummary>,
    /// Bytes that came out of the second store.
    pub table_bytes: u64,
    /// How the keys were found: equal, cells or digests; merged where two topics lie side by side, named where those of an earlier report were looked at.
    pub located_by: String,
    /// Keys and values are told as hashes.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub is_redacted: bool,
    /// Where the comparison never ends.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub following: Option<Following>,
}

/// Where a look finds nothing wrong and it may be wrong all the same, so that nothing has healed there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Undecided {
    /// With a key that has a record on its way, or of which nothing can be said.
    pub buckets: BTreeSet<usize>,
    /// Sums with a row on its way, or that move: as the ids of the findings they would be.
    pub sums: BTreeSet<String>,
    /// By partition of a mirror: source records below this offset were compared with nothing, since the mirror begins there.
    pub below: BTreeMap<i32, i64>,
}

/// A sum that must be conserved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LawSummary {
    /// As it was written.
    pub law: String,
    /// Groups that either store has, and those that do not obey.
    pub groups: u64,
    pub wrong: u64,
    /// Groups that must be zero and have a row on its way, or whose sum moved between two looks: nothing was said of them.
    #[serde(default)]
    pub moving: u64,
    /// Why nothing can be said.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unjudged: Option<String>,
}

impl LawSummary {
    /// The same law in another part of the rows, which may have the same groups.
    pub fn add(&mut self, other: &LawSummary) {
        self.groups = self.groups.max(other.groups);
        self.wrong += other.wrong;
        self.moving += other.moving;
        self.unjudged = self.unjudged.take().or_else(|| other.unjudged.clone());
    }
}

/// How long a key has been wrong at least, and the seconds of it.
pub const AGES: [(&str, i64); 6] = [("0s", 0), ("10s", 10), ("1m", 60), ("10m", 600), ("1h", 3_600), ("1d", 86_400)];

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Age {
    pub age: String,
    pub keys: u64,
}

/// A comparison that goes on, as it stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Following {
    /// Keys wrong now, confirmed or not, by the time they have been so at least.
    pub wrong: Vec<Age>,
    /// Keys with records that the group has not passed yet.
    pub waiting: u64,
    /// Looks at single keys, and findings that healed, since it began.
    pub checked: u64,
    pub resolved: u64,
    /// Comparisons of a part in full; how many parts there are, and which were compared.
    pub comparisons: u64,
    pub parts: u32,
    pub compared_parts: Vec<u32>,
    /// Every part was, and what looked wrong then has been confirmed or has healed.
    pub is_complete: bool,
    /// When anything was last compared, and a part in full; milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub compared_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub comparison_ms: Option<i64>,
    /// How long that took.
    pub comparison_seconds: f64,
    /// Since when nothing could be compared.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub blind_since_ms: Option<i64>,
    /// Of the key's hash: those that hold a key on which the stores differ. Absent where there are no keys.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub differing_buckets: Option<Vec<usize>>,
}

/// Updates of a topic of change events, and whether they tell the row before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Befores {
    pub updates: u64,
    /// Those that do not.
    pub without: u64,
    /// Why nobody looked: compacted, or cleanup-policy-unknown.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub not_looked_at: Option<String>,
}

impl Befores {
    /// Some events could be held against those before them.
    pub fn are_told(&self) -> bool {
        self.updates > self.without && self.not_looked_at.is_none()
    }
}

/// One of several pairs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairSummary {
    pub pair: String,
    pub verdict: Verdict,
    pub exit: u8,
    /// Absent where nothing could be compared.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub drift: Option<DriftSummary>,
}

impl DriftSummary {
    /// Whether this look, which did not find it, cannot say that it no longer holds.
    pub fn leaves_open(&self, finding: &Finding) -> bool {
        if finding.kind == Kind::Imbalance {
            let is_of = |law: &&LawSummary| finding.evidence.get("law").is_some_and(|of| *of == law.law);
            let is_judged = self.laws.iter().find(is_of).is_some_and(|law| law.unjudged.is_none());
            return !is_judged || self.undecided.sums.contains(&finding.id);
        }
        let start = finding.partition.and_then(|partition| self.undecided.below.get(&partition));
        let is_below = matches!(finding.kind, Kind::Missing | Kind::Differs)
            && finding.cause.is_none()
            && finding.offsets.zip(start).is_some_and(|(span, start)| span.from < *start);
        is_below || finding.bucket().is_some_and(|bucket| self.undecided.buckets.contains(&bucket))
    }

    pub fn new(first: String, second: String, claim: Claim) -> Self {
        Self {
            pair: None,
            first,
            second,
            claim,
            cuts: Vec::new(),
            snapshot: None,
            columns: Vec::new(),
            keys: 0,
            rows: 0,
            in_flight: 0,
            suspects: 0,
            confirmed: 0,
            missing: 0,
            extra: 0,
            differs: 0,
            stale: 0,
            lost_changes: 0,
            befores: None,
            repeated: 0,
            reordered: 0,
            lag: 0,
            unverifiable: BTreeMap::new(),
            relaxed: BTreeMap::new(),
            narrowed: BTreeMap::new(),
            absent: BTreeMap::new(),
            worst_columns: BTreeMap::new(),
            undecided: Undecided::default(),
            laws: Vec::new(),
            table_bytes: 0,
            located_by: String::new(),
            is_redacted: false,
            following: None,
        }
    }
}
