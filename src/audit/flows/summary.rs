//! What a report says of a flow as a whole.

use serde::{Deserialize, Serialize};

use super::Flows;
use super::plan::Rule;

/// Windows of the two rules that page on a burning error budget, in minutes, and their thresholds (Google's SRE Workbook,
/// chapter 5).
const BURNS: [(i64, i64, f64); 2] = [(60, 5, 14.4), (360, 30, 6.0)];

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FlowSummary {
    pub flow: String,
    /// In the order of the flow; the first hop leads to the second stage.
    pub stages: Vec<StageSummary>,
    /// Transactions that wait for a stage.
    pub open: u64,
    /// Given up to bound memory: nothing is said of them.
    pub given_up: u64,
    /// Findings beyond those that are listed.
    pub unlisted: u64,
    /// The stage whose hop takes the largest part of the time, where any hop takes time.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bottleneck: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageSummary {
    pub stage: String,
    pub topic: String,
    /// Transactions seen here, and records beyond the rule.
    pub seen: u64,
    pub repeated: u64,
    /// The hop that leads here; none for the first stage.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hop: Option<HopSummary>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HopSummary {
    pub after: String,
    pub rule: String,
    pub matched: u64,
    pub missing: u64,
    pub late: u64,
    pub mismatched: u64,
    pub unexpected: u64,
    /// Whose time lies before their cause's by more than the clock bound.
    pub early: u64,
    pub uncovered: u64,
    /// Transactions a second, over the minutes of the last six hours.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub per_second: Option<f64>,
    /// Milliseconds at p50, p90, p99, p99.9 and the largest.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub latency_ms: Option<[u64; 5]>,
    /// Burn rates over 5 min, 30 min, 1 h and 6 h, where an objective is set.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub burn: Option<Burn>,
    /// Since when the hop is three times slower than it was, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub slower_since: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Burn {
    pub objective: f64,
    pub m5: Option<f64>,
    pub m30: Option<f64>,
    pub h1: Option<f64>,
    pub h6: Option<f64>,
    /// Both windows of a rule burn faster than it allows.
    pub is_burning: bool,
}

impl Flows {
    pub fn summary(&self) -> FlowSummary {
        let stages: Vec<StageSummary> = (0..self.flow.stages.len()).map(|stage| self.stage(stage)).collect();
        let median =
            |stage: &StageSummary| stage.hop.as_ref().and_then(|hop| hop.latency_ms).map_or(0, |latency| latency[0]);
        let slowest = stages.iter().max_by_key(|stage| median(stage)).filter(|stage| median(stage) > 0);
        FlowSummary {
            flow: self.flow.name.clone(),
            bottleneck: slowest.map(|stage| stage.stage.clone()),
            stages,
            open: self.state.open.len() as u64,
            given_up: self.state.given_up,
            unlisted: self.state.unlisted,
        }
    }

    fn stage(&self, number: usize) -> StageSummary {
        let stage = &self.flow.stages[number];
        let (seen, repeated) = self.state.seen[number];
        StageSummary {
            stage: stage.name.clone(),
            topic: stage.topic.clone(),
            seen,
            repeated,
            hop: stage.after.map(|after| self.hop(number, after)),
        }
    }

    fn hop(&self, number: usize, after: usize) -> HopSummary {
        let (stage, hop) = (&self.flow.stages[number], &self.state.hops[number]);
        let quantiles =
            || Some([hop.quantile(0.5)?, hop.quantile(0.9)?, hop.quantile(0.99)?, hop.quantile(0.999)?, hop.max()?]);
        let burn = stage.slo.as_ref().map(|slo| {
            let rate = |minutes| hop.burn_rate(slo.objective, minutes);
            let burns = |minutes, most: f64| rate(minutes).is_some_and(|rate| rate > most);
            let is_burning = BURNS.iter().any(|&(long, short, most)| burns(long, most) && burns(short, most));
            Burn { objective: slo.objective, m5: rate(5), m30: rate(30), h1: rate(60), h6: rate(360), is_burning }
        });
        HopSummary {
            after: self.flow.stages[after].name.clone(),
            rule: stage.rule.name(),
            matched: hop.matched,
            missing: hop.missing,
            late: hop.late,
            mismatched: hop.mismatched,
            unexpected: hop.unexpected,
            early: hop.early,
            uncovered: hop.uncovered,
            per_second: hop.per_second(),
            latency_ms: quantiles(),
            burn,
            slower_since: hop.slower_since(),
        }
    }
}

impl Rule {
    fn name(self) -> String {
        match self {
            Rule::ExactlyOne => "exactly-one".to_owned(),
            Rule::AtLeastOne => "at-least-one".to_owned(),
            Rule::Optional => "optional".to_owned(),
            Rule::OneOf(_) => "one-of".to_owned(),
            Rule::FanOut(records) => format!("fan-out of {records}"),
        }
    }
}
