//! What is remembered of a partition's marks: a bounded history, dense in the near past and thin in the far one.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::lag::figure::{Figure, Unknown};
use crate::lag::snapshot::{Method, TimeLag};
use crate::lag::window::Mark;

/// Marks kept; with rounds of ten seconds the nearer half covers four minutes, the rest hours.
const MOST: usize = 48;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Marks {
    pub topic_id: Option<Uuid>,
    /// When another topic of this name was first seen.
    pub replaced_ms: Option<i64>,
    kept: Vec<Mark>,
}

impl Marks {
    pub fn kept(&self) -> &[Mark] {
        &self.kept
    }

    pub fn last(&self) -> Option<&Mark> {
        self.kept.last()
    }

    /// Another topic of the same name has another log.
    pub fn of_topic(&mut self, id: Option<Uuid>, now_ms: i64) -> bool {
        let is_another = matches!((self.topic_id, id), (Some(known), Some(now)) if known != now);
        if is_another {
            self.kept.clear();
            self.replaced_ms = Some(now_ms);
        }
        self.topic_id = id.or(self.topic_id);
        is_another
    }

    pub fn push(&mut self, mark: Mark) {
        let same = |a: &Mark| (a.log_start, a.stable_end, a.end) == (mark.log_start, mark.stable_end, mark.end);
        if let [.., before, last] = &mut self.kept[..]
            && same(before)
            && same(last)
        {
            // Nothing happened: a flat stretch is told by its two ends.
            last.at_ms = mark.at_ms;
            return;
        }
        self.kept.push(mark);
        if self.kept.len() > MOST {
            super::thin(&mut self.kept);
        }
    }

    /// Age of the record at `offset` from when its offset was first below the end: it was written between two rounds.
    pub fn age(&self, offset: i64, now_ms: i64) -> Figure<TimeLag> {
        let after = self.kept.partition_point(|mark| mark.end <= offset);
        let Some(above) = self.kept.get(after) else { return Err(Unknown::NotYet) };
        let Some(below) = after.checked_sub(1).and_then(|before| self.kept.get(before)) else {
            return Err(Unknown::BeyondHistory);
        };
        let (at_least_ms, at_most_ms) = (now_ms - above.at_ms, now_ms - below.at_ms);
        let share = (offset - below.end) as f64 / (above.end - below.end).max(1) as f64;
        let ms = at_most_ms - ((at_most_ms - at_least_ms) as f64 * share) as i64;
        Ok(TimeLag {
            ms: ms.max(0),
            at_least_ms: at_least_ms.max(0),
            at_most_ms: at_most_ms.max(0),
            method: Method::Rounds,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mark(at_ms: i64, end: i64) -> Mark {
        Mark { at_ms, log_start: 0, stable_end: Some(end), end }
    }

    #[test]
    fn a_flat_stretch_costs_two_marks() {
        let mut marks = Marks::default();
        (0..1000).for_each(|at| marks.push(mark(at, 5)));
        assert_eq!(marks.kept().iter().map(|m| m.at_ms).collect::<Vec<_>>(), [0, 999]);
    }

    proptest! {
        /// Whatever was thinned out, the true age lies between the bounds.
        #[test]
        fn bounds_hold_the_truth(steps in prop::collection::vec((1i64..20_000, 0i64..500), 1..400), pick in 0.0f64..1.0) {
            let (mut at, mut end, mut marks, mut written) = (0, 0, Marks::default(), Vec::new());
            marks.push(mark(0, 0));
            for (pause, records) in steps {
                // All of them just after the previous round: as old as they can be.
                written.extend(std::iter::repeat_n(at + 1, records as usize));
                at += pause;
                end += records;
                marks.push(mark(at, end));
            }
            prop_assume!(end > 0);
            let offset = ((end - 1) as f64 * pick) as i64;
            let age = marks.age(offset, at).unwrap();
            let truth = at - written[offset as usize];
            prop_assert!((age.at_least_ms..=age.at_most_ms).contains(&truth), "{truth} {age:?}");
            prop_assert!((age.at_least_ms..=age.at_most_ms).contains(&age.ms));
            prop_assert!(marks.kept().len() <= MOST + 1);
        }
    }
}
