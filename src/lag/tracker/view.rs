//! From what is kept to what is shown.

use std::collections::HashMap;
use std::sync::Arc;

use super::Tracker;
use super::foresee::forecasts;
use super::group::Group;
use super::marks::Marks;
use super::place::{SpotView, say};
use crate::lag::facts::{self, GroupFacts, PartitionFacts};
use crate::lag::figure::{Figure, Unknown};
use crate::lag::rules::{About, Part, hanging, judge_group};
use crate::lag::snapshot::{Forecast, GroupLag, Happened, PartitionLag, PartitionMarks, Round, Snapshot};
use crate::lag::verdict::{Judgement, Verdict};

pub fn snapshot(tracker: &mut Tracker) -> Snapshot {
    let mut groups = std::mem::take(&mut tracker.state.groups);
    let mut shown = Vec::new();
    let mut happened = Vec::new();
    groups.retain(|name, group| match (GroupView { tracker, name }).show(group, &mut happened) {
        Some(view) => {
            shown.push(view);
            true
        }
        None => false,
    });
    tracker.state.groups = groups;
    shown.extend(tracker.settings.required.iter().filter_map(|name| absent(tracker, name)));
    shown.sort_by(|a, b| a.group.cmp(&b.group));
    let sum = |of: &dyn Fn(&GroupLag) -> usize| shown.iter().map(of).sum();
    let now_ms = tracker.facts.ends_at_ms;
    let mut filling = tracker.state.room.logs(&tracker.state.partitions, now_ms);
    let volumes = tracker.state.room.volumes(now_ms);
    let facts = &tracker.facts;
    let mut partitions: Vec<PartitionMarks> =
        facts.partitions.iter().map(|(at, found)| marks(tracker, at, found, filling.remove(at))).collect();
    partitions.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    Snapshot {
        at_ms: facts.ends_at_ms,
        cluster: tracker.cluster.clone(),
        round: Round {
            number: tracker.state.round as u64,
            seconds: 0.0,
            requests: facts.requests,
            evaluated: sum(&|group| group.evaluated),
            expected: sum(&|group| group.expected),
        },
        groups: shown,
        partitions,
        volumes,
        happened,
        troubles: facts.troubles.clone(),
    }
}

fn marks(tracker: &Tracker, at: &facts::Spot, found: &PartitionFacts, forecast: Option<Forecast>) -> PartitionMarks {
    let kept = tracker.state.partitions.get(at).map(Marks::kept).unwrap_or_default();
    PartitionMarks {
        topic: at.0.clone(),
        partition: at.1,
        log_start: found.log_start,
        stable_end: found.stable_end,
        end: found.end,
        hanging: hanging(kept, tracker.facts.ends_at_ms, &tracker.settings.thresholds),
        span: kept.first().copied().zip(kept.last().copied()),
        forecast,
    }
}

/// A group that must exist and does not, when every broker said what it knows.
fn absent(tracker: &Tracker, name: &str) -> Option<GroupLag> {
    let now = tracker.facts.ends_at_ms;
    if tracker.facts.unlisted_brokers > 0 || tracker.state.groups.contains_key(name) {
        return None;
    }
    let why = format!("group {name} is required and no broker knows it");
    Some(GroupLag {
        group: Arc::from(name),
        kind: facts::GroupKind::Classic,
        state: Err(Unknown::NotApplicable),
        members: Ok(0),
        offsets: Err(Unknown::NotApplicable),
        judgement: say(Verdict::Absent, why, &[], now),
        lag: Err(Unknown::NotApplicable),
        record_lag: Err(Unknown::NotApplicable),
        max_lag: Err(Unknown::NotApplicable),
        max_time_ms: Err(Unknown::NotApplicable),
        evaluated: 0,
        expected: 0,
        read_committed: tracker.settings.reads_committed(name),
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
        let forecasts = forecasts(group, &self.tracker.state.partitions, lag, has_lost, now);
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
            read_committed: self.tracker.settings.reads_committed(self.name),
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
                tracker: self.tracker,
                group: self.name,
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
            judgement: say(verdict, why, &[], now),
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
