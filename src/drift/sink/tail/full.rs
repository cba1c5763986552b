//! Reading all of the topic: for a part of the buckets, and for keys that are about to be called drift.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::Tail;
use crate::audit::drift::{DriftSummary, LawSummary, Undecided};
use crate::audit::finding::{Finding, State};
use crate::audit::verdict::Unread;
use crate::drift::conserve::law;
use crate::drift::cut::Sight;
use crate::drift::follow::queue::Key;
use crate::drift::history::{self, HistoryTake};
use crate::drift::sink::state::{unjudged, unreadable_yet};
use crate::drift::sink::{Bracket, Look, Sink};
use crate::drift::table::Table;
use crate::drift::topic::Read;
use crate::drift::witness::Witness;
use crate::drift::{DriftError, Settings, Told, limit, note, pause};
use crate::engine::{Progress, now_ms};

/// Last looks, and comparisons that come to nothing, take at most this share of the time, less one.
const REST: u32 = 9;
/// Keys of one last look.
const MOST_LOOKED_AT: usize = 20_000;

/// What the last comparison of a part said.
#[derive(Default)]
pub struct Compared {
    pub keys: u64,
    pub rows: u64,
    pub in_flight: u64,
    pub unverifiable: BTreeMap<String, u64>,
    pub unread: Vec<Unread>,
    pub laws: Vec<LawSummary>,
    pub began_ms: i64,
}

impl Tail {
    /// Keys that were wrong at every look, with all of their versions from the start of the topic.
    pub(super) fn last_looks(&mut self, table: &mut dyn Table, progress: &Arc<Progress>) -> Result<(), DriftError> {
        let keys = self.queue.undecided(MOST_LOOKED_AT);
        if keys.is_empty() || self.next_last_look > Instant::now() {
            return Ok(());
        }
        let began = Instant::now();
        let method = table.method();
        let hashes = keys.iter().map(|key| method.key_of(key)).collect();
        self.examine(&hashes, &keys, table, progress)?;
        self.next_last_look = Instant::now() + began.elapsed() * REST;
        Ok(())
    }

    /// Keys with these hashes, and these keys, under a bracket of their own. False when not all of it could be read: then
    /// nothing is judged.
    fn examine(
        &mut self,
        hashes: &BTreeSet<u64>,
        keys: &[Key],
        table: &mut dyn Table,
        progress: &Arc<Progress>,
    ) -> Result<bool, DriftError> {
        let (settings, place) = (self.settings.clone(), self.place.clone());
        let sink = Sink::new(&settings, &place, table.method(), progress);
        let Bracket { sight, cuts, opened, .. } = sink.bracket(table, settings.settle)?;
        let shape = table.shape().clone();
        let taker =
            || HistoryTake::new(Some(hashes), Witness::new(&shape, &place, &sight), shape.keys.len(), sink.method);
        let (mut read, takers) = opened.read(progress, taker)?;
        self.has_unusable = takers.iter().any(|taker| taker.unusable > 0);
        let mut histories = history::merge(takers.into_iter().map(|taker| taker.histories).collect());
        let rows = sink.rows(table, hashes, &histories)?;
        table.end()?;
        self.bytes += read.bytes;
        read.unread.extend(unreadable_yet(&settings, &cuts, &read));
        self.note(read.findings);
        if !read.unread.is_empty() || progress.is_stopped() {
            self.unread = read.unread;
            return Ok(false);
        }
        (self.is_trimmed, self.summary.cuts) = (read.is_trimmed, cuts);
        let mut subjects: BTreeSet<Key> = keys.iter().cloned().collect();
        subjects.extend(histories.keys().chain(rows.keys()).cloned());
        for key in &subjects {
            self.queue.complete(key, histories.remove(key));
        }
        if let Sight::Offsets(settled) = &sight {
            self.queue.settle(settled);
        }
        self.judge(&subjects.into_iter().collect::<Vec<_>>(), &rows, table);
        Ok(true)
    }

    /// The next part.
    pub(super) fn compare(&mut self, table: &mut dyn Table, progress: &Arc<Progress>) -> Result<(), DriftError> {
        let (began, began_ms) = (Instant::now(), now_ms());
        let (settings, place) = (Settings { part: self.part, ..self.settings.clone() }, self.place.clone());
        let mut sink = Sink::new(&settings, &place, table.method(), progress);
        sink.laws = law::bind(&settings.laws, table.shape())?;
        let Look { mut told, mut suspects, doubted } = sink.look(table, settings.settle)?;
        if !told.judged.wrong.is_empty() {
            pause(&settings, progress);
        }
        sink.confirm_balance(table, &mut told)?;
        let imbalances = std::mem::take(&mut told.findings);
        sink.search(table.shape()).run(&doubted, &mut told)?;
        if progress.is_stopped() {
            return Ok(());
        }
        let Told { read, mut summary, samples, findings, .. } = told;
        self.weigh(imbalances, &summary);
        summary.undecided = Undecided::default();
        // What an event tells for ever is told once.
        let is_new = |finding: &&Finding| !self.findings.contains_key(&finding.id);
        self.news.extend(findings.iter().filter(is_new).cloned());
        self.note(findings);
        limit(&settings, &mut suspects, &mut summary);
        self.is_trimmed = read.is_trimmed;
        // What is counted here is of this part, and is counted anew with it.
        let of_tail = (std::mem::take(&mut self.queue.unverifiable), std::mem::take(&mut self.queue.dropped));
        let examined = if suspects.is_empty() { Ok(true) } else { self.examine(&suspects, &[], table, progress) };
        for (reason, count) in std::mem::replace(&mut self.queue.unverifiable, of_tail.0) {
            note(&mut summary.unverifiable, &reason, count);
        }
        let dropped = std::mem::replace(&mut self.queue.dropped, of_tail.1);
        note(&mut summary.unverifiable, "not-looked-at", dropped);
        if !examined? {
            // It takes all of the topic to try again.
            self.next_comparison = Instant::now() + began.elapsed() * REST;
            return Ok(());
        }
        self.remember(&settings, read, summary, samples, began_ms);
        self.following.comparisons += 1;
        self.following.comparison_seconds = began.elapsed().as_secs_f64();
        self.following.comparison_ms = Some(now_ms());
        self.following.compared_ms = self.following.comparison_ms;
        self.part = self.part.next();
        self.next_comparison = Instant::now() + self.rhythm.every.saturating_sub(began.elapsed());
        Ok(())
    }

    /// What the laws say of this part now.
    fn weigh(&mut self, found: Vec<Finding>, summary: &DriftSummary) {
        let now = now_ms();
        let mut before = self.unbalanced.remove(&self.part.index).unwrap_or_default();
        let mut open = BTreeMap::new();
        for mut finding in found {
            let known = before.remove(&finding.id);
            let since = known.as_ref().and_then(|known| known.first_seen).unwrap_or(now);
            (finding.first_seen, finding.last_seen) = (Some(since), Some(now));
            if known.is_none() {
                self.news.push(finding.clone());
            }
            open.insert(finding.id.clone(), finding);
        }
        for mut healed in before.into_values() {
            if summary.leaves_open(&healed) {
                open.insert(healed.id.clone(), healed);
                continue;
            }
            (healed.state, healed.last_seen) = (State::Resolved, Some(now));
            self.following.resolved += 1;
            self.news.push(healed);
        }
        self.unbalanced.insert(self.part.index, open);
    }

    fn remember(
        &mut self,
        settings: &Settings,
        read: Read,
        summary: DriftSummary,
        samples: Vec<String>,
        began_ms: i64,
    ) {
        let unread = read.unread.iter().cloned().chain(unjudged(settings, &summary.cuts, &read)).collect();
        let compared = Compared {
            keys: summary.keys,
            rows: summary.rows,
            in_flight: summary.in_flight,
            unverifiable: summary.unverifiable.clone(),
            unread,
            laws: summary.laws.clone(),
            began_ms,
        };
        self.compared.insert(self.part.index, compared);
        self.bytes += read.bytes;
        self.note(read.findings);
        (self.coverage, self.summary, self.samples) = (read.coverage, summary, samples);
        // Everything that was left out has been looked at since.
        let is_whole = self.compared.len() == self.rhythm.parts as usize;
        if is_whole {
            self.complete.get_or_insert_with(Instant::now);
        }
        if is_whole && self.compared.values().all(|compared| compared.began_ms > self.dropped_ms) {
            self.queue.dropped = 0;
            self.queue.unverifiable.clear();
        }
    }
}
