//! How far the standbys are behind: while they are, a table is not read on.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Postgres;
use crate::drift::cut::{Lsn, parse_lsn};
use crate::drift::{DriftError, sleep};

const POLL: Duration = Duration::from_millis(250);
/// Longer than this nobody waits for a standby.
const PATIENCE: Duration = Duration::from_secs(600);

/// Where the log ended, and when that was seen. A standby that has not replayed it yet is at least that late, also when it has
/// stopped telling.
#[derive(Default)]
pub struct Ends(VecDeque<(Instant, u64)>);

impl Ends {
    fn seen(&mut self, end: u64) {
        if self.0.back().is_none_or(|(_, last)| *last < end) {
            self.0.push_back((Instant::now(), end));
        }
    }

    /// Of whoever has replayed so much.
    fn age(&mut self, replayed: u64) -> Duration {
        while self.0.front().is_some_and(|(_, end)| *end <= replayed) {
            self.0.pop_front();
        }
        self.0.front().map_or(Duration::ZERO, |(at, _)| at.elapsed())
    }
}

impl Postgres {
    /// Waits while a standby is later than it may be.
    pub(super) fn wait_for_replicas(&mut self) -> Result<(), DriftError> {
        let Some(most) = self.throttle.most_lag else { return Ok(()) };
        let began = Instant::now();
        let mut is_told = false;
        loop {
            let lag = self.replica_lag()?;
            if lag <= most || self.progress.is_stopped() {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                let why = format!("a standby is still {} s behind", lag.as_secs());
                let hint = "raise --max-replica-lag, or compare at a quieter time; where the table is read from that standby, \
                            the reading itself may hold it up (max_standby_streaming_delay): compare on the primary";
                return Err(self.refused(why, hint));
            }
            if !is_told {
                tracing::info!(table = self.name, seconds = lag.as_secs_f64(), "waiting for a standby");
                is_told = true;
            }
            sleep(POLL, &self.progress);
        }
    }

    /// Of the standbys of this server, or of itself where it is one.
    fn replica_lag(&mut self) -> Result<Duration, DriftError> {
        if self.one("SELECT pg_is_in_recovery()", &[])? {
            let statement = "SELECT CASE WHEN pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn() \
                             THEN extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8 END";
            return Ok(seconds(self.one(statement, &[])?));
        }
        // Within a transaction the server tells what it told first, and a standby that has come back is another process.
        self.client.execute("SELECT pg_stat_clear_snapshot()", &[]).map_err(|error| self.wrong(&error))?;
        // Whoever captures changes is no standby, nor is an archive, which replays nothing; of others a role without the
        // right sees the process alone.
        let statement = "SELECT pg_current_wal_lsn()::text, min(replay_lsn)::text, \
                         extract(epoch FROM max(replay_lag))::float8, count(*) - count(state) \
                         FROM pg_stat_replication WHERE (state IS NULL OR state IN ('streaming', 'catchup')) AND pid NOT IN \
                         (SELECT active_pid FROM pg_replication_slots WHERE slot_type = 'logical' AND active_pid IS NOT NULL)";
        let row = self.client.query_one(statement, &[]).map_err(|error| self.wrong(&error))?;
        let hidden: i64 = self.get(&row, 3)?;
        if hidden > 0 {
            let why = "how far its standbys are cannot be read".to_owned();
            return Err(self.refused(why, "GRANT pg_read_all_stats to this role, or compare without --max-replica-lag"));
        }
        let (end, replayed): (String, Option<String>) = (self.get(&row, 0)?, self.get(&row, 1)?);
        let (Some(end), Some(replayed)) = (parse_lsn(&end), replayed.as_deref().and_then(parse_lsn)) else {
            return Ok(Duration::ZERO);
        };
        self.ends.seen(end);
        if replayed >= end {
            return Ok(Duration::ZERO);
        }
        let lag = self.ends.age(replayed).max(seconds(self.get(&row, 2)?));
        tracing::debug!(end = %Lsn(end), replayed = %Lsn(replayed), ?lag, "standbys");
        Ok(lag)
    }
}

fn seconds(lag: Option<f64>) -> Duration {
    Duration::try_from_secs_f64(lag.unwrap_or(0.0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standby_is_as_late_as_the_oldest_end_it_has_not_reached() {
        let mut ends = Ends::default();
        let now = Instant::now();
        for (seconds, end) in [(30, 100), (20, 200), (10, 300)] {
            ends.0.push_back((now - Duration::from_secs(seconds), end));
        }
        assert_eq!(ends.age(99).as_secs(), 30);
        assert_eq!(ends.age(100).as_secs(), 20);
        assert_eq!(ends.age(250).as_secs(), 10);
        // What is known of it does not come back.
        assert_eq!(ends.age(99).as_secs(), 10);
        assert_eq!(ends.age(300), Duration::ZERO);
        ends.seen(300);
        ends.seen(300);
        assert_eq!(ends.0.len(), 1);
    }
}
