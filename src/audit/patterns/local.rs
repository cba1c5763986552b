//! Whether a period stands out from the numbers around it.
//!
//! A scan compares a residue with all others. Along many short segments, such as the records of each key, a residue of a long period
//! is little more than one place in the segment, and a loss rate that changes along the segment makes some places lose more. A place
//! that really loses every nth number loses more than its neighbours do.

use super::losses::{Run, Segment, span};
use super::periodic::{Periodic, Unit};
use super::tails::ln_hypergeometric_upper;

/// Residues on either side that the period is compared with, at most; and the part of all residues.
const NEAR: u64 = 16;
const PART: u64 = 4;
/// As many as could have stood out are tested, and one in a thousand may by chance.
const ALPHA: f64 = 1e-3;
const PERIODS: f64 = 1e3;

/// Residues modulo n, from one on and cyclically.
#[derive(Clone, Copy)]
struct Arc {
    n: u64,
    from: u64,
    width: u64,
}

impl Arc {
    #[cfg(test)]
    fn holds(self, number: i64) -> bool {
        (number.rem_euclid(self.n as i64) as u64 + self.n - self.from) % self.n < self.width
    }

    /// How many numbers of `[from, until)` it holds.
    fn count(self, from: i64, until: i64) -> u64 {
        let (whole, rest) = (span(from, until) / self.n, span(from, until) % self.n);
        let first = from.rem_euclid(self.n as i64) as u64;
        let begins = (first + self.n - self.from) % self.n;
        // The rest begins so far into the circle that starts with the arc.
        let end = begins + rest;
        let inside = end.min(self.width).saturating_sub(begins);
        let around = end.saturating_sub(self.n).min(self.width);
        whole * self.width + inside + around
    }

    fn lost(self, runs: &[Run]) -> u64 {
        runs.iter().map(|run| self.count(run.from, run.until)).sum()
    }
}

pub fn stands_out(period: &Periodic, segments: &[Segment]) -> bool {
    if period.unit == Unit::Outage {
        return false;
    }
    let n = period.n;
    let near = (n / PART).clamp(1, NEAR);
    let width = period.width.min(n);
    let (mut hits, mut eligible, mut lost, mut trials) = (0, 0, 0, 0);
    for (number, segment) in segments.iter().enumerate() {
        let own = period.phases.iter().find(|phase| phase.segment == number).map(|phase| phase.residue);
        let Some(residue) = own.or(period.phases.is_empty().then_some(period.residue)) else { continue };
        let class = Arc { n, from: residue % n, width };
        let around = match width + 2 * near < n {
            true => Arc { n, from: (residue % n + n - near) % n, width: width + 2 * near },
            false => Arc { n, from: 0, width: n },
        };
        hits += class.lost(&segment.losses);
        eligible += class.count(segment.from, segment.until);
        lost += around.lost(&segment.losses);
        trials += around.count(segment.from, segment.until);
    }
    let ln_p = ln_hypergeometric_upper(hits, trials, lost, eligible);
    ln_p + (n as f64 * PERIODS).ln() <= ALPHA.ln()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_arc_holds_what_it_holds_one_by_one(
            n in 2u64..40, from in 0u64..40, width in 1u64..40, begin in -60i64..60, length in 0i64..120,
        ) {
            let arc = Arc { n, from: from % n, width: width.min(n) };
            let naive = (begin..begin + length).filter(|number| arc.holds(*number)).count() as u64;
            prop_assert_eq!(arc.count(begin, begin + length), naive);
        }
    }
}
