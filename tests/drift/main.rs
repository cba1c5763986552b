//! `sordini drift` against a real Kafka and real databases.

mod captured;
mod common;
mod conserve;
mod engines;
mod follow;
mod gone;
mod load;
mod lost;
mod mirror;
mod mirror_compacted;
mod mirror_maker;
mod mysql;
mod mysql_trouble;
mod oracle;
mod pairs;
mod patterns;
mod relax;
mod repair;
mod resume;
mod sqlite;
mod standby;
mod tables;
mod trouble;
mod types;
mod walkthrough;
