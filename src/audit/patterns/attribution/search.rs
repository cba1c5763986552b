//! Which attributes lose more than the rest.

use std::fmt;

use super::sample::{Rows, UNKNOWN};
use super::study::{Members, Study};
use super::tables::{Table, benjamini_hochberg};
use super::tally::{Dimension, Tally};

/// Moduli of key classes.
const MODULI: std::ops::RangeInclusive<u64> = 2..=64;
/// Losses, part of all losses and risk ratio below which an attribute is trivia, whatever its significance (MacroBase, SIGMOD 2017).
pub(super) const LEAST_LOST: f64 = 5.0;
pub(super) const LEAST_SUPPORT: f64 = 0.05;
pub(super) const LEAST_RISK_RATIO: f64 = 2.0;
/// Rate of false discoveries among attributes looked at further.
pub(super) const DISCOVERY_RATE: f64 = 0.01;
/// Attributes looked at further, and parents of pairs, at most.
const MOST_CANDIDATES: usize = 192;
const MOST_PARENTS: usize = 16;

/// Units with something in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Set {
    /// Codes `low..=high` of a dimension.
    Value {
        dimension: usize,
        low: u32,
        high: u32,
    },
    Class {
        modulus: u64,
        residue: u64,
    },
    Pair(Box<[Set; 2]>),
}

impl Set {
    pub fn has(&self, rows: &Rows, row: usize) -> Option<bool> {
        match self {
            Set::Value { dimension, low, high } => {
                let code = rows.code(row, *dimension);
                (code != UNKNOWN).then_some((*low..=*high).contains(&code))
            }
            Set::Class { modulus, residue } => rows.key(row).map(|hash| hash % modulus == *residue),
            Set::Pair(parents) => match (parents[0].has(rows, row), parents[1].has(rows, row)) {
                (Some(a), Some(b)) => Some(a && b),
                (Some(false), None) | (None, Some(false)) => Some(false),
                _ => None,
            },
        }
    }

    pub fn named(&self, dimensions: &[Dimension]) -> Named {
        match self {
            Set::Value { dimension, low, high } => {
                let of = &dimensions[*dimension];
                Named { dimension: of.name.clone(), value: of.label(*low, *high) }
            }
            Set::Class { modulus, residue } => {
                Named { dimension: format!("key-hash-mod-{modulus}"), value: residue.to_string() }
            }
            Set::Pair(parents) => parents[0].named(dimensions),
        }
    }

    /// Key classes are one axis: those of two moduli overlap by arithmetic.
    fn axis(&self) -> Option<usize> {
        match self {
            Set::Value { dimension, .. } => Some(*dimension),
            Set::Class { .. } | Set::Pair(_) => None,
        }
    }
}

/// A value of a dimension, in words.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Named {
    pub dimension: String,
    pub value: String,
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.dimension, self.value)
    }
}

pub(super) struct Candidate {
    pub set: Set,
    pub members: Members,
    /// The dimension, where it is a kind of clock.
    pub clock: Option<usize>,
    /// ln p, not corrected, and ln of how many it is corrected by.
    pub ln_p: f64,
    pub ln_tests: f64,
}

impl Candidate {
    /// ln p of what is left when the attributes `given` are held fixed.
    pub fn ln_p_given(&self, study: &Study<'_>, given: &[&Members]) -> f64 {
        match self.clock {
            Some(dimension) => study.ln_p_of_clock(&self.members, dimension, given),
            None => study.ln_p(&self.members, given, None),
        }
    }
}

/// Whether a table of the whole population is worth a name.
pub(super) fn is_worth_a_name(table: &Table) -> bool {
    let lost = table.in_lost + table.out_lost;
    table.in_lost >= LEAST_LOST && table.in_lost >= LEAST_SUPPORT * lost && table.risk_ratio() >= LEAST_RISK_RATIO
}

/// The attributes, and pairs of them, that lose more than the rest by [`DISCOVERY_RATE`], and how many were tested.
pub(super) fn candidates(tally: &Tally, study: &Study<'_>) -> (Vec<Candidate>, u64) {
    let mut screen = Screen { study, found: Vec::new(), tests: 0 };
    for (index, dimension) in tally.dimensions.iter().enumerate() {
        screen.dimension(index, dimension);
    }
    screen.key_classes();
    let tests = screen.tests;
    let mut found = screen.found;
    found.sort_by(|a, b| b.1.total_cmp(&a.1));
    found.truncate(MOST_CANDIDATES);

    let clocks: Vec<bool> = (0..tally.dimensions.len()).map(|dimension| study.is_clock(dimension)).collect();
    let ln_tests = (tests.max(1) as f64).ln();
    let judge = |(set, _)| judge(tally, study, &clocks, set, ln_tests);
    let mut judged: Vec<Candidate> = found.into_iter().map(judge).collect();
    let limit = benjamini_hochberg(judged.iter().map(|c| c.ln_p).collect(), tests as f64, DISCOVERY_RATE);
    judged.retain(|candidate| limit.is_some_and(|limit| candidate.ln_p <= limit));
    let pairs = pairs(study, &judged, ln_tests);
    judged.extend(pairs);
    (judged, tests)
}

fn judge(tally: &Tally, study: &Study<'_>, clocks: &[bool], set: Set, ln_tests: f64) -> Candidate {
    let members = study.members(|rows, row| set.has(rows, row));
    let clock = set.axis().filter(|dimension| clocks[*dimension]);
    let ln_p = match (clock, &set) {
        (Some(dimension), _) => study.ln_p_of_clock(&members, dimension, &[]),
        (None, Set::Value { dimension, low, high }) if !tally.dimensions[*dimension].is_sampled => {
            let of = &tally.dimensions[*dimension];
            let inside: u64 = of.arrived[*low as usize..=*high as usize].iter().sum();
            study.ln_p(&members, &[], Some((inside as f64, (of.known_arrived() - inside) as f64)))
        }
        _ => study.ln_p(&members, &[], None),
    };
    Candidate { set, members, clock, ln_p, ln_tests }
}

/// Pairs of the strongest attributes that lose more than either parent alone explains. As any two of the attributes tested might
/// have been strongest, all their pairs are corrected for.
fn pairs(study: &Study<'_>, judged: &[Candidate], ln_tests: f64) -> Vec<Candidate> {
    let parents: Vec<&Candidate> = judged.iter().filter(|c| c.clock.is_none()).take(MOST_PARENTS).collect();
    let ln_tests = 2.0 * ln_tests - std::f64::consts::LN_2;
    let mut found = Vec::new();
    for (i, a) in parents.iter().enumerate() {
        for b in parents[..i].iter().filter(|b| b.set.axis() != a.set.axis()) {
            let mut both = [b.set.clone(), a.set.clone()];
            both.sort_by_key(|set| set.axis().unwrap_or(usize::MAX));
            let set = Set::Pair(Box::new(both));
            let members = study.members(|rows, row| set.has(rows, row));
            if !is_worth_a_name(&study.scaled(study.table(&members, &[]))) {
                continue;
            }
            let beats = |parent: &Candidate| study.ln_p(&members, &[&parent.members], None);
            let ln_p = beats(a).max(beats(b));
            if ln_p + ln_tests <= DISCOVERY_RATE.ln() {
                found.push(Candidate { set, members, clock: None, ln_p, ln_tests });
            }
        }
    }
    found
}

/// Counts every value once, to leave out the many that are nothing.
struct Screen<'a> {
    study: &'a Study<'a>,
    /// With G of the sample.
    found: Vec<(Set, f64)>,
    tests: u64,
}

impl Screen<'_> {
    fn dimension(&mut self, index: usize, dimension: &Dimension) {
        let values = dimension.arrived.len();
        let count = |rows: &Rows| {
            let (mut counts, mut known) = (vec![0.0; values], 0.0);
            for code in (0..rows.len()).map(|row| rows.code(row, index)).filter(|code| *code != UNKNOWN) {
                known += 1.0;
                if let Some(count) = counts.get_mut(code as usize) {
                    *count += 1.0;
                }
            }
            (counts, known)
        };
        let (lost, arrived) = (count(self.study.cases), count(self.study.controls));
        let set = |low: usize, high: usize| Set::Value { dimension: index, low: low as u32, high: high as u32 };
        let table = |low: usize, high: usize| {
            let sum = |of: &(Vec<f64>, f64)| of.0[low..=high].iter().sum::<f64>();
            let (in_lost, in_arrived) = (sum(&lost), sum(&arrived));
            Table { in_lost, in_arrived, out_lost: lost.1 - in_lost, out_arrived: arrived.1 - in_arrived }
        };
        if !dimension.is_numeric() {
            for value in 0..values {
                self.offer(set(value, value), table(value, value));
            }
            return;
        }
        let ranges = (0..values).flat_map(|low| (low..values).map(move |high| (low, high)));
        let mut best: Option<(Set, Table)> = None;
        for (low, high) in ranges {
            let table = table(low, high);
            self.tests += u64::from(table.in_lost + table.in_arrived > 0.0);
            if best.as_ref().is_none_or(|(_, best)| best.g() < table.g()) {
                best = Some((set(low, high), table));
            }
        }
        if let Some((set, table)) = best {
            self.tests -= 1;
            self.offer(set, table);
        }
    }

    fn key_classes(&mut self) {
        for modulus in MODULI {
            let count = |rows: &Rows| {
                let (mut counts, mut known) = (vec![0.0; modulus as usize], 0.0);
                for key in (0..rows.len()).filter_map(|row| rows.key(row)) {
                    counts[(key % modulus) as usize] += 1.0;
                    known += 1.0;
                }
                (counts, known)
            };
            let (lost, arrived) = (count(self.study.cases), count(self.study.controls));
            for residue in 0..modulus {
                let (in_lost, in_arrived) = (lost.0[residue as usize], arrived.0[residue as usize]);
                let table =
                    Table { in_lost, in_arrived, out_lost: lost.1 - in_lost, out_arrived: arrived.1 - in_arrived };
                self.offer(Set::Class { modulus, residue }, table);
            }
        }
    }

    fn offer(&mut self, set: Set, table: Table) {
        self.tests += u64::from(table.in_lost + table.in_arrived > 0.0);
        if is_worth_a_name(&self.study.scaled(table)) && table.ln_p() <= DISCOVERY_RATE.ln() {
            self.found.push((set, table.g()));
        }
    }
}
