use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::common::{all, start, stopped};
use super::receiver::{Receiver, wait_for};

struct Alertmanager {
    child: Child,
}

impl Alertmanager {
    /// Goes on with what an earlier one left in the directory. It passes on to the receiver what it is told at once.
    fn start(dir: &Path, port: u16, receiver: &Receiver) -> Self {
        let config = format!(
            "route: {{receiver: test, group_by: ['...'], group_wait: 100ms, group_interval: 200ms, repeat_interval: 1h}}\n\
             receivers: [{{name: test, webhook_configs: [{{url: '{}', send_resolved: true}}]}}]\n",
            receiver.url("/")
        );
        let (path, log) = (dir.join("alertmanager.yml"), File::create(dir.join("alertmanager.log")).unwrap());
        fs::write(&path, config).unwrap();
        let child = Command::new("prometheus-alertmanager")
            .arg(format!("--config.file={}", path.display()))
            .arg(format!("--storage.path={}", dir.join("storage").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("prometheus-alertmanager must start; apt-get install prometheus-alertmanager");
        let alertmanager = Self { child };
        wait_for("Alertmanager listens", || TcpStream::connect(("127.0.0.1", port)).ok());
        alertmanager
    }

    /// Lets it write down whom it has told what.
    fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        // It may have been stopped already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn sink(port: u16) -> String {
    format!(
        "[[alertmanager]]\nname = \"ops\"\nurl = \"http://127.0.0.1:{port}\"\nrefresh = \"300ms\"\nheartbeat = true\n"
    )
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
    let (receiver, dir, state, port) =
        (Receiver::new(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), free_port());
    let _alertmanager = Alertmanager::start(dir.path(), port, &receiver);
    let dispatcher = start(state.path(), &sink(port));
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
    let (receiver, dir, state, port) =
        (Receiver::new(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), free_port());
    let dispatcher = start(state.path(), &sink(port));
    dispatcher.observe(&all(), &[stopped("billing")]);
    wait_for("an attempt in vain", || dispatcher.sinks()[0].last_error.clone());
    let alertmanager = Alertmanager::start(dir.path(), port, &receiver);
    wait(&receiver, &["firing"]);
    alertmanager.stop();
    dispatcher.observe(&all(), &[]);
    linger();
    let _alertmanager = Alertmanager::start(dir.path(), port, &receiver);
    wait(&receiver, &["firing", "resolved"]);
    linger();
    wait(&receiver, &["firing", "resolved"]);
    assert_eq!(dispatcher.sinks()[0].waiting, 0);
}

#[test]
fn an_incident_that_is_open_over_a_restart_is_told_once() {
    let (receiver, dir, state, port) =
        (Receiver::new(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), free_port());
    let _alertmanager = Alertmanager::start(dir.path(), port, &receiver);
    let dispatcher = start(state.path(), &sink(port));
    dispatcher.observe(&all(), &[stopped("billing")]);
    wait(&receiver, &["firing"]);
    // Once in order, once as if killed.
    dispatcher.stop().unwrap();
    let dispatcher = start(state.path(), &sink(port));
    dispatcher.observe(&all(), &[stopped("billing")]);
    drop(dispatcher);
    let dispatcher = start(state.path(), &sink(port));
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
    let (receiver, dir, state, port) =
        (Receiver::new(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), free_port());
    let mut child = super::kill::child("kill::saves_and_cannot_send", state.path(), port).spawn().unwrap();
    wait_for("the child has saved", || state.path().join("saved").exists().then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    let _alertmanager = Alertmanager::start(dir.path(), port, &receiver);
    let dispatcher = start(state.path(), &sink(port));
    wait(&receiver, &["firing"]);
    dispatcher.observe(&all(), &[stopped("billing")]);
    dispatcher.observe(&all(), &[]);
    wait(&receiver, &["firing", "resolved"]);
}
