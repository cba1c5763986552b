//! The journal: keyed entries in the order they were committed, appended to one file. Only the length the manifest
//! names counts; what a broken commit left behind it is cut at open. Knows nothing of what an entry means.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::error::{LedgerError, Result};
use super::files::{Files, TMP};

/// A rewritten journal is written in pieces of about this size.
const WRITE_BYTES: usize = 256 << 10;
/// Length u32, checksum u32, key u128.
const FRAME_HEAD: usize = 24;

pub(super) struct Journal {
    file: File,
    name: String,
    path: PathBuf,
    len: u64,
}

/// The first journal has no number.
pub(super) fn name(number: u64) -> String {
    if number == 0 { "journal".to_owned() } else { format!("journal-{number:08}") }
}

impl Journal {
    /// Opens the journal of a number, cuts it to its committed length and verifies every frame. A reader leaves it as it
    /// is, and verifies what it reads.
    pub fn open(files: &Files, number: u64, len: u64, is_reader: bool) -> Result<Self> {
        let name = name(number);
        let path = files.path(&name);
        let file = match is_reader {
            false => files.open_or_create(&name)?,
            true => File::open(&path).map_err(|source| match source.kind() {
                std::io::ErrorKind::NotFound => LedgerError::damaged(&path, "missing though a commit names it"),
                _ => LedgerError::io(&path, source),
            })?,
        };
        let actual = file.metadata().map_err(|source| LedgerError::io(&path, source))?.len();
        if actual < len {
            return Err(LedgerError::damaged(&path, format!("{actual} bytes long where {len} were committed")));
        }
        let journal = Self { file, name, path, len };
        if is_reader {
            return Ok(journal);
        }
        if actual > len {
            files.truncate(&journal.file, &journal.name, len)?;
        }
        for frame in Frames::new(&journal.file, &journal.path, len)? {
            frame?;
        }
        Ok(journal)
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    /// Entries as they are to be appended.
    pub fn encode(entries: &[(u128, Vec<u8>)]) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        for (key, bytes) in entries {
            let len = u32::try_from(bytes.len()).map_err(|_| LedgerError::EntryTooLong { bytes: bytes.len() })?;
            out.extend_from_slice(&len.to_le_bytes());
            out.extend_from_slice(&checksum(len, *key, bytes).to_le_bytes());
            out.extend_from_slice(&key.to_le_bytes());
            out.extend_from_slice(bytes);
        }
        Ok(out)
    }

    /// Appends encoded entries and returns the length to be committed; [`Journal::accept`] makes it count.
    pub fn append(&self, files: &Files, frames: &[u8]) -> Result<u64> {
        if !frames.is_empty() {
            files.write_at(&self.file, &self.name, frames, self.len)?;
            files.sync(&self.file, &self.name)?;
        }
        Ok(self.len + frames.len() as u64)
    }

    pub fn accept(&mut self, len: u64) {
        self.len = len;
    }

    /// Writes the last entry of every key that is to be kept into a new journal under its temporary name, synced. With it
    /// comes how many entries it holds.
    pub fn rewrite(&self, files: &Files, number: u64, keep: &dyn Fn(u128) -> bool) -> Result<(Self, u64)> {
        let tmp = name(number) + TMP;
        let mut new = Self { file: files.create(&tmp)?, path: files.path(&tmp), name: tmp, len: 0 };
        let (mut frames, mut kept) = (Vec::new(), 0);
        for entry in self.entries()? {
            let entry = entry?;
            if keep(entry.0) {
                frames.extend(Self::encode(&[entry])?);
                kept += 1;
            }
            if frames.len() >= WRITE_BYTES {
                files.write_at(&new.file, &new.name, &frames, new.len)?;
                new.len += frames.len() as u64;
                frames.clear();
            }
        }
        files.write_at(&new.file, &new.name, &frames, new.len)?;
        new.len += frames.len() as u64;
        files.sync(&new.file, &new.name)?;
        Ok((new, kept))
    }

    /// Gives a rewritten journal its name.
    pub fn rename(&mut self, files: &Files, number: u64) -> Result<()> {
        let to = name(number);
        files.rename(&self.name, &to)?;
        (self.path, self.name) = (files.path(&to), to);
        Ok(())
    }

    /// Calls `visit` for every entry of these keys, in the order they were written.
    pub fn entries_of(&self, keys: &[u128], visit: &mut dyn FnMut(u128, &[u8])) -> Result<()> {
        let keys: HashSet<&u128> = keys.iter().collect();
        let mut frames = Frames::new(&self.file, &self.path, self.len)?;
        while let Some(frame) = frames.next() {
            let (key, _) = frame?;
            if keys.contains(&key) {
                visit(key, &frames.bytes);
            }
        }
        Ok(())
    }

    /// Reads every frame up to the first damaged one, which is the error.
    pub fn count(&self) -> Result<(u64, Option<LedgerError>)> {
        let mut count = 0;
        for frame in Frames::new(&self.file, &self.path, self.len)? {
            match frame {
                Ok(_) => count += 1,
                Err(error) => return Ok((count, Some(error))),
            }
        }
        Ok((count, None))
    }

    /// The last entry of every key, in the order the keys were first written.
    pub fn entries(&self) -> Result<impl Iterator<Item = Result<(u128, Vec<u8>)>>> {
        let mut order: Vec<(u128, Place)> = Vec::new();
        let mut index: HashMap<u128, usize> = HashMap::new();
        for frame in Frames::new(&self.file, &self.path, self.len)? {
            let (key, place) = frame?;
            match index.get(&key) {
                Some(&at) => order[at].1 = place,
                None => {
                    index.insert(key, order.len());
                    order.push((key, place));
                }
            }
        }
        drop(index);
        Ok(order.into_iter().map(|(key, place)| {
            let mut bytes = vec![0; place.len];
            self.file.read_exact_at(&mut bytes, place.at).map_err(|source| LedgerError::io(&self.path, source))?;
            Ok((key, bytes))
        }))
    }
}

/// The low 32 bits of XXH3-64 over length, key and bytes.
fn checksum(len: u32, key: u128, bytes: &[u8]) -> u32 {
    let mut hash = Xxh3::new();
    hash.update(&len.to_le_bytes());
    hash.update(&key.to_le_bytes());
    hash.update(bytes);
    hash.digest() as u32
}

/// Where an entry's bytes lie.
struct Place {
    at: u64,
    len: usize,
}

/// Walks the frames from the start of the file, verifying each.
struct Frames<'a> {
    input: BufReader<File>,
    path: &'a Path,
    at: u64,
    end: u64,
    bytes: Vec<u8>,
}

impl<'a> Frames<'a> {
    fn new(file: &File, path: &'a Path, end: u64) -> Result<Self> {
        let mut file = file.try_clone().map_err(|source| LedgerError::io(path, source))?;
        file.rewind().map_err(|source| LedgerError::io(path, source))?;
        Ok(Self { input: BufReader::with_capacity(1 << 18, file), path, at: 0, end, bytes: Vec::new() })
    }

    fn frame(&mut self) -> Result<(u128, Place)> {
        let start = self.at;
        let damaged = || LedgerError::damaged(self.path, format!("the entry at byte {start} fails its checksum"));
        let failed = |source| LedgerError::io(self.path, source);
        let left = self.end - start;
        if left < FRAME_HEAD as u64 {
            return Err(damaged());
        }
        let (mut len, mut sum, mut key) = ([0; 4], [0; 4], [0; 16]);
        self.input.read_exact(&mut len).map_err(failed)?;
        self.input.read_exact(&mut sum).map_err(failed)?;
        self.input.read_exact(&mut key).map_err(failed)?;
        let (len, sum, key) = (u32::from_le_bytes(len), u32::from_le_bytes(sum), u128::from_le_bytes(key));
        if u64::from(len) > left - FRAME_HEAD as u64 {
            return Err(damaged());
        }
        self.bytes.resize(len as usize, 0);
        self.input.read_exact(&mut self.bytes).map_err(failed)?;
        if checksum(len, key, &self.bytes) != sum {
            return Err(damaged());
        }
        self.at = start + FRAME_HEAD as u64 + u64::from(len);
        Ok((key, Place { at: start + FRAME_HEAD as u64, len: len as usize }))
    }
}

impl Iterator for Frames<'_> {
    type Item = Result<(u128, Place)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.end {
            return None;
        }
        let frame = self.frame();
        if frame.is_err() {
            self.at = self.end;
        }
        Some(frame)
    }
}
