//! Whether two stores agree, by content, while both are written: without a lock, and without a write.
//!
//! * `place`: where a store is; `shape`, `canon`, `record`: what a row is, from either side
//! * `digest`, `hash`, `sums`, `cells`: rows as numbers a database can compute too
//! * `topic`, `fold`, `table`: the sides
//! * `conserve`: sums that must agree, or be nothing
//! * `localise`: which keys differ; `history`, `verdict`: what is wrong with them; `say`: findings; `patterns`: what they share
//! * `sink`: a topic and the table it is written to; `tables`: two tables; `agree`: which of their columns can be compared
//! * `mirror`, `align`: a topic and its copy
//! * `relax`: differences that are let pass
//! * `redact`: values that are not told
//! * `repair`: what would make the second store as the first; `named`: whether it did
//! * `measure`: what the topic alone costs, for the benchmarks
//! * `pairs`: several comparisons as one report; `part`: some of the buckets; `resume`: part by part, with what was done kept;
//!   `follow`: for ever
//!
//! Every claim rests on a cut: positions between which a record may or may not have arrived yet. What lies between them may
//! be any of several versions, and everything else must be exactly one.

mod agree;
mod align;
pub mod canon;
mod cells;
mod chain;
pub mod conserve;
mod cut;
pub(crate) mod digest;
pub mod explain;
mod fold;
pub mod follow;
mod hash;
mod history;
mod images;
mod localise;
pub mod measure;
mod mirror;
pub mod named;
pub mod pairs;
mod part;
mod patterns;
pub mod place;
mod record;
pub mod redact;
pub mod relax;
pub mod repair;
pub mod resume;
mod say;
mod shape;
mod sink;
mod sums;
pub mod table;
mod tables;
mod topic;
mod verdict;
mod witness;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::audit::drift::DriftSummary;
use crate::audit::finding::Finding;
use crate::audit::verdict::Report;
use crate::engine::Progress;
use crate::source::{Properties, SourceError};
use conserve::judge::Judged;
use conserve::law::Law;
pub use digest::BUCKETS;
use named::Named;
pub use part::Part;
use place::Place;
use redact::Redaction;
use relax::Relaxation;
use repair::{Fix, RepairFile};
use say::Difference;
use table::{Chosen, Limits};

const PAUSE: Duration = Duration::from_millis(50);

#[derive(Clone, Debug)]
pub struct Settings {
    /// What the file of settings calls the pair.
    pub pair: Option<String>,
    /// The reference.
    pub first: Place,
    pub second: Place,
    /// How to reach Kafka.
    pub properties: Properties,
    /// The consumer group that writes the table.
    pub group: Option<String>,
    /// How long a record may take into the table where no group tells, and how long to wait before what differs is read again.
    pub settle: Duration,
    /// How long a captured topic may take until it has what the table's snapshot sees.
    pub wait: Duration,
    /// Write a message into the log of a captured table's database.
    pub mark: bool,
    pub chosen: Chosen,
    pub limits: Limits,
    /// Differences that are let pass.
    pub relaxed: Vec<Relaxation>,
    /// What must be conserved.
    pub laws: Vec<Law>,
    pub memory_bytes: usize,
    /// Keys that are looked at one by one; of others only the number is told.
    pub most_findings: usize,
    /// Findings tell hashes instead of values.
    pub redact: Option<Redaction>,
    /// Where to write what would repair the second store.
    pub repair: Option<RepairFile>,
    /// Look at these keys alone.
    pub named: Option<Named>,
    /// The buckets that are compared; a mirror is always compared whole.
    pub part: Part,
}

#[derive(Debug, thiserror::Error)]
pub enum DriftError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("{store}: {why}; {hint}")]
    Database { store: String, why: String, hint: String },
    #[error(
        "group {group} has committed no offset of topic {topic}; name the sink's group with --group (Kafka Connect's is connect-NAME)"
    )]
    Group { group: String, topic: String },
    #[error("{0}")]
    Pair(String),
    #[error("the folded topic does not fit on the disk for temporary files: {0}; set TMPDIR to one with more room")]
    Disk(io::Error),
    #[error(
        "more than {0} keys are in flight: the group is too far behind to compare; try again when it has caught up"
    )]
    InFlight(usize),
    #[error("writing {path}: {source}; the stores were compared, and nothing was changed")]
    Repair { path: PathBuf, source: io::Error },
    #[error("keeping what was compared in {path}: {source}; name another file with --resume")]
    Kept { path: PathBuf, source: io::Error },
    #[error("a reader thread died; this is a bug in sordini")]
    Thread,
}

/// What there is to tell in the end.
struct Told {
    read: topic::Read,
    summary: DriftSummary,
    samples: Vec<String>,
    findings: Vec<Finding>,
    /// Where a file of them is to be written.
    fixes: Vec<Fix>,
    /// What the laws said, before anything of it was confirmed.
    judged: Judged,
}

impl Told {
    fn new(read: topic::Read, summary: DriftSummary) -> Self {
        let (samples, findings, fixes, judged) = Default::default();
        Self { read, summary, samples, findings, fixes, judged }
    }
}

impl Told {
    /// A difference that was confirmed.
    fn take(&mut self, settings: &Settings, difference: &Difference<'_>, finding: Finding) {
        if settings.repair.is_some() {
            self.fixes.push(Fix::new(&finding, difference));
        }
        say::count(&mut self.summary, &finding);
        self.findings.push(finding);
    }
}

/// What looks wrong may only be late: some time passes before it is looked at again.
fn pause(settings: &Settings, progress: &Progress) {
    sleep(settings.settle, progress);
}

/// Or until it is told to stop.
fn sleep(time: Duration, progress: &Progress) {
    let until = Instant::now() + time;
    while Instant::now() < until && !progress.is_stopped() {
        std::thread::sleep(PAUSE.min(time));
    }
}

impl place::TopicPlace {
    /// How its cluster is reached.
    fn properties(&self, settings: &Settings) -> Properties {
        let mut properties = settings.properties.clone();
        if !self.brokers.is_empty() {
            properties.insert("bootstrap.servers".to_owned(), self.brokers.clone());
        }
        properties
    }
}

/// Leaves as many suspects as are looked at one by one.
fn limit(settings: &Settings, suspects: &mut BTreeSet<u64>, summary: &mut DriftSummary) {
    if let Some(beyond) = suspects.iter().nth(settings.most_findings).copied() {
        let dropped = suspects.split_off(&beyond);
        note(&mut summary.unverifiable, "not-looked-at", dropped.len() as u64);
    }
}

fn note(counts: &mut BTreeMap<String, u64>, name: &str, count: u64) {
    if count > 0 {
        *counts.entry(name.to_owned()).or_default() += count;
    }
}

/// Compares the two stores once.
pub fn run(settings: &Settings, progress: &Arc<Progress>) -> Result<Report, DriftError> {
    compare(settings, progress).map(|report| settings.sign(report))
}

fn compare(settings: &Settings, progress: &Arc<Progress>) -> Result<Report, DriftError> {
    let open = |place| {
        let mut table = table::open(place, &settings.chosen, &settings.limits)?;
        table.report_to(progress);
        Ok::<_, DriftError>(table)
    };
    let has_topic = matches!(settings.first, Place::Topic(_)) && !settings.is_mirror();
    if let Some(group) = settings.group.as_ref().filter(|_| !has_topic) {
        return Err(DriftError::Pair(format!(
            "--group {group} is the consumer group that writes a topic into a table; these stores have none"
        )));
    }
    match (&settings.first, &settings.second) {
        (Place::Topic(source), Place::Topic(copy)) => mirror::compare(settings, source, copy, progress),
        (Place::Topic(topic), table) => sink::compare(settings, topic, &mut *open(table)?, progress),
        (_, Place::Topic(_)) => {
            Err(DriftError::Pair("a topic is compared as the first store: name the table second".to_owned()))
        }
        (first, second) => tables::compare(settings, &mut *open(first)?, &mut *open(second)?, progress),
    }
}

#[cfg(test)]
impl Settings {
    /// As when nothing else is said.
    fn between(first: &str, second: &str) -> Self {
        let place = |text: &str| text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        let (chosen, limits) = Default::default();
        Self {
            pair: None,
            first: place(first),
            second: place(second),
            properties: Properties::default(),
            group: None,
            settle: Duration::ZERO,
            wait: Duration::ZERO,
            mark: false,
            chosen,
            limits,
            relaxed: Vec::new(),
            laws: Vec::new(),
            memory_bytes: 1 << 20,
            most_findings: 1_000,
            redact: None,
            repair: None,
            named: None,
            part: Part::WHOLE,
        }
    }
}
