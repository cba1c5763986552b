//! What is going to become of a group, and how right that was the last times.

use std::collections::HashMap;

use super::group::Group;
use super::marks::Marks;
use crate::lag::facts;
use crate::lag::figure::Figure;
use crate::lag::forecast::{CATCHES_UP, RETENTION_OVERTAKES, catches_up, retention_overtakes};
use crate::lag::snapshot::Forecast;

/// Takes in this round's lag, and says when the group catches up and when retention overtakes it on any partition.
pub fn forecasts(
    group: &mut Group,
    partitions: &HashMap<facts::Spot, Marks>,
    lag: Figure,
    has_lost: bool,
    now_ms: i64,
) -> Vec<Forecast> {
    if let Ok(lag) = lag {
        group.was_behind(now_ms, lag);
        if lag == 0 {
            group.scored.happened(CATCHES_UP, now_ms);
        }
    }
    if has_lost {
        group.scored.happened(RETENTION_OVERTAKES, now_ms);
    }
    group.scored.overdue(now_ms);
    let overtaken = group.spots.iter_mut().filter(|(_, spot)| spot.last_lag.is_some_and(|lag| lag > 0));
    let overtaken = overtaken.filter_map(|(at, spot)| {
        let marks = partitions.get(at)?;
        let mut forecast = retention_overtakes(spot.commits.make_contiguous(), marks.kept(), now_ms)?;
        forecast.assumption = format!("{}[{}]: {}", at.0, at.1, forecast.assumption);
        Some(forecast)
    });
    // The first to come is what counts; a partition on which it never comes says so only when it does on none.
    let first = overtaken.min_by_key(|forecast| forecast.at_ms.unwrap_or(i64::MAX));
    let mut all: Vec<Forecast> = catches_up(&group.curve, None).into_iter().chain(first).collect();
    all.iter_mut().for_each(|forecast| group.scored.made(forecast, now_ms));
    all
}
