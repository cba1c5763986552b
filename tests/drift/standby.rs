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
    // An archive replays nothing, and is no standby.
    let archive = primary.archive();
    drift(&[&a, &b, "--max-replica-lag", "10s"]).must_exit(0);

    // It takes ten seconds at least, in one transaction.
    let mut compared = Command::new(env!("CARGO_BIN_EXE_sordini"))
        .args(["drift", &a, &b, "--max-rate", "2000", "--max-replica-lag", "1s", "--settle", "1s", "--format", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("sordini starts");
    sleep(Duration::from_secs(1));
    // A standby that comes back is another process of the server's.
    let standbys = "SELECT pid FROM pg_stat_replication WHERE application_name = 'walreceiver' AND state = 'streaming'";
    let before: i32 = client.query_one(standbys, &[]).expect("it is there").get(0);
    client.execute("SELECT pg_terminate_backend($1)", &[&before]).expect("it goes");
    wait_for("the standby comes back", LIMIT, || {
        let now = client.query_opt(standbys, &[]).expect("a right").map(|row| row.get::<_, i32>(0));
        now.filter(|pid| *pid != before)
    });
    let mut replica = standby.client("postgres");
    replica.batch_execute("SELECT pg_wal_replay_pause()").expect("it replays no more");
    client.batch_execute("INSERT INTO a VALUES (0, 'y'); INSERT INTO b VALUES (0, 'y')").expect("rows");
    sleep(Duration::from_secs(14));
    assert_eq!(compared.try_wait().expect("it is a child"), None, "it waits");
    replica.batch_execute("SELECT pg_wal_replay_resume()").expect("it replays again");
    let ended = wait_for("it ends", LIMIT, || compared.try_wait().expect("it is a child"));
    assert_eq!(ended.code(), Some(0));

    drop(archive);
    // The standby itself may be compared with, too.
    let c = url(&standby, "a");
    drift(&[&b, &c, "--max-replica-lag", "10s"]).must_exit(0);
}
