//! From a position code to its extent in two or three steps: a table over the codes leads to the few extents that can
//! hold one. Halving a hundred thousand extents instead costs a cache miss a step.

use super::rows::Extent;

/// Built over extents, which it does not keep.
pub(super) struct Places {
    /// For every `1 << shift` codes the extents that begin before them.
    table: Vec<u32>,
    shift: u32,
}

impl Places {
    /// `extents` ascend by code and cover every code below `span`.
    pub fn new(extents: &[Extent], span: u64) -> Self {
        let shift = (span / extents.len().max(1) as u64).max(1).ilog2();
        let entries = (span >> shift) as usize + 2;
        let mut table = Vec::with_capacity(entries);
        let mut before = 0;
        for entry in 0..entries as u64 {
            while extents.get(before).is_some_and(|extent| extent.code < entry << shift) {
                before += 1;
            }
            table.push(before as u32);
        }
        Self { table, shift }
    }

    /// What the table of so many extents takes at most, with the extents themselves.
    pub fn cost(extents: u64) -> usize {
        extents as usize * (size_of::<Extent>() + 2 * size_of::<u32>())
    }

    pub fn bytes(&self) -> usize {
        size_of_val(self.table.as_slice())
    }

    /// The extent of a code; `None` for one that no extent covers.
    pub fn find<'a>(&self, extents: &'a [Extent], code: u64) -> Option<&'a Extent> {
        let entry = (code >> self.shift) as usize;
        let (from, until) = (*self.table.get(entry)? as usize, *self.table.get(entry + 1)? as usize);
        let after = from + extents.get(from..until)?.partition_point(|extent| extent.code <= code);
        extents.get(after.checked_sub(1)?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::Producer;

    proptest! {
        #[test]
        fn every_code_is_led_to_the_last_extent_not_above_it(gaps in prop::collection::vec(1u64..5000, 1..60), past in 1u64..90) {
            let mut code = 0;
            let mut extents = Vec::new();
            for (number, gap) in gaps.iter().enumerate() {
                let producer = Producer::NONE;
                extents.push(Extent { code, offset: 0, producer, partition: number as u32, second: 0 });
                code += gap;
            }
            let span = extents.last().map_or(0, |last| last.code) + past;
            let places = Places::new(&extents, span);
            prop_assert!(places.bytes() + size_of_val(extents.as_slice()) <= Places::cost(extents.len() as u64) + 16);
            for code in (0..span).step_by(7).chain([span - 1]) {
                let expected = extents.iter().rfind(|extent| extent.code <= code);
                prop_assert_eq!(places.find(&extents, code), expected);
            }
            prop_assert_eq!(places.find(&extents, u64::MAX), None);
        }
    }
}
