//! Receivers, Prometheus, Alertmanager and the browser.

use std::path::Path;
use std::time::{Duration, Instant};
use std::{env, fs, process};

use serde_json::json;
use sordini_lab::{Alertmanager, Answer, Browser, Prometheus, Receiver, http, wait_for};

use crate::LIMIT;

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
