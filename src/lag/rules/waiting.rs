//! Falling behind: records wait for longer than allowed and it gets no better, or the lag rises steadily.

use crate::lag::verdict::{Judgement, Verdict};
use crate::lag::window::{Membership, Window};
use crate::report::format::{duration, thousands};

use super::cadence::{Cadence, Of};
use super::place::Place;
use super::thresholds::{Thresholds, ms};
use super::trend::Trend;
use super::{say, span};

/// Share of rising over falling pairs from which a rise is steady.
const STEADY: f64 = 0.5;
/// A lag that falls like this gets better.
const FALLING: f64 = -0.3;
/// Fewer samples are no trend.
const SAMPLES: usize = 5;
/// Offsets. Where little is written, less than this is the last record or two that a commit leaves; their age is judged
/// by `max-time-lag`.
const LEAST_RISE: i64 = 5;
/// A rise of this share of what was written is no accident, once it has lasted.
const LARGE_SHARE: f64 = 0.2;

pub fn judge(window: &Window<'_>, place: &Place<'_>, thresholds: &Thresholds) -> Option<Judgement> {
    let waited_ms = place.now_ms.saturating_sub(place.waiting_since(window, thresholds));
    let is_overdue = waited_ms > ms(thresholds.max_time_lag);
    if !is_overdue && !could_rise(window, place) {
        return None;
    }
    let cadence = Cadence::of(window, Of::Progress);
    let long_pause_ms = cadence.map_or(i64::MAX, |c| c.median_ms.saturating_mul(5).max(60_000));
    let trend = Trend::of(window, long_pause_ms);
    if is_overdue && let Some(judgement) = overdue(window, place, waited_ms, cadence, trend, thresholds) {
        return Some(judgement);
    }
    let trend = trend.filter(|trend| rises(trend, cadence, thresholds))?;
    let behind_ms = trend.behind_ms()?;
    // A lag that comes from standing still is no loss of ground; whether it stands for too long is judged elsewhere.
    if place.now_ms.saturating_sub(place.moved_at(window)) > behind_ms / 2 {
        return None;
    }
    let why = format!(
        "the lag rose from {} to {} offsets within {}, by trend {} of {} written meanwhile: it is {} behind and loses ground",
        thousands(trend.first_lag.unsigned_abs()),
        thousands(trend.last_lag.unsigned_abs()),
        duration(trend.span_ms.max(0).unsigned_abs()),
        thousands(trend.rise.unsigned_abs()),
        thousands(trend.written.unsigned_abs()),
        duration(behind_ms.max(0).unsigned_abs())
    );
    let numbers = [
        ("lag", place.lag),
        ("first_lag", trend.first_lag),
        ("last_lag", trend.last_lag),
        ("rise", trend.rise),
        ("written", trend.written),
        ("behind_ms", behind_ms),
        ("span_ms", trend.span_ms),
    ];
    Some(say(Verdict::Warn, why, &numbers, span(window)))
}

/// A cheap look before the expensive one.
fn could_rise(window: &Window<'_>, place: &Place<'_>) -> bool {
    let first = window.commits.iter().find_map(|commit| commit.lag);
    window.commits.len() >= SAMPLES && first.is_some_and(|first| first < place.last.lag.unwrap_or(place.lag))
}

/// Records wait too long, for this group too, and the lag does not fall.
fn overdue(
    window: &Window<'_>,
    place: &Place<'_>,
    waited_ms: i64,
    cadence: Option<Cadence>,
    trend: Option<Trend>,
    thresholds: &Thresholds,
) -> Option<Judgement> {
    let is_rebalancing = window.membership == Membership::Rebalancing
        && place.now_ms.saturating_sub(window.membership_since_ms) < ms(thresholds.rebalance_within);
    let is_better = trend.is_some_and(|trend| trend.tau <= FALLING || trend.is_recovering);
    // Whoever begins far behind has old records before it, and a few commits do not tell where it goes. Should there be no
    // more of them, it stands still, and that is judged by itself.
    let is_young = !place.is_single && trend.is_none_or(|trend| trend.samples < SAMPLES);
    if is_better
        || is_young
        || is_rebalancing
        || waited_ms <= Cadence::bound_ms(cadence, ms(thresholds.max_time_lag), thresholds)
    {
        return None;
    }
    let better = match trend {
        Some(trend) => {
            let first = thousands(trend.first_lag.unsigned_abs());
            format!("and the lag does not fall (it was {first} {} ago)", duration(trend.span_ms.max(0).unsigned_abs()))
        }
        None => "and one look does not tell whether it gets better".to_owned(),
    };
    let why = format!(
        "the oldest of {} unread offsets has waited for {}, more than the {} allowed, {better}",
        thousands(place.lag.unsigned_abs()),
        duration(waited_ms.max(0).unsigned_abs()),
        duration(thresholds.max_time_lag.as_millis() as u64)
    );
    let numbers = [("lag", place.lag), ("waited_ms", waited_ms), ("allowed_ms", ms(thresholds.max_time_lag))];
    Some(say(Verdict::Warn, why, &numbers, span(window)))
}

/// Steady, more than a ripple on the traffic, and no burst that will be worked off.
fn rises(trend: &Trend, cadence: Option<Cadence>, thresholds: &Thresholds) -> bool {
    let share = trend.rise as f64 / trend.written.max(1) as f64;
    let is_steady = trend.samples >= SAMPLES && trend.tau >= STEADY && !trend.is_recovering;
    // One leap in an even course is a burst or a restart.
    let is_leap = trend.rise < (trend.last_lag - trend.first_lag) / 4;
    if !is_steady
        || is_leap
        || trend.rise < LEAST_RISE
        || share < thresholds.rising_share
        || trend.last_lag <= thresholds.allowed_lag
    {
        return false;
    }
    let least_ms = ms(thresholds.rising_after);
    // What a group leaves unread at a commit is written while it works on a batch; that much is no lag.
    let batch_ms = cadence.map_or(0, |cadence| cadence.longest_ms + cadence.longest_ms / 2);
    let is_behind = trend.behind_ms().is_some_and(|behind| behind >= least_ms.max(batch_ms));
    // Over a longer time smaller signs are enough, if they are many.
    let has_lasted = trend.samples >= 8 && trend.span_ms >= least_ms.saturating_mul(5);
    let is_large =
        share >= LARGE_SHARE && trend.last_lag as f64 >= 1.5 * trend.written as f64 / (trend.samples - 1) as f64;
    let is_strict =
        trend.samples >= 10 && trend.tau >= 0.9 && trend.last_lag >= trend.first_lag.saturating_mul(2).max(10);
    is_behind || (has_lasted && (is_large || (is_strict && share >= 2.5 * thresholds.rising_share)))
}
