//! The state of a topic: the last version of every key, and every version that is still in flight, in bounded memory.
//!
//! Versions are small rows, spread over shards by the hash of their key. A shard that is full is sorted and squashed: of the
//! versions behind which nothing is in doubt only the last stays. What does not fit then goes to disk as a sorted run, and
//! at the end each shard is merged by itself: memory holds a small part of the keys at any time. `packed`: the small rows.

mod packed;
pub mod places;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, Write as _};
use std::sync::{Mutex, PoisonError};

use super::digest::Digest;
pub use packed::{Before, Doubt, Said, Version};
use packed::{Packed, ROW, squash};

pub const SHARDS: usize = 64;
/// Keys in doubt that a shard remembers.
const MOST_DOUBTS: usize = 4_096;

#[derive(Default)]
struct Shard {
    rows: Vec<Packed>,
    spilled: Option<Spilled>,
    doubts: Doubts,
}

/// Sorted runs, one behind the other.
struct Spilled {
    file: File,
    rows: usize,
    /// Rows that were left when all of them were last squashed together.
    squashed: usize,
}

impl Spilled {
    /// Runs of so many times a shard's memory are squashed: a key that is written for ever takes no more room than others.
    const RUNS: usize = 8;

    fn new() -> io::Result<Self> {
        Ok(Self { file: tempfile::tempfile()?, rows: 0, squashed: 0 })
    }

    fn write(&mut self, rows: &[Packed]) -> io::Result<()> {
        let mut out = BufWriter::new(&mut self.file);
        for row in rows {
            let words = [row.key, row.place, row.row].map(u64::to_le_bytes);
            words.iter().try_for_each(|word| out.write_all(word))?;
        }
        self.rows += rows.len();
        out.flush()
    }

    fn read(&mut self) -> io::Result<Vec<Packed>> {
        self.file.seek(io::SeekFrom::Start(0))?;
        let mut rows = Vec::with_capacity(self.rows);
        let mut input = BufReader::with_capacity(1 << 16, &mut self.file);
        let mut words = [[0u8; 8]; 3];
        for _ in 0..self.rows {
            for word in &mut words {
                input.read_exact(word)?;
            }
            let [key, place, row] = words.map(u64::from_le_bytes);
            rows.push(Packed { key, place, row });
        }
        Ok(rows)
    }

    fn is_full(&self, most: usize) -> bool {
        self.rows > (most * Self::RUNS).max(self.squashed * 2)
    }

    fn squash(&mut self, doubt: impl FnMut(Doubt)) -> io::Result<()> {
        let mut rows = self.read()?;
        squash(&mut rows, true, doubt);
        self.file.set_len(0)?;
        self.file.seek(io::SeekFrom::Start(0))?;
        (self.rows, self.squashed) = (0, rows.len());
        self.write(&rows)
    }
}

/// Keys whose events do not go on where the one before ended, by partition; and the last such event.
#[derive(Debug, Default)]
pub struct Doubts {
    pub last: BTreeMap<(u64, i32), i64>,
    /// There were more of them.
    pub is_full: bool,
}

impl Doubts {
    fn add(&mut self, doubt: Doubt) {
        let Doubt { key, partition, offset } = doubt;
        if self.last.len() >= MOST_DOUBTS && !self.last.contains_key(&(key, partition)) {
            self.is_full = true;
            return;
        }
        let last = self.last.entry((key, partition)).or_insert(offset);
        *last = offset.max(*last);
    }
}

/// What a key may be in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Exactly this row, or none.
    Is(Option<u64>),
    /// In flight: one of these.
    OneOf(Vec<Option<u64>>),
    /// Its last record could not be read.
    Unknown,
    /// Its versions have to be looked at one by one.
    Partial,
}

pub struct Fold {
    shards: Vec<Mutex<Shard>>,
    /// Rows in a shard before it is squashed, and spilled when that does not help.
    most: usize,
}

impl Fold {
    pub fn new(memory_bytes: usize) -> Self {
        let most = (memory_bytes / ROW / SHARDS).max(1_024);
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), most }
    }

    /// For one thread that reads.
    pub fn writer(&self) -> Writer<'_> {
        Writer { fold: self, buffers: (0..SHARDS).map(|_| Vec::with_capacity(Writer::BUFFERED)).collect() }
    }

    fn take(&self, shard: usize, rows: &mut Vec<Packed>) -> io::Result<()> {
        let Some(shard) = self.shards.get(shard) else { return Ok(()) };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        shard.rows.append(rows);
        if shard.rows.len() < self.most {
            return Ok(());
        }
        let Shard { rows, spilled, doubts } = &mut *shard;
        squash(rows, spilled.is_none(), |doubt| doubts.add(doubt));
        if rows.len() > self.most / 2 {
            let spilled = match spilled {
                Some(spilled) => spilled,
                none => none.insert(Spilled::new()?),
            };
            spilled.write(rows)?;
            rows.clear();
            if spilled.is_full(self.most) {
                spilled.squash(|doubt| doubts.add(doubt))?;
            }
        }
        Ok(())
    }

    /// The states of all keys, shard by shard and in the order of their hashes.
    pub fn each(&self, mut take: impl FnMut(u64, &State)) -> io::Result<Counts> {
        let mut counts = Counts::default();
        (0..SHARDS).try_for_each(|shard| self.each_of(shard, &mut counts, &mut take))?;
        Ok(counts)
    }

    /// Complete once the states have been gone through.
    pub fn doubts(&self) -> Doubts {
        let mut all = Doubts::default();
        for shard in &self.shards {
            let doubts = std::mem::take(&mut shard.lock().unwrap_or_else(PoisonError::into_inner).doubts);
            all.last.extend(doubts.last);
            all.is_full |= doubts.is_full;
        }
        all
    }

    /// The states of one shard's keys, in the order of their hashes.
    pub fn each_of(&self, shard: usize, counts: &mut Counts, take: &mut dyn FnMut(u64, &State)) -> io::Result<()> {
        let Some(shard) = self.shards.get(shard) else { return Ok(()) };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rows = read_back(&mut shard)?;
        rows.extend_from_slice(&shard.rows);
        squash(&mut rows, true, |doubt| shard.doubts.add(doubt));
        for versions in rows.chunk_by(|a, b| a.key == b.key) {
            let Some(first) = versions.first() else { continue };
            let state = Self::state(versions, counts);
            take(first.key, &state);
        }
        if shard.spilled.is_none() {
            // Squashed once is enough.
            shard.rows = rows;
        }
        Ok(())
    }

    fn state(versions: &[Packed], counts: &mut Counts) -> State {
        counts.keys += 1;
        // The last settled version of each partition, and all that are not.
        let mut allowed: Vec<Option<u64>> = Vec::new();
        let (mut settled, mut in_flight, (mut is_unknown, mut is_partial)) = (0, false, (false, false));
        // Nothing orders records of several partitions here.
        let (mut last, mut disagree) = (None, false);
        for version in versions {
            if version.is_open() {
                in_flight = true;
            } else {
                settled += 1;
                disagree |= last.replace(version.said()).is_some_and(|other| other != version.said());
            }
            match version.said() {
                Said::Row(row) | Said::Loose(row) => allowed.push(Some(row)),
                Said::Deleted => allowed.push(None),
                Said::Unreadable => is_unknown = true,
                Said::Partial => is_partial = true,
            }
        }
        if is_unknown {
            counts.unknown += 1;
            return State::Unknown;
        }
        counts.spread += u64::from(settled > 1);
        counts.in_flight += u64::from(in_flight);
        if is_partial || disagree {
            return State::Partial;
        }
        if in_flight || settled > 1 {
            if settled == 0 {
                allowed.push(None);
            }
            allowed.sort_unstable();
            allowed.dedup();
            return State::OneOf(allowed);
        }
        let state = allowed.pop().flatten();
        counts.deleted += u64::from(state.is_none());
        State::Is(state)
    }
}

fn read_back(shard: &mut Shard) -> io::Result<Vec<Packed>> {
    let Some(spilled) = &mut shard.spilled else { return Ok(Vec::new()) };
    let mut rows = spilled.read()?;
    rows.reserve_exact(shard.rows.len());
    Ok(rows)
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub keys: u64,
    pub deleted: u64,
    pub in_flight: u64,
    /// Keys with settled versions in several partitions.
    pub spread: u64,
    pub unknown: u64,
}

pub struct Writer<'f> {
    fold: &'f Fold,
    buffers: Vec<Vec<Packed>>,
}

impl Writer<'_> {
    const BUFFERED: usize = 256;

    pub fn push(&mut self, version: &Version) -> io::Result<()> {
        self.add(Packed::of(version))
    }

    /// Beside the version of the same record.
    pub fn push_before(&mut self, before: &Before) -> io::Result<()> {
        self.add(Packed::before(before))
    }

    fn add(&mut self, row: Packed) -> io::Result<()> {
        let shard = (row.key >> 58) as usize % SHARDS;
        let buffer = &mut self.buffers[shard];
        buffer.push(row);
        if buffer.len() >= Self::BUFFERED {
            self.fold.take(shard, buffer)?;
        }
        Ok(())
    }

    pub fn end(mut self) -> io::Result<()> {
        for (shard, buffer) in self.buffers.iter_mut().enumerate() {
            self.fold.take(shard, buffer)?;
        }
        Ok(())
    }
}

/// A row the topic holds for certain.
pub fn certain(key: u64, state: &State) -> Option<Digest> {
    match state {
        State::Is(Some(row)) => Some(Digest { key, row: *row }),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
