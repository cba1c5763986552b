//! The default rules: on single windows, on whole histories, on groups, and whatever the clock and the offsets are.

mod groups;
mod histories;
mod shifted;
mod windows;
mod world;

use super::*;
use crate::lag::burrow;
use crate::lag::window::{Commit, Mark, Membership};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

fn commit(timestamp_ms: i64, offset: i64, lag: i64) -> Commit {
    Commit { offset, order: timestamp_ms, timestamp_ms, lag: Some(lag), by_tool: false }
}

fn mark(at_ms: i64, end: i64) -> Mark {
    Mark { at_ms, log_start: 0, stable_end: Some(end), end }
}

/// A window with the end of the log at each commit and at the end of it.
#[derive(Debug)]
struct Made {
    commits: Vec<Commit>,
    marks: Vec<Mark>,
    now_ms: i64,
}

impl Made {
    /// (time, offset, lag) of the commits, and the lag now.
    fn new(of: &[(i64, i64, i64)], now_ms: i64, lag: i64) -> Self {
        let commits: Vec<Commit> = of.iter().map(|(at, offset, lag)| commit(*at, *offset, *lag)).collect();
        let mut marks: Vec<Mark> = of.iter().map(|(at, offset, lag)| mark(*at, offset + lag)).collect();
        marks.extend(commits.last().map(|last| mark(now_ms, last.offset + lag)));
        Self { commits, marks, now_ms }
    }

    fn window(&self) -> Window<'_> {
        Window {
            now_ms: self.now_ms,
            commits: &self.commits,
            exact_commits: true,
            marks: &self.marks,
            read_committed: false,
            membership: Membership::Unknown,
            membership_since_ms: 0,
            owned: None,
            unread_since_ms: Err(Unknown::NotYet),
            moved_ms: None,
            sibling_moved_ms: None,
        }
    }

    fn stable(&self) -> Window<'_> {
        Window { membership: Membership::Stable, owned: Some(true), ..self.window() }
    }
}

fn said(window: &Window<'_>) -> Judgement {
    judge(window, &Thresholds::default())
}

fn verdict(window: &Window<'_>) -> Verdict {
    said(window).verdict
}

fn by_burrow(window: &Window<'_>) -> Verdict {
    burrow::judge(window, &burrow::Settings::default()).verdict
}
