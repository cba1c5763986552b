//! Two folds side by side: both lie here, so each shard is gone through once, and nothing has to be narrowed down first.

use std::io;

use crate::drift::fold::{Counts, Fold, SHARDS, State};

/// Hands over each key with what the sides say of it, a key that one of them lacks too. Memory holds one shard.
pub fn merge(
    first: &Fold,
    second: &Fold,
    mut take: impl FnMut(u64, Option<&State>, Option<&State>),
) -> io::Result<(Counts, Counts)> {
    let (mut of_first, mut of_second) = (Counts::default(), Counts::default());
    for shard in 0..SHARDS {
        let mut theirs: Vec<(u64, State)> = Vec::new();
        second.each_of(shard, &mut of_second, &mut |key, state| theirs.push((key, state.clone())))?;
        let mut theirs = theirs.iter().peekable();
        first.each_of(shard, &mut of_first, &mut |key, ours| {
            while let Some((before, their)) = theirs.next_if(|(their, _)| *their < key) {
                take(*before, None, Some(their));
            }
            let same = theirs.next_if(|(their, _)| *their == key);
            take(key, Some(ours), same.map(|(_, their)| their));
        })?;
        theirs.for_each(|(key, their)| take(*key, None, Some(their)));
    }
    Ok((of_first, of_second))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::drift::fold::{Said, Version};

    type Records = Vec<(u64, Option<u64>)>;

    /// As maps do it, which are what is expected of the folds.
    fn folded(records: &Records) -> (Fold, BTreeMap<u64, State>) {
        let (fold, mut map) = (Fold::new(0), BTreeMap::new());
        let mut writer = fold.writer();
        for ((key, row), offset) in records.iter().zip(0..) {
            let key = key << 56 | key;
            let said = row.map_or(Said::Deleted, Said::Row);
            writer.push(&Version { key, partition: 0, offset, said, is_open: false }).unwrap();
            map.insert(key, State::Is(*row));
        }
        writer.end().unwrap();
        (fold, map)
    }

    proptest! {
        #[test]
        fn merges_as_maps_do(
            ours in prop::collection::vec((0..200_u64, prop::option::of(1..4_u64)), 0..300),
            theirs in prop::collection::vec((0..200_u64, prop::option::of(1..4_u64)), 0..300),
        ) {
            let ((first, ours), (second, theirs)) = (folded(&ours), folded(&theirs));
            let mut found = Vec::new();
            merge(&first, &second, |key, ours, theirs| found.push((key, ours.cloned(), theirs.cloned()))).unwrap();
            found.sort_by_key(|(key, ..)| *key);
            let keys: BTreeSet<u64> = ours.keys().chain(theirs.keys()).copied().collect();
            let expected: Vec<_> =
                keys.into_iter().map(|key| (key, ours.get(&key).cloned(), theirs.get(&key).cloned())).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
