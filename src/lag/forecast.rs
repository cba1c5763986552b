//! What is going to happen if things go on as they do: when a group has caught up, when retention overtakes it, when a
//! log is full before its time. Each forecast says what it assumes, and the ones that came due say how wrong they were.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::slope::median_slope;
use super::snapshot::{Forecast, Point};
use super::window::{Commit, Mark};
use crate::report::format::{bytes, duration, thousands};

pub const CATCHES_UP: &str = "catches-up";
pub const RETENTION_OVERTAKES: &str = "retention-overtakes";
pub const RETENTION_FILLS: &str = "retention-fills";
pub const VOLUME_FILLS: &str = "volume-fills";

/// Less past than this carries no forecast.
const LEAST_SPAN_MS: i64 = 30_000;
const LEAST_POINTS: usize = 4;
/// Points of the lag curve that tell how things go now.
const RECENT_POINTS: usize = 30;
/// A forecast beyond this is as good as never.
const FARTHEST_MS: f64 = 365.0 * 86_400_000.0;

/// When the lag is worked off, from the lag curve (oldest first). `written_per_s` is the speed at which the group's
/// partitions grow, where it is known. `None`: nothing to catch up with, or too little is known.
pub fn catches_up(curve: &[Point], written_per_s: Option<f64>) -> Option<Forecast> {
    let curve = &curve[curve.len().saturating_sub(RECENT_POINTS)..];
    let (first, last) = (curve.first()?, curve.last()?);
    if last.1 <= 0 || curve.len() < LEAST_POINTS || last.0.saturating_sub(first.0) < LEAST_SPAN_MS {
        return None;
    }
    let gain = -median_slope(curve, |point| *point);
    let over = duration(last.0.saturating_sub(first.0).unsigned_abs());
    let speeds = match written_per_s.filter(|speed| speed.is_finite()) {
        Some(written) => format!(
            "reading {} and writing {} go on",
            per_second((written + gain * 1000.0).max(0.0)),
            per_second(written.max(0.0))
        ),
        None if gain == 0.0 => "the lag stays as it is".to_owned(),
        None => format!(
            "the lag goes on to {} by {}",
            if gain > 0.0 { "fall" } else { "rise" },
            per_second(gain.abs() * 1000.0)
        ),
    };
    let lag = thousands(last.1.unsigned_abs());
    let assumption = format!("{speeds} as in the last {over}; {lag} offsets are unread now");
    Some(forecast(CATCHES_UP, after(last.0, last.1 as f64, gain), assumption))
}

/// When the log start passes the committed offset. The group's speed is that of its commits over the time the marks
/// cover, nothing when it stands still.
pub fn retention_overtakes(commits: &[Commit], marks: &[Mark], now_ms: i64) -> Option<Forecast> {
    let (committed, first, last) = (commits.last()?, marks.first()?, marks.last()?);
    let span_ms = last.at_ms.saturating_sub(first.at_ms);
    let lead = committed.offset.saturating_sub(last.log_start);
    if lead < 0 {
        let assumption = format!("the log start has passed the commit by {} offsets", thousands(lead.unsigned_abs()));
        return Some(forecast(RETENTION_OVERTAKES, Some(now_ms), assumption));
    }
    // A group that has read all loses nothing when the log start reaches it.
    if marks.len() < 2 || span_ms < LEAST_SPAN_MS || committed.offset >= last.end {
        return None;
    }
    // Segments go at once, so the start moves in leaps: only the whole way over the whole time means anything.
    let start_speed = last.log_start.saturating_sub(first.log_start).max(0) as f64 / span_ms as f64;
    let earlier = commits.iter().find(|commit| commit.timestamp_ms >= first.at_ms).unwrap_or(committed);
    let commit_ms = now_ms.saturating_sub(earlier.timestamp_ms).max(1);
    let read_speed = committed.offset.saturating_sub(earlier.offset).max(0) as f64 / commit_ms as f64;
    let assumption = format!(
        "the log start goes on at {} and the group at {}; the group is {} offsets ahead of it",
        per_second(start_speed * 1000.0),
        per_second(read_speed * 1000.0),
        thousands(lead.unsigned_abs())
    );
    Some(forecast(RETENTION_OVERTAKES, after(now_ms, lead as f64, start_speed - read_speed), assumption))
}

/// When the log covers less time than it is meant to (`retention.ms`), because it is full before its records are old
/// enough: `retention.bytes`, or somebody who deletes. `None` while nothing was deleted, or too little is known.
pub fn retention_fills(marks: &[Mark], retention_ms: i64, now_ms: i64) -> Option<Forecast> {
    let covers: Vec<Point> = marks.iter().filter_map(|mark| Some((mark.at_ms, covered(marks, mark)?))).collect();
    let last = covers.last()?;
    if marks.first()?.log_start >= marks.last()?.log_start {
        return None;
    }
    let plan = format!(
        "the log covers {} now, it is meant to cover {}",
        duration(last.1.max(0).unsigned_abs()),
        duration(retention_ms.unsigned_abs())
    );
    // Segments go whole, so up to a tenth less than planned is no sign.
    if last.1 < retention_ms - retention_ms / 10 {
        return Some(forecast(RETENTION_FILLS, Some(now_ms), plan));
    }
    // Until the first segment went the log only grew.
    let growing =
        marks.iter().take_while(|mark| mark.log_start == marks[0].log_start).last().map_or(0, |mark| mark.at_ms);
    let since = &covers[covers.partition_point(|(at_ms, _)| *at_ms <= growing)..];
    let fall = -median_slope(since, |point| *point);
    let goes_on = format!("{plan}, and it shrinks by {} a day", duration((fall.max(0.0) * 86_400_000.0) as u64));
    let left_ms = (last.1 - retention_ms).max(0) as f64;
    let at_ms = (since.len() >= LEAST_POINTS).then(|| after(now_ms, left_ms, fall)).flatten();
    Some(forecast(RETENTION_FILLS, at_ms, goes_on))
}

/// When a volume is full, from the bytes that were usable (oldest first). `None`: too little is known.
pub fn volume_fills(usable: &[Point], now_ms: i64) -> Option<Forecast> {
    let (first, last) = (usable.first()?, usable.last()?);
    if usable.len() < LEAST_POINTS || last.0.saturating_sub(first.0) < LEAST_SPAN_MS {
        return None;
    }
    let fall = -median_slope(usable, |point| *point);
    let assumption = format!(
        "{} are usable and go at {} an hour as in the last {}",
        bytes(last.1.max(0).unsigned_abs()),
        bytes((fall.max(0.0) * 3_600_000.0) as u64),
        duration(last.0.saturating_sub(first.0).unsigned_abs())
    );
    Some(forecast(VOLUME_FILLS, after(now_ms, last.1.max(0) as f64, fall), assumption))
}

/// Time between when the record at the mark's log start was written and the mark, where the marks reach back so far.
fn covered(marks: &[Mark], mark: &Mark) -> Option<i64> {
    let after = marks.partition_point(|earlier| earlier.end <= mark.log_start);
    let (below, above) = (marks.get(after.checked_sub(1)?)?, marks.get(after)?);
    let share = (mark.log_start - below.end) as f64 / (above.end - below.end).max(1) as f64;
    let written_ms = below.at_ms + (above.at_ms.saturating_sub(below.at_ms) as f64 * share) as i64;
    Some(mark.at_ms.saturating_sub(written_ms).max(0))
}

fn forecast(what: &str, at_ms: Option<i64>, assumption: String) -> Forecast {
    Forecast { what: what.to_owned(), at_ms, assumption, past_error: None }
}

/// When a distance is used up at this speed (units per millisecond).
fn after(from_ms: i64, distance: f64, speed: f64) -> Option<i64> {
    let in_ms = distance / speed;
    (speed > 0.0 && in_ms <= FARTHEST_MS).then(|| from_ms.saturating_add(in_ms as i64))
}

fn per_second(speed: f64) -> String {
    if speed < 10.0 { format!("{speed:.1}/s") } else { format!("{}/s", thousands(speed.round() as u64)) }
}

/// Forecasts that wait to come true, and how far off the last ones were.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Scored {
    open: VecDeque<Made>,
    done: VecDeque<Outcome>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Made {
    what: String,
    made_ms: i64,
    at_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Outcome {
    what: String,
    error: f64,
}

/// Forecasts waited for, and outcomes kept.
const OPEN: usize = 16;
const DONE: usize = 32;

impl Scored {
    /// Remembers a forecast and writes the error of its predecessors into it. One of a kind is remembered per half of
    /// its distance, so that a slow matter is not scored a thousand times.
    pub fn made(&mut self, forecast: &mut Forecast, now_ms: i64) {
        forecast.past_error = self.error(&forecast.what);
        let Some(at_ms) = forecast.at_ms.filter(|at_ms| *at_ms > now_ms) else { return };
        let distance = at_ms - now_ms;
        let newest = self.open.iter().rev().find(|made| made.what == forecast.what);
        if newest.is_some_and(|made| now_ms.saturating_sub(made.made_ms) < distance / 2) {
            return;
        }
        self.open.push_back(Made { what: forecast.what.clone(), made_ms: now_ms, at_ms });
        while self.open.len() > OPEN {
            self.open.pop_front();
        }
    }

    /// What was forecast has happened: the open forecasts of the kind get their errors.
    pub fn happened(&mut self, what: &str, now_ms: i64) {
        self.close(now_ms, |made| made.what == what);
    }

    /// Forecasts so long overdue that they were wrong, whatever comes.
    pub fn overdue(&mut self, now_ms: i64) {
        self.close(now_ms, |made| now_ms.saturating_sub(made.at_ms) > made.at_ms.saturating_sub(made.made_ms));
    }

    fn close(&mut self, now_ms: i64, is_due: impl Fn(&Made) -> bool) {
        for made in self.open.iter().filter(|made| is_due(made)) {
            let distance = made.at_ms.saturating_sub(made.made_ms).max(1);
            let error = now_ms.abs_diff(made.at_ms) as f64 / distance as f64;
            self.done.push_back(Outcome { what: made.what.clone(), error });
        }
        self.open.retain(|made| !is_due(made));
        while self.done.len() > DONE {
            self.done.pop_front();
        }
    }

    /// Mean error of the last forecasts of this kind, as a share of their distance.
    pub fn error(&self, what: &str) -> Option<f64> {
        let errors: Vec<f64> = self.done.iter().filter(|done| done.what == what).map(|done| done.error).collect();
        (!errors.is_empty()).then(|| errors.iter().sum::<f64>() / errors.len() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn mark(at_ms: i64, log_start: i64, end: i64) -> Mark {
        Mark { at_ms, log_start, stable_end: None, end }
    }

    fn commit(timestamp_ms: i64, offset: i64) -> Commit {
        Commit { offset, order: timestamp_ms, timestamp_ms, lag: None, by_tool: false }
    }

    #[test]
    fn a_falling_lag_ends_where_its_line_ends() {
        let curve: Vec<Point> = (0..20).map(|n| (n * 10_000, 30_000 - n * 1_000)).collect();
        let forecast = catches_up(&curve, Some(500.0)).unwrap();
        assert_eq!(forecast.at_ms, Some(190_000 + 110_000));
        assert!(forecast.assumption.starts_with("reading 600/s and writing 500/s go on"), "{}", forecast.assumption);
    }

    #[test]
    fn a_rising_lag_never_ends_and_no_lag_needs_no_forecast() {
        let rising: Vec<Point> = (0..20).map(|n| (n * 10_000, n * 1_000)).collect();
        assert_eq!(catches_up(&rising, None).unwrap().at_ms, None);
        assert_eq!(catches_up(&[(0, 5), (100_000, 0)], None), None);
        assert_eq!(catches_up(&rising[..2], None), None);
    }

    #[test]
    fn retention_overtakes_who_is_slower() {
        let marks: Vec<Mark> = (0..=10).map(|n| mark(n * HOUR, n * 1_000, 100_000 + n * 1_000)).collect();
        let commits: Vec<Commit> = (0..=10).map(|n| commit(n * HOUR, 15_000 + n * 500)).collect();
        let forecast = retention_overtakes(&commits, &marks, 10 * HOUR).unwrap();
        // 10,000 ahead, and the start gains 500 an hour.
        let at_ms = forecast.at_ms.unwrap();
        assert!((at_ms - 30 * HOUR).abs() < HOUR / 100, "{at_ms}");
        let as_fast: Vec<Commit> = (0..=10).map(|n| commit(n * HOUR, 15_000 + n * 1_000)).collect();
        assert_eq!(retention_overtakes(&as_fast, &marks, 10 * HOUR).unwrap().at_ms, None);
        assert_eq!(retention_overtakes(&[commit(0, 5)], &marks, 10 * HOUR).unwrap().at_ms, Some(10 * HOUR));
        assert_eq!(retention_overtakes(&[commit(0, 110_000)], &marks, 10 * HOUR), None);
    }

    #[test]
    fn a_log_that_covers_less_and_less_fills_ahead_of_plan() {
        // Ten thousand records fit; more are written every hour.
        let (mut end, mut marks) = (0, vec![mark(0, 0, 0)]);
        for n in 1..=40 {
            end += 400 + 10 * n;
            marks.push(mark(n * HOUR, (end - 10_000).max(0), end));
        }
        let forecast = retention_fills(&marks, 15 * HOUR, 40 * HOUR).unwrap();
        assert!(forecast.at_ms.is_some_and(|at_ms| at_ms >= 40 * HOUR), "{forecast:?}");
        let full = retention_fills(&marks, 48 * HOUR, 40 * HOUR).unwrap();
        assert_eq!(full.at_ms, Some(40 * HOUR), "{full:?}");
        assert_eq!(retention_fills(&marks[..8], 48 * HOUR, 8 * HOUR), None, "nothing was deleted yet");
    }

    #[test]
    fn a_volume_is_full_where_its_line_ends() {
        let usable: Vec<Point> = (0..10).map(|n| (n * HOUR, 1_000_000 - n * 50_000)).collect();
        let forecast = volume_fills(&usable, 9 * HOUR).unwrap();
        assert_eq!(forecast.at_ms, Some(20 * HOUR));
        let emptied: Vec<Point> = (0..10).map(|n| (n * HOUR, 1_000_000 + n * 50_000)).collect();
        assert_eq!(volume_fills(&emptied, 9 * HOUR).unwrap().at_ms, None);
        assert_eq!(volume_fills(&usable[..2], HOUR), None);
    }

    #[test]
    fn forecasts_are_scored_when_they_come_due() {
        let mut scored = Scored::default();
        let mut forecast =
            Forecast { what: CATCHES_UP.to_owned(), at_ms: Some(1_000), assumption: String::new(), past_error: None };
        scored.made(&mut forecast, 0);
        scored.made(&mut forecast, 100);
        scored.happened(CATCHES_UP, 1_200);
        scored.made(&mut forecast, 1_300);
        assert_eq!(forecast.past_error, Some(0.2));
        assert!(scored.open.is_empty());
        let late = &mut Forecast { at_ms: Some(2_000), ..forecast.clone() };
        scored.made(late, 1_500);
        scored.overdue(2_400);
        assert_eq!(scored.open.len(), 1);
        scored.overdue(2_501);
        assert!(scored.open.is_empty() && scored.error(CATCHES_UP).unwrap() > 0.5);
        for n in 0..1_000 {
            scored.made(&mut Forecast { at_ms: Some(10_000 * n + 5), ..forecast.clone() }, 10_000 * n);
        }
        assert!(scored.open.len() <= OPEN && scored.done.len() <= DONE);
        let kept: Scored = serde_json::from_str(&serde_json::to_string(&scored).unwrap()).unwrap();
        assert_eq!(kept, scored);
    }
}
