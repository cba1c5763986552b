//! What is known of flows, as samples.

use std::collections::BTreeMap;

use super::own::{All, family};
use super::table::{self as t, Family};
use crate::audit::flows::summary::{Burn, FlowSummary, HopSummary};
use crate::serve::board::AuditView;

/// Percentiles as the summary has them, and their names. `quantile` is a label of summaries only.
const PERCENTILES: [(usize, &str); 4] = [(0, "50"), (1, "90"), (2, "99"), (3, "99.9")];

pub fn flows(audits: &BTreeMap<String, AuditView>, all: &mut All) {
    let known: Vec<&FlowSummary> =
        audits.values().filter_map(|audit| audit.report.as_ref()?.summary.flow.as_ref()).collect();
    let hops = || known.iter().flat_map(|flow| hops_of(flow));
    family(all, &t::FLOW_OPEN, |s| known.iter().for_each(|flow| s.add([flow.flow.as_str().into()], flow.open)));
    type Figure = fn(&HopSummary) -> u64;
    let figures: [(&'static Family, Figure); 6] = [
        (&t::FLOW_MATCHED, |hop| hop.matched),
        (&t::FLOW_MISSING, |hop| hop.missing),
        (&t::FLOW_LATE, |hop| hop.late),
        (&t::FLOW_MISMATCHED, |hop| hop.mismatched),
        (&t::FLOW_UNEXPECTED, |hop| hop.unexpected),
        (&t::FLOW_UNCOVERED, |hop| hop.uncovered),
    ];
    for (f, figure) in figures {
        family(all, f, |s| hops().for_each(|(flow, stage, hop)| s.add([flow.into(), stage.into()], figure(hop))));
    }
    family(all, &t::FLOW_LATENCY, |s| {
        for (flow, stage, latency) in hops().filter_map(|(flow, stage, hop)| Some((flow, stage, hop.latency_ms?))) {
            for (at, name) in PERCENTILES {
                s.add([flow.into(), stage.into(), name.into()], latency[at] as f64 / 1000.0);
            }
        }
    });
    family(all, &t::FLOW_BURN, |s| {
        for (flow, stage, burn) in hops().filter_map(|(flow, stage, hop)| Some((flow, stage, hop.burn.as_ref()?))) {
            for (window, rate) in windows(burn) {
                if let Some(rate) = rate {
                    s.add([flow.into(), stage.into(), window.into()], rate);
                }
            }
        }
    });
}

/// Flow, stage and the hop that leads to it.
fn hops_of(flow: &FlowSummary) -> impl Iterator<Item = (&str, &str, &HopSummary)> {
    flow.stages.iter().filter_map(|stage| Some((flow.flow.as_str(), stage.stage.as_str(), stage.hop.as_ref()?)))
}

fn windows(burn: &Burn) -> [(&'static str, Option<f64>); 4] {
    [("5m", burn.m5), ("30m", burn.m30), ("1h", burn.h1), ("6h", burn.h6)]
}
