//! What the threads do: one sink's queue is formed, saved, sent and settled, over and over. The lock is never held while
//! something is sent.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::MutexGuard;
use std::time::Duration;

use super::{Core, Shared};
use crate::alert::heartbeat::Heartbeat;
use crate::alert::incident::Incident;
use crate::alert::outbox::{Batch, Failure};
use crate::alert::sinks::Configured;

/// Longest sleep: clocks are set, and silences end.
const LOOK: Duration = Duration::from_secs(1);

enum Work {
    Send(Batch),
    Refresh(Vec<Incident>),
    Beat,
}

/// Until the dispatcher stops.
pub fn tell(shared: &Shared, to: &Configured) {
    // At once, so that what a sink forgot while sordini was down is said again.
    let (mut next_refresh_ms, mut next_beat_ms) = (i64::MIN, i64::MIN);
    let mut core = shared.lock();
    while !core.is_stopping {
        let now_ms = (shared.clock)();
        let work = next(&mut core, to, now_ms).or_else(|| {
            let is_resting = core.saved.queues.get(&to.name).is_none_or(|queue| queue.is_resting(now_ms));
            if let Some(every_ms) =
                to.beat_ms.filter(|every| is_due(next_beat_ms, *every, now_ms) && core.is_observing(now_ms))
            {
                next_beat_ms = now_ms + every_ms;
                return Some(Work::Beat);
            }
            let every_ms = to.refresh_ms.filter(|every| is_due(next_refresh_ms, *every, now_ms) && !is_resting)?;
            next_refresh_ms = now_ms + every_ms;
            Some(Work::Refresh(held(&core, &to.name)))
                .filter(|work| !matches!(work, Work::Refresh(held) if held.is_empty()))
        });
        let Some(work) = work else {
            let next_ms = core.saved.queues.get(&to.name).and_then(|queue| queue.next_ms(&to.manner));
            core = shared.wait(core, sleep(next_ms, now_ms));
            continue;
        };
        core.sending += 1;
        drop(core);
        let outcome = guarded(|| match &work {
            Work::Send(batch) => to.sink.send(batch, now_ms),
            Work::Refresh(open) => to.sink.refresh(open, now_ms),
            Work::Beat => to.sink.beat(now_ms),
        });
        core = shared.lock();
        core.sending -= 1;
        settle(&mut core, &to.name, &work, outcome, (shared.clock)());
        shared.wake.notify_all();
    }
}

/// The batch to be sent now; it is on the disk.
fn next(core: &mut Core, to: &Configured, now_ms: i64) -> Option<Work> {
    let mut is_changed = core.announce(&to.name, now_ms);
    let queue = core.saved.queues.get_mut(&to.name)?;
    is_changed |= queue.form(&to.manner, now_ms);
    let batch = queue.due(now_ms).cloned();
    if is_changed || core.unsaved.is_some() {
        core.save();
    }
    batch.map(Work::Send)
}

/// Open incidents the sink was told of.
fn held(core: &Core, name: &str) -> Vec<Incident> {
    let Some(queue) = core.saved.queues.get(name) else { return vec![] };
    core.saved.book.open().filter(|incident| queue.holds(&incident.id)).cloned().collect()
}

fn settle(core: &mut MutexGuard<Core>, name: &str, work: &Work, outcome: Result<(), Failure>, now_ms: i64) {
    if core.file.is_none() {
        return;
    }
    match &outcome {
        Ok(()) => {}
        Err(Failure::Later { why, .. }) => tracing::warn!(sink = name, why, "not told yet; it is tried again"),
        Err(Failure::Never { why }) => tracing::error!(sink = name, why, "refused for good"),
    }
    let Some(queue) = core.saved.queues.get_mut(name) else { return };
    match (work, outcome) {
        (Work::Send(batch), outcome) => {
            queue.settle(&batch.id, outcome, now_ms, rand::random());
            core.save();
        }
        (Work::Refresh(_) | Work::Beat, Ok(())) => queue.taken(now_ms),
        (Work::Refresh(_) | Work::Beat, Err(Failure::Later { why, .. } | Failure::Never { why })) => {
            queue.last_error = Some(why);
        }
    }
}

/// Until the dispatcher stops.
pub fn beat(shared: &Shared, heartbeat: &Heartbeat) {
    let mut next_ms = i64::MIN;
    let mut core = shared.lock();
    while !core.is_stopping {
        let now_ms = (shared.clock)();
        if !is_due(next_ms, heartbeat.interval_ms, now_ms) || !core.is_observing(now_ms) {
            core = shared.wait(core, sleep(Some(next_ms), now_ms));
            continue;
        }
        next_ms = now_ms + heartbeat.interval_ms;
        drop(core);
        let outcome = guarded(|| heartbeat.beat());
        core = shared.lock();
        let Some(view) = &mut core.heartbeat else { return };
        match outcome {
            Ok(()) => {
                view.delivered += 1;
                (view.last_success_ms, view.last_error) = (Some((shared.clock)()), None);
            }
            Err(Failure::Later { why, .. } | Failure::Never { why }) => {
                tracing::warn!(why, "the heartbeat was not taken");
                view.failed += 1;
                view.last_error = Some(why);
            }
        }
    }
}

/// Also when a clock set back would make it wait for longer than it ever does.
fn is_due(next_ms: i64, every_ms: i64, now_ms: i64) -> bool {
    !(1..=every_ms).contains(&next_ms.saturating_sub(now_ms))
}

fn sleep(next_ms: Option<i64>, now_ms: i64) -> Duration {
    let left = next_ms.map_or(i64::MAX, |next_ms| next_ms.saturating_sub(now_ms));
    // Something due that could not be done now is looked at again soon, not at once.
    LOOK.min(Duration::from_millis(left.max(100) as u64))
}

/// A sink that panics is a sink that failed.
fn guarded(act: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|_| {
        Err(Failure::Later { why: "it panicked; see the log".to_owned(), after: None, is_sink_wide: false })
    })
}
