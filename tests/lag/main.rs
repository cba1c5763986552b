//! Lag against a real Kafka.

mod commits;
