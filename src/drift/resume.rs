//! A long comparison in parts, each under a cut of its own. What was compared is kept in a file; begun again with the same
//! file, the comparison goes on with what is left. No snapshot outlives its process, so nothing less than a part is kept.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::{DriftError, Part, Settings, compare, note, pairs};
use crate::audit::coverage::Coverage;
use crate::audit::drift::DriftSummary;
use crate::audit::finding::Finding;
use crate::audit::verdict::{Report, Summary, Verdict};
use crate::engine::{Progress, now_ms};
use crate::report::utc;

/// Of the file.
const VERSION: u32 = 1;

#[derive(Clone, Debug)]
pub struct Resume {
    pub path: PathBuf,
    pub parts: u32,
    /// What is compared and how, as it was asked for: the file is of nothing else.
    pub asked: String,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    version: u32,
    asked: String,
    parts: u32,
    done: BTreeMap<u32, Done>,
}

#[derive(Serialize, Deserialize)]
struct Done {
    at_ms: i64,
    findings: Vec<Finding>,
    coverage: Vec<Coverage>,
    summary: Summary,
}

impl Resume {
    pub fn run(&self, settings: &Settings, progress: &Arc<Progress>) -> Result<Report, DriftError> {
        if settings.is_mirror() {
            return Err(DriftError::Pair("--resume is for tables: a mirror is compared whole".to_owned()));
        }
        let mut kept = self.read()?;
        // Parts of which something was not read: told, and compared again by the next run.
        let mut again = BTreeMap::new();
        for index in 0..self.parts {
            if progress.is_stopped() {
                break;
            }
            if kept.done.contains_key(&index) {
                continue;
            }
            let part = Part { of: self.parts, index };
            tracing::info!(part = index + 1, of = self.parts, "comparing a part");
            let report = compare(&Settings { part, ..settings.clone() }, progress)?;
            if progress.is_stopped() {
                break;
            }
            let is_read = report.summary.verdict != Verdict::Unverified || is_empty(&report);
            let Report { findings, coverage, summary, .. } = report;
            let done = Done { at_ms: now_ms(), findings, coverage, summary };
            if !is_read {
                again.insert(index, done);
                continue;
            }
            kept.done.insert(index, done);
            self.write(&kept)?;
        }
        kept.done.append(&mut again);
        let is_complete = kept.done.len() == self.parts as usize;
        let report = settings.sign(together(settings, kept));
        if is_complete && report.summary.verdict != Verdict::Unverified {
            // The next run is another comparison.
            match std::fs::remove_file(&self.path) {
                // Of one part, or another run with the same file was as fast.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                removed => removed.map_err(|source| self.failed(source))?,
            }
        }
        Ok(report)
    }

    fn fingerprint(&self) -> String {
        format!("{:032x}", xxh3_128(self.asked.as_bytes()))
    }

    fn read(&self) -> Result<Kept, DriftError> {
        let none = || Kept { version: VERSION, asked: self.fingerprint(), parts: self.parts, done: BTreeMap::new() };
        let text = match std::fs::read(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(none()),
            text => text.map_err(|source| self.failed(source))?,
        };
        let other = |why: String| {
            DriftError::Pair(format!("{}: {why}; name another file, or remove it to begin anew", self.path.display()))
        };
        let kept: Kept = serde_json::from_slice(&text)
            .map_err(|error| other(format!("it is not what an interrupted comparison has left ({error})")))?;
        if kept.version != VERSION {
            return Err(other(format!("it was written by another version of sordini (its form is {})", kept.version)));
        }
        if let Some(index) = kept.done.keys().find(|index| **index >= kept.parts) {
            return Err(other(format!("it has a part {} of {}", u64::from(*index) + 1, kept.parts)));
        }
        if (&kept.asked, kept.parts) != (&self.fingerprint(), self.parts) {
            return Err(other("it is of another comparison: other stores, options or number of parts".to_owned()));
        }
        Ok(kept)
    }

    /// All of it or nothing.
    fn write(&self, kept: &Kept) -> Result<(), DriftError> {
        let failed = |source| self.failed(source);
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
        serde_json::to_writer(&mut file, kept).map_err(|error| failed(error.into()))?;
        file.flush().and_then(|()| file.as_file().sync_all()).map_err(failed)?;
        file.persist(&self.path).map_err(|error| failed(error.error))?;
        Ok(())
    }

    fn failed(&self, source: std::io::Error) -> DriftError {
        DriftError::Kept { path: self.path.clone(), source }
    }
}

/// A part may have no rows where the whole has some.
fn is_empty(report: &Report) -> bool {
    let of = |drift: &DriftSummary| drift.keys == 0 && drift.rows == 0;
    report.summary.unread.is_empty() && report.summary.drift.as_ref().is_some_and(of)
}

/// The parts as one comparison.
fn together(settings: &Settings, kept: Kept) -> Report {
    let (parts, done) = (kept.parts, kept.done.len());
    let times = || kept.done.values().map(|part| part.at_ms);
    let span = times().min().zip(times().max());
    let verdicts: Vec<Verdict> = kept
        .done
        .values()
        .filter(|part| {
            !part.summary.unread.is_empty() || part.summary.drift.as_ref().is_some_and(|d| d.keys + d.rows > 0)
        })
        .map(|part| part.summary.verdict)
        .collect();
    let mut all: Option<(DriftSummary, Report)> = None;
    for part in kept.done.into_values() {
        let Done { findings, coverage, summary, .. } = part;
        let Some(drift) = summary.drift.clone() else { continue };
        let own = Report { findings, coverage, pictures: Vec::new(), summary };
        all = Some(match all {
            None => (drift, own),
            Some((before, report)) => (add(before, drift), join(report, own)),
        });
    }
    let Some((drift, mut report)) = all else {
        return pairs::unread(settings, format!("none of {parts} parts were compared"));
    };
    let order = [Verdict::Unverified, Verdict::Findings, Verdict::Inconclusive];
    let mut verdict = order.into_iter().find(|verdict| verdicts.contains(verdict)).unwrap_or(Verdict::Clean);
    if done < parts as usize {
        let why = format!("{done} of {parts} parts were compared; the same command goes on with the rest");
        report.summary.unread.push(pairs::not_read(settings, why));
        verdict = Verdict::Unverified;
    } else if drift.keys + drift.rows == 0 {
        verdict = Verdict::Unverified;
    }
    if let Some((first, last)) = span {
        let note =
            format!("in {parts} parts, compared between {} and {}, each under a cut of its own", utc(first), utc(last));
        report.summary.notes.push(note);
    }
    (report.summary.verdict, report.summary.exit) = (verdict, verdict.exit());
    report.summary.drift = Some(drift);
    report
}

/// Every part reads all of a topic, and its own rows of a table.
fn join(mut all: Report, own: Report) -> Report {
    for finding in own.findings {
        if all.findings.iter().all(|known| known.id != finding.id) {
            all.findings.push(finding);
        }
    }
    all.coverage = own.coverage;
    let (into, from) = (&mut all.summary, own.summary);
    into.figures.bytes += from.figures.bytes;
    into.figures.records = from.figures.records;
    into.figures.batches = from.figures.batches;
    into.seconds += from.seconds;
    for unread in from.unread {
        if !into.unread.contains(&unread) {
            into.unread.push(unread);
        }
    }
    // Those that speak of records speak of all of them.
    into.notes = from.notes;
    into.samples = from.samples;
    all
}

fn add(mut all: DriftSummary, mut own: DriftSummary) -> DriftSummary {
    let counts: [fn(&mut DriftSummary) -> &mut u64; 11] = [
        |drift| &mut drift.keys,
        |drift| &mut drift.rows,
        |drift| &mut drift.in_flight,
        |drift| &mut drift.suspects,
        |drift| &mut drift.confirmed,
        |drift| &mut drift.missing,
        |drift| &mut drift.extra,
        |drift| &mut drift.differs,
        |drift| &mut drift.stale,
        |drift| &mut drift.lost_changes,
        |drift| &mut drift.table_bytes,
    ];
    for count in counts {
        *count(&mut all) += *count(&mut own);
    }
    for (reason, count) in &own.unverifiable {
        // Records that are of no key are met in every part.
        match reason.as_str() {
            "unusable-record" => {}
            _ => note(&mut all.unverifiable, reason, *count),
        }
    }
    for (column, count) in &own.worst_columns {
        note(&mut all.worst_columns, column, *count);
    }
    for (column, count) in &own.relaxed {
        note(&mut all.relaxed, column, *count);
    }
    for (law, own) in all.laws.iter_mut().zip(&own.laws) {
        law.add(own);
    }
    all.claim = all.claim.max(own.claim);
    (all.cuts, all.snapshot) = (own.cuts, own.snapshot);
    if own.located_by != "equal" {
        all.located_by = own.located_by;
    }
    all
}
