//! A look at single records, by their place: for whoever knows where a record is and wants to see it.

use super::KafkaSource;
use crate::audit::coverage::Isolation;
use crate::identify::hash::checksum;
use crate::source::{
    Assignment, Damage, Event, PartitionInfo, Properties, Selection, Sink, Source as _, SourceError, Start,
};
use crate::wire::Record;

/// A record as the broker holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peeked {
    /// Milliseconds since 1970.
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// XXH3-64 of key and value, as in sightings.
    pub checksum: u64,
}

/// Fetches one record, also one of an aborted transaction. `Ok(Err(why))`: the broker answered, and there is none.
///
/// # Errors
///
/// The cluster could not be reached, or does not let this client read.
pub fn peek(
    properties: &Properties,
    topic: &str,
    partition: i32,
    offset: i64,
) -> Result<Result<Peeked, String>, SourceError> {
    let selection = Selection {
        topics: vec![topic.to_owned()],
        partitions: vec![partition],
        start: Start::Offset(offset),
        isolation: Isolation::ReadUncommitted,
        follow: false,
    };
    let mut source = KafkaSource::connect(properties, selection)?;
    let found = source.partitions()?;
    let mut sink = One { offset, registered: 0, outcome: None };
    let assignments = found.into_iter().map(|info| sink.register(info)).collect();
    for mut reader in Box::new(source).readers(assignments)? {
        reader.run(&mut sink)?;
    }
    Ok(sink.outcome.unwrap_or_else(|| Err("the log ends before it".to_owned())))
}

/// Takes the one record and then asks to stop.
struct One {
    offset: i64,
    registered: u32,
    outcome: Option<Result<Peeked, String>>,
}

impl One {
    fn end(&mut self, why: String) {
        self.outcome.get_or_insert(Err(why));
    }

    fn take(&mut self, record: &Record<'_>) {
        let headers = record.headers.into_iter().flatten();
        self.outcome = Some(Ok(Peeked {
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: headers.map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec))).collect(),
            checksum: checksum(record),
        }));
    }
}

impl Sink for One {
    fn register(&mut self, info: PartitionInfo) -> Assignment {
        let index = self.registered;
        self.registered += 1;
        Assignment { index, info, position: self.offset, last_epoch: -1 }
    }

    fn event(&mut self, _: u32, event: Event<'_>) {
        if self.outcome.is_some() {
            return;
        }
        match event {
            Event::Batch(batch) if batch.until > self.offset => {
                for record in batch.records {
                    match record {
                        Ok(record) if record.offset == self.offset => self.take(&record),
                        Ok(_) => continue,
                        Err(error) => self.end(error.to_string()),
                    }
                    return;
                }
                self.end("the log holds no record there any more".to_owned());
            }
            Event::Damaged { until, damage, .. } if until > self.offset => {
                let why = match damage {
                    Damage::Malformed(why) => format!("its batch does not parse: {why}"),
                    Damage::Checksum { .. } => "the CRC of its batch is wrong".to_owned(),
                    Damage::Legacy { magic } => format!("its message format {magic} cannot be read"),
                };
                self.end(why);
            }
            Event::Expired { log_start } if log_start > self.offset => {
                self.end(format!("it has expired; the log starts at offset {log_start}"));
            }
            Event::TopicGone { .. } => self.end("the topic is gone".to_owned()),
            Event::Failed { why } => self.end(why),
            _ => {}
        }
    }

    fn pass_on(&mut self, _: u32) {}

    fn unreadable_input(&mut self, _: &str, _: &str) {}

    fn stopped(&self) -> bool {
        self.outcome.is_some()
    }
}
