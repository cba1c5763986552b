//! Debezium's change event: what changed, and where in the source's log.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::drift::cut::Origin;

/// An event, without its schema.
#[derive(Deserialize)]
pub struct Envelope<'a> {
    #[serde(borrow, default)]
    pub op: Option<&'a str>,
    #[serde(borrow, default)]
    pub before: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub after: Option<&'a RawValue>,
    #[serde(borrow, default)]
    source: Option<&'a RawValue>,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
}

/// Which table an event was captured from, and whether a snapshot found it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Source {
    pub connector: String,
    pub db: String,
    pub schema: String,
    pub table: String,
    snapshot: serde_json::Value,
}

/// Where in the log; the rest of the source is the same in every event.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Position {
    #[serde(rename = "txId")]
    xid: Option<u64>,
    lsn: Option<u64>,
}

impl Source {
    /// A row that the connector's first snapshot found, with more of the table to come.
    pub fn is_mid_snapshot(&self) -> bool {
        match &self.snapshot {
            serde_json::Value::String(place) => matches!(place.as_str(), "true" | "first" | "first_in_data_collection"),
            // As versions before 1.0 wrote it, where the end was not told.
            serde_json::Value::Bool(flag) => *flag,
            _ => false,
        }
    }
}

impl<'a> Envelope<'a> {
    pub fn of(value: &'a [u8]) -> Option<Self> {
        let mut json = serde_json::Deserializer::from_slice(value);
        let envelope = <Self as Deserialize>::deserialize(&mut json).ok()?;
        match envelope.payload.filter(|_| envelope.op.is_none()) {
            Some(payload) => serde_json::from_str(payload.get()).ok(),
            None => Some(envelope),
        }
    }

    pub fn source(&self) -> Option<Source> {
        self.of_source()
    }

    pub fn origin(&self) -> Origin {
        let Position { xid, lsn } = self.of_source().unwrap_or_default();
        Origin { xid: xid.map(|xid| xid as u32), lsn, is_read: self.op == Some("r") }
    }

    fn of_source<T: Deserialize<'a>>(&self) -> Option<T> {
        serde_json::from_str(self.source?.get()).ok()
    }
}
