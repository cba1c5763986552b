//! The ledger as the engine uses it: open, insert, settle, commit, find. Ties buffer, runs, journal and manifest
//! together; [`commit`] owns the order of steps in which a commit becomes durable.

mod access;
mod commit;
mod reads;
mod settling;
mod upkeep;
mod verify;

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::path::Path;

use rand::TryRngCore;
use rand::rngs::OsRng;
use xxhash_rust::xxh3::xxh3_64;

use super::Sightings;
use super::buffer::Buffer;
use super::error::{LedgerError, Result};
use super::files::{Faults, Files, TMP};
use super::forgotten::Forgotten;
use super::journal::{self, Journal};
use super::key::{self, SECRET};
use super::manifest::{CommitRecord, Ids, Manifest};
use super::merge::{self, Merge};
use super::paused::{self, Plan};
use super::rows::{Row, SortScratch};
use super::run::{self, Damage, Probe, Run};
use access::Access;

pub use reads::{About, LookUp, RunAbout};
pub use upkeep::Compacted;
pub use verify::{Fault, Verified, verify};

const LOCK: &str = "lock";
/// The smallest buffer.
const MIN_ROWS: usize = 64 << 10;
/// A buffer of more rows takes longer to settle than a reader should have to wait.
const PROMPT_ROWS: usize = 2 << 20;
/// While known records are read again the buffer grows: the larger it is, the fewer pages are read for each.
const REPLAY_ROWS: usize = 16 << 20;
const FAN_IN: usize = 8;
/// Runs that would become longer are left as they are: probing them costs less than rewriting them.
const MAX_RUN_ROWS: u64 = 128 << 20;

#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A third is for the buffer, two during a replay; the rest for what runs keep in memory.
    pub memory_bytes: usize,
    /// How far apart two sightings of an identity may lie and still be a repeat.
    pub horizon_seconds: u64,
    /// Whether a commit must survive a power loss; a temporary ledger need not.
    pub durable: bool,
}

/// What follows from the options, apart from them so that tests can make everything small.
#[derive(Clone)]
pub(in crate::ledger) struct Tuning {
    pub memory_bytes: usize,
    pub buffer_bytes: usize,
    /// What the buffer may grow to during a replay.
    pub replay_bytes: usize,
    pub max_run_rows: u64,
    pub fan_in: usize,
    /// Rows a merge sorts at a time.
    pub sorted_rows: u64,
    /// Whether merges run behind the commits; else each commit waits for those that are due.
    pub merge_behind: bool,
    pub horizon: u64,
    pub durable: bool,
    pub faults: Faults,
}

impl From<Options> for Tuning {
    fn from(options: Options) -> Self {
        let third = (options.memory_bytes / 3).max(MIN_ROWS * size_of::<Row>());
        Self {
            memory_bytes: options.memory_bytes,
            buffer_bytes: third.min(PROMPT_ROWS * size_of::<Row>()),
            replay_bytes: (2 * third).min(REPLAY_ROWS * size_of::<Row>()),
            max_run_rows: MAX_RUN_ROWS,
            fan_in: FAN_IN,
            sorted_rows: merge::SORTED_ROWS,
            merge_behind: true,
            horizon: options.horizon_seconds,
            durable: options.durable,
            faults: Faults::default(),
        }
    }
}

/// What the ledger holds and takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Sightings kept, those not yet committed included.
    pub rows: u64,
    pub runs: usize,
    /// Length of runs, journal and state.
    pub disk_bytes: u64,
    /// Of the runs' prefixes, extents and directories in memory; the buffer is not in it.
    pub resident_bytes: usize,
}

// Dropped in this order: the lock must be the last to go.
pub struct Ledger {
    /// Under way behind the commits.
    merge: Option<Merge>,
    /// Stopped at the last closing.
    paused: Option<Plan>,
    /// Number of the commit before which none is started.
    no_merge_before: u64,
    manifest: Manifest,
    /// Committed runs, newest generation first.
    runs: Vec<Run>,
    /// Runs written since the last commit, under temporary names.
    pending: Vec<Run>,
    journal: Journal,
    buffer: Buffer,
    state: Option<Vec<u8>>,
    forgotten: Forgotten,
    last: CommitRecord,
    next_run: u64,
    probe: Probe,
    sort: SortScratch,
    /// A write failed: what is on disk is only known after opening it again.
    is_poisoned: bool,
    ids: Ids,
    secret: [u8; SECRET],
    tuning: Tuning,
    files: Files,
    _lock: File,
}

impl Ledger {
    /// Opens the ledger in `dir`, creating it when absent. What the last commit does not name is removed.
    pub fn open(dir: &Path, options: Options) -> Result<Self> {
        Self::open_tuned(dir, options.into())
    }

    pub(in crate::ledger) fn open_tuned(dir: &Path, tuning: Tuning) -> Result<Self> {
        Self::open_as(dir, tuning, Access::default())
    }

    fn open_as(dir: &Path, tuning: Tuning, access: Access<'_>) -> Result<Self> {
        let files = Files::new(dir, tuning.durable, tuning.faults.clone())?;
        let lock = lock(&files)?;
        let was_committed = files.names()?.iter().any(|name| is_committed_name(name));
        let manifest = if was_committed { Manifest::open(&files)? } else { Manifest::open_new(&files)? };
        let known = manifest.ids(&files)?;
        if known.is_none() && was_committed {
            return Err(LedgerError::damaged(dir, "there are runs or a state but no manifest"));
        }
        let secret = key::load_or_create(&files, known, access.key)?;
        let ids = match known {
            Some(ids) => ids,
            None => {
                let ids = Ids { ledger: random_id(&files)?, secret: key::id_of(&secret) };
                manifest.set_ids(&files, ids)?;
                ids
            }
        };
        let last = manifest.last(&files)?;
        let state = last.as_ref().map(|last| read_state(&files, last)).transpose()?;
        let last = last.unwrap_or_default();
        let forgotten = Forgotten::new(manifest.forgotten(&files)?);
        let mut runs = manifest
            .runs(&files)?
            .into_iter()
            .map(|record| Ok(Run::open(&files, &run::name(record.number), record, ids)?.forgetting(&forgotten)))
            .collect::<Result<Vec<_>>>()?;
        runs.iter_mut().for_each(|run| run.is_read_once = access.is_reader);
        let mut ledger = Self {
            journal: Journal::open(&files, last.journal, last.journal_len, access.is_reader)?,
            buffer: Buffer::new(tuning.buffer_bytes),
            next_run: last.next_run,
            pending: Vec::new(),
            probe: Probe::default(),
            sort: SortScratch::default(),
            is_poisoned: false,
            merge: None,
            paused: None,
            no_merge_before: 0,
            _lock: lock,
            manifest,
            runs,
            state,
            forgotten,
            last,
            ids,
            secret,
            tuning,
            files,
        };
        if !access.is_reader {
            ledger.paused = Plan::kept(&ledger.files).filter(|plan| ledger.may_resume(plan));
            if let Some(plan) = &ledger.paused {
                ledger.next_run = ledger.next_run.max(plan.number + 1);
            }
            ledger.remove_unnamed()?;
            ledger.remove_forgotten()?;
        }
        ledger.arrange()?;
        Ok(ledger)
    }

    /// The secret for XXH3: identities hashed with another one mean nothing to this ledger.
    pub fn secret(&self) -> &[u8; SECRET] {
        &self.secret
    }

    /// The engine's state as of the last commit; `None` before the first.
    pub fn state(&self) -> Option<&[u8]> {
        self.state.as_deref()
    }

    /// The last committed entry of every key, in the order the keys were first written.
    pub fn entries(&self) -> Result<impl Iterator<Item = Result<(u128, Vec<u8>)>>> {
        self.check_usable()?;
        self.journal.entries()
    }

    pub fn insert(&mut self, sightings: &Sightings) -> Result<()> {
        self.check_usable()?;
        self.buffer.insert(sightings)
    }

    /// Sightings that are not settled yet.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Time to settle. Inserting still works, and takes memory beyond the budget.
    pub fn is_full(&self) -> bool {
        self.buffer.is_full()
    }

    /// One atomic step: after a crash either all of it is there or nothing. `slowest_second` is a stream time that
    /// every partition has passed: what lies more than the horizon before it is dropped.
    ///
    /// What was inserted and not settled is no part of it: settle first, or let the positions in `state` stay before it.
    pub fn commit(&mut self, state: &[u8], entries: &[(u128, Vec<u8>)], slowest_second: u32) -> Result<()> {
        self.check_usable()?;
        let frames = Journal::encode(entries)?;
        self.is_poisoned = true;
        self.commit_pending(state, &frames, slowest_second)?;
        self.go_on_merging()?;
        self.arrange()?;
        self.is_poisoned = false;
        Ok(())
    }

    /// Parts of runs that failed their checksum since the ledger was opened, in a stable order.
    pub fn damage(&self) -> impl Iterator<Item = Damage> + '_ {
        self.probe.damage.iter().copied()
    }

    pub fn stats(&self) -> Stats {
        let runs = || self.all_runs();
        Stats {
            rows: runs().map(|run| run.record.rows).sum(),
            runs: runs().count(),
            disk_bytes: runs().map(|run| run.record.len).sum::<u64>() + self.journal.len() + self.last.state_len,
            resident_bytes: runs().map(|run| run.resident_bytes() + run.directory_bytes()).sum(),
        }
    }

    fn all_runs(&self) -> impl Iterator<Item = &Run> {
        self.pending.iter().rev().chain(&self.runs)
    }

    fn check_usable(&self) -> Result<()> {
        if self.is_poisoned { Err(LedgerError::Poisoned { path: self.files.dir().to_owned() }) } else { Ok(()) }
    }

    /// A generation spans an eighth of the horizon: so much longer than asked a sighting may be kept.
    fn generation_seconds(&self) -> u64 {
        (self.tuning.horizon / 8).max(1)
    }

    /// Orders the runs newest first and gives the memory that the buffer leaves to the newest ones: extents of all runs
    /// before any prefix, because every repeat needs them and they are small.
    fn arrange(&mut self) -> Result<()> {
        self.runs.sort_by_key(|run| std::cmp::Reverse((run.record.generation, run.record.number)));
        let mut left = self.tuning.memory_bytes.saturating_sub(self.buffer.limit_bytes());
        let mut fits = |cost: usize| {
            let fits = cost <= left;
            left -= if fits { cost } else { 0 };
            fits
        };
        let mut runs: Vec<&mut Run> = self.pending.iter_mut().rev().chain(&mut self.runs).collect();
        let extents: Vec<bool> = runs.iter().map(|run| fits(run.extents_cost())).collect();
        let prefixes: Vec<bool> = runs.iter().map(|run| fits(run.prefix_cost())).collect();
        // First give back, then take.
        for (at, run) in runs.iter_mut().enumerate() {
            if !extents[at] {
                run.drop_extents();
            }
            if !prefixes[at] {
                run.drop_prefix();
            }
        }
        for (at, run) in runs.iter_mut().enumerate() {
            if extents[at] {
                run.hold_extents()?;
            }
            if prefixes[at] {
                run.hold_prefix()?;
            }
        }
        Ok(())
    }

    /// Removes what a commit that did not happen left behind.
    fn remove_unnamed(&self) -> Result<()> {
        let mut named: BTreeSet<String> = self.runs.iter().map(Run::name).collect();
        named.insert(state_name(self.last.state));
        let paused = self.paused.as_ref().map(|plan| tmp_name(plan.number));
        named.insert(journal::name(self.last.journal));
        for name in self.files.names()? {
            let is_named_once = is_committed_name(&name) || name == journal::name(0);
            let is_left_over =
                name.ends_with(TMP) && Some(&name) != paused.as_ref() || name == paused::NAME && paused.is_none();
            if is_left_over || is_named_once && !named.contains(&name) {
                self.files.discard(&name);
            }
        }
        Ok(())
    }
}

fn tmp_name(run: u64) -> String {
    run::name(run) + TMP
}

fn state_name(number: u64) -> String {
    format!("state-{number:08}")
}

/// Whether a name is one that only a commit gives.
fn is_committed_name(name: &str) -> bool {
    let number = ["run-", "state-", "journal-"].iter().find_map(|kind| name.strip_prefix(kind));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// One process, and within it one [`Ledger`], at a time.
fn lock(files: &Files) -> Result<File> {
    let lock = files.open_or_create(LOCK)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(LedgerError::Locked { path: files.dir().to_owned() }),
        Err(TryLockError::Error(source)) => Err(LedgerError::io(&files.path(LOCK), source)),
    }
}

fn random_id(files: &Files) -> Result<u128> {
    let mut id = [0; 16];
    let filled = OsRng.try_fill_bytes(&mut id);
    filled.map_err(|error| LedgerError::io(files.dir(), std::io::Error::other(error)))?;
    Ok(u128::from_le_bytes(id))
}

fn read_state(files: &Files, last: &CommitRecord) -> Result<Vec<u8>> {
    let path = files.path(&state_name(last.state));
    let state = fs::read(&path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => LedgerError::damaged(&path, "missing though a commit names it"),
        _ => LedgerError::io(&path, source),
    })?;
    if state.len() as u64 != last.state_len || xxh3_64(&state) != last.state_checksum {
        return Err(LedgerError::damaged(&path, "the state fails its checksum"));
    }
    Ok(state)
}
