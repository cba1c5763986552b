//! Writes a run in one pass over sorted buckets. Row and extent counts are known before the first byte, so rows and
//! prefix are streamed to their final places side by side and nothing of the file is held in memory but small buffers.

use std::fs::File;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::super::error::{LedgerError, Result};
use super::super::files::Files;
use super::super::manifest::{Ids, RunRecord};
use super::super::rows::{BUCKETS, Extent, Row};
use super::format::{
    CHECKSUM, EXTENTS_A_PAGE, Footer, Layout, PAGE, Shape, checksum32, header_page, seal_page, write_extent,
};

const FLUSH_BYTES: usize = 256 << 10;

/// What is known of a run before it is written.
#[derive(Clone, Copy, Debug)]
pub struct RunHead {
    pub ids: Ids,
    pub number: u64,
    pub generation: u32,
    pub min_second: u32,
    pub max_second: u32,
    pub rows: u64,
    pub extents: u64,
    pub span: u64,
}

pub struct RunWriter<'a> {
    out: Out<'a>,
    head: RunHead,
    layout: Layout,
    rows: Pages,
    prefix: Stream,
    extents: Pages,
    directory: Vec<u8>,
    rank: u64,
    written_extents: u64,
}

/// Where writing a run stood between two buckets; what was written to the file until then is not in it.
#[derive(Serialize, Deserialize)]
pub struct Unfinished {
    rows: Pages,
    prefix: Stream,
    directory: Vec<u8>,
    rank: u64,
}

/// A bucket that is being written.
pub struct OpenBucket {
    /// Where its prefix starts in the stream's buffer.
    start: usize,
    /// Fences written so far.
    fences: usize,
    rows: u32,
    tags: Vec<u16>,
}

impl<'a> RunWriter<'a> {
    /// `name` is the file's name until it is committed.
    pub fn create(files: &'a Files, name: &'a str, head: RunHead) -> Result<Self> {
        if head.rows > u64::from(u32::MAX) {
            return Err(LedgerError::damaged(&files.path(name), "more rows than a run can number"));
        }
        let layout = Layout { shape: Shape::of(head.rows, head.span), rows: head.rows, extents: head.extents };
        let mut out = Out { files, file: files.create(name)?, name };
        let mut rows = Stream::at(0);
        rows.write(&mut out, &header_page(head.ids, head.number, head.generation))?;
        Ok(Self {
            rows: Pages::new(rows, layout.shape.rows_a_page()),
            prefix: Stream::at(layout.prefix_at()),
            extents: Pages::new(Stream::at(layout.extents_at()), EXTENTS_A_PAGE),
            directory: Vec::new(),
            rank: 0,
            written_extents: 0,
            out,
            head,
            layout,
        })
    }

    /// Stops between two buckets. The file must stay as it is until [`RunWriter::resume`].
    pub fn pause(self) -> Unfinished {
        Unfinished { rows: self.rows, prefix: self.prefix, directory: self.directory, rank: self.rank }
    }

    /// Goes on where a writer of the same head stopped.
    pub fn resume(files: &'a Files, name: &'a str, head: RunHead, unfinished: Unfinished) -> Result<Self> {
        let layout = Layout { shape: Shape::of(head.rows, head.span), rows: head.rows, extents: head.extents };
        let Unfinished { rows, prefix, directory, rank } = unfinished;
        let extents = Pages::new(Stream::at(layout.extents_at()), EXTENTS_A_PAGE);
        let out = Out { files, file: files.open_or_create(name)?, name };
        Ok(Self { out, head, layout, rows, prefix, extents, directory, rank, written_extents: 0 })
    }

    /// Writes the next bucket; called once for each in order. The rows are sorted by identity.
    pub fn bucket(&mut self, rows: &[Row]) -> Result<()> {
        let mut open = self.begin_bucket();
        self.rows(&mut open, rows)?;
        self.end_bucket(open)
    }

    /// Begins the next bucket, whose rows come in parts.
    pub fn begin_bucket(&self) -> OpenBucket {
        OpenBucket { start: self.prefix.buf.len(), fences: 0, rows: 0, tags: Vec::new() }
    }

    /// Appends rows to the open bucket, sorted by identity and after those before.
    pub fn rows(&mut self, open: &mut OpenBucket, rows: &[Row]) -> Result<()> {
        let shape = self.layout.shape;
        for row in rows {
            let group = shape.group_of(row.hi);
            while open.fences <= group {
                self.prefix.buf.extend_from_slice(&open.rows.to_le_bytes());
                open.fences += 1;
            }
            open.tags.push(shape.tag_of(row.hi));
            open.rows += 1;
            shape.write_row(row, self.rows.item());
            self.rows.end_item(&mut self.out)?;
        }
        Ok(())
    }

    pub fn end_bucket(&mut self, mut open: OpenBucket) -> Result<()> {
        while open.fences <= self.layout.shape.groups_a_bucket() {
            self.prefix.buf.extend_from_slice(&open.rows.to_le_bytes());
            open.fences += 1;
        }
        self.prefix.buf.extend(open.tags.iter().flat_map(|tag| tag.to_le_bytes()));
        self.directory.extend_from_slice(&(self.rank as u32).to_le_bytes());
        self.directory.extend_from_slice(&checksum32(&self.prefix.buf[open.start..]).to_le_bytes());
        self.rank += u64::from(open.rows);
        self.prefix.flush_when_long(&mut self.out)
    }

    /// Appends extents, ascending by code.
    pub fn extents(&mut self, extents: impl IntoIterator<Item = Extent>) -> Result<()> {
        for extent in extents {
            write_extent(&extent, self.extents.item());
            self.extents.end_item(&mut self.out)?;
            self.written_extents += 1;
        }
        Ok(())
    }

    /// Completes the file; it is neither synced nor renamed.
    pub fn finish(mut self) -> Result<RunRecord> {
        assert_eq!(
            (self.rank, self.written_extents, self.directory.len()),
            (self.head.rows, self.head.extents, 8 * BUCKETS),
            "a run holds what its head announced"
        );
        self.directory.extend_from_slice(&(self.rank as u32).to_le_bytes());
        self.directory.extend_from_slice(&[0; 4]);
        let RunHead { ids, number, generation, min_second, max_second, span, rows, .. } = self.head;
        let footer = Footer {
            layout: self.layout,
            number,
            span,
            generation,
            min_second,
            max_second,
            directory: xxh3_64(&self.directory),
            ids,
        };
        let footer = footer.encode();
        self.rows.finish(&mut self.out)?;
        self.prefix.flush(&mut self.out)?;
        self.extents.finish(&mut self.out)?;
        let mut tail = Stream::at(self.layout.directory_at());
        tail.write(&mut self.out, &self.directory)?;
        tail.write(&mut self.out, &footer)?;
        tail.flush(&mut self.out)?;
        Ok(RunRecord {
            number,
            generation,
            rows,
            span,
            len: self.layout.file_len(),
            footer_checksum: xxh3_64(&footer[..footer.len() - 8]),
            min_second,
            max_second,
        })
    }
}

struct Out<'a> {
    files: &'a Files,
    file: File,
    name: &'a str,
}

/// A buffered position in the file.
#[derive(Serialize, Deserialize)]
struct Stream {
    buf: Vec<u8>,
    at: u64,
}

impl Stream {
    fn at(at: u64) -> Self {
        Self { buf: Vec::new(), at }
    }

    fn write(&mut self, out: &mut Out<'_>, bytes: &[u8]) -> Result<()> {
        self.buf.extend_from_slice(bytes);
        self.flush_when_long(out)
    }

    fn flush_when_long(&mut self, out: &mut Out<'_>) -> Result<()> {
        if self.buf.len() >= FLUSH_BYTES { self.flush(out) } else { Ok(()) }
    }

    fn flush(&mut self, out: &mut Out<'_>) -> Result<()> {
        if !self.buf.is_empty() {
            out.files.write_at(&out.file, out.name, &self.buf, self.at)?;
            self.at += self.buf.len() as u64;
            self.buf.clear();
        }
        Ok(())
    }
}

/// A stream of checksummed pages of fixed-size items.
#[derive(Serialize, Deserialize)]
struct Pages {
    stream: Stream,
    items_a_page: usize,
    /// Items in the open page, and where it starts in the stream's buffer.
    items: usize,
    start: usize,
}

impl Pages {
    fn new(stream: Stream, items_a_page: usize) -> Self {
        Self { start: stream.buf.len(), stream, items_a_page, items: 0 }
    }

    /// Where the next item is to be written.
    fn item(&mut self) -> &mut Vec<u8> {
        if self.items == 0 {
            self.stream.buf.extend_from_slice(&[0; CHECKSUM]);
        }
        self.items += 1;
        &mut self.stream.buf
    }

    fn end_item(&mut self, out: &mut Out<'_>) -> Result<()> {
        if self.items == self.items_a_page {
            self.close_page();
            self.stream.flush_when_long(out)?;
            self.start = self.stream.buf.len();
        }
        Ok(())
    }

    fn close_page(&mut self) {
        self.stream.buf.resize(self.start + PAGE, 0);
        seal_page(&mut self.stream.buf[self.start..]);
        self.items = 0;
    }

    fn finish(&mut self, out: &mut Out<'_>) -> Result<()> {
        if self.items > 0 {
            self.close_page();
        }
        self.stream.flush(out)
    }
}
