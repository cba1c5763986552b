//! kill -9 at random instants: a child opens and ends incidents as fast as it can, its parent receives, kills it, and
//! starts it again on the same directory.
//!
//! `SORDINI_KILLS` (40) and `SORDINI_SEED` can be set in the environment.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use super::common::{all, start, stopped};
use super::receiver::{Receiver, wait_for};

const STATE: &str = "SORDINI_TEST_STATE";
const PORT: &str = "SORDINI_TEST_PORT";

/// An ignored test of this binary, to be run as a process of its own.
pub fn child(test: &str, dir: &Path, port: u16) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(STATE, dir).env(PORT, port.to_string()).stdout(Stdio::piped()).stdin(Stdio::null());
    command
}

fn variable(name: &str) -> String {
    std::env::var(name).expect("this is no test but the child of one")
}

fn number_from(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().map_or(default, |value| value.parse().expect("a number"))
}

fn webhook(port: u16) -> String {
    format!("[[webhook]]\nname = \"hook\"\nurl = \"http://127.0.0.1:{port}/\"\n")
}

#[test]
#[ignore = "the process that is killed"]
fn saves_and_cannot_send() {
    let dir = PathBuf::from(variable(STATE));
    let sink = format!("[[alertmanager]]\nname = \"ops\"\nurl = \"http://127.0.0.1:{}\"\n", variable(PORT));
    let dispatcher = start(&dir, &sink);
    dispatcher.observe(&all(), &[stopped("billing")]);
    std::fs::write(dir.join("saved"), "").unwrap();
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
#[ignore = "the process that is killed"]
fn opens_and_ends() {
    let dispatcher = start(&PathBuf::from(variable(STATE)), &webhook(variable(PORT).parse().unwrap()));
    let mut stdout = std::io::stdout();
    let mut random = StdRng::from_os_rng();
    loop {
        // A round adds six at most, and a message shows ten.
        while dispatcher.sinks()[0].waiting > 4 {
            std::thread::sleep(Duration::from_millis(1));
        }
        // Several of one group, so that they share messages.
        let mut seen: Vec<_> = (0..6).map(|n| stopped(&format!("g{}", n % 2))).collect();
        (0..).zip(&mut seen).for_each(|(n, seen)| seen.key.partition = Some(n));
        seen.retain(|_| random.random_bool(0.7));
        for transition in dispatcher.observe(&all(), &seen) {
            let text = format!("{:?} {}\n", transition.change, transition.incident.id);
            stdout.write_all(text.as_bytes()).unwrap();
        }
        std::thread::sleep(Duration::from_millis(random.random_range(0..30)));
    }
}

/// The receiver fails a third of the time at first.
fn is_refused(number: usize) -> bool {
    number % 3 == 2 && number < 30
}

#[test]
fn killed_at_any_instant_it_tells_every_opening_and_every_end_once() {
    let seed = number_from("SORDINI_SEED", 7);
    let mut random = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::answering(|number, _| (if is_refused(number) { 500 } else { 200 }, vec![]));
    let mut opened = BTreeSet::new();
    for _ in 0..number_from("SORDINI_KILLS", 40) {
        let mut process = child("kill::opens_and_ends", dir.path(), receiver.port).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(random.random_range(20..250)));
        process.kill().unwrap();
        let said = String::from_utf8(process.wait_with_output().unwrap().stdout).unwrap();
        opened.extend(said.lines().filter_map(|line| line.split_once("Opened ")).map(|(_, id)| id.to_owned()));
    }
    let dispatcher = start(dir.path(), &webhook(receiver.port));
    dispatcher.observe(&all(), &[]);
    wait_for("everything is told", || (dispatcher.sinks()[0].waiting == 0).then_some(()));
    dispatcher.stop().unwrap();

    let mut keys = BTreeSet::new();
    let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (number, request) in receiver.requests().into_iter().enumerate() {
        if is_refused(number) || !keys.insert(request.headers["idempotency-key"].clone()) {
            continue;
        }
        let body: Value = serde_json::from_str(&request.body).unwrap();
        assert_eq!(body["more"], 0, "the message does not show all");
        for incident in body["incidents"].as_array().unwrap() {
            let text = |name: &str| incident[name].as_str().unwrap().to_owned();
            told.entry(text("id")).or_default().push(text("news"));
        }
    }
    for (id, news) in &told {
        assert_eq!(news, &["opened", "resolved"], "{id}, seed {seed}");
    }
    let missing: Vec<_> = opened.iter().filter(|id| !told.contains_key(*id)).collect();
    assert!(missing.is_empty(), "{missing:?}, seed {seed}");
    assert!(opened.len() > 20, "only {} incidents", opened.len());
    println!("{} incidents, {} of them heard of before a kill", told.len(), opened.len());
}
