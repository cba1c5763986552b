//! Stores that nothing tells us to follow record by record: they are compared again and again, and what was wrong and is
//! no longer has healed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::queue::{ages, dated};
use super::{Rhythm, Rounds, Standing, laws, once};
use crate::audit::coverage::Coverage;
use crate::audit::drift::{DriftSummary, Following, Undecided};
use crate::audit::finding::{Finding, Kind, State};
use crate::audit::verdict::Report;
use crate::drift::{DriftError, Part, Settings, note};
use crate::engine::{Progress, now_ms};

const MOST_RESOLVED: usize = 1_000;

struct Open {
    finding: Finding,
    /// The part in which it was found last.
    part: u32,
    since_ms: i64,
    looks: u32,
    /// Comparisons in a row that did not find it.
    missed: u32,
}

pub struct Repeat {
    settings: Settings,
    rhythm: Rhythm,
    part: Part,
    next: Instant,
    /// The last comparison of each part.
    compared: BTreeMap<u32, Report>,
    latest: u32,
    open: BTreeMap<String, Open>,
    resolved: VecDeque<Finding>,
    following: Following,
    bytes: u64,
    table_bytes: u64,
}

impl Repeat {
    pub fn new(settings: &Settings, rhythm: &Rhythm) -> Self {
        // A mirror is read whole or not at all.
        let parts = if settings.is_mirror() { 1 } else { rhythm.parts };
        Self {
            settings: settings.clone(),
            rhythm: rhythm.clone(),
            part: Part { of: parts, index: 0 },
            next: Instant::now(),
            compared: BTreeMap::new(),
            latest: 0,
            open: BTreeMap::new(),
            resolved: VecDeque::new(),
            following: Following { parts, ..Following::default() },
            bytes: 0,
            table_bytes: 0,
        }
    }

    /// What is open, was not found, and was not found often enough.
    fn missed(&mut self, found: &BTreeMap<&str, &Finding>, report: &Report, enough: u32) -> Vec<String> {
        let (part, is_mirror) = (self.part, self.settings.is_mirror());
        let leaves_open =
            |finding: &Finding| report.summary.drift.as_ref().is_none_or(|drift| drift.leaves_open(finding));
        let can_heal = |open: &Open| {
            let finding = &open.finding;
            match finding.kind {
                // What never reached the topic does not come any more, even where its place has left the log.
                Kind::LostChange => false,
                Kind::Missing | Kind::Differs if is_mirror && is_expired(finding, report) => {
                    found.values().any(|rest| is_rest(rest, finding))
                }
                _ => {
                    finding.bucket().map_or(open.part == part.index, |bucket| part.has(bucket)) && !leaves_open(finding)
                }
            }
        };
        let mut healed = Vec::new();
        for (id, open) in &mut self.open {
            if !found.contains_key(id.as_str()) && can_heal(open) {
                open.missed += 1;
                if open.missed >= enough {
                    healed.push(id.clone());
                }
            }
        }
        healed
    }

    /// What the comparison found that is news, and what it no longer found.
    fn take(&mut self, report: &Report) -> Vec<Finding> {
        let (now, mut fresh) = (now_ms(), Vec::new());
        let found: BTreeMap<&str, &Finding> =
            report.findings.iter().filter(|finding| finding.is_open()).map(|f| (f.id.as_str(), f)).collect();
        for (id, finding) in &found {
            let is_new = !self.open.contains_key(*id);
            let open = self.open.entry((*id).to_owned()).or_insert_with(|| Open {
                finding: (*finding).clone(),
                part: self.part.index,
                since_ms: now,
                looks: 0,
                missed: 0,
            });
            (open.finding, open.missed, open.looks) = ((*finding).clone(), 0, open.looks + 1);
            open.part = self.part.index;
            dated(&mut open.finding, open.since_ms, open.looks, now);
            if is_new {
                fresh.push(open.finding.clone());
            }
        }
        let healed: Vec<String> = match enough(report) {
            Some(enough) => self.missed(&found, report, enough),
            None => Vec::new(),
        };
        for open in healed.iter().filter_map(|id| self.open.remove(id)).collect::<Vec<_>>() {
            let mut finding = open.finding;
            finding.state = State::Resolved;
            dated(&mut finding, open.since_ms, open.looks + 1, now);
            self.following.resolved += 1;
            self.resolved.push_back(finding.clone());
            if self.resolved.len() > MOST_RESOLVED {
                self.resolved.pop_front();
            }
            fresh.push(finding);
        }
        fresh
    }
}

/// What is still there of a run of records, the first of which have left the log.
fn is_rest(rest: &Finding, of: &Finding) -> bool {
    let span = |finding: &Finding| finding.offsets.map(|span| (span.from, span.until));
    let (Some((from, until)), Some((from_before, until_before))) = (span(rest), span(of)) else { return false };
    (rest.kind, &rest.topic, rest.partition) == (of.kind, &of.topic, of.partition)
        && from > from_before
        && until == until_before
}

/// Of a record that has left the source meanwhile nobody can say whether it ever comes.
fn is_expired(finding: &Finding, report: &Report) -> bool {
    // The source's is the first.
    let Some(record) = finding.sightings.first() else { return false };
    let is_of = |coverage: &&Coverage| coverage.topic == record.topic && coverage.partition == record.partition;
    report.coverage.iter().find(is_of).is_some_and(|coverage| record.offset < coverage.start())
}

/// Comparisons that must miss a finding before it has healed; absent where missing it says nothing.
fn enough(report: &Report) -> Option<u32> {
    let has = |reason: &str| report.summary.drifts().any(|(_, drift)| drift.unverifiable.contains_key(reason));
    match () {
        () if !report.summary.unread.is_empty() || has("not-looked-at") => None,
        // It may be what was moving just then.
        () if has("in-motion") => Some(2),
        () => Some(1),
    }
}

impl Rounds for Repeat {
    fn round(&mut self, progress: &Arc<Progress>) -> Result<Vec<Finding>, DriftError> {
        if self.next > Instant::now() {
            return Ok(Vec::new());
        }
        let began = Instant::now();
        let settings = Settings { part: self.part, ..self.settings.clone() };
        let mut report = crate::drift::compare(&settings, progress)?;
        if progress.is_stopped() {
            return Ok(Vec::new());
        }
        let fresh = self.take(&report);
        self.bytes += report.summary.figures.bytes;
        self.table_bytes += report.summary.drift.as_ref().map_or(0, |drift| drift.table_bytes);
        self.following.comparisons += 1;
        self.following.comparison_seconds = began.elapsed().as_secs_f64();
        self.following.comparison_ms = Some(now_ms());
        self.following.compared_ms = self.following.comparison_ms;
        // Findings are kept as what is open, coverage is of the last comparison alone, and what that left undecided is done with.
        report.findings.clear();
        report.summary.drift.iter_mut().for_each(|drift| drift.undecided = Undecided::default());
        self.compared.values_mut().for_each(|report| report.coverage.clear());
        self.latest = self.part.index;
        self.compared.insert(self.latest, report);
        self.part = self.part.next();
        self.next = Instant::now() + self.rhythm.every.saturating_sub(began.elapsed());
        Ok(fresh)
    }

    fn rest(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now()).clamp(Duration::from_millis(50), Duration::from_secs(1))
    }

    fn standing(&self) -> Standing {
        let last = self.compared.get(&self.latest);
        let drift = last.and_then(|report| report.summary.drift.clone());
        let mut summary = drift.unwrap_or_else(|| self.settings.empty_summary());
        let summaries = || self.compared.values().filter_map(|report| report.summary.drift.as_ref());
        let sum = |count: fn(&DriftSummary) -> u64| summaries().map(count).sum::<u64>();
        (summary.keys, summary.rows, summary.lag) = (sum(|d| d.keys), sum(|d| d.rows), sum(|d| d.lag));
        (summary.in_flight, summary.suspects) = (sum(|d| d.in_flight), 0);
        summary.table_bytes = self.table_bytes;
        summary.laws = laws(summaries().map(|drift| drift.laws.as_slice()));
        summary.unverifiable.clear();
        for (reason, count) in summaries().flat_map(|drift| &drift.unverifiable) {
            note(&mut summary.unverifiable, reason, *count);
        }
        let mut following = self.following.clone();
        let is_of_keys =
            |open: &&Open| open.finding.kind != Kind::Imbalance && Kind::OF_STORES.contains(&open.finding.kind);
        let since: Vec<i64> = self.open.values().filter(is_of_keys).map(|open| open.since_ms).collect();
        following.wrong = ages(&since, now_ms());
        following.compared_parts = self.compared.keys().copied().collect();
        following.is_complete = self.compared.len() == following.parts as usize;
        summary.following = Some(following);
        let unread = once(self.compared.values().flat_map(|report| report.summary.unread.iter()));
        let open = self.open.values().map(|open| open.finding.clone());
        Standing {
            summary,
            drift: open.chain(self.resolved.iter().rev().cloned()).collect(),
            of_reading: Vec::new(),
            coverage: last.map(|report| report.coverage.clone()).unwrap_or_default(),
            unread,
            samples: last.map(|report| report.summary.samples.clone()).unwrap_or_default(),
            bytes: self.bytes,
        }
    }
}

#[cfg(test)]
mod tests;
