//! Numbered arrivals, and the sessions they belong to: the auditor's half that judges what is missing.

use rustc_hash::FxHashMap;

use super::auditor::Auditor;
use crate::audit::finding::Rung;
use crate::audit::sessions::Lane;
use crate::identify::facts::{BatchFacts, Gap};
use crate::identify::observations::Says;
use crate::identify::{Arrival, IdentityHasher, Observations};
use crate::ledger::Sightings;

/// Sessions that are named by a key of which the key's hash is remembered.
const MOST_KEYS: usize = 1 << 18;

impl Auditor<'_> {
    pub(super) fn sessions(&mut self, index: u32, seen: &mut Observations) {
        for (name, label) in seen.labels.drain(..) {
            self.state.sessions.label(name, label);
        }
        if seen.arrivals.is_empty() {
            return;
        }
        if self.keys.len() < MOST_KEYS {
            self.keys.extend(seen.keys.drain(..));
        }
        let others = self.slowest_of_topic(index, true);
        let partition = &self.state.partitions[index as usize];
        let Some(topic) = self.topics.get_mut(&partition.topic) else { return };
        let from_beginning = match self.session_rules.topic_scope {
            true => topic.partitions.iter().all(|&p| self.state.partitions[p as usize].offsets.from == 0),
            false => partition.offsets.from == 0,
        };
        let mut lane = Lane {
            topic: topic.number,
            topic_name: &partition.topic,
            partition: partition.partition,
            slowest: i64::MAX,
            from_beginning,
        };
        let by_number = self.settings.rules.identity_is_number();
        let mut producers =
            if by_number { std::mem::take(&mut seen.sightings.producers) } else { Vec::new() }.into_iter().peekable();
        for (row, arrival) in seen.arrivals.iter().enumerate() {
            while let Some((_, producer)) = producers.next_if(|&(from, _)| from as usize <= row) {
                // Noted by arrival; end markers leave no sighting.
                seen.sightings.producers.push((seen.sightings.offsets.len() as u32, producer));
            }
            if self.session_rules.topic_scope {
                lane.slowest = others.min(arrival.stream_time);
            }
            let incarnation = self.state.sessions.arrive(arrival, &lane, &self.session_rules, &mut self.fresh);
            if let Some((session, numbers)) = self.state.sessions.opened().filter(|_| self.flow.is_none()) {
                let partition = (!self.session_rules.topic_scope).then_some(lane.partition);
                let batch = seen.batches.partition_point(|(from, _)| *from as usize <= row).checked_sub(1);
                let facts = batch.map_or(BatchFacts::NONE, |batch| seen.batches[batch].1).plain();
                let key = self.keys.get(&arrival.session).copied().unwrap_or(0);
                seen.gaps.push(Gap { partition, session, numbers, facts, at_ms: arrival.timestamp, key });
            }
            if let (true, Says::Number(number)) = (by_number, arrival.says) {
                let identity = number_identity(&mut topic.hasher, arrival.session, incarnation, number);
                push_row(&mut seen.sightings, arrival, identity);
                if self.settings.rules.show_keys {
                    let label = self.state.sessions.label_of(arrival.session);
                    seen.values.push((identity, format!("{label} {number}")));
                }
            }
        }
    }

    /// Smallest stream time among the partitions of this one's topic, itself left out on request.
    fn slowest_of_topic(&self, index: u32, without_itself: bool) -> i64 {
        if !self.known_beforehand {
            return i64::MIN;
        }
        let Some(topic) = self.topics.get(&self.state.partitions[index as usize].topic) else { return i64::MIN };
        let counted = topic.partitions.iter().filter(|&&p| !(without_itself && p == index));
        counted.map(|&p| self.state.partitions[p as usize].stream_time).min().unwrap_or(i64::MAX)
    }

    pub(super) fn judge(&mut self) {
        if !self.state.sessions.is_waiting() {
            return;
        }
        let partitions = &self.state.partitions;
        let mut slowest: FxHashMap<u32, i64> = FxHashMap::default();
        let mut own: FxHashMap<(u32, i32), i64> = FxHashMap::default();
        for topic in self.topics.values() {
            let times = topic.partitions.iter().map(|&p| &partitions[p as usize]);
            slowest.insert(topic.number, times.clone().map(|p| p.stream_time).min().unwrap_or(i64::MIN));
            own.extend(times.map(|p| ((topic.number, p.partition), p.stream_time)));
        }
        let known = self.known_beforehand;
        let clock = |topic: u32, partition: Option<i32>| match partition {
            Some(partition) => own.get(&(topic, partition)).copied().unwrap_or(i64::MIN),
            None if known => slowest.get(&topic).copied().unwrap_or(i64::MIN),
            None => i64::MIN,
        };
        self.state.sessions.judge(&clock, &self.session_rules, &mut self.fresh);
    }
}

pub(super) fn number_identity(hasher: &mut IdentityHasher, session: u64, incarnation: u32, number: i64) -> u128 {
    hasher.identity(Rung::Session, &[&session.to_le_bytes(), &incarnation.to_le_bytes(), &number.to_le_bytes()])
}

fn push_row(rows: &mut Sightings, arrival: &Arrival, identity: u128) {
    rows.offsets.push(arrival.offset);
    rows.timestamps.push(arrival.timestamp);
    rows.identities.push(identity);
    rows.checksums.push(arrival.checksum);
}
