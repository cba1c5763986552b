//! One pair of stores: what is compared and how strong the claim is, where they differ, and for how long.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;

use super::parts::{Chip, Command, audit_mood, quoted};
use super::topic::FindingRow;
use super::{Shell, missing, render};
use crate::audit::drift::{Cut, DriftSummary, Following};
use crate::audit::finding::Finding;
use crate::audit::verdict::Report;
use crate::drift::BUCKETS;
use crate::report::drift as said;
use crate::report::format::{ago, thousands, visible};
use crate::report::html::Listing;
use crate::report::words;
use crate::serve::app::App;
use crate::serve::board::DriftView;
use crate::serve::guard::Caller;

const FINDINGS: usize = 200;
const CUTS: usize = 100;
const COLUMNS: usize = 50;
/// Buckets in a row of the map.
const ROW: usize = 64;

#[derive(Template)]
#[template(path = "serve/drift.html")]
struct View {
    shell: Shell,
    name: String,
    mood: &'static str,
    chip: Chip,
    about: String,
    at: String,
    trouble: Option<String>,
    tiles: Vec<(String, &'static str, bool)>,
    stores: Vec<String>,
    cuts: Listing<(i32, i64, i64)>,
    map: Option<Map>,
    ages: Vec<(String, String)>,
    columns: Listing<(String, String)>,
    /// Open and healed, each below its heading.
    findings: [(&'static str, Listing<FindingRow>); 2],
    unread: Listing<(String, String)>,
    command: Command,
}

/// The buckets as squares: one path for those that were compared, one for those that differ.
struct Map {
    compared: String,
    differing: String,
    says: String,
}

pub fn chip(drift: &DriftView) -> Chip {
    match &drift.report {
        Some(report) => Chip::audit(report.summary.verdict),
        None => Chip { word: "not compared yet".to_owned(), mood: "" },
    }
}

pub fn mood(drift: &DriftView) -> &'static str {
    match &drift.report {
        Some(report) if drift.trouble.is_none() => audit_mood(report.summary.verdict),
        Some(_) => "bad",
        None => "warn",
    }
}

/// In one sentence.
pub fn headline(drift: &DriftView) -> String {
    match &drift.report {
        Some(report) => words::headline(report),
        None => "nothing was compared yet".to_owned(),
    }
}

pub fn trouble(drift: &DriftView) -> Option<String> {
    drift.trouble.as_deref().map(|trouble| visible(trouble).into_owned())
}

pub async fn show(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Response {
    let drifts = app.board.drifts.load();
    let Some(drift) = drifts.get(&name) else { return missing(&app, &caller, "pair") };
    let report = drift.report.as_deref();
    let summary = report.and_then(|report| report.summary.drift.as_ref());
    let following = summary.and_then(|summary| summary.following.as_ref());
    let findings = |is_open: bool| -> Vec<&Finding> {
        let mut found: Vec<&Finding> =
            report.iter().flat_map(|report| &report.findings).filter(|f| f.is_open() == is_open).collect();
        found.sort_by_key(|finding| finding.grade);
        found
    };
    let columns: Vec<(&String, &u64)> = sorted(summary);
    render(&View {
        shell: Shell::new(&app, &caller, "Drift", &name, headline(drift)),
        name: visible(&name).into_owned(),
        mood: mood(drift),
        chip: chip(drift),
        about: visible(&drift.about).into_owned(),
        at: report.map(|_| format!("figures of {}", ago(drift.at_ms, app.now_ms()))).unwrap_or_default(),
        trouble: trouble(drift),
        tiles: summary.map(tiles).unwrap_or_default(),
        stores: summary.map(said::lines).unwrap_or_default(),
        cuts: Listing::of(summary.map_or(&[][..], |summary| &summary.cuts), CUTS, |cut: &Cut| {
            (cut.partition, cut.settled, cut.end)
        }),
        map: following.and_then(Map::of),
        ages: following.map(ages).unwrap_or_default(),
        columns: Listing::of(&columns, COLUMNS, |(name, count)| (visible(name).into_owned(), thousands(**count))),
        findings: [("Findings", true), ("Healed", false)]
            .map(|(title, is_open)| (title, Listing::of(&findings(is_open), FINDINGS, |f| FindingRow::of(f)))),
        unread: unread(report),
        command: command(&name),
    })
}

fn sorted(summary: Option<&DriftSummary>) -> Vec<(&String, &u64)> {
    let mut columns: Vec<_> = summary.iter().flat_map(|summary| &summary.worst_columns).collect();
    columns.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    columns
}

fn unread(report: Option<&Report>) -> Listing<(String, String)> {
    let all = report.map_or(&[][..], |report| &report.summary.unread);
    Listing::of(all, CUTS, |part| (visible(&words::unread_place(part)).into_owned(), visible(&part.why).into_owned()))
}

pub fn command(pair: &str) -> Command {
    Command { text: format!("sordini drift -c /etc/sordini/sordini.toml --only {}", quoted(pair)) }
}

fn ages(following: &Following) -> Vec<(String, String)> {
    following.wrong.iter().map(|age| (visible(&age.age).into_owned(), thousands(age.keys))).collect()
}

pub fn tiles(summary: &DriftSummary) -> Vec<(String, &'static str, bool)> {
    let found = said::found(&[summary]);
    let mut tiles: Vec<(String, &'static str, bool)> = found
        .into_iter()
        .map(|(count, word)| (thousands(count), word, count > 0 && word != said::NOT_COPIED))
        .collect();
    tiles.push((thousands(summary.suspects), "look wrong, not confirmed", false));
    tiles.push((thousands(said::unverifiable(&[summary])), "not verifiable", false));
    if let Some(following) = &summary.following {
        tiles.push((thousands(following.waiting), "wait for the group", false));
        tiles.push((thousands(following.resolved), "healed", false));
    }
    tiles
}

impl Map {
    fn of(following: &Following) -> Option<Self> {
        let differing = following.differing_buckets.as_ref()?;
        let parts = following.parts.max(1) as usize;
        let is_compared = |bucket: &usize| following.compared_parts.contains(&((bucket % parts) as u32));
        let compared: Vec<usize> = (0..BUCKETS).filter(is_compared).collect();
        let says = format!(
            "{} of {} buckets compared, {} with keys that differ",
            thousands(compared.len() as u64),
            thousands(BUCKETS as u64),
            thousands(differing.len() as u64)
        );
        Some(Self { compared: squares(&compared), differing: squares(differing), says })
    }
}

/// Neighbours in a row are one rectangle.
fn squares(buckets: &[usize]) -> String {
    let mut path = String::new();
    let is_neighbour = |a: &usize, b: &usize| a + 1 == *b && !b.is_multiple_of(ROW);
    for run in buckets.chunk_by(is_neighbour) {
        let first = run.first().copied().unwrap_or_default();
        let (x, y, width) = (first % ROW, first / ROW, run.len());
        path += &format!("M{x} {y}h{width}v1h-{width}z");
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_one_rectangle_and_rows_are_not() {
        assert_eq!(squares(&[0, 1, 2, 5, 63, 64]), "M0 0h3v1h-3zM5 0h1v1h-1zM63 0h1v1h-1zM0 1h1v1h-1z");
        assert_eq!(squares(&(0..BUCKETS).collect::<Vec<_>>()).matches('M').count(), BUCKETS / ROW);
    }
}
