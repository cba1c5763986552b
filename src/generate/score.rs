//! Findings against the truth: what was injected and found, what was missed, and what was invented.
//!
//! Both sides are broken into atoms that do not depend on how an audit groups them: one lost number, one late number,
//! one number out of order, one set of positions that hold the same event, one transaction of a flow. An atom counts
//! once; said twice, it is invented the second time. A pattern counts by what it names.

use std::collections::BTreeMap;
use std::io::{self, BufRead};

use serde::{Deserialize, Serialize};

use super::fault::Expect;
use super::truth::{Item, Position, Truth};
use crate::audit::finding::{Finding, Kind, State};
use crate::audit::flows::summary::FlowSummary;
use crate::audit::verdict::{Figures, Verdict};

mod numbers;
mod outcome;
mod patterns;
mod table;
mod transactions;

use numbers::Numbers;
pub use patterns::Named;
use patterns::Patterns;
use transactions::Transactions;

/// Examples kept of what was missed or invented.
const EXAMPLES: usize = 5;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Score {
    pub exact: bool,
    pub faults: Vec<FaultScore>,
    pub invented: Vec<Invented>,
    /// What keeps the findings from being the whole story: no summary, parts unread.
    pub problems: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FaultScore {
    pub fault: String,
    pub spec: String,
    pub expect: Expect,
    pub injected: u64,
    /// Absent for what is no anomaly: nothing is to be found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<u64>,
    pub missed: u64,
    /// Whether what its hits have in common was named; absent where they have nothing in common.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<Named>,
    /// The first few that were missed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Invented {
    /// The finding's kind, or `reset`.
    pub kind: String,
    pub count: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<Example>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Example {
    /// Absent for what the summary says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finding: Option<String>,
    pub what: String,
}

#[derive(Debug, thiserror::Error)]
pub enum ScoreError {
    #[error("cannot read the findings: {0}")]
    Io(#[from] io::Error),
    #[error("line {line} of the findings is no line of a JSON report: {source}; pass what `--output json` wrote")]
    Line { line: u64, source: serde_json::Error },
}

/// A line of the JSON report, as far as the score needs it.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Line {
    Finding(Box<Finding>),
    Summary {
        figures: Figures,
        #[serde(default)]
        verdict: Option<Verdict>,
        #[serde(default)]
        flow: Option<Box<FlowSummary>>,
    },
    #[serde(other)]
    Other,
}

impl Score {
    /// Everything injected was found, and nothing else.
    pub fn exact(&self) -> bool {
        self.exact
    }
}

/// Reads the findings line by line; memory holds only the atoms of the truth.
pub fn score(truth: &Truth, findings: impl BufRead) -> Result<Score, ScoreError> {
    let mut ledger = Ledger::new(truth);
    for (line, text) in (1u64..).zip(findings.lines()) {
        let text = text?;
        if text.trim().is_empty() {
            continue;
        }
        match serde_json::from_str(&text).map_err(|source| ScoreError::Line { line, source })? {
            Line::Finding(finding) => ledger.finding(&finding),
            Line::Summary { figures, verdict, flow } => ledger.summary(&figures, verdict, flow.as_deref()),
            Line::Other => {}
        }
    }
    Ok(ledger.close())
}

/// One thing expected: by which fault, and whether it was found.
#[derive(Clone, Copy)]
struct Atom {
    fault: usize,
    found: bool,
}

struct Ledger<'a> {
    truth: &'a Truth,
    lost: Numbers,
    late: Numbers,
    reorder: Numbers,
    duplicate: BTreeMap<Vec<Position>, Atom>,
    conflict: BTreeMap<Vec<Position>, Atom>,
    transactions: Transactions,
    patterns: Patterns,
    found: Vec<u64>,
    resets: Option<u64>,
    /// Answers after their deadline.
    late_answers: u64,
    invented: BTreeMap<String, Invented>,
    problems: Vec<String>,
}

impl<'a> Ledger<'a> {
    fn new(truth: &'a Truth) -> Self {
        let mut ledger = Self {
            truth,
            lost: Numbers::default(),
            late: Numbers::default(),
            reorder: Numbers::default(),
            duplicate: BTreeMap::new(),
            conflict: BTreeMap::new(),
            transactions: Transactions::default(),
            patterns: Patterns::new(&truth.faults),
            found: vec![0; truth.faults.len()],
            resets: None,
            late_answers: 0,
            invented: BTreeMap::new(),
            problems: Vec::new(),
        };
        for (fault, injected) in truth.faults.iter().enumerate() {
            for item in &injected.items {
                ledger.expect(injected.expect, item, Atom { fault, found: false });
            }
        }
        ledger
    }

    fn expect(&mut self, expect: Expect, item: &Item, atom: Atom) {
        let (session, from, until) = match item {
            Item::Number { session, number } => (session, *number, number.saturating_add(1)),
            Item::Numbers { session, from, until } => (session, *from, *until),
            Item::Transaction { seen, .. } => return self.transactions.expect(expect, seen, atom),
            Item::Copies { positions, .. } => {
                match expect {
                    Expect::Conflict => self.conflict.insert(sorted(positions.clone()), atom),
                    _ => self.duplicate.insert(sorted(positions.clone()), atom),
                };
                return;
            }
        };
        let numbers = match expect {
            Expect::Lost => &mut self.lost,
            Expect::Late => &mut self.late,
            Expect::Reorder => &mut self.reorder,
            _ => return,
        };
        let known = numbers.0.entry(session.clone()).or_default();
        known.extend((from..until).map(|number| (number as i64, atom)));
    }

    fn finding(&mut self, finding: &Finding) {
        let in_scope = finding.topic == self.truth.topic;
        match finding.kind {
            Kind::MissingStage | Kind::UnexpectedRecord | Kind::StageMismatch => {
                match self.transactions.take(finding) {
                    // Late answers are counted in the summary: a run that saw the answer first finds nothing missing.
                    Some(_) if finding.state == State::Resolved => {}
                    Some(fault) => self.found[fault] += 1,
                    None => self.invent(finding, 1, &finding.why),
                }
            }
            Kind::PeriodicLoss | Kind::DimensionalLoss | Kind::RetryComb | Kind::Burst => {
                if !self.patterns.take(finding) {
                    self.invent(finding, 1, &finding.why);
                }
            }
            Kind::SequenceGap | Kind::HeadLoss | Kind::TailLoss if in_scope => self.gap(finding),
            _ if finding.state == State::Resolved => {}
            Kind::Reorder if in_scope && finding.numbers.is_some() => self.numbers(finding, &[], Expect::Reorder),
            Kind::Duplicate if in_scope => self.positions(finding, Expect::Duplicate),
            Kind::Conflict if in_scope => self.positions(finding, Expect::Conflict),
            _ => self.invent(finding, 1, &finding.why),
        }
    }

    /// A gap speaks of what is lost (while open) and of what came late, whatever its state.
    fn gap(&mut self, finding: &Finding) {
        let listed = finding.evidence.get("late").and_then(|late| late.as_array());
        let late: Vec<i64> = listed.into_iter().flatten().filter_map(|number| number.as_i64()).collect();
        let session = finding.session.as_deref().unwrap_or_default();
        for &number in &late {
            match self.late.take(session, number) {
                Some(fault) => self.found[fault] += 1,
                None => self.invent(finding, 1, &format!("{session} {number} late")),
            }
        }
        if finding.is_open() {
            self.numbers(finding, &late, Expect::Lost);
        }
    }

    /// Walks what is expected inside the finding's range, not the range: that may be of any length.
    fn numbers(&mut self, finding: &Finding, except: &[i64], expect: Expect) {
        let Some(span) = finding.numbers.filter(|span| !span.is_empty()) else {
            return self.invent(finding, 1, "no numbers");
        };
        let session = finding.session.as_deref().unwrap_or_default();
        let except: std::collections::BTreeSet<i64> =
            except.iter().copied().filter(|number| (span.from..span.until).contains(number)).collect();
        let numbers = if expect == Expect::Lost { &mut self.lost } else { &mut self.reorder };
        let mut matched = std::collections::BTreeSet::new();
        for (&number, atom) in
            numbers.0.get_mut(session).into_iter().flat_map(|known| known.range_mut(span.from..span.until))
        {
            if !atom.found && !except.contains(&number) {
                atom.found = true;
                self.found[atom.fault] += 1;
                matched.insert(number);
            }
        }
        let invented = span.len() - (except.len() + matched.len()) as u64;
        if invented > 0 {
            let is_known = |number: &i64| except.contains(number) || matched.contains(number);
            let examples: Vec<String> = (span.from..span.until)
                .filter(|number| !is_known(number))
                .take(EXAMPLES)
                .map(|number| number.to_string())
                .collect();
            self.invent(finding, invented, &format!("{session} {} {expect}", examples.join(", ")));
        }
    }

    fn positions(&mut self, finding: &Finding, expect: Expect) {
        let found = finding.sightings.iter().map(|seen| Position { partition: seen.partition, offset: seen.offset });
        let positions = sorted(found.collect());
        let expected = if expect == Expect::Conflict { &mut self.conflict } else { &mut self.duplicate };
        match expected.get_mut(&positions).filter(|atom| !atom.found) {
            Some(atom) => {
                atom.found = true;
                self.found[atom.fault] += 1;
            }
            None => self.invent(finding, 1, &format!("{expect} at {}", named(&positions))),
        }
    }

    fn invent(&mut self, finding: &Finding, count: u64, what: &str) {
        self.invent_named(
            finding.kind.name(),
            count,
            Example { finding: Some(finding.id.clone()), what: what.to_owned() },
        );
    }

    fn invent_named(&mut self, kind: &str, count: u64, example: Example) {
        let empty = || Invented { kind: kind.to_owned(), count: 0, examples: Vec::new() };
        let entry = self.invented.entry(kind.to_owned()).or_insert_with(empty);
        entry.count += count;
        if entry.examples.len() < EXAMPLES {
            entry.examples.push(example);
        }
    }

    fn summary(&mut self, figures: &Figures, verdict: Option<Verdict>, flow: Option<&FlowSummary>) {
        self.resets = Some(figures.resets);
        let hops = flow.into_iter().flat_map(|flow| &flow.stages).filter_map(|stage| stage.hop.as_ref());
        self.late_answers = hops.map(|hop| hop.late).sum();
        if verdict == Some(Verdict::Unverified) {
            self.problems.push("the audit could not read all it was asked to: its verdict is unverified".to_owned());
        }
    }
}

fn sorted(mut positions: Vec<Position>) -> Vec<Position> {
    positions.sort_unstable();
    positions
}

fn named(positions: &[Position]) -> String {
    let each: Vec<String> = positions.iter().map(|at| format!("[{}]@{}", at.partition, at.offset)).collect();
    each.join(" ")
}

#[cfg(test)]
mod tests;
