//! Fetch as it is asked and answered: the request's fields over all versions, and the parts of an answer that count.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{FetchRequest, FetchResponse};
use uuid::Uuid;

use super::aborted::AbortedTransaction;
use super::cluster::topic_name;
use super::errors::KafkaError;
use crate::audit::coverage::Isolation;
use crate::source::PartitionInfo;

/// Newest version whose meaning is known here.
const NEWEST: i16 = 18;
/// Newest version that names topics; later ones give their ids.
const NEWEST_BY_NAME: i16 = 12;
/// First version that takes the epoch of the last record read.
const FIRST_WITH_EPOCH: i16 = 12;

/// Newest version to ask for.
pub fn newest_version(topics_have_ids: bool) -> i16 {
    if topics_have_ids { NEWEST } else { NEWEST_BY_NAME }
}

pub fn is_by_name(version: i16) -> bool {
    version <= NEWEST_BY_NAME
}

/// One partition of a request.
#[derive(Clone, Copy, Debug)]
pub struct Want<'a> {
    pub info: &'a PartitionInfo,
    pub offset: i64,
    /// −1 when unknown.
    pub last_epoch: i32,
    pub max_bytes: i32,
}

/// How an answer may be.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    pub isolation: Isolation,
    pub max_wait_ms: i32,
    pub max_bytes: i32,
}

/// A request without a session. A broker fills its answer in the order of the partitions.
pub fn request(wants: &[Want<'_>], terms: Terms, version: i16) -> FetchRequest {
    let mut topics: Vec<FetchTopic> = Vec::new();
    let mut places: HashMap<&Arc<str>, usize> = HashMap::new();
    for want in wants {
        let place = *places.entry(&want.info.topic).or_insert_with(|| {
            topics.push(match want.info.topic_id {
                Some(id) if !is_by_name(version) => FetchTopic::default().with_topic_id(id),
                _ => FetchTopic::default().with_topic(topic_name(&want.info.topic)),
            });
            topics.len() - 1
        });
        let last_epoch = if version >= FIRST_WITH_EPOCH { want.last_epoch } else { -1 };
        topics[place].partitions.push(
            FetchPartition::default()
                .with_partition(want.info.partition)
                .with_fetch_offset(want.offset)
                .with_last_fetched_epoch(last_epoch)
                .with_partition_max_bytes(want.max_bytes),
        );
    }
    FetchRequest::default()
        .with_max_wait_ms(terms.max_wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(terms.max_bytes)
        .with_isolation_level(match terms.isolation {
            Isolation::ReadUncommitted => 0,
            Isolation::ReadCommitted => 1,
        })
        .with_topics(topics)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// −1 when the broker is too old to tell.
    pub log_start: i64,
    pub high: i64,
    pub last_stable: i64,
}

/// What an answer says of one partition.
pub struct Part {
    pub outcome: Result<(), KafkaError>,
    pub marks: Watermarks,
    /// (epoch, end offset) where the leader's log parts from what was read.
    pub diverging: Option<(i32, i64)>,
    pub aborted: Vec<AbortedTransaction>,
    /// A slice of the received frame.
    pub records: Bytes,
}

impl From<PartitionData> for Part {
    fn from(data: PartitionData) -> Self {
        let aborted = data.aborted_transactions.unwrap_or_default();
        let aborted =
            aborted.iter().map(|a| AbortedTransaction { producer_id: a.producer_id.0, first_offset: a.first_offset });
        Self {
            outcome: KafkaError::from_code(data.error_code).map_or(Ok(()), Err),
            marks: Watermarks {
                log_start: data.log_start_offset,
                high: data.high_watermark,
                last_stable: data.last_stable_offset,
            },
            diverging: (data.diverging_epoch.end_offset >= 0)
                .then_some((data.diverging_epoch.epoch, data.diverging_epoch.end_offset)),
            aborted: aborted.collect(),
            records: data.records.unwrap_or_default(),
        }
    }
}

/// Which lane a partition of an answer belongs to.
#[derive(Default)]
pub struct Places {
    by_id: HashMap<Uuid, HashMap<i32, usize>>,
    by_name: HashMap<Arc<str>, HashMap<i32, usize>>,
}

impl Places {
    pub fn new<'a>(infos: impl Iterator<Item = &'a PartitionInfo>) -> Self {
        let mut places = Self::default();
        for (lane, info) in infos.enumerate() {
            if let Some(id) = info.topic_id {
                places.by_id.entry(id).or_default().insert(info.partition, lane);
            }
            places.by_name.entry(info.topic.clone()).or_default().insert(info.partition, lane);
        }
        places
    }

    pub fn topics_have_ids(&self) -> bool {
        self.by_id.len() == self.by_name.len()
    }

    /// The parts of an answer, each with its lane. What was never asked for is left out.
    pub fn parts(&self, answer: FetchResponse, version: i16) -> Vec<(usize, Part)> {
        let mut parts = Vec::new();
        for topic in answer.responses {
            let lanes = match is_by_name(version) {
                true => self.by_name.get(topic.topic.0.as_str()),
                false => self.by_id.get(&topic.topic_id),
            };
            let Some(lanes) = lanes else { continue };
            let of_lane = |data: PartitionData| Some((*lanes.get(&data.partition_index)?, Part::from(data)));
            parts.extend(topic.partitions.into_iter().filter_map(of_lane));
        }
        parts
    }
}
