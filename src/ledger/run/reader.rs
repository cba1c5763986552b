//! Reads a run: probing for an identity, loading a bucket, walking the extents. Prefix and extents are in memory when
//! the ledger's budget allows it, and read piece by piece otherwise; every piece is verified before it is believed.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::super::Seen;
use super::super::error::{LedgerError, Result};
use super::super::files::Files;
use super::super::manifest::{Fields, Ids, RunRecord};
use super::super::rows::{BUCKETS, Extent, Row, bucket_of};
use super::format::{
    CHECKSUM, DIRECTORY, EXTENT, EXTENTS_A_PAGE, FOOTER, Footer, Layout, PAGE, checksum32, header_page, is_page_intact,
    read_extent,
};
use super::{Damage, Part, ReadError};

type Read<T> = std::result::Result<T, ReadError>;

pub struct Run {
    pub record: RunRecord,
    path: PathBuf,
    file: File,
    layout: Layout,
    /// First rank and prefix checksum of each bucket; one more entry ends the last.
    directory: Vec<(u32, u32)>,
    resident: Option<Resident>,
    /// A part failed its checksum: a merge would make that forgotten.
    pub is_damaged: bool,
}

/// Prefix and extent pages as they lie in the file, verified.
struct Resident {
    prefix: Vec<u8>,
    extents: Vec<u8>,
}

/// Fences and tags of one bucket of one run.
pub struct Prefix<'a> {
    fences: &'a [u8],
    tags: &'a [u8],
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
struct CachedPage {
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
        Ok(Self { record, path, file, layout, directory, resident: None, is_damaged: false })
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

    pub fn extents(&self) -> u64 {
        self.layout.extents
    }

    /// What [`Run::make_resident`] would hold in memory.
    pub fn resident_cost(&self) -> usize {
        self.layout.prefix_len() as usize + PAGE * self.layout.extent_pages() as usize
    }

    pub fn resident_bytes(&self) -> usize {
        self.resident.as_ref().map_or(0, |resident| resident.prefix.len() + resident.extents.len())
    }

    /// Bytes that stay in memory for every run.
    pub fn directory_bytes(&self) -> usize {
        size_of_val(self.directory.as_slice())
    }

    pub fn drop_resident(&mut self) {
        self.resident = None;
    }

    /// Takes prefix and extents into memory. When a part is damaged it stays outside, where each use finds the damage.
    pub fn make_resident(&mut self) -> Result<()> {
        if self.resident.is_some() || self.is_damaged {
            return Ok(());
        }
        match self.load_resident() {
            Ok(resident) => self.resident = Some(resident),
            Err(ReadError::Damaged(_)) => self.is_damaged = true,
            Err(ReadError::Failed(error)) => return Err(error),
        }
        Ok(())
    }

    fn load_resident(&self) -> Read<Resident> {
        let whole = Part::Prefix { bucket: 0 };
        let mut prefix = vec![0; self.layout.prefix_len() as usize];
        self.read(self.layout.prefix_at(), &mut prefix, whole)?;
        for bucket in 0..BUCKETS {
            let (range, sum) = self.bucket_range(bucket);
            if checksum32(&prefix[range]) != sum {
                return Err(ReadError::Damaged(Part::Prefix { bucket: bucket as u32 }));
            }
        }
        let mut extents = vec![0; PAGE * self.layout.extent_pages() as usize];
        self.read(self.layout.extents_at(), &mut extents, whole)?;
        match extents.chunks(PAGE).position(|page| !is_page_intact(page)) {
            Some(page) => Err(ReadError::Damaged(Part::Extents { page: page as u64 })),
            None => Ok(Resident { prefix, extents }),
        }
    }

    /// Where a bucket's prefix lies within the prefix of the run, and its checksum.
    fn bucket_range(&self, bucket: usize) -> (std::ops::Range<usize>, u32) {
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
        let bytes = match &self.resident {
            Some(resident) => &resident.prefix[range],
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
        let (fences, tags) = bytes.split_at(self.layout.shape.fences_len());
        Ok(Prefix { fences, tags })
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
        let shape = self.layout.shape;
        let bucket = bucket_of(hi);
        let (start, tags) = prefix.group(shape.group_of(hi));
        let tag = shape.tag_of(hi);
        if !contains(tags, tag) {
            return Ok(());
        }
        let upper = shape.upper(bucket, shape.group_of(hi), tag);
        for (at, _) in tags.chunks_exact(2).enumerate().filter(|(_, bytes)| **bytes == tag.to_le_bytes()) {
            let rank = u64::from(self.directory[bucket].0) + (start + at) as u64;
            let found = self.row(rank, upper, &mut probe.rows).and_then(|row| {
                if (row.hi, row.lo) != (hi, lo) {
                    return Ok(None);
                }
                let extent = self.extent_of(row.code, &mut probe.extents)?;
                Ok(Some(extent.seen(row.code, row.checksum)))
            });
            match found {
                Ok(found) => out.extend(found),
                Err(error) => self.note(error, &mut probe.damage)?,
            }
        }
        Ok(())
    }

    /// Keeps damage for the report, hands on what is an error.
    pub fn note(&self, error: ReadError, damage: &mut BTreeSet<Damage>) -> Result<()> {
        match error {
            ReadError::Failed(error) => Err(error),
            ReadError::Damaged(part) => {
                let rows = match part {
                    Part::Rows { .. } => self.layout.shape.rows_a_page() as u64,
                    Part::Prefix { bucket } => self.bucket_len(bucket as usize) as u64,
                    Part::Extents { .. } => self.record.rows,
                };
                damage.insert(Damage { run: self.record.number, part, rows });
                Ok(())
            }
        }
    }

    /// Appends the rows of a bucket, `shift` added to their codes.
    pub fn load_bucket(&self, bucket: usize, shift: u64, scratch: &mut Vec<u8>, out: &mut Vec<Row>) -> Read<()> {
        if self.bucket_len(bucket) == 0 {
            return Ok(());
        }
        let shape = self.layout.shape;
        let prefix = self.prefix(bucket, scratch)?;
        let first = u64::from(self.directory[bucket].0);
        let pages = first / shape.rows_a_page() as u64
            ..(first + self.bucket_len(bucket) as u64).div_ceil(shape.rows_a_page() as u64);
        let mut bytes = vec![0; PAGE * (pages.end - pages.start) as usize];
        self.read(PAGE as u64 * (1 + pages.start), &mut bytes, Part::Rows { page: pages.start })?;
        for (at, page) in bytes.chunks(PAGE).enumerate() {
            if !is_page_intact(page) {
                return Err(ReadError::Damaged(Part::Rows { page: pages.start + at as u64 }));
            }
        }
        let before = out.len();
        for group in 0..shape.groups_a_bucket() {
            let (start, tags) = prefix.group(group);
            for (at, tag) in tags.chunks_exact(2).enumerate() {
                let rank = first + (start + at) as u64;
                let upper = shape.upper(bucket, group, u16::from_le_bytes([tag[0], tag[1]]));
                let page = (rank / shape.rows_a_page() as u64 - pages.start) as usize;
                let row = self.row_in(&bytes[PAGE * page..][..PAGE], rank, upper)?;
                out.push(Row { code: row.code + shift, ..row });
            }
        }
        // A merge announces the number of rows before it writes them.
        match out.len() - before == self.bucket_len(bucket) {
            true => Ok(()),
            false => Err(ReadError::Damaged(Part::Prefix { bucket: bucket as u32 })),
        }
    }

    /// Every extent, `shift` added to their codes, page by page.
    pub fn extent_pages(&self, shift: u64) -> impl Iterator<Item = Read<Vec<Extent>>> + '_ {
        let mut cached = CachedPage::default();
        (0..self.layout.extent_pages()).map(move |page| {
            let count = self.extents_in(page);
            let bytes = self.extent_page(page, &mut cached)?;
            let extents = bytes[CHECKSUM..].chunks_exact(EXTENT).take(count).filter_map(read_extent);
            let shifted = extents.map(|extent| {
                let code = (extent.code < self.record.span).then(|| extent.code + shift)?;
                Some(Extent { code, ..extent })
            });
            shifted.collect::<Option<Vec<_>>>().ok_or(ReadError::Damaged(Part::Extents { page }))
        })
    }

    fn row(&self, rank: u64, upper: u64, cached: &mut CachedPage) -> Read<Row> {
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

    /// The extent a code falls into: binary search over pages, then within the page.
    fn extent_of(&self, code: u64, cached: &mut CachedPage) -> Read<Extent> {
        let (mut from, mut until) = (0, self.layout.extent_pages());
        while until - from > 1 {
            let middle = from + (until - from) / 2;
            let first = read_extent(&self.extent_page(middle, cached)?[CHECKSUM..]);
            match first.is_some_and(|extent| extent.code <= code) {
                true => from = middle,
                false => until = middle,
            }
        }
        let damaged = || ReadError::Damaged(Part::Extents { page: from });
        if until == 0 {
            return Err(damaged());
        }
        let count = self.extents_in(from);
        let page = self.extent_page(from, cached)?;
        let extent = |at: usize| read_extent(&page[CHECKSUM + at * EXTENT..]);
        let (mut low, mut high) = (0, count);
        while high - low > 1 {
            let middle = (low + high) / 2;
            match extent(middle).is_some_and(|extent| extent.code <= code) {
                true => low = middle,
                false => high = middle,
            }
        }
        extent(low).filter(|extent| extent.code <= code).ok_or_else(damaged)
    }

    fn extents_in(&self, page: u64) -> usize {
        (self.layout.extents - page * EXTENTS_A_PAGE as u64).min(EXTENTS_A_PAGE as u64) as usize
    }

    fn extent_page<'a>(&'a self, page: u64, cached: &'a mut CachedPage) -> Read<&'a [u8]> {
        match &self.resident {
            Some(resident) => Ok(&resident.extents[PAGE * page as usize..][..PAGE]),
            None => cached.load(self, page, self.layout.extents_at() + PAGE as u64 * page, Part::Extents { page }),
        }
    }

    /// Reads a part; a file that has become too short is damage like a failed checksum.
    fn read(&self, at: u64, bytes: &mut [u8], part: Part) -> Read<()> {
        self.file.read_exact_at(bytes, at).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => ReadError::Damaged(part),
            _ => ReadError::Failed(LedgerError::io(&self.path, source)),
        })
    }
}

impl CachedPage {
    fn load(&mut self, run: &Run, page: u64, at: u64, part: Part) -> Read<&[u8]> {
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

impl<'a> Prefix<'a> {
    /// First row of a group within its bucket, and the group's tags.
    fn group(&self, group: usize) -> (usize, &'a [u8]) {
        let fence = |at: usize| {
            let bytes = self.fences.get(4 * at..4 * at + 4).and_then(|bytes| bytes.first_chunk());
            bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize)
        };
        let (start, end) = (fence(group), fence(group + 1));
        (start, self.tags.get(2 * start..2 * end).unwrap_or_default())
    }
}

/// Whether a tag occurs: almost always it does not, so all are compared without a branch between them.
fn contains(tags: &[u8], tag: u16) -> bool {
    tags.chunks_exact(2).fold(false, |found, bytes| found | (u16::from_le_bytes([bytes[0], bytes[1]]) == tag))
}
