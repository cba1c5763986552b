//! `/metrics`: written in the background when the board changes, kept compressed, and handed out as it lies there. A scrape
//! costs a copy to the socket, however many series there are.
//!
//! * `table`: every metric there is
//! * `text`: lines in the two exposition formats; `segments`: keeps them compressed
//! * `lag`, `own`, `flows`, `drift`: from the board to samples
//! * `docs`: the table as a document

#[cfg(test)]
mod docs;
mod drift;
mod flows;
mod lag;
mod own;
mod segments;
pub mod table;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use self::lag::Section;
#[cfg(test)]
pub use self::own::resident_bytes;
pub use self::own::state as incident_state;
pub use self::segments::Packed;
use self::segments::{Packer, Segment};
use self::table::Family;
pub use self::text::Format;
use super::board::{AuditView, Board};
use crate::config::serve::Compat;
use crate::lag::snapshot::Snapshot;

/// Without a change, this often: process figures move, too.
const REFRESH: Duration = Duration::from_secs(15);
/// Rest after writing, as a multiple of the time it took: at most a tenth of a core is spent.
const REST: u32 = 9;
const LEAST_REST: Duration = Duration::from_millis(100);

#[derive(Clone, Debug, Default)]
pub struct Options {
    pub compat: Vec<Compat>,
    pub sentinels: bool,
}

impl Options {
    fn has(&self, compat: Compat) -> bool {
        self.compat.contains(&compat)
    }
}

/// Both formats; they share the samples.
pub struct Exposition {
    pub open_metrics: Packed,
    pub plain: Packed,
}

/// Writes expositions; keeps what did not change since the last one.
pub struct Renderer {
    options: Options,
    version: String,
    snapshot: Option<(Arc<Snapshot>, Section)>,
    audits: Option<(Arc<BTreeMap<String, AuditView>>, Section)>,
}

impl Renderer {
    pub fn new(options: Options, version: &str) -> Self {
        Self { options, version: version.to_owned(), snapshot: None, audits: None }
    }

    pub fn render(&mut self, board: &Board, now_ms: i64) -> io::Result<Exposition> {
        let snapshot = board.lag.load_full();
        if !self.snapshot.as_ref().is_some_and(|(known, _)| Arc::ptr_eq(known, &snapshot)) {
            // The old text goes first, so that two of them are never held beside what is being served.
            self.snapshot = None;
            let section = lag::section(&snapshot, &self.options)?;
            self.snapshot = Some((snapshot, section));
        }
        let audits = board.audits.load_full();
        if !self.audits.as_ref().is_some_and(|(known, _)| Arc::ptr_eq(known, &audits)) {
            let section = own::audits(&audits)?;
            self.audits = Some((audits, section));
        }
        let rest = own::rest(board, &self.version, now_ms)?;
        let kept = [self.snapshot.as_ref().map(|s| &s.1), self.audits.as_ref().map(|a| &a.1)];
        let sections: Vec<&Section> = kept.into_iter().flatten().chain([&rest]).collect();
        Ok(Exposition {
            open_metrics: assemble(&sections, Format::OpenMetrics)?,
            plain: assemble(&sections, Format::Plain)?,
        })
    }
}

fn assemble(sections: &[&Section], format: Format) -> io::Result<Packed> {
    let end = pack(format.end())?;
    let mut row = Vec::new();
    for (family, samples) in sections.iter().copied().flatten() {
        row.extend(head(family, format)?);
        row.push(samples);
    }
    row.push(&end);
    Ok(Packed::of(row))
}

fn pack(text: &str) -> io::Result<Segment> {
    let mut packer = Packer::new();
    packer.write_all(text.as_bytes())?;
    packer.finish()
}

/// The lines above a family's samples, compressed once in the life of the process.
fn head(family: &'static Family, format: Format) -> io::Result<Option<&'static Segment>> {
    type Heads = Vec<(&'static str, [Segment; 2])>;
    static HEADS: OnceLock<io::Result<Heads>> = OnceLock::new();
    let heads = HEADS.get_or_init(|| {
        let both = |family: &&'static Family| {
            let [open, plain] = [Format::OpenMetrics, Format::Plain].map(|format| pack(&format.head(family)));
            Ok((family.name, [open?, plain?]))
        };
        table::ALL.iter().map(both).collect()
    });
    let heads = heads.as_ref().map_err(|error| io::Error::other(error.to_string()))?;
    let found = heads.iter().find(|(name, _)| *name == family.name);
    Ok(found.map(|(_, both)| &both[usize::from(format == Format::Plain)]))
}

/// What is served now; absent until it was written for the first time.
pub type Served = ArcSwap<Option<Exposition>>;

/// Writes the metrics whenever the board changed, until it is dropped.
pub async fn keep_fresh(board: Arc<Board>, mut renderer: Renderer, served: Arc<Served>, clock: fn() -> i64) {
    let mut changes = board.changes();
    loop {
        changes.mark_unchanged();
        let began = Instant::now();
        let (job_board, job_served) = (board.clone(), served.clone());
        let job = tokio::task::spawn_blocking(move || {
            match renderer.render(&job_board, clock()) {
                Ok(exposition) => job_served.store(Arc::new(Some(exposition))),
                Err(error) => tracing::error!(%error, "metrics could not be written"),
            }
            renderer
        });
        renderer = match job.await {
            Ok(renderer) => renderer,
            Err(error) => {
                tracing::error!(%error, "writing metrics ended; /metrics no longer changes");
                served.store(Arc::new(None));
                return;
            }
        };
        tokio::time::sleep((began.elapsed() * REST).max(LEAST_REST)).await;
        // A board that is gone says no more; the timer goes on.
        if let Ok(Err(_)) = tokio::time::timeout(REFRESH, changes.changed()).await {
            tokio::time::sleep(REFRESH).await;
        }
    }
}
