//! Findings about a flow's transactions against those that the worker failed. A transaction is known by where its records
//! lie: its id is hashed under a key that the truth does not have.

use std::collections::{BTreeMap, HashMap};

use super::Atom;
use crate::audit::finding::{Finding, Kind, State};
use crate::generate::fault::Expect;
use crate::generate::truth::Seen;

#[derive(Default)]
pub(super) struct Transactions(HashMap<Expect, BTreeMap<Vec<Seen>, Atom>>);

impl Transactions {
    pub fn expect(&mut self, expect: Expect, seen: &[Seen], atom: Atom) {
        self.0.entry(expect).or_default().insert(sorted(seen.to_vec()), atom);
    }

    /// The fault that the finding is about, unless it was expected of none or has been told before.
    pub fn take(&mut self, finding: &Finding) -> Option<usize> {
        let expect = match (finding.kind, finding.state) {
            (Kind::MissingStage, State::Resolved) => Expect::Late,
            (Kind::MissingStage, _) => Expect::MissingStage,
            (Kind::StageMismatch, _) => Expect::StageMismatch,
            (Kind::UnexpectedRecord, _) => Expect::UnexpectedRecord,
            _ => return None,
        };
        let seen = |seen: &crate::audit::finding::Sighting| Seen {
            topic: seen.topic.clone(),
            partition: seen.partition,
            offset: seen.offset,
        };
        let seen = sorted(finding.sightings.iter().map(seen).collect());
        let atom = self.0.get_mut(&expect)?.get_mut(&seen).filter(|atom| !atom.found)?;
        atom.found = true;
        Some(atom.fault)
    }

    /// Where those lie that were missed of a fault.
    pub fn missed(&self, expect: Expect, fault: usize) -> impl Iterator<Item = String> {
        let all = self.0.get(&expect).into_iter().flatten();
        all.filter(move |(_, atom)| atom.fault == fault && !atom.found).map(|(seen, _)| named(seen))
    }
}

fn sorted(mut seen: Vec<Seen>) -> Vec<Seen> {
    seen.sort_unstable();
    seen
}

fn named(seen: &[Seen]) -> String {
    let each: Vec<String> = seen.iter().map(|at| format!("{}[{}]@{}", at.topic, at.partition, at.offset)).collect();
    each.join(" ")
}
