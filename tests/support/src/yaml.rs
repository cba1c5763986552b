//! YAML, for the tests of configuration files.

use serde_json::Value;

/// Panics with the place of the mistake.
pub fn parse(text: &str) -> Value {
    serde_yaml_ng::from_str(text).unwrap_or_else(|error| panic!("{error} in\n{text}"))
}
