//! No more rows a second than somebody allows, and none while standbys are late: the table is read in steps of blocks, by
//! ranges of `ctid`, under one snapshot.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Postgres;
use crate::drift::{DriftError, sleep};

/// Since then a range of `ctid` reads its blocks alone.
const OLDEST: i32 = 140_000;
/// Steps in a second.
const STEPS: u64 = 4;
/// Rows a second that steps are measured by where nobody says how many.
const USUAL: u64 = 400_000;
/// Rows in a block where nobody has counted them: as many as narrow ones.
const UNKNOWN: u64 = 200;

/// What somebody allows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Throttle {
    pub most_rows: Option<u64>,
    pub most_lag: Option<Duration>,
}

/// Blocks from here on, and where they end; the last ones are open.
pub type Blocks = (u64, Option<u64>);

/// Time that nobody used is no reason to be faster later.
pub struct Pace {
    most: u64,
    /// When all rows until now were allowed.
    free: Instant,
    rows: u64,
}

impl Pace {
    pub fn new(most: u64) -> Self {
        Self { most: most.max(1), free: Instant::now(), rows: 0 }
    }

    /// When rows that were read from `began` on were allowed.
    fn take(&mut self, rows: u64, began: Instant) -> Instant {
        self.rows += rows;
        self.free = self.free.max(began) + Duration::from_secs_f64(rows as f64 / self.most as f64);
        self.free
    }
}

/// How many rows a block holds, where the catalogue has counted them.
fn rows_of_block(rows: f64, blocks: i32) -> u64 {
    match rows >= 0.0 && blocks > 0 {
        true => (rows / f64::from(blocks)).ceil().max(1.0) as u64,
        false => UNKNOWN,
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
            let began = Instant::now();
            let rows = each(self, Some(blocks))?;
            self.progress.rows_done.fetch_add(rows, Ordering::Relaxed);
            let until = pace.take(rows, began);
            sleep(until.saturating_duration_since(Instant::now()), &self.progress);
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
        // The catalogue's count may be old: what stays is how many rows a block holds.
        let statement = "SELECT pg_relation_size(oid) / current_setting('block_size')::bigint, reltuples::float8, relpages, \
                         relkind::text FROM pg_class WHERE oid = $1::text::regclass";
        let row = self.client.query_one(statement, &[&self.statements.table]).map_err(|error| self.wrong(&error))?;
        let (blocks, kind): (i64, String) = (self.get(&row, 0)?, self.get(&row, 3)?);
        let of_block = rows_of_block(self.get(&row, 1)?, self.get(&row, 2)?);
        if !matches!(kind.as_str(), "r" | "m") {
            return Err(self.refused(
                "--max-rate and --max-replica-lag need a plain table, whose blocks can be read one after the other"
                    .to_owned(),
                "compare its partitions one by one, or without them",
            ));
        }
        let blocks = blocks.max(1) as u64;
        let step = (most / STEPS / of_block).max(1);
        let starts: Vec<u64> = (0..blocks).step_by(step as usize).collect();
        let ends = starts.iter().skip(1).copied().map(Some).chain([None]);
        Ok((starts.iter().copied().zip(ends).collect(), blocks * of_block))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_was_not_used_is_gone() {
        let start = Instant::now();
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        let mut pace = Pace { most: 100, free: start, rows: 0 };
        assert_eq!(pace.take(100, at(0.0)), at(1.0));
        // Read too early by nobody's fault: the next ones wait for both.
        assert_eq!(pace.take(50, at(0.5)), at(1.5));
        // A standby was waited for.
        assert_eq!(pace.take(100, at(60.0)), at(61.0));
    }

    #[test]
    fn a_block_holds_what_was_counted_in_it() {
        assert_eq!(rows_of_block(1000.0, 10), 100);
        assert_eq!([rows_of_block(-1.0, 0), rows_of_block(0.0, 0)], [UNKNOWN, UNKNOWN]);
        assert_eq!(rows_of_block(3.0, 100), 1);
    }
}
