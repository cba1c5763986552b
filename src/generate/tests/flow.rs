//! A flow's truth against a naive checker: every id of either topic in a map, compared by hand.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::*;
use crate::generate::FlowOptions;
use crate::generate::truth::Seen;

const FAULTS: [&str; 6] = [
    "drop-every=50:residue=7",
    "drop-where=key-class:8:3@10%",
    "drop=0.5%",
    "swap-field=0.5%",
    "answer-late=0.5%",
    "answer-unasked=0.5%",
];

fn flow(records: u64, faults: &[&str]) -> Options {
    Options { flow: Some(FlowOptions { answers: "orders.done".to_owned() }), ..options(records, faults) }
}

struct Record {
    at: Seen,
    ts: i64,
    number: Option<u64>,
    key: String,
    amount: f64,
}

/// By id, what each topic holds; every topic's partitions keep their order in time.
fn stages(bytes: &[u8]) -> [BTreeMap<String, Record>; 2] {
    let mut stages = [BTreeMap::new(), BTreeMap::new()];
    let mut last: BTreeMap<(String, i32), (i64, i64)> = BTreeMap::new();
    for line in std::str::from_utf8(bytes).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let headers: Vec<&str> =
            line["headers"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
        let header = |name: &str| headers.chunks(2).find(|pair| pair[0] == name).map(|pair| pair[1]);
        let at = Seen {
            topic: line["topic"].as_str().unwrap().to_owned(),
            partition: line["partition"].as_i64().unwrap() as i32,
            offset: line["offset"].as_i64().unwrap(),
        };
        let ts = line["ts"].as_i64().unwrap();
        let before = last.insert((at.topic.clone(), at.partition), (at.offset, ts)).unwrap_or((-1, 0));
        assert!(at.offset == before.0 + 1 && ts >= before.1);
        let stage = usize::from(at.topic == "orders.done");
        let payload: Value = serde_json::from_str(line["payload"].as_str().unwrap()).unwrap();
        let record = Record {
            at,
            ts,
            number: header("number").map(|number| number.parse().unwrap()),
            key: line["key"].as_str().unwrap().to_owned(),
            amount: payload["amount"].as_f64().unwrap(),
        };
        let id = header("correlation-id").unwrap().to_owned();
        assert!(stages[stage].insert(id, record).is_none(), "one record a stage");
    }
    stages
}

type Transactions = BTreeSet<(String, Vec<Seen>)>;

fn told(truth: &Truth, expect: Expect) -> Transactions {
    let items = truth.faults.iter().filter(|fault| fault.expect == expect).flat_map(|fault| fault.items.clone());
    let of = |item| match item {
        Item::Transaction { transaction, seen, .. } => (transaction, seen),
        other => panic!("{other:?} in a flow"),
    };
    items.map(of).collect()
}

fn both(cause: &Record, effect: &Record) -> Vec<Seen> {
    let mut both = vec![cause.at.clone(), effect.at.clone()];
    both.sort();
    both
}

#[test]
fn the_truth_of_a_flow_is_what_a_naive_checker_finds_in_the_lines() {
    for seed in 0..8 {
        for records in [40, 700, 6_000] {
            let options = Options { seed, ..flow(records, &FAULTS) };
            let (truth, bytes) = write(&options);
            let [orders, answers] = stages(&bytes);
            assert_eq!((orders.len() as u64, truth.sent), (records, (orders.len() + answers.len()) as u64));
            let (mut missing, mut unexpected, mut mismatched, mut late) =
                <(Transactions, Transactions, Transactions, Transactions)>::default();
            for (id, order) in &orders {
                match answers.get(id) {
                    None => drop(missing.insert((id.clone(), vec![order.at.clone()]))),
                    Some(answer) => {
                        let waited = answer.ts - order.ts;
                        assert!(
                            waited > 0 && (waited <= 15_000 || waited > 60_000),
                            "{id} is neither in time nor late"
                        );
                        if waited > 30_000 {
                            late.insert((id.clone(), both(order, answer)));
                        }
                        if order.amount != answer.amount {
                            mismatched.insert((id.clone(), both(order, answer)));
                        }
                    }
                }
            }
            for (id, answer) in answers.iter().filter(|(id, _)| !orders.contains_key(*id)) {
                unexpected.insert((id.clone(), vec![answer.at.clone()]));
            }
            let context = format!("seed {seed}, {records} records");
            assert_eq!(told(&truth, Expect::MissingStage), missing, "{context}");
            assert_eq!(told(&truth, Expect::UnexpectedRecord), unexpected, "{context}");
            assert_eq!(told(&truth, Expect::StageMismatch), mismatched, "{context}");
            assert_eq!(told(&truth, Expect::Late), late, "{context}");
            assert!(records < 700 || truth.faults.iter().all(|fault| fault.count > 0), "{context}");
            // Everything on the residue is dropped, by whichever fault comes first.
            for (id, order) in &orders {
                let number = order.number.unwrap();
                assert!(number % 50 != 7 || !answers.contains_key(id), "{context}: {number}");
            }
            assert!(answers.iter().all(|(id, answer)| orders.get(id).is_none_or(|order| order.key == answer.key)));
        }
    }
}

#[test]
fn faults_of_a_flow_and_of_numbers_do_not_mix() {
    let refused = |options: &Options| Plan::new(options, NOW_MS).map(|_| ()).unwrap_err();
    assert_eq!(refused(&flow(99, &["lose=1%"])), OptionsError::NotInFlow("lose"));
    assert_eq!(refused(&options(99, &["drop=1%"])), OptionsError::NeedsFlow("drop"));
    assert!(matches!(refused(&flow(99, &["drop-where=producer:p0"])), OptionsError::Attribute { .. }));
    let same = Options { flow: Some(FlowOptions { answers: "orders".to_owned() }), ..options(99, &[]) };
    assert!(matches!(refused(&same), OptionsError::SameTopic(_)));
}
