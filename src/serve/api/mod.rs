//! `/api/v1`: everything the page shows, as JSON. A figure that is not known is null, and the object's `unknown` says why,
//! by the figure's name. Fields are added, never renamed.
//!
//! * `groups`, `topics`, `flows`, `drift`, `findings`, `incidents`: one file for each kind of thing
//! * `burrow`: the same knowledge in the shape Burrow's API has
//! * `openapi.json`: the document; tests compare it with the router

pub mod burrow;
pub mod drift;
pub mod findings;
pub mod flows;
pub mod groups;
pub mod incidents;
pub mod topics;

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::app::App;
use super::metrics::incident_state;
use crate::lag::figure::Figure;
use crate::report::words;

/// Objects in one answer.
pub const MOST: usize = 1_000;

pub async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], include_str!("openapi.json")).into_response()
}

/// An answer that is no success.
pub struct Failed(pub StatusCode, pub String);

impl Failed {
    pub fn unknown(what: &str) -> Self {
        Self(StatusCode::NOT_FOUND, format!("no such {what}"))
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

/// An object whose figures may be unknown.
#[derive(Default)]
pub struct Object {
    known: Map<String, Value>,
    unknown: Map<String, Value>,
}

impl Object {
    pub fn with(mut self, name: &str, value: impl Serialize) -> Self {
        self.known.insert(name.to_owned(), serde_json::to_value(value).unwrap_or_default());
        self
    }

    pub fn figure<T: Serialize>(self, name: &str, figure: Figure<T>) -> Self {
        self.known_or(name, figure.map_err(|why| why.to_string()))
    }

    pub fn known_or<T: Serialize>(mut self, name: &str, value: Result<T, String>) -> Self {
        match value {
            Ok(value) => self.with(name, value),
            Err(why) => {
                self.unknown.insert(name.to_owned(), why.into());
                self.with(name, Value::Null)
            }
        }
    }

    pub fn done(mut self) -> Value {
        if !self.unknown.is_empty() {
            self.known.insert("unknown".to_owned(), self.unknown.into());
        }
        self.known.into()
    }
}

pub async fn overview(State(app): State<Arc<App>>) -> Json<Value> {
    let now_ms = app.now_ms();
    let (lag, audits) = (app.board.lag.load(), app.board.audits.load());
    let (incidents, sinks) = (app.board.incidents.load(), app.board.sinks.load());
    let audits: Vec<Value> = audits
        .values()
        .map(|audit| {
            let none = || "no commit yet".to_owned();
            let report = audit.report.as_deref();
            Object::default()
                .with("name", &audit.name)
                .known_or("verdict", report.map(|r| r.summary.verdict).ok_or_else(none))
                .known_or("headline", report.map(words::headline).ok_or_else(none))
                .known_or("summary", report.map(|r| &r.summary).ok_or_else(none))
                .known_or("at_ms", report.map(|_| audit.at_ms).ok_or_else(none))
                .known_or("behind", audit.behind.ok_or_else(|| "the ends of the topics are not known yet".to_owned()))
                .with("records_per_second", audit.records_per_second)
                .with("trouble", &audit.trouble)
                .with("restarts", audit.restarts)
                .done()
        })
        .collect();
    let bad: Vec<Value> = lag.groups.iter().filter(|g| g.judgement.verdict.is_bad()).map(groups::brief).collect();
    let open: Vec<Value> = incidents
        .iter()
        .filter(|i| matches!(incident_state(i, now_ms), "open" | "acknowledged" | "muted"))
        .map(|i| incidents::object(i, now_ms))
        .collect();
    Json(
        Object::default()
            .with("now_ms", now_ms)
            .with("started_ms", app.board.started_ms)
            .with("version", &app.info.version)
            .with("cluster", &lag.cluster)
            .known_or("lag_at_ms", (lag.at_ms > 0).then_some(lag.at_ms).ok_or_else(|| "no round yet".to_owned()))
            .with("round", lag.round)
            .with("troubles", &lag.troubles)
            .with("groups", lag.groups.len())
            .with("bad_groups", bad)
            .with("open_incidents", open)
            .with("audits", audits)
            .with("sinks", &**sinks)
            .with("parts", &**app.board.pulses.load())
            .done(),
    )
}

#[derive(Deserialize)]
pub struct Sought {
    id: String,
}

pub async fn search(State(app): State<Arc<App>>, Query(sought): Query<Sought>) -> Result<Json<Value>, Failed> {
    let id = sought.id.clone();
    match app.act(move |actions| actions.search(&id)).await {
        Ok(found) => Ok(Json(json!({ "id": sought.id, "found": found }))),
        Err(why) => Err(Failed(StatusCode::BAD_GATEWAY, why)),
    }
}
