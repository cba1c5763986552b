//! The secret that identities are hashed with: random, made once, in a file only its owner can read. Whoever knows it
//! could choose identities that fall into one bucket, or test a guess at a key.

use std::fs;
use std::io;

use rand::TryRngCore;
use rand::rngs::OsRng;
use xxhash_rust::xxh3::xxh3_64;

use super::error::{LedgerError, Result};
use super::files::Files;
use super::manifest::Ids;

pub(super) const NAME: &str = "key";
pub(super) const SECRET: usize = 192;

/// Reads the secret and holds it against the manifest; makes one for a new ledger that was not given any.
pub(super) fn load_or_create(files: &Files, ids: Option<Ids>) -> Result<[u8; SECRET]> {
    let path = files.path(NAME);
    let refused = |why| LedgerError::Key { path: path.clone(), why };
    match (fs::read(&path), ids) {
        (Ok(bytes), ids) => {
            let secret =
                <[u8; SECRET]>::try_from(bytes).map_err(|_| refused("a key has 192 bytes, this file has not"))?;
            match ids {
                Some(ids) if ids.secret != id_of(&secret) => Err(refused("not the key this ledger was written with")),
                _ => Ok(secret),
            }
        }
        (Err(error), None) if error.kind() == io::ErrorKind::NotFound => {
            let mut secret = [0; SECRET];
            OsRng.try_fill_bytes(&mut secret).map_err(|error| LedgerError::io(&path, io::Error::other(error)))?;
            files.write_whole(NAME, &secret)?;
            files.sync_dir()?;
            Ok(secret)
        }
        (Err(error), Some(_)) if error.kind() == io::ErrorKind::NotFound => Err(refused("the key is missing")),
        (Err(error), _) => Err(LedgerError::io(&path, error)),
    }
}

/// Names a secret without giving it away.
pub(super) fn id_of(secret: &[u8; SECRET]) -> u64 {
    xxh3_64(secret)
}
