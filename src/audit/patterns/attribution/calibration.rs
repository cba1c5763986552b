//! How often a cause is named where there is none, and how often the planted one is, and only it.
//!
//! The table of docs comes from `cargo test --release --lib patterns::attribution::calibration -- --ignored --nocapture`.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::sample::mix;
use super::{Dimension, Report, Tally, Unit, attribute};

const KIB: i64 = 1024;
const HOUR_MS: i64 = 3_600_000;

/// Traffic of one topic, made up.
#[derive(Clone, Copy)]
struct World {
    units: u64,
    /// Time that the units take.
    hours: i64,
    /// Producers write to a partition each, but for this part of their records.
    stray: f64,
    /// Records that a producer writes in a row.
    batch: u64,
    tenants: u64,
    /// Producers come and go, three at a time.
    rolling: bool,
}

impl Default for World {
    fn default() -> Self {
        World { units: 100_000, hours: 6, stray: 1.0, batch: 1, tenants: 20, rolling: false }
    }
}

#[derive(Clone, Copy, Default)]
struct Record {
    number: u64,
    hours: f64,
    producer: u64,
    partition: u64,
    key: u64,
    size: i64,
}

/// Decides record after record what is lost.
type Fate = Box<dyn FnMut(&Record, &mut StdRng) -> bool>;

impl World {
    fn report(&self, seed: u64, mut fate: Fate) -> Report {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut tally = Tally::new(vec![
            Dimension::names("partition"),
            Dimension::names("leader"),
            Dimension::names("leader-epoch"),
            Dimension::names("producer"),
            Dimension::names("codec"),
            Dimension::names("tenant"),
            Dimension::names("hour"),
            Dimension::ranges(
                "size",
                &[
                    (KIB, "1 KiB"),
                    (4 * KIB, "4 KiB"),
                    (16 * KIB, "16 KiB"),
                    (64 * KIB, "64 KiB"),
                    (256 * KIB, "256 KiB"),
                ],
            ),
        ]);
        let (mut producer, mut arrived) = (0, 0);
        for number in 0..self.units {
            if number % self.batch == 0 {
                producer = match self.rolling {
                    true => (number * 6 / self.units + rng.random_range(0..3)) % 8,
                    false => rng.random_range(0..8),
                };
            }
            let partition = if rng.random_bool(self.stray) { rng.random_range(0..8) } else { producer };
            let record = Record {
                number,
                hours: number as f64 / self.units as f64 * self.hours as f64,
                producer,
                partition,
                // Few of 20,000 keys have most of the records.
                key: mix((20_000.0 * rng.random::<f64>().powi(3)) as u64),
                // Log-uniform from 100 B to 1 MB.
                size: (100.0 * 10_000f64.powf(rng.random::<f64>())) as i64,
            };
            let tenant = (self.tenants as f64 * rng.random::<f64>().powi(2)) as u64;
            let codes = [
                tally.code(0, &partition.to_string()),
                tally.code(1, &(partition % 3).to_string()),
                tally.code(2, &(record.hours * 0.7).floor().to_string()),
                tally.code(3, &producer.to_string()),
                tally.code(4, if producer < 3 { "zstd" } else { "lz4" }),
                tally.code(5, &tenant.to_string()),
                tally.code(6, &(record.hours as u64 % 24).to_string()),
                tally.bin(7, record.size),
            ];
            let time_ms = 1_700_000_000_000 + (record.hours * HOUR_MS as f64) as i64;
            let unit = Unit { number: arrived, time_ms, key_hash: Some(record.key), codes: &codes };
            if fate(&record, &mut rng) {
                tally.lost(&unit);
            } else {
                tally.arrived(&unit);
                arrived += 1;
            }
        }
        attribute(&tally)
    }
}

fn independent(rate: f64) -> Fate {
    Box::new(move |_, rng| rng.random_bool(rate))
}

/// Loss periods of about `length` records, of one producer's or of everybody's, in which most are lost; `rate` of all.
fn bursty(length: f64, of_producer: bool, rate: f64) -> Fate {
    let mut left = [0u64; 8];
    Box::new(move |record, rng| {
        let stream = if of_producer { record.producer as usize } else { 0 };
        if left[stream] > 0 {
            left[stream] -= 1;
            return rng.random_bool(0.8);
        }
        if rng.random_bool(rate / 0.8 / length) {
            left[stream] = (-rng.random::<f64>().ln() * length) as u64;
        }
        false
    })
}

/// Loss that follows a curve over the time from 0 to 1.
fn drifting(units: u64, curve: fn(f64) -> f64) -> Fate {
    Box::new(move |record, rng| rng.random_bool(curve(record.number as f64 / units as f64)))
}

/// Loses `rate` of what `bad` picks and one in a thousand of the rest.
fn planted(rate: f64, bad: fn(&Record) -> bool) -> Fate {
    Box::new(move |record, rng| rng.random_bool(if bad(record) { rate } else { 0.001 }))
}

type Null = (&'static str, World, fn(World) -> Fate);
type Planted = (&'static str, World, fn(World) -> Fate, fn(&Report) -> bool);

fn nulls() -> Vec<Null> {
    let plain = World::default();
    vec![
        ("independent, 1 %", plain, |_| independent(0.01)),
        ("independent, 0.05 %", plain, |_| independent(0.0005)),
        ("bursts of 50 of all records, 1 %", plain, |_| bursty(50.0, false, 0.01)),
        ("bursts of 1,000 of all records, 1 %", plain, |_| bursty(1000.0, false, 0.01)),
        ("bursts of 50 of one producer, 1 %", plain, |_| bursty(50.0, true, 0.01)),
        ("bursts of 200 of one producer, written in batches of 100", World { batch: 100, ..plain }, |_| {
            bursty(200.0, true, 0.01)
        }),
        ("rate drifts from 0.1 to 3 %", plain, |w| drifting(w.units, |t| 0.001 * 30f64.powf(t))),
        ("rate swings from 0.2 to 2 %", plain, |w| drifting(w.units, |t| 0.0063 * 10f64.powf(0.5 * (7.0 * t).sin()))),
        ("producers pinned to partitions", World { stray: 0.0, ..plain }, |_| independent(0.01)),
        ("pinned, bursts of 50 of one producer", World { stray: 0.05, ..plain }, |_| bursty(50.0, true, 0.01)),
        ("producers come and go while the rate drifts from 0.1 to 3 %", World { rolling: true, ..plain }, |w| {
            drifting(w.units, |t| 0.001 * 30f64.powf(t))
        }),
        ("producers come and go, bursts of 1,000", World { rolling: true, ..plain }, |_| bursty(1000.0, false, 0.01)),
        ("3,000 tenants", World { tenants: 3000, ..plain }, |_| independent(0.01)),
        ("five days, bursts of 1,000", World { hours: 120, ..plain }, |_| bursty(1000.0, false, 0.01)),
    ]
}

/// Exactly one cause, with this name.
fn only(report: &Report, dimension: &str, value: &str) -> bool {
    matches!(&report.causes[..], [cause] if cause.dimension == dimension && cause.value == value && cause.ties.is_empty())
}

fn powers() -> Vec<Planted> {
    let plain = World::default();
    vec![
        (
            "one of 8 producers loses 5 %",
            plain,
            |_| planted(0.05, |r| r.producer == 3),
            |r| only(r, "producer", "3") && r.causes[0].pair.is_none(),
        ),
        (
            "one key class of 7 loses 5 %",
            plain,
            |_| planted(0.05, |r| r.key % 7 == 2),
            |r| only(r, "key-hash-mod-7", "2"),
        ),
        (
            "records of 64 KiB and more lose 5 %",
            plain,
            |_| planted(0.05, |r| r.size >= 64 * KIB),
            |r| only(r, "size", "≥ 64 KiB"),
        ),
        (
            "5 % lost after two thirds of the time",
            plain,
            |_| planted(0.05, |r| r.hours >= 4.0),
            |r| {
                matches!(&r.causes[..], [cause] if cause.dimension == "time" && cause.since.is_some_and(|since| {
                    (since.time_ms - 1_700_000_000_000 - 4 * HOUR_MS).abs() < HOUR_MS / 10
                }))
            },
        ),
        (
            "one (partition, producer) of 64 loses 5 %",
            plain,
            |_| planted(0.05, |r| r.partition == 5 && r.producer == 3),
            |r| {
                only(r, "partition", "5")
                    && r.causes[0].pair.as_ref().is_some_and(|p| p.dimension == "producer" && p.value == "3")
            },
        ),
        (
            "a producer loses 5 % since half of the time",
            plain,
            |_| planted(0.05, |r| r.producer == 3 && r.hours >= 3.0),
            |r| {
                only(r, "producer", "3")
                    && r.causes[0]
                        .since
                        .is_some_and(|since| (since.time_ms - 1_700_000_000_000 - 3 * HOUR_MS).abs() < HOUR_MS / 4)
            },
        ),
        (
            "a producer mostly on one partition loses 5 %",
            World { stray: 0.3, ..plain },
            |_| planted(0.05, |r| r.producer == 3),
            |r| only(r, "producer", "3"),
        ),
        (
            "a producer always on one partition: named as ties",
            World { stray: 0.0, ..plain },
            |_| planted(0.05, |r| r.producer == 3),
            |r| {
                matches!(&r.causes[..], [cause] if cause.ties.len() == 1
                && ["partition", "producer"].contains(&cause.dimension.as_str()) && cause.value == "3")
            },
        ),
        (
            "one hour of the day loses 5 % on five days",
            World { hours: 120, ..plain },
            |_| planted(0.05, |r| r.hours as u64 % 24 == 2),
            |r| only(r, "hour", "2"),
        ),
        (
            "a producer loses 6 % in about thirty bursts",
            plain,
            |_| {
                let mut bursts = bursty(30.0, true, 0.06);
                Box::new(move |record, rng| rng.random_bool(0.001) || (record.producer == 3 && bursts(record, rng)))
            },
            |r| only(r, "producer", "3"),
        ),
        (
            "two causes: a producer and large records",
            plain,
            |_| planted(0.05, |r| r.producer == 3 || r.size >= 256 * KIB),
            |r| {
                r.causes.len() == 2
                    && ["producer", "size"]
                        .iter()
                        .all(|d| r.causes.iter().any(|c| c.dimension == *d && c.pair.is_none()))
            },
        ),
    ]
}

fn false_alarms(null: &Null, runs: u64, world: World) -> u64 {
    // Worlds that are fed alike must not meet the same luck.
    let salt = null.0.bytes().fold(0, |salt, byte| mix(salt ^ u64::from(byte)));
    let alarms = |run: u64| {
        let seed = salt ^ run;
        let report = world.report(seed, null.2(world));
        if !report.causes.is_empty() {
            eprintln!("{} {seed}: {:?}", null.0, report.causes);
        }
        u64::from(!report.causes.is_empty())
    };
    (0..runs).map(alarms).sum()
}

#[test]
fn nothing_is_named_where_nothing_has_an_effect() {
    for null in nulls() {
        let world = World { units: 15_000, ..null.1 };
        assert_eq!(false_alarms(&null, 2, world), 0, "{}", null.0);
    }
}

#[test]
fn the_planted_cause_is_named_and_only_it() {
    for (name, world, fate, is_right) in powers() {
        let report = world.report(1, fate(world));
        assert!(is_right(&report), "{name}: {:?}", report.causes);
    }
}

#[test]
#[ignore = "minutes, in release: prints the tables of docs"]
fn calibration() {
    let runs = std::env::var("RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(500);
    println!("| without an effect | runs | causes named |\n| --- | --- | --- |");
    let mut total = 0;
    for null in nulls() {
        let alarms = false_alarms(&null, runs, null.1);
        total += alarms;
        println!("| {} | {runs} | {alarms} |", null.0);
    }
    println!("| all | {} | {total} |", runs * nulls().len() as u64);
    assert!(total * 1000 <= runs * nulls().len() as u64, "more than one false alarm in a thousand");
    println!("\n| planted, over 0.1 % elsewhere | runs | named, and only it |\n| --- | --- | --- |");
    let runs = runs.div_ceil(5);
    for (name, world, fate, is_right) in powers() {
        let right = |seed: &u64| {
            let report = world.report(*seed, fate(world));
            let right = is_right(&report);
            if !right {
                eprintln!("{name} {seed}: {:?}", report.causes);
            }
            right
        };
        let right = (0..runs).filter(right).count() as f64 / runs as f64;
        println!("| {name} | {runs} | {:.0} % |", 100.0 * right);
        // Thirty bursts are no more than thirty witnesses.
        assert!(right >= if name.contains("bursts") { 0.8 } else { 0.95 }, "less power than promised: {name}");
    }
}
