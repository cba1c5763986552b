//! What the brokers answer.

use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult};
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchableTopicResponse, PartitionData,
};
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::log::{Log, parse};
use super::{World, edit};

pub fn versions(world: &World) -> ApiVersionsResponse {
    let mut apis = vec![
        (ApiKey::ApiVersions, 0, 3),
        (ApiKey::Metadata, 0, if world.has_ids { 12 } else { 9 }),
        (ApiKey::ListOffsets, 1, 7),
        (ApiKey::Fetch, 4, world.fetch_version),
    ];
    if world.has_configs {
        apis.push((ApiKey::DescribeConfigs, 1, 4));
    }
    let range =
        |(key, min, max)| ApiVersion::default().with_api_key(key as i16).with_min_version(min).with_max_version(max);
    ApiVersionsResponse::default().with_api_keys(apis.into_iter().map(range).collect())
}

pub fn metadata(world: &World, request: MetadataRequest, version: i16) -> MetadataResponse {
    let brokers = world.brokers.iter().enumerate().map(|(node, port)| {
        MetadataResponseBroker::default()
            .with_node_id((node as i32).into())
            .with_host(StrBytes::from_static_str("127.0.0.1"))
            .with_port(i32::from(*port))
    });
    let names: Vec<String> = match request.topics {
        None => world.topics.keys().cloned().collect(),
        Some(topics) => topics.into_iter().map(|topic| topic.name.unwrap().0.to_string()).collect(),
    };
    let topics = names.into_iter().map(|name| {
        let known = world.topics.get(&name);
        let partitions = known.iter().flat_map(|topic| &topic.logs).enumerate().map(|(number, log)| {
            MetadataResponsePartition::default()
                .with_partition_index(number as i32)
                .with_leader_id(log.leader.into())
                .with_error_code(if log.leader < 0 { 5 } else { 0 })
        });
        let partitions = partitions.collect();
        let id = known.filter(|_| version >= 10).map_or(Uuid::nil(), |topic| topic.id);
        MetadataResponseTopic::default()
            .with_error_code(known.map_or(3, |topic| topic.error))
            .with_name(Some(TopicName(StrBytes::from_string(name))))
            .with_topic_id(id)
            .with_partitions(partitions)
    });
    MetadataResponse::default().with_brokers(brokers.collect()).with_topics(topics.collect())
}

pub fn list_offsets(node: i32, world: &mut World, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let log = &world.topics[topic.name.0.as_str()].logs[asked.partition_index as usize];
            let offset = match asked.timestamp {
                -2 => log.log_start,
                -1 => log.high(),
                time => {
                    log.batches.iter().map(|b| parse(b)).find(|h| h.max_timestamp >= time).map_or(-1, |h| h.base_offset)
                }
            };
            ListOffsetsPartitionResponse::default()
                .with_partition_index(asked.partition_index)
                .with_error_code(if log.leader == node { 0 } else { 6 })
                .with_offset(offset)
        });
        let partitions = partitions.collect();
        ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions)
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

pub fn describe_configs(world: &World, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let results = request.resources.into_iter().map(|resource| {
        let policy = world.topics[resource.resource_name.as_str()].cleanup;
        let config = DescribeConfigsResourceResult::default()
            .with_name(StrBytes::from_static_str("cleanup.policy"))
            .with_value(Some(StrBytes::from_static_str(policy)));
        DescribeConfigsResult::default().with_resource_name(resource.resource_name).with_configs(vec![config])
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

pub fn fetch(node: i32, world: &mut World, request: FetchRequest, version: i16) -> FetchResponse {
    let mut responses = Vec::new();
    for asked in request.topics {
        let found = world.topics.iter().find(|(name, topic)| match version {
            ..13 => name.as_str() == asked.topic.0.as_str(),
            _ => topic.id == asked.topic_id,
        });
        let mut partitions = Vec::new();
        let mut fetched = Vec::new();
        for wanted in &asked.partitions {
            fetched.push((node, wanted.fetch_offset, wanted.last_fetched_epoch));
            let mut part = PartitionData::default().with_partition_index(wanted.partition);
            match found {
                None => part.error_code = if version < 13 { 3 } else { 100 },
                Some((_, topic)) => {
                    let log = &topic.logs[wanted.partition as usize];
                    fill(&mut part, node, log, wanted.fetch_offset, wanted.last_fetched_epoch, request.isolation_level);
                    edit(&mut part, |bytes| {
                        let first = if bytes.len() > 12 {
                            12 + i32::from_be_bytes(bytes[8..12].try_into().unwrap())
                        } else {
                            0
                        };
                        bytes.truncate(first.max(wanted.partition_max_bytes) as usize);
                    });
                }
            }
            partitions.push(part);
        }
        world.fetched.extend(fetched);
        let response = FetchableTopicResponse::default().with_partitions(partitions);
        responses.push(match version {
            ..13 => response.with_topic(asked.topic),
            _ => response.with_topic_id(asked.topic_id),
        });
    }
    FetchResponse::default().with_responses(responses)
}

fn fill(part: &mut PartitionData, node: i32, log: &Log, offset: i64, last_epoch: i32, isolation: i8) {
    (part.high_watermark, part.last_stable_offset, part.log_start_offset) = (-1, -1, -1);
    if log.leader != node {
        part.error_code = 6;
        return;
    }
    let (epoch, end) = if last_epoch >= 0 { log.end_of_epoch(last_epoch) } else { (last_epoch, i64::MAX) };
    if last_epoch >= 0 && end >= 0 && (epoch < last_epoch || end < offset) {
        part.diverging_epoch = EpochEndOffset::default().with_epoch(epoch).with_end_offset(end);
    } else if offset < log.log_start || offset > log.end() || end < 0 {
        part.error_code = 1;
        return;
    }
    part.high_watermark = log.high();
    part.last_stable_offset = log.last_stable();
    part.log_start_offset = log.log_start;
    if part.diverging_epoch.end_offset >= 0 {
        return;
    }
    let limit = if isolation == 1 { log.last_stable() } else { log.high() };
    let mut records = Vec::new();
    for bytes in &log.batches {
        let header = parse(bytes);
        if header.until() > offset && header.base_offset < limit {
            records.extend_from_slice(bytes);
        }
    }
    part.records = Some(records.into());
    if isolation == 1 {
        let overlapping = log.aborted.iter().filter(|(_, _, marker)| *marker >= offset);
        let entry = |&(producer, first, _): &(i64, i64, i64)| {
            AbortedTransaction::default().with_producer_id(producer.into()).with_first_offset(first)
        };
        part.aborted_transactions = Some(overlapping.map(entry).collect());
    }
}
