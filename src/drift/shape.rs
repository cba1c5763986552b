//! What is compared: the columns of a key, the columns beside it, and a row as the canonical texts of both.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::canon::Type;
use super::canon::time::Fractions;
use super::digest::{Digest, Method, Spans};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    #[serde(rename = "type")]
    pub ty: Type,
    pub is_nullable: bool,
}

/// Columns in the order they are hashed in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    pub keys: Vec<Column>,
    pub values: Vec<Column>,
    #[serde(default)]
    pub fractions: Fractions,
}

impl Shape {
    pub fn columns(&self) -> impl Iterator<Item = &Column> {
        self.keys.iter().chain(&self.values)
    }
}

/// Canonical texts, keys first; `None` is null.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Row {
    pub keys: Vec<String>,
    pub values: Vec<Option<String>>,
}

impl Row {
    /// The first `keys` texts are the key's.
    pub fn of(spans: &Spans, keys: usize) -> Self {
        let text = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
        let mut texts = spans.texts().map(|span| span.map(text));
        let key = texts.by_ref().take(keys).map(Option::unwrap_or_default).collect();
        Self { keys: key, values: texts.collect() }
    }

    pub fn write(&self, spans: &mut Spans) {
        spans.clear();
        for key in &self.keys {
            spans.push(Some(key.as_bytes()));
        }
        for value in &self.values {
            spans.push(value.as_deref().map(str::as_bytes));
        }
    }
}

impl Method {
    pub fn of_rows(self, rows: &[Row]) -> Vec<Digest> {
        let mut spans = Spans::default();
        let digest = |row: &Row| {
            row.write(&mut spans);
            self.of(&spans, row.keys.len())
        };
        rows.iter().map(digest).collect()
    }

    /// The hashes of these keys.
    pub fn keys<'k>(self, keys: impl IntoIterator<Item = &'k Vec<String>>) -> Vec<u64> {
        let mut spans = Spans::default();
        let hash = |key: &'k Vec<String>| {
            spans.clear();
            key.iter().for_each(|text| spans.push(Some(text.as_bytes())));
            self.key(&spans, key.len())
        };
        keys.into_iter().map(hash).collect()
    }
}

/// In order, by the texts of the key. A key may have several.
pub type Rows = BTreeMap<Vec<String>, Vec<Row>>;

pub fn by_key(found: Vec<Row>) -> Rows {
    let mut rows = Rows::new();
    for row in found {
        rows.entry(row.keys.clone()).or_default().push(row);
    }
    rows.values_mut().for_each(|rows| rows.sort());
    rows
}

pub fn rows_of<'r>(rows: &'r Rows, key: &[String]) -> &'r [Row] {
    rows.get(key).map_or(&[], Vec::as_slice)
}
