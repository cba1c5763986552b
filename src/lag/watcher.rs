//! Rounds over the groups, one after the other: ask, look at the log where that tells more, judge.

use std::time::{Duration, Instant};

use super::collect::{Collector, Filter};
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

pub struct Watcher {
    collector: Collector,
    tracker: Tracker,
}

impl Watcher {
    pub fn connect(plan: &Plan, state: State) -> Result<Self, SourceError> {
        let collector = Collector::connect(&plan.properties, plan.filter.clone())?;
        let cluster = plan.cluster.as_deref().unwrap_or(collector.cluster_id());
        let tracker = Tracker::new(plan.settings.clone(), cluster, state);
        Ok(Self { collector, tracker })
    }

    pub fn round(&mut self, clock: &Clock) -> Result<Snapshot, SourceError> {
        let began = Instant::now();
        let facts = self.collector.collect(clock)?;
        let asked = facts.requests;
        let places = self.tracker.take(facts);
        let (found, looked) = self.collector.unread(&places);
        let mut snapshot = self.tracker.judge(&found);
        snapshot.round.seconds = began.elapsed().as_secs_f64();
        snapshot.round.requests = asked + looked;
        Ok(snapshot)
    }

    pub fn state(&self) -> State {
        self.tracker.state()
    }
}
