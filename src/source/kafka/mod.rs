//! Kafka by raw Fetch: what the batches really say, at the speed of the wire.
//!
//! * [`config`]: librdkafka's setting names, resolved
//! * [`connection`]: one framed connection, with [`tls`] and [`sasl`]
//! * [`cluster`]: everything that is not Fetch, on connections of its own
//! * [`reader`]: the fetch loop of one thread
//! * [`aborted`]: which batches of an answer belong to aborted transactions
//!
//! Plain threads and blocking sockets: a reader waits for nothing but its broker.

mod aborted;
mod cluster;
mod config;
mod connection;
mod errors;
mod reader;
mod sasl;
mod tls;

#[cfg(test)]
mod fake_broker;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use regex::Regex;

use super::{Assignment, Cleanup, PartitionInfo, Properties, Reader, Selection, Source, SourceError, Start};
use cluster::{Cluster, TopicMetadata};
use config::Config;
use errors::KafkaError;
use reader::FetchReader;

/// Connections that fetch from one leader: two give up to half more than one, a third nothing.
const READERS_PER_LEADER: usize = 2;

/// The control connections, shared by the readers.
type SharedCluster = Arc<Mutex<Cluster>>;

pub struct KafkaSource {
    config: Arc<Config>,
    cluster: SharedCluster,
    selection: Selection,
    refused: Vec<(String, Option<i32>, String)>,
}

impl KafkaSource {
    /// Reaches the cluster; which topics there are is asked by [`Source::partitions`].
    pub fn connect(properties: &Properties, selection: Selection) -> Result<Self, SourceError> {
        let config = Arc::new(Config::resolve(properties)?);
        let cluster = Cluster::connect(config.clone())?;
        Ok(Self { config, cluster: Arc::new(Mutex::new(cluster)), selection, refused: Vec::new() })
    }

    /// The topics asked for, by name and by pattern.
    fn topics(&mut self, cluster: &mut Cluster) -> Result<Vec<TopicMetadata>, SourceError> {
        let (patterns, names): (Vec<_>, Vec<_>) = self.selection.topics.iter().partition(|topic| topic.starts_with('^'));
        let mut found: BTreeMap<String, TopicMetadata> = BTreeMap::new();
        if !patterns.is_empty() {
            for topic in cluster.all_topics()? {
                let matches = |pattern: &&String| {
                    let internal = topic.name.starts_with("__") && !pattern.starts_with("^__");
                    let regex = Regex::new(pattern).map_err(|error| SourceError::Setting {
                        name: "topic".to_owned(),
                        why: error.to_string(),
                    })?;
                    Ok(!internal && regex.is_match(&topic.name))
                };
                if patterns.iter().map(matches).collect::<Result<Vec<_>, SourceError>>()?.contains(&true) {
                    found.insert(topic.name.clone(), topic);
                }
            }
            if found.is_empty() && names.is_empty() {
                let patterns: Vec<&str> = patterns.iter().map(|p| p.as_str()).collect();
                return Err(SourceError::NotFound(format!("no topic matches {}; list them with kcat -L", patterns.join(", "))));
            }
        }
        let names: Vec<String> = names.into_iter().cloned().collect();
        for topic in cluster.topics(&names)? {
            match topic.error {
                None => _ = found.insert(topic.name.clone(), topic),
                Some(KafkaError::UNKNOWN_TOPIC) => return Err(not_found(&topic.name, cluster)),
                Some(error) => self.refused.push((topic.name, None, error.advice())),
            }
        }
        Ok(found.into_values().collect())
    }
}

fn not_found(name: &str, cluster: &mut Cluster) -> SourceError {
    let all: Vec<String> = cluster.all_topics().unwrap_or_default().into_iter().map(|topic| topic.name).collect();
    let near = config::nearest(name, all.iter().map(String::as_str), 5);
    let hint = if near.is_empty() {
        "check its name, and that this user may describe it".to_owned()
    } else {
        format!("did you mean {}?", near.join(", "))
    };
    SourceError::NotFound(format!("no topic {name}; {hint}"))
}

impl Source for KafkaSource {
    fn partitions(&mut self) -> Result<Vec<PartitionInfo>, SourceError> {
        let shared = self.cluster.clone();
        let mut cluster = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let topics = self.topics(&mut cluster)?;
        let names: Vec<String> = topics.iter().map(|topic| topic.name.clone()).collect();
        let cleanup = cluster.cleanup_policies(&names);
        let wanted = &self.selection.partitions;
        let mut infos = Vec::new();
        for topic in &topics {
            let partitions: Vec<i32> = topic.partitions.iter().copied().filter(|p| wanted.is_empty() || wanted.contains(p)).collect();
            for missing in wanted.iter().filter(|p| !topic.partitions.contains(p)) {
                let why = format!("there is no such partition; {} has {}", topic.name, topic.partitions.len());
                self.refused.push((topic.name.clone(), Some(*missing), why));
            }
            let marks = cluster.marks(&topic.name, &partitions, self.selection.start)?;
            for (partition, marks) in marks {
                let marks = match marks {
                    Ok(marks) => marks,
                    Err(error) => {
                        self.refused.push((topic.name.clone(), Some(partition), error.advice()));
                        continue;
                    }
                };
                let from = match self.selection.start {
                    Start::Beginning => marks.log_start,
                    Start::End => marks.high_watermark,
                    Start::Offset(offset) => offset,
                    Start::Tail(back) => (marks.high_watermark - back).max(marks.log_start),
                    Start::Timestamp(_) => marks.at_time.unwrap_or(marks.high_watermark),
                };
                infos.push(PartitionInfo {
                    topic: topic.name.as_str().into(),
                    topic_id: topic.id,
                    partition,
                    cleanup: cleanup.get(&topic.name).copied().unwrap_or(Cleanup::Unknown),
                    has_headers: true,
                    from,
                    until: (!self.selection.follow).then_some(marks.high_watermark.max(from)),
                    log_start: marks.log_start,
                });
            }
        }
        if infos.is_empty()
            && let [(topic, _, why), ..] = &self.refused[..]
        {
            return Err(SourceError::NotFound(format!("{topic}: {why}")));
        }
        Ok(infos)
    }

    fn refused(&self) -> Vec<(String, Option<i32>, String)> {
        self.refused.clone()
    }

    fn readers(self: Box<Self>, assignments: Vec<Assignment>) -> Result<Vec<Box<dyn Reader>>, SourceError> {
        let mut by_leader: BTreeMap<i32, Vec<Assignment>> = BTreeMap::new();
        {
            let mut cluster = self.cluster.lock().unwrap_or_else(PoisonError::into_inner);
            for assignment in assignments {
                let leader = cluster.leader(&assignment.info.topic, assignment.info.partition);
                by_leader.entry(leader.map_or(-1, |leader| leader.id)).or_default().push(assignment);
            }
        }
        let mut readers: Vec<Box<dyn Reader>> = Vec::new();
        for (_, assignments) in by_leader {
            let shares = READERS_PER_LEADER.min(assignments.len());
            let mut parts: Vec<Vec<Assignment>> = (0..shares).map(|_| Vec::new()).collect();
            for (number, assignment) in assignments.into_iter().enumerate() {
                parts[number % shares].push(assignment);
            }
            for part in parts {
                let reader = FetchReader::new(self.config.clone(), self.cluster.clone(), part, &self.selection);
                readers.push(Box::new(reader));
            }
        }
        Ok(readers)
    }
}
