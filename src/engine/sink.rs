//! Where a reader's events go: through the partition checks, and on to the auditor.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use rustc_hash::FxHashMap;

use super::index::{Index, Indexes};
use super::partitions::Partitions;
use super::{Chunk, Clock, Message, Progress, Settings};
use crate::audit::finding::Finding;
use crate::audit::partition::PartitionAudit;
use crate::identify::Observations;
use crate::source::{Assignment, Batch, Event, PartitionInfo, Sink};

/// Rows gathered before they are passed on in the middle of an answer.
const CHUNK_ROWS: usize = 32 * 1024;
/// While an audit follows, partitions that only grow older are passed on so often, all in one message: thousands of them
/// may be at rest.
const REST_EVERY: Duration = Duration::from_secs(1);

struct Slot {
    audit: PartitionAudit,
    seen: Observations,
    findings: Vec<Finding>,
    failed: Option<String>,
    changed: bool,
    /// Position last shown as progress.
    shown: i64,
    index: Option<Arc<Mutex<Index>>>,
}

impl Slot {
    /// Checks a batch, and remembers what it held by offset where that is wanted.
    fn batch(&mut self, batch: Batch<'_>, now: i64) {
        let offsets = &self.audit.state.offsets;
        let (position, records) = (offsets.position, offsets.records);
        let times = batch.header.map(|header| match header.is_log_append_time() || header.has_delete_horizon() {
            true => (header.max_timestamp, header.max_timestamp),
            // Records of one batch may go back and forth in time; its first and its largest are known.
            false => (header.base_timestamp.min(header.max_timestamp), header.max_timestamp),
        });
        self.audit.batch(batch, now, &mut self.seen, &mut self.findings);
        let offsets = &self.audit.state.offsets;
        if let Some(index) = &self.index {
            let read = offsets.records.saturating_sub(records) as i64;
            let mut index = index.lock().unwrap_or_else(PoisonError::into_inner);
            index.read(position, offsets.position, read, times.filter(|_| read > 0));
        }
    }
}

pub struct ReaderSink {
    partitions: Arc<Partitions>,
    slots: FxHashMap<u32, Slot>,
    queue: Sender<Message>,
    progress: Arc<Progress>,
    clock: Clock,
    indexes: Option<Arc<Indexes>>,
    /// Stream times of partitions at rest since they were last passed on, and when that was.
    at_rest: FxHashMap<u32, i64>,
    rested: Instant,
    rest_every: Duration,
}

impl ReaderSink {
    pub fn new(
        partitions: Arc<Partitions>,
        queue: Sender<Message>,
        progress: Arc<Progress>,
        settings: &Settings,
    ) -> Self {
        let (clock, indexes) = (settings.clock.clone(), settings.indexes.clone());
        let (slots, at_rest) = (FxHashMap::default(), FxHashMap::default());
        // A bounded run comes to each end once.
        let rest_every = if settings.follow { REST_EVERY } else { Duration::ZERO };
        Self { partitions, slots, queue, progress, clock, indexes, at_rest, rested: Instant::now(), rest_every }
    }

    /// Passes on what was held back.
    pub fn end(&mut self) {
        if !self.at_rest.is_empty() {
            let partitions = self.at_rest.drain().collect();
            self.send(Message::AtRest(partitions));
        }
    }

    fn send(&self, message: Message) {
        if self.queue.send(message).is_err() {
            // The auditor is gone: it has said why.
            self.progress.stop();
        }
    }

    /// The end of a partition says nothing but that time has passed.
    fn at_end(&mut self, index: u32, now: i64) {
        let Some(slot) = self.slot(index) else { return };
        slot.audit.at_end(now);
        if slot.changed {
            return;
        }
        let stream_time = slot.audit.state.stream_time;
        self.at_rest.insert(index, stream_time);
        if self.rested.elapsed() >= self.rest_every {
            self.rested = Instant::now();
            self.end();
        }
    }

    fn slot(&mut self, index: u32) -> Option<&mut Slot> {
        match self.slots.entry(index) {
            std::collections::hash_map::Entry::Occupied(slot) => Some(slot.into_mut()),
            std::collections::hash_map::Entry::Vacant(free) => {
                let audit = self.partitions.open(index)?;
                let shown = audit.state.offsets.position;
                let seen = Observations::new(index);
                let of = |indexes: &Arc<Indexes>| indexes.of(&audit.state.topic, audit.state.partition);
                let index = self.indexes.as_ref().map(of);
                Some(free.insert(Slot {
                    audit,
                    seen,
                    findings: Vec::new(),
                    failed: None,
                    changed: false,
                    shown,
                    index,
                }))
            }
        }
    }
}

impl Sink for ReaderSink {
    fn register(&mut self, info: PartitionInfo) -> Assignment {
        self.partitions.register(info)
    }

    fn event(&mut self, index: u32, event: Event<'_>) {
        let now = (self.clock)();
        let Some(slot) = self.slot(index) else {
            tracing::error!(index, "a source spoke of a partition it never registered");
            return;
        };
        if let Event::AtEnd = event {
            return self.at_end(index, now);
        }
        slot.changed = true;
        if let Event::Batch(batch) = event {
            slot.batch(batch, now);
            if slot.seen.rows() >= CHUNK_ROWS {
                self.pass_on(index);
            }
            return;
        }
        if let Some(why) = slot.audit.event(event, now, &mut slot.findings) {
            slot.failed = Some(why);
        }
    }

    fn pass_on(&mut self, index: u32) {
        let Some(slot) = self.slots.get_mut(&index).filter(|slot| slot.changed) else { return };
        slot.changed = false;
        let position = slot.audit.state.offsets.position;
        let done = (position - slot.shown).max(0) as u64;
        slot.shown = position;
        self.progress.offsets_done.fetch_add(done, Ordering::Relaxed);
        self.progress.findings.fetch_add(slot.findings.len() as u64, Ordering::Relaxed);
        let chunk = Chunk {
            index,
            state: Box::new(slot.audit.state.clone()),
            seen: std::mem::replace(&mut slot.seen, Observations::new(index)),
            findings: std::mem::take(&mut slot.findings),
            failed: slot.failed.clone(),
        };
        self.send(Message::Chunk(Box::new(chunk)));
    }

    fn unreadable_input(&mut self, place: &str, why: &str) {
        self.send(Message::Unreadable { place: place.to_owned(), why: why.to_owned() });
    }

    fn stopped(&self) -> bool {
        self.progress.is_stopped()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicI64;

    use crossbeam_channel::{Receiver, unbounded};

    use super::*;
    use crate::audit::coverage::Isolation;
    use crate::identify::Rules;
    use crate::source::Cleanup;

    const PARTITIONS: i32 = 3;

    fn sink(follow: bool, now: Arc<AtomicI64>) -> (ReaderSink, Receiver<Message>) {
        let settings = Settings {
            rules: Rules::default(),
            wait: Duration::from_secs(30),
            horizon: Duration::from_secs(3600),
            sequence_start: None,
            timestamp_bound: Duration::from_secs(60),
            isolation: Isolation::ReadCommitted,
            ledger: None,
            key: None,
            memory_bytes: 1 << 20,
            commit_every: Duration::from_secs(5),
            follow,
            clock: Arc::new(move || now.load(Ordering::Relaxed)),
            flow: None,
            indexes: None,
        };
        let partitions = Arc::new(Partitions::new(Vec::new(), &settings, [0; 192]));
        let (sender, receiver) = unbounded();
        let mut sink = ReaderSink::new(partitions, sender, Arc::default(), &settings);
        for partition in 0..PARTITIONS {
            let topic = Arc::from("quiet");
            let (topic_id, cleanup, has_headers) = (None, Cleanup::Unknown, true);
            let (from, until, log_start) = (0, None, 0);
            sink.register(PartitionInfo { topic, topic_id, partition, cleanup, has_headers, from, until, log_start });
        }
        (sink, receiver)
    }

    fn look_at_all(sink: &mut ReaderSink) {
        for index in 0..PARTITIONS as u32 {
            sink.event(index, Event::AtEnd);
            sink.pass_on(index);
        }
    }

    /// Stream times by partition, a line for each message; nothing else may come.
    fn said(receiver: &Receiver<Message>) -> Vec<Vec<(u32, i64)>> {
        let at_rest = |message| match message {
            Message::AtRest(mut partitions) => {
                partitions.sort_unstable();
                partitions
            }
            _ => panic!("nothing but time has passed"),
        };
        receiver.try_iter().map(at_rest).collect()
    }

    #[test]
    fn partitions_at_rest_are_passed_on_together_with_their_last_time() {
        let now = Arc::new(AtomicI64::new(0));
        let (mut sink, receiver) = sink(true, now.clone());
        // As if it had just been passed on, and as if a second had gone by.
        sink.rested = Instant::now() + Duration::from_secs(60);
        for time in 1..=100 {
            now.store(time, Ordering::Relaxed);
            look_at_all(&mut sink);
        }
        assert_eq!(said(&receiver), [] as [Vec<_>; 0]);
        sink.rested = Instant::now().checked_sub(REST_EVERY).unwrap();
        look_at_all(&mut sink);
        assert_eq!(said(&receiver), [vec![(0, 100), (1, 100), (2, 100)]]);
        sink.end();
        assert_eq!(said(&receiver), [vec![(1, 100), (2, 100)]], "what came behind is not lost");
        sink.end();
        assert_eq!(said(&receiver), [] as [Vec<_>; 0]);
    }

    #[test]
    fn a_bounded_run_tells_each_end_at_once() {
        let (mut sink, receiver) = sink(false, Arc::new(AtomicI64::new(7)));
        look_at_all(&mut sink);
        assert_eq!(said(&receiver), [vec![(0, 7)], vec![(1, 7)], vec![(2, 7)]]);
    }

    #[test]
    fn news_of_a_partition_goes_with_its_state() {
        let (mut sink, receiver) = sink(true, Arc::new(AtomicI64::new(7)));
        sink.event(1, Event::Watermarks { log_start: 0, high_watermark: 0, last_stable: 0 });
        sink.event(1, Event::AtEnd);
        sink.pass_on(1);
        sink.end();
        let Ok(Message::Chunk(chunk)) = receiver.try_recv() else { panic!("a chunk") };
        assert_eq!((chunk.index, chunk.state.stream_time), (1, 7));
        assert_eq!(said(&receiver), [] as [Vec<_>; 0]);
    }
}
