//! The daemon: runs audits and rounds over the consumer groups, tells the alerts what is wrong, and keeps the board that
//! metrics, API and page are served from. It ties the other parts together and judges nothing.
//!
//! * `plan`: what the settings mean, everything resolved and checked before anything is started
//! * `audits`, `groups`, `drifts`: the parts that observe, each in threads of its own
//! * `observe`: from what they know to what is wrong
//! * `keep`: the groups' windows on disk
//! * `systemd`: what the operating system is told

mod audits;
mod drifts;
mod groups;
mod keep;
mod observe;
mod plan;
mod running;
mod systemd;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::config::watch::WatchFile;
use crate::engine::now_ms;
use crate::report::format::causes;
use crate::serve::board::Board;
use plan::Plan;
use running::Running;

/// How often the board is brought up to date.
const TICK: Duration = Duration::from_secs(1);

/// What is asked of the daemon while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Commit and leave.
    Stop,
    /// Read the settings again.
    Reload,
}

/// What the daemon would do, in sentences. Everything is checked that can be without reaching anything.
pub fn describe(file: &WatchFile) -> anyhow::Result<Vec<String>> {
    Ok(Plan::of(file)?.describe())
}

/// Runs until it is told to stop.
pub fn run(config: &Path, asks: &Receiver<Ask>) -> anyhow::Result<()> {
    let board = Arc::new(Board::new(now_ms()));
    let mut running = Running::start(Plan::of(&WatchFile::read(config)?)?, board.clone())?;
    eprintln!("sordini: watching by {}; page, API and metrics at {}", config.display(), running.address());
    systemd::ready();
    loop {
        let next = Instant::now() + TICK;
        match asks.recv_deadline(next) {
            Ok(Ask::Stop) => break,
            Ok(Ask::Reload) => {
                systemd::reloading();
                running = reload(running, config, &board)?;
                systemd::ready();
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(TICK),
        }
        running.tick();
        if board.pulses.load().values().all(|pulse| now_ms() - pulse.last_ms <= pulse.allowed_ms) {
            systemd::alive();
        }
    }
    systemd::stopping();
    running.stop();
    Ok(())
}

/// Settings that are wrong change nothing: the daemon goes on with the old ones and says so.
fn reload(running: Running, config: &Path, board: &Arc<Board>) -> anyhow::Result<Running> {
    match WatchFile::read(config).map_err(anyhow::Error::from).and_then(|file| Plan::of(&file)) {
        Ok(plan) => {
            tracing::info!(config = %config.display(), "settings read again");
            let before = running.plan().clone();
            running.stop();
            Running::start(plan, board.clone()).or_else(|error| {
                tracing::error!(error = causes(&error), "the new settings do not work; going on with the old ones");
                Running::start(before, board.clone())
            })
        }
        Err(error) => {
            tracing::error!(error = causes(&error), "the new settings are wrong; going on with the old ones");
            Ok(running)
        }
    }
}
