//! A pipeline that is well: transactions on both sides, some of them aborted and done again, consumers that come and go.
//! Nothing of it is a finding.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Message as _, OwnedMessage};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use sordini_lab::{Kafka, shared, wait_for};

use crate::common::{flows, header, order, settings};

const LIMIT: Duration = Duration::from_secs(120);
const PARTITIONS: i32 = 4;
/// Orders of one transaction, and how often one is aborted and done again.
const BATCH: usize = 2_000;
const ABORTED: u64 = 7;

fn transactions() -> u64 {
    std::env::var("FLOW_TRANSACTIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(200_000)
}

#[test]
fn a_pipeline_with_commits_aborts_retries_and_rebalances_gives_no_finding() {
    let kafka = shared();
    let (orders, payments) = ("healthy-orders", "healthy-payments");
    kafka.create_topic(orders, PARTITIONS, &[]);
    kafka.create_topic(payments, 1, &[]);
    let (total, paid) = (transactions(), AtomicU64::new(0));
    let leaves = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| place(kafka, orders, total));
        let worker = |name: &'static str, stops: Box<dyn Fn() -> bool + Send>| {
            let paid = &paid;
            scope.spawn(move || Worker::new(kafka, name, orders, payments).work(paid, &*stops))
        };
        let (done, leave) = (&paid, &leaves);
        worker("first", Box::new(move || done.load(Ordering::Acquire) >= total));
        // One comes, and one goes, while there is work.
        wait_for("a quarter is paid", LIMIT, || (paid.load(Ordering::Acquire) > total / 4).then_some(()));
        worker("second", Box::new(move || leave.load(Ordering::Acquire)));
        wait_for("half is paid", LIMIT, || (paid.load(Ordering::Acquire) > total / 2).then_some(()));
        leaves.store(true, Ordering::Release);
    });

    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path(), &kafka.bootstrap(), orders, payments);
    let said = wait_for("everything is certain", LIMIT, || {
        let said = flows(&settings, &[]);
        (said.exit != 3).then_some(said)
    });
    assert!(said.findings.is_empty(), "{:?}", said.findings);
    assert_eq!(said.exit, 0, "{}", said.summary);
    assert_eq!(said.hop()["matched"], total, "{}", said.summary);
    assert!(
        said.summary["searched"].as_array().is_some_and(|searched| !searched.is_empty()),
        "none found means something"
    );
}

fn transactional(kafka: &Kafka, id: &str) -> BaseProducer {
    let mut config = kafka.config();
    config.set("transactional.id", id).set("linger.ms", "5").set("transaction.timeout.ms", "30000");
    let producer: BaseProducer = config.create().expect("the settings are valid");
    producer.init_transactions(LIMIT).expect("the coordinator answers");
    producer
}

/// Orders in transactions, some of them aborted and sent again.
fn place(kafka: &Kafka, topic: &str, total: u64) {
    let producer = kafka.producer(&[("transactional.id", "healthy-orders-writer")]);
    for (round, from) in (0..total).step_by(BATCH).enumerate() {
        let batch: Vec<_> = (from..total.min(from + BATCH as u64))
            .map(|number| order(topic, (number % PARTITIONS as u64) as i32, number))
            .collect();
        producer.begin();
        producer.send_all(&batch);
        if round as u64 % ABORTED == ABORTED - 1 {
            producer.abort();
            producer.begin();
            producer.send_all(&batch);
        }
        producer.commit();
    }
}

/// Consume, produce and commit in one transaction (KIP-447): whatever is aborted is read again from the committed offset.
struct Worker {
    consumer: BaseConsumer,
    producer: BaseProducer,
    payments: &'static str,
    rounds: u64,
}

impl Worker {
    fn new(kafka: &Kafka, name: &str, orders: &str, payments: &'static str) -> Self {
        let mut config = kafka.config();
        config
            .set("group.id", "healthy-workers")
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.commit", "false");
        config.set("isolation.level", "read_committed").set("session.timeout.ms", "10000");
        let consumer: BaseConsumer = config.create().expect("the settings are valid");
        consumer.subscribe(&[orders]).expect("the topic can be subscribed");
        Self { consumer, producer: transactional(kafka, &format!("healthy-{name}")), payments, rounds: 0 }
    }

    fn work(mut self, paid: &AtomicU64, stops: &dyn Fn() -> bool) {
        while !stops() {
            let orders = self.read();
            if orders.is_empty() {
                continue;
            }
            self.rounds += 1;
            match self.pay(&orders) {
                Ok(()) => _ = paid.fetch_add(orders.len() as u64, Ordering::AcqRel),
                Err(_) => self.again(),
            }
        }
    }

    fn read(&self) -> Vec<OwnedMessage> {
        let mut orders = Vec::new();
        while orders.len() < BATCH {
            match self.consumer.poll(Duration::from_millis(100)) {
                Some(Ok(order)) => orders.push(order.detach()),
                Some(Err(error)) => panic!("an order cannot be read: {error}"),
                None => break,
            }
        }
        orders
    }

    fn pay(&self, orders: &[OwnedMessage]) -> Result<(), rdkafka::error::KafkaError> {
        self.producer.begin_transaction()?;
        for order in orders {
            self.answer(order);
        }
        // Whether it commits or aborts: librdkafka does neither while reports of delivery wait to be polled.
        self.producer.flush(LIMIT)?;
        if self.rounds.is_multiple_of(ABORTED) {
            return Err(rdkafka::error::KafkaError::Canceled);
        }
        let mut offsets = TopicPartitionList::new();
        for order in orders {
            let mut place = offsets.find_partition(order.topic(), order.partition());
            let next = Offset::Offset(order.offset() + 1);
            match &mut place {
                Some(place) => place.set_offset(next)?,
                None => offsets.add_partition_offset(order.topic(), order.partition(), next)?,
            }
        }
        let metadata = self.consumer.group_metadata().ok_or(rdkafka::error::KafkaError::Canceled)?;
        self.producer.send_offsets_to_transaction(&offsets, &metadata, LIMIT)?;
        self.producer.commit_transaction(LIMIT)
    }

    fn answer(&self, order: &OwnedMessage) {
        let headers = rdkafka::message::OwnedHeaders::new()
            .insert(rdkafka::message::Header { key: "order-id", value: Some(header(order, "order-id")) });
        let (key, value) = (order.key().unwrap_or_default(), order.payload().unwrap_or_default());
        let mut record = BaseRecord::to(self.payments).key(key).payload(value).headers(headers);
        while let Err((error, unsent)) = self.producer.send(record) {
            let is_full = error.rdkafka_error_code() == Some(rdkafka::error::RDKafkaErrorCode::QueueFull);
            assert!(is_full, "a payment cannot be sent: {error}");
            self.producer.poll(Duration::from_millis(10));
            record = unsent;
        }
    }

    /// Aborts, and goes back to what is committed.
    fn again(&self) {
        self.producer.abort_transaction(LIMIT).expect("a transaction aborts");
        let assigned = self.consumer.assignment().expect("a consumer knows its assignment");
        if assigned.count() == 0 {
            return;
        }
        let committed = self.consumer.committed_offsets(assigned, LIMIT).expect("the coordinator answers");
        for place in committed.elements() {
            let offset = match place.offset() {
                Offset::Invalid => Offset::Beginning,
                offset => offset,
            };
            // A partition that has just been taken away is somebody else's now.
            let _ = self.consumer.seek(place.topic(), place.partition(), offset, LIMIT);
        }
    }
}
