//! Two tables, also in two servers' databases, by the same oracle.

use crate::common::{Said, drift};
use sordini_lab::postgres as server;

const COLUMNS: &str = "(id bigint PRIMARY KEY, cust int, amount numeric(12,2), note text, at timestamptz)";

fn pair(name: &str) -> (postgres::Client, postgres::Client) {
    let make = |side: &str| {
        let mut client = server::shared().database(&format!("{name}_{side}"));
        client.batch_execute(&format!("CREATE TABLE items {COLUMNS}")).expect("a table");
        client
    };
    let (mut a, mut b) = (make("a"), make("b"));
    let rows = "INSERT INTO items SELECT i, i % 97, i / 7.0, CASE WHEN i % 5 > 0 THEN 'note ' || i END, \
                timestamptz '2024-01-01' + i * interval '1 second' FROM generate_series(1, 20000) i";
    a.batch_execute(rows).expect("rows");
    b.batch_execute(rows).expect("rows");
    (a, b)
}

fn compare(name: &str, more: &[&str]) -> Said {
    let url = |side: &str| format!("{}?table=items", server::shared().url_as("audit", &format!("{name}_{side}")));
    let (a, b) = (url("a"), url("b"));
    let mut args = vec![a.as_str(), b.as_str()];
    args.extend(more);
    drift(&args)
}

#[test]
fn equal_tables_agree_and_each_difference_is_found() {
    let (_a, mut b) = pair("tables");
    compare("tables", &[]).must_exit(0);
    b.batch_execute(
        "DELETE FROM items WHERE id IN (1, 20000); INSERT INTO items VALUES (-7, 1, 1, NULL, NULL); \
         UPDATE items SET amount = -amount WHERE id = 77; UPDATE items SET note = '' WHERE id = 5",
    )
    .expect("differences");
    let said = compare("tables", &[]);
    said.must_exit(1);
    let wanted = [("differs", "5"), ("differs", "77"), ("extra", "-7"), ("missing", "1"), ("missing", "20000")];
    assert_eq!(said.drift(), wanted.map(|(kind, key)| (kind.to_owned(), key.to_owned())));
    assert!(said.drift_summary()["table_bytes"].as_u64().expect("a number") < 400_000);
    // The same with columns left out.
    assert_eq!(compare("tables", &["--columns", "cust"]).drift().len(), 3);
}

/// More than a table of cells can tell apart in its first size.
#[test]
fn many_differences_are_all_found() {
    let (_a, mut b) = pair("many");
    b.batch_execute("UPDATE items SET cust = cust + 1 WHERE id % 4 = 0").expect("differences");
    let said = compare("many", &[]);
    said.must_exit(1);
    assert_eq!(said.drift_summary()["differs"], 5_000);
    let limited = compare("many", &["--max-findings", "10"]);
    limited.must_exit(1);
    assert_eq!(limited.findings.len(), 10);
    assert_eq!(limited.drift_summary()["unverifiable"]["not-looked-at"], 4_990);
}

/// Few of many: by cells, and in few bytes.
#[test]
fn few_differences_among_many_rows_are_found_by_cells() {
    let (mut a, mut b) = pair("cells");
    let more = "INSERT INTO items SELECT i, i % 97, i / 7.0, NULL, NULL FROM generate_series(20001, 100000) i";
    a.batch_execute(more).expect("rows");
    b.batch_execute(more).expect("rows");
    b.batch_execute("UPDATE items SET cust = cust + 1 WHERE id % 500 = 0; DELETE FROM items WHERE id % 5000 = 1")
        .expect("differences");
    let said = compare("cells", &[]);
    said.must_exit(1);
    let summary = said.drift_summary();
    assert!(summary["located_by"].as_str().is_some_and(|how| how.starts_with("cells")), "{summary:#}");
    assert_eq!((&summary["differs"], &summary["missing"]), (&200.into(), &20.into()));
    assert!(summary["table_bytes"].as_u64().expect("a number") < 400_000, "{summary:#}");
}

/// Twenty thousand keys leave hardly a bucket that agrees; buckets that are kept as finer ones tell how many keys they are.
#[test]
fn differences_in_every_bucket_are_found_by_cells_too() {
    let (mut a, mut b) = pair("everywhere");
    let more = "INSERT INTO items SELECT i, i % 97, i / 7.0, NULL, NULL FROM generate_series(20001, 200000) i";
    a.batch_execute(more).expect("rows");
    b.batch_execute(more).expect("rows");
    b.batch_execute("UPDATE items SET cust = cust + 1 WHERE id % 10 = 0; DELETE FROM items WHERE id % 40 = 1")
        .expect("differences");
    let said = compare("everywhere", &["--max-findings", "10"]);
    said.must_exit(1);
    let summary = said.drift_summary();
    assert!(summary["located_by"].as_str().is_some_and(|how| how.starts_with("cells")), "{summary:#}");
    assert_eq!(summary["suspects"], 25_000);
    assert!(summary["table_bytes"].as_u64().expect("a number") < 4_000_000, "digests are 10 MB: {summary:#}");
}

/// More rows differ than their keys make expect: twice as many cells hold them.
#[test]
fn cells_that_were_too_few_are_doubled() {
    let (mut a, mut b) = pair("repeated");
    let more = "ALTER TABLE items DROP CONSTRAINT items_pkey; INSERT INTO items SELECT i, 1, copy, NULL, NULL \
                FROM generate_series(20001, 40000) i, generate_series(1, 3) copy";
    a.batch_execute(more).expect("rows");
    b.batch_execute(more).expect("rows");
    b.batch_execute("UPDATE items SET cust = 2 WHERE id > 20000 AND id % 100 = 0").expect("differences");
    let url =
        |side: &str| format!("{}?table=items&key=id", server::shared().url_as("audit", &format!("repeated_{side}")));
    let said = drift(&[&url("a"), &url("b")]);
    said.must_exit(1);
    let summary = said.drift_summary();
    assert_eq!((&summary["differs"], &summary["suspects"]), (&200.into(), &200.into()));
    let cells =
        summary["located_by"].as_str().and_then(|how| how.strip_prefix("cells(")?.strip_suffix(')')?.parse().ok());
    // 200 keys that have one row each are told by some 850.
    assert!(cells.is_some_and(|cells: u64| (1_500..2_000).contains(&cells)), "{summary:#}");
}

/// In steps of blocks the sums are those of the whole, and take their time.
#[test]
fn a_table_can_be_read_slowly() {
    let (_a, mut b) = pair("slow");
    b.batch_execute("UPDATE items SET cust = cust + 1 WHERE id = 77").expect("a difference");
    b.batch_execute("VACUUM ANALYZE items").expect("statistics");
    let began = std::time::Instant::now();
    let said = compare("slow", &["--max-rate", "10000"]);
    said.must_exit(1);
    assert_eq!(said.drift(), [("differs".to_owned(), "77".to_owned())]);
    assert!(began.elapsed() >= std::time::Duration::from_secs(2), "20,000 rows at 10,000 a second");
    assert_eq!(said.drift_summary()["rows"], 20_000);
}

#[test]
fn columns_of_other_types_are_refused_by_name() {
    let (mut a, _b) = pair("shapes");
    a.batch_execute("ALTER TABLE items ALTER COLUMN amount TYPE numeric(14,4)").expect("another type");
    let said = compare("shapes", &[]);
    assert_eq!(said.exit, 2);
    assert!(said.err.contains("column \"amount\"") && said.err.contains("--ignore amount"), "{}", said.err);
    compare("shapes", &["--ignore", "amount"]).must_exit(0);
}
