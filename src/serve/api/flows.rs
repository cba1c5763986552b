//! Flows as JSON.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::serve::app::App;
use crate::serve::look;

pub async fn list(State(app): State<Arc<App>>) -> Json<Value> {
    let audits = app.board.audits.load();
    let flow = |(audit, report): (&str, &Arc<crate::audit::verdict::Report>)| {
        let summary = &report.summary;
        let flow = summary.flow.as_ref()?;
        Some(json!({
            "audit": audit,
            "verdict": summary.verdict.name(),
            "flow": flow,
            "searched": summary.searched,
        }))
    };
    let flows: Vec<Value> = look::reports(&audits).filter_map(flow).collect();
    Json(json!({ "of": flows.len(), "flows": flows }))
}
