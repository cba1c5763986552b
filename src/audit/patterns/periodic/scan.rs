//! The scan over periods: for each, the residue that holds the most losses for its trials, and how unlikely that is.
//!
//! Residues are counted for periods above half the largest only. Every smaller period has one multiple by a power
//! of two up there, and its table is that one's folded in half, again and again: half the work.

use super::super::tails::{ln_factorial, ln_hypergeometric_pmf, ln_hypergeometric_upper};
use super::sample::{Class, Group};

/// Segments whose phases are looked for: those with the most losses.
const OWN_PHASES: usize = 64;

/// Significant periods that are looked at closely: more than a burst as long as half its period smears it into.
const CANDIDATES: usize = 12;

/// Fewer losses cannot be significant once all residues of all periods are paid for.
pub const LEAST_LOSSES: u64 = 4;

/// Losses and trials on one residue, or on all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cell {
    pub lost: u64,
    pub trials: u64,
}

/// A period that is significant, before it is looked at closely.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub n: u64,
    /// One class for each group that takes part, by its index in the sample.
    pub classes: Vec<(usize, Class)>,
    /// Corrected, as in [`super::Periodic::ln_p`].
    pub ln_p: f64,
    /// The logarithm of what it is corrected by.
    pub ln_tests: f64,
    /// Residues that were chosen freely: one, or one for each segment.
    pub phases: u32,
}

/// What a scan is told.
#[derive(Clone, Copy)]
pub struct Scan {
    pub largest: u64,
    /// ln of the largest corrected p that is significant.
    pub ln_alpha: f64,
    /// ln of the number of scans this one is among: counters, and what is scanned of each.
    pub ln_scans: f64,
    /// The same for the exact short cut.
    pub ln_exact: f64,
}

struct Best {
    n: u64,
    residue: Option<u64>,
    ln_p: f64,
    gain: f64,
}

impl Scan {
    /// ln of what a p of one residue of `n` is multiplied by. Each period gets the same share of α, and each of its
    /// residues the same share of that: a weighted Bonferroni correction (Genovese, Roeder & Wasserman 2006) that
    /// does not let the many residues of long periods drown the short ones.
    pub fn ln_tests(&self, n: u64) -> f64 {
        (n as f64).ln() + self.ln_periods()
    }

    fn ln_periods(&self) -> f64 {
        (self.largest.saturating_sub(1).max(1) as f64).ln() + self.ln_scans
    }

    /// The significant periods that explain the losses best, each by a single residue.
    pub fn best(&self, groups: &[Group]) -> Vec<Candidate> {
        let all = total(groups);
        let largest = self.largest.min(all.trials / 2);
        if all.lost < LEAST_LOSSES || largest < 2 {
            return Vec::new();
        }
        let own = own_phases(groups);
        let mut best = Vec::new();
        let mut tables = Tables::new(groups, &own);
        for m in largest / 2 + 1..=largest {
            tables.count(m as usize);
            loop {
                best.extend(self.shared(&tables, all));
                best.extend(self.own(&tables));
                if !tables.fold() {
                    break;
                }
            }
        }
        best.sort_by(|a, b| b.gain.total_cmp(&a.gain));
        best.truncate(CANDIDATES);
        best.into_iter().map(|best| self.candidate(best, groups, &own)).collect()
    }

    /// The same residue of the number in all segments.
    fn shared(&self, tables: &Tables, all: Cell) -> Option<Best> {
        let n = tables.all.lost.len() as u64;
        let ln_tests = self.ln_tests(n);
        let significant = |(residue, cell): (u64, Cell)| {
            let ln_p = ln_tail(cell, all, self.ln_alpha - ln_tests)? + ln_tests;
            let gain = gain(cell, all) - (n as f64).ln();
            (ln_p < self.ln_alpha).then_some(Best { n, residue: Some(residue), ln_p, gain })
        };
        tables.all.peaks().into_iter().filter_map(significant).min_by(|a, b| a.ln_p.total_cmp(&b.ln_p))
    }

    /// A residue of its own in each segment: R. A. Fisher's combination of the segments' p values, each corrected
    /// for its residues.
    fn own(&self, tables: &Tables) -> Option<Best> {
        let n = tables.all.lost.len() as u64;
        let ln_n = (n as f64).ln();
        let (mut evidence, mut tested, mut peak, mut all) = (0.0, 0, Cell::default(), Cell::default());
        for (_, table, whole) in &tables.own {
            if whole.trials < 2 * n {
                continue;
            }
            let best = |(_, cell): (u64, Cell)| Some((ln_tail(cell, *whole, -ln_n)? + ln_n, cell));
            let peaks = table.peaks().into_iter().filter_map(best);
            if let Some((ln_p, cell)) = peaks.min_by(|a, b| a.0.total_cmp(&b.0)) {
                evidence -= ln_p.min(0.0);
                peak = peak.and(cell);
            }
            all = all.and(*whole);
            tested += 1;
        }
        if tested < 2 {
            return None;
        }
        let ln_p = ln_gamma_upper(tested, evidence) + self.ln_periods();
        let gain = gain(peak, all) - f64::from(tested) * ln_n;
        (ln_p < self.ln_alpha).then_some(Best { n, residue: None, ln_p, gain })
    }

    /// Finds the classes again, which a scan does not keep.
    fn candidate(&self, best: Best, groups: &[Group], own: &[usize]) -> Candidate {
        let class = |residue| Class { n: best.n, residue, width: 1 };
        let ln_tests = if best.residue.is_some() { self.ln_tests(best.n) } else { self.ln_periods() };
        let classes: Vec<_> = match best.residue {
            Some(residue) => (0..groups.len()).map(|i| (i, class(residue))).collect(),
            None => {
                let phase = |&i: &usize| {
                    let (table, whole) = Table::of(&groups[i], best.n as usize);
                    let rank = |(_, cell): &(u64, Cell)| ln_tail(*cell, whole, f64::NEG_INFINITY).unwrap_or(0.0);
                    let peak = table.peaks().into_iter().min_by(|a, b| rank(a).total_cmp(&rank(b)));
                    peak.filter(|_| whole.trials >= 2 * best.n).map(|(residue, _)| (i, class(residue)))
                };
                own.iter().filter_map(phase).collect()
            }
        };
        let phases = if best.residue.is_some() { 1 } else { classes.len() as u32 };
        Candidate { n: best.n, classes, ln_p: best.ln_p, ln_tests, phases }
    }
}

/// Losses and trials of all groups.
pub fn total(groups: &[Group]) -> Cell {
    groups.iter().fold(Cell::default(), |sum, group| sum.and(Cell::of(group)))
}

/// Indices of the groups whose phases are looked for; none when there is but one.
fn own_phases(groups: &[Group]) -> Vec<usize> {
    let mut order: Vec<_> = (0..groups.len()).filter(|&i| groups[i].lost() >= 2).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(groups[i].lost()));
    order.truncate(OWN_PHASES);
    if order.len() < 2 { Vec::new() } else { order }
}

/// Losses and eligible numbers by residue.
#[derive(Clone, Default)]
pub struct Table {
    pub lost: Vec<u32>,
    pub trials: Vec<i64>,
}

impl Table {
    /// Of one group, and the group's total.
    pub fn of(group: &Group, n: usize) -> (Table, Cell) {
        let mut table = Table::default();
        table.clear(n);
        table.add([group], &mut Vec::new());
        (table, Cell::of(group))
    }

    fn clear(&mut self, n: usize) {
        self.lost.clear();
        self.lost.resize(n, 0);
        self.trials.clear();
        self.trials.resize(n, 0);
    }

    fn add<'a>(&mut self, groups: impl IntoIterator<Item = &'a Group>, differences: &mut Vec<i64>) {
        // One table of differences for the losses, one for the trials.
        differences.clear();
        differences.resize(2 * self.lost.len(), 0);
        let (lost, trials) = differences.split_at_mut(self.lost.len());
        for group in groups {
            group.add_points(&mut self.lost);
            group.step_ranges(lost);
            group.step_stretches(trials);
            group.subtract_taken(&mut self.trials);
        }
        let levels = lost.iter().zip(trials).scan((0, 0), |level, (lost, trials)| {
            *level = (level.0 + *lost, level.1 + *trials);
            Some(*level)
        });
        for ((lost, trials), level) in self.lost.iter_mut().zip(&mut self.trials).zip(levels) {
            *lost += level.0 as u32;
            *trials += level.1;
        }
    }

    pub fn cell(&self, residue: usize) -> Cell {
        let lost = u64::from(self.lost[residue]);
        Cell { lost, trials: (self.trials[residue].max(0) as u64).max(lost) }
    }

    fn fold(&mut self) {
        let half = self.lost.len() / 2;
        let (low, high) = self.lost.split_at_mut(half);
        low.iter_mut().zip(high).for_each(|(low, high)| *low += *high);
        self.lost.truncate(half);
        let (low, high) = self.trials.split_at_mut(half);
        low.iter_mut().zip(high).for_each(|(low, high)| *low += *high);
        self.trials.truncate(half);
    }

    /// The residues that no other beats in losses and fewness of trials both; the least likely one is among them.
    /// One loss is no peak.
    fn peaks(&self) -> Vec<(u64, Cell)> {
        let most = self.lost.iter().copied().max().unwrap_or(0);
        if most < 2 {
            return Vec::new();
        }
        // For each number of losses, the residue with the fewest trials.
        let mut fewest = vec![(i64::MAX, 0); most as usize + 1];
        for (residue, (&lost, &trials)) in self.lost.iter().zip(&self.trials).enumerate() {
            let slot = &mut fewest[lost as usize];
            if trials < slot.0 {
                *slot = (trials, residue);
            }
        }
        let (mut least, mut peaks) = (i64::MAX, Vec::new());
        for &(trials, residue) in fewest[2..].iter().rev() {
            if trials < least {
                least = trials;
                peaks.push((residue as u64, self.cell(residue)));
            }
        }
        peaks
    }
}

/// The tables of one period: those of the groups whose phases are looked for, and the sum of all.
struct Tables<'a> {
    all: Table,
    own: Vec<(&'a Group, Table, Cell)>,
    rest: Vec<&'a Group>,
    differences: Vec<i64>,
}

impl<'a> Tables<'a> {
    fn new(groups: &'a [Group], own: &[usize]) -> Self {
        let rest = groups.iter().enumerate().filter(|(i, _)| !own.contains(i)).map(|(_, group)| group).collect();
        let own = own.iter().map(|&i| (&groups[i], Table::default(), Cell::of(&groups[i]))).collect();
        Self { all: Table::default(), own, rest, differences: Vec::new() }
    }

    fn count(&mut self, m: usize) {
        self.all.clear(m);
        self.all.add(self.rest.iter().copied(), &mut self.differences);
        for (group, table, _) in &mut self.own {
            table.clear(m);
            table.add([*group], &mut self.differences);
            self.all.lost.iter_mut().zip(&table.lost).for_each(|(all, one)| *all += one);
            self.all.trials.iter_mut().zip(&table.trials).for_each(|(all, one)| *all += one);
        }
    }

    /// From a period to its half; false when there is none from 2 up.
    fn fold(&mut self) -> bool {
        let n = self.all.lost.len();
        if n % 2 == 1 || n < 4 {
            return false;
        }
        self.all.fold();
        self.own.iter_mut().for_each(|(_, table, _)| table.fold());
        true
    }
}

impl Cell {
    fn of(group: &Group) -> Cell {
        let lost = group.lost();
        Cell { lost, trials: group.trials().max(lost) }
    }

    pub fn and(self, other: Cell) -> Cell {
        Cell { lost: self.lost + other.lost, trials: self.trials + other.trials }
    }

    pub fn less(self, other: Cell) -> Cell {
        Cell {
            lost: self.lost.saturating_sub(other.lost),
            trials: self.trials.saturating_sub(other.trials).max(self.lost.saturating_sub(other.lost)),
        }
    }

    /// The share of the trials that were lost; 0 without trials.
    pub fn rate(self) -> f64 {
        if self.trials == 0 { 0.0 } else { self.lost as f64 / self.trials as f64 }
    }
}

/// ln P(at least `cell.lost` losses on `cell.trials` trials), given those of all; none when it is surely not below
/// `limit`.
pub fn ln_tail(cell: Cell, all: Cell, limit: f64) -> Option<f64> {
    if cell.lost as f64 * all.trials as f64 <= cell.trials as f64 * all.lost as f64 {
        return None;
    }
    // The tail is more than the mass at its edge, which is cheap.
    if limit > f64::NEG_INFINITY && ln_hypergeometric_pmf(cell.lost, all.trials, all.lost, cell.trials) >= limit {
        return None;
    }
    Some(ln_hypergeometric_upper(cell.lost, all.trials, all.lost, cell.trials))
}

/// By how much the log likelihood rises when the trials of `cell` are given a rate of their own.
pub fn gain(cell: Cell, all: Cell) -> f64 {
    likelihood(cell) + likelihood(all.less(cell)) - likelihood(all)
}

/// ln of the likelihood of these losses at their own rate.
fn likelihood(cell: Cell) -> f64 {
    let (lost, kept, trials) = (cell.lost as f64, (cell.trials - cell.lost) as f64, cell.trials as f64);
    let part = |x: f64| if x > 0.0 { x * (x / trials).ln() } else { 0.0 };
    part(lost) + part(kept)
}

/// ln P(X ≥ x) for X the sum of `count` ≥ 1 exponential variables of mean 1: e^−x Σ xⁱ/i! for i below `count`.
fn ln_gamma_upper(count: u32, x: f64) -> f64 {
    // Below its mean the tail is about a half or more, and no evidence.
    if x <= f64::from(count) {
        return 0.0;
    }
    let (mut term, mut sum) = (1.0, 1.0);
    for i in (1..count).rev() {
        term *= f64::from(i) / x;
        sum += term;
    }
    let last = f64::from(count - 1);
    (last * x.ln() - ln_factorial(u64::from(count - 1)) - x + f64::ln(sum)).min(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gamma_tail_equals_published_values() {
        // χ² with 2k degrees of freedom, at the 0.001 critical values of Fisher & Yates' table IV.
        for (count, critical) in [(1, 13.816), (2, 18.467), (5, 29.588), (10, 45.315)] {
            let p = ln_gamma_upper(count, critical / 2.0).exp();
            assert!((p - 0.001).abs() < 2e-6, "{count}: {p}");
        }
    }
}
