//! The audit against a real Kafka: a healthy world gives no finding, every fault is found, a killed audit goes on.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use sordini_lab::client::COMPACTED;
use sordini_lab::{Kafka, Options, Record, shared};

fn sordini(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sordini"));
    command.args(args);
    command
}

fn run(args: &[&str]) -> Output {
    sordini(args).output().expect("sordini starts")
}

struct Audited {
    exit: i32,
    findings: Vec<Value>,
    coverage: Vec<Value>,
    summary: Value,
    text: String,
}

/// Runs an audit and reads its JSON lines; every coverage line must add up.
fn audit(args: &[&str]) -> Audited {
    let output = run(&[&["audit", "--format", "json"], args].concat());
    let text = String::from_utf8(output.stdout).expect("JSON lines are UTF-8");
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect();
    let of = |kind: &str| lines.iter().filter(|line| line["type"] == kind).cloned().collect::<Vec<_>>();
    let (findings, coverage, summaries) = (of("finding"), of("coverage"), of("summary"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let [summary] = &summaries[..] else { panic!("one summary, not {summaries:?}; {said}") };
    for line in &coverage {
        let holes: u64 = line["holes"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
        let span = line["until"].as_u64().unwrap() - line["from"].as_u64().unwrap();
        assert_eq!(line["records"].as_u64().unwrap() + holes, span, "{line}");
    }
    let exit = output.status.code().expect("it exits");
    assert_eq!(summary["exit"], exit, "{summary}");
    Audited { exit, findings, coverage, summary: summary.clone(), text }
}

fn holes(audited: &Audited, hole: &str) -> u64 {
    audited.coverage.iter().map(|line| line["holes"][hole].as_u64().unwrap()).sum()
}

fn assert_clean(audited: &Audited, what: &str) {
    assert_eq!(audited.findings, [] as [Value; 0], "{what}");
    assert_eq!(audited.exit, 0, "{what}: {}", audited.summary);
}

const RULES: [&str; 10] = [
    "--id",
    "header:event-id",
    "--session",
    "header:producer",
    "--sequence",
    "header:seq",
    "--sequence-end",
    "header:seq-end",
    "--sequence-start",
    "0",
];

const FAULTS: [&str; 22] = [
    "--fault",
    "lose-every=500",
    "--fault",
    "lose-burst=0.02%x20",
    "--fault",
    "duplicate=0.1%",
    "--fault",
    "duplicate-far=0.05%",
    "--fault",
    "conflict=0.05%",
    "--fault",
    "swap=0.1%",
    "--fault",
    "late=0.02%",
    "--fault",
    "late-beyond=0.02%",
    "--fault",
    "head-loss=3",
    "--fault",
    "tail-loss=4",
    "--fault",
    "tombstones=0.1%",
];

fn path(dir: &Path, name: &str) -> String {
    dir.join(name).display().to_string()
}

fn generate(dir: &Path, args: &[&str]) -> String {
    let truth = path(dir, "truth.json");
    let output = run(&[&["generate", "--records", "20000", "--truth", &truth], args].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    truth
}

fn assert_exact(dir: &Path, truth: &str, audited: &Audited) {
    let findings = path(dir, "findings.jsonl");
    std::fs::write(&findings, &audited.text).unwrap();
    let score = run(&["score", "--truth", truth, &findings]);
    assert!(score.status.success(), "{}\n{}", String::from_utf8_lossy(&score.stdout), audited.summary);
}

#[test]
fn every_fault_is_found_by_either_client_and_in_lines() {
    let (kafka, dir) = (shared(), tempfile::tempdir().unwrap());
    let bootstrap = kafka.bootstrap();
    let to = ["-b", &bootstrap, "-t", "faults"];
    let truth = generate(dir.path(), &[&to[..], &FAULTS, &["--fault", "misnumber-reset"]].concat());
    let audited = audit(&[&to[..], &RULES].concat());
    assert_exact(dir.path(), &truth, &audited);
    assert_eq!(audited.exit, 1);
    let audited = audit(&[&to[..], &RULES, &["--client", "librdkafka"]].concat());
    assert_exact(dir.path(), &truth, &audited);

    let lines = path(dir.path(), "orders.jsonl");
    let truth = generate(dir.path(), &[&["--lines", &lines][..], &FAULTS, &["--fault", "misnumber-reset"]].concat());
    let audited = audit(&[&["--lines", &lines][..], &RULES].concat());
    assert_exact(dir.path(), &truth, &audited);
}

#[test]
fn sessions_that_run_over_all_partitions_are_judged_together() {
    let (kafka, dir) = (shared(), tempfile::tempdir().unwrap());
    let bootstrap = kafka.bootstrap();
    let to = ["-b", &bootstrap, "-t", "spread"];
    let truth = generate(dir.path(), &[&to[..], &FAULTS, &["--spread"]].concat());
    let audited = audit(&[&to[..], &RULES, &["--scope", "topic"]].concat());
    assert_exact(dir.path(), &truth, &audited);
}

#[test]
fn aborted_transactions_are_no_loss() {
    let (kafka, dir) = (shared(), tempfile::tempdir().unwrap());
    let bootstrap = kafka.bootstrap();
    let to = ["-b", &bootstrap, "-t", "transactions"];
    let faults = ["--mode", "transactional", "--fault", "abort-transaction=5%", "--fault", "lose-every=1000"];
    let truth = generate(dir.path(), &[&to[..], &faults].concat());
    let audited = audit(&[&to[..], &RULES].concat());
    assert_exact(dir.path(), &truth, &audited);
    assert!(holes(&audited, "control") > 0 && holes(&audited, "aborted") > 0, "{:?}", audited.coverage);
    assert_eq!(holes(&audited, "unexplained"), 0);
}

fn orders(topic: &str, from: usize, count: usize) -> Vec<Record> {
    (from..from + count)
        .map(|n| {
            Record::new(topic, 0)
                .key(format!("k{}", n % 50))
                .value(format!("value {n}"))
                .header("event-id", Some(format!("e{n}").as_bytes()))
        })
        .collect()
}

#[test]
fn a_healthy_world_gives_no_finding() {
    let kafka = shared();
    let bootstrap = kafka.bootstrap();
    let check = |topic: &str, more: &[&str]| {
        let audited = audit(&[&["-b", &bootstrap, "-t", topic, "--id", "header:event-id"], more].concat());
        assert_clean(&audited, topic);
        let (_, high_watermark) = kafka.watermarks(topic, 0);
        assert_eq!(audited.coverage[0]["until"], high_watermark, "{topic}");
        let default = audit(&[&["-b", &bootstrap, "-t", topic], more].concat());
        assert_clean(&default, topic);
        audited
    };

    kafka.create_topic("healthy-codecs", 1, &[]);
    for (round, codec) in ["none", "gzip", "snappy", "lz4", "zstd"].iter().enumerate() {
        kafka.producer(&[("compression.type", codec), ("enable.idempotence", "true")]).send_all(&orders(
            "healthy-codecs",
            round * 100,
            100,
        ));
    }
    assert_eq!(check("healthy-codecs", &[]).summary["figures"]["records"], 500);

    kafka.create_topic("healthy-append-time", 1, &[("message.timestamp.type", "LogAppendTime")]);
    kafka.producer(&[]).send_all(&orders("healthy-append-time", 0, 100));
    check("healthy-append-time", &[]);

    kafka.create_topic("healthy-transactions", 1, &[]);
    let producer = kafka.producer(&[("transactional.id", "healthy")]);
    for round in 0..10 {
        producer.begin();
        producer.send_all(&orders("healthy-transactions", round * 20, 20));
        if round % 3 == 0 {
            producer.abort();
            producer.begin();
            producer.send_all(&orders("healthy-transactions", round * 20, 20));
        }
        producer.commit();
    }
    let audited = check("healthy-transactions", &[]);
    assert_eq!((holes(&audited, "aborted"), holes(&audited, "control")), (80, 14));

    kafka.create_topic("healthy-trimmed", 1, &[]);
    kafka.producer(&[("enable.idempotence", "true")]).send_all(&orders("healthy-trimmed", 0, 300));
    kafka.delete_records("healthy-trimmed", 0, 123);
    let audited = check("healthy-trimmed", &["--offset", "0"]);
    assert_eq!((holes(&audited, "expired"), audited.summary["figures"]["records"].as_u64()), (123, Some(177)));

    kafka.create_topic("healthy-recreated", 1, &[]);
    kafka.producer(&[]).send_all(&orders("healthy-recreated", 0, 50));
    kafka.delete_topic("healthy-recreated");
    kafka.create_topic("healthy-recreated", 1, &[]);
    kafka.producer(&[]).send_all(&orders("healthy-recreated", 0, 20));
    check("healthy-recreated", &[]);
}

#[test]
fn what_the_cleaner_removes_is_explained() {
    let kafka = shared();
    kafka.create_topic("healthy-compacted", 1, COMPACTED);
    let producer = kafka.producer(&[("enable.idempotence", "true")]);
    for round in 0..5 {
        producer.send_all(&orders("healthy-compacted", round * 100, 100));
    }
    let tombstones: Vec<Record> = (0..10).map(|n| Record::new("healthy-compacted", 0).key(format!("k{n}"))).collect();
    producer.send_all(&tombstones);
    kafka.compact("healthy-compacted", 0);
    let audited = audit(&["-b", &kafka.bootstrap(), "-t", "healthy-compacted"]);
    assert_clean(&audited, "compacted");
    assert!(holes(&audited, "compacted") > 300, "{:?}", audited.coverage);
}

/// Findings by id, with everything they say but when the ledger told them.
fn by_id(audited: &Audited) -> Vec<String> {
    let mut findings: Vec<String> = audited.findings.iter().map(Value::to_string).collect();
    findings.sort();
    findings
}

#[test]
fn a_killed_audit_goes_on_and_says_the_same() {
    let (kafka, dir) = (shared(), tempfile::tempdir().unwrap());
    let bootstrap = kafka.bootstrap();
    let to = ["-b", &bootstrap, "-t", "killed"];
    let truth = generate(dir.path(), &[&to[..], &FAULTS].concat());
    // Small answers, so that there is something to interrupt.
    let slow = ["-X", "fetch.max.bytes=65536", "--commit-every", "20ms"];
    let undisturbed_ledger = path(dir.path(), "undisturbed");
    let undisturbed = audit(&[&to[..], &RULES, &["--ledger", &undisturbed_ledger]].concat());
    assert_exact(dir.path(), &truth, &undisturbed);

    // The same secret, so that identities have the same hashes.
    let ledger = dir.path().join("killed");
    copy_fresh_ledger(&PathBuf::from(&undisturbed_ledger), &ledger);
    let ledger = ledger.display().to_string();
    for round in 0..12u64 {
        let args = [&["audit", "--format", "json"], &to[..], &RULES, &slow, &["--ledger", &ledger]].concat();
        let mut child = sordini(&args).stdout(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(30 + round * 17));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let resumed = audit(&[&to[..], &RULES, &["--ledger", &ledger]].concat());
    assert_eq!(by_id(&resumed), by_id(&undisturbed));
    assert_exact(dir.path(), &truth, &resumed);
    let again = audit(&[&to[..], &RULES, &["--ledger", &ledger]].concat());
    assert_eq!(by_id(&again), by_id(&undisturbed), "a run with nothing new says the same");
}

/// Only the key: the rest is made anew under it.
fn copy_fresh_ledger(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    std::fs::copy(from.join("key"), to.join("key")).unwrap();
}

fn refused(args: &[&str], says: &str) {
    let output = run(&[&["audit"], args].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(says), "expected {says:?} in:\n{said}");
}

#[test]
fn what_cannot_be_verified_exits_2_and_says_what_to_do() {
    let (kafka, dir) = (shared(), tempfile::tempdir().unwrap());
    let bootstrap = kafka.bootstrap();
    kafka.create_topic("nothing-in-it", 2, &[]);
    refused(&["-b", "127.0.0.1:1", "-t", "x"], "check that a broker listens");
    refused(&["-b", "no-such-host.invalid:9092", "-t", "x"], "host name");
    refused(&["-b", &bootstrap, "-t", "no-such-topic"], "no-such-topic");
    refused(&["-b", &bootstrap, "-t", "nothing-in-it"], "empty");
    refused(&["-b", &bootstrap, "-t", "nothing-in-it", "-X", "security.protocol=SSL"], "PLAINTEXT");
    refused(&["-t", "x"], "-b HOST:PORT");
    refused(&["-b", &bootstrap, "-t", "x", "--id", "nonsense"], "header:NAME");
    refused(&["-b", &bootstrap, "-t", "x", "-X", "sasl.mechanizm=PLAIN"], "sasl.mechanism");

    let lines = path(dir.path(), "lines.jsonl");
    std::fs::write(&lines, "{\"topic\":\"t\",\"partition\":0,\"offset\":0,\"payload\":\"{}\"}\nnot json\n").unwrap();
    refused(&["--lines", &lines], "lines.jsonl:2");
    std::fs::write(&lines, "{\"topic\":\"t\",\"partition\":0,\"offset\":0,\"payload\":\"{}\"}\n").unwrap();
    refused(&["--lines", &lines, "--id", "json:/order/id"], "fits no record");
}

#[test]
fn two_processes_on_one_ledger_and_other_rules_are_refused() {
    let (kafka, dir) = (shared(), tempfile::tempdir().unwrap());
    let bootstrap = kafka.bootstrap();
    kafka.create_topic("shared-ledger", 1, &[]);
    kafka.producer(&[]).send_all(&orders("shared-ledger", 0, 10));
    let ledger = path(dir.path(), "ledger");
    let on = ["-b", &bootstrap, "-t", "shared-ledger", "--ledger", &ledger];
    let following = [&["audit", "--follow"], &on[..]].concat();
    let mut first = sordini(&following).stdout(std::process::Stdio::null()).spawn().unwrap();
    sordini_lab::wait_for("the ledger", Duration::from_secs(20), || {
        dir.path().join("ledger/journal").exists().then_some(())
    });
    refused(&on, "in use by another process");
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(audit(&on).exit, 0);
    refused(&[&on[..], &["--id", "key"]].concat(), "other rules");
}

#[test]
fn listeners_with_tls_and_passwords_are_read() {
    let kafka = Kafka::start(Options::secure());
    kafka.create_topic("secure", 1, &[]);
    kafka.producer(&[]).send_all(&orders("secure", 0, 100));
    let ca = kafka.certificates().ca.display().to_string();
    let (ca, address) = (format!("ssl.ca.location={ca}"), kafka.address(sordini_lab::broker::Listener::SaslSsl));
    let (user, password) = sordini_lab::broker::USER;
    let (name, right) = (format!("sasl.username={user}"), format!("sasl.password={password}"));
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let mechanism = format!("sasl.mechanism={mechanism}");
        let base = [
            "-b",
            &address,
            "-t",
            "secure",
            "-X",
            "security.protocol=SASL_SSL",
            "-X",
            &mechanism,
            "-X",
            &name,
            "-X",
            &ca,
        ];
        assert_clean(&audit(&[&base[..], &["-X", &right]].concat()), &mechanism);
        refused(&[&base[..], &["-X", "sasl.password=wrong"]].concat(), "sasl.password");
    }
    refused(&["-b", &address, "-t", "secure"], "security.protocol");
}
