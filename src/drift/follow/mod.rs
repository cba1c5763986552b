//! Comparing for ever.

use std::time::Duration;

use super::Settings;
use super::place::Place;

/// How often, and in which steps.
#[derive(Clone, Debug)]
pub struct Rhythm {
    /// A part is compared so often.
    pub every: Duration,
    /// Parts the buckets are compared in.
    pub parts: u32,
    /// When a key that is wrong is looked at again, counted from the first time; after the last one it is drift.
    pub recheck: Vec<Duration>,
    /// Whether keys are checked as the group passes their records.
    pub tail: bool,
    /// Goes on trying even where nothing could be compared yet.
    pub is_patient: bool,
}

impl Default for Rhythm {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(600),
            parts: 1,
            recheck: [1, 10, 60].map(Duration::from_secs).into(),
            tail: true,
            is_patient: false,
        }
    }
}

impl Rhythm {
    /// A group's commits say when a record must have arrived; without them stores are compared as a whole only.
    pub fn follows(&self, settings: &Settings) -> bool {
        self.tail && settings.group.is_some() && matches!((&settings.first, &settings.second), (Place::Topic(_), _))
    }
}
