//! Questions to a ledger that change nothing: where an identity was seen, everything in order, what the ledger is.

use std::collections::BTreeMap;
use std::fs;

use super::super::Seen;
use super::super::error::{LedgerError, Result};
use super::super::manifest;
use super::super::rows::bucket_of;
use super::super::run::{Damage, Probe};
use super::super::scan::Scan;
use super::Ledger;

/// Everything a ledger says of one identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LookUp {
    /// Ascending by time. One, unless the identity came again more than the horizon later.
    pub kept: Vec<Seen>,
    /// Not settled yet: whether they repeat a kept one is not decided.
    pub buffered: Vec<Seen>,
    /// What may hide more.
    pub damage: Vec<Damage>,
}

/// What a ledger is and how much it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    pub format: u32,
    pub ledger: u128,
    /// Names the secret without giving it away.
    pub secret: u64,
    pub commits: u64,
    /// By generation and number.
    pub runs: Vec<RunAbout>,
    pub journal_bytes: u64,
    pub state_bytes: u64,
    pub manifest_bytes: u64,
    /// Identities whose sightings are ignored and will leave with the next merge.
    pub forgotten: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunAbout {
    pub number: u64,
    pub generation: u32,
    pub rows: u64,
    pub bytes: u64,
    /// Seconds since 1970 of the oldest and the newest sighting.
    pub first_second: u32,
    pub last_second: u32,
}

impl Ledger {
    /// The kept sighting of an identity, the latest in time when there are several; else the first one that is
    /// buffered. An error when damage may hide it.
    pub fn find(&self, identity: u128) -> Result<Option<Seen>> {
        let LookUp { kept, buffered, damage } = self.look_up(identity)?;
        let found = kept.last().or(buffered.first());
        let damaged = damage.first().and_then(|damage| self.all_runs().find(|run| run.record.number == damage.run));
        match (found, damaged) {
            (None, Some(run)) => {
                Err(LedgerError::damaged(run.path(), "the part that may hold the identity is damaged"))
            }
            (found, _) => Ok(found.copied()),
        }
    }

    /// Where and when an identity was seen, with what is not settled yet.
    pub fn look_up(&self, identity: u128) -> Result<LookUp> {
        self.check_usable()?;
        let (hi, lo) = ((identity >> 64) as u64, identity as u64);
        let (mut probe, mut scratch, mut kept) = (Probe::default(), Vec::new(), Vec::new());
        for run in self.all_runs().filter(|run| run.bucket_len(bucket_of(hi)) > 0) {
            match run.prefix(bucket_of(hi), &mut scratch) {
                Ok(prefix) => run.sightings(&prefix, hi, lo, &mut probe, &mut kept)?,
                Err(error) => run.note(error, &mut probe.damage)?,
            }
        }
        kept.sort_by_key(|seen| (seen.second, seen.partition, seen.offset));
        let buffered = self.buffer.sightings(identity).collect();
        Ok(LookUp { kept, buffered, damage: probe.damage.into_iter().collect() })
    }

    /// Every kept sighting in the order of the identities. What is not settled is not kept yet.
    pub fn scan(&self) -> Result<Scan<'_>> {
        self.check_usable()?;
        Ok(Scan::new(self.all_runs().collect()))
    }

    /// The last committed entry of each of these keys.
    pub fn entries_of(&self, keys: &[u128]) -> Result<BTreeMap<u128, Vec<u8>>> {
        self.check_usable()?;
        let mut last = BTreeMap::new();
        self.journal.entries_of(keys, &mut |key, bytes| drop(last.insert(key, bytes.to_vec())))?;
        Ok(last)
    }

    /// Names the secret without giving it away.
    pub fn secret_id(&self) -> u64 {
        self.ids.secret
    }

    /// Identities of two ledgers can be compared only when they were hashed with the same secret.
    pub fn same_secret(&self, other: &Ledger) -> Result<()> {
        if self.ids.secret == other.ids.secret {
            return Ok(());
        }
        Err(LedgerError::DifferentKeys { ours: self.files.dir().to_owned(), theirs: other.files.dir().to_owned() })
    }

    pub fn about(&self) -> Result<About> {
        let mut runs: Vec<RunAbout> = self.all_runs().map(|run| RunAbout::of(&run.record)).collect();
        runs.sort_by_key(|run| (run.generation, run.number));
        Ok(About {
            format: self.manifest.format(&self.files)?,
            ledger: self.ids.ledger,
            secret: self.ids.secret,
            commits: self.last.state,
            runs,
            journal_bytes: self.journal.len(),
            state_bytes: self.last.state_len,
            manifest_bytes: self.manifest_bytes()?,
            forgotten: self.forgotten.len(),
        })
    }

    fn manifest_bytes(&self) -> Result<u64> {
        let path = self.files.path(manifest::DIR);
        let failed = |source| LedgerError::io(&path, source);
        let mut bytes = 0;
        for entry in fs::read_dir(&path).map_err(failed)? {
            bytes += entry.and_then(|entry| entry.metadata()).map_err(failed)?.len();
        }
        Ok(bytes)
    }
}

impl RunAbout {
    fn of(record: &manifest::RunRecord) -> Self {
        Self {
            number: record.number,
            generation: record.generation,
            rows: record.rows,
            bytes: record.len,
            first_second: record.min_second,
            last_second: record.max_second,
        }
    }
}
