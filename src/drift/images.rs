//! Whether the events of a partition and table carry the whole row before a change. With PostgreSQL's `REPLICA IDENTITY DEFAULT` an update
//! has none and a deletion has the key, everything else filled with nulls or defaults; with an index it has that index's columns.
//!
//! So events count from the first update that tells its row, as long as every later one does. A deletion counts when
//! such an update follows it. And a column counts once two values of it were told: what is filled in is always the same.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64;

use super::digest::Spans;
use super::record::change::{Before, Change, Op};

/// By partition and line of the source's log: several tables, or shards, may stand in one partition, each with an identity of its own.
#[derive(Clone, Debug, Default)]
pub struct Lines(BTreeMap<(i32, u64), Images>);

impl Lines {
    pub fn see(&mut self, partition: i32, offset: i64, change: &Change, before: &Spans, keys: usize) {
        let line = change.place.map_or(0, |place| place.line);
        self.0.entry((partition, line)).or_default().see(offset, change, before, keys);
    }

    pub fn of(&self, partition: i32, line: u64) -> Option<&Images> {
        self.0.get(&(partition, line))
    }

    /// Whether anything may be said of any line's row at this place.
    pub fn cover(&self, partition: i32, op: Op, offset: i64) -> bool {
        self.0.range((partition, 0)..=(partition, u64::MAX)).any(|(_, images)| images.cover(op, offset))
    }

    pub fn all(&self) -> impl Iterator<Item = &Images> {
        self.0.values()
    }

    /// Each partition is read by one thread.
    pub fn add(&mut self, other: Self) {
        self.0.extend(other.0);
    }
}

#[derive(Clone, Debug, Default)]
pub struct Images {
    /// Updates, and those of them that told no row before.
    pub updates: u64,
    pub without: u64,
    /// Offsets of the first and the last update that did, since one did not.
    span: Option<(i64, i64)>,
    columns: Vec<Told>,
}

/// What was told of one column.
#[derive(Clone, Copy, Debug)]
enum Told {
    One(u64),
    Several,
}

impl Images {
    /// `before`: the row of the event, keys first, where it tells one.
    fn see(&mut self, offset: i64, change: &Change, before: &Spans, keys: usize) {
        if change.op != Op::Update {
            return;
        }
        self.updates += 1;
        if !change.has_image {
            self.without += 1;
            (self.span, self.columns) = (None, Vec::new());
            return;
        }
        self.span = Some((self.span.map_or(offset, |(first, _)| first), offset));
        if change.before != Before::Row {
            return;
        }
        for (index, text) in before.texts().skip(keys).enumerate() {
            let hash = || text.map_or(0, |text| xxh3_64(text) | 1);
            match self.columns.get_mut(index) {
                None => self.columns.push(Told::One(hash())),
                Some(Told::Several) => {}
                Some(told @ Told::One(_)) => {
                    if !matches!(told, Told::One(one) if *one == hash()) {
                        *told = Told::Several;
                    }
                }
            }
        }
    }

    /// Whether anything may be said of what the row was before this event.
    pub fn cover(&self, op: Op, offset: i64) -> bool {
        let Some((first, last)) = self.span else { return false };
        first <= offset && (op != Op::Delete || offset < last)
    }

    pub fn tell(&self, column: usize) -> bool {
        matches!(self.columns.get(column), Some(Told::Several))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drift::record::envelope::Place;

    fn update(images: &mut Images, offset: i64, before: Option<[Option<&str>; 2]>) {
        let mut spans = Spans::default();
        spans.push(Some(b"1"));
        before.iter().flatten().for_each(|text| spans.push(text.map(str::as_bytes)));
        let told = if before.is_some() { Before::Row } else { Before::Untold };
        let change = Change { op: Op::Update, before: told, has_image: before.is_some(), place: None };
        images.see(offset, &change, &spans, 1);
    }

    #[test]
    fn each_table_has_an_identity_of_its_own() {
        let mut lines = Lines::default();
        let mut spans = Spans::default();
        ["1", "a"].iter().for_each(|text| spans.push(Some(text.as_bytes())));
        let mut see = |offset, line, has_image| {
            let before = if has_image { Before::Row } else { Before::Untold };
            let place = Some(Place { line, log: [offset as u64, 0, 0], stream: None });
            lines.see(0, offset, &Change { op: Op::Update, before, has_image, place }, &spans, 1);
        };
        [(5, 1, true), (6, 2, false), (9, 1, true)].iter().for_each(|(offset, line, has)| see(*offset, *line, *has));
        assert!(lines.of(0, 1).is_some_and(|images| images.cover(Op::Delete, 7)));
        assert!(!lines.of(0, 2).is_some_and(|images| images.cover(Op::Delete, 7)));
        assert!(lines.cover(0, Op::Update, 7) && !lines.cover(1, Op::Update, 7));
    }

    #[test]
    fn events_count_from_the_first_whole_row_on() {
        let mut images = Images::default();
        assert!(!images.cover(Op::Create, 5));
        update(&mut images, 5, Some([Some("a"), None]));
        update(&mut images, 9, Some([Some("b"), None]));
        assert!(!images.cover(Op::Update, 4) && images.cover(Op::Update, 5) && images.cover(Op::Create, 20));
        assert!(images.cover(Op::Delete, 8), "rows were told before it and behind it");
        assert!(!images.cover(Op::Delete, 9), "since then only keys may be told");
        assert!(images.tell(0) && !images.tell(1) && !images.tell(2));
        update(&mut images, 12, None);
        assert!(!images.cover(Op::Update, 9) && !images.tell(0));
        update(&mut images, 14, Some([None, Some("")]));
        update(&mut images, 15, Some([Some(""), Some("")]));
        assert!(images.cover(Op::Update, 14) && !images.cover(Op::Update, 12));
        assert!(images.tell(0) && !images.tell(1), "null and no text are two values");
        assert_eq!((images.updates, images.without), (5, 1));
    }
}
