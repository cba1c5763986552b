//! Everything that runs under one set of settings, from its start to its end.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::audits::Audit;
use super::drifts::Drift;
use super::groups::{Groups, KnownGone};
use super::observe::{self, Hint};
use super::plan::Plan;
use crate::alert::Dispatcher;
use crate::alert::book::Evaluated;
use crate::audit::finding::Kind;
use crate::drift::follow::is_whole;
use crate::engine::Clock;
use crate::engine::index::Indexes;
use crate::engine::now_ms;
use crate::engine::trace::{Sought, TraceError, look_up};
use crate::ledger::Key;
use crate::serve::board::{Actions, Board, Pulse};
use crate::serve::{Info, Server, Settings};

const JUDGE_EVERY: Duration = Duration::from_secs(10);

pub struct Running {
    plan: Plan,
    board: Arc<Board>,
    hint: Hint,
    /// What the audits remember of records, for the groups' lag.
    indexes: Arc<Indexes>,
    known_gone: KnownGone,
    alerts: Arc<Dispatcher>,
    audits: Vec<Audit>,
    drifts: Vec<Drift>,
    groups: Option<Groups>,
    server: Option<Server>,
    /// What was last judged of each audit: when its report was made, and its trouble.
    judged: BTreeMap<String, (i64, Option<String>)>,
    judged_at: Instant,
    /// The same of the pairs.
    judged_drifts: BTreeMap<String, (i64, Option<String>)>,
    judged_drifts_at: Instant,
}

impl Running {
    pub fn start(plan: Plan, board: Arc<Board>) -> anyhow::Result<Self> {
        let hint = Hint { brokers: plan.brokers.clone(), config: plan.config.display().to_string() };
        let clock: Clock = Arc::new(now_ms);
        let alerts = Dispatcher::start(&plan.alert, &plan.state.join("alerts"), plan.place(), clock)?;
        let alerts = Arc::new(alerts);
        let known_gone = KnownGone::default();
        let actions: Arc<dyn Actions> =
            Arc::new(Hands { known_gone: known_gone.clone(), alerts: alerts.clone(), ledgers: plan.ledgers() });
        // First the page, so that an address in use is found before anything is read.
        let server = Server::start(Settings::read(&plan.serve)?, board.clone(), actions, Info::default())?;
        let mut running = Self {
            groups: None,
            audits: Vec::new(),
            drifts: Vec::new(),
            server: Some(server),
            judged: BTreeMap::new(),
            judged_at: Instant::now(),
            judged_drifts: BTreeMap::new(),
            judged_drifts_at: Instant::now(),
            plan,
            board,
            hint,
            indexes: Arc::default(),
            known_gone,
            alerts,
        };
        running.start_groups()?;
        for (name, plan) in &running.plan.audits {
            let mut plan = plan.clone();
            plan.settings.indexes = Some(running.indexes.clone());
            let audit = Audit::start(name.clone(), plan).context("starting an audit")?;
            running.audits.push(audit);
        }
        for (name, plan) in &running.plan.drifts {
            let drift = Drift::start(name.clone(), plan.clone()).context("starting a comparison")?;
            running.drifts.push(drift);
        }
        running.tick();
        Ok(running)
    }

    /// Where the page is.
    pub fn address(&self) -> String {
        let scheme = if self.plan.serve.tls.is_some() { "https" } else { "http" };
        let address = self.server.as_ref().map_or(self.plan.serve.listen, Server::address);
        format!("{scheme}://{address}")
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    fn start_groups(&mut self) -> anyhow::Result<()> {
        let Some(plan) = &self.plan.groups else { return Ok(()) };
        let (alerts, hint) = (self.alerts.clone(), self.hint.clone());
        let heard = Box::new(move |round: Result<&crate::lag::snapshot::Snapshot, String>| match round {
            Ok(snapshot) => {
                let (evaluated, observed) = observe::lag(snapshot, &hint);
                alerts.observe(&evaluated, &observed);
                alerts.observe(&Evaluated::kinds(["unreachable"]), &[]);
            }
            Err(why) => {
                let command = format!("kcat -b {} -L", hint.brokers);
                let trouble = observe::trouble("unreachable", "groups", why, command);
                alerts.observe(&Evaluated::kinds(["unreachable"]), &[trouble]);
            }
        });
        let mut plan = plan.clone();
        plan.settings.past = Some(self.indexes.clone());
        let groups = Groups::start(plan, &self.plan.state, self.board.clone(), self.known_gone.clone(), heard);
        self.groups = Some(groups.context("starting the thread that watches groups")?);
        Ok(())
    }

    /// Brings the board up to date and tells the alerts what the audits found.
    pub fn tick(&mut self) {
        let views = self.audits.iter().map(|audit| (audit.name.clone(), audit.view())).collect();
        self.board.audits.store(Arc::new(views));
        let views = self.drifts.iter().map(|drift| (drift.name.clone(), drift.view())).collect();
        self.board.drifts.store(Arc::new(views));
        let mut pulses: BTreeMap<String, Pulse> = BTreeMap::new();
        pulses.extend(self.groups.iter().map(|groups| ("lag".to_owned(), groups.pulse())));
        pulses.extend(self.audits.iter().map(|audit| (format!("audit:{}", audit.name), audit.pulse())));
        pulses.extend(self.drifts.iter().map(|drift| (format!("drift:{}", drift.name), drift.pulse())));
        self.board.pulses.store(Arc::new(pulses));
        let is_news = self.judge_audits() | self.judge_drifts();
        let incidents = self.alerts.incidents();
        let is_changed = is_news || **self.board.incidents.load() != incidents;
        self.board.incidents.store(Arc::new(incidents));
        self.board.sinks.store(Arc::new(self.alerts.sinks()));
        if is_changed {
            self.board.touch();
        }
    }

    /// Findings of all audits in one go: what one of them does not read, another may. Without news only now and then, so
    /// that time passes for what has to last before it is told.
    fn judge_audits(&mut self) -> bool {
        let state = |audit: &Audit| (audit.report().map_or(0, |stamped| stamped.at_ms), audit.trouble());
        let now: BTreeMap<_, _> = self.audits.iter().map(|audit| (audit.name.clone(), state(audit))).collect();
        let is_news = now != self.judged;
        if !is_news && self.judged_at.elapsed() < JUDGE_EVERY {
            return false;
        }
        (self.judged, self.judged_at) = (now, Instant::now());
        // An audit that has not reported yet may hold what an earlier run told of.
        let all_report = self.judged.values().all(|(at_ms, _)| *at_ms > 0);
        let kinds: Vec<&str> = observe::audit_kinds().collect();
        let evaluated = if all_report { Evaluated::kinds(kinds) } else { Evaluated::nothing() };
        let reports: Vec<_> = self.audits.iter().filter_map(Audit::report).collect();
        let found = reports.iter().flat_map(|stamped| observe::findings(&stamped.report, &self.hint));
        self.alerts.observe(&evaluated, &found.collect::<Vec<_>>());
        let troubles = self.audits.iter().filter_map(|audit| {
            let command = format!("sordini ledger stat {}", self.plan.ledger(&audit.name).display());
            Some(observe::trouble("audit-stopped", &audit.name, audit.trouble()?, command))
        });
        self.alerts.observe(&Evaluated::kinds(["audit-stopped"]), &troubles.collect::<Vec<_>>());
        is_news
    }

    /// What was not compared as a whole says nothing of what is not in its report.
    fn judge_drifts(&mut self) -> bool {
        let state = |drift: &Drift| (drift.report().map_or(0, |stamped| stamped.at_ms), drift.trouble());
        let now: BTreeMap<_, _> = self.drifts.iter().map(|drift| (drift.name.clone(), state(drift))).collect();
        let is_news = now != self.judged_drifts;
        if !is_news && self.judged_drifts_at.elapsed() < JUDGE_EVERY {
            return false;
        }
        (self.judged_drifts, self.judged_drifts_at) = (now, Instant::now());
        let mut evaluated = Evaluated::kinds(Kind::OF_STORES.map(Kind::name));
        let (mut found, mut troubles) = (Vec::new(), Vec::new());
        for drift in &self.drifts {
            let (report, trouble) = (drift.report(), drift.trouble());
            if trouble.is_some() || !report.as_ref().is_some_and(|stamped| is_whole(&stamped.report)) {
                evaluated.except(None, Some(&drift.name), None);
            }
            found.extend(report.iter().flat_map(|stamped| observe::drift(&drift.name, &stamped.report, &self.hint)));
            let command = self.hint.drift(&drift.name);
            troubles.extend(trouble.map(|why| observe::trouble("drift-stopped", &drift.name, why, command)));
        }
        self.alerts.observe(&evaluated, &found);
        self.alerts.observe(&Evaluated::kinds(["drift-stopped"]), &troubles);
        is_news
    }

    /// Commits everything and ends.
    pub fn stop(mut self) {
        if let Some(groups) = &self.groups {
            groups.ask_to_stop();
        }
        self.audits.iter().for_each(Audit::ask_to_stop);
        self.drifts.iter().for_each(Drift::ask_to_stop);
        self.audits.iter_mut().for_each(Audit::join);
        self.drifts.iter_mut().for_each(Drift::join);
        if let Some(groups) = &mut self.groups {
            groups.join();
        }
        // What the audits found last is told as well.
        self.tick();
        if let Some(server) = self.server.take() {
            server.stop();
        }
        if let Err(error) = self.alerts.stop() {
            tracing::error!(%error, "the alerts could not be kept");
        }
    }
}

/// What a person does on the page.
struct Hands {
    alerts: Arc<Dispatcher>,
    known_gone: KnownGone,
    /// By audit, with the key where it lies outside.
    ledgers: Vec<(String, PathBuf, Option<Key>)>,
}

impl Actions for Hands {
    fn acknowledge(&self, incident: &str, by: &str, note: &str) -> Result<(), String> {
        let incident = self.alerts.acknowledge(incident, by, note).ok_or_else(|| no_such(incident))?;
        let key = incident.observed.key;
        if let ("lag-gone", Some(group)) = (&*key.kind, key.group) {
            self.known_gone.lock().unwrap_or_else(PoisonError::into_inner).push(group);
        }
        Ok(())
    }

    fn mute(&self, incident: &str, until_ms: Option<i64>) -> Result<(), String> {
        self.alerts.mute(incident, until_ms).map(|_| ()).ok_or_else(|| no_such(incident))
    }

    /// In the ledger of every audit; one that cannot be asked is told, not passed over. One whose rules know no such id
    /// matters only when there is no other.
    fn search(&self, identity: &str) -> Result<Vec<serde_json::Value>, String> {
        let (mut lines, mut unfit) = (Vec::new(), Vec::new());
        for (name, dir, key) in &self.ledgers {
            let sought = Sought::Id(identity.to_owned());
            let traced = match look_up(dir, &sought, None, key.as_ref()) {
                Ok(traced) => traced,
                Err(error @ TraceError::Unfit { .. }) => {
                    unfit.push(format!("audit {name}: {error}"));
                    continue;
                }
                Err(error) => return Err(format!("audit {name}: {error}")),
            };
            for mut line in traced.lines() {
                line["audit"] = name.as_str().into();
                lines.push(line);
            }
        }
        let is_any = unfit.len() < self.ledgers.len() || unfit.is_empty();
        is_any.then_some(lines).ok_or_else(|| unfit.join("; "))
    }
}

fn no_such(incident: &str) -> String {
    format!("no incident {incident} is open")
}
