//! Checks a whole run: every page, and that its parts fit each other. For `ledger verify`; the ledger itself verifies
//! what it reads as it reads it.

use std::os::unix::fs::FileExt;

use super::super::error::{LedgerError, Result};
use super::super::manifest::Ids;
use super::super::rows::{BUCKETS, Row};
use super::format::{FOOTER, Footer, PAGE, is_page_intact};
use super::reader::Run;
use super::{Part, ReadError};

/// One thing wrong with a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    pub what: String,
    /// What follows from it.
    pub means: String,
}

impl Flaw {
    fn new(what: impl Into<String>, means: impl Into<String>) -> Self {
        Self { what: what.into(), means: means.into() }
    }
}

const UNSURE: &str = "look-ups in this run may be wrong; restore the ledger from a backup or audit again";

impl Run {
    /// Reads everything behind the header, and says how many pages that were; `done` is told the bytes as they are read.
    /// The run must not hide forgotten rows.
    pub fn check(&self, ids: Ids, flaws: &mut Vec<Flaw>, done: &mut dyn FnMut(u64)) -> Result<()> {
        self.check_footer(ids, flaws)?;
        let first_code = self.check_extents(flaws, done)?;
        let (mut scratch, mut rows) = (Vec::new(), Vec::new());
        let mut last_page = None;
        for bucket in 0..BUCKETS {
            rows.clear();
            match self.load_bucket(bucket, 0, &mut scratch, &mut rows) {
                Ok(()) => self.check_rows(bucket, &rows, first_code, flaws),
                Err(ReadError::Failed(error)) => return Err(error),
                Err(ReadError::Damaged(part @ Part::Prefix { .. })) => {
                    flaws.push(self.flaw(part));
                    self.check_row_pages(bucket, &mut last_page, flaws)?;
                }
                Err(ReadError::Damaged(_)) => {
                    if !self.check_row_pages(bucket, &mut last_page, flaws)? {
                        flaws.push(Flaw::new(format!("the parts of bucket {bucket} do not fit each other"), UNSURE));
                    }
                }
            }
            done((self.bucket_len(bucket) * (self.layout.shape.row_len() + 2)) as u64);
        }
        Ok(())
    }

    /// The footer's checksum is known to be right; it must also say what the manifest says.
    fn check_footer(&self, ids: Ids, flaws: &mut Vec<Flaw>) -> Result<()> {
        let mut bytes = vec![0; FOOTER];
        let at = self.record.len - FOOTER as u64;
        self.file.read_exact_at(&mut bytes, at).map_err(|source| LedgerError::io(&self.path, source))?;
        let said = Footer::decode(&bytes, ids).map(|(footer, _)| (footer.span, footer.min_second, footer.max_second));
        if said != Some((self.record.span, self.record.min_second, self.record.max_second)) {
            flaws.push(Flaw::new("its footer and the manifest disagree on span or times", UNSURE));
        }
        Ok(())
    }

    /// Returns the smallest code that an extent explains.
    fn check_extents(&self, flaws: &mut Vec<Flaw>, done: &mut dyn FnMut(u64)) -> Result<u64> {
        let (mut first, mut last) = (None, None);
        for page in self.extent_pages(0) {
            done(PAGE as u64);
            let extents = match page {
                Ok(extents) => extents,
                Err(ReadError::Failed(error)) => return Err(error),
                Err(ReadError::Damaged(part)) => {
                    flaws.push(self.flaw(part));
                    first = first.or(Some(0));
                    continue;
                }
            };
            for extent in extents {
                first = first.or(Some(extent.code));
                let is_sound = last.is_none_or(|last| last < extent.code)
                    && extent.code < self.record.span
                    && (self.record.min_second..=self.record.max_second).contains(&extent.second);
                if !is_sound {
                    let what = format!("the extent of code {} is out of order, span or time", extent.code);
                    flaws.push(Flaw::new(what, UNSURE));
                }
                last = Some(extent.code);
            }
        }
        Ok(first.unwrap_or(0))
    }

    fn check_rows(&self, bucket: usize, rows: &[Row], first_code: u64, flaws: &mut Vec<Flaw>) {
        if rows.len() != self.bucket_len(bucket) {
            let what =
                format!("the fences of bucket {bucket} name {} rows, not {}", rows.len(), self.bucket_len(bucket));
            flaws.push(Flaw::new(what, UNSURE));
        }
        let order = |row: &Row| (row.hi, row.lo, row.code);
        if !rows.is_sorted_by(|a, b| order(a) < order(b)) {
            flaws.push(Flaw::new(format!("the rows of bucket {bucket} are out of order"), UNSURE));
        }
        if rows.iter().any(|row| !(first_code..self.record.span).contains(&row.code)) {
            flaws.push(Flaw::new(format!("bucket {bucket} has rows that no extent explains"), UNSURE));
        }
    }

    /// Names each damaged page of a bucket once, though it shares its first and last with its neighbours. Whether there is
    /// one.
    fn check_row_pages(&self, bucket: usize, last: &mut Option<u64>, flaws: &mut Vec<Flaw>) -> Result<bool> {
        let per_page = self.layout.shape.rows_a_page() as u64;
        let first = u64::from(self.directory[bucket].0);
        let pages = first / per_page..(first + self.bucket_len(bucket) as u64).div_ceil(per_page);
        let mut is_damaged = last.is_some_and(|last| pages.contains(&last));
        let mut bytes = vec![0; PAGE];
        for page in pages.filter(|page| last.is_none_or(|last| last < *page)).collect::<Vec<_>>() {
            match self.read(PAGE as u64 * (1 + page), &mut bytes, Part::Rows { page }) {
                Err(ReadError::Failed(error)) => return Err(error),
                Ok(()) if is_page_intact(&bytes) => {}
                _ => {
                    flaws.push(self.flaw(Part::Rows { page }));
                    *last = Some(page);
                    is_damaged = true;
                }
            }
        }
        Ok(is_damaged)
    }

    fn flaw(&self, part: Part) -> Flaw {
        let rows = self.affected(part);
        let taken_for_new = format!("up to {rows} sightings are taken for new when they come again");
        match part {
            Part::Rows { page } => Flaw::new(format!("page {page} of the rows fails its checksum"), taken_for_new),
            Part::Prefix { bucket } => {
                Flaw::new(format!("the prefix of bucket {bucket} fails its checksum"), taken_for_new)
            }
            Part::Extents { page } => Flaw::new(
                format!("page {page} of the extents fails its checksum"),
                format!("where and when some of {rows} identities were seen is not known any more"),
            ),
        }
    }
}
