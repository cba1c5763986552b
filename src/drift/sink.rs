//! A topic and the table that a consumer group writes it to, by a bracketed snapshot.
//!
//! The group's offsets are read before the table's snapshot is taken, and the topic's ends after it. A record below the
//! committed offset is in the snapshot: the group commits what it has written. One above the end is not. A key without a
//! record between the two must be exactly what the topic says; one with such records may be any of them. A sink that crashes
//! and writes again only goes back to records above its committed offset.
//!
//! `captured`: the topic holds the table's changes; `balance`: sums that must be conserved; `lost`: changes it never had.

mod balance;
mod captured;
mod lost;
mod state;
pub mod tail;
pub mod take;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::conserve::judge::Judged;
use super::conserve::law::{self, Bound};
use super::cut::{Settled, Sight};
use super::digest::{Method, bucket_of};
use super::fold::Fold;
use super::history::{self, Histories, History, HistoryTake};
use super::localise::{Localised, Side, localise};
use super::place::TopicPlace;
use super::relax::Relaxed;
use super::say::{self, Difference, Stores};
use super::shape::{Rows, Shape, by_key};
use super::table::Table;
use super::topic::{self, Opened, Read};
use super::verdict::{Verdict, judge};
use super::witness::Witness;
use super::{DriftError, Settings, Told, note};
use crate::audit::drift::{Claim, Cut, DriftSummary};
use crate::audit::finding::Grade;
use crate::audit::verdict::{Report, Unread};
use crate::engine::{Progress, now_ms};
use crate::source::{PartitionInfo, Properties, Start};
use balance::View;
use lost::{Doubted, Search};
use state::{in_flight_suspects, sums_of, unjudged, unreadable_yet};
use take::{FoldTake, Taken, UNUSABLE};

pub fn compare(
    settings: &Settings,
    place: &TopicPlace,
    table: &mut dyn Table,
    progress: &Arc<Progress>,
) -> Result<Report, DriftError> {
    let began = Instant::now();
    let mut sink = Sink::new(settings, place, table.method(), progress);
    Relaxed::new(&settings.relaxed, table.shape())?;
    sink.laws = law::bind(&settings.laws, table.shape())?;
    sink.is_captured = settings.group.is_none() && captured::is_captured_from(table, place, &sink.properties)?;
    let Look { mut told, suspects, doubted } = match &settings.named {
        Some(named) => sink.named(table, &named.keys(table.shape())?),
        None => sink.first_look(table)?,
    };
    sink.search(table.shape()).run(&doubted, &mut told)?;
    if !suspects.is_empty() && !progress.is_stopped() {
        if settings.named.is_none() {
            super::pause(settings, progress);
        }
        sink.confirm(table, suspects, &mut told)?;
    } else if !told.judged.wrong.is_empty() {
        super::pause(settings, progress);
    }
    sink.confirm_balance(table, &mut told)?;
    told.summary.table_bytes = table.bytes();
    if let Some(file) = &settings.repair {
        file.write(settings, table, &told.summary, &told.fixes)?;
    }
    if !sink.is_captured {
        let unjudged = unjudged(settings, &told.summary.cuts, &told.read);
        told.read.unread.extend(unjudged);
    }
    Ok(say::report(settings, told, progress.is_stopped(), began.elapsed()))
}

struct Sink<'a> {
    settings: &'a Settings,
    place: &'a TopicPlace,
    properties: Properties,
    method: Method,
    progress: &'a Arc<Progress>,
    /// The topic holds the table's changes, and nobody writes the table from it.
    is_captured: bool,
    laws: Vec<Bound>,
}

/// Both ends of a cut, and the topic opened at the second one.
struct Bracket {
    sight: Sight,
    cuts: Vec<Cut>,
    opened: Opened,
    claim: Claim,
}

/// What a look at everything said: keys that may differ, and keys of which the topic may lack a change.
struct Look {
    told: Told,
    suspects: BTreeSet<u64>,
    doubted: Doubted,
}

impl<'a> Sink<'a> {
    /// Of a table that is written from the topic.
    fn new(settings: &'a Settings, place: &'a TopicPlace, method: Method, progress: &'a Arc<Progress>) -> Self {
        let properties = place.properties(settings);
        Self { settings, place, properties, method, progress, is_captured: false, laws: Vec::new() }
    }

    /// Takes the snapshot of the table between the two ends of the cut.
    fn bracket(&self, table: &mut dyn Table, wait: Duration) -> Result<Bracket, DriftError> {
        if self.is_captured {
            return self.captured(table, wait);
        }
        let topic = &self.place.topic;
        let committed = match &self.settings.group {
            Some(group) => topic::committed(&self.properties, topic, group)?,
            None => topic::offsets_at(&self.properties, topic, now_ms() - self.settings.settle.as_millis() as i64)?,
        };
        table.begin()?;
        let opened = topic::open(&self.properties, topic, Start::Beginning, &[])?;
        let settled = Settled::new(committed);
        let cut = |info: &PartitionInfo| Cut {
            partition: info.partition,
            settled: settled.below(info.partition),
            end: info.until.unwrap_or(info.from),
        };
        let cuts = opened.partitions.iter().map(cut).collect();
        let claim = if self.settings.group.is_some() { Claim::Bracketed } else { Claim::Heuristic };
        Ok(Bracket { sight: Sight::Offsets(settled), cuts, opened, claim })
    }

    fn first_look(&self, table: &mut dyn Table) -> Result<Look, DriftError> {
        let mut wait = self.settings.settle;
        let until = Instant::now() + self.settings.wait;
        loop {
            let mut look = self.look(table, wait)?;
            let is_late = self.is_captured && look.told.summary.claim == Claim::Heuristic;
            if is_late && look.suspects.is_empty() && look.told.read.unread.is_empty() {
                // Nothing can be missing from the topic where it says what the table says.
                look.told.summary.claim = Claim::Exact;
                return Ok(look);
            }
            let left = until.saturating_duration_since(Instant::now());
            if !is_late || left.is_zero() || self.progress.is_stopped() {
                return Ok(look);
            }
            wait = (wait * 2).min(left);
        }
    }

    /// What there is to tell when these keys are looked at, and no other.
    fn named(&self, table: &dyn Table, keys: &[Vec<String>]) -> Look {
        let first = format!("topic {}", self.place.topic);
        let claim = if self.is_captured { Claim::Exact } else { Claim::Heuristic };
        let claim = if self.settings.group.is_some() { Claim::Bracketed } else { claim };
        let mut summary = DriftSummary::new(first, table.name().to_owned(), claim);
        summary.columns = table.shape().columns().map(|column| column.name.clone()).collect();
        summary.keys = keys.len() as u64;
        summary.suspects = summary.keys;
        summary.located_by = "named".to_owned();
        let suspects = self.method.keys(keys).into_iter().collect();
        Look { told: Told::new(Read::default(), summary), suspects, doubted: Doubted::default() }
    }

    /// At everything; the keys that look wrong.
    fn look(&self, table: &mut dyn Table, wait: Duration) -> Result<Look, DriftError> {
        let Bracket { sight, cuts, opened, claim } = self.bracket(table, wait)?;
        self.progress.enter(format!("adding up {}", table.name()));
        let shape = table.shape().clone();
        let fold = Fold::new(self.settings.memory_bytes);
        let unlooked = lost::unlooked(self.place, &opened);
        // The database adds up while the topic is read.
        let ((mut read, taken), mut second) = std::thread::scope(|scope| {
            let adding = scope.spawn(|| table.sums(self.settings.part));
            let folded = self.fold(opened, &shape, &sight, &fold, unlooked.is_none());
            let sums = adding.join().map_err(|_| DriftError::Thread)?;
            Ok::<_, DriftError>((folded?, sums?))
        })?;
        let first = format!("topic {}", self.place.topic);
        let mut summary = DriftSummary::new(first, table.name().to_owned(), claim);
        summary.cuts = cuts;
        summary.snapshot = snapshot(&sight);
        summary.columns = shape.columns().map(|column| column.name.clone()).collect();
        summary.rows = second.rows();
        summary.befores = lost::befores(unlooked, &taken.images);
        read.unread.extend(unreadable_yet(self.settings, &summary.cuts, &read));
        let useless = taken.useless();
        for why in useless.iter().cloned().chain(taken.without_columns(&shape)) {
            let topic = self.place.topic.clone();
            read.unread.push(Unread { topic, partition: None, from: None, until: None, why });
        }
        if self.progress.is_stopped() || useless.is_some() {
            // What was read of it tells nothing.
            table.end()?;
            let judged = match useless {
                Some(_) => Judged::unsaid("the topic's records say nothing of rows"),
                None => Judged::stopped(),
            };
            let told = Told { samples: taken.samples, judged, ..Told::new(read, summary) };
            return Ok(Look { told, suspects: BTreeSet::new(), doubted: Doubted::default() });
        }
        let (first, open) = sums_of(&fold, self.settings.part, &mut summary)?;
        let doubted = Doubted::new(fold.doubts(), &taken.images, self.settings.most_findings);
        // Keys in flight are judged one by one, and are in no sum.
        let keys = taken.texts(&open);
        let outside = table.digests_of(&keys)?;
        outside.iter().for_each(|row| second.add(*row, -1));
        let mut suspects = in_flight_suspects(&open, &outside);
        self.progress.enter(format!("looking for the keys that differ in {}", table.name()));
        let Localised { keys: localised, how } =
            localise(&mut Side::Fold(&fold, self.method), &first, &mut Side::Table(table), &second, &outside)?;
        let rows = if self.laws.is_empty() { Vec::new() } else { table.rows(&keys)? };
        let view =
            View { fold: &fold, sight: &sight, shape: &shape, read: &read, open: &open, keys: &keys, rows: &rows };
        let judged = self.balance(table, &view)?;
        table.end()?;
        suspects.extend(localised);
        summary.suspects = suspects.len() as u64;
        summary.located_by = format!("{how:?}").to_lowercase();
        taken.count(&shape, &mut summary);
        let told = Told { samples: taken.samples, judged, ..Told::new(read, summary) };
        Ok(Look { told, suspects, doubted })
    }

    /// Reads the topic into the fold.
    fn fold(
        &self,
        opened: Opened,
        shape: &Shape,
        sight: &Sight,
        fold: &Fold,
        has_befores: bool,
    ) -> Result<(Read, Taken), DriftError> {
        let (method, part) = (self.method, self.settings.part);
        let taker = || FoldTake::new(shape, self.place, sight, fold, method, part).with_befores(has_befores);
        let (read, takers) = opened.read(self.progress, taker)?;
        let mut taken = Taken::new(shape.values.len());
        for taker in takers {
            taken.add(taker.end()?);
        }
        Ok((read, taken))
    }

    /// Looks again at what looked wrong, under a new bracket, with all versions of each key.
    fn confirm(&self, table: &mut dyn Table, mut suspects: BTreeSet<u64>, told: &mut Told) -> Result<(), DriftError> {
        self.progress.enter(format!("looking again at {}", crate::report::plural(suspects.len() as u64, "key")));
        super::limit(self.settings, &mut suspects, &mut told.summary);
        // What did not show itself before has had its time.
        let is_late = told.summary.claim == Claim::Heuristic;
        let wait = if is_late { self.settings.settle } else { self.settings.wait };
        let Bracket { sight, cuts, opened, claim } = self.bracket(table, wait)?;
        let shape = table.shape().clone();
        let keys = shape.keys.len();
        let taker = || HistoryTake::new(Some(&suspects), Witness::new(&shape, self.place, &sight), keys, self.method);
        let (mut read, takers) = opened.read(self.progress, taker)?;
        read.unread.extend(unreadable_yet(self.settings, &cuts, &read));
        let unusable: u64 = takers.iter().map(|taker| taker.unusable).sum();
        if self.settings.named.is_some() {
            note(&mut told.summary.unverifiable, UNUSABLE, unusable);
        }
        let has_unusable = unusable > 0;
        let mut histories = history::merge(takers.into_iter().map(|taker| taker.histories).collect());
        let mut rows = self.rows(table, &suspects, &histories)?;
        table.end()?;
        let is_trimmed = read.is_trimmed;
        told.summary.cuts = cuts;
        told.summary.snapshot = snapshot(&sight);
        told.summary.claim = told.summary.claim.max(claim);
        if self.settings.named.is_some() {
            told.summary.rows = rows.values().map(Vec::len).sum::<usize>() as u64;
            told.read = read;
        } else {
            told.read.unread.append(&mut read.unread);
        }
        let is_whole = told.read.unread.is_empty();
        // A key of which no record was read may have had one.
        let is_trimmed = told.read.is_trimmed || is_trimmed || !is_whole;
        let method = self.method;
        let stores = Stores { first: &self.place.topic, second: table.name(), shape: &shape, method };
        let relaxed = Relaxed::new(&self.settings.relaxed, &shape)?;
        let subjects: BTreeSet<Vec<String>> = histories.keys().chain(rows.keys()).cloned().collect();
        for key in &subjects {
            // Let go of as soon as a finding has what is told of them.
            let (history, rows) = (histories.remove(key), rows.remove(key).unwrap_or_default());
            let verdict = judge(history.as_ref(), &rows, is_trimmed);
            if let Verdict::Unverifiable(reason) = verdict {
                note(&mut told.summary.unverifiable, reason, 1);
            }
            if matches!(verdict, Verdict::Unverifiable(_)) || history.as_ref().is_some_and(History::is_open) {
                told.summary.undecided.buckets.insert(bucket_of(method.key_of(key)));
            }
            if let Some(columns) = verdict.actual().and_then(|row| relaxed.forgives_any(history.as_ref(), row)) {
                columns.iter().for_each(|column| note(&mut told.summary.relaxed, column, 1));
                continue;
            }
            let Some(difference) = Difference::of(key, &verdict) else { continue };
            let mut finding = difference.finding(self.settings, &stores);
            if told.summary.claim == Claim::Heuristic || !is_whole {
                // A slow writer looks the same, and so does a record that could not be read.
                finding.grade = Grade::Possible;
            }
            let finding = say::with_records(finding, &self.place.topic, &verdict);
            let finding = say::graded(finding, &verdict, history.as_ref(), has_unusable);
            told.take(self.settings, &difference, finding);
        }
        Ok(())
    }

    fn search<'s>(&'s self, shape: &'s Shape) -> Search<'s> {
        let Self { settings, place, properties, method, progress, .. } = self;
        Search { settings, place, properties, shape, method: *method, progress }
    }

    /// By their keys, and by the hashes of those that the topic never had.
    fn rows(&self, table: &mut dyn Table, suspects: &BTreeSet<u64>, histories: &Histories) -> Result<Rows, DriftError> {
        let mut known: BTreeSet<Vec<String>> = histories.keys().cloned().collect();
        if let Some(named) = &self.settings.named {
            known.extend(named.keys(table.shape())?);
        }
        let known: Vec<Vec<String>> = known.into_iter().collect();
        let with_texts: BTreeSet<u64> = self.method.keys(&known).into_iter().collect();
        let without: Vec<u64> = suspects.difference(&with_texts).copied().collect();
        let mut found = table.rows(&known)?;
        if !without.is_empty() {
            found.extend(table.rows_by_hash(&without)?);
        }
        Ok(by_key(found))
    }
}

fn snapshot(sight: &Sight) -> Option<String> {
    match sight {
        Sight::Offsets(_) => None,
        Sight::Transactions { snapshot, .. } => Some(snapshot.to_string()),
    }
}
