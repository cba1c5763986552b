//! A topic and its copy, with faults that the test puts into the copy itself.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sordini_lab::{Record, shared};

use crate::common::{Said, drift};

const RECORDS: i64 = 5_000;
/// Times of long ago do not expire.
const KEPT: &[(&str, &str)] = &[("retention.ms", "-1")];

fn record(topic: &str, number: i64) -> Record {
    Record::new(topic, (number % 2) as i32)
        .key(format!("key {}", number % 97))
        .value(format!("{{\"number\":{number}}}"))
        .header("trace", Some(number.to_string().as_bytes()))
        .timestamp(1_700_000_000_000 + number)
}

/// Writes the source, and the copy as `change` leaves it.
fn mirrored(name: &str, change: impl FnOnce(&mut Vec<i64>)) -> Said {
    let kafka = shared();
    let (source, copy) = (format!("{name}-source"), format!("{name}-copy"));
    kafka.create_topic(&source, 2, KEPT);
    kafka.create_topic(&copy, 2, KEPT);
    let producer = kafka.producer(&[]);
    (0..RECORDS).for_each(|number| producer.send(&record(&source, number)));
    let mut numbers: Vec<i64> = (0..RECORDS).collect();
    change(&mut numbers);
    numbers.iter().for_each(|number| producer.send(&record(&copy, *number)));
    producer.flush();
    let url = |topic: &str| format!("kafka://{}/{topic}", kafka.bootstrap());
    drift(&[&url(&source), &url(&copy)])
}

#[test]
fn a_faithful_mirror_agrees() {
    let said = mirrored("faithful", |_| {});
    said.must_exit(0);
    assert_eq!(said.drift_summary()["keys"], RECORDS);
    assert_eq!(said.drift_summary()["claim"], "exact");
}

#[test]
fn a_mirror_that_lags_agrees_so_far() {
    let said = mirrored("lagging", |numbers| numbers.truncate(4_000));
    said.must_exit(0);
    assert_eq!(said.drift_summary()["lag"], 1_000);
}

#[test]
fn what_is_lost_repeated_and_out_of_order_is_told() {
    let mut random = StdRng::seed_from_u64(3);
    let mut lost: Vec<i64> = (0..12).map(|_| random.random_range(100..4_900)).collect();
    lost.sort_unstable();
    lost.dedup();
    let gone = lost.clone();
    let said = mirrored("faulty", move |numbers| {
        numbers.retain(|number| !gone.contains(number));
        // A batch that is written again, and a record that comes late.
        let at = numbers.iter().position(|number| *number == 2_000).expect("it is there");
        let again = numbers[at..at + 20].to_vec();
        numbers.splice(at + 20..at + 20, again);
        let at = numbers.iter().position(|number| *number == 3_001).expect("it is there");
        let late = numbers.remove(at);
        numbers.insert(at + 10, late);
    });
    said.must_exit(1);
    let summary = said.drift_summary();
    assert_eq!(summary["missing"], lost.len());
    assert_eq!((&summary["repeated"], &summary["reordered"], &summary["extra"]), (&20.into(), &1.into(), &0.into()));
    let missing = said.findings.iter().filter(|finding| finding["kind"] == "missing");
    let mut offsets: Vec<i64> = missing
        .flat_map(|finding| {
            let at = |name: &str| finding["offsets"][name].as_i64().expect("an offset");
            let partition = finding["partition"].as_i64().expect("a partition");
            (at("from")..at("until")).map(move |offset| offset * 2 + partition).collect::<Vec<_>>()
        })
        .collect();
    offsets.sort_unstable();
    assert_eq!(offsets, lost);
}

#[test]
fn other_content_is_told_with_both_places() {
    let kafka = shared();
    kafka.create_topic("content-source", 1, KEPT);
    kafka.create_topic("content-copy", 1, KEPT);
    let producer = kafka.producer(&[]);
    for number in 0..100 {
        let record = |topic: &str, value: i64| {
            Record::new(topic, 0).key(number.to_string()).value(value.to_string()).timestamp(1_700_000_000_000)
        };
        producer.send(&record("content-source", number));
        producer.send(&record("content-copy", if number == 50 { -1 } else { number }));
    }
    producer.flush();
    let url = |topic: &str| format!("kafka://{}/{topic}", kafka.bootstrap());
    let said = drift(&[&url("content-source"), &url("content-copy")]);
    said.must_exit(1);
    let [finding] = said.findings.as_slice() else { panic!("{:#?}", said.findings) };
    assert_eq!((&finding["kind"], &finding["offsets"]["from"]), (&"differs".into(), &50.into()));
    assert_eq!(finding["sightings"][1]["topic"], "content-copy");
}

#[test]
fn a_mirror_that_holds_nothing_has_lost_everything() {
    let said = mirrored("nothing", Vec::clear);
    said.must_exit(1);
    assert_eq!((&said.drift_summary()["missing"], &said.drift_summary()["lag"]), (&RECORDS.into(), &0.into()));
    assert!(said.findings.iter().all(|finding| finding["cause"] == "nothing-copied"), "{:#?}", said.findings);
    // One partition that is empty may only be young.
    let said = mirrored("half", |numbers| numbers.retain(|number| number % 2 == 0));
    said.must_exit(3);
    assert!(said.findings.iter().all(|finding| finding["grade"] == "possible" && finding["partition"] == 1));
}

#[test]
fn what_is_the_same_but_for_its_time_is_told_apart() {
    let kafka = shared();
    kafka.create_topic("time-source", 1, KEPT);
    kafka.create_topic("time-copy", 1, KEPT);
    let producer = kafka.producer(&[]);
    for number in 0..10 {
        for (topic, later) in [("time-source", 0), ("time-copy", 1)] {
            let record = Record::new(topic, 0).key(number.to_string()).value("x");
            producer.send(&record.timestamp(1_700_000_000_000 + later));
        }
    }
    producer.flush();
    let url = |topic: &str| format!("kafka://{}/{topic}", kafka.bootstrap());
    let said = drift(&[&url("time-source"), &url("time-copy")]);
    said.must_exit(1);
    assert_eq!((said.findings.len(), &said.findings[0]["kind"]), (10, &"differs".into()));
    assert!(said.findings[0]["why"].as_str().is_some_and(|why| why.ends_with("other content or time")));
}

/// The broker's own time is of the copy alone.
#[test]
fn a_mirror_with_append_time_agrees() {
    let kafka = shared();
    kafka.create_topic("stamped-source", 1, KEPT);
    kafka.create_topic("stamped-copy", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let producer = kafka.producer(&[]);
    for number in 0..100 {
        for topic in ["stamped-source", "stamped-copy"] {
            let record = Record::new(topic, 0).value(number.to_string());
            producer.send(&record.timestamp(1_700_000_000_000 + number));
        }
    }
    producer.flush();
    let url = |topic: &str| format!("kafka://{}/{topic}", kafka.bootstrap());
    drift(&[&url("stamped-source"), &url("stamped-copy")]).must_exit(0);
}

/// They were not copied from this source, or from another version of it.
#[test]
fn records_in_a_partition_that_the_source_lacks_are_said() {
    let kafka = sordini_lab::shared();
    for (topic, partitions) in [("lacks_source", 1), ("lacks_copy", 3)] {
        kafka.create_topic(topic, partitions, &[("retention.ms", "-1")]);
    }
    let producer = kafka.producer(&[]);
    let record = |topic: &str, partition| sordini_lab::Record::new(topic, partition).key("k").value("v").timestamp(7);
    producer.send(&record("lacks_source", 0));
    producer.send(&record("lacks_copy", 0));
    producer.flush();
    let url = |topic: &str| format!("kafka://{}/{topic}", kafka.bootstrap());
    let compare = || crate::common::drift(&[&url("lacks_source"), &url("lacks_copy")]);
    compare().must_exit(0);
    producer.send(&record("lacks_copy", 2));
    producer.flush();
    let said = compare();
    said.must_exit(2);
    let why = said.summary["unread"][0]["why"].as_str().unwrap_or_default();
    assert!(why.contains("the source has no such partition"), "{:#}", said.summary);
    assert_eq!(said.summary["unread"][0]["partition"], 2);
}
