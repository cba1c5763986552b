//! The page in a real browser.

use std::path::Path;
use std::time::Duration;

use sordini_lab::{Browser, shared, wait_for};

use super::common::{Daemon, LIMIT, fill, name};

#[test]
fn the_page_shows_what_changes_without_being_reloaded() {
    let kafka = shared();
    let (topic, group) = (name("shown"), name("readers"));
    kafka.create_topic(&topic, 1, &[]);
    fill(kafka, &topic, 100);
    let worker = kafka.consumer(&group, &[&topic], &[]).work(Duration::from_millis(300));
    wait_for("the group has read", LIMIT, || (worker.records() == 100).then_some(()));
    let daemon = Daemon::start(&kafka.bootstrap(), &topic, &group, "");
    daemon.wait_for_verdict(&group, "ok");

    let browser = Browser::start();
    browser.open(&daemon.url(&format!("/groups/{group}")));
    assert!(browser.title().contains(&*group), "{}", browser.title());
    assert!(browser.text("main").contains("ok"));
    let shots = Path::new(env!("CARGO_TARGET_TMPDIR"));
    browser.screenshot(&shots.join("watch-group-ok.png"));

    // A mark in the document that a reload would wipe out.
    browser.script("window.marked = true; return true", Vec::new());
    worker.leave();
    fill(kafka, &topic, 50);
    daemon.wait_for_verdict(&group, "no-owner");
    wait_for("the page follows", LIMIT, || browser.text("main").contains("no-owner").then_some(()));
    assert_eq!(browser.script("return window.marked === true", Vec::new()), true, "it was not reloaded");
    browser.screenshot(&shots.join("watch-group-bad.png"));

    browser.open(&daemon.url("/"));
    assert!(browser.text("main").contains(&*group));
    browser.screenshot(&shots.join("watch-overview.png"));
    browser.open(&daemon.url(&format!("/topics/{topic}")));
    assert!(browser.text("main").contains("150"), "{}", browser.text("main"));
    let errors: Vec<String> = browser.console().into_iter().filter(|line| line.contains("SEVERE")).collect();
    assert!(errors.is_empty(), "{errors:?}");
}
