//! Under load: a topic that is written all the time, and a sink that lags, crashes between its commits and writes again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rdkafka::Message as _;
use rdkafka::message::OwnedMessage;

use crate::common::Pair;
use crate::follow::Follower;

const PER_SECOND: u64 = 1_500;
const BUSY: i64 = 20_000;
/// Keys that are written once, before anything else.
const COLD: std::ops::Range<i64> = 100_000..110_000;
const BATCH: usize = 300;

struct Load {
    pair: Arc<Pair>,
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn start() -> Self {
        let pair = Arc::new(Pair::new("load", 3));
        drop(pair.table("id bigint PRIMARY KEY, amount numeric(12,2), note text"));
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let producer = pair.kafka.producer(&[]);
        for key in COLD {
            producer.send(&pair.record(key, Some(&value(key, 0))));
        }
        producer.flush();
        let sink = {
            let (pair, stop) = (pair.clone(), stop.clone());
            thread::spawn(move || sink(&pair, &stop))
        };
        let writer = {
            let (pair, stop, written) = (pair.clone(), stop.clone(), written.clone());
            thread::spawn(move || write(&pair, &stop, &written))
        };
        Self { pair, stop, written, threads: vec![writer, sink] }
    }

    /// And their offsets are committed: the sink does not write them again.
    fn wait_until_the_cold_keys_are_written(&self) {
        let Pair { kafka, name, partitions, .. } = &*self.pair;
        sordini_lab::wait_for("the sink has written the cold keys", Duration::from_secs(60), || {
            let of = |partition: i64| COLD.filter(|key| key % i64::from(*partitions) == partition).count() as i64;
            let is_behind = |partition: i32| {
                kafka.committed(&self.pair.group(), name, partition).is_some_and(|at| at >= of(i64::from(partition)))
            };
            (0..*partitions).all(is_behind).then_some(())
        });
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            assert!(thread.join().is_ok() || thread::panicking(), "the load ends well");
        }
    }
}

fn value(key: i64, version: u64) -> String {
    format!("{{\"id\":{key},\"amount\":\"{}.{:02}\",\"note\":\"version {version}\"}}", version % 1_000, key % 100)
}

/// Updates, deletions and insertions of keys that were deleted before.
fn write(pair: &Pair, stop: &AtomicBool, written: &AtomicU64) {
    let producer = pair.kafka.producer(&[]);
    let mut random = StdRng::seed_from_u64(1);
    let began = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let due = began.elapsed().as_millis() as u64 * PER_SECOND / 1_000;
        let mut version = written.load(Ordering::Relaxed);
        while version < due {
            // A few keys are written most of the time.
            let key = if random.random_bool(0.3) { random.random_range(0..20) } else { random.random_range(20..BUSY) };
            let content = random.random_bool(0.9).then(|| value(key, version));
            producer.send(&pair.record(key, content.as_deref()));
            version += 1;
        }
        written.store(version, Ordering::Relaxed);
        producer.flush();
        thread::sleep(Duration::from_millis(5));
    }
}

/// Commits in the database first and in Kafka after it, as Kafka Connect's sinks do; now and then it dies in between.
fn sink(pair: &Pair, stop: &AtomicBool) {
    let mut random = StdRng::seed_from_u64(2);
    let mut client = pair.postgres.client(&pair.name);
    client.batch_execute("SET synchronous_commit = off").expect("a setting");
    let settings = [("auto.offset.reset", "earliest"), ("session.timeout.ms", "6000")];
    let mut consumer = pair.kafka.consumer(&pair.group(), &[&pair.name], &settings);
    while !stop.load(Ordering::Relaxed) {
        let records = consumer.up_to(BATCH, Duration::from_millis(50));
        if records.is_empty() {
            continue;
        }
        apply(&mut client, &records);
        thread::sleep(Duration::from_millis(random.random_range(0..60)));
        if random.random_bool(0.05) {
            drop(consumer);
            consumer = pair.kafka.consumer(&pair.group(), &[&pair.name], &settings);
        } else {
            consumer.commit();
        }
    }
}

/// The last version of each key in the batch, in one transaction.
fn apply(client: &mut postgres::Client, records: &[OwnedMessage]) {
    let mut last: BTreeMap<i64, Option<serde_json::Value>> = BTreeMap::new();
    for record in records {
        let key = std::str::from_utf8(record.key().expect("a key")).expect("text").parse().expect("a number");
        last.insert(key, record.payload().map(|value| serde_json::from_slice(value).expect("JSON")));
    }
    let (mut keys, mut amounts, mut notes, mut gone) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (key, value) in &last {
        match value {
            Some(value) => {
                keys.push(*key);
                amounts.push(value["amount"].as_str());
                notes.push(value["note"].as_str());
            }
            None => gone.push(*key),
        }
    }
    let upsert = "INSERT INTO items SELECT k, a::numeric, n FROM unnest($1::bigint[], $2::text[], $3::text[]) AS r(k, a, n) \
                  ON CONFLICT (id) DO UPDATE SET amount = excluded.amount, note = excluded.note";
    let mut transaction = client.transaction().expect("a transaction");
    transaction.execute(upsert, &[&keys, &amounts, &notes]).expect("rows");
    transaction.execute("DELETE FROM items WHERE id = ANY($1)", &[&gone]).expect("no rows");
    transaction.commit().expect("the batch is written");
}

/// `DRIFT_AUDITS`: how many audits must find nothing.
#[test]
fn nothing_is_found_where_nothing_is_wrong_and_ten_drifts_are_where_ten_are() {
    let audits: u32 = std::env::var("DRIFT_AUDITS").ok().and_then(|text| text.parse().ok()).unwrap_or(6);
    let load = Load::start();
    load.wait_until_the_cold_keys_are_written();
    let mut in_flight = 0;
    for audit in 0..audits {
        let said = load.pair.audit(&[]);
        assert_eq!(said.exit, 0, "audit {audit}: {}\n{:#?}\n{:#}", said.err, said.findings, said.summary);
        in_flight += said.drift_summary()["in_flight"].as_u64().expect("a number");
    }
    assert!(in_flight > 0, "the load was under way");

    let mut client = load.pair.postgres.client(&load.pair.name);
    let injected = "\
        DELETE FROM items WHERE id IN (100001, 100777, 109999); \
        UPDATE items SET amount = amount + 0.01 WHERE id IN (100002, 103333); \
        UPDATE items SET amount = -amount - 1 WHERE id = 104444; \
        UPDATE items SET note = NULL WHERE id = 105555; \
        INSERT INTO items VALUES (200001, 1, 'x'), (200002, 2, NULL), (-5, 0, '')";
    client.batch_execute(injected).expect("drift");
    let said = load.pair.audit(&[]);
    said.must_exit(1);
    let wanted: Vec<(String, String)> = [
        ("differs", "100002"),
        ("differs", "103333"),
        ("differs", "104444"),
        ("differs", "105555"),
        ("extra", "-5"),
        ("extra", "200001"),
        ("extra", "200002"),
        ("missing", "100001"),
        ("missing", "100777"),
        ("missing", "109999"),
    ]
    .map(|(kind, key)| (kind.to_owned(), key.to_owned()))
    .into();
    assert_eq!(said.drift(), wanted);
    assert!(load.written.load(Ordering::Relaxed) > 0);
}

/// For a quarter of a minute nothing is wrong; then it is, and after that it is mended.
#[test]
fn following_a_busy_table_tells_what_is_wrong_and_nothing_else() {
    let load = Load::start();
    load.wait_until_the_cold_keys_are_written();
    let (topic, table, group) = (load.pair.topic_url(""), load.pair.table_url(""), load.pair.group());
    let follower = Follower::start(&[&topic, &table, "--group", &group, "--every", "1s", "--buckets", "4"]);
    thread::sleep(Duration::from_secs(15));
    assert_eq!(follower.told(), [], "{}", follower.err());
    let mut client = load.pair.postgres.client(&load.pair.name);
    client
        .batch_execute("DELETE FROM items WHERE id = 100001; UPDATE items SET amount = amount + 1 WHERE id = 100002; INSERT INTO items VALUES (-5, 0, '')")
        .expect("drift");
    for (kind, key) in [("missing", "100001"), ("differs", "100002"), ("extra", "-5")] {
        follower.wait_for(kind, key, "open");
    }
    client.batch_execute("DELETE FROM items WHERE id = -5").expect("one heals");
    follower.wait_for("extra", "-5", "resolved");
    let told = follower.told();
    assert_eq!(told.len(), 4, "{told:?}\n{}", follower.err());
    let (exit, summary, _) = follower.end();
    assert_eq!(exit, 1, "{summary:#}");
    let following = &summary["drift"]["following"];
    assert!(following["checked"].as_u64() > Some(3_000), "{following:#}");
}
