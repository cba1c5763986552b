//! How the losses of a counter lie over the residues of a period that was found: what a plot of it needs.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::sample::{Group, residue};
use super::{Periodic, Unit, split};
use crate::audit::patterns::losses::{Segment, span};

/// More residues than this are folded into as many bars at most, so that a finding stays small.
const MOST_BARS: u64 = 200;
/// Residues on either side of the peak that have a bar of their own all the same.
const BESIDE: u64 = 5;
/// A peak that is wider than this is folded, too.
const WIDEST: u64 = 16;

/// All losses and trials of a counter by residue, those included that another period explains. Where segments differ in
/// their residue, each is turned so that its peak is on that of the latest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Residues {
    /// A bar's first residue. It goes on to where the next bar begins, the last one to n.
    pub from: Vec<u64>,
    pub lost: Vec<u64>,
    /// Numbers that could have been lost.
    pub trials: Vec<u64>,
}

impl Residues {
    pub fn of(found: &Periodic, segments: &[Segment]) -> Self {
        let (numbers, outages) = split(segments);
        let groups = match found.unit {
            Unit::Number => numbers,
            Unit::Outage => outages,
        };
        let from = bars(found);
        let lost = lost(found, &groups, &from);
        let trials = trials(found, &groups, &from);
        Self { from, lost, trials }
    }
}

/// First residues of the bars, in order.
fn bars(found: &Periodic) -> Vec<u64> {
    let n = found.n.max(1);
    if n <= MOST_BARS {
        return (0..n).collect();
    }
    let width = n.div_ceil(MOST_BARS);
    let mut edges: BTreeSet<u64> = (0..n).step_by(usize::try_from(width).unwrap_or(usize::MAX)).collect();
    let peak = found.width.clamp(1, n);
    let own = |from: u64, count: u64| (0..=count).map(move |i| (from + i) % n);
    match peak <= WIDEST {
        true => edges.extend(own(found.residue + n - BESIDE, peak + 2 * BESIDE)),
        false => edges.extend([found.residue % n, (found.residue + peak) % n]),
    }
    edges.into_iter().collect()
}

fn bar(from: &[u64], residue: u64) -> usize {
    from.partition_point(|&first| first <= residue).saturating_sub(1)
}

/// What is added to a segment's residues.
fn turn(found: &Periodic, segment: usize) -> u64 {
    let phase = found.phases.iter().find(|phase| phase.segment == segment);
    phase.map_or(0, |phase| (found.residue + found.n - phase.residue) % found.n)
}

fn lost(found: &Periodic, groups: &[Group], from: &[u64]) -> Vec<u64> {
    let mut lost = vec![0; from.len()];
    for group in groups {
        let turn = turn(found, group.segment);
        for number in group.runs.iter().flat_map(|&(from, until)| from..until) {
            lost[bar(from, (residue(number, found.n) + turn) % found.n)] += 1;
        }
    }
    lost
}

/// No step per number: whole cycles meet every residue, what is left of a stretch one range of them.
fn trials(found: &Periodic, groups: &[Group], from: &[u64]) -> Vec<u64> {
    let n = found.n;
    let mut cycles = 0;
    let mut changes: BTreeMap<u64, i64> = from.iter().map(|&first| (first, 0)).collect();
    let mut change = |at: u64, by: i64| *changes.entry(at).or_insert(0) += by;
    for group in groups {
        for &(first, until) in &group.stretches {
            let count = span(first, until);
            cycles += (count / n) as i64;
            let begin = (residue(first, n) + turn(found, group.segment)) % n;
            change(begin, 1);
            match begin + count % n {
                end if end < n => change(end, -1),
                end => {
                    change(0, 1);
                    change(end - n, -1);
                }
            }
        }
    }
    // Where a stretch goes beyond n, the cover of its beginning ends at n and goes on at 0.
    let mut trials = vec![0; from.len()];
    let ends: Vec<u64> = changes.keys().copied().skip(1).chain([n]).collect();
    let mut cover = cycles;
    for ((&at, &by), end) in changes.iter().zip(ends) {
        cover += by;
        trials[bar(from, at)] += cover.max(0).unsigned_abs() * (end - at);
    }
    trials
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Loss, OUTAGE, Phase};
    use super::*;
    use crate::audit::patterns::losses::Run;

    fn found(n: u64, residue: u64, width: u64, unit: Unit) -> Periodic {
        let loss = Loss { segment: 0, number: 0, ms: 0 };
        Periodic {
            n,
            residue,
            width,
            unit,
            hits: 0,
            eligible: 0,
            hit_rate: 0.0,
            hit_rate_interval: (0.0, 0.0),
            background: 0.0,
            share: 0.0,
            ln_p: 0.0,
            first: loss,
            last: loss,
            next: Vec::new(),
            exact: false,
            burst_like: false,
            phases: Vec::new(),
        }
    }

    /// Runs apart from each other, by the numbers between them and their lengths.
    fn segment(from: i64, runs: &[(i64, i64)], rest: i64) -> Segment {
        let mut until = from;
        let mut losses = Vec::new();
        for &(apart, length) in runs {
            losses.push(Run { from: until + apart, until: until + apart + length, first_ms: 0, last_ms: 0 });
            until += apart + length;
        }
        Segment { from, until: until + rest, losses }
    }

    /// Number by number: which are trials, and which of them are losses.
    fn counted(found: &Periodic, segments: &[Segment]) -> BTreeMap<u64, (u64, u64)> {
        let mut all: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for (i, segment) in segments.iter().enumerate() {
            let phase = found.phases.iter().find(|phase| phase.segment == i).map_or(found.residue, |p| p.residue);
            for number in segment.from..segment.until {
                let run = segment.losses.iter().find(|run| (run.from..run.until).contains(&number));
                let outage = run.filter(|run| run.count() >= OUTAGE);
                let (is_trial, is_lost) = match found.unit {
                    Unit::Number => (outage.is_none(), run.is_some() && outage.is_none()),
                    Unit::Outage => {
                        let begins = outage.is_some_and(|run| run.from == number);
                        (outage.is_none() || begins, begins)
                    }
                };
                let turned = i128::from(number) - i128::from(phase) + i128::from(found.residue);
                let cell = all.entry(turned.rem_euclid(i128::from(found.n)) as u64).or_default();
                *cell = (cell.0 + u64::from(is_lost), cell.1 + u64::from(is_trial));
            }
        }
        all
    }

    fn any_segment() -> impl Strategy<Value = Segment> {
        let run = (1i64..90, prop_oneof![4 => 1i64..4, 1 => 60i64..150]);
        (-500i64..500, prop::collection::vec(run, 0..12), 0i64..300)
            .prop_map(|(from, runs, rest)| segment(from, &runs, rest))
    }

    proptest! {
        #[test]
        fn bars_hold_what_counting_every_number_gives(
            segments in prop::collection::vec(any_segment(), 1..4),
            n in prop_oneof![2u64..20, 150u64..1_500],
            residue in any::<u64>(),
            width in 1u64..40,
            phases in prop::collection::vec(any::<u64>(), 0..3),
            is_outage in any::<bool>(),
        ) {
            let unit = if is_outage { Unit::Outage } else { Unit::Number };
            let mut found = found(n, residue % n, width.min(n - 1), unit);
            found.phases = phases.iter().enumerate().map(|(segment, r)| Phase { segment, residue: r % n }).collect();
            let bars = Residues::of(&found, &segments);
            prop_assert!(bars.from[0] == 0 && bars.from.is_sorted_by(|a, b| a < b) && bars.from.iter().all(|&r| r < n));
            prop_assert!(bars.from.len() as u64 <= n.min(MOST_BARS + WIDEST + 2 * BESIDE + 1));
            let expected = counted(&found, &segments);
            for (i, &first) in bars.from.iter().enumerate() {
                let end = bars.from.get(i + 1).copied().unwrap_or(n);
                let sum = expected.range(first..end).fold((0, 0), |sum, (_, c)| (sum.0 + c.0, sum.1 + c.1));
                prop_assert_eq!((bars.lost[i], bars.trials[i]), sum, "residues {} to {}", first, end);
            }
        }
    }

    #[test]
    fn the_peak_of_a_long_period_keeps_a_bar_of_its_own() {
        let runs: Vec<(i64, i64)> = (0..40).map(|k| (if k == 0 { 7 } else { 99_999 }, 1)).collect();
        let bars = Residues::of(&found(100_000, 7, 1, Unit::Number), &[segment(0, &runs, 10)]);
        let peak = bars.from.iter().position(|&first| first == 7).unwrap();
        assert_eq!((bars.lost[peak], bars.trials[peak], bars.from[peak + 1]), (40, 40, 8));
        assert_eq!((bars.lost.iter().sum::<u64>(), bars.from.len()), (40, 212));
    }
}
