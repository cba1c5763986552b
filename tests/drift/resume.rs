//! A comparison that is broken off goes on where it was.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use sordini_lab::{Directory, postgres as server, wait_for};

use crate::common::{Pair, drift};

const LIMIT: Duration = Duration::from_secs(40);

#[test]
fn what_was_compared_is_not_compared_again() {
    let name = "resumed";
    let mut client = server::shared().database(name);
    for table in ["a", "b"] {
        let rows = "SELECT i, i / 7.0, 'x' FROM generate_series(1, 20000) i";
        client
            .batch_execute(&format!(
                "CREATE TABLE {table} (id bigint PRIMARY KEY, amount numeric(12,2), note text); INSERT INTO {table} {rows}; ANALYZE {table}"
            ))
            .expect("a table");
    }
    let change = "UPDATE b SET note = 'y' WHERE id % 2000 = 7; DELETE FROM b WHERE id % 5000 = 1";
    client.batch_execute(change).expect("differences");
    let url = |table: &str| format!("{}?table={table}", server::shared().url_as("audit", name));
    let (a, b) = (url("a"), url("b"));
    let whole = drift(&[&a, &b]);
    assert_eq!(whole.drift().len(), 14);
    let directory = Directory::new("resume");
    let file = directory.join("kept.json");
    let path = file.display().to_string();
    let args = [a.as_str(), b.as_str(), "--resume", path.as_str(), "--buckets", "8"];

    // Each part takes a second at least.
    let mut begun = Command::new(env!("CARGO_BIN_EXE_sordini"))
        .args(["drift", "--format", "json", "--settle", "1s", "--max-rate", "2500"])
        .args(args)
        .stdout(Stdio::piped())
        .spawn()
        .expect("sordini starts");
    let parts = |least: usize| {
        let kept: Value = serde_json::from_slice(&fs::read(&file).ok()?).expect("it is whole at any time");
        kept["done"].as_object().filter(|done| done.len() >= least).map(serde_json::Map::len)
    };
    wait_for("two parts are kept", LIMIT, || parts(2));
    let sent = Command::new("kill").args(["-TERM", &begun.id().to_string()]).status();
    assert!(sent.is_ok_and(|sent| sent.success()), "the signal is sent");
    let ended = wait_for("it ends", LIMIT, || begun.try_wait().expect("it is a child"));
    assert_eq!(ended.code(), Some(2));
    let kept = parts(2).expect("it is there");
    assert!(kept < 8, "{kept}");

    let other = drift(&[&args[..], &["--ignore", "note"]].concat());
    assert_eq!(other.exit, 2);
    assert!(other.err.contains("of another comparison"), "{}", other.err);
    // What is done is not read again: a row of the first part heals, and nobody sees it.
    let first: Value = serde_json::from_slice(&fs::read(&file).expect("it is there")).expect("JSON");
    let found = &first["done"]["0"]["findings"][0]["key"]["id"];
    client
        .batch_execute(&format!(
            "DELETE FROM a WHERE id = {0}; DELETE FROM b WHERE id = {0}",
            found.as_str().expect("a key")
        ))
        .expect("a change");
    let said = drift(&args);
    said.must_exit(1);
    assert_eq!(said.drift(), whole.drift());
    let (parted, at_once) = (said.drift_summary(), whole.drift_summary());
    for count in ["missing", "extra", "differs", "confirmed", "suspects"] {
        assert_eq!(parted[count], at_once[count], "{count}");
    }
    assert!(said.summary["notes"].to_string().contains("in 8 parts, compared between"), "{:#}", said.summary);
    assert!(!file.exists(), "the next run is another comparison");
}

#[test]
fn a_topic_is_compared_part_by_part_and_a_file_that_is_no_such_file_is_said() {
    let pair = Pair::new("resumed_topic", 2);
    let mut client = pair.two_rows();
    let directory = Directory::new("resume");
    let path = directory.join("kept.json").display().to_string();
    let audit = || pair.audit(&["--resume", &path, "--conserve", "count(*)"]);
    let said = audit();
    said.must_exit(0);
    assert_eq!((&said.drift_summary()["keys"], &said.drift_summary()["rows"]), (&2.into(), &2.into()));
    client.batch_execute("UPDATE items SET note = note || ' ' WHERE id = 2").expect("a change");
    let said = pair.audit(&["--resume", &path, "--relax", "note=rtrim"]);
    said.must_exit(0);
    assert_eq!(said.drift_summary()["relaxed"]["note"], 1, "whatever part it is in");
    client.batch_execute("UPDATE items SET note = 'y' WHERE id = 2").expect("a change");
    let said = audit();
    said.must_exit(1);
    assert_eq!(said.drift(), [("differs".to_owned(), "2".to_owned())]);
    for text in ["", "{}", "{\"version\":99,\"asked\":\"\",\"parts\":1,\"done\":{}}"] {
        fs::write(&path, text).expect("a file");
        let said = audit();
        assert_eq!(said.exit, 2);
        assert!(said.err.contains("kept.json") && said.err.contains("name another file"), "{}", said.err);
    }
    let topic = pair.topic_url("");
    let mirror = drift(&[&topic, &topic, "--resume", &path]);
    assert_eq!(mirror.exit, 2);
    assert!(mirror.err.contains("compared whole"), "{}", mirror.err);
}
