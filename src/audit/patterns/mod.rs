//! Patterns in losses: what they, and repeats, have in common. Statistics over which numbers of a counter were lost, and with which
//! attributes. Every probability in them is a natural logarithm, so none underflows to zero.
//!
//! * `losses`, `tally`: the input, one counter at a time, in bounded memory
//! * `periodic`, `bursts`, `attribution`, `combs`: what is looked for
//! * `counts`: counters that records do not carry
//! * `origins`: where records come from, for `attribution`
//! * `hop`, `topic`, `sessions`, `retries`: what a flow's hop, an audit's records and its findings bring as input
//! * `say`, `summary`: what is said of it

pub mod attribution;
pub mod bursts;
pub mod combs;
pub mod counts;
pub mod hop;
mod local;
pub mod losses;
pub mod origins;
pub mod periodic;
pub mod retries;
pub mod say;
pub mod search;
pub mod sessions;
pub mod summary;
pub mod tails;
pub mod tally;
pub mod topic;

#[cfg(test)]
mod simulate;
