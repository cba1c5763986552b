//! Real Kafka brokers for tests: started on loopback with directories of their own, stopped with the test process.
//! A test that finds the broker's jars missing installs them; it never passes by skipping. Everything here panics on
//! failure, with the broker's log: a laboratory that cannot be set up is a failed test.
//!
//! * [`Kafka`]: one broker; [`shared`]: the one a test binary has in common
//! * [`Cluster`]: three brokers, to be killed, paused and restarted
//! * [`Producer`], [`Record`]: writing through librdkafka; topics: the methods of [`Client`]
//! * [`java`]: Kafka's own command-line tools
//! * [`certs`]: the certificates of the TLS listeners
//!
//! `SORDINI_LAB_KEEP=1` keeps the brokers' directories, logs included, and prints where they are.

pub mod broker;
pub mod certs;
pub mod client;
pub mod cluster;
pub mod java;
mod process;

pub use broker::{ClientAuth, Kafka, Options, shared};
pub use client::{Client, Producer, Record};
pub use cluster::Cluster;

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// The project's root folder.
pub fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
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
