//! Findings of patterns against the patterns that were planted, by what they name.

use serde::Serialize;
use serde_json::Value;

use crate::audit::finding::{Finding, Kind};
use crate::config::parse_size;
use crate::generate::pattern::Pattern;
use crate::generate::truth::Injected;

/// Fewer hits than this are no pattern to anyone: one is welcome, and not missed.
const LEAST_HITS: u64 = 10;
/// How far a delay may lie from the one that was planted: by this share of it, or so many milliseconds.
const DELAY: f64 = 0.02;
const DELAY_MS: f64 = 10.0;

/// Whether a planted pattern was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Named {
    Found,
    Missed,
    /// Too few hits to tell.
    TooFew,
}

#[derive(Default)]
pub(super) struct Patterns(Vec<Planted>);

struct Planted {
    fault: usize,
    pattern: Pattern,
    hits: u64,
    /// What findings have named of it: residues, or 0.
    named: Vec<u64>,
}

impl Patterns {
    pub fn new(faults: &[Injected]) -> Self {
        let planted = |(fault, injected): (usize, &Injected)| {
            let pattern = injected.pattern.clone().filter(|_| injected.count > 0)?;
            Some(Planted { fault, pattern, hits: injected.count, named: Vec::new() })
        };
        Self(faults.iter().enumerate().filter_map(planted).collect())
    }

    /// Whether the finding names something planted, and for the first time.
    pub fn take(&mut self, finding: &Finding) -> bool {
        // How losses meet is told once for all that made them meet.
        if finding.kind == Kind::Burst {
            let is_burst = |planted: &Planted| matches!(planted.pattern, Pattern::Burst { .. });
            return says_lost(finding) && self.0.iter().any(is_burst);
        }
        for planted in &mut self.0 {
            if let Some(what) = planted.pattern.named_by(finding).filter(|what| !planted.named.contains(what)) {
                planted.named.push(what);
                return true;
            }
        }
        false
    }

    /// What became of the fault's pattern; `None` when nobody has to name it.
    pub fn outcome(&self, fault: usize) -> Option<Named> {
        let planted = self.0.iter().find(|planted| planted.fault == fault)?;
        match planted.pattern {
            Pattern::Burst { .. } => None,
            _ if !planted.named.is_empty() => Some(Named::Found),
            _ if planted.hits < LEAST_HITS => Some(Named::TooFew),
            _ => Some(Named::Missed),
        }
    }
}

impl Pattern {
    /// What the finding names of this pattern, if it does.
    fn named_by(&self, finding: &Finding) -> Option<u64> {
        match self {
            Pattern::PeriodicLoss { n, residues, jitter, counter, .. } => {
                let number = |name| finding.evidence.get(name).and_then(Value::as_u64);
                let is_it = finding.kind == Kind::PeriodicLoss
                    && says_lost(finding)
                    && number("n") == Some(*n)
                    && finding.evidence.get("counter").and_then(Value::as_str) == Some(counter);
                let (residue, width) = (number("residue").filter(|_| is_it)?, number("width").unwrap_or(1));
                residues.iter().copied().find(|planted| meet(*n, (residue, width), *planted, *jitter))
            }
            Pattern::DimensionalLoss { .. } => {
                let is_it = finding.kind == Kind::DimensionalLoss
                    && says_lost(finding)
                    && !finding.evidence.contains_key("together_with");
                let ties = finding.evidence.get("ties").and_then(Value::as_array).into_iter().flatten();
                let own = finding.evidence.get("dimension").zip(finding.evidence.get("value"));
                let mut all = own.into_iter().chain(ties.filter_map(|tie| tie.get("dimension").zip(tie.get("value"))));
                let is_said = |(dimension, value): (&Value, &Value)| {
                    dimension.as_str().zip(value.as_str()).is_some_and(|(d, v)| self.is_of(d, v))
                };
                (is_it && all.any(is_said)).then_some(0)
            }
            Pattern::RetryComb { delays_ms } => {
                let teeth = finding.evidence.get("teeth").and_then(Value::as_array);
                let found: Option<Vec<u64>> =
                    teeth?.iter().map(|tooth| tooth.get("delay_ms").and_then(Value::as_u64)).collect();
                let mut found = found.filter(|_| finding.kind == Kind::RetryComb)?;
                found.sort_unstable();
                let is_near = |(a, b): (&u64, &u64)| a.abs_diff(*b) as f64 <= (*b as f64 * DELAY).max(DELAY_MS);
                (found.len() == delays_ms.len() && found.iter().zip(delays_ms).all(is_near)).then_some(0)
            }
            Pattern::Burst { .. } => None,
        }
    }

    fn is_of(&self, named: &str, said: &str) -> bool {
        let Pattern::DimensionalLoss { dimension, value, border, .. } = self else { return false };
        if named != dimension {
            return false;
        }
        let Some(border) = border else { return said == value };
        // "≥ 4 KiB", "4 KiB to 16 KiB", or a bare number: the lower border is what tells.
        let lower = said.trim_start_matches("≥ ").split(" to ").next().unwrap_or_default();
        parse_size(lower).is_ok_and(|lower| (border.least..=border.most).contains(&(lower as i64)))
    }
}

/// Whether so many residues modulo n from one on meet those that jitter around the planted one.
fn meet(n: u64, (residue, width): (u64, u64), planted: u64, jitter: u64) -> bool {
    // How far the last jittered residue lies behind the first that is named, around the circle.
    let behind = (planted % n + n + jitter - residue % n) % n;
    behind < (width + 2 * jitter).min(n)
}

fn says_lost(finding: &Finding) -> bool {
    finding.cause.as_deref() == Some("lost")
}
