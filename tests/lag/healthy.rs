//! Groups that are well, each in its own way, for as long as the faults are played: nothing may be said of any of them.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use sordini::lag::snapshot::Snapshot;
use sordini::lag::verdict::Verdict;
use sordini_lab::consumer::KIP_848;
use sordini_lab::{Worker, java};

use crate::watch::group;
use crate::world::{CADENCE, UNCOMMITTED, World, numbered, world};

/// How long they live.
const LIFE: Duration = Duration::from_secs(100);
/// Of the last rounds nothing is written any more.
const REST: u64 = 8;

const GROUPS: &[&str] = &[
    "well-classic",
    "well-848",
    "well-static",
    "well-batch",
    "well-bursts",
    "well-idle",
    "well-left",
    "well-restarting",
    "well-catching-up",
    "well-simple",
    "well-transactions",
    "committed-well",
    "well-committed",
];

#[test]
fn of_groups_that_are_well_nothing_bad_is_ever_said() {
    let world = world();
    let until = Instant::now() + LIFE;
    let kafka = &world.kafka;
    let fast = Duration::from_millis(50);
    let join = |group: &str, topic: &str, settings: &[(&str, &str)], cadence| {
        kafka.consumer(group, &[topic], settings).work(cadence)
    };
    world.busy("well", 4);
    kafka.create_topic("well-bursts", 2, &[]);
    kafka.create_topic("well-transactions", 2, &[]);
    kafka.create_topic("well-idle", 2, &[]);
    kafka.producer(&[]).send_all(&[numbered("well-idle", 0, 20), numbered("well-idle", 1, 20)].concat());
    kafka.commit_offsets("well-left", &[("well-idle", 0, 20), ("well-idle", 1, 20)]);
    let mut workers: Vec<Worker> = Vec::new();
    for (group, settings) in [("well-classic", &[][..]), ("well-848", KIP_848)] {
        workers.push(join(group, "well", settings, fast));
        workers.push(join(group, "well", settings, fast));
    }
    workers.push(join("well-static", "well", &[("group.instance.id", "one")], fast));
    workers.push(join("well-batch", "well", &[], Duration::from_secs(3)));
    workers.push(join("well-bursts", "well-bursts", &[], CADENCE));
    workers.push(join("well-idle", "well-idle", &[], CADENCE));
    workers.push(join("well-transactions", "well-transactions", UNCOMMITTED, fast));
    workers.push(join("committed-well", "well-transactions", &[], fast));
    // Reads committed records only, and nobody has said so.
    workers.push(join("well-committed", "well-transactions", &[], fast));
    thread::scope(|scope| {
        scope.spawn(|| bursts(world, until));
        scope.spawn(|| transactions(world, until));
        scope.spawn(|| restarting(world, until));
        scope.spawn(|| catching_up(world, until));
        scope.spawn(|| simple(world, until));
    });
    world.hush("well");
    world.watch.pass(REST);
    let commits: u64 = commits(world);
    assert!(commits > 3000, "{commits} commits are no traffic");
    let last = world.watch.last();
    for name in GROUPS {
        let found = group(&last, name).unwrap_or_else(|| panic!("{name} is not known"));
        world.watch.only(name, &[]);
        assert_eq!(found.judgement.verdict, Verdict::Ok, "{found:?}");
        assert_eq!(found.evaluated, found.expected, "{found:?}");
        assert_eq!(found.record_lag, Ok(0), "{found:?}");
    }
    // At rest a transaction's marker is no record.
    let of_markers = group(&last, "committed-well").expect("it is known");
    assert!(of_markers.partitions.iter().all(|p| p.record_lag == Ok(0)), "{of_markers:?}");
    assert_eq!(world.watch.errors(), [] as [String; 0]);
    assert_as_kafka_says(world);
    drop(workers);
}

/// Nothing, and then a thousand at once.
fn bursts(world: &World, until: Instant) {
    let producer = world.kafka.producer(&[]);
    while Instant::now() < until {
        producer.send_all(&[numbered("well-bursts", 0, 500), numbered("well-bursts", 1, 500)].concat());
        thread::sleep(Duration::from_secs(6));
    }
}

/// Short transactions, one in four aborted.
fn transactions(world: &World, until: Instant) {
    let producer = world.kafka.producer(&[("transactional.id", "well")]);
    let topic = "well-transactions";
    for step in 0.. {
        producer.begin();
        producer.send_all(&[numbered(topic, 0, 5), numbered(topic, 1, 5)].concat());
        thread::sleep(Duration::from_millis(100));
        if step % 4 == 3 {
            producer.abort()
        } else {
            producer.commit()
        }
        thread::sleep(Duration::from_millis(150));
        if Instant::now() > until {
            break;
        }
    }
}

/// Deployed anew all the time.
fn restarting(world: &World, until: Instant) {
    while Instant::now() < until {
        let worker = world.kafka.consumer("well-restarting", &["well"], &[]).work(CADENCE);
        thread::sleep(Duration::from_secs(20));
        worker.leave();
        thread::sleep(Duration::from_millis(700));
    }
    let worker = world.kafka.consumer("well-restarting", &["well"], &[]).work(CADENCE);
    world.hush("well");
    world.watch.pass(4);
    drop(worker);
}

/// Far behind from the start, and less so with every commit.
fn catching_up(world: &World, until: Instant) {
    let name = "well-catching-up";
    world.kafka.create_topic(name, 1, &[]);
    world.kafka.producer(&[]).send_all(&numbered(name, 0, 4000));
    let consumer = world.kafka.consumer(name, &[name], &[]);
    let (step, mut left) = (15, 4000);
    while Instant::now() < until {
        consumer.read(step.min(left));
        consumer.commit();
        left -= step.min(left);
        thread::sleep(Duration::from_millis(300));
    }
    consumer.read(left);
    consumer.commit();
    world.watch.pass(2);
}

/// Assigns its partitions itself: the group never has a member.
fn simple(world: &World, until: Instant) {
    let name = "well-simple";
    world.busy(name, 1);
    let consumer = world.kafka.simple(name, name, 0);
    let pause = Duration::from_millis(800);
    while Instant::now() < until {
        consumer.commit();
        thread::sleep(pause);
    }
    // It goes on while the traffic is asked to end, which may take its time.
    thread::scope(|scope| {
        let hushed = scope.spawn(|| world.hush(name));
        while !hushed.is_finished() {
            consumer.commit();
            thread::sleep(pause);
        }
    });
    consumer.commit();
}

/// Records in `__consumer_offsets`: nearly all of them are commits.
fn commits(world: &World) -> u64 {
    (0..4).map(|partition| world.kafka.watermarks("__consumer_offsets", partition).1 as u64).sum()
}

type Standing = BTreeMap<(String, String, i32), (Option<i64>, i64, Option<i64>)>;

/// Kafka's own tool is the oracle of every figure that stands still while it looks.
fn assert_as_kafka_says(world: &World) {
    let before = standing(&world.watch.last());
    let args = ["--bootstrap-server", &world.kafka.bootstrap(), "--describe", "--all-groups"];
    let told = java::run("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", &args);
    world.watch.pass(2);
    let after = standing(&world.watch.last());
    let mut compared = 0;
    for line in told.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [group, topic, partition, committed, end, lag, ..] = words[..] else { continue };
        let Ok(partition) = partition.parse::<i32>() else { continue };
        let place = (group.to_owned(), topic.to_owned(), partition);
        let number = |text: &str| text.parse::<i64>().ok();
        let (Some(ours), Some(later)) = (before.get(&place), after.get(&place)) else { continue };
        if ours != later {
            continue;
        }
        let theirs = (number(committed), number(end).expect("the end is a number"), number(lag));
        // Kafka takes a commit beyond the end, or below the log's start, at its face value.
        let is_plain = ours.2.is_some() && theirs.2.is_some_and(|lag| lag >= 0);
        if is_plain {
            assert_eq!(*ours, theirs, "{place:?}\n{line}");
            compared += 1;
        }
    }
    assert!(compared >= 20, "{compared} compared of {} and\n{told}", before.len());
}

fn standing(snapshot: &Snapshot) -> Standing {
    let mut all = Standing::new();
    for group in &snapshot.groups {
        for p in &group.partitions {
            let Ok(end) = p.end else { continue };
            let place = (group.group.to_string(), p.topic.to_string(), p.partition);
            // Kafka's tool counts to the high watermark for every group.
            let lag = if group.read_committed { p.committed.ok().map(|at| end - at) } else { p.lag.ok() };
            all.insert(place, (p.committed.ok(), end, lag));
        }
    }
    all
}
