//! Incidents, and who is told of them.
//!
//! * `incident`: one thing that is wrong, from its opening to its resolution
//! * `rules`: what the configuration makes of a key; `mute`: times of silence; `glob`: names with wildcards
//! * `book`: the state machine, from what is observed to what opened and resolved; no clock, no I/O
//! * `outbox`: what each sink has still to be told, and in which order; no I/O
//! * `file`: the one file that book and outbox live in
//! * `message`: what a sink is told
//! * `sinks`: the ways to tell it
//! * `dispatch`: the threads that tie it together; `heartbeat`: the sign of life

pub mod book;
pub mod dispatch;
pub mod error;
mod file;
mod glob;
mod heartbeat;
pub mod incident;
pub mod message;
pub mod mute;
mod outbox;
pub mod rules;
pub mod sinks;
#[cfg(test)]
mod testing;

pub use dispatch::{Clock, Dispatcher, Place, check};
pub use error::AlertError;
