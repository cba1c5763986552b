//! Consumer groups of every kind, and transactions.

use std::time::Duration;

use sordini_lab::broker::{Listener, OTHER_USER};
use sordini_lab::consumer::KIP_848;
use sordini_lab::{Kafka, Options, Record, java, shared, wait_for};

use crate::{LIMIT, PLAIN};

fn numbered(topic: &str, partition: i32, count: usize) -> Vec<Record> {
    (0..count).map(|i| Record::new(topic, partition).value(i.to_string())).collect()
}

#[test]
fn members_of_groups_of_both_kinds_read_commit_and_leave() {
    let kafka = shared();
    kafka.create_topic("joined", 2, &[]);
    kafka.producer(&[]).send_all(&[numbered("joined", 0, 10), numbered("joined", 1, 10)].concat());
    for (group, kind, settings) in [("old-kind", "Classic", &[][..]), ("new-kind", "Consumer", KIP_848)] {
        let consumer = kafka.consumer(group, &["joined"], settings);
        assert_eq!(consumer.assignment().len(), 2, "{group}");
        let read = consumer.read(20);
        assert_eq!(read.len(), 20, "{group}");
        consumer.commit();
        assert_eq!(kafka.committed(group, "joined", 1), Some(10), "{group}");
        consumer.commit_at("joined", 0, 3);
        assert_eq!(kafka.committed(group, "joined", 0), Some(3), "{group}");
        let listed = groups(kafka);
        assert!(listed.iter().any(|line| line.starts_with(group) && line.contains(kind)), "{listed:?}");
        consumer.leave();
        kafka.reset_offsets(group, "joined", &["--to-earliest"]);
        assert_eq!(kafka.committed(group, "joined", 1), Some(0), "{group}");
        kafka.delete_group(group);
        assert_eq!(kafka.committed(group, "joined", 1), None, "{group}");
    }
}

fn groups(kafka: &Kafka) -> Vec<String> {
    let args = ["--bootstrap-server", &kafka.bootstrap(), "--list"];
    java::run("org.apache.kafka.tools.GroupsCommand", &args).lines().map(str::to_owned).collect()
}

#[test]
fn a_worker_can_be_held_or_stuck_on_one_partition_and_stays_a_member() {
    let kafka = shared();
    kafka.create_topic("worked", 2, &[]);
    let producer = kafka.producer(&[]);
    producer.send_all(&[numbered("worked", 0, 5), numbered("worked", 1, 5)].concat());
    let worker = kafka.consumer("workers", &["worked"], &[]).work(Duration::from_millis(100));
    let reaches = |offsets: [i64; 2]| {
        wait_for(&format!("the worker commits {offsets:?}"), LIMIT, || {
            let committed = [0, 1].map(|partition| kafka.committed("workers", "worked", partition));
            (committed == offsets.map(Some)).then_some(())
        });
    };
    reaches([5, 5]);
    worker.pause("worked", 0);
    producer.send_all(&[numbered("worked", 0, 5), numbered("worked", 1, 5)].concat());
    reaches([5, 10]);
    assert_eq!((worker.records(), worker.assignment().len()), (15, 2));
    worker.resume("worked", 0);
    reaches([10, 10]);
    worker.hold();
    std::thread::sleep(Duration::from_millis(200));
    producer.send_all(&numbered("worked", 1, 5));
    std::thread::sleep(Duration::from_millis(500));
    reaches([10, 10]);
    worker.go_on();
    reaches([10, 15]);
    // Whoever joins beside it gets one of the two partitions, for the worker takes part in the rebalance.
    let other = kafka.consumer("workers", &["worked"], &[]);
    wait_for("the two share", LIMIT, || (worker.assignment().len() == 1).then_some(()));
    assert_eq!(other.assignment().len(), 1);
}

#[test]
fn a_transaction_can_be_left_open_and_ended() {
    let kafka = shared();
    kafka.create_topic("hanging", 1, &[]);
    kafka.producer(&[]).send_all(&numbered("hanging", 0, 3));
    kafka.hang_transaction("lab-hangs", &numbered("hanging", 0, 4), Duration::from_secs(600));
    assert_eq!((kafka.stable_end("hanging", 0), kafka.watermarks("hanging", 0)), (3, (0, 7)));
    kafka.end_transaction("lab-hangs");
    wait_for("the transaction is aborted", LIMIT, || (kafka.stable_end("hanging", 0) == 8).then_some(()));
}

#[test]
fn a_tool_commits_for_a_group_and_a_topic_is_made_anew_under_it() {
    let kafka = shared();
    kafka.create_topic("renewed", 1, &[]);
    kafka.producer(&[]).send_all(&numbered("renewed", 0, 4));
    kafka.commit_offsets("tool-only", &[("renewed", 0, 4)]);
    kafka.recreate_topic("renewed", 1, &[]);
    assert_eq!(kafka.watermarks("renewed", 0), (0, 0));
}

#[test]
fn a_share_group_reads_and_is_listed() {
    let kafka = shared();
    kafka.create_topic("shared-out", 1, &[]);
    kafka.producer(&[]).send_all(&numbered("shared-out", 0, 5));
    kafka.share_from_the_start("sharers");
    let read = kafka.share("sharers", "shared-out", 3);
    assert_eq!(read.lines().collect::<Vec<_>>(), ["0", "1", "2"]);
    let listed = groups(kafka);
    assert!(listed.iter().any(|line| line.starts_with("sharers") && line.contains("Share")), "{listed:?}");
}

#[test]
fn a_denied_user_is_refused_the_offsets_of_one_group() {
    let kafka = Kafka::start(Options { authorizer: true, ..Options::secure() });
    kafka.create_topic("watched", 1, &[]);
    for group in ["seen", "unseen"] {
        kafka.commit_offsets(group, &[("watched", 0, 0)]);
    }
    kafka.grant(OTHER_USER.0, &["Describe"], "watched");
    kafka.grant_cluster(OTHER_USER.0, &["Describe"]);
    kafka.grant_group(OTHER_USER.0, &["Describe"], "*");
    kafka.deny_group(OTHER_USER.0, &["Describe"], "unseen");
    let jaas = format!("{PLAIN} username=\"{}\" password=\"{}\";", OTHER_USER.0, OTHER_USER.1);
    let properties =
        [("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", "PLAIN"), ("sasl.jaas.config", jaas.as_str())];
    let file = kafka.client_properties("bob", &properties).display().to_string();
    let describe = |group: &str| {
        let server = kafka.address(Listener::SaslPlaintext);
        let args = ["--bootstrap-server", &server, "--command-config", &file, "--describe", "--group", group];
        java::try_run("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", &args)
    };
    let seen = describe("seen");
    assert!(seen.as_ref().is_ok_and(|text| text.contains("watched")), "{seen:?}");
    let unseen = describe("unseen");
    let text = unseen.as_ref().map_or_else(String::as_str, String::as_str);
    assert!(text.contains("GroupAuthorizationException") && !text.contains("watched"), "{unseen:?}");
}
