//! From the bytes an answer holds for one partition to batches in their place, and to what is damaged between them. It
//! knows bytes and offsets only: no socket, no sink.

use crate::source::Damage;
use crate::wire::{BatchError, Batches, RawBatch};

/// One step through the records of an answer.
pub enum Step<'a> {
    /// Its CRC matches, and some of its offsets are at or above the position.
    Batch(RawBatch<'a>),
    /// `[from, until)` cannot be read; the next step begins at `until`.
    Damaged { from: i64, until: i64, damage: Damage },
}

/// Steps through an answer. Neither base offset nor length of a batch is covered by its CRC, so where two batches
/// disagree the one behind is believed: whatever does not fit before it counts as damaged.
pub struct Walk<'a> {
    records: &'a [u8],
    batches: Batches<'a>,
    /// The batch behind, and where it starts in the records.
    next: Option<Result<RawBatch<'a>, BatchError>>,
    next_start: usize,
    position: i64,
    /// The log's end as the broker told it, which bounds what a damaged header may claim.
    high: i64,
    /// Nothing was handed out yet; a batch wholly below the position is then only a generous broker.
    is_first: bool,
    stuck: Option<String>,
}

impl<'a> Walk<'a> {
    pub fn new(records: &'a [u8], position: i64, high: i64) -> Self {
        let mut batches = Batches::new(records);
        let mut next = batches.next();
        if next.is_none() && batches.rest() > 0 {
            // A broker never sends a cut first batch (KIP-74), so the length in its header is wrong.
            let why = format!("the first batch claims to be longer than the {} bytes of the answer", records.len());
            batches.resync();
            next = Some(Err(BatchError::Malformed { at: position, why }));
        }
        Self { records, batches, next, next_start: 0, position, high, is_first: true, stuck: None }
    }

    fn advance(&mut self) {
        self.next_start = self.records.len() - self.batches.rest();
        self.next = self.batches.next();
    }

    /// Base offset of the batch behind, unless it lies below the position and is itself what is wrong.
    fn behind(&self) -> Option<i64> {
        let next = self.next.as_ref().and_then(|next| next.as_ref().ok());
        next.map(|next| next.header.base_offset).filter(|&base| base >= self.position)
    }

    /// The length of a batch whose CRC fails is as doubtful as the rest of it: where no good batch stands behind it that
    /// begins at its end, one is looked for inside.
    fn distrust_length(&mut self, start: usize, until: i64) {
        let fits = |next: &RawBatch<'_>| next.header.base_offset == until && next.is_crc_valid();
        if self.next.as_ref().is_some_and(|next| next.as_ref().is_ok_and(fits)) {
            return;
        }
        let rest = &self.records[start..];
        let mut inside = Batches::new(rest);
        if inside.resync() {
            (self.records, self.batches) = (rest, inside);
            self.advance();
        }
    }

    /// Next offset to read.
    pub fn position(&self) -> i64 {
        self.position
    }

    /// What stands at the position when it is damaged and nothing behind it tells where the damage ends.
    pub fn stuck(self) -> Option<String> {
        self.stuck
    }

    fn damaged(&mut self, until: Option<i64>, damage: Damage) -> Option<Step<'a>> {
        let from = self.position;
        match until {
            Some(until) if until > from => {
                self.position = until;
                Some(Step::Damaged { from, until, damage })
            }
            Some(_) => None,
            None => {
                self.stuck = Some(describe(&damage));
                self.next = None;
                None
            }
        }
    }

    fn batch(&mut self, batch: RawBatch<'a>, start: usize) -> Option<Step<'a>> {
        let header = &batch.header;
        let (base, until) = (header.base_offset, header.until());
        if until <= self.position && self.is_first {
            return None;
        }
        let computed = batch.computed_crc();
        if computed != header.crc {
            self.distrust_length(start, until);
            let claimed = Some(until.min(self.high)).filter(|&until| until > self.position);
            return self.damaged(self.behind().or(claimed), Damage::Checksum { stored: header.crc, computed });
        }
        let behind = self.behind();
        let overlaps = behind.is_some_and(|behind| base < behind && behind < until);
        if until <= self.position || overlaps {
            let why = format!("a batch of offsets {base} to {} stands where {} comes next", until - 1, self.position);
            tracing::warn!("{why}");
            return self.damaged(behind.or(Some(self.position)), Damage::Malformed(why));
        }
        self.position = until;
        Some(Step::Batch(batch))
    }
}

fn describe(damage: &Damage) -> String {
    match damage {
        Damage::Checksum { stored, computed } => {
            format!("the batch's CRC-32C is {stored:08x} but its bytes give {computed:08x}")
        }
        Damage::Malformed(why) => why.clone(),
        Damage::Legacy { magic } => format!("message format {magic}"),
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Step<'a>;

    fn next(&mut self) -> Option<Step<'a>> {
        while let Some(found) = self.next.take() {
            let start = self.next_start;
            self.advance();
            let step = match found {
                Ok(batch) => self.batch(batch, start),
                Err(BatchError::Legacy { last, magic, .. }) => {
                    let until = self.behind().or(Some(last.saturating_add(1)));
                    self.damaged(until, Damage::Legacy { magic })
                }
                Err(BatchError::Malformed { why, .. }) => self.damaged(self.behind(), Damage::Malformed(why)),
            };
            if step.is_some() {
                self.is_first = false;
                return step;
            }
        }
        None
    }
}

/// Where reading goes on after this answer, and the leader epoch of its last batch, from the headers alone; `None` when
/// anything is not as it should be and only a [`Walk`] can tell.
pub fn look_ahead(records: &[u8], position: i64) -> Option<(i64, i32)> {
    let mut at = position;
    let mut last = None;
    for batch in Batches::new(records) {
        let batch = batch.ok()?;
        if batch.header.until() <= at || (last.is_some() && batch.header.base_offset < at) {
            return None;
        }
        at = batch.header.until();
        last = Some(batch);
    }
    last.filter(RawBatch::is_crc_valid).map(|last| (at, last.header.leader_epoch))
}

#[cfg(test)]
mod tests {
    use super::super::fake_broker::batch;
    use super::*;
    use proptest::prelude::*;

    /// (from, until, was read) of every step.
    fn walk(records: &[u8], position: i64) -> (Vec<(i64, i64, bool)>, i64, Option<String>) {
        let mut walk = Walk::new(records, position, i64::MAX);
        let steps = walk.by_ref().map(|step| match step {
            Step::Batch(batch) => (batch.header.base_offset, batch.header.until(), true),
            Step::Damaged { from, until, .. } => (from, until, false),
        });
        let steps = steps.collect();
        (steps, walk.position(), walk.stuck())
    }

    fn log(batches: &[(i64, usize)]) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = Vec::new();
        let mut starts = Vec::new();
        for &(base, records) in batches {
            starts.push(bytes.len());
            bytes.extend(batch(base, records));
        }
        (bytes, starts)
    }

    proptest! {
        /// Any cut, any position: the whole batches above the position, and the offset after the last of them.
        #[test]
        fn a_cut_tail_is_left_for_the_next_answer(
            sizes in prop::collection::vec((1usize..5, 0i64..3), 1..8),
            cut in 0usize..400,
            position in 0i64..30,
        ) {
            let mut base = 0;
            let placed: Vec<(i64, usize)> = sizes.iter().map(|&(records, gap)| {
                let at = base + gap;
                base = at + records as i64;
                (at, records)
            }).collect();
            let (bytes, starts) = log(&placed);
            let first_whole = starts.get(1).copied().unwrap_or(bytes.len());
            let end = bytes.len().saturating_sub(cut).max(first_whole);
            let whole = starts.iter().skip(1).chain([&bytes.len()]).filter(|&&until| until <= end).count();
            let expected: Vec<_> = placed[..whole].iter()
                .map(|&(base, records)| (base, base + records as i64, true))
                .filter(|&(_, until, _)| until > position)
                .collect();
            let (steps, reached, stuck) = walk(&bytes[..end], position);
            prop_assert_eq!(&steps, &expected);
            prop_assert_eq!(stuck, None);
            let last = expected.last().map_or(position, |&(_, until, _)| until);
            prop_assert_eq!(reached, last);
            if let Some((ahead, _)) = look_ahead(&bytes[..end], position) {
                prop_assert_eq!(ahead, reached, "what the headers promise is what the walk reaches");
            }
        }

        /// One damaged byte anywhere: every other batch is still read, the damage lies where the damaged one was.
        #[test]
        fn one_damaged_byte_costs_at_most_its_batch(
            hit in 0usize..4,
            // The leader epoch is covered by nothing, and wrong base offsets are a test of their own.
            at in prop_oneof![8usize..12, 16usize..batch(0, 3).len()],
            flip in 1u8..=255,
        ) {
            let (mut bytes, starts) = log(&[(0, 3), (3, 3), (6, 3), (9, 3)]);
            let at = starts[hit] + at;
            bytes[at] ^= flip;
            let (mut steps, mut reached, _) = walk(&bytes, 0);
            if reached < 12 && reached % 3 == 0 {
                // A length that is too large looks like a cut tail; the next answer begins with that batch.
                let (more, position, _) = walk(&bytes[starts[reached as usize / 3]..], reached);
                steps.extend(more);
                reached = position;
            }
            for (number, base) in [0i64, 3, 6, 9].into_iter().enumerate() {
                let step = (base, base + 3, true);
                prop_assert_eq!(steps.contains(&step), number != hit, "batch {} of {:?}", number, steps);
            }
            if hit < 3 {
                let expected = (hit as i64 * 3, hit as i64 * 3 + 3, false);
                prop_assert!(steps.contains(&expected), "{:?}", steps);
                prop_assert_eq!(reached, 12);
            }
        }
    }

    #[test]
    fn a_base_offset_that_does_not_fit_is_damage_not_progress() {
        let (mut bytes, starts) = log(&[(100, 20), (120, 20), (140, 20)]);
        bytes[starts[1] + 7] = 36;
        assert_eq!(walk(&bytes, 100).0, [(100, 120, true), (120, 140, false), (140, 160, true)], "too low");
        bytes[starts[1] + 6] = 4;
        assert_eq!(look_ahead(&bytes, 100), None);
        assert_eq!(walk(&bytes, 100).0[0], (100, 120, true), "too high");
        assert!(!walk(&bytes, 100).0.contains(&(140, 160, false)));
    }

    #[test]
    fn damage_without_an_end_in_sight_holds_the_position() {
        let (mut bytes, _) = log(&[(5, 2)]);
        bytes[16] = 9;
        let (steps, position, stuck) = walk(&bytes, 5);
        assert_eq!((steps, position), (vec![], 5));
        assert!(stuck.unwrap().contains("magic 9"));
        let (bytes, _) = log(&[(5, 2)]);
        let (steps, position, stuck) = walk(&bytes[..70], 5);
        assert_eq!((steps, position), (vec![], 5));
        assert!(stuck.unwrap().contains("longer than the 70 bytes"));
    }
}
