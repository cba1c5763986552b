//! The secret that identities are hashed with: random, made once, in a file only its owner can read, within the ledger or
//! outside. Whoever knows it could choose identities that fall into one bucket, or test a guess at a key.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rand::TryRngCore;
use rand::rngs::OsRng;
use xxhash_rust::xxh3::xxh3_64;

use super::error::{LedgerError, Result};
use super::files::Files;
use super::manifest::Ids;

pub(super) const NAME: &str = "key";
pub(super) const SECRET: usize = 192;

/// A ledger's secret that is kept outside of it. Its debug form gives nothing away.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Box<[u8; SECRET]>);

impl Key {
    /// Reads a key file.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(|source| LedgerError::io(path, source))?;
        let mode = fs::metadata(path).map_or(0, |about| about.permissions().mode());
        if mode & 0o077 != 0 {
            tracing::warn!(path = %path.display(), "others than its owner may read this key; chmod 600 it");
        }
        Self::from_bytes(path, bytes)
    }

    /// Reads the key that a ledger keeps in its directory.
    pub fn of_ledger(dir: &Path) -> Result<Self> {
        let path = dir.join(NAME);
        match fs::read(&path) {
            Ok(bytes) => Self::from_bytes(&path, bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(LedgerError::Key { path, why: "the key is missing" })
            }
            Err(error) => Err(LedgerError::io(&path, error)),
        }
    }

    /// Reads a key from its hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let digits: Option<Vec<u8>> = text.bytes().map(|byte| (byte as char).to_digit(16).map(|d| d as u8)).collect();
        let bytes = digits.map(|digits| digits.chunks(2).map(|pair| pair.iter().fold(0, |n, d| n << 4 | d)).collect());
        let secret = bytes.filter(|_| text.len() == 2 * SECRET).and_then(|bytes: Vec<u8>| bytes.try_into().ok());
        secret.map(|secret| Self(Box::new(secret))).ok_or(LedgerError::KeyText)
    }

    /// Makes a new key in a new file that only its owner can read.
    pub fn create(path: &Path) -> Result<Self> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists => LedgerError::KeyExists { path: path.to_owned() },
            _ => LedgerError::io(path, source),
        };
        let secret = random(path)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        file.write_all(&secret).and_then(|()| file.sync_all()).map_err(failed)?;
        Ok(Self(Box::new(secret)))
    }

    /// Names the key without giving it away.
    pub fn id(&self) -> u64 {
        id_of(&self.0)
    }

    /// The XXH3 secret.
    pub fn secret(&self) -> &[u8; SECRET] {
        &self.0
    }

    fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self> {
        let wrong = |_| LedgerError::Key { path: path.to_owned(), why: "a key has 192 bytes, this file has not" };
        <[u8; SECRET]>::try_from(bytes).map(|secret| Self(Box::new(secret))).map_err(wrong)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:016x})", self.id())
    }
}

/// The secret of a ledger: the one given from outside, else the one in its directory. Holds it against the manifest, and
/// makes one for a new ledger that was not given any.
pub(super) fn load_or_create(files: &Files, ids: Option<Ids>, outside: Option<&Key>) -> Result<[u8; SECRET]> {
    let path = files.path(NAME);
    let refused = |why| LedgerError::Key { path: path.clone(), why };
    if let Some(key) = outside {
        return match ids {
            Some(ids) if ids.secret != key.id() => Err(LedgerError::OtherKey { path: files.dir().to_owned() }),
            _ => Ok(*key.0),
        };
    }
    match (fs::read(&path), ids) {
        (Ok(bytes), ids) => {
            let key = Key::from_bytes(&path, bytes)?;
            match ids {
                Some(ids) if ids.secret != key.id() => Err(refused("not the key this ledger was written with")),
                _ => Ok(*key.0),
            }
        }
        (Err(error), None) if error.kind() == io::ErrorKind::NotFound => {
            let secret = random(&path)?;
            files.write_whole(NAME, &secret)?;
            files.sync_dir()?;
            Ok(secret)
        }
        (Err(error), Some(_)) if error.kind() == io::ErrorKind::NotFound => Err(refused("the key is missing")),
        (Err(error), _) => Err(LedgerError::io(&path, error)),
    }
}

fn random(path: &Path) -> Result<[u8; SECRET]> {
    let mut secret = [0; SECRET];
    OsRng.try_fill_bytes(&mut secret).map_err(|error| LedgerError::io(path, io::Error::other(error)))?;
    Ok(secret)
}

/// Names a secret without giving it away.
pub(super) fn id_of(secret: &[u8; SECRET]) -> u64 {
    xxh3_64(secret)
}
