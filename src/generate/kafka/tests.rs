//! Against librdkafka's own mock cluster, which keeps records but writes no transaction markers.

use std::collections::HashMap;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Headers;
use rdkafka::mocking::MockCluster;
use rdkafka::{Offset, TopicPartitionList};

use super::*;
use crate::generate::truth::Item;
use crate::generate::{Options, lines};

const NOW_MS: i64 = 1_790_000_000_000;

fn options(producers: u32, faults: &[&str]) -> Options {
    let faults = faults.iter().map(|spec| spec.parse().unwrap()).collect();
    Options { faults, producers, partitions: 3, ..Options::new("orders", 3_000) }
}

fn cluster(partitions: i32) -> (MockCluster<'static, impl ClientContext>, Settings) {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("orders", partitions, 1).unwrap();
    let properties = Properties::from([("bootstrap.servers".to_owned(), cluster.bootstrap_servers())]);
    (cluster, Settings { create_topic: false, ..Settings::new(properties) })
}

/// Position, event id, payload, time.
type Found = (Position, String, Option<String>, i64);

/// Reads so many records; each partition in its order.
fn read(settings: &Settings, records: usize) -> Vec<Found> {
    let mut config = ClientConfig::new();
    config.extend(settings.properties.clone());
    let consumer: BaseConsumer =
        config.set("group.id", "test").set("isolation.level", "read_uncommitted").create().unwrap();
    let mut all = TopicPartitionList::new();
    (0..3).for_each(|partition| all.add_partition_offset("orders", partition, Offset::Beginning).unwrap());
    consumer.assign(&all).unwrap();
    let take = |_| {
        let message = consumer.poll(Duration::from_secs(30)).expect("a record that was acknowledged").unwrap();
        let id = message.headers().unwrap().iter().find(|header| header.key == "event-id").unwrap().value.unwrap();
        (
            Position { partition: message.partition(), offset: message.offset() },
            String::from_utf8(id.to_vec()).unwrap(),
            message.payload().map(|payload| String::from_utf8(payload.to_vec()).unwrap()),
            message.timestamp().to_millis().unwrap(),
        )
    };
    (0..records).map(take).collect()
}

/// What each session has in each partition, in order.
type BySession = HashMap<(i32, String), Vec<(String, Option<String>, i64)>>;

fn by_session(records: impl Iterator<Item = Found>) -> BySession {
    let mut sessions = BySession::new();
    for (at, id, payload, ts) in records {
        let session = id.split(['-', '~']).next().unwrap().to_owned();
        sessions.entry((at.partition, session)).or_default().push((id, payload, ts));
    }
    sessions
}

/// Every session in every partition holds the planned records in the planned order, and the truth's positions hold
/// the events they name.
fn check(options: &Options, settings: &Settings, extra: usize) -> Truth {
    let plan = || Plan::new(options, NOW_MS).unwrap();
    let mut told = 0;
    let truth = send(plan(), settings, &mut |sent| told = sent).unwrap();
    assert_eq!(told, truth.sent);
    let found = read(settings, truth.sent as usize + extra);
    let at: HashMap<Position, &str> = found.iter().map(|(at, id, _, _)| (*at, id.as_str())).collect();
    for fault in &truth.faults {
        for item in &fault.items {
            if let Item::Copies { event_id, positions } = item {
                assert_eq!(positions.len(), 2);
                assert!(positions.iter().all(|position| at[position] == event_id), "{event_id} {positions:?}");
            }
        }
    }
    if extra == 0 {
        let planned = plan().map(|record| {
            let at = Position { partition: record.partition, offset: 0 };
            (at, record.headers[0].1.clone(), record.value, record.timestamp)
        });
        assert_eq!(by_session(found.into_iter()), by_session(planned));
    }
    truth
}

const FAULTS: [&str; 6] = ["lose=1%", "duplicate=1%", "conflict=1%", "swap=1%", "late-beyond=1%", "tombstones=3%"];

#[test]
fn plain_and_idempotent_producers_send_what_was_planned() {
    for mode in [Mode::Plain, Mode::Idempotent] {
        let (_cluster, settings) = cluster(3);
        let options = options(3, &FAULTS);
        let truth = check(&options, &Settings { mode, ..settings }, 0);
        // With one session a partition nothing interleaves, so even the offsets are those of the lines.
        assert_eq!(truth, lines::write(Plan::new(&options, NOW_MS).unwrap(), &mut Vec::new()).unwrap());
    }
}

#[test]
fn sessions_that_share_partitions_keep_their_order_and_stay_together_in_time() {
    let (_cluster, settings) = cluster(3);
    let options = Options { spread: true, ..options(4, &FAULTS) };
    check(&options, &settings, 0);
    let mut newest = HashMap::new();
    for (at, id, _, ts) in read(&settings, 3_000) {
        let newest = newest.entry(at.partition).or_insert(ts);
        assert!(*newest - ts <= options.wait_ms as i64 / 4, "{id} is {} ms behind", *newest - ts);
        *newest = ts.max(*newest);
    }
}

#[test]
fn an_aborted_transaction_is_sent_again_and_its_copies_are_not_in_the_truth() {
    let (_cluster, settings) = cluster(3);
    let settings = Settings { mode: Mode::Transactional { records: 50 }, ..settings };
    let options = options(3, &["abort-transaction=10%", "duplicate=1%"]);
    // The mock hides nothing: the aborted attempts, 6 in 60 transactions, are there to be read as well.
    let truth = check(&options, &settings, 6 * 50);
    assert_eq!(truth.faults[0].count, 6);
    assert_eq!(truth.sent, 3_003 + truth.faults[1].count);
}

#[test]
fn faults_of_transactions_need_transactions() {
    let settings = Settings::new(Properties::new());
    let plan = Plan::new(&options(3, &["abort-transaction=10%"]), NOW_MS).unwrap();
    assert!(matches!(send(plan, &settings, &mut |_| {}), Err(GenerateError::Mode(_))));
    let plan = Plan::new(&options(3, &[]), NOW_MS).unwrap();
    let empty = Settings { mode: Mode::Transactional { records: 0 }, ..settings };
    assert!(matches!(send(plan, &empty, &mut |_| {}), Err(GenerateError::Mode(_))));
}

#[test]
fn a_topic_with_too_few_partitions_is_refused() {
    let (_cluster, settings) = cluster(2);
    let plan = Plan::new(&options(3, &[]), NOW_MS).unwrap();
    let error = send(plan, &settings, &mut |_| {}).unwrap_err();
    assert!(matches!(error, GenerateError::TooFewPartitions { found: 2, wanted: 3, .. }), "{error}");
}

#[test]
fn a_record_that_is_not_delivered_is_an_error() {
    let (_cluster, mut settings) = cluster(3);
    settings.properties.insert("message.max.bytes".to_owned(), "1000".to_owned());
    let plan = Plan::new(&Options { size: 5_000, ..options(3, &[]) }, NOW_MS).unwrap();
    assert!(matches!(send(plan, &settings, &mut |_| {}), Err(GenerateError::Kafka { .. })));
}
