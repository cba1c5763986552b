//! What one record says of its key, in 24 bytes, and what later records of its partition leave of it.
//!
//! Beside a version may stand the row that its key had *before*, as the change event says. It is no version: it is compared
//! with the version before it, once both are in one place, and is gone then.

/// Bytes of a row on disk and in memory.
pub const ROW: usize = 24;
/// The kind, and above it whether the version is open.
const KIND_BITS: u32 = 4;
const OPEN: u64 = 1 << 3;
const OFFSET_BITS: u32 = 45;

/// What a row was before comes before its own version.
const BEFORE: u64 = 0;
const NONE_BEFORE: u64 = 1;
const ROW_SAID: u64 = 2;
const LOOSE: u64 = 3;
const DELETED: u64 = 4;
const UNREADABLE: u64 = 5;
const PARTIAL: u64 = 6;

/// What a record says of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// The hash of its row.
    Row(u64),
    /// As above, and what the key's next event says of the row before need not be this.
    Loose(u64),
    Deleted,
    /// It could not be read: any row may be right.
    Unreadable,
    /// A row of which some values stand in an earlier version.
    Partial,
}

/// One record of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    pub key: u64,
    pub partition: i32,
    pub offset: i64,
    pub said: Said,
    /// It may be in the table and need not be.
    pub is_open: bool,
}

/// The row that the event at this offset says its key had before it; `None`: there was none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Before {
    pub key: u64,
    pub partition: i32,
    pub offset: i64,
    pub row: Option<u64>,
}

/// An event that does not go on where the one before it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Doubt {
    pub key: u64,
    pub partition: i32,
    pub offset: i64,
}

/// Packed: the key's hash, the row's hash, and partition, offset and kind. Its order is that of key, partition and offset.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Packed {
    pub key: u64,
    pub place: u64,
    pub row: u64,
}

fn place(partition: i32, offset: i64, kind: u64) -> u64 {
    (partition as u64) << (OFFSET_BITS + KIND_BITS) | (offset as u64) << KIND_BITS | kind
}

impl Packed {
    pub fn of(version: &Version) -> Self {
        let (kind, row) = match version.said {
            Said::Row(row) => (ROW_SAID, row),
            Said::Loose(row) => (LOOSE, row),
            Said::Deleted => (DELETED, 0),
            Said::Unreadable => (UNREADABLE, 0),
            Said::Partial => (PARTIAL, 0),
        };
        let kind = kind | if version.is_open { OPEN } else { 0 };
        Self { key: version.key, place: place(version.partition, version.offset, kind), row }
    }

    pub fn before(before: &Before) -> Self {
        let (kind, row) = before.row.map_or((NONE_BEFORE, 0), |row| (BEFORE, row));
        Self { key: before.key, place: place(before.partition, before.offset, kind), row }
    }

    fn kind(&self) -> u64 {
        self.place & (OPEN - 1)
    }

    pub fn partition(&self) -> i32 {
        (self.place >> (OFFSET_BITS + KIND_BITS)) as i32
    }

    pub fn offset(&self) -> i64 {
        (self.place >> KIND_BITS) as i64 & ((1 << OFFSET_BITS) - 1)
    }

    pub fn is_open(&self) -> bool {
        self.place & OPEN != 0
    }

    /// It is no version.
    fn is_before(&self) -> bool {
        self.kind() < ROW_SAID
    }

    fn is_beside(&self, other: &Self) -> bool {
        self.key == other.key && self.partition() == other.partition()
    }

    /// Of a version.
    pub fn said(&self) -> Said {
        match self.kind() {
            LOOSE => Said::Loose(self.row),
            DELETED => Said::Deleted,
            UNREADABLE => Said::Unreadable,
            PARTIAL => Said::Partial,
            _ => Said::Row(self.row),
        }
    }

    /// Whether what the key was before cannot be what this version left.
    fn is_denied_by(&self, before: &Self) -> bool {
        match self.said() {
            Said::Row(row) => before.kind() == NONE_BEFORE || before.row != row,
            Said::Deleted => before.kind() == BEFORE,
            Said::Loose(_) | Said::Unreadable | Said::Partial => false,
        }
    }
}

/// Sorts, and drops what a later settled version of the same key and partition has replaced. What a key was before is
/// compared with the version before it and dropped; `is_all`: what has none here has none anywhere.
pub fn squash(rows: &mut Vec<Packed>, is_all: bool, mut doubt: impl FnMut(Doubt)) {
    rows.sort_unstable();
    let (mut kept, mut version): (usize, Option<Packed>) = (0, None);
    for at in 0..rows.len() {
        let row = rows[at];
        if row.is_before() {
            match version.filter(|version| version.is_beside(&row)) {
                Some(version) if version.is_denied_by(&row) => {
                    doubt(Doubt { key: row.key, partition: row.partition(), offset: row.offset() });
                }
                // The version before it stands in an earlier run.
                None if !is_all && rows.get(at + 1) != Some(&row) => {
                    rows[kept] = row;
                    kept += 1;
                }
                _ => {}
            }
            continue;
        }
        version = Some(row);
        let next = rows[at + 1..].iter().find(|next| !next.is_before());
        let is_replaced = next.is_some_and(|next| {
            // The same record twice, or a settled one behind it.
            next.is_beside(&row) && (next.place == row.place || !next.is_open())
        });
        if !is_replaced {
            rows[kept] = row;
            kept += 1;
        }
    }
    rows.truncate(kept);
}
