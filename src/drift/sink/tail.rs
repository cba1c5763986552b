//! A topic and its table for ever: each key is checked once the group has passed its record, and part after part is compared
//! in full, so that keys nobody writes are looked at, too.
//!
//! A round is a bracket: the group's offsets, one snapshot of the table, the topic's ends, and the tail up to them. What
//! looks wrong waits in the queue. Only that a key stayed wrong at every look makes it drift, and the last of these looks
//! has all versions of the key.

mod full;
mod take;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use crate::audit::coverage::Coverage;
use crate::audit::drift::{Claim, DriftSummary, Following};
use crate::audit::finding::Finding;
use crate::audit::verdict::Unread;
use crate::drift::cut::{Settled, Sight};
use crate::drift::follow::queue::{Key, Queue};
use crate::drift::follow::{Rhythm, Rounds, Standing, laws, once};
use crate::drift::history::HistoryTake;
use crate::drift::place::TopicPlace;
use crate::drift::relax::Relaxed;
use crate::drift::say::{self, Difference, Stores};
use crate::drift::shape::{Rows, Shape, by_key, rows_of};
use crate::drift::table::{self, Table};
use crate::drift::topic::{self, Commits, Opened};
use crate::drift::verdict::{Verdict, judge};
use crate::drift::witness::Witness;
use crate::drift::{DriftError, Part, Settings, note};
use crate::engine::{Progress, now_ms};
use crate::source::{PartitionInfo, Properties, Start};
use full::Compared;
use take::{Room, TailTake};

/// Keys that one round looks at.
const MOST_CHECKED: usize = 20_000;

const REOPEN_EVERY: Duration = Duration::from_secs(60);
/// The last look at a key comes a little late.
const SLACK: Duration = Duration::from_secs(3);

/// By partition.
type Offsets = BTreeMap<i32, i64>;

pub struct Tail {
    settings: Settings,
    place: TopicPlace,
    group: String,
    rhythm: Rhythm,
    properties: Properties,
    table: Option<Box<dyn Table>>,
    /// As the table was when it was last opened, and when that was.
    shape: Option<Shape>,
    opened: Instant,
    commits: Option<Commits>,
    /// Where the tail goes on, and what the group had committed in the last round.
    positions: Option<Offsets>,
    committed: Offsets,
    queue: Queue,
    /// Not told yet.
    news: Vec<Finding>,
    compared: BTreeMap<u32, Compared>,
    /// Sums that are not conserved, of each part by id.
    unbalanced: BTreeMap<u32, BTreeMap<String, Finding>>,
    part: Part,
    next_comparison: Instant,
    next_last_look: Instant,
    is_trimmed: bool,
    has_unusable: bool,
    /// What the last round could not read.
    unread: Vec<Unread>,
    coverage: Vec<Coverage>,
    /// Of reading the topic, by id.
    findings: BTreeMap<String, Finding>,
    summary: DriftSummary,
    samples: Vec<String>,
    following: Following,
    bytes: u64,
    table_bytes: u64,
    /// When the tail last left a key out.
    dropped_ms: i64,
    /// When every part had been compared.
    complete: Option<Instant>,
}

impl Tail {
    pub fn new(settings: &Settings, place: &TopicPlace, group: &str, rhythm: &Rhythm) -> Self {
        Self {
            settings: settings.clone(),
            place: place.clone(),
            group: group.to_owned(),
            rhythm: rhythm.clone(),
            properties: place.properties(settings),
            table: None,
            shape: None,
            opened: Instant::now(),
            commits: None,
            positions: None,
            committed: BTreeMap::new(),
            queue: Queue::new(settings.memory_bytes / 2, settings.most_findings, &rhythm.confirm_after),
            news: Vec::new(),
            compared: BTreeMap::new(),
            unbalanced: BTreeMap::new(),
            part: Part { of: rhythm.parts, index: 0 },
            next_comparison: Instant::now(),
            next_last_look: Instant::now(),
            is_trimmed: false,
            has_unusable: false,
            unread: Vec::new(),
            coverage: Vec::new(),
            findings: BTreeMap::new(),
            summary: DriftSummary { claim: Claim::Bracketed, ..settings.empty_summary() },
            samples: Vec::new(),
            following: Following { parts: rhythm.parts, ..Following::default() },
            bytes: 0,
            table_bytes: 0,
            dropped_ms: 0,
            complete: None,
        }
    }

    /// Opened anew now and then, so that a table that was altered is compared as it is.
    fn table(&mut self) -> Result<Box<dyn Table>, DriftError> {
        if let Some(table) = self.table.take().filter(|_| self.opened.elapsed() < REOPEN_EVERY) {
            return Ok(table);
        }
        let table = table::open(&self.settings.second, &self.settings.chosen, &self.settings.limits)?;
        Relaxed::new(&self.settings.relaxed, table.shape())?;
        self.opened = Instant::now();
        let is_altered = self.shape.replace(table.shape().clone()).is_some_and(|before| before != *table.shape());
        if is_altered {
            tracing::warn!(table = table.name(), "its columns have changed; everything is compared anew");
            self.forget();
            self.compared.clear();
            self.complete = None;
            self.next_comparison = Instant::now();
        }
        Ok(table)
    }

    /// Everything that one round may look at.
    fn all(&mut self, table: &mut dyn Table, progress: &Arc<Progress>) -> Result<(), DriftError> {
        self.check(table, progress)?;
        if !progress.is_stopped() {
            self.last_looks(table, progress)?;
        }
        if !progress.is_stopped() && self.next_comparison <= Instant::now() {
            self.compare(table, progress)?;
        }
        Ok(())
    }

    /// The tail up to the topic's ends, and the keys that are due by then.
    fn check(&mut self, table: &mut dyn Table, progress: &Arc<Progress>) -> Result<(), DriftError> {
        let (committed, positions) = self.ask()?;
        table.begin()?;
        let opened = topic::open_at(&self.properties, &self.place.topic, &positions)?;
        let settled = Settled::new(committed);
        let dropped = self.queue.dropped;
        let sound = self.read_tail(opened, &positions, &settled, table, progress)?;
        self.queue.settle(&settled);
        let is_sound = |partition: Option<i32>| match partition {
            Some(partition) => sound.contains(&partition),
            None => self.unread.is_empty() && !sound.is_empty(),
        };
        let due = match progress.is_stopped() {
            false => self.queue.due(now_ms(), is_sound, MOST_CHECKED),
            true => Vec::new(),
        };
        let rows = if due.is_empty() { Rows::new() } else { by_key(table.rows(&due)?) };
        table.end()?;
        self.judge(&due, &rows, table);
        if self.queue.dropped > dropped {
            self.dropped_ms = now_ms();
        }
        if !sound.is_empty() {
            self.following.compared_ms = Some(now_ms());
        }
        Ok(())
    }

    /// What the group has committed, and where the tail goes on. Where the group went back, its records come again and so
    /// must we.
    fn ask(&mut self) -> Result<(Offsets, Offsets), DriftError> {
        let commits = match &mut self.commits {
            Some(commits) => commits,
            none => none.insert(Commits::connect(&self.properties, &self.place.topic, &self.group)?),
        };
        let committed = commits.ask()?;
        let is_back = |(partition, before): (&i32, &i64)| committed.get(partition).is_none_or(|now| now < before);
        if self.committed.iter().any(is_back) {
            tracing::info!(group = self.group, "the group went back; its records are followed again from there");
            self.forget();
        }
        self.committed.clone_from(&committed);
        if let Some(positions) = &self.positions {
            return Ok((committed, positions.clone()));
        }
        // What is on its way now may still be written again; a partition the group has not begun is followed from its end.
        let opened = topic::open(&self.properties, &self.place.topic, Start::End, &[])?;
        let at = |info: &PartitionInfo| {
            (info.partition, committed.get(&info.partition).copied().unwrap_or(info.from).max(info.log_start))
        };
        let positions: Offsets = opened.partitions.iter().map(at).collect();
        self.positions = Some(positions.clone());
        Ok((committed, positions))
    }

    fn forget(&mut self) {
        self.positions = None;
        self.queue.forget();
    }

    /// Gives the partitions that were read to their ends: their keys can be judged.
    fn read_tail(
        &mut self,
        opened: Opened,
        from: &Offsets,
        settled: &Settled,
        table: &dyn Table,
        progress: &Arc<Progress>,
    ) -> Result<BTreeSet<i32>, DriftError> {
        let is_cut = |info: &PartitionInfo| {
            let is_gone = |from: &i64| *from < info.log_start || info.until.is_some_and(|until| until < *from);
            from.get(&info.partition).is_some_and(is_gone)
        };
        if opened.partitions.iter().any(is_cut) {
            tracing::warn!(topic = self.place.topic, "records that were to be followed are gone; the tail begins anew");
            self.forget();
            return Ok(BTreeSet::new());
        }
        let (shape, method) = (table.shape(), table.method());
        let room = Room { queue: &self.queue, bytes: &AtomicUsize::new(0), most_bytes: self.settings.memory_bytes / 4 };
        let sight = Sight::Offsets(settled.clone());
        let reader = || HistoryTake::new(None, Witness::new(shape, &self.place, &sight), shape.keys.len(), method);
        let (read, takers) = opened.read(progress, || TailTake::new(reader(), &room))?;
        let taken: Vec<_> = takers.into_iter().map(TailTake::end).collect();
        if progress.is_stopped() {
            // What was read of it is read again.
            return Ok(BTreeSet::new());
        }
        for taken in taken {
            self.queue.dropped += taken.dropped;
            self.queue.give_up(taken.given_up);
            self.queue.take(taken.histories);
        }
        let mut sound = BTreeSet::new();
        let positions = self.positions.get_or_insert_default();
        for part in &read.coverage {
            let left = part.holes.unstable + part.holes.unfetched;
            positions.insert(part.partition, part.until - left as i64);
            // A group that reads what is not committed may have written more than can be read here.
            let is_readable = settled.below(part.partition) <= part.stable_end();
            if is_readable && part.holes.unfetched == 0 && part.holes.unreadable == 0 {
                sound.insert(part.partition);
            }
        }
        self.bytes += read.bytes;
        self.note(read.findings);
        self.unread = read.unread;
        Ok(sound)
    }

    fn note(&mut self, findings: Vec<Finding>) {
        self.findings.extend(findings.into_iter().map(|finding| (finding.id.clone(), finding)));
    }

    fn judge(&mut self, keys: &[Key], rows: &Rows, table: &dyn Table) {
        let now = now_ms();
        let (shape, method) = (table.shape(), table.method());
        let stores = Stores { first: &self.place.topic, second: table.name(), shape, method };
        // What does not fit was refused when the table was opened.
        let all = self.settings.relaxed.clone();
        let relaxed = Relaxed::new(&all, shape).unwrap_or_default();
        for key in keys {
            let mut verdict = judge(self.queue.history(key), rows_of(rows, key), self.is_trimmed);
            let forgiven = verdict.actual().and_then(|row| relaxed.forgives_any(self.queue.history(key), row));
            if forgiven.is_some() {
                verdict = Verdict::Fine;
            }
            let found = self.finding(key, &verdict, &stores);
            self.news.extend(self.queue.judged(key, &verdict, found, now));
        }
    }

    fn finding(&self, key: &Key, verdict: &Verdict, stores: &Stores<'_>) -> Option<Finding> {
        let finding = Difference::of(key, verdict)?.finding(&self.settings, stores);
        let finding = say::with_records(finding, &self.place.topic, verdict);
        Some(say::graded(finding, verdict, self.queue.history(key), self.has_unusable))
    }

    /// Over all parts.
    fn summary(&self) -> DriftSummary {
        let mut summary = self.summary.clone();
        let parts = || self.compared.values();
        summary.keys = parts().map(|part| part.keys).sum();
        summary.rows = parts().map(|part| part.rows).sum();
        summary.in_flight = parts().map(|part| part.in_flight).sum();
        summary.suspects = self.queue.suspects();
        summary.laws = laws(parts().map(|part| part.laws.as_slice()));
        summary.table_bytes = self.table_bytes;
        summary.unverifiable.clone_from(&self.queue.unverifiable);
        for (reason, count) in parts().flat_map(|part| &part.unverifiable) {
            note(&mut summary.unverifiable, reason, *count);
        }
        note(&mut summary.unverifiable, "not-looked-at", self.queue.dropped);
        let mut following = self.following.clone();
        following.wrong = self.queue.ages(now_ms());
        following.waiting = self.queue.waiting();
        (following.checked, following.resolved) = (self.queue.checked_total, self.queue.resolved_total);
        following.compared_parts = self.compared.keys().copied().collect();
        let settled = self.rhythm.confirm_after.iter().max().copied().unwrap_or_default() + SLACK;
        following.is_complete = self.complete.is_some_and(|at| at.elapsed() > settled);
        summary.following = Some(following);
        summary
    }
}

impl Rounds for Tail {
    fn round(&mut self, progress: &Arc<Progress>) -> Result<Vec<Finding>, DriftError> {
        let mut table = self.table()?;
        // Of this round: a wish to stop reaches what is read step by step.
        table.report_to(progress);
        let before = table.bytes();
        let done = self.all(&mut *table, progress);
        self.table_bytes += table.bytes() - before;
        self.summary.second = table.name().to_owned();
        match done {
            Ok(()) => {
                self.table = Some(table);
                Ok(std::mem::take(&mut self.news))
            }
            Err(error) => {
                // Connections that failed are not asked again.
                self.commits = None;
                Err(error)
            }
        }
    }

    fn rest(&self) -> Duration {
        let shortest = self.rhythm.confirm_after.iter().min().copied().unwrap_or(Duration::from_secs(1));
        shortest.clamp(Duration::from_millis(100), Duration::from_secs(1))
    }

    fn standing(&self) -> Standing {
        let unread = once(self.compared.values().flat_map(|part| &part.unread).chain(&self.unread));
        Standing {
            summary: self.summary(),
            drift: self
                .queue
                .findings()
                .into_iter()
                .chain(self.unbalanced.values().flat_map(BTreeMap::values).cloned())
                .collect(),
            of_reading: self.findings.values().cloned().collect(),
            coverage: self.coverage.clone(),
            unread,
            samples: self.samples.clone(),
            bytes: self.bytes,
        }
    }
}
