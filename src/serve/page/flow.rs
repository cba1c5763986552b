//! One flow: its stages drawn, the figures of its hops, what its losses have in common, its findings.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;

use super::finding::mood as finding_mood;
use super::parts::{Chip, Command, audit_mood, quoted};
use super::topic::FindingRow;
use super::{Shell, missing, path, render};
use crate::audit::finding::{Finding, Kind};
use crate::audit::flows::summary::{Burn, FlowSummary, HopSummary, StageSummary};
use crate::audit::verdict::Report;
use crate::report::format::{ago, duration, plural, thousands, visible};
use crate::report::html::Listing;
use crate::report::html::flow::{Drawing, drawing};
use crate::report::html::residues::{Plot, plot};
use crate::report::words;
use crate::serve::app::App;
use crate::serve::board::AuditView;
use crate::serve::guard::Caller;
use crate::serve::look;

const FINDINGS: usize = 200;
const PLOTS: usize = 12;
const SHARED: usize = 50;
const SEARCHED: usize = 20;

#[derive(Template)]
#[template(path = "serve/flow.html")]
struct View {
    shell: Shell,
    flow: Drawing,
    mood: &'static str,
    chip: Chip,
    about: String,
    trouble: Option<String>,
    tiles: Vec<(String, &'static str, bool)>,
    hops: Hops,
    plots: Listing<(Plot, FindingRow)>,
    /// Other patterns: attributes, bursts, retries in step.
    shared: Listing<FindingRow>,
    findings: Listing<FindingRow>,
    command: Command,
    topics: Vec<(String, String)>,
    searched: Listing<String>,
}

/// Tables of hops: what passes, and how fast error budgets burn.
struct Hops {
    counts: Vec<&'static str>,
    rows: Vec<HopRow>,
    burns: Vec<BurnRow>,
}

struct HopRow {
    name: String,
    rule: String,
    /// As [`Hops::counts`] names them, and whether one is wrong.
    counts: Vec<(String, bool)>,
    rate: String,
    /// p50, p90, p99, p99.9 and the longest.
    latency: [String; 5],
}

struct BurnRow {
    hop: String,
    objective: String,
    rates: [String; 4],
    chip: Chip,
}

pub fn is_pattern(finding: &Finding) -> bool {
    matches!(finding.kind, Kind::PeriodicLoss | Kind::DimensionalLoss | Kind::Burst | Kind::RetryComb)
}

/// Open findings, the surest first.
pub fn open_findings(findings: &[Finding]) -> Vec<&Finding> {
    let mut open: Vec<&Finding> = findings.iter().filter(|finding| finding.is_open()).collect();
    open.sort_by_key(|finding| finding.grade);
    open
}

/// That of the surest finding; without one, of what could be read.
pub fn mood(report: &Report, open: &[&Finding]) -> &'static str {
    open.first().map_or(audit_mood(report.summary.verdict), |worst| finding_mood(worst))
}

pub async fn show(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Response {
    let audits = app.board.audits.load();
    let Some((audit, report, flow)) = look::flow(&audits, &name) else { return missing(&app, &caller, "flow") };
    let open = open_findings(&report.findings);
    let (patterns, single): (Vec<&Finding>, Vec<&Finding>) = open.iter().partition(|finding| is_pattern(finding));
    let (drawn, shared): (Vec<_>, Vec<_>) =
        patterns.into_iter().map(|finding| (plot(finding), finding)).partition(|(plot, _)| plot.is_some());
    let more = drawn.len().saturating_sub(PLOTS);
    let drawn = drawn.into_iter().filter_map(|(plot, finding)| Some((plot?, FindingRow::of(finding))));
    render(&View {
        shell: Shell::new(&app, &caller, "Flows", &name, words::headline(report)),
        mood: mood(report, &open),
        chip: Chip::audit(report.summary.verdict),
        about: about(audit, app.now_ms()),
        trouble: audit.trouble.as_deref().map(|trouble| visible(trouble).into_owned()),
        tiles: tiles(flow),
        hops: Hops::of(flow),
        plots: Listing { shown: drawn.take(PLOTS).collect(), more },
        shared: Listing::of(&shared, SHARED, |(_, finding)| FindingRow::of(finding)),
        findings: Listing::of(&single, FINDINGS, |finding| FindingRow::of(finding)),
        command: command(&name),
        topics: topics(flow),
        searched: Listing::of(&words::searched(report), SEARCHED, String::clone),
        flow: drawing(flow),
    })
}

pub fn command(flow: &str) -> Command {
    Command { text: format!("sordini flows -c /etc/sordini/sordini.toml --flow {}", quoted(flow)) }
}

fn about(audit: &AuditView, now_ms: i64) -> String {
    let behind = audit.behind.map(|behind| format!(", {} still to read", plural(behind.unsigned_abs(), "offset")));
    format!("figures of {}{}", ago(audit.at_ms, now_ms), behind.unwrap_or_default())
}

fn tiles(flow: &FlowSummary) -> Vec<(String, &'static str, bool)> {
    let hops = || flow.stages.iter().filter_map(|stage| stage.hop.as_ref());
    let sum = |count: fn(&HopSummary) -> u64| hops().fold(0u64, |sum, hop| sum.saturating_add(count(hop)));
    let bad = |number: u64, word| (thousands(number), word, number > 0);
    let plain = |number: u64, word| (thousands(number), word, false);
    let mut tiles = vec![
        plain(flow.stages.first().map_or(0, |stage| stage.seen), "transactions begun"),
        bad(sum(|hop| hop.missing), "missing at a stage"),
        bad(sum(|hop| hop.mismatched), "with other content"),
        bad(sum(|hop| hop.unexpected), "without a cause"),
        plain(sum(|hop| hop.late), "after the deadline"),
        plain(flow.open, "under way"),
    ];
    let unsaid = sum(|hop| hop.uncovered).saturating_add(flow.given_up);
    if unsaid > 0 {
        tiles.push(plain(unsaid, "cannot be decided"));
    }
    tiles
}

fn topics(flow: &FlowSummary) -> Vec<(String, String)> {
    let by_name: BTreeMap<&str, String> =
        flow.stages.iter().map(|stage| (stage.topic.as_str(), path("/topics", &stage.topic))).collect();
    by_name.into_iter().map(|(topic, href)| (visible(topic).into_owned(), href)).collect()
}

/// Name, count, whether more than none is wrong, and whether none is shown, too.
type Count = (&'static str, fn(&HopSummary) -> u64, bool, bool);

const COUNTS: [Count; 7] = [
    ("arrived", |hop| hop.matched, false, true),
    ("missing", |hop| hop.missing, true, true),
    ("late", |hop| hop.late, false, true),
    ("other content", |hop| hop.mismatched, true, true),
    ("without cause", |hop| hop.unexpected, true, true),
    ("before cause", |hop| hop.early, false, false),
    ("undecided", |hop| hop.uncovered, false, false),
];

fn named(stage: &StageSummary) -> Option<(String, &HopSummary)> {
    let hop = stage.hop.as_ref()?;
    Some((visible(&format!("{} → {}", hop.after, stage.stage)).into_owned(), hop))
}

impl Hops {
    fn of(flow: &FlowSummary) -> Self {
        let hops: Vec<(String, &HopSummary)> = flow.stages.iter().filter_map(named).collect();
        let is_shown = |(_, count, _, always): &Count| *always || hops.iter().any(|(_, hop)| count(hop) > 0);
        let shown: Vec<Count> = COUNTS.into_iter().filter(is_shown).collect();
        Self {
            counts: shown.iter().map(|(name, ..)| *name).collect(),
            rows: hops.iter().map(|(name, hop)| HopRow::of(name, hop, &shown)).collect(),
            burns: hops.iter().filter_map(|(name, hop)| Some(BurnRow::of(name, hop.burn.as_ref()?))).collect(),
        }
    }
}

impl HopRow {
    fn of(name: &str, hop: &HopSummary, counts: &[Count]) -> Self {
        let unknown = || "–".to_owned();
        let counted = |&(_, count, is_wrong, _): &Count| (thousands(count(hop)), is_wrong && count(hop) > 0);
        Self {
            name: name.to_owned(),
            rule: visible(&hop.rule).into_owned(),
            counts: counts.iter().map(counted).collect(),
            rate: hop.per_second.map_or_else(unknown, |rate| format!("{rate:.1}")),
            latency: hop.latency_ms.map_or_else(|| [0; 5].map(|_| unknown()), |times| times.map(duration)),
        }
    }
}

impl BurnRow {
    fn of(hop: &str, burn: &Burn) -> Self {
        let chip = match burn.is_burning {
            true => Chip { word: "burning".to_owned(), mood: "bad" },
            false => Chip { word: "kept".to_owned(), mood: "good" },
        };
        let rate = |rate: Option<f64>| rate.map_or("–".to_owned(), |rate| format!("{rate:.1}"));
        Self {
            hop: hop.to_owned(),
            objective: format!("{} %", burn.objective * 100.0),
            rates: [burn.m5, burn.m30, burn.h1, burn.h6].map(rate),
            chip,
        }
    }
}
