//! The commands of the README, run as they stand there, against a real broker.

use sordini_lab::shared;

use crate::common::run;

/// What Burrow calls a stop; from docs/lag.md.
const WINDOW: &str = r#"{"window":[{"offset":1000,"order":1,"timestamp_ms":100000,"lag":0}],"broker_end_offsets":[1200],"current_lag":200,"now_ms":700000,"allowed_lag":0}"#;

/// The `sordini` commands of the README, continued lines joined, without what their output is piped into. The daemon never
/// ends; `tests/watch` runs it with the shipped settings, and what reads those settings is run by `tests/flows` and `tests/trace`.
/// A table to compare with is in `tests/drift`.
fn commands() -> Vec<String> {
    let readme = include_str!("../../README.md").replace("\\\n", " ");
    let lines = readme.lines().filter_map(|line| line.strip_prefix("$ sordini "));
    let lines = lines.map(|line| line.split(" | ").next().unwrap_or_default().replace('\'', ""));
    let commands = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    let is_elsewhere = |command: &String| {
        command.starts_with("watch") || command.starts_with("drift") || command.contains("-c sordini.toml")
    };
    commands.filter(|command| !is_elsewhere(command)).collect()
}

#[test]
fn the_commands_of_the_readme_work() {
    let (kafka, dir) = (shared(), tempfile::tempdir().unwrap());
    let mut commands = commands();
    assert!(commands.len() >= 10, "{commands:?}");
    // Traffic first, so that the audits have something to read, and then a group that has read it.
    commands.sort_by_key(|command| !command.starts_with("generate"));
    std::fs::write(dir.path().join("windows.jsonl"), WINDOW).unwrap();
    for command in commands {
        let here = command
            .replace("kafka:9092", &kafka.bootstrap())
            .replace("-t orders", "-t readme-orders")
            .replace("1e6", "2e4")
            .replace("10s", "200ms")
            .replace("5m", "1s")
            .replace("/var/lib/sordini", &dir.path().join("ledger").display().to_string())
            .replace("truth.json", &dir.path().join("truth.json").display().to_string())
            .replace("findings.jsonl", &dir.path().join("findings.jsonl").display().to_string())
            .replace("flow.jsonl", &dir.path().join("flow.jsonl").display().to_string())
            .replace("flow.toml", &dir.path().join("flow.toml").display().to_string())
            .replace("windows.jsonl", &dir.path().join("windows.jsonl").display().to_string());
        let output = run(&here.split(' ').collect::<Vec<_>>());
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let is_bad = (here.starts_with("audit") && here.contains("--id")) || here.contains("--replay");
        let is_bad = is_bad || here.starts_with("flows");
        // The generated faults are found, and the recorded stop.
        assert_eq!(output.status.code(), Some(i32::from(is_bad)), "{here}\n{said}");
        if here.starts_with("generate") {
            let (_, end) = kafka.watermarks("readme-orders", 0);
            kafka.commit_offsets("payers-of-the-readme", &[("readme-orders", 0, end)]);
        }
    }
}
