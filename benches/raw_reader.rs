//! The yardstick of `scripts/bench`: how fast can a partition be read if nothing is asked of it but its checksums? Plain
//! Fetch over two connections, every batch's CRC verified, every record walked, nothing kept.
//!
//! `raw_reader BROKER:PORT TOPIC` reads from the log's start to its end. It knows one broker, no TLS, and stops at any
//! error.

use std::env;
use std::io::{Error, Read as _, Result, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    ApiKey, FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse, MetadataRequest, MetadataResponse,
    RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use sordini::wire::{Batches, Scratch};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Two are the best known number on one leader: 11 to 51 % over one, and a third adds nothing.
const CONNECTIONS: usize = 2;
const PARTITION_BYTES: i32 = 4 << 20;
const ANSWER_BYTES: i32 = 8 << 20;
const METADATA_VERSION: i16 = 12;
const LIST_OFFSETS_VERSION: i16 = 7;
const FETCH_VERSION: i16 = 12;
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

#[derive(Clone, Copy, Debug)]
struct Range {
    partition: i32,
    position: i64,
    end: i64,
}

#[derive(Default)]
struct Count {
    records: u64,
    bytes: u64,
}

fn main() -> Result<()> {
    // `cargo bench` passes flags of its own.
    let args: Vec<_> = env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let [broker, topic] = args.as_slice() else {
        println!("usage: raw_reader BROKER:PORT TOPIC (scripts/bench runs it)");
        return Ok(());
    };
    let start = Instant::now();
    let ranges = Connection::open(broker)?.ranges(topic)?;
    let mut shares = vec![Vec::new(); CONNECTIONS.min(ranges.len())];
    let lanes = shares.len();
    ranges.into_iter().enumerate().for_each(|(i, range)| shares[i % lanes].push(range));
    let counts: Vec<Result<Count>> = thread::scope(|scope| {
        let readers: Vec<_> =
            shares.into_iter().map(|share| scope.spawn(move || Connection::open(broker)?.read(topic, share))).collect();
        readers.into_iter().map(|reader| reader.join().map_err(|_| Error::other("a reader panicked"))?).collect()
    });
    let mut total = Count::default();
    for count in counts {
        let count = count?;
        total.records += count.records;
        total.bytes += count.bytes;
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{} records, {} bytes, {seconds:.3} s, {:.2} M records/s",
        total.records,
        total.bytes,
        total.records as f64 / seconds / 1e6
    );
    Ok(())
}

struct Connection {
    stream: TcpStream,
    request: BytesMut,
    /// Kept so that its memory is used again.
    answer: Bytes,
}

impl Connection {
    fn open(broker: &str) -> Result<Self> {
        let stream = TcpStream::connect(broker)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, request: BytesMut::new(), answer: Bytes::new() })
    }

    fn call<Q: Encodable + HeaderVersion, A: Decodable + HeaderVersion>(
        &mut self,
        key: ApiKey,
        version: i16,
        request: &Q,
    ) -> Result<A> {
        let header = RequestHeader::default()
            .with_request_api_key(key as i16)
            .with_request_api_version(version)
            .with_client_id(Some(StrBytes::from_static_str("raw-reader")));
        self.request.clear();
        self.request.extend_from_slice(&[0; 4]);
        header.encode(&mut self.request, Q::header_version(version)).map_err(Error::other)?;
        request.encode(&mut self.request, version).map_err(Error::other)?;
        let length = (self.request.len() - 4) as u32;
        self.request[..4].copy_from_slice(&length.to_be_bytes());
        self.stream.write_all(&self.request)?;

        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        let mut answer = Vec::from(std::mem::take(&mut self.answer));
        answer.clear();
        answer.reserve(length as usize);
        (&mut self.stream).take(length.into()).read_to_end(&mut answer)?;
        let mut answer = Bytes::from(answer);
        self.answer = answer.clone();
        ResponseHeader::decode(&mut answer, A::header_version(version)).map_err(Error::other)?;
        A::decode(&mut answer, version).map_err(Error::other)
    }

    fn ranges(&mut self, topic: &str) -> Result<Vec<Range>> {
        let asked = MetadataRequestTopic::default().with_name(Some(name(topic)));
        let request = MetadataRequest::default().with_topics(Some(vec![asked]));
        let metadata: MetadataResponse = self.call(ApiKey::Metadata, METADATA_VERSION, &request)?;
        let found = metadata.topics.first().ok_or_else(|| Error::other("the broker does not know the topic"))?;
        check("metadata", found.error_code)?;
        let partitions: Vec<_> = found.partitions.iter().map(|p| p.partition_index).collect();
        let starts = self.offsets(topic, &partitions, EARLIEST)?;
        let ends = self.offsets(topic, &partitions, LATEST)?;
        let ranges = starts.into_iter().zip(ends);
        Ok(ranges.map(|((partition, position), (_, end))| Range { partition, position, end }).collect())
    }

    fn offsets(&mut self, topic: &str, partitions: &[i32], at: i64) -> Result<Vec<(i32, i64)>> {
        let ask = |&p: &i32| ListOffsetsPartition::default().with_partition_index(p).with_timestamp(at);
        let topic =
            ListOffsetsTopic::default().with_name(name(topic)).with_partitions(partitions.iter().map(ask).collect());
        let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]);
        let answer: ListOffsetsResponse = self.call(ApiKey::ListOffsets, LIST_OFFSETS_VERSION, &request)?;
        let mut offsets = Vec::new();
        for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
            check("list offsets", partition.error_code)?;
            offsets.push((partition.partition_index, partition.offset));
        }
        offsets.sort_unstable();
        Ok(offsets)
    }

    fn read(&mut self, topic: &str, mut ranges: Vec<Range>) -> Result<Count> {
        let (mut count, mut scratch) = (Count::default(), Scratch::default());
        ranges.retain(|range| range.position < range.end);
        while !ranges.is_empty() {
            let request = fetch(topic, &ranges);
            let answer: FetchResponse = self.call(ApiKey::Fetch, FETCH_VERSION, &request)?;
            check("fetch", answer.error_code)?;
            for part in answer.responses.iter().flat_map(|topic| &topic.partitions) {
                check("fetch", part.error_code)?;
                let range = ranges.iter_mut().find(|range| range.partition == part.partition_index);
                let range = range.ok_or_else(|| Error::other("the broker answered for another partition"))?;
                let records = part.records.as_deref().unwrap_or_default();
                range.position = walk(records, range.position, &mut count, &mut scratch)?;
            }
            ranges.retain(|range| range.position < range.end);
            // The broker begins with the first partition of the list: let each be the first in turn.
            if !ranges.is_empty() {
                ranges.rotate_left(1);
            }
        }
        Ok(count)
    }
}

fn fetch(topic: &str, ranges: &[Range]) -> FetchRequest {
    let ask = |range: &Range| {
        FetchPartition::default()
            .with_partition(range.partition)
            .with_fetch_offset(range.position)
            .with_partition_max_bytes(PARTITION_BYTES)
    };
    let topic = FetchTopic::default().with_topic(name(topic)).with_partitions(ranges.iter().map(ask).collect());
    FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(500)
        .with_min_bytes(1)
        .with_max_bytes(ANSWER_BYTES)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

/// Checks and counts everything from `position` on; the next position.
fn walk(records: &[u8], mut position: i64, count: &mut Count, scratch: &mut Scratch) -> Result<i64> {
    for batch in Batches::new(records) {
        let batch = batch.map_err(Error::other)?;
        if !batch.is_crc_valid() {
            return Err(Error::other(format!("batch at {}: wrong checksum", batch.header.base_offset)));
        }
        count.bytes += batch.bytes().len() as u64;
        for record in batch.records(scratch).map_err(Error::other)? {
            count.records += u64::from(record.map_err(Error::other)?.offset >= position);
        }
        position = batch.header.until();
    }
    Ok(position)
}

fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

fn check(what: &str, code: i16) -> Result<()> {
    if code == 0 { Ok(()) } else { Err(Error::other(format!("{what}: broker's error code {code}"))) }
}
