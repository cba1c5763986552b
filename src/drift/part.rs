//! The buckets that one look compares: all, or every nth.

use super::digest::BUCKETS;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// How many parts there are, and which one this is.
    pub of: u32,
    pub index: u32,
}

impl Part {
    pub const WHOLE: Part = Part { of: 1, index: 0 };

    pub fn is_whole(self) -> bool {
        self.of <= 1
    }

    pub fn has(self, bucket: usize) -> bool {
        self.is_whole() || bucket % self.of as usize == self.index as usize
    }

    /// The part that is looked at after this one.
    pub fn next(self) -> Part {
        Part { of: self.of, index: (self.index + 1) % self.of.max(1) }
    }

    pub fn buckets(self) -> impl Iterator<Item = usize> {
        (0..BUCKETS).filter(move |bucket| self.has(*bucket))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bucket_is_in_one_part() {
        for of in [1, 7, 16, BUCKETS as u32] {
            let mut part = Part { of, index: 0 };
            let mut all: Vec<usize> = Vec::new();
            for _ in 0..of {
                all.extend(part.buckets());
                part = part.next();
            }
            assert_eq!(part.index, 0);
            all.sort_unstable();
            assert_eq!(all, (0..BUCKETS).collect::<Vec<_>>());
        }
    }
}
