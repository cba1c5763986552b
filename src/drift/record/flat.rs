//! The members of an object that is written the usual way: without blanks, escapes, exponents or anything nested. It is most
//! records, and costs a third of what a parser does for any JSON. Whatever else comes is left to that parser.

use super::members::{Slots, place_of};
use crate::drift::canon::json::end_of_plain;
use crate::drift::shape::{Column, Shape};

/// How the name of each column stands before its value. Of one that needs an escape nothing, which is never met.
pub struct Names(Vec<Option<Box<[u8]>>>);

impl Names {
    pub fn of(shape: &Shape) -> Self {
        let written = |column: &Column| {
            let text = format!("\"{}\":", column.name);
            (end_of_plain(text.as_bytes(), 1) == Some(text.len() - 2)).then(|| text.into_bytes().into())
        };
        Self(shape.columns().map(written).collect())
    }

    /// How long the name is, where it stands here.
    #[inline]
    fn length_at(&self, index: usize, bytes: &[u8]) -> Option<usize> {
        let name = self.0.get(index)?.as_deref()?;
        bytes.starts_with(name).then_some(name.len())
    }
}

/// `None`: somebody else has to read it, or it is no JSON at all.
pub fn members<'a>(text: &'a str, shape: &Shape, names: &Names) -> Option<Slots<'a>> {
    let bytes = text.as_bytes();
    let columns = shape.keys.len() + shape.values.len();
    let mut slots = Slots::new(columns);
    let (mut at, mut next) = (1, 0);
    if bytes.first() != Some(&b'{') {
        return None;
    }
    loop {
        // Members mostly come in the order of the columns.
        let (index, from) = match names.length_at(next, &bytes[at..]) {
            Some(length) => (Some(next), at + length),
            None => named(text, at, shape, next)?,
        };
        at = end_of_value(bytes, from)?;
        if let Some(index) = index {
            slots.put(index, &text[from..at]);
            next = index + 1;
        }
        match bytes.get(at) {
            Some(b',') => at += 1,
            Some(b'}') if at + 1 == bytes.len() => return Some(slots),
            _ => return None,
        }
    }
}

/// Which column the member is of that begins here, and where its value does.
fn named(text: &str, at: usize, shape: &Shape, next: usize) -> Option<(Option<usize>, usize)> {
    let bytes = text.as_bytes();
    if bytes.get(at) != Some(&b'"') {
        return None;
    }
    let end = end_of_plain(bytes, at + 1)?;
    let name = &text[at + 1..end];
    let index = place_of(shape, name, next);
    let is_known = bytes.get(end + 1) == Some(&b':') && (index.is_some() || !matches!(name, "payload" | "__deleted"));
    is_known.then_some((index, end + 2))
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
