//! The threads and queues that tie sources to checks and the ledger.
//!
//! Every reader has a thread of its own, on which the partition checks run (`sink`). What they gather goes through a
//! bounded queue to one auditor (`auditor`), which judges sessions and identities, owns the ledger and commits. A
//! slow ledger fills the queue and so slows reading; memory does not grow. A `Chunk` carries observations together
//! with the partition's state after them, so whatever the auditor has taken in is a consistent state to commit.

mod auditor;
mod checked;
mod flows;
pub mod index;
mod losses;
mod partitions;
mod report;
mod sessions;
mod sink;
mod state;
pub mod trace;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;

use crate::audit::coverage::Isolation;
use crate::audit::finding::Finding;
use crate::audit::partition::PartitionState;
use crate::audit::verdict::Report;
use crate::identify::{Observations, Rules};
use crate::ledger::{Key, Ledger, LedgerError, Options};
use crate::source::{Source, SourceError};
use auditor::Auditor;
pub use flows::FlowRules;
use index::Indexes;
use partitions::Partitions;
use sink::ReaderSink;
use trace::Listener;

/// Chunks in flight between the readers and the auditor.
const QUEUE: usize = 12;
/// How long a ledger may be in use before that is an error, and how often it is tried.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Milliseconds since 1970; replaced in tests.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The clock that is not replaced.
pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}

#[derive(Clone)]
pub struct Settings {
    pub rules: Rules,
    pub wait: Duration,
    pub horizon: Duration,
    pub sequence_start: Option<i64>,
    pub timestamp_bound: Duration,
    pub isolation: Isolation,
    /// Directory of the ledger; temporary when absent.
    pub ledger: Option<PathBuf>,
    /// Kept outside of the ledger; the ledger makes its own when absent.
    pub key: Option<Key>,
    pub memory_bytes: usize,
    /// Longest time between two commits, and so between an anomaly and its report.
    pub commit_every: Duration,
    pub follow: bool,
    pub clock: Clock,
    /// The flow whose stages the topics are.
    pub flow: Option<FlowRules>,
    /// Where records are remembered by offset, for whoever wants to know how many lie between two of them.
    pub indexes: Option<Arc<Indexes>>,
}

/// What a running audit shows: counted by readers, read by whoever draws a progress bar, and the way to stop it.
#[derive(Default)]
pub struct Progress {
    pub stop: AtomicBool,
    pub records: AtomicU64,
    pub bytes: AtomicU64,
    /// Offsets to read and read so far.
    pub offsets_total: AtomicU64,
    pub offsets_done: AtomicU64,
    pub findings: AtomicU64,
    /// Rows of tables that are read in steps, and those read so far.
    pub rows_total: AtomicU64,
    pub rows_done: AtomicU64,
    phase: Mutex<String>,
}

impl Progress {
    /// What is being done, for whoever waits.
    pub fn enter(&self, phase: String) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    pub fn phase(&self) -> String {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Who wants to know what a running audit finds. Called on the auditor's thread, which waits meanwhile.
pub trait Observer {
    /// These are durable now.
    fn committed(&mut self, findings: &[Finding]);

    /// Whether a report of all that is known so far is wanted; asked after each commit, and when nothing happens.
    fn wants_report(&mut self) -> bool {
        false
    }

    /// `behind`: offsets between what was read and the ends of the logs.
    fn report(&mut self, _report: Report, _behind: i64) {}
}

impl<F: FnMut(&[Finding])> Observer for F {
    fn committed(&mut self, findings: &[Finding]) {
        self(findings);
    }
}

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("{0}")]
    TemporaryLedger(std::io::Error),
    #[error(
        "ledger {ledger} was made with other rules ({theirs}), now asked: {ours}; use the same rules, or another --ledger"
    )]
    OtherRules { ledger: String, theirs: String, ours: String },
    #[error(
        "the state in ledger {ledger} does not parse ({why}); use another --ledger, or the version of sordini that wrote it"
    )]
    State { ledger: String, why: String },
}

/// One stretch of one partition, from a reader to the auditor.
struct Chunk {
    index: u32,
    state: Box<PartitionState>,
    seen: Observations,
    findings: Vec<Finding>,
    /// Set when the reader gave up on the partition.
    failed: Option<String>,
}

enum Message {
    Chunk(Box<Chunk>),
    /// Partitions that were found read to their end, nothing else having changed, and their stream times.
    AtRest(Vec<(u32, i64)>),
    /// Input that belongs to no partition.
    Unreadable {
        place: String,
        why: String,
    },
}

/// Runs an audit to its end, or until it is stopped. The observer sees findings once they are durable.
pub fn audit(
    mut source: Box<dyn Source>,
    settings: &Settings,
    progress: &Arc<Progress>,
    observer: &mut dyn Observer,
) -> Result<Report, EngineError> {
    let began = Instant::now();
    let found = source.partitions()?;
    let known_beforehand = !found.is_empty();
    let (ledger, _temporary) = open_ledger(settings)?;
    let state = state::load(&ledger, settings)?;
    let secret = *ledger.secret();
    let partitions = Arc::new(Partitions::new(state.partitions.clone(), settings, secret));
    let assignments: Vec<_> = found.into_iter().map(|info| partitions.register(info)).collect();
    let refused = source.refused();
    for assignment in &assignments {
        let left = assignment.info.until.map_or(0, |until| until - assignment.position);
        progress.offsets_total.fetch_add(left.max(0) as u64, Ordering::Relaxed);
    }
    let readers = if known_beforehand && assignments.is_empty() { Vec::new() } else { source.readers(assignments)? };

    let (sender, receiver) = bounded(QUEUE);
    let mut auditor = Auditor::new(settings, ledger, state, partitions.clone(), known_beforehand)?;
    // Goes before the auditor does, whose ledger is the proof that the socket is ours.
    let (asker, asks) = bounded(1);
    let listener = settings.ledger.as_ref().and_then(|dir| Listener::start(dir, asker));
    let outcome = std::thread::scope(|scope| {
        let threads: Vec<_> = readers
            .into_iter()
            .enumerate()
            .map(|(number, mut reader)| {
                let mut sink = ReaderSink::new(partitions.clone(), sender.clone(), progress.clone(), settings);
                std::thread::Builder::new()
                    .name(format!("reader-{number}"))
                    .spawn_scoped(scope, move || {
                        let read = reader.run(&mut sink);
                        sink.end();
                        read
                    })
                    .map_err(|source| SourceError::Io { what: "starting a reader thread".to_owned(), source })
            })
            .collect();
        drop(sender);
        let audited = auditor.run(&receiver, &asks, progress, &refused, observer);
        // Who asks now is told that nobody will answer.
        drop(asks);
        if audited.is_err() {
            progress.stop();
        }
        // Readers blocked on the full queue must find it gone.
        drop(receiver);
        let read: Vec<Result<(), SourceError>> = threads
            .into_iter()
            .map(|thread| match thread?.join() {
                Ok(read) => read,
                Err(panic) => Err(SourceError::Protocol {
                    what: "a reader thread died; this is a bug in sordini".to_owned(),
                    why: panic_text(&*panic),
                }),
            })
            .collect();
        audited.map(|()| read)
    })?;
    for read in outcome {
        if let Err(error) = read {
            auditor.reader_failed(error);
        }
    }
    drop(listener);
    auditor.report(&refused, began.elapsed(), progress.is_stopped())
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

fn open_ledger(settings: &Settings) -> Result<(Ledger, Option<tempfile::TempDir>), EngineError> {
    let options =
        |durable| Options { memory_bytes: settings.memory_bytes, horizon_seconds: settings.horizon.as_secs(), durable };
    let key = settings.key.as_ref();
    match &settings.ledger {
        Some(dir) => {
            // Somebody may just be looking something up.
            let deadline = Instant::now() + LOCK_PATIENCE;
            loop {
                match Ledger::open_with(dir, options(true), key) {
                    Err(LedgerError::Locked { .. }) if Instant::now() < deadline => std::thread::sleep(LOCK_PAUSE),
                    opened => return Ok((opened?, None)),
                }
            }
        }
        None => {
            let dir = tempfile::Builder::new().prefix("sordini-").tempdir().map_err(EngineError::TemporaryLedger)?;
            Ok((Ledger::open_with(dir.path(), options(false), key)?, Some(dir)))
        }
    }
}
