//! For ever: what is wrong is found while it happens, what heals is said to, and what cannot be compared is never fine.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use sordini_lab::{Kafka, Options, Postgres, Record, wait_for};

use crate::common::Pair;

const LIMIT: Duration = Duration::from_secs(40);

/// `sordini drift --follow`, and what it has said so far.
pub struct Follower {
    child: Child,
    out: PathBuf,
    err: PathBuf,
    _dir: tempfile::TempDir,
}

impl Follower {
    pub fn start(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (out, err) = (dir.path().join("out"), dir.path().join("err"));
        let file = |path: &PathBuf| Stdio::from(File::create(path).expect("a temporary file"));
        let child = Command::new(env!("CARGO_BIN_EXE_sordini"))
            .args(["drift", "--follow", "--format", "json", "--settle", "200ms", "--confirm-after", "300ms,1s"])
            .args(args)
            .stdout(file(&out))
            .stderr(file(&err))
            .spawn()
            .expect("sordini starts");
        Self { child, out, err, _dir: dir }
    }

    pub fn err(&self) -> String {
        std::fs::read_to_string(&self.err).unwrap_or_default()
    }

    /// Whole lines only: the last one may be on its way.
    pub fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.out).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).expect("JSON lines")).collect()
    }

    /// Kind, key and state of what was told, in order.
    pub fn told(&self) -> Vec<(String, String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let findings = self.lines().into_iter().filter(|line| line["type"] == "finding");
        findings.map(|f| (text(&f["kind"]), text(&f["key"]["id"]), text(&f["state"]))).collect()
    }

    #[track_caller]
    pub fn wait_for(&self, kind: &str, key: &str, state: &str) {
        let wanted = (kind.to_owned(), key.to_owned(), state.to_owned());
        let deadline = std::time::Instant::now() + LIMIT;
        while !self.told().contains(&wanted) {
            assert!(std::time::Instant::now() < deadline, "no {wanted:?} in {:?}\n{}", self.told(), self.err());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Asks it to end; its exit code and its summary.
    pub fn end(mut self) -> (i32, Value, Vec<Value>) {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(sent.is_ok_and(|sent| sent.success()), "the signal is sent");
        let ended = wait_for("it ends", LIMIT, || self.child.try_wait().expect("it is a child"));
        let lines = self.lines();
        let summary = lines.iter().rfind(|line| line["type"] == "summary").cloned();
        let code = ended.code().expect("it exits");
        (code, summary.unwrap_or_else(|| panic!("no summary: {lines:?}\n{}", self.err())), lines)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // It is gone or it is killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn three_rows(pair: &Pair) -> postgres::Client {
    let mut client = pair.table("id int PRIMARY KEY, note text");
    let producer = pair.kafka.producer(&[]);
    (1..=3).for_each(|key| producer.send(&pair.record(key, Some("{\"note\":\"x\"}"))));
    producer.flush();
    pair.commit_all();
    client.batch_execute("INSERT INTO items VALUES (1, 'x'), (2, 'x'), (3, 'x')").expect("rows");
    client
}

fn follow(pair: &Pair, more: &[&str]) -> Follower {
    let (topic, table, group) = (pair.topic_url(""), pair.table_url(""), pair.group());
    Follower::start(&[&[topic.as_str(), table.as_str(), "--group", group.as_str()], more].concat())
}

#[test]
fn a_cold_key_that_changes_is_found_and_resolved_when_it_heals() {
    let pair = Pair::new("cold", 1);
    let mut client = three_rows(&pair);
    let follower = follow(&pair, &["--every", "500ms", "--buckets", "2"]);
    wait_for("it looks", LIMIT, || std::fs::metadata(&follower.out).ok());
    client.batch_execute("UPDATE items SET note = 'y' WHERE id = 2; DELETE FROM items WHERE id = 3").expect("drift");
    follower.wait_for("differs", "2", "open");
    follower.wait_for("missing", "3", "open");
    client
        .batch_execute("UPDATE items SET note = 'x' WHERE id = 2; INSERT INTO items VALUES (9, 'z')")
        .expect("one heals");
    follower.wait_for("differs", "2", "resolved");
    follower.wait_for("extra", "9", "open");
    // Told once each, and the same finding in all of its states.
    let ids: Vec<Value> = follower.lines().iter().filter(|l| l["key"]["id"] == "2").map(|l| l["id"].clone()).collect();
    assert_eq!((ids.len(), &ids[0]), (2, &ids[1]), "{ids:?}");
    let (exit, summary, lines) = follower.end();
    assert_eq!((exit, &summary["verdict"]), (1, &"findings".into()), "{summary:#}");
    let drift = &summary["drift"];
    assert_eq!((&drift["missing"], &drift["extra"], &drift["differs"]), (&1.into(), &1.into(), &0.into()), "{drift:#}");
    assert_eq!(drift["following"]["compared_parts"].as_array().map(Vec::len), Some(2));
    assert_eq!(drift["following"]["wrong"][0], serde_json::json!({"age": "0s", "keys": 2}));
    let missing = lines.iter().rfind(|line| line["kind"] == "missing").expect("a finding");
    assert!(missing["evidence"]["attempts"].as_u64() >= Some(3), "{missing:#}");
    assert!(missing["first_seen"].as_i64() < missing["last_seen"].as_i64(), "{missing:#}");
}

/// Only the first comparison is in full: everything else comes from the tail.
#[test]
fn records_that_the_sink_loses_are_found_as_the_group_passes_them() {
    let pair = Pair::new("lossy", 2);
    let mut client = three_rows(&pair);
    let follower = follow(&pair, &["--every", "1h"]);
    let producer = pair.kafka.producer(&[]);
    std::thread::sleep(Duration::from_secs(2));
    // On its way it may be there or not.
    producer.send(&pair.record(4, Some("{\"note\":\"new\"}")));
    producer.send(&pair.record(1, Some("{\"note\":\"second\"}")));
    producer.send(&pair.record(2, None));
    producer.flush();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(follower.told(), [], "{}", follower.err());
    pair.commit_all();
    follower.wait_for("missing", "4", "open");
    follower.wait_for("stale", "1", "open");
    follower.wait_for("extra", "2", "open");
    client
        .batch_execute("INSERT INTO items VALUES (4, 'new'); DELETE FROM items WHERE id = 2")
        .expect("the sink mends it");
    client.batch_execute("UPDATE items SET note = 'second' WHERE id = 1").expect("the sink mends it");
    for (kind, key) in [("missing", "4"), ("stale", "1"), ("extra", "2")] {
        follower.wait_for(kind, key, "resolved");
    }
    let (exit, summary, _) = follower.end();
    assert_eq!((exit, &summary["verdict"]), (0, &"clean".into()), "{summary:#}");
    assert_eq!(summary["drift"]["following"]["resolved"], 3);
}

#[test]
fn what_is_away_is_waited_for_and_never_said_to_agree() {
    let (mut kafka, mut postgres) = (Kafka::start(Options::default()), Postgres::start(&[]));
    kafka.create_topic("away", 1, &[]);
    let mut client = postgres.database("away");
    client
        .batch_execute("CREATE TABLE items (id int PRIMARY KEY, note text); INSERT INTO items VALUES (1, 'x')")
        .expect("a table");
    kafka.producer(&[]).send_all(&[Record::new("away", 0).key("1").value("{\"note\":\"x\"}")]);
    kafka.commit_offsets("sink", &[("away", 0, 1)]);
    let topic = format!("kafka://{}/away", kafka.bootstrap());
    let table = format!("{}?table=items", postgres.url_as("audit", "away"));
    let follow = || Follower::start(&[&topic, &table, "--group", "sink", "--every", "500ms"]);
    let says = |follower: &Follower, words: &str, times: usize| {
        let deadline = std::time::Instant::now() + LIMIT;
        while follower.err().matches(words).count() < times {
            assert!(std::time::Instant::now() < deadline, "no {words}: {}", follower.err());
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    let follower = follow();
    std::thread::sleep(Duration::from_secs(2));
    postgres.kill();
    says(&follower, "nothing is compared now", 1);
    postgres.start_again();
    says(&follower, "comparing again", 1);
    let mut client = postgres.client("away");
    client.batch_execute("UPDATE items SET note = 'y'").expect("drift");
    follower.wait_for("differs", "1", "open");
    client.batch_execute("UPDATE items SET note = 'x'").expect("it heals");
    follower.wait_for("differs", "1", "resolved");

    kafka.kill();
    says(&follower, "nothing is compared now", 2);
    kafka.restart();
    says(&follower, "comparing again", 2);
    postgres.kill();
    says(&follower, "nothing is compared now", 3);
    let (exit, summary, _) = follower.end();
    assert_eq!((exit, &summary["verdict"]), (2, &"unverified".into()), "{summary:#}");
    let why = summary["unread"].to_string();
    assert!(why.contains("nothing was compared since 2"), "{why}");

    // What never worked is a mistake in what was asked.
    let mut follower = follow();
    let ended = wait_for("it ends", LIMIT, || follower.child.try_wait().expect("it is a child"));
    assert_eq!(ended.code(), Some(2), "{}", follower.err());
}

#[test]
fn two_tables_are_compared_again_and_again() {
    let pair = Pair::new("again", 1);
    let mut client = pair.table("id int PRIMARY KEY, note text");
    client
        .batch_execute("INSERT INTO items VALUES (1, 'x'), (2, 'x'); CREATE TABLE copy AS TABLE items; ALTER TABLE copy ADD PRIMARY KEY (id); GRANT SELECT ON copy TO audit")
        .expect("tables");
    let table = |name: &str| format!("{}?table={name}", pair.postgres.url_as("audit", &pair.name));
    let follower = Follower::start(&[&table("items"), &table("copy"), "--every", "300ms", "--buckets", "3"]);
    client.batch_execute("UPDATE copy SET note = 'y' WHERE id = 2").expect("drift");
    follower.wait_for("differs", "2", "open");
    client.batch_execute("UPDATE copy SET note = 'x' WHERE id = 2").expect("it heals");
    follower.wait_for("differs", "2", "resolved");
    let (exit, summary, _) = follower.end();
    assert_eq!(exit, 0, "{summary:#}");
    assert!(summary["drift"]["following"]["comparisons"].as_u64() > Some(3), "{summary:#}");
    assert_eq!((&summary["drift"]["keys"], &summary["drift"]["rows"]), (&2.into(), &2.into()));
}
