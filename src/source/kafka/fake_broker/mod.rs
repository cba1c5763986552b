//! A cluster in this process for tests: real sockets and frames, logs in memory, and a hook that may change any answer
//! to a Fetch or close the connection instead.

mod answers;
mod log;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable};
use uuid::Uuid;

use self::answers::{describe_configs, fetch, list_offsets, metadata, versions};
pub use self::log::{Log, TRANSACTIONAL, batch, batch_of, header, marker};

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
