//! What the keys that are wrong have in common: every nth record of a partition, one column, one partition, a time.
//!
//! Offsets are a fair counter only where nearly each record is the last one of its key: elsewhere the rows that are there
//! are no even sample of the records.

use std::collections::BTreeMap;

use crate::audit::drift::DriftSummary;
use crate::audit::finding::{Finding, Grade, Kind};
use crate::audit::patterns::losses::{Run, Segment};
use crate::audit::patterns::say::Subject;
use crate::audit::patterns::search::{Counter, search};
use crate::audit::patterns::summary::Found;
use crate::audit::patterns::tails::ln_binomial_upper;
use crate::report::format::{percent, plural, utc};

use super::topic::Read;

/// Of a hundred records so many may be versions that another one replaced.
const REPLACED: u64 = 5;
/// Fewer keys have anything in common.
const FEW: u64 = 5;
/// As unlikely by chance as a pattern that is called proven.
const LN_P: f64 = -13.8;

/// What is searched for among findings of one topic.
pub fn search_offsets(topic: &str, summary: &DriftSummary, read: &Read, findings: &[Finding]) -> Found {
    let mut found = Found::default();
    let records: u64 = read.coverage.iter().map(|coverage| coverage.records).sum();
    if summary.keys == 0 || records.saturating_sub(summary.keys) * 100 > records * REPLACED {
        return found;
    }
    for (what, kind) in [("lost", Kind::Missing), ("stale", Kind::Stale), ("differing", Kind::Differs)] {
        let mut runs: BTreeMap<i32, Vec<Run>> = BTreeMap::new();
        let is_one = |finding: &&Finding| finding.kind == kind && finding.grade == Grade::Proven && finding.is_open();
        for finding in findings.iter().filter(is_one) {
            let Some(seen) = finding.sightings.first().filter(|seen| seen.topic == topic) else { continue };
            let (at, ms) = (seen.offset, seen.timestamp);
            runs.entry(seen.partition).or_default().push(Run { from: at, until: at + 1, first_ms: ms, last_ms: ms });
        }
        let counter = |(partition, losses): (i32, Vec<Run>)| {
            let coverage = read.coverage.iter().find(|coverage| coverage.partition == partition)?;
            let place = format!("partition {partition}");
            let subject = Subject { topic: topic.to_owned(), stage: None, counter: "offset", place, what };
            let segment = Segment { from: coverage.from, until: coverage.until, losses };
            Some(Counter::new(subject, vec![segment.in_order()]))
        };
        let counters: Vec<Counter> = runs.into_iter().filter_map(counter).collect();
        if !counters.is_empty() {
            search(&counters, 1, &mut found);
        }
    }
    found
}

/// Sentences about what they share.
pub fn shared(summary: &DriftSummary, read: &Read, findings: &[Finding]) -> Vec<String> {
    // What healed is told for a while where a comparison goes on.
    let is_of_keys = |kind: Kind| Kind::OF_STORES.contains(&kind) && kind != Kind::Imbalance;
    let is_wrong = |finding: &&Finding| finding.is_open() && is_of_keys(finding.kind);
    let wrong: Vec<&Finding> = findings.iter().filter(is_wrong).collect();
    let count = wrong.len() as u64;
    if count < FEW {
        return Vec::new();
    }
    let mut said: Vec<String> = partition(read, &wrong).into_iter().collect();
    let changed = summary.differs + summary.stale;
    for (column, times) in summary.worst_columns.iter().filter(|(_, times)| **times == changed && changed >= FEW) {
        let alone = if summary.worst_columns.len() == 1 { " alone" } else { "" };
        said.push(format!("all {times} rows that have other content differ in column {column}{alone}"));
    }
    let times: Vec<i64> = wrong.iter().filter_map(|finding| finding.first_seen).filter(|ms| *ms > 0).collect();
    if let (Some(first), Some(last)) = (times.iter().min(), times.iter().max()) {
        let of = plural(times.len() as u64, "wrong key");
        said.push(format!("the last records of {of} were written between {} and {}", utc(*first), utc(*last)));
    }
    said
}

/// One partition with more of them than its share explains.
fn partition(read: &Read, wrong: &[&Finding]) -> Option<String> {
    let records: u64 = read.coverage.iter().map(|coverage| coverage.records).sum();
    let known: Vec<i32> = wrong.iter().filter_map(|finding| finding.partition).collect();
    let of = |coverage: &crate::audit::coverage::Coverage| {
        let own = known.iter().filter(|partition| **partition == coverage.partition).count() as u64;
        (own, coverage.records, coverage.partition)
    };
    let (own, its, partition) = read.coverage.iter().map(of).max_by_key(|(own, ..)| *own)?;
    let share = its as f64 / records.max(1) as f64;
    let is_telling = read.coverage.len() > 1 && ln_binomial_upper(own, known.len() as u64, share) < LN_P;
    is_telling.then(|| {
        format!(
            "{own} of {} wrong keys are of partition {partition}, which has {} of the records",
            known.len(),
            percent(its, records)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::drift::Claim;
    use crate::audit::finding::State;

    #[test]
    fn what_has_healed_is_wrong_no_more() {
        let summary = DriftSummary::new(String::new(), String::new(), Claim::Bracketed);
        let finding = |number: u64| {
            let mut finding = Finding::new(Kind::Missing, "t", &[&number], String::new());
            finding.first_seen = Some(1);
            finding
        };
        let mut findings: Vec<Finding> = (0..FEW).map(finding).collect();
        assert!(!shared(&summary, &Read::default(), &findings).is_empty());
        findings.iter_mut().for_each(|finding| finding.state = State::Resolved);
        assert!(shared(&summary, &Read::default(), &findings).is_empty());
    }
}
