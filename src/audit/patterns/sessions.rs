//! What an audit found, by the counters its findings have: session numbers of what was lost or came late, offsets of what
//! came twice or with other content.

use std::collections::BTreeMap;

use super::hop::LOOKS;
use super::losses::{Run, Segment};
use super::say::Subject;
use super::search::{Counter, search};
use super::summary::Found;
use crate::audit::finding::{Finding, Grade, Kind, Span};

/// Numbers of one session that were eligible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbered {
    pub topic: String,
    pub partition: Option<i32>,
    /// As findings name it.
    pub session: String,
    pub numbers: Span,
}

/// Offsets that were read of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    pub topic: String,
    pub partition: i32,
    pub offsets: Span,
}

/// Searches everything that can be counted, topic by topic.
pub fn patterns(findings: &[Finding], sessions: &[Numbered], read: &[Read], follows: bool, found: &mut Found) {
    let looks = if follows { LOOKS } else { 1 };
    let mut topics: BTreeMap<&str, Vec<&Finding>> = BTreeMap::new();
    for finding in findings.iter().filter(|finding| finding.grade == Grade::Proven) {
        topics.entry(&finding.topic).or_default().push(finding);
    }
    for numbered in sessions {
        topics.entry(&numbered.topic).or_default();
    }
    for (topic, findings) in &topics {
        let subject =
            |counter, what| Subject { topic: (*topic).to_owned(), stage: None, counter, place: String::new(), what };
        let own: Vec<&Numbered> = sessions.iter().filter(|numbered| numbered.topic == **topic).collect();
        for (what, runs) in [("lost", lost as fn(&Finding) -> Vec<Run>), ("late", late), ("reordered", reordered)] {
            let segments = by_session(findings, &own, runs);
            let has_any = segments.iter().any(|segment| !segment.losses.is_empty());
            if !own.is_empty() && (has_any || what == "lost") {
                search(&[Counter::new(subject("session-number", what), segments)], looks, found);
            }
        }
        for (what, kind) in [("duplicated", Kind::Duplicate), ("conflicting", Kind::Conflict)] {
            let partitions: Vec<Counter> = read
                .iter()
                .filter(|read| read.topic == **topic)
                .map(|read| {
                    let place = format!("partition {}", read.partition);
                    let segment = by_offset(findings, kind, read);
                    Counter::new(Subject { place, ..subject("offset", what) }, vec![segment])
                })
                .filter(|counter| !counter.segments[0].losses.is_empty())
                .collect();
            if !partitions.is_empty() {
                search(&partitions, looks, found);
            }
        }
    }
}

/// One segment for each session, in the order of their names.
fn by_session(findings: &[&Finding], sessions: &[&Numbered], runs: fn(&Finding) -> Vec<Run>) -> Vec<Segment> {
    let mut segments: BTreeMap<(Option<i32>, &str), Segment> = BTreeMap::new();
    for numbered in sessions {
        let segment = Segment { from: numbered.numbers.from, until: numbered.numbers.until, losses: Vec::new() };
        segments.insert((numbered.partition, &numbered.session), segment);
    }
    for finding in findings {
        let Some(session) = &finding.session else { continue };
        for run in runs(finding) {
            // A session that has begun anew since is known by what it lost only.
            let segment = segments.entry((place_of(finding), session)).or_insert_with(|| Segment {
                from: 0,
                until: run.until,
                losses: Vec::new(),
            });
            segment.from = segment.from.min(run.from);
            segment.until = segment.until.max(run.until);
            segment.losses.push(run);
        }
    }
    segments.into_values().map(Segment::in_order).collect()
}

/// A reordering names the partition even of a session that runs over all of them.
fn place_of(finding: &Finding) -> Option<i32> {
    finding.partition.filter(|_| finding.evidence.get("extent_is").is_none())
}

fn by_offset(findings: &[&Finding], kind: Kind, read: &Read) -> Segment {
    let of_kind = findings.iter().filter(|finding| finding.kind == kind && finding.is_open());
    let sightings = of_kind.flat_map(|finding| finding.sightings.iter().skip(1));
    let here = sightings.filter(|seen| seen.partition == read.partition && seen.topic == read.topic);
    let one = |offset: i64, ms: i64| Run { from: offset, until: offset + 1, first_ms: ms, last_ms: ms };
    let losses = here.map(|seen| one(seen.offset, seen.timestamp)).collect();
    Segment { from: read.offsets.from, until: read.offsets.until, losses }.in_order()
}

/// Numbers a finding says are missing: its range without what came late.
pub(super) fn lost(finding: &Finding) -> Vec<Run> {
    let is_loss = matches!(finding.kind, Kind::SequenceGap | Kind::HeadLoss | Kind::TailLoss) && finding.is_open();
    let Some(numbers) = finding.numbers.filter(|_| is_loss) else { return Vec::new() };
    let (first_ms, last_ms) = times(finding);
    let (mut runs, mut from) = (Vec::new(), numbers.from);
    for late in came_late(finding).into_iter().chain([numbers.until]) {
        if late > from {
            runs.push(Run { from, until: late, first_ms, last_ms });
        }
        from = late + 1;
    }
    runs
}

fn late(finding: &Finding) -> Vec<Run> {
    let (first_ms, last_ms) = times(finding);
    came_late(finding).into_iter().map(|number| Run { from: number, until: number + 1, first_ms, last_ms }).collect()
}

fn reordered(finding: &Finding) -> Vec<Run> {
    let (first_ms, last_ms) = times(finding);
    let numbers = finding.numbers.filter(|_| finding.kind == Kind::Reorder);
    numbers.map(|span| Run { from: span.from, until: span.until, first_ms, last_ms }).into_iter().collect()
}

fn came_late(finding: &Finding) -> Vec<i64> {
    let listed = finding.evidence.get("late").and_then(|late| late.as_array());
    listed.into_iter().flatten().filter_map(|number| number.as_i64()).collect()
}

fn times(finding: &Finding) -> (i64, i64) {
    let first = finding.first_seen.unwrap_or(0);
    (first, finding.last_seen.unwrap_or(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(from: i64, until: i64, late: &[i64]) -> Finding {
        let mut finding = Finding::new(Kind::SequenceGap, "t", &[&from], String::new());
        finding.session = Some("s".to_owned());
        finding.numbers = Some(Span::new(from, until));
        finding.evidence("late", serde_json::json!(late))
    }

    #[test]
    fn what_came_late_is_not_lost() {
        let runs: Vec<(i64, i64)> = lost(&gap(10, 15, &[11, 14])).iter().map(|run| (run.from, run.until)).collect();
        assert_eq!(runs, [(10, 11), (12, 14)]);
        assert_eq!(late(&gap(10, 15, &[11, 14])).len(), 2);
        assert!(lost(&gap(10, 12, &[10, 11])).is_empty());
    }

    #[test]
    fn every_hundredth_number_of_many_sessions_is_one_finding() {
        let session = |name: &str| Numbered {
            topic: "t".to_owned(),
            partition: None,
            session: name.to_owned(),
            numbers: Span::new(0, 2_000),
        };
        let sessions: Vec<Numbered> = ["a", "b", "c"].map(session).into();
        let mut findings = Vec::new();
        for name in ["a", "b", "c"] {
            findings.extend((0..20).map(|k| {
                let mut finding = gap(k * 100 + 7, k * 100 + 8, &[]);
                finding.session = Some(name.to_owned());
                finding
            }));
        }
        let mut found = Found::default();
        patterns(&findings, &sessions, &[], false, &mut found);
        assert_eq!(found.findings.len(), 1, "{:?}", found.findings);
        let evidence = &found.findings[0].evidence;
        assert_eq!((&evidence["n"], &evidence["residue"], &evidence["hits"]), (&100.into(), &7.into(), &60.into()));
        assert_eq!(found.searched.len(), 1);
        // The same sessions without a loss: what would have been found is said.
        let mut none = Found::default();
        patterns(&[], &sessions, &[], false, &mut none);
        assert!(none.findings.is_empty());
        assert_eq!((none.searched[0].limits.trials, none.searched[0].limits.smallest), (6_000, Some(2)));
    }
}
