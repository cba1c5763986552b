//! A topic and its copy where one of them is compacted: what each key is in the end is compared.

use serde_json::Value;
use sordini_lab::{Kafka, Record, client::COMPACTED, shared};

use crate::common::{Said, drift};

const KEPT: &[(&str, &str)] = &[("retention.ms", "-1")];
const KEYS: i64 = 50;

/// A round writes all keys; its time is so far from the one before that a segment ends between them.
fn written(topic: &str, round: i64, key: i64) -> Record {
    let record = Record::new(topic, 0)
        .key(format!("key {key}"))
        .header("round", Some(round.to_string().as_bytes()))
        .timestamp(1_700_000_000_000 + round * 10_000 + key);
    // The first five are deleted in the second round.
    if round == 1 && key < 5 { record } else { record.value(format!("{round}/{key}")) }
}

fn round(topic: &str, round: i64) -> Vec<Record> {
    let keys = if round > 1 { 5..KEYS } else { 0..KEYS };
    keys.map(|key| written(topic, round, key)).collect()
}

fn compared(kafka: &Kafka, source: &str, copy: &str) -> Said {
    let url = |topic: &str| format!("kafka://{}/{topic}", kafka.bootstrap());
    drift(&[&url(source), &url(copy)])
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn sides_that_were_compacted_at_different_times_agree() {
    let kafka = shared();
    let (source, copy) = ("cleaned-source", "cleaned-copy");
    kafka.create_topic(source, 1, COMPACTED);
    kafka.create_topic(copy, 1, COMPACTED);
    let producer = kafka.producer(&[]);
    for number in 0..4 {
        producer.send_all(&round(source, number));
    }
    // The copy has not yet all of the last round.
    for number in 0..3 {
        producer.send_all(&round(copy, number));
    }
    producer.send_all(&round(copy, 3)[..20]);
    kafka.wait_until_cleaned(source, 0, 2 * KEYS);
    let said = compared(kafka, source, copy);
    said.must_exit(0);
    let summary = said.drift_summary();
    assert_eq!((&summary["claim"], &summary["lag"]), (&"exact".into(), &25.into()), "{summary:#}");
    assert_eq!((&summary["keys"], &summary["rows"]), (&45.into(), &45.into()));
    assert_eq!(summary["in_flight"], 25);
    let records = |topic: &str| kafka.read(topic, 0).len() as i64;
    assert!(records(source) < 4 * KEYS - 10, "the source was compacted");
    // What is wrong with a key that is not in flight is told, in a log with holes too.
    producer.send_all(&[Record::new(copy, 0).key("key 6").value("other").timestamp(1_700_000_030_500)]);
    let said = compared(kafka, source, copy);
    said.must_exit(1);
    assert_eq!(said.drift(), [("differs".to_owned(), "key 6".to_owned())]);
    assert_eq!(said.findings[0]["grade"], "proven");
}

#[test]
fn each_fault_has_its_name_and_its_places() {
    let kafka = shared();
    let (source, copy) = ("state-source", "state-copy");
    kafka.create_topic(source, 1, KEPT);
    kafka.create_topic(copy, 1, COMPACTED);
    let producer = kafka.producer(&[]);
    // Records of no key are nobody's.
    producer.send_all(&[Record::new(source, 0).value("of no key")]);
    for number in 0..3 {
        producer.send_all(&round(source, number));
    }
    let lost = |number: i64, key: i64| (number >= 1 && key == 10) || key == 11 || (number == 1 && key == 2);
    for number in 0..3 {
        let keys = if number > 1 { 5..KEYS } else { 0..KEYS };
        let kept: Vec<Record> = keys.filter(|key| !lost(number, *key)).map(|key| written(copy, number, key)).collect();
        producer.send_all(&kept);
    }
    producer.send_all(&[
        Record::new(copy, 0).key("key 12").value("other").timestamp(1_700_000_030_000),
        Record::new(copy, 0).key([0xff, 0x01]).value("foreign").timestamp(1_700_000_030_001),
    ]);
    let said = compared(kafka, source, copy);
    said.must_exit(1);
    let of = |kind: &str, key: &str| (kind.to_owned(), key.to_owned());
    let expected = [
        of("differs", "key 12"),
        of("extra", "ff01"),
        of("extra", "key 2"),
        of("missing", "key 11"),
        of("stale", "key 10"),
    ];
    assert_eq!(said.drift(), expected);
    let summary = said.drift_summary();
    assert_eq!((&summary["unverifiable"]["unusable-record"], &summary["confirmed"]), (&1.into(), &5.into()));
    let stale = said.findings.iter().find(|finding| finding["kind"] == "stale").expect("it is told");
    let evidence = &stale["evidence"];
    assert_eq!((number(&evidence["versions_behind"]), number(&evidence["seconds_behind"])), (2, 20), "{stale:#}");
    assert_eq!(evidence["equals_offset"], 11);
    assert_eq!(stale["sightings"][1]["topic"], copy);
    let causes = said.findings.iter().filter(|finding| finding["kind"] == "extra");
    let mut causes: Vec<&str> = causes.filter_map(|finding| finding["cause"].as_str()).collect();
    causes.sort_unstable();
    assert_eq!(causes, ["deleted", "no-record"]);
}

#[test]
fn a_mirror_that_holds_no_key_is_drift_and_what_may_have_expired_is_not() {
    let kafka = shared();
    let expiring: &[(&str, &str)] = &[("cleanup.policy", "compact,delete"), ("retention.ms", "-1")];
    for (topic, config) in [("gone-source", COMPACTED), ("gone-copy", COMPACTED), ("gone-expiring", expiring)] {
        kafka.create_topic(topic, 1, config);
    }
    let producer = kafka.producer(&[]);
    producer.send_all(&round("gone-source", 0));
    let said = compared(kafka, "gone-source", "gone-copy");
    said.must_exit(1);
    assert_eq!(said.drift_summary()["missing"], KEYS);
    assert!(said.findings.iter().all(|finding| finding["cause"] == "nothing-copied"));
    producer.send_all(&round("gone-expiring", 0));
    kafka.delete_records("gone-expiring", 0, 10);
    for (source, copy) in [("gone-source", "gone-expiring"), ("gone-expiring", "gone-source")] {
        let said = compared(kafka, source, copy);
        said.must_exit(3);
        assert_eq!(said.drift_summary()["unverifiable"]["retention"], 10);
    }
}

/// Where its last records are not the source's nobody knows how far the mirror is.
#[test]
fn without_a_position_findings_are_possible() {
    let kafka = shared();
    let (source, copy) = ("unplaced-source", "unplaced-copy");
    kafka.create_topic(source, 1, COMPACTED);
    kafka.create_topic(copy, 1, COMPACTED);
    let producer = kafka.producer(&[]);
    producer.send_all(&round(source, 0));
    let foreign = |key: i64| written(copy, 0, key).value("other").timestamp(1_700_000_000_020);
    producer.send_all(&(0..10).map(foreign).collect::<Vec<_>>());
    let said = compared(kafka, source, copy);
    said.must_exit(3);
    let summary = said.drift_summary();
    assert_eq!((&summary["claim"], &summary["in_flight"]), (&"heuristic".into(), &29.into()));
    assert_eq!((&summary["differs"], &summary["missing"]), (&10.into(), &11.into()));
    assert!(said.findings.iter().all(|finding| finding["grade"] == "possible"));
}
