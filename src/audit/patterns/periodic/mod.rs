//! Periodic loss: "every nth message silently fails".
//!
//! For each period n up to a bound, and each residue modulo n, the losses on that residue are compared with what a
//! hypergeometric distribution allows that knows how many numbers were eligible and how many were lost. Unlike
//! spectra and χ² over a whole table, this raises no false alarm on bursts: a burst puts at most one more loss on a
//! residue than on another.
//!
//! * Among significant periods, the one wins that raises the log likelihood most, less ln n. Its losses *and
//!   trials* are taken away and the rest is scanned again, so its divisors and multiples vanish and a second period
//!   shows.
//! * Runs of 64 and more are outages. They are no trials of the scan over losses, so they neither hide a period nor
//!   make one; a second pass looks for periods among them, each counted once, at its start.
//! * After a restart the losing residue may be the same (the cause counts what is numbered) or another (the cause has a
//!   counter of its own). Both are looked for.
//!   A number that many segments lose, such as their first, shows no period and is put aside.
//! * Every p is multiplied by the residues of its period, by the number of periods, by the counters that are
//!   judged, and by the passes. The number of false alarms among all counters is expected to stay below α.
//! * Clustered loss with a stride inside the clusters (one partition of four is down for a while, again and again)
//!   favours a residue by accident. So the log p is divided by the dispersion of the hits along the counter, where
//!   that is above that of independent hits. What is significant only without that is
//!   [burst-like](Periodic::burst_like).
//!
//! Leahy et al. 1983 (epoch folding is right for pulses as narrow as one number); Bélanger 2016 (trial periods must
//! be paid for).

mod exact;
mod find;
mod limits;
mod residues;
mod sample;
mod scan;

#[cfg(test)]
mod calibration;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use self::find::Finder;
pub use self::limits::{Limit, Limits};
pub use self::residues::Residues;
use self::sample::Group;
use self::scan::total;
use super::losses::{Segment, span};

/// Runs of this many numbers are outages.
pub const OUTAGE: u64 = 64;

/// Findings of one pass: more periods than this are none.
const MOST_PERIODS: usize = 8;

/// A segment's numbers before its last 2⁴⁸ are not looked at, so that sums of trials are exact.
const LONGEST: i64 = 1 << 48;

/// No longer period is scanned for, whatever the settings say: a scan costs its square.
const LONGEST_SCANNED: u32 = 1 << 16;

/// The exact short cut may spend this share of α, the scan the rest.
const EXACT_SHARE: f64 = 0.1;

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Periods from 2 to this, at most 65,536, are scanned. Periods found without noise may be longer.
    pub largest_period: u32,
    /// The expected number of false alarms over everything that is judged.
    pub alpha: f64,
    /// What else is judged: the number of counters, times the number of times each is looked at while it grows.
    pub counters: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { largest_period: 1000, alpha: 1e-3, counters: 1 }
    }
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Lost numbers, outages apart.
    Number,
    /// Outages of [`OUTAGE`] numbers and more, each once, at its first number.
    Outage,
}

/// Losses that sit on one residue of a counter.
///
/// `hits`, `eligible` and `background` leave out what a period found before explains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Periodic {
    /// Every nth number.
    pub n: u64,
    /// The losing numbers modulo n, in the latest segment that shows the period. Not negative.
    pub residue: u64,
    /// Neighbouring residues that lose too, from `residue` upwards and cyclically: 1, unless the losses jitter or
    /// come in bursts.
    pub width: u64,
    pub unit: Unit,
    /// Losses on the residues.
    pub hits: u64,
    /// Numbers on the residues that could have been lost.
    pub eligible: u64,
    /// `hits` / `eligible`, and Wilson's interval of 95 %.
    pub hit_rate: f64,
    pub hit_rate_interval: (f64, f64),
    /// Losses / trials off the residues.
    pub background: f64,
    /// The share of all lost numbers of the counter, outages included, that are hits or in outages that are.
    pub share: f64,
    /// ln of the corrected p: of the expected number of findings as strong as this, were there no period. It is
    /// that of the best single residue, so for a width above 1 it is an upper bound.
    pub ln_p: f64,
    pub first: Loss,
    pub last: Loss,
    /// The next three numbers of the latest segment that the period would lose, if it has a residue there.
    pub next: Vec<i64>,
    /// Found by the exact short cut: all losses keep the period.
    pub exact: bool,
    /// Explained by clusters of losses: not to be called periodic.
    pub burst_like: bool,
    /// The residue in each segment that shows the period, when they differ.
    pub phases: Vec<Phase>,
}

/// A lost number. Its time is that of the nearer end of its run, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Index of its segment.
    pub segment: usize,
    pub number: i64,
    pub ms: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    /// Index of the segment.
    pub segment: usize,
    pub residue: u64,
}

/// What is said of one counter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// Strongest first among numbers, then among outages.
    pub periods: Vec<Periodic>,
    pub limits: Limits,
}

/// Judges one counter. Costs O(runs × largest period), whatever the length of runs and ranges.
pub fn judge(segments: &[Segment], settings: &Settings) -> Judgement {
    let (numbers, outages) = split(segments);
    // Fewer outages than losses that make a period need no pass.
    let passes = if total(&outages).lost >= scan::LEAST_LOSSES { 2.0 } else { 1.0 };
    let ln_counters = (settings.counters.max(1) as f64 * passes).ln();
    let finder = |unit| Finder { segments, settings, unit, ln_counters };
    let (mut periods, limits) = finder(Unit::Number).find(numbers);
    if passes > 1.0 {
        let (of_outages, _) = finder(Unit::Outage).find(outages);
        // Bursts about as long as an outage are seen in both passes.
        let new = |found: &Periodic| !periods.iter().any(|known| known.n == found.n && !known.burst_like);
        let of_outages: Vec<_> = of_outages.into_iter().filter(new).collect();
        periods.extend(of_outages);
    }
    Judgement { periods, limits }
}

/// The losses without the outages, and the outages by their starts; each among the numbers that were trials for it.
fn split(segments: &[Segment]) -> (Vec<Group>, Vec<Group>) {
    let one = |(i, segment): (usize, &Segment)| {
        let begin = segment.from.max(segment.until.saturating_sub(LONGEST));
        let (mut short, mut starts) = (Vec::new(), Vec::new());
        let (mut beside, mut before) = (Vec::new(), Vec::new());
        let (mut beside_from, mut before_from) = (begin, begin);
        for run in &segment.losses {
            let (from, until) = (run.from.max(begin), run.until.min(segment.until));
            match span(from, until) {
                0 => {}
                1..OUTAGE => short.push((from, until)),
                OUTAGE.. => {
                    beside.push((beside_from, from));
                    beside_from = until;
                    before.push((before_from, from + 1));
                    before_from = until;
                    starts.push((from, from + 1));
                }
            }
        }
        beside.push((beside_from, segment.until));
        before.push((before_from, segment.until));
        let filled = |stretches: Vec<(i64, i64)>| stretches.into_iter().filter(|s| s.0 < s.1).collect();
        (Group::new(i, filled(beside), short), Group::new(i, filled(before), starts))
    };
    segments.iter().enumerate().map(one).unzip()
}
