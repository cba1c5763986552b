//! What keys that are wrong have in common.

use crate::common::Pair;

fn rows(pair: &Pair, keys: i64) -> postgres::Client {
    let client = pair.table("id bigint PRIMARY KEY, note text");
    let producer = pair.kafka.producer(&[]);
    for key in 0..keys {
        producer.send(&pair.record(key, Some("{\"note\":\"x\"}")));
    }
    producer.flush();
    pair.commit_all();
    client
}

#[test]
fn every_nth_record_that_the_sink_drops_is_told() {
    let pair = Pair::new("every_nth", 2);
    let mut client = rows(&pair, 20_000);
    // The offset of a key is half of it.
    client
        .batch_execute(
            "INSERT INTO items SELECT i, 'x' FROM generate_series(0, 19999) i WHERE (i / 2) % 50 <> 7 OR i % 2 = 1",
        )
        .expect("rows");
    let said = pair.audit(&[]);
    said.must_exit(1);
    assert_eq!(said.drift_summary()["missing"], 200);
    let pattern = said.findings.iter().find(|finding| finding["kind"] == "periodic-loss").expect("the pattern");
    let why = pattern["why"].as_str().expect("a sentence");
    assert!(why.contains("50") && why.contains("partition 0"), "{why}");
    let notes = said.summary["notes"].to_string();
    assert!(notes.contains("200 of 200 wrong keys are of partition 0"), "{notes}");
}

#[test]
fn rows_that_are_wrong_without_a_pattern_have_none() {
    let pair = Pair::new("no_pattern", 2);
    let mut client = rows(&pair, 20_000);
    client
        .batch_execute(
            "INSERT INTO items SELECT i, 'x' FROM generate_series(0, 19999) i WHERE hashint8extended(i, 3) % 100 <> 0",
        )
        .expect("rows");
    let said = pair.audit(&[]);
    said.must_exit(1);
    assert!(said.findings.iter().all(|finding| finding["kind"] == "missing"), "{:#?}", said.findings.last());
    let notes = said.summary["notes"].to_string();
    assert!(!notes.contains("wrong keys are of partition"), "{notes}");
    assert!(notes.contains("were written between"), "{notes}");
}
