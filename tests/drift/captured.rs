//! A topic that Debezium captures from the table: exact by the visibility of transactions, while both are written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use postgres::Client;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sordini_lab::{Connect, Kafka, Postgres, postgres as server};

use crate::common::{Said, drift};

/// Keys that are written all the time; those above are written once.
const BUSY: i64 = 3_000;
const ALL: i64 = 6_000;
const WRITERS: u64 = 4;

struct Captured {
    kafka: &'static Kafka,
    postgres: &'static Postgres,
    name: &'static str,
    connect: Connect,
}

impl Captured {
    fn start(name: &'static str, partitions: i32) -> Self {
        let (kafka, postgres) = (sordini_lab::shared(), server::shared());
        let mut client = postgres.database(name);
        let table =
            "CREATE TABLE items (id bigint PRIMARY KEY, amount numeric(12,2), note text, at timestamptz, body text)";
        client.batch_execute(table).expect("a table");
        let rows = "INSERT INTO items SELECT i, i / 7.0, 'note ' || i, timestamptz '2024-01-01' + i * interval '1 ms' \
                    FROM generate_series(1, $1::bigint) i";
        client.execute(rows, &[&ALL]).expect("rows");
        // So large that the log does not repeat them when something else of the row changes.
        let bodies = "UPDATE items SET body = (SELECT string_agg(md5(id::text || i), '') FROM generate_series(1, 300) i) \
                      WHERE id % 50 = 0";
        client.batch_execute(bodies).expect("bodies");
        kafka.create_topic(&format!("{name}.public.items"), partitions, &[("retention.ms", "-1")]);
        let connect = Connect::capture(kafka, postgres, name, "items", name);
        // The connector's first snapshot is on its way then, and waited for.
        sordini_lab::wait_for("something was captured", Duration::from_secs(60), || {
            let topic = format!("{name}.public.items");
            (0..partitions).any(|partition| kafka.watermarks(&topic, partition).1 > 0).then_some(())
        });
        Self { kafka, postgres, name, connect }
    }

    fn client(&self) -> Client {
        self.postgres.client(self.name)
    }

    fn audit(&self, more: &[&str]) -> Said {
        self.audit_on(self.postgres, more)
    }

    fn audit_on(&self, postgres: &Postgres, more: &[&str]) -> Said {
        let topic = format!("kafka://{}/{}.public.items?value=debezium", self.kafka.bootstrap(), self.name);
        let table = format!("{}?table=items&slot={}", postgres.url_as("audit", self.name), self.name);
        let mut args = vec![topic.as_str(), table.as_str()];
        args.extend(more);
        drift(&args)
    }
}

struct Load {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(captured: &Captured) -> Self {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let thread = |number| {
            let (client, stop, written) = (captured.client(), stop.clone(), written.clone());
            thread::spawn(move || write(client, number, &stop, &written))
        };
        let threads = (0..WRITERS).map(thread).collect();
        Self { stop, written, threads }
    }

    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("the load ends well");
        }
        self.written.load(Ordering::Relaxed)
    }
}

/// Short and long transactions, committed without waiting for the disk or rolled back; keys that change, go and come again.
fn write(mut client: Client, number: u64, stop: &AtomicBool, written: &AtomicU64) {
    client.batch_execute("SET synchronous_commit = off").expect("a setting");
    let mut random = StdRng::seed_from_u64(number);
    while !stop.load(Ordering::Relaxed) {
        let mut transaction = client.transaction().expect("a transaction");
        let rows = if number == 0 { 5 } else { random.random_range(1..4) };
        // Each writer has keys of its own, so that none waits for another.
        let own = |random: &mut StdRng| {
            let key = random.random_range(0..BUSY / WRITERS as i64) * WRITERS as i64;
            1 + key + number as i64
        };
        for _ in 0..rows {
            let (key, other) = (own(&mut random), own(&mut random));
            let amount = random.random_range(-99_999_999..99_999_999_i64);
            let done = match random.random_range(0..10) {
                0 => transaction.execute("DELETE FROM items WHERE id = $1", &[&key]),
                1 => transaction.execute(
                    // Under its new key an event would not tell a large value either, and nobody could.
                    "UPDATE items SET id = $2 WHERE id = $1 AND body IS NULL AND NOT EXISTS (SELECT FROM items WHERE id = $2)",
                    &[&key, &other],
                ),
                _ => transaction.execute(
                    "INSERT INTO items VALUES ($1, $2::bigint / 100.0, 'busy', clock_timestamp()) \
                     ON CONFLICT (id) DO UPDATE SET amount = excluded.amount, at = excluded.at",
                    &[&key, &amount],
                ),
            };
            written.fetch_add(done.expect("a change"), Ordering::Relaxed);
            if number == 0 {
                thread::sleep(Duration::from_millis(random.random_range(0..300)));
            }
        }
        let end = if random.random_bool(0.1) { transaction.rollback() } else { transaction.commit() };
        end.expect("the transaction ends");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_captured_table_agrees_exactly_while_it_is_written() {
    let captured = Captured::start("captured_load", 2);
    let load = Load::start(&captured);
    let audits: u32 = std::env::var("DRIFT_AUDITS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    for audit in 0..audits {
        let said =
            captured.audit(&["--conserve", "sum(amount) by note, day(at)", "--conserve", "count(*) by hour(at)"]);
        assert_eq!(said.exit, 0, "audit {audit}: {}\n{:#?}\n{:#}", said.err, said.findings, said.summary);
        assert_eq!(said.drift_summary()["claim"], "exact");
        assert_eq!(said.drift_summary()["laws"][0]["unjudged"], serde_json::Value::Null, "{:#}", said.summary);
        assert_eq!(said.drift_summary()["rows"], said.drift_summary()["keys"]);
    }
    assert!(load.end() > 1_000, "the load was under way");

    // Changes that the connector never hears of.
    let mut client = captured.client();
    let (drop, add) = ("DROP TABLE items", "ADD TABLE items");
    let alter = |what: &str| format!("ALTER PUBLICATION captured_load {what}");
    client.batch_execute(&alter(drop)).expect("the table leaves the publication");
    client
        .batch_execute(
            "DELETE FROM items WHERE id IN (5001, 5002); UPDATE items SET amount = amount + 0.01 WHERE id = 5003; \
             UPDATE items SET note = NULL WHERE id = 5004; UPDATE items SET body = 'short' WHERE id = 5050; INSERT INTO items VALUES (7001, 1, 'x', NULL)",
        )
        .expect("changes");
    client.batch_execute(&alter(add)).expect("the table is published again");
    // Nothing else is written now that would tell how far the connector is.
    let said = captured.audit(&["--mark"]);
    said.must_exit(1);
    let wanted = [
        ("differs", "5003"),
        ("differs", "5004"),
        ("differs", "5050"),
        ("extra", "7001"),
        ("missing", "5001"),
        ("missing", "5002"),
    ];
    assert_eq!(said.drift(), wanted.map(|(kind, key)| (kind.to_owned(), key.to_owned())));
    assert!(said.findings.iter().all(|finding| finding["grade"] == "proven"), "{:#?}", said.findings);
}

/// What is wrong only on the way, and right at both ends.
#[test]
fn a_change_that_the_connector_never_heard_of_is_found_though_the_stores_agree() {
    let captured = Captured::start("captured_lost", 2);
    let mut client = captured.client();
    client.batch_execute("ALTER TABLE items REPLICA IDENTITY FULL").expect("rows are told whole from here on");
    let load = Load::start(&captured);
    for audit in 0..3 {
        let said = captured.audit(&[]);
        assert_eq!(said.exit, 0, "audit {audit}: {}\n{:#?}\n{:#}", said.err, said.findings, said.summary);
        let befores = &said.drift_summary()["befores"];
        assert_eq!(befores["without"], 0, "{befores}");
    }
    assert!(load.end() > 1_000, "the load was under way");

    let quiet = "id IN (5001, 5002, 5003, 5050) OR id BETWEEN 5100 AND 5110";
    let every = |note: &str| format!("UPDATE items SET note = '{note}' WHERE {quiet}");
    client.batch_execute(&every("first")).expect("a change that is captured");
    captured.audit(&["--mark"]).must_exit(0);
    let alter = |what: &str| format!("ALTER PUBLICATION captured_lost {what} TABLE items");
    client.batch_execute(&alter("DROP")).expect("the table leaves the publication");
    client
        .batch_execute(
            "UPDATE items SET note = 'lost' WHERE id IN (5001, 5050); UPDATE items SET amount = amount + 1 WHERE id = 5002; \
             DELETE FROM items WHERE id = 5003; UPDATE items SET note = note WHERE id = 5101",
        )
        .expect("changes");
    client.batch_execute(&alter("ADD")).expect("the table is published again");
    client.batch_execute(&every("last")).expect("a change that is captured");
    client.batch_execute("INSERT INTO items VALUES (5003, 1, 'last', NULL)").expect("a row that comes again");
    let said = captured.audit(&["--mark"]);
    said.must_exit(1);
    let wanted = ["5001", "5002", "5003", "5050"].map(|key| ("lost-change".to_owned(), key.to_owned()));
    assert_eq!(said.drift(), wanted);
    assert!(said.findings.iter().all(|finding| finding["grade"] == "proven"), "{:#?}", said.findings);
    assert_eq!(said.drift_summary()["claim"], "exact");
}

#[test]
fn a_connector_that_stands_still_is_not_vouched_for() {
    let captured = Captured::start("captured_quiet", 1);
    // Nothing is written: nothing tells how far the connector is, and what agrees needs no telling.
    let said = captured.audit(&[]);
    said.must_exit(0);
    assert_eq!(said.drift_summary()["claim"], "exact", "{:#}", said.summary);
    captured.client().batch_execute("UPDATE items SET note = 'again' WHERE id IN (50, 51)").expect("a change");
    let said = captured.audit(&["--mark"]);
    said.must_exit(0);
    assert_eq!(said.drift_summary()["suspects"], 1, "the body of 50 stands in an earlier event: {:#}", said.summary);
    captured.connect.pause();
    captured.client().batch_execute("UPDATE items SET note = 'late' WHERE id = 7").expect("a change");
    let said = captured.audit(&["--wait", "1s"]);
    said.must_exit(3);
    assert_eq!(said.drift_summary()["claim"], "heuristic");
    assert_eq!(said.findings[0]["grade"], "possible");
    captured.connect.resume();
    captured.audit(&["--mark"]).must_exit(0);
    // A table of the same name on another server is not what was captured.
    let other = Postgres::start(&[]);
    let mut client = other.database(captured.name);
    client
        .batch_execute(
            "CREATE TABLE items (id bigint PRIMARY KEY, amount numeric(12,2), note text, at timestamptz, body text)",
        )
        .expect("a table");
    let said = captured.audit_on(&other, &["--wait", "1s"]);
    assert_eq!(said.exit, 2, "{:#?}", said.findings);
    assert!(said.err.contains("another server") && said.err.contains("--group"), "{}", said.err);
}
