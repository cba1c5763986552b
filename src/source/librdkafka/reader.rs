//! Messages to batches, one thread for all partitions. Records are gathered by partition and handed over after each
//! take from the queue, so nothing is held back; what librdkafka reports about a partition becomes an event of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::batch_queue::{BatchQueue, Message};
use super::client::{Client, Context, PATIENCE};
use crate::audit::coverage::Isolation;
use crate::source::{Assignment, Batch, Damage, Event, Reader, Sink, SourceError};
use crate::wire::Records;
use crate::wire::encode::RecordBuffer;

/// Messages taken at once; also the longest batch.
const TAKE: usize = 8192;
const WAIT: Duration = Duration::from_millis(50);
/// A bounded run that hears nothing for so long gives up what it has not read: librdkafka itself never would.
const SILENCE: Duration = Duration::from_secs(60);
/// So often the same damaged batch may come again before reading past it counts as impossible.
const DAMAGE_REPEATS: u32 = 20;

/// A partition while it is read.
struct Lane {
    at: Assignment,
    buffer: RecordBuffer,
    /// Where a damaged batch begins: it ends at the next record, which is not known yet.
    damaged: Option<(i64, String)>,
    damage_repeats: u32,
    is_done: bool,
}

impl Lane {
    fn flush(&mut self, sink: &mut dyn Sink) {
        if !self.buffer.is_empty() {
            let records = self.buffer.records();
            self.stretch(self.buffer.base_offset(), self.buffer.until(), records, self.buffer.bytes(), sink);
            self.at.position = self.buffer.until();
            self.buffer.clear();
        }
    }

    fn stretch(&self, from: i64, until: i64, records: Records<'_>, bytes: usize, sink: &mut dyn Sink) {
        let batch = Batch { base_offset: from, until, header: None, aborted: false, marker: None, records, bytes };
        sink.event(self.at.index, Event::Batch(batch));
        sink.pass_on(self.at.index);
    }

    /// Next offset: behind what was handed over and what is gathered.
    fn next_offset(&self) -> i64 {
        if self.buffer.is_empty() { self.at.position } else { self.buffer.until() }
    }

    /// Reports the damage met before `until`.
    fn close_damage(&mut self, until: i64, sink: &mut dyn Sink) {
        if let Some((from, why)) = self.damaged.take() {
            self.flush(sink);
            let from = from.max(self.at.position);
            if from < until {
                sink.event(self.at.index, Event::Damaged { from, until, damage: Damage::Malformed(why) });
                sink.pass_on(self.at.index);
                self.at.position = until;
            }
        }
        self.damage_repeats = 0;
    }

    /// Everything below `offset` was fetched; what held no record was hidden by librdkafka: markers, aborted records.
    fn read_to(&mut self, offset: i64, sink: &mut dyn Sink) {
        self.flush(sink);
        if offset > self.at.position {
            self.stretch(self.at.position, offset, Records::empty(), 0, sink);
            self.at.position = offset;
        }
    }

    fn end(&mut self, event: Event<'_>, sink: &mut dyn Sink) {
        self.flush(sink);
        sink.event(self.at.index, event);
        sink.pass_on(self.at.index);
    }
}

/// What the client must be told after a message was looked at.
pub(super) enum Then {
    GoOn,
    /// The partition is not read any further.
    Leave,
    /// The client stands still there and must be sent to the lane's position.
    SendAgain,
}

pub struct LibrdkafkaReader {
    queue: BatchQueue<Context>,
    pub(super) lanes: Lanes,
}

/// The partitions, apart from the queue so that messages can be borrowed from it meanwhile.
pub(super) struct Lanes {
    all: Vec<Lane>,
    by_name: HashMap<Arc<str>, HashMap<i32, usize>>,
    observer: Client,
    isolation: Isolation,
    follow: bool,
}

impl LibrdkafkaReader {
    pub fn new(
        queue: BatchQueue<Context>,
        observer: Client,
        assignments: Vec<Assignment>,
        isolation: Isolation,
        follow: bool,
    ) -> Self {
        let mut by_name: HashMap<Arc<str>, HashMap<i32, usize>> = HashMap::new();
        for (number, at) in assignments.iter().enumerate() {
            by_name.entry(Arc::clone(&at.info.topic)).or_default().insert(at.info.partition, number);
        }
        let lane = |at| {
            let buffer = RecordBuffer::default();
            Lane { at, buffer, damaged: None, damage_repeats: 0, is_done: false }
        };
        let all = assignments.into_iter().map(lane).collect();
        Self { queue, lanes: Lanes { all, by_name, observer, isolation, follow } }
    }

    fn client(&self) -> &Client {
        self.queue.consumer()
    }

    /// Tells the sink the marks, and which partitions have nothing to read.
    pub(super) fn announce(&mut self, sink: &mut dyn Sink) {
        for number in 0..self.lanes.all.len() {
            let (topic, partition) = self.lanes.name(number);
            let marks = self.lanes.observer.fetch_watermarks(&topic, partition, PATIENCE);
            let stable = match self.lanes.isolation {
                Isolation::ReadCommitted => self.client().fetch_watermarks(&topic, partition, PATIENCE),
                Isolation::ReadUncommitted => marks.clone(),
            };
            let lane = &mut self.lanes.all[number];
            match marks.and_then(|marks| Ok((marks, stable?.1))) {
                Ok(((log_start, high_watermark), last_stable)) => {
                    sink.event(lane.at.index, Event::Watermarks { log_start, high_watermark, last_stable });
                    if lane.at.position < log_start {
                        sink.event(lane.at.index, Event::Expired { log_start });
                        lane.at.position = log_start;
                    }
                    sink.pass_on(lane.at.index);
                    let is_read = lane.at.info.until.is_some_and(|until| lane.at.position >= until);
                    lane.is_done = is_read || lane.at.position > high_watermark;
                    if lane.at.position > high_watermark {
                        let why = not_in_the_log(lane.at.position, log_start, high_watermark);
                        lane.end(Event::Failed { why }, sink);
                    } else if is_read {
                        lane.end(Event::AtEnd, sink);
                    }
                }
                Err(error) => {
                    let why = format!("its offsets could not be asked for: {error}; check that it has a leader");
                    lane.end(Event::Failed { why }, sink);
                    lane.is_done = true;
                }
            }
        }
    }

    /// Assigns every partition still read at its position. Messages on their way from before are dropped by librdkafka.
    fn assign(&self) -> Result<(), SourceError> {
        let mut list = TopicPartitionList::new();
        let assigned = self.lanes.all.iter().filter(|lane| !lane.is_done).try_for_each(|lane| {
            let (topic, partition) = (&lane.at.info.topic, lane.at.info.partition);
            list.add_partition_offset(topic, partition, Offset::Offset(lane.at.position))
        });
        assigned.and_then(|()| self.client().assign(&list)).map_err(protocol("cannot assign partitions"))
    }
}

/// A client that does not know topic ids cannot say more.
fn not_in_the_log(position: i64, log_start: i64, high_watermark: i64) -> String {
    format!(
        "offset {position} is not in the log, which runs from {log_start} to {high_watermark}: it was never written, the \
         log was truncated, or the topic was made anew; sordini's own client can tell: leave out --client"
    )
}

fn protocol(what: &str) -> impl Fn(KafkaError) -> SourceError {
    move |error| SourceError::Protocol { what: what.to_owned(), why: error.to_string() }
}

impl Reader for LibrdkafkaReader {
    fn run(&mut self, sink: &mut dyn Sink) -> Result<(), SourceError> {
        self.announce(sink);
        self.read(sink)
    }
}

impl LibrdkafkaReader {
    pub(super) fn read(&mut self, sink: &mut dyn Sink) -> Result<(), SourceError> {
        self.assign()?;
        let mut heard = Instant::now();
        while !self.lanes.all.iter().all(|lane| lane.is_done) && !sink.stopped() {
            let messages = self.queue.take(TAKE, WAIT);
            let (mut advanced, mut must_assign) = (false, false);
            let mut left = TopicPartitionList::new();
            // Messages come in runs of one partition; the handle of the topic tells runs apart without its name.
            let mut run = None;
            for message in messages.iter() {
                let key = (message.topic_handle(), message.partition());
                let number = match run {
                    Some((of, number)) if of == key => number,
                    _ => self.lanes.find(message.topic(), message.partition()),
                };
                run = Some((key, number));
                let Some(number) = number else {
                    self.lanes.elsewhere(message, sink)?;
                    continue;
                };
                advanced |= message.is_record();
                match self.lanes.take(number, message, sink) {
                    Then::GoOn => {}
                    Then::SendAgain => must_assign = true,
                    Then::Leave => {
                        left.add_partition(message.topic(), message.partition());
                    }
                }
            }
            drop(messages);
            self.lanes.all.iter_mut().for_each(|lane| lane.flush(sink));
            if advanced {
                heard = Instant::now();
            } else if !self.lanes.follow && heard.elapsed() >= SILENCE {
                self.lanes.give_up(sink);
            }
            if must_assign {
                self.assign()?;
            } else if left.count() > 0 {
                self.client().pause(&left).map_err(protocol("cannot leave partitions that are read"))?;
            }
        }
        Ok(())
    }
}

impl Lanes {
    fn name(&self, number: usize) -> (Arc<str>, i32) {
        let info = &self.all[number].at.info;
        (Arc::clone(&info.topic), info.partition)
    }

    fn find(&self, topic: &str, partition: i32) -> Option<usize> {
        self.by_name.get(topic)?.get(&partition).copied()
    }

    fn take(&mut self, number: usize, message: Message<'_>, sink: &mut dyn Sink) -> Then {
        if self.all[number].is_done {
            return Then::GoOn;
        }
        let then = match message.error() {
            None => self.record(number, message, sink),
            Some((code, text)) => self.trouble(number, message.offset(), code, text, sink),
        };
        self.all[number].is_done |= matches!(then, Then::Leave);
        then
    }

    fn record(&mut self, number: usize, message: Message<'_>, sink: &mut dyn Sink) -> Then {
        let lane = &mut self.all[number];
        let (offset, until) = (message.offset(), lane.at.info.until);
        if offset < lane.next_offset() {
            return Then::GoOn; // A fetch that was repeated.
        }
        if lane.damaged.is_some() {
            lane.close_damage(until.map_or(offset, |until| until.min(offset)), sink);
        }
        if until.is_none_or(|until| offset < until) {
            let mut headers = Vec::new();
            message.headers(&mut headers);
            if !lane.buffer.accepts(offset) {
                lane.flush(sink);
            }
            lane.buffer.push(offset, message.timestamp(), message.key(), message.value(), &headers);
        }
        match until {
            Some(until) if offset + 1 >= until => {
                lane.read_to(until, sink);
                lane.end(Event::AtEnd, sink);
                Then::Leave
            }
            _ => Then::GoOn,
        }
    }

    pub(super) fn trouble(
        &mut self,
        number: usize,
        offset: i64,
        code: RDKafkaErrorCode,
        text: String,
        sink: &mut dyn Sink,
    ) -> Then {
        use RDKafkaErrorCode as Code;
        let lane = &mut self.all[number];
        match code {
            Code::PartitionEOF => self.end_of_partition(number, offset, sink),
            // Truncation is reported under this code as well when auto.offset.reset is error.
            Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation => {
                self.out_of_range(number, text, sink)
            }
            Code::BadMessage | Code::BadCompression | Code::NotImplemented => {
                let is_same = lane.damaged.as_ref().is_some_and(|(from, _)| *from == offset);
                if !is_same {
                    lane.close_damage(offset, sink);
                    lane.damaged = Some((offset, text.clone()));
                }
                lane.damage_repeats += 1;
                if lane.damage_repeats < DAMAGE_REPEATS {
                    return Then::GoOn;
                }
                lane.close_damage(offset + 1, sink);
                let why =
                    format!("{text}; librdkafka cannot read past it, sordini's own client can: leave out --client");
                lane.end(Event::Failed { why }, sink);
                Then::Leave
            }
            Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicId => {
                lane.end(Event::TopicGone { now: None }, sink);
                Then::Leave
            }
            Code::TopicAuthorizationFailed => {
                let why = format!("{text}; this user needs READ on the topic");
                lane.end(Event::Failed { why }, sink);
                Then::Leave
            }
            // The rest passes by itself: librdkafka goes on trying, and silence is watched over.
            _ => {
                tracing::warn!(topic = &*lane.at.info.topic, partition = lane.at.info.partition, offset, "{text}");
                Then::GoOn
            }
        }
    }

    fn end_of_partition(&mut self, number: usize, offset: i64, sink: &mut dyn Sink) -> Then {
        let lane = &mut self.all[number];
        lane.close_damage(offset, sink);
        lane.read_to(offset, sink);
        lane.end(Event::AtEnd, sink);
        if self.follow { Then::GoOn } else { Then::Leave }
    }

    /// The position is below the log start (records expired meanwhile) or above its end.
    fn out_of_range(&mut self, number: usize, text: String, sink: &mut dyn Sink) -> Then {
        let (topic, partition) = self.name(number);
        let marks = self.observer.fetch_watermarks(&topic, partition, PATIENCE);
        let lane = &mut self.all[number];
        lane.flush(sink);
        let position = lane.at.position;
        let why = match marks {
            Ok((log_start, _)) if position < log_start => {
                sink.event(lane.at.index, Event::Expired { log_start });
                sink.pass_on(lane.at.index);
                lane.at.position = log_start;
                return Then::SendAgain;
            }
            Ok((log_start, high)) => format!("{text}; {}", not_in_the_log(position, log_start, high)),
            Err(error) => format!("{text}; and its offsets could not be asked for: {error}"),
        };
        lane.end(Event::Failed { why }, sink);
        Then::Leave
    }

    /// A message of no partition that is read: an error of a whole topic, or of the client.
    fn elsewhere(&mut self, message: Message<'_>, sink: &mut dyn Sink) -> Result<(), SourceError> {
        let Some((code, text)) = message.error() else { return Ok(()) };
        let of_topic: Vec<usize> =
            self.by_name.get(message.topic()).into_iter().flat_map(|lanes| lanes.values().copied()).collect();
        if of_topic.is_empty() && code == RDKafkaErrorCode::Fatal {
            return Err(SourceError::Protocol { what: "librdkafka gave up".to_owned(), why: text });
        }
        tracing::warn!(topic = message.topic(), "{text}");
        if message.partition() < 0 {
            for number in of_topic.into_iter().filter(|&number| !self.all[number].is_done).collect::<Vec<_>>() {
                let then = self.trouble(number, message.offset(), code, text.clone(), sink);
                self.all[number].is_done |= matches!(then, Then::Leave);
            }
        }
        Ok(())
    }

    fn give_up(&mut self, sink: &mut dyn Sink) {
        for lane in self.all.iter_mut().filter(|lane| !lane.is_done) {
            let why = format!("no broker sent anything for {} s; check that it has a leader", SILENCE.as_secs());
            lane.end(Event::Failed { why }, sink);
            lane.is_done = true;
        }
    }
}
