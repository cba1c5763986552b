//! How a record is identified, as typed on the command line or in the configuration.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use super::json::Pointer;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spec {
    /// The record's key.
    Key,
    /// The last header of that name.
    Header(String),
    /// A JSON pointer (RFC 6901) into the value.
    Json(Pointer),
    /// CloudEvents: (source, id), from `ce_` headers or from a structured JSON value.
    CloudEvents,
    /// Debezium: the source position and the operation.
    Debezium,
    /// Key and value: equal contents are only *possible* duplicates.
    Content,
    /// (producer id, epoch, sequence), which batches of idempotent producers carry.
    Producer,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown rule \"{given}\": {why}; use key, header:NAME, json:/pointer, cloudevents, debezium, content or producer"
)]
pub struct SpecError {
    given: String,
    why: String,
}

impl FromStr for Spec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let fail = |why: &str| SpecError { given: text.to_owned(), why: why.to_owned() };
        let (head, rest) = match text.split_once(':') {
            Some((head, rest)) => (head, Some(rest)),
            None => (text, None),
        };
        match (head, rest) {
            ("key", None) => Ok(Spec::Key),
            ("cloudevents", None) => Ok(Spec::CloudEvents),
            ("debezium", None) => Ok(Spec::Debezium),
            ("content", None) => Ok(Spec::Content),
            ("producer", None) => Ok(Spec::Producer),
            ("header", Some(name)) if !name.is_empty() => Ok(Spec::Header(name.to_owned())),
            ("header", _) => Err(fail("a header needs a name, as in header:event-id")),
            ("json", Some(pointer)) => pointer.parse().map(Spec::Json).map_err(|why: String| fail(&why)),
            ("json", None) => Err(fail("a JSON rule needs a pointer, as in json:/order/id")),
            _ => Err(fail("no such rule")),
        }
    }
}

impl<'de> Deserialize<'de> for Spec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Spec::Key => f.write_str("key"),
            Spec::Header(name) => write!(f, "header:{name}"),
            Spec::Json(pointer) => write!(f, "json:{pointer}"),
            Spec::CloudEvents => f.write_str("cloudevents"),
            Spec::Debezium => f.write_str("debezium"),
            Spec::Content => f.write_str("content"),
            Spec::Producer => f.write_str("producer"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_reads_back_as_it_prints() {
        for text in [
            "key",
            "header:event-id",
            "header:a:b",
            "json:/order/id",
            "json:",
            "cloudevents",
            "debezium",
            "content",
            "producer",
        ] {
            assert_eq!(text.parse::<Spec>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_wrong_rule_names_the_right_ones() {
        for text in ["", "id", "header", "header:", "json", "json:order", "key:x"] {
            let error = text.parse::<Spec>().unwrap_err().to_string();
            assert!(error.contains("header:NAME"), "{error}");
        }
    }
}
