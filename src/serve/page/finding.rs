//! One finding: what it says, what it rests on, when it was seen, and how to look closer.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;

use super::parts::{Command, IncidentRow, quoted};
use super::{Shell, drift, flow, missing, path, render};
use crate::audit::finding::{Finding, Grade, Rung, Sighting};
use crate::audit::verdict::Report;
use crate::report::format::{place, shorten, thousands, utc, visible};
use crate::report::html::Listing;
use crate::report::html::residues::{Plot, plot};
use crate::report::{group, words};
use crate::serve::app::App;
use crate::serve::guard::Caller;
use crate::serve::look;

const SIGHTINGS: usize = 200;
const MOMENTS: usize = 40;

/// Name, value and link.
type Fact = (&'static str, String, Option<String>);

#[derive(Template)]
#[template(path = "serve/finding.html")]
struct View {
    shell: Shell,
    mood: &'static str,
    kind: &'static str,
    grade: &'static str,
    meaning: &'static str,
    doubt: Option<&'static str>,
    facts: Vec<Fact>,
    incidents: Vec<IncidentRow>,
    command: Command,
    plot: Option<Plot>,
    evidence: Vec<(String, String)>,
    sightings: Listing<(String, i64, String, String)>,
    timeline: Vec<Moment>,
}

struct Moment {
    x: String,
    when: String,
    what: String,
}

pub fn mood(finding: &Finding) -> &'static str {
    match finding.grade {
        _ if !finding.is_open() => "good",
        Grade::Proven => "bad",
        Grade::Possible | Grade::Unknown => "warn",
    }
}

pub async fn show(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Response {
    let (audits, drifts) = (app.board.audits.load(), app.board.drifts.load());
    let pairs = drifts.iter().filter_map(|(name, drift)| Some((name.as_str(), drift.report.as_ref()?)));
    let found = look::reports(&audits).chain(pairs).find_map(|(whose, report)| {
        report.findings.iter().find(|finding| finding.id == id).map(|finding| (whose, report, finding))
    });
    let Some((whose, report, finding)) = found else { return missing(&app, &caller, "finding") };
    let now_ms = app.now_ms();
    let alone = group::groups(std::slice::from_ref(finding));
    let incidents = app.board.incidents.load();
    let behind = incidents.iter().filter(|incident| incident.observed.findings.contains(&finding.id));
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let plot = plot(finding);
    let is_drawn = plot.is_some();
    render(&View {
        shell: Shell::new(
            &app,
            &caller,
            if pair_of(finding).is_some() { "Drift" } else { "Topics" },
            finding.kind.name(),
            finding.why.clone(),
        ),
        mood: mood(finding),
        kind: finding.kind.name(),
        grade: if finding.is_open() { finding.grade.name() } else { "resolved" },
        meaning: alone.first().map(words::meaning).unwrap_or_default(),
        doubt: words::doubt(finding.grade),
        facts: facts(whose, finding),
        incidents: behind.map(|incident| IncidentRow::of(incident, now_ms)).collect(),
        command: Command { text: command(report, finding) },
        plot,
        evidence: finding
            .evidence
            .iter()
            .filter(|(name, _)| !(is_drawn && *name == "residues"))
            .map(|(name, value)| (visible(name).into_owned(), shorten(&text(value), 500)))
            .collect(),
        sightings: Listing::of(&finding.sightings, SIGHTINGS, |s: &Sighting| {
            let checksum = visible(&s.checksum).into_owned();
            (place(&s.topic, Some(s.partition)), s.offset, utc(s.timestamp), checksum)
        }),
        timeline: timeline(finding),
    })
}

fn facts(whose: &str, finding: &Finding) -> Vec<Fact> {
    let name = |name: &str| visible(name).into_owned();
    let of = match pair_of(finding) {
        // What is compared may be tables, which have no page.
        Some(pair) => [("pair", name(pair), Some(path("/drift", pair))), ("store", name(&finding.topic), None)],
        None => [("audit", name(whose), None), ("topic", name(&finding.topic), Some(path("/topics", &finding.topic)))],
    };
    let [first, second] = of;
    let mut facts: Vec<Fact> = vec![
        ("id", visible(&finding.id).into_owned(), None),
        first,
        second,
        ("where", words::coordinates(finding), None),
        ("records", thousands(finding.count), None),
    ];
    if let Some(flow) = flow_of(finding) {
        facts.push(("flow", visible(flow).into_owned(), Some(path("/flows", flow))));
    }
    if let Some(cause) = &finding.cause {
        facts.push(("cause", visible(cause).into_owned(), None));
    }
    if let Some(identity) = &finding.identity {
        let shown = identity.value.as_deref().unwrap_or(&identity.hash);
        let rung = match identity.rung {
            Rung::Id => "id",
            Rung::Producer => "producer sequence",
            Rung::Session => "session and number",
            Rung::Content => "equal contents",
        };
        let search = path("/search?id=", &identity.hash).replacen("=/", "=", 1);
        facts.push(("identity", format!("{} (by {rung})", shorten(shown, 120)), Some(search)));
    }
    facts
}

fn pair_of(finding: &Finding) -> Option<&str> {
    finding.evidence.get("pair")?.as_str()
}

fn flow_of(finding: &Finding) -> Option<&str> {
    finding.evidence.get("flow")?.as_str()
}

/// What shows more of it.
fn command(report: &Report, finding: &Finding) -> String {
    if let (None, Some(flow)) = (&finding.identity, flow_of(finding)) {
        return flow::command(flow).text;
    }
    if let Some(pair) = pair_of(finding) {
        return drift::command(pair).text;
    }
    let ledger = report.summary.ledger.as_deref().map_or("LEDGER".to_owned(), quoted);
    match (&finding.identity, &finding.session, finding.numbers) {
        (Some(identity), _, _) => format!("sordini trace --hash {} --ledger {ledger}", quoted(&identity.hash)),
        (None, Some(session), Some(numbers)) => {
            format!("sordini trace --session {} --number {} --ledger {ledger}", quoted(session), numbers.from)
        }
        _ => {
            let partition = finding.partition.map(|partition| format!(" -p {partition}")).unwrap_or_default();
            let offset = finding.offsets.map(|offsets| format!(" -o {}", offsets.from)).unwrap_or_default();
            format!("kcat -C -t {}{partition}{offset} -c 10", quoted(&finding.topic))
        }
    }
}

/// Oldest first.
fn timeline(finding: &Finding) -> Vec<Moment> {
    let seen = finding.sightings.iter().filter(|s| s.timestamp >= 0).take(MOMENTS);
    let mut moments: Vec<(i64, String)> =
        seen.map(|s| (s.timestamp, format!("seen at {}@{}", place(&s.topic, Some(s.partition)), s.offset))).collect();
    let (first, last) = match (pair_of(finding), finding.is_open()) {
        (Some(_), true) => ("first seen to differ", "last seen to differ"),
        (Some(_), false) => ("first seen to differ", "seen to agree again"),
        (None, _) => ("first record it speaks of", "last record it speaks of"),
    };
    moments.extend(finding.first_seen.map(|at| (at, first.to_owned())));
    moments.extend(finding.last_seen.map(|at| (at, last.to_owned())));
    moments.sort();
    let (Some(first), Some(last)) = (moments.first().map(|m| m.0), moments.last().map(|m| m.0)) else {
        return Vec::new();
    };
    let length = last.abs_diff(first).max(1) as f64;
    moments
        .into_iter()
        .map(|(at, what)| Moment {
            x: format!("{:.1}", at.abs_diff(first) as f64 / length * 955.0),
            when: utc(at),
            what,
        })
        .collect()
}
