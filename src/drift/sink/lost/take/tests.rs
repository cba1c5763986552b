use super::*;
use crate::audit::coverage::{Coverage, Isolation};
use crate::drift::digest::Spans;
use crate::drift::record::change::Change;

fn row(values: &[Option<&str>]) -> Row {
    Row { keys: vec!["1".to_owned()], values: values.iter().map(|text| text.map(str::to_owned)).collect() }
}

fn broken(offset: i64, op: Op, expected: Option<Row>, actual: Option<Row>) -> Broken {
    let at = |offset| At { offset, timestamp: 0, checksum: 0 };
    Broken { previous: at(offset - 1), at: at(offset), line: 0, op, expected, actual }
}

/// Of a partition whose events tell the first of two columns.
fn taken(all: impl IntoIterator<Item = Broken>) -> Taken {
    let mut images = Lines::default();
    for (offset, told) in [(10, "a"), (20, "b")] {
        let mut spans = Spans::default();
        [Some("1"), Some(told), Some("same")].iter().for_each(|text| spans.push(text.map(str::as_bytes)));
        images.see(0, offset, &Change { op: Op::Update, before: Before::Row, has_image: true, place: None }, &spans, 1);
    }
    let lane = Lane { broken: all.into_iter().collect(), ..Lane::default() };
    let lanes = BTreeMap::from([(vec!["1".to_owned()], BTreeMap::from([(0, lane)]))]);
    Taken { lanes, images, is_truncated: false }
}

fn read(holes: Holes) -> Read {
    let coverage = Coverage {
        topic: "t".to_owned(),
        partition: 0,
        from: 0,
        until: 30,
        records: 30 - holes.total(),
        batches: 1,
        isolation: Isolation::ReadCommitted,
        holes,
    };
    Read { coverage: vec![coverage], ..Read::default() }
}

fn offsets(taken: &Taken, holes: Holes) -> Vec<i64> {
    taken.lost(&read(holes)).0.iter().flat_map(|lost| &lost.broken).map(|broken| broken.at.offset).collect()
}

fn update(offset: i64) -> Broken {
    broken(offset, Op::Update, Some(row(&[Some("a"), None])), Some(row(&[Some("b"), None])))
}

#[test]
fn only_what_events_tell_is_held_against_them() {
    let of_other = broken(16, Op::Update, Some(row(&[Some("a"), Some("x")])), Some(row(&[Some("a"), None])));
    let of_both = broken(17, Op::Update, Some(row(&[Some("a"), Some("x")])), Some(row(&[Some("b"), None])));
    let taken = taken([update(9), update(10), of_other, of_both]);
    assert_eq!(offsets(&taken, Holes::default()), [10, 17]);
    let (lost, _) = taken.lost(&read(Holes::default()));
    assert_eq!(lost[0].broken[1].actual, Some(row(&[Some("b"), Some("x")])), "the other column is not told");
}

#[test]
fn a_partition_with_holes_proves_nothing() {
    let taken = taken([update(15)]);
    for (holes, lost) in [
        (Holes { expired: 1, ..Holes::default() }, 0),
        (Holes { control: 2, aborted: 3, unstable: 1, unfetched: 1, ..Holes::default() }, 1),
        (Holes { compacted: 1, ..Holes::default() }, 0),
        (Holes { unreadable: 1, ..Holes::default() }, 0),
        (Holes { unknown: 1, ..Holes::default() }, 0),
        (Holes { unexplained: 1, ..Holes::default() }, 0),
    ] {
        assert_eq!(offsets(&taken, holes).len(), lost, "{holes:?}");
        assert_eq!(taken.lost(&read(holes)).1, 1 - lost as u64, "{holes:?}: what is not told is counted");
    }
    assert!(taken.lost(&Read::default()).0.is_empty(), "nothing was read of it");
}

#[test]
fn a_key_of_several_partitions_has_no_order() {
    let mut taken = taken([update(15)]);
    taken.lanes.values_mut().for_each(|lanes| _ = lanes.insert(1, Lane::default()));
    assert_eq!(offsets(&taken, Holes::default()), Vec::<i64>::new());
    assert_eq!(taken.lost(&read(Holes::default())).1, 1);
}

#[test]
fn rows_that_were_truncated_away_may_come_again() {
    let created = broken(15, Op::Create, Some(row(&[Some("a"), None])), None);
    let mut taken = taken([created, update(16)]);
    assert_eq!(offsets(&taken, Holes::default()), [15, 16]);
    taken.is_truncated = true;
    assert_eq!(offsets(&taken, Holes::default()), [16]);
}

#[test]
fn of_many_the_last_are_kept() {
    let link = |number: u64| Link {
        at: At { offset: number as i64, timestamp: 0, checksum: 0 },
        place: Some(crate::drift::record::envelope::Place { line: 0, log: [number, 0, 0], stream: None }),
        op: Op::Update,
        before: Known::Row(row(&[Some("b"), None])),
        after: Known::Row(row(&[Some("a"), None])),
    };
    let mut lane = Lane::default();
    (10..20).for_each(|number| lane.take(link(number), -1));
    assert_eq!((lane.broken.len(), lane.is_cut), (9, false));
    (20..50).for_each(|number| lane.take(link(number), -1));
    assert_eq!((lane.broken.len(), lane.is_cut, lane.broken[0].at.offset), (MOST_OF_KEY, true, 30));
}
