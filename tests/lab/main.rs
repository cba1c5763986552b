//! The laboratory itself: what the other integration tests take for granted about the servers they start.

mod groups;
mod kafka;
mod servers;

use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
const PLAIN: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required";
