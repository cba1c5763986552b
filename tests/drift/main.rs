//! `sordini drift` against a real Kafka and a real PostgreSQL.

mod common;
mod follow;
mod load;
mod mirror;
mod oracle;
mod pairs;
mod tables;
mod trouble;
mod types;
