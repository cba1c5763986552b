//! What the settings mean, with everything checked that can be before anything is started.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;

use crate::alert::Place;
use crate::config::alert::AlertFile;
use crate::config::drift::DriftPlan;
use crate::config::serve::ServeFile;
use crate::config::watch::WatchFile;
use crate::config::{AuditFile, AuditPlan};
use crate::engine::now_ms;
use crate::lag::watcher;
use crate::ledger::Key;
use crate::source::{Properties, Start};

#[derive(Clone)]
pub struct Plan {
    /// The file it comes from.
    pub config: PathBuf,
    pub state: PathBuf,
    pub cluster: Option<String>,
    pub brokers: String,
    pub audits: Vec<(String, AuditPlan)>,
    pub drifts: Vec<(String, DriftPlan)>,
    pub groups: Option<watcher::Plan>,
    pub alert: AlertFile,
    pub serve: ServeFile,
}

impl Plan {
    pub fn of(file: &WatchFile) -> anyhow::Result<Self> {
        let brokers = file.kafka.get("bootstrap.servers").or_else(|| file.kafka.get("metadata.broker.list"));
        let brokers = brokers.context("no brokers: set \"bootstrap.servers\" in [kafka]")?.clone();
        // A setting no client knows is better found now.
        crate::source::kafka::Config::resolve(&file.kafka).context("[kafka]")?;
        let audits = file.audits.iter().enumerate().map(|(number, audit)| {
            let name = audit.name_or(number);
            let plan = audit_plan(audit, &name, file).with_context(|| format!("audit \"{name}\""))?;
            Ok((name, plan))
        });
        let flows = file.flows.iter().map(|flow| {
            let ledger = file.ledger(&flow.name);
            Ok((flow.name.clone(), flow.plan(file.kafka.clone(), Some(ledger), true, Arc::new(now_ms))?))
        });
        let drifts = file.drifts.iter().map(|drift| {
            let plan = drift.plan(file.kafka.clone()).with_context(|| format!("drift \"{}\"", drift.name))?;
            Ok((drift.name.clone(), plan))
        });
        let plan = Self {
            config: file.path.clone(),
            state: file.state.clone(),
            cluster: file.cluster.clone(),
            brokers,
            audits: audits.chain(flows).collect::<anyhow::Result<_>>()?,
            drifts: drifts.collect::<anyhow::Result<_>>()?,
            groups: match file.lag.enabled.unwrap_or(true) {
                true => Some(file.lag.plan(file.kafka.clone(), file.cluster.clone()).context("[lag]")?),
                false => None,
            },
            alert: file.alert.clone(),
            serve: file.serve.clone(),
        };
        plan.check()?;
        Ok(plan)
    }

    /// What only the parts themselves know to check: templates, routes, secrets, addresses.
    fn check(&self) -> anyhow::Result<()> {
        crate::alert::check(&self.alert, &self.place())?;
        crate::serve::Settings::read(&self.serve)?;
        Ok(())
    }

    /// Where alerts come from.
    pub fn place(&self) -> Place {
        Place {
            cluster: self.cluster.clone().unwrap_or_else(|| self.brokers.clone()),
            instance: self.serve.listen.to_string(),
            external_url: self.serve.external_url.clone().unwrap_or_else(|| format!("http://{}", self.serve.listen)),
        }
    }

    fn sinks(&self) -> Vec<String> {
        let alert = &self.alert;
        let named = |kind: &'static str, name: &String| format!("{name} ({kind})");
        let mut all: Vec<String> = alert.alertmanager.iter().map(|sink| named("alertmanager", &sink.name)).collect();
        all.extend(alert.webhook.iter().map(|sink| named("webhook", &sink.name)));
        all.extend(alert.slack.iter().map(|sink| named("slack", &sink.name)));
        all.extend(alert.email.iter().map(|sink| named("email", &sink.name)));
        all.extend(alert.command.iter().map(|sink| named("command", &sink.name)));
        all
    }

    /// Directories of the audits' ledgers and keys that lie outside of them, by name.
    pub fn ledgers(&self) -> Vec<(String, PathBuf, Option<Key>)> {
        let of = |(name, plan): &(String, AuditPlan)| (name.clone(), self.ledger(name), plan.settings.key.clone());
        self.audits.iter().map(of).collect()
    }

    pub fn ledger(&self, name: &str) -> PathBuf {
        self.state.join("audits").join(name)
    }

    pub fn describe(&self) -> Vec<String> {
        let mut said = vec![format!("cluster: {} at {}", self.cluster.as_deref().unwrap_or("by its id"), self.brokers)];
        said.push(format!("state: {}", self.state.display()));
        for (name, plan) in &self.audits {
            let settings = &plan.settings;
            if let Some(rules) = &settings.flow {
                let stages: Vec<&str> = rules.flow.stages.iter().map(|stage| stage.name.as_str()).collect();
                said.push(format!("flow {name}: {}", stages.join(" → ")));
                continue;
            }
            let mut line = format!("audit {name}: {}", plan.selection.topics.join(", "));
            if let Some(id) = &settings.rules.id {
                line += &format!("; identity {id}, recognised for {}", humantime::format_duration(settings.horizon));
            }
            if let Some(sequence) = &settings.rules.sequence {
                line += &format!("; numbered by {sequence}, lost after {}", humantime::format_duration(settings.wait));
            }
            said.push(line);
        }
        said.extend(self.drifts.iter().map(|(name, plan)| format!("drift {name}: {}", plan.describe())));
        match &self.groups {
            Some(groups) => said.push(format!(
                "groups: every {}, commits {}",
                humantime::format_duration(groups.interval),
                if groups.offsets_topic { "read from __consumer_offsets where that is allowed" } else { "polled" }
            )),
            None => said.push("groups: not watched".to_owned()),
        }
        said.push(match self.sinks() {
            sinks if sinks.is_empty() => "alerts: no sink, so incidents are only kept and shown".to_owned(),
            sinks => format!("alerts: to {}", sinks.join(", ")),
        });
        said.push(format!("page, API and metrics: {}", self.serve.listen));
        said
    }
}

fn audit_plan(audit: &AuditFile, name: &str, file: &WatchFile) -> anyhow::Result<AuditPlan> {
    let mut audit = audit.clone();
    let mut properties: Properties = file.kafka.clone();
    properties.extend(std::mem::take(&mut audit.properties));
    audit.properties = properties;
    audit.follow = Some(true);
    audit.ledger = Some(file.ledger(name));
    let key = audit.ledger_key.as_deref().map(Key::read).transpose()?;
    audit.plan(Start::Beginning, Vec::new(), key, Arc::new(now_ms))
}
