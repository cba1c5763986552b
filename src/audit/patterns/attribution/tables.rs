//! Tests of 2×2 tables. Probabilities are natural logarithms, of one side only: more losses than the rest.

use std::f64::consts::{LN_2, PI};

use crate::audit::patterns::tails::ln_hypergeometric_upper;

/// Lost and arrived units with an attribute (`in_*`) and without it. Lost units may be weighted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Table {
    pub in_lost: f64,
    pub out_lost: f64,
    pub in_arrived: f64,
    pub out_arrived: f64,
}

impl Table {
    pub fn total(&self) -> f64 {
        self.in_lost + self.out_lost + self.in_arrived + self.out_arrived
    }

    pub fn risk_ratio(&self) -> f64 {
        let inside = self.in_lost / (self.in_lost + self.in_arrived).max(1.0);
        let outside = self.out_lost.max(0.5) / (self.out_lost + self.out_arrived).max(1.0);
        inside / outside
    }

    /// Lost units expected inside if the attribute made no difference.
    pub fn expected(&self) -> f64 {
        (self.in_lost + self.out_lost) * (self.in_lost + self.in_arrived) / self.total().max(1.0)
    }

    /// Sokal & Rohlf's G = 2 Σ O ln(O / E), zero where the attribute loses no more than the rest.
    pub fn g(&self) -> f64 {
        if self.in_lost <= self.expected() {
            return 0.0;
        }
        let entropy = |x: f64| if x > 0.0 { x * x.ln() } else { 0.0 };
        let cells = [self.in_lost, self.out_lost, self.in_arrived, self.out_arrived];
        let margins = [
            self.in_lost + self.out_lost,
            self.in_arrived + self.out_arrived,
            self.in_lost + self.in_arrived,
            self.out_lost + self.out_arrived,
        ];
        let sum = |of: [f64; 4]| of.into_iter().map(entropy).sum::<f64>();
        (2.0 * (sum(cells) - sum(margins) + entropy(self.total()))).max(0.0)
    }

    /// The G-test, or Fisher's exact test when a count or an expected count is below 5. Weighted counts are rounded against the attribute.
    pub fn ln_p(&self) -> f64 {
        let cells = [self.in_lost, self.out_lost, self.in_arrived, self.out_arrived, self.expected()];
        if cells.into_iter().all(|cell| cell >= 5.0) {
            return ln_p_of_deviance(self.g());
        }
        let inside = self.in_lost.floor();
        let lost = inside + self.out_lost.ceil();
        let marked = inside + self.in_arrived;
        ln_hypergeometric_upper(
            inside as u64,
            (lost + self.in_arrived + self.out_arrived) as u64,
            marked as u64,
            lost as u64,
        )
    }
}

/// Mantel & Haenszel (1959): is the attribute's loss more than the rest's within strata? The sum of lost units inside has the
/// textbooks' conditional mean, but is judged as a binomial with that mean, which is spread more than it is (Hoeffding 1956): the normal
/// of the textbooks has too thin a tail where few are expected.
pub(super) fn mantel_haenszel(strata: &[Table]) -> f64 {
    let (mut seen, mut mean, mut trials) = (0.0, 0.0, 0.0);
    for table in strata {
        let (total, inside) = (table.total(), table.in_lost + table.in_arrived);
        let lost = table.in_lost + table.out_lost;
        // Others say nothing, as there is nothing to compare.
        if lost > 0.0 && lost < total && inside > 0.0 && inside < total {
            seen += table.in_lost;
            mean += lost * inside / total;
            trials += lost;
        }
    }
    let seen: f64 = seen - 0.5;
    if seen <= mean {
        return 0.0;
    }
    let missed = trials - seen;
    ln_p_of_deviance(2.0 * (seen * (seen / mean).ln() + missed * (missed / (trials - mean)).ln()))
}

/// ln of one tail of χ² with one degree of freedom: half of erfc(√(G / 2)).
pub(super) fn ln_p_of_deviance(deviance: f64) -> f64 {
    ln_normal_upper(deviance.max(0.0).sqrt())
}

/// ln P(Z ≥ z) for a standard normal and z ≥ 0: Taylor's series (Marsaglia 2004) near zero, Laplace's continued fraction above.
fn ln_normal_upper(z: f64) -> f64 {
    let ln_density = -0.5 * z * z - 0.5 * (2.0 * PI).ln();
    if z < 3.0 {
        let (mut term, mut sum, mut odd) = (z, z, 1.0);
        while term > sum * 1e-17 {
            odd += 2.0;
            term *= z * z / odd;
            sum += term;
        }
        return (0.5 - sum * ln_density.exp()).ln().min(-LN_2);
    }
    let fraction = (1..=120).rev().fold(z, |below, k| z + f64::from(k) / below);
    ln_density - fraction.ln()
}

/// Benjamini & Hochberg (1995): the largest ln p that may be called a discovery at `rate` among `tests`; those not given have p near one.
pub(super) fn benjamini_hochberg(mut ln_ps: Vec<f64>, tests: f64, rate: f64) -> Option<f64> {
    ln_ps.sort_by(f64::total_cmp);
    let passes = |(i, ln_p): (usize, &f64)| *ln_p <= (rate * (i + 1) as f64 / tests).ln();
    ln_ps.iter().enumerate().rposition(passes).map(|last| ln_ps[last])
}
