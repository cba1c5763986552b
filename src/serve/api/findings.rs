//! Findings as JSON, in the form the JSON report has, with the name of the audit, or of the pair of stores.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Failed, MOST};
use crate::audit::finding::{Finding, Kind, State as Standing};
use crate::serve::app::App;
use crate::serve::look;

#[derive(Deserialize)]
pub struct Wanted {
    kind: Option<Kind>,
    topic: Option<String>,
    state: Option<Standing>,
    limit: Option<usize>,
}

pub async fn list(State(app): State<Arc<App>>, Query(wanted): Query<Wanted>) -> Json<Value> {
    let (audits, drifts) = (app.board.audits.load(), app.board.drifts.load());
    let all = || look::findings(&audits).chain(look::differences(&drifts));
    let fits = |(_, finding): &(&str, &Finding)| {
        wanted.kind.is_none_or(|kind| finding.kind == kind)
            && wanted.state.is_none_or(|state| finding.state == state)
            && wanted.topic.as_ref().is_none_or(|topic| finding.topic == *topic)
    };
    let limit = wanted.limit.unwrap_or(MOST).min(MOST);
    let shown: Vec<Value> = all().filter(fits).take(limit).map(|(whose, finding)| object(whose, finding)).collect();
    Json(json!({ "of": all().filter(fits).count(), "findings": shown }))
}

pub async fn one(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Json<Value>, Failed> {
    let (audits, drifts) = (app.board.audits.load(), app.board.drifts.load());
    let mut all = look::findings(&audits).chain(look::differences(&drifts));
    let found = all.find(|(_, finding)| finding.id == id);
    let (whose, finding) = found.ok_or_else(|| Failed::unknown("finding"))?;
    Ok(Json(object(whose, finding)))
}

pub fn object(whose: &str, finding: &Finding) -> Value {
    let mut object = serde_json::to_value(finding).unwrap_or_default();
    if let Value::Object(fields) = &mut object {
        fields.insert("audit".to_owned(), whose.into());
        if let Some(pair) = finding.evidence.get("pair") {
            fields.insert("pair".to_owned(), pair.clone());
        }
    }
    object
}
