//! What was really read of a partition, and what explains each offset that holds no record.

use serde::{Deserialize, Serialize};

/// Why an offset inside the range asked for holds no observed record. Every missing offset has exactly one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hole {
    /// Transaction markers and other control records.
    Control,
    /// Records of aborted transactions.
    Aborted,
    /// Removed by the log cleaner.
    Compacted,
    /// Below the log start offset.
    Expired,
    /// At or above the last stable offset: an open transaction.
    Unstable,
    /// Not read: the broker could not be asked, or the run was stopped.
    Unfetched,
    /// Read, but damaged or of a legacy format.
    Unreadable,
    /// The client hides batches, so the hole cannot be explained there.
    Unknown,
    /// No explanation: an anomaly.
    Unexplained,
}

impl Hole {
    pub const ALL: [Hole; 9] = [
        Hole::Control,
        Hole::Aborted,
        Hole::Compacted,
        Hole::Expired,
        Hole::Unstable,
        Hole::Unfetched,
        Hole::Unreadable,
        Hole::Unknown,
        Hole::Unexplained,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Hole::Control => "control",
            Hole::Aborted => "aborted",
            Hole::Compacted => "compacted",
            Hole::Expired => "expired",
            Hole::Unstable => "unstable",
            Hole::Unfetched => "unfetched",
            Hole::Unreadable => "unreadable",
            Hole::Unknown => "unknown",
            Hole::Unexplained => "unexplained",
        }
    }
}

/// Offsets without a record, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holes {
    pub control: u64,
    pub aborted: u64,
    pub compacted: u64,
    pub expired: u64,
    pub unstable: u64,
    pub unfetched: u64,
    pub unreadable: u64,
    pub unknown: u64,
    pub unexplained: u64,
}

impl Holes {
    pub fn add(&mut self, hole: Hole, offsets: u64) {
        *self.slot(hole) += offsets;
    }

    pub fn get(&self, hole: Hole) -> u64 {
        *{ *self }.slot(hole)
    }

    pub fn total(&self) -> u64 {
        Hole::ALL.iter().map(|&hole| self.get(hole)).sum()
    }

    fn slot(&mut self, hole: Hole) -> &mut u64 {
        match hole {
            Hole::Control => &mut self.control,
            Hole::Aborted => &mut self.aborted,
            Hole::Compacted => &mut self.compacted,
            Hole::Expired => &mut self.expired,
            Hole::Unstable => &mut self.unstable,
            Hole::Unfetched => &mut self.unfetched,
            Hole::Unreadable => &mut self.unreadable,
            Hole::Unknown => &mut self.unknown,
            Hole::Unexplained => &mut self.unexplained,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    ReadCommitted,
    ReadUncommitted,
}

impl Isolation {
    /// As Kafka's `isolation.level` names it.
    pub fn name(self) -> &'static str {
        match self {
            Isolation::ReadCommitted => "read_committed",
            Isolation::ReadUncommitted => "read_uncommitted",
        }
    }
}

/// The range read of one partition. Always: `records + Σ holes = until − from`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    pub topic: String,
    pub partition: i32,
    pub from: i64,
    pub until: i64,
    pub records: u64,
    pub batches: u64,
    pub isolation: Isolation,
    pub holes: Holes,
}

impl Coverage {
    /// The first offset that was still there.
    pub fn start(&self) -> i64 {
        self.from + self.holes.expired as i64
    }

    /// Where records of transactions that were still open begin.
    pub fn stable_end(&self) -> i64 {
        self.until - self.holes.unstable as i64
    }
}

/// One cell of the picture of a partition: equal stretches of offsets from left to right.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    pub records: u64,
    pub holes: Holes,
    /// Smallest and largest record time in the cell, milliseconds; absent when it holds no record.
    pub times: Option<(i64, i64)>,
}

/// The picture of a partition in at most [`Strip::CELLS`] cells. When the range grows past them, neighbours are merged
/// in pairs, so the cost does not depend on the length of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strip {
    /// First offset of the first cell.
    pub from: i64,
    /// Offsets in each cell: a power of two.
    pub width: i64,
    pub cells: Vec<Cell>,
}

impl Strip {
    pub const CELLS: usize = 128;

    pub fn new(from: i64) -> Self {
        Self { from, width: 1, cells: Vec::new() }
    }

    /// Adds a stretch of records `[from, until)` of which `records` are really there; times in milliseconds.
    pub fn add_records(&mut self, from: i64, until: i64, records: u64, times: Option<(i64, i64)>) {
        let span = (until - from).max(1) as u64;
        let mut left = records;
        self.each_cell(from, until, |cell, offsets, last| {
            let share = if last { left } else { (records * offsets / span).min(left) };
            left -= share;
            cell.records += share;
            cell.times = match (cell.times, times) {
                (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
                (known, new) => known.or(new),
            };
        });
    }

    pub fn add_hole(&mut self, from: i64, until: i64, hole: Hole) {
        self.each_cell(from, until, |cell, offsets, _| cell.holes.add(hole, offsets));
    }

    fn each_cell(&mut self, from: i64, until: i64, mut visit: impl FnMut(&mut Cell, u64, bool)) {
        let mut from = from.max(self.from);
        if until <= from {
            return;
        }
        while (until - 1 - self.from) / self.width >= Self::CELLS as i64 {
            self.widen();
        }
        while from < until {
            let index = ((from - self.from) / self.width) as usize;
            if self.cells.len() <= index {
                self.cells.resize(index + 1, Cell::default());
            }
            let end = (self.from + (index as i64 + 1) * self.width).min(until);
            visit(&mut self.cells[index], (end - from) as u64, end == until);
            from = end;
        }
    }

    fn widen(&mut self) {
        self.width *= 2;
        let merged = self.cells.chunks(2).map(|pair| {
            let mut cell = pair[0].clone();
            if let Some(right) = pair.get(1) {
                cell.records += right.records;
                for hole in Hole::ALL {
                    cell.holes.add(hole, right.holes.get(hole));
                }
                cell.times = match (cell.times, right.times) {
                    (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
                    (left, right) => left.or(right),
                };
            }
            cell
        });
        self.cells = merged.collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_strip_keeps_every_offset_whatever_its_width(stretches in prop::collection::vec((1i64..5000, 0u8..3), 1..40)) {
            let mut strip = Strip::new(100);
            let (mut at, mut records, mut holes) = (100, 0u64, Holes::default());
            for (length, what) in stretches {
                match what {
                    0 => { strip.add_records(at, at + length, length as u64, Some((at, at))); records += length as u64 }
                    1 => { strip.add_hole(at, at + length, Hole::Aborted); holes.add(Hole::Aborted, length as u64) }
                    _ => { strip.add_hole(at, at + length, Hole::Compacted); holes.add(Hole::Compacted, length as u64) }
                }
                at += length;
            }
            prop_assert!(strip.cells.len() <= Strip::CELLS);
            prop_assert_eq!(strip.cells.iter().map(|c| c.records).sum::<u64>(), records);
            for hole in Hole::ALL {
                prop_assert_eq!(strip.cells.iter().map(|c| c.holes.get(hole)).sum::<u64>(), holes.get(hole));
            }
        }
    }
}
