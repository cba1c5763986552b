//! One topic: the picture of every partition, what explains its holes, its findings, who reads it.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;

use super::finding::mood as finding_mood;
use super::parts::{Chip, Fig, expected};
use super::{Shell, missing, path, render};
use crate::audit::coverage::{Coverage, Hole};
use crate::audit::finding::Finding;
use crate::audit::verdict::{Picture, Report};
use crate::lag::snapshot::PartitionMarks;
use crate::report::format::{percent, plural, thousands, utc, visible};
use crate::report::html::Listing;
use crate::report::html::strips::{Strips, strips};
use crate::report::{group, topics, words};
use crate::serve::app::App;
use crate::serve::guard::Caller;
use crate::serve::look;

const FINDINGS: usize = 300;
const READERS: usize = 200;
const PARTS: usize = 500;

#[derive(Template)]
#[template(path = "serve/topic.html")]
struct View {
    shell: Shell,
    name: String,
    mood: &'static str,
    tiles: Vec<(String, &'static str, bool)>,
    audits: Vec<AuditOf>,
    findings: Listing<FindingRow>,
    readers: Vec<(Chip, String, String)>,
    parts: Listing<Part>,
}

struct AuditOf {
    name: String,
    strips: Strips,
    /// Reason, offsets, meaning, and whether it is alarming.
    holes: Vec<(&'static str, String, &'static str, bool)>,
    not_checked: Vec<String>,
}

pub struct FindingRow {
    pub id: String,
    pub href: String,
    pub chip: Chip,
    pub count: String,
    pub place: String,
    pub when: String,
    pub why: String,
}

struct Part {
    partition: i32,
    start: Fig,
    stable: Fig,
    end: Fig,
    rate: String,
    trouble: Option<String>,
    forecast: Option<(String, String)>,
}

pub async fn show(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Response {
    let (lag, audits) = (app.board.lag.load(), app.board.audits.load());
    if !look::topics(&lag, &audits).contains(name.as_str()) {
        return missing(&app, &caller, "topic");
    }
    let mut findings: Vec<&Finding> =
        look::findings(&audits).map(|(_, finding)| finding).filter(|finding| finding.topic == name).collect();
    findings.sort_by_key(|f| (!f.is_open(), f.grade, group::severity(f.kind), std::cmp::Reverse(f.count)));
    let coverage: Vec<Coverage> = look::reports(&audits)
        .flat_map(|(_, report)| report.coverage.iter().filter(|part| part.topic == name).cloned())
        .collect();
    let open = findings.iter().filter(|f| f.is_open()).count() as u64;
    let mood = match findings.first().filter(|f| f.is_open()) {
        Some(worst) => finding_mood(worst),
        None if coverage.is_empty() => "",
        None => "good",
    };
    let says = match (coverage.is_empty(), open) {
        (true, 0) => "No audit reads this topic.".to_owned(),
        (_, 0) => "No finding is open.".to_owned(),
        (_, open) => format!("{} open: {}", plural(open, "finding"), visible(&findings[0].why)),
    };
    let readers = lag.groups.iter().filter(|g| g.partitions.iter().any(|part| *part.topic == *name)).take(READERS);
    let parts: Vec<&PartitionMarks> = lag.partitions.iter().filter(|part| *part.topic == *name).collect();
    render(&View {
        shell: Shell::new(&app, &caller, "Topics", &name, says),
        name: visible(&name).into_owned(),
        mood,
        tiles: tiles(&coverage, &findings),
        audits: look::reports(&audits).filter_map(|(audit, report)| AuditOf::of(audit, report, &name)).collect(),
        findings: Listing::of(&findings, FINDINGS, |finding| FindingRow::of(finding)),
        readers: readers
            .map(|g| (Chip::verdict(g.judgement.verdict), visible(&g.group).into_owned(), path("/groups", &g.group)))
            .collect(),
        parts: Listing::of(&parts, PARTS, |part| Part::of(part, app.now_ms())),
    })
}

fn tiles(coverage: &[Coverage], findings: &[&Finding]) -> Vec<(String, &'static str, bool)> {
    let mut tiles = Vec::new();
    for covered in topics::topics(coverage) {
        tiles.push((thousands(covered.records), "records", false));
        tiles.push((percent(covered.read(), covered.offsets), "of the offsets read", false));
        if covered.unread() > 0 {
            tiles.push((thousands(covered.unread()), "offsets not read", true));
        }
    }
    for (word, severity) in [("records lost or damaged", 0), ("records too often", 1), ("records out of order", 2)] {
        let open = findings.iter().filter(|f| f.is_open() && group::severity(f.kind) == severity);
        let records = open.fold(0u64, |sum, f| sum.saturating_add(f.count));
        tiles.push((thousands(records), word, records > 0));
    }
    tiles
}

impl AuditOf {
    fn of(name: &str, report: &Report, topic: &str) -> Option<Self> {
        let pictures: Vec<Picture> = report.pictures.iter().filter(|p| p.topic == topic).cloned().collect();
        let covered = topics::topics(&report.coverage).into_iter().find(|covered| covered.topic == topic)?;
        let occurs = Hole::ALL.into_iter().rev().filter(|&hole| covered.holes.get(hole) > 0);
        let missed = report.summary.not_checked.iter().filter(|missed| missed.topic == topic);
        let say = |missed: &crate::audit::verdict::NotChecked| {
            let kinds: Vec<&str> = missed.kinds.iter().map(|kind| kind.name()).collect();
            format!("{}: {}", kinds.join(", "), visible(&missed.why))
        };
        Some(Self {
            name: visible(name).into_owned(),
            strips: strips(&pictures, &report.findings),
            holes: occurs
                .map(|hole| {
                    let offsets = thousands(covered.holes.get(hole));
                    (hole.name(), offsets, meaning(hole), topics::ALARMING.contains(&hole))
                })
                .collect(),
            not_checked: missed.map(say).collect(),
        })
    }
}

fn meaning(hole: Hole) -> &'static str {
    match hole {
        Hole::Control => "markers of transactions, which hold no record",
        Hole::Aborted => "records of transactions that were aborted",
        Hole::Compacted => "removed by the log cleaner",
        Hole::Expired => "removed by retention before they were read",
        Hole::Unstable => "belong to a transaction that is still open",
        Hole::Unfetched => "not read: the broker could not be asked",
        Hole::Unreadable => "damaged, or of a form that is too old",
        Hole::Unknown => "this client does not show why they are missing",
        Hole::Unexplained => "nothing explains why they are missing",
    }
}

impl FindingRow {
    pub fn of(finding: &Finding) -> Self {
        let state = if finding.is_open() { finding.grade.name() } else { "resolved" };
        Self {
            id: visible(&finding.id).into_owned(),
            href: path("/findings", &finding.id),
            chip: Chip { word: format!("{}, {state}", finding.kind), mood: finding_mood(finding) },
            count: thousands(finding.count),
            place: words::coordinates(finding),
            when: group::times(finding).map(|(first, _)| utc(first)).unwrap_or_default(),
            why: visible(&finding.why).into_owned(),
        }
    }
}

impl Part {
    fn of(part: &PartitionMarks, now_ms: i64) -> Self {
        Self {
            partition: part.partition,
            start: Fig::offset(part.log_start),
            stable: Fig::offset(part.stable_end),
            end: Fig::offset(part.end),
            rate: rate(part).unwrap_or_default(),
            trouble: part.hanging.as_ref().map(|judgement| visible(&judgement.why).into_owned()),
            forecast: part.forecast.as_ref().map(|forecast| expected(forecast, now_ms)),
        }
    }
}

/// Offsets a second over the marks that are kept.
fn rate(part: &PartitionMarks) -> Option<String> {
    let (first, last) = part.span?;
    let ms = last.at_ms.checked_sub(first.at_ms).filter(|&ms| ms > 0)?;
    Some(format!("{:.1}", last.end.saturating_sub(first.end).max(0) as f64 * 1000.0 / ms as f64))
}
