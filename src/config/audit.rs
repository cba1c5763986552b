//! Settings of one audit, as a file or flags name them, and what they mean.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{bail, ensure};
use clap::ValueEnum;
use serde::Deserialize;

use super::{ConfigError, check_version, duration, read, size};
use crate::audit::coverage::Isolation;
use crate::engine::{Clock, Settings};
use crate::identify::{Encoding, Rules, Spec};
use crate::ledger::Key;
use crate::source::kafka::KafkaSource;
use crate::source::librdkafka::LibrdkafkaSource;
use crate::source::{Properties, Selection, Source, Start};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Client {
    Raw,
    Librdkafka,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    Partition,
    Topic,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum View {
    ReadCommitted,
    ReadUncommitted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NumberEncoding {
    Auto,
    Decimal,
    BigEndian,
}

/// Settings of `sordini audit`; see `config/audit.toml`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AuditFile {
    /// Form of the file; 1. Stands at the top of the file only.
    pub version: Option<u32>,
    /// What the daemon calls this audit.
    pub name: Option<String>,
    #[serde(default)]
    pub topics: Vec<String>,
    pub client: Option<Client>,
    pub id: Option<Spec>,
    pub session: Option<Spec>,
    pub sequence: Option<Spec>,
    pub sequence_start: Option<i64>,
    pub sequence_end: Option<Spec>,
    pub sequence_encoding: Option<NumberEncoding>,
    pub scope: Option<Scope>,
    #[serde(default, deserialize_with = "duration")]
    pub wait: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    pub horizon: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    pub timestamp_bound: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    pub commit_every: Option<Duration>,
    pub isolation: Option<View>,
    pub follow: Option<bool>,
    pub ledger: Option<PathBuf>,
    pub ledger_key: Option<PathBuf>,
    #[serde(default, deserialize_with = "size")]
    pub memory: Option<usize>,
    pub show_keys: Option<bool>,
    /// Client settings under librdkafka's names, brokers included.
    #[serde(default)]
    pub properties: Properties,
}

impl AuditFile {
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let file: Self = read(path)?;
        check_version(file.version, path)?;
        Ok(file)
    }

    /// Its name, or the first topic's that can be one.
    pub fn name_or(&self, number: usize) -> String {
        self.name.clone().unwrap_or_else(|| format!("audit-{}", number + 1))
    }

    fn rules(&self) -> anyhow::Result<Rules> {
        let rules = Rules {
            id: self.id.clone(),
            session: self.session.clone(),
            sequence: self.sequence.clone(),
            sequence_end: self.sequence_end.clone(),
            encoding: match self.sequence_encoding {
                None | Some(NumberEncoding::Auto) => Encoding::Auto,
                Some(NumberEncoding::Decimal) => Encoding::Decimal,
                Some(NumberEncoding::BigEndian) => Encoding::BigEndian,
            },
            topic_scope: self.scope == Some(Scope::Topic),
            show_keys: self.show_keys.unwrap_or(false),
            stage: None,
        };
        let numbers = [("--sequence", &rules.sequence), ("--sequence-end", &rules.sequence_end)];
        for (flag, spec) in numbers {
            let fits = matches!(spec, None | Some(Spec::Key | Spec::Header(_) | Spec::Json(_)));
            ensure!(fits, "{flag} needs a rule that gives a number: key, header:NAME or json:/pointer");
        }
        ensure!(
            !matches!(rules.session, Some(Spec::Content | Spec::Producer | Spec::Debezium)),
            "--session needs a rule that gives a name: key, header:NAME or json:/pointer"
        );
        Ok(rules)
    }

    /// What is meant: defaults filled in, what contradicts itself refused.
    pub fn plan(self, start: Start, partitions: Vec<i32>, key: Option<Key>, clock: Clock) -> anyhow::Result<AuditPlan> {
        let rules = self.rules()?;
        let isolation = match self.isolation.unwrap_or(View::ReadCommitted) {
            View::ReadCommitted => Isolation::ReadCommitted,
            View::ReadUncommitted => Isolation::ReadUncommitted,
        };
        let follow = self.follow.unwrap_or(false);
        Ok(AuditPlan {
            client: self.client.unwrap_or(Client::Raw),
            selection: Selection { topics: self.topics, partitions, start, isolation, follow },
            settings: Settings {
                rules,
                wait: self.wait.unwrap_or(Duration::from_secs(30)),
                horizon: self.horizon.unwrap_or(Duration::from_secs(7 * 24 * 3600)),
                sequence_start: self.sequence_start,
                timestamp_bound: self.timestamp_bound.unwrap_or(Duration::from_secs(3600)),
                isolation,
                ledger: self.ledger,
                key,
                memory_bytes: self.memory.unwrap_or(96 << 20),
                commit_every: self.commit_every.unwrap_or(Duration::from_secs(5)),
                follow,
                clock,
                flow: None,
                indexes: None,
            },
            properties: self.properties,
        })
    }
}

/// One audit, everything resolved.
#[derive(Clone)]
pub struct AuditPlan {
    pub client: Client,
    pub selection: Selection,
    pub settings: Settings,
    pub properties: Properties,
}

impl AuditPlan {
    /// Reaches the cluster; also says in words what is audited.
    pub fn connect(&self) -> anyhow::Result<(Box<dyn Source>, String)> {
        let (properties, selection) = (&self.properties, self.selection.clone());
        let Some(brokers) = properties.get("bootstrap.servers").or_else(|| properties.get("metadata.broker.list"))
        else {
            bail!("no brokers: give -b HOST:PORT, or --lines FILE for a file");
        };
        ensure!(
            !selection.topics.is_empty(),
            "no topic: give -t TOPIC, or a regular expression such as -t '^orders-.*'"
        );
        let subject = format!("{} at {brokers}", selection.topics.join(", "));
        let source: Box<dyn Source> = match self.client {
            Client::Raw => Box::new(KafkaSource::connect(properties, selection)?),
            Client::Librdkafka => Box::new(LibrdkafkaSource::connect(properties, selection)?),
        };
        Ok((source, subject))
    }
}
