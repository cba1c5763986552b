//! A flow in sentences, one for each hop: what arrived, what did not, how long it took.

use super::format::{duration, thousands, utc};
use crate::audit::flows::summary::{Burn, FlowSummary, HopSummary, StageSummary};

/// One hop: what it says, and whether something of it is wrong.
pub struct HopLine {
    pub hop: String,
    pub says: String,
    pub is_bad: bool,
}

pub fn hops(flow: &FlowSummary) -> Vec<HopLine> {
    let line = |stage: &StageSummary| {
        let hop = stage.hop.as_ref()?;
        let is_burning = hop.burn.as_ref().is_some_and(|burn| burn.is_burning);
        Some(HopLine {
            hop: format!("{} → {}", hop.after, stage.stage),
            says: says(hop),
            is_bad: hop.missing + hop.mismatched + hop.unexpected > 0 || is_burning,
        })
    };
    flow.stages.iter().filter_map(line).collect()
}

/// What holds of the flow as a whole; empty when there is nothing to say.
pub fn remarks(flow: &FlowSummary) -> Vec<String> {
    let mut all = Vec::new();
    if flow.open > 0 {
        all.push(format!("{} transactions are under way", thousands(flow.open)));
    }
    if let Some(stage) = &flow.bottleneck {
        all.push(format!("the hop to {stage} takes most of the time"));
    }
    for stage in &flow.stages {
        if let Some(since) = stage.hop.as_ref().and_then(|hop| hop.slower_since) {
            all.push(format!(
                "the hop to {} has taken three times as long as before since {}",
                stage.stage,
                utc(since)
            ));
        }
        if stage.repeated > 0 {
            all.push(format!(
                "{} records at {} repeat a transaction under way",
                thousands(stage.repeated),
                stage.stage
            ));
        }
    }
    if flow.unlisted > 0 {
        all.push(format!("{} more findings are counted and not listed: the list is full", thousands(flow.unlisted)));
    }
    all
}

fn says(hop: &HopSummary) -> String {
    let mut parts = vec![format!("{} arrived", thousands(hop.matched)), format!("{} missing", thousands(hop.missing))];
    for (count, word) in [
        (hop.late, "after the deadline"),
        (hop.mismatched, "with other content"),
        (hop.unexpected, "without a cause"),
        (hop.early, "before their cause"),
        (hop.uncovered, "that cannot be decided"),
    ] {
        if count > 0 {
            parts.push(format!("{} {word}", thousands(count)));
        }
    }
    let mut says = parts.join(", ");
    if let Some(rate) = hop.per_second {
        says.push_str(&format!("; {rate:.1}/s"));
    }
    if let Some([p50, _, p99, p999, max]) = hop.latency_ms {
        let [p50, p99, p999, max] = [p50, p99, p999, max].map(duration);
        says.push_str(&format!("; latency p50 {p50}, p99 {p99}, p99.9 {p999}, at most {max}"));
    }
    if let Some(burn) = &hop.burn {
        says.push_str(&format!("; {}", burns(burn)));
    }
    says
}

fn burns(burn: &Burn) -> String {
    let windows = [("5 min", burn.m5), ("30 min", burn.m30), ("1 h", burn.h1), ("6 h", burn.h6)];
    let rates: Vec<String> =
        windows.iter().filter_map(|(window, rate)| rate.map(|rate| format!("{rate:.1} over {window}"))).collect();
    let objective = format!("{}", burn.objective * 100.0);
    format!("error budget of {objective} % burns at {}", rates.join(", "))
}
