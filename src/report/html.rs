//! One self-contained page: inline style, inline SVG, no script, nothing fetched. The template only places what is
//! prepared here; every foreign text passes [`visible`], and the template engine escapes it.
//!
//! Each part has a limit, so the page opens whatever the audit found. What is left out is in the JSON report.

mod bars;
pub(crate) mod flow;
pub(crate) mod residues;
mod sessions;
pub(crate) mod strips;
mod timeline;

use std::io::{self, Write};

use askama::Template;

use self::bars::Chart;
use self::flow::Drawing;
use self::residues::Plot;
use self::sessions::SessionRow;
use self::strips::Strips;
use self::timeline::Timeline;
use super::format::{ago, bytes, percent, plural, seconds, shorten, thousands, utc, visible};
use super::group::{self, Group};
use super::topics::{self, TopicCoverage};
use super::words::Looked;
use super::{Context, words};
use crate::audit::coverage::{Hole, Holes};
use crate::audit::finding::{Finding, Grade};
use crate::audit::verdict::{Report, Verdict};

/// Findings in the table of one group, and in all tables together.
const ROWS: usize = 200;
const ALL_ROWS: usize = 4_000;
const GROUPS: usize = 200;
const TOPICS: usize = 500;
const PLOTS: usize = 20;
/// Unread parts, notes and samples.
const LISTED: usize = 100;

#[derive(Template)]
#[template(path = "report.html")]
struct View {
    source: String,
    verdict: &'static str,
    /// `good`, `warn` or `bad`: always beside the word, never instead of it.
    mood: &'static str,
    headline: String,
    exit: u8,
    isolation: Option<&'static str>,
    at: String,
    took: String,
    ledger: Option<String>,
    tiles: Vec<Tile>,
    unread: Listing<(String, String)>,
    notes: Listing<String>,
    not_checked: Listing<String>,
    samples: Listing<String>,
    /// Open and resolved, each below its heading.
    findings: [(&'static str, Listing<GroupView>); 2],
    flow: Option<Drawing>,
    /// Of each comparison: its pair's name, and what is said of its stores.
    stores: Vec<(Option<String>, Vec<String>)>,
    plots: Listing<Plot>,
    searched: Listing<String>,
    topics: Listing<TopicView>,
    strips: Strips,
    timeline: Option<Timeline>,
    sessions: Listing<SessionRow>,
    charts: Vec<Chart>,
}

/// What is shown, and how many more there are.
pub(crate) struct Listing<T> {
    pub(crate) shown: Vec<T>,
    pub(crate) more: usize,
}

impl<T> Listing<T> {
    pub(crate) fn of<S>(all: &[S], limit: usize, view: impl FnMut(&S) -> T) -> Self {
        Self { shown: all.iter().take(limit).map(view).collect(), more: all.len().saturating_sub(limit) }
    }
}

struct Tile {
    number: String,
    word: String,
    is_bad: bool,
}

struct GroupView {
    kind: &'static str,
    topic: String,
    records: String,
    grade: &'static str,
    mood: &'static str,
    cause: String,
    extent: String,
    meaning: &'static str,
    doubt: Option<&'static str>,
    when: String,
    rows: Listing<Row>,
}

struct Row {
    place: String,
    count: String,
    when: String,
    why: String,
    seen: String,
    evidence: String,
    id: String,
}

struct TopicView {
    name: String,
    partitions: usize,
    offsets: String,
    read: String,
    records: String,
    holes: String,
    alarm: String,
}

pub(super) fn write(report: &Report, context: &Context, out: &mut dyn Write) -> io::Result<()> {
    view(report, context).write_into(out)
}

fn view(report: &Report, context: &Context) -> View {
    let summary = &report.summary;
    let groups = group::groups(&report.findings);
    let (open, resolved): (Vec<_>, Vec<_>) = groups.iter().partition(|g| g.is_open());
    let mut budget = ALL_ROWS;
    let mut group_view = |group: &&Group<'_>| {
        let view = GroupView::of(group, ROWS.min(budget), context);
        budget -= view.rows.shown.len();
        view
    };
    View {
        source: clean(&context.source),
        verdict: summary.verdict.name(),
        mood: match summary.verdict {
            Verdict::Clean => "good",
            Verdict::Inconclusive => "warn",
            Verdict::Findings | Verdict::Unverified => "bad",
        },
        headline: words::headline(report),
        exit: summary.exit,
        isolation: report.coverage.first().map(|c| c.isolation.name()),
        at: utc(context.now_ms),
        took: seconds(summary.seconds),
        ledger: summary.ledger.as_deref().map(clean),
        tiles: tiles(report),
        unread: Listing::of(&summary.unread, LISTED, |part| (words::unread_place(part), clean(&part.why))),
        notes: Listing::of(&summary.notes, LISTED, |note| clean(note)),
        not_checked: Listing::of(&words::not_checked(report), LISTED, String::clone),
        samples: Listing::of(&summary.samples, LISTED, |sample| clean(sample)),
        findings: [
            ("Findings", Listing::of(&open, GROUPS, &mut group_view)),
            ("Resolved", Listing::of(&resolved, GROUPS, &mut group_view)),
        ],
        flow: summary.flow.as_ref().map(flow::drawing),
        stores: summary.drifts().map(|(pair, drift)| (pair.map(clean), super::drift::lines(drift))).collect(),
        plots: plots(&report.findings),
        searched: Listing::of(&words::searched(report), LISTED, String::clone),
        topics: Listing::of(&topics::topics(&report.coverage), TOPICS, TopicView::of),
        strips: strips::strips(&report.pictures, &report.findings),
        timeline: timeline::timeline(&report.findings),
        sessions: sessions::sessions(&report.findings),
        charts: bars::charts(&summary.figures),
    }
}

fn plots(findings: &[Finding]) -> Listing<Plot> {
    let open = findings.iter().filter(|finding| finding.is_open());
    let all: Vec<Plot> = open.filter_map(residues::plot).collect();
    let more = all.len().saturating_sub(PLOTS);
    Listing { shown: all.into_iter().take(PLOTS).collect(), more }
}

fn tiles(report: &Report) -> Vec<Tile> {
    let figures = &report.summary.figures;
    let plain = |number: String, word: String| Tile { number, word, is_bad: false };
    let mut tiles =
        vec![plain(thousands(figures.records), "records".to_owned()), plain(bytes(figures.bytes), "read".to_owned())];
    if figures.sessions > 0 {
        tiles.push(plain(thousands(figures.sessions), "sessions".to_owned()));
    }
    let drifts: Vec<_> = report.summary.drifts().map(|(_, drift)| drift).collect();
    if report.summary.is_of_stores() {
        let tile = |(count, word): (u64, &str)| Tile {
            number: thousands(count),
            word: word.to_owned(),
            is_bad: count > 0 && word != super::drift::NOT_COPIED,
        };
        tiles.extend(super::drift::found(&drifts).into_iter().map(tile));
        tiles.push(plain(thousands(super::drift::unverifiable(&drifts)), "not verifiable".to_owned()));
        return tiles;
    }
    let unread = report.coverage.iter().map(|c| topics::unread(&c.holes)).sum();
    if unread > 0 {
        tiles.push(Tile { number: thousands(unread), word: "offsets not read".to_owned(), is_bad: true });
    }
    tiles.extend(words::harm(report).into_iter().map(|harm| match harm.looked {
        Looked::Nowhere if harm.number == 0 => plain("–".to_owned(), harm.word.to_owned() + ": not checked"),
        Looked::Except(missed, topics) => Tile {
            number: thousands(harm.number),
            word: format!("{}; not checked on {missed} of {topics} topics", harm.word),
            is_bad: harm.number > 0,
        },
        _ => Tile { number: thousands(harm.number), word: harm.word.to_owned(), is_bad: harm.number > 0 },
    }));
    tiles
}

impl GroupView {
    fn of(group: &Group<'_>, rows: usize, context: &Context) -> Self {
        let when = match (group.first, group.last) {
            (Some(first), Some(last)) => {
                format!("{} to {} ({})", utc(first), utc(last), ago(last, context.now_ms))
            }
            _ => String::new(),
        };
        Self {
            kind: group.kind.name(),
            topic: clean(group.topic),
            records: plural(group.records, "record"),
            grade: if group.is_open() { group.grade.name() } else { "resolved" },
            mood: match group.grade {
                _ if !group.is_open() => "good",
                Grade::Proven => "bad",
                Grade::Possible | Grade::Unknown => "warn",
            },
            cause: clean(&words::cause(group)),
            extent: words::extent(group),
            meaning: words::meaning(group),
            doubt: words::doubt(group.grade),
            when,
            rows: Listing::of(&group.findings, rows, |finding| Row::of(finding)),
        }
    }
}

impl Row {
    fn of(finding: &Finding) -> Self {
        // How losses lie over the residues is drawn.
        let told = finding.evidence.iter().filter(|(name, _)| *name != "residues");
        let evidence: Vec<String> = told.map(|(name, value)| format!("{name} {value}")).collect();
        let value = finding.identity.as_ref().and_then(|identity| identity.value.as_deref());
        Self {
            place: words::coordinates(finding),
            count: thousands(finding.count),
            when: group::times(finding).map(|(first, _)| utc(first)).unwrap_or_default(),
            why: clean(&finding.why),
            seen: [value.map(|value| shorten(value, 60)), words::sightings(finding, 6)]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(" "),
            evidence: shorten(&evidence.join(", "), 200),
            id: clean(&finding.id),
        }
    }
}

impl TopicView {
    fn of(topic: &TopicCoverage<'_>) -> Self {
        let explained = Holes { unfetched: 0, unreadable: 0, unknown: 0, unexplained: 0, ..topic.holes };
        let alarms = topics::ALARMING.into_iter().filter(|&hole| topic.holes.get(hole) > 0);
        let alarm = |hole: Hole| format!("{} {}", thousands(topic.holes.get(hole)), hole.name().to_uppercase());
        Self {
            name: clean(topic.topic),
            partitions: topic.partitions.len(),
            offsets: thousands(topic.offsets),
            read: percent(topic.read(), topic.offsets),
            records: thousands(topic.records),
            holes: words::holes(&explained),
            alarm: alarms.map(alarm).collect::<Vec<_>>().join(", "),
        }
    }
}

fn clean(text: &str) -> String {
    visible(text).into_owned()
}
