//! A pipeline under load: a topic that is written all the time, the table it is written to, and between them a sink that lags,
//! crashes between its two commits and writes again.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ::postgres::Client;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rdkafka::Message as _;
use rdkafka::message::OwnedMessage;
use serde_json::Value;

use crate::{Kafka, Postgres, Record, wait_for};

const PER_SECOND: u64 = 1_500;
const BUSY: i64 = 20_000;
/// Keys that are written once, before anything else.
const COLD: Range<i64> = 100_000..110_000;
const BATCH: usize = 300;

/// Changes of the table that its sink knows nothing of, all of keys that are not written any more.
pub const DRIFT: &str = "\
DELETE FROM items WHERE id IN (100001, 100777, 109999);
UPDATE items SET amount = amount + 0.01 WHERE id IN (100002, 103333);
UPDATE items SET amount = -amount - 1 WHERE id = 104444;
UPDATE items SET note = NULL WHERE id = 105555;
INSERT INTO items VALUES (200001, 1, 'x'), (200002, 2, NULL), (-5, 0, '');
";

/// Kind and key of what [`DRIFT`] makes wrong, in order.
pub const WRONG: [(&str, &str); 10] = [
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
];

/// A topic and a database of one name; the table is `items`.
struct Pipe {
    kafka: &'static Kafka,
    postgres: &'static Postgres,
    name: String,
    partitions: i32,
}

impl Pipe {
    fn group(&self) -> String {
        format!("sink-{}", self.name)
    }

    fn record(&self, key: i64, value: Option<&str>) -> Record {
        let record = Record::new(&self.name, (key % i64::from(self.partitions)) as i32).key(key.to_string());
        match value {
            Some(value) => record.value(value),
            None => record,
        }
    }
}

/// Ends on drop.
pub struct Load {
    pipe: Arc<Pipe>,
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Of a topic and a database, both new, and of the group `sink-NAME`.
    pub fn start(kafka: &'static Kafka, postgres: &'static Postgres, name: &str, partitions: i32) -> Self {
        kafka.create_topic(name, partitions, &[("retention.ms", "-1")]);
        let table = "CREATE TABLE items (id bigint PRIMARY KEY, amount numeric(12,2), note text)";
        postgres.database(name).batch_execute(table).expect("a table");
        let pipe = Arc::new(Pipe { kafka, postgres, name: name.to_owned(), partitions });
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let producer = kafka.producer(&[]);
        for key in COLD {
            producer.send(&pipe.record(key, Some(&value(key, 0))));
        }
        producer.flush();
        let sink = {
            let (pipe, stop) = (pipe.clone(), stop.clone());
            thread::spawn(move || sink(&pipe, &stop))
        };
        let writer = {
            let (pipe, stop, written) = (pipe.clone(), stop.clone(), written.clone());
            thread::spawn(move || write(&pipe, &stop, &written))
        };
        Self { pipe, stop, written, threads: vec![writer, sink] }
    }

    /// Until the sink has written the keys that are written once, and its offsets say so: it does not write them again.
    pub fn wait_until_settled(&self) {
        let Pipe { kafka, name, partitions, .. } = &*self.pipe;
        wait_for("the sink has written the cold keys", Duration::from_secs(60), || {
            let of = |partition: i64| COLD.filter(|key| key % i64::from(*partitions) == partition).count() as i64;
            let is_there = |partition: i32| {
                kafka.committed(&self.pipe.group(), name, partition).is_some_and(|at| at >= of(i64::from(partition)))
            };
            (0..*partitions).all(is_there).then_some(())
        });
    }

    /// Records so far, those of the cold keys aside.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    pub fn group(&self) -> String {
        self.pipe.group()
    }

    pub fn topic_url(&self) -> String {
        format!("kafka://{}/{}", self.pipe.kafka.bootstrap(), self.pipe.name)
    }

    /// For a role that can only read.
    pub fn table_url(&self) -> String {
        format!("{}?table=items", self.pipe.postgres.url_as("audit", &self.pipe.name))
    }

    /// As the superuser.
    pub fn client(&self) -> Client {
        self.pipe.postgres.client(&self.pipe.name)
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
fn write(pipe: &Pipe, stop: &AtomicBool, written: &AtomicU64) {
    let producer = pipe.kafka.producer(&[]);
    let mut random = StdRng::seed_from_u64(1);
    let began = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let due = began.elapsed().as_millis() as u64 * PER_SECOND / 1_000;
        let mut version = written.load(Ordering::Relaxed);
        while version < due {
            // A few keys are written most of the time.
            let key = if random.random_bool(0.3) { random.random_range(0..20) } else { random.random_range(20..BUSY) };
            let content = random.random_bool(0.9).then(|| value(key, version));
            producer.send(&pipe.record(key, content.as_deref()));
            version += 1;
        }
        written.store(version, Ordering::Relaxed);
        producer.flush();
        thread::sleep(Duration::from_millis(5));
    }
}

/// Commits in the database first and in Kafka after it, as Kafka Connect's sinks do; now and then it dies in between.
fn sink(pipe: &Pipe, stop: &AtomicBool) {
    let mut random = StdRng::seed_from_u64(2);
    let mut client = pipe.postgres.client(&pipe.name);
    client.batch_execute("SET synchronous_commit = off").expect("a setting");
    let settings = [("auto.offset.reset", "earliest"), ("session.timeout.ms", "6000")];
    let mut consumer = pipe.kafka.consumer(&pipe.group(), &[&pipe.name], &settings);
    while !stop.load(Ordering::Relaxed) {
        let records = consumer.up_to(BATCH, Duration::from_millis(50));
        if records.is_empty() {
            continue;
        }
        apply(&mut client, &records);
        thread::sleep(Duration::from_millis(random.random_range(0..60)));
        if random.random_bool(0.05) {
            drop(consumer);
            consumer = pipe.kafka.consumer(&pipe.group(), &[&pipe.name], &settings);
        } else {
            consumer.commit();
        }
    }
}

/// The last version of each key in the batch, in one transaction.
fn apply(client: &mut Client, records: &[OwnedMessage]) {
    let mut last: BTreeMap<i64, Option<Value>> = BTreeMap::new();
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
