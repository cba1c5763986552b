//! Bad input and failing servers: a clear message, the right exit code, and the rest of the audit goes on.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use sordini_lab::broker::{Listener, OTHER_USER};
use sordini_lab::{Cluster, Kafka, Options, shared, wait_for};

use crate::common::*;

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
    wait_for("the ledger", Duration::from_secs(20), || dir.path().join("ledger/journal").exists().then_some(()));
    refused(&on, "in use by another process");
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(audit(&on).exit, 0);
    refused(&[&on[..], &["--id", "key"]].concat(), "other rules");
}

#[test]
fn one_topic_of_three_that_may_not_be_read_is_told_and_the_others_are_audited() {
    let kafka = Kafka::start(Options { authorizer: true, ..Options::secure() });
    for topic in ["mine-1", "mine-2", "theirs"] {
        kafka.create_topic(topic, 1, &[]);
        kafka.producer(&[]).send_all(&orders(topic, 0, 10));
    }
    for topic in ["mine-1", "mine-2"] {
        kafka.grant(OTHER_USER.0, &["READ", "DESCRIBE"], topic);
    }
    kafka.grant(OTHER_USER.0, &["DESCRIBE"], "theirs");
    let address = kafka.address(Listener::SaslSsl);
    let ca = format!("ssl.ca.location={}", kafka.certificates().ca.display());
    let (user, password) = (format!("sasl.username={}", OTHER_USER.0), format!("sasl.password={}", OTHER_USER.1));
    let audited = audit(&[
        "-b",
        &address,
        "-X",
        "security.protocol=SASL_SSL",
        "-X",
        "sasl.mechanism=PLAIN",
        "-X",
        &user,
        "-X",
        &password,
        "-X",
        &ca,
        "-t",
        "mine-1",
        "-t",
        "mine-2",
        "-t",
        "theirs",
    ]);
    assert_eq!(audited.exit, 2);
    let records = |topic: &str| audited.coverage.iter().find(|c| c["topic"] == topic).map(|c| c["records"].clone());
    assert_eq!((records("mine-1"), records("mine-2")), (Some(10.into()), Some(10.into())));
    let unread = audited.summary["unread"].to_string();
    assert!(unread.contains("theirs") && unread.contains("READ"), "{unread}");
}

#[test]
fn a_leader_that_dies_on_the_way_costs_nothing_that_was_replicated() {
    let mut cluster = Cluster::start(3, &Options::default());
    cluster.create_topic_on("moving", &[&[2, 1, 3]], &[("min.insync.replicas", "2")]);
    let bootstrap = cluster.bootstrap();
    cluster.producer(&[("acks", "all")]).send_all(&orders("moving", 0, 500));
    let dir = tempfile::tempdir().unwrap();
    let report = path(dir.path(), "report.jsonl");
    let args = [
        "audit",
        "--follow",
        "--format",
        "json",
        "-b",
        &bootstrap,
        "-t",
        "moving",
        "--id",
        "header:event-id",
        "-o",
        &report,
    ];
    let mut child = sordini(&args).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    cluster.kill(2);
    wait_for("another leader", Duration::from_secs(60), || cluster.leader("moving", 0).filter(|&id| id > 0 && id != 2));
    cluster.producer(&[("acks", "all")]).send_all(&orders("moving", 500, 500));
    std::thread::sleep(Duration::from_secs(8));
    // Ctrl-C ends cleanly: commit, report, exit.
    let interrupted = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    let exit = child.wait().unwrap();
    let text = std::fs::read_to_string(&report).unwrap();
    let summary: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((exit.code(), &summary["figures"]["records"]), (Some(0), &1000.into()), "{summary}");
}

/// Flips one byte in the only segment of a partition, under the broker's hands.
fn damage_segment(directory: &Path, at: u64) {
    let segment = directory.join("00000000000000000000.log");
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&segment).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x20], at).unwrap();
}

#[test]
fn a_corrupt_batch_is_a_finding_and_the_rest_is_read() {
    let kafka = shared();
    kafka.create_topic("corrupt", 1, &[]);
    for round in 0..3 {
        kafka.producer(&[]).send_all(&orders("corrupt", round * 10, 10));
    }
    damage_segment(&kafka.log_directory("corrupt", 0), 100);
    let audited = audit(&["-b", &kafka.bootstrap(), "-t", "corrupt"]);
    assert_eq!(audited.exit, 2, "what could not be read is not verified");
    let kinds: Vec<_> = audited.findings.iter().map(|f| f["kind"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds, ["checksum-failure"]);
    let (unreadable, records) = (holes(&audited, "unreadable"), audited.coverage[0]["records"].as_u64().unwrap());
    assert!(unreadable > 0 && records > 0, "{:?}", audited.coverage);
    assert_eq!(unreadable + records, 30);
}

#[test]
fn a_topic_deleted_under_a_following_audit_is_told() {
    let (kafka, dir) = (shared(), tempfile::tempdir().unwrap());
    kafka.create_topic("doomed", 1, &[]);
    kafka.producer(&[]).send_all(&orders("doomed", 0, 10));
    let report = path(dir.path(), "report.jsonl");
    let args = ["audit", "--follow", "--format", "json", "-b", &kafka.bootstrap(), "-t", "doomed", "-o", &report];
    let mut child = sordini(&args).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    kafka.delete_topic("doomed");
    let exit = wait_for("the audit to end", Duration::from_secs(60), || child.try_wait().unwrap());
    let text = std::fs::read_to_string(&report).unwrap();
    assert_eq!(exit.code(), Some(2), "{text}");
    assert!(text.contains("\"topic-reset\""), "{text}");
}

#[test]
fn a_damaged_ledger_is_refused_or_told_and_never_ignored() {
    let (kafka, dir) = (shared(), tempfile::tempdir().unwrap());
    let bootstrap = kafka.bootstrap();
    kafka.create_topic("damaged-ledger", 1, &[]);
    kafka.producer(&[]).send_all(&orders("damaged-ledger", 0, 1000));
    let ledger = path(dir.path(), "ledger");
    let on = ["-b", &bootstrap, "-t", "damaged-ledger", "--id", "header:event-id", "--ledger", &ledger];
    assert_eq!(audit(&on).exit, 0);
    let state = std::fs::read_dir(&ledger)
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|p| p.to_string_lossy().contains("state-"))
        .unwrap();
    let whole = std::fs::read(&state).unwrap();
    std::fs::write(&state, &whole[..whole.len() - 1]).unwrap();
    refused(&on, "fails its checksum");
    std::fs::write(&state, &whole).unwrap();
    // A page of sightings: the same records again can no longer be compared with all of them.
    let run = Path::new(&ledger).join("run-00000000");
    let mut bytes = std::fs::read(&run).unwrap();
    bytes[4096 + 100] ^= 1;
    std::fs::write(&run, bytes).unwrap();
    kafka.producer(&[]).send_all(&orders("damaged-ledger", 0, 1000));
    let audited = audit(&on);
    assert!(audited.findings.iter().any(|f| f["kind"] == "audit-gap"), "{}", audited.summary);
    let duplicates = audited.findings.iter().filter(|f| f["kind"] == "duplicate").count();
    assert!((700..1000).contains(&duplicates), "{duplicates} of 1000 are still recognised");
}

#[test]
fn a_full_disk_under_the_ledger_stops_cleanly_and_goes_on_when_there_is_room() {
    let (kafka, dir) = (shared(), tempfile::tempdir().unwrap());
    let bootstrap = kafka.bootstrap();
    let truth = path(dir.path(), "truth.json");
    let to = ["-b", &bootstrap, "-t", "full-disk"];
    let output = run(&[&["generate", "--records", "60000", "--truth", &truth], &to[..], &FAULTS].concat());
    assert!(output.status.success());
    // A file system of its own, too small for what is seen.
    let small = dir.path().join("small");
    std::fs::create_dir(&small).unwrap();
    let mounted = Mount::tmpfs(&small, "1536k");
    let ledger = small.join("ledger").display().to_string();
    let on = [&to[..], &RULES, &["--ledger", &ledger]].concat();
    refused(&on, "the disk is full");
    mounted.resize("64m");
    let audited = audit(&on);
    assert_exact(dir.path(), &truth, &audited);
}

/// A mounted tmpfs, unmounted when dropped. Needs root, as the installing of servers does.
struct Mount<'a>(&'a Path);

impl<'a> Mount<'a> {
    fn tmpfs(at: &'a Path, size: &str) -> Self {
        mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"], at);
        Self(at)
    }

    fn resize(&self, size: &str) {
        mount(&["-o", &format!("remount,size={size}")], self.0);
    }
}

fn mount(args: &[&str], at: &Path) {
    let status = std::process::Command::new("mount").args(args).arg(at).status().unwrap();
    assert!(status.success(), "mount {args:?}");
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        // A busy mount is let go of once nothing uses it.
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0).status();
    }
}
