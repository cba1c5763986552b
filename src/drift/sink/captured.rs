//! A topic that is captured from the table: change events of Debezium, whose transactions a snapshot sees or does not.
//!
//! The table's snapshot is taken, then the end of the server's log is read: of its insertion, since an asynchronous commit is
//! visible before it is flushed. Once the topic has everything below that position, the visible events are exactly the table.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{Bracket, Sink};
use crate::audit::drift::{Claim, Cut};
use crate::drift::DriftError;
use crate::drift::cut::{Lsn, Settled, Sight};
use crate::drift::place::{Form, TopicPlace};
use crate::drift::record::envelope::{Envelope, Source};
use crate::drift::table::Table;
use crate::drift::topic::{self, Take};
use crate::engine::Progress;
use crate::source::{Properties, Start};
use crate::wire::Record;

/// Records at the end of each partition that are looked at for where they come from.
const PROBED: i64 = 10;
const POLL: Duration = Duration::from_millis(300);

/// The newest events of a topic.
#[derive(Default)]
struct Newest {
    source: Option<Source>,
    /// When the last one was written, and whether the connector's first snapshot of the table was complete then.
    last: Option<(i64, bool)>,
    /// By partition.
    lsn: BTreeMap<i32, u64>,
}

impl Take for Newest {
    fn take(&mut self, partition: i32, record: &Record<'_>) -> Result<(), DriftError> {
        let Some(envelope) = record.value.and_then(Envelope::of) else { return Ok(()) };
        let Some(source) = envelope.source() else { return Ok(()) };
        // A row that was read carries the position its snapshot began at.
        let origin = envelope.origin();
        if let Some(lsn) = origin.lsn.filter(|_| !origin.is_read) {
            let newest = self.lsn.entry(partition).or_default();
            *newest = lsn.max(*newest);
        }
        self.last = self.last.max(Some((record.timestamp, !source.is_mid_snapshot())));
        self.source = Some(source);
        Ok(())
    }
}

impl Newest {
    fn read(opened: topic::Opened) -> Result<Self, DriftError> {
        let mut all = Self::default();
        // What is unreadable here is said when everything is read.
        let (_, found) = opened.read(&Arc::new(Progress::default()), Self::default)?;
        for found in found {
            all.add(found);
        }
        Ok(all)
    }

    fn add(&mut self, later: Self) {
        self.source = later.source.or(self.source.take());
        self.last = self.last.max(later.last);
        for (partition, lsn) in later.lsn {
            let newest = self.lsn.entry(partition).or_default();
            *newest = lsn.max(*newest);
        }
    }

    fn has(&self, lsn: u64, partitions: &BTreeMap<i32, i64>) -> bool {
        partitions.keys().all(|partition| self.lsn.get(partition).is_some_and(|newest| *newest >= lsn))
    }

    fn is_snapshot_complete(&self) -> bool {
        self.last.is_some_and(|(_, is_complete)| is_complete)
    }
}

/// Whether its last events name this table as their source.
pub fn is_captured_from(table: &dyn Table, place: &TopicPlace, properties: &Properties) -> Result<bool, DriftError> {
    let Some([database, schema, name]) = table.captured_as().filter(|_| place.form == Form::Debezium) else {
        return Ok(false);
    };
    let newest = Newest::read(topic::open(properties, &place.topic, Start::Tail(PROBED), &[])?)?;
    let is_it = |source: Source| {
        source.connector == "postgresql" && source.db == database && source.schema == schema && source.table == name
    };
    Ok(newest.source.is_some_and(is_it))
}

impl Sink<'_> {
    /// Takes the snapshot, and waits until the topic has all that it sees.
    pub(super) fn captured(&self, table: &mut dyn Table, wait: Duration) -> Result<Bracket, DriftError> {
        let topic = &self.place.topic;
        let probed = topic::open(&self.properties, topic, Start::Tail(PROBED), &[])?;
        let before: BTreeMap<i32, i64> =
            probed.partitions.iter().map(|info| (info.partition, info.until.unwrap_or(info.from))).collect();
        let probed = Newest::read(probed)?;
        table.begin()?;
        let Some(snapshot) = table.snapshot()? else {
            return Err(DriftError::Pair(format!("{} does not say which transactions it sees", table.name())));
        };
        if let Some(newest) = probed.lsn.values().max().filter(|newest| **newest > snapshot.lsn) {
            return Err(DriftError::Pair(format!(
                "topic {topic} was at position {} before the snapshot of {} was taken at {}: it is captured from another \
                 server; name the group that writes this table with --group",
                Lsn(*newest),
                table.name(),
                Lsn(snapshot.lsn)
            )));
        }
        if self.settings.mark {
            table.mark()?;
        }
        let until = Instant::now() + wait;
        let is_proven = self.wait_for(table, snapshot.lsn, &before, probed, until)?;
        let opened = topic::open(&self.properties, topic, Start::Beginning, &[])?;
        let cut = |info: &crate::source::PartitionInfo| {
            let end = info.until.unwrap_or(info.from);
            Cut { partition: info.partition, settled: end, end }
        };
        let cuts = opened.partitions.iter().map(cut).collect();
        let sight = Sight::Transactions { snapshot, before: Settled::new(before) };
        Ok(Bracket { sight, cuts, opened, claim: if is_proven { Claim::Exact } else { Claim::Heuristic } })
    }

    /// Until every partition has an event at this position or behind it, or the connector has confirmed it to the server.
    fn wait_for(
        &self,
        table: &mut dyn Table,
        lsn: u64,
        before: &BTreeMap<i32, i64>,
        mut newest: Newest,
        until: Instant,
    ) -> Result<bool, DriftError> {
        let mut positions = before.clone();
        loop {
            let opened = topic::open_at(&self.properties, &self.place.topic, &positions)?;
            let ends = opened.partitions.iter().map(|info| (info.partition, info.until.unwrap_or(info.from)));
            let ends: BTreeMap<i32, i64> = ends.collect();
            if ends != positions {
                newest.add(Newest::read(opened)?);
                positions = ends;
            }
            let is_there = newest.is_snapshot_complete()
                && (newest.has(lsn, before) || table.confirmed()?.is_some_and(|confirmed| confirmed >= lsn));
            tracing::debug!(wanted = %Lsn(lsn), by_partition = ?newest.lsn, is_there, "waiting for the topic");
            if is_there || Instant::now() >= until || self.progress.is_stopped() {
                return Ok(is_there);
            }
            sleep(POLL);
        }
    }
}
