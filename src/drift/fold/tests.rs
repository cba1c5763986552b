use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![4 => (1..50_u64).prop_map(Said::Row), 1 => Just(Said::Deleted)]
}

proptest! {
    /// The oracle keeps every record in a map.
    #[test]
    fn folds_as_a_map_does(
        records in prop::collection::vec((0..40_u64, said()), 0..6_000),
        settled in 0..6_000_i64,
        again in 0..6_000_usize,
    ) {
        // So small that shards are squashed and spilled all the time.
        let fold = Fold { most: 16, ..Fold::new(0) };
        let version = |(offset, (key, said)): (usize, &(u64, Said))| Version {
            // Two keys for each shard that is used.
            key: ((*key / 2) << 58) | (key % 2),
            partition: 0,
            offset: offset as i64,
            said: *said,
            is_open: offset as i64 >= settled,
        };
        let versions: Vec<Version> = records.iter().enumerate().map(version).collect();
        let mut writer = fold.writer();
        // A fetch that is repeated hands records over twice.
        let twice = &versions[again.min(versions.len())..];
        for version in versions.iter().chain(twice) {
            writer.push(version).unwrap();
        }
        writer.end().unwrap();
        type Expected = (Option<Option<u64>>, Vec<Option<u64>>);
        let mut expected: BTreeMap<u64, Expected> = BTreeMap::new();
        for version in &versions {
            let row = match version.said { Said::Row(row) => Some(row), _ => None };
            let (state, later) = expected.entry(version.key).or_default();
            if version.offset < settled { *state = Some(row) } else { later.push(row) }
        }
        let expected: BTreeMap<u64, State> = expected.into_iter().map(|(key, (state, later))| {
            if later.is_empty() {
                return (key, State::Is(state.flatten()));
            }
            let mut allowed = later;
            allowed.push(state.flatten());
            allowed.sort_unstable();
            allowed.dedup();
            (key, State::OneOf(allowed))
        }).collect();
        for _ in 0..2 {
            let mut found = BTreeMap::new();
            fold.each(|key, state| _ = found.insert(key, state.clone())).unwrap();
            prop_assert_eq!(&found, &expected);
        }
    }
}

#[test]
fn a_key_in_two_partitions_is_looked_at_by_itself() {
    let fold = Fold::new(0);
    let mut writer = fold.writer();
    for (partition, row) in [(0, 1), (1, 2), (1, 3)] {
        let said = Said::Row(row as u64);
        writer.push(&Version { key: 9, partition, offset: row, said, is_open: false }).unwrap();
    }
    writer.end().unwrap();
    let mut states = Vec::new();
    let counts = fold.each(|_, state| states.push(state.clone())).unwrap();
    assert_eq!(states, [State::Partial]);
    assert_eq!((counts.spread, counts.in_flight), (1, 0));
}

#[test]
fn what_could_not_be_read_leaves_all_open() {
    let fold = Fold::new(0);
    let mut writer = fold.writer();
    let all = [
        (1, 1, Said::Unreadable),
        (1, 2, Said::Row(5)),
        (2, 3, Said::Unreadable),
        (3, 4, Said::Row(6)),
        (3, 5, Said::Partial),
        (4, 6, Said::Partial),
        (4, 7, Said::Deleted),
    ];
    for (key, offset, said) in all {
        writer.push(&Version { key, partition: 0, offset, said, is_open: false }).unwrap();
    }
    writer.end().unwrap();
    let mut states = BTreeMap::new();
    fold.each(|key, state| _ = states.insert(key, state.clone())).unwrap();
    assert_eq!(states[&1], State::Is(Some(5)), "a later record says what it is");
    assert_eq!(states[&2], State::Unknown);
    assert_eq!(states[&3], State::Partial);
    assert_eq!(states[&4], State::Is(None));
}

/// A key's records: what each says, what it says was there before, and whether it may be missing from the table.
type Event = (u64, i32, Said, Option<Option<u64>>);

fn event() -> impl Strategy<Value = Event> {
    let said = prop_oneof![
        8 => (1..4_u64).prop_map(Said::Row),
        2 => Just(Said::Deleted),
        1 => (1..4_u64).prop_map(Said::Loose),
        1 => Just(Said::Partial),
        1 => Just(Said::Unreadable),
    ];
    let before = prop::option::weighted(0.8, prop::option::weighted(0.8, 1..4_u64));
    (0..40_u64, 0..2_i32, said, before)
}

/// Each event beside the one before it, key by key and partition by partition.
fn doubted(events: &[(Version, Option<Option<u64>>)]) -> BTreeMap<(u64, i32), i64> {
    let (mut last, mut doubted): (BTreeMap<(u64, i32), Said>, BTreeMap<_, _>) = Default::default();
    for (version, before) in events {
        let lane = (version.key, version.partition);
        let left = match last.insert(lane, version.said) {
            Some(Said::Row(row)) => Some(Some(row)),
            Some(Said::Deleted) => Some(None),
            _ => None,
        };
        if before.is_some() && left.is_some() && left != *before {
            doubted.insert(lane, version.offset);
        }
    }
    doubted
}

proptest! {
    /// What an event says was before it is compared with the event before it and with nothing else, and changes no state.
    #[test]
    fn doubts_what_a_walk_doubts(
        events in prop::collection::vec(event(), 0..3_000),
        settled in 0..3_000_i64,
    ) {
        let event = |(offset, (key, partition, said, before)): (usize, &Event)| {
            // Two shards, each with more keys than it has room for.
            let (key, offset) = (((*key % 2) << 58) | (key / 2), offset as i64);
            (Version { key, partition: *partition, offset, said: *said, is_open: offset >= settled }, *before)
        };
        let events: Vec<_> = events.iter().enumerate().map(event).collect();
        // So small that shards are squashed and spilled all the time.
        let (with, without) = (Fold { most: 16, ..Fold::new(0) }, Fold { most: 16, ..Fold::new(0) });
        let (mut writer, mut plain) = (with.writer(), without.writer());
        for (version, before) in &events {
            plain.push(version).unwrap();
            if let Some(row) = *before {
                let Version { key, partition, offset, .. } = *version;
                writer.push_before(&Before { key, partition, offset, row }).unwrap();
            }
            writer.push(version).unwrap();
        }
        writer.end().unwrap();
        plain.end().unwrap();
        let states = |fold: &Fold| {
            let mut states = BTreeMap::new();
            let counts = fold.each(|key, state| _ = states.insert(key, state.clone())).unwrap();
            (states, counts)
        };
        let (found, expected) = (states(&with), states(&without));
        prop_assert_eq!(found, expected);
        prop_assert_eq!(with.doubts().last, doubted(&events));
    }
}

#[test]
fn the_largest_places_keep_their_parts() {
    let version = Version { key: 7, partition: 32_767, offset: (1 << 45) - 1, said: Said::Row(1), is_open: true };
    let fold = Fold::new(0);
    let mut writer = fold.writer();
    writer.push(&Version { offset: 0, is_open: false, ..version }).unwrap();
    let Version { key, partition, offset, .. } = version;
    writer.push_before(&Before { key, partition, offset, row: Some(2) }).unwrap();
    writer.push(&version).unwrap();
    writer.end().unwrap();
    let mut states = Vec::new();
    fold.each(|_, state| states.push(state.clone())).unwrap();
    assert_eq!(states, [State::OneOf(vec![Some(1)])]);
    assert_eq!(fold.doubts().last, BTreeMap::from([((key, partition), offset)]));
}

#[test]
fn keys_that_are_written_for_ever_take_no_more_room() {
    let fold = Fold { most: 64, ..Fold::new(0) };
    let mut writer = fold.writer();
    for offset in 0..200_000_i64 {
        // Of one shard, each so seldom that a run has hardly two of its versions.
        let (key, said) = (offset as u64 * 7_919 % 500, Said::Row(offset as u64));
        writer.push(&Version { key, partition: 0, offset, said, is_open: false }).unwrap();
    }
    writer.end().unwrap();
    let spilled = fold.shards[0].lock().unwrap().spilled.as_ref().map(|spilled| spilled.rows);
    assert!(spilled.is_some_and(|rows| rows <= 1_100), "{spilled:?}");
    let mut states = Vec::new();
    fold.each(|_, state| states.push(state.clone())).unwrap();
    let newest = |key: u64| (0..200_000_u64).rev().find(|offset| offset * 7_919 % 500 == key);
    assert_eq!(states, (0..500).map(|key| State::Is(newest(key))).collect::<Vec<_>>());
}
