//! Identities that are to be forgotten: which of their rows no longer count. Pure; knows nothing of files.
//!
//! A forgotten identity is named with the number the next run had at that time. Its rows in runs below that number are
//! ignored at once and left out when their run is merged; the same identity seen later counts as new.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Shared by all runs of a ledger.
#[derive(Clone, Default)]
pub(super) struct Forgotten(Arc<BTreeMap<u128, u64>>);

impl Forgotten {
    pub fn new(before: BTreeMap<u128, u64>) -> Self {
        Self(Arc::new(before))
    }

    /// With more identities, ignored in runs below `before`.
    pub fn and(&self, identities: &[u128], before: u64) -> Self {
        let mut all = (*self.0).clone();
        all.extend(identities.iter().map(|&identity| (identity, before)));
        Self::new(all)
    }

    pub fn without(&self, identities: &[u128]) -> Self {
        let mut all = (*self.0).clone();
        all.retain(|identity, _| !identities.contains(identity));
        Self::new(all)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the rows of an identity in a run are to be ignored.
    pub fn hides(&self, hi: u64, lo: u64, run: u64) -> bool {
        // Almost always nothing is forgotten.
        !self.0.is_empty() && self.0.get(&(u128::from(hi) << 64 | u128::from(lo))).is_some_and(|&before| run < before)
    }

    /// Identities with rows to be ignored in a run, should it hold any, ascending.
    pub fn in_run(&self, run: u64) -> impl Iterator<Item = u128> + '_ {
        self.0.iter().filter(move |&(_, &before)| run < before).map(|(&identity, _)| identity)
    }

    /// Identities that hide nothing since every run is younger.
    pub fn without_use(&self, oldest_run: Option<u64>) -> Vec<u128> {
        let is_past = |before: u64| oldest_run.is_none_or(|run| run >= before);
        self.0.iter().filter(|&(_, &before)| is_past(before)).map(|(&identity, _)| identity).collect()
    }

    pub fn all(&self) -> Vec<u128> {
        self.0.keys().copied().collect()
    }
}
