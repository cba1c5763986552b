//! Sessions against a naive model that holds every arrival and applies the definitions word by word.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::density::{Density, Recent};
use super::*;
use crate::audit::finding::{Kind, State};
use crate::identify::observations::Says;

const WAIT: i64 = 50;

#[derive(Clone, Debug)]
struct Read {
    partition: i32,
    number: i64,
    time: i64,
    offset: i64,
}

fn lane(partition: i32, slowest: i64) -> Lane<'static> {
    Lane { topic: 0, topic_name: "t", partition, slowest, from_beginning: true }
}

fn arrival(read: &Read) -> Arrival {
    Arrival {
        session: 7,
        says: Says::Number(read.number),
        offset: read.offset,
        timestamp: read.time,
        stream_time: read.time,
        checksum: read.number as u64,
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Verdicts {
    lost: BTreeSet<i64>,
    late: BTreeSet<i64>,
    reordered: BTreeSet<i64>,
}

/// The definitions, word by word.
fn model(reads: &[Read], start: i64) -> Verdicts {
    let mut verdicts = Verdicts::default();
    let Some(max) = reads.iter().map(|r| r.number).max() else { return verdicts };
    for n in start..max {
        let first = reads.iter().filter(|r| r.number == n).map(|r| r.time).min();
        let revealed = reads.iter().filter(|r| r.number > n).map(|r| r.time).min().unwrap();
        match first {
            None => {
                verdicts.lost.insert(n);
            }
            Some(time) if time > revealed + WAIT => {
                verdicts.late.insert(n);
            }
            Some(_) => {
                // Smaller than one that the same partition brought before.
                let at = reads.iter().position(|r| r.number == n).unwrap();
                if reads[..at].iter().any(|r| r.partition == reads[at].partition && r.number > n) {
                    verdicts.reordered.insert(n);
                }
            }
        }
    }
    verdicts
}

/// Feeds the reads in the given order; judges where `judge_at` says so. The last finding of each id counts.
fn audit(
    reads: &[Read],
    partitions: i32,
    rules: &SessionRules,
    judge_at: &dyn Fn(usize) -> bool,
) -> BTreeMap<String, Finding> {
    let mut sessions = Sessions::default();
    sessions.label(7, "s".to_owned());
    let mut clocks: Vec<i64> = (0..partitions).map(|_| i64::MIN).collect();
    let mut out = Vec::new();
    for (i, read) in reads.iter().enumerate() {
        clocks[read.partition as usize] = read.time;
        let slowest = if rules.topic_scope { *clocks.iter().min().unwrap() } else { read.time };
        sessions.arrive(&arrival(read), &lane(read.partition, slowest), rules, &mut out);
        if judge_at(i) {
            sessions.judge(&|_, partition| partition.map_or(slowest, |p| clocks[p as usize]), rules, &mut out);
        }
    }
    sessions.judge(&|_, _| i64::MAX, rules, &mut out);
    out.into_iter().map(|f| (f.id.clone(), f)).collect()
}

fn verdicts(findings: &BTreeMap<String, Finding>) -> Verdicts {
    let mut verdicts = Verdicts::default();
    for finding in findings.values() {
        let numbers = finding.numbers.unwrap();
        if finding.kind == Kind::Reorder {
            verdicts.reordered.insert(numbers.from);
            continue;
        }
        let late: BTreeSet<i64> = finding
            .evidence
            .get("late")
            .map(|late| late.as_array().unwrap().iter().map(|n| n.as_i64().unwrap()).collect())
            .unwrap_or_default();
        let missing: BTreeSet<i64> = (numbers.from..numbers.until).filter(|n| !late.contains(n)).collect();
        assert_eq!(finding.state == State::Resolved, missing.is_empty());
        assert!(verdicts.lost.is_disjoint(&missing), "two findings speak of one number");
        verdicts.lost.extend(missing);
        verdicts.late.extend(late);
    }
    verdicts
}

/// A log per partition: numbers dealt over the partitions, some lost, repeated, or moved back.
fn logs(partitions: i32) -> impl Strategy<Value = Vec<Vec<Read>>> {
    let one = (0..partitions, 0u8..20, 0usize..12, 1i64..12);
    prop::collection::vec(one, 1..60).prop_map(move |plan| {
        let mut logs: Vec<Vec<(i64, i64)>> = vec![Vec::new(); partitions as usize];
        let mut time = 1000;
        for (number, &(partition, fate, back, step)) in plan.iter().enumerate() {
            time += step;
            let log = &mut logs[partition as usize];
            match fate {
                0 | 1 => {}
                2 => log.extend([(number as i64, time), (number as i64, time)]),
                3..=5 => {
                    // Comes before some that were written earlier: those are then the reordered ones.
                    let at = log.len().saturating_sub(back);
                    log.insert(at, (number as i64, 0));
                }
                _ => log.push((number as i64, time)),
            }
        }
        let log = |(partition, log): (usize, Vec<(i64, i64)>)| {
            let mut clock = 1000;
            log.into_iter()
                .enumerate()
                .map(|(offset, (number, time))| {
                    clock = clock.max(time);
                    Read { partition: partition as i32, number, time: clock, offset: offset as i64 }
                })
                .collect()
        };
        logs.into_iter().enumerate().map(log).collect()
    })
}

/// Interleaves the partitions' logs by the given choices, keeping each in order.
fn interleave(logs: &[Vec<Read>], choices: &[usize]) -> Vec<Read> {
    let mut at = vec![0; logs.len()];
    let mut reads = Vec::new();
    let mut choices = choices.iter().cycle();
    while reads.len() < logs.iter().map(Vec::len).sum() {
        let wanted = choices.next().copied().unwrap_or(0) % logs.len();
        let Some(partition) = (0..logs.len()).map(|i| (wanted + i) % logs.len()).find(|&p| at[p] < logs[p].len())
        else {
            break;
        };
        reads.push(logs[partition][at[partition]].clone());
        at[partition] += 1;
    }
    reads
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn one_partition_is_judged_as_the_definitions_say(logs in logs(1), judge in any::<u64>()) {
        let rules = SessionRules { wait_ms: WAIT, start: Some(0), topic_scope: false };
        let found = audit(&logs[0], 1, &rules, &|i| judge >> (i % 64) & 1 == 1);
        prop_assert_eq!(verdicts(&found), model(&logs[0], 0));
    }

    #[test]
    fn several_partitions_are_judged_the_same_in_whatever_order_they_are_read(
        logs in logs(3),
        a in prop::collection::vec(0usize..3, 1..20),
        b in prop::collection::vec(0usize..3, 1..20),
        judge in any::<u64>(),
    ) {
        let rules = SessionRules { wait_ms: WAIT, start: Some(0), topic_scope: true };
        let reads = interleave(&logs, &a);
        let found = audit(&reads, 3, &rules, &|i| judge >> (i % 64) & 1 == 1);
        prop_assert_eq!(verdicts(&found), model(&reads, 0));
        let other = audit(&interleave(&logs, &b), 3, &rules, &|_| true);
        let says = |found: &BTreeMap<String, Finding>| {
            found.iter().map(|(id, f)| (id.clone(), f.kind, f.state, f.count)).collect::<Vec<_>>()
        };
        prop_assert_eq!(says(&found), says(&other));
    }

    #[test]
    fn state_survives_being_written_and_read_back(logs in logs(1), cut in 0usize..60) {
        let rules = SessionRules { wait_ms: WAIT, start: Some(0), topic_scope: false };
        let mut sessions = Sessions::default();
        sessions.label(7, "s".to_owned());
        let mut out = Vec::new();
        for (i, read) in logs[0].iter().enumerate() {
            if i == cut {
                let bytes = postcard::to_stdvec(&sessions).unwrap();
                sessions = postcard::from_bytes(&bytes).unwrap();
            }
            sessions.arrive(&arrival(read), &lane(0, read.time), &rules, &mut out);
            sessions.judge(&|_, _| read.time, &rules, &mut out);
        }
        sessions.judge(&|_, _| i64::MAX, &rules, &mut out);
        let resumed: BTreeMap<String, Finding> = out.into_iter().map(|f| (f.id.clone(), f)).collect();
        prop_assert_eq!(resumed, audit(&logs[0], 1, &rules, &|_| true));
    }

    #[test]
    fn reordering_is_measured_as_the_rfcs_define_it(order in Just((0i64..40).collect::<Vec<_>>()).prop_shuffle()) {
        let mut recent = Recent::default();
        let mut density = Density::default();
        let mut max = -1;
        for &number in &order {
            if number > max {
                recent.push(number, 0);
                max = number;
            } else {
                density.degree(recent.degree(number));
                recent.displace(number, &mut density);
            }
        }
        // RFC 5236: displacement is the receive index less the number.
        let mut displaced = BTreeMap::new();
        for (index, &number) in order.iter().enumerate().filter(|&(i, &n)| i as i64 != n) {
            *displaced.entry((index as i64 - number) as i32).or_insert(0u64) += 1;
        }
        prop_assert_eq!(density.displacements(), displaced.into_iter().collect::<Vec<_>>());
        // RFC 4737 §5.1: n-reordered when the n arrivals before are all larger.
        for n in 1..=order.len() {
            let count = (n..order.len()).filter(|&i| order[i - n..i].iter().all(|&m| m > order[i])).count();
            prop_assert_eq!(density.degrees().get(n - 1).copied().unwrap_or(0), count as u64);
        }
    }
}

fn run(reads: &[(i64, i64)], start: Option<i64>) -> (Vec<Finding>, SessionFigures) {
    let rules = SessionRules { wait_ms: WAIT, start, topic_scope: false };
    let mut sessions = Sessions::default();
    sessions.label(7, "s".to_owned());
    let mut out = Vec::new();
    for (offset, &(number, time)) in reads.iter().enumerate() {
        let read = Read { partition: 0, number, time, offset: offset as i64 };
        // Every record has content of its own.
        let arrival = Arrival { checksum: offset as u64, ..arrival(&read) };
        sessions.arrive(&arrival, &lane(0, time), &rules, &mut out);
        sessions.judge(&|_, _| time, &rules, &mut out);
    }
    sessions.judge(&|_, _| i64::MAX, &rules, &mut out);
    (out, sessions.figures.clone())
}

#[test]
fn a_fall_to_the_start_with_new_content_begins_a_new_session() {
    let reads: Vec<(i64, i64)> = (0..10).chain(0..3).chain([4, 5]).enumerate().map(|(t, n)| (n, t as i64)).collect();
    let (found, figures) = run(&reads, None);
    assert_eq!(figures.resets, 1);
    assert_eq!(figures.repeated, 0);
    let [gap] = &found[..] else { panic!("{found:?}") };
    assert_eq!((gap.session.as_deref(), gap.numbers.unwrap().from), (Some("s~1"), 3));
}

#[test]
fn a_reset_of_a_session_met_in_its_middle_is_no_loss() {
    let reads: Vec<(i64, i64)> = (500..600).chain(0..50).enumerate().map(|(t, n)| (n, t as i64)).collect();
    let (found, figures) = run(&reads, None);
    assert_eq!((found.len(), figures.resets), (0, 1));
}

#[test]
fn what_an_end_marker_declares_and_nobody_sent_is_tail_loss() {
    let rules = SessionRules { wait_ms: WAIT, start: Some(0), topic_scope: false };
    let mut sessions = Sessions::default();
    let mut out = Vec::new();
    for number in 1..4 {
        let read = Read { partition: 0, number, time: number, offset: number };
        sessions.arrive(&arrival(&read), &lane(0, number), &rules, &mut out);
    }
    let end = Arrival { says: Says::End(9), ..arrival(&Read { partition: 0, number: 0, time: 5, offset: 5 }) };
    sessions.arrive(&end, &lane(0, 5), &rules, &mut out);
    sessions.judge(&|_, _| 20, &rules, &mut out);
    assert!(out.is_empty(), "the waiting time has not passed");
    let mut pending = Vec::new();
    sessions.pending(&rules, &mut pending);
    sessions.judge(&|_, _| 100, &rules, &mut out);
    let said: Vec<_> = out.iter().map(|f| (f.kind, f.numbers.unwrap().from, f.count)).collect();
    assert_eq!(said, [(Kind::HeadLoss, 0, 1), (Kind::TailLoss, 4, 6)]);
    let ids = |found: &[Finding]| found.iter().map(|f| f.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&pending), ids(&out), "a possible finding keeps its id when it is proven");
}
