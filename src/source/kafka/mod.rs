//! Kafka by raw Fetch: what the batches really say, at the speed of the wire.
//!
//! * `config`: librdkafka's setting names, resolved
//! * `transport`, `tls`, `sasl`, `connection`: one framed connection to one broker
//! * `cluster`: everything that is not Fetch, on connections of its own
//! * `fetch`: requests and answers of Fetch over all its versions
//! * `walk`, `aborted`: what the bytes of an answer say
//! * `lane`: one partition on its way, and what the sink is told of it
//! * `reader`: the fetch loop of one thread
//! * `patience`: waiting that heeds the wish to stop
//!
//! Plain threads and blocking sockets: a reader waits for nothing but its broker.

pub(crate) mod aborted;
pub(crate) mod cluster;
mod config;
mod connection;
mod errors;
pub(crate) mod fetch;
mod lane;
mod patience;
pub mod peek;
mod reader;
mod sasl;
pub(crate) mod tls;
mod transport;
mod walk;

#[cfg(test)]
mod fake_broker;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use regex::Regex;

// What lag asks a cluster goes over the same connections.
pub(crate) use config::Config;
pub(crate) use connection::{Connection, Request};
pub(crate) use errors::KafkaError as ErrorCode;

use super::{Assignment, Cleanup, PartitionInfo, Properties, Reader, Selection, Source, SourceError, Start};
use cluster::{Cluster, Marks, Spot, TopicMetadata};
use errors::KafkaError;
pub use errors::is_denial;
use lane::{Lane, Manner};
use reader::{FetchReader, SharedCluster};

/// Connections that fetch from one leader: two give up to half more than one, a third nothing.
const READERS_PER_LEADER: usize = 2;
/// Topics listed when a name is not found.
const MOST_SUGGESTIONS: usize = 5;

type Refusal = (String, Option<i32>, String);

pub struct KafkaSource {
    config: Arc<Config>,
    cluster: SharedCluster,
    selection: Selection,
    refused: Vec<Refusal>,
}

impl KafkaSource {
    /// Whether the settings can be used, without reaching for a broker.
    pub fn check(properties: &Properties) -> Result<(), SourceError> {
        Config::resolve(properties).map(drop)
    }

    /// Reaches the cluster; which topics there are is asked by [`Source::partitions`].
    pub fn connect(properties: &Properties, selection: Selection) -> Result<Self, SourceError> {
        let config = Arc::new(Config::resolve(properties)?);
        let cluster = Cluster::connect(config.clone())?;
        Ok(Self { config, cluster: Arc::new(Mutex::new(cluster)), selection, refused: Vec::new() })
    }

    fn refuse(&mut self, topic: &str, partition: Option<i32>, why: String) {
        self.refused.push((topic.to_owned(), partition, why));
    }

    /// The topics asked for, by name and by pattern, in order.
    fn topics(&mut self, cluster: &mut Cluster) -> Result<Vec<TopicMetadata>, SourceError> {
        let (patterns, names): (Vec<String>, Vec<String>) =
            self.selection.topics.iter().cloned().partition(|topic| topic.starts_with('^'));
        let mut found = cluster.topics(&names)?;
        if let Some(unknown) = found.iter().find(|topic| topic.error == Some(KafkaError::UNKNOWN_TOPIC)) {
            return Err(not_found(&unknown.name, cluster));
        }
        if !patterns.is_empty() {
            let patterns = patterns.iter().map(|pattern| Pattern::compile(pattern)).collect::<Result<Vec<_>, _>>()?;
            let all = cluster.all_topics()?;
            found.extend(all.into_iter().filter(|topic| patterns.iter().any(|pattern| pattern.matches(&topic.name))));
        }
        let mut usable = BTreeMap::new();
        for topic in found {
            match topic.error {
                None => _ = usable.insert(topic.name.clone(), topic),
                Some(error) => self.refuse(&topic.name, None, error.advice()),
            }
        }
        Ok(usable.into_values().collect())
    }

    /// The partitions of a topic that were asked for.
    fn wanted(&mut self, topic: &TopicMetadata) -> Vec<i32> {
        let asked = self.selection.partitions.clone();
        for missing in asked.iter().filter(|partition| !topic.partitions.contains(partition)) {
            let why = format!("there is no such partition; the topic has {}", topic.partitions.len());
            self.refuse(&topic.name, Some(*missing), why);
        }
        topic.partitions.iter().copied().filter(|p| asked.is_empty() || asked.contains(p)).collect()
    }

    fn info(&self, topic: &TopicMetadata, spot: Spot, cleanup: Cleanup, marks: Marks) -> PartitionInfo {
        let Marks { log_start, high_watermark, at_time } = marks;
        let from = match self.selection.start {
            Start::Beginning => log_start,
            Start::End => high_watermark,
            // One offset for all partitions: a shorter one has nothing there yet.
            Start::Offset(offset) => offset.min(high_watermark),
            Start::Tail(records) => high_watermark.saturating_sub(records).clamp(log_start, high_watermark),
            Start::Timestamp(_) => at_time.unwrap_or(high_watermark),
        };
        let (topic_name, partition) = spot;
        PartitionInfo {
            topic: topic_name,
            topic_id: topic.id,
            partition,
            cleanup,
            has_headers: true,
            from,
            until: (!self.selection.follow).then_some(high_watermark),
            log_start,
        }
    }

    fn nothing_to_read(&self) -> SourceError {
        SourceError::NotFound(match self.refused.first() {
            Some((topic, None, why)) => format!("nothing to read: topic {topic}: {why}"),
            Some((topic, Some(partition), why)) => format!("nothing to read: {topic}[{partition}]: {why}"),
            None => {
                let topics = self.selection.topics.join(", ");
                format!("nothing to read: no topic that this user may see matches {topics}; list them with kcat -L")
            }
        })
    }
}

/// A topic pattern; what the cluster keeps for itself is only matched when the pattern asks for it.
struct Pattern {
    regex: Regex,
    takes_internal: bool,
}

impl Pattern {
    fn compile(pattern: &str) -> Result<Self, SourceError> {
        let wrong = |error: regex::Error| SourceError::Setting { name: "topic".to_owned(), why: error.to_string() };
        Ok(Self { regex: Regex::new(pattern).map_err(wrong)?, takes_internal: pattern.starts_with("^__") })
    }

    fn matches(&self, name: &str) -> bool {
        (self.takes_internal || !name.starts_with("__")) && self.regex.is_match(name)
    }
}

fn not_found(name: &str, cluster: &mut Cluster) -> SourceError {
    let all: Vec<String> = cluster.all_topics().unwrap_or_default().into_iter().map(|topic| topic.name).collect();
    let near = config::nearest(name, all.iter().map(String::as_str), MOST_SUGGESTIONS);
    let hint = match near[..] {
        [] => "check its name, and that this user may describe it".to_owned(),
        _ => format!("did you mean {}?", near.join(", ")),
    };
    SourceError::NotFound(format!("there is no topic {name}; {hint}"))
}

fn locked(cluster: &SharedCluster) -> MutexGuard<'_, Cluster> {
    // What a thread left behind in panic is a cache; at worst it is asked anew.
    cluster.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Source for KafkaSource {
    fn partitions(&mut self) -> Result<Vec<PartitionInfo>, SourceError> {
        self.refused.clear();
        let shared = self.cluster.clone();
        let mut cluster = locked(&shared);
        let topics = self.topics(&mut cluster)?;
        let names: Vec<String> = topics.iter().map(|topic| topic.name.clone()).collect();
        let cleanup = cluster.cleanup_policies(&names);
        let mut wanted: Vec<(&TopicMetadata, Spot)> = Vec::new();
        for topic in &topics {
            let name: Arc<str> = Arc::from(topic.name.as_str());
            wanted.extend(self.wanted(topic).into_iter().map(|partition| (topic, (name.clone(), partition))));
        }
        let spots: Vec<Spot> = wanted.iter().map(|(_, spot)| spot.clone()).collect();
        let mut marks = cluster.marks(&spots, self.selection.start)?;
        let mut infos = Vec::new();
        for (topic, spot) in wanted {
            let cleanup = cleanup.get(&topic.name).copied().unwrap_or(Cleanup::Unknown);
            match marks.remove(&spot).unwrap_or(Err(KafkaError::LEADER_NOT_AVAILABLE)) {
                Ok(marks) => infos.push(self.info(topic, spot, cleanup, marks)),
                Err(error) => self.refuse(&topic.name, Some(spot.1), error.advice()),
            }
        }
        if infos.is_empty() { Err(self.nothing_to_read()) } else { Ok(infos) }
    }

    fn refused(&self) -> Vec<Refusal> {
        self.refused.clone()
    }

    fn readers(self: Box<Self>, assignments: Vec<Assignment>) -> Result<Vec<Box<dyn Reader>>, SourceError> {
        let mut by_leader: BTreeMap<Option<i32>, Vec<Lane>> = BTreeMap::new();
        {
            let cluster = locked(&self.cluster);
            for assignment in assignments {
                let leader = cluster.leader(&assignment.info.topic, assignment.info.partition);
                let lanes = by_leader.entry(leader.as_ref().map(|leader| leader.id)).or_default();
                lanes.push(Lane::new(assignment, leader));
            }
        }
        let Selection { isolation, follow, .. } = self.selection;
        let manner = Manner { isolation, follow, retry_for: self.config.retry_for };
        let mut readers: Vec<Box<dyn Reader>> = Vec::new();
        for lanes in by_leader.into_values() {
            let mut shares: Vec<Vec<Lane>> = Vec::new();
            shares.resize_with(READERS_PER_LEADER.min(lanes.len()), Vec::new);
            let count = shares.len();
            for (number, lane) in lanes.into_iter().enumerate() {
                shares[number % count].push(lane);
            }
            for share in shares {
                readers.push(Box::new(FetchReader::new(self.config.clone(), self.cluster.clone(), share, manner)));
            }
        }
        Ok(readers)
    }
}
