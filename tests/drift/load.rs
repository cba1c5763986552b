//! Under load: a topic that is written all the time, and a sink that lags, crashes between its commits and writes again.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use sordini_lab::load::{DRIFT, Load, WRONG};
use sordini_lab::postgres as server;

use crate::common::{Said, drift};
use crate::follow::Follower;

fn start() -> Load {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let name = format!("load_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let load = Load::start(sordini_lab::shared(), server::shared(), &name, 3);
    load.wait_until_settled();
    load
}

fn audit(load: &Load) -> Said {
    drift(&[&load.topic_url(), &load.table_url(), "--group", &load.group()])
}

/// Whether the sums are conserved, too.
fn audit_with_laws(load: &Load) -> Said {
    let (topic, table, group) = (load.topic_url(), load.table_url(), load.group());
    drift(&[&topic, &table, "--group", &group, "--conserve", "sum(amount)", "--conserve", "count(*) by note"])
}

/// `DRIFT_AUDITS`: how many audits must find nothing.
#[test]
fn nothing_is_found_where_nothing_is_wrong_and_ten_drifts_are_where_ten_are() {
    let audits: u32 = std::env::var("DRIFT_AUDITS").ok().and_then(|text| text.parse().ok()).unwrap_or(6);
    let load = start();
    let mut in_flight = 0;
    for round in 0..audits {
        let said = if round % 2 == 0 { audit(&load) } else { audit_with_laws(&load) };
        assert_eq!(said.exit, 0, "audit {round}: {}\n{:#?}\n{:#}", said.err, said.findings, said.summary);
        in_flight += said.drift_summary()["in_flight"].as_u64().expect("a number");
    }
    assert!(in_flight > 0, "the load was under way");

    load.client().batch_execute(DRIFT).expect("drift");
    let said = audit(&load);
    said.must_exit(1);
    assert_eq!(said.drift(), WRONG.map(|(kind, key)| (kind.to_owned(), key.to_owned())));
    assert!(load.written() > 0);
}

/// For a quarter of a minute nothing is wrong; then it is, and after that it is mended.
#[test]
fn following_a_busy_table_tells_what_is_wrong_and_nothing_else() {
    let load = start();
    let (topic, table, group) = (load.topic_url(), load.table_url(), load.group());
    let follower = Follower::start(&[&topic, &table, "--group", &group, "--every", "1s", "--buckets", "4"]);
    thread::sleep(Duration::from_secs(15));
    assert_eq!(follower.told(), [], "{}", follower.err());
    let mut client = load.client();
    client
        .batch_execute("DELETE FROM items WHERE id = 100001; UPDATE items SET amount = amount + 1 WHERE id = 100002; INSERT INTO items VALUES (-5, 0, '')")
        .expect("drift");
    for (kind, key) in [("missing", "100001"), ("differs", "100002"), ("extra", "-5")] {
        follower.wait_for(kind, key, "open");
    }
    client.batch_execute("DELETE FROM items WHERE id = -5").expect("one heals");
    follower.wait_for("extra", "-5", "resolved");
    let told = follower.told();
    assert_eq!(told.len(), 4, "{told:?}\n{}", follower.err());
    let (exit, summary, _) = follower.end();
    assert_eq!(exit, 1, "{summary:#}");
    let following = &summary["drift"]["following"];
    assert!(following["checked"].as_u64() > Some(3_000), "{following:#}");
}
