//! The checks: pure state machines. Records and time come in as arguments, findings go out; no I/O, no clock, no thread.

pub mod coverage;
pub mod drift;
pub mod duplicates;
pub mod finding;
pub mod flows;
pub mod offsets;
pub mod partition;
pub mod patterns;
pub mod producers;
pub mod sessions;
pub mod times;
pub mod verdict;

#[cfg(test)]
mod tests;
