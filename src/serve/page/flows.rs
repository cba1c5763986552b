//! Every flow: its stages drawn, what passes between them and what does not, and what the losses have in common.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;

use super::finding::mood as finding_mood;
use super::parts::{Chip, Command};
use super::topic::FindingRow;
use super::{Shell, render};
use crate::audit::finding::{Finding, Kind};
use crate::audit::verdict::Report;
use crate::report::format::{plural, visible};
use crate::report::html::Listing;
use crate::report::html::flow::{Drawing, drawing};
use crate::report::words;
use crate::serve::app::App;
use crate::serve::guard::Caller;
use crate::serve::look;

const FINDINGS: usize = 100;
const SEARCHED: usize = 10;

#[derive(Template)]
#[template(path = "serve/flows.html")]
struct View {
    shell: Shell,
    flows: Vec<FlowView>,
}

struct FlowView {
    flow: Drawing,
    mood: &'static str,
    says: String,
    patterns: Vec<(Chip, String)>,
    findings: Listing<FindingRow>,
    searched: Listing<String>,
    command: Command,
}

pub async fn show(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>) -> Response {
    let audits = app.board.audits.load();
    let flows: Vec<FlowView> = look::reports(&audits).filter_map(|(_, report)| FlowView::of(report)).collect();
    let bad = flows.iter().filter(|flow| flow.mood == "bad").count() as u64;
    let says = match (flows.len() as u64, bad) {
        (0, _) => "No flow is declared; see docs/flows.md.".to_owned(),
        (all, 0) => format!("{}, all of them well.", plural(all, "flow")),
        (all, bad) => format!("{bad} of {} in trouble.", plural(all, "flow")),
    };
    render(&View { shell: Shell::new(&app, &caller, "Flows", "Flows", says), flows })
}

impl FlowView {
    fn of(report: &Report) -> Option<Self> {
        let flow = drawing(report.summary.flow.as_ref()?);
        let mut open: Vec<&Finding> = report.findings.iter().filter(|finding| finding.is_open()).collect();
        open.sort_by_key(|finding| finding.grade);
        let is_pattern = |finding: &&&Finding| {
            matches!(finding.kind, Kind::PeriodicLoss | Kind::DimensionalLoss | Kind::Burst | Kind::RetryComb)
        };
        let pattern = |finding: &&Finding| {
            let chip = Chip { word: finding.kind.name().to_owned(), mood: finding_mood(finding) };
            (chip, visible(&finding.why).into_owned())
        };
        let single: Vec<&Finding> = open.iter().filter(|finding| !is_pattern(finding)).copied().collect();
        Some(Self {
            mood: open.first().map_or("good", |worst| finding_mood(worst)),
            says: words::headline(report),
            patterns: open.iter().filter(is_pattern).map(pattern).collect(),
            findings: Listing::of(&single, FINDINGS, |finding| FindingRow::of(finding)),
            searched: Listing::of(&words::searched(report), SEARCHED, String::clone),
            command: Command { text: format!("sordini flows -c /etc/sordini.toml --flow {}", flow.name) },
            flow,
        })
    }
}
