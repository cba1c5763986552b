//! Lost units against a sample of those that arrived: a case-control study.
//!
//! Losses come in periods, so they are not independent witnesses. Whether those of one period agree about an attribute more than
//! chance has them agree is measured at four scales (neighbours, and 4,096, 512 and 32 blocks of the order of arrival); a loss
//! among n of its period then counts 1 / (1 + ρ (n − 1)), Kish's design effect, and the scale that makes least of the
//! evidence decides. One burst is one witness, however many records it took.

use crate::audit::patterns::tails::ln_hypergeometric_upper;

use super::sample::{Rows, Sample, UNKNOWN};
use super::tables::{Table, mantel_haenszel};

/// Stretches of the order of arrival within which an attribute is compared, so that drift of loss and of traffic is no effect.
const STRATA: u64 = 64;
const SCALES: [u64; 3] = [4096, 512, 32];
/// Losses nearer than this part of their mean distance are neighbours: independent ones are so once in ten.
const NEAR: f64 = 0.1;
/// How much more alike units near in time must be than any two, for a dimension to count as a kind of clock.
const CLOCK: f64 = 0.5;

/// For each unit whether it has an attribute; `None` where that is not known.
pub(super) struct Members {
    pub cases: Vec<Option<bool>>,
    pub controls: Vec<Option<bool>>,
}

pub(super) struct Study<'a> {
    pub cases: &'a Rows,
    pub controls: &'a Rows,
    /// Units that each sampled one stands for.
    pub case_weight: f64,
    pub control_weight: f64,
    /// For each scale, the cluster of each case and how many clusters there are.
    scales: Vec<(Vec<u32>, usize)>,
    strata: (Vec<u32>, Vec<u32>),
    /// Controls in order of arrival.
    order: Vec<u32>,
}

impl<'a> Study<'a> {
    pub fn new(losses: &'a Sample, arrivals: &'a Sample) -> Self {
        let (cases, controls) = (losses.rows(), arrivals.rows());
        let numbers = || cases.numbers.iter().chain(&controls.numbers).copied();
        let (low, high) = (numbers().min().unwrap_or(0), numbers().max().unwrap_or(0));
        let span = u128::from(high - low) + 1;
        let block = |number: u64, blocks: u64| (u128::from(number - low) * u128::from(blocks) / span) as u32;
        let blocks = |rows: &Rows, n| rows.numbers.iter().map(|number| block(*number, n)).collect::<Vec<u32>>();
        let mut scales = vec![neighbours(&cases.numbers, span as f64)];
        scales.extend(SCALES.map(|n| (blocks(cases, n), n as usize)));
        let mut order: Vec<u32> = (0..controls.len() as u32).collect();
        order.sort_by_key(|row| controls.numbers[*row as usize]);
        Self {
            cases,
            controls,
            case_weight: losses.seen() as f64 / cases.len().max(1) as f64,
            control_weight: arrivals.seen() as f64 / controls.len().max(1) as f64,
            scales,
            strata: (blocks(cases, STRATA), blocks(controls, STRATA)),
            order,
        }
    }

    pub fn members(&self, has: impl Fn(&Rows, usize) -> Option<bool>) -> Members {
        let of = |rows: &Rows| (0..rows.len()).map(|row| has(rows, row)).collect();
        Members { cases: of(self.cases), controls: of(self.controls) }
    }

    /// The sampled units outside all of `given`.
    pub fn table(&self, members: &Members, given: &[&Members]) -> Table {
        let count = |side: fn(&Members) -> &Vec<Option<bool>>| {
            let free = |row: &usize| given.iter().all(|other| side(other)[*row] != Some(true));
            let (mut inside, mut outside) = (0.0, 0.0);
            for row in (0..side(members).len()).filter(free) {
                match side(members)[row] {
                    Some(true) => inside += 1.0,
                    Some(false) => outside += 1.0,
                    None => {}
                }
            }
            (inside, outside)
        };
        let ((in_lost, out_lost), (in_arrived, out_arrived)) = (count(|m| &m.cases), count(|m| &m.controls));
        Table { in_lost, out_lost, in_arrived, out_arrived }
    }

    /// What a table of sampled units stands for.
    pub fn scaled(&self, table: Table) -> Table {
        Table {
            in_lost: table.in_lost * self.case_weight,
            out_lost: table.out_lost * self.case_weight,
            in_arrived: table.in_arrived * self.control_weight,
            out_arrived: table.out_arrived * self.control_weight,
        }
    }

    /// ln p of the attribute within stretches of time and within what the attributes `given` leave alike. Where the exact numbers
    /// that arrived with and without it are known, the one table of all time must agree.
    pub fn ln_p(&self, members: &Members, given: &[&Members], arrived: Option<(f64, f64)>) -> f64 {
        let table = self.table(members, &[]);
        let share = (table.in_arrived + 0.5) / (table.in_arrived + table.out_arrived + 1.0);
        let mut strata = vec![Table::default(); (STRATA as usize) << given.len()];
        for (row, stratum) in self.strata.1.iter().enumerate() {
            let stratum = stratum_of(*stratum, row, given, |m| &m.controls);
            match members.controls[row] {
                Some(true) => strata[stratum].in_arrived += 1.0,
                Some(false) => strata[stratum].out_arrived += 1.0,
                None => {}
            }
        }
        let judge = |(clusters, count): &(Vec<u32>, usize)| {
            let weights = weights(&members.cases, clusters, *count, share);
            let (mut strata, mut whole) = (strata.clone(), Table::default());
            for (row, weight) in weights.iter().enumerate() {
                let stratum = &mut strata[stratum_of(self.strata.0[row], row, given, |m| &m.cases)];
                match members.cases[row] {
                    Some(true) => (stratum.in_lost += weight, whole.in_lost += weight).0,
                    Some(false) => (stratum.out_lost += weight, whole.out_lost += weight).0,
                    None => {}
                }
            }
            let within = mantel_haenszel(&strata);
            let Some((in_arrived, out_arrived)) = arrived else { return within };
            within.max(Table { in_arrived, out_arrived, ..whole }.ln_p())
        };
        self.scales.iter().map(judge).fold(f64::NEG_INFINITY, f64::max)
    }

    /// Whether the dimension is a kind of clock: an hour, a leader epoch. All units of one moment then share its value, and nothing
    /// can be compared within a moment.
    pub fn is_clock(&self, dimension: usize) -> bool {
        let agree = |rows: &[u32]| {
            let mut codes: Vec<u32> = rows.iter().map(|row| self.controls.code(*row as usize, dimension)).collect();
            codes.retain(|code| *code != UNKNOWN);
            codes.sort_unstable();
            let pairs = |n: usize| n as f64 * (n as f64 - 1.0);
            (codes.chunk_by(|a, b| a == b).map(|same| pairs(same.len())).sum::<f64>(), pairs(codes.len()))
        };
        let window = (self.order.len() / 512).clamp(4, 32);
        let near = self.order.chunks(window).map(agree).fold((0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1));
        let all = agree(&self.order);
        if near.1 <= 0.0 || all.0 >= all.1 {
            return false;
        }
        let (near, any) = (near.0 / near.1, all.0 / all.1);
        (near - any) / (1.0 - any) >= CLOCK
    }

    /// ln p of a value of a clock. Each stretch of time with one value is one witness: are the stretches that lose most the
    /// value's, more often than chance would have it? `given` are causes whose losses are left out.
    pub fn ln_p_of_clock(&self, members: &Members, dimension: usize, given: &[&Members]) -> f64 {
        let mut stretches = self.stretches(dimension, members);
        for (row, number) in self.cases.numbers.iter().enumerate() {
            let explained = given.iter().any(|other| other.cases[row] == Some(true));
            let at = stretches.partition_point(|stretch| stretch.from <= *number).saturating_sub(1);
            match stretches.get_mut(at) {
                Some(stretch) if !explained => stretch.lost += 1.0,
                _ => {}
            }
        }
        let own = stretches.iter().filter(|stretch| stretch.own).count();
        let total = stretches.len() as u64;
        // Of equal rates the value's own come last, so ties are no evidence.
        stretches.sort_by(|a, b| (b.lost / b.arrived).total_cmp(&(a.lost / a.arrived)).then_with(|| a.own.cmp(&b.own)));
        let top = stretches.iter().take(own).filter(|stretch| stretch.own && stretch.lost > 0.0).count();
        ln_hypergeometric_upper(top as u64, total, own as u64, own as u64)
    }

    fn stretches(&self, dimension: usize, members: &Members) -> Vec<Stretch> {
        let mut stretches: Vec<Stretch> = Vec::new();
        let mut before = None;
        // Eight units vote, so that a few out of order do not cut a stretch.
        for window in self.order.chunks(8) {
            let mut codes: Vec<u32> = window.iter().map(|row| self.controls.code(*row as usize, dimension)).collect();
            codes.sort_unstable();
            let most = codes.chunk_by(|a, b| a == b).max_by_key(|same| same.len()).map(|same| same[0]);
            if most != before {
                let of_most = |row: &&u32| Some(self.controls.code(**row as usize, dimension)) == most;
                let own = window.iter().find(of_most).is_some_and(|row| members.controls[*row as usize] == Some(true));
                let from = self.controls.numbers[window[0] as usize];
                stretches.push(Stretch { from, arrived: 0.0, lost: 0.0, own });
                before = most;
            }
            if let Some(stretch) = stretches.last_mut() {
                stretch.arrived += window.len() as f64;
            }
        }
        stretches
    }
}

struct Stretch {
    from: u64,
    arrived: f64,
    lost: f64,
    own: bool,
}

fn stratum_of(block: u32, row: usize, given: &[&Members], side: fn(&Members) -> &Vec<Option<bool>>) -> usize {
    given.iter().fold(block as usize, |stratum, other| stratum << 1 | usize::from(side(other)[row] == Some(true)))
}

/// Clusters of losses that lie close together.
fn neighbours(numbers: &[u64], span: f64) -> (Vec<u32>, usize) {
    let gap = (NEAR * span / numbers.len().max(1) as f64).max(1.0) as u64;
    let mut order: Vec<usize> = (0..numbers.len()).collect();
    order.sort_by_key(|row| numbers[*row]);
    let (mut clusters, mut cluster, mut before) = (vec![0; numbers.len()], 0, None);
    for row in order {
        if before.is_some_and(|before| numbers[row] - before > gap) {
            cluster += 1;
        }
        clusters[row] = cluster;
        before = Some(numbers[row]);
    }
    (clusters, cluster as usize + 1)
}

/// What each case counts. ρ is how much more often than chance two cases of a cluster are both inside, or both on one side.
fn weights(cases: &[Option<bool>], clusters: &[u32], count: usize, share: f64) -> Vec<f64> {
    let mut sizes = vec![(0.0f64, 0.0f64); count];
    for (member, cluster) in cases.iter().zip(clusters) {
        if let Some(inside) = member {
            let (size, own) = &mut sizes[*cluster as usize];
            *size += 1.0;
            *own += f64::from(u8::from(*inside));
        }
    }
    let p = chance(&sizes, share);
    let q = 1.0 - p;
    let (mut pairs, mut products, mut alike) = (0.0, 0.0, 0.0);
    for (size, own) in &sizes {
        let excess = own - size * p;
        pairs += size * (size - 1.0);
        products += excess * excess - own * q * q - (size - own) * p * p;
        alike += own * (own - 1.0) + (size - own) * (size - own - 1.0);
    }
    let rho = if pairs > 0.0 {
        let by_chance = p * p + q * q;
        (products / pairs / (p * q)).max((alike / pairs - by_chance) / (1.0 - by_chance)).clamp(0.0, 1.0)
    } else {
        0.0
    };
    clusters.iter().map(|cluster| 1.0 / (1.0 + rho * (sizes[*cluster as usize].0 - 1.0).max(0.0))).collect()
}

/// The chance of a case to be inside that agreement is measured against: the share of arrived units, and so much more as clusters show
/// beyond doubt (three standard errors), lest an effect that all clusters have be taken for their agreement. Few clusters never
/// show it, whatever they say: the error is at least what so many independent cases would have.
fn chance(sizes: &[(f64, f64)], share: f64) -> f64 {
    let (mut cases, mut squares, mut excess) = (0.0, 0.0, 0.0);
    for (size, own) in sizes {
        cases += size;
        squares += size * size;
        excess += own - size * share;
    }
    if cases <= 0.0 {
        return share;
    }
    let mean = excess / cases;
    let spread: f64 = sizes.iter().map(|(size, own)| (own - size * (share + mean)).powi(2)).sum();
    let error = (spread / (cases * cases)).max(share * (1.0 - share) * squares / (cases * cases)).sqrt();
    (share + (mean - 3.0 * error).max(0.0)).min(1.0 - 1e-9)
}
