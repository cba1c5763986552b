//! The whole raw source against a cluster in this process.

mod choosing;
mod logs;
mod reading;
mod trouble;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::fake_broker::*;
use super::*;
use crate::audit::coverage::Isolation;
use crate::source::testing::{RecordingSink, Seen};
use crate::source::{Damage, Sink};
use crate::wire::{BatchHeader, Marker};

fn selection(topics: &[&str]) -> Selection {
    Selection {
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        partitions: Vec::new(),
        start: Start::Beginning,
        isolation: Isolation::ReadCommitted,
        follow: false,
    }
}

fn connect(cluster: &FakeCluster, selection: Selection) -> KafkaSource {
    connect_with(cluster, selection, &[])
}

fn connect_with(cluster: &FakeCluster, selection: Selection, settings: &[(&str, &str)]) -> KafkaSource {
    let mut properties: Properties = [("bootstrap.servers".to_owned(), cluster.address())].into();
    properties.extend(settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
    KafkaSource::connect(&properties, selection).unwrap()
}

/// Runs all readers, one after the other, as `change` leaves the assignments.
fn run_from(mut source: KafkaSource, change: impl Fn(&mut Assignment), mut sink: RecordingSink) -> RecordingSink {
    let partitions = source.partitions().unwrap();
    let mut assignments = sink.assign(partitions);
    assignments.iter_mut().for_each(change);
    for mut reader in Box::new(source).readers(assignments).unwrap() {
        reader.run(&mut sink).unwrap();
    }
    sink
}

fn run(source: KafkaSource) -> RecordingSink {
    run_from(source, |_| (), RecordingSink::default())
}

fn read(cluster: &FakeCluster, topic: &str) -> RecordingSink {
    run(connect(cluster, selection(&[topic])))
}

fn offsets(sink: &RecordingSink, topic: &str, partition: i32) -> Vec<i64> {
    sink.records(topic, partition).iter().map(|record| record.offset).collect()
}

fn without_marks(sink: &RecordingSink, topic: &str) -> Vec<Seen> {
    let is_mark = |seen: &Seen| matches!(seen, Seen::Watermarks { .. });
    sink.events(topic, 0).into_iter().filter(|seen| !is_mark(seen)).collect()
}

struct PartitionDataOf(i16);

impl From<PartitionDataOf> for kafka_protocol::messages::fetch_response::PartitionData {
    fn from(of: PartitionDataOf) -> Self {
        Self::default().with_error_code(of.0).with_high_watermark(-1)
    }
}
