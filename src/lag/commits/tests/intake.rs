use std::sync::Arc;
use std::time::{Duration, Instant};

use super::encode;
use crate::lag::commits::Following;
use crate::lag::commits::intake::{Intake, Trouble};
use crate::source::{Batch, Cleanup, Damage, Event, PartitionInfo};
use crate::wire::encode::RecordBuffer;
use crate::wire::{BatchHeader, Marker, Records};

fn info(from: i64) -> PartitionInfo {
    PartitionInfo {
        topic: Arc::from("__consumer_offsets"),
        topic_id: None,
        partition: 0,
        cleanup: Cleanup::Compact,
        has_headers: true,
        from,
        until: None,
        log_start: 0,
    }
}

fn header(base_offset: i64, count: i32, producer_id: i64, attributes: i16) -> BatchHeader {
    BatchHeader {
        base_offset,
        leader_epoch: 4,
        crc: 0,
        attributes,
        last_offset_delta: count - 1,
        base_timestamp: 1000,
        max_timestamp: 1000,
        producer_id,
        producer_epoch: 0,
        base_sequence: -1,
        records_count: count,
    }
}

/// A batch of commits of the group `g` on `t[0]`, of a transaction unless the producer is −1.
fn commits(intake: &mut Intake, from: i64, until: i64, producer: i64) {
    let mut buffer = RecordBuffer::default();
    for offset in from..until {
        let value = encode::Commit {
            offset: 100 + offset,
            leader_epoch: 0,
            metadata: b"",
            commit_ms: 7,
            expire_ms: -1,
            topic_id: None,
        };
        buffer.push(offset, 1000, Some(&encode::key(1, &["g", "t"], Some(0))), Some(&encode::commit(4, &value)), &[]);
    }
    let attributes = if producer < 0 { 0 } else { 0x10 };
    let header = header(from, (until - from) as i32, producer, attributes);
    batch(intake, &header, None, buffer.records());
}

fn batch(intake: &mut Intake, header: &BatchHeader, marker: Option<Marker>, records: Records<'_>) {
    let (base_offset, until, aborted, bytes) = (header.base_offset, header.until(), false, 0);
    let batch = Batch { base_offset, until, header: Some(header), aborted, marker, records, bytes };
    intake.event(0, Event::Batch(batch), Instant::now());
}

fn offsets(intake: &mut Intake) -> Vec<i64> {
    let drained = intake.book.drain();
    let spots = drained.values().flat_map(|news| news.spots.values());
    spots.flat_map(|news| news.commits.iter().map(|commit| commit.offset)).collect()
}

fn started(from: i64) -> Intake {
    let mut intake = Intake::default();
    assert_eq!(intake.assign(info(from), Instant::now()).position, from);
    intake
}

#[test]
fn nothing_is_taken_twice() {
    let mut intake = started(0);
    commits(&mut intake, 0, 4, -1);
    commits(&mut intake, 2, 6, -1);
    commits(&mut intake, 0, 6, -1);
    assert_eq!(offsets(&mut intake), [100, 101, 102, 103, 104, 105]);
    let again = intake.assign(info(0), Instant::now());
    assert_eq!((again.position, again.last_epoch), (6, 4), "a new reader goes on where the last one was");
}

#[test]
fn transactions_are_settled_at_their_markers() {
    let mut intake = started(0);
    commits(&mut intake, 0, 1, 9);
    commits(&mut intake, 1, 2, 8);
    batch(&mut intake, &header(2, 1, 8, 0x30), Some(Marker::Abort), Records::empty());
    assert_eq!(offsets(&mut intake), [] as [i64; 0]);
    assert_eq!(intake.standing(Instant::now()).held_back, 1);
    batch(&mut intake, &header(3, 1, 9, 0x30), Some(Marker::Commit), Records::empty());
    assert_eq!(offsets(&mut intake), [100]);
}

#[test]
fn it_has_caught_up_when_each_partition_was_at_its_end_and_is_heard_of() {
    let mut intake = started(0);
    let now = Instant::now();
    assert!(!intake.standing(now).caught_up);
    intake.event(0, Event::Watermarks { log_start: 0, high_watermark: 5, last_stable: 5 }, now);
    assert_eq!(intake.standing(now).behind, 5);
    commits(&mut intake, 0, 5, -1);
    intake.event(0, Event::AtEnd, now);
    assert_eq!(intake.standing(now), Following { caught_up: true, partitions: 1, ..Following::default() });
    let later = now + Duration::from_secs(20);
    let silent = intake.standing(later);
    assert!(
        !silent.caught_up && silent.failed.as_ref().is_some_and(|why| why.contains("1 of 1 partitions")),
        "{silent:?}"
    );
    intake.heard(0, later);
    assert!(intake.standing(later).caught_up);
}

#[test]
fn a_denial_stays_until_the_partition_is_heard_of() {
    let mut intake = started(0);
    let now = Instant::now();
    let why = "TOPIC_AUTHORIZATION_FAILED: this user may not read the topic; grant READ and DESCRIBE on it".to_owned();
    intake.event(0, Event::Failed { why: why.clone() }, now);
    assert!(intake.is_broken());
    intake.assign(info(0), now);
    let denied = Following { denied: true, failed: Some(why), partitions: 1, ..Following::default() };
    assert_eq!((intake.standing(now), intake.is_broken()), (denied, false));
    intake.event(0, Event::AtEnd, now);
    assert!(intake.standing(now).caught_up);
    intake.trouble = Some(Trouble::Absent("there is no topic".to_owned()));
    let Following { absent, denied, caught_up, .. } = intake.standing(now);
    assert_eq!((absent, denied, caught_up), (true, false, false));
}

#[test]
fn what_cannot_be_decoded_is_counted_and_named() {
    let mut intake = started(0);
    let mut buffer = RecordBuffer::default();
    buffer.push(0, 1000, Some(b"\0\x01\0\x01g\0\x01t\0\0\0\0"), Some(b"\0\x63"), &[]);
    buffer.push(1, 1000, Some(b"\0\x0b\0\x01g"), Some(b"?"), &[]);
    buffer.push(2, 1000, None, None, &[]);
    batch(&mut intake, &header(0, 3, -1, 0), None, buffer.records());
    let said = intake.standing(Instant::now());
    assert_eq!((said.undecodable, said.skipped), (2, 1));
    assert_eq!(Vec::from_iter(said.undecodable_by_kind), [("no-key", 1), ("unknown-version", 1)]);
    assert_eq!(said.last_undecodable.as_deref(), Some("the record has no key (offset 2 of partition 0)"));
}

#[test]
fn holes_and_lost_ends_are_told_to_the_book() {
    let mut intake = started(0);
    let now = Instant::now();
    commits(&mut intake, 0, 2, 9);
    intake.event(0, Event::Damaged { from: 2, until: 5, damage: Damage::Legacy { magic: 1 } }, now);
    intake.event(0, Event::Expired { log_start: 8 }, now);
    let said = intake.standing(now);
    assert_eq!((said.unread, said.counts.given_up, said.held_back), (6, 1, 0));
    commits(&mut intake, 8, 10, 9);
    intake.event(0, Event::Diverged { epoch: 3, end_offset: 8 }, now);
    assert_eq!(intake.assign(info(0), now).position, 8);
    assert_eq!(intake.standing(now).held_back, 0);
    intake.event(0, Event::Diverged { epoch: -1, end_offset: 1 }, now);
    assert!(intake.is_broken(), "its reader has ended");
}
