//! Whether the lag rises or falls over the commits of a window. By ranks and medians, so that neither a dip nor a peak
//! decides: the share of pairs that rise (Kendall's tau) says how steady it is, the median slope (Theil and Sen) how fast.

use crate::lag::slope::median_slope;
use crate::lag::window::{Commit, Window};

/// Newest samples looked at.
const MOST: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trend {
    pub samples: usize,
    pub first_lag: i64,
    pub last_lag: i64,
    pub span_ms: i64,
    /// From −1, always falling, to 1, always rising.
    pub tau: f64,
    /// Offsets the lag rose over the span, by the median slope.
    pub rise: i64,
    /// Offsets written over the span.
    pub written: i64,
    /// The last samples fall, one after the other, well below the highest.
    pub is_recovering: bool,
}

#[derive(Clone, Copy, Default)]
struct Sample {
    at_ms: i64,
    lag: i64,
    end: i64,
}

impl Trend {
    /// `None` with fewer than two known lags. Only what came after the last long pause counts: before it things were different.
    pub fn of(window: &Window<'_>, long_pause_ms: i64) -> Option<Self> {
        let mut kept = [Sample::default(); MOST];
        let samples = samples(window.commits, long_pause_ms, &mut kept);
        let (first, last) = (samples.first()?, samples.last()?);
        if samples.len() < 2 {
            return None;
        }
        let span_ms = last.at_ms - first.at_ms;
        Some(Self {
            samples: samples.len(),
            first_lag: first.lag,
            last_lag: last.lag,
            span_ms,
            tau: tau(samples),
            rise: (median_slope(samples, point) * span_ms as f64) as i64,
            written: (last.end - first.end).max(0),
            is_recovering: is_recovering(samples),
        })
    }

    /// Time in which what the group is behind was written, at the mean speed of the window.
    pub fn behind_ms(&self) -> Option<i64> {
        (self.written > 0).then(|| (self.last_lag as f64 / self.written as f64 * self.span_ms as f64) as i64)
    }
}

/// Oldest first.
fn samples<'a>(commits: &[Commit], long_pause_ms: i64, out: &'a mut [Sample; MOST]) -> &'a [Sample] {
    let mut from = MOST;
    for commit in commits.iter().rev() {
        let Some(lag) = commit.lag else { continue };
        if from == 0 {
            break;
        }
        let sample = Sample { at_ms: commit.timestamp_ms, lag, end: commit.offset.saturating_add(lag) };
        if let Some(next) = out.get(from)
            && next.at_ms.saturating_sub(sample.at_ms) > long_pause_ms
        {
            break;
        }
        from -= 1;
        out[from] = sample;
    }
    &out[from..]
}

fn point(sample: &Sample) -> (i64, i64) {
    (sample.at_ms, sample.lag)
}

fn tau(samples: &[Sample]) -> f64 {
    let mut sum = 0i64;
    for (at, later) in samples.iter().enumerate() {
        for earlier in &samples[..at] {
            sum += (later.lag - earlier.lag).signum();
        }
    }
    let pairs = samples.len() * (samples.len() - 1) / 2;
    sum as f64 / pairs as f64
}

fn is_recovering(samples: &[Sample]) -> bool {
    let falls = samples.windows(2).rev().take_while(|pair| pair[1].lag < pair[0].lag).count();
    let highest = samples.iter().map(|sample| sample.lag).max().unwrap_or(0);
    let last = samples.last().map_or(0, |sample| sample.lag);
    falls >= 3 && last <= highest / 10 * 9
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commits(lags: &[i64]) -> Vec<Commit> {
        let commit = |(n, lag): (usize, &i64)| Commit {
            offset: 1_000 * n as i64,
            order: n as i64,
            timestamp_ms: 10_000 * n as i64,
            lag: Some(*lag),
            by_tool: false,
        };
        lags.iter().enumerate().map(commit).collect()
    }

    fn shape(lags: &[i64]) -> (f64, i64) {
        let commits = commits(lags);
        let mut kept = [Sample::default(); MOST];
        let samples = samples(&commits, i64::MAX, &mut kept);
        let span = samples[samples.len() - 1].at_ms - samples[0].at_ms;
        (tau(samples), (median_slope(samples, point) * span as f64) as i64)
    }

    #[test]
    fn a_saw_that_climbs_rises() {
        let (tau, rise) = shape(&[100, 500, 150, 550, 200, 600, 250, 650, 300, 700]);
        assert!(tau > 0.3 && rise > 100, "{tau} {rise}");
    }

    #[test]
    fn a_saw_that_stays_does_not() {
        let (tau, rise) = shape(&[100, 500, 100, 500, 100, 500, 100, 500, 100, 500]);
        assert!(tau.abs() < 0.3, "{tau} {rise}");
    }

    #[test]
    fn an_outlier_decides_nothing() {
        let (tau, rise) = shape(&[10, 10, 10, 10, 9_000, 10, 10, 10, 10, 10]);
        assert!(tau.abs() < 0.3 && rise == 0, "{tau} {rise}");
    }
}
