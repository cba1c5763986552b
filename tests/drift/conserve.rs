//! Sums that must be conserved. The oracle is a `FULL JOIN` of grouped sums in one PostgreSQL.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::Duration;

use ::mysql::prelude::Queryable as _;
use postgres::Client;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rusqlite::Connection;
use serde_json::Value;
use sordini_lab::{Directory, mariadb, postgres as server};

use crate::common::{Pair, Said, drift};
use crate::follow::Follower;

const LAW: &str = "sum(amount) - sum(fee) by currency, day(at)";

/// The imbalances among the findings: group, expected and actual.
fn imbalances(said: &Said) -> BTreeSet<String> {
    let of = |finding: &Value| {
        let texts = |value: &Value| value.as_object().into_iter().flatten().map(|(_, v)| v.clone()).collect::<Vec<_>>();
        let group: Vec<String> =
            texts(&finding["evidence"]["group"]).iter().map(|v| v.as_str().unwrap_or("null").to_owned()).collect();
        let sides = texts(&finding["columns"]);
        let side = |name: &str| sides[0][name].as_str().unwrap_or_default().to_owned();
        format!("{} {} {}", group.join(","), side("expected"), side("actual"))
    };
    said.findings.iter().filter(|finding| finding["kind"] == "imbalance").map(of).collect()
}

fn law(said: &Said) -> &Value {
    &said.drift_summary()["laws"][0]
}

/// Two tables in one database, read as if they were in two.
fn two_tables(name: &str, columns: &str, rows: &str) -> (Client, String, String) {
    let mut client = server::shared().database(name);
    for table in ["a", "b"] {
        client.batch_execute(&format!("CREATE TABLE {table} ({columns})")).expect("a table");
    }
    client.batch_execute(&format!("INSERT INTO a {rows}; INSERT INTO b TABLE a")).expect("rows");
    let url = |table: &str| format!("{}?table={table}", server::shared().url_as("audit", name));
    (client, url("a"), url("b"))
}

const COLUMNS: &str = "id bigint PRIMARY KEY, amount numeric(14,2), fee int, currency text, at timestamptz";
const ROWS: &str = "SELECT i, (i * 37 % 10007) / 100.0, CASE WHEN i % 11 > 0 THEN i % 5 END, \
                    (ARRAY['EUR', 'eur', '', NULL, 'USD'])[1 + i % 5], \
                    timestamptz '2026-11-20 22:30:00+00' + i * interval '41 second' FROM generate_series(1, 5000) i";

#[test]
fn sums_by_group_are_those_of_sql() {
    let (mut client, a, b) = two_tables("conserve_oracle", COLUMNS, ROWS);
    let compare = |more: &[&str]| drift(&[&[a.as_str(), b.as_str(), "--conserve", LAW], more].concat());
    let said = compare(&[]);
    said.must_exit(0);
    assert_eq!((&law(&said)["wrong"], law(&said)["groups"].as_u64() > Some(10)), (&0.into(), true), "{:#}", law(&said));

    let mut random = StdRng::seed_from_u64(5);
    for _ in 0..60 {
        let id = random.random_range(1..5_000);
        let change = match random.random_range(0..6) {
            0 => format!("DELETE FROM b WHERE id = {id}"),
            1 => format!("UPDATE b SET amount = amount + 0.01 WHERE id = {id}"),
            2 => format!("UPDATE b SET fee = NULL WHERE id = {id}"),
            3 => format!("UPDATE b SET currency = upper(currency) WHERE id = {id}"),
            4 => format!("UPDATE b SET at = at + interval '1 day' WHERE id = {id}"),
            // This one is none of the law's business.
            _ => format!("UPDATE b SET id = id + 100000 WHERE id = {id}"),
        };
        client.batch_execute(&change).expect("a change");
    }
    let grouped = |table: &str| {
        format!(
            "(SELECT currency, (at AT TIME ZONE 'UTC')::date AS day, coalesce(sum(amount), 0) - coalesce(sum(fee), 0) AS s \
             FROM {table} GROUP BY 1, 2) AS {table}"
        )
    };
    let statement = format!(
        "SELECT coalesce(a.currency, b.currency), coalesce(a.day, b.day)::text, coalesce(a.s, 0)::text, coalesce(b.s, 0)::text \
         FROM {} FULL JOIN {} ON coalesce(a.currency, 'none') = coalesce(b.currency, 'none') AND a.day = b.day \
         WHERE coalesce(a.s, 0) <> coalesce(b.s, 0)",
        grouped("a"),
        grouped("b")
    );
    let wanted: BTreeSet<String> = client
        .query(&statement, &[])
        .expect("the oracle answers")
        .iter()
        .map(|row| {
            let text = |index: usize| row.get::<_, Option<String>>(index).unwrap_or("null".to_owned());
            format!("{},{} {} {}", text(0), text(1), text(2), text(3))
        })
        .collect();
    assert!(wanted.len() > 10, "{wanted:?}");
    for more in [&[][..], &["--max-rate", "100000"]] {
        let said = compare(more);
        said.must_exit(1);
        assert_eq!(imbalances(&said), wanted);
        assert_eq!(law(&said)["wrong"], wanted.len());
    }
    // Nobody reads a value where none is to be told.
    let redacted = compare(&["--redact"]);
    let of_laws: Vec<&Value> = redacted.findings.iter().filter(|finding| finding["kind"] == "imbalance").collect();
    assert_eq!(of_laws.len(), wanted.len());
    assert!(of_laws.iter().all(|finding| !finding.to_string().contains("EUR")), "{of_laws:#?}");
}

#[test]
fn numbers_that_are_not_finite_are_counted() {
    let columns = "id int PRIMARY KEY, amount numeric, day date";
    let rows =
        "VALUES (1, 'NaN', 'infinity'), (2, 1.5, '0044-03-15 BC'), (3, 'Infinity', '2026-11-28'), (4, NULL, NULL)";
    let (mut client, a, b) = two_tables("conserve_odd", columns, rows);
    let compare = || drift(&[&a, &b, "--conserve", "sum(amount) by month(day)"]);
    compare().must_exit(0);
    client
        .batch_execute("UPDATE b SET amount = 0 WHERE id = 1; UPDATE b SET amount = 1.50000001 WHERE id = 2")
        .expect("changes");
    let said = compare();
    said.must_exit(1);
    let wanted = ["0044-03 BC 1.5 1.50000001", "infinity 0 and a value that is no finite number 0"];
    assert_eq!(imbalances(&said), wanted.map(str::to_owned).into());
}

/// Debits and credits of each account; one store alone is out of balance, then both are.
#[test]
fn what_must_be_zero_is_judged_in_each_store() {
    let columns = "id int PRIMARY KEY, account int, debit numeric(12,2), credit numeric(12,2)";
    let rows = "SELECT i, i / 2 % 10, CASE WHEN i % 2 = 0 THEN i / 2 END, CASE WHEN i % 2 = 1 THEN i / 2 END FROM generate_series(0, 99) i";
    let (mut client, a, b) = two_tables("conserve_zero", columns, rows);
    let law = "sum(debit) - sum(credit) by account = 0";
    let compare = |first: &str| drift(&[first, &b, "--conserve", law]);
    compare(&a).must_exit(0);
    client.batch_execute("UPDATE b SET debit = debit + 5 WHERE id = 8").expect("a change");
    let said = compare(&a);
    said.must_exit(1);
    assert_eq!(imbalances(&said), ["4 0 5.00".to_owned()].into());
    // The rows agree, and what they say cannot be.
    let said = compare(&b);
    said.must_exit(1);
    assert_eq!(said.findings.len(), 2, "{:#?}", said.findings);
    assert!(said.findings.iter().all(|finding| finding["kind"] == "imbalance"), "{:#?}", said.findings);
}

#[test]
fn mariadb_and_sqlite_add_up_as_postgresql_does() {
    let name = "conserve_engines";
    let mut here = server::shared().database(name);
    here.batch_execute(&format!("CREATE TABLE items ({COLUMNS}); INSERT INTO items {ROWS}")).expect("a table");
    let mut there = mariadb::shared().database(name);
    let directory = Directory::new("conserve");
    let file = Connection::open(directory.join("shop.db")).expect("a new file");
    // A collation that folds case: its groups must not.
    let columns = "id bigint PRIMARY KEY, amount decimal(14,2), fee int, currency varchar(9), at timestamp(0) NULL";
    there.query_drop(format!("CREATE TABLE items ({columns}) COLLATE utf8mb4_general_ci")).expect("a table");
    file.execute_batch(&format!("CREATE TABLE items ({})", columns.replace("timestamp(0) NULL", "text")))
        .expect("a table");
    let text = "format('(%s,%s,%s,%s,%L)', id, amount, coalesce(fee::text, 'NULL'), quote_nullable(currency), to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'))";
    let rows: String = here.query_one(&format!("SELECT string_agg({text}, ',') FROM items"), &[]).expect("rows").get(0);
    there.query_drop("SET time_zone = '+00:00'").expect("a setting");
    there.query_drop(format!("INSERT INTO items VALUES {rows}")).expect("rows");
    file.execute_batch(&format!("INSERT INTO items VALUES {rows}")).expect("rows");
    let first = format!("{}?table=items", server::shared().url_as("audit", name));
    let urls = [
        format!("{}?table=items", mariadb::shared().url_as("audit", name)),
        format!("sqlite://{}/shop.db?table=items&key=id", directory.display()),
    ];
    for url in &urls {
        let said = drift(&[&first, url, "--conserve", LAW]);
        said.must_exit(0);
        assert!(law(&said)["groups"].as_u64() > Some(10), "{:#}", law(&said));
    }
    let change = "UPDATE items SET amount = amount + 1 WHERE id = 15";
    there.query_drop(change).expect("a change");
    file.execute_batch(change).expect("a change");
    let sum = "SELECT (sum(amount) - sum(fee))::text FROM items WHERE currency = 'EUR' AND at < '2026-11-21'";
    let before: String = here.query_one(sum, &[]).expect("a sum").get(0);
    here.batch_execute(&format!("BEGIN; {change}")).expect("a change");
    let after: String = here.query_one(sum, &[]).expect("a sum").get(0);
    here.batch_execute("ROLLBACK").expect("it is as it was");
    for url in &urls {
        let said = drift(&[&first, url, "--conserve", LAW]);
        said.must_exit(1);
        assert_eq!(imbalances(&said), [format!("EUR,2026-11-20 {before} {after}")].into(), "{url}");
    }
}

/// A sink that has not written everything: what is on its way is in neither sum, and holds no group against zero.
#[test]
fn keys_in_flight_are_in_no_sum() {
    let pair = Pair::new("conserve_flight", 2);
    let mut client = pair.table("id int PRIMARY KEY, amount numeric(12,2), account text");
    let producer = pair.kafka.producer(&[]);
    let send = |key: i64, amount: &str, account: &str| {
        producer.send(&pair.record(key, Some(&format!("{{\"amount\":\"{amount}\",\"account\":\"{account}\"}}"))));
    };
    for key in 1..=20 {
        send(key, if key % 2 == 0 { "10" } else { "-10.00" }, &format!("a{}", (key - 1) / 2 % 5));
    }
    producer.flush();
    client
        .batch_execute(
            "INSERT INTO items SELECT i, CASE WHEN i % 2 = 0 THEN 10 ELSE -10 END, 'a' || (i - 1) / 2 % 5 FROM generate_series(1, 20) i",
        )
        .expect("rows");
    pair.commit_all();
    let audit = || pair.audit(&["--conserve", "sum(amount) by account", "--conserve", "sum(amount) by account = 0"]);
    audit().must_exit(0);
    // Half of a transfer, the other half of which is neither in the table nor committed: written, and then not written.
    send(1, "-12", "a0");
    producer.flush();
    let said = audit();
    said.must_exit(0);
    assert_eq!(said.drift_summary()["in_flight"], 1);
    client.batch_execute("UPDATE items SET amount = -12 WHERE id = 1").expect("the sink writes");
    audit().must_exit(0);
    // It has written and committed everything, and another row is wrong: a0 and a1 are not balanced in the table.
    pair.commit_all();
    client.batch_execute("UPDATE items SET amount = 11 WHERE id = 4").expect("a change");
    let said = audit();
    said.must_exit(1);
    let wanted = ["a0 0 -2.00", "a1 0.00 1.00", "a1 0 1.00"];
    assert_eq!(imbalances(&said), wanted.map(str::to_owned).into());
    let of_rows: Vec<_> = said.findings.iter().filter(|finding| finding["kind"] == "differs").collect();
    assert_eq!(of_rows.len(), 1);
    assert!(said.findings.iter().all(|finding| finding["grade"] == "proven"));
}

/// The last record of a key leaves out a large value that did not change, as Debezium's does.
#[test]
fn what_a_record_does_not_tell_is_said() {
    let pair = Pair::new("conserve_partial", 1);
    let mut client = pair.table("id int PRIMARY KEY, amount int, account text, note text");
    let producer = pair.kafka.producer(&[]);
    let send = |key: i64, amount: i64, account: &str, note: &str| {
        let value = format!("{{\"amount\":{amount},\"account\":\"{account}\",\"note\":\"{note}\"}}");
        producer.send(&pair.record(key, Some(&value)));
    };
    for (key, amount, account) in [(1, 5, "a"), (2, -5, "a"), (3, 7, "b"), (4, -6, "b"), (5, 1, "c")] {
        send(key, amount, account, "large");
    }
    send(3, 8, "b", "__debezium_unavailable_value");
    producer.flush();
    pair.commit_all();
    let rows = "(1, 5, 'a', 'large'), (2, -5, 'a', 'large'), (3, 8, 'b', 'large'), (4, -6, 'b', 'large'), (5, 1, 'c', 'large')";
    client.batch_execute(&format!("INSERT INTO items VALUES {rows}")).expect("rows");
    let by_account = pair.audit(&["--conserve", "sum(amount) by account = 0"]);
    by_account.must_exit(1);
    assert_eq!(imbalances(&by_account), ["c 0 1".to_owned()].into());
    assert_eq!((law(&by_account)["groups"].as_u64(), law(&by_account)["moving"].as_u64()), (Some(3), Some(1)));
    let by_note = pair.audit(&["--conserve", "sum(amount) by note = 0"]);
    by_note.must_exit(3);
    assert!(law(&by_note)["unjudged"].as_str().is_some_and(|why| why.contains("which group")), "{:#}", law(&by_note));
}

#[test]
fn a_group_that_is_written_does_not_heal() {
    let pair = Pair::new("conserve_touched", 1);
    let mut client = pair.table("id int PRIMARY KEY, amount int, account text");
    let producer = pair.kafka.producer(&[]);
    let send = |key: i64, amount: i64| {
        producer.send(&pair.record(key, Some(&format!("{{\"amount\":{amount},\"account\":\"a\"}}"))));
    };
    [(1, 5), (2, -5), (3, 1)].iter().for_each(|(key, amount)| send(*key, *amount));
    producer.flush();
    pair.commit_all();
    client.batch_execute("INSERT INTO items VALUES (1, 5, 'a'), (2, -5, 'a'), (3, 1, 'a')").expect("rows");
    let (topic, table, group) = (pair.topic_url(""), pair.table_url(""), pair.group());
    let law = "sum(amount) by account = 0";
    let follower = Follower::start(&[&topic, &table, "--group", &group, "--every", "500ms", "--conserve", law]);
    follower.wait_for("imbalance", "", "open");
    // Its record is not committed for a while.
    send(1, 5);
    producer.flush();
    sleep(Duration::from_secs(4));
    let told = follower.told();
    assert!(told.iter().all(|(_, _, state)| state == "open"), "{told:?}");
    send(4, -1);
    producer.flush();
    client.batch_execute("INSERT INTO items VALUES (4, -1, 'a')").expect("a row");
    pair.commit_all();
    follower.wait_for("imbalance", "", "resolved");
    let (exit, summary, _) = follower.end();
    assert_eq!(exit, 0, "{summary:#}");
}

#[test]
fn an_imbalance_is_told_for_ever_until_it_heals() {
    let pair = Pair::new("conserve_follow", 1);
    let mut client = pair.table("id int PRIMARY KEY, amount int");
    let producer = pair.kafka.producer(&[]);
    (1..=3).for_each(|key| producer.send(&pair.record(key, Some("{\"amount\":5}"))));
    producer.flush();
    pair.commit_all();
    client.batch_execute("INSERT INTO items VALUES (1, 5), (2, 5), (3, 5)").expect("rows");
    let (topic, table, group) = (pair.topic_url(""), pair.table_url(""), pair.group());
    let args = [&topic, &table, "--group", &group, "--every", "500ms", "--conserve", "sum(amount)"];
    let follower = Follower::start(&args);
    client.batch_execute("UPDATE items SET amount = 6 WHERE id = 2").expect("a change");
    follower.wait_for("imbalance", "", "open");
    follower.wait_for("differs", "2", "open");
    client.batch_execute("UPDATE items SET amount = 5 WHERE id = 2").expect("it heals");
    follower.wait_for("imbalance", "", "resolved");
    follower.wait_for("differs", "2", "resolved");
    assert_eq!(follower.told().len(), 4, "{:?}", follower.told());
    let (exit, summary, _) = follower.end();
    assert_eq!(exit, 0, "{summary:#}");
    assert_eq!(summary["drift"]["laws"][0]["wrong"], 0);
}

#[test]
fn a_law_that_cannot_be_judged_is_said() {
    let pair = Pair::new("conserve_words", 1);
    let mut client = pair.two_rows();
    client.batch_execute("ALTER TABLE items ADD amount int").expect("a column");
    for (law, said) in [
        ("sum(amount", "expected ) at its end"),
        ("sum(total)", "no column \"total\" among those compared: id, note, amount"),
        ("sum(note)", "is text"),
    ] {
        let answer = pair.audit(&["--conserve", law]);
        assert_eq!(answer.exit, 2, "{law}");
        assert!(answer.err.contains(said), "{law}: {}", answer.err);
    }
    let topic = pair.topic_url("");
    let mirror = drift(&[&topic, &topic, "--conserve", "count(*)"]);
    assert_eq!(mirror.exit, 2);
    assert!(mirror.err.contains("is for tables"), "{}", mirror.err);
    // Records that have left the topic may have been of any row.
    pair.kafka.delete_records(&pair.name, 0, 1);
    let said = pair.audit(&["--ignore", "amount", "--conserve", "count(*)"]);
    said.must_exit(3);
    assert!(law(&said)["unjudged"].as_str().is_some_and(|why| why.contains("have left the topic")), "{:#}", law(&said));
    assert_eq!(said.findings.len(), 0);
}
