//! Counters of a hop against what was planted, and against nothing.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::origins::NO_AGE;
use super::*;
use crate::audit::finding::{Finding, Kind};

const PARTITIONS: u32 = 4;

/// One order, with what nobody but the test knows of it.
#[derive(Clone, Copy)]
struct Order {
    /// In the order of time, over all partitions.
    nth: u64,
    customer: u32,
    /// The customer's orders before it.
    of_customer: u32,
    partition: u32,
}

/// Orders of customers of whom few have most.
fn orders(count: u64, customers: u32, rng: &mut StdRng) -> Vec<Order> {
    let mut seen = vec![0; customers as usize];
    let order = |nth| {
        let customer = (f64::from(customers) * rng.random::<f64>().powi(2)) as u32;
        let of_customer = seen[customer as usize];
        seen[customer as usize] += 1;
        // Customers keep to a partition.
        Order { nth, customer, of_customer, partition: mix(u64::from(customer)) as u32 % PARTITIONS }
    };
    (0..count).map(order).collect()
}

/// What is said of a hop that loses what `is_lost` picks. Partitions are read one after the other.
fn said(orders: &[Order], mut is_lost: impl FnMut(&Order) -> bool) -> Found {
    let (mut patterns, mut keys, mut times) = (HopPatterns::default(), Keys::default(), Times::default());
    let lost: Vec<bool> = orders.iter().map(&mut is_lost).collect();
    for partition in 0..PARTITIONS {
        let partition_code = patterns.partition(partition as i32);
        for (order, rank) in orders.iter().filter(|order| order.partition == partition).zip(0..) {
            // Now and then two at one time.
            let at_ms = 1_700_000_000_000 + (order.nth * 10 / 9) as i64;
            times.saw(at_ms);
            let key = mix(u64::from(order.customer)) as u32 | 1;
            let sent = Sent {
                partition: partition as i32,
                partition_code,
                traits: NO_TRAITS,
                producer_age: NO_AGE,
                deploy_age: NO_AGE,
                rank,
                number: None,
                key_rank: keys.count(key),
                at_ms,
                key,
                size: 7,
            };
            if lost[order.nth as usize] { patterns.lost(&sent) } else { patterns.matched(&sent) }
        }
    }
    let subject = Subject {
        topic: "payments".to_owned(),
        stage: Some(("f".to_owned(), "payments".to_owned())),
        counter: "",
        place: String::new(),
        what: "lost",
    };
    let mut found = Found::default();
    patterns.search(&subject, true, &Upstream { keys: &keys, times: &times }, &mut found);
    found
}

fn periods(found: &Found) -> Vec<(String, u64, u64)> {
    let of = |finding: &Finding| {
        let number = |name: &str| finding.evidence[name].as_u64().unwrap();
        (finding.evidence["counter"].as_str().unwrap().to_owned(), number("n"), number("residue"))
    };
    found.findings.iter().filter(|finding| finding.kind == Kind::PeriodicLoss).map(of).collect()
}

#[test]
fn every_nth_order_of_each_customer_is_named_as_that() {
    for (seed, n, rate, noise) in [(1, 50, 1.0, 0.0), (2, 50, 1.0, 0.002), (3, 20, 0.5, 0.01), (4, 7, 0.3, 0.01)] {
        let mut rng = StdRng::seed_from_u64(seed);
        let orders = orders(60_000, 500, &mut rng);
        let mut luck = StdRng::seed_from_u64(seed + 100);
        let found = said(&orders, |order| {
            (order.of_customer % n == n - 1 && luck.random_bool(rate)) || luck.random_bool(noise)
        });
        assert_eq!(periods(&found), [("key-count".to_owned(), u64::from(n), u64::from(n) - 1)], "{n} {rate} {noise}");
        // Nobody has an nth order at first, so that there may be a moment since which more is lost.
        let is_cause = |f: &&Finding| f.kind == Kind::DimensionalLoss && f.evidence["dimension"] != "time";
        let causes: Vec<&Finding> = found.findings.iter().filter(is_cause).collect();
        assert!(causes.is_empty(), "{causes:?}");
    }
}

#[test]
fn every_nth_over_all_partitions_is_named_by_its_rank_in_time() {
    for (seed, n, rate, noise) in [(1, 100, 1.0, 0.0), (2, 100, 0.5, 0.005), (3, 37, 0.3, 0.01)] {
        let mut rng = StdRng::seed_from_u64(seed);
        let orders = orders(60_000, 5_000, &mut rng);
        let mut luck = StdRng::seed_from_u64(seed + 100);
        let found = said(&orders, |order| (order.nth % n == 3 && luck.random_bool(rate)) || luck.random_bool(noise));
        let periods = periods(&found);
        assert_eq!(periods.len(), 1, "{periods:?}");
        let (counter, named, residue) = &periods[0];
        // Two at one time may have come the other way round.
        assert!(counter == "time-rank" && *named == n && (2..=4).contains(residue), "{periods:?}");
    }
}

/// Whether an order is lost; `luck` is uniform in [0, 1).
type Law = (&'static str, fn(&Order, f64) -> bool);

/// Loss that has to do with the customer, or with how long somebody is one, but with no every nth.
const NULLS: [Law; 9] = [
    ("independent, 1 %", |_, luck| luck < 0.01),
    ("independent, 0.05 %", |_, luck| luck < 0.0005),
    ("first orders fail", |order, luck| luck < if order.of_customer == 0 { 0.5 } else { 0.005 }),
    ("first orders fail more", |order, luck| luck < 0.3 * 0.5f64.powi(order.of_customer as i32) + 0.005),
    ("ever less along the count", |order, luck| luck < 0.1 * 0.98f64.powi(order.of_customer as i32)),
    ("ever more along the count", |order, luck| luck < 0.0005 * f64::from(order.of_customer)),
    ("one customer of nine", |order, luck| luck < if is_one_of(order.customer, 9) { 0.3 } else { 0.002 }),
    ("one partition", |order, luck| luck < if order.partition == 1 { 0.1 } else { 0.002 }),
    ("bursts in time", |order, luck| luck < if mix(order.nth / 300) % 31 == 3 { 0.3 } else { 0.002 }),
];

fn is_one_of(customer: u32, parts: u64) -> bool {
    mix(u64::from(customer)).is_multiple_of(parts)
}

fn periods_of_null(law: fn(&Order, f64) -> bool, customers: u32, seed: u64) -> Vec<(String, u64, u64)> {
    let orders = orders(40_000, customers, &mut StdRng::seed_from_u64(seed));
    let mut luck = StdRng::seed_from_u64(seed + 1_000_000);
    periods(&said(&orders, |order| law(order, luck.random::<f64>())))
}

#[test]
fn no_period_is_named_where_there_is_none() {
    for (name, law) in NULLS {
        for (seed, customers) in [(1, 300), (2, 5_000), (3, 40_000)] {
            assert_eq!(periods_of_null(law, customers, seed), [], "{name}, {customers} customers");
        }
    }
}

#[test]
#[ignore = "minutes: scripts/calibrate"]
fn calibration() {
    let runs = crate::audit::patterns::simulate::runs();
    println!("| counters of a hop, without a period | runs | periods named |\n| --- | --- | --- |");
    let (mut total, mut all) = (0, 0);
    for (name, law) in NULLS {
        for customers in [300, 5_000] {
            let named = |seed: &u64| {
                let found = periods_of_null(law, customers, *seed);
                found.iter().for_each(|period| eprintln!("{name} {customers} {seed}: {period:?}"));
                !found.is_empty()
            };
            let alarms = (0..runs).filter(named).count() as u64;
            (total, all) = (total + alarms, all + runs);
            println!("| {name}, {customers} customers | {runs} | {alarms} |");
        }
    }
    println!("| all | {all} | {total} |\n");
    println!("| every nth order of each of 500 customers | runs | named, and only it |\n| --- | --- | --- |");
    for (n, rate, noise) in [(50, 1.0, 0.01), (50, 0.3, 0.01), (100, 0.5, 0.005), (7, 0.1, 0.01)] {
        let is_right = |seed: &u64| {
            let orders = orders(60_000, 500, &mut StdRng::seed_from_u64(*seed));
            let mut luck = StdRng::seed_from_u64(seed + 1_000_000);
            let hits = |o: &Order| (o.of_customer % n == n - 1 && luck.random_bool(rate)) || luck.random_bool(noise);
            periods(&said(&orders, hits)) == [("key-count".to_owned(), u64::from(n), u64::from(n) - 1)]
        };
        let right = (0..runs.div_ceil(5)).filter(is_right).count();
        println!("| n = {n}, {} % hit, {} % noise | {} | {right} |", 100.0 * rate, 100.0 * noise, runs.div_ceil(5));
    }
    assert!(total * 1000 <= all.max(1000), "more than one false alarm in a thousand");
}

#[test]
fn what_came_after_all_is_lost_on_no_counter() {
    let orders = orders(5_000, 100, &mut StdRng::seed_from_u64(5));
    let (mut patterns, mut keys, mut times) = (HopPatterns::default(), Keys::default(), Times::default());
    let mut late = Vec::new();
    for order in &orders {
        let at_ms = order.nth as i64;
        times.saw(at_ms);
        let key = order.customer + 1;
        let sent = Sent {
            partition: order.partition as i32,
            partition_code: attribution::UNKNOWN,
            traits: NO_TRAITS,
            producer_age: NO_AGE,
            deploy_age: NO_AGE,
            rank: order.nth,
            number: Some(order.nth as i64),
            key_rank: keys.count(key),
            at_ms,
            key,
            size: 7,
        };
        if order.nth % 10 == 4 {
            patterns.lost(&sent);
            late.push(sent);
        } else {
            patterns.matched(&sent);
        }
    }
    late.iter().for_each(|sent| patterns.found(sent));
    let subject = Subject { topic: "t".to_owned(), stage: None, counter: "", place: String::new(), what: "lost" };
    let counters = patterns.counters(&subject, &Upstream { keys: &keys, times: &times });
    assert_eq!(counters.len(), PARTITIONS as usize + 3);
    for counter in counters {
        assert!(counter.segments.iter().all(|segment| segment.losses.is_empty()), "{}", counter.subject.counter);
    }
}
