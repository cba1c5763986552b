//! Findings as JSON, in the form the JSON report has, with the name of the audit.

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
    let audits = app.board.audits.load();
    let fits = |(_, finding): &(&str, &Finding)| {
        wanted.kind.is_none_or(|kind| finding.kind == kind)
            && wanted.state.is_none_or(|state| finding.state == state)
            && wanted.topic.as_ref().is_none_or(|topic| finding.topic == *topic)
    };
    let limit = wanted.limit.unwrap_or(MOST).min(MOST);
    let shown: Vec<Value> =
        look::findings(&audits).filter(fits).take(limit).map(|(audit, finding)| object(audit, finding)).collect();
    Json(json!({ "of": look::findings(&audits).filter(fits).count(), "findings": shown }))
}

pub async fn one(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Json<Value>, Failed> {
    let audits = app.board.audits.load();
    let found = look::findings(&audits).find(|(_, finding)| finding.id == id);
    let (audit, finding) = found.ok_or_else(|| Failed::unknown("finding"))?;
    Ok(Json(object(audit, finding)))
}

pub fn object(audit: &str, finding: &Finding) -> Value {
    let mut object = serde_json::to_value(finding).unwrap_or_default();
    if let Value::Object(fields) = &mut object {
        fields.insert("audit".to_owned(), audit.into());
    }
    object
}
