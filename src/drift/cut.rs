//! Which records must be in a table, which may be, and which cannot be yet: by a consumer group's offsets where the table is
//! written from the topic, by the visibility of transactions where the topic is captured from the table.

use std::fmt;

/// By partition: records below this offset are in the table for certain.
#[derive(Clone, Debug, Default)]
pub struct Settled(Vec<i64>);

impl Settled {
    /// Nothing is certain of partitions that are not named.
    pub fn new(offsets: impl IntoIterator<Item = (i32, i64)>) -> Self {
        let mut settled = Vec::new();
        for (partition, offset) in offsets {
            let index = partition.max(0) as usize;
            settled.resize(settled.len().max(index + 1), 0);
            settled[index] = offset;
        }
        Self(settled)
    }

    pub fn below(&self, partition: i32) -> i64 {
        self.0.get(partition as usize).copied().unwrap_or(0)
    }

    pub fn has(&self, partition: i32, offset: i64) -> bool {
        offset < self.below(partition)
    }
}

/// How a record stands to the table's snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The snapshot has it, or something behind it.
    Must,
    /// It may have arrived.
    May,
    /// Its transaction is not visible.
    Not,
}

/// Where in PostgreSQL's log a change event was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The transaction, as the log numbers it: 32 bits.
    pub xid: Option<u32>,
    pub lsn: Option<u64>,
    /// A row as a snapshot of the connector found it, and no change.
    pub is_read: bool,
}

/// Transactions older than this much log have ended, and fewer than 2^31 fit into it: a transaction that writes takes 80 bytes.
const RECENT: u64 = 64 << 30;

/// Which transactions a snapshot of PostgreSQL sees: `pg_current_snapshot()`, and the end of the log after it was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    xmin: u64,
    xmax: u64,
    /// In order.
    running: Vec<u64>,
    /// Of the insertion into the log, not of its flush: asynchronous commits are visible before they are flushed.
    pub lsn: u64,
}

impl Snapshot {
    /// `xmin:xmax:xip,…`, and a position as `pg_lsn` prints it.
    pub fn parse(snapshot: &str, lsn: &str) -> Option<Self> {
        let mut parts = snapshot.split(':');
        let (xmin, xmax) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let running = parts.next()?.split(',').filter(|xid| !xid.is_empty()).map(str::parse);
        let mut running: Vec<u64> = running.collect::<Result<_, _>>().ok()?;
        running.sort_unstable();
        Some(Self { xmin, xmax, running, lsn: parse_lsn(lsn)? })
    }

    /// By the rule of `pg_visible_in_snapshot`, for a transaction number without its epoch.
    fn sees(&self, xid: u32, lsn: u64) -> bool {
        if lsn.saturating_add(RECENT) < self.lsn {
            return true;
        }
        // The nearest number to the snapshot's end with these 32 bits.
        let distance = xid.wrapping_sub(self.xmax as u32) as i32;
        let full = self.xmax.wrapping_add_signed(i64::from(distance));
        full < self.xmin || (full < self.xmax && self.running.binary_search(&full).is_err())
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let running: Vec<String> = self.running.iter().map(u64::to_string).collect();
        write!(f, "{}:{}:{} at {}", self.xmin, self.xmax, running.join(","), Lsn(self.lsn))
    }
}

/// As `pg_lsn` prints it.
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 as u32)
    }
}

pub fn parse_lsn(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    let part = |text| u32::from_str_radix(text, 16).ok();
    Some(u64::from(part(high)?) << 32 | u64::from(part(low)?))
}

/// What decides.
#[derive(Clone, Debug)]
pub enum Sight {
    /// The table is written from the topic.
    Offsets(Settled),
    /// The topic is captured from the table; `before`: where it ended before the snapshot was taken.
    Transactions { snapshot: Snapshot, before: Settled },
}

impl Sight {
    /// `origin`: none for a record that is no change event.
    pub fn of(&self, partition: i32, offset: i64, origin: Option<Origin>) -> Seen {
        let (snapshot, before) = match self {
            Sight::Offsets(settled) if settled.has(partition, offset) => return Seen::Must,
            Sight::Offsets(_) => return Seen::May,
            Sight::Transactions { snapshot, before } => (snapshot, before),
        };
        match origin {
            Some(Origin { xid: Some(xid), lsn, is_read: false }) => match snapshot.sees(xid, lsn.unwrap_or(u64::MAX)) {
                true => Seen::Must,
                false => Seen::Not,
            },
            // A row was read before it was written: below the end it is as old as the snapshot, above it may be younger.
            _ if before.has(partition, offset) => Seen::Must,
            _ => Seen::May,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(text: &str) -> Snapshot {
        Snapshot::parse(text, "1F/A0").unwrap()
    }

    #[test]
    fn positions_read_as_the_server_prints_them() {
        let parsed = snapshot("100:200:150,120");
        assert_eq!(parsed.lsn, 0x1f_0000_00a0);
        assert_eq!(parsed.to_string(), "100:200:120,150 at 1F/A0");
        assert_eq!(Snapshot::parse("100:200", "0/0"), None);
        assert!(snapshot("7:7:").running.is_empty());
    }

    #[test]
    fn a_transaction_is_visible_as_the_server_says() {
        let snapshot = snapshot("100:200:120,150");
        for (xid, visible) in
            [(99, true), (100, true), (120, false), (121, true), (150, false), (199, true), (200, false)]
        {
            assert_eq!(snapshot.sees(xid, snapshot.lsn), visible, "{xid}");
        }
    }

    #[test]
    fn numbers_are_widened_over_the_epoch() {
        let epoch = 5_u64 << 32;
        let snapshot = snapshot(&format!("{}:{}:{}", epoch - 10, epoch + 10, epoch - 5));
        for (xid, visible) in [(u32::MAX - 20, true), (u32::MAX - 4, false), (3, true), (10, false), (11, false)] {
            assert_eq!(snapshot.sees(xid, snapshot.lsn), visible, "{xid}");
        }
    }

    /// The same 32 bits, four thousand million transactions ago.
    #[test]
    fn what_lies_far_back_in_the_log_has_ended() {
        let snapshot = Snapshot::parse("100:200:120", "7FFF/0").unwrap();
        assert!(snapshot.sees(120, 1) && snapshot.sees(300, 1));
        assert!(!snapshot.sees(300, snapshot.lsn - 1));
    }

    #[test]
    fn rows_that_were_read_may_be_younger_than_the_snapshot() {
        let before = Settled::new([(0, 10)]);
        let sight = Sight::Transactions { snapshot: snapshot("100:200:"), before };
        let read = Origin { xid: Some(999), lsn: Some(0), is_read: true };
        assert_eq!(sight.of(0, 9, Some(read)), Seen::Must);
        assert_eq!(sight.of(0, 10, Some(read)), Seen::May);
        let change = Origin { is_read: false, lsn: Some(0x1f_0000_00a0), ..read };
        assert_eq!(sight.of(0, 9, Some(change)), Seen::Not);
    }
}
