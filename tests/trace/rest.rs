//! A ledger at rest.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::json;

use crate::common::{audit, hour_ago, line, orders, places, run, text, trace};

const ID: [&str; 2] = ["--id", "json:/id"];

#[test]
fn an_id_is_found_with_every_arrival_and_by_its_hash_too() {
    let (dir, from) = (tempfile::tempdir().unwrap(), hour_ago());
    let (ledger, report) = audit(dir.path(), &orders(100, from), &ID);

    let once = trace(&ledger, &["o10", "--format", "json"]);
    assert_eq!(places(&once), [(0, 5, (from + 10) * 1000, "kept".to_owned())]);
    let line = &once.lines()[0];
    assert_eq!((&line["topic"], &line["arrivals"], &line["producer"]), (&json!("orders"), &json!(1), &json!(null)));

    let again = trace(&ledger, &["o3", "--format", "json"]);
    let expected = [(1, 1, (from + 3) * 1000, "kept".to_owned()), (1, 100, (from + 100) * 1000, "repeat".to_owned())];
    assert_eq!((places(&again), again.code), (expected.to_vec(), 0));
    let duplicate = report.iter().find(|line| line["kind"] == "duplicate").unwrap();
    assert_eq!(again.lines()[0]["identity"]["hash"], duplicate["identity"]["hash"]);
    assert_eq!(again.lines()[0]["checksum"], duplicate["sightings"][0]["checksum"]);

    let hash = duplicate["identity"]["hash"].as_str().unwrap();
    assert_eq!(trace(&ledger, &[hash, "--format", "json"]).out, again.out);
    assert_eq!(trace(&ledger, &[hash, "--hash", "--format", "json"]).out, again.out);
    assert_eq!(trace(&ledger, &[hash, "-t", "orders", "--format", "json"]).out, again.out);

    // A conflict: two contents.
    let conflict = trace(&ledger, &["o4", "--format", "json"]);
    let contents: BTreeSet<String> = conflict.lines().iter().map(|line| line["checksum"].to_string()).collect();
    assert_eq!((places(&conflict).len(), contents.len()), (2, 2));
    trace(&ledger, &["o4"]).said(0, "orders[0]@100").said(0, "came again").said(0, "kept");
    // Nothing is shown in clear.
    assert!(!trace(&ledger, &["o4"]).out.contains("o4"));
}

#[test]
fn what_is_not_there_is_not_found_and_a_mistyped_place_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = audit(dir.path(), &orders(10, hour_ago()), &ID);
    trace(&ledger, &["o10"]).said(1, "not found");
    trace(&ledger, &["o1", "-t", "other"]).said(2, "it knows orders");
    trace(&ledger, &["o1", "--hash"]).said(2, "identity.hash");
    trace(&ledger, &["--session", "s", "--number", "1"]).said(2, "give the id");
    let typo = dir.path().join("typo");
    trace(&typo, &["o1"]).said(2, "there is no ledger in");
    for command in ["stat", "verify", "compact", "export"] {
        run(&["ledger", command, text(&typo)]).said(2, "there is no ledger in");
    }
    assert!(!typo.exists());
}

#[test]
fn a_numbered_record_is_found_by_its_session_and_number_in_each_incarnation() {
    let (dir, from) = (tempfile::tempdir().unwrap(), hour_ago());
    let record = |session: &str, number: i64, value: i64| json!({"s": session, "n": number, "v": value});
    let mut lines: String = (0..20).map(|n| line(0, n, from + n, &record("till", n, n))).collect();
    // The session begins anew, with other contents.
    lines += &(0..5).map(|n| line(0, 20 + n, from + 1000 + n, &record("till", n, 100 + n))).collect::<String>();
    lines += &line(1, 0, from, &record("other", 3, 9));
    let (ledger, _) = audit(dir.path(), &lines, &["--session", "json:/s", "--sequence", "json:/n"]);

    let of = |session: &str, number: &str| {
        let ran = trace(&ledger, &["--session", session, "--number", number, "--format", "json"]);
        (ran.code, places(&ran).iter().map(|&(partition, offset, _, _)| (partition, offset)).collect::<Vec<_>>())
    };
    assert_eq!(of("till", "3"), (0, vec![(0, 3), (0, 23)]));
    assert_eq!(of("till", "12"), (0, vec![(0, 12)]));
    assert_eq!(of("other", "3"), (0, vec![(1, 0)]));
    assert_eq!(of("till", "20"), (1, vec![]));
    trace(&ledger, &["till"]).said(2, "--number");
}

#[test]
fn a_cloud_event_is_found_by_source_and_id() {
    let dir = tempfile::tempdir().unwrap();
    let event = json!({"specversion": "1.0", "source": "/shop", "id": "a 1", "type": "order"});
    let (ledger, _) = audit(dir.path(), &line(0, 7, hour_ago(), &event), &["--id", "cloudevents"]);
    trace(&ledger, &["/shop a 1"]).said(0, "orders[0]@7");
    trace(&ledger, &["/shop a 2"]).said(1, "not found");
    trace(&ledger, &["a"]).said(2, "SOURCE ID");
}

#[test]
fn damage_is_never_taken_for_not_found() {
    let (dir, count) = (tempfile::tempdir().unwrap(), 2000);
    let (ledger, _) = audit(dir.path(), &orders(count, hour_ago()), &ID);
    run(&["ledger", "verify", text(&ledger)]).said(0, "sound");
    // A page of rows.
    let path = ledger.join("run-00000000");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4096 * 2 + 50] ^= 1;
    std::fs::write(&path, bytes).unwrap();

    let codes: Vec<i32> = (0..60).map(|n| trace(&ledger, &[&format!("o{}", 10 + n)]).code).collect();
    assert!(codes.iter().all(|&code| code == 0 || code == 2), "{codes:?}");
    // A page holds a twelfth of the rows.
    assert!(codes.contains(&0) && codes.contains(&2), "{codes:?}");

    run(&["ledger", "verify", text(&ledger)])
        .said(2, "page 1 of the rows fails its checksum")
        .said(2, "run-00000000")
        .said(2, "taken for new");
    let exported = run(&["ledger", "export", text(&ledger)]);
    exported.said(2, "ledger verify");
    let rows = exported.out.lines().count() as i64 - 1;
    assert!((count - 200..count).contains(&rows), "{rows}");
}

#[test]
fn what_is_forgotten_is_gone_at_once_and_compacting_drops_it_for_good() {
    let (dir, from) = (tempfile::tempdir().unwrap(), hour_ago());
    let (ledger, _) = audit(dir.path(), &orders(100, from), &[&ID[..], &["--show-keys"]].concat());
    let in_journal = || {
        std::fs::read_dir(&ledger).unwrap().map(Result::unwrap).any(|entry| {
            let name = entry.file_name();
            name.to_string_lossy().starts_with("journal") && contains(&std::fs::read(entry.path()).unwrap(), b"o3")
        })
    };
    assert!(in_journal(), "asked for in clear");
    let hash = trace(&ledger, &["o3", "--format", "json"]).lines()[0]["identity"]["hash"].as_str().unwrap().to_owned();

    run(&["ledger", "forget", "o3", text(&ledger)]).said(0, "2 arrivals");
    run(&["ledger", "forget", &hash, text(&ledger), "--hash"]).said(1, "not found");
    trace(&ledger, &["o3"]).said(1, "not found");
    trace(&ledger, &["o5"]).said(0, "kept");
    assert!(!in_journal());
    assert!(!run(&["ledger", "export", text(&ledger)]).out.contains(&hash));
    let stat = |name: &str| run(&["ledger", "stat", text(&ledger), "--format", "json"]).lines()[0][name].clone();
    assert_eq!((stat("rows"), stat("forgotten"), stat("format")), (json!(100), json!(1), json!(2)));

    run(&["ledger", "compact", text(&ledger)]).said(0, "1 sighting dropped as forgotten");
    assert_eq!((stat("rows"), stat("forgotten")), (json!(99), json!(0)));
    run(&["ledger", "verify", text(&ledger)]).said(0, "sound");
    trace(&ledger, &["o3"]).said(1, "not found");

    // Seen again it is new, and the report no longer knows the old finding.
    let again = line(0, 200, from + 500, &json!({"id": "o3", "value": 3}));
    let (_, report) = audit(dir.path(), &again, &[&ID[..], &["--show-keys"]].concat());
    assert_eq!(report.iter().filter(|line| line["kind"] == "duplicate").count(), 0, "{report:?}");
    assert_eq!(report.iter().filter(|line| line["kind"] == "conflict").count(), 1, "o4 is still known");
    assert_eq!(places(&trace(&ledger, &["o3", "--format", "json"])).len(), 1);
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

#[test]
fn an_export_holds_every_sighting_once_in_order_and_parquet_says_what_csv_says() {
    let (dir, from) = (tempfile::tempdir().unwrap(), hour_ago());
    let (ledger, _) = audit(dir.path(), &orders(500, from), &ID);
    let (csv, parquet) = (dir.path().join("out.csv"), dir.path().join("out.parquet"));
    for path in [&csv, &parquet] {
        run(&["ledger", "export", text(&ledger), "-o", text(path)]).said(0, "500 sightings written");
    }
    let csv = std::fs::read_to_string(csv).unwrap();
    assert_eq!(run(&["ledger", "export", text(&ledger)]).out, csv);
    let mut lines = csv.lines();
    assert_eq!(lines.next(), Some("identity,topic,partition,offset,timestamp,checksum,producer_id,producer_epoch"));
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    assert!(rows.is_sorted_by(|a, b| a[0] < b[0]));
    let positions: BTreeSet<(&str, &str)> = rows.iter().map(|row| (row[2], row[3])).collect();
    assert_eq!((rows.len(), positions.len()), (500, 500));

    let mut from_parquet = Vec::new();
    for row in SerializedFileReader::new(File::open(&parquet).unwrap()).unwrap().get_row_iter(None).unwrap() {
        let fields: Vec<String> = row.unwrap().get_column_iter().map(|(_, field)| field.to_string()).collect();
        from_parquet.push(fields);
    }
    assert_eq!(from_parquet.len(), 500);
    for (csv, parquet) in rows.iter().zip(&from_parquet) {
        let unquoted: Vec<&str> = parquet.iter().map(|field| field.trim_matches('"')).collect();
        assert_eq!((&unquoted[..4], unquoted[5]), (&csv[..4], csv[5]));
        assert!(unquoted[4].starts_with(&csv[4][..10]), "{} and {}", unquoted[4], csv[4]);
        assert_eq!((unquoted[6], csv[6]), ("null", ""));
    }
    let first = trace(&ledger, &[rows[0][0], "--hash", "--format", "json"]);
    assert_eq!(first.lines()[0]["checksum"], rows[0][5]);
}

#[test]
fn stat_says_what_a_ledger_is() {
    let (dir, from) = (tempfile::tempdir().unwrap(), hour_ago());
    let (ledger, _) = audit(dir.path(), &orders(100, from), &ID);
    let stat = run(&["ledger", "stat", text(&ledger), "--format", "json"]).lines().remove(0);
    assert_eq!((&stat["rows"], &stat["commits"], &stat["format"]), (&json!(100), &json!(1), &json!(1)));
    assert_eq!((&stat["oldest_second"], &stat["rules"]), (&json!(from), &json!("--id json:/id --scope partition")));
    assert_eq!(stat["partitions"][0], json!({"topic": "orders", "partition": 0, "position": 101}));
    let on_disk: u64 = size(&ledger.join("run-00000000"));
    assert_eq!((&stat["run_bytes"], stat["runs"].as_array().unwrap().len()), (&json!(on_disk), 1));
    run(&["ledger", "stat", text(&ledger)]).said(0, "sightings   100 in 1 run").said(0, "orders[1] read to offset 101");
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}
