//! One line taken apart, borrowed from its text: only strings with escapes are copied.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
pub struct Line<'a> {
    #[serde(borrow)]
    topic: Option<Text<'a>>,
    partition: Option<i32>,
    pub offset: Option<i64>,
    ts: Option<i64>,
    #[serde(borrow)]
    headers: Option<&'a RawValue>,
    #[serde(borrow)]
    key: Option<&'a RawValue>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

/// An `Option<Cow<str>>` would always be owned; this borrows where it can.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

pub type Header<'a> = (Cow<'a, str>, Option<Cow<'a, str>>);

impl<'a> Line<'a> {
    pub fn parse(text: &'a str) -> Result<Self, String> {
        // Derived code also takes a struct from an array of its fields; here a record is an object or nothing.
        if !text.trim_start().starts_with('{') {
            return Err("not a JSON object".to_owned());
        }
        let line: Self = serde_json::from_str(text).map_err(|e| explain(&e))?;
        match line.partition {
            Some(partition) if partition < 0 => Err(format!("partition {partition} is none a topic can have")),
            _ => Ok(line),
        }
    }

    pub fn topic(&self) -> &str {
        self.topic.as_ref().map_or("lines", |topic| &topic.0)
    }

    pub fn partition(&self) -> i32 {
        self.partition.unwrap_or(0)
    }

    /// Milliseconds since 1970, −1 when there is none.
    pub fn timestamp(&self) -> i64 {
        self.ts.unwrap_or(-1)
    }

    pub fn key(&self) -> Result<Option<Cow<'a, str>>, String> {
        self.key.map(|raw| content("key", raw)).transpose()
    }

    pub fn value(&self) -> Result<Option<Cow<'a, str>>, String> {
        self.payload.map(|raw| content("payload", raw)).transpose()
    }

    pub fn headers(&self) -> Result<Vec<Header<'a>>, String> {
        let Some(raw) = self.headers else { return Ok(Vec::new()) };
        let wrong = || "headers are not a list of names and values in turn".to_owned();
        let list: Vec<Option<&'a RawValue>> = serde_json::from_str(raw.get()).map_err(|_| wrong())?;
        let mut pairs = list.chunks_exact(2);
        let headers = pairs.by_ref().map(|pair| {
            let name = pair[0].filter(|name| name.get().starts_with('"')).ok_or_else(wrong)?;
            Ok((content("header", name)?, pair[1].map(|value| content("header", value)).transpose()?))
        });
        let headers = headers.collect::<Result<_, String>>()?;
        if pairs.remainder().is_empty() { Ok(headers) } else { Err(wrong()) }
    }
}

/// What a JSON value stands for: a string for its characters, anything else for the text it is written in.
fn content<'a>(field: &str, raw: &'a RawValue) -> Result<Cow<'a, str>, String> {
    let text = raw.get();
    let Some(inner) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return Ok(Cow::Borrowed(text));
    };
    if !inner.as_bytes().contains(&b'\\') {
        return Ok(Cow::Borrowed(inner));
    }
    serde_json::from_str::<String>(text).map(Cow::Owned).map_err(|e| format!("{field}: {}", explain(&e)))
}

/// serde_json's message; its place within the text is a column, as the text is one line.
fn explain(error: &serde_json::Error) -> String {
    let message = error.to_string();
    match message.rsplit_once(" at line 1 column ") {
        Some((what, column)) => format!("{what} (column {column})"),
        None => message,
    }
}
