//! Everything judged on one partition alone, on the thread that reads it: offsets, producer sequences, timestamps,
//! leader epochs, damage. Identities and sessions are judged elsewhere, from the observations gathered here.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::finding::{Finding, Grade, Kind, Span};
use super::offsets::{Offsets, offset_gap};
use super::patterns::topic::sampling::Sampler;
use super::producers::Producers;
use super::times::Times;
use crate::identify::facts::{BatchFacts, Gap, Sampled, Traffic};
use crate::identify::hash::key_hash;
use crate::identify::{Identifier, Observations, extract::Misfit};
use crate::ledger::Producer;
use crate::source::{Batch, Cleanup, Damage, Event};

/// Misfits shown by name; beyond them only the count grows.
const SAMPLES_KEPT: usize = 5;

/// A topic and partition, as findings and messages name it.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub topic: &'a str,
    pub partition: i32,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.topic, self.partition)
    }
}

impl Place<'_> {
    /// A finding on this partition; its id depends on the partition too.
    pub fn finding(&self, kind: Kind, says: &[&dyn fmt::Display], why: String) -> Finding {
        let mut all: Vec<&dyn fmt::Display> = vec![&self.partition];
        all.extend_from_slice(says);
        let mut finding = Finding::new(kind, self.topic, &all, why);
        finding.partition = Some(self.partition);
        finding
    }
}

/// What is kept of a partition between two runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartitionState {
    pub topic: String,
    pub topic_id: Option<Uuid>,
    pub partition: i32,
    pub offsets: Offsets,
    pub producers: Producers,
    pub times: Times,
    /// Leader epoch of the last batch, −1 before the first.
    pub leader_epoch: i32,
    /// Largest record time so far, held back to the auditor's clock; at the end of the log it advances with the clock.
    pub stream_time: i64,
    pub unidentified: u64,
    pub samples: Vec<String>,
    /// Records handed over again at offsets already read.
    pub reread: u64,
    /// Records whose batch names no producer.
    pub anonymous: u64,
}

impl PartitionState {
    pub fn new(topic: &str, topic_id: Option<Uuid>, partition: i32, from: i64) -> Self {
        Self {
            topic: topic.to_owned(),
            topic_id,
            partition,
            offsets: Offsets::new(from),
            producers: Producers::default(),
            times: Times::default(),
            leader_epoch: -1,
            stream_time: i64::MIN,
            unidentified: 0,
            samples: Vec::new(),
            reread: 0,
            anonymous: 0,
        }
    }

    pub fn place(&self) -> Place<'_> {
        Place { topic: &self.topic, partition: self.partition }
    }
}

/// Settings of the partition checks.
#[derive(Clone, Copy, Debug)]
pub struct PartitionRules {
    pub cleanup: Cleanup,
    pub has_headers: bool,
    /// How far create times may fall before it is a finding.
    pub timestamp_bound_ms: i64,
}

/// The partition checks at work.
pub struct PartitionAudit {
    pub state: PartitionState,
    pub rules: PartitionRules,
    /// `None` when no rule needs to look into records.
    identifier: Option<Identifier>,
    /// Which records are looked at for patterns of losses.
    sampler: Option<Sampler>,
}

impl PartitionAudit {
    pub fn new(state: PartitionState, rules: PartitionRules, identifier: Option<Identifier>) -> Self {
        Self { state, rules, identifier, sampler: None }
    }

    /// Gathers what patterns of losses are made from.
    pub fn sampled(self) -> Self {
        let sampler = Some(Sampler::new(self.state.partition));
        Self { sampler, ..self }
    }

    /// Checks one batch. `now` is the auditor's clock in milliseconds.
    pub fn batch(&mut self, batch: Batch<'_>, now: i64, seen: &mut Observations, out: &mut Vec<Finding>) {
        let Self { state, rules, .. } = self;
        if batch.until <= state.offsets.position {
            state.reread += batch.records.remaining() as u64;
            return;
        }
        let place = Place { topic: &state.topic, partition: state.partition };
        if let Some(header) = batch.header {
            check_epoch(&mut state.leader_epoch, header.leader_epoch, header.base_offset, &place, out);
            let offsets = &state.offsets;
            let (log_start, blind) = (offsets.log_start, offsets.blind_until);
            let said = out.len();
            state.producers.observe(header, log_start, blind, rules.cleanup, &place, out);
            // Numbers of the application's own tell more.
            if self.sampler.is_some() && !self.identifier.as_ref().is_some_and(Identifier::is_numbered) {
                let facts = BatchFacts::of(header).plain();
                seen.gaps.extend(out[said..].iter().filter_map(|finding| gap(finding, facts, header.max_timestamp)));
            }
        }
        if state.offsets.enter(&batch, rules.cleanup, &place, out) {
            self.records(batch, now, seen, out);
        }
    }

    fn records(&mut self, batch: Batch<'_>, now: i64, seen: &mut Observations, out: &mut Vec<Finding>) {
        let Self { state, rules, identifier, sampler } = self;
        let PartitionState { topic, partition, offsets, stream_time, .. } = state;
        let place = Place { topic, partition: *partition };
        let first = offsets.position;
        let mut times: Option<(i64, i64)> = None;
        let mut stretch = 0u64;
        let mut missing: Option<Span> = None;
        let mut next = first;
        let total = batch.records.remaining();
        let before = offsets.records;
        let mut rank = before;
        let is_anonymous = batch.header.is_none_or(|header| header.producer_id < 0);
        let facts = batch.header.map_or(BatchFacts::NONE, BatchFacts::of);
        if let Some(identifier) = identifier {
            note_producer(&batch, seen, identifier.rows(seen));
            if identifier.is_stage() || (sampler.is_some() && identifier.is_numbered()) {
                seen.batch(facts);
            }
        }
        let facts = facts.plain();
        if let Some(sampler) = sampler {
            sampler.begin(first, rank);
        }

        for record in batch.records {
            let record = match record {
                Ok(record) => record,
                Err(error) => {
                    offsets.observed(next, stretch, times);
                    let why = error.to_string();
                    out.push(damage_finding(Span::new(next, batch.until), &why, &place));
                    offsets.damaged(batch.until, why);
                    return;
                }
            };
            if record.offset < first {
                state.reread += 1;
                continue;
            }
            if record.offset != next {
                // The cleaner took what lay between, or nobody knows.
                offsets.observed(next, stretch, times);
                stretch = 0;
                let span = offsets.missing_inside(record.offset, rules.has_headers, rules.cleanup);
                missing = merge(missing, span);
            }
            next = record.offset + 1;
            stretch += 1;
            let time = record.timestamp;
            times = Some(times.map_or((time, time), |(a, b)| (a.min(time), b.max(time))));
            *stream_time = (*stream_time).max(time.min(now));
            if let Some(identifier) = identifier
                && let Err(misfit) = identifier.observe(&record, *stream_time, rank, seen)
            {
                note_misfit(misfit, record.offset, &place, &mut state.unidentified, &mut state.samples);
            }
            rank += 1;
            if let Some(sampler) = sampler
                && let Some(rank) = sampler.take(record.offset)
            {
                let arrival = seen.arrivals.last().filter(|arrival| arrival.offset == record.offset);
                let session = arrival.map(|arrival| arrival.session);
                seen.samples.push(Sampled { rank, facts, at_ms: time, key: key_hash(&record), session });
            }
        }
        if let (Some(_), Some((from_ms, at_ms))) = (&sampler, times) {
            seen.passed(Traffic { facts, from_ms, at_ms, records: rank - before });
        }
        offsets.observed(next, stretch, times);
        if is_anonymous {
            state.anonymous += total as u64;
        }
        if next < batch.until {
            missing = merge(missing, offsets.missing_inside(batch.until, rules.has_headers, rules.cleanup));
        }
        if let Some(span) = missing {
            out.push(offset_gap(span, &format!("their batch holds only {total} records"), rules.cleanup, &place));
        }
        if let Some(times) = times {
            let offsets = Span::new(first, batch.until);
            let bound = rules.timestamp_bound_ms;
            match batch.header {
                Some(header) if header.is_log_append_time() => {
                    state.times.appended(first, times.1, header.leader_epoch, bound, &place, out);
                }
                _ => state.times.created(offsets, total as u64, times, bound, &place, out),
            }
        }
    }

    pub fn damaged(&mut self, from: i64, until: i64, damage: &Damage, out: &mut Vec<Finding>) {
        let state = &mut self.state;
        let span = Span::new(from.max(state.offsets.position), until);
        if span.is_empty() {
            return;
        }
        let place = Place { topic: &state.topic, partition: state.partition };
        if span.from > state.offsets.position {
            // Nothing is known of what lies before the damage either.
            state.offsets.damaged(span.from, "unreadable neighbourhood of a damaged batch".to_owned());
        }
        let why = match damage {
            Damage::Checksum { stored, computed } => {
                format!("the batch's CRC-32C is {stored:08x} but its bytes give {computed:08x}")
            }
            Damage::Malformed(why) => why.clone(),
            Damage::Legacy { magic } => {
                format!("message format {magic} is older than record batches (Kafka 0.11); sordini reads format 2 only")
            }
        };
        if !matches!(damage, Damage::Legacy { .. }) {
            out.push(damage_finding(span, &why, &place));
        }
        state.offsets.damaged(until, why);
    }

    pub fn watermarks(&mut self, log_start: i64, high_watermark: i64, last_stable: i64) {
        let offsets = &mut self.state.offsets;
        offsets.log_start = log_start;
        offsets.high_watermark = high_watermark;
        offsets.last_stable = last_stable;
    }

    pub fn expired(&mut self, log_start: i64, out: &mut Vec<Finding>) {
        let place = Place { topic: &self.state.topic, partition: self.state.partition };
        self.state.offsets.expired(log_start, &place, out);
    }

    /// The broker's log parts from what was read: everything at and above `end_offset` is no longer there.
    pub fn diverged(&mut self, epoch: i32, end_offset: i64, out: &mut Vec<Finding>) {
        let state = &mut self.state;
        let span = Span::new(end_offset, state.offsets.position);
        if span.is_empty() {
            return;
        }
        let place = Place { topic: &state.topic, partition: state.partition };
        let why = format!(
            "offsets {} to {} of {place} were read before and are no longer in the log of the same topic: leader epoch {epoch} now ends at {end_offset}",
            span.from,
            span.until - 1
        );
        let mut finding = place.finding(Kind::Truncation, &[&span.from, &span.until, &epoch], why);
        finding.offsets = Some(span);
        finding.count = span.len();
        finding.last_seen = Some(state.stream_time);
        out.push(finding.evidence("epoch", epoch).evidence("read_epoch", state.leader_epoch));
        state.offsets.truncate(end_offset);
        state.leader_epoch = state.leader_epoch.min(epoch);
    }

    pub fn topic_gone(&self, now: Option<Uuid>, out: &mut Vec<Finding>) {
        let state = &self.state;
        let place = state.place();
        let old = state.topic_id.map_or_else(|| "unknown".to_owned(), |id| id.to_string());
        let (why, new) = match now {
            Some(id) => (
                format!(
                    "topic {} was deleted and made anew while sordini watched it: its id changed from {old} to {id}",
                    state.topic
                ),
                id.to_string(),
            ),
            None => (format!("topic {} was deleted while sordini watched it", state.topic), "none".to_owned()),
        };
        let mut finding = place.finding(Kind::TopicReset, &[&old, &new], why);
        finding.offsets = Some(Span::new(state.offsets.from, state.offsets.position));
        out.push(finding.evidence("topic_id_before", old).evidence("topic_id_now", new));
    }

    /// What a source says beside its batches. The answer is why the partition is given up, where it is.
    pub fn event(&mut self, event: Event<'_>, now: i64, out: &mut Vec<Finding>) -> Option<String> {
        match event {
            Event::Batch(_) => {}
            Event::AtEnd => self.at_end(now),
            Event::Damaged { from, until, damage } => self.damaged(from, until, &damage, out),
            Event::Watermarks { log_start, high_watermark, last_stable } => {
                self.watermarks(log_start, high_watermark, last_stable);
            }
            Event::Expired { log_start } => self.expired(log_start, out),
            Event::Diverged { epoch, end_offset } => self.diverged(epoch, end_offset, out),
            Event::TopicGone { now } => {
                self.topic_gone(now, out);
                return Some("the topic is gone; start again to audit what now has its name".to_owned());
            }
            Event::Failed { why } => return Some(why),
        }
        None
    }

    /// Nothing more to read at this time: the partition's stream time advances with the auditor's clock.
    pub fn at_end(&mut self, now: i64) {
        self.state.stream_time = self.state.stream_time.max(now);
    }
}

fn merge(known: Option<Span>, new: Option<Span>) -> Option<Span> {
    match (known, new) {
        (Some(a), Some(b)) => Some(Span::new(a.from.min(b.from), a.until.max(b.until))),
        (known, new) => known.or(new),
    }
}

/// What a producer's numbers lack, for patterns.
fn gap(finding: &Finding, facts: BatchFacts, at_ms: i64) -> Option<Gap> {
    let numbers = finding.numbers.filter(|_| finding.kind == Kind::SequenceGap)?;
    let session = finding.session.clone()?;
    Some(Gap { partition: finding.partition, session, numbers, facts, at_ms, key: 0 })
}

/// Remembers from which row on the batch's producer wrote them.
fn note_producer(batch: &Batch<'_>, seen: &mut Observations, rows: usize) {
    let producer = batch.header.map_or(Producer::NONE, |h| Producer { id: h.producer_id, epoch: h.producer_epoch });
    let producers = &mut seen.sightings.producers;
    if producers.last().is_none_or(|&(_, last)| last != producer) {
        producers.push((rows as u32, producer));
    }
}

fn note_misfit(misfit: Misfit, offset: i64, place: &Place<'_>, unidentified: &mut u64, samples: &mut Vec<String>) {
    if misfit == Misfit::Tombstone {
        return;
    }
    *unidentified += 1;
    if samples.len() < SAMPLES_KEPT {
        samples.push(format!("{place}@{offset}: {misfit}"));
    }
}

fn check_epoch(last: &mut i32, epoch: i32, offset: i64, place: &Place<'_>, out: &mut Vec<Finding>) {
    if epoch < 0 {
        return;
    }
    if epoch < *last {
        let why = format!(
            "the leader epoch falls from {last} to {epoch} at offset {offset} of {place}: two leaders' logs are mixed"
        );
        let mut finding = place.finding(Kind::EpochRegression, &[&"leader", &offset], why);
        finding.offsets = Some(Span::new(offset, offset + 1));
        finding.cause = Some("leader".to_owned());
        out.push(finding.evidence("before", *last).evidence("after", epoch));
    }
    *last = epoch.max(*last);
}

fn damage_finding(span: Span, why: &str, place: &Place<'_>) -> Finding {
    let sentence =
        format!("offsets {} to {} of {place} are damaged and were not read: {why}", span.from, span.until - 1);
    let mut finding = place.finding(Kind::ChecksumFailure, &[&span.from, &span.until], sentence);
    finding.offsets = Some(span);
    finding.count = span.len();
    finding.grade = Grade::Proven;
    finding
}
