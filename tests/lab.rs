//! The laboratory itself: what the other integration tests take for granted about the servers they start.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{env, fs, process};

use rdkafka::Message as _;
use serde_json::json;
use sordini_lab::broker::{Listener, OTHER_USER, USER};
use sordini_lab::client::COMPACTED;
use sordini_lab::consumer::KIP_848;
use sordini_lab::{
    Alertmanager, Answer, Browser, Cluster, Kafka, Options, Prometheus, Receiver, Record, http, java, shared, wait_for,
};

const LIMIT: Duration = Duration::from_secs(30);

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
const PLAIN: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required";

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

#[test]
fn a_receiver_writes_down_what_it_is_sent_and_answers_as_told() {
    let receiver = Receiver::start();
    let send = || http::post(&receiver.url(), &json!({"a": 1})).map(|(status, _)| status);
    receiver.answer_next(&[Answer::Status(503), Answer::Later { status: 429, retry_after_s: 7 }, Answer::Close]);
    assert_eq!(send(), Ok(503));
    assert_eq!(send(), Ok(429));
    send().expect_err("the connection is closed without an answer");
    assert_eq!(send(), Ok(200));
    let requests = receiver.take();
    assert_eq!(requests.iter().map(|request| request.was_taken()).collect::<Vec<_>>(), [false, false, false, true]);
    assert_eq!((requests[3].method.as_str(), requests[3].json()), ("POST", json!({"a": 1})));
    assert_eq!(requests[3].header("Content-Type"), Some("application/json; charset=utf-8"));

    receiver.answer(Answer::Hang);
    std::thread::scope(|scope| {
        let hangs = scope.spawn(send);
        receiver.wait_for(1, LIMIT);
        std::thread::sleep(Duration::from_millis(100));
        assert!(!hangs.is_finished());
        receiver.answer(Answer::Status(204));
        hangs.join().expect("no thread panicked").expect_err("the connection is closed");
    });
    assert_eq!(send(), Ok(204));

    let (port, url) = (receiver.port(), receiver.url());
    drop(receiver);
    http::post(&url, &json!({})).expect_err("nobody listens");
    let receiver = Receiver::on(port);
    http::post(&receiver.url(), &json!({})).expect("another listens");
}

#[test]
fn prometheus_scrapes_and_answers() {
    let receiver = Receiver::start();
    let prometheus = Prometheus::scraping(&format!("127.0.0.1:{}", receiver.port()));
    receiver.wait_for(1, LIMIT);
    // It is no page of metrics that the receiver answers with, and Prometheus says so.
    let up = wait_for("the target has been scraped", LIMIT, || prometheus.value("up"));
    assert_eq!(up, 0.0);
    assert_eq!(prometheus.targets().len(), 1);
    assert_eq!(prometheus.query("vector(2) * 21").first().map(|(_, value)| *value), Some(42.0));
    assert_eq!(prometheus.alerts(), Vec::<serde_json::Value>::new());
}

#[test]
fn alertmanager_hands_over_and_forgets_nothing_it_sent_when_killed() {
    let receiver = Receiver::start();
    let mut alertmanager = Alertmanager::start(&receiver.url());
    let alert = json!([{"labels": {"alertname": "Lag", "group": "payments"}, "annotations": {"why": "stop"}}]);
    alertmanager.post(&alert);
    let opened = receiver.wait_for(1, LIMIT);
    assert_eq!(opened[0].json()["status"], "firing");
    assert_eq!(alertmanager.alerts()[0]["labels"]["group"], "payments");

    std::thread::sleep(Duration::from_millis(1500)); // what it sent is written down once a second
    alertmanager.kill();
    http::get(&alertmanager.url()).expect_err("it is gone");
    alertmanager.restart();
    assert_eq!(alertmanager.alerts(), Vec::<serde_json::Value>::new());
    alertmanager.post(&alert);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(receiver.requests().len(), 1, "the page was sent before it was killed");
    let mut over = alert;
    over[0]["endsAt"] = json!("2020-01-01T00:00:00Z");
    over[0]["startsAt"] = json!("2019-01-01T00:00:00Z");
    alertmanager.post(&over);
    assert_eq!(receiver.wait_for(2, LIMIT)[1].json()["status"], "resolved");

    alertmanager.pause();
    let (port, start) = (alertmanager.url(), Instant::now());
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| http::get(&port));
        std::thread::sleep(Duration::from_millis(300));
        assert!(!asked.is_finished(), "a paused server answers nothing");
        alertmanager.resume();
        asked.join().expect("no thread panicked").expect("it answers when it runs again");
    });
    assert!(start.elapsed() >= Duration::from_millis(300));
    alertmanager.stop();
}

#[test]
fn a_browser_shows_a_page_and_leaves_nothing_behind() {
    let browser = Browser::start();
    let folder = env::temp_dir().join(format!("sordini-lab-page-{}", process::id()));
    fs::create_dir_all(&folder).expect("a temporary directory");
    let page = folder.join("page.html");
    let html = "<meta name=viewport content='width=device-width'><title>a page</title><style>@media (prefers-color-scheme: dark) { h1::after { content: ' by night' } }\
                </style><h1>by day</h1><input><button onclick=\"document.title = document.querySelector('input').value\">\
                go</button><div style='height: 3000px'></div><script>console.error('told')</script>";
    fs::write(&page, html).expect("a temporary file");
    browser.open(&format!("file://{}", page.display()));
    assert_eq!((browser.title().as_str(), browser.text("h1").as_str()), ("a page", "by day"));
    browser.type_into("input", "typed");
    browser.click("button");
    assert_eq!(browser.title(), "typed");
    assert!(browser.console().iter().any(|line| line.contains("told")));
    browser.prefers(&[("prefers-color-scheme", "dark")]);
    let dark = browser.script("return matchMedia('(prefers-color-scheme: dark)').matches", Vec::new());
    assert_eq!(dark, json!(true));
    let picture = folder.join("page.png");
    browser.screenshot(&picture);
    let png = fs::read(&picture).expect("the picture was written");
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().expect("four bytes"));
    assert_eq!(&png[..4], b"\x89PNG");
    assert!(number(16) >= 1200 && number(20) > 3000, "{} × {}", number(16), number(20));
    browser.screen(390, 844, true);
    assert_eq!(browser.script("return window.innerWidth", Vec::new()), json!(390));
    let profile = browser.directory().join("profile");
    assert!(is_running_with(&profile) && profile.exists());
    drop(browser);
    fs::remove_dir_all(&folder).expect("a temporary directory");
    assert!(!is_running_with(&profile) && !profile.exists(), "chromium has outlived the browser");
}

/// Whether a process has the path in its command line.
fn is_running_with(path: &Path) -> bool {
    let mut lines = fs::read_dir("/proc").expect("Linux").flatten().flat_map(|e| fs::read(e.path().join("cmdline")));
    lines.any(|line| String::from_utf8_lossy(&line).contains(&*path.to_string_lossy()))
}
