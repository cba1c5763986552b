//! From the buffer to a run: the buckets are settled, and what is new is written under a temporary name.

use std::ops::Range;

use super::super::Repeat;
use super::super::buffer::Buffer;
use super::super::error::Result;
use super::super::places::Places;
use super::super::rows::{BUCKET_BITS, BUCKETS};
use super::super::run::{Run, RunHead, RunWriter};
use super::super::settle::{Scratch, Settled, Settler, is_in_reach};
use super::{Ledger, Tuning, tmp_name};

impl Ledger {
    /// Settles in place what one identity, seen over and over, has swollen: its repeats are reported and leave the buffer
    /// before it is full. To be called after each [`Ledger::insert`]; mostly there is nothing to do.
    pub fn relieve(&mut self, repeat: &mut dyn FnMut(Repeat)) -> Result<()> {
        self.check_usable()?;
        for bucket in std::mem::take(&mut self.buffer.hot) {
            self.is_poisoned = true;
            let before = self.buffer.buckets[bucket].len();
            self.settle_buckets(bucket..bucket + 1, repeat)?;
            self.buffer.relieved(bucket, before);
            self.is_poisoned = false;
        }
        Ok(())
    }

    /// Decides what in the buffer is new and what is a repeat. What is new is written, and counts with the next commit.
    /// `newest_second` is the stream time of the newest arrivals; how long sightings are kept counts from it, whatever
    /// time a producer wrote into its records.
    pub fn settle(&mut self, newest_second: u32, repeat: &mut dyn FnMut(Repeat)) -> Result<Settled> {
        self.check_usable()?;
        if self.buffer.len() == 0 {
            return Ok(Settled::default());
        }
        self.is_poisoned = true;
        let rows = self.buffer.len() as u64;
        let settled = self.settle_buckets(0..BUCKETS, repeat)?;
        if settled.fresh > 0 {
            self.write_buffer(settled.fresh, newest_second)?;
        }
        self.buffer.clear();
        self.resize_buffer(2 * settled.fresh < rows);
        self.arrange()?;
        self.is_poisoned = false;
        Ok(settled)
    }

    /// Leaves in the buckets what is to be kept, sorted.
    fn settle_buckets(&mut self, which: Range<usize>, repeat: &mut dyn FnMut(Repeat)) -> Result<Settled> {
        let Buffer { buckets, extents, span, min_second, max_second, .. } = &mut self.buffer;
        let horizon = self.tuning.horizon;
        let runs = self.pending.iter().rev().chain(&self.runs);
        let mut settler = Settler {
            runs: runs.filter(|run| is_in_reach(run, *min_second, *max_second, horizon)).collect(),
            places: Places::new(extents, *span),
            extents,
            horizon,
            probe: &mut self.probe,
            scratch: Scratch::default(),
            settled: Settled::default(),
        };
        for (bucket, rows) in which.clone().zip(&mut buckets[which]).filter(|(_, rows)| !rows.is_empty()) {
            self.sort.sort(rows, BUCKET_BITS);
            settler.bucket(bucket, rows, repeat)?;
        }
        Ok(settler.settled)
    }

    fn write_buffer(&mut self, rows: u64, newest_second: u32) -> Result<()> {
        let Buffer { buckets, extents, span, min_second, max_second, .. } = &self.buffer;
        let number = self.next_run;
        self.next_run += 1;
        let head = RunHead {
            ids: self.ids,
            number,
            generation: (u64::from(newest_second) / self.generation_seconds()) as u32,
            min_second: *min_second,
            max_second: *max_second,
            rows,
            extents: extents.len() as u64,
            span: *span,
        };
        let name = tmp_name(number);
        let mut writer = RunWriter::create(&self.files, &name, head)?;
        for bucket in buckets {
            writer.bucket(bucket)?;
        }
        writer.extents(extents.iter().copied())?;
        let record = writer.finish()?;
        self.pending.push(Run::open(&self.files, &name, record, self.ids)?);
        Ok(())
    }

    /// Doubles the buffer while most of what comes is known, and gives the memory back to the runs afterwards.
    fn resize_buffer(&mut self, is_replay: bool) {
        let Tuning { buffer_bytes, replay_bytes, .. } = self.tuning;
        let limit = if is_replay { (2 * self.buffer.limit_bytes()).min(replay_bytes) } else { buffer_bytes };
        self.buffer.set_limit(limit.max(buffer_bytes));
    }
}
