//! Cutting a buffer into record batches: <https://kafka.apache.org/documentation/#recordbatch>.

use super::compress::Scratch;
use super::record::Records;

/// Bytes before the first record.
pub const HEADER_LEN: usize = 61;
/// Bytes before the part that `batchLength` counts: base offset and length.
pub const LOG_OVERHEAD: usize = 12;
/// The CRC covers everything from here (attributes) to the end: not the base offset, the length or the leader epoch.
const CRC_FROM: usize = 21;
/// Smallest message of format 0 or 1: offset, size, CRC, magic, attributes, key and value length.
const LEGACY_MIN: usize = 26;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// The fixed fields of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    pub base_offset: i64,
    pub leader_epoch: i32,
    pub crc: u32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    /// Holds the delete horizon instead when [`BatchHeader::has_delete_horizon`]; record times stay base + delta.
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    /// −1 when the producer is not idempotent.
    pub producer_id: i64,
    pub producer_epoch: i16,
    /// −1 when there is none.
    pub base_sequence: i32,
    /// May be smaller than `last_offset_delta + 1`, even zero, after compaction.
    pub records_count: i32,
}

impl BatchHeader {
    /// Offset after the last one the batch stands for.
    pub fn until(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta) + 1
    }

    /// `None` for a codec number no Kafka version has defined.
    pub fn codec(&self) -> Option<Codec> {
        match self.attributes & 0x07 {
            0 => Some(Codec::None),
            1 => Some(Codec::Gzip),
            2 => Some(Codec::Snappy),
            3 => Some(Codec::Lz4),
            4 => Some(Codec::Zstd),
            _ => None,
        }
    }

    /// Every record's time is then `max_timestamp`.
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & 0x08 != 0
    }

    pub fn is_transactional(&self) -> bool {
        self.attributes & 0x10 != 0
    }

    pub fn is_control(&self) -> bool {
        self.attributes & 0x20 != 0
    }

    pub fn has_delete_horizon(&self) -> bool {
        self.attributes & 0x40 != 0
    }

    /// Sequence of the record at `offset_delta`: after 2147483647 comes 0.
    pub fn sequence_at(&self, offset_delta: i32) -> i32 {
        wrap_sequence(i64::from(self.base_sequence) + i64::from(offset_delta))
    }
}

/// Sequences run 0..=2147483647 and wrap to 0.
pub fn wrap_sequence(sequence: i64) -> i32 {
    (sequence & i64::from(i32::MAX)) as i32
}

/// A batch as it lies in the buffer; nothing but its lengths has been checked.
#[derive(Clone, Copy, Debug)]
pub struct RawBatch<'a> {
    pub header: BatchHeader,
    bytes: &'a [u8],
}

impl<'a> RawBatch<'a> {
    /// The whole batch, header included.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub fn computed_crc(&self) -> u32 {
        crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &self.bytes[CRC_FROM..]) as u32
    }

    pub fn is_crc_valid(&self) -> bool {
        self.computed_crc() == self.header.crc
    }

    /// The batch's records, decompressed into `scratch` where they are compressed.
    pub fn records<'s>(&self, scratch: &'s mut Scratch) -> Result<Records<'s>, BatchError>
    where
        'a: 's,
    {
        let body = &self.bytes[HEADER_LEN..];
        let at = self.header.base_offset;
        let codec = self.header.codec().ok_or_else(|| BatchError::Malformed {
            at,
            why: format!("unknown compression codec {}", self.header.attributes & 7),
        })?;
        let body = match codec {
            Codec::None => body,
            codec => scratch.inflate(codec, body).map_err(|why| BatchError::Malformed { at, why })?,
        };
        Ok(Records::of_batch(&self.header, body))
    }
}

/// Why bytes are not a batch. Offsets are those the damaged header claims.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("message format {magic} at offset {at} is older than record batches; sordini reads format 2 only")]
    Legacy { at: i64, last: i64, magic: i8 },
    #[error("batch at offset {at}: {why}")]
    Malformed { at: i64, why: String },
}

/// Iterates over the batches of a buffer. A truncated last batch is normal in every answer of a broker: iteration ends
/// before it, and [`Batches::rest`] says how many bytes remain. After an error that leaves the next batch findable
/// iteration goes on behind it; otherwise it ends.
pub struct Batches<'a> {
    buf: &'a [u8],
    at: usize,
}

impl<'a> Batches<'a> {
    pub fn new(buf: &'a [u8]) -> Self {
        Self { buf, at: 0 }
    }

    /// Bytes not handed out: the truncated tail.
    pub fn rest(&self) -> usize {
        self.buf.len() - self.at
    }
}

fn i16_at(b: &[u8], at: usize) -> i16 {
    i16::from_be_bytes([b[at], b[at + 1]])
}

fn i32_at(b: &[u8], at: usize) -> i32 {
    i32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

fn i64_at(b: &[u8], at: usize) -> i64 {
    i64::from(i32_at(b, at)) << 32 | i64::from(i32_at(b, at + 4) as u32)
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<RawBatch<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let left = &self.buf[self.at..];
        if left.len() < LOG_OVERHEAD + 5 {
            return None;
        }
        let base_offset = i64_at(left, 0);
        let length = i32_at(left, 8);
        let magic = left[16] as i8;
        let smallest = if magic < 2 { LEGACY_MIN } else { HEADER_LEN };
        if length < (smallest - LOG_OVERHEAD) as i32 || base_offset < 0 || !(0..=2).contains(&magic) {
            self.at = self.buf.len();
            let why = format!("impossible header (length {length}, magic {magic})");
            return Some(Err(BatchError::Malformed { at: base_offset, why }));
        }
        let total = LOG_OVERHEAD + length as usize;
        if left.len() < total {
            return None;
        }
        self.at += total;
        if magic < 2 {
            // A compressed message set carries the offset of its last inner message.
            return Some(Err(BatchError::Legacy { at: base_offset, last: base_offset, magic }));
        }
        let bytes = &left[..total];
        let header = BatchHeader {
            base_offset,
            leader_epoch: i32_at(bytes, 12),
            crc: i32_at(bytes, 17) as u32,
            attributes: i16_at(bytes, 21),
            last_offset_delta: i32_at(bytes, 23),
            base_timestamp: i64_at(bytes, 27),
            max_timestamp: i64_at(bytes, 35),
            producer_id: i64_at(bytes, 43),
            producer_epoch: i16_at(bytes, 51),
            base_sequence: i32_at(bytes, 53),
            records_count: i32_at(bytes, 57),
        };
        if header.last_offset_delta < 0
            || header.records_count < 0
            || i64::from(header.records_count) > i64::from(header.last_offset_delta) + 1
            || base_offset.checked_add(i64::from(header.last_offset_delta) + 1).is_none()
        {
            let why = format!(
                "impossible counts ({} records, last offset delta {})",
                header.records_count, header.last_offset_delta
            );
            return Some(Err(BatchError::Malformed { at: base_offset, why }));
        }
        Some(Ok(RawBatch { header, bytes }))
    }
}
