//! The environment over a file: `SORDINI__LAG__INTERVAL=5s` sets `interval` in `[lag]`. Two underscores part the levels, one
//! stands for a hyphen (for a dot among Kafka's own settings).

use std::path::Path;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::ConfigError;

const PREFIX: &str = "SORDINI__";

#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Variable, path into the file, value.
    all: Vec<(String, Vec<String>, String)>,
}

impl Overrides {
    pub fn from_environment() -> Self {
        Self::new(std::env::vars())
    }

    pub fn new(variables: impl Iterator<Item = (String, String)>) -> Self {
        let mut all: Vec<_> = variables
            .filter_map(|(name, value)| {
                let mut path: Vec<String> =
                    name.strip_prefix(PREFIX)?.split("__").map(|part| part.to_ascii_lowercase()).collect();
                let is_kafka = path.len() == 2 && path[0] == "kafka";
                for (level, part) in path.iter_mut().enumerate() {
                    *part = part.replace('_', if is_kafka && level == 1 { "." } else { "-" });
                }
                Some((name, path, value))
            })
            .collect();
        all.sort();
        Self { all }
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Reads the text with the variables laid over it; an error names the variables, since any of them may be the cause.
    pub fn over<T: DeserializeOwned>(&self, text: &str, path: &Path) -> Result<T, ConfigError> {
        let names = || self.all.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>().join(", ");
        let wrong = |what: String| ConfigError::Environment { path: path.to_owned(), names: names(), what };
        let mut table: Table = toml::from_str(text).map_err(|error| wrong(error.message().to_owned()))?;
        for (name, keys, value) in &self.all {
            set(&mut table, keys, read(keys, value)).map_err(|what| wrong(format!("{name}: {what}")))?;
        }
        T::deserialize(Value::Table(table)).map_err(|error| wrong(error.message().to_owned()))
    }
}

/// A number, a truth value or a list where it reads as one, else text. Kafka's own settings are always text.
fn read(keys: &[String], text: &str) -> Value {
    if keys.first().is_some_and(|first| first == "kafka") {
        return Value::String(text.to_owned());
    }
    let parsed: Result<Table, _> = toml::from_str(&format!("value = {text}"));
    parsed.ok().and_then(|mut table| table.remove("value")).unwrap_or_else(|| Value::String(text.to_owned()))
}

fn set(table: &mut Table, keys: &[String], value: Value) -> Result<(), String> {
    match keys {
        [] => Ok(()),
        [last] => {
            table.insert(last.clone(), value);
            Ok(())
        }
        [first, rest @ ..] => match table.entry(first.clone()).or_insert_with(|| Value::Table(Table::new())) {
            Value::Table(inner) => set(inner, rest, value),
            _ => Err(format!("\"{first}\" is no section")),
        },
    }
}
