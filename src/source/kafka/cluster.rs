//! Everything that is not Fetch: metadata, offsets, topic configuration. Connections of its own, since a broker answers
//! nothing else on a connection that waits for records. It must not know who reads what.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResult;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponse;
use kafka_protocol::messages::{DescribeConfigsRequest, ListOffsetsRequest, MetadataRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::config::Config;
use super::connection::Connection;
use super::errors::KafkaError;
use crate::source::{Cleanup, SourceError, Start};

/// Special timestamps of ListOffsets.
pub(crate) const LATEST: i64 = -1;
pub(crate) const EARLIEST: i64 = -2;
/// How often what has no leader is asked for again before it is given up, and how long to wait before: 6 s in all.
const LEADER_TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(400);
/// Nor is it asked again after so long: a leader that cannot be reached takes the whole time a connection may take.
const LEADER_PATIENCE: Duration = Duration::from_secs(6);
/// Newest versions whose meaning is known here.
pub(crate) const METADATA: i16 = 12;
pub(crate) const LIST_OFFSETS: i16 = 10;
const DESCRIBE_CONFIGS: i16 = 4;

/// A partition by the topic's name.
pub type Spot = (Arc<str>, i32);

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

/// What a topic's name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The broker may be too old to tell ids.
    Exists(Option<Uuid>),
    Gone,
    /// The broker does not say.
    Unclear(KafkaError),
}

/// Offsets of a partition at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Marks {
    pub log_start: i64,
    pub high_watermark: i64,
    /// First offset at or after the time asked for.
    pub at_time: Option<i64>,
}

pub type Answers<T> = HashMap<Spot, Result<T, KafkaError>>;

pub struct Cluster {
    config: Arc<Config>,
    control: Connection,
    /// Control connections to leaders, by address.
    leaders: HashMap<String, Connection>,
    brokers: HashMap<i32, String>,
    partitions: HashMap<Arc<str>, HashMap<i32, i32>>,
}

impl Cluster {
    pub fn connect(config: Arc<Config>) -> Result<Self, SourceError> {
        let control = any_broker(&config, config.brokers.iter())?;
        let empty = HashMap::new();
        let mut cluster = Self { config, control, leaders: empty, brokers: HashMap::new(), partitions: HashMap::new() };
        // No topics, only the brokers: a connection that may not ask shows it here.
        cluster.metadata(Some(&[]))?;
        Ok(cluster)
    }

    fn metadata(&mut self, topics: Option<&[String]>) -> Result<MetadataResponse, SourceError> {
        if self.control.is_expiring() {
            self.reconnect()?;
        }
        let answer = match self.control.call(&self.metadata_request(topics), METADATA) {
            Err(SourceError::Io { what, source }) => {
                tracing::debug!(%what, %source, "control connection lost");
                self.reconnect()?;
                self.control.call(&self.metadata_request(topics), METADATA)?
            }
            answer => answer?,
        };
        self.learn(&answer);
        Ok(answer)
    }

    fn metadata_request(&self, topics: Option<&[String]>) -> MetadataRequest {
        let ask = |topic: &String| MetadataRequestTopic::default().with_name(Some(topic_name(topic)));
        // Versions below 4 always create what they are asked about, and have no field to say otherwise.
        let creates = self.control.version::<MetadataRequest>(METADATA).is_some_and(|version| version < 4);
        MetadataRequest::default()
            .with_topics(topics.map(|topics| topics.iter().map(ask).collect()))
            .with_allow_auto_topic_creation(creates)
    }

    /// Any broker known, then those that were named.
    fn reconnect(&mut self) -> Result<(), SourceError> {
        let known: Vec<String> = self.brokers.values().chain(&self.config.brokers).cloned().collect();
        self.control = any_broker(&self.config, known.iter())?;
        Ok(())
    }

    fn learn(&mut self, answer: &MetadataResponse) {
        self.brokers = answer.brokers.iter().map(|b| (b.node_id.0, address(&b.host, b.port))).collect();
        for topic in &answer.topics {
            let Some(name) = &topic.name else { continue };
            let leaders = topic.partitions.iter().map(|p| (p.partition_index, p.leader_id.0)).collect();
            self.partitions.insert(Arc::from(name.0.as_str()), leaders);
        }
    }

    /// The topics of these names, each with its error; waits a little for one that is just being made.
    pub fn topics(&mut self, names: &[String]) -> Result<Vec<TopicMetadata>, SourceError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut topics = parse(self.metadata(Some(names))?);
        for pause in pauses() {
            if !topics.iter().any(|topic| topic.error.is_some_and(KafkaError::is_transient)) {
                break;
            }
            std::thread::sleep(pause);
            topics = parse(self.metadata(Some(names))?);
        }
        Ok(topics)
    }

    pub fn all_topics(&mut self) -> Result<Vec<TopicMetadata>, SourceError> {
        self.metadata(None).map(parse)
    }

    /// Asks anew who leads what, and what the names stand for.
    pub fn refresh(&mut self, topics: &[Arc<str>]) -> Result<HashMap<Arc<str>, Standing>, SourceError> {
        let names: Vec<String> = topics.iter().map(|topic| topic.to_string()).collect();
        let found = parse(self.metadata(Some(&names))?);
        let standing = |topic: TopicMetadata| match topic.error {
            None => (Arc::from(topic.name), Standing::Exists(topic.id)),
            Some(KafkaError::UNKNOWN_TOPIC) => (Arc::from(topic.name), Standing::Gone),
            Some(error) => (Arc::from(topic.name), Standing::Unclear(error)),
        };
        Ok(found.into_iter().map(standing).collect())
    }

    pub fn leader(&self, topic: &str, partition: i32) -> Option<Leader> {
        let id = *self.partitions.get(topic)?.get(&partition)?;
        Some(Leader { id, address: self.brokers.get(&id)?.clone() })
    }

    /// Log start and end of each partition, and the offset at a time where one is asked for. What has no leader is
    /// asked for again for a while.
    pub fn marks(&mut self, spots: &[Spot], start: Start) -> Result<Answers<Marks>, SourceError> {
        let began = Instant::now();
        let mut found = self.marks_now(spots, start);
        for pause in pauses() {
            let is_open = |spot: &&Spot| matches!(found.get(*spot), Some(Err(error)) if error.is_transient());
            let open: Vec<Spot> = spots.iter().filter(is_open).cloned().collect();
            if open.is_empty() || began.elapsed() > LEADER_PATIENCE {
                break;
            }
            std::thread::sleep(pause);
            let mut topics: Vec<Arc<str>> = open.iter().map(|(topic, _)| topic.clone()).collect();
            topics.dedup();
            self.refresh(&topics)?;
            found.extend(self.marks_now(&open, start));
        }
        Ok(found)
    }

    fn marks_now(&mut self, spots: &[Spot], start: Start) -> Answers<Marks> {
        let ranges = self.log_ranges(spots);
        let times = match start {
            Start::Timestamp(time) => self.list_offsets(spots, time),
            _ => HashMap::new(),
        };
        let marks = |(spot, range): (Spot, Result<(i64, i64), KafkaError>)| {
            let at_time = times.get(&spot).copied().transpose();
            let marks = range.and_then(|(log_start, high_watermark)| {
                Ok(Marks { log_start, high_watermark, at_time: at_time?.filter(|&offset| offset >= 0) })
            });
            (spot, marks)
        };
        ranges.into_iter().map(marks).collect()
    }

    /// Log start and high watermark of each partition.
    pub fn log_ranges(&mut self, spots: &[Spot]) -> Answers<(i64, i64)> {
        let starts = self.list_offsets(spots, EARLIEST);
        // Who did not answer once is not waited for twice.
        let answering = spots.iter().filter(|spot| starts.get(*spot).is_some_and(Result::is_ok));
        let ends = self.list_offsets(&answering.cloned().collect::<Vec<_>>(), LATEST);
        let range = |(spot, start): (Spot, Result<i64, KafkaError>)| {
            let end = ends.get(&spot).copied().unwrap_or(Err(KafkaError::LEADER_NOT_AVAILABLE));
            (spot, start.and_then(|start| Ok((start, end?))))
        };
        starts.into_iter().map(range).collect()
    }

    /// Offsets at a timestamp, or at one of the special ones, from each partition's leader; −1 when there is none.
    fn list_offsets(&mut self, spots: &[Spot], timestamp: i64) -> Answers<i64> {
        let mut found: Answers<i64> =
            spots.iter().map(|spot| (spot.clone(), Err(KafkaError::LEADER_NOT_AVAILABLE))).collect();
        let mut by_leader: HashMap<String, HashMap<Arc<str>, Vec<i32>>> = HashMap::new();
        for (topic, partition) in spots {
            if let Some(leader) = self.leader(topic, *partition) {
                let topics = by_leader.entry(leader.address).or_default();
                topics.entry(topic.clone()).or_default().push(*partition);
            }
        }
        for (address, topics) in by_leader {
            let request = list_offsets_request(&topics, timestamp, 0);
            let answer = self.leader_connection(&address).and_then(|leader| leader.call(&request, LIST_OFFSETS));
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) => {
                    self.leaders.remove(&address);
                    tracing::info!(%error, "asking a leader for its offsets failed");
                    continue;
                }
            };
            for topic in answer.topics {
                let name: Arc<str> = Arc::from(topic.name.0.as_str());
                for partition in topic.partitions {
                    let offset = KafkaError::from_code(partition.error_code).map_or(Ok(partition.offset), Err);
                    found.insert((name.clone(), partition.partition_index), offset);
                }
            }
        }
        found
    }

    fn leader_connection(&mut self, address: &str) -> Result<&mut Connection, SourceError> {
        if self.leaders.get(address).is_some_and(Connection::is_expiring) {
            self.leaders.remove(address);
        }
        match self.leaders.entry(address.to_owned()) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(free) => Ok(free.insert(Connection::open(address, &self.config)?)),
        }
    }

    /// What `cleanup.policy` says. What a broker does not tell is left out.
    pub fn cleanup_policies(&mut self, topics: &[String]) -> HashMap<String, Cleanup> {
        const TOPIC: i8 = 2;
        let ask = |topic: &String| {
            DescribeConfigsResource::default()
                .with_resource_type(TOPIC)
                .with_resource_name(StrBytes::from_string(topic.clone()))
                .with_configuration_keys(Some(vec![StrBytes::from_static_str("cleanup.policy")]))
        };
        if self.control.version::<DescribeConfigsRequest>(DESCRIBE_CONFIGS).is_none() || topics.is_empty() {
            return HashMap::new();
        }
        let request = DescribeConfigsRequest::default().with_resources(topics.iter().map(ask).collect());
        let answer = match self.control.call(&request, DESCRIBE_CONFIGS) {
            Ok(answer) => answer,
            Err(error) => {
                tracing::info!(%error, "the configuration of the topics could not be read");
                return HashMap::new();
            }
        };
        let policy = |result: &DescribeConfigsResult| {
            let value =
                result.configs.iter().find(|config| config.name.as_str() == "cleanup.policy")?.value.as_ref()?;
            let cleanup = match (value.contains("compact"), value.contains("delete")) {
                (true, true) => Cleanup::CompactDelete,
                (true, false) => Cleanup::Compact,
                (false, _) => Cleanup::Delete,
            };
            Some((result.resource_name.to_string(), cleanup))
        };
        answer.results.iter().filter(|result| result.error_code == 0).filter_map(policy).collect()
    }
}

/// The first broker that answers. When none does, the last one's error.
fn any_broker<'a>(config: &Config, brokers: impl Iterator<Item = &'a String>) -> Result<Connection, SourceError> {
    let mut last = SourceError::NotFound("no broker is named; give -b HOST:PORT".to_owned());
    for broker in brokers {
        match Connection::open(broker, config) {
            Ok(connection) => return Ok(connection),
            // Asking the others would only lock the user out sooner.
            Err(error @ SourceError::Authenticate { .. }) => return Err(error),
            Err(error) => {
                tracing::debug!(%error, "a broker cannot be used");
                last = error;
            }
        }
    }
    Err(last)
}

fn pauses() -> impl Iterator<Item = Duration> {
    (0..LEADER_TRIES - 1).map(|attempt| FIRST_PAUSE * (1 << attempt))
}

fn parse(answer: MetadataResponse) -> Vec<TopicMetadata> {
    let topics = answer.topics.into_iter().filter_map(|topic| {
        let mut partitions: Vec<i32> = topic.partitions.iter().map(|p| p.partition_index).collect();
        partitions.sort_unstable();
        Some(TopicMetadata {
            name: topic.name?.0.to_string(),
            id: (!topic.topic_id.is_nil()).then_some(topic.topic_id),
            error: KafkaError::from_code(topic.error_code),
            partitions,
        })
    });
    topics.collect()
}

/// Asks a leader for the offsets of its partitions at a timestamp. With the isolation level of committed reading, 1, the
/// latest offset is the last stable one.
pub(crate) fn list_offsets_request(
    topics: &HashMap<Arc<str>, Vec<i32>>,
    timestamp: i64,
    isolation: i8,
) -> ListOffsetsRequest {
    let partition = |&partition: &i32| {
        ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_current_leader_epoch(-1)
            .with_timestamp(timestamp)
    };
    let topic = |(name, partitions): (&Arc<str>, &Vec<i32>)| {
        let partitions = partitions.iter().map(partition).collect();
        ListOffsetsTopic::default().with_name(topic_name(name)).with_partitions(partitions)
    };
    ListOffsetsRequest::default()
        .with_replica_id((-1).into())
        .with_isolation_level(isolation)
        .with_topics(topics.iter().map(topic).collect())
}

/// Brackets an IPv6 address.
pub(crate) fn address(host: &str, port: i32) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

pub fn topic_name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}
