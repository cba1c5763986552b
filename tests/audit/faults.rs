//! Every fault of `generate` is found, by either client and in lines, and by an audit that was killed on the way.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use sordini_lab::shared;

use crate::common::*;

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

/// What a finding says, without hashes: they depend on the ledger's secret.
fn says(audited: &Audited) -> Vec<String> {
    let places = |finding: &Value| {
        let sightings = finding["sightings"].as_array().into_iter().flatten();
        sightings.map(|s| format!("{}@{}", s["partition"], s["offset"])).collect::<Vec<_>>().join(" ")
    };
    let say = |f: &Value| format!("{} {} {} {} {}", f["kind"], f["state"], f["session"], f["numbers"], places(f));
    let mut all: Vec<String> = audited.findings.iter().map(say).collect();
    all.sort();
    all
}

#[test]
fn both_clients_read_the_same_whatever_the_codec_and_the_producer() {
    let (kafka, dir) = (shared(), tempfile::tempdir().unwrap());
    let bootstrap = kafka.bootstrap();
    let worlds = [
        ("gzip", "plain"),
        ("snappy", "idempotent"),
        ("lz4", "transactional"),
        ("zstd", "transactional"),
        ("none", "plain"),
    ];
    for (seed, (codec, mode)) in worlds.into_iter().enumerate() {
        let (topic, seed, compression) =
            (format!("both-{codec}"), seed.to_string(), format!("compression.type={codec}"));
        let to = ["-b", &bootstrap, "-t", &topic];
        let aborts = if mode == "transactional" { &["--fault", "abort-transaction=3%"][..] } else { &[] };
        let how = ["--records", "8000", "--seed", &seed, "--mode", mode, "-X", &compression];
        let truth = path(dir.path(), "truth.json");
        let output = run(&[&["generate", "--truth", &truth], &to[..], &how, &FAULTS, aborts].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let raw = audit(&[&to[..], &RULES].concat());
        assert_exact(dir.path(), &truth, &raw);
        let other = audit(&[&to[..], &RULES, &["--client", "librdkafka"]].concat());
        assert_eq!(says(&raw), says(&other), "{topic}");
        assert_eq!(raw.summary["figures"]["records"], other.summary["figures"]["records"], "{topic}");
        // What the raw client explains, the other can only count.
        let explained = holes(&raw, "control") + holes(&raw, "aborted");
        assert_eq!(holes(&other, "unknown"), explained, "{topic}");
    }
}

#[test]
fn identities_are_shown_in_clear_only_on_request() {
    let dir = tempfile::tempdir().unwrap();
    let lines = path(dir.path(), "orders.jsonl");
    generate(dir.path(), &["--lines", &lines, "--fault", "duplicate=0.1%"]);
    let hidden = audit(&["--lines", &lines, "--id", "header:event-id"]);
    assert!(!hidden.findings.is_empty() && !hidden.text.contains("\"value\""), "{}", hidden.text);
    let shown = audit(&["--lines", &lines, "--id", "header:event-id", "--show-keys"]);
    let value = shown.findings[0]["identity"]["value"].as_str().unwrap();
    assert!(value.starts_with('p') && value.contains('-'), "{value}");
    let json = audit(&["--lines", &lines, "--id", "json:/order/id"]);
    assert_eq!(json.findings.len(), hidden.findings.len());
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
