//! Writing records and batches: for sources that have no batches, for tests, benches and fuzzing.

use std::io::Write;

use super::batch::{BatchHeader, Codec};
use super::record::Records;
use super::varint;

pub type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// Appends one record in the batch's encoding.
pub fn write_record(
    out: &mut Vec<u8>,
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[Header<'_>],
) {
    // The length stands before the body: write the body first, then rotate the prefix in front of it.
    let start = out.len();
    out.push(0);
    varint::write_i64(out, timestamp_delta);
    varint::write_i32(out, offset_delta);
    write_bytes(out, key);
    write_bytes(out, value);
    varint::write_i32(out, headers.len() as i32);
    for (name, value) in headers {
        write_bytes(out, Some(name));
        write_bytes(out, *value);
    }
    let body = out.len() - start;
    varint::write_i32(out, body as i32);
    let prefix = out.len() - start - body;
    out[start..].rotate_right(prefix);
}

fn write_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => varint::write_i32(out, -1),
        Some(bytes) => {
            varint::write_i32(out, bytes.len() as i32);
            out.extend_from_slice(bytes);
        }
    }
}

/// Records gathered from a source without batches, in the batch's encoding, so that one walker serves all sources.
#[derive(Default)]
pub struct RecordBuffer {
    body: Vec<u8>,
    count: i32,
    base_offset: i64,
    last_offset: i64,
    base_timestamp: i64,
}

impl RecordBuffer {
    pub fn clear(&mut self) {
        self.body.clear();
        self.count = 0;
    }

    pub fn len(&self) -> usize {
        self.count as usize
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether a record at `offset` may follow: offsets rise and the delta fits.
    pub fn accepts(&self, offset: i64) -> bool {
        self.count == 0 || (offset > self.last_offset && offset - self.base_offset < i64::from(i32::MAX))
    }

    pub fn base_offset(&self) -> i64 {
        self.base_offset
    }

    /// Offset after the last record.
    pub fn until(&self) -> i64 {
        self.last_offset + 1
    }

    pub fn bytes(&self) -> usize {
        self.body.len()
    }

    /// Appends a record; the caller has asked [`RecordBuffer::accepts`].
    pub fn push(
        &mut self,
        offset: i64,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
    ) {
        if self.count == 0 {
            self.base_offset = offset;
            self.base_timestamp = timestamp;
        }
        let delta = (offset - self.base_offset) as i32;
        write_record(&mut self.body, timestamp.wrapping_sub(self.base_timestamp), delta, key, value, headers);
        self.last_offset = offset;
        self.count += 1;
    }

    pub fn records(&self) -> Records<'_> {
        let last_delta = (self.last_offset - self.base_offset) as i32;
        Records::of_buffer(&self.body, self.count, self.base_offset, last_delta, self.base_timestamp)
    }
}

/// Builds a whole batch. `header.crc` is computed; everything else is written as given, so a test can build wrong ones.
/// `body` holds records as [`write_record`] wrote them, already compressed when the attributes say so.
pub fn write_batch(out: &mut Vec<u8>, header: &BatchHeader, body: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&header.base_offset.to_be_bytes());
    out.extend_from_slice(&((super::batch::HEADER_LEN - super::batch::LOG_OVERHEAD + body.len()) as i32).to_be_bytes());
    out.extend_from_slice(&header.leader_epoch.to_be_bytes());
    out.push(2);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&header.attributes.to_be_bytes());
    out.extend_from_slice(&header.last_offset_delta.to_be_bytes());
    out.extend_from_slice(&header.base_timestamp.to_be_bytes());
    out.extend_from_slice(&header.max_timestamp.to_be_bytes());
    out.extend_from_slice(&header.producer_id.to_be_bytes());
    out.extend_from_slice(&header.producer_epoch.to_be_bytes());
    out.extend_from_slice(&header.base_sequence.to_be_bytes());
    out.extend_from_slice(&header.records_count.to_be_bytes());
    out.extend_from_slice(body);
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &out[start + 21..]) as u32;
    out[start + 17..start + 21].copy_from_slice(&crc.to_be_bytes());
}

/// Compresses the records of a batch the way Kafka clients do; snappy unframed, as librdkafka writes it.
pub fn compress(codec: Codec, body: &[u8]) -> std::io::Result<Vec<u8>> {
    match codec {
        Codec::None => Ok(body.to_vec()),
        Codec::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(body)?;
            encoder.finish()
        }
        Codec::Snappy => Ok(snap::raw::Encoder::new().compress_vec(body)?),
        Codec::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(body)?;
            Ok(encoder.finish()?)
        }
        Codec::Zstd => zstd::stream::encode_all(body, 1),
    }
}

/// Bits of `attributes` for a codec.
pub fn codec_bits(codec: Codec) -> i16 {
    match codec {
        Codec::None => 0,
        Codec::Gzip => 1,
        Codec::Snappy => 2,
        Codec::Lz4 => 3,
        Codec::Zstd => 4,
    }
}
