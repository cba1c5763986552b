//! Settling a bucket: which of its rows are new, which are repeats of a kept sighting. Decides from sightings and
//! times alone, so the verdict depends neither on when buffers were cut nor on how runs were merged.
//!
//! An identity is kept again only when it comes more than the horizon away from every kept sighting of it. So kept
//! sightings of one identity lie more than a horizon apart, and an arrival repeats the one nearest to it in time.

use super::error::Result;
use super::places::Places;
use super::rows::{Extent, Row};
use super::run::{Probe, Run};
use super::{Repeat, Seen};

/// What settling the buffer came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Sightings kept.
    pub fresh: u64,
    /// Repeats reported.
    pub repeats: u64,
    /// Kept sightings that were read again at the very same position, and dropped.
    pub reread: u64,
}

pub(super) struct Settler<'a> {
    /// In the order they are to be probed.
    pub runs: Vec<&'a Run>,
    /// Of the buffer's rows.
    pub extents: &'a [Extent],
    pub places: Places,
    pub horizon: u64,
    pub probe: &'a mut Probe,
    pub scratch: Scratch,
    pub settled: Settled,
}

#[derive(Default)]
pub(super) struct Scratch {
    prefix: Vec<u8>,
    /// Groups a run may hold by its tags.
    maybe: Vec<u32>,
    /// (group, code, checksum) of rows a run holds.
    found: Vec<(u32, u64, u64)>,
    /// First row of each group of equal identities, and the end of the last.
    groups: Vec<u32>,
    /// Groups that need no further run.
    done: Vec<bool>,
    /// (group, kept sighting) from the runs.
    known: Vec<(u32, Seen)>,
    kept: Vec<Seen>,
}

impl Settler<'_> {
    /// Leaves in `rows`, which are sorted, those to be kept.
    pub fn bucket(&mut self, bucket: usize, rows: &mut Vec<Row>, repeat: &mut dyn FnMut(Repeat)) -> Result<()> {
        let groups = &mut self.scratch.groups;
        groups.clear();
        groups.extend((0..rows.len()).filter(|&at| at == 0 || !same_identity(rows, at)).map(|at| at as u32));
        groups.push(rows.len() as u32);
        self.probe_runs(bucket, rows)?;
        self.resolve(rows, repeat);
        Ok(())
    }

    /// Run by run in three steps, each a loop of its own, so that the cache misses of many identities overlap: who may be
    /// there by the tags, whose row is there, and where and when that was.
    fn probe_runs(&mut self, bucket: usize, rows: &[Row]) -> Result<()> {
        let Scratch { prefix, maybe, found, groups, done, known, .. } = &mut self.scratch;
        known.clear();
        done.clear();
        done.resize(groups.len() - 1, false);
        for run in self.runs.iter().filter(|run| run.bucket_len(bucket) > 0) {
            let prefix = match run.prefix(bucket, prefix) {
                Ok(prefix) => prefix,
                Err(error) => {
                    run.note(error, &mut self.probe.damage)?;
                    continue;
                }
            };
            let first = |group: u32| &rows[groups[group as usize] as usize];
            maybe.clear();
            maybe.extend(
                (0..done.len() as u32).filter(|&group| !done[group as usize] && run.may_hold(&prefix, first(group).hi)),
            );
            found.clear();
            for &group in &*maybe {
                let Row { hi, lo, .. } = *first(group);
                run.matches(&prefix, hi, lo, self.probe, &mut |code, checksum, _| {
                    found.push((group, code, checksum));
                    Ok(())
                })?;
            }
            for &(group, code, checksum) in &*found {
                let Some(hit) = run.locate(code, checksum, self.probe)? else { continue };
                if groups[group as usize + 1] - groups[group as usize] == 1 {
                    // Others are kept more than a horizon away from this one, so none can be nearer.
                    let second = seen(self.extents, &self.places, first(group)).second;
                    done[group as usize] |= 2 * distance(hit.second, second) <= self.horizon;
                }
                known.push((group, hit));
            }
        }
        known.sort_by_key(|(group, seen)| (*group, seen.second));
        Ok(())
    }

    /// Walks the arrivals in order and moves those to be kept to the front.
    fn resolve(&mut self, rows: &mut Vec<Row>, repeat: &mut dyn FnMut(Repeat)) {
        let Scratch { groups, known, kept, .. } = &mut self.scratch;
        let mut known = known.drain(..).peekable();
        let mut write = 0;
        for (group, bounds) in groups.windows(2).enumerate() {
            kept.clear();
            kept.extend(std::iter::from_fn(|| known.next_if(|(of, _)| *of as usize == group)).map(|(_, seen)| seen));
            let arrivals = bounds[0] as usize..bounds[1] as usize;
            if kept.is_empty() && arrivals.len() == 1 {
                rows[write] = rows[arrivals.start];
                write += 1;
                continue;
            }
            for at in arrivals {
                let again = seen(self.extents, &self.places, &rows[at]);
                match nearest(kept, again.second, self.horizon) {
                    Some(first) if (first.partition, first.offset) == (again.partition, again.offset) => {
                        self.settled.reread += 1;
                    }
                    Some(first) => {
                        self.settled.repeats += 1;
                        repeat(Repeat { identity: rows[at].identity(), first, again });
                    }
                    None => {
                        kept.insert(kept.partition_point(|seen| seen.second < again.second), again);
                        rows[write] = rows[at];
                        write += 1;
                    }
                }
            }
        }
        rows.truncate(write);
        self.settled.fresh += write as u64;
    }
}

/// Where and when a row of the buffer was seen; its extents cover every code it gave out.
fn seen(extents: &[Extent], places: &Places, row: &Row) -> Seen {
    let extent = places.find(extents, row.code).or(extents.last());
    extent.map_or_else(|| unreachable!("a row without an extent"), |extent| extent.seen(row.code, row.checksum))
}

fn same_identity(rows: &[Row], at: usize) -> bool {
    (rows[at].hi, rows[at].lo) == (rows[at - 1].hi, rows[at - 1].lo)
}

fn distance(a: u32, b: u32) -> u64 {
    u64::from(a.abs_diff(b))
}

/// Of kept sightings, ascending by time, the nearest within the horizon; the earlier of two.
fn nearest(kept: &[Seen], second: u32, horizon: u64) -> Option<Seen> {
    let after = kept.partition_point(|seen| seen.second < second);
    let candidates = &kept[after.saturating_sub(1)..kept.len().min(after + 1)];
    let nearest = candidates.iter().min_by_key(|seen| distance(seen.second, second))?;
    (distance(nearest.second, second) <= horizon).then_some(*nearest)
}

/// Whether a run may hold sightings within the horizon of the buffer's.
pub(super) fn is_in_reach(run: &Run, min_second: u32, max_second: u32, horizon: u64) -> bool {
    u64::from(min_second) <= u64::from(run.record.max_second).saturating_add(horizon)
        && u64::from(run.record.min_second) <= u64::from(max_second).saturating_add(horizon)
}
