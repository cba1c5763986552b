//! A topic and its mirror, record by record, partition by partition. Both are bounded by their last stable offsets; what the
//! source has behind the last record that was copied is lag, no loss.
//!
//! A record is its key, value, headers in their order and, where producers set it, its time; never its offset or epoch.
//! Where one of the topics is compacted, `compacted` compares what each key is in the end.

mod compacted;
mod hash;
mod merge;
mod position;
mod said;
mod take;
mod version;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};
use rustc_hash::{FxHashMap, FxHashSet};

use self::hash::{Hasher, NO_KEY};
use super::align::{Align, Item, Outcome};
use super::conserve::law::Law;
use super::place::TopicPlace;
use super::topic::{self, Read, Take};
use super::{DriftError, Settings, Told, note, say};
use crate::audit::coverage::Coverage;
use crate::audit::drift::{Claim, Cut, DriftSummary};
use crate::audit::finding::{Finding, Grade, Kind, Sighting, Span};
use crate::audit::verdict::{Report, Unread};
use crate::engine::Progress;
use crate::source::{PartitionInfo, Properties, Start};
use crate::wire::Record;

/// Records of the source that are read ahead to find a record of the copy.
const WINDOW: usize = 100_000;
/// Records passed on at a time, and such batches under way.
const BATCH: usize = 1_024;
const QUEUE: usize = 16;
/// Cause of a loss that is all of a partition.
const NOTHING_COPIED: &str = "nothing-copied";

pub fn compare(
    settings: &Settings,
    source: &TopicPlace,
    copy: &TopicPlace,
    progress: &Arc<Progress>,
) -> Result<Report, DriftError> {
    let began = Instant::now();
    if settings.named.is_some() || settings.repair.is_some() {
        return Err(DriftError::Pair(
            "--repair and --keys are for tables: a mirror is repaired by copying again".to_owned(),
        ));
    }
    if !settings.relaxed.is_empty() {
        return Err(DriftError::Pair("--relax is for tables: a mirror has no columns".to_owned()));
    }
    if let Some(law) = settings.laws.first() {
        return Err(no_law(law));
    }
    let summary = DriftSummary::new(format!("topic {}", source.topic), format!("topic {}", copy.topic), Claim::Exact);
    let mut told = Told::new(Read::default(), summary);
    // The copy first: everything in it stood in the source before the source's end is asked for.
    let theirs = topic::open(&copy.properties(settings), &copy.topic, Start::Beginning, &[])?;
    let ours = topic::open(&source.properties(settings), &source.topic, Start::Beginning, &[])?;
    let is_compacted = |info: &PartitionInfo| info.cleanup.is_compacted();
    let is_compacted = ours.partitions.iter().chain(&theirs.partitions).any(is_compacted);
    let known: Vec<i32> = theirs.partitions.iter().map(|info| info.partition).collect();
    let partitions = ours.partitions.iter().map(|info| info.partition);
    let (partitions, unknown): (Vec<i32>, Vec<i32>) = partitions.partition(|partition| known.contains(partition));
    told.read.unread.extend(unknown.into_iter().map(|partition| Unread {
        topic: copy.topic.clone(),
        partition: Some(partition),
        from: None,
        until: None,
        why: "the mirror has no such partition; were they made with the same number?".to_owned(),
    }));
    // What only the mirror has there was not copied from this source.
    let is_foreign = |info: &&PartitionInfo| !partitions.contains(&info.partition) && info.until > Some(info.from);
    let foreign = theirs.partitions.iter().filter(is_foreign).map(|info| Unread {
        topic: copy.topic.clone(),
        partition: Some(info.partition),
        from: Some(info.from),
        until: info.until,
        why: "the source has no such partition: these records are compared with nothing".to_owned(),
    });
    told.read.unread.extend(foreign);
    let hasher = Hasher { with_time: !ours.probe_broker_stamps()? && !theirs.probe_broker_stamps()? };
    let mirror = Mirror { settings, source, copy, progress, hasher };
    if is_compacted {
        let columns = ["value", "headers", "time"].iter().take(if hasher.with_time { 3 } else { 2 });
        told.summary.columns = columns.map(|name| (*name).to_owned()).collect();
        compacted::compare(&mirror, &partitions, &mut told)?;
    } else {
        for partition in partitions {
            if progress.is_stopped() {
                break;
            }
            mirror.partition(partition, &mut told)?;
        }
    }
    grade(&mut told);
    Ok(say::report(settings, told, progress.is_stopped(), began.elapsed()))
}

pub fn no_law(law: &Law) -> DriftError {
    let why = "is for tables: the records of a mirror are compared one by one, and have no columns";
    DriftError::Pair(format!("--conserve \"{law}\" {why}"))
}

/// What may be otherwise than it looks.
fn grade(told: &mut Told) {
    for finding in &mut told.findings {
        // The mirror works, so a partition of which it holds nothing may only be young.
        let is_young = told.summary.rows > 0 && finding.cause.as_deref() == Some(NOTHING_COPIED);
        // Whoever copies what is not committed has it before it can be read here.
        let is_ahead =
            |coverage: &Coverage| coverage.holes.unstable > 0 && Some(coverage.partition) == finding.partition;
        let may_come = finding.kind == Kind::Extra && told.read.coverage.iter().any(is_ahead);
        if is_young || may_come || finding.partition.is_some_and(|partition| is_unread(&told.read, partition)) {
            finding.grade = Grade::Possible;
        }
    }
}

/// That a part of it was not read, on either side.
fn is_unread(read: &Read, partition: i32) -> bool {
    read.unread.iter().any(|unread| unread.partition.is_none_or(|unread| unread == partition))
}

struct Mirror<'a> {
    settings: &'a Settings,
    source: &'a TopicPlace,
    copy: &'a TopicPlace,
    progress: &'a Arc<Progress>,
    hasher: Hasher,
}

impl Mirror<'_> {
    fn partition(&self, partition: i32, told: &mut Told) -> Result<(), DriftError> {
        let properties = |place: &TopicPlace| place.properties(self.settings);
        let open = |place: &TopicPlace, properties: &Properties| {
            topic::open(properties, &place.topic, Start::Beginning, &[partition])
        };
        let theirs = open(self.copy, &properties(self.copy))?;
        let ours = open(self.source, &properties(self.source))?;
        let end = |opened: &topic::Opened| opened.partitions.first().and_then(|info| info.until).unwrap_or(0);
        told.summary.cuts.push(Cut { partition, settled: end(&ours), end: end(&theirs) });
        let (our_sender, our_items) = bounded(QUEUE);
        let (their_sender, their_items) = bounded(QUEUE);
        let (outcome, ours, theirs) = std::thread::scope(|scope| {
            let read = |opened: topic::Opened, sender: Sender<Vec<Item>>| {
                scope.spawn(move || {
                    let (read, takers) = opened.read(self.progress, || Items {
                        sender: sender.clone(),
                        items: Vec::new(),
                        hasher: self.hasher,
                    })?;
                    drop(takers);
                    Ok::<Read, DriftError>(read)
                })
            };
            let ours = read(ours, our_sender);
            let theirs = read(theirs, their_sender);
            let outcome = Align::new(each(our_items), WINDOW, self.hasher.with_time).run(each(their_items));
            let joined = |thread: std::thread::ScopedJoinHandle<'_, Result<Read, DriftError>>| {
                thread.join().map_err(|_| DriftError::Thread)?
            };
            Ok::<_, DriftError>((outcome, joined(ours)?, joined(theirs)?))
        })?;
        [ours, theirs].into_iter().for_each(|read| told.read.add(read));
        self.say(partition, &outcome, told);
        Ok(())
    }

    fn say(&self, partition: i32, outcome: &Outcome, told: &mut Told) {
        let summary = &mut told.summary;
        summary.keys += outcome.matched + outcome.lost.len() as u64 + outcome.lag + outcome.before;
        summary.rows += outcome.matched + (outcome.repeated.len() + outcome.foreign.len()) as u64 + outcome.unknown;
        summary.lag += outcome.lag;
        note(&mut summary.unverifiable, "before-mirroring", outcome.before);
        summary.undecided.below.extend(outcome.first.map(|first| (partition, first)));
        if let Some(from) = outcome.astray {
            told.read.unread.push(Unread {
                topic: self.copy.topic.clone(),
                partition: Some(partition),
                from: Some(from),
                until: None,
                why: format!(
                    "these records are not among the next {} of the source, and their times do not say where to look",
                    crate::report::format::thousands(WINDOW as u64)
                ),
            });
        }
        note(&mut summary.unverifiable, "retention", outcome.unknown);
        let (source, copy) = (&*self.source.topic, &*self.copy.topic);
        // A record with other content is a lost one and a foreign one of its key.
        let mut by_key: FxHashMap<u64, VecDeque<Item>> = FxHashMap::default();
        for item in outcome.foreign.iter().filter(|item| item.key != NO_KEY) {
            by_key.entry(item.key).or_default().push_back(*item);
        }
        let (mut lost, mut paired) = (Vec::new(), FxHashSet::default());
        for item in &outcome.lost {
            let Some(other) = by_key.get_mut(&item.key).and_then(VecDeque::pop_front) else {
                lost.push(*item);
                continue;
            };
            paired.insert(other.offset);
            summary.differs += 1;
            let what = if self.hasher.with_time { "content or time" } else { "content" };
            let why = format!(
                "offset {} of {source}[{partition}] stands at offset {} of {copy} with other {what}",
                item.offset, other.offset
            );
            let mut finding = placed(Kind::Differs, source, copy, partition, &[*item], why);
            finding.sightings.push(sighting(copy, partition, &other));
            told.findings.push(finding);
        }
        let foreign: Vec<Item> =
            outcome.foreign.iter().filter(|item| !paired.contains(&item.offset)).copied().collect();
        summary.missing += lost.len() as u64;
        summary.extra += foreign.len() as u64;
        summary.repeated += outcome.repeated.len() as u64;
        summary.reordered += outcome.reordered.len() as u64;
        let groups = [
            (Kind::Missing, source, &lost, format!("are not in {copy}")),
            (Kind::Extra, copy, &foreign, format!("are not in {source}")),
            (Kind::Duplicate, copy, &outcome.repeated, format!("stand in {copy} more often than in {source}")),
            (Kind::Reorder, copy, &outcome.reordered, format!("came later than records that follow them in {source}")),
        ];
        for (kind, of, items, says) in groups {
            for run in items.chunk_by(|a, b| a.offset + 1 == b.offset) {
                let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
                let records = crate::report::plural(run.len() as u64, "record");
                let why =
                    format!("{records} of {of}[{partition}] at offsets {} to {} {says}", first.offset, last.offset);
                let mut finding = placed(kind, of, if of == source { copy } else { source }, partition, run, why);
                if kind == Kind::Missing && outcome.matched == 0 && outcome.foreign.is_empty() {
                    finding.cause = Some(NOTHING_COPIED.to_owned());
                }
                told.findings.push(finding);
            }
        }
        told.summary.confirmed = told.findings.len() as u64;
    }
}

fn placed(kind: Kind, topic: &str, other: &str, partition: i32, run: &[Item], why: String) -> Finding {
    let from = run.first().map_or(0, |item| item.offset);
    let until = run.last().map_or(0, |item| item.offset + 1);
    let mut finding = Finding::new(kind, topic, &[&other, &partition, &from, &until], why);
    finding.partition = Some(partition);
    finding.offsets = Some(Span::new(from, until));
    finding.count = run.len() as u64;
    finding.cause = matches!(kind, Kind::Duplicate | Kind::Reorder).then(|| "mirror".to_owned());
    finding.first_seen = run.iter().map(|item| item.timestamp).min();
    finding.last_seen = run.iter().map(|item| item.timestamp).max();
    finding.sightings.extend(run.first().map(|item| sighting(topic, partition, item)));
    finding
}

fn sighting(topic: &str, partition: i32, item: &Item) -> Sighting {
    Sighting::new(topic, partition, item.offset, item.timestamp, item.hash)
}

/// The items of a channel, one by one.
fn each(items: Receiver<Vec<Item>>) -> impl Iterator<Item = Item> {
    items.into_iter().flatten()
}

/// Passes records on as items.
struct Items {
    sender: Sender<Vec<Item>>,
    items: Vec<Item>,
    hasher: Hasher,
}

impl Take for Items {
    fn take(&mut self, _: i32, record: &Record<'_>) -> Result<(), DriftError> {
        self.items.push(self.hasher.item(record));
        if self.items.len() >= BATCH {
            self.pass_on();
        }
        Ok(())
    }
}

impl Items {
    fn pass_on(&mut self) {
        // Nobody listens any more when the comparison has failed.
        let _ = self.sender.send(std::mem::take(&mut self.items));
    }
}

impl Drop for Items {
    fn drop(&mut self) {
        if !self.items.is_empty() {
            self.pass_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_read_leaves_findings_possible() {
        let summary = DriftSummary::new(String::new(), String::new(), Claim::Exact);
        let mut read = Read::default();
        let (topic, why) = ("copy".to_owned(), String::new());
        read.unread.push(Unread { topic, partition: Some(1), from: None, until: None, why });
        let item = Item { hash: 1, key: 1, offset: 0, timestamp: 0 };
        let finding = |partition| placed(Kind::Missing, "source", "copy", partition, &[item], String::new());
        let mut told = Told { findings: vec![finding(0), finding(1)], ..Told::new(read, summary) };
        grade(&mut told);
        let grades: Vec<Grade> = told.findings.iter().map(|finding| finding.grade).collect();
        assert_eq!(grades, [Grade::Proven, Grade::Possible]);
    }
}
