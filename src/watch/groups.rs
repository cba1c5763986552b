//! The thread that watches consumer groups: a round at every interval, its windows kept over restarts.

use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::Xxh3;

use crate::engine::Clock;
use crate::engine::now_ms;
use crate::lag::snapshot::Snapshot;
use crate::lag::watcher::{Plan, Watcher};
use crate::serve::board::{Board, Pulse};

use super::keep::Keep;

/// Windows are written down so often, and whenever something happened that must not be told twice.
const KEEP_EVERY: Duration = Duration::from_secs(60);
/// A round may take as long as this many intervals before it counts as silent.
const SILENT_ROUNDS: u32 = 6;
const LEAST_SILENCE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(200);

/// What a round came to.
pub type Heard = Box<dyn FnMut(Result<&Snapshot, String>) + Send>;

/// Groups whose going somebody acknowledged since the last round.
pub type KnownGone = Arc<Mutex<Vec<String>>>;

pub struct Groups {
    stop: Arc<AtomicBool>,
    pulse_ms: Arc<AtomicI64>,
    ready: Arc<AtomicBool>,
    allowed: Duration,
    thread: Option<JoinHandle<()>>,
}

impl Groups {
    pub fn start(
        plan: Plan,
        state: &Path,
        board: Arc<Board>,
        known_gone: KnownGone,
        heard: Heard,
    ) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (pulse_ms, ready) = (Arc::new(AtomicI64::new(now_ms())), Arc::new(AtomicBool::new(false)));
        let allowed = (plan.interval * SILENT_ROUNDS).max(LEAST_SILENCE);
        let worker = Worker {
            plan,
            state: state.to_owned(),
            board,
            known_gone,
            heard,
            stop: stop.clone(),
            pulse_ms: pulse_ms.clone(),
            ready: ready.clone(),
        };
        let thread = std::thread::Builder::new().name("groups".to_owned()).spawn(move || worker.run())?;
        Ok(Self { stop, pulse_ms, ready, allowed, thread: Some(thread) })
    }

    pub fn pulse(&self) -> Pulse {
        Pulse {
            last_ms: self.pulse_ms.load(Ordering::Relaxed),
            allowed_ms: self.allowed.as_millis() as i64,
            ready: self.ready.load(Ordering::Relaxed),
        }
    }

    pub fn ask_to_stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub fn join(&mut self) {
        self.ask_to_stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that watches groups died; this is a bug in sordini");
        }
    }
}

/// All that is said of groups and partitions, as one number.
fn verdicts(snapshot: &Snapshot) -> u64 {
    let mut hash = Xxh3::new();
    for group in &snapshot.groups {
        hash.write(group.group.as_bytes());
        hash.write_u8(group.judgement.verdict as u8);
        group.partitions.iter().for_each(|partition| hash.write_u8(partition.judgement.verdict as u8));
    }
    hash.finish()
}

struct Worker {
    plan: Plan,
    state: PathBuf,
    board: Arc<Board>,
    known_gone: KnownGone,
    heard: Heard,
    stop: Arc<AtomicBool>,
    pulse_ms: Arc<AtomicI64>,
    ready: Arc<AtomicBool>,
}

impl Worker {
    fn run(mut self) {
        let keep = Keep::new(&self.state);
        let mut watcher: Option<Watcher> = None;
        let (mut kept, mut told) = (Instant::now(), 0);
        let clock: Clock = Arc::new(now_ms);
        while !self.stop.load(Ordering::Relaxed) {
            let began = Instant::now();
            if let Some(watcher) = &mut watcher {
                let known = std::mem::take(&mut *self.known_gone.lock().unwrap_or_else(PoisonError::into_inner));
                known.iter().for_each(|group| watcher.acknowledge_gone(group));
            }
            let round = match &mut watcher {
                Some(watcher) => watcher.round(&clock).map_err(|error| error.to_string()),
                None => Watcher::connect(&self.plan, keep.load())
                    .map_err(|error| error.to_string())
                    .and_then(|new| watcher.insert(new).round(&clock).map_err(|error| error.to_string())),
            };
            // A round that failed was tried; what it means is told by an incident, not by silence.
            self.pulse_ms.store(now_ms(), Ordering::Relaxed);
            match round {
                Ok(snapshot) => {
                    // What a verdict rests on is kept before anyone is told of it: after a kill the same verdict must come
                    // at once, or its incident would be resolved and opened again.
                    let verdicts = verdicts(&snapshot);
                    let is_news = verdicts != told || !snapshot.happened.is_empty();
                    if let Some(watcher) = &watcher
                        && (is_news || kept.elapsed() >= KEEP_EVERY)
                    {
                        keep.save(watcher.state());
                        (kept, told) = (Instant::now(), verdicts);
                    }
                    (self.heard)(Ok(&snapshot));
                    self.ready.store(true, Ordering::Relaxed);
                    self.board.lag.store(Arc::new(snapshot));
                    self.board.touch();
                }
                Err(error) => {
                    tracing::warn!(%error, "a round over the groups failed");
                    (self.heard)(Err(error));
                }
            }
            self.sleep_until(began + self.plan.interval);
        }
        if let Some(watcher) = &watcher {
            keep.save(watcher.state());
        }
    }

    fn sleep_until(&self, until: Instant) {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.stop.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep(left.min(TICK));
        }
    }
}
