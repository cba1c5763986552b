//! Coverage summed by topic.

use std::collections::BTreeMap;

use crate::audit::coverage::{Coverage, Hole, Holes};

/// Reasons that leave a question open: nobody has seen these offsets, or nobody can explain them.
pub const ALARMING: [Hole; 4] = [Hole::Unfetched, Hole::Unreadable, Hole::Unexplained, Hole::Unknown];

pub struct TopicCoverage<'a> {
    pub topic: &'a str,
    pub partitions: Vec<&'a Coverage>,
    /// Offsets asked for.
    pub offsets: u64,
    pub records: u64,
    pub holes: Holes,
}

/// By name, those with open questions first.
pub fn topics(coverage: &[Coverage]) -> Vec<TopicCoverage<'_>> {
    let mut by_topic: BTreeMap<&str, TopicCoverage<'_>> = BTreeMap::new();
    for part in coverage {
        let topic = by_topic.entry(&part.topic).or_insert_with(|| TopicCoverage {
            topic: &part.topic,
            partitions: Vec::new(),
            offsets: 0,
            records: 0,
            holes: Holes::default(),
        });
        topic.partitions.push(part);
        topic.offsets += offsets(part);
        topic.records += part.records;
        for hole in Hole::ALL {
            topic.holes.add(hole, part.holes.get(hole));
        }
    }
    let mut topics: Vec<TopicCoverage<'_>> = by_topic.into_values().collect();
    topics.sort_by_key(|topic| !topic.is_alarming());
    topics
}

impl TopicCoverage<'_> {
    pub fn is_alarming(&self) -> bool {
        is_alarming(&self.holes)
    }

    /// Offsets that were seen or whose absence the log itself explains: what "read" means in a report.
    pub fn read(&self) -> u64 {
        let Holes { expired, unstable, unfetched, unreadable, unknown, .. } = self.holes;
        self.offsets.saturating_sub(expired + unstable + unfetched + unreadable + unknown)
    }

    pub fn unread(&self) -> u64 {
        unread(&self.holes)
    }
}

/// Offsets asked for.
pub fn offsets(coverage: &Coverage) -> u64 {
    coverage.until.saturating_sub(coverage.from).max(0) as u64
}

pub fn is_alarming(holes: &Holes) -> bool {
    ALARMING.iter().any(|&hole| holes.get(hole) > 0)
}

/// Offsets asked for that nobody has seen.
pub fn unread(holes: &Holes) -> u64 {
    holes.unfetched + holes.unreadable
}
