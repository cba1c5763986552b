//! The state of a topic: the last version of every key, and every version that is still in flight, in bounded memory.
//!
//! Versions are small rows, spread over shards by the hash of their key. A shard that is full is sorted and squashed: of the
//! versions behind which nothing is in doubt only the last stays. What does not fit then goes to disk as a sorted run, and
//! at the end each shard is merged by itself: memory holds a small part of the keys at any time.

pub mod places;

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::sync::{Mutex, PoisonError};

use super::digest::Digest;

pub const SHARDS: usize = 64;
/// Bytes of a row on disk and in memory.
const ROW: usize = 24;
/// The kind, and above it whether the version is open.
const KIND_BITS: u32 = 3;
const OPEN: u64 = 1 << 2;
const OFFSET_BITS: u32 = 46;

/// What a record says of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// The hash of its row.
    Row(u64),
    Deleted,
    /// It could not be read: any row may be right.
    Unreadable,
    /// A row of which some values stand in an earlier version.
    Partial,
}

/// One record of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    pub key: u64,
    pub partition: i32,
    pub offset: i64,
    pub said: Said,
    /// It may be in the table and need not be.
    pub is_open: bool,
}

/// Packed: the key's hash, the row's hash, and partition, offset and kind. Its order is that of key, partition and offset.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Packed {
    key: u64,
    place: u64,
    row: u64,
}

impl Packed {
    fn of(version: &Version) -> Self {
        let (kind, row) = match version.said {
            Said::Row(row) => (0, row),
            Said::Deleted => (1, 0),
            Said::Unreadable => (2, 0),
            Said::Partial => (3, 0),
        };
        let kind = kind | if version.is_open { OPEN } else { 0 };
        let place =
            (version.partition as u64) << (OFFSET_BITS + KIND_BITS) | (version.offset as u64) << KIND_BITS | kind;
        Self { key: version.key, place, row }
    }

    fn partition(&self) -> i32 {
        (self.place >> (OFFSET_BITS + KIND_BITS)) as i32
    }

    fn offset(&self) -> i64 {
        (self.place >> KIND_BITS & ((1 << OFFSET_BITS) - 1)) as i64
    }

    fn is_open(&self) -> bool {
        self.place & OPEN != 0
    }

    fn said(&self) -> Said {
        match self.place & (OPEN - 1) {
            0 => Said::Row(self.row),
            1 => Said::Deleted,
            2 => Said::Unreadable,
            _ => Said::Partial,
        }
    }
}

#[derive(Default)]
struct Shard {
    rows: Vec<Packed>,
    spilled: Option<File>,
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
        squash(&mut shard.rows);
        if shard.rows.len() > self.most / 2 {
            let Shard { rows, spilled } = &mut *shard;
            let file = match spilled {
                Some(file) => file,
                none => none.insert(tempfile::tempfile()?),
            };
            let mut out = BufWriter::new(&mut *file);
            for row in rows.iter() {
                let words = [row.key, row.place, row.row].map(u64::to_le_bytes);
                words.iter().try_for_each(|word| out.write_all(word))?;
            }
            out.flush()?;
            rows.clear();
        }
        Ok(())
    }

    /// The states of all keys, shard by shard and in the order of their hashes.
    pub fn each(&self, mut take: impl FnMut(u64, &State)) -> io::Result<Counts> {
        let mut counts = Counts::default();
        (0..SHARDS).try_for_each(|shard| self.each_of(shard, &mut counts, &mut take))?;
        Ok(counts)
    }

    /// The states of one shard's keys, in the order of their hashes.
    pub fn each_of(&self, shard: usize, counts: &mut Counts, take: &mut dyn FnMut(u64, &State)) -> io::Result<()> {
        let Some(shard) = self.shards.get(shard) else { return Ok(()) };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rows = read_back(&mut shard)?;
        rows.extend_from_slice(&shard.rows);
        squash(&mut rows);
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
        for version in versions {
            settled += u32::from(!version.is_open());
            in_flight |= version.is_open();
            match version.said() {
                Said::Row(row) => allowed.push(Some(row)),
                Said::Deleted => allowed.push(None),
                Said::Unreadable => is_unknown = true,
                Said::Partial => is_partial = true,
            }
        }
        if is_unknown {
            counts.unknown += 1;
            return State::Unknown;
        }
        if is_partial {
            counts.in_flight += u64::from(in_flight);
            return State::Partial;
        }
        if settled > 1 {
            // Nothing orders records of several partitions.
            counts.spread += 1;
        }
        if in_flight || settled > 1 {
            counts.in_flight += 1;
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

/// Sorts, and drops what a later settled version of the same key and partition has replaced.
fn squash(rows: &mut Vec<Packed>) {
    rows.sort_unstable();
    let mut kept = 0;
    for at in 0..rows.len() {
        let row = rows[at];
        let is_replaced = rows.get(at + 1).is_some_and(|next| {
            // The same record twice, or a settled one behind it.
            next.key == row.key && next.partition() == row.partition() && (next.place == row.place || !next.is_open())
        });
        if !is_replaced {
            rows[kept] = row;
            kept += 1;
        }
    }
    rows.truncate(kept);
}

fn read_back(shard: &mut Shard) -> io::Result<Vec<Packed>> {
    use std::io::Seek as _;
    let Some(file) = &mut shard.spilled else { return Ok(Vec::new()) };
    let length = file.seek(io::SeekFrom::End(0))?;
    file.seek(io::SeekFrom::Start(0))?;
    let mut rows = Vec::with_capacity(length as usize / ROW + shard.rows.len());
    let mut input = BufReader::with_capacity(1 << 16, &mut *file);
    let mut words = [[0u8; 8]; 3];
    for _ in 0..length as usize / ROW {
        for word in &mut words {
            input.read_exact(word)?;
        }
        let [key, place, row] = words.map(u64::from_le_bytes);
        rows.push(Packed { key, place, row });
    }
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
        let shard = (version.key >> 58) as usize % SHARDS;
        let buffer = &mut self.buffers[shard];
        buffer.push(Packed::of(version));
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
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn said() -> impl Strategy<Value = Said> {
        prop_oneof![4 => (1..50_u64).prop_map(Said::Row), 1 => Just(Said::Deleted)]
    }

    proptest! {
        /// The oracle keeps every record in a map.
        #[test]
        fn folds_as_a_map_does(
            records in prop::collection::vec((0..40_u64, said()), 0..6_000),
            settled in 0..6_000_i64,
            again in 0..6_000_usize,
        ) {
            // So small that shards are squashed and spilled all the time.
            let fold = Fold { most: 16, ..Fold::new(0) };
            let version = |(offset, (key, said)): (usize, &(u64, Said))| Version {
                // Two keys for each shard that is used.
                key: ((*key / 2) << 58) | (key % 2),
                partition: 0,
                offset: offset as i64,
                said: *said,
                is_open: offset as i64 >= settled,
            };
            let versions: Vec<Version> = records.iter().enumerate().map(version).collect();
            let mut writer = fold.writer();
            // A fetch that is repeated hands records over twice.
            let twice = &versions[again.min(versions.len())..];
            for version in versions.iter().chain(twice) {
                writer.push(version).unwrap();
            }
            writer.end().unwrap();
            type Expected = (Option<Option<u64>>, Vec<Option<u64>>);
            let mut expected: BTreeMap<u64, Expected> = BTreeMap::new();
            for version in &versions {
                let row = match version.said { Said::Row(row) => Some(row), _ => None };
                let (state, later) = expected.entry(version.key).or_default();
                if version.offset < settled { *state = Some(row) } else { later.push(row) }
            }
            let expected: BTreeMap<u64, State> = expected.into_iter().map(|(key, (state, later))| {
                if later.is_empty() {
                    return (key, State::Is(state.flatten()));
                }
                let mut allowed = later;
                allowed.push(state.flatten());
                allowed.sort_unstable();
                allowed.dedup();
                (key, State::OneOf(allowed))
            }).collect();
            for _ in 0..2 {
                let mut found = BTreeMap::new();
                fold.each(|key, state| _ = found.insert(key, state.clone())).unwrap();
                prop_assert_eq!(&found, &expected);
            }
        }
    }

    #[test]
    fn a_key_in_two_partitions_may_be_either() {
        let fold = Fold::new(0);
        let mut writer = fold.writer();
        for (partition, row) in [(0, 1), (1, 2), (1, 3)] {
            let said = Said::Row(row as u64);
            writer.push(&Version { key: 9, partition, offset: row, said, is_open: false }).unwrap();
        }
        writer.end().unwrap();
        let mut states = Vec::new();
        let counts = fold.each(|_, state| states.push(state.clone())).unwrap();
        assert_eq!(states, [State::OneOf(vec![Some(1), Some(3)])]);
        assert_eq!(counts.spread, 1);
    }

    #[test]
    fn what_could_not_be_read_leaves_all_open() {
        let fold = Fold::new(0);
        let mut writer = fold.writer();
        let all = [
            (1, 1, Said::Unreadable),
            (1, 2, Said::Row(5)),
            (2, 3, Said::Unreadable),
            (3, 4, Said::Row(6)),
            (3, 5, Said::Partial),
            (4, 6, Said::Partial),
            (4, 7, Said::Deleted),
        ];
        for (key, offset, said) in all {
            writer.push(&Version { key, partition: 0, offset, said, is_open: false }).unwrap();
        }
        writer.end().unwrap();
        let mut states = BTreeMap::new();
        fold.each(|key, state| _ = states.insert(key, state.clone())).unwrap();
        assert_eq!(states[&1], State::Is(Some(5)), "a later record says what it is");
        assert_eq!(states[&2], State::Unknown);
        assert_eq!(states[&3], State::Partial);
        assert_eq!(states[&4], State::Is(None));
    }
}
