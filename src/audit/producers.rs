//! Producer sequences: the numbers that every batch of an idempotent producer carries, per (producer id, epoch).
//!
//! The broker's own rule (`ProducerAppendInfo.checkSequence`): the next sequence is last + 1, wrapping from 2147483647
//! to 0; a new epoch starts at 0; a broker that holds no state of a producer accepts any first sequence, and so does a
//! log that was compacted or trimmed. What the leader would have refused and the log still holds is an anomaly.

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::finding::{Finding, Grade, Identity, Kind, Rung, Span};
use super::partition::Place;
use crate::source::Cleanup;
use crate::wire::BatchHeader;
use crate::wire::batch::wrap_sequence;

/// Producers remembered per partition. The broker forgets an idle one after a day (`producer.id.expiration.ms`).
const PRODUCERS_KEPT: usize = 100_000;
/// Numbers in the sequence space.
const MODULUS: i64 = 1 << 31;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Producer {
    epoch: i16,
    last_sequence: i32,
    last_offset: i64,
    last_time: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Producers {
    known: FxHashMap<i64, Producer>,
    /// (producer id, epoch) pairs seen.
    pub sessions: u64,
    pub lost: u64,
    pub duplicated: u64,
    /// Producers dropped to bound memory; a gap across such a drop would not be seen.
    pub evicted: u64,
}

impl Producers {
    /// `log_start` and `blind_until` say which part of the log below the batch cannot be relied on.
    pub fn observe(
        &mut self,
        header: &BatchHeader,
        log_start: i64,
        blind_until: i64,
        cleanup: Cleanup,
        place: &Place<'_>,
        out: &mut Vec<Finding>,
    ) {
        if header.producer_id < 0 || header.is_control() || header.base_sequence < 0 {
            return;
        }
        let now = Producer {
            epoch: header.producer_epoch,
            last_sequence: header.sequence_at(header.last_offset_delta),
            last_offset: header.until() - 1,
            last_time: header.max_timestamp,
        };
        let Some(known) = self.known.get_mut(&header.producer_id) else {
            self.sessions += 1;
            self.make_room();
            self.known.insert(header.producer_id, now);
            return;
        };
        let before = std::mem::replace(known, now);
        if before.epoch != now.epoch {
            if now.epoch > before.epoch {
                self.sessions += 1;
            } else {
                *known = before;
                out.push(older_epoch(header, &before, place));
            }
            return;
        }
        let expected = wrap_sequence(i64::from(before.last_sequence) + 1);
        let ahead = i64::from(header.base_sequence.wrapping_sub(expected)) & (MODULUS - 1);
        if ahead == 0 {
            return;
        }
        // Clients before KIP-360 begin again at 0 in the same epoch once the log no longer holds their last record.
        let began_again = header.base_sequence == 0 && before.last_offset < log_start;
        if began_again || before.last_offset < blind_until {
            return;
        }
        if ahead < MODULUS / 2 {
            if !cleanup.is_compacted() {
                self.lost += ahead as u64;
                out.push(gap(header, &before, expected, ahead, cleanup, place));
            }
        } else {
            let repeated = MODULUS - ahead;
            let count = repeated.min(i64::from(header.last_offset_delta) + 1);
            if now.last_offset > before.last_offset && repeated > i64::from(header.last_offset_delta) {
                known.last_sequence = before.last_sequence;
            }
            self.duplicated += count as u64;
            out.push(repeat(header, &before, count, place));
        }
    }

    fn make_room(&mut self) {
        if self.known.len() < PRODUCERS_KEPT {
            return;
        }
        let mut offsets: Vec<i64> = self.known.values().map(|p| p.last_offset).collect();
        let middle = offsets.len() / 2;
        let (_, &mut median, _) = offsets.select_nth_unstable(middle);
        let before = self.known.len();
        self.known.retain(|_, producer| producer.last_offset > median);
        self.evicted += (before - self.known.len()) as u64;
    }
}

fn session(header: &BatchHeader) -> String {
    format!("producer {} epoch {}", header.producer_id, header.producer_epoch)
}

fn gap(
    header: &BatchHeader,
    before: &Producer,
    expected: i32,
    missing: i64,
    cleanup: Cleanup,
    place: &Place<'_>,
) -> Finding {
    let session = session(header);
    let from = i64::from(expected);
    let why = format!(
        "{session} wrote sequence {} at offset {} of {place} and next {} at offset {}: {missing} between are missing",
        before.last_sequence, before.last_offset, header.base_sequence, header.base_offset
    );
    let mut finding = place.finding(Kind::SequenceGap, &[&session, &header.base_offset, &from], why);
    finding.session = Some(session);
    finding.numbers = Some(Span::new(from, from + missing));
    finding.offsets = Some(Span::new(before.last_offset + 1, header.base_offset));
    finding.count = missing as u64;
    finding.first_seen = Some(before.last_time);
    finding.last_seen = Some(header.max_timestamp);
    if cleanup == Cleanup::Unknown {
        finding.grade = Grade::Possible;
    }
    finding.evidence("before_offset", before.last_offset).evidence("after_offset", header.base_offset)
}

fn repeat(header: &BatchHeader, before: &Producer, count: i64, place: &Place<'_>) -> Finding {
    let session = session(header);
    let from = i64::from(header.base_sequence);
    let why = format!(
        "{session} wrote sequence {from} at offset {} of {place} though it had already reached {} at offset {}: the broker's duplicate check was passed by",
        header.base_offset, before.last_sequence, before.last_offset
    );
    let mut finding = place.finding(Kind::Duplicate, &[&session, &header.base_offset, &from], why);
    finding.identity = Some(Identity {
        rung: Rung::Producer,
        hash: format!("{:016x}{:04x}{:04x}{:08x}", header.producer_id, header.producer_epoch, 0, from),
        value: None,
    });
    finding.session = Some(session);
    finding.numbers = Some(Span::new(from, from + count));
    finding.offsets = Some(Span::new(header.base_offset, header.base_offset + count));
    finding.count = count as u64;
    finding.cause = Some("broker".to_owned());
    finding.first_seen = Some(before.last_time);
    finding.last_seen = Some(header.max_timestamp);
    finding
}

fn older_epoch(header: &BatchHeader, before: &Producer, place: &Place<'_>) -> Finding {
    let why = format!(
        "producer {} wrote with epoch {} at offset {} of {place} after epoch {} at offset {}: a leader fences such a write",
        header.producer_id, header.producer_epoch, header.base_offset, before.epoch, before.last_offset
    );
    let mut finding =
        place.finding(Kind::EpochRegression, &[&"producer", &header.producer_id, &header.base_offset], why);
    finding.session = Some(session(header));
    finding.offsets = Some(Span::new(header.base_offset, header.until()));
    finding.count = header.records_count.max(0) as u64;
    finding.cause = Some("producer".to_owned());
    finding.last_seen = Some(header.max_timestamp);
    finding
}
