//! What is remembered of records by their offset while an audit reads: how many there are between two offsets, markers
//! and holes left out, and when they were written. Bounded; dense near the end, coarse further back, and forgotten with the
//! process.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// Stretches kept per partition.
const MOST: usize = 512;

/// Consecutive offsets of which the number of records is known.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    from: i64,
    until: i64,
    records: i64,
    /// Smallest and largest time of the records.
    times: Option<(i64, i64)>,
}

impl Stretch {
    fn is_full(&self) -> bool {
        self.records == self.until - self.from
    }

    fn is_even(&self) -> bool {
        self.is_full() || self.records == 0
    }

    fn join(self, next: Self) -> Self {
        let times = match (self.times, next.times) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (one, other) => one.or(other),
        };
        Self { from: self.from, until: next.until, records: self.records + next.records, times }
    }
}

#[derive(Default)]
pub struct Index {
    kept: VecDeque<Stretch>,
}

impl Index {
    /// Offsets `[from, until)` were read and hold so many records. What does not follow on what is known begins anew.
    pub fn read(&mut self, from: i64, until: i64, records: i64, times: Option<(i64, i64)>) {
        if until <= from {
            return;
        }
        if self.kept.back().is_some_and(|last| last.until != from) {
            self.kept.clear();
        }
        self.kept.push_back(Stretch { from, until, records, times });
        if self.kept.len() > MOST {
            self.thin();
        }
    }

    /// Joins neighbours in the older half; first those that lose nothing but exact times.
    fn thin(&mut self) {
        let half = self.kept.len() / 2;
        for lossless in [true, false] {
            let mut joined: VecDeque<Stretch> = VecDeque::with_capacity(self.kept.len());
            let mut was_joined = false;
            for (number, &stretch) in self.kept.iter().enumerate() {
                let alike = |last: &Stretch| last.is_even() && stretch.is_even() && last.is_full() == stretch.is_full();
                match joined.back_mut() {
                    // Each takes in one neighbour at most, so that what is older gets coarse little by little.
                    Some(last) if number < half && !was_joined && (!lossless || alike(last)) => {
                        *last = last.join(stretch);
                        was_joined = true;
                    }
                    _ => {
                        joined.push_back(stretch);
                        was_joined = false;
                    }
                }
            }
            self.kept = joined;
            if self.kept.len() <= MOST * 3 / 4 {
                return;
            }
        }
    }

    fn at(&self, offset: i64) -> Option<usize> {
        let place = self.kept.partition_point(|stretch| stretch.until <= offset);
        self.kept.get(place).filter(|stretch| stretch.from <= offset).map(|_| place)
    }

    /// Records in `[from, until)`, where that is known exactly. `until` must be where reading has come to.
    fn records(&self, from: i64, until: i64) -> Option<i64> {
        let end = self.kept.back()?.until;
        if until != end {
            return None;
        }
        if from == end {
            return Some(0);
        }
        let place = self.at(from)?;
        let first = self.kept[place];
        let left = match first {
            _ if from == first.from => first.records,
            _ if first.is_full() => first.until - from,
            _ if first.records == 0 => 0,
            _ => return None,
        };
        Some(left + self.kept.iter().skip(place + 1).map(|stretch| stretch.records).sum::<i64>())
    }

    /// Between which times the first record at or above `offset` was written.
    fn next_time(&self, offset: i64) -> Option<(i64, i64)> {
        let place = self.at(offset)?;
        self.kept.iter().skip(place).find_map(|stretch| stretch.times)
    }
}

type Shared = Arc<Mutex<Index>>;

/// The indexes of all partitions that some audit reads.
#[derive(Default)]
pub struct Indexes {
    all: Mutex<HashMap<(Arc<str>, i32), Shared>>,
}

impl Indexes {
    /// The index a reader writes to. A topic made anew continues nowhere, so its index begins anew by itself.
    pub fn of(&self, topic: &str, partition: i32) -> Shared {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry((Arc::from(topic), partition)).or_default().clone()
    }

    fn look<T>(&self, spot: &(Arc<str>, i32), of: impl Fn(&Index) -> Option<T>) -> Option<T> {
        let index = self.all.lock().unwrap_or_else(PoisonError::into_inner).get(spot).cloned()?;
        let index = index.lock().unwrap_or_else(PoisonError::into_inner);
        of(&index)
    }

    pub fn records(&self, spot: &(Arc<str>, i32), from: i64, until: i64) -> Option<i64> {
        self.look(spot, |index| index.records(from, until))
    }

    pub fn next_time(&self, spot: &(Arc<str>, i32), offset: i64) -> Option<(i64, i64)> {
        self.look(spot, |index| index.next_time(offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a list of every record: what is said is true, and near the end everything is known.
        #[test]
        fn says_nothing_that_is_not_so(batches in prop::collection::vec((1i64..40, 0u8..4), 1..900), picks in prop::collection::vec(0.0f64..1.0, 20)) {
            let (mut index, mut times, mut offset) = (Index::default(), Vec::new(), 100i64);
            for (number, (length, kind)) in batches.into_iter().enumerate() {
                let written: Vec<Option<i64>> = (0..length).map(|i| match kind {
                    0 => None,
                    1 => (i % 2 == 0).then_some(number as i64),
                    _ => Some(number as i64),
                }).collect();
                let records = written.iter().flatten().count() as i64;
                index.read(offset, offset + length, records, (records > 0).then_some((number as i64, number as i64)));
                times.extend(written);
                offset += length;
            }
            prop_assert!(index.kept.len() <= MOST + 1);
            for pick in picks {
                let at = 100 + ((offset - 100) as f64 * pick) as i64;
                let rest = &times[(at - 100) as usize..];
                if let Some(said) = index.records(at, offset) {
                    prop_assert_eq!(said, rest.iter().flatten().count() as i64);
                }
                if let Some((low, high)) = index.next_time(at) {
                    let next = rest.iter().flatten().next();
                    // Of a stretch it is in the middle of, the record may have been one before.
                    prop_assert!(next.is_none_or(|&next| low <= next), "{low}..{high} {next:?}");
                }
            }
            prop_assert_eq!(index.records(offset, offset), Some(0));
        }
    }

    #[test]
    fn a_marker_is_no_record() {
        let mut index = Index::default();
        index.read(0, 10, 10, Some((5, 9)));
        index.read(10, 11, 0, None);
        assert_eq!(index.records(4, 11), Some(6));
        assert_eq!(index.records(10, 11), Some(0));
        assert_eq!(index.next_time(10), None);
        index.read(50, 60, 10, None);
        assert_eq!(index.records(4, 60), None, "what lies between was not read");
    }
}
