//! Leaders that die, in a cluster of three.

use std::collections::BTreeSet;
use std::time::Duration;

use sordini::lag::figure::Unknown;
use sordini::lag::rules::Thresholds;
use sordini::lag::verdict::Verdict;
use sordini::lag::watcher::Plan;
use sordini_lab::{Cluster, Options, wait_for};

use crate::watch::{self, Watch, group};
use crate::world::{CADENCE, Traffic, numbered};

const LIMIT: Duration = Duration::from_secs(60);

/// A broker goes. Of the partitions it led alone nothing is known, all others are judged as ever, and no group is gone. A
/// follower that lagged takes over another of its partitions: what a group has read and committed there is no more.
#[test]
fn a_dead_leader_blanks_its_partitions_only_and_a_log_that_is_cut_back_is_noticed() {
    let mut cluster = Cluster::start(3, &Options { heap_mb: 384, ..Options::default() });
    // Broker 1 coordinates every group. Broker 3 takes over, but for one partition that has no other replica.
    let lone =
        (0..4).find(|p| ["cut", "at-work"].iter().all(|group| coordinated_by(group) != *p)).expect("one of four");
    let replicas: Vec<&[i32]> = (0..4).map(|p| if p == lone { &[1][..] } else { &[1, 3] }).collect();
    cluster.create_topic_on("__consumer_offsets", &replicas, &[("cleanup.policy", "compact")]);
    cluster.create_topic_on("spread", &[&[1], &[3], &[3]], &[]);
    cluster.create_topic_on("work", &[&[3]], &[]);
    cluster.create_topic_on("cut", &[&[1, 2]], &[("unclean.leader.election.enable", "true")]);
    let groups: Vec<String> = (0..12).map(|n| format!("spread-{n}")).collect();
    let (orphans, adopted): (Vec<_>, Vec<_>) = groups.iter().partition(|group| coordinated_by(group) == lone);
    assert!(!orphans.is_empty() && !adopted.is_empty());
    cluster.producer(&[("acks", "all")]).send_all(&[numbered("spread", 2, 10), numbered("cut", 0, 100)].concat());
    cluster.pause(2);
    let alone = cluster.producer(&[("acks", "1")]);
    alone.send_all(&numbered("cut", 0, 60));
    // The watermark is there when the follower has been given up.
    wait_for("the records can be read", LIMIT, || (cluster.watermarks("cut", 0).1 == 160).then_some(()));
    cluster.commit_offsets("cut", &[("cut", 0, 160)]);
    for group in &groups {
        cluster.commit_offsets(group, &[("spread", 0, 0), ("spread", 1, 0), ("spread", 2, 5)]);
    }
    let traffic = Traffic::start(&cluster);
    traffic.on("work", 1);
    let worker = cluster.consumer("at-work", &["work"], &[]).work(CADENCE);
    let watched = Watch::start(patient(&cluster.bootstrap()));
    for name in groups.iter().map(String::as_str).chain(["at-work", "cut"]) {
        watched.settle(name, 2, 1);
    }
    cluster.kill(1);
    cluster.resume(2);
    watched.says("cut", 0, Verdict::Skip, 40);
    let cut = watched.partition("cut", 0);
    assert_eq!((cut.committed, cut.end, cut.lag), (Ok(160), Ok(100), Err(Unknown::OtherLog)));
    // Coordinators have moved when their groups are known again.
    for name in &adopted {
        let what = format!("{name} is known but for one partition");
        watched.within(&what, 40, |snapshot| {
            let group = group(snapshot, name)?;
            (group.evaluated == 2 && group.expected == 3).then_some(())
        });
    }
    watched.pass(3);
    let last = watched.last();
    assert!(last.round.evaluated < last.round.expected, "{:?}", last.round);
    for name in &orphans {
        let orphan = group(&last, name).expect("it is remembered");
        assert_eq!(
            (orphan.judgement.verdict, orphan.evaluated, orphan.expected),
            (Verdict::Unknown, 0, 3),
            "{orphan:?}"
        );
        assert!(orphan.lag.is_err() && orphan.record_lag.is_err() && orphan.max_time_ms.is_err(), "{orphan:?}");
    }
    assert!(last.troubles.iter().any(|trouble| trouble.contains("__consumer_offsets")), "{:?}", last.troubles);
    for name in &adopted {
        let group = group(&last, name).expect("it is known");
        let [first, second, third] = &group.partitions[..] else { panic!("{group:?}") };
        assert_eq!((group.judgement.verdict, group.lag), (Verdict::Ok, Ok(5)), "{:?}", group.judgement);
        assert_eq!((first.judgement.verdict, first.lag), (Verdict::Unknown, Err(Unknown::NoLeader)));
        assert!(second.lag.is_ok() && third.lag.is_ok() && first.record_lag.is_err() && first.time.is_err());
        assert!(group.could_not_be_asked());
    }
    cluster.restart(1);
    for name in &groups {
        let what = format!("{name} is known again");
        watched.within(&what, 40, |snapshot| (group(snapshot, name)?.evaluated == 3).then_some(()));
    }
    watched.pass(3);
    let bad: Vec<_> = groups.iter().map(String::as_str).chain(["at-work"]).flat_map(|name| watched.bad(name)).collect();
    assert_eq!(watched.blamed(), BTreeSet::from(["cut".to_owned()]), "{bad:#?}");
    watched.only("cut", &[Verdict::Skip]);
    assert_eq!(watched.happened("cut").len(), 0);
    drop(worker);
}

/// Coordinators take longer to move than the thresholds of the other tests: nobody commits meanwhile.
fn patient(bootstrap: &str) -> Plan {
    let long = Duration::from_secs(300);
    let thresholds = Thresholds {
        no_owner_after: long,
        stall_after: long,
        silent_after: long,
        max_time_lag: long,
        rising_after: long,
        rebalance_within: long,
        flapping_changes: 30,
        ..watch::thresholds()
    };
    Plan { settings: watch::settings(thresholds), ..watch::plan(bootstrap) }
}

/// The partition of `__consumer_offsets` that a group's commits are in: by Java's hash of its name.
fn coordinated_by(group: &str) -> usize {
    let hash = group.bytes().fold(0i32, |hash, byte| hash.wrapping_mul(31).wrapping_add(i32::from(byte)));
    (hash & i32::MAX) as usize % 4
}
