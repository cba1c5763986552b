//! Running sordini as a user does, and reading what it says.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use sordini_lab::Record;

pub fn sordini(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sordini"));
    command.args(args);
    command
}

pub fn run(args: &[&str]) -> Output {
    sordini(args).output().expect("sordini starts")
}

pub struct Audited {
    pub exit: i32,
    pub findings: Vec<Value>,
    pub coverage: Vec<Value>,
    pub summary: Value,
    pub text: String,
}

/// Runs an audit and reads its JSON lines; every coverage line must add up.
pub fn audit(args: &[&str]) -> Audited {
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

pub fn holes(audited: &Audited, hole: &str) -> u64 {
    audited.coverage.iter().map(|line| line["holes"][hole].as_u64().unwrap()).sum()
}

pub fn assert_clean(audited: &Audited, what: &str) {
    assert_eq!(audited.findings, [] as [Value; 0], "{what}");
    assert_eq!(audited.exit, 0, "{what}: {}", audited.summary);
}

pub const RULES: [&str; 10] = [
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

pub const FAULTS: [&str; 22] = [
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

pub fn path(dir: &Path, name: &str) -> String {
    dir.join(name).display().to_string()
}

pub fn generate(dir: &Path, args: &[&str]) -> String {
    let truth = path(dir, "truth.json");
    let output = run(&[&["generate", "--records", "20000", "--truth", &truth], args].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    truth
}

pub fn assert_exact(dir: &Path, truth: &str, audited: &Audited) {
    let findings = path(dir, "findings.jsonl");
    std::fs::write(&findings, &audited.text).unwrap();
    let score = run(&["score", "--truth", truth, &findings]);
    assert!(score.status.success(), "{}\n{}", String::from_utf8_lossy(&score.stdout), audited.summary);
}

pub fn orders(topic: &str, from: usize, count: usize) -> Vec<Record> {
    (from..from + count)
        .map(|n| {
            Record::new(topic, 0)
                .key(format!("k{}", n % 50))
                .value(format!("value {n}"))
                .header("event-id", Some(format!("e{n}").as_bytes()))
        })
        .collect()
}

pub fn refused(args: &[&str], says: &str) {
    let output = run(&[&["audit"], args].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(says), "expected {says:?} in:\n{said}");
}
