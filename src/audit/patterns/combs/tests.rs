use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

const START_MS: i64 = 1_700_000_000_000;
const HOUR_MS: i64 = 3_600_000;

/// Repeats of `identities` that came first at any time of six hours, after the delays that `delays` draws.
fn scattered(seed: u64, identities: usize, delays: impl Fn(&mut StdRng) -> Vec<i64>) -> Combs {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut combs = Combs::default();
    for _ in 0..identities {
        let first = START_MS + rng.random_range(0..6 * HOUR_MS);
        let mut arrivals = vec![first];
        arrivals.extend(delays(&mut rng).into_iter().map(|delay| first + delay));
        arrivals.sort_unstable();
        combs.identity(&arrivals);
    }
    combs.arrived(100_000);
    combs
}

/// What a network adds: 2 ms and a tail of 6 ms.
fn latency(rng: &mut StdRng) -> i64 {
    2 + (-rng.random::<f64>().ln() * 6.0) as i64
}

fn log_uniform(rng: &mut StdRng, low: f64, high: f64) -> i64 {
    (low * (high / low).powf(rng.random::<f64>())) as i64
}

/// Retries after these pauses, each but the first in half of the cases.
fn retries(rng: &mut StdRng, pauses: &[i64], jitter: impl Fn(&mut StdRng, i64) -> i64) -> Vec<i64> {
    let mut at = 0;
    let mut delays = Vec::new();
    for pause in pauses {
        at += jitter(rng, *pause) + latency(rng);
        delays.push(at);
        if rng.random_bool(0.5) {
            break;
        }
    }
    delays
}

type Case = (&'static str, fn(u64) -> Combs);

fn nulls() -> Vec<Case> {
    vec![
        ("duplicates after any delay", |seed| scattered(seed, 2000, |rng| vec![log_uniform(rng, 5.0, 1e7)])),
        ("few duplicates after any delay", |seed| scattered(seed, 40, |rng| vec![log_uniform(rng, 5.0, 1e6)])),
        ("duplicates after 30 s on average", |seed| {
            scattered(seed, 2000, |rng| vec![(-rng.random::<f64>().ln() * 30_000.0) as i64])
        }),
        ("duplicates by a network's delays", |seed| {
            scattered(seed, 2000, |rng| vec![50 + 10 * latency(rng) + latency(rng)])
        }),
        ("retries with full jitter", |seed| {
            scattered(seed, 2000, |rng| retries(rng, &[1000, 2000, 4000], |rng, pause| rng.random_range(0..pause)))
        }),
        ("retries with 20 % of jitter", |seed| {
            scattered(seed, 2000, |rng| {
                retries(rng, &[1000, 2000, 4000], |rng, pause| rng.random_range(pause * 4 / 5..pause * 6 / 5))
            })
        }),
        ("a range replayed at its pace", |seed| replay(seed, 1.0)),
        ("a range replayed at once", |seed| replay(seed, 0.01)),
        ("batches sent twice", batches),
    ]
}

/// Five minutes of records, sent again an hour later, and stray duplicates.
fn replay(seed: u64, pace: f64) -> Combs {
    let mut combs = scattered(seed, 100, |rng| vec![log_uniform(rng, 5.0, 1e6)]);
    let mut rng = StdRng::seed_from_u64(seed);
    for i in 0..5000 {
        let into = i * 60;
        let again = START_MS + HOUR_MS + (into as f64 * pace) as i64 + latency(&mut rng);
        combs.identity(&[START_MS + into, again]);
    }
    combs
}

/// Batches of 300 records, each sent twice for a reason of its own.
fn batches(seed: u64) -> Combs {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut combs = Combs::default();
    for _ in 0..5 {
        let first = START_MS + rng.random_range(0..HOUR_MS);
        let delay = log_uniform(&mut rng, 100.0, 60_000.0);
        for i in 0..300 {
            combs.identity(&[first + i / 50, first + i / 50 + delay]);
        }
    }
    combs
}

type Planted = (&'static str, fn(u64) -> Combs, fn(&Comb) -> bool);

fn delays_are(comb: &Comb, expected: &[i64]) -> bool {
    comb.teeth.len() == expected.len()
        && comb.teeth.iter().zip(expected).all(|(tooth, delay)| (tooth.delay_ms - delay).abs() <= delay / 50 + 20)
}

fn exact(_: &mut StdRng, pause: i64) -> i64 {
    pause
}

fn powers() -> Vec<Planted> {
    fn doubling(comb: &Comb) -> bool {
        matches!(comb.sequence, Sequence::Exponential { base } if (base - 2.0).abs() < 0.1)
    }
    vec![
        (
            "pauses of 1, 2 and 4 s",
            |seed| scattered(seed, 300, |rng| retries(rng, &[1000, 2000, 4000], exact)),
            |comb| delays_are(comb, &[1000, 3000, 7000]) && doubling(comb),
        ),
        (
            "1, 2 and 4 s after the first",
            |seed| scattered(seed, 300, |_| vec![1000, 2000, 4000]),
            |comb| delays_are(comb, &[1000, 2000, 4000]) && doubling(comb),
        ),
        (
            "every 100 ms",
            |seed| scattered(seed, 300, |rng| retries(rng, &[100; 3], exact)),
            |comb| {
                delays_are(comb, &[100, 200, 300]) && matches!(comb.sequence, Sequence::Fixed { pause_ms: 90..=125 })
            },
        ),
        (
            "once after 30 s",
            |seed| scattered(seed, 100, |rng| vec![30_000 + latency(rng)]),
            |comb| {
                delays_are(comb, &[30_000]) && matches!(comb.sequence, Sequence::Fixed { pause_ms: 29_900..=30_100 })
            },
        ),
        (
            "1, 2 and 4 s, among as many at random",
            |seed| {
                scattered(seed, 600, |rng| match rng.random_bool(0.5) {
                    true => retries(rng, &[1000, 2000, 4000], exact),
                    false => vec![log_uniform(rng, 5.0, 1e7)],
                })
            },
            |comb| {
                comb.teeth.len() >= 2
                    && delays_are(comb, &[1000, 3000, 7000][..comb.teeth.len().min(3)])
                    && doubling(comb)
            },
        ),
        (
            "1 s beside a replayed range",
            |seed| {
                let mut combs = replay(seed, 1.0);
                let mut rng = StdRng::seed_from_u64(seed);
                for _ in 0..1000 {
                    let first = START_MS + rng.random_range(0..6 * HOUR_MS);
                    combs.identity(&[first, first + 1000 + latency(&mut rng)]);
                }
                combs
            },
            |comb| delays_are(comb, &[1000]),
        ),
    ]
}

#[test]
fn delays_without_a_step_are_no_comb() {
    for (name, make) in nulls() {
        for seed in 0..5 {
            let delays = make(seed).report();
            assert_eq!(delays.comb, None, "{name} {seed}");
        }
    }
}

#[test]
fn retries_in_step_are_a_comb_with_their_delays() {
    for (name, make, is_right) in powers() {
        let delays = make(1).report();
        assert!(delays.comb.as_ref().is_some_and(is_right), "{name}: {delays:?}");
    }
}

#[test]
fn a_replayed_range_is_a_replay_with_its_delay() {
    let delays = replay(3, 1.0).report();
    let [replay] = &delays.replays[..] else { panic!("{delays:?}") };
    assert!((replay.delay_ms - HOUR_MS).abs() < 1000 && replay.identities >= 5000, "{replay:?}");
}

#[test]
fn figures_of_a_comb_are_those_of_its_arrivals() {
    let mut combs = Combs::default();
    combs.arrived(400);
    // A hundred identities ten seconds apart, each repeated after one second and, in step, after three.
    for i in 0..100 {
        let first = START_MS + i * 10_000;
        combs.identity(&[first, first + 1000 + i % 5, first + 3000]);
    }
    // And fifty more in one second.
    for i in 0..50 {
        combs.identity(&[START_MS + 500_000 + i, START_MS + 501_900]);
    }
    let comb = combs.report().comb.expect("a comb");
    let teeth: Vec<_> = comb.teeth.iter().map(|t| (t.delay_ms, t.width_ms, t.identities)).collect();
    assert_eq!(teeth, [(1002, 4, 100), (3000, 0, 100)]);
    assert!((comb.teeth[0].share - 100.0 / 150.0).abs() < 1e-12);
    assert_eq!(comb.share_of_traffic, 250.0 / 400.0);
    assert_eq!(comb.jitter, 4.0 / 1002.0);
    assert_eq!(comb.identities, 150);
    assert_eq!(comb.peak, Some(Peak { time_ms: START_MS + 501_000, repeats: 51 }));
}

#[test]
fn bins_are_as_narrow_as_stated_and_in_order() {
    let mut first_of_bin = 0;
    for delay in 0..400_000i64 {
        let (bin, before) = (bin_of(delay), bin_of(delay - 1));
        if delay > 0 && bin != before {
            assert!(bin > before, "{delay}");
            let width = delay - first_of_bin;
            assert!(width <= 10.max(1 + (first_of_bin as f64 * 0.011) as i64), "{delay}: {width}");
            first_of_bin = delay;
        }
    }
    assert!(bin_of(46 * HOUR_MS) < MOST_BINS && bin_of(-1) >= MOST_BINS && bin_of(i64::MAX) >= MOST_BINS);
}

#[test]
fn what_is_counted_is_bounded_and_survives_a_restart() {
    let mut combs = Combs::default();
    for i in 0..50_000 {
        combs.identity(&[i * 7000, i * 7000 + 1 + (i * i) % 200_000_000]);
    }
    combs.identity(&[]);
    combs.identity(&[5]);
    combs.identity(&[5, 3]);
    combs.identity(&[i64::MIN, i64::MAX]);
    assert!(combs.seconds.len() <= 2 * MOST_SECONDS + 1 && combs.bins.len() <= MOST_BINS as usize);
    let bytes = postcard::to_stdvec(&combs).unwrap();
    assert_eq!(postcard::from_bytes::<Combs>(&bytes).unwrap(), combs);
}

#[test]
#[ignore = "in release: prints the tables of docs"]
fn calibration() {
    let runs = std::env::var("RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(500);
    println!("| delays, none in step | runs | combs found |\n| --- | --- | --- |");
    let mut total = 0;
    for (name, make) in nulls() {
        let found = (0..runs).filter(|seed| make(*seed).report().comb.is_some()).count() as u64;
        total += found;
        println!("| {name} | {runs} | {found} |");
    }
    println!("| all | {} | {total} |", runs * nulls().len() as u64);
    println!("\n| retries in step | runs | found with their delays and rule |\n| --- | --- | --- |");
    for (name, make, is_right) in powers() {
        let right = (0..runs).filter(|seed| make(*seed).report().comb.as_ref().is_some_and(is_right)).count();
        println!("| {name} | {runs} | {:.1} % |", 100.0 * right as f64 / runs as f64);
        assert!(right as f64 >= 0.95 * runs as f64, "less power than promised");
    }
    assert!(total * 1000 <= runs * nulls().len() as u64, "more than one false alarm in a thousand");
}
