//! No more rows a second than somebody allows, and none while standbys are late: the table is read in steps of blocks, by
//! ranges of `ctid`, under one snapshot.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Postgres;
use crate::drift::{DriftError, sleep};
use crate::engine::Progress;

/// Since then a range of `ctid` reads its blocks alone.
const OLDEST: i32 = 140_000;
/// Steps in a second.
const STEPS: u64 = 4;
/// Rows a second that steps are measured by where nobody says how many.
const USUAL: u64 = 400_000;

/// What somebody allows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Throttle {
    pub most_rows: Option<u64>,
    pub most_lag: Option<Duration>,
}

/// Blocks from here on, and where they end; the last ones are open.
pub type Blocks = (u64, Option<u64>);

pub struct Pace {
    most: u64,
    began: Instant,
    rows: u64,
}

impl Pace {
    pub fn new(most: u64) -> Self {
        Self { most: most.max(1), began: Instant::now(), rows: 0 }
    }

    /// Waits until so many more rows are allowed.
    pub fn wait(&mut self, rows: u64, progress: &Progress) {
        self.rows += rows;
        let due = Duration::from_secs_f64(self.rows as f64 / self.most as f64);
        sleep(due.saturating_sub(self.began.elapsed()), progress);
    }
}

impl Postgres {
    /// Reads what is to be read at once, or in steps where that is throttled. `each` says how many rows it were.
    pub(super) fn in_steps(
        &mut self,
        mut each: impl FnMut(&mut Self, Option<Blocks>) -> Result<u64, DriftError>,
    ) -> Result<(), DriftError> {
        let Throttle { most_rows, most_lag } = self.throttle;
        if most_rows.is_none() && most_lag.is_none() {
            return each(self, None).map(drop);
        }
        let mut pace = Pace::new(most_rows.unwrap_or(u64::MAX));
        let (steps, expected) = self.steps(most_rows.unwrap_or(USUAL))?;
        self.progress.rows_total.fetch_add(expected, Ordering::Relaxed);
        for blocks in steps {
            self.wait_for_replicas()?;
            if self.progress.is_stopped() {
                // What it adds up to is told to nobody.
                break;
            }
            let rows = each(self, Some(blocks))?;
            self.progress.rows_done.fetch_add(rows, Ordering::Relaxed);
            pace.wait(rows, &self.progress);
        }
        // The catalogue only estimates.
        self.progress.rows_done.fetch_add(expected.saturating_sub(pace.rows), Ordering::Relaxed);
        Ok(())
    }

    /// Steps of about so many rows a second, and how many rows that may be.
    fn steps(&mut self, most: u64) -> Result<(Vec<Blocks>, u64), DriftError> {
        let version: String = self.one("SHOW server_version_num", &[])?;
        if version.parse().unwrap_or(0) < OLDEST {
            return Err(self.refused(
                "--max-rate and --max-replica-lag need PostgreSQL 14 or newer".to_owned(),
                "compare without them",
            ));
        }
        let statement = "SELECT pg_relation_size(oid) / current_setting('block_size')::bigint, reltuples::bigint, relkind::text \
                         FROM pg_class WHERE oid = $1::text::regclass";
        let row = self.client.query_one(statement, &[&self.statements.table]).map_err(|error| self.wrong(&error))?;
        let (blocks, rows, kind): (i64, i64, String) = (self.get(&row, 0)?, self.get(&row, 1)?, self.get(&row, 2)?);
        if !matches!(kind.as_str(), "r" | "m") {
            return Err(self.refused(
                "--max-rate and --max-replica-lag need a plain table, whose blocks can be read one after the other"
                    .to_owned(),
                "compare its partitions one by one, or without them",
            ));
        }
        let (blocks, rows) = (blocks.max(1) as u64, rows.max(1) as u64);
        let of_block = (rows / blocks).max(1);
        let step = (most / STEPS / of_block).max(1);
        let starts: Vec<u64> = (0..blocks).step_by(step as usize).collect();
        let ends = starts.iter().skip(1).copied().map(Some).chain([None]);
        Ok((starts.iter().copied().zip(ends).collect(), rows))
    }
}
