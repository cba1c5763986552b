//! The world that is measured: topics with records, and groups that have committed somewhere in them. Groups commit as
//! tools do, without members (generation −1), so that none has to be kept alive.

use std::collections::VecDeque;
use std::io::{Error, Result};
use std::thread;
use std::time::Duration;

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::{
    ApiKey, CreateTopicsRequest, CreateTopicsResponse, FindCoordinatorRequest, FindCoordinatorResponse, GroupId,
    MetadataRequest, MetadataResponse, OffsetCommitRequest, OffsetCommitResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use sordini_lab::{Kafka, Record};

use crate::wire::Connection;

const CREATE_TOPICS: i16 = 5;
const METADATA: i16 = 8;
const FIND_COORDINATOR: i16 = 4;
const OFFSET_COMMIT: i16 = 8;
/// Requests on their way over one connection, and connections.
const WINDOW: usize = 32;
const CONNECTIONS: u32 = 4;
/// The coordinator is loading, is unknown, is another: it becomes this one in a moment.
const NOT_YET: [i16; 3] = [14, 15, 16];

#[derive(Clone, Copy, Debug)]
pub struct World {
    pub topics: u32,
    pub partitions: u32,
    pub records_per_partition: u32,
    pub groups: u32,
    pub topics_per_group: u32,
}

impl World {
    pub fn topic_partitions(&self) -> u32 {
        self.topics * self.partitions
    }

    pub fn group_partitions(&self) -> u32 {
        self.groups * self.topics_per_group * self.partitions
    }

    /// Neighbours in number share no topics, so that no topic is anybody's favourite.
    fn topics_of(&self, group: u32) -> impl Iterator<Item = u32> {
        let Self { topics, topics_per_group, .. } = *self;
        (0..topics_per_group).map(move |i| (group * topics_per_group + i) % topics)
    }

    /// From nothing read to all read; the same in every run.
    fn committed(&self, group: u32, partition: u32) -> i64 {
        let spread = group.wrapping_mul(2_654_435_761).wrapping_add(partition.wrapping_mul(40_503)) >> 8;
        i64::from(spread % (self.records_per_partition + 1))
    }

    fn commit(&self, group: u32) -> OffsetCommitRequest {
        let partition = |p| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(p as i32)
                .with_committed_offset(self.committed(group, p))
                .with_committed_metadata(Some(StrBytes::default()))
        };
        let topic = |t| {
            OffsetCommitRequestTopic::default()
                .with_name(name(t))
                .with_partitions((0..self.partitions).map(partition).collect())
        };
        OffsetCommitRequest::default()
            .with_group_id(GroupId(StrBytes::from_string(format!("bench-group-{group:05}"))))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(self.topics_of(group).map(topic).collect())
    }

    pub fn make(&self, kafka: &Kafka) -> Result<()> {
        let broker = kafka.bootstrap();
        self.create_topics(&mut Connection::open(&broker)?)?;
        self.write_records(kafka);
        find_coordinator(&mut Connection::open(&broker)?)?;
        let lane = |lane: u32| {
            let broker = broker.as_str();
            move || self.commit_groups(broker, (lane..self.groups).step_by(CONNECTIONS as usize))
        };
        thread::scope(|scope| {
            let lanes: Vec<_> = (0..CONNECTIONS).map(|l| scope.spawn(lane(l))).collect();
            lanes.into_iter().try_for_each(|lane| lane.join().map_err(|_| Error::other("a lane panicked"))?)
        })
    }

    fn create_topics(&self, connection: &mut Connection) -> Result<()> {
        let topic = |t| {
            let partitions = self.partitions as i32;
            CreatableTopic::default().with_name(name(t)).with_num_partitions(partitions).with_replication_factor(1)
        };
        let request =
            CreateTopicsRequest::default().with_topics((0..self.topics).map(topic).collect()).with_timeout_ms(60_000);
        let answer: CreateTopicsResponse = connection.call(ApiKey::CreateTopics, CREATE_TOPICS, &request)?;
        answer.topics.iter().try_for_each(|topic| check("create topics", topic.error_code))?;
        let all = MetadataRequest::default().with_topics(None);
        for _ in 0..600 {
            let answer: MetadataResponse = connection.call(ApiKey::Metadata, METADATA, &all)?;
            let led = answer.topics.iter().flat_map(|topic| &topic.partitions).filter(|p| p.leader_id.0 >= 0);
            if led.count() >= self.topic_partitions() as usize {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(100));
        }
        Err(Error::other("the topics have no leaders"))
    }

    fn write_records(&self, kafka: &Kafka) {
        let producer = kafka.producer(&[("linger.ms", "50"), ("acks", "1")]);
        for t in 0..self.topics {
            let topic = name(t);
            for partition in 0..self.partitions {
                let record =
                    Record::new(topic.as_str(), partition as i32).value("a record of some length, as they are");
                (0..self.records_per_partition).for_each(|_| producer.send(&record));
            }
        }
        producer.flush();
    }

    fn commit_groups(&self, broker: &str, groups: impl Iterator<Item = u32>) -> Result<()> {
        let mut connection = Connection::open(broker)?;
        let mut open = VecDeque::new();
        let mut groups = groups.peekable();
        let mut again = Vec::new();
        while groups.peek().is_some() || !open.is_empty() || !again.is_empty() {
            while open.len() < WINDOW
                && let Some(group) = again.pop().or_else(|| groups.next())
            {
                connection.send(ApiKey::OffsetCommit, OFFSET_COMMIT, &self.commit(group))?;
                open.push_back(group);
            }
            let Some(group) = open.pop_front() else { break };
            let answer: OffsetCommitResponse = connection.receive(OFFSET_COMMIT)?;
            let codes = || answer.topics.iter().flat_map(|topic| &topic.partitions).map(|p| p.error_code);
            if codes().any(|code| NOT_YET.contains(&code)) {
                thread::sleep(Duration::from_millis(20));
                again.push(group);
            } else {
                codes().try_for_each(|code| check("offset commit", code))?;
            }
        }
        Ok(())
    }
}

/// The first question makes the broker create the topic of offsets.
fn find_coordinator(connection: &mut Connection) -> Result<()> {
    let keys = vec![StrBytes::from_static_str("bench-group-00000")];
    let request = FindCoordinatorRequest::default().with_coordinator_keys(keys);
    for _ in 0..600 {
        let answer: FindCoordinatorResponse = connection.call(ApiKey::FindCoordinator, FIND_COORDINATOR, &request)?;
        match answer.coordinators.first().map(|coordinator| coordinator.error_code) {
            Some(0) => return Ok(()),
            Some(code) if NOT_YET.contains(&code) => thread::sleep(Duration::from_millis(100)),
            code => check("find coordinator", code.unwrap_or(-1))?,
        }
    }
    Err(Error::other("no coordinator after a minute"))
}

fn name(topic: u32) -> TopicName {
    TopicName(StrBytes::from_string(format!("bench-{topic:04}")))
}

fn check(what: &str, code: i16) -> Result<()> {
    if code == 0 { Ok(()) } else { Err(Error::other(format!("{what}: broker's error code {code}"))) }
}
