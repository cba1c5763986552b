//! Real servers for tests, Kafka first: started on loopback with directories of their own, stopped with the test process.
//! A test that finds a server missing installs it; it never passes by skipping. Everything here panics on failure, with the
//! server's log: a laboratory that cannot be set up is a failed test.
//!
//! * [`Kafka`]: one broker; [`shared`]: the one a test binary has in common
//! * [`Cluster`]: three brokers, to be killed, paused and restarted
//! * [`Producer`], [`Record`]: writing through librdkafka; topics: the methods of [`Client`]
//! * [`Consumer`], [`Worker`]: members of groups, and what tools do to groups: the methods of [`Client`]
//! * [`Postgres`], [`Mariadb`]: database servers; [`Connect`]: what captures changes of the first, or mirrors topics
//! * [`Prometheus`], [`Alertmanager`], [`Receiver`] (a webhook's other end), [`Browser`]
//! * [`load`]: a topic, its table and a sink under load
//! * [`java`]: Kafka's own command-line tools
//! * [`certs`]: the certificates of the TLS listeners
//! * [`http`], [`yaml`]: to look at what servers say and at the files they are given
//!
//! `SORDINI_LAB_KEEP=1` keeps the servers' directories, logs included, and prints where they are.

pub mod alertmanager;
pub mod broker;
pub mod browser;
pub mod certs;
pub mod client;
pub mod cluster;
pub mod connect;
pub mod consumer;
pub mod http;
pub mod java;
pub mod load;
pub mod mariadb;
pub mod postgres;
mod process;
pub mod prometheus;
pub mod receiver;
pub mod yaml;

pub use alertmanager::Alertmanager;
pub use broker::{ClientAuth, Kafka, Options, shared};
pub use browser::Browser;
pub use client::{Client, Producer, Record};
pub use cluster::Cluster;
pub use connect::Connect;
pub use consumer::{Consumer, Worker};
pub use mariadb::Mariadb;
pub use postgres::Postgres;
pub use process::{Directory, Process};
pub use prometheus::Prometheus;
pub use receiver::{Answer, Receiver};

use std::path::PathBuf;
use std::process::Command;
use std::sync::Once;
use std::thread;
use std::time::{Duration, Instant};

/// The project's root folder.
pub fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Installs the servers that are missing, once in a process.
pub fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let done = Command::new(root().join("scripts/servers")).status().expect("scripts/servers must start");
        assert!(done.success(), "scripts/servers could not install the servers that the tests need");
    });
}

/// A port of loopback that nothing listens on.
pub fn free_port() -> u16 {
    broker::free_port(std::net::Ipv4Addr::LOCALHOST)
}

/// Asks again until `ask` has an answer; panics with `what` after `limit`.
pub fn wait_for<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {limit:?} in vain: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}
