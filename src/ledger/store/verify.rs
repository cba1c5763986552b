//! Reads every byte of a ledger at rest and says what is wrong with it. Goes on behind each damaged part, also where
//! opening the ledger would be refused.

use std::path::{Path, PathBuf};

use super::super::error::{LedgerError, Result};
use super::super::files::{Faults, Files};
use super::super::journal::Journal;
use super::super::key::{self, Key};
use super::super::manifest::{Ids, Manifest, RunRecord};
use super::super::run::{self, Run};
use super::access::must_exist;
use super::{lock, read_state};

/// What there was to read, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    pub runs: usize,
    pub rows: u64,
    pub bytes: u64,
    /// Frames of the journal, replaced ones included.
    pub entries: u64,
    pub faults: Vec<Fault>,
}

/// One damaged part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub path: PathBuf,
    pub what: String,
    /// What follows from it, and what to do.
    pub means: String,
}

const REFUSED: &str = "the ledger does not open; restore it from a backup, or move it away and audit again";

/// Checks the whole ledger in `dir`. `progress` is told how many bytes are read, and how many there are.
pub fn verify(dir: &Path, key: Option<&Key>, progress: &mut dyn FnMut(u64, u64)) -> Result<Verified> {
    must_exist(dir)?;
    // Not durable: nothing is written.
    let files = Files::new(dir, false, Faults::default())?;
    let _lock = lock(&files)?;
    let manifest = Manifest::open(&files)?;
    let mut found = Verified::default();
    let Some(ids) = manifest.ids(&files)? else {
        found.fault(&files.path(super::super::manifest::DIR), "the manifest is empty", REFUSED);
        return Ok(found);
    };
    let runs = manifest.runs(&files)?;
    let last = manifest.last(&files)?;
    let total = runs.iter().map(|run| run.len).sum::<u64>() + last.map_or(0, |last| last.journal_len + last.state_len);
    if let Err(error) = key::load_or_create(&files, Some(ids), key) {
        found.refused(&files.path(key::NAME), error)?;
    }
    if let Some(last) = &last {
        if let Err(error) = read_state(&files, last) {
            found.refused(dir, error)?;
        }
        if let Err(error) = found.journal(&files, last.journal, last.journal_len) {
            found.refused(dir, error)?;
        }
        found.bytes += last.journal_len + last.state_len;
    }
    manifest.forgotten(&files)?;
    for record in runs {
        found.run(&files, record, ids, &mut |bytes| progress(bytes, total))?;
    }
    progress(total, total);
    Ok(found)
}

impl Verified {
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }

    fn fault(&mut self, path: &Path, what: impl Into<String>, means: impl Into<String>) {
        self.faults.push(Fault { path: path.to_owned(), what: what.into(), means: means.into() });
    }

    /// An error that says what is damaged is a fault; any other one ends the check.
    fn refused(&mut self, place: &Path, error: LedgerError) -> Result<()> {
        match error {
            LedgerError::Damaged { path, what } => self.fault(&path, what, REFUSED),
            LedgerError::Key { path, why } => {
                self.fault(&path, why, "the ledger opens only with its key; put it back, or name it with --ledger-key");
            }
            LedgerError::OtherKey { .. } => {
                self.fault(place, "the given key is not this ledger's", "name the key the ledger was made with");
            }
            error => return Err(error),
        }
        Ok(())
    }

    fn journal(&mut self, files: &Files, number: u64, len: u64) -> Result<()> {
        let (entries, damage) = Journal::open(files, number, len, true)?.count()?;
        self.entries = entries;
        damage.map_or(Ok(()), |error| self.refused(files.dir(), error))
    }

    fn run(&mut self, files: &Files, record: RunRecord, ids: Ids, progress: &mut dyn FnMut(u64)) -> Result<()> {
        self.runs += 1;
        self.rows += record.rows;
        let end = self.bytes + record.len;
        match Run::open(files, &run::name(record.number), record, ids) {
            Ok(run) => {
                let (mut flaws, mut read) = (Vec::new(), self.bytes);
                run.check(ids, &mut flaws, &mut |bytes| {
                    read += bytes;
                    progress(read.min(end));
                })?;
                for flaw in flaws {
                    self.fault(run.path(), flaw.what, flaw.means);
                }
            }
            Err(error) => self.refused(files.dir(), error)?,
        }
        self.bytes = end;
        progress(end);
        Ok(())
    }
}
