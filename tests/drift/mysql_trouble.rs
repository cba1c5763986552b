//! What cannot be compared in MariaDB is said in clear words, and is never "no drift".

use std::fs;
use std::process::Command;

use ::mysql::prelude::Queryable as _;
use sordini_lab::{Directory, Mariadb, certs::Certificates, mariadb};

use crate::common::{Said, drift};

fn url(user: &str, name: &str, table: &str) -> String {
    format!("{}?table={table}", mariadb::shared().url_as(user, name))
}

fn run(conn: &mut ::mysql::Conn, statements: &[&str]) {
    for statement in statements {
        conn.query_drop(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

/// A table with one row, and a faithful copy.
fn two_tables(name: &str) -> ::mysql::Conn {
    let mut conn = mariadb::shared().database(name);
    run(
        &mut conn,
        &[
            "CREATE TABLE items (id int PRIMARY KEY, note longtext)",
            "INSERT INTO items VALUES (1, 'x')",
            "CREATE TABLE copy LIKE items",
            "INSERT INTO copy SELECT * FROM items",
        ],
    );
    conn
}

#[test]
fn what_cannot_be_compared_is_said() {
    let name = "maria_words";
    let mut conn = two_tables(name);
    run(
        &mut conn,
        &[
            "CREATE TABLE keyless (id int, note text)",
            "CREATE TABLE prefixed (id int, note varchar(50) NOT NULL, UNIQUE (note(3)))",
            "CREATE TABLE odd (id int PRIMARY KEY, at point)",
            "CREATE TABLE heap (id int PRIMARY KEY, note text) ENGINE = MyISAM",
            "CREATE VIEW seen AS SELECT * FROM items",
            "CREATE USER writer@127.0.0.1",
            "GRANT SELECT, UPDATE (note) ON maria_words.items TO writer@127.0.0.1",
            "CREATE USER locked@127.0.0.1 IDENTIFIED BY 'secret'",
        ],
    );
    let items = url("audit", name, "items");
    let wrong_password = items.replace("audit@", "locked:wrongsecret@");
    let nowhere = format!("mysql://audit:secret@127.0.0.1:1/{name}?table=items");
    for (second, said) in [
        (url("audit", name, "keyless"), "no primary key"),
        (url("audit", name, "prefixed"), "no primary key"),
        (url("audit", name, "odd"), "--ignore at"),
        (url("audit", name, "heap"), "MyISAM table, which has no snapshot"),
        (url("audit", name, "seen"), "it is a view"),
        (url("audit", name, "nothing"), "there is no table maria_words.nothing"),
        (url("audit", name, "items&key=note"), "\"note\" may be null"),
        (url("writer", name, "items"), "could write"),
        (url("root", name, "items"), "could write"),
        (wrong_password, "Access denied"),
        (nowhere, "is the address right"),
        (items.clone() + "&ssl-mode=REQUIRED", "server does not have this capability"),
        (items.clone() + "&defaults-file=/nowhere/my.cnf", "/nowhere/my.cnf"),
    ] {
        let answer = drift(&[&items, &second]);
        assert_eq!(answer.exit, 2, "{second}: {}", answer.err);
        assert!(answer.err.contains(said) && !answer.err.contains("secret"), "{second}: {}", answer.err);
    }
    drift(&[&items, &url("root", name, "copy"), "--allow-writer"]).must_exit(0);
    drift(&[&url("audit", name, "odd"), &url("audit", name, "odd"), "--ignore", "at"]).must_exit(2);
}

/// The right to write may come by a role.
#[test]
fn a_role_that_could_write_is_refused() {
    let name = "maria_roles";
    let mut conn = two_tables(name);
    run(
        &mut conn,
        &[
            "CREATE ROLE scribe",
            "GRANT SELECT, INSERT ON maria_roles.* TO scribe",
            "CREATE USER clerk@127.0.0.1",
            "GRANT scribe TO clerk@127.0.0.1",
            "SET DEFAULT ROLE scribe FOR clerk@127.0.0.1",
        ],
    );
    let said = drift(&[&url("audit", name, "items"), &url("clerk", name, "copy")]);
    assert!(said.exit == 2 && said.err.contains("could write"), "{}", said.err);
}

/// The server only warns where it gives null for the hash of a long row.
#[test]
fn a_row_that_is_too_long_to_be_hashed_is_said() {
    let name = "maria_long";
    let mut conn = two_tables(name);
    // 16 MiB are the most that one packet, and one text of SQL's, may have.
    run(&mut conn, &["UPDATE items SET note = REPEAT('x', 16777210)", "UPDATE copy SET note = REPEAT('y', 16777210)"]);
    let (items, copy) = (url("audit", name, "items"), url("audit", name, "copy"));
    let said = drift(&[&items, &copy]);
    assert!(said.exit == 2 && said.err.contains("max_allowed_packet"), "{} {}", said.exit, said.err);
    drift(&[&items, &copy, "--ignore", "note"]).must_exit(0);
    run(&mut conn, &["UPDATE items SET note = REPEAT('x', 9000000)", "UPDATE copy SET note = REPEAT('y', 9000000)"]);
    drift(&[&items, &copy]).must_exit(1);
}

#[test]
fn a_statement_that_takes_too_long_is_no_agreement() {
    let name = "maria_late";
    let mut conn = two_tables(name);
    run(&mut conn, &["LOCK TABLES items WRITE"]);
    let said = drift(&[&url("audit", name, "copy"), &url("audit", name, "items"), "--statement-timeout", "500ms"]);
    assert!(said.exit == 2 && said.err.contains("--statement-timeout"), "{}", said.err);
}

#[test]
fn what_would_be_done_is_explained() {
    let name = "maria_explained";
    let mut conn = two_tables(name);
    run(&mut conn, &["ALTER TABLE items ADD share double", "ALTER TABLE copy ADD share double"]);
    let explained = |more: &[&str]| {
        let said = Command::new(env!("CARGO_BIN_EXE_sordini"))
            .args(["drift", "--explain", &url("audit", name, "items"), &url("audit", name, "copy")])
            .args(more)
            .output()
            .expect("sordini starts");
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stdout).expect("text")
    };
    let text = explained(&[]);
    assert!(text.contains("hash: here, over all rows: SQL prints the values of `share` otherwise"), "{text}");
    let text = explained(&["--ignore", "share"]);
    assert!(text.contains("claim: heuristic") && text.contains("hash: MD5"), "{text}");
    // The statements are SQL as they stand, where they have no parameters.
    let statements: Vec<&str> = text.lines().map(str::trim).filter(|line| line.starts_with("SELECT")).collect();
    assert_eq!(statements.len(), 10, "{text}");
    for statement in statements.iter().filter(|statement| !statement.contains('?')) {
        run(&mut conn, &[statement.trim_end_matches(';')]);
    }
}

#[test]
fn the_option_file_of_the_mysql_client_is_read() {
    let name = "maria_options";
    let mut conn = two_tables(name);
    run(
        &mut conn,
        &["CREATE USER quiet@127.0.0.1 IDENTIFIED BY 'a#b c'", "GRANT SELECT ON maria_options.* TO quiet@127.0.0.1"],
    );
    let home = Directory::new("home");
    let port = mariadb::shared().port();
    home.write(".my.cnf", &format!("[client]\nuser=quiet\npassword=\"a#b c\"\nport={port}\n"));
    let run = |first: &str, variable: (&str, &str)| {
        Command::new(env!("CARGO_BIN_EXE_sordini"))
            .args(["drift", "--settle", "1s", first, &first.replace("items", "copy")])
            .env("HOME", &*home)
            .env(variable.0, variable.1)
            .output()
            .expect("sordini starts")
    };
    let said = run(&format!("mysql:///{name}?table=items"), ("NONE", ""));
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    fs::remove_file(home.join(".my.cnf")).expect("the file goes");
    let url = format!("mariadb://quiet@127.0.0.1:{port}/{name}?table=items");
    assert_eq!(run(&url, ("NONE", "")).status.code(), Some(2));
    let said = run(&url, ("MYSQL_PWD", "a#b c"));
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}

#[test]
fn over_tls() {
    let directory = Directory::new("certificates");
    let certificates = Certificates::make(&directory);
    // Its key must be the server's to read.
    let opened = Command::new("chmod").args(["-R", "a+rX"]).arg(&*directory).status();
    assert!(opened.is_ok_and(|status| status.success()), "the certificates can be read");
    let store = certificates.server_store.display();
    let [cert, key] = [format!("ssl-cert={store}"), format!("ssl-key={store}")];
    let server = Mariadb::start(&[&cert, &key]);
    let mut conn = server.database("shop");
    run(
        &mut conn,
        &[
            "CREATE TABLE items (id int PRIMARY KEY)",
            "INSERT INTO items VALUES (1)",
            "CREATE USER safe@127.0.0.1 REQUIRE SSL",
            "GRANT SELECT ON shop.* TO safe@127.0.0.1",
        ],
    );
    let items = format!("{}?table=items", server.url_as("safe", "shop"));
    let ca = format!("&ssl-ca={}", certificates.ca.display());
    let with = |more: &str| -> Said {
        let url = format!("{items}{more}");
        drift(&[&url, &url])
    };
    with("").must_exit(0);
    with("&ssl-mode=REQUIRED").must_exit(0);
    with(&format!("&ssl-mode=VERIFY_IDENTITY{ca}")).must_exit(0);
    let said = with("&ssl-mode=VERIFY_IDENTITY");
    assert!(said.exit == 2 && said.err.contains("certificate"), "{}", said.err);
    let said = with("&ssl-mode=DISABLED");
    assert!(said.exit == 2 && said.err.contains("Access denied"), "{}", said.err);
}
