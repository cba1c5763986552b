//! Patterns in losses: pure statistics over which numbers of a counter were lost. They know nothing of records,
//! sessions or findings, and every probability in them is a natural logarithm, so none underflows to zero.

pub mod bursts;
pub mod losses;
pub mod periodic;
pub mod tails;
pub mod tally;

#[cfg(test)]
mod simulate;
