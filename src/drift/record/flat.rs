//! The members of an object that is written the usual way: without blanks, escapes, exponents or anything nested. It is most
//! records, and costs a third of what a parser does for any JSON. Whatever else comes is left to that parser.

use super::Slots;
use crate::drift::canon::json::end_of_plain;
use crate::drift::shape::Shape;

/// `None`: somebody else has to read it, or it is no JSON at all.
pub fn members<'a>(text: &'a str, shape: &Shape) -> Option<Slots<'a>> {
    let bytes = text.as_bytes();
    let columns = shape.keys.len() + shape.values.len();
    let mut slots = Slots::new(columns);
    let (mut at, mut next) = (1, 0);
    if bytes.first() != Some(&b'{') {
        return None;
    }
    loop {
        if bytes.get(at) != Some(&b'"') {
            return None;
        }
        let end = end_of_plain(bytes, at + 1)?;
        let name = &text[at + 1..end];
        if bytes.get(end + 1) != Some(&b':') {
            return None;
        }
        let from = end + 2;
        at = end_of_value(bytes, from)?;
        match super::place_of(shape, name, next) {
            Some(index) => {
                slots.slots[index] = Some(&text[from..at]);
                next = index + 1;
            }
            None if matches!(name, "payload" | "__deleted") => return None,
            None => {}
        }
        match bytes.get(at) {
            Some(b',') => at += 1,
            Some(b'}') if at + 1 == bytes.len() => return Some(slots),
            _ => return None,
        }
    }
}

/// Behind a string, a number or a word that begins here.
fn end_of_value(bytes: &[u8], from: usize) -> Option<usize> {
    match bytes.get(from)? {
        b'"' => end_of_plain(bytes, from + 1).map(|end| end + 1),
        b'-' | b'0'..=b'9' => end_of_number(bytes, from),
        _ => ["null", "true", "false"]
            .iter()
            .find(|word| bytes[from..].starts_with(word.as_bytes()))
            .map(|word| from + word.len()),
    }
}

fn end_of_number(bytes: &[u8], from: usize) -> Option<usize> {
    let end_of_digits = |from: usize| from + bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let whole = from + usize::from(bytes[from] == b'-');
    let end = end_of_digits(whole);
    if end == whole || (bytes[whole] == b'0' && end > whole + 1) {
        return None;
    }
    match bytes.get(end) {
        Some(b'.') => Some(end_of_digits(end + 1)).filter(|behind| *behind > end + 1),
        _ => Some(end),
    }
}
