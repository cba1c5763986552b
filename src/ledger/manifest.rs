//! The manifest: the few small values that say which files count, in one sled tree, changed in one batch a commit.
//! Knows names, lengths and checksums of files, not what they hold.
//!
//! sled is given little on purpose: values over 1 KiB become files it does not sync, batches over about 512 keys leak,
//! and its `flush` does not sync its file, so [`Manifest::commit`] does (spacejam/sled#1452).

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::error::{LedgerError, Result};
use super::files::Files;

pub(super) const DIR: &str = "meta";
/// The format of run files, and of a manifest that names nothing format 1 did not know.
pub(super) const FORMAT: u32 = 1;
/// The format of a manifest with forgotten identities or a rewritten journal: older versions must not open it.
const NEWEST: u32 = 2;
const IDS_KEY: &[u8] = b"v";
const COMMIT_KEY: &[u8] = b"c";
const RUN_PREFIX: &[u8] = b"r/";
const FORGOTTEN_PREFIX: &[u8] = b"x/";
/// sled lets go of its lock a little after it was dropped.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
/// Longer batches make sled leak memory and disk.
const MAX_BATCH: usize = 512;
const CACHE_BYTES: u64 = 4 << 20;

/// What every file of one ledger has in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ids {
    pub ledger: u128,
    pub secret: u64,
}

/// What a commit names beside its runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CommitRecord {
    /// Number of the state file; counts commits.
    pub state: u64,
    pub state_len: u64,
    pub state_checksum: u64,
    pub journal_len: u64,
    pub next_run: u64,
    /// Number of the journal file; counts its rewritings.
    pub journal: u64,
}

/// What a commit says of a run, enough to know its file again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RunRecord {
    pub number: u64,
    pub generation: u32,
    pub rows: u64,
    pub span: u64,
    /// Length of the file.
    pub len: u64,
    pub footer_checksum: u64,
    pub min_second: u32,
    pub max_second: u32,
}

pub(super) struct Manifest {
    db: sled::Db,
}

impl Manifest {
    pub fn open(files: &Files) -> Result<Self> {
        let path = files.path(DIR);
        let config = sled::Config::new().path(&path).cache_capacity(CACHE_BYTES).flush_every_ms(Some(500));
        let deadline = Instant::now() + LOCK_PATIENCE;
        let db = loop {
            match config.open() {
                Ok(db) => break db,
                Err(sled::Error::Io(error)) if error.to_string().contains("could not acquire lock") => {
                    if Instant::now() >= deadline {
                        return Err(LedgerError::Locked { path: files.dir().to_owned() });
                    }
                    sleep(Duration::from_millis(20));
                }
                Err(error) => return Err(LedgerError::manifest(&path, error)),
            }
        };
        let manifest = Self { db };
        if files.is_durable() {
            // sled never syncs its settings, and renames its snapshot into place when it opens.
            files.sync_path("meta/conf")?;
            manifest.sync(files)?;
            files.sync_path(DIR)?;
        }
        Ok(manifest)
    }

    /// As [`Manifest::open`], for a ledger in which nothing was ever committed: a power loss while it was made may have
    /// torn the manifest, which can then be made anew.
    pub fn open_new(files: &Files) -> Result<Self> {
        match Self::open(files) {
            Err(LedgerError::Manifest { .. }) => {
                files.remove_dir(DIR)?;
                Self::open(files)
            }
            opened => opened,
        }
    }

    /// `None` for a manifest that was just made.
    pub fn ids(&self, files: &Files) -> Result<Option<Ids>> {
        let path = files.path(DIR);
        let Some(value) = self.db.get(IDS_KEY).map_err(|source| LedgerError::manifest(&path, source))? else {
            return Ok(None);
        };
        let mut fields = Fields(&value);
        let mut read = || Some((fields.u32()?, fields.u64()?, fields.u128()?));
        let (format, secret, ledger) =
            read().ok_or_else(|| LedgerError::damaged(&path, "the ids of the ledger are cut short"))?;
        if !(FORMAT..=NEWEST).contains(&format) {
            return Err(LedgerError::Version { path, found: format, known: NEWEST });
        }
        Ok(Some(Ids { ledger, secret }))
    }

    pub fn set_ids(&self, files: &Files, ids: Ids) -> Result<()> {
        let path = files.path(DIR);
        self.db.insert(IDS_KEY, ids.encode(FORMAT)).map_err(|source| LedgerError::manifest(&path, source))?;
        self.sync(files)
    }

    /// The last commit, `None` before the first one.
    pub fn last(&self, files: &Files) -> Result<Option<CommitRecord>> {
        let path = files.path(DIR);
        let value = self.db.get(COMMIT_KEY).map_err(|source| LedgerError::manifest(&path, source))?;
        value.map(|value| CommitRecord::decode(&value).ok_or_else(|| cut_short(files, "commit"))).transpose()
    }

    pub fn runs(&self, files: &Files) -> Result<Vec<RunRecord>> {
        let path = files.path(DIR);
        let mut runs = Vec::new();
        for entry in self.db.scan_prefix(RUN_PREFIX) {
            let (key, value) = entry.map_err(|source| LedgerError::manifest(&path, source))?;
            runs.push(RunRecord::decode(&key, &value).ok_or_else(|| cut_short(files, "run"))?);
        }
        Ok(runs)
    }

    /// The format in force; the first one before anything is written.
    pub fn format(&self, files: &Files) -> Result<u32> {
        let value = self.db.get(IDS_KEY).map_err(|source| LedgerError::manifest(&files.path(DIR), source))?;
        Ok(value.and_then(|value| Fields(&value).u32()).unwrap_or(FORMAT))
    }

    /// Identities to be ignored in runs below a number.
    pub fn forgotten(&self, files: &Files) -> Result<BTreeMap<u128, u64>> {
        let mut forgotten = BTreeMap::new();
        for entry in self.db.scan_prefix(FORGOTTEN_PREFIX) {
            let (key, value) = entry.map_err(|source| LedgerError::manifest(&files.path(DIR), source))?;
            let read =
                || Some((Fields(key.strip_prefix(FORGOTTEN_PREFIX)?).u128()?.swap_bytes(), Fields(&value).u64()?));
            let (identity, before) = read().ok_or_else(|| cut_short(files, "forgotten identity"))?;
            forgotten.insert(identity, before);
        }
        Ok(forgotten)
    }

    /// Takes back what hides nothing any more. Not all at once, and it need not be: it changes no answer.
    pub fn remove_forgotten(&self, files: &Files, identities: &[u128]) -> Result<()> {
        for some in identities.chunks(MAX_BATCH / 2) {
            let mut batch = sled::Batch::default();
            some.iter().for_each(|identity| batch.remove(forgotten_key(*identity)));
            files.step(DIR)?;
            self.db.apply_batch(batch).map_err(|source| LedgerError::manifest(&files.path(DIR), source))?;
            self.sync(files)?;
        }
        Ok(())
    }

    /// The commit point: everything in it holds after a crash, or nothing.
    pub fn commit(&self, files: &Files, record: &CommitRecord, add: &[RunRecord], remove: &[RunRecord]) -> Result<()> {
        self.commit_forgetting(files, record, add, remove, &[])
    }

    /// [`Manifest::commit`] with identities that are ignored from now on in runs below `record.next_run`.
    pub fn commit_forgetting(
        &self,
        files: &Files,
        record: &CommitRecord,
        add: &[RunRecord],
        remove: &[RunRecord],
        forget: &[u128],
    ) -> Result<()> {
        debug_assert!(1 + add.len() + remove.len() <= MAX_BATCH, "{} runs in a commit", add.len() + remove.len());
        let mut batch = sled::Batch::default();
        batch.insert(COMMIT_KEY, record.encode());
        if (record.journal > 0 || !forget.is_empty()) && self.format(files)? != NEWEST {
            let ids = self.ids(files)?.ok_or_else(|| cut_short(files, "ledger's ids"))?;
            batch.insert(IDS_KEY, ids.encode(NEWEST));
        }
        for identity in forget {
            batch.insert(forgotten_key(*identity), &record.next_run.to_le_bytes());
        }
        for run in add {
            batch.insert(run.key(), run.encode());
        }
        for run in remove {
            batch.remove(run.key());
        }
        files.step(DIR)?;
        self.db.apply_batch(batch).map_err(|source| LedgerError::manifest(&files.path(DIR), source))?;
        files.step(DIR)?;
        self.sync(files)
    }

    fn sync(&self, files: &Files) -> Result<()> {
        if !files.is_durable() {
            return Ok(());
        }
        self.db.flush().map_err(|source| LedgerError::manifest(&files.path(DIR), source))?;
        files.sync_path("meta/db")
    }
}

fn cut_short(files: &Files, what: &str) -> LedgerError {
    LedgerError::damaged(&files.path(DIR), format!("the record of a {what} is cut short"))
}

/// Big endian, so that keys sort by identity.
fn forgotten_key(identity: u128) -> Vec<u8> {
    [FORGOTTEN_PREFIX, &identity.to_be_bytes()].concat()
}

impl Ids {
    fn encode(&self, format: u32) -> Vec<u8> {
        let mut value = format.to_le_bytes().to_vec();
        value.extend_from_slice(&self.secret.to_le_bytes());
        value.extend_from_slice(&self.ledger.to_le_bytes());
        value
    }
}

impl CommitRecord {
    /// The last field only where there is something to say, which format 1 does not know.
    fn encode(&self) -> Vec<u8> {
        let fields = [self.state, self.state_len, self.state_checksum, self.journal_len, self.next_run, self.journal];
        let said = if self.journal == 0 { 5 } else { 6 };
        fields[..said].iter().flat_map(|field| field.to_le_bytes()).collect()
    }

    fn decode(value: &[u8]) -> Option<Self> {
        let mut fields = Fields(value);
        Some(Self {
            state: fields.u64()?,
            state_len: fields.u64()?,
            state_checksum: fields.u64()?,
            journal_len: fields.u64()?,
            next_run: fields.u64()?,
            journal: fields.u64().unwrap_or_default(),
        })
    }
}

impl RunRecord {
    /// Big endian, so that keys sort by generation and then by number.
    fn key(&self) -> Vec<u8> {
        [RUN_PREFIX, &self.generation.to_be_bytes(), &self.number.to_be_bytes()].concat()
    }

    fn encode(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(40);
        for field in [self.rows, self.span, self.len, self.footer_checksum] {
            value.extend_from_slice(&field.to_le_bytes());
        }
        value.extend_from_slice(&self.min_second.to_le_bytes());
        value.extend_from_slice(&self.max_second.to_le_bytes());
        value
    }

    fn decode(key: &[u8], value: &[u8]) -> Option<Self> {
        let mut name = Fields(key.strip_prefix(RUN_PREFIX)?);
        let mut fields = Fields(value);
        Some(Self {
            generation: name.u32()?.swap_bytes(),
            number: name.u64()?.swap_bytes(),
            rows: fields.u64()?,
            span: fields.u64()?,
            len: fields.u64()?,
            footer_checksum: fields.u64()?,
            min_second: fields.u32()?,
            max_second: fields.u32()?,
        })
    }
}

/// Takes little-endian fields off the front of a value; `None` once it is too short.
pub(super) struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    pub fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.bytes().map(u16::from_le_bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.bytes().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.bytes().map(u64::from_le_bytes)
    }

    pub fn u128(&mut self) -> Option<u128> {
        self.bytes().map(u128::from_le_bytes)
    }
}
