//! Commits as `__consumer_offsets` tells them, beside what Kafka's own tool says.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::producer::{BaseProducer, Producer as _};
use rdkafka::{Message as _, Offset, TopicPartitionList};
use sordini::lag::commits::{Drained, Follower, Following, Generation, Removal};
use sordini::lag::window::Commit;
use sordini::source::Properties;
use sordini_lab::broker::{Listener, OTHER_USER};
use sordini_lab::{Client, Cluster, Kafka, Options, Record, java, shared, wait_for};

const LIMIT: Duration = Duration::from_secs(60);
const TOOL: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";

fn properties(bootstrap: String) -> Properties {
    Properties::from([("bootstrap.servers".to_owned(), bootstrap)])
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// All that was told since the beginning.
#[derive(Default)]
struct Told {
    commits: BTreeMap<(String, String, i32), Vec<Commit>>,
    removed: BTreeMap<(String, String, i32), Removal>,
    generations: BTreeMap<String, Vec<Generation>>,
    deleted: BTreeMap<String, Removal>,
}

impl Told {
    fn add(&mut self, drained: Drained) {
        for (group, news) in drained {
            self.generations.entry(group.to_string()).or_default().extend(news.generations);
            self.deleted.extend(news.deleted.map(|deleted| (group.to_string(), deleted)));
            for ((topic, partition), news) in news.spots {
                let key = (group.to_string(), topic.to_string(), partition);
                self.removed.extend(news.removed.map(|removed| (key.clone(), removed)));
                let commits = self.commits.entry(key).or_default();
                commits.extend(news.commits);
                assert!(commits.is_sorted_by(|a, b| a.order < b.order), "{commits:?}");
            }
        }
    }

    fn of(&self, group: &str, topic: &str) -> &[Commit] {
        self.commits.get(&(group.to_owned(), topic.to_owned(), 0)).map_or(&[], Vec::as_slice)
    }

    fn offsets(&self, group: &str, topic: &str) -> Vec<i64> {
        self.of(group, topic).iter().map(|commit| commit.offset).collect()
    }
}

struct Watcher {
    follower: Follower,
    told: Told,
}

impl Watcher {
    fn start(kafka: &Kafka) -> Self {
        Self::of(properties(kafka.bootstrap()))
    }

    fn of(properties: Properties) -> Self {
        Self { follower: Follower::start(properties, 100_000).unwrap(), told: Told::default() }
    }

    fn wait<T>(&mut self, what: &str, mut ask: impl FnMut(&Told, &Following) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            self.told.add(self.follower.drain());
            let standing = self.follower.standing();
            if let Some(answer) = ask(&self.told, &standing) {
                return answer;
            }
            assert!(began.elapsed() < LIMIT, "{what}: {standing:?} {:?}", self.told.commits);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn wait_for_offset(&mut self, group: &str, topic: &str, offset: i64) {
        self.wait(&format!("{group} commits {offset}"), |told, _| {
            (told.of(group, topic).last()?.offset == offset).then_some(())
        });
    }
}

fn consumer(kafka: &Client, group: &str, protocol: &str, topic: &str) -> BaseConsumer {
    let mut config = kafka.config();
    config.set("group.id", group).set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
    config.set("group.protocol", protocol);
    if protocol == "classic" {
        config.set("session.timeout.ms", "6000");
    }
    let consumer: BaseConsumer = config.create().unwrap();
    consumer.subscribe(&[topic]).unwrap();
    consumer
}

/// Polls until the record before `offset` came.
fn read_to(consumer: &BaseConsumer, offset: i64) {
    wait_for(&format!("a record at {}", offset - 1), LIMIT, || {
        let message = consumer.poll(Duration::from_millis(100))?.unwrap();
        (message.offset() == offset - 1).then_some(())
    });
}

fn commit(consumer: &BaseConsumer, topic: &str, offset: i64, metadata: &str) {
    let mut list = TopicPartitionList::new();
    let mut spot = list.add_partition(topic, 0);
    spot.set_offset(Offset::Offset(offset)).unwrap();
    spot.set_metadata(metadata);
    consumer.commit(&list, CommitMode::Sync).unwrap();
}

/// What Kafka's tool says is committed: the column CURRENT-OFFSET.
fn described(kafka: &Kafka, group: &str, topic: &str) -> Option<i64> {
    let text = java::run(TOOL, &["--bootstrap-server", &kafka.bootstrap(), "--describe", "--group", group]);
    let line = text.lines().find(|line| line.split_whitespace().nth(1) == Some(topic))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

fn tool(kafka: &Kafka, group: &str, args: &[&str]) {
    let bootstrap = kafka.bootstrap();
    // A classic group stays alive until its last member has left.
    wait_for("the tool is let", LIMIT, || {
        let said = java::try_run(TOOL, &[&["--bootstrap-server", &bootstrap, "--group", group], args].concat());
        said.ok().filter(|text| !text.contains("Error")).map(drop)
    });
}

fn topic(kafka: &Client, name: &str) {
    kafka.create_topic(name, 1, &[]);
    let records: Vec<_> = (0..50).map(|n| Record::new(name, 0).value(format!("{n}"))).collect();
    kafka.producer(&[]).send_all(&records);
}

/// A group of either protocol: commits with their times, members come and go, a tool resets, offsets and group are deleted.
fn life_of_a_group(protocol: &str) {
    let kafka = shared();
    let name = format!("life-{protocol}");
    topic(kafka, &name);
    let mut watcher = Watcher::start(kafka);
    let began = now_ms();
    let member = consumer(kafka, &name, protocol, &name);
    read_to(&member, 10);
    commit(&member, &name, 10, "");
    commit(&member, &name, 10, &"long ".repeat(100));
    commit(&member, &name, 7, "back");
    watcher.wait_for_offset(&name, &name, 7);
    assert_eq!(watcher.told.offsets(&name, &name), [10, 10, 7], "repetitions and rewinds included");
    for commit in watcher.told.of(&name, &name) {
        assert!(
            (began..=now_ms()).contains(&commit.timestamp_ms) && !commit.by_tool && commit.lag.is_none(),
            "{commit:?}"
        );
    }
    assert_eq!(described(kafka, &name, &name), Some(7));
    let has_members = |told: &Told| told.generations.get(&name)?.last()?.has_members;
    assert_eq!(has_members(&watcher.told), Some(true));

    drop(member);
    tool(kafka, &name, &["--topic", &name, "--reset-offsets", "--to-offset", "3", "--execute"]);
    watcher.wait_for_offset(&name, &name, 3);
    assert_eq!(has_members(&watcher.told), Some(false));
    assert!(watcher.told.of(&name, &name).last().unwrap().by_tool);
    assert_eq!(described(kafka, &name, &name), Some(3));

    tool(kafka, &name, &["--topic", &name, "--delete-offsets"]);
    let key = (name.clone(), name.clone(), 0);
    watcher.wait("the offsets are deleted", |told, _| told.removed.get(&key).copied());
    assert_eq!(described(kafka, &name, &name), None);

    let member = consumer(kafka, &name, protocol, &name);
    read_to(&member, 20);
    commit(&member, &name, 20, "");
    watcher.wait_for_offset(&name, &name, 20);
    assert!(!watcher.told.of(&name, &name).last().unwrap().by_tool);
    drop(member);
    tool(kafka, &name, &["--delete"]);
    watcher.wait("the group is deleted", |told, _| told.deleted.get(&name).copied());

    // Who comes later and begins at the log's start hears the same, as far as the log still tells it.
    let mut later = Watcher::start(kafka);
    later.wait("caught up", |_, standing| standing.caught_up.then_some(()));
    assert!(later.told.deleted.contains_key(&name));
    let standing = later.follower.standing();
    assert_eq!((standing.undecodable, standing.unread, standing.failed), (0, 0, None));
    let began = Instant::now();
    later.follower.stop();
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[test]
fn the_life_of_a_classic_group() {
    life_of_a_group("classic");
}

#[test]
fn the_life_of_a_kip_848_group() {
    life_of_a_group("consumer");
}

#[test]
fn commits_of_transactions_count_from_their_marker_on() {
    let kafka = shared();
    topic(kafka, "exactly-once");
    let mut watcher = Watcher::start(kafka);
    let member = consumer(kafka, "exactly-once", "classic", "exactly-once");
    read_to(&member, 50);
    let group = member.group_metadata().unwrap();
    let producer = |id: &str| {
        let mut config = kafka.config();
        config.set("transactional.id", id).set("transaction.timeout.ms", "600000");
        let producer: BaseProducer = config.create().unwrap();
        producer.init_transactions(LIMIT).unwrap();
        producer
    };
    let send = |producer: &BaseProducer, partition_topic: &str, offset: i64| {
        producer.begin_transaction().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(partition_topic, 0, Offset::Offset(offset)).unwrap();
        producer.send_offsets_to_transaction(&list, &group, LIMIT).unwrap();
    };
    let (hanging, other) = (producer("hanging"), producer("other"));
    send(&hanging, "exactly-once", 5);
    send(&other, "exactly-once", 11);
    other.abort_transaction(LIMIT).unwrap();
    send(&other, "exactly-once", 12);
    watcher.wait("both are held back", |_, standing| (standing.held_back == 2).then_some(()));
    assert_eq!(watcher.told.offsets("exactly-once", "exactly-once"), [] as [i64; 0]);
    other.commit_transaction(LIMIT).unwrap();
    watcher.wait_for_offset("exactly-once", "exactly-once", 12);
    send(&other, "exactly-once", 13);
    other.commit_transaction(LIMIT).unwrap();
    watcher.wait_for_offset("exactly-once", "exactly-once", 13);
    assert_eq!(described(kafka, "exactly-once", "exactly-once"), Some(13));
    hanging.commit_transaction(LIMIT).unwrap();
    commit(&member, "exactly-once", 14, "");
    watcher.wait_for_offset("exactly-once", "exactly-once", 14);
    assert_eq!(watcher.told.offsets("exactly-once", "exactly-once"), [12, 13, 14], "what hung was overtaken");
    assert_eq!(described(kafka, "exactly-once", "exactly-once"), Some(14));
}

#[test]
fn a_consumer_without_members_is_not_taken_for_a_tool() {
    let kafka = shared();
    topic(kafka, "simple");
    let mut watcher = Watcher::start(kafka);
    let mut config = kafka.config();
    let simple: BaseConsumer = config.set("group.id", "simple").set("enable.auto.commit", "false").create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("simple", 0, Offset::Offset(0)).unwrap();
    simple.assign(&list).unwrap();
    commit(&simple, "simple", 4, "");
    watcher.wait_for_offset("simple", "simple", 4);
    tool(kafka, "simple", &["--topic", "simple", "--reset-offsets", "--to-offset", "2", "--execute"]);
    watcher.wait_for_offset("simple", "simple", 2);
    assert!(watcher.told.of("simple", "simple").iter().all(|commit| !commit.by_tool));
}

#[test]
fn without_permission_or_topic_or_broker_it_says_so_and_goes_on_when_it_can() {
    let kafka = Kafka::start(Options { authorizer: true, ..Options::secure() });
    let mut allowed = Watcher::start(&kafka);
    let mut settings = Properties::from([
        ("bootstrap.servers".to_owned(), kafka.address(Listener::SaslPlaintext)),
        ("security.protocol".to_owned(), "SASL_PLAINTEXT".to_owned()),
        ("sasl.mechanism".to_owned(), "PLAIN".to_owned()),
        ("sasl.username".to_owned(), OTHER_USER.0.to_owned()),
        ("sasl.password".to_owned(), OTHER_USER.1.to_owned()),
    ]);
    let mut denied = Watcher::of(settings.clone());
    allowed.wait("no topic yet", |_, standing| (standing.absent && !standing.denied).then_some(()));
    denied.wait("denied", |_, standing| (standing.denied && standing.failed.is_some()).then_some(()));

    topic(&kafka, "t");
    let member = consumer(&kafka, "g", "classic", "t");
    read_to(&member, 10);
    commit(&member, "t", 10, "");
    allowed.wait_for_offset("g", "t", 10);
    allowed.wait("nothing is amiss", |_, standing| (standing.caught_up && standing.failed.is_none()).then_some(()));
    kafka.grant(OTHER_USER.0, &["DESCRIBE"], "__consumer_offsets");
    std::thread::sleep(Duration::from_secs(3));
    denied.wait("still denied", |_, standing| (standing.denied && !standing.caught_up).then_some(()));
    kafka.grant(OTHER_USER.0, &["READ"], "__consumer_offsets");
    denied.wait("let in", |_, standing| (standing.caught_up && !standing.denied).then_some(()));
    denied.wait_for_offset("g", "t", 10);

    settings.insert("bootstrap.servers".to_owned(), "127.0.0.1:1".to_owned());
    let mut alone = Watcher::of(settings.clone());
    alone.wait("no broker", |_, standing| {
        (standing.failed.is_some() && !standing.denied && !standing.absent).then_some(())
    });
    settings.insert("no.such.setting".to_owned(), "1".to_owned());
    assert!(Follower::start(settings, 100).is_err());
    let began = Instant::now();
    alone.follower.stop();
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[test]
fn when_the_broker_was_away_it_goes_on_where_it_was() {
    let mut cluster = Cluster::start(1, &Options::default());
    topic(&cluster, "t");
    let mut watcher = Watcher::of(properties(cluster.bootstrap()));
    let simple: BaseConsumer =
        cluster.config().set("group.id", "g").set("enable.auto.commit", "false").create().unwrap();
    commit(&simple, "t", 1, "");
    watcher.wait_for_offset("g", "t", 1);
    watcher.wait("caught up", |_, standing| standing.caught_up.then_some(()));
    cluster.kill(1);
    watcher.wait("nobody answers", |_, standing| (!standing.caught_up && standing.failed.is_some()).then_some(()));
    cluster.restart(1);
    commit(&simple, "t", 2, "");
    watcher.wait_for_offset("g", "t", 2);
    watcher.wait("caught up again", |_, standing| (standing.caught_up && standing.failed.is_none()).then_some(()));
    assert_eq!(watcher.told.offsets("g", "t"), [1, 2], "nothing twice");
}
