//! MirrorMaker 2 at work: under load there is no false alarm, and a fault put into its copy is found.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::Message as _;
use sordini_lab::client::COMPACTED;
use sordini_lab::connect::Connect;
use sordini_lab::{Kafka, Options, Record, shared, wait_for};

use crate::common::{Said, drift};

const PLAIN: &str = "maker-plain";
const STATE: &str = "maker-state";
const LIMIT: Duration = Duration::from_secs(60);

fn mirror_maker(source: &Kafka, target: &Kafka) -> Connect {
    let bytes = "org.apache.kafka.connect.converters.ByteArrayConverter";
    let properties = [
        ("connector.class", "org.apache.kafka.connect.mirror.MirrorSourceConnector"),
        ("source.cluster.alias", "east"),
        ("target.cluster.alias", "west"),
        ("source.cluster.bootstrap.servers", &source.bootstrap()),
        ("target.cluster.bootstrap.servers", &target.bootstrap()),
        ("topics", "maker-.*"),
        ("replication.policy.class", "org.apache.kafka.connect.mirror.IdentityReplicationPolicy"),
        ("replication.factor", "1"),
        ("offset-syncs.topic.replication.factor", "1"),
        ("sync.topic.configs.enabled", "false"),
        ("sync.topic.acls.enabled", "false"),
        ("consumer.isolation.level", "read_committed"),
        ("key.converter", bytes),
        ("value.converter", bytes),
        ("header.converter", bytes),
    ];
    Connect::start(target, "mirror", &properties)
}

/// Transactions with headers, every fourth aborted, and a state of few keys; until it is told to stop.
fn write(source: &Kafka, is_over: &AtomicBool) {
    let plain = source.producer(&[("transactional.id", "maker")]);
    let state = source.producer(&[]);
    let mut number = 0_u32;
    while !is_over.load(Ordering::Relaxed) {
        plain.begin();
        for of in 0..20 {
            let record = Record::new(PLAIN, of % 2).key(format!("key {}", number % 17)).value(format!("{number}/{of}"));
            plain.send(&record.header("trace", Some(number.to_string().as_bytes())).header("none", None));
        }
        plain.flush();
        if number % 4 == 3 {
            plain.abort()
        } else {
            plain.commit()
        }
        for of in 0..10 {
            let record = Record::new(STATE, 0).key(format!("key {}", (number + of) % 40)).header("of", Some(b"state"));
            let is_deleted = (number + of).is_multiple_of(7);
            state.send(&if is_deleted { record } else { record.value(format!("{number}/{of}")) });
        }
        state.flush();
        number += 1;
        std::thread::sleep(Duration::from_millis(30));
    }
}

/// All of the last record that a mirror keeps.
fn last(kafka: &Kafka, topic: &str, partition: i32) -> Option<(i64, [Option<Vec<u8>>; 2])> {
    let message = kafka.read(topic, partition).pop()?;
    let bytes = |part: Option<&[u8]>| part.map(<[u8]>::to_vec);
    Some((message.timestamp().to_millis().unwrap_or(-1), [message.key(), message.payload()].map(bytes)))
}

fn compared(source: &Kafka, target: &Kafka, topic: &str) -> Said {
    let url = |kafka: &Kafka| format!("kafka://{}/{topic}", kafka.bootstrap());
    drift(&[&url(source), &url(target)])
}

#[test]
fn a_mirror_maker_at_work_agrees_and_what_is_put_into_its_copy_is_found() {
    let (source, target) = (Kafka::start(Options::default()), shared());
    for kafka in [&source, target] {
        kafka.create_topic(PLAIN, 2, &[]);
        kafka.create_topic(STATE, 1, COMPACTED);
    }
    source.producer(&[]).send_all(&[Record::new(STATE, 0).key("written once").value("first")]);
    let is_over = AtomicBool::new(false);
    let maker = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(&source, &is_over));
        let maker = mirror_maker(&source, target);
        let has_begun = || [(PLAIN, 0), (PLAIN, 1), (STATE, 0)].iter().all(|(t, p)| target.watermarks(t, *p).1 > 50);
        wait_for("the mirror has begun", LIMIT, || has_begun().then_some(()));
        for _ in 0..3 {
            for topic in [PLAIN, STATE] {
                let said = compared(&source, target, topic);
                said.must_exit(0);
                assert_eq!(said.drift_summary()["claim"], "exact");
            }
        }
        is_over.store(true, Ordering::Relaxed);
        writer.join().expect("the writer writes");
        maker
    });
    let is_level = |topic: &str, partition: i32| last(&source, topic, partition) == last(target, topic, partition);
    wait_for("all is copied", LIMIT, || {
        [(PLAIN, 0), (PLAIN, 1), (STATE, 0)].iter().all(|(t, p)| is_level(t, *p)).then_some(())
    });
    drop(maker);
    for topic in [PLAIN, STATE] {
        compared(&source, target, topic).must_exit(0);
    }
    let producer = target.producer(&[]);
    producer.send_all(&[Record::new(PLAIN, 1).key("foreign").value("foreign")]);
    let deleted = Record::new(STATE, 0).key("written once");
    producer.send_all(&[Record::new(STATE, 0).key("key 3").value("foreign"), deleted]);
    let said = compared(&source, target, PLAIN);
    said.must_exit(1);
    assert_eq!((said.findings.len(), &said.findings[0]["kind"]), (1, &"extra".into()));
    let said = compared(&source, target, STATE);
    said.must_exit(1);
    let drift = said.drift();
    assert!(drift.contains(&("missing".to_owned(), "written once".to_owned())), "{drift:?}");
    assert!(drift.len() == 2 && drift.iter().any(|(_, key)| key == "key 3"), "{drift:?}");
}
