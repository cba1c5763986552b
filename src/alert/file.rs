//! The one file everything durable of the alerts lives in: replaced whole, so that a kill at any instant leaves the old
//! or the new one. One line with format, checksum and length, then JSON. Knows nothing of what the JSON says.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::xxh3_64;

use super::error::{AlertError, Result};

const NAME: &str = "alerts";
const MAGIC: &str = "sordini-alerts";
const FORMAT: u32 = 1;

pub struct StateFile {
    dir: PathBuf,
    path: PathBuf,
    /// Held as long as this lives.
    _lock: File,
}

impl StateFile {
    /// Locks the directory; makes it when it is absent.
    pub fn lock(dir: &Path) -> Result<Self> {
        let failed = |source| AlertError::io(dir, source);
        if !dir.exists() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
            if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed)?;
            }
        }
        let path = dir.join("alerts.lock");
        let options = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let lock = options.map_err(|source| AlertError::io(&path, source))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { dir: dir.to_owned(), path: dir.join(NAME), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(AlertError::Locked { path: dir.to_owned() }),
            Err(TryLockError::Error(source)) => Err(AlertError::io(&path, source)),
        }
    }

    /// What was saved last; absent when nothing ever was. A damaged file is put aside, and the error says where it is.
    pub fn load<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(AlertError::io(&self.path, source)),
        };
        match self.parse(&bytes)? {
            Ok(value) => Ok(Some(value)),
            Err(what) => Err(self.put_aside(what)?),
        }
    }

    fn parse<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<std::result::Result<T, String>> {
        let Some(end) = bytes.iter().take(100).position(|&byte| byte == b'\n') else {
            return Ok(Err("its first line is missing".to_owned()));
        };
        let (head, body) = (String::from_utf8_lossy(&bytes[..end]), &bytes[end + 1..]);
        let [MAGIC, format, sum, len] = head.split(' ').collect::<Vec<_>>()[..] else {
            return Ok(Err("its first line is damaged".to_owned()));
        };
        match format.parse() {
            Ok(FORMAT) => {}
            Ok(found) if found > FORMAT => {
                return Err(AlertError::Version { path: self.path.clone(), found, known: FORMAT });
            }
            _ => return Ok(Err("its first line is damaged".to_owned())),
        }
        if len.parse() != Ok(body.len()) {
            return Ok(Err(format!("{} bytes long where its first line says {len}", body.len())));
        }
        if sum != format!("{:016x}", xxh3_64(body)) {
            return Ok(Err("it fails its checksum".to_owned()));
        }
        Ok(serde_json::from_slice(body).map_err(|error| format!("it does not read as it should: {error}")))
    }

    fn put_aside(&self, what: String) -> Result<AlertError> {
        let free = (1..).map(|n| self.dir.join(format!("{NAME}.damaged-{n}"))).find(|path| !path.exists());
        let kept = free.unwrap_or_else(|| self.dir.join(format!("{NAME}.damaged")));
        fs::rename(&self.path, &kept).map_err(|source| AlertError::io(&self.path, source))?;
        self.sync_dir()?;
        Ok(AlertError::Damaged { path: self.path.clone(), kept, what })
    }

    /// Returns once it is on the disk.
    pub fn save(&self, value: &impl Serialize) -> Result<()> {
        let body = serde_json::to_vec(value).map_err(|error| AlertError::io(&self.path, error.into()))?;
        let head = format!("{MAGIC} {FORMAT} {:016x} {}\n", xxh3_64(&body), body.len());
        let tmp = self.dir.join(format!("{NAME}.tmp"));
        let write = || {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&tmp)?;
            file.write_all(head.as_bytes())?;
            file.write_all(&body)?;
            file.sync_data()?;
            fs::rename(&tmp, &self.path)
        };
        write().map_err(|source| AlertError::io(&self.path, source))?;
        self.sync_dir()
    }

    fn sync_dir(&self) -> Result<()> {
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(|source| AlertError::io(&self.dir, source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(dir: &Path) -> Result<Option<Vec<u32>>> {
        StateFile::lock(dir)?.load()
    }

    #[test]
    fn a_damaged_file_is_an_error_and_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        let value: Vec<u32> = (0..50).collect();
        StateFile::lock(dir.path()).unwrap().save(&value).unwrap();
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            for bytes in [&whole[..at], &flipped[..]] {
                fs::write(&path, bytes).unwrap();
                match load(dir.path()) {
                    Err(AlertError::Damaged { kept, .. }) => {
                        assert_eq!(fs::read(&kept).unwrap(), bytes);
                        fs::remove_file(kept).unwrap();
                    }
                    // The digit of the format became a greater one.
                    Err(AlertError::Version { .. }) => {}
                    other => panic!("byte {at}: {other:?}"),
                }
            }
        }
        fs::write(&path, &whole).unwrap();
        assert_eq!(load(dir.path()).unwrap(), Some(value));
    }

    #[test]
    fn a_write_that_was_cut_short_leaves_the_old_state() {
        let dir = tempfile::tempdir().unwrap();
        StateFile::lock(dir.path()).unwrap().save(&vec![1u32]).unwrap();
        fs::write(dir.path().join("alerts.tmp"), "sordini-alerts 1 00").unwrap();
        assert_eq!(load(dir.path()).unwrap(), Some(vec![1]));
    }

    #[test]
    fn one_process_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = StateFile::lock(dir.path()).unwrap();
        assert!(matches!(load(dir.path()), Err(AlertError::Locked { .. })));
        drop(first);
        assert_eq!(load(dir.path()).unwrap(), None);
    }
}
