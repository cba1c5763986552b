//! The ledger's directory: every change of a file goes through here, so that errors name the path, temporary ledgers
//! skip fsync in one place, and a test can make any single step fail. Knows nothing of what the files hold.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::error::{LedgerError, Result};
#[cfg(test)]
use super::tests::disk::Act;
#[cfg(test)]
pub(super) use super::tests::disk::Faults;

pub(super) const TMP: &str = ".tmp";

#[derive(Clone)]
pub(super) struct Files {
    dir: PathBuf,
    /// Whether a commit must survive a power loss.
    durable: bool,
    faults: Faults,
}

impl Files {
    /// Creates the directory when it is absent.
    pub fn new(dir: &Path, durable: bool, faults: Faults) -> Result<Self> {
        let failed = |source| LedgerError::io(dir, source);
        if !dir.exists() {
            fs::create_dir_all(dir).map_err(failed)?;
            if let Some(parent) = dir.parent().filter(|parent| durable && !parent.as_os_str().is_empty()) {
                File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed)?;
            }
        }
        Ok(Self { dir: dir.to_owned(), durable, faults })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A new file for reading and writing, for the owner's eyes only; replaces a left-over of the same name.
    pub fn create(&self, name: &str) -> Result<File> {
        let file = self.run(name, |path| {
            OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)
        })?;
        #[cfg(test)]
        for act in [Act::Open(name), Act::Truncate(name, 0)] {
            self.faults.note(&self.dir, act);
        }
        Ok(file)
    }

    /// Opens a file for reading and writing and creates it when it is absent.
    pub fn open_or_create(&self, name: &str) -> Result<File> {
        let file = self.run(name, |path| {
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
        })?;
        #[cfg(test)]
        self.faults.note(&self.dir, Act::Open(name));
        Ok(file)
    }

    pub fn write_at(&self, file: &File, name: &str, bytes: &[u8], at: u64) -> Result<()> {
        if let Err(source) = self.faults.step() {
            // A write that fails may have reached the disk in part.
            let half = &bytes[..bytes.len() / 2];
            let torn = file.write_all_at(half, at).and(Err(source));
            #[cfg(test)]
            self.faults.note(&self.dir, Act::Write(name, half, at));
            return torn.map_err(|source| LedgerError::io(&self.path(name), source));
        }
        file.write_all_at(bytes, at).map_err(|source| LedgerError::io(&self.path(name), source))?;
        #[cfg(test)]
        self.faults.note(&self.dir, Act::Write(name, bytes, at));
        Ok(())
    }

    pub fn sync(&self, file: &File, name: &str) -> Result<()> {
        self.run(name, |_| if self.durable { file.sync_data() } else { Ok(()) })?;
        #[cfg(test)]
        self.faults.note(&self.dir, Act::Sync(name));
        Ok(())
    }

    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.run(from, |path| fs::rename(path, self.dir.join(to)))?;
        #[cfg(test)]
        self.faults.note(&self.dir, Act::Rename(from, to));
        Ok(())
    }

    /// Makes new names and renames durable.
    pub fn sync_dir(&self) -> Result<()> {
        self.sync_path("")
    }

    pub fn sync_path(&self, name: &str) -> Result<()> {
        self.run(name, |path| if self.durable { File::open(path)?.sync_all() } else { Ok(()) })?;
        #[cfg(test)]
        self.faults.note(&self.dir, Act::Sync(name));
        Ok(())
    }

    /// Writes a whole file under its final name, which it has only once it is complete.
    pub fn write_whole(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let tmp = format!("{name}{TMP}");
        let file = self.create(&tmp)?;
        self.write_at(&file, &tmp, bytes, 0)?;
        self.sync(&file, &tmp)?;
        self.rename(&tmp, name)
    }

    pub fn truncate(&self, file: &File, name: &str, len: u64) -> Result<()> {
        self.run(name, |_| file.set_len(len))?;
        #[cfg(test)]
        self.faults.note(&self.dir, Act::Truncate(name, len));
        Ok(())
    }

    /// Removes a file no commit names any more. When that fails the next open tries again, so it is only logged.
    pub fn discard(&self, name: &str) {
        match self.run(name, |path| fs::remove_file(path)) {
            Ok(()) => {
                #[cfg(test)]
                self.faults.note(&self.dir, Act::Remove(name));
            }
            Err(error) => {
                tracing::warn!(%error, "a file the ledger no longer needs could not be removed; the next start tries again");
            }
        }
    }

    /// Removes a directory with all that is in it.
    pub fn remove_dir(&self, name: &str) -> Result<()> {
        self.run(name, |path| fs::remove_dir_all(path))
    }

    /// Names of the plain files in the directory.
    pub fn names(&self) -> Result<Vec<String>> {
        let failed = |source| LedgerError::io(&self.dir, source);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_type().map_err(failed)?.is_file() {
                names.extend(entry.file_name().into_string());
            }
        }
        Ok(names)
    }

    /// One step that a test can make fail.
    pub fn step(&self, name: &str) -> Result<()> {
        self.run(name, |_| Ok(()))
    }

    pub fn is_durable(&self) -> bool {
        self.durable
    }

    fn run<T>(&self, name: &str, act: impl FnOnce(&Path) -> io::Result<T>) -> Result<T> {
        let path = self.path(name);
        self.faults.step().and_then(|()| act(&path)).map_err(|source| LedgerError::io(&path, source))
    }
}

/// Nothing fails on purpose outside of tests.
#[cfg(not(test))]
#[derive(Clone, Default)]
pub(super) struct Faults(());

#[cfg(not(test))]
impl Faults {
    fn step(&self) -> io::Result<()> {
        Ok(())
    }
}
