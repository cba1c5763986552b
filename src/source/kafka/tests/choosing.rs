//! Which topics and partitions are read, and from where.

use super::*;

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
