//! The truth against a naive checker that knows nothing of the plan: it keeps every record of the written lines in
//! memory and derives each set by brute force.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::Value;

use super::fault::Expect;
use super::truth::{Item, Position, Scope};
use super::{Fault, GenerateError, Options, OptionsError, Plan, Truth, lines};

const NOW_MS: i64 = 1_790_000_000_000;

type Number = (String, u64);

#[derive(Debug, Default, PartialEq, Eq)]
struct Sets {
    lost: BTreeSet<Number>,
    late: BTreeSet<Number>,
    reorder: BTreeSet<Number>,
    duplicate: BTreeSet<(String, Vec<Position>)>,
    conflict: BTreeSet<(String, Vec<Position>)>,
    resets: u64,
}

struct Read {
    at: Position,
    ts: i64,
    id: String,
    /// The session as the id names it, incarnation included.
    session: String,
    number: Option<u64>,
    end: Option<u64>,
    content: (String, Option<String>),
}

fn options(records: u64, faults: &[&str]) -> Options {
    let faults = faults.iter().map(|spec| spec.parse::<Fault>().unwrap()).collect();
    Options { faults, ..Options::new("orders", records) }
}

fn write(options: &Options) -> (Truth, Vec<u8>) {
    let mut out = Vec::new();
    let truth = lines::write(Plan::new(options, NOW_MS).unwrap(), &mut out).unwrap();
    (truth, out)
}

fn read(bytes: &[u8]) -> Vec<Read> {
    let parse = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let headers: Vec<&str> =
            line["headers"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
        let header = |name: &str| headers.chunks(2).find(|pair| pair[0] == name).map(|pair| pair[1]);
        let id = header("event-id").unwrap().to_owned();
        let session = id.rsplit_once('-').unwrap().0.to_owned();
        assert_eq!(session.split('~').next(), header("producer"));
        assert_eq!((line["topic"].as_str(), line["tstype"].as_str()), (Some("orders"), Some("create")));
        Read {
            at: Position {
                partition: line["partition"].as_i64().unwrap() as i32,
                offset: line["offset"].as_i64().unwrap(),
            },
            ts: line["ts"].as_i64().unwrap(),
            number: header("seq").map(|number| number.parse().unwrap()),
            end: header("seq-end").map(|number| number.parse().unwrap()),
            content: (line["key"].as_str().unwrap().to_owned(), line["payload"].as_str().map(str::to_owned)),
            id,
            session,
        }
    };
    std::str::from_utf8(bytes).unwrap().lines().map(parse).collect()
}

fn brute_force(records: &[Read], wait_ms: i64) -> Sets {
    let mut sets = Sets {
        resets: records.iter().filter(|r| r.id.contains('~') && r.number == Some(0)).count() as u64,
        ..Sets::default()
    };
    let mut ids: HashMap<&str, Vec<&Read>> = HashMap::new();
    let mut seen: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    for record in records {
        ids.entry(&record.id).or_default().push(record);
        seen.entry(&record.session).or_default().extend(record.number);
    }
    for (id, copies) in ids.iter().filter(|(_, copies)| copies.len() > 1) {
        let mut positions: Vec<Position> = copies.iter().map(|copy| copy.at).collect();
        positions.sort();
        let same = copies.iter().all(|copy| copy.content == copies[0].content && copy.number == copies[0].number);
        if same { &mut sets.duplicate } else { &mut sets.conflict }.insert((id.to_string(), positions));
    }
    for (session, numbers) in &seen {
        let declared = records.iter().find(|record| record.session == *session && record.end.is_some());
        let last = declared.and_then(|record| record.end).or(numbers.last().copied()).unwrap();
        sets.lost
            .extend((0..=last).filter(|number| !numbers.contains(number)).map(|number| (session.to_string(), number)));
    }
    order(records, wait_ms, &mut sets);
    sets
}

/// RFC 4737: below the largest number so far of its session and partition, and not a copy. Late instead, when it comes
/// more than the waiting time after the session's first larger number.
fn order(records: &[Read], wait_ms: i64, sets: &mut Sets) {
    let mut largest: HashMap<(&str, i32), u64> = HashMap::new();
    let mut arrived: HashSet<(&str, u64)> = HashSet::new();
    let mut by_session: HashMap<&str, Vec<(u64, i64)>> = HashMap::new();
    for record in records {
        let Some(number) = record.number else { continue };
        let before = by_session.entry(&record.session).or_default();
        let largest = largest.entry((&record.session, record.at.partition)).or_default();
        if arrived.insert((&record.session, number)) && number < *largest {
            let noticed = before.iter().find(|(other, _)| *other > number).unwrap().1;
            let waited = record.ts - noticed;
            assert!(
                waited <= wait_ms / 2 || waited > 2 * wait_ms,
                "{} arrives where no verdict is safe: {waited}",
                record.id
            );
            let set = if waited > wait_ms { &mut sets.late } else { &mut sets.reorder };
            set.insert((record.session.clone(), number));
        }
        *largest = (*largest).max(number);
        before.push((number, record.ts));
    }
}

fn told(truth: &Truth) -> Sets {
    let mut sets = Sets { resets: truth.resets(), ..Sets::default() };
    for fault in &truth.faults {
        for item in &fault.items {
            let numbers = match item.clone() {
                Item::Number { session, number } => (session, number..number + 1),
                Item::Numbers { session, from, until } => (session, from..until),
                Item::Transaction { .. } => panic!("a transaction outside of a flow"),
                Item::Copies { event_id, positions } => {
                    let set = match fault.expect {
                        Expect::Duplicate => &mut sets.duplicate,
                        Expect::Conflict => &mut sets.conflict,
                        other => panic!("copies of a fault that is {other}"),
                    };
                    set.insert((event_id, positions));
                    continue;
                }
            };
            let set = match fault.expect {
                Expect::Lost => &mut sets.lost,
                Expect::Late => &mut sets.late,
                Expect::Reorder => &mut sets.reorder,
                _ => continue,
            };
            set.extend(numbers.1.map(|number| (numbers.0.clone(), number)));
        }
    }
    sets
}

/// Writes, checks the lines' own consistency and the truth against the naive checker.
fn check(options: &Options) -> Truth {
    let (truth, bytes) = write(options);
    let records = read(&bytes);
    let context = format!("seed {} of {options:?}", options.seed);
    let mut last: HashMap<i32, (i64, i64)> = HashMap::new();
    for record in &records {
        let (offset, ts) = last.insert(record.at.partition, (record.at.offset, record.ts)).unwrap_or((-1, 0));
        assert_eq!(record.at.offset, offset + 1, "{context}");
        assert!(record.ts >= ts, "time falls in partition {}: {context}", record.at.partition);
    }
    assert!(records.iter().all(|record| (0..options.partitions).contains(&record.at.partition)));
    assert_eq!(truth.sent, records.len() as u64, "{context}");
    assert_eq!(told(&truth), brute_force(&records, options.wait_ms as i64), "{context}");
    for (fault, asked) in truth.faults.iter().zip(&options.faults) {
        assert_eq!(fault.spec, asked.spec);
        if matches!(fault.expect, Expect::Duplicate | Expect::Conflict) {
            assert_eq!(fault.items.len() as u64, fault.count, "{context}");
        }
    }
    truth
}

const MIX: [&str; 13] = [
    "lose=0.5%",
    "lose-burst=0.05%x7",
    "duplicate=0.5%",
    "duplicate-far=0.5%",
    "conflict=0.5%",
    "swap=0.5%",
    "late=0.5%",
    "late-beyond=0.5%",
    "head-loss=5",
    "tail-loss=4",
    "lose-every=97",
    "tombstones=2%",
    "misnumber-reset",
];

#[test]
fn the_truth_is_what_a_naive_checker_finds_in_the_lines() {
    for seed in 0..12 {
        let truth = check(&Options { seed, ..options(8_000, &MIX) });
        for fault in &truth.faults {
            assert!(fault.count > 0, "seed {seed}: {} found no place", fault.spec);
        }
    }
}

#[test]
fn the_truth_holds_for_sessions_spread_over_all_partitions() {
    for seed in 0..12 {
        let truth = check(&Options { seed, spread: true, producers: 3, partitions: 5, ..options(8_000, &MIX[..12]) });
        assert_eq!(truth.options.scope, Scope::Topic);
        for fault in &truth.faults {
            assert!(fault.count > 0, "seed {seed}: {} found no place", fault.spec);
        }
    }
}

#[test]
fn the_truth_holds_when_sessions_share_partitions() {
    for seed in 0..6 {
        check(&Options { seed, producers: 7, partitions: 2, ..options(8_000, &MIX) });
    }
}

#[test]
fn the_truth_holds_for_short_plans_and_for_rates_that_find_no_room() {
    let dense = [
        "lose=100%",
        "duplicate=100%",
        "swap=30%",
        "late=50%",
        "late-beyond=20%",
        "conflict=20%",
        "lose-every=2",
        "lose-burst=5%x3",
    ];
    for seed in 0..20 {
        for records in [1, 2, 5, 16, 33, 100, 700] {
            for producers in [1u32, 2, 5].into_iter().filter(|&producers| u64::from(producers) <= records) {
                check(&Options { seed, producers, ..options(records, &MIX) });
                let some: Vec<&str> =
                    (0..dense.len()).filter(|bit| seed >> bit & 1 == 1).map(|bit| dense[bit]).collect();
                check(&Options { seed, producers, ..options(records, &some) });
                check(&Options { seed, producers, spread: true, ..options(records, &dense[1..7]) });
            }
        }
    }
}

#[test]
fn a_rate_injects_its_share_of_the_records() {
    let truth = check(&options(20_000, &["lose=1%", "duplicate=0.5%"]));
    // Places near the ends of a session are left free, so a few may find no room.
    assert!((190..=200).contains(&truth.faults[0].count), "{}", truth.faults[0].count);
    assert!((95..=100).contains(&truth.faults[1].count), "{}", truth.faults[1].count);
    assert_eq!(truth.sent, 20_000 + 4 - truth.faults[0].count + truth.faults[1].count);
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    let (truth, bytes) = write(&options(3_000, &MIX));
    assert_eq!(write(&options(3_000, &MIX)), (truth, bytes.clone()));
    assert_ne!(write(&Options { seed: 2, ..options(3_000, &MIX) }).1, bytes);
}

#[test]
fn a_clean_plan_is_healthy_and_has_values_of_the_size_asked_for() {
    let options = Options { size: 300, ..options(1_000, &[]) };
    let truth = check(&options);
    assert_eq!((truth.sent, truth.sessions.len()), (1_004, 4));
    assert_eq!((truth.sessions[3].session.as_str(), truth.sessions[3].last), ("p3", 249));
    let records = read(&write(&options).1);
    for record in records.iter().filter(|record| record.number.is_some()) {
        let value = record.content.1.as_deref().unwrap();
        assert_eq!(value.len(), 300);
        let value: Value = serde_json::from_str(value).unwrap();
        assert_eq!(value["order"]["id"].as_str(), Some(record.id.as_str()));
    }
    let last = records.iter().map(|record| record.ts).max().unwrap();
    assert!(last <= NOW_MS - 600_000, "every waiting time has passed");
}

#[test]
fn the_truth_survives_its_json_form() {
    let (truth, _) = write(&options(3_000, &MIX));
    let json = serde_json::to_vec(&truth).unwrap();
    assert_eq!(Truth::read(json.as_slice()).unwrap(), truth);
    let newer = String::from_utf8(json).unwrap().replacen("\"version\":1", "\"version\":2", 1);
    assert!(Truth::read(newer.as_bytes()).unwrap_err().to_string().contains("version 2"));
}

#[test]
fn a_key_stays_in_one_partition() {
    for spread in [false, true] {
        let mut home = HashMap::new();
        for record in read(&write(&Options { spread, partitions: 3, ..options(2_000, &[]) }).1) {
            let partition = record.at.partition;
            assert_eq!(*home.entry(record.content.0.clone()).or_insert(partition), partition);
        }
    }
}

#[test]
fn what_cannot_be_generated_is_refused_with_the_way_out() {
    let refused = |options: &Options| Plan::new(options, NOW_MS).map(|_| ()).unwrap_err();
    assert!(matches!(refused(&options(0, &[])), OptionsError::Range { .. }));
    assert!(matches!(refused(&Options { partitions: 0, ..options(9, &[]) }), OptionsError::Range { .. }));
    assert!(matches!(refused(&Options { partitions: -1, ..options(9, &[]) }), OptionsError::Range { .. }));
    assert!(matches!(refused(&options(3, &[])), OptionsError::FewerRecordsThanProducers { .. }));
    assert!(matches!(refused(&Options { interval_us: Some(u64::MAX), ..options(9, &[]) }), OptionsError::Times));
    assert!(matches!(refused(&Options { start_ms: Some(i64::MAX), ..options(9, &[]) }), OptionsError::Times));
    assert!(matches!(refused(&Options { interval_us: Some(0), ..options(9, &[]) }), OptionsError::Range { .. }));
    assert_eq!(refused(&Options { spread: true, ..options(99, &["misnumber-reset"]) }), OptionsError::ResetWhileSpread);
    let aborting = Plan::new(&options(99, &["abort-transaction=1%"]), NOW_MS).unwrap();
    assert!(matches!(lines::write(aborting, &mut Vec::new()), Err(GenerateError::Mode(_))));
}

mod flow;
mod pattern;
