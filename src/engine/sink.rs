//! Where a reader's events go: through the partition checks, and on to the auditor.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::Sender;
use rustc_hash::FxHashMap;

use super::partitions::Partitions;
use super::{Chunk, Clock, Message, Progress};
use crate::audit::finding::Finding;
use crate::audit::partition::PartitionAudit;
use crate::identify::Observations;
use crate::source::{Assignment, Event, PartitionInfo, Sink};

/// Rows gathered before they are passed on in the middle of an answer.
const CHUNK_ROWS: usize = 32 * 1024;

struct Slot {
    audit: PartitionAudit,
    seen: Observations,
    findings: Vec<Finding>,
    failed: Option<String>,
    changed: bool,
    /// Position last shown as progress.
    shown: i64,
}

pub struct ReaderSink {
    partitions: Arc<Partitions>,
    slots: FxHashMap<u32, Slot>,
    queue: Sender<Message>,
    progress: Arc<Progress>,
    clock: Clock,
}

impl ReaderSink {
    pub fn new(partitions: Arc<Partitions>, queue: Sender<Message>, progress: Arc<Progress>, clock: Clock) -> Self {
        Self { partitions, slots: FxHashMap::default(), queue, progress, clock }
    }

    fn slot(&mut self, index: u32) -> Option<&mut Slot> {
        match self.slots.entry(index) {
            std::collections::hash_map::Entry::Occupied(slot) => Some(slot.into_mut()),
            std::collections::hash_map::Entry::Vacant(free) => {
                let audit = self.partitions.open(index)?;
                let shown = audit.state.offsets.position;
                let seen = Observations::new(index);
                Some(free.insert(Slot { audit, seen, findings: Vec::new(), failed: None, changed: false, shown }))
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
        slot.changed = true;
        let Slot { audit, seen, findings, failed, .. } = slot;
        match event {
            Event::Batch(batch) => {
                audit.batch(batch, now, seen, findings);
                if seen.rows() >= CHUNK_ROWS {
                    self.pass_on(index);
                }
            }
            Event::Damaged { from, until, damage } => audit.damaged(from, until, &damage, findings),
            Event::Watermarks { log_start, high_watermark, last_stable } => {
                audit.watermarks(log_start, high_watermark, last_stable);
            }
            Event::Expired { log_start } => audit.expired(log_start, findings),
            Event::Diverged { epoch, end_offset } => audit.diverged(epoch, end_offset, findings),
            Event::TopicGone { now } => {
                audit.topic_gone(now, findings);
                *failed = Some("the topic is gone; start again to audit what now has its name".to_owned());
            }
            Event::AtEnd => audit.at_end(now),
            Event::Failed { why } => *failed = Some(why),
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
        if self.queue.send(Message::Chunk(Box::new(chunk))).is_err() {
            // The auditor is gone: it has said why.
            self.progress.stop();
        }
    }

    fn unreadable_input(&mut self, place: &str, why: &str) {
        let message = Message::Unreadable { place: place.to_owned(), why: why.to_owned() };
        if self.queue.send(message).is_err() {
            self.progress.stop();
        }
    }

    fn stopped(&self) -> bool {
        self.progress.is_stopped()
    }
}
