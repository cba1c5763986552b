//! What one record of `__consumer_offsets` says. Bytes only: it knows neither offsets nor order. Strings are borrowed,
//! nothing is allocated, and no length is trusted before its bytes are there.
//!
//! Schemas: `OffsetCommitKey/Value`, `GroupMetadataKey/Value`, `ConsumerGroupMetadataKey/Value` and
//! `ConsumerGroupMemberMetadataKey` of Kafka's group coordinator. Key types that say nothing about commits or members
//! (share and streams groups, assignments, what later versions add) are [`Entry::Other`], not errors.

use uuid::Uuid;

use crate::wire::varint;

/// From this value version on, lengths are unsigned varints and tagged fields may follow.
const FLEXIBLE_COMMIT: i16 = 4;
const FLEXIBLE_METADATA: i16 = 4;
/// Tagged field of an `OffsetCommitValue`.
const TOPIC_ID: u64 = 0;

/// A record of the topic. `None` stands for a tombstone: what the key names is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// Keys 0 and 1.
    Commit { group: &'a str, topic: &'a str, partition: i32, value: Option<CommitValue<'a>> },
    /// Key 2: the members of a classic group, all in one record.
    Classic { group: &'a str, value: Option<ClassicValue> },
    /// Key 3: the epoch of a KIP-848 group.
    Epoch { group: &'a str, value: Option<i32> },
    /// Key 5: a member of a KIP-848 group. What its value says is not looked at.
    Member { group: &'a str, member: &'a str, is_there: bool },
    /// A key that is of no concern here.
    Other { key_version: i16 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitValue<'a> {
    pub offset: i64,
    /// Of the last record the consumer read; `None` when it did not say.
    pub leader_epoch: Option<i32>,
    /// Free text of whoever committed; it need not be UTF-8 for the rest to be true.
    pub metadata: &'a [u8],
    pub commit_ms: i64,
    pub expire_ms: Option<i64>,
    pub topic_id: Option<Uuid>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassicValue {
    pub generation: i32,
    pub members: u32,
}

/// Why a record says nothing. Each has a name under which it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the record has no key")]
    NoKey,
    #[error("{what} ends before {field} does")]
    CutOff { what: &'static str, field: &'static str },
    #[error("{what}: {field} has the length {length}")]
    Length { what: &'static str, field: &'static str, length: i64 },
    #[error("{what}: {field} is not UTF-8")]
    NotText { what: &'static str, field: &'static str },
    #[error("{what} has version {version}, which this version of sordini does not know")]
    UnknownVersion { what: &'static str, version: i16 },
}

impl DecodeError {
    pub fn name(&self) -> &'static str {
        match self {
            Self::NoKey => "no-key",
            Self::CutOff { .. } => "cut-off",
            Self::Length { .. } => "impossible-length",
            Self::NotText { .. } => "not-utf-8",
            Self::UnknownVersion { .. } => "unknown-version",
        }
    }
}

pub fn decode<'a>(key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> Result<Entry<'a>, DecodeError> {
    let mut key = Cursor::new("the key", key.ok_or(DecodeError::NoKey)?);
    Ok(match key.i16("its version")? {
        0 | 1 => {
            let (group, topic) = (key.text("the group")?, key.text("the topic")?);
            let partition = key.i32("the partition")?;
            Entry::Commit { group, topic, partition, value: value.map(commit).transpose()? }
        }
        2 => Entry::Classic { group: key.text("the group")?, value: value.map(classic).transpose()? },
        3 => Entry::Epoch { group: key.text("the group")?, value: value.map(epoch).transpose()? },
        5 => {
            Entry::Member { group: key.text("the group")?, member: key.text("the member")?, is_there: value.is_some() }
        }
        key_version => Entry::Other { key_version },
    })
}

fn commit(bytes: &[u8]) -> Result<CommitValue<'_>, DecodeError> {
    let mut value = Cursor::new("the commit", bytes);
    let version = value.version(4)?;
    let is_flexible = version >= FLEXIBLE_COMMIT;
    let offset = value.i64("the offset")?;
    let leader_epoch = if version >= 3 { value.i32("the leader epoch")? } else { -1 };
    let metadata = value.string("the metadata", is_flexible)?;
    let commit_ms = value.i64("the commit's time")?;
    let expire_ms = if version == 1 { value.i64("the expiry time")? } else { -1 };
    let mut topic_id = None;
    if is_flexible {
        value.tagged(|tag, bytes| {
            if tag == TOPIC_ID {
                let length = bytes.len() as i64;
                let wrong = DecodeError::Length { what: "the commit", field: "the topic id", length };
                topic_id = Some(Uuid::from_slice(bytes).map_err(|_| wrong)?);
            }
            Ok(())
        })?;
    }
    Ok(CommitValue {
        offset,
        leader_epoch: (leader_epoch >= 0).then_some(leader_epoch),
        metadata,
        commit_ms,
        expire_ms: (expire_ms >= 0).then_some(expire_ms),
        topic_id: topic_id.filter(|id| !id.is_nil()),
    })
}

fn classic(bytes: &[u8]) -> Result<ClassicValue, DecodeError> {
    let mut value = Cursor::new("the group's metadata", bytes);
    let version = value.version(4)?;
    let is_flexible = version >= FLEXIBLE_METADATA;
    value.string("the protocol type", is_flexible)?;
    let generation = value.i32("the generation")?;
    value.nullable("the protocol", is_flexible)?;
    value.nullable("the leader", is_flexible)?;
    if version >= 2 {
        value.i64("the state's time")?;
    }
    let members = value.count("the members", is_flexible)?;
    for _ in 0..members {
        value.string("a member's id", is_flexible)?;
        if version >= 3 {
            value.nullable("a member's instance id", is_flexible)?;
        }
        value.string("a member's client id", is_flexible)?;
        value.string("a member's host", is_flexible)?;
        if version >= 1 {
            value.i32("a member's rebalance timeout")?;
        }
        value.i32("a member's session timeout")?;
        value.bytes("a member's subscription", is_flexible)?;
        value.bytes("a member's assignment", is_flexible)?;
        if is_flexible {
            value.tagged(|_, _| Ok(()))?;
        }
    }
    Ok(ClassicValue { generation, members })
}

fn epoch(bytes: &[u8]) -> Result<i32, DecodeError> {
    let mut value = Cursor::new("the group's epoch", bytes);
    value.version(0)?;
    value.i32("the epoch")
}

/// Reads Kafka's primitive types. What stands behind the last field is left alone, as Kafka's own reader does.
struct Cursor<'a> {
    what: &'static str,
    left: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, left: bytes }
    }

    fn cut_off(&self, field: &'static str) -> DecodeError {
        DecodeError::CutOff { what: self.what, field }
    }

    fn impossible(&self, field: &'static str, length: i64) -> DecodeError {
        DecodeError::Length { what: self.what, field, length }
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.left.split_first_chunk::<N>().ok_or_else(|| self.cut_off(field))?;
        self.left = rest;
        Ok(*head)
    }

    fn i16(&mut self, field: &'static str) -> Result<i16, DecodeError> {
        self.array(field).map(i16::from_be_bytes)
    }

    fn i32(&mut self, field: &'static str) -> Result<i32, DecodeError> {
        self.array(field).map(i32::from_be_bytes)
    }

    fn i64(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        self.array(field).map(i64::from_be_bytes)
    }

    fn varint(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        let mut at = 0;
        let value = varint::read_unsigned(self.left, &mut at, 5).ok_or_else(|| self.cut_off(field))?;
        self.left = &self.left[at..];
        Ok(value)
    }

    /// The version a value begins with.
    fn version(&mut self, newest: i16) -> Result<i16, DecodeError> {
        let version = self.i16("its version")?;
        if (0..=newest).contains(&version) {
            Ok(version)
        } else {
            Err(DecodeError::UnknownVersion { what: self.what, version })
        }
    }

    fn take(&mut self, field: &'static str, length: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.left.split_at_checked(length).ok_or_else(|| self.cut_off(field))?;
        self.left = rest;
        Ok(head)
    }

    /// A length; `None` for null. A varint counts from one and has zero for null.
    fn length(
        &mut self,
        field: &'static str,
        is_flexible: bool,
        plain: impl FnOnce(&mut Self) -> Result<i64, DecodeError>,
    ) -> Result<Option<usize>, DecodeError> {
        let length = if is_flexible { self.varint(field)? as i64 - 1 } else { plain(self)? };
        match length {
            -1 => Ok(None),
            _ => usize::try_from(length).map(Some).map_err(|_| self.impossible(field, length)),
        }
    }

    fn nullable(&mut self, field: &'static str, is_flexible: bool) -> Result<Option<&'a [u8]>, DecodeError> {
        let length = self.length(field, is_flexible, |at| at.i16(field).map(i64::from))?;
        length.map(|length| self.take(field, length)).transpose()
    }

    fn string(&mut self, field: &'static str, is_flexible: bool) -> Result<&'a [u8], DecodeError> {
        self.nullable(field, is_flexible)?.ok_or_else(|| self.impossible(field, -1))
    }

    fn text(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        let what = self.what;
        std::str::from_utf8(self.string(field, false)?).map_err(|_| DecodeError::NotText { what, field })
    }

    fn bytes(&mut self, field: &'static str, is_flexible: bool) -> Result<&'a [u8], DecodeError> {
        let length = self.length(field, is_flexible, |at| at.i32(field).map(i64::from))?;
        let length = length.ok_or_else(|| self.impossible(field, -1))?;
        self.take(field, length)
    }

    /// The number of elements of an array, of which each takes a byte at least.
    fn count(&mut self, field: &'static str, is_flexible: bool) -> Result<u32, DecodeError> {
        let count = self.length(field, is_flexible, |at| at.i32(field).map(i64::from))?;
        let count = count.ok_or_else(|| self.impossible(field, -1))?;
        match u32::try_from(count) {
            Ok(small) if count <= self.left.len() => Ok(small),
            _ => Err(self.impossible(field, count as i64)),
        }
    }

    fn tagged(&mut self, mut take: impl FnMut(u64, &'a [u8]) -> Result<(), DecodeError>) -> Result<(), DecodeError> {
        for _ in 0..self.varint("the tagged fields")? {
            let (tag, length) = (self.varint("a tag")?, self.varint("a tagged field")?);
            // Five bytes of a varint hold at most 35 bits.
            take(tag, self.take("a tagged field", length as usize)?)?;
        }
        Ok(())
    }
}
