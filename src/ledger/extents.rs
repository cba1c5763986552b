//! Positions as numbers: a row keeps one code instead of partition, offset, second and producer. An extent is a stretch
//! of one partition with one second and one producer; a code is the sum of the spans of the extents before, plus the
//! offset within its own. Merging runs only adds a constant.

use rustc_hash::FxHashMap;

use super::manifest::Fields;
use super::{Producer, Seen, Sightings};

pub(super) const EXTENT_LEN: usize = 28;
pub(super) const PRODUCER_LEN: usize = 10;
/// A larger gap starts a new extent, so that codes stay small.
const LARGEST_GAP: i64 = 1 << 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub start: u64,
    pub partition: u32,
    pub first_offset: i64,
    pub second: u32,
    pub producer: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Extents {
    pub list: Vec<Extent>,
    pub producers: Vec<Producer>,
    slots: FxHashMap<Producer, u32>,
    /// Codes given out so far.
    pub span: u64,
}

impl Extents {
    /// Calls `row` with each row of the stretch and its code.
    pub fn cut(&mut self, stretch: &Sightings, mut row: impl FnMut(usize, u64)) {
        let mut producers = stretch.producers.iter().peekable();
        let mut producer = Producer::NONE;
        let mut open: Option<(Extent, i64)> = None;
        for (i, (&offset, &timestamp)) in stretch.offsets.iter().zip(&stretch.timestamps).enumerate() {
            let before = producer;
            while let Some((_, next)) = producers.next_if(|(from, _)| *from as usize <= i) {
                producer = *next;
            }
            let second = second_of(timestamp);
            let fits = |(extent, last): &(Extent, i64)| {
                extent.second == second && producer == before && offset > *last && offset - last <= LARGEST_GAP
            };
            let (extent, last) = match open.take().filter(fits) {
                Some((extent, _)) => (extent, offset),
                None => {
                    let slot = self.slot(producer);
                    let partition = stretch.partition;
                    let extent = Extent { start: self.span, partition, first_offset: offset, second, producer: slot };
                    self.list.push(extent);
                    (extent, offset)
                }
            };
            let code = extent.start + (offset - extent.first_offset) as u64;
            self.span = code + 1;
            open = Some((extent, last));
            row(i, code);
        }
    }

    fn slot(&mut self, producer: Producer) -> u32 {
        *self.slots.entry(producer).or_insert_with(|| {
            self.producers.push(producer);
            self.producers.len() as u32 - 1
        })
    }

    pub fn seen(&self, code: u64, checksum: u64) -> Option<Seen> {
        let at = self.list.partition_point(|extent| extent.start <= code).checked_sub(1)?;
        let extent = &self.list[at];
        Some(Seen {
            partition: extent.partition,
            offset: extent.first_offset + (code - extent.start) as i64,
            second: extent.second,
            checksum,
            producer: *self.producers.get(extent.producer as usize)?,
        })
    }

    /// Appends another list; returns what is to be added to its codes.
    pub fn append(&mut self, other: &Extents) -> u64 {
        let shift = self.span;
        let slots: Vec<u32> = other.producers.iter().map(|&producer| self.slot(producer)).collect();
        self.list.extend(other.list.iter().map(|extent| Extent {
            start: extent.start + shift,
            producer: slots.get(extent.producer as usize).copied().unwrap_or_default(),
            ..*extent
        }));
        self.span += other.span;
        shift
    }

    pub fn seconds(&self) -> (u32, u32) {
        let seconds = || self.list.iter().map(|extent| extent.second);
        (seconds().min().unwrap_or(0), seconds().max().unwrap_or(0))
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.list.len() * EXTENT_LEN + self.producers.len() * PRODUCER_LEN);
        for extent in &self.list {
            out.extend_from_slice(&extent.start.to_le_bytes());
            out.extend_from_slice(&extent.partition.to_le_bytes());
            out.extend_from_slice(&extent.first_offset.to_le_bytes());
            out.extend_from_slice(&extent.second.to_le_bytes());
            out.extend_from_slice(&extent.producer.to_le_bytes());
        }
        for producer in &self.producers {
            out.extend_from_slice(&producer.id.to_le_bytes());
            out.extend_from_slice(&producer.epoch.to_le_bytes());
        }
        out
    }

    pub fn decode(bytes: &[u8], extents: usize, producers: usize, span: u64) -> Option<Self> {
        let mut fields = Fields(bytes);
        let mut decoded = Self { span, ..Self::default() };
        for _ in 0..extents {
            decoded.list.push(Extent {
                start: fields.u64()?,
                partition: fields.u32()?,
                first_offset: fields.u64()? as i64,
                second: fields.u32()?,
                producer: fields.u32()?,
            });
        }
        for _ in 0..producers {
            decoded.producers.push(Producer { id: fields.u64()? as i64, epoch: fields.u16()? as i16 });
        }
        Some(decoded)
    }
}

/// Whole seconds, what lies outside of 1970 to 2106 clamped.
pub(super) fn second_of(timestamp_ms: i64) -> u32 {
    timestamp_ms.div_euclid(1000).clamp(0, i64::from(u32::MAX)) as u32
}
