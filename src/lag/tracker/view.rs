//! From what is kept to what is shown.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Tracker;
use super::foresee::forecasts;
use super::group::Group;
use super::marks::Marks;
use super::spot::Spot;
use crate::lag::facts::{self, Committed, GroupFacts, PartitionFacts};
use crate::lag::figure::{Figure, Unknown};
use crate::lag::rules::{About, Part, hanging, judge_group};
use crate::lag::snapshot::{GroupLag, Happened, Method, PartitionLag, PartitionMarks, Round, Snapshot, TimeLag};
use crate::lag::verdict::{Judgement, Verdict};
use crate::lag::window::{Membership, Window};

pub fn snapshot(tracker: &mut Tracker) -> Snapshot {
    let mut groups = std::mem::take(&mut tracker.groups);
    let mut shown = Vec::new();
    let mut happened = Vec::new();
    groups.retain(|name, group| match (GroupView { tracker, name }).show(group, &mut happened) {
        Some(view) => {
            shown.push(view);
            true
        }
        None => false,
    });
    tracker.groups = groups;
    shown.extend(tracker.settings.required.iter().filter_map(|name| absent(tracker, name)));
    shown.sort_by(|a, b| a.group.cmp(&b.group));
    let sum = |of: &dyn Fn(&GroupLag) -> usize| shown.iter().map(of).sum();
    let facts = &tracker.facts;
    let mut partitions: Vec<PartitionMarks> =
        facts.partitions.iter().map(|(at, found)| marks(tracker, at, found)).collect();
    partitions.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    Snapshot {
        at_ms: facts.ends_at_ms,
        cluster: tracker.cluster.clone(),
        round: Round {
            number: tracker.round as u64,
            seconds: 0.0,
            requests: facts.requests,
            evaluated: sum(&|group| group.evaluated),
            expected: sum(&|group| group.expected),
        },
        groups: shown,
        partitions,
        happened,
        troubles: facts.troubles.clone(),
    }
}

fn marks(tracker: &Tracker, at: &facts::Spot, found: &PartitionFacts) -> PartitionMarks {
    let kept = tracker.partitions.get(at).map(Marks::kept).unwrap_or_default();
    PartitionMarks {
        topic: at.0.clone(),
        partition: at.1,
        log_start: found.log_start,
        stable_end: found.stable_end,
        end: found.end,
        hanging: hanging(kept, tracker.facts.ends_at_ms, &tracker.settings.thresholds),
        marks: kept.to_vec(),
    }
}

/// A group that must exist and does not, when every broker said what it knows.
fn absent(tracker: &Tracker, name: &str) -> Option<GroupLag> {
    let now = tracker.facts.ends_at_ms;
    if tracker.facts.unlisted_brokers > 0 || tracker.groups.contains_key(name) {
        return None;
    }
    let why = format!("group {name} is required and no broker knows it");
    Some(GroupLag {
        group: Arc::from(name),
        kind: facts::GroupKind::Classic,
        state: Err(Unknown::NotApplicable),
        members: Ok(0),
        offsets: Err(Unknown::NotApplicable),
        judgement: Judgement { verdict: Verdict::Absent, why, numbers: BTreeMap::new(), window_ms: (now, now) },
        lag: Err(Unknown::NotApplicable),
        record_lag: Err(Unknown::NotApplicable),
        max_lag: Err(Unknown::NotApplicable),
        max_time_ms: Err(Unknown::NotApplicable),
        evaluated: 0,
        expected: 0,
        read_committed: tracker.reads_committed(name),
        isolation_is_guess: tracker.settings.read_committed.is_none(),
        partitions: Vec::new(),
        history: Vec::new(),
        curve: Vec::new(),
        forecasts: Vec::new(),
    })
}

struct GroupView<'a> {
    tracker: &'a Tracker,
    name: &'a Arc<str>,
}

type Owners = HashMap<facts::Spot, (Arc<str>, Arc<str>)>;

impl GroupView<'_> {
    /// `None`: the group is gone and left nothing unread.
    fn show(&self, group: &mut Group, happened: &mut Vec<Happened>) -> Option<GroupLag> {
        let facts = self.tracker.facts.groups.get(self.name);
        let now = self.tracker.facts.ends_at_ms;
        let is_gone = group.missing_since_ms.is_some_and(|since| since < self.tracker.facts.commits_at_ms);
        let left: i64 = group.spots.values().filter_map(|spot| spot.last_lag).sum();
        if is_gone && (left == 0 || group.gone_is_known) {
            return None;
        }
        let owners = facts.map(owners).unwrap_or_default();
        let before = happened.len();
        let mut partitions = self.partitions(group, facts, &owners, happened);
        partitions.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        let is_known = |p: &&PartitionLag| p.judgement.verdict != Verdict::Unknown;
        let evaluated = partitions.iter().filter(is_known).count();
        let judgement = self.judge(group, facts, &partitions, is_gone.then_some(left));
        group.said(&judgement, now);
        let known =
            |of: &dyn Fn(&PartitionLag) -> Figure| partitions.iter().filter_map(|p| of(p).ok()).collect::<Vec<i64>>();
        let lags = known(&|p| p.lag);
        let records = known(&|p| p.record_lag);
        let times = known(&|p| p.time.map(|time| time.ms));
        let sum = |all: &[i64]| if all.is_empty() { Err(Unknown::NotYet) } else { Ok(all.iter().sum()) };
        let lag = sum(&lags);
        let has_lost = happened[before..].iter().any(|event| event.verdict == Verdict::Lost);
        let forecasts = forecasts(group, &self.tracker.partitions, lag, has_lost, now);
        Some(GroupLag {
            group: self.name.clone(),
            kind: group.kind,
            state: facts.map_or(Err(Unknown::NotYet), |facts| facts.state),
            members: facts
                .map_or(Err(Unknown::NotYet), |facts| facts.members.as_ref().map(Vec::len).map_err(|why| *why)),
            offsets: facts.map_or(Err(Unknown::NotYet), |facts| facts.offsets.as_ref().map(|_| ()).map_err(|why| *why)),
            judgement,
            lag,
            record_lag: if records.len() == partitions.len() { sum(&records) } else { Err(Unknown::NotRead) },
            max_lag: lags.iter().max().copied().ok_or(Unknown::NotYet),
            max_time_ms: times.iter().max().copied().ok_or(Unknown::NotYet),
            evaluated,
            expected: partitions.len(),
            read_committed: self.tracker.reads_committed(self.name),
            isolation_is_guess: self.tracker.settings.read_committed.is_none(),
            partitions,
            history: group.history.iter().cloned().collect(),
            curve: group.curve.clone(),
            forecasts,
        })
    }

    fn judge(
        &self,
        group: &Group,
        facts: Option<&GroupFacts>,
        partitions: &[PartitionLag],
        gone_with: Option<i64>,
    ) -> Judgement {
        let now = self.tracker.facts.ends_at_ms;
        if gone_with.is_none() && partitions.is_empty() {
            match facts.map(|facts| &facts.offsets) {
                Some(Err(why)) => {
                    return say(Verdict::Unknown, format!("its offsets could not be read: {why}"), &[], now);
                }
                None => return say(Verdict::Unknown, "the group was not listed this time".to_owned(), &[], now),
                Some(Ok(_)) => {}
            }
        }
        let rebalances: Vec<i64> = group.rebalances.iter().copied().collect();
        let about = About {
            now_ms: now,
            is_required: self.tracker.settings.required.iter().any(|name| **name == **self.name),
            is_listed: Some(gone_with.is_none()),
            vanished_ms: group.missing_since_ms.filter(|_| gone_with.is_some()),
            last_lag: gone_with,
            is_gone_known: group.gone_is_known,
            changes_ms: &rebalances,
        };
        let parts =
            partitions.iter().map(|p| Part { topic: &p.topic, partition: p.partition, judgement: &p.judgement });
        judge_group(&about, parts, &self.tracker.settings.thresholds)
    }

    fn partitions(
        &self,
        group: &mut Group,
        facts: Option<&GroupFacts>,
        owners: &Owners,
        happened: &mut Vec<Happened>,
    ) -> Vec<PartitionLag> {
        let mut shown: Vec<PartitionLag> = Vec::with_capacity(group.spots.len());
        let moved: Vec<(facts::Spot, Option<i64>)> =
            group.spots.iter().map(|(at, spot)| (at.clone(), spot.moved_ms)).collect();
        let (first, second) = two_latest(&moved);
        let about = (group.membership, group.membership_since_ms);
        group.spots.retain(|at, spot| {
            let sibling = if first.is_some_and(|(who, _)| who == at) { second } else { first.map(|(_, ms)| ms) };
            let view = SpotView {
                of: self,
                at,
                facts,
                about,
                sibling,
                owner: owners.get(at).cloned(),
                has_owners: !owners.is_empty(),
            };
            match view.show(spot, happened) {
                Some(view) => shown.push(view),
                None => return false,
            }
            true
        });
        for (at, owner) in owners.iter().filter(|(at, _)| !group.spots.contains_key(*at)) {
            shown.push(self.uncommitted(at, owner));
        }
        shown
    }

    /// A member owns the partition and has committed nothing yet.
    fn uncommitted(&self, at: &facts::Spot, owner: &(Arc<str>, Arc<str>)) -> PartitionLag {
        let now = self.tracker.facts.ends_at_ms;
        let found = self.tracker.facts.partitions.get(at).copied().unwrap_or(PartitionFacts::unknown(Unknown::NotYet));
        let is_empty = matches!((found.log_start, found.end), (Ok(start), Ok(end)) if start >= end);
        let (verdict, why) = if is_empty {
            (Verdict::Ok, "nothing was ever there to read".to_owned())
        } else {
            (Verdict::Unknown, Unknown::NeverCommitted.to_string())
        };
        let lag = if is_empty { Ok(0) } else { Err(Unknown::NeverCommitted) };
        PartitionLag {
            topic: at.0.clone(),
            partition: at.1,
            judgement: Judgement { verdict, why, numbers: BTreeMap::new(), window_ms: (now, now) },
            committed: Err(Unknown::NeverCommitted),
            log_start: found.log_start,
            stable_end: found.stable_end,
            end: found.end,
            lag,
            record_lag: lag,
            time: Err(Unknown::NeverCommitted),
            lost: Err(Unknown::NeverCommitted),
            lost_total: 0,
            owner: Some(owner.clone()),
            commits: 0,
            last_commit_ms: None,
        }
    }
}

/// The two partitions that moved last: for each partition, one of them is another one.
fn two_latest(moved: &[(facts::Spot, Option<i64>)]) -> (Option<(&facts::Spot, i64)>, Option<i64>) {
    let mut latest: Vec<(&facts::Spot, i64)> = moved.iter().filter_map(|(at, ms)| Some((at, (*ms)?))).collect();
    latest.sort_unstable_by_key(|(_, ms)| std::cmp::Reverse(*ms));
    (latest.first().copied(), latest.get(1).map(|(_, ms)| *ms))
}

fn owners(facts: &GroupFacts) -> Owners {
    let mut owners = Owners::new();
    for member in facts.members.iter().flatten() {
        let name: (Arc<str>, Arc<str>) = (Arc::from(member.client_id.as_str()), Arc::from(member.host.as_str()));
        owners.extend(member.assigned.iter().map(|at| (at.clone(), name.clone())));
    }
    owners
}

/// One group on one partition, on its way to be shown.
struct SpotView<'a> {
    of: &'a GroupView<'a>,
    at: &'a facts::Spot,
    facts: Option<&'a GroupFacts>,
    about: (Membership, i64),
    sibling: Option<i64>,
    owner: Option<(Arc<str>, Arc<str>)>,
    /// Somebody owns something in this group.
    has_owners: bool,
}

impl SpotView<'_> {
    fn committed(&self) -> Figure<Committed> {
        let facts = self.facts.ok_or(Unknown::NotYet)?;
        let offsets = facts.offsets.as_ref().map_err(|why| *why)?;
        offsets.get(self.at).copied().unwrap_or(Err(Unknown::NeverCommitted))
    }

    /// `None`: the commit is gone and nothing was unread.
    fn show(&self, spot: &mut Spot, happened: &mut Vec<Happened>) -> Option<PartitionLag> {
        let tracker = self.of.tracker;
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
        let read_committed = tracker.reads_committed(self.of.name);
        let end = if read_committed { found.stable_end } else { found.end };
        let lag = behind(committed, found.log_start, end);
        let offset = committed.and_then(|committed| Ok(committed.max(found.log_start?)));
        let empty = Marks::default();
        let marks = tracker.partitions.get(self.at).unwrap_or(&empty);
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
            group: self.of.name.clone(),
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
        let tracker = self.of.tracker;
        tracker.settings.rules.judge(&Window {
            now_ms: now,
            commits: spot.commits.make_contiguous(),
            exact_commits: spot.is_exact && tracker.is_streamed,
            marks: marks.kept(),
            read_committed: tracker.reads_committed(self.of.name),
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
        if now - since < self.of.tracker.settings.beyond_for_ms {
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

fn say(verdict: Verdict, why: String, numbers: &[(&str, i64)], now: i64) -> Judgement {
    let numbers = numbers.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    Judgement { verdict, why, numbers, window_ms: (now, now) }
}
