//! Cutting a buffer into record batches: <https://kafka.apache.org/documentation/#recordbatch>.

use super::compress::Scratch;
use super::record::Records;

/// Bytes before the first record.
pub const HEADER_LEN: usize = 61;
/// Bytes before the part that `batchLength` counts: base offset and length.
pub const LOG_OVERHEAD: usize = 12;
/// The CRC covers everything from here (attributes) to the end: not the base offset, the length or the leader epoch.
const CRC_FROM: usize = 21;
const MAGIC_AT: usize = 16;
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
    /// Offset after the last one the batch stands for. As good as the CRC: in a batch whose CRC fails, the base offset
    /// of the batch behind it is the better end.
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

    /// Sequence of the record at `offset_delta`: after 2147483647 comes 0. Means nothing when there is no base sequence.
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
            // A batch the cleaner emptied holds no bytes at all, whatever its codec bits still say.
            _ if body.is_empty() => body,
            codec => scratch.inflate(codec, body).map_err(|why| BatchError::Malformed { at, why })?,
        };
        Ok(Records::of_batch(&self.header, body))
    }
}

/// Why bytes are not a batch. Offsets are those the damaged header claims.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// A compressed message set carries the offset of its last inner message, so the set begins behind whatever stands
    /// before it, and `at` equals `last`.
    #[error("message format {magic} at offset {at} is older than record batches; sordini reads format 2 only")]
    Legacy { at: i64, last: i64, magic: i8 },
    #[error("batch at offset {at}: {why}")]
    Malformed { at: i64, why: String },
}

/// Iterates over the batches of a buffer. A truncated last batch is normal in every answer of a broker: iteration ends
/// before it, and [`Batches::rest`] says how many bytes remain.
///
/// After an error iteration goes on with the next batch. Where the damaged header's length cannot be trusted, that is
/// the next place where a whole batch with a matching CRC stands ([`Batches::resync`]), so what was damaged ends at that
/// batch's base offset; without such a place iteration ends and nothing rests.
pub struct Batches<'a> {
    buf: &'a [u8],
    at: usize,
    /// Offset after the last good batch: the log only rises, which a search for the next batch relies on.
    next_offset: i64,
    /// Bytes whose CRC a search may still compute. Hostile bytes can look like a batch at every position; the cost must
    /// stay linear in the buffer.
    search_budget: usize,
}

impl<'a> Batches<'a> {
    pub fn new(buf: &'a [u8]) -> Self {
        Self { buf, at: 0, next_offset: 0, search_budget: buf.len().saturating_mul(4) }
    }

    /// Bytes not handed out: the truncated tail.
    pub fn rest(&self) -> usize {
        self.buf.len() - self.at
    }

    /// Leaves the batch at the current position and moves to the next whole one whose CRC matches; `false` when there
    /// is none, and then nothing rests. For a caller who knows that what rests is no truncated tail: a broker always
    /// sends the first batch of an answer whole, so a first batch longer than the answer has a damaged length.
    pub fn resync(&mut self) -> bool {
        let found = self.find_batch(self.at + 1);
        self.at = found.unwrap_or(self.buf.len());
        found.is_some()
    }

    fn find_batch(&mut self, from: usize) -> Option<usize> {
        for at in from..self.buf.len().saturating_sub(HEADER_LEN - 1) {
            let left = &self.buf[at..];
            if left[MAGIC_AT] != 2 {
                continue;
            }
            let Ok(Some(length)) = framed_length(left) else { continue };
            let bytes = &left[..length];
            let header = parse_header(bytes);
            if header.base_offset < self.next_offset || !has_possible_counts(&header) {
                continue;
            }
            self.search_budget = self.search_budget.checked_sub(length)?;
            if (RawBatch { header, bytes }).is_crc_valid() {
                return Some(at);
            }
        }
        None
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<RawBatch<'a>, BatchError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let left = &self.buf[self.at..];
        let length = match framed_length(left) {
            Ok(length) => length?,
            Err(why) => {
                self.resync();
                return Some(Err(BatchError::Malformed { at: i64_at(left, 0), why }));
            }
        };
        self.at += length;
        let bytes = &left[..length];
        let (base_offset, magic) = (i64_at(bytes, 0), bytes[MAGIC_AT] as i8);
        if magic < 2 {
            self.next_offset = base_offset + 1;
            return Some(Err(BatchError::Legacy { at: base_offset, last: base_offset, magic }));
        }
        let header = parse_header(bytes);
        if !has_possible_counts(&header) {
            let (records, delta) = (header.records_count, header.last_offset_delta);
            let why = format!("impossible counts ({records} records, last offset delta {delta})");
            return Some(Err(BatchError::Malformed { at: base_offset, why }));
        }
        let batch = RawBatch { header, bytes };
        self.next_offset = header.until();
        Some(Ok(batch))
    }
}

/// Length of the batch at the start of `left` as its header claims it: `None` when it is cut off, an error when no
/// batch can begin like this.
#[inline]
fn framed_length(left: &[u8]) -> Result<Option<usize>, String> {
    if left.len() <= MAGIC_AT {
        return Ok(None);
    }
    let (base_offset, length, magic) = (i64_at(left, 0), i32_at(left, 8), left[MAGIC_AT] as i8);
    let smallest = if magic < 2 { LEGACY_MIN } else { HEADER_LEN };
    let total = i64::from(length) + LOG_OVERHEAD as i64;
    if !(0..i64::MAX).contains(&base_offset) || !(0..=2).contains(&magic) || total < smallest as i64 {
        return Err(format!("impossible header (base offset {base_offset}, length {length}, magic {magic})"));
    }
    Ok(usize::try_from(total).ok().filter(|&total| total <= left.len()))
}

/// Reads the fixed fields of a batch at least [`HEADER_LEN`] long.
#[inline]
fn parse_header(bytes: &[u8]) -> BatchHeader {
    BatchHeader {
        base_offset: i64_at(bytes, 0),
        leader_epoch: i32_at(bytes, 12),
        crc: i32_at(bytes, 17) as u32,
        attributes: i16_at(bytes, CRC_FROM),
        last_offset_delta: i32_at(bytes, 23),
        base_timestamp: i64_at(bytes, 27),
        max_timestamp: i64_at(bytes, 35),
        producer_id: i64_at(bytes, 43),
        producer_epoch: i16_at(bytes, 51),
        base_sequence: i32_at(bytes, 53),
        records_count: i32_at(bytes, 57),
    }
}

/// Compaction leaves fewer records than offsets; no broker writes more, and no log ends past the largest offset.
#[inline]
fn has_possible_counts(header: &BatchHeader) -> bool {
    let offsets = i64::from(header.last_offset_delta) + 1;
    header.last_offset_delta >= 0
        && (0..=offsets).contains(&i64::from(header.records_count))
        && header.base_offset.checked_add(offsets).is_some()
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
