//! Two sequences of records, one of which should be a copy of the other: what is lost, repeated, out of order, or foreign.
//!
//! Both are read once, side by side, with a window of the source's records ahead. Equal heads go on together; a record of the
//! copy that stands further ahead in the source leaves those before it behind, and one that comes after all was out of
//! order. In the end loss and repetition of the same content cancel, so both are what the difference of the multisets is.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

/// A record as a hash of all that a copy keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    pub hash: u64,
    pub key: u64,
    pub offset: i64,
    pub timestamp: i64,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub matched: u64,
    /// Source records before the first and behind the last one that was copied.
    pub before: u64,
    pub lag: u64,
    /// Copied records before the first one that the source still has.
    pub unknown: u64,
    /// In the order of the source.
    pub lost: Vec<Item>,
    /// In the order of the copy.
    pub repeated: Vec<Item>,
    pub reordered: Vec<Item>,
    pub foreign: Vec<Item>,
    /// Source offset of the first record that was copied.
    pub first: Option<i64>,
    /// Where the copy's last records were not found any more, though more of the source follows than is looked through.
    pub astray: Option<i64>,
}

/// Records in a row that are as young as the one that is looked for: then it is not further on.
const YOUNGER: usize = 1_000;
/// Source records that are held at most, some 70 MB of them.
const MOST_AHEAD: usize = 500_000;
/// Copied records in a row that are nowhere in the window, from which on nobody knows where the copy is.
const ASTRAY: usize = 1_000;

/// Copied records that are remembered, to know a repeated one.
const RECENT: usize = 1 << 16;

pub struct Align<S> {
    source: S,
    window: usize,
    has_times: bool,
    /// Source records not reached yet, and where in them each hash stands, by the number of the record.
    ahead: VecDeque<Item>,
    places: FxHashMap<u64, VecDeque<u64>>,
    /// Number of the first record ahead.
    first: u64,
    behind: FxHashMap<u64, VecDeque<Item>>,
    recent: VecDeque<u64>,
    recent_counts: FxHashMap<u64, u32>,
    foreign: Vec<Item>,
    /// Of the copy, since the last one that was found.
    in_vain: usize,
    out: Outcome,
}

impl<S: Iterator<Item = Item>> Align<S> {
    /// `has_times`: a copy has the time of its record.
    pub fn new(source: S, window: usize, has_times: bool) -> Self {
        Self {
            source,
            window,
            has_times,
            ahead: VecDeque::new(),
            places: FxHashMap::default(),
            first: 0,
            behind: FxHashMap::default(),
            recent: VecDeque::new(),
            recent_counts: FxHashMap::default(),
            foreign: Vec::new(),
            in_vain: 0,
            out: Outcome::default(),
        }
    }

    pub fn run(mut self, copy: impl Iterator<Item = Item>) -> Outcome {
        for item in copy {
            self.take(item);
        }
        self.finish()
    }

    fn take(&mut self, item: Item) {
        self.fill(1);
        if self.ahead.front().is_some_and(|next| next.hash == item.hash) {
            let found = self.pop();
            return self.is_matched(item, found);
        }
        if let Some(left) = self.behind.get_mut(&item.hash).and_then(VecDeque::pop_front) {
            if self.behind.get(&item.hash).is_some_and(VecDeque::is_empty) {
                self.behind.remove(&item.hash);
            }
            self.out.reordered.push(Item { offset: item.offset, ..left });
            return self.is_matched(item, None);
        }
        if self.recent_counts.contains_key(&item.hash) {
            return self.out.repeated.push(item);
        }
        self.fill(self.window);
        let place = self.places.get(&item.hash).and_then(|places| places.front().copied());
        let Some(place) = place.or_else(|| self.search(&item)) else {
            self.in_vain += 1;
            return self.foreign.push(item);
        };
        while self.first < place {
            self.leave_behind();
        }
        let found = self.pop();
        self.is_matched(item, found);
    }

    fn leave_behind(&mut self) {
        let Some(left) = self.pop() else { return };
        match self.out.matched {
            // Before anything was copied they are only counted: there may be any number of them.
            0 => self.out.before += 1,
            _ => self.behind.entry(left.hash).or_default().push_back(left),
        }
    }

    /// Beyond the window, as long as the source's records are older than this one: a copy that began late, or lost much at
    /// once, is far ahead. Nothing is left behind for a record that is not found: it may never have been in the source.
    fn search(&mut self, item: &Item) -> Option<u64> {
        let is_younger = |other: &Item| other.timestamp >= item.timestamp;
        let mut younger = self.ahead.iter().rev().take_while(|other| is_younger(other)).take(YOUNGER).count();
        while self.has_times && younger < YOUNGER && self.ahead.len() < MOST_AHEAD {
            let before = self.ahead.len();
            self.fill(before + 1);
            let last = self.ahead.get(before)?;
            if last.hash == item.hash {
                return Some(self.first + before as u64);
            }
            younger = if is_younger(last) { younger + 1 } else { 0 };
        }
        None
    }

    fn is_matched(&mut self, item: Item, found: Option<Item>) {
        self.in_vain = 0;
        if self.out.matched == 0 {
            self.out.first = found.map(|found| found.offset);
            // The source has none of them any more.
            self.out.unknown = std::mem::take(&mut self.foreign).len() as u64;
        }
        self.out.matched += 1;
        self.recent.push_back(item.hash);
        *self.recent_counts.entry(item.hash).or_default() += 1;
        if self.recent.len() > RECENT
            && let Some(old) = self.recent.pop_front()
            && let Some(count) = self.recent_counts.get_mut(&old)
        {
            *count -= 1;
            if *count == 0 {
                self.recent_counts.remove(&old);
            }
        }
    }

    fn fill(&mut self, wanted: usize) {
        while self.ahead.len() < wanted {
            let Some(item) = self.source.next() else { return };
            let number = self.first + self.ahead.len() as u64;
            self.places.entry(item.hash).or_default().push_back(number);
            self.ahead.push_back(item);
        }
    }

    fn pop(&mut self) -> Option<Item> {
        let item = self.ahead.pop_front()?;
        self.first += 1;
        if let Some(places) = self.places.get_mut(&item.hash) {
            places.pop_front();
            if places.is_empty() {
                self.places.remove(&item.hash);
            }
        }
        Some(item)
    }

    fn finish(mut self) -> Outcome {
        if self.in_vain >= ASTRAY && self.ahead.len() >= self.window {
            self.out.astray = self.foreign.iter().rev().nth(self.in_vain - 1).map(|item| item.offset);
        }
        // A foreign record may have come before its time, by more than the window.
        let mut rest: Vec<Item> = self.ahead.drain(..).collect();
        rest.extend(&mut self.source);
        let mut out = self.out;
        let mut lost: Vec<Item> = self.behind.into_values().flatten().collect();
        match out.matched {
            // Nothing of the source arrived: that is no lag.
            0 => lost.append(&mut rest),
            _ => out.lag = rest.len() as u64,
        }
        lost.sort_by_key(|item| item.offset);
        let mut surplus: FxHashMap<u64, Vec<Item>> = FxHashMap::default();
        for item in out.repeated.drain(..).chain(self.foreign.iter().copied()) {
            surplus.entry(item.hash).or_default().push(item);
        }
        lost.retain(|item| match surplus.get_mut(&item.hash).and_then(Vec::pop) {
            Some(found) => {
                out.matched += 1;
                out.reordered.push(found);
                false
            }
            None => true,
        });
        let foreign: rustc_hash::FxHashSet<i64> = self.foreign.iter().map(|item| item.offset).collect();
        let mut left: Vec<Item> = surplus.into_values().flatten().collect();
        left.sort_by_key(|item| item.offset);
        (out.foreign, out.repeated) = left.into_iter().partition(|item| foreign.contains(&item.offset));
        out.reordered.sort_by_key(|item| item.offset);
        out.lost = lost;
        out
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn items(hashes: &[u64]) -> Vec<Item> {
        let item = |(offset, hash): (usize, &u64)| Item { hash: *hash, key: 0, offset: offset as i64, timestamp: 0 };
        hashes.iter().enumerate().map(item).collect()
    }

    /// A second apart, as the source's records are in `items`.
    fn timed(hashes: std::ops::Range<u64>) -> impl Iterator<Item = Item> {
        hashes.map(|hash| Item { hash, key: 0, offset: hash as i64, timestamp: 1_000 * hash as i64 })
    }

    /// Both with a window that holds a hundredth of them.
    #[test]
    fn what_is_far_ahead_is_found_by_its_time() {
        let of = |copy: Vec<Item>| Align::new(timed(0..100_000), 1_000, true).run(copy.into_iter());
        let late = of(timed(70_000..90_000).collect());
        assert_eq!((late.before, late.lag, late.matched, late.first), (70_000, 10_000, 20_000, Some(70_000)));
        assert!(late.lost.is_empty() && late.reordered.is_empty() && late.foreign.is_empty() && late.astray.is_none());
        let torn = of(timed(0..10_000).chain(timed(60_000..100_000)).collect());
        assert_eq!((torn.lost.len(), torn.lag, torn.matched), (50_000, 0, 50_000));
        assert_eq!((torn.lost[0].offset, torn.lost[49_999].offset), (10_000, 59_999));
        assert!(torn.reordered.is_empty() && torn.foreign.is_empty());
    }

    /// In front, in the middle and behind: of its time, long before it and long after it.
    #[test]
    fn a_record_that_was_never_in_the_source_moves_nothing() {
        for (place, timestamp) in
            [(0, 90_000_000), (5_000, 5_000_000), (5_000, 0), (5_000, i64::MAX), (50_000, 99_000_000)]
        {
            let strange = Item { hash: 1 << 40, key: 0, offset: -1, timestamp };
            // Ten are lost, and the copy is half as long.
            let copy = timed(0..place).chain([strange]).chain(timed(place..50_000));
            let copy = copy.filter(|item| !(20_000..20_010).contains(&item.hash));
            let out = Align::new(timed(0..100_000), 1_000, true).run(copy);
            assert_eq!(
                (out.matched, out.lost.len(), out.lag, out.before),
                (49_990, 10, 50_000, 0),
                "{place} {timestamp}"
            );
            let strange = if place == 0 { (0, 1) } else { (1, 0) };
            assert_eq!((out.foreign.len() as u64, out.unknown), strange, "{place} {timestamp}");
            assert!(out.reordered.is_empty() && out.astray.is_none(), "{place} {timestamp}");
        }
    }

    #[test]
    fn where_times_say_nothing_it_says_that_it_is_lost() {
        let still = |hashes| timed(hashes).map(|item| Item { timestamp: 0, ..item });
        let copy = still(0..10_000).chain(still(60_000..100_000));
        let out = Align::new(still(0..100_000), 1_000, true).run(copy);
        assert_eq!(out.astray, Some(60_000));
        let whole = Align::new(still(0..100_000), 1_000, true).run(still(0..100_000));
        assert_eq!((whole.matched, whole.astray), (100_000, None));
    }

    fn aligned(source: &[u64], copy: &[u64], window: usize) -> Outcome {
        Align::new(items(source).into_iter(), window, true).run(items(copy).into_iter())
    }

    fn hashes(items: &[Item]) -> Vec<u64> {
        items.iter().map(|item| item.hash).collect()
    }

    #[test]
    fn each_fault_has_its_name() {
        let source: Vec<u64> = (0..20).collect();
        let copy: Vec<u64> = [0, 1, 2, 4, 5, 5, 6, 8, 7, 9, 99, 10, 11].into();
        let out = aligned(&source, &copy, 10);
        assert_eq!(hashes(&out.lost), [3]);
        assert_eq!(hashes(&out.repeated), [5]);
        assert_eq!(hashes(&out.reordered), [7]);
        assert_eq!(hashes(&out.foreign), [99]);
        assert_eq!((out.lag, out.before, out.unknown, out.matched), (8, 0, 0, 11));
    }

    #[test]
    fn what_lies_before_the_copy_began_is_no_loss() {
        let out = aligned(&[1, 2, 3, 4, 5], &[3, 4, 5], 10);
        assert_eq!((out.before, out.lost.len(), out.matched), (2, 0, 3));
        let out = aligned(&[3, 4, 5], &[1, 2, 3, 4, 5], 10);
        assert_eq!((out.unknown, out.foreign.len(), out.matched), (2, 0, 3));
    }

    #[test]
    fn a_copy_that_holds_nothing_of_the_source_has_lost_it() {
        let out = aligned(&[1, 2, 3], &[], 10);
        assert_eq!((hashes(&out.lost), out.lag), (vec![1, 2, 3], 0));
        let out = aligned(&[1, 2, 3], &[8, 9], 10);
        assert_eq!((hashes(&out.lost), hashes(&out.foreign), out.lag), (vec![1, 2, 3], vec![8, 9], 0));
    }

    #[test]
    fn equal_records_are_no_repetition() {
        let source = [7, 7, 7, 1, 7];
        assert_eq!(aligned(&source, &source, 10), Outcome { matched: 5, first: Some(0), ..Outcome::default() });
    }

    proptest! {
        /// The oracle is the difference of the multisets, both ends held fast by records of their own.
        #[test]
        fn loss_and_surplus_are_the_difference_of_the_multisets(
            source in prop::collection::vec(1..60_u64, 0..200),
            edits in prop::collection::vec((0..200_usize, 0..4_u8, 1..80_u64), 0..30),
        ) {
            let source: Vec<u64> = [1_000].into_iter().chain(source).chain([1_001]).collect();
            let mut copy = source.clone();
            for (at, edit, hash) in edits {
                let at = 1 + at % (copy.len() - 1).max(1);
                let last = copy.len() - 1;
                match edit {
                    0 if at < last => _ = copy.remove(at),
                    1 => copy.insert(at.min(last), hash),
                    2 if at < last => copy.insert(at, copy[at]),
                    3 if at + 1 < last => copy.swap(at, at + 1),
                    _ => {}
                }
            }
            let mut counts: BTreeMap<u64, i64> = BTreeMap::new();
            source.iter().for_each(|hash| *counts.entry(*hash).or_default() += 1);
            copy.iter().for_each(|hash| *counts.entry(*hash).or_default() -= 1);
            let out = aligned(&source, &copy, 1_000);
            let mut found: BTreeMap<u64, i64> = BTreeMap::new();
            hashes(&out.lost).iter().for_each(|hash| *found.entry(*hash).or_default() += 1);
            for hash in hashes(&out.repeated).iter().chain(&hashes(&out.foreign)) {
                *found.entry(*hash).or_default() -= 1;
            }
            counts.retain(|_, count| *count != 0);
            found.retain(|_, count| *count != 0);
            prop_assert_eq!(found, counts);
            prop_assert_eq!((out.lag, out.before, out.unknown), (0, 0, 0));
            if source == copy {
                prop_assert!(out.reordered.is_empty());
            }
        }
    }
}
