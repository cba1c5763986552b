//! What of all that is known is wrong: from verdicts and findings to what the alerts take in. Pure.

use std::collections::BTreeMap;

use crate::alert::book::Evaluated;
use crate::alert::incident::{Key, Observed};
use crate::audit::finding::{Finding, Grade, Kind, State};
use crate::audit::flows::summary::StageSummary;
use crate::audit::verdict::Report;
use crate::lag::snapshot::{GroupLag, PartitionLag, Snapshot};
use crate::lag::verdict::Verdict;

/// Ids listed with an incident.
const IDS: usize = 5;

/// Kinds that a look at the groups decides.
pub const LAG_KINDS: [&str; 1] = ["lag-*"];

/// How to reach the cluster from a shell, as flags.
#[derive(Clone, Debug)]
pub struct Hint {
    pub brokers: String,
    /// The daemon's settings.
    pub config: String,
}

impl Hint {
    fn lag(&self, group: &str) -> String {
        // A hyphen means something in brackets only.
        let pattern = shell(&regex::escape(group).replace(r"\-", "-"));
        format!("sordini lag -b {} -g {pattern} --partitions", shell(&self.brokers))
    }

    fn flow(&self) -> String {
        format!("sordini flows -c {}", shell(&self.config))
    }

    pub fn drift(&self, pair: &str) -> String {
        format!("sordini drift -c {} --only {}", shell(&self.config), shell(pair))
    }

    fn finding(&self, finding: &Finding) -> String {
        let (brokers, topic) = (shell(&self.brokers), shell(&finding.topic));
        if finding.evidence.contains_key("flow") {
            return match &finding.identity {
                Some(identity) => format!("sordini trace {} -c {}", identity.hash, shell(&self.config)),
                None => self.flow(),
            };
        }
        match (finding.partition, finding.offsets) {
            (Some(partition), Some(span)) => {
                let (from, count) = ((span.from - 2).max(0), (span.len() + 4).min(100));
                format!("kcat -b {brokers} -C -J -t {topic} -p {partition} -o {from} -c {count}")
            }
            _ => format!("sordini audit -b {brokers} -t {topic}"),
        }
    }
}

/// For a POSIX shell.
fn shell(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.,:/@%+=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// A round of lag: one observation per verdict, group and topic, and what could not be looked at.
pub fn lag(snapshot: &Snapshot, hint: &Hint) -> (Evaluated, Vec<Observed>) {
    let mut evaluated = Evaluated::kinds(LAG_KINDS);
    let mut observed = Vec::new();
    for group in &snapshot.groups {
        let name = Some(&*group.group);
        if group.offsets.is_err() && group.judgement.verdict == Verdict::Unknown {
            evaluated.except(name, None, None);
        }
        for partition in group.partitions.iter().filter(|p| p.judgement.verdict == Verdict::Unknown) {
            evaluated.except(name, Some(&partition.topic), Some(partition.partition));
        }
        group_lag(group, hint, &mut observed);
    }
    for marks in &snapshot.partitions {
        let topic = Some(marks.topic.to_string());
        if marks.end.is_err() {
            evaluated.except(None, topic.as_deref(), Some(marks.partition));
        }
        if let Some(judgement) = &marks.hanging {
            observed.push(Observed {
                key: Key {
                    kind: "lag-hanging-transaction".to_owned(),
                    group: None,
                    topic,
                    partition: Some(marks.partition),
                },
                why: judgement.why.clone(),
                amount: 1,
                command: format!(
                    "kafka-transactions.sh --bootstrap-server {} find-hanging --topic {} --partition {}",
                    shell(&hint.brokers),
                    shell(&marks.topic),
                    marks.partition
                ),
                findings: Vec::new(),
                is_event: false,
            });
        }
    }
    (evaluated, observed)
}

fn group_lag(group: &GroupLag, hint: &Hint, observed: &mut Vec<Observed>) {
    let mut by_topic: BTreeMap<(Verdict, &str), Vec<&PartitionLag>> = BTreeMap::new();
    for partition in &group.partitions {
        let verdict = partition.judgement.verdict;
        // What retention took is told as an event below, whether the group has moved on or not.
        if verdict.is_bad() && verdict != Verdict::Lost {
            by_topic.entry((verdict, &partition.topic)).or_default().push(partition);
        }
        if partition.lost_total > 0 {
            by_topic.entry((Verdict::Lost, &partition.topic)).or_default().push(partition);
        }
    }
    let name = group.group.to_string();
    let observe = |verdict: Verdict, topic: Option<&str>, why: String, amount: i64| Observed {
        key: Key {
            kind: format!("lag-{}", verdict.name()),
            group: Some(name.clone()),
            topic: topic.map(str::to_owned),
            partition: None,
        },
        why,
        amount,
        command: hint.lag(&group.group),
        findings: Vec::new(),
        is_event: verdict == Verdict::Lost,
    };
    for ((verdict, topic), partitions) in &by_topic {
        let (why, amount) = match verdict {
            Verdict::Lost => {
                let lost: i64 = partitions.iter().map(|p| p.lost_total).sum();
                (format!("retention deleted {lost} offsets of {topic} before group {name} read them"), lost)
            }
            _ => (why(topic, partitions), partitions.iter().filter_map(|p| p.lag.ok()).sum::<i64>().max(1)),
        };
        observed.push(observe(*verdict, Some(topic), why, amount));
    }
    let judgement = &group.judgement;
    if matches!(judgement.verdict, Verdict::Gone | Verdict::Absent | Verdict::Flapping)
        && by_topic.keys().all(|(verdict, _)| *verdict != judgement.verdict)
    {
        let amount = group.lag.unwrap_or(1).max(1);
        observed.push(observe(judgement.verdict, None, judgement.why.clone(), amount));
    }
}

/// The worst one's reason, and how many share the verdict.
fn why(topic: &str, partitions: &[&PartitionLag]) -> String {
    let Some(worst) = partitions.iter().max_by_key(|p| p.lag.unwrap_or(0)) else { return String::new() };
    let one = format!("{topic}[{}]: {}", worst.partition, worst.judgement.why);
    match partitions.len() {
        1 => one,
        more => format!("{more} partitions, such as {one}"),
    }
}

/// Kinds that audits decide.
pub fn audit_kinds() -> impl Iterator<Item = &'static str> {
    Kind::of_audits().map(Kind::name).chain([BURNING])
}

/// An error budget that burns too fast, of one hop.
pub const BURNING: &str = "slo-burn";

/// Hops of a flow whose error budget burns.
fn burning(report: &Report, hint: &Hint) -> Vec<Observed> {
    let Some(flow) = &report.summary.flow else { return Vec::new() };
    let observe = |stage: &StageSummary| {
        let burn = stage.hop.as_ref()?.burn.as_ref().filter(|burn| burn.is_burning)?;
        let fastest = [burn.m5, burn.m30, burn.h1, burn.h6].into_iter().flatten().fold(0.0, f64::max);
        let why = format!(
            "flow {}: the error budget of {} % at {} burns up to {fastest:.1} times faster than allowed",
            flow.flow,
            burn.objective * 100.0,
            stage.stage
        );
        Some(trouble(BURNING, &stage.topic, why, hint.flow()))
    };
    flow.stages.iter().filter_map(observe).collect()
}

/// The open, proven findings of one audit: one observation per kind and topic. What is merely possible waits until it is
/// certain, or until it is late.
pub fn findings(report: &Report, hint: &Hint) -> Vec<Observed> {
    let mut groups: BTreeMap<(Kind, &str), Vec<&Finding>> = BTreeMap::new();
    for finding in &report.findings {
        let is_certain = finding.grade == Grade::Proven || finding.kind == Kind::AuditGap;
        if finding.state == State::Open && is_certain {
            groups.entry((finding.kind, &finding.topic)).or_default().push(finding);
        }
    }
    let observe = |((kind, topic), findings): ((Kind, &str), Vec<&Finding>)| {
        let amount: u64 = findings.iter().map(|finding| finding.count.max(1)).sum();
        let latest = findings[findings.len() - 1];
        Observed {
            key: Key { kind: kind.name().to_owned(), group: None, topic: Some(topic.to_owned()), partition: None },
            why: match findings.len() {
                1 => latest.why.clone(),
                more => format!("{more} findings on {topic}, {amount} records in all; the last: {}", latest.why),
            },
            amount: i64::try_from(amount).unwrap_or(i64::MAX),
            command: hint.finding(latest),
            findings: findings.iter().rev().take(IDS).map(|finding| finding.id.clone()).collect(),
            is_event: true,
        }
    };
    groups.into_iter().map(observe).chain(burning(report, hint)).collect()
}

/// What the stores of a pair differ in: one observation per kind, under the name of the pair. It lasts until it heals.
pub fn drift(pair: &str, report: &Report, hint: &Hint) -> Vec<Observed> {
    let mut kinds: BTreeMap<Kind, Vec<&Finding>> = BTreeMap::new();
    for finding in report.findings.iter().filter(|finding| finding.is_open()) {
        let is_of_stores = Kind::OF_STORES.contains(&finding.kind);
        let is_certain = finding.grade == Grade::Proven || is_of_stores;
        if is_certain && !finding.evidence.contains_key("confirmed") {
            kinds.entry(finding.kind).or_default().push(finding);
        }
    }
    let observe = |(kind, findings): (Kind, Vec<&Finding>)| {
        let amount: u64 = findings.iter().map(|finding| finding.count.max(1)).sum();
        let oldest = findings.iter().min_by_key(|finding| finding.first_seen).copied().unwrap_or(findings[0]);
        let why = match findings.len() {
            1 => format!("{pair}: {}", oldest.why),
            more => format!("{pair}: {more} findings; the oldest: {}", oldest.why),
        };
        Observed {
            key: Key { kind: kind.name().to_owned(), group: None, topic: Some(pair.to_owned()), partition: None },
            why,
            amount: i64::try_from(amount).unwrap_or(i64::MAX),
            command: hint.drift(pair),
            findings: findings.iter().take(IDS).map(|finding| finding.id.clone()).collect(),
            is_event: !Kind::OF_STORES.contains(&kind),
        }
    };
    kinds.into_iter().map(observe).collect()
}

/// Trouble of sordini's own.
pub fn trouble(kind: &str, part: &str, why: String, command: String) -> Observed {
    Observed {
        key: Key { kind: kind.to_owned(), group: None, topic: Some(part.to_owned()), partition: None },
        why,
        amount: 1,
        command,
        findings: Vec::new(),
        is_event: false,
    }
}
