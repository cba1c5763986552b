//! JSON as PostgreSQL prints `jsonb`: keys by length and then bytes, the last of equal ones, numbers with their digits.

use std::borrow::Cow;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Canonical, Misfit, number};

/// A string borrowed where it has no escapes.
#[derive(serde::Deserialize)]
#[serde(transparent)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// Where the quote is that ends the string which begins here, if nothing in it is escaped.
pub fn end_of_plain(bytes: &[u8], from: usize) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const TOPS: u64 = ONES << 7;
    let mut at = from;
    // Eight bytes at a time: the top bit of the first one that is a quote, a backslash or below a blank is the lowest that is set.
    while let Some(eight) = bytes.get(at..at + 8).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*eight);
        let has_zero = |word: u64| word.wrapping_sub(ONES) & !word;
        let is_low = word.wrapping_sub(ONES * u64::from(b' ')) & !word;
        let (quote, backslash) = (word ^ (ONES * u64::from(b'"')), word ^ (ONES * u64::from(b'\\')));
        let stops = (has_zero(quote) | has_zero(backslash) | is_low) & TOPS;
        if stops != 0 {
            let end = at + (stops.trailing_zeros() / 8) as usize;
            return (bytes.get(end) == Some(&b'"')).then_some(end);
        }
        at += 8;
    }
    let end = at + bytes.get(at..)?.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..b' '))?;
    (bytes[end] == b'"').then_some(end)
}

/// Values in each other; more of them are refused, as every parser that recurses has to.
const DEEPEST: usize = 256;

pub fn jsonb(text: &str, out: &mut Vec<u8>) -> Result<Canonical, Misfit> {
    value(text, DEEPEST, out)
}

fn value(text: &str, left: usize, out: &mut Vec<u8>) -> Result<Canonical, Misfit> {
    let left = left.checked_sub(1).ok_or(Misfit::TooDeep)?;
    let text = text.trim_matches([' ', '\t', '\n', '\r']);
    match text.as_bytes().first() {
        Some(b'{') => object(text, left, out)?,
        Some(b'[') => array(text, left, out)?,
        Some(b'"') => string(&parse::<Text<'_>>(text)?.0, out),
        Some(b'-' | b'0'..=b'9') => _ = number::in_json(text, out)?,
        _ if matches!(text, "true" | "false" | "null") => out.extend_from_slice(text.as_bytes()),
        _ => return Err(Misfit::NoJson),
    }
    Ok(Canonical::Exact)
}

fn parse<'a, T: serde::Deserialize<'a>>(text: &'a str) -> Result<T, Misfit> {
    serde_json::from_str(text).map_err(|_| Misfit::NoJson)
}

fn object(text: &str, left: usize, out: &mut Vec<u8>) -> Result<(), Misfit> {
    let mut members = parse::<Members<'_>>(text)?.0;
    let by_key = |a: &str, b: &str| (a.len(), a.as_bytes()).cmp(&(b.len(), b.as_bytes()));
    // Stable: of equal keys the last one stays last.
    members.sort_by(|a, b| by_key(&a.0, &b.0));
    out.push(b'{');
    let mut is_first = true;
    for (index, (key, value)) in members.iter().enumerate() {
        if members.get(index + 1).is_some_and(|next| next.0 == *key) {
            continue;
        }
        if !is_first {
            out.extend_from_slice(b", ");
        }
        is_first = false;
        string(key, out);
        out.extend_from_slice(b": ");
        self::value(value.get(), left, out)?;
    }
    out.push(b'}');
    Ok(())
}

fn array(text: &str, left: usize, out: &mut Vec<u8>) -> Result<(), Misfit> {
    out.push(b'[');
    for (index, value) in parse::<Elements<'_>>(text)?.0.iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        self::value(value.get(), left, out)?;
    }
    out.push(b']');
    Ok(())
}

fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// The members of an object in their order, repeated keys included.
pub struct Members<'a>(pub Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> serde::Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(key) = map.next_key::<Text<'de>>()? {
                    members.push((key.0, map.next_value()?));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Each)
    }
}

struct Elements<'a>(Vec<&'a RawValue>);

impl<'de> serde::Deserialize<'de> for Elements<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Elements<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = seq.next_element::<&RawValue>()? {
                    elements.push(element);
                }
                Ok(Elements(elements))
            }
        }
        deserializer.deserialize_seq(Each)
    }
}

impl<'a> Text<'a> {
    /// The string that `raw` is.
    pub fn of(raw: &'a str) -> Result<Cow<'a, str>, Misfit> {
        // Most say what they are without an escape.
        if raw.starts_with('"') && end_of_plain(raw.as_bytes(), 1) == Some(raw.len() - 1) {
            return Ok(Cow::Borrowed(&raw[1..raw.len() - 1]));
        }
        parse::<Text<'a>>(raw).map(|text| text.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        /// The oracle is the parser.
        #[test]
        fn strings_are_read_as_the_parser_does(raw in "\"[ab]{0,9}[a\"\\\\nu0é\u{1}\u{7f} ]{0,12}\"?") {
            let parsed = serde_json::from_str::<String>(&raw).ok();
            proptest::prop_assert_eq!(Text::of(&raw).ok().map(Cow::into_owned), parsed);
        }
    }

    #[test]
    fn what_is_too_deep_is_refused() {
        let of = |open: &str, close: &str, times: usize| {
            jsonb(&(open.repeat(times) + close.repeat(times).as_str()), &mut Vec::new())
        };
        assert_eq!(of("[", "]", DEEPEST), Ok(Canonical::Exact));
        for times in [DEEPEST + 1, 200_000] {
            assert_eq!(of("[", "]", times), Err(Misfit::TooDeep));
            assert_eq!(of("{\"a\":[", "]}", times), Err(Misfit::TooDeep));
        }
    }

    /// Answers of PostgreSQL 15.18 to `SELECT '…'::jsonb`.
    #[test]
    fn json_is_printed_as_the_server_prints_jsonb() {
        for (text, expected) in [
            (
                r#"{"b":1e2,"aa":[1,2.50,"x\u00e9\n\u0001/"],"a":null,"c":-0.0}"#,
                "{\"a\": null, \"b\": 100, \"c\": 0.0, \"aa\": [1, 2.50, \"xé\\n\\u0001/\"]}",
            ),
            (r#"{"a":1,"a":2}"#, r#"{"a": 2}"#),
            (" [ ] ", "[]"),
            ("{}", "{}"),
            (r#""x""#, r#""x""#),
            ("true", "true"),
        ] {
            let mut out = Vec::new();
            jsonb(text, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
        for text in ["", "{", "[1,]", "nul", "{\"a\"}", "01x"] {
            assert!(jsonb(text, &mut Vec::new()).is_err(), "{text}");
        }
    }
}
