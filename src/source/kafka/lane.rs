//! One partition on its way through a reader: its position, its troubles, and what the sink is told of it. It takes
//! parts of answers as they come and must not know connections.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::aborted::Aborted;
use super::cluster::Leader;
use super::fetch::{Part, Want, Watermarks};
use super::walk::{Step, Walk};
use crate::audit::coverage::Isolation;
use crate::source::{Assignment, Batch, Damage, Event, Sink};
use crate::wire::{Marker, RawBatch, Records, Scratch};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Answers in a row without a whole batch, each asked for with twice the bytes, before a partition counts as unreadable.
const MOST_BARREN: u32 = 8;

/// How a reader reads all its partitions.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    pub isolation: Isolation,
    pub follow: bool,
    /// How long a partition may stay unreadable.
    pub retry_for: Duration,
}

/// Something went wrong, and is tried again.
struct Trouble {
    since: Instant,
    tries: u32,
    again_at: Instant,
}

pub struct Lane {
    pub at: Assignment,
    /// `None`: ask the cluster anew.
    pub leader: Option<Leader>,
    pub is_done: bool,
    /// Where the request already on its way goes on, when that is ahead of the position.
    pub ahead: Option<(i64, i32)>,
    /// The last answer has to be looked through before the next request.
    pub is_held: bool,
    /// Number of the last answer that brought records: those served longest ago are asked for first.
    pub served: u64,
    marks: Option<Watermarks>,
    trouble: Option<Trouble>,
    barren: u32,
}

impl Lane {
    pub fn new(at: Assignment, leader: Option<Leader>) -> Self {
        Self {
            at,
            leader,
            is_done: false,
            ahead: None,
            is_held: false,
            served: 0,
            marks: None,
            trouble: None,
            barren: 0,
        }
    }

    pub fn want(&self, share: i32) -> Want<'_> {
        let (offset, last_epoch) = self.ahead.unwrap_or((self.at.position, self.at.last_epoch));
        let max_bytes = share.saturating_mul(1 << self.barren);
        Want { info: &self.at.info, offset, last_epoch, max_bytes }
    }

    /// Whether to ask for it now. A bounded partition is asked for at least once, even with nothing left to read: only
    /// the broker can tell that its log no longer holds what was read.
    pub fn is_ready(&self, now: Instant) -> bool {
        let reaches_end = |(offset, _): (i64, i32)| self.at.info.until.is_some_and(|until| offset >= until);
        !self.is_done
            && !self.is_held
            && !self.ahead.is_some_and(reaches_end)
            && self.trouble.as_ref().is_none_or(|trouble| now >= trouble.again_at)
    }

    /// When it wants to be tried again.
    pub fn again_at(&self) -> Option<Instant> {
        self.trouble.as_ref().map(|trouble| trouble.again_at)
    }

    /// Takes one part of an answer without an error.
    pub fn take(&mut self, part: &Part, is_alone: bool, manner: Manner, scratch: &mut Scratch, sink: &mut dyn Sink) {
        self.tell_marks(part.marks, sink);
        let before = self.at.position;
        let stuck = self.read(part, manner.isolation, scratch, sink);
        sink.pass_on(self.at.index);
        let has_advanced = self.at.position > before;
        if has_advanced {
            self.barren = 0;
        }
        self.look_for_end(part, has_advanced, manner, sink);
        let is_owed = self.at.position < limit(part.marks, manner.isolation);
        if !self.is_done && !has_advanced && is_owed && (is_alone || stuck.is_some()) {
            self.count_barren(part.marks, stuck, sink);
        }
    }

    fn tell_marks(&mut self, marks: Watermarks, sink: &mut dyn Sink) {
        if self.marks == Some(marks) {
            return;
        }
        self.marks = Some(marks);
        // Fetch before version 5 does not tell the log start.
        let log_start = if marks.log_start >= 0 { marks.log_start } else { self.at.info.log_start };
        let (high_watermark, last_stable) = (marks.high, marks.last_stable);
        sink.event(self.at.index, Event::Watermarks { log_start, high_watermark, last_stable });
    }

    /// Hands over the records; says what is in the way when nothing tells where the damage ends.
    fn read(
        &mut self,
        part: &Part,
        isolation: Isolation,
        scratch: &mut Scratch,
        sink: &mut dyn Sink,
    ) -> Option<String> {
        let mut aborted = match isolation {
            Isolation::ReadCommitted => Aborted::new(part.aborted.clone()),
            Isolation::ReadUncommitted => Aborted::new(Vec::new()),
        };
        let mut walk = Walk::new(&part.records, self.at.position, part.marks.high);
        while self.at.info.until.is_none_or(|until| walk.position() < until) {
            let Some(step) = walk.next() else { break };
            let is_whole = match step {
                Step::Batch(batch) => self.hand_over(&batch, &mut aborted, scratch, sink),
                Step::Damaged { from, until, damage } => {
                    sink.event(self.at.index, Event::Damaged { from, until, damage });
                    false
                }
            };
            self.at.position = walk.position();
            if !is_whole && !part.aborted.is_empty() {
                // An abort marker may be among what is damaged: ask again what is aborted behind it.
                return None;
            }
        }
        walk.stuck()
    }

    /// Whether the batch could be read.
    fn hand_over(
        &mut self,
        batch: &RawBatch<'_>,
        aborted: &mut Aborted,
        scratch: &mut Scratch,
        sink: &mut dyn Sink,
    ) -> bool {
        let header = &batch.header;
        self.at.last_epoch = header.leader_epoch;
        let (is_aborted, marker, records) = match header.is_control() {
            true => match marker_of(batch, scratch) {
                Ok(marker) => (aborted.is_aborted(header, marker), marker, Ok(Records::empty())),
                Err(why) => (false, None, Err(why)),
            },
            false => match aborted.is_aborted(header, None) {
                true => (true, None, Ok(Records::empty())),
                false => (false, None, batch.records(scratch).map_err(|error| error.to_string())),
            },
        };
        let (from, until) = (header.base_offset, header.until());
        let event = match records {
            Ok(records) => Event::Batch(Batch {
                base_offset: from,
                until,
                header: Some(header),
                aborted: is_aborted,
                marker,
                records,
                bytes: batch.bytes().len(),
            }),
            Err(why) => {
                let damage = Damage::Malformed(why);
                sink.event(self.at.index, Event::Damaged { from: from.max(self.at.position), until, damage });
                return false;
            }
        };
        sink.event(self.at.index, event);
        true
    }

    fn look_for_end(&mut self, part: &Part, has_advanced: bool, manner: Manner, sink: &mut dyn Sink) {
        let position = self.at.position;
        let Some(until) = self.at.info.until else {
            self.trouble = None;
            if position >= limit(part.marks, manner.isolation) {
                self.tell(Event::AtEnd, sink);
            }
            return;
        };
        let is_unstable = position >= limit(part.marks, manner.isolation) && part.marks.high >= until;
        if position >= until || (is_unstable && !has_advanced) {
            // What is left is an open transaction's: it must not hold up a run that is to end.
            self.end(Event::AtEnd, sink);
        } else if position >= part.marks.high {
            // A new leader may not know yet how far its log is replicated; nothing need be lost.
            let high = part.marks.high;
            let why = format!("the high watermark fell to {high}, below {until} where the partition ended at first");
            self.stumble(&why, manner, sink);
        } else {
            self.trouble = None;
        }
    }

    /// There is something to read, and the answer held no whole batch of it.
    fn count_barren(&mut self, marks: Watermarks, stuck: Option<String>, sink: &mut dyn Sink) {
        self.barren += 1;
        if self.barren < MOST_BARREN {
            return;
        }
        self.barren = 0;
        let (from, until) = (self.at.position, marks.high);
        match stuck {
            Some(why) => {
                sink.event(self.at.index, Event::Damaged { from, until, damage: Damage::Malformed(why) });
                sink.pass_on(self.at.index);
                self.at.position = until;
                if self.at.info.until.is_some() {
                    self.end(Event::AtEnd, sink);
                }
            }
            None => {
                let why = format!(
                    "the broker says that there are records from offset {from} to {until} but sends none; look at its log"
                );
                self.end(Event::Failed { why }, sink);
            }
        }
    }

    /// The leader's log parts from what was read.
    pub fn diverge(&mut self, epoch: i32, end_offset: i64, manner: Manner, sink: &mut dyn Sink) {
        self.tell(Event::Diverged { epoch, end_offset }, sink);
        self.at.position = self.at.position.min(end_offset);
        self.at.last_epoch = epoch;
        self.is_done |= !manner.follow;
    }

    /// The broker does not have the position in its log, which runs over `range`.
    pub fn out_of_range(&mut self, range: (i64, i64), manner: Manner, sink: &mut dyn Sink) {
        let (log_start, end) = range;
        let position = self.at.position;
        if position < log_start {
            self.tell(Event::Expired { log_start }, sink);
            self.at.position = log_start;
            self.at.last_epoch = -1;
            if self.at.info.until.is_some_and(|until| log_start >= until) {
                self.end(Event::AtEnd, sink);
            }
        } else if position > end {
            self.end(Event::Diverged { epoch: -1, end_offset: end }, sink);
        } else {
            // The epoch, which no CRC covers, may be one that the leader never had.
            self.at.last_epoch = -1;
            self.stumble("the broker calls the position out of range although it is not", manner, sink);
        }
    }

    /// Something that may pass: tried again after a pause, given up after `retry_for` when the run is bounded.
    pub fn stumble(&mut self, why: &str, manner: Manner, sink: &mut dyn Sink) {
        let now = Instant::now();
        let trouble = self.trouble.get_or_insert(Trouble { since: now, tries: 0, again_at: now });
        trouble.tries += 1;
        let pause = FIRST_PAUSE.saturating_mul(1 << trouble.tries.min(10)).min(LONGEST_PAUSE);
        trouble.again_at = now + pause.mul_f64(StdRng::from_os_rng().random_range(0.5..1.0));
        self.leader = None;
        let (topic, partition, tries) = (&*self.at.info.topic, self.at.info.partition, trouble.tries);
        let lasting = now - trouble.since;
        if !manner.follow && lasting >= manner.retry_for {
            let seconds = lasting.as_secs();
            let why = format!("{why}; tried {tries} times in {seconds} s (sordini.retry.ms allows for more)");
            self.end(Event::Failed { why }, sink);
        } else if manner.follow && lasting >= manner.retry_for && tries.is_power_of_two() {
            tracing::warn!(topic, partition, tries, "still not readable: {why}");
        } else {
            tracing::debug!(topic, partition, tries, "not readable now: {why}");
        }
    }

    fn tell(&self, event: Event<'_>, sink: &mut dyn Sink) {
        sink.event(self.at.index, event);
        sink.pass_on(self.at.index);
    }

    /// The last thing to be said of the partition.
    pub fn end(&mut self, event: Event<'_>, sink: &mut dyn Sink) {
        self.tell(event, sink);
        self.is_done = true;
    }
}

/// Where this view of the log ends.
fn limit(marks: Watermarks, isolation: Isolation) -> i64 {
    match isolation {
        Isolation::ReadUncommitted => marks.high,
        Isolation::ReadCommitted if marks.last_stable >= 0 => marks.last_stable,
        Isolation::ReadCommitted => marks.high,
    }
}

/// What a control batch says; one emptied by the cleaner says nothing.
fn marker_of(batch: &RawBatch<'_>, scratch: &mut Scratch) -> Result<Option<Marker>, String> {
    let mut records = batch.records(scratch).map_err(|error| error.to_string())?;
    let record = records.next().transpose().map_err(|error| error.to_string())?;
    Ok(record.as_ref().and_then(Marker::of))
}
