//! Flows against a real Kafka: a pipeline whose worker fails in silence, and one that is well.

mod broken;
mod common;
mod healthy;
