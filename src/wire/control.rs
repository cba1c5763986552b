//! Control records: what the broker itself writes between the records of producers.

use super::record::Record;

/// What a control record says of its producer's transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    Abort,
    Commit,
    /// Leader changes, snapshots and what later versions may add.
    Other,
}

impl Marker {
    /// From a control record's key, `version i16, type i16`; `None` when the key is shorter.
    pub fn of(record: &Record<'_>) -> Option<Self> {
        match record.key? {
            [_, _, high, low, ..] => Some(match i16::from_be_bytes([*high, *low]) {
                0 => Marker::Abort,
                1 => Marker::Commit,
                _ => Marker::Other,
            }),
            _ => None,
        }
    }
}
