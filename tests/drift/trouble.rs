//! What cannot be compared is said in clear words, and is never "no drift".

use sordini_lab::Record;

use crate::common::{Pair, drift};

#[test]
fn an_empty_side_is_drift() {
    let pair = Pair::new("empty", 1);
    let mut client = pair.two_rows();
    pair.audit(&[]).must_exit(0);
    client.batch_execute("TRUNCATE items").expect("no rows");
    let said = pair.audit(&[]);
    said.must_exit(1);
    assert_eq!(said.drift().len(), 2);

    let pair = Pair::new("no_records", 1);
    let mut client = pair.table("id int PRIMARY KEY, note text");
    pair.kafka.commit_offsets(&pair.group(), &[(&pair.name, 0, 0)]);
    pair.audit(&[]).must_exit(2);
    client.batch_execute("INSERT INTO items VALUES (1, 'x')").expect("a row");
    let said = pair.audit(&[]);
    said.must_exit(1);
    assert_eq!(said.drift(), [("extra".to_owned(), "1".to_owned())]);
}

#[test]
fn a_stale_row_says_which_version_it_is() {
    let pair = Pair::new("stale", 1);
    let mut client = pair.table("id int PRIMARY KEY, note text");
    let producer = pair.kafka.producer(&[]);
    for version in 0..5_i64 {
        let record = pair.record(1, Some(&format!("{{\"note\":\"v{version}\"}}")));
        producer.send(&record.timestamp(1_700_000_000_000 + version * 4_000));
    }
    producer.flush();
    pair.commit_all();
    client.batch_execute("INSERT INTO items VALUES (1, 'v1')").expect("a row");
    let said = pair.audit(&[]);
    said.must_exit(1);
    let finding = &said.findings[0];
    assert_eq!(finding["kind"], "stale");
    assert_eq!(finding["why"], "id 1 is stale: it equals the version at offset 1, 3 versions and 12 s old");
    assert_eq!(finding["columns"]["note"], serde_json::json!({"expected": "v4", "actual": "v1"}));
    assert_eq!(finding["sightings"][0]["offset"], 4);
}

#[test]
fn a_row_that_was_deleted_in_the_topic_is_extra() {
    let pair = Pair::new("deleted", 1);
    let _client = pair.two_rows();
    let producer = pair.kafka.producer(&[]);
    producer.send(&pair.record(2, None));
    producer.flush();
    // In flight it may be there or not.
    pair.audit(&[]).must_exit(0);
    pair.commit_all();
    let said = pair.audit(&[]);
    said.must_exit(1);
    assert_eq!(said.drift(), [("extra".to_owned(), "2".to_owned())]);
    assert_eq!(said.findings[0]["cause"], "deleted");
}

#[test]
fn what_left_the_topic_is_not_held_against_the_table() {
    let pair = Pair::new("trimmed", 1);
    let mut client = pair.two_rows();
    pair.kafka.delete_records(&pair.name, 0, 1);
    let said = pair.audit(&[]);
    said.must_exit(3);
    assert_eq!(said.drift_summary()["unverifiable"]["retention"], 1, "{:#}", said.summary);
    client.batch_execute("UPDATE items SET note = 'y' WHERE id = 2").expect("a change");
    let said = pair.audit(&[]);
    said.must_exit(1);
    assert_eq!(said.drift(), [("differs".to_owned(), "2".to_owned())]);
}

#[test]
fn a_partition_the_group_has_not_begun_is_not_vouched_for() {
    let pair = Pair::new("begun", 2);
    let mut client = pair.table("id int PRIMARY KEY, note text");
    let producer = pair.kafka.producer(&[]);
    for key in 0..4 {
        producer.send(&pair.record(key, Some("{\"note\":\"x\"}")));
    }
    producer.flush();
    pair.kafka.commit_offsets(&pair.group(), &[(&pair.name, 0, 2)]);
    client.batch_execute("INSERT INTO items VALUES (0, 'x'), (2, 'x')").expect("rows");
    let said = pair.audit(&[]);
    said.must_exit(2);
    assert_eq!(said.summary["unread"][0]["partition"], 1, "{:#}", said.summary);
    pair.commit_all();
    let said = pair.audit(&[]);
    said.must_exit(1);
    assert_eq!(said.drift(), [("missing".to_owned(), "1".to_owned()), ("missing".to_owned(), "3".to_owned())]);
}

#[test]
fn without_a_group_the_claim_is_heuristic() {
    let pair = Pair::new("heuristic", 1);
    let mut client = pair.two_rows();
    let (topic, table) = (pair.topic_url(""), pair.table_url(""));
    std::thread::sleep(std::time::Duration::from_millis(1_200));
    let said = drift(&[&topic, &table]);
    said.must_exit(0);
    assert_eq!(said.drift_summary()["claim"], "heuristic");
    client.batch_execute("DELETE FROM items WHERE id = 1").expect("a row goes");
    let said = drift(&[&topic, &table]);
    said.must_exit(3);
    assert_eq!(said.findings[0]["grade"], "possible");
}

#[test]
fn records_that_do_not_fit_are_counted() {
    let pair = Pair::new("misfits", 1);
    let mut client = pair.table("id int PRIMARY KEY, amount int");
    let producer = pair.kafka.producer(&[]);
    producer.send(&pair.record(1, Some("{\"amount\":1}")));
    producer.send(&pair.record(2, Some("{\"amount\":\"ten\"}")));
    producer.send(&sordini_lab::Record::new(&pair.name, 0).value("{\"amount\":3}"));
    producer.flush();
    pair.commit_all();
    client.batch_execute("INSERT INTO items VALUES (1, 1), (2, 10)").expect("rows");
    let said = pair.audit(&[]);
    said.must_exit(3);
    let unverifiable = &said.drift_summary()["unverifiable"];
    assert_eq!((&unverifiable["undecodable"], &unverifiable["unusable-record"]), (&1.into(), &1.into()));
    let samples = said.summary["samples"].to_string();
    assert!(samples.contains("[0]@1: \\\"amount\\\" is no number") && samples.contains("no key"), "{samples}");
    // What can be compared still is.
    client.batch_execute("UPDATE items SET amount = 2 WHERE id = 1").expect("a change");
    pair.audit(&[]).must_exit(1);
}

#[test]
fn what_cannot_be_compared_is_said() {
    let pair = Pair::new("words", 1);
    let mut client = pair.two_rows();
    client
        .batch_execute(
            "CREATE TABLE keyless (id int, note text); CREATE TABLE odd (id int PRIMARY KEY, at interval); \
             CREATE TABLE hidden (id int PRIMARY KEY); REVOKE ALL ON hidden FROM audit",
        )
        .expect("tables");
    let (topic, group) = (pair.topic_url(""), pair.group());
    let table = |name: &str| format!("{}?table={name}", pair.postgres.url_as("audit", &pair.name));
    let superuser = format!("{}?table=items", pair.postgres.url(&pair.name));
    let nowhere = "postgres://audit:secret@127.0.0.1:1/x?table=t".to_owned();
    for (table, more, said) in [
        (table("keyless"), vec![], "no primary key"),
        (table("odd"), vec![], "--ignore at"),
        (table("nothing"), vec![], "there is no table nothing"),
        (table("hidden"), vec![], "GRANT SELECT"),
        (table("items"), vec!["--columns", "noted"], "has no column \"noted\"; it has id, note"),
        (table("items"), vec!["--group", "nobody"], "group nobody has committed no offset of topic words"),
        (superuser, vec![], "could write"),
        (nowhere, vec![], "refused"),
    ] {
        let mut args = vec![topic.as_str(), table.as_str()];
        if !more.contains(&"--group") {
            args.extend(["--group", group.as_str()]);
        }
        args.extend(more);
        let answer = drift(&args);
        assert_eq!(answer.exit, 2, "{args:?}");
        assert!(answer.err.contains(said) && !answer.err.contains("secret"), "{args:?}: {}", answer.err);
    }
    let nowhere = format!("kafka://{}/no-such-topic", pair.kafka.bootstrap());
    let answer = drift(&[&nowhere, &table("items"), "--group", &group]);
    assert_eq!(answer.exit, 2);
    assert!(answer.err.contains("no-such-topic") && !answer.err.contains("committed"), "{}", answer.err);
    let odd = table("odd");
    drift(&[&topic, &odd, "--group", &group, "--ignore", "at"]).must_exit(1);
}

#[test]
fn the_command_of_the_readme_works() {
    let pair = Pair::new("readme", 1);
    let mut client = pair.two_rows();
    let readme = include_str!("../../README.md");
    let command = readme.lines().find_map(|line| line.strip_prefix("$ sordini drift ")).expect("the README compares");
    let here = command
        .replace('\'', "")
        .replace("kafka://kafka:9092/orders", &pair.topic_url(""))
        .replace("postgres://audit@db/shop?table=orders", &pair.table_url(""))
        .replace("connect-orders", &pair.group());
    let args: Vec<&str> = here.split(' ').collect();
    drift(&args).must_exit(0);
    client.batch_execute("UPDATE items SET note = 'y' WHERE id = 1").expect("a change");
    drift(&args).must_exit(1);
}

#[test]
fn what_would_be_done_is_explained() {
    let pair = Pair::new("explained", 1);
    let mut client = pair.two_rows();
    let said = std::process::Command::new(env!("CARGO_BIN_EXE_sordini"))
        .args([
            "drift",
            "--explain",
            &pair.topic_url(""),
            &pair.table_url(""),
            "--group",
            &pair.group(),
            "--conserve",
            "sum(id) by note",
        ])
        .output()
        .expect("sordini starts");
    assert!(said.status.success());
    let text = String::from_utf8(said.stdout).expect("text");
    assert!(text.contains("claim: bracketed"), "{text}");
    // The statements are SQL as they stand, where they have no parameters.
    let statements: Vec<&str> = text.lines().filter(|line| line.trim_start().starts_with("SELECT")).collect();
    assert!(statements.len() >= 5 && text.contains("what must be conserved: sum(id) by note"), "{text}");
    for statement in statements.iter().filter(|statement| !statement.contains('$')) {
        client.query(*statement, &[]).unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

/// The topic was given more partitions, and nobody orders records of two of them but their times.
#[test]
fn a_key_that_moved_to_another_partition_is_held_against_its_last_version() {
    let pair = Pair::new("moved", 2);
    let mut client = pair.table("id int PRIMARY KEY, v int");
    let producer = pair.kafka.producer(&[]);
    for (partition, version) in [(0, 1), (1, 2)] {
        for key in 1..=20 {
            let record = Record::new(&pair.name, partition).key(key.to_string()).value(format!("{{\"v\":{version}}}"));
            producer.send(&record);
        }
        producer.flush();
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    pair.commit_all();
    client.batch_execute("INSERT INTO items SELECT i, 2 FROM generate_series(1, 20) i").expect("rows");
    pair.audit(&[]).must_exit(0);
    client.batch_execute("UPDATE items SET v = 1 WHERE id < 4; UPDATE items SET v = 9 WHERE id = 4").expect("drift");
    let said = pair.audit(&[]);
    said.must_exit(3);
    let wanted = [("differs", "4"), ("stale", "1"), ("stale", "2"), ("stale", "3")];
    assert_eq!(said.drift(), wanted.map(|(kind, key)| (kind.to_owned(), key.to_owned())));
    assert!(said.findings.iter().all(|finding| finding["grade"] == "possible"), "{:#?}", said.findings);
    assert_eq!(said.drift_summary()["in_flight"], 0);
}

/// A topic that is read otherwise than it is written is not judged.
#[test]
fn a_topic_that_is_read_the_wrong_way_is_not_judged() {
    let pair = Pair::new("wrong_way", 1);
    let mut client = pair.table("id int PRIMARY KEY, a text");
    let producer = pair.kafka.producer(&[]);
    (1..=3).for_each(|key| producer.send(&pair.record(key, Some("{\"a\":\"x\"}"))));
    producer.flush();
    pair.commit_all();
    client.batch_execute("INSERT INTO items VALUES (1, 'x'), (2, 'x'), (3, 'x')").expect("rows");
    pair.audit(&[]).must_exit(0);
    let (topic, table, group) = (pair.topic_url("?value=debezium"), pair.table_url(""), pair.group());
    let said = drift(&[&topic, &table, "--group", &group]);
    said.must_exit(2);
    assert_eq!(said.findings, Vec::<serde_json::Value>::new());
    assert!(said.summary.to_string().contains("no event of Debezium's"), "{:#}", said.summary);
    client.batch_execute("ALTER TABLE items RENAME a TO b; UPDATE items SET b = NULL").expect("another name");
    let said = pair.audit(&[]);
    said.must_exit(2);
    assert!(
        said.summary.to_string().contains("none of its 3 records has a member of the columns b"),
        "{:#}",
        said.summary
    );
}

/// As Connect writes a key that is no struct; and one record that says nothing of any key.
#[test]
fn a_bare_key_may_be_wrapped_and_what_says_nothing_proves_nothing() {
    let pair = Pair::new("wrapped", 1);
    let mut client = pair.table("id int PRIMARY KEY, a text");
    let producer = pair.kafka.producer(&[]);
    let send = |key: &str| producer.send(&Record::new(&pair.name, 0).key(key).value("{\"a\":\"x\"}"));
    send("{\"schema\":{\"type\":\"int32\",\"optional\":false},\"payload\":1}");
    send("{\"id\":2}");
    producer.flush();
    pair.commit_all();
    client.batch_execute("INSERT INTO items VALUES (1, 'x'), (2, 'x')").expect("rows");
    pair.audit(&[]).must_exit(0);
    send("{\"other\":3}");
    producer.flush();
    pair.commit_all();
    client.batch_execute("INSERT INTO items VALUES (3, 'x'); UPDATE items SET a = 'y' WHERE id = 2").expect("drift");
    let said = pair.audit(&[]);
    said.must_exit(1);
    let grades: Vec<_> =
        said.findings.iter().map(|finding| (finding["kind"].clone(), finding["grade"].clone())).collect();
    assert_eq!(grades, [("extra".into(), "possible".into()), ("differs".into(), "proven".into())]);
}

#[test]
fn rows_that_a_policy_hides_are_not_missing() {
    let pair = Pair::new("hidden_rows", 1);
    let mut client = pair.two_rows();
    client
        .batch_execute("ALTER TABLE items ENABLE ROW LEVEL SECURITY; CREATE POLICY seen ON items USING (id < 2)")
        .expect("a policy");
    let said = pair.audit(&[]);
    assert_eq!(said.exit, 2, "{:#?}", said.findings);
    assert!(said.err.contains("BYPASSRLS"), "{}", said.err);
}
