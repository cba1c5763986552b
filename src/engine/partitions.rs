//! The partitions of an audit: their numbers, which are stable for the life of the ledger, and where each one begins.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::audit::duplicates::Names;
use crate::audit::finding::Finding;
use crate::audit::partition::{PartitionAudit, PartitionRules, PartitionState};
use crate::identify::{Identifier, Rules};
use crate::source::{Assignment, PartitionInfo};

use super::{FlowRules, Settings};

struct Entry {
    state: PartitionState,
    /// What the source says of it in this run; absent for partitions only the ledger knows.
    info: Option<PartitionInfo>,
    /// Said when the partition was registered, before any reader took it over.
    findings: Vec<Finding>,
}

pub struct Partitions {
    entries: Mutex<Vec<Entry>>,
    rules: Rules,
    flow: Option<FlowRules>,
    timestamp_bound_ms: i64,
    secret: [u8; 192],
}

impl Partitions {
    pub fn new(states: Vec<PartitionState>, settings: &Settings, secret: [u8; 192]) -> Self {
        let entry = |state| Entry { state, info: None, findings: Vec::new() };
        Self {
            entries: Mutex::new(states.into_iter().map(entry).collect()),
            rules: settings.rules.clone(),
            flow: settings.flow.clone(),
            timestamp_bound_ms: settings.timestamp_bound.as_millis() as i64,
            secret,
        }
    }

    /// Nothing is left half-done under this lock, so a reader that died while holding it spoils nothing.
    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the partition its number and says where to go on. A topic made anew under an old name is a new partition.
    pub fn register(&self, info: PartitionInfo) -> Assignment {
        let mut entries = self.lock();
        let same_name = |entry: &Entry| *entry.state.topic == *info.topic && entry.state.partition == info.partition;
        let same_topic = |entry: &Entry| match (entry.state.topic_id, info.topic_id) {
            (Some(known), Some(now)) => known == now,
            _ => true,
        };
        let latest = entries.iter().rposition(same_name);
        let index = match latest {
            Some(index) if same_topic(&entries[index]) => {
                let state = &mut entries[index].state;
                state.topic_id = state.topic_id.or(info.topic_id);
                index
            }
            replaced => {
                let state = PartitionState::new(&info.topic, info.topic_id, info.partition, info.from);
                let mut findings = Vec::new();
                if let Some(index) = replaced {
                    let audit = PartitionAudit::new(entries[index].state.clone(), self.rules_for(&info), None);
                    audit.topic_gone(info.topic_id, &mut findings);
                }
                entries.push(Entry { state, info: None, findings });
                entries.len() - 1
            }
        };
        let entry = &mut entries[index];
        entry.info = Some(info.clone());
        let (position, last_epoch) = (entry.state.offsets.position, entry.state.leader_epoch);
        Assignment { index: index as u32, info, position, last_epoch }
    }

    fn rules_for(&self, info: &PartitionInfo) -> PartitionRules {
        PartitionRules {
            cleanup: info.cleanup,
            has_headers: info.has_headers,
            timestamp_bound_ms: self.timestamp_bound_ms,
        }
    }

    /// Hands the partition to the reader that will read it.
    pub fn open(&self, index: u32) -> Option<PartitionAudit> {
        let entries = self.lock();
        let entry = entries.get(index as usize)?;
        let info = entry.info.as_ref()?;
        let topic = &entry.state.topic;
        let rules = self.flow.as_ref().map_or_else(|| self.rules.clone(), |flow| flow.rules(topic, &self.rules));
        let identifier =
            rules.need_records().then(|| Identifier::new(rules.clone(), &self.secret, topic, entry.state.partition));
        let audit = PartitionAudit::new(entry.state.clone(), self.rules_for(info), identifier);
        Some(if self.flow.is_some() { audit } else { audit.sampled() })
    }

    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// State of a partition no chunk has come from yet, and what was said at its registration.
    pub fn initial(&self, index: u32) -> Option<(PartitionState, Vec<Finding>)> {
        let mut entries = self.lock();
        let entry = entries.get_mut(index as usize)?;
        Some((entry.state.clone(), std::mem::take(&mut entry.findings)))
    }

    /// Whether the source named the partition in this run; others are only known from earlier ones.
    pub fn is_of_this_run(&self, index: usize) -> bool {
        self.lock().get(index).is_some_and(|entry| entry.info.is_some())
    }

    /// Target offset and whether the source hides batch headers, for partitions of this run.
    pub fn info(&self, index: u32) -> Option<PartitionInfo> {
        self.lock().get(index as usize)?.info.clone()
    }
}

/// Topic and partition by number, for findings.
pub struct States<'a>(pub &'a [PartitionState]);

impl<'a> States<'a> {
    pub fn place(&self, partition: u32) -> (&'a str, i32) {
        match self.0.get(partition as usize) {
            Some(state) => (&state.topic, state.partition),
            None => ("unknown", -1),
        }
    }
}

impl Names for States<'_> {
    fn name(&self, partition: u32) -> (&str, i32) {
        self.place(partition)
    }
}
