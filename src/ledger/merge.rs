//! Merging runs: which are due, and one run written from several on a thread of its own. A merge changes no answer,
//! only how many runs are probed. It stays within a generation, so that a generation can be dropped whole.
//!
//! The thread has files of its own and shares nothing with the ledger, so it needs no lock; runs that are dropped in
//! the meantime can still be read, and what came of them is then thrown away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::error::{LedgerError, Result};
use super::files::Files;
use super::forgotten::Forgotten;
use super::manifest::{Ids, RunRecord};
use super::paused::Plan;
use super::rows::{BUCKET_BITS, BUCKETS, Row, SortScratch};
use super::run::{self, ReadError, Run, RunHead, RunWriter, Unfinished};

/// Rows sorted at a time: with their copy and their keys they stay in a core's own cache.
pub(super) const SORTED_ROWS: u64 = 32 << 10;

pub(super) enum Merged {
    Written(RunRecord),
    /// The run of this number has a damaged part; the inputs stay as they are.
    Damaged(u64, ReadError),
    /// Asked to stop before it was done.
    Stopped,
}

/// The runs to merge next: the oldest `fan_in` of the smallest size class of a generation that has so many. Sizes are
/// those the runs have, not how often they were merged, so short runs (timers, restarts) go first. Damaged runs
/// stay, or what they hid would be forgotten; so do merges that would grow past `max_rows`.
pub(super) fn due(runs: &[Run], fan_in: usize, max_rows: u64) -> Option<Vec<RunRecord>> {
    let mut classes: BTreeMap<(u32, u32), Vec<RunRecord>> = BTreeMap::new();
    for run in runs.iter().filter(|run| !run.is_damaged) {
        let class = run.record.rows.max(1).ilog2() / 3;
        classes.entry((class, run.record.generation)).or_default().push(run.record);
    }
    classes.into_values().find_map(|mut class| {
        class.sort_by_key(|run| run.number);
        class.truncate(fan_in);
        let rows: u64 = class.iter().map(|run| run.rows).sum();
        (class.len() == fan_in && rows <= max_rows).then_some(class)
    })
}

/// A merge under way.
pub(super) struct Merge {
    pub number: u64,
    pub inputs: Vec<RunRecord>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Merged>>>,
}

/// What the thread works on.
struct Work {
    files: Files,
    /// Temporary name of what it writes.
    name: String,
    ids: Ids,
    runs: Vec<Run>,
    /// Into how many parts each bucket is cut.
    parts: usize,
    plan: Plan,
    /// Nothing is forgotten: what is written now is what would be written later.
    may_pause: bool,
    stop: Arc<AtomicBool>,
}

impl Merge {
    /// Writes the run of the plan under its temporary name `name`, and syncs it.
    pub fn start(
        files: &Files,
        name: String,
        ids: Ids,
        plan: Plan,
        forgotten: &Forgotten,
        sorted_rows: u64,
    ) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        // Opened here: a moment later their generation may be dropped.
        let open =
            |record: &RunRecord| Ok(Run::open(files, &run::name(record.number), *record, ids)?.forgetting(forgotten));
        let runs = plan.inputs.iter().map(open).collect::<Result<Vec<Run>>>()?;
        let (number, inputs) = (plan.number, plan.inputs.clone());
        let work = Work {
            parts: parts_of_a_bucket(&runs, sorted_rows),
            may_pause: forgotten.len() == 0,
            stop: stop.clone(),
            files: files.clone(),
            name,
            ids,
            runs,
            plan,
        };
        let begin = move || {
            // Whoever waits for an answer goes first. That the system refuses it changes only speed.
            let _ = rustix::process::setpriority_process(None, 5);
            work.merge()
        };
        let spawned = std::thread::Builder::new().name("merge".to_owned()).spawn(begin);
        let thread = Some(spawned.map_err(|source| LedgerError::io(files.dir(), source))?);
        Ok(Self { number, inputs, stop, thread })
    }

    pub fn is_done(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the outcome.
    pub fn finish(&mut self) -> Result<Merged> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(merged)) => merged,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ok(Merged::Stopped),
        }
    }
}

impl Drop for Merge {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its file has a temporary name; the next opening goes on with it or removes it.
            let _ = thread.join();
        }
    }
}

impl Work {
    fn merge(mut self) -> Result<Merged> {
        let resume = self.plan.resume.take();
        let is_resumed = resume.is_some();
        let merged = self.write(resume)?;
        if let Merged::Written(record) = &merged {
            self.files.sync_path(&self.name)?;
            if is_resumed && !self.is_sound(*record)? {
                tracing::warn!("a merge that was resumed went wrong and begins anew");
                self.files.discard(&self.name);
                return Ok(Merged::Stopped);
            }
        }
        Ok(merged)
    }

    /// What was written in two sittings is read once before it takes the place of what it was made from.
    fn is_sound(&self, record: RunRecord) -> Result<bool> {
        let mut flaws = Vec::new();
        let Ok(run) = Run::open(&self.files, &self.name, record, self.ids) else { return Ok(false) };
        run.check(self.ids, &mut flaws, &mut |_| {})?;
        Ok(flaws.is_empty())
    }

    fn write(&mut self, resume: Option<(usize, Unfinished)>) -> Result<Merged> {
        let Self { files, name, runs, parts, .. } = &*self;
        let mut kept = 0;
        for run in runs {
            match run.hidden_rows() {
                Ok(hidden) => kept += run.record.rows - hidden,
                Err(error) => return damaged(run, error),
            }
        }
        let head = head(self.ids, self.plan.number, runs, kept);
        let (first, mut writer) = match resume {
            Some((bucket, unfinished)) => (bucket, RunWriter::resume(files, name, head, unfinished)?),
            None => (0, RunWriter::create(files, name, head)?),
        };
        let mut loader = Loader::new(runs);
        let (mut rows, mut sort): (Vec<Row>, _) = (Vec::new(), SortScratch::default());
        for bucket in first..BUCKETS {
            // One bucket at least, so that even the shortest openings come to an end.
            if bucket > first && self.stop.load(Ordering::Relaxed) {
                let unfinished = writer.pause();
                return self.pause(bucket, unfinished);
            }
            let mut open = writer.begin_bucket();
            for part in 0..*parts {
                rows.clear();
                for (at, run) in runs.iter().enumerate() {
                    if let Err(error) = loader.load(at, bucket, part, *parts, &mut rows) {
                        return damaged(run, error);
                    }
                }
                sort.sort(&mut rows, BUCKET_BITS + parts.ilog2());
                writer.rows(&mut open, &rows)?;
            }
            writer.end_bucket(open)?;
        }
        for (run, shift) in runs.iter().zip(shifts(runs)) {
            for page in run.extent_pages(shift) {
                match page {
                    Ok(extents) => writer.extents(extents)?,
                    Err(error) => return damaged(run, error),
                }
            }
        }
        writer.finish().map(Merged::Written)
    }

    fn pause(&self, bucket: usize, unfinished: Unfinished) -> Result<Merged> {
        let Plan { number, ref inputs, .. } = self.plan;
        let plan = Plan { number, inputs: inputs.clone(), resume: Some((bucket, unfinished)) };
        if self.may_pause {
            plan.keep(&self.files, &self.name)?;
        }
        Ok(Merged::Stopped)
    }
}

fn head(ids: Ids, number: u64, runs: &[Run], rows: u64) -> RunHead {
    let records = || runs.iter().map(|run| &run.record);
    RunHead {
        ids,
        number,
        generation: records().map(|record| record.generation).max().unwrap_or_default(),
        min_second: records().map(|record| record.min_second).min().unwrap_or_default(),
        max_second: records().map(|record| record.max_second).max().unwrap_or_default(),
        rows,
        extents: runs.iter().map(Run::extents).sum(),
        span: records().map(|record| record.span).sum(),
    }
}

/// Into how many parts of equal range a bucket is cut, so that one can be sorted in the cache. Every input must be able
/// to cut its groups there.
fn parts_of_a_bucket(runs: &[Run], sorted_rows: u64) -> usize {
    let rows: u64 = runs.iter().map(|run| run.record.rows).sum();
    let wanted = (rows / BUCKETS as u64 / sorted_rows).next_power_of_two() as usize;
    runs.iter().map(Run::groups_a_bucket).fold(wanted, usize::min)
}

/// Reads the inputs part by part; the prefix of a bucket is read once for all its parts.
struct Loader<'a> {
    runs: &'a [Run],
    shifts: Vec<u64>,
    /// The bucket each run's prefix was read for, and its bytes.
    prefixes: Vec<(Option<usize>, Vec<u8>)>,
    pages: Vec<u8>,
}

impl<'a> Loader<'a> {
    fn new(runs: &'a [Run]) -> Self {
        Self { runs, shifts: shifts(runs).collect(), prefixes: vec![(None, Vec::new()); runs.len()], pages: Vec::new() }
    }

    fn load(
        &mut self,
        at: usize,
        bucket: usize,
        part: usize,
        parts: usize,
        rows: &mut Vec<Row>,
    ) -> std::result::Result<(), ReadError> {
        let (run, (loaded, bytes)) = (&self.runs[at], &mut self.prefixes[at]);
        let prefix = match *loaded == Some(bucket) {
            true => run.prefix_of(bytes),
            false => {
                *loaded = Some(bucket);
                run.prefix(bucket, bytes)?
            }
        };
        let groups = run.groups_a_bucket() / parts;
        run.load_groups(bucket, &prefix, groups * part..groups * (part + 1), self.shifts[at], &mut self.pages, rows)
    }
}

fn damaged(run: &Run, error: ReadError) -> Result<Merged> {
    match error {
        ReadError::Failed(error) => Err(error),
        damage => Ok(Merged::Damaged(run.record.number, damage)),
    }
}

/// What is added to each input's codes: the spans before it.
fn shifts(runs: &[Run]) -> impl Iterator<Item = u64> {
    runs.iter().scan(0, |next, run| {
        let shift = *next;
        *next += run.record.span;
        Some(shift)
    })
}
