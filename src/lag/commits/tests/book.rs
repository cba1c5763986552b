use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use crate::lag::commits::decode::{ClassicValue, CommitValue, Entry};
use crate::lag::commits::{Book, Drained, Generation, GroupNews, Limits, MOST_OF_ONE, Place, Removal, SpotNews};
use crate::lag::facts::Spot;
use crate::lag::window::Commit;

/// One step of a log; its offset is its number.
#[derive(Clone, Copy, Debug)]
enum Step {
    Commit { group: usize, partition: i32, producer: Option<i64>, has_epoch: bool },
    Tombstone { group: usize, partition: i32 },
    End { producer: i64, commits: bool },
    Members { group: usize, generation: i32, members: u32 },
    Deleted { group: usize },
    Drain,
}

const GROUPS: [&str; 2] = ["orders", "payments"];

fn place(offset: usize, producer: Option<i64>) -> Place {
    Place { partition: 3, offset: offset as i64, timestamp_ms: 1000 + offset as i64, producer }
}

fn commit_entry(group: &str, partition: i32, offset: usize, has_epoch: bool) -> Entry<'_> {
    let value = CommitValue {
        offset: 7 * offset as i64,
        leader_epoch: has_epoch.then_some(1),
        metadata: b"",
        commit_ms: 500 + offset as i64,
        expire_ms: None,
        topic_id: None,
    };
    Entry::Commit { group, topic: "t", partition, value: Some(value) }
}

fn feed(book: &mut Book, at: usize, step: Step) {
    match step {
        Step::Commit { group, partition, producer, has_epoch } => {
            book.record(place(at, producer), &commit_entry(GROUPS[group], partition, at, has_epoch));
        }
        Step::Tombstone { group, partition } => {
            book.record(place(at, None), &Entry::Commit { group: GROUPS[group], topic: "t", partition, value: None });
        }
        Step::End { producer, commits } => book.end_transaction(3, producer, commits),
        Step::Members { group, generation, members } => {
            let value = Some(ClassicValue { generation, members });
            book.record(place(at, None), &Entry::Classic { group: GROUPS[group], value });
        }
        Step::Deleted { group } => book.record(place(at, None), &Entry::Classic { group: GROUPS[group], value: None }),
        Step::Drain => {}
    }
}

/// When the commit at `at` takes effect, by the definition: its own place, or that of its producer's next marker, unless
/// something newer has decided the same place in the meantime.
fn effect(log: &[Step], at: usize) -> Option<usize> {
    let Step::Commit { group, partition, producer, .. } = log[at] else { return None };
    let Some(producer) = producer else { return Some(at) };
    let is_end = |step: &Step| matches!(step, Step::End { producer: p, .. } if *p == producer);
    let end = at + log[at..].iter().position(is_end)?;
    let Step::End { commits: true, .. } = log[end] else { return None };
    let is_void = (at + 1..end).any(|later| match log[later] {
        Step::Tombstone { group: g, partition: p } => (g, p) == (group, partition),
        Step::Commit { group: g, partition: p, producer: by, .. } if (g, p) == (group, partition) => {
            by == Some(producer) || effect(log, later).is_some_and(|when| when < end)
        }
        _ => false,
    });
    (!is_void).then_some(end)
}

/// The last record of the group's members before `at` names none, and one since its last deletion named some.
fn is_left(log: &[Step], at: usize, group: usize) -> bool {
    let since =
        log[..at].iter().rposition(|step| matches!(step, Step::Deleted { group: g } if *g == group)).unwrap_or(0);
    let counts: Vec<u32> = log[since..at]
        .iter()
        .filter_map(|step| match step {
            Step::Members { group: g, members, .. } if *g == group => Some(*members),
            _ => None,
        })
        .collect();
    counts.last() == Some(&0) && counts.iter().any(|&members| members > 0)
}

/// What `log[from..]` brings, when the whole log is `log`.
fn expected(log: &[Step], from: usize) -> Drained {
    let mut drained = Drained::new();
    for at in from..log.len() {
        let mut taken: Vec<usize> = (0..=at).filter(|&commit| effect(&log[..=at], commit) == Some(at)).collect();
        taken.sort_unstable();
        for commit in taken {
            let Step::Commit { group, partition, producer, has_epoch } = log[commit] else { unreachable!() };
            let news = drained.entry(Arc::from(GROUPS[group])).or_default();
            news.deleted = None;
            let spot: Spot = (Arc::from("t"), partition);
            news.spots.entry(spot).or_default().commits.push(Commit {
                offset: 7 * commit as i64,
                order: commit as i64,
                timestamp_ms: 500 + commit as i64,
                lag: None,
                by_tool: producer.is_none() && !has_epoch && is_left(log, commit, group),
            });
        }
        let removal = Removal { order: at as i64, at_ms: 1000 + at as i64 };
        match log[at] {
            Step::Tombstone { group, partition } => {
                let news = drained.entry(Arc::from(GROUPS[group])).or_default();
                let gone = SpotNews { removed: Some(removal), ..SpotNews::default() };
                news.spots.insert((Arc::from("t"), partition), gone);
            }
            Step::Deleted { group } => {
                drained.entry(Arc::from(GROUPS[group])).or_default().deleted = Some(removal);
            }
            Step::Members { group, generation, members } => {
                let before = log[..at].iter().rev().find_map(|step| match step {
                    Step::Members { group: g, generation, members } if *g == group => {
                        Some(Some((*generation, *members > 0)))
                    }
                    Step::Deleted { group: g } if *g == group => Some(None),
                    _ => None,
                });
                if before.flatten() != Some((generation, members > 0)) {
                    let news = drained.entry(Arc::from(GROUPS[group])).or_default();
                    news.deleted = None;
                    let (order, at_ms) = (removal.order, removal.at_ms);
                    let has_members = Some(members > 0);
                    news.generations.push(Generation { number: generation, order, at_ms, has_members });
                }
            }
            Step::Commit { .. } | Step::End { .. } | Step::Drain => {}
        }
    }
    drained
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let producer = prop_oneof![1 => Just(None), 2 => (0i64..3).prop_map(Some)];
    let step = prop_oneof![
        6 => (0usize..2, 0i32..2, producer, any::<bool>())
            .prop_map(|(group, partition, producer, has_epoch)| Step::Commit { group, partition, producer, has_epoch }),
        1 => (0usize..2, 0i32..2).prop_map(|(group, partition)| Step::Tombstone { group, partition }),
        3 => (0i64..3, any::<bool>()).prop_map(|(producer, commits)| Step::End { producer, commits }),
        2 => (0usize..2, 0i32..3, 0u32..3)
            .prop_map(|(group, generation, members)| Step::Members { group, generation, members }),
        1 => (0usize..2).prop_map(|group| Step::Deleted { group }),
        1 => Just(Step::Drain),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn it_tells_what_the_log_says_however_often_it_is_asked(mut log in steps()) {
        log.push(Step::Drain);
        let mut book = Book::default();
        let mut drained_to = 0;
        for at in 0..log.len() {
            feed(&mut book, at, log[at]);
            if let Step::Drain = log[at] {
                prop_assert_eq!(book.drain(), expected(&log[..=at], drained_to), "steps {} to {}", drained_to, at);
                drained_to = at + 1;
            }
        }
        prop_assert_eq!(book.counts(), Default::default());
    }
}

fn told(book: &mut Book, group: &str, partition: i32) -> Vec<i64> {
    let drained = book.drain();
    let news = drained.get(group).and_then(|news| news.spots.get(&(Arc::from("t"), partition)));
    news.map(|news| news.commits.iter().map(|commit| commit.order).collect()).unwrap_or_default()
}

#[test]
fn a_transaction_that_hangs_holds_up_nobody_else() {
    let mut book = Book::default();
    book.record(place(1, Some(1)), &commit_entry("g", 0, 1, true));
    book.record(place(2, Some(2)), &commit_entry("g", 0, 2, true));
    book.record(place(3, None), &commit_entry("g", 1, 3, true));
    book.end_transaction(3, 2, true);
    assert_eq!(told(&mut book, "g", 0), [2], "the hanging one is older, and void");
    assert_eq!(book.held_back(), 0);
    book.end_transaction(3, 1, true);
    assert_eq!(book.drain(), Drained::new());
}

#[test]
fn a_marker_ends_transactions_of_its_own_partition_only() {
    let mut book = Book::default();
    book.record(place(1, Some(1)), &commit_entry("g", 0, 1, true));
    book.end_transaction(4, 1, true);
    assert_eq!(told(&mut book, "g", 0), [] as [i64; 0]);
    book.end_transaction(3, 1, true);
    assert_eq!(told(&mut book, "g", 0), [1]);
}

fn member<'a>(group: &'a str, member: &'a str, is_there: bool) -> Entry<'a> {
    Entry::Member { group, member, is_there }
}

fn by_tool(book: &mut Book, at: usize, group: &str) -> bool {
    book.record(place(at, None), &commit_entry(group, 0, at, false));
    let drained = book.drain();
    drained[group].spots.values().next().unwrap().commits[0].by_tool
}

#[test]
fn a_commit_to_a_kip_848_group_is_a_tools_only_when_all_members_are_known_to_have_left() {
    let mut book = Book::default();
    book.begin(3, true);
    book.record(place(1, None), &member("whole", "a", true));
    book.record(place(2, None), &member("whole", "b", true));
    assert!(!by_tool(&mut book, 3, "whole"));
    book.record(place(4, None), &member("whole", "a", false));
    assert!(!by_tool(&mut book, 5, "whole"), "one is left");
    book.record(place(6, None), &member("whole", "b", false));
    assert!(by_tool(&mut book, 7, "whole"));
    book.record(place(8, None), &member("whole", "c", true));
    assert!(!by_tool(&mut book, 9, "whole"));

    book.begin(3, false);
    book.record(place(10, None), &member("tail", "a", true));
    book.record(place(11, None), &member("tail", "a", false));
    assert!(!by_tool(&mut book, 12, "tail"), "others may have joined before the tail");
    book.record(place(13, None), &member("new", "a", true));
    book.record(place(14, None), &Entry::Epoch { group: "new", value: Some(1) });
    book.record(place(15, None), &member("new", "a", false));
    assert!(by_tool(&mut book, 16, "new"), "it began while the log was read");
    book.interrupt(3);
    assert!(!by_tool(&mut book, 17, "new"), "somebody may have joined in the hole");
}

#[test]
fn a_group_without_members_ever_is_left_in_peace() {
    let mut book = Book::default();
    book.begin(3, true);
    assert!(!by_tool(&mut book, 1, "simple"));
    book.record(
        place(2, None),
        &Entry::Classic { group: "simple", value: Some(ClassicValue { generation: 0, members: 0 }) },
    );
    assert!(!by_tool(&mut book, 3, "simple"));
}

#[test]
fn a_group_that_only_changes_its_protocol_is_not_deleted() {
    let mut book = Book::default();
    let value = Some(ClassicValue { generation: 5, members: 1 });
    book.record(place(1, None), &Entry::Classic { group: "g", value });
    book.record(place(2, None), &Entry::Classic { group: "g", value: None });
    book.record(place(3, None), &member("g", "a", true));
    book.record(place(4, None), &Entry::Epoch { group: "g", value: Some(5) });
    let GroupNews { generations, deleted, .. } = book.drain().remove("g").unwrap();
    let numbers: Vec<_> = generations.iter().map(|g| (g.order, g.number, g.has_members)).collect();
    assert_eq!((numbers, deleted), (vec![(1, 5, Some(true)), (4, 5, Some(true))], None));
    book.record(place(5, None), &Entry::Epoch { group: "g", value: None });
    assert_eq!(book.drain()["g"].deleted, Some(Removal { order: 5, at_ms: 1005 }));
}

#[test]
fn first_and_last_are_kept_when_nobody_asks() {
    let mut book = Book::default();
    for at in 0..1000 {
        book.record(place(at, None), &commit_entry("g", 0, at, true));
    }
    assert_eq!(book.counts().thinned, 1000 - MOST_OF_ONE as u64);
    let drained = book.drain();
    let news = drained["g"].spots.values().next().unwrap();
    let orders: Vec<_> = news.commits.iter().map(|commit| commit.order).collect();
    assert_eq!(news.thinned, 1000 - MOST_OF_ONE as u32);
    assert_eq!(orders, [&[0][..], &(1000 - MOST_OF_ONE as i64 + 1..1000).collect::<Vec<_>>()].concat());
}

#[test]
fn the_newest_commit_of_each_place_is_kept_when_there_is_no_room() {
    let mut book = Book::within(Limits { news: 20, ..Limits::default() });
    for at in 0..600 {
        book.record(place(at, None), &commit_entry("g", at as i32 % 3, at, true));
        book.record(place(at, None), &commit_entry("h", 0, at, true));
        assert!(book.is_within_limits());
    }
    let drained = book.drain();
    let newest =
        |group: &str, partition| drained[group].spots[&(Arc::from("t"), partition)].commits.last().unwrap().order;
    assert_eq!([newest("g", 0), newest("g", 1), newest("g", 2), newest("h", 0)], [597, 598, 599, 599]);
    assert!(book.counts().thinned > 1000);
}

#[test]
fn what_hangs_longest_is_given_up_first() {
    let mut book = Book::within(Limits { pending: 10, ..Limits::default() });
    for at in 0..10 {
        book.record(place(at, Some(at as i64 / 5)), &commit_entry("g", at as i32, at, true));
    }
    book.record(place(10, Some(7)), &commit_entry("g", 10, 10, true));
    assert_eq!((book.counts().given_up, book.held_back()), (5, 6));
    (0..8).for_each(|producer| book.end_transaction(3, producer, true));
    let orders: BTreeMap<i32, i64> =
        book.drain()["g"].spots.iter().map(|((_, partition), news)| (*partition, news.commits[0].order)).collect();
    assert_eq!(orders, (5..=10).map(|at| (at, i64::from(at))).collect());
}

#[test]
fn a_hole_in_the_log_ends_what_was_open_without_a_guess() {
    let mut book = Book::default();
    book.record(place(1, Some(1)), &commit_entry("g", 0, 1, true));
    book.interrupt(3);
    book.end_transaction(3, 1, true);
    assert_eq!((book.drain(), book.counts().given_up), (Drained::new(), 1));
}

#[test]
fn what_a_truncation_took_is_not_let_go_later() {
    let mut book = Book::default();
    book.record(place(1, Some(1)), &commit_entry("g", 0, 1, true));
    book.record(place(2, Some(1)), &commit_entry("g", 1, 2, true));
    book.record(place(3, Some(2)), &commit_entry("g", 2, 3, true));
    book.record(place(4, None), &commit_entry("g", 3, 4, true));
    book.truncate(3, 2);
    book.record(place(2, None), &commit_entry("g", 3, 2, true));
    (1..3).for_each(|producer| book.end_transaction(3, producer, true));
    let drained = book.drain();
    let orders: BTreeMap<i32, Vec<i64>> = drained["g"]
        .spots
        .iter()
        .map(|((_, partition), news)| (*partition, news.commits.iter().map(|commit| commit.order).collect()))
        .collect();
    assert_eq!(orders, BTreeMap::from([(0, vec![1]), (3, vec![2])]));
}
