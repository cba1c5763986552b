use std::collections::BTreeSet;

use super::*;
use crate::audit::coverage::{Holes, Isolation};
use crate::audit::drift::{Claim, LawSummary};
use crate::audit::finding::{Sighting, Span};
use crate::drift::topic::Read;
use crate::drift::{Told, say};

/// What one comparison says.
#[derive(Default)]
struct Look {
    findings: Vec<Finding>,
    unjudged: Option<&'static str>,
    moving: Vec<String>,
    buckets: Vec<usize>,
    coverage: Vec<Coverage>,
}

const LAW: &str = "sum(amount) = 0";

fn repeat(parts: u32, first: &str, second: &str) -> Repeat {
    Repeat::new(&Settings::between(first, second), &Rhythm { parts, ..Rhythm::default() })
}

/// Of the ids of what has healed.
fn healed(repeat: &mut Repeat, look: Look) -> Vec<String> {
    let mut summary = DriftSummary::new("a".to_owned(), "b".to_owned(), Claim::Heuristic);
    (summary.keys, summary.rows) = (1, 1);
    let unjudged = look.unjudged.map(str::to_owned);
    summary.laws = vec![LawSummary { law: LAW.to_owned(), groups: 1, wrong: 0, moving: 0, unjudged }];
    summary.undecided.sums.extend(look.moving);
    summary.undecided.buckets.extend(look.buckets);
    let read = Read { coverage: look.coverage, ..Read::default() };
    let told = Told { findings: look.findings, ..Told::new(read, summary) };
    let report = say::report(&repeat.settings, told, false, Duration::ZERO);
    let fresh = repeat.take(&report);
    repeat.part = repeat.part.next();
    fresh.into_iter().filter(|finding| !finding.is_open()).map(|finding| finding.id).collect()
}

fn imbalance() -> Finding {
    Finding::new(Kind::Imbalance, "a", &[&"EUR"], String::new()).evidence("law", LAW)
}

fn of_key(bucket: usize) -> Finding {
    Finding::new(Kind::Missing, "a", &[&bucket], String::new()).evidence("bucket", bucket)
}

fn coverage(from: i64) -> Coverage {
    let (topic, isolation, holes) = ("a".to_owned(), Isolation::ReadCommitted, Holes::default());
    Coverage { topic, partition: 0, from, until: 100, records: 0, batches: 0, isolation, holes }
}

fn found(findings: &[Finding]) -> Look {
    Look { findings: findings.to_vec(), ..Look::default() }
}

const SQLITE: [&str; 2] = ["sqlite:a.db?table=t", "sqlite:b.db?table=t"];

#[test]
fn only_the_part_that_found_it_heals_it() {
    let mut repeat = repeat(3, SQLITE[0], SQLITE[1]);
    let (sum, key) = (imbalance(), of_key(4));
    healed(&mut repeat, Look::default());
    assert!(healed(&mut repeat, found(&[sum.clone(), key.clone()])).is_empty());
    assert!(healed(&mut repeat, Look::default()).is_empty(), "another part");
    assert!(healed(&mut repeat, Look::default()).is_empty(), "another part");
    let all = BTreeSet::from_iter(healed(&mut repeat, Look::default()));
    assert_eq!(all, BTreeSet::from([key.id, sum.id]));
}

#[test]
fn what_cannot_be_said_heals_nothing() {
    let mut repeat = repeat(1, SQLITE[0], SQLITE[1]);
    let (sum, key) = (imbalance(), of_key(4));
    healed(&mut repeat, found(&[sum.clone(), key.clone()]));
    assert!(
        healed(&mut repeat, Look { unjudged: Some("records have left"), buckets: vec![4], ..Look::default() })
            .is_empty()
    );
    let moving = Look { moving: vec![sum.id.clone()], buckets: vec![5], ..Look::default() };
    assert_eq!(healed(&mut repeat, moving), [key.id]);
    assert_eq!(healed(&mut repeat, Look { buckets: vec![4], ..Look::default() }), [sum.id]);
}

#[test]
fn a_record_that_left_the_source_is_still_missing_in_the_mirror() {
    let mut repeat = repeat(1, "kafka://x:1/a", "kafka://y:1/a2");
    let missing = |offset: i64| {
        let mut finding = Finding::new(Kind::Missing, "a", &[&offset], String::new());
        finding.sightings.push(Sighting::new("a", 0, offset, 0, 0));
        finding
    };
    let from = |from: i64| Look { coverage: vec![coverage(from)], ..Look::default() };
    healed(&mut repeat, Look { findings: vec![missing(7), missing(9)], ..from(0) });
    assert_eq!(healed(&mut repeat, from(8)), [missing(9).id], "it has come late, and the other never will");
    assert!(healed(&mut repeat, from(20)).is_empty());
    // Of a run that leaves the log bit by bit, what is there takes its place.
    let run = |from: i64| {
        let mut finding = Finding::new(Kind::Missing, "a", &[&from, &40], String::new());
        finding.sightings.push(Sighting::new("a", 0, from, 0, 0));
        (finding.offsets, finding.partition) = (Some(Span::new(from, 40)), Some(0));
        finding
    };
    healed(&mut repeat, Look { findings: vec![run(30)], ..from(20) });
    assert_eq!(healed(&mut repeat, Look { findings: vec![run(35)], ..from(35) }), [run(30).id]);
    assert!(healed(&mut repeat, from(50)).is_empty());
    assert_eq!(repeat.standing().drift.iter().filter(|finding| finding.is_open()).count(), 2);
}
