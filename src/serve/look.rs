//! Looking things up on the board, for API and page alike.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::audit::finding::Finding;
use crate::audit::flows::summary::FlowSummary;
use crate::audit::verdict::Report;
use crate::lag::snapshot::Snapshot;

use super::board::{AuditView, DriftView};

pub type Audits = BTreeMap<String, AuditView>;

/// Audits that have a report.
pub fn reports(audits: &Audits) -> impl Iterator<Item = (&str, &Arc<Report>)> {
    audits.iter().filter_map(|(name, audit)| Some((name.as_str(), audit.report.as_ref()?)))
}

/// A flow by its name, with its audit and report.
pub fn flow<'a>(audits: &'a Audits, name: &str) -> Option<(&'a AuditView, &'a Arc<Report>, &'a FlowSummary)> {
    let of = |audit: &'a AuditView| {
        let report = audit.report.as_ref()?;
        Some((audit, report, report.summary.flow.as_ref()?))
    };
    audits.values().filter_map(of).find(|(_, _, flow)| flow.flow == name)
}

/// All findings, with the name of their audit.
pub fn findings(audits: &Audits) -> impl Iterator<Item = (&str, &Finding)> {
    reports(audits).flat_map(|(name, report)| report.findings.iter().map(move |finding| (name, finding)))
}

pub type Drifts = BTreeMap<String, DriftView>;

/// All findings of pairs, with the name of their pair.
pub fn differences(drifts: &Drifts) -> impl Iterator<Item = (&str, &Finding)> {
    let reports = drifts.iter().filter_map(|(name, drift)| Some((name.as_str(), drift.report.as_deref()?)));
    reports.flat_map(|(name, report)| report.findings.iter().map(move |finding| (name, finding)))
}

/// Topics that a group reads or an audit covers.
pub fn topics<'a>(lag: &'a Snapshot, audits: &'a Audits) -> BTreeSet<&'a str> {
    let covered = reports(audits).flat_map(|(_, report)| report.coverage.iter().map(|part| part.topic.as_str()));
    let found = findings(audits).map(|(_, finding)| finding.topic.as_str());
    lag.partitions.iter().map(|part| &*part.topic).chain(covered).chain(found).collect()
}
