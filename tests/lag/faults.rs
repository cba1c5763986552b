//! What goes wrong with consumers, each fault with its verdict and no other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use sordini::lag::facts::GroupState;
use sordini::lag::figure::Unknown;
use sordini::lag::verdict::Verdict;
use sordini_lab::consumer::KIP_848;

use crate::watch::{AT_ONCE, NO_OWNER, STANDING, rounds};
use crate::world::{CADENCE, Scenario, UNCOMMITTED, World, numbered, play};

#[test]
fn every_fault_of_a_consumer_gets_its_verdict_and_no_other() {
    const ALL: &[Scenario] = &[
        ("stopped", |world| stopped(world, "stopped", &[])),
        ("stopped-848", |world| stopped(world, "stopped-848", KIP_848)),
        ("frozen", |world| frozen(world, "frozen", &[])),
        ("frozen-848", |world| frozen(world, "frozen-848", KIP_848)),
        ("stuck", |world| stuck(world, "stuck", &[])),
        ("stuck-848", |world| stuck(world, "stuck-848", KIP_848)),
        ("poisoned", poisoned),
        ("rewound", rewound),
        ("reset", reset),
        ("slow", slow),
        ("unread", unread),
        ("storm", storm),
        ("hanging", hanging),
        ("absent", absent),
    ];
    play(ALL);
}

/// All members leave, and records go on coming.
fn stopped(world: &World, name: &str, settings: &[(&str, &str)]) {
    let worker = world.worker(name, settings);
    worker.leave();
    for partition in 0..2 {
        let said = world.watch.says(name, partition, Verdict::NoOwner, NO_OWNER);
        assert!(said.judgement.why.contains("no member"), "{}", said.judgement.why);
        assert!(said.lag.is_ok_and(|lag| lag > 0) && said.owner.is_none(), "{said:?}");
    }
    world.watch.pass(3);
    assert_eq!(world.watch.says_of(name, Verdict::NoOwner, 0).state, Ok(GroupState::Empty));
    // Somebody comes back and reads it all.
    let worker = world.kafka.consumer(name, &[name], settings).work(CADENCE);
    world.watch.settle(name, 3, 5);
    world.watch.only(name, &[Verdict::NoOwner]);
    world.hush(name);
    drop(worker);
}

/// The member stays, sends its heartbeats, and neither reads nor commits.
fn frozen(world: &World, name: &str, settings: &[(&str, &str)]) {
    let worker = world.worker(name, settings);
    worker.hold();
    let expected = [Verdict::Stop, Verdict::Stall];
    world.watch.within(&format!("{name} stands still"), STANDING, |snapshot| {
        let group = crate::watch::group(snapshot, name)?;
        group.partitions.iter().all(|p| expected.contains(&p.judgement.verdict)).then_some(())
    });
    world.watch.pass(3);
    worker.go_on();
    world.watch.settle(name, 3, 5);
    world.watch.only(name, &expected);
    world.hush(name);
}

/// One partition is read no more, its sibling is.
fn stuck(world: &World, name: &str, settings: &[(&str, &str)]) {
    let worker = world.worker(name, settings);
    worker.pause(name, 0);
    let said = world.watch.says(name, 0, Verdict::Stuck, STANDING);
    assert!(said.owner.is_some(), "{said:?}");
    world.watch.pass(3);
    world.watch.says_of(name, Verdict::Stuck, 0);
    worker.resume(name, 0);
    world.watch.settle(name, 3, 5);
    world.watch.only_at(name, 0, &[Verdict::Stuck]);
    world.watch.only_at(name, 1, &[]);
    world.hush(name);
}

/// It commits where it stands, again and again: one record cannot be dealt with.
fn poisoned(world: &World) {
    let name = "poisoned";
    let kafka = &world.kafka;
    kafka.create_topic(name, 1, &[]);
    let producer = kafka.producer(&[]);
    let consumer = kafka.consumer(name, &[name], &[]);
    for step in 1..=6 {
        producer.send_all(&numbered(name, 0, 5));
        consumer.commit_at(name, 0, step * 5);
        world.watch.pass(1);
    }
    world.watch.settle(name, 2, 5);
    producer.send_all(&numbered(name, 0, 5));
    let stops = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stops.load(Ordering::Acquire) {
                consumer.commit_at(name, 0, 30);
                thread::sleep(CADENCE);
            }
        });
        let said = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            world.watch.says(name, 0, Verdict::Stall, STANDING);
            world.watch.pass(3);
        }));
        stops.store(true, Ordering::Release);
        said.unwrap_or_else(|why| std::panic::resume_unwind(why));
    });
    world.watch.only(name, &[Verdict::Stall]);
    consumer.commit_at(name, 0, 35);
    world.watch.settle(name, 3, 5);
}

/// It reads again what it had read, once and then from further back.
fn rewound(world: &World) {
    let name = "rewound";
    let kafka = &world.kafka;
    kafka.create_topic(name, 1, &[]);
    let producer = kafka.producer(&[]);
    let consumer = kafka.consumer(name, &[name], &[]);
    for _ in 0..5 {
        producer.send_all(&numbered(name, 0, 40));
        consumer.read(40);
        consumer.commit();
        world.watch.pass(1);
    }
    world.watch.settle(name, 3, 4);
    for to in [150, 20] {
        consumer.seek(name, 0, to);
        consumer.commit_at(name, 0, to);
        let said = world.watch.within(&format!("{name} goes back to {to}"), AT_ONCE, |snapshot| {
            let group = crate::watch::group(snapshot, name)?;
            let said = group.partitions.first().filter(|p| p.judgement.verdict == Verdict::Rewind)?;
            (said.committed == Ok(to)).then(|| said.judgement.clone())
        });
        let number = |name: &str| said.numbers.get(name).copied();
        assert_eq!((number("from_offset"), number("to_offset")), (Some(200), Some(to)), "{said:?}");
        assert_eq!(number("behind_former"), Some(200 - to), "{said:?}");
    }
    let last = world.watch.partition(name, 0);
    assert_eq!(last.judgement.numbers.get("rewinds"), Some(&2), "{:?}", last.judgement);
    assert_eq!(last.judgement.numbers.get("reread_records"), Some(&(50 + 130)), "{:?}", last.judgement);
    consumer.read(180);
    consumer.commit();
    world.watch.settle(name, 3, 4);
    world.watch.only(name, &[Verdict::Rewind]);
}

/// While nobody is there a tool moves the group to the end: what lies between is never read. Only the stream of commits
/// tells that no member has made the commit.
fn reset(world: &World) {
    let name = "reset";
    let worker = world.worker(name, &[]);
    world.hush(name);
    world.watch.settle(name, 1, 5);
    worker.leave();
    let producer = world.kafka.producer(&[]);
    let (_, from) = world.kafka.watermarks(name, 0);
    producer.send_all(&numbered(name, 0, 500));
    world.kafka.commit_offsets(name, &[(name, 0, from + 500)]);
    let said = world.watch.says(name, 0, Verdict::Skip, AT_ONCE);
    let number = |name: &str| said.judgement.numbers.get(name).copied();
    assert_eq!((number("skipped_until"), number("skipped")), (Some(from + 500), Some(500)), "{said:?}");
    world.watch.pass(3);
    world.watch.only_at(name, 0, &[Verdict::Skip]);
    world.watch.only_at(name, 1, &[]);
}

/// It reads less than is written.
fn slow(world: &World) {
    let name = "slow";
    world.busy(name, 1);
    let consumer = world.kafka.consumer(name, &[name], &[]);
    let stops = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stops.load(Ordering::Acquire) {
                consumer.read(2);
                consumer.commit();
                thread::sleep(Duration::from_millis(400));
            }
        });
        let said = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            world.watch.says(name, 0, Verdict::Warn, rounds(16));
        }));
        stops.store(true, Ordering::Release);
        said.unwrap_or_else(|why| std::panic::resume_unwind(why));
    });
    world.watch.only(name, &[Verdict::Warn]);
    world.hush(name);
}

/// It has never committed on one of its partitions: that is not known, and nothing else.
fn unread(world: &World) {
    let name = "unread";
    let kafka = &world.kafka;
    kafka.create_topic(name, 3, &[]);
    let producer = kafka.producer(&[]);
    producer.send_all(&[numbered(name, 0, 10), numbered(name, 1, 10)].concat());
    let consumer = kafka.consumer(name, &[name], &[]);
    consumer.commit_at(name, 0, 10);
    world.watch.pass(8);
    let never = world.watch.partition(name, 1);
    assert_eq!((never.judgement.verdict, never.lag), (Verdict::Unknown, Err(Unknown::NeverCommitted)));
    assert_eq!((never.committed, never.end), (Err(Unknown::NeverCommitted), Ok(10)));
    let empty = world.watch.partition(name, 2);
    assert_eq!((empty.judgement.verdict, empty.lag), (Verdict::Ok, Ok(0)));
    let group = world.watch.group(name).expect("it is known");
    assert_eq!((group.judgement.verdict, group.evaluated, group.expected), (Verdict::Ok, 2, 3));
    assert_eq!(group.lag, Ok(0));
    world.watch.only(name, &[]);
    drop(consumer);
}

/// Members come and go all the time.
fn storm(world: &World) {
    let name = "storm";
    let worker = world.worker(name, &[]);
    let stops = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stops.load(Ordering::Acquire) {
                let other = world.kafka.consumer(name, &[name], &[]).work(CADENCE);
                thread::sleep(Duration::from_millis(1200));
                other.leave();
                thread::sleep(Duration::from_millis(1200));
            }
        });
        let said = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            // Six changes; a member comes or goes every two seconds on a machine that is busy.
            world.watch.says_of(name, Verdict::Flapping, rounds(20));
            world.watch.pass(3);
        }));
        stops.store(true, Ordering::Release);
        said.unwrap_or_else(|why| std::panic::resume_unwind(why));
    });
    world.watch.only(name, &[Verdict::Flapping]);
    world.hush(name);
    drop(worker);
}

/// A transaction that nobody ends: readers of committed records wait behind it, others do not.
fn hanging(world: &World) {
    let (topic, name) = ("hanging", "committed-hanging");
    let kafka = &world.kafka;
    world.busy(topic, 1);
    let committed = kafka.consumer(name, &[topic], &[]).work(CADENCE);
    let beside = kafka.consumer("beside-hanging", &[topic], UNCOMMITTED).work(CADENCE);
    world.watch.settle(name, 3, 5);
    world.watch.settle("beside-hanging", 1, 5);
    kafka.hang_transaction("never-ended", &numbered(topic, 0, 3), Duration::from_secs(600));
    let said = world.watch.says(name, 0, Verdict::HangingTransaction, rounds(4));
    assert!(said.stable_end.unwrap() < said.end.unwrap(), "{said:?}");
    world.watch.pass(3);
    let of_topic = world.watch.last();
    let of_topic = of_topic.partitions.iter().find(|p| &*p.topic == topic).expect("the topic is known");
    assert!(of_topic.hanging.is_some(), "{of_topic:?}");
    world.watch.settle("beside-hanging", 1, 5);
    kafka.end_transaction("never-ended");
    world.watch.settle(name, 3, 5);
    world.watch.only(name, &[Verdict::HangingTransaction]);
    world.watch.only("beside-hanging", &[]);
    world.hush(topic);
    drop((committed, beside));
}

/// A group that must exist does not.
fn absent(world: &World) {
    let name = "required-and-absent";
    let said = world.watch.says_of(name, Verdict::Absent, AT_ONCE);
    assert_eq!((said.lag.is_ok(), said.expected), (false, 0));
    world.watch.only(name, &[Verdict::Absent]);
    // It comes.
    world.kafka.create_topic(name, 1, &[]);
    world.kafka.commit_offsets(name, &[(name, 0, 0)]);
    world.watch.says_of(name, Verdict::Ok, AT_ONCE);
}
