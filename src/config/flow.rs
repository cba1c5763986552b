//! `[[flow]]`: the stages a transaction passes, and what must hold between them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::audit::{AuditFile, AuditPlan, Client, View};
use super::{duration, size};
use crate::audit::flows::plan::{Flow, MOST_STAGES, Rule, Slo, Stage};
use crate::engine::{Clock, FlowRules};
use crate::identify::{Spec, StageRules};
use crate::ledger::Key;
use crate::source::{Properties, Start};

/// Defaults, as `config/sordini.toml` lists them.
const DEADLINE: Duration = Duration::from_secs(30);
const CLOCK_BOUND: Duration = Duration::from_secs(1);
const MOST_OPEN: usize = 2_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RuleName {
    ExactlyOne,
    AtLeastOne,
    Optional,
    OneOf,
    FanOut,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct SloFile {
    #[serde(deserialize_with = "duration")]
    latency: Option<Duration>,
    objective: f64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct StageFile {
    name: Option<String>,
    topic: String,
    /// Overrides the flow's.
    id: Option<Spec>,
    after: Option<String>,
    rule: Option<RuleName>,
    /// With `fan-out`: how many records a transaction has here.
    records: Option<u32>,
    /// With `one-of`: names the choice; one of its stages must see the transaction.
    choice: Option<String>,
    #[serde(default, deserialize_with = "duration")]
    deadline: Option<Duration>,
    #[serde(default)]
    agree: Vec<Spec>,
    amount: Option<Spec>,
    number: Option<Spec>,
    /// The header that tells which deployment wrote a record.
    deploy: Option<Spec>,
    slo: Option<SloFile>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FlowFile {
    pub name: String,
    /// Where the correlation id stands.
    id: Option<Spec>,
    #[serde(default, deserialize_with = "duration")]
    deadline: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    clock_bound: Option<Duration>,
    max_open: Option<usize>,
    #[serde(rename = "stage")]
    stages: Vec<StageFile>,
    pub client: Option<Client>,
    #[serde(default, deserialize_with = "duration")]
    horizon: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    commit_every: Option<Duration>,
    isolation: Option<View>,
    #[serde(default, deserialize_with = "size")]
    memory: Option<usize>,
    pub show_keys: Option<bool>,
    pub ledger_key: Option<PathBuf>,
    #[serde(default)]
    pub properties: Properties,
}

/// What is wrong with a flow: the text to point at, and what.
pub type Wrong = (String, String);

impl StageFile {
    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.topic)
    }
}

impl FlowFile {
    /// What is meant, or what is wrong with it.
    pub fn rules(&self) -> Result<FlowRules, Wrong> {
        let flow = &self.name;
        let wrong = |needle: &str, what: String| Err((format!("{needle:?}"), format!("flow \"{flow}\": {what}")));
        if !(2..=MOST_STAGES).contains(&self.stages.len()) {
            return wrong(flow, format!("it has {} stages; from 2 to {MOST_STAGES} make a flow", self.stages.len()));
        }
        let (mut names, mut topics) = (BTreeSet::new(), BTreeSet::new());
        for stage in &self.stages {
            if !names.insert(stage.name()) {
                return wrong(stage.name(), format!("two stages are called \"{}\"; give each a name", stage.name()));
            }
            if !topics.insert(stage.topic.as_str()) {
                return wrong(
                    &stage.topic,
                    format!("two stages are the topic \"{}\"; a topic is one stage", stage.topic),
                );
            }
            if stage.topic.starts_with('^') {
                return wrong(&stage.topic, "a stage is one topic, not a pattern".to_owned());
            }
        }
        let choices: Vec<&String> = self.stages.iter().filter_map(|stage| stage.choice.as_ref()).collect();
        let mut stages = Vec::new();
        let mut rules = Vec::new();
        for (number, stage) in self.stages.iter().enumerate() {
            let Some(id) = stage.id.clone().or_else(|| self.id.clone()) else {
                return wrong(
                    stage.name(),
                    format!("stage \"{}\" has no id; say where the correlation id stands", stage.name()),
                );
            };
            if !matches!(id, Spec::Key | Spec::Header(_) | Spec::Json(_)) {
                return wrong(
                    &id.to_string(),
                    format!("{id} is no correlation id; use key, header:NAME or json:/pointer"),
                );
            }
            stages.push(self.stage(number, stage, &choices)?);
            let deploy = match &stage.deploy {
                None => None,
                Some(Spec::Header(name)) => Some(name.clone()),
                Some(other) => {
                    return wrong(&other.to_string(), format!("{other} is no header; deploy is header:NAME"));
                }
            };
            let (agree, amount, number) = (stage.agree.clone(), stage.amount.clone(), stage.number.clone());
            rules.push((id, StageRules { agree, amount, number, deploy }));
        }
        let clock_bound_ms = self.clock_bound.unwrap_or(CLOCK_BOUND).as_millis() as i64;
        let most_open = self.max_open.unwrap_or(MOST_OPEN).max(1);
        let flow = Flow { name: flow.clone(), stages, clock_bound_ms, most_open };
        Ok(FlowRules { flow: Arc::new(flow), stages: rules })
    }

    fn stage(&self, number: usize, stage: &StageFile, choices: &[&String]) -> Result<Stage, Wrong> {
        let name = stage.name();
        let wrong = |needle: &str, what: String| {
            Err((format!("{needle:?}"), format!("flow \"{}\", stage \"{name}\": {what}", self.name)))
        };
        let after = match &stage.after {
            None => number.checked_sub(1),
            Some(after) => match self.stages[..number].iter().position(|earlier| earlier.name() == after) {
                Some(after) => Some(after),
                None => return wrong(after, format!("no stage before it is called \"{after}\"")),
            },
        };
        // Branches of one choice come after the same stage unless they say otherwise.
        let sibling = stage.choice.as_ref().and_then(|choice| {
            let mut earlier = self.stages[..number].iter().enumerate();
            earlier.find(|(_, earlier)| earlier.choice.as_ref() == Some(choice)).map(|(first, _)| first)
        });
        let after = match (sibling, &stage.after) {
            (Some(first), None) => first.checked_sub(1),
            _ => after,
        };
        let choice = |choice: &String| choices.iter().position(|known| *known == choice).unwrap_or(0) as u8;
        let rule = match (stage.rule.unwrap_or(RuleName::ExactlyOne), stage.records, &stage.choice) {
            (RuleName::ExactlyOne, None, None) => Rule::ExactlyOne,
            (RuleName::AtLeastOne, None, None) => Rule::AtLeastOne,
            (RuleName::Optional, None, None) => Rule::Optional,
            (RuleName::FanOut, Some(records), None) if records > 0 => Rule::FanOut(records),
            (RuleName::FanOut, ..) => return wrong(name, "fan-out needs records = N, more than 0".to_owned()),
            (RuleName::OneOf, None, Some(name)) => Rule::OneOf(choice(name)),
            (RuleName::OneOf, ..) => return wrong(name, "one-of needs choice = \"NAME\"".to_owned()),
            _ => return wrong(name, "records belongs to fan-out, choice to one-of".to_owned()),
        };
        let slo = match &stage.slo {
            Some(slo) if !(slo.objective > 0.0 && slo.objective < 1.0) => {
                return wrong(name, "the objective is a share between 0 and 1, such as 0.999".to_owned());
            }
            Some(slo) => {
                let latency_ms = slo.latency.unwrap_or(DEADLINE).as_millis() as i64;
                Some(Slo { latency_ms, objective: slo.objective })
            }
            None => None,
        };
        let upstream = after.map(|after| &self.stages[after]);
        if let Some(upstream) =
            upstream.filter(|upstream| !stage.agree.is_empty() && upstream.agree.len() != stage.agree.len())
        {
            let what = format!("{} and {name} must name as many fields that agree, in the same order", upstream.name());
            return wrong(name, what);
        }
        Ok(Stage {
            name: name.to_owned(),
            topic: stage.topic.clone(),
            after,
            rule,
            deadline_ms: stage.deadline.or(self.deadline).unwrap_or(DEADLINE).as_millis() as i64,
            slo,
            agree: stage.agree.iter().map(Spec::to_string).collect(),
        })
    }

    /// The audit of its topics that judges it.
    pub fn plan(
        &self,
        properties: Properties,
        ledger: Option<PathBuf>,
        follow: bool,
        clock: Clock,
    ) -> anyhow::Result<AuditPlan> {
        let rules = self.rules().map_err(|(_, what)| anyhow::anyhow!(what))?;
        let key = self.ledger_key.as_deref().map(Key::read).transpose()?;
        let mut all = properties;
        all.extend(self.properties.clone());
        let audit = AuditFile {
            topics: rules.flow.topics().map(str::to_owned).collect(),
            id: rules.stages.first().map(|(id, _)| id.clone()),
            client: self.client,
            horizon: self.horizon,
            commit_every: self.commit_every,
            isolation: self.isolation,
            memory: self.memory,
            show_keys: self.show_keys,
            follow: Some(follow),
            ledger,
            properties: all,
            ..AuditFile::default()
        };
        let mut plan = audit.plan(Start::Beginning, Vec::new(), key, clock)?;
        plan.settings.flow = Some(rules);
        Ok(plan)
    }
}
