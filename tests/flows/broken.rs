//! Producer → orders → a worker that reports success for everything and silently drops every 100th → payments.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::message::Message as _;
use serde_json::json;
use sordini_lab::{Kafka, Producer, shared, wait_for};

use crate::common::{Said, flows, order, payment, settings};

const EVERY: u64 = 100;
const ORDERS: u64 = 12_000;
const LIMIT: Duration = Duration::from_secs(60);

struct Worker {
    consumer: BaseConsumer,
    producer: Producer,
    payments: String,
    consumed: u64,
    /// Besides dropping every 100th it answers one with another amount, and one nobody asked for.
    is_sloppy: bool,
}

impl Worker {
    fn new(kafka: &Kafka, orders: &str, payments: &str) -> Self {
        let mut config = kafka.config();
        config.set("group.id", format!("{orders}-worker")).set("auto.offset.reset", "earliest");
        config.set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create().expect("the settings are valid");
        consumer.subscribe(&[orders]).expect("the topic can be subscribed");
        let producer = kafka.producer(&[("enable.idempotence", "true")]);
        Self { consumer, producer, payments: payments.to_owned(), consumed: 0, is_sloppy: false }
    }

    /// Works until it has consumed so many orders.
    fn work(&mut self, until: u64) {
        while self.consumed < until {
            let message = wait_for("an order", LIMIT, || self.consumer.poll(Duration::from_millis(100)));
            let order = message.expect("the order can be read").detach();
            self.consumed += 1;
            if self.consumed.is_multiple_of(EVERY) {
                // Here it fails, says nothing, and goes on as if it had succeeded.
                continue;
            }
            let mut answer = payment(&self.payments, &order);
            if self.is_sloppy && self.consumed == 555 {
                answer = answer.value(r#"{"amount":"0.01"}"#);
            }
            self.producer.send(&answer);
            if self.is_sloppy && self.consumed == 777 {
                let unasked = answer_to_nobody(&self.payments, order.payload().unwrap_or_default());
                self.producer.send(&unasked);
            }
        }
        self.producer.flush();
        self.consumer.commit_consumer_state(CommitMode::Sync).expect("the worker reports success");
    }
}

fn answer_to_nobody(topic: &str, value: &[u8]) -> sordini_lab::Record {
    sordini_lab::Record::new(topic, 0).header("order-id", Some(b"order-nobody-placed")).value(value)
}

fn place(kafka: &Kafka, topic: &str, numbers: std::ops::Range<u64>) {
    let orders: Vec<_> = numbers.map(|number| order(topic, 0, number)).collect();
    kafka.producer(&[("enable.idempotence", "true")]).send_all(&orders);
}

/// Until nothing is merely possible any more.
fn certain(settings: &std::path::Path, more: &[&str]) -> Said {
    wait_for("everything is certain", LIMIT, || {
        let said = flows(settings, more);
        said.findings.iter().all(|finding| finding["grade"] == "proven").then_some(said)
    })
}

#[test]
fn a_worker_that_drops_every_hundredth_is_named_with_its_hop_and_its_next_three() {
    let kafka = shared();
    let (orders, payments) = ("broken-orders", "broken-payments");
    kafka.create_topic(orders, 1, &[]);
    kafka.create_topic(payments, 1, &[]);
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path(), &kafka.bootstrap(), orders, payments);
    let ledger = dir.path().join("ledger");
    let with_ledger = ["--ledger", ledger.to_str().unwrap()];

    let mut worker = Worker::new(kafka, orders, payments);
    place(kafka, orders, 0..ORDERS);
    worker.work(ORDERS);

    let said = certain(&settings, &with_ledger);
    // The 100th that it consumed has number 99.
    let dropped: Vec<i64> = (0..ORDERS as i64).filter(|number| number % 100 == 99).collect();
    assert_eq!(said.exit, 1, "{}", said.err);
    assert_eq!(said.missing(), dropped, "each transaction that was dropped, and no other");
    for finding in said.of("missing-stage") {
        assert_eq!(finding["evidence"]["last_stage"], "orders", "{finding}");
        assert_eq!(finding["evidence"]["stage"], "payments", "{finding}");
    }
    let [pattern] = said.of("periodic-loss")[..] else { panic!("one pattern: {:?}", said.findings.first()) };
    let evidence = &pattern["evidence"];
    assert_eq!((&evidence["n"], &evidence["residue"]), (&json!(100), &json!(99)), "{pattern}");
    assert_eq!((&evidence["hit_rate"], &evidence["background_rate"]), (&json!(1.0), &json!(0.0)), "{pattern}");
    assert_eq!((&evidence["stage"], &evidence["exact"]), (&json!("payments"), &json!(true)), "{pattern}");
    let next: Vec<i64> = evidence["next"].as_array().unwrap().iter().map(|n| n.as_i64().unwrap()).collect();
    assert_eq!(next, [12_099, 12_199, 12_299]);
    let others: Vec<_> =
        said.findings.iter().filter(|f| f["kind"] != "missing-stage" && f["kind"] != "periodic-loss").collect();
    assert!(others.is_empty(), "{others:?}");
    assert_eq!((&said.hop()["matched"], &said.hop()["missing"]), (&json!(11_880), &json!(120)));

    // The predictions come true, while all others arrive; the run goes on where it stopped.
    place(kafka, orders, ORDERS..ORDERS + 400);
    worker.work(ORDERS + 400);
    let later = certain(&settings, &with_ledger);
    let new: Vec<i64> = later.missing().into_iter().filter(|number| !dropped.contains(number)).collect();
    assert_eq!(new[..3], next[..]);
    assert_eq!(new, [12_099, 12_199, 12_299, 12_399]);
    let ids = |said: &Said| said.of("missing-stage").iter().map(|f| f["id"].clone()).collect::<Vec<_>>();
    assert!(ids(&said).iter().all(|id| ids(&later).contains(id)), "the same findings with the same ids");
    // A run that reads everything anew says the same.
    let anew = certain(&settings, &[]);
    assert_eq!((anew.missing(), anew.hop()), (later.missing(), later.hop()));
}

#[test]
fn what_disagrees_and_what_nobody_asked_for_is_told_apart_from_what_is_missing() {
    let kafka = shared();
    let (orders, payments) = ("sloppy-orders", "sloppy-payments");
    kafka.create_topic(orders, 1, &[]);
    kafka.create_topic(payments, 1, &[]);
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path(), &kafka.bootstrap(), orders, payments);
    let mut worker = Worker::new(kafka, orders, payments);
    worker.is_sloppy = true;
    place(kafka, orders, 0..1_000);
    worker.work(1_000);
    let said = certain(&settings, &["--show-keys"]);
    let value = |kind: &str| {
        let [finding] = said.of(kind)[..] else { panic!("{kind}: {:?}", said.of(kind)) };
        finding["identity"]["value"].as_str().expect("in clear").to_owned()
    };
    assert_eq!(value("stage-mismatch"), "order-000000554");
    assert_eq!(value("unexpected-record"), "order-nobody-placed");
    assert_eq!(said.missing(), (0..10).map(|k| k * 100 + 99).collect::<Vec<i64>>());
}

#[test]
fn what_cannot_be_read_is_said_and_never_called_missing() {
    let kafka = shared();
    kafka.create_topic("lonely-orders", 1, &[]);
    place(kafka, "lonely-orders", 0..50);
    let dir = tempfile::tempdir().unwrap();
    let unknown = settings(dir.path(), &kafka.bootstrap(), "lonely-orders", "no-such-topic");
    let said = flows(&unknown, &[]);
    assert_eq!(said.exit, 2, "{}", said.err);
    assert!(
        said.err.contains("no-such-topic") || said.summary["unread"][0]["topic"] == "no-such-topic",
        "{}",
        said.summary
    );
    assert!(said.of("missing-stage").iter().all(|finding| finding["grade"] != "proven"), "{:?}", said.findings);

    // The first stage was trimmed: what remains of the second has its causes in what is gone.
    let (orders, payments) = ("trimmed-orders", "trimmed-payments");
    kafka.create_topic(orders, 1, &[]);
    kafka.create_topic(payments, 1, &[]);
    let mut worker = Worker::new(kafka, orders, payments);
    place(kafka, orders, 0..50);
    worker.work(50);
    kafka.delete_records(orders, 0, 40);
    let trimmed = settings(dir.path(), &kafka.bootstrap(), orders, payments);
    let said = wait_for("nothing more can be expected", LIMIT, || {
        let said = flows(&trimmed, &[]);
        (said.hop()["uncovered"] == 40).then_some(said)
    });
    assert!(said.findings.is_empty(), "{:?}", said.findings);
    assert_eq!(said.exit, 0, "{}", said.summary);
}
