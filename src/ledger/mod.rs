//! The embedded store: sightings in immutable run files, everything small and atomic in sled, one commit for all.
//!
//! See `docs/ledger-format.md` for the bytes. In short: observations are scattered by identity into 256 buckets as they
//! come; when the buffer is full (or the engine says so) every bucket is sorted, deduplicated, probed against the runs,
//! and what is new is written as one immutable run file. The commit that names the run also names the engine's state
//! and the findings, so a restart finds either all of it or nothing. There is no write-ahead log: the log is Kafka.
//!
//! The ledger must not know what a topic, a check or a finding is: it keeps numbers, identities and bytes.

mod buffer;
mod error;
mod files;
mod forgotten;
mod journal;
mod key;
mod manifest;
mod merge;
mod paused;
mod places;
mod rows;
mod run;
mod scan;
mod settle;
mod store;
#[cfg(test)]
mod tests;

pub use error::LedgerError;
pub use key::Key;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub use run::fuzzing;
pub use run::{Damage, Part};
pub use scan::{Scan, Scanned};
pub use settle::Settled;
pub use store::{About, Compacted, Fault, Ledger, LookUp, Options, RunAbout, Stats, Verified, verify};

/// One stretch of one partition in columns, ascending by offset: what the engine hands over.
#[derive(Clone, Debug, Default)]
pub struct Sightings {
    /// The engine's number of the partition; stable for the life of the ledger.
    pub partition: u32,
    pub offsets: Vec<i64>,
    /// Milliseconds since 1970.
    pub timestamps: Vec<i64>,
    /// Keyed 128-bit hashes.
    pub identities: Vec<u128>,
    pub checksums: Vec<u64>,
    /// Who wrote the rows: (first row, producer), ascending by row; holds from that row to the next entry.
    pub producers: Vec<(u32, Producer)>,
}

/// (producer id, producer epoch); `Producer::NONE` when the batch had none or the source hides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Producer {
    pub id: i64,
    pub epoch: i16,
}

impl Producer {
    pub const NONE: Producer = Producer { id: -1, epoch: -1 };
}

/// Where and when an identity was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub partition: u32,
    pub offset: i64,
    /// Seconds since 1970: exactly `timestamp_ms.div_euclid(1000)`, whether the row comes from the buffer or a run.
    pub second: u32,
    pub checksum: u64,
    pub producer: Producer,
}

/// An identity seen again: reported once for each arrival after the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeat {
    pub identity: u128,
    /// The sighting the ledger keeps for this identity.
    pub first: Seen,
    pub again: Seen,
}
