//! The failing and recording layer under `Files`: fails every step after a given number, and notes every change of the
//! directory, so that a test can build what a power loss at any moment would have left of it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

/// Lets a given number of steps pass and fails every later one, as a disk does that is full for good.
#[derive(Clone)]
pub(in crate::ledger) struct Faults {
    left: Arc<AtomicI64>,
    recorder: Option<Arc<Mutex<Recorder>>>,
}

impl Default for Faults {
    fn default() -> Self {
        Self::after(i64::MAX)
    }
}

impl Faults {
    pub fn after(steps: i64) -> Self {
        Self { left: Arc::new(steps.into()), recorder: None }
    }

    /// Fails nothing until it is armed, and notes every change.
    pub fn recording() -> Self {
        Self { recorder: Some(Arc::default()), ..Self::default() }
    }

    /// Fails every step once `steps` more have passed.
    pub fn arm(&self, steps: i64) {
        self.left.store(steps, Ordering::Relaxed);
    }

    /// Whether a step has failed.
    pub fn hit(&self) -> bool {
        self.left.load(Ordering::Relaxed) < 0
    }

    pub fn step(&self) -> io::Result<()> {
        match self.left.fetch_sub(1, Ordering::Relaxed) {
            left if left <= 0 => Err(io::Error::from(io::ErrorKind::StorageFull)),
            _ => Ok(()),
        }
    }

    /// Notes a change that was just made in the ledger's directory `dir`.
    pub fn note(&self, dir: &Path, act: Act<'_>) {
        if let Some(recorder) = &self.recorder {
            recorder.lock().unwrap().note(dir, act);
        }
    }

    /// Notes where the history is in the test's own terms.
    pub fn mark(&self, mark: Mark) {
        self.recorder.as_ref().unwrap().lock().unwrap().ops.push(Op::Mark(mark));
    }

    pub fn history(&self) -> Vec<Op> {
        self.recorder.as_ref().unwrap().lock().unwrap().ops.clone()
    }
}

/// A change as `Files` makes it.
pub(in crate::ledger) enum Act<'a> {
    /// Opened; made when it was absent.
    Open(&'a str),
    Write(&'a str, &'a [u8], u64),
    Truncate(&'a str, u64),
    Rename(&'a str, &'a str),
    Remove(&'a str),
    /// A file or, by its name, a directory.
    Sync(&'a str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ledger) enum Mark {
    /// The commit of this number has begun.
    Begun(u64),
    Acknowledged(u64),
}

/// A change as a disk sees it: names lead to files, and files have bytes.
#[derive(Clone, Debug)]
pub(in crate::ledger) enum Op {
    Link { name: String, file: usize },
    Rename { from: String, to: String, file: usize },
    Unlink { name: String },
    Write { file: usize, at: usize, bytes: Vec<u8> },
    Cut { file: usize, len: usize },
    SyncFile { file: usize },
    SyncDir { name: String },
    Mark(Mark),
}

/// The manifest's directory; its files are sled's, so their changes are found by looking.
const META: &str = "meta";

#[derive(Default)]
pub(in crate::ledger) struct Recorder {
    ops: Vec<Op>,
    names: BTreeMap<String, usize>,
    files: usize,
    /// Bytes of sled's files when they were last looked at.
    meta: BTreeMap<String, Vec<u8>>,
}

impl Recorder {
    fn note(&mut self, dir: &Path, act: Act<'_>) {
        self.look_at_meta(dir);
        match act {
            Act::Open(name) => drop(self.file(name)),
            Act::Write(name, bytes, at) => {
                let file = self.file(name);
                self.ops.push(Op::Write { file, at: at as usize, bytes: bytes.to_vec() });
            }
            Act::Truncate(name, len) => {
                let file = self.file(name);
                self.ops.push(Op::Cut { file, len: len as usize });
            }
            Act::Rename(from, to) => {
                let file = self.names.remove(from).unwrap();
                self.names.insert(to.to_owned(), file);
                self.ops.push(Op::Rename { from: from.to_owned(), to: to.to_owned(), file });
            }
            Act::Remove(name) => {
                self.names.remove(name);
                self.ops.push(Op::Unlink { name: name.to_owned() });
            }
            Act::Sync(name) if name.is_empty() || name == META => self.ops.push(Op::SyncDir { name: name.to_owned() }),
            Act::Sync(name) => {
                let file = self.file(name);
                self.ops.push(Op::SyncFile { file });
            }
        }
    }

    fn file(&mut self, name: &str) -> usize {
        if let Some(file) = self.names.get(name) {
            return *file;
        }
        let file = self.files;
        self.files += 1;
        self.names.insert(name.to_owned(), file);
        self.ops.push(Op::Link { name: name.to_owned(), file });
        file
    }

    fn look_at_meta(&mut self, dir: &Path) {
        let now = read_files(&dir.join(META));
        for (name, bytes) in &now {
            let name = format!("{META}/{name}");
            // sled syncs a snapshot itself before it gives it its name.
            if name.contains("snap.") && !self.names.contains_key(&name) {
                let file = self.files;
                self.ops.extend([Op::Write { file, at: 0, bytes: bytes.clone() }, Op::SyncFile { file }]);
                self.file(&name);
                continue;
            }
            let file = self.file(&name);
            let before = self.meta.get(&name).map_or(&[][..], Vec::as_slice);
            let changes = sectors_that_differ(before, bytes);
            self.ops.extend(changes.map(|(at, bytes)| Op::Write { file, at, bytes: bytes.to_vec() }));
            if bytes.len() < before.len() {
                self.ops.push(Op::Cut { file, len: bytes.len() });
            }
        }
        let now = now.into_iter().map(|(name, bytes)| (format!("{META}/{name}"), bytes)).collect();
        let before = std::mem::replace(&mut self.meta, now);
        for name in before.into_keys().filter(|name| !self.meta.contains_key(name)) {
            self.names.remove(&name);
            self.ops.push(Op::Unlink { name });
        }
    }
}

/// Plain files of a directory; none when there is no directory yet.
fn read_files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).into_iter().flatten().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    let read = |entry: fs::DirEntry| Some((entry.file_name().into_string().unwrap(), fs::read(entry.path()).ok()?));
    files.filter_map(read).collect()
}

/// Stretches of 512-byte sectors that are not as they were; a new tail of zeros counts.
fn sectors_that_differ<'a>(before: &[u8], now: &'a [u8]) -> impl Iterator<Item = (usize, &'a [u8])> {
    const SECTOR: usize = 512;
    let differs = |at: usize| before.get(at..now.len().min(at + SECTOR)) != Some(&now[at..now.len().min(at + SECTOR)]);
    let mut stretches: Vec<(usize, usize)> = Vec::new();
    for at in (0..now.len()).step_by(SECTOR).filter(|&at| differs(at)) {
        let end = now.len().min(at + SECTOR);
        match stretches.last_mut() {
            Some(last) if last.1 == at => last.1 = end,
            _ => stretches.push((at, end)),
        }
    }
    stretches.into_iter().map(|(from, until)| (from, &now[from..until]))
}

/// What lies on a disk.
#[derive(Clone, Default)]
pub(super) struct Disk {
    pub names: BTreeMap<String, usize>,
    pub files: BTreeMap<usize, Vec<u8>>,
}

impl Disk {
    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::Link { name, file } => drop(self.names.insert(name.clone(), *file)),
            Op::Rename { from, to, file } => {
                self.names.remove(from);
                self.names.insert(to.clone(), *file);
            }
            Op::Unlink { name } => drop(self.names.remove(name)),
            Op::Write { file, at, bytes } => {
                let content = self.files.entry(*file).or_default();
                let end = at + bytes.len();
                content.resize(content.len().max(end), 0);
                content[*at..end].copy_from_slice(bytes);
            }
            Op::Cut { file, len } => self.files.entry(*file).or_default().resize(*len, 0),
            Op::SyncFile { .. } | Op::SyncDir { .. } | Op::Mark(_) => {}
        }
    }

    /// Names and the bytes they lead to.
    pub fn listing(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.names.iter().map(|(name, file)| (name.as_str(), self.files.get(file).map_or(&[][..], Vec::as_slice)))
    }

    pub fn write_to(&self, dir: &Path) {
        for (name, bytes) in self.listing() {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }
}
