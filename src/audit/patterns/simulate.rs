//! Made-up counters for the tests of the statistics: losses of a known law.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::losses::{Run, Segment};

/// Numbers of a counter, unless a scenario says otherwise.
pub const TRIALS: usize = 20_000;

/// Which of the counter's numbers are lost, in the order sent, and where it restarts.
pub struct Counter {
    pub lost: Vec<bool>,
    pub restarts: Vec<usize>,
}

/// A law of losses.
pub type Make = fn(&mut StdRng) -> Vec<Segment>;

/// Runs of each law in a calibration.
pub fn runs() -> u64 {
    std::env::var("RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(500)
}

pub fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

impl Counter {
    pub fn new(trials: usize) -> Self {
        Self { lost: vec![false; trials], restarts: Vec::new() }
    }

    /// Each number is lost with the rate that holds at its share of the way.
    pub fn noise(mut self, rng: &mut StdRng, rate: impl Fn(f64) -> f64) -> Self {
        let trials = self.lost.len() as f64;
        for (i, lost) in self.lost.iter_mut().enumerate() {
            *lost |= rng.random_bool(rate(i as f64 / trials));
        }
        self
    }

    /// Bursts that make up about `share` of all numbers, of a geometric length with this mean, in which each number
    /// is lost with probability `inside` (E. N. Gilbert's channel).
    pub fn bursts(mut self, rng: &mut StdRng, share: f64, mean: f64, inside: f64) -> Self {
        let mut bad = false;
        for lost in &mut self.lost {
            bad = if bad { !rng.random_bool(1.0 / mean) } else { rng.random_bool(share / (mean * (1.0 - share))) };
            *lost |= bad && rng.random_bool(inside);
        }
        self
    }

    /// Every nth number, from `phase`, with this hit rate, moved by up to `jitter` either way.
    pub fn every(mut self, rng: &mut StdRng, n: usize, phase: usize, rate: f64, jitter: i64) -> Self {
        for at in (phase..self.lost.len()).step_by(n) {
            let at = at as i64 + rng.random_range(-jitter..=jitter);
            if rng.random_bool(rate) && (0..self.lost.len() as i64).contains(&at) {
                self.lost[at as usize] = true;
            }
        }
        self
    }

    /// `count` stretches of `length` numbers at random places, of which every `stride`th is lost.
    pub fn stretches(mut self, rng: &mut StdRng, count: usize, length: std::ops::Range<usize>, stride: usize) -> Self {
        for _ in 0..count {
            let length = rng.random_range(length.clone());
            let from = rng.random_range(0..self.lost.len() - length);
            (from..from + length).step_by(stride).for_each(|at| self.lost[at] = true);
        }
        self
    }

    /// `length` lost numbers from `phase` on, and again every `n`.
    pub fn blocks(mut self, n: usize, phase: usize, length: usize) -> Self {
        for from in (phase..self.lost.len() - length).step_by(n) {
            self.lost[from..from + length].fill(true);
        }
        self
    }

    /// Restarts at random places.
    pub fn restarts(mut self, rng: &mut StdRng, count: usize) -> Self {
        self.restarts = (0..count).map(|_| rng.random_range(1..self.lost.len())).collect();
        self.restarts.sort_unstable();
        self.restarts.dedup();
        self
    }

    /// The segments, each numbered from 0. A number is due at its place in the order sent, in milliseconds.
    pub fn segments(&self) -> Vec<Segment> {
        let ends = self.restarts.iter().copied().chain([self.lost.len()]);
        let mut from = 0;
        let segment = |until: usize| {
            let begin = std::mem::replace(&mut from, until);
            Segment {
                from: 0,
                until: (until - begin) as i64,
                losses: lost_runs(&self.lost[begin..until], begin as i64),
            }
        };
        ends.map(segment).collect()
    }
}

fn lost_runs(lost: &[bool], ms: i64) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for at in (0..lost.len()).filter(|&at| lost[at]) {
        let (number, ms) = (at as i64, ms + at as i64);
        match runs.last_mut().filter(|run| run.until == number) {
            Some(run) => (run.until, run.last_ms) = (number + 1, ms),
            None => runs.push(Run { from: number, until: number + 1, first_ms: ms, last_ms: ms }),
        }
    }
    runs
}
