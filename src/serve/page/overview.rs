//! The first page: the verdict in one sentence, then what is open, what changed, who is in trouble, what audits say.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;

use super::drifts::PairView;
use super::groups::GroupRow;
use super::parts::{Chip, IncidentRow, audit_mood, expected, title};
use super::{Shell, path, render};
use crate::alert::incident::Severity;
use crate::lag::snapshot::{Snapshot, VolumeRoom};
use crate::lag::verdict::Verdict;
use crate::report::format::{ago, bytes, percent, plural, seconds, shorten, thousands, visible};
use crate::report::html::Listing;
use crate::report::{topics, words};
use crate::serve::app::App;
use crate::serve::board::{AuditView, SinkView};
use crate::serve::guard::Caller;
use crate::serve::health;
use crate::serve::metrics::incident_state;

const DAY_MS: i64 = 24 * 3_600_000;
const CHANGES: usize = 12;
const INCIDENTS: usize = 50;
const BAD: usize = 50;
const FLEET: usize = 1_000;
const TOPICS: usize = 12;

#[derive(Template)]
#[template(path = "serve/overview.html")]
struct View {
    shell: Shell,
    mood: &'static str,
    word: &'static str,
    round: String,
    troubles: Vec<String>,
    incidents: Vec<IncidentRow>,
    changes: Vec<Changed>,
    counts: Vec<(Chip, String, String)>,
    /// Link, mood and name of every group.
    fleet: Listing<(String, &'static str, String)>,
    bad: Listing<GroupRow>,
    audits: Vec<AuditCard>,
    pairs: Vec<PairView>,
    sinks: Vec<SinkRow>,
    volumes: Vec<VolumeRow>,
}

struct VolumeRow {
    name: String,
    usable: String,
    share: String,
    /// When it is full, what that rests on, and whether that is soon.
    full: Option<(String, String, bool)>,
}

/// A volume that is full within this time is alarming.
const SOON_MS: i64 = 3 * DAY_MS;

impl VolumeRow {
    fn of(volume: &VolumeRoom, now_ms: i64) -> Self {
        let unsigned = |n: i64| n.max(0).unsigned_abs();
        let full = volume.forecast.as_ref().map(|forecast| {
            let is_soon = forecast.at_ms.is_some_and(|at_ms| at_ms < now_ms.saturating_add(SOON_MS));
            let (what, assumption) = expected(forecast, now_ms);
            (what, assumption, is_soon)
        });
        Self {
            name: format!("broker {}: {}", volume.broker, shorten(&volume.path, 80)),
            usable: format!("{} of {}", bytes(unsigned(volume.usable_bytes)), bytes(unsigned(volume.total_bytes))),
            share: percent(unsigned(volume.usable_bytes), unsigned(volume.total_bytes)),
            full,
        }
    }
}

struct Changed {
    at_ms: i64,
    chip: Chip,
    href: String,
    title: String,
    when: String,
    why: String,
}

struct AuditCard {
    name: String,
    mood: &'static str,
    chip: Chip,
    headline: String,
    trouble: Option<String>,
    figures: String,
    coverage: String,
    pace: String,
    topics: Vec<(String, String)>,
}

struct SinkRow {
    name: String,
    delivered: String,
    failed: String,
    waiting: String,
    error: Option<String>,
}

pub async fn show(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>) -> Response {
    let now_ms = app.now_ms();
    let lag = app.board.lag.load();
    let audits = app.board.audits.load();
    let incidents = app.board.incidents.load();
    let sinks = app.board.sinks.load();
    let parts = health::silent(&app.board, now_ms);

    let open: Vec<_> = incidents.iter().filter(|i| i.is_open()).collect();
    let unseen =
        |severity| open.iter().filter(|i| i.severity == severity && incident_state(i, now_ms) == "open").count() as u64;
    let mut bad: Vec<_> = lag.groups.iter().filter(|g| g.judgement.verdict.is_bad()).collect();
    bad.sort_by_key(|g| (std::cmp::Reverse(g.judgement.verdict), g.group.clone()));
    let unclean = audits.values().filter(|a| is_unclean(a)).count() as u64;

    let (mood, word) = match () {
        () if unseen(Severity::Critical) > 0 || !parts.is_empty() => ("bad", "Trouble"),
        () if !open.is_empty() || !bad.is_empty() || unclean > 0 || !lag.troubles.is_empty() => ("warn", "Look here"),
        () if lag.at_ms == 0 && audits.values().all(|a| a.report.is_none()) => ("", "Nothing is known yet"),
        () => ("good", "All is well"),
    };
    let mut says = Vec::new();
    if !open.is_empty() {
        let critical = open.iter().filter(|i| i.severity == Severity::Critical).count() as u64;
        says.push(format!("{} open, {} of them critical", plural(open.len() as u64, "incident"), thousands(critical)));
    }
    if lag.at_ms > 0 {
        says.push(match bad.len() {
            0 => format!("none of {} is in trouble", plural(lag.groups.len() as u64, "group")),
            some => format!("{some} of {} in trouble", plural(lag.groups.len() as u64, "group")),
        });
    }
    if !audits.is_empty() {
        says.push(match unclean {
            0 => format!("{} clean", plural(audits.len() as u64, "audit")),
            some => format!("{some} of {} not clean", plural(audits.len() as u64, "audit")),
        });
    }
    let says = if says.is_empty() { "sordini has just started.".to_owned() } else { says.join("; ") + "." };

    render(&View {
        shell: Shell::new(&app, &caller, "Overview", word, says),
        mood,
        word,
        round: round(&lag, now_ms),
        troubles: lag.troubles.iter().map(|t| visible(t).into_owned()).chain(parts).collect(),
        incidents: open.iter().take(INCIDENTS).map(|i| IncidentRow::of(i, now_ms)).collect(),
        changes: changes(&app, &lag, now_ms),
        counts: counts(&lag),
        fleet: Listing::of(&lag.groups, FLEET, |group| {
            let name = format!("{}: {}", shorten(&group.group, 80), group.judgement.verdict);
            (path("/groups", &group.group), super::parts::mood(group.judgement.verdict), name)
        }),
        bad: Listing::of(&bad, BAD, |group| GroupRow::of(group)),
        audits: audits.values().map(|audit| AuditCard::of(audit, now_ms)).collect(),
        pairs: app.board.drifts.load().values().map(PairView::of).collect(),
        sinks: sinks.iter().map(SinkRow::of).collect(),
        volumes: lag.volumes.iter().map(|volume| VolumeRow::of(volume, now_ms)).collect(),
    })
}

fn is_unclean(audit: &AuditView) -> bool {
    audit.trouble.is_some() || audit.report.as_ref().is_some_and(|r| audit_mood(r.summary.verdict) != "good")
}

fn round(lag: &Snapshot, now_ms: i64) -> String {
    if lag.at_ms == 0 {
        return "The cluster has not been asked yet.".to_owned();
    }
    let round = &lag.round;
    format!(
        "{} of {} judged; asked {} within {} by {}",
        thousands(round.evaluated as u64),
        plural(round.expected as u64, "group-partition"),
        ago(lag.at_ms, now_ms),
        seconds(round.seconds),
        plural(round.requests, "request"),
    )
}

fn counts(lag: &Snapshot) -> Vec<(Chip, String, String)> {
    let of = |verdict| lag.groups.iter().filter(|g| g.judgement.verdict == verdict).count() as u64;
    let known = Verdict::ALL.into_iter().rev().filter(|&verdict| of(verdict) > 0);
    known.map(|v| (Chip::verdict(v), thousands(of(v)), format!("/groups?verdict={v}"))).collect()
}

fn changes(app: &App, lag: &Snapshot, now_ms: i64) -> Vec<Changed> {
    let mut all: Vec<Changed> = Vec::new();
    for group in &lag.groups {
        // The first entry is where looking began, not a change.
        for change in group.history.iter().skip(1).filter(|change| change.at_ms > now_ms - DAY_MS) {
            all.push(Changed {
                at_ms: change.at_ms,
                chip: Chip::verdict(change.verdict),
                href: path("/groups", &group.group),
                title: shorten(&group.group, 60),
                when: ago(change.at_ms, now_ms),
                why: shorten(&change.why, 200),
            });
        }
    }
    for incident in app.board.incidents.load().iter() {
        let moments = [
            (incident.opened_ms, "opened", super::parts::severity_mood(incident.severity)),
            (incident.acknowledged.as_ref().map(|a| a.at_ms), "acknowledged", ""),
            (incident.resolved_ms, "resolved", "good"),
        ];
        for (at_ms, word, mood) in moments {
            if let Some(at_ms) = at_ms.filter(|&at_ms| at_ms > now_ms - DAY_MS) {
                all.push(Changed {
                    at_ms,
                    chip: Chip { word: word.to_owned(), mood },
                    href: path("/incidents", &incident.id),
                    title: title(incident),
                    when: ago(at_ms, now_ms),
                    why: shorten(&incident.observed.why, 200),
                });
            }
        }
    }
    all.sort_by_key(|change| std::cmp::Reverse(change.at_ms));
    all.truncate(CHANGES);
    all
}

impl AuditCard {
    fn of(audit: &AuditView, now_ms: i64) -> Self {
        let report = audit.report.as_deref();
        let (mut figures, mut coverage, mut topics_read) = (String::new(), String::new(), Vec::new());
        if let Some(report) = report {
            let read = &report.summary.figures;
            let volume = format!("{}, {} read", plural(read.records, "record"), bytes(read.bytes));
            figures = format!("{volume}; {}", words::harm_line(report));
            let all = topics::topics(&report.coverage);
            let (read, offsets) = all.iter().fold((0, 0), |(r, o), t| (r + t.read(), o + t.offsets));
            coverage = match offsets {
                0 => "nothing covered yet".to_owned(),
                _ => format!("{} of {} read or explained", percent(read, offsets), plural(offsets, "offset")),
            };
            let link = |t: &topics::TopicCoverage<'_>| (shorten(t.topic, 60), path("/topics", t.topic));
            topics_read = all.iter().take(TOPICS).map(link).collect();
        }
        let mut pace = match audit.behind {
            Some(behind) => format!("{} behind", plural(behind.max(0).unsigned_abs(), "offset")),
            None => "how far it is behind is not known yet".to_owned(),
        };
        pace += &format!(", {} records/s", thousands(audit.records_per_second.max(0.0) as u64));
        if report.is_some() {
            pace += &format!(", as of {}", ago(audit.at_ms, now_ms));
        }
        if audit.restarts > 0 {
            pace += &format!(", started again {}", plural(audit.restarts, "time"));
        }
        let unknown = || Chip { word: "no commit yet".to_owned(), mood: "" };
        Self {
            name: visible(&audit.name).into_owned(),
            mood: report.map_or("", |r| audit_mood(r.summary.verdict)),
            chip: report.map_or_else(unknown, |r| Chip::audit(r.summary.verdict)),
            headline: report.map(words::headline).unwrap_or_default(),
            trouble: audit.trouble.as_deref().map(|t| visible(t).into_owned()),
            figures,
            coverage,
            pace,
            topics: topics_read,
        }
    }
}

impl SinkRow {
    fn of(sink: &SinkView) -> Self {
        Self {
            name: format!("{} ({})", visible(&sink.name), sink.kind),
            delivered: thousands(sink.delivered),
            failed: thousands(sink.failed),
            waiting: thousands(sink.waiting),
            error: sink.last_error.as_deref().map(|error| visible(error).into_owned()),
        }
    }
}
