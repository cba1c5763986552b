//! Rounds over the groups, one after the other: ask, look at the log where that tells more, judge.

use std::time::{Duration, Instant};

use super::collect::{Collector, Filter};
use super::commits::{Drained, Follower};
use super::snapshot::Snapshot;
use super::tracker::{Settings, State, Tracker};
use crate::engine::Clock;
use crate::source::{Properties, SourceError};

/// Everything that is configured.
#[derive(Clone)]
pub struct Plan {
    pub properties: Properties,
    /// What the cluster is called; its own id when absent.
    pub cluster: Option<String>,
    pub filter: Filter,
    pub settings: Settings,
    pub interval: Duration,
    /// Whether `__consumer_offsets` is read.
    pub offsets_topic: bool,
}

/// Offsets of each partition of `__consumer_offsets` that are read at first: enough for what is usual in a group.
const TAIL: i64 = 20_000;

pub struct Watcher {
    collector: Collector,
    tracker: Tracker,
    follower: Option<Follower>,
}

impl Watcher {
    pub fn connect(plan: &Plan, state: State) -> Result<Self, SourceError> {
        let collector = Collector::connect(&plan.properties, plan.filter.clone())?;
        let cluster = plan.cluster.as_deref().unwrap_or(collector.cluster_id());
        let tracker = Tracker::new(plan.settings.clone(), cluster, state);
        let follower = match plan.offsets_topic {
            true => Some(Follower::start(plan.properties.clone(), TAIL)?),
            false => None,
        };
        Ok(Self { collector, tracker, follower })
    }

    pub fn round(&mut self, clock: &Clock) -> Result<Snapshot, SourceError> {
        let began = Instant::now();
        let news = self.news();
        let facts = self.collector.collect(clock)?;
        let asked = facts.requests;
        let places = self.tracker.take(facts, news);
        let (found, looked) = self.collector.unread(&places);
        let mut snapshot = self.tracker.judge(&found);
        snapshot.round.seconds = began.elapsed().as_secs_f64();
        snapshot.round.requests = asked + looked;
        Ok(snapshot)
    }

    /// What the stream of commits brought. Until it has caught up, polling has to do.
    fn news(&self) -> Option<Drained> {
        let follower = self.follower.as_ref()?;
        follower.standing().caught_up.then(|| follower.drain())
    }

    pub fn acknowledge_gone(&mut self, group: &str) {
        self.tracker.acknowledge_gone(group);
    }

    pub fn state(&self) -> &State {
        self.tracker.state()
    }
}
