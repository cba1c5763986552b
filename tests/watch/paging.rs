//! From a consumer that stops to the page that wakes somebody, and to its end.

use std::thread;
use std::time::Duration;

use sordini_lab::{Alertmanager, Prometheus, Receiver, shared, wait_for};

use super::common::{Daemon, LIMIT, fill, name};

/// A stopped consumer is one alert with a runbook; sordini dies meanwhile and starts again; the consumer comes back and the
/// alert is resolved, once.
#[test]
fn a_stopped_consumer_is_one_alert_and_one_resolve_whatever_dies_in_between() {
    let kafka = shared();
    let (topic, group) = (name("paged"), name("payers"));
    kafka.create_topic(&topic, 1, &[]);
    fill(kafka, &topic, 100);
    let worker = kafka.consumer(&group, &[&topic], &[]).work(Duration::from_millis(300));
    wait_for("the group has read", LIMIT, || (worker.records() == 100).then_some(()));

    let receiver = Receiver::start();
    let alertmanager = Alertmanager::start(&receiver.url());
    let sink = format!("[[alert.alertmanager]]\nname = \"ops\"\nurl = \"{}\"\nrefresh = \"10s\"\n", alertmanager.url());
    let mut daemon = Daemon::start(&kafka.bootstrap(), &topic, &group, &sink);
    let prometheus = Prometheus::scraping(&format!("127.0.0.1:{}", daemon.port));
    daemon.wait_for_verdict(&group, "ok");

    worker.leave();
    fill(kafka, &topic, 50);
    daemon.wait_for_verdict(&group, "no-owner");
    let told = receiver.wait_for(1, LIMIT);
    let alert = &told[0].json()["alerts"][0];
    assert_eq!(alert["status"], "firing");
    assert_eq!(alert["labels"]["kind"], "lag-no-owner");
    assert_eq!(alert["labels"]["group"], group.as_str());
    let runbook = format!("https://runbooks.example.com/lag-no-owner?group={group}");
    assert_eq!(alert["annotations"]["runbook_url"], runbook.as_str());
    let command = alert["annotations"]["command"].as_str().unwrap();
    assert!(command.starts_with("sordini lag -b ") && command.contains(&*group), "{command}");
    let series = format!("sordini_group_verdict{{group=\"{group}\",verdict=\"no-owner\"}}");
    wait_for("Prometheus has scraped the verdict", LIMIT, || prometheus.value(&series).filter(|value| *value == 1.0));
    let lag = format!("kafka_consumergroup_lag{{consumergroup=\"{group}\"}}");
    assert_eq!(prometheus.value(&lag), Some(50.0), "kafka_exporter's name for it");

    daemon.kill();
    thread::sleep(Duration::from_secs(1));
    daemon.run();
    daemon.wait_for_verdict(&group, "no-owner");
    thread::sleep(Duration::from_secs(3));
    assert_eq!(receiver.requests().len(), 1, "a restart pages nobody again");

    let _back = kafka.consumer(&group, &[&topic], &[]).work(Duration::from_millis(300));
    daemon.wait_for_verdict(&group, "ok");
    let told = receiver.wait_for(2, LIMIT);
    assert_eq!(told[1].json()["alerts"][0]["status"], "resolved");
    thread::sleep(Duration::from_secs(3));
    assert_eq!(receiver.requests().len(), 2, "one opening and one end");
}

/// Records that never arrive are a finding of the audit, an incident, and a page.
#[test]
fn a_loss_in_a_topic_is_told_with_its_evidence() {
    let kafka = shared();
    let topic = name("holed");
    kafka.create_topic(&topic, 1, &[]);
    let receiver = Receiver::start();
    let sink = format!("[[alert.webhook]]\nname = \"bot\"\nurl = \"{}\"\n", receiver.url());
    let numbered = "session = \"key\"\nsequence = \"header:seq\"\nwait = \"1s\"\ncommit-every = \"500ms\"\n";
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("sordini.toml");
    let port = sordini_lab::free_port();
    let state = dir.path().join("state");
    std::fs::write(
        &config,
        format!(
            "version = 1\nstate = {state:?}\n[kafka]\n\"bootstrap.servers\" = \"{}\"\n[[audit]]\nname = \"numbered\"\n\
             topics = [\"{topic}\"]\n{numbered}[lag]\nenabled = false\n[alert]\ngroup-wait = \"0s\"\n{sink}\
             [serve]\nlisten = \"127.0.0.1:{port}\"\n",
            kafka.bootstrap()
        ),
    )
    .unwrap();
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_sordini"));
    let mut child = child.args(["watch", "-c"]).arg(&config).spawn().unwrap();
    let producer = kafka.producer(&[]);
    for number in (0..50).filter(|number| *number != 17) {
        let record = sordini_lab::Record::new(&topic, 0).key("till").header("seq", Some(number.to_string().as_bytes()));
        producer.send(&record);
    }
    producer.flush();
    // Later records let the time of the stream pass.
    thread::sleep(Duration::from_secs(3));
    producer.send(&sordini_lab::Record::new(&topic, 0).key("till").header("seq", Some(b"50")));
    producer.flush();
    let told = receiver.wait_for(1, LIMIT);
    child.kill().unwrap();
    child.wait().unwrap();
    let message = told[0].json();
    assert_eq!(message["kind"], "sequence-gap", "{message}");
    assert_eq!(message["status"], "open");
    let why = message["incidents"][0]["why"].as_str().unwrap();
    assert!(why.contains("17"), "{why}");
}
