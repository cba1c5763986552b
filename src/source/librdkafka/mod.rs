//! Kafka through librdkafka: whatever it can authenticate with, and a second opinion on our own reader.
//!
//! It hides batches: no producer, no sequence, no CRC to look at, and control and aborted records are dropped inside it.
//! So holes in the offsets are unknown here, and `has_headers` says so.
//!
//! * `settings`: which settings are fixed for an audit
//! * `client`: connecting, with a deadline
//! * `reader`: messages to batches, end of partition, errors
//! * `batch_queue`: the one unsafe file

mod batch_queue;
mod client;
mod reader;
mod settings;

use std::collections::BTreeMap;
use std::sync::Arc;

use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::MetadataTopic;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use regex::Regex;

use super::{Assignment, Cleanup, PartitionInfo, Properties, Reader, Selection, Source, SourceError, Start};
use crate::audit::coverage::Isolation;
use batch_queue::BatchQueue;
use client::{Client, PATIENCE};
use reader::LibrdkafkaReader;

type Refusal = (String, Option<i32>, String);

pub struct LibrdkafkaSource {
    selection: Selection,
    /// Reads at the isolation asked for.
    consumer: Arc<Client>,
    /// Asks for marks at read_uncommitted: a committed reader is told the last stable offset instead of the end.
    observer: Client,
    refused: Vec<Refusal>,
}

impl LibrdkafkaSource {
    /// Connects, and fails when no broker answers in time.
    pub fn connect(properties: &Properties, selection: Selection) -> Result<Self, SourceError> {
        let consumer = client::create(&settings::client_config(properties, selection.isolation)?)?;
        let observer = client::create(&settings::client_config(properties, Isolation::ReadUncommitted)?)?;
        let named = selection.topics.iter().find(|topic| !topic.starts_with('^'));
        client::metadata(&observer, named.map(String::as_str), PATIENCE)?;
        Ok(Self { selection, consumer: Arc::new(consumer), observer, refused: Vec::new() })
    }

    fn refuse(&mut self, topic: &str, partition: Option<i32>, why: impl Into<String>) {
        self.refused.push((topic.to_owned(), partition, why.into()));
    }

    /// Names and the partitions to read of each, in order.
    fn topics(&mut self) -> Result<BTreeMap<String, Vec<i32>>, SourceError> {
        let mut found = BTreeMap::new();
        let (patterns, names): (Vec<_>, Vec<_>) =
            self.selection.topics.clone().into_iter().partition(|t| t.starts_with('^'));
        if !patterns.is_empty() {
            let patterns = patterns.iter().map(|pattern| compile(pattern)).collect::<Result<Vec<_>, _>>()?;
            let all = client::metadata(&self.observer, None, PATIENCE)?;
            // Internal topics hold the cluster's own state: they are read only when named.
            let matching = all.topics().iter().filter(|topic| {
                !topic.name().starts_with("__") && patterns.iter().any(|pattern| pattern.is_match(topic.name()))
            });
            for topic in matching {
                self.take_topic(topic, &mut found);
            }
        }
        for name in names {
            let answer = client::metadata(&self.observer, Some(&name), PATIENCE)?;
            for topic in answer.topics() {
                self.take_topic(topic, &mut found);
            }
        }
        Ok(found)
    }

    fn take_topic(&mut self, topic: &MetadataTopic, found: &mut BTreeMap<String, Vec<i32>>) {
        let name = topic.name();
        if let Some(error) = topic.error() {
            let why = match error {
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART => {
                    "no such topic; check its name, or that this user may DESCRIBE it".to_owned()
                }
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED => {
                    "not authorized; this user needs DESCRIBE and READ on the topic".to_owned()
                }
                error => format!("{}; try again later", RDKafkaErrorCode::from(error)),
            };
            return self.refuse(name, None, why);
        }
        let asked = self.selection.partitions.clone();
        let there: Vec<i32> = topic.partitions().iter().map(|partition| partition.id()).collect();
        for missing in asked.iter().filter(|partition| !there.contains(partition)) {
            let why = format!("no such partition; the topic has {}", there.len());
            self.refuse(name, Some(*missing), why);
        }
        let wanted = there.into_iter().filter(|partition| asked.is_empty() || asked.contains(partition));
        found.insert(name.to_owned(), wanted.collect());
    }

    fn partition(&mut self, topic: &Arc<str>, partition: i32, at_time: Option<i64>) -> Option<PartitionInfo> {
        let (log_start, high) = match self.observer.fetch_watermarks(topic, partition, PATIENCE) {
            Ok(marks) => marks,
            Err(error) => {
                let why = format!("its offsets could not be asked for: {error}; check that it has a leader");
                self.refuse(topic, Some(partition), why);
                return None;
            }
        };
        let from = match self.selection.start {
            Start::Beginning => log_start,
            Start::End => high,
            // One offset for all partitions: a shorter one has nothing there yet.
            Start::Offset(offset) => offset.min(high),
            Start::Tail(records) => high.saturating_sub(records).clamp(log_start, high),
            Start::Timestamp(_) => at_time.unwrap_or(high),
        };
        Some(PartitionInfo {
            topic: Arc::clone(topic),
            topic_id: None,
            partition,
            cleanup: Cleanup::Unknown,
            has_headers: false,
            from,
            until: (!self.selection.follow).then_some(high),
            log_start,
        })
    }

    /// First offset at or after the start time, where one is asked for and there is such a record.
    fn offsets_at_time(
        &self,
        topics: &BTreeMap<String, Vec<i32>>,
    ) -> Result<BTreeMap<(String, i32), i64>, SourceError> {
        let Start::Timestamp(time) = self.selection.start else { return Ok(BTreeMap::new()) };
        let failed = |error| SourceError::Protocol {
            what: format!("cannot find the offsets at time {time}"),
            why: format!("{error}; name an offset instead"),
        };
        let mut list = TopicPartitionList::new();
        for (topic, partitions) in topics {
            for &partition in partitions {
                list.add_partition_offset(topic, partition, Offset::Offset(time)).map_err(failed)?;
            }
        }
        let found = self.observer.offsets_for_times(list, PATIENCE).map_err(failed)?;
        let elements = found.elements().into_iter().filter_map(|element| match element.offset() {
            Offset::Offset(offset) => Some(((element.topic().to_owned(), element.partition()), offset)),
            _ => None,
        });
        Ok(elements.collect())
    }
}

fn compile(pattern: &str) -> Result<Regex, SourceError> {
    Regex::new(pattern).map_err(|error| SourceError::Setting { name: "topic".to_owned(), why: error.to_string() })
}

impl Source for LibrdkafkaSource {
    fn partitions(&mut self) -> Result<Vec<PartitionInfo>, SourceError> {
        self.refused.clear();
        let topics = self.topics()?;
        let times = self.offsets_at_time(&topics)?;
        let mut partitions = Vec::new();
        for (topic, numbers) in topics {
            let name = Arc::from(topic.as_str());
            for number in numbers {
                let at_time = times.get(&(topic.clone(), number)).copied();
                partitions.extend(self.partition(&name, number, at_time));
            }
        }
        if partitions.is_empty() {
            return Err(SourceError::NotFound(match self.refused.first() {
                Some((topic, _, why)) => format!("nothing to read: topic {topic}: {why}"),
                None => format!("nothing to read: no topic matches {}", self.selection.topics.join(", ")),
            }));
        }
        Ok(partitions)
    }

    fn refused(&self) -> Vec<Refusal> {
        self.refused.clone()
    }

    /// One reader for all: one client already reads from every broker on a thread of its own.
    fn readers(self: Box<Self>, assignments: Vec<Assignment>) -> Result<Vec<Box<dyn Reader>>, SourceError> {
        let queue = BatchQueue::new(self.consumer).ok_or_else(|| SourceError::Protocol {
            what: "librdkafka".to_owned(),
            why: "the consumer has no queue".to_owned(),
        })?;
        let follow = self.selection.follow;
        Ok(vec![Box::new(LibrdkafkaReader::new(queue, self.observer, assignments, self.selection.isolation, follow))])
    }
}

#[cfg(test)]
mod tests;
