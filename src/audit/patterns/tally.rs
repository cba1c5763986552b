//! The losses of one counter as they become known, in bounded memory.

use serde::{Deserialize, Serialize};

use super::losses::{Run, Segment};

/// One counter as it grows. Costs some steps per run of losses and none per number; what is kept is the newest
/// losses, up to a bound. Older ones are forgotten *with their trials*, so that what is left is a sample as fair as
/// the whole.
///
/// Losses may come in any order, more than once, and be reversed by a late arrival. A segment is addressed by the
/// id that [`restart`](Self::restart) gave it; what is said of a forgotten one is ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    segments: Vec<Segment>,
    /// Id of the first segment that is kept.
    oldest: u64,
    /// Runs and segments that are kept at most.
    bound: usize,
    /// Those that are.
    kept: usize,
}

impl Default for Tally {
    /// Keeps 65,536 runs and segments, 2 MiB.
    fn default() -> Self {
        Self::new(1 << 16)
    }
}

impl Tally {
    /// Keeps up to `bound` runs and segments, of 32 and 40 bytes.
    pub fn new(bound: usize) -> Self {
        Self { segments: Vec::new(), oldest: 0, bound: bound.max(2), kept: 0 }
    }

    /// Begins a segment whose first eligible number is `from`; returns its id.
    pub fn restart(&mut self, from: i64) -> u64 {
        self.segments.push(Segment { from, until: from, losses: Vec::new() });
        self.kept += 1;
        self.forget();
        self.oldest + self.segments.len() as u64 - 1
    }

    /// The numbers of a segment are eligible up to `until`, exclusive. The range never shrinks.
    pub fn extend(&mut self, segment: u64, until: i64) {
        if let Some(segment) = self.segment(segment) {
            segment.until = segment.until.max(until);
        }
    }

    /// Numbers are lost; they were eligible. Those before the segment's first number are ignored, and those known
    /// to be lost count once.
    pub fn lose(&mut self, segment: u64, mut run: Run) {
        let Some(segment) = self.segment(segment) else { return };
        run.from = run.from.max(segment.from);
        if run.until <= run.from {
            return;
        }
        segment.until = segment.until.max(run.until);
        // Runs that the new one overlaps or continues become one with it.
        let losses = &mut segment.losses;
        let begin = losses.partition_point(|known| known.until < run.from);
        let end = losses.partition_point(|known| known.from <= run.until);
        for known in &losses[begin..end] {
            if known.from < run.from {
                (run.from, run.first_ms) = (known.from, known.first_ms);
            }
            if known.until > run.until {
                (run.until, run.last_ms) = (known.until, known.last_ms);
            }
        }
        losses.splice(begin..end, [run]);
        self.kept = self.kept + 1 - (end - begin);
        self.forget();
    }

    /// Numbers in `[from, until)` arrived after all. Pieces of a run that is cut keep the times of its ends.
    pub fn arrive(&mut self, segment: u64, from: i64, until: i64) {
        let Some(segment) = self.segment(segment).filter(|_| from < until) else { return };
        let losses = &mut segment.losses;
        let begin = losses.partition_point(|known| known.until <= from);
        let end = losses.partition_point(|known| known.from < until);
        if begin >= end {
            return;
        }
        let left = Run { until: from, ..losses[begin] };
        let right = Run { from: until, ..losses[end - 1] };
        let pieces: Vec<_> = [left, right].into_iter().filter(|piece| piece.from < piece.until).collect();
        let more = pieces.len();
        losses.splice(begin..end, pieces);
        self.kept = self.kept + more - (end - begin);
        self.forget();
    }

    /// What is kept, in order: the input of [`super::periodic::judge`] and [`super::bursts::judge`]. A segment
    /// index in what they say, plus [`oldest`](Self::oldest), is a segment's id.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Id of the first segment that is kept.
    pub fn oldest(&self) -> u64 {
        self.oldest
    }

    fn segment(&mut self, id: u64) -> Option<&mut Segment> {
        self.segments.get_mut(usize::try_from(id.checked_sub(self.oldest)?).ok()?)
    }

    /// Forgets the oldest quarter when there is too much, so that it happens seldom.
    fn forget(&mut self) {
        if self.kept <= self.bound {
            return;
        }
        let keep = self.bound - self.bound / 4;
        let mut whole = 0;
        // The newest segment stays, if only its newest losses.
        while self.kept > keep
            && whole + 1 < self.segments.len()
            && self.kept - self.segments[whole].losses.len() > keep
        {
            self.kept -= 1 + self.segments[whole].losses.len();
            whole += 1;
        }
        self.segments.drain(..whole);
        self.oldest += whole as u64;
        let Some(first) = self.segments.first_mut() else { return };
        let part = self.kept.saturating_sub(keep).min(first.losses.len());
        if let Some(last) = first.losses.drain(..part).next_back() {
            first.from = last.until;
        }
        self.kept -= part;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Restart(i64),
        Extend(u64, i64),
        Lose(u64, i64, i64),
        Arrive(u64, i64, i64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let number = 0i64..120;
        prop_oneof![
            1 => number.clone().prop_map(Step::Restart),
            2 => (0u64..4, number.clone()).prop_map(|(s, until)| Step::Extend(s, until)),
            8 => (0u64..4, number.clone(), 0i64..12).prop_map(|(s, from, n)| Step::Lose(s, from, from + n)),
            4 => (0u64..4, number, 0i64..12).prop_map(|(s, from, n)| Step::Arrive(s, from, from + n)),
        ]
    }

    fn run(from: i64, until: i64) -> Run {
        Run { from, until, first_ms: 10 * from, last_ms: 10 * (until - 1) }
    }

    /// Number by number.
    #[derive(Default)]
    struct Naive {
        ranges: Vec<(i64, i64)>,
        lost: BTreeMap<u64, BTreeSet<i64>>,
    }

    impl Naive {
        fn apply(&mut self, step: &Step) {
            match *step {
                Step::Restart(from) => self.ranges.push((from, from)),
                Step::Extend(s, until) => {
                    self.ranges.get_mut(s as usize).into_iter().for_each(|range| range.1 = range.1.max(until));
                }
                Step::Lose(s, from, until) => {
                    let Some(range) = self.ranges.get_mut(s as usize) else { return };
                    for number in from.max(range.0)..until {
                        range.1 = range.1.max(number + 1);
                        self.lost.entry(s).or_default().insert(number);
                    }
                }
                Step::Arrive(s, from, until) => {
                    self.lost.entry(s).or_default().retain(|number| !(from..until).contains(number));
                }
            }
        }
    }

    fn apply(tally: &mut Tally, step: &Step) {
        match *step {
            Step::Restart(from) => {
                tally.restart(from);
            }
            Step::Extend(s, until) => tally.extend(s, until),
            Step::Lose(s, from, until) => tally.lose(s, run(from, until)),
            Step::Arrive(s, from, until) => tally.arrive(s, from, until),
        }
    }

    fn numbers(segment: &Segment) -> BTreeSet<i64> {
        segment.losses.iter().flat_map(|run| run.from..run.until).collect()
    }

    proptest! {
        #[test]
        fn a_tally_says_what_counting_number_by_number_says(steps in prop::collection::vec(step(), 0..60)) {
            let (mut tally, mut naive) = (Tally::default(), Naive::default());
            for step in &steps {
                apply(&mut tally, step);
                naive.apply(step);
                // Kept state is as good as state that never rested.
                tally = postcard::from_bytes(&postcard::to_stdvec(&tally).unwrap()).unwrap();
            }
            let ranges: Vec<_> = tally.segments().iter().map(|segment| (segment.from, segment.until)).collect();
            prop_assert_eq!(&ranges, &naive.ranges);
            for (id, segment) in tally.segments().iter().enumerate() {
                prop_assert_eq!(numbers(segment), naive.lost.remove(&(id as u64)).unwrap_or_default());
                prop_assert!(segment.losses.windows(2).all(|pair| pair[0].until < pair[1].from));
                prop_assert!(segment.losses.iter().all(|run| run.from < run.until));
            }
        }

        #[test]
        fn a_bounded_tally_keeps_the_newest(steps in prop::collection::vec(step(), 0..200), bound in 2usize..20) {
            let (mut tally, mut naive) = (Tally::new(bound), Naive::default());
            for step in &steps {
                apply(&mut tally, step);
                naive.apply(step);
                let kept: usize = tally.segments().iter().map(|segment| 1 + segment.losses.len()).sum();
                prop_assert!(kept <= bound && kept == tally.kept, "{} {} of {}", kept, tally.kept, bound);
            }
            for (i, segment) in tally.segments().iter().enumerate() {
                let id = tally.oldest() + i as u64;
                let range = naive.ranges[id as usize];
                // Only the first segment has lost its beginning.
                prop_assert!(segment.from == range.0 || i == 0);
                prop_assert!(segment.until <= range.1);
                let mut lost = naive.lost.remove(&id).unwrap_or_default();
                lost.retain(|&number| number >= segment.from);
                prop_assert_eq!(numbers(segment), lost);
            }
        }
    }

    #[test]
    fn times_are_those_of_the_ends() {
        let mut tally = Tally::default();
        let id = tally.restart(0);
        tally.lose(id, run(10, 20));
        tally.lose(id, run(20, 22));
        assert_eq!(tally.segments()[0].losses, [run(10, 22)]);
        tally.arrive(id, 15, 16);
        let piece = |from, until| Run { from, until, first_ms: 100, last_ms: 210 };
        assert_eq!(tally.segments()[0].losses, [piece(10, 15), piece(16, 22)]);
    }
}
