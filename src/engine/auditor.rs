//! The one place where observations of all partitions meet: sessions, identities, the ledger and its commits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use rustc_hash::{FxHashMap, FxHashSet};

use super::flows::Carried;
use super::partitions::{Partitions, States};
use super::state::{self, Entry, State};
use super::trace::Ask;
use super::{Chunk, EngineError, Message, Observer, Progress, Settings};
use crate::audit::duplicates::Duplicates;
use crate::audit::finding::{Finding, Grade, Kind, Rung};
use crate::audit::patterns::retries::Retries;
use crate::audit::patterns::topic::TopicPatterns;
use crate::audit::sessions::SessionRules;
use crate::identify::{IdentityHasher, Observations};
use crate::ledger::{Damage, Ledger, Part};
use crate::source::SourceError;

/// How often the auditor looks up when nothing comes.
const TICK: Duration = Duration::from_millis(200);
/// Longest time between two commits while nothing but time passes.
const REST_COMMIT: Duration = Duration::from_secs(60);
/// Unreadable lines listed; beyond them only the count grows.
const UNREADABLE_KEPT: usize = 20;

pub struct Auditor<'a> {
    pub(super) settings: &'a Settings,
    pub(super) session_rules: SessionRules,
    pub(super) ledger: Ledger,
    pub(super) state: State,
    pub(super) partitions: Arc<Partitions>,
    pub(super) duplicates: Duplicates,
    /// Per topic: number, and the partitions that belong to it.
    pub(super) topics: FxHashMap<String, Topic>,
    /// Partitions were only met while reading, as lines of text name them.
    pub(super) is_text: bool,
    /// All partitions are known, so the slowest of a topic is really the slowest.
    pub(super) known_beforehand: bool,
    /// Findings since the last commit.
    pub(super) fresh: Vec<Finding>,
    /// Identities in clear since the last commit, with `--show-keys`.
    values: FxHashMap<u128, String>,
    pub(super) failed: FxHashMap<u32, String>,
    pub(super) reader_errors: Vec<String>,
    pub(super) unreadable: Vec<(String, String)>,
    pub(super) unreadable_count: u64,
    damage_said: BTreeSet<Damage>,
    /// Partitions in which an identity may stand more than once.
    several: FxHashSet<u32>,
    /// Something is not committed yet that a restart would have to read or to judge again.
    dirty: bool,
    /// Partitions at rest grew older since the last commit.
    aged: bool,
    /// The flow whose stages the topics are.
    pub(super) flow: Option<Carried>,
    /// By topic: identities that came again lately.
    pub(super) retries: BTreeMap<String, Retries>,
    /// By topic: what its losses may have in common.
    pub(super) losses: BTreeMap<String, TopicPatterns>,
    /// By session: hash of the key that names it.
    pub(super) keys: FxHashMap<u64, u32>,
    /// The journal's findings by id, once somebody asked for them while the audit runs.
    pub(super) known: Option<BTreeMap<String, Finding>>,
}

/// A part that was asked for and cannot be read at all: topic, partition, what to do.
pub type Refused = (String, Option<i32>, String);

pub(super) struct Topic {
    pub(super) number: u32,
    pub(super) partitions: Vec<u32>,
    pub(super) hasher: IdentityHasher,
}

impl<'a> Auditor<'a> {
    pub fn new(
        settings: &'a Settings,
        ledger: Ledger,
        mut state: State,
        partitions: Arc<Partitions>,
        known_beforehand: bool,
    ) -> Result<Self, EngineError> {
        let mut duplicates = Duplicates::default();
        duplicates.unlisted = state.unlisted;
        for entry in ledger.entries()? {
            let (key, bytes) = entry?;
            if let Entry::Case(case) = decode(settings, &bytes)? {
                duplicates.restore(key, case);
            }
        }
        let more = std::mem::take(&mut state.more);
        let (flow, retries) = (Carried::new(settings, more.flow, ledger.secret()), more.retries);
        let losses = more.losses;
        let session_rules = SessionRules {
            wait_ms: settings.wait.as_millis() as i64,
            start: settings.sequence_start,
            topic_scope: settings.rules.topic_scope,
        };
        let mut auditor = Self {
            settings,
            session_rules,
            ledger,
            state,
            partitions,
            duplicates,
            topics: FxHashMap::default(),
            is_text: !known_beforehand,
            known_beforehand,
            fresh: Vec::new(),
            values: FxHashMap::default(),
            failed: FxHashMap::default(),
            reader_errors: Vec::new(),
            unreadable: Vec::new(),
            unreadable_count: 0,
            damage_said: BTreeSet::new(),
            several: FxHashSet::default(),
            dirty: false,
            flow,
            retries,
            losses,
            keys: FxHashMap::default(),
            aged: false,
            known: None,
        };
        auditor.adopt_partitions();
        Ok(auditor)
    }

    /// Takes in partitions that were registered since the last look.
    fn adopt_partitions(&mut self) {
        for index in 0..self.partitions.len() as u32 {
            if index as usize >= self.state.partitions.len() {
                let Some((state, said)) = self.partitions.initial(index) else { continue };
                self.state.partitions.push(state);
                self.fresh.extend(said);
            }
            let state = &self.state.partitions[index as usize];
            if self.topics.get(&state.topic).is_some_and(|topic| topic.partitions.contains(&index)) {
                continue;
            }
            let number = self.topics.len() as u32;
            let hasher = || IdentityHasher::new(self.ledger.secret(), &state.topic);
            let topic = self.topics.entry(state.topic.clone());
            topic.or_insert_with(|| Topic { number, partitions: Vec::new(), hasher: hasher() }).partitions.push(index);
            if self.flow.as_ref().is_some_and(|carried| carried.repeats(&state.topic)) {
                self.several.insert(index);
            }
        }
    }

    /// Takes in chunks until the readers are gone.
    pub fn run(
        &mut self,
        queue: &Receiver<Message>,
        asks: &Receiver<Ask>,
        progress: &Progress,
        refused: &[Refused],
        observer: &mut dyn Observer,
    ) -> Result<(), EngineError> {
        let began = Instant::now();
        let mut last_commit = began;
        loop {
            match queue.recv_timeout(TICK) {
                Ok(Message::Chunk(chunk)) => self.take(*chunk, progress)?,
                Ok(Message::AtRest(partitions)) => self.rest(&partitions),
                Ok(Message::Unreadable { place, why }) => {
                    self.unreadable_count += 1;
                    if self.unreadable.len() < UNREADABLE_KEPT {
                        self.unreadable.push((place, why));
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if let Ok(ask) = asks.try_recv() {
                // Who asked may have gone away.
                let _ = ask.reply.send(self.answer(&ask.question));
            }
            let is_due = self.due().is_some_and(|due| last_commit.elapsed() >= due);
            if self.ledger.is_full() || is_due {
                self.commit(observer)?;
                last_commit = Instant::now();
            }
            if observer.wants_report() {
                let report = self.report(refused, began.elapsed(), false)?;
                observer.report(report, self.behind());
            }
        }
        self.adopt_partitions();
        self.known_beforehand = true;
        self.judge();
        self.commit(observer)
    }

    /// How long after the last commit the next one is due; never when nothing changed.
    fn due(&self) -> Option<Duration> {
        let commit_every = self.settings.commit_every;
        match (self.dirty, self.aged) {
            (true, _) => Some(commit_every),
            (false, true) => Some(commit_every.max(REST_COMMIT)),
            (false, false) => None,
        }
    }

    /// Offsets between what was read and what can be read, over the partitions of this run.
    fn behind(&self) -> i64 {
        let read = self.state.partitions.iter().enumerate().filter(|(index, _)| self.partitions.is_of_this_run(*index));
        read.map(|(_, p)| (p.offsets.high_watermark - p.offsets.position).max(0)).sum()
    }

    fn take(&mut self, chunk: Chunk, progress: &Progress) -> Result<(), EngineError> {
        let Chunk { index, state, mut seen, findings, failed } = chunk;
        if index as usize >= self.state.partitions.len() {
            self.adopt_partitions();
        }
        let Some(known) = self.state.partitions.get_mut(index as usize) else { return Ok(()) };
        let new = state.offsets.records - known.offsets.records.min(state.offsets.records);
        progress.records.fetch_add(new, Ordering::Relaxed);
        progress.bytes.fetch_add(state.offsets.bytes.saturating_sub(known.offsets.bytes), Ordering::Relaxed);
        self.sessions(index, &mut seen);
        self.take_steps(index, &mut seen);
        self.take_losses(index, &mut seen);
        self.watch_retries(index, &seen);
        self.state.partitions[index as usize] = *state;
        self.fresh.extend(findings);
        if let Some(why) = failed {
            self.failed.insert(index, why);
        }
        self.state.sightings += seen.sightings.offsets.len() as u64;
        self.values.extend(seen.values);
        self.ledger.insert(&seen.sightings)?;
        let (duplicates, values, several) = (&mut self.duplicates, &self.values, &self.several);
        self.ledger.relieve(&mut |repeat| {
            if !several.contains(&repeat.again.partition) {
                duplicates.add(&repeat, values.get(&repeat.identity).cloned());
            }
        })?;
        self.dirty = true;
        self.judge();
        Ok(())
    }

    /// Time alone has passed. A restart would find that out again, so that it is worth a commit only where it decides
    /// something, and now and then so that the ledger forgets what is past the horizon.
    fn rest(&mut self, partitions: &[(u32, i64)]) {
        for &(index, stream_time) in partitions {
            if let Some(state) = self.state.partitions.get_mut(index as usize) {
                state.stream_time = state.stream_time.max(stream_time);
            }
        }
        let flow_waits = self.flow.as_ref().is_some_and(|carried| carried.flows.is_waiting());
        self.dirty |= self.state.sessions.is_waiting() || flow_waits;
        self.aged = true;
        self.judge();
    }

    fn watch_retries(&mut self, index: u32, seen: &Observations) {
        if seen.sightings.identities.is_empty() || self.several.contains(&index) {
            return;
        }
        let topic = &self.state.partitions[index as usize].topic;
        if !self.retries.contains_key(topic) {
            self.retries.insert(topic.clone(), Retries::default());
        }
        if let Some(retries) = self.retries.get_mut(topic) {
            let rows = &seen.sightings;
            rows.identities.iter().zip(&rows.timestamps).for_each(|(&identity, &at_ms)| retries.saw(identity, at_ms));
        }
    }

    /// Settles the buffer and writes everything in one step. Only then are findings shown.
    fn commit(&mut self, observer: &mut dyn Observer) -> Result<(), EngineError> {
        let newest = self.newest_second();
        let (duplicates, values, several) = (&mut self.duplicates, &self.values, &self.several);
        self.ledger.settle(newest, &mut |repeat| {
            if !several.contains(&repeat.again.partition) {
                duplicates.add(&repeat, values.get(&repeat.identity).cloned());
            }
        })?;
        self.values.clear();
        self.judge_flows()?;
        self.say_damage();
        self.state.unlisted = self.duplicates.unlisted;

        let mut fresh = latest_of_each(std::mem::take(&mut self.fresh));
        let mut entries = fresh.iter().map(Entry::finding).collect::<Result<Vec<_>, _>>()?;
        let rung = self.rung();
        let changed: Vec<u128> = {
            let changed = self.duplicates.take_changed();
            for (identity, case) in &changed {
                entries.push(Entry::case(*identity, case)?);
            }
            changed.into_iter().map(|(identity, _)| identity).collect()
        };
        let flow = self.flow.as_ref().map(|carried| &carried.flows.state);
        self.ledger.commit(
            &state::encode(&self.state, flow, &self.retries, &self.losses)?,
            &entries,
            self.slowest_second(),
        )?;
        (self.dirty, self.aged) = (false, false);

        if let Some(known) = &mut self.known {
            // What the cases say is asked of them anew each time.
            known.extend(fresh.iter().map(|finding| (finding.id.clone(), finding.clone())));
        }
        let names = States(&self.state.partitions);
        for identity in changed {
            self.duplicates.findings_of(identity, rung, &names, &mut fresh);
        }
        if !fresh.is_empty() {
            observer.committed(&fresh);
        }
        Ok(())
    }

    fn newest_second(&self) -> u32 {
        seconds(self.state.partitions.iter().map(|p| p.stream_time).max().unwrap_or(0))
    }

    /// What every partition that is still read has passed: older sightings than the horizon before it can go.
    fn slowest_second(&self) -> u32 {
        let partitions = self.state.partitions.iter().enumerate();
        let is_read =
            |index: usize| !self.failed.contains_key(&(index as u32)) && self.partitions.is_of_this_run(index);
        let read = partitions.filter(|(index, _)| is_read(*index));
        seconds(read.map(|(_, p)| p.stream_time).min().unwrap_or(0))
    }

    pub(super) fn rung(&self) -> Rung {
        self.settings.rules.rung()
    }

    /// What the ledger can no longer say is a finding of its own, the same one after every restart.
    fn say_damage(&mut self) {
        for damage in self.ledger.damage() {
            if self.damage_said.insert(damage) {
                self.fresh.push(damage_finding(&damage));
            }
        }
    }

    pub fn reader_failed(&mut self, error: SourceError) {
        self.reader_errors.push(error.to_string());
    }
}

/// Milliseconds since 1970 as the ledger counts them.
fn seconds(ms: i64) -> u32 {
    (ms.max(0) / 1000).min(i64::from(u32::MAX)) as u32
}

pub(super) fn damage_finding(damage: &Damage) -> Finding {
    let (part, what) = match damage.part {
        Part::Rows { page } => (format!("page {page}"), "identities in it are taken for new"),
        Part::Prefix { bucket } => (format!("the prefix of bucket {bucket}"), "identities in it are taken for new"),
        Part::Extents { page } => {
            (format!("page {page} of the extents"), "identities are known there, their positions are not")
        }
    };
    let why = format!(
        "the ledger is damaged: {part} of run {} fails its checksum; {what}, so repeats of up to {} sightings cannot be seen",
        damage.run, damage.rows
    );
    let mut finding = Finding::new(Kind::AuditGap, "ledger", &[&damage.run, &part], why);
    finding.grade = Grade::Unknown;
    finding.count = damage.rows;
    finding
}

pub(super) fn decode(settings: &Settings, bytes: &[u8]) -> Result<Entry, EngineError> {
    Entry::decode(bytes).map_err(|why| EngineError::State {
        ledger: settings.ledger.as_ref().map_or_else(String::new, |dir| dir.display().to_string()),
        why,
    })
}

/// The last word on each finding, in the order of their first one.
fn latest_of_each(findings: Vec<Finding>) -> Vec<Finding> {
    let mut at: FxHashMap<String, usize> = FxHashMap::default();
    let mut latest: Vec<Finding> = Vec::with_capacity(findings.len());
    for finding in findings {
        match at.get(&finding.id) {
            Some(&index) => latest[index] = finding,
            None => {
                at.insert(finding.id.clone(), latest.len());
                latest.push(finding);
            }
        }
    }
    latest
}
