//! One body for the fuzz target `commits` and for the tests: any bytes become records and markers of
//! `__consumer_offsets`. Nothing may panic, what is decoded lies within the record, and the book keeps its bounds and its
//! order.

use std::collections::HashMap;

use super::book::{Book, Limits, Place};
use super::decode::{DecodeError, Entry, decode};
use super::news::MOST_OF_ONE;

/// Small, so that they are reached.
const LIMITS: Limits = Limits { news: 40, pending: 8, groups: 4 };

/// Takes its choices off the front of the bytes; zeros when there are none left.
struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        let (head, rest) = self.0.split_at(length);
        self.0 = rest;
        head
    }
}

pub fn check(bytes: &[u8]) {
    let mut choices = Choices(bytes);
    let mut book = Book::within(LIMITS);
    let mut last_orders = HashMap::new();
    let mut offset = 0;
    while !choices.0.is_empty() {
        offset += 1;
        match choices.byte() {
            0 => book.end_transaction(0, choices.byte().into(), true),
            1 => book.end_transaction(0, choices.byte().into(), false),
            2 => drain(&mut book, &mut last_orders),
            3 => book.interrupt(0),
            choice => {
                let producer = (choice & 1 == 1).then(|| choices.byte().into());
                let place = Place { partition: 0, offset, timestamp_ms: offset, producer };
                let key = key(&mut choices, choice);
                let value = (choice & 2 == 2).then(|| choices.bytes());
                if let Ok(entry) = checked(key.as_deref(), value) {
                    book.record(place, &entry);
                }
            }
        }
        assert!(book.is_within_limits());
    }
    drain(&mut book, &mut last_orders);
}

/// Any bytes, or a whole key of a few groups, so that something comes together.
fn key(choices: &mut Choices<'_>, choice: u8) -> Option<Vec<u8>> {
    match choice % 8 {
        4 => None,
        5 => Some(choices.bytes().to_vec()),
        _ => {
            let mut key = vec![0, choices.byte() % 8];
            let names = choices.byte();
            key.extend([0, 1, b'a' + names % 8, 0, 1, b'A' + names / 8 % 4, 0, 0, 0, names / 32]);
            Some(key)
        }
    }
}

fn checked<'a>(key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> Result<Entry<'a>, DecodeError> {
    let decoded = decode(key, value);
    let (key_len, value_len) = (key.map_or(0, <[u8]>::len), value.map_or(0, <[u8]>::len));
    match &decoded {
        Ok(Entry::Commit { group, topic, value: decoded, .. }) => {
            assert!(group.len() + topic.len() + 10 <= key_len);
            assert_eq!(decoded.is_some(), value.is_some());
            // Version, offset, a length, the metadata and the time at least.
            assert!(decoded.is_none_or(|commit| commit.metadata.len() + 19 <= value_len));
        }
        Ok(Entry::Classic { value: Some(decoded), .. }) => assert!(decoded.members as usize <= value_len),
        Ok(_) => {}
        Err(error) => assert!(!error.name().is_empty() && !error.to_string().is_empty()),
    }
    decoded
}

fn drain(book: &mut Book, last_orders: &mut HashMap<String, i64>) {
    for (group, news) in book.drain() {
        assert!(news.generations.len() <= MOST_OF_ONE);
        for ((topic, partition), news) in news.spots {
            assert!(news.commits.len() <= MOST_OF_ONE);
            let last = last_orders.entry(format!("{group}/{topic}/{partition}")).or_default();
            for order in
                news.removed.map(|removed| removed.order).into_iter().chain(news.commits.iter().map(|c| c.order))
            {
                assert!(order > *last, "orders rise");
                *last = order;
            }
        }
    }
    assert_eq!(book.drain(), Default::default(), "what was told is not told again");
}
