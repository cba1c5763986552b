//! JSON pointers (RFC 6901) evaluated on the raw text: only the path is followed, nothing else is built.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    tokens: Vec<String>,
}

impl FromStr for Pointer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.is_empty() && !text.starts_with('/') {
            return Err("a JSON pointer starts with / (RFC 6901)".to_owned());
        }
        let tokens = text.split('/').skip(1).map(|token| token.replace("~1", "/").replace("~0", "~"));
        Ok(Self { tokens: tokens.collect() })
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tokens.iter().try_for_each(|token| write!(f, "/{}", token.replace('~', "~0").replace('/', "~1")))
    }
}

/// What a pointer led to.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// A string, unescaped.
    Text(Cow<'a, str>),
    /// Any other value but null, as its text.
    Other(&'a str),
}

impl Found<'_> {
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Found::Text(text) => text.as_bytes(),
            Found::Other(text) => text.as_bytes(),
        }
    }
}

impl Pointer {
    /// The value in `text`; `Ok(None)` when the pointer matches nothing or null. The error says why it is no JSON.
    pub fn find<'a>(&self, text: &'a [u8]) -> Result<Option<Found<'a>>, String> {
        let mut json = serde_json::Deserializer::from_slice(text);
        let raw = Step { tokens: &self.tokens }.deserialize(&mut json).map_err(|error| error.to_string())?;
        json.end().map_err(|error| error.to_string())?;
        let Some(raw) = raw.map(RawValue::get) else { return Ok(None) };
        match raw.as_bytes().first() {
            Some(b'"') => serde_json::from_str::<Text>(raw).map(|t| Some(Found::Text(t.0))).map_err(|e| e.to_string()),
            _ if raw == "null" => Ok(None),
            _ => Ok(Some(Found::Other(raw))),
        }
    }
}

/// A string borrowed where it has no escapes.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

struct Step<'p> {
    tokens: &'p [String],
}

impl<'de> DeserializeSeed<'de> for Step<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        match self.tokens.split_first() {
            None => serde::Deserialize::deserialize(deserializer).map(Some),
            Some((token, rest)) => deserializer.deserialize_any(Walk { token, rest }),
        }
    }
}

struct Walk<'p> {
    token: &'p str,
    rest: &'p [String],
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<Text<'de>>()? {
            if key.0 == self.token {
                found = map.next_value_seed(Step { tokens: self.rest })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let is_index = self.token == "0" || !self.token.starts_with(['0', '+']);
        let wanted = self.token.parse::<usize>().ok().filter(|_| is_index);
        let mut found = None;
        for index in 0.. {
            if wanted == Some(index) {
                match seq.next_element_seed(Step { tokens: self.rest })? {
                    Some(value) => found = value,
                    None => break,
                }
            } else if seq.next_element::<IgnoredAny>()?.is_none() {
                break;
            }
        }
        Ok(found)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn find(pointer: &str, text: &str) -> Option<String> {
        let found = pointer.parse::<Pointer>().unwrap().find(text.as_bytes()).unwrap();
        found.map(|f| String::from_utf8(f.as_bytes().to_vec()).unwrap())
    }

    #[test]
    fn the_examples_of_rfc_6901_hold() {
        let text = r#"{"foo":["bar","baz"],"":0,"a/b":1,"m~n":8,"k\"l":6," ":7}"#;
        for (pointer, expected) in [
            ("/foo/0", "bar"),
            ("/", "0"),
            ("/a~1b", "1"),
            ("/m~0n", "8"),
            ("/k\"l", "6"),
            ("/ ", "7"),
            ("/foo", r#"["bar","baz"]"#),
        ] {
            assert_eq!(find(pointer, text).as_deref(), Some(expected), "{pointer}");
        }
        assert_eq!(find("/foo/2", text), None);
        assert_eq!(find("/nothing/here", text), None);
        assert_eq!(find("//deeper", text), None);
    }

    #[test]
    fn what_is_no_json_is_an_error() {
        let pointer: Pointer = "/a".parse().unwrap();
        for text in ["", "{", "{\"a\":1}x", "nope", "{\"a\":}"] {
            assert!(pointer.find(text.as_bytes()).is_err(), "{text}");
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-c~/\"\\\\é]{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c~/]{0,2}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn finds_what_serde_json_finds(value in json(), path in prop::collection::vec("[a-c~/01]{0,2}", 0..4)) {
            let pointer = Pointer { tokens: path };
            let text = value.to_string();
            let expected = value.pointer(&pointer.to_string()).filter(|v| !v.is_null());
            match (pointer.find(text.as_bytes()).unwrap(), expected) {
                (None, None) => {}
                (Some(Found::Text(found)), Some(Value::String(expected))) => prop_assert_eq!(&*found, expected),
                (Some(Found::Other(found)), Some(expected)) => {
                    prop_assert_eq!(&serde_json::from_str::<Value>(found).unwrap(), expected);
                }
                (found, expected) => prop_assert!(false, "{:?} {:?}", found, expected),
            }
        }
    }
}
