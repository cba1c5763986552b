//! A topic as one side of a comparison: what was committed of it, where it ends, and its records, read once or again.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use super::DriftError;
use crate::audit::coverage::{Coverage, Hole, Isolation};
use crate::audit::finding::Finding;
use crate::audit::partition::{PartitionAudit, PartitionRules, PartitionState};
use crate::audit::verdict::Unread;
use crate::engine::{Progress, now_ms};
use crate::identify::Observations;
use crate::lag::collect::{Collector, Filter};
use crate::source::kafka::KafkaSource;
use crate::source::{Assignment, Event, PartitionInfo, Properties, Reader, Selection, Sink, Source, Start};
use crate::wire::Record;

/// A record behind its time by more than this is no finding here: order in time is not what is compared.
const NO_BOUND_MS: i64 = i64::MAX;

/// A topic whose partitions and ends are known.
pub struct Opened {
    pub partitions: Vec<PartitionInfo>,
    pub refused: Vec<(String, Option<i32>, String)>,
    readers: Vec<Box<dyn Reader>>,
}

/// All partitions when none are named. The ends are those of now: everything that was written before this call lies below them.
pub fn open(properties: &Properties, topic: &str, start: Start, partitions: &[i32]) -> Result<Opened, DriftError> {
    opened(properties, topic, start, partitions, &BTreeMap::new())
}

/// From these offsets on, where they are still there.
pub fn open_at(properties: &Properties, topic: &str, positions: &BTreeMap<i32, i64>) -> Result<Opened, DriftError> {
    opened(properties, topic, Start::Beginning, &[], positions)
}

/// These partitions from these offsets on, where they are still there.
pub fn open_parts_at(
    properties: &Properties,
    topic: &str,
    positions: &BTreeMap<i32, i64>,
) -> Result<Opened, DriftError> {
    let partitions: Vec<i32> = positions.keys().copied().collect();
    opened(properties, topic, Start::Beginning, &partitions, positions)
}

fn opened(
    properties: &Properties,
    topic: &str,
    start: Start,
    partitions: &[i32],
    positions: &BTreeMap<i32, i64>,
) -> Result<Opened, DriftError> {
    let selection = Selection {
        topics: vec![topic.to_owned()],
        partitions: partitions.to_vec(),
        start,
        isolation: Isolation::ReadCommitted,
        follow: false,
    };
    let mut source: Box<dyn Source> = Box::new(KafkaSource::connect(properties, selection)?);
    let mut partitions = source.partitions()?;
    for info in &mut partitions {
        info.from = positions.get(&info.partition).map_or(info.from, |position| info.from.max(*position));
    }
    let refused = source.refused();
    let assignment = |(index, info): (usize, &PartitionInfo)| Assignment {
        index: index as u32,
        info: info.clone(),
        position: info.from,
        last_epoch: -1,
    };
    // Where there is nothing to read nobody waits for it.
    let has_more = |(_, info): &(usize, &PartitionInfo)| info.until.is_none_or(|until| info.from < until);
    let assignments: Vec<Assignment> = partitions.iter().enumerate().filter(has_more).map(assignment).collect();
    let readers = if assignments.is_empty() { Vec::new() } else { source.readers(assignments)? };
    Ok(Opened { partitions, refused, readers })
}

/// Offsets that a group has committed, by partition.
pub fn committed(properties: &Properties, topic: &str, group: &str) -> Result<BTreeMap<i32, i64>, DriftError> {
    Commits::connect(properties, topic, group)?.ask()
}

/// What a group commits, asked again and again.
pub struct Commits {
    collector: Collector,
    properties: Properties,
    topic: String,
    group: String,
}

impl Commits {
    pub fn connect(properties: &Properties, topic: &str, group: &str) -> Result<Self, DriftError> {
        let exactly =
            |name: &str| Filter::pattern(&regex::escape(name)).map(|pattern| vec![pattern]).unwrap_or_default();
        let filter = Filter { groups: exactly(group), topics: exactly(topic), ..Filter::default() };
        let collector = Collector::connect(properties, filter)?;
        Ok(Self { collector, properties: properties.clone(), topic: topic.to_owned(), group: group.to_owned() })
    }

    pub fn ask(&mut self) -> Result<BTreeMap<i32, i64>, DriftError> {
        let facts = self.collector.collect(&(Arc::new(now_ms) as crate::engine::Clock))?;
        let offsets = facts.groups.get(self.group.as_str()).and_then(|found| found.offsets.as_ref().ok());
        let known = offsets.into_iter().flatten();
        let known = known.filter_map(|((_, partition), at)| at.as_ref().ok().map(|at| (*partition, at.offset)));
        let known: BTreeMap<i32, i64> = known.collect();
        if known.is_empty() {
            // A topic that is not there has no offsets either, and its name is what is wrong.
            open(&self.properties, &self.topic, Start::Beginning, &[])?;
            return Err(DriftError::Group { group: self.group.clone(), topic: self.topic.clone() });
        }
        Ok(known)
    }
}

/// Where each partition stood at that time.
pub fn offsets_at(properties: &Properties, topic: &str, time_ms: i64) -> Result<BTreeMap<i32, i64>, DriftError> {
    let opened = open(properties, topic, Start::Timestamp(time_ms), &[])?;
    Ok(opened.partitions.iter().map(|info| (info.partition, info.from)).collect())
}

/// Takes records; one for each thread that reads.
pub trait Take: Send {
    /// The records that follow carry the broker's time, or their producer's.
    fn stamped(&mut self, _by_broker: bool) {}

    fn take(&mut self, partition: i32, record: &Record<'_>) -> Result<(), DriftError>;
}

/// Stops with the first record.
struct First(Arc<Progress>, bool);

impl Take for First {
    fn stamped(&mut self, by_broker: bool) {
        self.1 |= by_broker;
    }

    fn take(&mut self, _: i32, _: &Record<'_>) -> Result<(), DriftError> {
        self.0.stop();
        Ok(())
    }
}

/// What reading a topic said beside its records.
#[derive(Debug, Default)]
pub struct Read {
    pub coverage: Vec<Coverage>,
    pub findings: Vec<Finding>,
    pub unread: Vec<Unread>,
    /// As they came from the broker.
    pub bytes: u64,
    /// Records may have left from the front: a key without a record may have had one.
    pub is_trimmed: bool,
}

impl Read {
    /// With what another reading said.
    pub fn add(&mut self, mut other: Read) {
        self.coverage.append(&mut other.coverage);
        self.findings.append(&mut other.findings);
        self.unread.append(&mut other.unread);
        self.bytes += other.bytes;
        self.is_trimmed |= other.is_trimmed;
    }
}

impl Opened {
    /// Whether the first records carry the broker's time, which no copy has.
    pub fn probe_broker_stamps(self) -> Result<bool, DriftError> {
        let progress = Arc::new(Progress::default());
        let (_, firsts) = self.read(&progress, || First(progress.clone(), false))?;
        Ok(firsts.iter().any(|first| first.1))
    }

    /// Reads to the ends, each thread with a taker of its own. Gives the takers back.
    pub fn read<T: Take>(
        self,
        progress: &Arc<Progress>,
        mut taker: impl FnMut() -> T,
    ) -> Result<(Read, Vec<T>), DriftError> {
        let all: Vec<Slot> = self.partitions.iter().map(Slot::new).collect();
        let slots = Mutex::new(all.into_iter().map(Some).collect::<Vec<_>>());
        let total: i64 = self.partitions.iter().map(|info| info.until.unwrap_or(info.from) - info.from).sum();
        progress.offsets_total.store(total.max(0) as u64, Ordering::Relaxed);
        progress.offsets_done.store(0, Ordering::Relaxed);
        let outcomes = std::thread::scope(|scope| {
            let threads: Vec<_> = self
                .readers
                .into_iter()
                .map(|mut reader| {
                    let mut sink = TopicSink {
                        slots: &slots,
                        own: BTreeMap::new(),
                        taker: taker(),
                        progress: progress.clone(),
                        error: None,
                    };
                    scope.spawn(move || {
                        let outcome = reader.run(&mut sink);
                        sink.end(outcome)
                    })
                })
                .collect();
            threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect::<Vec<_>>()
        });
        let mut takers = Vec::new();
        for outcome in outcomes {
            takers.push(outcome.map_err(|_| DriftError::Thread)??);
        }
        let slots = slots.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut read = Read::default();
        for (topic, partition, why) in self.refused {
            read.unread.push(Unread { topic, partition, from: None, until: None, why });
        }
        for slot in slots.into_iter().flatten() {
            slot.report(progress.is_stopped(), &mut read);
        }
        Ok((read, takers))
    }
}

/// One partition on its way.
struct Slot {
    audit: PartitionAudit,
    seen: Observations,
    findings: Vec<Finding>,
    bytes: u64,
    until: i64,
    is_trimmed: bool,
    failed: Option<String>,
    shown: i64,
}

impl Slot {
    fn new(info: &PartitionInfo) -> Self {
        let state = PartitionState::new(&info.topic, info.topic_id, info.partition, info.from);
        let rules =
            PartitionRules { cleanup: info.cleanup, has_headers: info.has_headers, timestamp_bound_ms: NO_BOUND_MS };
        Self {
            audit: PartitionAudit::new(state, rules, None),
            seen: Observations::new(0),
            findings: Vec::new(),
            bytes: 0,
            until: info.until.unwrap_or(info.from),
            // Compaction alone does not move the start of a log; the policy may have been another once.
            is_trimmed: info.log_start > 0,
            failed: None,
            shown: info.from,
        }
    }

    fn report(mut self, is_stopped: bool, read: &mut Read) {
        let state = &self.audit.state;
        let coverage = state.offsets.coverage(&state.place(), Isolation::ReadCommitted, Some(self.until));
        read.unread.extend(Unread::of_partition(state, &coverage, self.failed.as_deref(), is_stopped));
        read.is_trimmed |= self.is_trimmed || coverage.holes.get(Hole::Expired) > 0;
        read.bytes += self.bytes;
        read.coverage.push(coverage);
        read.findings.append(&mut self.findings);
    }
}

struct TopicSink<'s, T> {
    slots: &'s Mutex<Vec<Option<Slot>>>,
    own: BTreeMap<u32, Slot>,
    taker: T,
    progress: Arc<Progress>,
    error: Option<DriftError>,
}

impl<T: Take> TopicSink<'_, T> {
    fn slot(&mut self, index: u32) -> Option<&mut Slot> {
        if !self.own.contains_key(&index) {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            let slot = slots.get_mut(index as usize)?.take()?;
            self.own.insert(index, slot);
        }
        self.own.get_mut(&index)
    }

    /// Gives the partitions back, and the taker.
    fn end(mut self, outcome: Result<(), crate::source::SourceError>) -> Result<T, DriftError> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        for (index, slot) in std::mem::take(&mut self.own) {
            if let Some(place) = slots.get_mut(index as usize) {
                *place = Some(slot);
            }
        }
        drop(slots);
        match self.error.take() {
            Some(error) => Err(error),
            None => outcome.map(|()| self.taker).map_err(DriftError::from),
        }
    }

    fn batch(&mut self, index: u32, batch: crate::source::Batch<'_>) {
        let now = now_ms();
        let Some(slot) = self.slot(index) else { return };
        let (position, until, partition) = (slot.audit.state.offsets.position, slot.until, slot.audit.state.partition);
        slot.bytes += batch.bytes as u64;
        let records = batch.records.clone();
        let by_broker = batch.header.is_some_and(crate::wire::BatchHeader::is_log_append_time);
        self.taker.stamped(by_broker);
        let Some(slot) = self.own.get_mut(&index) else { return };
        slot.audit.batch(batch, now, &mut slot.seen, &mut slot.findings);
        // A fetched batch may reach beyond the end that was asked for, or begin before the position.
        for record in records.map_while(Result::ok).filter(|record| (position..until).contains(&record.offset)) {
            if let Err(error) = self.taker.take(partition, &record) {
                self.error = Some(error);
                self.progress.stop();
                return;
            }
        }
    }
}

impl<T: Take> Sink for TopicSink<'_, T> {
    /// Partitions of a broker are all known beforehand.
    fn register(&mut self, info: PartitionInfo) -> Assignment {
        Assignment { index: u32::MAX, position: info.from, info, last_epoch: -1 }
    }

    fn event(&mut self, index: u32, event: Event<'_>) {
        if let Event::Batch(batch) = event {
            return self.batch(index, batch);
        }
        let Some(slot) = self.slot(index) else { return };
        if let Some(why) = slot.audit.event(event, now_ms(), &mut slot.findings) {
            slot.failed = Some(why);
        }
    }

    fn pass_on(&mut self, index: u32) {
        let progress = self.progress.clone();
        let Some(slot) = self.slot(index) else { return };
        let position = slot.audit.state.offsets.position;
        let done = (position - slot.shown).max(0) as u64;
        slot.shown = position;
        progress.offsets_done.fetch_add(done, Ordering::Relaxed);
    }

    fn unreadable_input(&mut self, _: &str, _: &str) {}

    fn stopped(&self) -> bool {
        self.progress.is_stopped()
    }
}
