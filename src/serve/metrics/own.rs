//! What audits, alerts and sordini itself know, as samples.

use std::collections::BTreeMap;
use std::io;

use super::lag::{Section, seconds};
use super::segments::Segment;
use super::table::{self as t, Family};
use super::text::{Samples, Value};
use crate::alert::incident::{Incident, Severity};
use crate::audit::coverage::Hole;
use crate::audit::finding::{Grade, Kind, State};
use crate::audit::verdict::{Figures, Report};
use crate::report::topics;
use crate::report::words::Looked;
use crate::serve::board::{AuditView, Board};

pub(super) type All = Vec<io::Result<Option<(&'static Family, Segment)>>>;

pub(super) fn family(all: &mut All, family: &'static Family, fill: impl FnOnce(&mut Samples)) {
    let mut samples = Samples::of(family);
    fill(&mut samples);
    all.push(samples.finish());
}

pub fn audits(audits: &BTreeMap<String, AuditView>) -> io::Result<Section> {
    let mut all = All::new();
    family(&mut all, &t::AUDIT_VERDICT, |s| {
        for (name, report) in reports(audits) {
            s.add([name.into(), report.summary.verdict.name().into()], 1i64);
        }
    });
    type OfView = fn(&AuditView) -> Option<Value>;
    let of_view: [(&'static Family, OfView); 4] = [
        (&t::AUDIT_RUNNING, |a| Some(i64::from(a.trouble.is_none()).into())),
        (&t::AUDIT_RESTARTS, |a| Some(a.restarts.into())),
        (&t::AUDIT_REPORT, |a| a.report.as_ref().map(|_| seconds(a.at_ms).into())),
        (&t::AUDIT_BEHIND, |a| a.behind.map(Into::into)),
    ];
    for (f, figure) in of_view {
        family(&mut all, f, |s| {
            for (name, audit) in audits {
                if let Some(value) = figure(audit) {
                    s.add([name.as_str().into()], value);
                }
            }
        });
    }
    type OfFigures = fn(&Figures) -> u64;
    let of_figures: [(&'static Family, Option<Kind>, OfFigures); 9] = [
        (&t::AUDIT_READ, None, |f| f.records),
        (&t::AUDIT_BYTES, None, |f| f.bytes),
        (&t::AUDIT_LOST, Some(Kind::SequenceGap), |f| f.lost),
        (&t::AUDIT_DUPLICATED, Some(Kind::Duplicate), |f| f.duplicated),
        (&t::AUDIT_CONFLICTING, Some(Kind::Conflict), |f| f.conflicting),
        (&t::AUDIT_REORDERED, Some(Kind::Reorder), |f| f.reordered),
        (&t::AUDIT_LATE, Some(Kind::SequenceGap), |f| f.late),
        (&t::AUDIT_UNIDENTIFIED, None, |f| f.unidentified),
        (&t::AUDIT_UNEXPLAINED, Some(Kind::OffsetGap), |f| f.unexplained),
    ];
    for (f, kind, figure) in of_figures {
        family(&mut all, f, |s| {
            for (name, report) in reports(audits) {
                let value = figure(&report.summary.figures);
                // Zero means something only where somebody looked.
                if value > 0 || kind.is_none_or(|kind| Looked::at(kind, report) != Looked::Nowhere) {
                    s.add([name.into()], value);
                }
            }
        });
    }
    by_topic(audits, &mut all);
    super::flows::flows(audits, &mut all);
    all.into_iter().filter_map(Result::transpose).collect()
}

fn by_topic(audits: &BTreeMap<String, AuditView>, all: &mut All) {
    let covered: Vec<_> = reports(audits)
        .flat_map(|(name, report)| topics::topics(&report.coverage).into_iter().map(move |topic| (name, topic)))
        .collect();
    family(all, &t::TOPIC_RECORDS, |s| {
        for (name, topic) in &covered {
            s.add([(*name).into(), topic.topic.into()], topic.records);
        }
    });
    family(all, &t::TOPIC_HOLES, |s| {
        for (name, topic) in &covered {
            for hole in Hole::ALL {
                match topic.holes.get(hole) {
                    0 => {}
                    offsets => s.add([(*name).into(), topic.topic.into(), hole.name().into()], offsets),
                }
            }
        }
    });
    /// Audit, topic, kind, grade and whether it is open.
    type Same<'a> = (&'a str, &'a str, Kind, Grade, bool);
    let mut found: BTreeMap<Same<'_>, (u64, u64)> = BTreeMap::new();
    for (name, report) in reports(audits) {
        for finding in &report.findings {
            let key = (name, finding.topic.as_str(), finding.kind, finding.grade, finding.state == State::Open);
            let (findings, records) = found.entry(key).or_default();
            *findings += 1;
            *records = records.saturating_add(finding.count);
        }
    }
    for (f, of_records) in [(&t::FINDINGS, false), (&t::FINDING_RECORDS, true)] {
        family(all, f, |s| {
            for (&(name, topic, kind, grade, open), &(findings, records)) in &found {
                let state = if open { "open" } else { "resolved" };
                let labels = [name.into(), topic.into(), kind.name().into(), grade.name().into(), state.into()];
                s.add(labels, if of_records { records } else { findings });
            }
        });
    }
}

fn reports(audits: &BTreeMap<String, AuditView>) -> impl Iterator<Item = (&str, &Report)> {
    audits.iter().filter_map(|(name, audit)| Some((name.as_str(), audit.report.as_deref()?)))
}

/// In which of these an incident is; exactly one.
pub fn state(incident: &Incident, now_ms: i64) -> &'static str {
    match incident {
        _ if incident.resolved_ms.is_some() => "resolved",
        _ if incident.opened_ms.is_none() => "pending",
        _ if incident.muted_until_ms.is_some_and(|until| until > now_ms) => "muted",
        _ if incident.acknowledged.is_some() => "acknowledged",
        _ => "open",
    }
}

pub fn rest(board: &Board, version: &str, now_ms: i64) -> io::Result<Section> {
    let mut all = All::new();
    super::drift::drifts(&board.drifts.load(), &mut all);
    let incidents = board.incidents.load();
    family(&mut all, &t::INCIDENTS, |s| {
        for severity in [Severity::Info, Severity::Warning, Severity::Critical] {
            for word in ["pending", "open", "acknowledged", "muted", "resolved"] {
                let counted = incidents.iter().filter(|i| i.severity == severity && state(i, now_ms) == word).count();
                s.add([severity.name().into(), word.into()], counted);
            }
        }
    });
    let sinks = board.sinks.load();
    type OfSink = fn(&crate::serve::board::SinkView) -> Option<Value>;
    let of_sink: [(&'static Family, OfSink); 4] = [
        (&t::SINK_DELIVERIES, |s| Some(s.delivered.into())),
        (&t::SINK_FAILURES, |s| Some(s.failed.into())),
        (&t::SINK_WAITING, |s| Some(s.waiting.into())),
        (&t::SINK_SUCCESS, |s| s.last_success_ms.map(|ms| seconds(ms).into())),
    ];
    for (f, figure) in of_sink {
        family(&mut all, f, |s| {
            for sink in sinks.iter() {
                if let Some(value) = figure(sink) {
                    s.add([sink.name.as_str().into(), sink.kind.into()], value);
                }
            }
        });
    }
    let pulses = board.pulses.load();
    type OfPulse = fn(&crate::serve::board::Pulse) -> Value;
    let of_pulse: [(&'static Family, OfPulse); 3] = [
        (&t::PART_PULSE, |p| seconds(p.last_ms).into()),
        (&t::PART_SILENCE, |p| seconds(p.allowed_ms).into()),
        (&t::PART_READY, |p| i64::from(p.ready).into()),
    ];
    for (f, figure) in of_pulse {
        family(&mut all, f, |s| {
            for (part, pulse) in pulses.iter() {
                s.add([part.as_str().into()], figure(pulse));
            }
        });
    }
    family(&mut all, &t::BUILD, |s| s.add([version.into()], 1i64));
    family(&mut all, &t::RENDERED, |s| s.add([], seconds(now_ms)));
    family(&mut all, &t::STARTED, |s| s.add([], seconds(board.started_ms)));
    if let Some(bytes) = resident_bytes() {
        family(&mut all, &t::RESIDENT, |s| s.add([], bytes));
    }
    all.into_iter().filter_map(Result::transpose).collect()
}

pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
