//! The commands of the README, run as they stand there, against a real broker.

use sordini_lab::shared;

use crate::common::run;

/// The `sordini` commands of the README, continued lines joined.
fn commands() -> Vec<String> {
    let readme = include_str!("../../README.md").replace("\\\n", " ");
    let lines = readme.lines().filter_map(|line| line.strip_prefix("$ sordini "));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn the_commands_of_the_readme_work() {
    let (kafka, dir) = (shared(), tempfile::tempdir().unwrap());
    let mut commands = commands();
    assert!(commands.len() >= 5, "{commands:?}");
    // Traffic first, so that the audits have something to read.
    commands.sort_by_key(|command| !command.starts_with("generate"));
    for command in commands {
        let here = command
            .replace("kafka:9092", &kafka.bootstrap())
            .replace("-t orders", "-t readme-orders")
            .replace("1e6", "2e4")
            .replace("/var/lib/sordini", &dir.path().join("ledger").display().to_string())
            .replace("truth.json", &dir.path().join("truth.json").display().to_string())
            .replace("findings.jsonl", &dir.path().join("findings.jsonl").display().to_string());
        let output = run(&here.split(' ').collect::<Vec<_>>());
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let expected = match here.starts_with("audit") && here.contains("--id") {
            // The generated faults are found.
            true => 1,
            false => 0,
        };
        assert_eq!(output.status.code(), Some(expected), "{here}\n{said}");
    }
}
