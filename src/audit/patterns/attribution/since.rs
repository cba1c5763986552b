//! When a loss began.

use super::bins::Counts;
use super::tables::ln_p_of_deviance;

/// False steps among steadily lossy series.
const LEVEL: f64 = 1e-4;
/// Drifts taken for a step, among those that pass the rest.
const DRIFT: f64 = 1e-3;
/// Each side holds at least this part of the units, as a step up shortly before the end cannot be told from a burst.
const LEAST_SIDE: f64 = 1.0 / 10.0;
/// Within this part of the units, on both sides of it, the step must still be seen.
const NEAR: f64 = 1.0 / 8.0;
const LEAST_LOST: u64 = 8;
/// Pieces in which dispersion is measured, for each side.
const PIECES: usize = 32;

/// A loss rate that rises at one moment and stays up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Step {
    /// First bin of the higher rate.
    pub bin: usize,
    pub before: Counts,
    pub after: Counts,
    /// ln p, corrected for all the moments tried.
    pub ln_p: f64,
}

/// The most likely step up of the loss rate in a series of bins (binomial likelihood-ratio scan), if there is one. Bursts spread the
/// counts of either side, so the ratio is divided by their dispersion. A drift also has a most likely step: to be one, it must fit better
/// than a curve does, show at once, and every quarter of each side must be on its own side of the middle rate.
pub(super) fn step(bins: &[Counts]) -> Option<Step> {
    let total = sum(bins);
    let units = |counts: Counts| (counts.arrived + counts.lost) as f64;
    let (mut before, mut best) = (Counts::default(), None::<(usize, f64)>);
    for bin in 1..bins.len() {
        before = sum(&[before, bins[bin - 1]]);
        let after = Counts { arrived: total.arrived - before.arrived, lost: total.lost - before.lost };
        let least = LEAST_SIDE * units(total);
        if units(before) < least || units(after) < least || after.lost < LEAST_LOST || rate(after) <= rate(before) {
            continue;
        }
        let gain = 2.0 * (likelihood(before) + likelihood(after) - likelihood(total));
        if best.is_none_or(|(_, most)| gain > most) {
            best = Some((bin, gain));
        }
    }
    let (bin, gain) = best?;
    let (left, right) = bins.split_at(bin);
    let (dispersion, freedom) = dispersion(left, right)?;
    let tried = (bins.len() as f64).ln();
    let step = Step { bin, before: sum(left), after: sum(right), ln_p: ln_p(gain / dispersion, freedom) + tried };
    // P(the wrong model fits better by d) ≤ e^−d, for each moment tried.
    let beats_drift = (drift(&pieces(bins, 2 * PIECES)) - gain) / dispersion / 2.0 + tried <= DRIFT.ln();
    (step.ln_p <= LEVEL.ln() && beats_drift && holds(left, right)).then_some(step)
}

fn sum(bins: &[Counts]) -> Counts {
    bins.iter().fold(Counts::default(), |a, b| Counts { arrived: a.arrived + b.arrived, lost: a.lost + b.lost })
}

/// With half a loss added, so that it has a logarithm.
fn rate(counts: Counts) -> f64 {
    (counts.lost as f64 + 0.5) / ((counts.arrived + counts.lost) as f64 + 1.0)
}

fn likelihood(counts: Counts) -> f64 {
    let (lost, arrived) = (counts.lost as f64, counts.arrived as f64);
    let term = |x: f64| if x > 0.0 { x * (x / (lost + arrived)).ln() } else { 0.0 };
    term(lost) + term(arrived)
}

/// Bins merged into about `pieces` of equal numbers of units.
fn pieces(bins: &[Counts], pieces: usize) -> Vec<Counts> {
    let total = sum(bins);
    let each = ((total.arrived + total.lost) as f64 / pieces as f64).max(1.0);
    let (mut merged, mut piece) = (Vec::new(), Counts::default());
    let mut passed = 0.0;
    for bin in bins {
        piece = sum(&[piece, *bin]);
        passed += (bin.arrived + bin.lost) as f64;
        if passed >= each * (merged.len() + 1) as f64 - 0.5 {
            merged.push(std::mem::take(&mut piece));
        }
    }
    merged
}

/// Pearson's χ² of either side about its own rate by its degrees of freedom, and those.
fn dispersion(left: &[Counts], right: &[Counts]) -> Option<(f64, f64)> {
    let (mut pearson, mut freedom) = (0.0, -2.0);
    for side in [left, right] {
        let mean = rate(sum(side));
        for piece in pieces(side, PIECES) {
            let units = (piece.arrived + piece.lost) as f64;
            pearson += (piece.lost as f64 - units * mean).powi(2) / (units * mean * (1.0 - mean)).max(1e-9);
            freedom += 1.0;
        }
    }
    (freedom >= 4.0).then(|| ((pearson / freedom).max(1.0), freedom))
}

/// The F-test of quasi-likelihood (McCullagh & Nelder 1989, §4.5), its tail by Wallace's normal approximation of Student's t (1959).
fn ln_p(f: f64, freedom: f64) -> f64 {
    let scale: f64 = (8.0 * freedom + 1.0) / (8.0 * freedom + 3.0);
    ln_p_of_deviance(scale * scale * freedom * (f / freedom).ln_1p())
}

/// Twice the gain in log-likelihood of a rate whose logit is a parabola of time, over one rate: logistic regression by Newton's method.
fn drift(pieces: &[Counts]) -> f64 {
    let total = sum(pieces);
    let logit = |p: f64| (p / (1.0 - p)).ln();
    let at = |i: usize| 2.0 * (i as f64 + 0.5) / pieces.len() as f64 - 1.0;
    let rate_at = |w: &[f64; 3], t: f64| 1.0 / (1.0 + (-(w[0] + w[1] * t + w[2] * t * t)).exp());
    let likelihood_of = |w: &[f64; 3]| {
        let term = |(i, piece): (usize, &Counts)| {
            let p = rate_at(w, at(i)).clamp(1e-12, 1.0 - 1e-12);
            piece.lost as f64 * p.ln() + piece.arrived as f64 * (-p).ln_1p()
        };
        pieces.iter().enumerate().map(term).sum::<f64>()
    };
    let mut w = [logit(rate(total)), 0.0, 0.0];
    let mut best = likelihood_of(&w);
    for _ in 0..25 {
        let (mut gradient, mut hessian) = ([0.0; 3], [[0.0; 3]; 3]);
        for (i, piece) in pieces.iter().enumerate() {
            let (t, units) = (at(i), (piece.arrived + piece.lost) as f64);
            let p = rate_at(&w, t);
            let x = [1.0, t, t * t];
            for (row, xr) in x.iter().enumerate() {
                gradient[row] += xr * (piece.lost as f64 - units * p);
                for (column, xc) in x.iter().enumerate() {
                    hessian[row][column] += xr * xc * units * p * (1.0 - p);
                }
            }
        }
        let Some(by) = solve(hessian, gradient) else { break };
        // Half steps, until the likelihood rises.
        let tries = (0..12).map(|half| 0.5f64.powi(half)).map(|part| [0, 1, 2].map(|i| w[i] + part * by[i]));
        let Some((next, reached)) = tries.map(|next| (next, likelihood_of(&next))).find(|(_, l)| *l > best + 1e-9)
        else {
            break;
        };
        (w, best) = (next, reached);
    }
    2.0 * (best - likelihood(total))
}

/// Cramer's rule.
fn solve(a: [[f64; 3]; 3], b: [f64; 3]) -> Option<[f64; 3]> {
    let determinant = |m: &[[f64; 3]; 3]| {
        m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
            + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
    };
    let whole = determinant(&a);
    let with = |column: usize| {
        let mut m = a;
        (0..3).for_each(|row| m[row][column] = b[row]);
        determinant(&m) / whole
    };
    (whole.abs() > 1e-12).then(|| [with(0), with(1), with(2)])
}

fn holds(left: &[Counts], right: &[Counts]) -> bool {
    let (low, high) = (rate(sum(left)), rate(sum(right)));
    let middle = (low * high).sqrt();
    let lasts = pieces(left, 4).into_iter().all(|quarter| raw_rate(quarter) < middle)
        && pieces(right, 4).into_iter().all(|quarter| raw_rate(quarter) > middle);
    let total = sum(&[sum(left), sum(right)]);
    let reach = NEAR * (total.arrived + total.lost) as f64;
    let near = |bins: &mut dyn Iterator<Item = &Counts>| {
        let mut counts = Counts::default();
        for bin in bins {
            counts = sum(&[counts, *bin]);
            if (counts.arrived + counts.lost) as f64 >= reach {
                break;
            }
        }
        rate(counts)
    };
    let at_once = (near(&mut right.iter()) / near(&mut left.iter().rev())).ln();
    lasts && at_once >= 0.5 * (high / low).ln()
}

fn raw_rate(counts: Counts) -> f64 {
    counts.lost as f64 / ((counts.arrived + counts.lost) as f64).max(1.0)
}
