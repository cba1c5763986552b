//! The list of topics, those with open findings first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::Deserialize;

use super::{Shell, path, render};
use crate::audit::coverage::{Hole, Holes};
use crate::report::format::{percent, plural, shorten, visible};
use crate::report::html::Listing;
use crate::report::{topics, words};
use crate::serve::app::App;
use crate::serve::guard::Caller;
use crate::serve::look;

const ROWS: usize = 500;

#[derive(Template)]
#[template(path = "serve/topics.html")]
struct View {
    shell: Shell,
    query: String,
    rows: Listing<Row>,
}

#[derive(Clone)]
struct Row {
    name: String,
    href: String,
    partitions: usize,
    groups: usize,
    audits: String,
    read: String,
    findings: usize,
    holes: String,
}

#[derive(Default)]
struct Facts<'a> {
    partitions: usize,
    groups: BTreeSet<&'a str>,
    audits: BTreeSet<&'a str>,
    offsets: u64,
    read: u64,
    findings: usize,
    holes: Holes,
}

#[derive(Deserialize)]
pub struct Wanted {
    #[serde(default)]
    q: String,
}

pub async fn show(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Query(wanted): Query<Wanted>,
) -> Response {
    let (lag, audits) = (app.board.lag.load(), app.board.audits.load());
    let names = look::topics(&lag, &audits);
    let mut facts: BTreeMap<&str, Facts<'_>> =
        names.into_iter().filter(|name| name.contains(&wanted.q)).map(|name| (name, Facts::default())).collect();
    for part in &lag.partitions {
        if let Some(topic) = facts.get_mut(&*part.topic) {
            topic.partitions += 1;
        }
    }
    for (group, part) in lag.groups.iter().flat_map(|group| group.partitions.iter().map(move |part| (group, part))) {
        if let Some(topic) = facts.get_mut(&*part.topic) {
            topic.groups.insert(&group.group);
        }
    }
    for (name, report) in look::reports(&audits) {
        for covered in topics::topics(&report.coverage) {
            let Some(topic) = facts.get_mut(covered.topic) else { continue };
            topic.audits.insert(name);
            topic.partitions = topic.partitions.max(covered.partitions.len());
            topic.offsets += covered.offsets;
            topic.read += covered.read();
            for hole in Hole::ALL {
                topic.holes.add(hole, covered.holes.get(hole));
            }
        }
        for finding in report.findings.iter().filter(|finding| finding.is_open()) {
            if let Some(topic) = facts.get_mut(finding.topic.as_str()) {
                topic.findings += 1;
            }
        }
    }
    let mut rows: Vec<Row> = facts.into_iter().map(|(name, facts)| row(name, &facts)).collect();
    rows.sort_by_key(|row| Reverse(row.findings));
    let bad = rows.iter().filter(|row| row.findings > 0).count();
    let says = format!("{}, {bad} of them with open findings.", plural(rows.len() as u64, "topic"));
    render(&View {
        shell: Shell::new(&app, &caller, "Topics", "Topics", says),
        query: visible(&wanted.q).into_owned(),
        rows: Listing::of(&rows, ROWS, Row::clone),
    })
}

fn row(name: &str, facts: &Facts<'_>) -> Row {
    let audits: Vec<String> = facts.audits.iter().map(|name| shorten(name, 40)).collect();
    Row {
        name: visible(name).into_owned(),
        href: path("/topics", name),
        partitions: facts.partitions,
        groups: facts.groups.len(),
        read: if audits.is_empty() { "not audited".to_owned() } else { percent(facts.read, facts.offsets) },
        audits: audits.join(", "),
        findings: facts.findings,
        holes: words::holes(&facts.holes),
    }
}
