//! Flows against a real Kafka: a pipeline whose worker fails in silence, and one that is well; and from lines, odd ones.

mod broken;
mod common;
mod healthy;
mod lines;
