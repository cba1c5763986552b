//! Where the records stand that a topic's state comes from, so that they can be read again for what a hash does not tell.

use std::collections::BTreeMap;
use std::io;
use std::sync::PoisonError;

use roaring::RoaringTreemap;

use super::packed::squash;
use super::{Fold, Said, read_back};

/// Offsets by partition.
#[derive(Debug, Default)]
pub struct Offsets(BTreeMap<i32, RoaringTreemap>);

impl Offsets {
    pub fn insert(&mut self, partition: i32, offset: i64) {
        self.0.entry(partition).or_default().insert(offset as u64);
    }

    pub fn has(&self, partition: i32, offset: i64) -> bool {
        self.0.get(&partition).is_some_and(|offsets| offsets.contains(offset as u64))
    }

    pub fn len(&self) -> u64 {
        self.0.values().map(RoaringTreemap::len).sum()
    }
}

#[derive(Debug, Default)]
pub struct Places {
    /// The row of each key of which that is certain.
    pub certain: Offsets,
    /// Versions of all other keys, but those that later ones have replaced.
    pub others: Offsets,
}

impl Fold {
    pub fn places(&self) -> io::Result<Places> {
        let mut places = Places::default();
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let mut rows = read_back(&mut shard)?;
            rows.extend_from_slice(&shard.rows);
            squash(&mut rows, true, |_| ());
            for versions in rows.chunk_by(|a, b| a.key == b.key) {
                match versions {
                    [one] if !one.is_open() && one.said() == Said::Deleted => (),
                    [one] if !one.is_open() && matches!(one.said(), Said::Row(_) | Said::Loose(_)) => {
                        places.certain.insert(one.partition(), one.offset());
                    }
                    all => all.iter().for_each(|one| places.others.insert(one.partition(), one.offset())),
                }
            }
        }
        Ok(places)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{State, Version};
    use super::*;

    #[test]
    fn a_place_is_that_of_the_row_that_stands() {
        let fold = Fold::new(1 << 20);
        let mut writer = fold.writer();
        let mut push = |key, partition, offset, said, is_open| {
            writer.push(&Version { key, partition, offset, said, is_open }).unwrap();
        };
        push(1, 0, 5, Said::Row(1), false);
        push(1, 0, 9, Said::Row(2), false);
        push(2, 1, 6, Said::Row(3), false);
        push(2, 1, 7, Said::Deleted, false);
        push(3, 1, 1, Said::Row(4), false);
        push(3, 1, 2, Said::Row(5), false);
        push(3, 1, 3, Said::Row(6), true);
        push(4, 2, 1 << 40, Said::Unreadable, false);
        writer.end().unwrap();
        let places = fold.places().unwrap();
        assert!(places.certain.has(0, 9) && places.certain.len() == 1);
        assert!(
            [(1, 2), (1, 3), (2, 1 << 40)].iter().all(|(partition, offset)| places.others.has(*partition, *offset))
        );
        assert_eq!(places.others.len(), 3);
        let mut certain = 0;
        fold.each(|_, state| certain += u64::from(matches!(state, State::Is(Some(_))))).unwrap();
        assert_eq!(certain, places.certain.len());
    }
}
