//! Flows read from lines of text, without any server: input that is odd, and what is said of it.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::json;

use crate::common::{Said, flows, settings};

const START: i64 = 1_700_000_000_000;

/// One stage's records, as (transaction, milliseconds after the start).
type Stage = Vec<(u64, i64)>;

fn line(topic: &str, offset: usize, id: Option<u64>, at_ms: i64) -> String {
    let headers = match id {
        Some(id) => vec!["order-id".to_owned(), format!("o{id}"), "number".to_owned(), id.to_string()],
        None => Vec::new(),
    };
    let payload = json!({"amount": id.unwrap_or(0).to_string()}).to_string();
    json!({"topic": topic, "partition": 0, "offset": offset, "tstype": "create", "ts": START + at_ms, "headers": headers, "key": "k", "payload": payload})
        .to_string()
}

fn lines(topic: &str, stage: &Stage) -> Vec<String> {
    stage.iter().enumerate().map(|(offset, (id, at_ms))| line(topic, offset, Some(*id), *at_ms)).collect()
}

fn said(dir: &Path, lines: &[String]) -> Said {
    let path = dir.join("lines.jsonl");
    let mut text = String::new();
    lines.iter().for_each(|line| writeln!(text, "{line}").unwrap());
    std::fs::write(&path, text).unwrap();
    let settings = settings(dir, "127.0.0.1:1", "orders", "payments");
    flows(&settings, &["--lines", path.to_str().unwrap()])
}

fn every_second(count: u64, later_ms: i64) -> Stage {
    (0..count).map(|id| (id, id as i64 * 1_000 + later_ms)).collect()
}

#[test]
fn stages_may_be_read_in_any_order() {
    let dir = tempfile::tempdir().unwrap();
    let (orders, payments) = (lines("orders", &every_second(100, 0)), lines("payments", &every_second(100, 500)));
    for all in [[payments.clone(), orders.clone()].concat(), [orders, payments].concat()] {
        let said = said(dir.path(), &all);
        assert_eq!((said.exit, &said.findings[..]), (0, &[][..]), "{}", said.summary);
        assert_eq!(said.hop()["latency_ms"][0], 501, "the histogram's two digits: {}", said.summary);
    }
}

#[test]
fn clocks_that_are_off_are_a_remark_and_no_alarm() {
    let dir = tempfile::tempdir().unwrap();
    let minutes = 10 * 60_000;
    let fast = [lines("orders", &every_second(100, 0)), lines("payments", &every_second(100, -minutes))].concat();
    let said_fast = said(dir.path(), &fast);
    assert_eq!((said_fast.exit, &said_fast.findings[..]), (0, &[][..]), "{}", said_fast.summary);
    assert!(said_fast.summary["notes"][0].as_str().unwrap().contains("clocks differ"), "{}", said_fast.summary);
    let slow = [lines("orders", &every_second(100, 0)), lines("payments", &every_second(100, minutes))].concat();
    let said_slow = said(dir.path(), &slow);
    assert_eq!((said_slow.exit, &said_slow.findings[..]), (0, &[][..]), "{}", said_slow.summary);
    assert_eq!(said_slow.hop()["late"], 100);
}

#[test]
fn records_without_a_correlation_id_are_counted_and_the_rest_is_judged() {
    let dir = tempfile::tempdir().unwrap();
    let mut orders: Vec<String> = Vec::new();
    for n in 0..100usize {
        orders.push(line("orders", n, (n % 2 == 0).then_some(n as u64), n as i64 * 1_000));
    }
    // One of those that can be followed does not arrive.
    let payments: Stage = (0..100).filter(|n| n % 2 == 0 && *n != 42).map(|n| (n, n as i64 * 1_000 + 100)).collect();
    let said = said(dir.path(), &[orders, lines("payments", &payments)].concat());
    assert_eq!(said.exit, 1, "{}", said.summary);
    assert_eq!(said.missing(), [42]);
    assert_eq!(said.summary["figures"]["unidentified"], 50);
    assert!(said.summary["samples"][0].as_str().unwrap().contains("header:order-id finds nothing"), "{}", said.summary);
}

#[test]
fn a_stage_that_nothing_was_read_of_is_unverified_and_not_a_loss() {
    let dir = tempfile::tempdir().unwrap();
    let said = said(dir.path(), &lines("orders", &every_second(100, 0)));
    assert_eq!(said.exit, 2, "{}", said.summary);
    assert!(said.findings.iter().all(|finding| finding["grade"] == "possible"), "{:?}", said.findings.first());
    assert_eq!(said.summary["unread"][0]["topic"], "payments", "{}", said.summary);
}

#[test]
fn settings_that_are_wrong_have_line_and_column() {
    let dir = tempfile::tempdir().unwrap();
    let good = settings(dir.path(), "127.0.0.1:1", "orders", "payments");
    let text = std::fs::read_to_string(&good).unwrap();
    for (from, to, expected) in [
        ("name = \"payments\"", "name = \"payments\"\nafter = \"nowhere\"", "flow.toml:18:9: "),
        ("header:order-id", "cloudevents", "flow.toml:7:6: "),
        ("deadline = \"2s\"", "deadline = \"soon\"", "flow.toml:8:12: "),
        ("number = \"header:number\"", "nummer = \"header:number\"", "flow.toml:13:1: "),
        ("topic = \"payments\"", "topic = \"orders\"", "two stages"),
    ] {
        let path = dir.path().join("flow.toml");
        assert!(text.contains(from), "{from}");
        std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let said = flows(&path, &[]);
        assert_eq!(said.exit, 2);
        assert!(said.err.contains(expected), "{to}: {}", said.err);
    }
    std::fs::write(dir.path().join("none.toml"), "version = 1\n[kafka]\n\"bootstrap.servers\" = \"k:9092\"\n").unwrap();
    let said = flows(&dir.path().join("none.toml"), &[]);
    assert!(said.exit == 2 && said.err.contains("has no [[flow]]"), "{}", said.err);
}
