//! False alarms and power, by simulation: the statistics tested as statistics.

use rand::Rng;
use rand::rngs::StdRng;

use super::super::losses::Segment;
use super::super::simulate::{Counter, Make, TRIALS, rng, runs};
use super::{Judgement, Settings, judge};

/// A law of losses and the periods planted in it.
struct Scenario {
    name: &'static str,
    planted: &'static [u64],
    /// The share of runs that must name a planted period, and every one of several.
    power: f64,
    make: Make,
}

fn phase(rng: &mut StdRng, n: usize) -> usize {
    rng.random_range(0..n)
}

fn counter() -> Counter {
    Counter::new(TRIALS)
}

/// Segments that lose their first number, and others at this rate.
fn heads(rng: &mut StdRng, rate: f64) -> Vec<Segment> {
    let mut counter = counter().noise(rng, |_| rate).restarts(rng, 39);
    [0].iter().chain(&counter.restarts).for_each(|&first| counter.lost[first] = true);
    counter.segments()
}

/// Losses without a period.
const NULLS: &[(&str, Make)] = &[
    ("independent, 1 %", |rng| counter().noise(rng, |_| 0.01).segments()),
    ("bursts, mean 5, 1 %", |rng| counter().bursts(rng, 0.01, 5.0, 1.0).segments()),
    ("sparse, 0.05 %", |rng| counter().noise(rng, |_| 0.0005).segments()),
    ("drifting, 0.1 % to 4 %", |rng| counter().noise(rng, |at| 0.001 + 0.039 * at * at).segments()),
    ("9 restarts, 1 %", |rng| counter().noise(rng, |_| 0.01).restarts(rng, 9).segments()),
    ("40 restarts, bursts, 5 %", |rng| counter().bursts(rng, 0.05, 5.0, 1.0).restarts(rng, 40).segments()),
    ("outages of 100 to 3000, 1 %", |rng| counter().noise(rng, |_| 0.01).stretches(rng, 5, 100..3000, 1).segments()),
    ("30 outages of 64 to 200", |rng| counter().stretches(rng, 30, 64..200, 1).segments()),
    ("first number of 40 segments, 1 %", |rng| heads(rng, 0.01)),
    ("first number of 40 segments, 1 in 10,000", |rng| heads(rng, 0.0001)),
    ("independent, 20 %", |rng| counter().noise(rng, |_| 0.2).segments()),
    ("half lost in clusters of 50, 5 %", |rng| counter().bursts(rng, 0.1, 50.0, 0.5).segments()),
    ("every 2nd lost in 50 stretches of 40", |rng| counter().stretches(rng, 50, 40..41, 2).segments()),
    ("every 4th lost in 20 stretches of 100 to 400", |rng| {
        counter().noise(rng, |_| 0.001).stretches(rng, 20, 100..400, 4).segments()
    }),
];

/// A few clusters, each with a stride: periodic inside, and all of them on one residue in 1 of 1,024 runs. Nothing
/// can tell that from a period, so it is shown and not judged.
const FEW_CLUSTERS: (&str, Make) =
    ("every 4th lost in 6 stretches of 500", |rng| counter().stretches(rng, 6, 500..501, 4).segments());

const PLANTED: &[Scenario] = &[
    Scenario {
        name: "n=100, no noise",
        planted: &[100],
        power: 1.0,
        make: |rng| {
            let phase = phase(rng, 100);
            counter().every(rng, 100, phase, 1.0, 0).segments()
        },
    },
    Scenario {
        name: "n=100, 1 % noise",
        planted: &[100],
        power: 1.0,
        make: |rng| {
            let phase = phase(rng, 100);
            counter().every(rng, 100, phase, 1.0, 0).noise(rng, |_| 0.01).segments()
        },
    },
    Scenario {
        name: "n=100, 30 % of nth, 1 % bursty noise",
        planted: &[100],
        power: 1.0,
        make: |rng| {
            let phase = phase(rng, 100);
            counter().every(rng, 100, phase, 0.3, 0).bursts(rng, 0.01, 5.0, 1.0).segments()
        },
    },
    Scenario {
        name: "n=100, 10 % of nth, 1 % noise",
        planted: &[100],
        power: 0.85,
        make: |rng| {
            let phase = phase(rng, 100);
            counter().every(rng, 100, phase, 0.1, 0).noise(rng, |_| 0.01).segments()
        },
    },
    Scenario {
        name: "n=997, 0.1 % noise",
        planted: &[997],
        power: 1.0,
        make: |rng| {
            let phase = phase(rng, 997);
            counter().every(rng, 997, phase, 1.0, 0).noise(rng, |_| 0.001).segments()
        },
    },
    Scenario {
        name: "n=7, 2 % of nth, 1 % noise, 200,000 numbers",
        planted: &[7],
        power: 0.95,
        make: |rng| {
            let phase = phase(rng, 7);
            Counter::new(200_000).every(rng, 7, phase, 0.02, 0).noise(rng, |_| 0.01).segments()
        },
    },
    Scenario {
        name: "n=100, 1 % noise, 9 restarts of the number",
        planted: &[100],
        power: 1.0,
        make: |rng| {
            let phase = phase(rng, 100);
            counter().every(rng, 100, phase, 1.0, 0).noise(rng, |_| 0.01).restarts(rng, 9).segments()
        },
    },
    Scenario {
        name: "n=100, 1 % noise, 40 restarts of the number",
        planted: &[100],
        power: 0.97,
        make: |rng| {
            let phase = phase(rng, 100);
            counter().every(rng, 100, phase, 1.0, 0).noise(rng, |_| 0.01).restarts(rng, 40).segments()
        },
    },
    Scenario {
        name: "n=100, 1 % noise, 40 segments, one residue",
        planted: &[100],
        power: 1.0,
        make: |rng| {
            let phase = phase(rng, 100);
            (0..40)
                .flat_map(|_| Counter::new(500).every(rng, 100, phase, 1.0, 0).noise(rng, |_| 0.01).segments())
                .collect()
        },
    },
    Scenario {
        name: "n=100 ± 1, 1 % noise",
        planted: &[100],
        power: 0.95,
        make: |rng| {
            let phase = phase(rng, 100);
            counter().every(rng, 100, phase, 1.0, 1).noise(rng, |_| 0.01).segments()
        },
    },
    Scenario {
        name: "n=7 and n=11, 1 % noise",
        planted: &[7, 11],
        power: 1.0,
        make: |rng| {
            let (a, b) = (phase(rng, 7), phase(rng, 11));
            counter().every(rng, 7, a, 1.0, 0).every(rng, 11, b, 1.0, 0).noise(rng, |_| 0.01).segments()
        },
    },
    Scenario {
        name: "n=100, 1 % noise, 5 outages of 100 to 3000",
        planted: &[100],
        power: 1.0,
        make: |rng| {
            let phase = phase(rng, 100);
            let counter = counter().every(rng, 100, phase, 1.0, 0).noise(rng, |_| 0.01);
            counter.stretches(rng, 5, 100..3000, 1).segments()
        },
    },
    Scenario {
        name: "n=50, 20 % noise",
        planted: &[50],
        power: 1.0,
        make: |rng| {
            let phase = phase(rng, 50);
            counter().every(rng, 50, phase, 1.0, 0).noise(rng, |_| 0.2).segments()
        },
    },
    Scenario {
        name: "n=2, 1 % noise",
        planted: &[2],
        power: 1.0,
        make: |rng| {
            let phase = phase(rng, 2);
            counter().every(rng, 2, phase, 1.0, 0).noise(rng, |_| 0.01).segments()
        },
    },
    Scenario {
        name: "n=4 (one partition of four), no noise",
        planted: &[4],
        power: 1.0,
        make: |rng| {
            let phase = phase(rng, 4);
            counter().every(rng, 4, phase, 1.0, 0).segments()
        },
    },
    Scenario {
        name: "50 lost from every 500th",
        planted: &[500],
        power: 1.0,
        make: |rng| {
            let phase = phase(rng, 400);
            counter().blocks(500, phase, 50).noise(rng, |_| 0.01).segments()
        },
    },
    Scenario {
        name: "outage of 80 from every 500th",
        planted: &[500],
        power: 1.0,
        make: |rng| {
            let phase = phase(rng, 400);
            counter().blocks(500, phase, 80).noise(rng, |_| 0.01).segments()
        },
    },
];

/// The periods that are called so.
fn named(judgement: &Judgement) -> Vec<u64> {
    judgement.periods.iter().filter(|found| !found.burst_like).map(|found| found.n).collect()
}

struct Outcome {
    found: usize,
    right: usize,
    first: usize,
    extra: usize,
}

fn outcome(make: Make, planted: &[u64], runs: u64) -> Outcome {
    let mut outcome = Outcome { found: 0, right: 0, first: 0, extra: 0 };
    for seed in 0..runs {
        let judgement = judge(&make(&mut rng(seed)), &Settings::default());
        let named = named(&judgement);
        outcome.found += usize::from(!named.is_empty());
        outcome.right += usize::from(!planted.is_empty() && planted.iter().all(|n| named.contains(n)));
        outcome.first += usize::from(named.first().is_some_and(|n| planted.contains(n)));
        outcome.extra += usize::from(named.iter().any(|n| !planted.contains(n)));
    }
    outcome
}

#[test]
fn losses_without_a_period_raise_no_alarm() {
    for (name, make) in NULLS {
        assert_eq!(outcome(*make, &[], 8).found, 0, "{name}");
    }
}

#[test]
fn planted_periods_are_named() {
    for Scenario { name, planted, power, make } in PLANTED {
        let runs = 10;
        let Outcome { found, right, extra, .. } = outcome(*make, planted, runs);
        // Four standard errors of so few runs.
        let margin = 4.0 * (power * (1.0 - power) / runs as f64).sqrt();
        assert!(right as f64 / runs as f64 >= power - margin, "{name}: {right} of {runs}, {found} found");
        // One in twenty would be too many.
        assert!(extra <= 2, "{name}: {extra} of {runs} with another period");
    }
}

/// Prints the tables of the README: `scripts/calibrate`.
#[test]
#[ignore = "minutes: scripts/calibrate"]
fn calibration() {
    let runs = runs();
    println!("\n| losses without a period | runs | false alarms |\n| --- | --- | --- |");
    let row = |(name, make): &(&str, Make)| {
        let found = outcome(*make, &[], runs).found;
        println!("| {name} | {runs} | {found} |");
        found
    };
    let alarms: usize = NULLS.iter().map(row).sum();
    let total = runs * NULLS.len() as u64;
    println!("| all of these | {total} | {alarms} |");
    row(&FEW_CLUSTERS);
    println!();
    println!("| planted | runs | found | all planted named | strongest is planted | another n named too |");
    println!("| --- | --- | --- | --- | --- | --- |");
    let percent = |n: usize| format!("{:.1} %", 100.0 * n as f64 / runs as f64);
    let mut weak: Vec<&str> = Vec::new();
    for Scenario { name, planted, power, make } in PLANTED {
        let Outcome { found, right, first, extra } = outcome(*make, planted, runs);
        let cells = [found, right, first, extra].map(percent).join(" | ");
        println!("| {name} | {runs} | {cells} |");
        weak.extend(((right as f64) < power * runs as f64).then_some(*name));
    }
    assert!(weak.is_empty(), "below the power promised: {weak:?}");
    assert!(alarms as f64 <= 1e-3 * total as f64, "{alarms} false alarms in {total}");
}
