//! What the ledger keeps for the engine: one blob of state, and one journal entry per finding or case.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{EngineError, Settings};
use crate::audit::duplicates::Case;
use crate::audit::finding::Finding;
use crate::audit::flows::FlowState;
use crate::audit::flows::plan::Flow;
use crate::audit::partition::PartitionState;
use crate::audit::patterns::retries::Retries;
use crate::audit::patterns::topic::TopicPatterns;
use crate::audit::sessions::Sessions;
use crate::ledger::Ledger;

/// Raised when the form of the state changes.
const VERSION: u16 = 1;
/// Raised when the form of what is written behind it changes. The first one had no such byte: there stands whether there is a
/// flow, 0 or 1.
const MORE_VERSION: u8 = 4;

#[derive(Default, Serialize, Deserialize)]
pub struct State {
    version: u16,
    /// The rules the ledger was made with: identities of other rules would not be comparable.
    pub rules: String,
    pub partitions: Vec<PartitionState>,
    pub sessions: Sessions,
    /// Repeats counted beyond those listed as cases.
    pub unlisted: u64,
    pub sightings: u64,
    /// Written behind the rest, so that what older versions wrote stays readable.
    #[serde(skip)]
    pub more: More,
    #[serde(skip)]
    pub plan: Option<FlowPlan>,
}

#[derive(Default, Deserialize)]
pub struct More {
    pub flow: Option<FlowState>,
    pub retries: BTreeMap<String, Retries>,
    pub losses: BTreeMap<String, TopicPatterns>,
    plan: Option<FlowPlan>,
}

/// What the flow is, for whoever looks into the ledger without the settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlowPlan {
    pub flow: Flow,
    /// Sightings that lie so far back are dropped.
    pub horizon_ms: i64,
}

impl FlowPlan {
    fn of(settings: &Settings) -> Option<Self> {
        let flow = Flow::clone(&settings.flow.as_ref()?.flow);
        Some(Self { flow, horizon_ms: i64::try_from(settings.horizon.as_millis()).unwrap_or(i64::MAX) })
    }
}

pub fn load(ledger: &Ledger, settings: &Settings) -> Result<State, EngineError> {
    let ours = rules(settings);
    let name = || settings.ledger.as_ref().map_or_else(String::new, |dir| dir.display().to_string());
    let plan = FlowPlan::of(settings);
    let Some(state) = read(ledger.state(), settings.ledger.as_deref().unwrap_or(Path::new("")))? else {
        return Ok(State { version: VERSION, rules: ours, plan, ..State::default() });
    };
    if state.rules != ours {
        return Err(EngineError::OtherRules { ledger: name(), theirs: state.rules, ours });
    }
    Ok(State { plan, ..state })
}

/// The state as a ledger keeps it; none before the first commit.
pub fn read(bytes: Option<&[u8]>, dir: &Path) -> Result<Option<State>, EngineError> {
    let Some(bytes) = bytes else { return Ok(None) };
    let broken = |why: String| EngineError::State { ledger: dir.display().to_string(), why };
    match postcard::take_from_bytes::<u16>(bytes) {
        Ok((VERSION, _)) => {}
        Ok((version, _)) => return Err(broken(format!("version {version}, this is {VERSION}"))),
        Err(error) => return Err(broken(error.to_string())),
    }
    let (mut state, rest) = postcard::take_from_bytes::<State>(bytes).map_err(|error| broken(error.to_string()))?;
    let more = match rest.split_first() {
        None => Ok(More::default()),
        Some((0, rest)) => postcard::from_bytes(rest).map(|(retries, plan)| More { retries, plan, ..More::default() }),
        Some((1, _)) => return Err(broken(format!("a flow of version 1, this is {MORE_VERSION}"))),
        Some((&MORE_VERSION, rest)) => postcard::from_bytes(rest),
        Some((version, _)) => return Err(broken(format!("a part of version {version}, this is {MORE_VERSION}"))),
    };
    state.more = more.map_err(|error| broken(error.to_string()))?;
    state.plan = state.more.plan.take();
    Ok(Some(state))
}

pub fn encode(
    state: &State,
    flow: Option<&FlowState>,
    retries: &BTreeMap<String, Retries>,
    losses: &BTreeMap<String, TopicPatterns>,
) -> Result<Vec<u8>, EngineError> {
    // As [`More`] reads it.
    let more = (MORE_VERSION, flow, retries, losses, &state.plan);
    let encoded = postcard::to_stdvec(state).and_then(|bytes| postcard::to_extend(&more, bytes));
    encoded.map_err(|error| EngineError::State { ledger: String::new(), why: error.to_string() })
}

/// The rules in words; two runs on one ledger must agree on them.
fn rules(settings: &Settings) -> String {
    let rules = &settings.rules;
    let spec = |name: &str, spec: &Option<crate::identify::Spec>| {
        spec.as_ref().map(|spec| format!("--{name} {spec}")).unwrap_or_default()
    };
    let words = [
        spec("id", &rules.id),
        spec("session", &rules.session),
        spec("sequence", &rules.sequence),
        spec("sequence-end", &rules.sequence_end),
        settings.sequence_start.map(|start| format!("--sequence-start {start}")).unwrap_or_default(),
        if rules.topic_scope { "--scope topic" } else { "--scope partition" }.to_owned(),
        match settings.isolation {
            crate::audit::coverage::Isolation::ReadCommitted => String::new(),
            crate::audit::coverage::Isolation::ReadUncommitted => "--isolation read_uncommitted".to_owned(),
        },
        settings.flow.as_ref().map(super::FlowRules::words).unwrap_or_default(),
    ];
    words.iter().filter(|word| !word.is_empty()).cloned().collect::<Vec<_>>().join(" ")
}

/// One entry of the journal. The last one of a key counts.
pub enum Entry {
    Finding(Box<Finding>),
    Case(Case),
}

const FINDING: u8 = b'f';
const CASE: u8 = b'c';

impl Entry {
    /// Under which the journal keeps a finding.
    pub fn key(id: &str) -> u128 {
        u128::from(u64::from_str_radix(id, 16).unwrap_or_default())
    }

    pub fn finding(finding: &Finding) -> Result<(u128, Vec<u8>), EngineError> {
        let key = Self::key(&finding.id);
        let mut bytes = vec![FINDING];
        serde_json::to_writer(&mut bytes, finding)
            .map_err(|error| EngineError::State { ledger: String::new(), why: error.to_string() })?;
        Ok((key, bytes))
    }

    pub fn case(identity: u128, case: &Case) -> Result<(u128, Vec<u8>), EngineError> {
        let bytes = postcard::to_extend(case, vec![CASE])
            .map_err(|error| EngineError::State { ledger: String::new(), why: error.to_string() })?;
        Ok((identity, bytes))
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        match bytes.split_first() {
            Some((&FINDING, json)) => {
                serde_json::from_slice(json).map(|finding| Entry::Finding(Box::new(finding))).map_err(|e| e.to_string())
            }
            Some((&CASE, rest)) => postcard::from_bytes(rest).map(Entry::Case).map_err(|e| e.to_string()),
            _ => Err("unknown journal entry".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::flows::plan::{Rule, Slo, Stage};

    #[test]
    fn a_state_without_a_flow_or_without_its_plan_stays_readable() {
        let stage = Stage {
            name: "a".to_owned(),
            topic: "t".to_owned(),
            after: None,
            rule: Rule::FanOut(3),
            deadline_ms: 5,
            slo: Some(Slo { latency_ms: 1, objective: 0.5 }),
            agree: vec!["key".to_owned()],
        };
        let flow = Flow { name: "f".to_owned(), stages: vec![stage], clock_bound_ms: 1, most_open: 2 };
        let plan = FlowPlan { flow, horizon_ms: 7 };
        for (has_flow, plan) in [(false, None), (true, None), (true, Some(plan))] {
            let state =
                State { version: VERSION, rules: "--id key".to_owned(), plan: plan.clone(), ..State::default() };
            let flow = has_flow.then(FlowState::default);
            let bytes = encode(&state, flow.as_ref(), &BTreeMap::new(), &BTreeMap::new()).unwrap();
            let read = read(Some(&bytes), Path::new("")).unwrap().unwrap();
            assert_eq!((read.rules.as_str(), read.more.flow.is_some(), read.plan), ("--id key", has_flow, plan));
        }
    }

    #[test]
    fn what_an_older_version_wrote_is_read_or_refused_and_never_misread() {
        let state = State { version: VERSION, rules: "--id key".to_owned(), ..State::default() };
        let bytes = postcard::to_stdvec(&state).unwrap();
        // The first form, as it was written.
        let retries = BTreeMap::from([("t".to_owned(), Retries::default())]);
        let without = postcard::to_extend(&(None::<u8>, &retries, None::<FlowPlan>), bytes.clone()).unwrap();
        let read_back = read(Some(&without), Path::new("")).unwrap().unwrap();
        assert_eq!((read_back.more.flow.is_some(), read_back.more.retries.len()), (false, 1));
        for (form, named) in [(1u8, "a flow of version 1"), (9, "a part of version 9")] {
            let bytes = postcard::to_extend(&(form, &retries, None::<FlowPlan>), bytes.clone()).unwrap();
            let Err(EngineError::State { why, .. }) = read(Some(&bytes), Path::new("")) else { panic!("{form}") };
            assert!(why.starts_with(named), "{why}");
        }
    }
}
