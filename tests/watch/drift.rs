//! A pair of stores in the daemon: what differs is an incident until it heals, and what cannot be compared is one as well.

use std::path::Path;

use serde_json::Value;
use sordini_lab::{Browser, Postgres, Record, http, shared, wait_for};

use super::common::{Daemon, LIMIT, name};

/// A topic of three records and the table they were written to.
struct Pair {
    topic: String,
    database: String,
    postgres: Postgres,
}

impl Pair {
    fn new() -> Self {
        let (kafka, postgres) = (shared(), Postgres::start(&[]));
        let (topic, database) = (name("stores"), "stores".to_owned());
        kafka.create_topic(&topic, 1, &[]);
        let producer = kafka.producer(&[]);
        let record = |key: i32| Record::new(&topic, 0).key(key.to_string()).value("{\"note\":\"x\"}");
        producer.send_all(&(1..=3).map(record).collect::<Vec<_>>());
        kafka.commit_offsets(&format!("sink-{topic}"), &[(&topic, 0, 3)]);
        let mut client = postgres.database(&database);
        client
            .batch_execute("CREATE TABLE items (id int PRIMARY KEY, note text); INSERT INTO items VALUES (1, 'x'), (2, 'x'), (3, 'x')")
            .unwrap();
        Self { topic, database, postgres }
    }

    /// Watches nothing else.
    fn daemon(&self) -> Daemon {
        let mut daemon = Daemon::new();
        let (state, bootstrap, port) = (daemon.dir.path().join("state"), shared().bootstrap(), daemon.port);
        let text = format!(
            "version = 1\nstate = {state:?}\n[kafka]\n\"bootstrap.servers\" = \"{bootstrap}\"\n[lag]\nenabled = false\n\
             [alert]\nresolve-after = \"2s\"\n{}[serve]\nlisten = \"127.0.0.1:{port}\"\n",
            self.settings()
        );
        std::fs::write(daemon.config(), text).unwrap();
        daemon.run();
        daemon
    }

    /// Lines of its settings.
    fn settings(&self) -> String {
        let table = format!("{}?table=items", self.postgres.url_as("audit", &self.database));
        format!(
            "[[alert.rule]]\nkind = \"drift-stopped\"\nfor = \"1s\"\n\
             [[drift]]\nname = \"orders-table\"\nfirst = \"kafka:///{}\"\nsecond = \"{table}\"\ngroup = \"sink-{0}\"\n\
             settle = \"100ms\"\nevery = \"500ms\"\nbuckets = 2\nconfirm-after = [\"200ms\", \"500ms\"]\n",
            self.topic
        )
    }
}

/// Kind and state of what is told of the pair.
fn incidents(daemon: &Daemon) -> Vec<(String, String)> {
    let all = daemon.json("/api/v1/incidents");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of_pair =
        all["incidents"].as_array().unwrap().iter().filter(|one| one["observed"]["key"]["topic"] == "orders-table");
    of_pair.map(|one| (text(&one["observed"]["key"]["kind"]), text(&one["state"]))).collect()
}

fn wait_for_incident(daemon: &Daemon, kind: &str, state: &str) {
    let wanted = (kind.to_owned(), state.to_owned());
    let deadline = std::time::Instant::now() + LIMIT;
    while !incidents(daemon).contains(&wanted) {
        let late = std::time::Instant::now() > deadline;
        assert!(!late, "no {wanted:?} in {:?}\n{}", incidents(daemon), daemon.log());
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

#[test]
fn drift_is_an_incident_until_it_heals_and_blindness_is_one_too() {
    let mut pair = Pair::new();
    let daemon = pair.daemon();
    let metric = |line: &str| {
        let says = || http::get(&daemon.url("/metrics")).is_ok_and(|(_, text)| text.contains(line));
        wait_for(&format!("{line} is served"), LIMIT, || says().then_some(()));
    };
    wait_for("the pair is compared", LIMIT, || {
        (daemon.json("/api/v1/drift/orders-table")["verdict"] == "clean").then_some(())
    });
    let browser = Browser::start();
    browser.open(&daemon.url("/drift/orders-table"));
    assert!(browser.text("main").contains("claim: bracketed"), "{}", browser.text("main"));

    let mut client = pair.postgres.client(&pair.database);
    client.batch_execute("UPDATE items SET note = 'y' WHERE id = 2").unwrap();
    wait_for_incident(&daemon, "differs", "open");
    let finding = daemon.json("/api/v1/drift/orders-table")["findings"][0].clone();
    assert_eq!((&finding["kind"], &finding["key"]["id"]), (&"differs".into(), &"2".into()), "{finding:#}");
    metric("sordini_drift_keys{pair=\"orders-table\",age=\"0s\"} 1");
    wait_for("the page follows", LIMIT, || browser.text("main").contains("note x → y").then_some(()));
    browser.screenshot(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("watch-drift.png"));
    let errors: Vec<String> = browser.console().into_iter().filter(|line| line.contains("SEVERE")).collect();
    assert!(errors.is_empty(), "{errors:?}");

    client.batch_execute("UPDATE items SET note = 'x' WHERE id = 2").unwrap();
    wait_for_incident(&daemon, "differs", "resolved");

    pair.postgres.kill();
    wait_for_incident(&daemon, "drift-stopped", "open");
    metric("sordini_drift_running{pair=\"orders-table\"} 0");
    assert_eq!(daemon.json("/api/v1/drift/orders-table")["verdict"], "unverified");
    pair.postgres.start_again();
    wait_for_incident(&daemon, "drift-stopped", "resolved");
    wait_for("it is compared again", LIMIT, || {
        (daemon.json("/api/v1/drift/orders-table")["verdict"] == "clean").then_some(())
    });
}

/// What was told before a restart is neither resolved by it nor told again.
#[test]
fn a_restart_changes_nothing_about_a_pair() {
    let pair = Pair::new();
    let mut client = pair.postgres.client(&pair.database);
    client.batch_execute("DELETE FROM items WHERE id = 3").unwrap();
    let mut daemon = pair.daemon();
    wait_for_incident(&daemon, "missing", "open");
    daemon.kill();
    daemon.run();
    std::thread::sleep(std::time::Duration::from_secs(6));
    assert_eq!(incidents(&daemon), [("missing".to_owned(), "open".to_owned())], "{}", daemon.log());
    client.batch_execute("INSERT INTO items VALUES (3, 'x')").unwrap();
    wait_for_incident(&daemon, "missing", "resolved");
    daemon.signal("-TERM");
    assert_eq!(daemon.ended(), Some(0), "{}", daemon.log());
}
