//! The audit against a real Kafka, as a user runs it.

mod common;
mod faults;
mod healthy;
mod readme;
mod trouble;
