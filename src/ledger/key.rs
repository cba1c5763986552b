//! The key file: the secret under which identities are hashed.

use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use super::error::{LedgerError, Result};
use super::files::{Files, TMP};

pub(super) const NAME: &str = "key";

/// A new random secret, or the one a broken first start left.
pub(super) fn make(files: &Files) -> Result<Box<[u8; 192]>> {
    let path = files.path(NAME);
    if path.exists() {
        return read(files);
    }
    let mut secret = Box::new([0; 192]);
    rand::fill(&mut secret[..]);
    let tmp = files.path(&format!("{NAME}{TMP}"));
    let failed = |source| LedgerError::io(&path, source);
    let options = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&tmp);
    let file = options.map_err(failed)?;
    file.write_all_at(&secret[..], 0).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::rename(&tmp, &path).map_err(failed)?;
    files.sync_dir()?;
    Ok(secret)
}

pub(super) fn read(files: &Files) -> Result<Box<[u8; 192]>> {
    let path = files.path(NAME);
    let mut secret = Box::new([0; 192]);
    let mut file = std::fs::File::open(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => LedgerError::Key { path: path.clone(), why: "the key file is missing" },
        _ => LedgerError::io(&path, error),
    })?;
    file.read_exact(&mut secret[..]).map_err(|_| LedgerError::Key { path, why: "the key file is cut short" })?;
    Ok(secret)
}
