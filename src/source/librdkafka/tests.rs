//! Against librdkafka's own mock cluster, which speaks the wire protocol in this process.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};

use super::*;
use crate::source::testing::{OwnedRecord, RecordingSink, Seen};

struct Cluster {
    mock: MockCluster<'static, DefaultProducerContext>,
    producer: BaseProducer,
}

impl Cluster {
    fn with_topics(topics: &[(&str, i32)]) -> Self {
        let mock = MockCluster::new(1).unwrap();
        for (topic, partitions) in topics {
            mock.create_topic(topic, *partitions, 1).unwrap();
        }
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", mock.bootstrap_servers()).set("linger.ms", "1");
        Self { mock, producer: config.create().unwrap() }
    }

    fn properties(&self) -> Properties {
        Properties::from([("bootstrap.servers".to_owned(), self.mock.bootstrap_servers())])
    }

    fn produce(&self, topic: &str, partition: i32, record: &OwnedRecord) {
        let mut headers = OwnedHeaders::new();
        for (name, value) in &record.headers {
            let key = std::str::from_utf8(name).unwrap();
            headers = headers.insert(Header { key, value: value.as_deref() });
        }
        let mut message: BaseRecord<'_, [u8], [u8]> =
            BaseRecord::to(topic).partition(partition).timestamp(record.timestamp).headers(headers);
        message.key = record.key.as_deref();
        message.payload = record.value.as_deref();
        self.producer.send(message).map_err(|(error, _)| error).unwrap();
    }

    fn produce_many(&self, topic: &str, partition: i32, count: usize, size: usize) {
        for n in 0..count {
            self.produce(topic, partition, &sample(n as i64, size));
            if n % 1000 == 0 {
                self.producer.poll(Duration::ZERO);
            }
        }
        self.producer.flush(Duration::from_secs(20)).unwrap();
    }

    fn connect(&self, selection: Selection) -> LibrdkafkaSource {
        LibrdkafkaSource::connect(&self.properties(), selection).unwrap()
    }

    fn read(&self, selection: Selection) -> RecordingSink {
        read_into(RecordingSink::default(), self.connect(selection))
    }
}

fn read_into(mut sink: RecordingSink, mut source: LibrdkafkaSource) -> RecordingSink {
    let assignments = sink.assign(source.partitions().unwrap());
    run(&mut sink, source, assignments);
    sink
}

fn run(sink: &mut RecordingSink, source: LibrdkafkaSource, assignments: Vec<Assignment>) {
    for mut reader in Box::new(source).readers(assignments).unwrap() {
        reader.run(sink).unwrap();
    }
}

fn selection(topics: &[&str]) -> Selection {
    Selection {
        topics: topics.iter().map(|&topic| topic.to_owned()).collect(),
        partitions: Vec::new(),
        start: Start::Beginning,
        isolation: Isolation::ReadUncommitted,
        follow: false,
    }
}

/// Keys and values null, empty and not UTF-8; headers that repeat and are null.
fn sample(offset: i64, size: usize) -> OwnedRecord {
    let key = [None, Some(Vec::new()), Some(vec![0xff, 0, offset as u8]), Some(b"k".to_vec())];
    let value = [Some(vec![b'x'; size]), Some(Vec::new()), None];
    let headers = [("a", Some(vec![1, 0xfe])), ("a", None), ("é", Some(Vec::new()))];
    OwnedRecord {
        offset,
        timestamp: 1_700_000_000_000 + offset,
        key: key[offset as usize % 4].clone(),
        value: value[if size > 100 { 0 } else { offset as usize % 3 }].clone(),
        headers: headers.iter().take(offset as usize % 4).map(|(k, v)| (k.as_bytes().to_vec(), v.clone())).collect(),
    }
}

fn offsets(sink: &RecordingSink, topic: &str, partition: i32) -> Vec<i64> {
    sink.records(topic, partition).iter().map(|record| record.offset).collect()
}

fn error_of<T>(result: Result<T, SourceError>) -> String {
    result.err().map(|error| error.to_string()).expect("this must fail")
}

#[test]
fn what_was_produced_is_read_field_by_field_from_every_partition() {
    let cluster = Cluster::with_topics(&[("orders", 4)]);
    let mut produced: BTreeMap<i32, Vec<OwnedRecord>> = BTreeMap::new();
    for n in 0..4000 {
        let partition = n * 7 % 4;
        let list = produced.entry(partition).or_default();
        let record = sample(list.len() as i64, 20);
        cluster.produce("orders", partition, &record);
        list.push(record);
    }
    cluster.producer.flush(Duration::from_secs(20)).unwrap();

    for isolation in [Isolation::ReadUncommitted, Isolation::ReadCommitted] {
        let sink = cluster.read(Selection { isolation, ..selection(&["orders"]) });
        assert_eq!(sink.partitions.len(), 4);
        for (partition, produced) in &produced {
            assert_eq!(&sink.records("orders", *partition), produced);
            let events = sink.events("orders", *partition);
            let count = produced.len() as i64;
            let marks = Seen::Watermarks { log_start: 0, high_watermark: count, last_stable: count };
            assert_eq!((events.first(), events.last()), (Some(&marks), Some(&Seen::AtEnd)));
            assert!(events.iter().all(|seen| !matches!(seen, Seen::Batch { has_header: true, .. })));
        }
        assert!(
            sink.partitions.iter().all(|p| !p.has_headers && p.topic_id.is_none() && p.cleanup == Cleanup::Unknown)
        );
    }
}

#[test]
fn reading_starts_where_it_was_asked_to() {
    let cluster = Cluster::with_topics(&[("t", 2)]);
    cluster.produce_many("t", 0, 50, 10);
    let starts = [
        (Start::Beginning, 0),
        (Start::Offset(13), 13),
        (Start::Tail(7), 43),
        (Start::Tail(700), 0),
        (Start::End, 50),
        (Start::Offset(90), 90),
    ];
    for (start, first) in starts {
        let sink = cluster.read(Selection { start, ..selection(&["t"]) });
        assert_eq!(offsets(&sink, "t", 0), (first..50).collect::<Vec<_>>(), "{start:?}");
        assert_eq!(sink.events("t", 0).last(), Some(&Seen::AtEnd));
        assert_eq!(sink.events("t", 1).last(), Some(&Seen::AtEnd), "an empty partition ends at once");
    }
}

#[test]
fn a_position_of_the_ledger_is_taken_up_and_batches_end_at_the_end_asked_for() {
    let cluster = Cluster::with_topics(&[("t", 1)]);
    cluster.produce_many("t", 0, 50, 10);
    let mut sink = RecordingSink::default();
    let mut source = cluster.connect(selection(&["t"]));
    let mut assignments = sink.assign(source.partitions().unwrap());
    assignments[0].position = 20;
    cluster.produce_many("t", 0, 50, 10);
    run(&mut sink, source, assignments);
    assert_eq!(offsets(&sink, "t", 0), (20..50).collect::<Vec<_>>());
}

#[test]
fn patterns_match_all_but_internal_topics_and_partitions_can_be_chosen() {
    let cluster = Cluster::with_topics(&[("orders-a", 3), ("orders-b", 3), ("other", 3), ("__orders", 3)]);
    let names = |mut source: LibrdkafkaSource| {
        let partitions = source.partitions().unwrap().into_iter();
        (partitions.map(|p| format!("{}-{}", p.topic, p.partition)).collect::<Vec<_>>(), source.refused())
    };
    let chosen = Selection { partitions: vec![1, 2], ..selection(&["^(__)?orders"]) };
    assert_eq!(names(cluster.connect(chosen)).0, ["orders-a-1", "orders-a-2", "orders-b-1", "orders-b-2"]);
    let (found, refused) = names(cluster.connect(Selection { partitions: vec![0, 9], ..selection(&["__orders"]) }));
    assert_eq!(found, ["__orders-0"]);
    let why = "no such partition; the topic has 3".to_owned();
    assert_eq!(refused, [("__orders".to_owned(), Some(9), why)]);
    let error = error_of(cluster.connect(selection(&["^nothing"])).partitions());
    assert_eq!(error, "nothing to read: no topic matches ^nothing");
    assert!(error_of(cluster.connect(selection(&["^("])).partitions()).starts_with("invalid setting topic"));
}

#[test]
fn a_topic_that_cannot_be_read_is_refused_and_the_others_are_read() {
    let cluster = Cluster::with_topics(&[("open", 1), ("secret", 1)]);
    cluster.mock.topic_error("secret", RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED).unwrap();
    cluster.produce_many("open", 0, 3, 10);
    let mut source = cluster.connect(selection(&["open", "secret", "absent"]));
    let mut sink = RecordingSink::default();
    let assignments = sink.assign(source.partitions().unwrap());
    let refused = source.refused();
    assert_eq!(refused.iter().map(|(topic, ..)| topic.as_str()).collect::<Vec<_>>(), ["secret", "absent"]);
    assert!(refused[0].2.starts_with("not authorized") && refused[1].2.starts_with("no such topic"), "{refused:?}");
    run(&mut sink, source, assignments);
    assert_eq!(offsets(&sink, "open", 0), [0, 1, 2]);
}

#[test]
fn an_unknown_topic_alone_is_an_error_that_names_it() {
    let cluster = Cluster::with_topics(&[]);
    let error = error_of(cluster.connect(selection(&["absent"])).partitions());
    assert!(error.starts_with("nothing to read: topic absent: no such topic"), "{error}");
}

#[test]
fn a_broker_that_is_not_there_is_given_up_with_a_hint() {
    // Port 1 on loopback: nobody listens there.
    let properties = Properties::from([("bootstrap.servers".to_owned(), "127.0.0.1:1".to_owned())]);
    let config = settings::client_config(&properties, Isolation::ReadUncommitted).unwrap();
    let client = client::create(&config).unwrap();
    let error = client::metadata(&client, None, Duration::from_secs(2)).err().unwrap();
    assert!(matches!(error, SourceError::Connect { .. }));
    let text = error.to_string();
    assert!(text.contains("127.0.0.1:1") && text.contains("Connection refused") && text.contains("-b"), "{text}");
}

#[test]
fn a_setting_that_librdkafka_does_not_know_is_named() {
    let mut properties = Properties::from([("bootstrap.servers".to_owned(), "127.0.0.1:1".to_owned())]);
    properties.insert("no.such.setting".to_owned(), "1".to_owned());
    let error = error_of(LibrdkafkaSource::connect(&properties, selection(&["t"])));
    assert!(error.starts_with("invalid setting no.such.setting: "), "{error}");
}

#[test]
fn records_below_the_log_start_have_expired_and_the_rest_is_read() {
    let cluster = Cluster::with_topics(&[("t", 1)]);
    // The mock keeps 5 MB of a partition.
    cluster.produce_many("t", 0, 1200, 10_000);
    let sink = cluster.read(Selection { start: Start::Offset(0), ..selection(&["t"]) });
    let log_start = sink.partitions[0].log_start;
    assert!(log_start > 0);
    assert_eq!(sink.events("t", 0)[1], Seen::Expired { log_start });
    assert_eq!(offsets(&sink, "t", 0), (log_start..1200).collect::<Vec<_>>());
}

#[test]
fn a_position_that_expires_while_reading_goes_on_at_the_log_start() {
    let cluster = Cluster::with_topics(&[("t", 1)]);
    cluster.produce_many("t", 0, 10, 10_000);
    let source = cluster.connect(selection(&["t"]));
    let queue = BatchQueue::new(source.consumer).unwrap();
    let mut sink = RecordingSink::default();
    let info = PartitionInfo {
        topic: Arc::from("t"),
        topic_id: None,
        partition: 0,
        cleanup: Cleanup::Unknown,
        has_headers: false,
        from: 0,
        until: Some(1200),
        log_start: 0,
    };
    let assignments = sink.assign(vec![info]);
    let mut reader = LibrdkafkaReader::new(queue, source.observer, assignments, Isolation::ReadUncommitted, false);
    // The marks are asked for before the log moves on.
    reader.announce(&mut sink);
    cluster.produce_many("t", 0, 1190, 10_000);
    reader.read(&mut sink).unwrap();
    let expired = sink.events("t", 0).into_iter().find_map(|seen| match seen {
        Seen::Expired { log_start } => Some(log_start),
        _ => None,
    });
    let log_start = expired.expect("the first offsets are gone");
    assert_eq!(offsets(&sink, "t", 0), (log_start..1200).collect::<Vec<_>>());
}

#[test]
fn a_position_behind_the_end_of_the_log_fails_that_partition() {
    let cluster = Cluster::with_topics(&[("t", 1)]);
    cluster.produce_many("t", 0, 10, 10);
    for follow in [false, true] {
        let mut sink = RecordingSink::default();
        let mut source = cluster.connect(Selection { follow, ..selection(&["t"]) });
        let mut assignments = sink.assign(source.partitions().unwrap());
        assignments[0].position = 1000;
        run(&mut sink, source, assignments);
        let events = sink.events("t", 0);
        let Some(Seen::Failed(why)) = events.last() else { panic!("{events:?}") };
        assert!(why.starts_with("offset 1000 is not in the log, which runs from 0 to 10"), "{why}");
    }
}

/// What becomes of trouble that the mock cluster cannot make: (offset, code) in turn, and the events they cause.
fn events_after(troubles: &[(i64, RDKafkaErrorCode)]) -> Vec<Seen> {
    let cluster = Cluster::with_topics(&[("t", 1)]);
    cluster.produce_many("t", 0, 10, 10);
    let mut source = cluster.connect(selection(&["t"]));
    let mut sink = RecordingSink::default();
    let assignments = sink.assign(source.partitions().unwrap());
    let queue = BatchQueue::new(source.consumer).unwrap();
    let mut reader = LibrdkafkaReader::new(queue, source.observer, assignments, Isolation::ReadUncommitted, false);
    for (offset, code) in troubles {
        reader.lanes.trouble(0, *offset, *code, "broken".to_owned(), &mut sink);
    }
    sink.events("t", 0)
}

fn damaged(from: i64, until: i64) -> Seen {
    Seen::Damaged { from, until, damage: crate::source::Damage::Malformed("broken".to_owned()) }
}

#[test]
fn a_damaged_batch_ends_where_the_next_thing_is_heard_of() {
    use RDKafkaErrorCode::{BadCompression, BadMessage, PartitionEOF};
    let events = events_after(&[(0, BadMessage), (0, BadMessage), (4, BadCompression), (10, PartitionEOF)]);
    assert_eq!(events, [damaged(0, 4), damaged(4, 10), Seen::AtEnd]);
}

#[test]
fn a_damaged_batch_that_librdkafka_cannot_pass_is_reported_and_fails_the_partition() {
    let events = events_after(&[(0, RDKafkaErrorCode::BadMessage); 20]);
    assert_eq!(events[..events.len() - 1], [damaged(0, 1)]);
    assert!(matches!(&events[..], [_, Seen::Failed(why)] if why.contains("leave out --client")), "{events:?}");
}

#[test]
fn the_end_of_a_partition_covers_what_librdkafka_hides() {
    let events = events_after(&[(10, RDKafkaErrorCode::PartitionEOF)]);
    let hidden =
        Seen::Batch { base_offset: 0, until: 10, has_header: false, aborted: false, marker: None, records: Vec::new() };
    assert_eq!(events, [hidden, Seen::AtEnd]);
}

#[test]
fn a_deleted_topic_and_a_lost_permission_end_the_partition() {
    assert_eq!(events_after(&[(0, RDKafkaErrorCode::UnknownTopicOrPartition)]), [Seen::TopicGone]);
    let events = events_after(&[(0, RDKafkaErrorCode::TopicAuthorizationFailed)]);
    assert_eq!(events, [Seen::Failed("broken; this user needs READ on the topic".to_owned())]);
}

#[test]
fn following_goes_on_behind_the_end_until_the_sink_says_stop() {
    let cluster = Cluster::with_topics(&[("t", 1)]);
    cluster.produce_many("t", 0, 10, 10);
    let source = cluster.connect(Selection { follow: true, ..selection(&["t"]) });
    let sink = RecordingSink::stopping_after(20);
    let sink = thread::scope(|scope| {
        let reading = scope.spawn(|| read_into(sink, source));
        cluster.produce_many("t", 0, 10, 10);
        reading.join().unwrap()
    });
    assert_eq!(offsets(&sink, "t", 0), (0..20).collect::<Vec<_>>());
}
