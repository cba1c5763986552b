//! The way of a transaction through a flow: what is missing, and how far that can be said.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::{Ran, hour_ago, run, sordini, text, trace};

/// A record of a transaction.
pub fn record(topic: &str, partition: i32, offset: i64, second: i64, id: &str, amount: i64) -> String {
    let line = json!({
        "topic": topic, "partition": partition, "offset": offset, "ts": second * 1000,
        "headers": ["order-id", id], "payload": json!({"amount": amount}).to_string(),
    });
    format!("{line}\n")
}

/// Settings of a flow from `orders` over `payments` to `letters`, which are optional, with its state beside them.
fn settings(dir: &Path, brokers: &str, more: &str) -> PathBuf {
    let path = dir.join("sordini.toml");
    let state = dir.join("state");
    let stage = |topic: &str, more: &str| format!("[[flow.stage]]\ntopic = \"{topic}\"\n{more}\n");
    let stages = [
        stage("orders", "agree = [\"json:/amount\"]"),
        stage("payments", "agree = [\"json:/amount\"]"),
        stage("letters", "rule = \"optional\""),
    ];
    let text = format!(
        "version = 1\nstate = \"{}\"\n[kafka]\n\"bootstrap.servers\" = \"{brokers}\"\n[[flow]]\nname = \"shop\"\nid = \"header:order-id\"\n{more}\n{}",
        state.display(),
        stages.concat(),
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// Nobody listens there.
const NOBODY: &str = "127.0.0.1:1";

struct Judged {
    dir: tempfile::TempDir,
    config: PathBuf,
    findings: Vec<Value>,
}

impl Judged {
    /// Judges lines into the ledger that the daemon would use.
    fn of(lines: &str, more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = settings(dir.path(), NOBODY, more);
        let mut judged = Self { dir, config, findings: Vec::new() };
        judged.add(lines);
        judged
    }

    fn add(&mut self, lines: &str) {
        let input = self.dir.path().join("input.jsonl");
        std::fs::write(&input, lines).unwrap();
        let state = self.dir.path().join("state/audits");
        let args =
            ["flows", "-c", text(&self.config), "--lines", text(&input), "--ledger", text(&state), "--format", "json"];
        self.findings = run(&args).lines().into_iter().filter(|line| line["type"] == "finding").collect();
    }

    fn ledger(&self) -> PathBuf {
        self.dir.path().join("state/audits/shop")
    }

    fn trace(&self, args: &[&str]) -> Ran {
        run(&[&["trace", "-c", text(&self.config)], args].concat())
    }

    /// The line about the transaction, and the statuses of its stages.
    fn way(&self, id: &str) -> (Value, Vec<String>) {
        let ran = self.trace(&[id, "--format", "json"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        way(&ran)
    }
}

fn way(ran: &Ran) -> (Value, Vec<String>) {
    let line = ran.lines().into_iter().find(|line| line["type"] == "transaction").expect("a transaction");
    let statuses = line["stages"].as_array().unwrap().iter().map(|at| at["status"].as_str().unwrap().to_owned());
    let statuses = statuses.collect();
    (line, statuses)
}

/// Seven orders; `o3` never reaches the payments, `o5` says otherwise there, `ghost` has no order.
fn shop(from: i64) -> String {
    let mut lines = String::new();
    for n in 0..7 {
        lines += &record("orders", 0, n, from + n, &format!("o{n}"), n);
    }
    for (offset, n) in [0, 1, 2, 4, 5, 6].into_iter().enumerate() {
        let amount = if n == 5 { 500 } else { n };
        lines += &record("payments", 0, offset as i64, from + n + 2, &format!("o{n}"), amount);
    }
    lines += &record("payments", 0, 6, from + 20, "ghost", 1);
    lines += &record("letters", 0, 0, from + 5, "o1", 1);
    lines
}

#[test]
fn a_complete_transaction_is_seen_at_every_stage_in_order() {
    let from = hour_ago();
    let judged = Judged::of(&shop(from), "");
    let (line, statuses) = judged.way("o1");
    assert_eq!(statuses, ["seen", "seen", "seen"]);
    assert!(line["says"].as_str().unwrap().ends_with(": complete"), "{line}");
    assert_eq!((&line["audit"], &line["flow"], &line["findings"]), (&json!("shop"), &json!("shop"), &json!([])));
    let sightings: Vec<Value> = judged.trace(&["o1", "--format", "json"]).lines();
    let places: Vec<(&Value, &Value, &Value)> =
        sightings[..3].iter().map(|line| (&line["stage"], &line["offset"], &line["timestamp"])).collect();
    let at = |second: i64| json!((from + second) * 1000);
    let expected =
        [(json!("orders"), json!(1), at(1)), (json!("payments"), json!(1), at(3)), (json!("letters"), json!(0), at(5))];
    assert_eq!(places, expected.iter().map(|(stage, offset, time)| (stage, offset, time)).collect::<Vec<_>>());
    // What is optional is not missing.
    let (line, statuses) = judged.way("o2");
    assert_eq!(statuses, ["seen", "seen", "not-needed"]);
    assert!(line["says"].as_str().unwrap().contains("letters, which is optional"), "{line}");
}

#[test]
fn a_missing_stage_is_named_with_its_hop_and_its_verdict() {
    let judged = Judged::of(&shop(hour_ago()), "");
    let told = judged.findings.iter().find(|finding| finding["kind"] == "missing-stage").unwrap();
    let (line, statuses) = judged.way("o3");
    assert_eq!(statuses, ["seen", "lost", "not-reached"]);
    // The finding of the audit, whole.
    let mut own = line["findings"][0].clone();
    own["type"] = json!("finding");
    assert_eq!(own, *told);
    judged.trace(&["o3"]).said(0, "lost on the hop orders → payments").said(0, "missing-stage (proven, ");
    // In the ledger alone, without settings, too.
    trace(&judged.ledger(), &["o3"]).said(0, "lost on the hop orders → payments");
}

#[test]
fn other_contents_and_records_without_a_cause_are_told_with_their_verdicts() {
    let judged = Judged::of(&shop(hour_ago()), "");
    let (line, statuses) = judged.way("o5");
    assert_eq!(
        (statuses.as_slice(), &line["findings"][0]["kind"]),
        (&["seen", "seen", "not-needed"].map(str::to_owned)[..], &json!("stage-mismatch"))
    );
    assert!(line["says"].as_str().unwrap().contains("payments says otherwise"), "{line}");
    let (line, statuses) = judged.way("ghost");
    assert_eq!(statuses[..2], ["absent", "seen"]);
    assert_eq!(line["findings"][0]["kind"], "unexpected-record");
    judged.trace(&["ghost"]).said(0, "never at orders").said(0, "though payments saw it");
}

#[test]
fn a_finding_s_hash_finds_the_transaction_and_so_does_that_of_each_record() {
    let judged = Judged::of(&shop(hour_ago()), "");
    let by_id = judged.trace(&["o1", "--format", "json"]);
    let hashes: Vec<String> =
        by_id.lines().iter().map(|line| line["identity"]["hash"].as_str().unwrap().to_owned()).collect();
    assert_eq!(hashes.iter().collect::<std::collections::BTreeSet<_>>().len(), 4, "three topics and what they share");
    for hash in &hashes {
        assert_eq!(judged.trace(&[hash, "--format", "json"]).out, by_id.out);
        assert_eq!(judged.trace(&[hash, "--hash", "--format", "json"]).out, by_id.out);
    }
    // As the audit's finding shows it.
    let told = judged.findings.iter().find(|finding| finding["kind"] == "missing-stage").unwrap();
    let hash = told["identity"]["hash"].as_str().unwrap();
    judged.trace(&[hash]).said(0, "orders[0]@3").said(0, "lost on the hop orders → payments");
    // Of one topic only its sightings.
    let one = judged.trace(&[&hashes[3], "-t", "payments", "--format", "json"]);
    assert_eq!((one.lines().len(), &one.lines()[0]["topic"]), (1, &json!("payments")));
}

#[test]
fn what_came_late_is_seen_and_said_to_be_late() {
    let from = hour_ago();
    let mut judged = Judged::of(&shop(from), "");
    judged.way("o3");
    judged.add(&record("payments", 0, 7, from + 600, "o3", 3));
    let (line, statuses) = judged.way("o3");
    assert_eq!(statuses[..2], ["seen", "seen"]);
    assert_eq!((&line["findings"][0]["state"], &line["findings"][0]["cause"]), (&json!("resolved"), &json!("late")));
    judged.trace(&["o3"]).said(0, "late at payments").said(0, "resolved");
}

#[test]
fn within_its_deadline_nothing_is_lost_yet() {
    let now = hour_ago() + 3600;
    let judged = Judged::of(&shop(now - 60), "deadline = \"1h\"");
    let (line, statuses) = judged.way("o3");
    assert_eq!(statuses, ["seen", "waiting", "not-reached"]);
    assert!(line["says"].as_str().unwrap().contains("not yet at payments"), "{line}");
}

#[test]
fn what_was_not_read_is_said_and_nothing_is_called_lost_for_it() {
    let from = hour_ago();
    // Reading the payments begins late: o0 may have been paid before.
    let mut lines: String = (0..4).map(|n| record("orders", 0, n, from + n, &format!("o{n}"), n)).collect();
    lines += &record("payments", 1, 5000, from + 300, "other", 1);
    let judged = Judged::of(&lines, "");
    let (line, statuses) = judged.way("o0");
    assert_eq!(statuses[..2], ["seen", "uncovered"]);
    assert_eq!(line["stages"][1]["not_covered"], json!(["payments[1] before offset 5000"]));
    let beginning = humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + Duration::from_secs((from + 300) as u64));
    let says = line["says"].as_str().unwrap();
    assert!(says.contains(&format!("never seen at payments between {beginning} and ")), "{says}");
    assert!(says.contains("not covered: payments[1] before offset 5000"), "{says}");
    // The same where nothing at all was seen.
    let nothing = judged.trace(&["nobody"]);
    nothing.said(1, "never seen in orders between its beginning and ");
    nothing.said(1, "not covered: payments[1] before offset 5000");
}

#[test]
fn what_lies_beyond_the_horizon_is_not_called_lost() {
    let old = hour_ago();
    let mut judged = Judged::of(&record("orders", 0, 0, old, "old", 1), "horizon = \"10m\"\ndeadline = \"10h\"");
    let now = old + 3600;
    let later: String = (1..4).map(|n| record("orders", 0, n, now - 5 + n, &format!("new{n}"), 1)).collect();
    judged.add(&later);
    let payments: String = (0..4).map(|n| record("payments", 0, n, now - 3 + n, &format!("x{n}"), 1)).collect();
    judged.add(&payments);
    let ran = judged.trace(&["old"]);
    ran.said(ran.code, "beyond the horizon");
    let (_, statuses) = way(&judged.trace(&["x0", "--format", "json"]));
    assert_eq!(statuses[1], "seen");
}

#[test]
fn a_part_of_what_must_come_several_times_is_not_complete() {
    let (dir, from) = (tempfile::tempdir().unwrap(), hour_ago());
    let config = dir.path().join("sordini.toml");
    let said = format!(
        "version = 1\nstate = \"{}\"\n[kafka]\n\"bootstrap.servers\" = \"{NOBODY}\"\n[[flow]]\nname = \"shop\"\nid = \"header:order-id\"\n\
         [[flow.stage]]\ntopic = \"orders\"\n[[flow.stage]]\ntopic = \"parts\"\nrule = \"fan-out\"\nrecords = 2\n",
        dir.path().join("state").display()
    );
    std::fs::write(&config, said).unwrap();
    let mut lines = record("orders", 0, 0, from, "whole", 1) + &record("orders", 0, 1, from, "half", 1);
    for (offset, id) in ["whole", "half", "whole"].into_iter().enumerate() {
        lines += &record("parts", 0, offset as i64, from + 1, id, 1);
    }
    let mut judged = Judged { dir, config, findings: Vec::new() };
    judged.add(&lines);
    assert_eq!(judged.way("whole").1, ["seen", "seen"]);
    assert_eq!(judged.way("half").1, ["seen", "lost"]);
    judged.trace(&["half"]).said(0, "not all of its 2 records at parts");
}

#[test]
fn a_running_audit_follows_a_transaction_through_its_socket() {
    let (dir, now) = (tempfile::tempdir().unwrap(), hour_ago() + 3600);
    let config = settings(dir.path(), NOBODY, "deadline = \"1h\"");
    let state = dir.path().join("state/audits");
    let on = ["flows", "-c", text(&config), "--lines", "-", "--ledger", text(&state)];
    let mut child = sordini(&on).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(shop(now - 60).as_bytes()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let found = loop {
        let ran = run(&["trace", "o3", "--ledger", text(&state.join("shop")), "--format", "json"]);
        if ran.code == 0 && way(&ran).1[1] == "waiting" {
            break ran;
        }
        assert!(Instant::now() < deadline, "{}: {}\n{}", ran.code, ran.out, ran.err);
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(way(&found).1, ["seen", "waiting", "not-reached"]);
    run(&["trace", "o3", "-c", text(&config)]).said(0, "not yet at payments").said(0, "just read");
    let hash = way(&found).0["identity"]["hash"].as_str().unwrap().to_owned();
    assert_eq!(way(&run(&["trace", &hash, "-c", text(&config), "--format", "json"])).0["identity"]["hash"], hash);
    drop(input);
    child.wait().unwrap();
}

#[test]
fn settings_and_directories_are_two_ways_to_say_the_same() {
    let judged = Judged::of(&shop(hour_ago()), "");
    run(&["trace", "o1"]).said(2, "--config");
    run(&["trace", "o1", "-c", text(&judged.config), "--ledger", text(&judged.ledger())])
        .said(2, "cannot be used with");
    let empty = tempfile::tempdir().unwrap();
    let config = settings(empty.path(), NOBODY, "");
    run(&["trace", "o1", "-c", text(&config)]).said(2, "sordini watch");
    // Two ledgers, of which one knows it; the other's rules know no ids.
    let (other, _) = crate::common::audit(empty.path(), &shop(hour_ago()), &[]);
    let both = run(&["trace", "o1", "--ledger", text(&judged.ledger()), "--ledger", text(&other)]);
    both.said(0, "payments[0]@1").said(0, "keeps no identities");
    let none = run(&["trace", "nobody", "--ledger", text(&judged.ledger()), "--ledger", text(&other)]);
    none.said(1, "not found");
}

#[test]
fn without_a_broker_the_sightings_are_shown_and_the_records_are_said_to_be_missing() {
    let judged = Judged::of(&shop(hour_ago()), "");
    judged.trace(&["o1", "--show"]).said(2, "payments[0]@1").said(2, "the records could not be fetched");
    trace(&judged.ledger(), &["o1", "--show"]).said(2, "payments[0]@1").said(2, "give -b HOST:PORT");
}
