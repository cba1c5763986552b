//! Merging runs: which are due, and writing one run from several. A merge changes no answer, only how many runs are
//! probed. It stays within a generation, so that a generation can be dropped whole.

use std::collections::BTreeMap;

use super::error::Result;
use super::files::Files;
use super::manifest::{Ids, RunRecord};
use super::rows::{BUCKETS, Row, SortScratch};
use super::run::{ReadError, Run, RunHead, RunWriter};

pub(super) enum Merged {
    Written(RunRecord),
    /// The input of this index has a damaged part; the inputs stay as they are.
    Damaged(usize, ReadError),
}

/// The runs to merge next: the oldest `fan_in` of the smallest size class of a generation that has so many. Sizes are
/// those the runs have, not how often they were merged, so short runs (timers, restarts) go first. Damaged runs
/// stay, or what they hid would be forgotten; so do merges that would grow past `max_rows`.
pub(super) fn due(runs: &[Run], fan_in: usize, max_rows: u64) -> Option<Vec<usize>> {
    let mut classes: BTreeMap<(u32, u32), Vec<usize>> = BTreeMap::new();
    for (at, run) in runs.iter().enumerate().filter(|(_, run)| !run.is_damaged) {
        let class = run.record.rows.max(1).ilog2() / 3;
        classes.entry((class, run.record.generation)).or_default().push(at);
    }
    classes.into_values().find_map(|mut class| {
        class.sort_by_key(|&at| runs[at].record.number);
        class.truncate(fan_in);
        let rows: u64 = class.iter().map(|&at| runs[at].record.rows).sum();
        (class.len() == fan_in && rows <= max_rows).then_some(class)
    })
}

/// Writes the run `number` from `inputs`, bucket by bucket.
pub(super) fn write(
    files: &Files,
    name: &str,
    ids: Ids,
    number: u64,
    inputs: &[&Run],
    sort: &mut SortScratch,
) -> Result<Merged> {
    let mut kept = 0;
    for (at, run) in inputs.iter().enumerate() {
        match run.hidden_rows() {
            Ok(hidden) => kept += run.record.rows - hidden,
            Err(error) => return damaged(at, error),
        }
    }
    let records = || inputs.iter().map(|run| &run.record);
    let head = RunHead {
        ids,
        number,
        generation: records().map(|record| record.generation).max().unwrap_or_default(),
        min_second: records().map(|record| record.min_second).min().unwrap_or_default(),
        max_second: records().map(|record| record.max_second).max().unwrap_or_default(),
        rows: kept,
        extents: inputs.iter().map(|run| run.extents()).sum(),
        span: records().map(|record| record.span).sum(),
    };
    let mut writer = RunWriter::create(files, name, head)?;
    let (mut rows, mut scratch): (Vec<Row>, _) = (Vec::new(), Vec::new());
    for bucket in 0..BUCKETS {
        rows.clear();
        for (at, (run, shift)) in inputs.iter().zip(shifts(inputs)).enumerate() {
            if let Err(error) = run.load_bucket(bucket, shift, &mut scratch, &mut rows) {
                return damaged(at, error);
            }
        }
        sort.sort(&mut rows);
        writer.bucket(&rows)?;
    }
    for (at, (run, shift)) in inputs.iter().zip(shifts(inputs)).enumerate() {
        for page in run.extent_pages(shift) {
            match page {
                Ok(extents) => writer.extents(extents)?,
                Err(error) => return damaged(at, error),
            }
        }
    }
    writer.finish().map(Merged::Written)
}

fn damaged(input: usize, error: ReadError) -> Result<Merged> {
    match error {
        ReadError::Failed(error) => Err(error),
        damage => Ok(Merged::Damaged(input, damage)),
    }
}

/// What is added to each input's codes: the spans before it.
fn shifts(inputs: &[&Run]) -> impl Iterator<Item = u64> {
    inputs.iter().scan(0, |next, run| {
        let shift = *next;
        *next += run.record.span;
        Some(shift)
    })
}
