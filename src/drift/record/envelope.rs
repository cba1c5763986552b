//! Debezium's change event: what changed, and where in the source's log.

use serde::Deserialize;
use serde_json::value::RawValue;
use xxhash_rust::xxh3::Xxh3;

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
    ts_ms: Option<&'a RawValue>,
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

/// Of one event, in an order of the source's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which log and which table: places of two lines have no order.
    pub line: u64,
    /// Rises with every change of one key. PostgreSQL's `lsn` (of two keys whose transactions ran at a time it may fall), MySQL's
    /// file, position and row.
    pub log: [u64; 3],
    /// Rises with every event of the table, where that is known. It falls where a connector began again further back.
    pub stream: Option<[u64; 3]>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Places<'a> {
    #[serde(borrow)]
    connector: Option<&'a str>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    db: Option<&'a RawValue>,
    #[serde(borrow)]
    schema: Option<&'a RawValue>,
    #[serde(borrow)]
    table: Option<&'a RawValue>,
    #[serde(borrow)]
    snapshot: Option<&'a RawValue>,
    lsn: Option<u64>,
    /// PostgreSQL: a list in a text, the end of the last transaction before this one, then `lsn`.
    sequence: Option<String>,
    server_id: Option<u64>,
    #[serde(borrow)]
    file: Option<&'a str>,
    pos: Option<u64>,
    row: Option<u64>,
}

impl Places<'_> {
    fn line(&self, log: &str) -> u64 {
        let mut hash = Xxh3::new();
        for part in [self.name, self.db, self.schema, self.table] {
            hash.update(part.map_or("", RawValue::get).as_bytes());
            hash.update(&[0]);
        }
        hash.update(&self.server_id.unwrap_or_default().to_le_bytes());
        hash.update(log.as_bytes());
        hash.digest()
    }

    fn place(&self) -> Option<Place> {
        match self.connector? {
            "postgresql" => {
                let lsn = self.lsn?;
                let sequence = || serde_json::from_str::<[Option<String>; 2]>(self.sequence.as_deref()?).ok();
                let stream = || {
                    let [committed, event] = sequence()?;
                    Some([committed?.parse().ok()?, event?.parse().ok()?, 0])
                };
                Some(Place { line: self.line(""), log: [lsn, 0, 0], stream: stream() })
            }
            "mysql" | "mariadb" => {
                let (log, number) = self.file?.rsplit_once('.')?;
                let log_place = [number.parse().ok()?, self.pos?, self.row.unwrap_or_default()];
                Some(Place { line: self.line(log), log: log_place, stream: Some(log_place) })
            }
            _ => None,
        }
    }

    /// Not read from the log, but found in the table.
    fn is_snapshot(&self) -> bool {
        self.snapshot.is_some_and(|snapshot| !matches!(snapshot.get(), "false" | "\"false\"" | "null"))
    }
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

    /// Without an operation: a heartbeat, a change of the schema, the begin or end of a transaction.
    pub fn is_of_connector(&self) -> bool {
        self.ts_ms.is_some()
    }

    pub fn source(&self) -> Option<Source> {
        self.of_source()
    }

    /// Which one wrote the event.
    pub fn connector(&self) -> Option<&'a str> {
        self.of_source::<Places<'a>>()?.connector
    }

    pub fn origin(&self) -> Origin {
        let Position { xid, lsn } = self.of_source().unwrap_or_default();
        Origin { xid: xid.map(|xid| xid as u32), lsn, is_read: self.op == Some("r") }
    }

    /// Where in the source's log it stands, as far as that is known; and whether it was found in the table instead.
    pub fn place(&self) -> (Option<Place>, bool) {
        let places: Places<'_> = self.of_source().unwrap_or_default();
        (places.place(), places.is_snapshot())
    }

    fn of_source<T: Deserialize<'a>>(&self) -> Option<T> {
        serde_json::from_str(self.source?.get()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(source: &str) -> (Option<Place>, bool) {
        let event = format!("{{\"op\":\"u\",\"source\":{source}}}");
        Envelope::of(event.as_bytes()).expect("it is an event").place()
    }

    #[test]
    fn an_event_tells_where_it_stands() {
        let postgres = r#"{"connector":"postgresql","name":"a","snapshot":"false","db":"d","schema":"s","table":"t",
            "sequence":"[\"400\",\"512\"]","txId":7,"lsn":512,"xmin":null}"#;
        let (at, is_snapshot) = place(postgres);
        let at = at.expect("a place");
        assert_eq!((at.log, at.stream, is_snapshot), ([512, 0, 0], Some([400, 512, 0]), false));
        let first = place(&postgres.replace(r#"\"400\""#, "null")).0.expect("a place");
        assert_eq!((first.log, first.stream), ([512, 0, 0], None));
        let other = place(&postgres.replace(r#""table":"t""#, r#""table":"u""#)).0.expect("a place");
        assert_ne!(other.line, at.line);
        assert!(place(&postgres.replace(r#""false""#, r#""incremental""#)).1);

        let mysql = r#"{"connector":"mysql","name":"a","snapshot":"false","db":"d","table":"t","server_id":1,"gtid":null,
            "file":"mysql-bin.000010","pos":194,"row":2,"thread":8}"#;
        let at = place(mysql).0.expect("a place");
        assert_eq!((at.log, at.stream), ([10, 194, 2], Some([10, 194, 2])));
        let later = place(&mysql.replace("000010", "1000000")).0.expect("a place");
        assert!(later.log > at.log && later.line == at.line);
        let other = place(&mysql.replace(r#""server_id":1"#, r#""server_id":2"#)).0.expect("a place");
        assert_ne!(other.line, at.line);
        assert_eq!(place(r#"{"connector":"oracle","scn":"1"}"#).0, None);
        assert_eq!(place("{}").0, None);
    }
}
