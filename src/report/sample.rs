//! Reports for tests: the cases a reader meets, hostile names, and arbitrary findings.

mod drift;
mod flow;

use proptest::prelude::*;

pub use self::drift::{drift, hostile_drift};
pub use self::flow::flow;
use super::Context;
use crate::audit::coverage::{Coverage, Hole, Holes, Isolation, Strip};
use crate::audit::finding::{Finding, Grade, Identity, Kind, Rung, Sighting, Span, State};
use crate::audit::verdict::{Figures, NotChecked, Picture, Report, Summary, Unread, Verdict, judge};

pub const NOON: i64 = 1_790_000_000_000;
const MINUTE: i64 = 60_000;
/// Names that try to break out of their place.
const EVIL: &str = "<script>alert(\"1\")</script>&'\u{1b}[2J\u{0}\n]]>";

pub fn context() -> Context {
    Context { now_ms: NOON, source: "orders at kafka:9092".to_owned(), color: false, width: 100 }
}

pub fn clean() -> Report {
    let coverage = vec![covered("orders", 0, 100_000, &[(Hole::Control, 40)]), covered("orders", 1, 120_000, &[])];
    let mut report = report(Vec::new(), coverage, Vec::new());
    report.summary.ledger = Some("/var/lib/sordini/orders".to_owned());
    report.summary.figures.sightings = 219_960;
    report.summary.not_checked = vec![missed("orders", &[Kind::TailLoss, Kind::Reorder], "no number is declared")];
    report
}

fn missed(topic: &str, kinds: &[Kind], why: &str) -> NotChecked {
    NotChecked { topic: topic.to_owned(), kinds: kinds.to_vec(), why: why.to_owned() }
}

/// Nothing was there to read.
pub fn empty() -> Report {
    let why = "nothing was read: orders is empty, so there is nothing to vouch for".to_owned();
    let unread = vec![Unread { topic: String::new(), partition: None, from: None, until: None, why }];
    let mut report = report(Vec::new(), vec![covered("orders", 0, 0, &[])], unread);
    report.summary.not_checked =
        vec![missed("orders", &Kind::of_audits().collect::<Vec<_>>(), "nothing of it was read")];
    report
}

pub fn many() -> Report {
    let mut findings =
        vec![missing("pump-7", 2, 17, 21, 12), missing("pump-7", 2, 40, 1_240, 11), missing("pump-9", 5, 3, 4, 9)];
    findings.extend((0..6).map(|n| duplicate(n, "retry")));
    let mut possible = missing("pump-9", 5, 90, 96, 1);
    possible.grade = Grade::Possible;
    possible.why = "not seen yet: numbers 90 to 95; they may still arrive".to_owned();
    findings.push(possible);
    let mut gap =
        Finding::new(Kind::OffsetGap, "payments", &[&0, &500], "500 offsets are gone without a reason".to_owned());
    gap.partition = Some(0);
    gap.offsets = Some(Span::new(500, 1_000));
    gap.count = 500;
    findings.push(gap);
    let mut late = missing("pump-7", 2, 5, 9, 30);
    late.state = State::Resolved;
    late.cause = Some("late".to_owned());
    findings.push(late);

    let coverage = vec![
        covered("orders", 2, 1_234_567, &[(Hole::Aborted, 900), (Hole::Control, 12)]),
        covered("orders", 5, 900_000, &[(Hole::Compacted, 40_000)]),
        covered("payments", 0, 2_000, &[(Hole::Unexplained, 500)]),
    ];
    let mut report = report(findings, coverage, Vec::new());
    let figures = &mut report.summary.figures;
    (figures.lost, figures.duplicated, figures.late, figures.sessions) = (1_205, 6, 4, 2);
    (figures.reordered, figures.unexplained) = (9, 500);
    figures.n_reordering = vec![9, 4, 1];
    figures.reorder_density = vec![(-3, 2), (-1, 5), (1, 7), (2, 2)];
    report.summary.notes = vec!["7 records carry no session header; they are not checked for loss".to_owned()];
    report.summary.samples = vec!["orders[2]@99: header `session` is absent".to_owned()];
    report
}

pub fn unverified() -> Report {
    let unread = vec![
        Unread {
            topic: "orders".to_owned(),
            partition: Some(1),
            from: Some(500),
            until: Some(1_000),
            why: "broker 2 at kafka:9093 refused the connection; start it or leave partition 1 out with -p".to_owned(),
        },
        Unread {
            topic: "refunds".to_owned(),
            partition: None,
            from: None,
            until: None,
            why: "no such topic; check the name with `kcat -L`".to_owned(),
        },
    ];
    let coverage = vec![covered("orders", 0, 1_000, &[]), covered("orders", 1, 1_000, &[(Hole::Unfetched, 500)])];
    let mut report = report(vec![missing("pump-7", 0, 3, 5, 12)], coverage, unread);
    report.summary.not_checked = vec![
        missed("orders", &[Kind::Conflict], "producer sequences do not show it; --id does"),
        missed("refunds", &Kind::of_audits().collect::<Vec<_>>(), "nothing of it was read"),
    ];
    report
}

pub fn inconclusive() -> Report {
    let mut weak = duplicate(3, "retry");
    weak.grade = Grade::Possible;
    weak.why = "two records have equal contents; without an id they may be two events".to_owned();
    report(vec![weak], vec![covered("orders", 0, 5_000, &[(Hole::Unknown, 12)])], Vec::new())
}

/// Every foreign text tries to break out of its place.
pub fn hostile() -> Report {
    let (mut report, mut of_flow) = (many(), flow());
    for finding in &mut of_flow.findings {
        // Two audits find nothing under one id.
        finding.id.replace_range(..4, "0bad");
        for name in ["flow", "stage", "counter", "of"] {
            finding.evidence.insert(name.to_owned(), EVIL.into());
        }
    }
    report.findings.extend(of_flow.findings);
    report.summary.flow = of_flow.summary.flow.map(|mut flow| {
        flow.flow = EVIL.to_owned();
        for stage in &mut flow.stages {
            stage.stage.push_str(EVIL);
            stage.topic.push_str(EVIL);
            stage.hop.iter_mut().for_each(|hop| hop.after.push_str(EVIL));
        }
        flow
    });
    for finding in &mut report.findings {
        finding.topic = EVIL.to_owned();
        finding.why = EVIL.to_owned();
        finding.session = Some(EVIL.to_owned());
        finding.cause = Some(EVIL.to_owned());
        finding.sightings.iter_mut().for_each(|s| s.topic = EVIL.to_owned());
        finding.identity.iter_mut().for_each(|i| i.value = Some(EVIL.to_owned()));
    }
    report.coverage.iter_mut().for_each(|c| c.topic = EVIL.to_owned());
    report.pictures.iter_mut().for_each(|p| p.topic = EVIL.to_owned());
    let why = EVIL.to_owned();
    report.summary.unread.push(Unread { topic: EVIL.to_owned(), partition: None, from: None, until: None, why });
    report.summary.not_checked.push(missed(EVIL, &[Kind::Conflict], EVIL));
    report.summary.notes.push(EVIL.to_owned());
    report.summary.samples.push(EVIL.to_owned());
    report.summary.ledger = Some(EVIL.to_owned());
    report
}

/// Thousands of findings and hundreds of partitions.
pub fn large() -> Report {
    let coverage =
        (0..400).map(|p| covered("orders", p, 10_000, &[(Hole::Aborted, 100), (Hole::Unexplained, 3)])).collect();
    let findings =
        (0..5_000).map(|n| missing(&format!("pump-{}", n % 300), (n % 400) as i32, n * 10, n * 10 + 3, 60)).collect();
    report(findings, coverage, Vec::new())
}

pub fn missing(session: &str, partition: i32, from: i64, until: i64, minutes_ago: i64) -> Finding {
    let numbers = match until - from {
        1 => format!("number {from}"),
        _ => format!("numbers {from} to {}", until - 1),
    };
    let why = format!("not seen within 10 s: {numbers} of session {session}, while later ones were");
    let mut finding = Finding::new(Kind::SequenceGap, "orders", &[&session, &from], why);
    finding.partition = Some(partition);
    finding.offsets = Some(Span::new(from * 10, from * 10 + 2));
    finding.session = Some(session.to_owned());
    finding.numbers = Some(Span::new(from, until));
    finding.count = (until - from) as u64;
    finding.first_seen = Some(NOON - minutes_ago * MINUTE);
    finding.last_seen = Some(NOON - minutes_ago * MINUTE + 4_000);
    finding.evidence("wait_ms", 10_000)
}

fn duplicate(n: i64, cause: &str) -> Finding {
    let why = "the same id and the same contents are at 2 positions".to_owned();
    let mut finding = Finding::new(Kind::Duplicate, "orders", &[&n], why);
    finding.partition = Some(2);
    finding.cause = Some(cause.to_owned());
    finding.identity = Some(Identity { rung: Rung::Id, hash: format!("{n:032x}"), value: None });
    finding.sightings = [(2, 700 + n), (5, 900 + n)]
        .map(|(partition, offset)| Sighting {
            topic: "orders".to_owned(),
            partition,
            offset,
            timestamp: NOON - (20 - n) * MINUTE,
            checksum: format!("{n:016x}"),
        })
        .to_vec();
    finding
}

fn covered(topic: &str, partition: i32, offsets: i64, reasons: &[(Hole, u64)]) -> Coverage {
    let mut holes = Holes::default();
    reasons.iter().for_each(|&(hole, n)| holes.add(hole, n));
    let records = offsets as u64 - holes.total();
    let batches = records.div_ceil(100);
    Coverage {
        topic: topic.to_owned(),
        partition,
        from: 0,
        until: offsets,
        records,
        batches,
        isolation: Isolation::ReadCommitted,
        holes,
    }
}

fn report(findings: Vec<Finding>, coverage: Vec<Coverage>, unread: Vec<Unread>) -> Report {
    let verdict: Verdict = judge(&findings, &coverage, &unread);
    let records = coverage.iter().map(|c| c.records).sum();
    let figures = Figures { records, bytes: records * 100, batches: records / 100, ..Figures::default() };
    let summary = Summary {
        verdict,
        exit: verdict.exit(),
        figures,
        unread,
        not_checked: Vec::new(),
        notes: Vec::new(),
        samples: Vec::new(),
        flow: None,
        drift: None,
        pairs: Vec::new(),
        searched: Vec::new(),
        seconds: 2.5,
        ledger: None,
    };
    let pictures = coverage.iter().map(picture).collect();
    Report { findings, coverage, pictures, summary }
}

/// The holes spread over the partition in three places.
fn picture(coverage: &Coverage) -> Picture {
    let mut strip = Strip::new(coverage.from);
    let mut at = coverage.from;
    let share = coverage.records as i64 / 4;
    for part in 0..3 {
        strip.add_records(at, at + share, share as u64, Some((NOON - 60 * MINUTE, NOON)));
        at += share;
        for hole in Hole::ALL {
            let n = coverage.holes.get(hole) as i64;
            let n = if part == 2 { n - 2 * (n / 3) } else { n / 3 };
            strip.add_hole(at, at + n, hole);
            at += n;
        }
    }
    let rest = coverage.until - at;
    strip.add_records(at, coverage.until, rest as u64, Some((NOON - 60 * MINUTE, NOON)));
    Picture { topic: coverage.topic.clone(), partition: coverage.partition, strip }
}

prop_compose! {
    fn any_finding()(
        kind in prop::sample::select(Kind::ALL.to_vec()),
        grade in prop::sample::select(vec![Grade::Proven, Grade::Possible, Grade::Unknown]),
        resolved in any::<bool>(),
        topic in "[ab]",
        partition in prop::option::of(0..4i32),
        session in prop::option::of("[xy]"),
        numbers in prop::option::of((0i64..100, 0i64..20)),
        cause in prop::option::of("[rs]"),
        times in prop::option::of((any::<i64>(), any::<i64>())),
        count in 0u64..1_000_000,
        why in any::<String>(),
        id in any::<u64>(),
    ) -> Finding {
        let mut finding = Finding::new(kind, &topic, &[&id], why);
        finding.grade = grade;
        finding.state = if resolved { State::Resolved } else { State::Open };
        finding.partition = partition;
        finding.session = session;
        finding.numbers = numbers.map(|(from, len)| Span::new(from, from + len));
        finding.cause = cause;
        finding.first_seen = times.map(|t| t.0);
        finding.last_seen = times.map(|t| t.1);
        finding.count = count;
        finding
    }
}

pub fn any_findings() -> impl Strategy<Value = Vec<Finding>> {
    prop::collection::vec(any_finding(), 0..30)
}

prop_compose! {
    pub fn any_report()(findings in any_findings(), offsets in 0i64..5_000, aborted in 0u64..100, unread in any::<bool>()) -> Report {
        let holes = [(Hole::Aborted, aborted.min(offsets as u64))];
        let part = Unread { topic: "a".to_owned(), partition: None, from: None, until: None, why: "gone".to_owned() };
        report(findings, vec![covered("a", 0, offsets, &holes)], if unread { vec![part] } else { Vec::new() })
    }
}
