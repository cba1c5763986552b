//! A merge that was stopped between two buckets, as it is kept from one opening to the next: a batch job that is shorter
//! than a long merge must not begin it anew each time. It is a convenience: when anything about it does not fit, the
//! merge begins anew.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::error::{LedgerError, Result};
use super::files::Files;
use super::manifest::RunRecord;
use super::run::Unfinished;

pub(super) const NAME: &str = "merge";

/// What to merge into which run, and from where on.
#[derive(Serialize, Deserialize)]
pub(super) struct Plan {
    pub number: u64,
    pub inputs: Vec<RunRecord>,
    /// The next bucket, and how the writing stood before it.
    pub resume: Option<(usize, Unfinished)>,
}

impl Plan {
    pub fn new(number: u64, inputs: Vec<RunRecord>) -> Self {
        Self { number, inputs, resume: None }
    }

    /// Keeps the plan; `run` is the file written so far.
    pub fn keep(&self, files: &Files, run: &str) -> Result<()> {
        let body = postcard::to_stdvec(self)
            .map_err(|error| LedgerError::io(&files.path(NAME), std::io::Error::other(error)))?;
        files.sync_path(run)?;
        files.write_whole(NAME, &[&xxh3_64(&body).to_le_bytes()[..], &body].concat())?;
        files.sync_dir()
    }

    /// The plan that was kept, if it is whole.
    pub fn kept(files: &Files) -> Option<Self> {
        let bytes = std::fs::read(files.path(NAME)).ok()?;
        let (sum, body) = bytes.split_first_chunk::<8>()?;
        if u64::from_le_bytes(*sum) != xxh3_64(body) {
            return None;
        }
        postcard::from_bytes(body).ok()
    }
}
