//! Every type: a faithful copy is no drift, and one cell that differs is one finding that names its column. The second half
//! are differences that other tools miss.

use std::fmt::Write as _;

use crate::common::Pair;

/// A column's type, a value as a record has it, the same value in SQL, and others that are not it.
const CELLS: &[(&str, &str, &str, &[&str])] = &[
    ("smallint", "-3", "-3", &["3", "NULL"]),
    ("int", "127", "127", &["-127", "0"]),
    ("bigint", "9007199254740993", "9007199254740993", &["9007199254740992", "9007199254740994", "1"]),
    // Hashes of PostgreSQL's own types fold 1 and 2^32.
    ("bigint", "4294967296", "4294967296", &["1", "-4294967296"]),
    ("numeric(12,2)", "10.00", "10", &["10.01", "-10"]),
    ("numeric(15,2)", "\"12345678901.23\"", "'12345678901.23'", &["12345678901.24"]),
    ("numeric", "1.4", "1.40", &["1.2", "1", "-1.4"]),
    ("numeric", "1e2", "100", &["1e3"]),
    ("numeric", "0.0", "0", &["NULL", "0.00000000000000000001"]),
    (
        "numeric",
        "\"1234567890123456789012345678901234567890\"",
        "1234567890123456789012345678901234567890",
        &["1234567890123456789012345678901234567891"],
    ),
    ("numeric", "\"NaN\"", "'NaN'", &["0"]),
    ("real", "0.1", "0.1", &["0.10000001", "-0.1"]),
    ("double precision", "1e-20", "1e-20", &["2e-20", "0"]),
    ("double precision", "1e30", "1e30", &["1.0000000000000002e30"]),
    (
        "timestamp(3)",
        "\"2024-01-01T00:00:00.9994999\"",
        "'2024-01-01 00:00:00.9994999'",
        &["'2024-01-01 00:00:00.999'"],
    ),
    ("date", "\"20240229\"", "'20240229'", &["'2024-02-28'"]),
    ("double precision", "\"Infinity\"", "'Infinity'", &["'-Infinity'", "NULL"]),
    ("double precision", "-0.0", "0", &["1"]),
    ("boolean", "true", "true", &["false", "NULL"]),
    ("text", "\"\"", "''", &["NULL", "' '"]),
    ("text", "null", "NULL", &["''", "'NULL'", "'<null>'", "'null'"]),
    ("text", "\"a|a\"", "'a|a'", &["'a'", "'a|a '"]),
    ("text", "\"[bold]x[/bold]\\nline\"", "E'[bold]x[/bold]\\nline'", &["'x'"]),
    ("text", "\"😀 é\"", "U&'\\+01F600 \\00E9'", &["U&'\\+01F600 e\\0301'", "'? é'"]),
    ("varchar(10)", "\"x  \"", "'x  '", &["'x'"]),
    ("char(5)", "\"ab\"", "'ab'", &["'ac'"]),
    ("uuid", "\"A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11\"", "'a0eebc999c0b4ef8bb6d6bb9bd380a11'", &["gen_random_uuid()"]),
    ("bytea", "\"AP8=\"", "'\\x00ff'", &["'\\xff00'", "''"]),
    ("date", "\"2024-02-29\"", "'2024-02-29'", &["'2024-03-01'", "NULL"]),
    ("date", "\"0044-03-15 BC\"", "'0044-03-15 BC'", &["'0044-03-15'"]),
    ("time(3)", "\"01:02:03.5\"", "'01:02:03.5'", &["'01:02:03.501'"]),
    ("timestamp(3)", "1704067200139", "'2024-01-01 00:00:00.139'", &["'2024-01-01 00:00:00.138'"]),
    ("timestamp", "\"2024-01-01T00:00:00.020409\"", "'2024-01-01 00:00:00.020409'", &["'2024-01-01 00:00:00.020408'"]),
    ("timestamp", "\"infinity\"", "'infinity'", &["'-infinity'", "NULL"]),
    ("timestamptz", "\"2024-06-01T02:00:00+02:00\"", "'2024-06-01 00:00:00+00'", &["'2024-06-01 02:00:00+00'"]),
    ("json", r#"{"b":1,"a":[1,2.50]}"#, r#"'{"a": [1, 2.50], "b": 1}'"#, &[r#"'{"a": [2.50, 1], "b": 1}'"#]),
    ("jsonb", r#""{\"a\":1e2}""#, r#"'{"a": 100}'"#, &[r#"'{"a": 101}'"#, r#"'{"a": "100"}'"#, "'{}'"]),
    ("mood", "\"sad\"", "'sad'", &["'happy'", "NULL"]),
    ("money_of", "3.50", "3.5", &["3.51"]),
];

const KINDS: &str = "CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE DOMAIN money_of AS numeric(9,2)";

#[test]
fn every_type_is_compared_exactly() {
    let pair = Pair::new("types", 1);
    let mut client = pair.postgres.database(&pair.name);
    client.batch_execute(KINDS).expect("types");
    let columns: String = CELLS.iter().enumerate().fold(String::new(), |mut text, (index, cell)| {
        let _ = write!(text, ", c{index} {}", cell.0);
        text
    });
    client.batch_execute(&format!("CREATE TABLE items (id int PRIMARY KEY{columns})")).expect("a table of all types");
    let members: Vec<String> =
        CELLS.iter().enumerate().map(|(index, cell)| format!("\"c{index}\":{}", cell.1)).collect();
    let row = format!("{{{}}}", members.join(","));
    // One row stays as it is; each of the others has one cell that differs.
    let others: Vec<(usize, &str)> =
        CELLS.iter().enumerate().flat_map(|(index, cell)| cell.3.iter().map(move |other| (index, *other))).collect();
    let producer = pair.kafka.producer(&[]);
    for key in 0..=others.len() as i64 {
        producer.send(&pair.record(key, Some(&row)));
    }
    producer.flush();
    pair.commit_all();
    let values: Vec<&str> = CELLS.iter().map(|cell| cell.2).collect();
    let faithful =
        format!("INSERT INTO items SELECT k, {} FROM generate_series(0, {}) k", values.join(","), others.len());
    client.batch_execute(&faithful).expect("faithful rows");
    let said = pair.audit(&[]);
    said.must_exit(0);

    for (key, (index, other)) in (1..).zip(&others) {
        let change = format!("UPDATE items SET c{index} = {other} WHERE id = {key}");
        client.batch_execute(&change).unwrap_or_else(|error| panic!("{change}: {error}"));
    }
    let said = pair.audit(&[]);
    said.must_exit(1);
    for (key, (index, other)) in (1_i64..).zip(&others) {
        let (ty, _, value, _) = CELLS[*index];
        let id = key.to_string();
        let of_key: Vec<_> = said.findings.iter().filter(|finding| finding["key"]["id"] == id.as_str()).collect();
        let [finding] = of_key.as_slice() else { panic!("{ty} {value} and {other}: {of_key:?}") };
        assert_eq!(finding["kind"], "differs", "{ty} {value} and {other}");
        let columns: Vec<&String> = finding["columns"].as_object().expect("columns").keys().collect();
        assert_eq!(columns, [&format!("c{index}")], "{ty} {value} and {other}");
    }
    assert_eq!(said.findings.len(), others.len(), "the row that is as it was is no finding");
}

/// Texts that look alike when columns are joined.
#[test]
fn neighbours_that_change_places_are_found() {
    let pair = Pair::new("neighbours", 1);
    let mut client = pair.table("id int PRIMARY KEY, a text, b text");
    let producer = pair.kafka.producer(&[]);
    let rows = [(1, "a|a", "a"), (2, "", "x"), (3, "a,b", "c"), (4, "1:a", "")];
    for (key, a, b) in rows {
        producer.send(&pair.record(key, Some(&serde_json::json!({"a": a, "b": b}).to_string())));
    }
    producer.flush();
    pair.commit_all();
    let swapped = "INSERT INTO items VALUES (1, 'a', 'a|a'), (2, 'x', ''), (3, 'a', 'b,c'), (4, '', '1:a')";
    client.batch_execute(swapped).expect("rows");
    let said = pair.audit(&[]);
    said.must_exit(1);
    let keys: Vec<String> = said.drift().into_iter().map(|(kind, key)| format!("{kind} {key}")).collect();
    assert_eq!(keys, ["differs 1", "differs 2", "differs 3", "differs 4"]);
}

/// Keys of several columns, wider than 64 bits, with text that sorts otherwise in the column's collation.
#[test]
fn keys_of_several_columns() {
    let pair = Pair::new("keys", 2);
    let mut client = pair.table("region text, number uuid, amount int, PRIMARY KEY (region, number)");
    let producer = pair.kafka.producer(&[]);
    let id = |n: u32| format!("00000000-0000-0000-0000-{n:012}");
    for n in 0..200_u32 {
        for region in ["eu", "EU", "é", "e\u{301}"] {
            let key = serde_json::json!({"region": region, "number": id(n)}).to_string();
            let record = sordini_lab::Record::new(&pair.name, pair.partition_of(i64::from(n)))
                .key(key)
                .value(format!("{{\"amount\":{n}}}"));
            producer.send(&record);
            let insert = "INSERT INTO items VALUES ($1, $2::text::uuid, $3)";
            client.execute(insert, &[&region, &id(n), &(n as i32)]).expect("a row");
        }
    }
    producer.flush();
    pair.commit_all();
    pair.audit(&[]).must_exit(0);
    client.execute("DELETE FROM items WHERE region = 'é' AND amount = 7", &[]).expect("a row goes");
    client.execute("UPDATE items SET region = 'Eu' WHERE region = 'EU' AND amount = 9", &[]).expect("a key changes");
    let said = pair.audit(&[]);
    said.must_exit(1);
    let wanted =
        [("extra", format!("{},Eu", id(9))), ("missing", format!("{},é", id(7))), ("missing", format!("{},EU", id(9)))];
    let wanted: Vec<_> = wanted.into_iter().map(|(kind, key)| (kind.to_owned(), key)).collect();
    let mut found: Vec<(String, String)> = said
        .findings
        .iter()
        .map(|finding| {
            let key = &finding["key"];
            let text = |name: &str| key[name].as_str().expect("a text").to_owned();
            (finding["kind"].as_str().expect("a kind").to_owned(), format!("{},{}", text("number"), text("region")))
        })
        .collect();
    found.sort();
    assert_eq!(found, wanted);
}

/// Floats whose shortest text lies exactly between two of them are printed otherwise by the server.
#[test]
fn floats_of_few_digits_are_printed_as_the_server_does() {
    let pair = Pair::new("floats", 1);
    let mut client = pair.table("id int PRIMARY KEY, f double precision, g real");
    let producer = pair.kafka.producer(&[]);
    let texts = (1..100).flat_map(|digits| (-12..30).map(move |exponent| format!("{digits}e{exponent}")));
    let mut rows = Vec::new();
    for (key, text) in (1_i64..).zip(texts) {
        producer.send(&pair.record(key, Some(&format!("{{\"f\":{text},\"g\":{text}}}"))));
        rows.push(format!("({key}, '{text}', '{text}')"));
    }
    producer.flush();
    pair.commit_all();
    client.batch_execute(&format!("INSERT INTO items VALUES {}", rows.join(","))).expect("rows");
    let said = pair.audit(&[]);
    assert_eq!(said.findings, Vec::<serde_json::Value>::new());
    said.must_exit(0);
}

/// A record whose key the column cannot hold was lost on the way, and stops no comparison.
#[test]
fn keys_that_no_row_can_have_are_missing() {
    for (name, ty, good, bad) in [
        ("wide_int", "int", "7", "5000000000"),
        ("wide_numeric", "numeric(5,2)", "7.00", "12345"),
        ("wide_text", "varchar(3)", "\"abc\"", "\"abcdef\""),
        ("wide_null", "text", "\"a\"", "\"a\\u0000\""),
    ] {
        let pair = Pair::new(name, 1);
        let mut client = pair.table(&format!("id {ty} PRIMARY KEY, note text"));
        let producer = pair.kafka.producer(&[]);
        for key in [good, bad] {
            producer.send(
                &sordini_lab::Record::new(&pair.name, 0).key(format!("{{\"id\":{key}}}")).value("{\"note\":\"x\"}"),
            );
        }
        producer.flush();
        pair.commit_all();
        let value = good.replace('"', "'");
        client.batch_execute(&format!("INSERT INTO items VALUES ({value}, 'x')")).expect("a row");
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("out.sql").display().to_string();
        let said = pair.audit(&["--repair", &file]);
        said.must_exit(1);
        let kinds: Vec<String> = said.drift().into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, ["missing"], "{name}: {:?}", said.findings);
        let text = std::fs::read_to_string(&file).expect("a file");
        assert!(text.contains("cannot hold what it should") && !text.contains("INSERT"), "{text}");
    }
}
