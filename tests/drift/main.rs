//! `sordini drift` against a real Kafka and real databases.

mod common;
mod load;
mod mirror;
mod mysql;
mod oracle;
mod sqlite;
mod tables;
mod trouble;
mod types;
