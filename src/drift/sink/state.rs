//! What the fold holds, as the table's sums are held against it.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use crate::audit::drift::{Cut, DriftSummary};
use crate::audit::verdict::Unread;
use crate::drift::digest::{Digest, bucket_of};
use crate::drift::fold::{Fold, State, certain};
use crate::drift::sums::Sums;
use crate::drift::topic::Read;
use crate::drift::{DriftError, Part, Settings, note};

/// The sums of what is certain, and the keys of which it is not.
pub fn sums_of(
    fold: &Fold,
    part: Part,
    summary: &mut DriftSummary,
) -> Result<(Sums, FxHashMap<u64, State>), DriftError> {
    let mut sums = Sums::new(part);
    let mut open = FxHashMap::default();
    let each = |key: u64, state: &State| match certain(key, state) {
        Some(row) => sums.add(row, 1),
        None if matches!(state, State::Is(_)) => {}
        None => {
            summary.undecided.buckets.insert(bucket_of(key));
            open.insert(key, state.clone());
        }
    };
    let counts = fold.each(each).map_err(DriftError::Disk)?;
    summary.keys = counts.keys - counts.deleted;
    summary.in_flight = counts.in_flight;
    note(&mut summary.unverifiable, "undecodable", counts.unknown);
    Ok((sums, open))
}

/// The keys of which no one row is certain.
pub fn open_of(fold: &Fold) -> Result<FxHashMap<u64, State>, DriftError> {
    let mut open = FxHashMap::default();
    let each = |key: u64, state: &State| {
        if !matches!(state, State::Is(_)) {
            open.insert(key, state.clone());
        }
    };
    fold.each(each).map_err(DriftError::Disk)?;
    Ok(open)
}

/// Keys in flight whose row is none of those it may be.
pub fn in_flight_suspects(open: &FxHashMap<u64, State>, rows: &[Digest]) -> BTreeSet<u64> {
    let mut found: FxHashMap<u64, Vec<u64>> = FxHashMap::default();
    for row in rows {
        found.entry(row.key).or_default().push(row.row);
    }
    let is_suspect = |(key, state): &(&u64, &State)| match state {
        State::OneOf(allowed) => match found.get(*key).map(Vec::as_slice) {
            None => !allowed.contains(&None),
            Some([row]) => !allowed.contains(&Some(*row)),
            Some(_) => true,
        },
        State::Partial => true,
        _ => false,
    };
    open.iter().filter(is_suspect).map(|(key, _)| *key).collect()
}

/// Partitions of which nothing must be in the table, or of which nobody can tell what must.
pub fn unjudged(settings: &Settings, cuts: &[Cut], read: &Read) -> Vec<Unread> {
    let part = |cut: &Cut| {
        let coverage = read.coverage.iter().find(|coverage| coverage.partition == cut.partition)?;
        let start = coverage.start();
        let (until, why) = match cut.settled {
            0 if coverage.records > 0 && start == 0 => match settings.group {
                Some(_) => (coverage.until, "the group has committed nothing of it yet"),
                None => (coverage.until, "all of its records are younger than the settle time"),
            },
            settled if settled < start => (start, "these records expired before the group had committed them"),
            _ => return None,
        };
        Some(Unread {
            topic: coverage.topic.clone(),
            partition: Some(cut.partition),
            from: Some(cut.settled),
            until: Some(until),
            why: why.to_owned(),
        })
    };
    cuts.iter().filter_map(part).collect()
}

/// Partitions of which the group has passed records that are not committed: it reads them, and nobody can say here what they are.
pub fn unreadable_yet(settings: &Settings, cuts: &[Cut], read: &Read) -> Vec<Unread> {
    let part = |cut: &Cut| {
        let coverage = read.coverage.iter().find(|coverage| coverage.partition == cut.partition)?;
        let stable = coverage.stable_end();
        (settings.group.is_some() && cut.settled > stable).then(|| Unread {
            topic: coverage.topic.clone(),
            partition: Some(cut.partition),
            from: Some(stable),
            until: Some(cut.settled),
            why: "the group has passed these records of a transaction that is still open".to_owned(),
        })
    };
    cuts.iter().filter_map(part).collect()
}
