//! The embedded store: sightings in immutable run files, everything small and atomic in sled, one commit for all.
//!
//! See `docs/ledger-format.md` for the bytes. In short: observations are scattered by identity into 256 buckets as they
//! come; when the buffer is full (or the engine says so) every bucket is sorted, deduplicated, probed against the runs,
//! and what is new is written as one immutable run file. The commit that names the run also names the engine's state
//! and the findings, so a restart finds either all of it or nothing. There is no write-ahead log: the log is Kafka.
//!
//! The ledger must not know what a topic, a check or a finding is: it keeps numbers, identities and bytes.

mod buffer;
mod error;
mod extents;
mod files;
mod journal;
mod key;
mod manifest;
mod merge;
mod run;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use buffer::Buffer;
pub use error::LedgerError;
use error::Result;
use extents::Extents;
use files::{Faults, Files, TMP};
use journal::Journal;
use manifest::{CommitRecord, Ids, Manifest, RunRecord};
use run::{Bucket, Damage, Row, Run, Writer};

/// Bytes of memory a buffered row costs, with the room its bucket keeps.
const ROW_BYTES: usize = 40;
const SMALLEST_BUFFER: usize = 64 * 1024;
/// A horizon is dropped in this many parts.
const GENERATIONS: u64 = 8;

/// How a ledger is to be kept.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// For the buffer and for filters held in memory, half each.
    pub memory_bytes: usize,
    /// How far back a repeat is recognised.
    pub horizon_seconds: u64,
    /// Survive a power loss. A temporary ledger need not.
    pub durable: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub rows: u64,
    pub runs: usize,
    pub disk_bytes: u64,
    pub resident_bytes: usize,
}

/// One stretch of one partition in columns, ascending by offset: what the engine hands over.
#[derive(Clone, Debug, Default)]
pub struct Sightings {
    /// The engine's number of the partition; stable for the life of the ledger.
    pub partition: u32,
    pub offsets: Vec<i64>,
    /// Milliseconds since 1970.
    pub timestamps: Vec<i64>,
    /// Keyed 128-bit hashes.
    pub identities: Vec<u128>,
    pub checksums: Vec<u64>,
    /// Who wrote the rows: (first row, producer), ascending by row; holds from that row to the next entry.
    pub producers: Vec<(u32, Producer)>,
}

/// (producer id, producer epoch); `Producer::NONE` when the batch had none or the source hides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Producer {
    pub id: i64,
    pub epoch: i16,
}

impl Producer {
    pub const NONE: Producer = Producer { id: -1, epoch: -1 };
}

/// Where and when an identity was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub partition: u32,
    pub offset: i64,
    /// Seconds since 1970: exactly `timestamp_ms.div_euclid(1000)`, whether the row comes from the buffer or a run.
    pub second: u32,
    pub checksum: u64,
    pub producer: Producer,
}

/// An identity seen again: reported once for each arrival after the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeat {
    pub identity: u128,
    /// The sighting the ledger keeps for this identity.
    pub first: Seen,
    pub again: Seen,
}

pub struct Ledger {
    files: Files,
    manifest: Manifest,
    ids: Ids,
    secret: Box<[u8; 192]>,
    options: Options,
    last: CommitRecord,
    state: Option<Vec<u8>>,
    journal: Journal,
    journal_path: PathBuf,
    runs: Vec<Run>,
    buffer: Buffer,
    /// Settled and not yet committed: the run being written, and where its rows were seen.
    pending: Option<(Writer, Extents)>,
    damage: Vec<String>,
    poisoned: bool,
}

impl Ledger {
    /// Opens the ledger, or makes it. What a broken commit left behind is removed.
    pub fn open(dir: &Path, options: Options) -> Result<Self> {
        Self::open_with(dir, options, Faults::default())
    }

    fn open_with(dir: &Path, options: Options, faults: Faults) -> Result<Self> {
        let files = Files::new(dir, options.durable, faults)?;
        let manifest = Manifest::open(&files)?;
        let known = manifest.ids(&files)?;
        let secret = match known {
            Some(_) => key::read(&files)?,
            None => key::make(&files)?,
        };
        let secret_id = xxh3_64(&secret[..]);
        let ids = match known {
            Some(ids) if ids.secret == secret_id => ids,
            Some(_) => {
                return Err(LedgerError::Key {
                    path: files.path(key::NAME),
                    why: "it is not the key this ledger was made with",
                });
            }
            None => {
                let ids = Ids { ledger: rand::random(), secret: secret_id };
                manifest.set_ids(&files, ids)?;
                ids
            }
        };
        let last = manifest.last(&files)?.unwrap_or_default();
        let records = manifest.runs(&files)?;
        clean_up(&files, &last, &records)?;
        let state = read_state(&files, &last)?;
        let journal = Journal::open(&files, last.journal_len)?;
        let rows = (options.memory_bytes / 2 / ROW_BYTES).max(SMALLEST_BUFFER);
        let mut ledger = Self {
            journal_path: files.path(journal::NAME),
            files,
            manifest,
            ids,
            secret,
            options,
            last,
            state,
            journal,
            runs: Vec::new(),
            buffer: Buffer::new(rows),
            pending: None,
            damage: Vec::new(),
            poisoned: false,
        };
        for record in records {
            let resident = ledger.has_room(record.rows);
            match Run::open(&ledger.files, ids, record, resident)? {
                Ok(run) => ledger.runs.push(run),
                Err(Damage(what)) => ledger.damage.push(what),
            }
        }
        Ok(ledger)
    }

    /// Whether a filter of so many rows may be held in memory.
    fn has_room(&self, rows: u64) -> bool {
        let held: usize = self.runs.iter().map(Run::resident_bytes).sum();
        held + Run::filter_bytes(rows) <= self.options.memory_bytes / 2
    }

    /// The key of all identities in this ledger.
    pub fn secret(&self) -> &[u8; 192] {
        &self.secret
    }

    /// What the last commit said of the engine.
    pub fn state(&self) -> Option<&[u8]> {
        self.state.as_deref()
    }

    /// The last entry of every key, in the order the keys were first written.
    pub fn entries(&self) -> Result<impl Iterator<Item = Result<(u128, Vec<u8>)>> + '_> {
        self.journal.entries(&self.journal_path)
    }

    /// Parts that can no longer be read: what they held cannot be compared.
    pub fn damage(&self) -> &[String] {
        &self.damage
    }

    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    pub fn is_full(&self) -> bool {
        self.buffer.is_full()
    }

    pub fn stats(&self) -> Stats {
        Stats {
            rows: self.runs.iter().map(|run| run.record.rows).sum(),
            runs: self.runs.len(),
            disk_bytes: self.runs.iter().map(|run| run.record.len).sum(),
            resident_bytes: self.runs.iter().map(Run::resident_bytes).sum(),
        }
    }

    pub fn insert(&mut self, stretch: &Sightings) -> Result<()> {
        self.alive()?;
        let rows = stretch.offsets.len();
        if [stretch.timestamps.len(), stretch.identities.len(), stretch.checksums.len()].iter().any(|&len| len != rows)
        {
            return Err(LedgerError::Columns { partition: stretch.partition });
        }
        self.buffer.insert(stretch);
        Ok(())
    }

    /// The committed sighting of an identity. What is only buffered is not looked at.
    pub fn find(&mut self, identity: u128) -> Result<Option<Seen>> {
        self.alive()?;
        let bucket = bucket_of(identity);
        for run in self.runs.iter().rev() {
            match run.bucket(bucket).and_then(|part| part.find(identity)) {
                Ok(Some(seen)) => return Ok(Some(seen)),
                Ok(None) => {}
                Err(Damage(what)) => note(&mut self.damage, what),
            }
        }
        Ok(None)
    }

    /// Compares the buffer with itself and with everything committed. Each arrival of a known identity is reported
    /// once; what is new waits for [`Ledger::commit`].
    pub fn settle(&mut self, repeat: &mut dyn FnMut(Repeat)) -> Result<()> {
        self.alive()?;
        if self.buffer.len() == 0 {
            return Ok(());
        }
        if self.pending.is_some() {
            return Err(LedgerError::Unsettled);
        }
        self.poisoned = true;
        let horizon = self.options.horizon_seconds;
        let extents = self.buffer.take_extents();
        let (number, generation) = (self.last.next_run, self.generation(extents.seconds().1));
        let rows = self.buffer.len() as u64;
        let mut writer = Writer::create(&self.files, self.ids, number, generation, rows, &extents)?;
        for bucket in 0..=255u8 {
            let rows = self.buffer.sorted_bucket(bucket);
            if rows.is_empty() {
                continue;
            }
            let mut parts: Vec<Bucket<'_>> = Vec::with_capacity(self.runs.len());
            // The newest run first: what was seen last is within the horizon if anything is.
            for run in self.runs.iter().rev() {
                match run.bucket(bucket) {
                    Ok(part) => parts.push(part),
                    Err(Damage(what)) => note(&mut self.damage, what),
                }
            }
            for same in rows.chunk_by(|a, b| a.identity == b.identity) {
                let known = look_up(&parts, same[0].identity, &mut self.damage);
                if let Some(row) = settle_identity(same, known, &extents, horizon, repeat) {
                    writer.push(&self.files, &row)?;
                }
            }
            self.buffer.clear_bucket(bucket);
        }
        self.buffer.finish();
        self.pending = Some((writer, extents));
        self.poisoned = false;
        Ok(())
    }

    /// Writes what was settled, the state and the journal entries in one atomic step. `now_second` is the time that
    /// the horizon is counted from.
    pub fn commit(&mut self, state: &[u8], entries: &[(u128, Vec<u8>)], now_second: u32) -> Result<()> {
        self.alive()?;
        // An error leaves files and manifest in a state only a new open can tell.
        self.poisoned = true;
        self.try_commit(state, entries, now_second)?;
        self.merge()?;
        self.poisoned = false;
        Ok(())
    }

    fn try_commit(&mut self, state: &[u8], entries: &[(u128, Vec<u8>)], now_second: u32) -> Result<()> {
        let mut next = CommitRecord { state: self.last.state + 1, ..self.last };
        let mut added = Vec::new();
        if let Some((writer, extents)) = self.pending.take().filter(|(writer, _)| writer.rows() > 0) {
            next.next_run += 1;
            let resident = self.has_room(writer.rows());
            added.push(writer.finish(&self.files, extents, resident)?);
        }
        self.files.write_whole(&state_name(next.state), state)?;
        next.state_len = state.len() as u64;
        next.state_checksum = xxh3_64(state);
        next.journal_len = self.journal.append(&self.files, entries)?;
        self.files.sync_dir()?;
        let dropped = self.expired(now_second);
        let add: Vec<RunRecord> = added.iter().map(|run| run.record).collect();
        self.manifest.commit(&self.files, &next, &add, &dropped)?;
        // Committed: only now may anything the old commit named go.
        let old = std::mem::replace(&mut self.last, next);
        self.journal.accept(next.journal_len);
        self.state = Some(state.to_vec());
        self.runs.extend(added);
        self.forget(&dropped);
        if old.state > 0 {
            self.files.discard(&state_name(old.state));
        }
        Ok(())
    }

    fn forget(&mut self, dropped: &[RunRecord]) {
        self.runs.retain(|run| !dropped.contains(&run.record));
        dropped.iter().for_each(|record| self.files.discard(&run::file_name(record.number)));
    }

    fn generation(&self, second: u32) -> u32 {
        (u64::from(second) / (self.options.horizon_seconds / GENERATIONS).max(1)) as u32
    }

    /// Generations whose newest sighting lies past the horizon, whole.
    fn expired(&self, now_second: u32) -> Vec<RunRecord> {
        let mut newest: BTreeMap<u32, u32> = BTreeMap::new();
        for run in &self.runs {
            let second = newest.entry(run.record.generation).or_default();
            *second = (*second).max(run.record.max_second);
        }
        let past = |second: u32| u64::from(second) + self.options.horizon_seconds < u64::from(now_second);
        let records = self.runs.iter().map(|run| run.record);
        records.filter(|record| newest.get(&record.generation).is_some_and(|&second| past(second))).collect()
    }

    fn alive(&self) -> Result<()> {
        if self.poisoned { Err(LedgerError::Poisoned { path: self.files.dir().to_owned() }) } else { Ok(()) }
    }
}

fn bucket_of(identity: u128) -> u8 {
    (identity >> 120) as u8
}

fn note(damage: &mut Vec<String>, what: String) {
    if !damage.contains(&what) {
        damage.push(what);
    }
}

fn look_up(parts: &[Bucket<'_>], identity: u128, damage: &mut Vec<String>) -> Option<Seen> {
    for part in parts {
        match part.find(identity) {
            Ok(Some(seen)) => return Some(seen),
            Ok(None) => {}
            Err(Damage(what)) => note(damage, what),
        }
    }
    None
}

/// Arrivals of one identity in the order they came, against the sighting that is kept. Returns what is to be kept anew.
fn settle_identity(
    same: &[Row],
    mut kept: Option<Seen>,
    extents: &Extents,
    horizon: u64,
    repeat: &mut dyn FnMut(Repeat),
) -> Option<Row> {
    let mut fresh: Option<Row> = None;
    let mut told: Vec<(u32, i64)> = Vec::new();
    for row in same {
        let Some(again) = extents.seen(row.code, row.checksum) else { continue };
        match kept {
            // Read again after a restart: no second record.
            Some(first) if (first.partition, first.offset) == (again.partition, again.offset) => {}
            Some(first) if u64::from(again.second.abs_diff(first.second)) <= horizon => {
                let place = (again.partition, again.offset);
                if same.len() == 1 || !told.contains(&place) {
                    repeat(Repeat { identity: row.identity, first, again });
                    if told.len() < 1024 {
                        told.push(place);
                    }
                }
            }
            _ => {
                kept = Some(again);
                fresh = Some(*row);
            }
        }
    }
    fresh
}

fn state_name(number: u64) -> String {
    format!("state-{number:08}")
}

/// Removes what no commit names.
fn clean_up(files: &Files, last: &CommitRecord, runs: &[RunRecord]) -> Result<()> {
    let named = |name: &str| {
        !(name.ends_with(TMP) || name.starts_with("run-") || name.starts_with("state-"))
            || runs.iter().any(|run| name == run::file_name(run.number))
            || (last.state > 0 && name == state_name(last.state))
    };
    files.names()?.iter().filter(|name| !named(name)).for_each(|name| files.discard(name));
    Ok(())
}

fn read_state(files: &Files, last: &CommitRecord) -> Result<Option<Vec<u8>>> {
    if last.state == 0 {
        return Ok(None);
    }
    let path = files.path(&state_name(last.state));
    let bytes = std::fs::read(&path).map_err(|source| LedgerError::io(&path, source))?;
    if bytes.len() as u64 != last.state_len || xxh3_64(&bytes) != last.state_checksum {
        return Err(LedgerError::damaged(&path, "the state fails its checksum"));
    }
    Ok(Some(bytes))
}
