//! What can go wrong with alerts, each with what to do next. What a sink answers is no error of this kind: it is tried
//! again, or recorded with the message.

use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum AlertError {
    #[error("{}: {source}; check its permissions and its disk", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the alerts in {} are in use by another process; stop that process or name another directory", path.display())]
    Locked { path: PathBuf },
    #[error(
        "{}: {what}; it was kept as {}, and incidents open at that time may be told again", path.display(), kept.display()
    )]
    Damaged { path: PathBuf, kept: PathBuf, what: String },
    #[error("{}: written in format {found}, this sordini reads format {known}; use a newer sordini", path.display())]
    Version { path: PathBuf, found: u32, known: u32 },
    #[error("alert rule {number}: {what}")]
    Rule { number: usize, what: String },
    #[error("alert sink \"{name}\": {what}")]
    Sink { name: String, what: String },
    #[error("alert heartbeat: {what}")]
    Heartbeat { what: String },
    #[error("alert {setting}: {what}")]
    Setting { setting: &'static str, what: String },
    #[error("starting a thread for alerts: {0}")]
    Thread(io::Error),
}

pub type Result<T> = std::result::Result<T, AlertError>;

impl AlertError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    pub(super) fn sink(name: &str, what: impl ToString) -> Self {
        Self::Sink { name: name.to_owned(), what: what.to_string() }
    }
}
