//! Where the logs begin and end: log start, last stable offset and high watermark of many partitions at once, from each
//! partition's leader.

use std::collections::HashMap;
use std::sync::Arc;

use super::brokers::Broker;
use super::names::Names;
use super::unknown;
use crate::lag::facts::{PartitionFacts, Spot};
use crate::lag::figure::{Figure, Unknown};
use crate::source::kafka::ErrorCode;
use crate::source::kafka::cluster::{EARLIEST, LATEST, LIST_OFFSETS, list_offsets_request};

/// With READ_COMMITTED the latest offset is the last stable one.
const READ_UNCOMMITTED: i8 = 0;
const READ_COMMITTED: i8 = 1;

/// The partitions one broker leads, by topic.
pub type Led = HashMap<Arc<str>, Vec<i32>>;

/// Asks one leader for everything about its partitions.
pub fn ask(broker: &mut Broker, led: &Led, names: &Names) -> HashMap<Spot, PartitionFacts> {
    let count = led.values().map(Vec::len).sum();
    let mut found: HashMap<Spot, PartitionFacts> = HashMap::with_capacity(count);
    for (topic, partitions) in led {
        for &partition in partitions {
            found.insert((topic.clone(), partition), PartitionFacts::unknown(Unknown::Unreachable));
        }
    }
    list(broker, led, EARLIEST, READ_UNCOMMITTED, names, &mut |spot, offset| {
        if let Some(facts) = found.get_mut(&spot) {
            facts.log_start = offset;
        }
    });
    // The end after the last stable offset, so that it never lies below it.
    list(broker, led, LATEST, READ_COMMITTED, names, &mut |spot, offset| {
        if let Some(facts) = found.get_mut(&spot) {
            facts.stable_end = offset;
        }
    });
    list(broker, led, LATEST, READ_UNCOMMITTED, names, &mut |spot, offset| {
        if let Some(facts) = found.get_mut(&spot) {
            facts.end = offset;
        }
    });
    found
}

fn list(
    broker: &mut Broker,
    led: &Led,
    timestamp: i64,
    isolation: i8,
    names: &Names,
    tell: &mut dyn FnMut(Spot, Figure),
) {
    let request = list_offsets_request(led, timestamp, isolation);
    match broker.call(&request, LIST_OFFSETS) {
        Ok(answer) => {
            for topic in answer.topics {
                let name = names.get(&topic.name.0);
                for partition in topic.partitions {
                    let offset = match ErrorCode::from_code(partition.error_code) {
                        Some(error) => Err(unknown(error)),
                        None if partition.offset < 0 => Err(Unknown::TooOld),
                        None => Ok(partition.offset),
                    };
                    tell((name.clone(), partition.partition_index), offset);
                }
            }
        }
        Err(error) => tracing::info!(%error, "asking a leader for its offsets failed"),
    }
}
