//! Running sordini, and ledgers to run it on.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

pub fn sordini(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sordini"));
    command.args(args).env_remove("SORDINI_LEDGER_KEY").env_remove("SORDINI_LEDGER_KEY_FILE");
    command
}

pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        let code = output.status.code().expect("it exits");
        Self { code, out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Ran {
    /// Asserts the exit code and that a text was said.
    pub fn said(&self, code: i32, says: &str) -> &Self {
        let all = format!("{}\n{}", self.out, self.err);
        assert_eq!(self.code, code, "{all}");
        assert!(all.contains(says), "expected {says:?} in:\n{all}");
        self
    }

    pub fn lines(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect()
    }
}

pub fn run(args: &[&str]) -> Ran {
    sordini(args).output().expect("sordini starts").into()
}

pub fn trace(ledger: &Path, args: &[&str]) -> Ran {
    run(&[&["trace", "--ledger", text(ledger)], args].concat())
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// An hour ago, in whole seconds: within every horizon.
pub fn hour_ago() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64 - 3600
}

/// A line of topic `orders`, one second after the one before.
pub fn line(partition: i32, offset: i64, second: i64, payload: &Value) -> String {
    let record = json!({
        "topic": "orders", "partition": partition, "offset": offset, "ts": second * 1000 + 123,
        "payload": payload.to_string(),
    });
    format!("{record}\n")
}

/// Audits lines into a ledger and returns its JSON lines.
pub fn audit(dir: &Path, lines: &str, args: &[&str]) -> (PathBuf, Vec<Value>) {
    let (input, ledger) = (dir.join("input.jsonl"), dir.join("ledger"));
    std::fs::write(&input, lines).unwrap();
    let on = ["audit", "--format", "json", "--lines", text(&input), "--ledger", text(&ledger)];
    let ran = run(&[&on, args].concat());
    assert_ne!(ran.code, 2, "{}", ran.err);
    (ledger, ran.lines())
}

/// `count` orders o0, o1, … over two partitions, of which o3 comes again with the same content and o4 with another, each in
/// its partition, so that the first one is kept.
pub fn orders(count: i64, from: i64) -> String {
    let order = |n: i64, value: i64| json!({"id": format!("o{n}"), "value": value});
    let mut lines: String = (0..count).map(|n| line((n % 2) as i32, n / 2, from + n, &order(n, n))).collect();
    lines += &line(1, count, from + count, &order(3, 3));
    lines += &line(0, count, from + count + 1, &order(4, -4));
    lines
}

/// (partition, offset, timestamp, state) of what a trace says.
pub fn places(ran: &Ran) -> Vec<(i64, i64, i64, String)> {
    let number = |line: &Value, name: &str| line[name].as_i64().unwrap();
    let place = |line: &Value| {
        let state = line["state"].as_str().unwrap().to_owned();
        (number(line, "partition"), number(line, "offset"), number(line, "timestamp"), state)
    };
    ran.lines().iter().map(place).collect()
}
