//! Logs in memory, and the batches they are made of.

use crate::wire::BatchHeader;
use crate::wire::encode::{write_batch, write_record};

pub const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x30;

/// A plain header: no producer, epoch 0.
pub fn header(base_offset: i64, records: usize) -> BatchHeader {
    BatchHeader {
        base_offset,
        leader_epoch: 0,
        crc: 0,
        attributes: 0,
        last_offset_delta: records as i32 - 1,
        base_timestamp: 1_000,
        max_timestamp: 1_000,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        records_count: records as i32,
    }
}

/// A batch of that header; every record's value is its offset, in twelve digits: batches of as many records are equally long.
pub fn batch_of(header: BatchHeader) -> Vec<u8> {
    let mut body = Vec::new();
    for delta in 0..header.records_count {
        let value = format!("{:012}", header.base_offset + i64::from(delta));
        write_record(&mut body, 0, delta, None, Some(value.as_bytes()), &[]);
    }
    let mut out = Vec::new();
    write_batch(&mut out, &header, &body);
    out
}

pub fn batch(base_offset: i64, records: usize) -> Vec<u8> {
    batch_of(header(base_offset, records))
}

/// The marker that ends a transaction.
pub fn marker(base_offset: i64, producer_id: i64, commits: bool) -> Vec<u8> {
    let mut body = Vec::new();
    write_record(&mut body, 0, 0, Some(&[0, 0, 0, u8::from(commits)]), Some(&[0; 6]), &[]);
    let mut out = Vec::new();
    write_batch(&mut out, &BatchHeader { attributes: CONTROL, producer_id, ..header(base_offset, 1) }, &body);
    out
}

#[derive(Default)]
pub struct Log {
    pub batches: Vec<Vec<u8>>,
    pub log_start: i64,
    /// Absent: the log's end.
    pub high: Option<i64>,
    pub last_stable: Option<i64>,
    /// (producer id, first offset, offset of the marker).
    pub aborted: Vec<(i64, i64, i64)>,
    /// Number of the broker that leads; −1 when none does.
    pub leader: i32,
}

impl Log {
    pub fn of(sizes: &[usize]) -> Self {
        let mut log = Self::default();
        for &records in sizes {
            log.append(records);
        }
        log
    }

    pub fn append(&mut self, records: usize) {
        self.batches.push(batch(self.end(), records));
    }

    pub fn end(&self) -> i64 {
        self.batches.last().map_or(self.log_start, |bytes| parse(bytes).until())
    }

    pub fn high(&self) -> i64 {
        self.high.unwrap_or_else(|| self.end())
    }

    pub fn last_stable(&self) -> i64 {
        self.last_stable.unwrap_or_else(|| self.high())
    }

    /// Largest epoch at or below the one given, and where it ends: what OffsetsForLeaderEpoch answers.
    pub fn end_of_epoch(&self, epoch: i32) -> (i32, i64) {
        let headers: Vec<BatchHeader> = self.batches.iter().map(|bytes| parse(bytes)).collect();
        let of_epoch = headers.iter().rev().find(|header| header.leader_epoch <= epoch);
        of_epoch.map_or((-1, -1), |header| {
            let after = headers.iter().find(|other| other.leader_epoch > header.leader_epoch);
            (header.leader_epoch, after.map_or(self.end(), |after| after.base_offset))
        })
    }
}

pub fn parse(bytes: &[u8]) -> BatchHeader {
    crate::wire::Batches::new(bytes).next().unwrap().unwrap().header
}
