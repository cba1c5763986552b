//! Reading a run other than by probing: what of it is forgotten, and its sightings bucket by bucket for a scan, which
//! goes on behind a damaged page.

use std::collections::BTreeSet;

use super::super::Seen;
use super::super::error::Result;
use super::super::forgotten::Forgotten;
use super::super::rows::{Extent, Row, bucket_of};
use super::format::{CHECKSUM, extent_code};
use super::reader::{CachedPage, Read, Run};
use super::{Damage, Part, ReadError};

impl Run {
    /// From now on ignores the rows of forgotten identities.
    pub fn forget(&mut self, forgotten: &Forgotten) {
        self.forgotten = forgotten.clone();
    }

    pub fn forgetting(mut self, forgotten: &Forgotten) -> Self {
        self.forget(forgotten);
        self
    }

    /// At most so many sightings a damaged part concerns.
    pub(super) fn affected(&self, part: Part) -> u64 {
        match part {
            Part::Rows { .. } => self.layout.shape.rows_a_page() as u64,
            Part::Prefix { bucket } => self.bucket_len(bucket as usize) as u64,
            Part::Extents { .. } => self.record.rows,
        }
    }

    /// How many rows are ignored: exactly those that loading all buckets leaves out.
    pub fn hidden_rows(&self) -> Read<u64> {
        let (mut scratch, mut cached, mut hidden) = (Vec::new(), CachedPage::default(), 0);
        for identity in self.forgotten.in_run(self.record.number) {
            let (hi, lo) = ((identity >> 64) as u64, identity as u64);
            let (bucket, shape) = (bucket_of(hi), self.layout.shape);
            let (group, tag) = (shape.group_of(hi), shape.tag_of(hi));
            let (start, tags) = self.prefix(bucket, &mut scratch)?.group(group);
            for (at, _) in tags.chunks_exact(2).enumerate().filter(|(_, bytes)| **bytes == tag.to_le_bytes()) {
                let rank = u64::from(self.directory[bucket].0) + (start + at) as u64;
                let row = self.row(rank, shape.upper(bucket, group, tag), &mut cached)?;
                hidden += u64::from((row.hi, row.lo) == (hi, lo));
            }
        }
        Ok(hidden)
    }

    /// The page of extents a code falls into; an error where a damaged page is in the way.
    pub(super) fn page_by_halving(&self, code: u64, cached: &mut CachedPage) -> Read<u64> {
        let (mut from, mut until) = (0, self.layout.extent_pages());
        while until - from > 1 {
            let middle = from + (until - from) / 2;
            match extent_code(&self.extent_page(middle, cached)?[CHECKSUM..]) <= code {
                true => from = middle,
                false => until = middle,
            }
        }
        Ok(from)
    }

    /// Appends the rows of a bucket that can be read, forgotten ones apart; what cannot be is noted.
    pub fn load_intact(
        &self,
        bucket: usize,
        scratch: &mut Vec<u8>,
        out: &mut Vec<Row>,
        damage: &mut BTreeSet<Damage>,
    ) -> Result<()> {
        if self.bucket_len(bucket) == 0 {
            return Ok(());
        }
        let before = out.len();
        let Err(error) = self.load_bucket(bucket, 0, scratch, out) else { return Ok(()) };
        out.truncate(before);
        self.note(error, damage)?;
        let prefix = match self.prefix(bucket, scratch) {
            Ok(prefix) => prefix,
            Err(error) => return self.note(error, damage),
        };
        let (shape, mut cached) = (self.layout.shape, CachedPage::default());
        for group in 0..shape.groups_a_bucket() {
            let (start, tags) = prefix.group(group);
            for (at, tag) in tags.chunks_exact(2).enumerate() {
                let rank = u64::from(self.directory[bucket].0) + (start + at) as u64;
                let upper = shape.upper(bucket, group, u16::from_le_bytes([tag[0], tag[1]]));
                match self.row(rank, upper, &mut cached) {
                    Ok(row) if self.forgotten.hides(row.hi, row.lo, self.record.number) => {}
                    Ok(row) => out.push(row),
                    Err(error) => self.note(error, damage)?,
                }
            }
        }
        Ok(())
    }

    /// Calls `visit` with where and when each row was seen. The rows are in the order of their codes, so every page of
    /// extents is read at most once. Rows that a damaged page leaves unknown are noted and left out.
    pub fn seen_of(
        &self,
        rows: &[Row],
        damage: &mut BTreeSet<Damage>,
        visit: &mut dyn FnMut(&Row, Seen),
    ) -> Result<()> {
        let mut pages = self.extent_pages(0).zip(0u64..);
        let (mut page, mut next) = (Vec::<Extent>::new(), 0);
        let mut last: std::result::Result<Extent, Part> = Err(Part::Extents { page: 0 });
        for row in rows {
            loop {
                if next < page.len() {
                    if page[next].code > row.code {
                        break;
                    }
                    last = Ok(page[next]);
                    next += 1;
                    continue;
                }
                (page, next) = match pages.next() {
                    None => break,
                    Some((Ok(page), _)) => (page, 0),
                    Some((Err(error), number)) => {
                        self.note(error, damage)?;
                        last = Err(Part::Extents { page: number });
                        (Vec::new(), 0)
                    }
                };
            }
            match last {
                Ok(extent) => visit(row, extent.seen(row.code, row.checksum)),
                Err(part) => self.note(ReadError::Damaged(part), damage)?,
            }
        }
        Ok(())
    }
}
