//! The records of the tail, as far as memory goes.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::drift::DriftError;
use crate::drift::follow::queue::{Key, MOST_VERSIONS, Queue, bytes_of};
use crate::drift::history::{Histories, HistoryTake};
use crate::drift::topic::Take;
use crate::wire::Record;

/// What all threads together have taken, and may take.
pub struct Room<'t> {
    pub queue: &'t Queue,
    pub bytes: &'t AtomicUsize,
    pub most_bytes: usize,
}

pub struct TailTake<'t> {
    reader: HistoryTake<'t>,
    room: &'t Room<'t>,
    /// Keys in the queue of which a record was left out, and how many records there were in all.
    given_up: BTreeSet<Key>,
    dropped: u64,
}

pub struct Taken {
    pub histories: Histories,
    pub given_up: BTreeSet<Key>,
    pub dropped: u64,
}

impl<'t> TailTake<'t> {
    pub fn new(reader: HistoryTake<'t>, room: &'t Room<'t>) -> Self {
        Self { reader, room, given_up: BTreeSet::new(), dropped: 0 }
    }

    pub fn end(self) -> Taken {
        Taken { histories: self.reader.histories, given_up: self.given_up, dropped: self.dropped }
    }
}

impl Take for TailTake<'_> {
    fn take(&mut self, partition: i32, record: &Record<'_>) -> Result<(), DriftError> {
        let Some((key, version)) = self.reader.read(partition, record) else { return Ok(()) };
        let Room { queue, bytes: taken, most_bytes } = self.room;
        let bytes = bytes_of(&version);
        let is_full = taken.fetch_add(bytes, Ordering::Relaxed) + bytes > *most_bytes;
        let versions = self.reader.histories.get(&key).map_or(0, |history| history.versions.len());
        if !is_full && versions < MOST_VERSIONS {
            self.reader.histories.entry(key).or_default().versions.push_back(version);
            return Ok(());
        }
        // A key without one of its records must not be judged by those before it.
        let before = self.reader.histories.remove(&key);
        let freed: usize = before.iter().flat_map(|history| &history.versions).map(bytes_of).sum();
        taken.fetch_sub(freed + bytes, Ordering::Relaxed);
        self.dropped += 1;
        if queue.has(&key) {
            self.given_up.insert(key);
        }
        Ok(())
    }
}
