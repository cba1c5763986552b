//! A cluster in this process for tests: real sockets and frames, logs in memory, and a hook that may change any answer
//! to a Fetch or close the connection instead.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
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
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use uuid::Uuid;

use crate::wire::BatchHeader;
use crate::wire::encode::{write_batch, write_record};

pub const TRANSACTIONAL: i16 = 0x10;
pub const CONTROL: i16 = 0x30;

/// A plain header: no producer, epoch 0.
pub fn header(base_offset: i64, records: usize) -> BatchHeader {
    BatchHeader {
        base_offset,
        leader_epoch: 0,
        crc: 0,
        attributes: 0,
        last_offset_delta: records as i32 - 1,
        base_timestamp: 1_000,
        max_timestamp: 1_000,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        records_count: records as i32,
    }
}

/// A batch of that header; every record's value is its offset, in twelve digits: batches of as many records are equally long.
pub fn batch_of(header: BatchHeader) -> Vec<u8> {
    let mut body = Vec::new();
    for delta in 0..header.records_count {
        let value = format!("{:012}", header.base_offset + i64::from(delta));
        write_record(&mut body, 0, delta, None, Some(value.as_bytes()), &[]);
    }
    let mut out = Vec::new();
    write_batch(&mut out, &header, &body);
    out
}

pub fn batch(base_offset: i64, records: usize) -> Vec<u8> {
    batch_of(header(base_offset, records))
}

/// The marker that ends a transaction.
pub fn marker(base_offset: i64, producer_id: i64, commits: bool) -> Vec<u8> {
    let mut body = Vec::new();
    write_record(&mut body, 0, 0, Some(&[0, 0, 0, u8::from(commits)]), Some(&[0; 6]), &[]);
    let mut out = Vec::new();
    write_batch(&mut out, &BatchHeader { attributes: CONTROL, producer_id, ..header(base_offset, 1) }, &body);
    out
}

#[derive(Default)]
pub struct Log {
    pub batches: Vec<Vec<u8>>,
    pub log_start: i64,
    /// Absent: the log's end.
    pub high: Option<i64>,
    pub last_stable: Option<i64>,
    /// (producer id, first offset, offset of the marker).
    pub aborted: Vec<(i64, i64, i64)>,
    /// Number of the broker that leads; −1 when none does.
    pub leader: i32,
}

impl Log {
    pub fn of(sizes: &[usize]) -> Self {
        let mut log = Self::default();
        for &records in sizes {
            log.append(records);
        }
        log
    }

    pub fn append(&mut self, records: usize) {
        self.batches.push(batch(self.end(), records));
    }

    pub fn end(&self) -> i64 {
        self.batches.last().map_or(self.log_start, |bytes| parse(bytes).until())
    }

    fn high(&self) -> i64 {
        self.high.unwrap_or_else(|| self.end())
    }

    fn last_stable(&self) -> i64 {
        self.last_stable.unwrap_or_else(|| self.high())
    }

    /// Largest epoch at or below the one given, and where it ends: what OffsetsForLeaderEpoch answers.
    fn end_of_epoch(&self, epoch: i32) -> (i32, i64) {
        let headers: Vec<BatchHeader> = self.batches.iter().map(|bytes| parse(bytes)).collect();
        let of_epoch = headers.iter().rev().find(|header| header.leader_epoch <= epoch);
        of_epoch.map_or((-1, -1), |header| {
            let after = headers.iter().find(|other| other.leader_epoch > header.leader_epoch);
            (header.leader_epoch, after.map_or(self.end(), |after| after.base_offset))
        })
    }
}

fn parse(bytes: &[u8]) -> BatchHeader {
    crate::wire::Batches::new(bytes).next().unwrap().unwrap().header
}

pub struct Topic {
    pub id: Uuid,
    pub error: i16,
    pub cleanup: &'static str,
    pub logs: Vec<Log>,
}

pub enum Then {
    Answer,
    Close,
}

type Hook = Box<dyn FnMut(usize, &mut FetchResponse) -> Then + Send>;

pub struct World {
    pub topics: BTreeMap<String, Topic>,
    pub brokers: Vec<u16>,
    pub fetch_version: i16,
    pub has_ids: bool,
    pub has_configs: bool,
    /// (broker, offset, last fetched epoch) of every partition asked for.
    pub fetched: Vec<(i32, i64, i32)>,
    fetches: usize,
    hook: Hook,
}

impl World {
    pub fn log(&mut self, topic: &str, partition: usize) -> &mut Log {
        &mut self.topics.get_mut(topic).unwrap().logs[partition]
    }

    /// Brokers of versions 2.8 to 3.0 know topic ids and fetch by name.
    pub fn speak(&mut self, fetch_version: i16, has_ids: bool) {
        (self.fetch_version, self.has_ids) = (fetch_version, has_ids);
    }
}

pub struct FakeCluster {
    world: Arc<Mutex<World>>,
    stop: Arc<AtomicBool>,
}

impl FakeCluster {
    /// Brokers 0, 1 … that all serve the same world.
    pub fn start(brokers: usize) -> Self {
        let listeners: Vec<TcpListener> = (0..brokers).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let world = Arc::new(Mutex::new(World {
            topics: BTreeMap::new(),
            brokers: listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect(),
            fetch_version: 18,
            has_ids: true,
            has_configs: true,
            fetched: Vec::new(),
            fetches: 0,
            hook: Box::new(|_, _| Then::Answer),
        }));
        let stop = Arc::new(AtomicBool::new(false));
        for (node, listener) in listeners.into_iter().enumerate() {
            let (world, stop) = (world.clone(), stop.clone());
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let world = world.clone();
                    std::thread::spawn(move || serve(node as i32, stream.unwrap(), &world));
                }
            });
        }
        Self { world, stop }
    }

    pub fn with_topic(self, name: &str, logs: Vec<Log>) -> Self {
        let topic = Topic { id: Uuid::from_u128(rand_id(name)), error: 0, cleanup: "delete", logs };
        self.world().topics.insert(name.to_owned(), topic);
        self
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Lets `hook` see every answer to a Fetch, with its number from 0, before it is sent.
    pub fn on_fetch(self, hook: impl FnMut(usize, &mut FetchResponse) -> Then + Send + 'static) -> Self {
        self.world().hook = Box::new(hook);
        self
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.world().brokers[0])
    }
}

fn rand_id(name: &str) -> u128 {
    xxhash_rust::xxh3::xxh3_128(name.as_bytes())
}

impl Drop for FakeCluster {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the accepting threads.
        for port in &self.world().brokers {
            let _ = TcpStream::connect(("127.0.0.1", *port));
        }
    }
}

/// The first partition of an answer, which most tests have only one of.
pub fn only(answer: &mut FetchResponse) -> &mut PartitionData {
    &mut answer.responses[0].partitions[0]
}

/// Changes the records of an answer.
pub fn edit(part: &mut PartitionData, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = part.records.take().unwrap_or_default().to_vec();
    change(&mut bytes);
    part.records = Some(bytes.into());
}

fn serve(node: i32, mut stream: TcpStream, world: &Mutex<World>) {
    loop {
        let mut length = [0; 4];
        if stream.read_exact(&mut length).is_err() {
            return;
        }
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        if stream.read_exact(&mut frame).is_err() {
            return;
        }
        let mut frame = Bytes::from(frame);
        let key = i16::from_be_bytes([frame[0], frame[1]]);
        let version = i16::from_be_bytes([frame[2], frame[3]]);
        let key = ApiKey::try_from(key).unwrap();
        let header = RequestHeader::decode(&mut frame, key.request_header_version(version)).unwrap();
        let mut out = BytesMut::new();
        out.extend_from_slice(&[0; 4]);
        let reply = ResponseHeader::default().with_correlation_id(header.correlation_id);
        reply.encode(&mut out, key.response_header_version(version)).unwrap();
        let then = answer(node, key, version, frame, world, &mut out);
        let length = (out.len() - 4) as u32;
        out[..4].copy_from_slice(&length.to_be_bytes());
        if matches!(then, Then::Close) || stream.write_all(&out).is_err() {
            return;
        }
    }
}

fn answer(node: i32, key: ApiKey, version: i16, mut frame: Bytes, world: &Mutex<World>, out: &mut BytesMut) -> Then {
    let mut locked = world.lock().unwrap();
    match key {
        ApiKey::ApiVersions => {
            let answer = versions(&locked);
            answer.encode(out, version).unwrap();
        }
        ApiKey::Metadata => {
            let request = MetadataRequest::decode(&mut frame, version).unwrap();
            let answer = metadata(&locked, request, version);
            answer.encode(out, version).unwrap();
        }
        ApiKey::ListOffsets => {
            let request = ListOffsetsRequest::decode(&mut frame, version).unwrap();
            let answer = list_offsets(node, &mut locked, request);
            answer.encode(out, version).unwrap();
        }
        ApiKey::DescribeConfigs => {
            let request = DescribeConfigsRequest::decode(&mut frame, version).unwrap();
            let answer = describe_configs(&locked, request);
            answer.encode(out, version).unwrap();
        }
        ApiKey::Fetch => {
            let request = FetchRequest::decode(&mut frame, version).unwrap();
            let wait = Duration::from_millis(request.max_wait_ms.min(20) as u64);
            let mut answer = fetch(node, &mut locked, request, version);
            let number = locked.fetches;
            locked.fetches += 1;
            let then = (locked.hook)(number, &mut answer);
            drop(locked);
            let parts = answer.responses.iter().flat_map(|topic| &topic.partitions);
            if parts.clone().all(|part| part.error_code == 0 && part.records.as_ref().is_none_or(|r| r.is_empty())) {
                std::thread::sleep(wait);
            }
            answer.encode(out, version).unwrap();
            return then;
        }
        _ => return Then::Close,
    }
    Then::Answer
}

fn versions(world: &World) -> ApiVersionsResponse {
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

fn metadata(world: &World, request: MetadataRequest, version: i16) -> MetadataResponse {
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

fn list_offsets(node: i32, world: &mut World, request: ListOffsetsRequest) -> ListOffsetsResponse {
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

fn describe_configs(world: &World, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let results = request.resources.into_iter().map(|resource| {
        let policy = world.topics[resource.resource_name.as_str()].cleanup;
        let config = DescribeConfigsResourceResult::default()
            .with_name(StrBytes::from_static_str("cleanup.policy"))
            .with_value(Some(StrBytes::from_static_str(policy)));
        DescribeConfigsResult::default().with_resource_name(resource.resource_name).with_configs(vec![config])
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

fn fetch(node: i32, world: &mut World, request: FetchRequest, version: i16) -> FetchResponse {
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
