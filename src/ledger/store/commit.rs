//! How a commit becomes durable, and the merge after it. The order of the steps is the point:
//!
//! 1. new runs and the state are written under temporary names, synced and renamed; the journal is appended and synced
//! 2. the directory is synced, so that the names hold
//! 3. one batch in the manifest names them all and is synced: this is the commit
//! 4. only then is removed what it no longer names
//!
//! Until 3 the old commit rules, and what was written is swept away at the next opening.

use std::collections::BTreeSet;

use xxhash_rust::xxh3::xxh3_64;

use super::super::error::{LedgerError, Result};
use super::super::manifest::{CommitRecord, RunRecord};
use super::super::merge::{self, Merged};
use super::super::run::Run;
use super::{Ledger, state_name, tmp_name};

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

    fn expired_generations(&self, now_second: u32) -> BTreeSet<u32> {
        let alive =
            |run: &&Run| u64::from(run.record.max_second).saturating_add(self.tuning.horizon) >= u64::from(now_second);
        let generations =
            |runs: &mut dyn Iterator<Item = &Run>| -> BTreeSet<u32> { runs.map(|run| run.record.generation).collect() };
        &generations(&mut self.all_runs()) - &generations(&mut self.all_runs().filter(alive))
    }

    /// At most one merge a commit: with a fan-in of 8 that keeps up, and no commit waits for more than the longest run a
    /// merge may write. A disk too full for a merge is no reason to stop: the runs only stay as many as they are.
    pub(super) fn merge_if_due(&mut self) -> Result<()> {
        let Some(inputs) = merge::due(&self.runs, self.tuning.fan_in, self.tuning.max_run_rows) else {
            return Ok(());
        };
        self.buffer.release();
        let number = self.next_run;
        let name = tmp_name(number);
        let runs: Vec<&Run> = inputs.iter().map(|&at| &self.runs[at]).collect();
        let record = match merge::write(&self.files, &name, self.ids, number, &runs, &mut self.sort) {
            Ok(Merged::Written(record)) => record,
            Err(error @ LedgerError::DiskFull { .. }) => {
                tracing::warn!(%error, "runs could not be merged; looking identities up takes longer until they are");
                self.files.discard(&name);
                return Ok(());
            }
            Err(error) => return Err(error),
            Ok(Merged::Damaged(input, error)) => {
                let run = &mut self.runs[inputs[input]];
                run.is_damaged = true;
                run.note(error, &mut self.probe.damage)?;
                self.files.discard(&name);
                return Ok(());
            }
        };
        self.next_run += 1;
        let merged = Run::open(&self.files, &name, record, self.ids)?;
        let numbers: BTreeSet<u64> = runs.iter().map(|run| run.record.number).collect();
        let (inputs, kept) = self.runs.drain(..).partition(|run| numbers.contains(&run.record.number));
        self.runs = kept;
        let added = self.install(CommitRecord { next_run: self.next_run, ..self.last }, vec![merged], &inputs)?;
        self.runs.extend(added);
        Ok(())
    }
}
