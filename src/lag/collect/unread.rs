//! When the next record a group has not read was written, by fetching that record: exact, and the same whether the
//! producer is busy or idle.

use std::collections::HashMap;
use std::sync::Arc;

use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};

use super::brokers::Broker;
use super::names::Names;
use super::unknown;
use crate::lag::facts::Spot;
use crate::lag::figure::{Figure, Unknown};
use crate::source::kafka::aborted::Aborted;
use crate::source::kafka::cluster::topic_name;
use crate::source::kafka::fetch::Part;
use crate::wire::{Batches, Marker, Scratch};

/// Newest version that names topics instead of their ids.
const FETCH: i16 = 12;
/// Partitions in one request, and what each may send: enough for most batches. Larger ones are asked for alone, since a
/// broker sends the first partition's first batch whole and leaves out others that do not fit.
const TOGETHER: usize = 128;
const SHARE_BYTES: i32 = 16 << 10;
const ALONE_BYTES: i32 = 1;
/// Batches of markers and aborted records are passed over; so often is asked again behind them.
const TRIES: usize = 4;
/// What a compressed batch may grow to.
const LARGEST_BATCH: usize = 64 << 20;

/// Where a group stands, and which records it reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    pub spot: Spot,
    pub offset: i64,
    pub read_committed: bool,
}

/// The next record a group has not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// Its time; absent when nothing but markers and aborted records is left.
    pub at_ms: Option<i64>,
    /// Records left to read, where they all came in the answer.
    pub records: Option<i64>,
}

pub type Found = HashMap<Place, Figure<Next>>;

/// Looks up places whose partitions this broker leads.
pub fn ask(broker: &mut Broker, places: &[&Place], names: &Names) -> Found {
    let mut found = Found::new();
    for read_committed in [false, true] {
        let wanted: Vec<&Place> = places.iter().copied().filter(|p| p.read_committed == read_committed).collect();
        for chunk in wanted.chunks(TOGETHER) {
            let mut open: Vec<(&Place, i64)> = chunk.iter().map(|place| (*place, place.offset)).collect();
            for attempt in 0..TRIES {
                if open.is_empty() {
                    break;
                }
                open = match attempt {
                    0 => round(broker, &open, SHARE_BYTES, names, &mut found),
                    // What did not fit together: one by one.
                    _ => open.iter().flat_map(|one| round(broker, &[*one], ALONE_BYTES, names, &mut found)).collect(),
                };
            }
            for (place, _) in open {
                found.insert(place.clone(), Err(Unknown::NotYet));
            }
        }
    }
    found
}

/// Fetches once; gives back what is still open, with the offset to go on at.
fn round<'a>(
    broker: &mut Broker,
    wanted: &[(&'a Place, i64)],
    bytes: i32,
    names: &Names,
    found: &mut Found,
) -> Vec<(&'a Place, i64)> {
    let answer = match broker.call(&request(wanted, bytes), FETCH) {
        Ok(answer) => answer,
        Err(error) => {
            tracing::info!(%error, "records could not be looked at");
            found.extend(wanted.iter().map(|(place, _)| ((*place).clone(), Err(Unknown::Unreachable))));
            return Vec::new();
        }
    };
    // Several groups may stand at different offsets of one partition: a request has room for one of them each.
    let mut parts: HashMap<Spot, Part> = HashMap::new();
    for topic in answer.responses {
        let name = names.get(&topic.topic.0);
        for data in topic.partitions {
            parts.insert((name.clone(), data.partition_index), Part::from(data));
        }
    }
    let mut open = Vec::new();
    let mut scratch = Scratch::new(LARGEST_BATCH);
    for &(place, offset) in wanted {
        // A second offset of the same partition finds nothing here and is asked for again.
        let Some(part) = parts.remove(&place.spot) else {
            open.push((place, offset));
            continue;
        };
        if let Err(error) = part.outcome {
            found.insert(place.clone(), Err(unknown(error)));
            continue;
        }
        match look(&part, offset, place.read_committed, &mut scratch) {
            Look::Found(next) => _ = found.insert(place.clone(), Ok(next)),
            Look::GoOnAt(offset) => open.push((place, offset)),
            Look::Damaged => _ = found.insert(place.clone(), Err(Unknown::Broker(2))),
        }
    }
    open
}

fn request(wanted: &[(&Place, i64)], bytes: i32) -> FetchRequest {
    let mut topics: Vec<(Arc<str>, FetchTopic)> = Vec::new();
    let mut seen: HashMap<&Spot, ()> = HashMap::new();
    for (place, offset) in wanted {
        if seen.insert(&place.spot, ()).is_some() {
            continue;
        }
        let partition = FetchPartition::default()
            .with_partition(place.spot.1)
            .with_fetch_offset(*offset)
            .with_partition_max_bytes(bytes);
        match topics.iter_mut().find(|(name, _)| *name == place.spot.0) {
            Some((_, topic)) => topic.partitions.push(partition),
            None => {
                let topic =
                    FetchTopic::default().with_topic(topic_name(&place.spot.0)).with_partitions(vec![partition]);
                topics.push((place.spot.0.clone(), topic));
            }
        }
    }
    FetchRequest::default()
        .with_max_wait_ms(0)
        .with_min_bytes(0)
        .with_max_bytes(bytes.saturating_mul(TOGETHER as i32))
        .with_isolation_level(i8::from(wanted.first().is_some_and(|(place, _)| place.read_committed)))
        .with_topics(topics.into_iter().map(|(_, topic)| topic).collect())
}

enum Look {
    Found(Next),
    GoOnAt(i64),
    Damaged,
}

/// The first record at or above `offset` that a consumer would be given.
fn look(part: &Part, offset: i64, read_committed: bool, scratch: &mut Scratch) -> Look {
    let end = if read_committed { part.marks.last_stable } else { part.marks.high };
    let mut aborted = Aborted::new(if read_committed { part.aborted.clone() } else { Vec::new() });
    let mut first: Option<i64> = None;
    let mut records = 0;
    let mut position = offset;
    for batch in Batches::new(&part.records) {
        let Ok(batch) = batch else { break };
        if !batch.is_crc_valid() {
            return Look::Damaged;
        }
        let header = batch.header;
        let Ok(mut walk) = batch.records(scratch) else { return Look::Damaged };
        let kind =
            if header.is_control() { walk.next().and_then(Result::ok).and_then(|r| Marker::of(&r)) } else { None };
        if !aborted.is_aborted(&header, kind) && !header.is_control() {
            for record in walk {
                let Ok(record) = record else { return Look::Damaged };
                if record.offset >= offset {
                    first.get_or_insert(record.timestamp);
                    records += 1;
                }
            }
        }
        position = position.max(header.until());
    }
    let is_whole = position >= end;
    match first {
        Some(at_ms) => Look::Found(Next { at_ms: Some(at_ms), records: is_whole.then_some(records) }),
        None if is_whole => Look::Found(Next { at_ms: None, records: Some(0) }),
        None => Look::GoOnAt(position),
    }
}
