//! How far a ledger's partitions were read, and what in them nobody can speak for.

use serde::{Deserialize, Serialize};

use crate::audit::coverage::Hole;
use crate::audit::finding::Span;
use crate::audit::partition::PartitionState;
use crate::report::format::{span, thousands, utc};

/// What was read of one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Covered {
    pub topic: String,
    pub partition: i32,
    /// Offsets `[from, position)` were read.
    pub from: i64,
    pub position: i64,
    /// Where the log ended then; −1 when the source does not tell.
    pub end: i64,
    /// Milliseconds since 1970: the smallest record time in the earliest stretch, and the stream time.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub begun_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub read_until_ms: Option<i64>,
    /// Offsets in that range whose records nobody saw, by the name of the hole.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub unseen: Vec<(Hole, u64)>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub damaged: Vec<Span>,
}

/// Holes that may have held a record. Markers are none, and what was aborted is no record of the committed view.
const MAY_HIDE: [Hole; 6] =
    [Hole::Expired, Hole::Compacted, Hole::Unfetched, Hole::Unreadable, Hole::Unknown, Hole::Unexplained];

impl Covered {
    pub fn of(state: &PartitionState) -> Self {
        let offsets = &state.offsets;
        let unseen = MAY_HIDE.into_iter().map(|hole| (hole, offsets.holes.get(hole))).filter(|(_, count)| *count > 0);
        Self {
            topic: state.topic.clone(),
            partition: state.partition,
            from: offsets.from,
            position: offsets.position,
            end: offsets.high_watermark,
            begun_ms: offsets.strip.cells.iter().find_map(|cell| cell.times).map(|(earliest, _)| earliest),
            read_until_ms: (state.stream_time > i64::MIN).then_some(state.stream_time),
            unseen: unseen.collect(),
            damaged: offsets.damaged.iter().map(|(span, _)| *span).collect(),
        }
    }

    /// What of the partition is not covered, in words; empty when all of it is.
    pub fn gaps(&self) -> Vec<String> {
        let place = format!("{}[{}]", self.topic, self.partition);
        let mut gaps = Vec::new();
        if self.from > 0 {
            gaps.push(format!("{place} before offset {}", self.from));
        }
        for (hole, count) in &self.unseen {
            gaps.push(match hole {
                Hole::Unreadable if !self.damaged.is_empty() => {
                    let spans: Vec<String> = self.damaged.iter().map(|damaged| span(*damaged)).collect();
                    format!("{place} at offset {}, unreadable", spans.join(", "))
                }
                _ => format!("{} offsets of {place}, {}", thousands(*count), hole.name()),
            });
        }
        if self.position < self.end {
            gaps.push(format!("{place} from offset {} to {}, not read yet", self.position, self.end - 1));
        }
        gaps
    }
}

/// What was read of a topic as a whole: a record may lie in any of its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Milliseconds; from the very beginning when absent.
    pub from_ms: Option<i64>,
    /// The slowest partition's stream time; absent when there is none.
    pub until_ms: Option<i64>,
    pub gaps: Vec<String>,
}

impl Reach {
    pub fn of(topic: &str, coverage: &[Covered]) -> Self {
        let partitions: Vec<&Covered> = coverage.iter().filter(|covered| covered.topic == topic).collect();
        let later = partitions.iter().filter(|covered| covered.from > 0);
        let mut gaps: Vec<String> = partitions.iter().flat_map(|covered| covered.gaps()).collect();
        if partitions.is_empty() {
            gaps.push(format!("all of {topic}"));
        }
        Self {
            from_ms: later.filter_map(|covered| covered.begun_ms).max(),
            until_ms: partitions.iter().filter_map(|covered| covered.read_until_ms).min(),
            gaps,
        }
    }

    /// `between 12:00 and 12:31`, `from its beginning to 12:31`.
    pub fn words(&self) -> String {
        let begins_at_zero = !self.gaps.iter().any(|gap| gap.contains(" before offset "));
        match (self.from_ms, self.until_ms) {
            (_, None) => "in what was read".to_owned(),
            (Some(from), Some(until)) => format!("between {} and {}", utc(from), utc(until)),
            (None, Some(until)) if begins_at_zero => format!("between its beginning and {}", utc(until)),
            (None, Some(until)) => format!("up to {}", utc(until)),
        }
    }

    /// `; not covered: …`, or nothing.
    pub fn uncovered(gaps: &[String]) -> String {
        match gaps.len() {
            0 => String::new(),
            _ => format!("; not covered: {}", gaps.join(", ")),
        }
    }
}
