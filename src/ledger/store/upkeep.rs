//! Changes to a ledger at rest: forgetting identities, and compacting. Both go through the commit's order of steps, so
//! a crash leaves either what was or what is to be.

use std::collections::{BTreeMap, BTreeSet};

use super::super::error::{LedgerError, Result};
use super::super::forgotten::Forgotten;
use super::super::journal;
use super::super::manifest::{CommitRecord, RunRecord};
use super::super::merge::{Merge, Merged};
use super::super::paused::Plan;
use super::{Ledger, tmp_name};

/// What compacting came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    pub runs_before: usize,
    pub runs: usize,
    pub bytes_before: u64,
    pub bytes: u64,
    /// Sightings of forgotten identities that are gone for good.
    pub rows_dropped: u64,
    /// Entries left in the journal.
    pub entries: u64,
    /// Runs that stay as they are for a damaged part.
    pub damaged: usize,
}

/// What goes into the manifest in one batch at most.
const FORGET_AT_ONCE: usize = 256;

impl Ledger {
    /// Forgets identities: no answer knows what was seen of them so far, their journal entries are gone from the disk,
    /// and their rows leave with the next merge. Seen again, they are new.
    pub fn forget(&mut self, identities: &[u128]) -> Result<()> {
        self.check_usable()?;
        if self.last.state == 0 || identities.is_empty() {
            return Ok(());
        }
        self.is_poisoned = true;
        // What it writes would be from before.
        self.merge = None;
        let mut has_entries = false;
        self.journal.entries_of(identities, &mut |_, _| has_entries = true)?;
        let (first, rest) = identities.split_at(identities.len().min(FORGET_AT_ONCE));
        match has_entries {
            true => drop(self.rewrite_journal(&|key| !identities.contains(&key), first)?),
            false => self.commit_forgetting(first)?,
        }
        for some in rest.chunks(FORGET_AT_ONCE) {
            self.commit_forgetting(some)?;
        }
        self.adopt_forgotten(self.forgotten.and(identities, self.next_run));
        self.is_poisoned = false;
        Ok(())
    }

    /// Merges the runs of each generation into as few as may be, drops what is forgotten, and rewrites the journal to the
    /// last entry of every key. Changes no answer.
    pub fn compact(&mut self) -> Result<Compacted> {
        self.check_usable()?;
        let before = self.stats();
        let mut done = Compacted { runs_before: before.runs, bytes_before: before.disk_bytes, ..Compacted::default() };
        if self.last.state > 0 {
            self.is_poisoned = true;
            self.merge = None;
            while let Some(numbers) = self.worth_rewriting()? {
                done.rows_dropped += self.rewrite_runs(&numbers)?;
            }
            done.entries = self.rewrite_journal(&|_| true, &[])?;
            if self.all_runs().all(|run| !run.is_damaged) {
                // No run holds a row of them any more.
                self.manifest.remove_forgotten(&self.files, &self.forgotten.all())?;
                self.adopt_forgotten(Forgotten::default());
            }
            self.arrange()?;
            self.is_poisoned = false;
        }
        let after = self.stats();
        (done.runs, done.bytes) = (after.runs, after.disk_bytes);
        done.damaged = self.runs.iter().filter(|run| run.is_damaged).count();
        Ok(done)
    }

    /// Takes back what is forgotten and hides nothing any more, as no run is so old.
    pub(super) fn remove_forgotten(&mut self) -> Result<()> {
        let without_use = self.forgotten.without_use(self.all_runs().map(|run| run.record.number).min());
        if !without_use.is_empty() {
            self.manifest.remove_forgotten(&self.files, &without_use)?;
            self.adopt_forgotten(self.forgotten.without(&without_use));
        }
        Ok(())
    }

    fn adopt_forgotten(&mut self, forgotten: Forgotten) {
        self.runs.iter_mut().chain(&mut self.pending).for_each(|run| run.forget(&forgotten));
        self.forgotten = forgotten;
    }

    fn commit_forgetting(&mut self, identities: &[u128]) -> Result<()> {
        let record = CommitRecord { next_run: self.next_run, ..self.last };
        self.manifest.commit_forgetting(&self.files, &record, &[], &[], identities)?;
        self.last = record;
        Ok(())
    }

    /// Runs of one generation to be written as one: several, or one with forgotten rows.
    fn worth_rewriting(&mut self) -> Result<Option<BTreeSet<u64>>> {
        let mut generations: BTreeMap<u32, Vec<(u64, u64)>> = BTreeMap::new();
        for run in self.runs.iter_mut().filter(|run| !run.is_damaged) {
            match run.hidden_rows() {
                Ok(hidden) if hidden > 0 => return Ok(Some(BTreeSet::from([run.record.number]))),
                Ok(_) => {}
                Err(error) => {
                    run.is_damaged = true;
                    run.note(error, &mut self.probe.damage)?;
                    continue;
                }
            }
            generations.entry(run.record.generation).or_default().push((run.record.rows, run.record.number));
        }
        Ok(generations.into_values().find_map(|runs| together(runs, self.tuning.max_run_rows)))
    }

    /// Writes one run from several and commits it in their place; returns how many forgotten rows that dropped. An
    /// input that turns out damaged stays, marked so.
    fn rewrite_runs(&mut self, numbers: &BTreeSet<u64>) -> Result<u64> {
        let number = self.next_run;
        let name = tmp_name(number);
        let mut inputs: Vec<RunRecord> = self.runs.iter().map(|run| run.record).collect();
        inputs.retain(|run| numbers.contains(&run.number));
        inputs.sort_by_key(|run| run.number);
        let rows: u64 = inputs.iter().map(|run| run.rows).sum();
        let (tmp, sorted_rows) = (name.clone(), self.tuning.sorted_rows);
        let mut merge =
            Merge::start(&self.files, tmp, self.ids, Plan::new(number, inputs), &self.forgotten, sorted_rows)?;
        let record = match merge.finish()? {
            Merged::Written(record) => record,
            Merged::Damaged(damaged, error) => {
                self.files.discard(&name);
                return self.mark_damaged(damaged, error).map(|()| 0);
            }
            // Nobody asks it to.
            Merged::Stopped => return Err(LedgerError::Poisoned { path: self.files.dir().to_owned() }),
        };
        self.next_run += 1;
        self.replace(numbers, record)?;
        Ok(rows - record.rows)
    }

    /// Commits a new journal that holds the last entry of every key to be kept, and forgets identities in the same step.
    fn rewrite_journal(&mut self, keep: &dyn Fn(u128) -> bool, forget: &[u128]) -> Result<u64> {
        let number = self.last.journal + 1;
        let (mut journal, entries) = self.journal.rewrite(&self.files, number, keep)?;
        journal.rename(&self.files, number)?;
        self.files.sync_dir()?;
        let record = CommitRecord { journal: number, journal_len: journal.len(), next_run: self.next_run, ..self.last };
        self.manifest.commit_forgetting(&self.files, &record, &[], &[], forget)?;
        self.files.discard(&journal::name(self.last.journal));
        (self.journal, self.last) = (journal, record);
        Ok(entries)
    }
}

/// Runs, as (rows, number), that fit together into one: the longest first, each where it fits first, so that
/// what is written together would fit with nothing more.
fn together(mut runs: Vec<(u64, u64)>, max_rows: u64) -> Option<BTreeSet<u64>> {
    runs.sort_unstable_by(|a, b| b.cmp(a));
    let mut bins: Vec<(u64, BTreeSet<u64>)> = Vec::new();
    for (rows, number) in runs {
        match bins.iter_mut().find(|(sum, _)| sum.saturating_add(rows) <= max_rows) {
            Some((sum, numbers)) => {
                *sum += rows;
                numbers.insert(number);
            }
            None => bins.push((rows, BTreeSet::from([number]))),
        }
    }
    bins.into_iter().map(|(_, numbers)| numbers).find(|numbers| numbers.len() > 1)
}
