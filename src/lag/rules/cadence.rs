//! How long the pauses of a group usually are. Time in which nothing was there to read does not count as a pause:
//! a consumer of a quiet topic is not slow.

use crate::lag::window::Window;

use super::thresholds::{Thresholds, ms};

/// Newest pauses looked at.
const MOST: usize = 64;
/// Fewer pauses say little about what is usual.
const FEWEST: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cadence {
    pub median_ms: i64,
    /// Nine of ten pauses are not longer.
    pub usual_ms: i64,
    pub longest_ms: i64,
    pub pauses: usize,
}

/// Which commits end a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Every commit.
    Commits,
    /// Only those that move on.
    Progress,
}

impl Cadence {
    pub fn of(window: &Window<'_>, of: Of) -> Option<Self> {
        let mut pauses = [0i64; MOST];
        let mut count = 0;
        let mut marks = window.marks.iter().peekable();
        let mut commits = window.commits.iter();
        let mut before = *commits.next()?;
        // Until then there certainly was nothing beyond `before` to read.
        let mut idle_until = before.timestamp_ms;
        for commit in commits {
            if commit.lag == Some(0) && commit.offset == before.offset {
                // Nothing to do, and it says so.
                idle_until = idle_until.max(commit.timestamp_ms);
                if of == Of::Progress {
                    continue;
                }
            }
            if of == Of::Progress && commit.offset == before.offset {
                continue;
            }
            while let Some(mark) = marks.next_if(|mark| mark.at_ms <= commit.timestamp_ms) {
                if mark.end_for(window.read_committed) <= before.offset {
                    idle_until = idle_until.max(mark.at_ms);
                }
            }
            let from = if of == Of::Commits { idle_until.max(before.timestamp_ms) } else { idle_until };
            // A step back is somebody's decision, not the consumer's rhythm.
            if commit.offset >= before.offset {
                pauses[count % MOST] = commit.timestamp_ms.saturating_sub(from).max(0);
                count += 1;
            }
            before = *commit;
            idle_until = before.timestamp_ms;
        }
        let pauses = &mut pauses[..count.min(MOST)];
        pauses.sort_unstable();
        let longest_ms = *pauses.last()?;
        let at = |share: usize| pauses[(pauses.len() - 1) * share / 10];
        // Of few pauses nine of ten are all.
        let usual_ms = if pauses.len() < 10 { longest_ms } else { at(9) };
        Some(Self { median_ms: at(5), usual_ms, longest_ms, pauses: pauses.len() })
    }

    /// A pause longer than this is out of the ordinary.
    pub fn bound_ms(cadence: Option<Self>, least_ms: i64, thresholds: &Thresholds) -> i64 {
        let times = |ms: i64, factor: f64| (ms as f64 * factor) as i64;
        match cadence {
            Some(known) if known.pauses >= FEWEST => {
                let factor = thresholds.cadence_factor.max(1.0);
                // One long pause is borne again, with less to spare.
                let longest = times(known.longest_ms, (factor * 0.75).max(1.0));
                least_ms.max(times(known.usual_ms, factor)).max(longest)
            }
            // With next to no past, only what is long for anybody.
            Some(few) => least_ms.max(ms(thresholds.max_time_lag)).max(times(few.longest_ms, 2.0)),
            None => least_ms.max(ms(thresholds.max_time_lag)),
        }
    }

    /// The same where nobody is there, which is a sign by itself: that little is known of the past, because a group left
    /// after its second commit, is no reason to bear more than twice what it paused.
    pub fn bound_alone_ms(self, least_ms: i64, thresholds: &Thresholds) -> i64 {
        if self.pauses < FEWEST {
            return least_ms.max(self.longest_ms.saturating_mul(2));
        }
        Self::bound_ms(Some(self), least_ms, thresholds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lag::figure::Unknown;
    use crate::lag::window::{Commit, Mark, Membership};

    fn window<'a>(commits: &'a [Commit], marks: &'a [Mark]) -> Window<'a> {
        Window {
            now_ms: 0,
            commits,
            exact_commits: true,
            marks,
            read_committed: false,
            membership: Membership::Stable,
            membership_since_ms: 0,
            owned: None,
            unread_since_ms: Err(Unknown::NotYet),
            moved_ms: None,
            sibling_moved_ms: None,
        }
    }

    fn commit(at_ms: i64, offset: i64, lag: i64) -> Commit {
        Commit { offset, order: at_ms, timestamp_ms: at_ms, lag: Some(lag), by_tool: false }
    }

    #[test]
    fn quiet_hours_are_no_pauses() {
        let hour = 3_600_000;
        // A record an hour; it is there at the mark and committed three seconds later.
        let commits: Vec<Commit> = (0..6).map(|n| commit(n * hour + 3_000, n, 0)).collect();
        let marks: Vec<Mark> = (0..360)
            .map(|n| Mark { at_ms: n * 60_000, log_start: 0, stable_end: None, end: n / 60 })
            .map(|mark| Mark { at_ms: mark.at_ms - 1, ..mark })
            .collect();
        let cadence = Cadence::of(&window(&commits, &marks), Of::Progress).unwrap();
        assert!(cadence.longest_ms < 70_000, "{cadence:?}");
        assert!(Cadence::of(&window(&commits, &[]), Of::Progress).unwrap().longest_ms == hour);
    }

    #[test]
    fn commits_that_repeat_an_offset_count_as_commits_only() {
        let commits: Vec<Commit> = (0..30).map(|n| commit(n * 5_000, n / 10, 7)).collect();
        let of = |of| Cadence::of(&window(&commits, &[]), of).unwrap();
        assert_eq!((of(Of::Commits).longest_ms, of(Of::Commits).pauses), (5_000, 29));
        assert_eq!((of(Of::Progress).longest_ms, of(Of::Progress).pauses), (50_000, 2));
    }
}
