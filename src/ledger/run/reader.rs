//! Reads a run: probing for an identity, loading a bucket, walking the extents. Prefix and extents are in memory when
//! the ledger's budget allows it, and read piece by piece otherwise; every piece is verified before it is believed.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use xxhash_rust::xxh3::xxh3_64;

use super::super::Seen;
use super::super::error::{LedgerError, Result};
use super::super::files::Files;
use super::super::forgotten::Forgotten;
use super::super::manifest::{Fields, Ids, RunRecord};
use super::super::rows::{BUCKETS, Row, bucket_of};
use super::extents::Located;
use super::format::{CHECKSUM, DIRECTORY, FOOTER, Footer, Layout, PAGE, checksum32, header_page, is_page_intact};
use super::prefix::Prefix;
use super::{Damage, Part, ReadError};

pub(super) type Read<T> = std::result::Result<T, ReadError>;

pub struct Run {
    pub record: RunRecord,
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) layout: Layout,
    /// First rank and prefix checksum of each bucket; one more entry ends the last.
    pub(super) directory: Vec<(u32, u32)>,
    pub(super) forgotten: Forgotten,
    /// Prefix as it lies in the file, verified.
    prefix: Option<Vec<u8>>,
    pub(super) extents: Option<Located>,
    /// First code of every page of extents, read when it is first needed.
    pub(super) extent_index: OnceLock<Vec<u64>>,
    /// A part failed its checksum: a merge would make that forgotten.
    pub is_damaged: bool,
    /// For a single look-up the index over the extents would cost more than it saves.
    pub is_read_once: bool,
}

/// Memory that reading borrows, and the pages read last. One for all runs: buckets are probed in order, so the next
/// row looked for is often in the page of the one before.
#[derive(Default)]
pub struct Probe {
    rows: CachedPage,
    extents: CachedPage,
    /// What failed its checksum so far.
    pub damage: BTreeSet<Damage>,
}

#[derive(Default)]
pub(super) struct CachedPage {
    key: Option<(u64, u64)>,
    bytes: Vec<u8>,
}

impl Run {
    /// Opens a run that a commit names, or that was just written; refuses a file that is not the one recorded.
    pub fn open(files: &Files, name: &str, record: RunRecord, ids: Ids) -> Result<Self> {
        let path = files.path(name);
        let damaged = |what: &str| LedgerError::damaged(&path, what);
        let file = File::open(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => damaged("missing though a commit names it"),
            _ => LedgerError::io(&path, source),
        })?;
        let len = file.metadata().map_err(|source| LedgerError::io(&path, source))?.len();
        if len != record.len || len < (PAGE + DIRECTORY + FOOTER) as u64 {
            return Err(damaged(&format!("{len} bytes long where {} were committed", record.len)));
        }
        let read = |at: u64, len: usize| {
            let mut bytes = vec![0; len];
            file.read_exact_at(&mut bytes, at).map(|()| bytes).map_err(|source| LedgerError::io(&path, source))
        };
        let (footer, sum) = Footer::decode(&read(len - FOOTER as u64, FOOTER)?, ids)
            .ok_or_else(|| damaged("its footer fails its checksum or belongs to another ledger"))?;
        let layout = footer.layout;
        let recorded = (record.footer_checksum, record.number, record.generation, record.rows, record.len);
        if recorded != (sum, footer.number, footer.generation, layout.rows, layout.file_len()) {
            return Err(damaged("not the file the commit names"));
        }
        if read(0, PAGE)? != header_page(ids, record.number, record.generation) {
            return Err(damaged("its header page is not the one that was written"));
        }
        let directory = read(layout.directory_at(), DIRECTORY)?;
        if xxh3_64(&directory) != footer.directory {
            return Err(damaged("its directory fails its checksum"));
        }
        let mut fields = Fields(&directory);
        let directory: Vec<(u32, u32)> = std::iter::from_fn(|| Some((fields.u32()?, fields.u32()?))).collect();
        if !directory.is_sorted_by_key(|(first, _)| *first) || u64::from(directory[BUCKETS].0) != layout.rows {
            return Err(damaged("its directory does not add up"));
        }
        Ok(Self {
            record,
            path,
            file,
            layout,
            directory,
            forgotten: Forgotten::default(),
            prefix: None,
            extents: None,
            extent_index: OnceLock::new(),
            is_damaged: false,
            is_read_once: false,
        })
    }

    /// Name of the file in the ledger's directory, once it is committed.
    pub fn name(&self) -> String {
        super::name(self.record.number)
    }

    /// The file has its final name now.
    pub fn renamed(&mut self, files: &Files) {
        self.path = files.path(&self.name());
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What holding the prefix in memory would cost.
    pub fn prefix_cost(&self) -> usize {
        self.layout.prefix_len() as usize
    }

    pub fn resident_bytes(&self) -> usize {
        self.prefix.as_ref().map_or(0, Vec::len) + self.extents.as_ref().map_or(0, Located::bytes)
    }

    /// Bytes that stay in memory for every run.
    pub fn directory_bytes(&self) -> usize {
        size_of_val(self.directory.as_slice()) + self.extent_index.get().map_or(0, |index| 8 * index.len())
    }

    pub fn drop_prefix(&mut self) {
        self.prefix = None;
    }

    /// Takes the prefix into memory. A damaged one stays outside, where each use finds the damage.
    pub fn hold_prefix(&mut self) -> Result<()> {
        if self.prefix.is_none() && !self.is_damaged {
            let loaded = self.load_prefix();
            self.prefix = self.unless_damaged(loaded)?;
        }
        Ok(())
    }

    pub(super) fn unless_damaged<T>(&mut self, loaded: Read<T>) -> Result<Option<T>> {
        match loaded {
            Ok(loaded) => Ok(Some(loaded)),
            Err(ReadError::Damaged(_)) => {
                self.is_damaged = true;
                Ok(None)
            }
            Err(ReadError::Failed(error)) => Err(error),
        }
    }

    fn load_prefix(&self) -> Read<Vec<u8>> {
        let mut prefix = vec![0; self.layout.prefix_len() as usize];
        self.read(self.layout.prefix_at(), &mut prefix, Part::Prefix { bucket: 0 })?;
        for bucket in 0..BUCKETS {
            let (range, sum) = self.bucket_range(bucket);
            if checksum32(&prefix[range]) != sum {
                return Err(ReadError::Damaged(Part::Prefix { bucket: bucket as u32 }));
            }
        }
        Ok(prefix)
    }

    /// Where a bucket's prefix lies within the prefix of the run, and its checksum.
    fn bucket_range(&self, bucket: usize) -> (Range<usize>, u32) {
        let (first, sum) = self.directory[bucket];
        let start = (self.layout.bucket_at(bucket, first) - self.layout.prefix_at()) as usize;
        (start..start + self.layout.shape.fences_len() + 2 * self.bucket_len(bucket), sum)
    }

    /// Rows in a bucket.
    pub fn bucket_len(&self, bucket: usize) -> usize {
        (self.directory[bucket + 1].0 - self.directory[bucket].0) as usize
    }

    /// The prefix of a bucket; `scratch` holds it when the run is not resident.
    pub fn prefix<'a>(&'a self, bucket: usize, scratch: &'a mut Vec<u8>) -> Read<Prefix<'a>> {
        let (range, sum) = self.bucket_range(bucket);
        let bytes = match &self.prefix {
            Some(prefix) => &prefix[range],
            None => {
                let part = Part::Prefix { bucket: bucket as u32 };
                scratch.resize(range.len(), 0);
                self.read(self.layout.prefix_at() + range.start as u64, scratch, part)?;
                if checksum32(scratch) != sum {
                    return Err(ReadError::Damaged(part));
                }
                &scratch[..]
            }
        };
        Ok(self.prefix_of(bytes))
    }

    /// A bucket's prefix from its bytes, which were read and verified before.
    pub fn prefix_of<'a>(&self, bytes: &'a [u8]) -> Prefix<'a> {
        let (fences, tags) = bytes.split_at(self.layout.shape.fences_len());
        Prefix { fences, tags }
    }

    /// Whether an identity may be here. Almost always it is not, and that is what this is made to say fast.
    #[inline]
    pub fn may_hold(&self, prefix: &Prefix<'_>, hi: u64) -> bool {
        let shape = self.layout.shape;
        prefix.may_hold(shape.group_of(hi), shape.tag_of(hi))
    }

    /// Pushes every sighting of an identity this run holds. What cannot be read for damage is noted in `probe`.
    pub fn sightings(
        &self,
        prefix: &Prefix<'_>,
        hi: u64,
        lo: u64,
        probe: &mut Probe,
        out: &mut Vec<Seen>,
    ) -> Result<()> {
        self.matches(prefix, hi, lo, probe, &mut |code, checksum, probe| {
            out.extend(self.locate(code, checksum, probe)?);
            Ok(())
        })
    }

    /// Calls `found` with code and checksum of every row that has the identity, all 128 bits compared.
    pub fn matches(
        &self,
        prefix: &Prefix<'_>,
        hi: u64,
        lo: u64,
        probe: &mut Probe,
        found: &mut dyn FnMut(u64, u64, &mut Probe) -> Result<()>,
    ) -> Result<()> {
        let shape = self.layout.shape;
        let (bucket, tag) = (bucket_of(hi), shape.tag_of(hi));
        let (start, tags) = prefix.group(shape.group_of(hi));
        let upper = shape.upper(bucket, shape.group_of(hi), tag);
        for (at, _) in tags.chunks_exact(2).enumerate().filter(|(_, bytes)| **bytes == tag.to_le_bytes()) {
            let rank = u64::from(self.directory[bucket].0) + (start + at) as u64;
            match self.row(rank, upper, &mut probe.rows) {
                Ok(row) if (row.hi, row.lo) != (hi, lo) => {}
                Ok(_) if self.forgotten.hides(hi, lo, self.record.number) => {}
                Ok(row) => found(row.code, row.checksum, probe)?,
                Err(error) => self.note(error, &mut probe.damage)?,
            }
        }
        Ok(())
    }

    /// Where and when the row of a code was seen; `None` when damage hides it, which is noted.
    pub fn locate(&self, code: u64, checksum: u64, probe: &mut Probe) -> Result<Option<Seen>> {
        match self.extent_of(code, &mut probe.extents) {
            Ok(extent) => Ok(Some(extent.seen(code, checksum))),
            Err(error) => self.note(error, &mut probe.damage).map(|()| None),
        }
    }

    /// Keeps damage for the report, hands on what is an error.
    pub fn note(&self, error: ReadError, damage: &mut BTreeSet<Damage>) -> Result<()> {
        match error {
            ReadError::Failed(error) => Err(error),
            ReadError::Damaged(part) => {
                damage.insert(Damage { run: self.record.number, part, rows: self.affected(part) });
                Ok(())
            }
        }
    }

    /// Groups a bucket of this run is cut into: a power of two.
    pub fn groups_a_bucket(&self) -> usize {
        self.layout.shape.groups_a_bucket()
    }

    /// Appends the rows of a bucket, forgotten ones apart, `shift` added to their codes.
    pub fn load_bucket(&self, bucket: usize, shift: u64, scratch: &mut Vec<u8>, out: &mut Vec<Row>) -> Read<()> {
        let prefix = self.prefix(bucket, scratch)?;
        self.load_groups(bucket, &prefix, 0..self.groups_a_bucket(), shift, &mut Vec::new(), out)
    }

    /// Appends the rows of some groups of a bucket, `shift` added to their codes. `pages` is memory to borrow.
    pub fn load_groups(
        &self,
        bucket: usize,
        prefix: &Prefix<'_>,
        groups: Range<usize>,
        shift: u64,
        pages: &mut Vec<u8>,
        out: &mut Vec<Row>,
    ) -> Read<()> {
        let shape = self.layout.shape;
        let per_page = shape.rows_a_page();
        let first = self.directory[bucket].0 as usize;
        let damaged = || ReadError::Damaged(Part::Prefix { bucket: bucket as u32 });
        let (start, end) = (prefix.fence(groups.start), prefix.fence(groups.end));
        // A merge announces the number of rows before it writes them, so the parts of a bucket must add up.
        let adds_up = start <= end
            && end <= self.bucket_len(bucket)
            && (groups.start > 0 || start == 0)
            && (groups.end < self.groups_a_bucket() || end == self.bucket_len(bucket));
        if !adds_up {
            return Err(damaged());
        }
        if start == end {
            return Ok(());
        }
        let ranks = first + start..first + end;
        let page = ranks.start / per_page;
        pages.resize(PAGE * (ranks.end.div_ceil(per_page) - page), 0);
        self.read((PAGE * (1 + page)) as u64, pages, Part::Rows { page: page as u64 })?;
        if let Some(at) = pages.chunks(PAGE).position(|page| !is_page_intact(page)) {
            return Err(ReadError::Damaged(Part::Rows { page: (page + at) as u64 }));
        }
        out.reserve(ranks.len());
        let (mut rank, mut at, mut in_page) = (ranks.start, 0, ranks.start % per_page);
        for group in groups {
            for tag in prefix.group(group).1.chunks_exact(2) {
                if rank == ranks.end {
                    return Err(damaged());
                }
                if in_page == per_page {
                    (at, in_page) = (at + 1, 0);
                }
                let bytes = &pages[PAGE * at + CHECKSUM + shape.row_len() * in_page..];
                let upper = shape.upper(bucket, group, u16::from_le_bytes([tag[0], tag[1]]));
                let row = shape.read_row(upper, bytes).filter(|row| row.code < self.record.span);
                let row = row.ok_or(ReadError::Damaged(Part::Rows { page: (page + at) as u64 }))?;
                if !self.forgotten.hides(row.hi, row.lo, self.record.number) {
                    out.push(Row { code: row.code + shift, ..row });
                }
                (rank, in_page) = (rank + 1, in_page + 1);
            }
        }
        if rank == ranks.end { Ok(()) } else { Err(damaged()) }
    }

    pub(super) fn row(&self, rank: u64, upper: u64, cached: &mut CachedPage) -> Read<Row> {
        let page = rank / self.layout.shape.rows_a_page() as u64;
        let bytes = cached.load(self, page, PAGE as u64 * (1 + page), Part::Rows { page })?;
        self.row_in(bytes, rank, upper)
    }

    fn row_in(&self, page: &[u8], rank: u64, upper: u64) -> Read<Row> {
        let shape = self.layout.shape;
        let per_page = shape.rows_a_page() as u64;
        let at = CHECKSUM + shape.row_len() * (rank % per_page) as usize;
        shape
            .read_row(upper, &page[at..at + shape.row_len()])
            .filter(|row| row.code < self.record.span)
            .ok_or(ReadError::Damaged(Part::Rows { page: rank / per_page }))
    }

    /// Reads a part; a file that has become too short is damage like a failed checksum.
    pub(super) fn read(&self, at: u64, bytes: &mut [u8], part: Part) -> Read<()> {
        self.file.read_exact_at(bytes, at).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => ReadError::Damaged(part),
            _ => ReadError::Failed(LedgerError::io(&self.path, source)),
        })
    }
}

impl CachedPage {
    pub(super) fn load(&mut self, run: &Run, page: u64, at: u64, part: Part) -> Read<&[u8]> {
        let key = Some((run.record.number, page));
        if self.key != key {
            self.key = None;
            self.bytes.resize(PAGE, 0);
            run.read(at, &mut self.bytes, part)?;
            if !is_page_intact(&self.bytes) {
                return Err(ReadError::Damaged(part));
            }
            self.key = key;
        }
        Ok(&self.bytes)
    }
}
