//! How a commit becomes durable, and how merges join it. The order of the steps is the point:
//!
//! 1. new runs and the state are written under temporary names, synced and renamed; the journal is appended and synced
//! 2. the directory is synced, so that the names hold
//! 3. one batch in the manifest names them all and is synced: this is the commit
//! 4. only then is removed what it no longer names
//!
//! Until 3 the old commit rules, and what was written is swept away at the next opening. A finished merge is a commit
//! of its own with the same state and journal.

use std::collections::BTreeSet;

use xxhash_rust::xxh3::xxh3_64;

use super::super::error::{LedgerError, Result};
use super::super::manifest::{CommitRecord, RunRecord};
use super::super::merge::{self, Merge, Merged};
use super::super::paused::{self, Plan};
use super::super::run::{ReadError, Run};
use super::{Ledger, state_name, tmp_name};

/// After a merge found the disk full, so many commits go by before the next is tried.
const PATIENCE: u64 = 64;
/// So many times the fan-in of runs waiting to be merged, and committing waits for the merge.
const OVERDUE: usize = 4;

impl Ledger {
    pub(super) fn commit_pending(&mut self, state: &[u8], frames: &[u8], now_second: u32) -> Result<()> {
        let expired = self.expired_generations(now_second);
        let is_expired = |run: &Run| expired.contains(&run.record.generation);
        let (stale, added): (Vec<_>, Vec<_>) = self.pending.drain(..).partition(is_expired);
        let (dropped, kept): (Vec<_>, Vec<_>) = self.runs.drain(..).partition(is_expired);
        self.runs = kept;

        let record = CommitRecord {
            state: self.last.state + 1,
            state_len: state.len() as u64,
            state_checksum: xxh3_64(state),
            journal_len: self.journal.append(&self.files, frames)?,
            next_run: self.next_run,
            journal: self.last.journal,
        };
        self.files.write_whole(&state_name(record.state), state)?;
        let added = self.install(record, added, &dropped)?;
        self.runs.extend(added);
        self.journal.accept(record.journal_len);
        self.state = Some(state.to_owned());

        for run in stale {
            self.files.discard(&tmp_name(run.record.number));
        }
        if record.state > 1 {
            self.files.discard(&state_name(record.state - 1));
        }
        Ok(())
    }

    /// Gives new runs their names and commits them with `record`; what is removed goes only once the commit holds.
    pub(super) fn install(&mut self, record: CommitRecord, mut added: Vec<Run>, removed: &[Run]) -> Result<Vec<Run>> {
        for run in &mut added {
            let tmp = tmp_name(run.record.number);
            self.files.sync_path(&tmp)?;
            self.files.rename(&tmp, &run.name())?;
            run.renamed(&self.files);
        }
        self.files.sync_dir()?;
        let records = |runs: &[Run]| runs.iter().map(|run| run.record).collect::<Vec<RunRecord>>();
        self.manifest.commit(&self.files, &record, &records(&added), &records(removed))?;
        self.last = record;
        for run in removed {
            self.files.discard(&run.name());
        }
        Ok(added)
    }

    /// A run whose generation has ended more than the horizon ago can hold nothing that is still a repeat.
    fn expired_generations(&self, now_second: u32) -> BTreeSet<u32> {
        let generations: BTreeSet<u32> = self.all_runs().map(|run| run.record.generation).collect();
        let is_expired = |generation: &u32| {
            let end = (u64::from(*generation) + 1).saturating_mul(self.generation_seconds()) - 1;
            end.saturating_add(self.tuning.horizon) < u64::from(now_second)
        };
        generations.into_iter().filter(is_expired).collect()
    }

    /// Installs a merge that is done and starts the next. Waits for it only when merging falls behind, so that no commit
    /// is held up and still the number of runs to probe is bounded.
    pub(super) fn go_on_merging(&mut self) -> Result<()> {
        loop {
            let must_wait = !self.tuning.merge_behind || self.is_piling_up();
            match self.merge.take_if(|merge| must_wait || merge.is_done()) {
                Some(merge) => self.install_merged(merge)?,
                None if self.merge.is_some() => return Ok(()),
                None => {}
            }
            let Some(plan) = self.next_merge() else { return Ok(()) };
            let (name, sorted_rows) = (tmp_name(plan.number), self.tuning.sorted_rows);
            let merge = Merge::start(&self.files, name, self.ids, plan, &self.forgotten, sorted_rows)?;
            self.merge = Some(merge);
            if self.tuning.merge_behind {
                return Ok(());
            }
        }
    }

    /// The merge that was stopped at the last closing, as long as its inputs are what they were; else the next one due.
    fn next_merge(&mut self) -> Option<Plan> {
        if let Some(plan) = self.paused.take() {
            self.files.discard(paused::NAME);
            if self.may_resume(&plan) {
                return Some(plan);
            }
            self.files.discard(&tmp_name(plan.number));
        }
        let due = merge::due(&self.runs, self.tuning.fan_in, self.tuning.max_run_rows);
        let inputs = due.filter(|_| self.last.state >= self.no_merge_before)?;
        let number = self.next_run;
        self.next_run += 1;
        Some(Plan::new(number, inputs))
    }

    pub(super) fn may_resume(&self, plan: &Plan) -> bool {
        let is_there = |input: &RunRecord| self.runs.iter().any(|run| run.record == *input && !run.is_damaged);
        self.forgotten.len() == 0
            && plan.inputs.iter().all(is_there)
            && self.files.path(&tmp_name(plan.number)).exists()
    }

    /// A disk too full for a merge is no reason to stop: the runs only stay as many as they are.
    fn install_merged(&mut self, mut merge: Merge) -> Result<()> {
        let name = tmp_name(merge.number);
        let numbers: BTreeSet<u64> = merge.inputs.iter().map(|run| run.number).collect();
        let record = match merge.finish() {
            Ok(Merged::Written(record)) => record,
            Ok(Merged::Stopped) => return Ok(()),
            Ok(Merged::Damaged(number, error)) => {
                self.files.discard(&name);
                return self.mark_damaged(number, error);
            }
            Err(error @ LedgerError::DiskFull { .. }) => {
                tracing::warn!(%error, "runs could not be merged; looking identities up takes longer until they are");
                self.files.discard(&name);
                self.no_merge_before = self.last.state + PATIENCE;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if self.runs.iter().filter(|run| numbers.contains(&run.record.number)).count() < numbers.len() {
            // Their generation was dropped in the meantime.
            self.files.discard(&name);
            return Ok(());
        }
        self.replace(&numbers, record)
    }

    /// A run that turned out damaged stays, and what it hides is told.
    pub(super) fn mark_damaged(&mut self, number: u64, error: ReadError) -> Result<()> {
        let Some(run) = self.runs.iter_mut().find(|run| run.record.number == number) else { return Ok(()) };
        run.is_damaged = true;
        run.note(error, &mut self.probe.damage)
    }

    /// Commits the run of `record`, which has its temporary name, in place of the runs it was made from.
    pub(super) fn replace(&mut self, numbers: &BTreeSet<u64>, record: RunRecord) -> Result<()> {
        let merged = Run::open(&self.files, &tmp_name(record.number), record, self.ids)?;
        let (inputs, kept): (Vec<Run>, Vec<Run>) =
            self.runs.drain(..).partition(|run| numbers.contains(&run.record.number));
        self.runs = kept;
        let added = self.install(CommitRecord { next_run: self.next_run, ..self.last }, vec![merged], &inputs)?;
        self.runs.extend(added);
        Ok(())
    }

    /// Whether a size class has more runs than a merge behind it can be expected to keep up with.
    fn is_piling_up(&self) -> bool {
        merge::due(&self.runs, OVERDUE * self.tuning.fan_in, u64::MAX).is_some()
    }
}
