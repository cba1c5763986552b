//! Reordering as figures: n-reordering (RFC 4737 §5.1) and reorder density (RFC 5236), per session and partition.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

/// Displacements beyond this are counted together, and n-reordering is not followed further (RFC 5236's threshold DT).
pub const THRESHOLD: i32 = 64;

/// Both histograms over all sessions. A number's displacement is its place among the arrivals less its place in order,
/// lost numbers, late ones and duplicates left out: late is positive, early negative.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Density {
    displaced: BTreeMap<i32, u64>,
    degrees: Vec<u64>,
}

impl Density {
    pub fn displacements(&self) -> Vec<(i32, u64)> {
        self.displaced.iter().filter(|&(_, &count)| count > 0).map(|(&d, &count)| (d, count)).collect()
    }

    /// Entry n − 1: records that are n-reordered.
    pub fn degrees(&self) -> &[u64] {
        &self.degrees
    }

    fn shift(&mut self, from: i32, to: i32, count: u64) {
        if from != 0 {
            let slot = self.displaced.entry(from).or_default();
            *slot = slot.saturating_sub(count);
        }
        if to != 0 {
            *self.displaced.entry(to).or_default() += count;
        }
    }

    /// A record is n-reordered for every n up to its degree.
    pub fn degree(&mut self, degree: u32) {
        let degree = degree as usize;
        if self.degrees.len() < degree {
            self.degrees.resize(degree, 0);
        }
        self.degrees[..degree].iter_mut().for_each(|count| *count += 1);
    }
}

/// A stretch of latest arrivals with rising numbers and one displacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stretch {
    first: i64,
    length: i64,
    displaced: i32,
}

/// The last [`THRESHOLD`] arrivals of one session on one partition; in order they are one stretch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recent {
    stretches: VecDeque<Stretch>,
    arrivals: i64,
}

impl Recent {
    pub fn push(&mut self, number: i64, displaced: i32) {
        match self.stretches.back_mut() {
            Some(last) if last.first + last.length == number && last.displaced == displaced => last.length += 1,
            _ => self.stretches.push_back(Stretch { first: number, length: 1, displaced }),
        }
        self.arrivals += 1;
        while self.arrivals > i64::from(THRESHOLD) {
            let Some(oldest) = self.stretches.front_mut() else { break };
            let drop = oldest.length.min(self.arrivals - i64::from(THRESHOLD));
            oldest.first += drop;
            oldest.length -= drop;
            self.arrivals -= drop;
            if oldest.length == 0 {
                self.stretches.pop_front();
            }
        }
    }

    /// Immediately preceding arrivals that are all larger: the largest n for which the number is n-reordered.
    pub fn degree(&self, number: i64) -> u32 {
        let mut degree = 0;
        for stretch in self.stretches.iter().rev() {
            // Numbers rise within a stretch, so those above `number` are its tail.
            let above = (stretch.first + stretch.length - 1 - number.max(stretch.first - 1)).clamp(0, stretch.length);
            degree += above;
            if above < stretch.length {
                break;
            }
        }
        degree as u32
    }

    /// A reordered number arrived: it is displaced by the larger ones before it, and each of them by one the other way.
    pub fn displace(&mut self, number: i64, density: &mut Density) {
        let mut passed = 0;
        let old = std::mem::take(&mut self.stretches);
        for stretch in old {
            let below = (number - stretch.first).clamp(0, stretch.length);
            if below > 0 {
                self.append(Stretch { length: below, ..stretch });
            }
            let above = stretch.length - below;
            if above > 0 {
                let displaced = (stretch.displaced - 1).max(-THRESHOLD);
                density.shift(stretch.displaced, displaced, above as u64);
                self.append(Stretch { first: stretch.first + below, length: above, displaced });
                passed += above;
            }
        }
        let displaced = passed.min(i64::from(THRESHOLD)) as i32;
        density.shift(0, displaced, 1);
        self.push(number, displaced);
    }

    fn append(&mut self, stretch: Stretch) {
        match self.stretches.back_mut() {
            Some(last) if last.first + last.length == stretch.first && last.displaced == stretch.displaced => {
                last.length += stretch.length;
            }
            _ => self.stretches.push_back(stretch),
        }
    }
}
