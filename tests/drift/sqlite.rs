//! Tables in SQLite files: behind a topic, beside PostgreSQL and MariaDB, and beside each other.

use std::collections::BTreeSet;

use ::mysql::prelude::Queryable as _;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rusqlite::Connection;
use sordini_lab::{Directory, mariadb, postgres};

use crate::common::{Pair, Said, drift};

struct File {
    directory: Directory,
    connection: Connection,
}

impl File {
    /// With a table `items` of these columns.
    fn new(columns: &str) -> Self {
        let directory = Directory::new("SQLite");
        let connection = Connection::open(directory.join("a shop.db")).expect("a new file");
        let made = Self { directory, connection };
        made.run(&format!("PRAGMA journal_mode = WAL; CREATE TABLE items ({columns})"));
        made
    }

    fn run(&self, statement: &str) {
        self.connection.execute_batch(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
    }

    fn url(&self, table: &str) -> String {
        format!("sqlite://{}/a%20shop.db?table={table}", self.directory.display())
    }
}

fn compare(first: &str, second: &str, more: &[&str]) -> Said {
    let mut args = vec![first, second];
    args.extend(more);
    drift(&args)
}

/// A column's type in PostgreSQL and here, a value there and here, and others here that are not it.
const CELLS: &[(&str, &str, &str, &str, &[&str])] = &[
    (
        "bigint",
        "INTEGER",
        "9007199254740993",
        "9007199254740993",
        &["9007199254740992", "-9007199254740993", "'x'", "NULL"],
    ),
    ("numeric(12,2)", "DECIMAL(12,2)", "10", "10", &["10.01", "10.004", "-10"]),
    ("numeric(40,20)", "TEXT", "1e-20", "'0.00000000000000000001'", &["'0.00000000000000000002'"]),
    ("numeric", "NUMERIC", "1.40", "1.4", &["1.2", "NULL"]),
    ("double precision", "REAL", "1e-20", "1e-20", &["2e-20", "0", "NULL"]),
    ("double precision", "REAL", "'Infinity'", "9e999", &["-9e999"]),
    ("real", "FLOAT", "0.1", "0.1", &["0.10000001", "0.1000000001"]),
    ("boolean", "BOOLEAN", "true", "1", &["0", "2", "NULL"]),
    ("boolean", "INTEGER", "false", "0", &["1"]),
    ("text", "TEXT", "''", "''", &["NULL", "' '", "x''"]),
    ("text", "VARCHAR(9)", "NULL", "NULL", &["''", "'NULL'", "'<null>'"]),
    ("text", "TEXT", "U&'\\+01F600 \\00E9'", "'😀 é'", &["'😀 e\u{301}'", "'? é'"]),
    ("text", "TEXT", "'x'", "'x'", &["'x '", "'X'"]),
    ("uuid", "TEXT", "'a0eebc999c0b4ef8bb6d6bb9bd380a11'", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", &["'x'"]),
    ("uuid", "BLOB", "'a0eebc999c0b4ef8bb6d6bb9bd380a11'", "x'a0eebc999c0b4ef8bb6d6bb9bd380a11'", &["x'00'"]),
    ("bytea", "BLOB", "'\\x00ff'", "x'00ff'", &["x'ff00'", "'00ff '", "NULL"]),
    ("date", "DATE", "'2024-02-29'", "'2024-02-29'", &["'2024-03-01'", "19782"]),
    ("time", "TIME", "'01:02:03.5'", "'01:02:03.500'", &["'01:02:03.501'"]),
    ("timestamp", "DATETIME", "'2024-01-01'", "'2024-01-01T00:00:00'", &["'2024-01-01 00:00:00.000001'", "1704067201"]),
    ("timestamp", "INTEGER", "'2024-01-01'", "1704067200", &["1704067201"]),
    ("timestamptz", "TEXT", "'2024-06-01 02:00:00+02'", "'2024-06-01T00:00:00Z'", &["'2024-06-01T02:00:00Z'"]),
    ("jsonb", "JSON", r#"'{"a": [1, 2.50], "bb": 1}'"#, r#"'{"bb":1,"a":[1,2.50]}'"#, &[r#"'{"a":[1,2.51],"bb":1}'"#]),
];

#[test]
fn every_type_is_compared_exactly() {
    let columns = |side: fn(usize) -> &'static str| -> String {
        (0..CELLS.len()).map(|index| format!(", c{index} {}", side(index))).collect()
    };
    let name = "sqlite_types";
    let mut client = postgres::shared().database(name);
    client
        .batch_execute(&format!("CREATE TABLE items (id int PRIMARY KEY{})", columns(|at| CELLS[at].0)))
        .expect("a table");
    let file = File::new(&format!("id INTEGER PRIMARY KEY{}", columns(|at| CELLS[at].1)));
    let others: Vec<(usize, &str)> =
        CELLS.iter().enumerate().flat_map(|(index, cell)| cell.4.iter().map(move |other| (index, *other))).collect();
    let values = |side: fn(usize) -> &'static str| (0..CELLS.len()).map(side).collect::<Vec<_>>().join(", ");
    let last = others.len();
    let here = format!("INSERT INTO items SELECT k, {} FROM generate_series(0, {last}) k", values(|at| CELLS[at].2));
    client.batch_execute(&here).expect("faithful rows");
    file.run(&format!(
        "WITH RECURSIVE n(k) AS (SELECT 0 UNION ALL SELECT k + 1 FROM n WHERE k < {last}) INSERT INTO items SELECT k, {} FROM n",
        values(|at| CELLS[at].3)
    ));
    let (first, second) = (format!("{}?table=items", postgres::shared().url_as("audit", name)), file.url("items"));
    compare(&first, &second, &[]).must_exit(0);
    compare(&second, &first, &[]).must_exit(0);
    for (key, (index, other)) in (1..).zip(&others) {
        file.run(&format!("UPDATE items SET c{index} = {other} WHERE id = {key}"));
    }
    let said = compare(&first, &second, &[]);
    said.must_exit(1);
    for (key, (index, other)) in (1_i64..).zip(&others) {
        let (ours, theirs, value, ..) = CELLS[*index];
        let what = format!("{ours} and {theirs}: {value} and {other}");
        let id = key.to_string();
        let of_key: Vec<_> = said.findings.iter().filter(|finding| finding["key"]["id"] == id.as_str()).collect();
        let [finding] = of_key.as_slice() else { panic!("{what}: {of_key:?}") };
        let columns: Vec<&String> = finding["columns"].as_object().expect("columns").keys().collect();
        assert_eq!((&finding["kind"], columns), (&"differs".into(), vec![&format!("c{index}")]), "{what}");
    }
    assert_eq!(said.findings.len(), last, "the row that is as it was is no finding");
    assert_eq!(compare(&second, &first, &[]).findings.len(), last, "from the other side too");
}

/// The oracle is SQLite's own `EXCEPT`.
#[test]
fn finds_what_except_finds() {
    let columns = "id INTEGER PRIMARY KEY, amount INTEGER, note TEXT, share REAL, raw BLOB";
    let file = File::new(columns);
    file.run(&format!("CREATE TABLE truth ({columns})"));
    file.run(
        "WITH RECURSIVE n(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM n WHERE k < 5000) \
         INSERT INTO truth SELECT k, random(), CASE WHEN k % 5 THEN 'note ' || k END, k / 7.0, randomblob(k % 9) FROM n; \
         INSERT INTO items SELECT * FROM truth",
    );
    let (truth, items) = (file.url("truth"), file.url("items"));
    compare(&truth, &items, &[]).must_exit(0);
    let mut random = StdRng::seed_from_u64(11);
    for round in 0..3 {
        for _ in 0..10_usize.pow(round) {
            let key = random.random_range(0..5_500);
            let change = match random.random_range(0..7) {
                0 => format!("DELETE FROM items WHERE id = {key}"),
                1 => format!("INSERT OR IGNORE INTO items VALUES ({key}, 1, NULL, 1, x'')"),
                2 => format!("UPDATE items SET amount = -amount WHERE id = {key}"),
                3 => format!("UPDATE items SET note = '' WHERE id = {key} AND note IS NULL"),
                4 => format!("UPDATE items SET note = note || ' ' WHERE id = {key}"),
                5 => format!("UPDATE items SET share = share * 1.0000000000000003 WHERE id = {key}"),
                _ => format!("UPDATE items SET raw = raw || x'00' WHERE id = {key}"),
            };
            file.run(&change);
        }
        let keys = "SELECT id FROM (SELECT * FROM truth EXCEPT SELECT * FROM items) \
                    UNION SELECT id FROM (SELECT * FROM items EXCEPT SELECT * FROM truth)";
        let mut statement = file.connection.prepare(keys).expect("a query");
        let wanted: BTreeSet<String> = statement
            .query_map([], |row| row.get::<_, i64>(0))
            .expect("keys")
            .map(|key| key.expect("a key").to_string())
            .collect();
        let said = compare(&truth, &items, &[]);
        said.must_exit(i32::from(!wanted.is_empty()));
        let found: BTreeSet<String> = said.drift().into_iter().map(|(_, key)| key).collect();
        assert_eq!(found, wanted, "round {round}");
        assert_eq!(said.findings.len(), wanted.len(), "each key once");
    }
}

#[test]
fn a_topic_and_the_file_it_is_written_to() {
    let pair = Pair::new("sqlite_sink", 2);
    let file = File::new("id INTEGER PRIMARY KEY, amount DECIMAL(12,2), note TEXT, at DATETIME, paid BOOLEAN");
    let producer = pair.kafka.producer(&[]);
    for key in 0..300 {
        let value = format!("{{\"amount\":\"{key}.50\",\"note\":\"n{key}\",\"at\":1704067200139,\"paid\":true}}");
        producer.send(&pair.record(key, Some(&value)));
    }
    producer.flush();
    pair.commit_all();
    file.run(
        "WITH RECURSIVE n(k) AS (SELECT 0 UNION ALL SELECT k + 1 FROM n WHERE k < 299) \
         INSERT INTO items SELECT k, k + 0.5, 'n' || k, '2024-01-01 00:00:00.139', 1 FROM n",
    );
    let (topic, table, group) = (pair.topic_url(""), file.url("items"), pair.group());
    let audit = || compare(&topic, &table, &["--group", &group]);
    let said = audit();
    said.must_exit(0);
    assert_eq!(said.drift_summary()["claim"], "bracketed");
    file.run("DELETE FROM items WHERE id = 7; UPDATE items SET note = 'n' WHERE id = 9; INSERT INTO items (id) VALUES (1000)");
    let said = audit();
    said.must_exit(1);
    let wanted = [("differs", "9"), ("extra", "1000"), ("missing", "7")];
    assert_eq!(said.drift(), wanted.map(|(kind, key)| (kind.to_owned(), key.to_owned())));
    file.run("DELETE FROM items");
    let said = audit();
    said.must_exit(1);
    assert_eq!(said.drift_summary()["missing"], 300);
}

/// Both hash by MD5 then, the one in SQL and the other here.
#[test]
fn a_file_and_a_table_in_mariadb() {
    let name = "sqlite_maria";
    let mut conn = mariadb::shared().database(name);
    let file = File::new("id TEXT PRIMARY KEY, amount NUMERIC, note TEXT");
    conn.query_drop("CREATE TABLE items (id varchar(9) PRIMARY KEY, amount decimal(9,3), note text)").expect("a table");
    for key in 0..50 {
        let row = format!("INSERT INTO items VALUES ('k{key}', {key}.125, 'nöte {key}')");
        conn.query_drop(&row).expect("a row");
        file.run(&row);
    }
    let (first, second) = (file.url("items"), format!("{}?table=items", mariadb::shared().url_as("audit", name)));
    compare(&first, &second, &[]).must_exit(0);
    compare(&second, &first, &[]).must_exit(0);
    file.run("UPDATE items SET amount = -amount WHERE id = 'k7'");
    let said = compare(&first, &second, &[]);
    said.must_exit(1);
    assert_eq!(said.drift(), [("differs".to_owned(), "k7".to_owned())]);
}

#[test]
fn what_cannot_be_compared_is_said() {
    let file = File::new("id TEXT PRIMARY KEY, note TEXT");
    file.run(
        "INSERT INTO items VALUES ('a', 'x'); CREATE TABLE keyless (id INTEGER, note TEXT); \
         CREATE TABLE untyped (id INTEGER PRIMARY KEY, what); CREATE TABLE nulls (id TEXT PRIMARY KEY, note TEXT); \
         INSERT INTO nulls VALUES (NULL, 'x')",
    );
    file.directory.write(
        "text.db",
        "this is no database, though it is long enough to have been one: ............................",
    );
    let items = file.url("items");
    let nowhere = format!("sqlite:{}/none.db?table=items", file.directory.display());
    let text = format!("sqlite:{}/text.db?table=items", file.directory.display());
    for (second, said) in [
        (file.url("keyless"), "no primary key"),
        (file.url("untyped"), "--ignore what"),
        (file.url("nulls"), "\"id\" is null in some row"),
        (file.url("nothing"), "there is no table nothing"),
        (nowhere.clone(), "is the file there"),
        (text, "is it an SQLite database"),
    ] {
        let answer = compare(&items, &second, &[]);
        assert_eq!(answer.exit, 2, "{second}: {}", answer.err);
        assert!(answer.err.contains(said), "{second}: {}", answer.err);
    }
    assert!(!file.directory.join("none.db").exists(), "nothing is made");
    // In the mode without WAL, one who writes keeps readers out.
    file.run("PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE");
    let answer = compare(&items, &items, &["--statement-timeout", "200ms"]);
    assert!(answer.exit == 2 && answer.err.contains("holds the file"), "{}", answer.err);
}
