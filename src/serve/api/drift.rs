//! Pairs of stores as JSON; one by its name with its findings.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::{Failed, MOST, Object, findings};
use crate::report::words;
use crate::serve::app::App;
use crate::serve::board::DriftView;

pub async fn list(State(app): State<Arc<App>>) -> Json<Value> {
    let drifts = app.board.drifts.load();
    let pairs: Vec<Value> = drifts.values().map(|drift| object(drift).done()).collect();
    Json(json!({ "of": pairs.len(), "pairs": pairs }))
}

pub async fn one(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<Json<Value>, Failed> {
    let drifts = app.board.drifts.load();
    let drift = drifts.get(&name).ok_or_else(|| Failed::unknown("pair"))?;
    let all = drift.report.as_ref().map_or(&[][..], |report| &report.findings);
    let found: Vec<Value> = all.iter().take(MOST).map(|finding| findings::object(&name, finding)).collect();
    Ok(Json(object(drift).with("of_findings", all.len()).with("findings", found).done()))
}

fn object(drift: &DriftView) -> Object {
    let none = || "nothing was compared yet".to_owned();
    let report = drift.report.as_deref();
    Object::default()
        .with("pair", &drift.name)
        .with("about", &drift.about)
        .with("trouble", &drift.trouble)
        .known_or("verdict", report.map(|report| report.summary.verdict).ok_or_else(none))
        .known_or("headline", report.map(words::headline).ok_or_else(none))
        .known_or("at_ms", report.map(|_| drift.at_ms).ok_or_else(none))
        .known_or("drift", report.map(|report| &report.summary.drift).ok_or_else(none))
        .known_or("unread", report.map(|report| &report.summary.unread).ok_or_else(none))
        .known_or("notes", report.map(|report| &report.summary.notes).ok_or_else(none))
}
