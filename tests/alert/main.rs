//! Alerts from outside: a real Alertmanager in front of a receiver that counts, and processes that are killed.

mod alertmanager;
mod common;
mod kill;
#[path = "../../src/alert/testing.rs"]
mod receiver;
