//! What is known now. Whoever learns something puts it here; whoever shows something takes it from here, and neither
//! waits for the other.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::alert::incident::Incident;
use crate::audit::verdict::Report;
use crate::lag::snapshot::Snapshot;

/// One audit that runs.
#[derive(Clone)]
pub struct AuditView {
    pub name: String,
    /// Absent until its first commit.
    pub report: Option<Arc<Report>>,
    /// When the report was made, milliseconds since 1970.
    pub at_ms: i64,
    /// Offsets between what was read and the ends of the topics; absent before they are known.
    pub behind: Option<i64>,
    pub records_per_second: f64,
    /// Why it does not run at the moment.
    pub trouble: Option<String>,
    pub restarts: u64,
}

/// A pair of stores that is compared.
#[derive(Clone)]
pub struct DriftView {
    pub name: String,
    /// What is compared with what, and how often.
    pub about: String,
    /// Absent until it was first compared, or could not be.
    pub report: Option<Arc<Report>>,
    /// When the report was made, milliseconds since 1970.
    pub at_ms: i64,
    /// Why it is not compared at the moment.
    pub trouble: Option<String>,
}

/// What a sink did.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct SinkView {
    pub name: String,
    pub kind: &'static str,
    pub delivered: u64,
    pub failed: u64,
    pub waiting: u64,
    pub last_error: Option<String>,
    pub last_success_ms: Option<i64>,
}

/// Whether a part is alive: when it last did something, and how long it may be silent.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Pulse {
    pub last_ms: i64,
    pub allowed_ms: i64,
    /// It has worked at least once, so its answers mean something.
    pub ready: bool,
}

pub struct Board {
    pub started_ms: i64,
    pub lag: ArcSwap<Snapshot>,
    pub audits: ArcSwap<BTreeMap<String, AuditView>>,
    pub drifts: ArcSwap<BTreeMap<String, DriftView>>,
    /// Open ones first, then those resolved lately; newest first.
    pub incidents: ArcSwap<Vec<Incident>>,
    pub sinks: ArcSwap<Vec<SinkView>>,
    /// By part: `lag`, `alerts`, `audit:NAME`, `drift:NAME`.
    pub pulses: ArcSwap<BTreeMap<String, Pulse>>,
    changes: watch::Sender<u64>,
}

impl Board {
    pub fn new(started_ms: i64) -> Self {
        Self {
            started_ms,
            lag: ArcSwap::default(),
            audits: ArcSwap::default(),
            drifts: ArcSwap::default(),
            incidents: ArcSwap::default(),
            sinks: ArcSwap::default(),
            pulses: ArcSwap::default(),
            changes: watch::Sender::new(0),
        }
    }

    /// Tells everyone who waits that something new is here.
    pub fn touch(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Wakes at each [`Board::touch`].
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// What a person may do from the page or the API.
pub trait Actions: Send + Sync {
    fn acknowledge(&self, incident: &str, by: &str, note: &str) -> Result<(), String>;
    /// Silences an incident until then, milliseconds since 1970; `None` lifts it.
    fn mute(&self, incident: &str, until_ms: Option<i64>) -> Result<(), String>;
    /// Everything known about an identity, as `sordini trace --format json` prints it.
    fn search(&self, identity: &str) -> Result<Vec<serde_json::Value>, String>;
}
