//! A topic and its mirror where one of them is compacted. Each side is compacted on a clock of its own, so numbers and order
//! of records mean nothing there; what each key is in the end must be the same.
//!
//! The last version of a key is never compacted away. A key of which the source has a record behind the last one that was
//! copied is in flight: it may be any version since, and once compaction has taken some, it may be one that nobody sees any more.

use std::collections::{BTreeMap, BTreeSet};

use super::hash::key_hash;
use super::merge::merge;
use super::position::{Reach, Reaches, Tails};
use super::take::{FindTake, FoldTake, Taken};
use super::version::{Histories, KeyTake, Known, Verdict, VersionTake, judge};
use super::{Mirror, NOTHING_COPIED, is_unread};
use crate::audit::coverage::Hole;
use crate::audit::drift::{Claim, Cut};
use crate::audit::finding::{Finding, Grade, Kind};
use crate::drift::digest::bucket_of;
use crate::drift::fold::{Fold, State};
use crate::drift::place::TopicPlace;
use crate::drift::topic::{self, Opened, Read, Take};
use crate::drift::{DriftError, Told, note, pause, say};
use crate::source::{PartitionInfo, Start};

pub fn compare(mirror: &Mirror<'_>, partitions: &[i32], told: &mut Told) -> Result<(), DriftError> {
    // No partitions would be all of them.
    if partitions.is_empty() {
        return Ok(());
    }
    let compacted = Compacted { mirror, partitions };
    let suspects = compacted.look(told)?;
    if !suspects.is_empty() && !mirror.progress.is_stopped() {
        pause(mirror.settings, mirror.progress);
        compacted.confirm(&suspects, told)?;
    }
    Ok(())
}

struct Compacted<'a> {
    mirror: &'a Mirror<'a>,
    partitions: &'a [i32],
}

/// One side as it was read.
struct Side {
    infos: Vec<PartitionInfo>,
    /// Partitions of which compaction has taken records, and those whose log has lost its front.
    holed: BTreeSet<i32>,
    expired: BTreeSet<i32>,
}

impl Side {
    fn new(infos: Vec<PartitionInfo>, read: &Read) -> Self {
        let holes = |wanted: &[Hole]| -> BTreeSet<i32> {
            let has =
                |coverage: &&crate::audit::coverage::Coverage| wanted.iter().any(|hole| coverage.holes.get(*hole) > 0);
            read.coverage.iter().filter(has).map(|coverage| coverage.partition).collect()
        };
        let holed = holes(&[Hole::Compacted, Hole::Unknown, Hole::Unexplained]);
        let mut expired = holes(&[Hole::Expired]);
        // Compaction alone does not move the start of a log; the policy may have been another once.
        let has_moved = |info: &&PartitionInfo| info.log_start > 0;
        expired.extend(infos.iter().filter(has_moved).map(|info| info.partition));
        Self { infos, holed, expired }
    }

    fn ends(&self) -> BTreeMap<i32, i64> {
        self.infos.iter().map(|info| (info.partition, info.until.unwrap_or(info.from))).collect()
    }

    fn is_compacted(&self) -> bool {
        self.infos.iter().any(|info| info.cleanup.is_compacted())
    }
}

impl Compacted<'_> {
    fn open(&self, place: &TopicPlace) -> Result<Opened, DriftError> {
        topic::open(&place.properties(self.mirror.settings), &place.topic, Start::Beginning, self.partitions)
    }

    fn read<T: Take>(&self, place: &TopicPlace, taker: impl FnMut() -> T) -> Result<(Side, Read, Vec<T>), DriftError> {
        let opened = self.open(place)?;
        let infos = opened.partitions.clone();
        let (read, takers) = opened.read(self.mirror.progress, taker)?;
        Ok((Side::new(infos, &read), read, takers))
    }

    /// At everything; the keys that look wrong. The copy first: everything in it stood in the source before that one's end is
    /// asked for.
    fn look(&self, told: &mut Told) -> Result<BTreeSet<u64>, DriftError> {
        let Mirror { settings, source, copy, hasher, .. } = *self.mirror;
        let fold = || Fold::new(settings.memory_bytes / 2);
        let (ours, theirs) = (fold(), fold());
        let (_, read, takers) = self.read(copy, || FoldTake::new(&theirs, hasher, None))?;
        let of_copy = FoldTake::end(takers)?;
        told.read.add(read);
        let reaches = self.reaches(&of_copy.tails, told)?;
        let (side, read, takers) = self.read(source, || FoldTake::new(&ours, hasher, Some(&reaches)))?;
        let of_source = FoldTake::end(takers)?;
        told.read.add(read);
        told.summary.lag = of_source.open;
        for (place, taken) in [(source, &of_source), (copy, &of_copy)] {
            keyless(place, taken, told);
        }
        self.cut(&side, &reaches, told);
        self.merged(&ours, &theirs, !side.holed.is_empty(), told)
    }

    fn merged(
        &self,
        ours: &Fold,
        theirs: &Fold,
        has_holes: bool,
        told: &mut Told,
    ) -> Result<BTreeSet<u64>, DriftError> {
        let (mut suspects, mut rows, mut wrong) = (BTreeSet::new(), 0, 0);
        let each = |key: u64, ours: Option<&State>, theirs: Option<&State>| {
            let actual = match theirs {
                Some(State::Is(row)) => *row,
                _ => None,
            };
            rows += u64::from(actual.is_some());
            let is_wrong = match ours {
                None => actual.is_some(),
                Some(State::Is(row)) => *row != actual,
                Some(State::OneOf(allowed)) => !has_holes && !allowed.contains(&actual),
                Some(State::Unknown | State::Partial) => false,
            };
            wrong += u64::from(is_wrong);
            if is_wrong && suspects.len() < self.mirror.settings.most_findings {
                suspects.insert(key);
            }
        };
        let (counts, _) = merge(ours, theirs, each).map_err(DriftError::Disk)?;
        let summary = &mut told.summary;
        summary.keys = counts.keys - counts.deleted;
        summary.in_flight = counts.in_flight;
        (summary.rows, summary.suspects) = (rows, wrong);
        summary.located_by = "merged".to_owned();
        note(&mut summary.unverifiable, "not-looked-at", wrong - suspects.len() as u64);
        Ok(suspects)
    }

    /// Where the copy's last records stand in the source, from the time of the oldest of them on.
    fn reaches(&self, tails: &Tails, told: &mut Told) -> Result<Reaches, DriftError> {
        let Mirror { settings, source, hasher, progress, .. } = *self.mirror;
        let (properties, topic) = (source.properties(settings), &source.topic);
        let mut positions = BTreeMap::new();
        for (partition, oldest_ms) in tails.oldest_ms() {
            let from = match hasher.with_time && oldest_ms >= 0 {
                true => topic::open(&properties, topic, Start::Timestamp(oldest_ms), &[partition])?
                    .partitions
                    .first()
                    .map_or(0, |info| info.from),
                false => 0,
            };
            positions.insert(partition, from);
        }
        let mut finder = tails.finder();
        if !positions.is_empty() {
            let opened = topic::open_parts_at(&properties, topic, &positions)?;
            let (mut read, takers) = opened.read(progress, || FindTake { finder: tails.finder(), hasher })?;
            takers.into_iter().for_each(|taker| finder.add(taker.finder));
            told.read.unread.append(&mut read.unread);
        }
        Ok(tails.reaches(&finder))
    }

    /// That the copy's records are found for certain.
    fn is_exact(&self, reach: Reach, has_holes: bool) -> bool {
        match reach {
            // Without its time the record may be the same as one that has been compacted away.
            Reach::Offset(_) => self.mirror.hasher.with_time || !has_holes,
            Reach::Until(_) => false,
            Reach::Nothing => true,
        }
    }

    fn cut(&self, source: &Side, reaches: &Reaches, told: &mut Told) {
        let cut = |(partition, end): (i32, i64)| {
            let settled = match reaches.of(partition) {
                Reach::Offset(last) => last + 1,
                Reach::Until(_) => 0,
                Reach::Nothing => end,
            };
            Cut { partition, settled, end }
        };
        told.summary.cuts = source.ends().into_iter().map(cut).collect();
        let is_exact = |partition: &i32| self.is_exact(reaches.of(*partition), source.holed.contains(partition));
        if !self.partitions.iter().all(is_exact) {
            told.summary.claim = Claim::Heuristic;
        }
    }

    /// Looks again at what looked wrong, with all versions of each key on both sides.
    fn confirm(&self, suspects: &BTreeSet<u64>, told: &mut Told) -> Result<(), DriftError> {
        let Mirror { source, copy, hasher, .. } = *self.mirror;
        let (theirs, mut read, takers) = self.read(copy, || VersionTake::new(suspects, hasher, None))?;
        told.read.unread.append(&mut read.unread);
        let (mut tails, mut of_copy) = (Tails::default(), Histories::new());
        for taker in takers {
            tails.add(taker.tails);
            of_copy.extend(taker.histories);
        }
        let mut finder = tails.finder();
        let taker = || VersionTake::new(suspects, hasher, Some(tails.finder()));
        let (ours, mut read, takers) = self.read(source, taker)?;
        told.read.unread.append(&mut read.unread);
        let mut of_source = Histories::new();
        for taker in takers {
            finder.add(taker.finder.unwrap_or_default());
            of_source.extend(taker.histories);
        }
        let reaches = tails.reaches(&finder);
        self.cut(&ours, &reaches, told);
        let known = |partition: i32| Known {
            reach: reaches.of(partition),
            has_holes: ours.holed.contains(&partition),
            source_expires: ours.expired.contains(&partition),
            copy_expires: theirs.expired.contains(&partition),
        };
        let keys: BTreeSet<&(i32, Vec<u8>)> = of_source.keys().chain(of_copy.keys()).collect();
        let judged = keys.into_iter().map(|key| (key, judge(of_source.get(key), of_copy.get(key), &known(key.0))));
        let wrong: Vec<_> = judged.filter(|(_, verdict)| *verdict != Verdict::Fine).collect();
        let hashes = wrong.iter().map(|((partition, key), _)| key_hash(*partition, key)).collect();
        let moved = self.moved(&hashes, &[(source, &ours), (copy, &theirs)], told)?;
        for ((partition, key), verdict) in wrong {
            let hash = key_hash(*partition, key);
            if moved.contains(&hash) {
                note(&mut told.summary.unverifiable, "in-motion", 1);
                told.summary.undecided.buckets.insert(bucket_of(hash));
                continue;
            }
            let Some(finding) = self.mirror.of_key(*partition, key, &verdict) else {
                if let Verdict::Unverifiable(reason) = verdict {
                    note(&mut told.summary.unverifiable, reason, 1);
                    told.summary.undecided.buckets.insert(bucket_of(hash));
                }
                continue;
            };
            self.say(finding, *partition, &known(*partition), told);
        }
        Ok(())
    }

    /// Keys that were written while they were read: the cleaner may have taken what was to be read of them.
    fn moved(
        &self,
        keys: &BTreeSet<u64>,
        sides: &[(&TopicPlace, &Side)],
        told: &mut Told,
    ) -> Result<BTreeSet<u64>, DriftError> {
        let mut moved = BTreeSet::new();
        for (place, side) in sides.iter().filter(|(_, side)| side.is_compacted() && !keys.is_empty()) {
            let properties = place.properties(self.mirror.settings);
            let opened = topic::open_parts_at(&properties, &place.topic, &side.ends())?;
            let (mut read, takers) = opened.read(self.mirror.progress, || KeyTake::new(keys))?;
            told.read.unread.append(&mut read.unread);
            takers.into_iter().for_each(|mut taker| moved.append(&mut taker.written));
        }
        Ok(moved)
    }

    fn say(&self, mut finding: Finding, partition: i32, known: &Known, told: &mut Told) {
        if !self.is_exact(known.reach, known.has_holes) {
            finding.grade = Grade::Possible;
        }
        if finding.kind == Kind::Missing && known.reach == Reach::Nothing && !is_unread(&told.read, partition) {
            finding.cause = Some(NOTHING_COPIED.to_owned());
        }
        say::count(&mut told.summary, &finding);
        told.findings.push(finding);
    }
}

fn keyless(place: &TopicPlace, taken: &Taken, told: &mut Told) {
    note(&mut told.summary.unverifiable, "unusable-record", taken.keyless);
    let sample = |(partition, offset): &(i32, i64)| format!("{}[{partition}]@{offset}: it has no key", place.topic);
    told.samples.extend(taken.samples.iter().map(sample));
}
