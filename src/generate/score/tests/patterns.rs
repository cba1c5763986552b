//! Patterns and transactions against findings that name them, and others.

use super::*;
use crate::generate::FlowOptions;

fn planted(faults: &[&str], is_flow: bool) -> Truth {
    let faults = faults.iter().map(|spec| spec.parse().unwrap()).collect();
    let flow = is_flow.then(|| FlowOptions { answers: "orders.done".to_owned() });
    let options = Options { faults, flow, ..Options::new("orders", 8_000) };
    lines::write(Plan::new(&options, 1_790_000_000_000).unwrap(), &mut Vec::new()).unwrap()
}

fn with_patterns(truth: &Truth, patterns: &[Value]) -> Score {
    let mut findings = perfect(truth);
    let place = findings.len() - 2;
    patterns.iter().for_each(|pattern| findings.insert(place, pattern.clone()));
    scored(truth, &findings)
}

fn pattern(kind: &str, evidence: Value) -> Value {
    finding(kind, 99, json!({"cause": "lost", "evidence": evidence}))
}

fn outcome(truth: &Truth, patterns: &[Value]) -> (Option<Named>, u64) {
    let score = with_patterns(truth, patterns);
    let invented = score.invented.iter().map(|invented| invented.count).sum();
    assert_eq!(
        score.exact(),
        score.faults.iter().all(|f| f.pattern != Some(Named::Missed)) && invented == 0,
        "{score}"
    );
    (score.faults[0].pattern, invented)
}

#[test]
fn a_period_is_found_by_its_n_its_residue_and_its_counter() {
    let truth = planted(&["lose-every=100:residue=7:jitter=1"], false);
    let named = |n: u64, residue: u64, width: u64, counter: &str| {
        pattern("periodic-loss", json!({"n": n, "residue": residue, "width": width, "counter": counter}))
    };
    let right = named(100, 6, 3, "session-number");
    assert_eq!(outcome(&truth, &[]), (Some(Named::Missed), 0));
    assert_eq!(outcome(&truth, std::slice::from_ref(&right)), (Some(Named::Found), 0));
    assert_eq!(outcome(&truth, &[named(100, 8, 1, "session-number")]), (Some(Named::Found), 0));
    assert_eq!(outcome(&truth, &[named(100, 90, 17, "session-number")]), (Some(Named::Found), 0));
    assert_eq!(outcome(&truth, &[right.clone(), right.clone()]), (Some(Named::Found), 1));
    for wrong in [
        named(50, 7, 1, "session-number"),
        named(100, 9, 1, "session-number"),
        named(100, 5, 1, "session-number"),
        named(100, 90, 16, "session-number"),
        named(100, 7, 1, "offset"),
    ] {
        assert_eq!(outcome(&truth, std::slice::from_ref(&wrong)), (Some(Named::Missed), 1), "{wrong}");
    }
    let mut of_others = right;
    of_others["cause"] = json!("late");
    assert_eq!(outcome(&truth, &[of_others]), (Some(Named::Missed), 1));
}

#[test]
fn a_dimension_is_found_by_its_value_or_a_tie_and_a_scale_by_its_border() {
    let named =
        |dimension: &str, value: &str| pattern("dimensional-loss", json!({"dimension": dimension, "value": value}));
    let truth = planted(&["lose-where=key-class:8:3@50%"], false);
    assert_eq!(outcome(&truth, &[named("key-hash-mod-8", "3")]), (Some(Named::Found), 0));
    assert_eq!(outcome(&truth, &[named("key-hash-mod-8", "2")]), (Some(Named::Missed), 1));
    assert_eq!(outcome(&truth, &[named("key-hash-mod-16", "3")]), (Some(Named::Missed), 1));
    let mut other = named("producer", "p1");
    other["evidence"]["ties"] = json!([{"dimension": "key-hash-mod-8", "value": "3"}]);
    assert_eq!(outcome(&truth, &[other.clone()]), (Some(Named::Found), 0));
    other["evidence"]["together_with"] = json!({"dimension": "size", "value": "1"});
    assert_eq!(outcome(&truth, &[other]), (Some(Named::Missed), 1));

    // Values have 100 bytes, or 16 KiB.
    let size = planted(&["lose-where=larger:8KiB@50%"], false);
    for (said, is_right) in [("≥ 4 KiB", true), ("16 KiB to 64 KiB", true), ("≥ 64 KiB", false), ("< 4 KiB", false)]
    {
        let expected = if is_right { (Some(Named::Found), 0) } else { (Some(Named::Missed), 1) };
        assert_eq!(outcome(&size, &[named("size", said)]), expected, "{said}");
    }
}

#[test]
fn a_comb_is_found_by_all_its_delays() {
    let truth = planted(&["retry-comb=1%:1s,2s"], false);
    let named = |delays: &[u64]| {
        let teeth: Vec<Value> = delays.iter().map(|delay| json!({"delay_ms": delay})).collect();
        pattern("retry-comb", json!({"teeth": teeth}))
    };
    assert_eq!(outcome(&truth, &[named(&[2_010, 999])]), (Some(Named::Found), 0));
    for wrong in [named(&[1_000]), named(&[1_000, 2_000, 4_000]), named(&[1_000, 2_100]), named(&[])] {
        assert_eq!(outcome(&truth, &[wrong]), (Some(Named::Missed), 1));
    }
}

#[test]
fn bursts_are_welcome_where_they_were_planted_and_a_pattern_of_few_hits_is_not_missed() {
    let burst = pattern("burst", json!({}));
    assert_eq!(outcome(&planted(&["lose-burst=0.1%x4"], false), std::slice::from_ref(&burst)), (None, 0));
    assert_eq!(outcome(&planted(&["lose=1%"], false), &[burst]), (None, 1));
    assert_eq!(outcome(&planted(&["lose-every=900"], false), &[]), (Some(Named::TooFew), 0));
}

#[test]
fn transactions_are_found_one_by_one() {
    let truth = planted(&["drop=0.2%", "swap-field=0.2%", "answer-unasked=0.2%", "answer-late=0.2%"], true);
    let mut whole = Vec::new();
    for injected in &truth.faults {
        assert!(injected.count > 3);
        for item in injected.items.iter().filter(|_| injected.expect != Expect::Late) {
            let Item::Transaction { seen, .. } = item else { panic!("{item:?}") };
            let at = |s: &crate::generate::truth::Seen| json!({"topic": s.topic, "partition": s.partition, "offset": s.offset, "timestamp": 0, "checksum": ""});
            let sightings: Vec<Value> = seen.iter().rev().map(at).collect();
            whole.push(finding(
                injected.expect.name(),
                whole.len(),
                json!({"topic": "orders.done", "sightings": sightings}),
            ));
        }
    }
    let summary = |late: u64| {
        let hop = json!({"after": "orders", "rule": "", "matched": 0, "missing": 0, "late": late, "mismatched": 0,
            "unexpected": 0, "early": 0, "uncovered": 0});
        let stage = json!({"stage": "", "topic": "", "seen": 0, "repeated": 0, "hop": hop});
        let flow = json!({"flow": "orders", "stages": [stage], "open": 0, "given_up": 0, "unlisted": 0});
        json!({"type": "summary", "verdict": "findings", "figures": {}, "flow": flow})
    };
    let late = truth.faults[3].count;
    let with = |mut findings: Vec<Value>, late| {
        findings.push(summary(late));
        scored(&truth, &findings)
    };
    assert!(with(whole.clone(), late).exact(), "{}", with(whole.clone(), late));
    for place in 0..whole.len() {
        let mut without = whole.clone();
        without.remove(place);
        let score = with(without, late);
        assert_eq!((score.faults.iter().map(|f| f.missed).sum::<u64>(), score.invented.len()), (1, 0), "{score}");
        let mut twice = whole.clone();
        twice.push(whole[place].clone());
        assert_eq!(with(twice, late).invented[0].count, 1);
        let mut elsewhere = whole.clone();
        elsewhere[place]["sightings"][0]["offset"] = json!(999_999);
        assert!(!with(elsewhere, late).exact());
    }
    assert_eq!(with(whole.clone(), late - 1).faults[3].missed, 1);
    assert_eq!(with(whole, late + 2).invented[0].count, 2);
}
