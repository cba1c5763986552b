//! Reads `__consumer_offsets` for as long as it is let: a thread that opens the topic, watches the readers, and opens it
//! anew when something was in the way. What the records mean is not its business.
//!
//! Records are read uncommitted and transactions settled by their markers in the book, so that a transaction that hangs
//! holds up nobody else's commits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::intake::{Following, Intake, Trouble, trouble};
use super::news::Drained;
use crate::audit::coverage::Isolation;
use crate::source::kafka::KafkaSource;
use crate::source::{Assignment, Event, PartitionInfo, Properties, Selection, Sink, Source, SourceError, Start};

pub const TOPIC: &str = "__consumer_offsets";
/// Commits are small and come one by one: larger answers would only cost memory.
const FETCH_BYTES: usize = 2 << 20;
/// How often the wish to stop, and the readers, are looked at.
const POLL: Duration = Duration::from_millis(100);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// How long the rest of the topic is read on when a part of it was given up.
const BROKEN_FOR: Duration = Duration::from_secs(10);

struct Shared {
    is_stopped: AtomicBool,
    intake: Mutex<Intake>,
}

impl Shared {
    fn intake(&self) -> MutexGuard<'_, Intake> {
        // Whatever a thread left behind in panic, the next records set right or polling does.
        self.intake.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }
}

/// Follows the topic until it is stopped or dropped.
pub struct Follower {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Begins `tail` offsets before the end of each partition. Only settings that cannot be right are an error here; what
    /// else is in the way is told by [`Follower::standing`], and tried again.
    pub fn start(mut properties: Properties, tail: i64) -> Result<Self, SourceError> {
        properties.entry("fetch.max.bytes".to_owned()).or_insert_with(|| FETCH_BYTES.to_string());
        KafkaSource::check(&properties)?;
        let shared = Arc::new(Shared { is_stopped: AtomicBool::new(false), intake: Mutex::default() });
        let thread = spawn("commits", {
            let shared = shared.clone();
            move || follow(&shared, &properties, tail)
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// What is new since the last time.
    pub fn drain(&self) -> Drained {
        self.shared.intake().book.drain()
    }

    pub fn standing(&self) -> Following {
        self.shared.intake().standing(Instant::now())
    }

    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.shared.is_stopped.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("the thread that follows the commits has panicked");
            }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.end();
    }
}

fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, SourceError> {
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    spawned.map_err(|source| SourceError::Io { what: "starting a thread that reads commits".to_owned(), source })
}

fn follow(shared: &Arc<Shared>, properties: &Properties, tail: i64) {
    let mut pause = FIRST_PAUSE;
    while !shared.is_stopped() {
        let began = Instant::now();
        if let Err(trouble) = read(shared, properties, tail) {
            tracing::debug!(?trouble, "commits cannot be followed now");
            shared.intake().trouble = Some(trouble);
        }
        pause = if began.elapsed() > 2 * LONGEST_PAUSE { FIRST_PAUSE } else { (2 * pause).min(LONGEST_PAUSE) };
        let again_at = Instant::now() + pause.mul_f64(rand::random_range(0.5..1.0));
        while !shared.is_stopped() && Instant::now() < again_at {
            std::thread::park_timeout(again_at.saturating_duration_since(Instant::now()));
        }
    }
}

/// Reads until it is stopped, or until something is so wrong that the topic has to be opened anew.
fn read(shared: &Arc<Shared>, properties: &Properties, tail: i64) -> Result<(), Trouble> {
    let other = |error: SourceError| trouble(error.to_string());
    let properties = properties.clone();
    let Some(opened) = patiently(shared, move || open(&properties, tail)) else { return Ok(()) };
    let (source, infos) = opened?;
    let refused = source.refused().into_iter().next().map(|(_, _, why)| trouble(why));
    let now = Instant::now();
    let assignments = {
        let mut intake = shared.intake();
        intake.trouble = refused;
        infos.into_iter().map(|info| intake.assign(info, now)).collect()
    };
    let is_over = Arc::new(AtomicBool::new(false));
    let mut readers = Vec::new();
    for mut reader in Box::new(source).readers(assignments).map_err(other)? {
        let mut sink = ReaderSink { shared: shared.clone(), is_over: is_over.clone() };
        match spawn("commits-reader", move || reader.run(&mut sink)) {
            Ok(thread) => readers.push(thread),
            Err(error) => {
                is_over.store(true, Ordering::Relaxed);
                return Err(other(error));
            }
        }
    }
    let mut broken_since: Option<Instant> = None;
    while !shared.is_stopped() && readers.iter().any(|reader| !reader.is_finished()) {
        std::thread::park_timeout(POLL);
        broken_since = shared.intake().is_broken().then(|| broken_since.unwrap_or_else(Instant::now));
        if broken_since.is_some_and(|since| since.elapsed() > BROKEN_FOR) {
            break;
        }
    }
    is_over.store(true, Ordering::Relaxed);
    let mut result = Ok(());
    for reader in readers {
        match reader.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => result = Err(other(error)),
            Err(_) => result = Err(Trouble::Other("a thread that read commits has panicked".to_owned())),
        }
    }
    result
}

fn open(properties: &Properties, tail: i64) -> Result<(KafkaSource, Vec<PartitionInfo>), Trouble> {
    let selection = Selection {
        topics: vec![TOPIC.to_owned()],
        partitions: Vec::new(),
        start: Start::Tail(tail.max(0)),
        isolation: Isolation::ReadUncommitted,
        follow: true,
    };
    let mut source = KafkaSource::connect(properties, selection).map_err(|error| trouble(error.to_string()))?;
    match source.partitions() {
        Ok(infos) => Ok((source, infos)),
        Err(SourceError::NotFound(why)) if source.refused().is_empty() => Err(Trouble::Absent(why)),
        Err(error) => Err(trouble(error.to_string())),
    }
}

/// Does what may take long on a thread of its own, so that the wish to stop is heeded meanwhile: then that thread is left
/// to end by itself, and there is no result.
fn patiently<T: Send + 'static>(
    shared: &Shared,
    work: impl FnOnce() -> Result<T, Trouble> + Send + 'static,
) -> Option<Result<T, Trouble>> {
    let (done, result) = mpsc::sync_channel(1);
    // Nobody listens any more after a stop.
    let spawned = spawn("commits-open", move || _ = done.send(work()));
    if let Err(error) = spawned {
        return Some(Err(trouble(error.to_string())));
    }
    loop {
        match result.recv_timeout(POLL) {
            Ok(result) => return Some(result),
            Err(RecvTimeoutError::Timeout) if shared.is_stopped() => return None,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Some(Err(Trouble::Other("the thread that opened the topic has panicked".to_owned())));
            }
        }
    }
}

/// What a reader hands its events to.
struct ReaderSink {
    shared: Arc<Shared>,
    is_over: Arc<AtomicBool>,
}

impl Sink for ReaderSink {
    fn register(&mut self, info: PartitionInfo) -> Assignment {
        self.shared.intake().assign(info, Instant::now())
    }

    fn event(&mut self, index: u32, event: Event<'_>) {
        self.shared.intake().event(index as i32, event, Instant::now());
    }

    fn pass_on(&mut self, index: u32) {
        self.shared.intake().heard(index as i32, Instant::now());
    }

    fn unreadable_input(&mut self, _: &str, _: &str) {}

    fn stopped(&self) -> bool {
        self.is_over.load(Ordering::Relaxed) || self.shared.is_stopped()
    }
}
