//! Databases of different kinds and encodings, against what SQL says of them.

use std::collections::BTreeSet;

use ::mysql::prelude::Queryable as _;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sordini_lab::{mariadb, postgres};

use crate::common::{Pair, Said, drift};

const ROWS: i64 = 5_000;
const COLUMNS: &str = "id bigint PRIMARY KEY, amount decimal(12,2), status varchar(40), note text, at datetime(3)";

/// PostgreSQL and MariaDB hold the same rows; MariaDB holds them twice, and one of the two is changed.
struct Shops {
    name: String,
    mariadb: ::mysql::Conn,
}

impl Shops {
    fn new(name: &str) -> Self {
        let (mut here, mut there) = (postgres::shared().database(name), mariadb::shared().database(name));
        there.query_drop(format!("CREATE TABLE items ({COLUMNS})")).expect("a table");
        there
            .query_drop(format!(
                "INSERT INTO items SELECT seq, seq / 7, ELT(1 + seq % 3, 'new', 'paid', 'héld, ''quoted'' | and\\tmore'), \
                 IF(seq % 5, CONCAT('note ', seq), NULL), '2024-01-01' + INTERVAL seq * 1001000 MICROSECOND FROM seq_1_to_{ROWS}"
            ))
            .expect("rows");
        there.query_drop("CREATE TABLE truth LIKE items").expect("a second table");
        there.query_drop("INSERT INTO truth SELECT * FROM items").expect("a faithful copy");
        let columns = COLUMNS.replace("datetime", "timestamp");
        here.batch_execute(&format!("CREATE TABLE items ({columns})")).expect("a table");
        let rows: Vec<(i64, String, String, Option<String>, String)> =
            there.query("SELECT id, amount, status, note, CAST(at AS CHAR) FROM items").expect("rows");
        for (id, amount, status, note, at) in rows {
            let insert = "INSERT INTO items VALUES ($1, $2::text::numeric, $3, $4, $5::text::timestamp)";
            here.execute(insert, &[&id, &amount, &status, &note, &at]).expect("a row");
        }
        Self { name: name.to_owned(), mariadb: there }
    }

    fn compare(&self, first: &str, second: &str) -> Said {
        drift(&[first, second])
    }

    fn here(&self) -> String {
        format!("{}?table=items", postgres::shared().url_as("audit", &self.name))
    }

    fn there(&self, table: &str) -> String {
        format!("{}?table={table}", mariadb::shared().url_as("audit", &self.name))
    }

    fn mutate(&mut self, random: &mut StdRng) {
        let key = random.random_range(0..ROWS + 200);
        let change = match random.random_range(0..9) {
            0 => "DELETE FROM items WHERE id = ?",
            1 => "INSERT IGNORE INTO items VALUES (?, 1, 'new', NULL, now())",
            2 => "UPDATE items SET amount = amount + 0.01 WHERE id = ?",
            3 => "UPDATE items SET amount = -amount WHERE id = ?",
            4 => "UPDATE items SET note = '' WHERE note IS NULL AND id = ?",
            5 => "UPDATE items SET note = NULL WHERE id = ?",
            6 => "UPDATE items SET status = CONCAT(status, ' ') WHERE id = ?",
            7 => "UPDATE items SET at = at + INTERVAL 1000 MICROSECOND WHERE id = ?",
            _ => "UPDATE items SET status = UPPER(status) WHERE id = ?",
        };
        self.mariadb.exec_drop(change, (key,)).expect("the table can be changed");
    }

    /// Keys of which MariaDB says that they differ, byte for byte.
    fn truth(&mut self) -> BTreeSet<String> {
        let side = |table: &str| format!("SELECT id, amount, BINARY status, BINARY note, at FROM {table}");
        let less = |a: &str, b: &str| format!("SELECT id FROM (({}) EXCEPT ({})) AS d", side(a), side(b));
        let statement = format!("{} UNION {}", less("truth", "items"), less("items", "truth"));
        let keys: Vec<i64> = self.mariadb.query(statement).expect("the tables can be compared");
        keys.iter().map(i64::to_string).collect()
    }
}

fn keys(said: &Said) -> BTreeSet<String> {
    said.drift().into_iter().map(|(_, key)| key).collect()
}

#[test]
fn finds_what_sql_finds() {
    let mut shops = Shops::new("shops");
    let (here, truth, items) = (shops.here(), shops.there("truth"), shops.there("items"));
    shops.compare(&here, &items).must_exit(0);
    shops.compare(&truth, &items).must_exit(0);
    let mut random = StdRng::seed_from_u64(5);
    for round in 0..4 {
        for _ in 0..10_usize.pow(round) {
            shops.mutate(&mut random);
        }
        let wanted = shops.truth();
        for first in [&here, &truth] {
            let said = shops.compare(first, &items);
            said.must_exit(i32::from(!wanted.is_empty()));
            assert_eq!((keys(&said), said.findings.len()), (wanted.clone(), wanted.len()), "round {round}: {first}");
        }
    }
}

/// Few differences among many rows: cells filled in SQL on both sides, by MD5.
#[test]
fn cells_of_two_kinds_of_databases_tell_the_same() {
    let name = "maria_cells";
    let (mut here, mut there) = (postgres::shared().database(name), mariadb::shared().database(name));
    let columns = "id int PRIMARY KEY, note varchar(40)";
    here.batch_execute(&format!(
        "CREATE TABLE items ({columns}); INSERT INTO items SELECT k, 'note ' || k FROM generate_series(1, 200000) k"
    ))
    .expect("rows");
    there.query_drop(format!("CREATE TABLE items ({columns})")).expect("a table");
    there.query_drop("INSERT INTO items SELECT seq, CONCAT('note ', seq) FROM seq_1_to_200000").expect("rows");
    there.query_drop("UPDATE items SET note = 'x' WHERE id % 1000 = 7").expect("differences");
    let url = |url: String| format!("{url}?table=items");
    let urls = [postgres::shared().url_as("audit", name), mariadb::shared().url_as("audit", name)].map(url);
    for (first, second) in [(0, 1), (1, 0)] {
        let said = drift(&[&urls[first], &urls[second]]);
        said.must_exit(1);
        assert_eq!(said.drift_summary()["differs"], 200);
        assert!(said.drift_summary()["located_by"].to_string().contains("cells"), "{:#}", said.summary);
        assert!(said.drift_summary()["table_bytes"].as_u64().expect("a number") < 1_000_000, "{:#}", said.summary);
    }
}

#[test]
fn a_topic_and_the_table_in_mariadb_that_a_group_writes() {
    let pair = Pair::new("maria_sink", 2);
    let mut conn = mariadb::shared().database(&pair.name);
    let table = "id bigint PRIMARY KEY, amount decimal(12,2), note text, at datetime(3), paid tinyint(1), share double";
    conn.query_drop(format!("CREATE TABLE items ({table})")).expect("a table");
    let producer = pair.kafka.producer(&[]);
    let value = |key: i64, note: &str| {
        format!(
            "{{\"amount\":\"{key}.50\",\"note\":\"{note}\",\"at\":1704067200139,\"paid\":true,\"share\":{key}e-20}}"
        )
    };
    for key in 0..300 {
        producer.send(&pair.record(key, Some(&value(key, "😀"))));
    }
    producer.flush();
    pair.commit_all();
    let row = "seq, seq + 0.5, '😀', '2024-01-01 00:00:00.139', 1, CONCAT(seq, 'e-20')";
    conn.query_drop(format!("INSERT INTO items SELECT {row} FROM seq_0_to_299")).expect("rows");
    // In flight: written already, and not yet.
    for (key, note) in [(3, "new"), (4, "new")] {
        producer.send(&pair.record(key, Some(&value(key, note))));
    }
    producer.send(&pair.record(5, None));
    producer.flush();
    conn.query_drop("UPDATE items SET note = 'new' WHERE id = 3").expect("a change");
    let url = format!("{}?table=items", mariadb::shared().url_as("audit", &pair.name));
    let (topic, group) = (pair.topic_url(""), pair.group());
    let audit = |more: &[&str]| {
        let mut args = vec![topic.as_str(), url.as_str(), "--group", group.as_str()];
        args.extend(more);
        drift(&args)
    };
    // With the float the rows are hashed here, without it in SQL.
    for more in [&[] as &[&str], &["--ignore", "share"]] {
        let said = audit(more);
        assert_eq!(said.drift_summary()["in_flight"], 3, "{:#}", said.summary);
        said.must_exit(0);
    }
    conn.query_drop("DELETE FROM items WHERE id = 7").expect("a row goes");
    conn.query_drop("UPDATE items SET note = '?' WHERE id IN (4, 9)").expect("a change");
    conn.query_drop("INSERT INTO items (id) VALUES (1000)").expect("a row");
    for more in [&[] as &[&str], &["--ignore", "share"]] {
        let said = audit(more);
        said.must_exit(1);
        let wanted = [("differs", "4"), ("differs", "9"), ("extra", "1000"), ("missing", "7")];
        assert_eq!(said.drift(), wanted.map(|(kind, key)| (kind.to_owned(), key.to_owned())));
    }
    pair.commit_all();
    let wanted = [("differs", "4"), ("differs", "9"), ("extra", "1000"), ("extra", "5"), ("missing", "7")];
    assert_eq!(audit(&[]).drift(), wanted.map(|(kind, key)| (kind.to_owned(), key.to_owned())));
}

/// A database that is not UTF-8 hashes what its text would be there, by MD5.
#[test]
fn databases_of_other_encodings() {
    for encoding in ["LATIN1", "SQL_ASCII"] {
        let name = format!("pg_{}", encoding.to_lowercase());
        let server = postgres::shared();
        let make = format!("CREATE DATABASE {name} ENCODING {encoding} TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
        server.client("postgres").batch_execute(&make).expect("a database");
        let mut client = server.client(&name);
        drop(server.database(&format!("{name}_utf8")));
        client
            .batch_execute(
                "SET client_encoding = 'UTF8'; CREATE TABLE items (id text PRIMARY KEY, note text, n int); \
                 INSERT INTO items SELECT 'ü' || k, 'Grüße ' || k, k FROM generate_series(1, 500) k; GRANT SELECT ON items TO audit",
            )
            .expect("rows");
        let mut conn = mariadb::shared().database(&name);
        conn.query_drop("CREATE TABLE items (id varchar(20) CHARACTER SET latin1 PRIMARY KEY, note text, n int)")
            .expect("a table");
        conn.query_drop("INSERT INTO items SELECT CONCAT('ü', seq), CONCAT('Grüße ', seq), seq FROM seq_1_to_500")
            .expect("rows");
        let first = format!("{}?table=items", server.url_as("audit", &name));
        let second = format!("{}?table=items", mariadb::shared().url_as("audit", &name));
        drift(&[&first, &second]).must_exit(0);
        drift(&[&second, &first]).must_exit(0);
        conn.query_drop("UPDATE items SET note = 'Grüsse 7' WHERE id = 'ü7'").expect("a change");
        conn.query_drop("DELETE FROM items WHERE id = 'ü9'").expect("a row goes");
        let said = drift(&[&first, &second]);
        said.must_exit(1);
        let wanted = [("differs", "ü7"), ("missing", "ü9")];
        assert_eq!(said.drift(), wanted.map(|(kind, key)| (kind.to_owned(), key.to_owned())), "{encoding}");
    }
}

/// A key that the column's character set, or the database's, cannot hold is missing there, and nothing fails.
#[test]
fn keys_that_an_encoding_cannot_hold() {
    let name = "narrow_keys";
    let server = postgres::shared();
    drop(server.database(name));
    let make = "CREATE DATABASE narrow_pg ENCODING LATIN1 TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'";
    server.client("postgres").batch_execute(make).expect("a database");
    let mut conn = mariadb::shared().database(name);
    conn.query_drop("CREATE TABLE items (id varchar(20) CHARACTER SET latin1 PRIMARY KEY, n int)").expect("a table");
    let (mut wide, mut narrow) = (server.client(name), server.client("narrow_pg"));
    for client in [&mut wide, &mut narrow] {
        let table = "SET client_encoding = 'UTF8'; CREATE TABLE items (id text PRIMARY KEY, n int); GRANT SELECT ON items TO audit";
        client.batch_execute(table).expect("a table");
        client.batch_execute("INSERT INTO items VALUES ('ü', 1), ('a', 1)").expect("rows");
    }
    wide.batch_execute("INSERT INTO items VALUES ('😀', 1)").expect("a row");
    conn.query_drop("INSERT INTO items VALUES ('ü', 2), ('a', 1)").expect("rows");
    narrow.batch_execute("UPDATE items SET n = 2 WHERE id = 'ü'").expect("a change");
    let url = |url: String| format!("{url}?table=items");
    let first = url(server.url_as("audit", name));
    for second in [url(mariadb::shared().url_as("audit", name)), url(server.url_as("audit", "narrow_pg"))] {
        let said = drift(&[&first, &second]);
        said.must_exit(1);
        let wanted = [("differs", "ü"), ("missing", "😀")];
        assert_eq!(said.drift(), wanted.map(|(kind, key)| (kind.to_owned(), key.to_owned())));
    }
}
