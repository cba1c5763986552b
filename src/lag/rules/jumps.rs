//! Steps back, and leaps over records nobody was given. One walk over the commits, remembering how far the group really
//! read, so that every rewind is seen and one that was made good is forgotten.

use crate::lag::window::{Commit, Mark, Window};

use super::place::Place;
use super::thresholds::{Thresholds, ms};

/// A step back that was not made good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewind {
    /// Furthest position before.
    pub from: i64,
    /// Position the last step back led to.
    pub to: i64,
    /// When the last step back was committed.
    pub at_ms: i64,
    pub steps: i64,
    /// Offsets read twice since the group last stood at its furthest, what is still to be read again included.
    pub reread: i64,
    /// Offsets until the group is where it was.
    pub behind_former: i64,
}

/// A leap over offsets that exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skip {
    pub from: i64,
    pub until: i64,
    pub at_ms: i64,
    pub took_ms: i64,
    pub by_tool: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Jumps {
    pub rewind: Option<Rewind>,
    pub skip: Option<Skip>,
}

/// Slack for clocks, prefetched records and commits that come late.
const SLACK_MS: i64 = 10_000;
/// A tool moves a group once or twice. Commits without a member that keep coming are those of a consumer that assigns
/// its partitions itself.
const TOOL_COMMITS: usize = 2;

impl Jumps {
    pub fn of(window: &Window<'_>, place: &Place<'_>, thresholds: &Thresholds) -> Self {
        let mut jumps = Jumps::default();
        let Some(mut before) = window.commits.first() else { return jumps };
        let mut furthest = before.offset;
        for (at, commit) in window.commits.iter().enumerate().skip(1) {
            if commit.offset < before.offset {
                jumps.step_back(before, commit, &mut furthest);
            } else if commit.offset > furthest {
                if let Some(skip) = skip(window, at, before, furthest, thresholds) {
                    jumps.skip = Some(skip);
                }
                furthest = commit.offset;
                jumps.rewind = None;
            } else if commit.offset == furthest {
                jumps.rewind = None;
            }
            before = commit;
        }
        // Where the log was cut back, nothing can lead beyond its end.
        let reachable = furthest.min(place.mark.end);
        jumps.rewind = jumps.rewind.filter(|_| place.last.offset < reachable);
        if let Some(rewind) = &mut jumps.rewind {
            rewind.behind_former = reachable - place.last.offset;
        }
        jumps
    }

    fn step_back(&mut self, before: &Commit, commit: &Commit, furthest: &mut i64) {
        if let Some(skip) = self.skip.filter(|skip| commit.offset <= skip.from) {
            // Somebody took the leap back: what was leapt over will be read, for the first time.
            *furthest = skip.from;
            self.skip = None;
        }
        let steps = self.rewind.map_or(0, |rewind| rewind.steps) + 1;
        let again = before.offset.min(*furthest).saturating_sub(commit.offset).max(0);
        let reread = self.rewind.map_or(0, |rewind| rewind.reread).saturating_add(again);
        self.rewind = (commit.offset < *furthest).then_some(Rewind {
            from: *furthest,
            to: commit.offset,
            at_ms: commit.timestamp_ms,
            steps,
            reread,
            behind_former: *furthest - commit.offset,
        });
    }
}

/// Whether the commit at `at` leapt over records that nobody was given.
fn skip(window: &Window<'_>, at: usize, before: &Commit, furthest: i64, thresholds: &Thresholds) -> Option<Skip> {
    let commit = &window.commits[at];
    let took_ms = commit.timestamp_ms.saturating_sub(before.timestamp_ms).max(0);
    let by_tool = commit.by_tool && is_tool(&window.commits[..=at], &window.commits[at + 1..]);
    let readable = thresholds.fastest_reader.saturating_mul(took_ms.saturating_add(SLACK_MS)) / 1000;
    if !by_tool && commit.offset - before.offset <= readable {
        return None;
    }
    // Offsets that retention had taken already could not be delivered any more: that is a loss, and said as one.
    let from = furthest.max(log_start_at(window.marks, commit.timestamp_ms));
    let existing = commit.offset - from;
    let is_leap = if by_tool { existing > 0 } else { existing > readable };
    is_leap.then_some(Skip { from, until: commit.offset, at_ms: commit.timestamp_ms, took_ms, by_tool })
}

/// A member read before, and few commits without one have followed.
fn is_tool(until: &[Commit], after: &[Commit]) -> bool {
    let same_run = until.iter().rev().take_while(|commit| commit.by_tool).count();
    let run = same_run + after.iter().take_while(|commit| commit.by_tool).count();
    same_run < until.len() && run <= TOOL_COMMITS
}

/// Log start when the commit was made. Without a mark from before it, the oldest one: later starts would hide a leap.
fn log_start_at(marks: &[Mark], at_ms: i64) -> i64 {
    let before = marks.iter().rev().find(|mark| mark.at_ms <= at_ms).or(marks.first());
    before.map_or(0, |mark| mark.log_start)
}

/// Whether a step back is so small and so fresh that a rebalance explains it: the new owner began where the old one
/// had committed last, and will be past it at once.
pub fn is_slight(rewind: &Rewind, window: &Window<'_>, now_ms: i64, thresholds: &Thresholds) -> bool {
    let grace_ms = ms(thresholds.rewind_grace);
    let (Some(first), Some(last)) = (window.commits.first(), window.commits.last()) else { return false };
    let span_ms = last.timestamp_ms.saturating_sub(first.timestamp_ms).max(1);
    // What was read before the step back, per millisecond of the whole window: rather too slow than too fast.
    let read = rewind.from.saturating_sub(first.offset).max(0);
    let within_grace = (read as f64 / span_ms as f64 * grace_ms as f64) as i64;
    !last.by_tool && now_ms.saturating_sub(rewind.at_ms) < grace_ms && rewind.behind_former <= within_grace
}
