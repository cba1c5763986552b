//! Audits that never stop: each in a thread of its own, started again when it ends for any reason, and when the topics
//! it reads are no longer those it began with.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;

use crate::audit::finding::Finding;
use crate::audit::verdict::{Report, STOPPED};
use crate::config::AuditPlan;
use crate::engine::now_ms;
use crate::engine::{self, Observer, Progress};
use crate::report::format::causes;
use crate::serve::board::{AuditView, Pulse};
use crate::source::PartitionInfo;

/// Before an audit that ended is started again; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How often the cluster is asked for new topics and partitions.
const SCOUT_EVERY: Duration = Duration::from_secs(30);
/// A report at least so often, and after news not sooner than that.
const REPORT_EVERY: Duration = Duration::from_secs(10);
const NEWS_AFTER: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(200);
/// A settling of a large ledger may take so long.
const SILENCE_MS: i64 = 120_000;

/// A report and when it was made, milliseconds since 1970.
pub struct Stamped {
    pub report: Arc<Report>,
    pub at_ms: i64,
}

impl Stamped {
    pub fn now(report: Report) -> Option<Arc<Self>> {
        Some(Arc::new(Self { report: Arc::new(report), at_ms: now_ms() }))
    }
}

/// What a running audit shows, written by its threads and read by the daemon.
#[derive(Default)]
pub struct Slot {
    report: ArcSwapOption<Stamped>,
    behind: AtomicI64,
    pulse_ms: AtomicI64,
    ready: AtomicBool,
    records_per_second: AtomicU64,
    restarts: AtomicU64,
    trouble: Mutex<Option<String>>,
}

impl Slot {
    fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

pub struct Audit {
    pub name: String,
    slot: Arc<Slot>,
    stop: Arc<AtomicBool>,
    progress: Arc<Mutex<Arc<Progress>>>,
    thread: Option<JoinHandle<()>>,
}

impl Audit {
    pub fn start(name: String, plan: AuditPlan) -> std::io::Result<Self> {
        let (slot, stop) = (Arc::new(Slot::default()), Arc::new(AtomicBool::new(false)));
        slot.pulse_ms.store(now_ms(), Ordering::Relaxed);
        let progress = Arc::new(Mutex::new(Arc::new(Progress::default())));
        let supervisor =
            Supervisor { name: name.clone(), plan, slot: slot.clone(), stop: stop.clone(), progress: progress.clone() };
        let thread = std::thread::Builder::new().name(format!("audit-{name}")).spawn(move || supervisor.run())?;
        Ok(Self { name, slot, stop, progress, thread: Some(thread) })
    }

    /// Asks it to commit and end; does not wait.
    pub fn ask_to_stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).stop();
    }

    pub fn join(&mut self) {
        self.ask_to_stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(audit = self.name, "an audit's thread died; this is a bug in sordini");
        }
    }

    /// Its last report.
    pub fn report(&self) -> Option<Arc<Stamped>> {
        self.slot.report.load_full()
    }

    pub fn view(&self) -> AuditView {
        let report = self.slot.report.load_full();
        AuditView {
            name: self.name.clone(),
            at_ms: report.as_ref().map_or(0, |stamped| stamped.at_ms),
            report: report.map(|stamped| stamped.report.clone()),
            behind: self.slot.ready.load(Ordering::Relaxed).then(|| self.slot.behind.load(Ordering::Relaxed)),
            records_per_second: f64::from_bits(self.slot.records_per_second.load(Ordering::Relaxed)),
            trouble: self.slot.trouble(),
            restarts: self.slot.restarts.load(Ordering::Relaxed),
        }
    }

    pub fn trouble(&self) -> Option<String> {
        self.slot.trouble()
    }

    pub fn pulse(&self) -> Pulse {
        Pulse {
            last_ms: self.slot.pulse_ms.load(Ordering::Relaxed),
            allowed_ms: SILENCE_MS,
            ready: self.slot.ready.load(Ordering::Relaxed),
        }
    }
}

struct Supervisor {
    name: String,
    plan: AuditPlan,
    slot: Arc<Slot>,
    stop: Arc<AtomicBool>,
    progress: Arc<Mutex<Arc<Progress>>>,
}

impl Supervisor {
    fn run(&self) {
        let mut pause = FIRST_PAUSE;
        while !self.is_stopped() {
            let began = Instant::now();
            match self.once() {
                // The topics changed, or somebody asked to stop.
                Ok(()) => self.slot.set_trouble(None),
                Err(error) => {
                    let error = causes(&error);
                    tracing::warn!(audit = self.name, error, "the audit ended; it is started again");
                    self.slot.set_trouble(Some(error));
                }
            }
            if began.elapsed() > LONGEST_PAUSE {
                pause = FIRST_PAUSE;
            }
            self.sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
            self.slot.restarts.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn sleep(&self, pause: Duration) {
        let until = Instant::now() + pause;
        while !self.is_stopped() && Instant::now() < until {
            self.slot.pulse_ms.store(now_ms(), Ordering::Relaxed);
            std::thread::sleep(TICK.min(pause));
        }
    }

    fn once(&self) -> anyhow::Result<()> {
        let (source, _) = self.plan.connect()?;
        let progress = Arc::new(Progress::default());
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = progress.clone();
        if self.is_stopped() {
            return Ok(());
        }
        let done = Arc::new(AtomicBool::new(false));
        let scout =
            Scout { plan: self.plan.clone(), progress: progress.clone(), slot: self.slot.clone(), done: done.clone() };
        let scouting = std::thread::Builder::new().name("scout".to_owned()).spawn(move || scout.run())?;
        let mut live = Live { slot: &self.slot, news: true, last: None, began: Instant::now() };
        let ended = engine::audit(source, &self.plan.settings, &progress, &mut live);
        done.store(true, Ordering::Relaxed);
        scouting.thread().unpark();
        // It only ever asks the audit to stop.
        let _ = scouting.join();
        let report = ended?;
        let unread = report.summary.unread.iter().find(|part| part.why != STOPPED).map(|part| part.why.clone());
        self.slot.report.store(Stamped::now(report));
        match unread {
            Some(why) if !self.is_stopped() => anyhow::bail!(why),
            _ => Ok(()),
        }
    }
}

/// Looks now and then whether there are topics or partitions the running audit does not read, and ends it then: it begins
/// anew where it stopped, with all of them.
struct Scout {
    plan: AuditPlan,
    progress: Arc<Progress>,
    slot: Arc<Slot>,
    done: Arc<AtomicBool>,
}

impl Scout {
    fn run(&self) {
        let mut known: Option<BTreeSet<Part>> = None;
        loop {
            let now: Option<BTreeSet<Part>> = self
                .plan
                .connect()
                .and_then(|(mut source, _)| Ok(source.partitions()?))
                .ok()
                .map(|all| all.iter().map(part).collect());
            if let (Some(known), Some(now)) = (&known, &now)
                && known != now
            {
                tracing::info!("topics or partitions came or went; the audit begins anew with them");
                self.progress.stop();
                return;
            }
            known = known.or(now);
            let until = Instant::now() + SCOUT_EVERY;
            while Instant::now() < until {
                if self.done.load(Ordering::Relaxed) {
                    return;
                }
                std::thread::park_timeout(until.saturating_duration_since(Instant::now()));
            }
            // A part that was given up is tried again.
            let gave_up = self.slot.report.load().as_ref().is_some_and(|last| !last.report.summary.unread.is_empty());
            if gave_up {
                tracing::info!("something could not be read; the audit begins anew to try again");
                self.progress.stop();
                return;
            }
        }
    }
}

/// Topic, its id, partition.
type Part = (String, Option<uuid::Uuid>, i32);

fn part(info: &PartitionInfo) -> Part {
    (info.topic.to_string(), info.topic_id, info.partition)
}

struct Live<'a> {
    slot: &'a Slot,
    news: bool,
    /// When the last report was made, and the records until then.
    last: Option<(Instant, u64)>,
    began: Instant,
}

impl Observer for Live<'_> {
    fn committed(&mut self, _: &[Finding]) {
        self.news = true;
    }

    fn wants_report(&mut self) -> bool {
        self.slot.pulse_ms.store(now_ms(), Ordering::Relaxed);
        match self.last {
            None => self.began.elapsed() >= NEWS_AFTER,
            Some((at, _)) => at.elapsed() >= if self.news { NEWS_AFTER } else { REPORT_EVERY },
        }
    }

    fn report(&mut self, report: Report, behind: i64) {
        let records = report.summary.figures.records;
        if let Some((at, before)) = self.last {
            let rate = records.saturating_sub(before) as f64 / at.elapsed().as_secs_f64().max(0.001);
            self.slot.records_per_second.store(rate.to_bits(), Ordering::Relaxed);
        }
        (self.last, self.news) = (Some((Instant::now(), records)), false);
        self.slot.behind.store(behind, Ordering::Relaxed);
        self.slot.ready.store(true, Ordering::Relaxed);
        let trouble = report.summary.unread.first().map(|part| part.why.clone());
        self.slot.set_trouble(trouble);
        self.slot.report.store(Stamped::now(report));
    }
}
