//! Ties book, outbox, file and sinks together: one thread for each sink, so that a slow one holds up no other, and one
//! lock around what they share. What happened is saved before anyone is told; when it cannot be saved, for the disk is
//! full, it is told nevertheless: twice after a crash is better than never.

#[cfg(test)]
mod tests;
mod worker;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::book::{Book, Change, Evaluated, Transition};
use super::error::{AlertError, Result};
use super::file::StateFile;
use super::heartbeat::Heartbeat;
use super::incident::{Acknowledged, Incident, Key, Observed};
pub use super::message::Place;
use super::outbox::{Manner, Queue, Refusal};
use super::rules::{Rules, millis};
use super::sinks;
use crate::config::alert::AlertFile;
pub use crate::engine::Clock;
use crate::serve::board::SinkView;

/// How long stopping waits for what is being sent at that moment.
const LAST_WORDS: Duration = Duration::from_secs(2);
const SILENT_AFTER: Duration = Duration::from_secs(300);

pub struct Dispatcher {
    shared: Arc<Shared>,
}

struct Shared {
    core: Mutex<Core>,
    wake: Condvar,
    clock: Clock,
}

/// What survives a restart.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Saved {
    book: Book,
    /// By name of the sink.
    queues: BTreeMap<String, Queue>,
}

struct Core {
    rules: Rules,
    saved: Saved,
    sinks: BTreeMap<String, (&'static str, Manner)>,
    /// Absent once it is closed; then nothing changes any more.
    file: Option<StateFile>,
    /// Why the newest state is not on the disk.
    unsaved: Option<String>,
    heartbeat: Option<SinkView>,
    observed_ms: i64,
    silent_after_ms: i64,
    /// Messages being sent at this moment.
    sending: usize,
    is_stopping: bool,
}

/// Everything that can be known before it is needed: rules, routes, templates, files. Sends nothing.
pub fn check(config: &AlertFile, place: &Place) -> Result<()> {
    prepare(config, place).map(|_| ())
}

fn prepare(config: &AlertFile, place: &Place) -> Result<(Rules, Vec<sinks::Configured>, Option<Heartbeat>)> {
    let sinks = sinks::build(config, place)?;
    let rules = Rules::new(config, sinks.iter().map(|sink| sink.name.clone()).collect())?;
    let heartbeat = config.heartbeat.as_ref().map(Heartbeat::new).transpose()?.flatten();
    Ok((rules, sinks, heartbeat))
}

impl Dispatcher {
    /// Goes on where the last one in this directory ended, however it ended. A damaged state is put aside, said in an
    /// incident of its own, and begun anew.
    pub fn start(config: &AlertFile, dir: &Path, place: Place, clock: Clock) -> Result<Self> {
        let (rules, sinks, heartbeat) = prepare(config, &place)?;
        let file = StateFile::lock(dir)?;
        let (saved, damage) = match file.load::<Saved>() {
            Ok(saved) => (saved.unwrap_or_default(), None),
            Err(error @ AlertError::Damaged { .. }) => (Saved::default(), Some(error)),
            Err(error) => return Err(error),
        };
        let silent_after = config.heartbeat.as_ref().and_then(|heartbeat| heartbeat.silent_after);
        let mut core = Core {
            rules,
            saved,
            sinks: sinks.iter().map(|sink| (sink.name.clone(), (sink.kind, sink.manner.clone()))).collect(),
            file: Some(file),
            unsaved: None,
            heartbeat: heartbeat.as_ref().map(|_| SinkView {
                name: "heartbeat".to_owned(),
                kind: "heartbeat",
                ..SinkView::default()
            }),
            observed_ms: clock(),
            silent_after_ms: millis(silent_after.unwrap_or(SILENT_AFTER)),
            sending: 0,
            is_stopping: false,
        };
        core.match_sinks();
        if let Some(damage) = damage {
            tracing::error!(error = %damage, "alerts begin anew");
            core.observe(clock(), &Evaluated::nothing(), &[lost_state(&damage, dir)]);
        }
        core.save();
        let shared = Arc::new(Shared { core: Mutex::new(core), wake: Condvar::new(), clock });
        let dispatcher = Self { shared };
        for sink in sinks {
            dispatcher.spawn(format!("alert-{}", sink.name), move |shared| worker::tell(shared, &sink))?;
        }
        if let Some(heartbeat) = heartbeat {
            dispatcher.spawn("alert-heartbeat".to_owned(), move |shared| worker::beat(shared, &heartbeat))?;
        }
        Ok(dispatcher)
    }

    fn spawn(&self, name: String, work: impl FnOnce(&Shared) + Send + 'static) -> Result<()> {
        let shared = self.shared.clone();
        let spawned = thread::Builder::new().name(name).spawn(move || work(&shared));
        spawned.map(|_| ()).map_err(AlertError::Thread)
    }

    /// Takes one round in: what was really looked at, and everything that is wrong there. Once it returns, what changed is
    /// on the disk and will be told.
    pub fn observe(&self, evaluated: &Evaluated, observed: &[Observed]) -> Vec<Transition> {
        let mut core = self.shared.lock();
        let now_ms = (self.shared.clock)();
        core.observed_ms = now_ms;
        let transitions = core.observe(now_ms, evaluated, observed);
        self.shared.wake.notify_all();
        transitions
    }

    /// Absent when no such incident is open.
    pub fn acknowledge(&self, id: &str, by: &str, note: &str) -> Option<Incident> {
        let mut core = self.shared.lock();
        let at_ms = (self.shared.clock)();
        let acknowledged = Acknowledged { by: by.to_owned(), note: note.to_owned(), at_ms };
        let transition = core.saved.book.acknowledge(id, acknowledged)?;
        core.take_in(at_ms, std::slice::from_ref(&transition));
        self.shared.wake.notify_all();
        Some(transition.incident)
    }

    /// Silent until then; with nothing, no longer silent. What was told already is still told to be over.
    pub fn mute(&self, id: &str, until_ms: Option<i64>) -> Option<Incident> {
        let mut core = self.shared.lock();
        let now_ms = (self.shared.clock)();
        let incident = core.saved.book.mute(id, until_ms)?.clone();
        core.take_in(now_ms, &[]);
        self.shared.wake.notify_all();
        Some(incident)
    }

    /// Open ones first, then those waiting for their duration, then those resolved lately; newest first.
    pub fn incidents(&self) -> Vec<Incident> {
        self.shared.lock().saved.book.incidents()
    }

    /// What the sinks did, the heartbeat among them.
    pub fn sinks(&self) -> Vec<SinkView> {
        let core = self.shared.lock();
        let views = core.sinks.iter().map(|(name, (kind, _))| {
            let queue = core.saved.queues.get(name).cloned().unwrap_or_default();
            SinkView {
                name: name.clone(),
                kind,
                delivered: queue.delivered,
                failed: queue.failed,
                waiting: queue.waiting(),
                last_error: queue.last_error,
                last_success_ms: queue.last_success_ms,
            }
        });
        views.chain(core.heartbeat.clone()).collect()
    }

    /// The latest messages a sink refused for good, oldest first.
    pub fn refusals(&self, sink: &str) -> Vec<Refusal> {
        let core = self.shared.lock();
        core.saved.queues.get(sink).map(|queue| queue.refusals.iter().cloned().collect()).unwrap_or_default()
    }

    /// What is wrong with the alerting itself: state that cannot be saved, incidents that found no room.
    pub fn trouble(&self) -> Option<String> {
        let core = self.shared.lock();
        let refused = core.saved.book.refused;
        let crowded = (refused > 0).then(|| format!("{refused} observations found no room among the open incidents"));
        core.unsaved.clone().or(crowded)
    }

    /// Saves and ends. Waits a moment for what is being sent, not for sinks that are down; what was not told is told by the
    /// next one in this directory.
    pub fn stop(&self) -> Result<()> {
        let mut core = self.shared.lock();
        core.is_stopping = true;
        self.shared.wake.notify_all();
        let deadline = Instant::now() + LAST_WORDS;
        while core.sending > 0 {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { break };
            core = self.shared.wait(core, left);
        }
        match core.file.take() {
            Some(file) => file.save(&core.saved),
            None => Ok(()),
        }
    }
}

/// Without [`Dispatcher::stop`] it is as if the process had been killed.
impl Drop for Dispatcher {
    fn drop(&mut self) {
        let mut core = self.shared.lock();
        core.is_stopping = true;
        core.file = None;
        self.shared.wake.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Core> {
        // Nothing is left half done by a panic that would be worse than no alerts at all.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, core: MutexGuard<'a, Core>, time: Duration) -> MutexGuard<'a, Core> {
        self.wake.wait_timeout(core, time).unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Core {
    fn observe(&mut self, now_ms: i64, evaluated: &Evaluated, observed: &[Observed]) -> Vec<Transition> {
        let refused = self.saved.book.refused;
        let transitions = self.saved.book.observe(&self.rules, now_ms, evaluated, observed);
        if refused == 0 && self.saved.book.refused > 0 {
            tracing::error!("too many incidents are open at once; further ones are not opened");
        }
        self.take_in(now_ms, &transitions);
        transitions
    }

    /// Queues what follows from the book, and saves it when something changed.
    fn take_in(&mut self, now_ms: i64, transitions: &[Transition]) {
        for transition in transitions {
            let (change, incident) = (transition.change, &transition.incident);
            let key = &incident.observed.key;
            match change {
                Change::Opened => {
                    tracing::warn!(kind = key.kind, id = incident.id, why = incident.observed.why, "opened")
                }
                Change::Resolved => tracing::info!(kind = key.kind, id = incident.id, "resolved"),
                Change::Updated => {}
            }
            if change == Change::Resolved {
                self.saved.queues.values_mut().for_each(|queue| queue.resolve(incident, now_ms));
            }
        }
        let names: Vec<String> = self.sinks.keys().cloned().collect();
        let mut is_changed = self.saved.book.take_changed();
        for name in names {
            is_changed |= self.announce(&name, now_ms);
        }
        if is_changed {
            self.save();
        }
    }

    fn announce(&mut self, name: &str, now_ms: i64) -> bool {
        let Self { saved: Saved { book, queues }, sinks, .. } = self;
        let (Some(queue), Some((_, manner))) = (queues.get_mut(name), sinks.get(name)) else { return false };
        let mine = book.open().filter(|incident| incident.route.iter().any(|sink| sink == name));
        queue.announce(mine, manner, now_ms)
    }

    /// Gives every sink a queue, and takes it from those that are configured no more.
    fn match_sinks(&mut self) {
        let Self { saved, sinks, .. } = self;
        saved.queues.retain(|name, queue| {
            let is_there = sinks.contains_key(name);
            if !is_there && queue.waiting() > 0 {
                let waiting = queue.waiting();
                tracing::warn!(sink = name, waiting, "the sink is configured no more; what waited for it is dropped");
            }
            is_there
        });
        for name in sinks.keys() {
            saved.queues.entry(name.clone()).or_default();
        }
    }

    fn save(&mut self) {
        let Some(file) = &self.file else { return };
        match file.save(&self.saved) {
            Ok(()) => self.unsaved = None,
            Err(error) => {
                tracing::error!(%error, "alerts could not be saved; they are told nevertheless, and twice after a crash");
                self.unsaved = Some(error.to_string());
            }
        }
    }

    /// Whether the part that observes is alive.
    fn is_observing(&self, now_ms: i64) -> bool {
        now_ms.saturating_sub(self.observed_ms) < self.silent_after_ms
    }
}

fn lost_state(damage: &AlertError, dir: &Path) -> Observed {
    let key = Key { kind: "alert-state-lost".to_owned(), group: None, topic: None, partition: None };
    Observed {
        key,
        why: damage.to_string(),
        amount: 1,
        command: format!("ls -l '{}'", dir.display()),
        findings: vec![],
        is_event: true,
    }
}
