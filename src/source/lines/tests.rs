use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::source::testing::{OwnedRecord, RecordingSink, Seen};

fn read_with(mut sink: RecordingSink, text: &[u8]) -> RecordingSink {
    let mut source = Box::new(LinesSource::of("in", Box::new(io::Cursor::new(text.to_vec()))));
    assert!(source.partitions().unwrap().is_empty());
    for mut reader in source.readers(Vec::new()).unwrap() {
        reader.run(&mut sink).unwrap();
    }
    sink
}

fn read(text: impl AsRef<[u8]>) -> RecordingSink {
    read_with(RecordingSink::default(), text.as_ref())
}

fn record(offset: i64, timestamp: i64, key: Option<&str>, value: Option<&str>) -> OwnedRecord {
    let owned = |text: Option<&str>| text.map(|text| text.as_bytes().to_vec());
    OwnedRecord { offset, timestamp, key: owned(key), value: owned(value), headers: Vec::new() }
}

fn offsets(sink: &RecordingSink, topic: &str, partition: i32) -> Vec<i64> {
    sink.records(topic, partition).iter().map(|r| r.offset).collect()
}

#[test]
fn what_kcat_prints_is_read() {
    let sink = read(concat!(
        r#"{"topic":"orders","partition":3,"offset":17,"tstype":"create","ts":1700000000123,"broker":1,"#,
        r#""headers":["a","1","a","é","b",null],"key":"k\u0000\"","payload":"{\"id\":1}"}"#,
        "\n",
        r#"{"topic":"orders","partition":3,"offset":18,"tstype":"unknown","ts":0,"key":null,"payload":null}"#,
        "\n",
    ));
    let headers = [("a", Some("1")), ("a", Some("é")), ("b", None)];
    let headers = headers.map(|(k, v)| (k.as_bytes().to_vec(), v.map(|v| v.as_bytes().to_vec())));
    let first =
        OwnedRecord { headers: headers.to_vec(), ..record(17, 1_700_000_000_123, Some("k\0\""), Some("{\"id\":1}")) };
    assert_eq!(sink.records("orders", 3), [first, record(18, 0, None, None)]);
    let info = &sink.partitions[0];
    assert_eq!((info.from, info.until, info.log_start, info.has_headers), (17, None, 0, false));
    assert_eq!(sink.events("orders", 3).last(), Some(&Seen::AtEnd));
    assert_eq!(sink.unreadable, []);
}

#[test]
fn absent_fields_have_defaults_and_line_numbers_serve_as_offsets() {
    let sink = read(
        "{\"payload\":\"a\"}\n\n  \n{\"topic\":null,\"partition\":null,\"ts\":null,\"headers\":null,\"x\":[1]}\r\n{}",
    );
    let expected = [record(1, -1, None, Some("a")), record(4, -1, None, None), record(5, -1, None, None)];
    assert_eq!(sink.records("lines", 0), expected);
    assert_eq!(sink.unreadable, []);
}

#[test]
fn a_value_that_is_no_string_counts_as_its_text() {
    let sink = read(r#"{"offset":0,"key":12.50,"payload":{"a": [1, "é"]},"headers":["n",7,"t",true]}"#);
    let read = &sink.records("lines", 0)[0];
    assert_eq!(
        (read.key.as_deref(), read.value.as_deref()),
        (Some(&b"12.50"[..]), Some(r#"{"a": [1, "é"]}"#.as_bytes()))
    );
    assert_eq!(read.headers, [(b"n".to_vec(), Some(b"7".to_vec())), (b"t".to_vec(), Some(b"true".to_vec()))]);
}

#[test]
fn lines_that_cannot_be_read_are_reported_with_their_place_and_the_rest_is_read() {
    let bad: [(&[u8], &str); 13] = [
        (b"no json", "not a JSON object"),
        (b"[\"t\",0,3,1,[],null,null]", "not a JSON object"),
        (b"{\"offset\":1", "EOF while parsing an object (column 11)"),
        (b"{\"offset\":1} {}", "trailing characters (column 14)"),
        (b"{\"offset\":\"1\"}", "invalid type: string \"1\", expected i64 (column 13)"),
        (b"{\"offset\":-1}", "offset -1 is none a log can have"),
        (b"{\"offset\":9223372036854775807}", "offset 9223372036854775807 is none a log can have"),
        (b"{\"offset\":1,\"partition\":-1}", "partition -1 is none a topic can have"),
        (b"{\"offset\":1,\"headers\":[\"a\"]}", "headers are not a list of names and values in turn"),
        (b"{\"offset\":1,\"headers\":[null,\"a\"]}", "headers are not a list of names and values in turn"),
        (b"{\"offset\":1,\"key\":\"\\ud800\"}", "key: unexpected end of hex escape (column 8)"),
        (b"{\"offset\":1,\"key\":\"\xff\"}", "not UTF-8 from byte 20 on"),
        (b"{\"payload\":\"x\"}", "no offset, though earlier lines have one"),
    ];
    let mut text = b"{\"offset\":0}\n".to_vec();
    for (line, _) in bad {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    text.extend_from_slice(b"{\"offset\":5}");
    let sink = read(&text);
    assert_eq!(offsets(&sink, "lines", 0), [0, 5]);
    let expected = bad.iter().zip(2..).map(|((_, why), line)| (format!("in:{line}"), (*why).to_owned()));
    assert_eq!(sink.unreadable, expected.collect::<Vec<_>>());
}

#[test]
fn an_offset_among_lines_without_one_is_unreadable() {
    let sink = read("{}\n{\"offset\":7}\n{}");
    assert_eq!(offsets(&sink, "lines", 0), [1, 3]);
    assert_eq!(sink.unreadable, [("in:2".to_owned(), "an offset, though earlier lines have none".to_owned())]);
}

#[test]
fn a_line_that_is_too_long_is_passed_over() {
    let mut text = b"{\"offset\":1}\n{\"payload\":\"".to_vec();
    text.resize(text.len() + LONGEST_LINE + 5, b'x');
    text.extend_from_slice(b"\"}\n{\"offset\":2}\n");
    let sink = read(&text);
    assert_eq!(offsets(&sink, "lines", 0), [1, 2]);
    assert_eq!(sink.unreadable, [("in:2".to_owned(), "longer than 64 MiB".to_owned())]);
}

#[test]
fn an_empty_input_says_nothing() {
    let sink = read("");
    assert!(sink.partitions.is_empty() && sink.seen.is_empty() && sink.unreadable.is_empty());
}

#[test]
fn batches_are_bounded_and_every_one_is_passed_on() {
    let text: String = (0..10_000).map(|n| format!("{{\"offset\":{n},\"payload\":\"x\"}}\n")).collect();
    let sink = read(text);
    let seen = &sink.seen[&0];
    let sizes = seen.iter().filter_map(|seen| match seen {
        Seen::Batch { records, base_offset, until, .. } => {
            assert_eq!(until - base_offset, records.len() as i64);
            Some(records.len())
        }
        _ => None,
    });
    assert!(sizes.clone().all(|size| size <= BATCH_RECORDS) && sizes.sum::<usize>() == 10_000);
    assert!(seen.chunks(2).all(|pair| pair[0] != Seen::PassedOn && pair[1] == Seen::PassedOn));
}

#[test]
fn a_sink_that_says_stop_is_obeyed_and_no_end_is_claimed() {
    let text: String = (0..100_000).map(|n| format!("{{\"offset\":{n}}}\n")).collect();
    let sink = read_with(RecordingSink::stopping_after(1), text.as_bytes());
    assert_eq!(sink.records("lines", 0).len(), BATCH_RECORDS);
    assert!(!sink.events("lines", 0).contains(&Seen::AtEnd));
}

/// A pipe whose writer is slow: it has given one line and part of the next.
struct SlowPipe(Option<&'static [u8]>);

impl Read for SlowPipe {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut given = self.0.take().expect("what was read is handed over before the next read waits");
        given.read(into)
    }
}

#[test]
fn records_of_a_slow_pipe_are_handed_over_at_once() {
    let source = Box::new(LinesSource::of("pipe", Box::new(SlowPipe(Some(b"{\"offset\":1}\n{\"off")))));
    let mut sink = RecordingSink::stopping_after(1);
    for mut reader in source.readers(Vec::new()).unwrap() {
        reader.run(&mut sink).unwrap();
    }
    assert_eq!(offsets(&sink, "lines", 0), [1]);
}

#[test]
fn a_missing_file_is_an_error_that_names_it() {
    let error = LinesSource::open(Path::new("/nowhere/x.jsonl")).err().map(|e| e.to_string());
    assert!(error.is_some_and(|e| e.starts_with("cannot open /nowhere/x.jsonl: ")));
}

fn text() -> impl Strategy<Value = Value> {
    prop_oneof![1 => Just(Value::Null), 4 => ".{0,20}".prop_map(Value::from)]
}

proptest! {
    #[test]
    fn any_order_of_offsets_and_partitions_is_kept(
        lines in prop::collection::vec(
            (0i32..3, 0i64..30, -1i64..1 << 50, text(), text(), prop::collection::vec((".{0,3}", text()), 0..3)), 1..60,
        ),
    ) {
        let mut input = String::new();
        let mut expected: [Vec<OwnedRecord>; 3] = Default::default();
        let bytes = |value: &Value| value.as_str().map(|s| s.as_bytes().to_vec());
        for (partition, offset, ts, key, payload, headers) in &lines {
            let flat: Vec<Value> = headers.iter().flat_map(|(k, v)| [Value::from(k.as_str()), v.clone()]).collect();
            let line = json!({"topic": "té", "partition": partition, "offset": offset, "ts": ts, "key": key, "payload": payload, "headers": flat});
            input += &format!("{line}\n");
            expected[*partition as usize].push(OwnedRecord {
                offset: *offset,
                timestamp: *ts,
                key: bytes(key),
                value: bytes(payload),
                headers: headers.iter().map(|(k, v)| (k.as_bytes().to_vec(), bytes(v))).collect(),
            });
        }
        let sink = read(input);
        prop_assert!(sink.unreadable.is_empty());
        for (partition, expected) in expected.iter().enumerate() {
            prop_assert_eq!(&sink.records("té", partition as i32), expected);
        }
    }

    #[test]
    fn every_line_of_arbitrary_bytes_is_a_record_or_reported(lines in prop::collection::vec("[^\r\n]{1,30}", 1..20)) {
        let sink = read(lines.join("\n"));
        let blank = lines.iter().filter(|line| line.as_bytes().trim_ascii().is_empty()).count();
        let records: usize = sink.partitions.iter().map(|p| sink.records(&p.topic, p.partition).len()).sum();
        prop_assert_eq!(records + sink.unreadable.len() + blank, lines.len());
    }
}
