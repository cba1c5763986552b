//! The `[lag]` table: which consumer groups are watched, and when one is in trouble.

use std::time::Duration;

use anyhow::Context as _;
use regex::Regex;
use serde::Deserialize;

use super::duration;
use crate::lag::collect::Filter;
use crate::lag::rules::Thresholds;
use crate::lag::ruleset::Rules;
use crate::lag::{burrow, tracker, watcher};
use crate::source::Properties;

const INTERVAL: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum RuleSet {
    /// sordini's own
    #[default]
    Default,
    /// Burrow's, to the letter
    Burrow,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct LagFile {
    /// Whether groups are watched at all.
    pub enabled: Option<bool>,
    #[serde(deserialize_with = "duration")]
    pub interval: Option<Duration>,
    pub groups: Vec<String>,
    pub exclude_groups: Vec<String>,
    pub topics: Vec<String>,
    pub exclude_topics: Vec<String>,
    pub required: Vec<String>,
    pub read_committed: Option<Vec<String>>,
    pub rules: RuleSet,
    /// Whether `__consumer_offsets` is read, where that is allowed.
    pub offsets_topic: Option<bool>,
    pub looks: Option<usize>,
    pub intervals: Option<usize>,
    #[serde(deserialize_with = "duration")]
    pub beyond_for: Option<Duration>,
    pub thresholds: Thresholds,
    /// Of `rules = "burrow"`.
    pub burrow: burrow::Settings,
}

impl LagFile {
    /// Every pattern with the key it stands under.
    pub fn patterns(&self) -> impl Iterator<Item = (&'static str, &String)> {
        let all = [
            ("groups", &self.groups[..]),
            ("exclude-groups", &self.exclude_groups),
            ("topics", &self.topics),
            ("exclude-topics", &self.exclude_topics),
            ("read-committed", self.read_committed.as_deref().unwrap_or_default()),
        ];
        all.into_iter().flat_map(|(key, patterns)| patterns.iter().map(move |pattern| (key, pattern)))
    }

    pub fn rules(&self) -> Rules {
        match self.rules {
            RuleSet::Default => Rules::Default(self.thresholds.clone()),
            RuleSet::Burrow => Rules::Burrow(self.burrow),
        }
    }

    /// What is meant: defaults filled in, patterns compiled.
    pub fn plan(&self, properties: Properties, cluster: Option<String>) -> anyhow::Result<watcher::Plan> {
        let defaults = tracker::Settings::default();
        Ok(watcher::Plan {
            properties,
            cluster,
            filter: Filter {
                groups: compiled(&self.groups)?,
                exclude_groups: compiled(&self.exclude_groups)?,
                topics: compiled(&self.topics)?,
                exclude_topics: compiled(&self.exclude_topics)?,
            },
            settings: tracker::Settings {
                rules: self.rules(),
                thresholds: self.thresholds.clone(),
                intervals: self.intervals.unwrap_or(defaults.intervals),
                required: self.required.clone(),
                read_committed: self.read_committed.as_deref().map(compiled).transpose()?,
                beyond_for_ms: self.beyond_for.map_or(defaults.beyond_for_ms, |time| time.as_millis() as i64),
                looks: self.looks.unwrap_or(defaults.looks),
                past: None,
            },
            interval: self.interval.unwrap_or(INTERVAL),
            offsets_topic: self.offsets_topic.unwrap_or(true),
        })
    }
}

fn compiled(texts: &[String]) -> anyhow::Result<Vec<Regex>> {
    texts.iter().map(|text| Filter::pattern(text).with_context(|| format!("\"{text}\" is no pattern"))).collect()
}
