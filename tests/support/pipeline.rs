//! A real Kafka and a real PostgreSQL with a pipeline under load, to try sordini on: `scripts/pipeline`.
//!
//! Writes where they are into the directory it is given, one file for each, and runs until it is killed.

use std::path::PathBuf;
use std::time::Duration;
use std::{env, fs, thread};

use sordini_lab::load::{DRIFT, Load};
use sordini_lab::{Kafka, Options, Postgres};

const NAME: &str = "shop";

fn main() {
    let directory = PathBuf::from(env::args().nth(1).expect("a directory is named"));
    let kafka: &'static Kafka = Box::leak(Box::new(Kafka::start(Options::default())));
    let postgres: &'static Postgres = Box::leak(Box::new(Postgres::start(&[])));
    let load = Load::start(kafka, postgres, NAME, 3);
    load.wait_until_settled();
    let write = |name: &str, text: &str| fs::write(directory.join(name), text).expect("the directory is writable");
    write("topic", &load.topic_url());
    write("table", &load.table_url());
    write("group", &load.group());
    write("superuser", &postgres.url(NAME));
    write("drift.sql", DRIFT);
    // Last: whoever waits for it finds the others.
    write("ready", "");
    loop {
        thread::sleep(Duration::from_secs(3_600));
    }
}
