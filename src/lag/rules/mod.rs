//! sordini's own rules: from a window to a verdict with its reason. They use Burrow's words and mend what it gets wrong:
//! every rewind counts and not only the first, a rising lag is a trend and not the absence of a dip, and a silence is
//! measured by what is usual for the group, from when something was there to read.
//!
//! Looked at in this order, the first that fits decides: lost, skipped, a hanging transaction, nothing to read, rewound,
//! nobody there, standing still, falling behind. Pure: no clock, no I/O.

mod cadence;
mod group;
mod hanging;
mod jumps;
mod place;
mod still;
mod thresholds;
mod trend;
mod waiting;

#[cfg(test)]
mod tests;

use super::figure::Unknown;
use super::verdict::{Judgement, Verdict};
use super::window::Window;
use crate::report::format::{duration, thousands};
use jumps::{Jumps, Rewind, Skip};
use place::Place;
use thresholds::ms;

pub use group::{About, Part, judge_group};
pub use hanging::hanging;
pub use thresholds::Thresholds;

/// Judges one group on one partition.
pub fn judge(window: &Window<'_>, thresholds: &Thresholds) -> Judgement {
    let place = match Place::of(window) {
        Ok(place) => place,
        Err(why) => return unknown(window, why),
    };
    if place.lost > 0 {
        return lost(window, &place);
    }
    let jumps = Jumps::of(window, &place, thresholds);
    let is_shown = |skip: &Skip| place.now_ms.saturating_sub(skip.at_ms) <= ms(thresholds.skip_shown);
    if let Some(skip) = jumps.skip.filter(is_shown) {
        return skipped(window, &skip);
    }
    if window.read_committed
        && let Some(judgement) = hanging(window.marks, place.now_ms, thresholds)
    {
        return judgement;
    }
    if place.lag <= thresholds.allowed_lag {
        return fine(window, "nothing is left to read beyond what is allowed");
    }
    if window.unread_since_ms.is_ok_and(|since| since >= place.now_ms) {
        return fine(window, "only markers are left to read");
    }
    if let Some(rewind) = jumps.rewind.filter(|it| !jumps::is_slight(it, window, place.now_ms, thresholds)) {
        return rewound(window, &rewind);
    }
    still::judge(window, &place, thresholds)
        .or_else(|| waiting::judge(window, &place, thresholds))
        .unwrap_or_else(|| at_rest(window, &place))
}

/// Nothing is wrong, as far as can be seen.
fn at_rest(window: &Window<'_>, place: &Place<'_>) -> Judgement {
    if place.is_single && window.unread_since_ms.is_err() {
        let lag = thousands(place.lag.unsigned_abs());
        let why = format!("{lag} offsets are unread; one look does not tell since when, nor whether it gets better");
        return say(Verdict::Unknown, why, &[("lag", place.lag)], span(window));
    }
    fine(window, if place.is_single { "what is unread has not waited long" } else { "it reads on" })
}

fn unknown(window: &Window<'_>, why: Unknown) -> Judgement {
    say(Verdict::Unknown, why.to_string(), &[], span(window))
}

fn lost(window: &Window<'_>, place: &Place<'_>) -> Judgement {
    let (from, until) = (place.last.offset, place.mark.log_start);
    let why = format!(
        "retention deleted offsets {from} to {}, {} in all, before the group read them: it had committed {from}, and the log now starts at {until}",
        until - 1,
        thousands(place.lost.unsigned_abs())
    );
    let numbers = [("lost", place.lost), ("lost_from", from), ("lost_until", until), ("lag", place.lag)];
    say(Verdict::Lost, why, &numbers, span(window))
}

fn skipped(window: &Window<'_>, skip: &Skip) -> Judgement {
    let count = skip.until - skip.from;
    let over = format!("offsets {} to {}, {} in all", skip.from, skip.until - 1, thousands(count.unsigned_abs()));
    let why = if skip.by_tool {
        format!(
            "a commit leapt over {over}, while the group had no member to read them: a tool or an operator moved it"
        )
    } else {
        let took = duration(skip.took_ms.unsigned_abs());
        format!("a commit leapt over {over}, within {took}, faster than anything can read")
    };
    let numbers = [("skipped", count), ("skipped_from", skip.from), ("skipped_until", skip.until)];
    say(Verdict::Skip, why, &numbers, span(window))
}

fn rewound(window: &Window<'_>, rewind: &Rewind) -> Judgement {
    let count = |n: i64| thousands(n.unsigned_abs());
    let ago = duration(window.now_ms.saturating_sub(rewind.at_ms).max(0).unsigned_abs());
    let times = if rewind.steps > 1 { format!(", the last of {} steps back", rewind.steps) } else { String::new() };
    let why = format!(
        "a commit went back to {} {ago} ago{times}: {} offsets are read again, {} of them still to come until {} is reached",
        rewind.to,
        count(rewind.reread),
        count(rewind.behind_former),
        rewind.from
    );
    let numbers = [
        ("reread_records", rewind.reread),
        ("behind_former", rewind.behind_former),
        ("from_offset", rewind.from),
        ("to_offset", rewind.to),
        ("rewinds", rewind.steps),
    ];
    say(Verdict::Rewind, why, &numbers, span(window))
}

/// Costs no more than a short copy: nearly all windows are fine.
fn fine(window: &Window<'_>, why: &'static str) -> Judgement {
    say(Verdict::Ok, why.to_owned(), &[], span(window))
}

/// First and last moment that is looked at.
fn span(window: &Window<'_>) -> (i64, i64) {
    let commit = window.commits.first().map_or(window.now_ms, |commit| commit.timestamp_ms);
    let mark = window.marks.first().map_or(window.now_ms, |mark| mark.at_ms);
    (commit.min(mark).min(window.now_ms), window.now_ms)
}

fn say(verdict: Verdict, why: String, numbers: &[(&str, i64)], window_ms: (i64, i64)) -> Judgement {
    Judgement::new(verdict, why, numbers, window_ms)
}
