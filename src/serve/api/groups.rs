//! Consumer groups as JSON.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Failed, MOST, Object};
use crate::lag::snapshot::{GroupLag, PartitionLag};
use crate::lag::verdict::Verdict;
use crate::serve::app::App;

#[derive(Deserialize)]
pub struct Wanted {
    verdict: Option<Verdict>,
    limit: Option<usize>,
}

pub async fn list(State(app): State<Arc<App>>, Query(wanted): Query<Wanted>) -> Json<Value> {
    let lag = app.board.lag.load();
    let fits = |group: &&GroupLag| wanted.verdict.is_none_or(|verdict| group.judgement.verdict == verdict);
    let limit = wanted.limit.unwrap_or(MOST).min(MOST);
    let shown: Vec<Value> = lag.groups.iter().filter(fits).take(limit).map(brief).collect();
    let of = lag.groups.iter().filter(fits).count();
    Json(json!({ "at_ms": lag.at_ms, "cluster": lag.cluster, "of": of, "groups": shown }))
}

pub async fn one(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<Json<Value>, Failed> {
    let lag = app.board.lag.load();
    let group = lag.groups.iter().find(|group| *group.group == *name).ok_or_else(|| Failed::unknown("group"))?;
    let object = object(group)
        .with("numbers", &group.judgement.numbers)
        .with("window_ms", group.judgement.window_ms)
        .with("partitions", group.partitions.iter().map(partition).collect::<Vec<_>>())
        .with("history", &group.history)
        .with("curve", &group.curve)
        .with("forecasts", &group.forecasts);
    Ok(Json(object.done()))
}

pub fn brief(group: &GroupLag) -> Value {
    object(group).done()
}

fn object(group: &GroupLag) -> Object {
    Object::default()
        .with("group", &*group.group)
        .with("protocol", group.kind)
        .with("verdict", group.judgement.verdict)
        .with("why", &group.judgement.why)
        .figure("state", group.state)
        .figure("members", group.members)
        .figure("lag", group.lag)
        .figure("record_lag", group.record_lag)
        .figure("max_lag", group.max_lag)
        .figure("max_time_lag_ms", group.max_time_ms)
        .with("evaluated", group.evaluated)
        .with("expected", group.expected)
        .with("read_committed", group.read_committed)
        .with("isolation_is_guess", group.isolation_is_guess)
}

fn partition(part: &PartitionLag) -> Value {
    let owner = part.owner.as_ref().map(|(client, host)| json!({ "client_id": **client, "host": **host }));
    Object::default()
        .with("topic", &*part.topic)
        .with("partition", part.partition)
        .with("verdict", part.judgement.verdict)
        .with("why", &part.judgement.why)
        .figure("committed", part.committed)
        .figure("log_start", part.log_start)
        .figure("stable_end", part.stable_end)
        .figure("end", part.end)
        .figure("lag", part.lag)
        .figure("record_lag", part.record_lag)
        .figure("time_lag_ms", part.time.map(|time| time.ms))
        .with("time_lag", part.time.ok())
        .figure("lost", part.lost)
        .with("lost_total", part.lost_total)
        .with("owner", owner)
        .with("commits", part.commits)
        .with("last_commit_ms", part.last_commit_ms)
        .done()
}
