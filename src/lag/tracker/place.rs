//! One group on one partition, from what is kept to what is shown.

use std::sync::Arc;

use super::Tracker;
use super::marks::Marks;
use super::spot::Spot;
use crate::lag::facts::{self, Committed, GroupFacts, PartitionFacts};
use crate::lag::figure::{Figure, Unknown};
use crate::lag::snapshot::{Happened, Method, PartitionLag, TimeLag};
use crate::lag::verdict::{Judgement, Verdict};
use crate::lag::window::{Membership, Window};

/// One group on one partition, on its way to be shown.
pub struct SpotView<'a> {
    pub tracker: &'a Tracker,
    pub group: &'a Arc<str>,
    pub at: &'a facts::Spot,
    pub facts: Option<&'a GroupFacts>,
    /// The group's membership, and since when.
    pub about: (Membership, i64),
    /// When any other partition moved last.
    pub sibling: Option<i64>,
    pub owner: Option<(Arc<str>, Arc<str>)>,
    /// Somebody owns something in this group.
    pub has_owners: bool,
}

impl SpotView<'_> {
    fn committed(&self) -> Figure<Committed> {
        let facts = self.facts.ok_or(Unknown::NotYet)?;
        let offsets = facts.offsets.as_ref().map_err(|why| *why)?;
        offsets.get(self.at).copied().unwrap_or(Err(Unknown::NeverCommitted))
    }

    /// `None`: the commit is gone and nothing was unread.
    pub fn show(&self, spot: &mut Spot, happened: &mut Vec<Happened>) -> Option<PartitionLag> {
        let tracker = self.tracker;
        let now = tracker.facts.ends_at_ms;
        let found =
            tracker.facts.partitions.get(self.at).copied().unwrap_or(PartitionFacts::unknown(Unknown::NoSuchTopic));
        let (share_lag, committed) =
            (self.committed().ok().and_then(|c| c.share_lag), self.committed().map(|c| c.offset));
        let is_missing = committed == Err(Unknown::NeverCommitted)
            && spot.missing_since_ms.is_some_and(|since| since < tracker.facts.commits_at_ms);
        // A topic that was deleted takes its commits with it.
        if is_missing && (spot.last_lag.unwrap_or(0) == 0 || found.end == Err(Unknown::NoSuchTopic)) {
            return None;
        }
        let read_committed = tracker.settings.reads_committed(self.group);
        let end = if read_committed { found.stable_end } else { found.end };
        let lag = behind(committed, found.log_start, end);
        let offset = committed.and_then(|committed| Ok(committed.max(found.log_start?)));
        let empty = Marks::default();
        let marks = tracker.state.partitions.get(self.at).unwrap_or(&empty);
        let past = tracker.settings.past.as_deref();
        let counted = match (offset, end) {
            (Ok(offset), Ok(end)) => past.and_then(|past| past.records(self.at, offset, end)),
            _ => None,
        };
        let known = counted
            .zip(past)
            .and_then(|(counted, past)| from_past(counted, past.next_time(self.at, offset.ok()?), now));
        let time = offset.and_then(|offset| known.map_or_else(|| spot.age(offset, end?, marks, now), Ok));
        let lost = committed.and_then(|committed| Ok((found.log_start? - committed).max(0)));
        if let (Ok(committed), Ok(log_start)) = (committed, found.log_start)
            && let Some((from, until)) = spot.count_lost(committed, log_start)
        {
            happened.push(self.lost(from, until, now));
        }
        if lag.is_ok() {
            spot.last_lag = lag.ok();
        }
        let records = match lag {
            Ok(0) => Ok(0),
            // Kafka's own count of what no member has finished (KIP-1226).
            _ if share_lag.is_some() => share_lag.ok_or(Unknown::NotYet),
            _ => match counted {
                Some(records) => Ok(records),
                None => offset.and_then(|offset| spot.records_left(offset, end?)),
            },
        };
        let judgement = if is_missing {
            let left = spot.last_lag.unwrap_or(0);
            say(Verdict::Gone, format!("its commit vanished with {left} offsets unread"), &[("lag", left)], now)
        } else {
            // Nothing but markers may be left.
            let has_read_all = records == Ok(0);
            self.judge(spot, marks, (committed, end, lag), has_read_all, time.map(|time| now - time.ms), now)
        };
        Some(PartitionLag {
            topic: self.at.0.clone(),
            partition: self.at.1,
            judgement,
            committed,
            log_start: found.log_start,
            stable_end: found.stable_end,
            end: found.end,
            lag,
            record_lag: records,
            time,
            lost,
            lost_total: spot.lost_total,
            owner: self.owner.clone(),
            commits: spot.commits.len() as u32,
            last_commit_ms: spot.commits.back().map(|commit| commit.timestamp_ms),
        })
    }

    fn lost(&self, from: i64, until: i64, at_ms: i64) -> Happened {
        Happened {
            at_ms,
            verdict: Verdict::Lost,
            group: self.group.clone(),
            topic: self.at.0.clone(),
            partition: self.at.1,
            from,
            until,
            why: format!("retention deleted {} offsets before the group read them", until - from),
        }
    }

    fn judge(
        &self,
        spot: &mut Spot,
        marks: &Marks,
        (committed, end, lag): (Figure, Figure, Figure),
        has_read_all: bool,
        unread_since_ms: Figure,
        now: i64,
    ) -> Judgement {
        let (committed, end) = match (committed, end) {
            (Ok(committed), Ok(end)) => (committed, end),
            (Err(why), _) | (_, Err(why)) => return say(Verdict::Unknown, why.to_string(), &[], now),
        };
        if let Some(judgement) = self.other_log(spot, marks, committed, end, now) {
            return judgement;
        }
        if let Err(why) = lag {
            return say(Verdict::Unknown, why.to_string(), &[], now);
        }
        spot.fill_lags(marks.kept());
        let owned = self.has_owners.then_some(self.owner.is_some());
        let tracker = self.tracker;
        tracker.settings.rules.judge(&Window {
            now_ms: now,
            commits: spot.commits.make_contiguous(),
            exact_commits: spot.is_exact && tracker.is_streamed,
            marks: marks.kept(),
            read_committed: tracker.settings.reads_committed(self.group),
            membership: self.about.0,
            membership_since_ms: self.about.1,
            owned,
            moved_ms: spot.moved_ms,
            // From now on means that only markers are left; a record whose clock runs ahead is one nevertheless.
            unread_since_ms: if has_read_all { Ok(now) } else { unread_since_ms.map(|since| since.min(now - 1)) },
            sibling_moved_ms: self.sibling,
        })
    }

    /// A commit that belongs to another log than the one that is there: what is written below it will be passed over.
    fn other_log(&self, spot: &mut Spot, marks: &Marks, committed: i64, end: i64, now: i64) -> Option<Judgement> {
        let last_commit = spot.commits.back().map_or(now, |commit| commit.timestamp_ms);
        if let Some(replaced) = marks.replaced_ms.filter(|replaced| last_commit < *replaced && committed > 0) {
            let why = format!(
                "the topic was made anew and the commit at {committed} is its predecessor's: a consumer that goes on there passes over what is written below it"
            );
            return Some(say(Verdict::Skip, why, &[("committed", committed), ("replaced_ms", replaced)], now));
        }
        if committed <= end {
            spot.beyond_since_ms = None;
            return None;
        }
        let since = *spot.beyond_since_ms.get_or_insert(now);
        if now - since < self.tracker.settings.beyond_for_ms {
            return Some(say(Verdict::Unknown, Unknown::OtherLog.to_string(), &[], now));
        }
        let why = format!(
            "the commit at {committed} lies {} offsets beyond the end of the log, which was cut back: a consumer that goes on there passes over what is written until then",
            committed - end
        );
        Some(say(Verdict::Skip, why, &[("committed", committed), ("end", end)], now))
    }
}

/// The age of the next unread record, from what was read of the log.
fn from_past(records: i64, times: Option<(i64, i64)>, now: i64) -> Option<TimeLag> {
    if records == 0 {
        return Some(TimeLag { ms: 0, at_least_ms: 0, at_most_ms: 0, method: Method::CaughtUp });
    }
    let (low, high) = times?;
    let (at_least_ms, at_most_ms) = ((now - high).max(0), (now - low).max(0));
    Some(TimeLag { ms: at_most_ms, at_least_ms, at_most_ms, method: Method::Index })
}

/// Offsets from max(committed, log start) to the end. A commit beyond the end has no lag.
fn behind(committed: Figure, log_start: Figure, end: Figure) -> Figure {
    let (committed, log_start, end) = (committed?, log_start?, end?);
    if committed > end { Err(Unknown::OtherLog) } else { Ok((end - committed.max(log_start)).max(0)) }
}

/// A judgement on this moment alone.
pub fn say(verdict: Verdict, why: String, numbers: &[(&str, i64)], now: i64) -> Judgement {
    Judgement::new(verdict, why, numbers, (now, now))
}
