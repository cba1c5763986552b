use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn known(value: Option<u8>) -> Known {
    value.map_or(Known::Gone, |value| {
        Known::Row(Row { keys: vec!["1".to_owned()], values: vec![Some(value.to_string())] })
    })
}

/// The `number`th change of a key, as a connector sends it.
fn change(number: usize, before: Option<u8>, after: Option<u8>) -> Link {
    let op = match (before, after) {
        (None, _) => Op::Create,
        (_, None) => Op::Delete,
        _ => Op::Update,
    };
    let place = Some(Place { line: 1, log: [number as u64, 0, 0], stream: None });
    Link { at: at(0), place, op, before: known(before), after: known(after) }
}

fn found(row: Option<u8>) -> Link {
    Link { op: Op::Read, before: Known::Nothing, ..change(0, None, row) }
}

fn tombstone() -> Link {
    Link { at: at(0), place: None, op: Op::Delete, before: Known::Nothing, after: Known::Gone }
}

fn at(offset: i64) -> At {
    At { offset, timestamp: 0, checksum: 0 }
}

/// Offsets of what is broken, and of what went before.
fn broken(links: impl IntoIterator<Item = Link>, blind: i64) -> Vec<(i64, i64)> {
    let mut chain = Chain::default();
    let broken = links.into_iter().enumerate().filter_map(|(offset, link)| {
        let blind = if offset as i64 > blind { blind } else { -1 };
        let broken = chain.take(Link { at: at(offset as i64), ..link }, blind)?;
        Some((broken.at.offset, broken.previous.offset))
    });
    broken.collect()
}

/// What happens on the way of one key's events into the topic.
#[derive(Clone, Debug)]
enum Way {
    Change {
        to: Option<u8>,
        is_lost: bool,
    },
    /// The connector begins again so many events before.
    Again(usize),
    /// It reads the row, or what the row will be after so many more changes.
    Found(usize),
}

fn way() -> impl Strategy<Value = Way> {
    let to = prop::option::weighted(0.8, 0..3_u8);
    prop_oneof![
        10 => (to, prop::bool::weighted(0.2)).prop_map(|(to, is_lost)| Way::Change { to, is_lost }),
        1 => (1..6_usize).prop_map(Way::Again),
        1 => (0..3_usize).prop_map(Way::Found),
    ]
}

proptest! {
    /// The oracle knows which changes were lost: an event is broken when what lies between it and the one that was sent
    /// before it did not bring the row back to where it was.
    #[test]
    fn finds_what_was_lost_and_nothing_else(ways in prop::collection::vec(way(), 0..80)) {
        let mut states = vec![None];
        states.extend(ways.iter().filter_map(|way| match way {
            Way::Change { to, .. } => Some(*to),
            _ => None,
        }));
        let (mut topic, mut sent, mut expected) = (Vec::new(), Vec::new(), BTreeSet::new());
        // Where the event that was sent last stands, unless a row was read since.
        let (mut number, mut last): (usize, Option<(usize, usize)>) = (0, None);
        let send = |topic: &mut Vec<Link>, number: usize| {
            topic.push(change(number, states[number - 1], states[number]));
            if states[number].is_none() {
                topic.push(tombstone());
            }
        };
        for way in ways {
            match way {
                Way::Change { is_lost, .. } => {
                    number += 1;
                    // Nothing happens to a row that is not there.
                    if is_lost || (states[number - 1].is_none() && states[number].is_none()) {
                        continue;
                    }
                    if let Some((at, _)) = last.filter(|(_, before)| states[*before] != states[number - 1]) {
                        expected.insert((topic.len() as i64, at as i64));
                    }
                    last = Some((topic.len(), number));
                    sent.push(number);
                    send(&mut topic, number);
                }
                Way::Again(back) => {
                    for number in &sent[sent.len().saturating_sub(back)..] {
                        send(&mut topic, *number);
                    }
                }
                Way::Found(ahead) => {
                    if let Some(row @ Some(_)) = states.get(number + ahead) {
                        topic.push(found(*row));
                        last = None;
                    }
                }
            }
        }
        prop_assert_eq!(broken(topic, -1).into_iter().collect::<BTreeSet<_>>(), expected);
    }
}

#[test]
fn a_change_that_was_lost_shows_in_the_next_event() {
    assert_eq!(broken([change(1, None, Some(1)), change(3, Some(2), Some(3))], -1), [(1, 0)]);
    // The row was deleted between the two, or was there between them.
    assert_eq!(broken([change(1, None, Some(1)), change(3, None, Some(1))], -1), [(1, 0)]);
    assert_eq!(broken([change(1, Some(1), None), tombstone(), change(3, Some(1), Some(2))], -1), [(2, 0)]);
    assert_eq!(broken([change(3, Some(2), Some(3))], -1), [], "nobody knows what went before");
}

#[test]
fn what_could_not_be_read_may_have_been_the_change() {
    let links = || [change(1, None, Some(1)), change(2, Some(1), Some(2)), change(4, Some(3), Some(4))];
    assert_eq!(broken(links(), -1), [(2, 1)]);
    assert_eq!(broken(links(), 0), [(2, 1)], "it lies before both");
    let unreadable = Link { after: Known::Nothing, ..change(2, Some(1), Some(2)) };
    assert_eq!(broken([change(1, None, Some(1)), unreadable, change(4, Some(3), Some(4))], -1), []);
    let mut chain = Chain::default();
    chain.take(Link { at: at(5), ..change(1, None, Some(1)) }, -1);
    assert_eq!(chain.take(Link { at: at(7), ..change(3, Some(2), Some(3)) }, 6), None);
}

#[test]
fn places_without_an_order_prove_nothing() {
    let elsewhere = |mut link: Link| {
        link.place = link.place.map(|place| Place { line: 2, ..place });
        link
    };
    assert_eq!(broken([change(1, None, Some(1)), elsewhere(change(3, Some(2), Some(3)))], -1), []);
    // A server whose positions begin anew, up to where the other one's were.
    let anew = [
        change(9, None, Some(1)),
        change(2, Some(2), Some(3)),
        change(3, Some(3), Some(4)),
        change(10, Some(7), Some(8)),
    ];
    assert_eq!(broken(anew, -1), []);
    // Two changes at one place.
    assert_eq!(broken([change(1, None, Some(1)), change(1, Some(1), Some(2)), change(3, Some(1), Some(2))], -1), []);
    let tombstone_alone = [change(1, None, Some(1)), tombstone(), change(2, Some(1), Some(2))];
    assert_eq!(broken(tombstone_alone, -1), []);
    let nowhere = Link { place: None, ..change(2, Some(2), Some(3)) };
    assert_eq!(broken([change(1, None, Some(1)), nowhere], -1), []);
}

#[test]
fn what_is_sent_again_after_much_more_is_not_held_against_anything() {
    let sent: Vec<Link> = (1..=1_000).map(|number| change(number, (number > 1).then_some(1), Some(1))).collect();
    let mut links = sent.clone();
    links.extend(sent);
    links.push(change(1_002, Some(2), Some(3)));
    links.push(change(1_004, Some(4), Some(5)));
    assert_eq!(broken(links, -1), [(2_001, 2_000)]);
}
