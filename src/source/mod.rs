//! Where batches come from. A source hands over what it read, in order, one partition at a time; it judges nothing.
//!
//! A [`Source`] lists its partitions and splits itself into [`Reader`]s, each driven by a thread of its own. A reader
//! pushes [`Event`]s into a [`Sink`]; the sink keeps the position, so a source may hand over records twice (a fetch
//! that was retried, a file read again from its start) and never has to cut.

pub mod kafka;
pub mod librdkafka;
pub mod lines;
pub mod properties;
#[cfg(test)]
pub mod testing;

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use crate::audit::coverage::Isolation;
use crate::wire::{BatchHeader, Marker, Records};

/// Client settings under librdkafka's names: `bootstrap.servers`, `security.protocol`, `sasl.mechanism`,
/// `ssl.ca.location` … One map serves both Kafka clients.
pub type Properties = BTreeMap<String, String>;

/// What is to be read, as the user asked for it.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Names, or regular expressions when they start with `^`, as in librdkafka.
    pub topics: Vec<String>,
    /// Only these partitions; all when empty.
    pub partitions: Vec<i32>,
    pub start: Start,
    pub isolation: Isolation,
    /// Go on at the end instead of stopping there.
    pub follow: bool,
}

/// Where reading begins when the ledger knows no position; kcat's `-o`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The log start offset.
    Beginning,
    End,
    /// An absolute offset. Offsets below the log start count as expired.
    Offset(i64),
    /// So many offsets before the end.
    Tail(i64),
    /// First record at or after this time, milliseconds since 1970.
    Timestamp(i64),
}

/// What the topic's configuration says about records that go missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleanup {
    /// Records leave only from the front.
    Delete,
    /// The cleaner may remove any record that has a later one of the same key.
    Compact,
    /// Both: what has no later record may leave from the front, too.
    CompactDelete,
    /// The configuration could not be read.
    Unknown,
}

impl Cleanup {
    pub fn is_compacted(self) -> bool {
        matches!(self, Cleanup::Compact | Cleanup::CompactDelete)
    }
}

/// A partition as the source found it.
#[derive(Clone, Debug)]
pub struct PartitionInfo {
    pub topic: Arc<str>,
    pub topic_id: Option<Uuid>,
    pub partition: i32,
    pub cleanup: Cleanup,
    /// Whether batches carry their headers: producer, sequence, epoch, CRC. Without them holes are unknown.
    pub has_headers: bool,
    /// First offset to read when the ledger knows no position.
    pub from: i64,
    /// Read up to this offset, then stop; absent: no end (follow) or not known (lines).
    pub until: Option<i64>,
    pub log_start: i64,
}

/// What a reader is to read of one partition.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// Names the partition in every later call.
    pub index: u32,
    pub info: PartitionInfo,
    /// Next offset to read: the ledger's position, or `info.from`.
    pub position: i64,
    /// Leader epoch of the last batch read, −1 when unknown: what a fetch sends so that the broker can report truncation.
    pub last_epoch: i32,
}

/// One contiguous stretch of one partition.
pub struct Batch<'a> {
    pub base_offset: i64,
    /// Offset after the last one the batch stands for, records removed by compaction included.
    pub until: i64,
    /// Header facts, when the source has them. Its CRC has been verified.
    pub header: Option<&'a BatchHeader>,
    /// The broker listed the batch's transaction as aborted.
    pub aborted: bool,
    /// What a control batch says. `None` for batches of records, and for a control batch that the cleaner emptied.
    pub marker: Option<Marker>,
    /// Empty for control and aborted batches.
    pub records: Records<'a>,
    /// Size as it came from the source.
    pub bytes: usize,
}

/// Why a stretch of offsets was fetched and could still not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// CRC-32C of the batch does not match.
    Checksum { stored: u32, computed: u32 },
    /// The batch does not parse or does not decompress.
    Malformed(String),
    /// Message format 0 or 1.
    Legacy { magic: i8 },
}

pub enum Event<'a> {
    Batch(Batch<'a>),
    /// `[from, until)` was fetched and is damaged. Reading goes on at `until`.
    Damaged {
        from: i64,
        until: i64,
        damage: Damage,
    },
    /// The broker's marks; sent whenever they change.
    Watermarks {
        log_start: i64,
        high_watermark: i64,
        last_stable: i64,
    },
    /// The position fell below the log start; reading goes on at `log_start`.
    Expired {
        log_start: i64,
    },
    /// The broker's log of this topic id parts from what was read: epoch `epoch` ends at `end_offset`.
    Diverged {
        epoch: i32,
        end_offset: i64,
    },
    /// The name now stands for another topic id, or for none. Reading of this partition ends.
    TopicGone {
        now: Option<Uuid>,
    },
    /// Caught up: read to `until`, to the last stable offset, or to the end of the file.
    AtEnd,
    /// Gave up on this partition; `why` says what happened and what to do.
    Failed {
        why: String,
    },
}

/// Takes what readers hand over. Calls for one partition come from one thread, in the order of the log.
pub trait Sink: Send {
    /// Announces a partition met while reading (a file names them as it goes). Known ones keep their index.
    fn register(&mut self, info: PartitionInfo) -> Assignment;

    fn event(&mut self, index: u32, event: Event<'_>);

    /// Everything read so far of the partition may be passed on; called after each fetched answer.
    fn pass_on(&mut self, index: u32);

    /// Input that belongs to no partition could not be read: a line that is no JSON. Counted and reported.
    fn unreadable_input(&mut self, place: &str, why: &str);

    /// The run is over: return from [`Reader::run`] soon.
    fn stopped(&self) -> bool;
}

pub trait Reader: Send {
    /// Reads until everything is at its end (bounded), or until the sink says stop (follow).
    fn run(&mut self, sink: &mut dyn Sink) -> Result<(), SourceError>;
}

pub trait Source {
    /// The partitions asked for. Empty when they are only known while reading.
    fn partitions(&mut self) -> Result<Vec<PartitionInfo>, SourceError>;

    /// Parts that were asked for and cannot be read at all (no permission, no leader): topic, partition, what to do.
    fn refused(&self) -> Vec<(String, Option<i32>, String)> {
        Vec::new()
    }

    fn readers(self: Box<Self>, assignments: Vec<Assignment>) -> Result<Vec<Box<dyn Reader>>, SourceError>;
}

/// A source that cannot go on at all. What concerns one partition is an [`Event::Failed`] instead.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("{what}: {why}; {hint}")]
    Connect { what: String, why: String, hint: String },
    #[error("{what}: {why}; {hint}")]
    Authenticate { what: String, why: String, hint: String },
    #[error("invalid setting {name}: {why}")]
    Setting { name: String, why: String },
    #[error("{0}")]
    NotFound(String),
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
    #[error("{what}: {why}")]
    Protocol { what: String, why: String },
}
