//! The partition checks against naive models that hold every batch and record.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::coverage::{Hole, Isolation};
use super::finding::{Finding, Grade, Kind};
use super::partition::{PartitionAudit, PartitionRules, PartitionState};
use crate::identify::Observations;
use crate::source::{Batch, Cleanup, Damage};
use crate::wire::batch::wrap_sequence;
use crate::wire::encode::RecordBuffer;
use crate::wire::{BatchHeader, Records};

const CONTROL: i16 = 0x30;
const TRANSACTIONAL: i16 = 0x10;
const APPEND_TIME: i16 = 0x08;

fn header(base_offset: i64, offsets: i32, count: i32) -> BatchHeader {
    BatchHeader {
        base_offset,
        leader_epoch: 0,
        crc: 0,
        attributes: 0,
        last_offset_delta: offsets - 1,
        base_timestamp: 1000,
        max_timestamp: 1000,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        records_count: count,
    }
}

fn audit_of(cleanup: Cleanup) -> PartitionAudit {
    let rules = PartitionRules { cleanup, has_headers: true, timestamp_bound_ms: 100 };
    PartitionAudit::new(PartitionState::new("t", None, 0, 0), rules, None)
}

/// Hands a batch over; `kept` are the offset deltas that still hold a record, with their times.
fn hand(audit: &mut PartitionAudit, header: &BatchHeader, aborted: bool, kept: &[(i64, i64)], out: &mut Vec<Finding>) {
    let mut buffer = RecordBuffer::default();
    for &(delta, time) in kept {
        buffer.push(header.base_offset + delta, time, Some(b"k"), Some(b"v"), &[]);
    }
    let records = if kept.is_empty() { Records::empty() } else { buffer.records() };
    let until = header.until();
    let batch = Batch {
        base_offset: header.base_offset,
        until,
        header: Some(header),
        aborted,
        marker: None,
        records,
        bytes: 100,
    };
    audit.batch(batch, i64::MAX, &mut Observations::new(0), out);
}

#[derive(Clone, Copy, Debug)]
enum Piece {
    Data {
        offsets: i32,
        holes: u8,
    },
    Marker,
    Aborted {
        offsets: i32,
    },
    Damaged {
        offsets: i32,
    },
    /// Offsets that no batch covers.
    Nothing {
        offsets: i64,
    },
    /// The same batch a second time, as after a retried fetch.
    Again,
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    prop::collection::vec(
        prop_oneof![
            4 => (1i32..20, 0u8..3).prop_map(|(offsets, holes)| Piece::Data { offsets, holes }),
            1 => Just(Piece::Marker),
            1 => (1i32..10).prop_map(|offsets| Piece::Aborted { offsets }),
            1 => (1i32..10).prop_map(|offsets| Piece::Damaged { offsets }),
            1 => (1i64..10).prop_map(|offsets| Piece::Nothing { offsets }),
            1 => Just(Piece::Again),
        ],
        1..40,
    )
}

proptest! {
    /// Every offset counts once, under its right name; only what nothing explains is a finding.
    #[test]
    fn every_offset_is_explained_once(pieces in pieces(), compacted: bool) {
        let cleanup = if compacted { Cleanup::Compact } else { Cleanup::Delete };
        let (mut audit, mut out) = (audit_of(cleanup), Vec::new());
        let mut truth: BTreeMap<i64, Option<Hole>> = BTreeMap::new();
        let missing = if compacted { Hole::Compacted } else { Hole::Unexplained };
        let (mut at, mut last) = (0i64, None);
        for piece in pieces {
            match piece {
                Piece::Data { offsets, holes } => {
                    let kept: Vec<(i64, i64)> =
                        (0..i64::from(offsets)).filter(|d| holes == 0 || d % i64::from(holes + 1) == 0).map(|d| (d, 1000)).collect();
                    let header = header(at, offsets, kept.len() as i32);
                    hand(&mut audit, &header, false, &kept, &mut out);
                    for delta in 0..i64::from(offsets) {
                        let is_kept = kept.iter().any(|&(d, _)| d == delta);
                        truth.insert(at + delta, (!is_kept).then_some(missing));
                    }
                    at += i64::from(offsets);
                    last = Some((header, kept));
                }
                Piece::Marker => {
                    let marker = BatchHeader { attributes: CONTROL, ..header(at, 1, 1) };
                    hand(&mut audit, &marker, false, &[], &mut out);
                    truth.insert(at, Some(Hole::Control));
                    at += 1;
                }
                Piece::Aborted { offsets } => {
                    let aborted = BatchHeader { attributes: TRANSACTIONAL, ..header(at, offsets, offsets) };
                    hand(&mut audit, &aborted, true, &[], &mut out);
                    (at..at + i64::from(offsets)).for_each(|o| _ = truth.insert(o, Some(Hole::Aborted)));
                    at += i64::from(offsets);
                }
                Piece::Damaged { offsets } => {
                    // What no batch covers before damage is not known to be missing.
                    let from = audit.state.offsets.position;
                    audit.damaged(at, at + i64::from(offsets), &Damage::Malformed("x".to_owned()), &mut out);
                    (from..at + i64::from(offsets)).for_each(|o| _ = truth.insert(o, Some(Hole::Unreadable)));
                    at += i64::from(offsets);
                }
                Piece::Nothing { offsets } => {
                    (at..at + offsets).for_each(|o| _ = truth.insert(o, Some(missing)));
                    at += offsets;
                }
                Piece::Again => {
                    if let Some((header, kept)) = &last {
                        hand(&mut audit, header, false, kept, &mut out);
                    }
                }
            }
        }
        truth.retain(|&offset, _| offset < audit.state.offsets.position);
        let coverage = audit.state.offsets.coverage(&audit.state.place(), Isolation::ReadCommitted, None);
        prop_assert_eq!(coverage.records, truth.values().filter(|hole| hole.is_none()).count() as u64);
        for hole in Hole::ALL {
            let expected = truth.values().filter(|&&h| h == Some(hole)).count() as u64;
            prop_assert_eq!(coverage.holes.get(hole), expected, "{:?}", hole);
        }
        prop_assert_eq!(coverage.records + coverage.holes.total(), (coverage.until - coverage.from) as u64);
        let gaps = out.iter().filter(|f| f.kind == Kind::OffsetGap).count();
        prop_assert_eq!(gaps > 0, coverage.holes.unexplained > 0);
        let damaged = out.iter().filter(|f| f.kind == Kind::ChecksumFailure).count();
        prop_assert_eq!(damaged > 0, coverage.holes.unreadable > 0);
    }

    /// Sequences as the broker checks them, by a model that remembers the last one of each producer and epoch.
    #[test]
    fn producer_sequences_are_followed_across_the_wrap(
        steps in prop::collection::vec((0i64..3, 0u8..12, 1i32..6), 1..60),
        first in prop_oneof![Just(0i32), Just(i32::MAX - 7)],
    ) {
        let (mut audit, mut out) = (audit_of(Cleanup::Delete), Vec::new());
        let mut next: HashMap<i64, (i16, i32)> = HashMap::new();
        let (mut at, mut lost, mut repeated) = (0, 0u64, 0u64);
        for (producer, what, count) in steps {
            let known = next.get(&producer).copied();
            let (epoch, expected) = known.unwrap_or((0, first));
            let (epoch, base) = match (what, known) {
                // A new epoch begins at 0.
                (0, _) => (epoch + 1, 0),
                (1, Some(_)) => { lost += 3; (epoch, wrap_sequence(i64::from(expected) + 3)) }
                (2, Some(_)) => { repeated += count as u64; (epoch, wrap_sequence(i64::from(expected) - i64::from(count) + (1 << 31))) }
                _ => (epoch, expected),
            };
            let batch = BatchHeader { producer_id: producer, producer_epoch: epoch, base_sequence: base, ..header(at, count, count) };
            let kept: Vec<(i64, i64)> = (0..i64::from(count)).map(|d| (d, 1000)).collect();
            hand(&mut audit, &batch, false, &kept, &mut out);
            at += i64::from(count);
            next.insert(producer, (epoch, wrap_sequence(i64::from(base) + i64::from(count))));
        }
        let sum = |kind: Kind| out.iter().filter(|f| f.kind == kind).map(|f| f.count).sum::<u64>();
        prop_assert_eq!(sum(Kind::SequenceGap), lost);
        prop_assert_eq!(sum(Kind::Duplicate), repeated);
        prop_assert_eq!((audit.state.producers.lost, audit.state.producers.duplicated), (lost, repeated));
    }

    #[test]
    fn create_times_may_fall_within_the_bound(times in prop::collection::vec(0i64..400, 1..60)) {
        let (mut audit, mut out) = (audit_of(Cleanup::Delete), Vec::new());
        for (offset, &time) in times.iter().enumerate() {
            hand(&mut audit, &header(offset as i64, 1, 1), false, &[(0, time)], &mut out);
        }
        let falls: Vec<usize> = (1..times.len()).filter(|&i| times[..i].iter().max().is_some_and(|m| m - times[i] > 100)).collect();
        let episodes = falls.iter().filter(|&&i| !falls.contains(&(i - 1))).count();
        let ids: std::collections::BTreeSet<&str> = out.iter().map(|f| f.id.as_str()).collect();
        prop_assert_eq!(ids.len(), episodes);
        let counted: u64 = ids.iter().filter_map(|id| out.iter().rfind(|f| f.id == *id)).map(|f| f.count).sum();
        prop_assert_eq!(counted, falls.len() as u64);
    }
}

#[test]
fn append_time_never_falls_within_an_epoch() {
    let (mut audit, mut out) = (audit_of(Cleanup::Delete), Vec::new());
    for (offset, epoch, time) in [(0, 0, 1000), (1, 0, 999), (2, 1, 950), (3, 2, 700)] {
        let batch = BatchHeader { attributes: APPEND_TIME, leader_epoch: epoch, ..header(offset, 1, 1) };
        hand(&mut audit, &batch, false, &[(0, time)], &mut out);
    }
    let offsets: Vec<i64> = out.iter().filter_map(|f| f.offsets).map(|o| o.from).collect();
    assert_eq!(offsets, [1, 3], "a new leader's clock may lag within the bound, the same leader's may not");
}

#[test]
fn a_marker_of_the_next_epoch_is_no_writer() {
    // transaction.version 2: data of epoch 5, a marker of epoch 6, then data of epoch 6 from 0 on.
    let (mut audit, mut out) = (audit_of(Cleanup::Delete), Vec::new());
    let of = |offset, attributes, producer_epoch, base_sequence| BatchHeader {
        attributes,
        producer_id: 9,
        producer_epoch,
        base_sequence,
        ..header(offset, 1, 1)
    };
    hand(&mut audit, &of(0, TRANSACTIONAL, 5, 0), false, &[(0, 1000)], &mut out);
    hand(&mut audit, &of(1, CONTROL, 6, -1), false, &[], &mut out);
    hand(&mut audit, &of(2, TRANSACTIONAL, 6, 0), false, &[(0, 990)], &mut out);
    assert_eq!(out, []);
    hand(&mut audit, &of(3, TRANSACTIONAL, 5, 1), false, &[(0, 1000)], &mut out);
    assert_eq!(out[0].kind, Kind::EpochRegression, "a leader fences an older epoch");
}

#[test]
fn a_falling_leader_epoch_is_a_finding() {
    let (mut audit, mut out) = (audit_of(Cleanup::Delete), Vec::new());
    for (offset, epoch) in [(0, 3), (1, 3), (2, 4), (3, 2)] {
        hand(&mut audit, &BatchHeader { leader_epoch: epoch, ..header(offset, 1, 1) }, false, &[(0, 1000)], &mut out);
    }
    assert_eq!(out.iter().map(|f| (f.kind, f.offsets.unwrap().from)).collect::<Vec<_>>(), [(Kind::EpochRegression, 3)]);
}

#[test]
fn what_retention_takes_before_it_was_read_is_lost_to_the_auditor() {
    let (mut audit, mut out) = (audit_of(Cleanup::Delete), Vec::new());
    audit.expired(50, &mut out);
    assert_eq!(out, [], "before the first batch it is only where the log begins");
    hand(&mut audit, &header(50, 10, 10), false, &(0..10).map(|d| (d, 1000)).collect::<Vec<_>>(), &mut out);
    audit.expired(100, &mut out);
    assert_eq!((out[0].kind, out[0].count), (Kind::RetentionOverrun, 40));
    assert_eq!(audit.state.offsets.holes.expired, 90);
}

#[test]
fn a_truncated_log_is_told_and_the_coverage_still_adds_up() {
    let (mut audit, mut out) = (audit_of(Cleanup::Delete), Vec::new());
    hand(&mut audit, &header(0, 100, 100), false, &(0..100).map(|d| (d, 1000)).collect::<Vec<_>>(), &mut out);
    audit.diverged(0, 60, &mut out);
    assert_eq!((out[0].kind, out[0].count), (Kind::Truncation, 40));
    let coverage = audit.state.offsets.coverage(&audit.state.place(), Isolation::ReadCommitted, None);
    assert_eq!((coverage.until, coverage.records), (60, 60));
}

#[test]
fn without_the_configuration_a_hole_is_only_possibly_a_loss() {
    let (mut audit, mut out) = (audit_of(Cleanup::Unknown), Vec::new());
    hand(&mut audit, &header(5, 1, 1), false, &[(0, 1000)], &mut out);
    assert_eq!((out[0].kind, out[0].grade), (Kind::OffsetGap, Grade::Possible));
}

struct OneTopic;

impl super::duplicates::Names for OneTopic {
    fn name(&self, partition: u32) -> (&str, i32) {
        ("t", partition as i32)
    }
}

proptest! {
    /// Whichever arrival the ledger keeps, and in whatever order the others are told: the findings are those of the
    /// set of arrivals.
    #[test]
    fn duplicates_and_conflicts_depend_on_the_arrivals_alone(
        arrivals in prop::collection::vec((0u32..3, 0u64..3), 2..12),
        kept in any::<prop::sample::Index>(),
        order in any::<u64>(),
    ) {
        use crate::ledger::{Producer, Repeat, Seen};
        let seen: Vec<Seen> = arrivals.iter().enumerate().map(|(i, &(partition, checksum))| Seen {
            partition,
            offset: i as i64,
            second: 100 + i as u32,
            checksum,
            producer: Producer { id: 1, epoch: 0 },
        }).collect();
        let first = *kept.get(&seen);
        let mut others: Vec<Seen> = seen.iter().filter(|s| s.offset != first.offset).copied().collect();
        others.sort_by_key(|s| (s.offset as u64).wrapping_mul(order | 1));
        let mut duplicates = super::duplicates::Duplicates::default();
        for again in others.iter().chain(others.first()) {
            // The last one is told twice, as after a restart.
            duplicates.add(&Repeat { identity: 7, first, again: *again }, None);
        }
        let mut found = Vec::new();
        duplicates.findings(super::finding::Rung::Id, &OneTopic, &mut found);

        let mut contents: BTreeMap<u64, u64> = BTreeMap::new();
        arrivals.iter().for_each(|&(_, checksum)| *contents.entry(checksum).or_default() += 1);
        let repeated: u64 = contents.values().map(|count| count - 1).sum();
        prop_assert_eq!(duplicates.counts(), (repeated, contents.len() as u64 - 1));
        let of = |kind: Kind| found.iter().filter(|f| f.kind == kind).collect::<Vec<_>>();
        prop_assert_eq!(of(Kind::Duplicate).len(), contents.values().filter(|&&count| count > 1).count());
        prop_assert_eq!(of(Kind::Duplicate).iter().map(|f| f.count).sum::<u64>(), repeated);
        prop_assert_eq!(of(Kind::Conflict).len(), usize::from(contents.len() > 1));
        for finding in of(Kind::Duplicate) {
            prop_assert!(finding.sightings.is_sorted_by_key(|s| s.offset));
            prop_assert_eq!(finding.sightings.len() as u64, finding.count + 1);
        }
        if let [conflict] = of(Kind::Conflict)[..] {
            let original = conflict.evidence["original_checksum"].as_str();
            prop_assert_eq!(original, Some(&*format!("{:016x}", seen[0].checksum)));
        }
    }
}
