//! One group on one partition, over time: its commits, what retention took from it, and the age of what it has not read.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::lag::collect::Next;
use crate::lag::figure::{Figure, Unknown};
use crate::lag::snapshot::{Method, TimeLag};
use crate::lag::window::{Commit, Mark};

use super::marks::Marks;

/// Rounds that wait for the stream.
const PATIENCE: u8 = 3;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Spot {
    pub commits: VecDeque<Commit>,
    /// The commits came with their own times.
    pub is_exact: bool,
    /// The offset of the last round.
    standing: Option<i64>,
    /// Where the stream's last commit stands in its log.
    newest_order: Option<i64>,
    /// Rounds that saw a commit the stream has not brought.
    unstreamed: u8,
    /// Last progress.
    pub moved_ms: Option<i64>,
    /// Log start up to which losses were counted.
    counted_until: i64,
    /// Offsets retention took below the commit, all events together.
    pub lost_total: i64,
    /// First round that did not find the commit any more.
    pub missing_since_ms: Option<i64>,
    /// Since when the commit lies beyond the end of the log.
    pub beyond_since_ms: Option<i64>,
    /// The lag when it was last known.
    pub last_lag: Option<i64>,
    /// What was found at an offset; it stays true until the group moves on or more records come.
    next: Option<Looked>,
    /// When the log was found to be another one: commits until then may still be of the old one.
    other_log_ms: Option<i64>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Looked {
    offset: i64,
    /// End of the log when it was looked.
    end: i64,
    at_ms: Option<i64>,
    records: Option<i64>,
}

impl Spot {
    /// Where the group stands, by the last round that could tell.
    pub fn committed(&self) -> Option<i64> {
        self.standing.or(self.commits.back().map(|commit| commit.offset))
    }

    /// A commit seen by polling: only a change tells that there was one. Where the stream is read it knows every commit
    /// with its time and brings this one, too; when it does not within a few rounds, the round is believed.
    pub fn polled(&mut self, commit: Commit, is_streamed: bool, most: usize) {
        (self.missing_since_ms, self.standing) = (None, Some(commit.offset));
        if self.commits.back().is_some_and(|last| last.offset == commit.offset) {
            self.unstreamed = 0;
            return;
        }
        if is_streamed && self.is_exact && self.unstreamed < PATIENCE {
            self.unstreamed += 1;
            return;
        }
        self.unstreamed = 0;
        self.push(commit, most);
    }

    /// A commit of the stream.
    pub fn streamed(&mut self, commit: Commit, most: usize) {
        // After a restart the stream brings again what was kept.
        if self.newest_order.is_some_and(|newest| commit.order <= newest) {
            return;
        }
        self.newest_order = Some(commit.order);
        if !self.is_exact {
            // What polling saw are the same commits with later times.
            self.commits.clear();
            self.is_exact = true;
        }
        // Polling may have been believed in between.
        while self.commits.back().is_some_and(|last| last.order < 0 && last.timestamp_ms >= commit.timestamp_ms) {
            self.commits.pop_back();
        }
        self.push(commit, most);
    }

    /// The stream says that the commit expired or was deleted: what comes next begins anew.
    pub fn removed(&mut self) {
        self.commits.clear();
        self.standing = None;
        self.newest_order = None;
    }

    fn push(&mut self, commit: Commit, most: usize) {
        if let Some(since) = self.other_log_ms {
            // Offsets of two logs do not compare: neither is this a step back, nor was the other progress.
            self.commits.clear();
            self.other_log_ms = Some(since).filter(|since| commit.timestamp_ms <= *since);
        }
        if self.commits.back().is_none_or(|last| commit.offset > last.offset) {
            self.moved_ms = Some(commit.timestamp_ms);
        }
        self.commits.push_back(commit);
        while self.commits.len() > most {
            self.commits.pop_front();
        }
    }

    /// Counts what retention took since the last count; gives the range that is new.
    pub fn count_lost(&mut self, committed: i64, log_start: i64) -> Option<(i64, i64)> {
        let from = committed.max(self.counted_until);
        if log_start <= from {
            return None;
        }
        self.counted_until = log_start;
        self.lost_total += log_start - from;
        Some((from, log_start))
    }

    /// Another log of the same name: nothing known of the old one holds.
    pub fn forget_log(&mut self, now_ms: i64) {
        (self.counted_until, self.next, self.other_log_ms) = (0, None, Some(now_ms));
    }

    /// Keeps what a look at the log found.
    pub fn looked(&mut self, offset: i64, end: i64, next: Next) {
        self.next = Some(Looked { offset, end, at_ms: next.at_ms, records: next.records });
    }

    /// The found record, as long as it is still the next one.
    fn known(&self, offset: i64, end: i64) -> Option<Looked> {
        self.next.filter(|next| next.offset == offset && (next.at_ms.is_some() || next.end == end))
    }

    /// Records left to read, where the log was looked at to its end.
    pub fn records_left(&self, offset: i64, end: i64) -> Figure {
        let known = self.known(offset, end).filter(|next| next.end == end);
        known.and_then(|next| next.records).ok_or(Unknown::NotRead)
    }

    /// Age of the next unread record: by the record itself where it was fetched, else from earlier rounds.
    pub fn age(&self, offset: i64, end: i64, marks: &Marks, now_ms: i64) -> Figure<TimeLag> {
        let exact = |ms: i64, method| TimeLag { ms, at_least_ms: ms, at_most_ms: ms, method };
        if offset >= end {
            return Ok(exact(0, Method::CaughtUp));
        }
        match self.known(offset, end) {
            Some(Looked { at_ms: None, .. }) => Ok(exact(0, Method::CaughtUp)),
            Some(Looked { at_ms: Some(at_ms), .. }) if at_ms >= 0 => Ok(exact((now_ms - at_ms).max(0), Method::Record)),
            _ => marks.age(offset, now_ms),
        }
    }

    /// Whether a look at the log would tell more than earlier rounds do.
    pub fn wants_look(&self, offset: i64, end: i64, marks: &Marks, now_ms: i64) -> bool {
        if offset >= end || self.known(offset, end).is_some() {
            return false;
        }
        // A few offsets may be nothing but markers. Else a tenth of the age is near enough.
        let is_short = end - offset <= 8;
        is_short
            || marks
                .age(offset, now_ms)
                .is_ok_and(|age| age.at_most_ms - age.at_least_ms <= 30_000 + age.ms / 10)
                .eq(&false)
    }

    /// The lag at each commit that lacks one, from what was the end at its time.
    pub fn fill_lags(&mut self, marks: &[Mark]) {
        for commit in self.commits.iter_mut().filter(|commit| commit.lag.is_none()) {
            let after = marks.partition_point(|mark| mark.at_ms <= commit.timestamp_ms);
            // Only between two rounds close to it; a guess from far away is none.
            let near = after.checked_sub(1).and_then(|before| marks.get(before)).filter(|_| after < marks.len());
            commit.lag = near.map(|mark| (mark.end - commit.offset).max(0));
        }
    }
}
