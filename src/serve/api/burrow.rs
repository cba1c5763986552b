//! `/v3/kafka`: Burrow's read API with its envelope, fields and status words, for tools that speak it. What Burrow has no
//! word for is said by the nearest one; a figure that is unknown is null where Burrow would say 0.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::lag::snapshot::{GroupLag, PartitionLag, Snapshot};
use crate::lag::verdict::Verdict;
use crate::serve::app::App;

type OfCluster = Path<String>;
type OfThing = Path<(String, String)>;

pub async fn clusters(State(app): State<Arc<App>>, uri: Uri) -> Response {
    good(&uri, "cluster list returned", "clusters", json!([app.board.lag.load().cluster]))
}

pub async fn cluster(State(app): State<Arc<App>>, uri: Uri, Path(name): OfCluster) -> Response {
    let lag = app.board.lag.load();
    if lag.cluster != name {
        return missing(&uri, "cluster module not found");
    }
    let module = json!({ "class-name": "kafka", "servers": [], "client-profile": {}, "topic-refresh": null, "offset-refresh": null });
    good(&uri, "cluster module detail returned", "module", module)
}

pub async fn topics(State(app): State<Arc<App>>, uri: Uri, Path(name): OfCluster) -> Response {
    let lag = app.board.lag.load();
    if lag.cluster != name {
        return missing(&uri, "cluster not found");
    }
    let mut topics: Vec<&str> = lag.partitions.iter().map(|part| &*part.topic).collect();
    topics.sort_unstable();
    topics.dedup();
    good(&uri, "topic list returned", "topics", json!(topics))
}

pub async fn topic(State(app): State<Arc<App>>, uri: Uri, Path((name, topic)): OfThing) -> Response {
    let lag = app.board.lag.load();
    let ends: Vec<Option<i64>> =
        lag.partitions.iter().filter(|part| *part.topic == *topic).map(|part| part.end.ok()).collect();
    if lag.cluster != name || ends.is_empty() {
        return missing(&uri, "cluster or topic not found");
    }
    good(&uri, "topic offsets returned", "offsets", json!(ends))
}

pub async fn consumers(State(app): State<Arc<App>>, uri: Uri, Path(name): OfCluster) -> Response {
    let lag = app.board.lag.load();
    if lag.cluster != name {
        return missing(&uri, "cluster not found");
    }
    let groups: Vec<&str> = lag.groups.iter().map(|group| &*group.group).collect();
    good(&uri, "consumer list returned", "consumers", json!(groups))
}

pub async fn consumer(State(app): State<Arc<App>>, uri: Uri, Path((name, group)): OfThing) -> Response {
    let lag = app.board.lag.load();
    let Some(group) = find(&lag, &name, &group) else { return missing(&uri, "cluster or consumer not found") };
    let mut topics = serde_json::Map::new();
    for part in &group.partitions {
        let list = topics.entry(&*part.topic).or_insert_with(|| json!([]));
        if let Value::Array(list) = list {
            list.push(json!({
                "offsets": [end(&lag, part)],
                "owner": owner(part).1,
                "client_id": owner(part).0,
                "current-lag": part.lag.ok(),
            }));
        }
    }
    good(&uri, "consumer detail returned", "topics", topics.into())
}

/// The bad partitions only.
pub async fn status(State(app): State<Arc<App>>, uri: Uri, Path((name, group)): OfThing) -> Response {
    let is_bad = |part: &&PartitionLag| word(part.judgement.verdict) != "OK";
    judged(&app, &uri, &name, &group, is_bad)
}

/// All partitions.
pub async fn lag(State(app): State<Arc<App>>, uri: Uri, Path((name, group)): OfThing) -> Response {
    judged(&app, &uri, &name, &group, |_| true)
}

fn judged(app: &App, uri: &Uri, cluster: &str, group: &str, shown: impl Fn(&&PartitionLag) -> bool) -> Response {
    let lag = app.board.lag.load();
    let Some(group) = find(&lag, cluster, group) else { return missing(uri, "cluster or consumer not found") };
    let most = group.partitions.iter().filter(|part| part.lag.is_ok()).max_by_key(|part| part.lag.ok());
    let complete = match group.expected {
        0 => 0.0,
        expected => group.evaluated as f64 / expected as f64,
    };
    let status = json!({
        "cluster": cluster,
        "group": *group.group,
        "status": of_group(group.judgement.verdict),
        "complete": complete,
        "partitions": group.partitions.iter().filter(shown).map(|part| partition(&lag, part)).collect::<Vec<_>>(),
        "partition_count": group.partitions.len(),
        "maxlag": most.map(|part| partition(&lag, part)),
        "totallag": group.lag.ok(),
    });
    good(uri, "consumer status returned", "status", status)
}

fn find<'a>(lag: &'a Snapshot, cluster: &str, group: &str) -> Option<&'a GroupLag> {
    let group = lag.groups.iter().find(|known| *known.group == *group)?;
    // A group that is gone or was never there is what Burrow does not know.
    (lag.cluster == cluster && group.judgement.verdict != Verdict::Absent).then_some(group)
}

fn partition(lag: &Snapshot, part: &PartitionLag) -> Value {
    let (client_id, host) = owner(part);
    json!({
        "topic": *part.topic,
        "partition": part.partition,
        "owner": host,
        "client_id": client_id,
        "status": word(part.judgement.verdict),
        "start": null,
        "end": end(lag, part),
        "current_lag": part.lag.ok(),
        "complete": if part.judgement.verdict == Verdict::Unknown { 0.0 } else { 1.0 },
    })
}

fn owner(part: &PartitionLag) -> (&str, &str) {
    part.owner.as_ref().map_or(("", ""), |(client, host)| (client, host))
}

/// The last commit, in Burrow's form.
fn end(lag: &Snapshot, part: &PartitionLag) -> Value {
    match part.committed {
        Err(_) => Value::Null,
        Ok(offset) => json!({
            "offset": offset,
            "timestamp": part.last_commit_ms,
            "observedAt": lag.at_ms,
            "lag": part.lag.ok(),
        }),
    }
}

/// Burrow's word for a partition.
fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok | Verdict::Unknown => "OK",
        Verdict::Warn | Verdict::Flapping | Verdict::HangingTransaction => "WARN",
        Verdict::Stop | Verdict::NoOwner | Verdict::Gone | Verdict::Absent => "STOP",
        Verdict::Stall | Verdict::Stuck => "STALL",
        Verdict::Rewind => "REWIND",
        Verdict::Skip | Verdict::Lost => "ERR",
    }
}

fn of_group(verdict: Verdict) -> &'static str {
    match word(verdict) {
        word @ ("OK" | "WARN") => word,
        _ => "ERR",
    }
}

fn good(uri: &Uri, message: &str, name: &str, payload: Value) -> Response {
    let mut body = json!({ "error": false, "message": message, "request": request(uri) });
    body[name] = payload;
    Json(body).into_response()
}

fn missing(uri: &Uri, message: &str) -> Response {
    let body = json!({ "error": true, "message": message, "request": request(uri) });
    (StatusCode::NOT_FOUND, Json(body)).into_response()
}

fn request(uri: &Uri) -> Value {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    json!({ "url": uri.path(), "host": host.trim() })
}
