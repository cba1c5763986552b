//! The noise-free short cut: when nothing but the period loses, it is the greatest common divisor of the distances
//! between losses, at any length, from four losses on.

use super::super::losses::span;
use super::sample::{Class, Group, gcd, residue};
use super::scan::Candidate;

/// Distances needed: four losses have three.
const LEAST_DISTANCES: u64 = 3;

/// The period that all losses keep, across restarts or each segment by itself; none when they keep none, or chance
/// would do it as easily. `ln_scans` as in [`super::scan::Scan`].
pub fn exact(groups: &[Group], ln_alpha: f64, ln_scans: f64) -> Option<Candidate> {
    let anchors = groups.iter().enumerate().filter_map(|(i, group)| Some((i, group.runs.first()?.0)));
    let anchors: Vec<(usize, i64)> = anchors.collect();
    let (mut inside, mut losses) = (0, 0);
    for &(i, anchor) in &anchors {
        for &(from, until) in &groups[i].runs {
            inside = gcd(inside, span(anchor, from));
            inside = if span(from, until) > 1 { 1 } else { inside };
            losses += 1;
        }
        if inside == 1 {
            return None;
        }
    }
    let first = anchors.first()?.1;
    let across = anchors.iter().fold(inside, |common, &(_, anchor)| gcd(common, anchor.abs_diff(first)));
    // A number that several segments lose, such as their first, is no evidence but once.
    let mut numbers: Vec<i64> = groups.iter().flat_map(|group| &group.runs).map(|run| run.0).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let shared = judge(across, numbers.len() as u64 - 1, ln_scans);
    let own = judge(inside, losses - anchors.len() as u64, ln_scans);
    let class = |n, anchor| Class { n, residue: residue(anchor, n), width: 1 };
    match (shared, own) {
        // One phase is the simpler story, unless it costs the period a factor that its own phases keep.
        (Some(ln_p), own) if ln_p < ln_alpha && own.is_none_or(|own| ln_p <= own) => {
            let classes = (0..groups.len()).map(|i| (i, class(across, first))).collect();
            Some(Candidate { n: across, classes, ln_p, ln_tests: ln_scans, phases: 1 })
        }
        (_, Some(ln_p)) if ln_p < ln_alpha => {
            let classes = anchors.iter().map(|&(i, anchor)| (i, class(inside, anchor))).collect();
            Some(Candidate { n: inside, classes, ln_p, ln_tests: ln_scans, phases: 1 })
        }
        _ => None,
    }
}

/// ln of the chance that so many distances are all multiples of one n ≥ `g`: Σ n^−k over those n is below g^−k (1 +
/// g / (k − 1)).
fn judge(g: u64, distances: u64, ln_scans: f64) -> Option<f64> {
    if g < 2 || distances < LEAST_DISTANCES {
        return None;
    }
    let (g, k) = (g as f64, distances as f64);
    Some((-k * g.ln() + (g / (k - 1.0)).ln_1p() + ln_scans).min(0.0))
}

/// Whether every nth of `trials` numbers lost, and no other, would be found.
pub fn finds(n: u64, trials: u64, ln_alpha: f64, ln_scans: f64) -> bool {
    judge(n, (trials / n.max(1)).saturating_sub(1), ln_scans).is_some_and(|ln_p| ln_p < ln_alpha)
}

/// The longest period that could be found in `trials` numbers.
pub fn longest(trials: u64) -> u64 {
    trials / (LEAST_DISTANCES + 1)
}
