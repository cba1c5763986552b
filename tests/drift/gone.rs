//! A server that goes away, or that must not be trusted: never "no drift".

use std::process::{Child, Command, Output, Stdio};

use std::time::Duration;

use sordini_lab::certs::Certificates;
use sordini_lab::{Kafka, Options, Postgres, Record, postgres as server, wait_for};

use crate::common::{Pair, drift};

const ROWS: &str = "CREATE TABLE items (id int PRIMARY KEY, note text); INSERT INTO items VALUES (1, 'x'), (2, 'x')";

fn produce(kafka: &Kafka, topic: &str) {
    kafka.create_topic(topic, 1, &[]);
    let producer = kafka.producer(&[]);
    for key in 1..=2 {
        producer.send(&Record::new(topic, 0).key(key.to_string()).value("{\"note\":\"x\"}"));
    }
    producer.flush();
    kafka.commit_offsets("sink", &[(topic, 0, 2)]);
}

fn start(kafka: &Kafka, topic: &str, postgres: &Postgres, more: &[&str]) -> Child {
    let urls =
        [format!("kafka://{}/{topic}", kafka.bootstrap()), format!("{}?table=items", postgres.url_as("audit", topic))];
    Command::new(env!("CARGO_BIN_EXE_sordini"))
        .args(["drift", "--format", "json", "--group", "sink"])
        .args(urls)
        .args(more)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("sordini starts")
}

#[track_caller]
fn must_not_vouch(said: &Output) {
    let (out, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert_eq!(said.status.code(), Some(2), "{out}\n{err}");
    assert!(!err.contains("panicked"), "{err}");
}

#[test]
fn a_database_that_is_gone_is_no_agreement() {
    let pair = Pair::new("gone", 1);
    let mut client = pair.table("id int PRIMARY KEY, note text");
    pair.kafka.commit_offsets(&pair.group(), &[(&pair.name, 0, 0)]);
    // The statement waits for the lock until its time is over.
    client.batch_execute("BEGIN; LOCK TABLE items").expect("a lock");
    let said = pair.audit(&["--statement-timeout", "500ms"]);
    assert_eq!(said.exit, 2, "{}", said.err);
    assert!(said.err.contains("--statement-timeout"), "{}", said.err);
}

#[test]
fn a_database_that_dies_while_it_is_asked_is_no_agreement() {
    let (kafka, postgres) = (sordini_lab::shared(), Postgres::start(&[]));
    produce(kafka, "dying_database");
    let mut client = postgres.database("dying_database");
    client.batch_execute(ROWS).expect("rows");
    client.batch_execute("BEGIN; LOCK TABLE items").expect("a lock");
    let child = start(kafka, "dying_database", &postgres, &[]);
    let mut other = postgres.client("dying_database");
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'audit' AND wait_event_type = 'Lock'";
    wait_for("it waits for the lock", Duration::from_secs(30), || {
        let waiting: i64 = other.query_one(waits, &[]).expect("an answer").get(0);
        (waiting > 0).then_some(())
    });
    postgres.kill();
    must_not_vouch(&child.wait_with_output().expect("it ends"));
}

#[test]
fn a_broker_that_dies_between_two_looks_is_no_agreement() {
    let (mut kafka, postgres) = (Kafka::start(Options::default()), server::shared());
    produce(&kafka, "dying_broker");
    let mut client = postgres.database("dying_broker");
    client.batch_execute(ROWS).expect("rows");
    client.batch_execute("DELETE FROM items WHERE id = 2").expect("drift");
    let child = start(&kafka, "dying_broker", postgres, &["--settle", "6s"]);
    let mut other = postgres.client("postgres");
    // Its second transaction comes after the settle time.
    let looked = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'audit' AND datname = 'dying_broker' AND query = 'COMMIT'";
    wait_for("it has looked once", Duration::from_secs(30), || {
        let looked: i64 = other.query_one(looked, &[]).expect("an answer").get(0);
        (looked > 0).then_some(())
    });
    kafka.kill();
    must_not_vouch(&child.wait_with_output().expect("it ends"));
}

#[test]
fn a_database_is_reached_over_tls_and_must_be_who_it_says() {
    let (kafka, directory) = (sordini_lab::shared(), tempfile::tempdir().expect("a directory"));
    let (ours, theirs) = (directory.path().join("ours"), directory.path().join("theirs"));
    for directory in [&ours, &theirs] {
        std::fs::create_dir(directory).expect("a directory");
    }
    let (certificates, foreign) = (Certificates::make(&ours), Certificates::make(&theirs));
    let postgres = Postgres::start_with_tls(&certificates);
    produce(kafka, "over_tls");
    postgres.database("over_tls").batch_execute(ROWS).expect("rows");
    let topic = format!("kafka://{}/over_tls", kafka.bootstrap());
    let table = |options: &str| format!("{}?table=items{options}", postgres.url_as("audit", "over_tls"));
    let (own, other) = (certificates.ca.display(), foreign.ca.display());
    for (options, exit, says) in [
        (format!("&sslmode=verify-full&sslrootcert={own}"), 0, ""),
        (format!("&sslmode=verify-ca&sslrootcert={own}"), 0, ""),
        ("&sslmode=require".to_owned(), 0, ""),
        (String::new(), 0, ""),
        (format!("&sslmode=verify-full&sslrootcert={other}"), 2, "certificate"),
        ("&sslmode=verify-full".to_owned(), 2, "certificate"),
        ("&sslmode=disable".to_owned(), 2, "no encryption"),
    ] {
        let said = drift(&[&topic, &table(&options), "--group", "sink"]);
        assert_eq!(said.exit, exit, "{options}: {}", said.err);
        assert!(said.err.contains(says), "{options}: {}", said.err);
    }
}
