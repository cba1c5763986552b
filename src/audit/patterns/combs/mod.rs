//! Retry combs: identities that come again after the same few delays, whenever they came first. Clients that retry in step, without
//! jitter, hit a broker that has just recovered all at once (Brooker, "Exponential Backoff and Jitter", AWS, 2015).
//!
//! A tooth is a delay that far more identities share than delays near it. It counts how many separate moments the identities
//! began in, not how many there are: a range that was replayed once has one delay too, but all of it in one moment. Only a copy
//! that runs on at the recorded pace, for more than five times its delay, looks the same; its share of the traffic tells.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::f64::consts::SQRT_2;

use serde::{Deserialize, Serialize};

use super::attribution::mix;
use super::tails::ln_binomial_upper;

/// Delays up to 640 ms go into bins of 10 ms, about what a network adds to a delay; above, into 64 bins for each doubling, which
/// are 1.1 % wide, so a tooth keeps to a few bins while 10 % of jitter fills eighteen. 46 hours take 1,216 bins.
const LINEAR_MS: i64 = 10;
const LINEAR_BINS: u32 = 64;
const BINS_PER_DOUBLING: f64 = 64.0;
const MOST_BINS: u32 = LINEAR_BINS + 64 * 18;

/// A tooth is at most so many bins wide: up to 6.7 % of the delay, or 60 ms.
const WIDEST: usize = 6;
/// A tooth is compared with delays up to this many times longer and shorter.
const NEAR: f64 = SQRT_2;
/// Shorter delays are the network's own.
const LEAST_DELAY_MS: f64 = 50.0;
/// How many times as many identities as the bins near it, of how many, and what part of all repeated identities make a tooth.
const LEAST_CONTRAST: f64 = 5.0;
const LEAST_IDENTITIES: u64 = 10;
const LEAST_SHARE: f64 = 0.1;
/// Separate moments that identities must have come first in.
const LEAST_MOMENTS: f64 = 5.0;
/// Teeth seen in smooth delays: less than one report in a million.
const LEVEL: f64 = 1e-6;
/// How far from equal two pauses may be to count as equal.
const TOLERANCE: f64 = 0.1;
/// Seconds that repeats are counted in. When there are more, those with the fewest are forgotten.
const MOST_SECONDS: usize = 4096;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Bin {
    identities: u64,
    /// A bit for each moment that identities came first in, by hash: linear counting (Whang, Vander-Zanden & Taylor, 1990).
    moments: u64,
    sum_ms: i64,
    least_ms: i64,
    most_ms: i64,
}

/// Delays of repeats, fed an identity at a time in any order: at most 1,216 bins of 40 bytes and 4,096 seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Combs {
    bins: BTreeMap<u32, Bin>,
    identities: u64,
    repeats: u64,
    arrivals: u64,
    seconds: BTreeMap<i64, u64>,
}

/// A delay that many identities share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tooth {
    /// From the first arrival, the mean of those in the tooth.
    pub delay_ms: i64,
    /// Between the shortest and the longest delay in it.
    pub width_ms: i64,
    pub identities: u64,
    /// Of all repeated identities, 0 to 1.
    pub share: f64,
    /// ln of the probability that smooth delays have it, corrected for the delays tried.
    pub ln_p: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Sequence {
    /// The same pause before every repeat.
    Fixed {
        pause_ms: i64,
    },
    /// Every pause is so many times the one before.
    Exponential {
        base: f64,
    },
    Unknown,
}

/// The second with most repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peak {
    pub time_ms: i64,
    pub repeats: u64,
}

/// Repeats in step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comb {
    /// By delay.
    pub teeth: Vec<Tooth>,
    pub sequence: Sequence,
    /// The largest width of a tooth by its delay: 0.01 are 1 %.
    pub jitter: f64,
    /// Repeats of all arrivals, 0 to 1; zero if arrivals were not counted.
    pub share_of_traffic: f64,
    pub peak: Option<Peak>,
    /// Repeated identities, in a tooth or not.
    pub identities: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Delays {
    pub comb: Option<Comb>,
    /// Delays shared by identities that came first in fewer than five moments: ranges that were sent again.
    pub replays: Vec<Tooth>,
}

impl Combs {
    /// Counts records, repeats and all.
    pub fn arrived(&mut self, records: u64) {
        self.arrivals += records;
    }

    /// An identity that arrived more than once, with all its arrival times in milliseconds, ascending.
    pub fn identity(&mut self, arrivals: &[i64]) {
        let [first, again @ ..] = arrivals else { return };
        if again.is_empty() {
            return;
        }
        self.identities += 1;
        let mut before = None;
        for time in again {
            self.repeats += 1;
            *self.seconds.entry(time.div_euclid(1000)).or_default() += 1;
            let delay = time.saturating_sub(*first);
            let index = bin_of(delay);
            // A second copy in the same bin is the same delay of the same identity.
            if (0..MOST_BINS).contains(&index) && before != Some(index) {
                self.bins.entry(index).or_default().count(delay, *first);
            }
            before = Some(index);
        }
        if self.seconds.len() > 2 * MOST_SECONDS {
            self.forget();
        }
    }

    /// The delays that repeats have in common.
    pub fn report(&self) -> Delays {
        let mut delays = Delays::default();
        let mut teeth = Vec::new();
        for (tooth, moments) in self.teeth() {
            match moments >= LEAST_MOMENTS {
                true if tooth.ln_p <= LEVEL.ln() => teeth.push(tooth),
                true => {}
                false => delays.replays.push(tooth),
            }
        }
        let jitter = teeth.iter().map(|t: &Tooth| t.width_ms as f64 / t.delay_ms.max(1) as f64).fold(0.0, f64::max);
        delays.comb = (!teeth.is_empty()).then(|| Comb {
            sequence: sequence(&teeth),
            teeth,
            jitter,
            share_of_traffic: if self.arrivals > 0 { self.repeats as f64 / self.arrivals as f64 } else { 0.0 },
            peak: self.peak(),
            identities: self.identities,
        });
        delays
    }

    fn peak(&self) -> Option<Peak> {
        let (second, repeats) = self.seconds.iter().max_by_key(|(second, repeats)| (**repeats, -**second))?;
        Some(Peak { time_ms: second.saturating_mul(1000), repeats: *repeats })
    }

    fn forget(&mut self) {
        let mut counts: Vec<u64> = self.seconds.values().copied().collect();
        counts.sort_unstable();
        let median = counts[counts.len() / 2];
        self.seconds.retain(|_, repeats| *repeats > median);
    }

    /// Peaks of the histogram that are narrow and stand out, and how many moments each began in.
    fn teeth(&self) -> Vec<(Tooth, f64)> {
        let mut counts = vec![0u64; MOST_BINS as usize];
        self.bins.iter().for_each(|(index, bin)| counts[*index as usize] = bin.identities);
        let mut by_size: Vec<usize> = self.bins.keys().map(|index| *index as usize).collect();
        by_size.sort_by_key(|index| (std::cmp::Reverse(counts[*index]), *index));
        let mut taken = vec![false; counts.len()];
        let mut teeth = Vec::new();
        for top in by_size {
            if taken[top] || counts[top] < LEAST_IDENTITIES / WIDEST as u64 {
                continue;
            }
            let belongs = |index: &usize| counts[*index] * 10 >= counts[top];
            let low = (0..top).rev().take_while(belongs).last().unwrap_or(top);
            let high = (top + 1..counts.len()).take_while(belongs).last().unwrap_or(top);
            // What hangs together with a larger peak is its flank.
            let stands_alone = !taken[low..=high].contains(&true);
            taken[low..=high].fill(true);
            if stands_alone && high - low < WIDEST && edge_ms(low) >= LEAST_DELAY_MS {
                teeth.extend(self.tooth(&counts, low, high));
            }
        }
        teeth.sort_by_key(|(tooth, _)| tooth.delay_ms);
        teeth
    }

    fn tooth(&self, counts: &[u64], low: usize, high: usize) -> Option<(Tooth, f64)> {
        let bins = || self.bins.range(low as u32..=high as u32).map(|(_, bin)| bin);
        let identities: u64 = bins().map(|bin| bin.identities).sum();
        let share = identities as f64 / self.identities.max(1) as f64;
        let expected = background(counts, low, high) * (high - low + 1) as f64;
        if identities < LEAST_IDENTITIES || share < LEAST_SHARE || (identities as f64) < LEAST_CONTRAST * expected {
            return None;
        }
        let moments = distinct(bins().fold(0, |moments, bin| moments | bin.moments));
        // Identities of one moment are one witness; those near the tooth are taken to be as many to a moment.
        let witnesses = moments.min(identities as f64);
        let expected = expected * witnesses / identities as f64;
        let trials = 1_000_000_000;
        let ln_p = ln_binomial_upper(witnesses as u64, trials, expected / trials as f64) + f64::from(MOST_BINS).ln();
        let tooth = Tooth {
            delay_ms: bins().map(|bin| bin.sum_ms).sum::<i64>() / identities as i64,
            width_ms: bins().map(|bin| bin.most_ms).max()? - bins().map(|bin| bin.least_ms).min()?,
            identities,
            share: share.min(1.0),
            ln_p: ln_p.min(0.0),
        };
        Some((tooth, moments))
    }
}

impl Bin {
    fn count(&mut self, delay_ms: i64, first_ms: i64) {
        if self.identities == 0 {
            (self.least_ms, self.most_ms) = (delay_ms, delay_ms);
        }
        self.identities += 1;
        self.sum_ms += delay_ms;
        self.least_ms = self.least_ms.min(delay_ms);
        self.most_ms = self.most_ms.max(delay_ms);
        // Moments are as long as the delay, and the same for all bins that a tooth may take in.
        let moment = first_ms.div_euclid(1000i64.max((delay_ms as u64).next_power_of_two() as i64));
        self.moments |= 1 << (mix(moment as u64) % 64);
    }
}

/// The bin of a delay; [`MOST_BINS`] or more if it is negative or too long.
fn bin_of(delay_ms: i64) -> u32 {
    let linear = LINEAR_MS * i64::from(LINEAR_BINS);
    match delay_ms {
        ..0 => MOST_BINS,
        _ if delay_ms < linear => (delay_ms / LINEAR_MS) as u32,
        _ => LINEAR_BINS + ((delay_ms as f64 / linear as f64).log2() * BINS_PER_DOUBLING) as u32,
    }
}

/// The shortest delay in a bin.
fn edge_ms(bin: usize) -> f64 {
    match bin.checked_sub(LINEAR_BINS as usize) {
        None => (LINEAR_MS * bin as i64) as f64,
        Some(bin) => (LINEAR_MS * i64::from(LINEAR_BINS)) as f64 * (bin as f64 / BINS_PER_DOUBLING).exp2(),
    }
}

/// Identities in a bin near the tooth, on average, without the eighth that holds most, which may be other teeth; and one more, as
/// few bins may be empty by chance.
fn background(counts: &[u64], low: usize, high: usize) -> f64 {
    let from = bin_of((edge_ms(low) / NEAR) as i64) as usize;
    let until = (bin_of((edge_ms(high + 1) * NEAR) as i64) as usize + 1).min(counts.len());
    let mut near: Vec<u64> = [&counts[from..low], &counts[(high + 1).min(until)..until]].concat();
    near.sort_unstable();
    near.truncate(near.len() - near.len() / 8);
    (near.iter().sum::<u64>() + 1) as f64 / near.len().max(1) as f64
}

/// How many moments set these bits: −m ln(empty / m).
fn distinct(bits: u64) -> f64 {
    64.0 * (64.0 / f64::from(bits.count_zeros().max(1))).ln()
}

/// The rule behind the delays. They are judged as sums of pauses first, then as multiples of each other.
fn sequence(teeth: &[Tooth]) -> Sequence {
    let delays: Vec<f64> = teeth.iter().map(|tooth| tooth.delay_ms as f64).collect();
    let pauses: Vec<f64> =
        std::iter::once(0.0).chain(delays.iter().copied()).zip(&delays).map(|(a, b)| b - a).collect();
    let near = |a: f64, b: f64| (a / b - 1.0).abs() <= TOLERANCE;
    if pauses.iter().all(|pause| near(*pause, pauses[0])) {
        return Sequence::Fixed { pause_ms: pauses[0].round() as i64 };
    }
    let base = |of: &[f64]| {
        let ratios: Vec<f64> = of.windows(2).map(|pair| pair[1] / pair[0]).collect();
        let mean = ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len().max(1) as f64;
        let base = mean.exp();
        (base > 1.0 + TOLERANCE && ratios.iter().all(|ratio| near(*ratio, base))).then_some(base)
    };
    base(&pauses).or_else(|| base(&delays)).map_or(Sequence::Unknown, |base| Sequence::Exponential { base })
}
