//! The records themselves, from a real broker.

use serde_json::json;
use sordini_lab::{Record, shared};

use crate::common::{audit, hour_ago, run, text, trace};

#[test]
fn the_records_are_shown_as_the_broker_holds_them() {
    let kafka = shared();
    let topic = "trace-shown".to_owned();
    kafka.create_topic(&topic, 2, &[]);
    let producer = kafka.producer(&[]);
    let record = |id: &str| Record::new(&topic, 1).header("order-id", Some(id.as_bytes()));
    producer.send(&record("before").key("k").value("v"));
    producer.send(&record("text").key("customer-7").header("none", None).value("{\"amount\":\"1.\u{1b}[2J\"}"));
    producer.send(&record("bytes").key("k").value([0xff_u8, 0xfe, 0xfd]));
    producer.flush();
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger");
    let brokers = kafka.bootstrap();
    let on = ["audit", "-b", &brokers, "-t", &topic, "--id", "header:order-id", "--ledger", text(&ledger)];
    run(&on).said(0, "nothing is wrong");

    let shown = trace(&ledger, &["text", "--show", "-b", &brokers, "--format", "json"]);
    shown.said(0, "customer-7");
    let line = &shown.lines()[0];
    let record = &line["record"];
    assert_eq!(
        (&line["offset"], &record["key"], &record["same_content"]),
        (&json!(1), &json!("customer-7"), &json!(true))
    );
    assert_eq!(record["headers"], json!([["order-id", "text"], ["none", null]]));
    assert_eq!(record["value"], json!("{\"amount\":\"1.\u{1b}[2J\"}"));
    let bytes = trace(&ledger, &["bytes", "--show", "-b", &brokers, "--format", "json"]);
    assert_eq!(bytes.lines()[0]["record"]["value"], json!({"base64": "//79"}));

    // Nothing in a record steers the terminal.
    let said = trace(&ledger, &["text", "--show", "-b", &brokers]);
    said.said(0, "key customer-7").said(0, "header none: none").said(0, "\\u{1b}[2J");
    assert!(!said.out.contains('\u{1b}'));

    // A ledger that speaks of other records than the log holds, and of one beyond its end.
    let line = |offset: i64, id: &str| {
        let line = json!({"topic": topic, "partition": 1, "offset": offset, "ts": hour_ago() * 1000, "headers": ["order-id", id], "payload": "x"});
        format!("{line}\n")
    };
    let lines = line(0, "other") + &line(77, "beyond");
    let other = tempfile::tempdir().unwrap();
    let (made_up, _) = audit(other.path(), &lines, &["--id", "header:order-id"]);
    trace(&made_up, &["other", "--show", "-b", &brokers]).said(0, "another content now");
    trace(&made_up, &["beyond", "--show", "-b", &brokers]).said(0, "no record: ");
}
