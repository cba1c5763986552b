//! Bursts of loss, by RFC 3357, and whether they are longer than independence allows.
//!
//! The RFC's *loss distance* is the difference between successive lost numbers, and a *loss period* a stretch of
//! losses at distance 1. Losses at independent times meet too, the more the higher the rate; so what is tested is
//! how often they do, given how many there are. Of K losses among N numbers in random order, those that directly
//! follow another are hypergeometric (the runs of A. Wald & J. Wolfowitz 1940). A counter is cut into a few strata,
//! so that a rate that drifts is no burst.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::losses::{Run, Segment, span};
use super::tails::ln_hypergeometric_pmf;

/// Strata of a counter, about; each segment has at least one.
const STRATA: u64 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// A loss is noticeable when its distance from the one before is at most this: RFC 3357's delta.
    pub noticeable: u64,
    /// The expected number of false alarms over everything that is judged.
    pub alpha: f64,
    /// What else is judged, as in [`super::periodic::Settings::counters`].
    pub counters: u64,
}

impl Default for Settings {
    /// RFC 3357's example of a delta, 99.
    fn default() -> Self {
        Self { noticeable: 99, alpha: 1e-3, counters: 1 }
    }
}

/// The loss periods of a counter. Without a loss all of it is zero or empty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Burst {
    pub trials: u64,
    pub lost: u64,
    /// Loss periods: Type-P-One-Way-Loss-Period-Total.
    pub periods: u64,
    pub mean_length: f64,
    pub longest: Option<Longest>,
    /// Each length of a loss period with the number of those, ascending.
    pub lengths: Vec<(u64, u64)>,
    /// Each distance between successive losses of a segment with the number of those, ascending.
    pub distances: Vec<(u64, u64)>,
    /// The share of the losses that are noticeable: Type-P-One-Way-Loss-Noticeable-Rate, as a fraction.
    pub noticeable: f64,
    /// ln of an upper bound of the corrected p: of the expected number of counters whose losses meet as often, or
    /// in a run as long, were they independent.
    pub ln_p: f64,
    /// Whether that is below α.
    pub bursty: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Longest {
    /// Index of its segment.
    pub segment: usize,
    pub run: Run,
}

/// Judges one counter, in steps per run of losses.
pub fn judge(segments: &[Segment], settings: &Settings) -> Burst {
    let (mut lengths, mut distances) = (BTreeMap::new(), BTreeMap::new());
    let mut longest: Option<Longest> = None;
    for (i, segment) in segments.iter().enumerate() {
        let mut before: Option<&Run> = None;
        for run in &segment.losses {
            *lengths.entry(run.count()).or_insert(0) += 1;
            if let Some(before) = before.replace(run) {
                *distances.entry(span(before.until, run.from) + 1).or_insert(0) += 1;
            }
            if run.count() > 1 {
                *distances.entry(1).or_insert(0) += run.count() - 1;
            }
            if longest.is_none_or(|longest| longest.run.count() < run.count()) {
                longest = Some(Longest { segment: i, run: *run });
            }
        }
    }
    let lost: u64 = segments.iter().map(Segment::lost).sum();
    let periods: u64 = lengths.values().sum();
    let noticed: u64 = distances.range(..=settings.noticeable).map(|(_, count)| count).sum();
    let trials = segments.iter().map(Segment::trials).sum();
    // Two tests, each of which may be the one that sees it.
    let ln_tests = 2f64.ln() + (settings.counters.max(1) as f64).ln();
    let ln_p = (ln_p_meetings(segments, trials).min(ln_p_longest(segments)) + ln_tests).min(0.0);
    Burst {
        trials,
        lost,
        periods,
        mean_length: lost as f64 / periods.max(1) as f64,
        longest,
        lengths: lengths.into_iter().collect(),
        distances: distances.into_iter().collect(),
        noticeable: noticed as f64 / lost.max(1) as f64,
        ln_p,
        bursty: ln_p < settings.alpha.ln(),
    }
}

/// Losses of a stratum, and how many of them directly follow another of it.
struct Stratum {
    trials: u64,
    lost: u64,
    meetings: u64,
}

/// The strata of a segment, of equal lengths but for rounding.
fn strata(segment: &Segment, count: u64) -> impl Iterator<Item = Stratum> {
    let trials = segment.trials();
    let end = move |i: u64| {
        let offset = u128::from(trials) * u128::from(i) / u128::from(count);
        segment.from.wrapping_add_unsigned(offset as u64)
    };
    let mut at = 0;
    (0..count).map(move |i| {
        let (from, until) = (end(i), end(i + 1));
        let mut stratum = Stratum { trials: span(from, until), lost: 0, meetings: 0 };
        while let Some(run) = segment.losses.get(at).filter(|run| run.from < until) {
            let inside = span(run.from.max(from), run.until.min(until));
            stratum.lost += inside;
            stratum.meetings += inside.saturating_sub(1);
            if run.until > until {
                break;
            }
            at += 1;
        }
        stratum
    })
}

/// ln of Chernoff's bound of P(at least as many meetings), given the losses of each stratum. W. Hoeffding 1963: the
/// moment generating function of a hypergeometric variable is at most that of the binomial one with its mean.
fn ln_p_meetings(segments: &[Segment], trials: u64) -> f64 {
    let share = |segment: &Segment| (segment.trials() as f64 / trials.max(1) as f64 * STRATA as f64).round().max(1.0);
    let strata = segments.iter().flat_map(|segment| strata(segment, share(segment) as u64));
    let (mut binomials, mut meetings) = (Vec::new(), 0.0);
    for stratum in strata.filter(|stratum| stratum.lost > 1) {
        binomials.push((stratum.lost as f64 - 1.0, stratum.lost as f64 / stratum.trials as f64));
        meetings += stratum.meetings as f64;
    }
    let mean = |t: f64| -> f64 { binomials.iter().map(|&(n, p)| n * p / (p + (1.0 - p) * (-t).exp())).sum() };
    if meetings <= mean(0.0) {
        return 0.0;
    }
    // The bound holds at any t > 0; the best is where the tilted mean is what was seen.
    let (mut low, mut high) = (0.0, 64.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if mean(middle) < meetings { low = middle } else { high = middle }
    }
    let moments: f64 = binomials.iter().map(|&(n, p)| n * (p * low.exp_m1()).ln_1p()).sum();
    (moments - low * meetings).min(0.0)
}

/// ln of a bound of P(a run as long in any segment), given the losses of each: the expected number of places where
/// one fits.
fn ln_p_longest(segments: &[Segment]) -> f64 {
    // Where everything is lost, one run is all there can be.
    let judged = segments.iter().filter(|segment| (1..segment.trials()).contains(&segment.lost()));
    let (mut least, mut count) = (0.0f64, 0);
    for segment in judged {
        let (trials, lost) = (segment.trials(), segment.lost());
        let longest = segment.losses.iter().map(Run::count).max().unwrap_or(0);
        let places = (trials - longest + 1) as f64;
        least = least.min(places.ln() + ln_hypergeometric_pmf(longest, trials, lost, longest));
        count += 1;
    }
    (least + f64::from(count.max(1)).ln()).min(0.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::simulate::{self, Counter, Make, TRIALS, rng};
    use super::*;

    const NULLS: &[(&str, Make)] = &[
        ("independent, 1 %", |rng| Counter::new(TRIALS).noise(rng, |_| 0.01).segments()),
        ("independent, 20 %", |rng| Counter::new(TRIALS).noise(rng, |_| 0.2).segments()),
        ("independent, 95 %", |rng| Counter::new(TRIALS).noise(rng, |_| 0.95).segments()),
        ("sparse, 0.05 %", |rng| Counter::new(TRIALS).noise(rng, |_| 0.0005).segments()),
        ("drifting, 0.1 % to 4 %", |rng| Counter::new(TRIALS).noise(rng, |at| 0.001 + 0.039 * at * at).segments()),
        ("40 restarts, 5 %", |rng| Counter::new(TRIALS).noise(rng, |_| 0.05).restarts(rng, 40).segments()),
    ];

    const BURSTS: &[(&str, Make)] = &[
        ("bursts, mean 2, 1 %", |rng| Counter::new(TRIALS).bursts(rng, 0.01, 2.0, 1.0).segments()),
        ("one outage of 20, 1 %", |rng| {
            Counter::new(TRIALS).noise(rng, |_| 0.01).stretches(rng, 1, 20..21, 1).segments()
        }),
        ("the first half", |_| Counter::new(TRIALS).blocks(TRIALS, 0, TRIALS / 2).segments()),
        ("bursts, mean 3, 1 %, 40 restarts", |rng| {
            Counter::new(TRIALS).bursts(rng, 0.01, 3.0, 1.0).restarts(rng, 40).segments()
        }),
    ];

    fn alarms(make: Make, runs: u64) -> u64 {
        let bursty = |&seed: &u64| judge(&make(&mut rng(seed)), &Settings::default()).bursty;
        (0..runs).filter(bursty).count() as u64
    }

    #[test]
    fn independent_losses_are_no_bursts() {
        NULLS.iter().for_each(|(name, make)| assert_eq!(alarms(*make, 100), 0, "{name}"));
    }

    #[test]
    fn bursts_and_outages_are_found() {
        BURSTS.iter().for_each(|(name, make)| assert_eq!(alarms(*make, 20), 20, "{name}"));
    }

    /// Prints a table of the README: `scripts/calibrate`.
    #[test]
    #[ignore = "minutes: scripts/calibrate"]
    fn calibration() {
        let runs = simulate::runs();
        println!("\n| losses | runs | called bursty |\n| --- | --- | --- |");
        let mut row = |&(name, make): &(&str, Make)| {
            let alarms = alarms(make, runs);
            println!("| {name} | {runs} | {alarms} |");
            alarms
        };
        let independent: u64 = NULLS.iter().map(&mut row).sum();
        let total = runs * NULLS.len() as u64;
        println!("| all independent | {total} | {independent} |");
        let found: u64 = BURSTS.iter().map(row).sum();
        assert!(independent as f64 <= 1e-3 * total as f64, "{independent} false alarms in {total}");
        assert!(found as f64 >= 0.99 * (runs * BURSTS.len() as u64) as f64, "{found} found");
    }

    /// The bounds beside the exact probabilities, over all arrangements of few numbers.
    #[test]
    fn no_arrangement_is_called_rarer_than_it_is() {
        for trials in 2..=14u32 {
            let all: Vec<Segment> = (0..1u32 << trials).map(|bits| arrangement(bits, trials)).collect();
            for lost in 1..trials {
                let of: Vec<_> = all.iter().filter(|segment| segment.lost() == u64::from(lost)).collect();
                let longest = |s: &Segment| s.losses.iter().map(Run::count).max();
                for segment in &of {
                    let as_long = of.iter().filter(|other| longest(other) >= longest(segment)).count();
                    let exact = (as_long as f64 / of.len() as f64).ln();
                    assert!(ln_p_longest(std::slice::from_ref(segment)) >= exact - 1e-9);
                }
            }
            // One stratum, as a segment beside a far longer one has it.
            let long = Segment { from: 0, until: 1 << 40, losses: Vec::new() };
            for lost in 1..trials {
                let of: Vec<_> = all.iter().filter(|segment| segment.lost() == u64::from(lost)).collect();
                for segment in &of {
                    let fewer = of.iter().filter(|other| other.losses.len() <= segment.losses.len()).count();
                    let exact = (fewer as f64 / of.len() as f64).ln();
                    let bound = ln_p_meetings(&[(*segment).clone(), long.clone()], u64::from(trials) + (1 << 40));
                    assert!(bound >= exact - 1e-9, "{bound} {exact}");
                    // And it is a bound worth having.
                    assert!(exact > -3.0 || bound < 0.4 * exact, "{bound} {exact} {lost} of {trials}");
                }
            }
        }
    }

    fn arrangement(bits: u32, trials: u32) -> Segment {
        let mut counter = Counter::new(trials as usize);
        (0..trials).for_each(|i| counter.lost[i as usize] = bits >> i & 1 == 1);
        counter.segments().remove(0)
    }

    proptest! {
        /// RFC 3357, sections 4 and 5, word by word.
        #[test]
        fn figures_follow_the_definitions(lost in prop::collection::vec(prop::bool::weighted(0.4), 1..300), delta in 1u64..6) {
            let counter = Counter { lost: lost.clone(), restarts: Vec::new() };
            let segments = counter.segments();
            let burst = judge(&segments, &Settings { noticeable: delta, ..Settings::default() });
            let (mut last, mut periods, mut noticeable) = (None, 0u64, 0u64);
            let (mut distances, mut lengths) = (BTreeMap::new(), Vec::<u64>::new());
            for i in (0..lost.len()).filter(|&i| lost[i]) {
                let distance = last.replace(i).map_or(0, |last| (i - last) as u64);
                if distance > 0 {
                    *distances.entry(distance).or_insert(0u64) += 1;
                    noticeable += u64::from(distance <= delta);
                }
                if distance != 1 {
                    periods += 1;
                    lengths.push(0);
                }
                *lengths.last_mut().unwrap() += 1;
            }
            let total = lost.iter().filter(|&&lost| lost).count() as u64;
            prop_assert_eq!((burst.trials, burst.lost, burst.periods), (lost.len() as u64, total, periods));
            prop_assert_eq!(burst.longest.map(|longest| longest.run.count()), lengths.iter().max().copied());
            prop_assert_eq!(burst.distances, distances.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(burst.lengths.iter().map(|&(_, n)| n).sum::<u64>(), periods);
            prop_assert_eq!(burst.lengths.iter().map(|&(length, n)| length * n).sum::<u64>(), total);
            prop_assert!((burst.noticeable * total as f64 - noticeable as f64).abs() < 1e-9);
            // No loss is left out or counted twice when the counter is cut.
            for count in 1..10 {
                let (of_strata, of_all) = (strata(&segments[0], count), lost.len() as u64);
                let sums = of_strata.fold((0, 0), |sum, stratum| (sum.0 + stratum.trials, sum.1 + stratum.lost));
                prop_assert_eq!(sums, (of_all, total));
            }
        }
    }
}
