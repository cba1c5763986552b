//! DescribeShareGroupOffsets with the lag that only its coordinator can tell (KIP-1226, version 1): the protocol crate
//! knows version 0.

use kafka_protocol::messages::{ApiKey, DescribeShareGroupOffsetsRequest};
use kafka_protocol::protocol::buf::{ByteBuf, ByteBufMut};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Message, StrBytes, VersionRange};

use crate::source::kafka::Request;

type Result<T> = anyhow::Result<T>;

/// Its fields did not change with version 1.
pub struct ShareOffsetsRequest(pub DescribeShareGroupOffsetsRequest);

impl Message for ShareOffsetsRequest {
    const VERSIONS: VersionRange = VersionRange { min: 0, max: 1 };
    const DEPRECATED_VERSIONS: Option<VersionRange> = None;
}

impl HeaderVersion for ShareOffsetsRequest {
    fn header_version(version: i16) -> i16 {
        DescribeShareGroupOffsetsRequest::header_version(version)
    }
}

impl Encodable for ShareOffsetsRequest {
    fn encode<B: ByteBufMut>(&self, buf: &mut B, _: i16) -> Result<()> {
        self.0.encode(buf, 0)
    }

    fn compute_size(&self, _: i16) -> Result<usize> {
        self.0.compute_size(0)
    }
}

impl Request for ShareOffsetsRequest {
    const KEY: ApiKey = ApiKey::DescribeShareGroupOffsets;
    type Response = ShareOffsets;
}

pub struct ShareOffsets {
    pub groups: Vec<Group>,
}

pub struct Group {
    pub group_id: StrBytes,
    pub topics: Vec<Topic>,
    pub error_code: i16,
}

pub struct Topic {
    pub name: StrBytes,
    pub partitions: Vec<Partition>,
}

pub struct Partition {
    pub partition: i32,
    pub start_offset: i64,
    /// −1 when the coordinator does not know, or is too old to say.
    pub lag: i64,
    pub error_code: i16,
}

impl HeaderVersion for ShareOffsets {
    fn header_version(_: i16) -> i16 {
        1
    }
}

impl Decodable for ShareOffsets {
    fn decode<B: ByteBuf>(buf: &mut B, version: i16) -> Result<Self> {
        buf.try_get_i32()?; // throttle time
        let groups = array(buf, version)?;
        skip_tagged(buf)?;
        Ok(Self { groups })
    }
}

impl Decodable for Group {
    fn decode<B: ByteBuf>(buf: &mut B, version: i16) -> Result<Self> {
        let group_id = text(buf)?;
        let topics = array(buf, version)?;
        let error_code = buf.try_get_i16()?;
        skip_text(buf)?;
        skip_tagged(buf)?;
        Ok(Self { group_id, topics, error_code })
    }
}

impl Decodable for Topic {
    fn decode<B: ByteBuf>(buf: &mut B, version: i16) -> Result<Self> {
        let name = text(buf)?;
        buf.try_get_u128()?; // its id
        let partitions = array(buf, version)?;
        skip_tagged(buf)?;
        Ok(Self { name, partitions })
    }
}

impl Decodable for Partition {
    fn decode<B: ByteBuf>(buf: &mut B, version: i16) -> Result<Self> {
        let (partition, start_offset) = (buf.try_get_i32()?, buf.try_get_i64()?);
        buf.try_get_i32()?; // leader epoch
        let lag = if version >= 1 { buf.try_get_i64()? } else { -1 };
        let error_code = buf.try_get_i16()?;
        skip_text(buf)?;
        skip_tagged(buf)?;
        Ok(Self { partition, start_offset, lag, error_code })
    }
}

fn array<T: Decodable, B: ByteBuf>(buf: &mut B, version: i16) -> Result<Vec<T>> {
    let count = varint(buf)?.saturating_sub(1);
    // An item takes a byte at least, so a wrong count ends soon.
    (0..count).map(|_| T::decode(buf, version)).collect()
}

fn text<B: ByteBuf>(buf: &mut B) -> Result<StrBytes> {
    let length = varint(buf)?.saturating_sub(1);
    Ok(StrBytes::try_from(buf.try_get_bytes(length as usize)?)?)
}

/// A message that may be absent.
fn skip_text<B: ByteBuf>(buf: &mut B) -> Result<()> {
    let length = varint(buf)?.saturating_sub(1);
    buf.try_get_bytes(length as usize)?;
    Ok(())
}

fn skip_tagged<B: ByteBuf>(buf: &mut B) -> Result<()> {
    for _ in 0..varint(buf)? {
        varint(buf)?;
        let size = varint(buf)?;
        buf.try_get_bytes(size as usize)?;
    }
    Ok(())
}

/// Seven bits a byte, lowest first.
fn varint<B: ByteBuf>(buf: &mut B) -> Result<u32> {
    let mut value = 0;
    for shift in (0..35).step_by(7) {
        let byte = buf.try_get_u8()?;
        value |= u32::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte < 0x80 {
            return Ok(value);
        }
    }
    anyhow::bail!("a length of more than five bytes")
}
