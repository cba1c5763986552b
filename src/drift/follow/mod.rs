//! Comparing for ever. A topic and its table are followed record by record where a group tells how far its writer is;
//! everything else is compared again and again. Whatever cannot be reached is tried again, and what is not compared
//! meanwhile is said.
//!
//! * `queue`: keys that are not done with; the rounds are those of `sink::tail`
//! * `repeat`: whole comparisons

pub mod queue;
mod repeat;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::place::Place;
use super::sink::tail::Tail;
use super::{DriftError, PAUSE, Settings, Told, pairs, say, sleep, topic};
use crate::audit::coverage::Coverage;
use crate::audit::drift::{Claim, DriftSummary, LawSummary};
use crate::audit::finding::{Finding, Kind};
use crate::audit::verdict::{Report, Unread, Verdict};
use crate::engine::{Progress, now_ms};
use crate::report::utc;
use repeat::Repeat;

/// Before what failed is tried again; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How often, and in which steps.
#[derive(Clone, Debug)]
pub struct Rhythm {
    /// A part is compared so often.
    pub every: Duration,
    /// Parts the buckets are compared in.
    pub parts: u32,
    /// When a key that is wrong is looked at again, counted from the first time; wrong at the last one, it is drift.
    pub confirm_after: Vec<Duration>,
    /// Whether keys are checked as the group passes their records.
    pub tail: bool,
    /// Goes on trying even where nothing could be compared yet.
    pub is_patient: bool,
}

impl Default for Rhythm {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(600),
            parts: 1,
            confirm_after: [1, 10, 60].map(Duration::from_secs).into(),
            tail: true,
            is_patient: false,
        }
    }
}

impl Rhythm {
    /// A group's commits say when a record must have arrived; without them stores are compared as a whole only.
    pub fn follows(&self, settings: &Settings) -> bool {
        self.tail && settings.group.is_some() && matches!(settings.first, Place::Topic(_)) && !settings.is_mirror()
    }
}

/// Who wants to know how it goes.
pub trait Watcher {
    /// Findings that were confirmed or have healed.
    fn fresh(&mut self, findings: &[Finding]);

    /// Whether a report of how it stands is wanted; asked after each round.
    fn wants_report(&mut self) -> bool {
        false
    }

    /// `trouble`: why nothing, or not everything, can be compared.
    fn report(&mut self, _report: Report, _trouble: Option<&str>) {}
}

/// One step after another, for ever.
pub trait Rounds {
    /// What is news: findings confirmed or healed.
    fn round(&mut self, progress: &Arc<Progress>) -> Result<Vec<Finding>, DriftError>;

    /// Until the next round.
    fn rest(&self) -> Duration;

    fn standing(&self) -> Standing;
}

/// How it stands.
pub struct Standing {
    pub summary: DriftSummary,
    /// On which the stores differ, and what healed.
    pub drift: Vec<Finding>,
    /// What reading a topic said beside.
    pub of_reading: Vec<Finding>,
    pub coverage: Vec<Coverage>,
    pub unread: Vec<Unread>,
    pub samples: Vec<String>,
    pub bytes: u64,
}

impl Settings {
    pub(super) fn is_mirror(&self) -> bool {
        matches!((&self.first, &self.second), (Place::Topic(_), Place::Topic(_)))
    }

    /// Before anything was compared.
    pub(super) fn empty_summary(&self) -> DriftSummary {
        DriftSummary::new(pairs::store(&self.first), pairs::store(&self.second), Claim::Heuristic)
    }
}

/// Goes on until it is told to stop; the report is how it stood then.
pub fn follow(
    settings: &Settings,
    rhythm: &Rhythm,
    progress: &Arc<Progress>,
    watcher: &mut dyn Watcher,
) -> Result<Report, DriftError> {
    let mut rounds: Box<dyn Rounds> = match (&settings.first, &settings.group) {
        (Place::Topic(topic), Some(group)) if rhythm.follows(settings) => {
            Box::new(Tail::new(settings, topic, group, rhythm))
        }
        _ => Box::new(Repeat::new(settings, rhythm)),
    };
    let began = Instant::now();
    let mut blind: Option<Blind> = None;
    let mut has_worked = rhythm.is_patient;
    let stop = Stop::new(progress);
    while !progress.is_stopped() {
        let pause = match rounds.round(&stop.fresh()) {
            Ok(fresh) => {
                if let Some(blind) = blind.take() {
                    tracing::warn!(pair = settings.pair, since = utc(blind.since_ms), "comparing again");
                }
                has_worked = true;
                let fresh: Vec<Finding> = fresh.into_iter().map(|finding| settings.mark(finding)).collect();
                if !fresh.is_empty() {
                    watcher.fresh(&fresh);
                }
                rounds.rest()
            }
            Err(error) if !has_worked => return Err(error),
            Err(error) => Blind::failed(&mut blind, &error, settings),
        };
        if watcher.wants_report() {
            let standing = rounds.standing();
            let unread = standing.unread.first().map(|part| part.why.clone());
            let trouble = blind.as_ref().map(|blind| blind.why.clone()).or(unread);
            watcher.report(report(settings, standing, blind.as_ref(), began), trouble.as_deref());
        }
        sleep(pause, progress);
    }
    Ok(report(settings, rounds.standing(), blind.as_ref(), began))
}

/// Nothing is compared.
struct Blind {
    since_ms: i64,
    why: String,
    pause: Duration,
}

impl Blind {
    /// Says it once, and how long to wait.
    fn failed(blind: &mut Option<Self>, error: &DriftError, settings: &Settings) -> Duration {
        let why = error.to_string();
        let before = blind.take();
        if before.as_ref().is_none_or(|before| before.why != why) {
            tracing::warn!(pair = settings.pair, why, "nothing is compared now; trying again");
        }
        let pause = before.as_ref().map_or(FIRST_PAUSE, |before| (before.pause * 2).min(LONGEST_PAUSE));
        *blind = Some(Self { since_ms: before.map_or_else(now_ms, |before| before.since_ms), why, pause });
        pause
    }
}

/// Passes a wish to stop on to the round under way. A reader that fails stops its fellows by the same means, and that
/// must end a round only.
struct Stop {
    outer: Arc<Progress>,
    inner: Arc<Mutex<Arc<Progress>>>,
    done: Arc<Progress>,
}

impl Stop {
    fn new(outer: &Arc<Progress>) -> Self {
        let stop = Self { outer: outer.clone(), inner: Arc::default(), done: Arc::default() };
        let (outer, inner, done) = (stop.outer.clone(), stop.inner.clone(), stop.done.clone());
        // It ends with the loop, or with the process.
        std::thread::spawn(move || {
            while !done.is_stopped() {
                if outer.is_stopped() {
                    inner.lock().unwrap_or_else(PoisonError::into_inner).stop();
                }
                std::thread::sleep(PAUSE * 4);
            }
        });
        stop
    }

    fn fresh(&self) -> Arc<Progress> {
        let fresh = Arc::new(Progress::default());
        *self.inner.lock().unwrap_or_else(PoisonError::into_inner) = fresh.clone();
        fresh
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.done.stop();
    }
}

fn report(settings: &Settings, standing: Standing, blind: Option<&Blind>, began: Instant) -> Report {
    let Standing { mut summary, drift, of_reading, coverage, mut unread, samples, bytes } = standing;
    tally(&mut summary, &drift);
    let is_lost = |finding: &&Finding| finding.is_open() && finding.kind == Kind::LostChange;
    summary.lost_changes = drift.iter().chain(&of_reading).filter(is_lost).count() as u64;
    let is_of_stores = |finding: &&Finding| finding.is_open() && Kind::OF_STORES.contains(&finding.kind);
    let differing = drift.iter().filter(is_of_stores).filter_map(Finding::bucket);
    let differing: BTreeSet<usize> = differing.collect();
    if let Some(following) = &mut summary.following {
        following.differing_buckets = (!settings.is_mirror()).then(|| differing.into_iter().collect());
        following.blind_since_ms = blind.map(|blind| blind.since_ms);
        let (done, parts) = (following.compared_parts.len(), following.parts as usize);
        if done < parts && blind.is_none() {
            unread.push(pairs::not_read(settings, format!("{done} of {parts} parts were compared in full until now")));
        }
    }
    if let Some(blind) = blind {
        let since = utc(blind.since_ms);
        unread.push(pairs::not_read(settings, format!("nothing was compared since {since}: {}", blind.why)));
    }
    let read = topic::Read { coverage, findings: of_reading, unread, bytes, is_trimmed: false };
    let told = Told { samples, findings: drift, ..Told::new(read, summary) };
    settings.sign(say::report(settings, told, false, began.elapsed()))
}

/// Counts what stands open now. What may still right itself is no drift yet.
fn tally(summary: &mut DriftSummary, findings: &[Finding]) {
    (summary.confirmed, summary.missing, summary.extra, summary.differs, summary.stale) = (0, 0, 0, 0, 0);
    (summary.repeated, summary.reordered) = (0, 0);
    summary.worst_columns.clear();
    for law in &mut summary.laws {
        let is_of =
            |finding: &&Finding| finding.is_open() && finding.evidence.get("law").is_some_and(|of| *of == law.law);
        law.wrong = findings.iter().filter(is_of).count() as u64;
    }
    // A sum is no key, and a change that was lost says nothing of what its row is now.
    let is_of_keys = |finding: &Finding| !matches!(finding.kind, Kind::Imbalance | Kind::LostChange);
    let is_confirmed =
        |finding: &&Finding| finding.is_open() && is_of_keys(finding) && !finding.evidence.contains_key("confirmed");
    for finding in findings.iter().filter(is_confirmed) {
        summary.confirmed += 1;
        let count = match finding.kind {
            Kind::Missing => &mut summary.missing,
            Kind::Extra => &mut summary.extra,
            Kind::Stale => &mut summary.stale,
            Kind::Duplicate => &mut summary.repeated,
            Kind::Reorder => &mut summary.reordered,
            _ => &mut summary.differs,
        };
        *count += finding.count;
        if matches!(finding.kind, Kind::Differs | Kind::Stale) {
            for column in finding.columns.iter().flat_map(|columns| columns.keys()) {
                *summary.worst_columns.entry(column.clone()).or_default() += 1;
            }
        }
    }
}

/// What became of each law in all parts.
pub(super) fn laws<'l>(mut parts: impl Iterator<Item = &'l [LawSummary]>) -> Vec<LawSummary> {
    let mut laws = parts.next().map(<[_]>::to_vec).unwrap_or_default();
    parts.for_each(|part| laws.iter_mut().zip(part).for_each(|(law, own)| law.add(own)));
    laws
}

/// Parts may have the same to say.
pub(super) fn once<'u>(all: impl Iterator<Item = &'u Unread>) -> Vec<Unread> {
    let mut seen: Vec<Unread> = Vec::new();
    for unread in all {
        if !seen.contains(unread) {
            seen.push(unread.clone());
        }
    }
    seen
}

/// Whether it was compared as a whole, so that what it does not say is not there.
pub fn is_whole(report: &Report) -> bool {
    let parts = |drift: &DriftSummary| {
        drift.following.as_ref().is_some_and(|following| following.blind_since_ms.is_none() && following.is_complete)
    };
    report.summary.drift.as_ref().is_some_and(parts) && report.summary.verdict != Verdict::Unverified
}
