//! Differences that are let pass: those that were named, in the columns they were named for, and counted.

use std::time::Duration;

use sordini_lab::postgres as server;

use crate::common::{Pair, drift};
use crate::follow::Follower;

#[test]
fn what_was_named_is_let_pass_and_nothing_else() {
    let mut client = server::shared().database("relaxed");
    for table in ["a", "b"] {
        client
            .batch_execute(&format!(
                "CREATE TABLE {table} (id int PRIMARY KEY, name text, note text, amount numeric(12,2), at timestamptz); \
                 INSERT INTO {table} SELECT i, 'Name ' || i, '', i, timestamptz '2026-01-01' + i * interval '1.5 s' \
                 FROM generate_series(1, 100) i"
            ))
            .expect("a table");
    }
    client
        .batch_execute(
            "UPDATE b SET name = name || '  ' WHERE id = 1; UPDATE b SET name = upper(name) WHERE id = 2; \
             UPDATE b SET note = NULL WHERE id = 3; UPDATE b SET amount = amount + 0.01 WHERE id = 4; \
             UPDATE b SET at = at + interval '0.3 s' WHERE id = 5; UPDATE b SET amount = amount + 0.02 WHERE id = 6; \
             UPDATE b SET amount = amount + 0.01, note = 'x' WHERE id = 7",
        )
        .expect("differences");
    let url = |table: &str| format!("{}?table={table}", server::shared().url_as("audit", "relaxed"));
    let (a, b) = (url("a"), url("b"));
    let strict = drift(&[&a, &b]);
    assert_eq!(strict.drift().len(), 7);
    let relaxed = ["name=rtrim", "name=case_fold", "note=empty_is_null", "amount=tolerance:0.01", "at=truncate_to:s"];
    let args: Vec<&str> =
        [a.as_str(), b.as_str()].into_iter().chain(relaxed.iter().flat_map(|how| ["--relax", how])).collect();
    let said = drift(&args);
    said.must_exit(1);
    assert_eq!(said.drift(), ["6", "7"].map(|id| ("differs".to_owned(), id.to_owned())));
    let counted = serde_json::json!({"name": 2, "note": 1, "amount": 1, "at": 1});
    assert_eq!(said.drift_summary()["relaxed"], counted);
    for (how, said) in
        [("id=nfc", "no compared column"), ("amount=nfc", "nothing of the kind"), ("name=loose", "expected COLUMN=HOW")]
    {
        let answer = drift(&[&a, &b, "--relax", how]);
        assert_eq!(answer.exit, 2);
        assert!(answer.err.contains(said), "{how}: {}", answer.err);
    }
}

/// Also a version that is in flight, and where it goes on for ever.
#[test]
fn any_version_that_a_row_may_be_is_relaxed() {
    let pair = Pair::new("relaxed_topic", 1);
    let mut client = pair.two_rows();
    client.batch_execute("UPDATE items SET note = 'X ' WHERE id = 1").expect("a change");
    pair.audit(&[]).must_exit(1);
    let how = ["--relax", "note=case_fold", "--relax", "note=rtrim"];
    let said = pair.audit(&how);
    said.must_exit(0);
    assert_eq!(said.drift_summary()["relaxed"]["note"], 1);
    // On its way, and written already.
    let producer = pair.kafka.producer(&[]);
    producer.send(&pair.record(1, Some("{\"note\":\"new\"}")));
    producer.flush();
    client.batch_execute("UPDATE items SET note = 'NEW' WHERE id = 1").expect("the sink writes");
    pair.audit(&how).must_exit(0);

    let (topic, table, group) = (pair.topic_url(""), pair.table_url(""), pair.group());
    let follower =
        Follower::start(&[&[topic.as_str(), &table, "--group", &group, "--every", "500ms"], &how[..]].concat());
    client.batch_execute("UPDATE items SET note = 'y' WHERE id = 2").expect("a change");
    follower.wait_for("differs", "2", "open");
    client.batch_execute("UPDATE items SET note = 'X' WHERE id = 2").expect("it is so but for its case");
    follower.wait_for("differs", "2", "resolved");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(follower.told().len(), 2, "{:?}", follower.told());
    assert_eq!(follower.end().0, 0);
}
