//! Flows at work: the auditor's steps and clocks go in, and what the ledger remembers decides what is in doubt.

use std::sync::Arc;

use super::auditor::Auditor;
use super::partitions::States;
use super::{EngineError, Settings};
use crate::audit::coverage::Hole;
use crate::audit::finding::{Finding, Grade, Kind};
use crate::audit::flows::plan::{Flow, Rule};
use crate::audit::flows::{Doubt, Flows, Sight, StageClock};
use crate::identify::{IdentityHasher, Observations, Rules, Spec, StageRules};
use crate::ledger::Seen;

/// A flow, and how each of its stages' records are read.
#[derive(Clone, Debug)]
pub struct FlowRules {
    pub flow: Arc<Flow>,
    /// By stage: what holds the correlation id, and what is read beside it.
    pub stages: Vec<(Spec, StageRules)>,
}

impl FlowRules {
    /// The rules of a topic: those of the audit with the stage's own on top.
    pub fn rules(&self, topic: &str, audit: &Rules) -> Rules {
        match self.flow.stage_of(topic) {
            Some(stage) => {
                let (id, rules) = &self.stages[stage];
                Rules { id: Some(id.clone()), stage: Some(rules.clone()), ..audit.clone() }
            }
            None => audit.clone(),
        }
    }

    /// In words, for the ledger: another flow has other identities and states.
    pub fn words(&self) -> String {
        let stage = |(stage, (id, _)): (&crate::audit::flows::plan::Stage, &(Spec, StageRules))| {
            format!("{}={}:{id}", stage.name, stage.topic)
        };
        let stages: Vec<String> = self.flow.stages.iter().zip(&self.stages).map(stage).collect();
        format!("--flow {}({})", self.flow.name, stages.join(","))
    }
}

/// A flow as an audit carries it.
pub struct Carried {
    pub flows: Flows,
    /// By stage.
    hashers: Vec<IdentityHasher>,
    /// By stage: it has been read to its end once.
    caught_up: Vec<bool>,
}

impl Carried {
    pub fn new(settings: &Settings, state: Option<crate::audit::flows::FlowState>, secret: &[u8; 192]) -> Option<Self> {
        let rules = settings.flow.as_ref()?;
        Some(Self {
            flows: Flows::new(rules.flow.clone(), state.unwrap_or_default()),
            hashers: rules.flow.topics().map(|topic| IdentityHasher::new(secret, topic)).collect(),
            caught_up: vec![false; rules.flow.stages.len()],
        })
    }

    /// Whether an id may stand in the topic more than once without being a duplicate.
    pub fn repeats(&self, topic: &str) -> bool {
        let flow = &self.flows.flow;
        let rule = flow.stage_of(topic).map(|stage| flow.stages[stage].rule);
        matches!(rule, Some(Rule::FanOut(_) | Rule::AtLeastOne))
    }
}

impl Auditor<'_> {
    pub(super) fn take_steps(&mut self, index: u32, seen: &mut Observations) {
        let Some(carried) = &mut self.flow else { return };
        let Some(state) = self.state.partitions.get(index as usize) else { return };
        let Some(stage) = carried.flows.flow.stage_of(&state.topic) else { return };
        let names = States(&self.state.partitions);
        for (identity, value) in &seen.values {
            carried.flows.value(carried.hashers[stage].turn(*identity), value);
        }
        if let Some(first) = seen.steps.first() {
            carried.flows.state.begins(index, first.stream_time);
        }
        let origins = carried.flows.origins(stage, index, seen);
        for (row, step) in seen.steps.drain(..).enumerate() {
            let origin = origins.get(row).copied().unwrap_or_default();
            carried.flows.take(&step, origin, stage, index, &names, &mut self.fresh);
        }
    }

    /// How far the stages' topics have been read.
    pub(super) fn stage_clocks(&mut self) -> Vec<StageClock> {
        let Some(mut carried) = self.flow.take() else { return Vec::new() };
        let flow = carried.flows.flow.clone();
        let clock = |(number, topic): (usize, &str)| {
            let indexes = self.topics.get(topic).map(|topic| topic.partitions.clone()).unwrap_or_default();
            let mut clock =
                StageClock { slowest: i64::MAX, caught_up: !indexes.is_empty(), is_whole: true, reads_from: i64::MIN };
            for index in indexes {
                let state = &self.state.partitions[index as usize];
                let offsets = &state.offsets;
                clock.slowest = clock.slowest.min(state.stream_time);
                let end = self.partitions.info(index).and_then(|info| info.until).unwrap_or(offsets.high_watermark);
                clock.caught_up &= state.stream_time > i64::MIN && offsets.position >= end;
                let is_lost = |hole: Hole| offsets.holes.get(hole) > 0;
                clock.is_whole &= !self.failed.contains_key(&index)
                    && offsets.damaged.is_empty()
                    && ![Hole::Unexplained, Hole::Unreadable, Hole::Expired].into_iter().any(is_lost);
                if offsets.from > 0 || offsets.log_start > 0 {
                    let begins = carried.flows.state.begins(index, state.stream_time);
                    clock.reads_from = clock.reads_from.max(begins);
                }
            }
            carried.caught_up[number] |= clock.caught_up && self.known_beforehand;
            clock.caught_up = carried.caught_up[number];
            clock
        };
        let clocks = flow.topics().enumerate().map(clock).collect();
        self.flow = Some(carried);
        clocks
    }

    /// Decides what is due. The ledger's buffer must be settled.
    pub(super) fn judge_flows(&mut self) -> Result<(), EngineError> {
        let clocks = self.stage_clocks();
        let Some(mut carried) = self.flow.take() else { return Ok(()) };
        for (id, doubt) in carried.flows.due(&clocks) {
            let seen = self.ledger.find(carried.hashers[doubt.asks()].turn(id))?;
            let sight = seen.map(|seen| remembered(&seen, doubt));
            carried.flows.decide(id, &doubt, sight, &clocks, &States(&self.state.partitions), &mut self.fresh);
        }
        self.flow = Some(carried);
        Ok(())
    }

    /// What is not certain yet, and what holds of the flow as a whole.
    pub(super) fn pending_flows(&mut self, out: &mut Vec<Finding>) {
        let clocks = self.stage_clocks();
        let Some(carried) = &self.flow else { return };
        carried.flows.pending(&clocks, &States(&self.state.partitions), out);
        carried.flows.standing(out);
        let given_up = carried.flows.given_up();
        if given_up > 0 {
            let name = &carried.flows.flow.name;
            let why = format!(
                "{given_up} transactions of flow {name} were given up while they waited, to bound memory: nothing is said of them; raise max-open"
            );
            let mut finding = Finding::new(Kind::AuditGap, name, &[&"given-up"], why);
            finding.grade = Grade::Unknown;
            finding.count = given_up;
            out.push(finding);
        }
    }
}

/// What the ledger knows of a sighting.
fn remembered(seen: &Seen, doubt: Doubt) -> Sight {
    let basis = match doubt {
        Doubt::Missing { upstream, .. } | Doubt::GivenUp { upstream, .. } => upstream,
        Doubt::Causeless { effect, .. } => effect,
    };
    let timestamp = i64::from(seen.second) * 1000;
    Sight {
        offset: seen.offset,
        partition: seen.partition,
        timestamp,
        stream_time: timestamp,
        checksum: seen.checksum,
        is_remembered: true,
        ..basis
    }
}
