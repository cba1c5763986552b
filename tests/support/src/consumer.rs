//! Members of consumer groups, well and ill, and what people do to groups with tools.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::message::{Message as _, OwnedMessage};
use rdkafka::{Offset, TopicPartitionList};

use crate::client::{Client, LIMIT, admin_options, block_on};
use crate::{Record, java, wait_for};

/// Settings of a member of a group of the new kind, KIP-848.
pub const KIP_848: &[(&str, &str)] = &[("group.protocol", "consumer")];

/// A member of a group. It commits only when told to and leaves on drop. librdkafka sends its heartbeats, but takes part
/// in rebalances only while it is read: a member that is to live beside others is a [`Worker`].
pub struct Consumer {
    inner: BaseConsumer,
}

impl Consumer {
    /// The next `count` records.
    pub fn read(&self, count: usize) -> Vec<OwnedMessage> {
        let deadline = Instant::now() + LIMIT;
        let mut records = Vec::with_capacity(count);
        while records.len() < count {
            assert!(Instant::now() < deadline, "{} of {count} records after {LIMIT:?}", records.len());
            records.extend(self.poll(Duration::from_millis(200)));
        }
        records
    }

    /// Records that come within that time, at most so many.
    pub fn up_to(&self, count: usize, limit: Duration) -> Vec<OwnedMessage> {
        let deadline = Instant::now() + limit;
        let mut records = Vec::new();
        while records.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            records.extend(self.poll(left));
            if left.is_zero() {
                break;
            }
        }
        records
    }

    fn poll(&self, limit: Duration) -> Option<OwnedMessage> {
        let message = self.inner.poll(limit)?;
        message.ok().map(|message| message.detach())
    }

    /// Where it stands in each partition it owns and has read from.
    pub fn position(&self) -> Vec<(String, i32, i64)> {
        let list = self.inner.position().expect("a consumer knows its position");
        let known = list.elements().into_iter().filter_map(|e| match e.offset() {
            Offset::Offset(offset) => Some((e.topic().to_owned(), e.partition(), offset)),
            _ => None,
        });
        known.collect()
    }

    /// Its position in all its partitions, also where it has not moved, as Java's `commitSync()` does.
    pub fn commit(&self) {
        self.try_commit().unwrap_or_else(|error| panic!("not committed: {error}"));
    }

    fn try_commit(&self) -> Result<(), rdkafka::error::KafkaError> {
        let list = offsets(&self.position());
        if list.count() == 0 { Ok(()) } else { self.inner.commit(&list, CommitMode::Sync) }
    }

    /// Any offset, whatever was read.
    pub fn commit_at(&self, topic: &str, partition: i32, offset: i64) {
        let list = offsets(&[(topic.to_owned(), partition, offset)]);
        self.inner.commit(&list, CommitMode::Sync).unwrap_or_else(|error| panic!("not committed: {error}"));
    }

    /// Goes on reading there, as a consumer that is told to read again.
    pub fn seek(&self, topic: &str, partition: i32, offset: i64) {
        self.inner.seek(topic, partition, Offset::Offset(offset), LIMIT).expect("the partition is assigned");
    }

    /// Reads nothing more from the partition and keeps it, until it resumes or the group rebalances.
    pub fn pause(&self, topic: &str, partition: i32) {
        self.inner.pause(&one(topic, partition)).expect("the partition is assigned");
    }

    pub fn resume(&self, topic: &str, partition: i32) {
        self.inner.resume(&one(topic, partition)).expect("the partition is assigned");
    }

    /// The partitions that are its own.
    pub fn assignment(&self) -> Vec<(String, i32)> {
        let list = self.inner.assignment().expect("a consumer knows its assignment");
        list.elements().iter().map(|e| (e.topic().to_owned(), e.partition())).collect()
    }

    /// Goes on reading on a thread of its own, and commits once in `cadence` what it has read.
    pub fn work(self, cadence: Duration) -> Worker {
        let work = Arc::new(Work {
            consumer: self,
            holds: AtomicBool::new(false),
            stops: AtomicBool::new(false),
            records: AtomicU64::new(0),
        });
        let theirs = Arc::clone(&work);
        Worker { work, thread: Some(thread::spawn(move || theirs.run(cadence))) }
    }

    /// Leaves the group; so does dropping it.
    pub fn leave(self) {
        drop(self);
    }
}

struct Work {
    consumer: Consumer,
    holds: AtomicBool,
    stops: AtomicBool,
    records: AtomicU64,
}

impl Work {
    fn run(&self, cadence: Duration) {
        let mut due = Instant::now() + cadence;
        let mut reads = true;
        while !self.stops.load(Ordering::Acquire) {
            let holds = self.holds.load(Ordering::Acquire);
            if holds == reads {
                let all = self.consumer.inner.assignment().expect("a consumer knows its assignment");
                let told = if holds { self.consumer.inner.pause(&all) } else { self.consumer.inner.resume(&all) };
                told.expect("the partitions are assigned");
                reads = !holds;
            }
            if self.consumer.poll(Duration::from_millis(20)).is_some() {
                self.records.fetch_add(1, Ordering::Relaxed);
            }
            if reads && Instant::now() >= due {
                due = Instant::now() + cadence;
                // A rebalance under way, a coordinator that is down: the next time will do.
                drop(self.consumer.try_commit());
            }
        }
    }
}

/// A member at work: it reads and commits until it is dropped, and then leaves. [`Consumer`]'s methods may be called
/// beside it, but for those that read.
pub struct Worker {
    work: Arc<Work>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Stays a member, and neither reads nor commits.
    pub fn hold(&self) {
        self.work.holds.store(true, Ordering::Release);
    }

    pub fn go_on(&self) {
        self.work.holds.store(false, Ordering::Release);
    }

    /// How many it has read.
    pub fn records(&self) -> u64 {
        self.work.records.load(Ordering::Relaxed)
    }

    pub fn leave(self) {
        drop(self);
    }
}

impl Deref for Worker {
    type Target = Consumer;

    fn deref(&self) -> &Consumer {
        &self.work.consumer
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.work.stops.store(true, Ordering::Release);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(ended, Some(Ok(()))), "a worker panicked");
    }
}

/// A consumer that assigns its partition itself: its group never has a member.
pub struct Simple {
    inner: BaseConsumer,
    topic: String,
    partition: i32,
}

impl Simple {
    /// Commits the partition's end.
    pub fn commit(&self) {
        let (topic, partition) = (&self.topic, self.partition);
        let (_, end) = self.inner.fetch_watermarks(topic, partition, LIMIT).expect("the broker knows its watermarks");
        let list = offsets(&[(topic.clone(), partition, end)]);
        self.inner.commit(&list, CommitMode::Sync).expect("the group has no member");
    }
}

fn offsets(offsets: &[(String, i32, i64)]) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (topic, partition, offset) in offsets {
        list.add_partition_offset(topic, *partition, Offset::Offset(*offset)).expect("the offset is valid");
    }
    list
}

fn one(topic: &str, partition: i32) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, partition);
    list
}

/// What is done to groups.
impl Client {
    /// Joins `group` and waits until partitions are its own. Starts at the log's start where nothing is committed.
    /// `settings` are librdkafka's: [`KIP_848`], `group.instance.id`, `isolation.level` …
    pub fn consumer(&self, group: &str, topics: &[&str], settings: &[(&str, &str)]) -> Consumer {
        let defaults = [("group.id", group), ("auto.offset.reset", "earliest"), ("max.poll.interval.ms", "3600000")];
        let settings: Vec<_> = defaults.into_iter().chain(settings.iter().copied()).collect();
        let inner = self.reader(&settings);
        inner.subscribe(topics).expect("the topics' names are valid");
        let joined = Consumer { inner };
        wait_for(&format!("a member of {group} is given partitions"), LIMIT, || {
            // Nothing is lost: what a poll takes before the answer is known is read again.
            if let Some(record) = joined.poll(Duration::from_millis(20)) {
                joined.seek(record.topic(), record.partition(), record.offset());
            }
            (!joined.assignment().is_empty()).then_some(())
        });
        joined
    }

    /// As a tool without membership: the group must have no members.
    pub fn commit_offsets(&self, group: &str, committed: &[(&str, i32, i64)]) {
        let committed: Vec<_> = committed.iter().map(|&(topic, p, offset)| (topic.to_owned(), p, offset)).collect();
        let list = offsets(&committed);
        let consumer = self.reader(&[("group.id", group)]);
        consumer.assign(&list).expect("the partitions can be assigned");
        consumer.commit(&list, CommitMode::Sync).unwrap_or_else(|error| panic!("{group}: {error}"));
    }

    /// The same for as long as it lives, by one connection.
    pub fn simple(&self, group: &str, topic: &str, partition: i32) -> Simple {
        let inner = self.reader(&[("group.id", group)]);
        inner.assign(&offsets(&[(topic.to_owned(), partition, 0)])).expect("the partition can be assigned");
        Simple { inner, topic: topic.to_owned(), partition }
    }

    pub fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        let asked = self.reader(&[("group.id", group)]).committed_offsets(one(topic, partition), LIMIT);
        match asked.expect("the coordinator answers").elements().first()?.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    }

    /// By Kafka's tool: `to` is `["--to-latest"]`, `["--to-offset", "5"]`, `["--shift-by", "-10"]` … The group must have
    /// no members.
    pub fn reset_offsets(&self, group: &str, topic: &str, to: &[&str]) {
        let mut args = vec!["--bootstrap-server", self.bootstrap(), "--group", group, "--topic", topic];
        args.extend(["--reset-offsets", "--execute"]);
        args.extend(to);
        java::run("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", &args);
    }

    /// The group must have no members.
    pub fn delete_group(&self, group: &str) {
        let gone = block_on(self.admin().delete_groups(&[group], &admin_options())).expect("the broker answers");
        assert!(gone.iter().all(Result::is_ok), "group {group}: {gone:?}");
    }

    /// Reads `count` records in a share group by Kafka's console consumer, then leaves it. Of what the topic held before
    /// the group's first member it reads nothing: see [`Self::share_from_the_start`].
    pub fn share(&self, group: &str, topic: &str, count: usize) -> String {
        let count = count.to_string();
        let args = ["--bootstrap-server", self.bootstrap(), "--topic", topic, "--group", group];
        let args = [&args[..], &["--max-messages", &count, "--timeout-ms", "60000"]].concat();
        java::run("org.apache.kafka.tools.consumer.ConsoleShareConsumer", &args)
    }

    /// Lets a share group begin at the log's start.
    pub fn share_from_the_start(&self, group: &str) {
        let args = ["--bootstrap-server", self.bootstrap(), "--alter", "--entity-type", "groups"];
        let args = [&args[..], &["--entity-name", group, "--add-config", "share.auto.offset.reset=earliest"]].concat();
        java::run("kafka.admin.ConfigCommand", &args);
    }

    /// Sends the records in a transaction and goes away without an end to it. It stays open until `timeout`, an hour at
    /// most, or [`Self::end_transaction`].
    pub fn hang_transaction(&self, transactional_id: &str, records: &[Record], timeout: Duration) {
        let timeout = timeout.as_millis().to_string();
        let settings = [("transactional.id", transactional_id), ("transaction.timeout.ms", &timeout)];
        let producer = self.producer(&settings);
        producer.begin();
        producer.send_all(records);
    }

    /// The broker aborts what the transactional id has left open.
    pub fn end_transaction(&self, transactional_id: &str) {
        drop(self.producer(&[("transactional.id", transactional_id)]));
    }

    /// Where a reader of committed records ends: the last stable offset.
    pub fn stable_end(&self, topic: &str, partition: i32) -> i64 {
        let reader = self.reader(&[("isolation.level", "read_committed")]);
        reader.fetch_watermarks(topic, partition, LIMIT).expect("the broker knows its watermarks").1
    }

    /// Deletes the topic and makes it anew: same name, another id.
    pub fn recreate_topic(&self, name: &str, partitions: i32, config: &[(&str, &str)]) {
        self.delete_topic(name);
        self.create_topic(name, partitions, config);
    }
}
