//! What the rules make of records.

use super::extract::Misfit;
use super::observations::Says;
use super::*;
use crate::wire::encode::{Header, RecordBuffer};

struct Given<'a> {
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: &'a [Header<'a>],
}

const NOTHING: Given<'static> = Given { key: None, value: None, headers: &[] };

fn rules(id: Option<&str>, session: Option<&str>, sequence: Option<&str>) -> Rules {
    let spec = |text: &str| text.parse::<Spec>().unwrap();
    Rules { id: id.map(spec), session: session.map(spec), sequence: sequence.map(spec), ..Rules::default() }
}

fn observe(rules: &Rules, given: &Given<'_>) -> (Observations, Result<(), Misfit>) {
    let mut buffer = RecordBuffer::default();
    buffer.push(7, 1000, given.key, given.value, given.headers);
    let mut identifier = Identifier::new(rules.clone(), &[3; 192], "t", 0);
    let mut seen = Observations::new(0);
    let record = buffer.records().next().unwrap().unwrap();
    let fit = identifier.observe(&record, 1000, 0, &mut seen);
    (seen, fit)
}

fn identity(id: &str, given: &Given<'_>) -> u128 {
    let (seen, fit) = observe(&rules(Some(id), None, None), given);
    fit.unwrap();
    seen.sightings.identities[0]
}

fn misfit(id: &str, given: &Given<'_>) -> Misfit {
    let (seen, fit) = observe(&rules(Some(id), None, None), given);
    assert!(seen.sightings.identities.is_empty());
    fit.unwrap_err()
}

#[test]
fn the_same_id_is_the_same_wherever_it_stands() {
    let json: &[u8] = br#"{"order":{"id":"a-1"},"n":7}"#;
    let as_header = Given { headers: &[(b"id", Some(b"a-1"))], ..NOTHING };
    let as_key = Given { key: Some(b"a-1"), ..NOTHING };
    let as_json = Given { value: Some(json), ..NOTHING };
    assert_eq!(identity("header:id", &as_header), identity("key", &as_key));
    assert_eq!(identity("json:/order/id", &as_json), identity("key", &as_key));
    assert_eq!(identity("json:/n", &as_json), identity("key", &Given { key: Some(b"7"), ..NOTHING }));
    let other = Given { key: Some(b"a-2"), ..NOTHING };
    assert_ne!(identity("key", &other), identity("key", &as_key));
}

#[test]
fn of_repeated_headers_the_last_counts() {
    let twice = Given { headers: &[(b"id", Some(b"1")), (b"\xff", None), (b"id", Some(b"2"))], ..NOTHING };
    assert_eq!(identity("header:id", &twice), identity("key", &Given { key: Some(b"2"), ..NOTHING }));
}

#[test]
fn content_tells_null_from_empty_and_key_from_value() {
    let of = |key, value| identity("content", &Given { key, value, headers: &[] });
    let all = [
        of(None, None),
        of(Some(b""), None),
        of(None, Some(b"")),
        of(Some(b"ab"), Some(b"c")),
        of(Some(b"a"), Some(b"bc")),
    ];
    for (i, a) in all.iter().enumerate() {
        assert!(all[i + 1..].iter().all(|b| a != b));
    }
}

#[test]
fn a_cloud_event_is_its_source_and_id_in_either_mode() {
    let binary = Given { headers: &[(b"ce_source", Some(b"/shop")), (b"ce_id", Some(b"42"))], ..NOTHING };
    let structured = Given { value: Some(br#"{"specversion":"1.0","id":"42","source":"/shop","data":{}}"#), ..NOTHING };
    assert_eq!(identity("cloudevents", &binary), identity("cloudevents", &structured));
    let elsewhere = Given { headers: &[(b"ce_source", Some(b"/other")), (b"ce_id", Some(b"42"))], ..NOTHING };
    assert_ne!(identity("cloudevents", &binary), identity("cloudevents", &elsewhere));
    assert!(matches!(misfit("cloudevents", &Given { value: Some(b"{}"), ..NOTHING }), Misfit::Absent { .. }));
}

#[test]
fn a_debezium_change_is_its_place_in_the_source_log() {
    let change = |lsn: u32, ts: u32, op: &str| {
        format!(
            r#"{{"op":"{op}","ts_ms":{ts},"source":{{"name":"s","db":"d","table":"t","txId":5,"lsn":{lsn},"ts_ms":1}},"after":{{}}}}"#
        )
    };
    let of = |text: &str| identity("debezium", &Given { key: Some(b"k"), value: Some(text.as_bytes()), headers: &[] });
    assert_eq!(of(&change(9, 1, "u")), of(&change(9, 2, "u")), "sent again later, it is the same change");
    assert_ne!(of(&change(9, 1, "u")), of(&change(10, 1, "u")));
    assert_ne!(of(&change(9, 1, "u")), of(&change(9, 1, "d")));
    let wrapped = format!(r#"{{"schema":{{}},"payload":{}}}"#, change(9, 1, "u"));
    assert_eq!(of(&wrapped), of(&change(9, 1, "u")), "with or without the schema");
}

#[test]
fn a_rule_that_does_not_fit_says_why() {
    assert_eq!(misfit("key", &NOTHING), Misfit::Absent { rule: "key".to_owned() });
    assert_eq!(misfit("header:id", &NOTHING), Misfit::Absent { rule: "header:id".to_owned() });
    assert_eq!(misfit("json:/id", &NOTHING), Misfit::Tombstone);
    let text = Given { value: Some(b"not json"), ..NOTHING };
    assert!(matches!(misfit("json:/id", &text), Misfit::NoJson { .. }));
    let other = Given { value: Some(br#"{"id":null}"#), ..NOTHING };
    assert_eq!(misfit("json:/id", &other), Misfit::Absent { rule: "json:/id".to_owned() });
}

fn number(bytes: &[u8], encoding: Encoding) -> Option<i64> {
    let rules = Rules { encoding, ..rules(None, None, Some("header:n")) };
    let (seen, fit) = observe(&rules, &Given { headers: &[(b"n", Some(bytes))], ..NOTHING });
    match (fit, &seen.arrivals[..]) {
        (Ok(()), [Arrival { says: Says::Number(number), .. }]) => Some(*number),
        (Err(Misfit::NoNumber { .. }), []) => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn numbers_are_decimal_text_or_big_endian() {
    for (bytes, expected) in [
        (&b"0"[..], Some(0)),
        (b"0042", Some(42)),
        (b"9223372036854775806", Some(i64::MAX - 1)),
        (b"9223372036854775808", None),
        (b"-1", Some(i64::from(u16::from_be_bytes(*b"-1")))),
        (&[1], Some(1)),
        (&[1, 0], Some(256)),
        (&[0, 0, 1, 0], Some(256)),
        (&[0, 0, 0, 0, 0, 0, 1, 0], Some(256)),
        (&[0xff; 8], None),
        (b"abc", None),
        (b"", None),
    ] {
        assert_eq!(number(bytes, Encoding::Auto), expected, "{bytes:?}");
    }
    assert_eq!(number(b"1234", Encoding::BigEndian), Some(0x3132_3334));
    assert_eq!(number(&[0, 0, 1, 0], Encoding::Decimal), None);
}

#[test]
fn a_session_named_by_a_key_is_not_shown_in_clear() {
    let label = |session: &str, show_keys: bool| {
        let rules = Rules { show_keys, ..rules(None, Some(session), Some("header:n")) };
        let given =
            Given { key: Some(b"alice"), value: None, headers: &[(b"n", Some(b"1")), (b"who", Some(b"alice"))] };
        let (seen, fit) = observe(&rules, &given);
        fit.unwrap();
        seen.labels[0].1.clone()
    };
    assert_eq!(label("header:who", false), "alice");
    assert_eq!(label("key", true), "alice");
    assert!(!label("key", false).contains("alice"));
}

#[test]
fn an_end_marker_has_no_number_and_is_no_misfit() {
    let rules = Rules { sequence_end: "header:end".parse().ok(), ..rules(None, Some("header:who"), Some("header:n")) };
    let given = Given { headers: &[(b"who", Some(b"p")), (b"end", Some(b"99"))], ..NOTHING };
    let (seen, fit) = observe(&rules, &given);
    assert_eq!((fit, seen.arrivals[0].says), (Ok(()), Says::End(99)));
}
