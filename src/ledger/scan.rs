//! All kept sightings in the order of their identities, bucket by bucket: what two ledgers are compared by, and what an
//! export writes. Holds one bucket in memory. Damage comes as an item of its own, and the scan goes on behind it.

use std::collections::{BTreeSet, VecDeque};

use super::Seen;
use super::error::{LedgerError, Result};
use super::rows::{BUCKETS, Row};
use super::run::{Damage, Run};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scanned {
    /// Ascending by identity; those of one identity ascending by time.
    Sighting { identity: u128, seen: Seen },
    /// Sightings are missing around here; each part is named once.
    Damaged(Damage),
}

/// Made by [`Ledger::scan`](super::Ledger::scan).
pub struct Scan<'a> {
    runs: Vec<&'a Run>,
    /// The next bucket to load.
    bucket: usize,
    sightings: std::vec::IntoIter<(u128, Seen)>,
    /// Not told yet.
    damage: VecDeque<Damage>,
    told: BTreeSet<Damage>,
    rows: Vec<Row>,
    scratch: Vec<u8>,
    has_failed: bool,
}

impl<'a> Scan<'a> {
    pub(super) fn new(runs: Vec<&'a Run>) -> Self {
        Self {
            runs,
            bucket: 0,
            sightings: Vec::new().into_iter(),
            damage: VecDeque::new(),
            told: BTreeSet::new(),
            rows: Vec::new(),
            scratch: Vec::new(),
            has_failed: false,
        }
    }

    fn load(&mut self) -> Result<()> {
        let (mut sightings, mut damage) = (Vec::new(), BTreeSet::new());
        for run in &self.runs {
            self.rows.clear();
            run.load_intact(self.bucket, &mut self.scratch, &mut self.rows, &mut damage)?;
            self.rows.sort_unstable_by_key(|row| row.code);
            run.seen_of(&self.rows, &mut damage, &mut |row, seen| sightings.push((row.identity(), seen)))?;
        }
        sightings.sort_unstable_by_key(|(identity, seen)| (*identity, seen.second, seen.partition, seen.offset));
        self.sightings = sightings.into_iter();
        self.damage.extend(damage.into_iter().filter(|damage| self.told.insert(*damage)));
        self.bucket += 1;
        Ok(())
    }
}

impl Iterator for Scan<'_> {
    /// Nothing comes after an error.
    type Item = std::result::Result<Scanned, LedgerError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(damage) = self.damage.pop_front() {
                return Some(Ok(Scanned::Damaged(damage)));
            }
            if let Some((identity, seen)) = self.sightings.next() {
                return Some(Ok(Scanned::Sighting { identity, seen }));
            }
            if self.bucket == BUCKETS || self.has_failed {
                return None;
            }
            if let Err(error) = self.load() {
                self.has_failed = true;
                return Some(Err(error));
            }
        }
    }
}
