//! What happens to logs and to groups as such while somebody still had to read: retention, truncation, new topics of old
//! names, groups that are deleted.

use sordini::lag::figure::Unknown;
use sordini::lag::verdict::Verdict;
use sordini_lab::client::COMPACTED;

use crate::watch::{AT_ONCE, group, rounds};
use crate::world::{CADENCE, Scenario, UNCOMMITTED, World, numbered, play};

#[test]
fn every_change_under_a_group_gets_its_verdict_and_no_other() {
    const ALL: &[Scenario] = &[
        ("overtaken", overtaken),
        ("beyond", beyond),
        ("recreated", recreated),
        ("recreated-live", recreated_live),
        ("deleted-topic", deleted_topic),
        ("gone", gone),
        ("gone-clean", gone_clean),
        ("at-rest", at_rest),
        ("compacted", compacted),
    ];
    play(ALL);
}

/// Retention deletes what the group had not read: told once, with the exact range, and again for what is lost later.
fn overtaken(world: &World) {
    let name = "overtaken";
    let kafka = &world.kafka;
    kafka.create_topic(name, 1, &[]);
    let producer = kafka.producer(&[]);
    producer.send_all(&numbered(name, 0, 20));
    let consumer = kafka.consumer(name, &[name], &[]);
    consumer.read(20);
    consumer.commit();
    world.watch.settle(name, 2, 1);
    producer.send_all(&numbered(name, 0, 100));
    for (log_start, lost) in [(60, 40), (80, 60)] {
        kafka.delete_records(name, 0, log_start);
        let what = format!("{name} has lost {lost}");
        let said = world.watch.within(&what, AT_ONCE, |snapshot| {
            let said = group(snapshot, name)?.partitions.first()?;
            (said.lost == Ok(lost)).then(|| said.clone())
        });
        assert_eq!((said.judgement.verdict, said.lag), (Verdict::Lost, Ok(120 - log_start)), "{said:?}");
        assert_eq!((said.lost_total, said.log_start), (lost, Ok(log_start)));
        let number = |name: &str| said.judgement.numbers.get(name).copied();
        assert_eq!((number("lost_from"), number("lost_until")), (Some(20), Some(log_start)));
        world.watch.pass(2);
    }
    let ranges: Vec<_> = world.watch.happened(name).iter().map(|h| (h.verdict, h.partition, h.from, h.until)).collect();
    assert_eq!(ranges, [(Verdict::Lost, 0, 20, 60), (Verdict::Lost, 0, 60, 80)]);
    // It goes on at the end: what was lost stays counted and is no trouble of now.
    consumer.commit_at(name, 0, 120);
    world.watch.settle(name, 3, 1);
    let last = world.watch.partition(name, 0);
    assert_eq!((last.lag, last.lost, last.lost_total), (Ok(0), Ok(0), 60));
    assert_eq!(world.watch.happened(name).len(), 2);
    world.watch.only(name, &[Verdict::Lost]);
}

/// The commit lies beyond the end of the log, as after a truncation. What is written below it will be passed over.
fn beyond(world: &World) {
    let name = "beyond";
    let kafka = &world.kafka;
    kafka.create_topic(name, 1, &[]);
    kafka.producer(&[]).send_all(&numbered(name, 0, 20));
    kafka.commit_offsets(name, &[(name, 0, 20)]);
    world.watch.settle(name, 3, 1);
    kafka.commit_offsets(name, &[(name, 0, 70)]);
    let said = world.watch.says(name, 0, Verdict::Skip, rounds(3));
    assert_eq!((said.committed, said.end, said.lag), (Ok(70), Ok(20), Err(Unknown::OtherLog)));
    world.watch.pass(3);
    world.watch.only(name, &[Verdict::Skip]);
    kafka.commit_offsets(name, &[(name, 0, 20)]);
    world.watch.within("it is put right", AT_ONCE, |snapshot| {
        (group(snapshot, name)?.partitions.first()?.committed == Ok(20)).then_some(())
    });
    world.watch.pass(3);
    let last = world.watch.partition(name, 0);
    assert_eq!((last.judgement.verdict, last.lag), (Verdict::Ok, Ok(0)), "{last:?}");
    world.watch.only(name, &[Verdict::Skip]);
}

/// The topic is made anew. Kafka forgets the commits of the old one, so that nothing is to be said of a group that had
/// read it all.
fn recreated(world: &World) {
    let name = "recreated";
    let kafka = &world.kafka;
    kafka.create_topic(name, 1, &[]);
    kafka.producer(&[]).send_all(&numbered(name, 0, 20));
    kafka.commit_offsets(name, &[(name, 0, 20)]);
    world.watch.settle(name, 3, 1);
    kafka.recreate_topic(name, 1, &[]);
    kafka.producer(&[]).send_all(&numbered(name, 0, 5));
    world.watch.pass(6);
    world.watch.only(name, &[]);
    // A commit from somebody who still believes in the old one.
    kafka.commit_offsets(name, &[(name, 0, 20)]);
    let said = world.watch.says(name, 0, Verdict::Skip, rounds(3));
    assert_eq!(said.committed, Ok(20));
    world.watch.pass(2);
    world.watch.only(name, &[Verdict::Skip]);
}

/// The same under a consumer at work, which goes on in the new topic.
fn recreated_live(world: &World) {
    let name = "recreated-live";
    let kafka = &world.kafka;
    kafka.create_topic(name, 1, &[]);
    let producer = kafka.producer(&[]);
    producer.send_all(&numbered(name, 0, 20));
    let worker = kafka.consumer(name, &[name], &[("topic.metadata.refresh.interval.ms", "500")]).work(CADENCE);
    world.watch.settle(name, 3, 1);
    kafka.recreate_topic(name, 1, &[]);
    let producer = kafka.producer(&[]);
    for _ in 0..8 {
        producer.send_all(&numbered(name, 0, 5));
        world.watch.pass(1);
    }
    // What it commits in the meantime may lie beyond the new end; more than that is not true of it.
    world.watch.only(name, &[Verdict::Skip]);
    drop(worker);
}

/// A topic goes, and the commits with it, though not all was read: that was the wish of whoever deleted it.
fn deleted_topic(world: &World) {
    let name = "deleted-topic";
    let kafka = &world.kafka;
    let kept = "deleted-topic-kept";
    kafka.create_topic(name, 1, &[]);
    kafka.create_topic(kept, 1, &[]);
    kafka.producer(&[]).send_all(&[numbered(name, 0, 20), numbered(kept, 0, 5)].concat());
    kafka.commit_offsets(name, &[(name, 0, 15), (kept, 0, 5)]);
    world.watch.within("it is behind", AT_ONCE, |snapshot| (group(snapshot, name)?.lag == Ok(5)).then_some(()));
    kafka.delete_topic(name);
    world.watch.pass(5);
    let group = world.watch.group(name).expect("it has commits elsewhere");
    assert_eq!((group.judgement.verdict, group.partitions.len(), group.lag), (Verdict::Ok, 1, Ok(0)), "{group:?}");
    world.watch.only(name, &[]);
}

/// The group is deleted while it is behind.
fn gone(world: &World) {
    let name = "gone";
    let kafka = &world.kafka;
    kafka.create_topic(name, 1, &[]);
    kafka.producer(&[]).send_all(&numbered(name, 0, 20));
    kafka.commit_offsets(name, &[(name, 0, 5)]);
    world.watch.within("it is behind", AT_ONCE, |snapshot| (group(snapshot, name)?.lag == Ok(15)).then_some(()));
    kafka.delete_group(name);
    let said = world.watch.says_of(name, Verdict::Gone, AT_ONCE);
    assert_eq!(said.judgement.numbers.get("lag"), Some(&15), "{:?}", said.judgement);
    world.watch.pass(3);
    world.watch.says_of(name, Verdict::Gone, 0);
    world.watch.only(name, &[Verdict::Gone]);
}

/// The group is deleted when it has read everything.
fn gone_clean(world: &World) {
    let name = "gone-clean";
    let kafka = &world.kafka;
    kafka.create_topic(name, 1, &[]);
    kafka.producer(&[]).send_all(&numbered(name, 0, 20));
    kafka.commit_offsets(name, &[(name, 0, 20)]);
    world.watch.settle(name, 2, 1);
    kafka.delete_group(name);
    world.watch.within("it is forgotten", AT_ONCE, |snapshot| group(snapshot, name).is_none().then_some(()));
    world.watch.pass(2);
    world.watch.only(name, &[]);
}

/// Everything of a transaction is read. Its marker is left, which no reader ever gets.
fn at_rest(world: &World) {
    let (topic, committed) = ("at-rest", "committed-at-rest");
    let kafka = &world.kafka;
    kafka.create_topic(topic, 1, &[]);
    let producer = kafka.producer(&[("transactional.id", "at-rest")]);
    let workers = [
        kafka.consumer(topic, &[topic], UNCOMMITTED).work(CADENCE),
        kafka.consumer(committed, &[topic], &[]).work(CADENCE),
    ];
    for step in 0..5 {
        producer.begin();
        producer.send_all(&numbered(topic, 0, 4));
        if step == 3 {
            producer.abort()
        } else {
            producer.commit()
        }
        world.watch.pass(1);
    }
    world.watch.pass(10);
    for name in [topic, committed] {
        let last = world.watch.partition(name, 0);
        let found = (last.judgement.verdict, last.record_lag, last.time.map(|time| time.ms));
        assert_eq!(found, (Verdict::Ok, Ok(0), Ok(0)), "{last:?}");
        assert!(last.lag.is_ok_and(|lag| lag <= 1), "{last:?}");
        world.watch.only(name, &[]);
    }
    // A tool that commits behind the last record makes it certain that a marker is left.
    drop(workers);
    let (_, end) = kafka.watermarks(topic, 0);
    kafka.commit_offsets("at-rest-by-hand", &[(topic, 0, end - 1)]);
    world.watch.pass(6);
    let last = world.watch.partition("at-rest-by-hand", 0);
    assert_eq!((last.judgement.verdict, last.lag, last.record_lag), (Verdict::Ok, Ok(1), Ok(0)), "{last:?}");
    world.watch.only("at-rest-by-hand", &[]);
}

/// Compaction takes records from under the group; what is left to read is less than the offsets say.
fn compacted(world: &World) {
    let name = "compacted";
    let kafka = &world.kafka;
    kafka.create_topic(name, 1, COMPACTED);
    let producer = kafka.producer(&[]);
    producer.send_all(&numbered(name, 0, 100));
    let worker = kafka.consumer(name, &[name], &[]).work(CADENCE);
    kafka.compact(name, 0);
    world.watch.settle(name, 6, 1);
    let last = world.watch.partition(name, 0);
    assert_eq!((last.lag, last.record_lag), (Ok(0), Ok(0)), "{last:?}");
    // Seven offsets, of which six are no more.
    kafka.commit_offsets("compacted-behind", &[(name, 0, 94)]);
    let behind = world
        .watch
        .within("it is seen", AT_ONCE, |snapshot| group(snapshot, "compacted-behind")?.partitions.first().cloned());
    let left = kafka.read(name, 0).iter().filter(|record| rdkafka::Message::offset(*record) >= 94).count() as i64;
    // An answer of the broker ends with a segment; what was not seen to the end is not known.
    assert!(
        behind.lag == Ok(7) && behind.record_lag.is_ok_and(|found| found == left) || behind.record_lag.is_err(),
        "{behind:?}"
    );
    world.watch.only(name, &[]);
    drop(worker);
}
