//! The findings of flows. A finding's id is derived from flow, stage and transaction, so the same one is never told twice.

use serde_json::{Value, json};

use super::StageClock;
use super::open::{Open, Sight};
use super::plan::{Flow, Rule};
use crate::audit::duplicates::Names;
use crate::audit::finding::{Finding, Grade, Identity, Kind, Rung, Sighting, State, derive_id};
use crate::report::format::duration;

/// Lanes of a sight's hash that tell which part differs.
const LANES: usize = 4;

/// A finding about a transaction at a stage.
fn finding(flow: &Flow, kind: Kind, id: u128, stage: usize, value: Option<&String>, why: String) -> Finding {
    let at = &flow.stages[stage];
    let hash = format!("{id:032x}");
    let mut finding = Finding::new(kind, &at.topic, &[&flow.name, &at.name, &hash], why);
    finding.identity = Some(Identity { rung: Rung::Id, hash, value: value.cloned() });
    finding.evidence("flow", flow.name.as_str()).evidence("stage", at.name.as_str())
}

/// Ids of all findings that may have been told of a transaction.
pub fn ids(flow: &Flow, id: u128) -> Vec<String> {
    let hash = format!("{id:032x}");
    let kinds = [Kind::MissingStage, Kind::UnexpectedRecord, Kind::StageMismatch];
    let of = |kind| flow.stages.iter().map(move |at| (kind, at));
    let all = kinds.into_iter().flat_map(of);
    all.map(|(kind, at)| derive_id(kind, &at.topic, &[&flow.name, &at.name, &hash])).collect()
}

fn sighting(sight: &Sight, names: &dyn Names) -> Sighting {
    let (topic, partition) = names.name(sight.partition);
    Sighting::new(topic, partition, sight.offset, sight.timestamp, sight.checksum)
}

fn seen(finding: &mut Finding, sights: &[Sight], names: &dyn Names) {
    let mut sights: Vec<&Sight> = sights.iter().collect();
    sights.sort_by_key(|sight| (sight.timestamp, sight.stage));
    finding.first_seen = sights.first().map(|sight| sight.timestamp);
    finding.last_seen = sights.last().map(|sight| sight.timestamp);
    finding.sightings = sights.into_iter().map(|sight| sighting(sight, names)).collect();
}

fn place(sight: &Sight, names: &dyn Names) -> String {
    let (topic, partition) = names.name(sight.partition);
    format!("{topic}[{partition}]@{}", sight.offset)
}

fn ms(ms: i64) -> String {
    duration(ms.max(0).unsigned_abs())
}

/// The stage before the missing one: the loss lies on the one hop between them.
fn upstream_of(flow: &Flow, open: &Open, stage: usize) -> Option<Sight> {
    flow.stages[stage].after.and_then(|after| open.at(after)).copied()
}

fn lost(
    flow: &Flow,
    id: u128,
    stage: usize,
    open: &Open,
    value: Option<&String>,
    names: &dyn Names,
    how: &str,
) -> Finding {
    let at = &flow.stages[stage];
    let upstream = upstream_of(flow, open, stage);
    let (before, from) = match &upstream {
        Some(sight) => (flow.stages[usize::from(sight.stage)].name.as_str(), place(sight, names)),
        None => ("nowhere", String::new()),
    };
    let part = match (open.at(stage), at.rule) {
        (Some(here), Rule::FanOut(records)) => format!("; {} of its {records} records did", here.count),
        _ => String::new(),
    };
    let why = format!("a transaction that {before} saw ({from}) {how} {}{part}", at.name);
    let mut finding = finding(flow, Kind::MissingStage, id, stage, value, why)
        .evidence("last_stage", before)
        .evidence("deadline_ms", at.deadline_ms);
    if let Some(number) = upstream.and_then(|sight| sight.number) {
        finding = finding.evidence("number", number);
    }
    if let Some(sight) = upstream {
        finding = finding.evidence("rank", sight.rank);
    }
    let later: Vec<&str> = open
        .sights
        .iter()
        .map(|sight| usize::from(sight.stage))
        .filter(|&other| other > stage)
        .map(|other| flow.stages[other].name.as_str())
        .collect();
    if !later.is_empty() {
        finding.why.push_str(&format!(", though {} did", later.join(", ")));
        finding = finding.evidence("later_stages", json!(later));
    }
    seen(&mut finding, &open.sights, names);
    finding
}

/// Nothing more can be expected.
pub fn missing(
    flow: &Flow,
    id: u128,
    stage: usize,
    open: &Open,
    clock: &StageClock,
    value: Option<&String>,
    names: &dyn Names,
) -> Finding {
    let how = format!("did not reach within {}", ms(flow.stages[stage].deadline_ms));
    let how = how.replace("reach within", "arrive within");
    let mut finding = lost(flow, id, stage, open, value, names, &format!("{how} at"));
    if !clock.is_whole {
        finding.grade = Grade::Possible;
        finding.why.push_str("; a part of that topic could not be read");
    }
    finding
}

/// Still within its time.
pub fn pending(flow: &Flow, id: u128, stage: usize, open: &Open, value: Option<&String>, names: &dyn Names) -> Finding {
    let mut finding = lost(flow, id, stage, open, value, names, "has not yet arrived at");
    finding.grade = Grade::Possible;
    finding
}

/// It was missing, and came.
#[allow(clippy::too_many_arguments)]
pub fn arrived(
    flow: &Flow,
    id: u128,
    stage: usize,
    upstream: &Sight,
    sight: &Sight,
    value: Option<&String>,
    names: &dyn Names,
) -> Finding {
    let open = Open { sights: [*upstream].into_iter().collect() };
    let late = ms(sight.timestamp.saturating_sub(upstream.timestamp));
    let mut finding =
        lost(flow, id, stage, &open, value, names, &format!("arrived {late} later, after its deadline, at"));
    finding.state = State::Resolved;
    finding.cause = Some("late".to_owned());
    seen(&mut finding, &[*upstream, *sight], names);
    finding
}

/// `clock` is that of the upstream stage once nothing more can be expected of it.
#[allow(clippy::too_many_arguments)]
pub fn causeless(
    flow: &Flow,
    id: u128,
    stage: usize,
    upstream: usize,
    effect: &Sight,
    clock: Option<&StageClock>,
    value: Option<&String>,
    names: &dyn Names,
) -> Finding {
    let (here, cause) = (&flow.stages[stage].name, &flow.stages[upstream].name);
    let never = if clock.is_some() { "never did" } else { "has not yet" };
    let why = format!("{here} saw a transaction ({}) that {cause} {never}", place(effect, names));
    let mut finding =
        finding(flow, Kind::UnexpectedRecord, id, stage, value, why).evidence("expected_stage", cause.as_str());
    finding.cause = Some("no-cause".to_owned());
    match clock {
        Some(clock) if clock.is_whole => {}
        Some(_) => {
            finding.grade = Grade::Possible;
            finding.why.push_str("; a part of that topic could not be read");
        }
        None => finding.grade = Grade::Possible,
    }
    seen(&mut finding, &[*effect], names);
    finding
}

/// Some effects lie before their causes, most do not.
pub fn early(flow: &Flow, stage: usize, early: u64, matched: u64) -> Finding {
    let at = &flow.stages[stage];
    let cause = at.after.map_or("nothing", |after| flow.stages[after].name.as_str());
    let why = format!(
        "{early} of {matched} transactions carry a time at {} that lies more than {} before that at {cause}: an effect before its cause, or a clock that is off",
        at.name,
        ms(flow.clock_bound_ms)
    );
    let mut finding = Finding::new(Kind::UnexpectedRecord, &at.topic, &[&flow.name, &at.name, &"early"], why);
    finding.grade = Grade::Possible;
    finding.count = early;
    finding.cause = Some("effect-before-cause".to_owned());
    finding.evidence("flow", flow.name.as_str()).evidence("stage", at.name.as_str())
}

#[allow(clippy::too_many_arguments)]
pub fn mismatch(
    flow: &Flow,
    id: u128,
    cause: &Sight,
    effect: &Sight,
    differs: bool,
    unbalanced: bool,
    value: Option<&String>,
    names: &dyn Names,
) -> Finding {
    let stage = usize::from(effect.stage);
    let (here, there) = (&flow.stages[stage], &flow.stages[usize::from(cause.stage)]);
    let mut parts: Vec<String> = Vec::new();
    let mut columns = serde_json::Map::new();
    if differs {
        let lane = |sight: &Sight, n: usize| (sight.lanes >> (8 * (n % LANES))) as u8;
        let named: Vec<&String> = here
            .agree
            .iter()
            .enumerate()
            .filter(|(n, _)| lane(cause, *n) != lane(effect, *n))
            .map(|(_, name)| name)
            .collect();
        let named = if named.is_empty() { here.agree.iter().collect() } else { named };
        for name in named {
            parts.push(name.clone());
            let hash = |sight: &Sight| Value::from(format!("#{:016x}", sight.agree));
            columns.insert(name.clone(), json!({"expected": hash(cause), "actual": hash(effect)}));
        }
    }
    if unbalanced && let (Some(expected), Some(actual)) = (cause.amount, effect.amount) {
        parts.push(format!("amount {} against {}", decimal(expected), decimal(actual)));
        columns.insert("amount".to_owned(), json!({"expected": decimal(expected), "actual": decimal(actual)}));
    }
    let why = format!(
        "{} ({}) and {} ({}) disagree on one transaction: {}",
        there.name,
        place(cause, names),
        here.name,
        place(effect, names),
        parts.join(", ")
    );
    let mut finding = finding(flow, Kind::StageMismatch, id, stage, value, why).evidence("columns", columns);
    finding.cause = Some(if differs { "content" } else { "amount" }.to_owned());
    seen(&mut finding, &[*cause, *effect], names);
    finding
}

/// Millionths as a decimal number.
fn decimal(amount: i64) -> String {
    let (whole, part) = (amount / 1_000_000, (amount % 1_000_000).unsigned_abs());
    let sign = if amount < 0 && whole == 0 { "-" } else { "" };
    let text = format!("{sign}{whole}.{part:06}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
