//! The daemon under traffic with planted faults, killed again and again: no finding is lost, and nobody is told twice.
//!
//! Two oracles: one audit of the same topic from its beginning to its end, which nobody disturbed, and the truth that
//! `generate` wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use sordini_lab::{Kafka, Options, Receiver, shared, wait_for};

use super::common::{Daemon, LIMIT, fill, name};

const PARTITIONS: i32 = 4;
const WAIT: &str = "4s";
/// The audit's rules in the form of a file and of flags. Little memory, so that it is full soon: what the ledger holds of its
/// runs grows up to that.
const RULES: &str = "id = \"header:event-id\"\nsession = \"header:producer\"\nsequence = \"header:seq\"\n\
    sequence-end = \"header:seq-end\"\nsequence-start = 0\nwait = \"4s\"\ncommit-every = \"1s\"\nmemory = \"8MiB\"\n";
const FLAGS: [&str; 12] = [
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
    "--wait",
    WAIT,
];
/// Each about so many times in a run, whatever its length; the API lists a thousand findings.
const FAULTS: [(&str, u32); 7] = [
    ("lose", 60),
    ("duplicate", 40),
    ("duplicate-far", 20),
    ("conflict", 20),
    ("swap", 40),
    ("late", 20),
    ("late-beyond", 20),
];

struct Soak {
    seconds: u32,
    /// Records a second.
    rate: u32,
    kills: u32,
    /// How much of the time it is killed in; what its memory does is seen in the rest.
    killed_for: f64,
}

/// What is seen of the daemon while it runs.
#[derive(Default)]
struct Seen {
    /// Seconds since the start, how often it was killed before, and KiB.
    resident: Vec<(f64, u32, u64)>,
    /// Ids of proven findings, by kind.
    proven: BTreeMap<String, String>,
}

#[test]
fn killed_again_and_again_it_reports_every_fault_once() {
    let soak = Soak { seconds: 24, rate: 1000, kills: 5, killed_for: 0.9 };
    let seen = soak.run(shared());
    let most = seen.resident.iter().map(|(.., kib)| kib).max().unwrap();
    assert!(*most < 1 << 20, "{most} KiB for {} records", soak.records());
}

#[test]
#[ignore = "the run that scripts/soak-watch prints"]
fn run() {
    let number = |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let seconds = number("SORDINI_SOAK_SECONDS", 300);
    let kills = number("SORDINI_SOAK_KILLS", seconds / 20);
    let soak = Soak { seconds, rate: number("SORDINI_SOAK_RATE", 5000), kills, killed_for: 0.5 };
    for (second, killed, kib) in soak.run(&Kafka::start(Options::default())).resident {
        println!("resident {second:.0} {killed} {kib}");
    }
}

impl Soak {
    fn records(&self) -> u32 {
        self.seconds * self.rate
    }

    fn run(&self, kafka: &Kafka) -> Seen {
        let (topic, group, dir) = (name("soaked"), name("leavers"), tempfile::tempdir().unwrap());
        let [truth, key, ledger] = ["truth.json", "key", "oracle"].map(|file| path(dir.path(), file));
        kafka.create_topic(&topic, PARTITIONS, &[]);
        leave_behind(kafka, &group);
        succeed(&["ledger", "key", &key]);
        let receiver = Receiver::start();
        let mut daemon = Daemon::new();
        let rules = format!("{RULES}ledger-key = {key:?}\n");
        let sink = format!("[[alert.webhook]]\nname = \"bot\"\nurl = \"{}\"\n", receiver.url());
        daemon.write_with_rules(&kafka.bootstrap(), &topic, &rules, &group, &sink);
        daemon.run();
        daemon.wait_for_verdict(&group, "no-owner");
        let mut seen = Seen::default();
        let generating = self.generate(&kafka.bootstrap(), &topic, &truth);
        self.kill_meanwhile(&mut daemon, generating, &mut seen);

        let brokers = kafka.bootstrap();
        let to = ["audit", "--format", "json", "-b", &brokers, "-t", &topic, "--ledger-key", &key];
        let listed = wait_for("the daemon is certain of everything", LIMIT, || {
            let listed = daemon.json("/api/v1/findings");
            let is_read = daemon.json("/api/v1/overview")["audits"][0]["behind"] == 0;
            (is_read && findings(&listed).iter().all(is_certain)).then_some(listed)
        });
        let said = audit(&[&to[..], &FLAGS, &["--ledger", &ledger]].concat());
        let expected = by_id(said.iter().filter(|line| line["type"] == "finding"));
        assert!(expected.values().all(is_certain), "{expected:?}");
        assert_exact(dir.path(), &truth, &said);
        // What it shows may be some seconds older than what it has read.
        let mut listed = listed;
        let until = Instant::now() + LIMIT;
        while !differences(&by_id(findings(&listed)), &expected).is_empty() && Instant::now() < until {
            thread::sleep(Duration::from_millis(500));
            listed = daemon.json("/api/v1/findings");
        }
        let differs = differences(&by_id(findings(&listed)), &expected);
        assert!(differs.is_empty(), "{}", differs.join("\n"));
        assert_eq!(listed["of"], expected.len(), "each once");
        let retracted: Vec<_> = seen.proven.iter().filter(|(id, _)| !expected.contains_key(*id)).collect();
        assert!(retracted.is_empty(), "reported once and never again: {retracted:?}");
        is_told_once(&daemon, &receiver, &expected, &group);

        daemon.signal("-TERM");
        assert_eq!(daemon.ended(), Some(0), "{}", daemon.log());
        let ledger = path(daemon.dir.path(), "state/audits/main");
        let kept = audit(&[&to[..], &FLAGS, &["--ledger", &ledger]].concat());
        assert_eq!(by_id(kept.iter().filter(|line| line["type"] == "finding")), expected, "what its ledger says");
        assert_exact(dir.path(), &truth, &kept);
        self.say(&expected, &receiver);
        seen
    }

    /// Writes at the pace of the clock, so that the waiting time passes as it does in life.
    fn generate(&self, brokers: &str, topic: &str, truth: &str) -> Child {
        let (records, rate) = (self.records().to_string(), self.rate.to_string());
        let mut args = ["generate", "-b", brokers, "-t", topic, "--truth", truth, "--live", "--wait", WAIT].to_vec();
        args.extend(["--producers", "8", "--records", &records, "--rate", &rate]);
        let rates = FAULTS.map(|(fault, times)| format!("{fault}={}", f64::from(times) / f64::from(self.records())));
        rates.iter().for_each(|fault| args.extend(["--fault", fault]));
        args.extend(["--fault", "lose-burst=0.0002x20", "--fault", "head-loss=3", "--fault", "tail-loss=4"]);
        sordini(&args).stdin(Stdio::null()).spawn().unwrap()
    }

    /// At moments that fall into commits as well as between them.
    fn kill_meanwhile(&self, daemon: &mut Daemon, mut generating: Child, seen: &mut Seen) {
        let began = Instant::now();
        for kill in 1..=self.kills {
            let at = f64::from(self.seconds) * self.killed_for * f64::from(kill) / f64::from(self.kills);
            while began.elapsed().as_secs_f64() < at {
                seen.look(daemon, began, kill - 1);
                thread::sleep(Duration::from_millis(730));
            }
            daemon.kill();
            thread::sleep(Duration::from_millis(u64::from(kill % 4) * 600));
            daemon.run();
        }
        while generating.try_wait().unwrap().is_none() {
            seen.look(daemon, began, self.kills);
            thread::sleep(Duration::from_millis(730));
        }
        assert!(generating.wait().unwrap().success());
    }

    fn say(&self, expected: &BTreeMap<String, Value>, receiver: &Receiver) {
        let mut kinds: BTreeMap<&str, u32> = BTreeMap::new();
        expected.values().for_each(|finding| *kinds.entry(finding["kind"].as_str().unwrap()).or_default() += 1);
        println!("{} records, killed {} times, {} messages", self.records(), self.kills, receiver.requests().len());
        kinds.iter().for_each(|(kind, count)| println!("kind {kind} {count}"));
    }
}

impl Seen {
    fn look(&mut self, daemon: &Daemon, began: Instant, killed: u32) {
        let status = fs::read_to_string(format!("/proc/{}/status", daemon.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kib = line.trim().trim_end_matches(" kB").parse().unwrap();
        self.resident.push((began.elapsed().as_secs_f64(), killed, kib));
        let listed = daemon.json("/api/v1/findings");
        let proven = findings(&listed).iter().filter(|finding| finding["grade"] == "proven");
        let text = |finding: &Value, field: &str| finding[field].as_str().unwrap().to_owned();
        self.proven.extend(proven.map(|finding| (text(finding, "id"), text(finding, "kind"))));
    }
}

/// A group that reads one topic of its own and goes away with records unread. It commits more than once: a single commit is
/// no past, and it had better not matter how the reads fall.
fn leave_behind(kafka: &Kafka, group: &str) {
    let topic = name("left");
    kafka.create_topic(&topic, 1, &[]);
    fill(kafka, &topic, 60);
    let worker = kafka.consumer(group, &[&topic], &[]).work(Duration::from_millis(300));
    let committed = |until| {
        wait_for("the group has committed", LIMIT, || (kafka.committed(group, &topic, 0) == Some(until)).then_some(()));
    };
    committed(60);
    fill(kafka, &topic, 40);
    committed(100);
    worker.leave();
    fill(kafka, &topic, 50);
}

/// One incident for every kind that stands open, opened once and told of once; nobody is told of an end.
fn is_told_once(daemon: &Daemon, receiver: &Receiver, expected: &BTreeMap<String, Value>, group: &str) {
    let open = expected.values().filter(|finding| finding["state"] == "open" && finding["grade"] == "proven");
    let mut wanted: BTreeSet<String> = open.map(|finding| finding["kind"].as_str().unwrap().to_owned()).collect();
    wanted.insert("lag-no-owner".to_owned());
    let opened = || {
        let mut opened: Vec<(String, String)> = Vec::new();
        for request in receiver.requests() {
            let message = request.json();
            assert_eq!(message["resolved"], 0, "{message}");
            assert_eq!(message["more"], 0, "{message}");
            let incidents = message["incidents"].as_array().unwrap();
            let new = incidents.iter().filter(|incident| incident["news"] == "opened");
            let text = |incident: &Value, field: &str| incident[field].as_str().unwrap().to_owned();
            opened.extend(new.map(|incident| (text(incident, "kind"), text(incident, "id"))));
        }
        opened.sort();
        opened
    };
    let kinds = |opened: &[(String, String)]| opened.iter().map(|(kind, _)| kind.clone()).collect::<Vec<_>>();
    // What is missing then is said below.
    let deadline = Instant::now() + LIMIT / 3;
    while !wanted.is_subset(&kinds(&opened()).into_iter().collect()) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(100));
    }
    let opened = opened();
    assert_eq!(
        kinds(&opened),
        wanted.into_iter().collect::<Vec<_>>(),
        "each once: {opened:?}; {}",
        daemon.json(&format!("/api/v1/groups/{group}"))
    );
    let listed = daemon.json("/api/v1/incidents");
    let mut ids: Vec<&str> = listed["incidents"].as_array().unwrap().iter().filter_map(|i| i["id"].as_str()).collect();
    let mut told: Vec<&str> = opened.iter().map(|(_, id)| &**id).collect();
    ids.sort_unstable();
    told.sort_unstable();
    assert_eq!(ids, told, "those of group {group} and of the topic, as they were told: {listed}");
}

/// What findings say, without the name of the audit, which only the daemon knows, and without times of the stream: where a
/// log is read to its end, they are the auditor's own.
fn by_id<'a>(findings: impl IntoIterator<Item = &'a Value>) -> BTreeMap<String, Value> {
    let plain = |finding: &Value| {
        let mut plain = finding.clone();
        let fields = plain.as_object_mut().unwrap();
        ["audit", "type", "first_seen", "last_seen"].iter().for_each(|field| _ = fields.remove(*field));
        if let Some(evidence) = fields.get_mut("evidence") {
            // A pattern that is looked at again and again pays for it, so its p is another one.
            ["late_ms", "ln_p"].iter().for_each(|field| _ = evidence.as_object_mut().unwrap().remove(*field));
        }
        (finding["id"].as_str().unwrap().to_owned(), plain)
    };
    findings.into_iter().map(plain).collect()
}

fn findings(listed: &Value) -> &[Value] {
    listed["findings"].as_array().unwrap()
}

fn is_certain(finding: &Value) -> bool {
    finding["grade"] != "possible"
}

fn differences(found: &BTreeMap<String, Value>, expected: &BTreeMap<String, Value>) -> Vec<String> {
    let ids: BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
    let differ = ids.into_iter().filter(|id| found.get(*id) != expected.get(*id));
    differ.map(|id| format!("daemon: {:?}\n audit: {:?}", found.get(id), expected.get(id))).collect()
}

fn audit(args: &[&str]) -> Vec<Value> {
    let output = sordini(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(matches!(output.status.code(), Some(1 | 3)), "{:?}: {said}", output.status);
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn assert_exact(dir: &Path, truth: &str, said: &[Value]) {
    let findings = path(dir, "findings.jsonl");
    let lines: Vec<String> = said.iter().map(Value::to_string).collect();
    fs::write(&findings, lines.join("\n")).unwrap();
    let score = sordini(&["score", "--truth", truth, &findings]).output().unwrap();
    assert!(score.status.success(), "{}", String::from_utf8_lossy(&score.stdout));
}

fn succeed(args: &[&str]) -> Output {
    let output = sordini(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn sordini(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sordini"));
    command.args(args);
    command
}

fn path(dir: &Path, name: &str) -> String {
    dir.join(name).display().to_string()
}
