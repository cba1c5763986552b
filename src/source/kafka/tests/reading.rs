//! All records, once, in every version and however answers are cut.

use super::*;

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
