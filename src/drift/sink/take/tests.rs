use super::*;
use crate::drift::canon::Type;
use crate::drift::cut::Settled;
use crate::drift::place::Place;
use crate::drift::shape::Column;
use crate::wire::encode::RecordBuffer;

/// Events of one key on a topic, each in a transaction of its own, and what the fold doubts of them.
fn doubted(events: &[(u64, &str, &str)]) -> Vec<i64> {
    doubted_of(&events.iter().map(|event| (*event, "a")).collect::<Vec<_>>())
}

/// The same, each from a server of its own.
fn doubted_of(events: &[((u64, &str, &str), &str)]) -> Vec<i64> {
    let column = |name: &str, ty| Column { name: name.to_owned(), ty, is_nullable: true };
    let shape =
        Shape { keys: vec![column("id", Type::Integer)], values: vec![column("note", Type::Text)], ..Shape::default() };
    let Ok(Place::Topic(place)) = "kafka://b/t?value=debezium".parse() else { panic!("it is a topic") };
    let (sight, fold) = (Sight::Offsets(Settled::default()), Fold::new(0));
    let mut taker = FoldTake::new(&shape, &place, &sight, &fold, Method::Chain, Part::WHOLE).with_befores(true);
    for (offset, ((number, before, after), server)) in events.iter().enumerate() {
        let (committed, lsn) = (number * 10, number * 10 + 5);
        let row =
            |note: &str| if note.is_empty() { "null".to_owned() } else { format!(r#"{{"id":1,"note":"{note}"}}"#) };
        let op = match (before.is_empty(), after.is_empty()) {
            (true, _) => "c",
            (_, true) => "d",
            _ => "u",
        };
        let event = format!(
            r#"{{"op":"{op}","before":{},"after":{},"source":{{"connector":"postgresql","name":"{server}","lsn":{lsn},
                "sequence":"[\"{committed}\",\"{lsn}\"]"}}}}"#,
            row(before),
            row(after)
        );
        let mut buffer = RecordBuffer::default();
        buffer.push(offset as i64, 0, Some(b"1"), Some(event.as_bytes()), &[]);
        let record = buffer.records().next().unwrap().unwrap();
        taker.take(0, &record).unwrap();
    }
    taker.end().unwrap();
    fold.each(|_, _| {}).unwrap();
    fold.doubts().last.into_values().collect()
}

#[test]
fn what_is_sent_again_raises_no_doubt() {
    let sent = [(1, "a", "b"), (2, "b", "c"), (3, "c", "d")];
    let again = [sent[0], sent[1], sent[2], sent[0], sent[1], sent[2], sent[1], sent[2], (4, "d", "e")];
    assert_eq!(doubted(&again), Vec::<i64>::new());
    let lost = [sent[0], sent[1], sent[2], sent[1], sent[2], (5, "e", "f")];
    assert_eq!(doubted(&lost), [5]);
}

#[test]
fn another_server_has_other_numbers() {
    let events = [((91, "a", "b"), "a"), ((92, "b", "c"), "a"), ((3, "c", "d"), "b"), ((4, "e", "f"), "b")];
    assert_eq!(doubted_of(&events), [3]);
}
