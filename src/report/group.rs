//! Findings gathered into what a person can take in: one group for each kind, topic, cause and grade, worst first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::format;
use crate::audit::finding::{Finding, Grade, Kind, Span, State};

pub struct Group<'a> {
    pub kind: Kind,
    pub grade: Grade,
    pub state: State,
    pub topic: &'a str,
    pub cause: Option<&'a str>,
    /// Largest first.
    pub findings: Vec<&'a Finding>,
    pub records: u64,
    pub sessions: BTreeSet<&'a str>,
    pub partitions: BTreeSet<i32>,
    /// In the time of the records.
    pub first: Option<i64>,
    pub last: Option<i64>,
}

/// One session's numbers that findings speak of.
pub struct SessionRuns<'a> {
    pub session: &'a str,
    pub topic: &'a str,
    pub runs: Vec<Span>,
    pub numbers: u64,
}

/// Open before resolved, sure before unsure, loss and damage before repetition before order, then by size.
pub fn groups(findings: &[Finding]) -> Vec<Group<'_>> {
    let mut by_key: HashMap<_, Group<'_>> = HashMap::new();
    for finding in findings {
        let cause = finding.cause.as_deref();
        let key = (finding.kind, finding.grade, finding.state, finding.topic.as_str(), cause);
        by_key.entry(key).or_insert_with(|| Group::new(finding)).add(finding);
    }
    let mut groups: Vec<Group<'_>> = by_key.into_values().collect();
    for group in &mut groups {
        group.findings.sort_by_key(|f| (Reverse(f.count), f.partition, f.offsets.map(|o| o.from)));
    }
    groups.sort_by_key(|g| {
        (
            !g.is_open(),
            g.grade,
            severity(g.kind),
            Reverse(g.records),
            Reverse(g.findings.len()),
            g.kind,
            g.topic,
            g.cause,
        )
    });
    groups
}

impl<'a> Group<'a> {
    fn new(finding: &'a Finding) -> Self {
        Self {
            kind: finding.kind,
            grade: finding.grade,
            state: finding.state,
            topic: &finding.topic,
            cause: finding.cause.as_deref(),
            findings: Vec::new(),
            records: 0,
            sessions: BTreeSet::new(),
            partitions: BTreeSet::new(),
            first: None,
            last: None,
        }
    }

    fn add(&mut self, finding: &'a Finding) {
        self.findings.push(finding);
        self.records = self.records.saturating_add(finding.count);
        self.sessions.extend(finding.session.as_deref());
        self.partitions.extend(finding.partition);
        let sighted = finding.sightings.iter().filter(|s| s.topic == finding.topic);
        self.partitions.extend(sighted.map(|s| s.partition));
        if let Some((first, last)) = times(finding) {
            self.first = Some(self.first.map_or(first, |known| known.min(first)));
            self.last = Some(self.last.map_or(last, |known| known.max(last)));
        }
    }

    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }
}

/// First and last time a finding speaks of, from its sightings when it names none itself.
pub fn times(finding: &Finding) -> Option<(i64, i64)> {
    let sighted = || finding.sightings.iter().map(|s| s.timestamp).filter(|&ms| ms >= 0);
    let first = finding.first_seen.or_else(|| sighted().min()).or(finding.last_seen)?;
    let last = finding.last_seen.or_else(|| sighted().max()).unwrap_or(first);
    Some((first, last.max(first)))
}

/// Numbers by session, runs joined, the session with most numbers first.
pub fn session_runs<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> Vec<SessionRuns<'a>> {
    let mut by_session: BTreeMap<(&str, &str), Vec<Span>> = BTreeMap::new();
    for finding in findings {
        if let (Some(session), Some(numbers)) = (finding.session.as_deref(), finding.numbers) {
            by_session.entry((finding.topic.as_str(), session)).or_default().push(numbers);
        }
    }
    let mut sessions: Vec<SessionRuns<'_>> = by_session
        .into_iter()
        .map(|((topic, session), spans)| {
            let runs = format::merge(spans);
            let numbers = runs.iter().map(Span::len).sum();
            SessionRuns { session, topic, runs, numbers }
        })
        .collect();
    sessions.sort_by_key(|s| Reverse(s.numbers));
    sessions
}

/// 0 what is gone or damaged, 1 what is there too often or was not seen by the audit, 2 what is out of order.
pub fn severity(kind: Kind) -> u8 {
    match kind {
        Kind::SequenceGap
        | Kind::HeadLoss
        | Kind::TailLoss
        | Kind::OffsetGap
        | Kind::Truncation
        | Kind::RetentionOverrun
        | Kind::Conflict
        | Kind::ChecksumFailure
        | Kind::TopicReset
        | Kind::MissingStage
        | Kind::StageMismatch
        | Kind::PeriodicLoss
        | Kind::DimensionalLoss
        | Kind::Burst
        | Kind::Missing
        | Kind::Differs
        | Kind::Stale
        | Kind::Imbalance
        | Kind::LostChange => 0,
        Kind::Duplicate | Kind::UnexpectedRecord | Kind::RetryComb | Kind::Extra | Kind::AuditGap => 1,
        Kind::Reorder | Kind::TimestampRegression | Kind::EpochRegression => 2,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::sample;

    proptest! {
        #[test]
        fn every_finding_is_in_one_group_and_no_record_is_counted_twice(findings in sample::any_findings()) {
            let groups = groups(&findings);
            let mut ids: Vec<&str> = groups.iter().flat_map(|g| &g.findings).map(|f| f.id.as_str()).collect();
            let mut expected: Vec<&str> = findings.iter().map(|f| f.id.as_str()).collect();
            ids.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(ids, expected);
            let counted: u64 = groups.iter().map(|g| g.records).sum();
            prop_assert_eq!(counted, findings.iter().map(|f| f.count).sum::<u64>());
        }

        #[test]
        fn open_groups_come_before_resolved_ones_and_sure_ones_first(findings in sample::any_findings()) {
            let order: Vec<_> = groups(&findings).iter().map(|g| (!g.is_open(), g.grade, severity(g.kind))).collect();
            prop_assert!(order.is_sorted());
        }
    }
}
