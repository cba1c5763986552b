//! Rounds made by hand. What must come out is worked out by hand as well.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use uuid::Uuid;

use super::*;
use crate::lag::facts::{Committed, GroupKind, GroupState, Member, Space, Volume};
use crate::lag::figure::{Figure, Unknown};
use crate::lag::snapshot::{GroupLag, Method, PartitionLag};
use crate::lag::verdict::Verdict;

const SECOND: i64 = 1000;

/// One group on one topic, and the round it is seen in.
#[derive(Clone)]
struct World {
    at_ms: i64,
    committed: BTreeMap<i32, Figure<i64>>,
    marks: BTreeMap<i32, PartitionFacts>,
    members: usize,
    offsets: Figure<()>,
    is_listed: bool,
    unlisted_brokers: usize,
    space: Option<Space>,
}

fn marks(log_start: i64, end: i64) -> PartitionFacts {
    PartitionFacts { topic_id: Some(Uuid::from_u128(1)), log_start: Ok(log_start), stable_end: Ok(end), end: Ok(end) }
}

impl World {
    fn new(committed: i64, log_start: i64, end: i64) -> Self {
        Self {
            at_ms: 1_700_000_000_000,
            committed: BTreeMap::from([(0, Ok(committed))]),
            marks: BTreeMap::from([(0, marks(log_start, end))]),
            members: 1,
            offsets: Ok(()),
            is_listed: true,
            unlisted_brokers: 0,
            space: None,
        }
    }

    fn later(mut self, seconds: i64) -> Self {
        self.at_ms += seconds * SECOND;
        self
    }

    fn facts(&self) -> Facts {
        let spot = |partition: &i32| (Arc::<str>::from("t"), *partition);
        let member = Member {
            id: "m".to_owned(),
            client_id: "c".to_owned(),
            host: "h".to_owned(),
            assigned: self.marks.keys().map(spot).collect(),
        };
        let committed = self
            .committed
            .iter()
            .map(|(partition, offset)| (spot(partition), offset.map(|offset| Committed { offset, share_lag: None })));
        let group = GroupFacts {
            kind: GroupKind::Classic,
            state: Ok(if self.members > 0 { GroupState::Stable } else { GroupState::Empty }),
            members: Ok(vec![member; self.members]),
            offsets: self.offsets.map(|()| committed.collect()),
        };
        Facts {
            space: self.space.clone(),
            commits_at_ms: self.at_ms,
            ends_at_ms: self.at_ms,
            groups: if self.is_listed { BTreeMap::from([(Arc::from("g"), group)]) } else { BTreeMap::new() },
            partitions: self.marks.iter().map(|(partition, marks)| (spot(partition), *marks)).collect(),
            unlisted_brokers: self.unlisted_brokers,
            troubles: Vec::new(),
            requests: 1,
        }
    }
}

fn tracker() -> Tracker {
    Tracker::new(Settings::default(), "c", State::default())
}

fn round(tracker: &mut Tracker, world: &World) -> Snapshot {
    tracker.take(world.facts(), None);
    tracker.judge(&HashMap::new())
}

fn group(snapshot: &Snapshot) -> &GroupLag {
    &snapshot.groups[0]
}

fn first(snapshot: &Snapshot) -> &PartitionLag {
    &group(snapshot).partitions[0]
}

#[test]
fn what_retention_took_is_lost_and_not_lag() {
    let snapshot = round(&mut tracker(), &World::new(100, 500, 900));
    let partition = first(&snapshot);
    assert_eq!((partition.lag, partition.lost, partition.lost_total), (Ok(400), Ok(400), 400));
    assert_eq!(partition.judgement.verdict, Verdict::Lost);
    assert_eq!((snapshot.happened[0].from, snapshot.happened[0].until), (100, 500));
}

#[test]
fn a_drained_log_leaves_no_lag() {
    let snapshot = round(&mut tracker(), &World::new(100, 900, 900));
    let partition = first(&snapshot);
    assert_eq!((partition.lag, partition.lost), (Ok(0), Ok(800)));
    assert_eq!(partition.record_lag, Ok(0));
}

#[test]
fn a_loss_is_counted_once_and_again_when_it_grows() {
    let mut tracker = tracker();
    let world = World::new(100, 500, 900);
    assert_eq!(round(&mut tracker, &world).happened.len(), 1);
    let mut world = world.later(10);
    assert_eq!(round(&mut tracker, &world).happened.len(), 0);
    world.marks.insert(0, marks(700, 900));
    let snapshot = round(&mut tracker, &world.clone().later(10));
    assert_eq!((snapshot.happened[0].from, snapshot.happened[0].until), (500, 700));
    assert_eq!(first(&snapshot).lost_total, 600);
    // The group goes on behind the hole: nothing new is lost, and what was is still counted.
    world.committed.insert(0, Ok(900));
    let snapshot = round(&mut tracker, &world.later(20));
    assert_eq!((first(&snapshot).lost, first(&snapshot).lost_total, snapshot.happened.len()), (Ok(0), 600, 0));
}

#[test]
fn what_is_not_known_is_never_a_number() {
    let mut world = World::new(100, 0, 900);
    world.marks.insert(0, PartitionFacts::unknown(Unknown::NoLeader));
    let snapshot = round(&mut tracker(), &world);
    let partition = first(&snapshot);
    assert_eq!((partition.lag, partition.record_lag), (Err(Unknown::NoLeader), Err(Unknown::NoLeader)));
    assert!(partition.time.is_err());
    assert_eq!(partition.judgement.verdict, Verdict::Unknown);
    assert!(group(&snapshot).lag.is_err() && group(&snapshot).max_time_ms.is_err());
    assert_eq!((snapshot.round.evaluated, snapshot.round.expected), (0, 1));

    let mut world = World::new(100, 0, 900);
    world.offsets = Err(Unknown::Denied);
    let snapshot = round(&mut tracker(), &world);
    assert_eq!(group(&snapshot).judgement.verdict, Verdict::Unknown);
    assert!(group(&snapshot).lag.is_err());
    assert!(group(&snapshot).could_not_be_asked());
}

#[test]
fn one_broken_partition_blanks_no_other() {
    let mut world = World::new(100, 0, 100);
    world.committed.insert(1, Ok(5));
    world.marks.insert(1, PartitionFacts::unknown(Unknown::NoLeader));
    let snapshot = round(&mut tracker(), &world);
    let group = group(&snapshot);
    assert_eq!((group.evaluated, group.expected, group.judgement.verdict), (1, 2, Verdict::Ok));
    assert!(group.judgement.why.contains("1 of 2"), "{}", group.judgement.why);
}

#[test]
fn time_lag_rises_while_the_producer_is_idle() {
    let mut tracker = tracker();
    let mut world = World::new(100, 0, 100);
    round(&mut tracker, &world);
    world.at_ms += 10 * SECOND;
    world.marks.insert(0, marks(0, 600));
    let mut last = 0;
    for _ in 0..5 {
        let snapshot = round(&mut tracker, &world);
        let time = first(&snapshot).time.unwrap();
        assert_eq!(time.method, Method::Rounds);
        assert!(time.ms > last, "{} {last}", time.ms);
        last = time.ms;
        world.at_ms += 60 * SECOND;
    }
}

#[test]
fn a_group_that_vanishes_behind_is_gone_until_somebody_knows() {
    let mut tracker = tracker();
    let world = World::new(100, 0, 900);
    round(&mut tracker, &world);
    let gone = World { is_listed: false, ..world.clone() };
    round(&mut tracker, &gone.clone().later(10));
    let snapshot = round(&mut tracker, &gone.clone().later(20));
    assert_eq!(group(&snapshot).judgement.verdict, Verdict::Gone);
    tracker.acknowledge_gone("g");
    assert!(round(&mut tracker, &gone.later(30)).groups.is_empty());
    // It comes back as if nothing had been.
    assert_ne!(group(&round(&mut tracker, &world.later(40))).judgement.verdict, Verdict::Gone);
}

#[test]
fn a_group_that_was_caught_up_just_goes() {
    let mut tracker = tracker();
    let world = World::new(900, 0, 900);
    round(&mut tracker, &world);
    let gone = World { is_listed: false, ..world };
    round(&mut tracker, &gone.clone().later(10));
    assert!(round(&mut tracker, &gone.later(20)).groups.is_empty());
}

#[test]
fn a_broker_that_does_not_answer_makes_no_group_gone() {
    let mut tracker = tracker();
    let world = World::new(100, 0, 900);
    round(&mut tracker, &world);
    let silent = World { is_listed: false, unlisted_brokers: 1, ..world };
    for later in 1..5 {
        let snapshot = round(&mut tracker, &silent.clone().later(10 * later));
        assert_eq!(group(&snapshot).judgement.verdict, Verdict::Unknown);
    }
}

#[test]
fn a_required_group_that_is_not_there_is_absent() {
    let settings = Settings { required: vec!["g".to_owned()], ..Settings::default() };
    let mut tracker = Tracker::new(settings, "c", State::default());
    let world = World { is_listed: false, ..World::new(0, 0, 0) };
    assert_eq!(group(&round(&mut tracker, &world)).judgement.verdict, Verdict::Absent);
    let blind = World { unlisted_brokers: 1, ..world.clone() };
    assert!(round(&mut tracker, &blind.later(10)).groups.is_empty());
    assert_eq!(
        group(&round(&mut tracker, &World { is_listed: true, ..world }.later(20))).judgement.verdict,
        Verdict::Ok
    );
}

#[test]
fn a_commit_of_the_topics_predecessor_is_a_skip_to_come() {
    let mut tracker = tracker();
    let world = World::new(100, 0, 100);
    round(&mut tracker, &world);
    let mut anew = world.later(10);
    let other = PartitionFacts { topic_id: Some(Uuid::from_u128(2)), ..marks(0, 500) };
    anew.marks.insert(0, other);
    let snapshot = round(&mut tracker, &anew);
    assert_eq!(first(&snapshot).judgement.verdict, Verdict::Skip);
    // The group commits in the new topic.
    let mut anew = anew.later(10);
    anew.committed.insert(0, Ok(500));
    assert_eq!(first(&round(&mut tracker, &anew)).judgement.verdict, Verdict::Ok);
}

/// A consumer at work goes on in the new topic at its start: that is no step back.
#[test]
fn a_topic_made_anew_under_a_consumer_is_no_rewind() {
    let mut tracker = tracker();
    let world = World::new(100, 0, 100);
    round(&mut tracker, &world);
    let mut anew = world.later(10);
    let other = |end| PartitionFacts { topic_id: Some(Uuid::from_u128(2)), ..marks(0, end) };
    anew.committed.clear();
    anew.marks.insert(0, other(0));
    round(&mut tracker, &anew);
    for (committed, end) in [(5, 5), (5, 10), (10, 15)] {
        anew = anew.later(10);
        anew.committed.insert(0, Ok(committed));
        anew.marks.insert(0, other(end));
        assert_eq!(first(&round(&mut tracker, &anew)).judgement.verdict, Verdict::Ok, "{committed} of {end}");
    }
}

#[test]
fn a_commit_beyond_the_end_is_believed_after_a_while() {
    let mut tracker = tracker();
    let world = World::new(160, 0, 160);
    round(&mut tracker, &world);
    let mut cut = world.later(10);
    cut.marks.insert(0, marks(0, 100));
    let snapshot = round(&mut tracker, &cut);
    assert_eq!((first(&snapshot).judgement.verdict, first(&snapshot).lag), (Verdict::Unknown, Err(Unknown::OtherLog)));
    let snapshot = round(&mut tracker, &cut.clone().later(70));
    assert_eq!(first(&snapshot).judgement.verdict, Verdict::Skip);
    // The end only fell for a moment.
    let mut back = cut.later(80);
    back.marks.insert(0, marks(0, 160));
    assert_eq!(first(&round(&mut tracker, &back)).judgement.verdict, Verdict::Ok);
}

#[test]
fn a_restart_forgets_no_window() {
    let mut tracker = tracker();
    let world = World::new(100, 500, 900);
    round(&mut tracker, &world);
    let state = postcard::to_stdvec(tracker.state()).unwrap();
    let mut again = Tracker::new(Settings::default(), "c", postcard::from_bytes(&state).unwrap());
    let snapshot = round(&mut again, &world.later(10));
    assert!(snapshot.happened.is_empty(), "a loss is told once");
    assert_eq!((first(&snapshot).lost_total, first(&snapshot).commits), (400, 1));
    assert_eq!(snapshot.round.number, 2);
}

#[test]
fn what_is_deleted_before_its_time_and_a_volume_that_fills_are_foreseen() {
    let mut tracker = tracker();
    let hours = |hours: i64| hours * 3_600 * SECOND;
    let mut world = World::new(0, 0, 0);
    // 1,000 records an hour of which at most 4,000 fit, on a volume that shrinks by a gigabyte an hour.
    for hour in 0..12i64 {
        let volume =
            Volume { broker: 1, path: Arc::from("/logs"), total_bytes: 100 << 30, usable_bytes: (40 - hour) << 30 };
        world.marks.insert(0, marks((hour * 1_000 - 4_000).max(0), hour * 1_000));
        world.space = Some(Space { retention_ms: [(Arc::from("t"), hours(12))].into(), volumes: vec![volume] });
        round(&mut tracker, &world);
        world.at_ms += hours(1);
    }
    world.space = None;
    let state = postcard::to_stdvec(tracker.state()).unwrap();
    let mut again = Tracker::new(Settings::default(), "c", postcard::from_bytes(&state).unwrap());
    let snapshot = round(&mut again, &world);
    let log = snapshot.partitions[0].forecast.as_ref().unwrap();
    assert_eq!((log.what.as_str(), log.at_ms), ("retention-fills", Some(world.at_ms)));
    assert!(log.assumption.ends_with("it is meant to cover 12 h"), "{}", log.assumption);
    let volume = &snapshot.volumes[0];
    assert_eq!((volume.broker, volume.usable_bytes), (1, 29 << 30));
    let full = volume.forecast.as_ref().unwrap();
    assert_eq!((full.what.as_str(), full.at_ms), ("volume-fills", Some(world.at_ms + hours(29))));
    // A topic that keeps its records for ever has no plan to fall short of.
    world.space = Some(Space { retention_ms: [(Arc::from("other"), 1)].into(), volumes: Vec::new() });
    assert_eq!(round(&mut again, &world).partitions[0].forecast, None);
}
