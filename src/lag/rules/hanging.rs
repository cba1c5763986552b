//! A transaction that nobody ends: the last stable offset stands still while the log goes on.

use crate::lag::verdict::{Judgement, Verdict};
use crate::lag::window::Mark;
use crate::report::format::{duration, thousands};

use super::say;
use super::thresholds::{Thresholds, ms};

/// Whether the last stable offset has stood still below the end for longer than allowed.
pub fn hanging(marks: &[Mark], now_ms: i64, thresholds: &Thresholds) -> Option<Judgement> {
    let newest = marks.last()?;
    let stable = newest.stable_end.filter(|stable| *stable < newest.end)?;
    let same = |mark: &&Mark| mark.stable_end == Some(stable) && mark.end > stable;
    let since_ms = marks.iter().rev().take_while(same).last()?.at_ms;
    let stands_ms = now_ms.saturating_sub(since_ms);
    if stands_ms < ms(thresholds.hanging_after) {
        return None;
    }
    let hidden = newest.end.saturating_sub(stable);
    let why = format!(
        "the last stable offset has stood at {stable} for {}, and the log goes on to {}: a transaction that began there was neither committed nor aborted, and {} offsets are hidden from committed readers",
        duration(stands_ms.unsigned_abs()),
        newest.end,
        thousands(hidden.unsigned_abs())
    );
    let numbers = [("stable_end", stable), ("end", newest.end), ("hidden", hidden), ("stands_ms", stands_ms)];
    Some(say(Verdict::HangingTransaction, why, &numbers, (since_ms, now_ms)))
}
