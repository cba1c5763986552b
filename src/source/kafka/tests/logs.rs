//! Logs that are trimmed, cut, made anew, or held up by a transaction.

use super::*;

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
