//! Every flow: its stages drawn, what passes between them and what does not, and what the losses have in common.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;

use super::flow::{is_pattern, mood, open_findings};
use super::topic::FindingRow;
use super::{Shell, path, render};
use crate::audit::verdict::Report;
use crate::report::format::plural;
use crate::report::html::Listing;
use crate::report::html::flow::{Drawing, drawing};
use crate::report::words;
use crate::serve::app::App;
use crate::serve::guard::Caller;
use crate::serve::look;

const PATTERNS: usize = 5;

#[derive(Template)]
#[template(path = "serve/flows.html")]
struct View {
    shell: Shell,
    flows: Vec<FlowView>,
}

struct FlowView {
    flow: Drawing,
    href: String,
    mood: &'static str,
    says: String,
    patterns: Listing<FindingRow>,
}

pub async fn show(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>) -> Response {
    let audits = app.board.audits.load();
    let flows: Vec<FlowView> = look::reports(&audits).filter_map(|(_, report)| FlowView::of(report)).collect();
    let bad = flows.iter().filter(|flow| flow.mood != "good").count() as u64;
    let says = match (flows.len() as u64, bad) {
        (0, _) => "No flow is declared; see docs/flows.md.".to_owned(),
        (all, 0) => format!("{}, all of them well.", plural(all, "flow")),
        (all, bad) => format!("{bad} of {} in trouble or in doubt.", plural(all, "flow")),
    };
    render(&View { shell: Shell::new(&app, &caller, "Flows", "Flows", says), flows })
}

impl FlowView {
    fn of(report: &Report) -> Option<Self> {
        let summary = report.summary.flow.as_ref()?;
        let open = open_findings(&report.findings);
        let patterns: Vec<_> = open.iter().filter(|finding| is_pattern(finding)).collect();
        Some(Self {
            mood: mood(report, &open),
            says: words::headline(report),
            href: path("/flows", &summary.flow),
            patterns: Listing::of(&patterns, PATTERNS, |finding| FindingRow::of(finding)),
            flow: drawing(summary),
        })
    }
}
