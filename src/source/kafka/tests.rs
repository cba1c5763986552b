//! The whole raw source against a cluster in this process.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::fake_broker::*;
use super::*;
use crate::audit::coverage::Isolation;
use crate::source::testing::{RecordingSink, Seen};
use crate::source::{Damage, Sink};
use crate::wire::{BatchHeader, Marker};

fn selection(topics: &[&str]) -> Selection {
    Selection {
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        partitions: Vec::new(),
        start: Start::Beginning,
        isolation: Isolation::ReadCommitted,
        follow: false,
    }
}

fn connect(cluster: &FakeCluster, selection: Selection) -> KafkaSource {
    connect_with(cluster, selection, &[])
}

fn connect_with(cluster: &FakeCluster, selection: Selection, settings: &[(&str, &str)]) -> KafkaSource {
    let mut properties: Properties = [("bootstrap.servers".to_owned(), cluster.address())].into();
    properties.extend(settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
    KafkaSource::connect(&properties, selection).unwrap()
}

/// Runs all readers, one after the other, as `change` leaves the assignments.
fn run_from(mut source: KafkaSource, change: impl Fn(&mut Assignment), mut sink: RecordingSink) -> RecordingSink {
    let partitions = source.partitions().unwrap();
    let mut assignments = sink.assign(partitions);
    assignments.iter_mut().for_each(change);
    for mut reader in Box::new(source).readers(assignments).unwrap() {
        reader.run(&mut sink).unwrap();
    }
    sink
}

fn run(source: KafkaSource) -> RecordingSink {
    run_from(source, |_| (), RecordingSink::default())
}

fn read(cluster: &FakeCluster, topic: &str) -> RecordingSink {
    run(connect(cluster, selection(&[topic])))
}

fn offsets(sink: &RecordingSink, topic: &str, partition: i32) -> Vec<i64> {
    sink.records(topic, partition).iter().map(|record| record.offset).collect()
}

fn without_marks(sink: &RecordingSink, topic: &str) -> Vec<Seen> {
    let is_mark = |seen: &Seen| matches!(seen, Seen::Watermarks { .. });
    sink.events(topic, 0).into_iter().filter(|seen| !is_mark(seen)).collect()
}

#[test]
fn a_topic_is_read_from_start_to_end_once_in_every_version() {
    for fetch_version in [4, 6, 11, 12, 13, 16, 18] {
        let cluster = FakeCluster::start(1).with_topic("t", vec![Log::of(&[3, 1, 5]), Log::of(&[]), Log::of(&[2])]);
        cluster.world().speak(fetch_version, fetch_version >= 13);
        cluster.world().has_configs = fetch_version > 6;
        let sink = read(&cluster, "t");
        assert_eq!(offsets(&sink, "t", 0), Vec::from_iter(0..9), "version {fetch_version}");
        assert_eq!(offsets(&sink, "t", 2), [0, 1]);
        let marks = Seen::Watermarks { log_start: 0, high_watermark: 9, last_stable: 9 };
        assert_eq!(sink.events("t", 0).first(), Some(&marks));
        for partition in 0..3 {
            assert_eq!(sink.events("t", partition).last(), Some(&Seen::AtEnd), "partition {partition}");
        }
        let expected = if fetch_version > 6 { Cleanup::Delete } else { Cleanup::Unknown };
        assert_eq!(sink.partitions[0].cleanup, expected);
        assert_eq!(sink.partitions[0].topic_id.is_some(), fetch_version >= 13);
    }
}

#[test]
fn small_answers_with_cut_tails_lose_and_repeat_nothing() {
    let cluster = FakeCluster::start(1).with_topic("t", vec![Log::of(&[40; 50])]);
    let cluster = cluster.on_fetch(|number, answer| {
        edit(only(answer), |bytes| bytes.truncate(batch(0, 40).len() + 17 * number % 900));
        Then::Answer
    });
    let sink = read(&cluster, "t");
    assert!(offsets(&sink, "t", 0).into_iter().eq(0..2000));
    assert!(cluster.world().fetched.len() > 20, "many small answers");
}

#[test]
fn the_next_request_goes_out_before_an_answer_is_handed_over() {
    struct Slow<'a>(RecordingSink, &'a FakeCluster, Vec<usize>);
    impl Sink for Slow<'_> {
        fn register(&mut self, info: PartitionInfo) -> Assignment {
            self.0.register(info)
        }
        fn event(&mut self, index: u32, event: crate::source::Event<'_>) {
            if let crate::source::Event::Batch(batch) = &event {
                // The broker has the next request already, or gets it while the sink is busy.
                let goes_on_at = batch.until;
                for _ in 0..500 {
                    if self.1.world().fetched.iter().any(|&(_, offset, _)| offset == goes_on_at) {
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
                self.2.push(self.1.world().fetched.len());
            }
            self.0.event(index, event);
        }
        fn pass_on(&mut self, index: u32) {
            self.0.pass_on(index);
        }
        fn unreadable_input(&mut self, place: &str, why: &str) {
            self.0.unreadable_input(place, why);
        }
        fn stopped(&self) -> bool {
            false
        }
    }
    let cluster = FakeCluster::start(1).with_topic("t", vec![Log::of(&[10; 4])]);
    let cluster = cluster.on_fetch(|_, answer| {
        edit(only(answer), |bytes| bytes.truncate(batch(0, 10).len()));
        Then::Answer
    });
    let mut source = connect(&cluster, selection(&["t"]));
    let mut sink = Slow(RecordingSink::default(), &cluster, Vec::new());
    let assignments = source.partitions().unwrap().into_iter().map(|info| sink.register(info)).collect();
    for mut reader in Box::new(source).readers(assignments).unwrap() {
        reader.run(&mut sink).unwrap();
    }
    assert_eq!(sink.2, [2, 3, 4, 4], "one request ahead until the end");
    assert_eq!(offsets(&sink.0, "t", 0), Vec::from_iter(0..40));
}

#[test]
fn a_damaged_batch_costs_its_own_offsets_only() {
    let mut log = Log::of(&[3, 3, 3]);
    *log.batches[1].last_mut().unwrap() ^= 1;
    let cluster = FakeCluster::start(1).with_topic("t", vec![log]);
    let sink = read(&cluster, "t");
    assert_eq!(offsets(&sink, "t", 0), [0, 1, 2, 6, 7, 8]);
    let is_damage = |seen: &Seen| matches!(seen, Seen::Damaged { from: 3, until: 6, damage: Damage::Checksum { .. } });
    assert!(sink.events("t", 0).iter().any(is_damage));
    assert_eq!(sink.events("t", 0).last(), Some(&Seen::AtEnd));
}

#[test]
fn damage_at_the_very_end_is_told_and_does_not_hold_up_the_run() {
    for at in [16, 8, 65] {
        let mut log = Log::of(&[3, 3]);
        log.batches[1][at] ^= 0x40;
        let cluster = FakeCluster::start(1).with_topic("t", vec![Log::of(&[3, 3])]);
        let broken = log.batches.concat();
        let cluster = cluster.on_fetch(move |_, answer| {
            let whole = broken.clone();
            edit(only(answer), |bytes| *bytes = whole[whole.len() - bytes.len()..].to_vec());
            Then::Answer
        });
        let sink = read(&cluster, "t");
        assert_eq!(offsets(&sink, "t", 0), [0, 1, 2], "byte {at}");
        let seen = without_marks(&sink, "t");
        assert!(matches!(seen[..], [_, Seen::Damaged { from: 3, until: 6, .. }, Seen::AtEnd]), "byte {at}: {seen:?}");
    }
}

#[test]
fn passing_errors_are_ridden_out() {
    for code in [5, 6, 7, 56, 74, 75, 78, -1] {
        let cluster = FakeCluster::start(1).with_topic("t", vec![Log::of(&[2, 2])]);
        let cluster = cluster.on_fetch(move |number, answer| {
            if number < 2 {
                *only(answer) = PartitionDataOf(code).into();
            }
            Then::Answer
        });
        assert_eq!(offsets(&read(&cluster, "t"), "t", 0), [0, 1, 2, 3], "error {code}");
    }
}

/// An answer that holds only an error.
struct PartitionDataOf(i16);

impl From<PartitionDataOf> for kafka_protocol::messages::fetch_response::PartitionData {
    fn from(of: PartitionDataOf) -> Self {
        Self::default().with_error_code(of.0).with_high_watermark(-1)
    }
}

#[test]
fn a_connection_closed_at_any_request_is_opened_again() {
    for at in 0..4 {
        let cluster = FakeCluster::start(1).with_topic("t", vec![Log::of(&[5; 4])]);
        let cluster = cluster.on_fetch(move |number, answer| {
            edit(only(answer), |bytes| bytes.truncate(batch(0, 5).len() + 10));
            if number == at { Then::Close } else { Then::Answer }
        });
        assert_eq!(offsets(&read(&cluster, "t"), "t", 0), Vec::from_iter(0..20), "closed at request {at}");
    }
}

#[test]
fn a_reader_follows_its_partition_to_another_leader() {
    let cluster = FakeCluster::start(2).with_topic("t", vec![Log::of(&[4; 3])]);
    let world = cluster.world().brokers.clone();
    assert_eq!(world.len(), 2);
    let cluster = cluster.on_fetch(|_, answer| {
        edit(only(answer), |bytes| bytes.truncate(batch(0, 4).len()));
        Then::Answer
    });
    let mut source = connect(&cluster, selection(&["t"]));
    let mut sink = RecordingSink::default();
    let assignments = sink.assign(source.partitions().unwrap());
    let mut readers = Box::new(source).readers(assignments).unwrap();
    cluster.world().log("t", 0).leader = 1;
    readers[0].run(&mut sink).unwrap();
    assert_eq!(offsets(&sink, "t", 0), Vec::from_iter(0..12));
    assert!(cluster.world().fetched.iter().any(|&(broker, ..)| broker == 1));
}

#[test]
fn what_never_recovers_is_given_up_with_a_reason() {
    let cluster = FakeCluster::start(1).with_topic("t", vec![Log::of(&[2])]);
    let cluster = cluster.on_fetch(|_, answer| {
        *only(answer) = PartitionDataOf(6).into();
        Then::Answer
    });
    let sink = run(connect_with(&cluster, selection(&["t"]), &[("sordini.retry.ms", "300")]));
    let Some(Seen::Failed(why)) = sink.events("t", 0).last().cloned() else { panic!("not given up") };
    assert!(why.contains("NOT_LEADER") && why.contains("sordini.retry.ms"), "{why}");
}

#[test]
fn a_missing_permission_fails_at_once_and_names_it() {
    let cluster = FakeCluster::start(1).with_topic("t", vec![Log::of(&[2])]);
    let cluster = cluster.on_fetch(|_, answer| {
        *only(answer) = PartitionDataOf(29).into();
        Then::Answer
    });
    let sink = read(&cluster, "t");
    let Some(Seen::Failed(why)) = sink.events("t", 0).last().cloned() else { panic!("not failed") };
    assert!(why.contains("grant READ"), "{why}");
}

#[test]
fn records_that_the_broker_promises_and_never_sends_end_in_a_failure() {
    let cluster = FakeCluster::start(1).with_topic("t", vec![Log::of(&[2])]);
    let cluster = cluster.on_fetch(|_, answer| {
        only(answer).records = None;
        Then::Answer
    });
    let sink = read(&cluster, "t");
    let Some(Seen::Failed(why)) = sink.events("t", 0).last().cloned() else { panic!("not failed") };
    assert!(why.contains("from offset 0 to 2"), "{why}");
}

#[test]
fn below_the_log_start_reading_goes_on_there() {
    let cluster = FakeCluster::start(1).with_topic("t", vec![Log { log_start: 10, ..Log::default() }]);
    cluster.world().log("t", 0).append(3);
    let source = connect(&cluster, Selection { start: Start::Offset(4), ..selection(&["t"]) });
    let sink = run(source);
    assert_eq!(without_marks(&sink, "t")[0], Seen::Expired { log_start: 10 });
    assert_eq!(offsets(&sink, "t", 0), [10, 11, 12]);
}

#[test]
fn above_the_log_end_is_divergence_not_success() {
    let cluster = FakeCluster::start(1).with_topic("t", vec![Log::of(&[5])]);
    let sink = run_from(connect(&cluster, selection(&["t"])), |at| at.position = 9, RecordingSink::default());
    assert_eq!(without_marks(&sink, "t"), [Seen::Diverged { epoch: -1, end_offset: 5 }]);
}

/// A log that was read to 8 in epoch 0, and then truncated to 5 by a leader of epoch 1.
fn truncated() -> Log {
    let mut log = Log::of(&[5]);
    log.batches.push(batch_of(BatchHeader { leader_epoch: 1, ..header(5, 6) }));
    log
}

fn read_to_eight(at: &mut Assignment) {
    (at.position, at.last_epoch) = (8, 0);
}

#[test]
fn a_log_that_parts_from_what_was_read_is_told_even_with_nothing_left_to_read() {
    for fetch_version in [12, 18] {
        let cluster = FakeCluster::start(1).with_topic("t", vec![truncated()]);
        cluster.world().speak(fetch_version, true);
        let sink = run_from(connect(&cluster, selection(&["t"])), read_to_eight, RecordingSink::default());
        assert_eq!(without_marks(&sink, "t"), [Seen::Diverged { epoch: 0, end_offset: 5 }]);

        let mut at_end = truncated();
        at_end.high = Some(8);
        let cluster = FakeCluster::start(1).with_topic("t", vec![at_end]);
        cluster.world().speak(fetch_version, true);
        let sink = run_from(connect(&cluster, selection(&["t"])), read_to_eight, RecordingSink::default());
        assert_eq!(without_marks(&sink, "t"), [Seen::Diverged { epoch: 0, end_offset: 5 }]);
    }
}

#[test]
fn following_goes_on_where_the_logs_part() {
    let cluster = FakeCluster::start(1).with_topic("t", vec![truncated()]);
    let source = connect(&cluster, Selection { follow: true, ..selection(&["t"]) });
    let sink = run_from(source, read_to_eight, RecordingSink::stopping_after(6));
    assert_eq!(without_marks(&sink, "t")[0], Seen::Diverged { epoch: 0, end_offset: 5 });
    assert_eq!(offsets(&sink, "t", 0), [5, 6, 7, 8, 9, 10]);
}

#[test]
fn a_topic_made_anew_is_told_apart_from_a_truncated_one() {
    for fetch_version in [12, 18] {
        let cluster = FakeCluster::start(1).with_topic("t", vec![truncated()]);
        cluster.world().speak(fetch_version, true);
        let mut source = connect(&cluster, selection(&["t"]));
        let mut sink = RecordingSink::default();
        let mut assignments = sink.assign(source.partitions().unwrap());
        assignments.iter_mut().for_each(read_to_eight);
        cluster.world().topics.get_mut("t").unwrap().id = uuid::Uuid::from_u128(1);
        let mut readers = Box::new(source).readers(assignments).unwrap();
        readers[0].run(&mut sink).unwrap();
        assert_eq!(sink.events("t", 0).last(), Some(&Seen::TopicGone), "version {fetch_version}");
    }
}

#[test]
fn a_deleted_topic_is_gone() {
    let cluster = FakeCluster::start(1).with_topic("t", vec![Log::of(&[5])]);
    let mut source = connect(&cluster, selection(&["t"]));
    let mut sink = RecordingSink::default();
    let assignments = sink.assign(source.partitions().unwrap());
    cluster.world().topics.clear();
    for mut reader in Box::new(source).readers(assignments).unwrap() {
        reader.run(&mut sink).unwrap();
    }
    assert_eq!(sink.events("t", 0).last(), Some(&Seen::TopicGone));
}

#[test]
fn an_epoch_the_leader_never_had_does_not_stop_reading() {
    let cluster = FakeCluster::start(1).with_topic("t", vec![Log::of(&[4, 4])]);
    let cluster = cluster.on_fetch(|number, answer| {
        match number {
            // The leader epoch is covered by no CRC.
            0 => edit(only(answer), |bytes| {
                bytes.truncate(batch(0, 4).len());
                bytes[14] = 7;
            }),
            1 => *only(answer) = PartitionDataOf(1).into(),
            _ => {}
        }
        Then::Answer
    });
    let sink = read(&cluster, "t");
    assert_eq!(offsets(&sink, "t", 0), Vec::from_iter(0..8));
    assert_eq!(cluster.world().fetched[1..], [(0, 4, 7 << 8), (0, 4, -1)]);
}

#[test]
fn an_open_transaction_does_not_hold_up_a_bounded_run() {
    let mut log = Log::of(&[3]);
    log.batches.push(batch_of(BatchHeader { attributes: TRANSACTIONAL, producer_id: 7, ..header(3, 2) }));
    log.last_stable = Some(3);
    let cluster = FakeCluster::start(1).with_topic("t", vec![log]);
    let sink = read(&cluster, "t");
    assert_eq!(offsets(&sink, "t", 0), [0, 1, 2]);
    assert_eq!(sink.events("t", 0).last(), Some(&Seen::AtEnd));
    let all = Selection { isolation: Isolation::ReadUncommitted, ..selection(&["t"]) };
    assert_eq!(offsets(&run(connect(&cluster, all)), "t", 0), [0, 1, 2, 3, 4]);
}

#[test]
fn a_high_watermark_that_fell_for_a_while_is_waited_for() {
    let cluster = FakeCluster::start(1).with_topic("t", vec![Log::of(&[3, 3])]);
    let cluster = cluster.on_fetch(|number, answer| {
        let part = only(answer);
        if number < 3 {
            (part.high_watermark, part.last_stable_offset) = (3, 3);
            edit(part, |bytes| bytes.truncate(if number == 0 { batch(0, 3).len() } else { 0 }));
        }
        Then::Answer
    });
    let sink = read(&cluster, "t");
    assert_eq!(offsets(&sink, "t", 0), Vec::from_iter(0..6));
}

#[test]
fn following_says_when_it_is_caught_up_and_goes_on_with_what_comes() {
    let cluster = FakeCluster::start(1).with_topic("t", vec![Log::of(&[3])]);
    let cluster = cluster.on_fetch(|_, _| Then::Answer);
    let source = connect(&cluster, Selection { follow: true, ..selection(&["t"]) });
    let sink = std::thread::scope(|scope| {
        let reading = scope.spawn(|| run_from(source, |_| (), RecordingSink::stopping_after(5)));
        while cluster.world().fetched.len() < 3 {
            std::thread::sleep(Duration::from_millis(1));
        }
        cluster.world().log("t", 0).append(2);
        reading.join().unwrap()
    });
    assert_eq!(offsets(&sink, "t", 0), [0, 1, 2, 3, 4]);
    let seen = without_marks(&sink, "t");
    assert!(matches!(seen[..2], [Seen::Batch { until: 3, .. }, Seen::AtEnd]), "{seen:?}");
}

#[test]
fn names_and_patterns_choose_topics() {
    let one = || vec![Log::of(&[1])];
    let cluster = FakeCluster::start(1)
        .with_topic("orders-eu", one())
        .with_topic("orders-us", one())
        .with_topic("__consumer_offsets", one())
        .with_topic("secret", one());
    cluster.world().topics.get_mut("secret").unwrap().error = 29;
    let found = |topics: &[&str]| {
        let mut source = connect(&cluster, selection(topics));
        let found = source.partitions().map_err(|error| error.to_string());
        (found.map(|all| all.iter().map(|info| info.topic.to_string()).collect::<Vec<_>>()), source.refused())
    };
    assert_eq!(found(&["^orders-.*"]).0.unwrap(), ["orders-eu", "orders-us"]);
    assert_eq!(found(&["^.*s.*"]).0.unwrap(), ["orders-eu", "orders-us"], "internal topics are not matched");
    assert_eq!(found(&["^__con"]).0.unwrap(), ["__consumer_offsets"]);
    assert_eq!(found(&["__consumer_offsets"]).0.unwrap(), ["__consumer_offsets"]);
    let (topics, refused) = found(&["orders-eu", "secret"]);
    assert_eq!(topics.unwrap(), ["orders-eu"]);
    assert!(matches!(&refused[..], [(topic, None, why)] if topic == "secret" && why.contains("grant")));
    assert!(found(&["secret"]).0.unwrap_err().contains("grant"));
    let error = found(&["order-eu"]).0.unwrap_err();
    assert!(error.contains("no topic order-eu; did you mean orders-eu?"), "{error}");
    assert!(found(&["^nothing"]).0.unwrap_err().contains("^nothing"));
    assert!(found(&["^("]).0.unwrap_err().contains("topic"));
}

#[test]
fn a_partition_without_a_leader_is_refused_and_the_rest_is_read() {
    let leaderless = Log { leader: -1, ..Log::of(&[1]) };
    let cluster = FakeCluster::start(1).with_topic("t", vec![Log::of(&[2]), leaderless]);
    let mut source = connect(&cluster, selection(&["t"]));
    assert_eq!(source.partitions().unwrap().len(), 1);
    assert!(matches!(&source.refused()[..], [(_, Some(1), why)] if why.contains("no leader")));
}

#[test]
fn every_start_is_an_offset() {
    let mut log = Log { log_start: 10, ..Log::default() };
    log.append(5);
    log.batches.push(batch_of(BatchHeader { max_timestamp: 9_000, ..header(15, 5) }));
    let cluster = FakeCluster::start(1).with_topic("t", vec![log]);
    let cases = [
        (Start::Beginning, 10),
        (Start::End, 20),
        (Start::Offset(4), 4),
        (Start::Offset(17), 17),
        (Start::Offset(99), 20),
        (Start::Tail(3), 17),
        (Start::Tail(99), 10),
        (Start::Timestamp(5_000), 15),
        (Start::Timestamp(10_000), 20),
    ];
    for (start, expected) in cases {
        let infos = connect(&cluster, Selection { start, ..selection(&["t"]) }).partitions().unwrap();
        assert_eq!((infos[0].from, infos[0].until), (expected, Some(20)), "{start:?}");
    }
}

#[test]
fn many_partitions_are_split_over_two_readers() {
    let logs = (0..5).map(|n| Log::of(&[n + 1])).collect();
    let cluster = FakeCluster::start(1).with_topic("t", logs);
    let mut source = connect(&cluster, selection(&["t"]));
    let mut sink = RecordingSink::default();
    let assignments = sink.assign(source.partitions().unwrap());
    let mut readers = Box::new(source).readers(assignments).unwrap();
    assert_eq!(readers.len(), 2);
    readers.iter_mut().for_each(|reader| reader.run(&mut sink).unwrap());
    for partition in 0..5 {
        assert_eq!(offsets(&sink, "t", partition), Vec::from_iter(0..i64::from(partition) + 1));
    }
}

#[test]
fn a_port_where_something_else_listens_says_so() {
    use std::io::Write;
    for (greeting, expected) in [
        (&b"HTTP/1.1 400 Bad Request\r\n"[..], "HTTP"),
        (b"\x15\x03\x03\x00\x02\x02\x50", "SSL"),
        (b"", "security.protocol"),
    ] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let other = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut heard = [0; 1024];
            let _ = std::io::Read::read(&mut stream, &mut heard);
            stream.write_all(greeting).unwrap();
        });
        let properties: Properties = [("bootstrap.servers".to_owned(), address)].into();
        let error = KafkaSource::connect(&properties, selection(&["t"])).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
        other.join().unwrap();
    }
}

/// librdkafka's mock cluster: another implementation of the broker's side, with few requests and no topic configuration.
#[test]
fn another_implementation_of_the_protocol_is_read_too() {
    use rdkafka::ClientConfig;
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};

    let mock = MockCluster::new(2).unwrap();
    mock.create_topic("t", 3, 1).unwrap();
    let brokers = mock.bootstrap_servers();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &brokers).set("compression.type", "lz4").set("linger.ms", "5");
    let producer: ThreadedProducer<rdkafka::producer::DefaultProducerContext> = config.create().unwrap();
    for number in 0..3000 {
        let value = number.to_string();
        producer.send(BaseRecord::<(), str>::to("t").partition(number % 3).payload(&value)).unwrap();
    }
    producer.flush(Duration::from_secs(10)).unwrap();

    let properties: Properties = [("bootstrap.servers".to_owned(), brokers)].into();
    let sink = run(KafkaSource::connect(&properties, selection(&["t"])).unwrap());
    for partition in 0..3 {
        let values: Vec<String> = sink
            .records("t", partition)
            .into_iter()
            .map(|record| String::from_utf8(record.value.unwrap()).unwrap())
            .collect();
        assert!(values.into_iter().eq((partition..3000).step_by(3).map(|number| number.to_string())), "{partition}");
        assert_eq!(sink.events("t", partition).last(), Some(&Seen::AtEnd));
    }
}

#[test]
fn the_wish_to_stop_is_heeded_while_no_broker_can_be_reached() {
    let cluster = FakeCluster::start(1).with_topic("t", vec![Log::of(&[3])]);
    let mut source = connect(&cluster, Selection { follow: true, ..selection(&["t"]) });
    let mut assignments = RecordingSink::default().assign(source.partitions().unwrap());
    assignments[0].position = 1;
    // A listener that never answers: connections open, and nothing comes.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    cluster.world().brokers.push(silent.local_addr().unwrap().port());
    cluster.world().log("t", 0).leader = 1;
    let mut readers = Box::new(source).readers(assignments).unwrap();
    let stop = AtomicBool::new(false);
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            readers[0].run(&mut Stoppable(&stop)).unwrap();
            done.send(()).unwrap();
        });
        let (_connection, _) = silent.accept().unwrap();
        stop.store(true, Ordering::Relaxed);
        // Far below the ten seconds that a connection may take.
        ended.recv_timeout(Duration::from_secs(5)).unwrap();
    });
}

/// Takes everything, and stops on request.
struct Stoppable<'a>(&'a AtomicBool);

impl Sink for Stoppable<'_> {
    fn register(&mut self, info: PartitionInfo) -> Assignment {
        Assignment { index: 0, position: info.from, last_epoch: -1, info }
    }
    fn event(&mut self, _: u32, _: crate::source::Event<'_>) {}
    fn pass_on(&mut self, _: u32) {}
    fn unreadable_input(&mut self, _: &str, _: &str) {}
    fn stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// One step of a log with transactions: which producer, and records, commit or abort.
fn steps() -> impl Strategy<Value = Vec<(i64, u8, usize)>> {
    prop::collection::vec((0i64..3, 0u8..6, 1usize..4), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The committed view, read through answers cut anywhere: exactly the records whose transactions were not aborted.
    #[test]
    fn aborted_records_are_left_out_and_no_others(steps in steps(), cuts in prop::collection::vec(0usize..400, 1..20)) {
        let mut log = Log::default();
        let mut open: BTreeMap<i64, (i64, Vec<i64>)> = BTreeMap::new();
        let mut committed = Vec::new();
        let mut markers = Vec::new();
        for (producer, step, records) in steps {
            let at = log.end();
            let span = at..at + records as i64;
            match (step, open.contains_key(&producer)) {
                (0..=2, _) => {
                    let attributes = TRANSACTIONAL;
                    log.batches.push(batch_of(BatchHeader { attributes, producer_id: producer, ..header(at, records) }));
                    open.entry(producer).or_insert((at, Vec::new())).1.extend(span);
                }
                (3, true) => {
                    log.batches.push(marker(at, producer, true));
                    markers.push((at, Marker::Commit));
                    committed.extend(open.remove(&producer).unwrap().1);
                }
                (4, true) => {
                    log.batches.push(marker(at, producer, false));
                    markers.push((at, Marker::Abort));
                    log.aborted.push((producer, open.remove(&producer).unwrap().0, at));
                }
                _ => {
                    log.append(records);
                    committed.extend(span);
                }
            }
        }
        let stable = open.values().map(|(first, _)| *first).min().unwrap_or(log.end());
        log.last_stable = Some(stable);
        committed.retain(|&offset| offset < stable);
        committed.sort_unstable();
        let cluster = FakeCluster::start(1).with_topic("t", vec![log]);
        let cluster = cluster.on_fetch(move |number, answer| {
            edit(only(answer), |bytes| {
                let first = if bytes.is_empty() { 0 } else { 12 + i32::from_be_bytes(bytes[8..12].try_into().unwrap()) as usize };
                bytes.truncate(first + cuts[number % cuts.len()]);
            });
            Then::Answer
        });
        let sink = read(&cluster, "t");
        prop_assert_eq!(offsets(&sink, "t", 0), committed);
        prop_assert_eq!(sink.events("t", 0).pop(), Some(Seen::AtEnd));
        let covered: i64 = sink.events("t", 0).iter().map(|seen| match seen {
            Seen::Batch { base_offset, until, .. } => until - base_offset,
            _ => 0,
        }).sum();
        prop_assert_eq!(covered, stable, "every offset is covered by one batch");
        markers.retain(|&(offset, _)| offset < stable);
        let told = sink.events("t", 0).into_iter().filter_map(|seen| match seen {
            Seen::Batch { base_offset, marker, .. } => Some((base_offset, marker?)),
            _ => None,
        });
        prop_assert_eq!(told.collect::<Vec<_>>(), markers, "and markers say what they are");
    }
}
