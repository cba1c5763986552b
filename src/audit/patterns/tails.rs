//! Tails of the discrete distributions that losses are judged by, as natural logarithms.
//!
//! Probability masses are C. Loader's saddle-point form ("Fast and Accurate Computation of Binomial Probabilities",
//! 2000; R's `dbinom` and `dhyper`): a difference of log-gammas would lose all its digits at 10¹² trials. A tail is
//! the mass at its edge times a sum of ratios that starts at one, so a tail of e^−10⁶ is as exact as one of a half.

use std::f64::consts::{LN_2, TAU};

/// ln n!, to about 15 digits.
pub fn ln_factorial(n: u64) -> f64 {
    if n == 0 {
        return 0.0;
    }
    let x = n as f64;
    stirling_error(n) + 0.5 * (TAU * x).ln() + x * (x.ln() - 1.0)
}

/// ln of the number of ways to choose `k` of `n`; negative infinity when `k > n`.
pub fn ln_choose(n: u64, k: u64) -> f64 {
    if k > n { f64::NEG_INFINITY } else { ln_binomial_pmf(k, n, 0.5) + n as f64 * LN_2 }
}

/// ln P(X = k) for X ~ binomial(`trials`, `p`).
pub fn ln_binomial_pmf(k: u64, trials: u64, p: f64) -> f64 {
    let (x, n, q) = (k as f64, trials as f64, 1.0 - p);
    if k > trials || (p <= 0.0 && k > 0) || (p >= 1.0 && k < trials) {
        return f64::NEG_INFINITY;
    }
    if k == 0 {
        return if trials == 0 { 0.0 } else { n * (-p).ln_1p() };
    }
    if k == trials {
        return n * p.ln();
    }
    let corrections = stirling_error(trials) - stirling_error(k) - stirling_error(trials - k);
    corrections - deviance(x, n * p) - deviance(n - x, n * q) - 0.5 * (TAU * x * (1.0 - x / n)).ln()
}

/// ln P(X = k) for X hypergeometric: `drawn` of `population` without replacement, of which `marked` are marked; X of
/// those drawn are marked. Negative infinity where that is impossible; `marked` and `drawn` are at most `population`.
pub fn ln_hypergeometric_pmf(k: u64, population: u64, marked: u64, drawn: u64) -> f64 {
    if k > marked || k > drawn || drawn - k > population - marked {
        return f64::NEG_INFINITY;
    }
    if drawn == 0 || drawn == population {
        return 0.0;
    }
    let p = drawn as f64 / population as f64;
    ln_binomial_pmf(k, marked, p) + ln_binomial_pmf(drawn - k, population - marked, p)
        - ln_binomial_pmf(drawn, population, p)
}

/// ln P(X ≥ k) for X ~ binomial(`trials`, `p`), never above 0.
pub fn ln_binomial_upper(k: u64, trials: u64, p: f64) -> f64 {
    if k == 0 || p >= 1.0 {
        return if k <= trials { 0.0 } else { f64::NEG_INFINITY };
    }
    if k > trials || p <= 0.0 {
        return f64::NEG_INFINITY;
    }
    let odds = p / (1.0 - p);
    let up = |x: f64| (trials as f64 - x) / (x + 1.0) * odds;
    upper(k, trials as f64 * p, |x| ln_binomial_pmf(x, trials, p), up)
}

/// ln P(X ≥ k) for X hypergeometric as in [`ln_hypergeometric_pmf`], never above 0.
pub fn ln_hypergeometric_upper(k: u64, population: u64, marked: u64, drawn: u64) -> f64 {
    let least = drawn.saturating_sub(population - marked);
    if k <= least {
        return 0.0;
    }
    if k > marked.min(drawn) {
        return f64::NEG_INFINITY;
    }
    let (m, d) = (marked as f64, drawn as f64);
    // Subtracted as integers: their difference is small where they are large.
    let rest = (population - marked) as f64 - d;
    let up = |x: f64| (m - x) / (x + 1.0) * ((d - x) / (rest + x + 1.0));
    let mean = m * (d / population as f64);
    upper(k, mean, |x| ln_hypergeometric_pmf(x, population, marked, drawn), up)
}

/// The tail from `k` up, of a distribution with one mode near `mean`, where `up(x)` is P(x + 1) / P(x). Below
/// the mean it is one minus the other tail, so the sum always runs downhill and is short.
fn upper(k: u64, mean: f64, ln_pmf: impl Fn(u64) -> f64, up: impl Fn(f64) -> f64) -> f64 {
    let x = k as f64;
    if x > mean {
        return (ln_pmf(k) + sum(x, 1.0, &up).ln()).min(0.0);
    }
    let lower = ln_pmf(k - 1) + sum(x - 1.0, -1.0, |x| 1.0 / up(x - 1.0)).ln();
    (-lower.exp().min(1.0)).ln_1p()
}

/// 1 + r(x) + r(x) r(x ± 1) + …, until a term no longer counts. `ratio` is zero at the end of the support.
fn sum(mut x: f64, step: f64, ratio: impl Fn(f64) -> f64) -> f64 {
    let (mut term, mut total) = (1.0, 1.0);
    loop {
        term *= ratio(x);
        // A ratio that is not a positive number is a step past the support.
        if term <= total * 1e-17 || !term.is_finite() {
            return total;
        }
        total += term;
        x += step;
    }
}

/// Wilson's interval for the rate behind `hits` of `trials`, `z` standard errors to each side (1.96 for 95 %); all
/// of [0, 1] without trials. Brown, Cai & DasGupta, "Interval Estimation for a Binomial Proportion", 2001.
pub fn wilson(hits: u64, trials: u64, z: f64) -> (f64, f64) {
    if trials == 0 {
        return (0.0, 1.0);
    }
    let (n, rate) = (trials as f64, hits as f64 / trials as f64);
    let scale = 1.0 / (1.0 + z * z / n);
    let centre = scale * (rate + z * z / (2.0 * n));
    let half = scale * z * (rate * (1.0 - rate) / n + z * z / (4.0 * n * n)).sqrt();
    // At the ends the two terms are equal but for rounding.
    let low = if hits == 0 { 0.0 } else { centre - half };
    let high = if hits >= trials { 1.0 } else { centre + half };
    (low.max(0.0), high.min(1.0))
}

/// ln n! less Stirling's approximation of it.
fn stirling_error(n: u64) -> f64 {
    let x = n as f64;
    if n <= 15 {
        let factorial: u64 = (1..=n).product();
        return (factorial as f64).ln() - 0.5 * (TAU * x).ln() - x * (x.ln() - 1.0);
    }
    let y = 1.0 / (x * x);
    (1.0 / 12.0 - y * (1.0 / 360.0 - y * (1.0 / 1260.0 - y * (1.0 / 1680.0 - y / 1188.0)))) / x
}

/// x ln(x / m) + m − x, without cancellation where `x` is near `m`.
fn deviance(x: f64, m: f64) -> f64 {
    if (x - m).abs() >= 0.1 * (x + m) {
        return x * (x / m).ln() + m - x;
    }
    let v = (x - m) / (x + m);
    let (mut total, mut power) = ((x - m) * v, 2.0 * x * v);
    for odd in (3..).step_by(2) {
        power *= v * v;
        let more = total + power / f64::from(odd);
        if more == total {
            break;
        }
        total = more;
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(n: u64, k: u64) -> u128 {
        if k > n { 0 } else { (0..k).fold(1, |c, i| c * u128::from(n - i) / u128::from(i + 1)) }
    }

    fn close(got: f64, exact: f64, tolerance: f64) -> bool {
        got == exact || (got - exact).abs() <= tolerance * exact.abs().max(1.0)
    }

    #[test]
    fn every_small_hypergeometric_tail_equals_the_exact_count() {
        for population in 0..=24u64 {
            for marked in 0..=population {
                for drawn in 0..=population {
                    for k in 0..=drawn + 1 {
                        let ways = |x| choose(marked, x) * choose(population - marked, drawn - x);
                        let exact: u128 = (k..=drawn).map(ways).sum();
                        let exact = (exact as f64 / choose(population, drawn) as f64).ln();
                        let got = ln_hypergeometric_upper(k, population, marked, drawn);
                        assert!(close(got, exact, 1e-12), "{k} of {population} {marked} {drawn}: {got} {exact}");
                    }
                }
            }
        }
    }

    #[test]
    fn larger_tails_equal_the_exact_count() {
        // 128 bits hold the products of these binomials exactly.
        for (population, marked, drawn) in [(110, 11, 50), (110, 60, 20), (120, 100, 30), (100, 3, 50)] {
            for k in 0..=drawn {
                let ways = |x| choose(marked, x) * choose(population - marked, drawn - x);
                let exact: u128 = (k..=drawn).map(ways).sum();
                let exact = (exact as f64 / choose(population, drawn) as f64).ln();
                let got = ln_hypergeometric_upper(k, population, marked, drawn);
                assert!(close(got, exact, 1e-12), "{k} of {population} {marked} {drawn}: {got} {exact}");
            }
        }
    }

    #[test]
    fn every_small_binomial_tail_equals_the_exact_fraction() {
        // p = a / b, so every mass is an integer over bⁿ.
        for (a, b) in [(1u128, 2u128), (1, 3), (2, 7), (1, 10), (9, 10)] {
            for trials in 0..=30u64 {
                for k in 0..=trials + 1 {
                    let ways = |x| choose(trials, x) * a.pow(x as u32) * (b - a).pow((trials - x) as u32);
                    let exact: u128 = (k..=trials).map(ways).sum();
                    let exact = (exact as f64 / b.pow(trials as u32) as f64).ln();
                    let got = ln_binomial_upper(k, trials, a as f64 / b as f64);
                    // Where nearly all of the mass is above k, the logarithm itself has few digits.
                    assert!(close(got, exact, 1e-12), "{k} of {trials} at {a}/{b}: {got} {exact}");
                }
            }
        }
    }

    #[test]
    fn tails_far_below_the_smallest_number_keep_their_digits() {
        // One way only: P(X = n) = pⁿ, and all of the drawn marked = C(marked, drawn) / C(population, drawn).
        assert!(close(ln_binomial_upper(100_000, 100_000, 1e-6), 100_000.0 * 1e-6f64.ln(), 1e-14));
        let exact: f64 = (0..2_000).map(|i| (f64::from(2_000 - i) / f64::from(2_000_000 - i)).ln()).sum();
        assert!(close(ln_hypergeometric_upper(2_000, 2_000_000, 2_000, 2_000), exact, 1e-12));
        // A trillion trials: of ten drawn, all ten on one residue of a hundred.
        let exact: f64 = (0..10).map(|i| ((1e10 - f64::from(i)) / (1e12 - f64::from(i))).ln()).sum();
        let got = ln_hypergeometric_upper(10, 1_000_000_000_000, 10_000_000_000, 10);
        assert!(close(got, exact, 1e-12), "{got} {exact}");
    }

    #[test]
    fn the_two_tails_of_a_large_distribution_add_up_to_one() {
        // By symmetry: of those not drawn, marked − X are marked.
        let (population, marked, drawn) = (50_000_000_000, 1_000_000_000, 40_000_000);
        for k in [790_000, 799_000, 800_000, 801_000, 810_000] {
            let above = ln_hypergeometric_upper(k, population, marked, drawn).exp();
            let below = ln_hypergeometric_upper(marked - k + 1, population, marked, population - drawn).exp();
            assert!((above + below - 1.0).abs() < 1e-9, "{k}: {above} {below}");
        }
    }

    #[test]
    fn published_values_come_out() {
        // Fisher's tea tasting (1935): all four cups right, 1/70; at least three, 17/70.
        assert!(close(ln_hypergeometric_upper(4, 8, 4, 4), (1.0f64 / 70.0).ln(), 1e-14));
        assert!(close(ln_hypergeometric_upper(3, 8, 4, 4), (17.0f64 / 70.0).ln(), 1e-14));
        // ln 100! and ln 10⁶!: OEIS A000142, Abramowitz & Stegun table 6.4.
        assert!(close(ln_factorial(100), 363.739_375_555_563_5, 1e-15));
        assert!(close(ln_factorial(1_000_000), 12_815_518.384_658_17, 1e-15));
        // Poker hands.
        assert!(close(ln_choose(52, 5), 2_598_960f64.ln(), 1e-14));
        assert_eq!(ln_choose(3, 4), f64::NEG_INFINITY);
        // Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3.
        for (hits, trials, low, high) in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)] {
            let (l, h) = wilson(hits, trials, 1.959_964);
            assert!((l - low).abs() < 5e-5 && (h - high).abs() < 5e-5, "{hits}/{trials}: {l} {h}");
        }
        let (l, h) = wilson(1, 29, 1.959_964);
        assert!((l - 0.0061).abs() < 5e-5 && (h - 0.1718).abs() < 5e-5, "{l} {h}");
    }
}
