//! What the fold holds, as the table's sums are held against it.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use crate::audit::drift::DriftSummary;
use crate::drift::digest::{Digest, bucket_of};
use crate::drift::fold::{Fold, State, certain};
use crate::drift::sums::Sums;
use crate::drift::{DriftError, Part, note};

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
