//! The offsets of one partition: what was read, and one explanation for every offset that held no record.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::coverage::{Coverage, Hole, Holes, Isolation, Strip};
use super::finding::{Finding, Grade, Kind, Span};
use super::partition::Place;
use crate::source::{Batch, Cleanup};

/// Unreadable ranges kept by name; beyond them only the count grows.
const RANGES_KEPT: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offsets {
    pub from: i64,
    /// Next offset to read. Everything in `[from, position)` is accounted for.
    pub position: i64,
    pub records: u64,
    pub batches: u64,
    pub bytes: u64,
    pub holes: Holes,
    pub strip: Strip,
    pub log_start: i64,
    pub high_watermark: i64,
    pub last_stable: i64,
    /// Whether any batch was read: a log start that passes the position before the first is no loss to the auditor.
    pub started: bool,
    /// Ranges that were fetched and are damaged, with what is wrong.
    pub damaged: Vec<(Span, String)>,
    /// Offset after the last damaged or skipped range: numbers missing across it prove nothing.
    pub blind_until: i64,
}

impl Offsets {
    pub fn new(from: i64) -> Self {
        Self {
            from,
            position: from,
            records: 0,
            batches: 0,
            bytes: 0,
            holes: Holes::default(),
            strip: Strip::new(from),
            log_start: 0,
            high_watermark: -1,
            last_stable: -1,
            started: false,
            damaged: Vec::new(),
            blind_until: from,
        }
    }

    /// Accounts for the offsets between the position and the batch, and for the batch itself when it holds no records
    /// to observe. Returns whether its records are to be observed.
    pub fn enter(&mut self, batch: &Batch<'_>, cleanup: Cleanup, place: &Place<'_>, out: &mut Vec<Finding>) -> bool {
        if batch.base_offset > self.position {
            self.skip(batch.base_offset, batch.header.is_some(), cleanup, place, out);
        }
        self.started = true;
        self.batches += 1;
        self.bytes += batch.bytes as u64;
        let hole = match batch.header {
            Some(header) if header.is_control() => Hole::Control,
            _ if batch.aborted => Hole::Aborted,
            _ => return true,
        };
        self.hole(batch.until, hole);
        false
    }

    /// Accounts for `[position, until)`, offsets that no batch covers.
    fn skip(&mut self, until: i64, has_headers: bool, cleanup: Cleanup, place: &Place<'_>, out: &mut Vec<Finding>) {
        if self.log_start > self.position {
            self.hole(self.log_start.min(until), Hole::Expired);
        }
        let span = Span::new(self.position, until);
        if span.is_empty() {
            return;
        }
        let hole = missing(has_headers, cleanup);
        self.hole(until, hole);
        if hole == Hole::Unexplained {
            out.push(offset_gap(span, "no batch holds them", cleanup, place));
        }
    }

    /// Offsets `[position, until)` lie inside a batch that no longer holds their records.
    pub fn missing_inside(&mut self, until: i64, has_headers: bool, cleanup: Cleanup) -> Option<Span> {
        let span = Span::new(self.position, until);
        let hole = missing(has_headers, cleanup);
        self.hole(until, hole);
        (hole == Hole::Unexplained).then_some(span)
    }

    pub fn observed(&mut self, until: i64, records: u64, times: Option<(i64, i64)>) {
        self.strip.add_records(self.position, until, records, times);
        self.records += records;
        self.position = until;
    }

    pub fn hole(&mut self, until: i64, hole: Hole) {
        if until > self.position {
            self.holes.add(hole, (until - self.position) as u64);
            self.strip.add_hole(self.position, until, hole);
            self.position = until;
        }
    }

    pub fn damaged(&mut self, until: i64, why: String) {
        let span = Span::new(self.position, until);
        self.hole(until, Hole::Unreadable);
        self.blind_until = self.position;
        if self.damaged.len() < RANGES_KEPT {
            self.damaged.push((span, why));
        }
    }

    /// The position fell below the log start. What the auditor had not read is lost to it.
    pub fn expired(&mut self, log_start: i64, place: &Place<'_>, out: &mut Vec<Finding>) {
        self.log_start = self.log_start.max(log_start);
        let span = Span::new(self.position, log_start);
        if span.is_empty() {
            return;
        }
        if self.started {
            let why = format!(
                "retention removed offsets {} to {} of {place} before sordini read them",
                span.from,
                span.until - 1
            );
            let mut finding = place.finding(Kind::RetentionOverrun, &[&span.from, &span.until], why);
            finding.offsets = Some(span);
            finding.count = span.len();
            out.push(finding.evidence("log_start", log_start));
        }
        self.hole(log_start, Hole::Expired);
        self.blind_until = self.position;
    }

    /// The log now ends (for what was read) at `end`: forget what lay above, so that coverage adds up again.
    pub fn truncate(&mut self, end: i64) {
        let end = end.max(self.from);
        let mut surplus = (self.position - end).max(0) as u64;
        self.position = self.position.min(end);
        self.blind_until = self.position;
        let mut take = |from: &mut u64| {
            let taken = surplus.min(*from);
            *from -= taken;
            surplus -= taken;
        };
        // Which of them were records is not kept; nearly all are.
        take(&mut self.records);
        let Holes { control, aborted, compacted, expired, unreadable, unknown, unexplained, .. } = &mut self.holes;
        for hole in [control, aborted, compacted, unreadable, unknown, unexplained, expired] {
            take(hole);
        }
    }

    /// The coverage so far, with what is missing up to `target` explained by the watermarks.
    pub fn coverage(&self, place: &Place<'_>, isolation: Isolation, target: Option<i64>) -> Coverage {
        let mut holes = self.holes;
        let until = target.unwrap_or(self.position).max(self.position);
        if until > self.position {
            let stable = self.last_stable.clamp(self.position, until);
            let waits = isolation == Isolation::ReadCommitted && self.last_stable >= 0;
            let unstable = if waits && stable == self.position { until - self.position } else { 0 };
            holes.add(Hole::Unstable, unstable as u64);
            holes.add(Hole::Unfetched, (until - self.position - unstable) as u64);
        }
        Coverage {
            topic: place.topic.to_owned(),
            partition: place.partition,
            from: self.from,
            until,
            records: self.records,
            batches: self.batches,
            isolation,
            holes,
        }
    }
}

/// What offsets without a record are, as far as the source and the topic's configuration tell.
fn missing(has_headers: bool, cleanup: Cleanup) -> Hole {
    match cleanup {
        _ if !has_headers => Hole::Unknown,
        Cleanup::Compact | Cleanup::CompactDelete => Hole::Compacted,
        Cleanup::Delete | Cleanup::Unknown => Hole::Unexplained,
    }
}

/// Offsets of a partition that nothing explains. Without the topic's configuration they may have been compacted.
pub fn offset_gap(span: Span, how: &str, cleanup: Cleanup, place: &Place<'_>) -> Finding {
    let mut why = format!(
        "offsets {} to {} of {place} are missing: {how}, and the topic is not compacted",
        span.from,
        span.until - 1
    );
    if cleanup == Cleanup::Unknown {
        why = format!(
            "offsets {} to {} of {place} are missing: {how}; the topic's cleanup.policy could not be read, so they may have been compacted",
            span.from,
            span.until - 1
        );
    }
    let mut finding = place.finding(Kind::OffsetGap, &[&span.from, &span.until], why);
    finding.offsets = Some(span);
    finding.count = span.len();
    if cleanup == Cleanup::Unknown {
        finding.grade = Grade::Possible;
    }
    finding.evidence("how", json!(how))
}
