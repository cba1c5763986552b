//! A pair of stores that is followed.

use std::collections::BTreeMap;

use serde_json::{Map, json};

use super::{EVIL, NOON, covered, report};
use crate::audit::drift::{AGES, Age, Claim, Cut, DriftSummary, Following, LawSummary};
use crate::audit::finding::{Finding, Grade, Kind, State};
use crate::audit::verdict::{Report, Verdict};

const MINUTE: i64 = 60_000;

fn finding(kind: Kind, id: i64, bucket: u64) -> Finding {
    let why =
        format!("id {id} {}", if kind == Kind::Differs { "differs: amount 10.00 → 10.01" } else { "is not there" });
    let mut finding = Finding::new(kind, "orders", &[&id], why).evidence("bucket", bucket).evidence("attempts", 5);
    finding.key = Some(Map::from_iter([("id".to_owned(), json!(id.to_string()))]));
    (finding.first_seen, finding.last_seen) = (Some(NOON - 12 * MINUTE), Some(NOON));
    finding.evidence("pair", "orders-table")
}

pub fn drift() -> Report {
    let mut suspect = finding(Kind::Stale, 9, 77).evidence("confirmed", false);
    suspect.grade = Grade::Possible;
    let mut healed = finding(Kind::Extra, 7, 9);
    healed.state = State::Resolved;
    let findings = vec![finding(Kind::Missing, 4, 1_000), finding(Kind::Differs, 5, 4_095), suspect, healed];
    let mut report = report(findings, vec![covered("orders", 0, 100_000, &[])], Vec::new());
    let first = "topic orders".to_owned();
    let second = "postgres db:5432/shop orders".to_owned();
    report.summary.drift = Some(DriftSummary {
        pair: Some("orders-table".to_owned()),
        cuts: vec![Cut { partition: 0, settled: 99_990, end: 100_000 }],
        columns: ["id", "amount", "note"].map(str::to_owned).into(),
        keys: 50_000,
        rows: 49_999,
        in_flight: 10,
        suspects: 1,
        confirmed: 2,
        missing: 1,
        differs: 1,
        unverifiable: BTreeMap::from([("undecodable".to_owned(), 3)]),
        worst_columns: BTreeMap::from([("amount".to_owned(), 1)]),
        laws: vec![LawSummary {
            law: "sum(amount) by currency".to_owned(),
            groups: 3,
            wrong: 1,
            moving: 0,
            unjudged: None,
        }],
        table_bytes: 131_072,
        following: Some(Following {
            wrong: AGES.map(|(age, seconds)| Age { age: age.to_owned(), keys: u64::from(seconds <= 600) * 3 }).into(),
            waiting: 10,
            checked: 123_456,
            resolved: 1,
            comparisons: 5,
            parts: 4,
            compared_parts: vec![0, 1, 3],
            is_complete: false,
            compared_ms: Some(NOON - 1_000),
            comparison_ms: Some(NOON - 4 * MINUTE),
            comparison_seconds: 2.5,
            blind_since_ms: None,
            differing_buckets: Some(vec![77, 1_000, 4_095]),
        }),
        ..DriftSummary::new(first, second, Claim::Bracketed)
    });
    report
}

/// The database is away, and everything is called by evil names.
pub fn hostile_drift() -> Report {
    let mut report = drift();
    (report.summary.verdict, report.summary.exit) = (Verdict::Unverified, 2);
    for finding in &mut report.findings {
        finding.id.replace_range(..4, "0bad");
        finding.topic = EVIL.to_owned();
        finding.why = EVIL.to_owned();
        finding.evidence.insert("pair".to_owned(), EVIL.into());
    }
    if let Some(drift) = &mut report.summary.drift {
        (drift.first, drift.second, drift.pair) = (EVIL.to_owned(), EVIL.to_owned(), Some(EVIL.to_owned()));
        drift.columns = vec![EVIL.to_owned()];
        drift.laws[0].law = EVIL.to_owned();
        drift.worst_columns = BTreeMap::from([(EVIL.to_owned(), 1)]);
        drift.unverifiable = BTreeMap::from([(EVIL.to_owned(), 1)]);
    }
    report
}
