//! The way of one transaction through its flow: where it was seen, what is missing, and the hop it most likely was lost
//! on. A function of answers, so a ledger at rest and a live process are judged alike.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::coverage::{Covered, Reach};
use super::{Arrival, Hash, Transaction};
use crate::audit::finding::{Finding, Grade, Kind};
use crate::audit::flows::plan::{Flow, Rule, Stage};
use crate::engine::state::FlowPlan;
use crate::report::format::utc;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    Seen,
    /// The stage before saw it, and this one was read beyond the deadline without it.
    Lost,
    /// It may still come in time.
    Waiting,
    /// A later stage saw it, and this one never did.
    Absent,
    /// Not seen in what was read, and not all was.
    Uncovered,
    /// The flow does not ask for it here.
    NotNeeded,
    /// It did not get so far.
    NotReached,
}

/// What is known of the transaction at one stage.
#[derive(Clone, Debug, PartialEq)]
pub struct At {
    pub stage: String,
    pub topic: String,
    pub status: Status,
    pub arrivals: Vec<Arrival>,
    pub reach: Reach,
    /// Why it is missing here, in words; empty where it was seen.
    pub why: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Path {
    pub flow: String,
    pub id: Hash,
    pub stages: Vec<At>,
    pub findings: Vec<Finding>,
    /// All of it in one sentence.
    pub says: String,
    /// Anything is known of such a transaction.
    pub is_known: bool,
}

struct Judge<'a> {
    flow: &'a Flow,
    coverage: &'a [Covered],
    transaction: &'a Transaction,
    /// By stage.
    arrivals: Vec<Vec<Arrival>>,
    /// Sightings before this are dropped, milliseconds; absent while none are.
    kept_since_ms: Option<i64>,
}

impl Path {
    /// `arrivals` are those of the transaction's identities in all topics.
    pub fn of(plan: &FlowPlan, coverage: &[Covered], transaction: &Transaction, arrivals: &[Arrival]) -> Self {
        let of_topic = |topic: &str| arrivals.iter().filter(|arrival| arrival.topic == topic).cloned().collect();
        let judge = Judge {
            flow: &plan.flow,
            coverage,
            transaction,
            arrivals: plan.flow.topics().map(of_topic).collect(),
            kept_since_ms: kept_since(coverage, plan.horizon_ms),
        };
        let mut stages: Vec<At> = Vec::new();
        for number in 0..plan.flow.stages.len() {
            let at = judge.at(number, &stages);
            stages.push(at);
        }
        let says = says(&stages, &transaction.findings);
        let (flow, findings) = (plan.flow.name.clone(), transaction.findings.clone());
        let is_known = !findings.is_empty() || transaction.waits.is_some() || !arrivals.is_empty();
        Self { flow, id: transaction.id, stages, findings, says, is_known }
    }

    pub fn stage_of(&self, topic: &str) -> Option<&str> {
        self.stages.iter().find(|at| at.topic == topic).map(|at| at.stage.as_str())
    }

    pub fn line(&self) -> Value {
        let stage = |at: &At| {
            json!({
                "stage": at.stage,
                "topic": at.topic,
                "status": at.status,
                "sightings": at.arrivals.iter().map(|a| format!("{}[{}]@{}", a.topic, a.partition, a.offset)).collect::<Vec<_>>(),
                "read_from": at.reach.from_ms,
                "read_until": at.reach.until_ms,
                "not_covered": at.reach.gaps,
                "why": at.why,
            })
        };
        json!({
            "type": "transaction",
            "flow": self.flow,
            "identity": {"hash": self.id},
            "stages": self.stages.iter().map(stage).collect::<Vec<_>>(),
            "findings": self.findings,
            "says": self.says,
        })
    }
}

impl Judge<'_> {
    fn at(&self, number: usize, before: &[At]) -> At {
        let stage = &self.flow.stages[number];
        let arrivals = self.arrivals[number].clone();
        let mut reach = Reach::of(&stage.topic, self.coverage);
        let known = self.arrivals.iter().flatten().map(|arrival| i64::from(arrival.second) * 1000).min();
        if let Some(since) = self.kept_since_ms
            && arrivals.is_empty()
            && known.is_none_or(|known| known < since)
        {
            reach.gaps.push(beyond_horizon(since));
        }
        let (status, why) = match arrivals.is_empty() {
            false => self.seen(number, &reach),
            true => self.missing(number, before, &reach),
        };
        At { stage: stage.name.clone(), topic: stage.topic.clone(), status, arrivals, reach, why }
    }

    /// Seen, though perhaps not as often as the rule asks for: where an id may come several times, the ledger keeps only
    /// the first, and the audit counts.
    fn seen(&self, number: usize, reach: &Reach) -> (Status, String) {
        let stage = &self.flow.stages[number];
        let wanted = match stage.rule {
            Rule::FanOut(records) => {
                format!(" of its {records} records at {}, looked for {}", stage.name, reach.words())
            }
            _ => return (Status::Seen, String::new()),
        };
        let uncovered = Reach::uncovered(&reach.gaps);
        match self.transaction.waits.filter(|(waits, _)| *waits == number) {
            _ if self.finding(Kind::MissingStage, stage).is_some() => {
                (Status::Lost, format!("not all{wanted}{uncovered}"))
            }
            Some((_, until_ms)) => {
                (Status::Waiting, format!("not yet all{wanted}; they have until {}{uncovered}", utc(until_ms)))
            }
            None => (Status::Seen, String::new()),
        }
    }

    fn missing(&self, number: usize, before: &[At], reach: &Reach) -> (Status, String) {
        let stage = &self.flow.stages[number];
        let (name, words, uncovered) = (&stage.name, reach.words(), Reach::uncovered(&reach.gaps));
        let upstream = stage.after.map(|after| (&self.flow.stages[after], &before[after]));
        if let (Some(finding), Some((cause, _))) = (self.finding(Kind::MissingStage, stage), upstream) {
            let hop = lost(&cause.name, name, finding.grade);
            return (Status::Lost, format!("not at {name}, looked for {words}{uncovered}: {hop}"));
        }
        if let Some((waits, until_ms)) = self.transaction.waits
            && waits == number
        {
            let why = format!("not yet at {name}, looked for {words}; it has until {}{uncovered}", utc(until_ms));
            return (Status::Waiting, why);
        }
        let upstream = upstream.filter(|(_, at)| !at.arrivals.is_empty());
        match upstream {
            Some((cause, at)) => self.after(number, cause, at, reach),
            None => match self.effects(number).next() {
                Some(effect) if reach.gaps.is_empty() || self.finding(Kind::UnexpectedRecord, effect).is_some() => {
                    let why = format!("never at {name}, looked for {words}{uncovered}, though {} saw it", effect.name);
                    (Status::Absent, why)
                }
                Some(_) => (Status::Uncovered, format!("never seen at {name} {words}{uncovered}")),
                None if stage.after.is_none() || before.iter().all(|at| at.arrivals.is_empty()) => {
                    (Status::Uncovered, format!("never seen at {name} {words}{uncovered}"))
                }
                None => (Status::NotReached, format!("so not at {name} either")),
            },
        }
    }

    /// Missing behind a stage that saw it.
    fn after(&self, number: usize, cause: &Stage, at: &At, reach: &Reach) -> (Status, String) {
        let stage = &self.flow.stages[number];
        let (name, words, uncovered) = (&stage.name, reach.words(), Reach::uncovered(&reach.gaps));
        if stage.rule == Rule::Optional {
            return (Status::NotNeeded, format!("not at {name}, which is optional"));
        }
        if let Some(other) = self.chosen(number) {
            return (Status::NotNeeded, format!("not at {name}, since {} was chosen", other.name));
        }
        let seen_ms = at.arrivals.iter().map(|arrival| i64::from(arrival.second) * 1000).max().unwrap_or(i64::MIN);
        let due_ms = seen_ms.saturating_add(stage.deadline_ms);
        match reach.until_ms {
            _ if !reach.gaps.is_empty() => (Status::Uncovered, format!("never seen at {name} {words}{uncovered}")),
            // The ledger keeps times to the second.
            Some(until) if until > due_ms.saturating_add(1000) => {
                let hop = lost(&cause.name, name, Grade::Possible);
                (Status::Lost, format!("not at {name}, looked for {words}: {hop}"))
            }
            _ => (Status::Waiting, format!("not yet at {name}, looked for {words}; it has until {}", utc(due_ms))),
        }
    }

    fn finding(&self, kind: Kind, stage: &Stage) -> Option<&Finding> {
        let is_it = |finding: &&Finding| {
            finding.kind == kind
                && finding.is_open()
                && finding.evidence.get("stage").is_some_and(|s| *s == *stage.name)
        };
        self.transaction.findings.iter().find(is_it)
    }

    /// Stages behind this one that saw it.
    fn effects(&self, number: usize) -> impl Iterator<Item = &Stage> {
        let saw =
            move |(other, stage): &(usize, &Stage)| stage.after == Some(number) && !self.arrivals[*other].is_empty();
        self.flow.stages.iter().enumerate().filter(saw).map(|(_, stage)| stage)
    }

    /// Another branch of the stage's choice that saw it.
    fn chosen(&self, number: usize) -> Option<&Stage> {
        let rule = self.flow.stages[number].rule;
        let mut others = self.flow.stages.iter().enumerate();
        let is_it = |(other, stage): &(usize, &Stage)| {
            *other != number && stage.rule == rule && !self.arrivals[*other].is_empty()
        };
        matches!(rule, Rule::OneOf(_)).then(|| others.find(is_it)).flatten().map(|(_, stage)| stage)
    }
}

/// What every partition has passed less the horizon, where something older was read at all.
pub fn kept_since(coverage: &[Covered], horizon_ms: i64) -> Option<i64> {
    let slowest = coverage.iter().filter_map(|covered| covered.read_until_ms).min()?;
    let begun = coverage.iter().filter_map(|covered| covered.begun_ms).min()?;
    Some(slowest.saturating_sub(horizon_ms)).filter(|since| begun < *since)
}

pub fn beyond_horizon(since_ms: i64) -> String {
    format!("sightings before {}, beyond the horizon", utc(since_ms))
}

fn lost(from: &str, to: &str, grade: Grade) -> String {
    match grade {
        Grade::Proven => format!("lost on the hop {from} → {to}"),
        _ => format!("most likely lost on the hop {from} → {to}"),
    }
}

fn says(stages: &[At], findings: &[Finding]) -> String {
    let seen = |at: &At| {
        let first = at.arrivals.first()?;
        let more = match at.arrivals.len() {
            1 => String::new(),
            all => format!(" and {} more", all - 1),
        };
        let time = utc(i64::from(first.second) * 1000);
        Some(format!("{} ({}[{}]@{}{more}, {time})", at.stage, first.topic, first.partition, first.offset))
    };
    let seen: Vec<String> = stages.iter().filter_map(seen).collect();
    let whys: Vec<&str> = stages.iter().map(|at| at.why.as_str()).filter(|why| !why.is_empty()).collect();
    let is_complete = stages.iter().all(|at| matches!(at.status, Status::Seen | Status::NotNeeded));
    let mut said = match seen.is_empty() {
        true => "no sighting is kept".to_owned(),
        false => format!("seen at {}", seen.join(", ")),
    };
    for why in whys {
        said.push_str("; ");
        said.push_str(why);
    }
    if is_complete {
        said.push_str(": complete");
    }
    for finding in findings {
        let stage = finding.evidence.get("stage").and_then(Value::as_str).unwrap_or_default();
        match finding.kind {
            Kind::StageMismatch => said.push_str(&format!("; {stage} says otherwise than the stage before")),
            Kind::MissingStage if !finding.is_open() => said.push_str(&format!("; late at {stage}")),
            _ => {}
        }
    }
    said
}
