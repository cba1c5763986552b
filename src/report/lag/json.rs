//! JSON lines: the contract for scripts. A figure that is not known is absent, and `unknown` says why.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::outcome;
use crate::lag::figure::Figure;
use crate::lag::snapshot::{GroupLag, PartitionLag, Snapshot, VolumeRoom};

pub fn write(snapshot: &Snapshot, out: &mut dyn Write) -> io::Result<()> {
    for group in &snapshot.groups {
        for partition in &group.partitions {
            writeln!(out, "{}", partition_line(snapshot, group, partition))?;
        }
    }
    for group in &snapshot.groups {
        writeln!(out, "{}", group_line(snapshot, group))?;
    }
    for part in &snapshot.partitions {
        if let Some(forecast) = &part.forecast {
            let line = json!({"type": "log", "at_ms": snapshot.at_ms, "topic": *part.topic, "partition": part.partition, "forecast": forecast});
            writeln!(out, "{line}")?;
        }
    }
    for volume in &snapshot.volumes {
        writeln!(out, "{}", volume_line(snapshot, volume))?;
    }
    Ok(())
}

fn volume_line(snapshot: &Snapshot, volume: &VolumeRoom) -> Value {
    let mut line = Line::new("volume");
    line.set("at_ms", snapshot.at_ms)
        .set("broker", volume.broker)
        .set("path", &*volume.path)
        .set("total_bytes", volume.total_bytes)
        .set("usable_bytes", volume.usable_bytes);
    if let Some(forecast) = &volume.forecast {
        line.set("forecast", json!(forecast));
    }
    line.end()
}

pub fn summary(snapshot: &Snapshot, rounds: u64, out: &mut dyn Write) -> io::Result<()> {
    let outcome = outcome(snapshot);
    let round = &snapshot.round;
    let line = json!({
        "type": "summary",
        "verdict": outcome.name(),
        "exit": outcome.exit(),
        "cluster": snapshot.cluster,
        "at_ms": snapshot.at_ms,
        "groups": snapshot.groups.len(),
        "bad": snapshot.groups.iter().filter(|group| group.judgement.verdict.is_bad()).count(),
        "evaluated": round.evaluated,
        "expected": round.expected,
        "rounds": rounds,
        "requests": round.requests,
        "seconds": round.seconds,
        "troubles": snapshot.troubles,
    });
    writeln!(out, "{line}")
}

/// An object whose unknown figures are left out and named with their reasons.
struct Line {
    fields: Map<String, Value>,
    unknown: Map<String, Value>,
}

impl Line {
    fn new(kind: &str) -> Self {
        let mut fields = Map::new();
        fields.insert("type".to_owned(), kind.into());
        Self { fields, unknown: Map::new() }
    }

    fn set(&mut self, name: &str, value: impl Into<Value>) -> &mut Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    fn figure<T: Into<Value>>(&mut self, name: &str, figure: Figure<T>) -> &mut Self {
        match figure {
            Ok(value) => self.set(name, value),
            Err(why) => {
                self.unknown.insert(name.to_owned(), why.to_string().into());
                self
            }
        }
    }

    fn end(self) -> Value {
        let Self { mut fields, unknown } = self;
        if !unknown.is_empty() {
            fields.insert("unknown".to_owned(), unknown.into());
        }
        fields.into()
    }
}

pub fn partition_line(snapshot: &Snapshot, group: &GroupLag, partition: &PartitionLag) -> Value {
    let mut line = Line::new("lag");
    let judgement = &partition.judgement;
    line.set("at_ms", snapshot.at_ms)
        .set("group", &*group.group)
        .set("topic", &*partition.topic)
        .set("partition", partition.partition)
        .set("verdict", judgement.verdict.name())
        .set("why", judgement.why.as_str())
        .figure("committed", partition.committed)
        .figure("log_start", partition.log_start)
        .figure("end", partition.end)
        .figure("stable_end", partition.stable_end)
        .figure("lag", partition.lag)
        .figure("record_lag", partition.record_lag)
        .figure("lost", partition.lost)
        .set("lost_total", partition.lost_total)
        .figure("time_lag_ms", partition.time.map(|time| time.ms));
    if let Ok(time) = partition.time {
        line.set("method", time.method.name());
        if time.at_least_ms != time.at_most_ms {
            line.set("time_lag_bounds_ms", json!([time.at_least_ms, time.at_most_ms]));
        }
    }
    if let Some((client, host)) = &partition.owner {
        line.set("owner", json!({"client_id": &**client, "host": &**host}));
    }
    if let Some(at_ms) = partition.last_commit_ms {
        line.set("last_commit_ms", at_ms);
    }
    if !judgement.numbers.is_empty() {
        line.set("numbers", json!(judgement.numbers));
    }
    line.set("window_ms", json!([judgement.window_ms.0, judgement.window_ms.1]));
    line.end()
}

pub fn group_line(snapshot: &Snapshot, group: &GroupLag) -> Value {
    let mut line = Line::new("group");
    line.set("at_ms", snapshot.at_ms)
        .set("group", &*group.group)
        .set("kind", group.kind.name())
        .set("verdict", group.judgement.verdict.name())
        .set("why", group.judgement.why.as_str())
        .figure("state", group.state.map(|state| state.name()))
        .figure("members", group.members.map(|members| members as u64))
        .figure("lag", group.lag)
        .figure("record_lag", group.record_lag)
        .figure("max_lag", group.max_lag)
        .figure("max_time_lag_ms", group.max_time_ms)
        .set("evaluated", group.evaluated)
        .set("expected", group.expected)
        .set("isolation", if group.read_committed { "read_committed" } else { "read_uncommitted" })
        .set("isolation_is_guess", group.isolation_is_guess);
    if !group.forecasts.is_empty() {
        line.set("forecasts", json!(group.forecasts));
    }
    line.end()
}
