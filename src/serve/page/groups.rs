//! The list of groups, the worst first.

use std::cmp::Reverse;
use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::Deserialize;

use super::parts::{Chip, Fig, Spark};
use super::{Shell, path, render};
use crate::lag::snapshot::GroupLag;
use crate::lag::verdict::Verdict;
use crate::report::format::{plural, thousands, visible};
use crate::report::html::Listing;
use crate::serve::app::App;
use crate::serve::guard::Caller;

const ROWS: usize = 500;

#[derive(Template)]
#[template(path = "serve/groups.html")]
struct View {
    shell: Shell,
    query: String,
    verdicts: Vec<(&'static str, bool)>,
    rows: Listing<GroupRow>,
}

pub struct GroupRow {
    pub name: String,
    pub href: String,
    pub chip: Chip,
    pub why: String,
    pub lag: Fig,
    pub records: Fig,
    pub time: Fig,
    pub members: Fig,
    pub judged: String,
    pub spark: Spark,
}

impl GroupRow {
    pub fn of(group: &GroupLag) -> Self {
        Self {
            name: visible(&group.group).into_owned(),
            href: path("/groups", &group.group),
            chip: Chip::verdict(group.judgement.verdict),
            why: visible(&group.judgement.why).into_owned(),
            lag: Fig::count(group.lag),
            records: Fig::count(group.record_lag),
            time: Fig::time(group.max_time_ms),
            members: Fig::of(group.members, |members| thousands(members as u64)),
            judged: format!("{} of {}", thousands(group.evaluated as u64), thousands(group.expected as u64)),
            spark: Spark::of(&group.curve),
        }
    }
}

#[derive(Deserialize)]
pub struct Wanted {
    #[serde(default)]
    q: String,
    /// As a form sends it: empty means any.
    #[serde(default)]
    verdict: String,
}

pub async fn show(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Query(wanted): Query<Wanted>,
) -> Response {
    let lag = app.board.lag.load();
    let fits = |group: &&GroupLag| {
        (wanted.verdict.is_empty() || group.judgement.verdict.name() == wanted.verdict)
            && group.group.contains(wanted.q.as_str())
    };
    let mut groups: Vec<&GroupLag> = lag.groups.iter().filter(fits).collect();
    groups.sort_by_key(|group| Reverse(group.judgement.verdict));
    let bad = groups.iter().filter(|group| group.judgement.verdict.is_bad()).count();
    let says = format!("{}, {bad} of them in trouble.", plural(groups.len() as u64, "group"));
    render(&View {
        shell: Shell::new(&app, &caller, "Groups", "Groups", says),
        verdicts: Verdict::ALL.into_iter().map(|v| (v.name(), v.name() == wanted.verdict)).collect(),
        query: visible(&wanted.q).into_owned(),
        rows: Listing::of(&groups, ROWS, |group| GroupRow::of(group)),
    })
}
