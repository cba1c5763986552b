//! Flows as JSON; one by its name with its findings.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Map, Value, json};

use super::{Failed, MOST, findings};
use crate::audit::verdict::Report;
use crate::serve::app::App;
use crate::serve::look;

pub async fn list(State(app): State<Arc<App>>) -> Json<Value> {
    let audits = app.board.audits.load();
    let flows: Vec<Map<String, Value>> =
        look::reports(&audits).filter_map(|(audit, report)| object(audit, report)).collect();
    Json(json!({ "of": flows.len(), "flows": flows }))
}

pub async fn one(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<Json<Value>, Failed> {
    let audits = app.board.audits.load();
    let (audit, report, _) = look::flow(&audits, &name).ok_or_else(|| Failed::unknown("flow"))?;
    let mut flow = object(&audit.name, report).ok_or_else(|| Failed::unknown("flow"))?;
    let found: Vec<Value> =
        report.findings.iter().take(MOST).map(|finding| findings::object(&audit.name, finding)).collect();
    flow.insert("of_findings".to_owned(), report.findings.len().into());
    flow.insert("findings".to_owned(), found.into());
    Ok(Json(flow.into()))
}

fn object(audit: &str, report: &Report) -> Option<Map<String, Value>> {
    let summary = &report.summary;
    let fields = [
        ("audit", json!(audit)),
        ("verdict", json!(summary.verdict.name())),
        ("flow", json!(summary.flow.as_ref()?)),
        ("searched", json!(summary.searched)),
    ];
    Some(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}
