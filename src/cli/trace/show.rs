//! The records themselves, from the broker.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::{Value, json};

use super::places::Place;
use crate::cli::common::Connection;
use crate::engine::trace::{Arrival, Traced};
use crate::report::format::shorten;
use crate::report::utc;
use crate::serve::base64;
use crate::source::kafka::peek::{Peeked, peek};

/// Records fetched for one answer.
const MOST: usize = 50;
/// Characters of a key, a header or a value in the text form.
const WIDTH: usize = 400;

type Spot = (String, i32, i64);

#[derive(Default)]
pub struct Records {
    /// By place: the record, or why there is none.
    found: BTreeMap<Spot, Result<Peeked, String>>,
    /// Why the rest could not be asked for.
    pub trouble: Option<String>,
}

fn spot(arrival: &Arrival) -> Spot {
    (arrival.topic.clone(), arrival.partition, arrival.offset)
}

impl Records {
    /// Fetches what an answer lists, up to the first that cannot be asked for.
    pub fn fetch(connection: &Connection, place: &Place, traced: &Traced) -> Self {
        let mut records = Self::default();
        if let Err(error) = records.try_fetch(connection, place, traced) {
            records.trouble = Some(format!("the records could not be fetched: {error:#}"));
        }
        records
    }

    fn try_fetch(&mut self, connection: &Connection, place: &Place, traced: &Traced) -> anyhow::Result<()> {
        let arrivals = traced.arrivals();
        if arrivals.is_empty() {
            return Ok(());
        }
        let properties = connection.resolve(place.properties.clone())?;
        anyhow::ensure!(
            ["bootstrap.servers", "metadata.broker.list"].iter().any(|name| properties.contains_key(*name)),
            "no brokers: give -b HOST:PORT, or -c with [kafka]"
        );
        for (_, arrival) in arrivals.iter().take(MOST) {
            let spot = spot(arrival);
            let record = peek(&properties, &spot.0, spot.1, spot.2)?;
            self.found.insert(spot, record);
        }
        if arrivals.len() > MOST {
            eprintln!("sordini: of {} records the first {MOST} are shown", arrivals.len());
        }
        Ok(())
    }

    pub fn json(&self, arrival: &Arrival) -> Option<Value> {
        Some(match self.found.get(&spot(arrival))? {
            Ok(record) => json!({
                "timestamp": record.timestamp,
                "key": record.key.as_deref().map(value),
                "headers": record.headers.iter().map(|(name, v)| json!([value(name), v.as_deref().map(value)])).collect::<Vec<_>>(),
                "value": record.value.as_deref().map(value),
                "same_content": is_same(record, arrival),
            }),
            Err(why) => json!({ "why": why }),
        })
    }

    pub fn text(&self, arrival: &Arrival, out: &mut dyn Write) -> io::Result<()> {
        match self.found.get(&spot(arrival)) {
            None => Ok(()),
            Some(Err(why)) => writeln!(out, "      no record: {why}"),
            Some(Ok(record)) => {
                if !is_same(record, arrival) {
                    writeln!(
                        out,
                        "      another content now than what was seen: the log was cut, or the topic made anew"
                    )?;
                }
                writeln!(out, "      time {} ({} ms)", utc(record.timestamp), record.timestamp)?;
                writeln!(out, "      key {}", said(record.key.as_deref()))?;
                for (name, value) in &record.headers {
                    writeln!(out, "      header {}: {}", said(Some(name)), said(value.as_deref()))?;
                }
                writeln!(out, "      value {}", said(record.value.as_deref()))
            }
        }
    }
}

fn is_same(record: &Peeked, arrival: &Arrival) -> bool {
    record.checksum == arrival.checksum.0 as u64
}

/// Text as it is, other bytes in base64.
fn value(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({"base64": base64::encode(bytes)}),
    }
}

fn said(bytes: Option<&[u8]>) -> String {
    match bytes {
        None => "none".to_owned(),
        Some(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => shorten(text, WIDTH),
            Err(_) => format!("{} bytes in base64: {}", bytes.len(), shorten(&base64::encode(bytes), WIDTH)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_escaped_and_what_is_no_text_is_base64() {
        assert_eq!(said(Some(b"a\x1b[2Jb\nc")), "a\\u{1b}[2Jb\\nc");
        assert_eq!(said(Some(&[0xff, 0xfe, 0xfd])), "3 bytes in base64: //79");
        assert_eq!((said(None), value(&[0xff, 0xfe])), ("none".to_owned(), json!({"base64": "//4="})));
        assert_eq!(said(Some("x".repeat(1000).as_bytes())).chars().count(), WIDTH);
    }
}
