//! A sink that remembers everything as owned values, for the tests of sources.

use std::collections::BTreeMap;

use super::{Assignment, Damage, Event, PartitionInfo, Sink};
use crate::wire::Marker;

#[derive(Clone, Debug, PartialEq)]
pub struct OwnedRecord {
    pub offset: i64,
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    Batch {
        base_offset: i64,
        until: i64,
        has_header: bool,
        aborted: bool,
        marker: Option<Marker>,
        records: Vec<OwnedRecord>,
    },
    Damaged {
        from: i64,
        until: i64,
        damage: Damage,
    },
    Watermarks {
        log_start: i64,
        high_watermark: i64,
        last_stable: i64,
    },
    Expired {
        log_start: i64,
    },
    Diverged {
        epoch: i32,
        end_offset: i64,
    },
    TopicGone,
    AtEnd,
    Failed(String),
    PassedOn,
}

/// Remembers what it is told, in order, by partition.
#[derive(Default)]
pub struct RecordingSink {
    pub partitions: Vec<PartitionInfo>,
    pub seen: BTreeMap<u32, Vec<Seen>>,
    /// (place, why) of unreadable input.
    pub unreadable: Vec<(String, String)>,
    /// Says stop once so many records have come.
    stop_after: Option<usize>,
    records: usize,
}

impl RecordingSink {
    pub fn stopping_after(records: usize) -> Self {
        Self { stop_after: Some(records), ..Self::default() }
    }

    /// Registers the partitions of a source as an engine does that knows no positions.
    pub fn assign(&mut self, partitions: Vec<PartitionInfo>) -> Vec<Assignment> {
        partitions.into_iter().map(|info| self.register(info)).collect()
    }

    pub fn index_of(&self, topic: &str, partition: i32) -> Option<u32> {
        self.partitions.iter().position(|p| &*p.topic == topic && p.partition == partition).map(|i| i as u32)
    }

    /// What was seen of a partition, `PassedOn` apart; empty when it was never met.
    pub fn events(&self, topic: &str, partition: i32) -> Vec<Seen> {
        let index = self.index_of(topic, partition);
        let seen = index.and_then(|index| self.seen.get(&index)).into_iter().flatten();
        seen.filter(|seen| **seen != Seen::PassedOn).cloned().collect()
    }

    /// All records of a partition, in the order they came.
    pub fn records(&self, topic: &str, partition: i32) -> Vec<OwnedRecord> {
        let of_batch = |seen| match seen {
            Seen::Batch { records, .. } => records,
            _ => Vec::new(),
        };
        self.events(topic, partition).into_iter().flat_map(of_batch).collect()
    }
}

impl Sink for RecordingSink {
    fn register(&mut self, info: PartitionInfo) -> Assignment {
        let index = self.index_of(&info.topic, info.partition).unwrap_or(self.partitions.len() as u32);
        if index as usize == self.partitions.len() {
            self.partitions.push(info.clone());
        }
        Assignment { index, position: info.from, last_epoch: -1, info }
    }

    fn event(&mut self, index: u32, event: Event<'_>) {
        let seen = match event {
            Event::Batch(batch) => Seen::Batch {
                base_offset: batch.base_offset,
                until: batch.until,
                has_header: batch.header.is_some(),
                aborted: batch.aborted,
                marker: batch.marker,
                records: batch
                    .records
                    .map(|record| {
                        let record = record.expect("a source hands over records that parse");
                        let headers = record.headers.map(|h| h.expect("headers parse"));
                        OwnedRecord {
                            offset: record.offset,
                            timestamp: record.timestamp,
                            key: record.key.map(<[u8]>::to_vec),
                            value: record.value.map(<[u8]>::to_vec),
                            headers: headers.map(|(k, v)| (k.to_vec(), v.map(<[u8]>::to_vec))).collect(),
                        }
                    })
                    .collect(),
            },
            Event::Damaged { from, until, damage } => Seen::Damaged { from, until, damage },
            Event::Watermarks { log_start, high_watermark, last_stable } => {
                Seen::Watermarks { log_start, high_watermark, last_stable }
            }
            Event::Expired { log_start } => Seen::Expired { log_start },
            Event::Diverged { epoch, end_offset } => Seen::Diverged { epoch, end_offset },
            Event::TopicGone { .. } => Seen::TopicGone,
            Event::AtEnd => Seen::AtEnd,
            Event::Failed { why } => Seen::Failed(why),
        };
        if let Seen::Batch { records, .. } = &seen {
            self.records += records.len();
        }
        self.seen.entry(index).or_default().push(seen);
    }

    fn pass_on(&mut self, index: u32) {
        self.seen.entry(index).or_default().push(Seen::PassedOn);
    }

    fn unreadable_input(&mut self, place: &str, why: &str) {
        self.unreadable.push((place.to_owned(), why.to_owned()));
    }

    fn stopped(&self) -> bool {
        self.stop_after.is_some_and(|limit| self.records >= limit)
    }
}
