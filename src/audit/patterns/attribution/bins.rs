//! Counts over time, in bins that widen rather than multiply.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// More bins than this and neighbours are merged. Only bins with something in them count, so one wild timestamp costs one bin.
const MOST_BINS: usize = 1024;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub arrived: u64,
    pub lost: u64,
}

/// Arrivals and losses by time: exact counts in at most 1,024 bins of one width, a second at first and doubled when they run out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeBins {
    width_ms: i64,
    bins: BTreeMap<i64, Counts>,
    /// The bin written last and what is not yet in `bins`: records mostly come in order.
    last: (i64, Counts),
}

impl Default for TimeBins {
    fn default() -> Self {
        Self { width_ms: 1000, bins: BTreeMap::new(), last: (0, Counts::default()) }
    }
}

impl TimeBins {
    pub fn add(&mut self, time_ms: i64, arrived: u64, lost: u64) {
        let bin = time_ms.div_euclid(self.width_ms);
        if bin != self.last.0 {
            self.settle();
            self.last = (time_ms.div_euclid(self.width_ms), Counts::default());
        }
        self.last.1.arrived += arrived;
        self.last.1.lost += lost;
    }

    /// The bins with something in them: (start in milliseconds, counts), ascending.
    pub fn counts(&self) -> Vec<(i64, Counts)> {
        let mut all = self.clone();
        all.settle();
        all.bins.into_iter().map(|(bin, counts)| (bin.saturating_mul(all.width_ms), counts)).collect()
    }

    pub fn width_ms(&self) -> i64 {
        self.width_ms
    }

    fn settle(&mut self) {
        let (bin, counts) = self.last;
        if counts != Counts::default() {
            merge(&mut self.bins, bin, counts);
            self.last.1 = Counts::default();
        }
        while self.bins.len() > MOST_BINS && self.width_ms < i64::MAX / 2 {
            self.width_ms *= 2;
            let narrow = std::mem::take(&mut self.bins);
            for (bin, counts) in narrow {
                merge(&mut self.bins, bin.div_euclid(2), counts);
            }
        }
    }
}

fn merge(bins: &mut BTreeMap<i64, Counts>, bin: i64, counts: Counts) {
    let sum = bins.entry(bin).or_default();
    sum.arrived += counts.arrived;
    sum.lost += counts.lost;
}
