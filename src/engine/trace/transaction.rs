//! What the holder of a flow's ledger knows of transactions beyond their sightings: what was found of them, and what
//! they wait for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::auditor::Auditor;
use super::super::state::{Entry, FlowPlan};
use super::{AtRest, Hash, TraceError};
use crate::audit::finding::Finding;
use crate::audit::flows::{FlowState, say};
use crate::ledger::{Ledger, LedgerError};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transaction {
    /// What its identities in all topics have in common, as findings about flows show it.
    pub id: Hash,
    pub findings: Vec<Finding>,
    /// The stage that must see it next, by number, and until when in that stage's stream time; milliseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub waits: Option<(usize, i64)>,
}

impl AtRest {
    pub(super) fn follow(&self, ids: &[Hash]) -> Result<Vec<Transaction>, TraceError> {
        let (Some(plan), Some(flow)) = (&self.state.plan, &self.state.more.flow) else { return Ok(Vec::new()) };
        Ok(transactions(plan, flow, &self.ledger, ids, &[])?)
    }
}

impl Auditor<'_> {
    /// With what was found since the last commit.
    pub(super) fn follow(&self, ids: &[Hash]) -> Result<Vec<Transaction>, LedgerError> {
        match (&self.state.plan, &self.flow) {
            (Some(plan), Some(carried)) => transactions(plan, &carried.flows.state, &self.ledger, ids, &self.fresh),
            _ => Ok(Vec::new()),
        }
    }
}

fn transactions(
    plan: &FlowPlan,
    state: &FlowState,
    ledger: &Ledger,
    ids: &[Hash],
    fresh: &[Finding],
) -> Result<Vec<Transaction>, LedgerError> {
    let names: Vec<Vec<String>> = ids.iter().map(|id| say::ids(&plan.flow, id.0)).collect();
    let keys: Vec<u128> = names.iter().flatten().map(|name| Entry::key(name)).collect();
    let mut told: BTreeMap<String, Finding> = BTreeMap::new();
    for bytes in ledger.entries_of(&keys)?.into_values() {
        if let Ok(Entry::Finding(finding)) = Entry::decode(&bytes) {
            told.insert(finding.id.clone(), *finding);
        }
    }
    for finding in fresh.iter().filter(|finding| keys.contains(&Entry::key(&finding.id))) {
        told.insert(finding.id.clone(), finding.clone());
    }
    let of = |(id, names): (&Hash, &Vec<String>)| Transaction {
        id: *id,
        findings: names.iter().filter_map(|name| told.get(name).cloned()).collect(),
        waits: state.waits(&plan.flow, id.0),
    };
    Ok(ids.iter().zip(&names).map(of).collect())
}
