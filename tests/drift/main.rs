//! `sordini drift` against a real Kafka and a real PostgreSQL.

mod captured;
mod common;
mod load;
mod mirror;
mod oracle;
mod tables;
mod trouble;
mod types;
