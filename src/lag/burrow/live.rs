//! From a live window to what Burrow's evaluator would have been given at that moment.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{Input, Reason, Settings, Status, complete, evaluate};
use crate::lag::verdict::Judgement;
use crate::lag::window::{Commit, Window};

/// Judges a window as a Burrow with these settings would.
pub fn judge(window: &Window<'_>, settings: &Settings) -> Judgement {
    let (status, reason) = status(window, settings);
    let from = window.commits.first().map_or(window.now_ms, |commit| commit.timestamp_ms);
    conclude(status, reason, (from.min(window.now_ms), window.now_ms))
}

/// Judges what Burrow's evaluator is given: a ring of `slots`, filled to the share `complete`.
pub fn judge_input(input: &Input<'_>, complete: f64, slots: usize, settings: &Settings) -> (Status, Judgement) {
    let (status, reason) = match input.commits.len() {
        filled if filled > 0 && complete < settings.minimum_complete => {
            (Status::Ok, Reason::Incomplete { filled, slots })
        }
        _ => evaluate(input),
    };
    let from = input.commits.first().map_or(input.now_ms, |commit| commit.timestamp_ms);
    (status, conclude(status, reason, (from.min(input.now_ms), input.now_ms)))
}

fn conclude(status: Status, reason: Reason, window_ms: (i64, i64)) -> Judgement {
    Judgement {
        verdict: status.verdict(),
        why: if status == Status::Ok { short(reason).to_owned() } else { reason.to_string() },
        numbers: numbers(reason, status),
        window_ms,
    }
}

/// Burrow's status of a window and the rule that decided.
pub fn status(window: &Window<'_>, settings: &Settings) -> (Status, Reason) {
    let ring = ring(window.commits, settings);
    let Some(last) = ring.last() else { return (Status::Ok, Reason::NoCommits) };
    let silent_ms = window.now_ms.saturating_sub(last.timestamp_ms);
    if silent_ms > settings.expire_group.saturating_mul(1000) {
        return (Status::NotFound, Reason::Expired { silent_ms });
    }
    if complete(ring.len(), settings.intervals) < settings.minimum_complete {
        return (Status::Ok, Reason::Incomplete { filled: ring.len(), slots: settings.intervals });
    }
    // Without an end offset Burrow's lag is 0, and all is well.
    let end = window.marks.last().map_or(0, |mark| mark.end);
    let mut ends = [0; 32];
    let kept = recent_ends(window, settings, &mut ends);
    evaluate(&Input {
        commits: &ring,
        broker_end_offsets: &ends[..kept],
        current_lag: end.saturating_sub(last.offset).max(0),
        now_ms: window.now_ms,
        allowed_lag: settings.allowed_lag,
    })
}

/// The ring after these commits. Nearly always it is just the last few of them.
pub fn ring<'a>(commits: &'a [Commit], settings: &Settings) -> Cow<'a, [Commit]> {
    let distance_ms = settings.min_distance.max(0).saturating_mul(1000);
    let slots = settings.intervals.max(1);
    let merges = |pair: &[Commit]| pair[1].timestamp_ms.saturating_sub(pair[0].timestamp_ms) < distance_ms;
    if !commits.windows(2).any(merges) {
        return Cow::Borrowed(&commits[commits.len().saturating_sub(slots)..]);
    }
    let mut ring: Vec<Commit> = Vec::with_capacity(commits.len());
    for commit in commits {
        match ring.last_mut() {
            // The old time is kept: else a group that commits fast would never fill a second slot.
            Some(slot) if commit.timestamp_ms.saturating_sub(slot.timestamp_ms) < distance_ms => {
                *slot = Commit { timestamp_ms: slot.timestamp_ms, ..*commit };
            }
            _ => ring.push(*commit),
        }
    }
    ring.drain(..ring.len().saturating_sub(slots));
    Cow::Owned(ring)
}

/// End offsets Burrow would still hold: as many refreshes back as the ring has slots. Marks may be thinned or denser
/// than its refreshes; what counts is how far back they are looked at.
fn recent_ends(window: &Window<'_>, settings: &Settings, out: &mut [i64; 32]) -> usize {
    let reach_ms = (settings.intervals as i64).saturating_mul(settings.offset_refresh).saturating_mul(1000);
    let mut kept = 0;
    for mark in window.marks.iter().rev() {
        if kept > 0 && (kept == out.len() || window.now_ms.saturating_sub(mark.at_ms) > reach_ms) {
            break;
        }
        out[kept] = mark.end;
        kept += 1;
    }
    kept
}

fn short(reason: Reason) -> &'static str {
    match reason {
        Reason::NoCommits => "no commit is known",
        Reason::Incomplete { .. } => "too few intervals are filled",
        Reason::WithinLag { .. } => "the lag is within what is allowed",
        Reason::WasCaughtUp { .. } => "the lag was within what is allowed at one of the commits",
        _ => "the lag fell at least once",
    }
}

fn numbers(reason: Reason, status: Status) -> BTreeMap<String, i64> {
    let pairs: &[(&str, i64)] = match reason {
        _ if status == Status::Ok => &[],
        Reason::Silent { silent_ms, span_ms, lag } => &[("silent_ms", silent_ms), ("span_ms", span_ms), ("lag", lag)],
        Reason::Back { from, to } => &[("from_offset", from), ("to_offset", to), ("reread_records", from - to)],
        Reason::AllEqual { offset, commits } => &[("offset", offset), ("commits", commits as i64)],
        Reason::NeverFell { from, to } => &[("first_lag", from), ("last_lag", to)],
        Reason::Expired { silent_ms } => &[("silent_ms", silent_ms)],
        _ => &[],
    };
    pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}
