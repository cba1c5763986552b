//! Counters that records do not carry, made from all that a stage saw: what somebody counts who consumes it.
//!
//! * `keys`: the records of each key, in the order of the log
//! * `times`: all records, in the order of their times

pub mod keys;
pub mod times;
