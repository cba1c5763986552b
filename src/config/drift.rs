//! `[[drift]]`: two stores that must agree, by the daemon for ever and by `sordini drift -c` once.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::{ConfigError, duration, parse_duration, size};
use crate::drift::conserve::law::Law;
use crate::drift::digest::BUCKETS;
use crate::drift::follow::Rhythm;
use crate::drift::pairs::store;
use crate::drift::place::Place;
use crate::drift::redact::Redaction;
use crate::drift::relax::Relaxation;
use crate::drift::table::{Chosen, Limits, Throttle};
use crate::drift::{Part, Settings};
use crate::source::Properties;

/// Defaults, as `config/sordini.toml` lists them.
const SETTLE: Duration = Duration::from_secs(5);
const WAIT: Duration = Duration::from_secs(120);
const MEMORY: usize = 128 << 20;
const MOST_FINDINGS: usize = 10_000;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DriftFile {
    pub name: String,
    /// The reference, and what is compared with it.
    first: String,
    second: String,
    /// The consumer group that writes the second store.
    group: Option<String>,
    /// Columns beside the key; all when left out.
    #[serde(default)]
    columns: Vec<String>,
    #[serde(default)]
    ignore: Vec<String>,
    /// Differences that are let pass, each COLUMN=HOW.
    #[serde(default)]
    relax: Vec<String>,
    /// Sums that both stores must agree on, or that must be zero in each.
    #[serde(default)]
    conserve: Vec<String>,
    #[serde(default, deserialize_with = "duration")]
    settle: Option<Duration>,
    /// How long a captured topic may take until it has what the table's snapshot sees.
    #[serde(default, deserialize_with = "duration")]
    wait: Option<Duration>,
    /// Write a message into the log of a captured table's database.
    #[serde(default)]
    mark: bool,
    #[serde(default, deserialize_with = "duration")]
    statement_timeout: Option<Duration>,
    /// Rows of a table a second.
    max_rate: Option<u64>,
    /// While standbys are later than this, a table is not read on.
    #[serde(default, deserialize_with = "duration")]
    max_replica_lag: Option<Duration>,
    #[serde(default)]
    allow_writer: bool,
    #[serde(default, deserialize_with = "size")]
    memory: Option<usize>,
    max_findings: Option<usize>,
    #[serde(default)]
    redact: bool,
    /// How often the stores are compared.
    #[serde(default, deserialize_with = "duration")]
    every: Option<Duration>,
    /// In so many parts, one at a time.
    buckets: Option<u32>,
    /// When a key that is wrong is looked at again, before it is called drift.
    #[serde(default, deserialize_with = "durations")]
    confirm_after: Option<Vec<Duration>>,
    /// Whether keys are checked as the group passes their records; true where there is a group.
    follow: Option<bool>,
    #[serde(default)]
    properties: Properties,
}

/// Two stores, and how they are compared.
#[derive(Clone, Debug)]
pub struct DriftPlan {
    pub settings: Settings,
    pub rhythm: Rhythm,
}

/// What is wrong with a pair: the text to point at, and what.
type Wrong = (String, String);

impl DriftFile {
    /// Fills in what `${env:…}` and `${file:…}` stand for.
    pub fn expand(&mut self, path: &Path) -> Result<(), ConfigError> {
        super::expand::properties(&mut self.properties, path)?;
        for (name, store) in [("first", &mut self.first), ("second", &mut self.second)] {
            super::expand::value(name, store, path)?;
        }
        Ok(())
    }

    /// What is meant, or what is wrong with it.
    pub fn check(&self) -> Result<(), Wrong> {
        let wrong = |needle: &str, what: String| Err((needle.to_owned(), format!("drift \"{}\": {what}", self.name)));
        for store in [&self.first, &self.second] {
            if let Err(error) = store.parse::<Place>() {
                return wrong(&format!("{store:?}"), error.to_string());
            }
        }
        if self.buckets.is_some_and(|parts| !(1..=BUCKETS as u32).contains(&parts)) {
            return wrong("buckets", format!("buckets is a number from 1 to {BUCKETS}"));
        }
        for relaxation in &self.relax {
            if let Err(error) = relaxation.parse::<Relaxation>() {
                return wrong(&format!("{relaxation:?}"), error);
            }
        }
        for law in &self.conserve {
            match law.parse::<Law>() {
                Err(error) => return wrong(&format!("{law:?}"), error.to_string()),
                Ok(law) if law.is_zero() && self.buckets.unwrap_or(1) > 1 => {
                    return wrong(
                        "buckets",
                        format!("\"{law}\" holds for all rows, not for a part: leave buckets out"),
                    );
                }
                Ok(_) => (),
            }
        }
        if self.every.is_some_and(|every| every.is_zero()) {
            return wrong("every", "every must be longer than nothing".to_owned());
        }
        if self.confirm_after.as_ref().is_some_and(Vec::is_empty) {
            return wrong("confirm-after", "confirm-after names at least one time".to_owned());
        }
        Ok(())
    }

    /// Reaches Kafka by these settings where its own say nothing else.
    pub fn plan(&self, mut properties: Properties) -> anyhow::Result<DriftPlan> {
        properties.extend(self.properties.clone());
        let defaults = Rhythm::default();
        let relaxed = self.relax.iter().map(|relaxation| relaxation.parse::<Relaxation>());
        let laws = self.conserve.iter().map(|law| law.parse::<Law>());
        let settings = Settings {
            pair: Some(self.name.clone()),
            first: self.first.parse()?,
            second: self.second.parse()?,
            properties,
            group: self.group.clone(),
            settle: self.settle.unwrap_or(SETTLE),
            wait: self.wait.unwrap_or(WAIT),
            mark: self.mark,
            repair: None,
            named: None,
            chosen: Chosen { only: self.columns.clone(), ignored: self.ignore.clone() },
            limits: Limits {
                statement_timeout: self.statement_timeout,
                allows_writers: self.allow_writer,
                throttle: Throttle { most_rows: self.max_rate, most_lag: self.max_replica_lag },
            },
            relaxed: relaxed.collect::<Result<_, _>>().map_err(anyhow::Error::msg)?,
            laws: laws.collect::<Result<_, _>>()?,
            memory_bytes: self.memory.unwrap_or(MEMORY),
            most_findings: self.max_findings.unwrap_or(MOST_FINDINGS),
            redact: self.redact.then(Redaction::fresh),
            part: Part::WHOLE,
        };
        let rhythm = Rhythm {
            every: self.every.unwrap_or(defaults.every),
            parts: self.buckets.unwrap_or(defaults.parts),
            confirm_after: self.confirm_after.clone().unwrap_or(defaults.confirm_after),
            tail: self.follow.unwrap_or(defaults.tail),
            is_patient: defaults.is_patient,
        };
        Ok(DriftPlan { settings, rhythm })
    }
}

impl DriftPlan {
    /// In one line: what is compared with what, and how often.
    pub fn describe(&self) -> String {
        let Self { settings, rhythm } = self;
        let mut said = format!("{} against {}", store(&settings.first), store(&settings.second));
        if let Some(group) = &settings.group {
            said += &format!(" by group {group}");
        }
        let every = humantime::format_duration(rhythm.every);
        said += &match rhythm.parts {
            1 => format!(", compared every {every}"),
            parts => format!(", one of {parts} parts compared every {every}"),
        };
        said + if rhythm.follows(settings) { ", followed record by record" } else { "" }
    }
}

fn durations<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Duration>>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let all: Result<Vec<Duration>, String> = texts.iter().map(|text| parse_duration(text)).collect();
    all.map(Some).map_err(serde::de::Error::custom)
}
