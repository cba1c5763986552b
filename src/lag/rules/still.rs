//! Nobody there, nobody committing, or no progress: all that is judged by how long nothing happened while something was
//! there to read.

use crate::lag::verdict::{Judgement, Verdict};
use crate::lag::window::{Membership, Window};
use crate::report::format::{duration, plural, thousands};

use super::cadence::{Cadence, Of};
use super::place::Place;
use super::thresholds::{Thresholds, ms};
use super::{say, span};

/// How long nothing happened, each counted from when there was something to read.
struct Still<'a> {
    window: &'a Window<'a>,
    place: &'a Place<'a>,
    thresholds: &'a Thresholds,
    /// Since the last commit.
    silent_ms: i64,
    /// Since the last progress.
    standing_ms: i64,
    waited_ms: i64,
    arrived_ms: i64,
    moved_ms: i64,
}

pub fn judge<'a>(window: &'a Window<'a>, place: &'a Place<'a>, thresholds: &'a Thresholds) -> Option<Judgement> {
    let now = place.now_ms;
    let rebalancing_ms = now.saturating_sub(window.membership_since_ms);
    let is_rebalancing =
        window.membership == Membership::Rebalancing && rebalancing_ms < ms(thresholds.rebalance_within);
    // While partitions are being shared out nobody reads. What was silent before stays so.
    let until = if is_rebalancing { window.membership_since_ms.min(now) } else { now };
    let arrived_ms = place.waiting_since(window, thresholds);
    let moved_ms = place.moved_at(window);
    let still = Still {
        window,
        place,
        thresholds,
        silent_ms: until.saturating_sub(place.last.timestamp_ms.min(now).max(arrived_ms)),
        standing_ms: until.saturating_sub(moved_ms.max(arrived_ms)),
        waited_ms: now.saturating_sub(arrived_ms),
        arrived_ms,
        moved_ms,
    };
    still.no_owner().or_else(|| still.stopped())
}

impl Still<'_> {
    fn is_unowned(&self) -> bool {
        match self.window.membership {
            Membership::Empty => true,
            Membership::Stable => self.window.owned == Some(false),
            Membership::Unknown | Membership::Rebalancing => false,
        }
    }

    /// Time without a sign of life, as far as commits can tell.
    fn quiet_ms(&self) -> i64 {
        if self.window.exact_commits { self.silent_ms } else { self.standing_ms }
    }

    fn no_owner(&self) -> Option<Judgement> {
        if !self.is_unowned() {
            return None;
        }
        let least = ms(self.thresholds.no_owner_after);
        let alone_ms = self.place.now_ms.saturating_sub(self.window.membership_since_ms);
        if self.place.is_single {
            // One look tells since when the record is there, and nothing else.
            if self.waited_ms < least {
                return None;
            }
        } else {
            // A consumer that assigns its partitions itself has no members and commits nevertheless; one that runs by
            // the hour is away most of the time.
            let cadence = Cadence::of(self.window, self.commits_or_progress());
            let bound = cadence.map_or(least, |cadence| cadence.bound_alone_ms(least, self.thresholds));
            if alone_ms.min(self.quiet_ms()) < least || self.quiet_ms() < bound {
                return None;
            }
        }
        let lag = self.place.lag;
        let waited = duration(self.waited_ms.max(0).unsigned_abs());
        let who = match self.window.membership {
            Membership::Empty => "the group has no member",
            _ => "the group has members, but none of them owns this partition",
        };
        let why = format!("{who}, while {} for {waited}", self.unread());
        Some(say(Verdict::NoOwner, why, &[("lag", lag), ("waited_ms", self.waited_ms)], span(self.window)))
    }

    fn commits_or_progress(&self) -> Of {
        if self.window.exact_commits { Of::Commits } else { Of::Progress }
    }

    fn stopped(&self) -> Option<Judgement> {
        let (silent_after, stall_after) = (ms(self.thresholds.silent_after), ms(self.thresholds.stall_after));
        // Most windows end here: the cadence need not be worked out for them.
        if self.standing_ms <= stall_after && self.quiet_ms() <= silent_after {
            return None;
        }
        if self.window.exact_commits {
            let cadence = Cadence::of(self.window, Of::Commits);
            if self.silent_ms > Cadence::bound_ms(cadence, silent_after, self.thresholds) {
                return Some(self.silent(cadence));
            }
        }
        let progress = Cadence::of(self.window, Of::Progress);
        let bound = match progress {
            // It commits again and again and never moved within memory: how long it usually takes cannot be known.
            None if self.window.exact_commits && self.repeats() >= 4 => stall_after,
            _ => Cadence::bound_ms(progress, stall_after, self.thresholds),
        };
        if self.standing_ms <= bound || (self.window.exact_commits && self.repeats() < 2) {
            return None;
        }
        Some(self.standing(progress))
    }

    /// Commits at the present offset that were made after records had come.
    fn repeats(&self) -> usize {
        let here = |commit: &&crate::lag::window::Commit| {
            commit.offset == self.place.last.offset && commit.timestamp_ms > self.arrived_ms
        };
        self.window.commits.iter().rev().take_while(here).count()
    }

    /// Other partitions of the group went on after this one had stopped, and do so still.
    fn siblings_move(&self) -> bool {
        let lately = ms(self.thresholds.silent_after.max(self.thresholds.stall_after));
        self.window.membership == Membership::Stable
            && self.window.sibling_moved_ms.is_some_and(|at| {
                at > self.moved_ms.max(self.arrived_ms) && self.place.now_ms.saturating_sub(at) <= lately
            })
    }

    fn silent(&self, cadence: Option<Cadence>) -> Judgement {
        let verdict = if self.siblings_move() { Verdict::Stuck } else { Verdict::Stop };
        let silent_ms = self.place.now_ms.saturating_sub(self.place.last.timestamp_ms);
        let mut why = format!(
            "no commit for {}, while {} for {}",
            duration(silent_ms.max(0).unsigned_abs()),
            self.unread(),
            duration(self.waited_ms.max(0).unsigned_abs())
        );
        self.usually(cadence, "commits", &mut why);
        self.others(&mut why, verdict);
        self.conclude(verdict, why, ("silent_ms", silent_ms), cadence)
    }

    fn standing(&self, cadence: Option<Cadence>) -> Judgement {
        let verdict = match self.window.membership {
            _ if self.siblings_move() => Verdict::Stuck,
            Membership::Stable | Membership::Rebalancing => Verdict::Stall,
            // Commits are seen to go on.
            _ if self.window.exact_commits => Verdict::Stall,
            _ => Verdict::Stop,
        };
        let standing_ms = self.place.now_ms.saturating_sub(self.moved_ms);
        let commits = match self.repeats() {
            repeats if self.window.exact_commits => {
                format!("{} at offset {} without progress", plural(repeats as u64, "commit"), self.place.last.offset)
            }
            _ => format!("offset {} has not moved", self.place.last.offset),
        };
        let mut why = format!(
            "{commits} for {}, while {} for {}",
            duration(standing_ms.max(0).unsigned_abs()),
            self.unread(),
            duration(self.waited_ms.max(0).unsigned_abs())
        );
        self.usually(cadence, "moves on", &mut why);
        self.others(&mut why, verdict);
        self.conclude(verdict, why, ("standing_ms", standing_ms), cadence)
    }

    fn unread(&self) -> String {
        match self.place.lag {
            1 => "1 offset has waited".to_owned(),
            lag => format!("{} offsets have waited", thousands(lag.unsigned_abs())),
        }
    }

    fn usually(&self, cadence: Option<Cadence>, what: &str, why: &mut String) {
        if let Some(cadence) = cadence {
            *why += &format!("; it usually {what} every {}", duration(cadence.median_ms.unsigned_abs()));
        }
    }

    fn others(&self, why: &mut String, verdict: Verdict) {
        if verdict == Verdict::Stuck {
            let at = self.window.sibling_moved_ms.unwrap_or(self.place.now_ms);
            let ago = self.place.now_ms.saturating_sub(at).max(0);
            *why += &format!("; other partitions of the group moved {} ago", duration(ago.unsigned_abs()));
        }
    }

    fn conclude(&self, verdict: Verdict, why: String, time: (&str, i64), cadence: Option<Cadence>) -> Judgement {
        let numbers = [
            time,
            ("lag", self.place.lag),
            ("waited_ms", self.waited_ms),
            ("usual_ms", cadence.map_or(0, |c| c.usual_ms)),
        ];
        let known = if cadence.is_some() { 4 } else { 3 };
        say(verdict, why, &numbers[..known], span(self.window))
    }
}
