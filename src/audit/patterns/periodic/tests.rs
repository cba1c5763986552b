use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::simulate::{Counter, TRIALS, rng};
use super::super::tails::ln_binomial_upper;
use super::sample::{Class, Group};
use super::scan::{Cell, Table};
use super::*;
use crate::audit::patterns::losses::Run;

fn judge_default(segments: &[Segment]) -> Judgement {
    judge(segments, &Settings::default())
}

fn only(judgement: &Judgement) -> &Periodic {
    let [periodic] = &judgement.periods[..] else { panic!("one period, not {:#?}", judgement.periods) };
    periodic
}

/// Ranges in order, apart from each other, from gaps and lengths.
fn ranges(from: i64, pieces: &[(i64, i64)]) -> Vec<(i64, i64)> {
    let mut at = from;
    let piece = |&(gap, length): &(i64, i64)| {
        let begin = at + gap;
        at = begin + length;
        (begin, at)
    };
    pieces.iter().map(piece).collect()
}

fn class() -> impl Strategy<Value = Class> {
    (2u64..30).prop_flat_map(|n| (Just(n), 0..n, 1..=n.min(4))).prop_map(|(n, residue, width)| Class {
        n,
        residue,
        width,
    })
}

proptest! {
    /// The analytic tables beside counting number by number, with periods taken away.
    #[test]
    fn tables_are_what_counting_gives(
        from in prop_oneof![-500i64..500, Just(i64::MAX - 5000), Just(i64::MIN)],
        stretches in prop::collection::vec((1i64..40, 1i64..200), 1..6),
        runs in prop::collection::vec((1i64..30, 1i64..9), 1..20),
        taken in prop::collection::vec(class(), 0..4),
        n in 1usize..70,
    ) {
        let stretches = ranges(from, &stretches);
        let mut eligible: BTreeSet<i64> = stretches.iter().flat_map(|s| s.0..s.1).collect();
        let inside = |run: &(i64, i64)| (run.0..run.1).all(|number| eligible.contains(&number));
        let runs: Vec<_> = ranges(from, &runs).into_iter().filter(inside).collect();
        let mut lost: BTreeSet<i64> = runs.iter().flat_map(|run| run.0..run.1).collect();
        let mut group = Group::new(0, stretches, runs);
        for class in taken {
            let hits: Vec<_> = group.hits(class).into_iter().map(|(number, _)| number).collect();
            let expected: Vec<_> = lost.iter().copied().filter(|&number| class.contains(number)).collect();
            prop_assert_eq!(hits, expected);
            group.take(class);
            lost.retain(|&number| !class.contains(number));
            eligible.retain(|&number| !class.contains(number));
        }
        let (table, whole) = Table::of(&group, n);
        prop_assert_eq!(whole, Cell { lost: lost.len() as u64, trials: eligible.len() as u64 });
        for residue in 0..n {
            let of = |set: &BTreeSet<i64>| set.iter().filter(|n_| n_.rem_euclid(n as i64) == residue as i64).count();
            prop_assert_eq!(table.lost[residue] as usize, of(&lost));
            prop_assert_eq!(table.trials[residue] as usize, of(&eligible));
        }
    }

    /// Where losses are, not how they are cut into runs or where numbers begin, decides; a shift by d moves the
    /// residue by d.
    #[test]
    fn a_shift_moves_the_residue_and_nothing_else(seed in 0u64..1000, shift in -1_000_000_000_000i64..1_000_000_000_000) {
        let rng = &mut rng(seed);
        let segments = Counter::new(3000).every(rng, 30, 4, 1.0, 0).noise(rng, |_| 0.02).segments();
        let mut moved = segments.clone();
        for segment in &mut moved {
            (segment.from, segment.until) = (segment.from + shift, segment.until + shift);
            segment.losses.iter_mut().for_each(|run| (run.from, run.until) = (run.from + shift, run.until + shift));
        }
        let (still, moved) = (judge_default(&segments), judge_default(&moved));
        prop_assert_eq!(&still.limits, &moved.limits);
        let (still, moved) = (&still.periods[0], &moved.periods[0]);
        prop_assert_eq!((still.n, still.residue), (30, 4));
        prop_assert_eq!((moved.n, moved.residue as i64), (30, (4 + shift).rem_euclid(30)));
        prop_assert_eq!((still.hits, still.eligible, still.ln_p), (moved.hits, moved.eligible, moved.ln_p));
        prop_assert_eq!(still.next.iter().map(|number| number + shift).collect::<Vec<_>>(), moved.next.clone());
    }
}

#[test]
fn a_finding_says_what_was_planted() {
    let rng = &mut rng(1);
    let segments = Counter::new(TRIALS).every(rng, 100, 37, 1.0, 0).noise(rng, |_| 0.01).segments();
    let judgement = judge_default(&segments);
    let found = only(&judgement);
    assert_eq!((found.n, found.residue, found.width, found.unit), (100, 37, 1, Unit::Number));
    assert_eq!((found.hits, found.eligible, found.hit_rate), (200, 200, 1.0));
    // Wilson's lower bound of 200 of 200: 1 / (1 + z² / n).
    let low = 1.0 / (1.0 + 1.959_964f64.powi(2) / 200.0);
    assert!((found.hit_rate_interval.0 - low).abs() < 1e-9 && found.hit_rate_interval.1 == 1.0);
    let lost = segments[0].lost();
    assert_eq!(found.background, (lost - 200) as f64 / 19_800.0);
    assert_eq!(found.share, 200.0 / lost as f64);
    assert_eq!((found.first.number, found.first.ms, found.last.number, found.last.ms), (37, 37, 19_937, 19_937));
    assert_eq!(found.next, [20_037, 20_137, 20_237]);
    assert!(found.phases.is_empty() && !found.exact && !found.burst_like);
    // All 200 numbers of a residue are lost: C(19800, lost − 200) / C(20000, lost) = Π (lost − i) / (20000 − i),
    // times 100 residues, 999 periods, over 0.9.
    let tail: f64 = (0..200).map(|i| ((lost - i) as f64 / (20_000 - i) as f64).ln()).sum();
    assert!((found.ln_p - (tail + (100.0 * 999.0 / 0.9f64).ln())).abs() < 1e-6, "{}", found.ln_p);
    assert_eq!(judgement.limits.trials, 19_800);
}

#[test]
fn corrections_are_for_every_counter() {
    let rng = &mut rng(2);
    let segments = Counter::new(TRIALS).every(rng, 100, 5, 0.3, 0).noise(rng, |_| 0.01).segments();
    let one = judge_default(&segments).periods[0].ln_p;
    let many = judge(&segments, &Settings { counters: 1000, ..Settings::default() }).periods[0].ln_p;
    assert!((many - one - 1000f64.ln()).abs() < 1e-9);
}

#[test]
fn four_losses_without_noise_show_a_period_of_any_length() {
    let rng = &mut rng(3);
    let found = judge_default(&Counter::new(TRIALS).every(rng, 5000, 17, 1.0, 0).segments());
    let found = only(&found);
    assert_eq!((found.n, found.residue, found.hits, found.exact), (5000, 17, 4, true));
    // Σ n^−3 over n ≥ 5000, by the exact sum of its first terms and an integral of the rest; spent is a tenth of α.
    let sum: f64 = (5000..5_000_000).map(|n| f64::from(n).powi(-3)).sum::<f64>() + 0.5 / 5e6f64.powi(2);
    assert!(found.ln_p >= (10.0 * sum).ln() && found.ln_p < (10.0 * sum).ln() + 0.1, "{}", found.ln_p);
    assert!(judge_default(&Counter::new(TRIALS).every(rng, 6000, 2100, 1.0, 0).segments()).periods.is_empty(), "three");
}

#[test]
fn each_segment_may_have_a_phase_of_its_own() {
    let rng = &mut rng(4);
    let phases = [3, 60, 91, 17, 44];
    let counter = |&phase: &usize| Counter::new(3000).every(rng, 100, phase, 1.0, 0).noise(rng, |_| 0.01).segments();
    let segments: Vec<Segment> = phases.iter().flat_map(counter).collect();
    let judgement = judge_default(&segments);
    let found = only(&judgement);
    assert_eq!((found.n, found.residue, found.hits, found.eligible), (100, 44, 150, 150));
    assert_eq!(found.phases.iter().map(|phase| phase.residue).collect::<Vec<_>>(), [3, 60, 91, 17, 44]);
    assert_eq!(found.next, [3044, 3144, 3244]);
    assert_eq!((found.first.segment, found.first.number, found.last.segment, found.last.number), (0, 3, 4, 2944));
    // And without noise.
    let rng = &mut super::super::simulate::rng(5);
    let counter = |&phase: &usize| Counter::new(3000).every(rng, 100, phase, 1.0, 0).segments();
    let judgement = judge_default(&phases.iter().flat_map(counter).collect::<Vec<_>>());
    assert_eq!((only(&judgement).n, only(&judgement).exact, only(&judgement).phases.len()), (100, true, 5));
}

#[test]
fn interleaved_periods_are_found_one_after_the_other() {
    let rng = &mut rng(6);
    let counter = Counter::new(TRIALS).every(rng, 7, 1, 1.0, 0).every(rng, 11, 5, 1.0, 0).every(rng, 13, 2, 0.5, 0);
    let judgement = judge_default(&counter.noise(rng, |_| 0.01).segments());
    let found: Vec<_> = judgement.periods.iter().map(|found| (found.n, found.residue)).collect();
    assert_eq!(found, [(7, 1), (11, 5), (13, 2)]);
    // 11's numbers that are not 7's as well.
    let only_11 = (0..TRIALS).filter(|i| i % 11 == 5 && i % 7 != 1).count() as u64;
    assert_eq!((judgement.periods[1].hits, judgement.periods[1].eligible), (only_11, only_11));
}

#[test]
fn periodic_bursts_and_outages_are_one_finding() {
    let rng = &mut rng(7);
    let found = judge_default(&Counter::new(TRIALS).blocks(500, 30, 50).noise(rng, |_| 0.01).segments());
    let found = only(&found);
    assert_eq!((found.n, found.residue, found.width, found.hits, found.eligible), (500, 30, 50, 2000, 2000));
    let judgement = judge_default(&Counter::new(TRIALS).blocks(500, 30, 80).noise(rng, |_| 0.0).segments());
    let found = only(&judgement);
    assert_eq!((found.n, found.residue, found.unit, found.hits, found.share), (500, 30, Unit::Outage, 40, 1.0));
    assert_eq!(judgement.limits.trials, 16_800, "what an outage took away was no trial");
}

#[test]
fn a_million_lost_in_a_row_neither_hide_a_period_nor_make_one() {
    let outage = |from: i64| Run { from, until: from + 1_000_000, first_ms: 0, last_ms: 1 };
    let single = |from: i64| Run { from, until: from + 1, first_ms: 0, last_ms: 0 };
    let mut losses: Vec<Run> = (0..200).map(|i| single(100 * i + 3)).chain([outage(50_000)]).collect();
    losses.extend((0..200).map(|i| single(2_000_000 + 100 * i + 3)));
    let segment = Segment { from: 0, until: 3_000_000, losses };
    let found = judge_default(&[segment]);
    assert_eq!((only(&found).n, only(&found).residue, only(&found).hits), (100, 3, 400));
    let outages: Vec<_> = [17, 3_000_111, 4_500_000, 9_123_456].map(outage).to_vec();
    let segment = Segment { from: 0, until: 20_000_000, losses: outages };
    assert_eq!(judge_default(&[segment]).periods, []);
}

#[test]
fn clusters_with_a_stride_are_burst_like() {
    let rng = &mut rng(8);
    let counter = Counter::new(TRIALS).noise(rng, |_| 0.01).stretches(rng, 1, 1000..1001, 4);
    let judgement = judge_default(&counter.segments());
    assert!(only(&judgement).burst_like && only(&judgement).n == 4, "{judgement:?}");
    // So are a few losses close together, without noise.
    let judgement = judge_default(&Counter::new(TRIALS).stretches(rng, 1, 70..71, 10).segments());
    assert!(only(&judgement).burst_like && only(&judgement).n == 10, "{judgement:?}");
    // The same stride through half of the counter is a period that began or ended.
    let counter = Counter::new(TRIALS).noise(rng, |_| 0.01).stretches(rng, 1, 10_000..10_001, 4);
    let judgement = judge_default(&counter.segments());
    assert!(!only(&judgement).burst_like && only(&judgement).n == 4, "{judgement:?}");
}

#[test]
fn too_little_and_too_much_say_nothing() {
    let counters = [
        Counter::new(0),
        Counter::new(1),
        Counter::new(TRIALS),
        Counter::new(10).every(&mut rng(9), 2, 0, 1.0, 0),
        Counter::new(TRIALS).every(&mut rng(9), 15_000, 0, 1.0, 0),
        Counter::new(TRIALS).blocks(TRIALS, 0, TRIALS),
        Counter::new(TRIALS).noise(&mut rng(9), |_| 0.98),
    ];
    for counter in counters {
        assert_eq!(judge_default(&counter.segments()).periods, []);
    }
    assert_eq!(judge_default(&[]).periods, []);
    let nothing = judge_default(&Counter::new(10).segments()).limits;
    assert_eq!((nothing.smallest, nothing.largest), (None, None));
    assert!(nothing.rates.iter().all(|limit| limit.hit_rate.is_none()));
    for settings in
        [Settings { largest_period: 0, ..Settings::default() }, Settings { alpha: 0.0, ..Settings::default() }]
    {
        judge(&Counter::new(TRIALS).every(&mut rng(9), 100, 0, 1.0, 0).segments(), &settings);
    }
    let whole = Segment { from: i64::MIN, until: i64::MAX, losses: Vec::new() };
    assert_eq!(judge_default(&[whole]).periods, []);
}

#[test]
fn the_detection_limit_is_what_simulation_finds() {
    let rng = &mut rng(10);
    let limits = judge_default(&Counter::new(TRIALS).noise(rng, |_| 0.01).segments()).limits;
    assert_eq!((limits.smallest, limits.largest), (Some(2), Some(1000)));
    let limit = limits.rates.iter().find(|limit| limit.n == 100).unwrap().hit_rate.unwrap();
    let found = |rate: f64, seed: u64| {
        let rng = &mut super::super::simulate::rng(seed);
        // The hit rate counts noise too.
        let hits = (rate - 0.01) / 0.99;
        let judgement =
            judge_default(&Counter::new(TRIALS).every(rng, 100, 9, hits, 0).noise(rng, |_| 0.01).segments());
        judgement.periods.iter().any(|found| found.residue % 50 == 9)
    };
    let count = |rate: f64| (0..60).filter(|&seed| found(rate, seed)).count() as u64;
    // Of 60 at 90 %, fewer than 45 or at three quarters of the rate more than 45 would be once in a thousand.
    assert!(count(limit) >= 45, "{}", count(limit));
    assert!(count(0.75 * limit) <= 45, "{}", count(0.75 * limit));
    assert!(ln_binomial_upper(60 - 44, 60, 0.1).exp() < 1e-3);
    // Without noise, four losses have to fit.
    let limits = judge_default(&Counter::new(TRIALS).segments()).limits;
    assert_eq!((limits.smallest, limits.largest), (Some(2), Some(5000)));
}

/// Longer than what is scanned: it shows by its divisors, and the whole of it is named.
#[test]
fn a_period_beyond_the_scan_is_named_by_way_of_its_divisors() {
    for n in [5_000, 1_500, 12_000] {
        let rng = &mut rng(n);
        let counter = Counter::new(400_000).every(rng, n as usize, 77, 1.0, 0).noise(rng, |_| 0.0005);
        let judged = judge_default(&counter.segments());
        let found = only(&judged);
        assert_eq!((found.n, found.residue), (n, 77), "{found:?}");
        assert!(found.hit_rate > 0.99 && found.ln_p < Settings::default().alpha.ln(), "{found:?}");
    }
    // What is not longer stays as it is.
    let rng = &mut rng(1);
    let counter = Counter::new(100_000).every(rng, 100, 7, 0.3, 0).noise(rng, |_| 0.01);
    assert_eq!(only(&judge_default(&counter.segments())).n, 100);
}
