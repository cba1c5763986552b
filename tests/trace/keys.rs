//! The key: in the ledger, in a file outside, in the environment.

use std::os::unix::fs::PermissionsExt;

use crate::common::{audit, hour_ago, orders, run, sordini, text, trace};

#[test]
fn a_key_outside_is_needed_for_every_look_and_never_lies_in_the_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let (key, other) = (dir.path().join("our.key"), dir.path().join("other.key"));
    for path in [&key, &other] {
        run(&["ledger", "key", text(path)]).said(0, "written to");
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    run(&["ledger", "key", text(&key)]).said(2, "is not overwritten");
    let with_key = ["--id", "json:/id", "--ledger-key", text(&key)];
    let (ledger, _) = audit(dir.path(), &orders(10, hour_ago()), &with_key);
    assert!(!ledger.join("key").exists());

    trace(&ledger, &["o1"]).said(2, "--ledger-key");
    trace(&ledger, &["o1", "--ledger-key", text(&other)]).said(2, "not made with the given key");
    trace(&ledger, &["o1", "--ledger-key", text(&key)]).said(0, "orders[1]@0");
    run(&["ledger", "stat", text(&ledger), "--ledger-key", text(&key)]).said(0, "10 in 1 run");
    run(&["ledger", "verify", text(&ledger)]).said(2, "the key is missing");
    run(&["ledger", "verify", text(&ledger), "--ledger-key", text(&key)]).said(0, "sound");

    // The same through the environment, as a file and in digits.
    let with = |name: &str, value: &str| {
        let ran = sordini(&["trace", "o1", "--ledger", text(&ledger)]).env(name, value).output().unwrap();
        (ran.status.code(), String::from_utf8(ran.stderr).unwrap())
    };
    assert_eq!(with("SORDINI_LEDGER_KEY_FILE", text(&key)).0, Some(0));
    let digits: String = std::fs::read(&key).unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(with("SORDINI_LEDGER_KEY", &digits).0, Some(0));
    let (code, said) = with("SORDINI_LEDGER_KEY", &digits[2..]);
    assert_eq!((code, said.contains("384 hexadecimal digits")), (Some(2), true), "{said}");
    assert!(!said.contains(&digits[4..20]), "the key is not repeated");
}

#[test]
fn the_key_may_be_named_in_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let (key, config) = (dir.path().join("our.key"), dir.path().join("audit.toml"));
    run(&["ledger", "key", text(&key)]).said(0, "written to");
    let written = format!("version = 1\nid = \"json:/id\"\nledger-key = \"{}\"\n", key.display());
    std::fs::write(&config, written).unwrap();
    let (ledger, _) = audit(dir.path(), &orders(10, hour_ago()), &["-c", text(&config)]);
    assert!(!ledger.join("key").exists());
    trace(&ledger, &["o1", "--ledger-key", text(&key)]).said(0, "orders[1]@0");
}

#[test]
fn a_wrong_key_in_the_ledger_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = audit(dir.path(), &orders(10, hour_ago()), &["--id", "json:/id"]);
    std::fs::write(ledger.join("key"), [7; 192]).unwrap();
    trace(&ledger, &["o1"]).said(2, "not the key this ledger was written with");
    run(&["ledger", "export", text(&ledger)]).said(2, "not the key this ledger was written with");
}
