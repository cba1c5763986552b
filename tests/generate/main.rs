//! Traffic with faults through lines, judged by the binary, and the score of it: no server is needed.

use std::path::Path;
use std::process::{Command, Output};

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

fn run(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sordini")).current_dir(dir).args(args).output().expect("sordini starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Makes traffic with the faults, has it judged, and wants the score exact.
fn assert_exact(faults: &[&str], is_flow: bool) {
    let dir = tempfile::tempdir().unwrap();
    let mut args = vec!["generate", "--lines", "t.jsonl", "--records", "20000", "--truth", "truth.json"];
    if is_flow {
        args.extend(["--flow", "--flow-config", "flow.toml"]);
    }
    faults.iter().for_each(|fault| args.extend(["--fault", fault]));
    let made = run(dir.path(), &args);
    assert!(made.status.success(), "{faults:?}: {}", said(&made));
    let judge = if is_flow { vec!["flows", "-c", "flow.toml"] } else { [&["audit"][..], &RULES].concat() };
    let judged = run(dir.path(), &[&judge[..], &["--lines", "t.jsonl", "--format", "json", "-o", "findings"]].concat());
    let exit = i32::from(!faults.is_empty());
    assert_eq!(judged.status.code(), Some(exit), "{faults:?}: {}", said(&judged));
    let score = run(dir.path(), &["score", "--truth", "truth.json", "findings"]);
    assert!(score.status.success(), "{faults:?}\n{}", said(&score));
}

#[test]
fn every_fault_of_a_worker_is_found_and_every_pattern_named() {
    assert_exact(&[], true);
    assert_exact(&["drop-every=100", "drop=0.1%", "swap-field=0.1%", "answer-late=0.1%", "answer-unasked=0.1%"], true);
    assert_exact(&["drop-every=50:rate=30%:residue=7"], true);
}

#[test]
fn what_a_worker_drops_by_an_attribute_is_named_with_its_value() {
    for fault in ["partition:1@5%", "key-class:8:3@20%", "larger:4KiB@20%", "after:60%@5%"] {
        assert_exact(&[&format!("drop-where={fault}")], true);
    }
}

#[test]
fn what_an_audit_misses_of_one_session_or_partition_or_after_a_moment_is_named() {
    for fault in ["producer:p2@5%", "partition:1@5%", "after:60%@5%"] {
        assert_exact(&[&format!("lose-where={fault}"), "lose=0.1%"], false);
    }
}

#[test]
fn what_every_nth_number_loses_is_named_with_its_residue() {
    assert_exact(&["lose-every=500", "lose-burst=0.02%x20", "duplicate=0.1%", "swap=0.1%", "tail-loss=4"], false);
    assert_exact(&["lose-every=100:residue=7:jitter=1:rate=80%"], false);
}
