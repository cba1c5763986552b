//! What losses and repeats have in common: statistics over what the checks found.

pub mod attribution;
pub mod combs;
pub mod tails;
