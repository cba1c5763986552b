//! A run: an immutable file of sorted rows with its own filter. `docs/ledger-format.md` has the bytes.
//!
//! The identity is stored once, split over three places: the group (top bits, implied by the row's rank), the tag (the
//! next 16 bits, a column that serves as the filter), and the rest in the row. A tag that matches is verified against
//! all 128 bits, so an answer is exact.

use std::borrow::Cow;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

use xxhash_rust::xxh3::xxh3_64;

use super::Seen;
use super::error::{LedgerError, Result};
use super::extents::{EXTENT_LEN, Extents, PRODUCER_LEN};
use super::files::{Files, TMP};
use super::manifest::{Fields, Ids, RunRecord};

pub(super) const PAGE: usize = 4096;
const PAGE_HEAD: usize = 4;
/// Bytes of a row behind its head: the low half of the identity, and the checksum.
const ROW_TAIL: usize = 16;
const MAGIC: &[u8; 8] = b"SORDRUN1";
const FOOTER_MAGIC: &[u8; 8] = b"SORDEND1";
const FOOTER_LEN: usize = 88;
const TAG_BITS: u32 = 16;
/// Written at once.
const CHUNK: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub identity: u128,
    pub checksum: u64,
    pub code: u64,
}

/// How the bits of an identity are split in one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    /// Bits that choose the group; about 16 rows a group, and at least 8 so that groups never cross a bucket.
    group_bits: u32,
    /// Bytes of a row's head: the identity bits of the high half that group and tag leave over, then the code.
    head: usize,
}

impl Shape {
    fn of(rows: u64, span: u64) -> Self {
        let group_bits = rows.max(1).ilog2().saturating_sub(4).clamp(8, 32);
        let code_bits = 64 - span.leading_zeros();
        let head = ((48 - group_bits + code_bits) as usize).div_ceil(8).max(7);
        Self { group_bits, head }
    }

    fn group(self, identity: u128) -> usize {
        (identity >> (128 - self.group_bits)) as usize
    }

    fn tag(self, identity: u128) -> u16 {
        (identity >> (128 - self.group_bits - TAG_BITS)) as u16
    }

    fn rest_bits(self) -> u32 {
        48 - self.group_bits
    }

    fn rest(self, identity: u128) -> u128 {
        (identity >> 64) & ((1u128 << self.rest_bits()) - 1)
    }

    fn rows_in_page(self) -> u64 {
        ((PAGE - PAGE_HEAD) / (self.head + ROW_TAIL)) as u64
    }

    fn groups(self) -> usize {
        1 << self.group_bits
    }

    fn encode(self, row: &Row, out: &mut Vec<u8>) {
        let head = u128::from(row.code) << self.rest_bits() | self.rest(row.identity);
        out.extend_from_slice(&head.to_le_bytes()[..self.head]);
        out.extend_from_slice(&(row.identity as u64).to_le_bytes());
        out.extend_from_slice(&row.checksum.to_le_bytes());
    }

    /// The row's rest bits, code, low half and checksum.
    fn decode(self, bytes: &[u8]) -> Option<(u128, u64, u64, u64)> {
        let mut head = [0; 16];
        head[..self.head].copy_from_slice(bytes.get(..self.head)?);
        let head = u128::from_le_bytes(head);
        let mut fields = Fields(&bytes[self.head..]);
        let rest = head & ((1u128 << self.rest_bits()) - 1);
        Some((rest, (head >> self.rest_bits()) as u64, fields.u64()?, fields.u64()?))
    }
}

/// The filter of a run, or of one bucket of it.
#[derive(Clone)]
struct Prefix<'a> {
    /// Rank of the first row of every 64th group.
    base: Cow<'a, [u32]>,
    /// Rank of each group's first row less its base; one more than there are groups.
    rel: Cow<'a, [u16]>,
    tags: Cow<'a, [u16]>,
    first_group: usize,
    first_rank: u64,
}

impl Prefix<'_> {
    fn start(&self, group: usize) -> u64 {
        let at = group - self.first_group;
        u64::from(self.base[group / 64 - self.first_group / 64]) + u64::from(self.rel[at])
    }

    fn tag(&self, rank: u64) -> u16 {
        self.tags[(rank - self.first_rank) as usize]
    }
}

pub(super) struct Run {
    pub record: RunRecord,
    file: File,
    name: String,
    shape: Shape,
    prefix_at: u64,
    resident: Option<Prefix<'static>>,
    pub extents: Extents,
    /// The page read last, already verified.
    page: Mutex<(u64, Vec<u8>)>,
}

pub(super) fn file_name(number: u64) -> String {
    format!("run-{number:08}")
}

/// A part of the run that can no longer be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Damage(pub String);

/// Writes rows, sorted by identity and without repeats, as the run's file. The name is final when it returns.
pub(super) struct Writer {
    file: File,
    tmp: String,
    record: RunRecord,
    shape: Shape,
    pages: Vec<u8>,
    page: Vec<u8>,
    written: u64,
    tags: Vec<u16>,
    starts: Vec<u64>,
    rows: u64,
}

impl Writer {
    /// `rows` may be more than come: it only chooses the shape.
    pub fn create(files: &Files, ids: Ids, number: u64, generation: u32, rows: u64, extents: &Extents) -> Result<Self> {
        let shape = Shape::of(rows, extents.span);
        let tmp = format!("{}{TMP}", file_name(number));
        let file = files.create(&tmp)?;
        let mut header = MAGIC.to_vec();
        header.extend_from_slice(&1u32.to_le_bytes());
        header.extend_from_slice(&0u32.to_le_bytes());
        header.extend_from_slice(&ids.ledger.to_le_bytes());
        header.extend_from_slice(&ids.secret.to_le_bytes());
        header.extend_from_slice(&generation.to_le_bytes());
        let sum = xxh3_64(&header);
        header.extend_from_slice(&sum.to_le_bytes());
        header.resize(PAGE, 0);
        files.write_at(&file, &tmp, &header, 0)?;
        let (min_second, max_second) = extents.seconds();
        let span = extents.span;
        let record =
            RunRecord { number, generation, rows: 0, span, len: 0, footer_checksum: 0, min_second, max_second };
        Ok(Self {
            file,
            tmp,
            record,
            shape,
            pages: Vec::with_capacity(CHUNK + PAGE),
            page: vec![0; PAGE_HEAD],
            written: PAGE as u64,
            tags: Vec::with_capacity(rows as usize),
            starts: Vec::with_capacity(shape.groups() + 1),
            rows: 0,
        })
    }

    pub fn push(&mut self, files: &Files, row: &Row) -> Result<()> {
        let group = self.shape.group(row.identity);
        while self.starts.len() <= group {
            self.starts.push(self.rows);
        }
        self.tags.push(self.shape.tag(row.identity));
        self.shape.encode(row, &mut self.page);
        self.rows += 1;
        if self.rows.is_multiple_of(self.shape.rows_in_page()) {
            self.end_page(files)?;
        }
        Ok(())
    }

    fn end_page(&mut self, files: &Files) -> Result<()> {
        self.page.resize(PAGE, 0);
        let sum = xxh3_64(&self.page[PAGE_HEAD..]) as u32;
        self.page[..PAGE_HEAD].copy_from_slice(&sum.to_le_bytes());
        self.pages.extend_from_slice(&self.page);
        self.page.truncate(PAGE_HEAD);
        if self.pages.len() >= CHUNK { self.write_out(files) } else { Ok(()) }
    }

    fn write_out(&mut self, files: &Files) -> Result<()> {
        files.write_at(&self.file, &self.tmp, &self.pages, self.written)?;
        self.written += self.pages.len() as u64;
        self.pages.clear();
        Ok(())
    }

    /// Filter, extents and footer; then the file gets its name. `resident`: keep the filter in memory.
    pub fn finish(mut self, files: &Files, extents: Extents, resident: bool) -> Result<Run> {
        if self.page.len() > PAGE_HEAD {
            self.end_page(files)?;
        }
        self.starts.resize(self.shape.groups() + 1, self.rows);
        let prefix = self.prefix(files)?;
        let prefix_at = self.written + self.pages.len() as u64;
        let encoded = encode_prefix(&prefix);
        let positions = extents.encode();
        let mut footer = FOOTER_MAGIC.to_vec();
        for field in [
            prefix_at,
            prefix_at + encoded.len() as u64,
            self.rows,
            extents.list.len() as u64,
            extents.producers.len() as u64,
            extents.span,
            u64::from(self.shape.group_bits) | (self.shape.head as u64) << 32,
            xxh3_64(&encoded),
            xxh3_64(&positions),
        ] {
            footer.extend_from_slice(&field.to_le_bytes());
        }
        let sum = xxh3_64(&footer);
        footer.extend_from_slice(&sum.to_le_bytes());
        for part in [&encoded, &positions, &footer] {
            self.pages.extend_from_slice(part);
            self.write_out(files)?;
        }
        files.sync(&self.file, &self.tmp)?;
        let name = file_name(self.record.number);
        files.rename(&self.tmp, &name)?;
        let record = RunRecord { rows: self.rows, len: self.written, footer_checksum: sum, ..self.record };
        let page = Mutex::new((u64::MAX, Vec::new()));
        let resident = resident.then_some(prefix);
        Ok(Run { record, file: self.file, name, shape: self.shape, prefix_at, resident, extents, page })
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }

    fn prefix(&mut self, files: &Files) -> Result<Prefix<'static>> {
        let base: Vec<u64> = self.starts.iter().step_by(64).copied().collect();
        let rel = |(group, &start): (usize, &u64)| u16::try_from(start - base[group / 64]);
        let rel = self.starts.iter().enumerate().map(rel).collect::<std::result::Result<Vec<u16>, _>>();
        let crowded =
            || LedgerError::damaged(&files.path(&self.tmp), "too many identities share a prefix; they are no hashes");
        let base = base.into_iter().map(u32::try_from).collect::<std::result::Result<Vec<u32>, _>>();
        Ok(Prefix {
            base: Cow::Owned(base.map_err(|_| crowded())?),
            rel: Cow::Owned(rel.map_err(|_| crowded())?),
            tags: Cow::Owned(std::mem::take(&mut self.tags)),
            first_group: 0,
            first_rank: 0,
        })
    }
}

fn encode_prefix(prefix: &Prefix<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(prefix.base.len() * 4 + (prefix.rel.len() + prefix.tags.len()) * 2);
    prefix.base.iter().for_each(|base| out.extend_from_slice(&base.to_le_bytes()));
    prefix.rel.iter().for_each(|rel| out.extend_from_slice(&rel.to_le_bytes()));
    prefix.tags.iter().for_each(|tag| out.extend_from_slice(&tag.to_le_bytes()));
    out
}

fn u16s(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect()
}

fn u32s(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect()
}

impl Run {
    /// Opens a run the manifest names. What cannot be a run at all refuses the ledger; a damaged filter is a damage.
    pub fn open(
        files: &Files,
        ids: Ids,
        record: RunRecord,
        resident: bool,
    ) -> Result<std::result::Result<Self, Damage>> {
        let name = file_name(record.number);
        let path = files.path(&name);
        let refuse = |what: &str| LedgerError::damaged(&path, what);
        let file = File::open(&path).map_err(|source| LedgerError::io(&path, source))?;
        let len = file.metadata().map_err(|source| LedgerError::io(&path, source))?.len();
        if len != record.len || len < (PAGE + FOOTER_LEN) as u64 {
            return Err(refuse("its length is not the one that was committed"));
        }
        let read = |at: u64, len: usize| {
            let mut bytes = vec![0; len];
            file.read_exact_at(&mut bytes, at).map(|()| bytes).map_err(|source| LedgerError::io(&path, source))
        };
        let header = read(0, 48)?;
        let mut fields = Fields(&header[8..]);
        let (format, features) = (fields.u32().unwrap_or(0), fields.u32().unwrap_or(u32::MAX));
        if &header[..8] != MAGIC || format != 1 || features != 0 {
            return Err(LedgerError::Version { path: path.clone(), found: format, known: 1 });
        }
        if (fields.u128(), fields.u64()) != (Some(ids.ledger), Some(ids.secret)) {
            return Err(refuse("it belongs to another ledger"));
        }
        let footer = read(len - FOOTER_LEN as u64, FOOTER_LEN)?;
        let sum = xxh3_64(&footer[..FOOTER_LEN - 8]);
        if &footer[..8] != FOOTER_MAGIC || sum != record.footer_checksum || !footer.ends_with(&sum.to_le_bytes()) {
            return Err(refuse("its footer fails its checksum"));
        }
        let mut fields = Fields(&footer[8..]);
        let mut next = || fields.u64().ok_or_else(|| refuse("its footer is cut short"));
        let (prefix_at, positions_at, rows) = (next()?, next()?, next()?);
        let (extents, producers, span, shape) = (next()? as usize, next()? as usize, next()?, next()?);
        let (prefix_sum, positions_sum) = (next()?, next()?);
        let shape = Shape { group_bits: shape as u32, head: (shape >> 32) as usize };
        let positions = read(positions_at, extents * EXTENT_LEN + producers * PRODUCER_LEN)?;
        let damage = |what: &str| Ok(Err(Damage(format!("{name}: {what}; its {rows} identities cannot be compared"))));
        if xxh3_64(&positions) != positions_sum {
            return damage("the positions fail their checksum");
        }
        let Some(extents) = Extents::decode(&positions, extents, producers, span) else {
            return damage("the positions are cut short");
        };
        let encoded = read(prefix_at, (positions_at - prefix_at) as usize)?;
        if xxh3_64(&encoded) != prefix_sum {
            return damage("the filter fails its checksum");
        }
        let page = Mutex::new((u64::MAX, Vec::new()));
        let mut run = Self { record, file, name, shape, prefix_at, resident: None, extents, page };
        if resident {
            let (rel_at, tags_at) = run.columns();
            run.resident = Some(Prefix {
                base: Cow::Owned(u32s(&encoded[..rel_at])),
                rel: Cow::Owned(u16s(&encoded[rel_at..tags_at])),
                tags: Cow::Owned(u16s(&encoded[tags_at..])),
                first_group: 0,
                first_rank: 0,
            });
        }
        Ok(Ok(run))
    }

    /// Where the columns `rel` and `tags` begin within the filter.
    fn columns(&self) -> (usize, usize) {
        let base = (self.shape.groups() / 64 + 1) * 4;
        (base, base + (self.shape.groups() + 1) * 2)
    }

    pub fn resident_bytes(&self) -> usize {
        self.resident.as_ref().map_or(0, |p| p.base.len() * 4 + (p.rel.len() + p.tags.len()) * 2)
    }

    pub fn filter_bytes(rows: u64) -> usize {
        let groups = Shape::of(rows, 1).groups();
        groups / 16 + groups * 2 + rows as usize * 2
    }

    /// The run as far as one bucket (the top 8 bits of the identity) is concerned.
    pub fn bucket(&self, bucket: u8) -> std::result::Result<Bucket<'_>, Damage> {
        if let Some(prefix) = &self.resident {
            let borrowed = Prefix {
                base: Cow::Borrowed(&prefix.base),
                rel: Cow::Borrowed(&prefix.rel),
                tags: Cow::Borrowed(&prefix.tags),
                ..*prefix
            };
            return Ok(Bucket { run: self, prefix: borrowed });
        }
        let per_bucket = self.shape.groups() / 256;
        let (first, last) = (bucket as usize * per_bucket, (bucket as usize + 1) * per_bucket);
        let (rel_at, tags_at) = self.columns();
        let base_from = first / 64;
        let base = u32s(&self.read(base_from * 4, (last / 64 + 1 - base_from) * 4)?);
        let rel = u16s(&self.read(rel_at + first * 2, (per_bucket + 1) * 2)?);
        let mut prefix = Prefix {
            base: Cow::Owned(base),
            rel: Cow::Owned(rel),
            tags: Cow::Owned(Vec::new()),
            first_group: first,
            first_rank: 0,
        };
        let (from, until) = (prefix.start(first), prefix.start(last));
        if from > until || until > self.record.rows {
            return Err(self.damage("the filter is inconsistent"));
        }
        prefix.first_rank = from;
        prefix.tags = Cow::Owned(u16s(&self.read(tags_at + from as usize * 2, (until - from) as usize * 2)?));
        Ok(Bucket { run: self, prefix })
    }

    fn read(&self, at: usize, len: usize) -> std::result::Result<Vec<u8>, Damage> {
        let mut bytes = vec![0; len];
        let read = self.file.read_exact_at(&mut bytes, self.prefix_at + at as u64);
        read.map(|()| bytes).map_err(|error| self.damage(&error.to_string()))
    }

    fn damage(&self, what: &str) -> Damage {
        Damage(format!("{}: {what}", self.name))
    }

    /// Calls `act` with the bytes of a row. The page is verified when it is read.
    fn with_row<T>(&self, rank: u64, act: impl FnOnce(&[u8]) -> T) -> std::result::Result<T, Damage> {
        let (page, slot) = (rank / self.shape.rows_in_page(), rank % self.shape.rows_in_page());
        let mut held = self.page.lock().unwrap_or_else(PoisonError::into_inner);
        if held.0 != page {
            held.0 = u64::MAX;
            held.1.resize(PAGE, 0);
            let failed = |what: &str| {
                let rows = self.shape.rows_in_page();
                Damage(format!("{} page {page}: {what}; up to {rows} identities cannot be compared", self.name))
            };
            let at = (page + 1) * PAGE as u64;
            self.file.read_exact_at(&mut held.1, at).map_err(|error| failed(&error.to_string()))?;
            let sum = xxh3_64(&held.1[PAGE_HEAD..]) as u32;
            if held.1[..PAGE_HEAD] != sum.to_le_bytes() {
                return Err(failed("fails its checksum"));
            }
            held.0 = page;
        }
        let at = PAGE_HEAD + slot as usize * (self.shape.head + ROW_TAIL);
        Ok(act(&held.1[at..at + self.shape.head + ROW_TAIL]))
    }
}

pub(super) struct Bucket<'a> {
    run: &'a Run,
    prefix: Prefix<'a>,
}

impl Bucket<'_> {
    pub fn find(&self, identity: u128) -> std::result::Result<Option<Seen>, Damage> {
        let shape = self.run.shape;
        let (group, tag) = (shape.group(identity), shape.tag(identity));
        for rank in self.prefix.start(group)..self.prefix.start(group + 1) {
            if self.prefix.tag(rank) != tag {
                continue;
            }
            let row = self.run.with_row(rank, |bytes| shape.decode(bytes))?;
            if let Some((rest, code, low, checksum)) = row
                && (rest, low) == (shape.rest(identity), identity as u64)
            {
                return Ok(self.run.extents.seen(code, checksum));
            }
        }
        Ok(None)
    }

    /// All rows of the bucket, in order.
    pub fn rows(&self, bucket: u8, out: &mut Vec<Row>, shift: u64) -> std::result::Result<(), Damage> {
        let shape = self.run.shape;
        let per_bucket = shape.groups() / 256;
        for group in bucket as usize * per_bucket..(bucket as usize + 1) * per_bucket {
            for rank in self.prefix.start(group)..self.prefix.start(group + 1) {
                let Some((rest, code, low, checksum)) = self.run.with_row(rank, |bytes| shape.decode(bytes))? else {
                    continue;
                };
                let high = (group as u128) << (128 - shape.group_bits)
                    | u128::from(self.prefix.tag(rank)) << (112 - shape.group_bits)
                    | rest << 64;
                out.push(Row { identity: high | u128::from(low), checksum, code: code + shift });
            }
        }
        Ok(())
    }
}
