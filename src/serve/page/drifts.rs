//! Every pair of stores: whether they agree, and what was found where they do not.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;

use super::drift::{chip, headline, mood, tiles, trouble};
use super::parts::Chip;
use super::{Shell, path, render};
use crate::report::format::{plural, visible};
use crate::serve::app::App;
use crate::serve::board::DriftView;
use crate::serve::guard::Caller;

#[derive(Template)]
#[template(path = "serve/drifts.html")]
struct View {
    shell: Shell,
    pairs: Vec<PairView>,
}

pub struct PairView {
    pub name: String,
    pub href: String,
    pub mood: &'static str,
    pub chip: Chip,
    pub says: String,
    pub about: String,
    pub trouble: Option<String>,
    tiles: Vec<(String, &'static str, bool)>,
}

pub async fn show(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>) -> Response {
    let drifts = app.board.drifts.load();
    let pairs: Vec<PairView> = drifts.values().map(PairView::of).collect();
    let bad = pairs.iter().filter(|pair| pair.mood != "good").count() as u64;
    let says = match (pairs.len() as u64, bad) {
        (0, _) => "No pair of stores is declared; see docs/drift.md.".to_owned(),
        (all, 0) => format!("{}, all of them agree.", plural(all, "pair")),
        (all, bad) => format!("{bad} of {} differ or are in doubt.", plural(all, "pair")),
    };
    render(&View { shell: Shell::new(&app, &caller, "Drift", "Drift", says), pairs })
}

impl PairView {
    pub fn of(drift: &DriftView) -> Self {
        let summary = drift.report.as_ref().and_then(|report| report.summary.drift.as_ref());
        Self {
            name: visible(&drift.name).into_owned(),
            href: path("/drift", &drift.name),
            mood: mood(drift),
            chip: chip(drift),
            says: visible(&headline(drift)).into_owned(),
            about: visible(&drift.about).into_owned(),
            trouble: trouble(drift),
            tiles: summary.map(tiles).unwrap_or_default(),
        }
    }
}
