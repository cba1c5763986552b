//! Topics and records, through librdkafka.

use std::sync::Mutex;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use crate::{java, wait_for};

pub(crate) const LIMIT: Duration = Duration::from_secs(30);
/// Of one question that is asked again: librdkafka may have put it to a broker that is down.
const ATTEMPT: Duration = Duration::from_secs(2);

/// `segment.ms` of [`COMPACTED`].
pub const SEGMENT_AGE: Duration = Duration::from_millis(1500);

/// Configuration of a topic that compacts within seconds: see [`crate::Kafka::compact`].
pub const COMPACTED: &[(&str, &str)] = &[
    ("cleanup.policy", "compact"),
    ("segment.ms", "1500"),
    ("min.cleanable.dirty.ratio", "0.01"),
    ("min.compaction.lag.ms", "0"),
    ("max.compaction.lag.ms", "2000"),
    ("delete.retention.ms", "8000"),
];

/// What can be done with any running broker or cluster.
#[derive(Clone, Debug)]
pub struct Client {
    bootstrap: String,
}

impl Client {
    pub fn new(bootstrap: String) -> Self {
        Self { bootstrap }
    }

    pub(crate) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap).set("broker.address.family", "v4");
        config
    }

    pub fn create_topic(&self, name: &str, partitions: i32, config: &[(&str, &str)]) {
        self.create(name, partitions, TopicReplication::Fixed(1), config);
    }

    /// `replicas[p]` lists the brokers of partition p, the preferred leader first.
    pub fn create_topic_on(&self, name: &str, replicas: &[&[i32]], config: &[(&str, &str)]) {
        self.create(name, replicas.len() as i32, TopicReplication::Variable(replicas), config);
    }

    fn create(&self, name: &str, partitions: i32, replication: TopicReplication<'_>, config: &[(&str, &str)]) {
        let topic =
            config.iter().fold(NewTopic::new(name, partitions, replication), |t, (key, value)| t.set(key, value));
        let made = block_on(self.admin().create_topics([&topic], &admin_options())).expect("the broker answers");
        assert!(made.iter().all(Result::is_ok), "topic {name}: {made:?}");
        wait_for(&format!("topic {name} has leaders"), LIMIT, || {
            let metadata = self.reader(&[]).fetch_metadata(Some(name), LIMIT).ok()?;
            let found = metadata.topics().first()?.partitions();
            (found.len() == partitions as usize && found.iter().all(|p| p.leader() >= 0)).then_some(())
        });
    }

    /// Returns when the topic has gone from the broker's metadata.
    pub fn delete_topic(&self, name: &str) {
        let gone = block_on(self.admin().delete_topics(&[name], &admin_options())).expect("the broker answers");
        assert!(gone.iter().all(Result::is_ok), "topic {name}: {gone:?}");
        wait_for(&format!("topic {name} is gone"), LIMIT, || {
            let metadata = self.reader(&[]).fetch_metadata(Some(name), LIMIT).ok()?;
            let error = metadata.topics().first()?.error()?;
            (RDKafkaErrorCode::from(error) == RDKafkaErrorCode::UnknownTopicOrPartition).then_some(())
        });
    }

    /// Trims the partition: `before` becomes its log start offset.
    pub fn delete_records(&self, topic: &str, partition: i32, before: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(before)).expect("the offset is valid");
        let done = block_on(self.admin().delete_records(&list, &admin_options())).expect("the broker answers");
        done.elements().iter().for_each(|e| e.error().unwrap_or_else(|error| panic!("{topic}/{partition}: {error}")));
    }

    /// The broker that leads the partition now.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<i32> {
        let metadata = self.reader(&[]).fetch_metadata(Some(topic), ATTEMPT).ok()?;
        let leader = metadata.topics().first()?.partitions().iter().find(|p| p.id() == partition)?.leader();
        (leader >= 0).then_some(leader)
    }

    /// Log start offset and high watermark.
    pub fn watermarks(&self, topic: &str, partition: i32) -> (i64, i64) {
        let reader = self.reader(&[("isolation.level", "read_uncommitted")]);
        reader.fetch_watermarks(topic, partition, LIMIT).expect("the broker knows its watermarks")
    }

    /// Everything that a consumer of committed records gets from the partition's start to its end.
    pub fn read(&self, topic: &str, partition: i32) -> Vec<OwnedMessage> {
        let consumer = self.reader(&[("enable.partition.eof", "true"), ("isolation.level", "read_committed")]);
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Beginning).expect("the offset is valid");
        consumer.assign(&list).expect("the partition can be assigned");
        let mut messages = Vec::new();
        loop {
            match consumer.poll(LIMIT) {
                Some(Ok(message)) => messages.push(message.detach()),
                Some(Err(KafkaError::PartitionEOF(_))) => return messages,
                Some(Err(error)) => panic!("{topic}/{partition} after {} records: {error}", messages.len()),
                None => panic!("{topic}/{partition}: nothing for {LIMIT:?} after {} records", messages.len()),
            }
        }
    }

    /// Settings are librdkafka's: `enable.idempotence`, `transactional.id`, `compression.type`, `acks` … A transactional
    /// producer is initialised.
    pub fn producer(&self, settings: &[(&str, &str)]) -> Producer {
        let mut config = self.config();
        config.set("linger.ms", "5");
        config.extend(settings.iter().map(|(key, value)| (String::from(*key), String::from(*value))));
        let inner: BaseProducer<Deliveries> =
            config.create_with_context(Deliveries::default()).expect("the producer's settings are valid");
        if config.get("transactional.id").is_some() {
            inner.init_transactions(LIMIT).expect("the coordinator answers");
        }
        Producer { inner }
    }

    /// Writes `records` records of `size` bytes with Kafka's own producer, spread over all partitions.
    pub fn java_produce_perf(&self, topic: &str, records: u64, size: u32, settings: &[(&str, &str)]) -> String {
        let (records, size) = (records.to_string(), size.to_string());
        let settings: Vec<_> = settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let mut args = vec!["--bootstrap-server", &self.bootstrap, "--topic", topic, "--num-records", &records];
        args.extend(["--record-size", &size, "--throughput", "-1"]);
        if !settings.is_empty() {
            args.push("--command-property");
            args.extend(settings.iter().map(String::as_str));
        }
        java::run("org.apache.kafka.tools.ProducerPerformance", &args)
    }

    pub(crate) fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().expect("the admin client's settings are valid")
    }

    pub(crate) fn reader(&self, settings: &[(&str, &str)]) -> BaseConsumer {
        let mut config = self.config();
        config.set("group.id", "sordini-lab").set("enable.auto.commit", "false");
        config.extend(settings.iter().map(|(key, value)| (String::from(*key), String::from(*value))));
        config.create().expect("the consumer's settings are valid")
    }
}

pub(crate) fn admin_options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(LIMIT)).request_timeout(Some(LIMIT))
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be made").block_on(future)
}

/// A record to be written; without a key, value or headers until they are given.
#[derive(Clone, Debug)]
pub struct Record {
    topic: String,
    partition: i32,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
    timestamp: Option<i64>,
}

impl Record {
    pub fn new(topic: &str, partition: i32) -> Self {
        Self { topic: topic.to_owned(), partition, key: None, value: None, headers: Vec::new(), timestamp: None }
    }

    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.key = Some(key.as_ref().to_vec());
        self
    }

    /// Without one the record is a tombstone.
    pub fn value(mut self, value: impl AsRef<[u8]>) -> Self {
        self.value = Some(value.as_ref().to_vec());
        self
    }

    /// Names may repeat.
    pub fn header(mut self, name: &str, value: Option<&[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.map(<[u8]>::to_vec)));
        self
    }

    /// Milliseconds since 1970; the time of writing when absent.
    pub fn timestamp(mut self, ms: i64) -> Self {
        self.timestamp = Some(ms);
        self
    }
}

/// A producer that notices what was not delivered.
pub struct Producer {
    inner: BaseProducer<Deliveries>,
}

impl Producer {
    pub fn send(&self, record: &Record) {
        let headers = record
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: value.as_deref() }));
        let mut message = BaseRecord::to(&record.topic).partition(record.partition);
        message.key = record.key.as_deref();
        message.payload = record.value.as_deref();
        message.timestamp = record.timestamp;
        if !record.headers.is_empty() {
            message = message.headers(headers);
        }
        while let Err((error, unsent)) = self.inner.send(message) {
            let full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
            assert!(full, "{}: {error}", record.topic);
            self.inner.poll(Duration::from_millis(10));
            message = unsent;
        }
    }

    /// Sends and waits until everything is acknowledged; the offsets since the last flush, in order of delivery.
    pub fn send_all(&self, records: &[Record]) -> Vec<i64> {
        records.iter().for_each(|record| self.send(record));
        self.flush()
    }

    pub fn flush(&self) -> Vec<i64> {
        self.inner.flush(LIMIT).expect("everything sent is acknowledged in time");
        let results = std::mem::take(&mut *self.inner.context().results.lock().expect("no thread panicked"));
        results.into_iter().map(|result| result.unwrap_or_else(|error| panic!("not delivered: {error}"))).collect()
    }

    pub fn begin(&self) {
        self.inner.begin_transaction().expect("a transaction can begin");
    }

    pub fn commit(&self) {
        self.inner.commit_transaction(LIMIT).expect("the transaction commits");
    }

    /// Aborts what has been sent. Flush first: librdkafka throws away what still waits in its queue.
    pub fn abort(&self) {
        self.inner.abort_transaction(LIMIT).expect("the transaction aborts");
    }
}

#[derive(Default)]
struct Deliveries {
    results: Mutex<Vec<Result<i64, KafkaError>>>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let result = match result {
            Ok(message) => Ok(message.offset()),
            Err((error, _)) => Err(error.clone()),
        };
        self.results.lock().expect("no thread panicked").push(result);
    }
}
