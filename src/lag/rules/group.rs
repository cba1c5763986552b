//! What is true of a group as a whole.

use crate::lag::verdict::{Judgement, Verdict};
use crate::report::format::{duration, place, thousands};

use super::say;
use super::thresholds::{Thresholds, ms};

/// What is known of a group besides its partitions.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    pub now_ms: i64,
    /// The configuration says it must exist.
    pub is_required: bool,
    /// Whether the cluster lists it; `None` when not every broker could be asked.
    pub is_listed: Option<bool>,
    /// Since when it has not been listed, where it had been before.
    pub vanished_ms: Option<i64>,
    /// Offsets it was behind when that was last known.
    pub last_lag: Option<i64>,
    /// Somebody acknowledged that it is gone.
    pub is_gone_known: bool,
    /// When members came, went or were given other partitions, oldest first.
    pub changes_ms: &'a [i64],
}

/// One partition's judgement on its way into the group's.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub judgement: &'a Judgement,
}

/// The worst of what is true of the group itself and of its partitions.
pub fn judge_group<'a>(
    about: &About<'_>,
    parts: impl IntoIterator<Item = Part<'a>>,
    thresholds: &Thresholds,
) -> Judgement {
    let of_group = [missing(about, thresholds), flapping(about, thresholds)].into_iter().flatten();
    let worst_of_group = of_group.max_by_key(|judgement| judgement.verdict);
    let of_parts = worst(about.now_ms, parts);
    match worst_of_group {
        Some(judgement) if judgement.verdict >= of_parts.verdict || !of_parts.verdict.is_bad() => judgement,
        _ => of_parts,
    }
}

/// Gone while it was behind, or required and not there.
fn missing(about: &About<'_>, thresholds: &Thresholds) -> Option<Judgement> {
    if about.is_listed != Some(false) {
        return None;
    }
    let now = about.now_ms;
    let left = about.last_lag.unwrap_or(0);
    if let Some(since) = about.vanished_ms
        && left > thresholds.allowed_lag
        && !about.is_gone_known
    {
        let gone_ms = now.saturating_sub(since).max(0);
        let why = format!(
            "the group vanished {} ago and left {} offsets unread",
            duration(gone_ms.unsigned_abs()),
            thousands(left.unsigned_abs())
        );
        return Some(say(Verdict::Gone, why, &[("lag", left), ("gone_ms", gone_ms)], (since.min(now), now)));
    }
    let why = "the group is required and no broker knows it".to_owned();
    about.is_required.then(|| say(Verdict::Absent, why, &[], (now, now)))
}

fn flapping(about: &About<'_>, thresholds: &Thresholds) -> Option<Judgement> {
    let within_ms = ms(thresholds.flapping_within);
    let is_recent = |at: &&i64| about.now_ms.saturating_sub(**at) <= within_ms;
    let changes = about.changes_ms.iter().rev().take_while(is_recent).count();
    if thresholds.flapping_changes == 0 || changes < thresholds.flapping_changes {
        return None;
    }
    let first = about.changes_ms[about.changes_ms.len() - changes];
    let over_ms = about.now_ms.saturating_sub(first).max(0);
    let why = format!(
        "the membership changed {changes} times in {}: members come and go, and nothing is read while they do",
        duration(over_ms.unsigned_abs())
    );
    let numbers = [("changes", changes as i64), ("over_ms", over_ms)];
    Some(say(Verdict::Flapping, why, &numbers, (first.min(about.now_ms), about.now_ms)))
}

fn worst<'a>(now_ms: i64, parts: impl IntoIterator<Item = Part<'a>>) -> Judgement {
    let (mut all, mut known) = (0u64, 0u64);
    let mut worst: Option<Part<'a>> = None;
    let mut unknown: Option<Part<'a>> = None;
    for part in parts {
        all += 1;
        match part.judgement.verdict {
            Verdict::Ok => known += 1,
            Verdict::Unknown => unknown = unknown.or(Some(part)),
            verdict => {
                known += 1;
                if worst.is_none_or(|worst| worst.judgement.verdict < verdict) {
                    worst = Some(part);
                }
            }
        }
    }
    if let Some(part) = worst {
        let why = format!("{}: {}", place(part.topic, Some(part.partition)), part.judgement.why);
        return Judgement { why, ..part.judgement.clone() };
    }
    let (verdict, why) = match (known, unknown) {
        (0, None) => (Verdict::Ok, "it has no commit and no member on what is looked at".to_owned()),
        (0, Some(part)) => (Verdict::Unknown, part.judgement.why.clone()),
        (_, None) => (Verdict::Ok, "every partition is well".to_owned()),
        _ => (Verdict::Ok, format!("{known} of {all} partitions are well, nothing is known of the others")),
    };
    say(verdict, why, &[], (now_ms, now_ms))
}
