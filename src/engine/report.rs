//! From the auditor's last state to the report.

use std::collections::BTreeMap;
use std::time::Duration;

use super::EngineError;
use super::auditor::{Auditor, Refused, decode};
use super::checked::{Asked, not_checked};
use super::partitions::States;
use super::state::Entry;
use crate::audit::coverage::{Coverage, Hole};
use crate::audit::finding::{Finding, Span, State as Open};
use crate::audit::partition::PartitionState;
use crate::audit::patterns::say::Subject;
use crate::audit::patterns::sessions::{self, Numbered, Read};
use crate::audit::patterns::summary::Found;
use crate::audit::verdict::{Figures, NotChecked, Picture, Report, Summary, Unread, judge};

/// Misfits listed in the summary.
const SAMPLES_LISTED: usize = 10;

impl Auditor<'_> {
    /// What is known now: at the end of a run, or while it goes on.
    pub fn report(&mut self, refused: &[Refused], took: Duration, stopped: bool) -> Result<Report, EngineError> {
        let mut findings = self.findings()?;
        let found = self.patterns(&findings);
        // Before single findings: what they have in common says more.
        findings.splice(0..0, found.findings);
        let current: Vec<(u32, PartitionState)> = self.current_partitions();
        let coverage: Vec<Coverage> = current.iter().map(|(index, state)| self.coverage(*index, state)).collect();
        let not_checked = self.not_checked(&current, refused);
        let unread = self.unread(&current, &coverage, refused, stopped);
        let verdict = judge(&findings, &coverage, &unread);
        let figures = self.figures(&coverage);
        let summary = Summary {
            verdict,
            exit: verdict.exit(),
            notes: self.notes(&figures, &coverage, &current),
            samples: current.iter().flat_map(|(_, p)| p.samples.iter().cloned()).take(SAMPLES_LISTED).collect(),
            figures,
            unread,
            not_checked,
            searched: found.searched,
            flow: self.flow.as_ref().map(|carried| carried.flows.summary()),
            drift: None,
            pairs: Vec::new(),
            seconds: took.as_secs_f64(),
            ledger: self.settings.ledger.as_ref().map(|dir| dir.display().to_string()),
        };
        let picture = |(_, state): &(u32, PartitionState)| Picture {
            topic: state.topic.clone(),
            partition: state.partition,
            strip: state.offsets.strip.clone(),
        };
        Ok(Report { findings, pictures: current.iter().map(picture).collect(), coverage, summary })
    }

    /// Everything the journal holds, what the cases say, and what is still waiting.
    fn findings(&mut self) -> Result<Vec<Finding>, EngineError> {
        if self.known.is_none() {
            let mut known = BTreeMap::new();
            for entry in self.ledger.entries()? {
                if let Entry::Finding(finding) = decode(self.settings, &entry?.1)? {
                    known.insert(finding.id.clone(), *finding);
                }
            }
            self.known = Some(known);
        }
        let mut findings: Vec<Finding> = self.known.iter().flat_map(BTreeMap::values).cloned().collect();
        self.state.sessions.pending(&self.session_rules, &mut findings);
        self.pending_flows(&mut findings);
        self.duplicates.findings(self.rung(), &States(&self.state.partitions), &mut findings);
        let place = |f: &Finding| {
            let offset = f.offsets.map(|o| o.from).or(f.sightings.last().map(|s| s.offset));
            (
                f.state != Open::Open,
                f.topic.clone(),
                f.partition,
                offset,
                f.kind,
                f.session.clone(),
                f.numbers.map(|n| n.from),
                f.id.clone(),
            )
        };
        findings.sort_by_cached_key(place);
        Ok(findings)
    }

    /// What losses have in common.
    fn patterns(&self, findings: &[Finding]) -> Found {
        let mut found = Found::default();
        let read = |state: &PartitionState| Read {
            topic: state.topic.clone(),
            partition: state.partition,
            offsets: Span::new(state.offsets.from, state.offsets.position),
        };
        let read: Vec<Read> = self.state.partitions.iter().map(read).collect();
        let sessions: Vec<Numbered> = self.state.sessions.numbered().collect();
        sessions::patterns(findings, &sessions, &read, self.settings.follow, &mut found);
        for (topic, retries) in &self.retries {
            let subject = Subject {
                topic: topic.clone(),
                stage: None,
                counter: "delays",
                place: String::new(),
                what: "repeated",
            };
            found.findings.extend(retries.report().comb.map(|comb| subject.comb(&comb)));
        }
        match &self.flow {
            Some(carried) => carried.flows.patterns(self.settings.follow, &mut found),
            None => self.common_causes(findings, &mut found),
        }
        found
    }

    /// Partitions of this run, and of earlier ones on the same ledger, without those a re-created topic replaced.
    fn current_partitions(&self) -> Vec<(u32, PartitionState)> {
        let all = &self.state.partitions;
        let mut current: Vec<(u32, PartitionState)> = Vec::new();
        for (index, state) in all.iter().enumerate() {
            let replaced = all[index + 1..].iter().any(|p| p.topic == state.topic && p.partition == state.partition);
            if !replaced {
                current.push((index as u32, state.clone()));
            }
        }
        current.sort_by(|(_, a), (_, b)| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        current
    }

    fn coverage(&self, index: u32, state: &PartitionState) -> Coverage {
        let target = self.partitions.info(index).and_then(|info| info.until);
        state.offsets.coverage(&state.place(), self.settings.isolation, target)
    }

    fn unread(
        &self,
        current: &[(u32, PartitionState)],
        coverage: &[Coverage],
        refused: &[Refused],
        stopped: bool,
    ) -> Vec<Unread> {
        let part = |topic: &str, partition, why: String| Unread {
            topic: topic.to_owned(),
            partition,
            from: None,
            until: None,
            why,
        };
        let mut unread: Vec<Unread> =
            refused.iter().map(|(topic, partition, why)| part(topic, *partition, why.clone())).collect();
        for ((index, state), coverage) in current.iter().zip(coverage) {
            let failed = self.failed.get(index).map(String::as_str);
            unread.extend(Unread::of_partition(state, coverage, failed, stopped));
        }
        unread.extend(self.reader_errors.iter().map(|why| part("", None, why.clone())));
        unread.extend(self.unreadable.iter().map(|(place, why)| part("", None, format!("{place}: {why}"))));
        let more = self.unreadable_count.saturating_sub(self.unreadable.len() as u64);
        if more > 0 {
            unread.push(part("", None, format!("{more} more lines could not be read")));
        }
        // A stage of which nothing is known is no stage that lost everything.
        let stages = self.flow.iter().flat_map(|carried| carried.flows.flow.topics());
        for topic in stages.filter(|topic| !self.topics.contains_key(*topic)) {
            if !unread.iter().any(|part| part.topic == topic) {
                unread.push(part(
                    topic,
                    None,
                    "the input has no such topic, so nothing is known of this stage".to_owned(),
                ));
            }
        }
        let records: u64 = coverage.iter().map(|c| c.records).sum();
        let explained: u64 = coverage.iter().map(|c| c.holes.control + c.holes.aborted + c.holes.compacted).sum();
        if records + explained == 0 && unread.is_empty() {
            let mut topics: Vec<&str> = current.iter().map(|(_, p)| &*p.topic).collect();
            topics.dedup();
            let what = if topics.is_empty() { "the input".to_owned() } else { topics.join(", ") };
            unread.push(part("", None, format!("nothing was read: {what} is empty, so there is nothing to vouch for")));
        }
        let unidentified: u64 = current.iter().map(|(_, p)| p.unidentified).sum();
        if records > 0 && unidentified >= records {
            let why = "the rule fits no record at all, so nothing was compared; see the samples, and check --id, --session and --sequence";
            unread.push(part("", None, why.to_owned()));
        }
        unread
    }

    fn not_checked(&self, current: &[(u32, PartitionState)], refused: &[Refused]) -> Vec<NotChecked> {
        let partitions = current.iter().map(|(index, state)| (state, self.partitions.info(*index)));
        let asked = Asked {
            rules: &self.settings.rules,
            sequence_start: self.settings.sequence_start,
            flow: self.flow.is_some(),
            is_text: self.is_text,
            is_compared: &|topic| self.flow.is_some() || self.losses.contains_key(topic),
        };
        not_checked(partitions, refused.iter().map(|(topic, ..)| &**topic), &asked)
    }

    fn figures(&self, coverage: &[Coverage]) -> Figures {
        let sum = |of: &dyn Fn(&PartitionState) -> u64| self.state.partitions.iter().map(of).sum::<u64>();
        let sessions = &self.state.sessions.figures;
        let (duplicated, conflicting) = self.duplicates.counts();
        let numbered = self.settings.rules.sequence.is_some();
        Figures {
            records: coverage.iter().map(|c| c.records).sum(),
            bytes: sum(&|p| p.offsets.bytes),
            batches: coverage.iter().map(|c| c.batches).sum(),
            lost: sessions.lost + sum(&|p| p.producers.lost),
            duplicated: duplicated + self.duplicates.unlisted + sum(&|p| p.producers.duplicated),
            conflicting,
            reordered: sessions.reordered,
            late: sessions.late,
            resets: sessions.resets,
            sessions: if numbered { sessions.sessions } else { sum(&|p| p.producers.sessions) },
            unexplained: coverage.iter().map(|c| c.holes.unexplained).sum(),
            unidentified: sum(&|p| p.unidentified),
            sightings: self.state.sightings,
            n_reordering: sessions.density.degrees().to_vec(),
            reorder_density: sessions.density.displacements(),
        }
    }

    fn notes(&self, figures: &Figures, coverage: &[Coverage], current: &[(u32, PartitionState)]) -> Vec<String> {
        let mut notes = Vec::new();
        let rules = &self.settings.rules;
        let anonymous: u64 = current.iter().map(|(_, p)| p.anonymous).sum();
        if anonymous > 0 && rules.row_identity().is_none() && rules.sequence.is_none() {
            notes.push(format!(
                "{anonymous} records name no idempotent producer (acks=1, an old client, or a client that hides it): whether any was lost or doubled on the way to the log cannot be seen; give --session and --sequence, or --id"
            ));
        }
        if figures.unidentified > 0 && figures.unidentified < figures.records {
            notes.push(format!(
                "{} records did not fit the rules and were not compared; see the samples",
                figures.unidentified
            ));
        }
        let unknown: u64 = coverage.iter().map(|c| c.holes.get(Hole::Unknown)).sum();
        if unknown > 0 {
            notes.push(format!(
                "{unknown} offsets hold no record and this source hides why (markers, aborted or compacted records, or loss); the raw client explains them"
            ));
        }
        if self.duplicates.unlisted > 0 {
            notes.push(format!(
                "{} repeated records are counted and not listed: the list is full",
                self.duplicates.unlisted
            ));
        }
        let evicted: u64 = current.iter().map(|(_, p)| p.producers.evicted).sum();
        if evicted > 0 {
            notes.push(format!(
                "{evicted} idle producers were forgotten to bound memory; a gap across that would not be seen"
            ));
        }
        if let Some(carried) = &self.flow {
            notes.extend(carried.flows.clocks_that_differ());
        }
        let reread: u64 = current.iter().map(|(_, p)| p.reread).sum();
        if reread > 0 {
            notes.push(format!("{reread} records came again at offsets already read and were skipped"));
        }
        notes
    }
}
