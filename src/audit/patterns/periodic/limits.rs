//! What could have been found: so that "none found" says something.

use serde::{Deserialize, Serialize};

use super::super::tails::ln_binomial_upper;
use super::exact;
use super::scan::{Cell, Scan, ln_tail};

/// Periods that limits are given for, as far as they are tested.
const PERIODS: [u64; 9] = [2, 5, 10, 20, 50, 100, 200, 500, 1000];

/// A period is detectable when it is found with at least this probability.
const POWER: f64 = 0.9;

/// The detection limit of a counter: what a period would have needed to be found, with a probability of 90 %, among
/// that many trials with that background, in one phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Numbers that were eligible, outages apart.
    pub trials: u64,
    /// The share of them that was lost without a period.
    pub background: f64,
    /// The shortest and the longest period that would have been found if every nth number were lost; absent when
    /// none would. Without any background, periods far above the scanned ones would.
    pub smallest: Option<u64>,
    pub largest: Option<u64>,
    /// The least hit rate that would have been found, for some periods.
    pub rates: Vec<Limit>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    pub n: u64,
    /// The share of the numbers on the period's residue that must be lost, background included; absent when even
    /// all would not do.
    pub hit_rate: Option<f64>,
}

impl Limits {
    /// `rest` is what no period explains.
    pub fn new(scan: &Scan, rest: Cell) -> Self {
        let exact = |n| rest.lost == 0 && exact::finds(n, rest.trials, scan.ln_alpha, scan.ln_exact);
        let always = |&n: &u64| exact(n) || threshold(scan, rest, n).is_some();
        let scanned = || 2..=scan.largest.min(rest.trials / 2);
        let longest = Some(exact::longest(rest.trials)).filter(|&n| exact(n));
        let limit = |&n: &u64| Limit { n, hit_rate: hit_rate(scan, rest, n) };
        Self {
            trials: rest.trials,
            background: rest.rate(),
            smallest: scanned().find(always).or(longest),
            largest: scanned().rev().find(always).max(longest),
            rates: PERIODS.iter().filter(|&&n| n <= scan.largest).map(limit).collect(),
        }
    }
}

/// The fewest losses on one residue of `n` that are significant; none when even all are not.
fn threshold(scan: &Scan, rest: Cell, n: u64) -> Option<u64> {
    let trials = rest.trials / n;
    let ln_tests = scan.ln_tests(n);
    let background = rest.rate() * (rest.trials - trials) as f64;
    let significant = |lost: u64| {
        let all = Cell { lost: background.round() as u64 + lost, trials: rest.trials };
        let ln_p = ln_tail(Cell { lost, trials }, all, scan.ln_alpha - ln_tests);
        ln_p.is_some_and(|ln_p| ln_p + ln_tests < scan.ln_alpha)
    };
    // One more loss on the residue is never less significant, so halving finds the first.
    let (mut low, mut high) = (0, trials);
    if !significant(high) {
        return None;
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if significant(middle) { high = middle } else { low = middle }
    }
    Some(high)
}

fn hit_rate(scan: &Scan, rest: Cell, n: u64) -> Option<f64> {
    let (needed, trials) = (threshold(scan, rest, n)?, rest.trials / n);
    let found = |rate: f64| ln_binomial_upper(needed, trials, rate).exp() >= POWER;
    let (mut low, mut high) = (rest.rate(), 1.0);
    for _ in 0..40 {
        let middle = 0.5 * (low + high);
        if found(middle) { high = middle } else { low = middle }
    }
    Some(high)
}
