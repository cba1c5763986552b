use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::sample::{Sample, mix};
use super::since::step;
use super::tables::{benjamini_hochberg, ln_p_of_deviance, mantel_haenszel};
use super::*;

fn choose(n: u64, k: u64) -> f64 {
    if k > n { 0.0 } else { (0..k).map(|i| (n - i) as f64 / (i + 1) as f64).product() }
}

fn table(in_lost: u64, out_lost: u64, in_arrived: u64, out_arrived: u64) -> Table {
    Table {
        in_lost: in_lost as f64,
        out_lost: out_lost as f64,
        in_arrived: in_arrived as f64,
        out_arrived: out_arrived as f64,
    }
}

/// P(inside = k) for all k, of `lost` units drawn from `inside` and `outside`.
fn hypergeometric(lost: u64, inside: u64, outside: u64) -> Vec<f64> {
    let all = choose(inside + outside, lost);
    (0..=lost.min(inside)).map(|k| choose(inside, k) * choose(outside, lost - k) / all).collect()
}

#[test]
fn small_tables_have_fishers_exact_probability() {
    for a in 0..5 {
        for b in 0..6 {
            for c in 0..7 {
                for d in 0..7 {
                    let exact: f64 = hypergeometric(a + b, a + c, b + d).iter().skip(a as usize).sum();
                    let got = table(a, b, c, d).ln_p().exp();
                    assert!((got - exact).abs() < 1e-9, "{a} {b} {c} {d}: {got} {exact}");
                }
            }
        }
    }
}

#[test]
fn g_and_its_tail_are_the_published_ones() {
    // McDonald, Handbook of Biological Statistics, G-test of independence: vaccinated in the arm 76 of 8,916, in the thigh 30 of 4,788.
    let arm = table(76, 30, 8916 - 76, 4788 - 30);
    assert!((arm.g() - 2.14).abs() < 0.005, "{}", arm.g());
    assert!((2.0 * arm.ln_p().exp() - 0.14).abs() < 0.005);
    assert_eq!(table(30, 76, 4788 - 30, 8916 - 76).g(), 0.0, "less than the rest is no loss");
    // Abramowitz & Stegun, table 26.1 and 26.2.
    for (z, p) in
        [(0.0, 0.5f64), (1.0, 0.158_655_254), (1.96, 0.024_997_895), (2.99, 0.001_394_887), (3.01, 0.001_306_238)]
    {
        assert!((ln_p_of_deviance(z * z) - p.ln()).abs() < 1e-6, "{z}");
    }
    for (z, minus_log10) in [(5.0, 6.54265), (10.0, 23.11805), (50.0, 544.96634), (100.0, 2173.87154)] {
        let got = -ln_p_of_deviance(z * z) / std::f64::consts::LN_10;
        assert!((got - minus_log10).abs() < 1e-4, "{z}: {got}");
    }
}

#[test]
fn the_false_discovery_rate_example_of_its_paper_comes_out() {
    let ps = [
        0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590,
        1.0f64,
    ];
    let mut ln_ps = ps.map(f64::ln).to_vec();
    ln_ps.shuffle(&mut StdRng::seed_from_u64(1));
    assert_eq!(benjamini_hochberg(ln_ps.clone(), 15.0, 0.05), Some(0.0095f64.ln()));
    assert_eq!(benjamini_hochberg(ln_ps, 15_000.0, 0.05), None);
}

/// The exact conditional distribution of the sum over strata is the convolution of theirs.
#[test]
fn strata_are_judged_as_their_exact_distribution_judges_them() {
    let mut rng = StdRng::seed_from_u64(7);
    for case in 0..2000 {
        let effect = rng.random_range(1.0..12.0);
        let share = rng.random_range(0.02..0.7);
        let mut exact = vec![1.0];
        let (mut strata, mut seen) = (Vec::new(), 0);
        for _ in 0..rng.random_range(1..12) {
            let lost = rng.random_range(0..6);
            let a =
                (0..lost).filter(|_| rng.random_bool(share * effect / (1.0 - share + share * effect))).count() as u64;
            let arrived = rng.random_range(0..60);
            let c = (0..arrived).filter(|_| rng.random_bool(share)).count() as u64;
            let stratum = hypergeometric(lost, a + c, lost - a + arrived - c);
            let mut sum = vec![0.0; exact.len() + stratum.len() - 1];
            exact
                .iter()
                .enumerate()
                .for_each(|(i, p)| stratum.iter().enumerate().for_each(|(j, q)| sum[i + j] += p * q));
            exact = sum;
            seen += a as usize;
            strata.push(table(a, lost - a, c, arrived - c));
        }
        let exact = exact[seen..].iter().sum::<f64>().ln();
        let got = mantel_haenszel(&strata);
        // No surer than is right but for the approximation of the tail, and not much less sure.
        if exact < 0.05f64.ln() {
            assert!(got > 1.05 * exact - 0.1 && got < 0.5 * exact, "{case}: {got} {exact} {strata:?}");
        }
    }
}

#[test]
fn a_sample_keeps_to_its_size_and_prefers_nobody() {
    let mut sample = Sample::new(1000, 1);
    // Round robin over eight values, which a sample of every k-th would resonate with.
    for number in 0..200_000u64 {
        sample.offer(&Unit { number, time_ms: 0, key_hash: None, codes: &[(number % 8) as u32] });
        assert!(sample.rows().len() <= 1000);
    }
    let rows = sample.rows();
    assert!(rows.len() > 400, "{}", rows.len());
    let mut counts = BTreeMap::<u32, f64>::new();
    (0..rows.len()).for_each(|row| *counts.entry(rows.code(row, 0)).or_default() += 1.0);
    let expected = rows.len() as f64 / 8.0;
    let chi: f64 = counts.values().map(|count| (count - expected).powi(2) / expected).sum();
    // χ² with 7 degrees of freedom is above 24.3 once in a thousand.
    assert!(counts.len() == 8 && chi < 24.3, "{chi}");
    assert!((0..rows.len()).all(|row| rows.numbers[row] % 8 == u64::from(rows.code(row, 0))), "rows stay whole");
}

#[test]
fn time_bins_lose_nothing_however_wild_the_times() {
    let mut rng = StdRng::seed_from_u64(3);
    let mut bins = TimeBins::default();
    let mut naive = Vec::new();
    for _ in 0..20_000 {
        let time = match rng.random_range(0..100) {
            0 => -1,
            1 => i64::MAX,
            2 => i64::MIN,
            _ => 1_700_000_000_000 + rng.random_range(0..90_000_000),
        };
        let lost = u64::from(rng.random_bool(0.1));
        bins.add(time, 1 - lost, lost);
        naive.push((time, lost));
    }
    let counts = bins.counts();
    assert!(counts.len() <= 1024 && counts.is_sorted_by_key(|(start, _)| *start));
    for (start, counts) in &counts {
        let inside = |time: &i64| time.div_euclid(bins.width_ms()) == start.div_euclid(bins.width_ms());
        let of = |wanted: u64| naive.iter().filter(|(time, lost)| inside(time) && *lost == wanted).count() as u64;
        if *start > i64::MIN + bins.width_ms() {
            assert_eq!((counts.arrived, counts.lost), (of(0), of(1)), "{start}");
        }
    }
    assert_eq!(counts.iter().map(|(_, c)| c.arrived + c.lost).sum::<u64>(), 20_000);
}

fn series(seed: u64, rate: impl Fn(usize) -> f64) -> Vec<Counts> {
    let mut rng = StdRng::seed_from_u64(seed);
    let bin = |i| {
        let lost = (0..300).filter(|_| rng.random_bool(rate(i))).count() as u64;
        Counts { arrived: 300 - lost, lost }
    };
    (0..200).map(bin).collect()
}

#[test]
fn a_step_is_found_where_the_likelihood_says_and_nothing_else_is_one() {
    for (seed, at) in [(1, 60), (2, 100), (3, 150), (4, 175)] {
        let bins = series(seed, |i| if i < at { 0.002 } else { 0.03 });
        let found = step(&bins).expect("a step");
        // The naive scan: every split, both likelihoods from scratch.
        let ln = |bins: &[Counts]| {
            let (lost, all) =
                bins.iter().fold((0.0, 0.0), |(l, n), c| (l + c.lost as f64, n + (c.arrived + c.lost) as f64));
            let term = |x: f64| if x > 0.0 { x * (x / all).ln() } else { 0.0 };
            term(lost) + term(all - lost)
        };
        let best = (20..181)
            .max_by(|a, b| (ln(&bins[..*a]) + ln(&bins[*a..])).total_cmp(&(ln(&bins[..*b]) + ln(&bins[*b..]))));
        assert_eq!(Some(found.bin), best);
        assert!(found.bin.abs_diff(at) <= 2, "{} {at}", found.bin);
        assert_eq!(found.after.lost, bins[found.bin..].iter().map(|c| c.lost).sum::<u64>());
    }
    for seed in 0..20 {
        assert_eq!(step(&series(seed, |_| 0.01)), None, "steady");
        assert_eq!(step(&series(seed, |i| 0.001 * 30f64.powf(i as f64 / 200.0))), None, "drift");
        assert_eq!(step(&series(seed, |i| if i > 190 { 0.5 } else { 0.002 })), None, "too short to tell");
        assert_eq!(step(&series(seed, |i| if i % 40 == 39 { 0.5 } else { 0.002 })), None, "bursts");
        assert_eq!(step(&series(seed, |i| if i < 100 { 0.03 } else { 0.002 })), None, "down");
    }
}

/// A population with one bad producer, and what was counted of it by hand.
fn one_bad_producer(units: u64, sample: usize) -> (Tally, BTreeMap<(u32, bool), u64>) {
    let mut rng = StdRng::seed_from_u64(11);
    let mut tally = Tally::with_sample(vec![Dimension::names("producer"), Dimension::names("partition")], sample);
    let mut naive = BTreeMap::new();
    for number in 0..units {
        let producer = rng.random_range(0..6u32);
        let lost = rng.random_bool(if producer == 4 { 0.08 } else { 0.002 });
        let label = format!("p{producer}");
        let codes = [tally.code(0, &label), tally.code(1, &(number % 12).to_string())];
        let unit = Unit { number, time_ms: number as i64 * 50, key_hash: Some(mix(number)), codes: &codes };
        match lost {
            true => tally.lost(&unit),
            false => tally.arrived(&unit),
        }
        *naive.entry((producer, lost)).or_default() += 1;
    }
    (tally, naive)
}

#[test]
fn figures_of_a_cause_are_exact_though_it_was_found_in_a_sample() {
    let (tally, naive) = one_bad_producer(60_000, 2000);
    let report = attribute(&tally);
    let [cause] = &report.causes[..] else { panic!("{report:?}") };
    assert_eq!((cause.dimension.as_str(), cause.value.as_str(), cause.estimated), ("producer", "p4", false));
    let count = |bad: bool, lost: bool| -> u64 {
        naive.iter().filter(|((p, l), _)| (*p == 4) == bad && *l == lost).map(|(_, n)| n).sum()
    };
    assert_eq!((cause.lost, cause.sent), (count(true, true), count(true, true) + count(true, false)));
    assert_eq!((cause.rest_lost, cause.rest_sent), (count(false, true), count(false, true) + count(false, false)));
    let (rate, rest) = (cause.lost as f64 / cause.sent as f64, cause.rest_lost as f64 / cause.rest_sent as f64);
    assert!((cause.rate - rate).abs() < 1e-12 && (cause.rest_rate - rest).abs() < 1e-12);
    assert!((cause.risk_ratio - rate / rest).abs() < 1e-9);
    // Miettinen 1974: part of cases exposed × (RR − 1) / RR.
    let exposed = cause.lost as f64 / (cause.lost + cause.rest_lost) as f64;
    assert!((cause.explained - exposed * (1.0 - rest / rate)).abs() < 1e-9);
    assert!(report.sent == 60_000 && report.sampled_arrivals <= 2000 && report.causes[0].since.is_none());
}

#[test]
fn a_tally_survives_a_restart_and_says_the_same() {
    let (tally, _) = one_bad_producer(20_000, 1000);
    let bytes = postcard::to_stdvec(&tally).unwrap();
    let mut again: Tally = postcard::from_bytes(&bytes).unwrap();
    assert_eq!(again, tally);
    assert_eq!(attribute(&again), attribute(&tally));
    assert_eq!(again.code(0, "p4"), tally.clone().code(0, "p4"));
}

#[test]
fn one_burst_is_one_witness_however_long() {
    let (mut tally, _) = (Tally::new(vec![Dimension::names("producer")]), ());
    let codes: Vec<u32> = (0..8).map(|i| tally.code(0, &i.to_string())).collect();
    for number in 0..50_000u64 {
        let producer = codes[(mix(number) % 8) as usize];
        let unit = Unit { number, time_ms: number as i64, key_hash: None, codes: &[producer] };
        // Nearly all of one producer's, for a tenth of the time.
        match producer == codes[5] && (20_000..25_000).contains(&number) {
            true => tally.lost(&unit),
            false => tally.arrived(&unit),
        }
    }
    assert_eq!(attribute(&tally).causes, []);
}

#[test]
fn values_beyond_the_limit_are_one_and_the_report_says_so() {
    let mut rng = StdRng::seed_from_u64(5);
    let mut tally = Tally::new(vec![Dimension::names("tenant"), Dimension::names("producer")]);
    for number in 0..40_000u64 {
        // The first tenants are seen first; all of the loss is in those that no longer get a code.
        let tenant = (number / 10).min(rng.random_range(0..3000));
        let codes = [tally.code(0, &tenant.to_string()), tally.code(1, "one")];
        assert!(codes[0] == OTHER || (codes[0] as usize) < MOST_VALUES);
        let unit = Unit { number, time_ms: 0, key_hash: None, codes: &codes };
        match codes[0] == OTHER && rng.random_bool(0.1) {
            true => tally.lost(&unit),
            false => tally.arrived(&unit),
        }
    }
    let report = attribute(&tally);
    assert_eq!(report.capped, ["tenant"]);
    assert!(report.causes.iter().all(|cause| cause.dimension != "tenant"), "{:?}", report.causes);
}

#[test]
fn what_is_not_known_of_lost_units_counts_for_nothing() {
    // Sizes of half of the lost units are unknown, and so are all of their schemas.
    let mut rng = StdRng::seed_from_u64(9);
    let sizes = Dimension::ranges("size", &[(1000, "1 kB"), (10_000, "10 kB"), (100_000, "100 kB")]);
    let mut tally = Tally::new(vec![sizes, Dimension::names("schema")]);
    let schemas = [tally.code(1, "a"), tally.code(1, "b")];
    for number in 0..40_000u64 {
        let size = rng.random_range(0..200_000);
        let lost = rng.random_bool(if size >= 100_000 { 0.05 } else { 0.002 });
        let known = if rng.random_bool(0.5) { tally.bin(0, size) } else { UNKNOWN };
        let codes = if lost { vec![known] } else { vec![tally.bin(0, size), schemas[(number % 2) as usize]] };
        let unit = Unit { number, time_ms: number as i64, key_hash: None, codes: &codes };
        if lost { tally.lost(&unit) } else { tally.arrived(&unit) }
    }
    let report = attribute(&tally);
    let [cause] = &report.causes[..] else { panic!("{report:?}") };
    assert_eq!((cause.dimension.as_str(), cause.value.as_str()), ("size", "≥ 100 kB"));
    assert!(cause.lost + cause.rest_lost < report.lost * 6 / 10);
}

#[test]
fn ranges_are_worded_by_their_edges() {
    let sizes = Dimension::ranges("size", &[(10, "10 B"), (20, "20 B"), (30, "30 B")]);
    assert_eq!([i64::MIN, 9, 10, 19, 20, 30, i64::MAX].map(|size| sizes.bin(size)), [0, 0, 1, 1, 2, 3, 3]);
    let words = [(0, 0), (0, 2), (1, 1), (1, 2), (1, 3), (3, 3)].map(|(low, high)| sizes.label(low, high));
    assert_eq!(words, ["< 10 B", "< 30 B", "10 B to 20 B", "10 B to 30 B", "≥ 10 B", "≥ 30 B"]);
    assert_eq!(Dimension::names("x").bin(3), UNKNOWN);
}

#[test]
fn nothing_is_said_of_nothing() {
    let empty = attribute(&Tally::new(vec![Dimension::names("producer")]));
    assert_eq!((empty.causes.len(), empty.sent, empty.lost), (0, 0, 0));
    let mut all_lost = Tally::new(vec![Dimension::names("producer")]);
    let code = all_lost.code(0, "a");
    for number in 0..1000 {
        all_lost.lost(&Unit { number, time_ms: i64::MAX, key_hash: Some(1), codes: &[code, 7, 9] });
    }
    assert_eq!(attribute(&all_lost).causes, []);
}
