//! Findings of groups that do not obey their law.

use serde_json::{Map, Value, json};

use super::judge::{Imbalance, Judged, Store};
use super::law::Bound;
use super::total::Group;
use crate::audit::drift::{DriftSummary, LawSummary};
use crate::audit::finding::{Finding, Kind, derive_id};
use crate::drift::say::quoted;
use crate::drift::{Settings, note};

/// `stores`: the first one and the second one, as sentences name them.
pub fn finding(settings: &Settings, law: &Bound, wrong: &Imbalance, stores: [&str; 2], topic: &str) -> Finding {
    let shown = |text: &str| match &settings.redact {
        Some(redaction) => json!(redaction.of(text)),
        None => json!(text),
    };
    let values = wrong.group.iter().map(|text| text.as_deref().map_or(Value::Null, shown));
    let group: Map<String, Value> = law.names.iter().cloned().zip(values).collect();
    let words: Vec<String> = group.iter().map(|(name, value)| format!("{name} {}", quoted(value))).collect();
    let (expected, actual) = (wrong.expected.to_string(), wrong.actual.to_string());
    let of = &law.of;
    let says = match wrong.of {
        _ if settings.redact.is_some() => format!("{of} is not as \"{}\" demands", law.text),
        None => format!("{of} is {expected} in {} and {actual} in {}", stores[0], stores[1]),
        Some(store) => format!("{of} is {actual} in {}, and must be 0", stores[usize::from(store == Store::Second)]),
    };
    let part = match settings.part {
        part if part.is_whole() => None,
        part => Some(format!("{} of {}", part.index + 1, part.of)),
    };
    let says = part.iter().fold(says, |says, part| format!("{says}, in part {part} of the rows"));
    let why = if words.is_empty() { says } else { format!("{}: {says}", words.join(", ")) };
    let identity = identity(settings, &wrong.group, wrong.of);
    let mut finding = Finding::new(Kind::Imbalance, topic, &[&stores[1], &law.text, &identity], why);
    let mut sides = Map::new();
    sides.insert("expected".to_owned(), shown(&expected));
    sides.insert("actual".to_owned(), shown(&actual));
    finding.columns = Some([(of.clone(), Value::Object(sides))].into_iter().collect());
    finding.evidence.insert("law".to_owned(), json!(law.text));
    if !group.is_empty() {
        finding.evidence.insert("group".to_owned(), Value::Object(group));
    }
    if let Some(part) = part {
        finding.evidence.insert("part".to_owned(), json!(part));
    }
    if let Some(store) = wrong.of {
        finding.evidence.insert("store".to_owned(), json!(stores[usize::from(store == Store::Second)]));
    } else if settings.redact.is_none() && wrong.expected.not_finite == 0 && wrong.actual.not_finite == 0 {
        let difference = (&wrong.actual.sum - &wrong.expected.sum).to_plain_string();
        finding.evidence.insert("difference".to_owned(), json!(difference));
    }
    finding
}

/// The same group of the same part is the same finding, whatever it adds up to today.
fn identity(settings: &Settings, group: &Group, of: Option<Store>) -> String {
    format!("{group:?}\u{1f}{of:?}\u{1f}{:?}", settings.part)
}

/// What became of each law.
pub fn count(
    settings: &Settings,
    laws: &[Bound],
    judged: &Judged,
    stores: [&str; 2],
    topic: &str,
    summary: &mut DriftSummary,
) {
    let of = |(index, law): (usize, &Bound)| LawSummary {
        law: law.text.clone(),
        groups: judged.groups.get(index).copied().unwrap_or(0),
        wrong: judged.wrong.iter().filter(|wrong| wrong.law == index).count() as u64,
        moving: judged.moving.iter().filter(|(law, _)| *law == index).count() as u64,
        unjudged: judged.unjudged(index).map(str::to_owned),
    };
    summary.laws = laws.iter().enumerate().map(of).collect();
    let unjudged = summary.laws.iter().filter(|law| law.unjudged.is_some()).count();
    note(&mut summary.unverifiable, "laws", unjudged as u64);
    for (law, group) in &judged.moving {
        for of in [None, Some(Store::First), Some(Store::Second)] {
            let identity = identity(settings, group, of);
            let id = derive_id(Kind::Imbalance, topic, &[&stores[1], &laws[*law].text, &identity]);
            summary.undecided.sums.insert(id);
        }
    }
}
