use std::time::Duration;

use serde_json::Value;
use sordini_lab::Alertmanager;

use super::common::{all, start, stopped};
use super::receiver::{Receiver, wait_for};

fn sink(alertmanager: &Alertmanager) -> String {
    let url = alertmanager.url();
    format!("[[alertmanager]]\nname = \"ops\"\nurl = \"{url}\"\nrefresh = \"300ms\"\nheartbeat = true\n")
}

/// What arrived about stopped consumers: status and alert.
fn arrived(receiver: &Receiver) -> Vec<(String, Value)> {
    let bodies = receiver.requests().into_iter().map(|request| serde_json::from_str::<Value>(&request.body).unwrap());
    let alerts = bodies.flat_map(|body| body["alerts"].as_array().unwrap().clone());
    let alerts = alerts.filter(|alert| alert["labels"]["alertname"] == "SordiniLagStop");
    alerts.map(|alert| (alert["status"].as_str().unwrap().to_owned(), alert)).collect()
}

fn wait(receiver: &Receiver, statuses: &[&str]) -> Vec<(String, Value)> {
    wait_for(&format!("{statuses:?}"), || {
        let arrived = arrived(receiver);
        (arrived.iter().map(|(status, _)| status.as_str()).collect::<Vec<_>>() == statuses).then_some(arrived)
    })
}

/// Long enough for alerts that are not refreshed to end, and for one too many to arrive.
fn linger() {
    std::thread::sleep(Duration::from_secs(3));
}

#[test]
fn a_stopped_consumer_is_one_alert_with_a_runbook_until_it_runs_again() {
    let (receiver, state) = (Receiver::new(), tempfile::tempdir().unwrap());
    let alertmanager = Alertmanager::start(&receiver.url("/"));
    let dispatcher = start(state.path(), &sink(&alertmanager));
    dispatcher.observe(&all(), &[stopped("billing")]);
    wait(&receiver, &["firing"]);
    linger();
    dispatcher.observe(&all(), &[stopped("billing")]);
    let (_, alert) = wait(&receiver, &["firing"]).remove(0);
    assert_eq!(alert["annotations"]["runbook_url"], "https://wiki.example.org/lag-stop?group=billing");
    assert_eq!(alert["annotations"]["command"], "sordini lag -b kafka:9092 -g billing");
    assert_eq!((&alert["labels"]["severity"], &alert["labels"]["partition"]), (&"critical".into(), &"3".into()));
    dispatcher.observe(&all(), &[]);
    wait(&receiver, &["firing", "resolved"]);
    linger();
    wait(&receiver, &["firing", "resolved"]);
    // Beside it fires the sign of life.
    assert!(receiver.requests().iter().any(|request| request.body.contains("SordiniHeartbeat")));
    dispatcher.stop().unwrap();
}

#[test]
fn an_alertmanager_that_is_down_for_a_while_learns_everything_once() {
    let (receiver, state) = (Receiver::new(), tempfile::tempdir().unwrap());
    let mut alertmanager = Alertmanager::start(&receiver.url("/"));
    alertmanager.stop();
    let dispatcher = start(state.path(), &sink(&alertmanager));
    dispatcher.observe(&all(), &[stopped("billing")]);
    wait_for("an attempt in vain", || dispatcher.sinks()[0].last_error.clone());
    alertmanager.restart();
    wait(&receiver, &["firing"]);
    alertmanager.stop();
    dispatcher.observe(&all(), &[]);
    linger();
    alertmanager.restart();
    wait(&receiver, &["firing", "resolved"]);
    linger();
    wait(&receiver, &["firing", "resolved"]);
    assert_eq!(dispatcher.sinks()[0].waiting, 0);
}

#[test]
fn an_incident_that_is_open_over_a_restart_is_told_once() {
    let (receiver, state) = (Receiver::new(), tempfile::tempdir().unwrap());
    let alertmanager = Alertmanager::start(&receiver.url("/"));
    let dispatcher = start(state.path(), &sink(&alertmanager));
    dispatcher.observe(&all(), &[stopped("billing")]);
    wait(&receiver, &["firing"]);
    // Once in order, once as if killed.
    dispatcher.stop().unwrap();
    let dispatcher = start(state.path(), &sink(&alertmanager));
    dispatcher.observe(&all(), &[stopped("billing")]);
    drop(dispatcher);
    let dispatcher = start(state.path(), &sink(&alertmanager));
    linger();
    dispatcher.observe(&all(), &[stopped("billing")]);
    wait(&receiver, &["firing"]);
    dispatcher.observe(&all(), &[]);
    wait(&receiver, &["firing", "resolved"]);
    linger();
    wait(&receiver, &["firing", "resolved"]);
}

#[test]
fn killed_between_saving_and_sending_sordini_tells_after_its_restart() {
    let (receiver, state) = (Receiver::new(), tempfile::tempdir().unwrap());
    // Nobody listens at its port.
    let mut child = super::kill::child("kill::saves_and_cannot_send", state.path(), 1).spawn().unwrap();
    wait_for("the child has saved", || state.path().join("saved").exists().then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    let alertmanager = Alertmanager::start(&receiver.url("/"));
    let dispatcher = start(state.path(), &sink(&alertmanager));
    wait(&receiver, &["firing"]);
    dispatcher.observe(&all(), &[stopped("billing")]);
    dispatcher.observe(&all(), &[]);
    wait(&receiver, &["firing", "resolved"]);
}
