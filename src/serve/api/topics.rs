//! Topics as JSON: their logs, who reads them, and what audits say of them.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::{Failed, MOST, Object, findings};
use crate::lag::snapshot::Snapshot;
use crate::report::topics::{TopicCoverage, topics};
use crate::serve::app::App;
use crate::serve::look::{self, Audits};

pub async fn list(State(app): State<Arc<App>>) -> Json<Value> {
    let (lag, audits) = (app.board.lag.load(), app.board.audits.load());
    let topics = look::topics(&lag, &audits);
    let shown: Vec<Value> = topics
        .iter()
        .take(MOST)
        .map(|&topic| {
            json!({
                "topic": topic,
                "partitions": lag.partitions.iter().filter(|part| *part.topic == *topic).count(),
                "audits": coverage(&audits, topic),
                "open_findings": look::findings(&audits).filter(|(_, f)| f.topic == topic && f.is_open()).count(),
            })
        })
        .collect();
    Json(json!({ "of": topics.len(), "topics": shown }))
}

pub async fn one(State(app): State<Arc<App>>, Path(topic): Path<String>) -> Result<Json<Value>, Failed> {
    let (lag, audits) = (app.board.lag.load(), app.board.audits.load());
    if !look::topics(&lag, &audits).contains(topic.as_str()) {
        return Err(Failed::unknown("topic"));
    }
    let found: Vec<Value> = look::findings(&audits)
        .filter(|(_, finding)| finding.topic == topic)
        .take(MOST)
        .map(|(audit, finding)| findings::object(audit, finding))
        .collect();
    Ok(Json(json!({
        "topic": topic,
        "partitions": partitions(&lag, &topic),
        "groups": readers(&lag, &topic),
        "audits": coverage(&audits, &topic),
        "findings": found,
    })))
}

fn partitions(lag: &Snapshot, topic: &str) -> Vec<Value> {
    let parts = lag.partitions.iter().filter(|part| *part.topic == *topic);
    let object = |part: &crate::lag::snapshot::PartitionMarks| {
        Object::default()
            .with("partition", part.partition)
            .figure("log_start", part.log_start)
            .figure("stable_end", part.stable_end)
            .figure("end", part.end)
            .with("hanging", &part.hanging)
            .with("forecast", &part.forecast)
            .done()
    };
    parts.map(object).collect()
}

fn readers(lag: &Snapshot, topic: &str) -> Vec<Value> {
    let groups = lag.groups.iter().filter(|group| group.partitions.iter().any(|part| *part.topic == *topic));
    groups.map(|group| json!({ "group": *group.group, "verdict": group.judgement.verdict })).collect()
}

fn coverage(audits: &Audits, topic: &str) -> Vec<Value> {
    let object = |name: &str, covered: &TopicCoverage<'_>| {
        json!({
            "audit": name,
            "offsets": covered.offsets,
            "read": covered.read(),
            "records": covered.records,
            "holes": covered.holes,
        })
    };
    let all = look::reports(audits).flat_map(|(name, report)| {
        let covered = topics(&report.coverage).into_iter().filter(|covered| covered.topic == topic);
        covered.map(|covered| object(name, &covered)).collect::<Vec<_>>()
    });
    all.collect()
}
