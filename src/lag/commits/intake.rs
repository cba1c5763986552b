//! What the readers of `__consumer_offsets` hand over: where each partition stands, what was decoded into the book, and
//! what is to be said about it. No thread, no socket; the time is told.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::book::{Book, Counts, Place};
use super::decode::{DecodeError, Entry, decode};
use crate::source::{Assignment, Batch, Event, PartitionInfo};
use crate::wire::Marker;

/// A reader hears of every partition twice a second while all is well.
const SILENCE: Duration = Duration::from_secs(15);

/// How the reading of the topic stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Following {
    /// What was there at first has been read, and the brokers of all partitions answer. Otherwise poll.
    pub caught_up: bool,
    /// The user may not read the topic. It is tried again now and then.
    pub denied: bool,
    /// There is no such topic: it comes with the first group.
    pub absent: bool,
    /// What is in the way, those two included.
    pub failed: Option<String>,
    pub partitions: usize,
    /// Offsets between what was read and the end, all partitions together.
    pub behind: u64,
    /// Records that could not be decoded: in all, by kind, and what was wrong with the last one.
    pub undecodable: u64,
    pub undecodable_by_kind: BTreeMap<&'static str, u64>,
    pub last_undecodable: Option<String>,
    /// Records of types that are of no concern here.
    pub skipped: u64,
    /// Offsets that could not be read: damaged, or gone before they were read.
    pub unread: u64,
    /// Commits that wait for the end of their transactions.
    pub held_back: usize,
    /// What had no room.
    pub counts: Counts,
}

/// Why the topic, or a partition of it, is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    Denied(String),
    Absent(String),
    Other(String),
}

impl Trouble {
    fn why(&self) -> &str {
        match self {
            Self::Denied(why) | Self::Absent(why) | Self::Other(why) => why,
        }
    }
}

struct Lane {
    topic_id: Option<Uuid>,
    /// Next offset to read.
    position: i64,
    last_epoch: i32,
    high: i64,
    reached_end: bool,
    heard: Instant,
    /// Its reader has given it up; only a new one reads it on.
    is_given_up: bool,
    /// Until it is heard of again.
    trouble: Option<Trouble>,
}

#[derive(Default)]
pub struct Intake {
    pub book: Book,
    /// Why the topic could not be opened, or not all of it.
    pub trouble: Option<Trouble>,
    lanes: BTreeMap<i32, Lane>,
    said: Following,
}

impl Intake {
    /// A partition to read, from where it was left. Its number is its index.
    pub fn assign(&mut self, info: PartitionInfo, now: Instant) -> Assignment {
        let partition = info.partition;
        if self.lanes.get(&partition).is_none_or(|lane| lane.topic_id != info.topic_id) {
            self.book.begin(partition, info.from <= info.log_start);
            let lane = Lane {
                topic_id: info.topic_id,
                position: info.from,
                last_epoch: -1,
                high: info.from,
                reached_end: false,
                heard: now,
                is_given_up: false,
                trouble: None,
            };
            self.lanes.insert(partition, lane);
        }
        let (mut position, mut last_epoch) = (info.from, -1);
        if let Some(lane) = self.lanes.get_mut(&partition) {
            (position, last_epoch) = (lane.position, lane.last_epoch);
            (lane.reached_end, lane.is_given_up, lane.heard) = (false, false, now);
        }
        Assignment { index: partition as u32, info, position, last_epoch }
    }

    /// Whether a reader gave a partition up, or the topic could not be opened whole.
    pub fn is_broken(&self) -> bool {
        self.trouble.is_some() || self.lanes.values().any(|lane| lane.is_given_up)
    }

    pub fn event(&mut self, partition: i32, event: Event<'_>, now: Instant) {
        let Some(lane) = self.lanes.get_mut(&partition) else { return };
        lane.heard = now;
        match event {
            Event::Batch(batch) => {
                lane.trouble = None;
                self.batch(partition, batch);
            }
            Event::AtEnd => {
                lane.reached_end = true;
                lane.trouble = None;
            }
            Event::Watermarks { high_watermark, .. } => {
                lane.high = high_watermark;
                lane.trouble = None;
            }
            Event::Damaged { until, damage, .. } => {
                tracing::warn!(partition, until, ?damage, "a part of the commits is damaged");
                self.leave_out(partition, until);
            }
            Event::Expired { log_start } => self.leave_out(partition, log_start),
            Event::Diverged { epoch, end_offset } => {
                lane.position = lane.position.min(end_offset);
                lane.last_epoch = epoch;
                if epoch < 0 {
                    lane.is_given_up = true;
                    lane.trouble = Some(Trouble::Other(format!("the log now ends at {end_offset}")));
                }
                self.book.truncate(partition, end_offset);
            }
            Event::TopicGone { .. } => {
                lane.is_given_up = true;
                lane.trouble = Some(Trouble::Other("the topic was deleted or made anew".to_owned()));
            }
            Event::Failed { why } => {
                lane.is_given_up = true;
                lane.trouble = Some(trouble(why));
            }
        }
    }

    /// The partition was answered for, whatever came.
    pub fn heard(&mut self, partition: i32, now: Instant) {
        if let Some(lane) = self.lanes.get_mut(&partition) {
            lane.heard = now;
        }
    }

    fn leave_out(&mut self, partition: i32, until: i64) {
        let Some(lane) = self.lanes.get_mut(&partition).filter(|lane| until > lane.position) else { return };
        self.said.unread += (until - lane.position) as u64;
        lane.position = until;
        self.book.interrupt(partition);
    }

    fn batch(&mut self, partition: i32, batch: Batch<'_>) {
        let Some(lane) = self.lanes.get_mut(&partition) else { return };
        let position = lane.position;
        if batch.until <= position {
            return;
        }
        lane.position = batch.until;
        let mut producer = None;
        if let Some(header) = batch.header {
            lane.last_epoch = header.leader_epoch;
            producer = header.is_transactional().then_some(header.producer_id);
            if let (Some(marker @ (Marker::Commit | Marker::Abort)), Some(producer)) = (batch.marker, producer) {
                self.book.end_transaction(partition, producer, marker == Marker::Commit);
            }
        }
        for record in batch.records {
            let record = match record {
                Ok(record) if record.offset < position => continue,
                Ok(record) => record,
                Err(error) => {
                    tracing::warn!(partition, %error, "a batch of commits does not parse");
                    self.said.unread += 1;
                    self.book.interrupt(partition);
                    return;
                }
            };
            let place = Place { partition, offset: record.offset, timestamp_ms: record.timestamp, producer };
            match decode(record.key, record.value) {
                Ok(Entry::Other { .. }) => self.said.skipped += 1,
                Ok(entry) => self.book.record(place, &entry),
                Err(error) => self.refuse(place, &error),
            }
        }
    }

    fn refuse(&mut self, place: Place, error: &DecodeError) {
        self.said.undecodable += 1;
        *self.said.undecodable_by_kind.entry(error.name()).or_default() += 1;
        let text = format!("{error} (offset {} of partition {})", place.offset, place.partition);
        tracing::debug!("{text}");
        self.said.last_undecodable = Some(text);
    }

    pub fn standing(&self, now: Instant) -> Following {
        let lanes = || self.lanes.values();
        let mut said = self.said.clone();
        let troubles = || self.trouble.iter().chain(lanes().filter_map(|lane| lane.trouble.as_ref()));
        said.denied = troubles().any(|trouble| matches!(trouble, Trouble::Denied(_)));
        said.absent = troubles().any(|trouble| matches!(trouble, Trouble::Absent(_)));
        let silent = lanes().filter(|lane| now.saturating_duration_since(lane.heard) > SILENCE).count();
        said.failed = troubles().next().map(|trouble| trouble.why().to_owned());
        if said.failed.is_none() && silent > 0 {
            let (all, seconds) = (self.lanes.len(), SILENCE.as_secs());
            said.failed = Some(format!("no broker has answered for {silent} of {all} partitions for {seconds} s"));
        }
        said.partitions = self.lanes.len();
        said.behind = lanes().map(|lane| lane.high.saturating_sub(lane.position).max(0) as u64).sum();
        said.caught_up = said.failed.is_none() && !self.lanes.is_empty() && lanes().all(|lane| lane.reached_end);
        said.held_back = self.book.held_back();
        said.counts = self.book.counts();
        said
    }
}

/// Of a text that came from the source.
pub fn trouble(why: String) -> Trouble {
    match crate::source::kafka::is_denial(&why) {
        true => Trouble::Denied(why),
        false => Trouble::Other(why),
    }
}
