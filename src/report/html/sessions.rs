//! Where numbers are missing in each session, the worst session first.

use super::Listing;
use super::strips::WIDTH;
use crate::audit::finding::{Finding, Kind, Span};
use crate::report::format::{plural, runs, shorten, span};
use crate::report::group::{SessionRuns, session_runs};

const SESSIONS: usize = 50;
/// Numbers the axis spans at least.
const LEAST: i64 = 100;

pub struct SessionRow {
    pub session: String,
    pub topic: String,
    pub missing: String,
    pub runs: String,
    pub axis: String,
    /// Position and width of each mark.
    pub marks: Vec<(String, String)>,
}

pub fn sessions(findings: &[Finding]) -> Listing<SessionRow> {
    let is_loss = |f: &&Finding| matches!(f.kind, Kind::SequenceGap | Kind::HeadLoss | Kind::TailLoss) && f.is_open();
    Listing::of(&session_runs(findings.iter().filter(is_loss)), SESSIONS, row)
}

fn row(session: &SessionRuns<'_>) -> SessionRow {
    let first = session.runs.first().map_or(0, |run| run.from);
    let last = session.runs.last().map_or(0, |run| run.until);
    // Some numbers around them: a single number must look like one, not like the whole session.
    let length = last.saturating_sub(first);
    let margin = (length / 20).max((LEAST - length) / 2).max(1);
    let axis = Span::new(first.saturating_sub(margin).max(first.min(0)), last.saturating_add(margin));
    SessionRow {
        session: shorten(session.session, 40),
        topic: shorten(session.topic, 60),
        missing: plural(session.numbers, "number"),
        runs: runs(&session.runs, 2),
        axis: span(axis),
        marks: marks(&session.runs, axis),
    }
}

/// Runs closer than a pixel become one mark, so there are never more marks than pixels.
fn marks(runs: &[Span], axis: Span) -> Vec<(String, String)> {
    let length = axis.len().max(1) as f64;
    let at = |number: i64| number.saturating_sub(axis.from) as f64 / length * WIDTH;
    let mut marks: Vec<(f64, f64)> = Vec::new();
    for run in runs {
        let (from, until) = (at(run.from), at(run.until).max(at(run.from) + 2.0));
        match marks.last_mut() {
            Some(last) if from < last.1 + 1.0 => last.1 = last.1.max(until),
            _ => marks.push((from, until)),
        }
    }
    marks.into_iter().map(|(from, until)| (format!("{from:.1}"), format!("{:.1}", until - from))).collect()
}
