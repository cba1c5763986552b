//! Change events that never reached the topic: seen by what the next event of the key says its row was before.

use std::time::Duration;

use serde_json::{Value, json};

use crate::common::{Pair, Said, drift};
use crate::follow::Follower;

/// A topic of hand-written events, and the table a group writes from it.
struct Events {
    pair: Pair,
    lsn: u64,
}

type Note<'n> = Option<&'n str>;

impl Events {
    fn new(what: &str, partitions: i32) -> Self {
        Self::of(Pair::new(what, partitions))
    }

    fn of(pair: Pair) -> Self {
        Self { pair, lsn: 1_000 }
    }

    /// A change of a row with this note. Its place in the log is behind all others.
    fn change(&mut self, key: i64, before: Note<'_>, after: Note<'_>) -> String {
        let op = match (before, after) {
            (None, _) => "c",
            (_, None) => "d",
            _ => "u",
        };
        let row = |note: Note<'_>| note.map(|note| json!({"id": key, "note": note}));
        self.event(op, json!(row(before)), json!(row(after)))
    }

    fn event(&mut self, op: &str, before: Value, after: Value) -> String {
        let committed = self.lsn;
        self.lsn += 100;
        let (lsn, snapshot) = (self.lsn, if op == "r" { "first" } else { "false" });
        let sequence = json!([committed.to_string(), lsn.to_string()]).to_string();
        let source = json!({
            "connector": "postgresql", "name": "shop", "db": "shop", "schema": "public", "table": "items", "txId": 700,
            "lsn": lsn, "sequence": sequence, "snapshot": snapshot,
        });
        json!({"before": before, "after": after, "op": op, "source": source}).to_string()
    }

    fn send(&self, key: i64, event: Option<&str>) {
        let producer = self.pair.kafka.producer(&[]);
        producer.send(&self.pair.record(key, event));
        producer.flush();
    }

    /// One key's notes from first to last, each change of them sent.
    fn notes(&mut self, key: i64, notes: &[Note<'_>]) {
        for pair in notes.windows(2) {
            let event = self.change(key, pair[0], pair[1]);
            self.send(key, Some(&event));
            if pair[1].is_none() {
                self.send(key, None);
            }
        }
    }

    /// As the table is then, all of it committed by the group.
    fn table(&self, rows: &[(i64, &str)]) {
        let mut client = self.pair.table("id bigint PRIMARY KEY, note text");
        for (key, note) in rows {
            client.execute("INSERT INTO items VALUES ($1, $2)", &[key, note]).expect("a row");
        }
        self.pair.commit_all();
    }

    fn audit(&self) -> Said {
        let (topic, table, group) =
            (self.pair.topic_url("?value=debezium"), self.pair.table_url(""), self.pair.group());
        drift(&[&topic, &table, "--group", &group])
    }
}

fn lost(said: &Said) -> Vec<(String, String)> {
    said.drift().into_iter().filter(|(kind, _)| kind == "lost-change").collect()
}

#[test]
fn a_lost_event_is_found_though_table_and_topic_agree() {
    let mut events = Events::new("lost", 2);
    for key in 1..=8 {
        events.notes(key, &[None, Some("a"), Some("b")]);
    }
    // In the table it went from b to c and to d.
    events.change(2, Some("b"), Some("c"));
    for key in (1..=8).filter(|key| *key != 2) {
        events.notes(key, &[Some("b"), Some("d"), Some("e")]);
    }
    events.notes(2, &[Some("c"), Some("d"), Some("e")]);
    let rows: Vec<(i64, &str)> = (1..=8).map(|key| (key, "e")).collect();
    events.table(&rows);
    let said = events.audit();
    said.must_exit(1);
    assert_eq!(said.drift(), [("lost-change".to_owned(), "2".to_owned())]);
    let finding = &said.findings[0];
    assert_eq!(finding["columns"], json!({"note": {"expected": "b", "actual": "c"}}));
    assert_eq!((&finding["grade"], &finding["partition"]), (&json!("proven"), &json!(0)));
    // Two events of each of four keys, two more of the three others, and then this one.
    let offsets: Vec<_> =
        finding["sightings"].as_array().expect("records").iter().map(|at| at["offset"].clone()).collect();
    assert_eq!(offsets, [json!(14), json!(1)], "{finding:#}");
    assert_eq!(finding["evidence"]["previous_offset"], 1);
    let why = finding["why"].as_str().expect("a sentence");
    assert!(why.contains("event at 14: note b → c") && why.contains("the one at 1 "), "{why}");
    let summary = said.drift_summary();
    assert_eq!((&summary["lost_changes"], &summary["differs"]), (&json!(1), &json!(0)), "{summary:#}");
    assert_eq!(summary["befores"], json!({"updates": 24, "without": 0}));
    // The same finding in every run.
    assert_eq!(events.audit().findings[0]["id"], finding["id"]);
}

#[test]
fn lost_insertions_and_deletions_are_found_and_differences_are_told_beside_them() {
    let mut events = Events::new("lost_kinds", 1);
    events.notes(9, &[None, Some("a"), Some("b"), Some("c")]);
    // Its deletion was lost, then its insertion.
    events.notes(1, &[None, Some("a")]);
    events.notes(1, &[None, Some("b")]);
    events.notes(2, &[None, Some("a"), None]);
    events.notes(2, &[Some("b"), Some("c")]);
    // Deleted with another note than the topic knows.
    events.notes(3, &[None, Some("a")]);
    events.notes(3, &[Some("b"), None]);
    // Also wrong in the table.
    events.notes(4, &[None, Some("a")]);
    events.notes(4, &[Some("b"), Some("c")]);
    events.notes(9, &[Some("c"), Some("d")]);
    events.table(&[(1, "b"), (2, "c"), (4, "x"), (9, "d")]);
    let said = events.audit();
    said.must_exit(1);
    let wanted =
        [("differs", "4"), ("lost-change", "1"), ("lost-change", "2"), ("lost-change", "3"), ("lost-change", "4")];
    assert_eq!(said.drift(), wanted.map(|(kind, key)| (kind.to_owned(), key.to_owned())));
    let columns = |key: &str| {
        let is_it = |finding: &&Value| finding["kind"] == "lost-change" && finding["key"]["id"] == key;
        said.findings.iter().find(is_it).expect("it is told")["columns"].clone()
    };
    assert_eq!(columns("1"), json!({"note": {"expected": "a"}}));
    assert_eq!(columns("2"), json!({"note": {"actual": "b"}}));
    assert_eq!(columns("3"), json!({"note": {"expected": "a", "actual": "b"}}));
    let summary = said.drift_summary();
    assert_eq!((&summary["lost_changes"], &summary["differs"]), (&json!(4), &json!(1)), "{summary:#}");
    assert_eq!(summary["confirmed"], 1);
}

#[test]
fn what_is_sent_again_and_what_a_snapshot_read_is_not_lost() {
    let mut events = Events::new("lost_again", 1);
    events.notes(9, &[None, Some("a"), Some("b")]);
    let sent = [
        events.change(1, None, Some("a")),
        events.change(1, Some("a"), Some("b")),
        events.change(1, Some("b"), Some("c")),
        events.change(1, Some("c"), Some("d")),
    ];
    let then = events.change(1, Some("d"), Some("e"));
    // The connector died after the fourth and began again with the second, twice.
    for at in [0, 1, 2, 3, 1, 2, 3, 2, 3] {
        events.send(1, Some(&sent[at]));
    }
    events.send(1, Some(&then));
    // Its places begin where nothing tells the end of the transaction before.
    let unordered = |event: &str| event.replace("\"sequence\"", "\"no\"");
    let of_two = [
        events.change(2, None, Some("a")),
        events.change(2, Some("a"), Some("b")),
        events.change(2, Some("b"), Some("c")),
    ];
    for at in [0, 1, 2, 1, 2] {
        events.send(2, Some(&unordered(&of_two[at])));
    }
    events.notes(2, &[Some("c"), Some("d")]);
    // Read while it had changed already, and its changes come behind it.
    events.notes(3, &[None, Some("a")]);
    let read = events.event("r", Value::Null, json!({"id": 3, "note": "c"}));
    events.send(3, Some(&read));
    events.notes(3, &[Some("a"), Some("b"), Some("c")]);
    events.notes(9, &[Some("b"), Some("c")]);
    events.table(&[(1, "e"), (2, "d"), (3, "c"), (9, "c")]);
    let said = events.audit();
    said.must_exit(0);
    assert_eq!(said.drift_summary()["lost_changes"], 0);
    assert_eq!(said.drift_summary()["befores"]["without"], 0);
}

#[test]
fn without_the_whole_row_before_nothing_is_said_to_be_lost() {
    // Only the key is told, the rest of it is filled in: with nulls in updates of some columns, too.
    let mut events = Events::new("lost_default", 1);
    for key in 1..=3 {
        for event in [
            events.event("c", Value::Null, json!({"id": key, "note": "a"})),
            events.event("u", Value::Null, json!({"id": key, "note": "b"})),
            events.event("u", json!({"id": key, "note": null}), json!({"id": key, "note": "c"})),
            events.event("d", json!({"id": key, "note": null}), Value::Null),
            events.event("c", Value::Null, json!({"id": key, "note": "d"})),
        ] {
            events.send(key, Some(&event));
        }
    }
    events.table(&[(1, "d"), (2, "d"), (3, "d")]);
    let said = events.audit();
    said.must_exit(0);
    assert_eq!(said.drift_summary()["befores"], json!({"updates": 6, "without": 3}));
    let notes = said.summary["notes"].to_string();
    assert!(notes.contains("3 of 6 updates do not tell the row before"), "{notes}");
}

#[test]
fn what_may_have_been_there_is_not_called_lost() {
    // A record that cannot be read may have been the event, and so may one that a column lacked.
    let mut events = Events::new("lost_holes", 1);
    events.notes(9, &[None, Some("a"), Some("b"), Some("c")]);
    events.notes(1, &[None, Some("a")]);
    events.send(1, Some("{"));
    events.notes(1, &[Some("b"), Some("c")]);
    let narrow = events.event("c", Value::Null, json!({"id": 2}));
    events.send(2, Some(&narrow));
    events.notes(2, &[Some("filled"), Some("b")]);
    events.notes(9, &[Some("c"), Some("d")]);
    events.table(&[(1, "c"), (2, "b"), (9, "d")]);
    let said = events.audit();
    said.must_exit(3);
    assert_eq!(said.drift_summary()["unverifiable"], json!({"unusable-record": 1}));
    assert_eq!(lost(&said), []);

    // And the log cleaner may have taken it.
    let mut events = Events::of(Pair::with("lost_compacted", 1, &[("cleanup.policy", "compact")]));
    events.notes(9, &[None, Some("a"), Some("b"), Some("c")]);
    events.notes(1, &[None, Some("a")]);
    events.notes(1, &[Some("b"), Some("c")]);
    events.table(&[(1, "c"), (9, "c")]);
    let said = events.audit();
    said.must_exit(0);
    assert_eq!(said.drift_summary()["befores"]["not_looked_at"], "compacted");
    let notes = said.summary["notes"].to_string();
    assert!(notes.contains("it is compacted"), "{notes}");
}

#[test]
fn a_comparison_that_goes_on_tells_it_once() {
    let mut events = Events::new("lost_follow", 1);
    events.notes(9, &[None, Some("a"), Some("b"), Some("c")]);
    events.notes(1, &[None, Some("a")]);
    events.notes(1, &[Some("b"), Some("c")]);
    events.table(&[(1, "c"), (9, "c")]);
    let (topic, table, group) =
        (events.pair.topic_url("?value=debezium"), events.pair.table_url(""), events.pair.group());
    for more in [&["--group", group.as_str()][..], &[]] {
        let follower = Follower::start(&[&[topic.as_str(), table.as_str(), "--every", "300ms"], more].concat());
        follower.wait_for("lost-change", "1", "open");
        // Some more comparisons.
        std::thread::sleep(Duration::from_secs(2));
        let told = follower.told();
        assert_eq!(told.len(), 1, "{told:?}\n{}", follower.err());
        let (exit, summary, _) = follower.end();
        assert_eq!((exit, &summary["drift"]["lost_changes"]), (1, &json!(1)), "{summary:#}");
        assert_eq!(summary["drift"]["confirmed"], 0);
        assert_eq!(summary["drift"]["following"]["differing_buckets"], json!([]));
    }
}
