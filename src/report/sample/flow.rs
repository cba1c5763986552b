//! A flow in which much goes wrong.

use super::{MINUTE, NOON, covered, report};
use crate::audit::finding::{Finding, Identity, Kind, Rung};
use crate::audit::flows::summary::{Burn, FlowSummary, HopSummary, StageSummary};
use crate::audit::patterns::attribution::{Cause, Named, Since};
use crate::audit::patterns::losses::{Run, Segment};
use crate::audit::patterns::periodic::{Loss, Periodic, Unit};
use crate::audit::patterns::say::Subject;
use crate::audit::verdict::Report;

/// It loses every hundredth transaction at one hop, keeping its objective nowhere; is slow at the next; and at a branch loses
/// what one producer sent.
pub fn flow() -> Report {
    let coverage = [("orders", 12_000), ("payments", 11_875), ("mail.out", 11_700), ("ledger.entries", 11_635)];
    let coverage = coverage.map(|(topic, offsets)| covered(topic, 0, offsets, &[])).into();
    let findings = [every_hundredth(), one_producer()].into_iter().chain((0..3).map(missing)).collect();
    let mut report = report(findings, coverage, Vec::new());
    report.summary.flow = Some(summary());
    report
}

fn subject(stage: &str, topic: &str, counter: &'static str) -> Subject {
    let stage = Some(("purchase".to_owned(), stage.to_owned()));
    Subject { topic: topic.to_owned(), stage, counter, place: String::new(), what: "lost" }
}

/// 120 on the residue, five elsewhere.
fn every_hundredth() -> Finding {
    let loss = |number: i64, minutes: i64| Loss { segment: 0, number, ms: NOON - minutes * MINUTE };
    let periodic = Periodic {
        n: 100,
        residue: 99,
        width: 1,
        unit: Unit::Number,
        hits: 120,
        eligible: 120,
        hit_rate: 1.0,
        hit_rate_interval: (0.969, 1.0),
        background: 5.0 / 11_880.0,
        share: 0.96,
        ln_p: -812.25,
        first: loss(99, 58),
        last: loss(11_999, 1),
        next: vec![12_099, 12_199, 12_299],
        exact: false,
        burst_like: false,
        phases: Vec::new(),
    };
    let mut lost: Vec<i64> = (0..120).map(|k| k * 100 + 99).chain([1_234, 4_568, 7_001, 7_042, 11_850]).collect();
    lost.sort_unstable();
    let run = |&number: &i64| Run { from: number, until: number + 1, first_ms: NOON, last_ms: NOON };
    let segment = Segment { from: 0, until: 12_000, losses: lost.iter().map(run).collect() };
    let finding = subject("payments", "payments", "transaction-number").periodic(&periodic, &[segment]);
    finding.expect("it is no burst")
}

fn one_producer() -> Finding {
    let since = Since { time_ms: NOON - 40 * MINUTE, within_ms: MINUTE, before_rate: 0.0, after_rate: 0.031 };
    subject("ledger", "ledger.entries", "attributes").cause(&Cause {
        dimension: "producer".to_owned(),
        value: "4711".to_owned(),
        pair: None,
        lost: 240,
        sent: 244,
        rate: 240.0 / 244.0,
        rest_lost: 0,
        rest_sent: 11_631,
        rest_rate: 0.0,
        risk_ratio: 22_880.0,
        explained: 1.0,
        ln_p: -1_140.5,
        ties: vec![Named { dimension: "partition".to_owned(), value: "3".to_owned() }],
        since: Some(since),
        estimated: false,
    })
}

fn missing(n: u64) -> Finding {
    let hash = format!("{n:032x}");
    let why =
        format!("a transaction that orders saw (orders[0]@{}) did not arrive within 30 s at payments", n * 100 + 99);
    let mut finding = Finding::new(Kind::MissingStage, "payments", &[&"purchase", &"payments", &hash], why);
    finding.identity = Some(Identity { rung: Rung::Id, hash, value: None });
    finding.first_seen = Some(NOON - 50 * MINUTE);
    finding.evidence("flow", "purchase").evidence("stage", "payments").evidence("last_stage", "orders")
}

fn summary() -> FlowSummary {
    let hop = |after: &str, matched, missing, latency_ms| HopSummary {
        after: after.to_owned(),
        rule: "exactly-one".to_owned(),
        matched,
        missing,
        per_second: Some(198.4),
        latency_ms: Some(latency_ms),
        ..HopSummary::default()
    };
    let burn =
        Burn { objective: 0.999, m5: Some(21.0), m30: Some(18.5), h1: Some(16.2), h6: Some(7.9), is_burning: true };
    let payments = HopSummary { burn: Some(burn), mismatched: 2, ..hop("orders", 11_875, 125, [12, 20, 31, 48, 90]) };
    let letters = HopSummary {
        rule: "optional".to_owned(),
        late: 40,
        slower_since: Some(NOON - 20 * MINUTE),
        ..hop("payments", 11_700, 0, [900, 4_000, 28_000, 41_000, 59_000])
    };
    let ledger = hop("payments", 11_635, 240, [40, 70, 160, 310, 940]);
    let stage = |name: &str, topic: &str, seen, hop| StageSummary {
        stage: name.to_owned(),
        topic: topic.to_owned(),
        seen,
        repeated: 0,
        hop,
    };
    FlowSummary {
        flow: "purchase".to_owned(),
        stages: vec![
            stage("orders", "orders", 12_000, None),
            stage("payments", "payments", 11_875, Some(payments)),
            stage("letters", "mail.out", 11_700, Some(letters)),
            stage("ledger", "ledger.entries", 11_635, Some(ledger)),
        ],
        open: 14,
        given_up: 0,
        unlisted: 0,
        bottleneck: Some("letters".to_owned()),
    }
}
