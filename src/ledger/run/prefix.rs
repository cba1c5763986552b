//! The prefix of a bucket: which rows may have an identity, and which certainly have not.

/// Fences and tags of one bucket of one run.
pub struct Prefix<'a> {
    pub fences: &'a [u8],
    pub tags: &'a [u8],
}

impl<'a> Prefix<'a> {
    /// First row of a group within its bucket, and the group's tags.
    pub fn group(&self, group: usize) -> (usize, &'a [u8]) {
        let (start, end) = (self.fence(group), self.fence(group + 1));
        (start, self.tags.get(2 * start..2 * end).unwrap_or_default())
    }

    /// Whether a group, or the few rows after it, have the tag. Tags are compared sixteen at a time without a branch
    /// between them, past the group's end rather than one by one.
    #[inline]
    pub fn may_hold(&self, group: usize, tag: u16) -> bool {
        const LANES: usize = 16;
        let (start, end) = (self.fence(group), self.fence(group + 1));
        let mut at = start;
        while at < end {
            let Some(lanes) = self.tags.get(2 * at..).and_then(|tags| tags.first_chunk::<{ 2 * LANES }>()) else {
                let rest = self.tags.get(2 * at..2 * end).unwrap_or_default();
                return rest.chunks_exact(2).any(|bytes| *bytes == tag.to_le_bytes());
            };
            let same = |lane: usize| u16::from_le_bytes([lanes[2 * lane], lanes[2 * lane + 1]]) == tag;
            if (0..LANES).fold(false, |found, lane| found | same(lane)) {
                return true;
            }
            at += LANES;
        }
        false
    }

    /// First row of a group, counted from the bucket's start.
    pub fn fence(&self, group: usize) -> usize {
        let bytes = self.fences.get(4 * group..4 * group + 4).and_then(|bytes| bytes.first_chunk());
        bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize)
    }
}
