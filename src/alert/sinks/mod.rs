//! The ways to tell: each takes a batch and says whether it was taken. A sink must not know what is queued, and does not
//! try again by itself.

pub mod alertmanager;
pub mod command;
pub mod email;
pub mod http;
pub mod slack;
mod template;
#[cfg(test)]
mod tests;
pub mod webhook;

use std::path::PathBuf;
use std::time::Duration;

use super::error::{AlertError, Result};
use super::incident::Incident;
use super::message::Place;
use super::outbox::{Batch, Failure, Manner};
use super::rules::millis;
use crate::config::alert::AlertFile;

pub trait Sink: Send {
    fn send(&self, batch: &Batch, now_ms: i64) -> std::result::Result<(), Failure>;

    /// Says again what is open, to a sink that forgets.
    fn refresh(&self, _open: &[Incident], _now_ms: i64) -> std::result::Result<(), Failure> {
        Ok(())
    }

    /// A sign of life.
    fn beat(&self, _now_ms: i64) -> std::result::Result<(), Failure> {
        Ok(())
    }
}

/// A sink as configured, with how it is to be spoken to.
pub struct Configured {
    pub name: String,
    pub kind: &'static str,
    pub sink: Box<dyn Sink>,
    pub manner: Manner,
    pub refresh_ms: Option<i64>,
    pub beat_ms: Option<i64>,
}

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const MINUTE: Duration = Duration::from_secs(60);

/// Builds and checks all sinks: files are read, templates are rendered; nothing is sent.
pub fn build(file: &AlertFile, place: &Place) -> Result<Vec<Configured>> {
    let manner = Manner {
        wait_ms: millis(file.group_wait.unwrap_or(Duration::from_secs(10))),
        interval_ms: millis(file.group_interval.unwrap_or(MINUTE)),
        repeat_ms: millis(file.repeat_interval.unwrap_or(MINUTE * 240)),
        collapse: file.collapse.unwrap_or(5),
        most: None,
    };
    if manner.collapse < 2 {
        return Err(AlertError::Setting {
            setting: "collapse",
            what: "below 2 nothing is left to collapse".to_owned(),
        });
    }
    let beat = file.heartbeat.as_ref().and_then(|heartbeat| heartbeat.interval).unwrap_or(MINUTE);
    let mut all: Vec<Configured> = Vec::new();
    let mut add = |name: &str, kind, sink: Box<dyn Sink>| {
        all.push(Configured {
            name: name.to_owned(),
            kind,
            sink,
            manner: manner.clone(),
            refresh_ms: None,
            beat_ms: None,
        });
    };
    for sink in &file.webhook {
        add(&sink.name, "webhook", Box::new(webhook::Webhook::new(sink, place)?));
    }
    for sink in &file.slack {
        add(&sink.name, "slack", Box::new(slack::Slack::new(sink, place)?));
    }
    for sink in &file.email {
        add(&sink.name, "email", Box::new(email::Email::new(sink, place)?));
    }
    for sink in &file.command {
        add(&sink.name, "command", Box::new(command::Command::new(sink, place)?));
    }
    for sink in &file.alertmanager {
        let refresh_ms = millis(sink.refresh.unwrap_or(MINUTE)).max(1);
        let beat_ms = sink.heartbeat.unwrap_or(false).then_some(millis(beat).max(1));
        all.push(Configured {
            name: sink.name.clone(),
            kind: "alertmanager",
            sink: Box::new(alertmanager::Alertmanager::new(sink, place, refresh_ms, millis(beat).max(1))?),
            // It groups, repeats and collapses by itself.
            manner: Manner { wait_ms: 0, interval_ms: 0, repeat_ms: 0, collapse: usize::MAX, most: Some(200) },
            refresh_ms: Some(refresh_ms),
            beat_ms,
        });
    }
    for (at, sink) in all.iter().enumerate() {
        if sink.name.is_empty() {
            return Err(AlertError::sink("", "a sink needs a name"));
        }
        if all[..at].iter().any(|other| other.name == sink.name) {
            return Err(AlertError::sink(&sink.name, "two sinks have this name"));
        }
    }
    Ok(all)
}

/// A secret in a file, read whenever it is needed, so that it can be changed without a restart.
#[derive(Clone, Debug)]
struct Secret(PathBuf);

impl Secret {
    /// Reads it once to see that it can be read.
    fn new(path: &std::path::Path) -> std::result::Result<Self, String> {
        let secret = Self(path.to_owned());
        secret.read().map(|_| secret)
    }

    fn read(&self) -> std::result::Result<String, String> {
        let text =
            std::fs::read_to_string(&self.0).map_err(|error| format!("reading {}: {error}", self.0.display()))?;
        match text.trim() {
            "" => Err(format!("{} is empty", self.0.display())),
            secret => Ok(secret.to_owned()),
        }
    }
}
