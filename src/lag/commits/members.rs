//! Whether a group has members, as far as the log has told. It must not know commits.
//!
//! The members of a classic group stand in one record. Those of a KIP-848 group stand in one record each, so that they
//! are known to be none only if the log was read from its start or the group began while it was read.

use std::collections::HashSet;

use super::decode::ClassicValue;

/// Members kept of one KIP-848 group: with more, nobody knows when all have left.
const MOST_MEMBERS: usize = 10_000;

#[derive(Debug, Default)]
pub struct Members {
    number: Option<i32>,
    /// Of a classic group.
    classic: Option<bool>,
    /// Hashes of the members' ids, of a KIP-848 group.
    each: HashSet<u64>,
    /// Nobody can be missing from `each`.
    is_complete: bool,
    /// There were members once, seen or known to have left.
    had_some: bool,
}

impl Members {
    /// `is_complete`: nothing that the log says of this group's members has been missed.
    pub fn new(is_complete: bool) -> Self {
        Self { is_complete, ..Self::default() }
    }

    /// A stretch of the log is missing.
    pub fn forget(&mut self) {
        *self = Self { number: self.number, ..Self::default() };
    }

    pub fn has_some(&self) -> Option<bool> {
        match self.classic {
            Some(known) => Some(known),
            None if !self.each.is_empty() => Some(true),
            None => self.is_complete.then_some(false),
        }
    }

    /// There were members, and certainly none is left.
    pub fn have_left(&self) -> bool {
        self.had_some && self.has_some() == Some(false)
    }

    /// The record of a classic group. Returns whether it says anything new.
    pub fn classic(&mut self, value: ClassicValue) -> bool {
        let has_some = value.members > 0;
        self.each.clear();
        self.had_some |= has_some;
        let is_other = self.number.replace(value.generation) != Some(value.generation);
        self.classic.replace(has_some) != Some(has_some) || is_other
    }

    /// The record of a KIP-848 group's epoch. Returns whether it is another one.
    pub fn epoch(&mut self, epoch: i32) -> bool {
        self.classic = None;
        // A group begins with epoch 1, and the record of its first member stands before that of its epoch.
        self.is_complete |= epoch <= 1 && self.each.len() < MOST_MEMBERS;
        self.number.replace(epoch) != Some(epoch)
    }

    /// The record of one member of a KIP-848 group.
    pub fn member(&mut self, hash: u64, is_there: bool) {
        self.classic = None;
        self.had_some = true;
        if !is_there {
            self.each.remove(&hash);
        } else if self.each.len() < MOST_MEMBERS {
            self.each.insert(hash);
        } else {
            self.is_complete &= self.each.contains(&hash);
        }
    }
}
