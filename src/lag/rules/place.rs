//! Where the group stands in a window: what is unread, since when, and since when the group has not moved.

use crate::lag::figure::Unknown;
use crate::lag::window::{Commit, Mark, Window};

use super::thresholds::Thresholds;

/// What all rules look at, worked out once.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub last: &'a Commit,
    pub mark: &'a Mark,
    /// Offsets from max(committed, log start) to the end.
    pub lag: i64,
    /// Offsets that retention took below the commit.
    pub lost: i64,
    pub now_ms: i64,
    /// Only one look was taken: nothing tells how things move.
    pub is_single: bool,
}

impl<'a> Place<'a> {
    pub fn of(window: &Window<'a>) -> Result<Self, Unknown> {
        let last = window.commits.last().ok_or(Unknown::NeverCommitted)?;
        let mark = window.marks.last().ok_or(Unknown::NotYet)?;
        // A commit that is newer than the newest look at the end may well lie beyond it.
        if last.offset > mark.end && last.timestamp_ms < mark.at_ms.saturating_sub(SKEW_MS) {
            return Err(Unknown::OtherLog);
        }
        let end = mark.end_for(window.read_committed);
        let from = last.offset.max(mark.log_start);
        Ok(Self {
            last,
            mark,
            lag: end.saturating_sub(from).max(0),
            lost: mark.log_start.saturating_sub(last.offset).max(0),
            now_ms: window.now_ms,
            is_single: window.commits.len() == 1 && window.marks.len() == 1,
        })
    }

    /// The records beyond the allowed lag have waited since then, at the latest. Their own times are only believed
    /// as far as the marks allow: a producer's clock may be wrong, and old records may be written again. That they
    /// came later than the end passed the position may well be, when it was a marker that lay there.
    pub fn waiting_since(&self, window: &Window<'_>, thresholds: &Thresholds) -> i64 {
        let floor = self.last.offset.max(self.mark.log_start).saturating_add(thresholds.allowed_lag);
        let is_above = |mark: &&Mark| mark.end_for(window.read_committed) > floor;
        let above = window.marks.iter().rev().take_while(is_above).count();
        let first_above = window.marks.len() - above;
        let at_most = window.marks.get(first_above).map_or(self.now_ms, |mark| mark.at_ms).min(self.now_ms);
        let before = first_above.checked_sub(1).map(|at| window.marks[at].at_ms);
        let (before, at_most) = by_commits(window, floor, before, at_most);
        let before = before.map(|at_ms| at_ms.min(at_most));
        match (window.unread_since_ms, before) {
            // From the future, cut to now: either it just came, or that clock is wrong and much more has come since.
            (Ok(since), _) if since >= self.now_ms - 1 => {
                let beyond = |mark: &&Mark| mark.end_for(window.read_committed) > floor.saturating_add(MARKERS);
                window.marks.iter().rev().take_while(beyond).last().map_or(self.now_ms, |mark| mark.at_ms)
            }
            (Ok(since), before) => since.max(before.unwrap_or(since)),
            (Err(_), _) => at_most,
        }
    }

    /// When the group last made progress. With commits that repeat their offset the first of them counts.
    pub fn moved_at(&self, window: &Window<'_>) -> i64 {
        let at_last = window.commits.iter().rev().take_while(|commit| commit.offset == self.last.offset);
        let run_start = at_last.last().unwrap_or(self.last).timestamp_ms;
        let is_whole_window =
            window.commits[0].offset == self.last.offset && window.commits[0].timestamp_ms == run_start;
        match window.moved_ms {
            // What is remembered reaches further back than the window does.
            Some(moved) if is_whole_window => moved.min(run_start),
            _ => run_start,
        }
        .min(self.now_ms)
    }
}

/// The same bounds from what was known of the end at each commit.
fn by_commits(window: &Window<'_>, floor: i64, mut before: Option<i64>, mut at_most: i64) -> (Option<i64>, i64) {
    // These lags reach to the high watermark, which committed readers do not read to.
    let commits = if window.read_committed { &[] } else { window.commits };
    for commit in commits.iter().rev() {
        let Some(lag) = commit.lag else { continue };
        if commit.offset.saturating_add(lag) <= floor {
            before = Some(before.map_or(commit.timestamp_ms, |at_ms| at_ms.max(commit.timestamp_ms)));
            break;
        }
        at_most = at_most.min(commit.timestamp_ms);
    }
    (before, at_most)
}

/// So many markers may lie between the position and the next record.
const MARKERS: i64 = 16;
/// Clocks of brokers and of this machine may differ by this much.
pub const SKEW_MS: i64 = 10_000;
