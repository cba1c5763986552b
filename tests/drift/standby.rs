//! A table whose server has a standby: it is read no further while that one is late.

use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use sordini_lab::{Postgres, wait_for};

use crate::common::drift;

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn a_late_standby_is_waited_for() {
    let primary = Postgres::start(&[]);
    let standby = primary.standby();
    let mut client = primary.database("late");
    let rows = "SELECT i, 'x' FROM generate_series(1, 20000) i";
    for table in ["a", "b"] {
        client
            .batch_execute(&format!("CREATE TABLE {table} (id int PRIMARY KEY, note text); INSERT INTO {table} {rows}"))
            .expect("rows");
        client.batch_execute(&format!("VACUUM ANALYZE {table}")).expect("statistics");
    }
    let url = |server: &Postgres, table: &str| format!("{}?table={table}", server.url_as("audit", "late"));
    let (a, b) = (url(&primary, "a"), url(&primary, "b"));
    let refused = drift(&[&a, &b, "--max-replica-lag", "1s"]);
    assert_eq!(refused.exit, 2);
    assert!(refused.err.contains("GRANT pg_read_all_stats"), "{}", refused.err);
    client.batch_execute("GRANT pg_read_all_stats TO audit").expect("a right");
    drift(&[&a, &b, "--max-replica-lag", "10s"]).must_exit(0);

    let mut replica = standby.client("postgres");
    replica.batch_execute("SELECT pg_wal_replay_pause()").expect("it replays no more");
    client.batch_execute("INSERT INTO a VALUES (0, 'y'); INSERT INTO b VALUES (0, 'y')").expect("rows");
    // It takes four seconds at least, after one of which the standby is late.
    let mut compared = Command::new(env!("CARGO_BIN_EXE_sordini"))
        .args(["drift", &a, &b, "--max-rate", "5000", "--max-replica-lag", "1s", "--settle", "1s", "--format", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("sordini starts");
    sleep(Duration::from_secs(10));
    assert_eq!(compared.try_wait().expect("it is a child"), None, "it waits");
    replica.batch_execute("SELECT pg_wal_replay_resume()").expect("it replays again");
    let ended = wait_for("it ends", LIMIT, || compared.try_wait().expect("it is a child"));
    assert_eq!(ended.code(), Some(0));

    // The standby itself may be compared with, too.
    let c = url(&standby, "a");
    drift(&[&b, &c, "--max-replica-lag", "10s"]).must_exit(0);
}
