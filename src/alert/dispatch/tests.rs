//! Threads, file and sinks together, against receivers on loopback.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::*;
use crate::alert::sinks::http::system_ms;
use crate::alert::testing::{Receiver, wait_for};

pub fn place() -> Place {
    Place {
        cluster: "prod".to_owned(),
        instance: "sordini-1".to_owned(),
        external_url: "https://sordini.example.org".to_owned(),
    }
}

fn clock() -> Clock {
    Arc::new(system_ms)
}

const QUICK: &str = "group-wait = \"0s\"\ngroup-interval = \"0s\"\nresolve-after = \"0s\"\n[[rule]]\nfor = \"0s\"\n";

fn start(dir: &Path, config: &str) -> Result<Dispatcher> {
    Dispatcher::start(&toml::from_str(&format!("{QUICK}{config}")).unwrap(), dir, place(), clock())
}

fn webhook(url: &str) -> String {
    format!("[[webhook]]\nname = \"hook\"\nurl = \"{url}\"\ntimeout = \"5s\"\n")
}

fn stop_of(group: &str) -> Observed {
    Observed {
        key: Key { kind: "lag-stop".to_owned(), group: Some(group.to_owned()), topic: None, partition: None },
        why: "no commit for 5m".to_owned(),
        amount: 1,
        command: "sordini lag".to_owned(),
        findings: vec![],
        is_event: false,
    }
}

fn all() -> Evaluated {
    Evaluated::kinds(["*"])
}

fn json(body: &str) -> serde_json::Value {
    serde_json::from_str(body).unwrap()
}

/// What a receiver that takes every key once took: status and key.
fn taken(receiver: &Receiver) -> Vec<(String, String)> {
    let mut seen = Vec::new();
    for request in receiver.requests() {
        let key = request.headers["idempotency-key"].clone();
        if !seen.iter().any(|(_, known)| *known == key) {
            seen.push((json(&request.body)["status"].as_str().unwrap().to_owned(), key));
        }
    }
    seen
}

fn statuses(receiver: &Receiver) -> Vec<String> {
    taken(receiver).into_iter().map(|(status, _)| status).collect()
}

#[test]
fn an_incident_is_told_when_it_opens_and_when_it_ends_and_not_in_between() {
    let (receiver, dir) = (Receiver::new(), tempfile::tempdir().unwrap());
    let dispatcher = start(dir.path(), &webhook(&receiver.url("/"))).unwrap();
    assert_eq!(dispatcher.observe(&all(), &[stop_of("g")])[0].change, Change::Opened);
    assert_eq!(dispatcher.observe(&all(), &[stop_of("g")]), []);
    receiver.wait(1);
    assert_eq!(dispatcher.observe(&Evaluated::nothing(), &[]), []);
    assert_eq!(dispatcher.observe(&all(), &[])[0].change, Change::Resolved);
    let requests = receiver.wait(2);
    assert_eq!(statuses(&receiver), ["open", "resolved"]);
    assert_eq!(json(&requests[0].body)["incidents"][0]["command"], "sordini lag");
    dispatcher.stop().unwrap();
    assert_eq!(receiver.requests().len(), 2);
}

#[test]
fn a_receiver_that_was_down_learns_both_in_order() {
    let (down, dir) = (Arc::new(AtomicBool::new(true)), tempfile::tempdir().unwrap());
    let is_down = down.clone();
    let receiver = Receiver::answering(move |_, _| (if is_down.load(Ordering::SeqCst) { 503 } else { 200 }, vec![]));
    let dispatcher = start(dir.path(), &webhook(&receiver.url("/"))).unwrap();
    dispatcher.observe(&all(), &[stop_of("g")]);
    receiver.wait(1);
    dispatcher.observe(&all(), &[]);
    let view =
        wait_for("the failure is shown", || Some(dispatcher.sinks()[0].clone()).filter(|v| v.last_error.is_some()));
    assert_eq!((view.waiting, view.delivered, view.failed), (2, 0, 0));
    assert!(view.last_error.unwrap().contains("answered 503: as the test says"));
    down.store(false, Ordering::SeqCst);
    wait_for("both are delivered", || (dispatcher.sinks()[0].delivered == 2).then_some(()));
    assert_eq!(statuses(&receiver), ["open", "resolved"]);
}

#[test]
fn killed_between_saving_and_sending_it_tells_once() {
    let (receiver, dir) = (Receiver::new(), tempfile::tempdir().unwrap());
    // Nobody listens yet, so it is saved and not sent.
    let dispatcher = start(dir.path(), &webhook("http://127.0.0.1:1/")).unwrap();
    dispatcher.observe(&all(), &[stop_of("g")]);
    wait_for("an attempt", || dispatcher.sinks()[0].last_error.clone());
    drop(dispatcher);
    // Killed again right after it was sent: the answer may or may not have been saved.
    let dispatcher = start(dir.path(), &webhook(&receiver.url("/"))).unwrap();
    receiver.wait(1);
    drop(dispatcher);
    let dispatcher = start(dir.path(), &webhook(&receiver.url("/"))).unwrap();
    assert_eq!(dispatcher.observe(&all(), &[stop_of("g")]), []);
    dispatcher.observe(&all(), &[]);
    wait_for("the end", || taken(&receiver).into_iter().find(|(status, _)| status == "resolved"));
    let told = taken(&receiver);
    assert_eq!(told.iter().map(|(status, _)| status.as_str()).collect::<Vec<_>>(), ["open", "resolved"]);
    assert_eq!(told[0].1.replace("-1", ""), told[1].1.replace("-2", ""));
}

#[test]
fn a_damaged_state_is_kept_and_told() {
    let (receiver, dir) = (Receiver::new(), tempfile::tempdir().unwrap());
    start(dir.path(), &webhook(&receiver.url("/"))).unwrap().stop().unwrap();
    let path = dir.path().join("alerts");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.truncate(bytes.len() - 3);
    std::fs::write(&path, &bytes).unwrap();
    let dispatcher = start(dir.path(), &webhook(&receiver.url("/"))).unwrap();
    assert_eq!(json(&receiver.wait(1)[0].body)["kind"], "alert-state-lost");
    assert_eq!(std::fs::read(dir.path().join("alerts.damaged-1")).unwrap(), bytes);
    assert!(dispatcher.incidents()[0].observed.why.contains("alerts.damaged-1"));
}

#[test]
fn a_refusal_is_shown_and_not_tried_again() {
    let (receiver, dir) = (Receiver::answering(|_, _| (400, vec![])), tempfile::tempdir().unwrap());
    let dispatcher = start(dir.path(), &webhook(&receiver.url("/"))).unwrap();
    dispatcher.observe(&all(), &[stop_of("g")]);
    let view = wait_for("the refusal", || Some(dispatcher.sinks()[0].clone()).filter(|view| view.failed == 1));
    assert!(view.last_error.unwrap().contains("answered 400"));
    assert_eq!(dispatcher.refusals("hook").len(), 1);
    dispatcher.observe(&all(), &[]);
    dispatcher.stop().unwrap();
    assert_eq!(receiver.requests().len(), 1);
}

#[test]
fn a_sink_that_hangs_holds_up_neither_the_others_nor_the_end() {
    let hanging = Receiver::answering(|_, _| {
        std::thread::sleep(Duration::from_secs(4));
        (200, vec![])
    });
    let (receiver, dir) = (Receiver::new(), tempfile::tempdir().unwrap());
    let slow = format!("[[webhook]]\nname = \"slow\"\nurl = \"{}\"\n", hanging.url("/"));
    let dispatcher = start(dir.path(), &format!("{slow}{}", webhook(&receiver.url("/")))).unwrap();
    dispatcher.observe(&all(), &[stop_of("g")]);
    receiver.wait(1);
    hanging.wait(1);
    let begun = Instant::now();
    dispatcher.stop().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    start(dir.path(), &webhook(&receiver.url("/"))).unwrap().stop().unwrap();
}

#[test]
fn ten_thousand_incidents_are_one_page() {
    let (receiver, dir) = (Receiver::new(), tempfile::tempdir().unwrap());
    let dispatcher = start(dir.path(), &webhook(&receiver.url("/"))).unwrap();
    let many: Vec<_> = (0..10_000).map(|n| stop_of(&n.to_string())).collect();
    let begun = Instant::now();
    assert_eq!(dispatcher.observe(&all(), &many).len(), 10_000);
    wait_for("it is told", || (dispatcher.sinks()[0].delivered == 10_000).then_some(()));
    dispatcher.observe(&all(), &[]);
    wait_for("it is told", || (dispatcher.sinks()[0].delivered == 20_000).then_some(()));
    println!("{:?}", begun.elapsed());
    let bodies: Vec<_> = receiver.requests().iter().map(|request| json(&request.body)).collect();
    assert_eq!(bodies.len(), 2);
    assert_eq!(
        (&bodies[0]["opened"], &bodies[0]["more"], &bodies[1]["resolved"]),
        (&10_000.into(), &9_990.into(), &10_000.into())
    );
}

#[test]
fn acknowledging_and_muting_are_told_to_nobody() {
    let (receiver, dir) = (Receiver::new(), tempfile::tempdir().unwrap());
    let dispatcher = start(dir.path(), &webhook(&receiver.url("/"))).unwrap();
    let id = dispatcher.observe(&all(), &[stop_of("g")])[0].incident.id.clone();
    receiver.wait(1);
    assert_eq!(dispatcher.acknowledge(&id, "me", "on it").unwrap().acknowledged.unwrap().by, "me");
    assert!(dispatcher.mute(&id, Some(i64::MAX)).is_some());
    assert!(dispatcher.acknowledge("nobody", "me", "").is_none());
    let worse = Observed { amount: 100, ..stop_of("g") };
    dispatcher.observe(&all(), &[worse]);
    dispatcher.observe(&all(), &[]);
    receiver.wait(2);
    assert_eq!(statuses(&receiver), ["open", "resolved"]);
}

#[test]
fn the_heartbeat_stops_when_observing_stops() {
    let (receiver, dir) = (Receiver::new(), tempfile::tempdir().unwrap());
    let config = format!(
        "[heartbeat]\nurl = \"{}\"\nmethod = \"GET\"\ninterval = \"1s\"\nsilent-after = \"100s\"\n",
        receiver.url("/ping")
    );
    let now = Arc::new(AtomicI64::new(1_000_000));
    let told = now.clone();
    let clock: Clock = Arc::new(move || told.load(Ordering::SeqCst));
    let dispatcher = Dispatcher::start(&toml::from_str(&config).unwrap(), dir.path(), place(), clock).unwrap();
    assert_eq!((receiver.wait(1)[0].method.as_str(), receiver.wait(1)[0].path.as_str()), ("GET", "/ping"));
    now.fetch_add(1_000, Ordering::SeqCst);
    receiver.wait(2);
    wait_for("it is shown", || (dispatcher.sinks()[0].delivered == 2).then_some(()));
    now.fetch_add(100_000, Ordering::SeqCst);
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(receiver.requests().len(), 2);
    dispatcher.observe(&all(), &[]);
    receiver.wait(3);
}

#[test]
fn mistakes_are_found_before_anything_is_needed() {
    let what = |config: &str| match check(&toml::from_str(config).unwrap(), &place()) {
        Ok(()) => panic!("{config}"),
        Err(error) => error.to_string(),
    };
    let hook = |more: &str| what(&format!("{}{more}", webhook("http://localhost/")));
    assert!(
        hook("template = '{\"t\": {{ Id }}}'").starts_with("alert sink \"hook\": line 1 of the template: undefined")
    );
    assert!(hook("template = '{\"t\": {{ id }'").starts_with("alert sink \"hook\": line 1 of the template: syntax"));
    assert!(hook("template = '{\"t\": \"{{ summary }}\"}'").contains("without quotes"));
    assert!(hook("template = '{\"t\": {{ incidents[0].topic.name }}}'").contains("undefined"));
    assert!(
        hook("template = '{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}'")
            .contains("fuel")
    );
    assert!(hook("method = \"DELETE\"").contains("POST, PUT or PATCH"));
    assert!(hook("secret-file = \"/nowhere\"").contains("/nowhere"));
    assert!(hook("headers = { \"a b\" = \"c\" }").contains("a b"));
    assert!(hook("[[slack]]\nname = \"hook\"\nurl = \"http://x/\"").contains("two sinks"));
    assert!(what("[[command]]\nname = \"c\"\nargv = [\"no-such-program\"]").contains("no-such-program"));
    assert!(what("[[email]]\nname = \"e\"\nhost = \"h\"\nfrom = \"nobody\"\nto = \"a@b.org\"").contains("nobody"));
    assert!(what("[heartbeat]\nurl = \"example.org\"").contains("http"));
    let config = format!(
        "{}template = '{{\"text\": {{{{ summary }}}}, \"n\": {{{{ incidents | length }}}}}}'",
        webhook("http://x/")
    );
    check(&toml::from_str(&config).unwrap(), &place()).unwrap();
}

#[test]
fn everything_that_can_be_set_is_accepted() {
    let config = r#"
        group-wait = "10s"
        group-interval = "1m"
        repeat-interval = "4h"
        resolve-after = "1m"
        collapse = 5

        [[rule]]
        kind = ["lag-*", "sequence-gap"]
        topic = "pay.*"
        severity = "critical"
        for = "2m"
        threshold = 100
        mute = ["Sat-Sun", "Mon-Fri 22:00-06:00 +02:00", "until 2026-12-24T08:00 +01:00"]
        route = ["alertmanager", "oncall"]
        runbook = "https://wiki.example.org/kafka/{kind}?topic={topic}&group={group}"
        hold = "until-acknowledged"

        [[alertmanager]]
        name = "alertmanager"
        url = "http://127.0.0.1:9093"
        refresh = "1m"
        heartbeat = true
        labels = { team = "pay" }

        [[webhook]]
        name = "oncall"
        url = "https://oncall.example.org/hook"
        headers = { "X-Team" = "pay" }
        template = '{"text": {{ summary }}, "severity": {{ severity }}, "dedup": {{ id }}, "why": {{ incidents[0].why }}}'

        [[slack]]
        name = "chat"
        url = "https://hooks.example.org/services/x"

        [[email]]
        name = "mail"
        host = "smtp.example.org"
        from = "Sordini <sordini@example.org>"
        to = ["ops@example.org"]

        [[command]]
        name = "script"
        argv = ["cat"]
        timeout = "30s"

        [heartbeat]
        url = "https://hc.example.org/ping/x"
        interval = "1m"
        silent-after = "5m"
    "#;
    check(&toml::from_str(config).unwrap(), &place()).unwrap();
}
