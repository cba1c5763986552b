//! Pairs of stores that are compared for ever, each in a thread of its own.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;

use super::audits::Stamped;
use crate::audit::finding::Finding;
use crate::audit::verdict::Report;
use crate::config::drift::DriftPlan;
use crate::drift::follow::{Watcher, follow};
use crate::engine::{Progress, now_ms};
use crate::serve::board::{DriftView, Pulse};

/// A report at least so often, and after news not sooner than that.
const REPORT_EVERY: Duration = Duration::from_secs(5);
const NEWS_AFTER: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_millis(50);
/// A database may add up a large table for so long; shorter where its statements have a limit.
const SILENCE: Duration = Duration::from_secs(3_600);
const SLACK: Duration = Duration::from_secs(120);
/// A statement that is under way is not waited for any longer: nothing is lost with it.
const LONGEST_END: Duration = Duration::from_secs(10);

/// What a pair shows, written by its thread and read by the daemon.
#[derive(Default)]
struct Slot {
    report: ArcSwapOption<Stamped>,
    pulse_ms: AtomicI64,
    ready: AtomicBool,
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

pub struct Drift {
    pub name: String,
    about: String,
    allowed: Duration,
    slot: Arc<Slot>,
    progress: Arc<Progress>,
    thread: Option<JoinHandle<()>>,
}

impl Drift {
    pub fn start(name: String, plan: DriftPlan) -> std::io::Result<Self> {
        let (slot, progress) = (Arc::new(Slot::default()), Arc::new(Progress::default()));
        slot.pulse_ms.store(now_ms(), Ordering::Relaxed);
        // One comparison is a handful of statements.
        let allowed = plan.settings.limits.statement_timeout.map_or(SILENCE, |timeout| timeout * 4 + SLACK);
        let about = plan.describe();
        let worker = Worker { name: name.clone(), plan, slot: slot.clone(), progress: progress.clone() };
        let thread = std::thread::Builder::new().name(format!("drift-{name}")).spawn(move || worker.run())?;
        Ok(Self { name, about, allowed, slot, progress, thread: Some(thread) })
    }

    pub fn ask_to_stop(&self) {
        self.progress.stop();
    }

    pub fn join(&mut self) {
        self.ask_to_stop();
        let Some(thread) = self.thread.take() else { return };
        let until = Instant::now() + LONGEST_END;
        while !thread.is_finished() && Instant::now() < until {
            std::thread::sleep(TICK);
        }
        match thread.is_finished() {
            false => tracing::warn!(pair = self.name, "a statement is still running; it is left to end by itself"),
            true if thread.join().is_err() => {
                tracing::error!(pair = self.name, "the thread of a pair died; this is a bug in sordini");
            }
            true => {}
        }
    }

    pub fn report(&self) -> Option<Arc<Stamped>> {
        self.slot.report.load_full()
    }

    pub fn trouble(&self) -> Option<String> {
        self.slot.trouble()
    }

    pub fn view(&self) -> DriftView {
        let report = self.report();
        DriftView {
            name: self.name.clone(),
            about: self.about.clone(),
            at_ms: report.as_ref().map_or(0, |stamped| stamped.at_ms),
            report: report.map(|stamped| stamped.report.clone()),
            trouble: self.trouble(),
        }
    }

    pub fn pulse(&self) -> Pulse {
        Pulse {
            last_ms: self.slot.pulse_ms.load(Ordering::Relaxed),
            allowed_ms: self.allowed.as_millis() as i64,
            ready: self.slot.ready.load(Ordering::Relaxed),
        }
    }
}

struct Worker {
    name: String,
    plan: DriftPlan,
    slot: Arc<Slot>,
    progress: Arc<Progress>,
}

impl Worker {
    fn run(mut self) {
        self.plan.rhythm.is_patient = true;
        let DriftPlan { settings, rhythm } = &self.plan;
        while !self.progress.is_stopped() {
            let mut live = Live { slot: &self.slot, last: None, news: true };
            match follow(settings, rhythm, &self.progress, &mut live) {
                Ok(report) => live.report(report, self.slot.trouble().as_deref()),
                Err(error) => {
                    tracing::warn!(pair = self.name, %error, "the comparison ended; it is begun again");
                    self.slot.set_trouble(Some(error.to_string()));
                }
            }
            let until = Instant::now() + PAUSE;
            while Instant::now() < until && !self.progress.is_stopped() {
                std::thread::sleep(TICK);
            }
        }
    }
}

struct Live<'a> {
    slot: &'a Slot,
    last: Option<Instant>,
    news: bool,
}

impl Watcher for Live<'_> {
    fn fresh(&mut self, _: &[Finding]) {
        self.news = true;
    }

    fn wants_report(&mut self) -> bool {
        self.slot.pulse_ms.store(now_ms(), Ordering::Relaxed);
        let is_pressing = self.news || self.slot.trouble().is_some();
        let rest = if is_pressing { NEWS_AFTER } else { REPORT_EVERY };
        self.last.is_none_or(|last| last.elapsed() >= rest)
    }

    fn report(&mut self, report: Report, trouble: Option<&str>) {
        (self.last, self.news) = (Some(Instant::now()), false);
        let following = report.summary.drift.as_ref().and_then(|drift| drift.following.as_ref());
        let has_worked = following.is_some_and(|following| following.comparisons > 0);
        self.slot.set_trouble(trouble.map(str::to_owned));
        self.slot.report.store(Stamped::now(report));
        self.slot.ready.fetch_or(has_worked, Ordering::Relaxed);
    }
}
