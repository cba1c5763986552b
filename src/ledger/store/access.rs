//! Ways to open a ledger other than for an audit that owns its key: with a key from outside, to read, to change at rest.

use std::path::Path;

use super::super::error::{LedgerError, Result};
use super::super::key::Key;
use super::super::manifest;
use super::{Ledger, Options};

#[derive(Default)]
pub(super) struct Access<'a> {
    /// Instead of the one in the directory.
    pub key: Option<&'a Key>,
    /// Left-overs stay, and nothing is read before it is asked for.
    pub is_reader: bool,
}

impl Ledger {
    /// [`Ledger::open`] with a key that is kept outside: none is written into the directory.
    pub fn open_with(dir: &Path, options: Options, key: Option<&Key>) -> Result<Self> {
        Self::open_as(dir, options.into(), Access { key, is_reader: false })
    }

    /// Opens a ledger at rest for look-ups and scans: no run is held in memory, no file is written or removed (the
    /// database of the manifest apart, which tidies itself up).
    pub fn open_to_read(dir: &Path, key: Option<&Key>) -> Result<Self> {
        must_exist(dir)?;
        let options = Options { memory_bytes: 0, horizon_seconds: u64::MAX, durable: true };
        Self::open_as(dir, options.into(), Access { key, is_reader: true })
    }

    /// Opens a ledger at rest to compact it or to forget; no run is held in memory.
    pub fn open_to_change(dir: &Path, key: Option<&Key>) -> Result<Self> {
        must_exist(dir)?;
        let options = Options { memory_bytes: 0, horizon_seconds: u64::MAX, durable: true };
        Self::open_as(dir, options.into(), Access { key, is_reader: false })
    }
}

/// A mistyped name must not make a new ledger.
pub(super) fn must_exist(dir: &Path) -> Result<()> {
    let is_there = dir.join(manifest::DIR).is_dir();
    is_there.then_some(()).ok_or_else(|| LedgerError::Absent { path: dir.to_owned() })
}
