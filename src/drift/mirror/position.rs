//! How far a copy has come: where in the source its last records stand. What the source has behind them is lag, no loss.
//!
//! Compaction may have taken the very last one from either side, and a copy may hold records that are not the source's:
//! so several of the last are looked for, and the newest that stands in the source exactly once decides. Where one stands there
//! more than once, the first place is taken: what is called open too often is judged at another look.

use std::collections::{BTreeMap, VecDeque};

use rustc_hash::FxHashMap;

use crate::drift::align::Item;

/// Last records of each partition of the copy that are looked for.
const KEPT: usize = 1_000;

/// The last records of each partition of a copy, in their order.
#[derive(Debug, Default)]
pub struct Tails(BTreeMap<i32, VecDeque<Item>>);

impl Tails {
    pub fn push(&mut self, partition: i32, item: Item) {
        let tail = self.0.entry(partition).or_default();
        tail.push_back(item);
        if tail.len() > KEPT {
            tail.pop_front();
        }
    }

    /// Of another thread: a partition is read by one.
    pub fn add(&mut self, other: Tails) {
        self.0.extend(other.0);
    }

    /// No record of the tail is older than this.
    pub fn oldest_ms(&self) -> impl Iterator<Item = (i32, i64)> {
        let oldest = |tail: &VecDeque<Item>| tail.iter().map(|item| item.timestamp).min();
        self.0.iter().filter_map(move |(partition, tail)| Some((*partition, oldest(tail)?)))
    }

    pub fn finder(&self) -> Finder {
        let hashes = |(partition, tail): (&i32, &VecDeque<Item>)| {
            let places = tail.iter().map(|item| (item.hash, Place::default())).collect();
            (*partition, places)
        };
        Finder(self.0.iter().map(hashes).collect())
    }

    pub fn reaches(&self, finder: &Finder) -> Reaches {
        let reach = |(partition, tail): (&i32, &VecDeque<Item>)| {
            let newest = tail.iter().map(|item| item.timestamp).max().unwrap_or(i64::MIN);
            (*partition, finder.reach(*partition, tail).unwrap_or(Reach::Until(newest)))
        };
        Reaches(self.0.iter().map(reach).collect())
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    first: i64,
    times: u32,
}

/// Looks for them while the source is read.
#[derive(Clone, Debug, Default)]
pub struct Finder(BTreeMap<i32, FxHashMap<u64, Place>>);

impl Finder {
    pub fn look(&mut self, partition: i32, item: &Item) {
        let Some(place) = self.0.get_mut(&partition).and_then(|places| places.get_mut(&item.hash)) else { return };
        if place.times == 0 {
            place.first = item.offset;
        }
        place.times += 1;
    }

    /// What another thread found.
    pub fn add(&mut self, other: Finder) {
        for (partition, places) in other.0 {
            let own = self.0.entry(partition).or_default();
            own.extend(places.into_iter().filter(|(_, place)| place.times > 0));
        }
    }

    fn reach(&self, partition: i32, tail: &VecDeque<Item>) -> Option<Reach> {
        let places = self.0.get(&partition)?;
        let found = || tail.iter().rev().filter_map(|item| places.get(&item.hash)).filter(|place| place.times > 0);
        let place = found().find(|place| place.times == 1).or(found().next())?;
        Some(Reach::Offset(place.first))
    }
}

/// How far one partition's copy has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The source's record at this offset has arrived, and what stands before it.
    Offset(i64),
    /// None of its last records is in the source any more: what is no younger than they are is taken to have arrived.
    Until(i64),
    /// The copy holds nothing: that is no lag.
    Nothing,
}

impl Reach {
    /// A record of the source that may be in the copy and need not be.
    pub fn is_open(self, offset: i64, timestamp: i64) -> bool {
        match self {
            Reach::Offset(last) => offset > last,
            Reach::Until(time) => timestamp > time,
            Reach::Nothing => false,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Reaches(BTreeMap<i32, Reach>);

impl Reaches {
    pub fn of(&self, partition: i32) -> Reach {
        self.0.get(&partition).copied().unwrap_or(Reach::Nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(hash: u64, offset: i64) -> Item {
        Item { hash, key: 1, offset, timestamp: 100 + offset }
    }

    fn reach(source: &[u64], copy: &[u64]) -> Reach {
        let mut tails = Tails::default();
        copy.iter().zip(0..).for_each(|(hash, offset)| tails.push(0, item(*hash, offset)));
        let mut finder = tails.finder();
        source.iter().zip(0..).for_each(|(hash, offset)| finder.look(0, &item(*hash, offset)));
        tails.reaches(&finder).of(0)
    }

    #[test]
    fn the_newest_record_that_stands_once_decides() {
        assert_eq!(reach(&[1, 2, 3, 4], &[1, 2, 3]), Reach::Offset(2));
        assert_eq!(reach(&[1, 2, 3, 4], &[1, 2, 3, 99]), Reach::Offset(2), "a foreign record");
        assert_eq!(reach(&[1, 2, 3, 7, 4, 7], &[1, 2, 3, 7]), Reach::Offset(2), "it may be either 7");
        assert_eq!(reach(&[7, 7, 7], &[7, 7]), Reach::Offset(0));
        assert_eq!(reach(&[1, 2, 3, 4], &[1, 2, 3, 2]), Reach::Offset(1), "it began again");
    }

    #[test]
    fn without_any_the_time_decides() {
        assert_eq!(reach(&[1, 2], &[8, 9]), Reach::Until(101));
        assert_eq!(reach(&[1, 2], &[]), Reach::Nothing);
        assert!(Reach::Until(101).is_open(0, 102) && !Reach::Until(101).is_open(5, 101));
    }

    #[test]
    fn only_the_last_are_looked_for() {
        let copy: Vec<u64> =
            (0..KEPT as u64 + 1).map(|number| if number == 0 { 1 } else { 1_000_000 + number }).collect();
        assert!(matches!(reach(&[1, 2], &copy), Reach::Until(_)));
    }
}
