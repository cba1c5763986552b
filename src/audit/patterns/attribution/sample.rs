//! A uniform sample of units with their attributes, of bounded size.

use serde::{Deserialize, Serialize};

/// An attribute that is not known of a unit: it then counts neither for a value nor against it.
pub const UNKNOWN: u32 = u32::MAX;

/// One record, arrived or lost, as attribution sees it.
#[derive(Clone, Copy, Debug)]
pub struct Unit<'a> {
    /// Its place in the order of arrival; a lost unit has the place of the hole it left.
    pub number: u64,
    pub time_ms: i64,
    /// Hash of its key, from which the key classes modulo 2 to 64 follow.
    pub key_hash: Option<u64>,
    /// One code for each dimension; what is missing at the end is unknown.
    pub codes: &'a [u32],
}

/// Units in columns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rows {
    /// Codes per row.
    width: usize,
    pub numbers: Vec<u64>,
    pub times: Vec<i64>,
    keys: Vec<Option<u64>>,
    codes: Vec<u32>,
}

impl Rows {
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    pub fn code(&self, row: usize, dimension: usize) -> u32 {
        self.codes[row * self.width + dimension]
    }

    pub fn key(&self, row: usize) -> Option<u64> {
        self.keys[row]
    }

    fn push(&mut self, unit: &Unit<'_>) {
        self.numbers.push(unit.number);
        self.times.push(unit.time_ms);
        self.keys.push(unit.key_hash);
        self.codes.extend((0..self.width).map(|i| unit.codes.get(i).copied().unwrap_or(UNKNOWN)));
    }

    fn retain(&mut self, keep: &[bool]) {
        let width = self.width;
        retain(&mut self.numbers, keep, 1);
        retain(&mut self.times, keep, 1);
        retain(&mut self.keys, keep, 1);
        retain(&mut self.codes, keep, width);
    }
}

fn retain<T>(column: &mut Vec<T>, keep: &[bool], width: usize) {
    let mut at = 0;
    column.retain(|_| {
        at += 1;
        keep[(at - 1) / width]
    });
}

/// Adaptive sampling (Wegman; Flajolet, "On adaptive sampling", 1990): a unit stays while the hash of its ordinal begins with
/// `level` zeros, and one more zero is asked for when the sample is full. Every unit has the same chance, whatever its
/// attributes; taking every k-th instead would resonate with anything periodic, such as round-robin partitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sample {
    capacity: usize,
    level: u32,
    seen: u64,
    draws: Vec<u64>,
    rows: Rows,
}

impl Sample {
    pub fn new(capacity: usize, width: usize) -> Self {
        let rows = Rows { width, ..Rows::default() };
        Self { capacity: capacity.max(2), level: 0, seen: 0, draws: Vec::new(), rows }
    }

    pub fn offer(&mut self, unit: &Unit<'_>) {
        let draw = mix(self.seen);
        self.seen += 1;
        if draw.leading_zeros() < self.level {
            return;
        }
        while self.draws.len() >= self.capacity && self.level < 64 {
            self.thin_to(self.level + 1);
        }
        if draw.leading_zeros() >= self.level {
            self.draws.push(draw);
            self.rows.push(unit);
        }
    }

    /// Units that were drawn elsewhere, where a draw has so many zeros in front with the chance that it has here.
    pub fn keep(&mut self, unit: &Unit<'_>, zeros: u32) {
        if zeros >= self.level {
            self.draws.push(u64::MAX.checked_shr(zeros).unwrap_or(0));
            self.rows.push(unit);
        }
    }

    /// Units offered elsewhere.
    pub fn count(&mut self, units: u64) {
        self.seen += units;
    }

    /// Keeps what has so many zeros in front.
    pub fn thin_to(&mut self, level: u32) {
        if level > self.level {
            self.level = level;
            let keep: Vec<bool> = self.draws.iter().map(|draw| draw.leading_zeros() >= level).collect();
            self.rows.retain(&keep);
            retain(&mut self.draws, &keep, 1);
        }
    }

    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// Units offered, kept or not.
    pub fn seen(&self) -> u64 {
        self.seen
    }
}

/// SplitMix64 (Steele, Lea & Flood, 2014).
pub(in crate::audit::patterns) fn mix(x: u64) -> u64 {
    let z = x.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
