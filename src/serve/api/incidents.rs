//! Incidents as JSON, and what a person may do about them.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Failed, MOST};
use crate::alert::incident::Incident;
use crate::config::parse_duration;
use crate::serve::app::App;
use crate::serve::metrics::incident_state;

const NAME_CHARS: usize = 200;
const NOTE_CHARS: usize = 2_000;

pub async fn list(State(app): State<Arc<App>>) -> Json<Value> {
    let incidents = app.board.incidents.load();
    let now_ms = app.now_ms();
    let shown: Vec<Value> = incidents.iter().take(MOST).map(|incident| object(incident, now_ms)).collect();
    Json(json!({ "of": incidents.len(), "incidents": shown }))
}

pub async fn one(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Json<Value>, Failed> {
    let incidents = app.board.incidents.load();
    let found = incidents.iter().find(|incident| incident.id == id);
    found.map(|incident| Json(object(incident, app.now_ms()))).ok_or_else(|| Failed::unknown("incident"))
}

pub fn object(incident: &Incident, now_ms: i64) -> Value {
    let mut object = serde_json::to_value(incident).unwrap_or_default();
    if let Value::Object(fields) = &mut object {
        fields.insert("state".to_owned(), incident_state(incident, now_ms).into());
    }
    object
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acknowledge {
    pub by: String,
    #[serde(default)]
    pub note: String,
}

pub async fn acknowledge(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Json(body): Json<Acknowledge>,
) -> Result<Json<Value>, Failed> {
    do_acknowledge(&app, id, body).await.map(|()| Json(json!({ "done": true })))
}

/// What API and page have in common.
pub async fn do_acknowledge(app: &App, id: String, body: Acknowledge) -> Result<(), Failed> {
    exists(app, &id)?;
    let by = body.by.trim().to_owned();
    if by.is_empty() || by.chars().count() > NAME_CHARS || body.note.chars().count() > NOTE_CHARS {
        let why = format!("say who you are in at most {NAME_CHARS} characters; a note has at most {NOTE_CHARS}");
        return Err(Failed(StatusCode::UNPROCESSABLE_ENTITY, why));
    }
    let done = app.act(move |actions| actions.acknowledge(&id, &by, &body.note)).await;
    done.map_err(|why| Failed(StatusCode::CONFLICT, why))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mute {
    pub until_ms: Option<i64>,
    /// As in `4h`; `0s` lifts it.
    pub r#for: Option<String>,
}

pub async fn mute(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Json(body): Json<Mute>,
) -> Result<Json<Value>, Failed> {
    let until_ms = do_mute(&app, id, body).await?;
    Ok(Json(json!({ "done": true, "muted_until_ms": until_ms })))
}

pub async fn do_mute(app: &App, id: String, body: Mute) -> Result<Option<i64>, Failed> {
    exists(app, &id)?;
    let bad = |why: String| Failed(StatusCode::UNPROCESSABLE_ENTITY, why);
    let now_ms = app.now_ms();
    let until_ms = match (body.until_ms, body.r#for) {
        (Some(until_ms), None) => until_ms,
        (None, Some(text)) => {
            let duration = parse_duration(&text).map_err(bad)?;
            now_ms.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
        }
        _ => return Err(bad("set until_ms or for".to_owned())),
    };
    let until_ms = (until_ms > now_ms).then_some(until_ms);
    let done = app.act(move |actions| actions.mute(&id, until_ms)).await;
    done.map(|()| until_ms).map_err(|why| Failed(StatusCode::CONFLICT, why))
}

fn exists(app: &App, id: &str) -> Result<(), Failed> {
    match app.board.incidents.load().iter().any(|incident| incident.id == *id) {
        true => Ok(()),
        false => Err(Failed::unknown("incident")),
    }
}
