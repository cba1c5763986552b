use serde_json::{Value, json};

use super::*;
use crate::generate::truth::Injected;
use crate::generate::{Options, Plan, lines};

fn truth() -> Truth {
    let specs = [
        "lose-burst=0.1%x4",
        "late-beyond=0.2%",
        "late=0.2%",
        "swap=0.2%",
        "duplicate=0.2%",
        "conflict=0.2%",
        "misnumber-reset",
    ];
    let faults = specs.iter().map(|spec| spec.parse().unwrap()).collect();
    let options = Options { faults, ..Options::new("orders", 8_000) };
    let truth = lines::write(Plan::new(&options, 1_790_000_000_000).unwrap(), &mut Vec::new()).unwrap();
    assert!(truth.faults.iter().all(|fault| fault.count > 0));
    truth
}

fn finding(kind: &str, id: usize, more: Value) -> Value {
    let mut finding = json!({"type": "finding", "id": format!("{id:016x}"), "kind": kind, "grade": "proven",
        "state": "open", "topic": "orders", "count": 1, "why": "because"});
    finding.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    finding
}

/// What a perfect audit says.
fn perfect(truth: &Truth) -> Vec<Value> {
    let mut findings = Vec::new();
    for Injected { expect, items, .. } in &truth.faults {
        for item in items {
            let id = findings.len();
            findings.push(match item {
                Item::Transaction { .. } => Value::Null,
                Item::Copies { positions, .. } => {
                    let sightings: Vec<Value> = positions
                        .iter()
                        .rev()
                        .map(|at| json!({"topic": "orders", "partition": at.partition, "offset": at.offset, "timestamp": 0, "checksum": ""}))
                        .collect();
                    finding(expect.name(), id, json!({"sightings": sightings}))
                }
                Item::Number { session, number } => numbered(*expect, id, session, *number, number + 1),
                Item::Numbers { session, from, until } => numbered(*expect, id, session, *from, *until),
            });
        }
    }
    findings.retain(|finding| !finding.is_null());
    findings.push(json!({"type": "coverage", "topic": "orders"}));
    findings.push(json!({"type": "summary", "verdict": "findings", "figures": {"resets": truth.resets()}}));
    findings
}

fn numbered(expect: Expect, id: usize, session: &str, from: u64, until: u64) -> Value {
    let at = json!({"session": session, "numbers": {"from": from, "until": until}});
    match expect {
        Expect::Lost => finding("sequence-gap", id, at),
        Expect::Reorder => finding("reorder", id, at),
        Expect::Late => {
            let mut gap = finding("sequence-gap", id, at);
            gap["state"] = json!("resolved");
            gap["evidence"] = json!({"late": (from..until).collect::<Vec<_>>()});
            gap
        }
        _ => Value::Null,
    }
}

fn scored(truth: &Truth, findings: &[Value]) -> Score {
    let lines: Vec<String> = findings.iter().map(Value::to_string).collect();
    score(truth, lines.join("\n").as_bytes()).unwrap()
}

fn of_kind(findings: &[Value], kind: &str, state: &str) -> usize {
    findings.iter().position(|finding| finding["kind"] == kind && finding["state"] == state).unwrap()
}

#[test]
fn perfect_findings_are_exact() {
    let truth = truth();
    let score = scored(&truth, &perfect(&truth));
    assert!(score.exact(), "{score}");
    assert!(score.faults.iter().all(|fault| fault.found == Some(fault.injected)));
    assert!(score.to_string().contains("exact: everything"));
}

#[test]
fn a_finding_left_out_is_missed_whatever_its_kind() {
    let truth = truth();
    let whole = perfect(&truth);
    for left_out in 0..whole.len() - 2 {
        let mut findings = whole.clone();
        let gone = findings.remove(left_out);
        let score = scored(&truth, &findings);
        assert!(!score.exact(), "{gone}");
        assert!(score.invented.is_empty(), "{score}");
        let missed: Vec<&FaultScore> = score.faults.iter().filter(|fault| fault.missed > 0).collect();
        assert_eq!(missed.len(), 1, "{gone}: {score}");
        assert!(!missed[0].examples.is_empty(), "{score}");
    }
}

#[test]
fn a_finding_said_twice_is_invented_the_second_time() {
    let truth = truth();
    let whole = perfect(&truth);
    for twice in 0..whole.len() - 2 {
        let mut findings = whole.clone();
        findings.push(whole[twice].clone());
        let score = scored(&truth, &findings);
        assert!(!score.exact() && score.faults.iter().all(|fault| fault.missed == 0), "{score}");
        assert_eq!(score.invented[0].kind, whole[twice]["kind"]);
        assert_eq!(score.invented[0].examples[0].finding.as_deref(), whole[twice]["id"].as_str());
    }
}

#[test]
fn a_gap_reported_as_too_long_invents_the_numbers_beyond() {
    let truth = truth();
    let mut findings = perfect(&truth);
    let gap = of_kind(&findings, "sequence-gap", "open");
    let until = findings[gap]["numbers"]["until"].as_i64().unwrap();
    findings[gap]["numbers"]["until"] = json!(until + 2);
    let score = scored(&truth, &findings);
    assert_eq!((score.invented[0].kind.as_str(), score.invented[0].count), ("sequence-gap", 2), "{score}");
    assert!(score.invented[0].examples[0].what.contains(&until.to_string()));

    findings[gap]["numbers"]["until"] = json!(i64::MAX);
    assert!(scored(&truth, &findings).invented[0].count > 1 << 60, "a range of any length is not walked");
}

#[test]
fn a_late_number_that_stays_open_as_lost_is_no_match() {
    let truth = truth();
    let mut findings = perfect(&truth);
    let late = of_kind(&findings, "sequence-gap", "resolved");
    findings[late]["state"] = json!("open");
    assert!(scored(&truth, &findings).exact(), "an open finding does not count its late numbers as lost");
    findings[late]["evidence"] = json!({});
    let score = scored(&truth, &findings);
    assert_eq!((score.faults[1].missed, score.invented[0].count), (1, 1), "{score}");
}

#[test]
fn another_number_position_session_or_topic_is_no_match() {
    let truth = truth();
    let whole = perfect(&truth);
    let reorder = of_kind(&whole, "reorder", "open");
    let duplicate = of_kind(&whole, "duplicate", "open");
    let deviations: [(usize, &str, Value); 4] = [
        (reorder, "/numbers", json!({"from": 0, "until": 1})),
        (reorder, "/session", json!("p9")),
        (reorder, "/topic", json!("payments")),
        (duplicate, "/sightings/0/offset", json!(999_999)),
    ];
    for (index, pointer, value) in deviations {
        let mut findings = whole.clone();
        *findings[index].pointer_mut(pointer).unwrap() = value;
        let score = scored(&truth, &findings);
        assert_eq!(score.faults.iter().map(|fault| fault.missed).sum::<u64>(), 1, "{pointer}: {score}");
        assert_eq!(score.invented.iter().map(|invented| invented.count).sum::<u64>(), 1, "{pointer}: {score}");
    }
}

#[test]
fn a_finding_of_a_kind_that_was_not_injected_is_invented() {
    let truth = truth();
    let mut findings = perfect(&truth);
    findings.insert(0, finding("offset-gap", 77, json!({"partition": 0})));
    let score = scored(&truth, &findings);
    assert!(!score.exact());
    assert!(score.to_string().contains("invented 1 of offset-gap\n    finding 000000000000004d: because"), "{score}");
}

#[test]
fn resets_are_taken_from_the_summary() {
    let truth = truth();
    let mut findings = perfect(&truth);
    let summary = findings.len() - 1;
    findings[summary]["figures"]["resets"] = json!(0);
    assert_eq!(scored(&truth, &findings).faults[6].missed, 1);
    findings[summary]["figures"]["resets"] = json!(3);
    assert_eq!(scored(&truth, &findings).invented[0].count, 2);
}

#[test]
fn a_report_cut_off_or_unverified_is_never_exact() {
    let truth = truth();
    let mut findings = perfect(&truth);
    let summary = findings.len() - 1;
    findings[summary]["verdict"] = json!("unverified");
    assert!(!scored(&truth, &findings).exact());
    findings.pop();
    let score = scored(&truth, &findings);
    assert!(!score.exact() && score.to_string().contains("without a summary"), "{score}");
}

#[test]
fn a_line_that_is_no_report_is_refused_with_its_number() {
    let error = score(&truth(), "{\"type\":\"coverage\"}\n\nnonsense".as_bytes()).unwrap_err();
    assert!(matches!(error, ScoreError::Line { line: 3, .. }));
}

mod patterns;
