//! What patterns of an audit's losses are made from, topic by topic; a flow has its own.

use super::auditor::Auditor;
use crate::audit::finding::Finding;
use crate::audit::patterns::summary::Found;
use crate::audit::patterns::topic::TopicPatterns;
use crate::identify::Observations;

/// Topics whose losses are compared, the first ones that are read: the tallies of each are written with every commit.
pub const MOST_TOPICS: usize = 64;

impl Auditor<'_> {
    /// Takes in what a stretch of a partition has of it.
    pub(super) fn take_losses(&mut self, index: u32, seen: &mut Observations) {
        if self.flow.is_some() || (seen.traffic.is_empty() && seen.gaps.is_empty()) {
            return;
        }
        let Some(state) = self.state.partitions.get(index as usize) else { return };
        if !self.losses.contains_key(&state.topic) && self.losses.len() < MOST_TOPICS {
            self.losses.insert(state.topic.clone(), TopicPatterns::default());
        }
        let Some(losses) = self.losses.get_mut(&state.topic) else { return };
        seen.traffic.iter().for_each(|traffic| losses.traffic(state.partition, traffic));
        for sampled in &seen.samples {
            let session = sampled.session.map(|session| self.state.sessions.label_of(session));
            losses.sampled(state.partition, sampled, session);
        }
        losses.settle();
        seen.gaps.drain(..).for_each(|gap| losses.gap(gap));
    }

    /// What the losses of each topic have in common.
    pub(super) fn common_causes(&self, findings: &[Finding], found: &mut Found) {
        for (topic, losses) in &self.losses {
            let own: Vec<&Finding> = findings.iter().filter(|finding| finding.topic == *topic).collect();
            losses.search(topic, &own, found);
        }
    }
}
