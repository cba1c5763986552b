//! Run files: immutable, sorted by identity, checksummed by the page. `docs/ledger-format.md` has the bytes.
//!
//! A run knows how to say "certainly not here" from its prefix (fences and tags), and to prove "here" from the row.
//! It does not know which runs there are or what a repeat is.

mod check;
mod extents;
mod format;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod prefix;
mod reader;
mod walk;
mod writer;

pub(super) use reader::{Probe, Run};
pub(super) use writer::{RunHead, RunWriter, Unfinished};

use super::error::LedgerError;

/// A part of a run file that fails its checksum: what it held can no longer be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Damage {
    /// Number of the run, as in its file name.
    pub run: u64,
    pub part: Part,
    /// At most so many sightings are affected.
    pub rows: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// A page of rows: a sighting in it is taken for new.
    Rows { page: u64 },
    /// The prefix of a bucket: all its sightings in this run are taken for new.
    Prefix { bucket: u32 },
    /// A page of extents: identities are known, their positions are not.
    Extents { page: u64 },
}

/// Why a part of a run could not be read.
#[derive(Debug)]
pub(super) enum ReadError {
    Damaged(Part),
    Failed(LedgerError),
}

pub(super) fn name(number: u64) -> String {
    format!("run-{number:08}")
}

#[cfg(test)]
mod tests;
