//! The extents of a run: from a row's code to where and when it was seen. In memory when the ledger's budget allows it,
//! and read page by page otherwise.

use super::super::error::Result;
use super::super::places::Places;
use super::super::rows::Extent;
use super::format::{CHECKSUM, EXTENT, EXTENTS_A_PAGE, PAGE, extent_code, read_extent};
use super::reader::{CachedPage, Read, Run};
use super::{Part, ReadError};

/// All extents of a run, and the way to the one of a code.
pub struct Located {
    extents: Vec<Extent>,
    places: Places,
}

impl Located {
    pub fn bytes(&self) -> usize {
        size_of_val(self.extents.as_slice()) + self.places.bytes()
    }
}

impl Run {
    pub fn extents(&self) -> u64 {
        self.layout.extents
    }

    /// What holding the extents in memory would cost.
    pub fn extents_cost(&self) -> usize {
        Places::cost(self.layout.extents)
    }

    pub fn drop_extents(&mut self) {
        self.extents = None;
    }

    /// Takes the extents into memory, likewise.
    pub fn hold_extents(&mut self) -> Result<()> {
        if self.extents.is_none() && !self.is_damaged {
            let loaded = self.load_extents();
            self.extents = self.unless_damaged(loaded)?;
        }
        Ok(())
    }

    fn load_extents(&self) -> Read<Located> {
        let mut extents = Vec::with_capacity(self.layout.extents as usize);
        for page in self.extent_pages(0) {
            extents.extend(page?);
        }
        let places = Places::new(&extents, self.record.span);
        Ok(Located { extents, places })
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

    pub(super) fn extent_of(&self, code: u64, cached: &mut CachedPage) -> Read<Extent> {
        match &self.extents {
            Some(Located { extents, places }) => {
                places.find(extents, code).copied().ok_or(ReadError::Damaged(Part::Extents { page: 0 }))
            }
            None => self.read_extent_of(code, cached),
        }
    }

    /// The extent a code falls into: which page, by the index, and which of its extents, by halving.
    fn read_extent_of(&self, code: u64, cached: &mut CachedPage) -> Read<Extent> {
        let number = match self.is_read_once.then(|| self.page_by_halving(code, cached)) {
            Some(Ok(page)) => page,
            _ => {
                let after = self.extent_index()?.partition_point(|&first| first <= code);
                after.checked_sub(1).ok_or(ReadError::Damaged(Part::Extents { page: 0 }))? as u64
            }
        };
        let page = self.extent_page(number, cached)?;
        let extent = |at: usize| &page[CHECKSUM + at * EXTENT..][..EXTENT];
        let (mut low, mut high) = (0, self.extents_in(number));
        while high - low > 1 {
            let middle = (low + high) / 2;
            match extent_code(extent(middle)) <= code {
                true => low = middle,
                false => high = middle,
            }
        }
        let found = read_extent(extent(low)).filter(|extent| extent.code <= code);
        found.ok_or(ReadError::Damaged(Part::Extents { page: number }))
    }

    /// A damaged page hides itself and the rest of the one extent before it: its codes are taken to begin right after that
    /// extent's first, so that no code of its own is led to another page.
    fn extent_index(&self) -> Read<&[u64]> {
        if let Some(index) = self.extent_index.get() {
            return Ok(index);
        }
        let (mut cached, mut next) = (CachedPage::default(), 0);
        let mut index = Vec::with_capacity(self.layout.extent_pages() as usize);
        for page in 0..self.layout.extent_pages() {
            match self.extent_page(page, &mut cached) {
                Ok(bytes) => {
                    let code = |at: usize| extent_code(&bytes[CHECKSUM + at * EXTENT..]);
                    index.push(code(0).max(next));
                    next = code(self.extents_in(page).saturating_sub(1)).saturating_add(1).max(next);
                }
                Err(ReadError::Damaged(_)) => index.push(next),
                Err(error) => return Err(error),
            }
        }
        Ok(self.extent_index.get_or_init(|| index))
    }

    fn extents_in(&self, page: u64) -> usize {
        (self.layout.extents - page * EXTENTS_A_PAGE as u64).min(EXTENTS_A_PAGE as u64) as usize
    }

    pub(super) fn extent_page<'a>(&self, page: u64, cached: &'a mut CachedPage) -> Read<&'a [u8]> {
        cached.load(self, page, self.layout.extents_at() + PAGE as u64 * page, Part::Extents { page })
    }
}
