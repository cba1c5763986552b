//! Merging runs, so that a look-up asks few of them.

use std::collections::BTreeMap;

use super::error::Result;
use super::extents::Extents;
use super::manifest::{CommitRecord, RunRecord};
use super::run::{self, Run, Writer};
use super::{Ledger, note};

/// Runs of one size class that are merged into one.
pub(super) const FAN_IN: usize = 8;

impl Ledger {
    /// Merges runs of one generation and size class while there are enough of them, each time as a commit of its own.
    pub(super) fn merge(&mut self) -> Result<()> {
        while let Some(numbers) = self.due() {
            let (inputs, others): (Vec<Run>, Vec<Run>) =
                std::mem::take(&mut self.runs).into_iter().partition(|run| numbers.contains(&run.record.number));
            self.runs = others;
            let (generation, rows) = (inputs[0].record.generation, inputs.iter().map(|run| run.record.rows).sum());
            let mut extents = Extents::default();
            let shifts: Vec<u64> = inputs.iter().map(|run| extents.append(&run.extents)).collect();
            let number = self.last.next_run;
            let mut writer = Writer::create(&self.files, self.ids, number, generation, rows, &extents)?;
            let mut lost = Vec::new();
            for bucket in 0..=255u8 {
                let mut all = Vec::new();
                for (run, &shift) in inputs.iter().zip(&shifts) {
                    if let Err(damage) = run.bucket(bucket).and_then(|part| part.rows(bucket, &mut all, shift)) {
                        lost.push(damage.0);
                    }
                }
                // A fresh sighting past the horizon replaces the older one: codes rise from run to run.
                all.sort_unstable_by_key(|row| (row.identity, std::cmp::Reverse(row.code)));
                all.dedup_by_key(|row| row.identity);
                for row in &all {
                    writer.push(&self.files, row)?;
                }
            }
            lost.into_iter().for_each(|what| note(&mut self.damage, what));
            let resident = self.has_room(rows);
            let merged = writer.finish(&self.files, extents, resident)?;
            self.files.sync_dir()?;
            let next = CommitRecord { next_run: number + 1, ..self.last };
            let removed: Vec<RunRecord> = inputs.iter().map(|run| run.record).collect();
            self.manifest.commit(&self.files, &next, &[merged.record], &removed)?;
            self.last = next;
            drop(inputs);
            removed.iter().for_each(|record| self.files.discard(&run::file_name(record.number)));
            // Where its youngest input stood, so that the order of runs stays the order of time.
            let at = self.runs.iter().position(|run| removed.iter().all(|gone| gone.number < run.record.number));
            self.runs.insert(at.unwrap_or(self.runs.len()), merged);
        }
        Ok(())
    }

    fn due(&self) -> Option<Vec<u64>> {
        let mut classes: BTreeMap<(u32, u32), Vec<u64>> = BTreeMap::new();
        for run in &self.runs {
            let class = run.record.rows.max(1).ilog2() / FAN_IN.ilog2();
            classes.entry((run.record.generation, class)).or_default().push(run.record.number);
        }
        classes.into_values().find(|numbers| numbers.len() >= FAN_IN)
    }
}
