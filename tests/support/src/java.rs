//! Kafka's own tools (`org.apache.kafka.tools.*`), run from the installed jars.

use std::process::Command;

use crate::{install, root};

/// Where the jars are; installs them first when they are missing.
pub fn class_path() -> String {
    install();
    root().join(".servers/kafka/lib/*").display().to_string()
}

/// Where the brokers' and tools' logging is set up.
pub fn logging() -> String {
    format!("-Dlog4j2.configurationFile={}", root().join("tests/support/log4j2.properties").display())
}

/// Runs a class of Kafka's jars to its end; its standard output, or both outputs when it failed.
pub fn try_run(class: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new("java")
        .args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=ERROR", "-cp"])
        .args([&class_path(), class])
        .args(args)
        .output()
        .map_err(|error| format!("java does not start: {error}"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    Err(format!("{class} {args:?}: {}\n{stdout}{}", output.status, String::from_utf8_lossy(&output.stderr)))
}

/// As [`try_run`], panics on failure.
pub fn run(class: &str, args: &[&str]) -> String {
    try_run(class, args).unwrap_or_else(|why| panic!("{why}"))
}
