//! Brokers: what they keep, whom they let in, and what becomes of them when one is killed.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use rdkafka::Message as _;
use sordini_lab::broker::{Listener, OTHER_USER, USER};
use sordini_lab::client::COMPACTED;
use sordini_lab::{Cluster, Kafka, Options, Record, java, shared, wait_for};

use crate::PLAIN;

#[test]
fn a_record_comes_back_as_it_was_written_under_every_codec() {
    let kafka = shared();
    kafka.create_topic("round-trip", 1, &[]);
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let record = Record::new("round-trip", 0)
            .key(codec)
            .value("payload ".repeat(50))
            .header("a", Some(b"1"))
            .header("a", None);
        kafka.producer(&[("compression.type", codec), ("enable.idempotence", "true")]).send_all(&[record]);
    }
    let keys: Vec<_> = kafka.read("round-trip", 0).iter().map(|m| m.key().unwrap_or_default().to_vec()).collect();
    assert_eq!(keys, ["none", "gzip", "snappy", "lz4", "zstd"].map(|codec| codec.as_bytes().to_vec()));
    let dump = kafka.dump_log("round-trip", 0);
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        assert!(dump.contains(&format!("compresscodec: {codec}")), "no {codec} batch in\n{dump}");
    }
    assert!(dump.contains("headerKeys: [a,a]"), "{dump}");
}

#[test]
fn compaction_removes_older_records_of_a_key_within_seconds() {
    let kafka = shared();
    kafka.create_topic("compacted", 1, COMPACTED);
    let producer = kafka.producer(&[]);
    for round in 0..3 {
        let records = (0..10).map(|key| Record::new("compacted", 0).key(format!("k{key}")).value(format!("{round}")));
        producer.send_all(&records.collect::<Vec<_>>());
    }
    producer.send_all(&[Record::new("compacted", 0).key("k3")]);
    assert_eq!(kafka.compact("compacted", 0), 31);
    let left = kafka.read("compacted", 0);
    let offsets: Vec<_> = left.iter().map(|m| m.offset()).collect();
    assert_eq!(offsets, [20, 21, 22, 24, 25, 26, 27, 28, 29, 30, 31]);
    assert_eq!(left[9].payload(), None, "the tombstone stays until its horizon");
}

#[test]
fn deleting_records_moves_the_log_start() {
    let kafka = shared();
    kafka.create_topic("trimmed", 1, &[]);
    let records: Vec<_> = (0..10).map(|i| Record::new("trimmed", 0).value(i.to_string())).collect();
    kafka.producer(&[]).send_all(&records);
    kafka.delete_records("trimmed", 0, 4);
    assert_eq!(kafka.watermarks("trimmed", 0), (4, 10));
    assert_eq!(kafka.read("trimmed", 0).first().map(|m| m.offset()), Some(4));
}

#[test]
fn an_aborted_transaction_leaves_its_records_and_a_marker() {
    let kafka = shared();
    kafka.create_topic("aborted", 1, &[]);
    let producer = kafka.producer(&[("transactional.id", "lab-aborts")]);
    producer.begin();
    producer.send_all(&[Record::new("aborted", 0).value("never seen")]);
    producer.abort();
    producer.begin();
    producer.send_all(&[Record::new("aborted", 0).value("seen")]);
    producer.commit();
    let seen: Vec<_> = kafka.read("aborted", 0).iter().map(|m| m.payload().unwrap_or_default().to_vec()).collect();
    assert_eq!(seen, [b"seen".to_vec()]);
    let dump = kafka.dump_log("aborted", 0);
    for part in ["never seen", "endTxnMarker: ABORT", "endTxnMarker: COMMIT"] {
        assert!(dump.contains(part), "no {part:?} in\n{dump}");
    }
}

#[test]
fn a_deleted_topic_can_be_made_anew() {
    let kafka = shared();
    kafka.create_topic("again", 2, &[]);
    kafka.producer(&[]).send_all(&[Record::new("again", 1).value("x")]);
    kafka.delete_topic("again");
    kafka.create_topic("again", 1, &[]);
    assert_eq!(kafka.watermarks("again", 0), (0, 0));
}

#[test]
fn kafkas_own_producer_fills_every_partition() {
    let kafka = shared();
    kafka.create_topic("perf", 4, &[]);
    kafka.java_produce_perf("perf", 20_000, 100, &[("compression.type", "lz4")]);
    let ends: Vec<_> = (0..4).map(|p| kafka.watermarks("perf", p).1).collect();
    assert_eq!(ends.iter().sum::<i64>(), 20_000);
}

const SCRAM: &str = "org.apache.kafka.common.security.scram.ScramLoginModule required";

#[test]
fn users_get_in_over_tls_with_their_password_and_only_to_what_they_were_granted() {
    let kafka = Kafka::start(Options { authorizer: true, ..Options::secure() });
    for topic in ["open", "granted", "hidden"] {
        kafka.create_topic(topic, 1, &[]);
    }
    kafka.grant(OTHER_USER.0, &["Read", "Describe"], "granted");
    let authority = kafka.certificates().ca.display().to_string();
    let list = |name: &str, mechanism: &str, jaas: &str| {
        let file = kafka.client_properties(
            name,
            &[
                ("security.protocol", "SASL_SSL"),
                ("sasl.mechanism", mechanism),
                ("sasl.jaas.config", jaas),
                ("ssl.truststore.type", "PEM"),
                ("ssl.truststore.location", &authority),
                ("request.timeout.ms", "10000"),
                ("default.api.timeout.ms", "15000"),
            ],
        );
        let (server, file) = (kafka.address(Listener::SaslSsl), file.display().to_string());
        java::try_run(
            "org.apache.kafka.tools.TopicCommand",
            &["--bootstrap-server", &server, "--command-config", &file, "--list", "--exclude-internal"],
        )
    };
    let jaas =
        |module: &str, (user, password): (&str, &str)| format!("{module} username=\"{user}\" password=\"{password}\";");
    let listed = |output: Result<String, String>| -> Vec<String> {
        output.unwrap_or_else(|why| panic!("{why}")).split_whitespace().map(str::to_owned).collect()
    };
    let bearer = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
                  unsecuredLoginStringClaim_sub=\"alice\";";
    assert_eq!(listed(list("a", "SCRAM-SHA-512", &jaas(SCRAM, USER))), ["granted", "hidden", "open"]);
    assert_eq!(listed(list("b", "SCRAM-SHA-256", &jaas(SCRAM, OTHER_USER))), ["granted"]);
    assert_eq!(listed(list("c", "PLAIN", &jaas(PLAIN, OTHER_USER))), ["granted"]);
    assert_eq!(listed(list("d", "OAUTHBEARER", bearer)), ["granted", "hidden", "open"]);
    let refused = list("e", "SCRAM-SHA-512", &jaas(SCRAM, (USER.0, "wrong"))).expect_err("the password is wrong");
    assert!(refused.contains("SaslAuthenticationException"), "{refused}");
}

#[test]
fn a_certificate_is_demanded_when_the_broker_was_told_to() {
    let options = Options { client_auth: sordini_lab::ClientAuth::Required, ..Options::secure() };
    let kafka = Kafka::start(options);
    let certificates = kafka.certificates();
    let authority = certificates.ca.display().to_string();
    let store = certificates.client_store.display().to_string();
    let mut properties = vec![
        ("security.protocol", "SSL"),
        ("ssl.truststore.type", "PEM"),
        ("ssl.truststore.location", &authority),
        ("request.timeout.ms", "10000"),
        ("default.api.timeout.ms", "15000"),
    ];
    let list = |file: std::path::PathBuf| {
        let (server, file) = (kafka.address(Listener::Ssl), file.display().to_string());
        java::try_run(
            "org.apache.kafka.tools.TopicCommand",
            &["--bootstrap-server", &server, "--command-config", &file, "--list", "--exclude-internal"],
        )
    };
    let refused = list(kafka.client_properties("without", &properties)).expect_err("there is no certificate");
    assert!(refused.contains("SslAuthenticationException"), "{refused}");
    properties.extend([("ssl.keystore.type", "PEM"), ("ssl.keystore.location", store.as_str())]);
    list(kafka.client_properties("with", &properties)).unwrap_or_else(|why| panic!("{why}"));
}

#[test]
fn a_killed_leader_hands_over_and_comes_back() {
    let mut cluster = Cluster::start(3, &Options::default());
    cluster.create_topic_on("moved", &[&[1, 2]], &[]);
    cluster.producer(&[("acks", "all")]).send_all(&[Record::new("moved", 0).value("before")]);
    cluster.kill(1);
    let after = wait_for("broker 2 leads", Duration::from_secs(30), || {
        (cluster.leader("moved", 0) == Some(2)).then(|| cluster.producer(&[]))
    });
    after.send_all(&[Record::new("moved", 0).value("after")]);
    cluster.restart(1);
    assert_eq!(cluster.read("moved", 0).len(), 2);

    // ApiVersions, version 0: the kernel takes it, the broker answers once it runs again.
    let request = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff];
    cluster.pause(3);
    let mut stream = TcpStream::connect(cluster.address(3)).expect("the kernel still accepts");
    stream.write_all(&request).expect("the kernel still takes bytes");
    let mut answer = [0; 4];
    stream.set_read_timeout(Some(Duration::from_millis(300))).expect("the limit is valid");
    stream.read_exact(&mut answer).expect_err("a paused broker answers nothing");
    cluster.resume(3);
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("the limit is valid");
    stream.read_exact(&mut answer).expect("a resumed broker answers");
}
