//! What is left when all findings were heard: found, missed and invented, fault by fault.

use std::collections::BTreeMap;

use super::{Atom, EXAMPLES, Example, FaultScore, Invented, Ledger, Named, Score, named, sorted};
use crate::generate::fault::Expect;
use crate::generate::truth::{Injected, Item};

impl Ledger<'_> {
    pub(super) fn close(mut self) -> Score {
        match self.resets {
            None => {
                self.problems.push("the findings end without a summary: the audit may have been cut off".to_owned())
            }
            Some(found) => self.close_counted(found, Expect::Reset.name(), |i| i.expect == Expect::Reset),
        }
        if self.truth.flow.is_some() {
            self.close_counted(self.late_answers, "late-answer", |injected| injected.expect == Expect::Late);
        }
        let faults: Vec<FaultScore> = (0..self.truth.faults.len()).map(|fault| self.fault(fault)).collect();
        let invented: Vec<Invented> = self.invented.into_values().collect();
        let exact = invented.is_empty()
            && self.problems.is_empty()
            && faults.iter().all(|fault| fault.missed == 0 && fault.pattern != Some(Named::Missed));
        Score { exact, faults, invented, problems: self.problems }
    }

    /// What only the summary tells, as a figure.
    fn close_counted(&mut self, found: u64, name: &str, is_counted: fn(&Injected) -> bool) {
        let mut left = found;
        let mut made = 0;
        for (fault, injected) in self.truth.faults.iter().enumerate().filter(|(_, injected)| is_counted(injected)) {
            self.found[fault] = left.min(injected.count);
            left -= self.found[fault];
            made += injected.count;
        }
        if left > 0 {
            let what = format!("the summary counts {found} of {name}, {made} were made");
            self.invent_named(name, left, Example { finding: None, what });
        }
    }

    fn fault(&self, fault: usize) -> FaultScore {
        let injected = &self.truth.faults[fault];
        let is_anomaly = injected.expect != Expect::None;
        FaultScore {
            fault: injected.fault.clone(),
            spec: injected.spec.clone(),
            expect: injected.expect,
            injected: injected.count,
            found: is_anomaly.then_some(self.found[fault]),
            missed: if is_anomaly { injected.count.saturating_sub(self.found[fault]) } else { 0 },
            pattern: self.patterns.outcome(fault),
            examples: self.missed(fault),
        }
    }

    fn missed(&self, fault: usize) -> Vec<String> {
        let is_missed = |atom: &Atom| atom.fault == fault && !atom.found;
        let expect = self.truth.faults[fault].expect;
        let numbers = match expect {
            Expect::MissingStage | Expect::UnexpectedRecord | Expect::StageMismatch => {
                return self.transactions.missed(expect, fault).take(EXAMPLES).collect();
            }
            Expect::Lost => &self.lost,
            Expect::Late => &self.late,
            Expect::Reorder => &self.reorder,
            Expect::Reset | Expect::None => return Vec::new(),
            Expect::Duplicate | Expect::Conflict => {
                return self.truth.faults[fault]
                    .items
                    .iter()
                    .filter_map(|item| match item {
                        Item::Copies { event_id, positions } => Some((event_id, sorted(positions.clone()))),
                        _ => None,
                    })
                    .filter(|(_, at)| self.duplicate.get(at).or(self.conflict.get(at)).is_some_and(is_missed))
                    .take(EXAMPLES)
                    .map(|(event_id, at)| format!("{event_id} at {}", named(&at)))
                    .collect();
            }
        };
        let sessions: BTreeMap<_, _> = numbers.0.iter().collect();
        let missed = sessions
            .into_iter()
            .flat_map(|(session, known)| known.iter().map(move |(number, atom)| (session, number, atom)));
        missed
            .filter(|(_, _, atom)| is_missed(atom))
            .take(EXAMPLES)
            .map(|(session, number, _)| format!("{session} {number}"))
            .collect()
    }
}
