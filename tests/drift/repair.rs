//! What is written to repair the second store does so, leaves alone what has moved since, and is checked key by key.

use std::fs;

use postgres::Client;
use serde_json::Value;

use crate::common::{Pair, Said, drift};

const COLUMNS: &str = "id bigint PRIMARY KEY, amount numeric(12,2), note text, raw bytea, at timestamptz, doc jsonb";

struct Drifted {
    pair: Pair,
    client: Client,
    directory: tempfile::TempDir,
}

impl Drifted {
    /// A topic, a table that agrees with it, and five keys that then do not.
    fn new(what: &str) -> Self {
        let pair = Pair::new(what, 2);
        let mut client = pair.table(COLUMNS);
        let producer = pair.kafka.producer(&[]);
        for key in 1..=100_i64 {
            let value = format!(
                "{{\"amount\":\"{key}.50\",\"note\":\"it's\\n\\\\{key}\",\"raw\":\"\\\\xff0{}\",\"at\":{key},\"doc\":{{\"k\":[{key}]}}}}",
                key % 10
            );
            producer.send(&pair.record(key, Some(&value)));
        }
        producer.flush();
        pair.commit_all();
        client
            .batch_execute(
                "INSERT INTO items SELECT i, i + 0.5, E'it''s\\n\\\\' || i, decode('ff0' || i % 10, 'hex'), \
                 to_timestamp(i / 1000.0), jsonb_build_object('k', jsonb_build_array(i)) FROM generate_series(1, 100) i",
            )
            .expect("rows");
        pair.audit(&[]).must_exit(0);
        client
            .batch_execute(
                "DELETE FROM items WHERE id = 7; UPDATE items SET amount = -amount, note = NULL WHERE id = 8; \
                 UPDATE items SET raw = NULL, doc = '{}' WHERE id = 9; \
                 INSERT INTO items (id, note) VALUES (101, E'a\\n''b\\r; DELETE FROM items; --'); \
                 UPDATE items SET at = 'infinity' WHERE id = 10",
            )
            .expect("drift");
        Self { pair, client, directory: tempfile::tempdir().expect("a directory") }
    }

    fn file(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    fn repair(&self, name: &str, more: &[&str]) -> (Said, String) {
        let file = self.file(name);
        let mut args = vec!["--repair", file.as_str()];
        args.extend(more);
        let said = self.pair.audit(&args);
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{error}: {}", said.err));
        (said, text)
    }

    /// The findings as a report on disk.
    fn report(&self, said: &Said) -> String {
        let lines: Vec<String> = said.findings.iter().chain([&said.summary]).map(Value::to_string).collect();
        let file = self.file("report.jsonl");
        fs::write(&file, lines.join("\n")).expect("the report is written");
        file
    }
}

#[test]
fn the_statements_repair_what_has_not_moved_since() {
    let mut drifted = Drifted::new("repaired");
    let (said, text) = drifted.repair("out.sql", &[]);
    said.must_exit(1);
    assert_eq!(said.drift().len(), 5);
    let report = drifted.report(&said);
    assert!(text.contains("-- DELETE FROM items"), "{text}");
    // Somebody is faster with one of the keys.
    drifted.client.batch_execute("UPDATE items SET note = 'mine' WHERE id = 9").expect("a change");
    drifted.client.batch_execute(&text).unwrap_or_else(|error| panic!("{error:?}\n{text}"));
    let left = drifted.pair.audit(&["--keys", &report]);
    left.must_exit(1);
    let wanted = [("differs", "9"), ("extra", "101")].map(|(kind, key)| (kind.to_owned(), key.to_owned()));
    assert_eq!(left.drift(), wanted);
    assert_eq!(left.drift_summary()["keys"], 5);
    assert_eq!(
        drifted.client.query_one("SELECT note FROM items WHERE id = 9", &[]).expect("a row").get::<_, &str>(0),
        "mine"
    );

    let (said, text) = drifted.repair("more.sql", &["--allow-delete"]);
    said.must_exit(1);
    drifted.client.batch_execute(&text).unwrap_or_else(|error| panic!("{error:?}\n{text}"));
    drifted.pair.audit(&["--keys", &report]).must_exit(0);
    drifted.pair.audit(&[]).must_exit(0);
    // A script may rely on the file.
    let (said, text) = drifted.repair("none.sql", &[]);
    said.must_exit(0);
    assert!(text.contains("0 findings"), "{text}");
}

#[test]
fn records_are_listed_where_they_stand() {
    let drifted = Drifted::new("listed");
    let (_, text) = drifted.repair("out.jsonl", &[]);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let keys: Vec<&str> = lines.iter().filter_map(|line| line["key"][0].as_str()).collect();
    assert_eq!(keys.len(), 4, "{text}");
    let seven = lines.iter().find(|line| line["key"][0] == "7").expect("the key that is missing");
    assert_eq!((seven["partition"].as_i64(), seven["offset"].as_i64()), (Some(1), Some(3)));
    assert_eq!(seven["topic"], drifted.pair.name);
    assert!(seven["headers"]["x-repair-id"].is_string());
}

#[test]
fn a_signal_asks_for_the_keys_that_differ() {
    let mut drifted = Drifted::new("signalled");
    let (_, text) = drifted.repair("out.json", &[]);
    let signal: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(signal["type"], "execute-snapshot");
    assert_eq!(signal["data"]["data-collections"][0], "public.items");
    let filter = signal["data"]["additional-conditions"][0]["filter"].as_str().expect("a condition");
    let found = drifted.client.query(&format!("SELECT id FROM items WHERE {filter} ORDER BY id"), &[]).expect("SQL");
    assert_eq!(found.iter().map(|row| row.get::<_, i64>(0)).collect::<Vec<_>>(), [8, 9, 10, 101]);
}

#[test]
fn a_table_is_repaired_from_another() {
    let drifted = Drifted::new("both");
    let mut truth = drifted.pair.postgres.database("both_truth");
    truth
        .batch_execute(&format!(
            "CREATE TABLE items ({COLUMNS}); INSERT INTO items (id, note) VALUES (1, 'one'), (2, NULL)"
        ))
        .expect("rows");
    let mut copy = drifted.pair.postgres.database("both_copy");
    copy.batch_execute(&format!(
        "CREATE TABLE items ({COLUMNS}); INSERT INTO items (id, note) VALUES (1, 'uno'), (3, NULL)"
    ))
    .expect("rows");
    let url = |name: &str| format!("{}?table=items", drifted.pair.postgres.url_as("audit", name));
    let file = drifted.file("tables.sql");
    let (first, second) = (url("both_truth"), url("both_copy"));
    drift(&[&first, &second, "--repair", &file, "--allow-delete"]).must_exit(1);
    // Whoever runs them may see another table of that name first.
    copy.batch_execute(
        "CREATE SCHEMA mine; CREATE TABLE mine.items (LIKE public.items); SET search_path = mine, public",
    )
    .expect("another table");
    copy.batch_execute(&fs::read_to_string(&file).expect("a file")).expect("the statements run");
    assert_eq!(copy.query_one("SELECT count(*) FROM mine.items", &[]).expect("a count").get::<_, i64>(0), 0);
    drift(&[&first, &second]).must_exit(0);
}

/// Columns that the database fills by itself, a text that a cast would cut off, and one that no encoding but UTF-8 has.
#[test]
fn columns_that_cannot_be_set_stop_no_other() {
    let drifted = Drifted::new("filled");
    let columns = |note: &str| {
        format!(
            "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, amount numeric(12,2), note {note}, \
             twice numeric GENERATED ALWAYS AS (amount * 2) STORED, place bigint GENERATED ALWAYS AS IDENTITY"
        )
    };
    let make = |name: &str, note: &str, rows: &str| {
        let mut client = drifted.pair.postgres.database(name);
        let rows = format!("INSERT INTO items (id, amount, note, place) OVERRIDING SYSTEM VALUE VALUES {rows}");
        client.batch_execute(&format!("CREATE TABLE items ({}); {rows}", columns(note))).expect("rows");
        client
    };
    let mut truth =
        make("filled_truth", "text", "(1, 1.5, '\u{20ac}', 1), (2, 2.5, 'b', 2), (3, 3, 'c', 3), (4, 4, 'abcd', 4)");
    let mut copy = make("filled_copy", "varchar(3)", "(2, 9, 'b', 2), (3, 3, 'c', 30), (4, 4, 'abc', 4)");
    let url = |name: &str| format!("{}?table=items", drifted.pair.postgres.url_as("audit", name));
    let (first, second) = (url("filled_truth"), url("filled_copy"));
    let file = drifted.file("filled.sql");
    drift(&[&first, &second, "--repair", &file]).must_exit(1);
    let text = fs::read_to_string(&file).expect("a file");
    assert!(text.contains("-- Not repaired here: \"place\" is GENERATED ALWAYS AS IDENTITY"), "{text}");
    assert!(text.contains("\"note\" is character varying(3) and cannot hold"), "{text}");
    let said = drifted.pair.postgres.run_file("filled_copy", "LATIN1", &file);
    assert!(said.contains("INSERT 0 1") && said.contains("COMMIT"), "{said}");
    let left = drift(&[&first, &second]);
    left.must_exit(1);
    let wanted = ["3", "4"].map(|key| ("differs".to_owned(), key.to_owned()));
    assert_eq!(left.drift(), wanted, "{text}");
    // What cannot be foreseen undoes everything: a check of the table's own.
    copy.batch_execute("ALTER TABLE items ALTER note TYPE text; ALTER TABLE items ADD CHECK (amount < 100) NOT VALID")
        .expect("room");
    truth.batch_execute("UPDATE items SET amount = 500 WHERE id = 2").expect("a change");
    drift(&[&first, &second, "--repair", &file]).must_exit(1);
    let text = fs::read_to_string(&file).expect("a file");
    assert!(copy.batch_execute(&text).is_err(), "{text}");
    copy.batch_execute("ROLLBACK").expect("nothing of it");
    assert_eq!(drift(&[&first, &second]).drift().len(), 3);
}

#[test]
fn what_cannot_be_repaired_is_said() {
    let drifted = Drifted::new("unrepaired");
    let report = drifted.report(&drifted.pair.audit(&["--redact"]));
    for (args, said) in [
        (vec!["--repair", "out.txt"], "tells no form of repair"),
        (vec!["--repair", "/nowhere/out.sql"], "nothing was changed"),
        (vec!["--repair", "out.sql", "--redact"], "cannot be used with"),
        (vec!["--keys", "/nowhere"], "--format json"),
        (vec!["--keys", &report], "--redact"),
    ] {
        let answer = drifted.pair.audit(&args);
        assert_eq!(answer.exit, 2, "{args:?}");
        assert!(answer.err.contains(said), "{args:?}: {}", answer.err);
    }
}
