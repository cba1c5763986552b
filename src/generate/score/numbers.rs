//! Numbers of sessions that are expected.

use std::collections::{BTreeMap, HashMap};

use super::Atom;

#[derive(Default)]
pub(super) struct Numbers(pub HashMap<String, BTreeMap<i64, Atom>>);

impl Numbers {
    /// Marks the number found; the fault that caused it, unless it is not expected or was found before.
    pub fn take(&mut self, session: &str, number: i64) -> Option<usize> {
        let atom = self.0.get_mut(session)?.get_mut(&number).filter(|atom| !atom.found)?;
        atom.found = true;
        Some(atom.fault)
    }
}
