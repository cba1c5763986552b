use super::*;
use crate::drift::canon::Type;

fn shape() -> Shape {
    let column = |name: &str, ty| Column { name: name.to_owned(), ty, is_nullable: true };
    Shape {
        keys: vec![column("id", Type::Integer)],
        values: vec![column("amount", Type::Decimal(Some(2))), column("note", Type::Text)],
        ..Shape::default()
    }
}

fn read(url: &str, key: Option<&str>, value: Option<&str>) -> Result<(Says, String), String> {
    let shape = shape();
    let Ok(crate::drift::place::Place::Topic(place)) = url.parse() else { panic!("{url}") };
    let mut spans = Spans::default();
    let mut parser = Parser::new(&shape, &place);
    let says =
        parser.read(key.map(str::as_bytes), value.map(str::as_bytes), &mut spans).map_err(|error| error.to_string())?;
    if let Says::Unreadable(why) = says {
        return Err(why.to_string());
    }
    let texts = spans.texts().map(|text| text.map_or("∅".to_owned(), |t| String::from_utf8_lossy(t).into_owned()));
    Ok((says, texts.collect::<Vec<_>>().join("|")))
}

#[test]
fn a_record_says_its_row() {
    let plain = "kafka://b/t";
    for (key, value, says, texts) in [
        ("7", Some(r#"{"id":7,"amount":10,"note":"x"}"#), Says::Row, "7|10.00|x"),
        ("\"7\"", Some(r#"{"note":"a\nb","more":[1],"amount":"1e1"}"#), Says::Row, "7|10.00|a\nb"),
        (r#"{"id":7}"#, Some(r#"{"amount":null}"#), Says::Row, "7|∅|∅"),
        ("007", None, Says::Deleted, "7"),
        ("7", Some(r#"{"amount":1,"note":"","__deleted":"true"}"#), Says::Deleted, "7"),
        (
            r#"{"schema":{},"payload":{"id":7}}"#,
            Some(r#"{"schema":null,"payload":{"amount":1,"note":""}}"#),
            Says::Row,
            "7|1.00|",
        ),
    ] {
        assert_eq!(read(plain, Some(key), value), Ok((says, texts.to_owned())), "{key} {value:?}");
    }
    let in_value = "kafka://b/t?key=value";
    assert_eq!(read(in_value, None, Some(r#"{"amount":1,"id":3,"note":"n"}"#)), Ok((Says::Row, "3|1.00|n".to_owned())));
}

#[test]
fn an_event_of_debezium_says_its_row() {
    let url = "kafka://b/t?value=debezium";
    let event = r#"{"before":null,"after":{"id":1,"amount":"2.5","note":null},"op":"c","source":{"lsn":1}}"#;
    let wrapped = format!(r#"{{"schema":{{}},"payload":{event}}}"#);
    for event in [event, &wrapped] {
        assert_eq!(read(url, Some(r#"{"id":1}"#), Some(event)), Ok((Says::Row, "1|2.50|∅".to_owned())));
    }
    let deleted = r#"{"before":{"id":1,"amount":null,"note":null},"after":null,"op":"d"}"#;
    assert_eq!(read(url, Some(r#"{"id":1}"#), Some(deleted)), Ok((Says::Deleted, "1".to_owned())));
    assert_eq!(read(url, Some(r#"{"id":1}"#), Some(r#"{"ts_ms":1}"#)).unwrap().0, Says::Nothing);
    assert!(read(url, Some(r#"{"id":1}"#), Some(r#"{"op":"t"}"#)).unwrap_err().contains("truncated"));
    let toast = r#"{"after":{"id":1,"amount":1,"note":"__debezium_unavailable_value"},"op":"u"}"#;
    assert_eq!(read(url, Some(r#"{"id":1}"#), Some(toast)), Ok((Says::Partial, "1|1.00|∅".to_owned())));
}

#[test]
fn what_cannot_be_used_is_said() {
    let plain = "kafka://b/t";
    for (key, value, said) in [
        (None, Some("{}"), "no key"),
        (Some("x"), Some("{}"), "is no number"),
        (Some("1"), Some("{"), "value is no JSON object"),
        (Some("1"), Some(r#"{"amount":"ten"}"#), "\"amount\" is no number"),
        (Some(r#"{"key":1}"#), Some("{}"), "no member \"id\""),
        (Some(r#"{"id":null}"#), Some("{}"), "is null"),
    ] {
        let error = read(plain, key, value).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn an_event_of_debezium_says_what_its_row_was() {
    use change::{Before, Op};
    let shape = shape();
    let Ok(crate::drift::place::Place::Topic(place)) = "kafka://b/t?value=debezium".parse() else { panic!() };
    let mut parser = Parser::new(&shape, &place);
    parser.wants_change = true;
    let source = r#""source":{"connector":"postgresql","lsn":5}"#;
    let mut said = |op: &str, before: &str, after: &str| {
        let event = format!(r#"{{"op":"{op}","before":{before},"after":{after},{source}}}"#);
        parser.read(Some(br#"{"id":1}"#), Some(event.as_bytes()), &mut Spans::default()).unwrap();
        let texts = parser.before.texts().map(|text| text.map_or("∅".into(), String::from_utf8_lossy));
        let change = parser.change.clone().unwrap();
        let texts = if change.before == Before::Row { texts.collect::<Vec<_>>().join("|") } else { String::new() };
        (change.op, change.before, change.has_image, change.place.is_some(), texts)
    };
    let (row, other) = (r#"{"id":1,"amount":"2.5","note":null}"#, r#"{"id":2,"amount":"2.5","note":null}"#);
    let nothing = String::new;
    // Nothing says yet that rows are told whole.
    assert_eq!(said("c", "null", row), (Op::Create, Before::Untold, false, false, nothing()));
    assert_eq!(said("d", row, "null"), (Op::Delete, Before::Untold, true, false, nothing()));
    assert_eq!(said("u", "null", row), (Op::Update, Before::Untold, false, false, nothing()));
    assert_eq!(said("u", row, row), (Op::Update, Before::Row, true, true, "1|2.50|∅".to_owned()));
    assert_eq!(said("d", row, "null"), (Op::Delete, Before::Row, true, true, "1|2.50|∅".to_owned()));
    assert_eq!(said("c", "null", row), (Op::Create, Before::None, false, true, nothing()));
    assert_eq!(said("r", "null", row), (Op::Read, Before::Untold, false, true, nothing()));
    // The row of another key, a part of one, a value left out, and one that cannot be.
    for before in [
        other,
        r#"{"id":1,"amount":"2.5"}"#,
        r#"{"amount":"2.5","note":null}"#,
        r#"{"id":1,"amount":"2.5","note":"__debezium_unavailable_value"}"#,
        r#"{"id":1,"amount":"much","note":""}"#,
        "[]",
    ] {
        assert_eq!(said("u", before, row), (Op::Update, Before::Untold, true, true, nothing()), "{before}");
    }
}

proptest::proptest! {
    /// The oracle is the parser of any JSON: what is read without it is what it reads, and nothing that it would refuse.
    #[test]
    fn what_is_written_the_usual_way_is_read_as_the_parser_reads_it(
        text in "\\{(\"(id|amount|note|other|payload|__deleted|é)\":(\"[ab]{0,9}[é\\\\n\u{1}]?\"|-?[01]{0,2}([.][05]{0,2})?(e1)?|null|true|nul|\\[1\\]| 1),?){0,4}\\}?x?",
    ) {
        let shape = shape();
        let place = match "kafka://b/t".parse() {
            Ok(crate::drift::place::Place::Topic(place)) => place,
            other => panic!("{other:?}"),
        };
        let parser = Parser::new(&shape, &place);
        let parsed = parser.members_of(serde_json::Deserializer::from_str(&text)).ok();
        if let Some(read) = flat::members(&text, &shape, &parser.names) {
            let told = |slots: &Slots<'_>| {
                let given: Vec<String> = (0..slots.slots.len()).map(|index| format!("{:?}", slots.given(index))).collect();
                (given, slots.is_deleted)
            };
            proptest::prop_assert_eq!(Some(told(&read)), parsed.as_ref().map(told));
        }
    }
}

#[test]
fn the_usual_way_needs_no_parser() {
    for text in [
        r#"{"id":7,"amount":-10.50,"note":"x"}"#,
        r#"{"note":null,"more":true,"id":0}"#,
        r#"{"id":"a longer text, also with é"}"#,
    ] {
        assert!(flat::members(text, &shape(), &Names::of(&shape())).is_some(), "{text}");
    }
}

#[test]
fn long_and_short_names_are_told_apart() {
    let names = ["a", "ab", "a_name_of_sixteen", "a_name_of_sixteen_and_more"];
    let column = |name: &&str| Column { name: (*name).to_owned(), ty: Type::Integer, is_nullable: true };
    let shape = Shape { values: names.iter().map(column).collect(), ..Shape::default() };
    for text in [
        r#"{"a":1,"ab":2,"a_name_of_sixteen":3,"a_name_of_sixteen_and_more":4}"#,
        r#"{"a_name_of_sixteen_and_more":4,"ab":2,"a_name_of_sixteen":3,"a":1,"b":9}"#,
    ] {
        let slots = flat::members(text, &shape, &Names::of(&shape)).expect("the usual way");
        assert_eq!(slots.slots.to_vec(), [Some("1"), Some("2"), Some("3"), Some("4")]);
    }
}

#[test]
fn a_name_that_needs_an_escape_is_left_to_the_parser() {
    let mut shape = shape();
    shape.values[0].name = "a\":1,\"note".to_owned();
    let text = r#"{"id":7,"a":1,"note":"x"}"#;
    let slots = flat::members(text, &shape, &Names::of(&shape)).expect("the usual way");
    assert_eq!(slots.slots[1], None, "that column is not told");
    assert_eq!(slots.slots[2], Some("\"x\""));
}
