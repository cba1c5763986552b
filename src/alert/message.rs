//! What a sink is told: a batch in words and plain values. Its fields are what templates, webhooks and commands see, so
//! they are added to, never renamed; absent ones are null, so that a template can ask for them.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;

use super::book::worst;
use super::incident::{Acknowledged, Incident, Key, Observed, Severity};
use super::outbox::{Batch, News, Notice};

/// More are only counted.
const SHOWN: usize = 10;

/// Who speaks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Place {
    pub cluster: String,
    pub instance: String,
    /// Where the page is, as others reach it; may be empty.
    pub external_url: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct Message {
    /// The same whenever the same message is sent again.
    pub id: String,
    /// `open` when anything in it is, else `resolved`.
    pub status: &'static str,
    /// Of the worst in it.
    pub severity: Severity,
    /// One line.
    pub summary: String,
    pub cluster: String,
    pub instance: String,
    pub external_url: String,
    /// What all have in common; null when they differ.
    pub kind: Option<String>,
    pub topic: Option<String>,
    pub group: Option<String>,
    pub opened: usize,
    pub worse: usize,
    pub reminders: usize,
    pub resolved: usize,
    /// The first few.
    pub incidents: Vec<Item>,
    /// How many are not among the first few.
    pub more: usize,
}

#[derive(Clone, Debug, Serialize)]
pub struct Item {
    pub id: String,
    pub news: News,
    pub kind: String,
    pub group: Option<String>,
    pub topic: Option<String>,
    pub partition: Option<i32>,
    pub severity: Severity,
    /// What it is about, in words.
    pub about: String,
    pub why: String,
    pub amount: i64,
    pub command: String,
    pub findings: Vec<String>,
    pub runbook: Option<String>,
    /// The incident on the page.
    pub url: Option<String>,
    pub since: String,
    pub opened: Option<String>,
    pub resolved: Option<String>,
    pub acknowledged: Option<Acknowledged>,
}

impl Message {
    pub fn new(batch: &Batch, place: &Place) -> Self {
        let notices = &batch.notices;
        let count = |news| notices.iter().filter(|notice| notice.news == news).count();
        let (opened, worse) = (count(News::Opened), count(News::Worse));
        let (reminders, resolved) = (count(News::Reminder), count(News::Resolved));
        let severity = worst(notices.iter().map(|notice| &notice.incident));
        // What is open first, and of that the worst.
        let mut order: Vec<&Notice> = notices.iter().collect();
        order.sort_by_key(|n| (n.news == News::Resolved, std::cmp::Reverse(n.incident.severity)));
        let keys = || notices.iter().map(|notice| &notice.incident.observed.key);
        let mut message = Self {
            id: batch.id.clone(),
            status: if resolved == notices.len() { "resolved" } else { "open" },
            severity,
            summary: String::new(),
            cluster: place.cluster.clone(),
            instance: place.instance.clone(),
            external_url: place.external_url.clone(),
            kind: common(keys().map(|key| Some(&key.kind))),
            topic: common(keys().map(|key| key.topic.as_ref())),
            group: common(keys().map(|key| key.group.as_ref())),
            opened,
            worse,
            reminders,
            resolved,
            more: notices.len().saturating_sub(SHOWN),
            incidents: order.into_iter().take(SHOWN).map(|notice| Item::new(notice, place)).collect(),
        };
        message.summary = message.summarize(notices);
        message
    }

    fn summarize(&self, notices: &[Notice]) -> String {
        if let [notice] = notices {
            let item = Item::new(notice, &self.place());
            let word = match notice.news {
                News::Opened => item.severity.name(),
                News::Worse => "worse",
                News::Reminder => "still open",
                News::Resolved => "resolved",
            };
            return format!("[{word}] {}: {}", item.about, item.why);
        }
        let counts = [
            (self.opened, "opened"),
            (self.worse, "got worse"),
            (self.reminders, "still open"),
            (self.resolved, "resolved"),
        ];
        let counts: Vec<_> = counts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        notices.iter().for_each(|notice| *kinds.entry(&notice.incident.observed.key.kind).or_default() += 1);
        let mut kinds: Vec<(&str, usize)> = kinds.into_iter().collect();
        kinds.sort_by_key(|&(kind, n)| (std::cmp::Reverse(n), kind));
        let what = match kinds[..] {
            [(kind, _)] => about(kind, self.group.as_deref(), self.topic.as_deref(), None),
            _ => kinds.iter().map(|(kind, n)| format!("{kind} {n}")).collect::<Vec<_>>().join(", "),
        };
        let word = if self.status == "resolved" { "resolved" } else { self.severity.name() };
        format!("[{word}] {} incidents ({}): {what}", notices.len(), counts.join(", "))
    }

    fn place(&self) -> Place {
        Place {
            cluster: self.cluster.clone(),
            instance: self.instance.clone(),
            external_url: self.external_url.clone(),
        }
    }
}

impl Item {
    fn new(notice: &Notice, place: &Place) -> Self {
        let incident = &notice.incident;
        let Key { kind, group, topic, partition } = incident.observed.key.clone();
        Self {
            id: incident.id.clone(),
            news: notice.news,
            about: about(&kind, group.as_deref(), topic.as_deref(), partition),
            kind,
            group,
            topic,
            partition,
            severity: incident.severity,
            why: incident.observed.why.clone(),
            amount: incident.observed.amount,
            command: incident.observed.command.clone(),
            findings: incident.observed.findings.clone(),
            runbook: incident.runbook.clone(),
            url: link(place, &incident.id),
            since: rfc3339(incident.since_ms),
            opened: incident.opened_ms.map(rfc3339),
            resolved: incident.resolved_ms.map(rfc3339),
            acknowledged: incident.acknowledged.clone(),
        }
    }
}

/// `lag-stop, group billing, orders/3`.
pub(super) fn about(kind: &str, group: Option<&str>, topic: Option<&str>, partition: Option<i32>) -> String {
    let mut text = kind.to_owned();
    if let Some(group) = group {
        text += &format!(", group {group}");
    }
    match (topic, partition) {
        (Some(topic), Some(partition)) => text += &format!(", {topic}/{partition}"),
        (Some(topic), None) => text += &format!(", topic {topic}"),
        (None, _) => {}
    }
    text
}

/// The incident on the page.
pub(super) fn link(place: &Place, id: &str) -> Option<String> {
    let base = place.external_url.trim_end_matches('/');
    (!base.is_empty()).then(|| format!("{base}/incidents/{id}"))
}

pub(super) fn rfc3339(ms: i64) -> String {
    let time = UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    humantime::format_rfc3339_millis(time).to_string()
}

fn common<'a>(mut values: impl Iterator<Item = Option<&'a String>>) -> Option<String> {
    let first = values.next()??;
    values.all(|value| value == Some(first)).then(|| first.clone())
}

/// Batches as hard to render as any that will come: with everything and with nothing, one and many, open and resolved,
/// and values that break what does not escape them.
pub(super) fn samples() -> Vec<Batch> {
    let nasty = "a \"quoted\" \\ name\n<b>&amp; {{ x }} é";
    let incident = |is_full: bool, resolved_ms| Incident {
        id: "0123456789abcdef".to_owned(),
        observed: Observed {
            key: Key {
                kind: "lag-stop".to_owned(),
                group: is_full.then(|| nasty.to_owned()),
                topic: is_full.then(|| nasty.to_owned()),
                partition: is_full.then_some(3),
            },
            why: format!("no commit for 5 minutes, 1,204 to read {nasty}"),
            amount: 1_204,
            command: "sordini lag -b kafka:9092 -g billing".to_owned(),
            findings: if is_full { vec!["f1".to_owned()] } else { vec![] },
            is_event: false,
        },
        severity: Severity::Critical,
        since_ms: 1_790_000_000_000,
        opened_ms: Some(1_790_000_120_000),
        updated_ms: 1_790_000_120_000,
        resolved_ms,
        acknowledged: None,
        muted_until_ms: None,
        route: vec![],
        runbook: is_full.then(|| "https://example.org/runbook".to_owned()),
    };
    let notice = |news, is_full| Notice {
        key: "0123456789abcdef-1".to_owned(),
        news,
        at_ms: 1_790_000_120_000,
        incident: incident(is_full, (news == News::Resolved).then_some(1_790_000_500_000)),
    };
    let batch = |notices: Vec<Notice>| Batch { id: "0123456789abcdef-1".to_owned(), notices, attempts: 0, next_ms: 0 };
    vec![
        batch(vec![notice(News::Opened, true)]),
        batch(vec![notice(News::Opened, false)]),
        batch(vec![notice(News::Resolved, true)]),
        batch((0..12).map(|n| notice(if n % 2 == 0 { News::Worse } else { News::Resolved }, n % 3 == 0)).collect()),
    ]
}
