//! A ledger that a running audit uses.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::{Ran, audit, hour_ago, line, orders, places, run, sordini, text, trace};

/// An audit of lines that come through a pipe, for as long as it is open.
struct Following {
    child: Child,
    ledger: PathBuf,
}

impl Following {
    fn start(ledger: &Path, commit_every: &str) -> Self {
        let on =
            ["audit", "--lines", "-", "--id", "json:/id", "--ledger", text(ledger), "--commit-every", commit_every];
        let child = sordini(&on).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        Self { child, ledger: ledger.to_owned() }
    }

    fn write(&mut self, lines: &str) {
        self.child.stdin.as_mut().unwrap().write_all(lines.as_bytes()).unwrap();
    }

    /// Traces until the answer is as expected.
    fn until(&self, id: &str, is_expected: impl Fn(&Ran) -> bool) -> Ran {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let ran = trace(&self.ledger, &[id, "--format", "json"]);
            if is_expected(&ran) {
                return ran;
            }
            assert!(Instant::now() < deadline, "{}: {}\n{}", ran.code, ran.out, ran.err);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends the input; the audit reports and exits.
    fn finish(mut self) -> i32 {
        drop(self.child.stdin.take());
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        // Gone already unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn states(ran: &Ran) -> Vec<String> {
    places(ran).into_iter().map(|(_, _, _, state)| state).collect()
}

#[test]
fn a_running_audit_answers_with_what_it_has_only_read_so_far() {
    let (dir, from) = (tempfile::tempdir().unwrap(), hour_ago());
    let ledger = dir.path().join("ledger");
    let mut following = Following::start(&ledger, "1h");
    following.write(&orders(100, from));
    let found = following.until("o3", |ran| ran.code == 0);
    let expected =
        [(1, 1, (from + 3) * 1000, "buffered".to_owned()), (1, 100, (from + 100) * 1000, "buffered".to_owned())];
    assert_eq!(places(&found), expected);
    trace(&ledger, &["o3000"]).said(1, "not found");
    trace(&ledger, &["o3"]).said(0, "not compared yet");
    let hash = found.lines()[0]["identity"]["hash"].as_str().unwrap().to_owned();
    assert_eq!(trace(&ledger, &[&hash, "--format", "json"]).out, found.out);

    let socket = std::fs::metadata(ledger.join("socket")).unwrap();
    assert!(socket.file_type().is_socket());
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    for command in ["stat", "verify", "compact", "export"] {
        run(&["ledger", command, text(&ledger)]).said(2, "in use by another process");
    }
    run(&["ledger", "forget", "o3", text(&ledger)]).said(2, "in use by another process");

    assert_eq!(following.finish(), 1);
    assert!(!ledger.join("socket").exists() && !ledger.join("socket.tmp").exists());
    assert_eq!(states(&trace(&ledger, &["o3", "--format", "json"])), ["kept", "repeat"]);
}

#[test]
fn a_running_audit_answers_with_what_is_committed_and_its_cases() {
    let (dir, from) = (tempfile::tempdir().unwrap(), hour_ago());
    let ledger = dir.path().join("ledger");
    let mut following = Following::start(&ledger, "100ms");
    following.write(&orders(50, from));
    following.until("o4", |ran| ran.code == 0 && states(ran) == ["kept", "repeat"]);
    // Nobody asks any more than a line that is no question.
    let mut nonsense = std::os::unix::net::UnixStream::connect(ledger.join("socket")).unwrap();
    nonsense.write_all(b"give me the key\n").unwrap();
    let mut answer = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(&nonsense), &mut answer).unwrap();
    assert!(answer.contains("no question"), "{answer}");
    following.write(&line(1, 77, from + 900, &json!({"id": "o4", "value": 4})));
    following.until("o4", |ran| places(ran).len() == 3);
    assert_eq!(following.finish(), 1);
}

#[test]
fn a_wrong_key_is_noticed_by_a_running_audit_too() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, key) = (dir.path().join("ledger"), dir.path().join("other.key"));
    run(&["ledger", "key", text(&key)]).said(0, "written to");
    let mut following = Following::start(&ledger, "1h");
    following.write(&orders(10, hour_ago()));
    following.until("o1", |ran| ran.code == 0);
    trace(&ledger, &["o1", "--ledger-key", text(&key)]).said(2, "the key is not the one");
    assert_eq!(following.finish(), 1);
}

#[test]
fn a_socket_that_a_killed_audit_left_is_replaced_and_disturbs_nobody() {
    let (dir, from) = (tempfile::tempdir().unwrap(), hour_ago());
    let ledger = dir.path().join("ledger");
    let mut following = Following::start(&ledger, "100ms");
    following.write(&orders(10, from));
    following.until("o1", |ran| states(ran) == ["kept"]);
    following.child.kill().unwrap();
    following.child.wait().unwrap();
    assert!(ledger.join("socket").exists(), "left behind");
    trace(&ledger, &["o1"]).said(0, "kept");

    let mut next = Following::start(&ledger, "1h");
    next.write(&line(0, 500, from + 900, &json!({"id": "new", "value": 1})));
    next.until("new", |ran| states(ran) == ["buffered"]);
    assert_eq!(next.finish(), 1);
    assert!(!ledger.join("socket").exists());
}

#[test]
fn a_ledger_in_a_deep_directory_has_a_socket_too() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("d".repeat(100)).join("e".repeat(100));
    let mut following = Following::start(&ledger, "1h");
    following.write(&orders(10, hour_ago()));
    following.until("o1", |ran| ran.code == 0);
    assert_eq!(following.finish(), 1);
}

#[test]
fn a_ledger_in_use_by_somebody_who_does_not_answer_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = audit(dir.path(), &orders(10, hour_ago()), &["--id", "json:/id"]);
    let lock = File::open(ledger.join("lock")).unwrap();
    lock.lock().unwrap();
    trace(&ledger, &["o1"]).said(2, "answers no questions");
    lock.unlock().unwrap();
    trace(&ledger, &["o1"]).said(0, "kept");
}
