//! Consumer groups of a real Kafka, well and ill, and what is said about them.

mod cli;
mod cluster;
mod commits;
mod faults;
mod healthy;
mod logs;
mod protocol;
mod watch;
mod world;
