//! Tables in MariaDB: beside PostgreSQL, beside each other, and behind a topic.

use std::fmt::Write as _;

use ::mysql::prelude::Queryable as _;
use sordini_lab::{mariadb, postgres};

use crate::common::{Said, drift};

/// The same table in a database of PostgreSQL's and in one of MariaDB's.
struct Twins {
    name: String,
    postgres: ::postgres::Client,
    mariadb: ::mysql::Conn,
}

impl Twins {
    fn new(name: &str, postgres: &str, mariadb: &str) -> Self {
        let mut twins = Self {
            name: name.to_owned(),
            postgres: postgres::shared().database(name),
            mariadb: mariadb::shared().database(name),
        };
        twins.postgres.batch_execute(&format!("CREATE TABLE items ({postgres})")).expect("a table");
        twins.there(&format!("CREATE TABLE items ({mariadb})"));
        twins
    }

    fn here(&mut self, statement: &str) {
        self.postgres.batch_execute(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
    }

    fn there(&mut self, statement: &str) {
        self.mariadb.query_drop(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
    }

    fn both(&mut self, statement: &str) {
        self.here(statement);
        self.there(statement);
    }

    fn compare(&self, more: &[&str]) -> Said {
        let first = format!("{}?table=items", postgres::shared().url_as("audit", &self.name));
        let second = format!("{}?table=items", mariadb::shared().url_as("audit", &self.name));
        let mut args = vec![first.as_str(), second.as_str()];
        args.extend(more);
        drift(&args)
    }

    fn must_find(&self, wanted: &[(&str, &str)]) {
        let said = self.compare(&[]);
        said.must_exit(i32::from(!wanted.is_empty()));
        let wanted: Vec<_> = wanted.iter().map(|(kind, key)| ((*kind).to_owned(), (*key).to_owned())).collect();
        assert_eq!(said.drift(), wanted);
    }
}

/// A column's type there and there, a value there and there, and others in MariaDB that are not it.
type Cell = (&'static str, &'static str, &'static str, &'static str, &'static [&'static str]);

const PRINTED: &[Cell] = &[
    ("smallint", "tinyint", "-3", "-3", &["3", "NULL"]),
    ("int", "mediumint", "127", "127", &["-127", "0"]),
    ("bigint", "int unsigned zerofill", "4000000000", "4000000000", &["1", "0"]),
    ("bigint", "bigint", "9007199254740993", "9007199254740993", &["9007199254740992", "-9007199254740993"]),
    ("numeric(20,0)", "bigint unsigned", "18446744073709551615", "18446744073709551615", &["18446744073709551614"]),
    ("int", "year", "2024", "2024", &["2023"]),
    ("numeric(12,2)", "decimal(12,2)", "10", "10", &["10.01", "-10", "NULL"]),
    ("numeric(15,2)", "decimal(15,2)", "12345678901.23", "12345678901.23", &["12345678901.24"]),
    ("numeric(40,20)", "decimal(40,20)", "1e-20", "0.00000000000000000001", &["0.00000000000000000002", "0"]),
    ("boolean", "tinyint(1)", "true", "1", &["0", "2", "NULL"]),
    ("boolean", "bit(1)", "false", "b'0'", &["b'1'", "NULL"]),
    ("int", "bit(12)", "2049", "2049", &["1"]),
    ("text", "varchar(20)", "''", "''", &["NULL", "' '"]),
    ("text", "text", "NULL", "NULL", &["''", "'NULL'", "'<null>'"]),
    ("text", "varchar(20)", "'a|a'", "'a|a'", &["'a'", "'a|a '", "'A|a'"]),
    ("text", "mediumtext", "U&'\\+01F600 \\00E9'", "'😀 é'", &["'😀 e\u{301}'", "'? é'"]),
    ("text", "varchar(20) CHARACTER SET latin1", "U&'Gr\\00FC\\00DFe'", "'Grüße'", &["'Grüsse'"]),
    ("text", "varchar(20) COLLATE utf8mb4_unicode_ci", "'b'", "'b'", &["'B'"]),
    ("text", "varchar(20) COLLATE utf8mb4_bin", "'b'", "'b'", &["'c'"]),
    ("text", "varchar(20) CHARACTER SET utf8mb3", "'日本'", "'日本'", &["'日'"]),
    ("text", "varchar(20) CHARACTER SET utf16", "U&'\\+01F600'", "'😀'", &["'😁'"]),
    ("varchar(10)", "varchar(10)", "'x  '", "'x  '", &["'x'"]),
    ("char(5)", "char(5)", "'ab'", "'ab'", &["'ac'"]),
    ("text", "char(5)", "'ab'", "'ab'", &["'AB'"]),
    ("text", "enum('sad','happy')", "'sad'", "'sad'", &["'happy'", "NULL"]),
    ("text", "set('a','b')", "'a,b'", "'a,b'", &["'a'", "''"]),
    ("uuid", "uuid", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", &["uuid()"]),
    ("uuid", "char(36)", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", &["'x'"]),
    ("bytea", "blob", "'\\x00ff'", "x'00ff'", &["x'ff00'", "''", "NULL"]),
    ("bytea", "varbinary(9)", "''", "''", &["x'00'", "NULL"]),
    ("bytea", "binary(3)", "'\\x610000'", "'a'", &["'b'"]),
    ("date", "date", "'2024-02-29'", "'2024-02-29'", &["'2024-03-01'", "NULL", "'0000-00-00'"]),
    ("time(3)", "time(3)", "'01:02:03.5'", "'01:02:03.5'", &["'01:02:03.501'", "'-01:02:03.5'"]),
    (
        "timestamp(3)",
        "datetime(3)",
        "'2024-01-01 00:00:00.139'",
        "'2024-01-01 00:00:00.139'",
        &["'2024-01-01 00:00:00.138'"],
    ),
    (
        "timestamp",
        "datetime(6)",
        "'2024-01-01 10:00:00.020400'",
        "'2024-01-01 10:00:00.0204'",
        &["'2024-01-01 10:00:00.020401'"],
    ),
    ("timestamp", "datetime", "'2024-01-01 10:10:00'", "'2024-01-01 10:10:00'", &["'2024-01-01 10:10:01'"]),
    (
        "timestamptz(3)",
        "timestamp(3) NULL",
        "'2024-06-01 02:00:00.1+02'",
        "'2024-06-01 00:00:00.1'",
        &["'2024-06-01 02:00:00.1'"],
    ),
];

/// What MariaDB's SQL prints otherwise: these rows are hashed here.
const STREAMED: &[Cell] = &[
    ("double precision", "double", "1e-20", "1e-20", &["2e-20", "0", "NULL"]),
    ("double precision", "double", "0.1", "0.1", &["0.10000000000000002", "-0.1"]),
    ("double precision", "double", "1e30", "1e30", &["1.0000000000000002e30"]),
    ("double precision", "double", "-0.0", "-0.0", &["1e-300"]),
    ("double precision", "double", "NULL", "NULL", &["0.0"]),
    ("real", "float", "0.1", "0.1", &["0.10000001", "0.1000001"]),
    ("real", "float", "16777216", "16777216", &["16777215"]),
    (
        "jsonb",
        "json",
        r#"'{"bb":1,"a":[1,2.50]}'"#,
        r#"'{"a": [1, 2.50],"bb":1}'"#,
        &[r#"'{"a": [2.50, 1], "bb": 1}'"#, "NULL"],
    ),
    ("bytea", "longblob", "'\\x00ff'", "x'00ff'", &["x'ff00'"]),
    ("text", "json", "'[1, 2]'", "'[1, 2]'", &["'[1,2]'"]),
    ("timestamptz", "timestamp(6) NULL", "'2024-06-01 00:00:00.12+00'", "'2024-06-01 00:00:00.12'", &["NULL"]),
];

/// A faithful copy is no drift, and one cell that differs is one finding that names its column.
fn every_type(name: &str, cells: &[Cell]) {
    let column = |side: fn(&Cell) -> &'static str| {
        cells.iter().enumerate().fold("id int PRIMARY KEY".to_owned(), |mut text, (index, cell)| {
            let _ = write!(text, ", c{index} {}", side(cell));
            text
        })
    };
    let mut twins = Twins::new(name, &column(|cell| cell.0), &column(|cell| cell.1));
    let others: Vec<(usize, &str)> =
        cells.iter().enumerate().flat_map(|(index, cell)| cell.4.iter().map(move |other| (index, *other))).collect();
    let values = |side: fn(&Cell) -> &'static str| cells.iter().map(side).collect::<Vec<_>>().join(", ");
    let last = others.len();
    twins.here(&format!("INSERT INTO items SELECT k, {} FROM generate_series(0, {last}) k", values(|cell| cell.2)));
    twins.there(&format!("INSERT INTO items SELECT seq, {} FROM seq_0_to_{last}", values(|cell| cell.3)));
    let said = twins.compare(&[]);
    said.must_exit(0);
    assert_eq!(said.drift_summary()["rows"], last as u64 + 1);

    twins.there("SET sql_mode = ''");
    for (key, (index, other)) in (1..).zip(&others) {
        twins.there(&format!("UPDATE items SET c{index} = {other} WHERE id = {key}"));
    }
    let said = twins.compare(&[]);
    said.must_exit(1);
    for (key, (index, other)) in (1_i64..).zip(&others) {
        let (ours, theirs, value, ..) = cells[*index];
        let what = format!("{ours} and {theirs}: {value} and {other}");
        let id = key.to_string();
        let of_key: Vec<_> = said.findings.iter().filter(|finding| finding["key"]["id"] == id.as_str()).collect();
        let [finding] = of_key.as_slice() else { panic!("{what}: {of_key:?}") };
        let columns: Vec<&String> = finding["columns"].as_object().expect("columns").keys().collect();
        assert_eq!((&finding["kind"], columns), (&"differs".into(), vec![&format!("c{index}")]), "{what}");
    }
    assert_eq!(said.findings.len(), last, "the row that is as it was is no finding");
}

#[test]
fn every_type_that_sql_prints_is_compared_exactly() {
    every_type("maria_printed", PRINTED);
}

#[test]
fn every_type_that_is_printed_here_is_compared_exactly() {
    every_type("maria_streamed", STREAMED);
}

/// Differences that other tools miss, each alone in its table.
fn missed(name: &str, types: (&str, &str), ours: &str, theirs: &str) {
    let [here, there] = [types.0, types.1].map(|ty| format!("id int PRIMARY KEY, a {ty}, b {ty}"));
    let mut twins = Twins::new(&format!("missed_{name}"), &here, &there);
    twins.both("INSERT INTO items VALUES (1, NULL, NULL), (3, NULL, NULL)");
    twins.here(&format!("INSERT INTO items VALUES (2, {ours})"));
    twins.there(&format!("INSERT INTO items VALUES (2, {theirs})"));
    twins.must_find(&[("differs", "2")]);
}

const TEXT: (&str, &str) = ("text", "varchar(50)");
const DOUBLE: (&str, &str) = ("double precision", "double");

#[test]
fn null_is_no_empty_text() {
    missed("empty", TEXT, "NULL, 'x'", "'', 'x'");
}

#[test]
fn null_is_no_text_that_says_so() {
    missed("null_text", TEXT, "NULL, 'x'", "'<null>', 'x'");
}

#[test]
fn a_delimiter_in_the_text_parts_nothing() {
    missed("delimiter", TEXT, "'a|a', 'a'", "'a', 'a|a'");
}

#[test]
fn a_comma_in_the_text_parts_nothing() {
    missed("comma", TEXT, "'a,b', 'c'", "'a', 'b,c'");
}

#[test]
fn an_emoji_is_no_question_mark() {
    missed("emoji", TEXT, "U&'\\+01F600', 'x'", "'?', 'x'");
}

#[test]
fn a_trailing_blank_counts() {
    missed("blank", TEXT, "'x', 'x'", "'x ', 'x'");
}

#[test]
fn case_counts_whatever_the_collation() {
    missed("case", ("text", "varchar(50) COLLATE utf8mb4_general_ci"), "'Paid', 'x'", "'paid', 'x'");
}

#[test]
fn the_sign_counts() {
    missed("sign", ("bigint", "bigint"), "5, 1", "-5, 1");
}

#[test]
fn one_is_not_two_to_the_32() {
    missed("fold", ("bigint", "bigint unsigned"), "1, 1", "4294967296, 1");
}

#[test]
fn tiny_floats_differ() {
    missed("tiny", DOUBLE, "1e-20, 1", "2e-20, 1");
}

#[test]
fn zero_is_not_null() {
    missed("zero", DOUBLE, "0.0, 1", "NULL, 1");
}

#[test]
fn datetimes_differ() {
    let types = ("timestamp", "datetime");
    missed("datetimes", types, "'2024-01-01 00:00:00', NULL", "'2024-01-01 01:11:35', NULL");
}

/// Under an exclusive or of CRC-32, changes like these take each other away.
#[test]
fn changes_that_crc_cancels_are_found() {
    let mut twins = Twins::new("crc", "id int PRIMARY KEY, a varchar(20)", "id int PRIMARY KEY, a varchar(20)");
    twins.here("INSERT INTO items VALUES (1, 'aa'), (2, 'ab'), (3, 'ba'), (4, 'bb')");
    twins.there("INSERT INTO items VALUES (1, 'ab'), (2, 'aa'), (3, 'bb'), (4, 'ba')");
    twins.must_find(&[("differs", "1"), ("differs", "2"), ("differs", "3"), ("differs", "4")]);
}

#[test]
fn nothing_is_lost_of_an_empty_table() {
    let columns = "id int PRIMARY KEY, a int";
    let mut twins = Twins::new("emptied", columns, columns);
    twins.compare(&[]).must_exit(2);
    twins.here("INSERT INTO items VALUES (1, 1), (2, 2)");
    twins.must_find(&[("missing", "1"), ("missing", "2")]);
    twins.both("DELETE FROM items");
    twins.there("INSERT INTO items VALUES (1, 1)");
    twins.must_find(&[("extra", "1")]);
}

/// A key of every type: its columns there and there, and one value.
const KEYS: &[(&str, &str, &str, &str)] = &[
    ("timestamptz", "timestamp(6) DEFAULT 0", "'2024-01-01 00:00:00.25+00'", "'2024-01-01 00:00:00.25'"),
    ("bigint", "bigint unsigned", "9007199254740993", "9007199254740993"),
    ("bytea", "varbinary(9)", "'\\x00ff27'", "x'00ff27'"),
    ("numeric(20,3)", "decimal(20,3)", "12345678901234567.125", "12345678901234567.125"),
    ("date", "date", "'2024-02-29'", "'2024-02-29'"),
    ("time", "time(3)", "'01:02:03.5'", "'01:02:03.5'"),
    ("timestamp", "datetime(3)", "'2024-01-01 00:00:00.5'", "'2024-01-01 00:00:00.5'"),
    ("uuid", "uuid", "'a0eebc999c0b4ef8bb6d6bb9bd380a11'", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"),
    ("uuid", "char(36)", "'a0eebc999c0b4ef8bb6d6bb9bd380a11'", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'"),
    ("boolean", "tinyint(1)", "true", "1"),
    ("boolean", "bit(1)", "false", "b'0'"),
    ("int", "bit(12)", "2049", "2049"),
    ("text", "enum('sad','happy')", "'sad'", "'sad'"),
    ("char(5)", "char(5)", "'ab'", "'ab'"),
    ("int", "year", "2024", "2024"),
];

/// Bytes decide, also where the column's own order and equality are others.
#[test]
fn keys_of_many_columns_of_every_type() {
    let table = |ty: fn(usize) -> &'static str, region: &str| {
        let columns: String = (0..KEYS.len()).map(|index| format!("k{index} {}, ", ty(index))).collect();
        let names: String = (0..KEYS.len()).map(|index| format!(", k{index}")).collect();
        format!("region {region}, {columns} n int, PRIMARY KEY (region{names})")
    };
    let here = table(|index| KEYS[index].0, "text");
    let there = table(|index| KEYS[index].1, "varchar(20) COLLATE utf8mb4_general_ci");
    let mut twins = Twins::new("maria_keys", &here, &there);
    twins.there("SET time_zone = '+00:00'");
    let values = |side: fn(usize) -> &'static str| (0..KEYS.len()).map(side).collect::<Vec<_>>().join(", ");
    let values = (values(|index| KEYS[index].2), values(|index| KEYS[index].3));
    for (n, region) in (0..).zip(["eu", "us", "é", "日本", "a b ", "quo'te\\"]) {
        let quoted = region.replace('\'', "''");
        twins.here(&format!("INSERT INTO items VALUES ('{quoted}', {}, {n})", values.0));
        let quoted = quoted.replace('\\', "\\\\");
        twins.there(&format!("INSERT INTO items VALUES ('{quoted}', {}, {n})", values.1));
    }
    twins.compare(&[]).must_exit(0);
    twins.there("UPDATE items SET region = 'EU' WHERE region = 'eu'");
    twins.there("UPDATE items SET n = 100 WHERE region LIKE 'quo%'");
    let said = twins.compare(&[]);
    said.must_exit(1);
    let each = |finding: &serde_json::Value| format!("{} {}", finding["kind"], finding["key"]["region"]);
    let mut said: Vec<String> = said.findings.iter().map(each).collect();
    said.sort();
    assert_eq!(said, [r#""differs" "quo'te\\""#, r#""extra" "EU""#, r#""missing" "eu""#]);
}

#[test]
fn a_key_that_is_hashed_here() {
    let mut twins = Twins::new("maria_float_key", "id real PRIMARY KEY, n int", "id float PRIMARY KEY, n int");
    twins.both("INSERT INTO items VALUES (0.1, 1), (1e20, 2), (3, 3)");
    twins.must_find(&[]);
    twins.there("UPDATE items SET n = n + 1 WHERE id < 0.2");
    twins.there("DELETE FROM items WHERE id = 3");
    twins.must_find(&[("differs", "0.1"), ("missing", "3")]);
}

/// Statements for MariaDB, by what it is itself: a second comparison, and a row that somebody changed meanwhile.
#[test]
fn the_statements_repair_what_has_not_moved_since() {
    let mut twins = Twins::new(
        "mysql_repair",
        "id bigint, name text, amount numeric(12,2), share double precision, small real, flag boolean, raw bytea, note text, \
         doc jsonb, at timestamptz, day date, stamped timestamptz, twice numeric(14,2) GENERATED ALWAYS AS (amount * 2) STORED, \
         PRIMARY KEY (id, name)",
        "id bigint, name varchar(20), amount decimal(12,2), share double, small float, flag tinyint(1), raw blob, note text, \
         doc json, at timestamp(6) NULL, day date, stamped timestamp(6) NULL ON UPDATE current_timestamp(6), \
         twice decimal(14,2) AS (amount * 2) STORED, PRIMARY KEY (id, name)",
    );
    twins.there("ALTER TABLE items MODIFY note text CHARACTER SET latin1 COLLATE latin1_swedish_ci");
    let rows = |id: u32| {
        format!(
            "({id}, 'k''{id}', {id}.25, {id}e-20, 0.1, true, {}, 'it''s\r\n\u{e9} \\ {id}', '{{\"k\": [{id}, 1.50]}}', \
             '2026-11-28 01:02:03.5', '2026-01-{:02}', '2026-11-28 01:02:03.5', DEFAULT)",
            if id == 3 { "NULL".to_owned() } else { format!("'\\x00ff{id:02}'") },
            id + 1
        )
    };
    for id in 1..=9 {
        twins.here(&format!("INSERT INTO items VALUES {}", rows(id)));
    }
    twins.there("SET sql_mode = 'NO_BACKSLASH_ESCAPES', time_zone = '+00:00'");
    for id in 1..=9 {
        twins.there(&format!("INSERT INTO items VALUES {}", rows(id).replace("'\\x00ff", "x'00ff")));
    }
    twins.must_find(&[]);
    for change in [
        "DELETE FROM items WHERE id = 1",
        "UPDATE items SET amount = -amount, note = NULL, share = 0, small = 0.2, stamped = stamped WHERE id = 2",
        "UPDATE items SET raw = x'00', flag = 0, day = NULL WHERE id = 3",
        "UPDATE items SET doc = '{}', at = '2030-01-01' WHERE id = 4",
        "UPDATE items SET name = 'K''5' WHERE id = 5",
        "UPDATE items SET note = 'mine too' WHERE id = 6",
    ] {
        twins.there(change);
    }
    let directory = sordini_lab::Directory::new("repair");
    let file = directory.join("out.sql").display().to_string();
    twins.compare(&["--repair", &file, "--allow-delete"]).must_exit(1);
    let text = std::fs::read_to_string(&file).expect("the file is written");
    twins.there("UPDATE items SET note = 'mine' WHERE id = 6");
    for statement in statements(&text) {
        twins.there(&statement);
    }
    let said = twins.compare(&[]);
    assert_eq!(said.drift(), [("differs".to_owned(), "6,k'6".to_owned())], "{text}\n{:#?}", said.findings);
}

/// As the client splits them: none of the texts here ends a line with a semicolon.
fn statements(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| !line.starts_with("--"));
    let text = lines.collect::<Vec<_>>().join("\n");
    text.split(";\n")
        .map(|statement| statement.trim().trim_end_matches(';').to_owned())
        .filter(|s| !s.is_empty())
        .collect()
}
