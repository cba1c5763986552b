//! Alertmanager by its API v2. An alert is known by its labels there, so sent twice it is one; it is taken for resolved
//! when its `endsAt` passes, so open ones are posted again and again.

use std::collections::BTreeMap;

use serde::Serialize;
use ureq::http::{Method, Uri};

use super::http::{self, Client};
use super::{DEFAULT_TIMEOUT, Sink};
use crate::alert::error::{AlertError, Result};
use crate::alert::incident::{Incident, Key};
use crate::alert::message::{Place, about, link, rfc3339};
use crate::alert::outbox::{Batch, Failure};
use crate::config::alert::AlertmanagerFile;

/// Alerts of one post.
const MOST: usize = 500;

pub struct Alertmanager {
    client: Client,
    url: Uri,
    place: Place,
    labels: BTreeMap<String, String>,
    refresh_ms: i64,
    beat_ms: i64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    #[serde(rename = "generatorURL", skip_serializing_if = "Option::is_none")]
    generator_url: Option<String>,
    starts_at: String,
    ends_at: String,
}

impl Alertmanager {
    pub fn new(file: &AlertmanagerFile, place: &Place, refresh_ms: i64, beat_ms: i64) -> Result<Self> {
        let failed = |what: String| AlertError::sink(&file.name, what);
        let base = file.url.trim_end_matches('/').trim_end_matches("/api/v2/alerts");
        if let Some(label) = file.labels.keys().find(|label| !is_label(label)) {
            return Err(failed(format!("\"{label}\" is no name for a label; use letters, digits and _")));
        }
        let client = Client::new(file.timeout.unwrap_or(DEFAULT_TIMEOUT), file.ca_file.as_deref())
            .and_then(|client| {
                client.with_auth(file.username.as_deref(), file.password_file.as_ref(), file.bearer_file.as_ref())
            })
            .map_err(failed)?;
        Ok(Self {
            client,
            url: http::url(&format!("{base}/api/v2/alerts")).map_err(failed)?,
            place: place.clone(),
            labels: file.labels.clone(),
            refresh_ms,
            beat_ms,
        })
    }

    fn common(&self, name: String, severity: &str) -> BTreeMap<String, String> {
        let mut labels = self.labels.clone();
        labels.insert("alertname".to_owned(), name);
        labels.insert("severity".to_owned(), severity.to_owned());
        labels.insert("cluster".to_owned(), self.place.cluster.clone());
        labels.insert("instance".to_owned(), self.place.instance.clone());
        labels
    }

    fn alert(&self, incident: &Incident, now_ms: i64) -> Alert {
        let Key { kind, group, topic, partition } = &incident.observed.key;
        let mut labels = self.common(alert_name(kind), incident.severity.name());
        labels.insert("kind".to_owned(), kind.clone());
        let partition = partition.map(|partition| partition.to_string());
        for (name, value) in [("group", group), ("topic", topic), ("partition", &partition)] {
            labels.extend(value.clone().map(|value| (name.to_owned(), value)));
        }
        let summary = about(kind, group.as_deref(), topic.as_deref(), incident.observed.key.partition);
        let texts = [
            ("summary", Some(summary)),
            ("description", Some(incident.observed.why.clone())),
            ("command", Some(incident.observed.command.clone())),
            ("runbook_url", incident.runbook.clone()),
            ("incident", Some(incident.id.clone())),
        ];
        let annotations = texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?))).collect();
        // Some rounds may be missed before it is taken for resolved.
        let ends_ms = incident.resolved_ms.unwrap_or_else(|| now_ms.saturating_add(self.refresh_ms.saturating_mul(4)));
        let starts_ms = incident.opened_ms.unwrap_or(incident.since_ms);
        Alert {
            labels,
            annotations,
            generator_url: link(&self.place, &incident.id),
            starts_at: rfc3339(starts_ms),
            // An end before the beginning, after the clock was set, would be refused.
            ends_at: rfc3339(ends_ms.max(starts_ms)),
        }
    }

    fn post(&self, alerts: &[Alert]) -> std::result::Result<(), Failure> {
        let body = serde_json::to_vec(alerts).map_err(|error| Failure::Never { why: error.to_string() })?;
        let headers = [("Content-Type".to_owned(), "application/json".to_owned())];
        self.client.send(&Method::POST, &self.url, &headers, &body)
    }
}

impl Sink for Alertmanager {
    fn send(&self, batch: &Batch, now_ms: i64) -> std::result::Result<(), Failure> {
        let alerts: Vec<Alert> = batch.notices.iter().map(|notice| self.alert(&notice.incident, now_ms)).collect();
        self.post(&alerts)
    }

    fn refresh(&self, open: &[Incident], now_ms: i64) -> std::result::Result<(), Failure> {
        for some in open.chunks(MOST) {
            let alerts: Vec<Alert> = some.iter().map(|incident| self.alert(incident, now_ms)).collect();
            self.post(&alerts)?;
        }
        Ok(())
    }

    /// Fires as long as sordini observes. A route that expects it tells when it stops.
    fn beat(&self, now_ms: i64) -> std::result::Result<(), Failure> {
        let summary = "sordini observes; when this alert ends, it does not".to_owned();
        self.post(&[Alert {
            labels: self.common("SordiniHeartbeat".to_owned(), "none"),
            annotations: BTreeMap::from([("summary".to_owned(), summary)]),
            generator_url: Some(self.place.external_url.clone()).filter(|url| !url.is_empty()),
            starts_at: rfc3339(now_ms),
            ends_at: rfc3339(now_ms.saturating_add(self.beat_ms.saturating_mul(3))),
        }])
    }
}

/// `lag-stop` is `SordiniLagStop`.
fn alert_name(kind: &str) -> String {
    let words = kind.split('-').map(|word| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
    });
    words.fold("Sordini".to_owned(), |name, word| name + &word)
}

fn is_label(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
