//! A log and its copy, both compacted at random, against what the whole logs say.

use proptest::prelude::*;

use super::*;
use crate::drift::align::Item;
use crate::drift::mirror::position::Reach;

const KEYS: usize = 5;

/// A record of the source before anything was compacted, by its offset; or one that is not the source's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Written {
    key: usize,
    value: Option<u8>,
    timestamp: i64,
}

impl Written {
    fn hash(&self, with_time: bool) -> u64 {
        let value = self.value.map_or(0, |value| u64::from(value) + 1);
        let time = if with_time { self.timestamp as u64 + 1 } else { 0 };
        (time << 20) | (value << 8) | self.key as u64
    }
}

type Log = Vec<(i64, Written)>;

/// As the cleaner does below an offset: a record with a later one of its key may go, a deletion too when nothing stands before it.
fn compacted(log: &Log, below: usize, goes: &[bool]) -> Log {
    let mut left: Log = Vec::new();
    for (at, (offset, record)) in log.iter().enumerate() {
        let is_replaced =
            log[at + 1..below.max(at + 1).min(log.len())].iter().any(|(_, later)| later.key == record.key);
        let is_over = record.value.is_none() && !left.iter().any(|(_, before)| before.key == record.key);
        if !(at < below && goes[at % goes.len()] && (is_replaced || is_over)) {
            left.push((*offset, *record));
        }
    }
    left
}

fn histories(log: &Log, with_time: bool) -> Vec<History> {
    let mut all = vec![History::default(); KEYS];
    for (offset, record) in log {
        all[record.key].push(Version {
            offset: *offset,
            timestamp: record.timestamp,
            hash: record.hash(with_time),
            checksum: 0,
            is_deleted: record.value.is_none(),
        });
    }
    all
}

fn reach(source: &Log, copy: &Log, with_time: bool) -> Reach {
    let item = |(offset, record): &(i64, Written)| Item {
        hash: record.hash(with_time),
        key: 1,
        offset: *offset,
        timestamp: record.timestamp,
    };
    let mut tails = Tails::default();
    copy.iter().for_each(|record| tails.push(0, item(record)));
    let mut finder = tails.finder();
    source.iter().for_each(|record| finder.look(0, &item(record)));
    tails.reaches(&finder).of(0)
}

/// What a key is after the first so many records.
fn state(log: &Log, key: usize, until: usize, with_time: bool) -> Option<u64> {
    let last = log[..until].iter().rev().find(|(_, record)| record.key == key);
    last.filter(|(_, record)| record.value.is_some()).map(|(_, record)| record.hash(with_time))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_is_said_is_what_the_whole_logs_say(
        records in prop::collection::vec((0..KEYS, prop::option::weighted(0.8, 0..3_u8)), 1..40),
        copied in 1..40_usize,
        faults in prop::collection::vec((0..40_usize, any::<bool>()), 0..3),
        again in prop::option::weighted(0.3, (0..40_usize, 1..10_usize)),
        (goes, below) in (prop::collection::vec(any::<bool>(), 40), (0..40_usize, 0..40_usize)),
        with_time in any::<bool>(),
    ) {
        let written = records.iter().zip(0..).map(|(&(key, value), at)| (at, Written { key, value, timestamp: at }));
        let whole: Log = written.collect();
        let copied = copied.min(whole.len());
        let mut copy: Vec<Written> = whole[..copied].iter().map(|(_, record)| *record).collect();
        if let Some((from, length)) = again {
            // A mirror that crashed goes back, and is on its way again.
            let from = from % copied;
            copy.extend_from_within(from..(from + length).min(copied));
        }
        for (at, is_lost) in &faults {
            let at = at % copy.len();
            match is_lost {
                true if copy.len() > 1 => _ = copy.remove(at),
                _ => copy[at].value = Some(200),
            }
        }
        let copy: Log = copy.into_iter().zip(1_000..).map(|(record, offset)| (offset, record)).collect();
        // Without times a record that was compacted away looks like a later one.
        let below = (if with_time { below.0.min(whole.len()) } else { 0 }, below.1.min(copy.len()));
        let source_left = compacted(&whole, below.0, &goes);
        let copy_left = compacted(&copy, below.1, &goes);
        let reach = reach(&source_left, &copy_left, with_time);
        let Reach::Offset(last) = reach else { return Ok(()) };
        prop_assert!(last < copied as i64);
        let has_holes = source_left.len() < whole.len();
        let known = Known { reach, has_holes, source_expires: false, copy_expires: false };
        let (ours, theirs) = (histories(&source_left, with_time), histories(&copy_left, with_time));
        for key in 0..KEYS {
            let verdict = judge(Some(&ours[key]), Some(&theirs[key]), &known);
            let is = state(&copy, key, copy.len(), with_time);
            let may: Vec<_> =
                (last as usize + 1..=whole.len()).map(|until| state(&whole, key, until, with_time)).collect();
            let is_open = source_left.iter().any(|(offset, record)| record.key == key && *offset > last);
            if is.is_some() && ours[key].versions.is_empty() {
                // Whatever the copy does next, nothing will tell it that the key was deleted.
                let is_extra = matches!(verdict, Verdict::Extra { deleted: None, .. });
                prop_assert!(is_extra && may.last() == Some(&None), "{:?}", verdict);
            } else if may.contains(&is) {
                prop_assert_eq!(verdict, Verdict::Fine, "key {} is {:?} of {:?}", key, is, may);
            } else if !(is_open && has_holes) {
                match (may[0], is, verdict) {
                    (Some(_), None, Verdict::Missing { .. }) => {}
                    (None, Some(_), Verdict::Extra { .. }) => {}
                    (None, Some(_), Verdict::Differs { .. }) if is_open => {}
                    (Some(_), Some(is), Verdict::Stale { older, .. }) => prop_assert_eq!(older.hash, is),
                    (Some(_), Some(is), Verdict::Differs { .. }) => {
                        prop_assert!(source_left.iter().all(|(offset, record)| *offset > last || record.hash(with_time) != is));
                    }
                    (must, is, verdict) => prop_assert!(false, "key {}: {:?}, {:?}: {:?}", key, must, is, verdict),
                }
            }
        }
    }
}

fn history(versions: &[(i64, u64)]) -> History {
    let mut history = History::default();
    for (offset, hash) in versions {
        let (timestamp, is_deleted) = (offset * 1_000, *hash == 0);
        history.push(Version { offset: *offset, timestamp, hash: *hash, checksum: 0, is_deleted });
    }
    history
}

fn known(last: i64) -> Known {
    Known { reach: Reach::Offset(last), has_holes: false, source_expires: false, copy_expires: false }
}

#[test]
fn an_older_version_is_told_with_its_place() {
    let verdict = judge(Some(&history(&[(1, 11), (3, 12), (7, 13), (9, 14)])), Some(&history(&[(0, 11)])), &known(8));
    let Verdict::Stale { expected, older, versions_behind, .. } = verdict else { panic!("{verdict:?}") };
    assert_eq!((expected.offset, older.offset, versions_behind), (7, 1, 2));
}

#[test]
fn what_may_have_expired_is_not_judged() {
    let expiring = Known { source_expires: true, copy_expires: true, ..known(8) };
    let one = history(&[(1, 11)]);
    assert_eq!(judge(Some(&one), None, &expiring), Verdict::Unverifiable("retention"));
    assert_eq!(judge(None, Some(&one), &expiring), Verdict::Unverifiable("retention"));
    let verdict = judge(Some(&one), Some(&history(&[(0, 99)])), &expiring);
    assert!(matches!(verdict, Verdict::Differs { .. }), "a later version expires later: {verdict:?}");
    let verdict = judge(Some(&history(&[(1, 11), (2, 0)])), Some(&one), &expiring);
    assert!(matches!(verdict, Verdict::Extra { .. }), "{verdict:?}");
}

/// A key that is written all the time: what was settled is forgotten.
#[test]
fn what_was_forgotten_may_be_what_the_copy_holds() {
    let many: Vec<(i64, u64)> = (0..300).map(|offset| (offset, 100 + offset as u64)).collect();
    assert_eq!(judge(Some(&history(&many)), Some(&history(&[(0, 105)])), &known(5)), Verdict::Fine);
}
