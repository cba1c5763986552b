//! What can go wrong with a ledger, each with what to do next.

use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("{}: {source}; check its permissions and its disk, then start again", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: the disk is full; free some space and start again, nothing committed is lost", path.display())]
    DiskFull { path: PathBuf },
    #[error("the ledger {} is in use by another process; stop that process or name another directory", path.display())]
    Locked { path: PathBuf },
    #[error(
        "{}: {what}; restore the ledger from a backup, or move it away and audit again from the start",
        path.display()
    )]
    Damaged { path: PathBuf, what: String },
    #[error(
        "{}: {why}; put back the key file that belongs to this ledger or name it with --ledger-key, or name another directory",
        path.display()
    )]
    Key { path: PathBuf, why: &'static str },
    #[error("the ledger {} was not made with the given key; name the key it was made with", path.display())]
    OtherKey { path: PathBuf },
    #[error("a key is written in 384 hexadecimal digits; check SORDINI_LEDGER_KEY, or name a key file instead")]
    KeyText,
    #[error("{} exists and is not overwritten, or ledgers made with it could not be read; name another file", path.display())]
    KeyExists { path: PathBuf },
    #[error(
        "the ledgers {} and {} were made with different keys, so identities cannot be compared; audit one of them anew with the other's key, by --ledger-key",
        ours.display(), theirs.display()
    )]
    DifferentKeys { ours: PathBuf, theirs: PathBuf },
    #[error("there is no ledger in {}; name the directory that `sordini audit --ledger` was given", path.display())]
    Absent { path: PathBuf },
    #[error("{}: written in format {found}, this sordini reads format {known}; use a newer sordini", path.display())]
    Version { path: PathBuf, found: u32, known: u32 },
    #[error("the manifest {}: {source}; check its permissions and its disk, then start again", path.display())]
    Manifest { path: PathBuf, source: sled::Error },
    #[error("the ledger {} stopped after a failed write; open it again, nothing committed is lost", path.display())]
    Poisoned { path: PathBuf },
    #[error("columns of partition {partition} differ in length; every record needs one value in each")]
    Columns { partition: u32 },
    #[error("a journal entry of {bytes} bytes is too long; write less than 4 GiB")]
    EntryTooLong { bytes: usize },
}

pub type Result<T> = std::result::Result<T, LedgerError>;

impl LedgerError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path: path.to_owned() },
            _ => Self::Io { path: path.to_owned(), source },
        }
    }

    pub(super) fn manifest(path: &Path, source: sled::Error) -> Self {
        match source {
            sled::Error::Io(source) => Self::io(path, source),
            source => Self::Manifest { path: path.to_owned(), source },
        }
    }

    pub(super) fn damaged(path: &Path, what: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), what: what.into() }
    }
}
