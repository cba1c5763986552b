//! From a sample to findings: scan, look closely at the winner, take it away, scan again.

use std::collections::BTreeMap;
use std::f64::consts::LN_2;

use super::super::losses::{Run, Segment};
use super::super::tails::wilson;
use super::exact::exact;
use super::sample::{Class, Group, residue};
use super::scan::{Candidate, Cell, Scan, Table, gain, ln_tail, total};
use super::{EXACT_SHARE, LONGEST_SCANNED, Limits, Loss, MOST_PERIODS, Periodic, Phase, Settings, Unit};

/// Rounds of scanning, those that only put a fixed number aside included.
const MOST_ROUNDS: usize = 32;

/// A period so long that a class of it is one number.
const FIXED: u64 = 1 << 39;

/// At most this many stretches of a counter are those among which the dispersion of hits is measured.
const BLOCKS: u64 = 64;

/// More signed progressions than this make a further scan slow: it is not made.
const MOST_TAKEN: usize = 128;

/// Fewer hits than this say nothing about their dispersion.
const LEAST_HITS: u64 = 4;

/// 95 % of a normal distribution lie this many standard deviations around its mean.
const Z: f64 = 1.959_964;

/// One pass over a counter.
pub struct Finder<'a> {
    pub segments: &'a [Segment],
    pub settings: &'a Settings,
    pub unit: Unit,
    /// ln of the number of passes over all counters.
    pub ln_counters: f64,
}

impl Finder<'_> {
    /// What a scan of this sample is told. In several segments, the same residue everywhere and one of its own in
    /// each are both looked for.
    fn scan(&self, groups: &[Group]) -> Scan {
        let several = groups.iter().filter(|group| !group.runs.is_empty()).count() > 1;
        let ln_scans = self.ln_counters + if several { LN_2 } else { 0.0 };
        Scan {
            largest: u64::from(self.settings.largest_period.min(LONGEST_SCANNED)),
            ln_alpha: self.settings.alpha.ln(),
            ln_scans: ln_scans - (1.0 - EXACT_SHARE).ln(),
            ln_exact: ln_scans - EXACT_SHARE.ln(),
        }
    }

    /// The periods of a sample, and what else could have been found.
    pub fn find(&self, mut groups: Vec<Group>) -> (Vec<Periodic>, Limits) {
        let scan = self.scan(&groups);
        let mut found = Vec::new();
        if let Some(candidate) = exact(&groups, scan.ln_alpha, scan.ln_exact) {
            let classes = candidate.classes.clone();
            found.extend(self.explain(&candidate, &classes, true, &mut groups).0);
            return (found, Limits::new(&scan, total(&groups)));
        }
        for _ in 0..MOST_ROUNDS {
            let wider = |candidate: Candidate| {
                let (classes, gain) = widen(&candidate, &groups, &scan);
                (candidate, classes, gain)
            };
            // The best single residue of a burst may be that of a period nearby, along which the burst slips by.
            let winner = scan.best(&groups).into_iter().map(wider).max_by(|a, b| a.2.total_cmp(&b.2));
            let Some((candidate, classes, _)) = winner else { break };
            if let Some(fixed) = fixed_number(&candidate, &groups, &scan) {
                let class = Class { n: FIXED, residue: residue(fixed, FIXED), width: 1 };
                groups.iter_mut().for_each(|group| _ = group.take(class));
                continue;
            }
            let longer = longer(&candidate, &classes, &groups, &scan);
            let (candidate, classes) = match longer {
                Some(longer) => (longer.clone(), longer.classes),
                None => (candidate, classes),
            };
            let (periodic, taken) = self.explain(&candidate, &classes, false, &mut groups);
            found.extend(periodic);
            if taken > MOST_TAKEN || found.len() == MOST_PERIODS {
                break;
            }
        }
        (found, Limits::new(&scan, total(&groups)))
    }

    /// Takes the candidate's losses and trials away and says what they were; and how many progressions that leaves
    /// in a group.
    fn explain(
        &self,
        candidate: &Candidate,
        classes: &[(usize, Class)],
        exact: bool,
        groups: &mut [Group],
    ) -> (Option<Periodic>, usize) {
        let (all, dispersion, hits) = (total(groups), dispersion(candidate, groups), hits(classes, groups));
        let taken = classes.iter().map(|&(i, class)| groups[i].take(class)).max().unwrap_or(0);
        let rest = total(groups);
        let phases = classes.iter().map(|&(i, class)| (groups[i].segment, class)).collect();
        let periodic = self.describe(&phases, &hits, all.less(rest)).map(|periodic| Periodic {
            background: rest.rate(),
            ln_p: candidate.ln_p,
            exact,
            // Quasi-likelihood: evidence from dependent hits counts for as many independent ones as have their
            // variance.
            burst_like: (candidate.ln_p - candidate.ln_tests) / dispersion + candidate.ln_tests
                >= self.settings.alpha.ln(),
            ..periodic
        });
        (periodic, taken)
    }

    /// What the hits alone tell; the rest is left at zero.
    fn describe(&self, classes: &BTreeMap<usize, Class>, hits: &[(usize, i64)], hit: Cell) -> Option<Periodic> {
        let (_, newest) = classes.last_key_value()?;
        let latest = self.segments.len() - 1;
        let next = classes.get(&latest).map_or(Vec::new(), |class| predict(*class, self.segments[latest].until));
        let phase = |(&segment, class): (&usize, &Class)| Phase { segment, residue: class.residue };
        let differ = classes.values().any(|class| class.residue != newest.residue);
        let lost: u64 = self.segments.iter().map(Segment::lost).sum();
        Some(Periodic {
            n: newest.n,
            residue: newest.residue,
            width: newest.width,
            unit: self.unit,
            hits: hit.lost,
            eligible: hit.trials,
            hit_rate: hit.rate(),
            hit_rate_interval: wilson(hit.lost, hit.trials, Z),
            background: 0.0,
            share: self.numbers(hits) as f64 / lost.max(1) as f64,
            ln_p: 0.0,
            first: self.loss(hits.first()?)?,
            last: self.loss(hits.last()?)?,
            next,
            exact: false,
            burst_like: false,
            phases: if differ { classes.iter().map(phase).collect() } else { Vec::new() },
        })
    }

    fn loss(&self, &(segment, number): &(usize, i64)) -> Option<Loss> {
        let run = self.run(segment, number)?;
        let ms = if number - run.from <= run.until - 1 - number { run.first_ms } else { run.last_ms };
        Some(Loss { segment, number, ms })
    }

    fn run(&self, segment: usize, number: i64) -> Option<&Run> {
        let losses = &self.segments[segment].losses;
        losses.get(losses.partition_point(|run| run.until <= number))
    }

    /// Lost numbers that the hits stand for.
    fn numbers(&self, hits: &[(usize, i64)]) -> u64 {
        match self.unit {
            Unit::Number => hits.len() as u64,
            Unit::Outage => {
                hits.iter().filter_map(|&(segment, number)| self.run(segment, number)).map(Run::count).sum()
            }
        }
    }
}

/// The first three numbers of the class from `from` on.
fn predict(class: Class, from: i64) -> Vec<i64> {
    let first = Class { width: 1, ..class }.next(from);
    let next = |number: &i64| number.checked_add_unsigned(class.n);
    std::iter::successors(first, next).take(3).collect()
}

/// The candidate's classes with the neighbouring residues that are significant too, each among what is left; and by
/// how much they raise the log likelihood, less ln n for each choice made.
fn widen(candidate: &Candidate, groups: &[Group], scan: &Scan) -> (Vec<(usize, Class)>, f64) {
    let n = candidate.n as usize;
    // The winner's residue of each group at 0.
    let (mut around, mut rest) = (vec![Cell::default(); n], Cell::default());
    for &(i, class) in &candidate.classes {
        let (table, whole) = Table::of(&groups[i], n);
        (0..n).for_each(|at| around[at] = around[at].and(table.cell((at + class.residue as usize) % n)));
        rest = rest.and(whole);
    }
    let all = rest;
    rest = rest.less(around[0]);
    let limit = scan.ln_alpha - candidate.ln_tests;
    let mut grow = |at: usize| {
        let grows = ln_tail(around[at], rest, limit).is_some_and(|ln_p| ln_p < limit);
        rest = if grows { rest.less(around[at]) } else { rest };
        grows
    };
    let up = (1..n).take_while(|&at| grow(at)).count();
    let down = (1..n - up).take_while(|&back| grow(n - back)).count();
    let wider = |class: Class| Class {
        residue: (class.residue + (n - down) as u64) % candidate.n,
        width: (1 + up + down) as u64,
        ..class
    };
    let classes = candidate.classes.iter().map(|&(i, class)| (i, wider(class))).collect();
    let choices = candidate.phases + u32::from(up + down > 0);
    (classes, gain(all.less(rest), all) - f64::from(choices) * (n as f64).ln())
}

/// A period too long to be scanned shows by its divisors: their losses, in turn, sit on one residue of the divisor's numbers.
/// Its p is the larger one of both steps.
fn longer(candidate: &Candidate, classes: &[(usize, Class)], groups: &[Group], scan: &Scan) -> Option<Candidate> {
    let class = classes.first()?.1;
    let is_one = class.width == 1 && candidate.phases == 1;
    // What was taken away leaves gaps that look like periods themselves.
    if !is_one || groups.iter().any(Group::has_taken) {
        return None;
    }
    let within: Vec<Group> = classes.iter().map(|&(i, class)| groups[i].within(class)).collect();
    let inner = scan.best(&within).into_iter().find(|inner| inner.phases == 1)?;
    if 2 * hits(&inner.classes, &within).len() as u64 <= total(&within).lost {
        return None;
    }
    let inner_class = inner.classes.first()?.1;
    let n = class.n.checked_mul(inner_class.n).filter(|n| *n <= scan.largest * scan.largest)?;
    let whole = Class { n, residue: class.residue + class.n * inner_class.residue, width: 1 };
    let (ln_p, ln_tests) = match candidate.ln_p > inner.ln_p {
        true => (candidate.ln_p, candidate.ln_tests),
        false => (inner.ln_p, inner.ln_tests),
    };
    let classes = classes.iter().map(|&(i, _)| (i, whole)).collect();
    Some(Candidate { n, classes, ln_p, ln_tests, phases: 1 })
}

/// The one number, of those that the candidate explains, without which nothing significant is left: a number that
/// many segments lose, such as their first, is on one residue of every period and shows none.
fn fixed_number(candidate: &Candidate, groups: &[Group], scan: &Scan) -> Option<i64> {
    let mut times: BTreeMap<i64, u64> = BTreeMap::new();
    hits(&candidate.classes, groups).into_iter().for_each(|(_, number)| *times.entry(number).or_insert(0) += 1);
    let (&number, &lost) = times.iter().max_by_key(|(_, times)| **times)?;
    if candidate.phases > 1 || lost < 2 {
        return None;
    }
    let class = candidate.classes.first()?.1;
    let on_residue = groups.iter().fold(Cell::default(), |sum, group| {
        let (table, _) = Table::of(group, class.n as usize);
        sum.and(table.cell(class.residue as usize))
    });
    let fixed = Cell { lost, trials: groups.iter().filter(|group| group.holds(number)).count() as u64 };
    let limit = scan.ln_alpha - candidate.ln_tests;
    let others = ln_tail(on_residue.less(fixed), total(groups).less(fixed), limit);
    others.is_none_or(|ln_p| ln_p >= limit).then_some(number)
}

/// The losses of the classes, segment and number, in order.
fn hits(classes: &[(usize, Class)], groups: &[Group]) -> Vec<(usize, i64)> {
    let of = |&(i, class): &(usize, Class)| {
        let segment = groups[i].segment;
        groups[i].hits(class).into_iter().map(move |(number, _)| (segment, number))
    };
    let mut hits: Vec<_> = classes.iter().flat_map(of).collect();
    hits.sort_unstable();
    hits
}

/// The variance of the winner's hits along the counter over that of independent ones at their rate; 1 unless it is
/// clearly more.
fn dispersion(candidate: &Candidate, groups: &[Group]) -> f64 {
    // Each number on the residue is the trial of one cycle, and each block is as many cycles.
    let length: u64 = candidate.classes.iter().map(|&(i, _)| groups[i].length()).sum();
    let cycles = length / candidate.n;
    let per_block = cycles.div_ceil(BLOCKS).max(1);
    let mut blocks = vec![0u64; (cycles / per_block) as usize];
    let mut before = 0;
    for &(i, class) in &candidate.classes {
        for (_, rank) in groups[i].hits(class) {
            let block = (before + rank) / candidate.n / per_block;
            // Cycles that fill no block are left out.
            blocks.get_mut(block as usize).into_iter().for_each(|hits| *hits += 1);
        }
        before += groups[i].length();
    }
    let hits: u64 = blocks.iter().sum();
    if hits < LEAST_HITS || blocks.len() < 2 {
        return 1.0;
    }
    let (count, hits) = (blocks.len() as f64, hits as f64);
    let mean = hits / count;
    let variance = blocks.iter().map(|&n| (n as f64 - mean).powi(2)).sum::<f64>() / (count - 1.0);
    // Where a segment or an outage cuts a cycle, blocks differ by one trial, whose variance is at most a quarter.
    let rate = (mean / per_block as f64).min(1.0);
    let ratio = variance / (mean * (1.0 - rate) + 0.25 * rate * rate);
    // Its standard error for Poisson counts.
    let error = (2.0 / (count - 1.0) + 1.0 / hits).sqrt();
    if ratio > 1.0 + 3.0 * error { ratio } else { 1.0 }
}
