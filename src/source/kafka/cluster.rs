//! Everything that is not Fetch: metadata, offsets, topic configuration. Connections of its own, since a request
//! behind a long poll waits for it.

use std::collections::HashMap;
use std::sync::Arc;

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponse;
use kafka_protocol::messages::{BrokerId, DescribeConfigsRequest, ListOffsetsRequest, MetadataRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::config::Config;
use super::connection::Connection;
use super::errors::KafkaError;
use crate::source::{Cleanup, SourceError, Start};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
/// How often a partition without a leader is asked for again before it is given up.
const LEADER_TRIES: u32 = 5;

#[derive(Clone, Debug)]
pub struct TopicMetadata {
    pub name: String,
    pub id: Option<Uuid>,
    pub error: Option<KafkaError>,
    pub partitions: Vec<i32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    pub id: i32,
    pub address: String,
}

/// Offsets of a partition at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Marks {
    pub log_start: i64,
    pub high_watermark: i64,
    /// First offset at or after the time asked for.
    pub at_time: Option<i64>,
}

pub struct Cluster {
    config: Arc<Config>,
    control: Connection,
    /// Control connections to leaders, by address.
    leaders: HashMap<String, Connection>,
    brokers: HashMap<i32, String>,
    partitions: HashMap<(String, i32), i32>,
    ids: HashMap<String, Uuid>,
}

impl Cluster {
    pub fn connect(config: Arc<Config>) -> Result<Self, SourceError> {
        let control = Self::any_broker(&config, config.brokers.iter())?;
        Ok(Self {
            config,
            control,
            leaders: HashMap::new(),
            brokers: HashMap::new(),
            partitions: HashMap::new(),
            ids: HashMap::new(),
        })
    }

    /// The first broker that answers. When none does, the last one's error.
    fn any_broker<'a>(config: &Config, brokers: impl Iterator<Item = &'a String>) -> Result<Connection, SourceError> {
        let mut last = SourceError::NotFound("no broker is named; give -b HOST:PORT".to_owned());
        for broker in brokers {
            match Connection::open(broker, config) {
                Ok(connection) => return Ok(connection),
                Err(error @ SourceError::Authenticate { .. }) => return Err(error),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn metadata(&mut self, topics: Option<&[String]>) -> Result<MetadataResponse, SourceError> {
        let ask = |topic: &String| MetadataRequestTopic::default().with_name(Some(name_of(topic)));
        let request = MetadataRequest::default()
            .with_topics(topics.map(|topics| topics.iter().map(ask).collect()))
            .with_allow_auto_topic_creation(false);
        let answer = match self.control.call(&request, 12) {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(%error, "control connection lost");
                self.reconnect()?;
                self.control.call(&request, 12)?
            }
        };
        self.learn(&answer);
        Ok(answer)
    }

    /// Any broker known, then those that were named.
    fn reconnect(&mut self) -> Result<(), SourceError> {
        let known: Vec<String> = self.brokers.values().cloned().chain(self.config.brokers.iter().cloned()).collect();
        self.control = Self::any_broker(&self.config, known.iter())?;
        Ok(())
    }

    fn learn(&mut self, answer: &MetadataResponse) {
        for broker in &answer.brokers {
            self.brokers.insert(broker.node_id.0, format!("{}:{}", broker.host.as_str(), broker.port));
        }
        for topic in &answer.topics {
            let Some(name) = &topic.name else { continue };
            let name = name.0.as_str();
            if topic.topic_id.is_nil() {
                self.ids.remove(name);
            } else {
                self.ids.insert(name.to_owned(), topic.topic_id);
            }
            for partition in &topic.partitions {
                self.partitions.insert((name.to_owned(), partition.partition_index), partition.leader_id.0);
            }
        }
    }

    fn parse(answer: MetadataResponse) -> Vec<TopicMetadata> {
        let topics = answer.topics.into_iter().filter_map(|topic| {
            let mut partitions: Vec<i32> = topic.partitions.iter().map(|p| p.partition_index).collect();
            partitions.sort_unstable();
            Some(TopicMetadata {
                name: topic.name?.0.to_string(),
                id: (!topic.topic_id.is_nil()).then_some(topic.topic_id),
                error: KafkaError::from_code(topic.error_code).filter(|error| !error.is_transient()),
                partitions,
            })
        });
        topics.collect()
    }

    pub fn topics(&mut self, names: &[String]) -> Result<Vec<TopicMetadata>, SourceError> {
        if names.is_empty() { Ok(Vec::new()) } else { self.metadata(Some(names)).map(Self::parse) }
    }

    pub fn all_topics(&mut self) -> Result<Vec<TopicMetadata>, SourceError> {
        let all = self.metadata(None).map(Self::parse)?;
        Ok(all.into_iter().filter(|topic| topic.error.is_none()).collect())
    }

    /// Asks anew who leads what, and which id the name has; `Ok(None)` when the topic is gone.
    pub fn refresh(&mut self, topic: &str) -> Result<Option<Option<Uuid>>, SourceError> {
        let found = self.topics(&[topic.to_owned()])?;
        let gone = found.iter().any(|t| t.error == Some(KafkaError::UNKNOWN_TOPIC));
        Ok((!gone).then(|| self.ids.get(topic).copied()))
    }

    pub fn leader(&self, topic: &str, partition: i32) -> Option<Leader> {
        let id = *self.partitions.get(&(topic.to_owned(), partition))?;
        Some(Leader { id, address: self.brokers.get(&id)?.clone() })
    }

    /// Log start and end of each partition, and the offset at a time when asked for. A partition without a leader is
    /// asked for again for a while.
    pub fn marks(
        &mut self,
        topic: &str,
        partitions: &[i32],
        start: Start,
    ) -> Result<Vec<(i32, Result<Marks, KafkaError>)>, SourceError> {
        let mut found: Vec<(i32, Result<Marks, KafkaError>)> = Vec::new();
        let mut open: Vec<i32> = partitions.to_vec();
        for attempt in 0..LEADER_TRIES {
            if attempt > 0 {
                std::thread::sleep(std::time::Duration::from_millis(200 << attempt));
                self.topics(&[topic.to_owned()])?;
            }
            let mut again = Vec::new();
            let earliest = self.list_offsets(topic, &open, EARLIEST)?;
            let latest = self.list_offsets(topic, &open, LATEST)?;
            let at_time = match start {
                Start::Timestamp(time) => self.list_offsets(topic, &open, time)?,
                _ => HashMap::new(),
            };
            for &partition in &open {
                let marks = match (earliest.get(&partition), latest.get(&partition)) {
                    (Some(Ok(log_start)), Some(Ok(end))) => Ok(Marks {
                        log_start: *log_start,
                        high_watermark: *end,
                        at_time: at_time.get(&partition).and_then(|at| at.ok()).filter(|&at| at >= 0),
                    }),
                    (Some(Err(error)), _) | (_, Some(Err(error))) => Err(*error),
                    _ => Err(KafkaError(5)),
                };
                match marks {
                    Err(error) if error.is_transient() && attempt + 1 < LEADER_TRIES => again.push(partition),
                    marks => found.push((partition, marks)),
                }
            }
            open = again;
            if open.is_empty() {
                break;
            }
        }
        found.sort_by_key(|(partition, _)| *partition);
        Ok(found)
    }

    /// Offsets at a timestamp, or at one of the special ones, from each partition's leader.
    pub fn list_offsets(
        &mut self,
        topic: &str,
        partitions: &[i32],
        timestamp: i64,
    ) -> Result<HashMap<i32, Result<i64, KafkaError>>, SourceError> {
        let mut by_leader: HashMap<String, Vec<i32>> = HashMap::new();
        let mut found = HashMap::new();
        for &partition in partitions {
            match self.leader(topic, partition) {
                Some(leader) => by_leader.entry(leader.address).or_default().push(partition),
                None => _ = found.insert(partition, Err(KafkaError(5))),
            }
        }
        for (address, partitions) in by_leader {
            let ask = |&partition: &i32| {
                let ask = ListOffsetsPartition::default().with_partition_index(partition);
                ask.with_current_leader_epoch(-1).with_timestamp(timestamp)
            };
            let asked = ListOffsetsTopic::default().with_name(name_of(topic));
            let asked = asked.with_partitions(partitions.iter().map(ask).collect());
            let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![asked]);
            let answer = match self.leader_connection(&address).and_then(|leader| leader.call(&request, 10)) {
                Ok(answer) => answer,
                Err(error) => {
                    self.leaders.remove(&address);
                    tracing::info!(%error, "asking a leader for its offsets failed");
                    found.extend(partitions.iter().map(|&p| (p, Err(KafkaError(5)))));
                    continue;
                }
            };
            for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
                let offset = match KafkaError::from_code(partition.error_code) {
                    None => Ok(partition.offset),
                    Some(error) => Err(error),
                };
                found.insert(partition.partition_index, offset);
            }
        }
        Ok(found)
    }

    pub fn log_start(&mut self, topic: &str, partition: i32) -> Option<i64> {
        self.list_offsets(topic, &[partition], EARLIEST).ok()?.get(&partition)?.ok()
    }

    pub fn log_end(&mut self, topic: &str, partition: i32) -> Option<i64> {
        self.list_offsets(topic, &[partition], LATEST).ok()?.get(&partition)?.ok()
    }

    fn leader_connection(&mut self, address: &str) -> Result<&mut Connection, SourceError> {
        if self.leaders.get(address).is_some_and(Connection::is_expiring) {
            self.leaders.remove(address);
        }
        match self.leaders.entry(address.to_owned()) {
            std::collections::hash_map::Entry::Occupied(known) => Ok(known.into_mut()),
            std::collections::hash_map::Entry::Vacant(free) => Ok(free.insert(Connection::open(address, &self.config)?)),
        }
    }

    /// What `cleanup.policy` says. A broker that does not tell leaves it unknown.
    pub fn cleanup_policies(&mut self, topics: &[String]) -> HashMap<String, Cleanup> {
        const TOPIC: i8 = 2;
        let ask = |topic: &String| {
            DescribeConfigsResource::default()
                .with_resource_type(TOPIC)
                .with_resource_name(StrBytes::from_string(topic.clone()))
                .with_configuration_keys(Some(vec![StrBytes::from_static_str("cleanup.policy")]))
        };
        let request = DescribeConfigsRequest::default().with_resources(topics.iter().map(ask).collect());
        if self.control.version::<DescribeConfigsRequest>(4).is_none() {
            return HashMap::new();
        }
        let answer = match self.control.call(&request, 4) {
            Ok(answer) => answer,
            Err(error) => {
                tracing::info!(%error, "the topics' configuration could not be read");
                return HashMap::new();
            }
        };
        let policy = |result: &kafka_protocol::messages::describe_configs_response::DescribeConfigsResult| {
            let value = result.configs.iter().find(|config| config.name.as_str() == "cleanup.policy")?.value.as_ref()?;
            let cleanup = if value.contains("compact") { Cleanup::Compact } else { Cleanup::Delete };
            Some((result.resource_name.to_string(), cleanup))
        };
        answer.results.iter().filter(|result| result.error_code == 0).filter_map(policy).collect()
    }
}

pub fn name_of(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}
